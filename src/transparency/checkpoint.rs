//! Checkpoints: the head of a log, as the text of a signed note (C2SP tlog-checkpoint).

use super::merkle::Node;
use super::note::{Note, NoteError, VerifierKey};
use data_encoding::BASE64;
use std::fmt;

/// Largest number of leaves: a billion vendors' worth, and far from where numbers overflow.
const SIZE_MAX: u64 = 1 << 48;

/// Size and root of a log.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Checkpoint {
    /// The log's name.
    pub origin: String,
    /// Number of its leaves.
    pub size: u64,
    /// Root of the tree over them.
    pub root: Node,
}

/// A text is not the checkpoint of a log.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum CheckpointError {
    /// Not a signed note, or not signed by the log's key.
    #[error(transparent)]
    Note(#[from] NoteError),
    #[error("not a checkpoint: its lines are origin, size and root")]
    Malformed,
    /// The checkpoint of another log.
    #[error("the checkpoint of {0:?}, which is another log")]
    Origin(String),
}

impl Checkpoint {
    /// Parses the text of a note. Further lines are ignored.
    ///
    /// # Errors
    /// [`CheckpointError::Malformed`] for any other text.
    pub fn parse(text: &str) -> Result<Self, CheckpointError> {
        let mut lines = text.strip_suffix('\n').ok_or(CheckpointError::Malformed)?.split('\n');
        let mut line = || lines.next().filter(|line| !line.is_empty()).ok_or(CheckpointError::Malformed);
        let (origin, count, root) = (line()?, line()?, line()?);
        let size: u64 = count.parse().map_err(|_| CheckpointError::Malformed)?;
        let root = BASE64.decode(root.as_bytes()).ok().and_then(|root| root.try_into().ok());
        let root = root.ok_or(CheckpointError::Malformed)?;
        if size.to_string() != count || size > SIZE_MAX || lines.any(str::is_empty) {
            return Err(CheckpointError::Malformed);
        }
        Ok(Self { origin: origin.to_owned(), size, root })
    }

    /// Opens the signed checkpoint of this key's log.
    ///
    /// # Errors
    /// [`CheckpointError`] for one that the key did not sign, or that has another origin.
    pub fn open(note: &Note, key: &VerifierKey) -> Result<Self, CheckpointError> {
        note.verified_by(key)?;
        let checkpoint = Self::parse(&note.text)?;
        if checkpoint.origin == key.name() { Ok(checkpoint) } else { Err(CheckpointError::Origin(checkpoint.origin)) }
    }
}

/// Writes the text of the note.
impl fmt::Display for Checkpoint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "{}\n{}\n{}", self.origin, self.size, BASE64.encode(&self.root))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::transparency::note::NoteKey;

    // The example of tlog-checkpoint.
    const TEXT: &str = "example.com/behind-the-sofa\n20852163\nCsUYapGGPo4dkMgIAUqom/Xajj7h2fB2MPA3j2jxq2I=\n";

    #[test]
    fn a_checkpoint_is_read_as_it_is_written() {
        let checkpoint = Checkpoint::parse(TEXT).unwrap();
        assert_eq!((checkpoint.origin.as_str(), checkpoint.size), ("example.com/behind-the-sofa", 20_852_163));
        assert_eq!(checkpoint.to_string(), TEXT);
        assert_eq!(Checkpoint::parse(&format!("{TEXT}more\n")).unwrap(), checkpoint);
    }

    #[test]
    fn what_is_none_is_refused() {
        for text in [
            "",
            "\n",
            "a\n1\n",
            TEXT.trim_end(),
            &TEXT.replace("20852163", "020852163"),
            &TEXT.replace("20852163", "-1"),
            &TEXT.replace("20852163", "18446744073709551616"),
            &TEXT.replace("20852163", "281474976710657"),
            &TEXT.replace("q2I=", "q2I"),
            &TEXT.replace("CsUY", ""),
            &format!("{TEXT}\n"),
            &format!("{TEXT}\nmore\n"),
            &format!("\n{TEXT}"),
        ] {
            assert_eq!(Checkpoint::parse(text), Err(CheckpointError::Malformed), "{text:?}");
        }
    }

    #[test]
    fn only_the_key_of_the_log_opens_its_checkpoint() {
        let key = NoteKey::from_random("example.com/behind-the-sofa", &[1; 32]).unwrap();
        let note = key.sign(TEXT);
        assert!(Checkpoint::open(&note, &key.verifier()).is_ok());
        let other = NoteKey::from_random("example.com/other", &[1; 32]).unwrap();
        assert_eq!(Checkpoint::open(&note, &other.verifier()), Err(NoteError::Unsigned.into()));
        let foreign = CheckpointError::Origin("example.com/behind-the-sofa".to_owned());
        assert_eq!(Checkpoint::open(&other.sign(TEXT), &other.verifier()), Err(foreign));
    }
}
