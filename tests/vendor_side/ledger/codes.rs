//! Codes that are mailed to prove an address: what they open, how many there are, and when they are forgotten.

use super::{NOW, Shop, refused};
use crate::support::programs::Port;
use crate::support::smtp_server::{Mode, SmtpServer};
use mailstamp::ledger::address_proof::MailServer;
use mailstamp::ledger::error::LedgerError;
use mailstamp::ledger::ops;
use mailstamp::ledger::rejection::Rejection;
use redb::ReadableTableMetadata;
use std::time::Duration;

/// A mail server, and how the ledger knows it.
fn mail_server(mode: Mode) -> (SmtpServer, MailServer) {
    let smtp = SmtpServer::start(mode);
    let server = MailServer { address: smtp.address(), timeout: Duration::from_secs(300) };
    (smtp, server)
}

#[test]
fn an_address_is_proved_by_a_mailed_code() {
    let shop = Shop::new();
    let joe = shop.account("joe", 0);
    let (smtp, server) = mail_server(Mode::Take);
    let send = |now| shop.ledger.send_code(joe.number, "Joe@far.example", &server, now);
    send(NOW).unwrap();
    assert_eq!(smtp.last().0, "MAIL FROM:<>\nRCPT TO:<joe@far.example>\n");
    let code = smtp.code();
    let error = refused(send(NOW.plus(599)));
    assert_eq!(error, Rejection::CodeWaiting { subject: "joe@far.example".into(), after: NOW.plus(600) });
    let confirm = |code: &str, now| shop.ledger.confirm_code(joe.number, "joe@far.example", code, now);
    for left in (1..=4).rev() {
        assert_eq!(
            refused(confirm("AAAA-AAAA", NOW)),
            Rejection::WrongCode { subject: "joe@far.example".into(), left }
        );
    }
    assert_eq!(shop.ledger.account(joe.number, NOW).unwrap().owns, Vec::<String>::new());
    confirm(&code.to_lowercase(), NOW.plus(86_399)).unwrap();
    assert_eq!(shop.ledger.account(joe.number, NOW).unwrap().owns, ["joe@far.example"]);
    assert_eq!(refused(confirm(&code, NOW)).code(), "no-code");
    // Five wrong ones end it, and so does a day.
    send(NOW.plus(600)).unwrap();
    let code_of_joe = smtp.code();
    for _ in 0..5 {
        confirm("AAAA-AAAA", NOW.plus(600)).unwrap_err();
    }
    assert_eq!(refused(confirm(&code_of_joe, NOW.plus(600))).code(), "no-code");
    let other = shop.account("eve", 0);
    shop.ledger.send_code(other.number, "far.example", &server, NOW).unwrap();
    assert_eq!(smtp.last().0, "MAIL FROM:<>\nRCPT TO:<postmaster@far.example>\n");
    let code = smtp.code();
    let late = refused(shop.ledger.confirm_code(other.number, "far.example", &code, NOW.plus(86_400)));
    assert_eq!(late.code(), "no-code");
}

// A failure of the mail server costs the customer nothing, unless the code may have been sent.
#[test]
fn a_code_that_was_not_sent_does_not_count() {
    let shop = Shop::new();
    let joe = shop.account("joe", 0);
    let (smtp, server) = mail_server(Mode::Take);
    let short = MailServer { timeout: Duration::from_millis(300), ..server.clone() };
    let send = |server: &MailServer, to: &str| shop.ledger.send_code(joe.number, to, server, NOW);
    for mode in [Mode::Refuse, Mode::Silent, Mode::Dripping] {
        smtp.set(mode);
        let error = send(&short, "a@far.example").unwrap_err();
        assert!(matches!(error, LedgerError::Mail { unknown: false, .. }), "{mode:?}: {error}");
    }
    let port = Port::reserve();
    let nowhere = MailServer { address: format!("127.0.0.1:{}", port.number()), ..server.clone() };
    let error = send(&nowhere, "a@far.example").unwrap_err().to_string();
    assert!(error.starts_with(&format!("mail server {}: a code was not accepted: ", nowhere.address)), "{error}");
    smtp.set(Mode::Take);
    send(&server, "a@far.example").unwrap();
    shop.ledger.confirm_code(joe.number, "a@far.example", &smtp.code(), NOW).unwrap();

    smtp.set(Mode::SilentAfterMessage);
    // Longer where a busy machine gets no message to the server in the time.
    let mut patient = short;
    loop {
        match send(&patient, "b@far.example").unwrap_err() {
            LedgerError::Mail { unknown: true, .. } => break,
            LedgerError::Mail { .. } if patient.timeout < server.timeout => patient.timeout *= 2,
            error => panic!("{error}"),
        }
    }
    assert_eq!(refused(send(&server, "b@far.example")).code(), "code-waiting");
}

