//! Memory that many connections share, so that all of them together take no more than there is for them.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering::SeqCst};

/// So many bytes that nobody has taken.
#[derive(Debug)]
pub struct Room(AtomicUsize);

/// What one connection has of it, or of several that limit each other; given back when this is dropped.
#[derive(Debug)]
pub struct Share {
    rooms: Vec<Arc<Room>>,
    bytes: usize,
}

impl Room {
    /// Room for so many bytes.
    #[must_use]
    pub fn new(bytes: usize) -> Self {
        Self(AtomicUsize::new(bytes))
    }

    /// Gives back what one has had of it and takes what he has now, if there is as much.
    fn exchange(&self, had: usize, has: usize) -> bool {
        self.0.fetch_update(SeqCst, SeqCst, |left| (left + had).checked_sub(has)).is_ok()
    }
}

impl Share {
    /// Nothing yet. What it will have is taken of each of these.
    #[must_use]
    pub fn of(rooms: Vec<Arc<Room>>) -> Self {
        Self { rooms, bytes: 0 }
    }

    /// Has so many bytes from now on, be it more or fewer; false, and as before, where there are not as many.
    pub fn resize(&mut self, bytes: usize) -> bool {
        // As with nearly every message: what all connections share is not touched.
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
        let room = Arc::new(Room::new(10));
        let share = || Share::of(vec![Arc::clone(&room)]);
        let (mut one, mut other) = (share(), share());
        assert!(one.resize(7) && !other.resize(4) && other.resize(3) && !one.resize(8));
        assert!(one.resize(2) && other.resize(8));
        drop(other);
        assert!(one.resize(10) && !one.resize(11) && one.resize(10));
    }

    #[test]
    fn all_is_given_back_whoever_comes_at_once() {
        let room = Arc::new(Room::new(100));
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
        let (all, part) = (Arc::new(Room::new(100)), Arc::new(Room::new(25)));
        let his = || Share::of(vec![Arc::clone(&part), Arc::clone(&all)]);
        let (mut one, mut two, mut other) = (his(), his(), Share::of(vec![Arc::clone(&all)]));
        assert!(one.resize(20) && !two.resize(6) && two.resize(5));
        assert!(!other.resize(76) && other.resize(75));
        // What was refused by one was taken of none.
        assert!(one.resize(0) && other.resize(95) && !one.resize(10) && one.resize(0) && two.resize(0));
        assert!(other.resize(0) && one.resize(25));
    }
}
