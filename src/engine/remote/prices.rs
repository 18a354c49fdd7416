//! Client of the daemon for prices of mailboxes: the daemon of the whole system knows by the socket who asks
//! (SO_PEERCRED), and writes the file that the gateway reads.

use super::client::{SYSTEM_SOCKET, file_set, user_socket};
use crate::config::paths::CliOverrides;
use crate::engine::prices::{MailboxPrice, PriceProblem, PriceQuestion};
use crate::ipc::connection::Connection;
use crate::ipc::frame::{Kind, Limits};
use crate::os::unix_socket;
use serde::{Deserialize, Serialize};
use std::path::PathBuf;
use std::time::Duration;

/// Timeout of the response. A change may wait for another one.
const WAIT: Duration = Duration::from_secs(10);

/// The response.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum PriceResponse {
    Prices(Vec<MailboxPrice>),
    /// Nothing was changed, for this reason.
    Refused {
        problem: PriceProblem,
        what: String,
    },
}

/// The outcome of a question.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum PriceOutcome {
    /// No process listens.
    NotRunning,
    /// A process listens, but does not answer this question.
    Silent(PathBuf),
    Answered(PriceResponse),
}

/// Asks the daemon with the named configuration or state, else that of the system.
#[must_use]
pub fn ask(given: &CliOverrides, question: &PriceQuestion) -> PriceOutcome {
    let is_named = given.config.is_some() || given.state.is_some();
    let own = is_named.then(|| user_socket(&file_set(given))).flatten();
    let socket = own.unwrap_or_else(|| PathBuf::from(SYSTEM_SOCKET));
    let Ok(stream) = unix_socket::connect(&socket) else { return PriceOutcome::NotRunning };
    let mut channel = Connection::new(stream);
    let asked = serde_json::to_vec(question).unwrap_or_default();
    let answer = channel
        .send(Kind::Price, &asked, &[], WAIT)
        .and_then(|()| channel.receive(Limits::HEAD_ONLY, WAIT, WAIT))
        .ok()
        .flatten()
        .filter(|frame| frame.kind == Kind::PriceReply)
        .and_then(|frame| serde_json::from_slice(&frame.head).ok());
    answer.map_or(PriceOutcome::Silent(socket), PriceOutcome::Answered)
}
