//! Cosignatures of witnesses for the published checkpoint (C2SP tlog-witness).
//!
//! - The log is published before, and stays so whatever a witness does.
//! - No lock is held while a witness is asked. A cosignature is added only to the checkpoint that it is for.
//! - Nothing is kept about a witness: it tells the size that it has seen, if that is not the one that was assumed.

use super::error::PublicLogError;
use super::files::LogFolder;
use super::note_key;
use crate::directory::public_folder::PublicFolder;
use crate::ledger::error::LedgerError;
use crate::ledger::files::failed;
use crate::ledger::handle::Ledger;
use crate::net::http_client::{self, Response, ServiceError};
use crate::net::https::Limits;
use crate::time::UnixTime;
use crate::transparency::checkpoint::Checkpoint;
use crate::transparency::note::Note;
use crate::transparency::reader::{LogError, VerifiedLog};
use crate::transparency::witness::{SIZE_TYPE, Witness, request, size_in};
use crate::transparency::{self, note::VerifierKey};
use std::path::Path;
use std::thread;
use std::time::Duration;

/// Limits of one request; a witness gets two at most.
const LIMITS: Limits = Limits { time: Duration::from_secs(20), bytes: 16 * 1024 };
/// Age of a cosignature at which a new one is asked for, in seconds: twelve hours.
const FRESH: i64 = 12 * 60 * 60;
/// How far the clock of a witness may be from this one, in seconds: an hour.
const SKEW: i64 = 60 * 60;

/// Published checkpoint, and what each witness said.
#[derive(Debug)]
pub struct Cosigned {
    /// Leaves of the log.
    pub size: u64,
    /// Time of its cosignature, or why there is none, for each witness in order.
    pub answers: Vec<Result<UnixTime, CosignError>>,
}

/// Reasons why a witness did not cosign.
#[derive(Debug, thiserror::Error)]
pub enum CosignError {
    #[error(transparent)]
    Connection(#[from] ServiceError),
    #[error("it does not know this log (status 404)")]
    UnknownLog,
    #[error("it does not know the key of this log (status 403)")]
    UnknownKey,
    #[error("it refuses the proof that the log continues the one it has seen (status 422)")]
    Proof,
    #[error("it answered with status {0}")]
    Status(u16),
    /// A log never shrinks.
    #[error("it has seen {seen} leaves, and the log has {size}: the published log is older than one before")]
    Ahead { seen: u64, size: u64 },
    /// Another head of this size, or one that changed between two requests.
    #[error("it has seen another log of {0} leaves, or another head meanwhile (status 409)")]
    Conflict(u64),
    #[error("its answer has no cosignature of its key for this head")]
    Answer,
    #[error("its cosignature is of {0}, more than an hour from this clock")]
    Clock(UnixTime),
    /// The files of the log.
    #[error("the published log is damaged: {0}")]
    Log(#[from] LogError),
    #[error("the log has a new head since; ask again")]
    Outdated,
    #[error("the request did not end")]
    Aborted,
}

impl Ledger {
    /// Asks these witnesses to cosign the checkpoint below `public`, all at once, and adds what verifies to its file.
    ///
    /// A witness that cosigned it in the last twelve hours is not asked again.
    ///
    /// # Errors
    /// [`PublicLogError`] without a checkpoint, and errors of its file. What goes wrong with a witness is in its answer.
    pub fn cosign(&self, public: &Path, witnesses: &[Witness], now: UnixTime) -> Result<Cosigned, LedgerError> {
        let folder = LogFolder::below(public);
        let absent = || PublicLogError::Unpublished { path: folder.checkpoint_path() };
        let key = note_key::read(self.place(), &transparency::origin(self.vendor()?))?.ok_or_else(absent)?.verifier();
        let (note, checkpoint) = folder.checkpoint(&key)?.ok_or_else(absent)?;
        let log = Published { folder: &folder, note, checkpoint, key, now };
        let asked = thread::scope(|scope| {
            let threads: Vec<_> = witnesses.iter().map(|witness| scope.spawn(|| log.ask(witness))).collect();
            threads.into_iter().map(|thread| thread.join().unwrap_or(Err(CosignError::Aborted))).collect::<Vec<_>>()
        });
        let size = log.checkpoint.size;
        Ok(Cosigned { size, answers: log.add(public, witnesses, asked)? })
    }
}

/// The log as it was published.
struct Published<'a> {
    folder: &'a LogFolder,
    note: Note,
    checkpoint: Checkpoint,
    key: VerifierKey,
    now: UnixTime,
}

/// Cosignature of a witness: its time, and its lines unless the checkpoint has it already.
type Cosignature = (UnixTime, Option<String>);

impl Published<'_> {
    fn ask(&self, witness: &Witness) -> Result<Cosignature, CosignError> {
        let cosigned = self.note.cosigned_at(&witness.key);
        if let Some(time) = cosigned.filter(|time| (-SKEW..FRESH).contains(&self.now.since(*time))) {
            return Ok((time, None));
        }
        let size = self.checkpoint.size;
        // A witness that is not known to have seen this log tells what it has seen.
        let first = if cosigned.is_some() { size } else { 0 };
        match self.post(witness, first)? {
            Posted::Cosigned(lines) => self.verified(witness, lines),
            Posted::Seen(seen) if seen > size => Err(CosignError::Ahead { seen, size }),
            Posted::Seen(seen) if seen == first => Err(CosignError::Conflict(seen)),
            Posted::Seen(seen) => match self.post(witness, seen)? {
                Posted::Cosigned(lines) => self.verified(witness, lines),
                Posted::Seen(again) if again > size => Err(CosignError::Ahead { seen: again, size }),
                Posted::Seen(again) => Err(CosignError::Conflict(again)),
            },
        }
    }

