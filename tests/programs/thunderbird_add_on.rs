//! The add-on in Debian's Thunderbird, without a screen: it shows the class, and revokes and grants at one click.

use crate::support::programs::program;
use crate::support::{Home, letter, run};
use std::fs;
use std::path::Path;
use std::process::Command;

const ROOT: &str = env!("CARGO_MANIFEST_DIR");

/// What the popup says, then the button: first, and after each click.
fn clicked(home: &Home, message: &Path, clicks: &[&str]) -> Vec<[String; 6]> {
    let add_on = home.file("mailstamp.xpi");
    run(Command::new(format!("{ROOT}/contrib/thunderbird/pack")).arg(&add_on), b"").exits(0);
    let mut command = Command::new(program("python3", "python3"));
    command.arg(format!("{ROOT}/tests/programs/thunderbird_add_on.py"));
    command.arg(program("thunderbird", "thunderbird")).arg(home.path()).arg(&add_on).arg(message).args(clicks);
    let said = run(&mut command, b"").exits(0);
    let lines = said.text();
    let lines: Vec<_> = lines.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    assert_eq!(lines.len(), 1 + clicks.len(), "{}", said.stderr);
    lines
}

#[test]
fn thunderbird_shows_the_class_and_revokes_and_grants() {
    let home = Home::new();
    let message = home.run(["filter"], &home.stamped(&letter("1"))).exits(0).stdout;
    // A field that the sender wrote shows nothing.
    let text = String::from_utf8(message).unwrap().replacen("first-class; reason=paid", "invalid; reason=malformed", 1);
    let path = home.file("delivered");
    fs::write(&path, text).unwrap();
    home.run(["thunderbird", "install"], b"").exits(0);
    let said = clicked(&home, &path, &["revoke", "unrevoke", "grant"]);
    let classes: Vec<&str> = said.iter().map(|line| line[0].as_str()).collect();
    assert_eq!(classes, ["first-class", "revoked", "first-class", "first-class"]);
    for (line, (reason, done, idle)) in said.iter().zip([
        ("again: ", "", "unrevoke"),
        ("by-recipient: ", "The stamp is refused from now on.", "grant revoke"),
        ("again: ", "The revocation is undone.", "unrevoke"),
        ("multi-use: ", "The sender may use the stamp again.", "grant unrevoke"),
    ]) {
        assert!(line[1].starts_with(reason) && line[1].len() > reason.len() + 10, "{line:?}");
        assert_eq!((line[2].as_str(), line[4].as_str()), (done, idle), "{line:?}");
        assert!(line[3].starts_with("Vendor=stamps.example Value=1 Serial="), "{line:?}");
        assert_eq!(line[5], format!("mailstamp: {}", line[0]));
    }
    let grants = home.run(["grants"], b"").exits(0).text();
    assert!(grants.contains("multi-use"), "{grants}");
}

#[test]
fn without_its_program_the_add_on_says_what_to_do() {
    let home = Home::new();
    let path = home.file("delivered");
    fs::write(&path, letter("1")).unwrap();
    let said = &clicked(&home, &path, &[])[0];
    assert_eq!((said[0].as_str(), said[4].as_str()), ("not judged", "grant revoke unrevoke"));
    assert!(said[1].contains("mailstamp thunderbird install"), "{said:?}");
}
