//! `mailstamp peer list` and `peer show`: the correspondents who have keys of their own, and the stamps given and held.

use super::{Common, Correspondent, lists, shown};
use crate::cli::commands::correspondents::{owner_named, owner_text};
use crate::cli::ui::exit_status::{Failure, NO_INPUT};
use crate::cli::ui::output;
use crate::context::Context;
use crate::directory::pinned_lists::{Lists, PinnedKey, PinnedLists};
use crate::message::address::Address;
use crate::message::header::readable;
use crate::peer::key_id;
use crate::peer::key_ring::{KeyState, PeerKey};
use crate::peer::record::PeerRecord;
use crate::store::Peer;
use crate::time::UnixTime;
use serde_json::{Value, json};
use std::ops::ControlFlow;

/// List the correspondents whose keys are known, or who are known well enough to be told yours, and then the mailing
/// lists whose keys are pinned.
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:\n  mailstamp peer list\n  mailstamp peer list --json y.example")]
pub struct ListArgs {
    /// Only those whose address contains this
    #[arg(value_name = "TEXT")]
    text: Option<String>,
    /// Only those of this owner: a name, or an address
    #[arg(long, value_name = "OWNER")]
    owner: Option<String>,
    #[command(flatten)]
    pub(super) common: Common,
}

/// Show a correspondent: the keys and what became of them, the stamps that you gave, and those that you hold.
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:\n  mailstamp peer show bob@y.example\n  mailstamp peer show --json bob@y.example")]
pub struct ShowArgs {
    #[command(flatten)]
    pub(super) of: Correspondent,
}

pub(super) fn list(args: &ListArgs, context: &Context) -> Result<u8, Failure> {
    let owner = args.owner.as_deref().map(|name| owner_named(context, Some(name))).transpose()?;
    let wanted = args.text.as_deref().map(str::to_lowercase);
    // Collected first: deliveries wait as long as the log is locked.
    let mut rows = Vec::new();
    context.used_log()?.peers(&mut |peer| {
        let is_named = |text: &String| peer.address.canonical().contains(text.as_str());
        if owner.is_none_or(|owner| owner == peer.owner) && wanted.as_ref().is_none_or(is_named) {
            rows.push(peer);
        }
        ControlFlow::Continue(())
    })?;
    let lists = lists(context)?;
    for peer in &rows {
        output::line(&if args.common.json {
            object(peer, &lists, context).to_string()
        } else {
            line(peer, &lists, context)
        })?;
    }
    let pinned = PinnedLists::read(context.places.state()?).map_err(|error| Failure::new(NO_INPUT, error))?;
    let mut count = rows.len();
    for (list, keys) in pinned.lists().filter(|(list, _)| wanted.as_ref().is_none_or(|text| list.contains(&**text))) {
        for own in keys {
            output::line(&if args.common.json { pinned_object(list, own) } else { pinned_line(list, own) })?;
            count += 1;
        }
    }
    if count == 0 && !args.common.json {
        output::note("no such correspondent is known");
    }
    Ok(0)
}

pub(super) fn show(args: &ShowArgs, context: &Context) -> Result<u8, Failure> {
    let owner = args.of.owner(context)?;
    let record = context.used_log()?.peer(owner, &args.of.address)?;
    if record == PeerRecord::default() {
        return Err(args.of.unknown());
    }
    let peer = Peer { owner, address: args.of.address.clone(), record };
    let lists = lists(context)?;
    if args.of.common.json {
        output::line(&object(&peer, &lists, context).to_string())?;
        return Ok(0);
    }
    output::line(&line(&peer, &lists, context))?;
    let record = &peer.record;
    for own in record.ring.keys() {
        output::line(&format!(
            "  key {}  {} since {}  {}",
            key_id(&own.keys.signing),
            word(own.state),
            own.since,
            own.keys.signing
        ))?;
    }
    for given in &record.given {
        let end = given.ended.map_or_else(|| format!("until {}", given.until), |at| format!("ended {at}"));
        output::line(&format!("  given {}  for mail to {}, {end}", given.serial, shown(&given.issuer)))?;
    }
    let pinned = lists.keys(&peer.address);
    for held in &record.held {
        let note = match held.is_genuine(&record.ring, &pinned) {
            Some(true) => "",
            Some(false) => "; not proven yet, so a bought stamp goes beside it",
            None if held.is_list => "; not used, since the key of the list that signed it is not pinned",
            None => "; not used, since nothing shows whose key signed it any more",
        };
        output::line(&format!(
            "  held {}  for mail to {}, until {}{note}",
            held.serial,
            shown(&held.audience),
            held.expires
        ))?;
    }
    for sealed in &record.sealed {
        let note = match record.ring.known() {
            _ if lists.is_list(&peer.address.canonical()) => "; it is opened when you next write to the list",
            None if !sealed.is_answer => {
                "; it came in no answer to you, so it waits until you accept the key, or for an answer"
            }
            _ => "",
        };
        output::line(&format!("  sealed  since {}{note}", sealed.at))?;
    }
    Ok(0)
}

