//! `mailstamp held`: lists, shows, releases, deletes and adds held mail. The text of messages is shown as plain text,
//! and cannot control a terminal.

use super::purge;
use crate::cli::ui::exit_status::{CONFIG, DATA, Failure, NO_INPUT, TEMPFAIL};
use crate::cli::ui::judge;
use crate::cli::ui::table::Table;
use crate::cli::ui::{input, output};
use crate::config::paths::CliOverrides;
use crate::engine::judge::Engine;
use crate::engine::marking::Mode;
use crate::engine::quarantine::{HeldError, HeldMessage, Quarantine, Removal};
use crate::engine::result_header;
use crate::engine::result_header::HeaderContext;
use crate::engine::screener::{Answered, DigestError};
use crate::log::verdict_log::Entry;
use crate::mailbox::maildir::Maildir;
use crate::message::address::Address;
use crate::message::header::readable;
use crate::message::parse::Message;
use crate::time::UnixTime;
use serde_json::json;
use std::collections::HashSet;
use std::io::{self, IsTerminal, Read, Write};
use std::path::PathBuf;

/// Bytes of an answer that are read.
const ANSWER: u64 = 1024 * 1024;

#[derive(Debug, clap::Subcommand)]
pub enum Command {
    /// List the held messages
    List(ListArgs),
    /// Print a held message
    Show(OneArgs),
    /// Put held messages into the inbox
    Release(ReleaseArgs),
    /// Put held messages into the inbox, and let their senders through from now on
    Allow(ManyArgs),
    /// Delete held messages
    Delete(ManyArgs),
    /// Delete held messages, and leave their senders out of digests from now on
    Never(ManyArgs),
    /// Send yourself a digest of newly held mail
    Digest(DigestArgs),
    /// Carry out an answer to a digest
    Answer(AnswerArgs),
    /// Delete mail that was held for too long
    Expire(ExpireArgs),
    /// Hold a message
    Add(AddArgs),
}

/// List the held messages, the oldest first.
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:\n  mailstamp held list\n  mailstamp held list --json | jq -r '.messages[].id'")]
pub struct ListArgs {
    /// Print a JSON object
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    whose: Whose,
}

/// Print a held message as it came, with the field Digital-Stamp-Class on top.
///
/// On a terminal, invisible characters are shown as \xNN.
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:\n  mailstamp held show jaqxtm5i\n  mailstamp held show jaqxtm5i | mailstamp explain")]
pub struct OneArgs {
    /// Its short name, or an unambiguous beginning of it
    #[arg(value_name = "ID")]
    id: String,
    #[command(flatten)]
    whose: Whose,
}

/// Put held messages into the inbox. Their class is then allowed, rule=released.
#[derive(Debug, clap::Args)]
#[command(
    after_help = "Examples:\n  mailstamp held release jaqxtm5i\n  mailstamp held release --all-from bob@y.example\n  \
    mailstamp held release jaqxtm5i --to - | procmail"
)]
pub struct ReleaseArgs {
    /// Their short names
    #[arg(value_name = "ID", required_unless_present = "all_from")]
    ids: Vec<String>,
    /// All messages whose From names this address
    #[arg(long, value_name = "ADDRESS")]
    all_from: Option<Address>,
    /// Put them into this Maildir [default: the one that deliver uses]
    #[arg(long, value_name = "FOLDER", conflicts_with = "to")]
    maildir: Option<PathBuf>,
    /// Write the one message to standard output instead
    #[arg(long, value_name = "-", value_parser = ["-"])]
    to: Option<String>,
    #[command(flatten)]
    whose: Whose,
}

/// Messages by their short names.
#[derive(Debug, clap::Args)]
#[command(
    after_help = "Examples:\n  mailstamp held list\n  mailstamp held allow jaqxtm5i\n  mailstamp held delete jaqxtm5i"
)]
pub struct ManyArgs {
    /// Their short names
    #[arg(value_name = "ID", required = true)]
    ids: Vec<String>,
    #[command(flatten)]
    whose: Whose,
}

/// Delete mail held for longer than the configuration allows. deliver and watch do the same once a day.
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:\n  mailstamp held expire")]
pub struct ExpireArgs {
    /// Expire as if it were this time, and take it as right (RFC 3339, or seconds since 1970)
    #[arg(long, value_name = "TIME")]
    now: Option<UnixTime>,
    #[command(flatten)]
    whose: Whose,
}

/// Read a message on standard input and hold it, for recipes that call classify --action.
///
/// The message is judged again, without spending a stamp. The exit status is 0 when it is held, else 75.
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:\n  mailstamp held add < message\n  \
    :0 w                                 in a .procmailrc\n  \
    | mailstamp held add")]
pub struct AddArgs {
    /// Judge for this one recipient; it must be one of the configured addresses
    #[arg(long, value_name = "ADDRESS")]
    recipient: Option<String>,
}

