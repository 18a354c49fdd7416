//! Paths of the user's files: configuration, trusted vendors, state. The command line comes first, then the
//! environment, then the XDG base directories, then the system's own paths. A set-id program ignores the environment,
//! which another user controls.

use super::file::{self, FileError, SYSTEM};
use super::user::{User, UserError};
use super::{Config, ConfigError};
use crate::os::user_database;
use directories::BaseDirs;
use rustix::fs::Access;
use rustix::io::Errno;
use rustix::process::geteuid;
use std::io::ErrorKind;
use std::os::unix::fs::MetadataExt;
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
    /// The user that `--user` names: counts before all others.
    pub named: Option<String>,
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
    /// The user's own folder, where the system's configuration names a state that is closed to this user: see
    /// [`Paths::user_state`].
    pub own_state: Option<UserFolder>,
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
        path: PathBuf,
        /// What is wrong.
        source: Box<ConfigError>,
    },
    /// The user's name cannot be used.
    #[error(transparent)]
    User(#[from] UserError),
    /// Neither a home nor a named folder.
    #[error(
        "no folder for {0}: HOME is not set (or not absolute), and no user database, option or configuration names one"
    )]
    Nowhere(&'static str),
    #[error("{option} {value}: not the mailbox of this user: own_mailbox_only is set in {}", system.display())]
    OtherMailbox {
        /// The option.
        option: &'static str,
        /// What it names.
        value: String,
        /// The system's configuration.
        system: PathBuf,
    },
    /// The folder of the state cannot be made.
    #[error("cannot make {}: {source}", path.display())]
    State {
        /// The folder.
        path: PathBuf,
        /// The system's error.
        source: std::io::Error,
    },
    /// The used log of the system's daemon, which runs as another user.
    #[error("{}: closed to your user: only the system's daemon (serve --system) opens this used log", path.display())]
    ClosedLog { path: PathBuf },
    /// This process has no client of databases; `mailstamp-tools` has one.
    #[error("the used log is in PostgreSQL, for which this program has no client; use mailstamp-tools")]
    NoClient,
    /// A missing folder, which may be on a disk that is not mounted.
    #[error("no folder for {what}: {} is not a folder; mount its disk, or create it", path.display())]
    Missing {
        /// What the folder is for.
        what: &'static str,
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
            named: None,
            recipient,
            user: variable("USER"),
            recipient_variable: variable("RECIPIENT"),
            // The sender's host chooses these bytes.
            sender_variable: std::env::var_os("SENDER").map(|sender| sender.to_string_lossy().into_owned()),
        }
    }

    /// Reads the environment for a command about the mailbox of `user`, if named; it counts before the environment.
    #[must_use]
    pub fn of_user(config: Option<PathBuf>, state: Option<PathBuf>, user: Option<String>) -> Self {
        Self { named: user.clone(), ..Self::from_environment(config, state, user) }
    }

    /// Returns the options that name these files to another process.
    pub fn files(&self) -> impl Iterator<Item = (&'static str, &Path)> {
        let files = [("--config", &self.config), ("--state", &self.state)];
        files.into_iter().filter_map(|(option, path)| Some((option, path.as_deref()?)))
    }

    /// Returns the user of the mailbox. `USER` with a domain is a virtual user, as Dovecot names one. Otherwise the
    /// address of this delivery counts, and a bare login name last.
    ///
    /// # Errors
    /// [`UserError::Unsafe`] for a name that could not be a part of a path.
    pub fn mailbox(&self) -> Result<User, UserError> {
        let virtual_user = self.user.as_deref().filter(|name| name.contains('@'));
        let name = self.named.as_deref().or(virtual_user).or(self.recipient.as_deref());
        let name = name.or(self.recipient_variable.as_deref()).or(self.user.as_deref());
        name.map_or(Ok(User::default()), User::named)
    }

    /// Returns the user of the mailbox that the command was started for: that of the environment, if it names one.
    fn started_for(&self) -> Result<Option<User>, UserError> {
        let (user, recipient_variable) = (self.user.clone(), self.recipient_variable.clone());
        let user = Self { user, recipient_variable, ..Self::default() }.mailbox()?;
        Ok((user != User::default()).then_some(user))
    }
}

