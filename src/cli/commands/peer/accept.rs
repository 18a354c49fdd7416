//! `mailstamp peer accept`: the user decides which key is a correspondent's.

use super::{Correspondent, shown};
use crate::cli::ui::exit_status::{DATA, Failure};
use crate::cli::ui::output;
use crate::context::Context;
use crate::message::header::readable;
use crate::peer::announcement::Announcement;
use crate::peer::key_id;
use crate::peer::key_ring::{Evidence, KeyRing, KeyState, Sighting};
use crate::peer::record::PeerRecord;
use crate::stamp::signing::PublicKey;
use crate::store::change_peer;
use crate::time::UnixTime;
use serde_json::json;

/// Accept a key of a correspondent: one that waits for you, or one that they gave you by other means.
///
/// Compare it with your correspondent first. From then on their stamps open your mailbox, and yours go to this key.
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:\n  \
    mailstamp peer accept bob@y.example\n  \
    mailstamp peer accept bob@y.example rJ2yyXzmT4A\n  \
    mailstamp peer accept bob@y.example v4.public.…")]
pub struct Args {
    #[command(flatten)]
    pub(super) of: Correspondent,
    /// The key: its short name or public half, as "peer show" prints them, or the announcement that your correspondent's
    /// "peer key show --json" prints [default: the only one that waits]
    // A short name may begin with a hyphen.
    #[arg(value_name = "KEY", allow_hyphen_values = true)]
    key: Option<String>,
}

pub(super) fn run(args: &Args, context: &Context) -> Result<u8, Failure> {
    let owner = args.of.owner(context)?;
    let address = &args.of.address;
    let log = context.used_log()?;
    let before = log.peer(owner, address)?;
    let announced = args.key.as_deref().filter(|key| key.starts_with("v4.public."));
    let choice = match announced {
        Some(text) => Choice::Announced(announcement(text, args)?),
        None if before == PeerRecord::default() => {
            let by_key = "the first key of a correspondent is taken with the whole announcement, which their \"peer key show \
                          --json\" prints";
            return Err(if args.key.is_some() { args.of.unknown().hint(by_key) } else { args.of.unknown() });
        }
        None => Choice::Known(chosen(&before, args)?),
    };
    let accepted = |record: &PeerRecord| Some(accepted(record, &choice, context.now));
    let Some(after) = change_peer(log.as_ref(), owner, address, context.now, &mut |record| accepted(record))? else {
        return Err(Failure::new(DATA, "there are as many correspondents as can be; drop one first"));
    };
    let Some(known) = after.ring.known() else {
        return Err(Failure::new(DATA, "the key is no longer known; try again"));
    };
    let (key, is_new) = (known.keys.signing, before.ring.known() != after.ring.known());
    let what = if is_new { "accepted" } else { "was accepted already" };
    output::line(&match args.of.common.json {
        true => json!({
            "schema": output::SCHEMA,
            "address": address.normalized(),
            "key": key.to_string(),
            "id": key_id(&key),
            "result": what,
        })
        .to_string(),
        false => format!("{}: key {} {what}", shown(address), key_id(&key)),
    })?;
    Ok(0)
}

/// The key that the user means.
enum Choice {
    /// One of the record.
    Known(PublicKey),
    /// One that the user brought.
    Announced(Box<Announcement>),
}

fn announcement(text: &str, args: &Args) -> Result<Box<Announcement>, Failure> {
    let announcement = Announcement::parse(text).map_err(|error| Failure::new(DATA, error))?;
    if announcement.address != args.of.address {
        let (theirs, given) = (shown(&announcement.address), shown(&args.of.address));
        return Err(Failure::new(DATA, format!("this announcement is of {theirs}, not of {given}")));
    }
    Ok(Box::new(announcement))
}

/// Returns the key of the record that the user named, or the only one that waits.
fn chosen(record: &PeerRecord, args: &Args) -> Result<PublicKey, Failure> {
    let keys = record.ring.keys();
    let waiting = |state: KeyState| match record.ended {
        Some(_) => state == KeyState::Dropped,
        None => matches!(state, KeyState::New | KeyState::Changed),
    };
    let named: Vec<PublicKey> = match args.key.as_deref() {
        Some(name) => {
            let is = |key: &PublicKey| key_id(key) == name || key.to_string() == name;
            keys.iter().map(|own| own.keys.signing).filter(is).collect()
        }
        None => keys.iter().filter(|own| waiting(own.state)).map(|own| own.keys.signing).collect(),
    };
    let shown = shown(&args.of.address);
    match (&named[..], &args.key) {
        ([key], _) => Ok(*key),
        (_, Some(name)) => {
            let failure = Failure::new(DATA, format!("{shown}: no key {}", readable(name.as_bytes(), 100)));
            Err(failure.hint("mailstamp peer show lists the keys; another one needs the whole announcement"))
        }
        ([], None) => {
            let failure = Failure::new(DATA, format!("{shown}: no key waits to be accepted"));
            let forget = "mailstamp peer drop forgets that you ended it, and the next message begins anew";
            Err(if record.ended.is_some() { failure.hint(forget) } else { failure })
        }
        (_, None) => {
            let names: Vec<String> = named.iter().map(key_id).collect();
            let failure = Failure::new(DATA, format!("{shown}: several keys wait: {}", names.join(", ")));
            Err(failure.hint("ask your correspondent which one is right, and name it"))
        }
    }
}

/// Returns the record after the user's decision. The user's word makes a contact, too.
fn accepted(record: &PeerRecord, choice: &Choice, now: UnixTime) -> PeerRecord {
    let ring: Option<KeyRing> = match choice {
        Choice::Known(key) => record.ring.accept(key, now),
        Choice::Announced(seen) => {
            let by = Sighting { now, from: None, is_contact: true, is_automatic: false, evidence: Evidence::User };
            record.ring.learn(seen, &by).0
        }
    };
    let ring = ring.unwrap_or_else(|| record.ring.clone());
    // The owner of another key may not know any more what an earlier one signed.
    let is_same = ring.known().map(|own| own.keys.signing) == record.ring.known().map(|own| own.keys.signing);
    PeerRecord {
        contact: record.contact.or(Some(now)),
        held: if is_same { record.held.clone() } else { Vec::new() },
        ring,
        ended: None,
        used: Some(now),
        ..record.clone()
    }
}
