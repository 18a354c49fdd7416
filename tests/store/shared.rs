//! Logs in PostgreSQL for the contract, in one database of a server that does not sync; each log is a space of its own.
//! Also what holds for this store alone, where no fault is needed to show it.

use crate::support::postgres::{Cluster, ROLE, Setup, read_file};
use crate::{DAY, NOW, ask, rows};
use mailstamp::database::{Host, SynchronousCommit};
use mailstamp::grant::StampStatus;
use mailstamp::store::memory::Memory;
use mailstamp::store::postgres::{InitOutcome, Options, Postgres};
use mailstamp::store::redb::{self, Redb};
use mailstamp::store::{ExportRecord, GRACE, GrantStore, Imported, PeerStore, Purged, Store, StoreError, UsedLog};
use mailstamp::time::UnixTime;
use mailstamp::verdict::spend::{SpendRequest, SpendResult};
use std::path::PathBuf;
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Barrier, OnceLock};
use std::thread;
use std::time::{Duration, Instant};
use tempfile::TempDir;

/// Makes an empty log.
pub fn log() -> Postgres {
    with_grace(GRACE)
}

/// Makes an empty log that keeps rows for `grace` seconds after their bucket's end.
pub fn with_grace(grace: i64) -> Postgres {
    let log = Postgres::new(Options { grace, ..options() });
    log.init().unwrap();
    log
}

/// Makes an empty log in a database of its own.
pub fn in_own_database() -> Postgres {
    let log = Postgres::new(Options { database: Cluster::shared().database(), ..options() });
    log.init().unwrap();
    log
}

/// Opens the same log at another host.
pub fn again(log: &Postgres) -> Postgres {
    static NUMBER: AtomicU32 = AtomicU32::new(0);
    let options = log.options();
    let host = format!("{} {}", options.memory.display(), NUMBER.fetch_add(1, Ordering::Relaxed));
    Postgres::new(Options { memory: host.into(), ..options.clone() })
}

/// The options of a log that is not there yet.
fn options() -> Options {
    static DATABASE: OnceLock<(String, TempDir)> = OnceLock::new();
    static NUMBER: AtomicU32 = AtomicU32::new(0);
    let cluster = Cluster::shared();
    let (database, folder) = DATABASE.get_or_init(|| (cluster.database(), tempfile::tempdir().unwrap()));
    let space = format!("log {}", NUMBER.fetch_add(1, Ordering::Relaxed));
    let memory = folder.path().join(&space);
    of(database.clone(), space, memory)
}

fn of(database: String, space: String, memory: PathBuf) -> Options {
    let cluster = Cluster::shared();
    Options {
        hosts: vec![Host::Unix { folder: cluster.host().into(), port: cluster.port() }],
        database,
        user: ROLE.to_owned(),
        password_file: Some(cluster.password_file()),
        tls: None,
        read_file,
        timeout: Duration::from_secs(60),
        connections: 4,
        space,
        synchronous_commit: SynchronousCommit::On,
        grace: GRACE,
        follow_failover: false,
        purge_by_server_clock: false,
        memory,
        remembers: true,
    }
}

/// The other stores keep the end in the key, and take such a serial for two.
#[test]
fn a_serial_that_was_signed_with_two_ends_is_one_stamp() {
    let log = log();
    let later = |message| SpendRequest { expires: Some(NOW.plus(60 * DAY)), ..ask(1, message) };
    assert_eq!(log.spend(&ask(1, 1)).unwrap(), SpendResult::Fresh);
    assert_eq!(log.spend(&later(2)).unwrap(), SpendResult::DoubleSpend { first_seen: NOW });
    assert_eq!(log.spend(&later(1)).unwrap(), SpendResult::Redelivery { first_seen: NOW, times: 1 });
    assert_eq!(
        log.spend(&SpendRequest { expires: None, ..ask(1, 2) }).unwrap(),
        SpendResult::DoubleSpend { first_seen: NOW }
    );
    // Both of another store become one: the earlier use, until the later end.
    let (memory, other) = (Memory::new(), crate::shared::log());
    memory.spend(&SpendRequest { now: NOW.plus(5), ..later(2) }).unwrap();
    memory.spend(&ask(1, 1)).unwrap();
    assert_eq!(other.import(&mut rows(&memory).into_iter()).unwrap(), Imported { taken: 2, known: 0 });
    let ExportRecord::Used { hour, first_seen, .. } = rows(&other)[0] else { panic!() };
    assert_eq!((i64::from(hour), i64::from(first_seen)), ((NOW.0 + 60 * DAY) / 3_600, NOW.0));
    assert_eq!(other.import(&mut rows(&memory).into_iter()).unwrap(), Imported { taken: 0, known: 2 });
}

