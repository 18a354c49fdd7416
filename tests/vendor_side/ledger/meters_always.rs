//! Credits of meters under any order of work: none is made or lost, no licence goes below zero, and no payment is
//! cleared twice. A small model of its own says what must happen.

use super::{NOW, Shop, order, terms};
use crate::support::meters::head;
use mailstamp::accounting::double_entry::{AccountCode, Unit};
use mailstamp::accounting::event::Terms;
use mailstamp::accounting::hash::Hash;
use mailstamp::accounting::meter::{self, ClearingProblem};
use mailstamp::ledger::handle::Ledger;
use mailstamp::ledger::model::{License, MeterContact, TokenClaim};
use mailstamp::ledger::ops;
use mailstamp::stamp::signing::SecretKey;
use mailstamp::time::UnixTime;
use mailstamp::vendor_api::meters::ClearingResult;
use proptest::prelude::*;
use std::collections::{BTreeMap, BTreeSet};

const DAY: i64 = 86_400;

#[derive(Clone, Debug)]
enum Deed {
    Buy(u64, u64),
    License {
        account: u64,
        limit: u64,
        days: u32,
    },
    Revoke(usize),
    /// Licence, credits and message of each token.
    Clear {
        payee: u64,
        tokens: Vec<(usize, u64, u8)>,
    },
    Stamps(u64),
    PayOut(u64, u64),
    Close(u64),
    Wait(i64),
}

fn deed() -> impl Strategy<Value = Deed> {
    let account = 1_u64..4;
    let token = (0_usize..6, 0_u64..40, 0_u8..12);
    prop_oneof![
        3 => (account.clone(), 0_u64..200).prop_map(|(account, credits)| Deed::Buy(account, credits)),
        4 => (account.clone(), 0_u64..100, 1_u32..8)
            .prop_map(|(account, limit, days)| Deed::License { account, limit, days }),
        1 => (0_usize..6).prop_map(Deed::Revoke),
        6 => (account.clone(), prop::collection::vec(token, 1..5))
            .prop_map(|(payee, tokens)| Deed::Clear { payee, tokens }),
        1 => account.clone().prop_map(Deed::Stamps),
        2 => (account.clone(), 0_u64..60).prop_map(|(account, credits)| Deed::PayOut(account, credits)),
        1 => account.prop_map(Deed::Close),
        2 => (1_i64..6).prop_map(Deed::Wait),
    ]
}

/// What should be in the ledger.
#[derive(Default)]
struct Model {
    has: BTreeMap<u64, u64>,
    /// Licences in the order of their numbers, with their rest.
    licenses: Vec<(License, u64)>,
    cleared: BTreeSet<Hash>,
    /// Bought and not paid out.
    made: u64,
    stamps: u64,
}

impl Model {
    /// Closes what is due.
    fn pass(&mut self, now: UnixTime) {
        for (license, rest) in &mut self.licenses {
            if license.closed.is_none() && meter::closing(license.until) < now {
                license.closed = Some(now);
                *self.has.get_mut(&license.account).unwrap() += std::mem::take(rest);
            }
        }
    }

    /// Says what becomes of a token.
    fn claim(
        &mut self,
        payee: u64,
        (at, credits, message): (usize, u64, u8),
        now: UnixTime,
    ) -> Option<(TokenClaim, bool)> {
        let (license, rest) = self.licenses.get_mut(at)?;
        let payment = meter::payment_hash(license.account, "joe@far.example", &[message; 32]);
        let claim = TokenClaim { license: license.number, credits, payment, until: license.until };
        let open = license.closed.is_none() && meter::last_clearing(license.until) >= now;
        let good = open && *rest >= credits && !self.cleared.contains(&payment);
        if good {
            *rest -= credits;
            *self.has.get_mut(&payee).unwrap() += credits;
            self.cleared.insert(payment);
        }
        Some((claim, good))
    }

