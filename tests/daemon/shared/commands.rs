//! Every command over the shared log: what one host does, the other sees.

use super::{sharing, store, two_hosts};
use crate::support::milter::MailSystem;
use crate::support::postgres::Cluster;
use crate::support::programs::{eventually, field, maildir};
use crate::support::resident::Resident;
use crate::support::{ALICE, Home, letter, run};
use serde_json::Value;
use std::fs;
use std::process::Stdio;

fn json(home: &Home, command: &str) -> Value {
    let text = home.run(command.split(' ').chain(["--json"]), b"").exits(0).text();
    serde_json::from_str(&text).unwrap()
}

fn export(home: &Home) -> String {
    home.run(["export"], b"").exits(0).text()
}

#[test]
fn one_hosts_spends_grants_and_contacts_are_the_others() {
    let (one, two, _) = sharing();
    let stamp = one.issue(ALICE, []);
    let (first, second) = (one.affix(&stamp, &letter("1")), one.affix(&stamp, &letter("2")));
    one.classify(&first).exits(0).says("first-class paid");
    two.classify(&first).exits(0).says("first-class again");
    two.classify(&second).exits(21).says("used used");
    // With a daemon on one of them, and on both.
    let daemon = Resident::of(&two);
    two.classify(&first).exits(0).says("first-class again");
    let third = one.stamped(&letter("3"));
    two.classify(&third).exits(0).says("first-class paid");
    let _other = Resident::of(&one);
    one.classify(&third).exits(0).says("first-class again");
    assert_eq!(daemon.judged(), 2);
    assert_eq!(json(&two, "status")["store"], "postgres");
    let status = two.run(["status"], b"").exits(0).text();
    assert!(status.contains("2 serials in ") && status.contains(" in PostgreSQL"), "{status}");

    one.run(["revoke"], &first).exits(0);
    two.classify(&first).exits(22).says("revoked by-recipient");
    assert!(two.run(["grants"], b"").exits(0).text().contains("revoked"));
    two.run(["unrevoke"], &first).exits(0);
    one.classify(&first).exits(0);
    one.run(["grant"], &first).exits(0);
    assert!(two.run(["grants"], b"").exits(0).text().contains("stamps.example"));

    let sent = format!("From: {ALICE}\nTo: bob@y.example\nMessage-ID: <sent@x.example>\n\nHello\n");
    one.run(["learn-sent"], sent.as_bytes()).exits(0);
    assert!(two.run(["correspondents"], b"").exits(0).text().contains("bob@y.example"));
    two.run(["correspondents", "--forget", "bob@y.example"], b"").exits(0);
    assert!(!one.run(["correspondents"], b"").exits(0).text().contains("bob@y.example"));

    fs::create_dir_all(two.file("Maildir/cur")).unwrap();
    for folder in ["new", "tmp"] {
        fs::create_dir_all(two.file("Maildir").join(folder)).unwrap();
    }
    fs::write(two.file("Maildir/cur/1:2,S"), &third).unwrap();
    let scan = two.run(["scan", two.file("Maildir").to_str().unwrap()], b"").exits(0).text();
    assert!(scan.contains("first-class"), "{scan}");
    let watched = format!("[watch]\nmaildir = \"{}\"\n", two.file("Maildir").display());
    two.configure(&(fs::read_to_string(two.config()).unwrap() + &watched));
    for command in ["stats", "purge", "log", "held list", "watch --once"] {
        two.run(command.split(' '), b"").exits(0);
    }
    two.run(["explain"], &third).exits(0);
    assert_eq!(export(&one), export(&two));
    assert!(export(&one).lines().count() >= 4);
    // Importing what is known changes nothing.
    let again = two.run(["import"], export(&one).as_bytes()).exits(0).text();
    assert!(again.starts_with("rows taken in: 0,"), "{again}");
    assert!(!one.state().join("used.redb").exists() && !two.state().join("used.redb").exists());
}

