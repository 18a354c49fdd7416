//! Signed notes (C2SP signed-note): a text of lines, and below an empty line the signatures of keys that have names.
//! Ed25519 keys of two kinds: of logs, and of witnesses, whose signature has a time (C2SP tlog-cosignature).

use crate::stamp::signing::{PublicKey, SecretKey};
use crate::time::UnixTime;
use data_encoding::{BASE64, HEXLOWER};
use sha2::{Digest, Sha256};
use std::fmt;
use std::str::FromStr;
use zeroize::Zeroizing;

/// Largest note in bytes.
pub const LONGEST: usize = 64 * 1024;
/// Most signatures of a note.
const SIGNATURES: usize = 64;
/// Longest name of a key in bytes.
const NAME: usize = 255;
/// Begins the text of a secret key.
const PRIVATE: &str = "PRIVATE+KEY+";

/// What a key signs.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum KeyKind {
    /// The text of a note.
    Note,
    /// The text with the time at which a witness saw it.
    Witness,
}

impl KeyKind {
    const fn byte(self) -> u8 {
        match self {
            Self::Note => 1,
            Self::Witness => 4,
        }
    }
}

/// A key that verifies notes. Its text is `name+id+key`: the identifier in eight hexadecimal digits, then the kind and
/// the key in base64.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct VerifierKey {
    name: String,
    kind: KeyKind,
    key: PublicKey,
}

/// A key that signs notes. Its text is `PRIVATE+KEY+name+id+secret`, as other programs for signed notes write it.
#[derive(Debug)]
pub struct NoteKey {
    name: String,
    key: SecretKey,
}

/// A text is not a key for notes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum KeyError {
    #[error("not a key for signed notes (NAME+IDENTIFIER+KEY)")]
    Malformed,
    #[error("the key's identifier is not that of its name and key")]
    Identifier,
    #[error("a key of a kind that this program does not know (it knows Ed25519 of logs and of witnesses)")]
    Kind,
}

/// A text is not a signed note.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum NoteError {
    #[error("longer than {LONGEST} bytes")]
    Long,
    #[error("not a signed note: a text, an empty line, and lines with signatures")]
    Malformed,
    #[error("more than {SIGNATURES} signatures")]
    Signatures,
    #[error("no signature of the log's key")]
    Unsigned,
    #[error("the signature is wrong: the text was changed, or another key signed it")]
    Wrong,
}

/// A signed note. Its text counts only after [`verified_by`](Self::verified_by).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Note {
    /// The text, with its last LF.
    pub text: String,
    signatures: Vec<Signature>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
struct Signature {
    name: String,
    id: [u8; 4],
    bytes: Vec<u8>,
}

impl VerifierKey {
    /// Returns the key's name.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Returns what it signs.
    #[must_use]
    pub const fn kind(&self) -> KeyKind {
        self.kind
    }

    /// Returns whether both have one public key, perhaps under two names: a cosignature of one is one of the other, too.
    #[must_use]
    pub fn is_key_of(&self, other: &Self) -> bool {
        self.key == other.key
    }

    fn id(&self) -> [u8; 4] {
        id(&self.name, self.kind, &self.key)
    }
}

impl FromStr for VerifierKey {
    type Err = KeyError;

    fn from_str(text: &str) -> Result<Self, KeyError> {
        let (name, id, bytes) = parts(text)?;
        let (&[kind], key) = bytes.split_first_chunk::<1>().ok_or(KeyError::Malformed)?;
        let kind = match kind {
            1 => KeyKind::Note,
            4 => KeyKind::Witness,
            _ => return Err(KeyError::Kind),
        };
        let key = PublicKey::from_bytes(key.try_into().map_err(|_| KeyError::Malformed)?);
        let key = Self { name: name.to_owned(), kind, key: key.map_err(|_| KeyError::Malformed)? };
        if key.id() == id { Ok(key) } else { Err(KeyError::Identifier) }
    }
}

impl fmt::Display for VerifierKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let bytes = [&[self.kind.byte()][..], &self.key.to_bytes()].concat();
        write!(f, "{}+{}+{}", self.name, HEXLOWER.encode(&self.id()), BASE64.encode(&bytes))
    }
}