/// A host whose clock is ahead must not purge what the others know.
#[test]
fn what_has_not_ended_by_the_servers_clock_is_never_purged() {
    let [ended, later] = [4_000_000_000, 4_300_000_000].map(|end| Some(UnixTime(end)));
    let ahead = UnixTime(4_200_000_000);
    for purge_by_server_clock in [true, false] {
        let log = log();
        let host = Postgres::new(Options { purge_by_server_clock, ..log.options().clone() });
        let spend = |serial, message, expires| SpendRequest { expires, now: ahead, ..ask(serial, message) };
        assert_eq!(log.spend(&SpendRequest { expires: ended, ..ask(1, 1) }).unwrap(), SpendResult::Fresh);
        assert_eq!(host.spend(&spend(2, 1, later)).unwrap(), SpendResult::Fresh);
        assert_eq!(host.spend(&spend(3, 1, later)).unwrap(), SpendResult::Fresh);
        host.purge(ahead, GRACE, 1_000).unwrap();
        let again = log.spend(&SpendRequest { expires: ended, ..ask(1, 2) });
        match purge_by_server_clock {
            true => assert_eq!(again.unwrap(), SpendResult::DoubleSpend { first_seen: NOW }),
            false => assert!(matches!(again, Err(StoreError::ClockBehind { .. })), "{again:?}"),
        }
    }
}

#[test]
fn an_export_goes_to_disk_and_back_unchanged() {
    let folder = tempfile::tempdir().unwrap();
    let disk = Redb::new(folder.path().join("log"), redb::Options::default());
    for store in [&disk as &dyn Store, &log()] {
        fill(store);
    }
    let (there, back) = (log(), Redb::new(folder.path().join("back"), redb::Options::default()));
    let all = rows(&disk);
    there.import(&mut all.clone().into_iter()).unwrap();
    assert_eq!(rows(&there), all);
    back.import(&mut rows(&there).into_iter()).unwrap();
    assert_eq!(rows(&back), all);
}

/// Rows of every kind.
fn fill(store: &dyn Store) {
    use mailstamp::message::address::Address;
    use mailstamp::store::Sent;
    use mailstamp::verdict::owner::Owner;
    store.spend(&SpendRequest { expires: Some(NOW), ..ask(0, 1) }).unwrap();
    store.purge(NOW.plus(DAY), 0, 10).unwrap();
    for serial in 1..2_500 {
        let owner = if serial % 3 == 0 { Owner::named("alice") } else { Owner::default() };
        let expires = (serial % 7 != 0).then(|| NOW.plus(i64::from(serial) * 3_600));
        let record = SpendRequest { owner, expires, ..ask(serial, (serial % 250) as u8) };
        if serial < 60 {
            store.spend(&record).unwrap();
        }
    }
    for serial in 1..5 {
        let revoked = StampStatus { revoked: Some(7), ..StampStatus::default() };
        store.update_status("stamps.example", &ask(serial, 1).serial, &mut |_| revoked.clone()).unwrap();
    }
    for owner in [Owner::default(), Owner::named("alice")] {
        let recipients = vec![Address::parse("joe@x.example").unwrap(), Address::parse("ann@y.example").unwrap()];
        store.learn(&[Sent { owner, recipients, message_id: Some("<1@x>".into()), time: NOW, now: NOW }]).unwrap();
    }
    store.remove(Some(Owner::default()), &Address::parse("joe@x.example").unwrap()).unwrap();
    store.reserve_reply(&crate::replies::reply(1, 0)).unwrap();
}

#[test]
fn spaces_of_one_database_are_separate_logs() {
    let (one, other) = (log(), log());
    assert_eq!(one.spend(&ask(1, 1)).unwrap(), SpendResult::Fresh);
    assert_eq!(other.spend(&ask(1, 2)).unwrap(), SpendResult::Fresh);
    one.purge(NOW.plus(400 * DAY), 0, 10).unwrap();
    assert_eq!((one.summary().unwrap().used, other.summary().unwrap().used), (0, 1));
    assert_eq!(other.summary().unwrap().cleared, None);
}

