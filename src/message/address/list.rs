//! Parses the mailboxes of a header field such as From, To or Cc. The `addrparse` of mailparse is not used: it rejects
//! the whole list for one bad entry (an unquoted comma in a name is enough), ends a nested comment too early and cannot
//! read `"joe b"@example.org` outside of angle brackets. Encoded-words occur in display names only (RFC 2047 section 5)
//! and are skipped with them.

use super::{Address, canonical_domain, is_atext, quoted_string};
use std::borrow::Cow;

/// Longest field that is read: as much as a whole header block may have. A longer one has no addresses.
const FIELD_MAX: usize = 256 * 1024;

/// White space between the tokens of a field.
const BLANKS: [char; 4] = [' ', '\t', '\r', '\n'];

/// Default limit on the addresses returned.
const ADDRESSES_MAX: usize = 100;

/// Returns the addresses of a field's value in their order, without names, comments, groups and folding (RFC 5322
/// section 3.4), also those in the obsolete forms of section 4.4: with blanks and comments beside `@` and `.`, or with
/// a route (`<@a.example,@b.example:joe@x.example>`), which is dropped. A malformed entry is left out; the others still
/// count. At most 100; none when the field is longer than 256 KiB. Linear in its length.
#[must_use]
pub fn addresses(value: &[u8]) -> Vec<Address> {
    addresses_up_to(value, ADDRESSES_MAX)
}

/// Returns what [`addresses`] returns, but at most `most`.
#[must_use]
pub fn addresses_up_to(value: &[u8], most: usize) -> Vec<Address> {
    if value.len() > FIELD_MAX {
        return Vec::new();
    }
    entries(value, most).into_iter().filter_map(Result::ok).collect()
}

/// Returns the entries of a field's value: an address each, or the text of an entry that is none, such as a bare name
/// as local programs write it (`To: root`). So no entry is skipped silently where each means a recipient. Groups
/// without members have no entries. At most `most` addresses, and as many other entries, of a field of any length.
#[must_use]
pub fn entries(value: &[u8], most: usize) -> Vec<Result<Address, String>> {
    read(value, most).0
}

/// Returns the addresses of a field in which other programs find the same ones. `None` where they may find others: an
/// entry is no address, or has more beside it than a name and comments; there is a group, or a route of several hosts;
/// there are more than 100. A bare name counts as a part of the next entry's name (`Doe, Joe <joe@x.example>`).
#[must_use]
pub fn clear_addresses(value: &[u8]) -> Option<Vec<Address>> {
    let (found, is_clear) = read(value, ADDRESSES_MAX + 1);
    let is_clear = is_clear && value.len() <= FIELD_MAX && found.len() <= ADDRESSES_MAX;
    is_clear.then(|| found.into_iter().filter_map(Result::ok).collect())
}

/// As [`entries`], and whether all of it is clear.
fn read(value: &[u8], most: usize) -> (Vec<Result<Address, String>>, bool) {
    let mut found = Vec::new();
    let mut is_clear = true;
    if most == 0 {
        return (found, is_clear);
    }
    let mut addresses = 0;
    let mut others = 0;
    // Returns whether more entries fit.
    let mut take = |entry: Entry| {
        is_clear &= entry.is_clear();
        match entry.read() {
            Some(Ok(address)) => {
                addresses += 1;
                found.push(Ok(address));
            }
            Some(Err(text)) if others < most => {
                others += 1;
                found.push(Err(text));
            }
            _ => {}
        }
        addresses < most
    };
    let text = String::from_utf8_lossy(value);
    let mut entry = Entry::default();
    let mut chars = text.chars();
    while let Some(c) = chars.next() {
        match c {
            '(' => {
                entry.broken |= !skip_comment(&mut chars);
                // A comment separates, as a blank does (RFC 5322 section 3.2.2).
                entry.push(' ');
            }
            '"' => entry.quoted_string(&mut chars),
            '[' => entry.literal(&mut chars),
            '<' if entry.angle == Angle::None => entry.open(),
            '>' if entry.angle == Angle::Open => entry.angle = Angle::Closed,
            ',' | ';' if entry.angle != Angle::Open => {
                entry.odd |= c == ';';
                if !take(std::mem::take(&mut entry)) {
                    return (found, is_clear);
                }
            }
            // The name of a group ends here. An address is no name.
            ':' if entry.angle == Angle::None && !entry.is_address() => entry = Entry { odd: true, ..Entry::default() },
            c => entry.push(c),
        }
    }
    take(entry);
    (found, is_clear)
}

