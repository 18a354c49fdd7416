//! The two programs: `mailstamp` judges mail alone, and becomes `mailstamp-tools` for all else.

use crate::support::programs::{chmod, give, install, program, stand_in};
use crate::support::{Home, MAILSTAMP, MAILSTAMP_TOOLS, letter, run};
use std::fs;
use std::os::unix::fs::symlink;
use std::path::Path;
use std::process::{Command, Stdio};

fn at(program: &Path, home: &Home) -> Command {
    let mut command = Command::new(program);
    command.env_clear().env("HOME", home.path());
    command
}

#[test]
fn the_filter_works_without_the_tools_and_the_rest_says_what_is_missing() {
    let home = Home::new();
    let filter = install(home.path()).join("mailstamp");
    fs::remove_file(filter.with_file_name("mailstamp-tools")).unwrap();
    let message = home.stamped(&letter("1"));
    run(at(&filter, &home).args(["classify", "--dry-run", "--json"]), &message).exits(0);
    run(at(&filter, &home).arg("classify"), &message).exits(0).says("first-class paid");
    run(at(&filter, &home).arg("deliver"), &letter("2")).exits(0);
    run(at(&filter, &home).arg("--version"), b"").exits(0).says(concat!("mailstamp ", env!("CARGO_PKG_VERSION")));
    // A message may be waiting: it must not bounce.
    let sendmail = home.file("sendmail");
    symlink(&filter, &sendmail).unwrap();
    let waits = || {
        for words in [
            &["classify", "--no-makr"][..],
            &["filter", "--help"],
            &["held", "add"],
            &["sendmail", "a@b.example"],
            &["learn-sent"],
            &["clasify"],
            &[],
        ] {
            let said = run(at(&filter, &home).args(words), &message).exits(75);
            assert_eq!(said.stdout, b"");
            assert!(
                said.stderr.contains("mailstamp-tools: ") && said.stderr.contains("hint: install"),
                "{}",
                said.stderr
            );
            assert!(!said.stderr.contains("os error"), "{}", said.stderr);
        }
        run(at(&sendmail, &home).args(["-t", "filter"]), &message).exits(75);
        run(at(&sendmail, &home).arg("-V"), &message).exits(75);
    };
    waits();
    let tools = filter.with_file_name("mailstamp-tools");
    // What a full disk leaves of a program, a text, a folder, and the filter itself.
    for content in ["", "ELF"] {
        stand_in(&tools, content);
        waits();
    }
    fs::remove_file(&tools).unwrap();
    fs::create_dir(&tools).unwrap();
    waits();
    fs::remove_dir(&tools).unwrap();
    symlink("mailstamp", &tools).unwrap();
    waits();
}

#[test]
fn an_error_without_a_reader_is_no_death_by_signal() {
    let home = Home::new();
    let filter = install(home.path()).join("mailstamp");
    fs::remove_file(filter.with_file_name("mailstamp-tools")).unwrap();
    let (reader, writer) = std::io::pipe().unwrap();
    drop(reader);
    let mut command = at(&filter, &home);
    let status = command.args(["held", "add"]).stdin(Stdio::null()).stderr(writer).status().unwrap();
    assert_eq!(status.code(), Some(75));
}

#[test]
fn as_sendmail_no_version_swallows_a_message() {
    let home = Home::new();
    let sendmail = home.file("sendmail");
    symlink(MAILSTAMP, &sendmail).unwrap();
    let said = run(at(&sendmail, &home).arg("-V"), &letter("1")).exits(64);
    assert!(said.stderr.contains("-V"), "{}", said.stderr);
}

#[test]
fn a_set_id_filter_becomes_no_program_of_its_caller() {
    // A caller that may link to the filter puts another program beside the link.
    let home = Home::new();
    let folder = install(home.path()).join("filter");
    let filter = folder.join("mailstamp");
    fs::create_dir(&folder).unwrap();
    run(Command::new("cp").arg(MAILSTAMP).arg(&filter), b"").exits(0);
    stand_in(&folder.join("mailstamp-tools"), "#!/bin/sh\necho taken\n");
    give(&folder, 1, 1);
    chmod(&folder, 0o777);
    chmod(home.path(), 0o755);
    chmod(&filter, 0o4755);
    let mut command = Command::new(program("setpriv", "util-linux"));
    command.args(["--reuid", "65534", "--regid", "65534", "--clear-groups"]).arg(&filter).arg("log").env_clear();
    let said = run(&mut command, b"").exits(75);
    assert!(said.stdout.is_empty() && said.stderr.contains("set-id"), "{}", said.stderr);
}

