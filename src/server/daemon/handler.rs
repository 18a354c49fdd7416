//! Request handler of the daemon: one frame in, one answer out, without state between frames.

use super::metrics::Metrics;
use super::peer_credentials::{Access, AccessControl};
use crate::engine::prices::{self, Party, PriceProblem, PriceQuestion};
use crate::engine::remote::prices::PriceResponse;
use crate::engine::remote::protocol::{JudgeRequest, LARGEST};
use crate::engine::remote::state::{DaemonState, Response};
use crate::ipc::frame::{Frame, HEAD_MAX, Kind, Limits};
use crate::ipc::peer::Peer;
use crate::ipc::server::{Client, ServerLimits, Service};
use crate::store::combining::client::encode_deferral;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::sync::atomic::Ordering::SeqCst;
use std::time::{Duration, Instant};

/// Size limits of a request.
const LIMITS: Limits = Limits { head: HEAD_MAX, body: LARGEST };
/// Idle timeout of a connection.
const IDLE_TIMEOUT: Duration = Duration::from_secs(60);
/// Timeout of receiving a frame or sending an answer.
const FRAME_TIMEOUT: Duration = Duration::from_secs(10);

/// Returns the limits of a daemon with this many connections. If a request finds the memory taken, the client judges
/// locally.
pub(super) fn server_limits(connections: usize) -> ServerLimits {
    ServerLimits { connections, memory: 64 << 20, peer_divisor: 4, stack_size: 2 << 20 }
}

/// Shared state from which every connection is answered.
#[derive(Debug)]
pub(super) struct Handler {
    warm: Arc<DaemonState>,
    numbers: Arc<Metrics>,
    access: AccessControl,
}

impl Service for Handler {
    fn serve(&self, client: &Client) {
        self.numbers.connections.fetch_add(1, SeqCst);
        if let Peer::User(uid) = client.peer
            && let Ok(Some(peer)) = self.access.who(uid)
        {
            client.answer_frames(LIMITS, IDLE_TIMEOUT, FRAME_TIMEOUT, |frame, connection| {
                let mut sent = false;
                self.handle(&frame, &peer, |kind, head| {
                    sent = connection.send(kind, head, &[], FRAME_TIMEOUT).is_ok();
                });
                sent
            });
        }
        self.numbers.connections.fetch_sub(1, SeqCst);
    }

    /// A user without access to all mailboxes is limited.
    fn is_limited(&self, peer: Peer) -> bool {
        !matches!(peer, Peer::User(uid) if AccessControl::delivers(uid))
    }
}

impl Handler {
    pub(super) fn new(warm: Arc<DaemonState>, numbers: Arc<Metrics>, access: AccessControl) -> Self {
        Self { warm, numbers, access }
    }

    /// Answers a frame: calls `send` once, with kind and head of the answer.
    ///
    /// After a panic the answer defers the message.
    fn handle(&self, frame: &Frame, peer: &Access, send: impl FnOnce(Kind, &[u8])) {
        let mut send = Some(send);
        let mut once = |kind, head: &[u8]| send.take().into_iter().for_each(|send| send(kind, head));
        let answered = catch_unwind(AssertUnwindSafe(|| match frame.kind {
            Kind::Judge => self.judge(frame, peer, &mut once),
            Kind::Status => once(Kind::StatusReply, &self.numbers.status(&self.warm, &frame.head)),
            Kind::Price => once(Kind::PriceReply, &self.price(frame, peer)),
            _ => once(Kind::UnknownRequest, b"{}"),
        }));
        if answered.is_err() {
            let (kind, head) = encode_deferral("internal error in the daemon", None);
            once(kind, &head);
        }
    }

    /// Shows or changes prices of the client's mailboxes.
    fn price(&self, frame: &Frame, peer: &Access) -> Vec<u8> {
        let user = match peer {
            Access::AnyMailbox => None,
            Access::User(name) => Some(name.as_str()),
        };
        let answered = || {
            let question: PriceQuestion =
                serde_json::from_slice(&frame.head).map_err(|error| (PriceProblem::Question, error.to_string()))?;
            let (config, is_users) =
                self.warm.config(user).map_err(|error| (PriceProblem::System, error.to_string()))?;
            let party = user.filter(|_| !is_users).map_or(Party::All, Party::User);
            prices::answer(&config, party, &question).map_err(|error| (error.problem(), error.to_string()))
        };
        let response = match answered() {
            Ok(prices) => PriceResponse::Prices(prices),
            Err((problem, what)) => PriceResponse::Refused { problem, what },
        };
        serde_json::to_vec(&response).unwrap_or_default()
    }

    fn judge(&self, frame: &Frame, peer: &Access, send: &mut dyn FnMut(Kind, &[u8])) {
        let began = Instant::now();
        // A request of a later version may have fields unknown to this one. The client then judges locally.
        let Ok(question) = serde_json::from_slice::<JudgeRequest>(&frame.head) else {
            return send(Kind::NotHere, b"{}");
        };
        let user = match peer {
            Access::AnyMailbox => None,
            Access::User(name) => Some(name.as_str()),
        };
        self.warm.answer(&question, &frame.body, user, |reply| {
            // Counted before it is sent: a client that has its answer finds it in the metrics, and the time that it
            // takes to read does not count.
            match &reply {
                Response::Judged(answer) => {
                    self.numbers.record_verdict(answer.decision.verdict.reason, began.elapsed())
                }
                Response::Undecided(_) => self.numbers.deferred(began.elapsed()),
                Response::BodyNeeded | Response::JudgeLocally => {}
            }
            let (kind, head) = match &reply {
                Response::Judged(answer) => match answer.to_head() {
                    Ok(head) => (Kind::Verdict, head),
                    Err(error) => encode_deferral(&error.to_string(), None),
                },
                Response::BodyNeeded => (Kind::BodyNeeded, b"{}".to_vec()),
                Response::JudgeLocally => (Kind::NotHere, b"{}".to_vec()),
                Response::Undecided(error) => encode_deferral(&error.to_string(), error.hint()),
            };
            send(kind, &head);
        });
    }
}
