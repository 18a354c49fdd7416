//! Purchases in the wallet: reserves stamps that exist, journals a purchase of those that are missing, and stores those
//! that arrive under their keys. Each step is one transaction. Between them the caller contacts the vendor.

use super::buyer::{ASKABLE, PurchaseContext, close, close_order};
use super::orphan::Orphans;
use super::record::{KeyRow, OrderRow, PurchaseRow, PurchaseState, StampRow, StateRow};
use super::schema::Tables;
use super::{Outcome, Plan, Wallet};
use crate::accounting::order::Order;
use crate::config::sender::SenderSettings;
use crate::sender::budget::{DAY, Spending, SpendingLimits};
use crate::sender::error::SupplyError;
use crate::sender::selection::{Offer, StampSpec};
use crate::sender::stamp_request::{StampRequest, WalletStamp};
use crate::stamp::audience::Audience;
use crate::store::{SessionError, StoreError};
use crate::time::UnixTime;
use crate::vendor_api::stamps::Orders;
use serde_json::json;
use std::collections::BTreeMap;

/// Minimum remaining lifetime of an unused stamp, in seconds; the requested lifetime, if that is shorter. Mail takes
/// time.
const LEFT: i64 = 12 * 60 * 60;
/// Step of a plan for one request, before anything is bought.
enum Step {
    Done(Plan),
    Buy(StampSpec, Offer),
}

impl Wallet {
    /// Plans each request in one durable transaction: see [`Plan`].
    pub(in crate::sender) fn plan(
        &self,
        wants: &[StampRequest],
        buyer: &PurchaseContext<'_>,
        now: UnixTime,
    ) -> Result<Vec<Plan>, StoreError> {
        self.write(|tables| {
            let mut steps = Vec::with_capacity(wants.len());
            for want in wants {
                steps.push(step(tables, want, buyer, now)?);
            }
            if steps.iter().any(|step| matches!(step, Step::Buy(..))) {
                let mut orphans = Orphans::find(tables, buyer, now)?;
                for (want, step) in wants.iter().zip(&mut steps) {
                    if let Step::Buy(kind, _) = step
                        && let Some(planned) = orphans.adopt(tables, want, kind, buyer, now)?
                    {
                        *step = Step::Done(planned);
                    }
                }
            }
            let mut by_account = BTreeMap::<String, Vec<usize>>::new();
            for (at, step) in steps.iter().enumerate() {
                if let Step::Buy(_, offer) = step {
                    by_account.entry(offer.account.clone()).or_default().push(at);
                }
            }
            for group in by_account.into_values() {
                order(tables, wants, &mut steps, &group, buyer, now)?;
            }
            // Two requests may share a key: the second uses the purchase of the first.
            let planned = steps.into_iter().map(|step| match step {
                Step::Done(planned) => planned,
                Step::Buy(..) => Plan::Refused(SupplyError::Ours("no account took the order".to_owned())),
            });
            Ok(planned.collect())
        })
    }

    /// Records the result of a purchase. The first result counts, later ones are ignored. An answer that cannot be read
    /// is no result.
    ///
    /// Returns what is wrong with the first stamp that is not what was ordered.
    pub(in crate::sender) fn settle(
        &self,
        purchase: &PurchaseRow,
        outcome: Outcome,
        now: UnixTime,
    ) -> Result<Option<String>, StoreError> {
        self.write(|tables| {
            let stands = tables.purchase(u64::try_from(purchase.at).unwrap_or(0), &purchase.id)?;
            let Some(mut stands) = stands.filter(|it| it.state == PurchaseState::Open) else { return Ok(None) };
            stands.fault = None;
            match outcome {
                Outcome::Arrived(stamps) => {
                    let mut orders = std::mem::take(&mut stands.orders);
                    for (order, stamp) in orders.iter_mut().zip(stamps) {
                        let fault = match stamp {
                            Ok(stamp) => arrive(tables, &stands, order, stamp, now)?.err(),
                            Err(fault) => Some(fault),
                        };
                        if let Some(fault) = fault {
                            close_order(tables, &stands.id, order)?;
                            order.faulty = true;
                            let fault = format!("the stamp for {}: {fault}", order.recipient);
                            stands.fault.get_or_insert(fault);
                        }
                    }
                    stands.orders = orders;
                    stands.state = if stands.fault.is_some() { PurchaseState::Faulty } else { PurchaseState::Arrived };
                }
                Outcome::Refused => {
                    close(tables, &stands)?;
                    stands.state = PurchaseState::Refused;
                }
                Outcome::Unreadable(fault) => stands.fault = Some(fault),
            }
            tables.put_purchase(&stands)?;
            Ok(stands.fault)
        })
    }
}

