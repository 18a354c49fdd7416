//! Problems of mailstamp itself: wrong arguments, a broken configuration, unusable files, streams that end, a wrong
//! clock. On the mail path all of them are exit status 75, and nothing was written to standard output.

use crate::support::{ALICE, Home, MAILSTAMP, Run, faketime, letter, run, traced_with};
use std::ffi::OsStr;
use std::fs::{self, File, Permissions};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::process::{Command, Stdio};

/// Deferred: 75, nothing on standard output, and standard error says `why`.
#[track_caller]
fn deferred(run: Run, why: &str) {
    assert_eq!((run.code, run.text().as_str()), (75, ""), "{}", run.stderr);
    assert!(run.stderr.contains(why), "{why:?} is not in {:?}", run.stderr);
}

#[test]
fn wrong_arguments_defer_where_a_message_may_be_waiting() {
    let home = Home::new();
    for args in [
        "classify --bogus",
        "filter --bogus",
        "classify --now yesterday",
        "classify --recipient",
        "filter surplus",
        "--bogus classify",
        "--state show classify --bogus",
        "--config doctor filter --bogus",
        "clasify",
        "deliver --bogus",
        "deliver surplus",
        "held add --bogus",
        "--bogus",
        "",
    ] {
        let said = home.run(args.split_whitespace(), &letter("1"));
        assert_eq!((said.code, said.text().as_str()), (75, ""), "{args}: {}", said.stderr);
        assert!(!said.stderr.is_empty(), "{args}");
    }
    deferred(home.run(["classify", "--recipient", "no-address"], &letter("1")), "--recipient");
    // Elsewhere it is the caller's mistake.
    for args in ["show --bogus", "vendor issue", "explain --now x", "purge x", "doctor --bogus", "completions tcsh"] {
        home.run(args.split_whitespace(), &letter("1")).exits(64);
    }
    for args in ["--help", "--version", "classify --help", "help"] {
        let code = home.run(args.split_whitespace(), b"").code;
        assert_eq!(code, 0, "{args}");
    }
}

#[test]
fn a_person_at_a_terminal_is_told_of_his_mistake() {
    let home = Home::new();
    for (args, code) in [("clasify", 64), ("--bogus", 64), ("classify --bogus", 75)] {
        let line = format!("{} {args}", crate::support::MAILSTAMP);
        let said = run(Command::new("script").args(["-qec", &line, "/dev/null"]).env("HOME", home.path()), b"");
        assert_eq!(said.code, code, "{args}: {}", said.text());
    }
}

#[test]
fn an_envelope_sender_of_any_bytes_is_no_obstacle() {
    // The sender chooses it, and it is only reported.
    let home = Home::new();
    for sender in [b"".as_slice(), b"<>", b"-f", b"\xff\xfe@\x80", b"a\nb@c", &[b'x'; 5000]] {
        let mut command = home.command();
        command.arg("classify").arg("--sender").arg(OsStr::from_bytes(sender));
        run(&mut command, &letter("1")).exits(11).says("unstamped no-stamp");
    }
}

#[test]
fn a_broken_configuration_defers_and_says_where_it_is_broken() {
    let home = Home::new();
    for (text, line, why) in [
        ("syslog = false\nprize = 2\n", "line 2, column 1", "prize"),
        ("syslog = false\n[stamps]\n  skw = \"5m\"\n", "line 3, column 3", "skw"),
        ("syslog = false\naddresses = [\n", "line ", ""),
        ("syslog = false\nprice = \"2\"\n", "line 2, column 9", ""),
        ("syslog = false\naddresses = [\"alice\"]\n", "", "alice"),
        ("syslog = false\nstate = \"relative\"\n", "", "absolute"),
    ] {
        home.configure(text);
        for command in ["classify", "filter"] {
            let said = home.run([command], &letter("1"));
            assert!(said.stderr.starts_with("mailstamp: error: ") && said.stderr.contains(line), "{}", said.stderr);
            deferred(said, why);
        }
        let said = home.run(["config", "check"], b"").exits(78);
        assert!(said.stderr.contains(line) && said.stderr.contains(why), "{}", said.stderr);
    }
    fs::write(home.config(), [b'#', 0xff]).unwrap();
    deferred(home.classify(&letter("1")), "not UTF-8 text");
    fs::write(home.config(), "").unwrap();
    fs::set_permissions(home.config(), Permissions::from_mode(0o666)).unwrap();
    deferred(home.classify(&letter("1")), "others may write to it");
    deferred(home.run(["--config", "/nowhere/config.toml", "classify"], &letter("1")), "/nowhere/config.toml");
    fs::remove_file(home.config()).unwrap();
    fs::create_dir(home.config()).unwrap();
    deferred(home.classify(&letter("1")), "not an ordinary file");
}

