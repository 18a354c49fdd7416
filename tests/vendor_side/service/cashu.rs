//! Payment with Cashu: a real mint and a real wallet, PyPI's `cashu`, and a proxy before the mint that is told to be
//! slow, deaf or dishonest (`cashu_mint.py`).
//!
//! Needs `python3` with `venv` and `pip`, and fails without them. `MAILSTAMP_TEST_CASHU` may name a virtual environment
//! with what `cashu-requirements.txt` lists; else one is made in the target folder, which takes a minute and the network.

use super::form::{Visitor, area};
use crate::support::http::Answer;
use crate::support::python::Python;
use crate::support::shop::Shop;
use crate::support::{Home, MAILSTAMP, Run, is_soak, run};
use mailstamp::accounting::event::Terms;
use mailstamp::accounting::order::Caps;
use mailstamp::ledger::ops;
use mailstamp::os::clock;
use serde_json::{Value, json};
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::{Mutex, MutexGuard, OnceLock, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

/// The virtual environment.
fn environment() -> PathBuf {
    if let Some(folder) = std::env::var_os("MAILSTAMP_TEST_CASHU") {
        return folder.into();
    }
    let folder = Path::new(env!("CARGO_TARGET_TMPDIR")).join("cashu");
    let list = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/vendor_side/service/cashu-requirements.txt");
    let list_read = fs::read(&list).unwrap();
    if fs::read(folder.join("ready")).is_ok_and(|ready| ready == list_read) {
        return folder;
    }
    let _ = fs::remove_dir_all(&folder);
    assert!(Command::new("python3").args(["-m", "venv"]).arg(&folder).status().unwrap().success());
    let mut install = Command::new(folder.join("bin/python"));
    install.args(["-m", "pip", "install", "--quiet", "--disable-pip-version-check", "--no-deps", "-r"]).arg(list);
    assert!(install.status().unwrap().success());
    fs::write(folder.join("ready"), list_read).unwrap();
    folder
}

/// A mint and a wallet with money.
pub(super) struct Mint {
    python: Python,
    pub(super) url: String,
}

/// The mint of all tests, for one at a time. It ends with the pipe to it, when this process ends.
static MINT: OnceLock<Mutex<Mint>> = OnceLock::new();

impl Mint {
    pub(super) fn lock() -> MutexGuard<'static, Self> {
        let mut mint = MINT.get_or_init(|| Mutex::new(Self::start())).lock().unwrap_or_else(PoisonError::into_inner);
        mint.well();
        mint
    }

    fn start() -> Self {
        let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/vendor_side/service/cashu_mint.py");
        let mut command = Command::new(environment().join("bin/python"));
        command.arg(script).stderr(Stdio::null());
        let mut python = Python::start(&mut command);
        let url = python.ask(&json!({ "do": "url" })).as_str().unwrap().to_owned();
        Self { python, url }
    }

    /// A token from the wallet.
    pub(super) fn send(&mut self, amount: u64) -> String {
        self.python.ask(&json!({ "do": "send", "amount": amount })).as_str().unwrap().to_owned()
    }

    /// What the wallet gets for a token, or why it gets nothing.
    pub(super) fn receive(&mut self, token: &str) -> Result<u64, String> {
        let answer = self.python.ask(&json!({ "do": "receive", "token": token }));
        answer.as_u64().ok_or_else(|| answer.to_string())
    }

    /// Whether the mint has taken the token.
    pub(super) fn took(&mut self, token: &str) -> bool {
        let states = self.python.ask(&json!({ "do": "spent", "token": token }));
        let states: Vec<&str> = states.as_array().unwrap().iter().map(|state| state.as_str().unwrap()).collect();
        let spent = states.iter().filter(|state| **state == "SPENT").count();
        assert!(spent == 0 || spent == states.len(), "{states:?}");
        spent > 0
    }

    /// What the proxy does with requests to this path.
    pub(super) fn mode(&mut self, path: &str, mode: &str) {
        self.python.ask(&json!({ "do": "mode", "modes": { path: mode } }));
    }

    pub(super) fn well(&mut self) {
        self.python.ask(&json!({ "do": "mode", "modes": {} }));
    }

    /// Waits until the proxy holds a request.
    pub(super) fn holds(&mut self) {
        self.holds_many(1);
    }

    /// Waits until the proxy holds as many requests.
    pub(super) fn holds_many(&mut self, count: usize) {
        assert_eq!(self.python.ask(&json!({ "do": "held", "count": count })), json!(true));
    }

    /// The paths that were asked for since the last time.
    pub(super) fn asked(&mut self) -> Vec<String> {
        serde_json::from_value(self.python.ask(&json!({ "do": "asked" }))).unwrap()
    }

    /// A token with secrets that the mint did not sign, perhaps of another keyset.
    pub(super) fn forge(&mut self, token: &str, keyset: Option<&str>) -> String {
        let mut request = json!({ "do": "forge", "token": token });
        if let Some(keyset) = keyset {
            request["keyset"] = json!(keyset);
        }
        self.python.ask(&request).as_str().unwrap().to_owned()
    }

    /// What the wallet has, what the mint has signed that is not spent, and the fees that it took.
    pub(super) fn sums(&mut self) -> [i64; 3] {
        serde_json::from_value(self.python.ask(&json!({ "do": "sums" }))).unwrap()
    }

    /// The mint signs with new keys from now on, and takes this fee for 1,000 proofs of them.
    pub(super) fn rotate(&mut self, fee: u64) {
        self.python.ask(&json!({ "do": "rotate", "fee": fee }));
    }

    pub(super) fn release(&mut self, go: bool) {
        self.python.ask(&json!({ "do": "release", "go": go }));
    }

    pub(super) fn url(&self) -> String {
        self.url.clone()
    }

    /// A shop that accepts tokens of this mint, with more arguments. A credit costs one sat. It waits for its mint longer
    /// than a test holds a request on a busy machine.
    pub(super) fn shop_with(&self, more: &[&str]) -> Shop {
        let own = ["--cashu-mint", &self.url, "--cashu-rate", "0.001 EUR", "--address-rate", "0", "--patience", "60"];
        Shop::open(0, &[&own, more].concat())
    }

    pub(super) fn shop(&self) -> Shop {
        self.shop_with(&[])
    }
}

