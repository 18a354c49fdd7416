//! Tiles: the files of a log (C2SP tlog-tiles). A tile has up to 256 neighbouring hashes of one level, and an entry
//! bundle has the leaves below a tile of level 0.

use std::fmt;

/// Hashes in a full tile, and entries in a full bundle.
pub const WIDTH: u16 = 256;

/// Highest level of a tile.
const LEVEL_MAX: u8 = 63;

/// What a file has.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Level {
    /// Leaves, each behind its length in two bytes.
    Entries,
    /// Hashes of subtrees with 256 to the power of this number of leaves.
    Hashes(u8),
}

/// One file of a log.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Tile {
    pub level: Level,
    /// Its place in the level, from 0.
    pub index: u64,
    /// Hashes or entries in it, 1 to 256.
    pub width: u16,
}

impl Tile {
    /// Parses the path of a file, relative to the log. `None` for any other text.
    #[must_use]
    pub fn parse(path: &str) -> Option<Self> {
        let (level, rest) = path.strip_prefix("tile/")?.split_once('/')?;
        let level = match level {
            "entries" => Level::Entries,
            _ => Level::Hashes(u8::try_from(number(level)?).ok().filter(|level| *level <= LEVEL_MAX)?),
        };
        let (rest, width) = match rest.split_once(".p/") {
            None => (rest, WIDTH),
            Some((rest, width)) => {
                (rest, u16::try_from(number(width)?).ok().filter(|width| (1..WIDTH).contains(width))?)
            }
        };
        let mut index: u64 = 0;
        let mut parts = rest.split('/').peekable();
        while let Some(part) = parts.next() {
            let digits = if parts.peek().is_some() { part.strip_prefix('x')? } else { part };
            if digits.len() != 3 || !digits.bytes().all(|byte| byte.is_ascii_digit()) {
                return None;
            }
            index = index.checked_mul(1_000)?.checked_add(digits.parse().ok()?)?;
        }
        let tile = Self { level, index, width };
        // One spelling only: no leading parts of zeros.
        (tile.to_string() == path).then_some(tile)
    }
}

/// Writes the path, relative to the log.
impl fmt::Display for Tile {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.level {
            Level::Entries => f.write_str("tile/entries/")?,
            Level::Hashes(level) => write!(f, "tile/{level}/")?,
        }
        let mut parts = vec![self.index % 1_000];
        let mut rest = self.index / 1_000;
        while rest > 0 {
            parts.push(rest % 1_000);
            rest /= 1_000;
        }
        for (at, part) in parts.iter().enumerate().rev() {
            write!(f, "{}{part:03}{}", if at > 0 { "x" } else { "" }, if at > 0 { "/" } else { "" })?;
        }
        if self.width < WIDTH { write!(f, ".p/{}", self.width) } else { Ok(()) }
    }
}

/// Parses a decimal number without leading zeros.
fn number(text: &str) -> Option<u64> {
    let number: u64 = text.parse().ok()?;
    (number.to_string() == text).then_some(number)
}

/// Splits an entry bundle into its entries. `None` when a length does not fit.
#[must_use]
pub fn entries(mut bundle: &[u8]) -> Option<Vec<&[u8]>> {
    let mut entries = Vec::new();
    while let Some((length, rest)) = bundle.split_first_chunk::<2>() {
        let (entry, rest) = rest.split_at_checked(usize::from(u16::from_be_bytes(*length)))?;
        entries.push(entry);
        bundle = rest;
    }
    bundle.is_empty().then_some(entries)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_are_those_of_the_specification() {
        let hashes = |level, index, width| Tile { level: Level::Hashes(level), index, width };
        for (path, tile) in [
            ("tile/0/000", hashes(0, 0, WIDTH)),
            ("tile/0/x001/x234/067", hashes(0, 1_234_067, WIDTH)),
            ("tile/1/001.p/17", hashes(1, 1, 17)),
            ("tile/entries/273.p/112", Tile { level: Level::Entries, index: 273, width: 112 }),
            ("tile/63/x001/000", hashes(63, 1_000, WIDTH)),
        ] {
            assert_eq!((tile.to_string().as_str(), Tile::parse(path)), (path, Some(tile)));
        }
    }

    #[test]
    fn any_other_path_is_none() {
        for path in [
            "",
            "tile/",
            "tile/0",
            "tile/0/",
            "tile/00/000",
            "tile/64/000",
            "tile/-1/000",
            "tile/+1/000",
            "tile/0/0",
            "tile/0/0000",
            "tile/0/x000/000",
            "tile/0/001/000",
            "tile/0/x001",
            "tile/0/000.p/0",
            "tile/0/000.p/256",
            "tile/0/000.p/07",
            "tile/0/000.p/",
            "tile/0/../checkpoint",
            "tile/entries/000/",
            "tile/Entries/000",
            "/tile/0/000",
            "tile/0/x999/x999/x999/x999/x999/x999/x999/999",
        ] {
            assert_eq!(Tile::parse(path), None, "{path}");
        }
    }

    #[test]
    fn a_bundle_that_is_cut_is_none() {
        let bundle = [0, 2, b'a', b'b', 0, 0, 0, 1, b'c'];
        assert_eq!(entries(&bundle), Some(vec![b"ab".as_slice(), b"", b"c"]));
        assert_eq!(entries(&[]), Some(vec![]));
        for length in [1, 3, 5, 7, 8] {
            assert_eq!(entries(&bundle[..length]), None, "{length}");
        }
    }
}
