//! Rate limiter: a token bucket for each API key and each address, filled at a steady rate.
//!
//! Buckets are kept in memory only and dropped when full. Nothing that could be read later records which clients were
//! here.

use super::Limits;
use crate::server::http::listener::network;
use std::collections::HashMap;
use std::hash::Hash;
use std::net::IpAddr;
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

/// Most buckets at once; beyond this the full ones are dropped, and those that were used longest ago.
const MOST: usize = 50_000;
/// Buckets that are dropped at once where all are in use, so that not every new address searches for the oldest.
const DROPPED: usize = MOST / 10;

/// Rate limits of the service.
#[derive(Debug)]
pub struct RateLimiter {
    keys: Buckets<[u8; 32]>,
    addresses: Buckets<IpAddr>,
    wrong: Buckets<IpAddr>,
}

impl RateLimiter {
    /// Creates the limiter. Bursts may last for two seconds; those of an address for six, enough for a page and its
    /// files.
    #[must_use]
    pub fn new(limits: &Limits) -> Self {
        Self {
            keys: Buckets::new(f64::from(limits.key_rate), 2.0),
            addresses: Buckets::new(f64::from(limits.address_rate), 6.0),
            wrong: Buckets::new(f64::from(limits.wrong_rate) / 60.0, 60.0),
        }
    }

    /// Takes a token for a request with this key, given by its hash.
    ///
    /// # Errors
    /// How long to wait.
    pub fn key(&self, hash: [u8; 32]) -> Result<(), Duration> {
        self.keys.take(hash, Instant::now())
    }

    /// Takes a token for a request from this address.
    ///
    /// # Errors
    /// How long to wait.
    pub fn address(&self, address: IpAddr) -> Result<(), Duration> {
        self.addresses.take(network(address), Instant::now())
    }

    /// Returns whether this address has a token left for what may be wrong. Takes none.
    ///
    /// # Errors
    /// How long to wait.
    pub fn may_fail(&self, address: IpAddr) -> Result<(), Duration> {
        self.wrong.look(network(address), Instant::now())
    }

    /// Takes a token for a wrong key, code or voucher from this address.
    ///
    /// # Errors
    /// How long to wait.
    pub fn record_failure(&self, address: IpAddr) -> Result<(), Duration> {
        self.wrong.take(network(address), Instant::now())
    }
}

#[derive(Debug)]
struct Buckets<K> {
    /// Tokens a second.
    rate: f64,
    /// Tokens in a full bucket.
    full: f64,
    buckets: Mutex<HashMap<K, Bucket>>,
}

#[derive(Debug)]
struct Bucket {
    tokens: f64,
    at: Instant,
}

impl<K: Hash + Eq> Buckets<K> {
    fn new(rate: f64, seconds: f64) -> Self {
        Self { rate, full: (rate * seconds).max(1.0), buckets: Mutex::default() }
    }

    /// Takes a token.
    fn take(&self, who: K, now: Instant) -> Result<(), Duration> {
        if self.rate <= 0.0 {
            return Ok(());
        }
        let mut buckets = self.buckets.lock().unwrap_or_else(PoisonError::into_inner);
        if buckets.len() >= MOST {
            buckets.retain(|_, bucket| self.filled(bucket, now) < self.full);
            if buckets.len() >= MOST {
                let mut used: Vec<Instant> = buckets.values().map(|bucket| bucket.at).collect();
                let (_, oldest, _) = used.select_nth_unstable(DROPPED);
                let (oldest, mut left) = (*oldest, DROPPED);
                buckets.retain(|_, bucket| {
                    let stays = bucket.at > oldest || left == 0;
                    left -= usize::from(!stays);
                    stays
                });
            }
        }
        let bucket = buckets.entry(who).or_insert(Bucket { tokens: self.full, at: now });
        *bucket = Bucket { tokens: self.filled(bucket, now), at: now };
        self.wait(bucket.tokens)?;
        bucket.tokens -= 1.0;
        Ok(())
    }

    /// Returns whether a token is left.
    fn look(&self, who: K, now: Instant) -> Result<(), Duration> {
        let buckets = self.buckets.lock().unwrap_or_else(PoisonError::into_inner);
        let Some(bucket) = buckets.get(&who).filter(|_| self.rate > 0.0) else { return Ok(()) };
        self.wait(self.filled(bucket, now))
    }

    fn wait(&self, tokens: f64) -> Result<(), Duration> {
        if tokens < 1.0 { Err(Duration::from_secs_f64((1.0 - tokens) / self.rate)) } else { Ok(()) }
    }

    fn filled(&self, bucket: &Bucket, now: Instant) -> f64 {
        (bucket.tokens + now.saturating_duration_since(bucket.at).as_secs_f64() * self.rate).min(self.full)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_bucket_lets_its_burst_through_and_then_its_rate() {
        let buckets = Buckets::new(10.0, 2.0);
        let begin = Instant::now();
        let taken = |at: f64| buckets.take("a", begin + Duration::from_secs_f64(at));
        assert!((0..20).all(|_| taken(0.0).is_ok()));
        let wait = taken(0.0).unwrap_err();
        assert!((wait.as_secs_f64() - 0.1).abs() < 0.001, "{wait:?}");
        assert!(taken(0.11).is_ok());
        assert!(taken(0.12).is_err());
        let look = |who, at: f64| buckets.look(who, begin + Duration::from_secs_f64(at));
        assert!((0..100).all(|_| look("a", 0.15).is_err() && look("a", 0.25).is_ok() && look("c", 0.0).is_ok()));
        // Without requests the bucket never holds more than its burst.
        assert_eq!((0..100).filter(|_| taken(3_600.0).is_ok()).count(), 20);
        assert!(buckets.take("b", begin).is_ok(), "others are not held up");
    }

    #[test]
    fn a_rate_of_zero_is_none() {
        let now = Instant::now();
        let none = Buckets::new(0.0, 2.0);
        assert!((0..1_000).all(|_| none.take(1, now).is_ok()));
    }

    #[test]
    fn memory_is_bounded() {
        let buckets = Buckets::new(1.0, 2.0);
        let now = Instant::now();
        for who in 0..2 * MOST {
            assert!(buckets.take(who, now).is_ok());
        }
        assert!(buckets.buckets.lock().unwrap().len() <= MOST);
    }

    #[test]
    fn many_addresses_do_not_empty_the_rate_of_another() {
        let buckets = Buckets::new(0.001, 2_000.0);
        let begin = Instant::now();
        let at = |number: usize| begin + Duration::from_micros(number as u64);
        // An address that is refused, and stays refused while it goes on.
        assert!(buckets.take(usize::MAX, begin).is_ok() && buckets.take(usize::MAX, begin).is_ok());
        for who in 0..2 * MOST {
            let _ = buckets.take(who, at(who));
            if who % 1_000 == 0 {
                assert!(buckets.take(usize::MAX, at(who)).is_err(), "{who}");
            }
        }
    }
}
