//! `mailstamp purge`: removes serials of expired stamps, and old records of sent messages and replies. Deliveries
//! remove a few serials themselves; this command removes the rest.

use crate::cli::ui::exit_status::Failure;
use crate::cli::ui::output;
use crate::config::paths::CliOverrides;
use crate::context::error::Deferral;
use crate::engine::judge::Engine;
use crate::engine::retention::PurgeReport;
use crate::time::UnixTime;

/// Remove the serials of stamps that expired long enough ago, and records of sent mail older than their retention.
///
/// A removed serial is not accepted again: its stamp is refused by its date. Of your sent mail, Message-IDs are
/// removed; the people to whom you wrote are kept, unless sent.correspondents says for how long. Deliveries continue
/// meanwhile. A clock that jumped ahead removes nothing until the machine has run for a day with it.
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:\n  mailstamp purge\n  @daily mailstamp purge        (in a crontab)\n  \
    mailstamp purge --lift-mark   (after a purge by a clock that was ahead)")]
pub struct Args {
    /// The user whose state is meant, where the configuration has %u, %n or %d
    #[arg(long, value_name = "USER")]
    pub user: Option<String>,
    /// Print the result as a JSON object
    #[arg(long)]
    json: bool,
    /// Purge as if it were this time, and take it as right (RFC 3339, or seconds since 1970)
    #[arg(long, value_name = "TIME", conflicts_with = "lift_mark")]
    now: Option<UnixTime>,
    /// Purge nothing; set a purge mark that lies after now back to now
    ///
    /// Stamps that end before the mark are deferred. Afterwards they are accepted, used serials in the log excepted.
    /// A stamp whose serial was removed by the wrong clock, and that has not ended yet, is then accepted once more.
    #[arg(long)]
    lift_mark: bool,
}

pub fn run(args: &Args, given: &CliOverrides) -> Result<u8, Failure> {
    let engine = Engine::load(given, args.now)?;
    if args.lift_mark {
        return lift_mark(&engine, args.json);
    }
    let PurgeReport { serials: removed, sent, correspondents, replies, peers, returns } = engine.forget()?;
    note_clock(&engine);
    if args.json {
        let object = serde_json::json!({
            "schema": output::SCHEMA,
            "removed": removed,
            "sent": sent,
            "correspondents": correspondents,
            "replies": replies,
            "peers": peers,
            "returns": returns,
        });
        output::line(&object.to_string())?;
        return Ok(0);
    }
    output::line(&format!("serials of ended stamps forgotten: {removed}"))?;
    for (count, what) in [
        (sent, "messages that you sent"),
        (correspondents, "correspondents"),
        (replies, "automatic replies"),
        (peers, "keys or stamps of correspondents"),
        (returns, "stamps for answers"),
    ] {
        if count > 0 {
            output::line(&format!("{what} forgotten: {count}"))?;
        }
    }
    Ok(0)
}

/// Tells the user if nothing is forgotten because the clock is ahead.
pub(super) fn note_clock(engine: &Engine) {
    let now = engine.context.now;
    if let Some(limit) = engine.context.forget_limit().filter(|limit| *limit < now) {
        output::note(&format!(
            "the clock is ahead of the time last seen: it reads {now}, so nothing is forgotten by a time after {limit} \
             until the machine has run for a day; if the clock is right, give --now {now}"
        ));
    }
}

fn lift_mark(engine: &Engine, json: bool) -> Result<u8, Failure> {
    engine.context.is_clock_right()?;
    let lifted = engine.used_log()?.lift_mark(engine.context.now).map_err(Deferral::from)?;
    if json {
        let mark = lifted.map(|mark| serde_json::json!({ "from": mark.from.to_string(), "to": mark.to.to_string() }));
        output::line(&serde_json::json!({ "schema": output::SCHEMA, "lifted": mark }).to_string())?;
        return Ok(0);
    }
    output::line(&match lifted {
        Some(mark) => format!("purge mark: {}, was {}", mark.to, mark.from),
        None => format!("purge mark: not after {}; nothing to lift", engine.context.now),
    })?;
    Ok(0)
}
