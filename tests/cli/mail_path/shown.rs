//! `config show` prints a configuration with the same meaning; errors name the option that is wrong; empty lists say
//! so.

use crate::support::{ALICE, Home};
use serde_json::Value;
use std::fs;

#[test]
fn shown_settings_are_a_configuration_that_means_the_same() {
    let all = "addresses = [\"you+*@your.example\", { address = '/^a\\\\d@b[.]example$/', price = 5, owner = \"a \\\"b\" }]\n\
        price = 2\nallow = [\"*@y.example\"]\ncase_sensitive = true\nauthserv_id = \"mx.x.example\"\n\
        trusted_authserv_ids = [\"-\", \"mx.x.example\"]\nsyslog = false\nmax_message_size = 5000\nverdict_log = false\n\
        [actions]\nunstamped = \"hold\"\n[stamps]\nskew = \"1h\"\nallow_no_expiry = true\ndefer_stale = true\n\
        [used_log]\nwait = \"3s\"\nmax_redeliveries = 9\n[watch]\njunk = [\"Junk\", \"Spam's\"]\nrescan = \"5m\"\n\
        [replies]\nchallenge = true\nfrom = \"me@x.example\"\nper_day = 7\nchallenge_template = \"/t\"\n\
        [sendmail]\nnone = [\"*@z.example\"]\nwhen_away = \"plain\"\nlearn = false\n\
        smtp = { host = \"mx\", tls = \"implicit\", user = \"u\", password_file = \"/p\", ca_file = \"/c\" }\n\
        [sender]\naccount = \"a\"\nvalue = 3\ndays = 9\nhashed = true\ntimeout = \"9s\"\n\
        prefer = [{ recipients = [\"*@w.example\"], vendors = [\"v.example\"], value = 4 }, { recipients = [\"a@b\"] }]\n\
        [deliver]\nmaildir = \"/m\"\n[deliver.folders]\nused = \"Junk\"\n[held]\nkeep = \"0d\"\n[sent]\nretention = \"2d\"\n\
        [serve]\nconnections = 9\npurge = \"0s\"\nrefresh = \"1d\"\nwatch = false\nmetrics = \"127.0.0.1:9465\"\n\
        [gateway]\nname = \"mx.x.example\"\n[gateway.inbound]\nlisten = \"0.0.0.0:25\"\ninner = \"127.0.0.1:10025\"\n\
        client_address = \"proxy\"\nprice = 3\nhelp = \"https://x.example/\"\nclose_unaware = true\n\
        null_sender = \"reports\"\nid_life = \"2h\"\nmeter_exposure = 9\nseal = \"/s\"\ncertificate = \"/c\"\nkey = \"/k\"\n\
        [gateway.outbound]\nlisten = \"unix:/o\"\nca = \"/a\"\nmax_price = 1\nmax_message = 2\nmax_day = 3\n\
        routes = { \"y.example\" = \"mx.y.example:25\", \"z.example\" = \"[::1]:26\" }\n";
    for text in [format!("addresses = [\"{ALICE}\"]"), all.to_owned()] {
        let home = Home::new();
        home.configure(&text);
        let shown = home.run(["config", "show"], b"").exits(0).text();
        let again = home.config().with_file_name("again.toml");
        fs::write(&again, &shown).unwrap();
        let again = ["--config", again.to_str().unwrap(), "config", "show"];
        let without_path = |shown: &str| shown.split_once('\n').unwrap().1.to_owned();
        assert_eq!(without_path(&home.run(again, b"").exits(0).text()), without_path(&shown), "{shown}");
        let meaning = |args: &[&str]| {
            let json = home.run(args.iter().copied().chain(["--json"]), b"").exits(0).text();
            let mut json: Value = serde_json::from_str(&json).unwrap();
            json.as_object_mut().unwrap().remove("config");
            json
        };
        assert_eq!(meaning(&again), meaning(&["config", "show"]));
    }
}

#[test]
fn values_that_cannot_be_meant_are_refused() {
    let home = Home::new();
    let socket = home.file("nope").join("x");
    for (command, code, said) in [
        (
            "grant --serial v.example/s --until 2020-01-01T00:00:00Z".to_owned(),
            65,
            "--until 2020-01-01T00:00:00Z: in the past",
        ),
        ("vendor issue --key k --to a@b.example --days 0".to_owned(), 64, "--days"),
        ("account show".to_owned(), 78, "there is no account"),
        ("directory add v.example --max-age 5".to_owned(), 64, "--max-age 5: not a duration (write \"90s\""),
        (format!("serve --socket {}", socket.display()), 78, "cannot listen at"),
        ("correspondents".to_owned(), 0, "note: no such correspondent"),
        ("grants".to_owned(), 0, "note: there is no such grant"),
        ("wallet list".to_owned(), 0, "note: no stamp is in the wallet"),
        ("wallet show".to_owned(), 0, "note: no unused stamp is in the wallet"),
        ("account list".to_owned(), 0, "note: there is no account"),
        ("account prefer".to_owned(), 0, "note: no recipient has a preference"),
    ] {
        if command.starts_with("serve") && !cfg!(feature = "daemon")
            || ["account", "wallet"].iter().any(|word| command.starts_with(word)) && !cfg!(feature = "sender")
            || command.starts_with("directory") && !cfg!(feature = "directory")
        {
            continue;
        }
        let run = home.run(command.split(' '), b"").exits(code);
        assert!(run.stderr.contains(said), "{command}: {}", run.stderr);
    }
    assert!(!socket.parent().unwrap().exists());
}
