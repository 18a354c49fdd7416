//! Errors in a rules file are refused and reported with line and column: all of them by `config check`, the first one
//! that is reached on the mail path.

use crate::support::{Home, letter};
use mailstamp::config::rules::{check, parse};
use mailstamp::message::address::LocalCase;
use std::fs;
use std::path::Path;

/// What is said of a file of this text.
fn said(text: &str) -> String {
    let path = Path::new("rules.toml");
    let checked = parse(text, path, LocalCase::Fold).and_then(|rules| check(&rules, path, LocalCase::Fold));
    checked.map_err(|error| error.to_string()).unwrap_err()
}

#[test]
fn every_mistake_is_said_with_its_place() {
    for (rule, place, what) in [
        ("fro = \"a@y.example\"", (4, 1), "rule \"friends\": unknown key \"fro\""),
        ("unless = { form = \"x\" }", (4, 12), "rule \"friends\": unknown key \"form\""),
        ("unless = { name = \"x\" }", (4, 12), "rule \"friends\": unknown key \"name\""),
        ("unless = {}", (4, 10), "rule \"friends\": unless says nothing"),
        ("unless = true", (4, 10), "rule \"friends\": write unless = { ... } with conditions"),
        ("from = 7", (4, 8), "rule \"friends\": write a string, in quotes"),
        ("from = []", (4, 8), "rule \"friends\": an empty list never holds"),
        ("from = [\"a@y.example\", \"b\"]", (4, 24), "rule \"friends\": \"b\": an address needs an '@'"),
        (
            "from = [\n  \"\u{e4}@y.example\", \"b*@y.example\",\n]",
            (5, 18),
            "rule \"friends\": \"b*@y.example\": a '*' stands for",
        ),
        ("from = \"/b\"", (4, 8), "rule \"friends\": \"/b\": an address needs an '@'"),
        ("from_domain = \"a b\"", (4, 15), "rule \"friends\": \"a b\": write the name of a domain"),
        ("from_file = \"\"", (4, 13), "rule \"friends\": \"\": write the name of a file"),
        ("list_id = \"*.\"", (4, 11), "rule \"friends\": \"*.\": write the identifier of a list"),
        ("list_id = \"a.*\"", (4, 11), "rule \"friends\": \"a.*\": write the identifier of a list"),
        ("header = \"X-Any\"", (4, 10), "rule \"friends\": write header = { \"X-Field\" = \"expression\" }"),
        ("header = { \"X Any\" = \"x\" }", (4, 12), "rule \"friends\": \"X Any\" is no name of a header field"),
        ("larger = \"5 MB\"", (4, 10), "rule \"friends\": write a number of bytes"),
        ("larger = -5", (4, 10), "rule \"friends\": write a number of bytes"),
        ("larger = \"\"", (4, 10), "rule \"friends\": write a number of bytes"),
        ("larger = \"0k\"", (4, 10), "rule \"friends\": write a number of bytes from 1 on"),
        ("smaller = 0", (4, 11), "rule \"friends\": write a number of bytes from 1 on"),
        ("larger = \"99999999999G\"", (4, 10), "rule \"friends\": write a number of bytes"),
        (
            "class = \"first-class\"",
            (4, 9),
            "rule \"friends\": \"first-class\": rules are asked about the classes unstamped, ",
        ),
        ("reason = \"paid\"", (4, 10), "rule \"friends\": \"paid\": not a reason of a class"),
        ("authenticated = \"dkim\"", (4, 17), "rule \"friends\": \"dkim\": write true, or a method"),
        ("correspondent = \"yes\"", (4, 17), "rule \"friends\": write true or false"),
        ("subject = \"\"", (4, 11), "rule \"friends\": \"\": an empty expression matches every text"),
        ("body = [\"a\", \"\"]", (4, 14), "rule \"friends\": \"\": an empty expression matches every text"),
        ("header = { X-Any = '' }", (4, 20), "rule \"friends\": \"\": an empty expression matches every text"),
        ("from = \"//\"", (4, 8), "rule \"friends\": \"//\": an empty expression matches every address"),
        ("unicode = 1", (4, 11), "rule \"friends\": write true or false"),
    ] {
        let text = format!("[[rule]]\nname = \"friends\"\naction = \"allow\"\n{rule}\n");
        let (line, column) = place;
        let expected = format!("rules.toml: line {line}, column {column}: {what}");
        assert!(said(&text).starts_with(&expected), "{}\n{expected}", said(&text));
    }
    for (text, expected) in [
        (
            "[[rule]]\nname = \"a\"\naction = \"discard\"\n#from = \"x@y.example\"",
            "rules.toml: line 3, column 10: rule \"a\": it would drop all mail; write a condition, or always = true",
        ),
        (
            "[[rule]]\nname = \"a\"\naction = \"reject\"\nunless = { from = \"x@y.example\" }\nalways = false",
            "rules.toml: line 3, column 10: rule \"a\": it would drop all mail",
        ),
        (
            "[[rule]]\nname = \"a\"\naction = \"allow\"\n#from = \"x@y.example\"",
            "rules.toml: line 3, column 10: rule \"a\": it would let all mail through; write a condition",
        ),
        (
            "[[rule]]\nname = \"a\"\naction = \"discard\"\nheader = {}",
            "rules.toml: line 3, column 10: rule \"a\": it would drop all mail",
        ),
        (
            "[[rule]]\nname = \"a\"\naction = \"discard\"\nsubject = \"x\"\nalways = true",
            "rules.toml: line 5, column 10: rule \"a\": always = true: it has conditions",
        ),
        ("rules = 1", "rules.toml: line 1, column 1: unknown key \"rules\""),
        ("[rule]\nname = \"a\"", "rules.toml: line 1, column 1: write [[rule]], in two brackets"),
        ("rule = [1]", "rules.toml: line 1, column 9: write [[rule]], in two brackets"),
        ("\n[[rule]]\naction = \"allow\"", "rules.toml: line 2, column 1: a rule needs a name"),
        ("[[rule]]\nname = \"\"", "rules.toml: line 2, column 8: a name has 1 to 100 characters"),
        ("[[rule]]\nname = \"a\\u001b\"", "rules.toml: line 2, column 8: a name has 1 to 100 characters"),
        ("[[rule]]\nname = \"a\"", "rules.toml: line 1, column 1: rule \"a\": it needs an action"),
        (
            "[[rule]]\nname = \"a\"\naction = \"accept\"",
            "rules.toml: line 3, column 10: rule \"a\": action is one of allow, deliver, tag, challenge, hold, discard, reject, nothing",
        ),
        (
            "[[rule]]\nname = \"a\"\naction = \"hold\"\n[[rule]]\nname = \"a\"\naction = \"hold\"",
            "rules.toml: line 5, column 8: rule \"a\": the one on line 1 has this name too",
        ),
        ("[[rule]]\nname = \"a\"\nname = \"b\"", "rules.toml: line 3, column 1: duplicate key"),
        ("[[rule]\n", "rules.toml: line 1, column"),
    ] {
        assert!(said(text).starts_with(expected), "{}\n{expected}", said(text));
    }
    let rule = |n: usize| format!("[[rule]]\nname = \"{n}\"\naction = \"hold\"\n");
    assert!(said(&(0..1001).map(rule).collect::<String>()).contains("line 3001, column 1: more than 1000 rules"));
    assert!(parse(&(0..1000).map(rule).collect::<String>(), Path::new("r"), LocalCase::Fold).is_ok());
}

