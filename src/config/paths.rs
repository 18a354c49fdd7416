//! Paths of the user's files: configuration, trusted vendors, state. The command line comes first, then the
//! environment, then the XDG base directories, then the system's own paths. A set-id program ignores the environment,
//! which another user controls.

use super::file::{self, FileError, SYSTEM};
use super::user::{User, UserError};
use super::{Config, ConfigError};
use directories::ProjectDirs;
use std::io::ErrorKind;
use std::path::{Path, PathBuf};

/// The name of the file of the rules, beside the configuration.
pub const RULES_FILE: &str = "rules.toml";

/// Paths and names from the command line and the environment. A parameter, so that tests need no environment.
#[derive(Clone, Debug, Default)]
pub struct CliOverrides {
    /// `--config`, else `MAILSTAMP_CONFIG`.
    pub config: Option<PathBuf>,
    /// `--state`, else `MAILSTAMP_STATE`.
    pub state: Option<PathBuf>,
    /// The user of the mailbox: see [`CliOverrides::user`].
    pub recipient: Option<String>,
    /// `USER` of the environment.
    pub user: Option<String>,
    /// `RECIPIENT` of the environment.
    pub recipient_variable: Option<String>,
    /// `SENDER` of the environment: the envelope sender, empty for the null sender.
    pub sender_variable: Option<String>,
}

/// Resolved paths.
#[derive(Clone, Debug, Default)]
pub struct Paths {
    /// The configuration file; it must exist only if it was named.
    pub config: Option<PathBuf>,
    /// The folder of the trusted vendors.
    pub vendors: Option<PathBuf>,
    /// The folder of the fetched directories; it need not exist.
    pub directories: Option<PathBuf>,
    /// The file of the rules.
    pub rules: Option<PathBuf>,
    /// The folder of the state.
    pub state: Option<PathBuf>,
    /// The folder below which the folder of the state is created if it is missing. This one is not created: where a
    /// disk is not mounted, the state is not lost.
    pub ground: Option<PathBuf>,
    /// The Maildir into which mail is delivered.
    pub maildir: Option<PathBuf>,
    /// Whether the configuration differs for each user of the mailbox.
    pub by_user: bool,
}

