//! Meters: what their licences lock, which of their tokens are cleared, and whom the agency believes.

use super::{NOW, Shop, open, refused, terms};
use crate::support::meters::{AGENCY, Meter, claims, fingerprint, head};
use mailstamp::accounting::event::{Event, Terms};
use mailstamp::accounting::hash::Hash;
use mailstamp::accounting::hash_chain::Head;
use mailstamp::accounting::meter::{self, ClearingProblem};
use mailstamp::ledger::handle::{AccountId, Ledger};
use mailstamp::ledger::meters::RequestSignature;
use mailstamp::ledger::model::{MeterContact, TokenClaim};
use mailstamp::ledger::ops;
use mailstamp::ledger::rejection::Rejection;
use mailstamp::stamp::signing::SecretKey;
use mailstamp::stamp::token::{Issuer, Purpose};
use mailstamp::time::UnixTime;
use mailstamp::vendor_api::meters::{
    CheckpointRequest, ClearingRequest, ClearingResult, LicenseRequest, LicenseStatus, MeterReceipt, OpenPayment,
    PaymentState, ReceiptKind, RequestProblem, SignedRequest,
};
use mailstamp::vendor_api::operation::Operation;
use std::os::unix::fs::DirBuilderExt;
use std::thread;

const DAY: i64 = 86_400;

/// A shop with the accounts `payer` (1), who has these credits, and `payee` (2).
pub fn shop(credits: u64) -> Shop {
    let shop = Shop::new();
    assert_eq!(shop.account("payer", credits).number, 1);
    assert_eq!(shop.account("payee", 0).number, 2);
    shop
}

#[track_caller]
fn receipt(ledger: &Ledger, token: &str) -> MeterReceipt {
    let profile = ledger.profile().unwrap();
    let read = profile.keys.iter().find_map(|key| MeterReceipt::verify(token, &key.key));
    read.expect("a receipt that the agency signed")
}

/// A licence, asked for as a client does.
pub fn license(
    ledger: &Ledger,
    account: AccountId,
    meter: &Meter,
    limit: u64,
    now: UnixTime,
) -> Result<MeterReceipt, mailstamp::ledger::error::LedgerError> {
    let request = LicenseRequest { key: meter.key.public().to_string(), limit, days: 7, accept_restored: false };
    let signature =
        meter.sign(Operation::License, &request, &format!("license {}", meter.kid()), bank(ledger, account), now);
    ledger.license(account, &request, &signature, now).map(|token| receipt(ledger, token.as_str()))
}

/// The head that a bank has which was never restored.
fn bank(ledger: &Ledger, account: AccountId) -> Head {
    let seen = ledger.run(ops::Licenses { after: 0, most: 1_000 }, NOW).unwrap();
    let seen = seen.into_iter().find(|it| it.license.account == account).and_then(|it| it.contact);
    head(seen.map_or(0, |contact| contact.head.number) + 1)
}

/// Tokens handed in, under a key of their own.
pub fn clear(
    ledger: &Ledger,
    account: AccountId,
    meter: &Meter,
    tokens: &[String],
    now: UnixTime,
) -> Result<MeterReceipt, mailstamp::ledger::error::LedgerError> {
    let request = ClearingRequest { tokens: tokens.to_vec() };
    let key = Hash::of(format!("{tokens:?} {now}").as_bytes()).to_string();
    let signature = meter.sign(Operation::Clear, &request, &key, bank(ledger, account), now);
    ledger.clear(account, &request, &signature, now).map(|token| receipt(ledger, token.as_str()))
}

fn checkpoint(
    ledger: &Ledger,
    account: AccountId,
    meter: &Meter,
    request: &CheckpointRequest,
    bank: Head,
    now: UnixTime,
) -> Result<MeterReceipt, mailstamp::ledger::error::LedgerError> {
    let key = format!("{bank} {now} {}", request.accept_restored);
    let signature = meter.sign(Operation::Checkpoint, request, &key, bank, now);
    ledger.checkpoint(account, request, &signature, now).map(|token| receipt(ledger, token.as_str()))
}

/// Meters of payer and payee, licensed for this limit and for nothing.
fn meters(shop: &Shop, limit: u64) -> (Meter, Meter) {
    let (payer, payee) = (Meter::new(1), Meter::new(2));
    license(&shop.ledger, 1, &payer, limit, NOW).unwrap();
    license(&shop.ledger, 2, &payee, 0, NOW).unwrap();
    (payer, payee)
}

fn balance(ledger: &Ledger, account: AccountId) -> u64 {
    ledger.account(account, NOW).unwrap().balance
}

