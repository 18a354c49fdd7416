//! Commands of a client, one line each, without CRLF.

use super::reply::Reply;
use crate::message::address::Address;

/// A command.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Command<'a> {
    /// EHLO, or HELO where not `extended`.
    Hello {
        extended: bool,
    },
    Mail(Mail),
    Recipient(Address),
    Data,
    Reset,
    Noop,
    Quit,
    Verify,
    Help,
    Auth {
        mechanism: &'a str,
        /// The first response, if the command has it.
        initial: Option<&'a str>,
    },
    StartTls,
    /// A request of HTTP: a web page makes a browser send one.
    Foreign,
}

/// A new message.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Mail {
    /// The envelope sender; `None` for the null sender.
    pub sender: Option<Address>,
    /// The size that the client expects (RFC 1870).
    pub size: Option<u64>,
    /// Whether addresses and header may be UTF-8 (RFC 6531).
    pub is_utf8: bool,
}

/// Why a command is refused. The text is that of the reply.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum CommandError {
    #[error("unknown command")]
    Unknown,
    #[error("not offered here")]
    NotOffered,
    #[error("syntax error")]
    Syntax,
    #[error("unknown parameter")]
    Parameter,
    #[error("not an address")]
    Address,
}

/// Words at which HTTP begins.
const HTTP: [&str; 9] = ["GET", "HEAD", "POST", "PUT", "DELETE", "CONNECT", "OPTIONS", "TRACE", "PATCH"];

impl CommandError {
    /// Returns the reply to the client.
    #[must_use]
    pub fn reply(self) -> Reply {
        let (code, enhanced) = match self {
            Self::Unknown => (500, "5.5.2"),
            Self::NotOffered => (502, "5.5.1"),
            Self::Syntax => (501, "5.5.4"),
            Self::Parameter => (555, "5.5.4"),
            Self::Address => (553, "5.1.3"),
        };
        Reply::new(code, enhanced, self.to_string())
    }
}

impl<'a> Command<'a> {
    /// Returns whether the command brings no message nearer.
    #[must_use]
    pub fn is_idle(&self) -> bool {
        matches!(self, Self::Hello { .. } | Self::Reset | Self::Noop | Self::Verify | Self::Help)
    }

    /// Parses a line.
    ///
    /// # Errors
    /// [`CommandError`]: the client gets a reply of 5xx.
    pub fn parse(line: &'a str) -> Result<Self, CommandError> {
        if line.contains(char::is_control) {
            return Err(CommandError::Syntax);
        }
        let line = line.trim_end_matches(' ');
        let (word, rest) = line.split_once(' ').unwrap_or((line, ""));
        let rest = rest.trim_start_matches(' ');
        let bare = |command| if rest.is_empty() { Ok(command) } else { Err(CommandError::Syntax) };
        match word.to_ascii_uppercase().as_str() {
            "EHLO" | "HELO" if rest.is_empty() => Err(CommandError::Syntax),
            "EHLO" => Ok(Self::Hello { extended: true }),
            "HELO" => Ok(Self::Hello { extended: false }),
            "MAIL" => mail(rest),
            "RCPT" => {
                let (path, parameters) = path(rest, "TO:")?;
                if !parameters.is_empty() {
                    return Err(CommandError::Parameter);
                }
                path.map(Self::Recipient).ok_or(CommandError::Address)
            }
            "DATA" => bare(Self::Data),
            "RSET" => bare(Self::Reset),
            "NOOP" => Ok(Self::Noop),
            "QUIT" => bare(Self::Quit),
            "VRFY" => Ok(Self::Verify),
            "HELP" => Ok(Self::Help),
            "STARTTLS" => bare(Self::StartTls),
            "AUTH" => {
                let (mechanism, initial) = rest.split_once(' ').map_or((rest, None), |(word, text)| (word, Some(text)));
                Ok(Self::Auth { mechanism, initial: initial.map(str::trim) })
            }
            "EXPN" | "ETRN" | "BDAT" | "TURN" | "SEND" | "SOML" | "SAML" => Err(CommandError::NotOffered),
            other if HTTP.contains(&other) => Ok(Self::Foreign),
            _ => Err(CommandError::Unknown),
        }
    }
}

