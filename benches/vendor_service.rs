//! How many stamps a second the vendor's service sells over HTTP, each durable before it is answered: singly with 64
//! clients, and in batches of 100. Load generator and service share the machine. `cargo bench --bench vendor_service`;
//! seconds for each part as an argument. Prints figures and judges nothing.

#[path = "../tests/support/mod.rs"]
mod support;

use serde_json::json;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};
use support::http::Connection;
use support::shop::Shop;

fn main() {
    let seconds = std::env::args().skip(1).find_map(|word| word.parse().ok()).unwrap_or(10);
    let load = std::fs::read_to_string("/proc/loadavg").unwrap_or_default();
    println!("load before: {}", load.trim());
    let shop = Shop::open(1_000_000_000, &["--key-rate", "0", "--connections-each", "1000"]);
    for (name, clients, batch) in
        [("singly", 64, 1), ("singly", 1, 1), ("in batches of 100", 1, 100), ("in batches of 100", 8, 100)]
    {
        measure(&shop, name, clients, batch, Duration::from_secs(seconds));
    }
    let status = std::fs::read_to_string(format!("/proc/{}/status", shop.pid())).unwrap_or_default();
    let peak = status.lines().find_map(|line| line.strip_prefix("VmHWM:")).unwrap_or("?").trim().to_owned();
    println!("most memory: {peak}; stamps in the ledger: {}", shop.audit().stamps);
    println!("load after: {}", std::fs::read_to_string("/proc/loadavg").unwrap_or_default().trim());
}

fn measure(shop: &Shop, name: &str, clients: usize, batch: usize, time: Duration) {
    static ROUND: AtomicU64 = AtomicU64::new(0);
    let round = ROUND.fetch_add(1, Ordering::Relaxed);
    let orders: Vec<_> = (0..batch).map(|at| json!({ "recipient": format!("r{at}@far.example") })).collect();
    let body = json!({ "stamps": orders }).to_string();
    let over = AtomicBool::new(false);
    let begin = Instant::now();
    let mut times: Vec<Duration> = std::thread::scope(|scope| {
        let workers: Vec<_> = (0..clients)
            .map(|client| {
                let (body, over) = (&body, &over);
                scope.spawn(move || {
                    let mut connection = Connection::open(shop.address).unwrap();
                    let mut times = Vec::new();
                    while !over.load(Ordering::Relaxed) {
                        let begin = Instant::now();
                        let key = format!("{round}-{client}-{}", times.len());
                        let answer = shop.buy(&mut connection, &key, body).unwrap();
                        assert_eq!(answer.status, 200, "{}", answer.text());
                        times.push(begin.elapsed());
                    }
                    times
                })
            })
            .collect();
        std::thread::sleep(time);
        over.store(true, Ordering::Relaxed);
        workers.into_iter().flat_map(|worker| worker.join().unwrap()).collect()
    });
    let rate = (times.len() * batch) as f64 / begin.elapsed().as_secs_f64();
    times.sort();
    let at = |part: f64| times[((times.len() - 1) as f64 * part) as usize].as_secs_f64() * 1e3;
    println!(
        "{name}, {clients} clients: {rate:.0} stamps/s; median {:.1} ms, p99 {:.1} ms, worst {:.1} ms",
        at(0.5),
        at(0.99),
        at(1.0)
    );
}
