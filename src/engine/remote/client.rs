//! Having a message judged by the resident process (`mailstamp serve`), where there is one. It has read the configuration,
//! the keys and the rules already and has the log open; this side reads nothing but the message. If there is no such
//! process, if it is not this user's, or if it is gone before it answers, the judgement is made here as ever, and is the
//! same: what it may have spent by then is known again by the message.

use super::protocol::{Answer, LARGEST, Names, Question, Whose};
use crate::config::paths::{Given, own_folders, set_id};
use crate::engine::error::Undecided;
use crate::engine::marking::Marking;
use crate::ipc::connection::{Channel, ChannelError};
use crate::ipc::frame::{Kind, Limits};
use crate::message::parse::Message;
use crate::os::unix_socket;
use crate::stamp::extract::locate;
use crate::store::combining::client::{is_late, trouble};
use crate::time::UnixTime;
use crate::verdict::facts::Envelope;
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

/// The name of the socket in the folder of the state.
pub const SOCKET: &str = "socket";
/// The socket of a process that serves the whole system.
pub const SYSTEM_SOCKET: &str = "/run/mailstamp/socket";
/// For how long an answer is waited for: as long as for a log that is busy.
const WAIT: Duration = Duration::from_secs(7);

/// The resident process, as long as it answers.
#[derive(Debug)]
pub struct Elsewhere {
    channel: Mutex<Option<Channel>>,
    whose: Whose,
    names: Names,
    now: Option<UnixTime>,
}

/// What the resident process writes down.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Telling {
    /// Nothing: who asks will.
    Nothing,
    /// The verdict, in the logs.
    Verdict,
}

impl Elsewhere {
    /// The process that answers for this user, if there is one.
    #[must_use]
    pub fn find(given: &Given, now: Option<UnixTime>) -> Option<Self> {
        if set_id() {
            return None;
        }
        let whose = whose(given);
        let (stream, _) = connect(&whose)?;
        let names = Names {
            recipient: given.recipient.clone(),
            user: given.user.clone(),
            recipient_variable: given.recipient_variable.clone(),
        };
        Some(Self { channel: Mutex::new(Some(Channel::new(stream))), whose, names, now })
    }

    /// The judgement of a message; `None` when it has to be made here after all.
    ///
    /// # Errors
    /// [`Undecided::Told`]: the message has to wait.
    pub fn judge(
        &self,
        message: &Message<'_>,
        envelope: &Envelope,
        marking: Marking,
        telling: Telling,
    ) -> Result<Option<Answer>, Undecided> {
        let mut slot = self.channel.lock().unwrap_or_else(PoisonError::into_inner);
        let raw = message.raw();
        let Some(channel) = slot.as_mut().filter(|_| raw.len() <= LARGEST) else { return Ok(None) };
        let located = locate(message);
        let mut question = Question {
            whose: self.whose.clone(),
            names: self.names.clone(),
            recipient: envelope.recipient.as_ref().map(ToString::to_string),
            sender: envelope.sender.clone(),
            now: self.now,
            spend: marking == Marking::Spend,
            record: telling == Telling::Verdict,
            size: raw.len() as u64,
            // Of a message without a stamp the text is of interest only to rules that ask for it.
            whole: !located.stamps.is_empty() || located.over_limit,
        };
        let answer = ask(channel, &question, message).and_then(|answer| match answer {
            Some(Said::WantBody) => {
                question.whole = true;
                ask(channel, &question, message)
            }
            other => Ok(other),
        })?;
        match answer {
            Some(Said::Judged(answer)) => Ok(Some(*answer)),
            _ => {
                // It is not asked again.
                *slot = None;
                Ok(None)
            }
        }
    }
}

enum Said {
    Judged(Box<Answer>),
    WantBody,
}

fn ask(channel: &mut Channel, question: &Question, message: &Message<'_>) -> Result<Option<Said>, Undecided> {
    let Ok(head) = serde_json::to_vec(question) else { return Ok(None) };
    let raw = message.raw();
    let body = if question.whole { raw } else { &raw[..raw.len() - message.body().len()] };
    let answer =
        channel.send(Kind::Judge, &head, body, WAIT).and_then(|()| channel.receive(Limits::HEAD_ONLY, WAIT, WAIT));
    match answer {
        Ok(Some(frame)) => match frame.kind {
            Kind::Judged => Ok(Answer::from_head(&frame.head).map(|answer| Said::Judged(Box::new(answer)))),
            Kind::WantBody if !question.whole => Ok(Some(Said::WantBody)),
            Kind::Undecided => {
                let told = trouble(&frame.head);
                Err(Undecided::Told { what: told.what, hint: told.hint })
            }
            _ => Ok(None),
        },
        // Its log is then busy or broken, and to wait for the file as well would take too long for some callers.
        Err(ChannelError::Io(error)) if is_late(&error) => {
            Err(Undecided::Told { what: "the resident process does not answer".into(), hint: None })
        }
        Ok(None) | Err(_) => Ok(None),
    }
}

/// Whose files a process with these arguments would use. The same name means another file in another folder.
#[must_use]
pub fn whose(given: &Given) -> Whose {
    let absolute = |path: &PathBuf| std::path::absolute(path).unwrap_or_else(|_| path.clone());
    let home = if given.config.is_some() && given.state.is_some() { None } else { own_folders() };
    Whose { config: given.config.as_ref().map(absolute), state: given.state.as_ref().map(absolute), home }
}

/// Connects to the user's own resident process, else to that of the system, if it may be his.
pub(in crate::engine) fn connect(whose: &Whose) -> Option<(UnixStream, PathBuf)> {
    let to = |socket: PathBuf| Some((unix_socket::connect(&socket).ok()?, socket));
    if let Some((stream, socket)) = own_socket(whose).and_then(to) {
        // Where somebody else can write into the folder, nothing that listens there is believed.
        return unix_socket::is_ours(&stream).is_ok_and(|ours| ours).then_some((stream, socket));
    }
    let named = whose.config.is_some() || whose.state.is_some();
    let own = || whose.home.as_ref().is_some_and(|(config, _)| config.join("config.toml").exists());
    if named || own() { None } else { to(PathBuf::from(SYSTEM_SOCKET)) }
}

/// The socket of a user's own resident process.
#[must_use]
pub fn own_socket(whose: &Whose) -> Option<PathBuf> {
    let state = whose.state.as_deref().or_else(|| whose.home.as_ref()?.1.as_deref());
    state.map(|state: &Path| state.join(SOCKET))
}
