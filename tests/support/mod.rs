//! A user with a home directory: configuration, a trusted vendor, the vendor's key, and the program under test. All of
//! it is in one temporary folder and is removed with it.

#![allow(dead_code, reason = "each test program uses its own part of this")]

pub mod apart;
pub mod dovecot;
#[cfg(all(feature = "daemon", feature = "sender"))]
pub mod emstamp_server;
pub mod faults;
pub mod http;
#[cfg(feature = "vendor")]
pub mod meters;
#[cfg(feature = "daemon")]
pub mod milter;
pub mod numbers;
pub mod peers;
pub mod postfix;
#[cfg(feature = "postgres")]
pub mod postgres;
pub mod programs;
#[cfg(any(feature = "postgres", feature = "sender"))]
pub mod proxy;
pub mod python;
#[cfg(feature = "daemon")]
pub mod resident;
pub mod screen;
#[cfg(feature = "vendor")]
pub mod shop;
pub mod smtp;
pub mod smtp_server;
#[cfg(all(feature = "daemon", feature = "sender"))]
pub mod submission;
pub mod witness;

use mailstamp::directory::signing_key::SigningKey;
use mailstamp::message::address::Address;
use mailstamp::stamp::audience::Audience;
use mailstamp::stamp::claims::Stamp;
use mailstamp::stamp::issue;
use mailstamp::stamp::serial::Serial;
use mailstamp::time::UnixTime;
use std::fs;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::OnceLock;
use std::time::{SystemTime, UNIX_EPOCH};

/// The program under test.
pub const MAILSTAMP: &str = env!("CARGO_BIN_EXE_mailstamp");

/// The program that it becomes for all but the mail path.
pub const MAILSTAMP_TOOLS: &str = env!("CARGO_BIN_EXE_mailstamp-tools");

/// The user's address, unless a test configures another.
pub const ALICE: &str = "alice@x.example";

/// Whether `tests/soak` runs the tests, which then take their full counts and not a sample.
pub fn is_soak() -> bool {
    std::env::var_os("MAILSTAMP_TEST_SOAK").is_some()
}

const DAY: i64 = 24 * 60 * 60;

/// So many seconds after the first stamp of this process. A log knows a stamp by its serial and the hour of its end, so
/// stamps of one serial need one end, also where an hour ends between them.
fn end_in(seconds: i64) -> UnixTime {
    static BEGIN: OnceLock<UnixTime> = OnceLock::new();
    let now = || UnixTime(SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_secs().cast_signed());
    BEGIN.get_or_init(now).plus(seconds)
}

/// A home with a configuration and a trusted vendor.
pub struct Home {
    folder: tempfile::TempDir,
}

/// What a run of the program came to.
#[derive(Debug)]
pub struct Run {
    /// The exit status; -1 when a signal ended it.
    pub code: i32,
    /// Standard output.
    pub stdout: Vec<u8>,
    /// Standard error.
    pub stderr: String,
}

impl Run {
    /// Standard output as text.
    pub fn text(&self) -> String {
        String::from_utf8_lossy(&self.stdout).into_owned()
    }

    /// The same run, if its status is this.
    #[track_caller]
    pub fn exits(self, code: i32) -> Self {
        assert_eq!(self.code, code, "stdout: {}\nstderr: {}", self.text(), self.stderr);
        self
    }

    /// The same run, if `classify` said this (`first-class paid`).
    #[track_caller]
    pub fn says(self, verdict: &str) -> Self {
        assert_eq!(self.text().trim_end(), verdict, "status: {}\nstderr: {}", self.code, self.stderr);
        self
    }
}

impl Home {
    /// A home whose user is [`ALICE`] and who trusts `stamps.example`.
    pub fn new() -> Self {
        let home = Self::bare();
        home.configure(&format!("addresses = [\"{ALICE}\"]"));
        home.vendor("stamps.example", "2026q4");
        home
    }

    /// A home with nothing in it.
    pub fn bare() -> Self {
        Self { folder: tempfile::tempdir().unwrap() }
    }

