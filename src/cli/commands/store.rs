//! `mailstamp store`: prepares and inspects the database that has the used log, and copies the log between it and the
//! file of this host.

use super::export_import::{RowReader, write_rows};
use crate::cli::ui::exit_status::{CONFIG, Failure, TEMPFAIL, USAGE};
use crate::cli::ui::output;
use crate::config::paths::CliOverrides;
use crate::context::{Context, used_log};
use crate::store::Imported;
use serde_json::json;
use sha2::{Digest, Sha256};
use std::fs::File;
use std::io::{self, BufRead, BufReader, Seek};

#[cfg(feature = "postgres")]
use {
    crate::cli::ui::counts::{counted, tame},
    crate::store::postgres::{InitOutcome, Postgres, ServerStatus},
    serde_json::Value,
};

/// The subcommands.
#[derive(Debug, clap::Subcommand)]
pub enum Command {
    /// Create the tables in the database, or bring older ones up to date
    #[command(after_help = "Examples:\n  mailstamp store init")]
    Init(Args),
    /// Show the state of the database server
    #[command(after_help = "Examples:\n  mailstamp store status --json | jq .epoch")]
    Status(Args),
    /// Copy the used log between the file of this host and the database
    Copy(CopyArgs),
    /// Accept a server that was restored from a backup, or that lost the last spends
    #[command(after_help = "Examples:\n  mailstamp store accept-restored")]
    AcceptRestored(Args),
}

/// Options of every subcommand.
#[derive(Debug, clap::Args)]
#[group(skip)]
pub struct Args {
    /// The user of the mailbox, where the configuration has %u, %n or %d
    #[arg(long, value_name = "USER")]
    user: Option<String>,
    /// Print a JSON object
    #[arg(long)]
    json: bool,
}

/// Copy used serials, grants, revocations and records of sent mail, and add them to what the other store has.
///
/// Nothing there is weakened, and a copy may be repeated. If the source changed meanwhile, the exit status is 75: stop
/// the mail system and the daemons, and copy again.
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:\n  mailstamp store copy --from redb --to postgres\n  \
    mailstamp store copy --from postgres --to redb")]
pub struct CopyArgs {
    /// The store that is read
    #[arg(long, value_name = "STORE")]
    from: Kind,
    /// The store that gets the rows
    #[arg(long, value_name = "STORE")]
    to: Kind,
    #[command(flatten)]
    args: Args,
}

/// Kind of a store.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub enum Kind {
    /// The file of this host
    Redb,
    /// The database of `[store]`
    Postgres,
}

impl Command {
    fn args(&self) -> &Args {
        match self {
            Self::Init(args) | Self::Status(args) | Self::AcceptRestored(args) => args,
            Self::Copy(copy) => &copy.args,
        }
    }

    /// Returns the user of the mailbox.
    #[must_use]
    pub fn user(&self) -> Option<String> {
        self.args().user.clone()
    }
}

/// Runs a subcommand.
///
/// # Errors
/// A failure when no database is configured, or when it cannot be used.
pub fn run(command: &Command, given: &CliOverrides) -> Result<u8, Failure> {
    let context = Context::load(given, None)?;
    if context.config.store.is_none() {
        return Err(Failure::new(CONFIG, "no database is configured: the used log is a file of this host")
            .hint("write kind = \"postgres\" into the table [store]; see mailstamp-store(8)"));
    }
    match command {
        Command::Copy(args) => copy(args, &context)?,
        #[cfg(feature = "postgres")]
        other => on_server(other, &context)?,
        // The configuration is refused before.
        #[cfg(not(feature = "postgres"))]
        _ => {}
    }
    Ok(0)
}

fn copy(args: &CopyArgs, context: &Context) -> Result<(), Failure> {
    if args.from == args.to {
        return Err(Failure::new(USAGE, "--from and --to name one store").hint("give redb and postgres"));
    }
    let open = |kind| match kind {
        Kind::Redb => used_log::local_log(&context.config, &context.places),
        Kind::Postgres => used_log::used_log(&context.config, &context.places),
    };
    // A file is locked while it is open here, and mail waits for it.
    let snapshot = || write_rows(open(args.from)?.as_ref(), context.places.state()?).and_then(hashed);
    let (mut rows, before) = snapshot()?;
    let target = open(args.to)?;
    let mut reader = RowReader::new(BufReader::new(&mut rows).split(b'\n'), context.now);
    let mut total = Imported::default();
    while let Some(lot) = reader.next_lot() {
        let imported = target.import(&mut lot.into_iter())?;
        total.taken += imported.taken;
        total.known += imported.known;
    }
    reader.finish()?;
    let Imported { taken, known } = total;
    if args.args.json {
        output::line(&json!({ "schema": output::SCHEMA, "taken": taken, "known": known }).to_string())?;
    } else {
        output::line(&format!("rows taken in: {taken}, known before: {known}"))?;
    }
    drop(target);
    if snapshot()?.1 != before {
        return Err(Failure::new(TEMPFAIL, "the source changed during the copy, so the copy is not complete")
            .hint("stop the mail system and mailstamp serve, and copy again; that does no harm"));
    }
    Ok(())
}

