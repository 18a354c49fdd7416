//! The submission server of the daemon (mailstamp-submission(8)): what a mail program is told, and that nothing is
//! bought or sent twice, whatever is killed when.

use crate::support::http;
use crate::support::programs::{Port, chmod, eventually, eventually_or};
use crate::support::shop::{Shop, VENDOR};
use crate::support::smtp_server::{Mode, SmtpServer};
use crate::support::submission::{Client, LOGIN, Submission, configure};
use crate::support::{Home, is_soak, run};
use mailstamp::net::http_client::Secret;
use mailstamp::os::clock;
use mailstamp::sender::account::{Account, Accounts};
use std::fs;
use std::net::TcpStream;
use std::thread;
use std::time::Duration;

const JOE: &str = "joe@shop.example";
const BOB: &str = "bob@y.example";
const CAROL: &str = "carol@y.example";

/// A customer of a shop, whose mail leaves through a server.
struct Customer {
    home: Home,
    shop: Shop,
    server: SmtpServer,
}

impl Customer {
    fn new(mode: Mode) -> Self {
        let shop = Shop::open(10, &[]);
        let customer = Self { home: Home::bare(), server: SmtpServer::start(mode), shop };
        let (secret, url) = (Secret::new(customer.shop.key.clone()), format!("http://{}", customer.shop.address));
        let account = Account::new("shop", &url, VENDOR, None, secret).unwrap();
        fs::create_dir_all(customer.home.state()).unwrap();
        Accounts::new(&customer.home.state()).put(&account, true).unwrap();
        let port = customer.server.address().rsplit(':').next().unwrap().parse().unwrap();
        customer.sends_to(port);
        customer
    }

    /// Lets copies leave through this port.
    fn sends_to(&self, port: u16) {
        let smtp = format!("[sendmail.smtp]\nhost = \"127.0.0.1\"\nport = {port}\ntls = \"off\"");
        let caps = ["hour", "day", "recipient"].map(|it| format!("credits_per_{it} = 10000")).join("\n");
        configure(&self.home, &format!("addresses = [{JOE:?}]\n[sender]\n{caps}\n{smtp}"), "");
    }

    /// The recipients that got a copy, sorted, and fails unless each copy has a stamp of its own.
    fn got(&self) -> Vec<String> {
        let mut stamps = Vec::new();
        let mut got = Vec::new();
        for (envelope, text) in self.server.taken() {
            let to = envelope.split("TO:<").nth(1).unwrap().split('>').next().unwrap().to_owned();
            if to != JOE {
                let stamp = text.split("Digital-Stamp: ").nth(1).unwrap_or_else(|| panic!("{text}"));
                stamps.push(stamp.split("\nFrom:").next().unwrap().to_owned());
            }
            got.push(to);
        }
        let count = stamps.len();
        stamps.sort();
        stamps.dedup();
        assert_eq!(stamps.len(), count, "two copies have one stamp");
        got.sort();
        got
    }

    fn outbox(&self) -> Vec<String> {
        let entries = fs::read_dir(self.home.state().join("outbox")).into_iter().flatten();
        entries.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect()
    }

    /// The messages of the outbox that are not done.
    fn waiting(&self) -> usize {
        self.outbox().iter().filter(|name| !name.contains('.')).count()
    }
}

fn message(id: &str) -> String {
    format!(
        "From: Joe <{JOE}>\nTo: {BOB}\nDate: Sat, 21 Nov 2026 12:00:00 +0000\nMessage-ID: <{id}@shop.example>\n\
         Subject: x\n\nhello\n.dot\n"
    )
}

#[track_caller]
fn starts(reply: &str, begin: &str) {
    assert!(reply.starts_with(begin), "{reply}");
}