#[test]
fn filter_deliver_and_milter_spend_in_the_shared_log() {
    let cluster = Cluster::shared();
    let database = cluster.database();
    let (one, two) = two_hosts("");
    for home in [&one, &two] {
        home.configure(&format!(
            "addresses = [\"*@x.example\"]\n{}[boundary]\nlisten = \"unix:{}\"\nheld_address = \"held@x.example\"\n",
            store(cluster, &database),
            home.file("milter").display()
        ));
    }
    one.run(["store", "init"], b"").exits(0);
    let message = one.stamped(&letter("1"));
    let class = |bytes: &[u8]| field(bytes, "Digital-Stamp-Class").unwrap();
    assert!(class(&one.run(["filter"], &message).exits(0).stdout).starts_with("first-class; reason=paid"));
    two.run(["deliver"], &message).exits(0);
    assert!(class(&maildir(&two.file("Maildir"))[0]).starts_with("first-class; reason=again"));

    let _daemons = (Resident::of(&one), Resident::of(&two));
    let next = one.stamped(&letter("2"));
    let judged = |home: &Home| {
        let answer = MailSystem::connect(&home.file("milter")).message(&[ALICE], &next);
        answer.inserted("Digital-Stamp-Class").unwrap().to_owned()
    };
    assert!(judged(&one).starts_with(" first-class; reason=paid"));
    assert!(judged(&two).starts_with(" first-class; reason=again"));
    assert!(class(&two.run(["filter"], &next).exits(0).stdout).starts_with("first-class; reason=again"));
    // Too large for the daemon: read, and judged by the program that has the client. No byte is lost.
    let mut large = one.stamped(&letter("3"));
    large.extend(std::iter::repeat_n(*b"0123456789abcde\n", 600_000).flatten());
    let filtered = two.run(["filter"], &large).exits(0).stdout;
    assert!(class(&filtered).starts_with("first-class; reason=paid"));
    assert!(filtered.ends_with(&large));
    assert_eq!(one.run(["filter"], &large).exits(0).stdout.len(), filtered.len() + 1, "again, not paid");
}

#[test]
fn the_tables_are_made_once_and_newer_ones_are_refused() {
    let cluster = Cluster::shared();
    let database = cluster.database();
    let (one, two) = two_hosts(&format!("addresses = [\"*@x.example\"]\n{}", store(cluster, &database)));
    let message = one.stamped(&letter("1"));
    let said = one.classify(&message).exits(75);
    assert!(said.stderr.contains("run mailstamp store init"), "{}", said.stderr);
    let doctor = one.run(["doctor"], b"").exits(78).text();
    assert!(doctor.contains("no tables of mailstamp: run mailstamp store init"), "{doctor}");
    assert_eq!(json(&one, "store status")["format"], Value::Null);

    assert_eq!(json(&one, "store init")["outcome"], "created");
    assert_eq!(json(&two, "store init")["outcome"], "unchanged");
    assert_eq!(one.run(["store", "init"], b"").exits(0).text(), "tables: up to date\n");
    one.classify(&message).exits(0);
    let status = json(&two, "store status");
    assert_eq!((&status["format"], &status["in_recovery"]), (&Value::from(2), &Value::from(false)));
    let text = two.run(["store", "status"], b"").exits(0).text();
    assert!(text.contains("primary\n") && text.contains("fsync               off"), "{text}");
    // The harness does not sync, and doctor sees it.
    let doctor = two.run(["doctor"], b"").exits(78).text();
    assert!(doctor.contains("fsync = off") && doctor.contains("1 serial in "), "{doctor}");

    cluster.sql(&database, "update mailstamp.meta set format = 99");
    for command in ["store init", "classify", "doctor"] {
        let said = two.run(command.split(' '), &message);
        assert_ne!(said.code, 0, "{command}");
        assert!((said.text() + &said.stderr).contains("format 99"), "{command}: {said:?}");
    }
}

