//! `mailstamp account`: manages the accounts at vendors from which stamps are bought. An API key is read from a prompt,
//! standard input or a file. It never appears in arguments, which all users of the host can see, nor in any output.

use crate::cli::ui::counts::counted;
use crate::cli::ui::exit_status::{CONFIG, DATA, Failure, NO_INPUT, USAGE};
use crate::cli::ui::purchase::failure;
use crate::cli::ui::table::Table;
use crate::cli::ui::{input, output};
use crate::config::file;
use crate::config::paths::CliOverrides;
use crate::context::Context;
use crate::message::address::Address;
use crate::message::parse::Message;
use crate::message::shown_text::shown_text;
use crate::net::http_client::Secret;
use crate::sender::account::{self, Account};
use crate::sender::selection::RecipientPreference;
use crate::sender::stamp_source::StampSource;
use crate::sender::vendor_client;
use rustix::termios::{LocalModes, OptionalActions, Termios, tcgetattr, tcsetattr};
use serde_json::{Value, json};
use std::fs::File;
use std::io::{self, BufRead, BufReader, IsTerminal, Read, Write};
use std::path::PathBuf;

/// Limit on the line with the API key, in bytes.
const LONGEST: u64 = 4096;

#[derive(Debug, clap::Subcommand)]
pub enum Command {
    /// Add an account at a vendor
    Add(AddArgs),
    /// Show what an account has, as its vendor says
    Show(ShowArgs),
    /// List the accounts
    List(ListArgs),
    /// Remove an account and its API key
    Remove(RemoveArgs),
    /// Remember whose stamps a recipient takes, and of what value
    Prefer(PreferArgs),
}

/// Add an account at a vendor. Asks for the API key on the terminal, or reads it from standard input.
///
/// Fetches the name and the price of the vendor, and checks that the vendor knows the key.
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:\n  \
    mailstamp account add shop --url https://shop.stamps.example\n  \
    mailstamp account add shop --url https://shop.stamps.example --key-file key")]
pub struct AddArgs {
    /// Your name for it
    #[arg(value_name = "NAME")]
    name: String,
    /// The address of the vendor's service [default: the stored one, with --replace]
    #[arg(long, value_name = "URL", required_unless_present = "replace")]
    url: Option<String>,
    /// The vendor's name in stamps [default: the name that the service reports]
    #[arg(long, value_name = "VENDOR")]
    vendor: Option<String>,
    /// Read the API key from this file
    #[arg(long, value_name = "FILE")]
    key_file: Option<PathBuf>,
    /// Replace the account of the same name
    #[arg(long)]
    replace: bool,
    /// Do not contact the vendor; needs --vendor
    #[arg(long, requires = "vendor")]
    offline: bool,
}

/// Show the balance and the limits of an account, as its vendor reports them, and your own caps.
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:\n  mailstamp account show\n  mailstamp account show shop --json")]
pub struct ShowArgs {
    /// The account [default: the only one]
    #[arg(value_name = "NAME")]
    name: Option<String>,
    /// Print a JSON object
    #[arg(long)]
    json: bool,
}

/// List the accounts, without contacting any vendor.
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:\n  mailstamp account list\n  mailstamp account list --json")]
pub struct ListArgs {
    /// Print a JSON object
    #[arg(long)]
    json: bool,
}

/// Remove an account and its API key from this machine. Its credits stay at the vendor; its stamps stay in the wallet.
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:\n  mailstamp account remove shop")]
pub struct RemoveArgs {
    /// The account
    #[arg(value_name = "NAME")]
    name: String,
}

/// Remember whose stamps a recipient takes, and of what value.
///
/// With --from-challenge, both are read from an automatic reply that asks for a stamp, on standard input. The
/// configuration takes precedence, and your caps hold whatever a challenge asks.
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:\n  \
    mailstamp account prefer bob@y.example --vendor stamps.example --value 2\n  \
    mailstamp account prefer --from-challenge < reply\n  \
    mailstamp account prefer bob@y.example --forget\n  \
    mailstamp account prefer")]
