//! Rows that the log says went out of tables: by erasure and by retention.

use std::collections::{BTreeMap, HashMap};
use std::path::Path;

use candor_wire::log::entry::Entry;
use candor_wire::log::tile::{Tile, What};

use super::{LogFiles, refused};
use crate::error::Error;

/// `PURPOSE/STREAM` → rows that were sealed and are in no live file any more. Nothing is checked: whoever verifies does that.
///
/// # Errors
/// If the log cannot be read.
pub(crate) fn removed_rows(data: &Path) -> Result<BTreeMap<String, u64>, Error> {
    let disk = LogFiles::of(data);
    let size = disk.checkpoint()?.and_then(|note| size_of(&note)).unwrap_or(0);
    let (mut sealed, mut removed): (HashMap<u64, (String, u64)>, BTreeMap<String, u64>) = Default::default();
    let mut at = 0;
    while let Some(bundle) = Tile::of(What::Entries, at, size) {
        for bytes in disk.bundle(&bundle)? {
            let entry = Entry::decode(&bytes).map_err(|why| refused(why, "an entry of the log cannot be read"))?;
            let gone = match &entry {
                Entry::Sealed(file) => {
                    sealed.insert(at, (file.table.clone(), file.rows));
                    *removed.entry(file.table.clone()).or_default() += file.removed.unwrap_or(0);
                    &[][..]
                }
                Entry::Erased(erased) => &erased.files,
                Entry::Expired(expired) => &expired.files,
                _ => &[],
            };
            for (table, rows) in gone.iter().filter_map(|number| sealed.get(number)) {
                *removed.entry(table.clone()).or_default() += rows;
            }
            at += 1;
        }
    }
    Ok(removed)
}

/// The size that a checkpoint is of: its second line.
fn size_of(note: &[u8]) -> Option<u64> {
    std::str::from_utf8(note).ok()?.lines().nth(1)?.parse().ok()
}
