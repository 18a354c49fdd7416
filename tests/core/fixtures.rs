//! Every fixture through the real program, each in a home of its own. A fixture is a message and a `.toml` of the same
//! name with its circumstances and the expected result; `fixtures/README.md` explains the form.

use crate::support::{Home, Run};
use mailstamp::policy::action::Action;
use mailstamp::verdict::class::Class;
use mailstamp::verdict::reason::Reason;
use serde::Deserialize;
use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Fixture {
    class: String,
    reason: String,
    exit: i32,
    now: String,
    dry_run: Option<String>,
    action: Option<String>,
    recipient: Option<String>,
    config: String,
    rules: Option<String>,
    rule: Option<String>,
    #[serde(default)]
    state: String,
    #[serde(default)]
    history: Vec<Judgement>,
    vendors: BTreeMap<String, String>,
    #[serde(default)]
    fetched: BTreeMap<String, String>,
    own: Option<String>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Judgement {
    message: String,
    now: String,
    #[serde(default = "once")]
    times: u32,
}

fn once() -> u32 {
    1
}

fn folder() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("fixtures")
}

/// The names (`class/reason_detail`) of the files in the classes' folders that end so.
fn names(ending: &str) -> BTreeSet<String> {
    let mut names = BTreeSet::new();
    for class in Class::ALL {
        for entry in fs::read_dir(folder().join(class.as_str())).unwrap() {
            let path = entry.unwrap().path();
            let kind = path.extension().and_then(|ending| ending.to_str()).unwrap_or_default();
            assert!(kind == "eml" || kind == "toml", "{} is neither a message nor a .toml", path.display());
            if kind == ending {
                names.insert(format!("{class}/{}", path.file_stem().unwrap().to_str().unwrap()));
            }
        }
    }
    names
}

impl Fixture {
    fn read(name: &str) -> Self {
        let text = fs::read_to_string(folder().join(format!("{name}.toml"))).unwrap();
        toml::from_str(&text).unwrap_or_else(|error| panic!("{name}.toml: {error}"))
    }

    fn home(&self) -> Home {
        let home = Home::bare();
        home.configure(&self.config);
        if let Some(rules) = &self.rules {
            fs::write(home.config().with_file_name("rules.toml"), rules).unwrap();
        }
        let vendors = home.config().with_file_name("vendors");
        fs::create_dir_all(&vendors).unwrap();
        for (file, document) in &self.vendors {
            fs::write(vendors.join(file), document).unwrap();
        }
        for (file, record) in &self.fetched {
            let folder = home.state().join("directories");
            fs::create_dir_all(&folder).unwrap();
            fs::write(folder.join(file), record).unwrap();
        }
        if let Some(own) = &self.own {
            fs::create_dir_all(home.state().join("peer")).unwrap();
            fs::write(home.state().join("peer/own.json"), own).unwrap();
        }
        if !self.state.is_empty() {
            home.run(["import", "--now", &self.now], self.state.as_bytes()).exits(0);
        }
        for before in &self.history {
            let message = fs::read(folder().join(&before.message)).unwrap();
            for _ in 0..before.times {
                let run = self.run(&home, &["classify", "--now", &before.now], &message);
                assert!(run.text().starts_with("first-class "), "{}: {run:?}", before.message);
            }
        }
        home
    }

    fn run(&self, home: &Home, args: &[&str], message: &[u8]) -> Run {
        let recipient = self.recipient.iter().flat_map(|recipient| ["--recipient", recipient]);
        let run = home.run(args.iter().copied().chain(recipient), message);
        assert_eq!(run.stderr, "", "{args:?}");
        run
    }