#[test]
fn each_recipient_gets_a_copy_with_a_stamp() {
    let customer = Customer::new(Mode::Take);
    let daemon = Submission::start(&customer.home);
    let mut client = daemon.log_in();
    // Two messages on one connection.
    for id in ["1", "2"] {
        client.begin(JOE, &[BOB, CAROL, JOE]);
        assert_eq!(client.finish(&message(id)), "250 2.0.0 sent to 3 of 3 recipients\r\n");
    }
    client.say("QUIT", 221);
    assert_eq!(customer.got(), [BOB, BOB, CAROL, CAROL, JOE, JOE]);
    assert_eq!(customer.shop.balance(), 6);
    let (envelope, text) = &customer.server.taken()[0];
    assert!(envelope.starts_with(&format!("MAIL FROM:<{JOE}>")), "{envelope}");
    assert!(text.ends_with("\n\nhello\n.dot\n"), "{text}");
    let learned = customer.home.run(["correspondents"], b"").exits(0).text();
    assert!(learned.contains(BOB) && learned.contains(CAROL), "{learned}");

    // The same messages again, with another Date: sent before. Without a Message-ID it is another one.
    let again = message("1").replace("12:00", "13:00");
    assert_eq!(daemon.send(JOE, &[CAROL, JOE, BOB], &again), "250 2.0.0 this message was sent before\r\n");
    assert_eq!(daemon.send(JOE, &[BOB, CAROL, JOE], &message("2")), "250 2.0.0 this message was sent before\r\n");
    assert_eq!((customer.got().len(), customer.shop.balance()), (6, 6));
    let bare = message("1").replace("Message-ID: <1@shop.example>\n", "");
    daemon.send(JOE, &[BOB], &bare);
    daemon.send(JOE, &[BOB], &bare.replace("hello", "hallo"));
    assert_eq!((customer.got().len(), customer.waiting()), (8, 0));

    let doctor = customer.home.run(["doctor"], b"").text();
    // Port 0 is no place to look.
    assert!(doctor.contains("submission"), "{doctor}");
    daemon.end();
}

#[test]
fn what_cannot_be_sent_is_bought_once() {
    let customer = Customer::new(Mode::Take);
    let port = Port::reserve();
    let working: u16 = customer.server.address().rsplit(':').next().unwrap().parse().unwrap();
    customer.sends_to(port.number());
    let daemon = Submission::start(&customer.home);
    for _ in 0..3 {
        starts(&daemon.send(JOE, &[BOB, CAROL], &message("1")), "451-4.4.0 bob@y.example: not sent yet: ");
    }
    assert_eq!((customer.shop.balance(), customer.waiting()), (8, 1));
    let listed = customer.home.run(["sendmail", "-bp"], b"").exits(0).text();
    assert!(
        listed.ends_with("    carol@y.example\n    (answered 451: its mail program must send it again)\n"),
        "{listed}"
    );
    let doctor = customer.home.run(["doctor"], b"").exits(78).text();
    for said in [
        "messages that wait: 0; answered 451, so that their mail programs must send them again: 1".to_owned(),
        format!("next server     127.0.0.1:{}: Connection refused; messages wait", port.number()),
    ] {
        assert!(doctor.contains(&said), "{said}\n{doctor}");
    }
    // Neither a restart nor -q sends what the client was told is not sent.
    customer.sends_to(working);
    daemon.kill();
    let daemon = Submission::start(&customer.home);
    customer.home.run(["sendmail", "-q"], b"").exits(0);
    assert_eq!((customer.server.count(), customer.waiting()), (0, 1));
    let later = message("1").replace("12:00", "13:00");
    assert_eq!(daemon.send(JOE, &[BOB, CAROL], &later), "250 2.0.0 sent to 2 of 2 recipients\r\n");
    assert_eq!((customer.got(), customer.shop.balance(), customer.waiting()), (vec![BOB.into(), CAROL.into()], 8, 0));

    // Nothing helps: no copy leaves, nothing is kept.
    customer.server.set(Mode::Refuse);
    starts(&daemon.send(JOE, &[BOB], &message("2")), "554-5.0.0 bob@y.example: refused: ");
    let many: Vec<String> = (0..10).map(|n| format!("p{n}@y.example")).collect();
    let many: Vec<&str> = many.iter().map(String::as_str).collect();
    starts(&daemon.send(JOE, &many, &message("3")), "554-5.0.0 p0@y.example: refused: no stamp: ");
    assert_eq!((customer.server.count(), customer.waiting()), (2, 0));
}

#[test]
fn a_report_arrives_without_a_stamp_and_where_the_null_sender_is_refused() {
    let customer = Customer::new(Mode::OnlyFromUsers);
    let daemon = Submission::start(&customer.home);
    // Not among the user's addresses.
    let other = "joe@other.example";
    let reply = daemon.send(other, &[BOB, "gone@y.example"], &message("1"));
    assert!(reply.ends_with("sent to 1 of 2 recipients; failures are reported by mail\r\n"), "{reply}");
    assert_eq!((customer.server.count(), customer.waiting()), (2, 0));
    let (envelope, report) = customer.server.last();
    assert!(envelope.starts_with(&format!("MAIL FROM:<{other}>")), "{envelope}");
    assert!(report.contains("\n\n  gone@y.example\n") && !report.contains("Digital-Stamp:"), "{report}");
    // Those for Bob and for the one who is gone.
    assert_eq!(customer.shop.balance(), 8);
}

