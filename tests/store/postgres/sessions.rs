//! What a session depends on: secrets that are renewed while the store is open, a client that stops in a transaction, and
//! tables that another program made.

use super::{Site, loopback};
use crate::support::postgres::{Authority, ROLE, Setup};
use crate::support::programs::eventually;
use crate::{NOW, ask};
use mailstamp::database::{Host, Tls};
use mailstamp::store::postgres::{Options, Postgres};
use mailstamp::store::{ContactStore, GrantStore, ReplyLog, Store, StoreError, UsedLog};
use mailstamp::verdict::spend::SpendResult;
use std::fs;
use std::ops::ControlFlow;

/// Ends all sessions of the database, so that the next request connects.
fn end_sessions(site: &Site) {
    let end = "select pg_terminate_backend(pid, 60000) from pg_stat_activity where usename = 'mailstamp'";
    site.cluster.sql("postgres", end);
}

/// Asks until an answer is no broken connection: a session that was ended is noticed by its next request.
fn answer(log: &Postgres) -> Result<SpendResult, StoreError> {
    eventually("an answer", || match log.would_spend(&ask(1, 1)) {
        Err(StoreError::Unreachable { what, .. }) if !what.contains("certificate") => None,
        answer => Some(answer),
    })
}

#[test]
fn a_new_password_needs_no_restart() {
    let site = Site::with(Setup::default());
    let file = site.folder.path().join("password");
    fs::copy(site.cluster.password_file(), &file).unwrap();
    let hosts = vec![loopback(site.cluster.port())];
    let log = Postgres::new(Options { hosts, password_file: Some(file.clone()), ..site.options("mx1") });
    assert_eq!(log.spend(&ask(1, 1)).unwrap(), SpendResult::Fresh);
    site.cluster.sql("postgres", &format!("alter role {ROLE} password 'new'"));
    // An open session goes on.
    answer(&log).unwrap();
    end_sessions(&site);
    let error = answer(&log).unwrap_err().to_string();
    assert!(error.contains("the password is wrong"), "{error}");
    fs::write(&file, "new\n").unwrap();
    assert!(matches!(answer(&log), Ok(SpendResult::Redelivery { .. })));
}

#[test]
fn a_new_authority_needs_no_restart_and_no_second_try() {
    let (old, new) = (Authority::new(), Authority::new());
    let site = Site::with(Setup::default());
    let options = |host: &str, ca| {
        let hosts = vec![Host::Tcp { name: "localhost".into(), port: site.cluster.port() }];
        Options { hosts, tls: Some(Tls { ca: Some(ca), client: None }), ..site.options(host) }
    };
    let file = site.folder.path().join("ca.pem");
    fs::copy(old.certificate(), &file).unwrap();
    site.cluster.certify(&old, &["localhost"]);
    let log = Postgres::new(options("mx1", file.clone()));
    assert_eq!(log.spend(&ask(1, 1)).unwrap(), SpendResult::Fresh);
    site.cluster.certify(&new, &["localhost"]);
    // The server has its new certificate once another host sees it.
    eventually("the certificate is renewed", || {
        Postgres::new(options("mx2", new.certificate())).would_spend(&ask(1, 1)).ok()
    });
    fs::copy(new.certificate(), &file).unwrap();
    end_sessions(&site);
    let known = answer(&log);
    assert!(matches!(known, Ok(SpendResult::Redelivery { .. })), "{known:?}");
}

/// The callback stands for a process that was stopped: its session is in a transaction, and holds a lock.
#[test]
fn a_client_that_stops_in_a_transaction_keeps_no_lock() {
    let site = Site::shared();
    let revoked =
        |before: &mailstamp::grant::StampStatus| mailstamp::grant::StampStatus { revoked: Some(7), ..before.clone() };
    site.host("mx1").update_status("stamps.example", &ask(1, 1).serial, &mut |before| revoked(before)).unwrap();
    let log = Postgres::new(Options { timeout: std::time::Duration::from_millis(700), ..site.options("mx1") });
    let seen = log.standings(&mut |_, _, _| {
        site.cluster.sql(&site.database, "begin; lock table mailstamp.standing; commit");
        ControlFlow::Continue(())
    });
    assert!(matches!(seen, Err(StoreError::Unreachable { .. } | StoreError::Refused { .. })), "{seen:?}");
    assert!(matches!(log.spend(&ask(1, 1)).unwrap(), SpendResult::Revoked { .. }));
}

/// A value of another type is no panic, and nothing is guessed.
#[test]
fn tables_of_another_program_are_an_error() {
    let site = Site::shared();
    let log = site.host("mx1");
    log.spend(&ask(1, 1)).unwrap();
    log.update_status("stamps.example", &ask(2, 1).serial, &mut |before| mailstamp::grant::StampStatus {
        revoked: Some(7),
        ..before.clone()
    })
    .unwrap();
    let to = mailstamp::message::address::Address::parse("joe@y.example").unwrap();
    let owner = mailstamp::verdict::owner::Owner::default();
    let sent = mailstamp::store::Sent {
        owner,
        recipients: vec![to.clone()],
        message_id: Some("<1@x>".into()),
        time: NOW,
        now: NOW,
    };
    log.learn(&[sent]).unwrap();
    log.reserve_reply(&crate::replies::reply(1, 0)).unwrap();
    type Ask<'a> = (&'a str, &'a str, &'a dyn Fn(&Postgres) -> Result<(), StoreError>);
    let export = |log: &Postgres| log.export(&mut |_| ControlFlow::Continue(()));
    let asks: [Ask; 9] = [
        ("used", "times type text using times::text", &|log| log.would_spend(&ask(1, 1)).map(drop)),
        ("used", "first_seen type text using first_seen::text", &export),
        ("used", "message type bytea using 'x'", &|log| log.would_spend(&ask(1, 1)).map(drop)),
        ("standing", "vendor type bytea using 'x'", &|log| log.standings(&mut |_, _, _| ControlFlow::Continue(()))),
        ("standing", "standing type text using 'x'", &|log| {
            log.standing("stamps.example", &ask(2, 1).serial).map(drop)
        }),
        ("correspondent", "first type text using first::text", &|log| log.wrote_to(owner, &to, NOW).map(drop)),
        ("sent", "message type text using 'x'", &export),
        ("reply", "at type text using at::text", &|log| log.peek_reply(&crate::replies::reply(1, 0)).map(drop)),
        ("reply_hour", "count type bigint using -1", &|log| log.glance(NOW).map(drop)),
    ];
    for (table, change, act) in asks {
        let copy = format!("create table mailstamp.kept as table mailstamp.{table}");
        let change = format!("{copy}; alter table mailstamp.{table} alter column {change}");
        site.cluster.sql(&site.database, &change);
        let error = act(&site.host("mx2")).unwrap_err();
        assert!(matches!(error, StoreError::Refused { .. }), "{change}: {error}");
        assert!(
            error.to_string().contains("is damaged, or its tables are not those of mailstamp"),
            "{change}: {error}"
        );
        let back = format!(
            "drop table mailstamp.{table}; alter table mailstamp.kept rename to {table}; \
             alter table mailstamp.{table} owner to {ROLE}"
        );
        site.cluster.sql(&site.database, &back);
    }
    assert!(matches!(log.would_spend(&ask(1, 1)).unwrap(), SpendResult::Redelivery { .. }));
}
