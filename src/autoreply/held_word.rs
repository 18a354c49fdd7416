//! Words of the digest of held mail. A word gives one answer about one held message, until it ends.
//!
//! It is the short name of the message, a hyphen, and 24 letters and digits: base32 (RFC 4648 section 6, lower case) of
//! 4 bytes with its end and 11 bytes of an HMAC-SHA-256 (RFC 2104) over action, end and name. The word authenticates
//! the answer, whatever its From says. It works once, because the answer takes the message out of the held mail.

use crate::message::parse::Message;
use crate::time::UnixTime;
use data_encoding::BASE32_NOPAD;
use hmac::{Hmac, KeyInit, Mac};
use sha2::Sha256;
use std::fmt;
use zeroize::{Zeroize, Zeroizing};

/// Bytes of the key.
pub const KEY_LEN: usize = 32;
/// Seconds for which a word is good: 14 days.
pub const LIFE: i64 = 14 * 24 * 60 * 60;
/// Bytes of the end: minutes since 1970, unsigned, big-endian.
const END_LEN: usize = 4;
/// Bytes of the HMAC that are kept: 88 bits.
const MAC_LEN: usize = 11;
/// Longest short name of a message.
const NAME: usize = 64;
/// Separates the key's use from any other.
const CONTEXT: &[u8] = b"mailstamp-held-word\0";

/// What an answer asks for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Answer {
    /// Release the message, and let its sender through from now on.
    Allow,
    /// Delete the message, and leave its sender out of the digest.
    Never,
}

impl Answer {
    /// The word before the sealed one.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Allow => "allow",
            Self::Never => "never",
        }
    }
}

/// Key of the words of one mailbox. It is wiped from memory when dropped.
pub struct WordKey([u8; KEY_LEN]);

/// Why a word is not accepted.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum WordError {
    /// Forged, misspelt, of another action, or under another key.
    #[error("not a word of a digest of this mailbox")]
    Foreign,
    #[error("the word has ended: it was good for 14 days")]
    Ended,
}

impl WordKey {
    /// Makes a key of random bytes. The caller must wipe its copy.
    #[must_use]
    pub fn from_random(bytes: &[u8; KEY_LEN]) -> Self {
        Self(*bytes)
    }

    /// Makes the word for an answer about a message, which is good for [`LIFE`] from `now` on. `None` if the name of
    /// the message has other characters than ASCII letters and digits, or the clock is out of range.
    #[must_use]
    pub fn seal(&self, answer: Answer, name: &str, now: UnixTime) -> Option<String> {
        let end = u32::try_from((now.0 + LIFE).div_euclid(60) + 1).ok()?;
        is_name(name).then(|| {
            let mut bytes = end.to_be_bytes().to_vec();
            let mac = self.mac(answer, &bytes, name).finalize().into_bytes();
            bytes.extend_from_slice(mac.get(..MAC_LEN).unwrap_or_default());
            format!("{name}-{}", BASE32_NOPAD.encode(&bytes).to_ascii_lowercase())
        })
    }

    /// Returns the name of the message that a word is about.
    ///
    /// # Errors
    /// [`WordError`].
    pub fn open<'a>(&self, answer: Answer, word: &'a str, now: UnixTime) -> Result<&'a str, WordError> {
        let (name, sealed) = word.rsplit_once('-').filter(|(name, _)| is_name(name)).ok_or(WordError::Foreign)?;
        let is_lower = !sealed.bytes().any(|b| b.is_ascii_uppercase());
        let bytes = BASE32_NOPAD.decode(sealed.to_ascii_uppercase().as_bytes()).ok().filter(|_| is_lower);
        let bytes = bytes.ok_or(WordError::Foreign)?;
        let (end, mac) = bytes.split_first_chunk::<END_LEN>().ok_or(WordError::Foreign)?;
        if mac.len() != MAC_LEN || self.mac(answer, end, name).verify_truncated_left(mac).is_err() {
            return Err(WordError::Foreign);
        }
        if now.0 >= i64::from(u32::from_be_bytes(*end)) * 60 { Err(WordError::Ended) } else { Ok(name) }
    }

    fn mac(&self, answer: Answer, end: &[u8], name: &str) -> Hmac<Sha256> {
        // HMAC pads a key with zeros to a block (RFC 2104 section 2).
        let mut block = Zeroizing::new([0; 64]);
        block[..KEY_LEN].copy_from_slice(&self.0);
        let mut mac = <Hmac<Sha256> as KeyInit>::new(&(*block).into());
        for piece in [CONTEXT, answer.as_str().as_bytes(), b"\0", end, name.as_bytes()] {
            mac.update(piece);
        }
        mac
    }
}

