//! Where stamps are found in a message, and their armour: never more than the limits, each once, none with white space
//! in it, the same ones whatever the line ends; and a stamp that was armoured or folded comes back.

use mailstamp::message::header::fold;
use mailstamp::message::parse::Message;
use mailstamp::stamp::armor::{self, Lines};
use mailstamp::stamp::extract::{Place, STAMP_FIELD, STAMPS, locate, without_white_space};
use mailstamp::stamp::token::TOKEN_MAX;

/// Checks one input.
pub fn run(raw: &[u8]) {
    let located = locate(&Message::parse(raw));
    assert!(located.stamps.len() <= STAMPS);
    for (at, found) in located.stamps.iter().enumerate() {
        assert!(!found.token.is_empty() && found.token.len() <= TOKEN_MAX);
        assert!(!found.token.contains(|c: char| c.is_ascii_whitespace() || c == ';'));
        assert!(located.stamps[..at].iter().all(|other| other.token != found.token));

        // The same stamp is found, wherever it was put into the message.
        let newline = ["\n", "\r\n"][at % 2];
        let field = fold(STAMP_FIELD, &found.token, newline);
        assert!(field.lines().all(|line| line.chars().count() <= 76));
        let block = armor::armour(&found.token, newline);
        let (blocks, _) = armor::all(block.as_bytes(), Lines::Own);
        let [again] = blocks.as_slice() else {
            // A line of it begins like a quoted one.
            assert!(found.token.contains('>') || found.token.contains("-----") || found.token.len() > 8000);
            continue;
        };
        assert!(again.span == (0..block.len()) || found.token.contains("-----"));
        if !found.token.contains("=?") && !found.token.contains("-----") {
            assert_eq!(again.stamp, found.token);
            let carried = format!("{field}{newline}{block}");
            let carried = locate(&Message::parse(carried.as_bytes()));
            assert_eq!((carried.stamps.len(), carried.stamps[0].place), (1, Place::Header));
            assert_eq!(carried.stamps[0].token, found.token);
        }
    }
    for lines in [Lines::Own, Lines::Any] {
        let mut end = 0;
        for block in armor::all(raw, lines).0 {
            assert!(end <= block.span.start && block.span.start < block.span.end && block.span.end <= raw.len());
            assert_eq!(without_white_space(block.stamp.as_bytes()), block.stamp);
            end = block.span.end;
        }
    }

    // A lone CR ends no line; beside an LF it would. No limit may stand between the two forms.
    if !raw.contains(&b'\r') && raw.len() < 8_000 {
        let crlf = raw.iter().flat_map(|&b| if b == b'\n' { vec![b'\r', b'\n'] } else { vec![b] }).collect::<Vec<_>>();
        assert_eq!(locate(&Message::parse(&crlf)), located);
    }
}
