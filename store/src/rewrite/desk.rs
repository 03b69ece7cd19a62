//! Where jobs on tables are handed in: they are kept in the ledger, done by the one writer of tables, and gone on with
//! after a crash.

use std::path::Path;
use std::sync::Arc;

use tokio::runtime::Handle;
use tokio::sync::oneshot;

use super::{Rewrite, Rewritten, Seal, is_untouched, run};
use crate::erase::{PASS, planned_by};
use crate::error::{Error, Kind, end_process_after};
use crate::flusher::Flusher;
use crate::ledger::Ledger;
use crate::ledger::jobs::Job;
use crate::shared::Shared;
use crate::table::Spared;

/// What the ledger calls a job of this room.
const REWRITE: &str = "rewrite";
/// Its state from beginning to end: what is done is in the tables.
const BEGUN: &str = "begun";

/// What the one writer of tables works with: the flusher of a service, or who holds the lock of a folder without one.
/// Its calls block.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Desk<'a> {
    /// The data folder.
    pub(crate) data: &'a Path,
    /// Its ledger.
    pub(crate) ledger: &'a Ledger,
    /// Where the ledger runs.
    pub(crate) runtime: &'a Handle,
    /// Who makes changes known.
    pub(crate) seal: &'a dyn Seal,
    /// Whose segments wait meanwhile.
    pub(crate) flusher: Option<&'a Flusher>,
}

impl Desk<'_> {
    /// Keeps a job and does it, after those that are still open. One that left nothing but files as they were is over; one of
    /// which nothing was committed is dropped, unless it must be done; any other goes on when somebody calls
    /// [`Self::resume`], at the latest with the next start.
    ///
    /// # Errors
    /// As [`run`]; `Retry` where another job has to see a file first.
    pub(crate) fn rewrite(&self, job: &Rewrite) -> Result<Rewritten, Error> {
        self.rewrite_for(None, job)
    }

    /// The same for a job that another one (by its number) planned: its files are those of that one.
    ///
    /// # Errors
    /// As [`Self::rewrite`].
    pub(crate) fn rewrite_for(&self, planned: Option<i64>, job: &Rewrite) -> Result<Rewritten, Error> {
        match self.resume() {
            Err(error) if error.kind() == Kind::Stop => return Err(error),
            // One that cannot be done must not keep all others from it.
            Err(error) => tracing::error!(%error, "a job on tables stays, and is tried again"),
            Ok(()) => {}
        }
        self.check_apart(planned, job)?;
        if job.files().values().all(Vec::is_empty) {
            return Ok(Rewritten::default());
        }
        let what = serde_json::to_string(job).map_err(|why| unreadable(&why))?;
        let id = self.runtime.block_on(self.ledger.begin_job(REWRITE, &what, BEGUN))?;
        self.finish(id, job)
    }

    /// Goes on with jobs that were begun and are not over: with all of them, also where one fails.
    ///
    /// # Errors
    /// As [`Self::rewrite`]: the first.
    pub(crate) fn resume(&self) -> Result<(), Error> {
        let mut first_error = None;
        for job in self.runtime.block_on(self.ledger.jobs())? {
            let Some(what) = parse(&job)? else { continue };
            match self.finish(job.id, &what) {
                Err(error) if error.kind() == Kind::Stop => return Err(error),
                Err(error) => first_error = first_error.or(Some(error)),
                Ok(done) => {
                    let files = done.files_removed();
                    if let Err(error) = done.whole() {
                        first_error = first_error.or(Some(error));
                    } else {
                        tracing::info!(kind = what.kind.name(), files, "a job on tables is over");
                    }
                }
            }
        }
        first_error.map_or(Ok(()), Err)
    }

    /// Two jobs that name the same file would each take the other's work for its own.
    fn check_apart(&self, planned: Option<i64>, job: &Rewrite) -> Result<(), Error> {
        let jobs = self.runtime.block_on(self.ledger.jobs())?;
        let taken = files_of(jobs.iter().filter(|other| Some(other.id) != planned))?;
        let is_taken = |(purpose, stream): (&str, &str), path: &String| {
            taken.contains(&(purpose.to_owned(), stream.to_owned(), path.clone()))
        };
        let mut files = job.files().into_iter();
        if files.any(|(table, paths)| paths.into_iter().any(|path| is_taken(table, path))) {
            let why = "an earlier job has to be done with them first";
            return Err(Error::new(Kind::Retry, "files were not made anew", why, "the log says what keeps it"));
        }
        Ok(())
    }

    /// Files that open jobs name.
    ///
    /// # Errors
    /// If the ledger cannot be read.
    pub(crate) fn files_of_jobs(&self) -> Result<Spared, Error> {
        self.runtime.block_on(files_of_jobs(self.ledger))
    }

    fn finish(&self, id: i64, job: &Rewrite) -> Result<Rewritten, Error> {
        let outcome = run(self.data, job, self.seal, &|| self.flusher.is_none_or(Flusher::flush_waiting));
        let is_over = match &outcome {
            Err(error) if error.kind() == Kind::Stop => false,
            Ok(done) if !done.is_begun() => true,
            _ => can_be_dropped(self.data, job),
        };
        if is_over {
            self.runtime.block_on(self.ledger.end_job(id))?;
        }
        outcome
    }
}

