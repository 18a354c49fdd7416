//! Each condition against messages that it fits and messages that it just does not fit, through the text of a rules
//! file.

use mailstamp::config::rules::{CONDITION_KEYS, parse};
use mailstamp::message::address::{Address, LocalCase};
use mailstamp::message::parse::Message;
use mailstamp::policy::condition::{Condition, Environment};
use mailstamp::policy::context::{Extent, MessageContext};
use mailstamp::policy::decision::{Effect, Ruling};
use mailstamp::policy::regex::Match;
use mailstamp::policy::rule_set::{Clause, Rules};
use mailstamp::verdict::facts::Envelope;
use mailstamp::verdict::finding::Verdict;
use mailstamp::verdict::reason::Reason;
use proptest::prelude::*;
use std::cell::RefCell;
use std::collections::BTreeSet;
use std::convert::Infallible;
use std::path::Path;

/// A source of facts that records the questions.
#[derive(Default)]
struct World(RefCell<Vec<String>>);

impl Environment for World {
    type Trouble = Infallible;

    fn wrote_to(&self, address: &Address) -> Result<bool, Infallible> {
        self.0.borrow_mut().push(format!("wrote to {address}?"));
        Ok(address.to_string() == "bob@y.example")
    }

    fn sent(&self, message_id: &str) -> Result<bool, Infallible> {
        self.0.borrow_mut().push(format!("sent {message_id}?"));
        Ok(message_id == "mine@x.example")
    }

    fn listed(&self, file: &Path, address: &Address) -> Result<bool, Infallible> {
        self.0.borrow_mut().push(format!("{} on {}?", address, file.display()));
        Ok(address.to_string() == "bob@y.example" && file == Path::new("/etc/friends"))
    }
}

struct Asked<'a> {
    raw: &'a [u8],
    reason: Reason,
    envelope: Envelope,
    cut: bool,
    world: World,
}

impl<'a> Asked<'a> {
    fn of(raw: &'a (impl AsRef<[u8]> + ?Sized)) -> Self {
        let envelope = Envelope::default();
        Self { raw: raw.as_ref(), reason: Reason::NoStamp, envelope, cut: false, world: World::default() }
    }

