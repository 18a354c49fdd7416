//! Limits on wrong logins of hosts elsewhere, so that no password can be guessed over the network. Pure: the caller
//! gives the time.
//!
//! - A host with too many wrong logins is refused, whatever it sends, for the rest of an hour.
//! - When all hosts together have too many, only hosts with a right login are answered. A stranger who guesses from
//!   many hosts therefore does not lock the user out where the user usually is.
//! - The same wrong login again counts once: a device with an old password sends it for ever. Dovecot does the same.

use std::collections::HashMap;
use std::hash::Hash;
use std::time::{Duration, Instant};

/// Wrong logins of a host, and of all hosts, before further ones are refused.
const HOST_MAX: u32 = 5;
const ALL_MAX: u32 = 100;
/// How long wrong logins count, since the first.
const PERIOD: Duration = Duration::from_secs(3_600);
/// How long a host with a right login is known.
const KNOWN: Duration = Duration::from_secs(30 * 86_400);
/// Most hosts that are remembered of each kind. Beyond, the oldest is forgotten.
const HOSTS_MAX: usize = 10_000;

/// Hash of a user name and a password.
pub(super) type LoginHash = [u8; 32];

/// Wrong logins since a moment.
#[derive(Debug)]
struct Wrong {
    since: Instant,
    count: u32,
    last: LoginHash,
}

/// Logins of hosts `H`.
#[derive(Debug)]
pub(super) struct LoginLimits<H> {
    wrong: HashMap<H, Wrong>,
    all: Option<Wrong>,
    /// Hosts with a right login, and when that was.
    known: HashMap<H, Instant>,
}

impl<H> Default for LoginLimits<H> {
    fn default() -> Self {
        Self { wrong: HashMap::new(), all: None, known: HashMap::new() }
    }
}

impl Wrong {
    fn add(&mut self, login: LoginHash, now: Instant) {
        if now.duration_since(self.since) >= PERIOD {
            (self.since, self.count) = (now, 0);
        } else if self.last == login {
            return;
        }
        (self.count, self.last) = (self.count.saturating_add(1), login);
    }

    /// Returns how long further logins are refused, if they are.
    fn left(&self, most: u32, now: Instant) -> Option<Duration> {
        let left = PERIOD.saturating_sub(now.duration_since(self.since));
        (self.count >= most && !left.is_zero()).then_some(left)
    }
}

impl<H: Copy + Eq + Hash> LoginLimits<H> {
    /// Returns how long logins of this host are refused; `None` if one may be tried.
    pub(super) fn refused(&self, host: H, now: Instant) -> Option<Duration> {
        let own = self.wrong.get(&host).and_then(|wrong| wrong.left(HOST_MAX, now));
        let is_known = self.known.get(&host).is_some_and(|since| now.duration_since(*since) < KNOWN);
        own.or_else(|| self.all.as_ref().filter(|_| !is_known)?.left(ALL_MAX, now))
    }

    /// Counts a right login.
    pub(super) fn right(&mut self, host: H, now: Instant) {
        self.wrong.remove(&host);
        make_room(&mut self.known, &host, |since| *since);
        self.known.insert(host, now);
    }

    /// Counts a wrong login.
    pub(super) fn wrong(&mut self, host: H, login: LoginHash, now: Instant) {
        let first = || Wrong { since: now, count: 0, last: [0; 32] };
        self.all.get_or_insert_with(first).add(login, now);
        make_room(&mut self.wrong, &host, |wrong| wrong.since);
        self.wrong.entry(host).or_insert_with(first).add(login, now);
    }
}

/// Forgets the oldest host, if there are too many for one more.
fn make_room<H: Copy + Eq + Hash, T>(hosts: &mut HashMap<H, T>, host: &H, since: impl Fn(&T) -> Instant) {
    if hosts.len() >= HOSTS_MAX
        && !hosts.contains_key(host)
        && let Some(oldest) = hosts.iter().min_by_key(|(_, it)| since(it)).map(|(host, _)| *host)
    {
        hosts.remove(&oldest);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn login(number: u32) -> LoginHash {
        let mut login = [0xff; 32];
        login[..4].copy_from_slice(&number.to_be_bytes());
        login
    }

    #[test]
    fn a_host_that_guesses_is_refused_for_an_hour() {
        let now = Instant::now();
        let mut limits = LoginLimits::default();
        for number in 0..HOST_MAX {
            assert_eq!(limits.refused(1, now), None, "{number}");
            limits.wrong(1, login(number), now);
        }
        assert_eq!((limits.refused(1, now), limits.refused(2, now)), (Some(PERIOD), None));
        assert_eq!(limits.refused(1, now + PERIOD), None);
        // A right login in between forgives; an old password that a device repeats is one.
        for number in 0..HOST_MAX - 1 {
            limits.wrong(2, login(number), now);
        }
        limits.right(2, now);
        for _ in 0..1_000 {
            limits.wrong(2, login(7), now);
        }
        assert_eq!(limits.refused(2, now), None);
    }

    #[test]
    fn guesses_from_many_hosts_refuse_strangers_only() {
        let now = Instant::now();
        let mut limits = LoginLimits::default();
        limits.right(0, now);
        for number in 0..ALL_MAX {
            assert_eq!(limits.refused(1_000 + number, now), None);
            limits.wrong(1_000 + number, login(number), now);
        }
        assert_eq!((limits.refused(1, now), limits.refused(0, now)), (Some(PERIOD), None));
        assert_eq!(limits.refused(1, now + PERIOD), None);
        assert_eq!(limits.refused(0, now + KNOWN), None, "the hour is over");
    }

    #[test]
    fn the_hosts_that_are_remembered_have_a_limit() {
        let now = Instant::now();
        let mut limits = LoginLimits::default();
        for number in 0..=u32::try_from(HOSTS_MAX).unwrap() {
            let now = now + Duration::from_millis(u64::from(number));
            limits.wrong(number, login(number), now);
            limits.right(number + 1_000_000, now);
        }
        assert_eq!((limits.wrong.len(), limits.known.len()), (HOSTS_MAX, HOSTS_MAX));
        assert!(!limits.wrong.contains_key(&0) && !limits.known.contains_key(&1_000_000));
    }
}