    fn check(&self, name: &str) -> Result<(), String> {
        let message = fs::read(folder().join(format!("{name}.eml"))).unwrap();
        let home = self.home();
        let same = |what: &str, got: &str, want: &str| {
            if got == want { Ok(()) } else { Err(format!("{name}: {what} gave {got:?} instead of {want:?}")) }
        };
        // Looking changes nothing and says the same, but for a message that was accepted too long ago or too often.
        let seen = self.dry_run.clone().unwrap_or_else(|| self.verdict());
        let explained = self.run(&home, &["explain", "--json", "--now", &self.now], &message);
        let json: serde_json::Value = serde_json::from_slice(&explained.stdout).map_err(|e| format!("{name}: {e}"))?;
        same("explain", &format!("{} {}", json["class"], json["reason"]).replace('"', ""), &seen)?;
        if let Some(rule) = &self.rule {
            same("the rule", json["rule"].as_str().unwrap_or_default(), rule)?;
        }
        let filtered = self.run(&home, &["filter", "--dry-run", "--now", &self.now], &message);
        let field = format!("Digital-Stamp-Class: {}", seen.replace(' ', "; reason="));
        if !filtered.text().lines().take(2).any(|line| line.trim_end_matches(';').starts_with(&field)) {
            return Err(format!("{name}: filter wrote {:?}", filtered.text().lines().next()));
        }
        let action = self.action.as_deref().unwrap_or("deliver");
        let acted = self.run(&home, &["classify", "--action", "--dry-run", "--now", &self.now], &message);
        same("classify --action", acted.text().trim_end(), &format!("{action} {seen}"))?;
        let status = Action::ALL.iter().find(|it| it.as_str() == action).map(|action| i32::from(action.exit_code()));
        same("its status", &format!("{:?}", Some(acted.code)), &format!("{status:?}"))?;
        let judged = self.run(&home, &["classify", "--now", &self.now], &message);
        same("classify", judged.text().trim_end(), &self.verdict())?;
        same("the status", &judged.code.to_string(), &self.exit.to_string())
    }

    /// Whether commands that judge locally and commands that ask the daemon say the same, byte for byte; and how many
    /// messages the daemon has judged.
    #[cfg(feature = "daemon")]
    fn compare(&self, name: &str) -> Result<u64, String> {
        let message = fs::read(folder().join(format!("{name}.eml"))).unwrap();
        let (alone, asking) = (self.home(), self.home());
        let resident = crate::support::resident::Resident::of(&asking);
        for args in [&["classify"][..], &["filter"], &["classify", "--action", "--dry-run"], &["classify"]] {
            let args = [args, &["--now", &self.now]].concat();
            let [one, other] = [&alone, &asking].map(|home| self.run(home, &args, &message));
            if (one.code, &one.stdout) != (other.code, &other.stdout) {
                return Err(format!("{name}: {args:?}: {one:?} alone, and {other:?}"));
            }
        }
        Ok(resident.judged())
    }

    fn verdict(&self) -> String {
        format!("{} {}", self.class, self.reason)
    }
}

/// What comes of every fixture, two at a time.
fn of_all<T: Send>(check: impl Fn(&Fixture, &str) -> T + Sync) -> Vec<T> {
    let names: Vec<String> = names("toml").into_iter().collect();
    let half = names.len().div_ceil(2);
    let check = |names: &[String]| names.iter().map(|name| check(&Fixture::read(name), name)).collect::<Vec<T>>();
    std::thread::scope(|scope| {
        let threads: Vec<_> = names.chunks(half.max(1)).map(|names| scope.spawn(|| check(names))).collect();
        threads.into_iter().flat_map(|thread| thread.join().unwrap()).collect()
    })
}

#[test]
fn every_fixture_is_judged_as_it_says() {
    let wrong: Vec<String> = of_all(|fixture, name| fixture.check(name).err()).into_iter().flatten().collect();
    assert!(wrong.is_empty(), "{wrong:#?}");
}

#[cfg(feature = "daemon")]
#[test]
fn every_fixture_is_judged_alike_by_the_process_that_stays() {
    let (judged, wrong): (Vec<_>, Vec<_>) =
        of_all(|fixture, name| fixture.compare(name)).into_iter().partition(Result::is_ok);
    assert!(wrong.is_empty(), "{wrong:#?}");
    // It asks to be left out of those that are beyond the limit of a message.
    let all = judged.iter().filter(|it| matches!(it, Ok(4))).count();
    assert!(all + 5 > judged.len(), "{judged:?}");
}

// BX2: each class has one code, one word, and fixtures.
#[test]
fn every_reason_has_a_fixture_and_every_name_is_right() {
    let names = names("toml");
    assert_eq!(names, self::names("eml"), "a message without a .toml, or the reverse");
    let mut reasons = BTreeSet::new();
    for name in &names {
        let fixture = Fixture::read(name);
        let named = name.split_once('/').and_then(|(class, file)| Some((class, file.split_once('_')?.0)));
        assert_eq!(named, Some((fixture.class.as_str(), fixture.reason.as_str())), "{name}");
        let reason = Reason::ALL.iter().find(|reason| reason.as_str() == fixture.reason);
        let class = reason.unwrap_or_else(|| panic!("{name}: no such reason")).class();
        assert_eq!((class.as_str(), i32::from(class.exit_code())), (fixture.class.as_str(), fixture.exit), "{name}");
        reasons.insert(fixture.reason);
    }
    let without: Vec<&str> = Reason::ALL.iter().map(|r| r.as_str()).filter(|r| !reasons.contains(*r)).collect();
    assert!(without.is_empty(), "no fixture for {without:?}");
}
