//! Where jobs on tables are handed in: they are kept in the ledger, done on the flusher's thread, and gone on with after
//! a crash.

use std::path::Path;
use std::sync::Arc;

use tokio::sync::oneshot;

use super::{Rewrite, Rewritten, is_untouched, run};
use crate::error::{Error, Kind};
use crate::flusher::Flusher;
use crate::ledger::Ledger;
use crate::ledger::jobs::Job;
use crate::shared::{Shared, end_process_after};
use crate::table::Spared;

/// What the ledger calls a job of this room.
const REWRITE: &str = "rewrite";
/// Its state from beginning to end: what is done is in the tables.
const BEGUN: &str = "begun";

/// Does something on the thread that writes tables, in turn with segments.
///
/// # Errors
/// As `work` says; `Stop` if the store closes first.
pub(crate) async fn on_flusher<T: Send + 'static>(
    shared: &Arc<Shared>,
    work: impl FnOnce(&Flusher) -> Result<T, Error> + Send + 'static,
) -> Result<T, Error> {
    let (answer, told) = oneshot::channel();
    shared.closed.ask(Box::new(move |flusher| {
        let outcome = work(flusher);
        if let Err(error) = &outcome
            && error.kind() == Kind::Stop
            && !flusher.shared().closed.is_stopped()
        {
            end_process_after(error);
        }
        let _ = answer.send(outcome);
    }));
    told.await.map_err(|_| Error::closed())?
}

/// Keeps a job and does it, after those that are still open. Only on the flusher's thread.
///
/// # Errors
/// As [`run`]. A job of which nothing was committed is dropped then, unless it must be done; any other goes on when
/// somebody calls [`resume`], at the latest with the next start.
pub(crate) fn rewrite(flusher: &Flusher, job: &Rewrite) -> Result<Rewritten, Error> {
    resume(flusher)?;
    if job.tables.iter().all(|table| table.units.is_empty()) {
        return Ok(Rewritten::default());
    }
    let what = serde_json::to_string(job).map_err(|why| unreadable(&why))?;
    let id = flusher.runtime().block_on(flusher.ledger().begin_job(REWRITE, &what, BEGUN))?;
    finish(flusher, id, job)
}

/// Goes on with jobs that were begun and are not over.
///
/// # Errors
/// As [`rewrite`].
pub(crate) fn resume(flusher: &Flusher) -> Result<(), Error> {
    for job in flusher.runtime().block_on(flusher.ledger().jobs())? {
        if let Some(what) = parse(&job)? {
            let done = finish(flusher, job.id, &what)?;
            tracing::info!(kind = what.kind.name(), files = done.files_removed(), "a job on tables is over");
        }
    }
    Ok(())
}

/// The first thing that the flusher does.
pub(crate) fn resume_at_start(flusher: &Flusher) {
    match resume(flusher) {
        Err(error) if error.kind() == Kind::Stop && !flusher.shared().closed.is_stopped() => end_process_after(&error),
        Err(error) => tracing::error!(%error, "a job on tables stays, and is tried again"),
        Ok(()) => {}
    }
}

/// Files that open jobs name: they must see them once more, also those that no version lists any more.
///
/// # Errors
/// If the ledger cannot be read.
pub(crate) async fn files_of_jobs(ledger: &Ledger) -> Result<Spared, Error> {
    let mut files = Spared::new();
    for job in ledger.jobs().await? {
        let Some(what) = parse(&job)? else { continue };
        for ((purpose, stream), paths) in what.files() {
            files.extend(paths.into_iter().map(|path| (purpose.to_owned(), stream.to_owned(), path.clone())));
        }
    }
    Ok(files)
}

fn finish(flusher: &Flusher, id: i64, job: &Rewrite) -> Result<Rewritten, Error> {
    let data = &flusher.shared().settings.data;
    let outcome = run(data, job, flusher.seal(), &|| flusher.flush_waiting());
    match &outcome {
        Err(error) if error.kind() == Kind::Stop => {}
        Err(_) if !can_be_dropped(data, job) => {}
        _ => flusher.runtime().block_on(flusher.ledger().end_job(id))?,
    }
    outcome
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
