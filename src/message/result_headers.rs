//! Finds the result fields of an incoming message that could pass for those of mailstamp. They are removed before
//! anything else; otherwise senders could classify their own mail. In doubt a field is removed.

use super::auth_results::{AUTHENTICATION_RESULTS, trusted_fields};
use super::encoded_word;
use super::header::Field;
use super::header::slice;
use super::parse::Message;
use super::tolerant::{hidden, is_named, parts};
use memchr::memmem;

/// Name of the field with the verdict.
pub const CLASS_FIELD: &str = "Digital-Stamp-Class";

/// Longest authserv-id, a host name, with its trailing dot.
const LONGEST: usize = 254;

/// Returns every field that reads as a `Digital-Stamp-Class`, and with an `authserv_id` every `Authentication-Results`
/// field that claims it or could be read so (RFC 8601 section 5), except the fields of `trusted` hosts in the trusted
/// zone: see [`trusted_fields`]. [`super::edit::Edit::remove`] removes them.
///
/// Such a field may hide behind a lone CR in another field, or in a line that is no field. Then only the hidden line is
/// returned, so that the other stays. If it hides in the other's name, the whole field is returned, since the rest
/// would be a field of another name.
pub fn result_fields<'a>(
    message: &Message<'a>,
    authserv_id: Option<&str>,
    trusted: &[String],
) -> impl Iterator<Item = Field<'a>> {
    let kept: Vec<usize> = match authserv_id {
        Some(_) => trusted_fields(message, trusted).iter().map(|found| found.field.start()).collect(),
        None => Vec::new(),
    };
    let ours = move |field: &Field<'_>| {
        let results = |id| {
            is_named(field, AUTHENTICATION_RESULTS) && claims(field, id) && kept.binary_search(&field.start()).is_err()
        };
        is_named(field, CLASS_FIELD) || authserv_id.is_some_and(results)
    };
    parts(message).flat_map(move |field| {
        let in_name = field.start() + field.name().len();
        if ours(&field) || hidden(field).any(|line| line.start() < in_name && ours(&line)) {
            return vec![field];
        }
        hidden(field).filter(&ours).collect()
    })
}

/// Returns whether the authserv-id of an `Authentication-Results` value is `id`, or is ambiguous (RFC 8601 2.2).
fn claims(field: &Field, id: &str) -> bool {
    let value = encoded_word::decode(&field.unfolded());
    let id = id.trim_end_matches('.').to_ascii_lowercase();
    let id = id.as_bytes();
    let Some((claimed, gaps)) = authserv_id(&value) else {
        // A comment or a quoted string without an end: readers disagree on where the id stops.
        return memmem::find(&value.to_ascii_lowercase(), id).is_some();
    };
    // Without an id (only methods, as before RFC 5451), any host may be meant.
    if claimed.is_empty() || claimed.contains(&b'=') {
        return true;
    }
    let goes_on = |b: &u8| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'_' | b'.') || *b >= 0x80;
    let names = |claimed: &[u8]| {
        let after = claimed.strip_prefix(id);
        after.is_some_and(|after| !after.strip_prefix(b".").unwrap_or(after).first().is_some_and(goes_on))
    };
    // `mx.example. 1` is an old-style domain with a blank in it, or an id with its trailing dot and a version.
    names(&claimed) || gaps.iter().any(|&gap| names(slice(&claimed, 0, gap)))
}