fn cleared(credits: u64) -> ClearingResult {
    ClearingResult::Cleared { credits }
}

fn not(problem: ClearingProblem) -> ClearingResult {
    ClearingResult::Refused(problem)
}

// E20: licensed credits can't be paid out; the limit is locked while licensed, and returned after
#[test]
fn a_licence_locks_its_limit_until_no_token_can_be_cleared() {
    let shop = shop(1_000);
    let ledger = &shop.ledger;
    let meter = Meter::new(1);
    let receipt = license(ledger, 1, &meter, 600, NOW).unwrap();
    assert_eq!(
        (receipt.receipt, receipt.balance, receipt.license.as_deref()),
        (ReceiptKind::License, 400, Some(meter.kid()))
    );
    let until = NOW.plus(7 * DAY);
    let status = LicenseStatus {
        kid: meter.kid().to_owned(),
        limit: 600,
        rest: 600,
        until: until.to_string(),
        closes: until.plus(8 * DAY).to_string(),
        revoked: None,
    };
    assert_eq!(receipt.licenses, std::slice::from_ref(&status));
    assert_eq!(ledger.licenses(1, NOW).unwrap(), [status]);
    let too_much = refused(ledger.pay_out(1, 500, "p1", NOW).map(|(receipt, _)| receipt));
    assert_eq!(too_much, Rejection::Funds { needed: 500, balance: 400 });
    let (paid, _) = ledger.pay_out(1, 400, "p2", NOW).unwrap();
    assert_eq!((paid.sum.unwrap().to_string().as_str(), paid.balance), ("0.40 EUR", 0));
    // Redeemed once.
    let (again, _) = ledger.pay_out(1, 400, "p2", NOW).unwrap();
    assert!(again.again && balance(ledger, 1) == 0);
    // A revocation does not unlock it: tokens that were signed before are still paid.
    ledger.run(ops::EndLicense { kid: meter.kid().to_owned(), account: Some(1) }, NOW).unwrap();
    assert_eq!(balance(ledger, 1), 0);
    assert!(ledger.run(ops::LiveLicenses {}, NOW).unwrap().is_empty());
    let closes = meter::closing(until);
    ledger.run(ops::Forget {}, closes).unwrap();
    assert_eq!(balance(ledger, 1), 0);
    ledger.run(ops::Forget {}, closes.plus(1)).unwrap();
    assert_eq!(balance(ledger, 1), 600);
    assert!(ledger.licenses(1, NOW).unwrap().is_empty());
    let row = ledger.run(ops::LicenseNamed { kid: meter.kid().to_owned() }, NOW).unwrap();
    assert_eq!((row.license.closed, row.license.returned, row.rest), (Some(closes.plus(1)), 600, 0));
    shop.sound();
}

#[test]
fn licences_have_limits_and_each_its_own_key() {
    let shop = shop(1_000);
    let ledger = &shop.ledger;
    let meter = Meter::new(1);
    assert_eq!(refused(license(ledger, 1, &meter, 1_001, NOW)), Rejection::Funds { needed: 1_001, balance: 1_000 });
    let most = 1_000_000_000;
    let limit = refused(license(ledger, 1, &meter, most + 1, NOW));
    assert_eq!(limit, Rejection::LicenseLimit { asked: most + 1, most });
    license(ledger, 1, &meter, 10, NOW).unwrap();
    // The same key again, for the same account or another one, under another idempotency key.
    for account in [1, 2] {
        let request = LicenseRequest { key: meter.key.public().to_string(), limit: 0, days: 1, accept_restored: false };
        let signature = meter.sign(Operation::License, &request, "other", bank(ledger, account), NOW);
        let rejection = refused(ledger.license(account, &request, &signature, NOW));
        assert!(matches!(&rejection, Rejection::Form { what, .. } if what == "key"), "{rejection}");
    }
    for days in [0, 8] {
        let meter = Meter::new(3);
        let request = LicenseRequest { key: meter.key.public().to_string(), limit: 0, days, accept_restored: false };
        let signature = meter.sign(Operation::License, &request, "days", bank(ledger, 1), NOW);
        assert!(matches!(refused(ledger.license(1, &request, &signature, NOW)), Rejection::Form { .. }));
    }
    // A key that signs stamps is no meter.
    let active = ledger.active_signer().unwrap().unwrap();
    let copy = SecretKey::parse(&active.key.to_paserk()).unwrap();
    let issuer = Issuer::new(AGENCY, &meter::key_name(&copy.public())).unwrap();
    let rejection = refused(license(ledger, 1, &Meter { key: copy, issuer }, 0, NOW));
    assert!(matches!(&rejection, Rejection::Form { what, .. } if what == "key"), "{rejection}");
    for number in 10..25 {
        license(ledger, 1, &Meter::new(number), 0, NOW).unwrap();
    }
    let full = refused(license(ledger, 1, &Meter::new(99), 0, NOW));
    assert!(matches!(full, Rejection::ManyLicenses { live: 16, .. }), "{full}");
    license(ledger, 2, &Meter::new(99), 0, NOW).unwrap();
    ledger.run(ops::SetTerms { terms: Terms { meters: None, ..terms() } }, NOW).unwrap();
    assert_eq!(refused(license(ledger, 2, &Meter::new(100), 0, NOW)), Rejection::MetersOff);
    shop.sound();
}

