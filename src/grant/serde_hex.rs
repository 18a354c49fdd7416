//! Serde for 16 bytes of a fingerprint: 32 hexadecimal digits in JSON.

use data_encoding::HEXLOWER;

fn decode(text: &str) -> Option<[u8; 16]> {
    HEXLOWER.decode(text.as_bytes()).ok()?.try_into().ok()
}

/// One fingerprint.
pub(crate) mod one {
    use super::{HEXLOWER, decode};
    use serde::{Deserialize, Deserializer, Serializer, de::Error};

    pub fn serialize<S: Serializer>(bytes: &[u8; 16], to: S) -> Result<S::Ok, S::Error> {
        to.serialize_str(&HEXLOWER.encode(bytes))
    }

    pub fn deserialize<'de, D: Deserializer<'de>>(from: D) -> Result<[u8; 16], D::Error> {
        let text = String::deserialize(from)?;
        decode(&text).ok_or_else(|| D::Error::custom("not 32 hexadecimal digits"))
    }
}

/// Several.
pub(crate) mod list {
    use super::{HEXLOWER, decode};
    use serde::{Deserialize, Deserializer, Serializer, de::Error};

    pub fn serialize<S: Serializer>(list: &[[u8; 16]], to: S) -> Result<S::Ok, S::Error> {
        to.collect_seq(list.iter().map(|bytes| HEXLOWER.encode(bytes)))
    }

    pub fn deserialize<'de, D: Deserializer<'de>>(from: D) -> Result<Vec<[u8; 16]>, D::Error> {
        let texts = Vec::<String>::deserialize(from)?;
        let list: Option<Vec<_>> = texts.iter().map(|text| decode(text)).collect();
        list.ok_or_else(|| D::Error::custom("not 32 hexadecimal digits"))
    }
}
