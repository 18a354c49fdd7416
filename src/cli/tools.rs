//! The program `mailstamp-tools`, which has every command. `mailstamp` becomes it (execve(2)) for everything outside
//! the mail path, so users and recipes name `mailstamp` alone.

use super::status;
use super::ui::exit_status::{Failure, TEMPFAIL, UNAVAILABLE};
use super::ui::judge;
use crate::config::paths::{CliOverrides, is_setuid};
use nix::unistd::execve;
use std::ffi::{CString, OsString};
use std::fs::{self, Metadata};
use std::io::{self, IsTerminal};
use std::os::unix::ffi::OsStringExt;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

/// The name of the program; it lies in the folder of `mailstamp`.
pub const NAME: &str = "mailstamp-tools";

/// Replaces this process with `mailstamp-tools` and these arguments, the program's own name first. Returns only on
/// failure, with the exit status, after reporting it. The status is 69 at a terminal, else 75, since a message may be
/// waiting.
#[must_use]
pub fn exec(arguments: &[OsString]) -> u8 {
    let failure = hand_over(arguments);
    let code = if io::stdin().is_terminal() { UNAVAILABLE } else { TEMPFAIL };
    if code == TEMPFAIL {
        judge::tell(&CliOverrides::from_environment(None, None, None), &failure.message);
    }
    status(Err(Failure { code, ..failure }))
}

/// As [`exec`], for a command that reports its own failures. The status is 75.
pub(super) fn hand_over(arguments: &[OsString]) -> Failure {
    let why = match beside().and_then(|tools| replace(&tools, arguments)) {
        Err(why) => why,
        Ok(never) => match never {},
    };
    Failure::new(TEMPFAIL, why).hint("install mailstamp and mailstamp-tools into one folder")
}

/// Returns the path of `mailstamp-tools` beside this program, after following links to this program.
fn beside() -> Result<PathBuf, String> {
    let own = std::env::current_exe().map_err(|error| format!("{NAME}: no folder to look in: {}", error))?;
    let tools = own.with_file_name(NAME);
    let look = |path: &Path| fs::metadata(path).map_err(|error| format!("{}: {}", path.display(), error));
    let (it, folder) = (look(&tools)?, look(tools.parent().unwrap_or(Path::new("/")))?);
    // Without this check, the program would execute itself for ever.
    if look(&own).is_ok_and(|own| (own.dev(), own.ino()) == (it.dev(), it.ino())) {
        return Err(format!("{}: is a link to mailstamp", tools.display()));
    }
    // Users can give a set-id program another name in a folder of their own.
    if is_setuid() && !(is_safe(&it) && is_safe(&folder)) {
        return Err(format!("{}: others may write it, and mailstamp is set-id", tools.display()));
    }
    Ok(tools)
}

/// Returns whether only root and the effective user of this process may change a file.
fn is_safe(file: &Metadata) -> bool {
    let owner = file.uid();
    (owner == 0 || owner == rustix::process::geteuid().as_raw()) && file.mode() & 0o022 == 0
}

/// Calls execve(2) itself: execvp(3) of the C library would hand a file that is no program to the shell, and an empty
/// file would succeed.
fn replace(tools: &Path, arguments: &[OsString]) -> Result<std::convert::Infallible, String> {
    let text = |text: OsString| CString::new(text.into_vec()).map_err(|_| format!("{NAME}: a NUL in its arguments"));
    let path = text(tools.as_os_str().to_owned())?;
    let words = arguments.iter().cloned().map(text).collect::<Result<Vec<_>, _>>()?;
    let environment = std::env::vars_os().map(|(mut name, value)| {
        name.push("=");
        name.push(value);
        text(name)
    });
    let environment = environment.collect::<Result<Vec<_>, _>>()?;
    execve(&path, &words, &environment).map_err(|errno| format!("{}: {}", tools.display(), errno.desc()))
}
