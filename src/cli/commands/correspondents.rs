//! `mailstamp correspondents`: lists and forgets the people to whom the user wrote.

use crate::cli::ui::exit_status::{Failure, USAGE};
use crate::cli::ui::output;
use crate::config::paths::CliOverrides;
use crate::context::Context;
use crate::message::address::{Address, in_letters};
use crate::message::header::readable;
use crate::stamp::serial::Serial;
use crate::store::Correspondent;
use crate::verdict::facts;
use crate::verdict::owner::Owner;
use serde_json::json;
use std::io::{self, Write};
use std::ops::ControlFlow;

/// List the people to whom you wrote, as "learn-sent", "learn-contacts" and "watch" learned them.
///
/// Addresses are listed without the part from "+" to "@", since a recipient written to as help+4711@ answers as help@.
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:\n  \
    mailstamp correspondents\n  \
    mailstamp correspondents --json far.example\n  \
    mailstamp correspondents --forget joe@y.example\n  \
    mailstamp correspondents --owner alice --forget joe@y.example")]
pub struct Args {
    /// Only those whose address contains this
    #[arg(value_name = "TEXT", conflicts_with = "forget")]
    text: Option<String>,
    /// Forget that you wrote to this address, until you do so again
    #[arg(long, value_name = "ADDRESS", num_args = 1..)]
    forget: Vec<Address>,
    /// Only those of this owner: a name, or an address
    #[arg(long, value_name = "OWNER")]
    owner: Option<String>,
    /// Print JSON lines
    #[arg(long)]
    json: bool,
    /// The user whose state is meant, where the configuration has %u, %n or %d
    #[arg(long, value_name = "USER")]
    pub user: Option<String>,
}

pub fn run(args: &Args, given: &CliOverrides) -> Result<u8, Failure> {
    let context = Context::load(given, None)?;
    let owner = args.owner.as_deref().map(|name| owner_named(&context, Some(name))).transpose()?;
    let mut stdout = io::stdout().lock();
    if args.forget.is_empty() {
        let rows = listed(args, owner, &context)?;
        for row in &rows {
            let owner = owner_text(&context, row.owner);
            writeln!(stdout, "{}", if args.json { to_json(row, owner) } else { to_text(row, owner) })?;
        }
        if rows.is_empty() && !args.json {
            output::note("no such correspondent is known; mailstamp learn-sent learns them");
        }
    }
    for address in &args.forget {
        let forgotten = context.used_log()?.remove(owner, address)?;
        let shown = readable(address.to_string().as_bytes(), 600);
        if args.json {
            let object = json!({ "schema": output::SCHEMA, "address": address, "forgotten": forgotten });
            writeln!(stdout, "{object}")?;
        } else {
            let what = if forgotten { ": forgotten" } else { " is not one of your correspondents" };
            writeln!(stdout, "{shown}{what}")?;
        }
    }
    stdout.flush()?;
    Ok(0)
}

/// Returns the rows, collected first: deliveries wait as long as the log is locked.
fn listed(args: &Args, owner: Option<Owner>, context: &Context) -> Result<Vec<Correspondent>, Failure> {
    let mut rows = Vec::new();
    let wanted = args.text.as_deref().map(str::to_lowercase);
    // The log has the domain in A-labels; it is found by its letters, too.
    let is_wanted = |address: &str| {
        let in_letters = address.rsplit_once('@').map(|(local, domain)| format!("{local}@{}", in_letters(domain)));
        let forms = [Some(address.to_owned()), in_letters];
        wanted.as_ref().is_none_or(|text| forms.iter().flatten().any(|form| form.to_lowercase().contains(text)))
    };
    context.used_log()?.correspondents(&mut |row| {
        if owner.is_none_or(|owner| owner == row.owner) && is_wanted(&row.address) {
            rows.push(row);
        }
        ControlFlow::Continue(())
    })?;
    Ok(rows)
}

fn to_text(row: &Correspondent, owner: Option<String>) -> String {
    let owner = owner.map(|owner| format!(", of {}", readable(owner.as_bytes(), 600))).unwrap_or_default();
    format!("{}  first {}, last {}{owner}", readable(row.address.as_bytes(), 600), row.first, row.last)
}

fn to_json(row: &Correspondent, owner: Option<String>) -> String {
    let mut object = json!({
        "schema": output::SCHEMA,
        "address": row.address,
        "first": row.first.to_string(),
        "last": row.last.to_string(),
    });
    if let Some(owner) = owner {
        object["owner"] = owner.into();
    }
    object.to_string()
}

/// Returns the owner of this name or address. Without one, the owner of all addresses.
pub(super) fn owner_named(context: &Context, name: Option<&str>) -> Result<Owner, Failure> {
    let mailboxes = &context.config.mailboxes;
    match name {
        Some(name) => facts::owner_named(mailboxes, name).ok_or_else(|| {
            let shown = readable(name.as_bytes(), 200);
            Failure::new(USAGE, format!("--owner: {shown} is neither an owner nor one of your addresses"))
        }),
        None => facts::only_owner(mailboxes).ok_or_else(|| {
            let failure = Failure::new(USAGE, "the configuration has several owners");
            failure.hint("name one by --owner: an owner's name, or an address")
        }),
    }
}

/// Returns the name of an owner if it is in the configuration, or else the number under which the log has it. `None`
/// for the owner of addresses without a name.
pub(super) fn owner_text(context: &Context, owner: Owner) -> Option<String> {
    if owner.is_default() {
        return None;
    }
    let mut names = context.config.mailboxes.iter().filter_map(|mailbox| mailbox.owner.as_deref());
    Some(names.find(|name| Owner::named(name) == owner).map_or_else(|| owner.into(), str::to_owned))
}

/// A name under which the log has the status of a stamp, for display: the issuer, and of a list's stamp the owner.
pub(super) struct StatusName<'a> {
    pub(super) issuer: &'a str,
    /// The owner's name, or else the number under which the log has it.
    pub(super) owner: Option<String>,
}

impl<'a> StatusName<'a> {
    pub(super) fn of(name: &'a str, context: &Context) -> Self {
        match Owner::of_status_name(name) {
            Some((issuer, owner)) => Self { issuer, owner: owner_text(context, owner) },
            None => Self { issuer: name, owner: None },
        }
    }

    /// Returns the stamp of this serial in one line of text.
    pub(super) fn with_serial(&self, serial: &Serial) -> String {
        let shown = |text: &str| readable(text.as_bytes(), 600);
        let owner = self.owner.as_deref().map(|owner| format!(" of {}", shown(owner)));
        format!("{}/{serial}{}", shown(self.issuer), owner.unwrap_or_default())
    }
}
