//! Copy of a message for each recipient: with the recipient's own stamp and no other, since a stamp names its recipient
//! (threat 38). Pure. `stamp_choice` chooses the stamp.

use crate::message::address::Address;
use crate::message::edit::Edit;
use crate::message::parse::Message;
use crate::stamp::affix::strip;
use crate::stamp::claims::Stamp;
use crate::stamp::extract::{Found, Place, STAMP_FIELD, locate};
use crate::stamp::token::Token;

/// Parameter after a stamp that may come back.
pub const FOR_RETURN: &str = "; reuse=return";

/// The message contains another recipient's stamp in encoded or signed text, where it cannot be removed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the message contains another recipient's stamp in encoded or signed text, where it cannot be removed")]
pub struct OtherRecipientsStamp;

/// Message with its stamps, located once for all copies.
#[derive(Clone, Debug)]
pub struct SourceMessage<'a> {
    message: Message<'a>,
    stamps: Vec<Found>,
    over_limit: bool,
}

impl<'a> SourceMessage<'a> {
    /// Locates the stamps of a message.
    #[must_use]
    pub fn new(message: Message<'a>) -> Self {
        let located = locate(&message);
        Self { message, stamps: located.stamps, over_limit: located.over_limit }
    }

    /// Returns the message.
    #[must_use]
    pub fn message(&self) -> Message<'a> {
        self.message
    }

    /// Returns the stamp for this recipient that the sender put on the message.
    #[must_use]
    pub fn own(&self, recipient: &Address) -> Option<&Found> {
        self.stamps.iter().find(|found| names(&found.token, recipient))
    }

    /// Builds the copy for a recipient: `put` adds stamps to its header, and other fields.
    ///
    /// With `keep`, that stamp of the sender stays where it is.
    pub fn copy(
        &self,
        keep: Option<&Found>,
        put: impl FnOnce(&mut Edit<'a>),
    ) -> Result<Edit<'a>, OtherRecipientsStamp> {
        let mut edit = match keep {
            Some(kept) if kept.place == Place::Header => {
                // If the text contains it too, it stays there. Other stamps in the text are found below.
                let mut edit = Edit::new(&self.message);
                let kept_here = |value: &[u8]| {
                    let bare = crate::stamp::extract::without_white_space(value);
                    bare.split(';').next() == Some(kept.token.as_str())
                };
                let others = self.message.fields().filter(|field| field.name_is(STAMP_FIELD));
                others.filter(|field| !kept_here(&field.decoded())).for_each(|field| edit.remove(&field));
                edit
            }
            Some(_) => {
                let mut edit = Edit::new(&self.message);
                self.message.fields().filter(|field| field.name_is(STAMP_FIELD)).for_each(|field| edit.remove(&field));
                edit
            }
            None => strip(&self.message).edit,
        };
        if !self.stamps.is_empty() || self.over_limit {
            let changed = edit.to_vec();
            let left = locate(&Message::parse(&changed));
            let wanted = |found: &Found| keep.is_some_and(|kept| kept.token == found.token);
            if left.over_limit || !left.stamps.iter().all(wanted) {
                return Err(OtherRecipientsStamp);
            }
        }
        put(&mut edit);
        Ok(edit)
    }
}

/// Returns whether this text is a stamp that names this address. The recipient checks its signature.
fn names(token: &str, address: &Address) -> bool {
    let stamp = Token::parse(token).ok().and_then(|token| Stamp::read(token.payload()).ok());
    stamp.is_some_and(|stamp| stamp.audience.names(address))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::message::header::fold;
    use crate::stamp::affix::affix;
    use crate::stamp::audience::Audience;
    use crate::stamp::issue;
    use crate::stamp::serial::Serial;
    use crate::stamp::signing::SecretKey;
    use crate::stamp::token::Issuer;
    use crate::time::UnixTime;

    fn address(text: &str) -> Address {
        Address::parse(text).unwrap()
    }

    fn stamp(to: &str, hashed: bool) -> String {
        let audience = if hashed { Audience::hashed(&address(to), [1; 16]) } else { Audience::Plain(address(to)) };
        let serial = Serial::new(format!("s-{}", to.len())).unwrap();
        let stamp = Stamp::new(serial, audience, UnixTime(1_800_000_000));
        let issuer = Issuer::new("v.example", "1").unwrap();
        issue::issue(&stamp, &issuer, &SecretKey::from_random(&[3; 32])).unwrap().as_str().to_owned()
    }

    const LETTER: &str = "From: a@x.example\nTo: b@y.example\nSubject: s\n\nhello\n";

    fn copied(raw: &[u8], to: &str, put: Option<&str>) -> Result<String, OtherRecipientsStamp> {
        let original = SourceMessage::new(Message::parse(raw));
        let keep = original.own(&address(to));
        let put = put.filter(|_| keep.is_none()).map(|put| fold(STAMP_FIELD, put, "\n"));
        let edit = original.copy(keep, |edit| put.into_iter().for_each(|field| edit.insert_top(field)))?;
        Ok(String::from_utf8(edit.to_vec()).unwrap())
    }

    #[test]
    fn a_copy_has_its_own_stamp_and_no_other() {
        // Threat 38.
        let (bob, eve) = (stamp("b@y.example", false), stamp("eve@z.example", true));
        let both = format!("Digital-Stamp: {bob}\nDigital-Stamp: {eve}; reuse=return\nDigital-Stamp: junk\n{LETTER}");
        assert_eq!(copied(both.as_bytes(), "b@y.example", None).unwrap(), format!("Digital-Stamp: {bob}\n{LETTER}"));
        let for_eve = copied(both.as_bytes(), "eve@z.example", None).unwrap();
        assert_eq!(for_eve, format!("Digital-Stamp: {eve}; reuse=return\n{LETTER}"));
        assert_eq!(copied(both.as_bytes(), "carol@z.example", None).unwrap(), LETTER);
        let put = copied(both.as_bytes(), "carol@z.example", Some("tok")).unwrap();
        assert_eq!(put, format!("Digital-Stamp: tok\n{LETTER}"));
        assert_eq!(copied(LETTER.as_bytes(), "b@y.example", None).unwrap(), LETTER);
    }

    #[test]
    fn a_stamp_in_the_text_stays_for_its_recipient_and_goes_for_others() {
        let bob = stamp("b@y.example", false);
        for place in [Place::Body, Place::Subject] {
            let with = affix(&Message::parse(LETTER.as_bytes()), place, &bob).unwrap().to_vec();
            assert_eq!(copied(&with, "b@y.example", None).unwrap().as_bytes(), with);
            assert_eq!(copied(&with, "c@y.example", None).unwrap(), LETTER);
        }
        let block = crate::stamp::armor::armour(&bob, "\n");
        let encoded = format!("Content-Transfer-Encoding: quoted-printable\n\n{}", block.replace('=', "=3D"));
        assert_eq!(copied(encoded.as_bytes(), "c@y.example", None), Err(OtherRecipientsStamp));
        assert_eq!(copied(encoded.as_bytes(), "b@y.example", None).unwrap(), encoded);
    }
}
