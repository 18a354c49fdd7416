//! The changes that `mailstamp setup` is going to make, computed before the first of them is made.

use super::block::{self, Kind};
use super::found::{self, Found, Incoming, MAILFILTER, PROCMAILRC, Postfix, without_comments};
use crate::cli::ui::exit_status::{CONFIG, DATA, Failure, USAGE};
use crate::cli::ui::journal::{Change, UserFile};
use crate::cli::ui::marked_block;
use crate::config::Config;
use crate::config::paths::{self, CliOverrides, Paths, RULES_FILE};
use crate::config::rules;
use crate::config::user::User;
use crate::engine::digest_route::{digest_address, digest_arrives};
use crate::message::address::{Address, Pattern};
use crate::policy::action::Action;
use crate::policy::rule_set::Rules;
use crate::verdict::class::Class;
use rustix::process::geteuid;
use std::path::{Path, PathBuf};

/// What the user wants.
#[derive(Clone, Debug)]
pub(super) struct Wishes {
    /// Addresses, as patterns.
    pub(super) addresses: Vec<String>,
    pub(super) incoming: Incoming,
    /// Whether strangers are held.
    pub(super) has_screener: bool,
}

/// The classes that the screener holds: a bad stamp must not be better than none.
const SCREENED: &str = "\n# The screener holds strangers; mailstamp held digest lists them.\n[actions]\nunstamped = \"hold\"\n\
    underpaid = \"hold\"\nunverified = \"hold\"\ninvalid = \"hold\"\nused = \"hold\"\nrevoked = \"hold\"\n";

/// Changes, and what is to be said about them.
#[derive(Debug, Default)]
pub(super) struct Plan {
    pub(super) changes: Vec<Change>,
    /// What stays as it is, and what the user is to do.
    pub(super) notes: Vec<String>,
}

/// A recipe of the user, and its block.
struct Recipe<'a> {
    kind: Kind,
    path: PathBuf,
    /// The path of mailstamp.
    program: &'a Path,
    has_screener: bool,
}

/// The user's own files.
#[derive(Clone, Debug)]
pub(super) struct Places {
    /// The configuration: that in force, or the one that is to be written.
    pub(super) config: PathBuf,
    pub(super) has_config: bool,
    rules: PathBuf,
    pub(super) state: PathBuf,
    /// The configuration in force; an empty one if there is none.
    settings: Config,
    /// Whether it is the system's, which this user does not write.
    is_systems: bool,
    /// Whether this user can open the used log, which learns what was sent.
    pub(super) has_log: bool,
    /// Whether unstamped mail is held.
    holds: bool,
    /// The Maildir into which held mail is released.
    maildir: Option<PathBuf>,
}

impl Places {
    /// Finds the files. A configuration that is named, but missing, is to be written.
    ///
    /// # Errors
    /// A failure when the configuration in force cannot be used: setup changes nothing then.
    pub(super) fn find(given: &CliOverrides) -> Result<Self, Failure> {
        let (own, own_state) = paths::xdg_dirs().unzip();
        let missing = given.config.as_ref().filter(|path| !path.exists());
        let nowhere = || Failure::new(CONFIG, "no folder for the configuration and the state: HOME is not set");
        if let Some(config) = missing {
            let state = given.state.clone().or_else(|| own_state.flatten()).ok_or_else(nowhere)?;
            let rules = config.with_file_name(RULES_FILE);
            let settings = Config::parse("", &User::default()).map_err(|error| Failure::new(CONFIG, error))?;
            return Ok(Self {
                config: config.clone(),
                has_config: false,
                rules,
                state,
                settings,
                is_systems: false,
                has_log: true,
                holds: false,
                maildir: paths::home().map(|home| home.join("Maildir")),
            });
        }
        let (config, places) = Paths::read(given)?;
        let folder = own.ok_or_else(nowhere)?;
        let state = places.user_state()?.to_owned();
        let has_config = places.config.is_some();
        let path = places.config.unwrap_or_else(|| folder.join("config.toml"));
        let is_systems = given.config.is_none() && !path.starts_with(&folder) && !geteuid().is_root();
        let has_log = places.own_state.is_none();
        let rules = places.rules.unwrap_or_else(|| path.with_file_name(RULES_FILE));
        let holds = config.actions.of(Class::Unstamped) == Action::Hold;
        Ok(Self {
            config: path,
            has_config,
            is_systems,
            has_log,
            rules,
            state,
            settings: config,
            holds,
            maildir: places.maildir,
        })
    }

    /// Returns what is still to be written by hand to switch the screener on; `None` if it is on.
    pub(super) fn screener_lacks(&self) -> Option<String> {
        let lines = SCREENED.trim().lines().map(|line| format!("\n    {line}"));
        (!self.holds)
            .then(|| format!("the screener is NOT on; add to {}:{}", self.config.display(), lines.collect::<String>()))
    }

    /// Returns whether the configuration has these addresses.
    fn knows(&self, pattern: &Pattern) -> bool {
        let covers = |known: &Pattern| pattern.exact().is_some_and(|address| known.matches(address));
        let mut known = self.settings.mailboxes.iter().map(|mailbox| &mailbox.pattern);
        known.any(|known| known.as_str() == pattern.as_str() || covers(known))
    }

