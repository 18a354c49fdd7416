//! Cost of a message: syncs of the disk, memory, and the time of hostile messages. The bounds for memory are wide,
//! since this runs unoptimised; `benches/compare` measures memory and time closely. Needs strace.

use crate::support::peers::{own_key, used};
use crate::support::programs::comes_to_an_end;
use crate::support::{ALICE, Home, MAILSTAMP, letter, traced};
use std::collections::BTreeMap;
use std::fs;
use std::io::{Read, Write};
use std::process::{Command, Stdio};

/// The calls by which `command` asks the disk to write, on this message.
#[track_caller]
fn syncs(home: &Home, command: &str, message: &[u8]) -> Vec<String> {
    let trace = home.file("trace");
    let mut strace = Command::new("strace");
    strace.args(["-f", "-qq", "-e", "trace=fsync,fdatasync,sync_file_range,sync,syncfs,msync", "-o"]).arg(&trace);
    strace.args([MAILSTAMP, command]).env_clear().env("HOME", home.path()).env("PATH", "/usr/bin:/bin");
    let ran = crate::support::run(&mut strace, message);
    assert_ne!(ran.code, 75, "{}", ran.stderr);
    let text = fs::read_to_string(trace).unwrap();
    // With -f each line begins with the number of the process.
    text.lines().filter_map(|line| line.split_whitespace().nth(1)?.split_once('(')).map(|it| it.0.to_owned()).collect()
}

/// `stamp` with another signature.
fn forged(stamp: &str) -> String {
    let (signed, footer) = stamp.rsplit_once('.').unwrap();
    let (front, back) = signed.split_at(signed.len() - 40);
    let other = if back.starts_with('A') { 'B' } else { 'A' };
    format!("{front}{other}{}.{footer}", &back[1..])
}

#[test]
fn a_message_with_nothing_to_spend_waits_for_no_disk() {
    let home = Home::new();
    home.classify(&home.stamped(&letter("first"))).exits(0);
    let carol = home.issue("carol@x.example", []);
    let ended = home.issue(ALICE, ["--now", "2026-01-01T00:00:00Z", "--days", "7"]);
    let (stamp, used) = (home.issue(ALICE, []), home.issue(ALICE, []));
    home.classify(&home.affix(&used, &letter("one"))).exits(0);
    for (what, message) in [
        ("no stamp", letter("2")),
        ("malformed", [b"Digital-Stamp: v4.public.AAAA\n".to_vec(), letter("3")].concat()),
        ("forged", home.affix(&forged(&stamp), &letter("4"))),
        ("not for me", home.affix(&carol, &letter("5"))),
        ("ended", home.affix(&ended, &letter("6"))),
        ("used", home.affix(&used, &letter("another"))),
    ] {
        for command in ["classify", "filter"] {
            assert_eq!(syncs(&home, command, &message), [""; 0], "{command}: {what}");
        }
    }
}

#[test]
fn a_lone_spend_waits_for_the_disk_twice() {
    let home = Home::new();
    home.classify(&home.stamped(&letter("first"))).exits(0);
    for command in ["classify", "filter"] {
        assert_eq!(syncs(&home, command, &home.stamped(&letter(command))), ["fdatasync"; 2], "{command}");
    }
}

/// How often `classify` makes each call that names a file or uses an open one, on this message. Calls that wait are left
/// out: how often one waits is the scheduler's.
fn file_calls(home: &Home, message: &[u8], verdict: &str) -> BTreeMap<String, usize> {
    let (ran, trace) = traced(home.command().arg("classify"), "%file,%desc", message);
    assert_eq!(ran.text().trim_end(), verdict);
    let mut calls = BTreeMap::new();
    for (call, _) in trace.lines().filter_map(|line| line.split_whitespace().nth(1)?.split_once('(')) {
        if !call.contains("poll") {
            *calls.entry(call.to_owned()).or_default() += 1;
        }
    }
    calls
}

#[test]
fn keys_of_ones_own_cost_no_other_mail_anything() {
    let (plain, keyed, exchanging) = (Home::new(), Home::new(), Home::new());
    [&keyed, &exchanging].into_iter().for_each(|home| own_key(home, ALICE));
    exchanging.configure("addresses = [\"alice@x.example\"]\n[peers]\nenabled = true");
    let homes = [&plain, &keyed, &exchanging];
    homes.iter().for_each(|home| drop(home.classify(&home.stamped(&letter("first"))).exits(0)));
    let unstamped = homes.map(|home| file_calls(home, &letter("1"), "unstamped no-stamp"));
    assert!(unstamped[0].contains_key("openat"), "{unstamped:?}");
    assert_eq!((&unstamped[1], &unstamped[2]), (&unstamped[0], &unstamped[0]));
    let stamped = homes.map(|home| file_calls(home, &home.stamped(&letter("2")), "first-class paid"));
    assert_eq!(stamped[1], stamped[0]);
    // The sender became a contact with the first message. That is read in the open log, which looks once more whether its
    // file is still the same.
    let [without, with] = [&stamped[0], &stamped[2]].map(|calls| {
        let mut rest = calls.clone();
        rest.retain(|call, _| !call.contains("stat") && !["read", "pread64", "lseek"].contains(&call.as_str()));
        (calls.iter().filter(|(call, _)| call.contains("stat")).map(|(_, count)| count).sum::<usize>(), rest)
    });
    assert_eq!(with, (without.0 + 1, without.1));
    // A use of the user's own stamp needs the disk no more often than a vendor's stamp.
    let used = file_calls(&keyed, &used(ALICE, &letter("3")), "first-class peer");
    assert_eq!(used["fdatasync"], stamped[0]["fdatasync"]);
}

