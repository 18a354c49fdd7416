//! Mail systems behind the gateway by their recipes: `rules/exim-gateway.conf` under Exim and `rules/smtpd-gateway.conf`
//! under OpenSMTPD. The gateway has no bank, so nothing is asked of anyone. `vendor_side::two_hosts` has Postfix, and
//! payments. Needs root.

use crate::opensmtpd::Smtpd;
use crate::support::apart::{ALICES, Apart, EXIMS, unpacked};
use crate::support::programs::{Port, chmod, contents, eventually_or, give, program, recipe};
use crate::support::{ALICE, Home, Run, letter, run};
use std::fs::{self, File};
use std::net::TcpStream;
use std::process::{Child, Command, Stdio};

/// A process that is killed when this is dropped.
struct Process(Child);

impl Drop for Process {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// Starts the gateway in front of this port, and returns it and its own.
fn gateway(home: &Home, inner: u16, client_address: &str) -> (Process, u16) {
    home.configure(&format!(
        "addresses = [\"{ALICE}\"]\n[gateway]\nname = \"mx.x.example\"\n[gateway.inbound]\nlisten = \"127.0.0.1:0\"\n\
         inner = \"127.0.0.1:{inner}\"\nclient_address = \"{client_address}\"\nhelp = \"https://x.example/mail\"\n"
    ));
    let log = home.file("gateway-log");
    let mut command = home.command();
    command.arg("gateway").stdin(Stdio::null()).stdout(Stdio::null()).stderr(File::create(&log).unwrap());
    let process = Process(command.spawn().unwrap());
    let said = || fs::read_to_string(&log).unwrap();
    let port = || said().split_once("inbound at 127.0.0.1:")?.1.split_once('\n')?.0.parse().ok();
    (process, eventually_or("the gateway", port, said))
}

/// Sends a message as a host with the address 127.0.0.2 does.
fn swaks(port: u16, recipient: &str, message: &[u8]) -> Run {
    let mut command = Command::new(program("swaks", "swaks"));
    command.args(["--server", "127.0.0.1", "--port", &port.to_string(), "--local-interface", "127.0.0.2"]);
    command.args(["--helo", "y.example", "--from", "bob@y.example", "--to", recipient, "--data", "-"]);
    run(&mut command, message)
}

/// The part of a recipe from one comment to the next.
fn part<'a>(recipe: &'a str, from: &str, to: &str) -> &'a str {
    let (_, rest) = recipe.split_once(from).unwrap_or_else(|| panic!("no {from}"));
    rest.split_once(to).map_or(rest, |(part, _)| part).split_once('\n').unwrap().1
}

// E10, E11
#[test]
fn exim_behind_the_gateway_takes_mail_and_relays_none() {
    let (home, inner) = (Home::new(), Port::reserve());
    let apart = Apart::new(&home);
    fs::create_dir(apart.file("spool")).unwrap();
    give(&apart.file("spool"), EXIMS, EXIMS);
    fs::create_dir(apart.file("etc/exim4")).unwrap();
    let folder = apart.file("").display().to_string();
    let folder = folder.trim_end_matches('/');
    let text = recipe("exim-gateway.conf", &[("10025", &inner.number().to_string()), ("your.example", "x.example")]);
    let conf = format!(
        "primary_hostname = mx.x.example\nexim_path = {}\nexim_user = Debian-exim\nexim_group = Debian-exim\n\
         spool_directory = {folder}/spool\nlog_file_path = {folder}/spool/log-%slog\nkeep_environment =\n\
         {}\nacl_smtp_rcpt = own\nbegin acl\nown:\n{}\n  accept hosts = 127.0.0.0/8\n  deny\n\
         begin routers\n{}\nlocal:\n  driver = accept\n  domains = x.example\n  transport = maildir\n\
         begin transports\n{}\nmaildir:\n  driver = appendfile\n  maildir_format\n  directory = {folder}/home/Maildir\n  \
         user = alice\nbegin retry\n* * F,2h,1s\n",
        unpacked("usr/sbin/exim4").display(),
        part(&text, "# Main section", "# ACL"),
        part(&text, "# the address of this host", "# Routers"),
        part(&text, "# Routers", "# Transports"),
        part(&text, "# Transports", "\u{0}"),
    );
    fs::write(apart.file("etc/exim4/exim4.conf"), conf).unwrap();
    let exim = |args: &[&str]| {
        let mut command = apart.command("", &unpacked("usr/sbin/exim4"));
        command.args(args);
        command
    };
    // Mail to a domain with a route goes to the gateway.
    let routed = run(&mut exim(&["-bt", "carol@far.example"]), b"").exits(0).text();
    assert!(routed.contains("transport = mailstamp_gateway_lmtp") && routed.contains("127.0.0.1"), "{routed}");
    let errors = File::create(apart.file("exim-log")).unwrap();
    let daemon = exim(&["-bdf", "-odf"]).stdin(Stdio::null()).stdout(Stdio::null()).stderr(errors).spawn();
    let _daemon = Process(daemon.unwrap());
    let log = || {
        let main = fs::read_to_string(apart.file("spool/log-mainlog")).unwrap_or_default();
        main + &fs::read_to_string(apart.file("exim-log")).unwrap_or_default()
    };
    eventually_or("exim", || TcpStream::connect(("127.0.0.1", inner.number())).ok(), log);
    let (_gateway, port) = gateway(&home, inner.number(), "none");
    swaks(port, ALICE, &letter("one")).exits(0);
    let arrived = || contents(&apart.file("home/Maildir")).first().cloned();
    eventually_or("the message", arrived, log);
    // It relays nothing for the gateway, though it does for this host.
    let refused = swaks(port, "carol@far.example", &letter("two"));
    assert!(refused.code != 0 && refused.text().contains("relay not permitted"), "{}", refused.text());
}

// E10, E11
#[test]
fn opensmtpd_behind_the_gateway_takes_mail_and_relays_none() {
    let home = Home::new();
    let apart = Apart::new(&home);
    chmod(&apart.file("home"), 0o755);
    give(&apart.file("home"), ALICES, ALICES);
    let edits = [("127.0.0.1 port 10025", "HERE"), ("your.example", "x.example")];
    let smtpd = Smtpd::listen(apart, &recipe("smtpd-gateway.conf", &edits));
    let (_gateway, port) = gateway(&home, smtpd.port(), "none");
    swaks(port, ALICE, &letter("one")).exits(0);
    let arrived = || contents(&smtpd.file("home/Maildir")).first().cloned();
    eventually_or("the message", arrived, || smtpd.log());
    for foreign in ["carol@far.example", "carol@z.example"] {
        assert_ne!(swaks(port, foreign, &letter("two")).code, 0, "{foreign}: {}", smtpd.log());
    }
}
