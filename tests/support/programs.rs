//! Helpers of the tests with real mail programs: finding a program (a missing one is a failure that names its Debian
//! package), the recipes of `rules/` with the few edits that a user would make, a message of every class, the content
//! of mail folders, and the limit of waits.

#![allow(dead_code, reason = "each test program uses its own part of this")]

use super::{ALICE, Home, MAILSTAMP, MAILSTAMP_TOOLS, Run, letter, run};
use rustix::net::sockopt::set_socket_reuseaddr;
use rustix::net::{AddressFamily, SocketFlags, SocketType, bind, getsockname, socket_with};
use rustix::process::{Pid, Signal, kill_process};
use std::fs;
use std::net::{Ipv4Addr, SocketAddrV4};
use std::os::fd::OwnedFd;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};

/// Limit of every wait for a condition. A wait ends as soon as its condition holds, so a long limit costs a good run
/// nothing; a short one fails on a machine that does other work.
pub const PATIENCE: Duration = Duration::from_secs(300);

/// Runs an act that could only fail by not ending, and fails if it took longer than on any slow machine. Speed is
/// measured in benches/.
#[track_caller]
pub fn comes_to_an_end<T>(what: &str, act: impl FnOnce() -> T) -> T {
    let began = Instant::now();
    let outcome = act();
    assert!(began.elapsed() < PATIENCE, "{what}: took {:?}", began.elapsed());
    outcome
}

/// The path of a program.
#[track_caller]
pub fn program(name: &str, package: &str) -> PathBuf {
    let folders = ["/usr/bin", "/bin", "/usr/sbin", "/sbin", "/usr/lib/dovecot", "/usr/local/bin"];
    let found = folders.iter().map(|folder| Path::new(folder).join(name)).find(|path| path.exists());
    found.unwrap_or_else(|| panic!("{name} is not installed: apt-get install {package} (see tests/packages)"))
}

