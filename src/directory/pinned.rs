//! Pinned documents: every file in the folder `vendors/` with a name that ends in `.json`. A missing folder is empty.
//!
//! - A malformed file takes its own vendors out of the directory, because it may have revoked their keys. The other
//!   vendors stay.
//! - A file that cannot be read, or that other users may write, stops the judgement.
//!
//! Fetched documents (`cache.rs`) are added to these.

use super::cache::{self, CacheError, Record};
use super::document::{Document, DocumentError};
use super::key_directory::{Directory, IgnoredReason, LONGEST, LONGEST_FILE, Statement, Trust};
use crate::config::file::{self, FileError, FileErrorKind};
use crate::stamp::token::{Issuer, Token};
use crate::time::UnixTime;
use std::collections::{BTreeMap, BTreeSet};
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
    #[error("vendors: {}: {source}", path.display())]
    List { path: PathBuf, source: io::Error },
    /// A file in it cannot be read, or has unsafe permissions.
    #[error(transparent)]
    File(#[from] FileError),
    /// The directory from which a vendor came to be trusted has another form.
    #[error("{}: {source}", path.display())]
    Origin { path: PathBuf, source: DocumentError },
    /// The cache cannot be read.
    #[error(transparent)]
    Cache(#[from] CacheError),
}

/// Documents in the user's folder.
#[derive(Debug, Default)]
pub struct PinnedDocuments {
    folder: PathBuf,
    pub pinned: Directory,
    /// Signed directories, each with its file, as tokens of several keys.
    pub(super) signed: Vec<(PathBuf, Vec<String>)>,
    /// Malformed documents.
    malformed: Vec<Malformed>,
}

/// Document that cannot be used.
#[derive(Debug)]
struct Malformed {
    /// Its file or source.
    from: PathBuf,
    /// The vendors that it is about, as far as that can be told.
    vendors: BTreeSet<String>,
    problem: String,
}

/// Reads the folder and the `cache`, as of `now`.
///
/// # Errors
/// [`FolderError`], which names the file.
pub fn read(folder: &Path, cache: Option<&Path>, now: UnixTime) -> Result<Folder, FolderError> {
    let mut placed = placed(folder)?;
    let mut records = Vec::new();
    for record in cache.map_or_else(|| Ok(Vec::new()), cache::read_each)? {
        match record {
            Ok(record) => records.push(record),
            Err(CacheError::Content { path, source }) => {
                let problem = format!("{source}; remove the file and run mailstamp directory refresh");
                placed.malformed.push(Malformed { vendors: stem(&path), from: path, problem });
            }
            Err(error) => return Err(error.into()),
        }
    }
    Ok(placed.with(&records, now))
}

/// Reads the folder alone.
///
/// # Errors
/// [`FolderError`], which names the file.
pub fn placed(folder: &Path) -> Result<PinnedDocuments, FolderError> {
    let mut placed = PinnedDocuments { folder: folder.to_owned(), ..PinnedDocuments::default() };
    for path in documents(folder)? {
        let malformed = |path: PathBuf, text: &str, problem: String| Malformed {
            vendors: stem(&path).into_iter().chain(named(text)).collect(),
            from: path,
            problem,
        };
        let text = match file::read_up_to(&path, LONGEST_FILE) {
            Ok(text) => text,
            Err(error) if matches!(error.kind, FileErrorKind::TooLarge(_) | FileErrorKind::Encoding) => {
                placed.malformed.push(malformed(path, "", error.kind.to_string()));
                continue;
            }
            Err(error) => return Err(error.into()),
        };
        match serde_json::from_str(&text) {
            Ok(Document::Pinned(entry)) => {
                if let Err(error) = placed.pinned.pin(&entry) {
                    placed.malformed.push(malformed(path, &text, error.to_string()));
                }
            }
            Ok(Document::Signed { directory, also }) => placed.signed.push((path, [vec![directory], also].concat())),
            Err(error) => {
                let error = DocumentError::from(error);
                placed.malformed.push(malformed(path, &text, error.to_string()));
            }
        }
    }
    Ok(placed)
}

/// Returns the file with the signed directory from which a vendor came to be trusted. It is kept for the public log that
/// it names; the judgement of mail does not read it.
#[must_use]
pub fn origin_of(folder: &Path, vendor: &str) -> PathBuf {
    folder.join(format!("{vendor}.directory"))
}

impl PinnedDocuments {
    /// Reads the tokens of the signed directory from which a vendor came to be trusted, and returns them with its file;
    /// `None` if there was none.
    ///
    /// # Errors
    /// [`FolderError`] when the file cannot be read or has another form.
    pub(super) fn origin(&self, vendor: &str) -> Result<Option<(PathBuf, Vec<String>)>, FolderError> {
        let path = origin_of(&self.folder, vendor);
        let text = match file::read_up_to(&path, LONGEST_FILE) {
            Err(error) if error.is_absent() => return Ok(None),
            text => text?,
        };
        match serde_json::from_str(&text) {
            Ok(Document::Signed { directory, also }) => Ok(Some((path, [vec![directory], also].concat()))),
            Ok(Document::Pinned(_)) => Ok(None),
            Err(error) => Err(FolderError::Origin { path, source: error.into() }),
        }
    }

    /// Returns whether a malformed file is about this vendor, so that nothing of it is known for certain.
    #[must_use]
    pub fn is_unusable(&self, vendor: &str) -> bool {
        self.malformed.iter().any(|document| document.vendors.contains(vendor))
    }

    /// Combines the folder and these records. Vendors of malformed documents are left out.
    #[must_use]
    pub fn with(&self, records: &[Record], now: UnixTime) -> Folder {
        let mut directory = self.pinned.clone();
        let mut unheeded = Vec::new();
        let mut malformed = Vec::new();
        let mut statements = Vec::new();
        let mut newest = BTreeMap::new();
        for (path, tokens) in &self.signed {
            match opened(&directory, tokens, now) {
                Ok(statement) => statements.push((path.clone(), statement)),
                Err(Ok(why)) => unheeded.push((path.clone(), why)),
                Err(Err(problem)) => {
                    let publishers = tokens.iter().filter_map(publisher);
                    let vendors = stem(path).into_iter().chain(publishers).collect();
                    malformed.push(Malformed { from: path.clone(), vendors, problem });
                }
            }
        }
        for record in records {
            if !record.is_current(&directory) {
                let why = IgnoredReason::NotPinned(record.publisher.clone());
                unheeded.extend(record.sources.iter().map(|heard| (heard.from.clone().into(), why.clone())));
                continue;
            }
            newest.insert(record.publisher.clone(), record.version);
            match record.statements() {
                Ok(said) => statements.extend(said.into_iter().map(|(from, statement)| (from.into(), statement))),
                Err(error) => malformed.push(Malformed {
                    from: format!("directories/{}.json", record.publisher).into(),
                    vendors: BTreeSet::from([record.publisher.clone()]),
                    problem: error.to_string(),
                }),
            }
        }
        for (from, statement) in &mut statements {
            let publisher = statement.publisher.clone();
            // One vendor must not take out another.
            statement.vendors.retain(|entry| directory.may_list(&publisher, &entry.vendor));
            statement.vendors.retain(|entry| {
                let wrong = entry.check().err();
                malformed.extend(wrong.as_ref().map(|error| Malformed {
                    from: from.clone(),
                    vendors: BTreeSet::from([entry.vendor.clone()]),
                    problem: error.to_string(),
                }));
                wrong.is_none()
            });
        }
        let (origins, statements): (Vec<PathBuf>, Vec<Statement>) = statements.into_iter().unzip();
        let heard = directory.add_statement(&statements, &newest, now);
        unheeded.extend(heard.into_iter().map(|(index, why)| (origins[index].clone(), why)));
        for Malformed { from, vendors, problem } in self.malformed.iter().chain(&malformed) {
            // Any word is a name in form; one without a dot counts only if it is a vendor's.
            let is_vendor = |vendor: &&String| {
                Issuer::new(vendor, "any").is_ok() && (vendor.contains('.') || directory.trusts(vendor))
            };
            let vendors: BTreeSet<String> = vendors.iter().filter(is_vendor).cloned().collect();
            vendors.iter().for_each(|vendor| directory.forget(vendor));
            unheeded.push((from.clone(), IgnoredReason::Malformed { vendors, problem: problem.clone() }));
        }
        Folder { directory, unheeded }
    }
}

/// Returns the statement of the first token that counts; otherwise why none does, or what is wrong with the file.
fn opened(directory: &Directory, tokens: &[String], now: UnixTime) -> Result<Statement, Result<IgnoredReason, String>> {
    let mut why = None;
    for token in tokens {
        match directory.open(token, now).map_err(|error| Err(error.to_string()))? {
            Ok(opened) => return opened.statement(Trust::Pinned).map_err(|error| Err(error.to_string())),
            Err(reason) => why = why.or(Some(reason)),
        }
    }
    Err(why.ok_or_else(|| "it has no token".to_owned()))
}

/// Returns the vendor that a file is named for, if it is named for one.
fn stem(path: &Path) -> BTreeSet<String> {
    let stem = path.file_stem().and_then(|stem| stem.to_str()).filter(|stem| Issuer::new(stem, "any").is_ok());
    stem.map(str::to_owned).into_iter().collect()
}

/// Returns the names that follow a member `vendor` in a text that need not be JSON, and the publisher of a token in it.
fn named(text: &str) -> impl Iterator<Item = String> {
    let after = |name: &'static str| {
        text.split(name).skip(1).filter_map(|rest| rest.trim_start().strip_prefix(':')?.split('"').nth(1))
    };
    let tokens = after("\"directory\"").filter_map(publisher);
    after("\"vendor\"").map(str::to_owned).chain(tokens)
}