/// Returns a file with its hash.
fn hashed(mut file: File) -> Result<(File, [u8; 32]), Failure> {
    let mut hash = Sha256::new();
    io::copy(&mut file, &mut HashWriter(&mut hash))?;
    file.rewind()?;
    Ok((file, hash.finalize().into()))
}

struct HashWriter<'a>(&'a mut Sha256);

impl io::Write for HashWriter<'_> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.update(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

#[cfg(feature = "postgres")]
fn on_server(command: &Command, context: &Context) -> Result<(), Failure> {
    let Some(shared) = &context.config.store else { return Ok(()) };
    let log: Postgres = used_log::shared_log(shared, &context.config, &context.places, true)?;
    let (mut members, text) = match command {
        Command::Init(_) => match log.init()? {
            InitOutcome::Created => (json!({ "outcome": "created" }), "tables: created".to_owned()),
            InitOutcome::Migrated { from } => {
                (json!({ "outcome": "migrated", "from": from }), format!("tables: migrated from format {from}"))
            }
            InitOutcome::Unchanged => (json!({ "outcome": "unchanged" }), "tables: up to date".to_owned()),
        },
        Command::AcceptRestored(_) => {
            log.accept_restored()?;
            let text = "accepted: the server as it is now; stamps that it no longer knows are fresh once more";
            (json!({ "accepted": true }), text.to_owned())
        }
        _ => {
            let status = log.status()?;
            (members(&status), described(&status))
        }
    };
    if command.args().json {
        members["schema"] = output::SCHEMA.into();
        output::line(&members.to_string())?;
    } else {
        output::line(text.trim_end())?;
    }
    Ok(())
}

#[cfg(feature = "postgres")]
fn members(status: &ServerStatus) -> Value {
    let replicas = status.replicas.iter().map(|it| {
        json!({
            "name": it.name,
            "state": it.state,
            "sync_state": it.sync_state,
            "lag_bytes": it.lag_bytes,
            "lag_ms": it.lag_ms,
        })
    });
    json!({
        "server": status.server,
        "version": status.version,
        "format": status.format,
        "in_recovery": status.in_recovery,
        "read_only": status.read_only,
        "synchronous_commit": status.synchronous_commit,
        "fsync": status.fsync,
        "full_page_writes": status.full_page_writes,
        "synchronous_standby_names": status.synchronous_standby_names,
        "replicas": replicas.collect::<Vec<_>>(),
        "clock_difference_ms": status.clock_difference_ms,
        "epoch": status.epoch,
        "system_identifier": status.system_identifier,
        "timeline": status.timeline,
        "bytes": status.bytes,
    })
}

#[cfg(feature = "postgres")]
fn described(status: &ServerStatus) -> String {
    let mut text = String::new();
    let mut line = |what: &str, value: String| text.push_str(&format!("{what:<18}  {value}\n"));
    let switch = |on: bool| if on { "on" } else { "off" }.to_owned();
    let known = |number: Option<i64>| number.map_or("unknown".to_owned(), |number| number.to_string());
    let role = if status.in_recovery { "standby" } else { "primary" };
    let access = if status.read_only { ", read-only" } else { "" };
    line("server", format!("{}, PostgreSQL {}, {role}{access}", status.server, tame(&status.version)));
    line("tables", status.format.map_or("none: run mailstamp store init".to_owned(), |it| format!("format {it}")));
    line("size", counted(status.bytes, "byte"));
    line("epoch", known(status.epoch));
    line("timeline", known(status.timeline));
    line("system", tame(&status.system_identifier));
    line("synchronous_commit", tame(&status.synchronous_commit));
    line("fsync", switch(status.fsync));
    line("full_page_writes", switch(status.full_page_writes));
    line("clock", format!("{} ms ahead of this host", status.clock_difference_ms));
    for replica in &status.replicas {
        let lag = replica.lag_bytes.map_or("unknown lag".to_owned(), |lag| format!("{lag} bytes behind"));
        line(
            "standby",
            format!("{}: {}, {}, {lag}", tame(&replica.name), tame(&replica.state), tame(&replica.sync_state)),
        );
    }
    if status.replicas.is_empty() {
        line("standby", "none".to_owned());
    }
    text
}
