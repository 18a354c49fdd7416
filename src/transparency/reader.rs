//! Reading of a log whose checkpoint is known. Every file is verified against the checkpoint's root before anything of
//! it is returned, so files may come from anywhere: the vendor, a mirror, a folder.

use super::merkle::{self, Node, leaf_hash, node_hash, root_of};
use super::tile::{self, Level, Tile, WIDTH};
use std::collections::BTreeMap;

/// Largest entry bundle in bytes: 256 leaves of this program's vendors have 12,032.
pub const BUNDLE: usize = 64 * 1024;

/// Where the files of a log are.
pub trait Source {
    /// Reads a file of at most `longest` bytes.
    ///
    /// # Errors
    /// [`SourceError`].
    fn get(&self, path: &str, longest: usize) -> Result<Vec<u8>, SourceError>;
}

impl<S: Source> Source for &S {
    fn get(&self, path: &str, longest: usize) -> Result<Vec<u8>, SourceError> {
        (**self).get(path, longest)
    }
}

/// A file cannot be read.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum SourceError {
    #[error("it is missing")]
    Absent,
    /// More bytes than such a file can have.
    #[error("it is too long")]
    Long,
    #[error("{0}")]
    Unread(String),
}

/// A log cannot be read, or is not the one of its checkpoint.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum LogError {
    /// A file cannot be read.
    #[error("{path}: {problem}")]
    Read { path: String, problem: SourceError },
    /// A file does not have the hash that the tree has for it.
    #[error("{path} was changed: its hash is not the one in the tree of the signed checkpoint")]
    Changed { path: String },
    /// A file has not the number of hashes or leaves that it must have.
    #[error("{path} was cut, or has too much: it does not have {expected} {what}")]
    Cut { path: String, expected: u16, what: &'static str },
    /// The right edge of the tree does not have the root of the checkpoint.
    #[error("the tree of {size} leaves does not have the root of the signed checkpoint")]
    Root { size: u64 },
    /// The log is smaller than asked.
    #[error("the log has {size} leaves, and not {asked}")]
    Small { size: u64, asked: u64 },
}

/// A log whose files are verified.
#[derive(Debug)]
pub struct VerifiedLog<S> {
    source: S,
    size: u64,
    edge: Vec<Vec<Node>>,
    /// Full tiles that were verified, by level and index.
    tiles: BTreeMap<(u8, u64), Vec<Node>>,
    /// The bundle that was read last.
    last: Option<Bundle>,
}

impl<S: Source> VerifiedLog<S> {
    /// Opens the log of this size and root: reads and verifies its right edge, which is the last bundle and tiles.
    ///
    /// Tiles of level 0 are not read, since the bundles below them are.
    ///
    /// # Errors
    /// [`LogError`].
    pub fn open(source: S, size: u64, root: &Node) -> Result<Self, LogError> {
        let mut edge = Vec::new();
        let mut last = None;
        for level in 0..merkle::levels(size) {
            edge.push(match (merkle::edge(size, level), merkle::last_bundle(size)) {
                (Some(_), Some(tile)) if level == 0 => {
                    let bundle = Bundle::read(&source, tile)?;
                    let hashes = bundle.hashes.clone();
                    last = Some(bundle);
                    hashes
                }
                (Some(tile), _) => read_tile(&source, tile)?,
                (None, _) => Vec::new(),
            });
        }
        if merkle::edge_root(&edge) != *root {
            return Err(LogError::Root { size });
        }
        Ok(Self { source, size, edge, tiles: BTreeMap::new(), last })
    }

    /// Returns the number of leaves.
    #[must_use]
    pub const fn size(&self) -> u64 {
        self.size
    }

    /// Returns the number of entry bundles.
    #[must_use]
    pub const fn bundles(&self) -> u64 {
        self.size.div_ceil(WIDTH as u64)
    }

    /// Returns the tile of a bundle; `None` behind the end.
    #[must_use]
    pub fn bundle_tile(&self, index: u64) -> Option<Tile> {
        if index < self.size / u64::from(WIDTH) {
            return Some(Tile { level: Level::Entries, index, width: WIDTH });
        }
        merkle::last_bundle(self.size).filter(|tile| tile.index == index)
    }

    /// Reads the entries of a bundle, from 0. The bundle behind the last one is empty.
    ///
    /// # Errors
    /// [`LogError`].
    pub fn bundle(&mut self, index: u64) -> Result<Vec<Vec<u8>>, LogError> {
        Ok(self.verified(index)?.map(|bundle| bundle.entries.clone()).unwrap_or_default())
    }

