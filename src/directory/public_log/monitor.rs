//! Monitor: reads every leaf of a log, and compares what was sold with what was taken back.

use super::date;
use crate::transparency::leaf::{Leaf, LeafKind};
use crate::transparency::reader::{LogError, Source, VerifiedLog};
use crate::transparency::tile::WIDTH;
use std::collections::{BTreeMap, HashMap};

/// Most problems that are listed.
const NAMED: usize = 100;

/// What a log says as a whole.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Totals {
    /// Number of leaves and sum of values of each kind.
    pub kinds: BTreeMap<LeafKind, (u64, u64)>,
    /// The first and the last day.
    pub days: Option<(u32, u32)>,
    /// Number of leaves of a form that this program does not know.
    pub unknown: u64,
    /// Number of problems.
    pub wrong: u64,
    /// The first hundred problems, one sentence each.
    pub problems: Vec<String>,
}

/// What happened to one stamp so far.
#[derive(Clone, Copy, Default)]
struct Stamp {
    value: u64,
    issued: bool,
    returned: Option<LeafKind>,
}

impl Totals {
    /// Returns the number of leaves and the sum of values of a kind.
    #[must_use]
    pub fn of(&self, kind: LeafKind) -> (u64, u64) {
        self.kinds.get(&kind).copied().unwrap_or_default()
    }

    /// Returns the credits of stamps that were sold, and neither taken back nor revoked.
    #[must_use]
    pub fn outstanding(&self) -> u64 {
        let back = [LeafKind::Deposited, LeafKind::Refunded, LeafKind::Revoked];
        back.iter().fold(self.of(LeafKind::Issued).1, |sum, kind| sum.saturating_sub(self.of(*kind).1))
    }

    fn wrong(&mut self, number: u64, what: &str) {
        self.wrong += 1;
        if self.problems.len() < NAMED {
            self.problems.push(format!("leaf {number}: {what}"));
        }
    }
}

/// Reads the whole log.
///
/// # Errors
/// [`LogError`] for a file that is missing, or is not the one of the tree.
pub fn read<S: Source>(log: &mut VerifiedLog<S>) -> Result<Totals, LogError> {
    let mut totals = Totals::default();
    let mut stamps: HashMap<[u8; 32], Stamp> = HashMap::new();
    let mut others: HashMap<(LeafKind, [u8; 32]), ()> = HashMap::new();
    for bundle in 0..log.bundles() {
        let entries = log.bundle(bundle)?;
        log.check_leaf_tile(bundle)?;
        for (number, entry) in (bundle * u64::from(WIDTH)..).zip(&entries) {
            let Some(leaf) = Leaf::from_bytes(entry) else {
                totals.unknown += 1;
                continue;
            };
            let (count, sum) = totals.kinds.entry(leaf.kind).or_default();
            *count += 1;
            *sum = sum.saturating_add(leaf.value);
            let (first, last) = totals.days.unwrap_or((leaf.day, leaf.day));
            totals.days = Some((first, last.max(leaf.day)));
            if leaf.day < last {
                let what =
                    format!("{} comes after {}: leaves are in the order of their days", date(leaf.day), date(last));
                totals.wrong(number, &what);
            }
            let problem = match leaf.kind {
                LeafKind::Issued | LeafKind::Deposited | LeafKind::Refunded | LeafKind::Revoked => {
                    stamp(stamps.entry(leaf.subject).or_default(), &leaf)
                }
                LeafKind::Cleared | LeafKind::Licensed => {
                    let again = others.insert((leaf.kind, leaf.subject), ()).is_some();
                    again.then(|| match leaf.kind {
                        LeafKind::Cleared => "a payment was cleared twice".to_owned(),
                        _ => "a licence was given twice".to_owned(),
                    })
                }
            };
            if let Some(problem) = problem {
                totals.wrong(number, &problem);
            }
        }
    }
    let (licensed, cleared) = (totals.of(LeafKind::Licensed).1, totals.of(LeafKind::Cleared).1);
    if cleared > licensed {
        totals.wrong += 1;
        totals.problems.push(format!("{cleared} credits were cleared, and meters were licensed for {licensed}"));
    }
    Ok(totals)
}

