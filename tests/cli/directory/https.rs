//! Directories over HTTPS.

use super::vendor::{
    VENDOR, home, keygen, list, publish, publish_as, refresh, says, source, stamped_as, verdict, version,
};
use super::web::{Authority, Web};
use crate::support::programs::program;
use crate::support::{Home, MAILSTAMP, faketime, run};
use std::fs;
use std::process::Command;

/// A vendor with an old key `a`, which is trusted, and a new one `b`, served over HTTPS.
fn served() -> (Home, Authority, Web) {
    let home = home();
    keygen(&home, VENDOR, "b");
    publish(&home, &["a", "b"], &[]);
    let authority = Authority::new(&home.file("ca"));
    let web = Web::start(&authority, &home.file("public"));
    list(&home, &source(&web.well_known(), ""));
    (home, authority, web)
}

#[test]
fn a_new_key_is_taken_from_a_directory_that_a_known_key_signed() {
    let (home, authority, web) = served();
    assert_eq!(says(&home, "b"), "unverified unknown-key");
    let run = refresh(&home, Some(authority.file())).exits(0);
    assert_eq!(run.text(), format!("{VENDOR}  {}  version {}\n", web.well_known(), version(&home)));
    assert_eq!(run.stderr, "");
    assert_eq!(says(&home, "a"), "first-class paid");
    assert_eq!(says(&home, "b"), "first-class paid");
    // Nothing that would have to be unpacked.
    assert_eq!(web.requests(), ["/.well-known/digital-stamp 200 -"]);
}

#[test]
fn what_has_not_changed_is_not_sent_again() {
    let (home, authority, web) = served();
    refresh(&home, Some(authority.file())).exits(0);
    let again = refresh(&home, Some(authority.file())).exits(0);
    assert!(again.text().ends_with("  nothing new\n"), "{}", again.text());
    publish(&home, &["a"], &["--revoke-serial", "s1"]);
    let newer = format!("  version {}\n", version(&home));
    assert!(refresh(&home, Some(authority.file())).exits(0).text().ends_with(&newer));
    let statuses: Vec<String> = web.requests().iter().map(|it| it.split(' ').nth(1).unwrap().to_owned()).collect();
    assert_eq!(statuses, ["200", "304", "200"]);
    let revoked = stamped_as(&home, VENDOR, "a", &["--serial", "s1"]);
    assert_eq!(verdict(&home, &revoked), "revoked by-vendor");
}

#[test]
fn a_certificate_of_another_authority_is_refused() {
    let (home, _authority, web) = served();
    let other = Authority::new(&home.file("other"));
    let run = refresh(&home, Some(other.file())).exits(65);
    assert!(run.stderr.starts_with("mailstamp: alarm: ") && run.stderr.contains("certificate"), "{}", run.stderr);
    // And the system's authorities do not know this one.
    refresh(&home, None).exits(65);
    assert_eq!(web.requests(), Vec::<String>::new());
    assert_eq!(says(&home, "b"), "unverified unknown-key");
}

#[test]
fn a_broken_certificate_in_the_bundle_hides_no_other() {
    let (home, authority, web) = served();
    let good = fs::read_to_string(authority.file()).unwrap().replace('\n', "\r\n");
    let [begin, end] = ["BEGIN", "END"].map(|it| format!("-----{it} CERTIFICATE-----\n"));
    let broken = [format!("{begin}AAAA\n{end}# mine\r\n"), format!("{begin}MII!!\n{end}{begin}MIIB")];
    let bundle = home.file("bundle.pem");
    fs::write(&bundle, broken.join(&good)).unwrap();
    refresh(&home, Some(bundle.clone())).exits(0);
    assert_eq!(says(&home, "b"), "first-class paid");
    // Without the good one the server is not known.
    fs::write(&bundle, broken.concat()).unwrap();
    refresh(&home, Some(bundle)).exits(65);
    assert_eq!(web.requests().len(), 1);
}

