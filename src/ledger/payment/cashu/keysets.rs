//! Keysets of mints, kept in memory, so that most tokens are judged before their mint is asked.
//!
//! - A list of keysets is kept for an hour. A token of an unknown one has it read again, once a minute for each mint.
//! - Keys are those of their keyset: its name is their hash (NUT-02). They never change, and are kept.
//! - One request reads for all that wait, and all share its failure.

use super::blind::Point;
use super::mint::{Keys, Keyset, Mint, MintError};
use data_encoding::HEXLOWER;
use sha2::{Digest, Sha256};
use std::collections::BTreeMap;
use std::fmt::Write;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

/// How long a list of keysets is kept.
const KEPT: Duration = Duration::from_secs(3_600);
/// Shortest time between two readings of lists that seemed to be too old.
const DOUBTED: Duration = Duration::from_secs(60);
/// Most keysets of a mint whose keys are kept.
const MOST: usize = 32;

/// Whether a list that was kept is good enough.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Trust {
    /// It is.
    Kept,
    /// It lacks something, or the mint refused what followed from it.
    Doubted,
}

/// Keysets of the mints that were asked.
#[derive(Debug, Default)]
pub struct Keysets(Mutex<BTreeMap<String, Arc<Mutex<Known>>>>);

#[derive(Debug, Default)]
struct Known {
    list: Arc<Vec<Keyset>>,
    read: Option<Instant>,
    /// When it was read for a doubt.
    doubted: Option<Instant>,
    failed: Option<(Instant, MintError)>,
    keys: BTreeMap<String, Arc<Keys>>,
}

impl Keysets {
    fn of(&self, mint: Mint<'_>) -> Arc<Mutex<Known>> {
        let mut mints = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        Arc::clone(mints.entry(mint.url.to_owned()).or_default())
    }

    /// Returns the keysets of a mint, also those with which it does not sign any more.
    ///
    /// # Errors
    /// Those of [`Mint::keysets`].
    pub fn list(&self, mint: Mint<'_>, trust: Trust) -> Result<Arc<Vec<Keyset>>, MintError> {
        let began = Instant::now();
        let known = self.of(mint);
        let mut known = known.lock().unwrap_or_else(PoisonError::into_inner);
        let within = |at: Option<Instant>, most| at.is_some_and(|at| at.elapsed() < most);
        let doubt = trust == Trust::Doubted && !within(known.doubted, DOUBTED);
        if within(known.read, KEPT) && !doubt {
            return Ok(Arc::clone(&known.list));
        }
        if let Some((_, error)) = known.failed.as_ref().filter(|(at, _)| *at > began) {
            return Err(error.clone());
        }
        match mint.keysets() {
            Ok(list) => {
                known.list = Arc::new(list);
                (known.read, known.failed) = (Some(Instant::now()), None);
                if doubt {
                    known.doubted = known.read;
                }
                Ok(Arc::clone(&known.list))
            }
            Err(error) => {
                known.failed = Some((Instant::now(), error.clone()));
                Err(error)
            }
        }
    }

    /// Returns the keys of a keyset.
    ///
    /// # Errors
    /// Those of [`Mint::keys`], an unknown keyset, and keys that are not those of the keyset.
    pub fn keys(&self, mint: Mint<'_>, id: &str) -> Result<Arc<Keys>, MintError> {
        let known = self.of(mint);
        let kept = |known: &Mutex<Known>| known.lock().unwrap_or_else(PoisonError::into_inner).keys.get(id).cloned();
        if let Some(keys) = kept(&known) {
            return Ok(keys);
        }
        let find = |trust| self.list(mint, trust).map(|list| list.iter().find(|keyset| keyset.id == id).cloned());
        let keyset = match find(Trust::Kept)? {
            Some(keyset) => keyset,
            None => find(Trust::Doubted)?.ok_or_else(|| MintError::Unknown("it lacks its keyset".to_owned()))?,
        };
        let keys = mint.keys(id)?;
        if !is_of(&keyset, &keys) {
            return Err(MintError::Wrong("its keys are not those of their keyset"));
        }
        let keys = Arc::new(keys);
        let mut known = known.lock().unwrap_or_else(PoisonError::into_inner);
        if known.keys.len() >= MOST {
            known.keys.clear();
        }
        known.keys.insert(id.to_owned(), Arc::clone(&keys));
        Ok(keys)
    }
}