    /// Returns whether the configuration names an address.
    pub(super) fn has_address(&self) -> bool {
        !self.settings.mailboxes.is_empty()
    }
}

/// Computes the changes.
///
/// # Errors
/// A failure when a file is not to be changed, or a wish cannot be met.
pub(super) fn plan(found: &Found, places: &Places, wishes: &Wishes, program: &Path) -> Result<Plan, Failure> {
    let mut plan = Plan::default();
    let settings = plan.configuration(places, wishes)?;
    plan.rules(places)?;
    plan.incoming(found, wishes, program)?;
    if wishes.has_screener {
        plan.screener(places, &settings, wishes)?;
    }
    Ok(plan)
}

impl Plan {
    /// Adds the change of the configuration. Returns the one that is in force then.
    fn configuration(&mut self, places: &Places, wishes: &Wishes) -> Result<Config, Failure> {
        let parsed = |text: &String| {
            let pattern = Pattern::parse(text);
            let pattern = pattern.map_err(|error| Failure::new(USAGE, format!("--address {text:?}: {error}")))?;
            if pattern.covers_all() {
                let what = format!("--address {text:?}: it matches every address, and not yours alone");
                return Err(Failure::new(USAGE, what).hint("name your addresses, or your domain as *@your.example"));
            }
            Ok(pattern)
        };
        let wanted = wishes.addresses.iter().map(parsed).collect::<Result<Vec<_>, _>>()?;
        let shown = places.config.display();
        if places.has_config {
            let new = wanted.iter().zip(&wishes.addresses).filter(|(pattern, _)| !places.knows(pattern));
            let new: Vec<String> = new.map(|(_, text)| quoted(text)).collect();
            self.notes.push(match &new[..] {
                [] => format!("{shown} is there already, and stays as it is"),
                new => format!("{shown} is there already; add to its addresses: {}", new.join(", ")),
            });
            return Ok(places.settings.clone());
        }
        if wanted.is_empty() {
            return Err(Failure::new(USAGE, "no address is given, and none is configured")
                .hint("mailstamp setup --address you@your.example"));
        }
        let addresses: Vec<String> = wishes.addresses.iter().map(|text| quoted(text)).collect();
        let text = format!(
            "# Written by mailstamp setup; mailstamp.toml(5) has all settings.\naddresses = [{}]\n{}",
            addresses.join(", "),
            if wishes.has_screener { SCREENED } else { "" }
        );
        let settings = Config::parse(&text, &User::default()).map_err(|error| Failure::new(USAGE, error))?;
        self.add(UserFile::read(&places.config)?, text.into_bytes(), 0o644, None);
        Ok(settings)
    }

    fn rules(&mut self, places: &Places) -> Result<(), Failure> {
        let shown = places.rules.display();
        if places.is_systems {
            self.notes.push(format!(
                "{} is the administrator's, and so are its rules; held mail and the verdict log are yours, in {}",
                places.config.display(),
                places.state.display()
            ));
            return Ok(());
        }
        if places.rules.exists() {
            self.notes
                .push(format!("{shown} is there already, and stays as it is; rules/rules.toml has the usual rules"));
            return Ok(());
        }
        let file = UserFile::read(&places.rules)?;
        self.add(file, block::RULES.into(), 0o600, None);
        Ok(())
    }

    /// Checks that released mail, and the digest, arrive where the user reads.
    fn screener(&mut self, places: &Places, settings: &Config, wishes: &Wishes) -> Result<(), Failure> {
        let maildir = places.maildir.as_deref().unwrap_or(Path::new("Maildir"));
        let shown = maildir.display();
        if !maildir.join("new").is_dir() {
            return Err(Failure::new(DATA, format!("--screener: released mail goes to {shown}, which is no Maildir"))
                .hint(
                    "name the Maildir in which your mail arrives as deliver.maildir in config.toml, or make this one",
                ));
        }
        self.notes.push(format!("released mail goes to {shown} (deliver.maildir): your mail must arrive there, too"));
        let rules = if places.rules.exists() {
            rules::read(&places.rules, settings.local_case)
        } else {
            rules::parse(block::RULES, &places.rules, settings.local_case)
        };
        // As it is when the screener is on.
        let screened = Config::parse(SCREENED, &User::default()).map_err(|error| Failure::new(CONFIG, error))?;
        let actions = if places.holds { &settings.actions } else { &screened.actions };
        let is_held = |to: &Address, rules: &Rules| !digest_arrives(to, settings, actions, rules, &places.state);
        // An address that is still to be added to the configuration gets the digest, too.
        let wished = || wishes.addresses.iter().find_map(|text| Pattern::parse(text).ok()?.exact().cloned());
        match (rules, digest_address(settings).or_else(wished)) {
            (Err(error), _) => self.notes.push(error.to_string()),
            (Ok(rules), Some(to)) if is_held(&to, &rules) => self.notes.push(format!(
                "{}: the digest is held, too, unless a rule with reply_to_mine = true lets it through",
                places.rules.display()
            )),
            _ => {}
        }
        Ok(())
    }