fn mail(rest: &str) -> Result<Command<'static>, CommandError> {
    let (sender, parameters) = path(rest, "FROM:")?;
    let mut mail = Mail { sender, size: None, is_utf8: false };
    for parameter in parameters.split(' ').filter(|text| !text.is_empty()) {
        let (key, value) = parameter.split_once('=').map_or((parameter, None), |(key, value)| (key, Some(value)));
        match (key.to_ascii_uppercase().as_str(), value) {
            ("SIZE", Some(value)) if (1..=20).contains(&value.len()) && value.bytes().all(|b| b.is_ascii_digit()) => {
                // 20 digits may be more than a u64: then it is larger than any limit.
                mail.size = Some(value.parse().unwrap_or(u64::MAX));
            }
            ("BODY", Some(value)) if ["7BIT", "8BITMIME"].iter().any(|it| it.eq_ignore_ascii_case(value)) => {}
            // The identity that the client vouches for (RFC 4954 section 5), which has no effect here.
            ("AUTH", Some(_)) => {}
            ("SMTPUTF8", None) => mail.is_utf8 = true,
            ("SIZE" | "BODY" | "AUTH" | "SMTPUTF8", _) => return Err(CommandError::Syntax),
            _ => return Err(CommandError::Parameter),
        }
    }
    Ok(Command::Mail(mail))
}

/// Parses the path after `word` (`FROM:`, `TO:`), and returns it with the parameters behind it; `None` is the empty path.
///
/// # Errors
/// [`CommandError::Syntax`], [`CommandError::Address`].
pub fn path<'a>(rest: &'a str, word: &str) -> Result<(Option<Address>, &'a str), CommandError> {
    let (text, parameters) = path_text(rest, word)?;
    if text.is_empty() {
        return Ok((None, parameters));
    }
    // An address with a hyphen in front, as it is without needless quotes, could be an option of the next program
    // (threat 30).
    let address = Address::parse(text).ok().filter(|address| !address.to_string().starts_with('-'));
    Ok((Some(address.ok_or(CommandError::Address)?), parameters))
}

