//! What a store can be told: data, with defaults.

use std::path::PathBuf;

use candor_wire::erasure::PlaceState;
use serde::{Deserialize, Serialize};

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
}

impl Default for LogSettings {
    fn default() -> Self {
        Self { origin: None, epoch_minutes: 60, small_count: 10 }
    }
}

impl LogSettings {
    /// The name of the log of a service with this catalogue.
    #[must_use]
    pub fn origin(&self, catalogue: &str) -> String {
        self.origin.clone().unwrap_or_else(|| format!("candor/{catalogue}"))
    }
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
