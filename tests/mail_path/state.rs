//! Whose state it is, moving it, and what `doctor` and `vendor trust` say about what is in place.

use crate::support::{ALICE, Home, MAILSTAMP, Run, letter, run, stamped};
use serde_json::Value;
use std::fs::{self, Permissions};
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::Command;

/// A home for many virtual users.
fn of_many() -> Home {
    let home = Home::new();
    let state = home.file("mail/%d/%n");
    home.configure(&format!("addresses = [\"%u\", \"%n+*@%d\"]\nstate = \"{}\"", state.display()));
    home
}

#[test]
fn each_virtual_user_has_a_state_of_his_own() {
    let home = of_many();
    let as_user = |variables: &[(&str, &str)], args: &[&str], message: &[u8]| -> Run {
        run(home.command().arg("classify").args(args).envs(variables.iter().copied()), message)
    };
    let letter_to = |user: &str, serial: &str| stamped(&home.mint(user, serial), &letter(serial));
    // Dovecot names the user in USER, Sieve the address in RECIPIENT, Postfix puts it on the command line.
    let alice = letter_to("alice@x.example", "1");
    as_user(&[("USER", "alice@x.example")], &[], &alice).exits(0).says("first-class paid");
    as_user(&[("RECIPIENT", "alice+news@x.example")], &[], &alice).exits(0).says("first-class again");
    as_user(&[], &["--recipient", "Alice@X.example"], &alice).exits(0).says("first-class again");
    let theft = stamped(&home.mint("alice@x.example", "1"), &letter("theft"));
    as_user(&[("USER", "alice@x.example")], &[], &theft).exits(21).says("used used");
    as_user(&[("USER", "carol@x.example")], &[], &alice).exits(20).says("invalid not-for-me");
    as_user(&[("USER", "carol@z.example")], &[], &letter_to("carol@z.example", "2")).exits(0).says("first-class paid");
    for user in ["x.example/alice", "z.example/carol"] {
        assert!(home.file("mail").join(user).join("used.redb").exists(), "{user}");
    }
    let exported = home.run(["export", "--user", "alice@x.example"], b"").exits(0).text();
    assert_eq!(exported.matches("\"row\":\"used\"").count(), 1);
    assert_eq!(home.run(["log", "--user", "carol@z.example"], b"").exits(0).text().lines().count(), 1);
    as_user(&[], &[], &alice).exits(75);
    as_user(&[("USER", "alice")], &[], &alice).exits(75);
}

#[test]
fn no_users_name_leads_out_of_the_folder() {
    let home = of_many();
    let everything = || {
        let mut found = Vec::new();
        let mut folders = vec![home.path().to_owned()];
        while let Some(folder) = folders.pop() {
            for entry in fs::read_dir(folder).unwrap() {
                let path = entry.unwrap().path();
                if path.is_dir() {
                    folders.push(path.clone());
                }
                found.push(path);
            }
        }
        found.len()
    };
    let message = stamped(&home.mint(ALICE, "1"), &letter("1"));
    let before = everything();
    for name in [
        "../../evil@x.example",
        "a/b@x.example",
        "a@../..",
        "a@x/..",
        ".hidden@x.example",
        "@x.example",
        "a@.ssh",
        "\u{1}@x.example",
        "a@x\\y",
    ] {
        for variable in ["USER", "RECIPIENT"] {
            let said = run(home.command().arg("classify").env(variable, name), &message);
            assert_eq!((said.code, said.text().as_str()), (75, ""), "{variable}={name}: {}", said.stderr);
            assert!(said.stderr.bytes().all(|b| matches!(b, b' '..=b'~' | b'\n')), "{:?}", said.stderr);
        }
        let said = home.run(["classify", "--recipient", name], &message);
        assert_eq!((said.code, said.text().as_str()), (75, ""), "--recipient {name}: {}", said.stderr);
    }
    assert_eq!(everything(), before);
}