/// State of the parser within one entry.
#[derive(Default)]
struct Entry {
    /// The address so far: the text in angle brackets or, without them, all of it.
    text: String,
    angle: Angle,
    /// Text follows the angle brackets, or a comment has no end.
    broken: bool,
    /// It is in a group, or what is before the angle brackets is no name.
    odd: bool,
}

#[derive(Default, PartialEq)]
enum Angle {
    #[default]
    None,
    Open,
    Closed,
}

impl Entry {
    /// Ends the display name.
    fn open(&mut self) {
        self.odd |= !is_phrase(&self.text);
        self.text.clear();
        self.angle = Angle::Open;
    }

    fn push(&mut self, c: char) {
        if self.angle == Angle::Closed {
            self.broken |= !c.is_ascii_whitespace();
        } else {
            self.text.push(c);
        }
    }

    /// Reads up to the closing quote. Quotes and escapes stay, for `Address::parse` to judge.
    fn quoted_string(&mut self, chars: &mut impl Iterator<Item = char>) {
        self.push('"');
        while let Some(c) = chars.next() {
            match c {
                // Folding (RFC 5322 section 3.2.4).
                '\r' | '\n' => continue,
                c => self.push(c),
            }
            match c {
                '"' => return,
                '\\' => chars.next().into_iter().for_each(|c| self.push(c)),
                _ => {}
            }
        }
    }

    fn literal(&mut self, chars: &mut impl Iterator<Item = char>) {
        self.push('[');
        for c in chars {
            self.push(c);
            if c == ']' {
                return;
            }
        }
    }

    fn trimmed(&self) -> &str {
        self.text.trim_matches(BLANKS)
    }

    fn is_address(&self) -> bool {
        self.address().is_some()
    }

    fn address(&self) -> Option<Address> {
        let text = joined(self.trimmed());
        let bare = if self.angle == Angle::Closed { without_route(&text)? } else { &text };
        Address::parse(bare).ok()
    }

    /// Returns whether other programs read the same in it: an address with its name, or a bare name.
    fn is_clear(&self) -> bool {
        let text = self.trimmed();
        // Some programs decode encoded-words in an address too (RFC 2047 section 5 forbids them there).
        let has_words = text.contains("=?");
        let has_long_route = text.starts_with(['@', ',']) && text.contains(',');
        let is_address = self.is_address() && !has_long_route && !text.ends_with('.');
        let is_name = || self.angle == Angle::None && !text.is_empty() && !text.contains('@') && is_phrase(text);
        (is_address || is_name()) && !has_words && self.angle != Angle::Open && !self.broken && !self.odd
    }

    /// Returns the address, or the text of an invalid entry; `None` for an empty one.
    fn read(self) -> Option<Result<Address, String>> {
        let text = self.trimmed();
        if self.angle == Angle::Open || self.broken {
            // The bracket tells the content from a bare name.
            return Some(Err(format!("<{text}")));
        }
        match self.address() {
            Some(address) => Some(Ok(address)),
            None if text.is_empty() && self.angle == Angle::None => None,
            None => Some(Err(text.to_owned())),
        }
    }
}

/// Returns whether a text without comments can be a name: words and quoted strings (RFC 5322 section 3.2.5) with blanks
/// around the strings, and dots, though none at the beginning (section 4.1).
fn is_phrase(text: &str) -> bool {
    let mut rest = text.trim_start_matches(BLANKS);
    if rest.starts_with('.') {
        return false;
    }
    while let Some(c) = rest.chars().next() {
        let after = if c == '"' {
            let mut chars = rest.chars();
            chars.next();
            if quoted_string(&mut chars, &mut String::new()).is_err() {
                return false;
            }
            chars.as_str()
        } else {
            rest.trim_start_matches(|c| is_atext(c) || c == '.')
        };
        let next = after.trim_start_matches(BLANKS);
        if after.len() == rest.len() || next.len() == after.len() && !next.is_empty() {
            return false;
        }
        rest = next;
    }
    true
}

