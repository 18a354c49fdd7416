//! Two mail systems with a gateway each, by the recipes in `rules/`: unmodified Postfix on both sides, a real agency, and
//! no other program between. What one pays the other gets, and nothing is left of the payment in the message but a
//! sealed result.

use crate::support::http;
use crate::support::postfix::Postfix;
use crate::support::programs::{Port, chmod, eventually_or, give, recipe};
use crate::support::shop::{Shop, VENDOR};
use crate::support::smtp::{self, Protocol};
use crate::support::{Home, Run, is_soak, run};
use mailstamp::bank::handle::Bank;
use mailstamp::ledger::ops;
use mailstamp::os::clock;
use serde_json::Value;
use std::collections::BTreeSet;
use std::fs::{self, File};
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

const METRICS: &str = include_str!("../../man/mailstamp-metrics.7");
const ALERTS: &str = include_str!("../../rules/prometheus-mailstamp-alerts.yml");
const PAGE: &str = include_str!("../../man/mailstamp-gateway.8");

/// The mail system of a domain, with its gateway.
struct Site {
    domain: &'static str,
    home: Home,
    boxes: tempfile::TempDir,
    postfix: Postfix,
    /// Where other hosts send mail to, where the mail system hands over mail, and where the numbers are.
    ports: [Port; 3],
    gateway: Option<Child>,
}

impl Site {
    /// A site that sends to `far` through its gateway. Both mailboxes `alice` and `bob` are there.
    fn new(shop: &Shop, key: &str, domain: &'static str, far: &str) -> Self {
        let (home, boxes) = (Home::bare(), tempfile::tempdir().unwrap());
        let number = |option| run(Command::new("id").args([option, "postfix"]), b"").exits(0).text().trim().parse();
        let (user, group) = (number("-u").unwrap(), number("-g").unwrap());
        give(boxes.path(), user, group);
        chmod(boxes.path(), 0o755);
        let ports = [Port::reserve(), Port::reserve(), Port::reserve()];
        let handed = format!("lmtp:inet:127.0.0.1:{}", ports[1].number());
        let main = recipe(
            "postfix-main-gateway.cf",
            &[("far.example", far), ("lmtp:unix:/run/mailstamp-gateway/lmtp", &handed)],
        );
        let main = format!(
            "{main}\nmydestination =\nvirtual_mailbox_domains = {domain}\nvirtual_mailbox_base = {}\n\
             virtual_mailbox_maps = inline:{{ {{ alice@{domain} = alice/ }}, {{ bob@{domain} = bob/ }} }}\n\
             virtual_minimum_uid = 1\nvirtual_uid_maps = static:{user}\nvirtual_gid_maps = static:{group}\n",
            boxes.path().display()
        );
        let inner =
            recipe("postfix-master-gateway.cf", &[("127.0.0.1:10025 inet n  -       y", "SUBMISSION inet n - n")]);
        let postfix = Postfix::start_with(&main, &format!("virtual unix - n n - - virtual\n{inner}"));
        let site = Self { domain, home, boxes, postfix, ports, gateway: None };
        site.configure("far.example", 0, "");
        // systemd makes it.
        fs::create_dir_all(site.home.state()).unwrap();
        chmod(&site.home.state(), 0o700);
        site.follow_the_guide(shop, key);
        site
    }

    /// Runs the commands of the guide of mailstamp-gateway(8), but for the gateway itself: at the test's agency, with its
    /// directory from a file, and with the files in the home.
    fn follow_the_guide(&self, shop: &Shop, key: &str) {
        let (_, guide) = PAGE.split_once("\n.Sh TWO HOSTS IN TEN MINUTES\n").unwrap();
        let (guide, _) = guide.split_once("\n.Sh ").unwrap();
        let commands: Vec<&str> = guide.lines().filter_map(|line| line.strip_prefix("mailstamp ")).collect();
        assert_eq!((commands.len(), commands.last()), (6, Some(&"gateway")));
        let directory = format!("add {VENDOR} --from {} --yes", shop.path().join("directory.json").display());
        for command in &commands[..5] {
            let command = command
                .replace("https://stamps.example", &format!("http://{} --offline", shop.address))
                .replace("add stamps.example", &directory)
                .replace("/etc/mailstamp", self.home.path().to_str().unwrap())
                .replace("your.example", self.domain);
            // The API key is asked for.
            self.home.run(command.split(' '), format!("{key}\n").as_bytes()).exits(0);
        }
    }