/// Plans one request.
fn step(
    tables: &mut Tables<'_>,
    want: &StampRequest,
    buyer: &PurchaseContext<'_>,
    now: UnixTime,
) -> Result<Step, SessionError> {
    let key = want.key.as_str();
    match tables.key(key)? {
        Some(KeyRow::Stamp { vendor, serial }) => match tables.stamp(&vendor, &serial)? {
            // The recipient would reject it now.
            Some(stamp) if stamp.expired(now) => {
                if !matches!(stamp.state, StateRow::Used { .. }) {
                    tables.put_stamp(&StampRow { state: StateRow::Unused, ..stamp })?;
                }
                tables.remove_key(key)?;
            }
            Some(mut stamp) => {
                // The stamp of a named purchase, which no message has taken.
                if stamp.state == StateRow::Unused {
                    stamp.state = StateRow::Reserved { key: key.to_owned(), at: now.0 };
                    tables.put_stamp(&stamp)?;
                }
                return Ok(Step::Done(Plan::Held(stamp.held()?)));
            }
            None => tables.remove_key(key)?,
        },
        Some(KeyRow::Purchase { at, id }) => match tables.purchase(at, &id)? {
            Some(purchase) if purchase.state == PurchaseState::Open => {
                if now.0.saturating_sub(purchase.at) < ASKABLE {
                    return Ok(Step::Done(Plan::Pending(purchase)));
                }
                close(tables, &purchase)?;
                tables.put_purchase(&PurchaseRow { state: PurchaseState::Lost, ..purchase })?;
            }
            _ => tables.remove_key(key)?,
        },
        None => {}
    }
    let recipient = want.recipient.normalized();
    let kind = StampSpec::of(want, buyer.settings, tables.learned(&recipient)?.as_ref());
    if !want.fresh
        && let Some(stamp) = unused(tables, want, &kind, buyer.offers, now)?
    {
        let state = StateRow::Reserved { key: key.to_owned(), at: now.0 };
        let stamp = StampRow { state, ..stamp };
        tables.put_stamp(&stamp)?;
        tables.put_key(key, &KeyRow::Stamp { vendor: stamp.vendor.clone(), serial: stamp.serial.clone() })?;
        return Ok(Step::Done(Plan::Held(stamp.held()?)));
    }
    Ok(match kind.account(buyer.settings, buyer.offers) {
        Ok(offer) => Step::Buy(kind.clone(), offer.clone()),
        Err(error) => Step::Done(Plan::Refused(error)),
    })
}

/// Returns the best unused stamp: the smallest value, then the earliest end.
fn unused(
    tables: &Tables<'_>,
    want: &StampRequest,
    kind: &StampSpec,
    offers: &[Offer],
    now: UnixTime,
) -> Result<Option<StampRow>, SessionError> {
    let left = kind.days.map_or(LEFT, |days| LEFT.min(i64::from(days) * DAY / 2));
    let sender = want.sender.as_ref().map(ToString::to_string);
    let fits = |stamp: &StampRow| {
        stamp.value >= kind.value
            && stamp.sender == sender
            && (stamp.hashed || !kind.hashed)
            && stamp.not_before.is_none_or(|begin| begin <= now.0)
            && kind.accepts(&stamp.vendor, offers)
    };
    let found = tables.unused(&want.recipient.normalized(), now.0.saturating_add(left))?;
    Ok(found.into_iter().filter(fits).min_by_key(|stamp| stamp.value))
}