// Threat 14.
#[test]
fn expressions_are_built_when_all_is_checked() {
    let rule = |condition: &str| format!("[[rule]]\nname = \"friends\"\naction = \"hold\"\n\n{condition}\n");
    for (condition, key, what) in [
        ("body = \"(?:a{1,1000}){1,1000}\"", "body", "the expression would grow beyond 1 MiB"),
        ("subject = [\"x\", \"(\"]", "subject", "not a regular expression: unclosed group"),
        ("header = { \"X-Any\" = \"a**)\" }", "header X-Any", "not a regular expression: "),
        ("unless = { body = '(?P<a' }", "body", "not a regular expression: "),
        ("from = '/(/'", "from", "not a usable regular expression"),
        (&format!("body = \"{}\"", "a".repeat(4097)), "body", "the expression is longer than 4096 bytes"),
    ] {
        let expected = format!("rules.toml: line 5: rule \"friends\": {key}: {what}");
        assert!(said(&rule(condition)).starts_with(&expected), "{}\n{expected}", said(&rule(condition)));
    }
}

#[test]
fn config_check_says_what_the_mail_path_would_stumble_over() {
    let home = Home::new();
    let rules = home.config().with_file_name("rules.toml");
    home.run(["config", "check"], b"").exits(0).text().contains("rules: 0");
    let write = |text: &str| fs::write(&rules, text).unwrap();
    let rule = |condition: &str| format!("[[rule]]\nname = \"friends\"\naction = \"allow\"\n{condition}\n");
    write(&rule("from_file = \"friends\""));
    let said = home.run(["config", "check"], b"").exits(78).stderr;
    assert!(said.contains(".config/mailstamp/friends: No such file"), "{said}");
    fs::write(rules.with_file_name("friends"), "bob@y.example\nnobody\n").unwrap();
    let said = home.run(["config", "check"], b"").exits(78).stderr;
    assert!(said.contains("friends: line 2: an address needs an '@'"), "{said}");
    fs::write(rules.with_file_name("friends"), "bob@y.example # from school\n").unwrap();
    assert!(home.run(["config", "check"], b"").exits(0).text().contains("rules: 1"));
    let shown = home.run(["config", "show"], b"").exits(0).text();
    assert!(shown.contains(&format!("rules = \"{}\"\n", rules.display())), "{shown}");
    home.classify(&letter("1")).exits(10).says("allowed rule");

    // An error in the file itself, or in a rule that is reached, defers the message.
    for wrong in ["[[rule]", "rule = 1", &rule("body = '('"), &rule("from_file = \"nowhere\""), &rule("from = '/(/'")] {
        write(wrong);
        let check = home.run(["config", "check"], b"").exits(78);
        assert!(check.stderr.starts_with("mailstamp: error: /") && check.stdout.is_empty(), "{check:?}");
        home.run(["rules", "test"], &letter("1")).exits(78);
        assert!(home.run(["doctor"], b"").exits(78).text().contains("error    rules "));
        let deferred = home.classify(&letter("1")).exits(75);
        assert!(deferred.stderr.contains("mailstamp: hint: run mailstamp config check"), "{wrong}: {deferred:?}");
        home.run(["filter"], &letter("1")).exits(75);
    }
    write(&rule("authenticated = true"));
    assert!(home.run(["doctor"], b"").text().contains("rule \"friends\" never matches"));
    // Rules that other users may write defer the message.
    write(&rule(""));
    crate::support::programs::chmod(&rules, 0o666);
    home.classify(&letter("1")).exits(75);
    home.run(["config", "check"], b"").exits(78);
    // One that was named has to be there.
    fs::remove_file(&rules).unwrap();
    home.classify(&letter("1")).exits(11);
    home.configure("addresses = [\"alice@x.example\"]\nrules = \"/nowhere/rules.toml\"");
    home.classify(&letter("1")).exits(75);
    home.run(["config", "check"], b"").exits(78);
    home.configure("addresses = [\"alice@x.example\"]\nrules = \"rules.toml\"");
    assert!(home.run(["config", "check"], b"").exits(78).stderr.contains("write an absolute path"));
}

