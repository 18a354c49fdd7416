//! The page: purchases with a real browser, and by hand for requests that no browser would send.

use super::browser::{Browser, SHOP};
use super::form::encoded;
use crate::support::http::{self, Answer};
use crate::support::shop::Shop;
use crate::support::smtp_server::{Mode, SmtpServer};
use crate::support::{ALICE, Home, MAILSTAMP, letter, run, stamped};
use mailstamp::ledger::ops;
use mailstamp::os::clock;
use mailstamp::stamp::claims::Stamp;
use mailstamp::stamp::token::Token;
use serde_json::{Value, json};
use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::process::Command;

/// A browser of a few lines: one cookie, and forms as they stand on the page.
struct Visitor<'a> {
    shop: &'a Shop,
    cookie: String,
    token: String,
    purchase: String,
}

fn hidden(page: &str, name: &str) -> String {
    let (_, rest) = page.split_once(&format!("name=\"{name}\" value=\"")).unwrap_or_else(|| panic!("{name}: {page}"));
    rest.split('"').next().unwrap().to_owned()
}

fn cookie(answer: &Answer) -> String {
    answer.field("set-cookie").unwrap().split(';').next().unwrap().to_owned()
}

impl<'a> Visitor<'a> {
    fn new(shop: &'a Shop) -> Self {
        let answer = http::ask(shop.address, "GET", "/", &[], b"").unwrap().is(200);
        let page = answer.text();
        assert!(page.contains("Recipients accept stamps of up to 400 days"), "{page}");
        Self { shop, cookie: cookie(&answer), token: hidden(&page, "token"), purchase: hidden(&page, "purchase") }
    }

    fn post(&self, path: &str, more: &[(&str, &str)], fields: &[(&str, &str)]) -> Answer {
        let mut all = vec![("Content-Type", "application/x-www-form-urlencoded"), ("Cookie", &self.cookie)];
        all.extend(more);
        http::ask(self.shop.address, "POST", path, &all, &encoded(fields)).unwrap()
    }

    fn buy(&self, recipient: &str, voucher: &str) -> Answer {
        let fields = [
            ("token", self.token.as_str()),
            ("purchase", &self.purchase),
            ("recipient", recipient),
            ("pay", "voucher"),
            ("voucher", voucher),
        ];
        self.post("/buy", &[], &fields)
    }
}

fn voucher(shop: &Shop, credits: u64) -> String {
    shop.ledger().make_voucher(credits, None, clock::now()).unwrap().as_str().to_owned()
}

fn worth(shop: &Shop, code: &str) -> u64 {
    shop.ledger()
        .run(ops::Voucher { voucher: mailstamp::ledger::payment::code_hash(code).unwrap() }, clock::now())
        .unwrap()
}

fn bought(answer: &Answer) -> String {
    let page = answer.text();
    let (_, rest) = page.split_once("<textarea id=\"stamp\"").unwrap_or_else(|| panic!("{page}"));
    rest.split_once('>').unwrap().1.split('<').next().unwrap().to_owned()
}

#[test]
fn a_form_that_is_sent_again_charges_nothing() {
    let shop = Shop::open(0, &[]);
    let code = voucher(&shop, 5);
    let visitor = Visitor::new(&shop);
    let first = bought(&visitor.buy(ALICE, &code).is(200));
    for _ in 0..3 {
        assert_eq!(bought(&visitor.buy(ALICE, &code).is(200)), first);
    }
    assert_eq!(worth(&shop, &code), 4);
    // The same form with another recipient is another purchase, and is asked for once more.
    let other = visitor.buy("other@x.example", &code).is(422).text();
    assert!(other.contains("nothing was charged now"), "{other}");
    assert_ne!(hidden(&other, "purchase"), visitor.purchase);
    assert_eq!(worth(&shop, &code), 4);
    let empty = voucher(&shop, 1);
    let second = Visitor::new(&shop);
    bought(&second.buy(ALICE, &empty).is(200));
    let none = Visitor::new(&shop).buy(ALICE, &empty).is(422).text();
    assert!(none.contains("nothing is left on it") || none.contains("0 are left on this voucher"), "{none}");
    shop.audit();
}

#[test]
fn a_form_that_is_sent_again_after_a_restart_charges_nothing() {
    let mut shop = Shop::open(0, &[]);
    let code = voucher(&shop, 5);
    let before = Visitor::new(&shop);
    let first = bought(&before.buy(ALICE, &code).is(200));
    let Visitor { cookie, token, purchase, .. } = before;
    shop.kill_and_restart();
    let after = Visitor { shop: &shop, cookie, token, purchase };
    assert_eq!(bought(&after.buy(ALICE, &code).is(200)), first);
    assert_eq!(worth(&shop, &code), 4);
    let mode = fs::metadata(shop.folder().join("forms.secret")).unwrap().permissions().mode();
    assert_eq!(mode & 0o777, 0o600);
    // The restart ended the session: what was paid from the account is not paid in another way, and the page does not
    // say that nothing was done.
    let fields = [("token", after.token.as_str()), ("purchase", "p"), ("recipient", ALICE), ("pay", "account")];
    let page = after.post("/buy", &[], &fields).is(422).text();
    assert!(page.contains("look at your history first"), "{page}");
    assert_eq!(hidden(&page, "purchase"), "p");
    let foreign = after.post("/buy", &[], &[("token", "x")]).is(403).text();
    assert!(!foreign.contains("Nothing was done"), "{foreign}");
    shop.audit();
}