/// Journals one purchase for all stamps from one account, if the limits allow it.
fn order(
    tables: &mut Tables<'_>,
    wants: &[StampRequest],
    steps: &mut [Step],
    group: &[usize],
    buyer: &PurchaseContext<'_>,
    now: UnixTime,
) -> Result<(), SessionError> {
    let mut purchase = PurchaseRow {
        id: data_encoding::HEXLOWER.encode(&(buyer.random)()?),
        at: now.0,
        account: String::new(),
        vendor: String::new(),
        body: String::new(),
        orders: Vec::with_capacity(group.len()),
        state: PurchaseState::Open,
        fault: None,
    };
    let mut stamps = Vec::with_capacity(group.len());
    for (want, step) in group.iter().filter_map(|&at| Some((wants.get(at)?, steps.get(at)?))) {
        let Step::Buy(kind, offer) = step else { continue };
        if purchase.orders.iter().any(|order: &OrderRow| order.key == want.key.as_str()) {
            continue;
        }
        (purchase.account, purchase.vendor) = (offer.account.clone(), offer.vendor.clone());
        let audience = if kind.hashed {
            // Hashed here, so that the vendor does not learn the recipient.
            Audience::hashed(&want.recipient, (buyer.random)()?)
        } else {
            Audience::Plain(want.recipient.clone())
        };
        stamps.push(Order {
            sender: want.sender.clone(),
            until: kind.days.map(|days| now.plus(i64::from(days) * DAY)),
            value: kind.value,
            ..Order::new(audience)
        });
        purchase.orders.push(OrderRow {
            key: want.key.as_str().to_owned(),
            recipient: want.recipient.normalized(),
            value: kind.value,
            sender: want.sender.as_ref().map(ToString::to_string),
            hashed: kind.hashed,
            adopted: false,
            faulty: false,
        });
    }
    purchase.body = json!(Orders { stamps }).to_string();
    let planned = match capped(tables, &purchase, buyer.settings, now)? {
        Some(error) => Plan::Refused(error),
        None => {
            tables.put_purchase(&purchase)?;
            let at = u64::try_from(purchase.at).unwrap_or(0);
            for order in &purchase.orders {
                tables.put_key(&order.key, &KeyRow::Purchase { at, id: purchase.id.clone() })?;
            }
            Plan::Pending(purchase)
        }
    };
    for &at in group {
        if let Some(step) = steps.get_mut(at) {
            *step = Step::Done(planned.clone());
        }
    }
    Ok(())
}

/// Returns the limit that this purchase would exceed.
fn capped(
    tables: &Tables<'_>,
    purchase: &PurchaseRow,
    settings: &SenderSettings,
    now: UnixTime,
) -> Result<Option<SupplyError>, SessionError> {
    let caps = SpendingLimits {
        hour: settings.credits_per_hour,
        day: settings.credits_per_day,
        recipient: settings.credits_per_recipient,
    };
    let before = tables.purchases(now.0.saturating_sub(DAY))?;
    let counting = before.into_iter().filter(|it| it.state != PurchaseState::Refused);
    let before: Vec<Spending> = counting
        .flat_map(|it| {
            let at = UnixTime(it.at);
            it.orders.into_iter().map(move |order| Spending { at, recipient: order.recipient, credits: order.value })
        })
        .collect();
    let asked: Vec<(String, u64)> =
        purchase.orders.iter().map(|order| (order.recipient.clone(), order.value)).collect();
    Ok(caps.check(&before, &asked, now).err().map(SupplyError::Capped))
}