#[test]
fn redirects_stay_within_the_origin() {
    let (home, authority, web) = served();
    let elsewhere = Web::start(&authority, &home.file("elsewhere"));
    fs::create_dir_all(home.file("elsewhere/.well-known")).unwrap();
    fs::copy(home.file("public/.well-known/digital-stamp"), home.file("elsewhere/.well-known/digital-stamp")).unwrap();
    let out = web.address(&format!("to/localhost:{}/.well-known/digital-stamp", elsewhere.port));
    for (address, says) in [
        (out, "not the same origin"),
        (web.address("plain"), "not the same origin"),
        (web.address("round"), "more than 3 times"),
        (web.address("to/missing"), "status 404"),
    ] {
        list(&home, &source(&address, ""));
        let run = refresh(&home, Some(authority.file()));
        assert!(run.code == 65 || run.code == 69, "{address}: {}", run.code);
        assert!(run.stderr.contains(says), "{address}: {}", run.stderr);
    }
    assert_eq!(elsewhere.requests(), Vec::<String>::new());
    for address in ["to/.well-known/digital-stamp", "mirror/moved"] {
        list(&home, &source(&web.address(address), ""));
        refresh(&home, Some(authority.file())).exits(0);
        assert_eq!(says(&home, "b"), "first-class paid", "{address}");
    }
}

#[test]
fn a_gigabyte_is_cut_off_and_a_slow_server_is_left() {
    let (home, authority, web) = served();
    list(&home, &source(&web.address("large"), ""));
    let run = refresh(&home, Some(authority.file())).exits(65);
    assert!(run.stderr.contains("larger than 4194304 bytes"), "{}", run.stderr);
    let sent = crate::support::programs::eventually("the server gave up", || {
        let lines = web.requests();
        lines.iter().find_map(|line| line.strip_prefix("/large ")?.parse::<u64>().ok())
    });
    assert!(sent < 64 << 20, "{sent} bytes were sent");
    list(&home, &format!("timeout = \"2s\"\n{}", source(&web.address("slow"), "")));
    // It was cut off: all of it would be no directory, and that is status 65.
    let run = refresh(&home, Some(authority.file())).exits(69);
    assert!(run.stderr.starts_with("mailstamp: warning: "), "{}", run.stderr);
}

// Threat 23.
#[test]
fn a_lower_version_is_refused_wherever_it_comes_from() {
    let (home, authority, _web) = served();
    let document = home.file("public/.well-known/digital-stamp");
    let (old, first) = (fs::read(&document).unwrap(), version(&home));
    refresh(&home, Some(authority.file())).exits(0);
    publish(&home, &["a"], &["--revoke-key", "b"]);
    let second = version(&home);
    assert!(second > first);
    refresh(&home, Some(authority.file())).exits(0);
    assert_eq!(says(&home, "b"), "invalid key-revoked");
    fs::write(&document, &old).unwrap();
    let run = refresh(&home, Some(authority.file())).exits(65);
    assert!(run.stderr.contains(&format!("went back to version {first}; {second} was accepted")), "{}", run.stderr);
    assert_eq!(says(&home, "b"), "invalid key-revoked");
    assert!(home.run(["doctor"], b"").exits(78).text().contains(&format!("went back to version {first}")));
    // The version in a file of the user cannot go back either.
    fs::write(home.file(".config/mailstamp/vendors/old.json"), &old).unwrap();
    assert_eq!(says(&home, "b"), "invalid key-revoked");
    fs::write(home.file("mirror"), &old).unwrap();
    list(&home, &source(home.file("mirror").to_str().unwrap(), ""));
    // A mirror may be slow; it is no alarm, and no directory either.
    let run = refresh(&home, None).exits(69);
    assert!(run.stderr.contains(&format!("it is version {first}, and {second} was seen elsewhere")), "{}", run.stderr);
}

