//! Identity of a post to a mailing list. A list adds a footer and a prefix and may rewrite From, so the fingerprint of
//! what its subscribers get is another one. Date and Message-ID stay, and this module hashes them.
//!
//! Two messages with the same Date and Message-ID are one post here. A use of a list's stamp therefore counts once for
//! each subscriber.

use super::fingerprint::Fingerprint;
use super::header::Field;
use super::parse::Message;
use super::tolerant::fields_named;
use sha2::{Digest, Sha256};

/// Longest value that is hashed, in bytes.
const VALUE: usize = 1_000;

/// Returns the hash of a post (mailstamp-stamp(5)): SHA-256 over `date:` and `message-id:`, each with its value and
/// CRLF, in this order.
///
/// White space of the date becomes single blanks, and that of the Message-ID goes, since programs fold both. `None`
/// unless each field is there once for every reader and has a value.
#[must_use]
pub fn hash(message: &Message<'_>) -> Option<Fingerprint> {
    let date = words(&only(message, "Date")?).join(" ");
    let id = words(&only(message, "Message-ID")?).concat();
    if date.is_empty() || id.is_empty() {
        return None;
    }
    Some(Fingerprint(Sha256::digest(format!("date:{date}\r\nmessage-id:{id}\r\n")).into()))
}

/// Returns the value of a field that is there once.
fn only(message: &Message<'_>, name: &'static str) -> Option<String> {
    let mut fields = fields_named(message, name);
    let field: Field<'_> = fields.next().filter(|_| fields.next().is_none())?;
    let value = field.unfolded();
    (value.len() <= VALUE).then(|| String::from_utf8(value.into_owned()).ok())?
}

fn words(text: &str) -> Vec<&str> {
    text.split_ascii_whitespace().collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    const POST: &str =
        "From: bob@y.example\nDate: Sat, 21 Nov 2026 12:00:00 +0000\nMessage-ID: <1@y.example>\n\ntext\n";

    fn of(raw: &str) -> Option<Fingerprint> {
        hash(&Message::parse(raw.as_bytes()))
    }

    #[test]
    fn what_a_list_changes_does_not_count() {
        let post = of(POST).unwrap();
        for other in [
            format!("List-Id: <l.lists.example>\n{POST}-- \nfooter\n"),
            POST.replace("bob@y.example\nDate", "Bob via l <l@lists.example>\nSubject: [l] x\nDate"),
            POST.replace('\n', "\r\n"),
            POST.replace("ID: <", "ID:\n <"),
            POST.replace("<1@y.example>", "<1@\n y.example>"),
            POST.replace("Nov 2026", "Nov\n  2026"),
            POST.replace("Message-ID", "MESSAGE-Id"),
            "Message-ID: <1@y.example>\nDate: Sat, 21 Nov 2026 12:00:00 +0000\n\n".to_owned(),
        ] {
            assert_eq!(of(&other), Some(post), "{other}");
        }
    }

    #[test]
    fn another_date_or_id_is_another_post() {
        let post = of(POST);
        for other in [POST.replace("12:00", "12:01"), POST.replace("<1@", "<2@"), POST.replace("<1@", "<A@")] {
            assert_ne!(of(&other), post, "{other}");
            assert!(of(&other).is_some());
        }
    }

    // A vector made with Python:
    // hashlib.sha256(b"date:Sat, 21 Nov 2026 12:00:00 +0000\r\nmessage-id:<1@y.example>\r\n").hexdigest()
    #[test]
    fn the_hash_is_the_one_of_the_manual() {
        let hash = of(POST).unwrap().to_string();
        assert_eq!(hash, "d5468a1074af0a7f78e2fe30b5911e4b3bff3731e624eb41aee55f51aec2ffcf");
    }

    #[test]
    fn what_is_there_twice_or_not_at_all_has_no_hash() {
        for other in [
            POST.replace("Date:", "X-Date:"),
            POST.replace("Message-ID:", "X-ID:"),
            POST.replace("<1@y.example>", " "),
            format!("Date: today\n{POST}"),
            format!("Message-ID: <2@y>\n{POST}"),
            format!("Message-ID : <2@y>\n{POST}"),
            format!("Subject: x\rMessage-ID: <2@y>\n{POST}"),
            POST.replace("<1@y.example>", &format!("<{}@y.example>", "1".repeat(VALUE))),
            String::new(),
        ] {
            assert_eq!(of(&other), None, "{other}");
        }
    }
}