#[test]
fn an_order_code_brings_the_stamp_again_and_charges_nothing() {
    let shop = Shop::open(10, &["--address-rate", "0"]);
    let code = voucher(&shop, 5);
    let visitor = Visitor::new(&shop);
    let fields = |pay| {
        let order = [("token", visitor.token.as_str()), ("purchase", &visitor.purchase), ("recipient", ALICE)];
        order.into_iter().chain([("value", "2"), ("sender", "me@y.example"), ("pay", pay), ("voucher", &code)])
    };
    let order_code = |page: &str| {
        let (_, rest) = page.split_once("<textarea id=\"code\"").unwrap_or_else(|| panic!("{page}"));
        rest.split_once('>').unwrap().1.split('<').next().unwrap().to_owned()
    };
    let all: Vec<_> = fields("voucher").collect();
    let promised = order_code(&visitor.post("/order", &[], &all).is(200).text());
    let again =
        |visitor: &Visitor<'_>, code: &str| visitor.post("/stamp", &[], &[("token", &visitor.token), ("code", code)]);
    // Nothing is sold by the code: before the purchase there is no stamp.
    assert!(again(&visitor, &promised).is(422).text().contains(&promised));
    let page = visitor.post("/buy", &[], &all).is(200).text();
    assert_eq!(order_code(&page), promised);
    let stamp = bought(&visitor.post("/buy", &[], &all).is(200));
    let other = Visitor::new(&shop);
    for _ in 0..3 {
        let page = again(&other, &promised).is(200);
        assert_eq!((bought(&page), order_code(&page.text())), (stamp.clone(), promised.clone()));
    }
    // The same order is charged once, whichever voucher comes with it.
    let second = voucher(&shop, 5);
    let twice: Vec<_> =
        all.iter().map(|&(name, value)| (name, if name == "voucher" { &second } else { value })).collect();
    assert_eq!(bought(&visitor.post("/buy", &[], &twice).is(200)), stamp);
    assert_eq!((worth(&shop, &code), worth(&shop, &second)), (3, 5));

    // A purchase from an account is shown to that account alone.
    let mut owner = Visitor::new(&shop);
    let signed_in = owner.post("/signin", &[], &[("token", &owner.token), ("key", &shop.key)]).is(303);
    owner.cookie = cookie(&signed_in);
    let here = [("Sec-Fetch-Site", "same-origin")];
    let page = http::ask(shop.address, "GET", "/", &[("Cookie", &owner.cookie)], b"").unwrap().is(200).text();
    owner.token = hidden(&page, "token");
    let order = [("token", owner.token.as_str()), ("purchase", "mine"), ("recipient", ALICE), ("pay", "account")];
    let page = owner.post("/buy", &here, &order).is(200);
    let (mine, paid) = (order_code(&page.text()), bought(&page));
    assert_eq!(bought(&again(&owner, &mine).is(200)), paid);
    let stranger = again(&other, &mine).is(422).text();
    assert!(stranger.contains("sign in</a> in another tab") && stranger.contains(&mine), "{stranger}");
    assert_eq!(shop.balance(), 9);
    // Guesses are counted.
    let answers: Vec<u16> = (0..20).map(|_| again(&other, "AAAA").status).collect();
    assert_eq!(answers.last(), Some(&429), "{answers:?}");
    let guess = [("token", other.token.as_str()), ("recipient", ALICE), ("pay", "voucher"), ("voucher", "GUESSED")];
    let refused = other.post("/buy", &here, &guess).is(429).text();
    assert!(refused.contains("GUESSED"), "{refused}");
    shop.audit();
}