// E22: each token with its word
#[test]
fn every_bad_token_is_refused_with_its_word() {
    let shop = shop(1_000);
    let ledger = &shop.ledger;
    let (payer, payee) = meters(&shop, 500);
    shop.account("third", 0);
    let until = NOW.plus(3_600);
    let pay = |message| payer.pay("payee", "joe@far.example", message, 3, until);
    let wrong_key = Meter { key: Meter::new(77).key, issuer: payer.issuer.clone() };
    let elsewhere = Meter { key: Meter::new(1).key, issuer: Issuer::new("other.example", payer.kid()).unwrap() };
    let mut cut = pay(20);
    cut.truncate(cut.len() - 30);
    let mut changed = pay(21).into_bytes();
    changed[40] = if changed[40] == b'A' { b'B' } else { b'A' };
    let claims_of = |message| claims("payee", "joe@far.example", message, 3, until);
    let stamp = payer.key.sign(claims_of(22).to_string().as_bytes(), &payer.issuer.footer(), Purpose::Stamp);
    let mut nothing = claims_of(23);
    nothing["val"] = 0.into();
    let mut nameless = claims_of(24);
    nameless.as_object_mut().unwrap().remove("payee");
    let licence_end = NOW.plus(7 * DAY);
    let tokens = [
        (pay(1), cleared(3)),
        (payer.pay("third", "joe@far.example", 2, 3, until), not(ClearingProblem::NotYourToken)),
        (elsewhere.pay("payee", "joe@far.example", 3, 3, until), not(ClearingProblem::OtherAgency)),
        (wrong_key.pay("payee", "joe@far.example", 4, 3, until), not(ClearingProblem::BadToken)),
        (Meter::new(78).pay("payee", "joe@far.example", 5, 3, until), not(ClearingProblem::UnknownLicense)),
        (cut, not(ClearingProblem::BadToken)),
        (String::from_utf8(changed).unwrap(), not(ClearingProblem::BadToken)),
        (stamp.as_str().to_owned(), not(ClearingProblem::BadToken)),
        (payer.token(&nothing), not(ClearingProblem::BadToken)),
        (payer.token(&nameless), not(ClearingProblem::BadToken)),
        ("nonsense".to_owned(), not(ClearingProblem::BadToken)),
        // An ID that was issued after the licence had ended.
        (payer.pay("payee", "joe@far.example", 6, 3, licence_end.plus(DAY + 1)), not(ClearingProblem::Expired)),
        (payer.pay("payee", "joe@far.example", 7, 3, NOW.plus(-7 * DAY - 1)), not(ClearingProblem::Expired)),
        (payer.pay("payee", "joe@far.example", 8, 3, NOW.plus(-7 * DAY)), cleared(3)),
        // Within one request, too.
        (pay(1), not(ClearingProblem::ClearedBefore { entry: 0 })),
    ];
    let texts: Vec<String> = tokens.iter().map(|(token, _)| token.clone()).collect();
    let receipt = clear(ledger, 2, &payee, &texts, NOW).unwrap();
    let entry: u64 = receipt.head.split(':').next().unwrap().parse().unwrap();
    for (number, ((_, expected), result)) in tokens.iter().zip(&receipt.each).enumerate() {
        let expected = match expected {
            ClearingResult::Refused(ClearingProblem::ClearedBefore { .. }) => {
                not(ClearingProblem::ClearedBefore { entry })
            }
            expected => *expected,
        };
        assert_eq!(*result, expected, "token {number}");
    }
    assert_eq!((balance(ledger, 2), receipt.balance), (6, 6));
    // Handed in by another account than its payee, although the gateway is licensed.
    let third = Meter::new(3);
    license(ledger, 3, &third, 0, NOW).unwrap();
    let stolen = clear(ledger, 3, &third, &[pay(30)], NOW).unwrap();
    assert_eq!(stolen.each, [not(ClearingProblem::NotYourToken)]);
    shop.sound();
}

