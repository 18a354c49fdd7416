//! Client of sendmail(8): hands a message to the mail system without a shell, without the environment, and with a
//! timeout. The program's output is kept for the log.

use crate::message::address::Address;
use crate::message::header::escape_untrusted;
use rustix::fs::{MemfdFlags, memfd_create};
use rustix::process::{Pid, Signal, kill_process_group};
use std::fs::File;
use std::io::{self, Read, Seek, Write};
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::{Child, Command, ExitStatus};
use std::time::{Duration, Instant};

/// Bytes of output that are kept.
const SAID: usize = 300;

/// Failure to send, or an unknown result. The message is not sent again: the mail system may have taken it, and one
/// message too few is better than two.
#[derive(Debug, thiserror::Error)]
pub enum SendError {
    /// The program could not be run.
    #[error("cannot be run: {0}")]
    Start(#[from] io::Error),
    /// The program failed.
    #[error("{status}: {said}")]
    Failed {
        status: ExitStatus,
        /// Its output, encoded and shortened.
        said: String,
    },
    /// It exceeded the timeout and was killed.
    #[error("took longer than {} s", .0.as_secs())]
    TimeOut(Duration),
}

/// Process group of a program, as the terminal sees it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Group {
    /// A process group of its own, so that its children can be killed with it.
    Own,
    /// The group of this process: the terminal stops a program in another group that asks for a password.
    Ours,
}

impl Group {
    /// Returns the group of a program that may ask the user something, if there is a terminal.
    #[must_use]
    pub fn that_may_ask() -> Self {
        if File::open("/dev/tty").is_ok() { Self::Ours } else { Self::Own }
    }
}

/// Runs `program -i -f <> -- to` with `letter` on its standard input and waits for it, at most `limit`. The null sender
/// is that of RFC 3834 section 3.3. `-i` keeps a line with a single dot from ending the message, and after `--` no
/// address is an option.
pub fn send(program: &Path, to: &Address, letter: &str, limit: Duration) -> Result<(), SendError> {
    let mut command = Command::new(program);
    command.args(["-i", "-f", "<>", "--"]).arg(to.to_string());
    command.env_clear().env("PATH", "/usr/sbin:/usr/bin:/sbin:/bin").current_dir("/");
    feed(command, &mut std::iter::once(letter.as_bytes()), limit, Group::Own)
}

/// Runs `command` with `pieces` on its standard input and waits for it, at most `limit`. The input is whole even if
/// this process ends meanwhile, so no mail system ever sees half a message.
pub fn feed(
    mut command: Command,
    pieces: &mut dyn Iterator<Item = &[u8]>,
    limit: Duration,
    group: Group,
) -> Result<(), SendError> {
    // Files in memory instead of pipes: a child that keeps a pipe open, or does not read it, would block this process.
    let mut input = memory()?;
    for piece in pieces {
        input.write_all(piece)?;
    }
    input.rewind()?;
    let mut output = memory()?;
    if group == Group::Own {
        command.process_group(0);
    }
    command.stdin(input).stdout(output.try_clone()?).stderr(output.try_clone()?);
    let mut child = command.spawn()?;
    let Some(status) = wait(&mut child, limit, group)? else { return Err(SendError::TimeOut(limit)) };
    if status.success() {
        return Ok(());
    }
    let mut said = Vec::new();
    output.rewind()?;
    output.take(SAID as u64).read_to_end(&mut said)?;
    Err(SendError::Failed { status, said: escape_untrusted(said.trim_ascii(), SAID) })
}

fn memory() -> io::Result<File> {
    Ok(File::from(memfd_create("mailstamp", MemfdFlags::CLOEXEC)?))
}