/// Finds the path after `word`, as `FROM:`, and returns its text without angle brackets and source route, and the
/// parameters behind it.
///
/// # Errors
/// [`CommandError::Syntax`] where there is no path.
pub fn path_text<'a>(rest: &'a str, word: &str) -> Result<(&'a str, &'a str), CommandError> {
    let begins = rest.get(..word.len()).is_some_and(|it| it.eq_ignore_ascii_case(word));
    let rest = rest.get(word.len()..).filter(|_| begins).ok_or(CommandError::Syntax)?;
    // Many clients put a blank there.
    let inner = rest.trim_start_matches(' ').strip_prefix('<').ok_or(CommandError::Syntax)?;
    let (mut is_quoted, mut is_escaped) = (false, false);
    let end = inner.bytes().position(|byte| {
        let ends = byte == b'>' && !is_quoted;
        match byte {
            _ if is_escaped => is_escaped = false,
            b'\\' => is_escaped = is_quoted,
            b'"' => is_quoted = !is_quoted,
            _ => {}
        }
        ends
    });
    let (text, after) = inner.split_at_checked(end.ok_or(CommandError::Syntax)?).ok_or(CommandError::Syntax)?;
    let parameters = after.get(1..).unwrap_or_default();
    if !parameters.is_empty() && !parameters.starts_with(' ') {
        return Err(CommandError::Syntax);
    }
    // A source route is ignored (RFC 5321 appendix C).
    let text = if text.starts_with('@') { text.split_once(':').ok_or(CommandError::Syntax)?.1 } else { text };
    Ok((text, parameters))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn address(text: &str) -> Address {
        Address::parse(text).unwrap()
    }

    fn mail_of(line: &str) -> Mail {
        match Command::parse(line) {
            Ok(Command::Mail(mail)) => mail,
            other => panic!("{line}: {other:?}"),
        }
    }

    #[test]
    fn commands_are_read_as_clients_write_them() {
        assert_eq!(Command::parse("ehlo [127.0.0.1]  "), Ok(Command::Hello { extended: true }));
        assert_eq!(Command::parse("HELO x"), Ok(Command::Hello { extended: false }));
        let plain = mail_of("MAIL FROM:<a@x.example>");
        assert_eq!(plain, Mail { sender: Some(address("a@x.example")), size: None, is_utf8: false });
        let all = mail_of("mail from: <@r,@s:\"a >\\\"b\"@x.example> size=12 BODY=8bitmime SMTPUTF8 AUTH=<>");
        assert_eq!(all, Mail { sender: Some(address("\"a >\\\"b\"@x.example")), size: Some(12), is_utf8: true });
        assert_eq!(mail_of("MAIL FROM:<>").sender, None);
        assert_eq!(mail_of("MAIL FROM:<> SIZE=99999999999999999999").size, Some(u64::MAX));
        let utf8 = "RCPT TO:<zoë@bücher.example>";
        assert_eq!(Command::parse(utf8), Ok(Command::Recipient(address("zoë@bücher.example"))));
        let auth = |initial| Command::Auth { mechanism: "PLAIN", initial };
        assert_eq!(Command::parse("AUTH PLAIN"), Ok(auth(None)));
        assert_eq!(Command::parse("AUTH PLAIN AGFi"), Ok(auth(Some("AGFi"))));
        assert_eq!(Command::parse("POST / HTTP/1.1"), Ok(Command::Foreign));
        assert_eq!(Command::parse("noop what ever"), Ok(Command::Noop));
    }

    #[test]
    fn what_is_wrong_is_refused() {
        use CommandError as Error;
        for (line, error) in [
            ("", Error::Unknown),
            ("XYZZY", Error::Unknown),
            ("BDAT 10 LAST", Error::NotOffered),
            ("EHLO", Error::Syntax),
            ("DATA x", Error::Syntax),
            ("NOOP\0", Error::Syntax),
            ("NOOP\r", Error::Syntax),
            ("MAIL FROM:a@x.example", Error::Syntax),
            ("MAIL FROM:<a@x.example", Error::Syntax),
            ("MAIL FROM:<a@x.example>x", Error::Syntax),
            ("MAIL FROM:<\"a>@x.example>", Error::Syntax),
            ("MAIL TO:<a@x.example>", Error::Syntax),
            ("MAIL FROM:<a@x.example> SIZE=x", Error::Syntax),
            ("MAIL FROM:<a@x.example> SIZE=", Error::Syntax),
            ("MAIL FROM:<a@x.example> BODY=BINARYMIME", Error::Syntax),
            ("MAIL FROM:<a@x.example> RET=HDRS", Error::Parameter),
            ("RCPT TO:<a@x.example> NOTIFY=NEVER", Error::Parameter),
            ("RCPT TO:<>", Error::Address),
            ("RCPT TO:<postmaster>", Error::Address),
            ("RCPT TO:<-oQ/tmp@x.example>", Error::Address),
            ("RCPT TO:<\"-x\"@x.example>", Error::Address),
            ("MAIL FROM:<\"\\-x\"@x.example>", Error::Address),
            ("RCPT TO:<|/bin/sh>", Error::Address),
            ("RCPT TO:<a@x.example,b@x.example>", Error::Address),
        ] {
            assert_eq!(Command::parse(line).map(|_| ()), Err(error), "{line:?}");
        }
    }

    proptest! {
        #[test]
        fn any_line_is_read_or_refused(line in "\\PC{0,80}", word in "(MAIL FROM:|RCPT TO:|AUTH )?", blank in "[ <>\"\\\\@:]{0,6}") {
            let _ = Command::parse(&format!("{word}{blank}{line}"));
        }
    }
}
