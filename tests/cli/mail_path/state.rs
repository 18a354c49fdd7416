//! The state of each user, moving it, and the answers of `doctor` and `trust add` about it.

use crate::support::programs::{chmod, give, install};
use crate::support::{ALICE, Home, MAILSTAMP, Run, letter, run, stamped, traced_with};
use serde_json::Value;
use std::fs::{self, Permissions};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::Command;

/// A home for many virtual users.
fn of_many() -> Home {
    let home = Home::new();
    fs::create_dir(home.file("mail")).unwrap();
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
fn a_user_who_is_named_counts_before_the_environment() {
    let home = of_many();
    for user in ["alice@x.example", "bob@x.example"] {
        let message = stamped(&home.mint(user, "1"), &letter(user));
        run(home.command().args(["classify", "--recipient", user]), &message).exits(0);
    }
    let ask = |args: &str| {
        let mut command = home.command();
        let words = args.split(' ').chain(["--user", "bob@x.example"]);
        run(command.args(words).env("USER", "alice@x.example").env("RECIPIENT", "alice@x.example"), b"").exits(0).text()
    };
    assert!(ask("log --json").contains("bob@x.example"), "{}", ask("log --json"));
    assert!(ask("config show").contains("mail/x.example/bob"));
    run(home.command().args(["log", "--json", "--user", "bob"]).env("USER", "alice@x.example"), b"").exits(78);
}

#[test]
fn one_mailbox_has_one_state_however_its_address_is_spelled() {
    // Promise 2.
    let home = of_many();
    let stamp = home.mint("alice@xn--bcher-kva.example", "1");
    let to = |user: &str, message: &[u8]| home.run(["classify", "--recipient", user], message);
    let honest = stamped(&stamp, &letter("1"));
    to("alice@xn--bcher-kva.example", &honest).exits(0).says("first-class paid");
    for (n, user) in [
        "alice@b\u{fc}cher.example",
        "alice@bu\u{308}cher.example",
        "alice@xn--bcher-kva.example.",
        "ALICE@XN--BCHER-KVA.EXAMPLE",
        "\"alice\"@xn--bcher-kva.example",
    ]
    .into_iter()
    .enumerate()
    {
        to(user, &honest).exits(0).says("first-class again");
        to(user, &stamped(&stamp, &letter(&format!("other{n}")))).exits(21).says("used used");
    }
    assert_eq!(fs::read_dir(home.file("mail")).unwrap().count(), 1);
}

/// Returns the program where `passwd` is the user database, in which the user of the process is root.
fn with_passwd(home: &Home, passwd: &str) -> Command {
    fs::write(home.file("passwd"), passwd).unwrap();
    let mut command = Command::new("unshare");
    let script = "mount --bind \"$1\" /etc/passwd && shift && exec \"$@\"";
    command.args(["--user", "--map-root-user", "--mount", "sh", "-c", script, "sh"]).arg(home.file("passwd"));
    command.arg(MAILSTAMP).env_clear().env("PATH", "/usr/bin:/bin").current_dir(home.path());
    command
}

#[test]
fn without_home_the_user_database_names_it() {
    let home = Home::new();
    let passwd = |folder: &str| format!("other:x:7:7::/other:/bin/sh\nroot:x:0:0::{folder}:/bin/sh\n");
    let known = passwd(home.path().to_str().unwrap());
    for (at, value) in [None, Some("")].into_iter().enumerate() {
        let ask = |passwd: &str, args: &[&str]| {
            let mut command = with_passwd(&home, passwd);
            let id = format!("{at}{}", args[0]);
            run(
                command.args(args).envs(value.map(|value| ("HOME", value))),
                &stamped(&home.mint(ALICE, &id), &letter(&id)),
            )
        };
        ask(&known, &["classify"]).exits(0).says("first-class paid");
        ask(&known, &["deliver"]).exits(0);
        for command in ["classify", "filter", "deliver"] {
            let said = ask(&passwd("/nowhere"), &[command]).exits(75);
            assert!(said.stderr.contains("/nowhere is not a folder"), "{}", said.stderr);
        }
        let said = ask(&passwd("/nowhere"), &["doctor"]).exits(78);
        assert!(said.text().contains("/nowhere is not a folder"), "{}", said.text());
    }
    assert_eq!(fs::read_dir(home.file("Maildir/new")).unwrap().count(), 2);
}

#[test]
fn absolute_base_directories_are_enough_without_a_home() {
    let home = Home::new();
    let ask = |variables: &[(&str, PathBuf)], id: &str| {
        let mut command = with_passwd(&home, "root:x:0:0::/nowhere:/bin/sh\n");
        let envs = variables.iter().map(|(name, value)| (*name, value));
        run(command.arg("classify").envs(envs), &stamped(&home.mint(ALICE, id), &letter(id)))
    };
    let config = ("XDG_CONFIG_HOME", home.file(".config"));
    let state = ("XDG_STATE_HOME", home.file(".local/state"));
    ask(&[config.clone(), state.clone()], "1").exits(0).says("first-class paid");
    ask(&[config.clone(), state.clone(), ("HOME", "/nowhere".into())], "2").exits(0).says("first-class paid");
    // Relative ones are ignored, although they would be found here.
    let relative = ("XDG_CONFIG_HOME", ".config".into());
    ask(&[relative.clone(), state], "3").exits(75);
    ask(&[relative, ("HOME", home.path().into())], "4").exits(0).says("first-class paid");
    ask(&[config], "5").exits(75);
    // A base directory is created, and its parent is not.
    let away = ("XDG_CONFIG_HOME", home.file("away/config"));
    ask(&[away], "6").exits(75);
    assert!(!home.file("away").exists());
}

#[test]
#[cfg(feature = "sender")]
fn sendmail_waits_for_a_home_that_is_not_mounted() {
    let home = Home::new();
    let said = run(home.command().env("HOME", home.file("away/home")).args(["sendmail", "-t"]), &letter("1")).exits(75);
    assert!(said.stderr.contains("is not a folder") && !home.file("away").exists(), "{}", said.stderr);
}

#[test]
fn the_name_of_a_user_is_never_a_pattern() {
    let home = Home::new();
    fs::create_dir(home.file("mail")).unwrap();
    let state = home.file("mail/%n");
    home.configure(&format!(
        "addresses = [\"%u\", \"%n@x.example\", \"/^%n@x[.]example$/\", \"%n+*@x.example\"]\nstate = \"{}\"",
        state.display()
    ));
    let victim = stamped(&home.mint("victim@x.example", "1"), &letter("1"));
    let ask = |name: &str| run(home.command().arg("classify").env("RECIPIENT", name), &victim);
    for name in ["vict.m@x.example", "v{1}ictim@x.example", "victim|a@x.example"] {
        ask(name).exits(20).says("invalid not-for-me");
    }
    for name in ["*@x.example", "vic*@x.example", "-n@x.example", "\"/\"@x.example", "\"\u{7}\"@x.example"] {
        let said = ask(name);
        assert!(said.code == 75 && said.stderr.contains("user name"), "{name}: {said:?}");
    }
    ask("victim@x.example").exits(0).says("first-class paid");
}

#[test]
fn a_home_that_is_not_mounted_is_no_empty_home() {
    // Promises 2 and 7.
    let home = Home::new();
    home.configure(&format!("addresses = [\"{ALICE}\"]\nallow = [\"bob@y.example\"]"));
    let (mounted, away) = (home.file("home"), home.file("home.unmounted"));
    fs::create_dir(&away).unwrap();
    fs::rename(home.file(".config"), away.join(".config")).unwrap();
    let ask = |args: &[&str], message: &[u8]| run(home.command().env("HOME", &mounted).args(args), message);
    let waits = |said: Run, why: &str| {
        assert!(said.code == 75 && said.stderr.contains(why), "{said:?}");
        assert!(!mounted.exists(), "it was made");
    };
    let stamp = |id: &str| home.mint(ALICE, id);
    let config = away.join(".config/mailstamp/config.toml");
    let elsewhere = ["--config", config.to_str().unwrap(), "classify"];
    for args in [&["classify"][..], &["filter"], &["deliver"], &["held", "add"]] {
        waits(ask(args, &letter("1")), "home is not a folder");
    }
    fs::rename(&away, &mounted).unwrap();
    ask(&["classify"], &letter("1")).exits(10).says("allowed rule");
    // The configuration elsewhere, the state at home.
    fs::create_dir(home.file("etc")).unwrap();
    fs::rename(mounted.join(".config/mailstamp"), home.file("etc/mailstamp")).unwrap();
    let config = home.file("etc/mailstamp/config.toml");
    let elsewhere = [elsewhere[0], config.to_str().unwrap(), elsewhere[2]];
    ask(&elsewhere, &stamped(&stamp("1"), &letter("2"))).exits(0).says("first-class paid");
    fs::rename(&mounted, &away).unwrap();
    waits(ask(&elsewhere, &stamped(&stamp("1"), &letter("3"))), "home is not a folder");
    waits(
        ask(&elsewhere, b"From: carol@z.example\n\nWhether she was let through is not known.\n"),
        "home is not a folder",
    );
    fs::rename(&away, &mounted).unwrap();
    ask(&elsewhere, &stamped(&stamp("1"), &letter("3"))).exits(10);
    ask(&elsewhere, &stamped(&stamp("1"), b"From: carol@z.example\n\nx\n")).exits(21).says("used used");
}

#[test]
fn the_folder_above_a_state_that_is_named_is_not_made() {
    let home = Home::new();
    for (serial, state, missing) in
        [("a", "disk/state", "disk"), ("b", "disk/mail/%d/%n", "disk/mail"), ("c", "disk/%n/mailstamp", "disk")]
    {
        let text = |folder: &Path| format!("addresses = [\"{ALICE}\"]\nstate = \"{}\"", folder.display());
        home.configure(&text(&home.file(state)));
        let message = stamped(&home.mint(ALICE, serial), &letter(serial));
        let args = ["classify", "--recipient", ALICE];
        let said = home.run(args, &message).exits(75);
        let why = format!("{} is not a folder", home.file(missing).display());
        assert!(said.stderr.contains(&why) && !home.file("disk").exists(), "{}", said.stderr);
        fs::create_dir_all(home.file(missing)).unwrap();
        home.run(args, &message).exits(0).says("first-class paid");
        fs::remove_dir_all(home.file("disk")).unwrap();
    }
    home.configure(&format!("addresses = [\"{ALICE}\"]"));
    let message = stamped(&home.mint(ALICE, "1"), &letter("1"));
    let named = home.file("disk/state");
    home.run(["--state", named.to_str().unwrap(), "classify"], &message).exits(75);
    assert!(!home.file("disk").exists());
    // A relative path is no home, and neither is a file.
    for (value, why) in [(".", "HOME is not set"), ("/dev/null", "/dev/null is not a folder")] {
        let said = run(home.command().env("HOME", value).arg("classify"), &message).exits(75);
        assert!(said.stderr.contains(why), "{}", said.stderr);
    }
}

#[test]
fn folders_that_are_made_are_on_the_disk() {
    for (command, held) in [("classify", false), ("deliver", true)] {
        let home = Home::new();
        if held {
            home.configure(&format!("addresses = [\"{ALICE}\"]\n[actions]\nunstamped = \"hold\""));
        }
        let (said, notes) =
            traced_with(home.command().arg(command), &["-y", "-e", "trace=mkdirat,mkdir,fsync"], &letter("1"));
        assert!([0, 11].contains(&said.code), "{}", said.stderr);
        let made = notes.lines().filter(|line| line.contains("mkdir") && line.ends_with("= 0"));
        let made: Vec<&str> =
            made.filter_map(|line| line.split('"').nth(1).filter(|path| path.starts_with('/'))).collect();
        assert!(made.len() >= 3, "{notes}");
        for folder in made {
            let above = Path::new(folder).parent().unwrap().display();
            assert!(
                notes.lines().any(|line| line.contains("fsync(") && line.contains(&format!("<{above}>"))),
                "{notes}"
            );
        }
    }
    // And so is the file that takes the place of another.
    let home = Home::new();
    let vendors = home.config().with_file_name("vendors");
    let document = fs::read(vendors.join("stamps.example.json")).unwrap();
    let mut trust = home.command();
    trust.args(["trust", "add", "--replace", "-"]);
    let (said, notes) = traced_with(&mut trust, &["-y", "-e", "trace=/rename,fsync"], &document);
    said.exits(0);
    let renamed = notes.lines().position(|line| line.contains("rename")).expect("a new file");
    let synced = notes.lines().position(|line| line.contains("fsync(") && line.contains("/vendors>"));
    assert!(synced > Some(renamed), "{notes}");
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
    new.run(["trust", "add", "--replace", "-"], &document).exits(0);
    let stamp = old.mint(ALICE, "1");
    old.classify(&stamped(&stamp, &letter("1"))).exits(0).says("first-class paid");
    let standing =
        "{\"row\":\"standing\",\"vendor\":\"stamps.example\",\"serial\":\"2\",\"standing\":{\"revoked\":1}}\n";
    assert_eq!(old.run(["import"], standing.as_bytes()).exits(0).text(), "rows taken in: 1, known before: 0\n");
    let rows = old.run(["export"], b"").exits(0).stdout;
    assert_eq!(new.run(["import"], &rows).exits(0).text(), "rows taken in: 2, known before: 0\n");
    assert_eq!(new.run(["import"], &rows).exits(0).text(), "rows taken in: 0, known before: 2\n");
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
    let own = |home: &Home, more: &str| home.configure(&format!("addresses = [\"a@b.example\"]\n{more}"));
    let asks = |home: &Home| {
        let rule = "[[rule]]\nname = \"friends\"\naction = \"allow\"\ncorrespondent = true\n";
        fs::write(home.config().with_file_name("rules.toml"), rule).unwrap();
    };
    let host = rustix::system::uname().nodename().to_str().unwrap().to_owned();
    let recipe = |home: &Home, text: &str| fs::write(home.path().join(".procmailrc"), text).unwrap();
    let faults: [(&str, &str, &str, Plant); 23] = [
        ("error", "configuration", "prize", &|home| home.configure("prize = 1")),
        ("error", "configuration", "no addresses", &|home| home.configure("")),
        ("error", "configuration", "config.toml; write it", &|home| fs::remove_file(home.config()).unwrap()),
        ("error", "configuration", "others may write", &|home| mode(&home.config(), 0o666)),
        ("warning", "configuration", "not noticed", &|home| {
            home.configure("addresses = [\"a@b.example\"]\n[used_log]\nenabled = false")
        }),
        ("error", "vendors", "bad.json", &|home| fs::write(vendors(home).join("bad.json"), "{").unwrap()),
        ("error", "vendors", "disagree", &other_key),
        ("warning", "vendors", "no vendor is trusted", &|home| fs::remove_dir_all(vendors(home)).unwrap()),
        ("error", "state", "write", &|home| mode(&home.state(), 0o777)),
        ("warning", "state", "look into", &|home| mode(&home.state(), 0o755)),
        ("error", "used log", "used.redb", &|home| fs::write(home.state().join("used.redb"), "garbage").unwrap()),
        ("warning", "syslog", "nothing listens", &|home| {
            home.configure("syslog = \"/nowhere\"\naddresses = [\"a@b.example\"]")
        }),
        ("warning", "folders", "no folder /nowhere", &|home| own(home, "directories = \"/nowhere\"")),
        ("warning", "folders", "deliver.maildir", &|home| own(home, "[deliver]\nmaildir = \"/nowhere\"")),
        ("warning", "folders", "replace its files", &|home| mode(home.config().parent().unwrap(), 0o777)),
        ("warning", "folders", "vendors, and replace its files", &|home| mode(&vendors(home), 0o722)),
        ("error", "rules", "rules: /: not an ordinary file", &|home| own(home, "rules = \"/\"")),
        ("error", "vendors", "vendors: /dev/null: ", &|home| own(home, "vendors = \"/dev/null\"")),
        ("warning", "rules", "learn-sent", &asks),
        ("warning", "results", "trusted_authserv_ids", &|home| own(home, &format!("authserv_id = \"{host}\""))),
        ("warning", "mail system", "no recipe", &|home| recipe(home, "# mailstamp\n")),
        ("warning", "mail system", "line 2: mailstamp is called without its path", &|home| {
            recipe(home, ":0\n* ? mailstamp classify\nx\n")
        }),
        ("warning", "mail system", "no program /nowhere/mailstamp", &|home| {
            recipe(home, "VERDICT=`/nowhere/mailstamp classify`\n")
        }),
    ];
    for (health, check, text, plant) in faults {
        let home = Home::new();
        recipe(&home, &format!("MAILSTAMP={}\n", crate::support::MAILSTAMP));
        home.classify(&stamped(&home.mint(ALICE, "1"), &letter("1"))).exits(0);
        assert_eq!((checks(&home, "error"), checks(&home, "warning")), (vec![], vec![]));
        plant(&home);
        let found = checks(&home, health);
        assert!(found.iter().any(|(what, why)| what == check && why.contains(text)), "{check} {text}: {found:?}");
        home.run(["doctor"], b"").exits(if health == "error" { 78 } else { 0 });
    }
}

/// `/sys` takes no file and has no room, and is on every machine.
#[test]
fn doctor_sees_a_disk_that_takes_nothing() {
    let home = Home::new();
    home.configure("addresses = [\"a@b.example\"]\n[deliver]\nmaildir = \"/sys/fs\"");
    let found = checks(&home, "error");
    assert!(found.iter().any(|(what, why)| what == "disk" && why.starts_with("/sys/fs")), "{found:?}");
}

#[test]
fn trust_takes_no_weak_key_and_replaces_nothing_unasked() {
    let home = Home::new();
    let path = home.config().with_file_name("vendors").join("stamps.example.json");
    let before = fs::read(&path).unwrap();
    let other = Home::new();
    let theirs = fs::read(other.config().with_file_name("vendors").join("stamps.example.json")).unwrap();
    let refused = home.run(["trust", "add", "-"], &theirs).exits(73);
    assert!(
        refused.stderr.contains("is trusted already") && refused.stderr.contains("--replace"),
        "{}",
        refused.stderr
    );
    assert_eq!(fs::read(&path).unwrap(), before);
    let weak = |key: &str| format!("{{\"vendor\":\"w.example\",\"keys\":[{{\"kid\":\"a\",\"key\":\"{key}\"}}]}}");
    // Whether the keys are written with blanks or without.
    let good: serde_json::Value = serde_json::from_slice(&theirs).unwrap();
    let good = good.to_string();
    let one = "AQAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA";
    for (document, why) in [
        (weak(&format!("k4.public.{one}")), "weak"),
        (weak("k4.public.AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA"), "weak"),
        (weak("k4.public.AAAA"), "not a key"),
        (weak("k4.secret.AAAA"), "a secret key, in the place of its public half"),
        ("{\"vendor\":\"../w\"}".into(), "not the name of a vendor"),
        ("{\"vendor\":\"W.example\"}".into(), "not the name of a vendor"),
        ("{\"directory\":\"v4.public.x\"}".into(), "signed directory"),
        // The name of a key goes to the terminal.
        (good.replace("\"2026q4\"", "\"z\\u001b[1A\\u001b[2K\""), "not the name of a key"),
        (good.replace("\"2026q4\"", "\"\""), "not the name of a key"),
        (good.replace("\"active\"", "\"\\u001b[2K\""), "unknown variant"),
        (good.replacen('{', "{\"buy\":\"https://w.example/\\u001b[2K\",", 1), "not the address of a shop"),
        ("[]".into(), ""),
    ] {
        let refused = home.run(["trust", "add", "--replace", "-"], document.as_bytes()).exits(65);
        assert!(refused.stderr.contains(why), "{document}: {}", refused.stderr);
        assert!(!refused.stderr.contains('\u{1b}'), "{:?}", refused.stderr);
    }
    assert_eq!(fs::read_dir(path.parent().unwrap()).unwrap().count(), 1);
    home.run(["trust", "add", "--replace", "-"], &theirs).exits(0);
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
    open_to_all("\"$0\" trust add -", &made.exits(0).stdout).exits(0);
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

#[test]
fn what_is_no_vendors_document_is_refused_and_says_why() {
    let home = Home::new();
    let listed = || home.run(["trust", "list"], b"").exits(0).text();
    let before = listed();
    let secret = fs::read(home.key("stamps.example", "2026q4")).unwrap();
    for (document, says) in [
        (secret.as_slice(), "this is a secret key"),
        (br#"{"vendor":"stamps.example","key":[]}"#, "it lists no keys"),
        (br#"{"vendr":"stamps.example","keys":[]}"#, "not a vendor document: the member \"vendor\" is missing"),
        (br#"{"directory":5}"#, "not a vendor document: integer `5`"),
        (b"From: joe@x.example\n\nHello\n", "not a vendor document: "),
    ] {
        let run = home.run(["trust", "add", "--replace", "-"], document).exits(65);
        assert!(run.stderr.contains(says), "{}", run.stderr);
    }
    let run = home.run(["trust", "add", "https://stamps.example/"], b"").exits(66);
    assert!(run.stderr.contains("mailstamp directory add"), "{}", run.stderr);
    assert_eq!(listed(), before);
    // A document that leaves the keys to a directory says so.
    home.run(["trust", "add", "-"], br#"{"vendor":"a.example","keys":[]}"#).exits(0);
}

#[test]
fn a_vendor_is_trusted_no_more() {
    let home = Home::new();
    let stamped = home.stamped(&letter("one"));
    home.run(["trust", "remove", "stamps.example"], b"").exits(0);
    assert_eq!(home.classify(&stamped).text(), "unverified unknown-vendor\n");
    let again = home.run(["trust", "remove", "stamps.example"], b"").exits(66);
    assert!(again.stderr.contains("stamps.example is not trusted: "), "{}", again.stderr);
    let bare = home.run(["trust", "add", "stamps.example"], b"").exits(66);
    assert!(bare.stderr.contains("hint: `mailstamp directory add NAME --from ADDRESS`"), "{}", bare.stderr);
    home.run(["trust", "remove", "../config"], b"").exits(65);
}

#[test]
fn the_document_of_a_key_can_be_had_again() {
    let home = Home::bare();
    let keygen =
        ["vendor", "keygen", "--vendor", "v.example", "--kid", "a", "--out", "key", "--buy", "https://v.example/"];
    let document = home.run(keygen, b"").exits(0).text();
    let run = home.run(keygen, b"").exits(73);
    assert!(run.stderr.contains("mailstamp vendor document --key key"), "{}", run.stderr);
    let again = home.run(["vendor", "document", "--key", "key", "--buy", "https://v.example/"], b"").exits(0).text();
    assert_eq!(again, document);
    assert!(document.contains("\"buy\": \"https://v.example/\""), "{document}");
}

#[test]
fn under_own_mailbox_only_no_option_opens_another_mailbox() {
    // One Unix user has all mailboxes, and the caller chooses arguments but not the environment.
    const VMAIL: u32 = 64_989;
    let home = Home::new();
    for folder in [home.path(), &install(home.path())] {
        chmod(folder, 0o755);
    }
    let boxes = home.file("boxes").display().to_string();
    let text = format!(
        "addresses = [\"%u\"]\nsyslog = false\nown_mailbox_only = true\nstate = \"{boxes}/%n/mailstamp\"\n\
         [actions]\nunstamped = \"hold\"\n[deliver]\nmaildir = \"{boxes}/%n/Maildir\"\n"
    );
    fs::write(home.file("system.toml"), &text).unwrap();
    fs::write(home.file("other.toml"), &text).unwrap();
    ["alice", "bob"].iter().for_each(|name| fs::create_dir_all(format!("{boxes}/{name}")).unwrap());
    give(&home.file("boxes"), VMAIL, VMAIL);
    let script = "set -e; mount -t tmpfs tmpfs /etc; mkdir /etc/mailstamp; cp \"$1\" /etc/mailstamp/config.toml\n\
                  chmod -R go=rX /etc; shift; exec \"$@\"";
    let as_user = |user: &str, variables: &[(&str, &str)], args: &[&str]| {
        let mut command = Command::new("unshare");
        command.args(["--mount", "sh", "-c", script, "sh"]).arg(home.file("system.toml"));
        command.args(["setpriv", &format!("--reuid={VMAIL}"), &format!("--regid={VMAIL}"), "--clear-groups"]);
        command.arg(home.file("bin/mailstamp")).args(args).env_clear().envs(variables.iter().copied());
        run(command.env("USER", user).env("HOME", &boxes).env("PATH", "/usr/bin:/bin"), &letter("1"))
    };
    let (alice, bob, bobs) = (ALICE, "bob@x.example", format!("{boxes}/bob/mailstamp"));
    as_user(bob, &[], &["deliver"]).exits(0);
    assert!(as_user(bob, &[], &["held", "list"]).exits(0).text().contains("bob@y.example"));
    assert!(as_user(bob, &[], &["held", "list", "--user", bob, "--state", &bobs]).exits(0).text().contains("bob@y"));
    let other = home.file("other.toml").display().to_string();
    let nothing: &[(&str, &str)] = &[];
    for (variables, args) in [
        (nothing, &["held", "list", "--user", bob][..]),
        (nothing, &["held", "list", "--state", &bobs]),
        (nothing, &["held", "list", "--config", &other]),
        (&[("MAILSTAMP_STATE", bobs.as_str())], &["held", "list"]),
        (&[("MAILSTAMP_CONFIG", other.as_str())], &["held", "list"]),
        (nothing, &["export", "--user", bob]),
        (nothing, &["log", "--user", bob]),
    ] {
        let refused = as_user(alice, variables, args).exits(78);
        assert!(refused.stderr.contains("own_mailbox_only"), "{args:?}: {}", refused.stderr);
        assert_eq!(refused.text(), "", "{args:?}");
    }
    assert_eq!(as_user(alice, &[], &["held", "list"]).exits(0).text(), "no mail is held\n");
}