/// Stores a stamp under the key of its order, or as free if the key no longer waits for it. Returns an error that says
/// what is wrong if the wallet has a stamp with its serial.
fn arrive(
    tables: &mut Tables<'_>,
    purchase: &PurchaseRow,
    order: &OrderRow,
    stamp: WalletStamp,
    now: UnixTime,
) -> Result<Result<(), String>, SessionError> {
    let serial = stamp.serial.as_str().to_owned();
    if tables.stamp(&stamp.vendor, &serial)?.is_some() {
        return Ok(Err(format!("its serial is {serial}, which a stamp in the wallet has")));
    }
    let waits = matches!(tables.key(&order.key)?, Some(KeyRow::Purchase { id, .. }) if id == purchase.id);
    if waits {
        tables.put_key(&order.key, &KeyRow::Stamp { vendor: stamp.vendor.clone(), serial: serial.clone() })?;
    }
    tables.put_stamp(&StampRow {
        stamp: stamp.token.as_str().to_owned(),
        vendor: stamp.vendor,
        serial,
        recipient: order.recipient.clone(),
        value: stamp.value,
        sender: order.sender.clone(),
        hashed: order.hashed,
        not_before: stamp.not_before.map(|time| time.0),
        expires: stamp.expires.map(|time| time.0),
        bought: purchase.at,
        state: if waits { StateRow::Reserved { key: order.key.clone(), at: now.0 } } else { StateRow::Unused },
        named: None,
    })?;
    Ok(Ok(()))
}

#[cfg(test)]
mod tests {
    use super::super::is_overdue;
    use super::*;
    use crate::config::Config;
    use crate::config::user::User;
    use crate::message::address::Address;
    use crate::sender::stamp_request::{ReservationKey, WalletState};
    use crate::stamp::claims::Stamp;
    use crate::stamp::issue;
    use crate::stamp::serial::Serial;
    use crate::stamp::signing::SecretKey;
    use crate::stamp::token::Issuer;
    use std::cell::Cell;
    use std::time::Duration;

    const NOW: UnixTime = UnixTime(1_795_262_400);

    struct Bench {
        folder: tempfile::TempDir,
        wallet: Wallet,
        settings: SenderSettings,
        offers: Vec<Offer>,
        drawn: Cell<u8>,
    }

    fn bench() -> Bench {
        let folder = tempfile::tempdir().unwrap();
        Bench {
            wallet: Wallet::new(&folder.path().join("state"), Duration::from_secs(1)),
            folder,
            settings: Config::parse("", &User::default()).unwrap().sender,
            offers: vec![Offer { account: "shop".into(), vendor: "v.example".into(), price: None }],
            drawn: Cell::new(0),
        }
    }

    fn key(text: &str) -> ReservationKey {
        ReservationKey::from_text(text)
    }

    fn want(name: &str) -> StampRequest {
        StampRequest::new(key(name), Address::parse("bob@y.example").unwrap())
    }

    fn sold(serial: &str, ends: i64) -> WalletStamp {
        let recipient = Address::parse("bob@y.example").unwrap();
        let stamp = Stamp::new(Serial::new(serial).unwrap(), Audience::Plain(recipient.clone()), NOW.plus(ends));
        let issuer = Issuer::new("v.example", "k").unwrap();
        WalletStamp {
            token: issue::issue(&stamp, &issuer, &SecretKey::from_random(&[3; 32])).unwrap(),
            vendor: "v.example".into(),
            serial: stamp.serial,
            recipient,
            value: 1,
            not_before: None,
            expires: stamp.expires,
            bought: NOW,
            state: WalletState::Unused,
        }
    }

    impl Bench {
        fn plan(&self, name: &str, now: UnixTime) -> Plan {
            let random = || {
                self.drawn.set(self.drawn.get() + 1);
                Ok([self.drawn.get(); 16])
            };
            let buyer = PurchaseContext { settings: &self.settings, offers: &self.offers, random: &random };
            self.wallet.plan(&[want(name)], &buyer, now).unwrap().remove(0)
        }

        fn pending(&self, name: &str, now: UnixTime) -> PurchaseRow {
            match self.plan(name, now) {
                Plan::Pending(purchase) => purchase,
                other => panic!("{other:?}"),
            }
        }

