//! Sealed results of a boundary (mailstamp-milter(8)), and the hosts behind it that believe them.

use crate::support::milter::{Answer, MailSystem};
use crate::support::peers::{own_key, used};
use crate::support::programs::chmod;
use crate::support::resident::Resident;
use crate::support::{ALICE, Home, letter};
use std::fs;
use std::path::PathBuf;

const BOB: &str = "bob@x.example";
const CAROL: &str = "carol@x.example";
const HOST: &str = "mx.x.example";
const CLASS: &str = "Digital-Stamp-Class:";

/// A boundary with a key, and the daemon that serves it.
struct Site {
    home: Home,
    socket: PathBuf,
    /// What hosts behind write into their configuration.
    trusted: String,
    _daemon: Resident,
}

impl Site {
    fn new(host: &str, above: &str, more: &str) -> Self {
        let home = Home::new();
        let (socket, key) = (home.file("milter"), home.file("seal.key"));
        let keygen = ["boundary", "keygen", "--host", host, "--out", key.to_str().unwrap()];
        let trusted = home.run(keygen, b"").exits(0).text();
        home.configure(&format!(
            "addresses = [{{ address = \"{BOB}\", price = 5, owner = \"bob\" }}, \"*@x.example\"]\n{above}\n\
             [boundary]\nlisten = \"unix:{}\"\nheld_address = \"held@x.example\"\nseal = \"{}\"\n{more}\n",
            socket.display(),
            key.display()
        ));
        let daemon = Resident::of(&home);
        Self { home, socket, trusted, _daemon: daemon }
    }

    /// Lets the message through, and returns it as it goes on.
    #[track_caller]
    fn pass(&self, recipients: &[&str], message: &[u8]) -> String {
        let answer = MailSystem::connect(&self.socket).message(recipients, message);
        assert_eq!(answer.last, "a", "{answer:?}");
        carried_out(message, &answer)
    }

    /// A host behind, whose user has this address. It trusts no vendor of the boundary's.
    fn behind(&self, address: &str, more: &str) -> Home {
        let home = Home::new();
        home.configure(&format!("addresses = [\"{address}\"]\n{more}\n{}", self.trusted));
        home
    }
}

/// The message with the changes that a milter asked for.
fn carried_out(message: &[u8], answer: &Answer) -> String {
    let text = String::from_utf8(message.to_vec()).unwrap();
    let (header, mut body) = text.split_once("\n\n").map(|(header, body)| (header, body.to_owned())).unwrap();
    let mut fields: Vec<String> = Vec::new();
    for line in header.split('\n') {
        match fields.last_mut().filter(|_| line.starts_with([' ', '\t'])) {
            Some(field) => *field += &format!("\n{line}"),
            None => fields.push(line.to_owned()),
        }
    }
    for change in &answer.fields {
        if let Some(field) = change.strip_prefix("i ") {
            fields.insert(0, field.to_owned());
            continue;
        }
        let (number, field) = change[1..].split_once(' ').unwrap();
        let (name, value) = field.split_once(':').unwrap();
        let of_name = |field: &str| field.split_once(':').unwrap().0.eq_ignore_ascii_case(name);
        let wanted = number.parse::<usize>().unwrap() - 1;
        let at = fields.iter().enumerate().filter(|(_, field)| of_name(field)).nth(wanted).unwrap().0;
        if value.is_empty() {
            fields.remove(at);
        } else {
            fields[at] = field.to_owned();
        }
    }
    if let Some(new) = &answer.body {
        body = String::from_utf8(new.clone()).unwrap().replace("\r\n", "\n");
    }
    format!("{}\n\n{body}", fields.join("\n"))
}

/// A message to Alice, and to Bob in Cc.
fn to_both(id: &str) -> Vec<u8> {
    let text = String::from_utf8(letter(id)).unwrap();
    text.replace("\nDate:", &format!("\nCc: Bob <{BOB}>\nDate:")).into_bytes()
}

/// What a host behind says of the message for this recipient: class and reason, and the boundary that it believed.
fn judged(home: &Home, recipient: &str, more: &[&str], copy: &str) -> String {
    let args = ["classify", "--json", "--exit-zero", "--recipient", recipient].into_iter().chain(more.iter().copied());
    let said = home.run(args, copy.as_bytes()).exits(0).text();
    let said: serde_json::Value = serde_json::from_str(&said).unwrap();
    let boundary = said["boundary"].as_str().map(|host| format!(" by {host}")).unwrap_or_default();
    format!("{} {}{boundary}", said["class"].as_str().unwrap(), said["reason"].as_str().unwrap())
}