    /// Writes the configuration of the gateway from its recipe, with a route for `far` to this port.
    fn configure(&self, far: &str, port: u16, more: &str) {
        let state = self.home.state();
        let edits = [
            ("your.example", self.domain),
            ("license = 3000", "license = 300"),
            ("/var/lib/mailstamp/gateway", state.to_str().unwrap()),
            ("0.0.0.0:25", &format!("127.0.0.1:{}", self.ports[0].number())),
            ("127.0.0.1:10025", &format!("127.0.0.1:{}", self.postfix.submission())),
            ("unix:/run/mailstamp-gateway/lmtp", &format!("inet:127.0.0.1:{}\"\ntls = \"off", self.ports[1].number())),
            ("far.example", far),
            (&format!("mx.{far}:25"), &format!("127.0.0.1:{}", port.max(1))),
            (
                "[gateway.inbound]\n",
                &format!("metrics = \"127.0.0.1:{}\"\n[gateway.inbound]\n{more}", self.ports[2].number()),
            ),
        ];
        let edits: Vec<(&str, &str)> = edits.iter().map(|(from, to)| (*from, *to)).collect();
        self.home.configure(&recipe("gateway.toml", &edits));
    }

    fn run(&self, command: &str) -> Run {
        self.home.run(command.split(' '), b"")
    }

    fn log_file(&self) -> PathBuf {
        self.home.file("gateway-log")
    }

    fn log(&self) -> String {
        fs::read_to_string(self.log_file()).unwrap_or_default() + &self.postfix.log()
    }

    #[track_caller]
    fn start(&mut self) {
        let mut command = self.home.command();
        let log = File::create(self.log_file()).unwrap();
        command.arg("gateway").stdin(Stdio::null()).stdout(Stdio::null()).stderr(log);
        self.gateway = Some(command.spawn().unwrap());
        let is_up = || fs::read_to_string(self.log_file()).unwrap().contains("metrics at ").then_some(());
        eventually_or("the gateway", is_up, || self.log());
    }

    fn kill(&mut self) {
        if let Some(mut child) = self.gateway.take() {
            child.kill().unwrap();
            child.wait().unwrap();
        }
    }

    fn bank(&self) -> Bank {
        Bank::new(&self.home.state(), Duration::from_secs(60))
    }

    /// All credits of the site.
    fn credits(&self) -> u64 {
        let has = self.bank().balance().unwrap();
        has.held + has.licensed + has.reserved + has.paid + has.received
    }

    /// Sends a message with this Message-ID from bob through the site's Postfix.
    fn send(&self, id: &str, recipients: &[&str]) {
        let message = format!(
            "From: bob@{}\nTo: {}\nDate: Mon, 30 Nov 2026 12:00:00 +0000\nMessage-ID: <{id}@{}>\nSubject: {id}\n\n\
             .hello\n",
            self.domain,
            recipients.join(", "),
            self.domain
        );
        let sender = format!("bob@{}", self.domain);
        let codes = smtp::send(Protocol::Smtp, self.postfix.port(), &sender, recipients, message.as_bytes());
        assert_eq!(codes, [250]);
    }

    /// Waits for so many messages in a mailbox, and returns them.
    #[track_caller]
    fn mail(&self, name: &str, count: usize) -> Vec<String> {
        let folder = self.boxes.path().join(name).join("new");
        let found = || {
            let entries = fs::read_dir(&folder).map(|all| all.map(|entry| entry.unwrap().path()).collect::<Vec<_>>());
            let files = entries.unwrap_or_default();
            (files.len() == count).then(|| files.iter().map(|path| fs::read_to_string(path).unwrap()).collect())
        };
        self.postfix.flush_until(name, found, || self.log())
    }

    fn numbers(&self) -> String {
        let address = format!("127.0.0.1:{}", self.ports[2].number()).parse().unwrap();
        http::ask(address, "GET", "/metrics", &[], b"").unwrap().is(200).text()
    }
}

impl Drop for Site {
    fn drop(&mut self) {
        self.kill();
    }
}

/// Writes the agency's signed directory where the sites fetch it.
fn publish(shop: &Shop) {
    let text = shop.ask("GET", "/.well-known/digital-stamp", &Value::Null).is(200).text();
    // At once: the gateways fetch it, too.
    let new = shop.path().join("directory.new");
    fs::write(&new, text).unwrap();
    fs::rename(new, shop.path().join("directory.json")).unwrap();
}

/// An agency, and two sites with so many credits each, whose gateways run.
fn sites(credits: u64) -> (Shop, Site, Site) {
    sites_of([credits; 2], 50)
}

