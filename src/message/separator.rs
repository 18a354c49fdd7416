//! The line that comes before each message of an mbox file (RFC 4155 appendix A).

use crate::time::UnixTime;

/// Longest line that can be a separator, in bytes.
pub const SEPARATOR: usize = 998;

/// Line that begins with `From ` and says when a message was delivered.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Separator {
    pub time: UnixTime,
    /// Some programs leave the sender out.
    pub has_sender: bool,
    /// Nothing comes after the year: no zone, no `remote from`.
    pub ends_with_year: bool,
}

impl Separator {
    /// Parses `From sender Sat Nov 21 12:00:00 2026`, which is asctime(3) in UTC, or with a zone before or after the
    /// year. `None` for any other line.
    #[must_use]
    pub fn parse(line: &[u8]) -> Option<Self> {
        let short = line.len() <= SEPARATOR;
        let line = std::str::from_utf8(line.strip_prefix(b"From ").filter(|_| short)?).ok()?;
        let words: Vec<&str> = line.split_ascii_whitespace().take(10).collect();
        let dated = |senders: usize| date(words.get(senders..)?, senders > 0);
        dated(0).or_else(|| dated(1))
    }
}

fn date(words: &[&str], has_sender: bool) -> Option<Separator> {
    let [weekday, month, day, time, rest @ ..] = words else { return None };
    let known = |names: &[&str], name: &str| names.iter().any(|known| known.eq_ignore_ascii_case(name));
    let is_time = time.split(':').count() == 3 && time.split(':').all(|part| part.len() <= 2 && is_number(part));
    let is_date = known(&WEEKDAYS, weekday) && known(&MONTHS, month) && day.len() <= 2 && is_number(day) && is_time;
    let is_zone =
        |word: &str| word.strip_prefix(['+', '-']).is_some_and(|digits| digits.len() == 4 && is_number(digits));
    let is_name = |word: &str| (1..=5).contains(&word.len()) && word.bytes().all(|b| b.is_ascii_uppercase());
    let (zone, year, ends_with_year) = match rest {
        [year] => (None, year, true),
        [year, "remote", "from", ..] => (None, year, false),
        [zone, year] if is_zone(zone) || is_name(zone) => (Some(*zone), year, true),
        [year, zone] if is_zone(zone) || is_name(zone) => (Some(*zone), year, false),
        // Of a zone with summer time: `MET DST`.
        [zone, "DST", year] if is_name(zone) => (None, year, true),
        _ => return None,
    };
    if !is_date || year.len() != 4 || !is_number(year) {
        return None;
    }
    let at = |zone: &str| UnixTime::from_rfc5322(format!("{day} {month} {year} {time} {zone}").as_bytes());
    let time = zone.and_then(at).or_else(|| at("+0000"))?;
    Some(Separator { time, has_sender, ends_with_year })
}

fn is_number(text: &str) -> bool {
    !text.is_empty() && text.bytes().all(|b| b.is_ascii_digit())
}

const WEEKDAYS: [&str; 7] = ["Mon", "Tue", "Wed", "Thu", "Fri", "Sat", "Sun"];
const MONTHS: [&str; 12] = ["Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec"];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_date_is_read_in_its_zone() {
        let time = UnixTime(1_795_262_400);
        for (line, has_sender, ends_with_year) in [
            ("From a@b Sat Nov 21 12:00:00 2026\n", true, true),
            ("From a@b Sat Nov 21 13:00:00 +0100 2026\r\n", true, true),
            ("From a@b Sat Nov 21 07:00:00 EST 2026", true, true),
            ("From a@b Sat Nov 21 12:00:00 XYZ 2026", true, true),
            ("From a@b Sat Nov 21 12:00:00 MET DST 2026", true, true),
            ("From a@b Sat Nov 21 07:00:00 2026 -0500", true, false),
            ("From a@b Sat Nov 21 12:00:00 2026 remote from c\n", true, false),
            ("From Sat Nov 21 12:00:00 2026\n", false, true),
        ] {
            let expected = Separator { time, has_sender, ends_with_year };
            assert_eq!(Separator::parse(line.as_bytes()), Some(expected), "{line}");
        }
        for line in ["From a b Sat Nov 21 12:00:00 2026\n", "From a Sat Nov 21 12:00:00 hello 2026\n", "From a\n"] {
            assert_eq!(Separator::parse(line.as_bytes()), None, "{line}");
        }
    }
}
