//! The tables `[deliver]` and `[held]`: the Maildir and the folders into which `mailstamp deliver` puts mail, and the
//! retention of held mail.

use super::ranges::{DAY, Seconds};
use crate::verdict::class::Class;
use serde::Deserialize;
use std::path::PathBuf;

/// Destination of mail.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Deliver {
    /// The Maildir; without one, `Maildir` in the user's home.
    pub maildir: Option<PathBuf>,
    pub folders: Folders,
}

/// The folder of each class.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields, default, rename_all = "kebab-case")]
pub struct Folders {
    first_class: FolderName,
    allowed: FolderName,
    unstamped: FolderName,
    underpaid: FolderName,
    unverified: FolderName,
    invalid: FolderName,
    used: FolderName,
    revoked: FolderName,
}

/// Name of a folder, as users write it: `Junk`, `Lists/rust`; `INBOX` or an empty name is the inbox.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(try_from = "String")]
pub struct FolderName(Option<String>);

#[derive(Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(super) struct DeliverTable {
    pub(super) maildir: Option<String>,
    folders: Folders,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(super) struct HeldTable {
    pub(super) keep: Seconds,
}

/// Longest name of a folder on the disk, in bytes (NAME_MAX of most file systems).
const LONGEST: usize = 255;

impl FolderName {
    /// Returns the name on the disk (Maildir++: `.Lists.rust`); `None` for the inbox.
    #[must_use]
    pub fn on_disk(&self) -> Option<String> {
        self.0.as_ref().map(|name| format!(".{}", name.replace('/', ".")))
    }

    /// Returns the name for people.
    #[must_use]
    pub fn as_str(&self) -> &str {
        self.0.as_deref().unwrap_or("INBOX")
    }
}

impl TryFrom<String> for FolderName {
    type Error = String;

    fn try_from(name: String) -> Result<Self, Self::Error> {
        if name.is_empty() || name.eq_ignore_ascii_case("INBOX") {
            return Ok(Self(None));
        }
        let part = |part: &str| part.is_empty() || part.chars().any(char::is_control);
        if name.split(['/', '.']).any(part) || name.len() >= LONGEST {
            return Err(format!("{name:?} is not the name of a folder; write \"Junk\", \"Lists/rust\" or \"INBOX\""));
        }
        Ok(Self(Some(name)))
    }
}

impl Folders {
    /// Returns the folder of a class.
    #[must_use]
    pub fn of(&self, class: Class) -> &FolderName {
        match class {
            Class::FirstClass => &self.first_class,
            Class::Allowed => &self.allowed,
            Class::Unstamped => &self.unstamped,
            Class::Underpaid => &self.underpaid,
            Class::Unverified => &self.unverified,
            Class::Invalid => &self.invalid,
            Class::Used => &self.used,
            Class::Revoked => &self.revoked,
        }
    }
}

impl Default for Folders {
    fn default() -> Self {
        // A bad stamp makes no message worse off than no stamp at all. Only the user's own word does.
        let inbox = || FolderName(None);
        Self {
            first_class: inbox(),
            allowed: inbox(),
            unstamped: inbox(),
            underpaid: inbox(),
            unverified: inbox(),
            invalid: inbox(),
            used: inbox(),
            revoked: FolderName(Some("Junk".to_owned())),
        }
    }
}

impl Default for HeldTable {
    fn default() -> Self {
        Self { keep: Seconds(30 * DAY) }
    }
}

impl DeliverTable {
    /// Returns the settings. `maildir` is the resolved path of the Maildir.
    pub(super) fn settle(self, maildir: Option<PathBuf>) -> Deliver {
        Deliver { maildir, folders: self.folders }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn name(text: &str) -> Result<FolderName, String> {
        FolderName::try_from(text.to_owned())
    }

    #[test]
    fn a_name_is_one_folder_in_the_maildir_and_nothing_else() {
        assert_eq!(name("Junk").unwrap().on_disk().as_deref(), Some(".Junk"));
        assert_eq!(name("Lists/rust").unwrap().on_disk().as_deref(), Some(".Lists.rust"));
        assert_eq!(name("Lists.rust").unwrap().on_disk().as_deref(), Some(".Lists.rust"));
        for inbox in ["", "INBOX", "inbox"] {
            assert_eq!(name(inbox).unwrap(), FolderName(None));
        }
        for wrong in ["/", "..", ".", "../x", "/etc", ".Junk", "a//b", "a/", "a\nb", "a\0b", &"x".repeat(255)] {
            assert!(name(wrong).is_err(), "{wrong:?}");
        }
    }

    #[test]
    fn classes_have_the_folders_of_the_manual_unless_named() {
        let folders: Folders = toml::from_str("revoked = \"\"\nunstamped = \"Unstamped\"").unwrap();
        let shown: Vec<_> = Class::ALL.iter().map(|class| folders.of(*class).as_str()).collect();
        assert_eq!(shown, ["INBOX", "INBOX", "Unstamped", "INBOX", "INBOX", "INBOX", "INBOX", "INBOX"]);
        let shown: Vec<_> = Class::ALL.iter().map(|class| Folders::default().of(*class).as_str().to_owned()).collect();
        assert_eq!(shown, ["INBOX", "INBOX", "INBOX", "INBOX", "INBOX", "INBOX", "INBOX", "Junk"]);
        assert!(toml::from_str::<Folders>("unstamped = \"../x\"").unwrap_err().to_string().contains("line 1"));
    }
}
