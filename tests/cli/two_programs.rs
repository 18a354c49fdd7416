//! The two programs: `mailstamp` judges mail alone, and becomes `mailstamp-tools` for all else.

use crate::support::programs::install;
use crate::support::{Home, MAILSTAMP, MAILSTAMP_TOOLS, letter, run};
use std::fs;
use std::os::unix::fs::symlink;
use std::path::Path;
use std::process::Command;

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
    run(at(&filter, &home).args(["classify", "--no-mark", "--json"]), &message).exits(0);
    run(at(&filter, &home).arg("classify"), &message).exits(0).says("first-class paid");
    run(at(&filter, &home).arg("deliver"), &letter("2")).exits(0);
    run(at(&filter, &home).arg("--version"), b"").exits(0).says(concat!("mailstamp ", env!("CARGO_PKG_VERSION")));
    // A message may be waiting: it must not bounce.
    for words in [&["classify", "--no-makr"][..], &["filter", "--help"], &["held", "add"], &["sendmail", "a@b.example"]]
    {
        let said = run(at(&filter, &home).args(words), &message).exits(75);
        assert_eq!(said.stdout, b"");
        assert!(said.stderr.contains("mailstamp-tools: ") && said.stderr.contains("hint: install"), "{}", said.stderr);
    }
    let said = run(at(&filter, &home).arg("log"), b"").exits(69);
    assert!(said.stderr.contains("mailstamp-tools: "), "{}", said.stderr);
    let sendmail = home.file("sendmail");
    symlink(&filter, &sendmail).unwrap();
    run(at(&sendmail, &home).args(["-t", "filter"]), &message).exits(75);
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
    run(at(tools, &home).args(["classify", "--no-mark"]), &message).exits(0).says("first-class paid");
    home.classify(&message).exits(0).says("first-class paid");
    run(at(tools, &home).arg("classify"), &message).exits(0).says("first-class again");
}

#[test]
fn doctor_sees_programs_of_two_releases() {
    let home = Home::new();
    let bin = install(home.path());
    let doctor = || run(at(&bin.join("mailstamp-tools"), &home).arg("doctor"), b"");
    let said = doctor().exits(0).text();
    assert!(said.contains(concat!("programs        mailstamp ", env!("CARGO_PKG_VERSION"))), "{said}");
    fs::remove_file(bin.join("mailstamp")).unwrap();
    crate::support::programs::stand_in(&bin.join("mailstamp"), "#!/bin/sh\necho mailstamp 0.0.1\n");
    let said = doctor().exits(78).text();
    assert!(said.contains("bad   programs") && said.contains("0.0.1"), "{said}");
}