/// Send yourself a digest of the mail that is held and was in no digest yet, for a timer that runs once a day.
///
/// For each message it has two links, which open an answer with a word that works once, and the commands that do the
/// same. Without new mail nothing is sent.
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:\n  mailstamp held digest\n  mailstamp held digest --print")]
pub struct DigestArgs {
    /// Print the digest, and send nothing
    #[arg(long)]
    print: bool,
    /// Send it to this address of yours [default: replies.from, else the first of addresses]
    #[arg(long, value_name = "ADDRESS")]
    to: Option<Address>,
    #[command(flatten)]
    whose: Whose,
}

/// Read a message on standard input, and carry out the answer in its Subject: allow WORD, or never WORD.
///
/// The word counts, and not the sender. The exit status is 0 when the answer was carried out, 65 when the message is no
/// answer, 66 when the message that it is about is not held any more, and 75 when it must be tried again.
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:\n  mailstamp held answer < message\n  \
    :0 w                                 in a .procmailrc\n  \
    | mailstamp held answer")]
pub struct AnswerArgs {
    /// Put an allowed message into this Maildir [default: the one that deliver uses]
    #[arg(long, value_name = "FOLDER")]
    maildir: Option<PathBuf>,
    #[command(flatten)]
    whose: Whose,
}

/// User of the mailbox.
#[derive(Debug, clap::Args)]
#[group(skip)]
pub struct Whose {
    /// The user of the mailbox, where the configuration has %u, %n or %d
    #[arg(long, value_name = "USER")]
    user: Option<String>,
}

impl Command {
    /// Returns whether the command prints its result.
    #[must_use]
    pub fn prints(&self) -> bool {
        match self {
            Self::Add(_) | Self::Answer(_) => false,
            Self::Digest(args) => args.print,
            _ => true,
        }
    }

    /// Returns whether a message waits for the command.
    #[must_use]
    pub fn is_on_mail_path(&self) -> bool {
        matches!(self, Self::Add(_) | Self::Answer(_))
    }

    /// Returns the user of the mailbox.
    #[must_use]
    pub fn user(&self) -> Option<String> {
        match self {
            Self::List(args) => args.whose.user.clone(),
            Self::Show(args) => args.whose.user.clone(),
            Self::Release(args) => args.whose.user.clone(),
            Self::Allow(args) | Self::Delete(args) | Self::Never(args) => args.whose.user.clone(),
            Self::Expire(args) => args.whose.user.clone(),
            Self::Digest(args) => args.whose.user.clone(),
            Self::Answer(args) => args.whose.user.clone(),
            Self::Add(args) => args.recipient.clone(),
        }
    }
}

/// Runs a subcommand.
///
/// # Errors
/// A failure. Some of the messages may have been processed before it.
pub fn run(command: &Command, given: &CliOverrides) -> Result<u8, Failure> {
    if let Command::Add(args) = command {
        return judge::run(given, false, || add(args, given));
    }
    if let Command::Answer(args) = command {
        let mut outcome = None;
        // Only a failure defers the message; one that is no answer goes its way.
        judge::run(given, false, || {
            outcome = Some(answer(args, given)?);
            Ok(0)
        })?;
        return answered(outcome.unwrap_or(Answered::Nothing));
    }
    let now = if let Command::Expire(args) = command { args.now } else { None };
    let engine = Engine::load(given, now)?;
    match command {
        Command::List(args) => list(&engine, args.json),
        Command::Show(args) => show(&engine, &args.id),
        Command::Release(args) => release(&engine, args),
        Command::Allow(args) => each(&engine, &args.ids, |held, message| {
            let new = held.allow_sender(message)?;
            held.release(message, &Maildir::open(engine.context.places.maildir()?)?, Removal::Allowed)?;
            let sender = from(message).unwrap_or_default();
            Ok(if new { format!("allowed; {sender} is let through from now on") } else { "allowed".to_owned() })
        }),
        Command::Never(args) => each(&engine, &args.ids, |held, message| {
            let senders: Vec<String> = held.refuse_sender(message)?.into_iter().map(shown).collect();
            held.remove(message, Removal::Refused)?;
            Ok(format!("deleted; digests leave out {} from now on", senders.join(", ")))
        }),
        Command::Digest(args) => digest(&engine, args),
        Command::Delete(args) => each(&engine, &args.ids, |held, message| {
            held.remove(message, Removal::Deleted)?;
            Ok("deleted".to_owned())
        }),
        Command::Expire(_) => expire(&engine),
        Command::Add(_) | Command::Answer(_) => Ok(TEMPFAIL),
    }
}