    /// Reads a bundle, unless it was read last; `None` behind the last one.
    fn verified(&mut self, index: u64) -> Result<Option<&Bundle>, LogError> {
        let Some(tile) = self.bundle_tile(index) else { return Ok(None) };
        if self.last.as_ref().is_none_or(|last| last.index != index) {
            let bundle = Bundle::read(&self.source, tile)?;
            let is_whole = match tile.width < WIDTH {
                true => self.edge.first() == Some(&bundle.hashes),
                false => self.node(8, index)? == root_of(&bundle.hashes),
            };
            if !is_whole {
                return Err(LogError::Changed { path: tile.to_string() });
            }
            self.last = Some(bundle);
        }
        Ok(self.last.as_ref())
    }

    /// Checks the tile of hashes that belongs to a bundle. Nothing here needs it, but readers of proofs do.
    ///
    /// # Errors
    /// [`LogError`], also when it is missing.
    pub fn check_leaf_tile(&mut self, index: u64) -> Result<(), LogError> {
        let Some(tile) = self.bundle_tile(index) else { return Ok(()) };
        let tile = Tile { level: Level::Hashes(0), ..tile };
        let found = read_tile(&self.source, tile)?;
        let is_same = self.verified(index)?.is_some_and(|bundle| bundle.hashes == found);
        if is_same { Ok(()) } else { Err(LogError::Changed { path: tile.to_string() }) }
    }

    /// Returns the root over the first `size` leaves.
    ///
    /// # Errors
    /// [`LogError`], also when the log has fewer.
    pub fn root_at(&mut self, size: u64) -> Result<Node, LogError> {
        if size > self.size {
            return Err(LogError::Small { size: self.size, asked: size });
        }
        if size == 0 { Ok(root_of(&[])) } else { self.range(0, size) }
    }

    /// Returns the proof that the log continues the one of its first `old` leaves (RFC 6962 section 2.1.2). It is empty
    /// for 0 and for all.
    ///
    /// # Errors
    /// [`LogError`], also when the log has fewer.
    pub fn consistency_proof(&mut self, old: u64) -> Result<Vec<Node>, LogError> {
        if old > self.size {
            return Err(LogError::Small { size: self.size, asked: old });
        }
        let mut proof = Vec::new();
        if old > 0 && old < self.size {
            self.subproof(old, (0, self.size), true, &mut proof)?;
        }
        Ok(proof)
    }

    /// SUBPROOF of RFC 6962 section 2.1.2, for the leaves of a range.
    fn subproof(
        &mut self,
        old: u64,
        (start, end): (u64, u64),
        whole: bool,
        proof: &mut Vec<Node>,
    ) -> Result<(), LogError> {
        let count = end - start;
        if old == count {
            if !whole {
                proof.push(self.range(start, end)?);
            }
            return Ok(());
        }
        let left = merkle::left_of(count);
        if old <= left {
            self.subproof(old, (start, start + left), whole, proof)?;
            proof.push(self.range(start + left, end)?);
        } else {
            self.subproof(old - left, (start + left, end), false, proof)?;
            proof.push(self.range(start, start + left)?);
        }
        Ok(())
    }

    /// Returns the root over the leaves from `start` to before `end`, as one subtree of the tree has them.
    fn range(&mut self, start: u64, end: u64) -> Result<Node, LogError> {
        let count = end - start;
        if count.is_power_of_two() && start.is_multiple_of(count) {
            return self.node(count.trailing_zeros(), start / count);
        }
        let left = merkle::left_of(count);
        let (one, two) = (self.range(start, start + left)?, self.range(start + left, end)?);
        Ok(node_hash(&one, &two))
    }

    /// Returns the root of the full subtree of this height (0 is a leaf) and index.
    fn node(&mut self, height: u32, index: u64) -> Result<Node, LogError> {
        let (level, rest) = (u8::try_from(height / 8).unwrap_or(u8::MAX), height % 8);
        let first = index << rest;
        let at = usize::try_from(first % u64::from(WIDTH)).unwrap_or(0);
        let nodes = self.tile(level, first / u64::from(WIDTH))?;
        let part = nodes.get(at..at + (1 << rest)).map(root_of);
        part.ok_or(LogError::Root { size: self.size })
    }

    /// Returns the verified hashes of a tile.
    fn tile(&mut self, level: u8, index: u64) -> Result<Vec<Node>, LogError> {
        if merkle::edge(self.size, level).is_some_and(|tile| tile.index == index) {
            return Ok(self.edge.get(usize::from(level)).cloned().unwrap_or_default());
        }
        if let Some(nodes) = self.tiles.get(&(level, index)) {
            return Ok(nodes.clone());
        }
        if level == 0 {
            return Ok(self.bundle(index)?.iter().map(|entry| leaf_hash(entry)).collect());
        }
        let tile = Tile { level: Level::Hashes(level), index, width: WIDTH };
        let nodes = read_tile(&self.source, tile)?;
        // Goes up until the right edge, which the checkpoint verifies.
        if self.node(8 * (u32::from(level) + 1), index)? != root_of(&nodes) {
            return Err(LogError::Changed { path: tile.to_string() });
        }
        self.tiles.insert((level, index), nodes.clone());
        Ok(nodes)
    }
}

