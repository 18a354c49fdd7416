//! One stamp, one message: theft, replay, redelivery, windows, forgetting, and the effect of the user's options.

use crate::support::{ALICE, Home, letter};

const BEFORE: &str = "2026-12-01T12:00:00Z";
const NOW: &str = "2026-12-02T12:00:00Z";
const AFTER: &str = "2027-01-20T12:00:00Z";
/// The end of the window in most tests.
const END: &str = "2026-12-20T12:00:00Z";

fn judge(home: &Home, now: &str, message: &[u8]) -> String {
    home.run(["classify", "--now", now], message).text().trim_end().to_owned()
}

#[test]
fn a_thief_can_replace_a_message_and_no_more() {
    // BC13, BX4: the message that comes first is first-class. Nothing after it is, whatever its sender field says, for
    // as long as the stamp lasts.
    for thief_first in [false, true] {
        let home = Home::new();
        let stamp = home.issue(ALICE, ["--now", BEFORE, "--until", END]);
        let honest = home.affix(&stamp, &letter("honest"));
        let thief = home.affix(&stamp, &letter("thief"));
        let (first, second) = if thief_first { (&thief, &honest) } else { (&honest, &thief) };
        assert_eq!(judge(&home, BEFORE, first), "first-class paid");
        assert_eq!(judge(&home, BEFORE, second), "used used");
        let mut let_through = 0;
        for (id, now) in [("a", BEFORE), ("b", NOW), ("c", "2026-12-19T12:00:00Z"), ("d", END), ("e", AFTER)] {
            let spam = String::from_utf8(home.affix(&stamp, &letter(id))).unwrap();
            let spam = spam.replace("From: Bob <bob@y.example>", &format!("From: {id}@z.example"));
            let_through += usize::from(judge(&home, now, spam.as_bytes()).starts_with("first-class"));
        }
        assert_eq!(let_through, 0);
    }
}

#[test]
fn a_second_message_is_refused() {
    // BP4i
    let home = Home::new();
    let stamp = home.issue(ALICE, []);
    home.classify(&home.affix(&stamp, &letter("1"))).exits(0).says("first-class paid");
    home.classify(&home.affix(&stamp, &letter("2"))).exits(21).says("used used");
}

#[test]
fn reuse_under_every_setting() {
    // BC17: {log on, off} x {window on, off} x {single, return, multi} x {same message, other message, other recipient,
    // after the window}.
    #[rustfmt::skip]
    let table = [
        // log    window  kind      same message             other message            other recipient          after the
        // window
        (true,  true,  "single", ["first-class again",     "used used",             "invalid not-for-me",    "invalid expired"]),
        (true,  false, "single", ["first-class again",     "used used",             "invalid not-for-me",    "used used"]),
        (false, true,  "single", ["first-class paid",      "first-class paid",      "invalid not-for-me",    "invalid expired"]),
        (false, false, "single", ["first-class paid",      "first-class paid",      "invalid not-for-me",    "first-class paid"]),
        (true,  true,  "return", ["first-class return",    "first-class return",    "first-class return",    "first-class return"]),
        (true,  false, "return", ["first-class return",    "first-class return",    "first-class return",    "first-class return"]),
        (false, true,  "return", ["first-class return",    "first-class return",    "first-class return",    "first-class return"]),
        (false, false, "return", ["first-class return",    "first-class return",    "first-class return",    "first-class return"]),
        (true,  true,  "multi",  ["first-class multi-use", "first-class multi-use", "first-class multi-use", "first-class multi-use"]),
        (true,  false, "multi",  ["first-class multi-use", "first-class multi-use", "first-class multi-use", "first-class multi-use"]),
        (false, true,  "multi",  ["first-class multi-use", "first-class multi-use", "first-class multi-use", "first-class multi-use"]),
        (false, false, "multi",  ["first-class multi-use", "first-class multi-use", "first-class multi-use", "first-class multi-use"]),
    ];
    for (log, window, kind, expected) in table {
        let home = Home::new();
        home.configure(&format!(
            "addresses = [\"{ALICE}\", \"carol@x.example\"]\n[stamps]\nallow_no_expiry = {}\n[used_log]\nenabled = {log}",
            !window
        ));
        // What comes back under a return grant names the correspondent.
        let recipient = if kind == "return" { "bob@y.example" } else { ALICE };
        let stamp = if window {
            home.issue(recipient, ["--serial", "one", "--now", BEFORE, "--until", END])
        } else {
            endless(&home, recipient)
        };
        let first = home.affix(&stamp, &letter("1"));
        if kind != "return" {
            assert_eq!(judge(&home, BEFORE, &first), "first-class paid");
        }
        if let Some(kind) = [("return", "return"), ("multi", "multi-use")].iter().find(|(k, _)| *k == kind) {
            let row = format!(
                "{{\"row\":\"standing\",\"vendor\":\"stamps.example\",\"serial\":\"one\",\
                 \"standing\":{{\"grant\":{{\"kind\":\"{}\",\"since\":0}}}}}}\n",
                kind.1
            );
            home.run(["import"], row.as_bytes()).exits(0);
        }
        let other = home.affix(&stamp, &letter("2"));
        let carol = ["classify", "--now", NOW, "--recipient", "carol@x.example"];
        let answers = [
            judge(&home, NOW, &first),
            judge(&home, NOW, &other),
            home.run(carol, &home.affix(&stamp, &letter("3"))).text().trim_end().to_owned(),
            judge(&home, AFTER, &home.affix(&stamp, &letter("4"))),
        ];
        assert_eq!(answers, expected, "log {log}, window {window}, {kind}");
    }
}

