//! Client of the daemon (`mailstamp serve`): has a message judged there. The daemon has read configuration, keys and
//! rules and has the log open, so the client reads only the message.
//!
//! The client falls back to judging locally if there is no daemon, or if it is another user's. The result is the same: a
//! stamp that a daemon spent before it ended is recognized by its message. A message without a stamp needs no log, so a
//! daemon that hangs delays it for a second and does not defer it.
//!
//! If the daemon ends before it answers, its successor is asked once, where one is there: systemd keeps the socket while
//! a daemon is restarted. A user without a configuration of their own has a log that only the daemon can open.

use super::protocol::{FileSet, JudgeRequest, JudgeResponse, LARGEST, MailboxNames};
use crate::boundary::seal::may_be_sealed;
use crate::config::paths::{CliOverrides, is_own_config_away, is_setuid, xdg_dirs};
use crate::context::error::Deferral;
use crate::engine::marking::Mode;
use crate::ipc::connection::{ChannelError, Connection};
use crate::ipc::frame::{Kind, Limits};
use crate::message::parse::Message;
use crate::os::unix_socket;
use crate::policy::context::Extent;
use crate::stamp::extract::locate;
use crate::store::combining::client::{decode_error, is_timeout};
use crate::time::UnixTime;
use crate::verdict::facts::Envelope;
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

/// The name of the socket in the folder of the state.
pub const SOCKET: &str = "socket";
/// The socket of the daemon for the whole system.
pub const SYSTEM_SOCKET: &str = "/run/mailstamp/socket";
/// Timeout of all answers for a stamped message; the same as for a log that is busy.
const WAIT: Duration = Duration::from_secs(7);
/// Timeout of all answers for a message without a stamp, which is judged locally after it.
const UNSTAMPED_WAIT: Duration = Duration::from_secs(1);

/// The connection to the daemon, while it answers.
#[derive(Debug)]
pub struct DaemonClient {
    channel: Mutex<Option<Connection>>,
    file_set: FileSet,
    names: MailboxNames,
    now: Option<UnixTime>,
}

/// What the daemon logs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Logging {
    /// Nothing: the caller logs.
    ByCaller,
    Verdict,
}

impl DaemonClient {
    /// Connects to the daemon for this user, if there is one.
    #[must_use]
    pub fn connect(given: &CliOverrides, now: Option<UnixTime>) -> Option<Self> {
        if is_setuid() {
            return None;
        }
        let file_set = file_set(given);
        let (stream, _) = connect(&file_set)?;
        let names = MailboxNames {
            recipient: given.recipient.clone(),
            user: given.named.clone().or_else(|| given.user.clone()),
            recipient_variable: given.recipient_variable.clone(),
        };
        Some(Self { channel: Mutex::new(Some(Connection::new(stream))), file_set, names, now })
    }

    /// Judges a message in the daemon; `None` when it must be judged locally.
    ///
    /// # Errors
    /// [`Deferral::Remote`]: the message has to wait.
    pub fn judge(
        &self,
        message: &Message<'_>,
        envelope: &Envelope,
        marking: Mode,
        telling: Logging,
    ) -> Result<Option<JudgeResponse>, Deferral> {
        if message.raw().len() > LARGEST {
            return Ok(None);
        }
        // Without a stamp or a seal, only rules that ask for the text need the body.
        self.exchange(
            message,
            JudgeRequest { whole: has_stamp(message), ..self.question(message, envelope, marking, telling) },
        )
    }

    /// Judges a message in the daemon by its header: one that is too large for the daemon, or of which only the
    /// beginning was `seen`. Its stamps are not examined. `None` when it must be judged locally.
    ///
    /// # Errors
    /// [`Deferral::Remote`]: the message has to wait.
    pub fn judge_by_header(
        &self,
        message: &Message<'_>,
        envelope: &Envelope,
        marking: Mode,
        seen: Extent,
    ) -> Result<Option<JudgeResponse>, Deferral> {
        let beginning = seen == Extent::Beginning || has_stamp(message);
        let question = self.question(message, envelope, marking, Logging::ByCaller);
        self.exchange(message, JudgeRequest { beginning, ..question })
    }

    /// Returns the question about the header of a message.
    fn question(&self, message: &Message<'_>, envelope: &Envelope, marking: Mode, telling: Logging) -> JudgeRequest {
        JudgeRequest {
            file_set: self.file_set.clone(),
            names: self.names.clone(),
            recipient: envelope.recipient.as_ref().map(ToString::to_string),
            sender: envelope.sender.clone(),
            now: self.now,
            spend: marking == Mode::Spend,
            record: telling == Logging::Verdict,
            size: message.raw().len() as u64,
            whole: false,
            beginning: false,
        }
    }