const BELIEVED: &str = "first-class paid by mx.x.example";

#[test]
fn a_recipient_who_stands_nowhere_gets_the_prefix_all_the_same() {
    let site =
        Site::new(HOST, "[actions]\nunstamped = \"tag\"", "subject_prefix = \"[unstamped]\"\nstrip = \"stamps\"");
    let unstamped = letter("1");
    for (recipients, is_prefixed) in
        [(&[ALICE][..], true), (&[CAROL], true), (&[CAROL, BOB], true), (&[CAROL, "joe@y.example"], false)]
    {
        let copy = site.pass(recipients, &unstamped);
        assert_eq!(copy.contains("Subject: [unstamped] "), is_prefixed, "{recipients:?}: {copy}");
        assert_eq!(copy.contains(CLASS), recipients.contains(&ALICE), "{recipients:?}: {copy}");
    }
    // Without a seal that names Carol, her stamp stays.
    let stamped = site.home.affix(&site.home.issue(CAROL, []), &letter("2"));
    let copy = site.pass(&[CAROL], &stamped);
    assert!(copy.contains("Digital-Stamp:") && !copy.contains(CLASS) && !copy.contains("[unstamped]"), "{copy}");
}

#[test]
fn each_recipient_is_told_their_own_class() {
    let site = Site::new(HOST, "", "");
    let stamped = site.home.affix(&site.home.issue(BOB, []), &site.home.stamped(&to_both("1")));
    // Carol is in Bcc.
    let copy = site.pass(&[CAROL, BOB, ALICE], &stamped);
    assert_eq!(copy.matches(CLASS).count(), 2, "{copy}");
    let one_line = copy.replace("\n ", " ");
    assert!(
        one_line.contains("underpaid; reason=below-price;")
            && one_line.contains("host=mx.x.example; for=bob@x.example; t=")
    );
    assert!(one_line.contains(" host=mx.x.example; for=alice@x.example; t=") && !copy.contains("carol"), "{copy}");
    for (recipient, verdict) in
        [(ALICE, BELIEVED), (BOB, "underpaid below-price by mx.x.example"), (CAROL, "invalid forged")]
    {
        let home = site.behind(recipient, "");
        assert_eq!(judged(&home, recipient, &[], &copy), verdict);
        assert_eq!(judged(&home, recipient, &["--dry-run"], &copy), verdict);
        // Every field of that name goes, and one is added.
        let filtered = home.run(["filter", "--recipient", recipient], copy.as_bytes()).exits(0).text();
        assert_eq!(filtered.matches(CLASS).count(), 1, "{filtered}");
        let class = format!("{CLASS} {}; reason=", verdict.split(' ').next().unwrap());
        assert!(filtered.starts_with(&class) && !filtered.contains("seal="), "{filtered}");
        // And where the daemon of that host judges.
        let _daemon = Resident::of(&home);
        assert_eq!(judged(&home, recipient, &[], &copy), verdict);
    }
    // Without a recipient, an address of the user's must stand there.
    let said = site.behind(ALICE, "").run(["classify"], copy.as_bytes()).exits(0).text();
    assert_eq!(said.trim_end(), "first-class paid");
    let home = site.behind(ALICE, "");
    let told = home.run(["explain", "--recipient", ALICE], copy.as_bytes()).exits(0).text();
    assert!(told.starts_with("the boundary mx.x.example judged it, and its seal holds"), "{told}");
    let told = home.run(["explain", "--recipient", ALICE], format!("{copy}more\n").as_bytes()).exits(0).text();
    assert!(told.starts_with("a seal in the header does not count: it is for another message"), "{told}");
    // `deliver` files it so, too.
    let maildir = home.file("Maildir");
    fs::create_dir_all(maildir.join("new")).unwrap();
    fs::create_dir_all(maildir.join("cur")).unwrap();
    fs::create_dir_all(maildir.join("tmp")).unwrap();
    home.configure(&format!(
        "addresses = [\"{ALICE}\"]\n[deliver]\nmaildir = \"{}\"\n{}",
        maildir.display(),
        site.trusted
    ));
    home.run(["deliver"], copy.as_bytes()).exits(0);
    let kept = fs::read_dir(maildir.join("new")).unwrap().next().unwrap().unwrap().path();
    assert!(fs::read_to_string(kept).unwrap().starts_with(&format!("{CLASS} first-class; reason=paid;")));
}

