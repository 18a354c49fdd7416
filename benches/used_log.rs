//! What the used log costs when it is old: `benches/compare` runs this for the goals that no single process shows.
//! It grows logs message by message, lets them expire and fills them again, and purges large ones. Time here is that of
//! calls within one process; everything else is measured by `compare`.

use mailstamp::stamp::serial::Serial;
use mailstamp::store::redb::{Options, Redb};
use mailstamp::store::{GRACE, UsedLog};
use mailstamp::time::UnixTime;
use mailstamp::verdict::owner::Owner;
use mailstamp::verdict::spend::{Redelivery, SpendRequest, SpendResult, Terms};
use redb::StorageBackend;
use redb::backends::FileBackend;
use std::error::Error;
use std::fs::File;
use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

const HOUR: i64 = 3_600;
const DAY: i64 = 24 * HOUR;
/// When the first message comes.
const BEGIN: i64 = 1_800_000_000;
/// Validity of a stamp, and the longest retention of its row.
const WINDOW: i64 = 30 * DAY;

fn main() -> Result<(), Box<dyn Error>> {
    let arguments: Vec<String> = std::env::args().skip(1).filter(|argument| argument != "--bench").collect();
    match arguments.iter().map(String::as_str).collect::<Vec<_>>().as_slice() {
        ["grow", file, count] => grow(Path::new(file), count.parse()?),
        ["purge", file, until] => Ok(purge(Path::new(file), UnixTime(until.parse()?))?),
        _ => {
            println!("used_log grow FILE COUNT | purge FILE TIME; see benches/compare");
            Ok(())
        }
    }
}

/// Grows a log to `count` serials message by message, in the time for which one is kept, and goes on for twice as long
/// at the same pace: from then on each spend takes ended rows with it. Prints the bytes of the file when it is full for
/// the first time, and the most that it has later.
fn grow(file: &Path, count: i64) -> Result<(), Box<dyn Error>> {
    let storage = File::options().read(true).write(true).create_new(true).open(file)?;
    let log = Redb::over(Unsynced(FileBackend::new(storage)?), Arc::default(), Options::default())?;
    let kept = WINDOW + GRACE + HOUR;
    let size = || Ok::<_, io::Error>(std::fs::metadata(file)?.blocks() * 512);
    let turn = |turn: i64| {
        let mut most = 0;
        for number in turn * count..(turn + 1) * count {
            spend(&log, number, UnixTime(BEGIN + kept * number / count))?;
            if number % 1000 == 999 {
                most = most.max(size()?);
            }
        }
        Ok::<_, Box<dyn Error>>(most.max(size()?))
    };
    let full = turn(0)?;
    println!("{full} {}", turn(1)?.max(turn(2)?));
    Ok(())
}

fn spend(log: &Redb, number: i64, now: UnixTime) -> Result<(), Box<dyn Error>> {
    let mut message = [0; 16];
    message[..8].copy_from_slice(&number.to_be_bytes());
    let spend = SpendRequest {
        vendor: "stamps.example".into(),
        serial: Serial::new(format!("serial-{number}"))?,
        expires: Some(now.plus(WINDOW)),
        message: message.into(),
        owner: Owner::default(),
        from: None,
        now,
        redelivery: Redelivery { within: 5 * DAY, times: 20 },
        terms: Terms::Spend,
        late: false,
        purge_until: Some(UnixTime(i64::MAX)),
        cap: None,
    };
    match log.spend(&spend)? {
        SpendResult::Fresh => Ok(()),
        other => Err(format!("serial {number}: {other:?}").into()),
    }
}

/// Purges a log of what ended before `until`, as `mailstamp purge` does it: one commit, then the log is let go. Prints
/// the rows, the seconds of all, and the milliseconds of the longest hold and of the median one.
fn purge(file: &Path, until: UnixTime) -> Result<(), Box<dyn Error>> {
    let log = Redb::new(file, Options::default());
    let began = Instant::now();
    let mut holds: Vec<Duration> = Vec::new();
    let mut removed = 0;
    loop {
        let start = Instant::now();
        let purged = log.purge(until, 0, 1000)?;
        log.release();
        holds.push(start.elapsed());
        removed += purged.removed;
        if !purged.left {
            break;
        }
    }
    let all = began.elapsed().as_secs_f64();
    holds.sort();
    let millis = |at: usize| holds.get(at).map_or(0.0, |hold| hold.as_secs_f64() * 1000.0);
    println!("{removed} {all:.1} {:.1} {:.1}", millis(holds.len() - 1), millis(holds.len() / 2));
    Ok(())
}

/// A file that is never synced: what syncs cost is measured elsewhere, and they leave the file as it is.
#[derive(Debug)]
struct Unsynced(FileBackend);

impl StorageBackend for Unsynced {
    fn len(&self) -> Result<u64, io::Error> {
        self.0.len()
    }

    fn read(&self, offset: u64, out: &mut [u8]) -> Result<(), io::Error> {
        self.0.read(offset, out)
    }

    fn set_len(&self, len: u64) -> Result<(), io::Error> {
        self.0.set_len(len)
    }

    fn sync_data(&self) -> Result<(), io::Error> {
        Ok(())
    }

    fn write(&self, offset: u64, data: &[u8]) -> Result<(), io::Error> {
        self.0.write(offset, data)
    }
}
