//! The marked blocks that `mailstamp setup` puts into a user's recipes. They are files of `rules/`, with the path of
//! mailstamp set.

use crate::cli::ui::marked_block;
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

/// Lines between which `--screener` removes a comment sign from each line of code.
const SCREENER: [&str; 2] = ["# (screener: \"setup --screener\" removes", "# (screener: end)"];

/// Returns the block with this path of mailstamp, and with the lines of the screener or without.
pub(super) fn text(kind: Kind, program: &str, has_screener: bool) -> String {
    let text = match kind {
        Kind::Procmail => PROCMAIL,
        Kind::Maildrop => MAILDROP,
    };
    let mut is_inside = false;
    let lines = text.split_inclusive('\n').map(|line| {
        if let Some(at) = SCREENER.iter().position(|mark| line.trim_start().starts_with(mark)) {
            is_inside = at == 0;
            return line;
        }
        // A comment has a blank behind its sign, and so has an indented line of code, but three of them.
        let is_code = |code: &str| !code.starts_with(' ') || code.starts_with("  ");
        line.strip_prefix('#').filter(|code| has_screener && is_inside && is_code(code)).unwrap_or(line)
    });
    lines.collect::<String>().replace(PROGRAM, program)
}

/// Returns whether a recipe has the lines of the screener, without their comment signs.
pub(super) fn has_screener(recipe: &str) -> bool {
    let is_code = |line: &str| !line.trim_start().starts_with('#');
    marked_block::is_in(recipe.as_bytes())
        && recipe.lines().any(|line| is_code(line) && line.contains(" $MAILSTAMP held add"))
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
            let (old, new) = (text(kind, "/opt/mailstamp", true), text(kind, PROGRAM, false));
            let recipe = if kind == Kind::Procmail { PROCMAIL } else { MAILDROP };
            assert_eq!(new, recipe);
            let calls = |text: &str, call: &str| {
                let lines = text.lines().filter(|line| !line.trim_start().starts_with('#'));
                lines.filter(|line| line.contains(call)).count()
            };
            for call in ["$MAILSTAMP held answer", "$MAILSTAMP held add"] {
                assert_eq!((calls(&old, call), calls(&new, call)), (1, 0), "{old}");
            }
            assert!(has_screener(&old) && !has_screener(&new));
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
