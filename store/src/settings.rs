//! What a store can be told: data, with defaults.

use std::collections::BTreeSet;
use std::path::PathBuf;

use candor_wire::erasure::PlaceState;
use candor_wire::log::note::{Algorithm, VerifierKey};
use serde::{Deserialize, Serialize};
use url::Url;

use crate::error::{Error, Kind};

/// Settings of [`crate::store::Store`].
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Settings {
    /// The data folder; made if absent.
    pub data: PathBuf,
    /// A key ring that is kept elsewhere, such as a credential of the service manager; it is only read then.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub key_ring: Option<PathBuf>,
    /// The folder in which a running service may make backups; none where it may not.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub backups: Option<PathBuf>,
    /// Bytes of a segment, preallocated: also the bound of one flush run.
    pub segment_bytes: u64,
    /// Rows after which a segment is closed and flushed.
    pub segment_rows: u64,
    /// Seconds after which a segment that holds rows is closed and flushed.
    pub flush_seconds: u64,
    /// Bytes that may wait for the next fdatasync; more is refused as overload.
    pub queue_bytes: u64,
    /// Hours for which a repeat of the same request is recognised.
    pub repeat_hours: u64,
    /// Memory for recognising repeats: half for requests that are not in the ledger yet, half for the filter of those that are.
    pub repeat_bytes: u64,
    /// Hours between two compactions; 0 for none.
    pub compact_hours: u64,
    /// Hours between two passes of retention; 0 for none.
    pub expire_hours: u64,
    /// The log.
    pub log: LogSettings,
    /// Erasure.
    pub erasure: ErasureSettings,
}

/// Settings of [`crate::erase`].
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct ErasureSettings {
    /// Days within which an erasure has to be done.
    pub days: u32,
    /// Minutes between two passes, each of which does everything that is open.
    pub every_minutes: u64,
    /// Places that are not in the service's hands, and what becomes of data there: certificates say it.
    pub place: Vec<OtherPlace>,
}

/// A place that is not in the service's hands: replicas, versions of a bucket, backups.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct OtherPlace {
    /// Its name, for people.
    pub name: String,
    /// `due` where data goes by itself, `outside` where nobody here can say.
    pub state: PlaceState,
    /// Days after which it has gone.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub days: Option<u32>,
}

impl Default for ErasureSettings {
    fn default() -> Self {
        Self { days: 30, every_minutes: 15, place: Vec::new() }
    }
}

/// Settings of [`crate::log::Log`].
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct LogSettings {
    /// Its name, for good: checkpoints, the log's key and whoever follows it bear it. Without one: `candor/` and the name of the catalogue.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub origin: Option<String>,
    /// How long an epoch is, in minutes: what was received in it is summed up in one `totals` entry.
    pub epoch_minutes: u64,
    /// Numbers from 1 to below this are in the log as a digest only.
    pub small_count: u64,
    /// Witnesses that are asked to cosign each checkpoint.
    pub witness: Vec<WitnessSettings>,
}

/// A witness as it is written.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct WitnessSettings {
    /// Its verifier key: name, id and key.
    pub vkey: String,
    /// Where it is asked, up to and without `/add-checkpoint`.
    pub url: String,
    /// File of the roots, in PEM, that its certificate must lead to, in place of the platform's.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ca: Option<PathBuf>,
}

/// A witness that can be asked.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Witness {
    /// Its key: nothing that another signed is taken.
    pub key: VerifierKey,
    /// Where it is asked.
    pub url: String,
    /// The roots that it is trusted by over TLS, if not the platform's.
    pub ca: Option<PathBuf>,
}

/// Why a witness cannot be asked.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("witness {number}, `{key}`: {why}")]
pub struct WitnessError {
    /// Which one, from 1.
    pub number: usize,
    /// Its setting.
    pub key: &'static str,
    /// What is wrong with it.
    pub why: String,
}

/// Readers of notes take 16 signatures; the log itself signs with two keys while one follows the other.
const MOST_WITNESSES: usize = 14;

impl Default for LogSettings {
    fn default() -> Self {
        Self { origin: None, epoch_minutes: 60, small_count: 10, witness: Vec::new() }
    }
}

impl LogSettings {
    /// The name of the log of a service with this catalogue.
    #[must_use]
    pub fn origin(&self, catalogue: &str) -> String {
        self.origin.clone().unwrap_or_else(|| format!("candor/{catalogue}"))
    }