/// Reads a file of hashes, which is not verified yet.
fn read_tile(source: &impl Source, tile: Tile) -> Result<Vec<Node>, LogError> {
    let bytes = read(source, tile, 32 * usize::from(WIDTH))?;
    let (nodes, rest) = bytes.as_chunks::<32>();
    if nodes.len() != usize::from(tile.width) || !rest.is_empty() {
        return Err(cut(tile, "hashes"));
    }
    Ok(nodes.to_vec())
}

/// Entries of one file, with their hashes.
#[derive(Debug)]
struct Bundle {
    index: u64,
    entries: Vec<Vec<u8>>,
    hashes: Vec<Node>,
}

impl Bundle {
    /// Reads a bundle, which is not verified yet.
    fn read(source: &impl Source, tile: Tile) -> Result<Self, LogError> {
        let bytes = read(source, tile, BUNDLE)?;
        let entries = tile::entries(&bytes).filter(|entries| entries.len() == usize::from(tile.width));
        let entries = entries.ok_or_else(|| cut(tile, "leaves"))?;
        let hashes = entries.iter().map(|entry| leaf_hash(entry)).collect();
        Ok(Self { index: tile.index, entries: entries.into_iter().map(<[u8]>::to_vec).collect(), hashes })
    }
}

/// Reads a file. One of the right edge may have become full since.
fn read(source: &impl Source, tile: Tile, longest: usize) -> Result<Vec<u8>, LogError> {
    let path = tile.to_string();
    let problem = match source.get(&path, longest) {
        Err(SourceError::Absent) if tile.width < WIDTH => {
            match source.get(&Tile { width: WIDTH, ..tile }.to_string(), longest) {
                Ok(bytes) => return Ok(first(tile, bytes)),
                Err(problem) => problem,
            }
        }
        Err(problem) => problem,
        Ok(bytes) => return Ok(bytes),
    };
    Err(LogError::Read { path, problem })
}

/// Returns the first hashes or leaves of a full file, as many as the partial one has.
fn first(tile: Tile, mut bytes: Vec<u8>) -> Vec<u8> {
    let width = usize::from(tile.width);
    let length = match tile.level {
        Level::Hashes(_) => 32 * width,
        Level::Entries => {
            tile::entries(&bytes).map_or(0, |all| all.iter().take(width).map(|entry| 2 + entry.len()).sum())
        }
    };
    bytes.truncate(length);
    bytes
}

