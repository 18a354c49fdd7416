//! Reply of a server: a status, an enhanced status (RFC 2034), and lines of text.

use std::fmt::Write;

/// Longest text of a line, in bytes. With the statuses and CRLF, a line has 512 bytes at most (RFC 5321 section
/// 4.5.3.1.5).
const TEXT_MAX: usize = 480;
/// Most lines of a reply. Clients show few, and some limit the whole reply.
const LINES_MAX: usize = 40;

/// A reply.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Reply {
    /// The status, as 250.
    pub code: u16,
    /// The enhanced status, as `2.0.0`; empty for replies that have none.
    pub enhanced: &'static str,
    /// The text; at least one line is written.
    pub lines: Vec<String>,
}

impl Reply {
    /// Returns a reply of one line.
    #[must_use]
    pub fn new(code: u16, enhanced: &'static str, text: impl Into<String>) -> Self {
        Self { code, enhanced, lines: vec![text.into()] }
    }

    /// Appends the reply as the client gets it. Bytes other than printable ASCII become `?`.
    pub fn write(&self, out: &mut Vec<u8>) {
        let mut text = String::new();
        let lines = self.lines.get(..self.lines.len().min(LINES_MAX)).unwrap_or_default();
        let lines = if lines.is_empty() { &[String::new()][..] } else { lines };
        for (at, line) in lines.iter().enumerate() {
            let sign = if at + 1 == lines.len() { ' ' } else { '-' };
            let line: String =
                line.chars().take(TEXT_MAX).map(|c| if matches!(c, ' '..='~') { c } else { '?' }).collect();
            let space = if self.enhanced.is_empty() { "" } else { " " };
            // Writing into a String cannot fail.
            let _ = write!(text, "{}{sign}{}{space}{line}\r\n", self.code, self.enhanced);
        }
        out.extend_from_slice(text.as_bytes());
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_reply_has_lines_of_printable_ascii() {
        let written = |reply: &Reply| {
            let mut out = Vec::new();
            reply.write(&mut out);
            String::from_utf8(out).unwrap()
        };
        assert_eq!(written(&Reply::new(250, "2.0.0", "ok")), "250 2.0.0 ok\r\n");
        assert_eq!(written(&Reply { code: 221, enhanced: "", lines: vec![] }), "221 \r\n");
        let two = Reply { code: 550, enhanced: "5.0.0", lines: vec!["a\r\n250 b".into(), "ä\0".into()] };
        assert_eq!(written(&two), "550-5.0.0 a??250 b\r\n550 5.0.0 ??\r\n");
        let long = Reply { code: 550, enhanced: "5.0.0", lines: vec!["x".repeat(2_000); 100] };
        let long = written(&long);
        assert!(long.lines().count() == LINES_MAX && long.lines().all(|line| line.len() <= 510));
        assert!(long.lines().last().unwrap().starts_with("550 "));
    }
}
