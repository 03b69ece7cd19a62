//! Merkle trees as RFC 6962 hashes them (section 2.1): roots, inclusion paths of a few leaves, and proofs of neighbours.

use std::ops::Range;

use crate::sha256::{of_hashes, of_pair};

/// A hash of a leaf or a node.
pub type Hash = [u8; 32];

/// Longest path that can be: a tree of 2^63 leaves.
pub const MOST_PATH: usize = 63;

/// Hash of a leaf: SHA-256(0x00 ‖ entry).
#[must_use]
pub fn leaf_hash(entry: &[u8]) -> Hash {
    of_pair(&[0], entry)
}

/// Hash of an inner node: SHA-256(0x01 ‖ left ‖ right).
#[must_use]
pub fn node_hash(left: &Hash, right: &Hash) -> Hash {
    of_hashes(1, left, right)
}

/// Root of a tree with these leaf hashes; SHA-256 of nothing for none.
#[must_use]
pub fn root(leaves: &[Hash]) -> Hash {
    match leaves {
        [] => of_pair(&[], &[]),
        [leaf] => *leaf,
        _ => {
            let (left, right) = leaves.split_at(split(leaves.len()));
            node_hash(&root(left), &root(right))
        }
    }
}

/// Inclusion path of leaf number `index`, from the leaf up; empty if there is no such leaf, or no other.
#[must_use]
pub fn path(leaves: &[Hash], index: usize) -> Vec<Hash> {
    if leaves.len() < 2 || index >= leaves.len() {
        return Vec::new();
    }
    let at = split(leaves.len());
    let (left, right) = leaves.split_at(at);
    let (mut below, beside) =
        if index < at { (path(left, index), root(right)) } else { (path(right, index - at), root(left)) };
    below.push(beside);
    below
}

/// Inclusion paths of all leaves, in order, and the root: one hash for each inner node.
#[must_use]
pub fn paths(leaves: &[Hash]) -> (Vec<Vec<Hash>>, Hash) {
    let mut paths = vec![Vec::new(); leaves.len()];
    let mut level = leaves.to_vec();
    let mut height = 0;
    while level.len() > 1 {
        for (index, path) in paths.iter_mut().enumerate() {
            // The last of an odd number has nobody beside it and moves up as it is.
            path.extend(level.get((index >> height) ^ 1));
        }
        level = above(&level);
        height += 1;
    }
    (paths, level.first().copied().unwrap_or_else(|| root(&[])))
}

/// The nodes above those of a level: the last of an odd number moves up as it is.
#[must_use]
pub fn above(level: &[Hash]) -> Vec<Hash> {
    let pairs = level.chunks(2).map(|pair| match pair {
        [left, right] => node_hash(left, right),
        alone => alone[0],
    });
    pairs.collect()
}

/// A tree that grows leaf by leaf and keeps no more than its edge.
#[derive(Clone, Debug, Default)]
pub struct Frontier {
    size: u64,
    /// Roots of the whole subtrees, the largest first.
    peaks: Vec<Hash>,
}

impl Frontier {
    /// Adds the hash of the next leaf.
    pub fn push(&mut self, leaf: Hash) {
        let mut hash = leaf;
        for _ in 0..self.size.trailing_ones() {
            if let Some(left) = self.peaks.pop() {
                hash = node_hash(&left, &hash);
            }
        }
        self.peaks.push(hash);
        self.size += 1;
    }

    /// How many leaves there are.
    #[must_use]
    pub const fn size(&self) -> u64 {
        self.size
    }

    /// The root, as [`root`] has it.
    #[must_use]
    pub fn root(&self) -> Hash {
        let tree = self.peaks.iter().rev().copied().reduce(|right, left| node_hash(&left, &right));
        tree.unwrap_or_else(|| root(&[]))
    }
}

