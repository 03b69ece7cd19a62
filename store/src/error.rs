//! Errors of the store; the kind tells the caller what to do.

/// What a caller can do about an error: HTTP status, gRPC code and exit code follow from it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// Try again shortly: overload, a full disk, another process holds a lock.
    Retry,
    /// The request is wrong: fix it.
    Request,
    /// Data or configuration is wrong: fix it.
    Data,
    /// Nothing can be trusted any more: stop.
    Stop,
}

/// An error of the store: what happened, where, and what to do next. Never holds a raw value.
#[derive(Clone, Debug, thiserror::Error)]
#[error("{what}: {why}\n  mend: {mend}")]
pub struct Error {
    kind: Kind,
    what: String,
    why: String,
    mend: &'static str,
}

impl Error {
    /// `what` happened (and where), `why`, and the `mend`.
    #[must_use]
    pub fn new(kind: Kind, what: impl Into<String>, why: impl std::fmt::Display, mend: &'static str) -> Self {
        Self { kind, what: what.into(), why: why.to_string(), mend }
    }

    /// What the caller can do.
    #[must_use]
    pub const fn kind(&self) -> Kind {
        self.kind
    }

    /// An I/O error: a full disk passes, anything else needs somebody to look.
    pub(crate) fn io(what: impl Into<String>, why: &std::io::Error) -> Self {
        if is_full(why) {
            Self::new(Kind::Retry, what, why, "free some disk space: it goes on by itself")
        } else {
            Self::new(Kind::Data, what, why, "check the folder's owner, its mode and the disk")
        }
    }

    /// A failed sync: what the page cache shows may not be on the disk, so nothing may be built on it.
    pub(crate) fn sync(what: impl Into<String>, why: &std::io::Error) -> Self {
        if is_full(why) {
            return Self::io(what, why);
        }
        Self::new(Kind::Stop, what, why, "check the disk, then start again: nothing acknowledged is lost")
    }

    /// The store is closing, or its appender is gone.
    pub(crate) fn closed() -> Self {
        Self::new(Kind::Stop, "the store takes nothing more", "it was closed", "start the service again")
    }
}

/// Whether a disk or a quota is full.
pub(crate) fn is_full(error: &std::io::Error) -> bool {
    matches!(error.kind(), std::io::ErrorKind::StorageFull | std::io::ErrorKind::QuotaExceeded)
}
