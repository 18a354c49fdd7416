//! `mailstamp doctor`: checks the configuration, the clock, the keys, the state and its file system, and judges a
//! message of its own. It changes nothing.

#[cfg(feature = "postgres")]
mod database;
#[cfg(feature = "sender")]
mod dkim;
mod mail_system;
#[cfg(feature = "sender")]
mod peers;
mod settings;
mod state;
mod submission;
#[cfg(feature = "sender")]
mod wallet;

use crate::cli::mail_path::VERSION;
use crate::cli::ui::exit_status::{CONFIG, Failure};
use crate::cli::ui::installed;
use crate::cli::ui::output;
use crate::cli::ui::terminal_text::without_controls;
use crate::config::Config;
use crate::config::boundary::Listen;
use crate::config::paths::{self, CliOverrides, Paths};
use crate::engine::remote::client::{SYSTEM_SOCKET, file_set, user_socket};
use crate::engine::remote::status::{self, StatusOutcome};
use crate::engine::self_test;
use crate::message::header::escape_untrusted;
use crate::os::clock_record::{self, ClockHealth};
use crate::os::{clock, unix_socket, without_numbers};
use anstyle::{AnsiColor, Style};
use serde_json::json;
use std::io::{self, Write};
use std::net::TcpStream;
use std::os::unix::fs::FileTypeExt;
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::Duration;

/// Connect timeout of the checks of the daemon's sockets.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(2);

/// Check the setup, and say what to do about each problem.
///
/// The exit status is 0 when all is well, and 78 when something is not.
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:\n  mailstamp doctor\n  mailstamp doctor --json --user alice@x.example")]
pub struct Args {
    /// The user of the mailbox, where the configuration has %u, %n or %d
    #[arg(long, value_name = "USER")]
    pub user: Option<String>,
    /// Print a JSON object
    #[arg(long)]
    json: bool,
}

/// Result of a check.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Health {
    Ok,
    /// Works, but may not be as intended.
    Warning,
    Error,
}

struct Finding {
    what: &'static str,
    health: Health,
    text: String,
}

impl Finding {
    fn ok(what: &'static str, text: impl Into<String>) -> Self {
        Self { what, health: Health::Ok, text: without_numbers(&text.into()) }
    }

    fn warning(what: &'static str, text: impl Into<String>) -> Self {
        Self { what, health: Health::Warning, text: without_numbers(&text.into()) }
    }

    fn error(what: &'static str, text: impl Into<String>) -> Self {
        Self { what, health: Health::Error, text: without_numbers(&text.into()) }
    }
}

/// Runs the command.
///
/// # Errors
/// A failure only when the findings cannot be printed.
pub fn run(args: &Args, given: &CliOverrides) -> Result<u8, Failure> {
    let findings = findings(given);
    let ill = findings.iter().any(|finding| finding.health == Health::Error);
    if args.json {
        let findings: Vec<_> =
            findings.iter().map(|f| json!({ "check": f.what, "health": word(f.health), "text": f.text })).collect();
        output::line(&json!({ "schema": output::SCHEMA, "well": !ill, "checks": findings }).to_string())?;
    } else {
        let mut out = anstream::AutoStream::auto(io::stdout().lock());
        for finding in &findings {
            let style = style(finding.health);
            writeln!(
                out,
                "{style}{:<7}{style:#}  {:<14}  {}",
                word(finding.health),
                finding.what,
                without_controls(&finding.text)
            )?;
        }
        out.flush()?;
    }
    Ok(if ill { CONFIG } else { 0 })
}

/// Returns what is still to be done, the most important first, in the words of the command.
pub(super) fn open_points(given: &CliOverrides) -> Vec<String> {
    let mut findings = findings(given);
    findings.retain(|finding| finding.health != Health::Ok);
    findings.sort_by_key(|finding| finding.health != Health::Error);
    findings.iter().map(|finding| format!("{}: {}", finding.what, without_controls(&finding.text))).collect()
}

