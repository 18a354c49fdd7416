//! Payment by work: a visitor's browser computes Argon2id (RFC 9106) over a challenge, in rounds that do not depend on
//! each other. It sends the results of all rounds. Two of them, which it cannot foresee, are computed again here.
//!
//! - A visitor who leaves out a part of the rounds is caught more often than that part is worth. With a part `f` of the
//!   rounds, both checks pass with a chance of `f²`, so a stamp costs `1/f` times the whole work.
//! - A challenge is bound to a purchase and its order, and lives ten minutes. It can be tried once. It is recognized by a
//!   secret of this process, so none is tried again after a restart.
//! - The results are looked at only behind a SHA-256 proof over them, which costs its sender some 65,000 hashes.
//! - One result is checked at a time. A few wait, and the rest are told to come again.

use super::{Begun, Challenge, Completion, Due, Paid, Payment, PaymentError, Refund, random};
use crate::accounting::work::{Gift, ROUNDS_MAX};
use crate::ledger::error::LedgerError;
use crate::time::UnixTime;
use argon2::{Algorithm, Argon2, Block, Params, Version};
use data_encoding::BASE64URL_NOPAD;
use sha2::{Digest, Sha256};
use std::collections::HashMap;
use std::sync::{Mutex, PoisonError};
use zeroize::Zeroizing;

/// Memory of a round in KiB, and its passes: the second recommendation of RFC 9106 section 4, with one lane, since
/// threads of a browser need another policy.
pub const MEMORY_KIB: u32 = 64 * 1024;
/// Passes of a round.
pub const PASSES: u32 = 3;
/// Bytes of a round's result.
pub const RESULT: usize = 8;
/// Zero bits at the beginning of the SHA-256 proof.
pub const PROOF_BITS: u32 = 16;
/// Lifetime of a challenge, in seconds.
pub const LIFETIME: i64 = 600;
/// Results that wait for their check, the one that is checked included.
const QUEUE: usize = 4;
/// Most challenges that are remembered as tried.
const TRIED: usize = 100_000;

/// Bytes of a challenge: random ones, the time, and the code by which it is recognized.
const RANDOM: usize = 16;
const TIME: usize = 8;
const MARK: usize = 16;

/// Payment by work.
pub struct Work {
    secret: Zeroizing<[u8; 32]>,
    /// Random bytes of the challenges that were tried, to the time of their end.
    tried: Mutex<HashMap<[u8; RANDOM], UnixTime>>,
    checking: Mutex<()>,
    waiting: Mutex<usize>,
}

impl std::fmt::Debug for Work {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Work")
    }
}

impl Work {
    /// Creates the method, with a new secret.
    ///
    /// # Errors
    /// When the system has no random numbers.
    pub fn new() -> Result<Self, LedgerError> {
        let secret = random::<32>()?;
        Ok(Self { secret, tried: Mutex::default(), checking: Mutex::default(), waiting: Mutex::default() })
    }

    /// Creates a challenge for a purchase.
    ///
    /// # Errors
    /// When the system has no random numbers.
    pub fn challenge(&self, due: &Due, rounds: u32, now: UnixTime) -> Result<Challenge, PaymentError> {
        let mut bytes = [0; RANDOM + TIME + MARK];
        let (random_part, rest) = bytes.split_at_mut(RANDOM);
        let (time, mark) = rest.split_at_mut(TIME);
        random_part.copy_from_slice(&random::<RANDOM>()?[..]);
        time.copy_from_slice(&now.0.to_be_bytes());
        mark.copy_from_slice(&self.mark(random_part, time, due, rounds));
        Ok(Challenge { nonce: BASE64URL_NOPAD.encode(&bytes), rounds })
    }