/// Returns the peak memory of `filter` on this message, in KiB. It is read while the program waits for its output to be
/// read; by then all else is done. The message must be larger than the buffer of a pipe.
fn peak(home: &Home, message: &[u8]) -> u64 {
    let mut command = home.command();
    command.arg("filter").stdin(Stdio::piped()).stdout(Stdio::piped());
    let mut child = command.spawn().unwrap();
    let (mut input, mut output) = (child.stdin.take().unwrap(), child.stdout.take().unwrap());
    std::thread::scope(|scope| {
        scope.spawn(move || input.write_all(message).unwrap());
        output.read_exact(&mut [0]).unwrap();
        let status = fs::read_to_string(format!("/proc/{}/status", child.id())).unwrap();
        let rest = std::io::copy(&mut output, &mut std::io::sink()).unwrap();
        assert!(rest >= message.len() as u64);
        assert!(child.wait().unwrap().success());
        let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:")).expect("the program waits");
        line.trim().trim_end_matches(" kB").parse().unwrap()
    })
}

/// A letter of this many bytes with a fresh stamp.
fn large(home: &Home, size: usize) -> Vec<u8> {
    let mut message = home.stamped(&letter("large"));
    message.extend(b"The quick brown fox jumps over the lazy dog.\n".iter().cycle().take(size));
    message
}

#[test]
fn memory_is_bounded_by_the_message() {
    let home = Home::new();
    // What the program itself takes depends on how it was built; benches/compare has that of the one that is installed.
    let least = peak(&home, &large(&home, 200_000));
    let one = peak(&home, &large(&home, 1_000_000)).saturating_sub(least);
    assert!(one <= 3 * 1024, "{one} KiB more for 1 MB");
    let twenty = peak(&home, &large(&home, 20_000_000)).saturating_sub(least);
    assert!(twenty <= 3 * 20_000, "{twenty} KiB more for 20 MB");
}

/// A megabyte of `piece` between `before` and `after`.
fn fill(before: &str, piece: &str, after: &str) -> Vec<u8> {
    [before, &piece.repeat(1_000_000 / piece.len()), after].concat().into_bytes()
}

/// Multiparts, one in the other, whose boundaries are line ends that RFC 2231 spells, and begin at each line of the
/// body.
fn boundaries() -> Vec<u8> {
    let spelled = "%0A--".repeat(13_000);
    let kind = |n: u32| format!("Content-Type: multipart/mixed; boundary*=utf-8''{spelled}x{n}\n\n");
    let level = |n: u32| format!("--{}x{}\n{}", "\n--".repeat(13_000), n - 1, kind(n));
    (kind(0) + &(1..20).map(level).collect::<String>() + &"\n--".repeat(1_700_000)).into_bytes()
}

#[test]
fn hostile_messages_are_judged_right_and_in_bounds() {
    let home = Home::new();
    let multipart = "Content-Type: multipart/mixed; boundary=b\n\n";
    let level = |n: u32| format!("Content-Type: multipart/mixed; boundary=b{n}\n\n--b{n}\n");
    let marks = |field: &str| format!("{field}: {}\n", "=?".repeat(20_000)).repeat(25) + "\n";
    let begin = "-----BEGIN DIGITAL STAMP-----\n";
    let (unstamped, over) = ("unstamped no-stamp", "unverified over-limit");
    for (what, message, verdict) in [
        ("2 million empty parts", [multipart.as_bytes(), &b"--b\n\n".repeat(2_000_000)].concat(), unstamped),
        ("2 million parts", [multipart.as_bytes(), &b"--b\nA: b\nContent-Type: a/b\n".repeat(200_000)].concat(), over),
        ("depth 10,000", (0..10_000).map(level).collect::<String>().into_bytes(), over),
        ("100,000 fields", fill("", "a: bbbbbb\n", "\n"), unstamped),
        ("330,000 fields", fill("", "a:\n", "\n"), unstamped),
        ("marks in From", marks("From").into_bytes(), unstamped),
        ("marks in Subject", marks("Subject").into_bytes(), unstamped),
        ("marks in Content-Type", marks("Content-Type").into_bytes(), unstamped),
        ("marks in stamps", marks("Digital-Stamp").into_bytes(), over),
        ("a line of 1 MB", fill("", "a", ""), unstamped),
        ("stamps without end", fill("", "Digital-Stamp: v4.public.AAAA\n", "\n"), "invalid malformed"),
        ("armour without end", fill("\n", begin, ""), unstamped),
        ("armour without end on one line", fill("\nx", begin.trim_end(), ""), unstamped),
        ("bare stamps on one line", fill("\nx", &format!(" v4.public.{}", "A".repeat(100)), ""), unstamped),
        ("a Subject full of stamps", fill("Subject: ", "v4.public.AAAAAAAAAAAAAAAA ", "\n\n"), unstamped),
        ("a From full of brackets", fill("From: ", "(", "\n\n"), unstamped),
        (
            "ends of armour, and a line of blanks",
            {
                let ends = "-----END DIGITAL STAMP-----".repeat(20_000);
                format!("\n{ends}x{}\n", " ".repeat(500_000)).into_bytes()
            },
            unstamped,
        ),
        ("a boundary of line ends", boundaries(), unstamped),
        ("parameters without end", fill("Content-Type: text/plain", ";a*0=b", "\n\nx"), over),
    ] {
        let run = comes_to_an_end(what, || home.run(["classify", "--exit-zero"], &message));
        assert_eq!(run.text().trim_end(), verdict, "{what}: {}", run.stderr);
        let peak = peak(&home, &message);
        assert!(peak <= 100 * 1024, "{what}: {peak} KiB");
    }
}
