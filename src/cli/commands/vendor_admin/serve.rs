//! `mailstamp vendor serve`: translates arguments into settings of the service, and its end into an exit status.

use super::open_ledger::{Smtp, Which, tell_clock, tell_revoked};
use super::web_address::in_ascii;
#[cfg(feature = "sender")]
use crate::accounting::money::Price;
use crate::cli::ui::counts::plural;
use crate::cli::ui::exit_status::{CONFIG, Failure, TEMPFAIL, USAGE};
use crate::cli::ui::output;
#[cfg(feature = "sender")]
use crate::config::file;
use crate::config::paths::CliOverrides;
use crate::ledger::handle::Ledger;
#[cfg(feature = "sender")]
use crate::ledger::payment::cashu::Cashu;
#[cfg(feature = "sender")]
use crate::ledger::payment::provider::Provider;
#[cfg(feature = "sender")]
use crate::net::http_client::{Secret, is_allowed};
use crate::os::clock;
use crate::server::tls::Files;
use crate::server::vendor_http::own_inbox::{AskedPrice, asked_price};
use crate::server::vendor_http::{self, Limits, ServeError, Settings};
use std::net::{IpAddr, SocketAddr};
use std::path::PathBuf;
use std::time::Duration;

/// Sell stamps over HTTP: to programs under /v1/, and on a page to people without an account.
///
/// It listens on this machine only, unless told otherwise. Put a reverse proxy in front (--public-url,
/// --trusted-proxy), or let it speak TLS itself (--tls-cert, --tls-key; read again on SIGHUP). The ledger is in one
/// folder, made by `mailstamp vendor init`; all other vendor commands work while the service runs. On SIGTERM it
/// finishes open requests and ends.
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:\n  \
    mailstamp vendor serve\n  \
    mailstamp vendor serve --public-url https://stamps.example --trusted-proxy 127.0.0.1\n  \
    mailstamp vendor serve --listen '[::]:443' --tls-cert chain.pem --tls-key key.pem --metrics 127.0.0.1:9633")]
pub struct Args {
    #[command(flatten)]
    which: Which,
    /// Listen here; port 0 for any free one
    #[arg(long, value_name = "ADDRESS:PORT", default_value = "127.0.0.1:8025")]
    listen: SocketAddr,
    /// Speak TLS with this certificate chain (PEM)
    #[arg(long, value_name = "FILE", requires = "tls_key")]
    tls_cert: Option<PathBuf>,
    /// The certificate's secret key (PEM)
    #[arg(long, value_name = "FILE", requires = "tls_cert")]
    tls_key: Option<PathBuf>,
    /// The origin under which clients reach it, where a proxy is in front: https://stamps.example
    #[arg(long, value_name = "URL")]
    public_url: Option<String>,
    /// Who sells, for the page: name, postal address, mail address
    #[arg(long, value_name = "TEXT", value_parser = seller)]
    seller: Option<String>,
    /// Where buyers without an account get vouchers, for the page
    #[arg(long, value_name = "URL", value_parser = web_address)]
    voucher_url: Option<String>,
    /// Where the adapter of a payment provider listens
    #[cfg(feature = "sender")]
    #[arg(long, value_name = "URL", value_parser = adapter)]
    provider: Option<String>,
    /// The provider's name, for the page and the ledger
    #[cfg(feature = "sender")]
    #[arg(long, value_name = "NAME", default_value = "provider", value_parser = provider_name)]
    provider_name: String,
    /// The file with the key for the adapter
    #[cfg(feature = "sender")]
    #[arg(long, value_name = "FILE", requires = "provider")]
    provider_key: Option<PathBuf>,
    /// A mint whose Cashu tokens the shop accepts; may be repeated
    #[cfg(feature = "sender")]
    #[arg(long, value_name = "URL", value_parser = adapter)]
    cashu_mint: Vec<String>,
    /// The unit of the tokens
    #[cfg(feature = "sender")]
    #[arg(long, value_name = "UNIT", default_value = "sat", value_parser = unit)]
    cashu_unit: String,
    /// What the unit is worth: '0.0006 EUR', or '6 EUR / 10000' for so many [default: 1 SAT for sat]
    #[cfg(feature = "sender")]
    #[arg(long, value_name = "PRICE")]
    cashu_rate: Option<Price>,
    /// Trust X-Forwarded-For from this proxy
    #[arg(long, value_name = "ADDRESS")]
    trusted_proxy: Vec<IpAddr>,
    /// Serve metrics for Prometheus here, at /metrics
    #[arg(long, value_name = "ADDRESS:PORT")]
    metrics: Option<SocketAddr>,
    #[command(flatten)]
    smtp: Smtp,
    #[cfg(feature = "directory")]
    #[command(flatten)]
    witnesses: super::cosign::Witnesses,
    /// Requests a second allowed for one API key; 0 for no limit
    #[arg(long, value_name = "NUMBER", default_value_t = Limits::default().key_rate)]
    key_rate: u32,
    /// Requests a second allowed for one address without a key; 0 for no limit
    #[arg(long, value_name = "NUMBER", default_value_t = Limits::default().address_rate)]
    address_rate: u32,
    /// The most concurrent connections
    #[arg(long, value_name = "NUMBER", default_value_t = Limits::default().connections,
        value_parser = connections)]
    connections: usize,
    /// The most concurrent connections from one address, trusted proxies excepted
    #[arg(long, value_name = "NUMBER", default_value_t = Limits::default().connections_each,
        value_parser = connections)]
    connections_each: usize,
    /// Timeout of a header, and of an idle connection, in seconds; a whole request may take three times as long
    #[arg(long, value_name = "SECONDS", default_value_t = Limits::default().header.as_secs(),
        value_parser = clap::value_parser!(u64).range(1..=3_600))]
    patience: u64,
}

