//! Lines of eMstamp, from either side: whatever comes is read or is none. What is read has one spelling, apart from the
//! case of the verb, and any reply to it can be read by a client.

use mailstamp::emstamp::token::{MeterFact, Payee, Priced, Receiver, examine_payment};
use mailstamp::emstamp::wire::{Answer, LINE_MAX, LineError, Offer, Pay, Verdict, is_offered};
use mailstamp::message::address::Address;
use mailstamp::smtp::client::reply::Replies;
use mailstamp::smtp::reply::Reply;

/// Checks one input.
pub fn run(input: &[u8]) {
    for line in input.split(|&byte| byte == b'\n') {
        let text = String::from_utf8_lossy(line.strip_suffix(b"\r").unwrap_or(line));
        of_server(&text);
        of_client(&text);
    }
}

/// A line of a server.
fn of_server(text: &str) {
    if let Ok(offer) = Offer::parse(text) {
        assert_eq!(offer.to_string(), text);
        assert!(text.len() < 512 - "250 2.1.5 \r\n".len());
        let reply = read(&offer.reply("ok"));
        assert_eq!(reply.map(|reply| Offer::of_reply(&reply)), Some(Ok(Some(offer))));
    }
    let mut replies = Replies::default();
    replies.receive(format!("{text}\r\n").as_bytes());
    while let Ok(Some(reply)) = replies.next_reply() {
        let answer = Answer::of(&reply);
        assert_eq!(answer == Answer::Paid, reply.code == 250);
        assert!(!is_offered(&reply));
        if let Ok(Some(offer)) = Offer::of_reply(&reply) {
            assert!(reply.code == 250 && text.ends_with(&offer.to_string()));
        }
    }
}

/// A line of a client.
fn of_client(text: &str) {
    let verdict = match Pay::parse(text) {
        Err(error) => {
            assert!(error != LineError::TooLong || text.len() + 2 > LINE_MAX);
            Verdict::Line(error)
        }
        Ok(pay) => {
            assert!(Pay::is_verb(text) && pay.line().is_ok_and(|line| line.eq_ignore_ascii_case(text)));
            let payee = Payee::new("x", "agency.example").expect("an account");
            let mailbox = Address::parse("alice@x.example").expect("an address");
            let recipients = [Priced { mailbox: &mailbox, price: 3 }];
            let receiver = Receiver { payee: &payee, id_keys: &[], recipients: &recipients, now: super::NOW };
            let found = examine_payment((&pay.id, pay.credits, &pay.token), &receiver, |_| MeterFact::Unlisted);
            Verdict::Refused(found.expect_err("no meter is known"))
        }
    };
    let reply = read(&verdict.reply()).expect("a reply");
    assert_ne!(Answer::of(&reply), Answer::Paid);
}

/// The reply as a client gets it.
fn read(reply: &Reply) -> Option<mailstamp::smtp::client::reply::ServerReply> {
    let (mut out, mut replies) = (Vec::new(), Replies::default());
    reply.write(&mut out);
    replies.receive(&out);
    replies.next_reply().ok().flatten()
}