pub struct PreferArgs {
    /// The recipient; without one, the remembered preferences are listed
    #[arg(value_name = "ADDRESS", conflicts_with = "from_challenge")]
    recipient: Option<Address>,
    /// A vendor whose stamps the recipient takes; may be given more than once, the best first
    #[arg(long, value_name = "VENDOR")]
    vendor: Vec<String>,
    /// The credits that the recipient asks
    #[arg(long, value_name = "CREDITS", value_parser = clap::value_parser!(u64).range(1..))]
    value: Option<u64>,
    /// Read a challenge on standard input
    #[arg(long, conflicts_with_all = ["vendor", "value", "forget"])]
    from_challenge: bool,
    /// Forget the remembered preference
    #[arg(long, requires = "recipient", conflicts_with_all = ["vendor", "value"])]
    forget: bool,
}

pub fn run(command: &Command, given: &CliOverrides) -> Result<u8, Failure> {
    let context = Context::load(given, None)?;
    let sender = StampSource::new(&context.config, &context.places)?;
    match command {
        Command::Add(args) => add(args, &context, &sender),
        Command::Show(args) => show(args, &context, &sender),
        Command::List(args) => list(args, &sender),
        Command::Remove(args) => {
            sender.accounts().remove(&args.name)?;
            Ok(0)
        }
        Command::Prefer(args) => prefer(args, &sender),
    }
}

fn add(args: &AddArgs, context: &Context, sender: &StampSource) -> Result<u8, Failure> {
    let accounts = sender.accounts();
    account::check_name(&args.name)?;
    let before = accounts.get(&args.name).ok();
    if before.is_some() && !args.replace {
        return Err(
            Failure::new(DATA, format!("account {:?} exists already", args.name)).hint("replace it with --replace")
        );
    }
    let url = args.url.clone().or_else(|| before.as_ref().map(|it| it.url.clone()));
    let url = url.ok_or_else(|| Failure::new(USAGE, format!("there is no account {:?}: give --url", args.name)))?;
    account::check_url(&url)?;
    let key = key(args)?;
    account::check_key(&key)?;
    let (vendor, price) = if args.offline {
        (args.vendor.clone().unwrap_or_default(), None)
    } else {
        let time = context.config.sender.timeout;
        let said = vendor_client::prices(&args.name, &url, time).map_err(|error| failure(&error))?;
        if let Some(vendor) = args.vendor.as_ref().filter(|vendor| **vendor != said.vendor) {
            return Err(Failure::new(DATA, format!("{url} is the service of {:?}, not of {vendor:?}", said.vendor)));
        }
        (said.vendor, said.price.parse().ok())
    };
    let account = Account::new(&args.name, &url, &vendor, price, key)?;
    if !args.offline {
        let standing =
            vendor_client::standing(&account, context.config.sender.timeout).map_err(|error| failure(&error))?;
        output::line(&format!("{}: {} at {}", account.name, counted(standing.balance, "credit"), account.vendor))?;
    }
    accounts.put(&account, args.replace)?;
    Ok(0)
}

fn show(args: &ShowArgs, context: &Context, sender: &StampSource) -> Result<u8, Failure> {
    let account = match &args.name {
        Some(name) => sender.accounts().get(name)?,
        None => {
            let mut all = sender.accounts().list()?;
            let usual = context.config.sender.account.clone();
            let at = all.iter().position(|account| usual.as_ref() == Some(&account.name));
            match (at, all.len()) {
                (Some(at), _) => all.swap_remove(at),
                (None, 1) => all.swap_remove(0),
                (None, 0) => return Err(Failure::new(CONFIG, "there is no account").hint("run mailstamp account add")),
                (None, _) => return Err(Failure::new(USAGE, "there are several accounts: name one")),
            }
        }
    };
    let settings = &context.config.sender;
    let standing = vendor_client::standing(&account, settings.timeout).map_err(|error| failure(&error))?;
    let caps = &standing.caps;
    if args.json {
        let object = json!({
            "schema": output::SCHEMA,
            "account": account.name,
            "vendor": account.vendor,
            "url": account.url,
            "price": account.price.as_ref().map(ToString::to_string),
            "balance": standing.balance,
            "spent_today": standing.spent_today,
            "vendor_caps": caps,
            "own_caps": {
                "credits_per_hour": settings.credits_per_hour,
                "credits_per_day": settings.credits_per_day,
                "credits_per_recipient": settings.credits_per_recipient,
            },
        });
        output::line(&object.to_string())?;
        return Ok(0);
    }
    let price = account.price.as_ref().map_or_else(|| "unknown".to_owned(), ToString::to_string);
    for (name, value) in [
        ("vendor", account.vendor.clone()),
        ("service", account.url.clone()),
        ("price", price),
        ("balance", format!("{} credits", standing.balance)),
        ("spent today", format!("{} credits", standing.spent_today)),
        ("vendor's caps", format!("{} credits a stamp, {} a day, {} days", caps.value, caps.credits_a_day, caps.days)),
        (
            "your caps",
            format!(
                "{} credits an hour, {} a day, {} a day for one recipient",
                settings.credits_per_hour, settings.credits_per_day, settings.credits_per_recipient
            ),
        ),
    ] {
        output::line(&format!("{name:<14} {value}"))?;
    }
    Ok(0)
}