        fn held(&self, name: &str, now: UnixTime) -> String {
            match self.plan(name, now) {
                Plan::Held(held) => held.serial.as_str().to_owned(),
                other => panic!("{other:?}"),
            }
        }

        fn arrives(&self, purchase: &PurchaseRow, stamp: WalletStamp) {
            self.wallet.settle(purchase, Outcome::Arrived(vec![Ok(stamp)]), NOW).unwrap();
        }
    }

    #[test]
    fn a_purchase_is_the_same_until_it_is_answered_and_its_stamp_until_it_is_given_back() {
        let bench = bench();
        let purchase = bench.pending("one", NOW);
        assert_eq!(bench.pending("one", NOW.plus(5 * DAY)).id, purchase.id);
        assert_eq!(bench.pending("one", NOW.plus(5 * DAY)).body, purchase.body);
        bench.arrives(&purchase, sold("A", 30 * DAY));
        // A second answer to the same request changes nothing.
        bench.arrives(&purchase, sold("B", 30 * DAY));
        assert_eq!(bench.held("one", NOW), "A");
        assert_ne!(bench.pending("two", NOW).id, purchase.id, "what is kept for one is not for two");
        assert!(bench.wallet.give_back(&key("one")).unwrap());
        assert!(!bench.wallet.give_back(&key("one")).unwrap());
        assert_eq!(bench.held("three", NOW), "A");
        assert!(bench.wallet.commit(&key("three"), NOW).unwrap());
        assert!(bench.wallet.commit(&key("three"), NOW).unwrap());
        assert!(!bench.wallet.give_back(&key("three")).unwrap(), "used is used");
        assert!(!bench.wallet.commit(&key("four"), NOW).unwrap());
        assert_eq!(bench.held("three", NOW), "A");
        bench.pending("one", NOW);
    }

    #[test]
    fn a_stamp_for_which_nobody_waits_any_more_may_be_had_by_others() {
        let bench = bench();
        let purchase = bench.pending("one", NOW);
        assert!(bench.wallet.give_back(&key("one")).unwrap());
        bench.arrives(&purchase, sold("A", 30 * DAY));
        assert_eq!(bench.wallet.held(&key("one")).unwrap(), None);
        assert_eq!(bench.held("two", NOW), "A");
    }

    #[test]
    fn what_may_have_been_paid_and_nobody_waits_for_is_asked_for_before_anything_is_bought() {
        let bench = bench();
        let purchase = bench.pending("one", NOW);
        assert!(bench.wallet.orphans(NOW).unwrap().is_empty());
        assert!(bench.wallet.give_back(&key("one")).unwrap());
        assert_eq!(bench.wallet.orphans(NOW).unwrap()[0].id, purchase.id);
        let adopted = bench.pending("two", NOW.plus(3_600));
        assert_eq!((&adopted.id, &adopted.body), (&purchase.id, &purchase.body));
        assert!(bench.wallet.orphans(NOW).unwrap().is_empty());
        assert_ne!(bench.pending("three", NOW).id, purchase.id, "it is for one of them");
        // A message that was sent without it waits no more.
        assert!(!bench.wallet.commit(&key("two"), NOW).unwrap());
        assert_eq!(bench.pending("four", NOW).id, purchase.id);
        bench.arrives(&purchase, sold("A", 30 * DAY));
        assert_eq!(bench.held("four", NOW), "A");
        // A request cannot be repeated for ever.
        let open = || bench.wallet.purchases().unwrap().iter().filter(|it| it.open).count();
        bench.wallet.sweep(NOW.plus(6 * DAY - 1)).unwrap();
        assert_eq!(open(), 1);
        bench.wallet.sweep(NOW.plus(6 * DAY)).unwrap();
        assert_eq!(open(), 0);
    }