    fn compare(&self, ledger: &Ledger, now: UnixTime) -> Result<(), TestCaseError> {
        for (account, credits) in &self.has {
            prop_assert_eq!(ledger.account(*account, now).unwrap().balance, *credits, "account {}", account);
        }
        for (license, rest) in &self.licenses {
            let found = ledger.run(ops::LicenseNamed { kid: license.kid.clone() }, now).unwrap();
            prop_assert_eq!(found.rest, *rest, "licence {}", license.number);
        }
        let summary = ledger.summary().unwrap();
        let licensed: u64 = self.licenses.iter().map(|(_, rest)| rest).sum();
        prop_assert_eq!(summary.licensed, i64::try_from(licensed).unwrap());
        prop_assert_eq!(summary.cleared, self.cleared.len() as u64);
        let of = |code| {
            let found = summary.balances.iter().find(|it| it.account == code && it.unit == Unit::Credits);
            found.map_or(0, |it| it.amount)
        };
        // All accounts and licences together are what was bought and not redeemed, less what is in stamps.
        prop_assert_eq!(of(AccountCode::Issue), -i64::try_from(self.made).unwrap());
        let sum = self.has.values().sum::<u64>() + licensed + self.stamps;
        prop_assert_eq!(sum, self.made);
        Ok(())
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 24, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn credits_of_meters_are_never_made_or_lost(deeds in prop::collection::vec(deed(), 1..40)) {
        let shop = Shop::new();
        let ledger = &shop.ledger;
        ledger.run(ops::SetTerms { terms: Terms { meters: Some(80), ..terms() } }, NOW).unwrap();
        for name in ["a", "b", "c"] {
            shop.account(name, 0);
        }
        let mut model = Model { has: (1..4).map(|account| (account, 0)).collect(), ..Model::default() };
        let mut now = NOW;
        for (number, deed) in (1_u64..).zip(&deeds) {
            let reference = number.to_string();
            let contact = |account, kid: &str| MeterContact {
                account,
                kid: kid.to_owned(),
                idempotency: reference.clone(),
                body: Hash::of(reference.as_bytes()),
                bank: head(number),
            };
            match deed.clone() {
                Deed::Buy(account, credits) => if ledger.credit(account, credits, None, &reference, now).is_ok() {
                    model.made += credits;
                    *model.has.get_mut(&account).unwrap() += credits;
                },
                Deed::License { account, limit, days } => {
                    let key = SecretKey::from_random(&Hash::of(reference.as_bytes()).0).public();
                    let kid = meter::key_name(&key);
                    let op = ops::License { contact: contact(account, &kid), key, limit, days, accept_restored: false };
                    if ledger.run(op, now).is_ok() {
                        *model.has.get_mut(&account).unwrap() -= limit;
                        let row = ledger.run(ops::LicenseNamed { kid }, now).unwrap();
                        prop_assert_eq!(row.license.until, now.plus(i64::from(days) * DAY));
                        model.licenses.push((row.license, limit));
                    }
                }
                Deed::Revoke(at) => if let Some((license, _)) = model.licenses.get(at) {
                    ledger.run(ops::EndLicense { kid: license.kid.clone(), account: None }, now).unwrap();
                },
                Deed::Clear { payee, tokens } => {
                    let live = ledger.run(ops::LicensesOf { account: payee }, now).unwrap();
                    let live = live.into_iter().find(|it| it.license.is_live(now));
                    if let Some(signer) = live {
                        let claims: Vec<_> = tokens.iter().filter_map(|token| model.claim(payee, *token, now)).collect();
                        let mut each: Vec<_> = claims.iter().map(|(claim, _)| Ok(*claim)).collect();
                        each.push(Err(ClearingProblem::BadToken));
                        let op = ops::Clear { contact: contact(payee, &signer.license.kid), tokens: each };
                        let results = ledger.run(op, now).unwrap().each;
                        prop_assert_eq!(results.len(), claims.len() + 1);
                        for ((claim, good), result) in claims.iter().zip(&results) {
                            let paid = *result == ClearingResult::Cleared { credits: claim.credits };
                            prop_assert_eq!(paid, *good, "{:?} {:?}", claim, result);
                        }
                    }
                }
                Deed::Stamps(account) => if ledger.issue(account, &[order("joe@far.example")], None, now).is_ok() {
                    *model.has.get_mut(&account).unwrap() -= 1;
                    model.stamps += 1;
                },
                Deed::PayOut(account, credits) => if ledger.pay_out(account, credits, &reference, now).is_ok() {
                    model.made -= credits;
                    *model.has.get_mut(&account).unwrap() -= credits;
                },
                Deed::Close(account) => {
                    ledger.run(ops::CloseAccount { account, revoke: false }, now).unwrap();
                }
                Deed::Wait(days) => now = now.plus(days * DAY),
            }
            ledger.run(ops::Forget {}, now).unwrap();
            model.pass(now);
            model.compare(ledger, now)?;
        }
        let report = ledger.audit(None).unwrap();
        prop_assert_eq!(report.problems, Vec::<String>::new());
    }
}
