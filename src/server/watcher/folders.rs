//! Mail folders on the disk: which exist, and which files they hold now. Events of inotify only cause a scan.
//!
//! Folders have the names that users give them ("Junk", "Archive/2026"). They are found in either form: Maildir++
//! (`.Archive.2026`) or plain (`Archive/2026`), and beyond ASCII in the spelling of mail servers. Symbolic links are
//! not followed into folders.

use super::state::{Name, message_key};
use crate::config::watch::Watch;
use crate::mailbox::maildir::on_disk;
use crate::os::safe_open;
use rustix::fs::OFlags;
use std::collections::HashSet;
use std::ffi::OsStr;
use std::fs::{self, File};
use std::io::{self, Read};
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

/// Role of a folder.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Role {
    /// Junk or Trash: a message that is moved here has its stamps revoked.
    Away,
    /// The user's own messages.
    Sent,
    /// No role: a message that is moved here from Junk or Trash is not taken back. These are subfolders of Junk and
    /// Trash, and folders with a usual name of Trash that the user did not list.
    Aside,
    /// Any other: a message that is moved here from Junk or Trash has been taken back.
    Other,
}

/// A mail folder.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Folder {
    /// Path of the folder, which may not exist.
    pub path: PathBuf,
    /// Name of the folder in the state file and in messages.
    pub key: String,
    pub role: Role,
}

/// Names that mail programs give to Trash.
const TRASH: [&str; 18] = [
    "Trash",
    "Bin",
    "Deleted",
    "Deleted Items",
    "Deleted Messages",
    "Wastebasket",
    "Papierkorb",
    "Gelöschte Elemente",
    "Gelöschte Objekte",
    "Corbeille",
    "Éléments supprimés",
    "Papelera",
    "Elementos eliminados",
    "Lixeira",
    "Cestino",
    "Posta eliminata",
    "Prullenbak",
    "Verwijderde items",
];
/// Maximum depth of plain folders.
const DEPTH: usize = 8;

/// Finds the user's folders: those with a role, even if they don't exist yet, and all others in the Maildir.
///
/// # Errors
/// When the Maildir itself cannot be read.
pub fn discover(maildir: &Path, watch: &Watch) -> io::Result<Vec<Folder>> {
    let mut folders = Vec::new();
    for (names, role) in [(&watch.junk, Role::Away), (&watch.trash, Role::Away), (&watch.sent, Role::Sent)] {
        for name in names {
            let key = maildir.join(name).display().to_string();
            let path = place(maildir, name);
            if !folders.iter().any(|folder: &Folder| folder.path == path) {
                folders.push(Folder { path, key, role });
            }
        }
    }
    let mut others = Vec::new();
    find(maildir, 0, &mut others)?;
    let away: Vec<PathBuf> =
        folders.iter().filter(|folder| folder.role == Role::Away).map(|folder| folder.path.clone()).collect();
    for path in others {
        if !folders.iter().any(|folder| folder.path == path) {
            let aside = is_trash(maildir, &path) || away.iter().any(|above| is_beneath(above, &path));
            let role = if aside { Role::Aside } else { Role::Other };
            folders.push(Folder { key: path.display().to_string(), path, role });
        }
    }
    Ok(folders)
}

/// Returns the names of configured folders that do not exist.
#[must_use]
pub fn missing<'a>(maildir: &Path, watch: &'a Watch) -> Vec<&'a str> {
    let names = watch.junk.iter().chain(&watch.trash).chain(&watch.sent).map(String::as_str);
    names.filter(|name| !is_maildir(&place(maildir, name))).collect()
}

/// Returns the path of the folder with this name.
///
/// The form is Maildir++ unless only the plain form exists. The spelling is that of servers unless the folder exists as
/// it was written.
fn place(maildir: &Path, name: &str) -> PathBuf {
    if name.starts_with('/') {
        return maildir.join(name);
    }
    let spelled = on_disk(name);
    let dotted = |name: &str| maildir.join(format!(".{}", name.replace('/', ".")));
    let places = [maildir.join(name), dotted(name), maildir.join(&spelled)];
    places.into_iter().find(|path| is_maildir(path)).unwrap_or_else(|| dotted(&spelled))
}