#[test]
fn what_was_not_sealed_for_it_is_not_believed() {
    let site = Site::new(HOST, "", "");
    // White space does not count.
    let copy = site.pass(&[ALICE, BOB], &site.home.stamped(&to_both("1"))).replace("\n ", "");
    let home = site.behind(ALICE, "");
    let seal = copy.find("seal=").unwrap();
    let other = Site::new(HOST, "", "");
    let of_other = other.pass(&[ALICE, BOB], &other.home.stamped(&to_both("1")));
    let other_host = Site::new("mx.y.example", "", "");
    let foreign = other_host.pass(&[ALICE, BOB], &other_host.home.stamped(&to_both("1")));
    for (what, changed) in [
        ("another message", copy.replace("this is letter 1", "this is letter 2")),
        ("another Subject", copy.replace("Subject: ", "Subject: Re: ")),
        ("cut", format!("{}{}", &copy[..seal + 20], &copy[copy[seal..].find('\n').unwrap() + seal..])),
        ("changed", copy.replace("reason=paid", "reason=again")),
        ("another value", copy.replace("value=1", "value=9")),
        ("another recipient", copy.replace("for=alice@", "for=bob@")),
        ("without a seal", copy.replace("seal=", "zeal=")),
        ("the same name, another key", of_other),
        ("another host", foreign),
    ] {
        let verdict = judged(&home, ALICE, &[], &changed);
        assert!(verdict.starts_with("invalid ") && !verdict.contains(" by "), "{what}: {verdict}\n{changed}");
        let filtered = home.run(["filter"], changed.as_bytes()).exits(0).text();
        assert!(filtered.matches(CLASS).count() == 1 && !filtered.contains("mx."), "{what}: {filtered}");
    }
    let carol = site.behind(CAROL, "");
    assert_eq!(judged(&carol, CAROL, &[], &copy), "invalid forged");
    // One host for all: each address is a person.
    let shared = site.behind("*@x.example", "");
    assert_eq!(judged(&shared, CAROL, &[], &copy), "invalid forged");
    assert_eq!(judged(&shared, ALICE, &[], &copy), BELIEVED);
    // 31 days later, and a day before.
    let at = |seconds: i64| {
        let time = copy.split("t=").find_map(|rest| rest.split_once("; seal=")?.0.parse::<i64>().ok()).unwrap();
        judged(&home, ALICE, &["--now", &(time + seconds).to_string()], &copy)
    };
    assert!(at(31 * 86_400).starts_with("invalid ") && at(-86_400).starts_with("invalid "));
    assert_eq!((at(0).as_str(), at(29 * 86_400).as_str()), (BELIEVED, BELIEVED));
    let untrusting = Home::new();
    assert_eq!(judged(&untrusting, ALICE, &[], &copy), "invalid forged");
}

#[test]
fn a_seal_counts_as_often_as_a_message_may_come() {
    let site = Site::new(HOST, "", "");
    let copy = site.pass(
        &[ALICE, BOB],
        &site.home.affix(&site.home.issue(BOB, ["--value", "5"]), &site.home.stamped(&to_both("1"))),
    );
    let shared = site.behind("*@x.example", "[used_log]\nmax_redeliveries = 2");
    let seen: Vec<String> = (0..4).map(|_| judged(&shared, ALICE, &[], &copy)).collect();
    assert_eq!(seen[..3], [BELIEVED; 3]);
    assert_eq!(seen[3], "invalid forged");
    // For each recipient.
    assert_eq!(judged(&shared, BOB, &[], &copy), BELIEVED);
    // The count is a part of the state.
    let rows = shared.run(["export"], b"").exits(0).stdout;
    let other = site.behind("*@x.example", "[used_log]\nmax_redeliveries = 2");
    other.run(["import"], &rows).exits(0);
    assert_eq!(judged(&other, ALICE, &[], &copy), "invalid forged");
    let without = site.behind(ALICE, "[used_log]\nenabled = false");
    assert!((0..5).all(|_| judged(&without, ALICE, &[], &copy) == BELIEVED));
}

