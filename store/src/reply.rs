//! What a client was told, as segments and the ledger keep it.

/// What the client was told about a batch, kept so that a repeat is told the same.
#[derive(Clone, Debug, Default, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct Reply {
    /// Records rejected, for `partial_success.rejected_log_records`.
    pub rejected: u64,
    /// `partial_success.error_message`, declared names only; empty if nothing was rejected.
    pub message: String,
}