#[test]
fn a_form_from_before_a_sign_in_loses_nothing_and_charges_no_account_unasked() {
    let shop = Shop::open(10, &[]);
    let code = voucher(&shop, 5);
    let Visitor { cookie: before, token, purchase, .. } = Visitor::new(&shop);
    let signed_in = Visitor { shop: &shop, cookie: before, token: token.clone(), purchase: purchase.clone() };
    let after = signed_in.post("/signin", &[], &[("token", &token), ("key", &shop.key)]).is(303);
    let visitor = Visitor { cookie: cookie(&after), ..signed_in };
    let here = [("Sec-Fetch-Site", "same-origin"), ("Origin", "http://shop.test")];
    let fields = |pay| {
        [("token", token.as_str()), ("purchase", &purchase), ("recipient", ALICE), ("pay", pay), ("voucher", &code)]
    };
    // An old browser does not say where a form is from.
    visitor.post("/order", &[], &fields("")).is(403);
    visitor.post("/order", &here, &fields("")).is(200);
    let page = visitor.post("/buy", &here, &fields("account")).is(422).text();
    assert!(page.contains("You signed in or out after this form was shown") && page.contains(&code), "{page}");
    assert_eq!((hidden(&page, "recipient"), hidden(&page, "purchase")), (ALICE.to_owned(), purchase.clone()));
    assert_eq!(shop.balance(), 10);
    for (path, name) in [
        ("/account/voucher", "code"),
        ("/account/keys", "label"),
        ("/account/keys/revoke", "id"),
        ("/account/addresses", "address"),
        ("/account/addresses/confirm", "proof"),
    ] {
        let page = visitor.post(path, &here, &[("token", &token), (name, &code), ("sure", "yes")]).is(422).text();
        assert!(page.contains("You signed in or out after this form was shown"), "{path}: {page}");
        assert!(name == "id" || page.contains(&format!("value=\"{code}\"")), "{page}");
    }
    // The voucher is the buyer's, signed in or not. Without any cookie, as after a restart of the browser, it works
    // too.
    let bare = Visitor { shop: &shop, cookie: "a=b".into(), token: token.clone(), purchase: purchase.clone() };
    let stamp = bought(&bare.post("/buy", &here, &fields("voucher")).is(200));
    assert_eq!(bought(&visitor.post("/buy", &here, &fields("voucher")).is(200)), stamp);
    assert_eq!((worth(&shop, &code), shop.balance()), (4, 10));
    // What was typed after the session had ended waits for the sign-in, also after a wrong key.
    for (path, name) in [
        ("/account/voucher", "code"),
        ("/account/keys", "label"),
        ("/account/addresses", "address"),
        ("/account/addresses/confirm", "proof"),
    ] {
        let page = bare.post(path, &here, &[("token", &token), (name, &code)]).is(200).text();
        let waiting = hidden(&page, name);
        let sign_in = |key: &str| bare.post("/signin", &here, &[("token", &token), (name, &waiting), ("key", key)]);
        assert_eq!(hidden(&sign_in("wrong").is(401).text(), name), code, "{path}");
        let page = sign_in(&shop.key).is(200).text();
        assert_eq!(waiting, code);
        assert!(page.contains(&format!("value=\"{code}\"")) && page.contains("action=\"/signout\""), "{page}");
    }
    bare.post("/account/keys/revoke", &here, &[("token", &token), ("id", "x"), ("sure", "yes")]).is(303);
    assert_eq!(worth(&shop, &code), 4);
    shop.audit();
}

#[test]
fn the_page_says_who_sells_and_where_vouchers_are_sold() {
    let plain = Shop::open(0, &[]);
    let page = http::ask(plain.address, "GET", "/", &[], b"").unwrap().is(200).text();
    for part in [
        "The operator of <strong>stamps.example</strong>",
        "Only if the recipient trusts stamps.example",
        "A voucher is a code",
    ] {
        assert!(page.contains(part), "{part}: {page}");
    }
    let told = ["--seller", "Stamps <Ltd>, 1 Road", "--voucher-url", "https://shop.example/?a=1&b=\"2"];
    let shop = Shop::open(0, &told);
    let visitor = Visitor::new(&shop);
    let form = http::ask(shop.address, "GET", "/", &[], b"").unwrap().is(200).text();
    let pay = visitor.post("/order", &[], &[("token", &visitor.token), ("recipient", ALICE)]).is(200).text();
    for page in [form, pay] {
        assert!(page.contains("Sold by Stamps &#60;Ltd&#62;, 1 Road"), "{page}");
        assert!(page.contains("href=\"https://shop.example/?a=1&#38;b=&#34;2\""), "{page}");
    }
    for wrong in [["--seller", "a\u{1b}[31m"], ["--seller", " "], ["--voucher-url", "javascript:alert(1)"]] {
        let mut serve = Command::new(MAILSTAMP);
        serve.args(["vendor", "serve", "--ledger"]).arg(shop.folder()).args(wrong);
        assert_eq!(run(&mut serve, b"").code, 64, "{wrong:?}");
    }
}

#[test]
fn an_origin_is_ours_however_the_operator_wrote_it() {
    let shop = Shop::open(0, &["--public-url", "HTTP://Stamps.Example:80/"]);
    let visitor = Visitor::new(&shop);
    let fields = [("token", visitor.token.as_str()), ("recipient", ALICE)];
    visitor.post("/order", &[("Origin", "http://stamps.example")], &fields).is(200);
    visitor.post("/order", &[("Origin", "http://stamps.example:8080")], &fields).is(403);
}

