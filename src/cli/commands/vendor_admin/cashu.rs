//! `vendor cashu`: what the shop has at mints, and tokens with which it is taken out.

use super::open_ledger::Which;
use crate::cli::ui::exit_status::{Failure, TEMPFAIL};
use crate::cli::ui::output;
use crate::config::paths::CliOverrides;
use crate::ledger::payment::cashu::take::{self, Sums};
use serde_json::json;

/// Show what the shop has at mints of Cashu, or take it out as tokens for your own wallet.
///
/// Receive each token with your wallet at once. It is printed again until the mint says that its money was received.
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:\n  mailstamp vendor cashu\n  mailstamp vendor cashu --take")]
pub struct Args {
    /// Print a token for each mint
    #[arg(long)]
    take: bool,
    /// Print JSON
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    which: Which,
}

pub(super) fn run(args: &Args, given: &CliOverrides) -> Result<u8, Failure> {
    let (ledger, folder) = (args.which.reach(given)?, args.which.folder(given)?);
    if !args.take {
        let (sums, troubles) = take::sums(&ledger, &folder)?;
        for ((mint, unit), Sums { sold, waiting, buyers }) in sums {
            if args.json {
                let object = json!({
                    "schema": output::SCHEMA, "mint": mint, "unit": unit, "sold": sold, "waiting": waiting,
                    "buyers": buyers,
                });
                output::line(&object.to_string())?;
            } else {
                output::line(&format!("{mint}: {sold} {unit} sold, {waiting} waiting, {buyers} of buyers"))?;
            }
        }
        return Ok(told(&troubles));
    }
    let taken = take::take(&ledger, &folder)?;
    for token in &taken.tokens {
        if args.json {
            let object = json!({
                "schema": output::SCHEMA, "mint": token.mint, "unit": token.unit, "amount": token.amount,
                "token": token.text.reveal(),
            });
            output::line(&object.to_string())?;
        } else {
            output::line(token.text.reveal())?;
        }
    }
    Ok(told(&taken.troubles))
}

/// Prints what could not be done. Returns the exit status.
fn told(troubles: &[String]) -> u8 {
    troubles.iter().for_each(|trouble| output::note(trouble));
    if troubles.is_empty() { 0 } else { TEMPFAIL }
}
