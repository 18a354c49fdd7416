//! Two mail hosts and the server, each in a network namespace of its own, with nothing but the network between them.
//! Needs root.

use super::two_hosts;
use crate::support::milter::MailSystem;
use crate::support::postgres::{Authority, Cluster, PASSWORD, Setup};
use crate::support::programs::{chmod, eventually, program};
use crate::support::resident::Resident;
use crate::support::{ALICE, Home, MAILSTAMP, is_soak, letter, run, stamped};
use rustix::process::geteuid;
use std::fs;
use std::process::{Child, Command, Stdio};
use std::sync::Barrier;
use std::thread;

/// A network namespace, which lives as long as its process.
struct Namespace(Child);

impl Namespace {
    fn new() -> Self {
        let mut command = Command::new("unshare");
        command.args(["--net", "sh", "-c", "ip link set lo up && echo up && exec cat"]);
        let mut child = command.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
        let mut up = [0; 3];
        std::io::Read::read_exact(child.stdout.as_mut().unwrap(), &mut up).unwrap();
        Self(child)
    }

    /// Returns a command in this network.
    fn command(&self, program: &str) -> Command {
        let mut command = Command::new("nsenter");
        command.args(["--target", &self.0.id().to_string(), "--net", "--", program]);
        command
    }

    fn ip(&self, arguments: &str) {
        run(self.command("ip").args(arguments.split(' ')), b"").exits(0);
    }

    /// Lays a cable to another one: the first address of the network is here, the second there.
    fn cable(&self, name: &str, other: &Self, network: &str) {
        self.ip(&format!("link add {name} type veth peer name server netns {}", other.0.id()));
        self.ip(&format!("addr add {network}.1/24 dev {name}"));
        other.ip(&format!("addr add {network}.2/24 dev server"));
        self.ip(&format!("link set {name} up"));
        other.ip("link set server up");
    }
}

impl Drop for Namespace {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// `home` as the user of a host.
fn at(host: &Namespace, home: &Home) -> Command {
    let mut command = host.command(MAILSTAMP);
    command.env_clear().env("HOME", home.path()).env("PATH", "/usr/bin:/bin:/usr/sbin:/sbin").current_dir(home.path());
    command
}

#[test]
fn two_hosts_and_a_server_share_nothing_but_the_network() {
    assert!(geteuid().is_root(), "namespaces need root; run this test as root");
    program("ip", "iproute2");
    let (server, mx1, mx2) = (Namespace::new(), Namespace::new(), Namespace::new());
    server.cable("mx1", &mx1, "192.0.2");
    server.cable("mx2", &mx2, "198.51.100");
    let authority = Authority::new();
    let settings = ["listen_addresses = '*'"];
    let network = Some(server.0.id());
    let cluster = Cluster::new(Setup { durable: true, settings: &settings, network, ..Setup::default() });
    cluster.certify(&authority, &["192.0.2.1", "198.51.100.1"]);
    let database = cluster.database();

    let (one, two) = two_hosts("");
    let hosts = [(&mx1, &one, "192.0.2.1"), (&mx2, &two, "198.51.100.1")];
    for (_, home, address) in hosts {
        let password = home.file("store-password");
        fs::write(&password, PASSWORD).unwrap();
        chmod(&password, 0o600);
        home.configure(&format!(
            "addresses = [\"*@x.example\"]\n[store]\nkind = \"postgres\"\nhosts = [\"{}:{}\"]\ndatabase = {database:?}\n\
             user = \"mailstamp\"\npassword_file = {password:?}\nca = {:?}\ntimeout = \"3s\"\n\
             [boundary]\nlisten = \"unix:{}\"\nheld_address = \"held@x.example\"\n",
            address,
            cluster.port(),
            authority.certificate(),
            home.file("milter").display()
        ));
    }
    run(at(&mx1, &one).args(["store", "init"]), b"").exits(0);
    let daemons = hosts.map(|(host, home, _)| Resident::begin(&mut at(host, home), home));

    let rounds = if is_soak() { 200 } else { 2 };
    for round in 0..rounds {
        let stamp = one.mint(ALICE, &format!("serial-{round}"));
        let barrier = Barrier::new(64);
        let answers: Vec<String> = thread::scope(|scope| {
            let judge = |number: usize| {
                let ((host, home, _), stamp, barrier) = (hosts[number % 2], &stamp, &barrier);
                move || {
                    let message = stamped(stamp, &letter(&format!("{round}-{number}")));
                    barrier.wait();
                    // Of eight messages one is a process of its own, and the others come through the milter. On a busy
                    // machine one may be deferred, and comes again.
                    eventually("an answer", || {
                        if (number / 2).is_multiple_of(8) {
                            let ran = run(at(host, home).arg("classify"), &message);
                            return (ran.code != 75).then(|| ran.text());
                        }
                        let answer = MailSystem::connect(&home.file("milter")).message(&[ALICE], &message);
                        answer.inserted("Digital-Stamp-Class").map(|field| field.trim().replace("; reason=", " "))
                    })
                }
            };
            let threads: Vec<_> = (0..64).map(|number| scope.spawn(judge(number))).collect();
            threads.into_iter().map(|thread| thread.join().unwrap()).collect()
        });
        // Of a message that was deferred, the first answer may be "again".
        let count = |class: &str| answers.iter().filter(|answer| answer.starts_with(class)).count();
        assert_eq!((count("first-class "), count("used ")), (1, 63), "{answers:?}");
    }

    // A host whose cable is out accepts nothing; the other one goes on.
    let message = stamped(&one.mint(ALICE, "cable"), &letter("cable"));
    mx1.ip("link set server down");
    let judged = |home: &Home| MailSystem::connect(&home.file("milter")).message(&[ALICE], &message);
    assert!(judged(&one).last.starts_with("y451 4.7.1"));
    run(at(&mx1, &one).arg("classify"), &message).exits(75);
    // On a busy machine the server may take longer than 3 seconds, and the message comes again.
    let is_first_class = |home: &Home| {
        let class = eventually("an answer", || judged(home).inserted("Digital-Stamp-Class").map(str::to_owned));
        assert!(class.starts_with(" first-class; "), "{class}");
    };
    is_first_class(&two);
    mx1.ip("link set server up");
    is_first_class(&one);
    for daemon in daemons {
        daemon.end();
    }
}