    /// Computes the code of a challenge. All parts have a fixed length, so the hash is safe against length extension.
    fn mark(&self, random_part: &[u8], time: &[u8], due: &Due, rounds: u32) -> [u8; MARK] {
        let hash = Sha256::new().chain_update(*self.secret).chain_update(random_part).chain_update(time);
        let hash: [u8; 32] = hash.chain_update(rounds.to_be_bytes()).chain_update(due.hash().0).finalize().into();
        let mut mark = [0; MARK];
        mark.copy_from_slice(hash.split_at(MARK).0);
        mark
    }

    /// Checks the results of a visitor: `nonce.counter.results`, the results in base64url.
    ///
    /// # Errors
    /// [`PaymentError::Evidence`]; [`PaymentError::Busy`], after which the same results may be sent again.
    pub fn check(&self, due: &Due, rounds: u32, evidence: &str, now: UnixTime) -> Result<(), PaymentError> {
        let wrong = || PaymentError::Evidence("work", "The proof of work is wrong.".to_owned());
        let again = |what: &str| PaymentError::Evidence("work", format!("The work {what}. Please try once more."));
        let mut parts = evidence.split('.');
        let (Some(nonce), Some(counter), Some(results), None) =
            (parts.next(), parts.next(), parts.next(), parts.next())
        else {
            return Err(wrong());
        };
        let bytes = BASE64URL_NOPAD.decode(nonce.as_bytes()).map_err(|_| wrong())?;
        if bytes.len() != RANDOM + TIME + MARK || counter.len() > 20 {
            return Err(wrong());
        }
        let (random_part, rest) = bytes.split_at(RANDOM);
        let (time, mark) = rest.split_at(TIME);
        let issued = UnixTime(i64::from_be_bytes(time.try_into().map_err(|_| wrong())?));
        if !(0..=LIFETIME).contains(&now.since(issued)) {
            return Err(again("took longer than ten minutes"));
        }
        // Comparing hashes leaks nothing about the code through time.
        if Sha256::digest(mark) != Sha256::digest(self.mark(random_part, time, due, rounds)) {
            return Err(again("was for another order, or from before the shop was started again"));
        }
        let each = BASE64URL_NOPAD.decode(results.as_bytes()).map_err(|_| wrong())?;
        if each.len() != RESULT * usize::try_from(rounds).unwrap_or(usize::MAX) {
            return Err(wrong());
        }
        if !has_zero_bits(&Sha256::digest(evidence), PROOF_BITS) {
            return Err(wrong());
        }
        let _place = self.wait()?;
        let _one = self.checking.lock().unwrap_or_else(PoisonError::into_inner);
        let mut salt = [0; RANDOM];
        salt.copy_from_slice(random_part);
        self.try_once(salt, issued.plus(LIFETIME), now)?;
        // Given back after the check: most of the time there is none.
        let mut blocks = vec![Block::default(); usize::try_from(MEMORY_KIB).unwrap_or_default()];
        // Different ones, from a random first on.
        let all = u64::from(rounds.max(1));
        let draw = |below: u64| random::<8>().map(|draw| u64::from_be_bytes(*draw) % below.max(1));
        let first = draw(all)?;
        let second = (first + 1 + draw(all - 1)?) % all;
        for at in [first, second].map(|at| u32::try_from(at).unwrap_or_default()) {
            let expected = each.chunks(RESULT).nth(usize::try_from(at).unwrap_or_default());
            if expected != round(nonce, &salt, at, &mut blocks).as_ref().map(|result| &result[..]) {
                return Err(wrong());
            }
        }
        Ok(())
    }