/// Returns the recipe `rules/<name>` with `edits` made: each text must occur in it, and is replaced everywhere.
#[track_caller]
pub fn recipe(name: &str, edits: &[(&str, &str)]) -> String {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("rules").join(name);
    let mut text = fs::read_to_string(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
    for (from, to) in edits {
        assert!(text.contains(from), "{from:?} does not stand in rules/{name}");
        text = text.replace(from, to);
    }
    text
}

/// Returns the text of a recipe with its lines for a folder of each class switched on.
#[track_caller]
pub fn with_folder_each(text: &str) -> String {
    let (before, rest) = text.split_once("remove the comment signs:\n").expect("the lines for a folder of each class");
    let is_code = |line: &&str| line.strip_prefix('#').is_some_and(|code| !code.starts_with(" unstamped"));
    let lines: Vec<&str> = rest.lines().take_while(is_code).collect();
    let after = rest.lines().skip(lines.len());
    let switched_on = lines.iter().map(|line| &line[1..]);
    before
        .lines()
        .chain(["# A folder for each class:"])
        .chain(switched_on)
        .chain(after)
        .map(|line| format!("{line}\n"))
        .collect()
}

/// Returns the text of a recipe with its lines of the screener switched on.
#[track_caller]
pub fn with_screener(text: &str) -> String {
    let mut is_inside = false;
    let lines = text.lines().map(|line| {
        if line.starts_with("# (screener: ") {
            is_inside = !line.ends_with(" end)");
            return line;
        }
        // A comment has one blank behind its sign.
        let is_code = |code: &&str| !code.starts_with(' ') || code.starts_with("  ");
        line.strip_prefix('#').filter(|code| is_inside && is_code(code)).unwrap_or(line)
    });
    let switched_on: String = lines.map(|line| format!("{line}\n")).collect();
    assert_ne!(switched_on, text);
    switched_on
}

/// The folder `folder/bin` with both programs under test in it, for recipes that name the path of `mailstamp`.
pub fn install(folder: &Path) -> PathBuf {
    let bin = folder.join("bin");
    fs::create_dir_all(&bin).unwrap();
    for (program, name) in [(MAILSTAMP, "mailstamp"), (MAILSTAMP_TOOLS, "mailstamp-tools")] {
        let path = bin.join(name);
        if !path.exists() && fs::hard_link(program, &path).is_err() {
            // Not fs::copy: a test beside this one may fork while the file is open for writing, and then it cannot be
            // run.
            let copied = Command::new("cp").arg(program).arg(&path).status().unwrap();
            assert!(copied.success());
        }
    }
    bin
}

/// A shell script in place of a program.
pub fn stand_in(path: &Path, script: &str) {
    let _ = fs::remove_file(path);
    let made = run(Command::new("sh").args(["-c", "cat > \"$0\" && chmod 755 \"$0\""]).arg(path), script.as_bytes());
    made.exits(0);
}

/// Asks until there is an answer.
#[track_caller]
pub fn eventually<T>(what: &str, ask: impl FnMut() -> Option<T>) -> T {
    eventually_or(what, ask, String::new)
}

/// Asks until there is an answer; `otherwise` says more when there is none.
#[track_caller]
pub fn eventually_or<T>(what: &str, mut ask: impl FnMut() -> Option<T>, otherwise: impl Fn() -> String) -> T {
    let start = Instant::now();
    loop {
        if let Some(answer) = ask() {
            return answer;
        }
        assert!(start.elapsed() < PATIENCE, "{what}: not within {PATIENCE:?}\n{}", otherwise());
        std::thread::sleep(Duration::from_millis(50));
    }
}

/// Waits until a process listens at this Unix socket. Its file is there before that, and a connection may start a service.
#[track_caller]
pub fn until_listening(socket: &Path) {
    let name = format!(" {}", socket.display());
    // The fourth column of proc(5) is the flags; this is __SO_ACCEPTCON.
    let listens = |line: &str| line.ends_with(&name) && line.split(' ').nth(3) == Some("00010000");
    let sockets = || fs::read_to_string("/proc/net/unix").unwrap();
    eventually("a listener", || sockets().lines().any(listens).then_some(()));
}

/// A TCP port of the loopback interface, reserved until the value is dropped: its socket is bound and does not listen.
/// The system gives the port to no other program that asks for any free one. A server that names the port gets it all
/// the same, because both sockets have SO_REUSEADDR (socket(7)).
#[derive(Debug)]
pub struct Port {
    number: u16,
    _socket: OwnedFd,
}

impl Port {
    /// Reserves one.
    pub fn reserve() -> Self {
        let socket = socket_with(AddressFamily::INET, SocketType::STREAM, SocketFlags::CLOEXEC, None).unwrap();
        // Set before bind(), this would let two tests reserve one port.
        bind(&socket, &SocketAddrV4::new(Ipv4Addr::LOCALHOST, 0)).unwrap();
        set_socket_reuseaddr(&socket, true).unwrap();
        let address = SocketAddrV4::try_from(getsockname(&socket).unwrap()).unwrap();
        Self { number: address.port(), _socket: socket }
    }

    /// Its number.
    pub fn number(&self) -> u16 {
        self.number
    }
}

/// Stops a process, and waits until each of its threads has stopped. kill(2) returns before that, and on a busy machine
/// the threads go on for a while.
#[track_caller]
pub fn stop(process: Pid) {
    kill_process(process, Signal::STOP).unwrap();
    let tasks = format!("/proc/{}/task", process.as_raw_nonzero());
    let is_stopped = |task: fs::DirEntry| {
        let stat = fs::read_to_string(task.path().join("stat")).unwrap_or_default();
        // proc(5): the state follows the name in brackets; a thread that has ended stops nothing.
        stat.rsplit(") ").next().is_none_or(|rest| rest.is_empty() || rest.starts_with(['T', 't', 'Z', 'X']))
    };
    let stopped = || fs::read_dir(&tasks).unwrap().flatten().all(is_stopped).then_some(());
    eventually("all threads stop", stopped);
}

/// The threads of a process but its first: number and name of each. A new thread has its process's name until it
/// takes its own, so this waits until all have one.
#[track_caller]
pub fn threads(process: u32) -> Vec<(String, String)> {
    let tasks = PathBuf::from(format!("/proc/{process}/task"));
    let name =
        |task: &str| fs::read_to_string(tasks.join(task).join("comm")).ok().map(|name| name.trim_end().to_owned());
    eventually("names of all threads", || {
        let first = process.to_string();
        let own = name(&first)?;
        let numbers = fs::read_dir(&tasks).unwrap().flatten().filter_map(|task| task.file_name().into_string().ok());
        // A thread that has ended has no name.
        let named = numbers.filter(|it| *it != first).filter_map(|it| name(&it).map(|name| (it, name)));
        let threads: Vec<_> = named.collect();
        threads.iter().all(|(_, name)| *name != own).then_some(threads)
    })
}

/// The last lines of a log file, for messages about failures.
pub fn tail(path: &Path) -> String {
    let text = fs::read(path).map(|bytes| String::from_utf8_lossy(&bytes).into_owned()).unwrap_or_default();
    let lines: Vec<&str> = text.lines().collect();
    lines[lines.len().saturating_sub(40)..].join("\n")
}

/// The messages in a maildir; none if there is no such folder.
pub fn maildir(path: &Path) -> Vec<Vec<u8>> {
    let files = |part: &str| fs::read_dir(path.join(part)).into_iter().flatten().flatten().map(|entry| entry.path());
    files("new").chain(files("cur")).filter_map(|path| fs::read(path).ok()).collect()
}

/// The folders of a Maildir++ that hold messages, the inbox as `""`, each with the Message-IDs as [`ids`] gives them.
pub fn contents(path: &Path) -> Vec<(String, Vec<String>)> {
    let mut folders = vec![(String::new(), ids(path))];
    for entry in fs::read_dir(path).into_iter().flatten().flatten() {
        let name = entry.file_name().into_string().unwrap();
        if name.starts_with('.') {
            folders.push((name, ids(&entry.path())));
        }
    }
    folders.retain(|(_, ids)| !ids.is_empty());
    folders.sort();
    folders
}

/// What [`contents`] should be.
pub fn expected(folders: &[(&str, &[&str])]) -> Vec<(String, Vec<String>)> {
    folders.iter().map(|(name, ids)| ((*name).to_owned(), ids.iter().map(|id| (*id).to_owned()).collect())).collect()
}

/// Makes storing here impossible. Delivery programs append to a file in place of a folder, and root may write anywhere;
/// a dangling link stops both.
pub fn block(folder: &Path) {
    // No process can create a path below /proc. Through the components, so that no trailing slash is left.
    symlink("/proc/nonexistent/folder", folder.components().collect::<PathBuf>()).unwrap();
}

/// The Message-IDs (without what follows the `@`) of the messages in a maildir, sorted.
pub fn ids(path: &Path) -> Vec<String> {
    let mut ids: Vec<String> = maildir(path).iter().map(|message| field(message, "Message-ID").unwrap()).collect();
    ids.iter_mut().for_each(|id| *id = id.trim_start_matches('<').split('@').next().unwrap().to_owned());
    ids.sort();
    ids
}

/// The value of the first header field of this name, unfolded. Deliberately not the reader of the program under test.
pub fn field(message: &[u8], name: &str) -> Option<String> {
    let text = String::from_utf8_lossy(message).replace("\r\n", "\n");
    let header = text.split_once("\n\n").map_or(text.as_str(), |(header, _)| header);
    let header = header.replace("\n ", " ").replace("\n\t", " ");
    let found = header.lines().find(|line| line.to_lowercase().starts_with(&format!("{}:", name.to_lowercase())));
    found.map(|line| line[name.len() + 1..].trim().to_owned())
}

/// The message without the header fields of these names.
pub fn without_fields(message: &str, names: &[&str]) -> String {
    let (mut is_header, mut skips) = (true, false);
    let kept = message.split_inclusive('\n').filter(|line| {
        is_header &= !line.trim_end().is_empty();
        if !line.starts_with([' ', '\t']) {
            skips = line.split_once(':').is_some_and(|(name, _)| names.contains(&name));
        }
        !(is_header && skips)
    });
    kept.collect()
}

/// Copies configuration, trusted vendors and bogofilter's words from `home` into another home.
pub fn settle(home: &Home, other: &Path) {
    for part in [".config", ".bogofilter"] {
        if home.file(part).exists() {
            run(Command::new("cp").arg("-r").arg(home.file(part)).arg(other), b"").exits(0);
        }
    }
}

/// Gives a folder and all in it to a user.
pub fn give(folder: &Path, owner: u32, group: u32) {
    run(Command::new("chown").arg("-R").arg(format!("{owner}:{group}")).arg(folder), b"").exits(0);
}

/// Sets the mode of a file or folder.
pub fn chmod(path: &Path, mode: u32) {
    fs::set_permissions(path, fs::Permissions::from_mode(mode)).unwrap();
}

/// A message and the class that it should get.
pub struct Sample {
    /// The class, or `junk` for unstamped mail that the content filter takes for spam.
    pub class: &'static str,
    /// The message; its Message-ID is the class.
    pub message: Vec<u8>,
}

/// Configures `home` for every class, and makes a message of each; they must be delivered in this order.
pub fn one_of_each(home: &Home) -> Vec<Sample> {
    home.configure(&format!(
        "addresses = [\"{ALICE}\", {{ address = \"dear@x.example\", price = 5 }}]\nallow = [\"friend@y.example\"]"
    ));
    revoke_as_vendor(home, "condemned");
    train(home.path());
    let stranger = Home::new();
    let first = home.issue(ALICE, []);
    let make = |class, message| Sample { class, message };
    vec![
        make("first-class", home.affix(&first, &spam("first-class"))),
        make("allowed", from_friend("allowed")),
        make("unstamped", letter("unstamped")),
        make("junk", spam("junk")),
        make("underpaid", home.affix(&home.issue("dear@x.example", []), &letter("underpaid"))),
        make("unverified", stranger.affix(&foreign(&stranger), &letter("unverified"))),
        make("invalid", home.affix(&home.issue("carol@z.example", []), &letter("invalid"))),
        make("used", home.affix(&first, &letter("used"))),
        make("revoked", home.affix(&home.issue(ALICE, ["--serial", "condemned"]), &letter("revoked"))),
    ]
}

/// Configures `home` so that every action follows from a class, and makes a message for each, in the order in which
/// they must be delivered; the Message-ID is the action.
pub fn one_of_each_action(home: &Home) -> Vec<Sample> {
    home.configure(&format!(
        "addresses = [\"{ALICE}\", {{ address = \"dear@x.example\", price = 5 }}]\n[actions]\nunderpaid = \"tag\"\n\
         unverified = \"challenge\"\nunstamped = \"hold\"\ninvalid = \"discard\"\nused = \"reject\""
    ));
    let stranger = Home::new();
    let first = home.issue(ALICE, []);
    let make = |class, message| Sample { class, message };
    vec![
        make("deliver", home.affix(&first, &letter("deliver"))),
        make("tag", home.affix(&home.issue("dear@x.example", []), &letter("tag"))),
        make("challenge", stranger.affix(&foreign(&stranger), &letter("challenge"))),
        make("hold", letter("hold")),
        make("discard", home.affix(&home.issue("carol@z.example", []), &letter("discard"))),
        make("reject", home.affix(&first, &letter("reject"))),
    ]
}

/// Returns a stamp of a vendor that only `stranger` trusts.
fn foreign(stranger: &Home) -> String {
    stranger.vendor("elsewhere.example", "1");
    let key = stranger.key("elsewhere.example", "1");
    let args = ["vendor", "issue", "--to", ALICE, "--key", key.to_str().unwrap()];
    stranger.run(args, b"").exits(0).text().trim().to_owned()
}

/// Lists a serial as revoked in the vendor's directory document.
fn revoke_as_vendor(home: &Home, serial: &str) {
    let path = home.config().with_file_name("vendors").join("stamps.example.json");
    let mut document: serde_json::Value = serde_json::from_slice(&fs::read(&path).unwrap()).unwrap();
    document["revoked"] = serde_json::json!([serial]);
    fs::write(&path, document.to_string()).unwrap();
}

fn from_friend(id: &str) -> Vec<u8> {
    String::from_utf8(letter(id)).unwrap().replace("bob@y.example", "friend@y.example").into_bytes()
}

/// An unstamped message that a trained bogofilter takes for spam.
pub fn spam(id: &str) -> Vec<u8> {
    format!(
        "From: Winner <winner@y.example>\nTo: Alice <{ALICE}>\nDate: Sat, 21 Nov 2026 12:00:00 +0000\n\
         Message-ID: <{id}@y.example>\nSubject: lottery jackpot casino bonus\n\nCasino jackpot lottery bonus! Claim \
         your lottery casino bonus jackpot winnings today, viagra discount casino lottery.\n"
    )
    .into_bytes()
}

/// Returns an unstamped message whose sender wrote the result field, in several spellings.
pub fn letter_with_forged_class(id: &str) -> Vec<u8> {
    let forged = "Digital-Stamp-Class: first-class; reason=paid\ndigital-stamp-class: first-class; reason=paid\n";
    [forged.as_bytes(), &letter(id)].concat()
}

/// The unstamped message that every spam filter must take for spam (GTUBE), of an unknown sender.
pub fn gtube(id: &str) -> Vec<u8> {
    let test = "XJS*C4JDBQADN1.NSBN3*2IDNEN*GTUBE-STANDARD-ANTI-UBE-TEST-EMAIL*C.34X\n";
    [letter(id), test.as_bytes().to_vec()].concat()
}

/// The message as it comes through a mailing list that `rules/rules.toml` lets through.
pub fn from_list(message: &[u8]) -> Vec<u8> {
    [b"List-Id: Talk <talk.lists.example>\n", message].concat()
}

/// Teaches bogofilter what spam is, in `home/.bogofilter`.
fn train(home: &Path) {
    let bogofilter = program("bogofilter", "bogofilter");
    let teach = |how: &str, message: Vec<u8>| -> Run {
        run(Command::new(&bogofilter).arg(how).env("HOME", home).env_remove("BOGOFILTER_DIR"), &message)
    };
    for number in 0..10 {
        teach("-s", spam(&format!("s{number}"))).exits(0);
        teach("-n", letter(&format!("h{number}"))).exits(0);
    }
}
