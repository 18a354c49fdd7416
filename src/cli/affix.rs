//! `mailstamp affix`: put a stamp that one has on a message. Buying one is the sender's side and comes later.

use super::exit::{DATA, Failure, NO_INPUT, USAGE};
use super::input;
use crate::config::places::Given;
use crate::filter::open;
use crate::grant::{Grant, GrantKind, Standing};
use crate::mail::message::Message;
use crate::stamp::affix::affix;
use crate::stamp::claims::Stamp;
use crate::stamp::locate::Place;
use crate::stamp::wire::Token;
use std::fs;
use std::io::{self, Write};
use std::path::PathBuf;

/// Read a message on standard input and write it to standard output with a stamp on it.
///
/// Nothing else is changed. The stamp is one that you have, from `mailstamp vendor issue` or a vendor. Send one copy to each
/// recipient, each with its own stamp: who can read a stamp can use it.
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:\n  \
    mailstamp affix --stamp-file stamp < message | sendmail -i -- someone@far.example\n  \
    mailstamp affix --stamp-file stamp --place body < message > stamped")]
pub struct Args {
    /// The stamp
    #[arg(long, value_name = "STAMP", required_unless_present = "stamp_file", conflicts_with = "stamp_file")]
    stamp: Option<String>,
    /// Read the stamp from this file, so that it shows in no list of processes
    #[arg(long, value_name = "FILE")]
    stamp_file: Option<PathBuf>,
    /// Where to put it
    #[arg(long, value_enum, default_value_t = Where::Header)]
    place: Where,
    /// Let the stamp come back with a reply: log a grant for it, and say so beside the stamp
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
/// A failure when the stamp is none, or cannot be put there.
pub fn run(args: &Args, given: &Given) -> Result<u8, Failure> {
    let stamp = match (&args.stamp, &args.stamp_file) {
        (Some(stamp), _) => stamp.clone(),
        (None, Some(path)) => {
            fs::read_to_string(path).map_err(|error| Failure::new(NO_INPUT, format!("{}: {error}", path.display())))?
        }
        (None, None) => return Err(Failure::new(USAGE, "no stamp was given")),
    };
    let stamp = stamp.trim();
    let token = Token::parse(stamp).map_err(|error| Failure::new(DATA, format!("this is not a stamp: {error}")))?;
    let place = match args.place {
        Where::Header => Place::Header,
        Where::Body => Place::Body,
        Where::Subject => Place::Subject,
    };
    let input = input::read(u64::MAX)?;
    let message = Message::parse(&input.bytes);
    let mark = if args.for_return { "; reuse=return" } else { "" };
    let edit = affix(&message, place, &format!("{}{mark}", token.as_str()))
        .ok_or_else(|| Failure::new(DATA, "there is no place for a stamp in the body or subject of this message"))
        .map_err(|failure| failure.hint("put it into the header: --place header"))?;
    if args.for_return {
        log_for_return(&token, given)?;
    }
    let mut stdout = io::stdout().lock();
    for piece in edit.pieces() {
        stdout.write_all(piece)?;
    }
    stdout.flush()?;
    Ok(0)
}

/// The grant is what the log says; the mark in the message alone gives nothing (paper, protocol step 3).
fn log_for_return(token: &Token, given: &Given) -> Result<(), Failure> {
    let not_a_stamp = |error: &dyn std::fmt::Display| Failure::new(DATA, format!("this is not a stamp: {error}"));
    let issuer = token.issuer().map_err(|error| not_a_stamp(&error))?;
    let stamp = Stamp::read(token.payload()).map_err(|error| not_a_stamp(&error))?;
    let engine = open::engine(given, None)?;
    let grant = Grant::new(GrantKind::Return, engine.now);
    let granted = |before: &Standing| Standing { grant: Some(grant.clone()), ..before.clone() };
    let log = open::used_log(&engine.config, &engine.places)?;
    log.change_standing(issuer.vendor(), &stamp.serial, &mut |before| granted(before))?;
    Ok(())
}
