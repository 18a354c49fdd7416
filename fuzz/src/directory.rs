//! Documents of vendors, as the user places them and as they are fetched. What is read is written and read the same;
//! and of what was fetched nothing is believed without a signature by the key that the user pinned.

use super::{FOOTER, NOW, VENDOR, VENDOR_KEY};
use mailstamp::config::directory_sources::{KeyIntroduction, Source, SourceKind};
use mailstamp::directory::cache::Record;
use mailstamp::directory::document::{Document, SignedDirectory, VendorEntry};
use mailstamp::directory::key_directory::{Directory, Trust};
use mailstamp::directory::publish;
use mailstamp::directory::trust_policy::{FetchedDocument, Known, accept, first_contact};
use mailstamp::stamp::token::{Purpose, Token};
use std::collections::BTreeMap;
use std::sync::LazyLock;

/// The directory that the user pinned: the one vendor with its key.
static PINNED: LazyLock<Directory> = LazyLock::new(|| {
    let text = format!(r#"{{"vendor":"{VENDOR}","keys":[{{"kid":"2026q4","key":"{}"}}]}}"#, VENDOR_KEY.public());
    let mut directory = Directory::default();
    directory.pin(&serde_json::from_str(&text).expect("an entry")).expect("a good entry");
    directory
});

/// Checks one input.
pub fn run(input: &[u8]) {
    if let Ok(record) = serde_json::from_slice::<Record>(input) {
        let _ = record.statements();
        let written = serde_json::to_vec(&record).expect("a record");
        assert_eq!(serde_json::from_slice::<Record>(&written).ok(), Some(record));
    }
    // The vendor signs, because the fuzzer could not.
    if serde_json::from_slice::<SignedDirectory>(input).is_ok() {
        let token = VENDOR_KEY.sign(input, FOOTER, Purpose::Directory);
        fetched(vec![token.as_str().to_owned()]);
    }
    match serde_json::from_slice::<Document>(input) {
        Ok(Document::Pinned(entry)) => pinned(&entry),
        Ok(Document::Signed { directory, also }) => {
            let text = std::str::from_utf8(input).expect("JSON is UTF-8");
            let _ = publish::read(text);
            fetched([vec![directory], also].concat());
        }
        Err(_) => {}
    }
}

fn pinned(entry: &VendorEntry) {
    let written = serde_json::to_vec(entry).expect("an entry");
    assert_eq!(serde_json::from_slice::<VendorEntry>(&written).ok().as_ref(), Some(entry));
    let mut directory = Directory::default();
    let taken = directory.pin(entry);
    if entry.check().is_ok() {
        assert!(taken.is_ok() && directory.trusts(&entry.vendor));
        assert!(entry.prices.iter().all(|price| price.to_string().parse().ok().as_ref() == Some(price)));
    }
}

fn fetched(tokens: Vec<String>) {
    let _ = first_contact(&tokens);
    let origin = SourceKind::Https("https://stamps.example/.well-known/digital-stamp".to_owned());
    let source = Source {
        publisher: VENDOR.to_owned(),
        origin,
        new_keys: KeyIntroduction::Signed,
        accept_weak: false,
        longest_silence: None,
    };
    let mut record = Record::new(VENDOR);
    let known = Known { pinned: &PINNED, directory: &PINNED, now: NOW };
    let before = record.clone();
    match accept(FetchedDocument::Signed(tokens.clone()), true, &source, &mut record, &known) {
        Err(_) => assert_eq!(record, before),
        Ok(accepted) => {
            assert_eq!((record.version, accepted.rewritten), (accepted.version, None));
            let signed = |text: &String| {
                Token::parse_document(text, usize::MAX)
                    .is_ok_and(|token| VENDOR_KEY.sign(token.payload(), token.footer(), Purpose::Directory) == token)
            };
            assert!(tokens.iter().any(signed));
            assert!(record.is_current(&PINNED));
            let statements = record.statements().expect("a record that was just accepted");
            assert!(statements.iter().all(|(_, said)| said.publisher == VENDOR && said.weight == Trust::Fetched));
            let said: Vec<_> = statements.into_iter().map(|(_, said)| said).collect();
            let _ = PINNED.clone().add_statement(&said, &BTreeMap::new(), NOW);
            // The same version again is accepted.
            assert_eq!(
                accept(FetchedDocument::Signed(tokens), true, &source, &mut record, &known).ok(),
                Some(accepted)
            );
        }
    }
}
