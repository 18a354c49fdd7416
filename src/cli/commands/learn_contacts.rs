//! `mailstamp learn-contacts`: learns the user's correspondents from address books in vCard files.

use super::correspondents::owner_named;
use crate::cli::ui::counts::grouped;
use crate::cli::ui::exit_status::{DATA, Failure, IO, NO_INPUT};
use crate::cli::ui::{input, output};
use crate::config::paths::CliOverrides;
use crate::context::Context;
use crate::message::header::escape_untrusted;
use crate::message::vcard::{Item, Reader};
use crate::store::{LearnMode, LearnOutcome, Sent};
use crate::verdict::owner::Owner;
use std::fs::File;
use std::io::{self, BufRead, BufReader, Read};
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

/// Cards learned in one durable transaction. Deliveries can proceed between two of them.
const CARDS: usize = 2_000;
/// Addresses from which a transaction is full.
const ADDRESSES: usize = 20_000;
/// Longest line, in bytes. The rest of a longer one is skipped.
const LINE: u64 = 1 << 20;
/// Faults of a file that are reported one by one.
const FAULTS: u64 = 20;

/// Runs the command.
///
/// # Errors
/// A failure when a file or the state cannot be read.
pub fn run(args: &Args, given: &CliOverrides) -> Result<u8, Failure> {
    let context = Context::load(given, None)?;
    context.preflight()?;
    let owner = owner_named(&context, args.owner.as_deref())?;
    let mut gathered =
        Gathered { context: &context, owner, waiting: Vec::new(), addresses: 0, counts: Counts::default() };
    let read = args.files.iter().try_for_each(|path| gathered.file(path));
    gathered.learn()?;
    // What was learned before an error is told as well.
    if read.is_ok() || gathered.counts.cards > 0 {
        gathered.counts.print()?;
    }
    read.map(|()| 0)
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
    learned: LearnOutcome,
}

impl Gathered<'_> {
    fn file(&mut self, path: &Path) -> Result<(), Failure> {
        let name = escape_untrusted(path.as_os_str().as_bytes(), 1_000);
        let (mut source, name): (Box<dyn BufRead>, _) = if path == Path::new("-") {
            let stdin = input::stdin().map_err(|error| Failure::input(IO, &error))?;
            (Box::new(stdin.lock()), "standard input".to_owned())
        } else {
            let file = File::open(path).map_err(|error| Failure::new(NO_INPUT, format!("{name}: {error}")))?;
            (Box::new(BufReader::new(file)), name)
        };
        let begun = self.counts.cards;
        let (mut reader, mut faults) = (Reader::default(), 0);
        let mut items = Vec::new();
        let mut line = Vec::new();
        loop {
            let more = next_line(&mut *source, &mut line);
            if more.map_err(|error| Failure::new(IO, format!("{name}: {error}")))? {
                reader.line(&line, &mut |item| items.push(item));
            } else {
                std::mem::take(&mut reader).end(&mut |item| items.push(item));
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
            return Err(failure.hint("export the address book in the form vCard (.vcf)"));
        }
        Ok(())
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
                fault(line, &format!("no address: {}", escape_untrusted(text.as_bytes(), 100)));
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
                self.waiting.push(Sent { owner: self.owner, recipients, message_id: None, time: self.context.now });
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
        ] {
            if count > 0 {
                output::line(&format!("{what}: {}", grouped(count)))?;
            }
        }
        output::line(&format!("learned: {} correspondents", grouped(self.learned.correspondents)))
    }
}

/// Reads the next line, and returns whether there is one.
fn next_line(source: &mut dyn BufRead, line: &mut Vec<u8>) -> io::Result<bool> {
    line.clear();
    Read::take(&mut *source, LINE).read_until(b'\n', line)?;
    if line.len() as u64 == LINE && !line.ends_with(b"\n") {
        source.skip_until(b'\n')?;
    }
    Ok(!line.is_empty())
}