#[test]
fn without_addresses_a_stamped_message_waits() {
    let home = Home::new();
    let stamped = home.stamped(&letter("1"));
    home.configure("");
    deferred(home.classify(&stamped), "no addresses are configured");
    home.classify(&letter("1")).exits(11).says("unstamped no-stamp");
    home.configure("addresses = [\"alice@x.example\"]");
    home.classify(&stamped).exits(0).says("first-class paid");
}

#[test]
fn a_vendors_file_that_cannot_be_read_defers_stamped_mail_only() {
    let home = Home::new();
    let stamped = home.stamped(&letter("1"));
    let bad = home.config().with_file_name("vendors/bad.json");
    fs::write(&bad, "{\"vendor\":\"v.example\"}").unwrap();
    fs::set_permissions(&bad, Permissions::from_mode(0o666)).unwrap();
    let why = "others may write to it";
    deferred(home.classify(&stamped), why);
    deferred(home.run(["filter"], &stamped), why);
    home.classify(&letter("2")).exits(11);
    fs::remove_file(&bad).unwrap();
    symlink("/nowhere", &bad).unwrap();
    deferred(home.classify(&stamped), "bad.json");
    fs::remove_file(&bad).unwrap();
    home.classify(&stamped).exits(0).says("first-class paid");
}

#[test]
fn a_malformed_document_makes_its_own_vendor_unverified() {
    let home = Home::new();
    let folder = home.config().with_file_name("vendors");
    let key = fs::read_to_string(folder.join("stamps.example.json")).unwrap();
    let dated = key.replacen("\"kid\":", "\"not_after\": \"next year\", \"kid\":", 1);
    assert_ne!(key, dated);
    for (number, (name, text, own)) in [
        ("bad.json", "{".to_owned(), false),
        ("v.example.json", key.replace("stamps.example", "v.example").replace("k4.public.", "k4.public.AAAA"), false),
        ("v.example.json", "not json".to_owned(), false),
        ("stamps.example.json", dated, true),
        ("stamps.example.json", "not json".to_owned(), true),
        ("later.json", key.replace("\"2026q4\"", "\"a b\""), true),
    ]
    .into_iter()
    .enumerate()
    {
        let stamped = home.stamped(&letter(&number.to_string()));
        fs::write(folder.join(name), text).unwrap();
        home.classify(&stamped).says(if own { "unverified unknown-vendor" } else { "first-class paid" });
        let doctor = home.run(["doctor"], b"").exits(78).text();
        let said = doctor.lines().any(|line| line.starts_with("error") && line.contains(name));
        assert!(said, "{doctor}");
        assert!(!own || doctor.contains("stamps of stamps.example are unverified"), "{doctor}");
        home.run(["config", "check"], b"").exits(78);
        fs::remove_file(folder.join(name)).unwrap();
        fs::write(folder.join("stamps.example.json"), &key).unwrap();
        home.classify(&stamped).exits(0).says(if own { "first-class paid" } else { "first-class again" });
    }
    // The last second of the year 9999 is a time.
    let endless = key.replacen("\"kid\":", "\"not_after\": \"9999-12-31T23:59:59Z\", \"kid\":", 1);
    home.run(["trust", "add", "--replace", "-"], endless.as_bytes()).exits(0);
    home.classify(&home.stamped(&letter("last"))).exits(0).says("first-class paid");
}

#[test]
fn a_state_that_cannot_be_used_defers_stamped_mail_only() {
    let home = Home::new();
    let log = home.state().join("used.redb");
    let mut count = 0;
    // Every planted file is refused; when it is removed, the message is accepted.
    let mut refused = |plant: &dyn Fn(), why: &str, args: &[&str], undo: &dyn Fn()| {
        count += 1;
        let stamped = home.stamped(&letter(&count.to_string()));
        plant();
        deferred(home.run(["classify"].iter().chain(args).copied(), &stamped), why);
        home.run(["classify"].iter().chain(args).copied(), &letter("x")).exits(11).says("unstamped no-stamp");
        undo();
        home.classify(&stamped).exits(0).says("first-class paid");
    };
    let mode = |mode| fs::set_permissions(home.state(), Permissions::from_mode(mode)).unwrap();
    let local = home.file(".local");
    // No folder can be made, not even by root, which may write into read-only ones.
    refused(&|| fs::write(&local, "").unwrap(), "folder", &[], &|| fs::remove_file(&local).unwrap());
    refused(&|| (), "/proc/nowhere", &["--state", "/proc/nowhere"], &|| ());
    refused(&|| mode(0o777), "others may write", &[], &|| mode(0o700));
    let aside = home.file("aside.redb");
    let put_aside = || fs::rename(&log, &aside).unwrap();
    let put_back = || {
        fs::remove_file(&log).or_else(|_| fs::remove_dir(&log)).unwrap();
        fs::rename(&aside, &log).unwrap();
    };
    refused(
        &|| {
            put_aside();
            symlink(&aside, &log).unwrap()
        },
        "a symbolic link",
        &[],
        &put_back,
    );
    refused(
        &|| {
            put_aside();
            fs::create_dir(&log).unwrap()
        },
        "not a regular file",
        &[],
        &put_back,
    );
    refused(
        &|| {
            put_aside();
            fs::write(&log, "garbage").unwrap()
        },
        "used.redb",
        &[],
        &put_back,
    );
    refused(
        &|| {
            put_aside();
            fs::write(&log, vec![0; 70_000]).unwrap()
        },
        "used.redb",
        &[],
        &put_back,
    );
    let open_to_all = |mode| fs::set_permissions(&log, Permissions::from_mode(mode)).unwrap();
    refused(&|| open_to_all(0o666), "others may write", &[], &|| open_to_all(0o600));
    let fifo = || {
        put_aside();
        run(Command::new("mkfifo").arg(&log), b"").exits(0);
    };
    refused(&fifo, "not a regular file", &[], &put_back);
}

