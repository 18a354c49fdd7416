//! The user of a mailbox, where one Unix user serves many (as under Dovecot): `%u`, `%n` and `%d` in the configuration.
//! The name comes from the delivering program and may be what a stranger wrote after RCPT TO.
//!
//! - It never leads out of the folder that the configuration names.
//! - It stays literal text: it is never a pattern, nor a part of a regular expression.
//! - Two names that address comparison tells apart are two users.

use crate::message::address::{Address, LocalCase, PatternPart};

/// User of the mailbox, if the delivering program named one.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct User(Option<Name>);

#[derive(Clone, Debug, PartialEq, Eq)]
struct Name {
    /// Without quotes and without its tag, in the case in which it was given.
    local: String,
    domain: String,
}

/// Reason that a `%` sign cannot be filled in.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum UserError {
    /// No source names the user of the mailbox.
    #[error("the mailbox is not known: neither --recipient nor USER nor RECIPIENT names one")]
    Unknown,
    /// There is no domain in the user's name.
    #[error("%d is empty: the user's name has no domain")]
    NoDomain,
    /// The name would lead out of the folder, or is none that a mailbox has.
    #[error("user name {name:?}: not usable in paths and addresses: {why}")]
    Unsafe {
        /// Its first 100 characters.
        name: String,
        why: &'static str,
    },
    /// A bare login name where an address is needed.
    #[error("the user {0:?} has no domain: write %n@your.example, or name the user by the whole address")]
    Login(String),
    /// Not one of `%u %n %d %%`.
    #[error("only %u, %n, %d and %% are known")]
    UnknownSign,
}

/// Longest part of a name, in bytes. File systems take 255 for a whole file name.
const LONGEST: usize = 200;

impl User {
    /// Returns the user of this name: an address, or a bare login name. All spellings of one mailbox are one user, and
    /// so are its tags (`alice+a@` and `alice+b@`): they must share one used log.
    ///
    /// # Errors
    /// [`UserError::Unsafe`] for a name that could not be a part of a path. It is empty, too long, begins with a dot or
    /// a hyphen, begins or ends with a blank, or has a slash, a backslash, a quotation mark, a star, a control or
    /// invisible character, or an `@` without being an address.
    pub fn named(name: &str) -> Result<Self, UserError> {
        let refused = |why| UserError::Unsafe { name: name.chars().take(100).collect(), why };
        let is_address = name.contains('@');
        // A login name follows the rules of a local part. In quotes, any character may stand in one.
        let quoted = || format!("\"{name}\"@user.invalid");
        let (text, no_name) = match is_address {
            true => (name.to_owned(), "it is no address"),
            false if name.contains(['"', '\\']) => return Err(refused("it holds a quotation mark or a backslash")),
            false => (quoted(), "it is empty, too long, or holds a control or invisible character"),
        };
        let address = Address::parse(&text).map_err(|_| refused(no_name))?;
        let local = address.local().split_once('+').map_or(address.local(), |(base, _)| base);
        let domain = if is_address { address.domain() } else { "" };
        let is_sign = |c: char| c.is_control() || matches!(c, '/' | '\\' | '"' | '*' | '\u{fffd}');
        let why = match local {
            "" => "it is empty",
            _ if local.len().max(domain.len()) > LONGEST => "it is longer than 200 bytes",
            _ if local.starts_with(['.', '-']) => "it begins with a dot or a hyphen",
            _ if local.trim() != local => "it begins or ends with a blank",
            _ if local.contains(is_sign) || domain.contains(is_sign) => {
                "it holds one of / \\ \" * or a control character"
            }
            _ => return Ok(Self(Some(Name { local: local.to_owned(), domain: domain.to_owned() }))),
        };
        Err(refused(why))
    }

    /// Returns `text` with `%u` (the user), `%n` (the part before the `@`), `%d` (the domain) and `%%` filled in. The
    /// ASCII letters of the name become lower case, unless `case` keeps them: as addresses compare.
    ///
    /// # Errors
    /// [`UserError`] when one of them is in `text` and cannot be filled in.
    pub fn expand(&self, text: &str, case: LocalCase) -> Result<String, UserError> {
        Ok(self.parts(text, case)?.iter().map(PatternPart::as_str).collect())
    }

    /// Returns the parts of an address, as [`User::parts`] does. With a bare login name, `%u` alone is none.
    ///
    /// # Errors
    /// As `parts`, and [`UserError::Login`].
    pub fn address_parts(&self, text: &str, case: LocalCase) -> Result<Vec<PatternPart>, UserError> {
        let parts = self.parts(text, case)?;
        let whole: String = parts.iter().map(PatternPart::as_str).collect();
        if text.contains("%u") && !whole.contains('@') { Err(UserError::Login(whole)) } else { Ok(parts) }
    }

