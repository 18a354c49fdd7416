//! Counts verdicts by class, reason and vendor. The verdicts come from the verdict log (`stats`) or from mail that is
//! judged again (`scan`). Those commands present the numbers.

use crate::message::header::{readable, unescaped};
use crate::verdict::class::Class;
use crate::verdict::reason::Reason;
use serde_json::{Map, Value, json};
use std::collections::BTreeMap;

/// Limit on vendors counted by name. A forged stamp can carry any name; the names beyond the limit count as one.
const VENDORS: usize = 1000;

/// The name under which all vendors beyond the limit count; it is no domain.
pub const OTHERS: &str = "(others)";

/// Number of messages of each class.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counts([u64; Class::ALL.len()]);

impl Counts {
    /// Counts one message.
    pub fn add(&mut self, class: Class) {
        self.add_many(class, 1);
    }

    /// Counts a number of messages.
    pub fn add_many(&mut self, class: Class, messages: u64) {
        for (count, _) in self.0.iter_mut().zip(Class::ALL).filter(|(_, counted)| *counted == class) {
            *count += messages;
        }
    }

    /// Adds other counts to these.
    pub fn merge(&mut self, other: &Self) {
        for (count, more) in self.0.iter_mut().zip(other.0) {
            *count += more;
        }
    }

    /// Returns the number of messages of this class.
    #[must_use]
    pub fn of(&self, class: Class) -> u64 {
        self.each().find(|(counted, _)| *counted == class).map_or(0, |(_, count)| count)
    }

    /// Returns every class with its count, in the order of the manual.
    pub fn each(&self) -> impl Iterator<Item = (Class, u64)> {
        Class::ALL.into_iter().zip(self.0)
    }

    /// Returns the number of all messages.
    #[must_use]
    pub fn sum(&self) -> u64 {
        self.0.iter().sum()
    }

    /// Returns the number of messages in each of the three groups of [`group`].
    #[must_use]
    pub fn groups(&self) -> [u64; 3] {
        let mut groups = [0; 3];
        for (class, count) in self.each() {
            groups[group(class) as usize] += count;
        }
        groups
    }

    /// Returns the counts as JSON; every class has a member.
    #[must_use]
    pub fn json(&self) -> Value {
        self.each().map(|(class, count)| (class.as_str().to_owned(), count.into())).collect::<Map<_, _>>().into()
    }
}

/// Groups of classes, for charts too small for all of them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Group {
    /// Let through.
    Through,
    /// Without a stamp, or with one that is too low or cannot be judged.
    Open,
    /// With a bad stamp.
    Refused,
}

/// Returns the group of a class.
#[must_use]
pub fn group(class: Class) -> Group {
    match class {
        Class::FirstClass | Class::Allowed => Group::Through,
        Class::Unstamped | Class::Underpaid | Class::Unverified => Group::Open,
        Class::Invalid | Class::Used | Class::Revoked => Group::Refused,
    }
}

/// Verdicts by class, reason and vendor.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Tally {
    /// By class.
    pub classes: Counts,
    reasons: BTreeMap<&'static str, u64>,
    vendors: BTreeMap<String, Counts>,
}

impl Tally {
    /// Counts one message; `vendor` is the vendor that its stamp names.
    pub fn add(&mut self, reason: Reason, vendor: Option<&str>) {
        self.add_many(reason, 1);
        let Some(vendor) = vendor else { return };
        let known = self.vendors.contains_key(vendor) || self.vendors.len() < VENDORS;
        let name = if known { vendor.to_owned() } else { OTHERS.to_owned() };
        self.vendors.entry(name).or_default().add(reason.class());
    }

    /// Counts a number of messages whose vendor is unknown.
    pub fn add_many(&mut self, reason: Reason, messages: u64) {
        self.classes.add_many(reason.class(), messages);
        *self.reasons.entry(reason.as_str()).or_default() += messages;
    }

