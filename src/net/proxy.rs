//! HTTP proxy of a request, from the environment.
//!
//! - Only HTTPS goes through a proxy, in a tunnel (CONNECT): the proxy sees the name of the host, and no API key.
//! - This host is reached directly, as is every host of `NO_PROXY`.
//! - `HTTP_PROXY` is never read. In a CGI program it is the field `Proxy` of the request (RFC 3875 section 4.1.18).

use std::net::IpAddr;
use ureq::http::Uri;
use ureq::{Proxy, ProxyProtocol};

/// Variables that name the proxy; the first that is set and not empty counts. curl(1) has the same order.
const VARIABLES: [&str; 4] = ["https_proxy", "HTTPS_PROXY", "all_proxy", "ALL_PROXY"];
/// Variables that list the hosts without a proxy; the first that is set counts.
const EXCEPTIONS: [&str; 2] = ["no_proxy", "NO_PROXY"];

/// Variable whose value is no proxy. A direct connection instead could disclose the address of the host.
///
/// The text leaves out the value, which may contain a password.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0}: not a proxy of the form http://HOST:PORT or https://HOST:PORT")]
pub struct ProxyError(&'static str);

/// Returns the proxy of a request to `address`, with the variables of the environment.
pub(super) fn of(address: &Uri) -> Result<Option<Proxy>, ProxyError> {
    from(address, |name| std::env::var(name).ok())
}

/// Returns whether the host is this machine: `localhost`, or a loopback address.
pub(super) fn is_loopback(host: &str) -> bool {
    let number = host.trim_start_matches('[').trim_end_matches(']').parse::<IpAddr>();
    host.eq_ignore_ascii_case("localhost") || number.is_ok_and(|address| address.to_canonical().is_loopback())
}

fn from(address: &Uri, variable: impl Fn(&str) -> Option<String>) -> Result<Option<Proxy>, ProxyError> {
    let host = address.host().unwrap_or_default();
    if address.scheme_str() != Some("https") || is_loopback(host) {
        return Ok(None);
    }
    let exceptions = EXCEPTIONS.iter().find_map(|name| variable(name)).unwrap_or_default();
    if is_listed(host, &exceptions) {
        return Ok(None);
    }
    let set = |name: &&'static str| variable(name).filter(|value| !value.trim().is_empty()).map(|value| (*name, value));
    let Some((name, value)) = VARIABLES.iter().find_map(set) else { return Ok(None) };
    match Proxy::new(value.trim()) {
        // Without the feature of SOCKS the client would connect directly.
        Ok(proxy) if matches!(proxy.protocol(), ProxyProtocol::Http | ProxyProtocol::Https) => Ok(Some(proxy)),
        _ => Err(ProxyError(name)),
    }
}

/// Returns whether a list of `NO_PROXY` names the host: itself, a domain above it, or `*`.
fn is_listed(host: &str, list: &str) -> bool {
    let bare = |name: &str| name.trim_start_matches('[').trim_end_matches([']', '.']).to_ascii_lowercase();
    let host = bare(host);
    list.split([',', ' ', '\t']).filter(|entry| !entry.is_empty()).any(|entry| {
        let entry = bare(entry.strip_prefix('*').unwrap_or(entry));
        let entry = entry.strip_prefix('.').unwrap_or(&entry);
        entry.is_empty() || host.strip_suffix(entry).is_some_and(|rest| rest.is_empty() || rest.ends_with('.'))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn proxy(address: &str, variables: &[(&str, &str)]) -> Result<Option<String>, ProxyError> {
        let variable =
            |name: &str| variables.iter().find(|(its, _)| *its == name).map(|(_, value)| (*value).to_owned());
        from(&address.parse().unwrap(), variable).map(|proxy| proxy.map(|proxy| proxy.host().to_owned()))
    }

    const ALL: [(&str, &str); 6] = [
        ("http_proxy", "http://p.example:1"),
        ("HTTP_PROXY", "http://p.example:1"),
        ("https_proxy", "http://p.example:1"),
        ("HTTPS_PROXY", "http://p.example:1"),
        ("all_proxy", "http://p.example:1"),
        ("ALL_PROXY", "http://p.example:1"),
    ];

    #[test]
    fn requests_without_tls_or_to_this_host_have_no_proxy() {
        for address in [
            "http://127.0.0.1:8080/v1",
            "http://[::1]/v1",
            "http://localhost/v1",
            "http://v.example/v1",
            "https://127.0.0.2/",
            "https://[::1]:8443/",
            "https://[::ffff:127.0.0.1]/",
            "https://LocalHost/",
        ] {
            assert_eq!(proxy(address, &ALL), Ok(None), "{address}");
        }
        assert_eq!(proxy("https://v.example/", &ALL), Ok(Some("p.example".to_owned())));
    }

    #[test]
    fn only_the_documented_variables_count_in_their_order() {
        for name in ["http_proxy", "HTTP_PROXY", "FTP_PROXY", "PROXY"] {
            assert_eq!(proxy("https://v.example/", &[(name, "http://p.example:1")]), Ok(None), "{name}");
        }
        let all = VARIABLES.map(|name| (name, format!("http://{}.example:1", name.replace('_', "-"))));
        for first in 0..all.len() {
            let set: Vec<_> = all[first..].iter().map(|(name, value)| (*name, value.as_str())).collect();
            let host = format!("{}.example", all[first].0.replace('_', "-"));
            assert_eq!(proxy("https://v.example/", &set), Ok(Some(host)));
        }
        let empty = [("https_proxy", ""), ("ALL_PROXY", "http://p.example:1")];
        assert_eq!(proxy("https://v.example/", &empty), Ok(Some("p.example".to_owned())));
    }

    #[test]
    fn a_value_that_is_no_proxy_is_an_error_without_its_text() {
        for value in ["socks5://u:xyzzy@p.example:1", "ftp://xyzzy", "::xyzzy"] {
            let error = proxy("https://v.example/", &[("ALL_PROXY", value)]).unwrap_err();
            assert!(error.to_string().starts_with("ALL_PROXY: ") && !error.to_string().contains("xyzzy"), "{error}");
        }
    }

    #[test]
    fn hosts_of_no_proxy_are_reached_directly() {
        for (list, listed) in [
            ("*", true),
            ("v.example", true),
            ("other.example, V.Example", true),
            ("other.example v.example.", true),
            ("example", true),
            (".example", true),
            ("*.example", true),
            ("", false),
            ("w.v.example", false),
            (".v.example.net", false),
            ("ample", false),
            (",,", false),
        ] {
            assert_eq!(is_listed("v.example", list), listed, "{list}");
        }
        assert!(is_listed("[2001:db8::1]", "[2001:db8::1]") && is_listed("[2001:db8::1]", "2001:db8::1"));
    }
}
