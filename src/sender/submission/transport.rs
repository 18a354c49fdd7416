//! Transport of copies: the next sendmail(8), without a shell and with the caller's environment, or an SMTP server.
//! Errors are sorted into temporary and permanent ones.

use super::parse::Recipient;
use crate::config::file::{self, FileError};
use crate::config::sendmail::{NextHop, Smtp, Tls};
use crate::message::edit::Edit;
use crate::net::sendmail::{self, Group, SendError};
use crate::net::smtp::{Protection, Server, SmtpError};
use crate::os::clock;
use crate::os::file_version::FileVersion;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

/// Timeout of handing over a copy.
const LIMIT: Duration = Duration::from_secs(300);
/// How long the certificates of the system are used before they are read again.
const SYSTEM_INTERVAL: Duration = Duration::from_secs(600);
/// Permanent exit statuses of sysexits(3): wrong use, wrong data, no such user, no such host, unavailable, not
/// permitted. All others are temporary.
const NEVER: [i32; 6] = [64, 65, 67, 68, 69, 77];
/// Exit status of a refusal by the server (EX_UNAVAILABLE).
const REFUSED: u8 = 69;

/// Receiver of the copies.
#[derive(Debug)]
pub enum Transport {
    /// A program, and the arguments before those of mailstamp.
    Program(PathBuf, Vec<String>),
    Smtp(Box<Server>),
}

/// The transport that was made last, for a process that stays. It is made anew when the configuration, the password or
/// the additional certificates change, and from time to time for the certificates of the system.
#[derive(Debug, Default)]
pub struct CachedTransport(Mutex<Option<Made>>);

#[derive(Debug)]
struct Made {
    next: NextHop,
    files: Vec<Option<FileVersion>>,
    /// When the files were read, since 1970.
    read: Duration,
    at: Instant,
    transport: Arc<Transport>,
}

/// The transport cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum TransportError {
    /// The file of the password or the certificates cannot be read.
    #[error(transparent)]
    File(#[from] FileError),
    #[error("{}: not certificates in PEM form", .0.display())]
    Certificates(PathBuf),
    #[error("cannot set up TLS: {0}")]
    Tls(String),
    #[error("sendmail.next = {0:?} is mailstamp itself: no message would ever leave")]
    Itself(PathBuf),
}

/// A copy was not accepted.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TransportRejection {
    /// Exit status of a permanent refusal; `None` if it is temporary.
    pub never: Option<u8>,
    /// Message of the receiver, in printable characters.
    pub said: String,
}

impl Transport {
    /// Creates the transport that the configuration names. Runs and connects nothing yet.
    pub fn new(next: &NextHop) -> Result<Self, TransportError> {
        match next {
            NextHop::Program(path, words) => {
                if is_this_program(path) {
                    return Err(TransportError::Itself(path.clone()));
                }
                Ok(Self::Program(path.clone(), words.clone()))
            }
            NextHop::Smtp(smtp) => server(smtp).map(|server| Self::Smtp(Box::new(server))),
        }
    }

    /// Hands a copy over.
    ///
    /// `sender` is empty for the null sender. If it is `None`, `otherwise` is the sender that an SMTP server gets.
    pub fn send(
        &self,
        sender: Option<&str>,
        otherwise: Option<&str>,
        to: &Recipient,
        copy: &Edit<'_>,
    ) -> Result<(), TransportRejection> {
        match self {
            Self::Program(path, words) => {
                let mut command = Command::new(path);
                command.args(words).arg("-i");
                if let Some(sender) = sender {
                    command.args(["-f", if sender.is_empty() { "<>" } else { sender }]);
                }
                command.arg("--").arg(to.to_string());
                sendmail::feed(command, &mut copy.pieces(), LIMIT, Group::that_may_ask())
                    .map_err(|error| by_program(path, &error))
            }
            Self::Smtp(server) => {
                let Recipient::Address(address) = to else {
                    let said = "a name without a domain cannot be sent by SMTP".to_owned();
                    return Err(TransportRejection { never: Some(REFUSED), said });
                };
                let sender = match sender {
                    Some("") => None,
                    Some(sender) => Some(sender),
                    None => otherwise,
                };
                server.send(sender, &address.to_string(), &mut copy.pieces()).map_err(|error| match error {
                    SmtpError::Refused(said) => TransportRejection { never: Some(REFUSED), said },
                    SmtpError::Later(said) => TransportRejection { never: None, said },
                })
            }
        }
    }
}

