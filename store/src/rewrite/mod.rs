//! Sealed files made anew: packed together, without rows that must go, or gone altogether.
//!
//! One job at a time, on the flusher's thread, which is the only writer of tables. A job says what is to become of which
//! files, and is in the ledger before anything happens. Its steps, each durable before the next and each harmless to
//! repeat: the new files, the commit that takes them for the old ones, the log, the old files, Delta's own log. What a
//! crash broke off is done again from what the tables then say, not from what was noted on the way.

mod change;
mod desk;
mod file;
mod job;
#[cfg(test)]
mod tests;
mod unit;

use std::collections::BTreeSet;
use std::path::Path;

#[cfg(test)]
pub(crate) use change::Unsealed;
pub(crate) use change::{Change, Seal};
pub(crate) use desk::{Desk, files_of_jobs, on_flusher, resume_at_start};
pub(crate) use file::{FileInfo, TARGET_BYTES, TARGET_ROWS, describe, pack};
pub(crate) use job::{Fate, Kind, Rewrite, TableRewrite};
pub(crate) use unit::has_values;

use crate::error::{self, Error};
use crate::sealed;
use crate::storage;
use crate::table::engine::Delta;
use crate::table::layout::{self, TablePath};
use crate::table::parquet::WrittenFile;

/// Outputs of one commit: so many old files wait on disk for it.
const UNITS_PER_COMMIT: usize = 32;

/// What a job did.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Rewritten {
    /// What became of each table's files.
    pub(crate) changes: Vec<Change>,
}

impl Rewritten {
    /// Files that are gone.
    pub(crate) fn files_removed(&self) -> u64 {
        self.changes.iter().map(|change| (change.replaced.len() + change.gone.len()) as u64).sum()
    }

    /// Files that are there in their place.
    #[cfg_attr(not(test), expect(dead_code, reason = "for erasure"))]
    pub(crate) fn files_added(&self) -> u64 {
        self.changes.iter().map(|change| change.added.len() as u64).sum()
    }

    /// Rows that were in the old files and are not in the new ones.
    #[cfg_attr(not(test), expect(dead_code, reason = "for erasure"))]
    pub(crate) fn rows_removed(&self) -> u64 {
        self.changes.iter().map(Change::rows_removed).sum()
    }
}

/// Does a job, or what a crash left of it. Blocking. `between` is called where others may use the tables meanwhile, and
/// says whether to go on.
///
/// # Errors
/// As the tables' writers give them. What was committed stands, and the same job goes on from there.
pub(crate) fn run(data: &Path, job: &Rewrite, seal: &dyn Seal, between: &dyn Fn() -> bool) -> Result<Rewritten, Error> {
    let delta = Delta::shared()?;
    let mut done = Rewritten::default();
    for wanted in &job.tables {
        let table = wanted.table(data)?;
        commit_units(delta, &table, wanted, between)?;
        let change = change::of(delta, &table, job.kind, wanted)?;
        seal.sealed(&change)?;
        fail::fail_point!("rewrite::after_seal", |_| std::process::abort());
        unlink(&table, &change.replaced)?;
        done.changes.push(change);
    }
    // What has no successor is on disk until the job's own entry is in the log.
    seal.finished(job, &done.changes)?;
    for change in &done.changes {
        unlink(&change.table, &change.gone)?;
    }
    fail::fail_point!("rewrite::after_unlink", |_| std::process::abort());
    for change in &done.changes {
        delta.forget_old_versions(&change.table)?;
    }
    fail::fail_point!("rewrite::after_clean", |_| std::process::abort());
    Ok(done)
}

/// Whether nothing of a job was committed yet: it can be dropped then as if it had never been.
///
/// # Errors
/// If a table cannot be read.
pub(crate) fn is_untouched(data: &Path, job: &Rewrite) -> Result<bool, Error> {
    let delta = Delta::shared()?;
    for wanted in &job.tables {
        let live = live_paths(delta, &wanted.table(data)?)?;
        if wanted.files().any(|file| !live.contains(file)) {
            return Ok(false);
        }
    }
    Ok(true)
}

