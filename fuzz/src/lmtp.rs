//! The bytes of a mail system's side of LMTP. Whatever comes, the session goes on or ends; a message ends only with CRLF,
//! dot, CRLF, is no larger than the limit, and has recipients with a route.

use mailstamp::emstamp::outbound::lmtp::{Session, Step};
use std::collections::BTreeSet;
use std::sync::Arc;

/// Bytes of a message that are taken.
const LARGEST: usize = 4_096;

/// Checks one input.
pub fn run(input: &[u8]) {
    let domains = BTreeSet::from(["y.example".to_owned()]);
    let mut session = Session::new("test", LARGEST, Arc::new(domains));
    session.receive(b"LHLO x\r\n");
    let (mut accepted, mut messages) = (0, 0);
    for piece in std::iter::once(&b""[..]).chain(input.split_inclusive(|&byte| byte == b'\n')) {
        session.receive(piece);
        loop {
            match session.step() {
                Step::Receive => break,
                Step::Reply(reply) => {
                    accepted += usize::from(reply.enhanced == "2.1.5" && reply.code == 250);
                    let mut out = Vec::new();
                    reply.write(&mut out);
                    assert!(out.ends_with(b"\r\n") && out.split(|&b| b == b'\n').all(|line| line.len() <= 511));
                }
                Step::Close(_) => {
                    assert_eq!(session.step(), Step::Receive);
                    return;
                }
                Step::Each(reply, count) => {
                    messages += 1;
                    assert!(reply.code >= 400 && (1..=accepted).contains(&count));
                }
                Step::Submit(message) => {
                    messages += 1;
                    assert!(message.raw.len() <= LARGEST && (1..=accepted).contains(&message.recipients.len()));
                    assert!(!message.raw.contains(&b'\r') && !message.raw.contains(&0));
                    assert!(message.recipients.iter().all(|it| it.address.domain() == "y.example"));
                }
            }
        }
    }
    let ends = input.windows(5).filter(|it| it == b"\r\n.\r\n").count();
    assert!(messages <= ends, "{messages} messages, {ends} ends");
}