#[test]
fn the_tools_are_found_beside_the_filter_through_links() {
    let home = Home::new();
    let link = home.file("link");
    symlink(MAILSTAMP, &link).unwrap();
    run(at(&link, &home).args(["log", "--json"]), b"").exits(0);
    // Not in the folder of the link, nor in the path.
    let other = home.file("mailstamp-tools");
    fs::write(&other, "#!/bin/sh\nexit 3\n").unwrap();
    run(at(&link, &home).args(["log", "--json"]).env("PATH", home.path()), b"").exits(0);
}

#[test]
fn the_whole_program_judges_alike() {
    let home = Home::new();
    let message = home.stamped(&letter("1"));
    let tools = Path::new(MAILSTAMP_TOOLS);
    run(at(tools, &home).args(["classify", "--dry-run"]), &message).exits(0).says("first-class paid");
    home.classify(&message).exits(0).says("first-class paid");
    run(at(tools, &home).arg("classify"), &message).exits(0).says("first-class again");
}

// The linker drops what is not used, so symbols show what a program can do.
#[test]
fn the_filter_has_no_client_of_a_network_and_opens_no_seal() {
    let symbols = |of: &str| run(Command::new(program("nm", "binutils")).arg(of), b"").exits(0).text();
    let (filter, tools) = (symbols(MAILSTAMP), symbols(MAILSTAMP_TOOLS));
    let absent = ["hpke", "chacha20", "x25519", "tokio", "rustls", "ureq", "hickory", "axum"];
    assert_eq!(absent.map(|name| filter.lines().find(|line| line.contains(name))), [None; 8]);
    // Both have symbols, and that of a crate is found where it is linked.
    assert!(filter.contains("ed25519_dalek"));
    #[cfg(feature = "sender")]
    assert!(["hpke", "chacha20", "x25519"].iter().all(|name| tools.contains(name)));
    assert!(tools.contains("ed25519_dalek"));
}

#[test]
fn doctor_sees_programs_of_two_releases() {
    let home = Home::new();
    let bin = install(home.path());
    let doctor = || run(at(&bin.join("mailstamp-tools"), &home).arg("doctor"), b"");
    let said = doctor().exits(0).text();
    assert!(said.contains(concat!("programs        mailstamp ", env!("CARGO_PKG_VERSION"))), "{said}");
    fs::remove_file(bin.join("mailstamp")).unwrap();
    stand_in(&bin.join("mailstamp"), "#!/bin/sh\necho mailstamp 0.0.1\n");
    let said = doctor().exits(78).text();
    assert!(said.contains("error    programs") && said.contains("0.0.1"), "{said}");
}

/// Needs root, to be another user.
#[test]
fn doctor_sees_a_maildir_that_takes_no_mail() {
    let home = Home::new();
    let bin = install(home.path());
    chmod(home.path(), 0o755);
    chmod(&bin, 0o755);
    let own = home.file("own");
    fs::create_dir_all(own.join("Maildir/new")).unwrap();
    fs::create_dir_all(own.join("Maildir/tmp")).unwrap();
    give(&own, 65_534, 65_534);
    let doctor = || {
        let mut command = Command::new(program("setpriv", "util-linux"));
        command
            .args(["--reuid", "65534", "--regid", "65534", "--clear-groups"])
            .arg(bin.join("mailstamp"))
            .arg("doctor");
        run(command.env_clear().env("HOME", &own).current_dir("/"), b"").text()
    };
    assert!(!doctor().contains("Maildir"), "{}", doctor());
    chmod(&own.join("Maildir/tmp"), 0o500);
    assert!(doctor().contains("warning  maildir         cannot write to"), "{}", doctor());
    fs::create_dir_all(own.join(".config/mailstamp")).unwrap();
    let settings = format!("addresses = [\"a@b.example\"]\n[deliver]\nmaildir = {:?}\n", own.join("Maildir"));
    fs::write(own.join(".config/mailstamp/config.toml"), settings).unwrap();
    assert!(doctor().contains("error    maildir         cannot write to"), "{}", doctor());
}
