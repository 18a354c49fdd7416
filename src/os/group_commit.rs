//! Group commit. Several threads submit requests at once. The first becomes the leader and processes all waiting
//! requests in one batch; the others wait for their result. When the leader is done, the first of the threads that
//! queued meanwhile leads next. So threads that arrive during one commit, which waits for the disk, share the next one.
//! An uncontended caller becomes the leader at once, on its own thread. A store with several connections has as many
//! leaders at a time.

use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};

/// Queue of waiting requests.
#[derive(Debug)]
pub(crate) struct GroupCommit<Q, A> {
    queue: Mutex<Queue<Q, A>>,
    most: usize,
}

#[derive(Debug)]
struct Queue<Q, A> {
    waiting: Vec<Waiting<Q, A>>,
    /// Leaders that may begin now.
    free: usize,
}

type Waiting<Q, A> = (Q, Arc<Slot<Q, A>>);

/// Slot for the result of a waiting thread.
#[derive(Debug)]
struct Slot<Q, A> {
    outcome: Mutex<Option<Outcome<Q, A>>>,
    signal: Condvar,
}

#[derive(Debug)]
enum Outcome<Q, A> {
    Done(A),
    /// No leader has processed it; this thread leads now, with this batch.
    BecomeLeader(Vec<Waiting<Q, A>>),
    /// The leader panicked.
    Aborted,
}

impl<Q, A> GroupCommit<Q, A> {
    /// Returns a queue with at most `most` requests in a batch.
    pub(crate) fn new(most: usize) -> Self {
        Self::with_leaders(most, 1)
    }

    /// As `new`, with so many leaders at a time.
    pub(crate) fn with_leaders(most: usize, leaders: usize) -> Self {
        Self { queue: Mutex::new(Queue { waiting: Vec::new(), free: leaders }), most }
    }

    /// Processes a request, alone or in a batch: `answer` returns one result for each request, in order. Returns `None`
    /// when the leader panicked.
    pub(crate) fn ask(&self, question: Q, answer: impl FnOnce(Vec<Q>) -> Vec<A>) -> Option<A> {
        let slot = Arc::new(Slot { outcome: Mutex::new(None), signal: Condvar::new() });
        let batch = {
            let mut queue = self.queue();
            queue.waiting.push((question, Arc::clone(&slot)));
            if queue.free > 0 {
                queue.free -= 1;
                Some(self.next_batch(&mut queue))
            } else {
                None
            }
        };
        let batch = match batch {
            Some(batch) => batch,
            None => match slot.wait() {
                Outcome::Done(answer) => return Some(answer),
                Outcome::Aborted => return None,
                Outcome::BecomeLeader(batch) => batch,
            },
        };
        // Whatever happens below, the next leader is chosen and no thread waits for ever.
        let mut hand_off = HandOff { group: self, slots: Vec::new() };
        let (questions, slots) = batch.into_iter().unzip();
        hand_off.slots = slots;
        let mut told = 0;
        for (answer, slot) in answer(questions).into_iter().zip(&hand_off.slots) {
            slot.tell(Outcome::Done(answer));
            told += 1;
        }
        hand_off.slots.drain(..told);
        drop(hand_off);
        match slot.wait() {
            Outcome::Done(answer) => Some(answer),
            Outcome::BecomeLeader(_) | Outcome::Aborted => None,
        }
    }

    fn next_batch(&self, queue: &mut Queue<Q, A>) -> Vec<Waiting<Q, A>> {
        let count = queue.waiting.len().min(self.most);
        queue.waiting.drain(..count).collect()
    }

    fn queue(&self) -> MutexGuard<'_, Queue<Q, A>> {
        self.queue.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Aborts the requests without a result and chooses the next leader, when dropped.
struct HandOff<'a, Q, A> {
    group: &'a GroupCommit<Q, A>,
    slots: Vec<Arc<Slot<Q, A>>>,
}

impl<Q, A> Drop for HandOff<'_, Q, A> {
    fn drop(&mut self) {
        for slot in self.slots.drain(..) {
            slot.tell(Outcome::Aborted);
        }
        let mut queue = self.group.queue();
        let batch = self.group.next_batch(&mut queue);
        match batch.first().map(|(_, slot)| Arc::clone(slot)) {
            Some(slot) => slot.tell(Outcome::BecomeLeader(batch)),
            None => queue.free += 1,
        }
    }
}

impl<Q, A> Slot<Q, A> {
    fn tell(&self, outcome: Outcome<Q, A>) {
        *self.outcome.lock().unwrap_or_else(PoisonError::into_inner) = Some(outcome);
        self.signal.notify_one();
    }

    fn wait(&self) -> Outcome<Q, A> {
        let mut slot = self.outcome.lock().unwrap_or_else(PoisonError::into_inner);
        loop {
            match slot.take() {
                Some(outcome) => return outcome,
                None => slot = self.signal.wait(slot).unwrap_or_else(PoisonError::into_inner),
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
        let group = GroupCommit::new(1_000);
        let leads = AtomicUsize::new(0);
        thread::scope(|scope| {
            for asker in 0..64_u64 {
                let (group, leads) = (&group, &leads);
                scope.spawn(move || {
                    for number in 0..20 {
                        let question = asker * 100 + number;
                        let answer = group.ask(question, |all| {
                            leads.fetch_add(1, SeqCst);
                            thread::sleep(Duration::from_millis(1));
                            all.into_iter().map(|question| question + 1).collect()
                        });
                        assert_eq!(answer, Some(question + 1));
                    }
                });
            }
        });
        assert!(leads.load(SeqCst) < 640, "{leads:?} leads for 1280 questions");
        assert_eq!(group.queue().free, 1);
    }

    #[test]
    fn several_leaders_work_at_a_time_and_no_more() {
        let group = GroupCommit::with_leaders(4, 3);
        let (now, most) = (AtomicUsize::new(0), AtomicUsize::new(0));
        let together = std::sync::Barrier::new(3);
        let answer = |all: Vec<usize>| {
            most.fetch_max(now.fetch_add(1, SeqCst) + 1, SeqCst);
            thread::sleep(Duration::from_millis(1));
            now.fetch_sub(1, SeqCst);
            all
        };
        thread::scope(|scope| {
            for question in 0..64 {
                let (group, together) = (&group, &together);
                scope.spawn(move || {
                    // Three that are there at once lead side by side.
                    let leads = question < 3;
                    let got = group.ask(question, |all| {
                        if leads && all == [question] {
                            together.wait();
                        }
                        answer(all)
                    });
                    assert_eq!(got, Some(question));
                });
                if question == 2 {
                    while most.load(SeqCst) < 1 {
                        thread::yield_now();
                    }
                }
            }
        });
        assert!((1..=3).contains(&most.load(SeqCst)), "{most:?}");
        assert_eq!(group.queue().free, 3);
    }

    #[test]
    fn no_turn_takes_more_than_it_may() {
        let group = GroupCommit::new(3);
        thread::scope(|scope| {
            for question in 0..20 {
                let group = &group;
                scope.spawn(move || {
                    group.ask(question, |all| {
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
        let group = GroupCommit::new(10);
        let died = catch_unwind(AssertUnwindSafe(|| group.ask(1, |_| panic!("on purpose"))));
        assert!(died.is_err());
        assert_eq!(group.ask(2, |all| all), Some(2));
        assert_eq!(group.ask(3, |_| Vec::new()), None);
        assert_eq!(group.ask(4, |all| all), Some(4));
    }
}
