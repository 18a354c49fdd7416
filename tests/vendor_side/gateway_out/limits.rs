//! Limits of the owner, a bank that cannot pay, and servers that cannot be trusted.

use super::Scene;

const PRICES: [(&str, u64); 3] = [("b1@y.example", 3), ("b2@y.example", 5), ("b3@y.example", 4)];

#[test]
fn what_is_beyond_the_limits_of_the_owner_is_not_paid() {
    let scene = Scene::new(100, &PRICES, "max_message = 8\nmax_day = 9");
    scene.send("one", &["b1@y.example", "b2@y.example", "b3@y.example"]);
    scene.outcome("b1@y.example", "sent", 1);
    scene.outcome("b2@y.example", "sent", 1);
    let line = scene.outcome("b3@y.example", "bounced", 1);
    assert!(line.contains("asks 4 credits beside the other recipients, more than max_message = 8"), "{line}");
    // One credit is left for today; tomorrow is another day.
    scene.send("two", &["b1@y.example", "free@y.example"]);
    scene.outcome("free@y.example", "sent", 1);
    let line = scene.outcome("b1@y.example", "deferred", 2);
    assert!(line.contains("451 4.7.1 <b1@y.example>: asks 3 credits") && line.contains("max_day"), "{line}");
    scene.settled(8);
    scene.clear();
    assert_eq!(scene.payer.has(), [9_900, 92, 0, 0, 0]);
}

#[test]
fn without_a_licence_mail_waits() {
    let scene = Scene::new(0, &PRICES, "");
    scene.send("wait", &["b1@y.example", "free@y.example"]);
    scene.outcome("free@y.example", "sent", 1);
    let line = scene.outcome("b1@y.example", "deferred", 1);
    assert!(line.contains("asks credits, and this gateway cannot pay now"), "{line}");
    // The gateway took a licence of no credits, to ask the agency.
    assert!(scene.log().contains("a licence has 0 left: run mailstamp bank license"), "{}", scene.log());
    assert_eq!((scene.far.lines("EMST").len(), scene.payer.has()), (0, [10_000, 0, 0, 0, 0]));
    // A licence later, it leaves.
    scene.payer.tells("license 4");
    scene.outcome("b1@y.example", "sent", 1);
    // Fewer credits than it asks.
    scene.send("few", &["b2@y.example"]);
    scene.outcome("b2@y.example", "deferred", 1);
    scene.settled(3);
    scene.clear();
}

#[test]
fn a_server_that_takes_back_what_it_accepted_is_paid_by_the_same_token() {
    let scene = Scene::new(100, &PRICES, "");
    scene.far.state().text_reply = Some("452 4.3.1 full".into());
    scene.send("full", &["b1@y.example"]);
    let line = scene.outcome("b1@y.example", "deferred", 1);
    assert!(line.contains("452 4.3.1 127.0.0.1 said: 452 full"), "{line}");
    scene.outcome("b1@y.example", "sent", 1);
    let shown = scene.far.lines("EMST");
    assert!(shown.len() >= 2 && shown.iter().all(|line| *line == shown[0]), "{shown:?}");
    for (number, (reply, status)) in
        [("550 5.7.1 bad token", "bounced"), ("451 4.7.1 exposure", "deferred")].into_iter().enumerate()
    {
        scene.far.state().pay_replies = vec![reply.into()];
        scene.send(&format!("reply{number}"), &["b2@y.example"]);
        let line = scene.outcome("b2@y.example", status, 1);
        assert!(line.contains(&reply[4..9]), "{line}");
    }
    scene.outcome("b2@y.example", "sent", 1);
    scene.settled(8);
    scene.clear();
    // What was shown for the refused message stays reserved until the agency says that it is void.
    assert_eq!(scene.payer.has(), [9_900, 87, 5, 0, 0]);
}

#[test]
fn credits_of_another_agency_are_not_paid() {
    let scene = Scene::new(100, &PRICES, "");
    scene.far.state().payee = "payee@other.example".into();
    scene.send("other", &["b1@y.example"]);
    let line = scene.outcome("b1@y.example", "bounced", 1);
    assert!(line.contains("asks credits of another agency, other.example"), "{line}");
    assert_eq!(scene.payer.has(), [9_900, 100, 0, 0, 0]);
}
