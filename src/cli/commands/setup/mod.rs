//! `mailstamp setup`: day one. It asks for addresses, the way of mail and sent mail, shows what it would change, changes
//! that with a yes, learns from sent mail, and judges the mail of the last year.

mod ask;
mod block;
mod diff;
mod found;
mod plan;
mod review;

use super::{doctor, learn_contacts, learn_sent};
use crate::cli::ui::exit_status::{CONFIG, DATA, Failure};
use crate::cli::ui::installed;
use crate::cli::ui::journal::{self, Undone};
use crate::cli::ui::marked_block;
use crate::cli::ui::output;
use crate::config::paths::{self, CliOverrides};
use crate::engine::judge::Engine;
use crate::engine::quarantine::Quarantine;
use crate::message::header::readable;
use found::{Found, Incoming};
use plan::{Places, Plan, Wishes};
use std::io::{self, IsTerminal};
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

/// Set everything up for your mailbox: show the changes, and make them if you agree.
///
/// On a terminal it asks what is missing here. Elsewhere it needs --yes to change anything. Your recipes get a marked
/// block that writes the class of each message into its header and files nothing. Then it learns from your sent mail,
/// and judges the mail of the last year, which changes nothing.
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:\n  \
    mailstamp setup\n  \
    mailstamp setup --address you@your.example --sent ~/Maildir/.Sent --yes\n  \
    mailstamp setup --undo")]
pub struct Args {
    /// An address of yours, or a pattern of addresses; may be repeated
    #[arg(long = "address", value_name = "ADDRESS")]
    addresses: Vec<String>,
    /// How mail comes in [default: what is found]
    #[arg(long, value_name = "WAY")]
    incoming: Option<Incoming>,
    /// A Maildir or mbox file of sent mail to learn from; may be repeated [default: what is found]
    #[arg(long, value_name = "PATH")]
    sent: Vec<PathBuf>,
    /// An address book to learn from, a vCard file; may be repeated
    #[arg(long, value_name = "FILE")]
    contacts: Vec<PathBuf>,
    /// Mail that came in, to be judged; may be repeated [default: what is found]
    #[arg(long, value_name = "PATH")]
    mail: Vec<PathBuf>,
    /// Hold mail of strangers; a daily digest lists it
    #[arg(long)]
    screener: bool,
    /// Ask nothing, and make the changes
    #[arg(long)]
    yes: bool,
    /// Take back what setup changed
    #[arg(long, conflicts_with_all = ["addresses", "incoming", "sent", "contacts", "mail", "screener", "yes"])]
    undo: bool,
}

/// Runs the command.
///
/// # Errors
/// A failure. If changes were made, they can be undone.
pub fn run(args: &Args, given: &CliOverrides) -> Result<u8, Failure> {
    let home = paths::home().ok_or_else(|| Failure::new(CONFIG, "no home: HOME is not set"))?;
    let places = Places::find(given)?;
    if args.undo {
        return undo(&places.state, &home, given);
    }
    let asks = !args.yes && io::stdin().is_terminal() && io::stdout().is_terminal();
    let found = Found::look(&home);
    let mut answers = Answers {
        wishes: Wishes {
            addresses: args.addresses.clone(),
            incoming: args.incoming.unwrap_or_else(|| found.way()),
            has_screener: args.screener,
        },
        sent: if args.sent.is_empty() && places.has_log { found.sent() } else { args.sent.clone() },
        contacts: args.contacts.clone(),
        mail: if args.mail.is_empty() { found.mail() } else { args.mail.clone() },
    };
    if asks {
        answers.ask(args, &places)?;
    }
    let program = program()?;
    let plan = plan::plan(&found, &places, &answers.wishes, &program)?;
    show(&plan, &answers)?;
    if !args.yes {
        if !asks {
            output::line("nothing was changed; with --yes these changes are made")?;
            return Ok(0);
        }
        if !ask::agreed("Go on?")? {
            output::line("nothing was changed")?;
            return Ok(0);
        }
    }
    if !plan.changes.is_empty() {
        journal::apply(&places.state, &plan.changes)?;
    }
    for change in &plan.changes {
        output::line(&format!("written: {}", shown(&change.file.path)))?;
    }
    answers.learn(given)?;
    review::last_year(&answers.mail, &answers.sent, given)?;
    next(&answers.wishes, given)?;
    Ok(0)
}

/// What the user wants.
struct Answers {
    wishes: Wishes,
    sent: Vec<PathBuf>,
    contacts: Vec<PathBuf>,
    mail: Vec<PathBuf>,
}

impl Answers {
    /// Asks for what no option says.
    fn ask(&mut self, args: &Args, places: &Places) -> Result<(), Failure> {
        let paths = |text: String| text.split(',').map(str::trim).filter(|it| !it.is_empty()).map(expanded).collect();
        let list = |paths: &[PathBuf]| paths.iter().map(|path| shown(path)).collect::<Vec<_>>().join(", ");
        if args.addresses.is_empty() && !places.has_address() {
            let usual = std::env::var("EMAIL").unwrap_or_default();
            let text = ask::line("Your addresses, with commas between them", &usual)?;
            self.wishes.addresses = text.split([',', ' ']).filter(|it| !it.is_empty()).map(str::to_owned).collect();
        }
        if args.incoming.is_none() {
            self.wishes.incoming = ask::choice("How does mail come in?", self.wishes.incoming)?;
        }
        if args.sent.is_empty() {
            self.sent = paths(ask::line("Folders of sent mail", &list(&self.sent))?);
        }
        if args.contacts.is_empty() {
            self.contacts = paths(ask::line("Address books (vCard files)", "")?);
        }
        Ok(())
    }

