//! `mailstamp opensmtpd-filter` under OpenSMTPD, with the recipe `rules/smtpd-filter.conf`. What goes on is relayed to
//! a server of the test, so that its bytes can be compared. Needs root.

use super::opensmtpd::Smtpd;
use crate::support::apart::{ALICES, Apart};
use crate::support::faults::{SPELLINGS, class_fields};
use crate::support::programs::{field, give, recipe, without_fields};
use crate::support::smtp::{Protocol, send};
use crate::support::smtp_server::{Mode, SmtpServer};
use crate::support::{ALICE, Home, letter, run};
use std::fs;
use std::process::Command;
use std::thread;

const BOB: &str = "bob@x.example";

/// A boundary for `x.example`.
struct Boundary {
    home: Home,
    smtpd: Smtpd,
    behind: SmtpServer,
}

impl Boundary {
    fn new(above: &str, more: &str) -> Self {
        let (home, behind) = (Home::new(), SmtpServer::start(Mode::Take));
        let apart = Apart::new(&home);
        let config = apart.file("home/.config/mailstamp/config.toml");
        let state = apart.file("home/state").display().to_string();
        let text =
            format!("syslog = false\naddresses = [\"*@x.example\"]\nstate = {state:?}\n{above}\n[boundary]\n{more}\n");
        fs::write(&config, text).unwrap();
        let edits = [
            ("/usr/local/bin/mailstamp", apart.file("bin/mailstamp").display().to_string()),
            ("/etc/mailstamp/config.toml", config.display().to_string()),
            ("user \"mailstamp\"", "user \"alice\"".to_owned()),
            ("listen on eth0 port 25", "listen on HERE".to_owned()),
        ];
        let edits = edits.each_ref().map(|(from, to)| (*from, to.as_str()));
        let conf = format!(
            "{}action \"on\" relay host \"smtp://{}\"\nmatch from any for domain \"x.example\" action \"on\"\n",
            recipe("smtpd-filter.conf", &edits),
            behind.address()
        );
        Self { home, smtpd: Smtpd::listen(apart, &conf), behind }
    }

    fn send(&self, recipients: &[&str], message: &[u8]) -> u16 {
        send(Protocol::Smtp, self.smtpd.port(), "bob@y.example", recipients, message)[0]
    }

    /// Waits for this many messages behind, and returns envelope and text of each, without Received.
    #[track_caller]
    fn arrived(&self, count: usize) -> Vec<(String, String)> {
        self.smtpd.try_until("the host behind", || (self.behind.count() >= count).then_some(()));
        let all = self.behind.taken();
        assert_eq!(all.len(), count, "{all:?}");
        all.into_iter().map(|(envelope, text)| (envelope, without_fields(&text, &["Received"]))).collect()
    }

    /// Sends a copy once more, as the `count`th message: it is still the same message.
    #[track_caller]
    fn is_known(&self, copy: &str, count: usize) {
        assert_eq!(self.send(&[ALICE], copy.as_bytes()), 250, "{}", self.smtpd.log());
        let text = &self.arrived(count)[count - 1].1;
        assert!(text.starts_with("Digital-Stamp-Class: first-class; reason=again;"), "{text}");
    }
}

