//! Reads a header as the most tolerant reader does: control characters and blanks in a name do not count, and a lone CR
//! may end a line.

use super::header::{Field, slice};
use super::parse::Message;
use super::search;
use std::iter;

/// Returns every field that reads as one of this name, those behind a lone CR included.
pub(super) fn fields_named<'a>(message: &Message<'a>, name: &'static str) -> impl Iterator<Item = Field<'a>> {
    parts(message).flat_map(|field| iter::once(field).chain(hidden(field))).filter(move |field| is_named(field, name))
}

/// Returns the fields of the header, and between them the lines that are none, as fields without a name. Then those of
/// [`Message::fields_below`].
pub(super) fn parts<'a>(message: &Message<'a>) -> impl Iterator<Item = Field<'a>> {
    let raw = message.raw();
    let mut at = message.envelope_line().len();
    let end = at + message.header().len();
    message
        .fields()
        .map(Some)
        .chain([None])
        .flat_map(move |field| {
            let (start, after) = field.map_or((end, end), |field| (field.start(), field.start() + field.raw().len()));
            let passed = Field::new(slice(raw, at, start), 0, 0, at);
            at = after;
            [Some(passed), field].into_iter().flatten()
        })
        .chain(message.fields_below())
}

/// Returns the fields within a field for a reader that ends a line at a lone CR. They keep the line end that the outer
/// field needs.
pub(super) fn hidden(field: Field<'_>) -> impl Iterator<Item = Field<'_>> {
    let mut at = 0;
    iter::from_fn(move || {
        loop {
            let rest = slice(field.raw(), at, field.raw().len());
            let start = at + search::byte(b'\r', rest)? + 1;
            let line = slice(field.raw(), start, field.raw().len());
            at = start;
            if line.is_empty() || line.starts_with(b"\n") {
                continue;
            }
            let line = match line.iter().position(|b| matches!(b, b'\r' | b'\n')) {
                Some(end) if line.get(end) == Some(&b'\r') && line.get(end + 1) != Some(&b'\n') => {
                    slice(line, 0, end + 1)
                }
                Some(end) => slice(line, 0, end),
                None => line,
            };
            at = start + line.len().saturating_sub(1);
            let Some(colon) = search::byte(b':', line) else { continue };
            return Some(Field::new(line, colon, line.len() - colon, field.start() + start));
        }
    })
}

/// Returns whether the name matches for a reader that ignores all but visible ASCII.
pub(super) fn is_named(field: &Field, name: &str) -> bool {
    let visible = field.name().iter().filter(|b| b.is_ascii_graphic()).map(u8::to_ascii_lowercase);
    visible.eq(name.bytes().map(|b| b.to_ascii_lowercase()))
}