#[test]
fn the_schema_is_made_once_and_a_later_one_is_refused() {
    let cluster = Cluster::shared();
    let folder = tempfile::tempdir().unwrap();
    let database = cluster.database();
    let log = Postgres::new(of(database.clone(), "log".into(), folder.path().join("memory")));
    let refused = log.spend(&ask(1, 1)).unwrap_err();
    assert!(refused.to_string().contains("run mailstamp store init"), "{refused}");
    assert_eq!(log.status().unwrap().format, None);
    assert_eq!(log.init().unwrap(), InitOutcome::Created);
    assert_eq!(log.init().unwrap(), InitOutcome::Unchanged);
    assert_eq!(log.spend(&ask(1, 1)).unwrap(), SpendResult::Fresh);
    let other = Postgres::new(of(database.clone(), "typo".into(), folder.path().join("memory")));
    let refused = other.spend(&ask(1, 1)).unwrap_err();
    assert!(refused.to_string().contains("[store] space"), "{refused}");
    cluster.sql(&database, "update mailstamp.meta set format = format + 1");
    let fresh = || Postgres::new(of(database.clone(), "log".into(), folder.path().join("memory")));
    for error in [fresh().spend(&ask(1, 1)).unwrap_err(), fresh().init().unwrap_err()] {
        assert!(matches!(error, StoreError::Version { found: 3, known: 2, .. }), "{error}");
    }
    // A schema of an earlier program, which `init` would migrate.
    cluster.sql(&database, "update mailstamp.meta set format = 0");
    let refused = fresh().spend(&ask(1, 1)).unwrap_err();
    assert!(refused.to_string().contains("run mailstamp store init"), "{refused}");
    let status = log.status().unwrap();
    assert_eq!((status.format, status.in_recovery, status.synchronous_commit.as_str()), (Some(0), false, "on"));
}

/// Format 1 had no records of correspondents, and a function that spent without counters.
#[test]
fn a_schema_of_the_first_format_is_migrated_with_its_rows() {
    let cluster = Cluster::shared();
    let folder = tempfile::tempdir().unwrap();
    let database = cluster.database();
    let open = || Postgres::new(of(database.clone(), "log".into(), folder.path().join("memory")));
    assert_eq!(open().init().unwrap(), InitOutcome::Created);
    assert_eq!(open().spend(&ask(1, 1)).unwrap(), SpendResult::Fresh);
    cluster.sql(
        &database,
        &format!(
            "set role {ROLE}; drop table mailstamp.peer; drop function mailstamp.spend;
             create function mailstamp.spend(int, bytea[], bigint[], bytea[], bytea[], bigint[], text[], boolean[])
                 returns int language sql as 'select 1';
             update mailstamp.meta set format = 1"
        ),
    );
    let refused = open().spend(&ask(2, 2)).unwrap_err();
    assert!(refused.to_string().contains("run mailstamp store init"), "{refused}");
    assert_eq!(open().init().unwrap(), InitOutcome::Migrated { from: 1 });
    assert!(matches!(open().spend(&ask(1, 1)).unwrap(), SpendResult::Redelivery { .. }));
    assert_eq!(open().spend(&ask(2, 2)).unwrap(), SpendResult::Fresh);
    assert_eq!(open().peer_count().unwrap(), 0);
    assert_eq!(open().init().unwrap(), InitOutcome::Unchanged);
}

/// The space stands in a statement, before the setting that says what a backslash in a literal is.
#[test]
fn a_space_of_any_name_is_that_space() {
    let cluster = Cluster::shared();
    let database = cluster.database();
    cluster.sql("postgres", &format!("alter role {ROLE} in database {database} set standard_conforming_strings = off"));
    let folder = tempfile::tempdir().unwrap();
    for (number, space) in ["a\\", "a\\' or true --", "''", "\\'"].into_iter().enumerate() {
        let log = Postgres::new(of(database.clone(), space.into(), folder.path().join(number.to_string())));
        assert_eq!(log.init().unwrap(), InitOutcome::Created);
        assert_eq!(log.spend(&ask(1, 1)).unwrap(), SpendResult::Fresh, "{space}");
    }
}

#[test]
fn a_glance_counts_a_small_log_and_estimates_a_large_one() {
    let log = in_own_database();
    (0..3).for_each(|serial| assert_eq!(log.spend(&ask(serial, 1)).unwrap(), SpendResult::Fresh));
    assert_eq!(log.glance(NOW).unwrap().used, 3);
    let fill = format!(
        "insert into mailstamp.used select s.id, sha256(n::text::bytea), 1000, 1, 0, '\\x{}', null
         from mailstamp.space s, generate_series(1, 50000) n; analyze mailstamp.used",
        "ab".repeat(16)
    );
    Cluster::shared().sql(&log.options().database, &fill);
    let glance = log.glance(NOW).unwrap();
    assert!((40_000..=60_000).contains(&glance.used) && glance.bytes > 5_000_000, "{glance:?}");
}