/// What each host saw of a log is in a file of that log, and a command that says it changes nothing writes none.
#[test]
fn each_log_has_its_own_record_of_the_server() {
    let (one, two, database) = sharing();
    let seen = |home: &Home| -> Vec<String> {
        let names = fs::read_dir(home.state()).into_iter().flatten().map(|entry| entry.unwrap().file_name());
        let mut names: Vec<String> = names.map(|name| name.into_string().unwrap()).collect();
        names.retain(|name| name.starts_with("server-seen"));
        names
    };
    let text = two.run(["doctor"], b"").exits(78).text();
    assert!(text.contains("0 serials in ") && seen(&two).is_empty(), "{text}");
    two.run(["config", "check"], b"").exits(0);
    assert!(!two.state().exists());
    one.classify(&one.stamped(&letter("1"))).exits(0);
    let first = seen(&one);
    assert_eq!(first.len(), 1);
    let before = fs::read_to_string(one.state().join(&first[0])).unwrap();
    let table = fs::read_to_string(one.config()).unwrap();
    one.configure(&format!("{table}space = \"other\"\n"));
    one.run(["store", "init"], b"").exits(0);
    one.classify(&one.stamped(&letter("2"))).exits(0);
    assert_eq!(seen(&one).len(), 2);
    assert_eq!(fs::read_to_string(one.state().join(&first[0])).unwrap(), before);
    assert!(before.contains(&format!("\"database\":\"{database}\"")) && before.contains("\"space\":\"default\""));
}

/// Write access to the database must not control the terminal of a user.
#[test]
fn names_from_a_hostile_database_are_shown_escaped() {
    let (one, two, database) = sharing();
    let message = one.stamped(&letter("1"));
    one.run(["revoke"], &message).exits(0);
    one.classify(&message).exits(22);
    let sent = format!("From: {ALICE}\nTo: bob@y.example\nMessage-ID: <s@x.example>\n\nHello\n");
    one.run(["learn-sent"], sent.as_bytes()).exits(0);
    let evil = "E'\\x1b[2Jevil\\u009b'";
    let update = format!(
        "update mailstamp.standing set vendor = {evil},
            standing = jsonb_set(standing::jsonb, '{{refused,from}}', to_jsonb({evil}::text))::text;
         update mailstamp.correspondent set key = convert_to({evil} || '@y.example', 'UTF8')"
    );
    Cluster::shared().sql(&database, &update);
    for (command, times) in [("grants", 2), ("grants --refused", 2), ("correspondents", 1), ("doctor", 0)] {
        let ran = two.run(command.split(' '), b"");
        let all = ran.text() + &ran.stderr;
        assert!(!all.contains('\x1b') && !all.contains('\u{9b}'), "{command}: {all:?}");
        assert_eq!(all.matches("evil").count(), times, "{command}: {all:?}");
    }
}

#[test]
fn shown_settings_name_the_database() {
    let home = Home::new();
    let tls = "hosts = [\"db1.x.example\", \"[2001:db8::1]:5433\"]\npassword_file = \"/p\"\ncertificate = \"/c\"\n\
        key = \"/k\"\nca = \"/ca\"\ntimeout = \"9s\"\nconnections = 3\nspace = \"x\"\n\
        synchronous_commit = \"remote_apply\"\nfollow_failover = true\n";
    let near = "hosts = [\"127.0.0.1\"]\ntls = \"off\"\n";
    for table in [tls, near, "hosts = [\"/run/postgresql:5433\"]\n"] {
        home.configure(&format!("addresses = [\"*@x.example\"]\n[store]\nkind = \"postgres\"\n{table}"));
        let shown = home.run(["config", "show"], b"").exits(0).text();
        for line in table.lines().filter(|line| !line.starts_with("hosts")) {
            assert!(shown.contains(line), "{line}\n{shown}");
        }
        let again = home.file("again.toml");
        fs::write(&again, &shown).unwrap();
        let again = home.run(["--config", again.to_str().unwrap(), "config", "show"], b"").exits(0).text();
        assert_eq!(again.split_once('\n').unwrap().1, shown.split_once('\n').unwrap().1);
    }
}

