//! Unique names of messages, on this host and on others that share the folder (maildir(5)): the time, the microsecond,
//! the process, eight random characters, the host. The random ones are also the short name.

use crate::os::random;
use data_encoding::{Encoding, Specification};
use std::io;
use std::sync::LazyLock;

/// Time of a delivery.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct DeliveryTime {
    /// Seconds since 1970.
    pub seconds: i64,
    /// Microseconds of the second.
    pub micros: u32,
}

/// Name that no other message has.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct UniqueName {
    text: String,
    id: String,
}

/// RFC 4648 section 6 in lower case: no ambiguous letter, and no character that a shell or a folder's name treats
/// specially.
static BASE32: LazyLock<Encoding> = LazyLock::new(|| {
    let mut specification = Specification::new();
    specification.symbols.push_str("abcdefghijklmnopqrstuvwxyz234567");
    specification.encoding().unwrap_or(data_encoding::BASE32HEX_NOPAD)
});

/// Random bytes of a name, which give eight characters.
const RANDOM: usize = 5;

impl UniqueName {
    /// Returns a new name.
    ///
    /// # Errors
    /// The system's, when it has no random bytes.
    pub fn new(moment: DeliveryTime) -> io::Result<Self> {
        let mut random = [0; RANDOM];
        random::fill(&mut random)?;
        let id = BASE32.encode(&random);
        let host = host(rustix::system::uname().nodename().to_bytes());
        let DeliveryTime { seconds, micros } = moment;
        let process = std::process::id();
        Ok(Self { text: format!("{}.M{micros}P{process}R{id}.{host}", seconds.max(0)), id })
    }

    /// Returns the name.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.text
    }

    /// Returns its random part.
    #[must_use]
    pub fn id(&self) -> &str {
        &self.id
    }
}

/// Returns the time and the random part of a name that [`UniqueName`] made. A suffix that a reader added is ignored.
pub(super) fn parse(name: &str) -> Option<(DeliveryTime, &str)> {
    let (seconds, rest) = name.split_once('.')?;
    let (delivery, _) = rest.split_once('.')?;
    let (when, id) = delivery.split_once('R')?;
    let (micros, _) = when.strip_prefix('M')?.split_once('P')?;
    let ours = id.len() == 8 && id.bytes().all(|b| matches!(b, b'a'..=b'z' | b'2'..=b'7'));
    let moment = DeliveryTime { seconds: seconds.parse().ok()?, micros: micros.parse().ok()? };
    Some((moment, id)).filter(|_| ours)
}

/// Returns the host's name with `/` and `:` encoded as in maildir(5), and without characters that are not visible
/// ASCII.
fn host(name: &[u8]) -> String {
    let mut host = String::with_capacity(name.len());
    for byte in name.iter().take(64) {
        match byte {
            b'/' => host.push_str("\\057"),
            b':' => host.push_str("\\072"),
            b if b.is_ascii_graphic() && *b != b',' => host.push(char::from(*b)),
            _ => {}
        }
    }
    if host.is_empty() { "localhost".to_owned() } else { host }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::HashSet;

    #[test]
    fn no_name_comes_twice_and_each_tells_its_time_and_its_short_name() {
        let moment = DeliveryTime { seconds: 1_795_219_200, micros: 7 };
        let names: Vec<UniqueName> = (0..1000).map(|_| UniqueName::new(moment).unwrap()).collect();
        assert_eq!(names.iter().map(UniqueName::id).collect::<HashSet<_>>().len(), 1000);
        for name in &names {
            assert!(name.as_str().starts_with("1795219200.M7P"), "{name:?}");
            for more in ["", ",S=200", ",S=200:2,S"] {
                assert_eq!(parse(&format!("{}{more}", name.as_str())), Some((moment, name.id())));
            }
        }
        for other in ["1.2_3.host", "", "a.M1P2Rabcdefgh.x", "1.M1P2RABCDEFGH.x", "1.M1P2Rabcdefgh"] {
            assert_eq!(parse(other), None, "{other}");
        }
    }

    #[test]
    fn a_hosts_name_cannot_lead_elsewhere_or_end_the_name() {
        assert_eq!(host(b"mx/1:2.example"), "mx\\0571\\0722.example");
        assert_eq!(host(b" \n\xff,"), "localhost");
    }
}