// Threat 19.
#[test]
fn a_directory_of_another_key_is_refused_whoever_serves_it() {
    let (home, authority, web) = served();
    refresh(&home, Some(authority.file())).exits(0);
    // An attacker controls the server: another key under the known name, and one under a new name.
    let (thief, accepted) = (Home::bare(), version(&home));
    for (kid, says_why) in [("a", "is invalid under the known key a"), ("x", "no known key signed it")] {
        keygen(&thief, VENDOR, kid);
        let folder = format!("forged-{kid}");
        publish_as(&thief, VENDOR, &folder, &[kid], &["--now", &accepted.to_string()]);
        let forged = thief.file(&format!("{folder}/.well-known/digital-stamp"));
        fs::copy(forged, home.file("public/.well-known/digital-stamp")).unwrap();
        let run = refresh(&home, Some(authority.file())).exits(65);
        assert!(run.stderr.contains(says_why), "{}", run.stderr);
    }
    assert_eq!(says(&home, "b"), "first-class paid");
    assert_eq!(verdict(&home, &stamped_as(&thief, VENDOR, "x", &[])), "unverified unknown-key");
    // The user may let the server vouch; then a new name is taken from it, and a known one still is not.
    list(&home, &source(&web.well_known(), "new_keys = \"channel\""));
    let run = refresh(&home, Some(authority.file())).exits(65);
    assert!(run.stderr.contains(&format!("version {accepted} changed after publication")), "{}", run.stderr);
    publish_as(&thief, VENDOR, "forged-x", &["x"], &[]);
    fs::copy(thief.file("forged-x/.well-known/digital-stamp"), home.file("public/.well-known/digital-stamp")).unwrap();
    // What the user lets in is another history, which is reported once.
    let run = refresh(&home, Some(authority.file())).exits(65);
    assert!(
        run.stderr.contains(&format!("does not continue version {accepted}, which was accepted")),
        "{}",
        run.stderr
    );
    refresh(&home, Some(authority.file())).exits(0);
    assert_eq!(verdict(&home, &stamped_as(&thief, VENDOR, "x", &[])), "first-class paid");
}

#[test]
fn a_vendor_is_trusted_when_a_person_says_so() {
    let (served, authority, web) = served();
    let home = Home::bare();
    home.configure("addresses = [\"alice@x.example\"]");
    let add = |more: &[&str]| {
        let mut command = home.command();
        command.args(["directory", "add", VENDOR, "--from", &web.well_known()]).args(more);
        run(command.env("SSL_CERT_FILE", authority.file()), b"")
    };
    let run = add(&[]).exits(65);
    assert!(run.text().contains("  a  ") && run.text().contains("  b  "), "{}", run.text());
    assert!(run.stderr.contains("standard input is not a terminal"), "{}", run.stderr);
    assert!(!home.file(".config/mailstamp/vendors").exists());
    // At a terminal the user is asked, and any answer but yes means no.
    let asked = |answer: &str| {
        let line = format!("{MAILSTAMP} directory add {VENDOR} --from {}", web.well_known());
        let mut script = Command::new(program("script", "bsdutils"));
        script.args(["-qec", &line, "/dev/null"]).env_clear().env("HOME", home.path());
        crate::support::run(
            script.env("PATH", "/usr/bin:/bin").env("SSL_CERT_FILE", authority.file()),
            answer.as_bytes(),
        )
    };
    let no = asked("\n").exits(65);
    assert!(no.text().contains("shall stamps signed with them be accepted? [y/N]"), "{}", no.text());
    assert!(!home.file(".config/mailstamp/vendors").exists());
    asked("y\n").exits(0);
    fs::remove_dir_all(home.file(".config/mailstamp/vendors")).unwrap();
    add(&["--yes"]).exits(0);
    assert_eq!(verdict(&home, &stamped_as(&served, VENDOR, "b", &[])), "first-class paid");
    refresh(&home, Some(authority.file())).exits(0);
    // Once more is a mistake, and leaves the list as it was.
    let run = add(&["--yes"]).exits(65);
    assert!(run.stderr.contains("listed twice"), "{}", run.stderr);
    refresh(&home, Some(authority.file())).exits(0);
}