/// Failure to find or read the configuration.
#[derive(Debug, thiserror::Error)]
pub enum PathsError {
    /// The file cannot be read, or is not safe to read.
    #[error(transparent)]
    File(#[from] FileError),
    /// Its content is wrong.
    #[error("{}: {source}", path.display())]
    Content {
        /// The file.
        path: PathBuf,
        /// What is wrong.
        source: Box<ConfigError>,
    },
    /// The user's name cannot be used.
    #[error(transparent)]
    User(#[from] UserError),
    /// Neither a home nor a named folder.
    #[error("no folder for {0}: HOME is not set (or not absolute), and neither option nor configuration names one")]
    Nowhere(&'static str),
    /// A missing folder, which may be on a disk that is not mounted.
    #[error("no folder for {what}: {} is not a folder; mount its disk, or create it", path.display())]
    Missing {
        /// What the folder is for.
        what: &'static str,
        /// The folder.
        path: PathBuf,
    },
}

impl CliOverrides {
    /// Reads the environment, unless the program runs set-id; `config`, `state` and `recipient` are the command line's.
    #[must_use]
    pub fn from_environment(config: Option<PathBuf>, state: Option<PathBuf>, recipient: Option<String>) -> Self {
        if is_setuid() {
            return Self { config, state, recipient, ..Self::default() };
        }
        let variable = |name| std::env::var(name).ok().filter(|value| !value.is_empty());
        let path = |name| std::env::var_os(name).filter(|value| !value.is_empty()).map(PathBuf::from);
        Self {
            config: config.or_else(|| path("MAILSTAMP_CONFIG")),
            state: state.or_else(|| path("MAILSTAMP_STATE")),
            recipient,
            user: variable("USER"),
            recipient_variable: variable("RECIPIENT"),
            // The sender's host chooses these bytes.
            sender_variable: std::env::var_os("SENDER").map(|sender| sender.to_string_lossy().into_owned()),
        }
    }

    /// Returns the user of the mailbox. `USER` with a domain is a virtual user, as Dovecot names one. Otherwise the
    /// address of this delivery counts, and a bare login name last.
    ///
    /// # Errors
    /// [`UserError::Unsafe`] for a name that could not be a part of a path.
    pub fn mailbox(&self) -> Result<User, UserError> {
        let virtual_user = self.user.as_deref().filter(|name| name.contains('@'));
        let name =
            virtual_user.or(self.recipient.as_deref()).or(self.recipient_variable.as_deref()).or(self.user.as_deref());
        name.map_or(Ok(User::default()), User::named)
    }
}

impl Paths {
    /// Finds and reads the configuration. A file that was named must exist; the usual ones may be missing.
    pub fn read(given: &CliOverrides) -> Result<(Config, Self), PathsError> {
        let project = project();
        let (path, text) = match &given.config {
            Some(path) => (Some(path.clone()), file::read(path)?),
            None => first_of([
                project.as_ref().map(|dirs| dirs.config_dir().join("config.toml")),
                Some(Path::new(SYSTEM).join("config.toml")),
            ])?,
        };
        if path.is_none() {
            // The user may have a configuration there, and mail must not be judged without it.
            let home = home().ok_or(PathsError::Nowhere("the configuration"))?;
            there(&home, "the configuration")?;
        }
        // An unsafe name matters only where the configuration uses it.
        let user = match given.mailbox() {
            Ok(user) => user,
            Err(error) if text.contains('%') => return Err(error.into()),
            Err(_) => User::default(),
        };
        let config = Config::parse(&text, &user).map_err(|source| PathsError::Content {
            path: path.clone().unwrap_or_default(),
            source: Box::new(source),
        })?;
        let folder = path.as_deref().and_then(Path::parent);
        let folder = folder.or_else(|| project.as_ref().map(ProjectDirs::config_dir));
        let beside = |name| folder.map(|folder| folder.join(name));
        let vendors = config.vendors.clone().or_else(|| beside("vendors"));
        let rules = config.rules.clone().or_else(|| beside(RULES_FILE));
        let (state, ground) = match (&given.state, &config.state) {
            (Some(state), _) => (Some(state.clone()), above(state)),
            (None, Some(state)) => (Some(state.clone()), config.ground.clone()),
            (None, None) => {
                let state = project.as_ref().and_then(|dirs| dirs.state_dir().map(Path::to_owned));
                // XDG_STATE_HOME is created if it is missing, as its specification says; its parent is not.
                let other = || state.as_deref().and_then(Path::parent).and_then(above);
                let ground = home().filter(|home| state.as_ref().is_some_and(|state| state.starts_with(home)));
                let ground = ground.or_else(other);
                (state, ground)
            }
        };
        let directories = config.directories.clone().or_else(|| state.as_ref().map(|state| state.join("directories")));
        let at_home = home().map(|home| home.join("Maildir"));
        let maildir = config.deliver.maildir.clone().or(at_home);
        let by_user = text.contains('%');
        Ok((config, Self { config: path.clone(), vendors, directories, rules, state, ground, maildir, by_user }))
    }

    /// Returns the possible configuration files. The first one that exists is used.
    #[must_use]
    pub fn candidates(given: &CliOverrides) -> Vec<PathBuf> {
        let own = || project().map(|dirs| dirs.config_dir().join("config.toml"));
        match &given.config {
            Some(path) => vec![path.clone()],
            None => own().into_iter().chain([Path::new(SYSTEM).join("config.toml")]).collect(),
        }
    }

    /// Returns the folder of the state, which may be created if it is missing.
    ///
    /// # Errors
    /// [`PathsError::Nowhere`] without a home and without a named folder; [`PathsError::Missing`] where the folder
    /// may be on a disk that is not mounted.
    pub fn state(&self) -> Result<&Path, PathsError> {
        let state = self.state.as_deref().ok_or(PathsError::Nowhere("the state"))?;
        self.ground.as_deref().map_or(Ok(()), |ground| there(ground, "the state"))?;
        Ok(state)
    }

    /// Returns the folder of the fetched directories.
    ///
    /// # Errors
    /// [`PathsError::Nowhere`] without a home and without a named folder.
    pub fn directories(&self) -> Result<&Path, PathsError> {
        self.directories.as_deref().ok_or(PathsError::Nowhere("the fetched directories"))
    }

    /// Returns the Maildir into which mail is delivered.
    ///
    /// # Errors
    /// [`PathsError::Nowhere`] without a home and without a named folder.
    pub fn maildir(&self) -> Result<&Path, PathsError> {
        self.maildir.as_deref().ok_or(PathsError::Nowhere("the mail"))
    }

    /// Returns the folder of the trusted vendors.
    ///
    /// # Errors
    /// [`PathsError::Nowhere`] without a home and without a named folder.
    pub fn vendors(&self) -> Result<&Path, PathsError> {
        self.vendors.as_deref().ok_or(PathsError::Nowhere("the vendors"))
    }
}

/// Returns the user's own folders of configuration and of state, where HOME or the XDG base directories name them.
#[must_use]
pub fn xdg_dirs() -> Option<(PathBuf, Option<PathBuf>)> {
    project().map(|dirs| (dirs.config_dir().to_owned(), dirs.state_dir().map(Path::to_owned)))
}

/// Returns the XDG base directories. They come from the environment, so a set-id program has none. Nor is there any
/// without HOME: looking it up in the user database would make glibc load modules into a statically linked program. It
/// may crash then, and the message would bounce.
fn project() -> Option<ProjectDirs> {
    home().and_then(|_| ProjectDirs::from("", "", "mailstamp"))
}

/// Returns the home that HOME names, unless the program runs set-id. A relative path would mean another folder in each
/// working folder.
fn home() -> Option<PathBuf> {
    std::env::var_os("HOME").map(PathBuf::from).filter(|home| home.is_absolute() && !is_setuid())
}

/// Returns the parent of `path`.
fn above(path: &Path) -> Option<PathBuf> {
    let parent = path.parent()?;
    Some(if parent.as_os_str().is_empty() { PathBuf::from(".") } else { parent.to_owned() })
}

/// Checks that a folder exists. Its other errors show when it is used.
fn there(path: &Path, what: &'static str) -> Result<(), PathsError> {
    let there = match std::fs::metadata(path) {
        Ok(metadata) => metadata.is_dir(),
        Err(error) => !matches!(error.kind(), ErrorKind::NotFound | ErrorKind::NotADirectory),
    };
    if there { Ok(()) } else { Err(PathsError::Missing { what, path: path.to_owned() }) }
}

/// Returns whether the program runs with the rights of another user than the one that started it.
#[must_use]
pub fn is_setuid() -> bool {
    rustix::process::getuid() != rustix::process::geteuid() || rustix::process::getgid() != rustix::process::getegid()
}

fn first_of(paths: [Option<PathBuf>; 2]) -> Result<(Option<PathBuf>, String), FileError> {
    for path in paths.into_iter().flatten() {
        match file::read(&path) {
            Err(error) if error.is_absent() => {}
            Err(error) => return Err(error),
            Ok(text) => return Ok((Some(path), text)),
        }
    }
    Ok((None, String::new()))
}