/// The same with other credits for each, and the most that a licence may owe to either.
fn sites_of(credits: [u64; 2], exposure: u64) -> (Shop, Site, Site) {
    let shop = Shop::open(0, &["--key-rate", "0", "--address-rate", "0"]);
    publish(&shop);
    let ledger = shop.ledger();
    let open = |name: &str, credits: u64| {
        let account = ops::OpenAccount { name: name.into(), contact: format!("{name}@a.example"), caps: None };
        let number = ledger.run(account, clock::now()).unwrap().number;
        if credits > 0 {
            ledger.credit(number, credits, None, name, clock::now()).unwrap();
        }
        ledger.add_api_key(number, "gateway", clock::now()).unwrap().0.as_str().to_owned()
    };
    let mut near = Site::new(&shop, &open("near", credits[0]), "near.example", "away.example");
    let mut away = Site::new(&shop, &open("away", credits[1]), "away.example", "near.example");
    let seal = |site: &Site| format!("meter_exposure = {exposure}\nseal = {:?}\n", site.home.file("seal.key"));
    near.configure("away.example", away.ports[0].number(), &seal(&near));
    away.configure("near.example", near.ports[0].number(), &seal(&away));
    // The licences, which the signed directory must list before a token counts.
    for (site, credits) in [(&near, credits[0]), (&away, credits[1])] {
        site.run(&format!("bank license {}", credits.min(300))).exits(0);
    }
    publish(&shop);
    for site in [&mut near, &mut away] {
        site.run("directory refresh").exits(0);
        site.start();
    }
    (shop, near, away)
}

fn set_price(site: &Site, address: &str, price: u64) {
    let config = site.home.config();
    let set = ["--config", config.to_str().unwrap(), "price", "set", &price.to_string(), "--address", address];
    site.home.run(set, b"").exits(0);
}

// E1, E3, E5, E8, E9, E11, E16, E17, E18
#[test]
fn two_mail_systems_pay_each_other() {
    let (shop, near, away) = sites(1_000);
    set_price(&away, "alice@away.example", 3);
    set_price(&near, "bob@near.example", 2);
    near.send("first", &["alice@away.example", "gone@away.example", "bob@away.example"]);
    let [paid] = &away.mail("alice", 1)[..] else { panic!() };
    let [free] = &away.mail("bob", 1)[..] else { panic!() };
    // An unknown mailbox is not charged, and its sender hears why.
    let bounced = || near.postfix.log().contains("status=bounced").then_some(());
    eventually_or("the bounce", bounced, || near.log());
    let [bounce] = &near.mail("bob", 1)[..] else { panic!() };
    assert!(bounce.contains("gone@away.example") && bounce.contains("User unknown"), "{bounce}");
    for copy in [paid, free] {
        assert!(copy.contains("\nMessage-ID: <first@near.example>\n") && copy.ends_with("\n\n.hello\n"), "{copy}");
        assert!(!copy.contains("EMST") && !copy.contains("v4.public."), "{copy}");
    }
    // A user behind the gateway whose filter trusts it.
    let key = away.home.file("seal.key");
    let trusted = away.run(&format!("boundary public --key {}", key.display())).exits(0).text();
    let alice = Home::bare();
    alice.configure(&format!("addresses = [\"alice@away.example\"]\n{trusted}"));
    alice.run(["classify"], paid.as_bytes()).exits(0).says("first-class paid");
    alice.run(["classify"], paid.replace(".hello", "other").as_bytes()).exits(11);
    let spent = || (near.bank().balance().unwrap().paid == 3).then_some(());
    eventually_or("the note of the payment", spent, || near.log());

    // The other way, and back.
    away.send("answer", &["bob@near.example", "alice@near.example"]);
    assert_eq!((near.mail("bob", 2).len(), near.mail("alice", 1).len()), (2, 1));
    for site in [&near, &away] {
        site.run("bank clear").exits(0);
    }
    for site in [&near, &away] {
        site.run("bank clear").exits(0);
        assert_eq!(site.bank().audit(None).unwrap().problems, Vec::<String>::new());
    }
    assert_eq!((near.credits(), away.credits()), (1_000 - 3 + 2, 1_000 + 3 - 2));
    shop.audit();
    for (site, line) in [
        (&away, "mailstamp_gateway_recipients_total{direction=\"in\",fate=\"paid\"} 1"),
        (&away, "mailstamp_gateway_recipients_total{direction=\"in\",fate=\"free\"} 1"),
        (&away, "mailstamp_gateway_received_total 3"),
        (&away, "mailstamp_gateway_paid_total 2"),
        (&near, "mailstamp_gateway_recipients_total{direction=\"out\",fate=\"paid\"} 1"),
        (&near, "mailstamp_gateway_recipients_total{direction=\"out\",fate=\"free\"} 1"),
        (&near, "mailstamp_gateway_bank_up 1"),
    ] {
        // Some count after the answer.
        let is_told = || site.numbers().lines().any(|it| it == line).then_some(());
        eventually_or(line, is_told, || site.numbers());
    }
    // The page and the alerts know every number, and no other.
    let names = |text: &str| -> BTreeSet<String> {
        let found = text.match_indices("mailstamp_gateway_").map(|(at, _)| {
            text[at..].chars().take_while(|c| c.is_ascii_alphanumeric() || *c == '_').collect::<String>()
        });
        found.collect()
    };
    let numbers = eventually_or(
        "an answer of the agency",
        || Some(near.numbers()).filter(|it| it.contains("agency_answered")),
        || near.log(),
    );
    let exposed: String = numbers.lines().filter(|line| !line.starts_with('#')).collect::<Vec<_>>().join("\n");
    assert_eq!(names(METRICS), names(&exposed));
    assert!(names(ALERTS).is_subset(&names(METRICS)));
}

