//! Native messaging (developer.mozilla.org, "Native messaging"): a request is its length in four bytes of the machine's
//! order, then JSON; so is the answer.
//!
//! A request names an [`Action`] and has the message in base64. The action is the command of that name, which
//! another process of this program runs with `--json`. The add-on names no option, no path and no other command.

use super::ADD_ON;
use crate::cli::ui::exit_status::{DATA, Failure, IO, NO_PERMISSION, UNAVAILABLE};
use crate::cli::ui::output::SCHEMA;
use crate::cli::ui::terminal_text::without_controls;
use crate::config::paths::CliOverrides;
use crate::os::standard_streams;
use data_encoding::BASE64;
use serde::Deserialize;
use serde_json::{Value, json};
use std::ffi::{OsStr, OsString};
use std::io::{self, Read, Write};
use std::process::{Command, Stdio};
use std::thread;

/// Longest request, in bytes: a message of 48 MB. The add-on refuses larger ones.
const REQUEST_MAX: u32 = 64 * 1024 * 1024;
/// Longest answer, in bytes; Thunderbird takes 1 MB.
const ANSWER_MAX: usize = 1_000_000;

/// What the add-on may ask.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case")]
enum Action {
    Explain,
    Grant,
    Revoke,
    Unrevoke,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Request {
    action: Action,
    /// In base64.
    message: String,
}

/// Answers until the input ends.
pub(super) fn run(arguments: &[OsString], given: &CliOverrides) -> Result<u8, Failure> {
    if let Some(asking) = arguments.get(1).filter(|it| *it != ADD_ON) {
        return Err(Failure::new(NO_PERMISSION, format!("{}: not the add-on of mailstamp", asking.display())));
    }
    standard_streams::check_input().map_err(|error| Failure::input(IO, &error))?;
    let (mut input, mut output) = (io::stdin().lock(), io::stdout().lock());
    while let Some(request) = read(&mut input)? {
        let answer = match serde_json::from_slice::<Request>(&request) {
            Ok(request) => match BASE64.decode(request.message.as_bytes()) {
                Ok(message) => perform(request.action, message, given),
                Err(error) => refusal(&format!("the message is not base64: {error}")),
            },
            Err(error) => refusal(&format!("not a request: {error}")),
        };
        write(&mut output, &answer).map_err(|error| Failure::output(IO, &error))?;
    }
    Ok(0)
}

/// Reads a request; `None` at the end of the input.
fn read(input: &mut impl Read) -> Result<Option<Vec<u8>>, Failure> {
    let mut length = [0; 4];
    let mut got = 0;
    while let Some(rest) = length.get_mut(got..).filter(|rest| !rest.is_empty()) {
        match input.read(rest) {
            Ok(0) if got == 0 => return Ok(None),
            Ok(0) => return Err(cut()),
            Ok(count) => got += count,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(Failure::input(IO, &error)),
        }
    }
    let length = u32::from_ne_bytes(length);
    if length > REQUEST_MAX {
        return Err(Failure::new(DATA, format!("a request of {length} bytes; at most {REQUEST_MAX}")));
    }
    // As much as there is: the length may be a lie.
    let mut request = Vec::new();
    input.take(length.into()).read_to_end(&mut request).map_err(|error| Failure::input(IO, &error))?;
    if request.len() < length as usize { Err(cut()) } else { Ok(Some(request)) }
}

fn cut() -> Failure {
    Failure::new(DATA, "the input ends within a request")
}

fn write(output: &mut impl Write, answer: &Value) -> io::Result<()> {
    let mut text = answer.to_string().into_bytes();
    if text.len() > ANSWER_MAX {
        text = refusal("the answer is longer than Thunderbird takes").to_string().into_bytes();
    }
    output.write_all(&u32::try_from(text.len()).unwrap_or(u32::MAX).to_ne_bytes())?;
    output.write_all(&text)?;
    output.flush()
}

/// Runs the command with this message.
fn perform(action: Action, message: Vec<u8>, given: &CliOverrides) -> Value {
    match output_of(action, message, given) {
        Ok(ran) => {
            let said = without_controls(String::from_utf8_lossy(&ran.stderr).trim_end());
            // A killed command has no status of its own.
            answer(ran.status.code().unwrap_or(UNAVAILABLE.into()), serde_json::from_slice(&ran.stdout).ok(), &said)
        }
        Err(error) => refusal(&format!("cannot run mailstamp: {error}")),
    }
}

fn output_of(action: Action, message: Vec<u8>, given: &CliOverrides) -> io::Result<std::process::Output> {
    let mut command = Command::new(std::env::current_exe()?);
    command.args(given.files().flat_map(|(option, path)| [OsStr::new(option), path.as_os_str()]));
    command.arg(action.word()).arg("--json");
    let mut child = command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn()?;
    let stdin = child.stdin.take();
    // The command may answer before it has read the message, and then need not read it.
    let feed = thread::spawn(move || stdin.map(|mut stdin| stdin.write_all(&message)));
    let output = child.wait_with_output();
    let _ = feed.join();
    output
}

fn refusal(text: &str) -> Value {
    answer(DATA.into(), None, text)
}

/// An answer: the command's exit status, the object that it printed, and what it said on standard error.
fn answer(status: i32, result: Option<Value>, said: &str) -> Value {
    json!({ "schema": SCHEMA, "status": status, "result": result, "said": said })
}

impl Action {
    /// Returns the command of this action.
    fn word(self) -> &'static str {
        match self {
            Self::Explain => "explain",
            Self::Grant => "grant",
            Self::Revoke => "revoke",
            Self::Unrevoke => "unrevoke",
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn framed(text: &[u8]) -> Vec<u8> {
        [&u32::try_from(text.len()).unwrap().to_ne_bytes()[..], text].concat()
    }

    #[test]
    fn requests_come_whole_or_not_at_all() {
        let bytes = [framed(b"{}"), framed(b"")].concat();
        let mut input = &bytes[..];
        assert_eq!(read(&mut input).unwrap(), Some(b"{}".to_vec()));
        assert_eq!(read(&mut input).unwrap(), Some(Vec::new()));
        assert_eq!(read(&mut input).unwrap(), None);
        for cut in [1, 3, 4, 5] {
            assert_eq!(read(&mut &bytes[..cut]).unwrap_err().code, DATA, "{cut}");
        }
        assert_eq!(read(&mut &u32::MAX.to_ne_bytes()[..]).unwrap_err().code, DATA);
    }

    #[test]
    fn an_answer_fits_thunderbird() {
        let mut out = Vec::new();
        write(&mut out, &answer(0, Some("x".repeat(ANSWER_MAX).into()), "")).unwrap();
        let text = read(&mut &out[..]).unwrap().unwrap();
        let answer: Value = serde_json::from_slice(&text).unwrap();
        assert_eq!((&answer["status"], &answer["result"]), (&json!(65), &Value::Null));
    }

    proptest! {
        #[test]
        fn any_bytes_are_a_request_or_an_error(bytes in prop::collection::vec(any::<u8>(), 0..64)) {
            if let Ok(Some(request)) = read(&mut &bytes[..]) {
                prop_assert!(bytes.len() >= 4 + request.len());
                let _ = serde_json::from_slice::<Request>(&request);
            }
        }
    }
}
