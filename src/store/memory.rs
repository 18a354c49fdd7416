//! A store in memory: for tests, and for judging with a state that is thrown away. It shares the rule with the store on
//! disk and nothing else, so the contract tests compare the two.

use super::error::StoreError;
use super::row::{Row, merge_standing, merge_used};
use super::rule::{self, Decision, Entry, Key, Known, Name, Write};
use super::{GRACE, GrantBook, Imported, Purged, Store, Summary, UsedLog};
use crate::grant::Standing;
use crate::mail::time::UnixTime;
use crate::stamp::serial::Serial;
use crate::verdict::spend::{Spend, Spent};
use std::collections::BTreeMap;
use std::ops::ControlFlow;
use std::sync::{Mutex, MutexGuard, PoisonError};

/// The store. Forgets all when dropped.
#[derive(Debug)]
pub struct Memory {
    books: Mutex<Books>,
    grace: i64,
}

#[derive(Debug, Default)]
struct Books {
    used: BTreeMap<Key, Entry>,
    standings: BTreeMap<Name, (String, Serial, Standing)>,
    mark: Option<u32>,
}

impl Memory {
    /// An empty store with the usual grace.
    #[must_use]
    pub fn new() -> Self {
        Self::with_grace(GRACE)
    }

    /// An empty store whose rows are kept for `grace` seconds after their bucket's end.
    #[must_use]
    pub fn with_grace(grace: i64) -> Self {
        Self { books: Mutex::default(), grace }
    }

    /// No step under the lock can stop half-way, so what a poisoned lock guards is whole.
    fn books(&self) -> MutexGuard<'_, Books> {
        self.books.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Default for Memory {
    fn default() -> Self {
        Self::new()
    }
}

impl Books {
    fn decide(&self, ask: &Spend) -> Result<Decision, StoreError> {
        let known = Known {
            standing: self.standing(&rule::name(&ask.vendor, &ask.serial)),
            entry: self.used.get(&rule::key(ask)).copied(),
            mark: self.mark,
        };
        rule::decide(ask, &known)
    }

    fn standing(&self, name: &Name) -> Standing {
        self.standings.get(name).map(|(_, _, standing)| standing.clone()).unwrap_or_default()
    }

    fn put_standing(&mut self, vendor: &str, serial: &Serial, standing: Standing) {
        let name = rule::name(vendor, serial);
        if standing == Standing::default() {
            self.standings.remove(&name);
        } else {
            self.standings.insert(name, (vendor.to_owned(), serial.clone(), standing));
        }
    }

    fn clear(&mut self, below: u32, most: usize) -> Purged {
        let end = rule::join(below, &[0; 16]);
        let keys: Vec<Key> = self.used.range(..end).take(most).map(|(key, _)| *key).collect();
        for key in &keys {
            self.used.remove(key);
        }
        self.mark = self.mark.max(keys.last().map(|key| rule::split(key).0));
        Purged { removed: keys.len(), left: self.used.range(..end).next().is_some() }
    }
}

impl UsedLog for Memory {
    fn spend(&self, ask: &Spend) -> Result<Spent, StoreError> {
        let mut books = self.books();
        let Decision { answer, write } = books.decide(ask)?;
        match write {
            None => {}
            Some(Write::Standing(standing)) => books.put_standing(&ask.vendor, &ask.serial, standing),
            Some(Write::Use(entry)) => {
                books.used.insert(rule::key(ask), entry);
                books.clear(rule::first_kept(ask.now, self.grace).min(rule::bucket(ask.expires)), 64);
            }
        }
        Ok(answer)
    }

    fn peek(&self, ask: &Spend) -> Result<Spent, StoreError> {
        Ok(self.books().decide(ask)?.answer)
    }

    fn purge(&self, now: UnixTime, grace: i64, most: usize) -> Result<Purged, StoreError> {
        Ok(self.books().clear(rule::first_kept(now, grace), most))
    }
}

impl GrantBook for Memory {
    fn standing(&self, vendor: &str, serial: &Serial) -> Result<Standing, StoreError> {
        Ok(self.books().standing(&rule::name(vendor, serial)))
    }

    fn change_standing(
        &self,
        vendor: &str,
        serial: &Serial,
        change: &mut dyn FnMut(&Standing) -> Standing,
    ) -> Result<Standing, StoreError> {
        let mut books = self.books();
        let before = books.standing(&rule::name(vendor, serial));
        books.put_standing(vendor, serial, change(&before));
        Ok(before)
    }

    fn standings(&self, to: &mut dyn FnMut(String, Serial, Standing) -> ControlFlow<()>) -> Result<(), StoreError> {
        let all = self.books().standings.values().cloned().collect::<Vec<_>>();
        let _ = all.into_iter().try_for_each(|(vendor, serial, standing)| to(vendor, serial, standing));
        Ok(())
    }
}

impl Store for Memory {
    fn export(&self, to: &mut dyn FnMut(Row) -> ControlFlow<()>) -> Result<(), StoreError> {
        let books = self.books();
        let mark = books.mark.map(|hour| Row::Cleared { hour });
        let used = books.used.iter().map(|(key, entry)| {
            let (hour, stamp) = rule::split(key);
            Row::used(hour, stamp, *entry)
        });
        let standings = books.standings.values().map(|(vendor, serial, standing)| Row::Standing {
            vendor: vendor.clone(),
            serial: serial.clone(),
            standing: standing.clone(),
        });
        let _ = mark.into_iter().chain(used).chain(standings).try_for_each(to);
        Ok(())
    }

    fn import(&self, rows: &mut dyn Iterator<Item = Row>) -> Result<Imported, StoreError> {
        let mut done = Imported::default();
        for row in rows {
            let mut books = self.books();
            let changed = match row {
                Row::Cleared { hour } => {
                    let before = books.mark;
                    books.mark = before.max(Some(hour));
                    books.mark != before
                }
                Row::Used { hour, stamp, fingerprint, first_seen, times } => {
                    let key = rule::join(hour, &stamp);
                    let before = books.used.get(&key).copied();
                    let after = merge_used(before, Entry { fingerprint, first_seen, times });
                    books.used.insert(key, after);
                    before != Some(after)
                }
                Row::Standing { vendor, serial, standing } => {
                    let before = books.standing(&rule::name(&vendor, &serial));
                    let after = merge_standing(&before, standing);
                    let changed = before != after;
                    books.put_standing(&vendor, &serial, after);
                    changed
                }
            };
            *(if changed { &mut done.taken } else { &mut done.known }) += 1;
        }
        Ok(done)
    }

    fn summary(&self) -> Result<Summary, StoreError> {
        let books = self.books();
        Ok(Summary {
            used: books.used.len() as u64,
            standings: books.standings.len() as u64,
            bytes: 0,
            cleared: books.mark.map(rule::bucket_end),
            format: 0,
        })
    }
}
