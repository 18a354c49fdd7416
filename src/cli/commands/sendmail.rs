//! `mailstamp sendmail`: replaces sendmail(8). Its options are parsed here and not by clap, because they are older than
//! any convention: `-oi`, `-fme@here`, `-F name`, and any number of addresses. `sender/submission` does the rest.

use crate::cli::Files;
use crate::cli::mail_path::is_sendmail;
use crate::cli::ui::exit_status::{CONFIG, DATA, Failure, TEMPFAIL, USAGE};
use crate::cli::ui::{input, output, purchase};
use crate::config::paths::{CliOverrides, PathsError};
use crate::context::Context;
use crate::message::header::readable;
use crate::message::parse::Message;
use crate::os::{random, standard_streams};
use crate::sender::stamp_source::StampSource;
use crate::sender::submission::outbox::{Listed, Outbox};
use crate::sender::submission::parse::{Invalid, LocalHost, SendmailArgs, Submission, read_dot_terminated};
use crate::sender::submission::transport::Transport;
use crate::sender::submission::{Delivery, SubmissionAgent, SubmissionError, Summary, own_address};
use std::ffi::{OsStr, OsString};
use std::io::{self, IsTerminal, Write};
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// Read a message on standard input and send each recipient a copy with a stamp of its own, in place of sendmail(8).
///
/// A stamp comes from the wallet or is bought, unless the recipient gave you one (peers.enabled). An answer carries back
/// the stamp of the message that it answers, if the sender of that message allowed it. Nothing is bought for recipients
/// in sendmail.none. Each copy goes to the next sendmail(8)
/// (sendmail.next) or to a server (sendmail.smtp). No copy shows Bcc. If no stamp is available now, the message waits,
/// and the status is 75; the same command on the same message, or -q, continues where it stopped. Nothing is bought
/// twice.
///
/// The options are those of sendmail(8): -t, -i, -f, -F, -o..., -B, -N, -R, -V, -v, -bm, -bp, --. A link named
/// mailstamp-sendmail or sendmail does the same.
#[derive(Debug, clap::Args)]
#[command(after_help = "Exit status:\n  \
    0 sent  64 wrong use  65, 67, 68, 69, 77 refused for good  75 try again  78 configuration\n\n\
    Examples:\n  \
    mailstamp sendmail -t -i < message\n  \
    mailstamp sendmail -f you@your.example -- someone@far.example < message\n  \
    mailstamp sendmail -q                          go on with what waits\n  \
    mailstamp sendmail -bp                         list it")]
pub struct Args {
    /// Let every recipient use the stamp in a reply: log a grant for each, and mark the stamp
    #[arg(long = "return")]
    for_return: bool,
    /// Continue with all waiting messages, as -q does
    #[arg(long)]
    resume: bool,
    /// Discard the messages with these names, as -bp lists them; recipients that have no copy yet get none
    #[arg(long)]
    drop: bool,
    /// Options of sendmail(8), and recipients, or what --drop names
    #[arg(value_name = "OPTION|RECIPIENT", trailing_var_arg = true, allow_hyphen_values = true)]
    argv_of_sendmail: Vec<OsString>,
}

/// Parsed command line.
#[derive(Debug, Default, PartialEq, Eq)]
struct Line {
    asked: SendmailArgs,
    /// Whether a line with a single dot is ordinary text.
    dots: bool,
    resume: bool,
    list: bool,
    drop: bool,
    verbose: bool,
    config: Option<PathBuf>,
    state: Option<PathBuf>,
}

/// Hint for an unknown message name.
const LISTED: &str = "mailstamp sendmail -bp lists the waiting messages";