    /// Takes a place in the queue, which has few.
    fn wait(&self) -> Result<Waiting<'_>, PaymentError> {
        let mut waiting = self.waiting.lock().unwrap_or_else(PoisonError::into_inner);
        if *waiting >= QUEUE {
            return Err(PaymentError::Busy);
        }
        *waiting += 1;
        Ok(Waiting(&self.waiting))
    }

    /// Marks a challenge as tried.
    fn try_once(&self, name: [u8; RANDOM], end: UnixTime, now: UnixTime) -> Result<(), PaymentError> {
        let mut tried = self.tried.lock().unwrap_or_else(PoisonError::into_inner);
        if tried.len() >= TRIED {
            tried.retain(|_, end| *end >= now);
        }
        if tried.len() >= TRIED {
            return Err(PaymentError::Busy);
        }
        match tried.insert(name, end) {
            None => Ok(()),
            Some(_) => {
                let text = "This proof of work was sent before. Please try once more.";
                Err(PaymentError::Evidence("work", text.to_owned()))
            }
        }
    }
}

/// Place in the queue, which is left when this is dropped.
struct Waiting<'a>(&'a Mutex<usize>);

impl Drop for Waiting<'_> {
    fn drop(&mut self) {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) -= 1;
    }
}

/// Computes a round: Argon2id of `nonce.number`, with the first bytes of the nonce as the salt.
fn round(nonce: &str, salt: &[u8; RANDOM], number: u32, blocks: &mut [Block]) -> Option<[u8; RESULT]> {
    let params = Params::new(MEMORY_KIB, PASSES, 1, Some(RESULT)).ok()?;
    let mut result = [0; RESULT];
    let argon2 = Argon2::new(Algorithm::Argon2id, Version::V0x13, params);
    argon2.hash_password_into_with_memory(format!("{nonce}.{number}").as_bytes(), salt, &mut result, blocks).ok()?;
    Some(result)
}

fn has_zero_bits(hash: &[u8], bits: u32) -> bool {
    let mut zeros = 0;
    for byte in hash {
        zeros += byte.leading_zeros();
        if *byte != 0 {
            break;
        }
    }
    zeros >= bits
}

/// Payment by work, at the difficulty of the vendor's terms.
#[derive(Debug)]
pub struct WorkPayment<'a> {
    pub work: &'a Work,
    pub rounds: u32,
}