#[test]
fn what_is_no_form_is_told_on_a_page() {
    let shop = Shop::open(0, &[]);
    let visitor = Visitor::new(&shop);
    let form = ("Content-Type", "application/x-www-form-urlencoded");
    for (path, kind, body, status) in [
        ("/letter", form, &b"token=x"[..], 422),
        ("/order", form, &vec![b'a'; 1024 * 1024 + 1], 413),
        ("/buy", ("Content-Type", "text/plain"), b"token=x", 415),
    ] {
        let fields = [kind, ("Cookie", visitor.cookie.as_str())];
        let answer = http::ask(shop.address, "POST", path, &fields, body).unwrap().is(status);
        assert!(answer.field("content-type").unwrap().starts_with("text/html"), "{path}");
        assert!(answer.text().contains("That did not work"), "{path}");
    }
}

// CSRF
#[test]
fn only_a_visitors_own_form_is_read() {
    let shop = Shop::open(0, &[]);
    let code = voucher(&shop, 5);
    let (mine, other) = (Visitor::new(&shop), Visitor::new(&shop));
    let with = |visitor: &Visitor<'_>, token: &str, more: &[(&str, &str)]| {
        let fields = [("token", token), ("purchase", "p"), ("recipient", ALICE), ("voucher", &code)];
        visitor.post("/buy", more, &fields).status
    };
    assert_eq!(with(&mine, "", &[]), 403);
    assert_eq!(with(&mine, &other.token, &[]), 403);
    let bare = Visitor { cookie: "mailstamp=x".into(), token: String::new(), purchase: String::new(), ..mine };
    assert_eq!(with(&bare, &other.token, &[]), 403);
    for foreign in [
        ("Origin", "http://evil.example"),
        ("Origin", "null"),
        ("Sec-Fetch-Site", "cross-site"),
        ("Sec-Fetch-Site", "same-site"),
    ] {
        assert_eq!(with(&other, &other.token, &[foreign]), 403, "{foreign:?}");
    }
    assert_eq!(worth(&shop, &code), 5);
    let own = [("Origin", "http://shop.test"), ("Sec-Fetch-Site", "same-origin")];
    assert_eq!(with(&other, &other.token, &own), 200);
    for path in [
        "/order",
        "/letter",
        "/signin",
        "/signout",
        "/account/addresses",
        "/account/addresses/confirm",
        "/account/keys",
        "/account/keys/revoke",
        "/account/sessions",
        "/account/voucher",
    ] {
        let fields = [("token", "x"), ("stamp", "x"), ("recipient", ALICE), ("key", shop.key.as_str())];
        assert_eq!(other.post(path, &[], &fields).status, 403, "{path}");
    }
}

#[test]
fn cookies_are_secure_behind_an_encrypted_origin_and_pages_let_nothing_else_in() {
    let shop = Shop::open(0, &["--public-url", "https://stamps.example"]);
    let answer = http::ask(shop.address, "GET", "/", &[], b"").unwrap().is(200);
    let cookie = answer.field("set-cookie").unwrap();
    assert!(cookie.starts_with("__Host-mailstamp=") && cookie.ends_with("; Path=/; HttpOnly; SameSite=Lax; Secure"));
    assert_eq!(answer.field("strict-transport-security"), Some("max-age=31536000"));
    let policy = answer.field("content-security-policy").unwrap();
    assert!(policy.starts_with("default-src 'none'; ") && !policy.contains("unsafe"), "{policy}");
    assert!(policy.contains("frame-ancestors 'none'") && policy.contains("form-action 'self'"), "{policy}");
    assert_eq!(answer.field("x-content-type-options"), Some("nosniff"));
}