    /// Sends one request: the log continues the one of `old` leaves.
    fn post(&self, witness: &Witness, old: u64) -> Result<Posted, CosignError> {
        let Checkpoint { size, root, .. } = &self.checkpoint;
        // The proof from nothing, and to itself, is empty.
        let proof = match old {
            0 => Vec::new(),
            old if old == *size => Vec::new(),
            old => VerifiedLog::open(self.folder, *size, root)?.consistency_proof(old)?,
        };
        let Response { status, media_type, body } =
            http_client::post_text(&witness.address(), &request(old, &proof, &self.note), LIMITS)?;
        match status {
            200 => Ok(Posted::Cosigned(String::from_utf8(body).map_err(|_| CosignError::Answer)?)),
            409 if media_type.as_deref() == Some(SIZE_TYPE) => {
                size_in(&body).map(Posted::Seen).ok_or(CosignError::Status(status))
            }
            409 => Err(CosignError::Conflict(old)),
            403 => Err(CosignError::UnknownKey),
            404 => Err(CosignError::UnknownLog),
            422 => Err(CosignError::Proof),
            status => Err(CosignError::Status(status)),
        }
    }

    /// Verifies the cosignature in the lines of an answer.
    fn verified(&self, witness: &Witness, lines: String) -> Result<Cosignature, CosignError> {
        // Without the cosignatures that it has, so that an old one is no answer.
        let time = self.note.only(&self.key).add_cosignature(&lines, &witness.key).ok_or(CosignError::Answer)?;
        if self.now.since(time).abs() > SKEW { Err(CosignError::Clock(time)) } else { Ok((time, Some(lines))) }
    }

    /// Adds the cosignatures to the file, unless it has another head by now.
    fn add(
        &self,
        public: &Path,
        witnesses: &[Witness],
        asked: Vec<Result<Cosignature, CosignError>>,
    ) -> Result<Vec<Result<UnixTime, CosignError>>, LedgerError> {
        let is_new = |answer: &Result<Cosignature, CosignError>| matches!(answer, Ok((_, Some(_))));
        if !asked.iter().any(is_new) {
            return Ok(asked.into_iter().map(|answer| answer.map(|(time, _)| time)).collect());
        }
        let _lock = PublicFolder::lock(public).map_err(|source| failed("lock", public, source))?;
        let found = self.folder.checkpoint(&self.key)?.map(|(note, _)| note).filter(|note| note.text == self.note.text);
        let Some(mut note) = found else {
            let outdated = asked.into_iter().map(|answer| answer.and(Err(CosignError::Outdated)));
            return Ok(outdated.collect());
        };
        let mut times = Vec::new();
        for (answer, witness) in asked.into_iter().zip(witnesses) {
            times.push(answer.map(|(time, lines)| {
                let newer = lines.and_then(|lines| note.add_cosignature(&lines, &witness.key));
                newer.unwrap_or(time)
            }));
        }
        self.folder.replace_checkpoint(&note)?;
        Ok(times)
    }
}

/// Answer of a witness.
enum Posted {
    /// Lines with its cosignature, not verified yet.
    Cosigned(String),
    /// The size of the log that it has seen, which is not the one that was assumed.
    Seen(u64),
}