/// Writes and commits the units that no commit has yet.
fn commit_units(
    delta: &Delta,
    table: &TablePath,
    wanted: &TableRewrite,
    between: &dyn Fn() -> bool,
) -> Result<(), Error> {
    let live = live_paths(delta, table)?;
    let todo: Vec<&Vec<String>> =
        wanted.units.iter().filter(|unit| unit.iter().any(|file| live.contains(file))).collect();
    for units in todo.chunks(UNITS_PER_COMMIT) {
        fail::fail_point!("rewrite::before_write", |_| std::process::abort());
        let mut written = Vec::new();
        let outcome = write_units(delta, table, wanted, units, &mut written).and_then(|()| {
            fail::fail_point!("rewrite::after_write", |_| std::process::abort());
            let removed: Vec<String> = units.iter().flat_map(|unit| unit.iter().cloned()).collect();
            delta.replace(table, &removed, &written)
        });
        fail::fail_point!("rewrite::after_commit", |_| std::process::abort());
        match outcome {
            Err(error) if error.kind() != error::Kind::Stop => settle(delta, table, &written, error)?,
            other => other?,
        }
        if !between() {
            return Err(Error::closed());
        }
    }
    Ok(())
}

fn write_units(
    delta: &Delta,
    table: &TablePath,
    wanted: &TableRewrite,
    units: &[&Vec<String>],
    written: &mut Vec<WrittenFile>,
) -> Result<(), Error> {
    if wanted.fate == Fate::Gone {
        return Ok(());
    }
    let snapshot = delta.read(table)?;
    let live = snapshot.as_ref().map_or(&[][..], |snapshot| &snapshot.files);
    for unit in units {
        let of_unit = live.iter().filter(|file| unit.contains(&file.path));
        let files: Vec<FileInfo> = of_unit.map(|file| describe(table, file)).collect::<Result<_, _>>()?;
        written.extend(unit::write(table, &files, &wanted.fate)?);
    }
    Ok(())
}

/// After a failure: the commit may stand all the same (the error came later), or the files are nobody's and go.
fn settle(delta: &Delta, table: &TablePath, written: &[WrittenFile], error: Error) -> Result<(), Error> {
    let live = live_paths(delta, table)?;
    if !written.is_empty() && written.iter().all(|file| live.contains(&file.path)) {
        return Ok(());
    }
    for file in written.iter().filter(|file| !live.contains(&file.path)) {
        // What stays is an orphan, which the next start removes.
        let _ = std::fs::remove_file(table.folder.join(&file.path));
    }
    Err(error)
}

fn live_paths(delta: &Delta, table: &TablePath) -> Result<BTreeSet<String>, Error> {
    let snapshot = delta.read(table)?;
    Ok(snapshot.map_or_else(BTreeSet::new, |snapshot| snapshot.files.into_iter().map(|file| file.path).collect()))
}

/// Removes files that no version lists any more, what was derived from them, and folders that they leave empty.
fn unlink(table: &TablePath, paths: &[String]) -> Result<(), Error> {
    let failed = |path: &Path, why: &std::io::Error| Error::io(format!("cannot remove {}", path.display()), why);
    let leaves = storage::parent(&table.leaves("any"));
    let mut folders = BTreeSet::new();
    for path in paths {
        let file = table.folder.join(path);
        storage::remove_if_there(&file).map_err(|why| failed(&file, &why))?;
        folders.insert(storage::parent(&file));
        sealed::remove_leaves(table, path).map_err(|why| failed(&table.leaves(path), &why))?;
    }
    let synced = |folder: &Path| match storage::sync_folder(folder) {
        Err(why) if why.kind() != std::io::ErrorKind::NotFound => {
            Err(Error::sync(format!("cannot sync {}", folder.display()), &why))
        }
        _ => Ok(()),
    };
    for folder in &folders {
        synced(folder)?;
        // It fails where files are left, as it should.
        let _ = std::fs::remove_dir(folder);
    }
    if !folders.is_empty() {
        synced(&table.folder)?;
        synced(&leaves)?;
    }
    Ok(())
}

/// The partition that a file is in, by its path.
fn day_of_path(path: &str) -> Option<i32> {
    let (folder, _) = path.split_once('/')?;
    let (column, date) = folder.split_once('=')?;
    (column == layout::RECEIVED_DATE).then(|| layout::day_of_text(date)).flatten()
}