impl Visitor {
    pub(super) fn order(&self, shop: &Shop) -> Answer {
        self.post(shop.address, "/order", &[]).unwrap().is(200)
    }

    pub(super) fn pay(&self, shop: &Shop, token: &str) -> Answer {
        self.post(shop.address, "/buy", &[("pay", "cashu"), ("ecash", token)]).unwrap()
    }

    pub(super) fn again(&self, shop: &Shop, code: &str) -> Answer {
        self.post(shop.address, "/stamp", &[("code", code)]).unwrap()
    }
}

/// What a page says when it refuses.
#[track_caller]
pub(super) fn says(answer: Answer, status: u16, text: &str) {
    assert!(answer.status == status && answer.text().contains(text), "{} {}", answer.status, answer.text());
}

pub(super) fn cap(shop: &Shop, value: u64) {
    let terms = shop.ledger().profile().unwrap().terms;
    let terms = Terms { caps: Caps { value, ..terms.caps }, ..terms };
    shop.ledger().run(ops::SetTerms { terms }, clock::now()).unwrap();
}

pub(super) fn command(shop: &Shop, arguments: &[&str]) -> Run {
    let mut command = Command::new(MAILSTAMP);
    run(command.args(["vendor", "cashu", "--ledger"]).arg(shop.folder()).args(arguments), b"")
}

/// The token that the operator takes out; empty if there is none.
pub(super) fn take(shop: &Shop) -> String {
    command(shop, &["--take"]).exits(0).text().trim().to_owned()
}

pub(super) fn stamps(shop: &Shop) -> u64 {
    shop.ledger().summary().unwrap().stamps
}

/// No token's secret, and no token, is anywhere but in the folder of the money.
#[track_caller]
fn nothing_leaked(shop: &Shop, tokens: &[&str]) {
    let log = shop.log();
    for entry in shop.ledger().run(ops::Entries { after: 0, most: 1_000 }, clock::now()).unwrap() {
        let entry = format!("{entry:?}");
        assert!(!entry.contains("cashuB") && !entry.contains("cashuA"), "{entry}");
    }
    for token in tokens {
        assert!(!log.contains(&token[6..60]), "{log}");
    }
}