fn list(args: &ListArgs, sender: &StampSource) -> Result<u8, Failure> {
    let accounts = sender.accounts().list()?;
    let price = |account: &Account| account.price.as_ref().map(ToString::to_string);
    if args.json {
        let accounts: Vec<Value> = accounts
            .iter()
            .map(|it| json!({ "account": it.name, "vendor": it.vendor, "url": it.url, "price": price(it) }))
            .collect();
        output::line(&json!({ "schema": output::SCHEMA, "accounts": accounts }).to_string())?;
        return Ok(0);
    }
    let mut table = Table::new(&["account", "vendor", "service", "price"], 4);
    for it in &accounts {
        table.row([it.name.clone(), it.vendor.clone(), it.url.clone(), price(it).unwrap_or_default()]);
    }
    for line in table.lines() {
        output::line(&line)?;
    }
    if accounts.is_empty() {
        output::note("there is no account; mailstamp account add adds one");
    }
    Ok(0)
}

fn prefer(args: &PreferArgs, sender: &StampSource) -> Result<u8, Failure> {
    let wallet = sender.wallet();
    if args.from_challenge {
        let input = input::message(1 << 20)?;
        let (recipient, learned) = challenge(&input.bytes).ok_or_else(|| {
            Failure::new(DATA, "not a challenge in mailstamp's default wording")
                .hint("set it by hand: mailstamp account prefer ADDRESS --vendor VENDOR --value CREDITS")
        })?;
        wallet.learn(&recipient, Some(&learned))?;
        let value = learned.value.unwrap_or(1);
        output::line(&format!("{recipient}: {}, of {}", counted(value, "credit"), learned.vendors.join(", ")))?;
        return Ok(0);
    }
    let Some(recipient) = &args.recipient else {
        let mut table = Table::new(&["recipient", "vendors", "credits"], 2);
        let all = wallet.learned()?;
        if all.is_empty() {
            output::note("no recipient has a preference; mailstamp account prefer ADDRESS sets one");
        }
        for (recipient, learned) in all {
            let value = learned.value.map(|value| value.to_string()).unwrap_or_default();
            table.row([recipient, learned.vendors.join(", "), value]);
        }
        for line in table.lines() {
            output::line(&line)?;
        }
        return Ok(0);
    };
    if !args.forget && args.vendor.is_empty() && args.value.is_none() {
        return Err(Failure::new(USAGE, "give --vendor, --value or --forget"));
    }
    let learned = RecipientPreference { vendors: args.vendor.clone(), value: args.value };
    wallet.learn(recipient, (!args.forget).then_some(&learned))?;
    Ok(0)
}