    /// The witnesses, each of which can be asked.
    ///
    /// # Errors
    /// Which of them cannot, and why.
    pub fn witnesses(&self) -> Result<Vec<Witness>, WitnessError> {
        let mut known = BTreeSet::new();
        let mut witnesses = Vec::new();
        for (number, written) in (1..).zip(&self.witness) {
            let wrong = |key, why| WitnessError { number, key, why };
            let key = written.key().map_err(|why| wrong("vkey", why))?;
            let is_secure = check_url(&written.url).map_err(|why| wrong("url", why.to_owned()))?;
            if written.ca.is_some() && !is_secure {
                return Err(wrong("ca", "its `url` does not begin with https://".to_owned()));
            }
            if number > MOST_WITNESSES || !known.insert(key.clone()) {
                let why = format!("{MOST_WITNESSES} witnesses at most, each once");
                return Err(wrong("vkey", why));
            }
            witnesses.push(Witness { key, url: written.url.clone(), ca: written.ca.clone() });
        }
        Ok(witnesses)
    }
}

impl WitnessSettings {
    fn key(&self) -> Result<VerifierKey, String> {
        let key: VerifierKey = self.vkey.parse().map_err(|why| format!("{why}"))?;
        match key.algorithm() {
            Algorithm::Cosignature => Ok(key),
            Algorithm::Ed25519 => Err("it is a key of a log: that of a witness has the algorithm 4".to_owned()),
        }
    }
}

impl From<WitnessError> for Error {
    fn from(error: WitnessError) -> Self {
        let mend = "give each `vkey`, as `candor audit log witness` prints it, and `url`, its address";
        Self::new(Kind::Data, "the setting `store.log.witness` cannot be", error, mend)
    }
}

/// Refuses what is no address of a service, or has a secret in it. Whether it is one over TLS.
fn check_url(text: &str) -> Result<bool, &'static str> {
    let url = Url::parse(text).map_err(|_| "it is not a URL such as https://witness.example")?;
    if !matches!(url.scheme(), "http" | "https") || url.host().is_none() {
        return Err("it must begin with https:// or http:// and name a host");
    }
    let is_plain = url.query().is_none() && url.fragment().is_none() && url.username().is_empty();
    if !is_plain || url.password().is_some() {
        return Err("it must have no user, query or fragment");
    }
    Ok(url.scheme() == "https")
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            data: PathBuf::from("candor-data"),
            key_ring: None,
            backups: None,
            segment_bytes: 32 << 20,
            segment_rows: 262_144,
            flush_seconds: 60,
            queue_bytes: 64 << 20,
            repeat_hours: 48,
            repeat_bytes: 64 << 20,
            compact_hours: 1,
            expire_hours: 24,
            log: LogSettings::default(),
            erasure: ErasureSettings::default(),
        }
    }
}

#[cfg(test)]
mod tests {
    use candor_wire::log::note::Signer;

    use super::*;

    fn key(name: &str, algorithm: Algorithm) -> String {
        Signer::new(name, algorithm, &[3; 32]).unwrap().verifier().to_string()
    }

    #[test]
    fn witnesses_that_cannot_be_asked_are_named_with_what_is_wrong() {
        let good = || WitnessSettings {
            vkey: key("witness.example/w1", Algorithm::Cosignature),
            url: "https://witness.example/w1".to_owned(),
            ca: Some(PathBuf::from("ca.pem")),
        };
        let check = |second: WitnessSettings| {
            let settings = LogSettings { witness: vec![good(), second], ..LogSettings::default() };
            settings.witnesses().map(|all| all.len())
        };
        let other = || WitnessSettings { vkey: key("witness.example/w2", Algorithm::Cosignature), ..good() };
        assert_eq!(check(other()), Ok(2));
        let of_log = key("acme.example/log", Algorithm::Ed25519);
        for vkey in ["", "witness.example/w2", &of_log, &good().vkey, &other().vkey.replace("w2", "w3")] {
            let error = check(WitnessSettings { vkey: vkey.to_owned(), ..good() }).unwrap_err();
            assert_eq!((error.number, error.key), (2, "vkey"), "{vkey}: {error}");
        }
        let urls =
            ["", "witness.example", "ftp://witness.example", "https://", "http://u:p@witness.example", "http://w/?k"];
        for url in urls {
            let error = check(WitnessSettings { url: url.to_owned(), ..other() }).unwrap_err();
            assert_eq!((error.number, error.key), (2, "url"), "{url}: {error}");
            assert!(!error.to_string().contains("u:p"), "a URL may hold a secret: {error}");
        }
        let plain = WitnessSettings { url: "http://witness.example".to_owned(), ..other() };
        assert_eq!(check(plain.clone()).unwrap_err().key, "ca", "nobody is trusted by it");
        assert_eq!(check(WitnessSettings { ca: None, ..plain }), Ok(2));
        let witness = vec![good(); 15];
        assert!(LogSettings { witness, ..LogSettings::default() }.witnesses().is_err());
    }
}
