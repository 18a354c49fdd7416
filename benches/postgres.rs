//! Load for the used log in PostgreSQL. `benches/compare` starts the server, and runs this beside pgbench(1) and
//! psql(1).

use mailstamp::database::{Host, SynchronousCommit};
use mailstamp::stamp::serial::Serial;
use mailstamp::store::postgres::{Options, Postgres};
use mailstamp::store::{GRACE, UsedLog};
use mailstamp::time::UnixTime;
use mailstamp::verdict::owner::Owner;
use mailstamp::verdict::spend::{Redelivery, SpendRequest, SpendResult, Terms};
use std::error::Error;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

const DAY: i64 = 86_400;

fn main() -> Result<(), Box<dyn Error>> {
    let arguments: Vec<String> = std::env::args().skip(1).filter(|argument| argument != "--bench").collect();
    let words: Vec<&str> = arguments.iter().map(String::as_str).collect();
    let ["at", folder, port, memory, rest @ ..] = words.as_slice() else {
        println!("postgres at FOLDER PORT MEMORY init | once | spends CLIENTS SECONDS | purge ROWS | outage");
        return Ok(());
    };
    let options = Options {
        hosts: vec![Host::Unix { folder: folder.into(), port: port.parse()? }],
        database: "mailstamp".into(),
        user: "mailstamp".into(),
        password_file: None,
        tls: None,
        read_file: |_, _| Err("no file".into()),
        timeout: Duration::from_secs(5),
        connections: 8,
        space: "default".into(),
        synchronous_commit: SynchronousCommit::On,
        grace: GRACE,
        follow_failover: false,
        purge_by_server_clock: false,
        memory: memory.into(),
        remembers: true,
    };
    let log = Postgres::new(options.clone());
    match rest {
        ["init"] => {
            log.init()?;
        }
        ["once"] => spend(&log, &format!("once {}", unique()), 0)?,
        ["spends", clients, seconds] => {
            let (rate, times) = spends(&log, clients.parse()?, Duration::from_secs(seconds.parse()?))?;
            println!("{rate:.0} {:.3} {:.3}", share(&times, 50), share(&times, 99));
        }
        ["purge"] => purge(&log, &Postgres::new(options))?,
        ["outage"] => outage(&log)?,
        _ => return Err("unknown arguments".into()),
    }
    Ok(())
}

/// A number that no other process has.
fn unique() -> u128 {
    SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_nanos()
}

fn ask(serial: &str, number: u64) -> Result<SpendRequest, Box<dyn Error>> {
    let now = UnixTime(i64::try_from(SystemTime::now().duration_since(UNIX_EPOCH)?.as_secs())?);
    let mut message = [0; 16];
    message[..8].copy_from_slice(&number.to_be_bytes());
    Ok(SpendRequest {
        vendor: "stamps.example".into(),
        serial: Serial::new(serial.replace(' ', "-"))?,
        // As a log grows: each ends 29 to 30 days after it was bought.
        expires: Some(now.plus(29 * DAY + (number as i64 * 7_919) % DAY)),
        message: message.into(),
        owner: Owner::default(),
        from: None,
        now,
        redelivery: Redelivery { within: 5 * DAY, times: 20 },
        terms: Terms::Spend,
        late: false,
        purge_until: None,
        cap: None,
    })
}

fn spend(log: &Postgres, serial: &str, number: u64) -> Result<(), Box<dyn Error>> {
    match log.spend(&ask(serial, number)?)? {
        SpendResult::Fresh => Ok(()),
        other => Err(format!("{serial}: {other:?}").into()),
    }
}

/// Returns the spends a second and the sorted times of each, in milliseconds.
fn spends(log: &Postgres, clients: usize, during: Duration) -> Result<(f64, Vec<f64>), Box<dyn Error>> {
    let run = unique();
    spend(log, &format!("warm {run}"), 0)?;
    let began = Instant::now();
    let times = thread::scope(|scope| {
        let client = |client: usize| {
            move || {
                let mut times = Vec::new();
                while began.elapsed() < during {
                    let start = Instant::now();
                    spend(log, &format!("{run} {client} {}", times.len()), times.len() as u64)
                        .map_err(|error| error.to_string())?;
                    times.push(start.elapsed().as_secs_f64() * 1_000.0);
                }
                Ok::<_, String>(times)
            }
        };
        let clients: Vec<_> = (0..clients).map(|number| scope.spawn(client(number))).collect();
        let mut times = Vec::new();
        for client in clients {
            times.extend(client.join().map_err(|_| "a thread panicked")??);
        }
        Ok::<_, String>(times)
    })?;
    let seconds = began.elapsed().as_secs_f64();
    let mut times = times;
    times.sort_by(f64::total_cmp);
    Ok((times.len() as f64 / seconds, times))
}

/// The time below which this share of them in percent lies.
fn share(times: &[f64], percent: usize) -> f64 {
    times.get((times.len() * percent / 100).min(times.len().saturating_sub(1))).copied().unwrap_or_default()
}

/// Purges what has ended, while another host spends. Prints the rows, the seconds, and the times of a spend without and
/// beside it, in milliseconds: the median, that of 99 in 100, and the longest.
fn purge(log: &Postgres, cleaner: &Postgres) -> Result<(), Box<dyn Error>> {
    let (_, before) = spends(log, 4, Duration::from_secs(10))?;
    let is_over = AtomicBool::new(false);
    let (removed, seconds, beside) = thread::scope(|scope| {
        let purging = scope.spawn(|| {
            let began = Instant::now();
            let now = UnixTime(unique().checked_div(1_000_000_000).unwrap_or_default() as i64);
            let mut removed = 0;
            loop {
                let purged = cleaner.purge(now, GRACE, 1_000).map_err(|error| error.to_string())?;
                removed += purged.removed;
                if !purged.left {
                    break;
                }
            }
            is_over.store(true, Ordering::Relaxed);
            Ok::<_, String>((removed, began.elapsed().as_secs_f64()))
        });
        let mut beside = Vec::new();
        while !is_over.load(Ordering::Relaxed) && !purging.is_finished() {
            beside.extend(spends(log, 4, Duration::from_secs(1)).map_err(|error| error.to_string())?.1);
        }
        let (removed, seconds) = purging.join().map_err(|_| "a thread panicked")??;
        Ok::<_, String>((removed, seconds, beside))
    })?;
    let mut beside = beside;
    beside.sort_by(f64::total_cmp);
    print!("{removed} {seconds:.1}");
    for times in [before, beside] {
        print!(" {:.2} {:.2} {:.2}", share(&times, 50), share(&times, 99), share(&times, 100));
    }
    println!();
    Ok(())
}

/// Spends every 20 ms through an outage. Prints when the first spend after it was answered, in seconds since 1970.
fn outage(log: &Postgres) -> Result<(), Box<dyn Error>> {
    let run = unique();
    let mut failed = false;
    spend(log, &format!("{run} first"), 0)?;
    println!("ready");
    for number in 1_u64.. {
        match spend(log, &format!("{run} {number}"), number) {
            Ok(()) if failed => break,
            Ok(()) => {}
            Err(_) => failed = true,
        }
        thread::sleep(Duration::from_millis(20));
    }
    println!("{:.3}", unique() as f64 / 1e9);
    Ok(())
}
