//! Where the files of a log are: on a web server, or in a folder that was copied from one.

use crate::transparency::note::{LONGEST, VerifierKey};
use crate::transparency::reader::{Source, SourceError};
use rustix::fs::OFlags;
use std::cell::RefCell;
use std::collections::BTreeMap;
use std::fmt;
use std::fs::File;
use std::io::{self, Read};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::str::FromStr;

/// Where the files of a log are.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Place {
    /// Below this address, over HTTPS.
    Web(String),
    Folder(PathBuf),
}

impl Place {
    /// Returns the address that the log's name says.
    #[must_use]
    pub fn of(key: &VerifierKey) -> Self {
        Self::Web(format!("https://{}", key.name()))
    }
}

impl Place {
    /// Returns the place of another folder beside this one.
    #[must_use]
    pub fn beside(&self, name: &str) -> Self {
        match self {
            Self::Web(address) => Self::Web(
                address.rsplit_once('/').map_or_else(|| address.clone(), |(above, _)| format!("{above}/{name}")),
            ),
            Self::Folder(folder) => Self::Folder(folder.join("..").join(name)),
        }
    }
}

/// A text is not a place.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("write an address https://…, or a folder")]
pub struct PlaceError;

impl FromStr for Place {
    type Err = PlaceError;

    fn from_str(text: &str) -> Result<Self, PlaceError> {
        match text.split_once("://") {
            Some(("https", _)) => Ok(Self::Web(text.trim_end_matches('/').to_owned())),
            // Another scheme is no folder.
            Some((scheme, _)) if scheme.bytes().all(|byte| byte.is_ascii_alphanumeric()) => Err(PlaceError),
            _ => Ok(Self::Folder(text.into())),
        }
    }
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Web(address) => f.write_str(address),
            Self::Folder(folder) => folder.display().fmt(f),
        }
    }
}

/// Reads the signed checkpoint of a log.
///
/// # Errors
/// [`SourceError`], also for a checkpoint that is no text.
pub fn checkpoint(source: &impl Source) -> Result<String, SourceError> {
    let bytes = source.get("checkpoint", LONGEST)?;
    String::from_utf8(bytes).map_err(|_| SourceError::Unread("it is not UTF-8".to_owned()))
}

impl Source for Place {
    fn get(&self, path: &str, longest: usize) -> Result<Vec<u8>, SourceError> {
        match self {
            Self::Web(address) => fetch(&format!("{address}/{path}"), longest),
            Self::Folder(folder) => read(&folder.join(path), longest),
        }
    }
}

/// Reads a file of a log in a folder.
///
/// # Errors
/// [`SourceError`].
pub fn read(path: &Path, longest: usize) -> Result<Vec<u8>, SourceError> {
    let unread = |error: io::Error| match error.kind() {
        io::ErrorKind::NotFound => SourceError::Absent,
        _ => SourceError::Unread(error.to_string()),
    };
    // A named pipe would be waited for.
    let nonblocking = i32::try_from(OFlags::NONBLOCK.bits()).unwrap_or(0);
    let file = File::options().read(true).custom_flags(nonblocking).open(path).map_err(unread)?;
    if !file.metadata().map_err(unread)?.is_file() {
        return Err(SourceError::Unread("it is not a file".to_owned()));
    }
    let mut bytes = Vec::new();
    file.take(longest as u64 + 1).read_to_end(&mut bytes).map_err(unread)?;
    if bytes.len() > longest { Err(SourceError::Long) } else { Ok(bytes) }
}

#[cfg(feature = "directory")]
fn fetch(address: &str, longest: usize) -> Result<Vec<u8>, SourceError> {
    use crate::net::https::{self, Answer, Conditions, HttpsError, Limits};
    use std::time::Duration;

    let limits = Limits { time: Duration::from_secs(30), bytes: longest as u64 };
    match https::get(address, &Conditions::default(), limits) {
        Ok(Answer::Document { bytes, .. }) => Ok(bytes),
        // Without a condition no server may say so (RFC 9110 section 15.4.5).
        Ok(Answer::Unchanged) => Err(SourceError::Unread("the server answered with status 304".to_owned())),
        Err(HttpsError::Status(404 | 410)) => Err(SourceError::Absent),
        Err(HttpsError::TooLarge(_)) => Err(SourceError::Long),
        Err(error) => Err(SourceError::Unread(error.to_string())),
    }
}

#[cfg(not(feature = "directory"))]
fn fetch(_: &str, _: usize) -> Result<Vec<u8>, SourceError> {
    Err(SourceError::Unread("this program was built without the client for HTTPS; give a folder".to_owned()))
}

/// A place whose files are kept as they are read, as evidence.
#[derive(Debug)]
pub struct Recorder<'a> {
    place: &'a Place,
    /// The files by their paths.
    pub files: RefCell<BTreeMap<String, Vec<u8>>>,
}

impl<'a> Recorder<'a> {
    /// Starts without files.
    #[must_use]
    pub fn new(place: &'a Place) -> Self {
        Self { place, files: RefCell::default() }
    }
}

impl Source for Recorder<'_> {
    fn get(&self, path: &str, longest: usize) -> Result<Vec<u8>, SourceError> {
        let bytes = self.place.get(path, longest)?;
        self.files.borrow_mut().insert(path.to_owned(), bytes.clone());
        Ok(bytes)
    }
}
