//! Proofs of inclusion and of consistency: made from the hashes of full subtrees, checked as RFC 9162 says.

use crate::log::tile::{Tile, WIDTH, What};
use crate::merkle::{self, Hash, node_hash};

/// Where the hashes of full subtrees are read.
pub trait Hashes {
    /// Why one cannot be read.
    type Error;

    /// Root of the 2^`level` leaves from leaf `index` · 2^`level` on.
    ///
    /// # Errors
    /// If it cannot be read.
    fn hash(&self, level: u32, index: u64) -> Result<Hash, Self::Error>;
}

/// The hashes of a tree of a size that is kept in tiles.
#[derive(Clone, Debug)]
pub struct OfTiles<F> {
    size: u64,
    read: F,
}

impl<F> OfTiles<F> {
    /// A tree of this size; `read` gives the hashes of a tile, as many as it is wide, or an error.
    pub const fn new(size: u64, read: F) -> Self {
        Self { size, read }
    }
}

impl<E: From<Missing>, F: Fn(&Tile) -> Result<Vec<Hash>, E>> Hashes for OfTiles<F> {
    type Error = E;

    fn hash(&self, level: u32, index: u64) -> Result<Hash, E> {
        let (tile_level, height) = (level / 8, level % 8);
        let first = index.checked_shl(height).ok_or(Missing)?;
        let tile = u8::try_from(tile_level).ok().and_then(|level| Tile::of(What::Hashes(level), first, self.size));
        let hashes = (self.read)(&tile.ok_or(Missing)?)?;
        let from = (first % WIDTH) as usize;
        let below = hashes.get(from..from + (1 << height)).ok_or(Missing)?;
        Ok(merkle::root(below))
    }
}

/// A tree does not have what was asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the tree is smaller than what was asked for")]
pub struct Missing;

/// Root of the first `size` leaves.
///
/// # Errors
/// What reading hashes gives.
pub fn root<H: Hashes>(hashes: &H, size: u64) -> Result<Hash, H::Error> {
    if size == 0 { Ok(merkle::root(&[])) } else { subtree(hashes, 0, size) }
}

/// Inclusion path of leaf number `index` in the tree of `size` leaves, from the leaf up (RFC 9162, section 2.1.3.1).
///
/// # Errors
/// [`Missing`] if there is no such leaf; what reading hashes gives.
pub fn inclusion<H: Hashes>(hashes: &H, index: u64, size: u64) -> Result<Vec<Hash>, H::Error>
where
    H::Error: From<Missing>,
{
    if index >= size {
        return Err(Missing.into());
    }
    let (mut from, mut to, mut path) = (0, size, Vec::new());
    while to - from > 1 {
        let middle = from + split(to - from);
        if index < middle {
            path.push(subtree(hashes, middle, to)?);
            to = middle;
        } else {
            path.push(subtree(hashes, from, middle)?);
            from = middle;
        }
    }
    path.reverse();
    Ok(path)
}

/// What shows that the tree of `old` leaves is the beginning of that of `new` leaves (RFC 9162, section 2.1.4.1); empty if one
/// of them is empty or both are as large.
///
/// # Errors
/// [`Missing`] if `old` is the larger; what reading hashes gives.
pub fn consistency<H: Hashes>(hashes: &H, old: u64, new: u64) -> Result<Vec<Hash>, H::Error>
where
    H::Error: From<Missing>,
{
    if old > new {
        return Err(Missing.into());
    }
    let (mut from, mut to, mut path) = (0, new, Vec::new());
    if old == 0 {
        return Ok(path);
    }
    while to != old {
        let middle = from + split(to - from);
        if old <= middle {
            path.push(subtree(hashes, middle, to)?);
            to = middle;
        } else {
            path.push(subtree(hashes, from, middle)?);
            from = middle;
        }
    }
    // Whoever checks knows the old root, which is this one where nothing is left of it.
    if from > 0 {
        path.push(subtree(hashes, from, to)?);
    }
    path.reverse();
    Ok(path)
}

/// Whether a path shows that the tree with this root has this leaf at this place (RFC 9162, section 2.1.3.2).
#[must_use]
pub fn is_included(leaf: Hash, index: u64, (size, root): (u64, &Hash), path: &[Hash]) -> bool {
    merkle::root_of_path(leaf, index, size, path).as_ref() == Some(root)
}

/// Whether a path shows that one tree is the beginning of another (RFC 9162, section 2.1.4.2). The empty tree is the beginning of
/// each, and has the root of no leaves.
#[must_use]
pub fn is_consistent((old, old_root): (u64, &Hash), (new, new_root): (u64, &Hash), path: &[Hash]) -> bool {
    if old == 0 {
        return path.is_empty() && *old_root == merkle::root(&[]) && (new > 0 || old_root == new_root);
    }
    if old >= new {
        return old == new && path.is_empty() && old_root == new_root;
    }
    let (mut node, mut last) = (old - 1, new - 1);
    let full = node.trailing_ones();
    (node, last) = (node >> full, last >> full);
    // Where the old tree is full it is a subtree of the new one, and its root begins both ways.
    let (start, rest) = if node == 0 {
        (*old_root, path)
    } else {
        let Some((first, rest)) = path.split_first() else { return false };
        (*first, rest)
    };
    let (mut of_old, mut of_new) = (start, start);
    for beside in rest {
        if last == 0 {
            return false;
        }
        if node & 1 == 1 || node == last {
            of_old = node_hash(beside, &of_old);
            of_new = node_hash(beside, &of_new);
            while node & 1 == 0 && node != 0 {
                (node, last) = (node >> 1, last >> 1);
            }
        } else {
            of_new = node_hash(&of_new, beside);
        }
        (node, last) = (node >> 1, last >> 1);
    }
    last == 0 && of_old == *old_root && of_new == *new_root
}

/// Root of the leaves from `from` up to `to`, where `from` is a multiple of a power of two that is not below their number.
fn subtree<H: Hashes>(hashes: &H, from: u64, to: u64) -> Result<Hash, H::Error> {
    let (mut at, mut full) = (from, Vec::new());
    while at < to {
        let level = (to - at).ilog2();
        full.push(hashes.hash(level, at >> level)?);
        at += 1 << level;
    }
    let folded = full.into_iter().rev().reduce(|right, left| node_hash(&left, &right));
    Ok(folded.unwrap_or_else(|| merkle::root(&[])))
}

/// The largest power of two below `count`, which is at least 2 and at most 2^63.
const fn split(count: u64) -> u64 {
    1 << (count - 1).ilog2()
}