    /// Returns the parts of [`User::expand`]: what the configuration says, and what the name fills in.
    ///
    /// # Errors
    /// [`UserError`] when a sign is in `text` and cannot be filled in.
    pub fn parts(&self, text: &str, case: LocalCase) -> Result<Vec<PatternPart>, UserError> {
        let mut parts = Vec::new();
        let mut written = String::new();
        let mut chars = text.chars();
        while let Some(c) = chars.next() {
            if c != '%' {
                written.push(c);
                continue;
            }
            let sign = chars.next();
            if sign == Some('%') {
                written.push('%');
                continue;
            }
            let name = self.0.as_ref().ok_or(UserError::Unknown)?;
            let local = match case {
                LocalCase::Fold => name.local.to_ascii_lowercase(),
                LocalCase::Keep => name.local.clone(),
            };
            let part = match sign {
                Some('d') if name.domain.is_empty() => return Err(UserError::NoDomain),
                Some('d') => PatternPart::literal(name.domain.clone()),
                Some('u') if !name.domain.is_empty() => PatternPart::address(&local, &name.domain),
                Some('n' | 'u') => PatternPart::literal(local),
                _ => return Err(UserError::UnknownSign),
            };
            parts.push(PatternPart::Written(std::mem::take(&mut written)));
            parts.push(part);
        }
        parts.push(PatternPart::Written(written));
        Ok(parts)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use LocalCase::{Fold, Keep};

    #[test]
    fn a_name_fills_the_signs() {
        let user = User::named("Alice+news@X.example").unwrap();
        assert_eq!(user.expand("/m/%d/%n/%u/100%%", Fold).unwrap(), "/m/x.example/alice/alice@x.example/100%");
        let login = User::named("alice").unwrap();
        assert_eq!(login.expand("%u-%n", Fold).unwrap(), "alice-alice");
        assert_eq!(login.expand("%d", Fold), Err(UserError::NoDomain));
        assert_eq!(login.expand("%x", Fold), Err(UserError::UnknownSign));
    }

    #[test]
    fn a_mailbox_is_one_user_however_it_is_spelled() {
        let expand = |name: &str| User::named(name).unwrap().expand("%u %n %d", Fold).unwrap();
        let alice = "alice@xn--bcher-kva.example alice xn--bcher-kva.example";
        for name in [
            "alice@xn--bcher-kva.example",
            "Alice@b\u{fc}cher.example",
            "alice@BU\u{308}CHER.example.",
            "\"alice\"@xn--bcher-kva.example",
            "\"alice+a\"@xn--bcher-kva.example",
        ] {
            assert_eq!(expand(name), alice, "{name}");
        }
        assert_eq!(expand("ZO\u{eb}@x.example"), expand("zoe\u{308}@x.example"));
        assert_eq!(User::named("zo\u{eb}"), User::named("zoe\u{308}+tag"));
        // Where an address stands, a part that needs quotes has them; a folder has none.
        assert_eq!(expand("\"a b\"@x.example"), "\"a b\"@x.example a b x.example");
    }

    #[test]
    fn no_name_leads_out_of_the_folder() {
        for name in [
            "",
            "..",
            "../x",
            "a/b",
            "/etc",
            ".hidden",
            "+x@d",
            "a\0b",
            "a\nb",
            "a@../../etc",
            "a@b/c",
            "a\\b",
            "\".\"@d",
            "\"a/b\"@d",
            "a@",
            "a@b@c",
            "*@x.example",
            "ali*@x.example",
            "*",
            "-rf@x.example",
            "--user",
            "\" a\"@x.example",
            "a ",
            "a\u{1b}[2J",
            "a\u{202e}b",
            &"a".repeat(201),
            &format!("{}@x.example", "a".repeat(201)),
        ] {
            assert!(matches!(User::named(name), Err(UserError::Unsafe { .. })), "{name:?}");
        }
    }

    #[test]
    fn names_that_differ_as_addresses_are_different_users() {
        let expand = |name: &str, case| User::named(name).unwrap().expand("/%d/%n", case).unwrap();
        // Address comparison folds ASCII letters only.
        for (one, other) in
            [("ZO\u{cb}@x.example", "zo\u{eb}@x.example"), ("\u{130}x@x.example", "i\u{307}x@x.example")]
        {
            assert_ne!(expand(one, Fold), expand(other, Fold), "{one}");
            assert_ne!(Address::parse(one), Address::parse(other), "{one}");
        }
        assert_eq!(expand("Bob@x.example", Fold), expand("bob@x.example", Fold));
        assert_eq!(expand("Bob@x.example", Keep), "/x.example/Bob");
        assert_eq!(expand("bob@x.example", Keep), "/x.example/bob");
    }

    #[test]
    fn without_a_name_only_plain_text_is_expanded() {
        assert_eq!(User::default().expand("/plain", Fold).unwrap(), "/plain");
        assert_eq!(User::default().expand("/%n", Fold), Err(UserError::Unknown));
    }
}