fn cut(tile: Tile, what: &'static str) -> LogError {
    LogError::Cut { path: tile.to_string(), expected: tile.width, what }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::transparency::merkle::Appender;
    use std::cell::RefCell;
    use std::convert::Infallible;

    #[derive(Clone, Default)]
    struct Files {
        files: BTreeMap<String, Vec<u8>>,
        read: RefCell<Vec<String>>,
    }

    impl Source for Files {
        fn get(&self, path: &str, longest: usize) -> Result<Vec<u8>, SourceError> {
            self.read.borrow_mut().push(path.to_owned());
            let bytes = self.files.get(path).cloned().ok_or(SourceError::Absent)?;
            assert!(bytes.len() <= longest, "{path}");
            Ok(bytes)
        }
    }

    fn entry(number: u32) -> Vec<u8> {
        number.to_be_bytes().to_vec()
    }

    fn log(size: u32) -> (Files, Node) {
        let mut files = BTreeMap::new();
        let mut write = |tile: Tile, bytes: &[u8]| {
            files.insert(tile.to_string(), bytes.to_vec());
            Ok::<(), Infallible>(())
        };
        let mut tree = Appender::default();
        (0..size).for_each(|number| tree.push(&entry(number), &mut write).unwrap());
        tree.finish(&mut write).unwrap();
        (Files { files, ..Files::default() }, tree.root())
    }

    /// The root over the first leaves, by the definition.
    fn root(size: u32) -> Node {
        root_of(&(0..size).map(|number| leaf_hash(&entry(number))).collect::<Vec<_>>())
    }

    /// Verification of a proof by RFC 9162 section 2.1.4.2, apart from the code above.
    fn proves(old: u64, new: u64, old_root: Node, new_root: Node, proof: &[Node]) -> bool {
        let mut path = proof.to_vec();
        if old.is_power_of_two() {
            path.insert(0, old_root);
        }
        let (mut one, mut two) = (old - 1, new - 1);
        while one & 1 == 1 {
            (one, two) = (one >> 1, two >> 1);
        }
        let Some((first, rest)) = path.split_first() else { return false };
        let (mut left, mut right) = (*first, *first);
        for node in rest {
            if two == 0 {
                return false;
            }
            if one & 1 == 1 || one == two {
                (left, right) = (node_hash(node, &left), node_hash(node, &right));
                while one & 1 == 0 && one != 0 {
                    (one, two) = (one >> 1, two >> 1);
                }
            } else {
                right = node_hash(&right, node);
            }
            (one, two) = (one >> 1, two >> 1);
        }
        left == old_root && right == new_root && two == 0
    }

    #[test]
    fn every_leaf_and_every_earlier_root_is_found() {
        for size in [0, 1, 2, 255, 256, 257, 700, 65_536, 66_000] {
            let (files, head) = log(size);
            let mut log = VerifiedLog::open(files, u64::from(size), &head).unwrap();
            assert_eq!(log.bundles(), u64::from(size.div_ceil(256)));
            let mut number = 0;
            for bundle in 0..log.bundles() {
                for leaf in log.bundle(bundle).unwrap() {
                    assert_eq!(leaf, entry(number));
                    number += 1;
                }
            }
            assert_eq!((number, log.bundle(log.bundles()).unwrap().len()), (size, 0));
            for old in
                [0, 1, 2, 3, 255, 256, 257, 511, 512, 600, 65_535, 65_536, size].into_iter().filter(|old| *old <= size)
            {
                assert_eq!(log.root_at(u64::from(old)).unwrap(), root(old), "{old} of {size}");
                let proof = log.consistency_proof(u64::from(old)).unwrap();
                if old == 0 || old == size {
                    assert!(proof.is_empty());
                } else {
                    assert!(proves(old.into(), size.into(), root(old), head, &proof), "{old} of {size}");
                }
            }
            let more = u64::from(size) + 1;
            assert_eq!(log.root_at(more), Err(LogError::Small { size: size.into(), asked: more }));
            assert!(log.consistency_proof(more).is_err());
        }
    }

    #[test]
    fn a_change_of_any_file_is_found_where_it_is_read() {
        let size = 66_000;
        let (files, head) = log(size);
        let read = |path: &&String| path.ends_with("00") || path.contains(".p/");
        for path in files.files.keys().filter(read).filter(|path| !path.starts_with("tile/0/")) {
            for cut in [false, true] {
                let mut files = files.clone();
                let bytes = files.files.get_mut(path).unwrap();
                if cut {
                    bytes.pop();
                } else {
                    *bytes.last_mut().unwrap() ^= 1;
                }
                let found = VerifiedLog::open(files, size.into(), &head).and_then(|mut log| {
                    let bundles = [0, 100, 200, log.bundles() - 1];
                    bundles.into_iter().try_for_each(|bundle| log.bundle(bundle).map(drop))?;
                    bundles.into_iter().try_for_each(|bundle| log.root_at(256 * bundle + 1).map(drop))
                });
                let error = found.expect_err(path);
                let right = match &error {
                    LogError::Cut { path: named, .. } => cut && named == path,
                    LogError::Changed { path: named } => !cut && named == path,
                    LogError::Root { .. } => !cut && path.contains(".p/"),
                    _ => false,
                };
                assert!(right, "{path} {cut}: {error}");
            }
        }
    }

    #[test]
    fn a_missing_file_is_named_and_a_full_one_replaces_a_partial_one() {
        let (mut files, head) = log(700);
        let (later, _) = log(65_536);
        for path in ["tile/entries/002.p/188", "tile/1/000.p/2"] {
            files.files.remove(path);
            let problem = SourceError::Absent;
            let read = VerifiedLog::open(files.clone(), 700, &head).and_then(|mut log| log.bundle(2));
            assert_eq!(read, Err(LogError::Read { path: path.to_owned(), problem }));
            let full = path.split(".p").next().unwrap().to_owned();
            files.files.insert(full.clone(), later.files[&full].clone());
        }
        assert_eq!(VerifiedLog::open(files, 700, &head).unwrap().bundle(2).unwrap().len(), 188);
    }

    #[test]
    fn a_days_leaves_cost_little_more_than_their_bundles() {
        let (files, head) = log(66_000);
        let mut log = VerifiedLog::open(files, 66_000, &head).unwrap();
        (100..110).for_each(|bundle| drop(log.bundle(bundle).unwrap()));
        let others =
            log.source.read.borrow().iter().filter(|path| !path.contains("entries")).cloned().collect::<Vec<_>>();
        assert_eq!(others, ["tile/1/001.p/1", "tile/2/000.p/1", "tile/1/000"]);
    }
}