/// Returns the arguments behind `sendmail`, and the files named before it, if this is its command line: by the
/// program's name, or by the first word. `--help` is left to clap.
pub(in crate::cli) fn argv_of_sendmail(arguments: &[OsString]) -> Option<(Files, Vec<OsString>)> {
    let (program, rest) = arguments.split_first()?;
    let mut files = Files::default();
    if is_sendmail(Path::new(program)) {
        return Some((files, rest.to_vec()));
    }
    let mut rest = rest.iter();
    while let Some(word) = rest.next() {
        let text = word.to_str()?;
        match text.split_once('=').map_or((text, None), |(name, value)| (name, Some(value))) {
            ("--config", value) => {
                files.config = Some(value.map(PathBuf::from).or_else(|| rest.next().map(PathBuf::from))?)
            }
            ("--state", value) => {
                files.state = Some(value.map(PathBuf::from).or_else(|| rest.next().map(PathBuf::from))?)
            }
            ("sendmail", None) => {
                let words: Vec<OsString> = rest.cloned().collect();
                let help = words.iter().take_while(|word| *word != "--").any(|word| word == "--help" || word == "-h");
                return (!help).then_some((files, words));
            }
            _ => return None,
        }
    }
    None
}

/// Runs the command as parsed by clap, which parses it for its help alone.
pub fn run(args: &Args, files: Files) -> Result<u8, Failure> {
    let mut words = args.argv_of_sendmail.clone();
    words.extend(args.for_return.then(|| OsString::from("--return")));
    words.extend(args.resume.then(|| OsString::from("--resume")));
    words.extend(args.drop.then(|| OsString::from("--drop")));
    run_as_sendmail(files, &words)
}

/// Runs the command.
///
/// # Errors
/// A failure with a status of sysexits(3); 75 when a later attempt may succeed.
pub fn run_as_sendmail(files: Files, words: &[OsString]) -> Result<u8, Failure> {
    let line = read(words)?;
    let message = line.asked.from_fields || line.asked.for_return || !line.asked.recipients.is_empty();
    if line.resume && (line.list || line.drop || message) {
        return Err(Failure::new(
            USAGE,
            "--resume (-q): sends the waiting messages, and takes no message or recipient",
        ));
    }
    if line.list {
        output::check()?;
    } else if !line.resume && !line.drop {
        standard_streams::check_input().map_err(|error| Failure::input(TEMPFAIL, &error))?;
    }
    let Files { config, state } = files;
    let given = CliOverrides::from_environment(line.config.clone().or(config), line.state.clone().or(state), None);
    let context = Context::load(&given, None).map_err(|error| match error {
        // The message may be sent when the disk is mounted.
        PathsError::Missing { .. } => Failure::new(TEMPFAIL, error),
        error => error.into(),
    })?;
    if line.list {
        return list(&Outbox::new(context.places.state()?));
    }
    let transport = Transport::new(&context.config.sendmail.next).map_err(|error| Failure::new(CONFIG, error))?;
    let sender = StampSource::new(&context.config, &context.places)?;
    let shown = io::stderr().is_terminal();
    let progress = |over: usize, whole: usize| {
        if shown && whole > 1 {
            let end = if over == whole { "\r\x1b[K" } else { "" };
            let _ = write!(io::stderr().lock(), "\r{over} of {whole}\x1b[K{end}");
        }
    };
    let used_log = || Ok(Arc::from(context.used_log()?));
    let post = SubmissionAgent {
        context: &context,
        supply: &sender,
        transport: &transport,
        used_log: &used_log,
        progress: &progress,
    };
    if line.resume {
        // The waiting messages are sent in any case.
        purchase::sweep(&sender, &context).unwrap_or_else(|failure| failure.report());
        return resume(&post);
    }
    if line.drop {
        return discard(&post, &line.asked.recipients);
    }
    let submission = submission(&context, &line)?;
    let report = post.submit(submission).map_err(|error| {
        context.log_error(&format!("sendmail: deferred: {error}"));
        trouble(&error)
    })?;
    tell(&report, line.verbose);
    Ok(report.status())
}

/// Sends the waiting messages.
fn resume(post: &SubmissionAgent<'_>) -> Result<u8, Failure> {
    let mut status = 0;
    for report in post.resume().map_err(|error| trouble(&error))? {
        let now = match report {
            Ok(report) => {
                tell(&report, false);
                report.status()
            }
            // Another process is sending it.
            Err(SubmissionError::Busy) => 0,
            Err(error) => {
                let failure = trouble(&error);
                failure.report();
                failure.code
            }
        };
        status = if status == TEMPFAIL || now == 0 { status } else { now };
    }
    Ok(status)
}

