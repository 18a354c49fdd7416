//! The wallet: purchases that may have been charged and brought no stamp.

use super::Finding;
use crate::cli::ui::counts::counted;
use crate::config::Config;
use crate::config::paths::Paths;
use crate::message::header::readable;
use crate::os::clock;
use crate::sender::budget::CLOCK_TOLERANCE;
use crate::sender::wallet::{Purchase, Wallet};

/// Checks the journal of purchases, if there is a wallet.
pub(super) fn wallet(config: &Config, places: &Paths) -> Vec<Finding> {
    let what = "wallet";
    let Ok(state) = places.state() else { return Vec::new() };
    let purchases = match Wallet::new(state, config.wait).purchases() {
        Ok(purchases) => purchases,
        Err(error) => return vec![Finding::error(what, format!("{error}; no stamp can be bought or used"))],
    };
    let lost: Vec<_> = purchases.iter().filter(|it| !it.lost.is_empty()).collect();
    let mut findings = ahead(&purchases);
    let Some(last) = lost.last() else { return findings };
    let stamps: usize = lost.iter().map(|it| it.lost.len()).sum();
    let credits = lost.iter().flat_map(|it| &it.lost).map(|(_, value)| *value).fold(0, u64::saturating_add);
    let fault = readable(last.fault.as_deref().unwrap_or_default().as_bytes(), 300);
    findings.push(Finding::warning(
        what,
        format!(
            "{} may be lost: {} of purchases did not come ({}, {fault}); mailstamp wallet list shows the orders",
            counted(credits, "credit"),
            counted(stamps as u64, "stamp"),
            last.account
        ),
    ));
    findings
}

/// Names purchases that are dated in the future, which count for no cap.
fn ahead(purchases: &[Purchase]) -> Vec<Finding> {
    let now = clock::now();
    let ahead: Vec<_> = purchases.iter().filter(|it| it.at > now.plus(CLOCK_TOLERANCE)).collect();
    let Some(last) = ahead.last() else { return Vec::new() };
    let count = counted(ahead.len() as u64, "purchase");
    let text = format!(
        "dated after now, {now}: {count}, the last {}; the clock was ahead then, or is behind; they count for no cap",
        last.at
    );
    vec![Finding::warning("wallet", text)]
}
