//! The marked blocks that `mailstamp setup` puts into a user's recipes. They are files of `rules/`, with the path of
//! mailstamp set.

use std::path::Path;

/// The path of mailstamp in the recipes.
const PROGRAM: &str = "/usr/local/bin/mailstamp";

const PROCMAIL: &str = include_str!("../../../../rules/procmailrc-setup");
const MAILDROP: &str = include_str!("../../../../rules/mailfilter-setup");
const FORWARD: &str = include_str!("../../../../rules/forward");
/// The path of procmail in it.
const PROCMAIL_PATH: &str = "/usr/bin/procmail";
/// The rules to begin with.
pub(super) const RULES: &str = include_str!("../../../../rules/rules.toml");

/// The program that reads the block.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    Procmail,
    Maildrop,
}

/// Returns the block with this path of mailstamp.
pub(super) fn text(kind: Kind, program: &str) -> String {
    let text = match kind {
        Kind::Procmail => PROCMAIL,
        Kind::Maildrop => MAILDROP,
    };
    text.replace(PROGRAM, program)
}

/// Returns a whole `~/.forward` that names procmail.
pub(super) fn forward(procmail: &str) -> String {
    FORWARD.replace(PROCMAIL_PATH, procmail)
}

/// Returns the path as text, if every recipe can name this path: it has no blank, and nothing that a shell or procmail reads.
pub(super) fn can_name(program: &Path) -> Option<&str> {
    let text = program.to_str().filter(|text| text.starts_with('/'))?;
    let plain = |c: char| c.is_ascii_alphanumeric() || "/._+-".contains(c);
    text.chars().all(plain).then_some(text)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cli::ui::marked_block::{BEGIN, END, with, without};

    #[test]
    fn the_recipes_are_blocks_with_one_path_of_mailstamp() {
        for kind in [Kind::Procmail, Kind::Maildrop] {
            let (old, new) = (text(kind, "/opt/mailstamp"), text(kind, PROGRAM));
            assert!(new.starts_with(BEGIN) && new.ends_with(END), "{new}");
            assert_eq!(new.matches(PROGRAM).count(), 1);
            let first = with(b":0\ninbox\n", &old).unwrap();
            assert_eq!(without(&with(&first, &new).unwrap(), new.as_bytes()).unwrap(), b":0\ninbox\n");
        }
        assert!(FORWARD.contains(PROCMAIL_PATH));
    }

    #[test]
    fn only_plain_paths_are_named() {
        for path in ["/usr/local/bin/mailstamp", "/home/a.b/.cargo/bin/mailstamp"] {
            assert_eq!(can_name(Path::new(path)), Some(path));
        }
        for path in ["mailstamp", "/my programs/mailstamp", "/a;b/mailstamp", "/a\nb/mailstamp", "/\u{e4}/mailstamp"] {
            assert_eq!(can_name(Path::new(path)), None);
        }
    }
}
