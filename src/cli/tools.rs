//! The program `mailstamp-tools`, which has every command. `mailstamp` becomes it (execve(2)) for whatever is not of the
//! mail path, so users and recipes name `mailstamp` alone.

use super::exit::{Failure, TEMPFAIL, UNAVAILABLE};
use super::mail_path;
use super::{delivery, status};
use crate::config::places::Given;
use std::ffi::OsString;
use std::io;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::Command;

/// The name of the program; it lies in the folder of `mailstamp`.
pub const NAME: &str = "mailstamp-tools";

/// Becomes `mailstamp-tools` with these arguments, the program's own name first. Returns only when that fails: the exit
/// status, after the failure was told. Where a message may be waiting it is 75.
#[must_use]
pub fn exec(arguments: &[OsString]) -> u8 {
    let Some((name, words)) = arguments.split_first() else { return TEMPFAIL };
    let (path, error) = match beside() {
        Ok(path) => {
            let error = Command::new(&path).arg0(name).args(words).exec();
            (path, error)
        }
        Err(error) => (PathBuf::from(NAME), error),
    };
    let message = format!("{}: {error}", path.display());
    let hint = "install mailstamp and mailstamp-tools into one folder";
    let texts: Vec<&str> = words.iter().filter_map(|word| word.to_str()).collect();
    let waits = mail_path::is_sendmail(Path::new(name)) || texts.contains(&"sendmail") || mail_path::may_wait(&texts);
    if waits {
        delivery::tell(&Given::from_environment(None, None, None), &message);
    }
    status(Err(Failure::new(if waits { TEMPFAIL } else { UNAVAILABLE }, message).hint(hint)))
}

/// The path of `mailstamp-tools`: links to `mailstamp` are followed first.
fn beside() -> io::Result<PathBuf> {
    Ok(std::env::current_exe()?.with_file_name(NAME))
}
