//! Books in memory, which an audit makes from the chain and compares with the file.

use super::books::{self, AgencyState, Incoming, License, Payment, Rows};
use super::event::BankAccount;
use crate::accounting::hash::Hash;
use crate::time::UnixTime;
use std::collections::BTreeMap;
use std::convert::Infallible;

/// Books in memory.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Books {
    pub balances: BTreeMap<BankAccount, i64>,
    pub licenses: BTreeMap<u64, License>,
    pub payments: BTreeMap<Hash, Payment>,
    pub incoming: BTreeMap<String, Incoming>,
    pub copies: BTreeMap<Hash, String>,
    pub exposures: BTreeMap<String, u64>,
    pub agency: Option<AgencyState>,
}

impl Rows for Books {
    type Error = Infallible;

    fn balance(&self, account: BankAccount) -> Result<i64, Infallible> {
        Ok(self.balances.get(&account).copied().unwrap_or(0))
    }

    fn set_balance(&mut self, account: BankAccount, balance: i64) -> Result<(), Infallible> {
        self.balances.insert(account, balance);
        Ok(())
    }

    fn license(&self, license: u64) -> Result<Option<License>, Infallible> {
        Ok(self.licenses.get(&license).cloned())
    }

    fn set_license(&mut self, license: u64, row: &License) -> Result<(), Infallible> {
        self.licenses.insert(license, row.clone());
        Ok(())
    }

    fn payment(&self, payment: &Hash) -> Result<Option<Payment>, Infallible> {
        Ok(self.payments.get(payment).cloned())
    }

    fn set_payment(&mut self, payment: &Hash, row: &Payment) -> Result<(), Infallible> {
        self.payments.insert(*payment, row.clone());
        Ok(())
    }

    fn incoming(&self, id: &str) -> Result<Option<Incoming>, Infallible> {
        Ok(self.incoming.get(id).cloned())
    }

    fn set_incoming(&mut self, id: &str, row: &Incoming) -> Result<(), Infallible> {
        self.incoming.insert(id.to_owned(), row.clone());
        Ok(())
    }

    fn copy(&self, copy: &Hash) -> Result<Option<String>, Infallible> {
        Ok(self.copies.get(copy).cloned())
    }

    fn set_copy(&mut self, copy: &Hash, id: &str) -> Result<(), Infallible> {
        self.copies.insert(*copy, id.to_owned());
        Ok(())
    }

    fn exposure(&self, peer: &str) -> Result<u64, Infallible> {
        Ok(self.exposures.get(peer).copied().unwrap_or(0))
    }

    fn set_exposure(&mut self, peer: &str, credits: u64) -> Result<(), Infallible> {
        self.exposures.insert(peer.to_owned(), credits);
        Ok(())
    }

    fn agency(&self) -> Result<Option<AgencyState>, Infallible> {
        Ok(self.agency)
    }

    fn set_agency(&mut self, state: &AgencyState) -> Result<(), Infallible> {
        self.agency = Some(*state);
        Ok(())
    }

    fn forget(&mut self, before: UnixTime) -> Result<(), Infallible> {
        self.payments.retain(|_, row| !books::is_forgotten_payment(row, before));
        let gone: Vec<String> = self
            .incoming
            .iter()
            .filter(|(_, row)| books::is_forgotten_token(row, before))
            .map(|(id, _)| id.clone())
            .collect();
        for id in gone {
            if let Some(row) = self.incoming.remove(&id)
                && self.copies.get(&row.copy) == Some(&id)
            {
                self.copies.remove(&row.copy);
            }
        }
        Ok(())
    }
}