    /// The folder of everything.
    pub fn path(&self) -> &Path {
        self.folder.path()
    }

    /// A file in the home.
    pub fn file(&self, name: &str) -> PathBuf {
        self.path().join(name)
    }

    /// Where the configuration is.
    pub fn config(&self) -> PathBuf {
        self.file(".config/mailstamp/config.toml")
    }

    /// Where the state is.
    pub fn state(&self) -> PathBuf {
        self.file(".local/state/mailstamp")
    }

    /// Replaces the configuration; syslog is switched off unless it says otherwise.
    pub fn configure(&self, text: &str) {
        let text = if text.contains("syslog") { text.to_owned() } else { format!("syslog = false\n{text}") };
        fs::create_dir_all(self.config().parent().unwrap()).unwrap();
        fs::write(self.config(), text).unwrap();
    }

    /// A vendor with a key of this name, trusted by the user. The secret is in the file `<vendor>-<kid>.key`.
    pub fn vendor(&self, vendor: &str, kid: &str) {
        let key = self.key(vendor, kid);
        let made =
            self.run(["vendor", "keygen", "--vendor", vendor, "--kid", kid, "--out", key.to_str().unwrap()], b"");
        self.run(["trust", "add", "--replace", "-"], &made.exits(0).stdout).exits(0);
    }

    /// The file of a vendor's key.
    pub fn key(&self, vendor: &str, kid: &str) -> PathBuf {
        self.file(&format!("{vendor}-{kid}.key"))
    }

    /// A stamp of `stamps.example` for `to`, with more arguments for `vendor issue`.
    pub fn issue<'a>(&self, to: &'a str, more: impl IntoIterator<Item = &'a str>) -> String {
        let key = self.key("stamps.example", "2026q4");
        let more: Vec<&str> = more.into_iter().collect();
        let mut command = self.command();
        command.args(["vendor", "issue", "--to", to, "--key"]).arg(key).args(&more);
        if !more.iter().any(|word| ["--until", "--days", "--now", "--not-before"].contains(word)) {
            command.args(["--until", &end_in(30 * DAY).0.to_string()]);
        }
        run(&mut command, b"").exits(0).text().trim().to_owned()
    }

    /// As [`issue`](Self::issue), without a run of the program: for those who need many.
    pub fn mint(&self, to: &str, serial: &str) -> String {
        self.mint_until(to, serial, end_in(DAY))
    }

    /// The same with another end than a day from now.
    pub fn mint_until(&self, to: &str, serial: &str, end: UnixTime) -> String {
        let signer = SigningKey::read(&self.key("stamps.example", "2026q4")).unwrap();
        let audience = Audience::Plain(Address::parse(to).unwrap());
        let stamp = Stamp::new(Serial::new(serial).unwrap(), audience, end);
        issue::issue(&stamp, &signer.issuer, &signer.key).unwrap().as_str().to_owned()
    }

    /// `message` with `stamp` in its header.
    pub fn affix(&self, stamp: &str, message: &[u8]) -> Vec<u8> {
        self.run(["affix", "--stamp", stamp], message).exits(0).stdout
    }

    /// A message with a fresh stamp for [`ALICE`].
    pub fn stamped(&self, message: &[u8]) -> Vec<u8> {
        self.affix(&self.issue(ALICE, []), message)
    }

    /// The program with this home and an otherwise empty environment.
    pub fn command(&self) -> Command {
        let mut command = Command::new(MAILSTAMP);
        command.env_clear().env("HOME", self.path()).env("PATH", "/usr/bin:/bin:/usr/sbin:/sbin");
        command.current_dir(self.path());
        command
    }

    /// Runs the program with `stdin`.
    pub fn run<'a>(&self, args: impl IntoIterator<Item = &'a str>, stdin: &[u8]) -> Run {
        run(self.command().args(args), stdin)
    }

    /// `classify` on `message`.
    pub fn classify(&self, message: &[u8]) -> Run {
        self.run(["classify"], message)
    }
}

