//! Knot DNS on a port of the loopback interface, with zones that are signed by kzonesign(8) when they are to be.

use crate::support::programs::{Port, eventually_or, program, tail};
use crate::support::run;
use std::fmt::Write;
use std::fs;
use std::net::{Ipv4Addr, UdpSocket};
use std::path::{Path, PathBuf};
use std::process::{Child, Command};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

/// How a zone is signed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Signing {
    /// Not at all.
    None,
    /// With NSEC.
    Nsec,
    /// With NSEC3.
    Nsec3,
    /// With NSEC, two months ago.
    Expired,
}

/// A name server in the making: its folder, its port, and its zones.
pub struct Zones {
    folder: PathBuf,
    port: Port,
    names: Vec<String>,
}

/// A name server, until it is dropped.
pub struct NameServer {
    child: Child,
}

impl Zones {
    /// No zones yet, in a new folder.
    pub fn new(folder: &Path) -> Self {
        fs::create_dir_all(folder.join("db")).unwrap();
        Self { folder: folder.to_owned(), port: Port::reserve(), names: Vec::new() }
    }

    /// For `resolver` in the list of sources.
    pub fn address(&self) -> String {
        format!("127.0.0.1:{}", self.port.number())
    }

    /// The file of a zone, as it is served.
    pub fn file(&self, name: &str) -> PathBuf {
        self.folder.join(format!("{}.zone", if name == "." { "root" } else { name }))
    }

    /// Adds a zone with these records beside SOA and NS, and signs it. The answer is its DNSKEY, for a trust anchor.
    pub fn add(&mut self, name: &str, records: &str, signing: Signing) -> String {
        let apex = if name == "." { ".".to_owned() } else { format!("{name}.") };
        let mut text = format!("{apex} 3600 IN SOA ns.invalid. admin.invalid. 1 3600 600 8640000 300\n");
        write!(text, "{apex} 3600 IN NS ns.invalid.\n{records}").unwrap();
        fs::write(self.file(name), text).unwrap();
        self.names.push(name.to_owned());
        self.configure();
        if signing == Signing::None {
            return String::new();
        }
        let policy = self.folder.join(format!("{}-{signing:?}.conf", if name == "." { "root" } else { name }));
        fs::write(
            &policy,
            format!(
                "database:\n  storage: {}\npolicy:\n  - id: p\n    single-type-signing: on\n    algorithm: ecdsap256sha256\n    \
                 nsec3: {}\n    nsec3-iterations: 0\n    rrsig-lifetime: 14d\n    rrsig-refresh: 7d\ntemplate:\n  - id: default\n    \
                 storage: {}\n    file: {}\nzone:\n  - domain: {name}\n    dnssec-policy: p\n    dnssec-signing: on\n",
                self.folder.join("db").display(),
                if signing == Signing::Nsec3 { "on" } else { "off" },
                self.folder.display(),
                self.file(name).display(),
            ),
        )
        .unwrap();
        let out = self.folder.join("signed");
        let _ = fs::remove_dir_all(&out);
        fs::create_dir_all(&out).unwrap();
        let mut sign = Command::new(program("kzonesign", "knot-dnssecutils"));
        sign.arg("-c").arg(&policy).arg("-o").arg(&out);
        if signing == Signing::Expired {
            let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_secs();
            sign.args(["-t", &(now - 60 * 86_400).to_string()]);
        }
        run(sign.arg(name), b"").exits(0);
        let signed = fs::read_dir(&out).unwrap().next().unwrap().unwrap().path();
        let text = fs::read_to_string(&signed).unwrap();
        fs::rename(signed, self.file(name)).unwrap();
        let key = text.lines().find_map(|line| line.split_once("\tDNSKEY\t"));
        let (_, data) = key.unwrap_or_else(|| panic!("no DNSKEY of {name} in\n{text}"));
        format!("{apex} 3600 IN DNSKEY {data}\n")
    }

    fn configure(&self) {
        let mut text = format!(
            "server:\n  rundir: {0}\n  listen: 127.0.0.1@{1}\n  udp-workers: 1\n  tcp-workers: 1\n  background-workers: 1\n\
             database:\n  storage: {0}/db\nlog:\n  - target: {0}/log\n    any: info\nzone:\n",
            self.folder.display(),
            self.port.number()
        );
        for name in &self.names {
            writeln!(text, "  - domain: {name}\n    file: {}\n    zonefile-load: whole", self.file(name).display())
                .unwrap();
        }
        fs::write(self.folder.join("knot.conf"), text).unwrap();
    }

    /// Serves the zones.
    pub fn start(&self) -> NameServer {
        let begin = || {
            let mut command = Command::new(program("knotd", "knot"));
            NameServer { child: command.arg("-c").arg(self.folder.join("knot.conf")).spawn().unwrap() }
        };
        let mut server = begin();
        let answers = || {
            // The port is reserved for TCP only: a client of UDP may have it for a moment.
            if server.child.try_wait().unwrap().is_some() {
                server = begin();
            }
            self.names.iter().all(|name| self.answers(name)).then_some(())
        };
        eventually_or("the name server answers", answers, || tail(&self.folder.join("log")));
        server
    }

    /// Whether the zone is loaded: its SOA is there (RFC 1035 section 4.1).
    fn answers(&self, name: &str) -> bool {
        let mut question = vec![0, 7, 0, 0, 0, 1, 0, 0, 0, 0, 0, 0];
        for label in name.split('.').filter(|label| !label.is_empty()) {
            question.push(u8::try_from(label.len()).unwrap());
            question.extend(label.as_bytes());
        }
        question.extend([0, 0, 6, 0, 1]);
        let socket = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
        socket.set_read_timeout(Some(Duration::from_millis(200))).unwrap();
        let mut answer = [0; 512];
        let asked =
            socket.send_to(&question, (Ipv4Addr::LOCALHOST, self.port.number())).and_then(|_| socket.recv(&mut answer));
        asked.is_ok() && answer[3] & 15 == 0 && answer[7] > 0
    }
}

impl Drop for NameServer {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