    fn letter<T>(&self, ask: impl FnOnce(&MessageContext<'_>) -> T) -> T {
        let message = Message::parse(self.raw);
        let verdict = Verdict { reason: self.reason, deciding_stamp: None, boundary: None, findings: vec![] };
        let seen = if self.cut { Extent::Beginning } else { Extent::Whole };
        ask(&MessageContext::new(&message, &self.envelope, &verdict, &["mx.x.example".to_owned()], seen))
    }

    fn ruling(&self, rules: &Rules) -> Option<Ruling> {
        self.letter(|letter| rules.ruling(letter, &self.world)).unwrap_or_else(|error| panic!("{error:?}"))
    }

    fn matches(&self, conditions: &str) -> bool {
        self.ruling(&rule(conditions)).is_some()
    }

    /// What is found for each condition of these rules, of which none may match.
    fn found(&self, text: &str) -> Vec<Match> {
        self.letter(|letter| {
            let mut seen = Vec::new();
            let note = &mut |_: Clause, _: &Condition, found| seen.push(found);
            rules(text).iter().for_each(|rule| assert!(!rule.matches(letter, &self.world, note).unwrap()));
            seen
        })
    }
}

fn rules(text: &str) -> Rules {
    parse(text, Path::new("/etc/rules.toml"), LocalCase::Fold).unwrap_or_else(|error| panic!("{text}\n{error}"))
}

fn rule(conditions: &str) -> Rules {
    rules(&format!("[[rule]]\nname = \"one\"\naction = \"allow\"\n{conditions}\n"))
}

const LETTER: &str = "Return-Path: <bounce+7@lists.y.example>\n\
    Authentication-Results: mx.x.example; dkim=pass header.d=y.example; spf=fail smtp.mailfrom=lists.y.example\n\
    Received: from y.example by mx.x.example\n\
    Authentication-Results: mx.x.example; dmarc=pass header.from=y.example\n\
    From: Bob <bob@y.example>, carol@z.example\n\
    To: Alice <alice@x.example>\nCc: team: dave@w.example;, erin@w.example\n\
    Subject: =?utf-8?q?a_ch=65ap?= offer\n\
    List-Id: Talk <Talk.Lists.Y.example>\n\
    X-Any: first\nX-Any: second\n\
    In-Reply-To: <theirs@y.example>\nReferences: <mine@x.example>\n <other@y.example>\n\
    Content-Transfer-Encoding: quoted-printable\n\nBuy p=\nills now\n";

#[test]
fn every_condition_holds_where_it_fits_and_fails_just_beside_it() {
    // BC9.3. Only the boundary's own Authentication-Results count: dmarc=pass is below its Received field.
    let from_bob = LETTER.replace(", carol@z.example", "");
    let table: &[(&str, &str)] = &[
        (r#"from = "bob@y.example""#, r#"from = "bo@y.example""#),
        (r#"from = "BOB@Y.Example""#, r#"from = "carol@z.example""#),
        (r#"from = ["x@y.example", "*@y.example"]"#, r#"from = ["x@y.example", "*@example"]"#),
        (r"from = '/^b.b@/'", r"from = '/^bb@/'"),
        (r#"from_domain = "y.example""#, r#"from_domain = "lists.y.example""#),
        (r#"from_domain = ["z.example", "Example."]"#, r#"from_domain = ["z.example", "xample"]"#),
        (r#"from_file = "friends""#, r#"from_file = "others""#),
        (r#"from_file = ["others", "/etc/friends"]"#, r#"from_file = "/srv/friends""#),
        (r#"envelope_from = "bounce+*@lists.y.example""#, r#"envelope_from = "bounce@lists.y.example""#),
        (r#"envelope_from_domain = "y.example""#, r#"envelope_from_domain = "ists.y.example""#),
        (r#"to = "alice@x.example""#, r#"to = "bob@y.example""#),
        (r#"to = "dave@w.example""#, r#"to = "*@y.example""#),
        (r#"to = ["absent@x.example", "erin@w.example"]"#, r#"to = "lice@x.example""#),
        (r#"list_id = "talk.lists.y.example""#, r#"list_id = "lists.y.example""#),
        (r#"list_id = "*.Y.example""#, r#"list_id = "*.talk.lists.y.example""#),
        (r#"header = { "X-Any" = "^first$" }"#, r#"header = { "X-Any" = "^third$" }"#),
        (r#"header = { "x-any" = "^second$" }"#, r#"header = { "X-An" = "second" }"#),
        (r#"header = { "X-Any" = ["third", "first"] }"#, r#"header = { "X-Any" = ["First", "third"] }"#),
        (
            r#"header = { "X-Any" = "first", "List-Id" = "Talk" }"#,
            r#"header = { "X-Any" = "first", "List-Id" = "talk <" }"#,
        ),
        (r#"subject = "^a cheap offer$""#, r#"subject = "A cheap""#),
        (r#"subject = "(?i)A CHEAP""#, r#"subject = "ch=65ap""#),
        (r#"body = "pills now""#, r#"body = "pills =""#),
        (r#"body = ["watches", 'p\w+s']"#, r#"body = "pills$""#),
        (r"larger = 500", r"larger = 1000"),
        (r#"larger = 1"#, r#"larger = "1k""#),
        (r#"smaller = "1k""#, r#"smaller = 100"#),
        (r#"smaller = "1G""#, r#"smaller = 1"#),
        (r#"class = "unstamped""#, r#"class = "unverified""#),
        (r#"class = ["used", "unstamped"]"#, r#"class = ["used", "revoked"]"#),
        (r#"reason = "no-stamp""#, r#"reason = ["forged", "used"]"#),
        (r#"authenticated = true"#, r#"authenticated = false"#),
        (r#"authenticated = "dkim=pass""#, r#"authenticated = "dmarc=pass""#),
        (r#"authenticated = ["arc=pass", "SPF=fail"]"#, r#"authenticated = "spf=pass""#),
        ("correspondent = true", "correspondent = false"),
        ("reply_to_mine = true", "reply_to_mine = false"),
    ];
    for (holds, fails) in table {
        let raw = if holds.contains("authenticated") { from_bob.as_str() } else { LETTER };
        assert!(Asked::of(raw).matches(holds), "{holds}");
        assert!(!Asked::of(raw).matches(fails), "{fails}");
    }
    assert!(Asked::of(LETTER).matches("always = true"));
    assert!(!Asked::of(LETTER).matches("always = true\nunless = { class = \"unstamped\" }"));
    let mut asked: BTreeSet<&str> =
        table.iter().filter_map(|(holds, _)| holds.split_once(" = ")).map(|it| it.0).collect();
    // Below, with an envelope.
    asked.extend(["recipient", "envelope_from_file"]);
    assert_eq!(asked, CONDITION_KEYS.into_iter().collect());
}

#[test]
fn the_envelope_is_what_the_delivering_program_says() {
    let with = |sender: Option<&str>, recipient: &str| Asked {
        envelope: Envelope { sender: sender.map(str::to_owned), recipient: Address::parse(recipient).ok() },
        ..Asked::of(LETTER)
    };
    let bob = with(Some("bob@y.example"), "alice+list@x.example");
    assert!(bob.matches(r#"recipient = "alice+*@x.example""#));
    assert!(!bob.matches(r#"recipient = "alice@x.example""#));
    assert!(!Asked::of(LETTER).matches(r#"recipient = "*@x.example""#));
    assert!(bob.matches(r#"envelope_from = "bob@y.example""#));
    assert!(bob.matches(r#"envelope_from_file = "friends""#));
    assert!(!Asked::of(LETTER).matches(r#"envelope_from_file = "friends""#));
    // The null sender is no address at all, whatever Return-Path says.
    assert!(!with(Some(""), "").matches(r#"envelope_from = "/./""#));
    assert!(!with(Some(""), "").matches(r#"envelope_from_domain = "example""#));
}

#[test]
fn of_a_message_that_is_not_there_whole_its_size_is_at_least_what_is() {
    let cut = Asked { cut: true, reason: Reason::OverLimit, ..Asked::of(LETTER) };
    assert!(cut.matches("larger = 500") && !cut.matches("larger = \"1G\"") && !cut.matches("smaller = \"1G\""));
    assert!(cut.matches(r#"reason = "over-limit""#) && cut.matches(r#"class = "unverified""#));
    assert!(cut.matches(r#"body = "pills""#));
}

#[test]
fn all_conditions_must_hold_and_the_exceptions_not_all() {
    let matches = |conditions: &str| Asked::of(LETTER).matches(conditions);
    let bob = r#"from = "bob@y.example""#;
    assert!(matches(&format!("{bob}\nsubject = \"offer\"")));
    assert!(!matches(&format!("{bob}\nsubject = \"order\"")));
    assert!(!matches(&format!("{bob}\nunless = {{ subject = \"offer\" }}")));
    assert!(matches(&format!("{bob}\nunless = {{ subject = \"order\" }}")));
    assert!(matches(&format!("{bob}\nunless = {{ subject = \"offer\", body = \"watches\" }}")));
    assert!(!matches(&format!("{bob}\nunless = {{ subject = \"offer\", body = \"pills\" }}")));
    assert!(!matches(&format!("{bob}\n[rule.unless.header]\nX-Any = \"first\"\nSubject = \"offer\"")));
}

#[test]
fn the_first_rule_that_matches_speaks_and_what_it_gives_is_its_action() {
    let text = "[[rule]]\nname = \"a\"\naction = \"discard\"\nfrom = \"x@y.example\"\n\
        [[rule]]\nname = \"b\"\naction = \"nothing\"\nfrom = \"bob@y.example\"\n\
        [[rule]]\nname = \"c\"\naction = \"allow\"\nalways = true\n";
    let said = |raw: &str| Asked::of(raw).ruling(&rules(text)).map(|ruling| (ruling.name, ruling.effect));
    assert_eq!(said(LETTER), Some(("b".to_owned(), Effect::Nothing)));
    assert_eq!(said("From: z@y.example\n\n"), Some(("c".to_owned(), Effect::Allow)));
    assert_eq!(said(""), Some(("c".to_owned(), Effect::Allow)));
    assert_eq!(Asked::of(LETTER).ruling(&rules("")), None);
    for (word, action) in
        [("deliver", 0), ("tag", 30), ("challenge", 31), ("hold", 32), ("discard", 33), ("reject", 34)]
    {
        let given =
            Asked::of(LETTER).ruling(&rules(&format!("[[rule]]\nname = \"a\"\naction = \"{word}\"\nalways = true")));
        let Some(Ruling { effect: Effect::Act(act), .. }) = given else { panic!("{word}") };
        assert_eq!((act.as_str(), act.exit_code()), (word, action));
    }
}

#[test]
fn the_cheapest_condition_is_asked_first_and_the_world_last() {
    let conditions = "correspondent = true\nreply_to_mine = true\nfrom_file = \"friends\"\nbody = \"pills\"\n\
        subject = \"offer\"\nfrom = \"bob@y.example\"\nclass = \"unstamped\"";
    let order = |conditions: &str| {
        let asked = Asked::of(LETTER);
        let rules = rule(conditions);
        let mut keys = Vec::new();
        asked.letter(|letter| {
            let note = &mut |_: Clause, condition: &Condition, found| {
                keys.push((condition.key.clone(), found));
            };
            rules.iter().next().unwrap().matches(letter, &asked.world, note).unwrap()
        });
        (keys.into_iter().map(|(key, _)| key).collect::<Vec<_>>().join(" "), asked.world.0.into_inner())
    };
    let (keys, world) = order(conditions);
    assert_eq!(keys, "class from subject body from_file correspondent reply_to_mine");
    assert_eq!(
        world,
        [
            "bob@y.example on /etc/friends?",
            "wrote to bob@y.example?",
            "sent theirs@y.example?",
            "sent other@y.example?",
            "sent mine@x.example?"
        ]
    );
    // Nothing outside the message is asked when something in it says no.
    for no in ["subject = \"order\"", "body = \"watches\"", "from = \"x@y.example\"", "larger = \"1M\""] {
        let key = no.split(' ').next().unwrap();
        let others: Vec<&str> = conditions.lines().filter(|line| !line.starts_with(key)).collect();
        let (_, world) = order(&format!("{no}\n{}", others.join("\n")));
        assert_eq!(world, Vec::<String>::new(), "{no}");
    }
}

// Threat 25.
#[test]
fn addresses_that_look_alike_are_not_alike() {
    let matches = |from: &str, condition: &str| Asked::of(&format!("From: {from}\n\n")).matches(condition);
    // The same in other spellings.
    for same in [
        "Bob@B\u{fc}cher.example",
        "bob@xn--bcher-kva.example",
        "\"bob\"@b\u{fc}cher.example.",
        "bob@BU\u{308}CHER.example",
    ] {
        assert!(matches(same, "from = \"bob@b\u{fc}cher.example\""), "{same}");
        assert!(matches(same, "from_domain = \"xn--bcher-kva.example\""), "{same}");
    }
    for other in [
        // A Cyrillic letter; an invisible joiner; a full-width @; a bidirectional control; the address as a name.
        "b\u{43e}b@b\u{fc}cher.example",
        "bob@b\u{fc}\u{200d}cher.example",
        "bob\u{ff20}b\u{fc}cher.example",
        "\u{202e}bob@b\u{fc}cher.example",
        "\"bob@b\u{fc}cher.example\" <evil@z.example>",
        "bob@b\u{fc}cher.example <evil@z.example>",
        "bob@bucher.example",
        "bob@b\u{fc}cher.example.evil.example",
    ] {
        assert!(!matches(other, "from = \"bob@b\u{fc}cher.example\""), "{other}");
    }
    for other in ["bob@bucher.example", "bob@b\u{fc}cher.example.evil.example", "bob@b\u{fc}che\u{433}.example"] {
        assert!(!matches(other, "from_domain = \"b\u{fc}cher.example\""), "{other}");
    }
}

// Threat 14.
#[test]
fn hostile_messages_are_answered_within_bounds() {
    let fields = "X-Any: x\n".repeat(50_000);
    for raw in
        [format!("\n{}", "xz".repeat(30_000)), format!("{fields}\nx"), "From: ".to_owned() + &"<".repeat(300_000)]
    {
        let asked = Asked::of(&raw);
        assert!(!asked.matches("body = '(?s)x.{300}y'") && !asked.matches(r#"header = { "X-Any" = "x.{300}y" }"#));
        assert!(!asked.matches("from = \"a@y.example\"\nto = \"b@y.example\""));
    }
}

// Threat 14.
#[test]
fn beyond_the_budget_nothing_is_known_and_a_rule_in_doubt_does_not_match() {
    let mut random = 88_172_645_463_325_252_u64;
    let mut next = || {
        random ^= random << 13;
        random ^= random >> 7;
        random ^= random << 17;
        if random.is_multiple_of(2) { b'x' } else { b'z' }
    };
    let raw: Vec<u8> = [b'\n'].into_iter().chain((0..1 << 19).map(|_| next())).collect();
    let asked = Asked::of(&raw);
    assert!(asked.matches("body = 'x'"));
    let hard = "[[rule]]\nname = \"hard\"\naction = \"allow\"\nbody = '(?s)x.{3000}y'\n";
    let then = |conditions: &str| {
        let next = format!("{hard}[[rule]]\nname = \"next\"\naction = \"allow\"\n{conditions}\n");
        asked.ruling(&rules(&next)).map(|ruling| ruling.name)
    };
    assert_eq!(then("body = 'x'"), None);
    assert_eq!(then("subject = 'x'"), None);
    assert_eq!(then("always = true\nunless = { body = 'watches' }"), None);
    assert_eq!(then("class = 'unstamped'").as_deref(), Some("next"));
    assert_eq!(asked.found(hard), [Match::Unknown]);
    // To begin a search counts, too.
    let many = "Subject:a\n".repeat(100_000) + "\n";
    let search = "[[rule]]\nname = \"NAME\"\naction = \"allow\"\nsubject = 'b'\n";
    let twice = ["one", "two"].map(|name| search.replace("NAME", name)).concat();
    assert_eq!(Asked::of(&many).found(&twice), [Match::No, Match::Unknown]);
}

proptest! {
    // Rules answer for every message, and the answer agrees with that of each single condition.
    #[test]
    fn any_message_is_answered(header in "(From|To|Subject|List-Id|References|Authentication-Results|X): [ -~\\n]{0,60}\\n", body in any::<Vec<u8>>()) {
        let raw = [header.as_bytes(), b"\n", &body].concat();
        let asked = Asked::of(&raw);
        let parts = ["from = '/b/'", "subject = '[aeiou]'", "body = '(?s)a.*b'", "list_id = '*.example'", "authenticated = true",
            "correspondent = true", "reply_to_mine = true", "header = { X = '.' }", "larger = 50"];
        let each: Vec<bool> = parts.iter().map(|part| asked.matches(part)).collect();
        for (at, one) in parts.iter().enumerate() {
            let other = (at + 1) % parts.len();
            prop_assert_eq!(asked.matches(&format!("{one}\n{}", parts[other])), each[at] && each[other]);
            prop_assert_eq!(asked.matches(&format!("always = true\nunless = {{ {one}, {} }}", parts[other])), !(each[at] && each[other]));
        }
    }
}