fn list(engine: &Engine, as_json: bool) -> Result<u8, Failure> {
    let messages = match Quarantine::existing(engine)? {
        Some(held) => held.list()?,
        None => Vec::new(),
    };
    if as_json {
        let messages: Vec<_> = messages.iter().map(|message| json(message, engine)).collect();
        output::line(&json!({ "schema": output::SCHEMA, "messages": messages }).to_string())?;
        return Ok(0);
    }
    if messages.is_empty() {
        output::line("no mail is held")?;
        return Ok(0);
    }
    let mut table = Table::new(&["id", "class", "reason", "from", "subject", "age", "bytes"], 5);
    for message in &messages {
        let reason = match &message.rule {
            Some(rule) => format!("{} {rule}", message.reason),
            None => message.reason.clone(),
        };
        let subject = message.subject.clone().unwrap_or_else(|| "-".to_owned());
        table.row([
            message.id.clone(),
            cut(&message.class, 20),
            cut(&reason, 30),
            cut(&from(message).unwrap_or_else(|| "-".to_owned()), 40),
            cut(&subject, 50),
            age(engine.context.now.since(message.since)),
            message.size.to_string(),
        ]);
    }
    let mut stdout = io::stdout().lock();
    for line in table.lines() {
        writeln!(stdout, "{line}")?;
    }
    stdout.flush()?;
    Ok(0)
}

fn json(message: &HeldMessage, engine: &Engine) -> serde_json::Value {
    json!({
        "id": message.id,
        "since": message.since.to_string(),
        "age": engine.context.now.since(message.since),
        "class": message.class,
        "reason": message.reason,
        "rule": message.rule,
        "from": from(message),
        "subject": message.subject,
        "message_id": message.message_id,
        "size": message.size,
    })
}

fn from(message: &HeldMessage) -> Option<String> {
    message.author.as_ref().map(shown)
}

fn shown(author: &Address) -> String {
    readable(author.to_string().as_bytes(), result_header::LONGEST)
}

fn cut(text: &str, most: usize) -> String {
    if text.chars().count() <= most {
        return text.to_owned();
    }
    text.chars().take(most.saturating_sub(3)).chain("...".chars()).collect()
}

fn age(seconds: i64) -> String {
    match seconds {
        ..60 => "now".to_owned(),
        60..3_600 => format!("{}m", seconds / 60),
        3_600..86_400 => format!("{}h", seconds / 3_600),
        _ => format!("{}d", seconds / 86_400),
    }
}

fn show(engine: &Engine, id: &str) -> Result<u8, Failure> {
    let held = Quarantine::existing(engine)?.ok_or_else(|| unknown(id))?;
    let messages = held.list()?;
    let bytes = held.read(find(&messages, id)?)?;
    let mut stdout = io::stdout();
    if stdout.is_terminal() {
        for line in bytes.split(|&b| b == b'\n') {
            writeln!(stdout, "{}", readable(line.strip_suffix(b"\r").unwrap_or(line), usize::MAX))?;
        }
    } else {
        stdout.write_all(&bytes)?;
    }
    stdout.flush()?;
    Ok(0)
}

fn release(engine: &Engine, args: &ReleaseArgs) -> Result<u8, Failure> {
    let held = Quarantine::existing(engine)?;
    let messages = held.as_ref().map_or(Ok(Vec::new()), Quarantine::list)?;
    let from = |address: &Address| {
        let ids = messages.iter().filter(|message| message.authors.contains(address));
        ids.map(|message| message.id.clone()).collect::<Vec<_>>()
    };
    let mut ids = args.ids.clone();
    if let Some(address) = &args.all_from {
        ids.extend(from(address));
        if ids.is_empty() {
            return Err(Failure::new(NO_INPUT, format!("no held message is from {address}")));
        }
    }
    if args.to.is_some() {
        let ([id], Some(held)) = (&ids[..], &held) else {
            return Err(Failure::new(DATA, format!("--to - takes one message, and there are {}", ids.len())));
        };
        let _lock = held.lock()?;
        let message = find(&messages, id)?;
        output::hand_over(&held.read_released(message)?)?;
        held.remove(message, Removal::Released)?;
        return Ok(0);
    }
    let maildir = match &args.maildir {
        Some(maildir) => maildir,
        None => engine.context.places.maildir()?,
    };
    each(engine, &ids, |held, message| {
        held.release(message, &Maildir::open(maildir)?, Removal::Released)?;
        Ok("released".to_owned())
    })
}