impl CachedTransport {
    /// Returns the transport that the configuration names.
    pub fn get(&self, next: &NextHop) -> Result<Arc<Transport>, TransportError> {
        let mut made = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(made) = made.as_ref().filter(|made| made.is_fresh(next)) {
            return Ok(Arc::clone(&made.transport));
        }
        let (read, files) = (clock::since_1970(), files(next));
        let transport = Arc::new(Transport::new(next)?);
        let new = Made { next: next.clone(), files, read, at: Instant::now(), transport: Arc::clone(&transport) };
        *made = Some(new);
        Ok(transport)
    }
}

impl Made {
    fn is_fresh(&self, next: &NextHop) -> bool {
        let is_settled = |file: &Option<FileVersion>| file.is_none_or(|version| version.is_settled(self.read));
        self.next == *next
            && self.at.elapsed() < SYSTEM_INTERVAL
            && self.files.iter().all(is_settled)
            && files(next) == self.files
    }
}

/// Returns the versions of the files that a transport is made from.
fn files(next: &NextHop) -> Vec<Option<FileVersion>> {
    let NextHop::Smtp(smtp) = next else { return Vec::new() };
    let password = smtp.login.as_ref().map(|(_, path)| path);
    password.into_iter().chain(&smtp.ca_file).map(|path| FileVersion::of(path)).collect()
}

fn by_program(path: &Path, error: &SendError) -> TransportRejection {
    let never = match error {
        SendError::Failed { status, .. } => status.code().filter(|code| NEVER.contains(code)),
        SendError::Start(_) | SendError::TimeOut(_) => None,
    };
    let never = never.and_then(|code| u8::try_from(code).ok());
    TransportRejection { never, said: format!("{}: {error}", path.display()) }
}

fn server(smtp: &Smtp) -> Result<Server, TransportError> {
    let protection = match smtp.tls {
        Tls::Implicit => Protection::Implicit,
        Tls::Starttls => Protection::Starttls,
        Tls::Off => Protection::None,
    };
    let login = match &smtp.login {
        Some((user, path)) => Some((user.clone(), file::read_password(path)?.as_str().to_owned())),
        None => None,
    };
    let certificates = smtp.ca_file.as_deref().map(file::read).transpose()?;
    Server::new(&smtp.host, smtp.port, protection, login, certificates.as_deref(), LIMIT).map_err(|error| {
        match &smtp.ca_file {
            Some(path) => TransportError::Certificates(path.clone()),
            None => TransportError::Tls(error.to_string()),
        }
    })
}

/// Returns whether the next program is this one, through any link, which would be an endless loop.
///
/// Two programs share a folder and become each other (`cli/tools.rs`).
fn is_this_program(path: &Path) -> bool {
    match (fs::canonicalize(path), std::env::current_exe().and_then(fs::canonicalize)) {
        (Ok(next), Ok(own)) => {
            next == own || fs::canonicalize(own.with_file_name("mailstamp")).is_ok_and(|it| next == it)
        }
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::PermissionsExt;

    #[test]
    fn a_transport_is_made_anew_when_its_configuration_or_a_file_changes() {
        let folder = tempfile::tempdir().unwrap();
        let password = folder.path().join("password");
        let write = |text: &str| {
            fs::write(&password, text).unwrap();
            fs::set_permissions(&password, fs::Permissions::from_mode(0o600)).unwrap();
        };
        write("one\n");
        let read_at = |path: &Path| FileVersion::of(path).unwrap();
        // Until a change of the file would show.
        while !read_at(&password).is_settled(clock::since_1970()) {}
        let smtp = |port: u16| {
            let login = Some(("me".to_owned(), password.clone()));
            NextHop::Smtp(Smtp { host: "127.0.0.1".to_owned(), port, tls: Tls::Off, login, ca_file: None })
        };
        let cached = CachedTransport::default();
        let first = cached.get(&smtp(25)).unwrap();
        assert!(Arc::ptr_eq(&first, &cached.get(&smtp(25)).unwrap()));
        let second = cached.get(&smtp(26)).unwrap();
        assert!(!Arc::ptr_eq(&first, &second));
        write("another\n");
        assert!(!Arc::ptr_eq(&second, &cached.get(&smtp(26)).unwrap()));
        // A file that cannot be used is an error each time.
        fs::remove_file(&password).unwrap();
        assert!(cached.get(&smtp(26)).is_err() && cached.get(&smtp(26)).is_err());
    }
}
