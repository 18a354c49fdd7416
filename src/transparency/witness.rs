//! Witnesses: they cosign the head of a log only if it continues the last one that they saw (C2SP tlog-witness). What
//! a log asks, and what they answer; the connection is left to the caller.

use super::merkle::Node;
use super::note::{KeyError, KeyKind, Note, VerifierKey};
use crate::time::UnixTime;
use data_encoding::BASE64;
use std::fmt::Write;
use std::str::FromStr;

/// Most witnesses of a log: their cosignatures must fit into the directory of its vendor.
pub const WITNESSES_MAX: usize = 16;
/// Media type of an answer that tells a size.
pub const SIZE_TYPE: &str = "text/x.tlog.size";
/// How far a witness's clock may be ahead, in seconds.
const AHEAD: i64 = 3_600;
/// Path of the request, below the address.
const PATH: &str = "add-checkpoint";

/// A witness: its key, and the address below which it takes checkpoints.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Witness {
    pub key: VerifierKey,
    address: String,
}

/// A text is not a witness.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum WitnessError {
    #[error("write the witness's key, a space and its address: 'NAME+IDENTIFIER+KEY https://…'")]
    Malformed,
    #[error(transparent)]
    Key(#[from] KeyError),
    #[error("the key of a log, expected that of a witness")]
    Kind,
}

impl Witness {
    /// Returns its name.
    #[must_use]
    pub fn name(&self) -> &str {
        self.key.name()
    }

    /// Returns the address that takes checkpoints.
    #[must_use]
    pub fn address(&self) -> String {
        format!("{}/{PATH}", self.address)
    }
}

impl FromStr for Witness {
    type Err = WitnessError;

    fn from_str(text: &str) -> Result<Self, WitnessError> {
        let (key, address) = text.trim().split_once(' ').ok_or(WitnessError::Malformed)?;
        let address = address.trim().trim_end_matches('/');
        if address.is_empty() || address.contains(|letter: char| !letter.is_ascii_graphic()) {
            return Err(WitnessError::Malformed);
        }
        Ok(Self { key: key_of(key)?, address: address.to_owned() })
    }
}

/// Parses the key of a witness.
///
/// # Errors
/// [`WitnessError`], also for the key of a log.
pub fn key_of(text: &str) -> Result<VerifierKey, WitnessError> {
    let key: VerifierKey = text.parse()?;
    if key.kind() == KeyKind::Witness { Ok(key) } else { Err(WitnessError::Kind) }
}

/// Witnesses that a reader trusts, and how many of them must have cosigned a head.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Quorum {
    witnesses: Vec<VerifierKey>,
    minimum: usize,
}

/// Keys are no quorum.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum QuorumError {
    #[error("{0} is named twice")]
    Twice(String),
    #[error("{0} witnesses, expected at most {WITNESSES_MAX}")]
    Many(usize),
    #[error("{minimum} of {count} witnesses")]
    Minimum { minimum: usize, count: usize },
}

/// A head has fewer cosignatures than a reader demands.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{found} of your witnesses cosigned the head of {size} leaves, expected at least {minimum}")]
pub struct Shortfall {
    pub size: u64,
    pub found: usize,
    pub minimum: usize,
}

/// A cosignature counts, and its time says nothing.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum OddTime {
    #[error("witness {0} cosigned the head without a time")]
    Missing(String),
    #[error("witness {name} cosigned the head at {time}, which is in the future: its clock or this one is wrong")]
    Future { name: String, time: UnixTime },
}

impl Quorum {
    /// Demands this many of these witnesses; all without a number.
    ///
    /// # Errors
    /// [`QuorumError`].
    pub fn new(witnesses: Vec<VerifierKey>, minimum: Option<usize>) -> Result<Self, QuorumError> {
        let count = witnesses.len();
        let minimum = minimum.unwrap_or(count);
        let mut seen = witnesses.iter().enumerate();
        if let Some((_, twice)) = seen.find(|(at, key)| witnesses.iter().take(*at).any(|it| it.is_key_of(key))) {
            return Err(QuorumError::Twice(twice.name().to_owned()));
        }
        match count {
            _ if count > WITNESSES_MAX => Err(QuorumError::Many(count)),
            _ if minimum > count => Err(QuorumError::Minimum { minimum, count }),
            _ => Ok(Self { witnesses, minimum }),
        }
    }

    /// Returns the witnesses.
    #[must_use]
    pub fn witnesses(&self) -> &[VerifierKey] {
        &self.witnesses
    }

    /// Returns how many of them must have cosigned.
    #[must_use]
    pub const fn minimum(&self) -> usize {
        self.minimum
    }

    /// Adds their cosignatures of the same head that another note has.
    pub fn collect(&self, note: &mut Note, other: &Note) {
        if note.text == other.text {
            let lines = other.signature_lines();
            for key in &self.witnesses {
                let _ = note.add_cosignature(&lines, key);
            }
        }
    }

