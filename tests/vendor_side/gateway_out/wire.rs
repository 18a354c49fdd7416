//! What goes over the wire, and what each recipient's sender is told.

use super::{PAYEE, SENDER, Scene, message};
use crate::support::emstamp_server::EmstampServer;
use crate::support::programs::Port;
use crate::support::shop::VENDOR;
use std::collections::BTreeSet;

// E1, E8, E12, E14: one message to five boxes
#[test]
fn each_box_is_paid_refused_or_free_by_itself() {
    let prices = [("b1@y.example", 3), ("b2@y.example", 5), ("dear@y.example", 1_000)];
    let scene = Scene::new(100, &prices, "");
    let boxes = ["b1@y.example", "free@y.example", "gone@y.example", "b2@y.example", "dear@y.example"];
    scene.send("five", &boxes);
    for (paid, credits) in [("b1@y.example", "3 credits"), ("b2@y.example", "5 credits")] {
        let line = scene.outcome(paid, "sent", 1);
        assert!(line.contains("127.0.0.1 said: 250 taken") && line.contains(&format!("paid {credits}")), "{line}");
    }
    assert!(!scene.outcome("free@y.example", "sent", 1).contains("paid"));
    let gone = scene.outcome("gone@y.example", "bounced", 1);
    assert!(gone.contains("550 5.1.1 127.0.0.1 said: 550 no such user"), "{gone}");
    let dear = scene.outcome("dear@y.example", "bounced", 1);
    let text = "550 5.7.1 <dear@y.example>: asks 1000 credits, more than max_price = 10 of this gateway";
    assert!(dear.contains(text) && dear.contains("mailstamp-gateway(8)"), "{dear}");

    let taken = scene.far.state().taken.clone();
    let [taken] = &taken[..] else { panic!("{taken:?}") };
    // Postfix sorts them.
    let recipients: BTreeSet<&str> = taken.recipients.iter().map(String::as_str).collect();
    assert_eq!(recipients, BTreeSet::from(["b1@y.example", "free@y.example", "b2@y.example"]));
    // Postfix puts its trace field on top; the rest is as it came.
    let sent = String::from_utf8(message("five")).unwrap();
    assert!(taken.text.starts_with("Received: ") && taken.text.ends_with(&sent), "{}", taken.text);
    let mut prices: Vec<(&str, u64)> = taken.paid.iter().map(|it| (it.mailbox(), it.credits())).collect();
    prices.sort_unstable();
    assert_eq!(prices, [("b1@y.example", 3), ("b2@y.example", 5)]);
    assert!(taken.paid.iter().all(|it| it.claims["payee"] == format!("payee@{VENDOR}")));
    let mail = scene.far.lines("MAIL");
    assert!(mail[0].starts_with(&format!("MAIL FROM:<{SENDER}> SIZE=")) && mail[0].ends_with(" EMSTAMP"), "{mail:?}");
    assert_eq!((scene.far.lines("EMST").len(), scene.far.lines("DATA").len()), (2, 1));
    scene.settled(8);
    assert_eq!(scene.payer.has(), [9_900, 92, 0, 8, 0]);
    scene.clear();
    assert_eq!(scene.payer.has(), [9_900, 92, 0, 0, 0]);
}

// E11, E8: a server without the extension is served as ever
#[test]
fn a_plain_server_is_served_as_ever() {
    let scene = Scene::new(0, &[("b1@y.example", 3)], "");
    scene.far.state().is_aware = false;
    scene.send("plain", &["free@y.example", "b1@y.example", "gone@y.example"]);
    scene.outcome("free@y.example", "sent", 1);
    let asks = scene.outcome("b1@y.example", "bounced", 1);
    assert!(asks.contains("550 5.7.1 127.0.0.1 said: 550 <b1@y.example>: this mailbox asks 3 credits"), "{asks}");
    scene.outcome("gone@y.example", "bounced", 1);
    assert!(!scene.far.state().lines.iter().any(|line| line.contains("EMST")));
    // The next message, to the same server, which has learned to ask.
    scene.far.state().is_aware = true;
    scene.send("aware", &["free@y.example"]);
    scene.outcome("free@y.example", "sent", 2);
    assert!(scene.far.lines("MAIL")[1].ends_with(" EMSTAMP"));
}

#[test]
fn a_domain_without_a_route_says_what_to_do() {
    let scene = Scene::new(0, &[], "");
    scene.send("route", &["bob@z.example"]);
    let line = scene.outcome("bob@z.example", "bounced", 1);
    assert!(line.contains("550-5.1.2") && line.contains("gateway.outbound.routes has no route to z.example"), "{line}");
    assert!(line.contains("add a route"), "{line}");
}

// Two servers, one of which is away: each recipient has an answer of its own
#[test]
fn a_server_that_is_away_holds_up_its_own_recipients_only() {
    let prices = [("b1@y.example", 3), ("b1@z.example", 4)];
    let [far, other] = [0; 2].map(|_| EmstampServer::start(PAYEE, &prices, None));
    let away = Port::reserve();
    let ports = [("y", far.port()), ("z", other.port()), ("w", away.number()), ("v", far.port())];
    let routes: String =
        ports.iter().map(|(name, port)| format!("\"{name}.example\" = \"127.0.0.1:{port}\"\n")).collect();
    let scene = Scene::with(100, "tls = \"off\"", far, &routes);
    scene.send("three", &["b1@y.example", "b1@z.example", "b1@w.example", "free@z.example", "free@v.example"]);
    for recipient in ["b1@y.example", "b1@z.example", "free@z.example", "free@v.example"] {
        scene.outcome(recipient, "sent", 1);
    }
    let line = scene.outcome("b1@w.example", "deferred", 1);
    assert!(line.contains("451 4.4.2 127.0.0.1 refuses the connection"), "{line}");
    // Two domains of one server have one message.
    assert_eq!((scene.paid().len(), scene.far.state().taken.len(), other.state().taken.len()), (1, 1, 1));
    scene.settled(7);
    scene.payer.sound();
}