/// Lists the waiting messages: name, date, subject, the recipients that have no copy yet, and whether the daemon or a
/// mail program must send it.
fn list(journal: &Outbox) -> Result<u8, Failure> {
    let mut status = 0;
    let messages = journal.list().map_err(|error| Failure::new(TEMPFAIL, error))?;
    if messages.is_empty() {
        output::note("no message waits");
    }
    for listed in messages {
        match listed {
            Ok(listed) => {
                let is_unaccepted = listed.is_unaccepted();
                let Listed { submission, ends } = listed;
                let message = Message::parse(&submission.message);
                let field = |name| {
                    message.first(name).map(|field| readable(field.to_text().as_bytes(), 200)).unwrap_or_default()
                };
                output::line(&format!("{}  {}  {}", submission.name, field("Date"), field("Subject")))?;
                for (recipient, _) in submission.recipients.iter().zip(&ends).filter(|(_, end)| end.is_none()) {
                    output::line(&format!("    {}", readable(recipient.to_string().as_bytes(), 300)))?;
                }
                if is_unaccepted {
                    output::line("    (answered 451: its mail program must send it again)")?;
                }
            }
            Err(error) => {
                Failure::new(TEMPFAIL, error).report();
                status = TEMPFAIL;
            }
        }
    }
    Ok(status)
}

/// Discards waiting messages.
fn discard(post: &SubmissionAgent<'_>, names: &[String]) -> Result<u8, Failure> {
    if names.is_empty() {
        return Err(Failure::new(USAGE, "--drop needs the name of a message").hint(LISTED));
    }
    for name in names {
        if !post.discard(name).map_err(|error| trouble(&error))? {
            let name = readable(name.as_bytes(), 100);
            return Err(Failure::new(DATA, format!("{name}: no message of this name waits")).hint(LISTED));
        }
    }
    Ok(0)
}

fn submission(context: &Context, line: &Line) -> Result<Submission, Failure> {
    let input = input::read(u64::MAX).map_err(|error| Failure::input(TEMPFAIL, &error))?;
    let raw = if line.dots { &input.bytes[..] } else { read_dot_terminated(&input.bytes) };
    let mut random = [0; 16];
    random::fill(&mut random).map_err(|error| Failure::new(TEMPFAIL, format!("no random numbers: {error}")))?;
    let own = own_address(context);
    let here = LocalHost { now: context.now, own: own.as_ref(), random };
    Submission::prepare(raw, &line.asked, &here).map_err(|error| match error {
        Invalid::NoRecipient => Failure::new(USAGE, error).hint("name them in the arguments, or use -t"),
        error => Failure::new(USAGE, error),
    })
}

fn trouble(error: &SubmissionError) -> Failure {
    Failure::new(TEMPFAIL, error)
}

/// Reports failures, and copies without a stamp, one line each. Reports successes only if `verbose`.
fn tell(report: &Summary, verbose: bool) {
    let mut stderr = io::stderr().lock();
    for (recipient, fate) in &report.each {
        let to = readable(recipient.to_string().as_bytes(), 300);
        // Standard error may be closed by now.
        let _ = match fate {
            Delivery::Sent { without: None } if !verbose => Ok(()),
            Delivery::Sent { without: None } => writeln!(stderr, "mailstamp: {to}: sent"),
            Delivery::Sent { without: Some(why) } => {
                writeln!(stderr, "mailstamp: note: {to}: sent without a stamp: {why}")
            }
            Delivery::Deferred(said) => writeln!(stderr, "mailstamp: error: {to}: not sent yet: {said}"),
            Delivery::Refused(status, said) => writeln!(stderr, "mailstamp: error: {to}: refused ({status}): {said}"),
        };
    }
    if report.ended {
        let _ =
            writeln!(stderr, "mailstamp: note: nothing was sent now: mailstamp sendmail -q sent this message before");
    }
    let waits = report.each.iter().any(|(_, fate)| matches!(fate, Delivery::Deferred(_)));
    if waits {
        let _ = writeln!(stderr, "mailstamp: hint: send the same message again, or run: mailstamp sendmail -q");
    }
}

