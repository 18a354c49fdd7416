//! The bytes of a mail program's side of SMTP, after a login. Whatever comes, the session goes on or ends; a message
//! ends only with CRLF, dot, CRLF, is no larger than the limit, and has no CR and no NUL.

use mailstamp::smtp::session::{Channel, Session, Step};

/// Bytes of a message that are taken.
const LARGEST: usize = 4_096;

/// Checks one input.
pub fn run(input: &[u8]) {
    let mut session = Session::new("test", LARGEST, Channel::Offered { is_local: true });
    session.receive(b"EHLO x\r\nAUTH PLAIN AGEAYg==\r\n");
    let (mut replies, mut messages) = (0, 0);
    for piece in std::iter::once(&b""[..]).chain(input.split_inclusive(|&byte| byte == b'\n')) {
        session.receive(piece);
        loop {
            let mut step = session.step();
            if let Step::Login(login) = step {
                step = session.log_in(login.user == "a" && login.password == "b");
            }
            match step {
                Step::Receive => break,
                Step::Reply(reply) => {
                    replies += 1;
                    let mut out = Vec::new();
                    reply.write(&mut out);
                    assert!(out.ends_with(b"\r\n") && out.split(|&b| b == b'\n').all(|line| line.len() <= 511));
                }
                Step::StartTls(_) => unreachable!("refused after a login"),
                Step::Close(_) => {
                    assert_eq!(session.step(), Step::Receive);
                    return;
                }
                Step::Submit(message) => {
                    messages += 1;
                    assert!(message.raw.len() <= LARGEST && !message.recipients.is_empty());
                    assert!(!message.raw.contains(&b'\r') && !message.raw.contains(&0));
                }
                Step::Login(_) => unreachable!("answered above"),
            }
        }
    }
    let ends = input.windows(5).filter(|it| it == b"\r\n.\r\n").count();
    assert!(messages <= ends, "{messages} messages, {ends} ends");
    assert!(replies <= input.len() + 2);
}
