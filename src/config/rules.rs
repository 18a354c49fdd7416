//! The file `rules.toml`: an array of tables `[[rule]]`, parsed into [`Rules`]. Unknown keys, values of the wrong kind
//! and values without meaning are refused with line and column. Regular expressions are compiled and address lists
//! opened only when a rule first uses them, or by a check of all rules.

use super::Config;
use super::address_list::{self, ListError};
use super::file::{self, FileError};
use super::paths::Paths;
use super::syntax::{SyntaxError, position};
use crate::message::address::LocalCase;
use crate::policy::action::Action;
use crate::policy::condition::{
    AddressOf, AddressPattern, Authentication, Condition, Domain, ListPattern, Test, TestError,
};
use crate::policy::decision::Effect;
use crate::policy::regex::Expression;
use crate::policy::rule_set::{MOST, Rule, Rules, WrongRule};
use crate::verdict::class::Class;
use crate::verdict::reason::Reason;
use std::collections::BTreeMap;
use std::ops::Range;
use std::path::{Path, PathBuf};
use toml::Spanned;
use toml::de::{DeTable, DeValue};

/// Keys of a rule that are no conditions.
pub const RULE_KEYS: [&str; 5] = ["name", "action", "always", "unless", "unicode"];

/// The keys of conditions.
pub const CONDITION_KEYS: [&str; 19] = [
    "from",
    "from_domain",
    "from_file",
    "envelope_from",
    "envelope_from_domain",
    "envelope_from_file",
    "recipient",
    "to",
    "list_id",
    "header",
    "subject",
    "body",
    "larger",
    "smaller",
    "class",
    "reason",
    "authenticated",
    "correspondent",
    "reply_to_mine",
];

/// Words of `action`, and their effects.
pub const EFFECTS: [(&str, Effect); 8] = [
    ("allow", Effect::Allow),
    ("deliver", Effect::Act(Action::Deliver)),
    ("tag", Effect::Act(Action::Tag)),
    ("challenge", Effect::Act(Action::Challenge)),
    ("hold", Effect::Act(Action::Hold)),
    ("discard", Effect::Act(Action::Discard)),
    ("reject", Effect::Act(Action::Reject)),
    ("nothing", Effect::Nothing),
];

/// Longest name of a rule, in characters.
const NAME: usize = 100;

/// Error in the rules.
#[derive(Debug, thiserror::Error)]
pub enum RulesError {
    /// The file cannot be read, or is not safe to read.
    #[error("rules: {0}")]
    File(#[from] FileError),
    /// Not TOML.
    #[error("{}: {source}", path.display())]
    Syntax { path: PathBuf, source: SyntaxError },
    /// A wrong key or value.
    #[error("{}: line {line}, column {column}: {what}", path.display())]
    Value { path: PathBuf, line: usize, column: usize, what: String },
    /// A condition that cannot be compiled.
    #[error("{}: {source}", path.display())]
    Rule { path: PathBuf, source: Box<WrongRule> },
    /// A list of addresses.
    #[error(transparent)]
    List(#[from] ListError),
}

/// Returns the user's rules: the file that the configuration names, which must exist, else the one beside the
/// configuration, if any.
///
/// # Errors
/// [`RulesError`] when they cannot be used.
pub fn in_force(config: &Config, places: &Paths) -> Result<Rules, RulesError> {
    let Some(path) = &places.rules else { return Ok(Rules::default()) };
    match read(path, config.local_case) {
        Err(RulesError::File(error)) if error.is_absent() && config.rules.is_none() => Ok(Rules::default()),
        other => other,
    }
}

/// Reads the rules in a file.
///
/// # Errors
/// [`RulesError`]; an absent file is one too.
pub fn read(path: &Path, case: LocalCase) -> Result<Rules, RulesError> {
    parse(&file::read(path)?, path, case)
}

/// Parses rules from text. Names of address lists are relative to the folder of `path`; local parts compare as `case`
/// says.
pub fn parse(text: &str, path: &Path, case: LocalCase) -> Result<Rules, RulesError> {
    let table = DeTable::parse(text)
        .map_err(|error| RulesError::Syntax { path: path.to_owned(), source: SyntaxError::new(text, &error) })?;
    let folder = path.parent().unwrap_or(Path::new(""));
    let reader = Reader { text, folder, case };
    reader.rules(table.get_ref()).map_err(|Wrong { at, what }| {
        let (line, column) = position(text, at);
        RulesError::Value { path: path.to_owned(), line, column, what }
    })
}

/// Compiles every expression and reads every list.
///
/// # Errors
/// The first error.
pub fn check(rules: &Rules, path: &Path, case: LocalCase) -> Result<(), RulesError> {
    rules.check().map_err(|source| RulesError::Rule { path: path.to_owned(), source: Box::new(source) })?;
    for file in rules.iter().flat_map(Rule::conditions).flat_map(|(_, condition)| condition.files()) {
        address_list::check(file, case)?;
    }
    Ok(())
}

/// Error at this byte.
struct Wrong {
    at: usize,
    what: String,
}

type Value<'a> = Spanned<DeValue<'a>>;

fn wrong<T>(at: &Range<usize>, what: impl Into<String>) -> Result<T, Wrong> {
    Err(Wrong { at: at.start, what: what.into() })
}

struct Reader<'a> {
    text: &'a str,
    folder: &'a Path,
    case: LocalCase,
}

impl Reader<'_> {
    fn rules(&self, file: &DeTable<'_>) -> Result<Rules, Wrong> {
        let mut rules = Vec::new();
        for (key, value) in file {
            if key.get_ref() != "rule" {
                return wrong(&key.span(), format!("unknown key {:?}; the file holds tables [[rule]]", key.get_ref()));
            }
            let Some(tables) = value.get_ref().as_array() else {
                return wrong(&value.span(), "write [[rule]], in two brackets");
            };
            let mut names = BTreeMap::new();
            for value in tables {
                let Some(table) = value.get_ref().as_table() else {
                    return wrong(&value.span(), "write [[rule]], in two brackets");
                };
                if rules.len() == MOST {
                    return wrong(&value.span(), format!("more than {MOST} rules"));
                }
                let (rule, name) = self.rule(table, &value.span())?;
                if let Some(line) = names.insert(rule.name.clone(), rule.line) {
                    return wrong(&name, format!("rule {:?}: the one on line {line} has this name too", rule.name));
                }
                rules.push(rule);
            }
        }
        Ok(Rules::new(rules))
    }