// A receiver that asks for a new ID at each attempt is paid once
#[test]
fn a_payment_is_cleared_once_whatever_its_id() {
    let shop = shop(1_000);
    let ledger = &shop.ledger;
    let (payer, payee) = meters(&shop, 500);
    let until = NOW.plus(3_600);
    let pay = |mailbox: &str, message| payer.pay("payee", mailbox, message, 5, until);
    for message in 0..5 {
        // Eight connections at once, each with an ID of its own, half of them of another spelling.
        let each: Vec<ClearingResult> = thread::scope(|scope| {
            let one = |number: u64| {
                let mailbox = if number.is_multiple_of(2) { "joe@far.example" } else { "joe@FAR.example" };
                let request = ClearingRequest { tokens: vec![pay(mailbox, message)] };
                let key = format!("{message} {number}");
                let signature = payee.sign(Operation::Clear, &request, &key, head(1_000), NOW);
                receipt(ledger, ledger.clear(2, &request, &signature, NOW).unwrap().as_str()).each.remove(0)
            };
            let threads: Vec<_> = (0..8).map(|number| scope.spawn(move || one(number))).collect();
            threads.into_iter().map(|thread| thread.join().unwrap()).collect()
        });
        assert_eq!(each.iter().filter(|it| **it == cleared(5)).count(), 1, "{each:?}");
        let before =
            |it: &&ClearingResult| matches!(it, ClearingResult::Refused(ClearingProblem::ClearedBefore { .. }));
        assert_eq!(each.iter().filter(before).count(), 7, "{each:?}");
        assert_eq!(balance(ledger, 2), 5 * (message + 1));
    }
    // Another message, another mailbox, and another payer are other payments.
    let request = |tokens: Vec<String>| clear(ledger, 2, &payee, &tokens, NOW.plus(1));
    let others = [pay("joe@far.example", 100), pay("jane@far.example", 0)];
    let signature = |request: &ClearingRequest| payee.sign(Operation::Clear, request, "others", head(1_001), NOW);
    let others = ClearingRequest { tokens: others.to_vec() };
    let done = ledger.clear(2, &others, &signature(&others), NOW).unwrap();
    assert_eq!(receipt(ledger, done.as_str()).each, [cleared(5), cleared(5)]);
    // A renewed licence changes nothing: the payer is the account.
    let renewed = Meter::new(11);
    license(ledger, 1, &renewed, 100, NOW).unwrap();
    let again = request(vec![renewed.pay("payee", "joe@far.example", 0, 5, until)]).unwrap();
    assert!(matches!(again.each[..], [ClearingResult::Refused(ClearingProblem::ClearedBefore { .. })]), "{again:?}");
    shop.sound();
}

#[test]
fn a_licence_pays_down_to_zero_and_never_below() {
    let shop = shop(1_000);
    let ledger = &shop.ledger;
    let (payer, payee) = meters(&shop, 10);
    let pay = |message, credits| payer.pay("payee", "joe@far.example", message, credits, NOW.plus(3_600));
    let tokens = [pay(1, 6), pay(2, 5), pay(3, 4), pay(4, 1), pay(2, 5)];
    let over = |rest| not(ClearingProblem::OverLimit { rest });
    let receipt = clear(ledger, 2, &payee, &tokens, NOW).unwrap();
    assert_eq!(receipt.each, [cleared(6), over(4), cleared(4), over(0), over(0)]);
    assert_eq!((balance(ledger, 1), balance(ledger, 2)), (990, 10), "the account itself pays nothing");
    let standing = |ledger: &Ledger| ledger.run(ops::LicenseNamed { kid: payer.kid().to_owned() }, NOW).unwrap();
    assert_eq!((standing(ledger).rest, standing(ledger).license.over), (0, 6));
    // Shown again, it is claimed again, and counted once.
    assert_eq!(clear(ledger, 2, &payee, &tokens[1..2], NOW.plus(1)).unwrap().each, [over(0)]);
    assert_eq!(standing(ledger).license.over, 6);
    assert_eq!(ledger.summary().unwrap().over, 2);
    // The payer pays it from another licence.
    let renewed = Meter::new(11);
    license(ledger, 1, &renewed, 100, NOW).unwrap();
    let token = renewed.pay("payee", "joe@far.example", 2, 5, NOW.plus(3_600));
    assert_eq!(clear(ledger, 2, &payee, &[token], NOW).unwrap().each, [cleared(5)]);
    shop.sound();
}

