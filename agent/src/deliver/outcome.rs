//! What a step came to, and why it ended early.

use std::time::Duration;

use candor_wire::reason::Reason;
use http::StatusCode;

use crate::error::Error;

/// What there is to do after a step.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Next {
    /// Something was done; there may be more.
    Again,
    /// Nothing can be done before this much time has passed.
    Wait(Duration),
    /// Everything is delivered.
    Idle,
    /// It does not go on by itself. Nothing is lost: another step tries again.
    Stopped(Stop),
}

/// Why delivering does not go on by itself.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Stop {
    /// The key of an epoch is closed, by an erasure or by whoever has it: what waited under it is dropped and counted.
    #[error("the key of epoch {epoch} is closed: {}begin another epoch (`rotate`), and ask for consent anew", lost(*.dropped))]
    KeyClosed {
        /// The epoch.
        epoch: u64,
        /// Events that are dropped, counted as `key_closed`.
        dropped: u64,
    },
    /// The service does not take a statement. No event of its epoch goes out before another takes its place; all else went.
    #[error("the service refuses the consent of epoch {epoch}: {message}")]
    StatementRefused {
        /// The epoch.
        epoch: u64,
        /// What it said.
        message: String,
    },
    /// The service does not take the closing statement of an owner who left. It is kept, with what it takes to say it again.
    #[error("the service refuses the closing statement of the owner before, of epoch {epoch}: {message}")]
    ClosingRefused {
        /// The epoch.
        epoch: u64,
        /// What it said.
        message: String,
    },
    /// The service refuses whoever asks, or the path is not there: not a matter of the batch.
    #[error("the service answered {status}{}: {message}", .reason.map(|reason| format!(" ({})", reason.name())).unwrap_or_default())]
    Refused {
        /// HTTP status.
        status: StatusCode,
        /// The reason, if it gave one.
        reason: Option<Reason>,
        /// What it said.
        message: String,
    },
    /// Another service than before: its receipts are signed by another key, or it is another fleet's.
    #[error("this is not the service that the device knows: {0}")]
    OtherService(&'static str),
    /// The service cannot be spoken to, and that will not change by itself.
    #[error("{0}")]
    Unusable(Error),
}

/// Why a step ends early.
pub(crate) enum Halt {
    Next(Next),
    Error(Error),
}

impl From<Error> for Halt {
    fn from(error: Error) -> Self {
        Self::Error(error)
    }
}

impl From<Stop> for Halt {
    fn from(stop: Stop) -> Self {
        Self::Next(Next::Stopped(stop))
    }
}

fn lost(events: u64) -> String {
    match events {
        0 => String::new(),
        1 => "the event that waited under it is dropped, counted as `key_closed`; ".to_owned(),
        _ => format!("the {events} events that waited under it are dropped, counted as `key_closed`; "),
    }
}