#[test]
fn the_own_word_of_a_recipient_comes_first() {
    let site = Site::new(HOST, "", "");
    let stamp = site.home.issue(ALICE, ["--serial", "s1"]);
    let copy = site.pass(&[ALICE], &site.home.affix(&stamp, &letter("1")));
    let home = site.behind(ALICE, "");
    home.run(["revoke", "--serial", "stamps.example/s1"], b"").exits(0);
    assert_eq!(judged(&home, ALICE, &[], &copy), "revoked by-recipient by mx.x.example");
    let home = site.behind(ALICE, "");
    home.run(["grant", "--multi-use", "--serial", "stamps.example/s1"], b"").exits(0);
    assert_eq!(judged(&home, ALICE, &[], &copy), "first-class multi-use by mx.x.example");
    assert_eq!(judged(&site.behind(ALICE, "price = 9"), ALICE, &[], &copy), "underpaid below-price by mx.x.example");
    // A class that another host cannot know is judged here.
    let unstamped = site.pass(&[ALICE], &letter("2"));
    assert!(unstamped.starts_with(&format!("{CLASS} unstamped;")) && unstamped.contains("seal="));
    assert_eq!(judged(&home, ALICE, &[], &unstamped), "unstamped no-stamp");
    let allowing = site.behind(ALICE, "allow = [\"bob@y.example\"]");
    assert_eq!(judged(&allowing, ALICE, &[], &unstamped), "allowed rule");
}

/// The copy without what differs between any two.
fn without_time(copy: &str) -> String {
    let mut text = copy.replace("\n ", "");
    while let Some(at) = text.find("; t=") {
        let end = text[at..].find('\n').unwrap() + at;
        text.replace_range(at..end, "");
    }
    text
}

#[test]
fn a_copy_does_not_tell_of_bcc() {
    let site = Site::new(
        HOST,
        "authserv_id = \"mx.x.example\"\n[actions]\nunstamped = \"tag\"\ninvalid = \"tag\"\nused = \"discard\"",
        "strip = \"stamps\"\nsubject_prefix = \"[x]\"",
    );
    let home = &site.home;
    // The first time is another reason than all others.
    let of_alice = home.stamped(&letter("1"));
    site.pass(&[ALICE], &of_alice);
    let alone = site.pass(&[ALICE], &of_alice);
    assert!(alone.contains("reason=again") && !alone.contains("Digital-Stamp:"), "{alone}");
    for recipients in [&[CAROL, ALICE][..], &[ALICE, CAROL, "x@y.example", "<>"], &[BOB, ALICE, "postmaster"]] {
        let with_others = site.pass(recipients, &of_alice);
        assert_eq!(without_time(&with_others), without_time(&alone), "{recipients:?}");
    }
    // Carol's copy is tagged as that of Alice, though it has a stamp; and it is known again.
    let of_carol = home.affix(&home.issue(CAROL, []), &letter("2"));
    let tagged = site.pass(&[ALICE], &of_carol);
    assert!(tagged.contains("\nSubject: [x] a serious"), "{tagged}");
    let with_carol = site.pass(&[CAROL, ALICE], &of_carol);
    assert_eq!(without_time(&with_carol), without_time(&tagged));
    home.run(["classify", "--recipient", CAROL], with_carol.as_bytes()).exits(0).says("first-class again");
    // A copy for Carol alone has no result.
    let of_carol_alone = site.pass(&[CAROL], &home.affix(&home.issue(CAROL, []), &letter("3")));
    assert!(!of_carol_alone.contains(CLASS) && !of_carol_alone.contains("[x]"), "{of_carol_alone}");
}

/// One person with two addresses, and a stamp for one of them: what is spent for Bcc changes no result of To.
#[test]
fn a_result_does_not_depend_on_what_is_spent_for_bcc() {
    let home = Home::new();
    let (socket, key) = (home.file("milter"), home.file("seal.key"));
    home.run(["boundary", "keygen", "--host", HOST, "--out", key.to_str().unwrap()], b"").exits(0);
    home.configure(&format!(
        "addresses = [{{ address = \"{ALICE}\", owner = \"a\" }}, {{ address = \"{BOB}\", owner = \"a\" }}]\n\
         [boundary]\nlisten = \"unix:{}\"\nheld_address = \"held@x.example\"\nseal = \"{}\"\n",
        socket.display(),
        key.display()
    ));
    let _daemon = Resident::of(&home);
    let message = home.affix(&home.issue(BOB, []), &letter("1"));
    let answer = MailSystem::connect(&socket).message(&[BOB, ALICE], &message);
    let class = answer.inserted("Digital-Stamp-Class").unwrap();
    assert!(class.starts_with(" invalid; reason=not-for-me;"), "{class}");
}