/// Returns an address without the blanks beside its `@` and its dots (RFC 5322 section 4.4, `obs-local-part` and
/// `obs-domain`). Quoted strings and domain literals stay as they are.
fn joined(text: &str) -> Cow<'_, str> {
    if !text.contains(BLANKS) {
        return Cow::Borrowed(text);
    }
    let mut out = String::with_capacity(text.len());
    let mut joins = false;
    let mut chars = text.chars();
    while let Some(c) = chars.next() {
        match c {
            '"' | '[' => {
                out.push(c);
                let end = if c == '"' { '"' } else { ']' };
                while let Some(c) = chars.next() {
                    out.push(c);
                    match c {
                        '\\' if end == '"' => out.extend(chars.next()),
                        c if c == end => break,
                        _ => {}
                    }
                }
            }
            '@' | '.' => {
                out.truncate(out.trim_end_matches(BLANKS).len());
                out.push(c);
            }
            c if joins && BLANKS.contains(&c) => continue,
            c => out.push(c),
        }
        joins = matches!(c, '@' | '.');
    }
    Cow::Owned(out)
}

/// Returns the address behind a route (RFC 5322 section 4.4, `obs-route`), which no host follows any more (RFC 5321
/// appendix C). `None` for a broken route.
fn without_route(text: &str) -> Option<&str> {
    let mut rest = text;
    if !rest.starts_with(['@', ',']) {
        return Some(text);
    }
    loop {
        rest = rest.trim_start_matches([' ', '\t', '\r', '\n', ',']);
        let Some(domain) = rest.strip_prefix('@') else { return rest.strip_prefix(':').map(str::trim_start) };
        let literal = if domain.starts_with('[') { domain.find(']')? } else { 0 };
        let end = literal + domain.get(literal..)?.find([',', ':'])?;
        canonical_domain(domain.get(..end)?.trim_end()).ok()?;
        rest = domain.get(end..)?;
    }
}

