//! The user's configuration, the list of sources, and the user's name, which a stranger may have chosen. Paths are
//! absolute, lengths of time are bounded, and no name leads out of a folder or covers another address. Before a NUL
//! stands the name, behind it the file.

use mailstamp::config::user::User;
use mailstamp::config::{Config, directory_sources};
use mailstamp::message::address::{Address, LocalCase, Pattern};
use mailstamp::stamp::token::Issuer;
use std::path::{Component, Path};

const CENTURY: i64 = 100 * 366 * 86_400;

/// Checks one input.
pub fn run(input: &[u8]) {
    let (name, file) = super::two(input);
    let name = String::from_utf8_lossy(name);
    let user = User::named(&name);
    if let Ok(user) = &user {
        for text in ["/var/mail/%u", "/var/mail/%d/x%n", "/var/mail/%n"] {
            let Ok(path) = user.expand(text, LocalCase::Fold) else { continue };
            let parts =
                Path::new(&path).components().all(|part| matches!(part, Component::RootDir | Component::Normal(_)));
            assert!(parts && path.starts_with("/var/mail/") && !path.contains('\0'), "{path:?}");
            assert_eq!(path.matches('/').count(), text.matches('/').count());
        }
        // No mailbox has this address, so only a name that became a pattern covers it.
        let other = Address::parse("victim@your.example").expect("an address");
        for text in ["%u", "%n@your.example", "/^%n@your[.]example$/", "/^%u$/", "%n+*@your.example"] {
            let Ok(parts) = user.parts(text, LocalCase::Fold) else { continue };
            let Ok(pattern) = Pattern::from_parts(&parts, LocalCase::Fold) else { continue };
            let own = user.expand("%n", LocalCase::Fold).is_ok_and(|local| local == "victim");
            assert!(own || !pattern.matches(&other), "{name:?} {text}");
        }
    }

    let (Ok(file), Ok(name)) = (std::str::from_utf8(file), std::str::from_utf8(name.as_bytes())) else { return };
    for text in [file, name] {
        if let Ok(config) = Config::parse(text, user.as_ref().unwrap_or(&User::default())) {
            let paths = [&config.state, &config.vendors, &config.directories, &config.rules, &config.deliver.maildir];
            assert!(paths.into_iter().flatten().all(|path| path.is_absolute()));
            let policy = &config.policy;
            let lengths = [policy.skew, policy.max_window, policy.expiry_grace, policy.redelivery.within];
            assert!(
                lengths.iter().chain([&config.sent_retention, &config.held_keep]).all(|s| (0..=CENTURY).contains(s))
            );
            assert!(policy.grace() >= 0);
        }
        if let Ok(sources) = directory_sources::parse(text, Path::new("/sources.toml")) {
            for source in &sources.list {
                assert!(Issuer::new(&source.publisher, "any").is_ok());
                assert_eq!(
                    source.origin.to_string().parse::<directory_sources::SourceKind>().ok().as_ref(),
                    Some(&source.origin)
                );
            }
        }
    }
}
