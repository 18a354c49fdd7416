//! Values that may be written in more than one way, and lists. They are parsed by hand, so that errors use the terms of
//! the configuration and name the line.

use super::Price;
use crate::stamp::signing::PublicKey;
use serde::de::value::MapAccessDeserializer;
use serde::de::{Deserialize, Deserializer, Error, MapAccess, SeqAccess, Visitor};
use std::fmt;
use std::marker::PhantomData;

/// One of the user's own addresses.
pub(super) enum AddressEntry {
    Plain(String),
    Priced(PricedAddress),
}

#[derive(serde::Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct PricedAddress {
    pub(super) address: String,
    pub(super) price: Option<Price>,
    pub(super) owner: Option<String>,
}

/// Destination of the line for each message.
pub(super) enum Syslog {
    Switch(bool),
    Socket(String),
}

/// Keys of a boundary: one, or a list while it changes to another one.
pub(super) struct SealKeys(pub(super) Vec<PublicKey>);

/// Parses a list of any values.
pub(super) fn list<'de, D: Deserializer<'de>, T: Deserialize<'de>>(deserializer: D) -> Result<Vec<T>, D::Error> {
    deserializer.deserialize_any(ListVisitor(PhantomData))
}

struct ListVisitor<T>(PhantomData<T>);

impl<'de, T: Deserialize<'de>> Visitor<'de> for ListVisitor<T> {
    type Value = Vec<T>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a list, in brackets: [\"...\"]")
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut values: A) -> Result<Vec<T>, A::Error> {
        let mut list = Vec::new();
        while let Some(value) = values.next_element()? {
            list.push(value);
        }
        Ok(list)
    }
}

impl<'de> Deserialize<'de> for AddressEntry {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Entry;
        impl<'de> Visitor<'de> for Entry {
            type Value = AddressEntry;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("an address in quotes, or { address = \"...\", price = 5 }")
            }

            fn visit_str<E: Error>(self, address: &str) -> Result<AddressEntry, E> {
                Ok(AddressEntry::Plain(address.to_owned()))
            }

            fn visit_map<A: MapAccess<'de>>(self, map: A) -> Result<AddressEntry, A::Error> {
                PricedAddress::deserialize(MapAccessDeserializer::new(map)).map(AddressEntry::Priced)
            }
        }
        deserializer.deserialize_any(Entry)
    }
}

impl<'de> Deserialize<'de> for SealKeys {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Keys;
        impl<'de> Visitor<'de> for Keys {
            type Value = SealKeys;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a key in quotes, as mailstamp boundary keygen prints it")
            }

            fn visit_str<E: Error>(self, key: &str) -> Result<SealKeys, E> {
                PublicKey::parse(key).map(|key| SealKeys(vec![key])).map_err(E::custom)
            }

            fn visit_seq<A: SeqAccess<'de>>(self, values: A) -> Result<SealKeys, A::Error> {
                ListVisitor(PhantomData).visit_seq(values).map(SealKeys)
            }
        }
        deserializer.deserialize_any(Keys)
    }
}

impl<'de> Deserialize<'de> for Syslog {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Place;
        impl Visitor<'_> for Place {
            type Value = Syslog;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("true, false, or the path of a socket in quotes")
            }

            fn visit_bool<E: Error>(self, on: bool) -> Result<Syslog, E> {
                Ok(Syslog::Switch(on))
            }

            fn visit_str<E: Error>(self, path: &str) -> Result<Syslog, E> {
                Ok(Syslog::Socket(path.to_owned()))
            }
        }
        deserializer.deserialize_any(Place)
    }
}
