//! `mailstamp learn-contacts`: learns the user's correspondents from address books in vCard files.

use super::correspondents::owner_named;
use crate::cli::ui::counts::grouped;
use crate::cli::ui::exit_status::{DATA, Failure, IO, NO_INPUT};
use crate::cli::ui::text_lines::TextLines;
use crate::cli::ui::{input, output};
use crate::config::paths::CliOverrides;
use crate::context::Context;
use crate::message::header::readable;
use crate::message::vcard::{self, Item, Reader};
use crate::store::{LearnMode, LearnOutcome, Sent};
use crate::verdict::owner::Owner;
use std::io::{self, BufReader};
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

/// Learn your correspondents from address books: vCard files, as telephones and mail programs export them.
///
/// The addresses become correspondents as if you had written to them now. Versions 2.1, 3.0 and 4.0 are read. A broken
/// card is skipped, and its line is reported. An address that you forgot stays forgotten until you write to it.
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:\n  \
    mailstamp learn-contacts contacts.vcf\n  \
    mailstamp learn-contacts --owner alice - < contacts.vcf")]
pub struct Args {
    /// vCard files; "-" is standard input
    #[arg(value_name = "FILE", required = true)]
    files: Vec<PathBuf>,
    /// The owner whose correspondents they become: a name, or an address; needed if the configuration has several
    #[arg(long, value_name = "OWNER")]
    owner: Option<String>,
    /// The user whose addresses and state are meant, where the configuration has %u, %n or %d
    #[arg(long, value_name = "USER")]
    pub user: Option<String>,
}

impl Args {
    /// Returns the arguments for these address books.
    pub(super) fn of(files: Vec<PathBuf>) -> Self {
        Self { files, owner: None, user: None }
    }
}

/// Cards learned in one durable transaction. Deliveries can proceed between two of them.
const CARDS: usize = 2_000;
/// Addresses from which a transaction is full.
const ADDRESSES: usize = 20_000;
/// Most addresses of a card.
const MOST: u64 = vcard::ADDRESSES as u64;
/// Faults of a file that are reported one by one.
const FAULTS: u64 = 20;

pub fn run(args: &Args, given: &CliOverrides) -> Result<u8, Failure> {
    let context = Context::load(given, None)?;
    context.preflight()?;
    let owner = owner_named(&context, args.owner.as_deref())?;
    let mut gathered =
        Gathered { context: &context, owner, waiting: Vec::new(), addresses: 0, counts: Counts::default() };
    let mut status = 0;
    for path in &args.files {
        if let Err(failure) = gathered.file(path)? {
            failure.report();
            status = if status == 0 { failure.code } else { status };
        }
    }
    gathered.learn()?;
    if status == 0 || gathered.counts.cards > 0 {
        gathered.counts.print()?;
    }
    Ok(status)
}

/// Cards that wait to be learned, and the result so far.
struct Gathered<'a> {
    context: &'a Context,
    owner: Owner,
    waiting: Vec<Sent>,
    addresses: usize,
    counts: Counts,
}

#[derive(Default)]
struct Counts {
    cards: u64,
    empty: u64,
    own: u64,
    wrong: u64,
    broken: u64,
    full: u64,
    learned: LearnOutcome,
}

impl Gathered<'_> {
    /// Reads a file. The outer error is one of the state, and the inner one of the file.
    fn file(&mut self, path: &Path) -> Result<Result<(), Failure>, Failure> {
        let (name, mut lines) = match open(path) {
            Ok(opened) => opened,
            Err(failure) => return Ok(Err(failure)),
        };
        let begun = self.counts.cards;
        let (mut reader, mut faults) = (Reader::default(), 0);
        let mut items = Vec::new();
        let mut line = Vec::new();
        loop {
            match lines.next(&mut line) {
                Ok(true) => reader.line(&line, &mut |item| items.push(item)),
                Ok(false) => std::mem::take(&mut reader).end(&mut |item| items.push(item)),
                Err(error) => return Ok(Err(Failure::new(IO, format!("{name}: {error}")))),
            }
            for item in items.drain(..) {
                self.item(item, &name, &mut faults)?;
            }
            if line.is_empty() {
                break;
            }
        }
        if faults > FAULTS {
            output::note(&format!("{name}: {} more faults", grouped(faults - FAULTS)));
        }
        if self.counts.cards == begun {
            let failure = Failure::new(DATA, format!("{name}: no vCard in it"));
            return Ok(Err(failure.hint("export the address book in the form vCard (.vcf)")));
        }
        Ok(Ok(()))
    }

    fn item(&mut self, item: Item, name: &str, faults: &mut u64) -> Result<(), Failure> {
        let mut fault = |line: u64, what: &str| {
            *faults += 1;
            if *faults <= FAULTS {
                output::note(&format!("{name}: line {line}: {what}"));
            }
        };
        match item {
            Item::NoAddress { line, text } => {
                self.counts.wrong += 1;
                fault(line, &format!("no address: {}", readable(text.as_bytes(), 100)));
            }
            Item::Full { line } => {
                self.counts.full += 1;
                fault(line, &format!("addresses from here on left out: the card has more than {}", grouped(MOST)));
            }
            Item::Broken { line, why } => {
                self.counts.broken += 1;
                fault(line, &format!("skipped: {why}"));
            }
            Item::Card(mut recipients) => {
                self.counts.cards += 1;
                self.counts.empty += u64::from(recipients.is_empty());
                let all = recipients.len();
                recipients.retain(|address| !self.context.is_mine(address));
                self.counts.own += (all - recipients.len()) as u64;
                self.addresses += recipients.len();
                let (owner, now) = (self.owner, self.context.now);
                self.waiting.push(Sent { owner, recipients, message_id: None, time: now, now });
                if self.waiting.len() >= CARDS || self.addresses >= ADDRESSES {
                    self.learn()?;
                }
            }
        }
        Ok(())
    }

    fn learn(&mut self) -> Result<(), Failure> {
        self.counts.learned += self.context.used_log()?.learn_as(&self.waiting, LearnMode::AddressBook)?;
        self.waiting.clear();
        self.addresses = 0;
        Ok(())
    }
}

impl Counts {
    fn print(&self) -> io::Result<()> {
        output::line(&format!("cards: {}", grouped(self.cards)))?;
        for (count, what) in [
            (self.empty, "without an address"),
            (self.broken, "broken, and skipped"),
            (self.wrong, "addresses left out, since they are none"),
            (self.own, "addresses left out, since they are yours"),
            (self.full, "cards of which only the first 1,000 addresses were read"),
        ] {
            if count > 0 {
                output::line(&format!("{what}: {}", grouped(count)))?;
            }
        }
        output::line(&format!("learned: {} correspondents", grouped(self.learned.correspondents)))
    }
}

/// Opens a file, and returns its name for people.
fn open(path: &Path) -> Result<(String, TextLines), Failure> {
    let name = readable(path.as_os_str().as_bytes(), 1_000);
    let (name, lines) = if path == Path::new("-") {
        let stdin = input::stdin().map_err(|error| Failure::input(IO, &error))?;
        ("standard input".to_owned(), TextLines::new(Box::new(stdin.lock())))
    } else {
        let file = input::open(path).map_err(|error| Failure::new(NO_INPUT, format!("{name}: {error}")))?;
        (name, TextLines::new(Box::new(BufReader::new(file))))
    };
    let lines = lines.map_err(|error| Failure::new(IO, format!("{name}: {error}")))?;
    Ok((name, lines))
}
