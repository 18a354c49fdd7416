//! The two files by which Thunderbird finds this program.

use super::{ADD_ON, HOST};
use crate::cli::ui::exit_status::{CANNOT_CREATE, Failure, IO, UNAVAILABLE};
use crate::cli::ui::installed;
use crate::cli::ui::output;
use crate::config::paths::{CliOverrides, home};
use crate::os::atomic_file::{self, Durability};
use serde_json::json;
use std::ffi::{OsStr, OsString};
use std::fs;
use std::io::{self, Write};
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::path::{Path, PathBuf};

/// Where Thunderbird looks, below the home.
const FOLDER: &str = ".mozilla/native-messaging-hosts";

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

/// Writes the files. Those of an earlier call are replaced.
pub(super) fn install(given: &CliOverrides) -> Result<u8, Failure> {
    let files = files()?;
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

/// Removes the files.
pub(super) fn remove() -> Result<u8, Failure> {
    let files = files()?;
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
    let mut line = b"#!/bin/sh\n# Made by \"mailstamp thunderbird install\".\nexec ".to_vec();
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
