//! Learning contacts from sent mail: the user's correspondents and the user's own Message-IDs. This module decides what
//! counts. The message comes from a pipe, a folder or the watcher.
//!
//! - The caller must know that a message is the user's own; the check of From is only a second safeguard.
//! - A message that a program sent in the user's name is not learned. Otherwise each recipient of an automatic reply
//!   would become a contact.
//! - Each owner learns from their own messages alone: a message counts for the owner of its From.
//! - A message with the List fields of a mailing list came back from the list and is not learned. A message to a list
//!   is learned as any other.

use super::Context;
use super::error::Deferral;
use crate::message::address::{Address, addresses_up_to, clear_addresses};
use crate::message::automatic::is_automatic;
use crate::message::header::without_comments;
use crate::message::parse::Message;
use crate::store::Sent;
use crate::time::UnixTime;
use crate::verdict::facts;
use crate::verdict::owner::Owner;
use std::fmt;

/// Recipients learned from one message at most. A message to more is not to one person.
pub const RECIPIENTS: usize = 1_000;

/// Bytes read of a message. A message whose fields of interest lie beyond this was not written by a person.
pub const BEGINNING: u64 = 256 * 1024;

/// Why a message is not learned.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SkipReason {
    /// From names none of the user's addresses, or those of several owners.
    Foreign,
    /// The name of the login is no owner's.
    UnknownUser,
    /// A program sent it (RFC 3834 section 5), or it went to many at once (Precedence).
    Automatic,
    /// A mailing list sent it out (RFC 2369, RFC 2919).
    FromList,
}

impl fmt::Display for SkipReason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Foreign => "From is none of your addresses",
            Self::UnknownUser => "the login name is no owner's",
            Self::Automatic => "it was sent by a program, or in bulk",
            Self::FromList => "a mailing list sent it",
        })
    }
}

impl Context {
    /// Returns what to learn from a message that the user sent.
    /// Its time is that of its Date field, or `otherwise` if it has none. A time in the future is set to now.
    ///
    /// # Errors
    /// [`Deferral`] when the user's addresses are not known, or the clock cannot be right.
    pub fn may_learn(&self, message: &Message<'_>, otherwise: UnixTime) -> Result<Result<Sent, SkipReason>, Deferral> {
        let mut recipients = Vec::new();
        for field in message.fields().filter(|field| ["To", "Cc", "Bcc"].iter().any(|name| field.name_is(name))) {
            let room = RECIPIENTS - recipients.len();
            recipients.extend(addresses_up_to(&field.unfolded(), room));
        }
        self.learnable_of(message, recipients, otherwise)
    }

    /// As [`may_learn`](Self::may_learn), with the recipients of the envelope, which no field names (Bcc).
    pub fn learnable_of(
        &self,
        message: &Message<'_>,
        recipients: Vec<Address>,
        otherwise: UnixTime,
    ) -> Result<Result<Sent, SkipReason>, Deferral> {
        self.preflight()?;
        let authors = message.authors();
        let mut owners = authors.iter().filter_map(|author| self.owner_of(author));
        let Some(owner) = owners.next().filter(|owner| owners.all(|other| other == *owner)) else {
            return Ok(Err(SkipReason::Foreign));
        };
        let date = message.first("Date").and_then(|field| UnixTime::from_rfc5322(&without_comments(&field.unfolded())));
        Ok(self.learnable_for(owner, message, recipients, date.unwrap_or(otherwise)))
    }

    /// As [`learnable_of`](Self::learnable_of), for a message that was sent now, under a login of this name. The name
    /// is that of an owner, or one of the owner's addresses. From must be one address, which every program reads, of
    /// the same owner.
    pub fn learnable_by(
        &self,
        login: &str,
        message: &Message<'_>,
        recipients: Vec<Address>,
    ) -> Result<Result<Sent, SkipReason>, Deferral> {
        self.preflight()?;
        let Some(owner) = facts::owner_named(&self.config.mailboxes, login) else {
            return Ok(Err(SkipReason::UnknownUser));
        };
        let mut fields = message.fields().filter(|field| field.name_is("From"));
        let from = match (fields.next(), fields.next()) {
            (Some(field), None) => clear_addresses(&field.unfolded()).unwrap_or_default(),
            _ => Vec::new(),
        };
        match &from[..] {
            [from] if self.owner_of(from) == Some(owner) => {
                Ok(self.learnable_for(owner, message, recipients, self.now))
            }
            _ => Ok(Err(SkipReason::Foreign)),
        }
    }

