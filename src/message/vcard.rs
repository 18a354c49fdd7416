//! vCard files of versions 2.1, 3.0 (RFC 2426) and 4.0 (RFC 6350), as far as mail addresses go: the EMAIL properties of
//! each card. What programs write differs from the standards, so a reader must be tolerant. Other properties are
//! skipped unread.
//!
//! Lines come in one by one, so a file of any length needs little memory.

use super::address::{Address, entries};
use super::charset;
use super::transfer_encoding::{base64, quoted_printable};
use memchr::memchr;

/// Longest property that is read, in bytes. Photos are longer.
const PROPERTY: usize = 64 * 1024;
/// Bytes of a property in which its parameters must end if lines go on after `=`. They are read again at each such line.
const HEAD: usize = 1024;
/// Most addresses of a card.
pub const ADDRESSES: usize = 1_000;

/// Something in the file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Item {
    /// The addresses of a card.
    Card(Vec<Address>),
    /// The EMAIL property on this line has no address.
    NoAddress { line: u64, text: String },
    /// The card has more addresses than are read, and the first of the others are on this line.
    Full { line: u64 },
    /// The card that begins or ends on this line is not whole. It is skipped.
    Broken { line: u64, why: BrokenCard },
}

/// Reason why a card is not whole.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum BrokenCard {
    #[error("the card has no END:VCARD")]
    NoEnd,
    #[error("END:VCARD without BEGIN:VCARD")]
    NoBegin,
}

/// Reader of a file.
#[derive(Debug, Default)]
pub struct Reader {
    /// Lines read.
    line: u64,
    /// The property that is read, unfolded, and the line on which it begins.
    property: Vec<u8>,
    begins: u64,
    card: Option<Card>,
}

#[derive(Debug, Default)]
struct Card {
    begins: u64,
    addresses: Vec<Address>,
    /// Line of the first address that found no space.
    full: Option<u64>,
    faults: Vec<Item>,
    /// Cards inside this one (AGENT of versions 2.1 and 3.0).
    agents: usize,
    /// The last property was an AGENT without a value, so that a card follows.
    expects_agent: bool,
}

impl Reader {
    /// Reads the next line, with or without its line end.
    pub fn line(&mut self, line: &[u8], to: &mut dyn FnMut(Item)) {
        self.line += 1;
        let line = if self.line == 1 { line.strip_prefix("\u{feff}".as_bytes()).unwrap_or(line) } else { line };
        let line = line.strip_suffix(b"\n").unwrap_or(line);
        let line = line.strip_suffix(b"\r").unwrap_or(line);
        if self.property.ends_with(b"=") && is_quoted_printable(&self.property) {
            self.property.pop();
            self.append(line.trim_ascii_start());
        } else if let ([b' ' | b'\t', rest @ ..], false) = (line, self.property.is_empty()) {
            self.append(rest);
        } else {
            self.end_property(to);
            self.begins = self.line;
            self.append(line);
        }
    }

    /// Ends the file.
    pub fn end(mut self, to: &mut dyn FnMut(Item)) {
        self.end_property(to);
        self.broken(to);
    }

    fn append(&mut self, text: &[u8]) {
        let space = PROPERTY.saturating_sub(self.property.len());
        self.property.extend_from_slice(text.get(..space).unwrap_or(text));
    }

    fn end_property(&mut self, to: &mut dyn FnMut(Item)) {
        let property = std::mem::take(&mut self.property);
        if let Some((head, value)) = split(&property) {
            self.apply(&head, value, to);
        }
        // Its memory is used again.
        self.property = property;
        self.property.clear();
    }