    fn incoming(&mut self, found: &Found, wishes: &Wishes, program: &Path) -> Result<(), Failure> {
        let recipe =
            |kind, name: &str| Recipe { kind, path: found.home.join(name), program, has_screener: wishes.has_screener };
        match wishes.incoming {
            Incoming::Procmail => self.recipe(&recipe(Kind::Procmail, PROCMAILRC), "")?,
            Incoming::Maildrop => self.recipe(&recipe(Kind::Maildrop, MAILFILTER), "")?,
            Incoming::Forward => self.forward(found, &recipe(Kind::Procmail, PROCMAILRC))?,
            Incoming::Sieve => self.notes.push(
                "Sieve: only scripts of the administrator may run programs; rules/dovecot-sieve.conf and \
                 rules/sieve-filter.sieve are for them, and your own script may then look at the field \
                 Digital-Stamp-Class"
                    .to_owned(),
            ),
            Incoming::Fetch => self.notes.push(
                "fetchmail, getmail: have them pass mail to procmail or to mailstamp deliver, as rules/fetchmailrc and \
                 rules/getmailrc show; setup does not change files with passwords"
                    .to_owned(),
            ),
            Incoming::None => self
                .notes
                .push("no recipe is changed, so no mail is judged yet; mailstamp(7) has recipes to copy".to_owned()),
        }
        Ok(())
    }

    /// Adds the change of a recipe. A new file has the lines of `more` behind the block.
    fn recipe(&mut self, recipe: &Recipe<'_>, more: &str) -> Result<(), Failure> {
        let Recipe { kind, ref path, program, has_screener } = *recipe;
        let named = block::can_name(program).ok_or_else(|| {
            Failure::new(DATA, format!("{}: a recipe cannot name this path", program.display()))
                .hint("install both programs into a folder whose path has only letters, digits and ./_+-")
        })?;
        let file = UserFile::read(path)?;
        let now = file.bytes.clone().unwrap_or_default();
        // Another setup does not switch the screener off; the undo does.
        let text = block::text(kind, named, has_screener || block::has_screener(&String::from_utf8_lossy(&now)));
        if !marked_block::is_in(&now)
            && without_comments(&String::from_utf8_lossy(&now)).to_lowercase().contains("mailstamp")
        {
            self.notes.push(format!("{} calls mailstamp already, and stays as it is", path.display()));
            return Ok(());
        }
        let mut after = marked_block::with(&now, &text).ok_or_else(|| {
            Failure::new(DATA, format!("{}: the block of mailstamp setup has no end", path.display()))
                .hint("remove its lines, from \"# >>> mailstamp setup >>>\" on")
        })?;
        if file.bytes.is_none() {
            after.extend(more.as_bytes());
        }
        self.add(file, after, 0o600, Some(text.into_bytes()));
        Ok(())
    }

    /// Has Postfix call procmail, which goes on to deliver where Postfix did.
    fn forward(&mut self, found: &Found, recipe: &Recipe<'_>) -> Result<(), Failure> {
        if !found.can_forward() {
            return Err(Failure::new(
                DATA,
                "--incoming forward: needs Postfix with its own local delivery, procmail, and \
                 no ~/.forward",
            )
            .hint("choose another way with --incoming, or none"));
        }
        let folder = found.postfix.as_ref().map_or("", |postfix: &Postfix| postfix.home_mailbox.as_str());
        if block::can_name(&Path::new("/").join(folder)).is_none() {
            return Err(Failure::new(
                DATA,
                format!("home_mailbox of Postfix: {folder:?}: a recipe cannot name this path"),
            ));
        }
        let more = match folder {
            "" => String::new(),
            folder => format!("\n# Where Postfix delivers (home_mailbox).\nDEFAULT=$HOME/{folder}\n"),
        };
        if folder.ends_with('/') && !found.home.join(folder).join("new").is_dir() {
            return Err(Failure::new(
                DATA,
                format!("~/{folder}: there is no such Maildir yet, so procmail cannot deliver"),
            )
            .hint(format!("mkdir -p ~/{folder}new ~/{folder}cur ~/{folder}tmp")));
        }
        self.recipe(recipe, &more)?;
        let procmail = found::program("procmail").unwrap_or_default();
        let text = block::forward(&procmail.to_string_lossy());
        self.add(UserFile::read(&found.home.join(".forward"))?, text.into_bytes(), 0o644, None);
        Ok(())
    }

    fn add(&mut self, file: UserFile, after: Vec<u8>, new_mode: u32, block: Option<Vec<u8>>) {
        if file.bytes.as_ref() != Some(&after) {
            self.changes.push(Change { file, after, new_mode, block });
        }
    }
}

/// Returns the recipes that may have a block.
pub(super) fn recipes(home: &Path) -> [PathBuf; 2] {
    [PROCMAILRC, MAILFILTER].map(|name| home.join(name))
}

fn quoted(text: &str) -> String {
    toml::Value::String(text.to_owned()).to_string()
}