/// Runs the command until it is told to end.
pub fn run(args: &Args, given: &CliOverrides) -> Result<u8, Failure> {
    let public_url = args.public_url.as_deref().map(origin).transpose()?;
    let tls = match (&args.tls_cert, &args.tls_key) {
        (Some(certificate), Some(key)) => Some(Files { certificate: certificate.clone(), key: key.clone() }),
        _ => None,
    };
    let folder = args.which.folder(given)?;
    let header = Duration::from_secs(args.patience);
    let limits = Limits {
        header,
        request: header * 3,
        connections: args.connections,
        connections_each: args.connections_each,
        key_rate: args.key_rate,
        address_rate: args.address_rate,
        ..Limits::default()
    };
    let settings = Settings {
        listen: args.listen,
        tls,
        public_url,
        seller: args.seller.clone(),
        voucher_url: args.voucher_url.clone(),
        #[cfg(feature = "sender")]
        provider: provider(args, limits.request / 3)?,
        #[cfg(feature = "sender")]
        cashu: cashu(args, limits.request / 6)?,
        trusted_proxies: args.trusted_proxy.iter().map(IpAddr::to_canonical).collect(),
        metrics: args.metrics,
        mailbox: given.clone(),
        folder: folder.clone(),
        // A code takes several answers, and all of them fit into a request.
        mail_server: args.smtp.server(limits.request / 6),
        #[cfg(feature = "directory")]
        witnesses: args.witnesses.checked()?,
        limits,
    };
    let ledger = Ledger::open(&folder, Duration::from_secs(5))?;
    #[cfg(feature = "sender")]
    if let Some(cashu) = &settings.cashu {
        let (worth, price) = (cashu.rate.currency(), ledger.profile()?.terms.price.currency());
        if worth != price {
            let error =
                Failure::new(USAGE, format!("--cashu-rate is in {worth}, and the price of the shop in {price}"));
            return Err(error.hint(format!("write what one {} is worth in {price}", cashu.unit)));
        }
    }
    // A ledger that is an older copy would sell stamps that every reader refuses.
    let revoked = ledger.adopt_revocations(clock::now())?;
    tell_revoked(&ledger, &revoked)?;
    // A buyer would pay for stamps that cannot be signed.
    if revoked.is_empty() && ledger.active_signer()?.is_none() {
        output::note("no key signs, so nothing is sold; `mailstamp vendor rotate` makes a new one");
    }
    if let Some(recipient) = ledger.profile()?.recipient {
        let none = |why: &str| output::note(&format!("no stamps are given for work: {why}"));
        match asked_price(given, &recipient)? {
            AskedPrice::Known(0) | AskedPrice::NoConfiguration => {}
            AskedPrice::Known(price) => none(&format!("{recipient} asks {price} credit{}", plural(price))),
            AskedPrice::Foreign => none(&format!("your configuration does not have the address {recipient}")),
        }
    }
    tell_clock(&ledger);
    ledger.listen()?;
    // A closed standard output does not stop the service.
    vendor_http::run(ledger, settings, |address| drop(output::line(&format!("listening on {address}"))))
        .map_err(failure)?;
    Ok(0)
}

/// Returns the adapter of the payment provider, and reads its key.
#[cfg(feature = "sender")]
fn provider(args: &Args, timeout: Duration) -> Result<Option<Provider>, Failure> {
    let Some(url) = args.provider.clone() else { return Ok(None) };
    let key = args.provider_key.as_deref().map(file::read_password).transpose();
    let key = key.map_err(|error| Failure::new(CONFIG, error))?.map(|key| Secret::new(key.as_str().to_owned()));
    Ok(Some(Provider { name: args.provider_name.clone(), url, key, timeout }))
}

