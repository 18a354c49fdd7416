//! Maps failures of the sender's side to statuses of sysexits(3), with hints.

use super::exit_status::{CONFIG, DATA, Failure, NO_PERMISSION, TEMPFAIL, UNAVAILABLE};
use super::output;
use crate::context::Context;
use crate::sender::account::AccountError;
use crate::sender::error::SupplyError;
use crate::sender::stamp_source::StampSource;

/// Maps a failure to get a stamp to a status: 75 when waiting helps, 77 for money, caps and other refusals, 78 for
/// missing setup, 65 for a wrong request.
pub fn failure(error: &SupplyError) -> Failure {
    let failed = |code| Failure::new(code, error);
    match error {
        SupplyError::NoAccount(_) => failed(CONFIG).hint("open an account at a vendor, then: mailstamp account add"),
        SupplyError::Account(_) => failed(CONFIG),
        SupplyError::Capped(capped) if capped.free.is_some() => {
            failed(TEMPFAIL).hint("your own caps are in [sender] in the configuration")
        }
        SupplyError::Capped(_) => failed(NO_PERMISSION).hint("your own caps are in [sender] in the configuration"),
        SupplyError::Funds { .. } => failed(NO_PERMISSION).hint("add credits to the account at its vendor"),
        SupplyError::Key { account, .. } => {
            failed(CONFIG).hint(format!("check the API key; to replace it: mailstamp account add {account} --replace"))
        }
        SupplyError::Order { .. } => failed(DATA),
        SupplyError::Answer { .. } => failed(UNAVAILABLE)
            .hint("mailstamp wallet list shows what may have been charged; tell the vendor, with the order's id"),
        SupplyError::Refused { .. } => failed(NO_PERMISSION),
        SupplyError::Later { .. } | SupplyError::Away { .. } => {
            failed(TEMPFAIL).hint("try again; no purchase is charged twice")
        }
        SupplyError::Unreadable { account, .. } => failed(TEMPFAIL).hint(format!(
            "try again, no purchase is charged twice; if it stays so, check the address of the account {account}"
        )),
        SupplyError::Ours(_) => failed(TEMPFAIL),
    }
}

impl From<AccountError> for Failure {
    fn from(error: AccountError) -> Self {
        let code = match error {
            AccountError::File(_) | AccountError::Form { .. } => CONFIG,
            AccountError::Write { .. } => super::exit_status::CANNOT_CREATE,
            _ => DATA,
        };
        Self::new(code, error)
    }
}

/// Removes expired stamps from the wallet and reports them, since their credits are lost.
/// A clock that jumped ahead removes nothing.
pub fn sweep(sender: &StampSource, context: &Context) -> Result<(), Failure> {
    let Some(limit) = context.forget_limit() else { return Ok(()) };
    for ended in sender.wallet().sweep(limit)? {
        let when = ended.expires.map(|end| format!(" on {end}")).unwrap_or_default();
        output::note(&format!(
            "a stamp of {} credits for {} expired unused{when}: {} {}",
            ended.value,
            ended.recipient,
            ended.vendor,
            ended.serial.as_str()
        ));
    }
    Ok(())
}