#[test]
fn a_repeated_request_has_the_same_answer() {
    let shop = shop(1_000);
    let ledger = &shop.ledger;
    let (payer, payee) = meters(&shop, 500);
    let tokens = vec![payer.pay("payee", "joe@far.example", 1, 3, NOW.plus(3_600)), "nonsense".to_owned()];
    let request = ClearingRequest { tokens };
    let signature = payee.sign(Operation::Clear, &request, "k", head(5), NOW);
    let first = ledger.clear(2, &request, &signature, NOW).unwrap();
    // Byte for byte, and signed anew an hour later at a later head.
    assert_eq!(ledger.clear(2, &request, &signature, NOW).unwrap().as_str(), first.as_str());
    let later = NOW.plus(3_600);
    let fresh = payee.sign(Operation::Clear, &request, "k", head(9), later);
    assert_eq!(ledger.clear(2, &request, &fresh, later).unwrap().as_str(), first.as_str());
    assert_eq!(balance(ledger, 2), 3);
    // After a change of the signing key: the same receipt, with another signature.
    ledger.rotate("b", NOW).unwrap();
    let rotated = ledger.clear(2, &request, &signature, NOW).unwrap();
    assert_eq!(receipt(ledger, rotated.as_str()), receipt(ledger, first.as_str()));
    // The key for another body, or another operation.
    let other = ClearingRequest { tokens: vec!["other".to_owned()] };
    let reused = payee.sign(Operation::Clear, &other, "k", head(6), NOW);
    assert_eq!(refused(ledger.clear(2, &other, &reused, NOW)), Rejection::KeyReused { key: "k".into() });
    let empty = CheckpointRequest::default();
    let reused = payee.sign(Operation::Checkpoint, &empty, "k", head(6), NOW);
    assert_eq!(refused(ledger.checkpoint(2, &empty, &reused, NOW)), Rejection::KeyReused { key: "k".into() });
    // Another account's key of the same name is another key.
    let signature = payer.sign(Operation::Checkpoint, &empty, "k", head(6), NOW);
    assert_eq!(receipt(ledger, ledger.checkpoint(1, &empty, &signature, NOW).unwrap().as_str()).account, 1);
    // The answer goes after 30 days, and a licence is locked no longer by then.
    ledger.run(ops::Forget {}, NOW.plus(16 * DAY)).unwrap();
    shop.sound();
}