#[test]
fn a_token_buys_one_stamp_and_its_change_comes_back() {
    let mut mint = Mint::lock();
    let mut shop = mint.shop();
    let visitor = Visitor::new(&shop);
    let page = visitor.order(&shop);
    assert!(page.text().contains("Pay with Cashu") && page.text().contains("5 sat, and the fee"), "{}", page.text());
    let code = area(&page, "code");

    // What is no token, too little, or of another mint, is not taken.
    says(visitor.pay(&shop, "hello"), 422, "This is not a Cashu token");
    says(visitor.pay(&shop, ""), 422, "This is not a Cashu token");
    let little = mint.send(5);
    let refused = visitor.pay(&shop, &little);
    assert_eq!(area(&refused, "ecash"), little, "the form keeps the token");
    says(refused, 422, "of which the mint keeps a fee of 1. The stamp costs 5 sat. Nothing was taken.");
    let other = "cashuBo2F0gqJhaUgA_9SLj17PgGFwgaNhYQFhc3hAYWNjMTI0MzVlN2I4NDg0YzNjZjE4NTAxNDkyMThhZjkwZjcxNmE1MmJm\
                 NGE1ZWQzNDdlNDhlY2MxM2Y3NzM4OGFjWCECRFODGd5IXVW-07KaZCvuWHk3WrnnpiDhHki6SCQh88-iYWlIAK0mjE0fWCZhcIKj\
                 YWECYXN4QDEzMjNkM2Q0NzA3YTU4YWQyZTIzYWRhNGU5ZjFmNDlmNWE1YjRhYzdiNzA4ZWIwZDYxZjczOGY0ODMwN2U4ZWVhY1gh\
                 AjRWqhENhLSsdHrr2Cw7AFrKUL9Ffr1XN6RBT6w659lNo2FhAWFzeEA1NmJjYmNiYjdjYzY0MDZiM2ZhNWQ1N2QyMTc0ZjRlZmY4\
                 YjQ0MDJiMTc2OTI2ZDNhNTdkM2MzZGNiYjU5ZDU3YWNYIQJzEpxXGeWZN5qXSmJjY8MzxWyvwObQGr5G1YCCgHicY2FtdWh0dHA6\
                 Ly9sb2NhbGhvc3Q6MzMzOGF1Y3NhdA";
    says(visitor.pay(&shop, other), 422, "accepts tokens of");
    assert!(!mint.took(&little) && stamps(&shop) == 0);

    // Six are enough: one is the fee. The same form, and the order code, bring the same stamp.
    let token = mint.send(20);
    let bought = visitor.pay(&shop, &token).is(200);
    let (stamp, change) = (area(&bought, "stamp"), area(&bought, "change"));
    assert!(bought.text().contains("Your change: 14 sat"), "{}", bought.text());
    shop.kill_and_restart();
    for answer in [visitor.pay(&shop, &token), visitor.pay(&shop, &little), visitor.again(&shop, &code)] {
        let answer = answer.is(200);
        assert_eq!((area(&answer, "stamp"), area(&answer, "change")), (stamp.clone(), change.clone()));
    }
    assert!(mint.took(&token) && !mint.took(&little));

    // The token is spent, for every other purchase. An exact one, in the older form, has no change.
    let second = Visitor::new(&shop);
    says(second.pay(&shop, &token), 422, "This token was spent before");
    let exact = mint.python.ask(&json!({ "do": "send", "amount": 6, "legacy": true }));
    let bought = second.pay(&shop, exact.as_str().unwrap()).is(200);
    assert!(!bought.text().contains("Your change"), "{}", bought.text());
    assert_eq!(stamps(&shop), 2);

    // The operator takes it out. Until a wallet has received the token, it is printed again.
    let listed: Value = serde_json::from_slice(&command(&shop, &["--json"]).stdout).unwrap();
    assert_eq!((&listed["sold"], &listed["waiting"], &listed["buyers"]), (&json!(10), &json!(0), &json!(14)));
    let taken = take(&shop);
    assert_eq!(take(&shop), taken);
    assert_eq!(mint.receive(&taken), Ok(9));
    assert_eq!(mint.receive(&change), Ok(13));
    assert_eq!(take(&shop), "");
    assert!(!visitor.pay(&shop, &token).is(200).text().contains("Your change"));
    mint.receive(&taken).unwrap_err();
    shop.audit();
    nothing_leaked(&shop, &[&token, &little, &taken, &change]);

    // The same token at two purchases at once.
    let (one, two, token) = (Visitor::new(&shop), Visitor::new(&shop), mint.send(6));
    let both = thread::scope(|scope| {
        let first = scope.spawn(|| one.pay(&shop, &token).status);
        [two.pay(&shop, &token).status, first.join().unwrap()]
    });
    assert!(both.contains(&200) && stamps(&shop) == 3, "{both:?}");
    // The one that lost is not charged, whatever it is told now.
    let lost = if both[0] == 200 { &one } else { &two };
    let told = lost.pay(&shop, &token);
    assert!(matches!(told.status, 402 | 422), "{} {}", told.status, told.text());
    assert_eq!(stamps(&shop), 3);

    // What cannot be sold comes back, for ever and once.
    let (visitor, token) = (Visitor::new(&shop), mint.send(8));
    let code = area(&visitor.order(&shop), "code");
    mint.mode("/swap", "after");
    let refunded = thread::scope(|scope| {
        let pay = scope.spawn(|| visitor.pay(&shop, &token));
        mint.holds();
        cap(&shop, 1);
        mint.release(true);
        pay.join().unwrap()
    });
    mint.well();
    let back = area(&refunded, "refund");
    says(refunded, 409, "The payment was refunded");
    cap(&shop, 1_000);
    shop.kill_and_restart();
    for answer in [visitor.pay(&shop, &token), visitor.pay(&shop, &little), visitor.again(&shop, &code)] {
        assert_eq!((answer.status, area(&answer, "refund")), (409, back.clone()));
    }
    assert_eq!((mint.receive(&back), stamps(&shop)), (Ok(6), 3));
    assert!(!take(&shop).is_empty(), "the third stamp was paid");
    shop.audit();
    nothing_leaked(&shop, &[&token, &back]);
}