    fn apply(&mut self, head: &Head<'_>, value: &[u8], to: &mut dyn FnMut(Item)) {
        let is_card = value.trim_ascii().eq_ignore_ascii_case(b"VCARD");
        if head.is("BEGIN") && is_card {
            match &mut self.card {
                Some(card) if card.expects_agent => {
                    card.agents += 1;
                    card.expects_agent = false;
                    return;
                }
                _ => self.broken(to),
            }
            self.card = Some(Card { begins: self.begins, ..Card::default() });
        } else if head.is("END") && is_card {
            match &mut self.card {
                None => to(Item::Broken { line: self.begins, why: BrokenCard::NoBegin }),
                Some(card) if card.agents > 0 => card.agents -= 1,
                Some(_) => {
                    let card = self.card.take().unwrap_or_default();
                    card.faults.into_iter().chain(card.full.map(|line| Item::Full { line })).for_each(&mut *to);
                    to(Item::Card(card.addresses));
                }
            }
        } else if let Some(card) = &mut self.card {
            card.expects_agent = head.is("AGENT") && value.trim_ascii().is_empty();
            if head.is("EMAIL") && !head.has("X400") {
                card.email(head, value, self.begins);
            }
        }
    }

    /// Gives up the open card, if there is one.
    fn broken(&mut self, to: &mut dyn FnMut(Item)) {
        if let Some(card) = self.card.take() {
            to(Item::Broken { line: card.begins, why: BrokenCard::NoEnd });
        }
    }
}

impl Card {
    fn email(&mut self, head: &Head<'_>, value: &[u8], line: u64) {
        let text = decode(head, value);
        let text = address_of(&text);
        let space = ADDRESSES.saturating_sub(self.addresses.len());
        for entry in entries(text.as_bytes(), space + 1) {
            match entry {
                Ok(address) if self.addresses.len() < ADDRESSES => self.addresses.push(address),
                Err(text) if self.faults.len() < ADDRESSES => self.faults.push(Item::NoAddress { line, text }),
                Ok(_) | Err(_) => drop(self.full.get_or_insert(line)),
            }
        }
    }
}

/// Name and parameters of a property.
struct Head<'a> {
    /// Without its group.
    name: &'a [u8],
    parameters: &'a [u8],
}

impl Head<'_> {
    fn is(&self, name: &str) -> bool {
        self.name.eq_ignore_ascii_case(name.as_bytes())
    }

    /// Returns each parameter as name and value. Version 2.1 has values alone.
    fn each(&self) -> impl Iterator<Item = (&[u8], &[u8])> {
        self.parameters.split(|&byte| byte == b';').map(|parameter| match memchr(b'=', parameter) {
            Some(at) => (parameter[..at].trim_ascii(), parameter[at + 1..].trim_ascii()),
            None => (&b""[..], parameter.trim_ascii()),
        })
    }

    /// Returns the value of a parameter.
    fn value(&self, name: &str) -> Option<&[u8]> {
        self.each().find(|(known, _)| known.eq_ignore_ascii_case(name.as_bytes())).map(|(_, value)| value)
    }

    /// Returns whether a parameter has this word among its values.
    fn has(&self, word: &str) -> bool {
        let is_word = |value: &[u8]| value.trim_ascii().eq_ignore_ascii_case(word.as_bytes());
        self.each().any(|(_, values)| values.split(|byte| b",\"".contains(byte)).any(is_word))
    }
}

/// Splits a property at its colon, which is the first one outside quotation marks.
fn split(property: &[u8]) -> Option<(Head<'_>, &[u8])> {
    let mut quoted = false;
    let outside = property.iter().position(|&byte| {
        quoted ^= byte == b'"';
        byte == b':' && !quoted
    });
    // A quotation mark without its partner is none.
    let colon = outside.or_else(|| memchr(b':', property))?;
    let (head, value) = (&property[..colon], &property[colon + 1..]);
    let (name, parameters) = head.split_at(memchr(b';', head).unwrap_or(head.len()));
    let group = name.iter().rposition(|&byte| byte == b'.').map_or(0, |dot| dot + 1);
    Some((Head { name: name[group..].trim_ascii(), parameters: parameters.get(1..).unwrap_or_default() }, value))
}

