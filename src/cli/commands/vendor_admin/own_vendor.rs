//! `vendor init --for-me`: a vendor for one recipient, who is its operator, and who trusts it from then on.

use super::terms::Init;
use crate::accounting::event::Terms;
use crate::accounting::work::WorkTerms;
use crate::cli::commands::trust;
use crate::cli::ui::exit_status::{CANNOT_CREATE, DATA, Failure, USAGE};
use crate::cli::ui::output;
use crate::config::paths::{CliOverrides, Paths};
use crate::directory::document::VendorEntry;
use crate::ledger::error::LedgerError;
use crate::ledger::handle::{Ledger, LedgerParams};
use crate::ledger::ops;
use crate::message::address::Address;
use crate::os::clock;
use crate::server::vendor_http::own_inbox::{AskedPrice, asked_price};
use crate::stamp::token::Issuer;
use std::net::IpAddr;

/// Days for which a stamp is valid: its buyer means to write now.
const DAYS: u32 = 30;
const PRICE: &str = "0.01 EUR";
const KID: &str = "1";

/// Creates the vendor, pins its document, and prints the link to its page. A run that was interrupted is continued.
pub(super) fn init(args: &Init, address: &Address, buy: &str, given: &CliOverrides) -> Result<u8, Failure> {
    let buy = page(buy)?;
    if address.to_string().contains('*') {
        return Err(Failure::new(USAGE, format!("--for-me {address}: a pattern, not one address")));
    }
    let vendor = match &args.vendor {
        Some(vendor) => vendor.clone(),
        None => host(&buy),
    };
    // Checked before anything is written. The number of a host is no domain.
    let is_number = vendor.parse::<IpAddr>().is_ok();
    let named = Issuer::new(&vendor, "any").map(drop).map_err(|error| error.to_string());
    let named =
        named.and_then(|()| if is_number { Err("the number of a host, not a domain".to_owned()) } else { Ok(()) });
    named.map_err(|problem| {
        Failure::new(USAGE, format!("vendor {vendor}: {problem}"))
            .hint("name it by a domain of yours: --vendor joe.example")
    })?;
    let (_, places) = Paths::read(given)?;
    let folder = places.vendors()?;
    let document = folder.join(format!("{vendor}.json"));
    let price = match args.price {
        Some(price) => price,
        None => PRICE.parse().map_err(|error| Failure::new(USAGE, error))?,
    };
    let kid = args.kid.clone().unwrap_or_else(|| KID.to_owned());
    let at = args.which.folder(given)?;
    let terms = Terms { work: Some(WorkTerms::default()), ..Terms::new(price, DAYS) };
    let is_new = !at.join("ledger.redb").exists();
    if Ledger::is_lost(&at) {
        return Err(LedgerError::Remains { path: at }.into());
    }
    if is_new && document.exists() {
        let text = format!("{vendor} is trusted already: {}", document.display());
        return Err(Failure::new(CANNOT_CREATE, text).hint(format!(
            "take another name (--vendor), or stop to trust that one: mailstamp trust remove {vendor}"
        )));
    }
    let founding = LedgerParams { vendor: vendor.clone(), kid, terms };
    let ledger = match Ledger::create(&at, &founding, clock::now()) {
        Err(error @ LedgerError::Exists { .. }) => continued(args, address, &vendor, given)?.ok_or(error)?,
        created => created?,
    };
    if ledger.profile()?.recipient.is_none() {
        ledger.run(ops::SetRecipient { recipient: address.to_string() }, clock::now())?;
    }
    if !document.exists() {
        trust::pin(folder, &VendorEntry { buy: Some(buy.clone()), ..ledger.published(clock::now())? })?;
    }
    tell(address, &vendor, &buy, given)
}

/// Returns the ledger that an interrupted run left: of this vendor, for this recipient or for none, without any account
/// or stamp.
fn continued(args: &Init, address: &Address, vendor: &str, given: &CliOverrides) -> Result<Option<Ledger>, Failure> {
    let ledger = args.which.reach(given)?;
    let profile = ledger.profile()?;
    let summary = ledger.summary()?;
    let is_same = profile.recipient.as_ref().is_none_or(|recipient| *recipient == address.normalized());
    let is_unused = summary.accounts == 0 && summary.stamps == 0;
    let is_own = profile.recipient.is_some() || is_unused && profile.terms.work.is_some();
    Ok((profile.vendor == vendor && is_same && is_own).then_some(ledger))
}

fn tell(address: &Address, vendor: &str, buy: &str, given: &CliOverrides) -> Result<u8, Failure> {
    output::line(&format!("{vendor} sells stamps for {address} at {buy}, and you trust it"))?;
    output::line("automatic replies link to it where a rule asks for a stamp: see mailstamp(7)")?;
    output::line(&format!("for your signature: To reach my inbox, get a stamp: {buy}"))?;
    output::line(&format!("for your web site:  <a href=\"{buy}\">To reach my inbox, get a stamp here</a>"))?;
    // The strings of JSON are strings of TOML.
    let quoted = serde_json::Value::from(address.to_string());
    let entry = format!("{{ address = {quoted}, price = 0 }}");
    match asked_price(given, &address.normalized())? {
        AskedPrice::NoConfiguration | AskedPrice::Foreign => {
            output::note(&format!("your configuration does not have this address; write: addresses = [{entry}]"))
        }
        AskedPrice::Known(0) => {}
        AskedPrice::Known(price) => output::note(&format!(
            "no stamps are given for work while the address asks {price}; to accept them, write {entry} in `addresses`"
        )),
    }
    Ok(0)
}

/// Checks the address of the page: the web address of a site without a path, as the service needs it.
fn page(buy: &str) -> Result<String, Failure> {
    let lower = buy.trim_end_matches('/').to_ascii_lowercase();
    let host = lower.strip_prefix("https://").or_else(|| lower.strip_prefix("http://"));
    let fits = host.is_some_and(|host| {
        !host.is_empty()
            && host.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'.' | b'-' | b':' | b'[' | b']'))
    });
    match fits {
        true => Ok(format!("{lower}/")),
        false => Err(Failure::new(DATA, format!("{buy:?} is not the address of a site"))
            .hint("write scheme and host, without a path: --buy https://joe.example")),
    }
}

/// Returns the host of a page, without its port.
fn host(page: &str) -> String {
    let host = page.split("://").nth(1).unwrap_or_default().trim_end_matches('/');
    host.rsplit_once(':').map_or(host, |(name, _)| name).to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_page_is_a_site_and_its_host_names_the_vendor() {
        for (buy, written, vendor) in [
            ("https://Joe.example", "https://joe.example/", "joe.example"),
            ("http://127.0.0.1:8025/", "http://127.0.0.1:8025/", "127.0.0.1"),
        ] {
            let page = page(buy).unwrap();
            assert_eq!((page.as_str(), host(&page).as_str()), (written, vendor));
        }
        for wrong in ["joe.example", "https://", "ftp://joe.example", "https://joe.example/a", "https://a\"b", ""] {
            assert!(page(wrong).is_err(), "{wrong}");
        }
    }
}
