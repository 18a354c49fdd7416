//! The bytes of a server's side of SMTP. Whatever comes, the client goes on or ends; the message goes only after 354,
//! the password only after TLS, and nothing counts as accepted before the message went.

use mailstamp::message::address::Address;
use mailstamp::smtp::client::reply::Replies;
use mailstamp::smtp::client::text::Text;
use mailstamp::smtp::client::{Client, Conversation, Envelope, Step};
use mailstamp::smtp::session::Login;

/// Checks one input.
pub fn run(input: &[u8]) {
    let mut replies = Replies::default();
    replies.receive(input);
    let mut size = 0;
    while let Ok(Some(reply)) = replies.next_reply() {
        size += reply.lines.iter().map(|line| line.len().min(1) + 4).sum::<usize>();
        assert!((200..600).contains(&reply.code) && size <= input.len());
        assert!(reply.enhanced().is_none_or(|status| reply.text().starts_with(status)));
        assert!(!reply.text().contains('\n'));
    }

    let (sender, text) = (Address::parse("a@x.example").expect("an address"), Text::of(&mut [input].into_iter()));
    let login = Login { user: "a".into(), password: "b".into() };
    let envelope = Envelope { sender: Some(&sender), recipient: &sender, text: &text };
    for (start_tls, login) in [(false, None), (false, Some(&login)), (true, Some(&login))] {
        let mut client = Client::new(envelope, start_tls, login);
        let (mut is_protected, mut is_sent) = (!start_tls, false);
        'client: for piece in input.split_inclusive(|&byte| byte == b'\n') {
            client.receive(piece);
            loop {
                match client.step() {
                    Ok(Step::Receive) => break,
                    Ok(Step::Send(command)) => {
                        assert!(command.ends_with(b"\r\n") && !is_sent);
                        let is_open = command.starts_with(b"EHLO ") || command == b"STARTTLS\r\n";
                        assert!(is_protected || is_open);
                    }
                    Ok(Step::StartTls) => {
                        assert!(!is_protected);
                        is_protected = true;
                        client.protect();
                    }
                    Ok(Step::SendText(text)) => {
                        assert!(is_protected && !is_sent && client.is_undecided() && text.ends_with(b".\r\n"));
                        assert!(input.windows(3).any(|it| it == b"354"));
                        is_sent = true;
                    }
                    Ok(Step::Done) => {
                        assert!(is_sent && !client.is_undecided());
                        break 'client;
                    }
                    Err(error) => {
                        assert!(!error.is_refusal() || input.windows(3).any(|it| matches!(it, [b'4' | b'5', _, _])));
                        break 'client;
                    }
                }
            }
        }
    }
    // The text ends once, however a server takes line ends.
    let text = text.bytes().strip_suffix(b".\r\n").expect("a dot at its end");
    assert!(text.split(|byte| b"\r\n".contains(byte)).all(|line| line != b"."));
}
