//! What this host saw of the server, in a file that outlives processes: which cluster it is, the highest epoch, and the
//! WAL position of the last commit that was acknowledged. A server that is lower or another may have forgotten used
//! stamps: it was restored from a backup, or a standby that was behind took over.
//!
//! - The position is read inside a transaction, before its commit. So it is durable wherever the commit is, and neither
//!   a crash nor a synchronous standby falls behind it.
//! - A host that writes nothing sees how far the WAL is flushed. That is durable on the primary alone, so it counts on
//!   one timeline: a standby that takes over begins another.

use super::options::Options;
use crate::os::atomic_file::{self, Durability};
use crate::os::clock;
use crate::store::error::StoreError;
use serde::{Deserialize, Serialize};
use std::fs;
use std::io::{self, Write};
use std::time::{Duration, Instant};

/// The position is written to the file not more often than this. Whatever else changes is always written, and synced.
const SAVE_INTERVAL: Duration = Duration::from_secs(1);

/// A state of the server.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Seen {
    database: String,
    space: String,
    /// Times that the administrator took the server as it was.
    #[serde(default)]
    accepted: u64,
    pub(super) system_identifier: String,
    /// Numbers of the database and of a table. They are others after a dump was restored.
    tables: (u32, u32),
    pub(super) timeline: i64,
    pub(super) epoch: i64,
    pub(super) position: u64,
    /// WAL position up to which the server has flushed, on this timeline.
    #[serde(default)]
    pub(super) flushed: u64,
    /// Why the server was refused. It stays refused: a restored server that goes on writing soon reaches further than
    /// the position.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    refused: Option<String>,
}

impl Seen {
    pub(super) fn new(options: &Options, system_identifier: String, tables: (u32, u32), timeline: i64) -> Self {
        let (database, space) = (options.database.clone(), options.space.clone());
        Self { database, space, system_identifier, tables, timeline, ..Self::default() }
    }

    /// The same server with this epoch and WAL position.
    pub(super) fn at(self, epoch: i64, position: u64) -> Self {
        Self { epoch, position, ..self }
    }

    fn is_same_server(&self, other: &Self) -> bool {
        (&self.system_identifier, self.tables, self.timeline)
            == (&other.system_identifier, other.tables, other.timeline)
    }

    /// Returns what is another now, if anything is.
    fn other(&self, now: &Self, follow_failover: bool) -> Option<String> {
        if self.system_identifier != now.system_identifier {
            return Some("it is another cluster".to_owned());
        }
        if self.tables != now.tables {
            return Some("its tables were made anew".to_owned());
        }
        if now.timeline != self.timeline && !(follow_failover && now.timeline > self.timeline) {
            return Some(format!("its timeline is {}, and was {}", now.timeline, self.timeline));
        }
        None
    }

    /// Returns what is lower now, if anything is.
    fn lower(&self, now: &Self) -> Option<String> {
        if now.epoch < self.epoch {
            return Some(format!("its epoch is {}, and was {}", now.epoch, self.epoch));
        }
        let flushed = if now.timeline == self.timeline { self.flushed } else { 0 };
        let known = self.position.max(flushed);
        if now.position < known {
            return Some(format!("its WAL ends at {}, and was at {}", shown(now.position), shown(known)));
        }
        None
    }
}

/// The file and what it holds.
#[derive(Debug, Default)]
pub(super) struct Memory {
    seen: Option<Seen>,
    saved: Option<Instant>,
    /// Whether commits went further than the file says.
    is_ahead: bool,
}

impl Memory {
    /// Returns what was seen until now, to be compared with what the server says after this.
    pub(super) fn seen(&mut self, options: &Options) -> Result<Option<Seen>, StoreError> {
        self.load(options, false)?;
        Ok(self.seen.clone())
    }

    /// Compares the server with what was [seen](Self::seen) before it was asked, and remembers it. Commits on other
    /// connections may have gone further since.
    pub(super) fn meet(
        &mut self,
        server: &str,
        options: &Options,
        before: Option<&Seen>,
        now: Seen,
    ) -> Result<(), StoreError> {
        let refused = |what| Err(StoreError::Restored { server: server.to_owned(), what });
        if let Some(what) = self.seen.as_ref().and_then(|seen| seen.refused.clone()) {
            return refused(what);
        }
        let other = self.seen.as_ref().or(before).and_then(|seen| seen.other(&now, options.follow_failover));
        if let Some(what) = other {
            return refused(what);
        }
        if let Some(what) = before.and_then(|seen| seen.lower(&now)) {
            if let Some(seen) = &mut self.seen {
                seen.refused = Some(what.clone());
                self.save(options, Durability::Synced)?;
            }
            return refused(what);
        }
        // The position of a session's begin may not be durable, so only those of commits count.
        let mut now = Seen { position: 0, ..now };
        if let Some(seen) = &self.seen {
            now.accepted = seen.accepted;
            now.epoch = now.epoch.max(seen.epoch);
            // A new timeline goes on where the one before was left.
            now.position = seen.position;
            // It takes other connections' commits to have a higher one here.
            let flushed = if now.timeline == seen.timeline { now.flushed.max(seen.flushed) } else { now.flushed };
            if *seen == (Seen { flushed: seen.flushed, ..now.clone() }) {
                // A file that cannot be written does not make the server another one.
                let _ = self.flush(options, flushed);
                return Ok(());
            }
            now.flushed = flushed;
        }
        self.seen = Some(now);
        self.save(options, Durability::Synced)
    }