#[test]
#[cfg_attr(target_env = "musl", ignore = "faketime(1) changes no clock of a static program")]
fn a_source_that_is_away_is_stood_in_for_and_its_silence_ends_trust_in_time() {
    // BP4b: first unreachable, second used.
    let (home, authority, web) = served();
    let gone = Web::start(&authority, &home.file("gone"));
    let dead = gone.well_known();
    drop(gone);
    list(&home, &(source(&dead, "max_age = \"1d\"") + &source(&web.well_known(), "max_age = \"1d\"")));
    let run = refresh(&home, Some(authority.file())).exits(0);
    assert!(run.stderr.starts_with(&format!("mailstamp: warning: {VENDOR}: {dead}: ")), "{}", run.stderr);
    assert_eq!(says(&home, "b"), "first-class paid");
    // None reachable: the keys stay until what was said about them is too old, the pinned one too.
    drop(web);
    refresh(&home, Some(authority.file())).exits(69);
    assert_eq!(says(&home, "b"), "first-class paid");
    let later = days_from_now(2);
    for kid in ["a", "b"] {
        let message = stamped_as(&home, VENDOR, kid, &[]);
        let run = home.run(["classify", "--dry-run", "--exit-zero", "--now", &later], &message).exits(0);
        assert_eq!(run.text(), "unverified stale-directory\n", "{kid}");
    }
    let in_two_days = |words: &[&str]| {
        let mut command = faketime("+2d");
        command.arg(MAILSTAMP).args(words).env_clear().env("HOME", home.path());
        crate::support::run(command.env("PATH", "/usr/bin:/bin").env("SSL_CERT_FILE", authority.file()), b"")
    };
    let said = in_two_days(&["directory", "refresh"]).exits(65);
    for kid in ["a", "b"] {
        let alarm = format!("mailstamp: alarm: {VENDOR}: the fetched directory of key {kid} has expired\n");
        assert!(said.stderr.contains(&alarm), "{}", said.stderr);
    }
    let doctor = in_two_days(&["doctor"]).exits(78).text();
    assert!(doctor.contains("has expired, so its stamps are unverified"), "{doctor}");
    // The user may prefer that such mail waits. `explain` and the like don't need to wait.
    home.configure("addresses = [\"alice@x.example\"]\n[stamps]\ndefer_stale = true");
    let message = stamped_as(&home, VENDOR, "a", &[]);
    let run = home.run(["classify", "--now", &later], &message).exits(75);
    assert!(run.stderr.contains("has expired") && run.stdout.is_empty(), "{}", run.stderr);
    assert_eq!(home.run(["filter", "--now", &later], &message).exits(75).stdout, b"");
    home.run(["classify", "--dry-run", "--now", &later], &message).exits(13);
    home.classify(&message).exits(0).says("first-class paid");
}

/// Returns the time in the given number of days from now, in seconds.
fn days_from_now(days: u64) -> String {
    let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap().as_secs();
    (now + days * 86_400).to_string()
}

#[test]
fn two_directories_that_disagree_about_a_key_are_an_alarm_and_nobody_is_believed() {
    let (home, authority, _web) = served();
    // A public directory of many vendors, trusted to list others, has another key under the name b.
    keygen(&home, "directory.example", "d");
    let other = Home::bare();
    keygen(&other, VENDOR, "b");
    publish_as(&other, VENDOR, "o", &["b"], &[]);
    let listed = other.file(&format!("o/{VENDOR}.json"));
    publish_as(&home, "directory.example", "d", &["d"], &["--list", listed.to_str().unwrap()]);
    let file = home.file("d/.well-known/digital-stamp");
    let add = ["directory", "add", "directory.example", "--any", "--yes", "--from", file.to_str().unwrap()];
    let shown = home.run(add, b"").exits(0);
    assert!(shown.text().starts_with("directory.example\n  d  "), "{}", shown.text());
    let run = refresh(&home, Some(authority.file())).exits(65);
    assert_eq!(run.stderr, format!("mailstamp: alarm: {VENDOR}: your sources disagree about key b\n"));
    assert_eq!(says(&home, "b"), "unverified key-conflict");
    assert_eq!(says(&home, "a"), "first-class paid");
    let doctor = home.run(["doctor"], b"").exits(78);
    assert!(doctor.text().contains("your sources disagree about key b"), "{}", doctor.text());
}