#[test]
fn an_accepted_message_reaches_the_others_later() {
    let customer = Customer::new(Mode::Partly);
    let all = [BOB, "busy@y.example", "gone@y.example"];
    let daemon = Submission::start(&customer.home);
    let reply = daemon.send(JOE, &all, &message("1"));
    starts(&reply, "250-2.0.0 busy@y.example: not sent yet: ");
    assert!(reply.contains("\r\n250-2.0.0 gone@y.example: refused: ") && reply.contains("sent to 1 of 3"), "{reply}");
    // The client lost the reply, and sends the message again.
    starts(&daemon.send(JOE, &all, &message("1")), "250-2.0.0 busy@y.example: not sent yet: ");
    assert_eq!((customer.got(), customer.waiting()), (vec![BOB.to_owned()], 1));
    let listed = customer.home.run(["sendmail", "-bp"], b"").exits(0).text();
    assert!(listed.ends_with("    busy@y.example\n"), "{listed}");
    let doctor = customer.home.run(["doctor"], b"").text();
    assert!(doctor.contains("messages that wait: 1; ") && !doctor.contains("no account"), "{doctor}");
    daemon.kill();
    customer.server.set(Mode::Take);
    let daemon = Submission::start(&customer.home);
    eventually_or("the report", || (customer.server.count() == 3).then_some(()), || format!("{:?}", customer.got()));
    eventually("the end", || (customer.waiting() == 0).then_some(()));
    assert_eq!(customer.got(), [BOB, "busy@y.example", JOE]);
    let report = customer.server.taken().into_iter().find(|(envelope, _)| envelope.contains(&format!("TO:<{JOE}>")));
    let (envelope, report) = report.unwrap();
    assert!(envelope.starts_with("MAIL FROM:<>"), "{envelope}");
    assert!(report.contains("\n\n  gone@y.example\n") && !report.contains("busy@y"), "{report}");
    assert_eq!(daemon.send(JOE, &all, &message("1")).lines().last(), Some("250 2.0.0 this message was sent before"));
    // One stamp was not used, and is there for the next message.
    assert_eq!((customer.server.count(), customer.shop.balance()), (3, 7));
    daemon.send(JOE, &["gone@y.example"], &message("2"));
    assert_eq!(customer.shop.balance(), 7);
}

#[test]
fn a_killed_daemon_buys_and_sends_once() {
    let customer = Customer::new(Mode::Silent);
    // In the middle of a message: nothing is kept.
    let daemon = Submission::start(&customer.home);
    let mut client = daemon.log_in();
    client.begin(JOE, &[BOB]);
    client.write(b"From: joe@shop.example\r\nhalf");
    daemon.kill();
    assert_eq!((client.reply(), customer.outbox().len(), customer.shop.balance()), (String::new(), 0, 10));
    // While the next server has the connection: bought, and not sent.
    for held in 1..=3 {
        let daemon = Submission::start(&customer.home);
        let mut client = daemon.log_in();
        client.begin(JOE, &[BOB]);
        let sender = thread::spawn(move || client.finish(&message("1")));
        eventually("the connection", || (customer.server.held() == held).then_some(()));
        // The same on another connection, and from another program.
        starts(&daemon.send(JOE, &[BOB], &message("1")), "451 4.3.2 this message is being sent");
        daemon.kill();
        assert_eq!((sender.join().unwrap(), customer.shop.balance()), (String::new(), 9));
    }
    customer.server.set(Mode::Take);
    let daemon = Submission::start(&customer.home);
    starts(&daemon.send(JOE, &[BOB], &message("1")), "250 2.0.0 sent to 1 of 1 recipients");
    assert_eq!((customer.got(), customer.shop.balance(), customer.waiting()), (vec![BOB.to_owned()], 9, 0));
    customer.shop.audit();
}

