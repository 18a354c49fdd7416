//! The guides of mailstamp-vendor(8), run as they are written, and the unit that runs the service.

use crate::support::programs::{Port, eventually};
use crate::support::{MAILSTAMP, run};
use std::fs;
use std::path::Path;
use std::process::Command;

const PAGE: &str = include_str!("../../../man/mailstamp-vendor.8");

/// The literal blocks below a heading.
fn guide(heading: &str) -> String {
    let (_, part) = PAGE.split_once(&format!("\n.Sh {heading}\n")).unwrap();
    let part = part.split("\n.Sh ").next().unwrap();
    let blocks = part.split("\n.Bd -literal").skip(1);
    let blocks = blocks.filter_map(|rest| rest.split_once('\n')?.1.split_once("\n.Ed").map(|(block, _)| block));
    blocks.map(|block| block.replace("\\e", "\\") + "\n").collect()
}

/// The commands of a guide, each with the lines that go on with it and those that it is said to print.
fn steps(heading: &str) -> Vec<(String, String)> {
    let guide = guide(heading);
    let steps = format!("\n{guide}");
    let step = |text: &str| {
        let lines: Vec<&str> = text.lines().collect();
        let goes_on = |line: &&str| line.ends_with('\\') || line.ends_with('|');
        let end = lines.iter().take_while(|line| goes_on(line)).count() + 1;
        (lines[..end].join("\n"), lines[end..].join("\n"))
    };
    steps.split("\n$ ").skip(1).map(step).collect()
}

#[test]
fn the_guide_makes_a_vendor() {
    follow(&steps("A VENDOR IN TEN MINUTES"), 12);
}

#[test]
fn the_guide_makes_a_vendor_for_one_recipient() {
    follow(&steps("YOUR OWN VENDOR IN TEN MINUTES"), 9);
}

/// Runs a guide of more than `least` commands in a new home.
fn follow(steps: &[(String, String)], least: usize) {
    let home = tempfile::tempdir().unwrap();
    assert!(steps.len() > least, "{steps:?}");
    let commands: Vec<&str> = steps.iter().map(|(command, _)| command.as_str()).collect();
    // A person's shell has job control.
    let script = format!("set -m\n{}\n", commands.join("\n"));
    // The port of the guide may be taken on this machine.
    let port = Port::reserve();
    assert!(script.contains("127.0.0.1:8025"), "{script}");
    let script = script.replace("127.0.0.1:8025", &format!("127.0.0.1:{}", port.number()));
    let script = script
        .replace("mailstamp vendor serve", &format!("mailstamp vendor serve --listen 127.0.0.1:{}", port.number()));
    let path = format!("{}:/usr/bin:/bin", Path::new(MAILSTAMP).parent().unwrap().display());
    let mut shell = Command::new("bash");
    shell.args(["-euo", "pipefail", "-c", &script]).env_clear();
    shell.env("HOME", home.path()).env("PATH", path).current_dir(home.path());
    let ran = run(&mut shell, b"");
    assert_eq!(ran.code, 0, "{script}\n{}\n{}", ran.text(), ran.stderr);
    for (command, printed) in steps.iter().filter(|(_, printed)| !printed.is_empty()) {
        assert!(ran.text().contains(printed), "{command}\n{}", ran.text());
    }
    assert!(steps.iter().any(|(_, printed)| printed == "first-class paid"));
    // The last line of the guide ends the service.
    eventually("the end", || std::net::TcpStream::connect(("127.0.0.1", port.number())).is_err().then_some(()));
}

#[test]
fn the_unit_is_hardened() {
    let rules = Path::new(env!("CARGO_MANIFEST_DIR")).join("rules");
    let unit = rules.join("mailstamp-vendor.service");
    let checked =
        run(Command::new("systemd-analyze").args(["security", "--offline=true", "--no-pager"]).arg(&unit), b"");
    let text = checked.text();
    let level = text.lines().find(|line| line.contains("Overall exposure level")).unwrap_or_else(|| panic!("{text}"));
    let number = level.split(": ").nth(1).and_then(|rest| rest.split(' ').next()).unwrap();
    assert!(number.parse::<f64>().unwrap() < 2.0, "{level}");

    // Everything that it names is understood; the program may be elsewhere on this machine.
    let folder = tempfile::tempdir().unwrap();
    let copy = folder.path().join("mailstamp-vendor.service");
    let here = fs::read_to_string(&unit).unwrap().replace("/usr/local/bin/mailstamp", MAILSTAMP);
    fs::write(&copy, &here).unwrap();
    let verified = run(Command::new("systemd-analyze").args(["verify", "--man=no"]).arg(&copy), b"");
    let own = |line: &&str| line.contains("mailstamp-vendor");
    let complaints: Vec<String> = (verified.text() + &verified.stderr).lines().filter(own).map(str::to_owned).collect();
    assert_eq!(complaints, Vec::<String>::new());

    // And its command line is one.
    let command = here.lines().find_map(|line| line.strip_prefix("ExecStart=")).unwrap();
    let words: Vec<&str> = command.split(' ').skip(1).collect();
    let help = run(Command::new(MAILSTAMP).args(&words[..2]).arg("--help"), b"").exits(0).text();
    for flag in words.iter().filter(|word| word.starts_with("--")) {
        assert!(help.contains(flag), "{flag}");
    }
}
