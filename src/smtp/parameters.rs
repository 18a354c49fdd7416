//! Parameters of MAIL and RCPT for a message that is handed on to another server: size, 8BITMIME, SMTPUTF8, and the
//! notifications that the sender asks for (RFC 3461), whose values are checked and stay as they came.

use super::command::CommandError;

/// Longest ENVID and ORCPT (RFC 3461 section 5.2).
const ENVELOPE_ID_MAX: usize = 100;
const ORIGINAL_MAX: usize = 500;

/// Parameters of MAIL.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct MailParameters {
    /// The size that the client expects (RFC 1870).
    pub size: Option<u64>,
    /// Whether addresses and header may be UTF-8 (RFC 6531).
    pub is_utf8: bool,
    /// RET and ENVID, each with a blank before it.
    pub notifications: String,
}

impl MailParameters {
    /// Parses what follows the path.
    ///
    /// # Errors
    /// [`CommandError::Parameter`] for an unknown one, [`CommandError::Syntax`] for a wrong or repeated one.
    pub fn parse(text: &str) -> Result<Self, CommandError> {
        let mut found = Self::default();
        each(text, |name, value| {
            match (name, value) {
                ("SIZE", Some(value)) if (1..=20).contains(&value.len()) && is_number(value) => {
                    // 20 digits may be more than a u64: then it is larger than any limit.
                    found.size = Some(value.parse().unwrap_or(u64::MAX));
                }
                ("BODY", Some(value)) if is_one_of(value, &["7BIT", "8BITMIME"]) => {}
                // The identity that the client vouches for (RFC 4954 section 5), which has no effect here.
                ("AUTH", Some(_)) => {}
                ("SMTPUTF8", None) => found.is_utf8 = true,
                ("RET", Some(value)) if is_one_of(value, &["FULL", "HDRS"]) => {
                    keep(&mut found.notifications, name, value)
                }
                ("ENVID", Some(value)) if is_text(value, ENVELOPE_ID_MAX) => {
                    keep(&mut found.notifications, name, value)
                }
                ("SIZE" | "BODY" | "AUTH" | "SMTPUTF8" | "RET" | "ENVID", _) => return Err(CommandError::Syntax),
                _ => return Err(CommandError::Parameter),
            }
            Ok(())
        })?;
        Ok(found)
    }

    /// Returns whether the client gave an ID of the envelope (ENVID).
    #[must_use]
    pub fn has_envelope_id(&self) -> bool {
        self.notifications.contains(" ENVID=")
    }

    /// Returns whether the client said how much of the message is to be returned (RET).
    #[must_use]
    pub fn has_return(&self) -> bool {
        self.notifications.contains(" RET=")
    }
}

/// Parses what follows the path of RCPT, and returns NOTIFY and ORCPT, each with a blank before it.
///
/// # Errors
/// As [`MailParameters::parse`].
pub fn recipient(text: &str) -> Result<String, CommandError> {
    let mut found = String::new();
    each(text, |name, value| {
        match (name, value) {
            ("NOTIFY", Some(value)) if is_notify(value) => keep(&mut found, name, value),
            ("ORCPT", Some(value)) if value.contains(';') && is_text(value, ORIGINAL_MAX) => {
                keep(&mut found, name, value);
            }
            ("NOTIFY" | "ORCPT", _) => return Err(CommandError::Syntax),
            _ => return Err(CommandError::Parameter),
        }
        Ok(())
    })?;
    Ok(found)
}

/// Calls `take` with the name of each parameter, in upper case, and with its value.
fn each(text: &str, mut take: impl FnMut(&str, Option<&str>) -> Result<(), CommandError>) -> Result<(), CommandError> {
    let mut names = Vec::new();
    for parameter in text.split(' ').filter(|text| !text.is_empty()) {
        let (name, value) = parameter.split_once('=').map_or((parameter, None), |(name, value)| (name, Some(value)));
        let name = name.to_ascii_uppercase();
        if names.contains(&name) {
            return Err(CommandError::Syntax);
        }
        take(&name, value)?;
        names.push(name);
    }
    Ok(())
}

fn keep(to: &mut String, name: &str, value: &str) {
    *to += &format!(" {name}={value}");
}

fn is_number(text: &str) -> bool {
    text.bytes().all(|byte| byte.is_ascii_digit())
}

fn is_one_of(text: &str, words: &[&str]) -> bool {
    words.iter().any(|word| word.eq_ignore_ascii_case(text))
}

fn is_notify(text: &str) -> bool {
    text.eq_ignore_ascii_case("NEVER") || text.split(',').all(|word| is_one_of(word, &["SUCCESS", "FAILURE", "DELAY"]))
}

/// Returns whether a text has no blank, no control character, and one to `most` bytes.
fn is_text(text: &str, most: usize) -> bool {
    (1..=most).contains(&text.len()) && !text.contains(|c: char| c.is_control() || c.is_whitespace())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn notifications_stay_as_they_came() {
        let all = MailParameters::parse(" SIZE=12 body=8bitmime SMTPUTF8 AUTH=<> RET=HDRS  envid=a+2Bb").unwrap();
        let notifications = " RET=HDRS ENVID=a+2Bb".to_owned();
        assert_eq!(all, MailParameters { size: Some(12), is_utf8: true, notifications });
        assert!(all.has_envelope_id() && all.has_return());
        let some = MailParameters::parse(" ret=full").unwrap();
        assert!(!some.has_envelope_id() && some.has_return() && !MailParameters::default().has_return());
        assert_eq!(MailParameters::parse(""), Ok(MailParameters::default()));
        assert_eq!(MailParameters::parse(" SIZE=99999999999999999999").unwrap().size, Some(u64::MAX));
        let kept = recipient(" notify=SUCCESS,delay ORCPT=rfc822;a@x.example").unwrap();
        assert_eq!(kept, " NOTIFY=SUCCESS,delay ORCPT=rfc822;a@x.example");
        assert_eq!(recipient(" NOTIFY=never"), Ok(" NOTIFY=never".to_owned()));
    }

    #[test]
    fn what_is_wrong_is_refused() {
        let long = format!(" ENVID={}", "a".repeat(101));
        for text in [
            " SIZE=x",
            " SIZE=",
            " SIZE",
            " BODY=BINARYMIME",
            " RET=ALL",
            " ENVID=",
            " SMTPUTF8=1",
            " RET=HDRS RET=HDRS",
            &long,
        ] {
            assert_eq!(MailParameters::parse(text), Err(CommandError::Syntax), "{text}");
        }
        for text in
            [" NOTIFY=NEVER,SUCCESS", " NOTIFY=", " NOTIFY", " ORCPT=a", " ORCPT=", " NOTIFY=NEVER NOTIFY=NEVER"]
        {
            assert_eq!(recipient(text), Err(CommandError::Syntax), "{text}");
        }
        for text in [" EMSTAMP", " X=1", " NOTIFY=NEVER"] {
            assert_eq!(MailParameters::parse(text), Err(CommandError::Parameter), "{text}");
        }
        assert_eq!(recipient(" RET=HDRS"), Err(CommandError::Parameter));
    }
}
