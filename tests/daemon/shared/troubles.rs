//! A server that is away or cannot be used: stamped mail waits, other mail goes on, and what is wrong is said.

use super::{sharing, store, two_hosts};
use crate::support::milter::MailSystem;
use crate::support::postgres::{Cluster, Setup};
use crate::support::programs::{chmod, install};
use crate::support::resident::Resident;
use crate::support::{ALICE, Home, letter, run};
use std::fs;
use std::process::Command;

#[test]
fn without_the_server_stamped_mail_waits_and_other_mail_goes_on() {
    let cluster = Cluster::new(Setup::default());
    let database = cluster.database();
    let (one, two) = two_hosts("");
    let socket = two.file("milter");
    for home in [&one, &two] {
        home.configure(&format!(
            "addresses = [\"*@x.example\"]\n{}[boundary]\nlisten = \"unix:{}\"\nheld_address = \"held@x.example\"\n",
            store(&cluster, &database),
            home.file("milter").display()
        ));
    }
    one.run(["store", "init"], b"").exits(0);
    // One host with a daemon, one without.
    let _daemon = Resident::of(&two);
    let message = one.stamped(&letter("1"));
    two.classify(&message).exits(0).says("first-class paid");
    cluster.shut_down();
    for home in [&one, &two] {
        for command in ["classify", "filter", "deliver"] {
            let said = home.run([command], &message).exits(75);
            assert!(said.stdout.is_empty() && said.stderr.contains("PostgreSQL at "), "{command}: {}", said.stderr);
            let known = if command == "classify" { 11 } else { 0 };
            home.run([command], &letter("plain")).exits(known);
        }
    }
    let doctor = two.run(["doctor"], b"").exits(78).text();
    let daemon = doctor.lines().find(|line| line.contains("daemon")).unwrap();
    assert!(daemon.starts_with("error") && daemon.contains("its log does not, so stamped mail waits"), "{doctor}");
    let mut system = MailSystem::connect(&socket);
    assert!(system.message(&[ALICE], &message).last.starts_with("y451 4.7.1"));
    assert_eq!(system.message(&[ALICE], &letter("plain")).last, "a");
    // A rule that asks for correspondents needs the server.
    let rules = "[[rule]]\nname = \"known\"\ncorrespondent = true\naction = \"allow\"\n";
    fs::write(one.config().with_file_name("rules.toml"), rules).unwrap();
    assert_eq!(one.run(["config", "check"], b"").exits(0).stderr, "");
    let to_alice = || one.run(["classify", "--recipient", ALICE], &letter("plain"));
    to_alice().exits(75);
    let doctor = one.run(["doctor"], b"").exits(78).text();
    assert!(doctor.contains("PostgreSQL at ") && doctor.contains("is it running?"), "{doctor}");

    cluster.start();
    for home in [&one, &two] {
        home.classify(&message).exits(0).says("first-class again");
    }
    assert!(system.message(&[ALICE], &message).inserted("Digital-Stamp-Class").unwrap().contains("reason=again"));
    to_alice().exits(11);
}