fn is_quoted_printable(property: &[u8]) -> bool {
    split(&property[..property.len().min(HEAD)]).is_some_and(|(head, _)| head.has("QUOTED-PRINTABLE"))
}

/// Returns the value as text.
fn decode(head: &Head<'_>, value: &[u8]) -> String {
    let bytes = if head.has("QUOTED-PRINTABLE") {
        quoted_printable(value)
    } else if head.has("BASE64") || head.value("ENCODING").is_some_and(|it| it.eq_ignore_ascii_case(b"b")) {
        base64(value)
    } else {
        value.to_vec()
    };
    let charset = head.value("CHARSET").unwrap_or_default();
    charset::decode(&String::from_utf8_lossy(charset), &bytes)
}

/// Returns the address as mail has it: without escapes, and without the scheme and the fields of a `mailto:` URI (RFC
/// 6068).
fn address_of(text: &str) -> String {
    let text = text.trim();
    if let Some((scheme, rest)) = text.split_at_checked(7)
        && scheme.eq_ignore_ascii_case("mailto:")
    {
        let address = rest.split('?').next().unwrap_or_default();
        return String::from_utf8_lossy(&without_percent(address.as_bytes())).into_owned();
    }
    let mut plain = String::with_capacity(text.len());
    let mut chars = text.chars();
    while let Some(c) = chars.next() {
        match (c, chars.as_str().chars().next()) {
            // In front of an '@', it stands within an address, and no list may be cut there.
            ('\\', Some(',' | ';')) if !plain.rsplit([',', ';']).next().unwrap_or_default().contains('@') => {
                chars.next();
                plain.push(' ');
            }
            ('\\', Some(',' | ';' | ':' | '@' | '.')) => {}
            _ => plain.push(c),
        }
    }
    plain
}