fn pinned_line(list: &str, pinned: &PinnedKey) -> String {
    let (list, since) = (readable(list.as_bytes(), 600), pinned.since);
    format!("{list}  list, key {} pinned since {since}  {}", key_id(&pinned.key), pinned.key)
}

fn pinned_object(list: &str, pinned: &PinnedKey) -> String {
    json!({
        "schema": output::SCHEMA,
        "list": list,
        "id": key_id(&pinned.key),
        "key": pinned.key.to_string(),
        "since": pinned.since.to_string(),
    })
    .to_string()
}

/// Returns the word for what a correspondent is.
fn state(address: &Address, record: &PeerRecord, lists: &Lists) -> &'static str {
    let has = |state| record.ring.keys().iter().any(|own| own.state == state);
    match record {
        PeerRecord { ended: Some(_), .. } => "ended",
        _ if record.ring.forked().is_some() => "forked",
        _ if has(KeyState::Changed) => "changed",
        _ if has(KeyState::Known) => "known",
        _ if has(KeyState::New) => "new",
        _ if lists.is_list(&address.canonical()) || record.held.iter().any(|held| held.is_list) => "list",
        _ => "contact",
    }
}

fn word(state: KeyState) -> &'static str {
    match state {
        KeyState::New => "new",
        KeyState::Known => "known",
        KeyState::Changed => "changed",
        KeyState::Past => "past",
        KeyState::Revoked => "revoked",
        KeyState::Forked => "forked",
        KeyState::Dropped => "ended",
    }
}

fn line(Peer { owner, address, record }: &Peer, lists: &Lists, context: &Context) -> String {
    let owner = owner_text(context, *owner).map(|owner| format!(", of {}", readable(owner.as_bytes(), 600)));
    let given = record.standing(context.now).count();
    let held = record.held.iter().filter(|held| held.expires > context.now).count() + record.sealed.len();
    let used = record.used.map(|at| format!(", last {at}")).unwrap_or_default();
    let state = state(address, record, lists);
    let hint = match state {
        "changed" | "forked" => "  (another key: mailstamp peer accept)",
        _ => "",
    };
    format!("{}  {}, stamps given {given}, held {held}{used}{}{hint}", shown(address), state, owner.unwrap_or_default())
}

fn object(Peer { owner, address, record }: &Peer, lists: &Lists, context: &Context) -> Value {
    let time = |at: Option<UnixTime>| at.map(|at| at.to_string());
    let key = |own: &PeerKey| {
        json!({
            "id": key_id(&own.keys.signing),
            "key": own.keys.signing.to_string(),
            "state": word(own.state),
            "since": own.since.to_string(),
        })
    };
    let given: Vec<Value> = record
        .given
        .iter()
        .map(|given| {
            json!({
                "serial": given.serial.as_str(),
                "issuer": given.issuer.normalized(),
                "holder": key_id(&given.holder),
                "until": given.until.to_string(),
                "ended": time(given.ended),
            })
        })
        .collect();
    let pinned = lists.keys(address);
    let held: Vec<Value> = record
        .held
        .iter()
        .map(|held| {
            json!({
                "serial": held.serial.as_str(),
                "audience": held.audience.normalized(),
                "until": held.expires.to_string(),
                "proven": held.is_genuine(&record.ring, &pinned) == Some(true),
            })
        })
        .collect();
    json!({
        "schema": output::SCHEMA,
        "address": address.normalized(),
        "owner": owner_text(context, *owner),
        "state": state(address, record, lists),
        "contact": time(record.contact),
        "keys": record.ring.keys().iter().map(key).collect::<Vec<_>>(),
        "given": given,
        "held": held,
        "sealed": record.sealed.len(),
        "ended": time(record.ended),
        "last": time(record.used),
    })
}