/// Notes a leaf of a stamp. Returns what is wrong with it.
fn stamp(stamp: &mut Stamp, leaf: &Leaf) -> Option<String> {
    if leaf.kind == LeafKind::Issued {
        let again = stamp.issued;
        stamp.issued = true;
        stamp.value = leaf.value;
        return again.then(|| "a stamp was sold twice".to_owned());
    }
    // A revocation without a value moves no credits: of a stamp that was paid for, or was sold elsewhere.
    if leaf.kind == LeafKind::Revoked && leaf.value == 0 {
        return None;
    }
    let word = if leaf.kind == LeafKind::Revoked { "revoked" } else { "taken back" };
    if !stamp.issued {
        return Some(format!("a stamp was {word} that was never sold"));
    }
    if leaf.value != stamp.value {
        return Some(format!("a stamp was {word} for {} credits, and was sold for {}", leaf.value, stamp.value));
    }
    match stamp.returned.replace(leaf.kind) {
        None => None,
        Some(LeafKind::Revoked) => Some(format!("a stamp was {word} that was revoked before")),
        Some(_) => Some(format!("a stamp was {word} that was taken back before")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::transparency::leaf;
    use crate::transparency::merkle::Appender;
    use crate::transparency::reader::SourceError;
    use crate::transparency::tile::Tile;
    use std::convert::Infallible;

    struct Files(BTreeMap<String, Vec<u8>>);

    impl Source for Files {
        fn get(&self, path: &str, _: usize) -> Result<Vec<u8>, SourceError> {
            self.0.get(path).cloned().ok_or(SourceError::Absent)
        }
    }

    fn totals(leaves: &[(LeafKind, u8, u64, u32)]) -> Totals {
        let mut files = BTreeMap::new();
        let mut tree = Appender::default();
        let mut write = |tile: Tile, bytes: &[u8]| {
            files.insert(tile.to_string(), bytes.to_vec());
            Ok::<(), Infallible>(())
        };
        for (kind, subject, value, day) in leaves {
            let subject = leaf::stamp("v.example", &subject.to_string());
            tree.push(&Leaf { kind: *kind, subject, value: *value, day: *day }.to_bytes(), &mut write).unwrap();
        }
        tree.finish(&mut write).unwrap();
        read(&mut VerifiedLog::open(Files(files), tree.size(), &tree.root()).unwrap()).unwrap()
    }

    #[test]
    fn an_honest_log_adds_up() {
        use LeafKind::{Cleared, Deposited, Issued, Licensed, Revoked};
        let totals = totals(&[
            (Issued, 1, 5, 1),
            (Issued, 2, 7, 1),
            (Issued, 3, 2, 1),
            (Licensed, 9, 10, 1),
            (Deposited, 1, 5, 2),
            (Revoked, 1, 0, 2),
            (Revoked, 8, 0, 2),
            (Cleared, 4, 3, 3),
            (Revoked, 2, 7, 3),
        ]);
        assert_eq!((totals.wrong, totals.outstanding(), totals.days), (0, 2, Some((1, 3))));
        assert_eq!((totals.of(Issued), totals.of(Cleared)), ((3, 14), (1, 3)));
    }

    #[test]
    fn a_changed_tile_of_hashes_is_noticed() {
        let (mut files, mut tree) = (BTreeMap::new(), Appender::default());
        let mut write = |tile: Tile, bytes: &[u8]| {
            files.insert(tile.to_string(), bytes.to_vec());
            Ok::<(), Infallible>(())
        };
        for number in 0..600_u64 {
            let subject = leaf::stamp("v.example", &number.to_string());
            let leaf = Leaf { kind: LeafKind::Issued, subject, value: 1, day: 1 };
            tree.push(&leaf.to_bytes(), &mut write).unwrap();
        }
        tree.finish(&mut write).unwrap();
        let read = |files: BTreeMap<String, Vec<u8>>| {
            super::read(&mut VerifiedLog::open(Files(files), tree.size(), &tree.root()).unwrap()).map(drop)
        };
        read(files.clone()).unwrap();
        for path in ["tile/0/000", "tile/0/001", "tile/0/002.p/88"] {
            let mut changed = files.clone();
            changed.get_mut(path).unwrap()[40] ^= 1;
            assert!(read(changed).unwrap_err().to_string().contains(path), "{path}");
            let mut without = files.clone();
            without.remove(path).unwrap();
            assert!(read(without).unwrap_err().to_string().contains(path), "{path}");
        }
    }

    #[test]
    fn each_wrong_has_its_own_sentence() {
        use LeafKind::{Cleared, Deposited, Issued, Licensed, Revoked};
        let sold = (Issued, 1, 5, 1);
        for (leaves, problem) in [
            (vec![sold, sold], "leaf 1: a stamp was sold twice"),
            (vec![sold, (Deposited, 2, 5, 1)], "leaf 1: a stamp was taken back that was never sold"),
            (vec![sold, (Deposited, 1, 6, 1)], "leaf 1: a stamp was taken back for 6 credits, and was sold for 5"),
            (
                vec![sold, (Deposited, 1, 5, 1), (Deposited, 1, 5, 2)],
                "leaf 2: a stamp was taken back that was taken back before",
            ),
            (
                vec![sold, (Revoked, 1, 5, 1), (Deposited, 1, 5, 2)],
                "leaf 2: a stamp was taken back that was revoked before",
            ),
            (vec![(Licensed, 1, 9, 1), (Cleared, 2, 1, 1), (Cleared, 2, 1, 1)], "leaf 2: a payment was cleared twice"),
            (vec![(Licensed, 1, 1, 1), (Cleared, 2, 2, 1)], "2 credits were cleared, and meters were licensed for 1"),
            (
                vec![(Issued, 1, 5, 2), (Issued, 2, 5, 1)],
                "leaf 1: 1970-01-02 comes after 1970-01-03: leaves are in the order of their days",
            ),
        ] {
            assert_eq!(totals(&leaves).problems, [problem]);
        }
    }
}