/// Waits for the child. Returns its status; `None` if it was killed at the timeout.
fn wait(child: &mut Child, limit: Duration, group: Group) -> io::Result<Option<ExitStatus>> {
    let start = Instant::now();
    // Each pause is a quarter longer, so the wait exceeds the runtime of the child by a quarter at most.
    let mut pause = Duration::from_micros(200);
    while start.elapsed() < limit {
        if let Some(status) = child.try_wait()? {
            return Ok(Some(status));
        }
        std::thread::sleep(pause);
        pause = (pause * 5 / 4).min(Duration::from_millis(50));
    }
    match i32::try_from(child.id()).ok().and_then(Pid::from_raw) {
        Some(id) if group == Group::Own => drop(kill_process_group(id, Signal::KILL)),
        _ => child.kill()?,
    }
    child.wait()?;
    Ok(None)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::path::PathBuf;

    /// Writes a shell script that replaces sendmail, in another process: this one may fork while the script is open for
    /// writing.
    fn stand_in(folder: &Path, script: &str) -> PathBuf {
        let path = folder.join("sendmail");
        let write = format!("printf '#!/bin/sh\\n%s\\n' \"$1\" > {0} && chmod 755 {0}", path.display());
        assert!(Command::new("sh").args(["-c", &write, "sh", script]).status().unwrap().success());
        path
    }

    fn to() -> Address {
        Address::parse("bob@y.example").unwrap()
    }

    const LONG: Duration = Duration::from_secs(300);

    #[test]
    fn the_letter_arrives_with_these_arguments_and_nothing_else() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().display();
        let script = format!("cat > {path}/letter; echo \"$*\" > {path}/args; env > {path}/env; pwd >> {path}/env");
        send(&stand_in(folder.path(), &script), &to(), "Subject: x\n\n.\nend\n", LONG).unwrap();
        let read = |name: &str| std::fs::read_to_string(folder.path().join(name)).unwrap();
        assert_eq!(read("letter"), "Subject: x\n\n.\nend\n");
        assert_eq!(read("args"), "-i -f <> -- bob@y.example\n");
        // PWD, OLDPWD, SHLVL and _ are the shell's own.
        let names: Vec<String> =
            read("env").lines().filter_map(|line| line.split_once('=')).map(|(n, _)| n.into()).collect();
        assert!(names.contains(&"PATH".to_owned()));
        assert!(names.iter().all(|name| ["PATH", "PWD", "OLDPWD", "SHLVL", "_"].contains(&name.as_str())), "{names:?}");
        assert!(read("env").ends_with("\n/\n"));
    }

    #[test]
    fn what_goes_wrong_is_told_and_capped() {
        let folder = tempfile::tempdir().unwrap();
        let failing = stand_in(folder.path(), "printf 'no\\033[31m\\nsuch host' >&2; exit 67");
        let SendError::Failed { status, said } = send(&failing, &to(), "x", LONG).unwrap_err() else { panic!() };
        assert_eq!((status.code(), said.as_str()), (Some(67), "no\\x1b[31m\\x0asuch host"));
        let endless = stand_in(folder.path(), "yes >&2 & sleep 0.2; kill $!; exit 1");
        let SendError::Failed { said, .. } = send(&endless, &to(), "x", LONG).unwrap_err() else { panic!() };
        assert!(said.len() <= SAID);
        let missing = send(&folder.path().join("none"), &to(), "x", LONG).unwrap_err();
        assert!(matches!(missing, SendError::Start(_)), "{missing}");
    }

    #[test]
    fn who_hangs_is_ended_with_all_that_he_started() {
        let folder = tempfile::tempdir().unwrap();
        let pid = folder.path().join("pid");
        let script = format!("sleep 600 & echo $! > {}.part; mv {0}.part {0}; wait", pid.display());
        let hanging = stand_in(folder.path(), &script);
        // A busy machine may not even have started it by the end of a short timeout.
        let child = [2, 8, 32, 128].into_iter().find_map(|seconds| {
            let error = send(&hanging, &to(), "x", Duration::from_secs(seconds)).unwrap_err();
            assert!(matches!(error, SendError::TimeOut(_)), "{error}");
            std::fs::read_to_string(&pid).ok()
        });
        let child = child.expect("it was begun");
        let gone = || !Path::new("/proc").join(child.trim()).join("fd/0").exists();
        let start = Instant::now();
        while !gone() {
            assert!(start.elapsed() < LONG, "the child of the program is still there");
            std::thread::sleep(Duration::from_millis(10));
        }
    }

    #[test]
    fn who_leaves_a_child_behind_is_not_waited_for() {
        let folder = tempfile::tempdir().unwrap();
        let pid = folder.path().join("pid");
        let script = format!("sleep 600 & echo $! > {}; exit 0", pid.display());
        send(&stand_in(folder.path(), &script), &to(), "x", LONG).unwrap();
        let child = std::fs::read_to_string(pid).unwrap().trim().parse().ok().and_then(Pid::from_raw).unwrap();
        // It is still running, and is killed by this.
        rustix::process::kill_process(child, Signal::KILL).unwrap();
    }
}