#[test]
fn a_second_boundary_believes_the_first() {
    let outer = Site::new(HOST, "", "");
    let inner = Site::new("mx2.x.example", &format!("allow = [\"none@z.example\"]\n{}", outer.trusted), "");
    let copy = outer.pass(&[ALICE], &outer.home.stamped(&to_both("1")));
    let forged = copy
        .replace("\nFrom:", &format!("\n{CLASS} first-class; reason=paid; host={HOST}; for={BOB}; t=1; seal=A\nFrom:"));
    let passed = inner.pass(&[ALICE, BOB], forged.as_bytes());
    let hosts = |copy: &str| -> Vec<String> {
        let fields = copy.replace("\n ", " ");
        let of = |line: &str| line.split_once("; host=").map(|(_, rest)| rest.split("; t=").next().unwrap().to_owned());
        fields.lines().filter(|line| line.starts_with(CLASS)).filter_map(of).collect()
    };
    assert_eq!(hosts(&passed), ["mx2.x.example; for=bob@x.example", "mx.x.example; for=alice@x.example"], "{passed}");
    assert_eq!(judged(&outer.behind(ALICE, ""), ALICE, &[], &passed), BELIEVED);
    // Without a key of its own, it leaves what it believes, and adds nothing.
    let home = Home::new();
    let socket = home.file("milter");
    home.configure(&format!(
        "addresses = [\"*@x.example\"]\n{}\n[boundary]\nlisten = \"unix:{}\"\nheld_address = \"held@x.example\"\n",
        outer.trusted,
        socket.display()
    ));
    let _daemon = Resident::of(&home);
    let answer = MailSystem::connect(&socket).message(&[ALICE], copy.as_bytes());
    assert_eq!((answer.last.as_str(), &answer.fields[..]), ("a", &[][..]));
    // Carol is not named. What names Alice would tell nothing in a copy for Carol.
    let answer = MailSystem::connect(&socket).message(&[CAROL], copy.as_bytes());
    assert_eq!(answer.fields.len(), 2, "{answer:?}");
    assert!(answer.inserted("Digital-Stamp-Class").unwrap().starts_with(" invalid; reason=forged;"), "{answer:?}");
    // Where it changes the message, it seals that one.
    let prefixing = Site::new(
        "mx3.x.example",
        &format!("[actions]\nunderpaid = \"tag\"\n{}", outer.trusted),
        "subject_prefix = \"[x]\"",
    );
    let underpaid = outer.pass(&[BOB], &outer.home.affix(&outer.home.issue(BOB, []), &to_both("2")));
    assert_eq!(hosts(&underpaid), ["mx.x.example; for=bob@x.example"]);
    let passed = prefixing.pass(&[BOB], underpaid.as_bytes());
    assert!(passed.contains("Subject: [x] "), "{passed}");
    assert_eq!(hosts(&passed), ["mx3.x.example; for=bob@x.example"], "{passed}");
    assert_eq!(judged(&prefixing.behind(BOB, ""), BOB, &[], &passed), "underpaid below-price by mx3.x.example");
}

/// BC15e
#[test]
fn without_a_seal_a_host_behind_spends_the_stamp_itself() {
    let home = Home::new();
    let socket = home.file("milter");
    home.configure(&format!(
        "addresses = [\"*@x.example\"]\n[boundary]\nlisten = \"unix:{}\"\nheld_address = \"held@x.example\"\n",
        socket.display()
    ));
    let _daemon = Resident::of(&home);
    let message = home.stamped(&letter("1"));
    let answer = MailSystem::connect(&socket).message(&[ALICE, BOB], &message);
    let copy = carried_out(&message, &answer);
    home.run(["classify", "--recipient", ALICE], copy.as_bytes()).exits(0).says("first-class again");
    let own = Home::bare();
    crate::support::programs::settle(&home, own.path());
    own.configure(&format!("addresses = [\"{ALICE}\"]"));
    own.run(["classify", "--recipient", ALICE], copy.as_bytes()).exits(0).says("first-class paid");
}

