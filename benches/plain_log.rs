//! A process for each message that keeps its log as the database has it: the lock, an open, a commit, a close. It
//! judges with the same code as `mailstamp classify`, its log apart. `benches/compare` puts many of them at once beside
//! many of mailstamp's, which combine; what it costs to do neither is the difference.

use mailstamp::config::paths::CliOverrides;
use mailstamp::engine::judge::Engine;
use mailstamp::engine::marking::Mode;
use mailstamp::message::fingerprint::KnownMessage;
use mailstamp::message::parse::Message;
use mailstamp::verdict::facts::Envelope;
use mailstamp::verdict::reason::Reason;
use redb::{Database, ReadableTable, TableDefinition};
use sha2::{Digest, Sha256};
use std::error::Error;
use std::fs::File;
use std::io::Read;
use std::path::{Path, PathBuf};

/// Of the same shape as mailstamp's: hour and hash of the stamp, message and uses.
const USED: TableDefinition<&[u8; 20], &[u8; 21]> = TableDefinition::new("used");

fn main() -> Result<(), Box<dyn Error>> {
    if std::env::args().nth(1).as_deref() != Some("classify") {
        println!("plain_log classify: judges the message on standard input; see benches/compare");
        return Ok(());
    }
    let mut text = Vec::new();
    std::io::stdin().read_to_end(&mut text)?;
    let message = Message::parse(&text);
    let file = |variable| std::env::var_os(variable).map(PathBuf::from);
    let given =
        CliOverrides { config: file("MAILSTAMP_CONFIG"), state: file("MAILSTAMP_STATE"), ..CliOverrides::default() };
    let engine = Engine::load(&given, None)?;
    if engine.context.config.used_log {
        return Err("the log is this program's affair, and the configuration has another".into());
    }
    let verdict = engine.judge(&message, &Envelope::default(), Mode::Spend)?.verdict;
    if verdict.reason != Reason::Paid {
        return Err(verdict.reason.to_string().into());
    }
    let known = KnownMessage::of(&message);
    if spend(engine.context.places.state()?, &known.whole)? {
        println!("first-class paid");
        Ok(())
    } else {
        Err("used".into())
    }
}

/// Whether it was fresh. The messages all differ, so that one of them stands for its stamp.
fn spend(state: &Path, message: &[u8; 16]) -> Result<bool, Box<dyn Error>> {
    let lock = File::options().create(true).append(true).open(state.join("lock"))?;
    lock.lock()?;
    let database = Database::create(state.join("used"))?;
    let stamp = Sha256::digest(message);
    let (mut key, mut row) = ([0; 20], [0; 21]);
    key[4..].copy_from_slice(&stamp[..16]);
    row[..16].copy_from_slice(message);
    let transaction = database.begin_write()?;
    let fresh = {
        let mut used = transaction.open_table(USED)?;
        let known = used.get(&key)?.is_some();
        if !known {
            used.insert(&key, &row)?;
        }
        !known
    };
    transaction.commit()?;
    Ok(fresh)
}