/// Wherever the kill falls: bought once, and each recipient gets the message; twice only in the window that the manual
/// names, with the same stamp.
#[test]
fn a_daemon_killed_at_any_moment_buys_once() {
    let customer = Customer::new(Mode::Take);
    let times = if is_soak() { 300 } else { 8 };
    customer.shop.ledger().credit(customer.shop.account, 1_000, None, "more", clock::now()).unwrap();
    let begin = customer.shop.balance();
    let (mut replies, mut twice) = (0, 0);
    let mut daemon = Submission::start(&customer.home);
    for n in 1..=times {
        let id = n.to_string();
        let mut client = daemon.log_in();
        client.begin(JOE, &[BOB, CAROL]);
        let text = message(&id);
        let sender = thread::spawn(move || client.finish(&text));
        // Between nothing and everything.
        thread::sleep(Duration::from_millis(n * 83 % 400));
        daemon.kill();
        replies += usize::from(sender.join().unwrap().starts_with("250 "));
        daemon = Submission::start(&customer.home);
        starts(&daemon.send(JOE, &[BOB, CAROL], &message(&id)), "250 2.0.0 ");
        assert_eq!(customer.shop.balance(), begin - 2 * n, "{n}");
        for to in [BOB, CAROL] {
            let field = format!("Message-ID: <{id}@shop.example>");
            let all = customer.server.taken();
            let mut copies: Vec<_> =
                all.iter().filter(|(envelope, text)| envelope.contains(to) && text.contains(&field)).collect();
            let count = copies.len();
            copies.dedup();
            assert!((1..=2).contains(&count) && copies.len() == 1, "{n}: {copies:?}");
            twice += count - 1;
        }
        assert_eq!(customer.waiting(), 0);
    }
    println!("{replies} of {times} were sent before the kill, and {twice} copies twice");
}

#[test]
fn clients_that_do_nothing_keep_no_other_out() {
    let customer = Customer::new(Mode::Take);
    let daemon = Submission::start(&customer.home);
    let idle: Vec<TcpStream> = (0..200).map(|_| TcpStream::connect(daemon.address).unwrap()).collect();
    let mut halves: Vec<Client> = (0..10).map(|_| daemon.log_in()).collect();
    for client in &mut halves {
        client.begin(JOE, &[BOB]);
        client.write(b"Subject: ha");
    }
    // Many at once, all different.
    thread::scope(|scope| {
        for n in 0..8 {
            let daemon = &daemon;
            scope.spawn(move || starts(&daemon.send(JOE, &[JOE], &message(&n.to_string())), "250 2.0.0 sent to 1"));
        }
    });
    assert_eq!(customer.server.count(), 8);
    drop(idle);
}

#[test]
fn what_is_no_mail_of_the_user_is_refused() {
    let customer = Customer::new(Mode::Take);
    let daemon = Submission::start(&customer.home);
    // No login, or a wrong one.
    let mut client = Client::connect(daemon.address);
    let offers = client.say("EHLO x", 250);
    for offer in ["PIPELINING", "SIZE 52428800", "8BITMIME", "SMTPUTF8", "ENHANCEDSTATUSCODES", "AUTH PLAIN LOGIN"] {
        assert!(offers.contains(offer), "{offers}");
    }
    client.say(&format!("MAIL FROM:<{JOE}>"), 530);
    client.say("STARTTLS", 502);
    for _ in 0..3 {
        client.say("AUTH PLAIN AGpvZQB3cm9uZw==", 535);
    }
    assert_eq!(client.reply(), "");
    // An option of the next program, without its quotes.
    let mut client = daemon.log_in();
    client.say(&format!("MAIL FROM:<{JOE}>"), 250);
    client.say("RCPT TO:<\"-x\"@y.example>", 553);
    client.say("QUIT", 221);
    // A web page.
    let mut client = Client::connect(daemon.address);
    client.write(b"POST / HTTP/1.1\r\nHost: localhost\r\n\r\n");
    starts(&client.reply(), "221 2.7.0 ");
    assert_eq!(client.reply(), "");
    // Pipelined commands, as far as they may be; then too far.
    let mut client = daemon.log_in();
    client.write(format!("RSET\r\nMAIL FROM:<{JOE}>\r\nRCPT TO:<{BOB}>\r\nDATA\r\n").as_bytes());
    let replies: String = (0..4).map(|_| client.reply()[..3].to_owned() + " ").collect();
    assert_eq!(replies, "250 250 250 354 ");
    // Smuggling: a bare LF around the dot, and the commands of another message behind it.
    client.write(b"A: b\r\n\r\nx\n.\r\nMAIL FROM:<eve@z.example>\r\nRCPT TO:<bob@y.example>\r\nDATA\r\nspam\r\n.\r\n");
    starts(&client.reply(), "550 5.6.11 the message has a CR or LF that is not CRLF");
    for bad in [&b"x\r.\ry\r\n.\r\n"[..], b"a\0b\r\n.\r\n"] {
        client.begin(JOE, &[BOB]);
        client.write(bad);
        starts(&client.reply(), "550 5.6.11 ");
    }
    client.say(&format!("MAIL FROM:<{JOE}> SIZE=104857600"), 552);
    client.say("RCPT TO:<bob@y.example>", 503);
    client.say("NOOP", 250);
    client.write(format!("MAIL FROM:<{JOE}>\r\nRCPT TO:<{BOB}>\r\nDATA\r\nearly\r\n.\r\n").as_bytes());
    let replies: String = (0..4).map(|_| client.reply().get(..3).unwrap_or_default().to_owned() + " ").collect();
    assert_eq!(replies, "250 250 503  ");
    // The next server does not take 8-bit text, and never will.
    starts(&daemon.send(JOE, &[BOB], &message("8").replace("hello", "größe")), "554-5.0.0 bob@y.example: refused: ");
    assert_eq!((customer.server.count(), customer.shop.balance(), customer.waiting()), (0, 9, 0));
}

