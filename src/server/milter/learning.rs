//! Learning from the mail that users of the organisation send: its recipients become correspondents of the user who
//! logged in, and of no other. A failure is reported, and the mail goes on.

use crate::boundary::recipient::{parse, without_brackets};
use crate::boundary::session::Incoming;
use crate::context::learn_sent::{RECIPIENTS, SkipReason};
use crate::engine::judge::Engine;
use crate::message::header::escape_untrusted;
use crate::message::parse::Message;
use crate::server::daemon::metrics::LearnResult;
use crate::server::diagnostics::log_stderr;
use crate::store::{LearnLimits, LearnMode, LearnOutcome, Sent};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Once;

/// Limits for each owner. A stolen login that writes to the whole world fills neither the disk nor the owner's list.
const LIMITS: LearnLimits = LearnLimits { addresses: 20_000, per_day: 1_000 };

/// Whether an unknown login was reported.
static UNKNOWN_USER: Once = Once::new();

/// Learns from a message that was sent under a login of this name. Durable before it returns.
pub(in crate::server) fn learn(
    engine: &Engine,
    login: &[u8],
    incoming: &Incoming,
    message: &Message<'_>,
) -> LearnResult {
    let login = String::from_utf8_lossy(login);
    let work = || -> Result<Result<LearnOutcome, SkipReason>, String> {
        match learnable(engine, &login, incoming, message)? {
            Ok(sent) => store(engine, sent).map(Ok),
            Err(skipped) => Ok(Err(skipped)),
        }
    };
    let learned = catch_unwind(AssertUnwindSafe(work)).unwrap_or_else(|_| Err("internal error".to_owned()));
    let note = |what: &str| log_stderr(&format!("learn_sent: {what} of {}", escape_untrusted(login.as_bytes(), 200)));
    match learned {
        Ok(Err(skipped)) => {
            if skipped == SkipReason::UnknownUser {
                // Perhaps each message has one: users log in by names that `addresses` has for no owner.
                UNKNOWN_USER.call_once(|| note("the login is no owner's, so nothing is learned (told once): mail"));
            }
            LearnResult::Skipped
        }
        Ok(Ok(LearnOutcome { over_limit: 0, .. })) => LearnResult::Learned,
        Ok(Ok(LearnOutcome { over_limit, .. })) => {
            note(&format!("over the limit, {over_limit} recipients not learned: mail"));
            LearnResult::Limited
        }
        Err(trouble) => {
            note(&format!("recipients not learned: {trouble}: mail"));
            LearnResult::Failed
        }
    }
}

fn learnable(
    engine: &Engine,
    login: &str,
    incoming: &Incoming,
    message: &Message<'_>,
) -> Result<Result<Sent, SkipReason>, String> {
    // A null sender is a program (RFC 3834 section 3.3).
    if without_brackets(&incoming.sender).is_empty() {
        return Ok(Err(SkipReason::Automatic));
    }
    let recipients = incoming.recipients.iter().filter_map(|it| parse(&it.given)).take(RECIPIENTS).collect();
    engine.context.learnable_by(login, message, recipients).map_err(|error| error.to_string())
}

fn store(engine: &Engine, sent: Sent) -> Result<LearnOutcome, String> {
    let log = engine.used_log().map_err(|error| error.to_string())?;
    log.learn_as(&[sent], LearnMode::Limited(LIMITS)).map_err(|error| error.to_string())
}
