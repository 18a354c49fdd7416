//! Answer about one recipient of a message: the gateway's own, or that of the server.

use crate::smtp::client::reply::ServerReply;
use crate::smtp::reply::Reply;

/// Answer about a recipient.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Answer {
    /// 250, or from 400 to 599.
    pub code: u16,
    /// The enhanced status (RFC 2034).
    pub enhanced: String,
    /// At least one.
    pub lines: Vec<String>,
}

impl Answer {
    /// Returns an answer of the gateway itself.
    #[must_use]
    pub fn own(code: u16, enhanced: &str, text: impl Into<String>) -> Self {
        Self { code, enhanced: enhanced.to_owned(), lines: vec![text.into()] }
    }

    /// Returns what the server `host` said.
    ///
    /// A code that does not answer the command is a temporary failure. So is 421, which is about the server's connection
    /// and must not end that of the mail system.
    #[must_use]
    pub fn of_server(host: &str, reply: &ServerReply) -> Self {
        let code = match reply.code {
            200..=299 => 250,
            code @ (400..=420 | 422..=599) => code,
            _ => 451,
        };
        let enhanced = reply.enhanced().filter(|_| reply.code / 100 == code / 100);
        let enhanced = enhanced.map_or_else(|| format!("{}.0.0", code / 100), str::to_owned);
        let plain = |line: &String| match reply.enhanced().and_then(|status| line.strip_prefix(status)) {
            Some(rest) if rest.is_empty() || rest.starts_with(' ') => rest.trim_start().to_owned(),
            _ => line.clone(),
        };
        let mut lines: Vec<String> = reply.lines.iter().map(plain).collect();
        let first = lines.first().map_or("", String::as_str).to_owned();
        let said = format!("{host} said: {} {first}", reply.code);
        lines.splice(..lines.len().min(1), [said.trim_end().to_owned()]);
        Self { code, enhanced, lines }
    }

    /// Returns whether the recipient has the message.
    #[must_use]
    pub fn is_success(&self) -> bool {
        self.code < 300
    }

    /// Returns the reply to the mail system.
    #[must_use]
    pub fn reply(&self) -> Reply {
        let lines = self.lines.iter().map(|line| format!("{} {line}", self.enhanced)).collect();
        Reply { code: self.code, enhanced: "", lines }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn written(answer: &Answer) -> String {
        let mut out = Vec::new();
        answer.reply().write(&mut out);
        String::from_utf8(out).unwrap()
    }

    fn said(code: u16, lines: &[&str]) -> String {
        let reply = ServerReply { code, lines: lines.iter().map(ToString::to_string).collect() };
        written(&Answer::of_server("mx.y.example", &reply))
    }

    #[test]
    fn a_reply_of_the_server_is_passed_on_with_its_host() {
        assert_eq!(written(&Answer::own(451, "4.7.1", "later")), "451 4.7.1 later\r\n");
        assert_eq!(said(550, &["5.1.1 no such user"]), "550 5.1.1 mx.y.example said: 550 no such user\r\n");
        let two = "550-5.7.1 mx.y.example said: 550 <a@y.example>: no\r\n550 5.7.1 see https://y.example\r\n";
        assert_eq!(said(550, &["5.7.1 <a@y.example>: no", "5.7.1 see https://y.example"]), two);
        assert_eq!(said(251, &["2.1.5 will forward"]), "250 2.1.5 mx.y.example said: 251 will forward\r\n");
        assert_eq!(said(554, &[""]), "554 5.0.0 mx.y.example said: 554\r\n");
        assert_eq!(said(450, &[]), "450 4.0.0 mx.y.example said: 450\r\n");
    }

    #[test]
    fn what_does_not_answer_is_a_temporary_failure() {
        assert_eq!(said(421, &["4.3.2 closing"]), "451 4.3.2 mx.y.example said: 421 closing\r\n");
        assert_eq!(said(354, &["go on"]), "451 4.0.0 mx.y.example said: 354 go on\r\n");
        assert_eq!(said(220, &["2.0.0 x"]), "250 2.0.0 mx.y.example said: 220 x\r\n");
    }
}
