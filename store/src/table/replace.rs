//! Commits that take files out of a table and put others in their place, and the log of Delta afterwards: no version is
//! left that names what went.

use std::collections::HashSet;
use std::path::Path;
use std::sync::Arc;

use arrow_array::StringArray;
use arrow_array::cast::AsArray;
use delta_kernel::committer::FileSystemCommitter;
use delta_kernel::engine::arrow_data::ArrowEngineData;
use delta_kernel::engine_data::FilteredEngineData;
use delta_kernel::transaction::{CommitResult, UpdateTableOperation};
use delta_kernel::{KernelError, SnapshotRef};

use crate::error::{Error, Kind};
use crate::storage;
use crate::table::commit::{ENGINE, TRIES, added_files, fault, moved};
use crate::table::engine::Delta;
use crate::table::layout::TablePath;
use crate::table::parquet::WrittenFile;

/// Names the newest checkpoint of a table's log.
const LAST_CHECKPOINT: &str = "_last_checkpoint";
/// Digits of a version in the names of the log's files.
const VERSION_DIGITS: usize = 20;

impl Delta {
    /// Takes files out of a table and adds others, in one commit; up to which lsn it holds rows stays as it is.
    ///
    /// # Errors
    /// `Data` if a file to remove is not live, or one to add is: nothing is committed then.
    pub(crate) fn replace(&self, table: &TablePath, removed: &[String], added: &[WrittenFile]) -> Result<(), Error> {
        for _ in 0..TRIES {
            let Some(snapshot) = self.snapshot(table)? else {
                return Err(moved(table, "it is gone"));
            };
            // The library removes what is not there and adds what is: whoever commits must look.
            self.check(table, &snapshot, removed, added)?;
            let selected = self.select(table, &snapshot, removed)?;
            let mut transaction = snapshot
                .update_table(UpdateTableOperation::Write, ENGINE, true)
                .build(self.engine(), Box::new(FileSystemCommitter::new()))
                .map_err(|why| self.uncommitted(table, &why))?;
            for files in selected {
                transaction.remove_files(files);
            }
            if !added.is_empty() {
                let added = added_files(added).map_err(|why| fault(table, &why))?;
                transaction.add_files(Box::new(ArrowEngineData::new(added)));
            }
            match transaction.commit(self.engine()).map_err(|why| self.uncommitted(table, &why))? {
                CommitResult::Committed(_) => return Ok(()),
                CommitResult::Conflicted(_) | CommitResult::Retryable(_) => {}
            }
        }
        Err(moved(table, "others were faster each time"))
    }

    /// Sums the log up in a checkpoint of the newest version, and removes every commit and checkpoint before it: no
    /// older version can be read afterwards. Harmless to repeat.
    ///
    /// # Errors
    /// If something cannot be written or removed; call again.
    pub(crate) fn forget_old_versions(&self, table: &TablePath) -> Result<(), Error> {
        let Some(snapshot) = self.snapshot(table)? else { return Ok(()) };
        let newest = snapshot.version();
        if last_checkpoint(table) != Some(newest) {
            let failed = |why: &KernelError| self.failed("cannot sum up the log of table", table, why);
            snapshot.checkpoint(self.engine(), None).map_err(|why| failed(&why))?;
        }
        let log = table.log();
        let failed = |why: &std::io::Error| Error::io(format!("cannot clean {}", log.display()), why);
        if last_checkpoint(table) != Some(newest) {
            // A crash had come between a checkpoint and the hint at it. Without the hint readers look for the newest
            // themselves; with an old one they would look for what goes now.
            storage::remove_if_there(&log.join(LAST_CHECKPOINT)).map_err(|why| failed(&why))?;
            storage::sync_folder(&log).map_err(|why| Error::sync(cannot_sync(&log), &why))?;
        }
        fail::fail_point!("rewrite::before_forget", |_| std::process::abort());
        for entry in std::fs::read_dir(&log).map_err(|why| failed(&why))? {
            let name = entry.map_err(|why| failed(&why))?.file_name();
            if name.to_str().and_then(version_of).is_some_and(|version| version < newest) {
                storage::remove_if_there(&log.join(&name)).map_err(|why| failed(&why))?;
            }
        }
        storage::sync_folder(&log).map_err(|why| Error::sync(cannot_sync(&log), &why))
    }