/// Decodes `%41`.
fn without_percent(text: &[u8]) -> Vec<u8> {
    let digit = |byte: Option<&u8>| byte.and_then(|&byte| char::from(byte).to_digit(16));
    let mut out = Vec::with_capacity(text.len());
    let mut rest = text;
    while let Some((&byte, after)) = rest.split_first() {
        rest = after;
        let pair = (byte == b'%').then(|| digit(after.first()).zip(digit(after.get(1)))).flatten();
        match pair.and_then(|(high, low)| u8::try_from(high << 4 | low).ok()) {
            Some(byte) => {
                out.push(byte);
                rest = after.get(2..).unwrap_or_default();
            }
            None => out.push(byte),
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn read(text: &[u8]) -> Vec<Item> {
        let (mut reader, mut items) = (Reader::default(), Vec::new());
        text.split_inclusive(|&byte| byte == b'\n').for_each(|line| reader.line(line, &mut |item| items.push(item)));
        reader.end(&mut |item| items.push(item));
        items
    }

    fn addresses(text: &[u8]) -> Vec<String> {
        let of_item = |item| match item {
            Item::Card(addresses) => addresses.iter().map(ToString::to_string).collect::<Vec<_>>(),
            other => panic!("{other:?}"),
        };
        read(text).into_iter().flat_map(of_item).collect()
    }

    fn card(lines: &str) -> String {
        format!("BEGIN:VCARD\r\n{}\r\nEND:VCARD\r\n", lines.replace('\n', "\r\n"))
    }

    #[test]
    fn each_version_and_habit_is_read() {
        for (lines, found) in [
            ("VERSION:2.1\nN:Doe;Joe\nEMAIL;INTERNET;PREF:joe@x.example", "joe@x.example"),
            ("VERSION:3.0\nEMAIL;TYPE=INTERNET,WORK:joe@x.example", "joe@x.example"),
            ("VERSION:4.0\nEMAIL;TYPE=\"home,work\";PREF=1:joe@x.example", "joe@x.example"),
            ("item1.EMAIL;type=pref:joe@x.example\nitem1.X-ABLabel:_$!<Other>!$_", "joe@x.example"),
            ("email:MAILTO:joe%2Bnews@x.example?subject=hello", "joe+news@x.example"),
            ("EMAIL;X-A=\"a:b;c\":joe@x.example", "joe@x.example"),
            ("EMAIL;X-A=\"a:joe@x.example", "joe@x.example"),
            ("EMAIL;TYPE=WORK:\n joe@x.ex\n\tample", "joe@x.example"),
            ("EMAIL;ENCODING=QUOTED-PRINTABLE:joe=40x.=\nexam=\n  ple", "joe@x.example"),
            ("EMAIL;QUOTED-PRINTABLE;CHARSET=ISO-8859-1:jo=EB@x.example", "jo\u{eb}@x.example"),
            ("EMAIL;CHARSET=UTF-8:jo\u{eb}@x.example", "jo\u{eb}@x.example"),
            ("EMAIL;ENCODING=b:am9lQHguZXhhbXBsZQ==", "joe@x.example"),
            ("EMAIL:\"Doe\\, Joe\" <joe@x.example>", "joe@x.example"),
            ("EMAIL:joe@x.example\\,ann@x.example", "joe@x.example ann@x.example"),
            ("EMAIL:joe@x.example\nEMAIL;HOME:ann@x.example", "joe@x.example ann@x.example"),
            ("EMAIL;X400:G=Joe;S=Doe;C=DE\nEMAIL:\nEMAIL;TYPE=HOME:  ", ""),
            ("NOTE:EMAIL:no@x.example\nX-EMAIL:no@x.example\nEMAILX:no@x.example", ""),
            ("NOTE;ENCODING=QUOTED-PRINTABLE:a=\nEMAIL:no@x.example=\n\nEMAIL:joe@x.example", "joe@x.example"),
            ("NOTE:a\n EMAIL:no@x.example\nnonsense\nEMAIL:joe@x.example", "joe@x.example"),
            ("PHOTO;BASE64:\n  AAAA=\n  AAA=\n\nEMAIL:joe@x.example", "joe@x.example"),
            ("AGENT:\nBEGIN:VCARD\nEMAIL:ann@x.example\nEND:VCARD\nEMAIL:joe@x.example", "ann@x.example joe@x.example"),
        ] {
            assert_eq!(addresses(card(lines).as_bytes()).join(" "), found, "{lines}");
            let bare = format!("\u{feff}begin:vcard\n{lines}\nEnd : vCard ");
            assert_eq!(addresses(bare.as_bytes()).join(" "), found, "{lines}");
        }
    }

    #[test]
    fn a_line_costs_the_same_however_long_the_parameters_are() {
        // Each of these lines ends with '=' and read the parameters again: hours for a file of some megabytes.
        for (line, parameter) in [("=\n", "QUOTED-PRINTABLE;"), (" =\n", "")] {
            let head = format!("EMAIL;{parameter}{}:a=\n", "x".repeat(60_000));
            let text = format!("BEGIN:VCARD\n{head}{}\nEMAIL:joe@x.example\nEND:VCARD\n", line.repeat(200_000));
            assert!(read(text.as_bytes()).iter().any(|item| matches!(item, Item::Card(_))));
        }
    }

    #[test]
    fn what_is_broken_is_told_by_its_line_and_the_rest_is_read() {
        let text = format!(
            "x\n{}BEGIN:VCARD\nEMAIL:no@x.example\n{}END:VCARD\n{}BEGIN:VCARD\nEMAIL:no@x.example",
            card("EMAIL:a@x.example"),
            card("N:b\nEMAIL:joe at x\nEMAIL:b@x.example"),
            card("N:c"),
        );
        let card = |address: &str| Item::Card(vec![Address::parse(address).unwrap()]);
        let broken = |line, why| Item::Broken { line, why };
        assert_eq!(
            read(text.as_bytes()),
            [
                card("a@x.example"),
                broken(5, BrokenCard::NoEnd),
                Item::NoAddress { line: 9, text: "joe at x".to_owned() },
                card("b@x.example"),
                broken(12, BrokenCard::NoBegin),
                Item::Card(vec![]),
                broken(16, BrokenCard::NoEnd),
            ]
        );
        assert_eq!(read(b"\x89PNG\r\n\x1a\n"), []);
        // The rest of an address that cannot be read would be another person's.
        for escaped in ["no\\,no@x.example", "no\\;no@x.example"] {
            let told = Item::NoAddress { line: 2, text: "no no@x.example".to_owned() };
            assert_eq!(read(self::card(&format!("EMAIL:{escaped}")).as_bytes()), [told, Item::Card(vec![])]);
        }
    }

    #[test]
    fn no_property_and_no_card_takes_unbounded_memory() {
        let mut reader = Reader::default();
        let mut cards = Vec::new();
        let mut line = |text: &[u8]| reader.line(text, &mut |item| cards.push(item));
        line(b"BEGIN:VCARD");
        line(b"NOTE:a");
        (0..10_000).for_each(|_| line(&[b' '; 1_000]));
        (0..5_000).for_each(|number| line(format!("EMAIL:p{number}@x.example").as_bytes()));
        line(b"END:VCARD");
        line(b"");
        assert!(reader.property.capacity() <= 2 * PROPERTY);
        let [Item::Full { line: 11_003 }, Item::Card(addresses)] = &cards[..] else { panic!("{}", cards.len()) };
        assert_eq!(addresses.len(), ADDRESSES);
    }

    proptest! {
        // Threat 25: bytes of strangers.
        #[test]
        fn whatever_comes_there_is_no_panic(lines in prop::collection::vec(
            prop_oneof![
                prop::collection::vec(any::<u8>(), 0..40),
                "(BEGIN|END|EMAIL|AGENT|item1\\.EMAIL)[;:\"=A-Za-z.]{0,12}(:VCARD|:|=)?".prop_map(String::into_bytes),
                "[ \t]?[a-z@.=%\\\\,;:\"<>]{0,20}".prop_map(String::into_bytes),
            ], 0..40)
        ) {
            let items = read(&lines.join(&b'\n'));
            let begun = lines.len() as u64 + 1;
            let in_file = |item: &Item| match item {
                Item::Card(_) => true,
                Item::NoAddress { line, .. } | Item::Broken { line, .. } | Item::Full { line } => (1..=2 * begun).contains(line),
            };
            prop_assert!(items.iter().all(in_file) && items.len() as u64 <= 40 * begun);
        }

        #[test]
        fn an_address_is_read_wherever_its_line_is_folded(
            local in "[a-z0-9_+=!-]{1,20}(\\.[a-z]{1,8})?",
            domain in "[a-z]{1,12}\\.example",
            folds in prop::collection::vec(1_usize..40, 0..4),
            form in 0..4,
            end in prop::sample::select(vec!["\n", "\r\n"]),
        ) {
            let address = format!("{local}@{domain}");
            let (head, value) = match form {
                0 => ("EMAIL;TYPE=INTERNET:", address.clone()),
                1 => ("a.Email:", address.clone()),
                2 => ("EMAIL:mailto:", address.bytes().map(|byte| format!("%{byte:02X}")).collect()),
                _ => ("EMAIL;ENCODING=QUOTED-PRINTABLE:", address.bytes().map(|byte| format!("={byte:02X}")).collect()),
            };
            let (mut text, mut rest) = (format!("BEGIN:VCARD{end}{head}"), value.as_str());
            for fold in folds {
                // Quoted-printable breaks between two bytes, and other values anywhere.
                let at = if form == 3 { fold * 3 } else { fold };
                let Some((line, more)) = rest.split_at_checked(at).filter(|(_, more)| !more.is_empty()) else { break };
                text += &format!("{line}{}{end}{}", if form == 3 { "=" } else { "" }, if form == 3 { "" } else { " " });
                rest = more;
            }
            text += &format!("{rest}{end}END:VCARD{end}");
            prop_assert_eq!(addresses(text.as_bytes()), [address]);
        }
    }
}
