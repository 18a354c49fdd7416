//! How fast an agency clears tokens, in batches of 500 from all cores, against the bare check of their signatures
//! (`verify_strict`) on all cores in the same run. With a million tokens of one credit, it also adds up what a million
//! messages cost.

use data_encoding::BASE64URL_NOPAD;
use mailstamp::accounting::event::Terms;
use mailstamp::accounting::hash::Hash;
use mailstamp::accounting::hash_chain::Head;
use mailstamp::accounting::meter;
use mailstamp::ledger::handle::{Ledger, LedgerParams};
use mailstamp::ledger::meters::RequestSignature;
use mailstamp::ledger::ops;
use mailstamp::os::random;
use mailstamp::stamp::signing::SecretKey;
use mailstamp::stamp::token::{Issuer, Purpose, Token, pae};
use mailstamp::time::UnixTime;
use mailstamp::vendor_api::meters::{ClearingRequest, LicenseRequest, MAX_TOKENS, SignedRequest};
use mailstamp::vendor_api::operation::Operation;
use serde::Serialize;
use std::error::Error;
use std::hint::black_box;
use std::path::Path;
use std::thread;
use std::time::{Duration, Instant};

type Failure = Box<dyn Error + Send + Sync>;

const NOW: UnixTime = UnixTime(1_795_262_400);
const VENDOR: &str = "stamps.example";
/// Batches that a thread clears in one round.
const BATCHES: usize = 10;

struct Meter {
    key: SecretKey,
    issuer: Issuer,
}

fn main() -> Result<(), Failure> {
    let arguments: Vec<String> = std::env::args().skip(1).filter(|argument| argument != "--bench").collect();
    match arguments.iter().map(String::as_str).collect::<Vec<_>>().as_slice() {
        [folder, tokens] => measure(Path::new(folder), tokens.parse()?),
        _ => {
            println!("clearing FOLDER TOKENS: clears so many tokens of one credit in a new ledger in this folder");
            Ok(())
        }
    }
}

fn measure(folder: &Path, tokens: u64) -> Result<(), Failure> {
    let terms = Terms { meters: Some(u64::MAX / 4), ..Terms::new("0.001 EUR".parse()?, 30) };
    let founding = LedgerParams { vendor: VENDOR.into(), kid: "a".into(), terms };
    let ledger = Ledger::create(folder, &founding, NOW)?;
    for name in ["payer", "payee"] {
        ledger.run(ops::OpenAccount { name: name.into(), contact: "contact".into(), caps: None }, NOW)?;
    }
    let cores = thread::available_parallelism()?.get();
    // One more for each core, which verifies while another waits for the disk.
    let threads = 2 * cores;
    let round = (threads * BATCHES * MAX_TOKENS) as u64;
    let rounds = tokens.div_ceil(round);
    let bought = ledger.credit(1, rounds * round, None, "bulk", NOW)?;
    let (payer, payee) = (Meter::new()?, Meter::new()?);
    license(&ledger, 1, &payer, rounds * round)?;
    license(&ledger, 2, &payee, 0)?;

    let bare = bare(&payer, cores)?;
    println!("bare verify_strict on {cores} cores: {bare:.0} tokens/s");
    let mut spent = Duration::ZERO;
    for number in 0..rounds {
        let batches = each(threads, |thread| {
            let first = number * round + (thread * BATCHES * MAX_TOKENS) as u64;
            Ok((0..BATCHES).map(|batch| payer.tokens(first + (batch * MAX_TOKENS) as u64)).collect::<Vec<_>>())
        })?;
        let began = Instant::now();
        each(threads, |thread| {
            for (at, tokens) in batches.get(thread).into_iter().flatten().enumerate() {
                let request = ClearingRequest { tokens: tokens.clone() };
                let key = format!("{number} {thread} {at}");
                let signature = payee.sign(Operation::Clear, &request, &key)?;
                black_box(ledger.clear(2, &request, &signature, NOW)?);
            }
            Ok(())
        })?;
        spent += began.elapsed();
    }
    let cleared = rounds * round;
    let rate = cleared as f64 / spent.as_secs_f64();
    println!("clearing from {threads} threads: {rate:.0} tokens/s, {:.2} of bare", rate / bare);
    let paid = ledger.account(2, NOW)?.balance;
    assert_eq!(paid, cleared);
    let cost = bought.sum.map(|sum| sum.to_string()).unwrap_or_default();
    let (_, bytes) = (ledger.pay_out(2, paid, "surplus", NOW)?, ledger.summary()?.bytes);
    println!("{cleared} messages at price 1 cost {cost}; file: {} MB", bytes >> 20);
    let began = Instant::now();
    let report = ledger.audit(None)?;
    assert!(report.problems.is_empty(), "{:?}", report.problems);
    println!("audit of {} entries: {:.1} s", report.entries, began.elapsed().as_secs_f64());
    Ok(())
}

