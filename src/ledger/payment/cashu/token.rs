//! Tokens of Cashu as wallets exchange them (NUT-00): version 3 (`cashuA`, JSON) and 4 (`cashuB`, CBOR) are read,
//! version 4 is written.
//!
//! A token is money for anyone who reads it: no error shows a part of it.

use super::cbor::{Item, Writer};
use crate::accounting::hash::Hash;
use data_encoding::{BASE64URL_NOPAD, HEXLOWER, HEXLOWER_PERMISSIVE};
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};
use std::collections::BTreeSet;
use std::fmt;
use zeroize::Zeroizing;

/// Longest token, in characters.
pub const LONGEST: usize = 65_536;
/// Most proofs of a token.
const MOST: usize = 100;
/// Longest secret or witness of a proof, in bytes.
const LONGEST_SECRET: usize = 1_024;

/// A mint's signature on a secret: money of this amount.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Proof {
    pub amount: u64,
    /// Name of the keyset, in hexadecimal digits.
    pub id: String,
    pub secret: String,
    /// The signature, a point in hexadecimal digits.
    #[serde(rename = "C")]
    pub signature: String,
    /// What opens a secret with a condition.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub witness: Option<String>,
}

impl fmt::Debug for Proof {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Proof")
    }
}

/// Proofs of one mint.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Token {
    /// Address of the mint, without a slash at the end.
    pub mint: String,
    /// Unit of the amounts, if the token says it.
    pub unit: Option<String>,
    pub proofs: Vec<Proof>,
}

/// Reason why a text is not a token that is accepted.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum TokenError {
    #[error("this is not a Cashu token: it begins with cashuA or cashuB")]
    Form,
    #[error("the token is damaged: perhaps a part of it is missing")]
    Damaged,
    #[error("the token is too large: at most {MOST} proofs, in {LONGEST} characters")]
    Large,
    #[error("the token is of several mints")]
    Mints,
}

#[derive(Deserialize)]
struct Third {
    token: Vec<ThirdMint>,
    unit: Option<String>,
}

#[derive(Deserialize)]
struct ThirdMint {
    mint: String,
    proofs: Vec<Proof>,
}

impl Token {
    /// Parses a token, perhaps behind `cashu:`. White space in it does not count.
    ///
    /// # Errors
    /// [`TokenError`].
    pub fn parse(text: &str) -> Result<Self, TokenError> {
        if text.len() > LONGEST {
            return Err(TokenError::Large);
        }
        let plain = Zeroizing::new(text.split_whitespace().collect::<String>());
        let plain = plain.strip_prefix("cashu:").unwrap_or(&plain);
        let plain = plain.strip_prefix("//").unwrap_or(plain);
        let version = plain.get(..6).ok_or(TokenError::Form)?;
        let body = Zeroizing::new(plain.get(6..).unwrap_or_default().trim_end_matches('=').to_owned());
        // Some wallets write the other alphabet.
        let body = Zeroizing::new(body.replace('+', "-").replace('/', "_"));
        let decode = || BASE64URL_NOPAD.decode(body.as_bytes()).map(Zeroizing::new).map_err(|_| TokenError::Damaged);
        let token = match version {
            "cashuA" => Self::third(&decode()?)?,
            "cashuB" => Self::fourth(&decode()?).ok_or(TokenError::Damaged)?,
            _ => return Err(TokenError::Form),
        };
        token.checked()
    }

    fn third(json: &[u8]) -> Result<Self, TokenError> {
        let Third { token, unit } = serde_json::from_slice(json).map_err(|_| TokenError::Damaged)?;
        let mut mints = token.into_iter();
        let ThirdMint { mint, proofs } = mints.next().ok_or(TokenError::Damaged)?;
        if mints.next().is_some() {
            return Err(TokenError::Mints);
        }
        Ok(Self { mint, unit, proofs })
    }

    fn fourth(bytes: &[u8]) -> Option<Self> {
        let token = Item::read(bytes)?;
        let mut proofs = Vec::new();
        for group in token.get("t")?.array()? {
            let id = HEXLOWER.encode(group.get("i")?.bytes()?);
            for proof in group.get("p")?.array()? {
                proofs.push(Proof {
                    amount: proof.get("a")?.number()?,
                    id: id.clone(),
                    secret: proof.get("s")?.text()?.to_owned(),
                    signature: HEXLOWER.encode(proof.get("c")?.bytes()?),
                    witness: proof.get("w").and_then(Item::text).map(str::to_owned),
                });
            }
        }
        let unit = token.get("u").and_then(Item::text).map(str::to_owned);
        Some(Self { mint: token.get("m")?.text()?.to_owned(), unit, proofs })
    }

