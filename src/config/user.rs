//! The user of a mailbox, where one Unix user serves many (as under Dovecot): `%u`, `%n` and `%d` in the configuration.
//! The name comes from the delivering program and may be what a stranger wrote after RCPT TO. So it must never lead out
//! of the folder that the configuration names.

use crate::message::address::Address;
use unicode_normalization::UnicodeNormalization;

/// User of the mailbox, if the delivering program named one.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct User(Option<Name>);

#[derive(Clone, Debug, PartialEq, Eq)]
struct Name {
    /// As it is written where an address is expected.
    whole: String,
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
    /// The name would lead out of the folder.
    #[error("the user's name {0:?} cannot be a part of a path")]
    Unsafe(String),
    /// Not one of `%u %n %d %%`.
    #[error("only %u, %n, %d and %% are known")]
    UnknownSign,
}

impl User {
    /// Returns the user of this name: an address, or a bare login name. All spellings of one mailbox are one user, and
    /// so are its tags (`alice+a@` and `alice+b@`): they must share one used log.
    ///
    /// # Errors
    /// [`UserError::Unsafe`] for a name that could not be a part of a path. It is empty, too long, begins with a dot, or
    /// has a slash, a backslash, a quotation mark or a control character, or an `@` without being an address.
    pub fn named(name: &str) -> Result<Self, UserError> {
        let unsafe_name = || UserError::Unsafe(name.chars().take(100).collect());
        let (whole, local, domain) = if name.contains('@') {
            let mailbox = Address::parse(name).map_err(|_| unsafe_name())?.mailbox();
            (mailbox.to_string(), mailbox.local().to_owned(), mailbox.domain().to_owned())
        } else {
            let folded: String = name.to_lowercase().nfc().collect();
            let base = folded.split_once('+').map_or(folded.as_str(), |(base, _)| base);
            (base.to_owned(), base.to_owned(), String::new())
        };
        let safe = |part: &str| {
            let plain = |c: char| !c.is_control() && !matches!(c, '/' | '\\' | '"' | '\u{fffd}');
            part.len() <= 200 && !part.starts_with('.') && part.chars().all(plain)
        };
        if local.is_empty() || !safe(&local) || !safe(&domain) {
            return Err(unsafe_name());
        }
        Ok(Self(Some(Name { whole, local, domain })))
    }

    /// Returns `text` with `%u` (the user), `%n` (the part before the `@`), `%d` (the domain) and `%%` filled in.
    ///
    /// # Errors
    /// [`UserError`] when one of them is in `text` and cannot be filled in.
    pub fn expand(&self, text: &str) -> Result<String, UserError> {
        let mut expanded = String::with_capacity(text.len());
        let mut chars = text.chars();
        while let Some(c) = chars.next() {
            if c != '%' {
                expanded.push(c);
                continue;
            }
            let escape = chars.next();
            if escape == Some('%') {
                expanded.push('%');
                continue;
            }
            let name = self.0.as_ref().ok_or(UserError::Unknown)?;
            match escape {
                Some('n') => expanded.push_str(&name.local),
                Some('d') if name.domain.is_empty() => return Err(UserError::NoDomain),
                Some('d') => expanded.push_str(&name.domain),
                Some('u') => expanded.push_str(&name.whole),
                _ => return Err(UserError::UnknownSign),
            }
        }
        Ok(expanded)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_fills_the_signs() {
        let user = User::named("Alice+news@X.example").unwrap();
        assert_eq!(user.expand("/m/%d/%n/%u/100%%").unwrap(), "/m/x.example/alice/alice@x.example/100%");
        let login = User::named("alice").unwrap();
        assert_eq!(login.expand("%u-%n").unwrap(), "alice-alice");
        assert_eq!(login.expand("%d"), Err(UserError::NoDomain));
        assert_eq!(login.expand("%x"), Err(UserError::UnknownSign));
    }

    #[test]
    fn a_mailbox_is_one_user_however_it_is_spelled() {
        let expand = |name: &str| User::named(name).unwrap().expand("%u %n %d").unwrap();
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
        assert_eq!(expand("ZO\u{cb}@x.example"), expand("zoe\u{308}@x.example"));
        assert_eq!(User::named("ZO\u{cb}"), User::named("zoe\u{308}+tag"));
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
        ] {
            assert!(matches!(User::named(name), Err(UserError::Unsafe(_))), "{name:?}");
        }
    }

    #[test]
    fn without_a_name_only_plain_text_is_expanded() {
        assert_eq!(User::default().expand("/plain").unwrap(), "/plain");
        assert_eq!(User::default().expand("/%n"), Err(UserError::Unknown));
    }
}
