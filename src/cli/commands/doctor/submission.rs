//! The server for outgoing mail, and what it needs: its password, certificate, next server, accounts and outbox.

use super::{CONNECT_TIMEOUT, Finding};
use crate::config::Config;
use crate::config::paths::Paths;
use crate::config::submission::SubmissionServer;
use std::net::TcpStream;

/// Checks the submission server, if there is to be one, and what `mailstamp sendmail` needs too.
pub(super) fn submission(config: &Config, places: &Paths) -> Vec<Finding> {
    let mut findings: Vec<Finding> = config.submission.iter().map(server).collect();
    #[cfg(feature = "sender")]
    findings.extend(sender::sender(config, places));
    #[cfg(not(feature = "sender"))]
    let _ = (places, &mut findings);
    findings
}

fn server(settings: &SubmissionServer) -> Finding {
    let what = "submission";
    if let Err(error) = settings.password() {
        return Finding::error(what, format!("{error}; no mail program can log in"));
    }
    let at = settings.listen;
    match TcpStream::connect_timeout(&at, CONNECT_TIMEOUT) {
        Ok(_) => Finding::ok(what, format!("listens at {at}")),
        Err(error) => Finding::error(what, format!("{at}: {error}; is mailstamp serve running?")),
    }
}

#[cfg(feature = "sender")]
mod sender {
    use super::{CONNECT_TIMEOUT, Config, Finding, Paths};
    use crate::config::sendmail::NextHop;
    use crate::config::submission::ServerTls;
    use crate::os::clock;
    use crate::sender::account::Accounts;
    use crate::sender::submission::outbox::{Listed, Outbox};
    use crate::sender::submission::transport::Transport;
    use crate::server::tls::{Certificate, Validity};
    use rustix::fs::{Access, access};
    use std::io;
    use std::net::{TcpStream, ToSocketAddrs};

    pub(super) fn sender(config: &Config, places: &Paths) -> Vec<Finding> {
        let server = config.submission.as_ref();
        let certificate = server.and_then(|server| server.tls.as_ref()).map(certificate);
        let outbox = outbox(places);
        // `mailstamp sendmail` needs no configuration, so only these tell that mail is to be sent.
        let is_used = server.is_some() || matches!(config.sendmail.next, NextHop::Smtp(_)) || outbox.is_some();
        let others = is_used.then(|| [Some(next(&config.sendmail.next)), accounts(places)]);
        certificate.into_iter().chain(others.into_iter().flatten().flatten()).chain(outbox).collect()
    }

    fn certificate(tls: &ServerTls) -> Finding {
        let what = "certificate";
        match Certificate::read(&tls.into()) {
            Err(error) => Finding::error(what, error.to_string()),
            Ok(certificate) => {
                let validity = certificate.validity_at(clock::now());
                let text = format!("{}: {validity}", tls.certificate.display());
                match validity {
                    Validity::Good(_) => Finding::ok(what, text),
                    Validity::Ending(_) => Finding::warning(what, text + "; renew it"),
                    Validity::Early(_) | Validity::Over(_) | Validity::Unknown => Finding::error(what, text),
                }
            }
        }
    }

    /// Checks that copies can be handed over. Sends nothing.
    fn next(next: &NextHop) -> Finding {
        let what = "next server";
        if let Err(error) = Transport::new(next) {
            return Finding::error(what, error.to_string());
        }
        match next {
            NextHop::Program(path, _) => match access(path, Access::EXEC_OK) {
                Ok(()) => Finding::ok("next program", path.display().to_string()),
                Err(error) => Finding::error("next program", format!("{}: {}", path.display(), io::Error::from(error))),
            },
            NextHop::Smtp(smtp) => {
                let connected = (smtp.host.as_str(), smtp.port).to_socket_addrs().and_then(|mut addresses| {
                    let first = addresses.next().ok_or(io::ErrorKind::NotFound)?;
                    TcpStream::connect_timeout(&first, CONNECT_TIMEOUT)
                });
                let at = format!("{}:{}", smtp.host, smtp.port);
                match connected {
                    Ok(_) => Finding::ok(what, format!("listens at {at}")),
                    Err(error) => Finding::error(what, format!("{at}: {error}; messages wait")),
                }
            }
        }
    }

    /// Warns if no stamp can be bought.
    fn accounts(places: &Paths) -> Option<Finding> {
        let what = "accounts";
        match Accounts::new(places.state().ok()?).list() {
            Ok(accounts) if accounts.is_empty() => Some(Finding::warning(
                what,
                "no account at a vendor, so no stamp is bought, and mail that needs one is not sent; mailstamp account \
                 add",
            )),
            Ok(_) => None,
            Err(error) => Some(Finding::error(what, error.to_string())),
        }
    }

    /// Tells which messages wait.
    fn outbox(places: &Paths) -> Option<Finding> {
        let what = "outbox";
        let listed = match Outbox::new(places.state().ok()?).list() {
            Ok(listed) => listed,
            Err(error) => return Some(Finding::error(what, error.to_string())),
        };
        let (mut waiting, mut unaccepted) = (0, 0);
        for message in listed {
            match message {
                Ok(message) if Listed::is_unaccepted(&message) => unaccepted += 1,
                Ok(_) => waiting += 1,
                Err(error) => return Some(Finding::error(what, error.to_string())),
            }
        }
        (waiting + unaccepted > 0).then(|| {
            let text = format!(
                "messages that wait: {waiting}; answered 451, so that their mail programs must send them again: \
                 {unaccepted}; mailstamp sendmail -bp lists them"
            );
            Finding::warning(what, text)
        })
    }
}