#[test]
fn classes_go_on_and_forged_ones_do_not() {
    let site = Boundary::new("max_message_size = 65536", "subject_prefix = \"[x]\"");
    let stamped = site.home.stamped(&letter("1"));
    // OpenSMTPD takes no lone CR for a line end, and cuts a line at a NUL, with a filter or without.
    let odd = "\u{e9}\n.\n..\n.x\n \n\tFrom me|\n|.\na\u{0}b\nend  \n";
    let message = [b"Digital-Stamp-Class: first-class\n".as_slice(), &stamped, odd.as_bytes()].concat();
    assert_eq!(site.send(&[ALICE], &message), 250, "{}", site.smtpd.log());
    let copies = site.arrived(1);
    let (envelope, text) = &copies[0];
    assert!(envelope.contains("RCPT TO:<alice@x.example>"), "{envelope}");
    let (class, rest) = text.split_at(text.find("Digital-Stamp:").unwrap());
    assert!(class.starts_with("Digital-Stamp-Class: first-class; reason=paid; vendor=stamps.example;\n"), "{class}");
    assert_eq!(rest, String::from_utf8(stamped).unwrap() + &odd.replace("\u{0}b", ""));
    site.is_known(text, 2);

    // Over the limit: the beginning is judged, and the rest goes on.
    let large = [letter("2"), ".\nline of text\n".repeat(20_000).into_bytes()].concat();
    assert_eq!(site.send(&[ALICE], &large), 250, "{}", site.smtpd.log());
    let text = &site.arrived(3)[2].1;
    assert_eq!(field(text.as_bytes(), "Digital-Stamp-Class").unwrap(), "unverified; reason=over-limit; action=deliver");
    assert!(text.ends_with(std::str::from_utf8(&large).unwrap()), "{} bytes", text.len());

    let accepted = SPELLINGS.iter().enumerate().filter(|(number, spelling)| {
        let message = [spelling.as_bytes(), b"\n", &letter(&format!("s{number}"))].concat();
        let code = site.send(&[ALICE], &message);
        // OpenSMTPD refuses a header with a line that is no field.
        assert!(code == 250 || code == 550 && spelling.starts_with(['n', ' ']), "{spelling:?}: {code}");
        code == 250
    });
    let count = accepted.count();
    assert!(count >= SPELLINGS.len() - 3, "{count}");
    for (_, text) in &site.arrived(3 + count)[3..] {
        assert_eq!(class_fields(text.as_bytes()), 1, "{text}");
        assert_eq!(
            field(text.as_bytes(), "Digital-Stamp-Class").unwrap(),
            "unstamped; reason=no-stamp; action=deliver",
            "{text}"
        );
    }
}

#[test]
fn a_message_is_for_all_its_recipients_or_for_none() {
    let site = Boundary::new("[actions]\nunstamped = \"reject\"\ninvalid = \"reject\"\nused = \"discard\"", "");
    let stamped = site.home.stamped(&letter("1"));
    // Of two classes: no result is shown, and the host behind judges each copy.
    assert_eq!(site.send(&[ALICE, BOB], &stamped), 250, "{}", site.smtpd.log());
    let sent = String::from_utf8(stamped.clone()).unwrap();
    // In one transaction or in two.
    let is_named = |to: &str| site.behind.taken().iter().any(|(envelope, _)| envelope.contains(to));
    let both = || [ALICE, BOB].iter().all(|to| is_named(&format!("RCPT TO:<{to}>"))).then_some(());
    site.smtpd.try_until("both copies", both);
    let copies = site.arrived(site.behind.count());
    assert!(copies.iter().all(|(_, text)| *text == sent), "{copies:?}");
    // All refuse it.
    assert_eq!(site.send(&[BOB, "carol@x.example"], &letter("2")), 550);
    assert_eq!(site.send(&[BOB], &stamped), 550);
    // What would be dropped is for the host behind to hold.
    let used = sent.replace("Message-ID: <1@", "Message-ID: <3@");
    let before = site.behind.count();
    assert_eq!(site.send(&[ALICE], used.as_bytes()), 250);
    let text = &site.arrived(before + 1)[before].1;
    let class = field(text.as_bytes(), "Digital-Stamp-Class").unwrap();
    assert!(class.starts_with("used; reason=used;") && class.ends_with("action=hold"), "{class}");
}

