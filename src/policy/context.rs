//! Message as rules see it. Data that several conditions use are computed once, on first use.

use super::regex::{Expression, ExpressionError, Match, StepBudget};
use crate::message::address::{Address, addresses, entries};
use crate::message::auth_results::{self, Outcome};
use crate::message::header::Field;
use crate::message::parse::Message;
use crate::message::shown_text::{ShownText, shown_text};
use crate::verdict::facts::Envelope;
use crate::verdict::finding::Verdict;
use std::cell::OnceCell;

/// Limit on the Message-IDs of a reply that are checked, the nearest first.
const REFERENCES: usize = 50;
/// Longest Message-ID, in bytes: RFC 5322 section 2.1.1 allows no longer line.
const MESSAGE_ID: usize = 998;
/// Bytes of a field that expressions search.
const VALUE: usize = 64 * 1024;

/// Part of a message that is available.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Extent {
    Whole,
    /// Its beginning; there is more.
    Beginning,
    /// Its header; no rule needs more.
    Header {
        /// Bytes of the whole message.
        size: u64,
    },
}

/// Data of a message for rules.
#[derive(Debug)]
pub struct MessageContext<'a> {
    /// The judgement of the stamps.
    pub verdict: &'a Verdict,
    message: &'a Message<'a>,
    envelope: &'a Envelope,
    trusted: &'a [String],
    seen: Extent,
    budget: StepBudget,
    author: OnceCell<Option<Address>>,
    sender: OnceCell<Option<Address>>,
    recipients: OnceCell<Vec<Address>>,
    list: OnceCell<Option<String>>,
    outcomes: OnceCell<Vec<Outcome>>,
    text: OnceCell<Option<ShownText>>,
}

impl<'a> MessageContext<'a> {
    /// Returns the context of a message. `trusted` are the hosts whose Authentication-Results fields are trusted.
    #[must_use]
    pub fn new(
        message: &'a Message<'a>,
        envelope: &'a Envelope,
        verdict: &'a Verdict,
        trusted: &'a [String],
        seen: Extent,
    ) -> Self {
        Self {
            verdict,
            message,
            envelope,
            trusted,
            seen,
            budget: StepBudget::default(),
            author: OnceCell::new(),
            sender: OnceCell::new(),
            recipients: OnceCell::new(),
            list: OnceCell::new(),
            outcomes: OnceCell::new(),
            text: OnceCell::new(),
        }
    }

    /// Returns the first address of the From field, the claimed author.
    #[must_use]
    pub fn author(&self) -> Option<&Address> {
        self.author.get_or_init(|| self.message.authors().into_iter().next()).as_ref()
    }

    /// Returns the envelope sender: from the delivering program, else from the Return-Path field that it wrote (RFC
    /// 5321 section 4.4). `None` for the null sender, and where neither names one.
    #[must_use]
    pub fn sender(&self) -> Option<&Address> {
        let find = || match &self.envelope.sender {
            Some(sender) => bare(sender),
            None => match entries(&self.message.first("Return-Path")?.unfolded(), 2).as_slice() {
                [Ok(address)] => Some(address.clone()),
                _ => None,
            },
        };
        self.sender.get_or_init(find).as_ref()
    }

    /// Returns the recipient of this delivery.
    #[must_use]
    pub fn recipient(&self) -> Option<&Address> {
        self.envelope.recipient.as_ref()
    }

    /// Returns the addresses in its To and Cc fields.
    #[must_use]
    pub fn recipients(&self) -> &[Address] {
        self.recipients.get_or_init(|| {
            let fields = self.message.fields().filter(|field| field.name_is("To") || field.name_is("Cc"));
            // RFC 5322 section 3.6 allows one of each.
            fields.take(4).flat_map(|field| addresses(&field.unfolded())).collect()
        })
    }

    /// Returns the identifier of its mailing list, in lower case (RFC 2919 section 3).
    #[must_use]
    pub fn list(&self) -> Option<&str> {
        self.list.get_or_init(|| list_id(&self.message.first("List-Id")?)).as_deref()
    }

    /// Returns the results of the trusted hosts.
    #[must_use]
    pub fn outcomes(&self) -> &[Outcome] {
        self.outcomes.get_or_init(|| auth_results::outcomes(self.message, self.trusted))
    }

    /// Returns whether the domains of its From field are authenticated.
    #[must_use]
    pub fn is_genuine(&self) -> bool {
        auth_results::is_authenticated(self.message, self.outcomes())
    }

    /// Returns whether a trusted host reported this result.
    #[must_use]
    pub fn shows(&self, method: &str, result: &str) -> bool {
        auth_results::has_result(self.message, self.outcomes(), method, result)
    }