/// Reads a challenge in mailstamp's default wording: `Get a stamp of at least N credits for the recipient`, the
/// recipient's address, and a line beginning with `*` for each vendor.
fn challenge(raw: &[u8]) -> Option<(Address, RecipientPreference)> {
    let message = Message::parse(raw);
    let text = shown_text(&message)?.head;
    let mut lines = text.lines().map(str::trim);
    let value =
        lines.find_map(|line| line.strip_prefix("1. Get a stamp of at least ")?.split(' ').next()?.parse().ok())?;
    let recipient = lines.find(|line| !line.is_empty())?;
    let recipient = Address::parse(recipient).ok()?;
    let vendor = |line: &str| {
        let name = line.strip_prefix("* ")?.split([':', ' ']).next()?;
        crate::stamp::token::Issuer::new(name, "k").ok().map(|issuer| issuer.vendor().to_owned())
    };
    let vendors: Vec<String> = lines.take_while(|line| !line.starts_with("2. ")).filter_map(vendor).collect();
    (value > 0).then_some((recipient, RecipientPreference { vendors, value: Some(value) }))
}

/// Reads the API key: from the file, else from the terminal, else from standard input.
fn key(args: &AddArgs) -> Result<Secret, Failure> {
    let line = match &args.key_file {
        Some(path) => file::read_secret(path).map_err(|error| Failure::new(NO_INPUT, error))?,
        None if io::stdin().is_terminal() => prompted()?,
        None => input::stdin()
            .and_then(|stdin| first_line(stdin.lock()))
            .map_err(|error| Failure::input(NO_INPUT, &error))?,
    };
    let line = zeroize::Zeroizing::new(line);
    Ok(Secret::new(line.trim().to_owned()))
}

fn first_line(from: impl Read) -> io::Result<String> {
    let mut line = String::new();
    BufReader::with_capacity(512, from.take(LONGEST)).read_line(&mut line)?;
    Ok(line)
}

/// Switches the echo of the terminal off, until dropped.
struct Silent(File, Termios);

impl Drop for Silent {
    fn drop(&mut self) {
        // If the terminal is gone, there is nothing to restore.
        let _ = tcsetattr(&self.0, OptionalActions::Flush, &self.1);
    }
}

fn prompted() -> Result<String, Failure> {
    let asked = || -> io::Result<String> {
        let mut terminal = File::options().read(true).write(true).open("/dev/tty")?;
        let before = tcgetattr(&terminal)?;
        let mut silent = before.clone();
        silent.local_modes.remove(LocalModes::ECHO);
        silent.local_modes.insert(LocalModes::ECHONL);
        let guard = Silent(terminal.try_clone()?, before);
        tcsetattr(&terminal, OptionalActions::Flush, &silent)?;
        terminal.write_all(b"API key: ")?;
        let line = first_line(&terminal);
        drop(guard);
        line
    };
    asked().map_err(|error| Failure::new(NO_INPUT, format!("cannot ask for the API key: {error}")))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::autoreply::eligibility::Kind;
    use crate::autoreply::template::{Template, Values, VendorOffer};

    #[test]
    fn a_challenge_of_our_own_is_understood() {
        let values = Values {
            address: Address::parse("alice@x.example").ok(),
            price: 5,
            vendors: vec![
                VendorOffer { vendor: "v.example".into(), buy: Some("https://v.example/buy".into()) },
                VendorOffer { vendor: "w.example".into(), buy: None },
            ],
            ..Values::default()
        };
        let text = Template::default_of(Kind::Challenge).fill(&values);
        let (recipient, learned) = challenge(format!("Subject: x\n\n{text}").as_bytes()).unwrap();
        assert_eq!(recipient.to_string(), "alice@x.example");
        assert_eq!(
            learned,
            RecipientPreference { vendors: vec!["v.example".into(), "w.example".into()], value: Some(5) }
        );
        let one = Template::default_of(Kind::Challenge).fill(&Values { price: 1, ..values });
        assert_eq!(challenge(format!("A: b\n\n{one}").as_bytes()).unwrap().1.value, Some(1));
        // A long link makes the reply quoted-printable.
        let encoded = quoted_printable::encode_to_str(&text);
        let raw = format!("Content-Transfer-Encoding: quoted-printable\n\n{encoded}");
        assert_eq!(challenge(raw.as_bytes()).unwrap(), (recipient, learned));
        assert!(challenge(b"Subject: x\n\nGet a stamp of at least 5 credits\n").is_none());
        assert!(challenge(b"").is_none());
    }
}