impl Meter {
    fn new() -> Result<Self, Failure> {
        let mut seed = [0; 32];
        random::fill(&mut seed)?;
        let key = SecretKey::from_random(&seed);
        let issuer = Issuer::new(VENDOR, &meter::key_name(&key.public()))?;
        Ok(Self { key, issuer })
    }

    fn sign(&self, operation: Operation, body: &impl Serialize, key: &str) -> Result<RequestSignature, Failure> {
        let body = Hash::of(&serde_json::to_vec(body)?);
        let request = SignedRequest { body, key: key.to_owned(), at: NOW, bank: Head::EMPTY };
        let token = request.sign(operation, &self.issuer, &self.key).as_str().to_owned();
        Ok(RequestSignature { token, body, key: key.to_owned() })
    }

    /// Pays one credit for each of these messages.
    fn tokens(&self, first: u64) -> Vec<String> {
        (first..).take(MAX_TOKENS).map(|message| self.token(message).as_str().to_owned()).collect()
    }

    fn token(&self, message: u64) -> Token {
        let hash = Hash::of(&message.to_be_bytes()).0;
        let (id, fingerprint) = (BASE64URL_NOPAD.encode(&hash[..28]), BASE64URL_NOPAD.encode(&hash));
        let until = NOW.plus(86_400);
        let claims = format!(
            r#"{{"jti":"{id}","aud":"joe@far.example","val":1,"msg":"{fingerprint}","exp":"{until}","payee":"payee@{VENDOR}"}}"#
        );
        self.key.sign(claims.as_bytes(), &self.issuer.footer(), Purpose::Meter)
    }
}

fn license(ledger: &Ledger, account: u64, meter: &Meter, limit: u64) -> Result<(), Failure> {
    let request = LicenseRequest { key: meter.key.public().to_string(), limit, days: 7, accept_restored: false };
    let signature = meter.sign(Operation::License, &request, "license")?;
    ledger.license(account, &request, &signature, NOW)?;
    Ok(())
}

/// Signatures that all cores check in a second, with nothing around them.
fn bare(meter: &Meter, cores: usize) -> Result<f64, Failure> {
    let (public, assertion) = (meter.key.public(), Purpose::Meter.assertion());
    let signed: Vec<(Vec<u8>, [u8; 64])> = (0..1_000)
        .map(|message| {
            let token = meter.token(u64::MAX - message);
            (pae(&[b"v4.public.", token.payload(), token.footer(), assertion]), *token.signature())
        })
        .collect();
    let began = Instant::now();
    let counts = each(cores, |_| {
        let mut count = 0_u64;
        while began.elapsed() < Duration::from_secs(3) {
            for (bytes, signature) in &signed {
                assert!(black_box(public.verify_message(bytes, signature)));
                count += 1;
            }
        }
        Ok(count)
    })?;
    Ok(counts.iter().sum::<u64>() as f64 / began.elapsed().as_secs_f64())
}

/// Runs `act` in so many threads at once, and returns their results.
fn each<T: Send>(threads: usize, act: impl Fn(usize) -> Result<T, Failure> + Sync) -> Result<Vec<T>, Failure> {
    let act = &act;
    thread::scope(|scope| {
        let threads: Vec<_> = (0..threads).map(|thread| scope.spawn(move || act(thread))).collect();
        threads.into_iter().map(|thread| thread.join().map_err(|_| "a thread panicked")?).collect()
    })
}
