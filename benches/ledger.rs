//! How fast a vendor's ledger is: durable stamps a second, singly and in batches of 100, from 1, 8 and 64 threads, with
//! an empty ledger and a full one. The service adds HTTP to it.

use mailstamp::accounting::event::Terms;
use mailstamp::accounting::order::{Caps, Order};
use mailstamp::ledger::handle::{Ledger, LedgerParams};
use mailstamp::ledger::ops;
use mailstamp::ledger::trade::RedeemRequest;
use mailstamp::stamp::audience::Audience;
use mailstamp::time::UnixTime;
use std::error::Error;
use std::path::Path;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::thread;
use std::time::{Duration, Instant};

const NOW: UnixTime = UnixTime(1_795_262_400);
/// Duration of each measurement.
const SPAN: Duration = Duration::from_secs(3);
/// Stamps of one request while the ledger is filled.
const FILL: usize = 1_000;

fn main() -> Result<(), Box<dyn Error>> {
    let arguments: Vec<String> = std::env::args().skip(1).filter(|argument| argument != "--bench").collect();
    match arguments.iter().map(String::as_str).collect::<Vec<_>>().as_slice() {
        [folder, accounts, serials] => measure(Path::new(folder), accounts.parse()?, serials.parse()?),
        _ => {
            println!("ledger FOLDER ACCOUNTS SERIALS: measures empty ledger, fills them with so much, measures again");
            Ok(())
        }
    }
}

fn measure(folder: &Path, accounts: u64, serials: u64) -> Result<(), Box<dyn Error>> {
    let caps = Caps { stamps: 1_000, credits_a_day: u64::MAX, ..Caps::default() };
    let terms = Terms { caps, meters: Some(u64::MAX / 4), ..Terms::new("0.001 EUR".parse()?, 30) };
    let founding = LedgerParams { vendor: "stamps.example".into(), kid: "a".into(), terms };
    let ledger = Ledger::create(folder, &founding, NOW)?;
    for number in 0..64 {
        let account = ledger
            .run(ops::OpenAccount { name: format!("seller{number}"), contact: "contact".into(), caps: None }, NOW)?;
        ledger.credit(account.number, 1_000_000_000, None, "first", NOW)?;
    }
    figures(&ledger, "empty")?;
    fill(&ledger, accounts, serials)?;
    figures(&ledger, "full")?;
    let began = Instant::now();
    let report = ledger.audit(None)?;
    let took = began.elapsed().as_secs_f64();
    println!(
        "audit of {} entries and {} stamps: {took:.1} s, sound: {}",
        report.entries,
        report.stamps,
        report.problems.is_empty()
    );
    let bytes = ledger.summary()?.bytes;
    println!("file: {} MB; memory at most: {} MB", bytes >> 20, resident() >> 10);
    Ok(())
}

/// Opens accounts from 64 threads, then sells from one thread: 20,000 stamps for each second of the clock.
fn fill(ledger: &Ledger, accounts: u64, serials: u64) -> Result<(), Box<dyn Error>> {
    let began = Instant::now();
    let next = AtomicU64::new(0);
    thread::scope(|scope| {
        for _ in 0..64 {
            scope.spawn(|| {
                loop {
                    let number = next.fetch_add(1, Relaxed);
                    if number >= accounts
                        || ledger
                            .run(
                                ops::OpenAccount {
                                    name: format!("account{number}"),
                                    contact: "contact".into(),
                                    caps: None,
                                },
                                NOW,
                            )
                            .is_err()
                    {
                        return;
                    }
                }
            });
        }
    });
    println!("{accounts} accounts opened in {:.1} s", began.elapsed().as_secs_f64());
    let began = Instant::now();
    let orders = orders(FILL)?;
    for number in 0..serials / FILL as u64 {
        let now = NOW.plus(i64::try_from(number / 20)?);
        let request = ops::Issue {
            buyer: mailstamp::ledger::model::Payer::Account(1 + number % 64),
            orders: orders.clone(),
            idempotency: None,
        };
        // Without signing: that costs the same in a large ledger as in a small one.
        ledger.run(request, now)?;
    }
    println!("{serials} stamps booked in {:.1} s", began.elapsed().as_secs_f64());
    Ok(())
}

fn figures(ledger: &Ledger, state: &str) -> Result<(), Box<dyn Error>> {
    let later = NOW.plus(100_000);
    for (threads, each) in [(1, 1), (8, 1), (64, 1), (1, 100), (8, 100), (64, 100)] {
        let orders = orders(each)?;
        let (rate, median, worst) = rate(threads, |thread, count| {
            let key = format!("{state} {threads} {each} {thread} {count}");
            ledger.issue(1 + thread % 64, &orders, Some(&key), later).map(drop)
        })?;
        let stamps = rate * each as f64;
        println!(
            "{state}: {threads:>2} threads, {each:>3} a request: {stamps:>8.0} stamps/s; median {median:.1} ms, 99 % {worst:.1} ms"
        );
    }
    ledger.own(1, "far.example", later)?;
    let sold: Vec<Vec<RedeemRequest>> = (0..8)
        .map(|_| {
            let sold = ledger.issue(1, &orders(1_000)?, None, later)?;
            let handed = sold.stamps.iter().map(|it| RedeemRequest { stamp: it.as_str().to_owned(), address: None });
            Ok::<_, Box<dyn Error>>(handed.collect())
        })
        .collect::<Result<_, _>>()?;
    let began = Instant::now();
    for stamps in &sold {
        ledger.deposit(1, stamps, later)?;
    }
    println!("{state}: deposits in batches of 1000: {:.0} stamps/s", 8_000.0 / began.elapsed().as_secs_f64());
    let (rate, median, worst) = rate(2, |thread, _| ledger.account(1 + thread, later).map(drop))?;
    println!("{state}: accounts looked at: {rate:.0}/s; median {median:.3} ms, 99 % {worst:.3} ms");
    Ok(())
}

/// Requests a second, and the median and the 99th percentile of their times in milliseconds.
fn rate<E: Error + Send>(
    threads: u64,
    act: impl Fn(u64, u64) -> Result<(), E> + Sync,
) -> Result<(f64, f64, f64), Box<dyn Error>> {
    let began = Instant::now();
    let act = &act;
    let worker = move |thread| {
        let mut times = Vec::new();
        while began.elapsed() < SPAN {
            let start = Instant::now();
            act(thread, times.len() as u64).map_err(|error| error.to_string())?;
            times.push(start.elapsed().as_secs_f64() * 1_000.0);
        }
        Ok::<_, String>(times)
    };
    let mut times = Vec::new();
    thread::scope(|scope| {
        let threads: Vec<_> = (0..threads).map(|thread| scope.spawn(move || worker(thread))).collect();
        for thread in threads {
            times.extend(thread.join().map_err(|_| "a thread panicked".to_owned())??);
        }
        Ok::<_, String>(())
    })?;
    times.sort_by(f64::total_cmp);
    let at = |share: usize| times.get(times.len() * share / 100).copied().unwrap_or_default();
    Ok((times.len() as f64 / began.elapsed().as_secs_f64(), at(50), at(99)))
}

fn orders(count: usize) -> Result<Vec<Order>, Box<dyn Error>> {
    let order = Order { hashed: true, ..Order::new(Audience::parse("joe@far.example")?) };
    Ok(vec![order; count])
}

/// Returns the peak memory of this process, in kB.
fn resident() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:"));
    line.and_then(|line| line.split_whitespace().next()?.parse().ok()).unwrap_or(0)
}
