//! Trees in memory, the plain way.

use std::collections::HashMap;
use std::convert::Infallible;

use candor_wire::log::edge::EdgeError;
use candor_wire::log::proof::{Hashes, Missing};
use candor_wire::log::tile::Tile;
use candor_wire::merkle::{self, Hash, leaf_hash};

/// Leaves that tell their number.
pub(crate) fn leaves(count: u64) -> Vec<Hash> {
    (0..count).map(|n| leaf_hash(&n.to_be_bytes())).collect()
}

/// A tree that hashes everything anew.
pub(crate) struct Plain<'a>(pub(crate) &'a [Hash]);

#[derive(Debug, PartialEq, Eq)]
pub(crate) enum NotThere {
    Width,
    Small,
    Tile(Tile),
}

impl From<EdgeError> for NotThere {
    fn from(_: EdgeError) -> Self {
        Self::Width
    }
}

impl From<Missing> for NotThere {
    fn from(_: Missing) -> Self {
        Self::Small
    }
}

impl From<Infallible> for NotThere {
    fn from(never: Infallible) -> Self {
        match never {}
    }
}

impl Hashes for Plain<'_> {
    type Error = NotThere;

    fn hash(&self, level: u32, index: u64) -> Result<Hash, NotThere> {
        let from = (index << level) as usize;
        self.0.get(from..from + (1 << level)).map(merkle::root).ok_or(NotThere::Small)
    }
}

/// Tiles as a store keeps them: every width that there ever was.
#[derive(Default)]
pub(crate) struct Tiles(pub(crate) HashMap<Tile, Vec<Hash>>);

impl Tiles {
    pub(crate) fn read(&self, tile: &Tile) -> Result<Vec<Hash>, NotThere> {
        self.0.get(tile).cloned().ok_or(NotThere::Tile(*tile))
    }
}