/// Returns whether these are the keys of a keyset: whether its name is their hash (NUT-02). Version 01 hashes what its
/// fee and its end are, too; of its two forms, the older one hashes the end alone.
fn is_of(keyset: &Keyset, keys: &Keys) -> bool {
    let Keyset { id, unit, fee, end, .. } = keyset;
    let mut plain: Vec<u8> = keys.values().flat_map(Point::bytes).collect();
    if let Some(start) = id.strip_prefix("00") {
        return start.len() == 14 && HEXLOWER.encode(&Sha256::digest(&plain)).starts_with(start);
    }
    let named: Vec<String> = keys.iter().map(|(amount, key)| format!("{amount}:{}", key.hex())).collect();
    let mut text = format!("{}|unit:{unit}", named.join(","));
    plain.extend(format!("unit:{unit}").bytes());
    if let Some(fee) = fee.filter(|fee| *fee > 0) {
        let _ = write!(text, "|input_fee_ppk:{fee}");
    }
    if let Some(end) = end {
        let _ = write!(text, "|final_expiry:{end}");
        plain.extend(format!("final_expiry:{end}").bytes());
    }
    [text.as_bytes(), &plain].iter().any(|bytes| *id == format!("01{}", HEXLOWER.encode(&Sha256::digest(bytes))))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn keys() -> Keys {
        [
            (1, "03a40f20667ed53513075dc51e715ff2046cad64eb68960632269ba7f0210e38bc"),
            (2, "03fd4ce5a16b65576145949e6f99f445f8249fee17c606b688b504a849cdc452de"),
            (4, "02648eccfa4c026960966276fa5a4cae46ce0fd432211a4f449bf84f13aa5f8303"),
            (8, "02fdfd6796bfeac490cbee12f778f867f0a2c68f6508d17c649759ea0dc3547528"),
        ]
        .map(|(amount, key)| (amount, Point::parse(key).unwrap()))
        .into()
    }

    // Vectors of cashubtc/nuts, tests/02-tests.md; the last two are what derive_keyset_id_v2 of PyPI's cashu 0.21.0 says.
    #[test]
    fn the_name_of_a_keyset_is_the_hash_of_its_keys() {
        let keyset = |id: &str, fee, end| Keyset { id: id.into(), unit: "sat".into(), active: true, fee, end };
        let end = Some(2_059_210_353);
        for right in [
            keyset("00456a94ab4e1c46", Some(100), None),
            keyset("01adc013fa9d85171586660abab27579888611659d357bc86bc09cb26eee8bc035", None, end),
            keyset("015ba18a8adcd02e715a58358eb618da4a4b3791151a4bee5e968bb88406ccf76a", Some(100), end),
            keyset("0163db796db90b2988aff542adab720c80419cb0e3953f6ff6bf3bb79711901234", Some(0), None),
        ] {
            assert!(is_of(&right, &keys()), "{right:?}");
            let other: Keys = keys().into_iter().skip(1).collect();
            assert!(!is_of(&right, &other) && !is_of(&right, &Keys::new()), "{right:?}");
            let wrong = Keyset { unit: "usd".into(), ..right.clone() };
            assert_eq!(is_of(&wrong, &keys()), right.id.starts_with("00"));
        }
        for wrong in ["", "00", "01", "00456a94ab4e1c", "00456a94ab4e1c47", "02456a94ab4e1c46", "é"] {
            assert!(!is_of(&keyset(wrong, None, None), &keys()), "{wrong}");
        }
    }
}