impl NoteKey {
    /// Makes the key of this name from 32 random bytes. The caller must wipe its copy.
    ///
    /// # Errors
    /// [`KeyError`] for a name that no key can have.
    pub fn from_random(name: &str, bytes: &[u8; 32]) -> Result<Self, KeyError> {
        if is_name(name) {
            Ok(Self { name: name.to_owned(), key: SecretKey::from_random(bytes) })
        } else {
            Err(KeyError::Malformed)
        }
    }

    /// Parses the text of a secret key.
    ///
    /// # Errors
    /// [`KeyError`] for any other text.
    pub fn parse(text: &str) -> Result<Self, KeyError> {
        let (name, id, bytes) = parts(text.strip_prefix(PRIVATE).ok_or(KeyError::Malformed)?)?;
        let bytes = Zeroizing::new(bytes);
        let (&[kind], seed) = bytes.split_first_chunk::<1>().ok_or(KeyError::Malformed)?;
        if kind != KeyKind::Note.byte() {
            return Err(KeyError::Kind);
        }
        let key = Self::from_random(name, seed.try_into().map_err(|_| KeyError::Malformed)?)?;
        if key.verifier().id() == id { Ok(key) } else { Err(KeyError::Identifier) }
    }

    /// Returns the text of the secret key, for its file.
    #[must_use]
    pub fn to_text(&self) -> Zeroizing<String> {
        let mut bytes = Zeroizing::new([KeyKind::Note.byte(); 33]);
        bytes[1..].copy_from_slice(&*self.key.to_seed());
        let head = format!("{PRIVATE}{}+{}+", self.name, HEXLOWER.encode(&self.verifier().id()));
        // Allocated in full, since a string that grows leaves copies behind.
        let mut text = Zeroizing::new(String::with_capacity(head.len() + BASE64.encode_len(bytes.len())));
        text.push_str(&head);
        BASE64.encode_append(&bytes[..], &mut text);
        text
    }

    /// Returns the key that verifies this one's signatures.
    #[must_use]
    pub fn verifier(&self) -> VerifierKey {
        VerifierKey { name: self.name.clone(), kind: KeyKind::Note, key: self.key.public() }
    }

    /// Returns the note of this text, which must end with LF.
    #[must_use]
    pub fn sign(&self, text: &str) -> Note {
        let bytes = self.key.sign_message(text.as_bytes()).to_vec();
        let signature = Signature { name: self.name.clone(), id: self.verifier().id(), bytes };
        Note { text: text.to_owned(), signatures: vec![signature] }
    }
}

impl Note {
    /// Returns whether the key signed it. For a witness, it must have done so at this time or later.
    ///
    /// # Errors
    /// [`NoteError::Wrong`] for a signature with the key's name and identifier that does not verify.
    pub fn signed_by(&self, key: &VerifierKey, not_before: UnixTime) -> Result<bool, NoteError> {
        let mut signed = false;
        for signature in self.signatures.iter().filter(|it| it.name == key.name && it.id == key.id()) {
            let (time, bytes) = match key.kind {
                KeyKind::Note => (None, signature.bytes.as_slice()),
                KeyKind::Witness => {
                    let (time, bytes) = signature.bytes.split_first_chunk::<8>().ok_or(NoteError::Wrong)?;
                    (Some(i64::from_be_bytes(*time)), bytes)
                }
            };
            let message = match time {
                None => self.text.clone(),
                Some(time) => format!("cosignature/v1\ntime {time}\n{}", self.text),
            };
            let bytes: &[u8; 64] = bytes.try_into().map_err(|_| NoteError::Wrong)?;
            if !key.key.verify_message(message.as_bytes(), bytes) {
                return Err(NoteError::Wrong);
            }
            signed |= time.is_none_or(|time| UnixTime(time) >= not_before);
        }
        Ok(signed)
    }