#[test]
fn a_mint_that_is_away_slow_or_lying_takes_nothing_for_nothing() {
    let mut mint = Mint::lock();
    let shop = mint.shop();
    // It answers nothing: nothing is sent to it, and nothing recorded.
    let (visitor, token) = (Visitor::new(&shop), mint.send(6));
    mint.mode("/keysets", "away");
    says(visitor.pay(&shop, &token), 503, "The mint does not answer");
    mint.mode("/swap", "away");
    says(visitor.pay(&shop, &token), 503, "The mint does not answer");
    mint.mode("/swap", "broken");
    says(visitor.pay(&shop, &token), 503, "The mint does not answer");
    assert!(!mint.took(&token));
    // The first token may be on its way, so another is not taken for the same order.
    mint.well();
    let second = mint.send(6);
    says(visitor.pay(&shop, &second), 402, "Send that token again, or begin a new order");
    assert!(!mint.took(&second));
    visitor.pay(&shop, &token).is(200);

    // Its answer is lost: the same form, or the order code alone, completes.
    for by_code in [false, true] {
        let (visitor, token) = (Visitor::new(&shop), mint.send(6));
        let code = area(&visitor.order(&shop), "code");
        mint.mode("/swap", "lost");
        says(visitor.pay(&shop, &token), 503, "The mint does not answer");
        assert!(mint.took(&token));
        mint.well();
        if by_code {
            visitor.again(&shop, &code).is(200)
        } else {
            visitor.pay(&shop, &token).is(200)
        };
    }
    assert_eq!(stamps(&shop), 3);

    // Wrong signatures buy nothing. When it makes them right, they do.
    for (lie, what) in [
        ("lying", "signed with other keys than it has published"),
        ("short", "signed for another sum than it took"),
        ("less", "signed for another sum than it took"),
    ] {
        let (visitor, token) = (Visitor::new(&shop), mint.send(6));
        for path in ["/swap", "/restore"] {
            mint.mode(path, lie);
            says(visitor.pay(&shop, &token), 503, &format!("took the token, and {what}. So nothing was sold."));
        }
        assert!(shop.log().contains(&format!("took a token, and {what}")), "{}", shop.log());
        let told = command(&shop, &["--take"]).exits(75);
        assert!(told.stderr.contains(&format!("took a token, and {what}")), "{}", told.stderr);
        mint.well();
        visitor.pay(&shop, &token).is(200);
    }
    assert_eq!(stamps(&shop), 6);

    // What was cut off is found by the operator too, and waits for its buyer.
    let (visitor, token) = (Visitor::new(&shop), mint.send(6));
    mint.mode("/swap", "lost");
    says(visitor.pay(&shop, &token), 503, "The mint does not answer");
    mint.well();
    let taken = take(&shop);
    let listed: Value = serde_json::from_slice(&command(&shop, &["--json"]).stdout).unwrap();
    assert_eq!((&listed["sold"], &listed["waiting"]), (&json!(30), &json!(5)));
    assert!(mint.receive(&taken).unwrap() > 20);
    visitor.pay(&shop, &token).is(200);
    mint.mode("/checkstate", "away");
    let ran = command(&shop, &["--take"]);
    assert!(ran.code == 75 && ran.stdout.is_empty(), "{} {}", ran.code, ran.stderr);
    shop.audit();
    nothing_leaked(&shop, &[&token, &second]);
}

