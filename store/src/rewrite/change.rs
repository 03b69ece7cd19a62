//! What a job has made of a table, read from the table itself, and whom it is told to.

use std::collections::BTreeSet;

use super::file::{FileInfo, describe};
use super::job::{Kind, TableRewrite};
use super::{day_of_path, live_paths};
use crate::error::{self, Error};
use crate::table::commit::LiveFile;
use crate::table::engine::Delta;
use crate::table::layout::TablePath;
use crate::table::lookup::open;

/// What became of files of one table.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Change {
    /// Where.
    pub(crate) table: TablePath,
    /// Why.
    pub(crate) kind: Kind,
    /// Live files that took the place of others; their metadata say of which.
    pub(crate) added: Vec<FileInfo>,
    /// Files that those took the place of.
    pub(crate) replaced: Vec<String>,
    /// Files in whose place there is nothing: no row was left.
    pub(crate) gone: Vec<String>,
    /// Rows of those; of one that is not on disk any more, none.
    pub(crate) rows_gone: u64,
}

impl Change {
    /// Rows that are in no file any more.
    pub(crate) fn rows_removed(&self) -> u64 {
        self.rows_gone + self.added.iter().map(|file| file.removed).sum::<u64>()
    }
}

/// Makes changes known in the log, before the old files go. Each call may come again after a crash.
pub(crate) trait Seal: std::fmt::Debug {
    /// A table's files were replaced: those that are new need their entry.
    ///
    /// # Errors
    /// If that is not durable.
    fn sealed(&self, change: &Change) -> Result<(), Error>;

    /// All that a job wants of a table is done: files without a successor need an entry of their own. Of each part there is a
    /// change, in the same order.
    ///
    /// # Errors
    /// If that is not durable.
    fn finished(&self, kind: Kind, parts: &[TableRewrite], changes: &[Change]) -> Result<(), Error>;

    /// Files that the log has as live and a table that lists these does not.
    fn aside(&self, table: &TablePath, listed: &[LiveFile]) -> Vec<LiveFile>;

    /// Whether a file of a table took the place of one of these, where that is known without a look into it.
    fn is_known_to_replace(&self, table: &TablePath, path: &str, old: &BTreeSet<&str>) -> Option<bool>;
}

/// For tests that have no log.
#[cfg(test)]
#[derive(Clone, Copy, Debug)]
pub(crate) struct Unsealed;

#[cfg(test)]
impl Seal for Unsealed {
    fn sealed(&self, _: &Change) -> Result<(), Error> {
        Ok(())
    }

    fn finished(&self, _: Kind, _: &[TableRewrite], _: &[Change]) -> Result<(), Error> {
        Ok(())
    }

    fn aside(&self, _: &TablePath, _: &[LiveFile]) -> Vec<LiveFile> {
        Vec::new()
    }

    fn is_known_to_replace(&self, _: &TablePath, _: &str, _: &BTreeSet<&str>) -> Option<bool> {
        None
    }
}

/// What the table says of files that a job named, after its commits.
pub(super) fn of(
    delta: &Delta,
    (table, kind): (&TablePath, Kind),
    wanted: &TableRewrite,
    seal: &dyn Seal,
) -> Result<Change, Error> {
    let named: BTreeSet<&str> = wanted.files().map(String::as_str).collect();
    let days: BTreeSet<Option<i32>> = named.iter().map(|path| day_of_path(path)).collect();
    let live = delta.read(table)?.map_or_else(Vec::new, |snapshot| snapshot.files);
    let mut added = Vec::new();
    for file in live.iter().filter(|file| days.contains(&Some(file.received_date))) {
        match describe(table, file) {
            Ok(info) if info.replaces.iter().any(|path| named.contains(path.as_str())) => added.push(info),
            Ok(_) => {}
            // One that stays as it is, or another one of that day.
            Err(error)
                if error.kind() != error::Kind::Stop
                    && (named.contains(file.path.as_str())
                        || seal.is_known_to_replace(table, &file.path, &named) == Some(false)) => {}
            Err(error) => return Err(error),
        }
    }
    let replaced: BTreeSet<String> = added.iter().flat_map(|file| file.replaces.iter().cloned()).collect();
    let live = live_paths(delta, table)?;
    let gone: Vec<String> =
        wanted.files().filter(|path| !live.contains(*path) && !replaced.contains(*path)).cloned().collect();
    let rows_gone = gone.iter().filter_map(|path| rows_of(table, path)).sum();
    Ok(Change { table: table.clone(), kind, added, replaced: replaced.into_iter().collect(), gone, rows_gone })
}

/// Rows of a file that no version lists any more, if it is still there.
fn rows_of(table: &TablePath, path: &str) -> Option<u64> {
    let file = LiveFile { path: path.to_owned(), size: 0, received_date: day_of_path(path)? };
    u64::try_from(open(table, &file).ok()?.metadata().file_metadata().num_rows()).ok()
}
