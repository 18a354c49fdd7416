//! Unified diff of a file of which one part changed.

use crate::message::header::readable;
use std::fmt::Write;
use std::path::Path;

/// Unchanged lines shown on each side.
const CONTEXT: usize = 3;

/// Returns the difference of a file as a unified diff with one hunk; `before` is `None` for a new file. Invisible
/// characters are escaped.
pub(super) fn unified(path: &Path, before: Option<&[u8]>, after: &[u8]) -> String {
    let (old, new) = (lines(before.unwrap_or_default()), lines(after));
    let head = old.iter().zip(&new).take_while(|(a, b)| a == b).count();
    let most = old.len().min(new.len()) - head;
    let tail = old.iter().rev().zip(new.iter().rev()).take(most).take_while(|(a, b)| a == b).count();
    let (begin, more) = (head.saturating_sub(CONTEXT), tail.min(CONTEXT));
    let (old_end, new_end) = (old.len() - tail, new.len() - tail);
    let path = path.display();
    let from = if before.is_some() { path.to_string() } else { "/dev/null".to_owned() };
    let range = |length: usize| match length {
        0 => format!("{begin},0"),
        _ => format!("{},{length}", begin + 1),
    };
    let (old_range, new_range) = (range(old_end + more - begin), range(new_end + more - begin));
    let mut text = format!("--- {from}\n+++ {path}\n@@ -{old_range} +{new_range} @@\n");
    let parts = [
        (' ', &old[begin..head]),
        ('-', &old[head..old_end]),
        ('+', &new[head..new_end]),
        (' ', &old[old_end..old_end + more]),
    ];
    for (sign, lines) in parts {
        for line in lines {
            let ended = line.strip_suffix(b"\n");
            let _ = writeln!(text, "{sign}{}", shown(ended.unwrap_or(line)));
            if ended.is_none() {
                text.push_str("\\ No newline at end of file\n");
            }
        }
    }
    text
}

/// Returns a line with its invisible characters escaped, but for tabs.
fn shown(line: &[u8]) -> String {
    let parts: Vec<String> = line.split(|&b| b == b'\t').map(|part| readable(part, usize::MAX)).collect();
    parts.join("\t")
}

fn lines(bytes: &[u8]) -> Vec<&[u8]> {
    bytes.split_inclusive(|&b| b == b'\n').collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn diff(before: Option<&str>, after: &str) -> String {
        unified(Path::new("f"), before.map(str::as_bytes), after.as_bytes())
    }

    #[test]
    fn a_changed_part_is_one_hunk() {
        assert_eq!(diff(None, "a\nb\n"), "--- /dev/null\n+++ f\n@@ -0,0 +1,2 @@\n+a\n+b\n");
        assert_eq!(diff(Some("x\n"), "a\nx\n"), "--- f\n+++ f\n@@ -1,1 +1,2 @@\n+a\n x\n");
        let (before, after) = ("1\n2\n3\n4\n5\n6\n7\n8\n9", "1\n2\n3\n4\nfive\n6\n7\n8\n9");
        assert_eq!(diff(Some(before), after), "--- f\n+++ f\n@@ -2,7 +2,7 @@\n 2\n 3\n 4\n-5\n+five\n 6\n 7\n 8\n");
        assert_eq!(
            diff(Some("a"), "a\x1b\n"),
            "--- f\n+++ f\n@@ -1,1 +1,1 @@\n-a\n\\ No newline at end of file\n+a\\x1b\n"
        );
    }
}