    /// Checks that the key of a log signed it.
    ///
    /// # Errors
    /// [`NoteError::Unsigned`] or [`NoteError::Wrong`].
    pub fn verified_by(&self, key: &VerifierKey) -> Result<(), NoteError> {
        if self.signed_by(key, UnixTime(i64::MIN))? { Ok(()) } else { Err(NoteError::Unsigned) }
    }

    /// Returns when a witness cosigned it last; `None` without a cosignature of this key, or with one that does not
    /// verify.
    #[must_use]
    pub fn cosigned_at(&self, key: &VerifierKey) -> Option<UnixTime> {
        if key.kind != KeyKind::Witness || self.signed_by(key, UnixTime(i64::MIN)) != Ok(true) {
            return None;
        }
        let own = self.signatures.iter().filter(|it| it.name == key.name && it.id == key.id());
        own.filter_map(Signature::time).max()
    }

    /// Puts the newest cosignature of a witness in these lines in the place of the older ones. Returns its time; `None`
    /// without one that verifies.
    pub fn add_cosignature(&mut self, lines: &str, key: &VerifierKey) -> Option<UnixTime> {
        let other: Self = format!("{}\n{lines}", self.text).parse().ok()?;
        let own = |it: &Signature| it.name == key.name && it.id == key.id();
        let all = self.signatures.iter().chain(&other.signatures).filter(|it| own(it));
        let verified = all.filter_map(|signature| {
            let one = Self { text: self.text.clone(), signatures: vec![signature.clone()] };
            Some((one.cosigned_at(key)?, signature))
        });
        let (time, newest) = verified.max_by_key(|(time, _)| *time).map(|(time, newest)| (time, newest.clone()))?;
        self.signatures.retain(|it| !own(it));
        self.signatures.push(newest);
        Some(time)
    }

    /// Returns the note with the signatures of this key alone.
    #[must_use]
    pub fn only(&self, key: &VerifierKey) -> Self {
        let own = self.signatures.iter().filter(|it| it.name == key.name && it.id == key.id());
        Self { text: self.text.clone(), signatures: own.cloned().collect() }
    }

    /// Returns the lines of its signatures.
    #[must_use]
    pub fn signature_lines(&self) -> String {
        self.signatures.iter().map(ToString::to_string).collect()
    }
}

impl FromStr for Note {
    type Err = NoteError;

    fn from_str(note: &str) -> Result<Self, NoteError> {
        if note.len() > LONGEST {
            return Err(NoteError::Long);
        }
        if note.chars().any(|letter| letter < ' ' && letter != '\n') || !note.ends_with('\n') {
            return Err(NoteError::Malformed);
        }
        let at = note.rfind("\n\n").ok_or(NoteError::Malformed)?;
        let (text, lines) = (&note[..=at], &note[at + 2..]);
        let signatures: Vec<Signature> =
            lines.lines().map(Signature::parse).collect::<Option<_>>().ok_or(NoteError::Malformed)?;
        match signatures.len() {
            0 => Err(NoteError::Malformed),
            1..=SIGNATURES => Ok(Self { text: text.to_owned(), signatures }),
            _ => Err(NoteError::Signatures),
        }
    }
}

impl fmt::Display for Note {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "{}", self.text)?;
        self.signatures.iter().try_for_each(|signature| signature.fmt(f))
    }
}

/// Writes its line.
impl fmt::Display for Signature {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "\u{2014} {} {}", self.name, BASE64.encode(&[&self.id[..], &self.bytes].concat()))
    }
}

impl Signature {
    /// Returns the time in the cosignature of a witness.
    fn time(&self) -> Option<UnixTime> {
        self.bytes.split_first_chunk::<8>().map(|(time, _)| UnixTime(i64::from_be_bytes(*time)))
    }

    fn parse(line: &str) -> Option<Self> {
        let (name, signature) = line.strip_prefix("\u{2014} ")?.split_once(' ')?;
        let bytes = BASE64.decode(signature.as_bytes()).ok()?;
        let (id, bytes) = bytes.split_first_chunk::<4>()?;
        is_name(name).then(|| Self { name: name.to_owned(), id: *id, bytes: bytes.to_vec() })
    }
}

