//! Why no reply goes. The tokens are stable; the sentences beside them are for people and may change.

use std::fmt;

macro_rules! refusals {
    ($($(#[$doc:meta])* $name:ident, $token:literal, $sentence:literal;)*) => {
        /// Why no reply goes to the sender of a message.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
        pub enum SuppressReason { $($(#[$doc])* $name,)* }

        impl SuppressReason {
            /// Every reason, in the order in which they are looked for.
            pub const ALL: [Self; [$($token),*].len()] = [$(Self::$name),*];

            /// The stable token.
            #[must_use]
            pub fn as_str(self) -> &'static str {
                match self { $(Self::$name => $token,)* }
            }

            /// A sentence for people.
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
    /// Class and action of the message ask for none.
    NotAsked, "not-asked", "neither its action nor its class asks for a reply";
    /// RFC 3834 section 2, RFC 5321 section 4.5.5.
    NullSender, "null-sender", "it comes from the null sender, as bounces do";
    /// Nobody said where it comes from.
    NoReturnPath, "no-return-path", "nothing says where it comes from";
    /// Several places say different things.
    SeveralReturnPaths, "several-return-paths", "it has more than one return path";
    /// An address that is none, or that some program on the way could take for something else.
    BadAddress, "bad-address", "nothing can safely be sent to its return path";
    /// SRS: the address within was never verified by the host that is.
    Forwarded, "forwarded", "a forwarder rewrote its return path (SRS), so who wrote it cannot be told";
    /// Mailing software writes the recipient into the return path (VERP).
    Verp, "verp", "its return path carries your own address, as mailing software writes it";
    /// A mailbox that no person reads.
    Role, "role", "its return path names a program or a post, not a person";
    /// The user's own address, forged or not.
    OwnAddress, "own-address", "it claims to come from yourself";
    /// A reply of this program.
    OurReply, "our-reply", "it is itself a reply of mailstamp";
    /// RFC 3834 section 5, and the fields that were in use before.
    Automatic, "automatic", "a program wrote it";
    /// RFC 2919, RFC 2369, and the fields that were in use before.
    List, "list", "it came through a mailing list";
    /// Precedence, and the fields of mass mailers.
    Bulk, "bulk", "it was sent in bulk";
    /// It has been on its way for too long.
    Loop, "loop", "it has passed too many hosts";
    /// RFC 3834 section 2: a blind copy, or mail for somebody else.
    NotToMe, "not-to-me", "none of your addresses stands in To or Cc";
    /// Nobody vouches for the sender.
    Unauthenticated, "unauthenticated", "no trusted host says that its sender is genuine";
    /// There is nowhere to buy a stamp.
    NoVendor, "no-vendor", "you trust no vendor from whom a stamp could be had";
    /// RFC 3834 section 2: once in a while for each sender.
    Lately, "lately", "its sender had a reply lately";
    /// Enough for today.
    Ceiling, "ceiling", "as many replies as you allow were sent in the last 24 hours";
}

impl fmt::Display for SuppressReason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}
