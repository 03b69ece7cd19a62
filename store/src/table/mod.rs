//! Delta tables of sealed rows: `tables/PURPOSE/STREAM`, partitioned by date of receipt, Parquet inside.

pub(crate) mod aside;
pub(crate) mod commit;
pub(crate) mod engine;
pub(crate) mod layout;
pub(crate) mod lookup;
mod object_store;
pub(crate) mod pages;
pub(crate) mod parquet;
pub(crate) mod place;
mod replace;
#[cfg(test)]
pub(crate) mod testing;
#[cfg(test)]
mod tests;

use std::collections::HashSet;
use std::path::Path;
use std::sync::Arc;

use crate::error::Error;
use crate::log::Log;
use crate::sealed;
use crate::storage;
use crate::table::engine::Delta;
use crate::table::layout::TablePath;
use crate::view::blocking;

/// What [`sweep`] found.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Swept {
    /// Files that a crash had left and that are gone now.
    pub(crate) removed: u64,
    /// Highest lsn that a table has seen: the next frame must be above it, or tables would skip it.
    pub(crate) highest_lsn: u64,
}

/// Removes what a crash left in the tables: files that no version lists, and unfinished ones. Files that a job still has
/// to see (`spared`: purpose, stream, path) stay, and so does what the log has as live: a table that does not list it was changed
/// by somebody else, and the file is what shows that. Call it under the lock of the data folder, before anything is written.
///
/// # Errors
/// If a table cannot be read; nothing of that table is removed then.
pub(crate) async fn sweep(data: &Path, spared: Spared, log: &Arc<Log>) -> Result<Swept, Error> {
    let (data, log) = (data.to_path_buf(), Arc::clone(log));
    blocking(move || sweep_now(&data, &spared, &|table, path| log.look(|files| aside::is_live(files, table, path))))
        .await
}

/// Whether the log has a file as live, by the name of its table and its path there. It is asked of files that no version lists alone.
pub(crate) type IsLive<'a> = &'a dyn Fn(&str, &str) -> bool;

/// Files by purpose, stream and path.
pub(crate) type Spared = HashSet<(String, String, String)>;

pub(crate) fn sweep_now(data: &Path, spared: &Spared, is_live: IsLive<'_>) -> Result<Swept, Error> {
    let delta = Delta::shared()?;
    let mut swept = Swept::default();
    for table in layout::list(data)? {
        let of_table =
            spared.iter().filter(|(purpose, stream, _)| (purpose, stream) == (&table.purpose, &table.stream));
        let mut live: HashSet<String> = of_table.map(|(_, _, path)| path.clone()).collect();
        if let Some(snapshot) = delta.read(&table)? {
            swept.highest_lsn = swept.highest_lsn.max(snapshot.lsn);
            live.extend(snapshot.files.into_iter().map(|file| file.path));
        }
        for folder in layout::folders(&table.folder)? {
            let in_log = table.folder.join(&folder) == table.log();
            let is_spared = |path: &str| {
                let is_aside = !live.contains(path) && is_live(&table.name(), path);
                if is_aside {
                    let file = table.file_name(path);
                    tracing::warn!(file, "a file is live in the log, and its table does not list it: it stays");
                }
                is_aside || live.contains(path)
            };
            swept.removed += remove_from(&table, &folder, |name| {
                let unfinished = name.ends_with(storage::UNFINISHED);
                unfinished || !in_log && name.ends_with(".parquet") && !is_spared(&format!("{folder}/{name}"))
            })?;
        }
        sealed::sweep_leaves(&table, &live)?;
    }
    Ok(swept)
}

fn remove_from(table: &TablePath, folder: &str, is_orphan: impl Fn(&str) -> bool) -> Result<u64, Error> {
    let path = table.folder.join(folder);
    let failed = |why: &std::io::Error| Error::write(format!("cannot clean {}", path.display()), why);
    let mut removed = 0;
    for entry in std::fs::read_dir(&path).map_err(|why| failed(&why))? {
        let entry = entry.map_err(|why| failed(&why))?;
        if entry.file_name().to_str().is_some_and(&is_orphan) {
            storage::remove_if_there(&entry.path()).map_err(|why| failed(&why))?;
            removed += 1;
        }
    }
    if removed > 0 {
        storage::sync_folder(&path).map_err(|why| failed(&why))?;
    }
    Ok(removed)
}
