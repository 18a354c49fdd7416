//! `mailstamp boundary`: the key with which a boundary seals results (mailstamp-milter(8)).

use crate::cli::ui::exit_status::{CANNOT_CREATE, DATA, Failure, IO, NO_INPUT};
use crate::cli::ui::output;
use crate::directory::signing_key::{SecretError, SigningKey};
use std::path::PathBuf;

#[derive(Debug, clap::Subcommand)]
pub enum Command {
    /// Make a key and print what inner hosts trust
    Keygen(Keygen),
    /// Print again what inner hosts trust
    Public(Public),
}

/// Make the key that seals results in a new file, and print the setting by which the hosts behind trust it.
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:\n  \
    mailstamp boundary keygen --host mx.your.example --out /etc/mailstamp/seal.key")]
pub struct Keygen {
    /// The name of the boundary, a domain
    #[arg(long, value_name = "NAME")]
    host: String,
    /// The file for the secret key; it must not exist
    #[arg(long, value_name = "FILE")]
    out: PathBuf,
}

/// Print the setting by which the hosts behind trust a key.
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:\n  mailstamp boundary public --key /etc/mailstamp/seal.key")]
pub struct Public {
    /// The file of the secret key
    #[arg(long, value_name = "FILE")]
    key: PathBuf,
}

/// Runs a subcommand.
///
/// # Errors
/// A failure when the key cannot be written or read.
pub fn run(command: &Command) -> Result<u8, Failure> {
    let key = match command {
        Command::Keygen(args) => keygen(args)?,
        Command::Public(args) => SigningKey::read_seal(&args.key).map_err(|error| match error {
            SecretError::Form { .. } => Failure::new(DATA, error).hint("give the file of `mailstamp boundary keygen`"),
            error => Failure::new(NO_INPUT, error),
        })?,
    };
    output::line(&format!("[trusted_boundaries]\n{:?} = \"{}\"", key.issuer.vendor(), key.key.public()))?;
    Ok(0)
}

fn keygen(args: &Keygen) -> Result<SigningKey, Failure> {
    let wrong = || Failure::new(DATA, format!("--host {:?}: write a domain in lower case", args.host));
    let key = SigningKey::generate_seal(&args.host).ok_or_else(wrong)?.map_err(|error| Failure::new(IO, error))?;
    key.write(&args.out).map_err(|error| {
        let hint =
            format!("a key is never overwritten; see it with: mailstamp boundary public --key {}", args.out.display());
        let failure = Failure::new(CANNOT_CREATE, error);
        if args.out.exists() { failure.hint(hint) } else { failure }
    })?;
    Ok(key)
}
