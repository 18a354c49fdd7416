//! Authentication-Results fields: bounded, read only where a trusted host wrote them, never from below the boundary,
//! and never from a field that the filter would have let a stranger keep.

use mailstamp::message::auth_results::{authenticates, has_result, is_authenticated, outcomes};
use mailstamp::message::edit::Edit;
use mailstamp::message::parse::Message;
use mailstamp::message::result_headers::result_fields;
use std::sync::LazyLock;

static TRUSTED: LazyLock<Vec<String>> = LazyLock::new(|| vec!["mx.example".to_owned()]);

/// Checks one input.
pub fn run(raw: &[u8]) {
    let message = Message::parse(raw);
    let found = outcomes(&message, &TRUSTED);
    assert!(found.len() <= 200);
    for outcome in &found {
        assert!(!outcome.method.is_empty() && outcome.method == outcome.method.to_ascii_lowercase());
        assert!(!outcome.result.is_empty() && outcome.result == outcome.result.to_ascii_lowercase());
        if outcome.passes_for("y.example") {
            assert!(outcome.result == "pass" && !outcome.passes_for("z.test"));
        }
    }
    if is_authenticated(&message, &found) {
        assert!(message.authors().iter().all(|author| authenticates(&found, author.domain())));
        assert!(["dmarc", "dkim", "spf"].iter().any(|method| has_result(&message, &found, method, "pass")));
    }
    assert!(outcomes(&message, &[]).is_empty());

    // A boundary that removes all fields in its own name leaves no trusted field.
    let mut edit = Edit::new(&message);
    result_fields(&message, Some("mx.example"), &[]).for_each(|field| edit.remove(&field));
    let cleaned = edit.to_vec();
    assert!(outcomes(&Message::parse(&cleaned), &TRUSTED).is_empty(), "{}", String::from_utf8_lossy(&cleaned));

    // A filter that trusts its own name leaves all that counts.
    let mut edit = Edit::new(&message);
    result_fields(&message, Some("mx.example"), &TRUSTED).for_each(|field| edit.remove(&field));
    edit.insert_top("Authentication-Results: mx.example; x-digital-stamp=pass\n".to_owned());
    let filtered = edit.to_vec();
    assert_eq!(outcomes(&Message::parse(&filtered), &TRUSTED), found, "{}", String::from_utf8_lossy(&filtered));

    // Fields below a Received field that follows the boundary's own are ignored.
    let on_top = [b"Authentication-Results: mx.example; none\nReceived: x\n".as_slice(), raw].concat();
    if !matches!(raw.first(), Some(b' ' | b'\t')) {
        assert!(outcomes(&Message::parse(&on_top), &TRUSTED).is_empty());
    }
}
