//! `mailstamp affix`: puts a stamp on a message: a given one, or with `--buy` one from the wallet or the vendor.

use crate::cli::ui::exit_status::{DATA, Failure, NO_INPUT, USAGE};
use crate::cli::ui::{acceptance, input};
use crate::config::paths::CliOverrides;
use crate::context::Context;
use crate::grant::{Grant, StampStatus};
use crate::message::edit::Edit;
use crate::message::parse::Message;
use crate::os::{clock, random};
use crate::stamp::affix::affix;
use crate::stamp::claims::Stamp;
use crate::stamp::extract::Place;
use crate::stamp::token::Token;
use std::io::{self, Write};
use std::path::PathBuf;
#[cfg(feature = "sender")]
use {
    crate::cli::ui::purchase,
    crate::message::address::{Address, addresses},
    crate::message::fingerprint::Fingerprint,
    crate::sender::error::SupplyError,
    crate::sender::peers::{CopyFields, Correspondent, Exchange, ExchangeError},
    crate::sender::stamp_request::{ReservationKey, StampRequest},
    crate::sender::stamp_source::StampSource,
    crate::time::UnixTime,
    std::sync::Arc,
};

/// Read a message on standard input and write it to standard output with a stamp on it.
///
/// A missing Date or Message-ID is added; nothing else is changed. You give the stamp, or with --buy it comes from the
/// wallet or is bought now. The same message to the same recipient gets the same stamp again. Send each recipient a
/// separate copy with its own stamp, since anyone who can read a stamp can use it.
#[derive(Debug, clap::Args)]
#[command(
    override_usage = "mailstamp affix [OPTIONS] < MESSAGE",
    after_help = "Examples:\n  \
    mailstamp affix --stamp-file stamp < message | sendmail -i -- someone@far.example\n  \
    mailstamp affix --stamp-file stamp --place body < message > stamped\n  \
    mailstamp affix --buy --to someone@far.example < message | sendmail -i -- someone@far.example"
)]
pub struct Args {
    /// The stamp
    #[arg(long, value_name = "STAMP", conflicts_with = "stamp_file")]
    stamp: Option<String>,
    /// Read the stamp from this file, which keeps it out of the list of processes
    #[arg(long, value_name = "FILE")]
    stamp_file: Option<PathBuf>,
    /// Take it from the wallet, or buy it
    #[cfg(feature = "sender")]
    #[arg(long, conflicts_with_all = ["stamp", "stamp_file"])]
    buy: bool,
    /// The recipient of the stamp that --buy gets [default: the only one in To and Cc]
    #[cfg(feature = "sender")]
    #[arg(long, value_name = "ADDRESS", requires = "buy")]
    to: Option<Address>,
    /// Where to put it
    #[arg(long, value_enum, default_value_t = Where::Header)]
    place: Where,
    /// Let the recipient use the stamp in a reply: log a grant for it, and mark the stamp
    #[arg(long = "return")]
    for_return: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
enum Where {
    /// In the header field Digital-Stamp
    Header,
    /// In an armoured block at the beginning of the text
    Body,
    /// At the end of the Subject
    Subject,
}

/// Runs the command.
///
/// # Errors
/// A failure when the stamp is invalid, or cannot be placed there.
pub fn run(args: &Args, given: &CliOverrides) -> Result<u8, Failure> {
    #[cfg(feature = "sender")]
    if args.buy {
        return buy(args, given);
    }
    let stamp = match (&args.stamp, &args.stamp_file) {
        (Some(stamp), _) => stamp.clone(),
        (None, Some(path)) => {
            let read = input::open(path).and_then(io::read_to_string);
            read.map_err(|error| Failure::new(NO_INPUT, format!("{}: {error}", path.display())))?
        }
        (None, None) => {
            return Err(Failure::new(USAGE, "no stamp was given").hint("give --stamp-file FILE, or buy one with --buy"));
        }
    };
    let stamp = stamp.trim();
    let file = args.stamp_file.as_ref().map(|path| format!("{}: ", path.display())).unwrap_or_default();
    let token = Token::parse(stamp).map_err(|error| Failure::new(DATA, format!("{file}not a stamp: {error}")))?;
    let input = input::message(u64::MAX)?;
    put_on(args, &Message::parse(&input.bytes), Some(&token), |_| (), given)?;
    Ok(0)
}

/// Gets a stamp and puts it on the message. The wallet reserves it until the whole message is written, and then marks
/// it used.
#[cfg(feature = "sender")]
fn buy(args: &Args, given: &CliOverrides) -> Result<u8, Failure> {
    let input = input::message(u64::MAX)?;
    let message = Message::parse(&input.bytes);
    let recipient = match &args.to {
        Some(recipient) => recipient.clone(),
        None => only_recipient(&message)?,
    };
    // Checked before any payment.
    if place_for(args, &message, "v4.public.").is_none() && args.place == Where::Body {
        return Err(no_place());
    }
    let context = Context::load(given, None)?;
    let sender = StampSource::new(&context.config, &context.places)?;
    purchase::sweep(&sender, &context)?;
    let raw = with_missing(&message)?;
    let whole = Message::parse(&raw);
    let log = || Ok(Arc::from(context.used_log()?));
    // A use is signed in a field of its own, so such a stamp stands in the header.
    let name = Fingerprint::of(&whole).0.to_vec();
    let exchange = Exchange::begin(&context, &whole, None, name)?.filter(|_| args.place == Where::Header);
    let known = exchange.as_ref().map(|exchange| exchange.look(&*context.used_log()?, &recipient)).transpose()?;
    let key = ReservationKey::of(&Fingerprint::of(&message).0, &recipient);
    let is_given = known.as_ref().is_some_and(Correspondent::is_stamped);
    let token = if is_given { None } else { Some(acquire(&sender, &key, &recipient, context.now)?) };
    let peer = exchange.as_ref().zip(known.as_ref());
    let peer = peer.map(|(exchange, known)| Ok((exchange, exchange.prepare(&log, known, token.is_some())?)));
    let peer: Option<(&Exchange<'_>, CopyFields)> = peer.transpose().map_err(|error: ExchangeError| error)?;
    let more = |edit: &mut Edit<'_>| {
        peer.iter().for_each(|(exchange, fields)| exchange.put(edit, fields, &recipient, whole.newline()));
    };
    if let Err(failure) = put_on(args, &whole, token.as_ref(), more, given) {
        if failure.code == DATA {
            // Nothing was written, so the stamp can serve another message.
            sender.wallet().give_back(&key)?;
        }
        return Err(failure);
    }
    sender.wallet().commit(&key, context.now)?;
    if message.first("Message-ID").is_none() {
        // The mail system will add a Message-ID, and the next message that looks like this one is another.
        sender.wallet().forget(&key)?;
    }
    if let Some((exchange, fields)) = peer.filter(|(_, fields)| fields.is_told()) {
        exchange.told(&*context.used_log()?, &recipient, &fields, true)?;
    }
    Ok(0)
}

/// Gets a stamp from the wallet or the vendor.
#[cfg(feature = "sender")]
fn acquire(source: &StampSource, key: &ReservationKey, to: &Address, now: UnixTime) -> Result<Token, Failure> {
    let want = StampRequest::new(key.clone(), to.clone());
    let answer = source.acquire(std::slice::from_ref(&want), now).into_iter().next();
    let answer = answer.unwrap_or_else(|| Err(SupplyError::Ours("there was no answer".to_owned())));
    Ok(answer.map_err(|error| purchase::failure(&error))?.token)
}

/// Returns the recipient in To and Cc, if there is exactly one.
#[cfg(feature = "sender")]
fn only_recipient(message: &Message<'_>) -> Result<Address, Failure> {
    let fields = message.fields().filter(|field| field.name_is("To") || field.name_is("Cc"));
    let mut found: Vec<Address> = fields.flat_map(|field| addresses(&field.unfolded())).collect();
    found.sort_by_key(Address::canonical);
    found.dedup_by_key(|address| address.canonical());
    match (found.pop(), found.is_empty()) {
        (Some(recipient), true) => Ok(recipient),
        (None, _) => Err(Failure::new(DATA, "To and Cc name no recipient").hint("name the recipient with --to")),
        (Some(_), false) => Err(Failure::new(DATA, "To and Cc name several recipients")
            .hint("send one copy to each, each with its own stamp; name the recipient of this one with --to")),
    }
}

/// Writes the message with the stamp, and with what `more` puts on it.
fn put_on<'a>(
    args: &Args,
    message: &Message<'a>,
    token: Option<&Token>,
    more: impl FnOnce(&mut Edit<'a>),
    given: &CliOverrides,
) -> Result<(), Failure> {
    let mark = if args.for_return { "; reuse=return" } else { "" };
    let mut edit = match token {
        Some(token) => place_for(args, message, &format!("{}{mark}", token.as_str())).ok_or_else(no_place)?,
        None => Edit::new(message),
    };
    insert_missing(&mut edit, message)?;
    more(&mut edit);
    if let Some(token) = token {
        acceptance::note_long_window(token, clock::now());
        if args.for_return {
            log_for_return(token, given)?;
        }
    }
    let mut stdout = io::stdout().lock();
    for piece in edit.pieces() {
        stdout.write_all(piece)?;
    }
    stdout.flush()?;
    Ok(())
}

fn insert_missing<'a>(edit: &mut Edit<'a>, message: &Message<'a>) -> Result<(), Failure> {
    let author = message.authors().into_iter().next();
    let domain = author.as_ref().map_or("localhost", |author| author.domain());
    let mut number = [0; 16];
    random::fill(&mut number)?;
    edit.insert_missing(message, clock::now(), number, domain);
    Ok(())
}

