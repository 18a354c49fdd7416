//! Texts that come without a signature or by hand: TXT records of keys, prices, times. What is read is written and read
//! the same.

use mailstamp::accounting::money;
use mailstamp::directory::dns_records::{self, KeyIndex};
use mailstamp::directory::document::KeyEntry;
use mailstamp::time::UnixTime;

/// Checks one input.
pub fn run(input: &[u8]) {
    let Ok(text) = std::str::from_utf8(input) else { return };
    if let Ok(index) = KeyIndex::parse(text) {
        assert_eq!(KeyIndex::parse(&index.text()).as_ref(), Ok(&index));
        if let Ok(lines) = dns_records::lines("stamps.example", &index, &[]) {
            assert_eq!(lines.matches('\n').count(), 1 + index.text().matches('\n').count());
        }
    }
    if let Ok(entry) = KeyEntry::parse_text(text) {
        assert_eq!(KeyEntry::parse_text(&entry.text()).as_ref(), Ok(&entry));
        let _ = entry.parse();
    }
    if let Ok(price) = text.parse::<money::Price>() {
        assert_eq!(price.to_string().parse::<money::Price>().ok(), Some(price));
    }
    if let Ok(money) = text.parse::<money::Money>() {
        assert_eq!(money.to_string().parse::<money::Money>().ok(), Some(money));
    }
    if let Ok(time) = text.parse::<UnixTime>() {
        assert_eq!(time.to_string().parse::<UnixTime>(), Ok(time));
        let _ = (time.to_rfc5322(), time.plus(i64::MAX), time.since(UnixTime(i64::MIN)));
    }
}