#[test]
fn an_address_is_proved_by_the_code_that_is_mailed_there() {
    let smtp = SmtpServer::start(Mode::Refuse);
    let shop = Shop::open(0, &["--smtp", &smtp.address(), "--address-rate", "0"]);
    let mut visitor = Visitor::new(&shop);
    let signed_in = visitor.post("/signin", &[], &[("token", &visitor.token), ("key", &shop.key)]).is(303);
    visitor.cookie = cookie(&signed_in);
    let account = || http::ask(shop.address, "GET", "/account", &[("Cookie", &visitor.cookie)], b"").unwrap().is(200);
    let token = hidden(&account().text(), "token");
    let send = |address| visitor.post("/account/addresses", &[], &[("token", &token), ("address", address)]);
    let confirm = |address, code: &str| {
        visitor.post("/account/addresses/confirm", &[], &[("token", &token), ("address", address), ("proof", code)])
    };
    // What was typed stays in the form, whatever is wrong.
    let kept = |answer: Answer, address: &str, said: &str| {
        let page = answer.is(422).text();
        assert!(page.contains(said) && page.matches(&format!("value=\"{address}\"")).count() == 2, "{page}");
    };
    kept(send("no address@"), "no address@", "Address or domain: ");
    kept(send("a@x.example"), "a@x.example", "The vendor&#39;s mail server did not take the code");
    smtp.set(Mode::Take);
    let page = send(" A@x.example ").is(200).text();
    assert!(page.contains("A code was mailed to A@x.example."), "{page}");
    assert!(smtp.last().0.contains("<a@x.example>"), "{:?}", smtp.last());
    kept(send("a@x.example"), "a@x.example", "A code was already sent to a@x.example");
    kept(confirm("a@x.example", "AAAA-AAAA"), "a@x.example", "4 attempts are left");
    kept(confirm("b@x.example", &smtp.code()), "b@x.example", "No valid code for b@x.example");
    assert!(!account().text().contains("<li>a@x.example</li>"));
    let page = confirm("a@x.example", &smtp.code().to_lowercase()).is(200).text();
    assert!(page.contains("<li>a@x.example</li>") && page.contains("a@x.example is proved"), "{page}");
    // A whole domain: the code goes to its postmaster.
    assert!(send("z.example").is(200).text().contains("A code was mailed to the postmaster of z.example."));
    assert!(smtp.last().0.contains("<postmaster@z.example>"), "{:?}", smtp.last());
    assert!(confirm("z.example", &smtp.code()).is(200).text().contains("<li>z.example</li>"));
    // Guesses are counted, and a visitor who is not signed in proves nothing.
    let answers: Vec<u16> = (0..20).map(|_| confirm("c@x.example", "AAAA").status).collect();
    assert_eq!(answers.last(), Some(&429), "{answers:?}");
    let stranger = Visitor::new(&shop);
    let before = smtp.count();
    for path in ["/account/addresses", "/account/addresses/confirm"] {
        stranger.post(path, &[], &[("token", &stranger.token), ("address", "d@x.example"), ("proof", "A")]).is(200);
    }
    assert_eq!(smtp.count(), before);
    shop.audit();
}

#[test]
fn a_key_is_revoked_after_a_question_and_never_the_last_one() {
    let shop = Shop::open(0, &[]);
    let mut visitor = Visitor::new(&shop);
    let signed_in = visitor.post("/signin", &[], &[("token", &visitor.token), ("key", &shop.key)]).is(303);
    visitor.cookie = cookie(&signed_in);
    let account = || http::ask(shop.address, "GET", "/account", &[("Cookie", &visitor.cookie)], b"").unwrap().is(200);
    let (token, id) = (hidden(&account().text(), "token"), hidden(&account().text(), "id"));
    let revoke = |id: &str, sure: &str| {
        visitor.post("/account/keys/revoke", &[], &[("token", &token), ("id", id), ("sure", sure)])
    };
    let question = revoke(&id, "").is(200).text();
    assert!(question.contains("Revoke the key") && hidden(&question, "sure") == "yes", "{question}");
    assert!(revoke(&id, "yes").is(422).text().contains("the last key of the account"));
    visitor.post("/account/keys", &[], &[("token", &token), ("label", "second")]).is(303);
    assert!(!account().text().contains("class=\"off\""));
    let second = shop.ledger().run(ops::ApiKeys { account: shop.account }, clock::now()).unwrap();
    let second = second.iter().find(|key| key.label == "second").unwrap().id.clone();
    revoke(&second, "yes").is(303);
    assert!(account().text().contains("class=\"off\""));
    assert!(revoke(&id, "yes").is(422).text().contains("the last key of the account"));
}

#[test]
fn the_sessions_of_an_account_are_listed_and_ended() {
    let shop = Shop::open(0, &[]);
    let signed_in = |key: &str| {
        let mut visitor = Visitor::new(&shop);
        let answer = visitor.post("/signin", &[], &[("token", &visitor.token), ("key", key)]).is(303);
        visitor.cookie = cookie(&answer);
        visitor
    };
    let get = |visitor: &Visitor<'_>, path: &str| {
        http::ask(shop.address, "GET", path, &[("Cookie", &visitor.cookie)], b"").unwrap()
    };
    let (mine, lost) = (signed_in(&shop.key), signed_in(&shop.key));
    let other = shop
        .ledger()
        .run(ops::OpenAccount { name: "eve".into(), contact: "x".into(), caps: None }, clock::now())
        .unwrap();
    let eve = signed_in(&shop.ledger().add_api_key(other.number, "x", clock::now()).unwrap().0);
    let ids = |visitor: &Visitor<'_>| {
        let page = get(visitor, "/account/sessions").is(200).text();
        let rows = page.split("name=\"id\" value=\"").skip(1);
        rows.map(|row| row.split('"').next().unwrap().to_owned()).collect::<Vec<_>>()
    };
    let own = |visitor: &Visitor<'_>| {
        let page = get(visitor, "/account/sessions").is(200).text();
        let row = page.split("<tr>").find(|row| row.contains("this browser")).unwrap();
        hidden(row, "id")
    };
    assert_eq!((ids(&mine).len(), ids(&eve).len()), (2, 1));
    let lost_id = own(&lost);
    assert_ne!(lost_id, own(&mine));
    let end = |visitor: &Visitor<'_>, id: &str, sure: &str| {
        let token = hidden(&get(visitor, "/account/sessions").text(), "token");
        visitor.post("/account/sessions", &[], &[("token", &token), ("id", id), ("sure", sure)])
    };
    // Another account ends nothing.
    assert_eq!(end(&eve, &lost_id, "yes").is(303).field("location"), Some("/account/sessions"));
    let question = end(&mine, &lost_id, "").is(200).text();
    assert!(question.contains("End this sign-in?") && hidden(&question, "sure") == "yes", "{question}");
    get(&lost, "/account").is(200);
    end(&mine, &lost_id, "yes").is(303);
    assert_eq!(get(&lost, "/account").is(303).field("location"), Some("/signin"));
    assert_eq!(get(&lost, "/account/sessions").is(303).field("location"), Some("/signin"));
    assert_eq!(ids(&mine), [own(&mine)]);
    // One's own, too; and those of others stay.
    assert_eq!(end(&mine, &own(&mine), "yes").is(303).field("location"), Some("/signin"));
    get(&mine, "/account").is(303);
    get(&eve, "/account").is(200);
}

