//! A spend that waits while a purge commits. It must see the purge mark that it waited for, and not the rows from before.
//! Two spellings in SQL that do not are shown to fail here, under the same purge.

use crate::shared::in_own_database;
use crate::support::postgres::Cluster;
use crate::support::programs::eventually;
use crate::{NOW, ask};
use mailstamp::store::{StoreError, UsedLog};
use mailstamp::verdict::spend::{SpendRequest, SpendResult};
use std::io::{BufRead, BufReader, Read, Write};
use std::process::{Child, Stdio};
use std::thread;

/// Adds the row of a used stamp, unless it is there or the purge mark covers it: one statement, and so one snapshot.
const ONE_STATEMENT: &str = "with added as (
    insert into mailstamp.used select s.id, '\\x01', 100, 2, 0, '\\xbb', null from mailstamp.space s
    where s.name = 'SPACE' and (s.mark is null or s.mark < 100) on conflict do nothing returning 1)
    select count(*) from added;\n";

/// The same, with the lock inside the statement.
const LOCK_INSIDE: &str = "with lock as materialized (
        select pg_advisory_xact_lock_shared(classid::int, objid::int) from (LOCK) l),
    added as (
    insert into mailstamp.used select s.id, '\\x01', 100, 2, 0, '\\xbb', null from mailstamp.space s
    where (select count(*) from lock) = 1 and s.name = 'SPACE' and (s.mark is null or s.mark < 100)
    on conflict do nothing returning 1)
    select count(*) from added;\n";

/// A session of psql(1) that is told statements one by one.
struct Session(Child, BufReader<std::process::ChildStdout>);

impl Session {
    fn new(database: &str) -> Self {
        let mut command = Cluster::shared().psql(database);
        let mut child = command.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
        let out = BufReader::new(child.stdout.take().unwrap());
        Self(child, out)
    }

    fn begin(&mut self, statements: &str) {
        self.0.stdin.as_mut().unwrap().write_all(statements.as_bytes()).unwrap();
    }

    /// Runs statements to their end.
    fn run(&mut self, statements: &str) -> String {
        self.begin(&format!("{statements}\n\\echo done\n"));
        let mut answer = String::new();
        while !answer.ends_with("done\n") {
            assert_ne!(self.1.read_line(&mut answer).unwrap(), 0, "{answer}");
        }
        answer.trim_end_matches("done\n").trim().to_owned()
    }

    fn end(mut self) -> String {
        drop(self.0.stdin.take());
        let mut answer = String::new();
        self.1.read_to_string(&mut answer).unwrap();
        assert!(self.0.wait().unwrap().success());
        answer.trim().to_owned()
    }
}

/// A session that has purged a used stamp of hour 100, and has not committed.
fn purging(database: &str, space: &str) -> Session {
    let mut purge = Session::new(database);
    let number = format!("(select id from mailstamp.space where name = '{space}')");
    purge.run(&format!("select mailstamp.raise_mark({number}, 99, true);"));
    purge.run(&format!("insert into mailstamp.used values ({number}, '\\x01', 100, 1, 0, '\\xaa', null);"));
    purge.run(&format!(
        "begin; select mailstamp.raise_mark({number}, 100, true); delete from mailstamp.used where space = {number};"
    ));
    purge
}

/// Waits until so many sessions with the database wait for a lock.
fn waits(database: &str) {
    let count = || {
        let text =
            format!("select count(*) from pg_stat_activity where datname = '{database}' and wait_event_type = 'Lock'");
        (Cluster::shared().sql("postgres", &text) != "0").then_some(())
    };
    eventually("a session waits", count);
}

/// What a statement answers that began before the purge committed.
fn under_a_purge(statement: &str) -> String {
    let store = in_own_database();
    let options = store.options();
    let mut purge = purging(&options.database, &options.space);
    let lock = format!(
        "select classid, objid from pg_locks where locktype = 'advisory' and mode = 'ExclusiveLock'
         and database = (select oid from pg_database where datname = '{}')
         and objid = (select id from mailstamp.space where name = '{}') order by classid limit 1",
        options.database, options.space
    );
    let mut spend = Session::new(&options.database);
    spend.begin(&statement.replace("SPACE", &options.space).replace("LOCK", &lock));
    waits(&options.database);
    purge.run("commit;");
    purge.end();
    spend.end()
}

#[test]
fn one_statement_takes_a_purged_stamp_for_a_fresh_one() {
    assert_eq!(under_a_purge(ONE_STATEMENT), "1", "PostgreSQL has changed: the adapter could be simpler");
}

#[test]
fn one_statement_with_the_lock_inside_does_the_same() {
    assert_eq!(under_a_purge(LOCK_INSIDE), "1", "PostgreSQL has changed: the adapter could be simpler");
}

/// The stamp of the adapter's own key, so the row is made by a spend.
#[test]
fn a_spend_that_waited_for_a_purge_sees_its_mark() {
    let store = in_own_database();
    let options = store.options();
    let it = |message| SpendRequest { expires: Some(NOW), ..ask(1, message) };
    assert_eq!(store.spend(&it(1)).unwrap(), SpendResult::Fresh);
    let number = format!("(select id from mailstamp.space where name = '{}')", options.space);
    let hour = NOW.0 / 3_600;
    let mut purge = Session::new(&options.database);
    purge.run(&format!(
        "begin; select mailstamp.raise_mark({number}, {hour}, true); select mailstamp.remove_ended({number}, {hour}, 10);"
    ));
    let answer = thread::scope(|scope| {
        let spend = scope.spawn(|| store.spend(&it(2)));
        waits(&options.database);
        purge.run("commit;");
        spend.join().unwrap()
    });
    assert!(matches!(answer, Err(StoreError::ClockBehind { .. })), "{answer:?}");
    purge.end();
}
