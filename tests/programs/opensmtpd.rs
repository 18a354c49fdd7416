//! The recipe `rules/smtpd.conf` under OpenSMTPD. `opensmtpd_filter` has the other one. Needs root.

use crate::support::apart::{ALICES, Apart, unpacked};
use crate::support::faults::{FINAL_FAULTS, Fault, HANGS, SPELLINGS, class_fields, mend, set_aside};
use crate::support::programs::{
    Port, chmod, contents, eventually_or, expected, field, give, letter_with_forged_class, maildir, recipe, tail,
};
use crate::support::smtp::{Protocol, send};
use crate::support::{ALICE, Home, letter, run};
use std::fs;
use std::net::TcpStream;
use std::os::unix::fs::symlink;
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};

/// Its folders are built into it, and smtpctl(8) must have its group.
const FOLDERS: &str = "\
for folder in /usr/libexec /var/lib /var/spool /run; do mount -t tmpfs tmpfs $folder; done
mkdir -p /usr/libexec/opensmtpd /var/lib/opensmtpd/empty
mkdir -m 711 /var/spool/smtpd
mount --bind libexec /usr/libexec/opensmtpd
install -m 2755 -g opensmtpq smtpctl /run/smtpctl";

/// A server, and the users and folders with which it runs.
pub(crate) struct Smtpd {
    pub(crate) apart: Apart,
    port: Port,
    process: Child,
}

impl Drop for Smtpd {
    fn drop(&mut self) {
        // Its processes end with the first one.
        let _ = run(Command::new("kill").arg(self.process.id().to_string()), b"");
        let _ = self.process.wait();
    }
}

impl Smtpd {
    /// Starts it with the recipe of a delivery.
    fn start(home: &Home) -> Self {
        let apart = Apart::new(home);
        let mailstamp = apart.file("bin/mailstamp").display().to_string();
        // Patience of a few seconds with what hangs.
        let edits = [("/usr/local/bin/mailstamp", mailstamp.as_str()), ("your.example", "x.example"), (" 300 ", " 5 ")];
        Self::listen(apart, &format!("listen on HERE\n{}", recipe("smtpd.conf", &edits)))
    }

    /// Starts it with this configuration, where `HERE` is its address.
    pub(crate) fn listen(apart: Apart, conf: &str) -> Self {
        let port = Port::reserve();
        for (name, path) in [("libexec", "usr/libexec/opensmtpd"), ("smtpctl", "usr/sbin/smtpctl")] {
            symlink(unpacked(path), apart.file(name)).unwrap();
        }
        let here = format!("127.0.0.1 port {} hostname mx.x.example", port.number());
        fs::write(apart.file("conf"), conf.replace("HERE", &here)).unwrap();
        chmod(&apart.file("conf"), 0o600);
        let process = Self::process(&apart);
        let smtpd = Self { apart, port, process };
        smtpd.wait();
        smtpd
    }

    fn process(apart: &Apart) -> Child {
        let log = fs::File::options().create(true).append(true).open(apart.file("log")).unwrap();
        let mut command = apart.command(FOLDERS, &unpacked("usr/sbin/smtpd"));
        command.args(["-d", "-f", "conf"]).stdin(Stdio::null()).stdout(log.try_clone().unwrap()).stderr(log);
        command.spawn().unwrap()
    }

    fn wait(&self) {
        let number = self.port.number();
        eventually_or("smtpd", || TcpStream::connect(("127.0.0.1", number)).ok(), || self.log());
    }

    /// Waits until it ended by itself, and starts it again.
    #[cfg(feature = "daemon")]
    pub(crate) fn starts_again_after_its_end(&mut self) {
        self.process.wait().unwrap();
        // The one of its processes that listens may end after the first one.
        let is_closed = || TcpStream::connect(("127.0.0.1", self.port())).is_err().then_some(());
        eventually_or("the end of smtpd", is_closed, || self.log());
        self.process = Self::process(&self.apart);
        self.wait();
    }

    pub(crate) fn file(&self, name: &str) -> PathBuf {
        self.apart.file(name)
    }

    pub(crate) fn port(&self) -> u16 {
        self.port.number()
    }

    fn send(&self, message: &[u8]) {
        assert_eq!(send(Protocol::Smtp, self.port(), "bob@y.example", &[ALICE], message), [250]);
    }

    pub(crate) fn log(&self) -> String {
        tail(&self.file("log"))
    }

