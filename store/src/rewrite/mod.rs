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

use std::collections::{BTreeSet, HashSet};
use std::path::Path;

#[cfg(test)]
pub(crate) use change::Unsealed;
pub(crate) use change::{Change, Seal};
pub(crate) use desk::{Desk, files_of_jobs, on_flusher, resume_at_start};
pub(crate) use file::{FileInfo, TARGET_BYTES, TARGET_ROWS, describe, pack};
pub(crate) use job::{Fate, Kind, Rewrite, TableRewrite};
pub(crate) use unit::{guarded, has_values};

use crate::error::{self, Error};
use crate::sealed;
use crate::storage;
use crate::table::engine::Delta;
use crate::table::layout::{self, TablePath};
use crate::table::parquet::WrittenFile;

/// Outputs of one commit: so many old files wait on disk for it.
const UNITS_PER_COMMIT: usize = 32;

/// What a job did.
#[derive(Clone, Debug, Default)]
pub(crate) struct Rewritten {
    /// What became of each table's files.
    pub(crate) changes: Vec<Change>,
    /// What could not be done.
    pub(crate) left: Option<Left>,
}

/// What a job could not do.
#[derive(Clone, Debug)]
pub(crate) struct Left {
    /// Why: the first reason.
    pub(crate) error: Error,
    /// The files, by table and path, of which it is not known to be done.
    pub(crate) files: HashSet<(String, String)>,
    /// Whether a table was not gone through to its end: the same job has to go on then. Else its files are as they were.
    pub(crate) is_begun: bool,
}

impl Rewritten {
    /// The same, if all was done.
    ///
    /// # Errors
    /// Why something was not.
    pub(crate) fn whole(self) -> Result<Self, Error> {
        match self.left {
            Some(left) => Err(left.error),
            None => Ok(self),
        }
    }

    /// The files that could not be read. Those of a table that could not be written are none of them.
    pub(crate) fn unreadable(&self) -> impl Iterator<Item = (String, String)> + '_ {
        let left = self.left.iter().filter(|left| left.error.kind() == error::Kind::Data && !left.is_begun);
        left.flat_map(|left| left.files.iter().cloned())
    }

    /// Whether the same job has to go on.
    fn is_begun(&self) -> bool {
        self.left.as_ref().is_some_and(|left| left.is_begun)
    }

    fn leave<'a>(
        &mut self,
        table: &TablePath,
        files: impl IntoIterator<Item = &'a String>,
        (error, is_begun): (Error, bool),
    ) {
        tracing::error!(%error, "files stay as they are");
        let left = self.left.get_or_insert_with(|| Left { error, files: HashSet::new(), is_begun: false });
        left.files.extend(files.into_iter().map(|path| (table.name(), path.clone())));
        left.is_begun |= is_begun;
    }

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
/// says whether to go on. A file that cannot be read stays as it is, and a table that fails keeps no other from its end.
///
/// # Errors
/// `Stop`. What was committed stands, and the same job goes on from there.
pub(crate) fn run(data: &Path, job: &Rewrite, seal: &dyn Seal, between: &dyn Fn() -> bool) -> Result<Rewritten, Error> {
    let delta = Delta::shared()?;
    let mut done = Rewritten::default();
    for parts in job.tables.chunk_by(|one, other| one.table_name() == other.table_name()) {
        let Some(first) = parts.first() else { continue };
        let table = first.table(data)?;
        match of_table(delta, &table, (job.kind, parts), (seal, between), &mut done) {
            Ok(changes) => done.changes.extend(changes),
            Err(error) if error.kind() == error::Kind::Stop => return Err(error),
            Err(error) => done.leave(&table, parts.iter().flat_map(TableRewrite::files), (error, true)),
        }
    }
    Ok(done)
}

/// Does what a job wants of one table, to its end: nothing of it waits for another table.
fn of_table(
    delta: &Delta,
    table: &TablePath,
    (kind, parts): (Kind, &[TableRewrite]),
    (seal, between): (&dyn Seal, &dyn Fn() -> bool),
    done: &mut Rewritten,
) -> Result<Vec<Change>, Error> {
    let mut changes = Vec::new();
    for wanted in parts {
        commit_units(delta, table, wanted, between, done)?;
        let change = change::of(delta, (table, kind), wanted, seal)?;
        seal.sealed(&change)?;
        fail::fail_point!("rewrite::after_seal", |_| std::process::abort());
        unlink(table, &change.replaced)?;
        changes.push(change);
    }
    // What has no successor is on disk until the table's own entry is in the log.
    seal.finished(kind, parts, &changes)?;
    for change in &changes {
        unlink(table, &change.gone)?;
    }
    fail::fail_point!("rewrite::after_unlink", |_| std::process::abort());
    delta.forget_old_versions(table)?;
    fail::fail_point!("rewrite::after_clean", |_| std::process::abort());
    Ok(changes)
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
    done: &mut Rewritten,
) -> Result<(), Error> {
    let live = live_paths(delta, table)?;
    let todo: Vec<&Vec<String>> =
        wanted.units.iter().filter(|unit| unit.iter().any(|file| live.contains(file))).collect();
    for units in todo.chunks(UNITS_PER_COMMIT) {
        fail::fail_point!("rewrite::before_write", |_| std::process::abort());
        let mut written = Vec::new();
        let outcome = write_units(delta, (table, wanted), units, &mut written, done).and_then(|removed| {
            fail::fail_point!("rewrite::after_write", |_| std::process::abort());
            if removed.is_empty() { Ok(()) } else { delta.replace(table, &removed, &written) }
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

/// Writes what takes the place of units, and gives the files that can go then. What cannot be read, or written, is left.
fn write_units(
    delta: &Delta,
    (table, wanted): (&TablePath, &TableRewrite),
    units: &[&Vec<String>],
    written: &mut Vec<WrittenFile>,
    done: &mut Rewritten,
) -> Result<Vec<String>, Error> {
    let snapshot = delta.read(table)?;
    let live = snapshot.as_ref().map_or(&[][..], |snapshot| &snapshot.files);
    let mut can_go = Vec::new();
    for unit in units {
        let of_unit = live.iter().filter(|file| unit.contains(&file.path));
        if wanted.fate == Fate::Gone {
            can_go.extend(of_unit.map(|file| file.path.clone()));
            continue;
        }
        let mut files = Vec::new();
        for file in of_unit {
            match describe(table, file) {
                Ok(info) => files.push(info),
                Err(error) if error.kind() == error::Kind::Stop => return Err(error),
                Err(error) => done.leave(table, [&file.path], (error, false)),
            }
        }
        match unit::write(table, &files, &wanted.fate) {
            Ok(made) => {
                written.extend(made.written);
                can_go.extend(made.of);
                for (path, error) in made.unread {
                    done.leave(table, [&path], (error, false));
                }
            }
            Err(error) if error.kind() == error::Kind::Stop => return Err(error),
            Err(error) => done.leave(table, files.iter().map(|file| &file.path), (error, false)),
        }
    }
    Ok(can_go)
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
