//! A server that was restored from a backup knows less. Every host that saw more refuses it until the administrator
//! accepts it.

use super::{Site, is_known, options};
use crate::ask;
use crate::support::postgres::{Cluster, Setup};
use mailstamp::store::postgres::Postgres;
use mailstamp::store::{StoreError, UsedLog};
use mailstamp::verdict::spend::SpendResult;

/// The same host, at a server that took the other's place.
fn moved(site: &Site, cluster: &Cluster, name: &str) -> Postgres {
    Postgres::new(options(cluster, &site.database, site.folder.path().join(name)))
}

/// A host spends after the backup, of which an epoch may tell; then the copy takes the server's place.
fn replaced(site: &Site, copy: &Cluster, log: Postgres, raises_epoch: bool) {
    for serial in 100..120 {
        assert_eq!(log.spend(&ask(serial, 1)).unwrap(), SpendResult::Fresh);
    }
    if raises_epoch {
        log.raise_epoch().unwrap();
    }
    drop(log);
    site.cluster.shut_down();
    copy.start();
}

#[track_caller]
fn is_refused_until_accepted(log: &Postgres) {
    for ask in [ask(1, 1), ask(1, 2), ask(100, 1), ask(100, 2), ask(200, 1)] {
        let answer = log.spend(&ask);
        assert!(matches!(answer, Err(StoreError::Restored { .. })), "{answer:?}");
        let text = answer.unwrap_err().to_string();
        assert!(text.contains("mailstamp store accept-restored"), "{text}");
    }
    log.accept_restored().unwrap();
    is_known(log, 1, 1);
}

#[test]
fn a_base_backup_in_its_place_is_refused_until_accepted() {
    let site = Site::new();
    assert_eq!(site.host("mx1").spend(&ask(1, 1)).unwrap(), SpendResult::Fresh);
    let copy = site.cluster.backup(Setup { durable: true, ..Setup::default() });
    replaced(&site, &copy, site.host("mx1"), true);
    // Another process of the host, and one that was there before.
    is_refused_until_accepted(&moved(&site, &copy, "mx1"));
    // What was spent after the backup is fresh once more: the manual says so.
    let log = moved(&site, &copy, "mx1");
    assert_eq!(log.spend(&ask(100, 2)).unwrap(), SpendResult::Fresh);
    // A host that never saw the old server has nothing to compare.
    is_known(&moved(&site, &copy, "new"), 1, 1);
}

/// A restored server goes on writing, so its WAL soon reaches further than the old one's did. The epoch tells.
#[test]
fn a_backup_that_has_overtaken_the_server_is_refused_too() {
    let site = Site::new();
    assert_eq!(site.host("mx1").spend(&ask(1, 1)).unwrap(), SpendResult::Fresh);
    let copy = site.cluster.backup(Setup { durable: true, ..Setup::default() });
    replaced(&site, &copy, site.host("mx1"), true);
    copy.sql("postgres", "create table filler as select generate_series(1, 200000) as number");
    is_refused_until_accepted(&moved(&site, &copy, "mx1"));
}

/// Without another epoch only the WAL's end tells, and the restored server's soon passes it. A refusal stays.
#[test]
fn a_server_that_was_refused_stays_so_until_accepted() {
    let site = Site::new();
    let log = site.host("mx1");
    assert_eq!(log.spend(&ask(1, 1)).unwrap(), SpendResult::Fresh);
    let copy = site.cluster.backup(Setup { durable: true, ..Setup::default() });
    replaced(&site, &copy, log, false);
    let answer = moved(&site, &copy, "mx1").spend(&ask(100, 2));
    assert!(matches!(answer, Err(StoreError::Restored { .. })), "{answer:?}");
    copy.sql("postgres", "create table filler as select generate_series(1, 200000) as number");
    is_refused_until_accepted(&moved(&site, &copy, "mx1"));
}