impl Drop for WordKey {
    fn drop(&mut self) {
        self.0.zeroize();
    }
}

/// Without the key.
impl fmt::Debug for WordKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("WordKey(..)")
    }
}

fn is_name(name: &str) -> bool {
    (1..=NAME).contains(&name.len()) && name.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit())
}

/// Returns the answer that a message gives: its one Subject field is `allow WORD` or `never WORD` and nothing else. Its
/// text does not count, so a digest that is forwarded or quoted answers nothing.
#[must_use]
pub fn answer_in(message: &Message<'_>) -> Option<(Answer, String)> {
    let mut subjects = message.fields().filter(|field| field.name_is("Subject"));
    let (field, None) = (subjects.next()?, subjects.next()) else { return None };
    let text = String::from_utf8(field.unfolded().into_owned()).ok()?.to_ascii_lowercase();
    let mut words = text.split_ascii_whitespace();
    let (Some(answer), Some(word), None) = (words.next(), words.next(), words.next()) else { return None };
    let answer = [Answer::Allow, Answer::Never].into_iter().find(|known| known.as_str() == answer)?;
    (word.len() <= 2 * NAME).then(|| (answer, word.to_owned()))
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: UnixTime = UnixTime(1_795_262_400);

    fn key() -> WordKey {
        WordKey::from_random(&[7; KEY_LEN])
    }

    #[test]
    fn a_word_gives_its_own_answer_until_it_ends() {
        let word = key().seal(Answer::Allow, "jaqxtm5i", NOW).unwrap();
        assert_eq!(word.len(), "jaqxtm5i-".len() + 24);
        assert!(word.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-'), "{word}");
        let open = |answer, now| key().open(answer, &word, now);
        assert_eq!(open(Answer::Allow, NOW), Ok("jaqxtm5i"));
        assert_eq!(open(Answer::Allow, NOW.plus(LIFE)), Ok("jaqxtm5i"));
        assert_eq!(open(Answer::Allow, NOW.plus(LIFE + 60)), Err(WordError::Ended));
        assert_eq!(open(Answer::Never, NOW), Err(WordError::Foreign));
        let other = WordKey::from_random(&[8; KEY_LEN]);
        assert_eq!(other.open(Answer::Allow, &word, NOW), Err(WordError::Foreign));
        for name in ["", "a-b", "a b", "\u{e4}", "A", &"a".repeat(65)] {
            assert_eq!(key().seal(Answer::Allow, name, NOW), None, "{name}");
        }
        assert_eq!(key().seal(Answer::Allow, "a", UnixTime(-LIFE - 61)), None);
    }

    #[test]
    fn every_change_of_a_word_is_refused() {
        let word = key().seal(Answer::Never, "jaqxtm5i", NOW).unwrap();
        for at in 0..word.len() {
            for other in "abz27-9A=. ".chars() {
                let mut changed = word.clone();
                changed.replace_range(at..=at, &other.to_string());
                let opened = key().open(Answer::Never, &changed, NOW);
                assert_eq!(opened.is_ok(), changed == word, "{changed}");
            }
            assert!(key().open(Answer::Never, &word[..at], NOW).is_err());
        }
        assert!(key().open(Answer::Never, &format!("{word}aaaaaaaa"), NOW).is_err());
    }

    #[test]
    fn only_a_subject_of_two_words_answers() {
        let of = |raw: &str| answer_in(&Message::parse(raw.as_bytes()));
        let allow = Some((Answer::Allow, "a-b".to_owned()));
        for raw in
            ["Subject: allow a-b\n\n", "subject:  ALLOW\n A-b \r\n\r\n", "From: x\nSubject: Allow a-b\n\nnever c-d"]
        {
            assert_eq!(of(raw), allow, "{raw}");
        }
        assert_eq!(of("Subject: never a-b\n\n"), Some((Answer::Never, "a-b".to_owned())));
        for raw in [
            "Subject: Re: allow a-b\n\n",
            "Subject: allow\n\n",
            "Subject: allow a-b c-d\n\n",
            "Subject: allow a-b\nSubject: never a-b\n\n",
            "Subject: Held mail\n\nallow a-b\n",
            "X: allow a-b\n\n",
            "\nSubject: allow a-b\n",
        ] {
            assert_eq!(of(raw), None, "{raw}");
        }
    }
}