#[test]
fn the_key_is_a_secret_of_the_daemon() {
    let home = Home::new();
    let (socket, key) = (home.file("milter"), home.file("seal.key"));
    let keygen = ["boundary", "keygen", "--host", HOST, "--out", key.to_str().unwrap()];
    let made = home.run(keygen, b"").exits(0).text();
    assert!(made.starts_with("[trusted_boundaries]\n\"mx.x.example\" = \"k4.public."), "{made}");
    let refused = home.run(keygen, b"").exits(73);
    assert!(refused.stderr.contains("a key is never overwritten"), "{}", refused.stderr);
    let public = |key: &str| home.run(["boundary", "public", "--key", key], b"");
    assert_eq!(public(key.to_str().unwrap()).exits(0).text(), made);
    let of_vendor = home.key("stamps.example", "2026q4");
    public(of_vendor.to_str().unwrap()).exits(65);
    home.run(["boundary", "keygen", "--host", "a b", "--out", "x"], b"").exits(65);
    let configure = |key: &str| {
        home.configure(&format!(
            "addresses = [\"*@x.example\"]\n[boundary]\nlisten = \"unix:{}\"\nheld_address = \"held@x.example\"\n\
             seal = \"{key}\"\n{made}",
            socket.display()
        ));
    };
    for (file, mode, said) in [
        (key.clone(), 0o644, "boundary.seal: "),
        (home.file("none"), 0o600, "No such file"),
        (of_vendor, 0o600, "not a signing key"),
    ] {
        if file.exists() {
            chmod(&file, mode);
        }
        configure(file.to_str().unwrap());
        let refused = home.run(["serve"], b"").exits(78);
        assert!(refused.stderr.contains(said), "{}", refused.stderr);
        assert!(home.run(["doctor"], b"").text().contains("boundary.seal: "));
        let checked = home.run(["config", "check"], b"").exits(78);
        assert!(checked.stderr.contains(said), "{}", checked.stderr);
    }
    chmod(&key, 0o600);
    configure(key.to_str().unwrap());
    let _daemon = Resident::of(&home);
    let doctor = home.run(["doctor"], b"").text();
    assert!(doctor.contains("results are sealed as mx.x.example, key k4.public."), "{doctor}");
    assert!(doctor.contains("sealed results of mx.x.example are believed (1 key)"), "{doctor}");
    let shown = home.run(["config", "show"], b"").exits(0).text();
    assert!(
        shown.contains(&format!("seal = \"{}\"", key.display())) && shown.contains("\"mx.x.example\" = [\"k4."),
        "{shown}"
    );
    // What is shown means the same.
    home.configure(&shown);
    assert_eq!(home.run(["config", "show"], b"").exits(0).text(), shown);
}

// The boundary has no keys of the user, as a host of a provider has none.
#[test]
fn a_correspondents_stamp_is_judged_where_the_keys_are() {
    let site = Site::new(HOST, "[actions]\nunverified = \"tag\"", "strip = \"stamps\"");
    let home = site.behind(ALICE, "");
    own_key(&home, ALICE);
    let copy = site.pass(&[ALICE], &used(ALICE, &letter("1")));
    assert!(copy.replace("\n ", " ").contains("unverified; reason=unknown-vendor; vendor=alice@x.example;"), "{copy}");
    assert!(copy.contains("Digital-Stamp:") && copy.contains("Digital-Stamp-Use:"), "{copy}");
    assert_eq!(judged(&home, ALICE, &[], &copy), "first-class peer");
    assert_eq!(judged(&home, ALICE, &[], &copy), "first-class again");
    // With the keys, it is the boundary that counts the use.
    own_key(&site.home, ALICE);
    let copy = site.pass(&[ALICE], &used(ALICE, &letter("2")));
    assert!(!copy.contains("Digital-Stamp:"), "{copy}");
    assert_eq!(judged(&home, ALICE, &[], &copy), "first-class peer by mx.x.example");
    let serial = copy.replace("\n ", " ").split("; serial=").nth(1).unwrap().split(';').next().unwrap().to_owned();
    home.run(["revoke", "--serial", &format!("{ALICE}/{serial}")], b"").exits(0);
    assert_eq!(judged(&home, ALICE, &[], &copy), "revoked by-recipient by mx.x.example");
}