    /// Returns the reasons that occurred with their counts, in the order of the manual.
    pub fn reasons(&self) -> impl Iterator<Item = (Reason, u64)> + '_ {
        Reason::ALL.iter().filter_map(|reason| Some((*reason, *self.reasons.get(reason.as_str())?)))
    }

    /// Returns the vendors with their counts, sorted by first-class messages, then by all messages, most first.
    #[must_use]
    pub fn vendors(&self) -> Vec<(&str, Counts)> {
        let mut vendors: Vec<_> = self.vendors.iter().map(|(name, counts)| (name.as_str(), *counts)).collect();
        vendors.sort_by_key(|(name, counts)| {
            std::cmp::Reverse((*name != OTHERS, counts.of(Class::FirstClass), counts.sum()))
        });
        vendors
    }

    /// Returns the counts as members of a JSON object.
    #[must_use]
    pub fn json(&self) -> Value {
        let reasons = self.reasons().map(|(reason, count)| (reason.as_str().to_owned(), count.into()));
        let vendors = self.vendors();
        let vendors = vendors.iter().map(|(name, counts)| json!({ "vendor": name, "classes": counts.json() }));
        json!({
            "messages": self.classes.sum(),
            "classes": self.classes.json(),
            "reasons": reasons.collect::<Map<_, _>>(),
            "vendors": vendors.collect::<Vec<_>>(),
        })
    }
}

/// Formats a name from outside, encoded or not, so that it cannot end a line or move a cursor.
#[must_use]
pub fn tame(name: &str) -> String {
    readable(&unescaped(name), 200)
}

/// Formats a number with commas between the thousands.
#[must_use]
pub fn grouped(number: u64) -> String {
    let digits = number.to_string();
    let mut text = String::new();
    for (at, digit) in digits.chars().enumerate() {
        if at > 0 && (digits.len() - at).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

/// Returns a number and what it counts: `1 stamp`, `2,000 stamps`.
#[must_use]
pub fn counted(number: u64, one: &str) -> String {
    format!("{} {one}{}", grouped(number), plural(number))
}

/// Returns the ending of what is counted.
#[must_use]
pub fn plural(number: u64) -> &'static str {
    if number == 1 { "" } else { "s" }
}

/// Formats a share of a whole in percent, with one decimal; empty when the whole is 0.
#[must_use]
pub fn share(part: u64, whole: u64) -> String {
    if whole == 0 {
        return String::new();
    }
    let thousandths = (u128::from(part) * 1000 + u128::from(whole) / 2) / u128::from(whole);
    format!("{}.{} %", thousandths / 10, thousandths % 10)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_message_is_counted_once_in_each_way() {
        let mut tally = Tally::default();
        tally.add(Reason::Paid, Some("a.example"));
        tally.add(Reason::Again, Some("a.example"));
        tally.add(Reason::Forged, Some("a.example"));
        tally.add(Reason::NoStamp, None);
        assert_eq!(tally.classes.sum(), 4);
        assert_eq!(tally.classes.of(Class::FirstClass), 2);
        assert_eq!(tally.classes.groups(), [2, 1, 1]);
        assert_eq!(
            tally.reasons().collect::<Vec<_>>(),
            [(Reason::Paid, 1), (Reason::Again, 1), (Reason::NoStamp, 1), (Reason::Forged, 1)]
        );
        assert_eq!(tally.vendors()[0].1.sum(), 3);
        assert_eq!(tally.json()["vendors"][0]["classes"]["invalid"], 1);
    }

    #[test]
    fn invented_vendors_cost_no_more_than_a_thousand_names() {
        let mut tally = Tally::default();
        for number in 0..3000 {
            tally.add(Reason::UnknownVendor, Some(&format!("v{number}.example")));
        }
        tally.add(Reason::Paid, Some("v7.example"));
        let vendors = tally.vendors();
        assert_eq!(vendors.len(), VENDORS + 1);
        assert_eq!((vendors[0].0, vendors[0].1.sum()), ("v7.example", 2));
        assert_eq!((vendors[VENDORS].0, vendors[VENDORS].1.sum()), (OTHERS, 2000));
    }

    #[test]
    fn numbers_and_names_as_they_are_shown() {
        assert_eq!([0, 999, 1000, 1_234_567].map(grouped), ["0", "999", "1,000", "1,234,567"]);
        assert_eq!([share(1, 3), share(2, 3), share(1, 1), share(1, 0)], ["33.3 %", "66.7 %", "100.0 %", ""]);
        assert_eq!(tame("a\\x3bb"), "a;b");
        assert_eq!(tame("a\x1b[2J"), "a\\x1b[2J");
    }
}