#[test]
fn codes_go_to_domains_of_the_public_dns_only() {
    let shop = Shop::new();
    let joe = shop.account("joe", 0);
    let (_, server) = mail_server(Mode::Take);
    let send = |to: &str| shop.ledger.send_code(joe.number, to, &server, NOW);
    for to in
        ["root@localhost", "a@[127.0.0.1]", "a@[IPv6:::1]", "postmaster@x", "com", "a@host.local", "a@b.localhost"]
    {
        assert_eq!(refused(send(to)).code(), "form", "{to}");
    }
    send("a@far.example").unwrap();
}

#[test]
fn a_domain_gets_at_most_a_hundred_codes_a_day() {
    let shop = Shop::new();
    let (_, server) = mail_server(Mode::Take);
    for account in 0..20 {
        let account = shop.account(&format!("a{account}"), 0).number;
        for number in 0..5 {
            shop.ledger.send_code(account, &format!("u{account}-{number}@far.example"), &server, NOW).unwrap();
        }
    }
    // Those of others do not stop the first of an account.
    let late = shop.account("late", 0).number;
    shop.ledger.send_code(late, "v@far.example", &server, NOW).unwrap();
    assert_eq!(refused(shop.ledger.send_code(late, "w@far.example", &server, NOW)).code(), "code-waiting");
    shop.ledger.send_code(late, "v@near.example", &server, NOW).unwrap();
}

/// How many codes and counts the ledger has.
fn rows(shop: Shop) -> (Shop, u64, u64) {
    let path = shop.path();
    let Shop { folder, ledger } = shop;
    drop(ledger);
    let (mut codes, mut counts) = (0, 0);
    super::chain::edit(&path.join("ledger.redb"), |tx| {
        let code = redb::TableDefinition::<&str, &[u8]>::new("code");
        let mailed = redb::TableDefinition::<&str, &[u8]>::new("mailed");
        codes = tx.open_table(code).unwrap().len().unwrap();
        counts = tx.open_table(mailed).unwrap().len().unwrap();
    });
    (Shop { folder, ledger: super::open(&path) }, codes, counts)
}

#[test]
fn codes_and_their_counts_are_forgotten_after_a_day() {
    let shop = Shop::new();
    let (_smtp, server) = mail_server(Mode::Take);
    let joe = shop.account("joe", 0).number;
    shop.ledger.send_code(joe, "a@far.example", &server, NOW).unwrap();
    // A later code keeps nothing of the earlier one.
    shop.ledger.send_code(joe, "b@near.example", &server, NOW.plus(50_000)).unwrap();
    let forget = |shop: Shop, at: i64| {
        shop.ledger.run(ops::Forget {}, NOW.plus(at)).unwrap();
        rows(shop)
    };
    // The account, and for each code its address and its domain.
    let (shop, codes, counts) = forget(shop, 86_399);
    assert_eq!((codes, counts), (2, 5));
    let (shop, codes, counts) = forget(shop, 86_400);
    assert_eq!((codes, counts), (1, 3));
    // Any write does it, too.
    shop.ledger.own(joe, "own.example", NOW.plus(50_000 + 86_400)).unwrap();
    let (shop, codes, counts) = rows(shop);
    assert_eq!((codes, counts), (0, 0));
    // And after a clock that was ahead.
    shop.ledger.send_code(joe, "c@far.example", &server, NOW.plus(400 * 86_400)).unwrap();
    let (_, codes, counts) = forget(shop, 200_000);
    assert_eq!((codes, counts), (0, 0));
}

