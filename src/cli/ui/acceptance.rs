//! Warnings about stamps that most recipients refuse. They do not know that limit here, so they assume its default.

use super::output;
use crate::stamp::claims::{Stamp, USUAL_MAX_WINDOW};
use crate::stamp::token::Token;
use crate::time::UnixTime;

const DAY: i64 = 86_400;

/// Prints a note when the window of a stamp is longer than recipients accept by default, or has no end.
pub fn note_long_window(token: &Token, now: UnixTime) {
    // Without claims it is no stamp, and the recipient's side says so.
    if let Some(text) = Stamp::read(token.payload()).ok().and_then(|stamp| problem(&stamp, now)) {
        output::note(&text);
    }
}

fn problem(stamp: &Stamp, now: UnixTime) -> Option<String> {
    let accepted = USUAL_MAX_WINDOW / DAY;
    match stamp.window(now) {
        None => Some("the stamp has no end: recipients refuse it unless they set stamps.allow_no_expiry".to_owned()),
        Some(window) if window > USUAL_MAX_WINDOW => Some(format!(
            "the stamp holds for {} days: recipients refuse more than {accepted} unless they raise stamps.max_window",
            window.saturating_add(DAY - 1) / DAY
        )),
        Some(_) => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::stamp::audience::Audience;
    use crate::stamp::serial::Serial;

    #[test]
    fn a_window_beyond_the_usual_limit_is_noted() {
        let now = UnixTime(1_800_000_000);
        let audience = Audience::parse("bob@y.example").unwrap();
        let of = |seconds| Stamp::new(Serial::new("1").unwrap(), audience.clone(), now.plus(seconds));
        assert_eq!(problem(&of(400 * DAY), now), None);
        assert!(problem(&of(400 * DAY + 1), now).unwrap().contains("for 401 days"));
        assert_eq!(problem(&Stamp { not_before: Some(now.plus(DAY)), ..of(401 * DAY) }, now), None);
        assert!(problem(&Stamp { expires: None, ..of(1) }, now).unwrap().contains("no end"));
    }
}
