//! What a vendor's public log costs: selling with a publication of the day behind it against selling alone, and a
//! million leaves appended, their files written, against hashing each leaf twice. By hand.

use mailstamp::accounting::event::Terms;
use mailstamp::accounting::order::{Caps, Order};
use mailstamp::ledger::handle::{Ledger, LedgerParams};
use mailstamp::stamp::audience::Audience;
use mailstamp::time::UnixTime;
use mailstamp::transparency::leaf::{self, Leaf, LeafKind};
use mailstamp::transparency::merkle::Appender;
use mailstamp::transparency::tile::Tile;
use sha2::{Digest, Sha256};
use std::error::Error;
use std::fs;
use std::hint::black_box;
use std::io;
use std::path::Path;
use std::time::{Duration, Instant};

const NOW: UnixTime = UnixTime(1_795_262_400);
/// Stamps of one purchase, each for an address and signed.
const EACH: usize = 10;

fn main() -> Result<(), Box<dyn Error>> {
    let arguments: Vec<String> = std::env::args().skip(1).filter(|argument| argument != "--bench").collect();
    match arguments.iter().map(String::as_str).collect::<Vec<_>>().as_slice() {
        [folder, stamps, leaves] => {
            selling(Path::new(folder), stamps.parse()?)?;
            for round in 0..3 {
                appending(&Path::new(folder).join(format!("tree{round}")), leaves.parse()?)?;
            }
            Ok(())
        }
        _ => {
            println!("public_log FOLDER STAMPS LEAVES: sells and publishes so many stamps, appends so many leaves");
            Ok(())
        }
    }
}

/// Sells on one day, and publishes on the next: three days.
fn selling(folder: &Path, stamps: usize) -> Result<(), Box<dyn Error>> {
    let caps = Caps { stamps: 1_000, credits_a_day: u64::MAX, ..Caps::default() };
    let terms = Terms { caps, ..Terms::new("0.001 EUR".parse()?, 30) };
    let founding = LedgerParams { vendor: "stamps.example".into(), kid: "a".into(), terms };
    let ledger = Ledger::create(folder, &founding, NOW)?;
    let open = mailstamp::ledger::ops::OpenAccount { name: "seller".into(), contact: "contact".into(), caps: None };
    let account = ledger.run(open, NOW)?;
    ledger.credit(account.number, 1_000_000_000, None, "first", NOW)?;
    let order = Order::new(Audience::parse("alice@x.example")?);
    let orders = vec![order; EACH];
    let public = folder.join("public");
    for day in 0..3 {
        let now = NOW.plus(day * 86_400);
        let began = Instant::now();
        for _ in 0..stamps / EACH {
            ledger.issue(account.number, &orders, None, now)?;
        }
        let sold = began.elapsed();
        let began = Instant::now();
        let log = ledger.publish_log(&public, false, now.plus(86_400))?;
        let published = began.elapsed();
        println!(
            "day {day}: {stamps} stamps sold in {:.2} s, {} leaves published in {:.2} s: {:.3} of selling alone",
            sold.as_secs_f64(),
            log.appended,
            published.as_secs_f64(),
            (sold + published).as_secs_f64() / sold.as_secs_f64()
        );
    }
    Ok(())
}

fn appending(folder: &Path, leaves: u32) -> Result<(), Box<dyn Error>> {
    let all: Vec<[u8; leaf::LENGTH]> = (0..leaves)
        .map(|number| {
            let subject = leaf::stamp("stamps.example", &number.to_string());
            Leaf { kind: LeafKind::Issued, subject, value: 1, day: 20_000 }.to_bytes()
        })
        .collect();
    let hashed = timed(|| {
        for leaf in &all {
            black_box(Sha256::digest(leaf));
            black_box(Sha256::digest(leaf));
        }
        Ok(())
    })?;
    let appended = timed(|| {
        let mut tree = Appender::default();
        let mut write = |_: Tile, bytes: &[u8]| -> io::Result<()> {
            black_box(bytes);
            Ok(())
        };
        all.iter().try_for_each(|leaf| tree.push(leaf, &mut write))?;
        tree.finish(&mut write)?;
        black_box(tree.root());
        Ok(())
    })?;
    let written = timed(|| {
        let mut tree = Appender::default();
        let mut write = |tile: Tile, bytes: &[u8]| -> io::Result<()> {
            let path = folder.join(tile.to_string());
            if let Some(above) = path.parent() {
                fs::create_dir_all(above)?;
            }
            fs::write(path, bytes)
        };
        all.iter().try_for_each(|leaf| tree.push(leaf, &mut write))?;
        tree.finish(&mut write)
    })?;
    println!(
        "{leaves} leaves: hashed twice in {:.3} s; appended in {:.3} s: {:.2}; with files in {:.3} s: {:.2}",
        hashed.as_secs_f64(),
        appended.as_secs_f64(),
        appended.as_secs_f64() / hashed.as_secs_f64(),
        written.as_secs_f64(),
        written.as_secs_f64() / hashed.as_secs_f64()
    );
    Ok(())
}

fn timed(act: impl FnOnce() -> io::Result<()>) -> io::Result<Duration> {
    let began = Instant::now();
    act()?;
    Ok(began.elapsed())
}
