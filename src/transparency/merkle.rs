//! Merkle tree over the leaves (RFC 6962 section 2.1), and the writer of its tiles.

use super::tile::{Level, Tile, WIDTH};
use sha2::{Digest, Sha256};
use std::convert::Infallible;

/// Hash of a leaf or of a subtree.
pub type Node = [u8; 32];

/// Returns the hash of a leaf.
#[must_use]
pub fn leaf_hash(entry: &[u8]) -> Node {
    Sha256::new().chain_update([0]).chain_update(entry).finalize().into()
}

/// Returns the hash of two subtrees, the left one full.
#[must_use]
pub fn node_hash(left: &Node, right: &Node) -> Node {
    let mut both = [1; 65];
    both[1..33].copy_from_slice(left);
    both[33..].copy_from_slice(right);
    Sha256::digest(both).into()
}

/// Returns the root over neighbouring subtrees of one size; the last may be smaller. The root of none is the hash of
/// nothing.
#[must_use]
pub fn root_of(nodes: &[Node]) -> Node {
    match nodes {
        [] => Sha256::digest([]).into(),
        [one] => *one,
        [left, right] => node_hash(left, right),
        _ => {
            let left = usize::try_from(left_of(nodes.len() as u64)).unwrap_or(nodes.len());
            let (left, right) = nodes.split_at(left);
            node_hash(&root_of(left), &root_of(right))
        }
    }
}

/// Returns the size of the left part of so many leaves or subtrees, at least two: the largest power of two below.
pub(super) const fn left_of(count: u64) -> u64 {
    count.next_power_of_two() / 2
}

/// Returns the number of levels of a tree with this many leaves.
#[must_use]
pub const fn levels(size: u64) -> u8 {
    let mut level = 0;
    while level < 8 && size >> (8 * level) > 0 {
        level += 1;
    }
    level
}

/// Returns the tile at the right edge of a level, which is not full; `None` where the edge ends with a full tile.
#[must_use]
pub fn edge(size: u64, level: u8) -> Option<Tile> {
    let nodes = size >> (8 * u32::from(level));
    let width = u16::try_from(nodes % u64::from(WIDTH)).ok().filter(|width| *width > 0)?;
    Some(Tile { level: Level::Hashes(level), index: nodes / u64::from(WIDTH), width })
}

/// Returns the bundle of the last leaves, which is not full; `None` where the last one is full.
#[must_use]
pub fn last_bundle(size: u64) -> Option<Tile> {
    edge(size, 0).map(|tile| Tile { level: Level::Entries, ..tile })
}

/// A tree that grows. It knows its right edge only.
#[derive(Clone, Debug, Default)]
pub struct Appender {
    size: u64,
    /// For each level, the hashes of the tile at the right edge: fewer than 256.
    levels: Vec<Vec<Node>>,
    /// The leaves below that of level 0, as in their file.
    bundle: Vec<u8>,
}

/// The right edge does not belong to a tree of this size.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the files of the right edge are not those of the log's size")]
pub struct EdgeError;

impl Appender {
    /// Continues a tree: with the hashes of the tiles at its right edge, from level 0, and its last bundle.
    ///
    /// # Errors
    /// [`EdgeError`] for other numbers of hashes, or when the bundle has other leaves.
    pub fn resume(size: u64, levels: Vec<Vec<Node>>, bundle: Vec<u8>) -> Result<Self, EdgeError> {
        let count =
            |level: usize| u8::try_from(level).ok().and_then(|level| edge(size, level)).map_or(0, |it| it.width);
        let fits = levels.len() == usize::from(self::levels(size))
            && levels.iter().enumerate().all(|(level, nodes)| nodes.len() == usize::from(count(level)));
        let entries = super::tile::entries(&bundle).ok_or(EdgeError)?;
        let hashes: Vec<Node> = entries.into_iter().map(leaf_hash).collect();
        if !fits || levels.first().map_or(&[][..], Vec::as_slice) != hashes {
            return Err(EdgeError);
        }
        Ok(Self { size, levels, bundle })
    }

    /// Returns the number of leaves.
    #[must_use]
    pub const fn size(&self) -> u64 {
        self.size
    }