    /// Returns its size in bytes, or a lower bound.
    #[must_use]
    pub fn size(&self) -> u64 {
        match self.seen {
            Extent::Whole | Extent::Beginning => self.message.raw().len() as u64,
            Extent::Header { size } => size,
        }
    }

    /// Returns whether it is larger than [`Self::size`].
    #[must_use]
    pub fn is_cut(&self) -> bool {
        self.seen == Extent::Beginning
    }

    /// Returns the Message-IDs to which it replies, as they stand between their brackets: that of In-Reply-To first,
    /// then from the nearest to the farthest.
    #[must_use]
    pub fn replies_to(&self) -> Vec<String> {
        let mut found = Vec::new();
        for name in ["In-Reply-To", "References"] {
            let Some(field) = self.message.first(name) else { continue };
            let value = field.unfolded();
            let mut ids: Vec<&[u8]> = value.rsplit(|&b| b == b'<').collect();
            // Text before the first bracket is no Message-ID.
            ids.pop();
            let ids = ids.into_iter().filter_map(|id| id.get(..id.iter().position(|&b| b == b'>')?));
            let ids = ids.filter(|id| !id.is_empty() && id.len() <= MESSAGE_ID);
            found.extend(ids.take(REFERENCES).filter_map(|id| String::from_utf8(id.to_vec()).ok()));
        }
        found.truncate(REFERENCES);
        found
    }

    /// Searches every field of this name, decoded, for an expression.
    ///
    /// # Errors
    /// The error of the expression.
    pub fn find_in_fields(&self, name: &str, expression: &Expression) -> Result<Match, ExpressionError> {
        // A wrong expression must show even if there is no such field.
        expression.check()?;
        // Looking for the fields costs steps too.
        if !self.budget.take(self.message.header().len() as u64) {
            return Ok(Match::Unknown);
        }
        for field in self.message.fields().filter(|field| field.name_is(name)) {
            let value = field.to_text().into_bytes();
            match expression.find(value.get(..VALUE).unwrap_or(&value), &self.budget)? {
                Match::No => {}
                other => return Ok(other),
            }
        }
        Ok(Match::No)
    }

    /// Searches the text that a reader is shown for an expression: all of it up to 1 MiB, and the first and the last 64
    /// KiB of a longer one.
    ///
    /// # Errors
    /// The error of the expression.
    pub fn find_in_text(&self, expression: &Expression) -> Result<Match, ExpressionError> {
        expression.check()?;
        let Some(text) = self.text.get_or_init(|| shown_text(self.message)) else { return Ok(Match::No) };
        match (expression.find(text.head.as_bytes(), &self.budget)?, &text.tail) {
            (Match::No, Some(tail)) => expression.find(tail.as_bytes(), &self.budget),
            (found, _) => Ok(found),
        }
    }
}

/// Parses an address from an envelope, in angle brackets or without.
fn bare(text: &str) -> Option<Address> {
    let text = text.trim();
    let text = text.strip_prefix('<').and_then(|rest| rest.strip_suffix('>')).unwrap_or(text);
    Address::parse(text).ok()
}

