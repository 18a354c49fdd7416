//! `mailstamp deliver`: a small delivery agent for mail systems that pipe a message to a command. It prints nothing. It
//! exits 0 when the message is delivered, held or discarded as configured, else 75.

use crate::cli::ui::exit_status::{Failure, TEMPFAIL};
use crate::cli::ui::input;
use crate::cli::ui::judge;
use crate::config::paths::CliOverrides;
use crate::context::used_log;
use crate::engine::delivery::{DeliveryError, IncomingMessage};
use crate::engine::judge::Engine;
use crate::engine::marking::Mode;
use crate::engine::screener::Answered;
use crate::message::parse::Message;
use crate::verdict::facts::Envelope;
use std::io::Read;
use std::path::PathBuf;

/// Read a message on standard input and deliver it by its class: into a Maildir, into one of its folders, or into held
/// mail, as configured.
///
/// The message gets the field Digital-Stamp-Class on top, as from filter. A good stamp is spent. The exit status is 0
/// when the message is delivered, held, or discarded as configured. In any other case it is 75, and the message is
/// stored nowhere.
#[derive(Debug, Default, clap::Args)]
#[command(
    override_usage = "mailstamp deliver [OPTIONS] < MESSAGE",
    after_help = "Examples:\n  \
    \"|/usr/local/bin/mailstamp deliver || exit 75\"               in a .forward\n  \
    mailbox_command = /usr/local/bin/mailstamp deliver || exit 75  in Postfix's main.cf\n  \
    mda \"/usr/local/bin/mailstamp deliver --sender '%F'\"          in a .fetchmailrc"
)]
pub struct Args {
    #[command(flatten)]
    pub delivery: judge::Args,
    /// Deliver into this Maildir [default: the configured one, else ~/Maildir]
    #[arg(long, value_name = "FOLDER")]
    pub maildir: Option<PathBuf>,
}

/// Runs the command.
///
/// # Errors
/// A failure with status 75, reported in one line, which mail systems show to people.
pub fn run(args: &Args, given: &CliOverrides) -> Result<u8, Failure> {
    deliver(args, given).map_err(|failure| {
        if failure.is_for_tools() {
            return failure;
        }
        let failure = failure.explained();
        let hint = failure.hint.map(|hint| format!(" ({hint})")).unwrap_or_default();
        Failure::new(TEMPFAIL, judge::one_line(&format!("{}{hint}", failure.message)))
    })?;
    Ok(0)
}

fn deliver(args: &Args, given: &CliOverrides) -> Result<(), Failure> {
    let mut engine = Engine::load(given, args.delivery.now)?;
    if !used_log::has_client(&engine.context.config) {
        return Err(Failure::for_tools());
    }
    engine.ask_resident(given);
    let envelope = args.delivery.envelope()?;
    let envelope = Envelope { sender: envelope.sender.or_else(|| given.sender_variable.clone()), ..envelope };
    let input = input::read(engine.context.config.largest).map_err(|error| Failure::input(TEMPFAIL, &error))?;
    let maildir = match &args.maildir {
        Some(maildir) => maildir,
        None => engine.context.places.maildir()?,
    };
    if args.delivery.marking() == Mode::Spend && !input.cut {
        match engine.answer_held(&Message::parse(&input.bytes), maildir)? {
            Answered::Done(..) => return Ok(()),
            Answered::Nothing => {}
            // It is delivered as any other message.
            Answered::Refused(why) => engine.context.log_error(&format!("answer to held mail not carried out: {why}")),
            Answered::Gone(name) => {
                engine.context.log_error(&format!("answer to held mail not carried out: {name} is not held any more"));
            }
        }
    }
    let mut stdin = std::io::stdin();
    let rest = input.cut.then_some(&mut stdin as &mut dyn Read);
    let arrival = IncomingMessage { bytes: &input.bytes, rest, envelope, marking: args.delivery.marking() };
    engine.deliver(arrival, maildir)?;
    if args.delivery.marking() == Mode::Spend {
        engine.run_daily_cleanup(args.maildir.as_deref());
    }
    Ok(())
}

impl From<DeliveryError> for Failure {
    fn from(error: DeliveryError) -> Self {
        Self { code: TEMPFAIL, hint: error.hint().map(str::to_owned), message: error.to_string() }
    }
}
