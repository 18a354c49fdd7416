//! Maildirs (maildir(5), Maildir++): a message is written where nobody looks and linked in when it is whole and on the
//! disk, so that no reader ever sees half of one and no lock is needed. Which message goes into which folder is decided
//! above.

mod draft;
mod error;
mod folder;
mod name;
mod spelling;

pub use draft::Draft;
pub use error::MaildirError;
pub use folder::{Folder, Kept, Maildir};
pub use name::{DeliveryTime, UniqueName};
pub use spelling::on_disk;
