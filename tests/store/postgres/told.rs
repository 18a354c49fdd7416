//! What is wrong with a server, its settings or its certificate: each has its own sentence, and nothing is accepted.

use super::{Site, loopback};
use crate::ask;
use crate::support::postgres::{Authority, PASSWORD, ROLE, Setup};
use crate::support::programs::{Port, eventually};
use mailstamp::database::{Host, Tls};
use mailstamp::store::postgres::{Options, Postgres};
use mailstamp::store::{StoreError, UsedLog};
use mailstamp::verdict::spend::SpendResult;
use std::fs;
use std::path::PathBuf;

/// The sentence of a spend that fails; the same for a question.
#[track_caller]
fn sentence(options: Options) -> String {
    let log = Postgres::new(options);
    let spend = log.spend(&ask(1, 1));
    let error = spend.expect_err("no answer");
    assert!(!matches!(error, StoreError::Undecided { .. } | StoreError::Restored { .. }), "{error}");
    let asked = log.would_spend(&ask(1, 1)).expect_err("no answer").to_string();
    let text = error.to_string();
    assert_eq!(asked, text);
    assert!(!text.contains("os error") && !text.contains("correct horse"), "{text}");
    text
}

#[test]
fn each_trouble_of_a_server_has_its_own_sentence() {
    let site = Site::with(Setup::default());
    let tcp = || Options { hosts: vec![loopback(site.cluster.port())], ..site.options("mx1") };
    let mut told: Vec<String> = Vec::new();
    let mut expect = |options: Options, part: &str| {
        let text = sentence(options);
        assert!(text.contains(part), "{text}");
        assert!(!told.contains(&text), "{text}");
        told.push(text);
    };
    let free = Port::reserve();
    expect(Options { hosts: vec![loopback(free.number())], ..tcp() }, "does not listen there");
    let folder = PathBuf::from("/nonexistent");
    expect(Options { hosts: vec![Host::Unix { folder, port: 5_432 }], ..tcp() }, "no such socket");
    let wrong = site.folder.path().join("wrong");
    fs::write(&wrong, "wrong").unwrap();
    expect(Options { password_file: Some(wrong), ..tcp() }, "the password is wrong");
    let missing = Some(site.folder.path().join("missing"));
    expect(Options { password_file: missing, ..tcp() }, "missing: entity not found");
    expect(Options { password_file: None, ..tcp() }, "asks for a password");
    expect(Options { database: "missing".into(), ..tcp() }, "the database does not exist");
    expect(Options { space: "missing".into(), ..tcp() }, "does not have the log that [store] space names");
    expect(Options { database: site.cluster.database(), ..tcp() }, "no tables of mailstamp");
    let socket = Options { user: "stranger".into(), ..site.options("mx1") };
    expect(socket, "may not connect");
    expect(Options { tls: Some(Tls::default()), ..tcp() }, "does not offer TLS");

    let (database, cluster) = (&site.database, &site.cluster);
    cluster.sql("postgres", &format!("alter database {database} set default_transaction_read_only = on"));
    expect(tcp(), "it is read-only");
    cluster.sql("postgres", &format!("alter database {database} reset default_transaction_read_only"));

    cluster.sql("postgres", &format!("alter database {database} allow_connections false"));
    expect(tcp(), "not currently accepting connections");
    cluster.sql("postgres", &format!("alter database {database} allow_connections true"));

    cluster.sql(database, "update mailstamp.meta set format = 99");
    expect(tcp(), "unknown format 99");
    cluster.sql(database, "update mailstamp.meta set format = 2");

    cluster.sql(database, "update mailstamp.meta set format = -1");
    expect(tcp(), "is damaged");
    assert!(Postgres::new(tcp()).init().unwrap_err().to_string().contains("is damaged"));
    cluster.sql(database, "update mailstamp.meta set format = 2");

    cluster.sql("postgres", "create role guest login");
    expect(Options { user: "guest".into(), ..site.options("mx1") }, "lacks a right");

    // The same code as for max_connections, without a race for the last one.
    cluster.sql("postgres", &format!("alter role {ROLE} connection limit 0"));
    expect(tcp(), "too many connections");
    cluster.sql("postgres", &format!("alter role {ROLE} connection limit -1"));

    // Over a connection without TLS no password goes.
    let methods = |method: &str| {
        let hba = cluster.data().join("pg_hba.conf");
        let text = fs::read_to_string(&hba).unwrap();
        let (local, _) = text.split_once("host all all all").unwrap();
        fs::write(&hba, format!("{local}host all all all {method}\n")).unwrap();
        cluster.sql("postgres", "select pg_reload_conf()");
        let rule = "select auth_method from pg_hba_file_rules where type = 'host'";
        assert_eq!(cluster.sql("postgres", rule), method);
        let encryption = if method == "md5" { method } else { "scram-sha-256" };
        cluster.sql(
            "postgres",
            &format!("set password_encryption = '{encryption}'; alter role {ROLE} password '{PASSWORD}'"),
        );
        // The postmaster has read it once a new session is asked otherwise.
        let refused = || Postgres::new(tcp()).would_spend(&ask(1, 1)).is_err();
        eventually("the method counts", || (refused() == (method != "scram-sha-256")).then_some(()));
    };
    methods("password");
    expect(tcp(), "asks for the password in clear text or as MD5");
    methods("md5");
    assert!(sentence(tcp()).contains("asks for the password in clear text or as MD5"));
    methods("scram-sha-256");

    cluster.set("synchronous_standby_names", "'missing'");
    let error = Postgres::new(tcp()).init().unwrap_err().to_string();
    assert!(error.contains("every commit waits for a standby, and none is there"), "{error}");
    cluster.set("synchronous_standby_names", "''");
    let other = cluster.database();
    cluster.sql(&other, "create schema mailstamp");
    let error = Postgres::new(Options { database: other, ..tcp() }).init().unwrap_err().to_string();
    assert!(error.contains("its schema mailstamp belongs to the role postgres"), "{error}");

    let standby = cluster.standby(Setup::default());
    expect(Options { hosts: vec![loopback(standby.port())], ..tcp() }, "standby");

    // None of it spent the stamp.
    assert_eq!(Postgres::new(tcp()).spend(&ask(1, 1)).unwrap(), SpendResult::Fresh);
    eprintln!("{}", told.join("\n"));
}

