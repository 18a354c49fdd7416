//! Reasons not to reply. The tokens are stable; the sentences are for people and may change.

use std::fmt;

macro_rules! refusals {
    ($($(#[$doc:meta])* $name:ident, $token:literal, $sentence:literal;)*) => {
        /// Reason not to reply to a message.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
        pub enum SuppressReason { $($(#[$doc])* $name,)* }

        impl SuppressReason {
            /// Every reason, in the order in which they are checked.
            pub const ALL: [Self; [$($token),*].len()] = [$(Self::$name),*];

            /// Returns the stable token.
            #[must_use]
            pub fn as_str(self) -> &'static str {
                match self { $(Self::$name => $token,)* }
            }

            /// Returns a sentence for people.
            #[must_use]
            pub fn sentence(self) -> &'static str {
                match self { $(Self::$name => $sentence,)* }
            }
        }
    };
}

refusals! {
    /// Neither kind of reply is switched on.
    Off, "off", "automatic replies are switched off";
    /// Neither class nor action of the message asks for one.
    NotAsked, "not-asked", "neither its action nor its class asks for a reply";
    /// RFC 3834 section 2, RFC 5321 section 4.5.5.
    NullSender, "null-sender", "it comes from the null sender, as bounces do";
    /// Neither the envelope nor a field names the origin.
    NoReturnPath, "no-return-path", "nothing says where it comes from";
    /// Several sources name different origins.
    SeveralReturnPaths, "several-return-paths", "it has more than one return path";
    /// No valid address, or one that some program on the way could take for something else.
    BadAddress, "bad-address", "nothing can safely be sent to its return path";
    /// SRS: the host of the address never verified the address within it.
    Forwarded, "forwarded", "a forwarder rewrote its return path (SRS), so its sender is unknown";
    /// Mailing software writes the recipient into the return path (VERP).
    Verp, "verp", "its return path carries your own address, as mailing software writes it";
    /// A mailbox that no person reads.
    Role, "role", "it comes from a role, such as postmaster or no-reply, not from a person";
    /// The user's own address, forged or not.
    OwnAddress, "own-address", "it claims to come from yourself";
    /// A reply of this program.
    OurReply, "our-reply", "it is itself a reply of mailstamp";
    /// In-Reply-To or References names a reply of this program.
    AnswersReply, "answers-reply", "it answers a reply of mailstamp";
    /// RFC 3834 section 5, and the fields that were in use before.
    Automatic, "automatic", "a program wrote it";
    /// RFC 2919, RFC 2369, and the fields that were in use before.
    List, "list", "it came through a mailing list";
    /// Precedence, and the fields of mass mailers.
    Bulk, "bulk", "it was sent in bulk";
    /// It has been on its way for too long.
    Loop, "loop", "it has passed too many hosts";
    /// RFC 3834 section 2: a blind copy, or mail for another recipient.
    NotToMe, "not-to-me", "none of your addresses stands in To or Cc";
    /// No trusted host authenticates the sender.
    Unauthenticated, "unauthenticated", "no trusted host says that its sender is genuine";
    /// No vendor to buy a stamp from.
    NoVendor, "no-vendor", "you trust no vendor that sells stamps";
    /// RFC 3834 section 2: only one reply in a period for each sender.
    Lately, "lately", "its sender had a reply lately";
    /// The limit of this day is reached.
    Ceiling, "ceiling", "as many replies as you allow were sent in the last 24 hours";
}

impl fmt::Display for SuppressReason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}
