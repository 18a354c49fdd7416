//! Memory budget that many connections share, so that together they take no more than the limit.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering::SeqCst};

/// A budget: its bytes, and those that are free.
#[derive(Debug)]
pub struct MemoryBudget {
    whole: AtomicUsize,
    free: AtomicUsize,
}

/// The bytes of one connection, taken from one or several budgets; given back when this is dropped.
#[derive(Debug)]
pub struct Share {
    rooms: Vec<Arc<MemoryBudget>>,
    bytes: usize,
}

impl MemoryBudget {
    /// Makes a budget of this many bytes.
    #[must_use]
    pub fn new(bytes: usize) -> Self {
        Self { whole: AtomicUsize::new(bytes), free: AtomicUsize::new(bytes) }
    }

    /// Makes a smaller budget one of this many bytes. A larger one stays as it is.
    fn grow(&self, bytes: usize) {
        let before = self.whole.fetch_max(bytes, SeqCst);
        self.free.fetch_add(bytes.saturating_sub(before), SeqCst);
    }

    /// Gives back `had` bytes and takes `has`.
    /// Returns false, without a change, if too few are free.
    fn exchange(&self, had: usize, has: usize) -> bool {
        self.free.fetch_update(SeqCst, SeqCst, |left| (left + had).checked_sub(has)).is_ok()
    }
}

impl Share {
    /// Makes an empty share. Its later bytes are taken from each of these budgets.
    #[must_use]
    pub fn of(rooms: Vec<Arc<MemoryBudget>>) -> Self {
        Self { rooms, bytes: 0 }
    }

    /// Makes smaller budgets ones of this many bytes.
    pub fn grow(&self, bytes: usize) {
        self.rooms.iter().for_each(|room| room.grow(bytes));
    }

    /// Changes the share to this many bytes, more or fewer.
    /// Returns false, without a change, if too few are free.
    pub fn resize(&mut self, bytes: usize) -> bool {
        // The case of nearly every message: the shared budget is not touched.
        if bytes == self.bytes {
            return true;
        }
        if let Some(full) = self.rooms.iter().position(|room| !room.exchange(self.bytes, bytes)) {
            for room in &self.rooms[..full] {
                room.exchange(bytes, self.bytes);
            }
            return false;
        }
        self.bytes = bytes;
        true
    }
}

impl Drop for Share {
    fn drop(&mut self) {
        self.resize(0);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::thread;

    #[test]
    fn nobody_has_what_another_has() {
        let room = Arc::new(MemoryBudget::new(10));
        let share = || Share::of(vec![Arc::clone(&room)]);
        let (mut one, mut other) = (share(), share());
        assert!(one.resize(7) && !other.resize(4) && other.resize(3) && !one.resize(8));
        assert!(one.resize(2) && other.resize(8));
        drop(other);
        assert!(one.resize(10) && !one.resize(11) && one.resize(10));
    }

    #[test]
    fn a_budget_grows_and_never_shrinks() {
        let mut share = Share::of(vec![Arc::new(MemoryBudget::new(10))]);
        assert!(share.resize(8) && !share.resize(12));
        share.grow(20);
        assert!(share.resize(20) && !share.resize(21));
        share.grow(15);
        assert!(share.resize(0) && share.resize(20) && !share.resize(21));
    }

    #[test]
    fn all_is_given_back_whoever_comes_at_once() {
        let room = Arc::new(MemoryBudget::new(100));
        thread::scope(|scope| {
            for _ in 0..8 {
                scope.spawn(|| {
                    for bytes in 0..1_000 {
                        let mut share = Share::of(vec![Arc::clone(&room)]);
                        share.resize(bytes % 40);
                        share.resize(bytes % 30);
                    }
                });
            }
        });
        let share = || Share::of(vec![Arc::clone(&room)]);
        assert!(share().resize(100) && !share().resize(101));
    }

    #[test]
    fn who_has_a_part_of_it_leaves_the_rest_to_others() {
        let (all, part) = (Arc::new(MemoryBudget::new(100)), Arc::new(MemoryBudget::new(25)));
        let both = || Share::of(vec![Arc::clone(&part), Arc::clone(&all)]);
        let (mut one, mut two, mut other) = (both(), both(), Share::of(vec![Arc::clone(&all)]));
        assert!(one.resize(20) && !two.resize(6) && two.resize(5));
        assert!(!other.resize(76) && other.resize(75));
        // Bytes that one budget refused were taken from none.
        assert!(one.resize(0) && other.resize(95) && !one.resize(10) && one.resize(0) && two.resize(0));
        assert!(other.resize(0) && one.resize(25));
    }
}