/// Reads the options of sendmail(8).
fn read(words: &[OsString]) -> Result<Line, Failure> {
    let mut line = Line::default();
    let mut words = words.iter();
    let text = |word: &OsStr| {
        word.to_str()
            .map(str::to_owned)
            .ok_or_else(|| Failure::new(USAGE, format!("{}: not UTF-8", readable(word.as_encoded_bytes(), 100))))
    };
    while let Some(word) = words.next() {
        let word = text(word)?;
        // The value of an option: the rest of the word, or the next word.
        let mut value = |behind: &str| -> Result<String, Failure> {
            if !behind.is_empty() {
                return Ok(behind.to_owned());
            }
            let next = words.next().ok_or_else(|| Failure::new(USAGE, format!("{word} needs a value")))?;
            text(next)
        };
        if word == "--" {
            for word in words.by_ref() {
                line.asked.recipients.push(text(word)?);
            }
            break;
        }
        if let Some(name) = word.strip_prefix("--") {
            let (name, behind) = name.split_once('=').unwrap_or((name, ""));
            match name {
                "return" => line.asked.for_return = true,
                "resume" => line.resume = true,
                "drop" => line.drop = true,
                "config" => line.config = Some(value(behind)?.into()),
                "state" => line.state = Some(value(behind)?.into()),
                _ => return Err(unknown(&word)),
            }
            continue;
        }
        let Some(letters) = word.strip_prefix('-').filter(|letters| !letters.is_empty()) else {
            line.asked.recipients.push(word);
            continue;
        };
        option(letters, &mut line, &word, &mut value)?;
    }
    Ok(line)
}

/// Reads one word of options. Characters without a value may be combined (`-ti`). The options with a value are those of
/// Sendmail and Postfix.
fn option(
    letters: &str,
    line: &mut Line,
    word: &str,
    value: &mut dyn FnMut(&str) -> Result<String, Failure>,
) -> Result<(), Failure> {
    let mut chars = letters.chars();
    while let Some(letter) = chars.next() {
        let behind = chars.as_str();
        match letter {
            't' => line.asked.from_fields = true,
            'i' => line.dots = true,
            'v' => line.verbose = true,
            // Groups of addresses, the batch size of the queue, a gateway's mail: ignored here.
            'c' | 'G' | 'm' | 'n' | 's' | 'T' | 'U' | 'x' => {}
            'q' => {
                line.resume = true;
                return Ok(());
            }
            _ => return with_value(letter, line, word, || value(behind)),
        }
    }
    Ok(())
}

/// Reads an option with a value.
fn with_value(
    letter: char,
    line: &mut Line,
    word: &str,
    value: impl FnOnce() -> Result<String, Failure>,
) -> Result<(), Failure> {
    match letter {
        'f' | 'r' => line.asked.sender = Some(value()?),
        'F' => line.asked.full_name = Some(value()?),
        // -oi means -i; -oem, -odb and all others are customary and have no effect here.
        'o' => line.dots |= value()? == "i",
        // Error reporting (-em is -oem), type of the body, notifications, envelope name: ignored, since the next
        // program reads the message itself.
        'A' | 'B' | 'e' | 'h' | 'L' | 'N' | 'O' | 'p' | 'R' | 'V' | 'X' => drop(value()?),
        'b' => match value()?.as_str() {
            "m" => {}
            "p" => line.list = true,
            "s" => return Err(refused(word, "speak SMTP to the mail system itself")),
            "i" | "d" | "D" | "v" | "t" | "h" | "H" | "l" => {
                return Err(refused(word, "that is for the mail system's own sendmail(8)"));
            }
            _ => return Err(unknown(word)),
        },
        _ => return Err(unknown(word)),
    }
    Ok(())
}

fn refused(word: &str, hint: &str) -> Failure {
    Failure::new(USAGE, format!("{} is not offered: this is no mail system", readable(word.as_bytes(), 100))).hint(hint)
}