/// Returns the settings of payments by Cashu, if a mint is named.
#[cfg(feature = "sender")]
fn cashu(args: &Args, timeout: Duration) -> Result<Option<Cashu>, Failure> {
    if args.cashu_mint.is_empty() {
        return match args.cashu_rate {
            Some(_) => {
                Err(Failure::new(USAGE, "--cashu-rate is for mints, and none is named").hint("add --cashu-mint"))
            }
            None => Ok(None),
        };
    }
    let unit = args.cashu_unit.clone();
    let rate = match args.cashu_rate {
        Some(rate) if rate.parts().0.micros > 0 => rate,
        Some(_) => return Err(Failure::new(USAGE, "--cashu-rate must be more than 0")),
        None if unit == "sat" => "1 SAT".parse().map_err(|error| Failure::new(USAGE, error))?,
        None => return Err(Failure::new(USAGE, format!("what is one {unit} worth?")).hint("add --cashu-rate")),
    };
    Ok(Some(Cashu { mints: args.cashu_mint.clone(), unit, rate, timeout }))
}

#[cfg(feature = "sender")]
fn unit(unit: &str) -> Result<String, String> {
    let fits = (1..=16).contains(&unit.len()) && unit.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit());
    if fits { Ok(unit.to_owned()) } else { Err("must have 1 to 16 small letters and digits".to_owned()) }
}

#[cfg(feature = "sender")]
fn adapter(url: &str) -> Result<String, String> {
    let url = url.trim_end_matches('/');
    let fits = is_allowed(url) && url.bytes().all(|b| b.is_ascii_graphic());
    if fits {
        Ok(url.to_owned())
    } else {
        Err("write https://…, or http:// of this host, without a user, '?' and '#'".to_owned())
    }
}

#[cfg(feature = "sender")]
fn provider_name(name: &str) -> Result<String, String> {
    let fits = (1..=40).contains(&name.len()) && name.bytes().all(|b| b.is_ascii_alphanumeric() || b" .-".contains(&b));
    if fits { Ok(name.to_owned()) } else { Err("must have 1 to 40 letters, digits, spaces, '.' and '-'".to_owned()) }
}

/// Checks and normalises an origin: scheme and host, perhaps a port, no path. It is in lower case and without the
/// default port of the scheme, as browsers write it (RFC 6454 section 6.2).
fn origin(url: &str) -> Result<String, Failure> {
    let ascii = in_ascii(url).map_err(|error| Failure::new(USAGE, format!("--public-url {url}: {error}")))?;
    let lower = ascii.trim_end_matches('/').to_ascii_lowercase();
    let usual = if lower.starts_with("https:") { ":443" } else { ":80" };
    let plain = lower.strip_suffix(usual).unwrap_or(&lower);
    let host = plain.strip_prefix("https://").or_else(|| plain.strip_prefix("http://"));
    let fits =
        |host: &str| !host.is_empty() && host.bytes().all(|b| b.is_ascii_graphic() && !b"/?#@\\\"<>".contains(&b));
    match host.filter(|host| fits(host)) {
        Some(_) => Ok(plain.to_owned()),
        None => Err(Failure::new(USAGE, format!("{url:?} is not an origin"))
            .hint("write scheme and host, without a path: --public-url https://stamps.example")),
    }
}

fn connections(text: &str) -> Result<usize, String> {
    let number = text.parse().ok().filter(|number| (1..=100_000).contains(number));
    number.ok_or_else(|| "write a number from 1 to 100000".to_owned())
}

fn seller(text: &str) -> Result<String, String> {
    let fits = (1..=500).contains(&text.trim().chars().count()) && !text.chars().any(char::is_control);
    if fits { Ok(text.trim().to_owned()) } else { Err("must have 1 to 500 printable characters".to_owned()) }
}

fn web_address(url: &str) -> Result<String, String> {
    let url = &in_ascii(url)?;
    let web = url.starts_with("https://") || url.starts_with("http://");
    let fits = web && url.len() <= 500 && url.bytes().all(|b| b.is_ascii_graphic());
    if fits { Ok(url.to_owned()) } else { Err("write a web address: https://stamps.example/vouchers".to_owned()) }
}

fn failure(error: ServeError) -> Failure {
    match error {
        ServeError::Tls(_) => Failure::new(CONFIG, error),
        ServeError::Ledger(error) => error.into(),
        ServeError::Listen { .. } | ServeError::System(_) => Failure::new(TEMPFAIL, error),
    }
}

#[cfg(test)]
mod tests {
    use super::origin;

    #[test]
    fn an_origin_has_no_path() {
        assert_eq!(origin("https://stamps.example/").unwrap(), "https://stamps.example");
        assert_eq!(origin("http://[::1]:8080").unwrap(), "http://[::1]:8080");
        for wrong in
            ["stamps.example", "https://", "https://a/b", "https://u@a", "ftp://a", "https://a b", "https://:443"]
        {
            assert!(origin(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn an_origin_is_written_as_browsers_write_it() {
        for (given, written) in [
            ("HTTPS://Stamps.example:443/", "https://stamps.example"),
            ("https://stamps.example:80", "https://stamps.example:80"),
            ("http://[::1]:80", "http://[::1]"),
        ] {
            assert_eq!(origin(given).unwrap(), written);
        }
    }
}
