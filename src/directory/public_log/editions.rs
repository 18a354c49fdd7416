//! Chain of a vendor's directories: each edition names the one before by its hash. Who kept one edition sees whether a
//! later one continues it.

use super::NamedLog;
use super::place::Place;
use super::problem::Problem;
use super::state::KnownEdition;
use crate::config::file;
use crate::directory::key_directory::{LONGEST, LONGEST_FILE};
use crate::directory::publish::{self, Descent, Edition};
use crate::stamp::token::Token;
use crate::transparency::reader::{Source, SourceError};
use std::collections::BTreeSet;
use std::fs;
use std::io;
use std::path::Path;

/// Folder of the editions, beside that of the log.
pub const FOLDER: &str = "digital-stamp-editions";
/// Editions that a vendor keeps.
const KEPT: usize = 400;
/// Most editions that are read between two known ones.
const STEPS: usize = 1_000;

/// Returns the name of an edition's file in its folder.
#[must_use]
pub fn file_name(version: u64) -> String {
    format!("{version}.json")
}

/// Keeps an edition in its folder below `well_known`, so that readers can follow the chain. Removes the oldest of more
/// than 400: a reader who checks once a day needs few.
///
/// # Errors
/// The system's.
pub fn keep(well_known: &Path, version: u64, document: &str) -> io::Result<()> {
    let folder = well_known.join(FOLDER);
    file::replace(&folder.join(file_name(version)), document)?;
    let mut versions = versions(&folder)?;
    versions.retain(|kept| *kept < version);
    versions.sort_unstable_by(|one, other| other.cmp(one));
    for old in versions.into_iter().skip(KEPT - 1) {
        // What another publisher has just removed is gone as well.
        let _ = fs::remove_file(folder.join(file_name(old)));
    }
    Ok(())
}

/// As [`keep`], for an edition that may be there already.
///
/// # Errors
/// The system's.
pub fn keep_missing(well_known: &Path, version: u64, document: &str) -> io::Result<()> {
    match well_known.join(FOLDER).join(file_name(version)).try_exists()? {
        true => Ok(()),
        false => keep(well_known, version, document),
    }
}

/// Keeps the editions that are kept below `from` below `to` as well.
///
/// # Errors
/// The system's.
pub fn copy_missing(from: &Path, to: &Path) -> io::Result<()> {
    let there: BTreeSet<u64> = versions(&to.join(FOLDER))?.into_iter().collect();
    for version in versions(&from.join(FOLDER))?.into_iter().filter(|version| !there.contains(version)) {
        match fs::read_to_string(from.join(FOLDER).join(file_name(version))) {
            // Another publisher has just removed it.
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            text => keep(to, version, &text?)?,
        }
    }
    Ok(())
}

/// Returns the newest edition that is kept below `well_known`.
///
/// # Errors
/// The system's.
pub fn newest(well_known: &Path) -> io::Result<Option<String>> {
    let folder = well_known.join(FOLDER);
    let Some(version) = versions(&folder)?.into_iter().max() else { return Ok(None) };
    fs::read_to_string(folder.join(file_name(version))).map(Some)
}

/// Returns the versions of the editions in a folder.
fn versions(folder: &Path) -> io::Result<Vec<u64>> {
    let entries = match fs::read_dir(folder) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        other => other?,
    };
    let mut versions = Vec::new();
    for entry in entries {
        let name = entry?.file_name();
        let name = name.to_str().and_then(|name| name.strip_suffix(".json"));
        versions.extend(name.and_then(|name| name.parse::<u64>().ok()));
    }
    Ok(versions)
}

/// Checks that the directories belong to one chain, together with the edition that was known before. Remembers the
/// newest one when they do.
pub fn check(logs: &[NamedLog], known: &mut Option<KnownEdition>, place: &Place) -> Vec<Problem> {
    let mut editions: Vec<(KnownEdition, Edition)> = logs.iter().filter_map(|log| edition(&log.directory)).collect();
    editions.sort_by_key(|(edition, _)| edition.version);
    let mut last = known.clone();
    for (edition, parsed) in editions {
        if let Some(before) = last.as_ref().filter(|before| before.version <= edition.version)
            && let Err(problem) = follows(before, &edition, parsed, place)
        {
            return vec![problem];
        }
        if last.as_ref().is_none_or(|last| last.version < edition.version) {
            last = Some(edition);
        }
    }
    *known = last;
    Vec::new()
}

/// Returns the newest edition of these.
#[must_use]
pub fn newest_of(logs: &[NamedLog]) -> Option<KnownEdition> {
    logs.iter().filter_map(|log| edition(&log.directory)).map(|it| it.0).max_by_key(|edition| edition.version)
}

/// Parses a directory whose signature was verified.
fn edition(directory: &str) -> Option<(KnownEdition, Edition)> {
    let token = Token::parse_document(directory, LONGEST).ok()?;
    let edition = Edition::of(&token).ok()?;
    let (version, hash) = (edition.content.version, edition.hash);
    Some((KnownEdition { version, hash, directory: directory.to_owned() }, edition))
}

/// Checks that an edition is the known one, or continues it: goes back from edition to edition.
fn follows(known: &KnownEdition, now: &KnownEdition, mut edition: Edition, place: &Place) -> Result<(), Problem> {
    let mut between = Vec::new();
    for _ in 0..STEPS {
        let previous = match edition.descent(known.version, |hash| *hash == known.hash) {
            Descent::Continues => return Ok(()),
            Descent::Forks => {
                return Err(Problem::Forked { known: Box::new(known.clone()), now: Box::new(now.clone()), between });
            }
            Descent::Through(previous) => previous,
        };
        let unread = |problem| Problem::Unread { version: previous.version, problem };
        let text = read(place, previous.version).map_err(unread)?;
        let earlier = publish::read(&text).ok().filter(|earlier| earlier.hash == previous.hash);
        // An edition that cannot be had is no proof of another history.
        edition = earlier.ok_or_else(|| unread(SourceError::Unread("it is another edition".to_owned())))?;
        between.push((previous.version, text));
    }
    Err(Problem::Unread {
        version: edition.content.version,
        problem: SourceError::Unread(format!("more than {STEPS} editions are between")),
    })
}

fn read(place: &Place, version: u64) -> Result<String, SourceError> {
    let longest = usize::try_from(LONGEST_FILE).unwrap_or(usize::MAX);
    let bytes = place.beside(FOLDER).get(&file_name(version), longest)?;
    String::from_utf8(bytes).map_err(|_| SourceError::Unread("it is not UTF-8".to_owned()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_newest_editions_are_kept() {
        let folder = tempfile::tempdir().unwrap();
        fs::create_dir(folder.path().join(FOLDER)).unwrap();
        fs::write(folder.path().join(FOLDER).join("notes"), "").unwrap();
        for version in 1..=402 {
            keep(folder.path(), version, "{}").unwrap();
        }
        let exists = |name: &str| folder.path().join(FOLDER).join(name).exists();
        assert_eq!(newest(folder.path()).unwrap().as_deref(), Some("{}"));
        assert_eq!(newest(&folder.path().join("none")).unwrap(), None);
        assert_eq!(["notes", "2.json", "3.json", "402.json"].map(exists), [true, false, true, true]);
    }
}