fn findings(given: &CliOverrides) -> Vec<Finding> {
    let mut findings = Vec::new();
    match Paths::read(given) {
        Err(error) => findings.push(Finding::error("configuration", error.to_string())),
        Ok((config, places)) if places.own_state.is_some() => findings.extend(under_system(&config, &places, given)),
        Ok((config, places)) => {
            findings.push(settings::configuration(&config, &places, given));
            findings.extend(settings::folders(&config));
            findings.extend(settings::open_folders(&places));
            findings.extend(settings::rules(&config, &places));
            findings.extend(state::learned(&config, &places));
            findings.extend(settings::results(&config));
            findings.extend(settings::vendors(&places));
            findings.extend(settings::directories(&places));
            findings.extend(state::state(&config, &places));
            findings.extend(settings::setup(&places));
            #[cfg(feature = "postgres")]
            findings.extend(database::database(&config, &places));
            findings.extend(config.deliver.maildir.as_deref().and_then(state::room));
            findings.extend(state::maildir(&config, &places));
            findings.push(syslog(&config));
            findings.extend(settings::replies(&config));
            findings.extend(state::held(given));
            findings.extend(state::digests(&config, &places));
            findings.extend(state::watched(&config));
            findings.extend(milter(&config));
            findings.extend(submission::submission(&config, &places));
            #[cfg(feature = "sender")]
            findings.extend(peers::peers(&config, &places));
            #[cfg(feature = "sender")]
            findings.extend(wallet::wallet(&config, &places));
            findings.extend(settings::boundaries(&config));
            findings.extend(mail_system::mail_system(paths::home().as_deref(), config.milter().is_some()));
        }
    }
    findings.push(programs());
    findings.push(daemon(given));
    findings.extend(two_daemons(given));
    findings.push(clock(given));
    findings.push(match self_test::self_test() {
        Ok(()) => {
            Finding::ok("self-test", "a stamp of our own is accepted once, again on its message, and not on another")
        }
        Err(what) => Finding::error("self-test", what),
    });
    findings
}

/// Checks what counts for a user whose used log only the system's daemon can open. The rest is that process's, and
/// closed to this user.
fn under_system(config: &Config, places: &Paths, given: &CliOverrides) -> Vec<Finding> {
    let mut findings = vec![settings::configuration(config, places, given)];
    findings.extend(settings::open_folders(places));
    findings.extend(settings::rules(config, places));
    findings.push(state::closed(places));
    if let Ok(own) = places.user_state() {
        findings.push(state::folder_of_state(own, "a message is held"));
        findings.extend(state::room(own));
    }
    findings.extend(places.maildir.as_deref().and_then(state::room));
    findings.extend(state::maildir(config, places));
    findings.push(syslog(config));
    if config.replies.on() {
        let text =
            "no reply is sent to mail of yours: the reply log is the daemon's; a configuration of your own sends";
        findings.push(Finding::warning("replies", text));
    }
    findings.extend(state::held(given));
    findings.extend(mail_system::mail_system(paths::home().as_deref(), config.milter().is_some()));
    findings
}

/// Checks that the program that judges mail is of the same release as this one.
fn programs() -> Finding {
    let what = "programs";
    let filter = match installed::mailstamp() {
        Ok(filter) => filter,
        Err(error) => return Finding::error(what, format!("cannot find this program: {error}")),
    };
    let version = match Command::new(&filter).arg("--version").stdin(Stdio::null()).output() {
        Ok(ran) => String::from_utf8_lossy(&ran.stdout).trim_end().to_owned(),
        Err(error) => return Finding::warning(what, format!("{}: {error}", filter.display())),
    };
    if version == VERSION {
        Finding::ok(what, format!("{version} at {}", filter.display()))
    } else {
        let version = escape_untrusted(version.as_bytes(), 100);
        Finding::error(
            what,
            format!("{}: {version:?}, expected {VERSION:?}; install both programs anew", filter.display()),
        )
    }
}

fn word(health: Health) -> &'static str {
    match health {
        Health::Ok => "ok",
        Health::Warning => "warning",
        Health::Error => "error",
    }
}

fn style(health: Health) -> Style {
    let colour = match health {
        Health::Ok => AnsiColor::Green,
        Health::Warning => AnsiColor::Yellow,
        Health::Error => AnsiColor::Red,
    };
    Style::new().fg_color(Some(colour.into()))
}