/// Does something on the thread that writes tables, in turn with segments.
///
/// # Errors
/// As `work` says; `Stop` if the store closes first, `Data` if `work` panics.
pub(crate) async fn on_flusher<T: Send + 'static>(
    shared: &Arc<Shared>,
    work: impl FnOnce(&Flusher) -> Result<T, Error> + Send + 'static,
) -> Result<T, Error> {
    let (answer, told) = oneshot::channel();
    shared.closed.ask(Box::new(move |flusher| {
        let outcome = work(flusher);
        if let Err(error) = &outcome {
            end_if_it_must(flusher, error);
        }
        let _ = answer.send(outcome);
    }));
    match told.await {
        Ok(outcome) => outcome,
        Err(_) if shared.closed.is_stopped() => Err(Error::closed()),
        // Rounds end with `Stop`, and this is not the end.
        Err(_) => {
            let mend = "this is a fault of candor: report it; nothing is lost";
            Err(Error::new(Kind::Data, "work on tables was broken off", "it panicked", mend))
        }
    }
}

/// The first thing that the flusher does.
pub(crate) fn resume_at_start(flusher: &Flusher) {
    if let Err(error) = flusher.desk().resume() {
        end_if_it_must(flusher, &error);
        tracing::error!(%error, "a job on tables stays, and is tried again");
    }
}

/// Files that open jobs name, or passes of erasure: they must see them once more, also those that no version lists any more.
///
/// # Errors
/// If the ledger cannot be read.
pub(crate) async fn files_of_jobs(ledger: &Ledger) -> Result<Spared, Error> {
    files_of(&ledger.jobs().await?)
}

fn files_of<'a>(jobs: impl IntoIterator<Item = &'a Job>) -> Result<Spared, Error> {
    let mut files = Spared::new();
    for job in jobs {
        let what = match parse(job)? {
            Some(what) => what,
            // It counted what these files hold: nobody else may put others in their place.
            None if job.kind == PASS => planned_by(job)?,
            None => continue,
        };
        for ((purpose, stream), paths) in what.files() {
            files.extend(paths.into_iter().map(|path| (purpose.to_owned(), stream.to_owned(), path.clone())));
        }
    }
    Ok(files)
}

/// A store that closes stops what is under way, and that is no failure.
fn end_if_it_must(flusher: &Flusher, error: &Error) {
    if error.kind() == Kind::Stop && !flusher.shared().closed.is_stopped() {
        end_process_after(error);
    }
}

/// Whether a job that failed is as if it had never been. An erasure was promised: it stays until it is done.
fn can_be_dropped(data: &Path, job: &Rewrite) -> bool {
    job.kind != super::Kind::Erase && is_untouched(data, job).unwrap_or(false)
}

fn parse(job: &Job) -> Result<Option<Rewrite>, Error> {
    if job.kind != REWRITE {
        return Ok(None);
    }
    serde_json::from_str(&job.what).map(Some).map_err(|why| unreadable(&why))
}

/// The place alone: serde's text may quote what it read.
fn unreadable(why: &serde_json::Error) -> Error {
    let why = format!("it ends to make sense at column {}", why.column());
    Error::new(Kind::Data, "a job on tables cannot be read", why, "use the version of candor that began it")
}