#[test]
fn an_alarm_reaches_the_systems_log_and_a_quiet_refresh_says_nothing_else() {
    let (home, authority, _web) = served();
    let socket = home.file("log");
    let log = std::os::unix::net::UnixDatagram::bind(&socket).unwrap();
    log.set_nonblocking(true).unwrap();
    home.configure(&format!("addresses = [\"alice@x.example\"]\nsyslog = \"{}\"", socket.display()));
    let quietly = || {
        let mut command = home.command();
        run(command.args(["directory", "refresh", "--quiet"]).env("SSL_CERT_FILE", authority.file()), b"")
    };
    let first = quietly().exits(0);
    assert_eq!((first.text(), first.stderr), (String::new(), String::new()));
    let document = home.file("public/.well-known/digital-stamp");
    let old = fs::read(&document).unwrap();
    publish(&home, &["a"], &[]);
    quietly().exits(0);
    let mut line = [0; 2048];
    assert!(log.recv(&mut line).is_err());
    fs::write(&document, old).unwrap();
    // `directory check` alone writes nothing to syslog.
    let mut check = home.command();
    run(check.args(["directory", "check"]).env("SSL_CERT_FILE", authority.file()), b"").exits(65);
    assert!(log.recv(&mut line).is_err());
    quietly().exits(65);
    let length = log.recv(&mut line).unwrap();
    let line = String::from_utf8_lossy(&line[..length]);
    assert!(line.starts_with("<19>mailstamp[") && line.contains("directory alarm: stamps.example: "), "{line}");
    assert!(line.contains("went back to version "), "{line}");
}

#[test]
fn the_recipes_for_timers_run_a_refresh() {
    let (home, authority, web) = served();
    let bin = crate::support::programs::install(home.path());
    let name = bin.join("mailstamp");
    for (recipe, from) in [
        ("directory-refresh.service", "%h/.cargo/bin/mailstamp"),
        ("directory-refresh.cron", "$HOME/.cargo/bin/mailstamp"),
    ] {
        let text = crate::support::programs::recipe(recipe, &[(from, name.to_str().unwrap())]);
        let line = text.lines().find(|line| line.contains(" directory refresh ") && !line.starts_with('#')).unwrap();
        let (_, arguments) = line.split_once(name.to_str().unwrap()).unwrap();
        let before = web.requests().len();
        let mut shell = Command::new("sh");
        shell.args(["-c", &format!("{}{arguments}", name.display())]);
        shell.env_clear().env("HOME", home.path()).env("SSL_CERT_FILE", authority.file());
        run(&mut shell, b"").exits(0);
        assert_eq!(web.requests().len(), before + 1, "{line}");
    }
    let timer = crate::support::programs::recipe("directory-refresh.timer", &[]);
    assert!(timer.contains("\nOnCalendar=") && timer.contains("\nWantedBy=timers.target"), "{timer}");
}

#[test]
fn what_a_server_says_cannot_write_to_a_terminal() {
    let (home, authority, web) = served();
    fs::write(home.file("public/control"), "{\"directory\": \"v4.public.\\u001b[2J\"}").unwrap();
    fs::write(home.file("public/text"), "\u{1b}[2J\u{202e}").unwrap();
    for path in ["control", "text"] {
        list(&home, &source(&web.address(path), ""));
        let run = refresh(&home, Some(authority.file()));
        assert!(run.code != 0 && !run.stderr.is_empty());
        let listed = home.run(["directory", "list"], b"").exits(0).text() + &home.run(["doctor"], b"").text();
        for text in [run.stderr, listed] {
            assert!(text.bytes().all(|b| b == b'\n' || (b' '..=b'~').contains(&b)), "{text:?}");
        }
    }
}