/// The root that a path leads to from a leaf, or none if the path has another length than the place asks for
/// (RFC 9162, section 2.1.3.2).
#[must_use]
pub fn root_of_path(leaf: Hash, index: u64, size: u64, path: &[Hash]) -> Option<Hash> {
    if index >= size {
        return None;
    }
    let (mut node, mut last, mut hash) = (index, size - 1, leaf);
    for beside in path {
        if last == 0 {
            return None;
        }
        if node & 1 == 1 || node == last {
            hash = node_hash(beside, &hash);
            while node & 1 == 0 && node != 0 {
                node >>= 1;
                last >>= 1;
            }
        } else {
            hash = node_hash(&hash, beside);
        }
        node >>= 1;
        last >>= 1;
    }
    (last == 0).then_some(hash)
}

/// The subtrees, from left to right, whose hashes lead from the leaves of a range to the root of a tree with `size` leaves:
/// what stands beside the range. For neighbours it is hardly more than the path of one leaf.
#[must_use]
pub fn beside(range: &Range<u64>, size: u64) -> Vec<Range<u64>> {
    let mut found = Vec::new();
    if size > 0 {
        add_beside(range, 0..size, &mut found);
    }
    found
}

fn add_beside(range: &Range<u64>, tree: Range<u64>, found: &mut Vec<Range<u64>>) {
    if tree.end <= range.start || range.end <= tree.start {
        return found.push(tree);
    }
    if tree.end - tree.start > 1 {
        let middle = middle(&tree);
        add_beside(range, tree.start..middle, found);
        add_beside(range, middle..tree.end, found);
    }
}

/// The root that leaves from number `first` on lead to with the hashes of the subtrees [`beside`] them; none if there are more
/// or fewer than it takes.
#[must_use]
pub fn root_of_range(first: u64, leaves: &[Hash], size: u64, beside: &[Hash]) -> Option<Hash> {
    let range = first..first.checked_add(leaves.len() as u64).filter(|end| *end <= size && !leaves.is_empty())?;
    let (mut leaves, mut beside) = (leaves.iter(), beside.iter());
    let root = range_root(&range, 0..size, &mut leaves, &mut beside)?;
    (leaves.len() == 0 && beside.len() == 0).then_some(root)
}

fn range_root<'a>(
    range: &Range<u64>,
    tree: Range<u64>,
    leaves: &mut impl Iterator<Item = &'a Hash>,
    beside: &mut impl Iterator<Item = &'a Hash>,
) -> Option<Hash> {
    if tree.end <= range.start || range.end <= tree.start {
        return beside.next().copied();
    }
    if tree.end - tree.start == 1 {
        return leaves.next().copied();
    }
    let middle = middle(&tree);
    let left = range_root(range, tree.start..middle, leaves, beside)?;
    let right = range_root(range, middle..tree.end, leaves, beside)?;
    Some(node_hash(&left, &right))
}

/// Where a subtree of at least two leaves parts.
const fn middle(tree: &Range<u64>) -> u64 {
    // The largest power of two below the number of leaves.
    tree.start + (1 << (tree.end - tree.start - 1).ilog2())
}

/// The largest power of two below `count`, which is at least 2.
const fn split(count: usize) -> usize {
    count.next_power_of_two() / 2
}

#[cfg(test)]
mod tests {
    use candor_policy::hex;

    use super::*;

    /// Entries and roots of the tests of Certificate Transparency (google/certificate-transparency, `merkle_tree_test`).
    const ENTRIES: [&str; 8] =
        ["", "00", "10", "2021", "3031", "40414243", "5051525354555657", "606162636465666768696a6b6c6d6e6f"];
    const ROOTS: [&str; 8] = [
        "6e340b9cffb37a989ca544e6bb780a2c78901d3fb33738768511a30617afa01d",
        "fac54203e7cc696cf0dfcb42c92a1d9dbaf70ad9e621f4bd8d98662f00e3c125",
        "aeb6bcfe274b70a14fb067a5e5578264db0fa9b51af5e0ba159158f329e06e77",
        "d37ee418976dd95753c1c73862b9398fa2a2cf9b4ff0fdfe8b30cd95209614b7",
        "4e3bbb1f7b478dcfe71fb631631519a3bca12c9aefca1612bfce4c13a86264d4",
        "76e67dadbcdf1e10e1b74ddc608abd2f98dfb16fbce75277b5232a127f2087ef",
        "ddb89be403809e325750d3d263cd78929c2942b7942a34b77e122c9594a74c8c",
        "5dc9da79a70659a9ad559cb701ded9a2ab9d823aad2f4960cfe370eff4604328",
    ];

