//! Writing a message with its edits into a Maildir.

use crate::mailbox::maildir::{DeliveryTime, Draft, MaildirError, UniqueName};
use crate::message::edit::Edit;
use crate::os::clock;
use std::io::{self, Read, Write as _};

/// Makes a name for a new file.
/// It holds the arrival time, so it uses the system's clock and never an overridden time.
pub(super) fn unique() -> io::Result<UniqueName> {
    let now = clock::since_1970();
    UniqueName::new(DeliveryTime {
        seconds: i64::try_from(now.as_secs()).unwrap_or(i64::MAX),
        micros: now.subsec_micros(),
    })
}

/// Writes a message and delivers it; returns its short name.
pub(super) fn write(mut draft: Draft<'_>, edit: &Edit<'_>, rest: Option<&mut dyn Read>) -> Result<String, WriteError> {
    for piece in edit.pieces() {
        if let Err(error) = draft.write_all(piece) {
            return Err(draft.failed(error).into());
        }
    }
    if let Some(rest) = rest {
        io::copy(rest, &mut draft)?;
    }
    let id = draft.id().to_owned();
    draft.finish()?;
    Ok(id)
}

/// A draft could not be completed.
#[derive(Debug, thiserror::Error)]
pub enum WriteError {
    /// The rest of the message could not be read or written.
    #[error("the message cannot be copied: {0}")]
    Copy(#[from] io::Error),
    /// The Maildir.
    #[error(transparent)]
    Maildir(#[from] MaildirError),
}
