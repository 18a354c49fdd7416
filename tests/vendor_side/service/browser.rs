//! A real browser that a test takes through pages step by step (`chromium.py`), and the rules that every page keeps:
//! those of axe-core, in light and dark colours, on a telephone and on a desk, and nothing stands out to the right.
//!
//! `MAILSTAMP_TEST_AXE` names the folder with `axe.min.js`; `tests/run` fetches it once and keeps it. Where it is
//! missing the tests fail. `MAILSTAMP_TEST_PICTURES` may name a folder into which the pages are painted for people.

use crate::support::is_soak;
use crate::support::python::Python;
use serde_json::{Value, json};
use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

/// axe-core as an npm package, and npm's hash of the archive. `tests/run` takes both from here.
const PACKAGE: &str = "axe-core@4.14.1";
const INTEGRITY: &str =
    "sha512-FHfa+lmNjQZfJz1q8wKqIDwC6DExcHt/pkjNQb09a3NPjCKg2rhu5qb2S4r76ASyFNNtuFooJpZe37OgudVGtQ==";

/// Where the templates are.
const TEMPLATES: &str = "src/server/vendor_http/page";
/// Fewer rules than this do not look at a page of any template.
const RULES: u64 = 20;

fn axe() -> PathBuf {
    let folder = std::env::var_os("MAILSTAMP_TEST_AXE").filter(|folder| !folder.is_empty());
    let folder = PathBuf::from(folder.expect("MAILSTAMP_TEST_AXE names no folder; tests/run fetches it and sets this"));
    // Written by tests/run when the archive had the hash.
    let ready = fs::read_to_string(folder.join("ready")).unwrap_or_default();
    let lacks = format!("{} does not hold axe-core; tests/run fetches it", folder.display());
    assert_eq!(ready.trim_end(), format!("{PACKAGE} {INTEGRITY}"), "{lacks}");
    folder
}

/// A browser without a screen. It runs no scripts until it is allowed to.
pub(super) struct Browser {
    python: Python,
    seen: BTreeMap<String, Value>,
}

impl Browser {
    /// Starts one for the pages of this origin.
    pub(super) fn start(origin: &str) -> Self {
        let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/vendor_side/service/chromium.py");
        let mut command = Command::new("/usr/bin/python3");
        command.arg("-B").arg(script).env("MAILSTAMP_TEST_AXE", axe());
        let mut browser = Self { python: Python::start(&mut command), seen: BTreeMap::new() };
        browser.visit(origin);
        browser.scripts(false);
        browser
    }

    #[track_caller]
    fn ask(&mut self, request: &Value) -> Value {
        self.python.ask(request)
    }

    /// Goes to another origin with the next path.
    pub(super) fn visit(&mut self, origin: &str) {
        self.ask(&json!(["visit", origin]));
    }

    pub(super) fn scripts(&mut self, allowed: bool) {
        self.ask(&json!(["scripts", allowed]));
    }

    #[track_caller]
    pub(super) fn goto(&mut self, path: &str) {
        self.ask(&json!(["goto", path]));
    }

    pub(super) fn reload(&mut self) {
        self.ask(&json!(["reload"]));
    }

    pub(super) fn back(&mut self) {
        self.ask(&json!(["back"]));
    }

    /// Opens another tab and shows it. Returns the tab that was shown.
    pub(super) fn tab(&mut self) -> Value {
        self.ask(&json!(["tab"]))
    }

    /// Shows a tab. Returns the tab that was shown.
    pub(super) fn show(&mut self, tab: &Value) -> Value {
        self.ask(&json!(["show", tab]))
    }

    /// Types a text over what a field has, as the keyboard does.
    #[track_caller]
    pub(super) fn fill(&mut self, selector: &str, text: &str) {
        self.ask(&json!(["fill", selector, text]));
    }

    /// Sends the form of the field that has the focus.
    #[track_caller]
    pub(super) fn enter(&mut self) {
        self.ask(&json!(["enter"]));
    }

    /// Presses a button or a link.
    #[track_caller]
    pub(super) fn press(&mut self, selector: &str) {
        self.ask(&json!(["press", selector]));
    }