#[test]
fn a_full_disk_defers_at_every_write() {
    // The system says ENOSPC at the n-th write; when there is room again, the message is accepted.
    let home = Home::new();
    home.classify(&home.stamped(&letter("first"))).exits(0);
    for call in ["pwrite64,pwritev2", "fdatasync"] {
        let mut hit = 0;
        for n in 1.. {
            let stamped = home.stamped(&letter(&format!("{call}{n}")));
            let inject = format!("inject={call}:error=ENOSPC:when={n}+");
            let (said, notes) = traced_with(home.command().arg("classify"), &["-e", &inject], &stamped);
            if !notes.contains("INJECTED") {
                said.exits(0).says("first-class paid");
                break;
            }
            hit += 1;
            if said.code != 0 {
                deferred(said, "mailstamp: error: ");
                let said = home.classify(&stamped).exits(0).text();
                assert!(said.starts_with("first-class "), "{call} {n}: {said}");
            }
            home.classify(&home.affix(&stamp_of(&stamped), &letter("other"))).exits(21).says("used used");
        }
        assert!(hit >= 2, "{call} was made {hit} times");
    }
}

#[test]
fn a_limit_on_the_size_of_files_defers_and_does_not_kill() {
    // The system sends SIGXFSZ, which would be a bounce.
    let home = Home::new();
    let limited = |command: &str, message: &[u8]| {
        let line = format!("ulimit -f 1; exec \"$0\" {command}");
        let mut shell = Command::new("sh");
        run(shell.args(["-c", &line, crate::support::MAILSTAMP]).env_clear().env("HOME", home.path()), message)
    };
    let message = home.stamped(&letter("1"));
    deferred(limited("classify", &message), "no room");
    let large = [&home.stamped(&letter("2"))[..], &b"a line\n".repeat(2_000)].concat();
    deferred(limited("deliver", &large), "find room in");
    deferred(limited("deliver", &large), "raise the file size limit");
    assert!(limited("held add", &large).exits(75).stderr.contains("hint: raise the file size limit"));
    assert_eq!(fs::read_dir(home.file("Maildir/tmp")).unwrap().count(), 0);
    home.classify(&message).exits(0).says("first-class paid");
    home.classify(&large).exits(0).says("first-class paid");
}

fn stamp_of(message: &[u8]) -> String {
    let text = String::from_utf8_lossy(message);
    let field = text.strip_prefix("Digital-Stamp:").unwrap().split("\nFrom:").next().unwrap();
    field.split_whitespace().collect()
}

#[test]
fn a_result_that_cannot_be_written_defers() {
    // The stamp is spent by then; the message comes again and is the same.
    let home = Home::new();
    for command in ["classify", "filter"] {
        let message = home.stamped(&letter(command));
        fs::write(home.file("message"), &message).unwrap();
        let with_output = |output: Stdio| {
            let mut child = home.command();
            child.arg(command).stdin(File::open(home.file("message")).unwrap()).stdout(output).stderr(Stdio::piped());
            child.spawn().unwrap().wait_with_output().unwrap()
        };
        let full = with_output(File::options().write(true).open("/dev/full").unwrap().into());
        assert_eq!(full.status.code(), Some(75));
        assert!(String::from_utf8_lossy(&full.stderr).contains("cannot write standard output"));
        // The reader is gone: no signal ends the program, which would look like a crash.
        let (reader, writer) = std::io::pipe().unwrap();
        drop(reader);
        assert_eq!(with_output(writer.into()).status.code(), Some(75));
        home.classify(&message).exits(0).says("first-class again");
    }
    for command in ["explain", "doctor", "show", "strip", "config show", "trust list", "export"] {
        let mut child = home.command();
        child.args(command.split(' ')).stdin(File::open(home.file("message")).unwrap());
        child.stdout(File::options().write(true).open("/dev/full").unwrap()).stderr(Stdio::piped());
        let said = child.spawn().unwrap().wait_with_output().unwrap();
        assert_eq!(said.status.code(), Some(74), "{command}: {}", String::from_utf8_lossy(&said.stderr));
        assert!(String::from_utf8_lossy(&said.stderr).starts_with("mailstamp: error: "), "{command}");
    }
}

