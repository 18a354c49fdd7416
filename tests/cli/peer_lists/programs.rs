//! Posts through real list software: twenty, to three subscribers.

use super::{LIST, MailingList};
use crate::peer_attacks::person::Person;
use crate::support::programs::{Port, eventually, eventually_or, field, program};
use crate::support::smtp::{Protocol, send};
use crate::support::smtp_server::{Mode, SmtpServer};
use crate::support::{Home, run};
use rustix::process::{Pid, Signal, kill_process};
use std::fs;
use std::net::TcpStream;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

const READERS: [&str; 3] = ["alice@x.example", "bob@y.example", "carol@z.example"];
const POSTS: usize = 20;

/// A list of mlmmj in this home, with these subscribers, which sends to the server.
pub fn mlmmj(home: &Home, server: &str, subscribers: &[&str]) -> PathBuf {
    let spool = home.file("list");
    let folders =
        ["incoming", "queue", "queue/discarded", "archive", "text", "subconf", "unsubconf", "bounce", "control"];
    for part in folders.into_iter().chain(["moderation", "subscribers.d", "digesters.d", "nomailsubs.d", "requeue"]) {
        fs::create_dir_all(spool.join(part)).unwrap();
    }
    let (host, port) = server.split_once(':').unwrap();
    for (name, text) in [
        ("control/listaddress", LIST),
        ("control/owner", "owner@lists.example"),
        ("control/relayhost", host),
        ("control/smtpport", port),
        ("control/prefix", "[talk]"),
        ("control/footer", "-- \nthe list talk"),
        ("subscribers.d/a", &subscribers.join("\n")),
        ("index", "0"),
    ] {
        fs::write(spool.join(name), format!("{text}\n")).unwrap();
    }
    spool
}

/// Hands a post to the list, with the field in which a delivery writes the envelope sender. mlmmj needs it.
fn post_to(spool: &Path, sender: &str, post: &[u8]) {
    let mut receive = Command::new(program("mlmmj-receive", "mlmmj"));
    receive.args(["-F", "-L"]).arg(spool);
    run(&mut receive, &[format!("Return-Path: <{sender}>\n").as_bytes(), post].concat()).exits(0);
}

/// The copy that the server took for this reader with this Message-ID.
fn copy_for(server: &SmtpServer, reader: &str, id: &str) -> Option<String> {
    let id = format!("<{id}@mail.example>");
    let is_it = |(envelope, text): &(String, String)| {
        envelope.contains(&format!("<{reader}>")) && field(text.as_bytes(), "Message-ID").as_deref() == Some(&*id)
    };
    server.taken().into_iter().find(is_it).map(|(_, text)| text)
}

/// Each subscriber accepts each copy, and then no other text under its use.
fn all_accept(server: &SmtpServer, readers: &[Person], changed: &str) {
    for number in 1..=POSTS {
        for reader in readers {
            let id = number.to_string();
            let took = || copy_for(server, reader.address, &id);
            let copy = eventually_or("the list", took, || format!("{number} {:?}", server.taken()));
            assert!(copy.contains(changed) && copy.contains("[talk]"), "{copy}");
            assert_eq!(reader.gets(copy.as_bytes()), "first-class peer", "{} {copy}", reader.address);
            if number == 1 {
                assert_eq!(reader.gets(copy.replace("This is letter", "Buy this").as_bytes()), "used used");
            }
        }
    }
}

// BK5: the list's address, a footer and a prefix; the host of the list judges the post first.
#[test]
fn twenty_posts_through_mlmmj_are_first_class_for_all() {
    let list = MailingList::new();
    let member = list.member(READERS[0]);
    let readers = READERS.map(|address| list.reader(address));
    let server = SmtpServer::start(Mode::Take);
    let spool = mlmmj(&list.owner.home, &server.address(), &READERS);
    for number in 1..=POSTS {
        let post = member.sends(LIST, &number.to_string(), None);
        let judged = list.owner.home.run(["filter", "--recipient", LIST], &post).exits(0).stdout;
        assert!(field(&judged, "Digital-Stamp-Class").unwrap().starts_with("first-class"));
        post_to(&spool, READERS[0], &judged);
    }
    all_accept(&server, &readers, "the list talk");
}

