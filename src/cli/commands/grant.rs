//! `mailstamp grant`, `revoke` and `unrevoke`: the user's decisions about single stamps. Each command may be repeated,
//! and reports what it did.

use super::correspondents::StatusName;
use crate::cli::ui::exit_status::{DATA, Failure};
use crate::cli::ui::stamp_target::{self, Target};
use crate::cli::ui::{input, output};
use crate::config::paths::CliOverrides;
use crate::context::error::Deferral;
use crate::engine::feedback::StatusChange;
use crate::engine::judge::Engine;
use crate::grant::{Grant, GrantKind, StampStatus};
use crate::message::parse::Message;
use crate::stamp::serial::Serial;
use crate::store::{Store, is_known};
use crate::time::UnixTime;
use serde_json::{Value, json};

/// Allow a stamp to be used again: by a recipient who replies with it, or by the sender who sent it to you.
///
/// The command applies to the stamps on the message on standard input, unless you name one. Only stamps with a valid
/// signature count.
#[derive(Debug, clap::Args)]
#[command(
    override_usage = "mailstamp grant [OPTIONS] [< MESSAGE]",
    after_help = "Examples:\n  \
    mailstamp grant < message                          its sender may use its stamp again\n  \
    mailstamp grant --uses 5 --until 2027-01-01T00:00:00Z < message\n  \
    mailstamp grant --return --message-id '<1@near.example>'\n\n\
    Exit status: 0 done, or it was so already; 65 no stamp that counts, or a Message-ID of several\n\
    messages; 66 Message-ID not in the log"
)]
pub struct GrantArgs {
    #[command(flatten)]
    pub target: stamp_target::Args,
    /// Return use: you sent the stamp, and its recipient may use it in a reply
    #[arg(long = "return", conflicts_with = "multi_use")]
    for_return: bool,
    /// Multiple use: you received the stamp, and its sender may use it again (the default)
    #[arg(long)]
    multi_use: bool,
    /// The end of the grant (RFC 3339, or seconds since 1970)
    #[arg(long, value_name = "TIME")]
    until: Option<UnixTime>,
    /// The number of messages for which it is good
    #[arg(long, value_name = "COUNT", value_parser = clap::value_parser!(u32).range(1..=i64::from(Grant::USES_MAX)))]
    uses: Option<u32>,
    /// A note about it
    #[arg(long, value_name = "TEXT")]
    note: Option<String>,
    /// Print a JSON object
    #[arg(long)]
    json: bool,
}

/// Revoke a stamp, granted or not, seen before or not: messages with it are refused from now on.
///
/// The command applies to the stamps on the message on standard input, unless you name one. Only stamps with a valid
/// signature count.
#[derive(Debug, clap::Args)]
#[command(
    override_usage = "mailstamp revoke [OPTIONS] [< MESSAGE]",
    after_help = "Examples:\n  \
    mailstamp revoke < message\n  \
    mailstamp revoke --serial stamps.example/fxDLikkpogA4mtDnwZDBCg\n  \
    In mutt: macro index R '<pipe-message>mailstamp revoke<enter>'\n\n\
    Exit status: 0 done, or it was so already; 65 no stamp that counts, or a Message-ID of several\n\
    messages; 66 Message-ID not in the log"
)]
pub struct RevokeArgs {
    #[command(flatten)]
    pub target: stamp_target::Args,
    /// For a message moved to Junk or Trash: only stamps that this mailbox accepted on it, and status 0 if there is
    /// none
    #[arg(long, conflicts_with_all = ["serial", "message_id"])]
    moved: bool,
    /// Print a JSON object
    #[arg(long)]
    json: bool,
}

/// Undo a revocation. A grant that was on the stamp holds again.
///
/// The command applies to the stamps on the message on standard input, unless you name one. Only stamps with a valid
/// signature count.
#[derive(Debug, clap::Args)]
#[command(
    override_usage = "mailstamp unrevoke [OPTIONS] [< MESSAGE]",
    after_help = "Examples:\n  \
    mailstamp unrevoke < message\n\n\
    Exit status: 0 done, or it was so already; 65 no stamp that counts, or a Message-ID of several\n\
    messages; 66 Message-ID not in the log"
)]
pub struct UnrevokeArgs {
    #[command(flatten)]
    pub target: stamp_target::Args,
    /// For a message moved back: only what moving it away revoked, and not too long ago; status 0 if there is nothing
    #[arg(long, conflicts_with_all = ["serial", "message_id"])]
    moved: bool,
    /// Print a JSON object
    #[arg(long)]
    json: bool,
}

/// Runs `grant`.
///
/// # Errors
/// A failure that says which stamp was not found.
pub fn grant(args: &GrantArgs, given: &CliOverrides) -> Result<u8, Failure> {
    let engine = Engine::load(given, None)?;
    let kind = if args.for_return { GrantKind::Return } else { GrantKind::MultiUse };
    if args.note.as_ref().is_some_and(|note| note.len() > 1000) {
        return Err(Failure::new(DATA, "--note: at most 1,000 bytes"));
    }
    if let Some(until) = args.until.filter(|until| *until <= engine.context.now) {
        return Err(Failure::new(DATA, format!("--until {until}: in the past; now is {}", engine.context.now)));
    }
    let plain = match kind {
        GrantKind::Return => Grant::for_return(engine.context.now, None),
        GrantKind::MultiUse => Grant::new(kind, engine.context.now),
    };
    let wanted = Grant {
        until: args.until.map(|until| until.0).or(plain.until),
        uses: args.uses.or(plain.uses),
        note: args.note.clone(),
        ..plain
    };
    let change = |before: &StampStatus| {
        let same = |old: &Grant| {
            // The default end of a return grant moves with the clock. A suspended grant is made anew.
            let until = args.until.is_none() && kind == GrantKind::Return || old.until == wanted.until;
            let asked = (old.kind, old.uses, &old.note, old.suspended);
            until && asked == (wanted.kind, wanted.uses, &wanted.note, None)
        };
        let grant = before.grant.clone().filter(same).unwrap_or_else(|| wanted.clone());
        StampStatus { grant: Some(grant), ..before.clone() }
    };
    let say = |before: &StampStatus, after: &StampStatus| match (&before.grant, after.revoked) {
        (_, Some(_)) => "granted, and of no effect while it is revoked",
        (None, _) => "granted",
        (old, _) if *old == after.grant => "was granted already",
        _ => "granted anew",
    };
    apply(&args.target, &engine, args.json, &change, &say)
}