/// Runs `command` with `stdin`, both ends of it served at once.
pub fn run(command: &mut Command, stdin: &[u8]) -> Run {
    let mut child = command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    let mut input = child.stdin.take().unwrap();
    std::thread::scope(|scope| {
        // A program that does not read its input is a result too, and shows in what it says.
        scope.spawn(move || input.write_all(stdin).ok());
        let output = child.wait_with_output().unwrap();
        Run {
            code: output.status.code().unwrap_or(-1),
            stdout: output.stdout,
            stderr: String::from_utf8_lossy(&output.stderr).into_owned(),
        }
    })
}

/// Runs `command` under strace(1), which notes the system calls of this kind (`trace=` of its manual), and returns its
/// notes too.
pub fn traced(command: &mut Command, calls: &str, stdin: &[u8]) -> (Run, String) {
    traced_with(command, &["-e", &format!("trace={calls}")], stdin)
}

/// As [`traced`] with any options of strace(1).
pub fn traced_with(command: &mut Command, options: &[&str], stdin: &[u8]) -> (Run, String) {
    let notes = tempfile::NamedTempFile::new().unwrap();
    let mut strace = Command::new("strace");
    strace.args(["-f", "-qq", "-o"]).arg(notes.path()).args(options).arg("--").arg(command.get_program());
    strace.args(command.get_args()).env_clear();
    strace.envs(command.get_envs().filter_map(|(name, value)| Some((name, value?))));
    if let Some(folder) = command.get_current_dir() {
        strace.current_dir(folder);
    }
    let ran = run(&mut strace, stdin);
    (ran, fs::read_to_string(notes.path()).unwrap())
}

/// `message` with `stamp` in its header, without a run of the program.
pub fn stamped(stamp: &str, message: &[u8]) -> Vec<u8> {
    [format!("Digital-Stamp: {stamp}\n").as_bytes(), message].concat()
}

/// Returns faketime(1) with this clock; the program and its arguments are to be added.
///
/// The library creates a semaphore named by its process id, and a killed process leaves it. faketime(1) then fails in
/// the next process with that id. So what ended processes left is removed first.
pub fn faketime(when: &str) -> Command {
    for entry in fs::read_dir("/dev/shm").into_iter().flatten().flatten() {
        let name = entry.file_name().into_string().unwrap_or_default();
        let id = name.split_once("faketime_").and_then(|(_, rest)| rest.rsplit('_').next()?.parse::<u32>().ok());
        if id.is_some_and(|id| !Path::new(&format!("/proc/{id}")).exists()) {
            let _ = fs::remove_file(entry.path());
        }
    }
    let mut command = Command::new(programs::program("faketime", "faketime"));
    command.args(["-f", when]);
    command
}

/// Has a program follow the clock in a file, as `+6h`. (Not through faketime(1) itself, which would stay as a process
/// between the test and the program.)
pub fn follow_clock(command: &mut Command, clock: &Path) {
    let mut preload = faketime("+0");
    preload.args(["/bin/sh", "-c", "echo \"$LD_PRELOAD\""]).env_clear().env("PATH", "/usr/bin:/bin");
    let library = run(&mut preload, b"").exits(0).text().trim().to_owned();
    command.env("LD_PRELOAD", library).env("FAKETIME_TIMESTAMP_FILE", clock);
    command.env("FAKETIME_NO_CACHE", "1").env("FAKETIME_DONT_FAKE_MONOTONIC", "1");
}

/// Sets the clock in a file at once: the threads that follow it read it at any time.
pub fn set_clock(clock: &Path, says: &str) {
    let new = clock.with_extension("new");
    fs::write(&new, says).unwrap();
    fs::rename(new, clock).unwrap();
}

/// A plain message with this Message-ID.
pub fn letter(id: &str) -> Vec<u8> {
    format!(
        "From: Bob <bob@y.example>\nTo: Alice <{ALICE}>\nDate: Sat, 21 Nov 2026 12:00:00 +0000\n\
         Message-ID: <{id}@y.example>\nSubject: a serious matter\n\nDear Alice,\n\nthis is letter {id}.\n\nBob\n"
    )
    .into_bytes()
}