    #[test]
    fn an_order_without_an_answer_delays_others_for_hours_only() {
        let bench = bench();
        let purchase = bench.pending("one", NOW);
        bench.wallet.close(&[(key("one"), false)], NOW).unwrap();
        let hours = |hours: i64| NOW.plus(hours * 3_600);
        assert_eq!(bench.pending("two", hours(3)).id, purchase.id);
        assert!(!is_overdue(&purchase, hours(3)) && is_overdue(&purchase, hours(4)));
        bench.wallet.close(&[(key("two"), false)], hours(4)).unwrap();
        let own = bench.pending("two", hours(4));
        assert_ne!(own.id, purchase.id);
        // It is still asked for, and its stamp is free when it comes.
        assert!(bench.wallet.orphans(hours(4)).unwrap().iter().any(|it| it.id == purchase.id));
        bench.arrives(&purchase, sold("A", 30 * DAY));
        assert_eq!(bench.held("three", hours(5)), "A");
    }

    #[test]
    fn what_was_refused_or_is_too_old_to_ask_for_is_bought_anew() {
        let bench = bench();
        let first = bench.pending("one", NOW);
        bench.wallet.settle(&first, Outcome::Refused, NOW).unwrap();
        let second = bench.pending("one", NOW);
        assert_ne!(first.id, second.id);
        let third = bench.pending("one", NOW.plus(6 * DAY));
        assert_ne!(second.id, third.id);
        // Its answer arrives late, and does not count as paid twice.
        bench.arrives(&second, sold("A", 30 * DAY));
        assert_eq!(bench.pending("one", NOW.plus(6 * DAY)).id, third.id);
    }

    #[test]
    fn what_ends_unused_leaves_and_is_told() {
        let bench = bench();
        bench.arrives(&bench.pending("one", NOW), sold("A", DAY));
        bench.arrives(&bench.pending("two", NOW), sold("B", DAY));
        assert!(bench.wallet.give_back(&key("one")).unwrap());
        assert!(bench.wallet.commit(&key("two"), NOW).unwrap());
        assert!(bench.wallet.sweep(NOW).unwrap().is_empty());
        // Too little time left for mail to take.
        bench.pending("three", NOW.plus(DAY - 3_600));
        let ended = bench.wallet.sweep(NOW.plus(DAY)).unwrap();
        assert_eq!(ended.iter().map(|held| held.serial.as_str()).collect::<Vec<_>>(), ["A"]);
        // The wallet still knows which message used it, but no message gets an expired stamp.
        assert_eq!(bench.wallet.stamps().unwrap().len(), 1);
        bench.pending("two", NOW.plus(20 * DAY));
        assert!(bench.wallet.sweep(NOW.plus(31 * DAY)).unwrap().is_empty());
        assert!(bench.wallet.stamps().unwrap().is_empty());
    }

    #[test]
    fn a_reserved_stamp_that_has_ended_is_replaced() {
        let bench = bench();
        bench.arrives(&bench.pending("one", NOW), sold("A", DAY));
        assert_eq!(bench.held("one", NOW.plus(DAY - 1)), "A");
        bench.pending("one", NOW.plus(DAY));
    }

    #[test]
    fn two_wants_of_one_key_are_one_order() {
        let bench = bench();
        let random = || Ok([9; 16]);
        let buyer = PurchaseContext { settings: &bench.settings, offers: &bench.offers, random: &random };
        let planned = bench.wallet.plan(&[want("one"), want("one")], &buyer, NOW).unwrap();
        let orders: Vec<usize> = planned
            .iter()
            .map(|plan| match plan {
                Plan::Pending(purchase) => purchase.orders.len(),
                other => panic!("{other:?}"),
            })
            .collect();
        assert_eq!(orders, [1, 1]);
    }

    #[test]
    fn a_wallet_that_is_gone_is_no_empty_wallet() {
        let bench = bench();
        bench.pending("one", NOW);
        let path = bench.folder.path().join("state/wallet.redb");
        std::fs::remove_file(&path).unwrap();
        let told = bench.wallet.stamps().unwrap_err().to_string();
        assert!(told.contains("wallet.redb: missing: restore the wallet"), "{told}");
    }
}