    /// The value of an expression of JavaScript, which is also there where the page runs no scripts.
    #[track_caller]
    pub(super) fn value(&mut self, expression: &str) -> Value {
        self.ask(&json!(["value", expression]))
    }

    /// The content of a field.
    #[track_caller]
    pub(super) fn field(&mut self, selector: &str) -> String {
        let found = self.value(&format!("document.querySelector({}).value", json!(selector)));
        found.as_str().unwrap().to_owned()
    }

    /// The text of the page.
    #[track_caller]
    pub(super) fn text(&mut self) -> String {
        self.value("document.body.innerText").as_str().unwrap().to_owned()
    }

    /// Opens what is folded.
    pub(super) fn unfold(&mut self) {
        self.value("document.querySelectorAll('details').forEach(it => { it.open = true; })");
    }

    /// Looks at the page in this state, whose name begins with that of the template. Returns its text.
    ///
    /// The gate sees the first state of a template, which has no other name, in all four variants of colour and width,
    /// and the others in light on a telephone and in dark on a desk. `tests/soak` sees all of them in all.
    #[track_caller]
    pub(super) fn look(&mut self, state: &str) -> String {
        let page = self.ask(&json!(["look", state, has_all_variants(state)]));
        let (title, text) = (page["title"].as_str().unwrap(), page["text"].as_str().unwrap().to_owned());
        assert!(is_titled(template(state), title), "{state}: {title}");
        assert!(self.seen.insert(state.to_owned(), page).is_none(), "{state}");
        text
    }

    /// Fails unless faults of the page that is shown are found, in each of its looks.
    #[track_caller]
    pub(super) fn finds_faults(&mut self) {
        self.value(BREAK);
        let broken = self.ask(&json!(["look", "broken", true]));
        let wrong: Vec<&str> = broken["wrong"].as_array().unwrap().iter().map(|it| it.as_str().unwrap()).collect();
        for variant in ["light 390", "light 900", "dark 390", "dark 900"] {
            for rule in ["color-contrast", "duplicate-id-active", "label", "target-size"] {
                assert!(
                    wrong.iter().any(|it| it.starts_with(&format!("{variant}: {rule}: "))),
                    "{variant} {rule}: {wrong:?}"
                );
            }
        }
        assert_ne!(broken["wide"], widths());
    }

    /// Fails unless these states were seen, nothing is wrong with any, and these origins were asked. Returns the cookies.
    #[track_caller]
    pub(super) fn end(mut self, states: &[&str], asked: &[String]) -> Value {
        let report = self.ask(&json!(["report"]));
        // No policy was broken.
        let asked: BTreeSet<&String> = asked.iter().collect();
        assert_eq!((&report["complaints"], &report["asked"]), (&json!([]), &json!(asked)));
        let mut wrong = Vec::new();
        for (state, page) in &self.seen {
            wrong.extend(
                page["wrong"].as_array().unwrap().iter().map(|it| format!("{state}: {}", it.as_str().unwrap())),
            );
            let ran = page["ran"].as_array().unwrap();
            let variants = if has_all_variants(state) { 4 } else { 2 };
            assert!(ran.len() == variants && ran.iter().all(|count| count.as_u64() >= Some(RULES)), "{state}: {ran:?}");
            if page["wide"] != widths() {
                wrong.push(format!("{state}: stands out: {}", page["wide"]));
            }
        }
        assert!(wrong.is_empty(), "{}", wrong.join("\n"));
        assert_eq!(self.seen.keys().map(String::as_str).collect::<BTreeSet<_>>(), states.iter().copied().collect());
        report["cookies"].clone()
    }
}

/// How wide a page is on a telephone and on a desk.
fn widths() -> Value {
    json!({ "390": 390, "900": 900 })
}

/// Text that is hard to read, a field without a label, an identifier twice, small buttons, and a part that is too wide.
const BREAK: &str = "
    const main = document.querySelector('main');
    const add = (kind, style, more) => {
        Object.assign(main.appendChild(document.createElement(kind)), more).style.cssText = style;
    };
    add('p', 'color: #888; background: #999', { textContent: 'text' });
    add('input', '', { id: 'twice' });
    add('p', 'width: 2000px', { id: 'twice', textContent: 'text' });
    const button = 'width: 9px; height: 9px; min-height: 0; padding: 0; margin: 0; float: left';
    add('button', button, { ariaLabel: 'one' });
    add('button', button, { ariaLabel: 'two' });";