/// Splits the text of a key into name, identifier and the bytes of the key.
fn parts(text: &str) -> Result<(&str, [u8; 4], Vec<u8>), KeyError> {
    let (name, rest) = text.split_once('+').ok_or(KeyError::Malformed)?;
    let (id, bytes) = rest.split_once('+').ok_or(KeyError::Malformed)?;
    let id = HEXLOWER.decode(id.as_bytes()).ok().and_then(|id| id.try_into().ok()).ok_or(KeyError::Malformed)?;
    let bytes = BASE64.decode(bytes.as_bytes()).map_err(|_| KeyError::Malformed)?;
    if is_name(name) { Ok((name, id, bytes)) } else { Err(KeyError::Malformed) }
}

fn is_name(name: &str) -> bool {
    let odd = |letter: char| letter.is_whitespace() || letter.is_control() || letter == '+';
    (1..=NAME).contains(&name.len()) && !name.contains(odd)
}

fn id(name: &str, kind: KeyKind, key: &PublicKey) -> [u8; 4] {
    let hash = Sha256::new().chain_update(name).chain_update([b'\n', kind.byte()]).chain_update(key.to_bytes());
    let hash: [u8; 32] = hash.finalize().into();
    [hash[0], hash[1], hash[2], hash[3]]
}

#[cfg(test)]
mod tests {
    use super::*;

    // The example of Go's package golang.org/x/mod/sumdb/note.
    const SECRET: &str = "PRIVATE+KEY+PeterNeumann+c74f20a3+AYEKFALVFGyNhPJEMzD1QIDr+Y7hfZx09iUvxdXHKDFz";
    const KEY: &str = "PeterNeumann+c74f20a3+ARpc2QcUPDhMQegwxbzhKqiBfsVkmqq/LDE4izWy10TW";
    const TEXT: &str =
        "If you think cryptography is the answer to your problem,\nthen you don't know what your problem is.\n";
    const SIGNED: &str = "\u{2014} PeterNeumann x08go/ZJkuBS9UG/SffcvIAQxVBtiFupLLr8pAcElZInNIuGUgYN1FFYC2pZSNXgKvqfqdngotpRZb6KE6RyyBwJnAM=\n";

    const WITNESS: &str = "w.example/1+0e0aac72+BP0XJDhaoMdbZPt4zWAvodmR/ev3axPFjtcC6sg16fYY";
    const COSIGNED: &str = "\u{2014} w.example/1 DgqscgAAAABkGFDLXu5jAmr4iG7fMPkSesCdsF7vYvRP2cBzllcbDk52tQDSI/8uvJ6AUJe8YB1t4qX2X9JqXQebSeq9a2n+QEbvCw==\n";

    fn note(text: &str) -> Result<Note, NoteError> {
        text.parse()
    }

    #[test]
    fn a_note_of_another_program_verifies_and_is_made_alike() {
        let key: VerifierKey = KEY.parse().unwrap();
        let other = note(&format!("{TEXT}\n{SIGNED}")).unwrap();
        assert_eq!(other.verified_by(&key), Ok(()));
        let secret = NoteKey::parse(SECRET).unwrap();
        assert_eq!((secret.verifier().to_string().as_str(), secret.to_text().as_str()), (KEY, SECRET));
        assert_eq!(secret.sign(TEXT), other);
        assert_eq!(secret.sign(TEXT).to_string(), format!("{TEXT}\n{SIGNED}"));
    }

    #[test]
    fn a_changed_text_and_a_foreign_key_are_told_apart() {
        let key: VerifierKey = KEY.parse().unwrap();
        let changed = note(&format!("{}\n{SIGNED}", TEXT.replace("know", "KNOW"))).unwrap();
        assert_eq!(changed.verified_by(&key), Err(NoteError::Wrong));
        let other = NoteKey::from_random("PeterNeumann", &[7; 32]).unwrap();
        assert_eq!(other.sign(TEXT).verified_by(&key), Err(NoteError::Unsigned));
        let both = note(&format!("{}{SIGNED}", other.sign(TEXT))).unwrap();
        assert_eq!((both.verified_by(&key), both.verified_by(&other.verifier())), (Ok(()), Ok(())));
    }