/// Runs `revoke`.
///
/// # Errors
/// A failure that says which stamp was not found.
pub fn revoke(args: &RevokeArgs, given: &CliOverrides) -> Result<u8, Failure> {
    let engine = Engine::load(given, None)?;
    if args.moved {
        return moved(&engine, args.json, "revoked", Engine::on_junked);
    }
    let now = engine.context.now.0;
    let change = |before: &StampStatus| StampStatus {
        revoked: before.revoked.or(Some(now)),
        // An explicit revocation is not undone by moving the message.
        means: None,
        ..before.clone()
    };
    let say = |before: &StampStatus, _: &StampStatus| match (before.revoked, &before.grant) {
        (Some(_), _) => "was revoked already",
        (None, Some(_)) => "revoked; its grant has no effect now",
        (None, None) => "revoked",
    };
    apply(&args.target, &engine, args.json, &change, &say)
}

/// Runs `unrevoke`.
///
/// # Errors
/// A failure that says which stamp was not found.
pub fn unrevoke(args: &UnrevokeArgs, given: &CliOverrides) -> Result<u8, Failure> {
    let engine = Engine::load(given, None)?;
    if args.moved {
        return moved(&engine, args.json, "unrevoked", Engine::on_restored);
    }
    let change = |before: &StampStatus| StampStatus { revoked: None, means: None, ..before.clone() };
    let say = |before: &StampStatus, _: &StampStatus| match (before.revoked, &before.grant) {
        (None, _) => "was not revoked",
        (Some(_), Some(_)) => "unrevoked; its grant is in force again",
        (Some(_), None) => "unrevoked",
    };
    apply(&args.target, &engine, args.json, &change, &say)
}

type Move = fn(&Engine, &Message<'_>, &dyn Store) -> Result<Vec<StatusChange>, Deferral>;

/// Applies the effects of a moved message. A mail server runs this for every move, so a message without stamps is no
/// failure.
fn moved(engine: &Engine, as_json: bool, did: &str, change: Move) -> Result<u8, Failure> {
    let input = input::message(engine.context.config.largest)?;
    let log = engine.used_log()?;
    let changes = change(engine, &Message::parse(&input.bytes), log.as_ref())?;
    let what = |changed: &StatusChange| if changed.is_change() { did } else { "left as it was" };
    if as_json {
        let stamp = |it: &StatusChange| {
            let StatusName { issuer, owner } = StatusName::of(&it.vendor, &engine.context);
            json!({ "vendor": issuer, "owner": owner, "serial": it.serial.as_str(), "result": what(it) })
        };
        let stamps: Vec<_> = changes.iter().map(stamp).collect();
        output::line(&json!({ "schema": output::SCHEMA, "stamps": stamps }).to_string())?;
        return Ok(0);
    }
    for it in &changes {
        let name = StatusName::of(&it.vendor, &engine.context).with_serial(&it.serial);
        output::line(&format!("{name}: {}", what(it)))?;
    }
    Ok(0)
}

fn apply(
    target: &stamp_target::Args,
    engine: &Engine,
    as_json: bool,
    change: &dyn Fn(&StampStatus) -> StampStatus,
    say: &dyn Fn(&StampStatus, &StampStatus) -> &'static str,
) -> Result<u8, Failure> {
    let targets = target.resolve(engine)?;
    let log = engine.used_log()?;
    // All are changed before the first line is printed, which may fail.
    let mut done = Vec::new();
    for Target { vendor, serial } in targets {
        // A serial that was typed may have a typing error; one from a message has none.
        let known = !target.names_serial() || is_known(log.as_ref(), &vendor, &serial)?;
        let before = log.update_status(&vendor, &serial, &mut |before| change(before))?;
        engine.note_status(log.as_ref(), &vendor, &serial, &change(&before))?;
        done.push(Changed { what: say(&before, &change(&before)), vendor, serial, known });
    }
    if as_json {
        let stamps: Vec<_> = done.iter().map(|changed| changed.json(engine)).collect();
        output::line(&json!({ "schema": output::SCHEMA, "stamps": stamps }).to_string())?;
        return Ok(0);
    }
    for Changed { vendor, serial, what, known } in done {
        let note = if known { "" } else { "; never seen" };
        let name = StatusName::of(&vendor, &engine.context).with_serial(&serial);
        output::line(&format!("{name}: {what}{note}"))?;
    }
    Ok(0)
}

/// A stamp whose status was changed, or was so already.
struct Changed {
    vendor: String,
    serial: Serial,
    what: &'static str,
    /// Whether the log had it before.
    known: bool,
}

impl Changed {
    fn json(&self, engine: &Engine) -> Value {
        let StatusName { issuer, owner } = StatusName::of(&self.vendor, &engine.context);
        let (serial, result, known) = (self.serial.as_str(), self.what, self.known);
        json!({ "vendor": issuer, "owner": owner, "serial": serial, "result": result, "known": known })
    }
}