impl Drop for Browser {
    fn drop(&mut self) {
        self.python.finish();
    }
}

fn has_all_variants(state: &str) -> bool {
    is_soak() || template(state) == state
}

fn template(state: &str) -> &str {
    state.split('-').next().unwrap()
}

/// The title in a template, with gaps for values. `None` where it is part of others, and has none.
fn title(template: &str) -> Option<Vec<String>> {
    let file = Path::new(env!("CARGO_MANIFEST_DIR")).join(TEMPLATES).join(format!("{template}.html"));
    let text = fs::read_to_string(&file).unwrap_or_else(|error| panic!("{}: {error}", file.display()));
    let (_, rest) = text.split_once("{% block title %}")?;
    let (title, _) = rest.split_once("{% endblock %}")?;
    Some(title.split("{{").map(|part| part.split_once("}}").map_or(part, |(_, after)| after).to_owned()).collect())
}

/// Whether a page with this title is of the template.
fn is_titled(template: &str, found: &str) -> bool {
    if template == "stats" {
        return found == "Stamped mail";
    }
    let title = title(template).unwrap_or_else(|| panic!("{template} has no title"));
    let mut rest = found;
    let fits = title.iter().all(|part| match rest.split_once(part.as_str()) {
        Some((_, after)) => {
            rest = after;
            true
        }
        None => false,
    });
    // The title of a page that tells of trouble is a text of the program, without the vendor.
    fits && found.starts_with(&title[0]) && found.contains(" \u{b7} ") == title.concat().contains(" \u{b7} ")
}

/// States of a shop for everyone.
pub(super) const SHOP: &[&str] = &[
    "account",
    "account-earlier",
    "account-proved",
    "account-revoked",
    "account-unfolded",
    "account-wrong-code",
    "again",
    "again-wrong",
    "bought",
    "bought-script",
    "form",
    "form-faults",
    "form-unfolded",
    "key",
    "key-again",
    "pay",
    "pay-account",
    "pay-wrong-voucher",
    "problems",
    "revoke",
    "sessions",
    "sessions-end",
    "signin",
    "signin-wrong",
    "trouble",
];
/// States of a vendor for one recipient.
pub(super) const OWN: &[&str] =
    &["bought-given", "inbox", "inbox-faults", "ways", "ways-mailed", "ways-wrong-code", "work"];
/// States that a visitor alone does not bring about.
pub(super) const RARE: &[&str] = &[
    "bought-change",
    "form-seller",
    "inbox-priced",
    "pay-mint-away",
    "pay-ways",
    "pay-wrong-token",
    "provider",
    "provider-paid",
    "provider-unpaid",
    "refund",
    "stats",
    "stats-empty",
    "trouble-403",
    "trouble-413",
    "trouble-429",
    "trouble-503",
    "trouble-refunded",
    "ways-no-mail",
    "ways-priced",
    "ways-sold-out",
    "ways-worked",
];

#[test]
fn every_template_is_seen_and_forty_states() {
    let all: BTreeSet<&str> = [SHOP, OWN, RARE].concat().into_iter().collect();
    assert!(all.len() == SHOP.len() + OWN.len() + RARE.len() && all.len() >= 40, "{}", all.len());
    let seen: BTreeSet<String> = all.iter().map(|state| template(state).to_owned()).collect();
    let files = fs::read_dir(Path::new(env!("CARGO_MANIFEST_DIR")).join(TEMPLATES)).unwrap();
    let names = files.filter_map(|file| Some(file.unwrap().file_name().to_str()?.strip_suffix(".html")?.to_owned()));
    let mut templates: BTreeSet<String> = names.filter(|name| name != "base" && title(name).is_some()).collect();
    templates.insert("stats".to_owned());
    assert_eq!(seen, templates);
    assert!(templates.iter().all(|template| all.contains(template.as_str())), "each has a first state");
}
