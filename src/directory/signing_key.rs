//! Signing key of a vendor or a boundary, in a file with the names of vendor and key, and the key itself (PASERK
//! `k4.secret.…`). The file is written once, never over another file, and read only if no other user can read it.

use crate::config::file::{self, FileError, FileErrorKind};
use crate::os::random;
use crate::stamp::signing::SecretKey;
use crate::stamp::token::Issuer;
use serde::{Deserialize, Serialize};
use std::fs::OpenOptions;
use std::io::{self, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

/// Name of the key with which a boundary seals results.
const SEAL: &str = "seal";

/// A signing key with the names of its vendor and of the key.
#[derive(Debug)]
pub struct SigningKey {
    /// The names of vendor and key.
    pub issuer: Issuer,
    pub key: SecretKey,
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct File {
    vendor: String,
    kid: String,
    secret: String,
}

fn is_key(text: &str) -> bool {
    serde_json::from_str::<File>(text).is_ok()
}

/// Errors of a signing key's file.
#[derive(Debug, thiserror::Error)]
pub enum SecretError {
    /// The file cannot be read, or other users can read it.
    #[error(transparent)]
    File(#[from] FileError),
    #[error("{}: not a signing key of mailstamp", path.display())]
    Form { path: PathBuf },
    /// It cannot be written; an existing file is never overwritten.
    #[error("{}: {source}", path.display())]
    Write { path: PathBuf, source: io::Error },
    #[error("no random numbers from the system: {0}")]
    Random(io::Error),
}

impl SigningKey {
    /// Generates a key from the system's random numbers.
    pub fn generate(issuer: Issuer) -> Result<Self, SecretError> {
        let mut seed = zeroize::Zeroizing::new([0; 32]);
        random::fill(seed.as_mut_slice()).map_err(SecretError::Random)?;
        Ok(Self { issuer, key: SecretKey::from_random(&seed) })
    }

    /// Reads a key.
    pub fn read(path: &Path) -> Result<Self, SecretError> {
        let wrong = || SecretError::Form { path: path.to_owned() };
        let text = zeroize::Zeroizing::new(file::read_secret(path).map_err(|error| match error.kind {
            FileErrorKind::Encoding => wrong(),
            // Closing a public document to others would not make it a key.
            FileErrorKind::Readable if file::read(path).is_ok_and(|text| !is_key(&text)) => wrong(),
            _ => error.into(),
        })?);
        let file: File = serde_json::from_str(&text).map_err(|_| wrong())?;
        let secret = zeroize::Zeroizing::new(file.secret);
        let issuer = Issuer::new(&file.vendor, &file.kid).map_err(|_| wrong())?;
        Ok(Self { issuer, key: SecretKey::parse(&secret).map_err(|_| wrong())? })
    }

    /// Reads the key that seals the results of a boundary: its vendor is a host.
    pub fn read_seal(path: &Path) -> Result<Self, SecretError> {
        let read = Self::read(path)?;
        if read.issuer.key_id() == SEAL { Ok(read) } else { Err(SecretError::Form { path: path.to_owned() }) }
    }

    /// Generates the key that seals the results of the boundary `host`.
    ///
    /// # Errors
    /// `None` unless `host` is a domain.
    pub fn generate_seal(host: &str) -> Option<Result<Self, SecretError>> {
        let issuer = Issuer::new(host, SEAL).ok().filter(|_| !host.contains('@'))?;
        Some(Self::generate(issuer))
    }

    /// Writes the key to a new file, readable by its owner only, and waits until it is on the disk.
    ///
    /// # Errors
    /// [`SecretError::Write`], also when the file exists.
    pub fn write(&self, path: &Path) -> Result<(), SecretError> {
        let failed = |source| SecretError::Write { path: path.to_owned(), source };
        let file = File {
            vendor: self.issuer.vendor().to_owned(),
            kid: self.issuer.key_id().to_owned(),
            secret: self.key.to_paserk().to_string(),
        };
        let mut text = zeroize::Zeroizing::new(serde_json::to_string_pretty(&file).map_err(|e| failed(e.into()))?);
        text.push('\n');
        let mut options = OpenOptions::new();
        let mut opened = options.write(true).create_new(true).mode(0o600).open(path).map_err(failed)?;
        opened.write_all(text.as_bytes()).and_then(|()| opened.sync_all()).map_err(failed)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_comes_back_and_is_never_written_over() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("key");
        let signer = SigningKey::generate(Issuer::new("v.example", "a").unwrap()).unwrap();
        signer.write(&path).unwrap();
        let read = SigningKey::read(&path).unwrap();
        assert_eq!(read.issuer, signer.issuer);
        assert_eq!(read.key.public(), signer.key.public());
        assert!(matches!(signer.write(&path), Err(SecretError::Write { .. })));
    }

    #[test]
    fn a_public_document_is_no_key_in_any_mode() {
        use std::os::unix::fs::PermissionsExt;
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("document");
        for mode in [0o644, 0o600] {
            std::fs::write(&path, r#"{"vendor": "v.example", "keys": []}"#).unwrap();
            std::fs::set_permissions(&path, std::fs::Permissions::from_mode(mode)).unwrap();
            assert!(matches!(SigningKey::read(&path), Err(SecretError::Form { .. })), "{mode:o}");
        }
    }

    #[test]
    fn a_key_open_to_others_is_refused() {
        use std::os::unix::fs::PermissionsExt;
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("key");
        SigningKey::generate(Issuer::new("v.example", "a").unwrap()).unwrap().write(&path).unwrap();
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o640)).unwrap();
        assert!(matches!(SigningKey::read(&path), Err(SecretError::File(_))));
    }
}