    fn check(
        &self,
        table: &TablePath,
        snapshot: &SnapshotRef,
        removed: &[String],
        added: &[WrittenFile],
    ) -> Result<(), Error> {
        let live: HashSet<String> = self.live_files(table, snapshot)?.into_iter().map(|file| file.path).collect();
        let mut seen = HashSet::new();
        let wrong = |path: &str, why: &str| {
            let what = format!("files of table {} were not replaced", table.name());
            Err(Error::new(Kind::Data, what, format!("{path} {why}"), "report this: it is a fault"))
        };
        for path in removed {
            if !live.contains(path) {
                return wrong(path, "is not live, and was to be removed");
            }
            if !seen.insert(path) {
                return wrong(path, "was to be removed twice");
            }
        }
        for file in added {
            if live.contains(&file.path) {
                return wrong(&file.path, "is live, and was to be added");
            }
            if !seen.insert(&file.path) {
                return wrong(&file.path, "was to be added twice");
            }
        }
        Ok(())
    }

    /// The `add` actions of files, as the library takes them to remove them.
    fn select(
        &self,
        table: &TablePath,
        snapshot: &SnapshotRef,
        paths: &[String],
    ) -> Result<Vec<FilteredEngineData>, Error> {
        let failed = |why: &KernelError| self.failed("cannot list the files of table", table, why);
        let wanted: HashSet<&str> = paths.iter().map(String::as_str).collect();
        let scan = Arc::clone(snapshot).scan_builder().build().map_err(|why| failed(&why))?;
        let (mut selected, mut found) = (Vec::new(), 0);
        for batch in scan.scan_metadata(self.engine()).map_err(|why| failed(&why))? {
            let (data, live) = batch.map_err(|why| failed(&why))?.scan_files.into_parts();
            let data = ArrowEngineData::try_from_engine_data(data).map_err(|why| failed(&why))?;
            let paths: Option<&StringArray> =
                data.record_batch().column_by_name("path").and_then(|column| column.as_string_opt::<i32>());
            let Some(paths) = paths else { return Err(moved(table, "its log lists files without paths")) };
            // A vector that is too short selects the rest.
            let is_live = |row: usize| live.get(row).copied().unwrap_or(true);
            let selection: Vec<bool> = paths
                .iter()
                .enumerate()
                .map(|(row, path)| is_live(row) && path.is_some_and(|path| wanted.contains(path)))
                .collect();
            let count = selection.iter().filter(|selected| **selected).count();
            if count > 0 {
                found += count;
                selected.push(FilteredEngineData::try_new(data, selection).map_err(|why| failed(&why))?);
            }
        }
        if found == wanted.len() { Ok(selected) } else { Err(moved(table, "its files changed meanwhile")) }
    }
}

/// The version of the checkpoint that a log says is its newest.
fn last_checkpoint(table: &TablePath) -> Option<u64> {
    let text = std::fs::read(table.log().join(LAST_CHECKPOINT)).ok()?;
    serde_json::from_slice::<serde_json::Value>(&text).ok()?.get("version")?.as_u64()
}

fn cannot_sync(folder: &Path) -> String {
    format!("cannot sync {}", folder.display())
}

/// The version that a file of the log belongs to.
fn version_of(name: &str) -> Option<u64> {
    let (version, kind) = name.split_once('.')?;
    let known = kind == "json"
        || kind == "crc"
        || kind.starts_with("checkpoint.") && Path::new(name).extension().is_some_and(|end| end == "parquet");
    if known && version.len() == VERSION_DIGITS { version.parse().ok() } else { None }
}
