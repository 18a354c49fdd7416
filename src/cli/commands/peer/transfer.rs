//! `mailstamp peer export` and `peer import`: carry the user's keys to another host of theirs.

use super::{Common, keys, shown};
use crate::cli::ui::exit_status::Failure;
use crate::cli::ui::output;
use crate::context::Context;
use crate::message::address::Address;
use serde_json::json;
use std::path::PathBuf;

/// Write all your keys to a new file that only you can read. A thief of the file could act as you: delete it when your
/// other host has read it.
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:\n  mailstamp peer export keys.json")]
pub struct ExportArgs {
    /// The file; it must not exist
    #[arg(value_name = "FILE")]
    file: PathBuf,
    #[command(flatten)]
    pub(super) common: Common,
}

/// Read keys that "peer export" wrote. Keys that you have already stay, and follow the file if it has later ones.
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:\n  mailstamp peer import keys.json")]
pub struct ImportArgs {
    /// The file
    #[arg(value_name = "FILE")]
    file: PathBuf,
    #[command(flatten)]
    pub(super) common: Common,
}

pub(super) fn export(args: &ExportArgs, context: &Context) -> Result<u8, Failure> {
    let done = keys(context)?.export(&args.file)?;
    print(&done, "written", &args.common)
}

pub(super) fn import(args: &ImportArgs, context: &Context) -> Result<u8, Failure> {
    let done = keys(context)?.import(&args.file)?;
    print(&done, "read", &args.common)
}

fn print(addresses: &[Address], what: &str, common: &Common) -> Result<u8, Failure> {
    for address in addresses {
        if common.json {
            output::line(&json!({ "schema": output::SCHEMA, "address": address, "keys": what }).to_string())?;
        } else {
            output::line(&format!("{}: keys {what}", shown(address)))?;
        }
    }
    if addresses.is_empty() && !common.json {
        output::note("there are no keys");
    }
    Ok(0)
}
