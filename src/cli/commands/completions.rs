//! `mailstamp completions`: completion scripts, made from the definition of the command line itself.

use crate::cli::Cli;
use crate::cli::ui::exit_status::Failure;
use clap::CommandFactory;
use std::io::{self, Write};

/// Print the completion script for a shell.
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:\n  \
    mailstamp completions bash > ~/.local/share/bash-completion/completions/mailstamp\n  \
    mailstamp completions zsh > ~/.zfunc/_mailstamp\n  \
    mailstamp completions fish > ~/.config/fish/completions/mailstamp.fish")]
pub struct Args {
    /// The shell
    #[arg(value_enum)]
    shell: Shell,
}

#[derive(Clone, Copy, Debug, clap::ValueEnum)]
enum Shell {
    Bash,
    Zsh,
    Fish,
}

/// Runs the command.
///
/// # Errors
/// A failure when writing fails.
pub fn run(args: &Args) -> Result<u8, Failure> {
    let mut script = Vec::new();
    let mut command = Cli::command();
    match args.shell {
        Shell::Bash => clap_complete::generate(clap_complete::Shell::Bash, &mut command, "mailstamp", &mut script),
        Shell::Zsh => clap_complete::generate(clap_complete::Shell::Zsh, &mut command, "mailstamp", &mut script),
        Shell::Fish => clap_complete::generate(clap_complete::Shell::Fish, &mut command, "mailstamp", &mut script),
    }
    let mut stdout = io::stdout().lock();
    stdout.write_all(&script).and_then(|()| stdout.flush())?;
    Ok(0)
}
