//! Sending of a complete message, as by `mailstamp sendmail`, and the one reply for all its recipients.

use crate::context::error::Deferral;
use crate::engine::judge::Engine;
use crate::engine::remote::state::DaemonState;
use crate::message::header::escape_untrusted;
use crate::os::random;
use crate::sender::stamp_source::StampSource;
use crate::sender::submission::parse::{LocalHost, SendmailArgs, Submission};
use crate::sender::submission::transport::CachedTransport;
use crate::sender::submission::{Delivery, SubmissionAgent, SubmissionError, Summary, own_address};
use crate::server::daemon::metrics::SubmissionAnswer;
use crate::server::diagnostics::log_stderr;
use crate::smtp::reply::Reply;
use crate::smtp::session::Message;
use crate::store::Store;
use std::fmt::Display;
use std::sync::{Arc, Weak};
use std::thread;
use std::time::{Duration, Instant};

/// Longest address and reason in a reply, in bytes.
const ADDRESS: usize = 120;
const REASON: usize = 300;
/// How long a message that another process has locked is tried: `sendmail -q` locks it for a moment.
const BUSY_TIMEOUT: Duration = Duration::from_secs(1);
const BUSY_INTERVAL: Duration = Duration::from_millis(20);
/// Most recipients that a reply names.
const NAMED: usize = 20;

/// Sends a message, and returns the reply.
pub(super) fn submit(
    state: &Arc<DaemonState>,
    transport: &CachedTransport,
    message: &Message,
) -> (SubmissionAnswer, Reply) {
    let engine = match state.engine() {
        Ok(engine) => engine,
        Err(error) => return failed(&error),
    };
    let mut random = [0; 16];
    if let Err(error) = random::fill(&mut random) {
        return failed(&error);
    }
    let asked = SendmailArgs {
        recipients: message.recipients.iter().map(ToString::to_string).collect(),
        sender: Some(message.sender.as_ref().map(ToString::to_string).unwrap_or_default()),
        by_smtp: true,
        ..SendmailArgs::default()
    };
    let own = own_address(&engine.context);
    let here = LocalHost { now: engine.context.now, own: own.as_ref(), random };
    let submission = match Submission::prepare(&message.raw, &asked, &here) {
        Ok(submission) => submission,
        Err(error) => return answer(Reply::new(553, "5.1.3", error.to_string())),
    };
    let used_log = || state.engine()?.used_log().map_err(Deferral::from);
    let until = Instant::now() + BUSY_TIMEOUT;
    let send = |agent: &SubmissionAgent<'_>| {
        loop {
            match agent.submit(submission.clone()) {
                Err(SubmissionError::Busy) if Instant::now() < until => thread::sleep(BUSY_INTERVAL),
                other => return other,
            }
        }
    };
    match with_agent(&engine, transport, &used_log, send) {
        Ok(Ok(summary)) => answer(reply(&summary)),
        Ok(Err(SubmissionError::Busy)) => {
            answer(Reply::new(451, "4.3.2", "this message is being sent, try again later"))
        }
        Ok(Err(error)) => failed(&error),
        Err(error) => failed(&error),
    }
}

/// Sends what waits in the outbox.
pub(super) fn resume(state: &Weak<DaemonState>, transport: &CachedTransport) {
    let gone = || Deferral::Remote { what: "the daemon is shutting down".into(), hint: None };
    let used_log = || {
        let engine = state.upgrade().ok_or_else(gone)?.engine()?;
        engine.used_log().map_err(Deferral::from)
    };
    let engine = || state.upgrade().ok_or_else(gone)?.engine_without_log();
    let resume = |agent: &SubmissionAgent<'_>| agent.resume().map_err(|error| error.to_string());
    let engine = engine().map_err(|error| error.to_string());
    let resumed = engine.and_then(|engine| with_agent(&engine, transport, &used_log, resume)?);
    let results = match resumed {
        Ok(results) => results,
        Err(error) => return log_stderr(&format!("submission: outbox: {error}")),
    };
    for result in results {
        match result {
            Ok(summary) => {
                let (_, others) = outcome(&summary);
                others.iter().for_each(|line| log_stderr(&format!("submission: {line}")));
            }
            // Another process is sending it.
            Err(SubmissionError::Busy) => {}
            Err(error) => log_stderr(&format!("submission: outbox: {error}")),
        }
    }
}

/// Returns the reply to a message that may be sent later, and logs why.
pub(super) fn failed(error: &(impl Display + ?Sized)) -> (SubmissionAnswer, Reply) {
    log_stderr(&format!("submission: message deferred: {error}"));
    answer(Reply::new(451, "4.3.0", escape_untrusted(format!("not sent: {error}").as_bytes(), REASON)))
}

fn answer(reply: Reply) -> (SubmissionAnswer, Reply) {
    (SubmissionAnswer::of(&reply), reply)
}

