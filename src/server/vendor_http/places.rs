//! Places of payments that wait for a mint. A network has few of them, so that others can pay meanwhile.

use super::own_inbox::network;
use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::{Arc, Mutex, PoisonError};

/// Most places.
pub(super) const MOST: usize = 8;
/// Most places of one network: /24 of IPv4, /48 of IPv6.
const EACH: usize = 2;

/// The places, by network. Clones share them.
#[derive(Clone, Debug, Default)]
pub(super) struct Places(Arc<Mutex<HashMap<IpAddr, usize>>>);

/// Place that is free again when this is dropped.
#[derive(Debug)]
pub(super) struct Place {
    places: Places,
    network: IpAddr,
}

impl Places {
    /// Takes a place for this address, if there is one.
    pub(super) fn take(&self, address: IpAddr) -> Option<Place> {
        let network = network(address);
        let mut taken = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if taken.values().sum::<usize>() >= MOST {
            return None;
        }
        let its = taken.entry(network).or_default();
        (*its < EACH).then(|| {
            *its += 1;
            Place { places: self.clone(), network }
        })
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let mut taken = self.places.0.lock().unwrap_or_else(PoisonError::into_inner);
        match taken.get_mut(&self.network) {
            Some(its) if *its > 1 => *its -= 1,
            _ => drop(taken.remove(&self.network)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_network_leaves_places_to_others() {
        let places = Places::default();
        let take = |address: &str| places.take(address.parse().unwrap());
        let mut held = vec![take("192.0.2.1").unwrap(), take("192.0.2.2").unwrap()];
        assert!(take("192.0.2.3").is_none());
        for number in 0..6 {
            held.push(take(&format!("2001:db8:{number}::1")).unwrap());
        }
        assert!(take("198.51.100.1").is_none(), "all are taken");
        held.remove(0);
        assert!(take("192.0.2.3").is_some());
        held.clear();
        assert!(places.0.lock().unwrap().is_empty());
    }
}
