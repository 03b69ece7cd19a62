//! Rows that the log says went out of tables: by erasure and by retention.

use std::collections::BTreeMap;
use std::path::Path;

use candor_wire::log::entry::Entry;
use candor_wire::log::tile::{Tile, What};

use super::{LogFiles, refused};
use crate::error::Error;
use crate::recount;

/// `PURPOSE/STREAM` → rows that were sealed and are in no live file any more. Nothing is checked: whoever verifies does that.
///
/// # Errors
/// If the log cannot be read.
pub(crate) fn removed_rows(data: &Path) -> Result<BTreeMap<String, u64>, Error> {
    let disk = LogFiles::of(data);
    let size = disk.checkpoint()?.and_then(|note| size_of(&note)).unwrap_or(0);
    let mut entries: Vec<Entry> = Vec::new();
    while let Some(bundle) = Tile::of(What::Entries, entries.len() as u64, size) {
        for bytes in disk.bundle(&bundle)? {
            entries.push(Entry::decode(&bytes).map_err(|why| refused(why, "an entry of the log cannot be read"))?);
        }
    }
    Ok(recount::removed(&entries))
}

/// The size that a checkpoint is of: its second line.
fn size_of(note: &[u8]) -> Option<u64> {
    std::str::from_utf8(note).ok()?.lines().nth(1)?.parse().ok()
}