/// OpenSMTPD 6.8 would cut what a filter sends back.
#[test]
fn long_lines_arrive_whole_and_keep_their_class() {
    let site = Boundary::new("", "");
    for (number, columns) in [998, 999, 1_997, 1_998, 5_000].into_iter().enumerate() {
        let text = [letter(&columns.to_string()), ".z".repeat(columns / 2 + 1).into_bytes(), b"\nend\n".to_vec()];
        let message = site.home.stamped(&text.concat());
        assert_eq!(site.send(&[ALICE], &message), 250, "{}", site.smtpd.log());
        let copy = &site.arrived(2 * number + 1)[2 * number].1;
        assert!(copy.contains("Digital-Stamp-Class: first-class; reason=paid;"), "{columns}: {copy}");
        assert!(copy.replace("\n ", "").contains(&".z".repeat(columns / 2 + 1)), "{columns}: {copy}");
        site.is_known(copy, 2 * number + 2);
    }
}

#[test]
fn many_sessions_at_once_get_their_own_messages() {
    let site = Boundary::new("", "");
    let (threads, each) = (8, 4);
    let messages: Vec<Vec<u8>> = (0..threads * each)
        .map(|number| {
            let text = [letter(&format!("m{number}")), format!("text of {number}\n").repeat(300).into_bytes()].concat();
            if number % 2 == 0 { site.home.stamped(&text) } else { text }
        })
        .collect();
    thread::scope(|scope| {
        for part in messages.chunks(each) {
            scope.spawn(|| part.iter().for_each(|message| assert_eq!(site.send(&[ALICE], message), 250)));
        }
    });
    let mut arrived: Vec<String> = site.arrived(messages.len()).into_iter().map(|(_, text)| text).collect();
    let id = |text: &str| field(text.as_bytes(), "Message-ID").unwrap();
    arrived.sort_by_key(|text| messages.iter().position(|it| id(std::str::from_utf8(it).unwrap()) == id(text)));
    for (number, (text, message)) in arrived.iter().zip(&messages).enumerate() {
        let class = if number % 2 == 0 { "first-class; reason=paid;" } else { "unstamped; reason=no-stamp;" };
        assert!(text.starts_with(&format!("Digital-Stamp-Class: {class}")), "{number}: {text}");
        assert!(text.ends_with(std::str::from_utf8(message).unwrap()), "{number}: {text}");
    }
}

#[test]
fn what_cannot_be_judged_is_tried_again() {
    let mut site = Boundary::new("", "");
    let message = site.home.stamped(&letter("1"));
    let config = site.smtpd.file("home/.config/mailstamp/config.toml");
    let right = fs::read(&config).unwrap();
    fs::write(&config, "no = such key").unwrap();
    assert_eq!(site.send(&[ALICE], &message), 451);
    fs::write(&config, &right).unwrap();
    // The folder belongs to another user.
    let state = site.smtpd.file("home/state");
    fs::create_dir_all(&state).unwrap();
    give(&state, 0, 0);
    assert_eq!(site.send(&[ALICE], &message), 451);
    give(&state, ALICES, ALICES);
    assert_eq!(site.send(&[ALICE], &message), 250, "{}", site.smtpd.log());
    assert!(site.arrived(1)[0].1.starts_with("Digital-Stamp-Class: first-class; reason=paid;"));

    // Without its filter, smtpd ends, and mail waits at the sending host.
    let config = config.to_str().unwrap();
    let is_filter = |entry: &fs::DirEntry| {
        let arguments = fs::read(entry.path().join("cmdline")).unwrap_or_default();
        let arguments: Vec<&[u8]> = arguments.split(|&byte| byte == 0).collect();
        arguments.contains(&config.as_bytes()) && arguments.contains(&&b"opensmtpd-filter"[..])
    };
    let processes = fs::read_dir("/proc").unwrap().flatten().filter(is_filter);
    let ids: Vec<_> = processes.map(|entry| entry.file_name()).collect();
    assert_eq!(ids.len(), 1);
    run(Command::new("kill").arg("-9").args(&ids), b"").exits(0);
    site.smtpd.starts_again_after_its_end();
    assert_eq!(site.send(&[ALICE], &message), 250, "{}", site.smtpd.log());
    assert!(site.arrived(2)[1].1.starts_with("Digital-Stamp-Class: first-class; reason=again;"));
}