#[test]
fn complaints_that_nobody_hears_change_nothing() {
    let home = Home::new();
    let deaf = |args: &str, message: &[u8]| {
        let line = format!("\"$0\" {args} 2> /dev/full");
        let mut command = Command::new("sh");
        run(command.args(["-c", &line, crate::support::MAILSTAMP]).env_clear().env("HOME", home.path()), message)
    };
    let encoded = b"Content-Transfer-Encoding: quoted-printable\n\n-----BEGIN DIGITAL STAMP-----\nx\n-----END DIGITAL STAMP-----\n";
    assert_eq!(deaf("strip", encoded).exits(0).stdout, encoded);
    deaf("classify", &home.stamped(&letter("1"))).exits(0).says("first-class paid");
    deaf("classify --bogus", &letter("2")).exits(75);
    deaf("show --bogus", &letter("2")).exits(64);
    deaf("show", &letter("2")).exits(65);
    home.configure("prize = 1");
    deaf("classify", &letter("2")).exits(75);
}

#[test]
fn an_input_that_cannot_be_read_defers() {
    let home = Home::new();
    for command in ["classify", "filter"] {
        let mut child = home.command();
        child.arg(command).stdin(File::open("/").unwrap()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let said = child.spawn().unwrap().wait_with_output().unwrap();
        assert_eq!((said.status.code(), said.stdout.len()), (Some(75), 0));
        assert!(String::from_utf8_lossy(&said.stderr).contains("cannot read standard input"));
    }
}

#[test]
#[cfg_attr(target_env = "musl", ignore = "faketime(1) changes no clock of a static program")]
fn a_clock_before_this_program_defers_stamped_mail_only() {
    let home = Home::new();
    let stamped = home.affix(&home.issue(ALICE, ["--until", "2099-01-01T00:00:00Z"]), &letter("1"));
    home.configure("addresses = [\"alice@x.example\"]\n[stamps]\nmax_window = \"36500d\"");
    let at = |when: &str, message: &[u8]| {
        let mut command = faketime(when);
        command.args([MAILSTAMP, "classify"]).env_clear();
        run(command.env("HOME", home.path()).env("PATH", "/usr/bin:/bin"), message)
    };
    deferred(at("1970-01-02 00:00:00", &stamped), "system clock is wrong: 1970-01-0");
    at("1970-01-02 00:00:00", &letter("2")).exits(11).says("unstamped no-stamp");
    // Nor is it the stamp's fault that its key seems not to be in force yet.
    let vendor = home.config().with_file_name("vendors/stamps.example.json");
    let document = fs::read_to_string(&vendor).unwrap();
    let dated = document.replacen("\"kid\":", "\"not_before\": \"2026-01-01T00:00:00Z\", \"kid\":", 1);
    assert_ne!(document, dated);
    fs::write(&vendor, dated).unwrap();
    deferred(at("2020-01-01 00:00:00", &stamped), "system clock is wrong: 2020-01-01");
    at("2020-01-01 00:00:00", &letter("2")).exits(11).says("unstamped no-stamp");
    at("2098-01-01 00:00:00", &stamped).exits(0).says("first-class paid");
}

#[test]
fn first_mistakes_are_helped() {
    let home = Home::new();
    for command in ["classify", "filter", "deliver", "explain", "show"] {
        let run = home.run([command, "message"], b"");
        assert!(run.stderr.contains(&format!("mailstamp {command} [OPTIONS] < MESSAGE")), "{}", run.stderr);
    }
    assert!(home.run(["help", "grant"], b"").exits(0).text().contains("Usage: mailstamp grant"));
    assert!(home.run(["help"], b"").exits(0).text().contains("Usage: mailstamp"));
    // A reader that closes the pipe early gets no error.
    home.classify(&letter("1")).exits(11);
    home.run(["learn-sent"], b"From: alice@x.example\nTo: bob@y.example\nMessage-ID: <1@x.example>\n\n").exits(0);
    for command in ["log", "stats", "log --json", "export", "correspondents", "completions bash"] {
        let mut shell = Command::new("sh");
        shell.args(["-c", &format!("(sleep 0.3; exec {MAILSTAMP} {command}) | true")]);
        let run = run(shell.env_clear().env("HOME", home.path()).env("PATH", "/usr/bin:/bin"), b"");
        assert_eq!(run.stderr, "", "{command}");
    }
}