/// Mail waits for the rule to be mended: a mistake in an expression drops none.
#[test]
fn an_expression_that_matches_everything_drops_no_mail() {
    let home = Home::new();
    let rules = home.config().with_file_name("rules.toml");
    for (rule, key) in [
        ("action = \"discard\"\nsubject = \"spam|\"", "subject"),
        ("action = \"reject\"\nfrom = \"/.*/\"", "from"),
        ("action = \"discard\"\nbody = [\"casino\", \".*\"]\nunless = { from = \"carol@y.example\" }", "body"),
        ("action = \"discard\"\nsubject = \"^\"\nheader = { From = \"\\\\s*\" }", "header From"),
    ] {
        fs::write(&rules, format!("[[rule]]\nname = \"spam\"\n{rule}\n")).unwrap();
        for args in [&["config", "check"][..], &["rules", "test"]] {
            let wrong = home.run(args.iter().copied(), &letter("1")).exits(78).stderr;
            assert!(wrong.contains("it matches everything, so the rule would drop all mail"), "{rule}: {wrong}");
            assert!(wrong.contains(&format!("rule \"spam\": {key}: ")) || wrong.contains("subject: "), "{wrong}");
        }
        let waits = home.run(["deliver"], &letter("1")).exits(75).stderr;
        assert!(waits.contains("the rule would drop all mail"), "{rule}: {waits}");
    }
    // Where another condition narrows the rule, or the field is one that not all mail has, it is told and works.
    for (rule, told) in
        [("subject = \"spam|\"\nlarger = 1000", "subject"), ("header = { X-Spam = \"^\" }", "header X-Spam")]
    {
        fs::write(&rules, format!("[[rule]]\nname = \"spam\"\naction = \"discard\"\n{rule}\n")).unwrap();
        let checked = home.run(["config", "check"], b"").exits(0).stderr;
        assert!(checked.contains(&format!("rule \"spam\" drops mail: {told} matches every text")), "{checked}");
        home.run(["deliver"], &letter("1")).exits(0);
    }
    for rule in ["subject = \"^$\"", "subject = \"(?i)spam\""] {
        fs::write(&rules, format!("[[rule]]\nname = \"spam\"\naction = \"discard\"\n{rule}\n")).unwrap();
        assert_eq!(home.run(["config", "check"], b"").exits(0).stderr, "");
    }
    for (config, told) in [
        ("addresses = [\"/.*/\"]", "addresses: \"/.*/\" matches every address"),
        (
            "addresses = [\"*@x.example\", { address = \"a@x.example\", price = 5 }]",
            "addresses: a@x.example counts as \"*@x.example\", which stands before it",
        ),
        (
            "addresses = [\"*@x.example\"]\n[actions]\nunstamped = \"reject\"\ninvalid = \"hold\"",
            "actions.unstamped: a bad stamp is a way around it: set actions.used, actions.revoked, actions.underpaid, \
             actions.unverified too",
        ),
    ] {
        home.configure(config);
        let checked = home.run(["config", "check"], b"").exits(0).stderr;
        assert!(checked.contains(told), "{checked}");
    }
    fs::remove_file(home.config()).unwrap();
    let refused = home.run(["setup", "--address", "/.*/", "--yes"], b"").exits(64).stderr;
    assert!(refused.contains("it matches every address, and not yours alone"), "{refused}");
}
