//! `mailstamp rules`: shows which of the user's rules matches a message, and why.

use crate::cli::ui::exit_status::{CONFIG, Failure, IO};
use crate::cli::ui::judge;
use crate::cli::ui::{input, output};
use crate::config::paths::CliOverrides;
use crate::context::error::Deferral;
use crate::engine::judge::Engine;
use crate::engine::rule_eval::{RuleStep, RuleTrace};
use crate::message::header::readable;
use crate::message::parse::Message;
use crate::policy::regex::Match;
use crate::policy::rule_set::Clause;
use crate::time::UnixTime;
use crate::verdict::class::Class;
use anstyle::{AnsiColor, Style};
use serde_json::{Value, json};
use std::io::{self, Write};

#[derive(Debug, clap::Subcommand)]
pub enum Command {
    /// Show which rule matches a message, and why
    Test(TestArgs),
}

/// Read a message on standard input and show which rule matches it, with the result of each condition that was checked.
///
/// Nothing is written and no stamp is spent.
#[derive(Debug, clap::Args)]
#[command(
    override_usage = "mailstamp rules test [OPTIONS] < MESSAGE",
    after_help = "Examples:\n  \
    mailstamp rules test < message\n  \
    mailstamp rules test --json --sender bob@y.example < message"
)]
pub struct TestArgs {
    /// Judge for this one recipient; it must be one of the configured addresses
    #[arg(long, value_name = "ADDRESS")]
    recipient: Option<String>,
    /// The envelope sender [default: the Return-Path field]
    #[arg(long, value_name = "ADDRESS", allow_hyphen_values = true)]
    sender: Option<String>,
    /// Judge as if it were this time (RFC 3339, or seconds since 1970)
    #[arg(long, value_name = "TIME")]
    now: Option<UnixTime>,
    /// Print a JSON object
    #[arg(long)]
    json: bool,
}

/// Longest value that is shown, in bytes.
const LONGEST: usize = 200;

impl Command {
    /// Returns the user of the mailbox.
    #[must_use]
    pub fn user(&self) -> Option<String> {
        match self {
            Self::Test(args) => args.recipient.clone(),
        }
    }
}

/// Runs a subcommand.
///
/// # Errors
/// A failure when nothing could be decided; with status 78 when the rules are wrong.
pub fn run(command: &Command, given: &CliOverrides) -> Result<u8, Failure> {
    match command {
        Command::Test(args) => test(args, given),
    }
}

fn test(args: &TestArgs, given: &CliOverrides) -> Result<u8, Failure> {
    let engine = Engine::load(given, args.now)?;
    let envelope = judge::envelope(args.recipient.as_deref(), args.sender.as_deref())?;
    let input = input::message(engine.context.config.largest)?;
    let consultation = engine.consult(&Message::parse(&input.bytes), &envelope, input.cut);
    let consultation = consultation.map_err(|error| match error {
        Deferral::Rules(error) => Failure::new(CONFIG, error),
        other => other.into(),
    })?;
    if args.json {
        output::line(&object(&consultation).to_string())?;
        return Ok(0);
    }
    let mut out = anstream::AutoStream::auto(io::stdout().lock());
    let written = tell(&consultation, &mut out).and_then(|()| out.flush());
    written.map_err(|error| Failure::output(IO, &error))?;
    Ok(0)
}

fn tell(consultation: &RuleTrace<'_>, out: &mut impl Write) -> io::Result<()> {
    let RuleTrace { verdict, decision, asked, .. } = consultation;
    let shown = |text: &str| readable(text.as_bytes(), LONGEST);
    for (name, address) in [("from", &consultation.author), ("envelope sender", &consultation.sender)] {
        let address = address.as_ref().map_or("none".to_owned(), |address| shown(&address.to_string()));
        writeln!(out, "{name}: {address}")?;
    }
    writeln!(out, "by its stamps: {} ({})", verdict.class(), verdict.reason)?;
    let good = Style::new().fg_color(Some(AnsiColor::Green.into()));
    let bad = Style::new().fg_color(Some(AnsiColor::Red.into()));
    for RuleStep { rule, matches, answers } in asked {
        let (style, word) = if *matches { (good, "matches") } else { (bad, "does not match") };
        writeln!(out, "rule {}, line {}: {style}{word}{style:#}", shown(&rule.name), rule.line)?;
        for (part, condition, answer) in answers {
            let unless = if *part == Clause::Exception { "unless " } else { "" };
            let (key, text) = (shown(&condition.key), shown(&condition.text));
            writeln!(out, "  {:<9} {unless}{key} = {text}", said(*answer))?;
        }
    }
    let style = output::style(decision.class());
    let end = match (&decision.rule, decision.verdict.class()) {
        (_, Class::FirstClass) => "no rule is asked about first-class mail".to_owned(),
        (Some(name), _) => format!("the rule is {}", shown(name)),
        (None, _) => format!("no rule matched ({} rules)", consultation.count),
    };
    writeln!(out, "{style}{}{style:#}: {end}", decision.class())?;
    writeln!(out, "the action is {}", decision.action)
}

fn said(answer: Option<Match>) -> &'static str {
    match answer {
        Some(Match::Yes) => "yes",
        Some(Match::No) => "no",
        Some(Match::Unknown) => "too long",
        None => "not asked",
    }
}

fn object(consultation: &RuleTrace<'_>) -> Value {
    let RuleTrace { verdict, decision, asked, .. } = consultation;
    let address = |address: &Option<_>| address.as_ref().map(ToString::to_string);
    json!({
        "schema": output::SCHEMA,
        "class": decision.class().as_str(),
        "rule": decision.rule,
        "action": decision.action.as_str(),
        "by_stamps": { "class": verdict.class().as_str(), "reason": verdict.reason.as_str() },
        "from": address(&consultation.author),
        "sender": address(&consultation.sender),
        "asked": asked.iter().map(rule).collect::<Vec<_>>(),
        "count": consultation.count,
    })
}

fn rule(asked: &RuleStep<'_>) -> Value {
    let conditions = asked.answers.iter().map(|(part, condition, answer)| {
        json!({
            "key": condition.key,
            "value": condition.text,
            "line": condition.line,
            "unless": *part == Clause::Exception,
            "answer": answer.map(|answer| said(Some(answer))),
        })
    });
    json!({
        "name": asked.rule.name,
        "line": asked.rule.line,
        "matches": asked.matches,
        "conditions": conditions.collect::<Vec<_>>(),
    })
}
