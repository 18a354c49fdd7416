//! How a client of a server behaves: what it may do before it is disconnected, and the replies to one that errs.

use super::reply::Reply;

/// Most recipients of a message.
pub const RECIPIENTS_MAX: usize = 1_000;
/// Errors after which the connection is closed. What is said of a recipient alone is none.
const ERRORS_MAX: u32 = 20;
/// Commands without effect after which the connection is closed.
const IDLE_COMMANDS_MAX: u32 = 100;

/// What a client did.
#[derive(Debug, Default)]
pub struct Conduct {
    errors: u32,
    idle_commands: u32,
}

impl Conduct {
    /// Counts an error. Returns the last reply if there were too many.
    pub fn error(&mut self) -> Option<Reply> {
        self.errors += 1;
        (self.errors >= ERRORS_MAX).then(|| Reply::new(421, "4.7.0", "too many errors"))
    }

    /// Counts a command without effect. Returns the last reply if there were too many.
    pub fn idle_command(&mut self) -> Option<Reply> {
        self.idle_commands += 1;
        let text = "too many commands without a message";
        (self.idle_commands > IDLE_COMMANDS_MAX).then(|| Reply::new(421, "4.7.0", text))
    }

    /// Notes a message, before which commands have an effect.
    pub fn message(&mut self) {
        self.idle_commands = 0;
    }
}

/// The reply to a command that cannot come now.
#[must_use]
pub fn out_of_order() -> Reply {
    Reply::new(503, "5.5.1", "bad sequence of commands")
}

/// The last reply to a client that did not wait for a reply that it must wait for.
#[must_use]
pub fn ahead() -> Reply {
    Reply::new(503, "5.5.0", "wait for the reply before you send more")
}

/// The reply to a recipient beyond [`RECIPIENTS_MAX`].
#[must_use]
pub fn too_many_recipients() -> Reply {
    Reply::new(452, "4.5.3", format!("more than {RECIPIENTS_MAX} recipients"))
}

/// The reply to an address that is wider than ASCII, where the client did not ask for SMTPUTF8.
#[must_use]
pub fn needs_utf8() -> Reply {
    Reply::new(553, "5.6.7", "the address needs SMTPUTF8")
}
