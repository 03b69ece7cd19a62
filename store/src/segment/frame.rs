//! Frames: what one request or one consent statement leaves in a segment. Layout: `docs/FORMAT.md`, "Segments".

use arrow_array::RecordBatch;
use candor_policy::counts::Count;
use candor_wire::receipt::Receipt;
use candor_wire::statement::Statement;
use serde::{Deserialize, Serialize};

use crate::error::Error;
use crate::reply::Reply;
use crate::segment::codec;

/// A decoded frame.
#[derive(Clone, Debug)]
pub enum Frame {
    /// A request's cleared rows and its account; also for a request whose rows all dropped.
    Batch(BatchFrame),
    /// A consent statement.
    Statement {
        /// Log sequence number.
        lsn: u64,
        /// The statement.
        statement: Statement,
    },
}

/// A request in a segment.
#[derive(Clone, Debug)]
pub struct BatchFrame {
    /// Log sequence number: ascending within one data folder, dense but for gaps where a start cut or set aside bytes.
    pub lsn: u64,
    /// Everything but the rows.
    pub header: BatchHeader,
    /// Rows by (purpose, stream), columns as in `TablePlan::schema` at the time of writing.
    pub tables: Vec<FrameTable>,
    /// What its device got for it, if it is a numbered one.
    pub receipt: Option<Box<Receipt>>,
}

/// Rows of one (purpose, stream) in a frame.
#[derive(Clone, Debug)]
pub struct FrameTable {
    /// Purpose name.
    pub purpose: String,
    /// Stream name.
    pub stream: String,
    /// The rows.
    pub rows: RecordBatch,
}

/// JSON header of a batch frame.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct BatchHeader {
    /// Source name.
    pub source: String,
    /// Keyed digest of the decompressed body, hex: by it a repeat is recognised. Empty for a numbered batch.
    pub digest: String,
    /// Time of receipt, µs UTC. In no table: tables have the date.
    pub received_at: i64,
    /// SHA-256 of the policy, hex.
    pub policy: String,
    /// SHA-256 of the catalogue, hex.
    pub catalogue: String,
    /// The account of the request.
    pub counts: Vec<Count>,
    /// What the client was told.
    pub reply: Reply,
    /// Where the rows are in the payload, in order.
    pub tables: Vec<TableSpan>,
    /// Of a numbered batch: the nonce that its request used.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub nonce: Option<FrameNonce>,
}

/// A use of a nonce.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct FrameNonce {
    /// What key and nonce hash to, hex.
    pub id: String,
    /// Second since 1970 from which it need not be remembered.
    pub expires: i64,
}

/// One Arrow IPC stream in a frame's payload.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct TableSpan {
    /// Purpose name.
    pub purpose: String,
    /// Stream name.
    pub stream: String,
    /// Rows.
    pub rows: u64,
    /// Bytes of the IPC stream.
    pub bytes: u64,
}

impl BatchFrame {
    /// The payload as a segment holds it.
    ///
    /// # Errors
    /// If a table has a column of a type that frames do not have, or all is larger than a frame can be.
    pub fn to_payload(&self) -> Result<Vec<u8>, Error> {
        let tables = self.tables.iter().map(|table| (table.purpose.as_str(), table.stream.as_str(), &table.rows));
        let mut encoded = codec::encode_batch(self.header.clone(), tables)?;
        if let Some(receipt) = &self.receipt {
            encoded.add_receipt(&codec::receipt_json(receipt)?)?;
        }
        Ok(encoded.payload)
    }
}

impl BatchFrame {
    /// Running number of the batch for a purpose; none where it has none, as batches of assigned subjects.
    #[must_use]
    pub fn number_for(&self, purpose: &str) -> Option<i64> {
        let number = self.receipt.as_ref()?.purposes.get(purpose)?.batch?;
        i64::try_from(number).ok()
    }
}

impl Frame {
    /// Log sequence number.
    #[must_use]
    pub const fn lsn(&self) -> u64 {
        match self {
            Self::Batch(batch) => batch.lsn,
            Self::Statement { lsn, .. } => *lsn,
        }
    }
}
