//! Logs of both formats: a plain one (format 3), and one whose newest rows are in the journal of a daemon that was
//! killed (format 4). Commands and the daemon read both, and leave a log whose format says what a reader needs. The
//! logs are in `fixtures/state/`, as `README.md` there explains; stamps of some other fixtures are spent in them.

use crate::support::resident::Resident;
use crate::support::{Home, letter, stamped};
use redb::{Database, ReadableDatabase, TableDefinition};
use std::fs;
use std::path::{Path, PathBuf};

/// The format of a log that any version reads, and of one with a journal.
const PLAIN: u32 = 3;
const JOURNALLED: u32 = 4;

fn fixtures() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("fixtures")
}

/// The bytes that a fixture's lines stand for.
fn bytes(name: &str) -> Vec<u8> {
    let mut bytes = Vec::new();
    for line in fs::read_to_string(fixtures().join("state").join(name)).unwrap().lines() {
        let (at, rest) = line.split_once(':').unwrap();
        let (hex, times) = rest.trim().split_once(" *").unwrap_or((rest.trim(), "1"));
        bytes.resize(usize::from_str_radix(at, 16).unwrap(), 0);
        let pairs = (0..hex.len()).step_by(2);
        let part: Vec<u8> = pairs.map(|at| u8::from_str_radix(&hex[at..at + 2], 16).unwrap()).collect();
        bytes.extend(part.repeat(times.parse().unwrap()));
    }
    bytes
}

/// A home that trusts the vendor of the fixtures, with this state.
fn home_with(state: &[(&str, &str)]) -> Home {
    let home = Home::bare();
    home.configure("addresses = [\"alice@x.example\"]");
    let vendors = home.config().with_file_name("vendors");
    fs::create_dir_all(&vendors).unwrap();
    let key = "{\"kid\":\"2026q4\",\"key\":\"k4.public.iojj3XQJ8ZX9UtstPLpdcspnCb8dlBIb83SIAbQPb1w\"}";
    let document = format!("{{\"vendor\":\"stamps.example\",\"keys\":[{key}]}}");
    fs::write(vendors.join("stamps.example.json"), document).unwrap();
    let private: fs::Permissions = std::os::unix::fs::PermissionsExt::from_mode(0o600);
    fs::create_dir_all(home.state()).unwrap();
    for (fixture, file) in state {
        fs::write(home.state().join(file), bytes(fixture)).unwrap();
        fs::set_permissions(home.state().join(file), private.clone()).unwrap();
    }
    home
}

/// All that the two logs know, by the messages of other fixtures.
#[track_caller]
fn is_known(home: &Home) {
    for (message, verdict) in [
        ("first-class/paid_header", "first-class again"),
        ("first-class/paid_body", "first-class again"),
        ("used/used_other-message", "used used"),
        ("first-class/multi-use_second-letter", "first-class multi-use"),
        ("revoked/by-recipient_standing", "revoked by-recipient"),
    ] {
        let message = fs::read(fixtures().join(format!("{message}.eml"))).unwrap();
        let said = home.run(["classify", "--now", "2026-12-01T12:00:00Z"], &message);
        assert_eq!(said.text().trim_end(), verdict, "{}", said.stderr);
    }
}

fn format(home: &Home) -> u32 {
    // A copy, because no other process may have it open.
    let copy = home.file("copy.redb");
    fs::copy(home.state().join("used.redb"), &copy).unwrap();
    let meta: TableDefinition<&str, u32> = TableDefinition::new("meta");
    let database = Database::create(copy).unwrap();
    let tx = database.begin_read().unwrap();
    tx.open_table(meta).unwrap().get("format").unwrap().unwrap().value()
}

const AT_REST: &[(&str, &str)] = &[("plain_used.redb.hex", "used.redb")];
const LEFT: &[(&str, &str)] = &[
    ("killed_used.redb.hex", "used.redb"),
    ("killed_used.redb.journal0.hex", "used.redb.journal0"),
    ("killed_used.redb.journal1.hex", "used.redb.journal1"),
];

/// Promise 8.
#[test]
fn logs_of_both_formats_are_read_by_commands_and_by_the_process_that_stays() {
    for (state, before) in [(AT_REST, PLAIN), (LEFT, JOURNALLED)] {
        let home = home_with(state);
        assert_eq!(format(&home), before);
        is_known(&home);
        assert_eq!(format(&home), PLAIN);
        let home = home_with(state);
        let resident = Resident::of(&home);
        is_known(&home);
        assert_eq!(resident.judged(), 5);
        resident.end();
        assert_eq!(format(&home), PLAIN);
        is_known(&home);
        home.run(["doctor"], b"");
    }
}

/// A version that knows of no journal must refuse a log while rows of it may stand in one, and only then.
#[test]
fn a_log_says_that_it_has_a_journal_for_as_long_as_it_has_one() {
    let home = Home::new();
    let message = |name: &str| stamped(&home.mint(crate::support::ALICE, name), &letter(name));
    home.classify(&message("alone")).exits(0);
    assert_eq!(format(&home), PLAIN);
    let resident = Resident::of(&home);
    home.classify(&message("asked")).exits(0);
    assert_eq!(resident.judged(), 1);
    resident.kill();
    assert_eq!(format(&home), JOURNALLED);
    home.classify(&message("after")).exits(0);
    assert_eq!(format(&home), PLAIN);
    let resident = Resident::of(&home);
    home.classify(&message("asked-again")).exits(0);
    resident.end();
    assert_eq!(format(&home), PLAIN);
    assert!(!home.state().join("used.redb.journal0").exists());
}

/// Without its journal such a log would have forgotten what was answered: it is refused.
#[test]
fn a_log_whose_journal_is_lost_defers_mail() {
    let home = home_with(&LEFT[..2]);
    let message = fs::read(fixtures().join("first-class/paid_header.eml")).unwrap();
    let said = home.run(["classify", "--now", "2026-12-01T12:00:00Z"], &message).exits(75);
    assert!(said.stderr.contains("a journal file is missing"), "{}", said.stderr);
}
