//! The part of CBOR (RFC 8949) that tokens of Cashu need: definite lengths, unsigned numbers, bytes, texts, arrays and
//! maps. Other items are read over.

/// Deepest nesting that is read.
const DEEPEST: usize = 16;

/// A data item.
#[derive(Clone, PartialEq, Eq)]
pub enum Item {
    Number(u64),
    Bytes(Vec<u8>),
    Text(String),
    Array(Vec<Item>),
    Map(Vec<(Item, Item)>),
    /// A negative number, a simple value or a float.
    Other,
}

impl Item {
    /// Reads one item, which is all of the bytes.
    #[must_use]
    pub fn read(bytes: &[u8]) -> Option<Self> {
        let mut rest = bytes;
        let item = item(&mut rest, DEEPEST)?;
        rest.is_empty().then_some(item)
    }

    /// Returns the value of a text key in a map.
    #[must_use]
    pub fn get(&self, key: &str) -> Option<&Self> {
        let Self::Map(pairs) = self else { return None };
        pairs.iter().find(|(name, _)| matches!(name, Self::Text(name) if name == key)).map(|(_, value)| value)
    }

    #[must_use]
    pub fn text(&self) -> Option<&str> {
        if let Self::Text(text) = self { Some(text) } else { None }
    }

    #[must_use]
    pub fn bytes(&self) -> Option<&[u8]> {
        if let Self::Bytes(bytes) = self { Some(bytes) } else { None }
    }

    #[must_use]
    pub fn array(&self) -> Option<&[Self]> {
        if let Self::Array(items) = self { Some(items) } else { None }
    }

    #[must_use]
    pub fn number(&self) -> Option<u64> {
        if let Self::Number(number) = self { Some(*number) } else { None }
    }
}

fn take<'a>(rest: &mut &'a [u8], length: usize) -> Option<&'a [u8]> {
    let (taken, after) = rest.split_at_checked(length)?;
    *rest = after;
    Some(taken)
}

fn item(rest: &mut &[u8], depth: usize) -> Option<Item> {
    let depth = depth.checked_sub(1)?;
    let first = *take(rest, 1)?.first()?;
    let length = match first & 0x1f {
        short @ 0..=23 => u64::from(short),
        size @ 24..=27 => {
            let bytes = take(rest, 1 << (size - 24))?;
            bytes.iter().fold(0, |number: u64, byte| number << 8 | u64::from(*byte))
        }
        _ => return None,
    };
    let count = || usize::try_from(length).ok();
    match first >> 5 {
        0 => Some(Item::Number(length)),
        1 | 7 => Some(Item::Other),
        2 => Some(Item::Bytes(take(rest, count()?)?.to_vec())),
        3 => Some(Item::Text(String::from_utf8(take(rest, count()?)?.to_vec()).ok()?)),
        // Each element takes a byte at least, so the bytes limit the count.
        4 => (0..length).map(|_| item(rest, depth)).collect::<Option<Vec<_>>>().map(Item::Array),
        5 => (0..length)
            .map(|_| Some((item(rest, depth)?, item(rest, depth)?)))
            .collect::<Option<Vec<_>>>()
            .map(Item::Map),
        // A tag stands before its item.
        _ => item(rest, depth),
    }
}

/// Writes items one after the other.
#[derive(Default)]
pub struct Writer(pub Vec<u8>);

impl Writer {
    fn head(&mut self, kind: u8, length: u64) -> &mut Self {
        let kind = kind << 5;
        match length {
            0..24 => self.0.push(kind | length.to_le_bytes()[0]),
            24..0x100 => self.0.extend([kind | 24, length.to_le_bytes()[0]]),
            0x100..0x1_0000 => {
                self.0.push(kind | 25);
                self.0.extend(&length.to_be_bytes()[6..]);
            }
            0x1_0000..0x1_0000_0000 => {
                self.0.push(kind | 26);
                self.0.extend(&length.to_be_bytes()[4..]);
            }
            _ => {
                self.0.push(kind | 27);
                self.0.extend(length.to_be_bytes());
            }
        }
        self
    }

    pub fn number(&mut self, number: u64) -> &mut Self {
        self.head(0, number)
    }

    pub fn bytes(&mut self, bytes: &[u8]) -> &mut Self {
        self.head(2, bytes.len() as u64).0.extend(bytes);
        self
    }

    pub fn text(&mut self, text: &str) -> &mut Self {
        self.head(3, text.len() as u64).0.extend(text.as_bytes());
        self
    }

    /// Begins an array of as many items.
    pub fn array(&mut self, length: usize) -> &mut Self {
        self.head(4, length as u64)
    }

    /// Begins a map of as many pairs.
    pub fn map(&mut self, length: usize) -> &mut Self {
        self.head(5, length as u64)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_written_is_read() {
        for number in [0, 23, 24, 255, 256, 65_535, 65_536, u64::from(u32::MAX), 1 << 32, u64::MAX] {
            let mut writer = Writer::default();
            writer.array(3).number(number).bytes(&[1; 300]).text("ä");
            let read = Item::read(&writer.0).unwrap();
            let items = read.array().unwrap();
            assert_eq!((items[0].number(), items[2].text()), (Some(number), Some("ä")));
            assert_eq!(items[1].bytes().unwrap().len(), 300);
            for end in 0..writer.0.len() {
                assert!(Item::read(&writer.0[..end]).is_none());
            }
        }
    }

    #[test]
    fn hostile_items_are_refused() {
        // Too deep; an array of 2^64 items; an indefinite length; a rest; a text that is none.
        let deep = [0x81; 100];
        for wrong in [
            &deep[..],
            &[0x9b, 255, 255, 255, 255, 255, 255, 255, 255],
            &[0x9f, 0xff],
            &[0, 0],
            &[0x61, 0xff],
            &[0x5a, 255, 255, 255, 255],
        ] {
            assert!(Item::read(wrong).is_none());
        }
        assert!(Item::read(&[0xc0, 0x20]).is_some(), "a tag and a negative number");
    }
}