    fn checked(mut self) -> Result<Self, TokenError> {
        self.mint.truncate(self.mint.trim_end_matches('/').len());
        if self.proofs.len() > MOST {
            return Err(TokenError::Large);
        }
        let is_hex = |text: &str| HEXLOWER_PERMISSIVE.decode(text.as_bytes()).is_ok();
        let fits = |proof: &Proof| {
            let witness = proof.witness.as_deref().unwrap_or_default();
            let short = [proof.secret.as_str(), witness].iter().all(|text| text.len() <= LONGEST_SECRET);
            let id = matches!(proof.id.len(), 16 | 66) && is_hex(&proof.id);
            short && !proof.secret.is_empty() && id && proof.signature.len() == 66 && is_hex(&proof.signature)
        };
        let secrets: BTreeSet<_> = self.proofs.iter().map(|proof| proof.secret.as_str()).collect();
        let whole = !self.proofs.is_empty() && secrets.len() == self.proofs.len() && self.proofs.iter().all(fits);
        if whole { Ok(self) } else { Err(TokenError::Damaged) }
    }

    /// Returns the hash of the secrets, in whatever order they are.
    #[must_use]
    pub fn hash(&self) -> Hash {
        let hashes: BTreeSet<[u8; 32]> = self.proofs.iter().map(|proof| Sha256::digest(&proof.secret).into()).collect();
        Hash::of(&hashes.into_iter().flatten().collect::<Vec<_>>())
    }

    /// Returns the sum of the amounts; `None` if it is out of range.
    #[must_use]
    pub fn sum(&self) -> Option<u64> {
        sum(&self.proofs)
    }

    /// Writes the token in version 4.
    #[must_use]
    pub fn text(&self) -> Zeroizing<String> {
        let ids: BTreeSet<_> = self.proofs.iter().map(|proof| proof.id.as_str()).collect();
        let hex = |text: &str| HEXLOWER_PERMISSIVE.decode(text.as_bytes()).unwrap_or_default();
        let mut writer = Writer::default();
        writer.map(3).text("m").text(&self.mint).text("u").text(self.unit.as_deref().unwrap_or("sat"));
        writer.text("t").array(ids.len());
        for id in ids {
            let proofs: Vec<_> = self.proofs.iter().filter(|proof| proof.id == id).collect();
            writer.map(2).text("i").bytes(&hex(id)).text("p").array(proofs.len());
            for proof in proofs {
                writer.map(3).text("a").number(proof.amount).text("s").text(&proof.secret);
                writer.text("c").bytes(&hex(&proof.signature));
            }
        }
        let bytes = Zeroizing::new(writer.0);
        let mut text = Zeroizing::new(String::with_capacity(6 + bytes.len() * 4 / 3 + 4));
        text.push_str("cashuB");
        BASE64URL_NOPAD.encode_append(&bytes, &mut text);
        text
    }
}

/// Returns the sum of the amounts of proofs; `None` if it is out of range.
#[must_use]
pub fn sum(proofs: &[Proof]) -> Option<u64> {
    proofs.iter().try_fold(0_u64, |sum, proof| sum.checked_add(proof.amount))
}

#[cfg(test)]
mod tests {
    use super::*;

    // Examples of cashubtc/nuts, 00.md and tests/00-tests.md.
    const THIRD: &str = "cashuAeyJ0b2tlbiI6W3sibWludCI6Imh0dHBzOi8vODMzMy5zcGFjZTozMzM4IiwicHJvb2ZzIjpbeyJhbW91bnQiOjIsImlkIjoiMDA5YTFmMjkzMjUzZTQxZSIsInNlY3JldCI6IjQwNzkxNWJjMjEyYmU2MWE3N2UzZTZkMmFlYjRjNzI3OTgwYmRhNTFjZDA2YTZhZmMyOWUyODYxNzY4YTc4MzciLCJDIjoiMDJiYzkwOTc5OTdkODFhZmIyY2M3MzQ2YjVlNDM0NWE5MzQ2YmQyYTUwNmViNzk1ODU5OGE3MmYwY2Y4NTE2M2VhIn0seyJhbW91bnQiOjgsImlkIjoiMDA5YTFmMjkzMjUzZTQxZSIsInNlY3JldCI6ImZlMTUxMDkzMTRlNjFkNzc1NmIwZjhlZTBmMjNhNjI0YWNhYTNmNGUwNDJmNjE0MzNjNzI4YzcwNTdiOTMxYmUiLCJDIjoiMDI5ZThlNTA1MGI4OTBhN2Q2YzA5NjhkYjE2YmMxZDVkNWZhMDQwZWExZGUyODRmNmVjNjlkNjEyOTlmNjcxMDU5In1dfV0sInVuaXQiOiJzYXQiLCJtZW1vIjoiVGhhbmsgeW91LiJ9";
    const FOURTH: &str = "cashuBo2F0gqJhaUgA_9SLj17PgGFwgaNhYQFhc3hAYWNjMTI0MzVlN2I4NDg0YzNjZjE4NTAxNDkyMThhZjkwZjcxNmE1MmJmNGE1ZWQzNDdlNDhlY2MxM2Y3NzM4OGFjWCECRFODGd5IXVW-07KaZCvuWHk3WrnnpiDhHki6SCQh88-iYWlIAK0mjE0fWCZhcIKjYWECYXN4QDEzMjNkM2Q0NzA3YTU4YWQyZTIzYWRhNGU5ZjFmNDlmNWE1YjRhYzdiNzA4ZWIwZDYxZjczOGY0ODMwN2U4ZWVhY1ghAjRWqhENhLSsdHrr2Cw7AFrKUL9Ffr1XN6RBT6w659lNo2FhAWFzeEA1NmJjYmNiYjdjYzY0MDZiM2ZhNWQ1N2QyMTc0ZjRlZmY4YjQ0MDJiMTc2OTI2ZDNhNTdkM2MzZGNiYjU5ZDU3YWNYIQJzEpxXGeWZN5qXSmJjY8MzxWyvwObQGr5G1YCCgHicY2FtdWh0dHA6Ly9sb2NhbGhvc3Q6MzMzOGF1Y3NhdA";

