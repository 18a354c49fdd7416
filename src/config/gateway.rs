//! The table `[gateway]`: the program beside the mail system that is paid for mail, and pays for mail
//! (mailstamp-gateway(8)).

use super::boundary::Listen;
use super::file::Content;
use super::ranges::{DAY, HOUR, MINUTE, Number, Seconds};
use super::{ConfigError, MESSAGE_MIN, is_host_name};
use crate::emstamp::inbound::NullSender;
use crate::message::address::canonical_domain;
use crate::stamp::claims::VALUE_MAX;
use serde::Deserialize;
use std::collections::BTreeMap;
use std::fmt;
use std::net::{IpAddr, SocketAddr};
use std::path::{Path, PathBuf};
use std::time::Duration;

/// Highest limit on the size of a message: 1 GiB.
const LARGEST_MAX: u64 = 1 << 30;
/// Longest `help`, in bytes: it has a line of a reply of its own.
const HELP_MAX: usize = 400;

/// Settings of `mailstamp gateway`. It has at least one half.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Gateway {
    /// The name in greetings, if it is not the host's.
    pub name: Option<String>,
    pub clearing: Clearing,
    /// The address of the metrics, on this host.
    pub metrics: Option<SocketAddr>,
    pub inbound: Option<GatewayInbound>,
    pub outbound: Option<GatewayOutbound>,
}

/// Contact with the agency.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Clearing {
    /// How often the agency is asked.
    pub every: Duration,
    /// The credits for which a licence is taken, and renewed before it ends; with 0 it signs requests only.
    pub license: u64,
}

/// The half that takes mail of other hosts, in front of the mail system.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct GatewayInbound {
    pub listen: SocketAddr,
    /// The mail system behind.
    pub inner: SocketAddr,
    /// How the mail system learns the client's address.
    pub client_address: ClientAddress,
    /// The certificate for STARTTLS, and its key.
    pub tls: Option<(PathBuf, PathBuf)>,
    /// The credits that a mailbox asks unless its owner says otherwise.
    pub price: u64,
    /// The file of what mailboxes ask otherwise.
    pub prices: Option<PathBuf>,
    /// What a sender who cannot pay is told to see.
    pub help: String,
    /// Whether a client that cannot pay is sent away, in place of a refusal of the recipient.
    pub closes_unaware: bool,
    /// What becomes of messages of the null sender to mailboxes with a price.
    pub null_sender: NullSender,
    /// How long an offer is good, in seconds.
    pub id_life: i64,
    /// The most credits of one licence that are not cleared; `None` is a hundredth of its limit.
    pub meter_exposure: Option<u64>,
    /// The file of the key that seals results.
    pub seal: Option<PathBuf>,
    /// The largest message, in bytes.
    pub largest: usize,
    /// The most concurrent connections.
    pub connections: usize,
}

/// How the mail system behind learns the address of a client.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum ClientAddress {
    /// By the command XCLIENT, as Postfix has it.
    #[default]
    Xclient,
    /// By a line of the PROXY protocol, version 1.
    Proxy,
    /// Not at all.
    None,
}

/// The half that pays other hosts, behind the mail system.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct GatewayOutbound {
    /// The socket for the mail system: of Unix, or a loopback address.
    pub listen: Listen,
    /// Whether the servers' certificates are verified. Otherwise there is no TLS, and all routes are on this host.
    pub verifies: bool,
    /// A file of authorities (PEM), beside those of the system.
    pub ca: Option<PathBuf>,
    /// The most credits for one recipient of a message.
    pub max_price: u64,
    /// The most credits for one message.
    pub max_message: u64,
    /// The most credits on one day (UTC).
    pub max_day: u64,
    /// The largest message, in bytes.
    pub largest: usize,
    /// The most concurrent connections.
    pub connections: usize,
    /// The servers by domain, in canonical form.
    pub routes: BTreeMap<String, Route>,
}

/// Server of a domain.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Route {
    /// A name, or an address without brackets.
    pub host: String,
    pub port: u16,
}

impl Route {
    /// Returns the address, if the host is not a name.
    #[must_use]
    pub fn ip(&self) -> Option<IpAddr> {
        self.host.parse().ok()
    }
}

/// As in the configuration.
impl fmt::Display for Route {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.ip() {
            Some(IpAddr::V6(ip)) => write!(f, "[{ip}]:{}", self.port),
            _ => write!(f, "{}:{}", self.host, self.port),
        }
    }
}

