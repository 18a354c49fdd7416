//! A disk that can be told to fail, to die and to lose its power. It lies below the store's own storage wrapper and
//! records what reaches it, in order. What a power cut leaves: all that was synced, and of the rest any part, torn at
//! 512 bytes.

use mailstamp::store::StoreError;
use mailstamp::store::redb::{Options, Redb};
use redb::StorageBackend;
use std::io;
use std::sync::atomic::{AtomicBool, Ordering::SeqCst};
use std::sync::{Arc, Mutex};

const SECTOR: usize = 512;

/// One change that reached the disk.
#[derive(Clone, Debug)]
pub enum Op {
    Write(usize, Vec<u8>),
    SetLen(usize),
    Sync,
}

/// What happens at a session's operation number n, counted from 0.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Plan {
    /// Nothing.
    Work,
    /// This one operation fails with this error of the system; a write has been done by half then.
    FailAt(usize, i32),
    /// This one and all after it fail and do nothing: the process was killed.
    DieAt(usize),
    /// Of all syncs, each whose number modulo 2 is this one is not done: a wrapper with a mistake in it.
    LoseSyncs(usize),
}

/// The disk. Clones are the same disk.
#[derive(Clone, Debug, Default)]
pub struct Disk {
    content: Arc<Mutex<Content>>,
    /// What a killed process leaves behind besides: the lock file's note.
    unsettled: Arc<AtomicBool>,
}

#[derive(Debug, Default)]
struct Content {
    image: Vec<u8>,
    log: Vec<Op>,
}

/// A process's view of the disk.
#[derive(Debug)]
struct Plug {
    disk: Disk,
    plan: Plan,
    done: Arc<Mutex<Count>>,
}

/// What a process did.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Count {
    pub all: usize,
    pub syncs: usize,
}

impl Disk {
    pub fn of(image: Vec<u8>, unsettled: bool) -> Self {
        let content = Arc::new(Mutex::new(Content { image, log: Vec::new() }));
        Self { content, unsettled: Arc::new(AtomicBool::new(unsettled)) }
    }

    /// The same content, as of now, on another disk.
    pub fn copy(&self) -> Self {
        Self::of(self.image(), self.unsettled.load(SeqCst))
    }

    /// Opens the log on it, as a process with this plan.
    pub fn open(&self, plan: Plan) -> Result<Redb, StoreError> {
        self.open_counting(plan).0
    }

    /// The same, with the count of what it does.
    pub fn open_counting(&self, plan: Plan) -> (Result<Redb, StoreError>, Arc<Mutex<Count>>) {
        let count = Arc::default();
        let plug = Plug { disk: self.clone(), plan, done: Arc::clone(&count) };
        (Redb::over(plug, Arc::clone(&self.unsettled), Options::default()), count)
    }

    /// Removes the note that the last process left, if it did.
    pub fn forget_note(&self) {
        self.unsettled.store(false, SeqCst);
    }

    pub fn image(&self) -> Vec<u8> {
        self.content.lock().unwrap().image.clone()
    }

    /// What reached the disk so far; forgotten here.
    pub fn take_log(&self) -> Vec<Op> {
        std::mem::take(&mut self.content.lock().unwrap().log)
    }

    /// How many changes reached the disk.
    pub fn changes(&self) -> usize {
        self.content.lock().unwrap().log.len()
    }
}

impl Plug {
    /// Counts an operation; fails it if that was planned.
    fn step(&self) -> io::Result<()> {
        let mut done = self.done.lock().unwrap();
        let number = done.all;
        done.all += 1;
        match self.plan {
            Plan::FailAt(at, error) if at == number => Err(io::Error::from_raw_os_error(error)),
            Plan::DieAt(at) if at <= number => Err(io::Error::other("killed")),
            _ => Ok(()),
        }
    }
}

impl StorageBackend for Plug {
    fn len(&self) -> io::Result<u64> {
        self.step()?;
        Ok(self.disk.content.lock().unwrap().image.len() as u64)
    }

    fn read(&self, offset: u64, out: &mut [u8]) -> io::Result<()> {
        self.step()?;
        let disk = self.disk.content.lock().unwrap();
        let from = usize::try_from(offset).unwrap();
        let found = disk.image.get(from..from + out.len()).ok_or(io::ErrorKind::UnexpectedEof)?;
        out.copy_from_slice(found);
        Ok(())
    }

    fn set_len(&self, len: u64) -> io::Result<()> {
        self.step()?;
        let mut disk = self.disk.content.lock().unwrap();
        apply(&mut disk, Op::SetLen(usize::try_from(len).unwrap()));
        Ok(())
    }

    fn sync_data(&self) -> io::Result<()> {
        self.step()?;
        let mut done = self.done.lock().unwrap();
        let number = done.syncs;
        done.syncs += 1;
        if !matches!(self.plan, Plan::LoseSyncs(which) if number % 2 == which) {
            self.disk.content.lock().unwrap().log.push(Op::Sync);
        }
        Ok(())
    }

    fn write(&self, offset: u64, data: &[u8]) -> io::Result<()> {
        let step = self.step();
        let half = if step.is_ok() { data.len() } else { data.len() / 2 };
        if step.is_ok() || matches!(self.plan, Plan::FailAt(..)) {
            let mut disk = self.disk.content.lock().unwrap();
            apply(&mut disk, Op::Write(usize::try_from(offset).unwrap(), data[..half].to_vec()));
        }
        step
    }
}

fn apply(disk: &mut Content, op: Op) {
    put(&mut disk.image, &op);
    disk.log.push(op);
}

fn put(image: &mut Vec<u8>, op: &Op) {
    match op {
        Op::Write(at, data) => {
            if image.len() < at + data.len() {
                image.resize(at + data.len(), 0);
            }
            image[*at..at + data.len()].copy_from_slice(data);
        }
        Op::SetLen(len) => image.resize(*len, 0),
        Op::Sync => {}
    }
}

/// Walks along a record of changes and cuts the power wherever asked.
pub struct Cutter<'a> {
    log: &'a [Op],
    /// What is on the platters for certain.
    durable: Vec<u8>,
    /// How many changes that includes.
    synced: usize,
}

impl<'a> Cutter<'a> {
    pub fn new(before: Vec<u8>, log: &'a [Op]) -> Self {
        Self { log, durable: before, synced: 0 }
    }

    /// What is left when the power goes after the first `at` changes; `at` may only grow. `keep` says of each 512 bytes,
    /// and of each change of the length, whether they made it.
    pub fn cut(&mut self, at: usize, mut keep: impl FnMut(usize) -> bool) -> Vec<u8> {
        if let Some(last) = self.log[self.synced..at].iter().rposition(|op| matches!(op, Op::Sync)) {
            let end = self.synced + last + 1;
            for op in &self.log[self.synced..end] {
                put(&mut self.durable, op);
            }
            self.synced = end;
        }
        let mut image = self.durable.clone();
        for (number, op) in self.log[self.synced..at].iter().enumerate() {
            match op {
                Op::Write(offset, data) => {
                    for (sector, bytes) in data.chunks(SECTOR).enumerate() {
                        if keep(number) {
                            put(&mut image, &Op::Write(offset + sector * SECTOR, bytes.to_vec()));
                        }
                    }
                }
                Op::SetLen(_) if keep(number) => put(&mut image, op),
                _ => {}
            }
        }
        image
    }
}

/// Random numbers that are the same in every run (splitmix64).
pub struct Dice(pub u64);

impl Dice {
    pub fn below(&mut self, bound: u64) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        (z ^ (z >> 31)) % bound
    }
}