/// Applies `act` to each named message, and prints the result. Fails before that if a name is unknown.
fn each(
    engine: &Engine,
    ids: &[String],
    act: impl Fn(&Quarantine<'_>, &HeldMessage) -> Result<String, HeldError>,
) -> Result<u8, Failure> {
    let held = Quarantine::existing(engine)?.ok_or_else(|| unknown(ids.first().map_or("", String::as_str)))?;
    let _lock = held.lock()?;
    let messages = held.list()?;
    let meant = ids.iter().map(|id| Ok(&find(&messages, id)?.id)).collect::<Result<HashSet<_>, Failure>>()?;
    for message in messages.iter().filter(|message| meant.contains(&message.id)) {
        let done = act(&held, message)?;
        output::line(&format!("{}: {done}", message.id))?;
    }
    Ok(0)
}

/// Finds the message with this short name, or the only one whose name begins so.
fn find<'a>(messages: &'a [HeldMessage], id: &str) -> Result<&'a HeldMessage, Failure> {
    let mut found = messages.iter().filter(|message| !id.is_empty() && message.id.starts_with(id));
    match (found.next(), found.next()) {
        (Some(message), None) => Ok(message),
        (None, _) => Err(unknown(id)),
        (Some(_), Some(_)) => Err(Failure::new(DATA, format!("more than one held message begins with {id}"))),
    }
}

fn unknown(id: &str) -> Failure {
    let id = readable(id.as_bytes(), result_header::LONGEST);
    Failure::new(NO_INPUT, format!("no held message is called {id:?}")).hint("mailstamp held list shows them")
}

fn expire(engine: &Engine) -> Result<u8, Failure> {
    let held = Quarantine::existing(engine)?.zip(engine.context.forget_limit());
    let gone = held.map_or(Ok(Vec::new()), |(held, limit)| held.expire(usize::MAX, limit))?;
    for message in gone {
        output::line(&format!("{}: expired", message.id))?;
    }
    purge::note_clock(engine);
    Ok(0)
}

fn add(args: &AddArgs, given: &CliOverrides) -> Result<u8, Failure> {
    let engine = Engine::load(given, None)?;
    let envelope = judge::envelope(args.recipient.as_deref(), None)?;
    let input = input::read(engine.context.config.largest).map_err(|error| Failure::input(TEMPFAIL, &error))?;
    let message = Message::parse(&input.bytes);
    let decision = if input.cut {
        engine.judge_beginning(&message, &envelope)?
    } else {
        engine.judge(&message, &envelope, Mode::DryRun)?
    };
    let mut edit = result_header::with_result_headers(&message, &decision, &HeaderContext::of(&engine.context.config));
    edit.remove_span(0..message.envelope_line().len());
    let mut stdin = io::stdin();
    let id = Quarantine::open(&engine)?.add(&edit, input.cut.then_some(&mut stdin as &mut dyn Read))?;
    // The message was logged when it was judged; this entry records that it is held.
    let entry = result_header::entry(&decision, &message, &envelope, engine.context.now);
    engine.record(&Entry { event: Some("held".to_owned()), held: Some(id), ..entry });
    engine.run_daily_cleanup(None);
    Ok(0)
}

fn digest(engine: &Engine, args: &DigestArgs) -> Result<u8, Failure> {
    let Some(held) = Quarantine::existing(engine)? else { return Ok(0) };
    let _lock = held.lock()?;
    let Some(digest) = held.digest(args.to.clone())? else { return Ok(0) };
    if args.print {
        output::hand_over(digest.text.as_bytes())?;
    } else {
        held.send(&digest)?;
    }
    Ok(0)
}

fn answer(args: &AnswerArgs, given: &CliOverrides) -> Result<Answered, Failure> {
    let engine = Engine::load(given, None)?;
    let read = input::read(ANSWER).and_then(|it| input::rest(&mut io::sink()).map(|()| it));
    let input = read.map_err(|error| Failure::input(TEMPFAIL, &error))?;
    let maildir = match &args.maildir {
        Some(maildir) => maildir,
        None => engine.context.places.maildir()?,
    };
    Ok(engine.answer_held(&Message::parse(&input.bytes), maildir)?)
}

/// Returns the exit status for an answer.
fn answered(answered: Answered) -> Result<u8, Failure> {
    match answered {
        Answered::Done(..) => Ok(0),
        Answered::Nothing => Err(Failure::new(DATA, "no answer to held mail: Subject is not allow WORD or never WORD")),
        Answered::Refused(why) => Err(Failure::new(DATA, why)),
        Answered::Gone(name) => Err(unknown(&name)),
    }
}

impl From<DigestError> for Failure {
    fn from(error: DigestError) -> Self {
        match error {
            DigestError::Held(error) => error.into(),
            DigestError::Undecided(error) => error.into(),
            DigestError::NoAddress => Self::new(CONFIG, error).hint("give --to ADDRESS"),
            DigestError::Foreign(_) => Self::new(DATA, error),
            DigestError::Send { .. } => Self::new(TEMPFAIL, error),
        }
    }
}

impl From<HeldError> for Failure {
    fn from(error: HeldError) -> Self {
        match error {
            HeldError::Undecided(error) => error.into(),
            HeldError::NoSender(_) => Self::new(DATA, error),
            error => Self::new(TEMPFAIL, error),
        }
    }
}
