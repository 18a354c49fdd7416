//! A simulated disk that can fail, die and lose its power. It lies below the store's own storage wrapper, and below the
//! journal of a resident store, and records what reaches it, in one order for all files. What a power cut leaves: of
//! each file all that was synced, and of the rest any part, torn at 512 bytes.

#[cfg(feature = "sender")]
use mailstamp::bank::{error::BankError, handle::Bank};
use mailstamp::store::StoreError;
use mailstamp::store::redb::{Options, Redb};
use mailstamp::store::resident::{ResidentLog, WalFile};
use redb::StorageBackend;
use rustix::io::Errno;
use std::io;
use std::sync::atomic::{AtomicBool, Ordering::SeqCst};
use std::sync::{Arc, Mutex};

const SECTOR: usize = 512;

/// The files: the log, and the two of its journal.
pub const FILES: usize = 3;
/// The content of each of them.
pub type Image = [Vec<u8>; FILES];

/// One change that reached the disk, and the file that it changed.
#[derive(Clone, Debug)]
pub struct Change {
    file: usize,
    op: Op,
}

#[derive(Clone, Debug)]
enum Op {
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
    /// Of all syncs of the log, each whose number modulo 2 is this one is not done: a wrapper with a mistake in it.
    LoseSyncs(usize),
    /// The journal is never synced.
    LoseJournalSyncs,
    /// Of the journal only the first file is read.
    ReadHalf,
}

impl Plan {
    /// Returns the ways in which this operation fails: by each error of the system, and by a kill.
    pub fn failures(at: usize) -> impl Iterator<Item = Self> {
        let errors = [Errno::IO, Errno::NOSPC, Errno::ROFS].map(|errno| Self::FailAt(at, errno.raw_os_error()));
        errors.into_iter().chain([Self::DieAt(at)])
    }

    /// Panics if the store says something else than the error of the system that this plan causes.
    pub fn assert_named(self, error: &StoreError) {
        let Self::FailAt(_, errno) = self else { return };
        let is_right = match Errno::from_raw_os_error(errno) {
            Errno::NOSPC => matches!(error, StoreError::Full { .. }),
            Errno::ROFS => matches!(error, StoreError::ReadOnly { .. }),
            _ => matches!(error, StoreError::Io { .. }),
        };
        assert!(is_right, "{self:?}: {error:?}");
    }
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
    image: Image,
    log: Vec<Change>,
}

/// A process's view of one file of the disk.
#[derive(Clone, Debug)]
struct Plug {
    disk: Disk,
    file: usize,
    plan: Plan,
    done: Arc<Mutex<Count>>,
}

/// A process that has the resident store open. It is killed when this is dropped, and closes nothing.
#[derive(Debug)]
pub struct Process {
    log: Option<ResidentLog>,
    done: Arc<Mutex<Count>>,
}

/// What a process did.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Count {
    pub all: usize,
    pub syncs: usize,
    /// It was killed.
    pub dead: bool,
}

impl Disk {
    pub fn of(image: Image, unsettled: bool) -> Self {
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
        let plug = Plug { disk: self.clone(), file: 0, plan, done: Arc::clone(&count) };
        (Redb::over(plug, Arc::clone(&self.unsettled), Options::default()), count)
    }

    /// Opens the bank on it, as a process with this plan.
    #[cfg(feature = "sender")]
    pub fn bank(&self, plan: Plan) -> Result<Bank, BankError> {
        self.bank_counting(plan).0
    }

    /// The same, with the count of what it does.
    #[cfg(feature = "sender")]
    pub fn bank_counting(&self, plan: Plan) -> (Result<Bank, BankError>, Arc<Mutex<Count>>) {
        let count = Arc::default();
        let plug = Plug { disk: self.clone(), file: 0, plan, done: Arc::clone(&count) };
        (Bank::over(plug, Arc::clone(&self.unsettled)), count)
    }

    /// Opens the log as the daemon does.
    pub fn stay(&self, plan: Plan) -> Result<Process, StoreError> {
        self.stay_with(plan, Options::default())
    }

    /// The same, with these options.
    pub fn stay_with(&self, plan: Plan, options: Options) -> Result<Process, StoreError> {
        let done = Arc::default();
        let plug = Plug { disk: self.clone(), file: 0, plan, done: Arc::clone(&done) };
        let journal = plug.clone();
        let slots = move || [1, 2].map(|file| Box::new(Plug { file, ..journal.clone() }) as Box<dyn WalFile>);
        let log = ResidentLog::over(plug, Arc::clone(&self.unsettled), slots, options)?;
        Ok(Process { log: Some(log), done })
    }

    /// Removes the note that the last process left, if it did.
    pub fn forget_note(&self) {
        self.unsettled.store(false, SeqCst);
    }

    pub fn image(&self) -> Image {
        self.content.lock().unwrap().image.clone()
    }

