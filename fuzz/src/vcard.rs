//! Address books: whatever the lines are, each item is of a line that was read, no card has more addresses than the
//! limit, and a card that is written from the addresses has the same ones.

use mailstamp::message::vcard::{Item, Reader};

fn read(book: &[u8]) -> Vec<Item> {
    let (mut reader, mut items) = (Reader::default(), Vec::new());
    book.split_inclusive(|&b| b == b'\n').for_each(|line| reader.line(line, &mut |item| items.push(item)));
    reader.end(&mut |item| items.push(item));
    items
}

/// Checks one input.
pub fn run(book: &[u8]) {
    let lines = book.split_inclusive(|&b| b == b'\n').count() as u64;
    for item in read(book) {
        match item {
            Item::NoAddress { line, .. } | Item::Broken { line, .. } | Item::Full { line } => {
                assert!((1..=lines).contains(&line))
            }
            Item::Card(addresses) => {
                assert!(addresses.len() <= 1_000);
                let lines: String =
                    addresses.iter().map(|address| format!("EMAIL:mailto:{}\n", uri(address))).collect();
                let written = format!("BEGIN:VCARD\n{lines}END:VCARD\n");
                assert_eq!(read(written.as_bytes()), [Item::Card(addresses)]);
            }
        }
    }
}

/// The address in a `mailto:` URI, every byte of it encoded.
fn uri(address: &impl ToString) -> String {
    address.to_string().bytes().map(|byte| format!("%{byte:02x}")).collect()
}