    #[test]
    fn tokens_of_both_versions_are_read() {
        let third = Token::parse(THIRD).unwrap();
        assert_eq!(
            (third.mint.as_str(), third.unit.as_deref(), third.sum()),
            ("https://8333.space:3338", Some("sat"), Some(10))
        );
        assert_eq!(third.proofs[0].id, "009a1f293253e41e");
        let fourth = Token::parse(FOURTH).unwrap();
        assert_eq!(
            (fourth.mint.as_str(), fourth.unit.as_deref(), fourth.sum()),
            ("http://localhost:3338", Some("sat"), Some(4))
        );
        assert_eq!(fourth.proofs[1].id, "00ad268c4d1f5826");
        assert_eq!(fourth.proofs[1].signature, "023456aa110d84b4ac747aebd82c3b005aca50bf457ebd5737a4414fac3ae7d94d");
        let (one, other) = THIRD.split_at(40);
        for same in [format!("cashu:{THIRD}"), format!("{THIRD}=="), format!(" {one}\r\n{other}\n")] {
            assert_eq!(Token::parse(&same), Ok(third.clone()));
        }
    }

    #[test]
    fn a_written_token_is_read_again() {
        for token in [THIRD, FOURTH] {
            let token = Token::parse(token).unwrap();
            let again = Token::parse(&token.text()).unwrap();
            assert_eq!((again.hash(), again.sum()), (token.hash(), token.sum()));
            assert_eq!(again.mint, token.mint);
        }
    }

    #[test]
    fn the_hash_of_a_token_does_not_depend_on_its_order() {
        let token = Token::parse(FOURTH).unwrap();
        let mut turned = token.clone();
        turned.proofs.reverse();
        assert_eq!(turned.hash(), token.hash());
        turned.proofs.pop();
        assert_ne!(turned.hash(), token.hash());
    }

    #[test]
    fn what_is_no_token_is_refused() {
        let of = |json: &str| format!("cashuA{}", BASE64URL_NOPAD.encode(json.as_bytes()));
        let proof = |secret: &str| {
            format!(r#"{{"amount":1,"id":"009a1f293253e41e","secret":"{secret}","C":"{}"}}"#, "02".repeat(33))
        };
        let with = |proofs: &str| of(&format!(r#"{{"token":[{{"mint":"https://m.example/","proofs":[{proofs}]}}]}}"#));
        let good = Token::parse(&with(&proof("a"))).unwrap();
        assert_eq!((good.mint.as_str(), good.unit.as_deref()), ("https://m.example", None));
        for wrong in ["", "cashu", "casshuAeyJ0", &THIRD[6..], "cashuCeyJ0", "lnbc1", "é"] {
            assert_eq!(Token::parse(wrong), Err(TokenError::Form), "{wrong}");
        }
        let twice = format!("{},{}", proof("a"), proof("a"));
        let long = proof(&"a".repeat(2_000));
        for wrong in [
            "cashuA",
            "cashuB",
            "cashuA!",
            &of("{}"),
            &with(""),
            &with(&twice),
            &with(&long),
            &FOURTH[..60],
            &of(r#"{"token":[]}"#),
        ] {
            assert_eq!(Token::parse(wrong), Err(TokenError::Damaged), "{wrong}");
        }
        let many: Vec<String> = (0..=MOST).map(|number| proof(&number.to_string())).collect();
        assert_eq!(Token::parse(&with(&many.join(","))), Err(TokenError::Large));
        assert_eq!(Token::parse(&"a".repeat(LONGEST + 1)), Err(TokenError::Large));
        let two = r#"{"token":[{"mint":"https://a.example","proofs":[]},{"mint":"https://b.example","proofs":[]}]}"#;
        assert_eq!(Token::parse(&of(two)), Err(TokenError::Mints));
    }

    #[test]
    fn a_proof_does_not_show() {
        assert!(!format!("{:?}", Token::parse(THIRD).unwrap()).contains("407915bc"));
    }
}
