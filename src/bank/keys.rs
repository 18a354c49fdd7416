//! Keys of the licences: a file each beside the bank, as of a vendor's signing keys. The bank never contains a secret key,
//! so a copy of it contains none.

use super::handle::Bank;
use crate::directory::signing_key::{SecretError, SigningKey};
use std::fs::DirBuilder;
use std::os::unix::fs::DirBuilderExt;
use std::path::PathBuf;

impl Bank {
    /// Reads the key of a licence.
    pub fn license_key(&self, kid: &str) -> Result<SigningKey, SecretError> {
        SigningKey::read(&self.key_path(kid))
    }

    /// Writes the key of a new licence (0600).
    pub(super) fn keep_key(&self, signer: &SigningKey) -> Result<(), SecretError> {
        let path = self.key_path(signer.issuer.key_id());
        let folder = path.with_file_name("");
        let made = DirBuilder::new().recursive(true).mode(0o700).create(&folder);
        made.map_err(|source| SecretError::Write { path: folder, source })?;
        signer.write(&path)
    }

    /// Returns the path of a licence's key. Its name is `m` and hexadecimal digits, whatever an agency says.
    fn key_path(&self, kid: &str) -> PathBuf {
        let plain: String = kid.chars().filter(char::is_ascii_alphanumeric).collect();
        self.path().with_file_name("keys").join(format!("{plain}.json"))
    }
}
