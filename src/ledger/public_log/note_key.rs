//! Key that signs the checkpoints of the public log, in a file beside the signing keys. It never signs a stamp.

use super::error::PublicLogError;
use crate::config::file;
use crate::directory::signing_key::SecretError;
use crate::ledger::error::LedgerError;
use crate::ledger::files::{self, LedgerPaths, failed};
use crate::os::random;
use crate::transparency::note::NoteKey;
use std::io::{ErrorKind, Write};
use zeroize::Zeroizing;

/// Returns the key of the log of this name; `None` if its file is missing.
pub(in crate::ledger) fn read(place: &LedgerPaths, origin: &str) -> Result<Option<NoteKey>, LedgerError> {
    let path = place.log_key();
    let text = match file::read_secret(&path) {
        Ok(text) => Zeroizing::new(text),
        Err(error) if error.is_absent() => return Ok(None),
        Err(error) => return Err(SecretError::File(error).into()),
    };
    let key = NoteKey::parse(text.trim_end()).map_err(|problem| PublicLogError::Key { path: path.clone(), problem })?;
    let name = key.verifier().name().to_owned();
    if name == origin { Ok(Some(key)) } else { Err(PublicLogError::KeyName { path, name }.into()) }
}

/// Returns the key of the log of this name; makes it if its file is missing.
pub(in crate::ledger) fn make(place: &LedgerPaths, origin: &str) -> Result<NoteKey, LedgerError> {
    place.make_keys()?;
    if let Some(key) = read(place, origin)? {
        return Ok(key);
    }
    let path = place.log_key();
    let mut seed = Zeroizing::new([0; 32]);
    random::fill(seed.as_mut_slice()).map_err(SecretError::Random)?;
    let key = NoteKey::from_random(origin, &seed);
    let key = key.map_err(|problem| PublicLogError::Key { path: path.clone(), problem })?;
    let mut file = match files::new_file(&path) {
        // Another process was quicker.
        Err(LedgerError::Io { source, .. }) if source.kind() == ErrorKind::AlreadyExists => {
            return read(place, origin)?.ok_or_else(|| PublicLogError::KeyAbsent { path }.into());
        }
        other => other?,
    };
    let written = file.write_all(key.to_text().as_bytes()).and_then(|()| file.write_all(b"\n"));
    written.and_then(|()| file.sync_all()).map_err(|source| failed("write", &path, source))?;
    files::sync_parent(&path)?;
    Ok(key)
}
