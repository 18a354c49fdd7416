//! Many clients and hostile clients at the daemon's socket. Thousands send nothing, a byte now and then, announced
//! gigabytes or random bytes, or read no answer; and the descriptors run out. The daemon still serves the other
//! clients, and its memory stays small.

use super::Dice;
use crate::support::resident::{PATIENCE, Resident};
use crate::support::{ALICE, Home, letter, stamped};
use mailstamp::ipc::frame::{self, Kind};
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::io::ioctl_fionread;
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use std::io::{Read, Write};
use std::os::unix::net::UnixStream;
use std::process::Command;
use std::time::{Duration, Instant};

/// Most memory that the daemon may use under any load; idle it uses some 20 MiB in a build for tests.
const MEMORY: usize = 300 << 20;

/// The daemon ends a connection whose frame takes longer; a second less, as a margin.
const FRAME: Duration = Duration::from_secs(9);

/// Room for thousands of sockets in this test.
fn raise_limit() {
    let hard = getrlimit(Resource::Nofile).maximum;
    setrlimit(Resource::Nofile, Rlimit { current: hard, maximum: hard }).unwrap();
}

/// Runs other clients until the daemon has judged five messages; each gets the right answer. On a busy machine, a
/// command may judge locally or have to try again: it waits a second for a connection and 7 s for an answer. Returns
/// whether one had to try again: the daemon may still judge its message.
#[track_caller]
fn others_are_served(home: &Home, resident: &Resident, name: &str) -> bool {
    let before = resident.judged();
    let began = Instant::now();
    let mut is_late = false;
    for n in 0.. {
        let message = stamped(&home.mint(ALICE, &format!("{name}{n}")), &letter(&format!("{name}{n}")));
        let said = home.classify(&message);
        if said.code == 75 {
            is_late = true;
        } else {
            said.exits(0).says("first-class paid");
        }
        if n >= 4 && resident.judged() >= before + 5 {
            break;
        }
        assert!(began.elapsed() < PATIENCE, "{name}: not served by the process");
    }
    let memory = resident.memory();
    eprintln!("{name}: {} MiB", memory >> 20);
    assert!(memory < MEMORY, "{name}: {memory} bytes");
    is_late
}

fn crowd(resident: &Resident, count: usize) -> Vec<UnixStream> {
    (0..count).map(|_| resident.connect().expect("it listens")).collect()
}

#[test]
fn two_thousand_who_say_nothing_keep_nobody_out() {
    raise_limit();
    let home = Home::new();
    let resident = Resident::of(&home);
    others_are_served(&home, &resident, "alone");
    let idle = crowd(&resident, 2_000);
    others_are_served(&home, &resident, "idle");
    drop(idle);
    others_are_served(&home, &resident, "after");
}

/// Threat 27.
#[test]
fn hundreds_who_send_a_byte_now_and_then_keep_nobody_out() {
    raise_limit();
    let home = Home::new();
    let resident = Resident::of(&home);
    let mut slow = crowd(&resident, 400);
    let bytes = frame::begin(Kind::Judge, b"{}", 1_000).unwrap();
    let mut drip = |times: usize| {
        for byte in &bytes[..times] {
            slow.iter_mut().for_each(|stream| drop(stream.write_all(&[*byte])));
            std::thread::sleep(Duration::from_millis(200));
        }
    };
    drip(3);
    others_are_served(&home, &resident, "drip");
    drip(6);
    others_are_served(&home, &resident, "more");
}

#[test]
fn what_is_no_question_is_shown_the_door_and_takes_no_memory() {
    let home = Home::new();
    let resident = Resident::of(&home);
    let mut dice = Dice(9);
    let huge = |kind: Kind| [&frame::begin(kind, b"{}", 0).unwrap()[..8], &[0xff; 4], b"{}"].concat();
    let mut sent: Vec<Vec<u8>> = vec![huge(Kind::Judge), huge(Kind::Status), b"GET / HTTP/1.1\r\n\r\n".to_vec()];
    sent.extend((0..200).map(|_| (0..40).map(|_| dice.below(256).to_le_bytes()[0]).collect()));
    for bytes in &sent {
        let mut stream = resident.connect().unwrap();
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        stream.write_all(bytes).unwrap();
        // It closes the connection, without an answer or with the one that says that this kind is unknown.
        let mut answer = Vec::new();
        let _ = stream.read_to_end(&mut answer);
        assert!(answer.is_empty() || answer.starts_with(b"MS"), "{answer:?}");
    }
    // The longest message that may be announced, from many at once: only received bytes take memory.
    let announced = frame::begin(Kind::Judge, b"{}", 8 << 20).unwrap();
    let mut crowd = crowd(&resident, 200);
    // One that is ended for another is no failure.
    crowd.iter_mut().for_each(|stream| drop(stream.write_all(&announced)));
    others_are_served(&home, &resident, "announced");
}