/// Mailman 3 in a temporary folder: it takes posts by LMTP and sends to the server.
struct Mailman {
    master: Child,
    port: Port,
}

impl Mailman {
    fn start(home: &Home, server: &str, members: &[&str]) -> Self {
        let folder = home.file("mailman");
        // The runners begin before all of their folders are made.
        let queues =
            ["in", "out", "pipeline", "bad", "shunt", "virgin", "bounces", "archive", "retry", "digest", "nntp"];
        queues.into_iter().for_each(|queue| fs::create_dir_all(folder.join("var/queue").join(queue)).unwrap());
        fs::create_dir_all(folder.join("var/queue/command")).unwrap();
        fs::create_dir_all(folder.join("var/templates")).unwrap();
        let (host, smtp) = server.split_once(':').unwrap();
        let port = Port::reserve();
        // Nothing of it asks the network: the list of public suffixes is a file.
        fs::write(folder.join("suffixes"), "example\n").unwrap();
        let off = ["archive", "bounces", "command", "digest", "nntp", "rest", "retry", "task", "virgin"];
        let off: String = off.iter().map(|runner| format!("[runner.{runner}]\nstart: no\n")).collect();
        let config = folder.join("mailman.cfg");
        let here = folder.display();
        let text = format!(
            "[mailman]\nsite_owner: owner@lists.example\nlayout: here\n\
             [paths.here]\nvar_dir: {here}/var\ntemplate_dir: {here}/var/templates\nlog_dir: {here}/var/logs\n\
             bin_dir: /usr/lib/mailman3/bin\netc_dir: {here}\next_dir: {here}\n\
             [mta]\nincoming: mailman.mta.null.NullMTA\noutgoing: mailman.mta.deliver.deliver\n\
             lmtp_host: 127.0.0.1\nlmtp_port: {}\nsmtp_host: {host}\nsmtp_port: {smtp}\n\
             [dmarc]\norg_domain_data_url: file://{here}/suffixes\nresolver_timeout: 1s\nresolver_lifetime: 1s\n{off}",
            port.number()
        );
        fs::write(&config, text).unwrap();
        fs::copy(concat!(env!("CARGO_MANIFEST_DIR"), "/tests/cli/peer_lists/mailman.py"), folder.join("make_list.py"))
            .unwrap();
        let mut make = Command::new(program("mailman", "mailman3"));
        make.arg("-C").arg(&config).args(["--run-as-root", "shell", "-r", "make_list.run"]);
        make.env("PYTHONPATH", &folder).env("TEST_LIST", LIST).env("TEST_MEMBERS", members.join(" "));
        run(make.current_dir(&folder), b"").exits(0);
        let mut master = Command::new("/usr/lib/mailman3/bin/master");
        master.arg("-C").arg(&config).arg("--no-restart").current_dir(&folder).stdout(Stdio::null());
        let mailman = Self { master: master.spawn().unwrap(), port };
        let is_up = || TcpStream::connect(("127.0.0.1", mailman.port.number())).ok();
        eventually("Mailman takes mail", is_up);
        mailman
    }
}

impl Drop for Mailman {
    fn drop(&mut self) {
        // It ends its runners then.
        let _ = kill_process(Pid::from_child(&self.master), Signal::TERM);
        let _ = self.master.wait();
    }
}

// BK5: From is rewritten, too.
#[test]
fn twenty_posts_through_mailman_are_first_class_for_all() {
    let list = MailingList::new();
    let member = list.member(READERS[0]);
    let readers = READERS.map(|address| list.reader(address));
    let server = SmtpServer::start(Mode::Take);
    let mailman = Mailman::start(&list.owner.home, &server.address(), &READERS);
    for number in 1..=POSTS {
        let post = member.sends(LIST, &number.to_string(), None);
        let codes = send(Protocol::Lmtp, mailman.port.number(), READERS[0], &[LIST], &post);
        assert_eq!(codes.last(), Some(&250), "{codes:?}");
    }
    all_accept(&server, &readers, "via Talk <talk@lists.example>");
}