// E22: wrong key, other path, old time, changed body, downgrade
#[test]
fn a_request_that_the_meter_did_not_sign_is_refused() {
    let shop = shop(1_000);
    let ledger = &shop.ledger;
    let (payer, payee) = meters(&shop, 500);
    let request = CheckpointRequest::default();
    let body = serde_json::to_vec(&request).unwrap();
    let good = || payee.sign_bytes(Operation::Checkpoint, &body, "k", head(5), NOW);
    let signed = |meter: &Meter, at| meter.sign_bytes(Operation::Checkpoint, &body, "k", head(5), at);
    let with = |token: String| RequestSignature { token, ..good() };
    let forged = Meter { key: Meter::new(66).key, issuer: payee.issuer.clone() };
    let elsewhere = Meter { key: Meter::new(2).key, issuer: Issuer::new("other.example", payee.kid()).unwrap() };
    let token = good().token;
    let payload = |text: &str| payee.key.sign(text.as_bytes(), &payee.issuer.footer(), Purpose::MeterRequest);
    let unknown = payload(r#"{"bank":"0:00","body":"","iat":"","key":"k","path":"","more":1}"#);
    let claims = SignedRequest { body: Hash::of(&body), key: "k".into(), at: NOW, bank: head(5) };
    let other_purpose = {
        let read = claims.sign(Operation::Checkpoint, &payee.issuer, &payee.key);
        payee.key.sign(read.payload(), &payee.issuer.footer(), Purpose::Order)
    };
    let cases = [
        (signed(&payer, NOW), RequestProblem::Key),
        (signed(&Meter::new(67), NOW), RequestProblem::Key),
        (signed(&forged, NOW), RequestProblem::Forged),
        (signed(&elsewhere, NOW), RequestProblem::OtherAgency),
        (payee.sign_bytes(Operation::Clear, &body, "k", head(5), NOW), RequestProblem::Path),
        (signed(&payee, NOW.plus(-301)), RequestProblem::Time),
        (signed(&payee, NOW.plus(301)), RequestProblem::Time),
        (RequestSignature { body: Hash::of(b"{}!"), ..good() }, RequestProblem::Body),
        (RequestSignature { key: "other".into(), ..good() }, RequestProblem::IdempotencyKey),
        (with(other_purpose.as_str().to_owned()), RequestProblem::Forged),
        (with(unknown.as_str().to_owned()), RequestProblem::Malformed),
        (with(token.replacen("v4.", "v3.", 1)), RequestProblem::Malformed),
        (with(token.replacen("v4.public.", "v4.local.", 1)), RequestProblem::Malformed),
        (with(token[..token.len() - 20].to_owned()), RequestProblem::Malformed),
        (with(String::new()), RequestProblem::Malformed),
    ];
    for (number, (signature, problem)) in cases.iter().enumerate() {
        let rejection = refused(ledger.checkpoint(2, &request, signature, NOW));
        assert_eq!(rejection, Rejection::MeterRequest { problem: *problem, now: NOW }, "case {number}");
    }
    for at in [NOW.plus(-300), NOW.plus(300)] {
        let signature = payee.sign_bytes(Operation::Checkpoint, &body, &at.to_string(), head(5), at);
        ledger.checkpoint(2, &request, &signature, NOW).unwrap();
    }
    // A licence that has ended signs nothing any more.
    let late = NOW.plus(7 * DAY);
    let rejection = refused(ledger.checkpoint(2, &request, &signed(&payee, late), late));
    assert_eq!(rejection, Rejection::MeterRequest { problem: RequestProblem::Key, now: late });
    ledger.run(ops::EndLicense { kid: payee.kid().to_owned(), account: None }, NOW).unwrap();
    let rejection = refused(ledger.checkpoint(2, &request, &good(), NOW));
    assert_eq!(rejection, Rejection::MeterRequest { problem: RequestProblem::Key, now: NOW });
    // Nor does one ask with the name of another key than it has.
    let new = Meter::new(68);
    let named = Meter { key: Meter::new(68).key, issuer: Meter::new(69).issuer };
    let request = LicenseRequest { key: new.key.public().to_string(), limit: 0, days: 1, accept_restored: false };
    let signature = named.sign(Operation::License, &request, "n", head(9), NOW);
    let rejection = refused(ledger.license(2, &request, &signature, NOW));
    assert_eq!(rejection, Rejection::MeterRequest { problem: RequestProblem::Key, now: NOW });
    shop.sound();
}

// E21: a wholly rolled-back bank is noticed by the agency
#[test]
fn a_bank_that_was_rolled_back_is_told() {
    let shop = shop(1_000);
    let ledger = &shop.ledger;
    let (_, payee) = meters(&shop, 500);
    let normal = CheckpointRequest::default();
    let ask = |request, bank, at| checkpoint(ledger, 2, &payee, request, bank, NOW.plus(at));
    let at = |receipt: &MeterReceipt| (receipt.bank.last.clone(), receipt.bank.now.clone());
    let first = ask(&normal, head(5), 0).unwrap();
    assert_eq!(at(&first), (Some(head(1).to_string()), head(5).to_string()));
    assert_eq!(at(&ask(&normal, head(7), 1).unwrap()), (Some(head(5).to_string()), head(7).to_string()));
    let fork = Head { hash: Hash([9; 32]), ..head(7) };
    for behind in [head(0), head(6), fork] {
        let told = refused(ask(&normal, behind, 2));
        assert_eq!(told, Rejection::BankBehind { last: head(7).to_string(), sent: behind.to_string() });
        let clearing = ClearingRequest { tokens: vec!["x".into()] };
        let signature = payee.sign(Operation::Clear, &clearing, "behind", behind, NOW);
        assert!(matches!(refused(ledger.clear(2, &clearing, &signature, NOW)), Rejection::BankBehind { .. }));
        let request =
            LicenseRequest { key: Meter::new(5).key.public().to_string(), limit: 0, days: 1, accept_restored: false };
        let signature = Meter::new(5).sign(Operation::License, &request, "behind", behind, NOW);
        assert!(matches!(refused(ledger.license(2, &request, &signature, NOW)), Rejection::BankBehind { .. }));
    }
    let before = ledger.summary().unwrap().head.number;
    let accepted = CheckpointRequest { accept_restored: true, ..normal.clone() };
    assert_eq!(at(&ask(&accepted, head(6), 3).unwrap()), (Some(head(7).to_string()), head(6).to_string()));
    let entry = ledger.run(ops::Entries { after: before, most: 9 }, NOW).unwrap().remove(0);
    let expected = Event::BankRestored { account: 2, bank: (6, head(6).hash), last: (7, head(7).hash) };
    assert_eq!(entry.event, expected);
    // From there it goes on; and one that is not behind is no event.
    ask(&normal, head(6), 4).unwrap();
    ask(&accepted, head(8), 5).unwrap();
    assert_eq!(ledger.summary().unwrap().head.number, before + 1);
    // A bank without a key is accepted with the licence of a new one.
    let key = Meter::new(5).key.public().to_string();
    let request = LicenseRequest { key, limit: 0, days: 1, accept_restored: true };
    let signature = Meter::new(5).sign(Operation::License, &request, "accepted", head(2), NOW);
    let token = ledger.license(2, &request, &signature, NOW).unwrap();
    assert_eq!(at(&receipt(ledger, token.as_str())), (Some(head(8).to_string()), head(2).to_string()));
    let entry = ledger.run(ops::Entries { after: before + 1, most: 1 }, NOW).unwrap().remove(0);
    let expected = Event::BankRestored { account: 2, bank: (2, head(2).hash), last: (8, head(8).hash) };
    assert_eq!(entry.event, expected);
    let again = ledger.license(2, &request, &signature, NOW).unwrap();
    assert_eq!(receipt(ledger, again.as_str()), receipt(ledger, token.as_str()));
    ask(&normal, head(2), 6).unwrap();
    shop.sound();
}

// A reservation is released by a receipt, never before its token can no longer be cleared
#[test]
fn an_open_payment_is_void_when_its_token_is() {
    let shop = shop(1_000);
    let ledger = &shop.ledger;
    let (payer, payee) = meters(&shop, 500);
    let until = NOW.plus(3_600);
    let hash = |message| meter::payment_hash(1, "joe@far.example", &fingerprint(message));
    let open = |message, until: UnixTime| OpenPayment { payment: hash(message).to_string(), until: until.to_string() };
    let pay = |message| payer.pay("payee", "joe@far.example", message, 3, until);
    clear(ledger, 2, &payee, &[pay(1)], NOW).unwrap();
    let request = CheckpointRequest { open: vec![open(1, until), open(2, until)], accept_restored: false };
    let states = checkpoint(ledger, 1, &payer, &request, head(5), NOW).unwrap().open;
    assert_eq!(states, [PaymentState::Cleared, PaymentState::Open]);
    let renewed = Meter::new(11);
    let end = until.plus(7 * DAY);
    let near = end.plus(-DAY);
    license(ledger, 1, &renewed, 0, near).unwrap();
    let ask = |at| checkpoint(ledger, 1, &renewed, &request, head(9), at).unwrap().open;
    assert_eq!(ask(end.plus(3_600)), [PaymentState::Cleared, PaymentState::Open]);
    assert_eq!(ask(end.plus(3_601)), [PaymentState::Cleared, PaymentState::Void]);
    let receiver = Meter::new(12);
    license(ledger, 2, &receiver, 0, near).unwrap();
    let late = clear(ledger, 2, &receiver, &[pay(2)], end.plus(3_601)).unwrap();
    assert_eq!(late.each, [not(ClearingProblem::Expired)]);
    // A payer that names an earlier end than its token has gains nothing: the token's own end counts.
    let long = payer.pay("payee", "joe@far.example", 3, 3, until.plus(2 * DAY));
    let lie = CheckpointRequest { open: vec![open(3, until)], accept_restored: false };
    let states = checkpoint(ledger, 1, &renewed, &lie, head(10), end.plus(3_602)).unwrap().open;
    assert_eq!(states, [PaymentState::Void]);
    assert_eq!(clear(ledger, 2, &receiver, &[long], end.plus(3_602)).unwrap().each, [cleared(3)]);
    let wrong = CheckpointRequest {
        open: vec![OpenPayment { payment: "x".into(), until: "y".into() }],
        accept_restored: false,
    };
    let signature = renewed.sign(Operation::Checkpoint, &wrong, "w", head(11), end);
    assert!(matches!(refused(ledger.checkpoint(1, &wrong, &signature, end)), Rejection::Form { .. }));
    shop.sound();
}

// E7: one million messages at price 1, with a credit at 1/10 cent, cost exactly 1000.00. E19: a purchase that was
// repeated is booked once, and the next signed answer has it.
#[test]
fn a_million_messages_at_a_tenth_of_a_cent_cost_1000() {
    let shop = shop(0);
    let ledger = &shop.ledger;
    let bought = ledger.credit(1, 1_000_000, None, "transfer 1", NOW).unwrap();
    assert_eq!(bought.sum.unwrap().to_string(), "1000.00 EUR");
    assert!(ledger.credit(1, 1_000_000, None, "transfer 1", NOW).unwrap().again);
    let (payer, payee) = meters(&shop, 1_000_000);
    let state = checkpoint(ledger, 1, &payer, &CheckpointRequest::default(), head(5), NOW).unwrap();
    assert_eq!((state.balance, state.licenses[0].rest), (0, 1_000_000));
    // The arithmetic of all of them; ten thousand are booked, and the bench books the million.
    let license = ledger.run(ops::LicenseNamed { kid: payer.kid().to_owned() }, NOW).unwrap().license.number;
    let each: Vec<_> = (0..1_000_000_u64).map(|_| (license, 1, Hash([0; 32]))).collect();
    let event = Event::Cleared { account: 2, bank: (0, Hash([0; 32])), each, over: Vec::new() };
    let moved: Vec<i64> = event.transaction().postings().iter().map(|posting| posting.amount).collect();
    assert_eq!(moved, [-1_000_000, 1_000_000]);
    for batch in 0..20_u64 {
        let claim = |number: u64| TokenClaim {
            license,
            credits: 1,
            payment: Hash::of(&(batch * 500 + number).to_be_bytes()),
            until: NOW,
        };
        let contact = MeterContact {
            account: 2,
            kid: payee.kid().to_owned(),
            idempotency: batch.to_string(),
            body: Hash::of(&batch.to_be_bytes()),
            bank: head(10 + batch),
        };
        ledger.run(ops::Clear { contact, tokens: (0..500).map(|number| Ok(claim(number))).collect() }, NOW).unwrap();
    }
    assert_eq!(balance(ledger, 2), 10_000);
    let (paid, _) = ledger.pay_out(2, 10_000, "surplus", NOW).unwrap();
    assert_eq!(paid.sum.unwrap().to_string(), "10.00 EUR");
    let price = ledger.profile().unwrap().terms.price;
    assert_eq!(price.payout_of(1_000_000).unwrap().to_string(), "1000.00 EUR");
    shop.sound();
}

#[test]
fn a_closed_account_leaves_the_directory_and_keeps_its_rest() {
    let shop = shop(1_000);
    let ledger = &shop.ledger;
    let (payer, payee) = meters(&shop, 500);
    assert_eq!(ledger.run(ops::LiveLicenses {}, NOW).unwrap().len(), 2);
    ledger.run(ops::CloseAccount { account: 1, revoke: false }, NOW).unwrap();
    let live = ledger.run(ops::LiveLicenses {}, NOW).unwrap();
    assert_eq!(live.iter().map(|it| it.account).collect::<Vec<_>>(), [2]);
    // What it signed before is paid, and the rest can be paid out later.
    let token = payer.pay("payee", "joe@far.example", 1, 30, NOW.plus(60));
    assert_eq!(clear(ledger, 2, &payee, &[token], NOW).unwrap().each, [cleared(30)]);
    ledger.run(ops::Forget {}, NOW.plus(16 * DAY)).unwrap();
    assert_eq!(balance(ledger, 1), 970);
    ledger.pay_out(1, 970, "rest", NOW.plus(16 * DAY)).unwrap();
    shop.sound();
}

#[test]
fn a_restored_agency_knows_what_was_cleared() {
    let shop = shop(1_000);
    let (payer, payee) = meters(&shop, 10);
    let pay = |message, credits| payer.pay("payee", "joe@far.example", message, credits, NOW.plus(3_600));
    let tokens = [pay(1, 6), pay(2, 5)];
    let request = ClearingRequest { tokens: tokens.to_vec() };
    let signature = payee.sign(Operation::Clear, &request, "k", head(5), NOW);
    let first = shop.ledger.clear(2, &request, &signature, NOW).unwrap();
    let backup = shop.folder.path().join("backup");
    shop.ledger.backup(&backup).unwrap();
    let copy = shop.folder.path().join("copy");
    drop(Ledger::restore(&copy, &backup, NOW).unwrap());
    // The signing keys are files beside the ledger.
    std::fs::DirBuilder::new().mode(0o700).recursive(true).create(copy.join("keys")).unwrap();
    std::fs::copy(shop.path().join("keys/key-a.json"), copy.join("keys/key-a.json")).unwrap();
    let ledger = open(&copy);
    super::sound(&ledger);
    assert_eq!(ledger.clear(2, &request, &signature, NOW).unwrap().as_str(), first.as_str());
    let again = clear(&ledger, 2, &payee, &tokens[..1], NOW).unwrap();
    assert!(matches!(again.each[..], [ClearingResult::Refused(ClearingProblem::ClearedBefore { .. })]));
    let behind = CheckpointRequest::default();
    assert!(matches!(refused(checkpoint(&ledger, 2, &payee, &behind, head(4), NOW)), Rejection::BankBehind { .. }));
    super::sound(&ledger);
}