#[test]
fn threads_of_one_process_share_batches_and_each_has_its_own_answer() {
    let log = log();
    std::thread::scope(|scope| {
        let spend = |thread: u32| {
            let log = &log;
            move || (0..40).for_each(|n| assert_eq!(log.spend(&ask(thread * 100 + n, 1)).unwrap(), SpendResult::Fresh))
        };
        let threads: Vec<_> = (0..32).map(|thread| scope.spawn(spend(thread))).collect();
        threads.into_iter().for_each(|thread| thread.join().unwrap());
    });
    assert_eq!(log.summary().unwrap().used, 32 * 40);
}

/// Of stamps that are spent at once, one has a status that is no JSON, and the server refuses the row of another.
#[test]
fn one_bad_row_does_not_fail_the_others_of_its_batch() {
    let log = in_own_database();
    let cluster = Cluster::shared();
    let options = log.options();
    for serial in [0, 1] {
        let revoked = StampStatus { revoked: Some(7), ..StampStatus::default() };
        log.update_status("stamps.example", &ask(serial, 1).serial, &mut |_| revoked.clone()).unwrap();
    }
    // The table says which stamps they are.
    let refuse = "do $$ begin execute format('alter table mailstamp.used add check (stamp <> %L)',
        (select stamp from mailstamp.standing where serial = 'serial-1')); end $$;
        delete from mailstamp.standing where serial = 'serial-1'; update mailstamp.standing set standing = 'x'";
    cluster.sql(&options.database, refuse);
    let barrier = Barrier::new(32);
    let answers: Vec<_> = thread::scope(|scope| {
        let spend = |serial| {
            let (log, barrier) = (&log, &barrier);
            move || {
                barrier.wait();
                log.spend(&ask(serial, 1))
            }
        };
        let threads: Vec<_> = (0..32).map(|serial| scope.spawn(spend(serial))).collect();
        threads.into_iter().map(|thread| thread.join().unwrap()).collect()
    });
    for (serial, answer) in answers.into_iter().enumerate() {
        match serial {
            0 | 1 => assert!(matches!(answer, Err(StoreError::Refused { .. })), "{answer:?}"),
            _ => assert_eq!(answer.unwrap(), SpendResult::Fresh, "{serial}"),
        }
    }
}

/// Spends pass while many rows are purged. In the soak tests a million, of a server that syncs, and no spend waits for
/// the lock of a purge for 10 ms: the server logs those that do.
#[test]
fn spends_pass_while_rows_are_purged() {
    let soak = crate::support::is_soak();
    let settings = ["log_lock_waits = on", "deadlock_timeout = 10ms", "max_wal_size = 4GB"];
    let cluster = Cluster::new(Setup { durable: soak, settings: &settings, ..Setup::default() });
    let folder = tempfile::tempdir().unwrap();
    let host = Host::Unix { folder: cluster.host().into(), port: cluster.port() };
    let options = of(cluster.database(), "log".into(), folder.path().join("memory"));
    let log = Postgres::new(Options { hosts: vec![host], ..options });
    log.init().unwrap();
    let rows = if soak { 1_000_000 } else { 20_000 };
    let fill = format!(
        "insert into mailstamp.used select s.id, sha256(n::text::bytea), 1000 + n / 2000, 1, 0, '\\x{}', null
         from mailstamp.space s, generate_series(1, {rows}) n",
        "ab".repeat(16)
    );
    cluster.sql(&log.options().database, &fill);
    let spend = |serial| {
        let began = Instant::now();
        let it = SpendRequest { purge_until: None, ..ask(serial, 1) };
        assert_eq!(log.spend(&it).unwrap(), SpendResult::Fresh);
        began.elapsed()
    };
    let alone: Vec<Duration> = (0..500).map(spend).collect();
    let (purged, beside) = thread::scope(|scope| {
        let purge = scope.spawn(|| {
            let began = Instant::now();
            (log.purge(NOW, 0, usize::MAX).unwrap(), began.elapsed())
        });
        let mut times = Vec::new();
        loop {
            times.push(spend(1_000 + times.len() as u32));
            if purge.is_finished() {
                break;
            }
        }
        (purge.join().unwrap(), times)
    });
    assert_eq!(purged.0, Purged { removed: rows, left: false });
    let slowest = |times: &[Duration]| times.iter().copied().max().unwrap_or_default();
    println!("{rows} rows in {:?}, spends alone {:?}", purged.1, slowest(&alone));
    println!("{} spends beside, slowest {:?}", beside.len(), slowest(&beside));
    let log = std::fs::read_to_string(cluster.data().with_file_name("log")).unwrap();
    let waits: Vec<&str> = log.lines().filter(|line| line.contains("on advisory lock")).collect();
    assert!(!soak || waits.is_empty(), "{waits:?}");
}
