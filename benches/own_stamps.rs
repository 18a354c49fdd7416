//! Puts the user's own stamps on messages, each with its holder's proof: `benches/compare` judges them beside messages
//! with a vendor's stamp.

use mailstamp::directory::own_keys::{OwnKeyStatus, OwnKeys, PublicOwnKey, folder};
use mailstamp::message::address::Address;
use mailstamp::message::fingerprint::Fingerprint;
use mailstamp::message::header::fold;
use mailstamp::message::parse::Message;
use mailstamp::peer::gift::{Recipient, give};
use mailstamp::stamp::holder_proof::Proof;
use mailstamp::stamp::serial::Serial;
use mailstamp::stamp::signing::SecretKey;
use mailstamp::time::UnixTime;
use std::error::Error;
use std::fs;
use std::path::Path;
use std::time::{SystemTime, UNIX_EPOCH};

fn main() -> Result<(), Box<dyn Error>> {
    let arguments: Vec<String> = std::env::args().skip(1).filter(|argument| argument != "--bench").collect();
    match arguments.as_slice() {
        [state, address, files @ ..] => files.iter().try_for_each(|file| stamp(Path::new(state), address, file)),
        _ => {
            println!("own_stamps STATE ADDRESS FILE...; see benches/compare");
            Ok(())
        }
    }
}

/// Writes the user's public key into the state, and a stamp of the user's address onto the message in `file`.
fn stamp(state: &Path, address: &str, file: &str) -> Result<(), Box<dyn Error>> {
    let now = UnixTime(i64::try_from(SystemTime::now().duration_since(UNIX_EPOCH)?.as_secs())?);
    let (own, holder) = (SecretKey::from_random(&[7; 32]), SecretKey::from_random(&[5; 32]));
    let (address, bob) = (Address::parse(address)?, Address::parse("bob@y.example")?);
    let key = PublicOwnKey { key: own.public(), status: OwnKeyStatus::Active };
    fs::create_dir_all(folder(state))?;
    OwnKeys::from_iter([(address.clone(), vec![key])]).write(&folder(state))?;

    let text = fs::read(file)?;
    let of = Fingerprint::of(&Message::parse(&text));
    let serial = Serial::from_random(*of.0.first_chunk().ok_or("a short fingerprint")?);
    let to = Recipient { address: &bob, holder: &holder.public(), days: 30 };
    let (_, stamp) = give(&address, &own, &to, serial.clone(), now)?;
    let used = Proof::sign(&stamp, &of, &serial, now, &holder);
    let fields = fold("Digital-Stamp", stamp.as_str(), "\n") + &fold("Digital-Stamp-Use", used.as_str(), "\n");
    Ok(fs::write(file, [fields.as_bytes(), &text].concat())?)
}