    /// Parses a rule. Returns it with the position of its name.
    fn rule(&self, table: &DeTable<'_>, span: &Range<usize>) -> Result<(Rule, Range<usize>), Wrong> {
        let Some(name) = table.get("name") else { return wrong(span, "a rule needs a name") };
        let text = self.string(name)?;
        if text.is_empty() || text.chars().count() > NAME || text.chars().any(char::is_control) {
            return wrong(&name.span(), format!("a name has 1 to {NAME} characters, none of them a control character"));
        }
        let named = |error: Wrong| Wrong { what: format!("rule {text:?}: {}", error.what), ..error };
        let read = || {
            let Some(action) = table.get("action") else { return wrong(span, "it needs an action") };
            let effect = word(self.string(action)?, &EFFECTS).ok_or_else(|| Wrong {
                at: action.span().start,
                what: format!("action is one of {}", words(&EFFECTS)),
            })?;
            let unicode = table.get("unicode").map(|value| self.boolean(value)).transpose()?.unwrap_or(false);
            let exceptions = match table.get("unless").map(|value| (value.span(), value.get_ref().as_table())) {
                None => Vec::new(),
                Some((span, Some(unless))) if unless.is_empty() => return wrong(&span, "unless says nothing"),
                Some((_, Some(unless))) => self.conditions(unless, unicode, false)?,
                Some((span, None)) => return wrong(&span, "write unless = { ... } with conditions"),
            };
            let conditions = self.conditions(table, unicode, true)?;
            match table.get("always").map(|value| Ok((value.span(), self.boolean(value)?))).transpose()? {
                Some((span, true)) if !conditions.is_empty() => {
                    return wrong(&span, "always = true: it has conditions");
                }
                Some((_, true)) => {}
                // Mail is not deleted or let through because the line with the condition was commented out.
                _ if conditions.is_empty() => {
                    if let Some(harm) = harm(effect) {
                        let what = format!("it would {harm}; write a condition, or always = true if you mean it");
                        return wrong(&action.span(), what);
                    }
                }
                _ => {}
            }
            Ok((conditions, exceptions, effect))
        };
        let (conditions, exceptions, effect) = read().map_err(named)?;
        let line = position(self.text, span.start).0;
        Ok((Rule::new(text.to_owned(), line, conditions, exceptions, effect), name.span()))
    }

