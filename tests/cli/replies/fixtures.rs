//! Every fixture in `fixtures/replies/` through `mailstamp reply test`: a message, and a `.toml` of the same name that
//! says whether its sender gets a reply; `fixtures/README.md` explains the form.

use crate::support::Home;
use mailstamp::autoreply::eligibility::Kind;
use mailstamp::autoreply::suppression::SuppressReason;
use mailstamp::message::encoded_word;
use mailstamp::message::parse::Message;
use serde::Deserialize;
use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Fixture {
    answer: String,
    config: Option<String>,
    #[serde(default = "yes")]
    vendors: bool,
    #[serde(default)]
    state: String,
    sender: Option<String>,
    recipient: Option<String>,
    to: Option<String>,
    from: Option<String>,
    rate_limit_key: Option<String>,
    subject: Option<String>,
    in_reply_to: Option<String>,
    references: Option<String>,
    text: Option<String>,
}

fn yes() -> bool {
    true
}

fn folder() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("fixtures/replies")
}

fn names() -> BTreeSet<String> {
    let paths = fs::read_dir(folder()).unwrap().map(|entry| entry.unwrap().path());
    let messages = paths.filter(|path| path.extension().is_some_and(|ending| ending == "eml"));
    messages.map(|path| path.file_stem().unwrap().to_str().unwrap().to_owned()).collect()
}

fn read(name: &str) -> String {
    fs::read_to_string(folder().join(name)).unwrap_or_else(|error| panic!("{name}: {error}"))
}

fn fixture(name: &str) -> Fixture {
    toml::from_str(&read(&format!("{name}.toml"))).unwrap_or_else(|error| panic!("{name}.toml: {error}"))
}

/// Decoded, empty if there is none.
fn field(letter: &str, name: &str) -> String {
    let field = Message::parse(letter.as_bytes()).first(name).map(|field| encoded_word::decode(&field.unfolded()));
    String::from_utf8(field.unwrap_or_default()).unwrap()
}

impl Fixture {
    fn home(&self) -> Home {
        let home = Home::bare();
        home.configure(&self.config.clone().unwrap_or_else(|| read("config.toml")));
        let vendors = home.config().with_file_name("vendors");
        fs::create_dir_all(&vendors).unwrap();
        if self.vendors {
            fs::write(vendors.join("stamps.example.json"), read("stamps.example.json")).unwrap();
        }
        if !self.state.is_empty() {
            home.run(["import", "--now", "2026-12-01T12:00:00Z"], self.state.as_bytes()).exits(0);
        }
        home
    }

    fn check(&self, name: &str) -> Result<(), String> {
        let home = self.home();
        let state = || home.run(["export"], b"").exits(0).text();
        let before = state();
        let message = fs::read(folder().join(format!("{name}.eml"))).unwrap();
        let mut args = vec!["reply", "test", "--json", "--now", "2026-12-01T12:00:00Z"];
        args.extend(self.sender.iter().flat_map(|sender| ["--sender", sender]));
        args.extend(self.recipient.iter().flat_map(|recipient| ["--recipient", recipient]));
        let run = home.run(args, &message);
        let same = |what: &str, got: &str, want: &str| {
            if got == want { Ok(()) } else { Err(format!("{name}: {what} is {got:?} instead of {want:?}")) }
        };
        same("standard error", &run.stderr, "")?;
        let answer: serde_json::Value =
            serde_json::from_slice(&run.stdout).map_err(|error| format!("{name}: {error}"))?;
        let part = |name: &str| answer[name].as_str().unwrap_or_default().to_owned();
        let got = if answer["reply"] == true { format!("yes {}", part("kind")) } else { format!("no {}", part("why")) };
        same("the answer", &got, &self.answer)?;
        same("the state", &state(), &before)?;
        let letter = part("letter");
        if let Some(text) = &self.text
            && !letter.contains(text.as_str())
        {
            return Err(format!("{name}: the letter lacks {text:?}: {letter}"));
        }
        for (what, got, want) in [
            ("the address", part("to"), &self.to),
            ("To", field(&letter, "To"), &self.to),
            ("From", field(&letter, "From"), &self.from),
            ("rate limit key", part("rate_limit_key"), &self.rate_limit_key),
            ("Subject", field(&letter, "Subject"), &self.subject),
            ("In-Reply-To", field(&letter, "In-Reply-To"), &self.in_reply_to),
            ("References", field(&letter, "References"), &self.references),
        ] {
            want.as_ref().map_or(Ok(()), |want| same(what, &got, want))?;
        }
        if letter.is_empty() { Ok(()) } else { is_sound(&letter).map_err(|what| format!("{name}: {what}: {letter}")) }
    }
}

/// Checks what holds for every reply (RFC 3834 section 3).
fn is_sound(letter: &str) -> Result<(), &'static str> {
    let names: Vec<String> = Message::parse(letter.as_bytes())
        .fields()
        .map(|field| String::from_utf8_lossy(field.name()).into_owned())
        .filter(|name| !matches!(name.as_str(), "In-Reply-To" | "References"))
        .collect();
    let wanted = [
        "From",
        "To",
        "Date",
        "Message-ID",
        "Auto-Submitted",
        "Digital-Stamp-Reply",
        "X-Auto-Response-Suppress",
        "MIME-Version",
        "Content-Type",
        "Content-Transfer-Encoding",
        "Subject",
    ];
    if names != wanted {
        return Err("its fields are others");
    }
    if field(letter, "Auto-Submitted") != "auto-replied" || !field(letter, "Subject").starts_with("Auto: Re: ") {
        return Err("it does not say that it is automatic");
    }
    if !letter.bytes().all(|byte| byte == b'\n' || matches!(byte, b' '..=b'~')) {
        return Err("it is not plain ASCII");
    }
    if letter.lines().any(|line| line.len() > 300) || letter.len() > 8000 {
        return Err("it is too long");
    }
    if letter.contains("this is a letter") || letter.contains("eve@z.example\n") {
        return Err("it quotes");
    }
    Ok(())
}

#[test]
fn every_sender_gets_the_answer_that_the_fixture_says() {
    // Threats 10, 24, 26, 30.
    let names: Vec<String> = names().into_iter().collect();
    assert!(names.len() >= 90, "{}", names.len());
    let half = names.len().div_ceil(2);
    let wrong: Vec<String> = std::thread::scope(|scope| {
        let check =
            |names: &[String]| names.iter().filter_map(|name| fixture(name).check(name).err()).collect::<Vec<_>>();
        let threads: Vec<_> = names.chunks(half).map(|names| scope.spawn(move || check(names))).collect();
        threads.into_iter().flat_map(|thread| thread.join().unwrap()).collect()
    });
    assert!(wrong.is_empty(), "{wrong:#?}");
}

#[test]
fn every_reason_for_silence_has_a_fixture_and_every_name_is_right() {
    let mut answers = BTreeSet::new();
    for name in names() {
        let answer = fixture(&name).answer;
        let (word, rest) = answer.split_once(' ').unwrap();
        let begins = if word == "yes" { rest.to_owned() } else { format!("no_{rest}") };
        assert!(name == begins || name.starts_with(&format!("{begins}_")), "{name}: {answer}");
        answers.insert(answer);
    }
    let whys = SuppressReason::ALL.iter().map(|why| format!("no {why}"));
    let kinds = Kind::ALL.iter().map(|kind| format!("yes {kind}"));
    assert_eq!(answers, whys.chain(kinds).collect());
}