#[test]
fn state_that_moves_to_another_home_stays_used() {
    let (old, new) = (Home::new(), Home::new());
    let document = fs::read(old.config().with_file_name("vendors").join("stamps.example.json")).unwrap();
    new.run(["vendor", "trust", "--replace", "-"], &document).exits(0);
    let stamp = old.mint(ALICE, "1");
    old.classify(&stamped(&stamp, &letter("1"))).exits(0).says("first-class paid");
    let standing =
        "{\"row\":\"standing\",\"vendor\":\"stamps.example\",\"serial\":\"2\",\"standing\":{\"revoked\":1}}\n";
    assert_eq!(old.run(["import"], standing.as_bytes()).exits(0).text(), "1 rows taken in, 0 were known\n");
    let rows = old.run(["export"], b"").exits(0).stdout;
    assert_eq!(new.run(["import"], &rows).exits(0).text(), "2 rows taken in, 0 were known\n");
    assert_eq!(new.run(["import"], &rows).exits(0).text(), "0 rows taken in, 2 were known\n");
    assert_eq!(new.run(["export"], b"").exits(0).stdout, rows);
    new.classify(&stamped(&stamp, &letter("2"))).exits(21).says("used used");
    new.classify(&stamped(&stamp, &letter("1"))).exits(0).says("first-class again");
    new.classify(&stamped(&old.mint(ALICE, "2"), &letter("3"))).exits(22).says("revoked by-recipient");
    for (rows, line) in [("{}\n", "line 1"), (&format!("{standing}nonsense\n"), "line 2")] {
        let said = new.run(["import"], rows.as_bytes()).exits(65);
        assert!(said.stderr.contains(line), "{}", said.stderr);
    }
}

/// The checks of `doctor` that are of this health.
fn checks(home: &Home, health: &str) -> Vec<(String, String)> {
    let said = home.run(["doctor", "--json"], b"");
    let json: Value = serde_json::from_slice(&said.stdout).unwrap();
    assert_eq!(said.code == 0, json["well"] == true, "{json}");
    assert!(said.code == 0 || said.code == 78);
    let checks = json["checks"].as_array().unwrap().iter();
    let text = |check: &Value, name: &str| check[name].as_str().unwrap().to_owned();
    checks.filter(|check| check["health"] == health).map(|check| (text(check, "check"), text(check, "text"))).collect()
}

#[test]
fn doctor_finds_each_planted_fault() {
    let vendors = |home: &Home| home.config().with_file_name("vendors");
    let mode = |path: &Path, mode| fs::set_permissions(path, Permissions::from_mode(mode)).unwrap();
    let other_key = |home: &Home| {
        let twin = Home::new();
        let text = fs::read(vendors(&twin).join("stamps.example.json")).unwrap();
        fs::write(vendors(home).join("twin.json"), text).unwrap();
    };
    type Plant<'a> = &'a dyn Fn(&Home);
    let faults: [(&str, &str, &str, Plant); 12] = [
        ("bad", "configuration", "prize", &|home| home.configure("prize = 1")),
        ("bad", "configuration", "no addresses", &|home| home.configure("")),
        ("bad", "configuration", "no config.toml", &|home| fs::remove_file(home.config()).unwrap()),
        ("bad", "configuration", "others may write", &|home| mode(&home.config(), 0o666)),
        ("odd", "configuration", "not noticed", &|home| {
            home.configure("addresses = [\"a@b.example\"]\n[used_log]\nenabled = false")
        }),
        ("bad", "vendors", "bad.json", &|home| fs::write(vendors(home).join("bad.json"), "{").unwrap()),
        ("bad", "vendors", "disagree", &other_key),
        ("odd", "vendors", "no vendor is trusted", &|home| fs::remove_dir_all(vendors(home)).unwrap()),
        ("bad", "state", "write", &|home| mode(&home.state(), 0o777)),
        ("odd", "state", "look into", &|home| mode(&home.state(), 0o755)),
        ("bad", "used serials", "used.redb", &|home| fs::write(home.state().join("used.redb"), "garbage").unwrap()),
        ("odd", "syslog", "nothing listens", &|home| {
            home.configure("syslog = \"/nowhere\"\naddresses = [\"a@b.example\"]")
        }),
    ];
    for (health, check, text, plant) in faults {
        let home = Home::new();
        home.classify(&stamped(&home.mint(ALICE, "1"), &letter("1"))).exits(0);
        assert_eq!((checks(&home, "bad"), checks(&home, "odd")), (vec![], vec![]));
        plant(&home);
        let found = checks(&home, health);
        assert!(found.iter().any(|(what, why)| what == check && why.contains(text)), "{check} {text}: {found:?}");
        home.run(["doctor"], b"").exits(if health == "bad" { 78 } else { 0 });
    }
}

