//! Gauges that must be measured: the size of the log, whether the log answers, the age of the vendors' directories. At
//! most one thread measures at a time, and each result is reused for a while. Many requests, a slow disk or a log held
//! by another process therefore delay neither mail nor the answers.

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

/// Timeout of a measurement. A log that takes longer counts as not answering.
const PATIENCE: Duration = Duration::from_secs(1);
/// Limits of a report: number of sources, and characters of text for each. All sources of a vendor were listed by the
/// user, and the whole report goes into the head of one frame.
const SOURCES: usize = 64;
const LONGEST: usize = 300;

/// Result of one measurement.
#[derive(Clone, Debug, Default)]
pub(super) struct Snapshot {
    /// Sum over the open logs; `None` if one of them did not answer.
    pub(super) log: Option<Stats>,
    /// The sources of the vendors' directories.
    pub(super) directories: Vec<Directory>,
}

/// Measures on request and keeps the last result.
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
    /// Returns a result that is at most `age` old.
    ///
    /// If the log does not answer in time, `log` is `None`.
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

    /// Waits until no measurement runs and its references are dropped.
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
    // Deliveries report a configuration that cannot be read.
    let directories = warm.engine().map_or_else(
        |_| Vec::new(),
        |engine| {
            let standings = engine.context.places.vendors().map(|vendors| {
                source_status::standings(vendors, engine.context.places.directories.as_deref()).unwrap_or_default()
            });
            standings.unwrap_or_default().iter().take(SOURCES).map(|standing| directory(standing, now)).collect()
        },
    );
    let logs = warm.logs().into_iter().try_fold(Stats::default(), |sum, log| {
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