/// Returns whether a folder has a usual name of Trash, or is beneath one.
fn is_trash(maildir: &Path, path: &Path) -> bool {
    let Some(name) = path.strip_prefix(maildir).ok().and_then(Path::to_str) else { return false };
    let mut parts = name.strip_prefix('.').unwrap_or(name).split(['/', '.']).skip_while(|part| *part == "INBOX");
    let first = parts.next().unwrap_or_default();
    TRASH.iter().any(|trash| first.eq_ignore_ascii_case(trash) || first.eq_ignore_ascii_case(&on_disk(trash)))
}

/// Returns whether a folder is a subfolder of another, in either form.
fn is_beneath(above: &Path, path: &Path) -> bool {
    let dotted = [above.as_os_str().as_bytes(), b"."].concat();
    path != above && (path.starts_with(above) || path.as_os_str().as_bytes().starts_with(&dotted))
}

pub fn is_maildir(path: &Path) -> bool {
    fs::symlink_metadata(path.join("cur")).is_ok_and(|it| it.is_dir())
}

fn find(path: &Path, depth: usize, found: &mut Vec<PathBuf>) -> io::Result<()> {
    if is_maildir(path) {
        found.push(path.to_owned());
    }
    for entry in fs::read_dir(path)? {
        let entry = entry?;
        let mail = matches!(entry.file_name().as_bytes(), b"cur" | b"new" | b"tmp");
        if depth < DEPTH && !mail && entry.file_type()?.is_dir() {
            // A folder that cannot be read, or is gone by now, hides no other.
            let _ = find(&entry.path(), depth + 1, found);
        }
    }
    Ok(())
}

/// Lists the messages in a folder, and calls `unknown` with each one that is not in `known`.
///
/// Returns `None` if the folder does not exist. Nothing follows from that: a disk may not be mounted at the moment.
pub fn list(
    folder: &Path,
    known: &HashSet<Name>,
    unknown: &mut dyn FnMut(Name, PathBuf),
) -> io::Result<Option<HashSet<Name>>> {
    let mut here = HashSet::with_capacity(known.len());
    // A message moves from new to cur and never back, so this order cannot miss one.
    for part in ["new", "cur"] {
        let path = folder.join(part);
        let entries = match fs::read_dir(&path) {
            Err(error) if error.kind() == io::ErrorKind::NotFound && part == "cur" => return Ok(None),
            Err(error) if error.kind() == io::ErrorKind::NotFound => continue,
            other => other?,
        };
        for entry in entries {
            let file = entry?.file_name();
            if file.as_bytes().starts_with(b".") {
                continue;
            }
            let name = message_key(file.as_bytes());
            if here.insert(name) && !known.contains(&name) {
                unknown(name, path.join(file));
            }
        }
    }
    Ok(Some(here))
}

/// Reads a message. `None` if it is gone, is larger than `largest` bytes, or is not a regular file.
pub fn read(path: &Path, largest: u64) -> io::Result<Option<Vec<u8>>> {
    open(path)?.filter(|(_, length)| *length <= largest).map(|(file, length)| taken(file, length)).transpose()
}

/// Reads the first `most` bytes of a message. `None` if it is gone, or is not a regular file.
pub fn beginning(path: &Path, most: u64) -> io::Result<Option<Vec<u8>>> {
    open(path)?.map(|(file, length)| taken(file, length.min(most))).transpose()
}

fn taken(file: File, length: u64) -> io::Result<Vec<u8>> {
    let mut bytes = Vec::with_capacity(usize::try_from(length).unwrap_or(0));
    file.take(length).read_to_end(&mut bytes)?;
    Ok(bytes)
}

/// Opens a regular file and returns its length.
fn open(path: &Path) -> io::Result<Option<(File, u64)>> {
    let file = match safe_open::file(path, OFlags::RDONLY) {
        Ok(file) => file,
        Err(rustix::io::Errno::NOENT | rustix::io::Errno::LOOP | rustix::io::Errno::ACCESS) => return Ok(None),
        Err(error) => return Err(error.into()),
    };
    let metadata = file.metadata()?;
    Ok(metadata.is_file().then_some((file, metadata.len())))
}