#[test]
fn trust_takes_no_weak_key_and_replaces_nothing_unasked() {
    let home = Home::new();
    let path = home.config().with_file_name("vendors").join("stamps.example.json");
    let before = fs::read(&path).unwrap();
    let other = Home::new();
    let theirs = fs::read(other.config().with_file_name("vendors").join("stamps.example.json")).unwrap();
    let refused = home.run(["vendor", "trust", "-"], &theirs).exits(73);
    assert!(
        refused.stderr.contains("is trusted already") && refused.stderr.contains("--replace"),
        "{}",
        refused.stderr
    );
    assert_eq!(fs::read(&path).unwrap(), before);
    let weak = |key: &str| format!("{{\"vendor\":\"w.example\",\"keys\":[{{\"kid\":\"a\",\"key\":\"{key}\"}}]}}");
    let one = "AQAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA";
    for (document, why) in [
        (weak(&format!("k4.public.{one}")), "weak"),
        (weak("k4.public.AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA"), "weak"),
        (weak("k4.public.AAAA"), "not a key"),
        (weak("k4.secret.AAAA"), "not a key"),
        ("{\"vendor\":\"../w\"}".into(), "named by"),
        ("{\"vendor\":\"W.example\"}".into(), "named by"),
        ("{\"directory\":\"v4.public.x\"}".into(), "signed directory"),
        ("[]".into(), ""),
    ] {
        let refused = home.run(["vendor", "trust", "--replace", "-"], document.as_bytes()).exits(65);
        assert!(refused.stderr.contains(why), "{document}: {}", refused.stderr);
    }
    assert_eq!(fs::read_dir(path.parent().unwrap()).unwrap().count(), 1);
    home.run(["vendor", "trust", "--replace", "-"], &theirs).exits(0);
    assert_ne!(fs::read(&path).unwrap(), before);
    // A key that signs is never written over either.
    let key = home.key("stamps.example", "2026q4");
    let secret = fs::read(&key).unwrap();
    home.run(["vendor", "keygen", "--vendor", "v.example", "--kid", "a", "--out", key.to_str().unwrap()], b"")
        .exits(73);
    assert_eq!(fs::read(&key).unwrap(), secret);
    assert_eq!(fs::metadata(&key).unwrap().permissions().mode() & 0o777, 0o600);
}

#[test]
fn what_is_written_is_closed_to_others_whatever_the_umask() {
    let home = Home::bare();
    let open_to_all = |line: &str, stdin: &[u8]| {
        let line = format!("umask 000; {line}");
        let mut command = Command::new("sh");
        command.args(["-c", &line, MAILSTAMP]).env_clear().env("HOME", home.path()).current_dir(home.path());
        run(&mut command, stdin)
    };
    home.configure("addresses = [\"alice@x.example\"]");
    let made =
        open_to_all("\"$0\" vendor keygen --vendor stamps.example --kid 2026q4 --out stamps.example-2026q4.key", b"");
    open_to_all("\"$0\" vendor trust -", &made.exits(0).stdout).exits(0);
    let message = home.stamped(&letter("1"));
    open_to_all("\"$0\" classify", &message).exits(0).says("first-class paid");
    let vendors = home.config().with_file_name("vendors");
    for (path, mode) in [
        (home.key("stamps.example", "2026q4"), 0o600),
        (vendors.join("stamps.example.json"), 0o644),
        (vendors, 0o755),
        (home.state(), 0o700),
        (home.state().join("used.redb"), 0o600),
        (home.state().join("verdicts.jsonl"), 0o600),
    ] {
        let found = fs::metadata(&path).unwrap().permissions().mode() & 0o777;
        assert_eq!(found, mode, "{}: {found:o}", path.display());
    }
}
