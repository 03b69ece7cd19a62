//! Following a log from outside: which tiles have to be fetched, and whether what was fetched holds. Whoever calls fetches, until
//! nothing is needed any more.

use std::collections::HashMap;

use crate::log::checkpoint::Checkpoint;
use crate::log::entry::{Entry, EntryError};
use crate::log::proof::{self, Missing, OfTiles};
use crate::log::tile::{self, Tile, WIDTH, What};
use crate::merkle::{Hash, leaf_hash};

/// A log at one of its checkpoints, and the tiles of it that were fetched.
#[derive(Clone, Debug)]
pub struct Followed {
    checkpoint: Checkpoint,
    tiles: HashMap<Tile, Vec<Hash>>,
}

/// Why there is no answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Need {
    /// This tile is to be fetched first.
    Tile(Tile),
    /// There can be none: the log is smaller than what is asked for.
    Nothing,
}

/// What is wrong with entries that were fetched.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Wrong {
    /// They are not those that the checkpoint covers.
    #[error("entries {0} and on are not those that the checkpoint covers")]
    Unproved(u64),
    /// One of them cannot be read.
    #[error("entry {0} cannot be read: {1}")]
    Entry(u64, EntryError),
}

impl From<Missing> for Need {
    fn from(_: Missing) -> Self {
        Self::Nothing
    }
}

impl Followed {
    /// A log at this checkpoint.
    #[must_use]
    pub fn new(checkpoint: Checkpoint) -> Self {
        Self { checkpoint, tiles: HashMap::new() }
    }

    /// The checkpoint.
    #[must_use]
    pub const fn checkpoint(&self) -> &Checkpoint {
        &self.checkpoint
    }

    /// Takes a tile that was fetched; false if it is not as wide as its name says.
    pub fn put(&mut self, tile: Tile, bytes: &[u8]) -> bool {
        let hashes = tile::hashes_of_bytes(bytes, tile.width());
        hashes.is_some_and(|hashes| {
            self.tiles.insert(tile, hashes);
            true
        })
    }

    /// Whether it extends what was seen of it before, which is smaller or as large.
    ///
    /// # Errors
    /// What is to be fetched.
    pub fn extends(&self, before: &Checkpoint) -> Result<bool, Need> {
        let (old, new) = ((before.size, &before.root), (self.checkpoint.size, &self.checkpoint.root));
        let path = proof::consistency(&self.hashes(), old.0, new.0)?;
        Ok(proof::is_consistent(old, new, &path))
    }

    /// The bundle that entry `number` is in, and the number of its first entry.
    ///
    /// # Errors
    /// If there is no such entry.
    pub fn bundle_of(&self, number: u64) -> Result<(Tile, u64), Need> {
        let bundle = Tile::of(What::Entries, number, self.checkpoint.size).ok_or(Need::Nothing)?;
        Ok((bundle, bundle.index() * WIDTH))
    }

    /// The entries of a bundle, if the checkpoint covers each of them.
    ///
    /// # Errors
    /// What is to be fetched.
    pub fn entries(&self, bundle: &Tile, bytes: &[u8]) -> Result<Result<Vec<Entry>, Wrong>, Need> {
        let first = bundle.index().saturating_mul(WIDTH);
        let tile = Tile::of(What::Hashes(0), first, self.checkpoint.size).ok_or(Need::Nothing)?;
        let Some(entries) = tile::entries_of_bytes(bytes, tile.width()) else { return Ok(Err(Wrong::Unproved(first))) };
        let leaves: Vec<Hash> = entries.iter().map(|entry| leaf_hash(entry)).collect();
        // The path of one leaf is made of all others of its tile: it holds for none if one of them is another.
        let path = proof::inclusion(&self.hashes(), first, self.checkpoint.size)?;
        let root = (self.checkpoint.size, &self.checkpoint.root);
        let is_covered = proof::is_included(self.read(&tile)?[0], first, root, &path);
        if !is_covered || self.read(&tile)? != leaves {
            return Ok(Err(Wrong::Unproved(first)));
        }
        let read = (first..)
            .zip(entries)
            .map(|(number, entry)| Entry::decode(entry).map_err(|error| Wrong::Entry(number, error)));
        Ok(read.collect())
    }

    fn read(&self, tile: &Tile) -> Result<Vec<Hash>, Need> {
        self.tiles.get(tile).cloned().ok_or(Need::Tile(*tile))
    }

    fn hashes(&self) -> OfTiles<impl Fn(&Tile) -> Result<Vec<Hash>, Need>> {
        OfTiles::new(self.checkpoint.size, |tile: &Tile| self.read(tile))
    }
}