/// Skips the rest of a comment, nested ones included (RFC 5322 section 3.2.2). Returns whether it has an end.
fn skip_comment(chars: &mut impl Iterator<Item = char>) -> bool {
    let mut depth = 1_usize;
    while let Some(c) = chars.next() {
        match c {
            '(' => depth += 1,
            ')' if depth == 1 => return true,
            ')' => depth -= 1,
            '\\' => drop(chars.next()),
            _ => {}
        }
    }
    false
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn read(value: &str) -> Vec<String> {
        addresses(value.as_bytes()).iter().map(Address::to_string).collect()
    }

    #[test]
    fn names_comments_groups_and_folding_are_removed() {
        for (value, expected) in [
            (" Joe <joe@example.org>\r\n", vec!["joe@example.org"]),
            ("joe@example.org", vec!["joe@example.org"]),
            ("<joe@example.org>", vec!["joe@example.org"]),
            ("a@b.c, \"x, <y@z.c>\" <d@e.f>", vec!["a@b.c", "d@e.f"]),
            ("\"a \\\" <no@b.c>, \" <d@e.f>", vec!["d@e.f"]),
            ("joe@example.org (Joe (the (real) one), <x@y.z>), b@c.d", vec!["joe@example.org", "b@c.d"]),
            ("joe(comment)@example.org", vec!["joe@example.org"]),
            ("friends: a@b.c, D <d@e.f>;, g@h.i", vec!["a@b.c", "d@e.f", "g@h.i"]),
            ("undisclosed-recipients:;", vec![]),
            ("=?utf-8?q?J=2C_?= <joe@example.org>", vec!["joe@example.org"]),
            ("J\r\n <joe@example.org\r\n >", vec!["joe@example.org"]),
            ("\"joe b\"@example.org", vec!["\"joe b\"@example.org"]),
            ("Joe <\"j>,o\"@example.org>", vec!["\"j>,o\"@example.org"]),
            ("joe@[IPv6:2001:db8::1], a@b.c", vec!["joe@[IPv6:2001:db8::1]", "a@b.c"]),
            ("evil@a.b <good@c.d>", vec!["good@c.d"]),
            // RFC 5322 section 4.4.
            ("<@a.example,@b.example:joe@x.example>", vec!["joe@x.example"]),
            ("Joe <@a.example, , @[IPv6:2001:db8::1] : joe @ x.example>, g@h.i", vec!["joe@x.example", "g@h.i"]),
            ("joe @ x.example", vec!["joe@x.example"]),
            ("Joe <joe @\r\n x.example>", vec!["joe@x.example"]),
            ("joe (c) @ (d) x.example", vec!["joe@x.example"]),
            ("j . q@x . example (Joe)", vec!["j.q@x.example"]),
            ("\"a . b\" @ x.example", vec!["\"a . b\"@x.example"]),
            ("(home) joe@x.example", vec!["joe@x.example"]),
            ("", vec![]),
        ] {
            assert_eq!(read(value), expected, "{value:?}");
        }
    }

    #[test]
    fn a_bad_entry_is_left_out_and_the_others_count() {
        for (value, expected) in [
            ("Doe, Joe <joe@example.org>", vec!["joe@example.org"]),
            ("<a@b.c> <d@e.f>, g@h.i", vec!["g@h.i"]),
            ("<a@b.c> x, g@h.i", vec!["g@h.i"]),
            ("<@a.b,c.d:e@f.g>, g@h.i", vec!["g@h.i"]),
            ("<@a.b,@c.d e@f.g>, g@h.i", vec!["g@h.i"]),
            ("<@a_.b@:e@f.g>, g@h.i", vec!["g@h.i"]),
            ("@a.b:e@f.g, g@h.i", vec!["e@f.g", "g@h.i"]),
            ("jo(c)e@x.example, g@h.i", vec!["g@h.i"]),
            ("j q@x.example, g@h.i", vec!["g@h.i"]),
            ("joe@x y.example, g@h.i", vec!["g@h.i"]),
            ("<a@b.c", vec![]),
            ("a@b.c, \"open <d@e.f>", vec!["a@b.c"]),
            ("a@b.c, (open <d@e.f>", vec!["a@b.c"]),
            ("a@b.c, Ann (open <d@e.f>, g@h.i", vec!["a@b.c"]),
            ("a@b.c: d@e.f, g@h.i", vec!["g@h.i"]),
            ("a@b.c d@e.f, g@h.i", vec!["g@h.i"]),
        ] {
            assert_eq!(read(value), expected, "{value:?}");
        }
        assert_eq!(addresses(b"\xff\xfe <a@b.c>, \xff@b.c").len(), 1);
    }

    #[test]
    fn what_is_no_address_is_told_where_that_is_asked() {
        let read = |value: &str| -> Vec<String> {
            let told =
                |entry: Result<Address, String>| entry.map_or_else(|text| format!("!{text}"), |it| it.to_string());
            entries(value.as_bytes(), 3).into_iter().map(told).collect()
        };
        assert_eq!(read("root, Joe <joe@x.example>, <bob>\r\n"), ["!root", "joe@x.example", "!bob"]);
        assert_eq!(read("undisclosed-recipients:;, ,"), [""; 0]);
        assert_eq!(read("<a@b.c, \"d e\" <f@g.h> x"), ["!<a@b.c, \"d e\" <f@g.h"]);
        assert_eq!(read("a@b.c x@y.z"), ["!a@b.c x@y.z"]);
        assert_eq!(read("Ann (home <a@b.c>, d@e.f"), ["!<Ann"]);
        assert_eq!(read("a@b.c:, \"d@e.f\": g@h.i;"), ["!a@b.c:", "g@h.i"]);
        assert_eq!(read("=?utf-8?Q?old=40b.c=2C_J=3A=28?= <d@e.f>"), ["d@e.f"]);
        assert_eq!(read("a@b.c,b@b.c,c@b.c,d@b.c"), ["a@b.c", "b@b.c", "c@b.c"]);
    }

    #[test]
    fn number_and_length_are_capped() {
        assert_eq!(addresses("a@b.c, ".repeat(101).as_bytes()).len(), 100);
        let mut long = b"a@b.c,".to_vec();
        long.resize(FIELD_MAX, b' ');
        assert_eq!(addresses(&long).len(), 1);
        long.push(b' ');
        assert_eq!(addresses(&long).len(), 0);
        assert_eq!(entries(&long, 3).len(), 1);
    }

    proptest! {
        #[test]
        fn any_bytes_can_be_read(value in proptest::collection::vec(any::<u8>(), 0..200)) {
            let _ = addresses(&value);
        }

        #[test]
        fn what_was_written_is_read_back(value in "[a-z.\"\\\\@<>,:;() \\[\\]]{0,40}") {
            let found = addresses(value.as_bytes());
            let line = found.iter().map(|a| format!("Name <{a}>")).collect::<Vec<_>>().join(", ");
            prop_assert_eq!(addresses(line.as_bytes()), found);
        }
    }
}
