//! What became of a message, for one of its recipients, in the numbers of a gateway.

/// The fate of a message at a recipient.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fate {
    /// Delivered, and paid for.
    Paid,
    /// Delivered without a price.
    Free,
    /// A copy of a message that was paid for and delivered before.
    Again,
    /// Not delivered: the sender cannot pay, or does not.
    Unpaid,
    /// Refused for another reason.
    Refused,
    /// To be sent again later.
    Deferred,
}

impl Fate {
    /// All fates, with their words.
    pub const ALL: [(Self, &'static str); 6] = [
        (Self::Paid, "paid"),
        (Self::Free, "free"),
        (Self::Again, "again"),
        (Self::Unpaid, "unpaid"),
        (Self::Refused, "refused"),
        (Self::Deferred, "deferred"),
    ];

    /// Returns the fate that a reply to the message means, for a recipient that costs nothing.
    #[must_use]
    pub fn of_reply(code: u16) -> Self {
        match code {
            200..=299 => Self::Free,
            500..=599 => Self::Refused,
            _ => Self::Deferred,
        }
    }
}