/// Returns the text at the position of the authserv-id, in lower case, without comments, quotes and blanks around it.
/// Blanks and comments around its dots are removed too (an old-style domain may have them). Also returns their offsets,
/// since the id could end there as well. `None` when it is ambiguous.
fn authserv_id(value: &[u8]) -> Option<(Vec<u8>, Vec<usize>)> {
    let (mut id, mut gaps): (Vec<u8>, Vec<usize>) = (Vec::new(), Vec::new());
    let (mut depth, mut quoted, mut gap) = (0_usize, false, false);
    let mut bytes = value.iter().copied();
    while let Some(byte) = bytes.next() {
        let byte = match byte {
            b'\\' if quoted || depth > 0 => match bytes.next() {
                Some(_) if depth > 0 => continue,
                Some(escaped) => escaped,
                None => break,
            },
            b'"' if depth == 0 => {
                quoted = !quoted;
                continue;
            }
            _ if quoted => byte,
            b'(' => {
                depth += 1;
                gap = true;
                continue;
            }
            b')' if depth > 0 => {
                depth -= 1;
                continue;
            }
            _ if depth > 0 => continue,
            b';' => return Some((id, gaps)),
            _ if byte <= b' ' || byte == 0x7f => {
                gap = true;
                continue;
            }
            _ => byte,
        };
        if byte <= b' ' || id.is_empty() && !(byte.is_ascii_alphanumeric() || byte >= 0x80) {
            // No id begins so.
            continue;
        }
        if gap && !id.is_empty() {
            if byte != b'.' && byte != b'=' && id.last() != Some(&b'.') {
                return Some((id, gaps));
            }
            if id.len() <= LONGEST {
                gaps.push(id.len());
            }
        }
        gap = false;
        id.push(byte.to_ascii_lowercase());
    }
    (depth == 0 && !quoted).then_some((id, gaps))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::message::edit::Edit;

    fn cleaned(raw: &[u8]) -> Vec<u8> {
        let message = Message::parse(raw);
        let mut edit = Edit::new(&message);
        result_fields(&message, Some("mx.example"), &[]).for_each(|field| edit.remove(&field));
        edit.to_vec()
    }

    // Threat 8.
    #[test]
    fn a_class_field_goes_however_it_is_spelled() {
        for spelling in [
            "Digital-Stamp-Class: first-class",
            "digital-stamp-class: first-class",
            "DIGITAL-STAMP-CLASS: first-class",
            "dIgItAl-StAmP-cLaSs:first-class",
            "Digital-Stamp-Class : first-class",
            "Digital-Stamp-Class\t: first-class",
            "Digital-Stamp-Class \t : first-class",
            "Digital-Stamp-Class:\tfirst-class",
            "Digital-Stamp-Class:\n first-class",
            "Digital-Stamp-Class:\r\n\tfirst-class",
            "Digital-Stamp-Class:\n \n first-class",
            "Digital-Stamp-Class: first-\n class; reason=paid",
            "Digital-Stamp-Class:",
            "Digital-Stamp-Class: first-class\r",
            "Digital-Stamp-Class: first\0class",
            "Digital-Stamp-Class\0: first-class",
            "Digital\0-Stamp-Class: first-class",
            "Digital-Stamp-Class\x0b: first-class",
            "Digital-Stamp-Class\x0c: first-class",
            "Digital-Stamp-Class\x7f: first-class",
            "Digital-Stamp-Class\u{a0}: first-class",
            "\u{feff}Digital-Stamp-Class: first-class",
            "\x08Digital-Stamp-Class: first-class",
            "Digital-Stamp-Class\r: first-class",
            "Digital-Stamp-Class: =?utf-8?q?first-class?=",
            "Digital-Stamp-Class: first-class\r\n unstamped",
            "Digital-Stamp-Class: a\rX: b",
            "Digital-Stamp -Class: first-class",
            "Digital-Stamp-Class: (comment) first-class",
            "Digital-Stamp-Class: first-class\nDigital-Stamp-Class: first-class",
            "Digital-Stamp-Class::first-class",
        ] {
            for end in ["\n", "\r\n"] {
                let raw = format!("A: 1{end}{spelling}{end}B: 2{end}{end}Digital-Stamp-Class: body{end}");
                let left = format!("A: 1{end}B: 2{end}{end}Digital-Stamp-Class: body{end}");
                assert_eq!(String::from_utf8_lossy(&cleaned(raw.as_bytes())), left, "{spelling:?}");
                let first = format!("From x@y Sat Nov 21 12:00:00 2026\n{spelling}{end}{end}");
                let left = format!("From x@y Sat Nov 21 12:00:00 2026\n{end}");
                assert_eq!(String::from_utf8_lossy(&cleaned(first.as_bytes())), left, "{spelling:?}");
            }
            assert!(cleaned(spelling.as_bytes()).is_empty(), "{spelling:?}");
            assert_eq!(cleaned(format!("no colon\n{spelling}\n\n").as_bytes()), b"no colon\n\n");
        }
    }

    #[test]
    fn a_class_field_behind_a_lone_cr_goes_alone() {
        let cases: [(&[u8], &[u8]); 9] = [
            // Not a field, since it continues nothing.
            (b" a\rDigital-Stamp-Class: x\nB: 2\n", b" a\r\nB: 2\n"),
            (b" a\r\n\tb\rDigital-Stamp-Class: x\r\nB: 2\n", b" a\r\n\tb\r\r\nB: 2\n"),
            (b"Subject: a\rDigital-Stamp-Class: x\nB: 2\n", b"Subject: a\r\nB: 2\n"),
            (b"Subject: a\r\rDigital-Stamp-Class: x\r\nB: 2\n", b"Subject: a\r\r\r\nB: 2\n"),
            (b"Subject: a\rDigital-Stamp-Class: x\rC: 3\nB: 2\n", b"Subject: a\rC: 3\nB: 2\n"),
            (b"Subject: a\rdigital-stamp-class : x\rdigital-stamp-class:y\n\n", b"Subject: a\r\n\n"),
            // The rest must not have a new name.
            (b"A: 1\nDigital-Stamp-\rDigital-Stamp-Class: x\rClass: first-class\nB: 2\n", b"A: 1\nB: 2\n"),
            (b"Authentication-\rAuthentication-Results: mx.example; x\rResults: mx.example; dkim=pass\n\n", b"\n"),
            (b"Subject: a\rC: Digital-Stamp-Class: x\n\n", b"Subject: a\rC: Digital-Stamp-Class: x\n\n"),
        ];
        for (raw, left) in cases {
            assert_eq!(cleaned(raw), left, "{:?}", String::from_utf8_lossy(raw));
        }
    }

    #[test]
    fn a_class_field_below_an_empty_line_with_cr_goes() {
        // procmail's header ends at two LFs.
        let cases: [(&[u8], &[u8]); 6] = [
            (
                b"A: 1\n\r\nDigital-Stamp-Class: x\nB: 2\n\nDigital-Stamp-Class: y\n",
                b"A: 1\n\r\nB: 2\n\nDigital-Stamp-Class: y\n",
            ),
            (b"A: 1\n\r\ntext\ndigital-stamp-class : x\n y\n", b"A: 1\n\r\ntext\n"),
            (b"A: 1\r\nB: 2\n\r\nAuthentication-Results: mx.example; x\nC: 3\n\n", b"A: 1\r\nB: 2\n\r\nC: 3\n\n"),
            (b"A: 1\n\r\nC: 3\rDigital-Stamp-Class: x\n\n", b"A: 1\n\r\nC: 3\r\n\n"),
            // The header ends for everyone.
            (b"A: 1\n\r\n\nDigital-Stamp-Class: x\n", b"A: 1\n\r\n\nDigital-Stamp-Class: x\n"),
            (b"A: 1\r\n\r\nDigital-Stamp-Class: x\r\n", b"A: 1\r\n\r\nDigital-Stamp-Class: x\r\n"),
        ];
        for (raw, left) in cases {
            assert_eq!(cleaned(raw), left, "{:?}", String::from_utf8_lossy(raw));
        }
    }

    #[test]
    fn other_fields_stay() {
        let raw = b"Digital-Stamp: v4\nX-Digital-Stamp-Class: a\nDigital-Stamp-Class-X: b\nSubject: Digital-Stamp-Class: c\n\n";
        assert_eq!(cleaned(raw), raw);
        assert_eq!(cleaned(b""), b"");
    }

    // Threat 9.
    #[test]
    fn authentication_results_go_when_they_claim_our_id() {
        for value in [
            "mx.example; spf=pass",
            "MX.Example; spf=pass",
            "mx.example.; spf=pass",
            "mx.example 1; spf=pass",
            "mx.example. 1; spf=pass",
            "mx.example.(no)1; spf=pass",
            "mx.example .org; spf=pass",
            "mx.example/1; spf=pass",
            "\"mx.example\"; spf=pass",
            "\"m\\x.example\" 1; spf=pass",
            "(a comment) mx.example; spf=pass",
            "(a (nested; \\) ) one) mx.example; none",
            "mx.example (trust me); spf=pass",
            "mx.example",
            "mx.example;",
            "mx . example; spf=pass",
            "mx.(no)example; none",
            "\n\tmx.example;\n\tspf=pass",
            "=?utf-8?q?mx=2Eexample?=; spf=pass",
            "=?us-ascii?B?bXguZXhhbXBsZQ==?= ; spf=pass",
            ", mx.example; spf=pass",
            "; mx.example; spf=pass",
            "mx.example, spf=pass",
            "mx.example(x); spf=pass",
            "(open mx.example; spf=pass",
            "\"mx.example; spf=pass",
            "",
            ";",
            "spf=pass smtp.mailfrom=a@b",
            "spf = pass; dkim=pass",
            "mx.example\0; spf=pass",
            "mx\0.example; spf=pass",
            "\"mx.example \"; none",
            "mx.\r\n example; none",
        ] {
            let raw = format!("A: 1\nauthentication-RESULTS : {value}\nB: 2\n\n");
            assert_eq!(String::from_utf8_lossy(&cleaned(raw.as_bytes())), "A: 1\nB: 2\n\n", "{value:?}");
        }
    }

    #[test]
    fn authentication_results_of_others_stay() {
        for value in [
            "mx.example.org; spf=pass",
            "mx.example-org; spf=pass",
            "mx.examples; spf=pass",
            "amx.example; spf=pass",
            "in.mx.example; spf=pass",
            "other.example; spf=pass reason=\"mx.example\"",
            "(mx.example) other.example; spf=pass",
            "other.example (mx.example); spf=pass",
            "other.example 1; mx.example",
        ] {
            let raw = format!("Authentication-Results: {value}\n\n");
            assert_eq!(String::from_utf8_lossy(&cleaned(raw.as_bytes())), raw, "{value:?}");
        }
        let raw = b"Authentication-Results: mx.example; none\n\n";
        assert_eq!(result_fields(&Message::parse(raw), None, &[]).count(), 0);
    }

    #[test]
    fn results_of_a_trusted_host_stay_in_the_trusted_zone() {
        let trusted = ["mx.example".to_owned(), "inner.example".to_owned(), "-".to_owned()];
        let results = |value: &str| format!("Authentication-Results: {value}\n");
        let left = |raw: &str, id: &str| {
            let message = Message::parse(raw.as_bytes());
            let mut edit = Edit::new(&message);
            result_fields(&message, Some(id), &trusted).for_each(|field| edit.remove(&field));
            String::from_utf8(edit.to_vec()).unwrap()
        };
        let (dkim, spf) = (results("mx.example; dkim=pass header.d=y.example"), results("MX.example. 1; spf=fail"));
        let bare = results("spf=pass smtp.mailfrom=y.example");
        let ours = results("mx.example; x-digital-stamp=pass reason=\"paid\"");
        let received = "Received: from y.example by mx.example\n";
        let forged = [&dkim, &ours, &bare, &results("(c) mx.example; dkim=pass")].map(String::as_str).concat();
        let stay = format!("{dkim}{spf}{bare}X: y\n{received}");
        assert_eq!(left(&format!("{stay}{forged}\n"), "mx.example"), format!("{stay}\n"));
        // As Postfix has it, below its Received field, and fetchmail another one on top; ours of an earlier run go.
        let stay = format!("Received: by fetchmail\n{received}{dkim}{spf}{received}");
        assert_eq!(left(&format!("{ours}{stay}{forged}\n"), "mx.example"), format!("{stay}\n"));
        assert_eq!(left(&format!("{stay}{ours}\n"), "mx.example"), format!("{stay}\n"));
        // Without a Received field all of the header is the zone; other spellings go all the same.
        let odd =
            ["\"mx.example\"; none", "(c) mx.example; none", "=?utf-8?q?mx=2Eexample?=; none", "mx .example; none"];
        for odd in odd {
            let raw = format!("{dkim}{}authentication-results : mx.example; none\n\n", results(odd));
            assert_eq!(left(&raw, "mx.example"), format!("{dkim}\n"), "{odd}");
        }
        // The results of another mailstamp, under another name, are not ours.
        assert_eq!(left(&format!("{ours}{dkim}\n"), "inner.example"), format!("{ours}{dkim}\n"));
        // An unreadable field stays, since it keeps the others from counting.
        let broken = format!("{dkim}{}\n", results("mx.example; a b"));
        assert_eq!(left(&broken, "mx.example"), broken);
    }
}