    // Made with Python: an Ed25519 key of 32 bytes 9, its vkey with kind 4, and the cosignature of TEXT at 1679315147.
    #[test]
    fn a_witness_signs_with_its_time() {
        let key: VerifierKey = WITNESS.parse().unwrap();
        assert_eq!((key.kind(), key.name(), key.to_string().as_str()), (KeyKind::Witness, "w.example/1", WITNESS));
        let mut seen = NoteKey::parse(SECRET).unwrap().sign(TEXT);
        let time = Some(UnixTime(1_679_315_147));
        assert_eq!(seen.cosigned_at(&key), None);
        assert_eq!(seen.add_cosignature(SIGNED, &key), None);
        assert_eq!(seen.add_cosignature("nothing", &key), None);
        assert_eq!(seen.add_cosignature(&format!("{SIGNED}{COSIGNED}"), &key), time);
        let once = seen.clone();
        assert_eq!((seen.add_cosignature(COSIGNED, &key), seen.cosigned_at(&key)), (time, time));
        assert_eq!((&seen, seen.signature_lines()), (&once, format!("{SIGNED}{COSIGNED}")));
        let log: VerifierKey = KEY.parse().unwrap();
        assert_eq!((seen.add_cosignature(SIGNED, &log), seen.cosigned_at(&log)), (None, None));
        assert_eq!(seen.signed_by(&key, UnixTime(1_679_315_147)), Ok(true));
        assert_eq!(seen.signed_by(&key, UnixTime(1_679_315_148)), Ok(false));
        assert_eq!(note(&seen.to_string()).unwrap(), seen);
        let mut other = NoteKey::parse(SECRET).unwrap().sign("another text\n");
        assert_eq!(other.add_cosignature(COSIGNED, &key), None);
    }

    #[test]
    fn what_is_no_note_is_refused() {
        for text in [
            "",
            "a\n",
            TEXT,
            &format!("{TEXT}\n"),
            &format!("{TEXT}{SIGNED}"),
            &format!("{TEXT}\n{}", SIGNED.trim_end()),
            &format!("{TEXT}\n{}", SIGNED.replace('\u{2014}', "-")),
            &format!("{TEXT}\n{}", SIGNED.replace("AM=", "AN=")),
            &format!("{TEXT}\n{}", SIGNED.replace("PeterNeumann", "Peter+Neumann")),
            &format!("{TEXT}\r\n{SIGNED}"),
            &format!("{TEXT}\n{SIGNED}more\n"),
        ] {
            assert_eq!(note(text), Err(NoteError::Malformed), "{text:?}");
        }
        assert_eq!(note(&format!("{TEXT}\n{}", SIGNED.repeat(65))), Err(NoteError::Signatures));
        assert!(note(&format!("{TEXT}\n{}", SIGNED.repeat(64))).is_ok());
        assert_eq!(note(&"a".repeat(LONGEST + 1)), Err(NoteError::Long));
    }

    #[test]
    fn what_is_no_key_is_refused() {
        for (text, error) in [
            ("", KeyError::Malformed),
            ("name", KeyError::Malformed),
            (&KEY.replace("Peter", "Peter "), KeyError::Malformed),
            (&KEY.replace("c74f20a3", "c74f20a"), KeyError::Malformed),
            (&KEY.replace("c74f20a3", "c74f20a4"), KeyError::Identifier),
            (&KEY.replace("Peter", "Pieter"), KeyError::Identifier),
            (&KEY.replace("+ARpc", "+ARpd"), KeyError::Malformed),
            ("a+00000000+AgAA", KeyError::Kind),
            (SECRET, KeyError::Malformed),
        ] {
            let found = text.parse::<VerifierKey>().unwrap_err();
            assert!(found == error || found == KeyError::Identifier, "{text}: {found}");
        }
        assert!(NoteKey::parse(KEY).is_err());
        assert!(NoteKey::from_random("a b", &[1; 32]).is_err());
    }
}