impl Paths {
    /// Finds and reads the configuration. A file that was named must exist; the usual ones may be missing.
    pub fn read(given: &CliOverrides) -> Result<(Config, Self), PathsError> {
        if !geteuid().is_root() {
            stay_in_mailbox(&Path::new(SYSTEM).join("config.toml"), given)?;
        }
        let own = UserFolder::of_config();
        let (path, text) = match &given.config {
            Some(path) => (Some(path.clone()), file::read(path)?),
            None => first_of([
                own.as_ref().map(|own| own.path.join("config.toml")),
                Some(Path::new(SYSTEM).join("config.toml")),
            ])?,
        };
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
        if given.config.is_none() {
            let names_state = given.state.is_some() || config.state.is_some();
            is_own_there(path.as_deref(), own.as_ref(), names_state)?;
        }
        let folder = path.as_deref().and_then(Path::parent);
        let folder = folder.or_else(|| own.as_ref().map(|own| own.path.as_path()));
        let beside = |name| folder.map(|folder| folder.join(name));
        let vendors = config.vendors.clone().or_else(|| beside("vendors"));
        let rules = config.rules.clone().or_else(|| beside(RULES_FILE));
        let (state, ground) = match (&given.state, &config.state) {
            (Some(state), _) => (Some(state.clone()), above(state)),
            (None, Some(state)) => (Some(state.clone()), config.ground.clone()),
            (None, None) => UserFolder::of_state().map(|own| (own.path, own.ground)).unzip(),
        };
        let directories = config.directories.clone().or_else(|| state.as_ref().map(|state| state.join("directories")));
        let maildir = config.deliver.maildir.clone().or_else(|| home().map(|home| home.join("Maildir")));
        let by_user = text.contains('%');
        let is_systems = given.config.is_none() && path.as_deref().is_some_and(|path| path.starts_with(SYSTEM));
        let named = state.as_deref().filter(|_| is_systems && given.state.is_none() && config.state.is_some());
        let is_closed = named.is_some_and(|state| is_closed(state, ground.as_deref()));
        let own_state = if is_closed { UserFolder::of_state() } else { None };
        Ok((
            config,
            Self { config: path.clone(), vendors, directories, rules, state, ground, maildir, by_user, own_state },
        ))
    }