    /// Appends a leaf of at most 65,535 bytes, and hands each tile and bundle that is full now to `write`.
    ///
    /// # Errors
    /// Those of `write`. The tree must not be used after one.
    pub fn push<E>(&mut self, entry: &[u8], write: &mut impl FnMut(Tile, &[u8]) -> Result<(), E>) -> Result<(), E> {
        let length = u16::try_from(entry.len()).unwrap_or(u16::MAX);
        let entry = &entry[..usize::from(length)];
        self.bundle.extend(length.to_be_bytes());
        self.bundle.extend(entry);
        self.size += 1;
        let mut node = leaf_hash(entry);
        for level in 0.. {
            if self.levels.len() == level {
                self.levels.push(Vec::new());
            }
            let Some(nodes) = self.levels.get_mut(level) else { break };
            nodes.push(node);
            if nodes.len() < usize::from(WIDTH) {
                break;
            }
            let full = std::mem::take(nodes);
            let level = u8::try_from(level).unwrap_or(u8::MAX);
            let index = (self.size >> (8 * (u32::from(level) + 1))) - 1;
            if level == 0 {
                write(Tile { level: Level::Entries, index, width: WIDTH }, &self.bundle)?;
                self.bundle.clear();
            }
            write(Tile { level: Level::Hashes(level), index, width: WIDTH }, full.as_flattened())?;
            node = root_of(&full);
        }
        Ok(())
    }

    /// Appends a leaf as [`push`](Self::push) does, where only the root matters.
    pub fn add(&mut self, entry: &[u8]) {
        let Ok(()) = self.push::<Infallible>(entry, &mut |_, _| Ok(()));
    }

    /// Hands the tiles and the bundle of the right edge that are not full to `write`.
    ///
    /// # Errors
    /// Those of `write`.
    pub fn finish<E>(&self, write: &mut impl FnMut(Tile, &[u8]) -> Result<(), E>) -> Result<(), E> {
        if let Some(tile) = last_bundle(self.size) {
            write(tile, &self.bundle)?;
        }
        for (level, nodes) in (0..).zip(&self.levels) {
            if let Some(tile) = edge(self.size, level) {
                write(tile, nodes.as_flattened())?;
            }
        }
        Ok(())
    }

    /// Returns the root of the tree.
    #[must_use]
    pub fn root(&self) -> Node {
        edge_root(&self.levels)
    }
}

/// Returns the root of a tree from the hashes of its right edge, from level 0.
#[must_use]
pub fn edge_root(levels: &[Vec<Node>]) -> Node {
    let mut rest: Option<Node> = None;
    for nodes in levels {
        let all: Vec<Node> = nodes.iter().copied().chain(rest).collect();
        rest = (!all.is_empty()).then(|| root_of(&all));
    }
    rest.unwrap_or_else(|| root_of(&[]))
}

#[cfg(test)]
mod tests {
    use super::*;
    use data_encoding::HEXLOWER;
    use std::collections::BTreeMap;

    fn grow(tree: &mut Appender, entries: impl IntoIterator<Item = Vec<u8>>) -> BTreeMap<String, Vec<u8>> {
        let mut files = BTreeMap::new();
        let mut write = |tile: Tile, bytes: &[u8]| {
            assert!(files.insert(tile.to_string(), bytes.to_vec()).is_none(), "{tile} twice");
            Ok::<(), Infallible>(())
        };
        for entry in entries {
            tree.push(&entry, &mut write).unwrap();
        }
        tree.finish(&mut write).unwrap();
        files
    }

    // The test vectors of Certificate Transparency for RFC 6962: seven leaves and the roots over the first of them.
    #[test]
    fn roots_are_those_of_rfc_6962() {
        let leaves =
            ["", "00", "10", "2021", "3031", "40414243", "5051525354555657", "606162636465666768696a6b6c6d6e6f"];
        let roots = [
            "6e340b9cffb37a989ca544e6bb780a2c78901d3fb33738768511a30617afa01d",
            "fac54203e7cc696cf0dfcb42c92a1d9dbaf70ad9e621f4bd8d98662f00e3c125",
            "aeb6bcfe274b70a14fb067a5e5578264db0fa9b51af5e0ba159158f329e06e77",
            "d37ee418976dd95753c1c73862b9398fa2a2cf9b4ff0fdfe8b30cd95209614b7",
            "4e3bbb1f7b478dcfe71fb631631519a3bca12c9aefca1612bfce4c13a86264d4",
            "76e67dadbcdf1e10e1b74ddc608abd2f98dfb16fbce75277b5232a127f2087ef",
            "ddb89be403809e325750d3d263cd78929c2942b7942a34b77e122c9594a74c8c",
            "5dc9da79a70659a9ad559cb701ded9a2ab9d823aad2f4960cfe370eff4604328",
        ];
        let mut tree = Appender::default();
        assert_eq!(HEXLOWER.encode(&tree.root()), "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855");
        let mut hashes = Vec::new();
        for (leaf, root) in leaves.iter().zip(roots) {
            let leaf = HEXLOWER.decode(leaf.as_bytes()).unwrap();
            hashes.push(leaf_hash(&leaf));
            tree.add(&leaf);
            assert_eq!(HEXLOWER.encode(&tree.root()), root);
            assert_eq!(HEXLOWER.encode(&root_of(&hashes)), root);
        }
    }

