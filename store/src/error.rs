//! Errors of the store; the kind tells the caller what to do.

use crate::storage;

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
    /// Whether a disk failed: nobody can say then what is on it.
    is_of_disk: bool,
}

impl Error {
    /// `what` happened (and where), `why`, and the `mend`.
    #[must_use]
    pub fn new(kind: Kind, what: impl Into<String>, why: impl std::fmt::Display, mend: &'static str) -> Self {
        Self { kind, what: what.into(), why: why.to_string(), mend, is_of_disk: false }
    }

    /// What the caller can do.
    #[must_use]
    pub const fn kind(&self) -> Kind {
        self.kind
    }

    /// Ends the process if a disk failed: whoever met it first, nothing may be built on what the disk shows.
    pub fn end_process_if_of_disk(&self) {
        if self.is_of_disk {
            end_process_after(self);
        }
    }

    /// A disk failed: nobody can say what is on it.
    pub(crate) fn of_disk(what: impl Into<String>, why: impl std::fmt::Display, mend: &'static str) -> Self {
        Self::new(Kind::Stop, what, why, mend).blame_disk()
    }

    /// The same error, of a disk that failed.
    pub(crate) fn blame_disk(self) -> Self {
        Self { is_of_disk: true, ..self }
    }

    /// An I/O error: a full disk passes, anything else needs somebody to look.
    pub(crate) fn io(what: impl Into<String>, why: &std::io::Error) -> Self {
        if is_full(why) {
            Self::new(Kind::Retry, what, why, "free some disk space: it goes on by itself")
        } else {
            Self::new(Kind::Data, what, why, "check the folder's owner, its mode and the disk")
        }
    }

    /// A file that could not be opened because the process, or the machine, has no more of what that takes: this says nothing of the
    /// file. None for any other reason.
    pub(crate) fn of_no_room(file: &str, why: &std::io::Error) -> Option<Self> {
        use rustix::io::Errno;
        let lacks = matches!(Errno::from_io_error(why), Some(Errno::MFILE | Errno::NFILE | Errno::NOMEM));
        let mend = "ask again; let the process have more files open if it stays so";
        lacks.then(|| Self::new(Kind::Retry, format!("cannot open {file}"), why, mend))
    }

    /// A failed sync: what the page cache shows may not be on the disk, so nothing may be built on it.
    pub(crate) fn sync(what: impl Into<String>, why: &std::io::Error) -> Self {
        if is_full(why) {
            return Self::io(what, why);
        }
        Self::of_disk(what, why, "check the disk, then start again: nothing acknowledged is lost")
    }

    /// An error of writing a file durably, of which syncing is a part.
    pub(crate) fn write(what: impl Into<String>, why: &std::io::Error) -> Self {
        if storage::is_failed_sync(why) { Self::sync(what, why) } else { Self::io(what, why) }
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

/// Ends the process after an error of kind `Stop`, as after a failed write or sync: the page cache lies then.
pub(crate) fn end_process_after(error: &Error) -> ! {
    tracing::error!(%error, "the service ends, and recovers when it is started again");
    std::process::exit(EXIT_AFTER_IO_ERROR)
}

/// `EX_SOFTWARE` of sysexits: a supervisor starts the service again.
pub(crate) const EXIT_AFTER_IO_ERROR: i32 = 70;
