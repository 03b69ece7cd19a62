//! The account of a batch: for every purpose, offered = stored + dropped.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::reason::Reason;

/// Counts of one (stream, purpose). `stream` is `None` for records whose event no stream declares.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Count {
    /// Stream name, or none where the event is undeclared.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub stream: Option<String>,
    /// Purpose name.
    pub purpose: String,
    /// Decoded records that were no repeat.
    pub offered: u64,
    /// Rows that are in the batch.
    pub stored: u64,
    /// The rest, by reason.
    pub dropped: BTreeMap<Reason, u64>,
}

impl Count {
    /// Whether nothing vanished: offered = stored + dropped.
    #[must_use]
    pub fn balances(&self) -> bool {
        self.offered == self.stored + self.dropped.values().sum::<u64>()
    }
}
