//! Conversation with the mail system behind.

use super::{End, Introduction, Lost, Office, Patience, Session, Wires, hello};
use crate::smtp::client::reply::ServerReply;
use crate::smtp::reply::Reply;

/// Most commands of a group. All replies to them fit the buffers of a connection.
const GROUP_MAX: usize = 50;

/// The inner server does not answer, or not in SMTP.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct InnerLost;

impl From<Lost> for InnerLost {
    fn from(_: Lost) -> Self {
        Self
    }
}

impl From<InnerLost> for End {
    fn from(_: InnerLost) -> Self {
        Self::Reply(Reply::new(421, "4.3.2", "the mail system behind this host does not answer, try again later"))
    }
}

impl<W: Wires, O: Office> Session<'_, W, O> {
    /// Reads the greeting, and says whose connection it is.
    ///
    /// A server that is not told so would take every client for the gateway, and perhaps relay its mail: the session
    /// ends then.
    pub(super) fn introduce(&mut self, introduction: &Introduction) -> Result<(), End> {
        if let Introduction::Proxy(line) = introduction {
            self.send_inner(line)?;
        }
        if self.inner_reply(Patience::Command)?.code != 220 {
            return Err(InnerLost.into());
        }
        let unknown = || {
            let text = "the mail system behind this host is not told who connects, try again later";
            Err(End::Reply(Reply::new(421, "4.3.5", text)))
        };
        match introduction {
            Introduction::None => Ok(()),
            // A server without the protocol takes its line for a command.
            Introduction::Proxy(_) => {
                let is_told = self.ask(&format!("EHLO {}", self.settings.name))?.code == 250;
                if is_told { Ok(()) } else { unknown() }
            }
            Introduction::Xclient(attributes) => {
                let hello = self.ask(&format!("EHLO {}", self.settings.name))?;
                if !hello::offers(&hello, "XCLIENT") || self.ask(&format!("XCLIENT {attributes}"))?.code != 220 {
                    return unknown();
                }
                Ok(())
            }
        }
    }

    /// Sends a command, and returns the reply.
    pub(super) fn ask(&mut self, line: &str) -> Result<ServerReply, InnerLost> {
        self.send_inner(line)?;
        self.inner_reply(Patience::Command)
    }

    /// Sends commands, in groups where the server takes them, and returns the replies.
    pub(super) fn ask_all(&mut self, lines: &[&str]) -> Result<Vec<ServerReply>, InnerLost> {
        let mut replies = Vec::with_capacity(lines.len());
        for group in lines.chunks(if self.inner_pipelines { GROUP_MAX } else { 1 }) {
            let text: String = group.iter().flat_map(|line| [line, "\r\n"]).collect();
            self.wires.send_inner(text.as_bytes())?;
            for _ in group {
                replies.push(self.inner_reply(Patience::Command)?);
            }
        }
        Ok(replies)
    }

    fn send_inner(&mut self, line: &str) -> Result<(), InnerLost> {
        Ok(self.wires.send_inner(format!("{line}\r\n").as_bytes())?)
    }

    pub(super) fn inner_reply(&mut self, patience: Patience) -> Result<ServerReply, InnerLost> {
        loop {
            if let Some(reply) = self.replies.next_reply().map_err(|_| InnerLost)? {
                return Ok(reply);
            }
            self.wires.receive_inner(&mut self.replies, patience)?;
        }
    }

    /// Ends the message at the inner server.
    pub(super) fn reset_inner(&mut self) -> Result<(), InnerLost> {
        let reply = self.ask("RSET")?;
        if is_accepted(&reply) { Ok(()) } else { Err(InnerLost) }
    }
}

/// Returns whether a command was done.
pub(super) fn is_accepted(reply: &ServerReply) -> bool {
    (200..300).contains(&reply.code)
}
