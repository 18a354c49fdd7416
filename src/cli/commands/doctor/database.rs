//! Checks of `mailstamp doctor`: the database that has the used log.

use super::Finding;
use crate::config::Config;
use crate::config::paths::Paths;
use crate::context::used_log;
use crate::store::postgres::ServerStatus;

/// Difference of the clocks above which stamps of one host may look ended on another, in milliseconds.
const CLOCKS: u64 = 10_000;
/// Lag of a standby that is worth a look, in bytes.
const LAG: i64 = 64 << 20;

/// Checks the server, if there is one.
pub(super) fn database(config: &Config, places: &Paths) -> Vec<Finding> {
    let what = "database";
    let Some(shared) = &config.store else { return Vec::new() };
    let log = match used_log::shared_log(shared, config, places, false) {
        Ok(log) => log,
        Err(error) => return vec![Finding::error(what, error.to_string())],
    };
    match log.status() {
        Ok(status) => findings(&status),
        Err(error) => vec![Finding::error(what, error.to_string())],
    }
}

fn findings(status: &ServerStatus) -> Vec<Finding> {
    let what = "database";
    let server = format!("PostgreSQL {} at {}", status.version, status.server);
    let mut findings = vec![if status.in_recovery {
        Finding::error(what, format!("{server} is a standby: add the primary to store.hosts, or promote this one"))
    } else if status.read_only {
        Finding::error(what, format!("{server} is read-only: look for default_transaction_read_only"))
    } else if status.format.is_none() {
        Finding::error(what, format!("{server} has no tables of mailstamp: run mailstamp store init"))
    } else {
        let epoch = status.epoch.map(|epoch| format!(", epoch {epoch}")).unwrap_or_default();
        Finding::ok(what, format!("{server}{epoch}, synchronous_commit = {}", status.synchronous_commit))
    }];
    for (name, is_on) in [("fsync", status.fsync), ("full_page_writes", status.full_page_writes)] {
        if !is_on {
            let text = format!("{name} = off: a power failure loses used stamps, or the whole log; set {name} = on");
            findings.push(Finding::error(what, text));
        }
    }
    findings.push(replication(status));
    let (ahead, ms) = (status.clock_difference_ms, status.clock_difference_ms.unsigned_abs());
    if ms > CLOCKS {
        let side = if ahead > 0 { "ahead of" } else { "behind" };
        let text = format!("its clock is {} s {side} this host's: set both by NTP", ms / 1000);
        findings.push(Finding::warning(what, text));
    }
    findings
}

fn replication(status: &ServerStatus) -> Finding {
    let what = "standby";
    if status.in_recovery {
        return Finding::warning(what, "its standbys are known to the primary alone");
    }
    if status.replicas.is_empty() {
        return match status.synchronous_standby_names.as_str() {
            "" => Finding::warning(what, "none: the log is lost with the server's disk; see mailstamp-store(8)"),
            names => Finding::error(
                what,
                format!(
                    "none is connected, and every spend waits for one (synchronous_standby_names = {names}); start it"
                ),
            ),
        };
    }
    let lag = status.replicas.iter().filter_map(|it| it.lag_bytes).max();
    let count = status.replicas.len();
    let is_synchronous = status.replicas.iter().any(|it| matches!(it.sync_state.as_str(), "sync" | "quorum"));
    let is_seen = status.replicas.iter().any(|it| !it.sync_state.is_empty());
    if lag.is_some_and(|lag| lag > LAG) {
        let text = format!("{} bytes behind: look at the network and the standby's log", lag.unwrap_or_default());
        Finding::warning(what, text)
    } else if !is_seen {
        Finding::ok(what, format!("{count}; grant pg_monitor to the role to see their state"))
    } else if is_synchronous {
        Finding::ok(what, format!("{count}, synchronous"))
    } else {
        let text = "asynchronous: a failover loses the last spends, so those stamps are accepted once more; set \
                    synchronous_standby_names";
        Finding::warning(what, text)
    }
}

#[cfg(test)]
mod tests {
    use super::super::Health;
    use super::*;
    use crate::store::postgres::Replica;

    fn said(status: &ServerStatus) -> String {
        findings(status).iter().map(|it| format!("{:?} {}: {}\n", it.health, it.what, it.text)).collect()
    }

    #[test]
    fn each_trouble_has_its_advice() {
        let replica = |sync: &str, lag| Replica { sync_state: sync.into(), lag_bytes: Some(lag), ..Replica::default() };
        let well = ServerStatus {
            server: "db:5432".into(),
            version: "15.8".into(),
            format: Some(1),
            fsync: true,
            full_page_writes: true,
            synchronous_commit: "on".into(),
            epoch: Some(3),
            replicas: vec![replica("sync", 0)],
            ..ServerStatus::default()
        };
        assert!(findings(&well).iter().all(|it| it.health == Health::Ok), "{}", said(&well));
        let with = |change: fn(&mut ServerStatus)| {
            let mut status = well.clone();
            change(&mut status);
            said(&status)
        };
        for (said, expected) in [
            (with(|it| it.in_recovery = true), "Error database: PostgreSQL 15.8 at db:5432 is a standby: add"),
            (with(|it| it.read_only = true), "Error database: PostgreSQL 15.8 at db:5432 is read-only"),
            (with(|it| it.format = None), "run mailstamp store init"),
            (with(|it| it.fsync = false), "Error database: fsync = off"),
            (with(|it| it.full_page_writes = false), "Error database: full_page_writes = off"),
            (with(|it| it.clock_difference_ms = -90_000), "Warning database: its clock is 90 s behind this host's"),
            (with(|it| it.replicas.clear()), "Warning standby: none"),
            (
                with(|it| {
                    it.replicas.clear();
                    it.synchronous_standby_names = "s".into();
                }),
                "Error standby: none is connected",
            ),
            (with(|it| it.replicas[0].sync_state = "potential".into()), "Warning standby: asynchronous"),
            (with(|it| it.replicas[0].sync_state.clear()), "grant pg_monitor"),
            (with(|it| it.replicas[0].lag_bytes = Some(LAG + 1)), "Warning standby: 67108865 bytes behind"),
        ] {
            assert!(said.contains(expected), "{said}");
        }
    }
}
