//! Group commit. Several threads submit requests at once. The first becomes the leader and processes all waiting
//! requests in one batch; the others wait for their result. When the leader is done, the first of the threads that
//! queued meanwhile leads next. So threads that arrive during one commit, which waits for the disk, share the next one.
//! An uncontended caller becomes the leader at once, on its own thread.

use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};

/// Queue of waiting requests.
#[derive(Debug)]
pub(crate) struct GroupCommit<Q, A> {
    queue: Mutex<Queue<Q, A>>,
    most: usize,
}

#[derive(Debug)]
struct Queue<Q, A> {
    waiting: Vec<(Q, Arc<Slot<A>>)>,
    leader_active: bool,
}

/// Slot for the result of a waiting thread.
#[derive(Debug)]
struct Slot<A> {
    word: Mutex<Option<Outcome<A>>>,
    told: Condvar,
}

#[derive(Debug)]
enum Outcome<A> {
    /// It is done.
    Done(A),
    /// No leader has processed it; this thread leads now.
    BecomeLeader,
    /// The leader panicked.
    Aborted,
}

impl<Q, A> GroupCommit<Q, A> {
    /// Returns a queue with at most `most` requests in a batch.
    pub(crate) fn new(most: usize) -> Self {
        Self { queue: Mutex::new(Queue { waiting: Vec::new(), leader_active: false }), most }
    }

    /// Processes a request, alone or in a batch: `answer` returns one result for each request, in order. Returns `None`
    /// when the leader panicked.
    pub(crate) fn ask(&self, question: Q, answer: impl FnOnce(Vec<Q>) -> Vec<A>) -> Option<A> {
        let place = Arc::new(Slot { word: Mutex::new(None), told: Condvar::new() });
        let first = {
            let mut queue = self.queue();
            queue.waiting.push((question, Arc::clone(&place)));
            !std::mem::replace(&mut queue.leader_active, true)
        };
        if !first {
            match place.wait() {
                Outcome::Done(answer) => return Some(answer),
                Outcome::Aborted => return None,
                Outcome::BecomeLeader => {}
            }
        }
        // Whatever happens below, the next leader is chosen and no thread waits for ever.
        let mut relay = HandOff { turn: self, places: Vec::new() };
        let (questions, places) = {
            let mut queue = self.queue();
            let count = queue.waiting.len().min(self.most);
            queue.waiting.drain(..count).unzip()
        };
        relay.places = places;
        let mut told = 0;
        for (answer, place) in answer(questions).into_iter().zip(&relay.places) {
            place.tell(Outcome::Done(answer));
            told += 1;
        }
        relay.places.drain(..told);
        drop(relay);
        match place.wait() {
            Outcome::Done(answer) => Some(answer),
            Outcome::BecomeLeader | Outcome::Aborted => None,
        }
    }

    fn queue(&self) -> MutexGuard<'_, Queue<Q, A>> {
        self.queue.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Aborts the requests without a result and chooses the next leader, when dropped.
struct HandOff<'a, Q, A> {
    turn: &'a GroupCommit<Q, A>,
    places: Vec<Arc<Slot<A>>>,
}

impl<Q, A> Drop for HandOff<'_, Q, A> {
    fn drop(&mut self) {
        for place in self.places.drain(..) {
            place.tell(Outcome::Aborted);
        }
        let mut queue = self.turn.queue();
        match queue.waiting.first() {
            Some((_, place)) => place.tell(Outcome::BecomeLeader),
            None => queue.leader_active = false,
        }
    }
}

impl<A> Slot<A> {
    fn tell(&self, word: Outcome<A>) {
        *self.word.lock().unwrap_or_else(PoisonError::into_inner) = Some(word);
        self.told.notify_one();
    }

    fn wait(&self) -> Outcome<A> {
        let mut slot = self.word.lock().unwrap_or_else(PoisonError::into_inner);
        loop {
            match slot.take() {
                Some(word) => return word,
                None => slot = self.told.wait(slot).unwrap_or_else(PoisonError::into_inner),
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::panic::{AssertUnwindSafe, catch_unwind};
    use std::sync::atomic::{AtomicUsize, Ordering::SeqCst};
    use std::thread;
    use std::time::Duration;

    #[test]
    fn everybody_gets_his_own_answer_and_many_share_a_turn() {
        let turn = GroupCommit::new(1_000);
        let turns = AtomicUsize::new(0);
        thread::scope(|scope| {
            for asker in 0..64_u64 {
                let (turn, turns) = (&turn, &turns);
                scope.spawn(move || {
                    for number in 0..20 {
                        let question = asker * 100 + number;
                        let answer = turn.ask(question, |all| {
                            turns.fetch_add(1, SeqCst);
                            thread::sleep(Duration::from_millis(1));
                            all.into_iter().map(|question| question + 1).collect()
                        });
                        assert_eq!(answer, Some(question + 1));
                    }
                });
            }
        });
        assert!(turns.load(SeqCst) < 640, "{turns:?} turns for 1280 questions");
        assert!(!turn.queue().leader_active);
    }

    #[test]
    fn no_turn_takes_more_than_it_may() {
        let turn = GroupCommit::new(3);
        thread::scope(|scope| {
            for question in 0..20 {
                let turn = &turn;
                scope.spawn(move || {
                    turn.ask(question, |all| {
                        assert!(all.len() <= 3);
                        thread::sleep(Duration::from_millis(2));
                        all
                    })
                });
            }
        });
    }

    #[test]
    fn a_panic_loses_its_own_questions_and_no_others() {
        let turn = GroupCommit::new(10);
        let died = catch_unwind(AssertUnwindSafe(|| turn.ask(1, |_| panic!("on purpose"))));
        assert!(died.is_err());
        assert_eq!(turn.ask(2, |all| all), Some(2));
        assert_eq!(turn.ask(3, |_| Vec::new()), None);
        assert_eq!(turn.ask(4, |all| all), Some(4));
    }
}
