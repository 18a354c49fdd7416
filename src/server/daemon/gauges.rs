//! What nobody counts and somebody has to look for: how large the log is and whether it answers, how old the vendors'
//! directories are. One thread looks, at most one at a time, and what it found is good for a while: however many ask, and
//! however long the disk or another process holds the log, mail is not disturbed and those who ask are answered in time.

use crate::directory::source_status::{self, Standing};
use crate::engine::remote::state::DaemonState;
use crate::engine::remote::status::Directory;
use crate::os::clock;
use crate::store::StoreError;
use crate::store::resident::Stats;
use crate::time::UnixTime;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

/// For how long it is waited for. A log that takes longer does not answer.
const PATIENCE: Duration = Duration::from_secs(1);
/// Sources that are told of, each of which the user listed himself; and the length of what is said of one. All of it goes
/// into the head of one frame.
const SOURCES: usize = 64;
const LONGEST: usize = 300;

/// What was found.
#[derive(Clone, Debug, Default)]
pub(super) struct Snapshot {
    /// The logs that are open, added up; `None` if one of them did not answer.
    pub(super) log: Option<Stats>,
    /// The sources of the vendors' directories.
    pub(super) directories: Vec<Directory>,
}

/// The looking.
#[derive(Debug, Default)]
pub(super) struct GaugeCollector(Arc<Shared>);

#[derive(Debug, Default)]
struct Shared {
    state: Mutex<State>,
    done: Condvar,
}

#[derive(Debug, Default)]
struct State {
    last: Option<(Instant, Snapshot)>,
    under_way: bool,
}

impl GaugeCollector {
    /// What was found not longer ago than `age`. If the log does not answer in time, nothing is known of it.
    pub(super) fn collect(&self, warm: &Arc<DaemonState>, age: Duration) -> Snapshot {
        let mut state = self.0.state();
        if let Some((at, found)) = &state.last
            && at.elapsed() <= age
        {
            return found.clone();
        }
        let asked = Instant::now();
        let fresh = |state: &State| state.last.as_ref().is_some_and(|(at, _)| *at + age >= asked);
        if !state.under_way {
            state.under_way = self.begin(warm);
        }
        let waiting = |state: &mut State| state.under_way && !fresh(state);
        state = self.0.done.wait_timeout_while(state, PATIENCE, waiting).unwrap_or_else(PoisonError::into_inner).0;
        match &state.last {
            Some((_, found)) if fresh(&state) => found.clone(),
            Some((_, stale)) => Snapshot { log: None, ..stale.clone() },
            None => Snapshot::default(),
        }
    }

    /// Waits until nobody is looking any more, and has let go of everything.
    pub(super) fn end(&self) {
        let state = self.0.state();
        drop(self.0.done.wait_timeout_while(state, PATIENCE, |state| state.under_way));
    }

    fn begin(&self, warm: &Arc<DaemonState>) -> bool {
        let (shared, warm) = (Arc::clone(&self.0), Arc::clone(warm));
        let look = move || {
            let found = catch_unwind(AssertUnwindSafe(|| measure(&warm))).unwrap_or_default();
            drop(warm);
            let mut state = shared.state();
            *state = State { last: Some((Instant::now(), found)), under_way: false };
            shared.done.notify_all();
        };
        thread::Builder::new().name("measure".into()).spawn(look).is_ok()
    }
}

impl Shared {
    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn measure(warm: &DaemonState) -> Snapshot {
    let now = clock::now();
    // A configuration that cannot be read is told to whoever delivers mail.
    let directories = warm.engine().map_or_else(
        |_| Vec::new(),
        |engine| {
            let standings = engine.places.vendors().map(|vendors| {
                source_status::standings(vendors, engine.places.directories.as_deref()).unwrap_or_default()
            });
            standings.unwrap_or_default().iter().take(SOURCES).map(|standing| directory(standing, now)).collect()
        },
    );
    let logs = warm.logs().into_iter().try_fold(Stats::default(), |sum, (_, log)| {
        let one = log.glance(now)?;
        Ok::<_, StoreError>(Stats {
            used: sum.used + one.used,
            waiting: sum.waiting + one.waiting,
            bytes: sum.bytes + one.bytes,
            replies: sum.replies + one.replies,
        })
    });
    Snapshot { log: logs.ok(), directories }
}

fn directory(standing: &Standing, now: UnixTime) -> Directory {
    let (health, text) = standing.health(now);
    Directory {
        vendor: standing.source.publisher.clone(),
        source: standing.source.origin.to_string(),
        health: health.as_str().to_owned(),
        text: text.chars().take(LONGEST).collect(),
        age: standing.age(now).and_then(|age| u64::try_from(age).ok()),
    }
}
