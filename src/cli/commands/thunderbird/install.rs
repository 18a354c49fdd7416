//! The two files by which Thunderbird finds this program.

use super::{ADD_ON, HOST};
use crate::cli::ui::exit_status::{CANNOT_CREATE, DATA, Failure, IO, UNAVAILABLE};
use crate::cli::ui::installed;
use crate::cli::ui::output;
use crate::config::paths::{CliOverrides, home};
use crate::os::atomic_file::{self, Durability};
use crate::os::safe_open;
use serde_json::{Value, json};
use std::ffi::{OsStr, OsString};
use std::fs::{self, File};
use std::io::{self, Read, Write};
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::path::{Path, PathBuf};

/// Where Thunderbird looks, below the home.
const FOLDER: &str = ".mozilla/native-messaging-hosts";

/// The second line of the script.
const MADE: &str = "# Made by \"mailstamp thunderbird install\".";
/// Longest file that is read, in bytes.
const LONGEST: u64 = 64 << 10;

struct Files {
    folder: PathBuf,
    manifest: PathBuf,
    script: PathBuf,
}

fn files() -> Result<Files, Failure> {
    let home = home().ok_or_else(|| {
        Failure::new(UNAVAILABLE, "no home: HOME is not set (or not absolute), and no user database names one")
    })?;
    let folder = home.join(FOLDER);
    Ok(Files { manifest: folder.join(format!("{HOST}.json")), script: folder.join(format!("{HOST}-host")), folder })
}

impl Files {
    /// Checks that the files are those of this command, or missing.
    fn check(&self) -> Result<(), Failure> {
        type Check = fn(&[u8]) -> bool;
        for (path, is_ours) in [(&self.manifest, is_manifest as Check), (&self.script, is_script)] {
            match content(path) {
                Ok(text) if is_ours(&text) => {}
                Ok(_) => {
                    let what = "not written by mailstamp thunderbird install, and left as it is";
                    return Err(Failure::new(DATA, format!("{}: {what}", path.display()))
                        .hint("see which program it is of, and move it away"));
                }
                Err(error) if error.kind() == io::ErrorKind::NotFound && !path.is_symlink() => {}
                Err(error) => return Err(Failure::new(IO, format!("{}: {error}", path.display()))),
            }
        }
        Ok(())
    }
}

fn is_manifest(text: &[u8]) -> bool {
    let manifest = serde_json::from_slice::<Value>(text).unwrap_or_default();
    let add_ons = manifest["allowed_extensions"].as_array();
    add_ons.is_some_and(|add_ons| add_ons.iter().any(|add_on| add_on == ADD_ON))
}

fn is_script(text: &[u8]) -> bool {
    text.split(|&byte| byte == b'\n').nth(1) == Some(MADE.as_bytes())
}

/// Returns the beginning of a regular file.
fn content(path: &Path) -> io::Result<Vec<u8>> {
    // Opening a fifo would wait.
    if !fs::metadata(path)?.is_file() {
        return Err(safe_open::irregular());
    }
    let mut text = Vec::new();
    File::open(path)?.take(LONGEST).read_to_end(&mut text)?;
    Ok(text)
}

/// Writes the files. Those of an earlier call are replaced, and those of others are not.
pub(super) fn install(given: &CliOverrides) -> Result<u8, Failure> {
    let files = files()?;
    files.check()?;
    let failed = |path: &Path| {
        let path = path.to_owned();
        move |error: io::Error| Failure::new(CANNOT_CREATE, format!("{}: {error}", path.display()))
    };
    let program = installed::mailstamp()
        .map_err(|error| Failure::new(UNAVAILABLE, format!("cannot find this program: {error}")))?;
    let script = script(&program, given).map_err(failed(&files.script))?;
    let text = files.script.to_str().ok_or_else(|| {
        Failure::new(CANNOT_CREATE, format!("{}: Thunderbird takes no path that is not UTF-8", files.script.display()))
    })?;
    let manifest = json!({
        "name": HOST,
        "description": "mailstamp judges messages, and revokes and grants stamps.",
        "path": text,
        "type": "stdio",
        "allowed_extensions": [ADD_ON],
    });
    fs::create_dir_all(&files.folder).map_err(failed(&files.folder))?;
    for (path, mode, text) in
        [(&files.script, 0o755, &script), (&files.manifest, 0o644, &format!("{manifest:#}\n").into_bytes())]
    {
        atomic_file::replace(path, mode, Durability::Synced, |file| file.write_all(text)).map_err(failed(path))?;
    }
    output::line(&format!("installed for Thunderbird: {}", files.manifest.display()))?;
    Ok(0)
}

/// Removes the files, if both are those of this command.
pub(super) fn remove() -> Result<u8, Failure> {
    let files = files()?;
    files.check()?;
    let mut removed = false;
    for path in [&files.manifest, &files.script] {
        match fs::remove_file(path) {
            Ok(()) => removed = true,
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            Err(error) => return Err(Failure::new(IO, format!("{}: {error}", path.display()))),
        }
    }
    output::line(if removed { "removed" } else { "it was not installed" })?;
    Ok(0)
}

/// Returns the script that Thunderbird starts. It names absolute paths, since Thunderbird has a working folder of its
/// own.
fn script(program: &Path, given: &CliOverrides) -> io::Result<Vec<u8>> {
    let mut line = format!("#!/bin/sh\n{MADE}\nexec ").into_bytes();
    line.extend(quoted(program.as_os_str()));
    for (option, path) in given.files() {
        line.extend_from_slice(format!(" {option} ").as_bytes());
        line.extend(quoted(std::path::absolute(path)?.as_os_str()));
    }
    line.extend_from_slice(b" thunderbird host \"$@\"\n");
    Ok(line)
}

/// Quotes a word for the shell.
fn quoted(word: &OsStr) -> Vec<u8> {
    let mut out = b"'".to_vec();
    for &byte in word.as_bytes() {
        match byte {
            b'\'' => out.extend_from_slice(b"'\\''"),
            byte => out.push(byte),
        }
    }
    out.push(b'\'');
    OsString::from_vec(out).into_vec()
}
