//! Maildirs (maildir(5), Maildir++). A message is written where no reader looks, and linked in when it is whole and on
//! the disk. So no reader ever sees a part of it, and no lock is needed. The caller chooses the folder of a message.

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