    fn learnable_for(
        &self,
        owner: Owner,
        message: &Message<'_>,
        mut recipients: Vec<Address>,
        time: UnixTime,
    ) -> Result<Sent, SkipReason> {
        if is_automatic(message) {
            return Err(SkipReason::Automatic);
        }
        if message.fields().any(|field| field.name_is("List-Id") || field.name_is("List-Post")) {
            return Err(SkipReason::FromList);
        }
        recipients.retain(|address| !self.is_mine(address));
        let message_id =
            message.first("Message-ID").map(|field| String::from_utf8_lossy(&field.unfolded()).into_owned());
        let time = time.min(self.now);
        if time < self.correspondents_since(self.now) {
            recipients.clear();
        }
        Ok(Sent { owner, recipients, message_id, time, now: self.now })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::Config;
    use crate::config::paths::Paths;
    use crate::config::user::User;

    const NOW: UnixTime = UnixTime(1_795_262_400);

    fn learn(raw: &str) -> Result<Sent, SkipReason> {
        let text = "addresses = [\"me@x.example\", \"me+*@x.example\"]";
        let config = Config::parse(text, &User::default()).unwrap();
        let context = Context::new(config.into(), Paths::default().into(), Some(NOW));
        context.may_learn(&Message::parse(raw.as_bytes()), UnixTime(7)).unwrap()
    }

    /// What a login of this name may learn, with one recipient.
    fn learn_by(login: &str, raw: &str) -> Result<Sent, SkipReason> {
        let text = "addresses = [\"*@x.example\", { address = \"al@y.example\", owner = \"alice\" }, \
                    { address = \"alice@z.example\", owner = \"alice\" }]";
        let config = Config::parse(text, &User::default()).unwrap();
        let context = Context::new(config.into(), Paths::default().into(), Some(NOW));
        let to = ["joe@w.example", "bob@x.example"].map(|to| Address::parse(to).unwrap()).to_vec();
        context.learnable_by(login, &Message::parse(raw.as_bytes()), to).unwrap()
    }

    #[test]
    fn a_login_teaches_its_own_owner_from_its_own_from() {
        let of_bob = Owner::of_address("bob@x.example");
        for (login, from, owner) in [
            ("bob@x.example", "bob@x.example", of_bob),
            ("BOB@X.EXAMPLE", "Bob <Bob@x.example>", of_bob),
            ("alice", "\"bob@x.example\" <al@y.example>", Owner::named("alice")),
            ("al@y.example", "alice@z.example", Owner::named("alice")),
        ] {
            // The time is now, whatever the Date.
            let raw = format!("From: {from}\nDate: Fri, 20 Nov 2020 12:00:00 +0000\n\n");
            let sent = learn_by(login, &raw).unwrap();
            assert_eq!((sent.owner, sent.time, sent.recipients.len()), (owner, NOW, 1), "{login} {from}");
        }
        for from in [
            "carol@x.example",
            "joe@w.example",
            "bob@x.example, carol@x.example",
            "bob@x.example\nFrom: bob@x.example",
            "bob@x.example\nFrom: carol@x.example",
            "us: bob@x.example;",
            "bob@x.example <carol@x.example>",
            "<@w.example,@x.example:bob@x.example>",
            "bob",
            "",
        ] {
            let raw = format!("From: {from}\n\n");
            assert_eq!(learn_by("bob@x.example", &raw), Err(SkipReason::Foreign), "{from}");
        }
        for login in ["bob", "", "Alice", "bob@w.example"] {
            assert_eq!(learn_by(login, "From: bob@x.example\n\n"), Err(SkipReason::UnknownUser), "{login}");
        }
        let raw = "From: bob@x.example\nAuto-Submitted: auto-replied\n\n";
        assert_eq!(learn_by("bob@x.example", raw), Err(SkipReason::Automatic));
    }

    fn recipients(raw: &str) -> Vec<String> {
        learn(raw).unwrap().recipients.iter().map(ToString::to_string).collect()
    }

    #[test]
    fn all_recipients_but_the_user_himself_are_learned() {
        let raw = "From: Me <me@x.example>\nTo: \"Joe, B.\" <joe@y.example>, me+copy@x.example\nCc: friends: a@z.example,\n \
            b@z.example;\nTo: again@y.example\nBcc: secret@y.example\nMessage-ID:\n <1@x.example>\n\
            Date: Fri, 20 Nov 2026 12:00:00 +0000\nReply-To: other@y.example\n\nTo: body@y.example\n";
        assert_eq!(
            recipients(raw),
            ["joe@y.example", "a@z.example", "b@z.example", "again@y.example", "secret@y.example"]
        );
        let sent = learn(raw).unwrap();
        assert_eq!(sent.message_id.unwrap().trim(), "<1@x.example>");
        assert_eq!(sent.time, UnixTime(NOW.0 - 86_400));
    }

    #[test]
    fn a_date_to_come_is_now_and_none_at_all_is_what_else_is_known() {
        let from = "From: me@x.example\nTo: joe@y.example\n";
        assert_eq!(learn(&format!("{from}Date: Fri, 20 Nov 2037 12:00:00 +0000\n\n")).unwrap().time, NOW);
        for date in ["", "Date: soon\n", "Date: Fri, 20 Nov 1937 12:00:00 +0000\n"] {
            assert_eq!(learn(&format!("{from}{date}\n")).unwrap().time, UnixTime(7), "{date:?}");
        }
    }

    #[test]
    fn what_the_user_did_not_write_is_not_learned() {
        let mine = "From: me@x.example\nTo: joe@y.example\n";
        for field in ["", "Auto-Submitted: no\n", "Auto-Submitted: No (really); x=y\n", "Precedence: first-class\n"] {
            assert!(learn(&format!("{field}{mine}\n")).is_ok(), "{field:?}");
        }
        for field in [
            "Auto-Submitted: auto-replied\n",
            "auto-submitted: AUTO-GENERATED; x\n",
            "Auto-Submitted:\n",
            "Precedence: Bulk\n",
        ] {
            assert_eq!(learn(&format!("{field}{mine}\n")), Err(SkipReason::Automatic), "{field:?}");
        }
        assert_eq!(learn(&format!("List-Id: <l.z.example>\n{mine}\n")), Err(SkipReason::FromList));
        for raw in
            ["From: eve@y.example\nTo: joe@y.example\n\n", "To: joe@y.example\n\n", "", "From: me@x.example.org\n\n"]
        {
            assert_eq!(learn(raw), Err(SkipReason::Foreign), "{raw:?}");
        }
        // Threat 25: a name is no address.
        assert_eq!(learn("From: \"me@x.example\" <eve@y.example>\nTo: a@z.example\n\n"), Err(SkipReason::Foreign));
    }

    /// Promise 5.
    #[test]
    fn of_many_recipients_the_first_thousand_are_learned() {
        let many: Vec<String> = (0..3_000).map(|n| format!("p{n}@y.example")).collect();
        let raw = format!("From: me@x.example\nTo: {}\nCc: {}\n\n", many.join(",\n "), many.join(", "));
        let found = recipients(&raw);
        assert_eq!((found.len(), found[999].as_str()), (1_000, "p999@y.example"));
        // A field beyond 256 KiB is not read.
        let many: Vec<String> = (0..100_000).map(|n| format!("p{n}@y.example")).collect();
        assert_eq!(recipients(&format!("From: me@x.example\nTo: {}\n\n", many.join(", "))), [""; 0]);
    }
}