    fn leaves() -> Vec<Hash> {
        ENTRIES.iter().map(|entry| leaf_hash(&hex::decode(entry).unwrap())).collect()
    }

    #[test]
    fn roots_are_those_of_certificate_transparency() {
        for (count, expected) in (1..).zip(ROOTS) {
            assert_eq!(hex::encode(&root(&leaves()[..count])), expected, "{count} leaves");
        }
        assert_eq!(hex::encode(&root(&[])), "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855");
    }

    #[test]
    fn every_path_leads_to_the_root_and_to_no_other_place() {
        let all: Vec<Hash> = (0_u8..33).map(|n| leaf_hash(&[n])).collect();
        for size in 1..=all.len() {
            let leaves = &all[..size];
            let every: Vec<_> = (0..size).map(|index| path(leaves, index)).collect();
            assert_eq!(paths(leaves), (every, root(leaves)));
            let mut frontier = Frontier::default();
            for leaf in leaves {
                frontier.push(*leaf);
            }
            assert_eq!((frontier.size(), frontier.root()), (size as u64, root(leaves)));
            for index in 0..size {
                let path = path(leaves, index);
                let lead = |index: usize, size: usize, path: &[Hash]| {
                    root_of_path(leaves[index.min(leaves.len() - 1)], index as u64, size as u64, path)
                };
                assert_eq!(lead(index, size, &path), Some(root(leaves)), "{index} of {size}");
                for other in (0..size).filter(|other| *other != index) {
                    assert_ne!(root_of_path(leaves[index], other as u64, size as u64, &path), Some(root(leaves)));
                }
                assert_eq!(lead(index, size, &[path.clone(), vec![[0; 32]]].concat()), None, "longer");
                if !path.is_empty() {
                    assert_eq!(lead(index, size, &path[1..]), None, "shorter");
                }
            }
            assert_eq!(root_of_path(leaves[0], size as u64, size as u64, &[]), None);
        }
    }

    #[test]
    fn neighbours_lead_to_the_root_with_what_is_beside_them_and_nothing_else() {
        let all: Vec<Hash> = (0_u8..33).map(|n| leaf_hash(&[n])).collect();
        for size in 1..=all.len() {
            let leaves = &all[..size];
            for (first, count) in (0..size).flat_map(|first| [(first, 1), (first, 2)]).filter(|(f, c)| f + c <= size) {
                let range = first as u64..(first + count) as u64;
                let hashes: Vec<Hash> = beside(&range, size as u64)
                    .into_iter()
                    .map(|tree| root(&leaves[tree.start as usize..tree.end as usize]))
                    .collect();
                let lead = |first: usize, size: usize, hashes: &[Hash]| {
                    root_of_range(first as u64, &leaves[first..first + count], size as u64, hashes)
                };
                assert_eq!(lead(first, size, &hashes), Some(root(leaves)), "{count} from {first} of {size}");
                assert_eq!(lead(first, size, &[hashes.clone(), vec![[0; 32]]].concat()), None, "longer");
                if !hashes.is_empty() {
                    assert_eq!(lead(first, size, &hashes[1..]), None, "shorter");
                }
                for other in (0..=size - count).filter(|other| *other != first) {
                    let moved = root_of_range(other as u64, &leaves[first..first + count], size as u64, &hashes);
                    assert_ne!(moved, Some(root(leaves)), "{first} as {other} of {size}");
                }
            }
            assert_eq!(root_of_range(0, &[], size as u64, &[root(leaves)]), None);
            assert_eq!(root_of_range(size as u64, &leaves[..1], size as u64, &[root(leaves)]), None);
            assert_eq!(root_of_range(u64::MAX, &leaves[..1], u64::MAX, &[]), None);
        }
        assert!(beside(&(0..2), u64::MAX).len() < 2 * MOST_PATH);
    }
}
