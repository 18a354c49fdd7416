//! Sentences for what a server, its network or its certificate does wrong (PostgreSQL 15, appendix A, for the codes).

use crate::database::Tls;
use crate::store::error::StoreError;
use std::error::Error as _;
use std::io;
use tokio_postgres::Error;
use tokio_postgres::error::DbError;

const UNKNOWN_AUTHORITY: &str = "its certificate is of no authority in [store] ca";
const UNKNOWN_TO_SYSTEM: &str =
    "its certificate is of no authority that this system trusts; name the file of its authority in [store] ca";

/// Whether a request that breaks off may have changed rows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    Read,
    Write,
}

/// Returns the error for a request on an open connection.
pub(super) fn request(server: &str, kind: Kind, error: &Error) -> StoreError {
    match error.as_db_error() {
        // The server ends the session. A commit may have waited for a standby then, and is durable on the primary.
        Some(error) if error.code().code().starts_with("57P") => ended(server, kind, "it ended the session"),
        Some(error) => answered(server, error),
        None => ended(server, kind, &network(error)),
    }
}

/// Returns the error for a connection that broke, or brought no answer in time.
pub(super) fn ended(server: &str, kind: Kind, what: &str) -> StoreError {
    let (server, what) = (server.to_owned(), what.to_owned());
    match kind {
        Kind::Read => StoreError::Unreachable { server, what },
        Kind::Write => StoreError::Undecided { server, what },
    }
}

/// Returns the error for a connection that was not made.
pub(super) fn connect(server: &str, error: &Error, tls: Option<&Tls>) -> StoreError {
    match error.as_db_error() {
        Some(error) => answered(server, error),
        None => {
            let what = network(error);
            let has_no_ca = tls.is_some_and(|tls| tls.ca.is_none());
            let what = if has_no_ca && what == UNKNOWN_AUTHORITY { UNKNOWN_TO_SYSTEM.to_owned() } else { what };
            StoreError::Unreachable { server: server.to_owned(), what }
        }
    }
}

/// Whether another try of the same statement may succeed: deadlock, or serialization failure.
pub(super) fn is_transient(error: &Error) -> bool {
    error.code().is_some_and(|code| matches!(code.code(), "40P01" | "40001"))
}

/// Whether the statement was rolled back, and the session goes on. So one row of many may be to blame.
pub(super) fn is_of_statement(error: &Error) -> bool {
    error.code().is_some_and(|code| ["22", "23", "40", "55"].contains(&&code.code()[..2]))
}

fn answered(server: &str, error: &DbError) -> StoreError {
    let server = server.to_owned();
    let code = error.code().code();
    let what = match code {
        "28P01" => "the password is wrong, or the user has none".to_owned(),
        "28000" => {
            format!("this user may not connect from here; see pg_hba.conf and the roles ({})", plain(error.message()))
        }
        "3D000" => "the database does not exist; create it, then run mailstamp store init".to_owned(),
        "42P01" | "3F000" | "42883" | "42703" => {
            "the database has no tables of mailstamp; run mailstamp store init".to_owned()
        }
        "P0002" => no_space(),
        "42501" => format!("the user lacks a right: {}", plain(error.message())),
        "25006" => read_only(),
        "53300" => {
            "too many connections; raise max_connections there, or lower [store] connections on the hosts".to_owned()
        }
        "53100" => "its disk is full; free some space there".to_owned(),
        "53200" => "it is out of memory".to_owned(),
        "25P03" => "it ended a transaction that this host left open for too long; try again".to_owned(),
        "55P03" => "another session holds a row or a lock for too long; try again".to_owned(),
        "57P03" => {
            let what = "it is starting up, shutting down or in recovery; try again".to_owned();
            return StoreError::Unreachable { server, what };
        }
        "57P01" | "57P02" => {
            return StoreError::Unreachable { server, what: "it is shutting down; try again".to_owned() };
        }
        _ => format!("it answered {code}: {}", plain(error.message())),
    };
    StoreError::Refused { server, what }
}

/// The sentence about a space without a row.
pub(super) fn no_space() -> String {
    "the database does not have the log that [store] space names; check the name, or run mailstamp store init"
        .to_owned()
}

/// The sentence about a standby.
pub(super) fn standby() -> String {
    "it is a standby (in recovery); promote it, or name the primary".to_owned()
}

/// The sentence about a row that this program does not write.
pub(super) fn damaged() -> String {
    "a row of the log is damaged, or its tables are not those of mailstamp; restore the database from a backup"
        .to_owned()
}

/// The sentence about a server that takes no writes.
pub(super) fn read_only() -> String {
    "it is read-only; see default_transaction_read_only there".to_owned()
}

/// Describes an error below the protocol.
fn network(error: &Error) -> String {
    let mut source = error.source();
    while let Some(cause) = source {
        if let Some(io) = cause.downcast_ref::<io::Error>() {
            return of_io(io);
        }
        if let Some(tls) = cause.downcast_ref::<rustls::Error>() {
            return of_tls(tls);
        }
        source = cause.source();
    }
    let text = error.to_string();
    if error.is_closed() {
        "the connection broke".to_owned()
    } else if text.contains("does not support TLS") {
        "it does not offer TLS; see ssl in postgresql.conf".to_owned()
    } else if text.contains("password missing") {
        "it asks for a password; set [store] password_file".to_owned()
    } else if let Some(cause) = error.source() {
        let cause = cause.to_string();
        if cause.contains("does not support TLS") {
            "it does not offer TLS; see ssl in postgresql.conf".to_owned()
        } else if cause.contains("password missing") {
            "it asks for a password; set [store] password_file".to_owned()
        } else {
            plain(&cause)
        }
    } else {
        plain(&text)
    }
}

pub(super) fn of_io(error: &io::Error) -> String {
    if let Some(tls) = error.get_ref().and_then(|inner| inner.downcast_ref::<rustls::Error>()) {
        return of_tls(tls);
    }
    match error.kind() {
        io::ErrorKind::ConnectionRefused => "it does not listen there; is it running?".to_owned(),
        io::ErrorKind::NotFound => "there is no such socket; is it running?".to_owned(),
        io::ErrorKind::PermissionDenied => "the socket may not be used by this user".to_owned(),
        io::ErrorKind::TimedOut => "it does not answer".to_owned(),
        io::ErrorKind::ConnectionReset | io::ErrorKind::UnexpectedEof | io::ErrorKind::BrokenPipe => {
            "the connection broke".to_owned()
        }
        io::ErrorKind::HostUnreachable | io::ErrorKind::NetworkUnreachable => "it cannot be reached".to_owned(),
        _ => plain(&error.to_string()),
    }
}

fn of_tls(error: &rustls::Error) -> String {
    use rustls::{CertificateError as C, Error as E};
    match error {
        E::InvalidCertificate(C::UnknownIssuer | C::BadSignature) => UNKNOWN_AUTHORITY.to_owned(),
        E::InvalidCertificate(C::NotValidForName | C::NotValidForNameContext { .. }) => {
            "its certificate is for another name".to_owned()
        }
        E::InvalidCertificate(C::Expired | C::ExpiredContext { .. }) => "its certificate has expired".to_owned(),
        E::InvalidCertificate(_) => "its certificate is not valid".to_owned(),
        E::AlertReceived(_) => "it refuses our certificate, or wants one; see [store] certificate".to_owned(),
        other => plain(&other.to_string()),
    }
}

/// Returns a text on one line, without the number of an error.
pub(super) fn plain(text: &str) -> String {
    let text = text.split(" (os error").next().unwrap_or(text);
    text.chars().map(|char| if char.is_control() { ' ' } else { char }).collect()
}