    /// Returns how many of them cosigned the note.
    #[must_use]
    pub fn count(&self, note: &Note) -> usize {
        self.witnesses.iter().filter(|key| note.cosigned_at(key).is_some()).count()
    }

    /// Returns what is wrong with the times of their cosignatures: zero, or more than an hour after `now`.
    #[must_use]
    pub fn odd_times(&self, note: &Note, now: UnixTime) -> Vec<OddTime> {
        let odd = |key: &VerifierKey| match note.cosigned_at(key)? {
            time if time.0 <= 0 => Some(OddTime::Missing(key.name().to_owned())),
            time if time.since(now) > AHEAD => Some(OddTime::Future { name: key.name().to_owned(), time }),
            _ => None,
        };
        self.witnesses.iter().filter_map(odd).collect()
    }

    /// Checks that enough of them cosigned the head of a log with `size` leaves.
    ///
    /// # Errors
    /// [`Shortfall`].
    pub fn check(&self, note: &Note, size: u64) -> Result<(), Shortfall> {
        let (found, minimum) = (self.count(note), self.minimum);
        if found < minimum { Err(Shortfall { size, found, minimum }) } else { Ok(()) }
    }
}

/// Returns the body of the request that a witness cosigns this note: it continues the log of `old` leaves.
#[must_use]
pub fn request(old: u64, proof: &[Node], note: &Note) -> String {
    let mut body = format!("old {old}\n");
    for node in proof {
        // Writing to a string does not fail.
        let _ = writeln!(body, "{}", BASE64.encode(node));
    }
    let _ = write!(body, "\n{note}");
    body
}

/// Parses the size in an answer: a decimal number and LF.
#[must_use]
pub fn size_in(body: &[u8]) -> Option<u64> {
    let text = str::from_utf8(body).ok()?.strip_suffix('\n')?;
    let size: u64 = text.parse().ok()?;
    (size.to_string() == text).then_some(size)
}

#[cfg(test)]
mod tests {
    use super::*;

    // Keys with the ids of tlog-cosignature and signed-note.
    const WITNESS: &str = "w.example/1+0e0aac72+BP0XJDhaoMdbZPt4zWAvodmR/ev3axPFjtcC6sg16fYY";
    const LOG: &str = "PeterNeumann+c74f20a3+ARpc2QcUPDhMQegwxbzhKqiBfsVkmqq/LDE4izWy10TW";

    #[test]
    fn a_witness_is_a_key_and_an_address() {
        let witness: Witness = format!(" {WITNESS}  https://w.example/a/ ").parse().unwrap();
        assert_eq!((witness.name(), witness.address().as_str()), ("w.example/1", "https://w.example/a/add-checkpoint"));
        for (text, error) in [
            (String::new(), WitnessError::Malformed),
            (WITNESS.to_owned(), WitnessError::Malformed),
            (format!("{WITNESS} /"), WitnessError::Malformed),
            (format!("{WITNESS} https://w.example/ more"), WitnessError::Malformed),
            (format!("{LOG} https://w.example/"), WitnessError::Kind),
            (format!("{WITNESS}A https://w.example/"), WitnessError::Key(KeyError::Malformed)),
            (format!("x{WITNESS} https://w.example/"), WitnessError::Key(KeyError::Identifier)),
        ] {
            assert_eq!(text.parse::<Witness>(), Err(error), "{text:?}");
        }
    }

    // The form of the example of tlog-witness.
    #[test]
    fn a_request_has_size_proof_and_note() {
        let note: Note = "a\n1\nb\n\n\u{2014} name AAAAAAA=\n".parse().unwrap();
        assert_eq!(request(0, &[], &note), format!("old 0\n\n{note}"));
        let hash = "AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA=";
        assert_eq!(request(20_852_014, &[[0; 32], [0; 32]], &note), format!("old 20852014\n{hash}\n{hash}\n\n{note}"));
    }

    #[test]
    fn one_key_under_two_names_is_one_witness() {
        let one = key_of(WITNESS).unwrap();
        // The identifier of the other name, made with Python.
        let two = key_of(&WITNESS.replace("w.example/1+0e0aac72", "w.example/2+43f326d6")).unwrap();
        assert_eq!(
            Quorum::new(vec![one.clone(), two.clone()], None),
            Err(QuorumError::Twice("w.example/2".to_owned()))
        );
        assert_eq!(Quorum::new(vec![one], None).unwrap().minimum(), 1);
    }

    #[test]
    fn only_a_decimal_number_is_a_size() {
        assert_eq!((size_in(b"0\n"), size_in(b"20852014\n")), (Some(0), Some(20_852_014)));
        for body in ["", "1", "01\n", "-1\n", "1\n\n", "18446744073709551616\n", "<html>\n"] {
            assert_eq!(size_in(body.as_bytes()), None, "{body:?}");
        }
        assert_eq!(size_in(&[0xff, b'\n']), None);
    }
}
