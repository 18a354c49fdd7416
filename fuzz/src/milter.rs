//! The bytes of a mail system's side of the milter protocol. Whatever comes, the session goes on or ends; it answers
//! nothing where no answer was agreed; a message is no larger than the limit; and its fields can be named and changed.

use mailstamp::boundary::changes;
use mailstamp::boundary::recipient::judged_as;
use mailstamp::boundary::session::{Next, Session};
use mailstamp::boundary::wire::{self, Options, Reply};
use mailstamp::message::edit::Edit;
use mailstamp::message::parse::Message;
use mailstamp::message::result_headers::result_fields;

/// Bytes of a message that are kept.
const LARGEST: usize = 4_096;

/// Checks one input.
pub fn run(input: &[u8]) {
    let mut session = Session::new(LARGEST);
    let (mut rest, mut agreed) = (input, Options::default());
    while let Some((prefix, after)) = rest.split_first_chunk::<4>() {
        let Ok(length) = wire::length(*prefix) else { break };
        let Some((frame, after)) = after.split_at_checked(length) else { break };
        rest = after;
        match session.receive(frame) {
            Err(_) | Ok(Next::Close) => break,
            Ok(Next::Receive) => {}
            Ok(Next::Answer(reply)) => {
                if let Reply::Negotiate(options) = reply {
                    agreed = options;
                }
                assert!(agreed.answers(frame[0]), "{}", frame[0]);
            }
            Ok(Next::Judge) => {
                check(&session);
                session.done();
            }
        }
    }
}

fn check(session: &Session) {
    let incoming = session.message();
    assert!(incoming.raw.len() <= LARGEST + 2);
    let message = Message::parse(&incoming.raw);
    let mut edit = Edit::new(&message);
    result_fields(&message, Some("mx.example"), &[]).for_each(|field| edit.remove(&field));
    let mut out = Vec::new();
    let new = changes::prefix_subject(&message, "[x]", &mut edit);
    let _ = changes::write(incoming, &edit, new.as_slice(), session.has_leading_space(), &mut out);
    if let Ok(after) = changes::applied(incoming, &edit, new.as_slice(), session.has_leading_space()) {
        assert!(result_fields(&Message::parse(&after), Some("mx.example"), &[]).next().is_none());
    }
    // Each change is a whole frame.
    let mut rest = &out[..];
    while let Some((prefix, after)) = rest.split_first_chunk::<4>() {
        rest = &after[u32::from_be_bytes(*prefix) as usize..];
    }
    assert!(rest.is_empty());
    for recipient in &incoming.recipients {
        let _ = judged_as(recipient, &super::MAILBOXES);
    }
}
