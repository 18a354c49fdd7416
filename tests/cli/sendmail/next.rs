//! A stand-in for the next sendmail(8): it records every call with its arguments and the copy, and ends as configured.

use crate::support::Home;
use crate::support::programs::stand_in;
use std::fs;
use std::path::PathBuf;

/// What the next sendmail was given.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Call {
    /// Its arguments.
    pub args: String,
    /// The copy.
    pub copy: String,
}

impl Call {
    /// The recipient, the last argument.
    pub fn to(&self) -> &str {
        self.args.rsplit(' ').next().unwrap()
    }
}

/// The stand-in in a home.
pub struct Next {
    folder: PathBuf,
}

impl Next {
    /// Puts it into `home` and makes it the next sendmail, with more of the table `[sendmail]`, and what stands before.
    pub fn install(home: &Home, before: &str, table: &str) -> Self {
        let next = Self { folder: home.file("next") };
        fs::create_dir_all(next.folder.join("calls")).unwrap();
        next.ends("exit 0");
        home.configure(&format!("{before}\n[sendmail]\nnext = {:?}\n{table}", next.program()));
        next
    }

    /// The program.
    pub fn program(&self) -> PathBuf {
        self.folder.join("sendmail")
    }

    /// How it ends from now on: a line of shell, with the recipient in `$to`.
    pub fn ends(&self, how: &str) {
        let folder = self.folder.display();
        stand_in(
            &self.program(),
            &format!(
                "#!/bin/sh\nargs=\"$*\"\nfor to; do :; done\ncall=$(mktemp -d {folder}/calls/XXXXXXXX)\n\
                 cat > $call/copy\necho \"$args\" > $call/args\n{how}\n"
            ),
        );
    }

    /// What it was given since it was asked last, by recipient.
    pub fn calls(&self) -> Vec<Call> {
        let mut calls = Vec::new();
        for entry in fs::read_dir(self.folder.join("calls")).unwrap() {
            let path = entry.unwrap().path();
            let read = |name: &str| fs::read_to_string(path.join(name));
            // The arguments are written last, and at once: without them it is still writing.
            if let (Ok(args), Ok(copy)) = (read("args"), read("copy"))
                && args.ends_with('\n')
            {
                calls.push(Call { args: args.trim_end().to_owned(), copy });
                fs::remove_dir_all(path).unwrap();
            }
        }
        calls.sort_by(|a, b| a.to().cmp(b.to()));
        calls
    }
}