/// A stamp of the home's vendor without a window, which `vendor issue` does not make.
fn endless(home: &Home, recipient: &str) -> String {
    use mailstamp::directory::signing_key::SigningKey;
    use mailstamp::message::address::Address;
    use mailstamp::stamp::audience::Audience;
    use mailstamp::stamp::claims::Stamp;
    use mailstamp::stamp::issue;
    use mailstamp::stamp::serial::Serial;
    use mailstamp::time::UnixTime;
    let signer = SigningKey::read(&home.key("stamps.example", "2026q4")).unwrap();
    let audience = Audience::Plain(Address::parse(recipient).unwrap());
    let stamp = Stamp { expires: None, ..Stamp::new(Serial::new("one").unwrap(), audience, UnixTime(0)) };
    issue::issue(&stamp, &signer.issuer, &signer.key).unwrap().as_str().to_owned()
}

#[test]
fn without_the_log_reuse_is_not_noticed_and_the_result_says_so() {
    // BP4j
    let home = Home::new();
    let stamp = home.issue(ALICE, []);
    let field = |id: &str| {
        let filtered = home.run(["filter"], &home.affix(&stamp, &letter(id))).exits(0).text();
        let (field, _) = filtered.split_once("\nDigital-Stamp:").unwrap();
        field.split_whitespace().collect::<Vec<_>>().join(" ")
    };
    home.configure(&format!("addresses = [\"{ALICE}\"]\n[used_log]\nenabled = false"));
    for id in ["1", "2"] {
        let field = field(id);
        assert!(field.starts_with("Digital-Stamp-Class: first-class; reason=paid;"), "{field}");
        assert!(field.ends_with("; reuse=not-checked; action=deliver"), "{field}");
    }
    let doctor = home.run(["doctor"], b"").exits(0).text();
    assert!(doctor.contains("a stamp used twice is not noticed"), "{doctor}");
    home.configure(&format!("addresses = [\"{ALICE}\"]"));
    assert!(!field("3").contains("not-checked"));
}

#[test]
fn the_window_is_kept() {
    // BP4k: before, within, after, by five minutes of two clocks, and later if the user likes.
    let home = Home::new();
    let window = ["--not-before", "2026-12-10T12:00:00Z", "--until", END];
    let stamped = home.affix(&home.issue(ALICE, ["--now", BEFORE].into_iter().chain(window)), &letter("1"));
    for late in ["0s", "2d"] {
        home.configure(&format!("addresses = [\"{ALICE}\"]\n[stamps]\nexpiry_grace = \"{late}\""));
        let after = if late == "2d" { "first-class paid" } else { "invalid expired" };
        for (now, verdict) in [
            (BEFORE, "invalid not-yet-valid"),
            ("2026-12-10T11:54:59Z", "invalid not-yet-valid"),
            ("2026-12-10T11:55:00Z", "first-class paid"),
            ("2026-12-10T12:00:00Z", "first-class paid"),
            ("2026-12-15T12:00:00Z", "first-class paid"),
            (END, "first-class paid"),
            ("2026-12-20T12:05:00Z", "first-class paid"),
            ("2026-12-20T12:05:01Z", after),
            ("2026-12-22T12:05:00Z", after),
            ("2026-12-22T12:05:01Z", "invalid expired"),
            (AFTER, "invalid expired"),
        ] {
            let judged = home.run(["classify", "--dry-run", "--now", now], &stamped);
            assert_eq!(judged.text().trim_end(), verdict, "{now}, late {late}");
        }
    }
}

#[test]
fn what_is_forgotten_is_refused_by_its_date() {
    // BP4l: the entries of ended stamps vanish, those of others stay, and no forgotten stamp is good again, not even
    // when the clock is set back into its window.
    let home = Home::new();
    let old = |id: &str| home.issue(ALICE, ["--serial", id, "--now", "2024-01-01T00:00:00Z", "--days", "10"]);
    let first_day = "2024-01-02T00:00:00Z";
    for id in ["a", "b", "c"] {
        assert_eq!(judge(&home, first_day, &home.affix(&old(id), &letter(id))), "first-class paid");
    }
    home.classify(&home.stamped(&letter("today"))).exits(0).says("first-class paid");
    let used = || home.run(["export"], b"").exits(0).text().matches("\"row\":\"used\"").count();
    // The delivery of today may have taken ended ones along.
    assert!((1..=4).contains(&used()));
    let purged = home.run(["purge", "--json"], b"").exits(0);
    let json: serde_json::Value = serde_json::from_slice(&purged.stdout).unwrap();
    assert_eq!(json["schema"], 1);
    assert_eq!(used(), 1);
    assert_eq!(home.run(["purge"], b"").exits(0).text(), "serials of ended stamps forgotten: 0\n");
    let spam = home.affix(&old("a"), &letter("spam"));
    home.classify(&spam).exits(20).says("invalid expired");
    let back = home.run(["classify", "--now", first_day], &spam);
    assert_eq!((back.code, back.text().as_str()), (75, ""), "{back:?}");
    // Nor does it come back, or keep others of its time waiting, when late stamps are accepted from now on.
    home.configure(&format!("addresses = [\"{ALICE}\"]\n[stamps]\nexpiry_grace = \"20000d\""));
    home.classify(&spam).exits(20).says("invalid expired");
    home.classify(&home.affix(&old("d"), &letter("d"))).exits(20).says("invalid expired");
}
