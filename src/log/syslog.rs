//! Sends one line to syslog, facility mail. A missing syslog, or one that does not listen, costs no time and stops no
//! delivery.

use std::io;
use std::os::unix::net::UnixDatagram;
use std::path::Path;

/// Facility mail (2), severity informational (6): RFC 5424 section 6.2.1.
const MAIL_INFO: u8 = 2 * 8 + 6;
/// Facility mail (2), severity error (3).
const MAIL_ERROR: u8 = 2 * 8 + 3;
/// Longest line; the rest is cut. RFC 5424 section 6.1 lets a receiver cut at 2,048 octets.
const LONGEST: usize = 2000;

/// Severity of a line.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Severity {
    /// A message was judged.
    Info,
    /// A message could not be judged.
    Error,
}

/// Sends `line` to syslog at `socket`, without waiting.
///
/// # Errors
/// The system's, when nothing listens there or syslog does not keep up.
pub fn send(socket: &Path, severity: Severity, line: &str) -> io::Result<()> {
    let priority = match severity {
        Severity::Info => MAIL_INFO,
        Severity::Error => MAIL_ERROR,
    };
    let mut text = format!("<{priority}>mailstamp[{}]: {line}", std::process::id());
    if text.len() > LONGEST {
        let end = (0..=LONGEST).rev().find(|end| text.is_char_boundary(*end)).unwrap_or(0);
        text.truncate(end);
    }
    let sender = UnixDatagram::unbound()?;
    sender.set_nonblocking(true)?;
    sender.send_to(text.as_bytes(), socket)?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::mpsc;
    use std::time::Duration;

    #[test]
    fn a_line_arrives_with_facility_mail() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("log");
        let log = UnixDatagram::bind(&path).unwrap();
        send(&path, Severity::Info, &"class=paid ".repeat(400)).unwrap();
        let mut buffer = [0; 4096];
        let length = log.recv(&mut buffer).unwrap();
        let text = String::from_utf8_lossy(&buffer[..length]).into_owned();
        assert!(text.starts_with("<22>mailstamp[") && text.contains("]: class=paid"), "{text}");
        assert!(length <= LONGEST);
    }

    #[test]
    fn a_full_socket_is_an_error_and_not_a_wait() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("log");
        let _unread = UnixDatagram::bind(&path).unwrap();
        let (result, received) = mpsc::channel();
        // On a thread of its own, so that a send that waits fails the test and does not stop it.
        std::thread::spawn(move || {
            let error = (0..100_000).find_map(|_| send(&path, Severity::Info, "class=paid").err());
            result.send(error.map(|error| error.kind()))
        });
        assert_eq!(received.recv_timeout(Duration::from_secs(60)), Ok(Some(io::ErrorKind::WouldBlock)));
    }

    #[test]
    fn nobody_listening_is_an_error_and_not_a_wait() {
        let folder = tempfile::tempdir().unwrap();
        assert!(send(&folder.path().join("log"), Severity::Error, "x").is_err());
    }
}