#[test]
fn after_kill_9_a_token_bought_one_stamp_or_was_not_taken() {
    let mut mint = Mint::lock();
    let mut shop = mint.shop();
    let mut sold = 0;
    // Before the mint has the token, after it has taken it, and while the proofs are verified.
    for (path, mode, go) in [("/swap", "before", false), ("/swap", "before", true), ("/swap", "after", false)] {
        let (visitor, token) = (Visitor::new(&shop), mint.send(9));
        let address = shop.address;
        mint.mode(path, mode);
        thread::scope(|scope| {
            scope.spawn(|| drop(visitor.post(address, "/buy", &[("pay", "cashu"), ("ecash", &token)])));
            mint.holds();
            shop.kill_and_restart();
        });
        mint.release(go);
        mint.well();
        // The mint may still be at work on the swap of the shop that was killed.
        let began = Instant::now();
        let bought = loop {
            let answer = visitor.pay(&shop, &token);
            if answer.status == 200 || began.elapsed() > Duration::from_secs(30) {
                break answer.is(200);
            }
        };
        sold += 1;
        assert_eq!((stamps(&shop), mint.took(&token)), (sold, true));
        let again = visitor.pay(&shop, &token).is(200);
        assert_eq!((area(&again, "stamp"), area(&again, "change")), (area(&bought, "stamp"), area(&bought, "change")));
    }
    // At any moment around the record of the proofs, and the sale.
    let mut counted = 0;
    for round in 0..if is_soak() { 60_u64 } else { 3 } {
        let (visitor, token) = (Visitor::new(&shop), mint.send(6));
        let (address, folder) = (shop.address, shop.folder().join("cashu"));
        let received = || {
            let files = fs::read_dir(&folder).unwrap().flatten();
            let texts = files.filter_map(|file| fs::read_to_string(file.path()).ok());
            texts.filter(|text| text.contains("\"received\"")).count()
        };
        let before = received();
        thread::scope(|scope| {
            let pay = scope.spawn(|| drop(visitor.post(address, "/buy", &[("pay", "cashu"), ("ecash", &token)])));
            while received() == before && !pay.is_finished() {}
            thread::sleep(Duration::from_micros(300 * (round % 10)));
            shop.kill_and_restart();
        });
        counted += u64::from(stamps(&shop) == sold);
        sold += 1;
        visitor.pay(&shop, &token).is(200);
        assert_eq!(stamps(&shop), sold);
    }
    eprintln!("{counted} were killed between the record and the sale");
    // A refund survives too.
    let (visitor, token) = (Visitor::new(&shop), mint.send(6));
    let address = shop.address;
    mint.mode("/swap", "after");
    thread::scope(|scope| {
        scope.spawn(|| drop(visitor.post(address, "/buy", &[("pay", "cashu"), ("ecash", &token)])));
        mint.holds();
        shop.kill_and_restart();
    });
    mint.release(false);
    mint.well();
    cap(&shop, 1);
    let refunded = visitor.pay(&shop, &token);
    let back = area(&refunded, "refund");
    says(refunded, 409, "The payment was refunded");
    assert_eq!((mint.receive(&back), stamps(&shop)), (Ok(4), sold));
    // All that was paid is taken out, however often the command is killed after it printed.
    let taken = take(&shop);
    let received = mint.receive(&taken).unwrap();
    assert!(received < sold * 5 && received + 4 > sold * 5, "{received} of {}", sold * 5);
    assert_eq!(take(&shop), "");
    shop.audit();
}