// E13, E14: whichever gateway is killed, each message is paid once, and none is lost.
#[test]
fn gateways_that_are_killed_while_mail_flows_lose_nothing() {
    const MESSAGES: usize = 12;
    let (shop, mut near, mut away) = sites(1_000);
    set_price(&away, "alice@away.example", 3);
    for number in 0..MESSAGES {
        near.send(&format!("m{number}"), &["alice@away.example"]);
        if number % 3 == 1 {
            away.kill();
            away.start();
        }
        if number % 3 == 2 {
            near.kill();
            near.start();
        }
    }
    let folder = away.boxes.path().join("alice").join("new");
    let ids = || {
        let entries = fs::read_dir(&folder).into_iter().flatten();
        let texts = entries.map(|entry| fs::read_to_string(entry.unwrap().path()).unwrap_or_default());
        let id = |text: String| Some(text.split_once("\nMessage-ID: <")?.1.split_once('@')?.0.to_owned());
        texts.filter_map(id).collect::<Vec<_>>()
    };
    let all = || {
        let known: BTreeSet<String> = ids().into_iter().collect();
        (known.len() == MESSAGES).then_some(())
    };
    near.postfix.flush_until("every message", all, || near.log() + &away.log());
    let queue = || near.postfix.has_empty_queue().then_some(());
    near.postfix.flush_until("an empty queue", queue, || near.log());
    for site in [&away, &near] {
        site.run("bank clear").exits(0);
    }
    assert_eq!((near.credits(), away.credits()), (1_000 - 36, 1_000 + 36), "{}", near.log());
    for site in [&away, &near] {
        assert_eq!(site.bank().audit(None).unwrap().problems, Vec::<String>::new());
        assert_eq!(site.bank().balance().unwrap().reserved, 0, "what the payee cleared is no reservation");
    }
    shop.audit();
}

// E6: a week of mail at one price for both
#[test]
fn a_site_that_gets_more_mail_than_it_sends_buys_nothing() {
    let (incoming, outgoing, days) = if is_soak() { (1_000, 500, 7) } else { (20, 10, 2) };
    let (shop, near, away) = sites_of([0, incoming as u64], 5_000);
    set_price(&near, "alice@near.example", 1);
    set_price(&away, "alice@away.example", 1);
    let (license, refresh) = (
        |site: &Site, limit: u64| site.run(&format!("bank license {limit}")).exits(0),
        || {
            publish(&shop);
            [&near, &away].map(|site| site.run("directory refresh").exits(0))
        },
    );
    let rest = away.bank().balance().unwrap().held;
    license(&away, rest);
    refresh();
    let arrived = |site: &Site, count: usize| {
        let folder = site.boxes.path().join("alice").join("new");
        let all = || fs::read_dir(&folder).is_ok_and(|all| all.count() == count).then_some(());
        eventually_or("mail", all, || near.log() + &away.log());
    };
    for day in 0..days {
        let of = |all: usize| all * day / days..all * (day + 1) / days;
        let (came, went) = (of(incoming), of(outgoing));
        came.clone().for_each(|number| away.send(&format!("in{number}"), &["alice@near.example"]));
        arrived(&near, came.end);
        near.run("bank clear").exits(0);
        // It pays from what it got.
        license(&near, near.bank().balance().unwrap().held);
        refresh();
        went.clone().for_each(|number| near.send(&format!("out{number}"), &["alice@away.example"]));
        arrived(&away, went.end);
    }
    for site in [&near, &away, &near, &away] {
        site.run("bank clear").exits(0);
    }
    let gained = (incoming - outgoing) as u64;
    assert_eq!((near.credits(), away.credits()), (gained, incoming as u64 - gained));
    // The agency booked no credits for it, and it ordered none.
    let statement = near.run("bank statement --json").exits(0).text();
    assert!(statement.contains("\"received\"") && !statement.contains("\"ordered\""), "{statement}");
    for site in [&near, &away] {
        assert_eq!(site.bank().audit(None).unwrap().problems, Vec::<String>::new());
    }
    shop.audit();
}