impl Gateway {
    /// Returns the files that it reads: the key of each, the path, and what the file has.
    #[must_use]
    pub fn files(&self) -> Vec<(&'static str, &Path, Content)> {
        let inbound = self.inbound.iter().filter_map(|it| it.seal.as_deref());
        let outbound = self.outbound.iter().filter_map(|it| it.ca.as_deref());
        let seal = inbound.map(|path| ("gateway.inbound.seal", path, Content::Secret));
        seal.chain(outbound.map(|path| ("gateway.outbound.ca", path, Content::Public))).collect()
    }
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct GatewayTable {
    name: Option<String>,
    #[serde(default = "hour")]
    clear: Seconds<MINUTE, DAY>,
    #[serde(default = "none")]
    license: Number<0, VALUE_MAX>,
    metrics: Option<SocketAddr>,
    inbound: Option<InboundTable>,
    outbound: Option<OutboundTable>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct InboundTable {
    listen: String,
    inner: String,
    #[serde(default)]
    client_address: ClientAddress,
    certificate: Option<String>,
    key: Option<String>,
    #[serde(default = "none")]
    price: Number<0, VALUE_MAX>,
    prices: Option<String>,
    help: String,
    #[serde(default)]
    close_unaware: bool,
    #[serde(default)]
    null_sender: NullSender,
    #[serde(default = "day")]
    id_life: Seconds<MINUTE, DAY>,
    meter_exposure: Option<Number<1, VALUE_MAX>>,
    seal: Option<String>,
    #[serde(default = "largest")]
    max_message_size: Number<MESSAGE_MIN, LARGEST_MAX>,
    #[serde(default = "connections")]
    connections: Number<1, 65_536>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct OutboundTable {
    listen: String,
    #[serde(default)]
    tls: Verification,
    ca: Option<String>,
    #[serde(default = "ten")]
    max_price: Number<0, VALUE_MAX>,
    #[serde(default = "hundred")]
    max_message: Number<0, VALUE_MAX>,
    #[serde(default = "thousand")]
    max_day: Number<0, VALUE_MAX>,
    #[serde(default = "largest")]
    max_message_size: Number<MESSAGE_MIN, LARGEST_MAX>,
    #[serde(default = "connections")]
    connections: Number<1, 65_536>,
    routes: BTreeMap<String, String>,
}

#[derive(Clone, Copy, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
enum Verification {
    #[default]
    Verified,
    Off,
}

fn hour() -> Seconds<MINUTE, DAY> {
    Seconds(HOUR)
}

fn none() -> Number<0, VALUE_MAX> {
    Number(0)
}

fn ten() -> Number<0, VALUE_MAX> {
    Number(10)
}

fn hundred() -> Number<0, VALUE_MAX> {
    Number(100)
}

fn thousand() -> Number<0, VALUE_MAX> {
    Number(1_000)
}

fn day() -> Seconds<MINUTE, DAY> {
    Seconds(DAY)
}

fn largest() -> Number<MESSAGE_MIN, LARGEST_MAX> {
    Number(50 << 20)
}

fn connections() -> Number<1, 65_536> {
    Number(100)
}

/// Makes a path of the value of a key.
type ToPath<'a> = dyn Fn(&'static str, Option<String>) -> Result<Option<PathBuf>, ConfigError> + 'a;

impl GatewayTable {
    /// Checks the table; `path` makes a path of a value.
    pub(super) fn settle(self, path: &ToPath<'_>) -> Result<Gateway, ConfigError> {
        if let Some(name) = self.name.as_ref().filter(|name| !is_host_name(name)) {
            return Err(wrong(&format!("name: {name:?}: write a host name")));
        }
        if self.inbound.is_none() && self.outbound.is_none() {
            let what = "inbound: missing, as outbound is: write [gateway.inbound], [gateway.outbound], or both";
            return Err(wrong(what));
        }
        // Every program on this host can read the numbers.
        if self.metrics.is_some_and(|address| !address.ip().is_loopback()) {
            return Err(wrong("metrics: write an address of this host, as 127.0.0.1:9466"));
        }
        let has_reports = self.inbound.as_ref().is_some_and(|it| it.null_sender == NullSender::Reports);
        if has_reports && self.outbound.is_none() {
            let what = "inbound.null_sender: \"reports\" needs [gateway.outbound], which marks the mail that leaves";
            return Err(wrong(what));
        }
        let inbound = self.inbound.map(|table| table.settle(path)).transpose()?;
        let outbound = self.outbound.map(|table| table.settle(path)).transpose()?;
        let every = Duration::from_secs(self.clear.0.unsigned_abs());
        Ok(Gateway {
            name: self.name,
            clearing: Clearing { every, license: self.license.0 },
            metrics: self.metrics,
            inbound,
            outbound,
        })
    }
}

impl InboundTable {
    fn settle(self, path: &ToPath<'_>) -> Result<GatewayInbound, ConfigError> {
        let tls = match (self.certificate, self.key) {
            (None, None) => None,
            (None, _) => return Err(wrong("inbound.key: needs certificate, the file of the chain")),
            (_, None) => return Err(wrong("inbound.certificate: needs key, the file of the certificate's key")),
            (certificate, key) => {
                path("gateway.inbound.certificate", certificate)?.zip(path("gateway.inbound.key", key)?)
            }
        };
        let is_plain = |c: char| c == ' ' || c.is_ascii_graphic();
        if self.help.trim().is_empty() || self.help.len() > HELP_MAX || !self.help.chars().all(is_plain) {
            let what = format!("inbound.help: write the address of a page, in up to {HELP_MAX} ASCII characters");
            return Err(wrong(&what));
        }
        let listen = address("inbound.listen", &self.listen, "0.0.0.0:25")?;
        let inner = address("inbound.inner", &self.inner, "127.0.0.1:10025")?;
        if listen == inner {
            return Err(wrong("inbound.inner: write the address of the mail system, not that of the gateway"));
        }
        Ok(GatewayInbound {
            listen,
            inner,
            client_address: self.client_address,
            tls,
            price: self.price.0,
            prices: path("gateway.inbound.prices", self.prices)?,
            help: self.help.trim().to_owned(),
            closes_unaware: self.close_unaware,
            null_sender: self.null_sender,
            id_life: self.id_life.0,
            meter_exposure: self.meter_exposure.map(|credits| credits.0),
            seal: path("gateway.inbound.seal", self.seal)?,
            largest: usize::try_from(self.max_message_size.0).unwrap_or(usize::MAX),
            connections: usize::try_from(self.connections.0).unwrap_or(usize::MAX),
        })
    }
}

impl OutboundTable {
    fn settle(self, path: &ToPath<'_>) -> Result<GatewayOutbound, ConfigError> {
        let verifies = self.tls == Verification::Verified;
        if self.ca.is_some() && !verifies {
            return Err(wrong("outbound.ca: needs tls = \"verified\""));
        }
        if self.routes.is_empty() {
            return Err(wrong(
                "outbound.routes: empty: write a line for each domain, as \"y.example\" = \"mx.y.example:25\"",
            ));
        }
        let mut routes = BTreeMap::new();
        for (domain, server) in self.routes {
            let unusable = |why: &str| wrong(&format!("outbound.routes: {domain:?} = {server:?}: {why}"));
            let canonical = canonical_domain(&domain).map_err(|error| unusable(&error.to_string()))?;
            let route = route(&server).ok_or_else(|| unusable("write a host and a port, as \"mx.y.example:25\""))?;
            if !verifies && !route.ip().is_some_and(|ip| ip.is_loopback()) {
                return Err(unusable("without TLS, write a loopback address, as \"127.0.0.1:25\""));
            }
            if routes.insert(canonical, route).is_some() {
                return Err(unusable("this domain has a route already"));
            }
        }
        Ok(GatewayOutbound {
            listen: listen(&self.listen)?,
            verifies,
            ca: path("gateway.outbound.ca", self.ca)?,
            max_price: self.max_price.0,
            max_message: self.max_message.0,
            max_day: self.max_day.0,
            largest: usize::try_from(self.max_message_size.0).unwrap_or(usize::MAX),
            connections: usize::try_from(self.connections.0).unwrap_or(usize::MAX),
            routes,
        })
    }
}

fn wrong(what: &str) -> ConfigError {
    ConfigError::Gateway(format!("gateway.{what}"))
}

fn address(key: &str, text: &str, example: &str) -> Result<SocketAddr, ConfigError> {
    text.parse().map_err(|_| wrong(&format!("{key}: {text:?}: write an address and a port, as {example:?}")))
}

fn listen(text: &str) -> Result<Listen, ConfigError> {
    let unusable = |why: &str| wrong(&format!("outbound.listen: {text:?}: {why}"));
    const FORM: &str = "write \"unix:/path\" or \"inet:127.0.0.1:10026\"";
    if let Some(path) = text.strip_prefix("unix:") {
        let path = PathBuf::from(path);
        return if path.is_absolute() { Ok(Listen::Unix(path)) } else { Err(unusable("write an absolute path")) };
    }
    let address: SocketAddr =
        text.strip_prefix("inet:").and_then(|it| it.parse().ok()).ok_or_else(|| unusable(FORM))?;
    // Every client that reaches it can spend credits.
    if !address.ip().to_canonical().is_loopback() {
        return Err(unusable("there is no login: write a loopback address, as \"inet:127.0.0.1:10026\""));
    }
    Ok(Listen::Inet(address))
}

fn route(text: &str) -> Option<Route> {
    let (host, port) = text.rsplit_once(':')?;
    let port = port.parse().ok().filter(|port| *port > 0)?;
    let host = match host.strip_prefix('[') {
        Some(ip) => ip.strip_suffix(']').filter(|ip| matches!(ip.parse(), Ok(IpAddr::V6(_))))?,
        None => Some(host).filter(|host| is_host_name(host))?,
    };
    Some(Route { host: host.to_ascii_lowercase(), port })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::Config;
    use crate::config::user::User;

    fn parse(text: &str) -> Result<Gateway, String> {
        let config = Config::parse(text, &User::default()).map_err(|error| error.to_string())?;
        config.gateway.ok_or_else(|| "none".to_owned())
    }

    fn inbound(more: &str) -> Result<GatewayInbound, String> {
        let table =
            "[gateway.inbound]\nlisten = \"0.0.0.0:25\"\ninner = \"127.0.0.1:10025\"\nhelp = \"https://x.example/\"\n";
        parse(&format!("{table}{more}"))?.inbound.ok_or_else(|| "none".to_owned())
    }

    fn outbound(more: &str) -> Result<GatewayOutbound, String> {
        let (head, routes) = more.split_once("[routes]\n").unwrap_or((more, "\"y.example\" = \"mx.y.example:25\""));
        let text = format!("[gateway.outbound]\nlisten = \"unix:/s\"\n{head}[gateway.outbound.routes]\n{routes}");
        parse(&text)?.outbound.ok_or_else(|| "none".to_owned())
    }

    #[test]
    fn a_gateway_has_one_half_or_both() {
        assert!(parse("[gateway]\n").unwrap_err().contains("gateway.inbound: missing, as outbound is"));
        assert!(parse("").unwrap_err().contains("none"));
        let error = parse("[gateway]\nname = \"a b\"\n").unwrap_err();
        assert!(error.starts_with("line 2, column 8: gateway.name: \"a b\": write a host name"), "{error}");
        let both =
            inbound("[gateway.outbound]\nlisten = \"inet:[::1]:1\"\nroutes = { \"y.example\" = \"mx.y.example:25\" }");
        assert!(both.is_ok());
        let both = inbound(
            "null_sender = \"reports\"\n[gateway.outbound]\nlisten = \"inet:[::1]:1\"\n\
             routes = { \"y.example\" = \"mx.y.example:25\" }",
        );
        assert_eq!(both.unwrap().null_sender, NullSender::Reports);
    }

    #[test]
    fn the_inbound_half_has_defaults() {
        let settings = inbound("").unwrap();
        assert_eq!((settings.price, settings.id_life, settings.meter_exposure), (0, 86_400, None));
        assert_eq!((settings.client_address, settings.null_sender), (ClientAddress::Xclient, NullSender::Accept));
        assert_eq!((settings.largest, settings.connections, settings.tls), (50 << 20, 100, None));
        let tls = inbound("certificate = \"/c\"\nkey = \"/k\"\nclient_address = \"proxy\"").unwrap();
        assert_eq!(tls.tls, Some(("/c".into(), "/k".into())));
    }

    #[test]
    fn the_inbound_half_is_checked() {
        for (more, said) in [
            ("key = \"/k\"", "line 5, column 7: gateway.inbound.key: needs certificate"),
            ("certificate = \"/k\"", "line 5, column 15: gateway.inbound.certificate: needs key"),
            ("certificate = \"c\"\nkey = \"/k\"", "gateway.inbound.certificate = \"c\": write an absolute path"),
            (
                "null_sender = \"reports\"",
                "line 5, column 15: gateway.inbound.null_sender: \"reports\" needs [gateway.outb",
            ),
            ("seal = \"s\"", "line 5, column 8: gateway.inbound.seal = \"s\": write an absolute path"),
            ("client_address = \"xforward\"", "\"xforward\" is none of \"xclient\", \"proxy\", \"none\""),
            ("null_sender = \"drop\"", "\"drop\" is none of \"accept\", \"reports\", \"refuse\""),
            ("price = -1", "line 5, column 9: write a whole number from 0 to"),
            ("id_life = \"25h\"", "line 5, column 11: write a duration from \"1m\" to \"1d\""),
            ("meter_exposure = 0", "write a whole number from 1 to"),
            ("prize = 1", "unknown key \"prize\"; did you mean \"price\"?"),
        ] {
            let error = inbound(more).unwrap_err();
            assert!(error.contains(said), "{error}");
        }
        for (from, to, said) in [
            ("0.0.0.0:25", "25", "line 2, column 10: gateway.inbound.listen: \"25\": write an address and a port"),
            ("127.0.0.1:10025", "mx:25", "line 3, column 9: gateway.inbound.inner: \"mx:25\": write an address"),
            ("127.0.0.1:10025", "0.0.0.0:25", "gateway.inbound.inner: write the address of the mail system"),
            ("https://x.example/", "", "line 4, column 8: gateway.inbound.help: write the address of a page"),
            ("https://x.example/", "\u{fc}", "gateway.inbound.help: write the address of a page"),
        ] {
            let table = "[gateway.inbound]\nlisten = \"0.0.0.0:25\"\ninner = \"127.0.0.1:10025\"\nhelp = \"https://x.example/\"\n";
            let error = parse(&table.replace(from, to)).unwrap_err();
            assert!(error.contains(said), "{error}");
        }
    }

    #[test]
    fn the_outbound_half_is_checked() {
        let settings = outbound("").unwrap();
        assert_eq!((settings.max_price, settings.max_message, settings.max_day), (10, 100, 1_000));
        assert_eq!(settings.routes["y.example"], Route { host: "mx.y.example".into(), port: 25 });
        let local = outbound("tls = \"off\"\n[routes]\n\"Y.Example\" = \"[::1]:25\"\n\"z.example\" = \"127.0.0.1:26\"");
        let routes: Vec<String> = local.unwrap().routes.iter().map(|(domain, to)| format!("{domain} {to}")).collect();
        assert_eq!(routes, ["y.example [::1]:25", "z.example 127.0.0.1:26"]);
        for (more, said) in [
            ("ca = \"/c\"\ntls = \"off\"\n", "line 3, column 6: gateway.outbound.ca: needs tls = \"verified\""),
            ("tls = \"off\"\n", "without TLS, write a loopback address"),
            ("tls = \"off\"\n[routes]\n\"y.example\" = \"localhost:25\"", "without TLS, write a loopback address"),
            ("[routes]\n", "gateway.outbound.routes: empty"),
            ("[routes]\n\"y.example\" = \"mx.y.example\"", "write a host and a port"),
            ("[routes]\n\"y.example\" = \"mx.y.example:0\"", "write a host and a port"),
            ("[routes]\n\"y.example\" = \"[mx]:25\"", "write a host and a port"),
            ("[routes]\n\"y example\" = \"mx:25\"", "gateway.outbound.routes: \"y example\""),
            ("[routes]\n\"y.example\" = \"a:1\"\n\"Y.example\" = \"a:1\"", "this domain has a route already"),
        ] {
            let error = outbound(more).unwrap_err();
            assert!(error.contains(said), "{error}");
        }
        for (listen, said) in [
            ("/s", "write \"unix:/path\""),
            ("unix:s", "write an absolute path"),
            ("inet:0.0.0.0:1", "there is no login"),
        ] {
            let text = format!("[gateway.outbound]\nlisten = {listen:?}\nroutes = {{ \"y.example\" = \"mx:25\" }}");
            let error = parse(&text).unwrap_err();
            assert!(
                error.starts_with("line 2, column 10: gateway.outbound.listen: ") && error.contains(said),
                "{error}"
            );
        }
    }
}