/// Returns the text between the last angle brackets, or all of it (some lists write none).
fn list_id(field: &Field<'_>) -> Option<String> {
    let value = field.unfolded();
    let value = String::from_utf8_lossy(&value);
    let id = match value.rsplit_once('<') {
        Some((_, rest)) => rest.split_once('>')?.0,
        None => &value,
    };
    let id = id.trim();
    // RFC 2919 section 3: 255 octets.
    (!id.is_empty() && id.len() <= 255 && !id.contains(char::is_whitespace)).then(|| id.to_ascii_lowercase())
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Returns the result of `ask` for a message without stamps.
    pub(super) fn of<T>(raw: &str, ask: impl FnOnce(&MessageContext<'_>) -> T) -> T {
        let message = Message::parse(raw.as_bytes());
        let verdict = Verdict {
            reason: crate::verdict::reason::Reason::NoStamp,
            deciding_stamp: None,
            boundary: None,
            findings: vec![],
        };
        ask(&MessageContext::new(&message, &Envelope::default(), &verdict, &[], Extent::Whole))
    }

    #[test]
    fn a_list_is_known_by_its_identifier() {
        for (value, id) in [
            ("<Talk.Lists.Example>", Some("talk.lists.example")),
            ("Talk \"a <b>\" (c)\r\n <talk.lists.example>", Some("talk.lists.example")),
            ("talk.lists.example", Some("talk.lists.example")),
            ("<talk.lists.example", None),
            ("<>", None),
            ("a talk list", None),
        ] {
            let found = of(&format!("List-Id: {value}\n\n"), |letter| letter.list().map(str::to_owned));
            assert_eq!(found.as_deref(), id, "{value}");
        }
        assert!(of(&format!("List-Id: <{}>\n\n", "x".repeat(256)), |letter| letter.list().is_none()));
    }

    #[test]
    fn a_reply_names_what_it_answers_nearest_first() {
        let raw = "References: x <1@a> <2@a>\n\t<3@a><4@a\n\nbody <5@a>";
        assert_eq!(of(raw, |letter| letter.replies_to()), ["3@a", "2@a", "1@a"]);
        let raw = "In-Reply-To: your letter of Monday <9@a>\nReferences: <1@a>\nreferences: <2@a>\n\n";
        assert_eq!(of(raw, |letter| letter.replies_to()), ["9@a", "1@a"]);
        assert_eq!(
            of("In-Reply-To: <>, 1@a\nReferences: >1@a<\n\n", |letter| letter.replies_to()),
            Vec::<String>::new()
        );
        // Hostile: very many, and one without an end.
        let many = format!("References: {}\n\n", "<1@a>".repeat(100_000));
        assert_eq!(of(&many, |letter| letter.replies_to()).len(), REFERENCES);
        assert!(of(&format!("References: <{}>\n\n", "x".repeat(999)), |letter| letter.replies_to()).is_empty());
        assert!(of(&format!("References: {}\n\n", "<".repeat(1_000_000)), |letter| letter.replies_to()).is_empty());
    }

    #[test]
    fn the_envelope_sender_is_what_the_delivering_program_says() {
        let raw = "Return-Path: <Bob@Y.example>\nReturn-Path: <c@y.example>\n\n";
        assert_eq!(of(raw, |letter| letter.sender().map(ToString::to_string)).as_deref(), Some("Bob@y.example"));
        assert!(of("Return-Path: <>\n\n", |letter| letter.sender().is_none()));
        let message = Message::parse(raw.as_bytes());
        let verdict = Verdict::too_large();
        for (given, sender) in
            [("d@y.example", Some("d@y.example")), ("<d@y.example>", Some("d@y.example")), ("", None)]
        {
            let envelope = Envelope { sender: Some(given.into()), recipient: None };
            let letter = MessageContext::new(&message, &envelope, &verdict, &[], Extent::Whole);
            assert_eq!(letter.sender().map(ToString::to_string).as_deref(), sender, "{given:?}");
        }
    }

    #[test]
    fn every_field_of_a_name_is_searched_decoded_and_a_long_one_at_its_beginning() {
        let find = |raw: &str, name: &str, text: &str| {
            of(raw, |letter| letter.find_in_fields(name, &Expression::new(text, false)).unwrap())
        };
        assert_eq!(find("Subject: =?iso-8859-1?q?M=FCller?=\n\n", "Subject", "M\u{fc}ller"), Match::Yes);
        let raw = "X-A: one\nx-a: =?utf-8?q?tw=6F?=\n and more\nB: three\n\nX-A: body";
        assert_eq!(find(raw, "X-A", "^one$"), Match::Yes);
        assert_eq!(find(raw, "X-A", "^two and more$"), Match::Yes);
        assert_eq!(find(raw, "X-A", "three|body"), Match::No);
        let long = format!("X-A: {}end\n\n", "x".repeat(VALUE));
        assert_eq!(find(&long, "X-A", "end"), Match::No);
    }

    #[test]
    fn the_first_text_is_searched_decoded() {
        let find =
            |raw: &str, text: &str| of(raw, |letter| letter.find_in_text(&Expression::new(text, false)).unwrap());
        let raw = "Content-Transfer-Encoding: base64\n\nY2hlYXAgcGlsbHM=\n";
        assert_eq!((find(raw, "cheap pills"), find(raw, "Y2h")), (Match::Yes, Match::No));
        assert_eq!(find("Content-Type: text/html\n\ncheap <b>pi</b>lls<br>now", "^cheap pills\nnow$"), Match::Yes);
        assert_eq!(find("Content-Type: text/html\n\n<p title='pills'>cheap", "pills"), Match::No);
        assert_eq!(find("A: b\r\n\r\nhello\r\nbye\r\n", "(?m)^bye$"), Match::Yes);
        let lines = "filler filler filler\n".repeat(60_000);
        let long = format!("\nfirst\n{lines}middle\n{lines}last\n");
        assert_eq!(
            (find(&long, "first"), find(&long, "last"), find(&long, "middle")),
            (Match::Yes, Match::Yes, Match::No)
        );
    }
}
