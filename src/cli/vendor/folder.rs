//! Where a vendor's books are, unless a command says so.

use crate::cli::exit::{CONFIG, Failure};
use std::path::{Path, PathBuf};

/// The folder of the books: the one that was given, else `/var/lib/mailstamp/vendor` for root and `vendor` in the state
/// folder of everybody else.
///
/// # Errors
/// A failure when there is no home.
pub fn books(given: Option<&Path>) -> Result<PathBuf, Failure> {
    if let Some(folder) = given {
        return Ok(folder.to_owned());
    }
    if rustix::process::geteuid().is_root() {
        return Ok(PathBuf::from("/var/lib/mailstamp/vendor"));
    }
    let places = directories::ProjectDirs::from("", "", "mailstamp");
    let state = places.as_ref().and_then(|places| places.state_dir());
    let nowhere = || Failure::new(CONFIG, "there is no home to keep books in").hint("say where: --books FOLDER");
    state.map(|state| state.join("vendor")).ok_or_else(nowhere)
}
