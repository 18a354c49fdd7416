//! One fixture: a message, the circumstances under which it is judged, the expected result, and their form in the
//! `.toml`.

use super::stamps::{NOW, pinned};
use mailstamp::directory::cache::Record;
use mailstamp::directory::own_keys::OwnKeys;
use mailstamp::time::UnixTime;
use mailstamp::verdict::reason::Reason;
use std::fmt::Write;

/// A fixture.
#[derive(Clone, Debug)]
pub struct Case {
    reason: Reason,
    detail: &'static str,
    shows: &'static str,
    now: UnixTime,
    recipient: Option<&'static str>,
    dry_run: Option<&'static str>,
    action: Option<&'static str>,
    config: String,
    rules: Option<String>,
    rule: Option<&'static str>,
    history: Vec<Judgement>,
    state: Vec<String>,
    vendors: Vec<(&'static str, String)>,
    fetched: Option<Record>,
    own: Option<String>,
    /// The message.
    pub message: Vec<u8>,
}

#[derive(Clone, Debug)]
struct Judgement {
    message: &'static str,
    now: UnixTime,
    times: u8,
}

/// Returns a fixture for `reason`, with the user's one address and one vendor; `detail` goes into its name.
pub fn case(reason: Reason, detail: &'static str, shows: &'static str, message: impl Into<Vec<u8>>) -> Case {
    Case {
        reason,
        detail,
        shows,
        now: NOW,
        recipient: None,
        dry_run: None,
        action: None,
        config: "addresses = [\"alice@x.example\"]\n".to_owned(),
        rules: None,
        rule: None,
        history: Vec::new(),
        state: Vec::new(),
        vendors: vec![("stamps.example.json", pinned("stamps.example", &[("2026q4", "")], ""))],
        fetched: None,
        own: None,
        message: message.into(),
    }
}

impl Case {
    /// Its name, as a path below `fixtures/` without an ending.
    pub fn name(&self) -> String {
        format!("{}/{}_{}", self.reason.class(), self.reason, self.detail)
    }

    pub fn at(self, now: UnixTime) -> Self {
        Self { now, ..self }
    }

    /// Sets the verdict of `explain` and `filter --dry-run`, if it differs.
    pub fn dry_run(self, verdict: &'static str) -> Self {
        Self { dry_run: Some(verdict), ..self }
    }

    /// Sets the action, if it is not to deliver.
    pub fn action(self, action: &'static str) -> Self {
        Self { action: Some(action), ..self }
    }

    /// `--recipient`.
    pub fn to(self, recipient: &'static str) -> Self {
        Self { recipient: Some(recipient), ..self }
    }

    /// The whole configuration.
    pub fn config(self, text: &str) -> Self {
        Self { config: format!("{}\n", text.trim()), ..self }
    }

    /// The file `rules.toml`.
    pub fn rules(self, text: &str) -> Self {
        Self { rules: Some(format!("{}\n", text.trim())), ..self }
    }

    /// The name of the rule that matches.
    pub fn named(self, rule: &'static str) -> Self {
        Self { rule: Some(rule), ..self }
    }

    /// Another fixture's message that was judged before, with the same configuration.
    pub fn after(self, message: &'static str, now: UnixTime) -> Self {
        self.after_times(message, now, 1)
    }

    pub fn after_times(mut self, message: &'static str, now: UnixTime, times: u8) -> Self {
        self.history.push(Judgement { message, now, times });
        self
    }

    /// A row of the state, as `mailstamp export` writes it.
    pub fn row(mut self, row: impl Into<String>) -> Self {
        self.state.push(row.into());
        self
    }

    /// Another document in the folder `vendors/`, or another text for one that is there.
    pub fn vendor(mut self, file: &'static str, text: String) -> Self {
        self.vendors.retain(|(name, _)| *name != file);
        self.vendors.push((file, text));
        self
    }

    /// Sets the fetched directory of a publisher.
    pub fn fetched(self, record: Record) -> Self {
        Self { fetched: Some(record), ..self }
    }

    /// Sets the user's own keys, as the file `peer/own.json` of the state has them.
    pub fn own(self, keys: &OwnKeys) -> Self {
        Self { own: Some(serde_json::to_string_pretty(keys).unwrap()), ..self }
    }

    pub fn to_toml(&self) -> String {
        let mut text = String::new();
        let mut line = |line: &str| {
            let _ = writeln!(text, "{line}");
        };
        line(&format!("# {}", self.shows));
        line(&format!("class = \"{}\"", self.reason.class()));
        line(&format!("reason = \"{}\"", self.reason));
        line(&format!("exit = {}", self.reason.class().exit_code()));
        line(&format!("now = \"{}\"", self.now));
        if let Some(verdict) = self.dry_run {
            line(&format!("dry_run = \"{verdict}\""));
        }
        if let Some(action) = self.action {
            line(&format!("action = \"{action}\""));
        }
        if let Some(recipient) = self.recipient {
            line(&format!("recipient = \"{recipient}\""));
        }
        if let Some(rule) = self.rule {
            line(&format!("rule = \"{rule}\""));
        }
        line(&format!("config = '''\n{}'''", self.config));
        if let Some(rules) = &self.rules {
            line(&format!("rules = {}", quoted(rules)));
        }
        if !self.state.is_empty() {
            line("# Rows of the state, as `mailstamp export` writes them.");
            line(&format!("state = '''\n{}\n'''", self.state.join("\n")));
        }
        if let Some(own) = &self.own {
            line(&format!("own = '''\n{own}\n'''"));
        }
        for before in &self.history {
            line("\n# Judged before this message.\n[[history]]");
            line(&format!("message = \"{}\"\nnow = \"{}\"", before.message, before.now));
            if before.times != 1 {
                line(&format!("times = {}", before.times));
            }
        }
        line("\n[vendors]");
        for (file, document) in &self.vendors {
            line(&format!("\"{file}\" = '''\n{document}\n'''"));
        }
        if let Some(record) = &self.fetched {
            let json = serde_json::to_string_pretty(record).unwrap();
            line(&format!("\n[fetched]\n\"{}.json\" = '''\n{json}\n'''", record.publisher));
        }
        text
    }
}

/// A string of several lines for a text that has quotes of both kinds in it, though never three double ones.
fn quoted(text: &str) -> String {
    format!("\"\"\"\n{}\"\"\"", text.replace('\\', "\\\\"))
}