#[test]
fn copies_are_equal_both_ways() {
    let cluster = Cluster::shared();
    let database = cluster.database();
    let shared = format!("addresses = [\"*@x.example\"]\n{}", store(cluster, &database));
    let (one, two) = two_hosts("addresses = [\"*@x.example\"]\n");
    for id in 0..5 {
        one.classify(&one.stamped(&letter(&id.to_string()))).exits(0);
    }
    one.run(["revoke"], &one.stamped(&letter("gone"))).exits(0);
    let sent = format!("From: {ALICE}\nTo: bob@y.example, carol@y.example\nMessage-ID: <s@x.example>\n\nHello\n");
    one.run(["learn-sent"], sent.as_bytes()).exits(0);
    let before = export(&one);

    let refused = one.run(["store", "copy", "--from", "redb", "--to", "postgres"], b"").exits(78);
    assert!(refused.stderr.contains("no database is configured"), "{}", refused.stderr);
    one.configure(&shared);
    two.configure(&shared);
    one.run(["store", "init"], b"").exits(0);
    one.run(["store", "copy", "--from", "redb", "--to", "redb"], b"").exits(64);
    let copied = json(&one, "store copy --from redb --to postgres");
    assert_eq!(copied["taken"], before.lines().count());
    assert_eq!(export(&one), before);
    assert_eq!(json(&one, "store copy --from redb --to postgres")["taken"], 0);

    let back = two.run(["store", "copy", "--from", "postgres", "--to", "redb"], b"").exits(0).text();
    assert_eq!(back, format!("rows taken in: {}, known before: 0\n", before.lines().count()));
    two.configure("addresses = [\"*@x.example\"]\n");
    assert_eq!(export(&two), before);
}

#[test]
fn a_copy_of_a_log_that_changes_says_so() {
    let cluster = Cluster::shared();
    let database = cluster.database();
    let local = "addresses = [\"*@x.example\"]\n";
    let home = Home::new();
    home.configure(local);
    home.classify(&home.stamped(&letter("1"))).exits(0);
    let file = home.config().with_file_name("local.toml");
    fs::write(&file, format!("syslog = false\n{local}")).unwrap();
    home.configure(&format!("{local}{}timeout = \"1m\"\n", store(cluster, &database)));
    home.run(["store", "init"], b"").exits(0);
    // The copy waits for a lock in the database while the file gets another row.
    let waits = "create function hold() returns trigger language plpgsql as \
                 $$ begin perform pg_advisory_xact_lock(4711); return new; end $$; \
                 create trigger hold before insert on mailstamp.used for each row execute function hold()";
    cluster.sql(&database, waits);
    let mut held = cluster.psql(&database);
    let mut held = held.args(["-f", "-"]).stdin(Stdio::piped()).stdout(Stdio::null()).spawn().unwrap();
    let mut session = held.stdin.take().unwrap();
    std::io::Write::write_all(&mut session, b"select pg_advisory_lock(4711);\n").unwrap();
    let locks = |granted: bool| {
        let text = format!(
            "select count(*) from pg_locks where locktype = 'advisory' and objid = 4711 and granted = {granted} and \
             database = (select oid from pg_database where datname = '{database}')"
        );
        (cluster.sql(&database, &text) == "1").then_some(())
    };
    eventually("the lock is held", || locks(true));
    let mut copy = home.command();
    copy.args(["store", "copy", "--from", "redb", "--to", "postgres"]);
    let copy = copy.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    eventually("the copy waits", || locks(false));
    let mut classify = home.command();
    classify.arg("--config").arg(&file).arg("classify");
    run(&mut classify, &home.stamped(&letter("2"))).exits(0);
    drop(session);
    held.wait().unwrap();
    let copied = copy.wait_with_output().unwrap();
    let said = String::from_utf8_lossy(&copied.stderr).into_owned();
    assert_eq!(copied.status.code(), Some(75), "{said}");
    assert!(said.contains("the source changed during the copy"), "{said}");
    home.run(["store", "copy", "--from", "redb", "--to", "postgres"], b"").exits(0);
}