/// Calls `with` with the agent of this configuration.
fn with_agent<T>(
    engine: &Engine,
    transport: &CachedTransport,
    used_log: &(dyn Fn() -> Result<Arc<dyn Store>, Deferral> + Sync),
    with: impl FnOnce(&SubmissionAgent<'_>) -> T,
) -> Result<T, String> {
    let context = &engine.context;
    let transport = transport.get(&context.config.sendmail.next).map_err(|error| error.to_string())?;
    let supply = StampSource::new(&context.config, &context.places).map_err(|error| error.to_string())?;
    Ok(with(&SubmissionAgent { context, supply: &supply, transport: &transport, used_log, progress: &|_, _| {} }))
}

/// Returns how many recipients got the message, and a line for each other one and for each without a wanted stamp.
fn outcome(summary: &Summary) -> (usize, Vec<String>) {
    let mut sent = 0;
    let mut lines = Vec::new();
    for (recipient, delivery) in &summary.each {
        let to = escape_untrusted(recipient.to_string().as_bytes(), ADDRESS);
        // Printable already, as the agent says it.
        let said = |said: &str| said.chars().take(REASON).collect::<String>();
        match delivery {
            Delivery::Sent { without } => {
                sent += 1;
                lines.extend(without.as_ref().map(|why| format!("{to}: sent without a stamp: {}", said(why))));
            }
            Delivery::Deferred(why) => lines.push(format!("{to}: not sent yet: {}", said(why))),
            Delivery::Refused(_, why) => lines.push(format!("{to}: refused: {}", said(why))),
        }
    }
    (sent, lines)
}

/// Returns the reply for all recipients.
///
/// Once a copy has left, the message is accepted: the rest is tried later or reported by mail.
fn reply(summary: &Summary) -> Reply {
    let (sent, mut lines) = outcome(summary);
    let more = lines.len().saturating_sub(NAMED);
    lines.truncate(NAMED);
    if more > 0 {
        lines.push(format!("and {more} more"));
    }
    if sent > 0 {
        let all = summary.each.len();
        let rest = if sent < all { "; failures are reported by mail" } else { "" };
        lines.push(match summary.ended {
            true => "this message was sent before".to_owned(),
            false => format!("sent to {sent} of {all} recipients{rest}"),
        });
        return Reply { code: 250, enhanced: "2.0.0", lines };
    }
    let is_deferred = summary.each.iter().any(|(_, delivery)| matches!(delivery, Delivery::Deferred(_)));
    let (code, enhanced) = if is_deferred { (451, "4.4.0") } else { (554, "5.0.0") };
    lines.push("sent to no recipient".to_owned());
    Reply { code, enhanced, lines }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sender::submission::parse::Recipient;
    use crate::smtp::command::Command;
    use crate::time::UnixTime;
    use proptest::prelude::*;

    fn replied(deliveries: &[Delivery], ended: bool) -> (u16, String) {
        let to = |at: usize| Recipient::parse(&format!("p{at}@y.example")).unwrap();
        let each = deliveries.iter().cloned().enumerate().map(|(at, delivery)| (to(at), delivery)).collect();
        let reply = reply(&Summary { each, ended });
        (reply.code, reply.lines.join("|"))
    }

    #[test]
    fn one_reply_is_for_all_recipients() {
        let sent = Delivery::Sent { without: None };
        let plain = Delivery::Sent { without: Some("no credits".into()) };
        let later = Delivery::Deferred("busy".into());
        let never = Delivery::Refused(69, "550 no".into());
        assert_eq!(replied(std::slice::from_ref(&sent), false), (250, "sent to 1 of 1 recipients".into()));
        assert_eq!(replied(std::slice::from_ref(&sent), true), (250, "this message was sent before".into()));
        assert_eq!(
            replied(&[plain], false).1,
            "p0@y.example: sent without a stamp: no credits|sent to 1 of 1 recipients"
        );
        let mixed = replied(&[sent, later.clone(), never.clone()], false);
        assert_eq!(mixed.0, 250);
        assert!(mixed.1.starts_with("p1@y.example: not sent yet: busy|p2@y.example: refused: 550 no|"));
        assert_eq!(replied(&[later, never.clone()], false).0, 451);
        let (code, lines) = replied(&vec![never; 100], false);
        assert_eq!((code, lines.matches('|').count()), (554, 21));
        assert!(lines.ends_with("|and 80 more|sent to no recipient"), "{lines}");
    }

    proptest! {
        /// An address that RCPT takes is not refused after DATA.
        #[test]
        fn a_recipient_is_refused_at_once(local in "(\\PC{1,12}|[-a \"@,<>\\\\.|/:;()]{1,8})", is_quoted: bool) {
            let quoted = format!("\"{}\"", local.replace('\\', "\\\\").replace('"', "\\\""));
            let line = format!("RCPT TO:<{}@y.example>", if is_quoted { quoted } else { local });
            if let Ok(Command::Recipient(address)) = Command::parse(&line) {
                let asked = SendmailArgs { recipients: vec![address.to_string()], ..SendmailArgs::default() };
                let here = LocalHost { now: UnixTime(0), own: None, random: [1; 16] };
                let submission = Submission::prepare(b"Message-ID: <1@x>\n\nhi\n", &asked, &here);
                let taken: Vec<String> = submission.unwrap().recipients.iter().map(ToString::to_string).collect();
                prop_assert_eq!(taken, [address.to_string()]);
            }
        }
    }
}