    fn exchange(&self, message: &Message<'_>, mut question: JudgeRequest) -> Result<Option<JudgeResponse>, Deferral> {
        let mut slot = self.channel.lock().unwrap_or_else(PoisonError::into_inner);
        let Some(channel) = slot.as_mut() else { return Ok(None) };
        let is_large = message.raw().len() > LARGEST;
        let wait = Wait::new(question.whole || question.beginning || is_large);
        let mut ask_for = |channel: &mut Connection| match ask(channel, &question, message, &wait)? {
            Some(Response::WantBody) => {
                (question.whole, question.beginning) = (!is_large, is_large);
                ask(channel, &question, message, &wait)
            }
            other => Ok(other),
        };
        let mut answer = ask_for(channel)?;
        if let Some(Response::Ended) = answer
            && let Some((stream, _)) = connect(&self.file_set)
        {
            *channel = Connection::new(stream);
            answer = ask_for(channel)?;
        }
        match answer {
            Some(Response::Judged(answer)) => Ok(Some(*answer)),
            _ => {
                // The daemon is not asked again.
                *slot = None;
                Ok(None)
            }
        }
    }
}

/// Returns whether a message has a stamp or a seal, for which the daemon needs the whole message.
fn has_stamp(message: &Message<'_>) -> bool {
    let located = locate(message);
    !located.stamps.is_empty() || located.over_limit || may_be_sealed(message)
}

enum Response {
    Judged(Box<JudgeResponse>),
    WantBody,
    /// The daemon ended before it answered.
    Ended,
}

/// How long the daemon has for all its answers to one message, and its successor for the rest of that.
struct Wait {
    until: Instant,
    /// A small message without a stamp can be judged without the daemon's log.
    has_stamp: bool,
}

impl Wait {
    fn new(has_stamp: bool) -> Self {
        Self { until: Instant::now() + if has_stamp { WAIT } else { UNSTAMPED_WAIT }, has_stamp }
    }

    /// Returns the time that is left; never zero, which the system would take for no limit.
    fn left(&self) -> Duration {
        self.until.saturating_duration_since(Instant::now()).max(Duration::from_millis(1))
    }
}

fn ask(
    channel: &mut Connection,
    question: &JudgeRequest,
    message: &Message<'_>,
    wait: &Wait,
) -> Result<Option<Response>, Deferral> {
    let Ok(head) = serde_json::to_vec(question) else { return Ok(None) };
    let raw = message.raw();
    let header = raw.len() - message.body().len();
    let body = if question.whole { raw } else { &raw[..header.min(LARGEST)] };
    let answer = channel
        .send(Kind::Judge, &head, body, wait.left())
        .and_then(|()| channel.receive(Limits::HEAD_ONLY, wait.left(), wait.left()));
    match answer {
        Ok(Some(frame)) => match frame.kind {
            Kind::Verdict => Ok(JudgeResponse::from_head(&frame.head).map(|answer| Response::Judged(Box::new(answer)))),
            Kind::BodyNeeded if !question.whole && !question.beginning => Ok(Some(Response::WantBody)),
            Kind::Defer => {
                let told = decode_error(&frame.head);
                Err(Deferral::Remote { what: told.what, hint: told.hint })
            }
            _ => Ok(None),
        },
        // The daemon's log is busy or broken. To wait for the file as well would take too long for some callers.
        Err(ChannelError::Io(error)) if is_timeout(&error) && wait.has_stamp => {
            Err(Deferral::Remote { what: "the daemon does not answer".into(), hint: None })
        }
        Ok(None) => Ok(Some(Response::Ended)),
        Err(ChannelError::Io(error)) if !is_timeout(&error) => Ok(Some(Response::Ended)),
        Err(_) => Ok(None),
    }
}

/// Returns the files that a process with these arguments would use.
/// The same name in another folder is another file.
#[must_use]
pub fn file_set(given: &CliOverrides) -> FileSet {
    let absolute = |path: &PathBuf| std::path::absolute(path).unwrap_or_else(|_| path.clone());
    let home = if given.config.is_some() && given.state.is_some() { None } else { xdg_dirs() };
    FileSet { config: given.config.as_ref().map(absolute), state: given.state.as_ref().map(absolute), home }
}

/// Connects to the user's own daemon, else to the system's, if that may serve this user.
pub(in crate::engine) fn connect(file_set: &FileSet) -> Option<(UnixStream, PathBuf)> {
    let to = |socket: PathBuf| Some((unix_socket::connect(&socket).ok()?, socket));
    if let Some((stream, socket)) = user_socket(file_set).and_then(to) {
        // Where another user can write into the folder, a listener there is not trusted.
        return unix_socket::is_ours(&stream).is_ok_and(|ours| ours).then_some((stream, socket));
    }
    let named = file_set.config.is_some() || file_set.state.is_some();
    let own = || file_set.home.as_ref().is_some_and(|(config, _)| config.join("config.toml").exists());
    // A configuration that is out of reach counts as the user's own.
    if named || own() || is_own_config_away() { None } else { to(PathBuf::from(SYSTEM_SOCKET)) }
}

/// Returns the socket of the user's own daemon.
#[must_use]
pub fn user_socket(file_set: &FileSet) -> Option<PathBuf> {
    let state = file_set.state.as_deref().or_else(|| file_set.home.as_ref()?.1.as_deref());
    state.map(|state: &Path| state.join(SOCKET))
}
