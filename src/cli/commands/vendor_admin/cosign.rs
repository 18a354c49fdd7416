//! `mailstamp vendor cosign`: asks witnesses to cosign the published head of the public log.

use super::open_ledger::Which;
use crate::cli::ui::counts::grouped;
use crate::cli::ui::exit_status::{Failure, UNAVAILABLE, USAGE};
use crate::cli::ui::output;
use crate::config::paths::CliOverrides;
use crate::net::http_client::is_allowed;
use crate::os::clock;
use crate::transparency::witness::{WITNESSES_MAX, Witness};
use std::path::PathBuf;

/// Ask witnesses to cosign the published head of the public log, and add what they sign to it.
///
/// A witness signs only a log that continues the one it has seen (C2SP tlog-witness). Publish first. A witness that is
/// away or refuses is a warning, and the log stays published. The exit status is 0 when every witness has cosigned, and
/// 69 otherwise.
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:\n  \
    mailstamp vendor cosign --witness 'w.example/1+0e0aac72+BP0X… https://w.example/'")]
pub struct Args {
    #[command(flatten)]
    witnesses: Witnesses,
    /// The folder that is published; public in the folder of the ledger, if not given
    #[arg(long, value_name = "FOLDER")]
    out: Option<PathBuf>,
    #[command(flatten)]
    which: Which,
}

/// Witnesses of the public log.
#[derive(Clone, Debug, Default, clap::Args)]
#[group(skip)]
pub(super) struct Witnesses {
    /// A witness of the public log: its key, a space, and its address; may be given several times
    #[arg(long = "witness", value_name = "KEY ADDRESS", value_parser = witness)]
    witnesses: Vec<Witness>,
}

impl Witnesses {
    /// Returns the witnesses.
    ///
    /// # Errors
    /// A failure when one is named twice, or too many are.
    pub(super) fn checked(&self) -> Result<Vec<Witness>, Failure> {
        let keys = self.witnesses.iter().enumerate();
        let mut again =
            keys.filter(|(at, witness)| self.witnesses.iter().take(*at).any(|it| it.key.is_key_of(&witness.key)));
        if let Some((_, twice)) = again.next() {
            return Err(Failure::new(USAGE, format!("--witness: {} is named twice", twice.name())));
        }
        match self.witnesses.len() {
            count if count > WITNESSES_MAX => {
                Err(Failure::new(USAGE, format!("--witness: {count} witnesses, expected at most {WITNESSES_MAX}")))
            }
            _ => Ok(self.witnesses.clone()),
        }
    }
}

fn witness(text: &str) -> Result<Witness, String> {
    let witness: Witness =
        text.parse().map_err(|error: crate::transparency::witness::WitnessError| error.to_string())?;
    match is_allowed(&witness.address()) {
        true => Ok(witness),
        false => Err("its address is not of the form https://… (http:// only on this host)".to_owned()),
    }
}

pub(super) fn run(args: &Args, given: &CliOverrides) -> Result<u8, Failure> {
    let witnesses = args.witnesses.checked()?;
    if witnesses.is_empty() {
        return Err(Failure::new(USAGE, "no witness is given").hint("name each with --witness 'KEY ADDRESS'"));
    }
    let ledger = args.which.reach(given)?;
    let public = args.which.public(given)?;
    let cosigned = ledger.cosign(args.out.as_deref().unwrap_or(&public), &witnesses, clock::now())?;
    let mut code = 0;
    for (witness, answer) in witnesses.iter().zip(&cosigned.answers) {
        match answer {
            Ok(time) => {
                output::line(&format!("{}: {} leaves, cosigned {time}", witness.name(), grouped(cosigned.size)))?;
            }
            Err(error) => {
                code = UNAVAILABLE;
                output::warning(&format!("{}: {error}", witness.name()));
            }
        }
    }
    Ok(code)
}
