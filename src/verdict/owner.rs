//! Owner of mail: one person, of all who share a used log. The same message with its stamp is the same mail only within
//! one owner: a stamp that was spent for one person is no stamp for another.

use data_encoding::HEXLOWER;
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

/// An owner, as the log keeps it: the first 8 bytes of SHA-256 over the name. All zeros is the owner of every address
/// without a name.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Owner(pub [u8; 8]);

impl Owner {
    /// Returns the owner whom the configuration names.
    #[must_use]
    pub fn named(name: &str) -> Self {
        Self::hashed("name", name)
    }

    /// Returns the owner of one address, as [`Pattern::spelling`](crate::message::address::Pattern::spelling) writes
    /// it, under a pattern that covers the addresses of many.
    #[must_use]
    pub fn of_address(address: &str) -> Self {
        Self::hashed("address", address)
    }

    /// Returns whether it is the owner of the addresses without a name.
    #[must_use]
    pub fn is_default(&self) -> bool {
        *self == Self::default()
    }

    /// Returns the name under which the log has the status of a list's stamps for this owner. Each subscriber decides
    /// for themselves, also where they share a log.
    #[must_use]
    pub fn status_name(&self, list: &str) -> String {
        if self.is_default() { list.to_owned() } else { format!("{list}#{}", String::from(*self)) }
    }

    /// Returns the list and the owner of a [`status_name`](Self::status_name); `None` for any other name in the log.
    #[must_use]
    pub fn of_status_name(name: &str) -> Option<(&str, Self)> {
        let (list, owner) = name.rsplit_once('#')?;
        Some((list, Self::try_from(owner.to_owned()).ok()?)).filter(|(list, _)| list.contains('@'))
    }

    fn hashed(kind: &str, name: &str) -> Self {
        let digest = Sha256::digest(format!("{kind}\0{name}"));
        let mut owner = [0; 8];
        owner.copy_from_slice(&digest[..8]);
        Self(owner)
    }
}

impl TryFrom<String> for Owner {
    type Error = &'static str;

    fn try_from(text: String) -> Result<Self, Self::Error> {
        let bytes = HEXLOWER.decode(text.as_bytes()).ok().and_then(|bytes| bytes.try_into().ok());
        bytes.map(Self).ok_or("an owner has 16 hexadecimal digits")
    }
}

impl From<Owner> for String {
    fn from(owner: Owner) -> Self {
        HEXLOWER.encode(&owner.0)
    }
}