#[test]
fn nobody_is_flooded_with_codes() {
    let shop = Shop::new();
    let (joe, eve) = (shop.account("joe", 0), shop.account("eve", 0));
    let (smtp, server) = mail_server(Mode::Take);
    let port = Port::reserve();
    let nowhere = MailServer { address: format!("127.0.0.1:{}", port.number()), ..server.clone() };
    let send = |account: &mailstamp::ledger::model::Account, to: &str, now| {
        shop.ledger.send_code(account.number, to, &server, now)
    };
    let after = |error: Rejection| match error {
        Rejection::CodeWaiting { after, .. } | Rejection::ManyCodes { after } => after.since(NOW),
        other => panic!("{other}"),
    };
    // One recipient, whatever follows a plus, and whichever account asks.
    send(&joe, "bob@far.example", NOW).unwrap();
    for (account, to) in [(&joe, "Bob@far.example"), (&eve, "bob@far.example")] {
        assert_eq!(after(refused(send(account, to, NOW.plus(599)))), 600);
    }
    for at in 1..5 {
        send(&eve, "bob@far.example", NOW.plus(600 * at)).unwrap();
    }
    assert_eq!(after(refused(send(&eve, "bob@far.example", NOW.plus(80_000)))), 86_400);
    let dan = shop.account("dan", 0);
    for at in 0..5 {
        send(&dan, &format!("bob+{at}@far.example"), NOW.plus(600 * at)).unwrap();
        let next = after(refused(send(&joe, &format!("bob+x{at}@far.example"), NOW.plus(600 * at + 1))));
        assert_eq!(next, if at < 4 { 600 * (at + 1) } else { 86_400 });
    }
    // Few wait; one that could not be sent is none, whether it is the first or not.
    let failed = |to: &str| shop.ledger.send_code(joe.number, to, &nowhere, NOW).unwrap_err();
    for at in 1..5 {
        let to = format!("a{at}@far.example");
        assert_eq!(failed(&to).refusal(), None);
        send(&joe, &to, NOW).unwrap();
    }
    assert_eq!(after(refused(send(&joe, "a5@far.example", NOW.plus(9)))), 86_400);
    // And some a day, also when they were given.
    let fay = shop.account("fay", 0);
    for at in 0..20 {
        let to = format!("b{at}@far.example");
        send(&fay, &to, NOW).unwrap();
        shop.ledger.confirm_code(fay.number, &to, &smtp.code(), NOW).unwrap();
    }
    assert_eq!(after(refused(send(&fay, "b20@far.example", NOW.plus(86_399)))), 86_400);
    send(&fay, "b20@far.example", NOW.plus(86_400)).unwrap();
    send(&eve, "bob@far.example", NOW.plus(86_400)).unwrap();
    shop.sound();
}

// Five codes that a stranger had sent, and five guesses of the stranger, locked the owner out for a day.
#[test]
fn strangers_lock_no_owner_out() {
    let shop = Shop::new();
    let (smtp, server) = mail_server(Mode::Take);
    let [eve, mallory, dan, bob] = ["eve", "mallory", "dan", "bob"].map(|name| shop.account(name, 0).number);
    let send = |account, to: &str, at| shop.ledger.send_code(account, to, &server, NOW.plus(at));
    let confirm = |account, to: &str, code: &str, at| shop.ledger.confirm_code(account, to, code, NOW.plus(at));
    let owns = |account| shop.ledger.account(account, NOW).unwrap().owns;
    for (at, to) in (0..5).flat_map(|at| [(at, "bob@far.example"), (at, "far.example")]) {
        send(if at == 0 { mallory } else { eve }, to, 600 * at).unwrap();
    }
    for account in [eve, mallory] {
        for _ in 0..5 {
            confirm(account, "bob@far.example", "AAAA-AAAA", 3_000).unwrap_err();
        }
        assert_eq!(refused(confirm(account, "bob@far.example", "AAAA-AAAA", 3_000)).code(), "no-code");
    }
    assert_eq!(refused(send(bob, "bob@far.example", 3_000)).code(), "code-waiting");
    // Any of them is good for the reader of the mail, once, for this address alone, and others still count.
    let codes = smtp.codes();
    assert_eq!(refused(confirm(bob, "bob+x@far.example", &codes[8], 3_000)).code(), "no-code");
    assert_eq!(refused(confirm(bob, "bob@far.example", &codes[9], 3_000)).code(), "wrong-code");
    assert_eq!(owns(bob), Vec::<String>::new());
    confirm(bob, "bob@far.example", &codes[8], 3_000).unwrap();
    confirm(bob, "far.example", &codes[1], 3_000).unwrap();
    assert_eq!(owns(bob), ["bob@far.example", "far.example"]);
    assert_eq!(refused(confirm(bob, "bob@far.example", &codes[8], 3_000)).code(), "wrong-code");
    // Text after a plus: only the owner of the plain address is not bound to what strangers had sent.
    for at in 0..5 {
        send(dan, &format!("bob+{at}@far.example"), 3_000 + 600 * at).unwrap();
    }
    assert_eq!(refused(send(mallory, "bob+news@far.example", 6_000)).code(), "code-waiting");
    send(bob, "bob+news@far.example", 6_000).unwrap();
    confirm(bob, "bob+news@far.example", &smtp.code(), 6_000).unwrap();
    // Attempts come back after a day, also while a stranger has codes sent.
    let wrong = |at| refused(confirm(bob, "joe@far.example", "AAAA-AAAA", at)).code();
    send(eve, "joe@far.example", 10_000).unwrap();
    assert_eq!([0; 6].map(|_| wrong(10_000))[4..], ["wrong-code", "no-code"]);
    send(eve, "joe@far.example", 90_000).unwrap();
    assert_eq!((wrong(90_000), wrong(96_400)), ("no-code", "wrong-code"));
    confirm(bob, "joe@far.example", &smtp.code(), 96_400).unwrap();
    shop.sound();
}
