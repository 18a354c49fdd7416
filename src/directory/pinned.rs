//! Pinned documents: every file in the folder `vendors/` with a name that ends in `.json`. A missing folder is empty.
//!
//! A file that cannot be read or parsed stops the judgement, because the rest of the folder might be wrong without it.
//! Fetched documents (`cache.rs`) are added to these.

use super::cache::{self, CacheError, Record};
use super::document::{Document, DocumentError};
use super::key_directory::{Directory, DirectoryError, IgnoredReason, LONGEST_FILE, Trust};
use crate::config::file::{self, FileError};
use crate::time::UnixTime;
use std::collections::BTreeMap;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};

/// Combined directory, and the documents that were ignored.
#[derive(Debug, Default)]
pub struct Folder {
    /// The trusted vendors.
    pub directory: Directory,
    /// Ignored documents, each with its file or source.
    pub unheeded: Vec<(PathBuf, IgnoredReason)>,
}

/// The documents cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum FolderError {
    /// The folder cannot be listed.
    #[error("{}: {source}", path.display())]
    List {
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// A file in it cannot be read, or has unsafe permissions.
    #[error(transparent)]
    File(#[from] FileError),
    /// A file in it is malformed.
    #[error("{}: {source}", path.display())]
    Content {
        /// The file.
        path: PathBuf,
        /// What is wrong.
        source: DirectoryError,
    },
    /// The cache cannot be read.
    #[error(transparent)]
    Cache(#[from] CacheError),
}

/// Documents in the user's folder.
#[derive(Debug, Default)]
pub struct PinnedDocuments {
    pub pinned: Directory,
    /// Signed directories, each with its file, as tokens of several keys.
    signed: Vec<(PathBuf, Vec<String>)>,
}

/// Reads the folder and the `cache`, as of `now`.
///
/// # Errors
/// [`FolderError`], which names the file.
pub fn read(folder: &Path, cache: Option<&Path>, now: UnixTime) -> Result<Folder, FolderError> {
    let records = cache.map_or_else(|| Ok(Vec::new()), cache::read)?;
    placed(folder)?.with(&records, now)
}

/// Reads the folder alone.
///
/// # Errors
/// [`FolderError`], which names the file.
pub fn placed(folder: &Path) -> Result<PinnedDocuments, FolderError> {
    let mut placed = PinnedDocuments::default();
    for path in documents(folder)? {
        let content = |error: DocumentError| FolderError::Content { path: path.clone(), source: error.into() };
        match serde_json::from_str(&file::read_up_to(&path, LONGEST_FILE)?).map_err(|error| content(error.into()))? {
            Document::Pinned(entry) => placed.pinned.pin(&entry).map_err(content)?,
            Document::Signed { directory, also } => placed.signed.push((path, [vec![directory], also].concat())),
        }
    }
    Ok(placed)
}

impl PinnedDocuments {
    /// Combines the folder and these records.
    ///
    /// # Errors
    /// [`FolderError`], which names the file.
    pub fn with(&self, records: &[Record], now: UnixTime) -> Result<Folder, FolderError> {
        let mut directory = self.pinned.clone();
        let mut unheeded = Vec::new();
        let mut statements = Vec::new();
        let mut origins = Vec::new();
        let mut newest = BTreeMap::new();
        for (path, tokens) in &self.signed {
            let content = |source| FolderError::Content { path: path.clone(), source };
            let mut why = None;
            for token in tokens {
                match directory.open(token, now).map_err(content)? {
                    Ok(opened) => {
                        statements.push(opened.statement(Trust::Pinned).map_err(|error| content(error.into()))?);
                        origins.push(path.clone());
                        why = None;
                        break;
                    }
                    Err(reason) => why = why.or(Some(reason)),
                }
            }
            unheeded.extend(why.map(|why| (path.clone(), why)));
        }
        for record in records {
            let content =
                |source| FolderError::Content { path: format!("directories/{}.json", record.publisher).into(), source };
            if !record.is_current(&directory) {
                let why = IgnoredReason::NotPinned(record.publisher.clone());
                unheeded.extend(record.sources.iter().map(|heard| (heard.from.clone().into(), why.clone())));
                continue;
            }
            newest.insert(record.publisher.clone(), record.version);
            for (from, statement) in record.statements().map_err(content)? {
                statements.push(statement);
                origins.push(from.into());
            }
        }
        let origin = |index: usize| origins.get(index).cloned().unwrap_or_default();
        let heard = directory
            .add_statement(&statements, &newest, now)
            .map_err(|(index, error)| FolderError::Content { path: origin(index), source: error.into() })?;
        unheeded.extend(heard.into_iter().map(|(index, why)| (origin(index), why)));
        Ok(Folder { directory, unheeded })
    }
}

/// Lists the folder's documents by name, so that every run has the same order.
fn documents(folder: &Path) -> Result<Vec<PathBuf>, FolderError> {
    let failed = |source| FolderError::List { path: folder.to_owned(), source };
    let entries = match fs::read_dir(folder) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        other => other.map_err(failed)?,
    };
    let mut paths = Vec::new();
    for entry in entries {
        let path = entry.map_err(failed)?.path();
        let hidden = path.file_name().is_some_and(|name| name.to_string_lossy().starts_with('.'));
        if !hidden && path.extension().is_some_and(|ending| ending == "json") {
            paths.push(path);
        }
    }
    paths.sort();
    Ok(paths)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::stamp::signing::SecretKey;
    use crate::stamp::token::Purpose;

    const NOW: UnixTime = UnixTime(1_800_000_000);

    fn write(folder: &Path, name: &str, text: &str) {
        fs::write(folder.join(name), text).unwrap();
    }

    #[test]
    fn a_missing_folder_is_empty_and_other_files_are_not_read() {
        let folder = tempfile::tempdir().unwrap();
        assert_eq!(read(&folder.path().join("none"), None, NOW).unwrap().directory.vendors().count(), 0);
        write(folder.path(), "notes.txt", "not json");
        write(folder.path(), ".hidden.json", "not json");
        assert_eq!(read(folder.path(), None, NOW).unwrap().directory.vendors().count(), 0);
        let key = SecretKey::from_random(&[1; 32]).public();
        let pin = format!(r#"{{"vendor":"v.example","keys":[{{"kid":"a","key":"{key}"}}],"later":1}}"#);
        write(folder.path(), "v.json", &pin);
        assert_eq!(read(folder.path(), None, NOW).unwrap().directory.vendors().count(), 1);
    }

    #[test]
    fn a_broken_document_names_its_file() {
        let weak = "k4.public.AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA";
        for text in [
            "{",
            "{}",
            r#"{"vendor":1}"#,
            r#"{"directory":"v4.public.x"}"#,
            &format!(r#"{{"vendor":"v.example","keys":[{{"kid":"a","key":"{weak}"}}]}}"#),
            r#"{"vendor":"v.example","revoked":["a b"]}"#,
        ] {
            let folder = tempfile::tempdir().unwrap();
            write(folder.path(), "bad.json", text);
            let error = read(folder.path(), None, NOW).unwrap_err().to_string();
            assert!(error.contains("bad.json"), "{text}: {error}");
        }
    }

    #[test]
    fn a_directory_as_long_as_one_may_be_is_read_under_any_key_that_signed_it() {
        let secret = |seed| SecretKey::from_random(&[seed; 32]);
        let key = |kid: &str, seed| format!(r#"{{"kid":"{kid}","key":"{}"}}"#, secret(seed).public());
        let serials: Vec<String> = (0..30_000).map(|number| format!(r#""{number:0>22}""#)).collect();
        let payload = format!(
            r#"{{"version":1,"issued":"2026-01-01T00:00:00Z","expires":"2099-01-01T00:00:00Z","vendors":[
            {{"vendor":"v.example","keys":[{},{}],"revoked":[{}]}}]}}"#,
            key("a", 1),
            key("b", 2),
            serials.join(",")
        );
        let token = |kid: &str, seed| {
            let footer = format!(r#"{{"iss":"v.example","kid":"{kid}"}}"#);
            secret(seed).sign(payload.as_bytes(), footer.as_bytes(), Purpose::Directory).as_str().to_owned()
        };
        let folder = tempfile::tempdir().unwrap();
        write(folder.path(), "v.json", &format!(r#"{{"vendor":"v.example","keys":[{}]}}"#, key("a", 1)));
        let document = Document::Signed { directory: token("b", 2), also: vec![token("a", 1)] };
        write(folder.path(), "signed.json", &serde_json::to_string(&document).unwrap());
        let read = read(folder.path(), None, NOW).unwrap();
        assert_eq!(read.unheeded, []);
        assert_eq!(read.directory.vendors().next().unwrap().1.len(), 2);
    }
}