// Threat 26
#[test]
fn whatever_a_person_writes_is_shown_as_text() {
    let shop = Shop::open(0, &[]);
    let visitor = Visitor::new(&shop);
    let script = "\"><script>alert(1)</script>\u{1b}[31m";
    for field in ["recipient", "sender", "from", "until", "value", "hashed", "purchase"] {
        let page = visitor.post("/order", &[], &[("token", visitor.token.as_str()), (field, script)]).is(422).text();
        assert!(!page.contains("<script>alert"), "{field}: {page}");
    }
    // A link fills in an address and a number, and nothing else.
    let linked = |query: &str| {
        let page = http::ask(shop.address, "GET", &format!("/?{query}"), &[], b"").unwrap().is(200).text();
        let value = |id: &str| page.split_once(&format!(" id=\"{id}\"")).unwrap().1.split_once(" value=\"").unwrap().1;
        ["recipient", "value", "sender"].map(|id| value(id).split('"').next().unwrap().to_owned())
    };
    let long = format!("recipient={}@x.example&value=1{}", "a".repeat(400), "0".repeat(30));
    for (query, expected) in [
        ("recipient=a%26b+c@x.example&value=5&sender=e@x.example&pay=voucher", ["", "5", ""]),
        ("recipient=a%26b%27@x.example&value=5", ["a&#38;b&#39;@x.example", "5", ""]),
        ("recipient=%22%3E%3Cscript%3Ealert(1)&value=%3Cb%3E", ["", "1", ""]),
        ("recipient=joe@x.example&recipient=eve@x.example", ["", "1", ""]),
        (&long, ["", "1", ""]),
    ] {
        assert_eq!(linked(query), expected, "{query}");
    }
    assert_eq!(shop.log(), "");
}

#[test]
fn a_draft_carries_the_stamp_to_its_recipient() {
    let (shop, home) = (Shop::open(0, &[]), trusting());
    home.run(["trust", "add", "--replace", "-"], &entry(&shop)).exits(0);
    let visitor = Visitor::new(&shop);
    let stamp = bought(&visitor.buy(ALICE, &voucher(&shop, 1)).is(200));
    let fields = [("token", visitor.token.as_str()), ("stamp", &stamp), ("recipient", ALICE), ("sender", "")];
    let draft = visitor.post("/letter", &[], &fields).is(200);
    assert_eq!(draft.field("content-disposition"), Some("attachment; filename=\"stamped-letter.eml\""));
    let text = String::from_utf8(draft.body.clone()).unwrap();
    let (header, body) = text.split_once("\r\n\r\n").unwrap();
    let (before, rest) = header.split_once("Digital-Stamp:").unwrap();
    let (_, after) = rest.split_once("\r\nX-Unsent").unwrap();
    // Some mail programs keep only the field of a draft, and some only its text.
    let (field, block) = (format!("{header}\r\n\r\n"), format!("{before}X-Unsent{after}\r\n\r\n{body}"));
    for kept in [field, block, text.clone()] {
        let sent = format!("From: bob@y.example\r\nDate: Sun, 22 Nov 2026 12:00:00 +0000\r\n{kept}Hello\r\n");
        home.run(["classify", "--dry-run"], sent.as_bytes()).exits(0).says("first-class paid");
    }
    let injected =
        [("token", visitor.token.as_str()), ("stamp", &stamp), ("recipient", "a@b.example\r\nBcc: c@d.example")];
    visitor.post("/letter", &[], &injected).is(422);
}

fn trusting() -> Home {
    let home = Home::bare();
    home.configure(&format!("addresses = [\"{ALICE}\"]"));
    home
}

fn entry(shop: &Shop) -> Vec<u8> {
    serde_json::to_vec(&shop.ledger().published(mailstamp::os::clock::now()).unwrap()).unwrap()
}