/// Returns the folder that a change of this path affects, if it is the path of a message.
#[must_use]
pub fn folder_of(path: &Path) -> Option<&Path> {
    let part = path.parent()?;
    let mail = [OsStr::new("cur"), OsStr::new("new")].contains(&part.file_name()?);
    mail.then(|| part.parent()).flatten()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::Config;
    use crate::config::user::User;

    fn make(path: &Path) {
        for part in ["cur", "new", "tmp"] {
            fs::create_dir_all(path.join(part)).unwrap();
        }
    }

    #[test]
    fn folders_are_found_in_either_form() {
        let home = tempfile::tempdir().unwrap();
        let root = home.path();
        for folder in ["", ".Junk", ".Archive.2026", "Trash", "Lists/rust"] {
            make(&root.join(folder));
        }
        std::os::unix::fs::symlink(root, root.join("loop")).unwrap();
        let text = "[watch]\ntrash = [\"Trash\"]\nsent = [\"Sent\", \"Archive/2026\"]";
        let watch = Config::parse(text, &User::default()).unwrap().watch;
        let mut found: Vec<_> = discover(root, &watch)
            .unwrap()
            .into_iter()
            .map(|folder| (folder.path.strip_prefix(root).unwrap().display().to_string(), folder.role))
            .collect();
        found.sort_by_key(|(path, _)| path.clone());
        let expected = [
            ("", Role::Other),
            (".Archive.2026", Role::Sent),
            (".Junk", Role::Away),
            (".Sent", Role::Sent),
            ("Lists/rust", Role::Other),
            ("Trash", Role::Away),
        ];
        assert_eq!(found, expected.map(|(path, role)| (path.to_owned(), role)));
    }

    #[test]
    fn beneath_junk_and_in_trash_by_its_name_nothing_is_taken_back() {
        let home = tempfile::tempdir().unwrap();
        let root = home.path();
        let aside =
            [".Junk.2026", ".Deleted Items", ".INBOX.trash", ".Gel&APY-schte Objekte", "Papierkorb/alt", ".Trash"];
        let others = ["", ".Junkyard", ".Trashcan", ".Archive.Trash", ".Gel&APY-schte Lieder"];
        for folder in aside.iter().chain(&others).chain(&[".Junk", ".Unerw&APw-nscht"]) {
            make(&root.join(folder));
        }
        let text = "[watch]\ntrash = []\njunk = [\"Junk\", \"Unerwünscht\", \"Spam\"]";
        let watch = Config::parse(text, &User::default()).unwrap().watch;
        let found = discover(root, &watch).unwrap();
        let role = |name: &str| found.iter().find(|folder| folder.path == root.join(name)).unwrap().role;
        assert!(aside.iter().all(|name| role(name) == Role::Aside), "{found:?}");
        assert!(others.iter().all(|name| role(name) == Role::Other), "{found:?}");
        assert_eq!((role(".Junk"), role(".Unerw&APw-nscht")), (Role::Away, Role::Away));
        assert_eq!(missing(root, &watch), ["Spam", "Sent"]);
    }

    #[test]
    fn a_folder_that_is_not_there_is_not_an_empty_one() {
        let home = tempfile::tempdir().unwrap();
        let nothing = HashSet::new();
        assert_eq!(list(&home.path().join("no"), &nothing, &mut |_, _| panic!()).unwrap(), None);
        make(home.path());
        assert_eq!(list(home.path(), &nothing, &mut |_, _| panic!()).unwrap(), Some(HashSet::new()));
        fs::write(home.path().join("new/1.a"), "").unwrap();
        fs::write(home.path().join("cur/1.a:2,S"), "").unwrap();
        fs::write(home.path().join("cur/2.b:2,"), "").unwrap();
        fs::write(home.path().join("cur/.hidden"), "").unwrap();
        let known = HashSet::from([message_key(b"2.b")]);
        let mut unknown = Vec::new();
        let here = list(home.path(), &known, &mut |name, _| unknown.push(name)).unwrap().unwrap();
        assert_eq!((here.len(), unknown), (2, vec![message_key(b"1.a")]));
    }

    #[test]
    fn a_path_of_a_message_names_its_folder() {
        assert_eq!(folder_of(Path::new("/m/.Junk/cur/1:2,S")), Some(Path::new("/m/.Junk")));
        assert_eq!(folder_of(Path::new("/m/.Junk/tmp/1")), None);
        assert_eq!(folder_of(Path::new("/m/.Junk")), None);
    }
}
