//! Reasons for a class. The tokens are stable; the sentences beside them are for people and may change.

use super::class::Class;
use std::fmt;

macro_rules! reasons {
    ($($(#[$doc:meta])* $name:ident, $token:literal, $class:ident, $sentence:literal;)*) => {
        /// The reason of a message's class. Each reason belongs to exactly one class.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
        pub enum Reason { $($(#[$doc])* $name,)* }

        impl Reason {
            /// Every reason, in the order of the manual.
            pub const ALL: &'static [Self] = &[$(Self::$name,)*];

            /// The stable token.
            #[must_use]
            pub fn as_str(self) -> &'static str {
                match self { $(Self::$name => $token,)* }
            }

            /// The class that this reason leads to.
            #[must_use]
            pub fn class(self) -> Class {
                match self { $(Self::$name => Class::$class,)* }
            }

            /// Returns one sentence for people, without a full stop.
            #[must_use]
            pub fn sentence(self) -> &'static str {
                match self { $(Self::$name => $sentence,)* }
            }
        }
    };
}

reasons! {
    /// A valid stamp, spent now.
    Paid, "paid", FirstClass, "its stamp is good, and this message uses it up";
    /// The same message with the same stamp, seen again in time.
    Again, "again", FirstClass, "this very message was accepted with this stamp before";
    /// A returned stamp of the user's own.
    Return, "return", FirstClass, "it carries back a stamp that you allowed for replies";
    /// A stamp that the user lets its sender use again.
    MultiUse, "multi-use", FirstClass, "you allowed this stamp to be used again";
    /// A correspondent's standing stamp, with the holder's proof.
    Peer, "peer", FirstClass, "it carries your own standing stamp with its holder's proof";
    /// A rule of the user.
    Rule, "rule", Allowed, "one of your rules lets it through";
    /// No stamp in any part that counts.
    NoStamp, "no-stamp", Unstamped, "it carries no stamp";
    /// A good stamp of too low a value.
    BelowPrice, "below-price", Underpaid, "its stamp is worth less than this mailbox asks";
    /// The user does not trust the vendor.
    UnknownVendor, "unknown-vendor", Unverified, "you have not said that you trust its vendor";
    /// The vendor is trusted, but the key is not known.
    UnknownKey, "unknown-key", Unverified, "its vendor is trusted, but this key is not known here";
    /// A stamp of an unknown version.
    UnknownVersion, "unknown-version", Unverified, "its stamp is of a version that this program does not know";
    /// Two sources give different keys under one name.
    KeyConflict, "key-conflict", Unverified, "your sources disagree about its vendor's key";
    /// The directory that lists the key has expired.
    StaleDirectory, "stale-directory", Unverified, "the directory that lists its vendor's key has expired";
    /// More, larger or deeper than the limits.
    OverLimit, "over-limit", Unverified, "it goes beyond the limits within which stamps are looked for";
    /// Not a well-formed stamp.
    Malformed, "malformed", Invalid, "its stamp is not well formed";
    /// The signature does not hold.
    Forged, "forged", Invalid, "its stamp's signature does not hold";
    /// A stamp for another recipient.
    NotForMe, "not-for-me", Invalid, "its stamp names another recipient";
    /// The window has not begun.
    NotYetValid, "not-yet-valid", Invalid, "its stamp's window has not begun";
    /// The window is over.
    Expired, "expired", Invalid, "its stamp's window is over";
    /// No end of the window.
    NoWindow, "no-window", Invalid, "its stamp has no end, and would have to be remembered for ever";
    /// A window longer than the policy's.
    WindowTooLong, "window-too-long", Invalid, "its stamp's window is longer than you allow";
    /// The key was revoked or has ended.
    KeyRevoked, "key-revoked", Invalid, "the key that signed its stamp was revoked or has ended";
    /// A holder's stamp without the holder's proof.
    NoHolderProof, "no-holder-proof", Invalid, "its stamp belongs to a key, and that key did not sign this use";
    /// A holder's proof that does not hold.
    BadHolderProof, "bad-holder-proof", Invalid, "the proof of its stamp's holder does not hold for this message";
    /// Used by another message.
    Used, "used", Used, "its stamp was already used by another message";
    /// The user's own standing stamp, used as often today as the user allows.
    TooOften, "too-often", Used, "your stamp was used as often today as you allow";
    /// Revoked by the user.
    ByRecipient, "by-recipient", Revoked, "you revoked its stamp";
    /// Revoked by the vendor.
    ByVendor, "by-vendor", Revoked, "its vendor revoked its stamp";
}

impl fmt::Display for Reason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}