    /// What reached the disk so far; forgotten here.
    pub fn take_log(&self) -> Vec<Change> {
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
        if done.dead {
            return Err(io::Error::other("killed"));
        }
        let number = done.all;
        done.all += 1;
        match self.plan {
            Plan::FailAt(at, error) if at == number => Err(io::Error::from_raw_os_error(error)),
            Plan::DieAt(at) if at <= number => Err(io::Error::other("killed")),
            _ => Ok(()),
        }
    }
}

impl Plug {
    fn change(&self, op: Op) {
        let mut disk = self.disk.content.lock().unwrap();
        put(&mut disk.image[self.file], &op);
        disk.log.push(Change { file: self.file, op });
    }

    /// Writes; half of it when this is the operation that fails.
    fn put(&self, offset: u64, data: &[u8]) -> io::Result<()> {
        let step = self.step();
        let half = if step.is_ok() { data.len() } else { data.len() / 2 };
        if step.is_ok() || matches!(self.plan, Plan::FailAt(..)) {
            self.change(Op::Write(usize::try_from(offset).unwrap(), data[..half].to_vec()));
        }
        step
    }
}

impl Process {
    /// The store.
    pub fn log(&self) -> &ResidentLog {
        self.log.as_ref().unwrap()
    }

    /// Ends it as a process ends that was asked to.
    pub fn end(mut self) {
        drop(self.log.take());
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        self.done.lock().unwrap().dead = true;
    }
}

impl WalFile for Plug {
    fn read(&self) -> io::Result<Vec<u8>> {
        self.step()?;
        let unread = self.plan == Plan::ReadHalf && self.file == 2;
        Ok(if unread { Vec::new() } else { self.disk.content.lock().unwrap().image[self.file].clone() })
    }

    fn write(&self, offset: u64, bytes: &[u8]) -> io::Result<()> {
        self.put(offset, bytes)
    }

    fn sync(&self) -> io::Result<()> {
        self.step()?;
        if self.plan != Plan::LoseJournalSyncs {
            self.change(Op::Sync);
        }
        Ok(())
    }
}

impl StorageBackend for Plug {
    fn len(&self) -> io::Result<u64> {
        self.step()?;
        Ok(self.disk.content.lock().unwrap().image[self.file].len() as u64)
    }

    fn read(&self, offset: u64, out: &mut [u8]) -> io::Result<()> {
        self.step()?;
        let disk = self.disk.content.lock().unwrap();
        let from = usize::try_from(offset).unwrap();
        let found = disk.image[self.file].get(from..from + out.len()).ok_or(io::ErrorKind::UnexpectedEof)?;
        out.copy_from_slice(found);
        Ok(())
    }

    fn set_len(&self, len: u64) -> io::Result<()> {
        self.step()?;
        self.change(Op::SetLen(usize::try_from(len).unwrap()));
        Ok(())
    }

    fn sync_data(&self) -> io::Result<()> {
        self.step()?;
        let number = {
            let mut done = self.done.lock().unwrap();
            done.syncs += 1;
            done.syncs - 1
        };
        if !matches!(self.plan, Plan::LoseSyncs(which) if number % 2 == which) {
            self.change(Op::Sync);
        }
        Ok(())
    }

    fn write(&self, offset: u64, data: &[u8]) -> io::Result<()> {
        self.put(offset, data)
    }
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
    log: &'a [Change],
    /// What is on the platters for certain.
    durable: Image,
    /// How many changes that includes, of each file.
    synced: [usize; FILES],
}

impl<'a> Cutter<'a> {
    pub fn new(before: Image, log: &'a [Change]) -> Self {
        Self { log, durable: before, synced: [0; FILES] }
    }

    /// What is left when the power goes after the first `at` changes; `at` may only grow. `keep` says of each 512
    /// bytes, and of each change of the length, whether they made it.
    pub fn cut(&mut self, at: usize, mut keep: impl FnMut(usize) -> bool) -> Image {
        for (file, synced) in self.synced.iter_mut().enumerate() {
            let new = &self.log[*synced..at];
            let sync = |change: &Change| change.file == file && matches!(change.op, Op::Sync);
            if let Some(last) = new.iter().rposition(sync) {
                for change in new[..last].iter().filter(|change| change.file == file) {
                    put(&mut self.durable[file], &change.op);
                }
                *synced += last + 1;
            }
        }
        let mut image = self.durable.clone();
        let first = self.synced.into_iter().min().unwrap_or(0);
        for (number, Change { file, op }) in self.log[..at].iter().enumerate().skip(first) {
            if number < self.synced[*file] {
                continue;
            }
            match op {
                Op::Write(offset, data) => {
                    for (sector, bytes) in data.chunks(SECTOR).enumerate() {
                        if keep(number) {
                            put(&mut image[*file], &Op::Write(offset + sector * SECTOR, bytes.to_vec()));
                        }
                    }
                }
                Op::SetLen(_) if keep(number) => put(&mut image[*file], op),
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