impl Payment for WorkPayment<'_> {
    fn begin(&self, due: &Due, _: Option<&str>, now: UnixTime) -> Result<Begun, PaymentError> {
        self.work.challenge(due, self.rounds.min(ROUNDS_MAX), now).map(Begun::Work)
    }

    fn complete(&self, due: &Due, evidence: &str, now: UnixTime) -> Result<Completion, PaymentError> {
        self.work.check(due, self.rounds.min(ROUNDS_MAX), evidence, now)?;
        Ok(Completion::Paid(Paid::Given(Gift::Work)))
    }

    fn refund(&self, _: &Due, _: &Paid) -> Refund {
        Refund::Never
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::accounting::order::Order;
    use crate::stamp::audience::Audience;

    const NOW: UnixTime = UnixTime(1_795_262_400);
    const ROUNDS: u32 = 2;

    fn due(purchase: &str) -> Due {
        let order = Order { value: 0, ..Order::new(Audience::parse("joe@x.example").unwrap()) };
        Due { purchase: purchase.into(), order, cost: "0 EUR".parse().unwrap() }
    }

    /// Computes all rounds but those from `left_out` on, and the SHA-256 proof, as a browser does.
    fn solved(challenge: &Challenge, left_out: u32) -> String {
        let nonce = &challenge.nonce;
        let mut salt = [0; RANDOM];
        salt.copy_from_slice(&BASE64URL_NOPAD.decode(nonce.as_bytes()).unwrap()[..RANDOM]);
        let mut blocks = vec![Block::default(); MEMORY_KIB as usize];
        let each = (0..challenge.rounds).flat_map(|number| match number < left_out {
            true => round(nonce, &salt, number, &mut blocks).unwrap(),
            false => [0; RESULT],
        });
        let results = BASE64URL_NOPAD.encode(&each.collect::<Vec<u8>>());
        proven(nonce, &results)
    }

    fn proven(nonce: &str, results: &str) -> String {
        let texts = (0_u64..).map(|counter| format!("{nonce}.{counter}.{results}"));
        texts.into_iter().find(|text| has_zero_bits(&Sha256::digest(text), PROOF_BITS)).unwrap()
    }

    fn refused(result: Result<(), PaymentError>) -> String {
        match result.unwrap_err() {
            PaymentError::Evidence("work", text) => text,
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn work_is_accepted_once_and_for_its_purchase_alone() {
        let work = Work::new().unwrap();
        let challenge = work.challenge(&due("a"), ROUNDS, NOW).unwrap();
        let evidence = solved(&challenge, ROUNDS);
        let check = |due: &Due, rounds, now| work.check(due, rounds, &evidence, now);
        let other = Due { order: Order { value: 1, ..due("a").order }, ..due("a") };
        for (wrong, why) in [
            (check(&due("b"), ROUNDS, NOW), "another order"),
            (check(&other, ROUNDS, NOW), "another order"),
            (check(&due("a"), 3, NOW), "another order"),
            (check(&due("a"), ROUNDS, NOW.plus(LIFETIME + 1)), "longer than ten minutes"),
            (check(&due("a"), ROUNDS, NOW.plus(-1)), "longer than ten minutes"),
            (Work::new().unwrap().check(&due("a"), ROUNDS, &evidence, NOW), "started again"),
        ] {
            let said = refused(wrong);
            assert!(said.contains(why) && said.contains("Please try once more"), "{said}");
        }
        check(&due("a"), ROUNDS, NOW.plus(LIFETIME)).unwrap();
        assert!(refused(check(&due("a"), ROUNDS, NOW)).contains("was sent before"));
    }

    #[test]
    fn wrong_work_is_refused_and_spends_its_challenge() {
        let work = Work::new().unwrap();
        let challenge = work.challenge(&due("a"), ROUNDS, NOW).unwrap();
        let evidence = solved(&challenge, 0);
        assert_eq!(refused(work.check(&due("a"), ROUNDS, &evidence, NOW)), "The proof of work is wrong.");
        assert!(refused(work.check(&due("a"), ROUNDS, &evidence, NOW)).contains("was sent before"));
        // What has no SHA-256 proof spends nothing, and costs no computation.
        let challenge = work.challenge(&due("a"), ROUNDS, NOW).unwrap();
        let good = solved(&challenge, ROUNDS);
        let (nonce, rest) = good.split_once('.').unwrap();
        let results = rest.split_once('.').unwrap().1;
        let bare = format!("{nonce}.x.{results}");
        for wrong in ["", ".", "a.b.c", "a.b.c.d", &bare, nonce, &good.replace('.', "!"), &format!("{good}.")] {
            refused(work.check(&due("a"), ROUNDS, wrong, NOW));
        }
        work.check(&due("a"), ROUNDS, &good, NOW).unwrap();
    }

    #[test]
    fn a_full_queue_turns_results_away_and_spends_nothing() {
        let work = Work::new().unwrap();
        let challenge = work.challenge(&due("a"), ROUNDS, NOW).unwrap();
        let evidence = solved(&challenge, ROUNDS);
        let places: Vec<_> = (0..QUEUE).map(|_| work.wait().unwrap()).collect();
        let busy = work.check(&due("a"), ROUNDS, &evidence, NOW);
        assert!(matches!(busy, Err(PaymentError::Busy)), "{busy:?}");
        drop(places);
        work.check(&due("a"), ROUNDS, &evidence, NOW).unwrap();
    }

    #[test]
    fn a_part_of_the_work_seldom_passes() {
        let work = Work::new().unwrap();
        let (mut passed, tries) = (0, 3);
        for _ in 0..tries {
            let challenge = work.challenge(&due("a"), 8, NOW).unwrap();
            let part = work.check(&due("a"), 8, &solved(&challenge, 1), NOW);
            passed += usize::from(part.is_ok());
        }
        // An eighth of the work passes once in 64 times.
        assert!(passed < tries, "{passed} of {tries}");
    }
}