#[test]
fn a_certificate_must_be_of_the_authority_and_name_the_host() {
    let authority = Authority::new();
    let site = Site::with(Setup::default());
    site.cluster.certify(&authority, &["localhost"]);
    let options = |name: &str, ca: Option<PathBuf>| {
        let hosts = vec![Host::Tcp { name: name.to_owned(), port: site.cluster.port() }];
        Options { hosts, tls: Some(Tls { ca, client: None }), ..site.options("mx1") }
    };
    let ca = Some(authority.certificate());
    let own = Authority::new();
    let text = sentence(options("localhost", Some(own.certificate())));
    assert!(text.contains("of no authority"), "{text}");
    let text = sentence(options("localhost", None));
    assert!(text.contains("of no authority that this system trusts"), "{text}");
    let text = sentence(options("127.0.0.1", ca.clone()));
    assert!(text.contains("for another name"), "{text}");
    let text = sentence(options("localhost", Some("/nonexistent/ca.pem".into())));
    assert!(text.contains("/nonexistent/ca.pem"), "{text}");
    let log = Postgres::new(options("localhost", ca));
    assert_eq!(log.spend(&ask(1, 1)).unwrap(), SpendResult::Fresh);
    // It was encrypted.
    let encrypted =
        "select count(*) from pg_stat_ssl join pg_stat_activity using (pid) where ssl and usename = 'mailstamp'";
    assert_eq!(site.cluster.sql("postgres", encrypted), "1");
}

/// A table of another owner, or a role that is a superuser, must not change what the functions do.
#[test]
fn the_search_path_of_the_role_changes_nothing() {
    let site = Site::with(Setup::default());
    let (cluster, database) = (&site.cluster, &site.database);
    cluster.sql(
        database,
        "create schema other; create table other.used (stamp bytea); create table other.meta (format int)",
    );
    cluster.sql("postgres", &format!("alter role mailstamp in database {database} set search_path = other, public"));
    let log = site.host("mx1");
    assert_eq!(log.spend(&ask(1, 1)).unwrap(), SpendResult::Fresh);
    assert!(matches!(log.spend(&ask(1, 2)).unwrap(), SpendResult::DoubleSpend { .. }));
    assert_eq!(cluster.sql(database, "select count(*) from other.used"), "0");
}
