//! Reading a log anew when it is opened: every entry, and every tile that follows from them.

use candor_wire::log::checkpoint::Checkpoint;
use candor_wire::log::edge::Edge;
use candor_wire::log::entry::Entry;
use candor_wire::log::live::LiveFiles;
use candor_wire::log::tile::{self, Tile, WIDTH, What};
use candor_wire::merkle::{Hash, leaf_hash};

use super::{LogFiles, Writer, refused};
use crate::error::{Error, Kind};

/// What appending goes on from. Entries must lead to the checkpoint's root; tiles that do not follow from them are written anew.
pub(super) fn replay(disk: &LogFiles, checkpoint: &Checkpoint) -> Result<Writer, Error> {
    let (mut edge, mut files) = (Edge::default(), LiveFiles::default());
    let (mut tail, mut wrong) = (Vec::new(), Vec::new());
    while let Some(bundle) = Tile::of(What::Entries, edge.size(), checkpoint.size) {
        let entries = disk.bundle(&bundle)?;
        for bytes in &entries {
            let entry = Entry::decode(bytes).map_err(|error| unreadable(files.next(), &error))?;
            files.apply(&entry).map_err(|error| refused(error, "the log contradicts itself"))?;
        }
        let leaves: Vec<Hash> = entries.iter().map(|entry| leaf_hash(entry)).collect();
        for (tile, hashes) in edge.grow(&leaves).into_iter().filter(|(tile, _)| tile.is_full()) {
            wrong.extend(unlike(disk, &tile, &hashes)?);
            disk.remove_narrower(&tile)?;
        }
        if bundle.is_full() {
            disk.remove_narrower(&bundle)?;
        } else {
            for entry in &entries {
                tile::push_entry(&mut tail, entry);
            }
        }
    }
    if edge.root() != checkpoint.root {
        return Err(refused("its entries do not lead to the root that its checkpoint has", "the log is damaged"));
    }
    disk.sweep(checkpoint.size)?;
    for (tile, hashes) in partial(&edge) {
        wrong.extend(unlike(disk, &tile, &hashes)?);
    }
    if let Some(bundle) = Tile::of(What::Entries, checkpoint.size.saturating_sub(1), checkpoint.size)
        && !bundle.is_full()
        && disk.tile(&bundle)?.as_ref() != Some(&tail)
    {
        wrong.push((bundle, tail.clone()));
    }
    for (tile, bytes) in wrong {
        tracing::warn!(tile = %tile, "a tile of the log was damaged, and is written anew from the entries");
        disk.write_tile(&tile, &bytes)?;
    }
    Ok(Writer { edge, tail, files, stopped: None })
}

/// The same without changing anything: what the entries say, and their bytes.
pub(crate) fn look(disk: &LogFiles, checkpoint: &Checkpoint) -> Result<(LiveFiles, Vec<Vec<u8>>), Error> {
    let (mut edge, mut files, mut all) = (Edge::default(), LiveFiles::default(), Vec::new());
    while let Some(bundle) = Tile::of(What::Entries, edge.size(), checkpoint.size) {
        let entries = disk.bundle(&bundle)?;
        for bytes in &entries {
            let entry = Entry::decode(bytes).map_err(|error| unreadable(files.next(), &error))?;
            files.apply(&entry).map_err(|error| refused(error, "the log contradicts itself"))?;
        }
        let leaves: Vec<Hash> = entries.iter().map(|entry| leaf_hash(entry)).collect();
        edge.grow(&leaves);
        all.extend(entries);
    }
    if edge.root() != checkpoint.root {
        return Err(refused("its entries do not lead to the root that its checkpoint has", "the log is damaged"));
    }
    Ok((files, all))
}

/// The last tile of each level that is not full.
fn partial(edge: &Edge) -> Vec<(Tile, Vec<Hash>)> {
    let mut tiles = Vec::new();
    for (level, hashes) in (0_u8..).zip(edge.levels()).filter(|(_, hashes)| !hashes.is_empty()) {
        let index = (edge.size() >> (8 * u32::from(level))) / WIDTH;
        tiles.push((Tile::hashes(level, index, hashes.len() as u16), hashes.clone()));
    }
    tiles
}

/// What a tile ought to be, if it is not.
fn unlike(disk: &LogFiles, tile: &Tile, hashes: &[Hash]) -> Result<Option<(Tile, Vec<u8>)>, Error> {
    let bytes = tile::hashes_to_bytes(hashes);
    let there = disk.tile(tile)?;
    Ok((there.as_deref() != Some(&bytes)).then_some((*tile, bytes)))
}

fn unreadable(number: u64, why: &dyn std::fmt::Display) -> Error {
    let what = format!("entry {number} of the log cannot be read");
    let mend = "start the version of candor that wrote it, or restore the folder `log` from a backup";
    Error::new(Kind::Data, what, why, mend)
}