/// Checks the milter, if there is to be one.
fn milter(config: &Config) -> Option<Finding> {
    let (what, listen) = ("milter", &config.milter()?.listen);
    let connected = match listen {
        Listen::Unix(path) => unix_socket::connect(path).map(drop),
        Listen::Inet(address) => TcpStream::connect_timeout(address, CONNECT_TIMEOUT).map(drop),
    };
    Some(match connected {
        Ok(()) => Finding::ok(what, format!("listens at {listen}")),
        // Its mode admits the mail system alone.
        Err(error) if error.kind() == io::ErrorKind::PermissionDenied => {
            Finding::warning(what, format!("{listen}: your user may not connect, so it was not checked"))
        }
        Err(error) => Finding::error(what, format!("{listen}: {error}; the mail system defers mail")),
    })
}

/// Checks the daemon, if there is one.
fn daemon(given: &CliOverrides) -> Finding {
    let what = "daemon";
    let ours = env!("CARGO_PKG_VERSION");
    match status::ask(given) {
        StatusOutcome::NotRunning if is_needed(given) => {
            let text = "none answers, and only it can open the used log: stamped mail waits; the administrator starts it: \
                        systemctl start mailstamp-system.socket";
            Finding::error(what, text)
        }
        StatusOutcome::NotRunning => Finding::ok(what, "none; each message is judged by a process of its own"),
        StatusOutcome::Silent(socket) => {
            let text = format!("the process listening at {} does not answer, so mail may wait", socket.display());
            Finding::error(what, text + "; restart mailstamp serve")
        }
        StatusOutcome::Well(status, _) => {
            let it = format!("process {} of version {}", status.pid, escape_untrusted(status.version.as_bytes(), 40));
            if status.same_files == Some(false) {
                Finding::warning(
                    what,
                    format!("{it} answers, but uses other files than you, so it judges none of your messages"),
                )
            } else if status.version != ours {
                Finding::warning(what, format!("{it} answers, and this is version {ours}; restart mailstamp serve"))
            } else if !status.log.answers {
                Finding::error(what, format!("{it} answers, but its log does not, so stamped mail waits"))
            } else {
                Finding::ok(what, format!("{it} answers, and uses the same files"))
            }
        }
    }
}

/// Returns whether only the daemon of the system can open the used log of this user.
fn is_needed(given: &CliOverrides) -> bool {
    Paths::read(given).is_ok_and(|(_, places)| places.own_state.is_some())
}

/// Checks that not both the user's own daemon and the system's run for this user.
fn two_daemons(given: &CliOverrides) -> Option<Finding> {
    let runs = |socket: &Path| unix_socket::connect(socket).is_ok();
    let own = user_socket(&file_set(given)).is_some_and(|socket| runs(&socket));
    (own && runs(Path::new(SYSTEM_SOCKET))).then(|| {
        let text = "your own daemon and the system's both run; yours judges your messages, the system's those of users \
                    without one; stop one with systemctl disable --now (--user for yours) if that is not intended";
        Finding::warning("daemon", text)
    })
}

fn syslog(config: &Config) -> Finding {
    let what = "syslog";
    match &config.syslog {
        None => Finding::ok(what, "switched off"),
        Some(path) => match std::fs::metadata(path) {
            Ok(metadata) if metadata.file_type().is_socket() => Finding::ok(what, format!("{}", path.display())),
            _ => Finding::warning(what, format!("nothing listens at {}; verdicts do not reach syslog", path.display())),
        },
    }
}

fn clock(given: &CliOverrides) -> Finding {
    let what = "clock";
    let now = clock::now();
    if now < crate::context::RELEASE_TIME {
        return Finding::error(
            what,
            format!("system clock is wrong: {now} is before this release; stamped mail is deferred"),
        );
    }
    let places = Paths::read(given).ok().map(|(_, places)| places);
    let record = places.and_then(|places| clock_record::read(places.user_state().ok()?));
    match record.map(|record| record.health(now, clock::uptime())) {
        None | Some(ClockHealth::Believed) => Finding::ok(what, now.to_string()),
        Some(ClockHealth::Ahead { expected }) => Finding::warning(
            what,
            format!(
                "{now} is ahead of {expected}, the time last seen and the uptime since; nothing is forgotten until the \
                 machine has run for a day; if the clock is right, mailstamp purge --now {now} forgets at once"
            ),
        ),
        Some(ClockHealth::WasAhead { read }) => Finding::warning(
            what,
            format!("{now}; the clock was ahead at {read}, and nothing was forgotten; the next delivery notes it"),
        ),
        Some(ClockHealth::Behind { seen }) => Finding::warning(
            what,
            format!("{now} is behind {seen}, the time last seen; set the clock, unless it was ahead then"),
        ),
    }
}
