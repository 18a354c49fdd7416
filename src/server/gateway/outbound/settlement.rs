//! Notes in the bank that messages were delivered, after the mail system was answered. A note that is lost does no harm:
//! the payment stays reserved until the agency says what became of it.

use crate::accounting::hash::Hash;
use crate::bank::handle::Bank;
use crate::os::clock;
use crate::server::diagnostics::log_stderr;
use std::io;
use std::sync::Arc;
use std::sync::mpsc::{Receiver, Sender, channel};
use std::thread::{self, JoinHandle};

/// The thread that writes the notes.
#[derive(Debug)]
pub(super) struct Settlement {
    sender: Sender<Vec<Hash>>,
    thread: JoinHandle<()>,
}

impl Settlement {
    pub(super) fn begin(bank: Arc<Bank>) -> io::Result<Self> {
        let (sender, payments) = channel();
        let thread = thread::Builder::new().name("settlement".into()).spawn(move || settle(&bank, &payments))?;
        Ok(Self { sender, thread })
    }

    /// Returns the channel for the payments of delivered messages.
    pub(super) fn sender(&self) -> Sender<Vec<Hash>> {
        self.sender.clone()
    }

    /// Waits until all notes are written. The other senders must be dropped.
    pub(super) fn end(self) {
        // No payments: the thread ends behind those that wait.
        let _ = self.sender.send(Vec::new());
        let _ = self.thread.join();
    }
}

/// Writes what comes, and what has come meanwhile in the same commit, until an empty list comes.
fn settle(bank: &Bank, payments: &Receiver<Vec<Hash>>) {
    while let Ok(mut due) = payments.recv() {
        let mut is_last = due.is_empty();
        for more in payments.try_iter() {
            is_last |= more.is_empty();
            due.extend(more);
        }
        due.sort_unstable();
        due.dedup();
        if let Some(error) = (!due.is_empty()).then(|| bank.settle(due, clock::now()).err()).flatten() {
            log_stderr(&format!("gateway: delivered payments are not noted; the next clearing finds them: {error}"));
        }
        if is_last {
            return;
        }
    }
}