    /// Returns the highest epoch of the server.
    pub(super) fn epoch(&self) -> i64 {
        self.seen.as_ref().map_or(0, |seen| seen.epoch)
    }

    /// Takes in what a commit brought.
    pub(super) fn commit(&mut self, options: &Options, epoch: i64, position: u64) -> Result<(), StoreError> {
        let Some(seen) = self.seen.as_mut() else { return Ok(()) };
        let raised = epoch > seen.epoch;
        seen.epoch = seen.epoch.max(epoch);
        seen.position = seen.position.max(position);
        self.is_ahead = true;
        if raised { self.merge(options, Durability::Synced) } else { self.save_soon(options) }
    }

    fn save_soon(&mut self, options: &Options) -> Result<(), StoreError> {
        let is_due = self.saved.is_none_or(|saved| saved.elapsed() >= SAVE_INTERVAL);
        if is_due { self.merge(options, Durability::Cached) } else { Ok(()) }
    }

    /// Takes in how far the server has flushed.
    pub(super) fn flush(&mut self, options: &Options, flushed: u64) -> Result<(), StoreError> {
        let Some(seen) = self.seen.as_mut().filter(|seen| seen.flushed < flushed) else { return Ok(()) };
        seen.flushed = flushed;
        self.is_ahead = true;
        self.save_soon(options)
    }

    /// Writes what commits brought, if the file does not have it.
    pub(super) fn keep(&mut self, options: &Options) -> Result<(), StoreError> {
        if self.is_ahead { self.merge(options, Durability::Cached) } else { Ok(()) }
    }

    /// Writes what commits brought. The administrator may have accepted the server meanwhile: what is committed there
    /// counts all the same.
    fn merge(&mut self, options: &Options, durability: Durability) -> Result<(), StoreError> {
        self.load(options, true)?;
        self.save(options, durability)
    }

    /// Takes the server as it is now. `now` comes from a transaction that is committed.
    pub(super) fn accept(&mut self, options: &Options, now: Seen) -> Result<(), StoreError> {
        // A damaged file is replaced. The time makes the number another one then, too.
        let known = self.load(options, false).ok().and(self.seen.as_ref()).map_or(0, |seen| seen.accepted);
        let time = clock::now().0.unsigned_abs();
        self.seen = Some(Seen { accepted: time.max(known + 1), ..now });
        self.save(options, Durability::Synced)
    }

    /// Reads the file. What is higher here counts too, if it is of the same server and the administrator has not
    /// accepted it since, or if it `is_committed`.
    fn load(&mut self, options: &Options, is_committed: bool) -> Result<(), StoreError> {
        let text = match fs::read(&options.memory) {
            Ok(text) => text,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
            Err(error) => return Err(StoreError::from_io("read", &options.memory, error)),
        };
        let mut file: Seen = serde_json::from_slice(&text).map_err(|_| StoreError::Refused {
            server: options.memory.display().to_string(),
            what: "this file is damaged; run mailstamp store accept-restored once the server is known to be right"
                .to_owned(),
        })?;
        if let Some(seen) = &self.seen
            && file.is_same_server(seen)
            && (is_committed || file.accepted == seen.accepted)
        {
            file.epoch = file.epoch.max(seen.epoch);
            file.position = file.position.max(seen.position);
            file.flushed = file.flushed.max(seen.flushed);
        }
        self.seen = Some(file);
        Ok(())
    }

    fn save(&mut self, options: &Options, durability: Durability) -> Result<(), StoreError> {
        if !options.remembers {
            return Ok(());
        }
        let failed = |source| StoreError::from_io("write", &options.memory, source);
        let text = serde_json::to_vec(&self.seen).map_err(|error| failed(error.into()))?;
        atomic_file::replace(&options.memory, 0o600, durability, |file| file.write_all(&text)).map_err(failed)?;
        self.saved = Some(Instant::now());
        self.is_ahead = false;
        Ok(())
    }
}

/// Parses a WAL position such as `0/16B3748` (PostgreSQL 15, 8.20).
pub(super) fn position(text: &str) -> Option<u64> {
    let (high, low) = text.split_once('/')?;
    let part = |text| u64::from_str_radix(text, 16).ok().filter(|part| *part <= u64::from(u32::MAX));
    Some(part(high)? << 32 | part(low)?)
}

fn shown(position: u64) -> String {
    format!("{:X}/{:X}", position >> 32, position & u64::from(u32::MAX))
}