/// Returns the publisher that a token names.
fn publisher(token: impl AsRef<str>) -> Option<String> {
    let token = Token::parse_document(token.as_ref(), LONGEST).ok()?;
    token.issuer().ok().map(|issuer| issuer.vendor().to_owned())
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
    fn a_malformed_document_takes_out_its_own_vendor_only() {
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
            let key = SecretKey::from_random(&[1; 32]).public();
            for vendor in ["v.example", "w.example"] {
                let pin = format!(r#"{{"vendor":"{vendor}","keys":[{{"kid":"a","key":"{key}"}}]}}"#);
                write(folder.path(), &format!("{vendor}.json"), &pin);
            }
            let folder = read(folder.path(), None, NOW).unwrap();
            let [(path, IgnoredReason::Malformed { vendors, problem })] = &folder.unheeded[..] else {
                panic!("{text}: {:?}", folder.unheeded)
            };
            assert!(path.ends_with("bad.json") && !problem.is_empty());
            let named = text.contains("v.example");
            assert_eq!(vendors.contains("v.example"), named, "{text}");
            assert_eq!((folder.directory.trusts("v.example"), folder.directory.trusts("w.example")), (!named, true));
        }
    }

    #[test]
    fn a_file_that_is_no_json_takes_out_the_vendor_that_it_names() {
        for (name, text) in
            [("v.example.json", "not json"), ("other.json", r#"{"vendor" : "v.example", "revoked": ["s1"], "keys": ["#)]
        {
            let folder = tempfile::tempdir().unwrap();
            let key = SecretKey::from_random(&[1; 32]).public();
            write(
                folder.path(),
                "a.json",
                &format!(r#"{{"vendor":"v.example","keys":[{{"kid":"a","key":"{key}"}}]}}"#),
            );
            assert!(read(folder.path(), None, NOW).unwrap().directory.trusts("v.example"));
            write(folder.path(), name, text);
            assert!(!read(folder.path(), None, NOW).unwrap().directory.trusts("v.example"), "{name}");
            assert!(placed(folder.path()).unwrap().is_unusable("v.example"));
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