    /// Returns the possible configuration files. The first one that exists is used.
    #[must_use]
    pub fn candidates(given: &CliOverrides) -> Vec<PathBuf> {
        let own = || UserFolder::of_config().map(|own| own.path.join("config.toml"));
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

    /// Returns the folder of what the user keeps beside the used log: held mail, the verdict log, the lists of senders.
    /// It is the folder of the state. Where the system's configuration names one that belongs to the user of its
    /// daemon, only that process can open the used log, and the rest is in the user's own folder.
    ///
    /// # Errors
    /// As [`state`](Self::state).
    pub fn user_state(&self) -> Result<&Path, PathsError> {
        let Some(own) = &self.own_state else { return self.state() };
        there(&own.ground, "the state")?;
        Ok(&own.path)
    }

    /// Returns the folder of the used log.
    ///
    /// # Errors
    /// [`PathsError::ClosedLog`] where only the system's daemon can open it, else as [`state`](Self::state).
    pub fn log_folder(&self) -> Result<&Path, PathsError> {
        let state = self.state()?;
        if self.own_state.is_some() { Err(PathsError::ClosedLog { path: state.to_owned() }) } else { Ok(state) }
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
    UserFolder::of_config().map(|own| (own.path, UserFolder::of_state().map(|own| own.path)))
}

/// Returns whether the environment names a folder for the user's own state, as it does not for a service.
#[must_use]
pub fn names_own_state() -> bool {
    absolute_variable("XDG_STATE_HOME").is_some() || std::env::var_os("HOME").is_some_and(|home| !home.is_empty())
}

/// Returns whether the user's own configuration may be on a disk that is not mounted.
#[must_use]
pub fn is_own_config_away() -> bool {
    UserFolder::of_config().is_some_and(|own| there(&own.ground, "the configuration").is_err())
}

/// A user's own folder of one kind, in an XDG base directory.
#[derive(Clone, Debug)]
pub struct UserFolder {
    path: PathBuf,
    /// The folder that must exist. A missing base directory is created, as its specification says; its parent is not.
    ground: PathBuf,
}

impl UserFolder {
    fn of_config() -> Option<Self> {
        Self::below("XDG_CONFIG_HOME", ".config", |dirs| Some(dirs.config_dir()))
    }

    fn of_state() -> Option<Self> {
        Self::below("XDG_STATE_HOME", ".local/state", BaseDirs::state_dir)
    }

    /// Returns the folder in the base directory that the variable names, else in the usual one below the home. A
    /// set-id program has none: the environment belongs to another user.
    fn below(variable: &str, usual: &str, of: fn(&BaseDirs) -> Option<&Path>) -> Option<Self> {
        if is_setuid() {
            return None;
        }
        let named = absolute_variable(variable);
        // Without HOME, the library would ask the C library for the home.
        let base = match absolute_variable("HOME").and_then(|_| BaseDirs::new()) {
            Some(dirs) => of(&dirs)?.to_owned(),
            None => named.clone().or_else(|| home().map(|home| home.join(usual)))?,
        };
        let ground = match named {
            Some(base) => {
                let home = absolute_variable("HOME").filter(|home| base.starts_with(home));
                // Without HOME, the usual path of the base directory shows where the home is.
                let folders = if base.ends_with(usual) { Path::new(usual).components().count() } else { 1 };
                home.or_else(|| base.ancestors().nth(folders).map(Path::to_owned)).unwrap_or(base)
            }
            None => home()?,
        };
        Some(Self { path: base.join("mailstamp"), ground })
    }
}

/// Returns the folder that a variable names. A relative one would be another folder in each working folder.
fn absolute_variable(name: &str) -> Option<PathBuf> {
    std::env::var_os(name).map(PathBuf::from).filter(|path| path.is_absolute())
}

/// Returns the home that HOME names, or that of the user database if HOME is unset or empty. A set-id program has none,
/// and neither has one with a relative HOME.
#[must_use]
pub fn home() -> Option<PathBuf> {
    if is_setuid() {
        return None;
    }
    match std::env::var_os("HOME").filter(|home| !home.is_empty()) {
        Some(_) => absolute_variable("HOME"),
        None => user_database::own_home(),
    }
}

/// Checks that the user has no configuration of their own that is only out of reach, as on a disk that is not mounted.
/// Mail must not be judged without it. A configuration of the system that names the state needs no home.
fn is_own_there(used: Option<&Path>, own: Option<&UserFolder>, names_state: bool) -> Result<(), PathsError> {
    let is_own = used.zip(own).is_some_and(|(used, own)| used.starts_with(&own.path));
    match (used, own) {
        (None, None) => Err(PathsError::Nowhere("the configuration")),
        (Some(_), _) if is_own || names_state => Ok(()),
        (_, Some(own)) => there(&own.ground, "the configuration"),
        (Some(_), None) => Ok(()),
    }
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

/// Returns whether a folder of the state is closed to this user: it belongs to another user, is out of reach, or cannot
/// be created in `ground`. To root, none is closed.
fn is_closed(state: &Path, ground: Option<&Path>) -> bool {
    let user = geteuid();
    let cannot_create =
        |ground: &Path| rustix::fs::access(ground, Access::WRITE_OK | Access::EXEC_OK) == Err(Errno::ACCESS);
    match std::fs::metadata(state) {
        _ if user.is_root() => false,
        Ok(metadata) => metadata.uid() != user.as_raw(),
        Err(error) if error.kind() == ErrorKind::NotFound => ground.is_some_and(cannot_create),
        Err(error) => error.kind() == ErrorKind::PermissionDenied,
    }
}

/// Returns whether the program runs with the rights of another user than the one that started it.
#[must_use]
pub fn is_setuid() -> bool {
    rustix::process::getuid() != rustix::process::geteuid() || rustix::process::getgid() != rustix::process::getegid()
}

/// Refuses a mailbox, configuration or state other than that of the mailbox that the command was started for, if the
/// configuration of the system says so (`own_mailbox_only`). Where one Unix user has all mailboxes, file permissions
/// cannot keep them apart.
fn stay_in_mailbox(system: &Path, given: &CliOverrides) -> Result<(), PathsError> {
    let chosen = given.named.as_ref().or(given.recipient.as_ref());
    if given.config.is_none() && given.state.is_none() && chosen.is_none() {
        return Ok(());
    }
    let (_, text) = first_of([Some(system.to_owned()), None])?;
    if !text.contains("own_mailbox_only") {
        return Ok(());
    }
    let content = |source| PathsError::Content { path: system.to_owned(), source: Box::new(source) };
    let mailbox = given.mailbox()?;
    let config = Config::parse(&text, &mailbox).map_err(content)?;
    let refused = |option, value: String| PathsError::OtherMailbox { option, value, system: system.to_owned() };
    let other = |option, path: &Path| refused(option, path.display().to_string());
    if let Some(chosen) = chosen
        && config.own_mailbox_only
        && given.started_for()?.is_some_and(|own| own != mailbox)
    {
        return Err(refused(if given.named.is_some() { "--user" } else { "--recipient" }, chosen.clone()));
    }
    match (&given.config, &given.state) {
        _ if !config.own_mailbox_only => Ok(()),
        (Some(path), _) if path != system => Err(other("--config", path)),
        (_, Some(path)) if Some(path) != config.state.as_ref() => Err(other("--state", path)),
        _ => Ok(()),
    }
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_administrator_can_keep_options_to_the_own_mailbox() {
        let folder = tempfile::tempdir().unwrap();
        let system = folder.path().join("config.toml");
        let named = |config: Option<&Path>, state: Option<&str>, user: &str| CliOverrides {
            config: config.map(Path::to_owned),
            state: state.map(PathBuf::from),
            user: Some(user.to_owned()),
            // The caller chooses this one; USER has a domain, so USER counts.
            recipient: Some("bob@x.example".to_owned()),
            ..CliOverrides::default()
        };
        let (alice, other) = ("alice@x.example", Path::new("/tmp/other.toml"));
        let refused = |given: &CliOverrides| match stay_in_mailbox(&system, given) {
            Ok(()) => None,
            Err(error) => Some(error.to_string()),
        };
        // Without the setting, or the file, everything is allowed.
        assert_eq!(refused(&named(Some(other), Some("/vmail/x.example/bob"), alice)), None);
        let text = "state = \"/vmail/%d/%n\"\n";
        std::fs::write(&system, text).unwrap();
        assert_eq!(refused(&named(Some(other), Some("/vmail/x.example/bob"), alice)), None);
        std::fs::write(&system, format!("own_mailbox_only = true\n{text}")).unwrap();
        for allowed in [
            named(None, None, alice),
            named(Some(&system), None, alice),
            named(None, Some("/vmail/x.example/alice"), alice),
            named(Some(&system), Some("/vmail/x.example/alice"), alice),
        ] {
            assert_eq!(refused(&allowed), None, "{allowed:?}");
        }
        for (forbidden, option) in [
            (named(Some(other), None, alice), "--config /tmp/other.toml: "),
            (named(None, Some("/vmail/x.example/bob"), alice), "--state /vmail/x.example/bob: "),
            (named(None, Some("/vmail/x.example/alice/../bob"), alice), "--state "),
            (named(Some(&system), Some("/vmail/x.example/bob"), alice), "--state "),
        ] {
            let said = refused(&forbidden).unwrap();
            assert!(said.starts_with(option) && said.contains("own_mailbox_only"), "{said}");
        }
        // The mailbox itself, also where USER has no domain.
        let chosen = |user: &str, recipient: &str, named: Option<&str>| CliOverrides {
            user: Some(user.to_owned()).filter(|user| !user.is_empty()),
            recipient: Some(recipient.to_owned()),
            named: named.map(str::to_owned),
            ..CliOverrides::default()
        };
        let bob = "bob@x.example";
        for allowed in [
            chosen(alice, bob, None),
            chosen(alice, "alice+tag@X.example", Some("alice+tag@X.example")),
            chosen("", bob, Some(bob)),
        ] {
            assert_eq!(refused(&allowed), None, "{allowed:?}");
        }
        for (forbidden, said) in [
            (chosen(alice, bob, Some(bob)), "--user bob@x.example: "),
            (chosen("alice", bob, None), "--recipient bob@x.example: "),
            (chosen("alice", bob, Some(bob)), "--user bob@x.example: "),
        ] {
            let refused = refused(&forbidden).unwrap();
            assert!(refused.starts_with(said), "{refused}");
        }
        // What cannot be read allows nothing.
        std::fs::write(&system, "own_mailbox_only = maybe\n").unwrap();
        assert!(refused(&named(None, Some("/vmail/x.example/alice"), alice)).is_some());
    }
}
