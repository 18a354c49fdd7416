//! Replies of the inner server as the client sees them. The reply to EHLO has what both sides can do.

use super::Settings;
use crate::emstamp::wire;
use crate::smtp::client::reply::ServerReply;
use crate::smtp::reply::Reply;

/// Longest line with CRLF, and most lines of a reply that is passed on.
const LINE_MAX: usize = 512;
const LINES_MAX: usize = 100;

/// Extensions of the inner server that go through the gateway. PIPELINING and SIZE are its own; all that change how a
/// message or a connection is read are left out.
const THROUGH: [&str; 4] = ["8BITMIME", "SMTPUTF8", "DSN", "ENHANCEDSTATUSCODES"];

/// Returns the reply to EHLO for the inner server's one.
pub(super) fn filtered(inner: &ServerReply, settings: &Settings, offers_tls: bool) -> Reply {
    let words = |line: &str| line.split(' ').next().unwrap_or_default().to_ascii_uppercase();
    let mut lines = vec![settings.name.clone()];
    let size = inner.lines.iter().skip(1).find(|line| words(line) == "SIZE");
    let size = size.and_then(|line| line.split(' ').nth(1)?.parse().ok()).filter(|size| *size > 0);
    let largest = settings.largest as u64;
    lines.push("PIPELINING".to_owned());
    lines.push(format!("SIZE {}", size.map_or(largest, |size: u64| size.min(largest))));
    let offered = inner.lines.iter().skip(1).map(|line| words(line));
    lines.extend(offered.filter(|word| THROUGH.contains(&word.as_str())));
    lines.extend(offers_tls.then(|| "STARTTLS".to_owned()));
    lines.extend(settings.can_be_paid.then(wire::keyword_line));
    Reply { code: 250, enhanced: "", lines }
}

/// Returns whether the inner server's reply to EHLO has a keyword.
pub(super) fn offers(inner: &ServerReply, keyword: &str) -> bool {
    let is_it = |line: &String| line.split([' ', '=']).next().is_some_and(|word| word.eq_ignore_ascii_case(keyword));
    inner.code == 250 && inner.lines.iter().skip(1).any(is_it)
}

/// Writes a reply of the inner server as it came. Control characters become `?`.
pub(super) fn pass(reply: &ServerReply, out: &mut Vec<u8>) {
    let lines = reply.lines.get(..reply.lines.len().min(LINES_MAX)).unwrap_or_default();
    for (at, line) in lines.iter().enumerate() {
        let sign = if at + 1 == lines.len() { ' ' } else { '-' };
        let mut text = format!("{}{sign}", reply.code);
        for c in line.chars().map(|c| if c.is_control() { '?' } else { c }) {
            if text.len() + c.len_utf8() > LINE_MAX - 2 {
                break;
            }
            text.push(c);
        }
        out.extend_from_slice(text.as_bytes());
        out.extend_from_slice(b"\r\n");
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn reply(code: u16, lines: &[&str]) -> ServerReply {
        ServerReply { code, lines: lines.iter().map(ToString::to_string).collect() }
    }

    #[test]
    fn only_what_both_can_do_is_offered() {
        let settings = super::super::tests::settings();
        let inner = reply(
            250,
            &[
                "inner",
                "SIZE 5000",
                "pipelining",
                "8bitmime",
                "SMTPUTF8",
                "DSN",
                "ENHANCEDSTATUSCODES",
                "STARTTLS",
                "AUTH PLAIN",
                "AUTH=PLAIN",
                "CHUNKING",
                "BINARYMIME",
                "XCLIENT NAME",
                "XFORWARD",
                "EMSTAMP 1",
                "BURL",
                "ETRN",
                "VRFY",
                "X-OTHER",
            ],
        );
        let lines = filtered(&inner, &settings, true).lines;
        let expected = [
            "mx.x.example",
            "PIPELINING",
            "SIZE 5000",
            "8BITMIME",
            "SMTPUTF8",
            "DSN",
            "ENHANCEDSTATUSCODES",
            "STARTTLS",
            "EMSTAMP 1",
        ];
        assert_eq!(lines, expected);
        let bare = filtered(&reply(250, &["inner"]), &settings, false).lines;
        assert_eq!(bare, ["mx.x.example", "PIPELINING", "SIZE 10000", "EMSTAMP 1"]);
        for size in ["SIZE", "SIZE 0", "SIZE x", "SIZE 99999999999999999999"] {
            assert_eq!(filtered(&reply(250, &["inner", size]), &settings, false).lines[2], "SIZE 10000", "{size}");
        }
        assert!(
            offers(&inner, "XCLIENT") && offers(&inner, "AUTH") && !offers(&inner, "INNER") && !offers(&inner, "X")
        );
    }

    #[test]
    fn a_reply_is_passed_as_it_came_within_limits() {
        let mut out = Vec::new();
        pass(&reply(550, &["5.1.1 no\r250", "z\u{fc}"]), &mut out);
        assert_eq!(String::from_utf8(out).unwrap(), "550-5.1.1 no?250\r\n550 z\u{fc}\r\n");
        let mut out = Vec::new();
        pass(&reply(250, &["\u{fc}".repeat(2_000).as_str(); 150]), &mut out);
        let out = String::from_utf8(out).unwrap();
        assert_eq!(out.lines().count(), LINES_MAX);
        assert!(out.split_inclusive("\r\n").all(|line| line.len() <= LINE_MAX));
        assert!(out.lines().last().unwrap().starts_with("250 "));
    }
}