#[test]
fn each_trouble_of_a_server_has_its_sentence() {
    let (one, two, database) = sharing();
    let cluster = Cluster::shared();
    let message = one.stamped(&letter("1"));
    one.classify(&message).exits(0);
    let password = two.file("password");
    fs::write(&password, "wrong\n").unwrap();
    let table = store(cluster, &database);
    let socket = format!("{}:{}", cluster.host(), cluster.port());
    let local = table.replace(&socket, &format!("127.0.0.1:{}", cluster.port())) + "tls = \"off\"\n";
    let named = format!("{local}password_file = \"{}\"\n", password.display());
    let says = |table: &str, said: &str| {
        two.configure(&format!("addresses = [\"*@x.example\"]\n{table}"));
        let ran = two.run(["filter"], &message).exits(75);
        assert!(ran.stdout.is_empty() && ran.stderr.contains(said), "{table}{}", ran.stderr);
    };
    chmod(&password, 0o644);
    says(&named, "chmod");
    chmod(&password, 0o600);
    says(&named, "the password is wrong");
    says(&local, "set [store] password_file");
    let tls = format!("certificate = \"{0}\"\nkey = \"{0}\"\n", password.display());
    chmod(&password, 0o644);
    says(&(local.replace("tls = \"off\"\n", "") + &tls), "chmod");
    chmod(&password, 0o600);
    fs::write(&password, "correct horse\n").unwrap();
    two.configure(&format!("addresses = [\"*@x.example\"]\n{named}"));
    two.classify(&message).exits(0).says("first-class again");
    let checked = |table: &str, said: &str| {
        two.configure(&format!("addresses = [\"*@x.example\"]\n{table}"));
        let ran = two.run(["config", "check"], b"");
        assert_eq!((ran.code, ran.stderr.contains(said)), (78, true), "{table}{}", ran.stderr);
    };
    two.run(["config", "check"], b"").exits(0);
    let encrypted = local.replace("tls = \"off\"\n", "");
    checked(&(encrypted.clone() + &tls), "contains no");
    checked(&format!("{encrypted}ca = \"{}\"\n", password.display()), "store: ");
    checked(&format!("{encrypted}ca = \"/nonexistent\"\n"), "store.ca: /nonexistent: ");
    fs::write(&password, "one\ntwo\n").unwrap();
    checked(&named, "store.password_file: ");
    fs::write(&password, "\n").unwrap();
    checked(&named, "empty, expected a password");
    chmod(&password, 0o644);
    checked(&named, "chmod 600");
    chmod(&password, 0o600);
    fs::write(&password, "correct horse\n").unwrap();
    says(&named.replace("tls = \"off\"\n", ""), "it does not offer TLS");
    says(&table.replace(&socket, &cluster.host()), "there is no such socket");
    says(&table.replace(&database, "other"), "the database does not exist");
    says(&format!("{table}space = \"other\"\n"), "the log that [store] space names");
    cluster.sql("postgres", &format!("alter database {database} set default_transaction_read_only = on"));
    says(&table, "read-only");
    cluster.sql("postgres", &format!("alter database {database} reset default_transaction_read_only"));
    two.configure(&format!("addresses = [\"*@x.example\"]\n{table}"));
    two.classify(&message).exits(0).says("first-class again");
}

/// None of these has ever counted.
#[test]
fn the_environment_names_no_server_and_no_secret() {
    let (one, _, _) = sharing();
    let with = |home: &Home, word: &str, message: &[u8]| {
        let mut command = home.command();
        for (name, value) in [
            ("PGHOST", "192.0.2.1"),
            ("PGPORT", "1"),
            ("PGUSER", "other"),
            ("PGDATABASE", "other"),
            ("PGPASSWORD", "wrong"),
            ("PGSSLMODE", "require"),
            ("PGOPTIONS", "-c default_transaction_read_only=on"),
            ("PGSERVICE", "other"),
            ("PGTARGETSESSIONATTRS", "standby"),
        ] {
            command.env(name, value);
        }
        run(command.args(word.split(' ')), message)
    };
    with(&one, "classify", &one.stamped(&letter("1"))).exits(0).says("first-class paid");
    with(&one, "store status", b"").exits(0);
}

#[test]
fn the_filter_becomes_the_program_with_the_client() {
    let (one, two, _) = sharing();
    let message = one.stamped(&letter("1"));
    let filter = install(one.path()).join("mailstamp");
    let at = |words: &[&str]| {
        let mut command = Command::new(&filter);
        command.env_clear().env("HOME", one.path()).args(words);
        command
    };
    fs::remove_file(filter.with_file_name("mailstamp-tools")).unwrap();
    for word in ["classify", "filter", "deliver"] {
        let said = run(&mut at(&[word]), &message).exits(75);
        assert!(said.stdout.is_empty() && said.stderr.contains("mailstamp-tools: "), "{}", said.stderr);
        // It cannot know whether a rule needs the log.
        run(&mut at(&[word]), &letter("plain")).exits(75);
    }
    let daemon = Resident::of(&one);
    run(&mut at(&["classify"]), &message).exits(0).says("first-class paid");
    run(&mut at(&["classify"]), &letter("plain")).exits(11);
    daemon.end();
    install(one.path());
    run(&mut at(&["classify", "--json"]), &message).exits(0);
    run(&mut at(&["classify", "--action"]), &one.affix(&one.issue("bob@x.example", []), &letter("2"))).exits(0);
    two.classify(&message).exits(0).says("first-class again");
}
