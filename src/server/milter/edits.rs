//! Changes of the message that all recipients share, and the fields with their results.

use crate::boundary::changes::{self, CHANGES, TooManyChanges, prefix_subject};
use crate::boundary::plan::{Fate, Shared};
use crate::boundary::seal::{self, NAMED, Visible};
use crate::boundary::session::{Incoming, Session};
use crate::config::boundary::Boundary;
use crate::directory::signing_key::SigningKey;
use crate::engine::judge::Engine;
use crate::engine::result_header;
use crate::message::edit::Edit;
use crate::message::fingerprint::Fingerprint;
use crate::message::header::{Field, fold};
use crate::message::parse::Message;
use crate::message::result_headers::{CLASS_FIELD, result_fields};
use crate::policy::decision::Decision;
use crate::stamp::affix::strip_only;
use crate::stamp::claims::Stamp;
use crate::stamp::serial::Serial;
use crate::stamp::token::Token;
use crate::verdict::facts::Envelope;
use std::borrow::Cow;

/// Changes of a message, but for the new fields with results.
pub(super) struct Edits<'a> {
    incoming: &'a Incoming,
    has_leading_space: bool,
    edit: Edit<'a>,
    /// A Subject, where there was none.
    subject: Vec<String>,
    /// For each recipient the offset of a sealed field that was believed, and stays.
    kept: Vec<Option<usize>>,
}

/// What is known of each recipient, in their order.
pub(super) struct Recipients<'a> {
    pub(super) envelopes: &'a [Option<Envelope>],
    pub(super) decisions: &'a [Option<Decision>],
    pub(super) fates: &'a [Fate],
}

impl<'a> Edits<'a> {
    /// Makes the changes that `shared` asks for. `believed` has for each recipient the offset of the sealed field that
    /// gave the result.
    pub(super) fn new(
        engine: &Engine,
        boundary: &Boundary,
        session: &'a Session,
        message: &Message<'a>,
        shared: &Shared,
        believed: Vec<Option<usize>>,
    ) -> Self {
        let with = |kept: Vec<Option<usize>>| {
            let (edit, subject) = changed(engine, boundary, message, shared, &kept);
            let (incoming, has_leading_space) = (session.message(), session.has_leading_space());
            Self { incoming, has_leading_space, edit, subject, kept }
        };
        let made = with(believed);
        let holds_still = || {
            made.applied()
                .is_ok_and(|after| Fingerprint::of_broken(&Message::parse(&after)) == Fingerprint::of_broken(message))
        };
        // A seal is for the message as it came.
        if made.kept.iter().all(Option::is_none) || holds_still() { made } else { with(vec![None; made.kept.len()]) }
    }

    /// Returns the changed message.
    pub(super) fn applied(&self) -> Result<Cow<'a, [u8]>, TooManyChanges> {
        changes::applied(self.incoming, &self.edit, &self.subject, self.has_leading_space)
    }

    /// Appends the changes, with the fields that show the results.
    pub(super) fn write(
        &self,
        engine: &Engine,
        sealing: Option<(&SigningKey, &Visible)>,
        shared: &Shared,
        recipients: &Recipients<'_>,
        answer: &mut Vec<u8>,
    ) -> Result<(), TooManyChanges> {
        let mut new = match sealing {
            Some((key, visible)) => self.sealed(engine, key, visible, recipients)?,
            // It would count for those, too, whom a field names that stays.
            None if self.kept.iter().any(Option::is_some) => Vec::new(),
            None => class_field(engine, shared).into_iter().collect(),
        };
        new.extend(authentication_results(engine, shared));
        new.extend_from_slice(&self.subject);
        changes::write(self.incoming, &self.edit, &new, self.has_leading_space, answer)
    }

    /// Returns a field for each distinct result, with its seal.
    fn sealed(
        &self,
        engine: &Engine,
        key: &SigningKey,
        visible: &Visible,
        recipients: &Recipients<'_>,
    ) -> Result<Vec<String>, TooManyChanges> {
        // The rest of the message is not known.
        if self.incoming.is_cut {
            return Ok(Vec::new());
        }
        let mut results: Vec<(String, Vec<String>)> = Vec::new();
        let mut named = 0;
        let Recipients { envelopes, decisions, fates } = recipients;
        for (((envelope, decision), fate), kept) in envelopes.iter().zip(*decisions).zip(*fates).zip(&self.kept) {
            let recipient = envelope.as_ref().and_then(|envelope| envelope.recipient.as_ref());
            let Some((decision, name)) = decision.as_ref().zip(recipient.and_then(|it| visible.name(it))) else {
                continue;
            };
            let is_known = results.iter().any(|(_, names)| names.contains(&name));
            if kept.is_some() || *fate == Fate::Discard || is_known || named == NAMED {
                continue;
            }
            named += 1;
            let result = result_header::result(decision, engine.context.config.used_log);
            match results.iter_mut().find(|(other, _)| *other == result) {
                Some((_, names)) => names.push(name),
                None => results.push((result, vec![name])),
            }
        }
        if results.is_empty() {
            return Ok(Vec::new());
        }
        let after = self.applied()?;
        let fingerprint = Fingerprint::of_broken(&Message::parse(&after));
        let (host, now) = (key.issuer.vendor(), engine.context.now);
        let field = |(result, names): &(String, Vec<String>)| {
            fold(CLASS_FIELD, &seal::write(result, host, names, now, &fingerprint, &key.key), "\n")
        };
        Ok(results.iter().map(field).collect())
    }
}