    #[test]
    fn a_tree_that_is_taken_up_again_is_the_same() {
        let entry = |number: u32| number.to_be_bytes().to_vec();
        for (first, then) in [(0, 1), (1, 255), (255, 2), (256, 1), (300, 65_400), (65_536, 5), (65_535, 1)] {
            let mut whole = Appender::default();
            let files = grow(&mut whole, (0..first + then).map(entry));
            let mut tree = Appender::default();
            let before = grow(&mut tree, (0..first).map(entry));
            let size = u64::from(first);
            let nodes = |tile: Tile| before[&tile.to_string()].as_chunks::<32>().0.to_vec();
            let edges = (0..levels(size)).map(|level| edge(size, level).map(nodes).unwrap_or_default()).collect();
            let bundle = last_bundle(size).map(|tile| before[&tile.to_string()].clone()).unwrap_or_default();
            let mut again = Appender::resume(size, edges, bundle).unwrap();
            assert_eq!(again.root(), tree.root());
            let after = grow(&mut again, (first..first + then).map(entry));
            assert_eq!((again.size(), again.root()), (whole.size(), whole.root()), "{first} {then}");
            for (path, bytes) in &files {
                assert!(after.get(path).or_else(|| before.get(path)) == Some(bytes), "{path}");
            }
            let hashes: Vec<Node> = (0..first + then).map(|number| leaf_hash(&entry(number))).collect();
            assert_eq!(whole.root(), root_of(&hashes));
        }
    }

    // The example of tlog-tiles.
    #[test]
    fn a_tree_has_the_tiles_of_the_specification() {
        let files = grow(&mut Appender::default(), (0..70_000_u32).map(|number| number.to_be_bytes().to_vec()));
        let of = |prefix: &str| files.keys().filter(|path| path.starts_with(prefix)).count();
        assert_eq!(
            (of("tile/0/"), of("tile/entries/"), of("tile/1/"), of("tile/2/"), files.len()),
            (274, 274, 2, 1, 551)
        );
        for path in ["tile/0/273.p/112", "tile/1/000", "tile/1/001.p/17", "tile/2/000.p/1", "tile/entries/273.p/112"] {
            assert!(files.contains_key(path), "{path}");
        }
        assert!(
            files.iter().all(|(path, bytes)| path.contains(".p/") || path.contains("entries") || bytes.len() == 8_192)
        );
        assert_eq!(levels(0), 0);
        let two: Vec<_> =
            grow(&mut Appender::default(), (0..256_u32).map(|number| vec![number as u8])).into_keys().collect();
        assert_eq!(two, ["tile/0/000", "tile/1/000.p/1", "tile/entries/000"]);
    }

    #[test]
    fn a_foreign_edge_is_refused() {
        let mut tree = Appender::default();
        grow(&mut tree, (0..3_u32).map(|number| number.to_be_bytes().to_vec()));
        let (levels, bundle) = (tree.levels.clone(), tree.bundle.clone());
        assert!(Appender::resume(3, levels.clone(), bundle.clone()).is_ok());
        assert_eq!(Appender::resume(2, levels.clone(), bundle.clone()).unwrap_err(), EdgeError);
        assert_eq!(Appender::resume(3, levels.clone(), bundle[..6].to_vec()).unwrap_err(), EdgeError);
        assert_eq!(Appender::resume(3, vec![], bundle.clone()).unwrap_err(), EdgeError);
        let mut other = levels;
        other[0][2][0] ^= 1;
        assert_eq!(Appender::resume(3, other, bundle).unwrap_err(), EdgeError);
    }
}