/// A host that only looks serials up sees how far the WAL is.
#[test]
fn a_host_that_wrote_nothing_after_the_backup_refuses_too() {
    let site = Site::new();
    let log = site.host("mx1");
    assert_eq!(log.spend(&ask(1, 1)).unwrap(), SpendResult::Fresh);
    is_known(&site.host("mx2"), 1, 1);
    let copy = site.cluster.backup(Setup { durable: true, ..Setup::default() });
    site.cluster.sql("postgres", "create table filler as select generate_series(1, 20000) as number");
    is_known(&site.host("mx2"), 1, 1);
    replaced(&site, &copy, log, false);
    is_refused_until_accepted(&moved(&site, &copy, "mx2"));
}

/// What is committed after an administrator accepted a server that was well counts as before.
#[test]
fn accepting_a_server_that_is_well_forgets_nothing_later() {
    let site = Site::new();
    let log = site.host("mx1");
    assert_eq!(log.spend(&ask(1, 1)).unwrap(), SpendResult::Fresh);
    site.host("mx1").accept_restored().unwrap();
    let copy = site.cluster.backup(Setup { durable: true, ..Setup::default() });
    replaced(&site, &copy, log, false);
    is_refused_until_accepted(&moved(&site, &copy, "mx1"));
}

/// A dump in the same cluster leaves its identifier, timeline and WAL as they are.
#[test]
fn tables_that_were_made_anew_are_refused_until_accepted() {
    let site = Site::shared();
    let log = site.host("mx1");
    assert_eq!(log.spend(&ask(1, 1)).unwrap(), SpendResult::Fresh);
    site.cluster.sql(&site.database, "drop schema mailstamp cascade");
    site.host("new").init().unwrap();
    // On the connection that was open, and on another.
    for _ in 0..2 {
        let answer = log.spend(&ask(1, 2));
        assert!(matches!(answer, Err(StoreError::Restored { .. })), "{answer:?}");
    }
    log.accept_restored().unwrap();
    assert_eq!(log.spend(&ask(2, 1)).unwrap(), SpendResult::Fresh);
}

#[test]
fn another_cluster_in_its_place_is_refused_until_accepted() {
    let (site, other) = (Site::new(), Site::with(Setup::default()));
    assert_eq!(site.host("mx1").spend(&ask(1, 1)).unwrap(), SpendResult::Fresh);
    assert_eq!(other.host("mx2").spend(&ask(1, 1)).unwrap(), SpendResult::Fresh);
    other.cluster.sql("postgres", &format!("alter database {} rename to {}", other.database, site.database));
    is_refused_until_accepted(&moved(&site, &other.cluster, "mx1"));
}

/// The identifier is the same, the timeline a later one, and the rows are fewer.
#[test]
fn a_restore_to_a_point_in_time_is_refused_until_accepted() {
    let archive = tempfile::tempdir().unwrap();
    crate::support::programs::chmod(archive.path(), 0o777);
    let folder = archive.path().display();
    let command = format!("archive_command = 'cp %p {folder}/%f'");
    let restore = format!("restore_command = 'cp {folder}/%f %p'");
    let settings = ["archive_mode = on", command.as_str()];
    let site = Site::with(Setup { durable: true, settings: &settings, ..Setup::default() });
    assert_eq!(site.host("mx1").spend(&ask(1, 1)).unwrap(), SpendResult::Fresh);
    let settings =
        [restore.as_str(), "recovery_target_name = 'here'", "recovery_target_action = promote", "archive_mode = off"];
    let copy = site.cluster.backup(Setup { durable: true, settings: &settings, ..Setup::default() });
    site.cluster.sql("postgres", "select pg_create_restore_point('here')");
    std::fs::write(copy.data().join("recovery.signal"), "").unwrap();
    replaced(&site, &copy, site.host("mx1"), true);
    let ended = || (copy.sql("postgres", "select pg_is_in_recovery()") == "f").then_some(());
    crate::support::programs::eventually("the recovery ends", ended);
    is_refused_until_accepted(&moved(&site, &copy, "mx1"));
}
