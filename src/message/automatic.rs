//! Messages that a program sent, by the field that such programs write (RFC 3834).

use super::parse::Message;

/// Whether `Auto-Submitted` is other than `no`, comments and parameters aside, or the older `Precedence` says so.
#[must_use]
pub fn is_automatic(message: &Message<'_>) -> bool {
    let word = |value: &[u8]| {
        let end = value.iter().position(|b| b";( \t".contains(b)).unwrap_or(value.len());
        value.get(..end).unwrap_or_default().to_ascii_lowercase()
    };
    message.fields().any(|field| {
        let value = field.unfolded();
        let value = word(value.trim_ascii());
        field.name_is("Auto-Submitted") && value != b"no"
            || field.name_is("Precedence") && [&b"bulk"[..], b"junk", b"list"].contains(&value.as_slice())
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn programs_say_so_in_either_field() {
        let is = |raw: &str| is_automatic(&Message::parse(format!("{raw}\nFrom: a@x.example\n\n").as_bytes()));
        for automatic in ["Auto-Submitted: auto-replied", "auto-submitted: auto-generated; x=y", "Auto-Submitted:"] {
            assert!(is(automatic), "{automatic}");
        }
        assert!(is("Precedence: Bulk") && is("Precedence: list (x)") && is("Precedence:junk"));
        for other in ["Auto-Submitted: no", "Auto-Submitted: No (really); x=y", "Precedence: first-class", "X: y"] {
            assert!(!is(other), "{other}");
        }
    }
}