/// The text that a mailto link puts into a message.
fn body_of(link: &str) -> String {
    let (_, body) = link.split_once("?body=").unwrap();
    let mut bytes = Vec::new();
    let mut rest = body.as_bytes();
    while let [first, more @ ..] = rest {
        let (byte, after) = match (first, more) {
            (b'%', [a, b, after @ ..]) => {
                (u8::from_str_radix(std::str::from_utf8(&[*a, *b]).unwrap(), 16).unwrap(), after)
            }
            _ => (*first, more),
        };
        bytes.push(byte);
        rest = after;
    }
    String::from_utf8(bytes).unwrap()
}

/// What a purchase brought.
#[derive(Debug)]
struct Bought {
    stamp: String,
    field: String,
    mailto: String,
    code: String,
    copies: Value,
}

impl Bought {
    /// Reads what the page shows.
    fn of(browser: &mut Browser) -> Self {
        Self {
            stamp: browser.field("#stamp"),
            field: browser.field("#field"),
            mailto: browser.value("document.querySelector('#mailto').href").as_str().unwrap().to_owned(),
            code: browser.field("#code"),
            copies: browser.value("document.querySelectorAll('[data-copy] + button').length"),
        }
    }
}

/// From the form to the stamp, by keyboard.
fn purchase(browser: &mut Browser, voucher: &str, is_looked_at: bool) -> Bought {
    let look = |browser: &mut Browser, state| if is_looked_at { browser.look(state) } else { String::new() };
    browser.goto("/");
    look(browser, "form");
    browser.fill("#recipient", ALICE);
    browser.enter();
    let text = look(browser, "pay");
    if is_looked_at {
        assert!(text.contains("0.001 EUR"), "{text}");
        assert_eq!(text.contains("Pay with Cashu"), cfg!(feature = "sender"));
    }
    let wrong = "AAAA-".repeat(7) + "AAAA";
    browser.fill("#voucher", &wrong);
    browser.enter();
    assert_eq!(browser.field("#voucher"), wrong, "a wrong code stays in the form");
    let text = look(browser, "pay-wrong-voucher");
    assert!(!is_looked_at || text.contains("No voucher has this code"), "{text}");
    browser.fill("#voucher", voucher);
    browser.enter();
    look(browser, "bought");
    Bought::of(browser)
}

