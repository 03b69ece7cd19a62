//! The Delta library's engine over synced local files: one for the process, with one thread of its own.

use std::sync::{Arc, OnceLock};

use delta_kernel::{KernelError, Snapshot, SnapshotRef};
use delta_kernel_default_engine::executor::tokio::TokioMultiThreadExecutor;
use delta_kernel_default_engine::{DefaultEngine, DefaultEngineBuilder};

use crate::error::{Error, Kind, is_full};
use crate::table::layout::TablePath;
use crate::table::object_store::SyncedFiles;

/// What runs Delta's reads and writes. Its calls block: make them on threads that may.
#[derive(Debug)]
pub(crate) struct Delta {
    engine: DefaultEngine<TokioMultiThreadExecutor>,
    files: SyncedFiles,
}

impl Delta {
    /// The process's engine. It is never dropped, because dropping its runtime would panic inside another runtime.
    ///
    /// # Errors
    /// `Retry` if the system gives it no thread.
    pub(crate) fn shared() -> Result<&'static Self, Error> {
        static SHARED: OnceLock<Delta> = OnceLock::new();
        if let Some(delta) = SHARED.get() {
            return Ok(delta);
        }
        let made = Self::new()?;
        Ok(SHARED.get_or_init(|| made))
    }

    fn new() -> Result<Self, Error> {
        let files = SyncedFiles::new();
        // Checkpoints block inside a task: the executor that runs on one plain thread would wait for itself.
        let executor = TokioMultiThreadExecutor::new_owned_runtime(Some(1), None).map_err(|why| {
            Error::new(Kind::Retry, "cannot start the Delta engine", why, "raise the limit of threads")
        })?;
        let engine = DefaultEngineBuilder::new(Arc::new(files.clone())).with_task_executor(Arc::new(executor)).build();
        Ok(Self { engine, files })
    }

    /// For the library's calls.
    pub(crate) const fn engine(&self) -> &DefaultEngine<TokioMultiThreadExecutor> {
        &self.engine
    }

    /// The newest version of a table; none if it was never created.
    ///
    /// # Errors
    /// `Data` if its log cannot be read.
    pub(crate) fn snapshot(&self, table: &TablePath) -> Result<Option<SnapshotRef>, Error> {
        if !table.exists() {
            return Ok(None);
        }
        let snapshot = Snapshot::builder_for(table.url()?).build(&self.engine);
        snapshot.map(Some).map_err(|why| self.failed("cannot read the log of table", table, &why))
    }

    /// Number of the newest version of a table; none if it was never created.
    ///
    /// # Errors
    /// `Data` if its log cannot be read.
    pub(crate) fn version(&self, table: &TablePath) -> Result<Option<u64>, Error> {
        Ok(self.snapshot(table)?.map(|snapshot| snapshot.version()))
    }

    /// An error of the library, with what the caller can do about it.
    pub(crate) fn failed(&self, what: &str, table: &TablePath, why: &KernelError) -> Error {
        let what = format!("{what} {}", table.name());
        if self.files.sync_failed() {
            return Error::new(Kind::Stop, what, why, "check the disk, then start again: nothing acknowledged is lost");
        }
        if matches!(why, KernelError::FileNotFound(_)) || is_missing(why) {
            return Error::new(Kind::Retry, what, why, "its log was cleaned meanwhile: ask again");
        }
        if io_of(why).is_some_and(is_full) {
            return Error::new(Kind::Retry, what, why, "free some disk space: it goes on by itself");
        }
        Error::new(Kind::Data, what, why, "check the folder's owner, its mode and the disk; do not edit _delta_log")
    }
}

/// The system's error below a library error, if that is what it was.
fn io_of(error: &KernelError) -> Option<&std::io::Error> {
    let mut source: Option<&(dyn std::error::Error + 'static)> = match error {
        KernelError::IOError(why) => return Some(why),
        KernelError::Backtraced { source, .. } => return io_of(source),
        other => std::error::Error::source(other),
    };
    while let Some(error) = source {
        if let Some(why) = error.downcast_ref() {
            return Some(why);
        }
        source = error.source();
    }
    None
}

/// Whether an error says, at whatever depth, that a file is not there.
fn is_missing(error: &(dyn std::error::Error + 'static)) -> bool {
    let mut next = Some(error);
    while let Some(error) = next {
        let of_system =
            error.downcast_ref::<std::io::Error>().is_some_and(|why| why.kind() == std::io::ErrorKind::NotFound);
        if of_system || matches!(error.downcast_ref(), Some(object_store::Error::NotFound { .. })) {
            return true;
        }
        next = error.source();
    }
    false
}