    fn logged(&self, text: &str) -> usize {
        fs::read_to_string(self.file("log")).unwrap_or_default().matches(text).count()
    }

    /// Tries all messages again until there is an answer.
    #[track_caller]
    pub(crate) fn try_until<T>(&self, what: &str, mut ask: impl FnMut() -> Option<T>) -> T {
        let again = || {
            let mut command = Command::new("nsenter");
            command.args(["--mount", "--target", &self.process.id().to_string()]);
            run(command.args(["/run/smtpctl", "schedule", "all"]), b"").exits(0);
            ask()
        };
        eventually_or(what, again, || self.log())
    }

    /// The message waits once more.
    #[track_caller]
    fn defers(&self, what: &str) {
        // A delivery may still run that began before.
        let before = self.logged("result=TempFail");
        self.try_until(what, || (self.logged("result=TempFail") >= before + 2).then_some(()));
        let after = (self.logged("result=PermFail"), contents(&self.file("home/Maildir")));
        assert_eq!(after, (0, Vec::new()), "{what}: {}", self.log());
    }
}

#[test]
fn every_fault_defers() {
    let home = Home::new();
    let smtpd = Smtpd::start(&home);
    let mailstamp = smtpd.file("bin/mailstamp");
    set_aside(&mailstamp);
    smtpd.send(&home.stamped(&letter_with_forged_class("1")));
    let full = "case $1 in --version) exec REAL \"$@\";; esac; exec REAL --state \"${0%/*/*}/full/state\" \"$@\"";
    for (what, fault) in FINAL_FAULTS.into_iter().chain([("hangs", HANGS), ("no room", Fault::Script(full))]) {
        fault.put(&mailstamp);
        smtpd.defers(what);
    }
    mend(&mailstamp, true);
    let config = smtpd.file("home/.config/mailstamp/config.toml");
    let right = fs::read(&config).unwrap();
    fs::write(&config, "no = such key").unwrap();
    smtpd.defers("wrong configuration");
    // The folder belongs to another user.
    for (what, name) in [("the mailbox", "home/Maildir"), ("the state", "home/.local")] {
        let folder = smtpd.file(name);
        fs::create_dir_all(&folder).unwrap();
        give(&folder, 0, 0);
        fs::write(&config, &right).unwrap();
        smtpd.defers(&format!("{what} cannot be written"));
    }
    give(&smtpd.file("home"), ALICES, ALICES);
    let inbox = smtpd.file("home/Maildir");
    smtpd.try_until("delivery", || (contents(&inbox) == expected(&[("", &["1"])])).then_some(()));
    let [arrived] = &maildir(&inbox)[..] else { panic!("one message expected") };
    assert!(field(arrived, "Digital-Stamp-Class").unwrap().starts_with("first-class; reason=paid;"));
    assert!(arrived.ends_with(&letter("1")) && class_fields(arrived) == 1, "{}", String::from_utf8_lossy(arrived));
    // It is in the mailbox before the server hears of that.
    eventually_or("the end", || (smtpd.logged("result=Ok") == 1).then_some(()), || smtpd.log());
    assert_eq!(smtpd.logged("result=PermFail"), 0, "{}", smtpd.log());
}

/// OpenSMTPD itself refuses a header with a line that is no field.
#[test]
fn forged_class_fields_do_not_arrive_in_any_spelling() {
    let smtpd = Smtpd::start(&Home::new());
    let accepted = |(number, spelling): (usize, &&str)| {
        let message = [spelling.as_bytes(), b"\n", &letter(&number.to_string())].concat();
        let code = send(Protocol::Smtp, smtpd.port(), "bob@y.example", &[ALICE], &message)[0];
        assert!(code == 250 || code == 550 && spelling.starts_with(['n', ' ']), "{spelling:?}: {code}");
        code == 250
    };
    let count = SPELLINGS.iter().enumerate().filter(|it| accepted(*it)).count();
    let inbox = smtpd.file("home/Maildir");
    smtpd.try_until("delivery", || (maildir(&inbox).len() == count).then_some(()));
    for message in maildir(&inbox) {
        assert_eq!(class_fields(&message), 1, "{}", String::from_utf8_lossy(&message));
        assert_eq!(field(&message, "Digital-Stamp-Class").unwrap(), "unstamped; reason=no-stamp; action=deliver");
    }
    assert!(count >= SPELLINGS.len() - 3, "{count}: {}", smtpd.log());
}