#[test]
fn numbers_count_answers_and_logins() {
    let customer = Customer::new(Mode::Take);
    let port = Port::reserve();
    let text = fs::read_to_string(customer.home.config()).unwrap();
    let metrics = format!("[serve]\nmetrics = \"127.0.0.1:{}\"\n", port.number());
    customer.home.configure(&text.replace("[sendmail.smtp]", &format!("{metrics}[sendmail.smtp]")));
    let daemon = Submission::start(&customer.home);
    daemon.send(JOE, &[JOE], &message("1"));
    customer.server.set(Mode::Defer);
    daemon.send(JOE, &[JOE], &message("2"));
    customer.server.set(Mode::Refuse);
    daemon.send(JOE, &[JOE], &message("3"));
    let mut client = Client::connect(daemon.address);
    client.say("EHLO x", 250);
    client.say("AUTH PLAIN AGpvZQB3cm9uZw==", 535);
    client.say(&format!("AUTH PLAIN {LOGIN}"), 235);
    let at = format!("127.0.0.1:{}", port.number()).parse().unwrap();
    let numbers = http::ask(at, "GET", "/metrics", &[], b"").unwrap().text();
    for line in [
        "mailstamp_submission_messages_total{answer=\"accept\"} 1",
        "mailstamp_submission_messages_total{answer=\"defer\"} 1",
        "mailstamp_submission_messages_total{answer=\"reject\"} 1",
        "mailstamp_submission_logins_failed_total 1",
    ] {
        assert!(numbers.contains(&format!("\n{line}\n")), "{line}\n{numbers}");
    }
}

#[test]
fn a_server_that_would_show_its_password_does_not_start() {
    let home = Home::bare();
    let password = home.file("submission-password");
    let refused = |addresses: &str, replace: (&str, &str), mode: u32, said: &str| {
        configure(&home, &format!("addresses = [{addresses:?}]"), "");
        chmod(&password, mode);
        let text = fs::read_to_string(home.config()).unwrap();
        home.configure(&text.replace(replace.0, replace.1));
        let ran = run(home.command().arg("serve"), b"").exits(78);
        assert!(ran.stderr.contains(said), "{}", ran.stderr);
    };
    refused(JOE, ("127.0.0.1", "0.0.0.0"), 0o600, "submission.listen: without TLS, a password is for this host only");
    refused(JOE, ("", ""), 0o644, "submission-password: others may read it");
    refused(JOE, ("submission-password", "none"), 0o600, "none: ");
    refused("%n@x.example", ("", ""), 0o600, "this server is for one user");
    configure(&home, &format!("addresses = [{JOE:?}]"), "");
    fs::write(&password, "\n").unwrap();
    let ran = run(home.command().arg("serve"), b"").exits(78);
    assert!(ran.stderr.contains("submission-password: empty"), "{}", ran.stderr);
    chmod(&password, 0o644);
    let doctor = home.run(["doctor"], b"").exits(78).text();
    assert!(doctor.contains("submission-password: others may read it"), "{doctor}");
    assert!(doctor.contains("no account at a vendor, so no stamp is bought"), "{doctor}");
    let shown = home.run(["config", "show"], b"").exits(0).text();
    assert!(shown.contains("user = \"joe\""), "{shown}");
    assert!(!shown.contains("secret: w"), "{shown}");
}