    fn conditions(&self, table: &DeTable<'_>, unicode: bool, whole_rule: bool) -> Result<Vec<Condition>, Wrong> {
        let mut found = Vec::new();
        for (key, value) in table {
            let name: &str = key.get_ref();
            if whole_rule && RULE_KEYS.contains(&name) {
                continue;
            }
            let line = position(self.text, key.span().start).0;
            let of = |key: String, value: &Value<'_>, test| Condition { key, text: self.written(value), line, test };
            if name == "header" {
                let Some(fields) = value.get_ref().as_table() else {
                    return wrong(&value.span(), "write header = { \"X-Field\" = \"expression\" }");
                };
                for (field, value) in fields {
                    if !is_field_name(field.get_ref()) {
                        return wrong(&field.span(), format!("{:?} is no name of a header field", field.get_ref()));
                    }
                    let test = Test::Field(field.get_ref().to_string(), self.expressions(value, unicode)?);
                    found.push(of(format!("header {}", field.get_ref()), value, test));
                }
                continue;
            }
            let Some(test) = self.test(name, value, unicode)? else {
                return wrong(&key.span(), format!("unknown key {name:?}"));
            };
            found.push(of(name.to_owned(), value, test));
        }
        Ok(found)
    }

    /// Parses the condition of this name; `None` when there is none of this name.
    fn test(&self, name: &str, value: &Value<'_>, unicode: bool) -> Result<Option<Test>, Wrong> {
        Ok(Some(match name {
            "from" => self.addresses(AddressOf::Author, value)?,
            "from_domain" => self.domains(AddressOf::Author, value)?,
            "from_file" => self.files(AddressOf::Author, value)?,
            "envelope_from" => self.addresses(AddressOf::Sender, value)?,
            "envelope_from_domain" => self.domains(AddressOf::Sender, value)?,
            "envelope_from_file" => self.files(AddressOf::Sender, value)?,
            "recipient" => self.addresses(AddressOf::Recipient, value)?,
            "to" => self.addresses(AddressOf::Addressee, value)?,
            "list_id" => Test::List(self.each(value, |text| {
                ListPattern::new(text).ok_or("write the identifier of a list, or \"*.\" and what all of them end with")
            })?),
            "subject" => Test::Field("Subject".to_owned(), self.expressions(value, unicode)?),
            "body" => Test::Text(self.expressions(value, unicode)?),
            "larger" => Test::Larger(self.size(value)?),
            "smaller" => Test::Smaller(self.size(value)?),
            "class" => Test::Class(self.each(value, class)?),
            "reason" => Test::Reason(self.each(value, reason)?),
            "authenticated" => Test::Authenticated(match value.get_ref().as_bool() {
                Some(genuine) => vec![Authentication::Genuine(genuine)],
                None => self.each(value, outcome)?,
            }),
            "correspondent" => Test::Correspondent(self.boolean(value)?),
            "reply_to_mine" => Test::ReplyToMine(self.boolean(value)?),
            _ => return Ok(None),
        }))
    }

    fn addresses(&self, whose: AddressOf, value: &Value<'_>) -> Result<Test, Wrong> {
        let pattern = |text: &str| AddressPattern::new(text, self.case).map_err(TestError::from);
        Ok(Test::Address(whose, self.each(value, pattern)?))
    }

    fn domains(&self, whose: AddressOf, value: &Value<'_>) -> Result<Test, Wrong> {
        Ok(Test::Domain(whose, self.each(value, |text| Domain::new(text).ok_or("write the name of a domain"))?))
    }

    fn files(&self, whose: AddressOf, value: &Value<'_>) -> Result<Test, Wrong> {
        let path = |text: &str| {
            let name = !text.is_empty() && !text.contains('\0');
            if name { Ok(self.folder.join(text)) } else { Err("write the name of a file") }
        };
        Ok(Test::Listed(whose, self.each(value, path)?))
    }

    fn expressions(&self, value: &Value<'_>, unicode: bool) -> Result<Vec<Expression>, Wrong> {
        self.each(value, |text| match text {
            "" => Err("an empty expression matches every text; write \"^\" if the field need only be there"),
            text => Ok(Expression::new(text, unicode)),
        })
    }

