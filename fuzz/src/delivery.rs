//! The bytes of a server that may ask for credits. Whatever comes, the delivery goes on or ends; no word of the extension
//! goes to a server that did not offer it, nothing but STARTTLS goes before TLS, the message goes once and only after
//! 354, and no recipient counts as delivered before it went.

use mailstamp::emstamp::outbound::answer::Answer;
use mailstamp::emstamp::outbound::delivery::{Choice, Delivery, Envelope, Recipient, WINDOW};
use mailstamp::emstamp::wire::Pay;
use mailstamp::message::address::Address;
use mailstamp::smtp::client::text::Text;
use mailstamp::smtp::client::{Conversation, Step};
use mailstamp::smtp::parameters::MailParameters;
use mailstamp::stamp::serial::Serial;
use mailstamp::stamp::token::Token;

/// Checks one input.
pub fn run(input: &[u8]) {
    let [first, second] = ["a@y.example", "b@y.example"].map(|text| Address::parse(text).expect("an address"));
    let (text, parameters) = (Text::of(&mut [&b"a\n"[..]].into_iter()), MailParameters::default());
    let token = format!("v4.public.{}", "A".repeat(88));
    let token = Token::parse(&token).expect("a token");
    for (start_tls, earlier) in [(false, None), (false, Some("old")), (true, None)] {
        let recipients = [&first, &second].map(|address| Recipient { address, notifications: "" }).to_vec();
        let envelope = Envelope {
            name: "x",
            host: "mx",
            sender: Some(&first),
            parameters: &parameters,
            id: None,
            is_utf8_header: false,
            recipients,
            text: &text,
        };
        let mut delivery = Delivery::new(envelope, start_tls);
        let (mut is_protected, mut is_aware, mut is_sent, mut payments) = (!start_tls, false, false, 0);
        let offers = input.windows(7).any(|it| it.eq_ignore_ascii_case(b"EMSTAMP"));
        'delivery: for piece in input.split_inclusive(|&byte| byte == b'\n') {
            delivery.receive(piece);
            loop {
                match delivery.step() {
                    Ok(Step::Receive) => break,
                    Ok(Step::Done) if delivery.is_over() => break 'delivery,
                    Ok(Step::Done) => {
                        let choose = |id: &Serial, renews: bool| {
                            let id =
                                earlier.filter(|_| !renews).map_or(id.clone(), |id| Serial::new(id).expect("an ID"));
                            Choice::Pay(Pay { id, credits: 1, token: token.clone() })
                        };
                        let asked = delivery.questions();
                        delivery
                            .decide(asked.iter().map(|it| (it.recipient, choose(&it.offer.id, it.renews))).collect());
                    }
                    Ok(Step::Send(group)) => {
                        let group = String::from_utf8(group).expect("commands");
                        assert!(group.ends_with("\r\n") && !is_sent && group.matches('\n').count() <= WINDOW);
                        assert!(is_protected || group.starts_with("EHLO ") || group == "STARTTLS\r\n");
                        is_aware |= group.contains(" EMSTAMP\r\n");
                        assert!(offers || !is_aware);
                        let paid = group.matches("EMST ").count();
                        assert!(is_aware || paid == 0);
                        payments += paid;
                    }
                    Ok(Step::StartTls) => {
                        assert!(!is_protected);
                        is_protected = true;
                        delivery.protect();
                    }
                    Ok(Step::SendText(text)) => {
                        assert!(is_protected && !is_sent && delivery.is_undecided() && text.ends_with(b".\r\n"));
                        assert!(input.windows(3).any(|it| it == b"354"));
                        is_sent = true;
                    }
                    Err(_) => break 'delivery,
                }
            }
        }
        // Each recipient is shown a token once, and another one once.
        assert!(payments <= 4);
        delivery.fail(&Answer::own(451, "4.4.2", "lost"));
        for (answer, paid) in delivery.outcome() {
            assert!(is_sent || !answer.is_success());
            assert!(payments > 0 || paid.is_none());
            let mut out = Vec::new();
            answer.reply().write(&mut out);
            assert!(out.split(|&b| b == b'\n').all(|line| line.len() <= 511));
        }
    }
}
