//! Properties under any order of work: a small model of the ledger, and random requests, many of which are refused.

use super::{NOW, Shop, handed, order, texts};
use mailstamp::accounting::double_entry::Unit;
use mailstamp::accounting::order::Order;
use mailstamp::ledger::ops;
use mailstamp::ledger::payment::{Paid, code_hash};
use mailstamp::stamp::claims::Stamp;
use proptest::prelude::*;
use std::collections::BTreeMap;

#[derive(Clone, Debug)]
enum Deed {
    Credit(u64, u64),
    Sell { account: u64, value: u64, count: usize, key: Option<u8> },
    Deposit { account: u64, stamp: usize },
    Revoke { stamp: usize },
    PayOut(u64, u64),
    Voucher(u64),
    TakeVoucher(u64, usize),
    SellForVoucher(usize, u64),
    Close(u64, bool),
}

fn deeds() -> impl Strategy<Value = Deed> {
    let account = 1_u64..4;
    prop_oneof![
        2 => (account.clone(), 0_u64..200).prop_map(|(account, credits)| Deed::Credit(account, credits)),
        6 => (account.clone(), 0_u64..8, 0_usize..5, prop::option::of(0_u8..3))
            .prop_map(|(account, value, count, key)| Deed::Sell { account, value, count, key }),
        5 => (account.clone(), 0_usize..40).prop_map(|(account, stamp)| Deed::Deposit { account, stamp }),
        2 => (0_usize..40).prop_map(|stamp| Deed::Revoke { stamp }),
        2 => (account.clone(), 0_u64..50).prop_map(|(account, credits)| Deed::PayOut(account, credits)),
        1 => (0_u64..20).prop_map(Deed::Voucher),
        1 => (account.clone(), 0_usize..4).prop_map(|(account, voucher)| Deed::TakeVoucher(account, voucher)),
        1 => (0_usize..4, 0_u64..9).prop_map(|(voucher, value)| Deed::SellForVoucher(voucher, value)),
        1 => (account, any::<bool>()).prop_map(|(account, revoke)| Deed::Close(account, revoke)),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 24, failure_persistence: None, ..ProptestConfig::default() })]

    // The ledger: sum zero at all times, nothing below zero, and the ledger agrees with an independent model
    #[test]
    fn credits_are_never_made_or_lost(deeds in prop::collection::vec(deeds(), 1..40)) {
        let shop = Shop::new();
        let ledger = &shop.ledger;
        for name in ["a", "b", "c"] {
            shop.account(name, 0);
        }
        ledger.own(3, "far.example", NOW).unwrap();
        let mut sold: Vec<String> = Vec::new();
        let mut vouchers = Vec::new();
        // Credits in circulation, and what each account has.
        let mut made = 0_u64;
        let mut has: BTreeMap<u64, u64> = (1..4).map(|account| (account, 0)).collect();
        for (number, deed) in deeds.iter().enumerate() {
            let reference = number.to_string();
            match deed.clone() {
                Deed::Credit(account, credits) => if ledger.credit(account, credits, None, &reference, NOW).is_ok() {
                    made += credits;
                    *has.get_mut(&account).unwrap() += credits;
                },
                Deed::Sell { account, value, count, key } => {
                    let orders = vec![Order { value, ..order("joe@far.example") }; count];
                    let key = key.map(|key| key.to_string());
                    if let Ok(done) = ledger.issue(account, &orders, key.as_deref(), NOW) && !done.sale.again {
                        *has.get_mut(&account).unwrap() -= value * count as u64;
                        sold.extend(texts(&done));
                    }
                }
                Deed::Deposit { account, stamp } => if let Some(stamp) = sold.get(stamp)
                    && let Ok(taken) = ledger.deposit(account, &handed(&[stamp.clone(), stamp.clone()]), NOW)
                    && let Some(booked) = taken.booked
                {
                    prop_assert_eq!(account, 3);
                    *has.get_mut(&account).unwrap() += booked.credits;
                },
                Deed::Revoke { stamp } => if let Some(stamp) = sold.get(stamp) {
                    let token = mailstamp::stamp::token::Token::parse(stamp).unwrap();
                    ledger.run(ops::Revoke { serials: vec![Stamp::read(token.payload()).unwrap().serial], customer: false }, NOW).unwrap();
                },
                Deed::PayOut(account, credits) => if ledger.pay_out(account, credits, &reference, NOW).is_ok() {
                    made -= credits;
                    *has.get_mut(&account).unwrap() -= credits;
                },
                Deed::Voucher(credits) => if let Ok(code) = ledger.make_voucher(credits, None, NOW) {
                    made += credits;
                    vouchers.push(code);
                },
                Deed::TakeVoucher(account, voucher) => if let Some(code) = vouchers.get(voucher)
                    && let Ok(booked) = ledger.take_voucher(account, code, NOW)
                {
                    *has.get_mut(&account).unwrap() += booked.credits;
                },
                Deed::SellForVoucher(voucher, value) => if let Some(code) = vouchers.get(voucher) {
                    let paid = Paid::Voucher(code_hash(code).unwrap());
                    let orders = [Order { value, ..order("joe@far.example") }];
                    if let Ok(done) = ledger.issue_for(paid, &orders, None, NOW) {
                        sold.extend(texts(&done));
                    }
                },
                Deed::Close(account, revoke) => { ledger.run(ops::CloseAccount { account, revoke }, NOW).unwrap(); }
            }
            for (account, credits) in &has {
                prop_assert_eq!(ledger.account(*account, NOW).unwrap().balance, *credits, "after {:?}", deed);
            }
            let summary = ledger.summary().unwrap();
            let others = summary.balances.iter().filter(|it| it.unit == Unit::Credits);
            let sum: i64 = others.clone().map(|it| it.amount).sum();
            prop_assert_eq!(sum + i64::try_from(has.values().sum::<u64>()).unwrap(), 0, "after {:?}", deed);
            let issue = others.filter(|it| it.account == mailstamp::accounting::double_entry::AccountCode::Issue);
            prop_assert_eq!(issue.map(|it| it.amount).sum::<i64>(), -i64::try_from(made).unwrap());
        }
        let report = ledger.audit(None).unwrap();
        prop_assert_eq!(report.problems, Vec::<String>::new());
        prop_assert_eq!(report.stamps, sold.len() as u64);
    }
}