/// Returns the message with the fields that it lacks, for which a use is signed.
#[cfg(feature = "sender")]
fn with_missing(message: &Message<'_>) -> Result<Vec<u8>, Failure> {
    let mut edit = Edit::new(message);
    insert_missing(&mut edit, message)?;
    Ok(edit.to_vec())
}

fn place_for<'a>(args: &Args, message: &Message<'a>, stamp: &str) -> Option<Edit<'a>> {
    let place = match args.place {
        Where::Header => Place::Header,
        Where::Body => Place::Body,
        Where::Subject => Place::Subject,
    };
    affix(message, place, stamp)
}

fn no_place() -> Failure {
    Failure::new(DATA, "a stamp does not fit into the body or subject of this message")
        .hint("put it into the header: --place header")
}

/// Logs the grant. Only the log counts: the mark in the message alone gives nothing (paper, protocol step 3).
fn log_for_return(token: &Token, given: &CliOverrides) -> Result<(), Failure> {
    let not_a_stamp = |error: &dyn std::fmt::Display| Failure::new(DATA, format!("not a stamp: {error}"));
    let issuer = token.issuer().map_err(|error| not_a_stamp(&error))?;
    let stamp = Stamp::read(token.payload()).map_err(|error| not_a_stamp(&error))?;
    let context = Context::load(given, None)?;
    let grant = Grant::for_return(context.now, stamp.expires);
    let granted = |before: &StampStatus| StampStatus { grant: Some(grant.clone()), ..before.clone() };
    let log = context.used_log()?;
    log.update_status(issuer.vendor(), &stamp.serial, &mut |before| granted(before))?;
    Ok(())
}
