//! Vendor for one recipient, who is its operator: the price of the mailbox, and the parts of the caps for networks.
//!
//! The parts are kept in memory only: no file says which networks were here.

use crate::accounting::work::{Gift, share_of_network};
use crate::config::paths::{CliOverrides, Paths, PathsError};
use crate::message::address::Address;
use crate::time::UnixTime;
use std::collections::HashMap;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::sync::{Mutex, PoisonError};

const DAY: i64 = 86_400;
/// Most networks that are remembered.
const MOST: usize = 50_000;

/// What the user's configuration says of the recipient's mailbox.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum AskedPrice {
    /// The price of a message.
    Known(u64),
    /// There is no configuration: the service has a user of its own.
    NoConfiguration,
    /// It does not have the address.
    Foreign,
}

/// Returns the price of the recipient's mailbox, as the configuration says now.
///
/// # Errors
/// A configuration that cannot be read.
pub fn asked_price(given: &CliOverrides, recipient: &str) -> Result<AskedPrice, PathsError> {
    let (config, places) = Paths::read(given)?;
    let address = Address::parse(recipient).ok();
    let mailbox = config.mailboxes.iter().find(|it| address.as_ref().is_some_and(|its| it.pattern.matches(its)));
    Ok(match mailbox {
        Some(mailbox) => AskedPrice::Known(mailbox.price),
        None if places.config.is_none() => AskedPrice::NoConfiguration,
        None => AskedPrice::Foreign,
    })
}

/// Stamps without value, and codes, that networks got within a day.
#[derive(Debug, Default)]
pub struct NetworkShares(Mutex<HashMap<(bool, IpAddr), Vec<UnixTime>>>);

impl NetworkShares {
    /// Counts one for the network of this address, of its part of the cap of a day.
    ///
    /// # Errors
    /// The time from which the network gets more.
    pub fn take(&self, gift: Gift, address: IpAddr, cap: u32, now: UnixTime) -> Result<(), UnixTime> {
        let mut networks = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let key = (gift == Gift::Work, network(address));
        if networks.len() >= MOST && !networks.contains_key(&key) {
            networks.retain(|_, times| times.iter().any(|at| counts(*at, now)));
            if networks.len() >= MOST {
                return Err(now.plus(3_600));
            }
        }
        let times = networks.entry(key).or_default();
        times.retain(|at| counts(*at, now));
        if let Some(after) = used_up(times, cap, now) {
            return Err(after);
        }
        times.push(now);
        Ok(())
    }

    /// Returns from when the network gets more, if it has got its part.
    #[must_use]
    pub fn used_up(&self, gift: Gift, address: IpAddr, cap: u32, now: UnixTime) -> Option<UnixTime> {
        let networks = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        networks.get(&(gift == Gift::Work, network(address))).and_then(|times| used_up(times, cap, now))
    }

    /// Takes one back that was counted at this time, and not given.
    pub fn give_back(&self, gift: Gift, address: IpAddr, at: UnixTime) {
        let mut networks = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(times) = networks.get_mut(&(gift == Gift::Work, network(address)))
            && let Some(position) = times.iter().rposition(|its| *its == at)
        {
            times.remove(position);
        }
    }
}

/// Returns whether what was given at `at` counts.
fn counts(at: UnixTime, now: UnixTime) -> bool {
    (0..DAY).contains(&now.since(at))
}

/// Returns from when a network with these times gets more, if it has got its part of the cap of a day.
fn used_up(times: &[UnixTime], cap: u32, now: UnixTime) -> Option<UnixTime> {
    let most = usize::try_from(share_of_network(cap)).unwrap_or(usize::MAX);
    let counted: Vec<UnixTime> = times.iter().copied().filter(|at| counts(*at, now)).collect();
    // The cap may have been higher: less than the part is left when this one counts no more.
    let last = counted.len().checked_sub(most)?;
    counted.get(last).map(|at| at.plus(DAY))
}

/// Returns the network of an address that has one part: /24 of IPv4, /48 of IPv6.
pub(super) fn network(address: IpAddr) -> IpAddr {
    match address.to_canonical() {
        IpAddr::V4(four) => {
            let [a, b, c, _] = four.octets();
            Ipv4Addr::new(a, b, c, 0).into()
        }
        IpAddr::V6(six) => {
            let [a, b, c, ..] = six.segments();
            Ipv6Addr::new(a, b, c, 0, 0, 0, 0, 0).into()
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: UnixTime = UnixTime(1_795_262_400);

    #[test]
    fn a_network_gets_a_tenth_in_a_day() {
        let shares = NetworkShares::default();
        let take = |address: &str, at: i64| shares.take(Gift::Work, address.parse().unwrap(), 20, NOW.plus(at));
        assert_eq!(take("192.0.2.1", 0), Ok(()));
        assert_eq!(take("192.0.2.200", 5), Ok(()));
        assert_eq!(take("192.0.2.3", 10), Err(NOW.plus(DAY)));
        // The first of the two frees a place a day after it was given, whenever that is asked.
        let used_up = |cap, at| shares.used_up(Gift::Work, "192.0.2.9".parse().unwrap(), cap, NOW.plus(at));
        assert_eq!([20, 30, 10].map(|cap| used_up(cap, 40)), [Some(NOW.plus(DAY)), None, Some(NOW.plus(DAY + 5))]);
        assert_eq!((used_up(20, DAY - 1), used_up(20, DAY)), (Some(NOW.plus(DAY)), None));
        assert_eq!(take("192.0.3.1", 10), Ok(()));
        assert_eq!(shares.take(Gift::Code, "192.0.2.1".parse().unwrap(), 20, NOW), Ok(()));
        assert_eq!(take("2001:db8:1:ffff::1", 0), Ok(()));
        assert_eq!(take("2001:db8:1::2", 0), Ok(()));
        assert!(take("2001:db8:1:2::3", 0).is_err());
        assert_eq!(take("2001:db8:2::1", 0), Ok(()));
        shares.give_back(Gift::Work, "192.0.2.77".parse().unwrap(), NOW.plus(5));
        assert_eq!(take("192.0.2.3", 20), Ok(()));
        assert!(take("192.0.2.3", 30).is_err());
        assert_eq!(take("192.0.2.3", DAY), Ok(()));
    }

    #[test]
    fn memory_of_networks_is_bounded() {
        let shares = NetworkShares::default();
        for number in 0..u32::try_from(MOST).unwrap() + 100 {
            let _ = shares.take(Gift::Work, Ipv4Addr::from(number << 8).into(), 20, NOW);
        }
        assert_eq!(shares.0.lock().unwrap().len(), MOST);
        assert_eq!(shares.take(Gift::Work, Ipv4Addr::from(u32::MAX).into(), 20, NOW.plus(DAY)), Ok(()));
        assert_eq!(shares.0.lock().unwrap().len(), 1);
    }
}
