//! Failed connections in plain words: which host, what happened, and what to do where that is not plain.

use rustls::CertificateError;
use std::error::Error;
use std::io::{self, ErrorKind};

/// Beginning of std's text when getaddrinfo(3) finds no address.
const LOOKUP: &str = "failed to lookup address information";

/// Describes why an exchange with `peer` failed. `None` if no cause is an error of the system or of TLS.
pub(super) fn describe(error: &(dyn Error + 'static), peer: &str) -> Option<String> {
    if let Some(error) = error.downcast_ref::<rustls::Error>() {
        return Some(by_tls(error, peer));
    }
    if let Some(error) = error.downcast_ref::<io::Error>() {
        // An io::Error hides the error within it from `source`.
        let inner = error.get_ref().and_then(|inner| describe(inner, peer));
        return Some(inner.unwrap_or_else(|| by_system(error, peer)));
    }
    error.source().and_then(|cause| describe(cause, peer))
}

/// Describes that no address was found.
pub(super) fn no_address(peer: &str) -> String {
    format!("no address found for {peer}; check the name and the network")
}

/// Describes that the time was up.
pub(super) fn too_slow(peer: &str) -> String {
    format!("{peer} does not answer in time")
}

fn by_system(error: &io::Error, peer: &str) -> String {
    match error.kind() {
        ErrorKind::ConnectionRefused => format!("{peer} refuses the connection"),
        ErrorKind::ConnectionReset
        | ErrorKind::ConnectionAborted
        | ErrorKind::BrokenPipe
        | ErrorKind::NotConnected
        | ErrorKind::UnexpectedEof => format!("{peer} closed the connection"),
        ErrorKind::TimedOut | ErrorKind::WouldBlock => too_slow(peer),
        ErrorKind::HostUnreachable | ErrorKind::NetworkUnreachable | ErrorKind::NetworkDown => {
            format!("no route to {peer}; check the network")
        }
        _ if error.to_string().starts_with(LOOKUP) => no_address(peer),
        _ => format!("no connection to {peer}: {error}"),
    }
}

fn by_tls(error: &rustls::Error, peer: &str) -> String {
    let rustls::Error::InvalidCertificate(why) = error else {
        return format!("no TLS connection to {peer}: {error}");
    };
    let why = match why {
        CertificateError::UnknownIssuer => "no authority that this system trusts issued it",
        CertificateError::Expired | CertificateError::ExpiredContext { .. } => "it has expired",
        CertificateError::NotValidYet | CertificateError::NotValidYetContext { .. } => {
            "it is not valid yet; check the clock"
        }
        CertificateError::NotValidForName | CertificateError::NotValidForNameContext { .. } => "it is for another name",
        CertificateError::Revoked => "it was revoked",
        _ => "it is malformed",
    };
    format!("the certificate of {peer} is not accepted: {why}")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn said(error: impl Error + 'static) -> String {
        describe(&error, "v.example").unwrap()
    }

    #[test]
    fn errors_name_the_host_and_not_the_library() {
        let lookup = io::Error::other(format!("{LOOKUP}: Name or service not known"));
        assert_eq!(said(lookup), "no address found for v.example; check the name and the network");
        let io = |kind: ErrorKind| said(io::Error::from(kind));
        assert_eq!(io(ErrorKind::ConnectionRefused), "v.example refuses the connection");
        assert_eq!(io(ErrorKind::UnexpectedEof), "v.example closed the connection");
        assert_eq!(io(ErrorKind::TimedOut), "v.example does not answer in time");
        assert_eq!(io(ErrorKind::NetworkUnreachable), "no route to v.example; check the network");
        let unknown = rustls::Error::InvalidCertificate(CertificateError::UnknownIssuer);
        let expected = "the certificate of v.example is not accepted: no authority that this system trusts issued it";
        assert_eq!(said(io::Error::new(ErrorKind::InvalidData, unknown.clone())), expected);
        assert_eq!(said(io::Error::other(io::Error::new(ErrorKind::InvalidData, unknown))), expected);
        assert_eq!(describe(&std::fmt::Error, "v.example"), None);
    }

    #[test]
    fn the_text_of_std_for_a_name_without_an_address_is_known() {
        let error = std::net::ToSocketAddrs::to_socket_addrs(&("no.such.host.invalid", 1)).unwrap_err();
        assert!(error.to_string().starts_with(LOOKUP), "{error}");
    }
}
