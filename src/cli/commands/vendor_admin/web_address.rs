//! Web addresses in options. A host may be written in letters of any script; links and documents have its A-labels.

use crate::message::address::canonical_domain;

/// Returns the address in ASCII: the host of an address with other letters becomes its A-labels (RFC 5890).
pub(super) fn in_ascii(url: &str) -> Result<String, String> {
    if url.is_ascii() {
        return Ok(url.to_owned());
    }
    let (scheme, rest) = url.split_once("://").ok_or("write a web address: https://stamps.example/")?;
    let (authority, path) = rest.split_at(rest.find(['/', '?', '#']).unwrap_or(rest.len()));
    let is_port = |port: &str| port.bytes().all(|b| b.is_ascii_digit());
    let (host, port) = match authority.rsplit_once(':') {
        Some((host, port)) if is_port(port) => (host, format!(":{port}")),
        _ => (authority, String::new()),
    };
    if !path.is_ascii() {
        return Err("percent-encode the letters behind the host".to_owned());
    }
    let host = canonical_domain(host).map_err(|error| error.to_string())?;
    Ok(format!("{scheme}://{host}{port}{path}"))
}

#[cfg(test)]
mod tests {
    use super::in_ascii;

    #[test]
    fn a_host_in_letters_becomes_its_labels() {
        for (written, ascii) in [
            ("https://B\u{fc}cher.example", "https://xn--bcher-kva.example"),
            ("http://b\u{fc}cher.example:8080/a?b", "http://xn--bcher-kva.example:8080/a?b"),
            ("https://x.example/%C3%BC", "https://x.example/%C3%BC"),
            ("anything", "anything"),
        ] {
            assert_eq!(in_ascii(written).as_deref(), Ok(ascii));
        }
        let wrong =
            ["b\u{fc}cher.example", "https://\u{202e}b\u{fc}.example", "https://x.example/\u{fc}", "https://\u{fc} b/"];
        for wrong in wrong {
            assert!(in_ascii(wrong).is_err(), "{wrong}");
        }
    }
}
