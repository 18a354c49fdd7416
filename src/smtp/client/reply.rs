//! Reply of a server, as its client receives it (RFC 5321 section 4.2): a code, and lines of text with it.

/// Longest line, in bytes. RFC 5321 section 4.5.3.1.5 allows 512, and some servers send longer ones.
const LINE_MAX: usize = 4_096;
/// Most lines of a reply.
const LINES_MAX: usize = 200;
/// Bytes of a line that an error shows.
const SHOWN: usize = 80;

/// A reply.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ServerReply {
    /// The code, as 250.
    pub code: u16,
    /// The text of each line. Bytes that are no UTF-8 are replaced.
    pub lines: Vec<String>,
}

/// Bytes that are no reply.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ReplyError {
    #[error("a line of more than {LINE_MAX} bytes")]
    LongLine,
    #[error("more than {LINES_MAX} lines")]
    ManyLines,
    #[error("lines with the codes {0} and {1}")]
    Codes(u16, u16),
    /// The beginning of the line.
    #[error("{0:?}")]
    Line(String),
}

impl ServerReply {
    /// Returns the enhanced status (RFC 2034), as `5.1.1`.
    #[must_use]
    pub fn enhanced(&self) -> Option<&str> {
        let word = self.lines.first()?.split(' ').next()?;
        let mut numbers = word.split('.');
        let class = numbers.next()?;
        let is_number = |text: &str| (1..=3).contains(&text.len()) && text.bytes().all(|byte| byte.is_ascii_digit());
        let is_status = class == (self.code / 100).to_string()
            && numbers.next().is_some_and(is_number)
            && numbers.next().is_some_and(is_number)
            && numbers.next().is_none();
        is_status.then_some(word)
    }

    /// Returns the text in one line, with the enhanced status once.
    #[must_use]
    pub fn text(&self) -> String {
        let repeated = self.enhanced().unwrap_or_default();
        let mut text = String::new();
        for (at, line) in self.lines.iter().enumerate() {
            let rest = line.strip_prefix(repeated).filter(|rest| at > 0 && rest.starts_with(' '));
            text.push_str(if at > 0 { " " } else { "" });
            text.push_str(rest.map_or(line.as_str(), str::trim_start));
        }
        text.trim_end().to_owned()
    }
}

/// Replies that arrive, in their order.
#[derive(Debug, Default)]
pub struct Replies {
    /// Bytes that were received and not yet read.
    buffer: Vec<u8>,
    /// Where they begin.
    begin: usize,
    /// The lines of a reply that has not ended.
    open: Option<ServerReply>,
}

impl Replies {
    /// Takes bytes of the server.
    pub fn receive(&mut self, bytes: &[u8]) {
        self.buffer.drain(..self.begin);
        self.begin = 0;
        self.buffer.extend_from_slice(bytes);
    }

    /// Returns whether nothing was received behind the last reply.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.begin == self.buffer.len() && self.open.is_none()
    }

    /// Returns the next reply, if it is complete. LF alone ends a line, too.
    ///
    /// # Errors
    /// [`ReplyError`]: what follows cannot be read.
    pub fn next_reply(&mut self) -> Result<Option<ServerReply>, ReplyError> {
        loop {
            let rest = self.buffer.get(self.begin..).unwrap_or_default();
            let end = memchr::memchr(b'\n', rest);
            if end.unwrap_or(rest.len()) > LINE_MAX {
                return Err(ReplyError::LongLine);
            }
            let Some(line) = end.and_then(|end| rest.get(..end)) else { return Ok(None) };
            self.begin += line.len() + 1;
            let line = line.strip_suffix(b"\r").unwrap_or(line);
            let (code, is_last, text) = parse(line).ok_or_else(|| {
                ReplyError::Line(String::from_utf8_lossy(line.get(..line.len().min(SHOWN)).unwrap_or_default()).into())
            })?;
            let reply = self.open.get_or_insert_with(|| ServerReply { code, lines: Vec::new() });
            if reply.code != code {
                return Err(ReplyError::Codes(reply.code, code));
            }
            if reply.lines.len() == LINES_MAX {
                return Err(ReplyError::ManyLines);
            }
            reply.lines.push(text);
            if is_last {
                return Ok(self.open.take());
            }
        }
    }
}

