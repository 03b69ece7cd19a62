//! What is known of keys without their secrets: their names, their generations, and what became of them.

use std::str::FromStr;

pub use candor_wire::log::entry::{KeyChange, KeyEvent};
use serde::{Deserialize, Serialize};

/// Longest name of a key.
const MOST_NAME: usize = 64;

/// Which key.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum KeyName {
    /// Makes ledger ids.
    Ledger,
    /// Makes subject ids of ledger ids.
    Subject,
    /// Makes digests of requests.
    Repeats,
    /// Keeps erased subjects refused.
    Tombstone,
    /// Signs receipts.
    Receipts,
    /// Signs the log.
    Log,
    /// What operators name.
    Named(String),
}

/// A generation of a key that is in the ring.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct KeyLine {
    /// The key, as commands name it.
    pub key: String,
    /// Its generation.
    pub generation: u64,
    /// Whether it is the one in use: others are looked under, or kept for what was made with them.
    pub live: bool,
    /// Since when it is there, µs UTC; none if the ring does not say.
    pub since: Option<i64>,
    /// Its public half, where it has one.
    pub public: Option<String>,
}

impl std::fmt::Display for KeyName {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Ledger => f.write_str("ledger"),
            Self::Subject => f.write_str("subject"),
            Self::Repeats => f.write_str("repeats"),
            Self::Tombstone => f.write_str("tombstone"),
            Self::Receipts => f.write_str("receipts"),
            Self::Log => f.write_str("log"),
            Self::Named(name) => write!(f, "named/{name}"),
        }
    }
}

impl FromStr for KeyName {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        Ok(match text {
            "ledger" => Self::Ledger,
            "subject" => Self::Subject,
            "repeats" => Self::Repeats,
            "tombstone" => Self::Tombstone,
            "receipts" => Self::Receipts,
            "log" => Self::Log,
            other => match other.strip_prefix("named/") {
                Some(name) if is_plain(name) => Self::Named(name.to_owned()),
                _ => return Err("a key is subject, receipts, log, ledger, repeats, tombstone or named/NAME".to_owned()),
            },
        })
    }
}

impl Serialize for KeyName {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for KeyName {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        String::deserialize(deserializer)?.parse().map_err(serde::de::Error::custom)
    }
}

fn is_plain(name: &str) -> bool {
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b'-' | b'.');
    (1..=MOST_NAME).contains(&name.len()) && name.bytes().all(plain)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_read_as_they_are_written() {
        for text in ["ledger", "subject", "repeats", "tombstone", "receipts", "log", "named/a-b.c_1"] {
            assert_eq!(text.parse::<KeyName>().unwrap().to_string(), text);
        }
        for wrong in ["", "named/", "named/a b", "named/../x", "analytics", "subject ", &format!("named/{:065}", 1)] {
            assert!(wrong.parse::<KeyName>().is_err(), "{wrong}");
        }
    }
}
