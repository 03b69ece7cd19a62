//! What callers hand over and get of subjects that sign: numbered batches, statements of their own, consent at a sequence.

use std::sync::Arc;

use candor_policy::consent::SubjectConsent;
use candor_policy::counts::Count;
use candor_policy::subject::LedgerId;
use candor_wire::receipt::SignedReceipt;
use candor_wire::statement::Statement;

use crate::nonces::NonceUse;
use crate::reply::Reply;

/// A numbered batch as its device sent it, beside its rows.
#[derive(Clone, Debug)]
pub struct SignedBatch {
    /// Who signed it.
    pub subject: LedgerId,
    /// The fleet.
    pub fleet: Arc<str>,
    /// Its number, from 1.
    pub number: u64,
    /// SHA-256 of the body as it was sent.
    pub body: [u8; 32],
    /// Sequence of the consent that the device named.
    pub consent: Option<i64>,
    /// The nonce that it used.
    pub nonce: NonceUse,
}

/// What became of a numbered batch.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum SignedAppended {
    /// It is durable.
    Stored {
        /// What the client is told.
        reply: Reply,
        /// The account as it was written: withdrawals at the append included.
        counts: Vec<Count>,
        /// Its receipt.
        receipt: Box<SignedReceipt>,
    },
    /// Its number was stored before; nothing was added.
    Repeat {
        /// What the client was told then.
        reply: Reply,
        /// The receipt of then, signed anew.
        receipt: Box<SignedReceipt>,
    },
    /// More numbers below it are missing than are kept: lower ones must come first.
    TooFar,
    /// Its subject was erased: nothing is stored of it any more.
    Erased,
}

/// The numbers of a subject's batches.
#[derive(Clone, Debug, Default, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct BatchNumbers {
    /// The next number that was never seen.
    pub next: u64,
    /// Numbers below it that were not seen.
    pub missing: Vec<u64>,
}

/// What became of a statement that its subject signed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Recorded {
    /// It is durable and in force.
    Now(Box<Statement>),
    /// It was recorded before.
    Known(Box<Statement>),
    /// It does not follow the newest one.
    Conflict {
        /// Sequence and hash of that, if there is one.
        head: Option<(i64, String)>,
    },
    /// The key was closed by its holder.
    Closed,
    /// It is no statement that can be; what is wrong with it.
    Invalid(String),
}

/// What a subject's consent was at a sequence.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ConsentAt {
    /// The newest statement is older.
    Missing,
    /// What held at that sequence and holds now; its sequence is the one that was asked for.
    State(SubjectConsent),
}
