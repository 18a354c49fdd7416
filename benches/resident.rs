//! A load for the daemon: clients that stay connected and have one message after the other judged, each with a fresh
//! stamp. It prints the judgements a second, and the time of one. `benches/compare` starts the daemon, chooses its log
//! (its size, or none), and runs this.

use mailstamp::config::paths::CliOverrides;
use mailstamp::directory::signing_key::SigningKey;
use mailstamp::engine::marking::Mode;
use mailstamp::engine::remote::client::{DaemonClient, Logging};
use mailstamp::message::address::Address;
use mailstamp::message::parse::Message;
use mailstamp::stamp::audience::Audience;
use mailstamp::stamp::claims::Stamp;
use mailstamp::stamp::issue;
use mailstamp::stamp::serial::Serial;
use mailstamp::time::UnixTime;
use mailstamp::verdict::facts::Envelope;
use mailstamp::verdict::reason::Reason;
use std::error::Error;
use std::fmt::Write;
use std::path::Path;
use std::thread;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

/// Bytes of a message.
const SIZE: usize = 4 * 1024;

fn main() -> Result<(), Box<dyn Error>> {
    let arguments: Vec<String> = std::env::args().skip(1).filter(|argument| argument != "--bench").collect();
    match arguments.iter().map(String::as_str).collect::<Vec<_>>().as_slice() {
        [config, state, key, to, clients, each] => {
            let given =
                CliOverrides { config: Some(config.into()), state: Some(state.into()), ..CliOverrides::default() };
            load(&given, Path::new(key), to, clients.parse()?, each.parse()?)
        }
        _ => {
            println!(
                "resident CONFIG STATE KEY RECIPIENT CLIENTS EACH: has so many messages judged by each of so many clients"
            );
            Ok(())
        }
    }
}

fn load(given: &CliOverrides, key: &Path, to: &str, clients: usize, each: usize) -> Result<(), Box<dyn Error>> {
    let signer = SigningKey::read(key)?;
    let to = Address::parse(to)?;
    let letters: Vec<Vec<String>> = thread::scope(|scope| {
        let make = |client| {
            let (signer, to) = (&signer, &to);
            scope.spawn(move || (0..each).map(|number| letter(signer, to, client, number)).collect::<Result<_, _>>())
        };
        let makers: Vec<_> = (0..clients).map(make).collect();
        makers
            .into_iter()
            .map(|maker| maker.join().map_err(|_| "a thread panicked".to_owned())?)
            .collect::<Result<_, String>>()
    })?;
    let began = Instant::now();
    let times: Vec<Duration> = thread::scope(|scope| {
        let clients: Vec<_> = letters.iter().map(|letters| scope.spawn(move || judge(given, letters))).collect();
        let mut times = Vec::with_capacity(letters.len() * each);
        for client in clients {
            times.extend(client.join().map_err(|_| "a thread panicked".to_owned())??);
        }
        Ok::<_, String>(times)
    })?;
    let seconds = began.elapsed().as_secs_f64();
    let mut times: Vec<f64> = times.iter().map(|time| time.as_secs_f64() * 1_000.0).collect();
    times.sort_by(f64::total_cmp);
    let at = |share: usize| times.get(times.len() * share / 100).copied().unwrap_or_default();
    println!("{:.0} {:.3} {:.3}", times.len() as f64 / seconds, at(50), at(99));
    Ok(())
}

fn judge(given: &CliOverrides, letters: &[String]) -> Result<Vec<Duration>, String> {
    let elsewhere = DaemonClient::connect(given, None).ok_or("no daemon listens")?;
    let mut times = Vec::with_capacity(letters.len());
    for letter in letters {
        let message = Message::parse(letter.as_bytes());
        let began = Instant::now();
        let answer = elsewhere.judge(&message, &Envelope::default(), Mode::Spend, Logging::ByCaller);
        times.push(began.elapsed());
        let answer = answer.map_err(|error| error.to_string())?.ok_or("it was not judged there")?;
        if answer.decision.verdict.reason != Reason::Paid {
            return Err(format!("{}", answer.decision.verdict.reason));
        }
    }
    Ok(times)
}

fn letter(signer: &SigningKey, to: &Address, client: usize, number: usize) -> Result<String, String> {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).map_err(|error| error.to_string())?;
    let now = UnixTime(i64::try_from(since.as_secs()).map_err(|error| error.to_string())?);
    let name = format!("{}-{client}-{number}", since.as_nanos());
    let serial = Serial::new(name.as_str()).map_err(|error| error.to_string())?;
    // As a log grows: each ends 29 to 30 days after it was bought.
    let end = now.plus(29 * 86_400 + (number as i64 * 7_919) % 86_400);
    let stamp = Stamp::new(serial, Audience::Plain(to.clone()), end);
    let token = issue::issue(&stamp, &signer.issuer, &signer.key).map_err(|error| error.to_string())?;
    let mut text = format!("From: bob@y.example\nTo: {to}\nMessage-ID: <{name}@y.example>\nDigital-Stamp:\n");
    for piece in token.as_str().as_bytes().chunks(70) {
        let _ = writeln!(text, " {}", String::from_utf8_lossy(piece));
    }
    text.push('\n');
    while text.len() < SIZE {
        text.push_str("The quick brown fox jumps over the lazy dog, and so on, and so on.\n");
    }
    Ok(text)
}
