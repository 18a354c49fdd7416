//! The fields of correspondents with keys, as mail programs fold them anew: Python's `email`, and others that fold at 78
//! columns, with tabs, or not at all.

use crate::support::peers::{FIELDS, assert_same_fields, exchanged, own_key};
use crate::support::programs::program;
use crate::support::{ALICE, Home, letter, run};
use std::process::Command;

const REFOLD: &str = "
import email, email.policy, sys
kind, columns = sys.argv[1], int(sys.argv[2])
policy = email.policy.compat32 if kind == 'compat32' else email.policy.SMTP.clone(refold_source=kind)
policy = policy.clone(max_line_length=columns)
sys.stdout.buffer.write(email.message_from_bytes(sys.stdin.buffer.read(), policy=policy).as_bytes())
";

fn python(kind: &str, columns: &str, message: &[u8]) -> Vec<u8> {
    run(Command::new(program("python3", "python3")).args(["-c", REFOLD, kind, columns]), message).exits(0).stdout
}

/// Folds the four fields anew, with these characters after each so many.
fn refolded(message: &[u8], columns: usize, fold: &str) -> Vec<u8> {
    let text = String::from_utf8(message.to_vec()).unwrap().replace("\n ", "");
    let line = |line: &str| match line.split_once(':') {
        Some((name, value)) if FIELDS.contains(&name) => {
            let value: Vec<char> = value.chars().filter(|c| !c.is_whitespace()).collect();
            let parts: Vec<String> = value.chunks(columns).map(|part| part.iter().collect()).collect();
            format!("{name}: {}\n", parts.join(fold))
        }
        _ => format!("{line}\n"),
    };
    text.lines().map(line).collect::<String>().into_bytes()
}

/// What a program on the way makes of a message.
type Relay<'a> = &'a dyn Fn(&[u8]) -> Vec<u8>;

#[test]
fn they_are_the_same_however_they_are_folded() {
    let kinds: [(&str, Relay<'_>); 9] = [
        ("as sent", &|sent| sent.to_vec()),
        ("at 78", &|sent| refolded(sent, 70, "\n ")),
        ("with tabs", &|sent| refolded(sent, 30, "\n\t")),
        ("with blanks", &|sent| refolded(sent, 60, "  \n    ")),
        ("not at all", &|sent| refolded(sent, 9_999, "")),
        ("Python, long fields", &|sent| python("long", "78", sent)),
        ("Python, all fields", &|sent| python("all", "78", sent)),
        ("Python, 998 columns", &|sent| python("all", "998", sent)),
        ("Python's older policy", &|sent| python("compat32", "78", sent)),
    ];
    for (what, fold) in kinds {
        let home = Home::new();
        home.configure(&format!(
            "addresses = [{ALICE:?}]\ntrusted_authserv_ids = [\"mx.example\"]\n[peers]\nenabled = true"
        ));
        own_key(&home, ALICE);
        let sent = exchanged(ALICE, &letter("1"));
        let arrived = fold(&sent);
        assert_same_fields(&arrived, &sent);
        let server = "Authentication-Results: mx.example; dkim=pass header.d=y.example\n";
        let judged = home.classify(&[server.as_bytes(), &arrived].concat());
        assert_eq!(judged.text(), "first-class peer\n", "{what}: {}", String::from_utf8_lossy(&arrived));
        #[cfg(feature = "sender")]
        {
            let shown = home.run(["peer", "show", "--json", "bob@y.example"], b"").exits(0).text();
            let shown: serde_json::Value = serde_json::from_str(&shown).unwrap();
            assert_eq!((&shown["keys"][0]["state"], &shown["sealed"]), (&"new".into(), &1.into()), "{what}");
        }
    }
}