    /// Parses one string or a list of strings, converting each.
    fn each<T, E: ToString>(&self, value: &Value<'_>, make: impl Fn(&str) -> Result<T, E>) -> Result<Vec<T>, Wrong> {
        let one = |value: &Value<'_>| {
            let text = self.string(value)?;
            make(text)
                .map_err(|error| Wrong { at: value.span().start, what: format!("{text:?}: {}", error.to_string()) })
        };
        match value.get_ref().as_array() {
            None => Ok(vec![one(value)?]),
            Some(list) if list.is_empty() => wrong(&value.span(), "an empty list never holds"),
            Some(list) => list.iter().map(one).collect(),
        }
    }

    fn string<'v>(&self, value: &'v Value<'_>) -> Result<&'v str, Wrong> {
        value.get_ref().as_str().map_or_else(|| wrong(&value.span(), "write a string, in quotes"), Ok)
    }

    fn boolean(&self, value: &Value<'_>) -> Result<bool, Wrong> {
        value.get_ref().as_bool().map_or_else(|| wrong(&value.span(), "write true or false"), Ok)
    }

    /// Parses a number of bytes: `"100k"`, `"5M"`, or a plain integer.
    fn size(&self, value: &Value<'_>) -> Result<u64, Wrong> {
        let text = match value.get_ref() {
            DeValue::Integer(integer) if integer.radix() == 10 => integer.as_str(),
            DeValue::String(text) => text,
            _ => "",
        };
        let (digits, unit) = match text.char_indices().next_back() {
            Some((at, 'k')) => (text.get(..at), 1 << 10),
            Some((at, 'M')) => (text.get(..at), 1 << 20),
            Some((at, 'G')) => (text.get(..at), 1 << 30),
            _ => (Some(text), 1),
        };
        let digits = digits.filter(|digits| digits.bytes().all(|b| b.is_ascii_digit()));
        let size = digits.and_then(|digits| digits.parse::<u64>().ok()).and_then(|size| size.checked_mul(unit));
        // Every message is larger than 0 bytes, and none is smaller: such a condition is none.
        let size = size.filter(|size| *size > 0);
        size.map_or_else(|| wrong(&value.span(), "write a number of bytes from 1 on, as \"100k\", \"5M\" or 512"), Ok)
    }

    /// Returns the value as written in the file, on one line.
    fn written(&self, value: &Value<'_>) -> String {
        let text = self.text.get(value.span()).unwrap_or_default();
        text.split_whitespace().collect::<Vec<_>>().join(" ")
    }
}

/// Returns what the effect does to all mail, if that needs the user's word.
fn harm(effect: Effect) -> Option<&'static str> {
    match effect {
        Effect::Allow => Some("let all mail through"),
        Effect::Act(Action::Discard | Action::Reject) => Some("drop all mail"),
        _ => None,
    }
}

fn word<T: Copy>(text: &str, known: &[(&str, T)]) -> Option<T> {
    known.iter().find(|(word, _)| *word == text).map(|(_, value)| *value)
}

fn words<T>(known: &[(&str, T)]) -> String {
    known.iter().map(|(word, _)| *word).collect::<Vec<_>>().join(", ")
}

/// Parses a class to which rules apply.
fn class(text: &str) -> Result<Class, String> {
    let asked = |class: &&Class| !matches!(class, Class::FirstClass | Class::Allowed);
    let found = Class::ALL.iter().filter(asked).find(|class| class.as_str() == text);
    found.copied().ok_or_else(|| {
        let known: Vec<&str> = Class::ALL.iter().filter(asked).map(|class| class.as_str()).collect();
        format!("rules are asked about the classes {}", known.join(", "))
    })
}

/// Parses a reason of such a class.
fn reason(text: &str) -> Result<Reason, String> {
    let found = Reason::ALL.iter().find(|reason| reason.as_str() == text && class(reason.class().as_str()).is_ok());
    found
        .copied()
        .ok_or_else(|| "not a reason of a class about which rules are asked; mailstamp(1) lists them".to_owned())
}

/// Parses a result such as `dkim=pass`.
fn outcome(text: &str) -> Result<Authentication, &'static str> {
    let keyword =
        |text: &str| !text.is_empty() && text.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-' || b == b'_');
    match text.split_once('=') {
        Some((method, result)) if keyword(method) && keyword(result) => {
            Ok(Authentication::Outcome { method: method.to_ascii_lowercase(), result: result.to_ascii_lowercase() })
        }
        _ => Err("write true, or a method and its result, as \"dkim=pass\""),
    }
}

/// Returns whether it is a field name (RFC 5322 section 3.6.8).
fn is_field_name(text: &str) -> bool {
    !text.is_empty() && text.bytes().all(|b| b.is_ascii_graphic() && b != b':')
}
