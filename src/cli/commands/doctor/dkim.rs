//! The programs of this host that sign outgoing mail by DKIM, as their usual files have it: whether they cover the field
//! of announcements.

use crate::peer::KEY_FIELD;
use std::fs;
use std::path::Path;

const OPENDKIM: &str = "etc/opendkim.conf";
/// Files of rspamd, the one that counts first. `sign_headers` is an option of the module `dkim`, and of `dkim_signing`
/// where that has none (lua_cfg_transform.lua, rspamd 3.4).
const RSPAMD: [&str; 4] = [
    "etc/rspamd/override.d/dkim.conf",
    "etc/rspamd/local.d/dkim.conf",
    "etc/rspamd/override.d/dkim_signing.conf",
    "etc/rspamd/local.d/dkim_signing.conf",
];

/// Returns what to write into which file, for each program whose signatures do not cover the field. `root` is the folder
/// that the system's files are in.
pub(super) fn uncovered(root: &Path) -> Vec<String> {
    let name = KEY_FIELD.to_ascii_lowercase();
    let opendkim = fs::read_to_string(root.join(OPENDKIM)).is_ok_and(|text| !opendkim_covers(&text));
    let opendkim = opendkim.then(|| (OPENDKIM, format!("SignHeaders *,+{name}")));
    let rspamd = rspamd(root).map(|path| (path, format!("sign_headers = \"…:{name}\", with the names of all others")));
    let both = opendkim.into_iter().chain(rspamd);
    both.map(|(path, line)| {
        format!(
            "/{path}: signatures do not cover {KEY_FIELD}, so correspondents do not hear of a changed key; write {line}"
        )
    })
    .collect()
}

/// Whether a configuration of OpenDKIM lets it sign the announcement. A set in a file of its own is not looked at.
fn opendkim_covers(configuration: &str) -> bool {
    let lines = configuration.lines().map(|line| line.split('#').next().unwrap_or_default());
    let mut entries = lines.filter_map(|line| line.trim_start().split_once(char::is_whitespace));
    // The last one counts.
    let Some((_, set)) = entries.rfind(|(key, _)| key.eq_ignore_ascii_case("SignHeaders")) else { return false };
    if set.contains('/') || set.contains(':') {
        return true;
    }
    set.split(',').any(|name| name.trim().trim_start_matches('+').eq_ignore_ascii_case(KEY_FIELD))
}

/// Returns the file of rspamd in which the field is missing. `None` if rspamd was not told to sign, if it covers the
/// field, or if a file includes others, which are not looked at.
fn rspamd(root: &Path) -> Option<&'static str> {
    let files = RSPAMD.map(|path| (path, fs::read_to_string(root.join(path)).map(|text| plain(&text)).ok()));
    let texts = || files.iter().filter_map(|(path, text)| Some((*path, text.as_deref()?)));
    let mut signing = texts().filter(|(path, _)| path.ends_with("dkim_signing.conf"));
    let (signs, text) = signing.next()?;
    if value(text, "enabled").is_some_and(|value| value.trim() == "false")
        || texts().any(|(_, it)| it.contains(".include"))
    {
        return None;
    }
    let Some((path, list)) = texts().find_map(|(path, text)| Some((path, value(text, "sign_headers")?))) else {
        // The default does not name it.
        return Some(signs);
    };
    let mut names = list.split(|c: char| c != '-' && !c.is_ascii_alphanumeric());
    let covers = names.any(|name| name.eq_ignore_ascii_case(KEY_FIELD));
    (!covers).then_some(path)
}

/// Returns a text of UCL, the language of rspamd, without its comments.
fn plain(text: &str) -> String {
    let (mut plain, mut rest, mut is_quoted) = (String::new(), text, false);
    while let Some(c) = rest.chars().next() {
        let skipped = match (is_quoted, c) {
            (false, '#') => rest.find('\n').unwrap_or(rest.len()),
            (false, '/') if rest.starts_with("/*") => rest.find("*/").map_or(rest.len(), |at| at + 2),
            (true, '\\') => {
                let taken: usize = rest.chars().take(2).map(char::len_utf8).sum();
                plain.push_str(&rest[..taken]);
                taken
            }
            _ => {
                is_quoted ^= c == '"';
                plain.push(c);
                c.len_utf8()
            }
        };
        rest = &rest[skipped..];
    }
    plain
}

