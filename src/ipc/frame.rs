//! Frames, byte for byte; no I/O. A frame is a head, which is JSON, and a body, which is bytes:
//!
//! ```text
//! 0   "MS"                          4   length of the head, 32 bits, big endian
//! 2   version of the protocol: 1    8   length of the body, 32 bits, big endian
//! 3   kind                          12  head, body
//! ```
//!
//! Each frame has an answer, and no other frame is sent before it. The requests of one connection are answered in
//! order.

/// The version of the protocol. A frame of another version ends the connection, as does every unreadable frame.
pub const VERSION: u8 = 1;
/// The bytes before the head.
pub const PREFIX: usize = 12;
/// The longest head: 64 KiB.
pub const HEAD_MAX: usize = 64 * 1024;

const MARK: [u8; 2] = *b"MS";

macro_rules! kinds {
    ($($(#[$doc:meta])* $name:ident = $number:literal;)*) => {
        /// The kind of a frame.
        #[derive(Clone, Copy, Debug, PartialEq, Eq)]
        pub enum Kind { $($(#[$doc])* $name = $number,)* }

        impl Kind {
            /// Every kind, in the order of the manual.
            pub const ALL: &'static [Self] = &[$(Self::$name,)*];

            fn of(number: u8) -> Option<Self> {
                match number { $($number => Some(Self::$name),)* _ => None }
            }
        }
    };
}

kinds! {
    /// Judge the message in the body.
    Judge = 1;
    /// Spend one stamp on one message.
    Spend = 2;
    /// Lease the log until the connection closes.
    Acquire = 3;
    /// Return the daemon's status.
    Status = 4;
    /// Show or set the prices of the client's mailboxes.
    Price = 5;
    /// The verdict.
    Verdict = 65;
    /// The log's answer.
    SpendResult = 66;
    /// The log is leased.
    Acquired = 67;
    /// The status.
    StatusReply = 68;
    /// The prices.
    PriceReply = 69;
    /// The body is needed; repeat the request with it.
    BodyNeeded = 80;
    /// Not served here; judge or retry locally.
    NotHere = 81;
    /// Nothing can be decided now; the mail must wait.
    Defer = 82;
    /// The request is unknown.
    UnknownRequest = 83;
}

/// A frame.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Frame {
    pub kind: Kind,
    /// Its head: JSON.
    pub head: Vec<u8>,
    pub body: Vec<u8>,
}

/// Limits of a frame's lengths.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Bytes of its head.
    pub head: usize,
    /// Bytes of its body.
    pub body: usize,
}

impl Limits {
    /// Limits of a frame without a body.
    pub const HEAD_ONLY: Self = Self { head: HEAD_MAX, body: 0 };
}

/// The bytes are not a frame, or not one that is allowed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum FrameError {
    #[error("not a frame of mailstamp")]
    Foreign,
    #[error("frame of version {0}: expected version {VERSION}")]
    Version(u8),
    #[error("frame of unknown kind {0}")]
    Kind(u8),
    /// A head or a body beyond the limit.
    #[error("frame is too long: {0} bytes")]
    TooLong(u64),
}

/// The first bytes of a frame, decoded.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Prefix {
    pub kind: Kind,
    /// Bytes of its head.
    pub head: usize,
    /// Bytes of its body.
    pub body: usize,
}

impl Prefix {
    /// Decodes the first bytes of a frame.
    ///
    /// # Errors
    /// [`FrameError`]; the bytes after it cannot be decoded.
    pub fn read(bytes: &[u8; PREFIX], limits: Limits) -> Result<Self, FrameError> {
        let [m, s, version, kind, a, b, c, d, e, f, g, h] = *bytes;
        if [m, s] != MARK {
            return Err(FrameError::Foreign);
        }
        if version != VERSION {
            return Err(FrameError::Version(version));
        }
        let kind = Kind::of(kind).ok_or(FrameError::Kind(kind))?;
        let (head, body) = (u32::from_be_bytes([a, b, c, d]), u32::from_be_bytes([e, f, g, h]));
        let within = |length: u32, most: usize| usize::try_from(length).ok().filter(|length| *length <= most);
        let too_long = FrameError::TooLong(u64::from(head) + u64::from(body));
        let head = within(head, limits.head).ok_or(too_long)?;
        let body = within(body, limits.body).ok_or(too_long)?;
        Ok(Self { kind, head, body })
    }

    /// Returns the bytes of head and body.
    #[must_use]
    pub fn rest(&self) -> usize {
        self.head + self.body
    }

    /// Returns the frame of this prefix, from all its bytes.
    /// A long body is moved within its buffer, not copied to another.
    #[must_use]
    pub fn frame(&self, mut bytes: Vec<u8>) -> Frame {
        let head = bytes.get(PREFIX..PREFIX + self.head).unwrap_or_default().to_vec();
        bytes.drain(..bytes.len().min(PREFIX + self.head));
        Frame { kind: self.kind, head, body: bytes }
    }
}

/// Encodes the bytes of a frame before its body.
pub fn begin(kind: Kind, head: &[u8], body: usize) -> Result<Vec<u8>, FrameError> {
    let too_long = FrameError::TooLong((head.len() + body) as u64);
    if head.len() > HEAD_MAX {
        return Err(too_long);
    }
    let lengths = [head.len(), body].map(|length| u32::try_from(length).map_err(|_| too_long));
    let mut bytes = Vec::with_capacity(PREFIX + head.len());
    bytes.extend(MARK);
    bytes.extend([VERSION, kind as u8]);
    for length in lengths {
        bytes.extend(length?.to_be_bytes());
    }
    bytes.extend(head);
    Ok(bytes)
}

/// Removes a whole frame from the beginning of a buffer.
/// `None` while it is incomplete.
///
/// # Errors
/// [`FrameError`]; the bytes after it cannot be decoded.
pub fn take(buffer: &mut Vec<u8>, limits: Limits) -> Result<Option<Frame>, FrameError> {
    let Some(prefix) = buffer.first_chunk::<PREFIX>() else { return Ok(None) };
    let prefix = Prefix::read(prefix, limits)?;
    if buffer.len() < PREFIX + prefix.rest() {
        return Ok(None);
    }
    let after = buffer.split_off(PREFIX + prefix.rest());
    let whole = std::mem::replace(buffer, after);
    Ok(Some(prefix.frame(whole)))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const LIMITS: Limits = Limits { head: 100, body: 1_000 };

    fn bytes(kind: Kind, head: &[u8], body: &[u8]) -> Vec<u8> {
        let mut bytes = begin(kind, head, body.len()).unwrap();
        bytes.extend(body);
        bytes
    }

    proptest! {
        #[test]
        fn frames_come_out_as_they_went_in_however_they_are_cut(
            frames in prop::collection::vec((0..Kind::ALL.len(), prop::collection::vec(any::<u8>(), 0..100), prop::collection::vec(any::<u8>(), 0..1_000)), 0..5),
            cut in 1_usize..400,
        ) {
            let frames: Vec<_> = frames.into_iter().map(|(kind, head, body)| Frame { kind: Kind::ALL[kind], head, body }).collect();
            let sent: Vec<u8> = frames.iter().flat_map(|it| bytes(it.kind, &it.head, &it.body)).collect();
            let (mut buffer, mut came) = (Vec::new(), Vec::new());
            for piece in sent.chunks(cut) {
                buffer.extend(piece);
                while let Some(frame) = take(&mut buffer, LIMITS).unwrap() {
                    came.push(frame);
                }
            }
            prop_assert_eq!(came, frames);
            prop_assert!(buffer.is_empty());
        }

        #[test]
        fn whatever_comes_is_a_frame_or_an_error(mut noise in prop::collection::vec(any::<u8>(), 0..200)) {
            let _ = take(&mut noise, LIMITS);
        }
    }

    #[test]
    fn what_may_not_come_is_refused_by_its_first_bytes() {
        let refused = |mut bytes: Vec<u8>| take(&mut bytes, LIMITS).unwrap_err();
        let good = bytes(Kind::Spend, b"{}", b"");
        let with = |at: usize, byte: u8| {
            let mut bytes = good.clone();
            bytes[at] = byte;
            bytes
        };
        assert_eq!(refused(with(0, b'G')), FrameError::Foreign);
        assert_eq!(refused(with(2, 2)), FrameError::Version(2));
        assert_eq!(refused(with(3, 9)), FrameError::Kind(9));
        assert_eq!(refused(with(7, 101)), FrameError::TooLong(101));
        // 4 GB, announced and not sent.
        let huge = [&good[..8], &[0xff; 4]].concat();
        assert_eq!(refused(huge), FrameError::TooLong(u64::from(u32::MAX) + 2));
        assert!(begin(Kind::Judge, &[b' '; HEAD_MAX + 1], 0).is_err());
    }

    #[test]
    fn each_kind_has_a_number_of_its_own() {
        for kind in Kind::ALL {
            assert_eq!(Kind::of(*kind as u8), Some(*kind));
        }
    }
}