// BP2d, BC4
#[test]
fn a_person_buys_in_a_browser_without_javascript_and_with_it() {
    let smtp = SmtpServer::start(Mode::Take);
    let address = smtp.address();
    let mut arguments = vec!["--address-rate", "0", "--smtp", &address];
    if cfg!(feature = "sender") {
        // One more form on the page of the payment. The mint is not asked.
        arguments.extend(["--cashu-mint", "http://127.0.0.1:9", "--cashu-rate", "0.001 EUR"]);
    }
    let shop = Shop::open(1_000, &arguments);
    let home = trusting();
    home.run(["trust", "add", "-"], &entry(&shop)).exits(0);
    let code = voucher(&shop, 5);
    let origin = format!("http://{}", shop.address);
    let mut browser = Browser::start(&origin);

    let plain = purchase(&mut browser, &code, true);
    // A reload sends the form again, and so does the back button with the same form.
    browser.reload();
    assert_eq!(browser.field("#stamp"), plain.stamp);
    browser.scripts(true);
    let scripted = purchase(&mut browser, &code, false);
    browser.look("bought-script");
    assert_eq!((&plain.copies, &scripted.copies), (&json!(0), &json!(3)));
    browser.back();
    browser.fill("#voucher", &code);
    browser.enter();
    assert_eq!(browser.field("#stamp"), scripted.stamp);

    // The order is changed: what was typed is still there.
    browser.goto("/?recipient=dora@x.example&value=1");
    browser.unfold();
    browser.look("form-unfolded");
    browser.fill("#sender", "me@y.example");
    browser.enter();
    browser.fill("#voucher", &code);
    browser.press("section form button");
    assert_eq!([browser.field("#recipient"), browser.field("#sender")], ["dora@x.example", "me@y.example"]);
    // While the order waits for payment, the visitor signs in in another tab, and pays in the first one.
    browser.press("#recipient");
    let first = browser.tab();
    browser.goto("/signin");
    browser.look("signin");
    browser.fill("#key", &shop.key);
    browser.enter();
    let second = browser.show(&first);
    browser.fill("#voucher", &code);
    browser.enter();
    let doras = Bought::of(&mut browser);
    browser.show(&second);
    browser.press("nav button");
    // The stamp again, by its order code.
    browser.press("footer a[href='/stamp']");
    browser.look("again");
    let wrong = format!("AAAA{}", doras.code);
    browser.fill("#code", &wrong);
    browser.press("form.card button.primary");
    browser.look("again-wrong");
    assert_eq!(browser.field("#code"), wrong);
    browser.fill("#code", &doras.code);
    browser.press("form.card button.primary");
    assert_eq!(browser.field("#stamp"), doras.stamp);
    let claims = |stamp: &str| Stamp::read(Token::parse(stamp).unwrap().payload()).unwrap();
    let read = claims(&doras.stamp);
    assert_eq!(read.audience.to_string() + " " + &read.sender.unwrap().to_string(), "dora@x.example me@y.example");
    browser.show(&first);

    browser.goto("/");
    browser.value("document.querySelector('form.card').noValidate = true");
    browser.fill("#recipient", "nobody");
    browser.enter();
    browser.look("form-faults");
    browser.goto("/nothing/here");
    browser.look("trouble");
    browser.goto("/problems#rate");
    browser.look("problems");

    browser.goto("/signin");
    browser.fill("#key", "msk_wrong");
    browser.enter();
    assert!(browser.look("signin-wrong").contains("No account is opened by this key"));
    browser.fill("#key", &shop.key);
    browser.enter();
    browser.look("account");
    // An address is proved by the code that is mailed there.
    browser.fill("#address", "Joe@z.example");
    browser.enter();
    assert!(browser.text().contains("A code was mailed to Joe@z.example"));
    browser.fill("#proof", "AAAA-AAAA");
    browser.enter();
    assert!(browser.look("account-wrong-code").contains("4 attempts are left"));
    assert_eq!(browser.field("#proved"), "Joe@z.example");
    browser.fill("#proof", &smtp.code());
    browser.enter();
    assert!(browser.look("account-proved").contains("\njoe@z.example\n"));
    browser.fill("#label", "<b>\"laptop\"</b>");
    browser.enter();
    browser.look("key");
    assert!(browser.field("#newkey").starts_with("msk_"));
    browser.reload();
    browser.look("key-again");
    assert_eq!(browser.value("document.querySelector('#newkey')"), Value::Null);
    for at in 0..25 {
        let body = json!({ "stamps": vec![json!({ "recipient": "r@x.example" }); at % 4 + 1] });
        shop.ask_with("POST", "/v1/stamps", &[("Idempotency-Key", &at.to_string())], &body).is(200);
    }
    browser.goto("/account");
    browser.unfold();
    browser.look("account-unfolded");
    browser.press("a[href*='before=']");
    assert!(browser.look("account-earlier").contains("<b>\"laptop\"</b>"), "shown as it was written");
    browser.goto("/account");
    browser.press("tr:nth-child(2) form button");
    browser.look("revoke");
    browser.press("form.line button");
    browser.look("account-revoked");
    assert_eq!(browser.value("document.querySelectorAll('tr.off').length"), json!(1));
    browser.press("a[href='/account/sessions']");
    browser.look("sessions");
    browser.press("td button");
    browser.look("sessions-end");
    browser.goto("/");
    browser.fill("#recipient", "carol@x.example");
    browser.enter();
    browser.look("pay-account");
    browser.press("form.card button.primary");
    assert_eq!(claims(&browser.field("#stamp")).audience.to_string(), "carol@x.example");
    browser.press("nav button");
    browser.goto("/account");
    assert_eq!(browser.value("location.pathname"), json!("/signin"));
    // One cookie, that ends with the visit.
    let cookies = browser.end(SHOP, &[origin]);
    assert_eq!(cookies, json!([{ "name": "mailstamp", "httpOnly": true, "sameSite": "Lax", "session": true }]));

    // Sent again, nothing more was charged: three stamps of one credit are gone from the voucher.
    assert_eq!(worth(&shop, &code), 2);
    // And each way of putting a stamp on a message works.
    home.classify(&stamped(&plain.stamp, &letter("plain"))).exits(0).says("first-class paid");
    let field = [scripted.field.as_bytes(), b"\n", letter("field").as_slice()].concat();
    home.run(["classify", "--dry-run"], &field).exits(0).says("first-class paid");
    let linked = format!("{}Dear Alice,\r\n", body_of(&scripted.mailto));
    let message = format!("From: bob@y.example\r\nTo: {ALICE}\r\nMessage-ID: <l@y.example>\r\n\r\n{linked}");
    home.classify(message.as_bytes()).exits(0).says("first-class paid");
    shop.audit();
}

#[cfg(feature = "sender")]
#[test]
fn the_first_page_names_every_way_to_pay() {
    let way = |shop: &Shop| {
        let page = http::ask(shop.address, "GET", "/", &[], b"").unwrap().is(200).text();
        let answer = page.split("How do I pay?</h3>").nth(1).unwrap().split('.').next().unwrap().to_owned();
        answer.trim().to_owned()
    };
    assert_eq!(way(&Shop::open(0, &[])), "<p>With a voucher, or from an account");
    let provider = ["--provider", "http://127.0.0.1:9", "--provider-name", "Card Co"];
    let mints = ["--cashu-mint", "http://127.0.0.1:9", "--cashu-mint", "http://127.0.0.1:8", "--cashu-rate", "1 EUR"];
    let told = way(&Shop::open(0, &mints));
    assert!(
        told.starts_with("<p>With a voucher, or from an account, or with a token of Cashu (in sat, from http"),
        "{told}"
    );
    assert!(way(&Shop::open(0, &provider)).ends_with(", or with Card Co"));
}