fn unknown(word: &str) -> Failure {
    Failure::new(USAGE, format!("{}: no such option", readable(word.as_bytes(), 100)))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn line(words: &str) -> Result<Line, String> {
        let words: Vec<OsString> = words.split_whitespace().map(OsString::from).collect();
        read(&words).map_err(|failure| format!("{} {}", failure.code, failure.message))
    }

    #[test]
    fn the_words_of_real_programs_are_understood() {
        let asked = |recipients: &[&str]| recipients.iter().map(|&it| it.to_owned()).collect::<Vec<_>>();
        // mutt, with use_8bitmime and dsn_notify
        let mutt =
            line("-oem -oi -B8BITMIME -N failure,delay -R hdrs -f me@x.example -- a@y.example b@y.example").unwrap();
        assert_eq!(mutt.asked.recipients, asked(&["a@y.example", "b@y.example"]));
        assert_eq!(
            (mutt.asked.sender.as_deref(), mutt.dots, mutt.asked.from_fields),
            (Some("me@x.example"), true, false)
        );
        // PHP, cron, git send-email, bsd-mailx
        let php = line("-t -i -fwww@x.example").unwrap();
        assert_eq!((php.asked.sender.as_deref(), php.asked.from_fields, php.dots), (Some("www@x.example"), true, true));
        let cron = line("-i -FCronDaemon -B8BITMIME -oem root").unwrap();
        assert_eq!((cron.asked.full_name.as_deref(), &cron.asked.recipients), (Some("CronDaemon"), &asked(&["root"])));
        let git = line("-i -f me@x.example a@y.example").unwrap();
        assert_eq!(git.asked.recipients, asked(&["a@y.example"]));
        let glued = line("-tiv -r <> --return -bm -oi -odb -- -x@y.example").unwrap();
        assert!(glued.asked.from_fields && glued.dots && glued.verbose && glued.asked.for_return);
        assert_eq!((glued.asked.sender.as_deref(), glued.asked.recipients), (Some("<>"), asked(&["-x@y.example"])));
        // An option without a value takes no word, and one with a value takes it.
        let words = "-G -i -em -ep -e q -U -n -m -c -s -x -h 3 -L tag -X log -O k=v -p ESMTP -A c -Am carol@y.example bob@y.example";
        let all = line(words).unwrap();
        assert_eq!((all.asked.recipients, all.dots), (asked(&["carol@y.example", "bob@y.example"]), true));
        assert!(line("-tGi a@y.example").unwrap().dots);
        assert!(line("-q").unwrap().resume && line("-q15m").unwrap().resume && line("--resume").unwrap().resume);
        assert!(line("-bp").unwrap().list && line("--drop 0a").unwrap().drop);
    }

    #[test]
    fn what_is_not_offered_is_refused() {
        for words in ["-bs", "-bd", "-bi", "-b s", "-bx", "-Z", "--nonsense", "-f", "-C/tmp/x", "-D x", "-I", "-e"] {
            let told = line(words).unwrap_err();
            assert!(told.starts_with("64 "), "{words}: {told}");
        }
    }

    #[test]
    fn it_is_ours_by_name_or_by_word() {
        let words_of = |text: &str| {
            let arguments: Vec<OsString> = text.split(' ').map(OsString::from).collect();
            argv_of_sendmail(&arguments).map(|(files, words)| (files.config, words.len()))
        };
        assert_eq!(words_of("/usr/bin/mailstamp-sendmail -t -i"), Some((None, 2)));
        assert_eq!(words_of("sendmail a"), Some((None, 1)));
        assert_eq!(words_of("mailstamp --config /c sendmail -t"), Some((Some("/c".into()), 1)));
        assert_eq!(words_of("mailstamp --config=/c --state /s sendmail"), Some((Some("/c".into()), 0)));
        for text in ["mailstamp filter", "mailstamp sendmail --help", "mailstamp", "mailstamp --version sendmail"] {
            assert_eq!(words_of(text), None, "{text}");
        }
    }
}