/// Threat 27.
#[test]
fn those_who_send_the_longest_messages_share_what_memory_there_is() {
    let home = Home::new();
    let resident = Resident::of(&home);
    let mut is_late = others_are_served(&home, &resident, "first");
    let before = resident.memory();
    // All but the last byte, so that the process has to keep what came. Eight of them have 64 MiB.
    let longest = 8 << 20;
    let mut bytes = frame::begin(Kind::Judge, b"{}", longest).unwrap();
    bytes.resize(bytes.len() + longest - 1, b'x');
    let large = |name: &str| {
        let body = "The quick brown fox jumps over the lazy dog.\n".repeat(100_000);
        stamped(&home.mint(ALICE, name), &[&letter(name)[..], body.as_bytes()].concat())
    };
    let (large, other) = (large("large"), large("other"));
    for attempt in 0.. {
        assert!(attempt < 100, "the machine is too slow to see it");
        let began = Instant::now();
        let mut crowd = crowd(&resident, 12);
        let ended = crowd.iter_mut().filter_map(|stream| stream.write_all(&bytes).err()).count();
        let grown = resident.memory().saturating_sub(before);
        // A large message is judged locally by its command, and gets the same class.
        let judged = resident.judged();
        home.classify(&large).exits(0);
        let judged_there = resident.judged() - judged;
        // The daemon still judges small messages.
        let soon = began.elapsed() < FRAME && !is_late;
        is_late = others_are_served(&home, &resident, &format!("beside{attempt}"));
        if soon {
            eprintln!("{ended} of 12 were ended, {} MiB more", grown >> 20);
            assert_eq!((ended, judged_there), (4, 0));
            // The allocator keeps some shorter buffers as well.
            assert!((20 << 20..200 << 20).contains(&grown), "{grown} bytes more");
            break;
        }
    }
    // These clients are gone, and their memory is free.
    let (judged, began) = (resident.judged(), Instant::now());
    while resident.judged() == judged {
        home.classify(&other).exits(0);
        assert!(began.elapsed() < PATIENCE, "the memory does not come back");
    }
}

/// Asks and reads no answer until the daemon ends the connection. Returns the bytes that were left unread.
fn ask_without_reading(mut stream: UnixStream) -> u64 {
    let question = frame::begin(Kind::UnknownRequest, b"{}", 0).unwrap();
    let ended = || {
        let mut polled = [PollFd::new(&stream, PollFlags::IN)];
        poll(&mut polled, Some(&Timespec::default())).unwrap();
        polled[0].revents().intersects(PollFlags::HUP | PollFlags::ERR)
    };
    let unread = || ioctl_fionread(&stream).unwrap();
    let began = Instant::now();
    loop {
        let before = unread();
        if (&stream).write_all(&question).is_err() {
            break;
        }
        while unread() == before && !ended() {
            assert!(began.elapsed() < PATIENCE, "after {before} unread bytes it waits for ever");
            std::thread::sleep(Duration::from_millis(1));
        }
        if ended() {
            break;
        }
    }
    let mut answers = Vec::new();
    // It closes with a question unread, which is an error for this end.
    let _ = stream.read_to_end(&mut answers);
    answers.len() as u64
}

#[test]
fn clients_that_read_no_answer_are_disconnected() {
    let home = Home::new();
    home.configure(&format!("addresses = [\"{ALICE}\"]\n[serve]\nconnections = 16"));
    let resident = Resident::of(&home);
    // As many as one user may have. Each fills the buffer of its socket, so that the daemon cannot send.
    let deaf: Vec<_> =
        crowd(&resident, 4).into_iter().map(|stream| std::thread::spawn(|| ask_without_reading(stream))).collect();
    others_are_served(&home, &resident, "deaf");
    for client in deaf {
        let unread = client.join().unwrap();
        assert!(unread > 1_000, "ended after {unread} bytes");
    }
    others_are_served(&home, &resident, "after");
}

#[test]
fn a_process_that_has_run_out_of_descriptors_serves_who_comes_next() {
    raise_limit();
    let home = Home::new();
    let mut limited = Command::new("prlimit");
    limited.arg("--nofile=64").arg(crate::support::MAILSTAMP).env_clear().env("HOME", home.path());
    let resident = Resident::begin(&mut limited, &home);
    let idle = crowd(&resident, 300);
    others_are_served(&home, &resident, "limited");
    // The log is lent and opened again, and the keys are read again.
    let message = stamped(&home.mint(ALICE, "g"), &letter("g"));
    home.run(["grant"], &message).exits(0);
    home.vendor("other.example", "2026q4");
    others_are_served(&home, &resident, "reopened");
    drop(idle);
    resident.end();
}