// One order, one payment: a token may be with its mint, so nothing else pays for the order meanwhile.
#[test]
fn an_order_that_a_token_was_sent_for_is_paid_in_no_other_way() {
    let mut mint = Mint::lock();
    let shop = mint.shop();
    let voucher = shop.ledger().make_voucher(50, None, clock::now()).unwrap().as_str().to_owned();
    let (visitor, token) = (Visitor::new(&shop), mint.send(9));
    let code = area(&visitor.order(&shop), "code");
    let other = || visitor.post(shop.address, "/buy", &[("pay", "voucher"), ("voucher", &voucher)]).unwrap();
    mint.mode("/swap", "after");
    thread::scope(|scope| {
        let pay = scope.spawn(|| visitor.pay(&shop, &token));
        mint.holds();
        says(other(), 422, "This order is being paid at this moment");
        // The answer of the mint is lost.
        mint.release(false);
        says(pay.join().unwrap(), 503, "keep the order code");
    });
    says(other(), 422, "A token of Cashu was sent for this order, and nothing was charged now");
    assert_eq!(stamps(&shop), 0);
    mint.well();
    let bought = visitor.again(&shop, &code).is(200);
    assert_eq!(bought.field("cache-control"), Some("no-store"));
    assert_eq!(mint.receive(&area(&bought, "change")), Ok(2));
    // It is sold: the form shows that, and charges nothing.
    assert_eq!(area(&other().is(200), "stamp"), area(&bought, "stamp"));
    assert_eq!(stamps(&shop), 1);

    // A record that is damaged stops no other, and is told.
    let folder = shop.folder().join("cashu");
    let damaged = folder.join(format!("{}.json", "0".repeat(64)));
    fs::write(&damaged, "").unwrap();
    let taken = command(&shop, &["--take"]).exits(75);
    assert!(taken.stderr.contains("not a record of a payment"), "{}", taken.stderr);
    assert_eq!(mint.receive(taken.text().trim()), Ok(4));
    command(&shop, &[]).exits(75);
    fs::remove_file(&damaged).unwrap();
    // Without its key a lost swap could not be found again: another one is not made.
    fs::rename(folder.join("secret"), folder.join("kept")).unwrap();
    let missing = command(&shop, &["--take"]);
    assert!(
        missing.code != 0 && missing.stderr.contains("missing, although payments are recorded"),
        "{}",
        missing.stderr
    );
    assert!(!folder.join("secret").exists());
    shop.audit();
}

#[test]
fn settings_that_cannot_work_are_refused() {
    let mint = ["--cashu-mint", "http://127.0.0.1:1"];
    for wrong in ["#a", "?a", "/#", ":70000", ":"] {
        for start in ["https://mint.example", "https://user@mint.example"] {
            let url = format!("{start}{wrong}");
            let home = Home::new();
            let ran =
                home.run(["vendor", "serve", "--ledger", "/", "--cashu-mint", &url, "--cashu-rate", "1 EUR"], b"");
            assert!(ran.code == 64 && ran.stderr.contains("without a user"), "{url}: {} {}", ran.code, ran.stderr);
        }
    }
    for (more, text) in [
        (&[][..], "--cashu-rate is in SAT, and the price of the shop in EUR"),
        (&["--cashu-rate", "0 EUR"], "must be more than 0"),
        (&["--cashu-unit", "usd"], "what is one usd worth?"),
        (&["--cashu-unit", "Sat"], "small letters"),
        (&["--cashu-rate", "1 USD"], "--cashu-rate is in USD"),
    ] {
        let home = Home::new();
        let folder = home.file("vendor");
        let folder = folder.to_str().unwrap();
        home.run(
            ["vendor", "init", "--vendor", "stamps.example", "--kid", "k", "--price", "0.001 EUR", "--ledger", folder],
            b"",
        )
        .exits(0);
        let all = [&["vendor", "serve", "--listen", "127.0.0.1:0", "--ledger", folder], &mint[..], more].concat();
        let ran = home.run(all, b"");
        assert!(ran.code == 64 && ran.stderr.contains(text), "{} {}", ran.code, ran.stderr);
    }
}