impl Books {
    /// Returns what the bank has in all.
    #[must_use]
    pub fn total(&self) -> i128 {
        -i128::from(self.balances.get(&BankAccount::World).copied().unwrap_or(0))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::accounting::bank::books::{IncomingState, PaymentState, apply};
    use crate::accounting::bank::event::Event;
    use crate::accounting::hash_chain::Head;
    use crate::stamp::signing::{PublicKey, SecretKey};
    use proptest::prelude::*;

    fn key() -> PublicKey {
        SecretKey::from_random(&[7; 32]).public()
    }

    fn hash(number: u8) -> Hash {
        Hash::of(&[number])
    }

    /// Any event about a few payments, tokens and licences; most do not fit the books.
    fn event() -> impl Strategy<Value = Event> {
        let license = 1_u64..3;
        let credits = 0_u64..4;
        let end = (0_i64..5).prop_map(UnixTime);
        let payment = (0_u8..3).prop_map(hash);
        let id = (0_u8..3).prop_map(|id| id.to_string());
        let open = (payment.clone(), license.clone(), credits.clone(), any::<bool>());
        prop_oneof![
            2 => (0_u64..30, 0_u64..30).prop_map(|(balance, before)| Event::Checkpoint {
                agency: Head::EMPTY, account: 1, balance, before, receipt: hash(0)
            }),
            3 => (license.clone(), 0_u64..20, end.clone()).prop_map(|(license, credits, until)| Event::Licensed {
                license, kid: license.to_string(), key: key(), credits, until
            }),
            1 => license.clone().prop_map(|license| Event::LicenseEnded { license }),
            2 => (license.clone(), 0_u64..20).prop_map(|(license, credits)| Event::LicenseClosed { license, credits }),
            6 => (payment.clone(), license.clone(), credits.clone(), id.clone(), end.clone()).prop_map(
                |(payment, license, credits, id, until)| Event::Reserved {
                    payment, license, credits, id, until, peer: "p".into(), token: hash(9)
                }
            ),
            2 => (payment.clone(), license.clone(), credits.clone(), (license.clone(), credits.clone())).prop_map(
                |(payment, license, credits, before)| Event::Renewed {
                    payment, before, license, credits, id: "n".into(), until: UnixTime(9), token: hash(8)
                }
            ),
            4 => (payment, license, credits.clone()).prop_map(|(payment, license, credits)| Event::Settled {
                payment, license, credits
            }),
            3 => open.clone().prop_map(|(payment, license, credits, settled)| Event::Cleared {
                payment, license, credits, settled
            }),
            3 => open.prop_map(|(payment, license, credits, settled)| Event::Released {
                payment, license, credits, settled
            }),
            5 => (id.clone(), credits.clone(), end.clone(), 0_u8..2).prop_map(|(id, credits, until, copy)| {
                Event::Pending { id, copy: hash(copy), peer: "p".into(), credits, until, token: hash(9) }
            }),
            4 => (id.clone(), credits.clone()).prop_map(|(id, credits)| Event::Received { id, credits }),
            2 => id.clone().prop_map(|id| Event::Dropped { id }),
            3 => prop::collection::vec(id.clone(), 1..3).prop_map(|ids| Event::Sent { request: "r".into(), ids }),
            3 => (id, credits, any::<bool>()).prop_map(|(id, credits, paid)| {
                let (taken, refused) = match paid {
                    true => (vec![(id, credits)], Vec::new()),
                    false => (Vec::new(), vec![(id, credits, "cleared-before".into())]),
                };
                Event::Collected { request: "r".into(), taken, refused }
            }),
            1 => end.prop_map(|before| Event::Forgotten { before }),
            1 => Just(Event::Restored { seen: None }),
        ]
    }

    /// Credits that the rows themselves come to, by account.
    fn counted(books: &Books) -> BTreeMap<BankAccount, i64> {
        let mut sums = BTreeMap::new();
        for row in books.payments.values() {
            let account = match row.state {
                PaymentState::Reserved => BankAccount::Reserved(row.license),
                PaymentState::Settled => BankAccount::Paid(row.license),
                _ => continue,
            };
            *sums.entry(account).or_default() += i64::try_from(row.credits).unwrap();
        }
        for row in books.incoming.values() {
            if matches!(row.state, IncomingState::Received | IncomingState::Sent) {
                *sums.entry(BankAccount::Received).or_default() += i64::try_from(row.credits).unwrap();
            }
        }
        sums
    }

    proptest! {
        // Conservation: whatever comes, allowed or not, the balances come to zero, none is below zero but the world's,
        // and each is what the rows come to
        #[test]
        fn no_sequence_of_events_makes_or_loses_credits(events in prop::collection::vec(event(), 1..120)) {
            let mut books = Books::default();
            let mut booked = Vec::new();
            for event in events {
                let mut after = books.clone();
                if apply(&mut after, &event).is_err() {
                    continue;
                }
                let moved: i64 = event.transaction().postings().iter().map(|posting| posting.amount).sum();
                prop_assert_eq!(moved, 0);
                books = after;
                booked.push(event);
                prop_assert_eq!(books.balances.values().map(|&it| i128::from(it)).sum::<i128>(), 0);
                let solid = books.balances.iter().filter(|(account, _)| **account != BankAccount::World);
                prop_assert!(solid.clone().all(|(_, &balance)| balance >= 0), "{:?}", books.balances);
                let of_rows = solid.filter(|(account, balance)| {
                    **balance != 0 && !matches!(account, BankAccount::Held | BankAccount::Licensed(_))
                });
                let mut expected = counted(&books);
                expected.retain(|_, balance| *balance != 0);
                prop_assert_eq!(of_rows.map(|(account, balance)| (*account, *balance)).collect::<BTreeMap<_, _>>(), expected);
                let exposed: u64 = books.incoming.values().filter(|row| row.state.is_open()).map(|row| row.credits).sum();
                prop_assert_eq!(books.exposures.values().sum::<u64>(), exposed);
            }
            // The events alone give the same books.
            let mut again = Books::default();
            for event in &booked {
                let text = serde_json::to_string(event).unwrap();
                let name = format!("{{\"event\":\"{}\"", event.name());
                prop_assert!(text.starts_with(&name), "{text}");
                prop_assert_eq!(apply(&mut again, &serde_json::from_str(&text).unwrap()), Ok(()));
            }
            prop_assert_eq!(again, books);
        }
    }

    fn booked(events: impl IntoIterator<Item = Event>) -> Books {
        let mut books = Books::default();
        for event in events {
            assert_eq!(apply(&mut books, &event), Ok(()), "{event:?}");
        }
        books
    }

    fn licensed() -> [Event; 2] {
        [
            Event::Checkpoint { agency: Head::EMPTY, account: 7, balance: 100, before: 0, receipt: hash(1) },
            Event::Licensed { license: 3, kid: "m1".into(), key: key(), credits: 60, until: UnixTime(50) },
        ]
    }

    fn reserved(payment: u8, credits: u64) -> Event {
        let (payment, id, peer) = (hash(payment), format!("id{payment}"), "shop@a.example".to_owned());
        Event::Reserved { payment, license: 3, credits, id, until: UnixTime(40), peer, token: hash(0) }
    }

    // E13
    #[test]
    fn a_payment_is_reserved_settled_and_cleared_once() {
        let (license, credits) = (3, 5);
        let settled = Event::Settled { payment: hash(1), license, credits };
        let cleared = Event::Cleared { payment: hash(1), license, credits, settled: true };
        let mut books = booked(licensed().into_iter().chain([reserved(1, 5)]));
        assert!(apply(&mut books.clone(), &reserved(1, 5)).is_err());
        assert!(apply(&mut books.clone(), &cleared).is_err());
        assert!(apply(&mut books.clone(), &reserved(2, 56)).is_err(), "more than the licence has");
        assert_eq!(apply(&mut books, &settled), Ok(()));
        assert!(apply(&mut books.clone(), &settled).is_err());
        assert_eq!(books.total(), 100);
        assert_eq!(apply(&mut books, &cleared), Ok(()));
        assert_eq!(books.total(), 95);
        assert!(apply(&mut books.clone(), &cleared).is_err());
        assert!(apply(&mut books, &Event::Released { payment: hash(1), license, credits, settled: true }).is_err());
    }

    #[test]
    fn a_licence_closes_when_nothing_is_open_and_signs_no_more() {
        let mut books = booked(licensed().into_iter().chain([reserved(1, 5)]));
        let close = |credits| Event::LicenseClosed { license: 3, credits };
        assert!(apply(&mut books.clone(), &close(55)).is_err());
        let (payment, license, credits, settled) = (hash(1), 3, 5, false);
        assert_eq!(apply(&mut books, &Event::Released { payment, license, credits, settled }), Ok(()));
        assert_eq!(apply(&mut books, &Event::LicenseEnded { license }), Ok(()));
        assert!(apply(&mut books.clone(), &reserved(2, 1)).is_err());
        assert!(apply(&mut books.clone(), &close(59)).is_err());
        assert_eq!(apply(&mut books, &close(60)), Ok(()));
        assert_eq!(books.balances[&BankAccount::Held], 100);
    }

    // E5, E6: what was received is shown, and spendable after the agency cleared it
    #[test]
    fn received_credits_count_once_and_after_clearing() {
        let (id, copy, peer) = ("a".to_owned(), hash(1), "m9".to_owned());
        let pending = Event::Pending { id: id.clone(), copy, peer, credits: 4, until: UnixTime(9), token: hash(2) };
        let received = Event::Received { id: id.clone(), credits: 4 };
        let mut books = booked([pending.clone(), received.clone()]);
        assert_eq!((books.total(), books.exposures["m9"]), (4, 4));
        assert!(apply(&mut books.clone(), &pending).is_err());
        assert!(apply(&mut books.clone(), &received).is_err());
        let sent = Event::Sent { request: "r".into(), ids: vec![id.clone()] };
        let collected = Event::Collected { request: "r".into(), taken: vec![(id.clone(), 4)], refused: Vec::new() };
        assert!(apply(&mut books.clone(), &collected).is_err());
        assert_eq!(apply(&mut books, &sent), Ok(()));
        assert_eq!(apply(&mut books, &collected), Ok(()));
        assert_eq!((books.balances[&BankAccount::Held], books.exposures["m9"]), (4, 0));
        assert!(apply(&mut books, &collected).is_err());
    }
}