/// Checks that a mail system can make all changes that the message may need, whatever its stamps are.
pub(super) fn check(
    engine: &Engine,
    boundary: &Boundary,
    incoming: &Incoming,
    message: &Message<'_>,
) -> Result<(), TooManyChanges> {
    if incoming.fields.len() <= CHANGES {
        return Ok(());
    }
    let mut edit = strip_only(message, |_| boundary.strips_stamps).edit;
    forged(engine, message).for_each(|field| edit.remove(&field));
    if let Some(prefix) = &boundary.subject_prefix {
        let _new_field = prefix_subject(message, prefix, &mut edit);
    }
    changes::check(incoming, &edit)
}

/// Returns the changes of a message whose result is not sealed, and the fields for its top, the highest first.
pub(in crate::server) fn edited<'a>(
    engine: &Engine,
    boundary: &Boundary,
    message: &Message<'a>,
    shared: &Shared,
) -> (Edit<'a>, Vec<String>) {
    let (edit, subject) = changed(engine, boundary, message, shared, &[]);
    let new = class_field(engine, shared).into_iter().chain(authentication_results(engine, shared)).chain(subject);
    (edit, new.collect())
}

/// Returns the changes that `shared` asks for, but for the fields with results that begin at `kept`, and a Subject
/// where there was none.
fn changed<'a>(
    engine: &Engine,
    boundary: &Boundary,
    message: &Message<'a>,
    shared: &Shared,
    kept: &[Option<usize>],
) -> (Edit<'a>, Vec<String>) {
    let is_accepted = |token: &str| boundary.strips_stamps && names_one_of(&shared.accepted, token);
    let mut edit = strip_only(message, is_accepted).edit;
    forged(engine, message).filter(|field| !kept.contains(&Some(field.start()))).for_each(|field| edit.remove(&field));
    let prefix = boundary.subject_prefix.as_deref().filter(|_| shared.is_prefixed);
    let subject = prefix.and_then(|prefix| prefix_subject(message, prefix, &mut edit));
    (edit, subject.into_iter().collect())
}

/// Returns the fields that claim to be results of this host. From outside, no host is trusted.
fn forged<'a>(engine: &Engine, message: &Message<'a>) -> impl Iterator<Item = Field<'a>> {
    result_fields(message, engine.context.config.authserv_id.as_deref(), &[])
}

fn class_field(engine: &Engine, shared: &Shared) -> Option<String> {
    let used_log = engine.context.config.used_log;
    shared.result.as_ref().map(|result| result_header::result_field(result, used_log, "\n"))
}

fn authentication_results(engine: &Engine, shared: &Shared) -> Option<String> {
    let (result, id) = shared.result.as_ref().zip(engine.context.config.authserv_id.as_deref())?;
    Some(result_header::authentication_results(&result.verdict, id, "\n"))
}

/// Returns whether a token is one of these stamps.
fn names_one_of(stamps: &[(String, Serial)], token: &str) -> bool {
    let read = || {
        let token = Token::parse(token).ok()?;
        let serial = Stamp::read(token.payload()).ok()?.serial;
        Some((token.issuer().ok()?.vendor().to_owned(), serial))
    };
    !stamps.is_empty() && read().is_some_and(|stamp| stamps.contains(&stamp))
}
