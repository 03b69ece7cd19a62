//! Erasure: what a subject asks to have taken away is refused from then on, drained, rewritten out of the tables, taken out of the
//! ledger, logged and certified. Nothing of it comes back with a late batch or a backup.

mod desk;
mod pass;
mod plan;
pub(crate) mod restored;
pub(crate) mod tombstones;

use candor_wire::erasure::{Scope, SignedCertificate};

pub(crate) use desk::Desk;
pub(crate) use pass::{PASS, planned_by};
pub use pass::{Passed, Waiting};

/// An erasure, as it stands.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Erasure {
    /// 32 hex digits.
    pub id: String,
    /// What is to go.
    pub scope: Scope,
    /// When it was asked for, µs UTC.
    pub requested_at: i64,
    /// Until when it has to be done, µs UTC.
    pub deadline: i64,
    /// How far it is.
    pub progress: Progress,
    /// When it was done, µs UTC.
    pub done_at: Option<i64>,
    /// What it leaves in the hands of who asked for it.
    pub certificate: Option<SignedCertificate>,
    /// The entry of the log that has the certificate's digest.
    pub entry: Option<u64>,
}

/// How far an erasure is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Progress {
    /// It is accepted, and what it forbids is refused.
    Open,
    /// Nothing is left.
    Done,
}

/// What is open and done, for the metrics.
#[derive(Clone, Debug, Default)]
pub(crate) struct Account {
    /// Deadlines of those that are open.
    pub(crate) open: Vec<i64>,
    pub(crate) done: u64,
}