/// Parses a line: its code, whether it is the last one of its reply, and its text.
fn parse(line: &[u8]) -> Option<(u16, bool, String)> {
    let (code, rest) = line.split_at_checked(3)?;
    let code = std::str::from_utf8(code).ok().filter(|code| code.bytes().all(|byte| byte.is_ascii_digit()))?;
    let code = code.parse().ok().filter(|code| (200..600).contains(code))?;
    let is_last = match rest.first() {
        None | Some(b' ') => true,
        Some(b'-') => false,
        Some(_) => return None,
    };
    Some((code, is_last, String::from_utf8_lossy(rest.get(1..).unwrap_or_default()).into_owned()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn all(input: &[u8]) -> Result<Vec<(u16, String)>, ReplyError> {
        let mut replies = Replies::default();
        replies.receive(input);
        std::iter::from_fn(|| replies.next_reply().transpose())
            .map(|reply| reply.map(|reply| (reply.code, reply.text())))
            .collect()
    }

    #[test]
    fn replies_are_read_one_after_the_other() {
        let input = b"220 x ESMTP\r\n250-x\r\n250-SIZE 1\r\n250 HELP\r\n354\r\n250-\n250 \xff\r\n451 4.3.0 lat";
        let expected = [(220, "x ESMTP"), (250, "x SIZE 1 HELP"), (354, ""), (250, " \u{fffd}")];
        assert_eq!(all(input).unwrap(), expected.map(|(code, text)| (code, text.to_owned())));
    }

    #[test]
    fn an_enhanced_status_is_told_once() {
        let reply = |code, lines: &[&str]| ServerReply { code, lines: lines.iter().map(ToString::to_string).collect() };
        let long = reply(550, &["5.7.1 no", "5.7.1  thanks", "5.7.10 or so"]);
        assert_eq!((long.enhanced(), long.text()), (Some("5.7.1"), "5.7.1 no thanks 5.7.10 or so".to_owned()));
        for other in ["5.1.1x no", "4.1.1 no", "5.1 no", "5.1.1.1", "5..1", "5.1.1234", ""] {
            assert_eq!(reply(550, &[other]).enhanced(), None, "{other}");
        }
    }

    #[test]
    fn what_is_no_reply_is_an_error() {
        for line in ["", "2", "25", "abc", "25x ok", "250_ok", "2500 ok", "199 x", "600 x", "+25 x", "HTTP/1.1 400 Bad"]
        {
            let error = all(format!("{line}\r\n").as_bytes()).unwrap_err();
            assert_eq!(error, ReplyError::Line(line.to_owned()));
        }
        assert_eq!(all(b"250-a\r\n251 b\r\n"), Err(ReplyError::Codes(250, 251)));
        assert_eq!(all(&[b'2'; LINE_MAX + 1]), Err(ReplyError::LongLine));
        assert_eq!(all(&[&b"250 "[..], &[b'x'; LINE_MAX], b"\r\n"].concat()), Err(ReplyError::LongLine));
        assert_eq!(all(&b"250-x\r\n".repeat(LINES_MAX + 1)), Err(ReplyError::ManyLines));
        assert_eq!(all(&b"250-x\r\n".repeat(LINES_MAX)), Ok(vec![]));
    }

    proptest! {
        #[test]
        fn pieces_are_read_as_the_whole(
            input in "((2|5)5(0|1)(-| )?[a-z.5 ]{0,5}\r?\n?){0,8}",
            at in any::<prop::sample::Index>(),
        ) {
            let (first, second) = input.as_bytes().split_at(at.index(input.len() + 1));
            let mut replies = Replies::default();
            let mut pieces = Vec::new();
            let mut error = None;
            for piece in [first, second] {
                replies.receive(piece);
                while error.is_none() {
                    match replies.next_reply() {
                        Ok(Some(reply)) => pieces.push((reply.code, reply.text())),
                        Ok(None) => break,
                        Err(found) => error = Some(found),
                    }
                }
            }
            prop_assert_eq!(error.map_or(Ok(pieces), Err), all(input.as_bytes()));
        }
    }
}