/// Returns the last value of an option in a text without comments: up to its end, that of its list, or that of the line.
fn value<'a>(text: &'a str, name: &str) -> Option<&'a str> {
    let is_name = |c: char| c.is_ascii_alphanumeric() || matches!(c, '_' | '-');
    let is_option = |at: &usize| {
        let (before, after) = (text[..*at].trim_end_matches('"'), text[at + name.len()..].trim_start_matches('"'));
        !before.ends_with(is_name) && !after.starts_with(is_name) && !after.trim_start().starts_with([';', ',', ']'])
    };
    let at = text.match_indices(name).map(|(at, _)| at).filter(is_option).last()?;
    let after = text[at + name.len()..].trim_start_matches('"').trim_start();
    let value = after.strip_prefix(['=', ':']).unwrap_or(after).trim_start();
    let mut is_quoted = false;
    let is_end = |c: char| {
        is_quoted ^= c == '"';
        !is_quoted && (c == ';' || c == '\n' && !value.starts_with('[') || c == ']')
    };
    Some(&value[..value.find(is_end).unwrap_or(value.len())])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn opendkim_signs_the_field_when_it_is_told_to() {
        for (text, signed) in [
            ("Syslog yes\n", false),
            ("SignHeaders *,+digital-stamp-key\n", true),
            ("signheaders From, Digital-Stamp-Key, Date # all\n", true),
            ("# SignHeaders *,+digital-stamp-key\n", false),
            ("SignHeaders *,+digital-stamp-key\nSignHeaders From\n", false),
            ("SignHeaders *,-digital-stamp-key\n", false),
            ("SignHeaders refile:/etc/headers\n", true),
        ] {
            assert_eq!(opendkim_covers(text), signed, "{text}");
        }
    }

    /// The files below a folder with what `uncovered` says of them: the path that it names.
    fn of_files(files: &[(&str, &str)]) -> Vec<String> {
        let root = tempfile::tempdir().unwrap();
        for (path, text) in files {
            let path = root.path().join("etc").join(path);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, text).unwrap();
        }
        uncovered(root.path()).iter().map(|line| line.split(": ").next().unwrap().to_owned()).collect()
    }

    #[test]
    fn rspamd_signs_the_field_when_it_is_told_to() {
        let (local, own) = ("rspamd/local.d/dkim_signing.conf", "rspamd/override.d/dkim.conf");
        let named = "/etc/rspamd/local.d/dkim_signing.conf";
        // It was not told to sign.
        assert_eq!(
            of_files(&[("rspamd/modules.d/dkim_signing.conf", "dkim_signing { sign_local = true; }\n")]),
            [""; 0]
        );
        assert_eq!(of_files(&[(local, "enabled = false;\n")]), [""; 0]);
        for (text, covers) in [
            ("selector = \"2026\";\n", false),
            ("sign_headers = \"(o)from:(x)sender:date:message-id:digital-stamp-key\";\n", true),
            ("sign_headers: '(o)from:(o)Digital-Stamp-Key'\n", true),
            ("sign_headers \"from:to\";\npath = \"/etc/digital-stamp-key\";\n", false),
            ("\"sign_headers\" = [\"from\", \"date\",\n  \"(o)digital-stamp-key\"];\n", true),
            ("sign_headers = [\n  \"from\", # and digital-stamp-key\n  \"date\"\n]\n", false),
            ("# sign_headers = \"digital-stamp-key\";\n", false),
            (
                "/* sign_headers = \"digital-stamp-key\"; */ selector = \"#\";\nsign_headers = \"digital-stamp-key\"",
                true,
            ),
            ("sign_headers = \"x-digital-stamp-key:digital-stamp-key-old\";\n", false),
            (".include \"/etc/dkim\"\n", true),
        ] {
            assert_eq!(of_files(&[(local, text)]), if covers { vec![] } else { vec![named] }, "{text}");
        }
        // The module that verifies and signs has the last word.
        let (with, without) = ("sign_headers = \"from:digital-stamp-key\";", "sign_headers = \"from\";");
        assert_eq!(of_files(&[(local, without), (own, with)]), [""; 0]);
        assert_eq!(of_files(&[(local, with), (own, without)]), ["/etc/rspamd/override.d/dkim.conf"]);
        assert_eq!(of_files(&[("opendkim.conf", ""), (local, "")]), ["/etc/opendkim.conf", named]);
    }
}
