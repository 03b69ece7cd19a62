//! The right edge of a tree in tiles: all that growing it needs, at most 255 hashes a level.

use crate::log::tile::{Tile, WIDTH};
use crate::merkle::{self, Hash};

/// The hashes of the last tile of each level that is not full yet.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Edge {
    size: u64,
    levels: Vec<Vec<Hash>>,
}

impl Edge {
    /// The edge of a tree of this size, whose tiles are read by `read`.
    ///
    /// # Errors
    /// What `read` gives, or [`EdgeError::Width`] made into it for a tile of another width than asked for.
    pub fn read<E: From<EdgeError>>(size: u64, mut read: impl FnMut(&Tile) -> Result<Vec<Hash>, E>) -> Result<Self, E> {
        let mut levels = Vec::new();
        let (mut level, mut nodes) = (0_u8, size);
        while nodes > 0 {
            let width = nodes % WIDTH;
            let mut hashes = Vec::new();
            if width > 0 {
                hashes = read(&Tile::hashes(level, nodes / WIDTH, width as u16))?;
                if hashes.len() as u64 != width {
                    return Err(EdgeError::Width.into());
                }
            }
            levels.push(hashes);
            nodes /= WIDTH;
            level += 1;
        }
        Ok(Self { size, levels })
    }

    /// Leaves in the tree.
    #[must_use]
    pub const fn size(&self) -> u64 {
        self.size
    }

    /// The hashes of the last tile of each level that is not full, from the leaves up.
    #[must_use]
    pub fn levels(&self) -> &[Vec<Hash>] {
        &self.levels
    }

    /// Root of the tree.
    #[must_use]
    pub fn root(&self) -> Hash {
        // What is right of the last full tile is the last child of the level above, however small it is.
        let mut right: Option<Hash> = None;
        for hashes in &self.levels {
            let mut children = hashes.clone();
            children.extend(right);
            right = (!children.is_empty()).then(|| merkle::root(&children));
        }
        right.unwrap_or_else(|| merkle::root(&[]))
    }

    /// Adds leaves; returns every tile of hashes that they change, lower levels first: those that became full, and the last of
    /// each level as it is now.
    pub fn grow(&mut self, leaves: &[Hash]) -> Vec<(Tile, Vec<Hash>)> {
        let (mut changed, mut added) = (Vec::new(), leaves.to_vec());
        let (mut level, mut before) = (0_u8, self.size);
        while !added.is_empty() {
            if self.levels.len() == usize::from(level) {
                self.levels.push(Vec::new());
            }
            let (mut index, hashes) = (before / WIDTH, &mut self.levels[usize::from(level)]);
            let mut above = Vec::new();
            for hash in added {
                hashes.push(hash);
                if hashes.len() as u64 == WIDTH {
                    above.push(merkle::root(hashes));
                    changed.push((Tile::hashes(level, index, WIDTH as u16), std::mem::take(hashes)));
                    index += 1;
                }
            }
            if !hashes.is_empty() {
                changed.push((Tile::hashes(level, index, hashes.len() as u16), hashes.clone()));
            }
            (added, before, level) = (above, before / WIDTH, level + 1);
        }
        self.size += leaves.len() as u64;
        changed
    }
}

/// Why there is no edge.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum EdgeError {
    /// A tile that is shorter or longer.
    #[error("a tile has another width than the size of the tree asks for")]
    Width,
}
