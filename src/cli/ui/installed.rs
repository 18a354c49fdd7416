//! The program that users and recipes name.

use std::io;
use std::path::PathBuf;

/// Returns the path of `mailstamp`, which is in the folder of this program.
///
/// # Errors
/// The system's, when this program cannot be found.
pub fn mailstamp() -> io::Result<PathBuf> {
    Ok(std::env::current_exe()?.with_file_name("mailstamp"))
}
