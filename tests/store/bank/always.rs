//! Properties under any order of requests, many of which are refused.

use super::{BOUGHT, LIMIT, PaymentOrder, found, order, reserve, sound, token, total};
use crate::NOW;
use crate::disk::{Disk, Plan};
use mailstamp::accounting::bank::event::Event;
use mailstamp::bank::order::IncomingToken;
use mailstamp::emstamp::inbound::Arrival;
use proptest::prelude::*;
use std::collections::{BTreeMap, BTreeSet};

#[derive(Clone, Debug)]
enum Deed {
    Reserve { message: usize, id: u8, credits: u64, renew: bool },
    Settle(usize),
    Pend { message: usize, id: u8 },
    Receive(u8),
    Drop(u8),
    Send(Vec<u8>),
    Collect(u8, bool),
    Forget,
    Reopen,
}

fn deed() -> impl Strategy<Value = Deed> {
    let (message, id) = (0_usize..4, 0_u8..5);
    prop_oneof![
        5 => (message.clone(), id.clone(), 0_u64..LIMIT, any::<bool>())
            .prop_map(|(message, id, credits, renew)| Deed::Reserve { message, id, credits, renew }),
        3 => message.clone().prop_map(Deed::Settle),
        5 => (message, id.clone()).prop_map(|(message, id)| Deed::Pend { message, id }),
        4 => id.clone().prop_map(Deed::Receive),
        2 => id.clone().prop_map(Deed::Drop),
        2 => prop::collection::vec(id.clone(), 1..3).prop_map(Deed::Send),
        2 => (id, any::<bool>()).prop_map(|(id, paid)| Deed::Collect(id, paid)),
        1 => Just(Deed::Forget),
        1 => Just(Deed::Reopen),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 48, failure_persistence: None, ..ProptestConfig::default() })]

    // No credit is made or lost, each token is one payment's for ever, and the audit agrees
    #[test]
    fn no_order_of_requests_makes_or_loses_credits(deeds in prop::collection::vec(deed(), 1..60)) {
        let disk = Disk::default();
        let mut bank = disk.bank(Plan::Work).unwrap();
        found(&bank);
        let mut income = 0;
        let mut tokens: BTreeMap<usize, String> = BTreeMap::new();
        let mut received: BTreeSet<u8> = BTreeSet::new();
        for deed in deeds {
            match deed {
                Deed::Reserve { message, id, credits, renew } => {
                    let asked = PaymentOrder { id: format!("id{id}"), credits, renew, ..order(message, 0) };
                    if let Ok(it) = reserve(&bank, vec![asked]).unwrap().remove(0) {
                        if it.again {
                            prop_assert_eq!(&tokens[&message], &it.token);
                        }
                        tokens.insert(message, it.token);
                    }
                }
                Deed::Settle(message) => drop(bank.settle(vec![order(message, 0).payment], NOW)),
                Deed::Pend { message, id } => {
                    let it = IncomingToken { id: id.to_string(), max_exposure: 14, ..token(message) };
                    let arrived = bank.pending(vec![it], NOW).unwrap()[0];
                    if arrived == Arrival::Fresh {
                        prop_assert!(!received.contains(&id));
                    }
                    prop_assert!(bank.exposure("m9").unwrap() <= 14);
                }
                Deed::Receive(id) => if bank.receive(vec![id.to_string()], NOW).is_ok_and(|count| count == 1) {
                    prop_assert!(received.insert(id));
                    income += 4;
                },
                Deed::Drop(id) => drop(bank.drop_pending(vec![id.to_string()], NOW)),
                Deed::Send(ids) => {
                    let ids = ids.iter().map(ToString::to_string).collect();
                    drop(bank.book(Event::Sent { request: "r".into(), ids }, NOW));
                }
                Deed::Collect(id, paid) => {
                    let (id, credits) = (id.to_string(), 4);
                    let (taken, refused) = match paid {
                        true => (vec![(id, credits)], Vec::new()),
                        false => (Vec::new(), vec![(id, credits, "expired".into())]),
                    };
                    if bank.book(Event::Collected { request: "r".into(), taken, refused }, NOW).is_ok() && !paid {
                        income -= 4;
                    }
                }
                // Open ones stay, whatever the time.
                Deed::Forget => {
                    bank.book(Event::Forgotten { before: NOW }, NOW).unwrap();
                }
                Deed::Reopen => {
                    drop(bank);
                    bank = disk.bank(Plan::Work).unwrap();
                }
            }
            prop_assert_eq!(total(&bank), BOUGHT + income);
        }
        sound(&bank);
    }
}