    /// Learns the correspondents.
    fn learn(&self, given: &CliOverrides) -> Result<(), Failure> {
        if !self.sent.is_empty() {
            learn_sent::run(&learn_sent::Args::of(self.sent.clone()), given)?;
        }
        if !self.contacts.is_empty() {
            learn_contacts::run(&learn_contacts::Args::of(self.contacts.clone()), given)?;
        }
        Ok(())
    }
}

/// Prints what is going to happen.
fn show(plan: &Plan, answers: &Answers) -> Result<(), Failure> {
    output::line(&format!("mail comes in by: {}", answers.wishes.incoming.as_str()))?;
    for change in &plan.changes {
        let text = diff::unified(&change.file.path, change.file.bytes.as_deref(), &change.after);
        output::line(text.trim_end_matches('\n'))?;
    }
    if plan.changes.is_empty() {
        output::line("no file is to be changed")?;
    }
    for note in &plan.notes {
        output::line(&format!("note: {}", readable(note.as_bytes(), usize::MAX)))?;
    }
    for (what, paths) in [("learn from", &answers.sent), ("learn from", &answers.contacts), ("judge", &answers.mail)] {
        for path in paths {
            output::line(&format!("{what}: {}", shown(path)))?;
        }
    }
    Ok(())
}

/// Prints what is still to be done, as `doctor` says it.
fn next(wishes: &Wishes, given: &CliOverrides) -> Result<(), Failure> {
    let mut open = doctor::open_points(given);
    if wishes.has_screener {
        open.extend(Places::find(given)?.screener_lacks());
        let timers = "rules/held-digest.timer with rules/held-digest.service for systemd, or rules/held-digest.cron";
        open.push(format!("screener: have a timer run mailstamp held digest once a day: {timers}"));
    }
    output::line(if open.is_empty() { "next: nothing; mailstamp doctor found no problem" } else { "next:" })?;
    for point in open {
        output::line(&format!("  {point}"))?;
    }
    output::line("mailstamp setup --undo takes the changes back")?;
    Ok(())
}

fn undo(state: &Path, home: &Path, given: &CliOverrides) -> Result<u8, Failure> {
    let (mut lines, mut left) = (Vec::new(), false);
    // Before the configuration goes.
    let held = Engine::load(given, None).ok().and_then(|engine| Quarantine::existing(&engine).ok()??.list().ok());
    let outcome = journal::undo(state, &mut |path, undone| {
        left |= undone == Undone::Left;
        lines.push(format!("{}: {}", shown(path), what_became(undone)));
    });
    for line in lines {
        output::line(&line)?;
    }
    let is_undone = outcome?;
    for path in plan::recipes(home) {
        // Edited, or in the file twice, or the journal is lost.
        if std::fs::read(&path).is_ok_and(|bytes| marked_block::is_in(&bytes)) {
            left = true;
            let [begin, end] = [marked_block::BEGIN, marked_block::END].map(str::trim_end);
            output::line(&format!("{}: has a block of setup; remove it, from \"{begin}\" to \"{end}\"", shown(&path)))?;
        }
    }
    if let Some(held) = held.filter(|held| !held.is_empty()) {
        let text = "mailstamp held list shows what is held, and held release delivers it";
        output::line(&format!("messages that are still held: {}; {text}", held.len()))?;
    }
    if !is_undone {
        output::line("there is nothing to undo: setup changed no file")?;
        return Ok(if left { DATA } else { 0 });
    }
    output::line("what was learned stays; mailstamp correspondents shows it, and --forget forgets an address")?;
    Ok(if left { DATA } else { 0 })
}

fn what_became(undone: Undone) -> &'static str {
    match undone {
        Undone::Restored => "restored",
        Undone::Removed => "removed",
        Undone::BlockRemoved => "edited since; the block of setup was taken out",
        Undone::Unchanged => "nothing of setup in it",
        Undone::Left => "edited since, and left as it is; remove what you do not want, then run setup --undo again",
    }
}

/// Returns the path of mailstamp, which recipes name.
fn program() -> Result<PathBuf, Failure> {
    let program =
        installed::mailstamp().map_err(|error| Failure::new(DATA, format!("cannot find this program: {error}")))?;
    if program.is_file() {
        return Ok(program);
    }
    Err(Failure::new(DATA, format!("{}: no such program", program.display()))
        .hint("install mailstamp and mailstamp-tools into one folder"))
}

/// Returns a path that the user typed, with the home in the place of `~/`.
fn expanded(text: &str) -> PathBuf {
    match (text.strip_prefix("~/"), paths::home()) {
        (Some(rest), Some(home)) => home.join(rest),
        _ => PathBuf::from(text),
    }
}

fn shown(path: &Path) -> String {
    readable(path.as_os_str().as_bytes(), 1_000)
}
