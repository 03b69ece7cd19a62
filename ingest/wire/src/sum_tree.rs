//! Merkle-sum trees over the receipts of an epoch: whoever holds a receipt can show that its counts are in the logged totals.
//!
//! `docs/FORMAT.md`, "Totals of an epoch", fixes each byte. Each node holds the sums of what is below it, and its hash covers them:
//! no receipt can be left out of the sums without a path that breaks. (Summation trees: Maxwell and Todd, 2013, with the sums of
//! both children in each hash, as Chalkias and others, "Distributed Auditing Proofs of Liabilities", 2020, ask.)

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

use crate::merkle::{Hash, MOST_PATH, leaf_hash};
use crate::receipt::{PurposeReceipt, Receipt};

/// Beyond this JSON has no integers (RFC 8785 goes by IEEE 754 doubles).
const MOST: u64 = 1 << 53;

/// By purpose: what was offered, stored and dropped.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Sums(BTreeMap<String, PurposeSums>);

/// What one purpose was offered: offered = stored + dropped.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct PurposeSums {
    /// Records that were not stored, by reason.
    pub dropped: BTreeMap<String, u64>,
    /// Records.
    pub offered: u64,
    /// Records stored.
    pub stored: u64,
}

/// A leaf or an inner node: a hash, and the sums that it covers.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Node {
    /// SHA-256, hex.
    #[serde(with = "candor_policy::hex::bytes32")]
    pub hash: Hash,
    /// What is below it.
    pub sums: Sums,
}

/// The way from a leaf to the root: the nodes beside it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SumPath {
    /// Place of the leaf.
    pub index: u64,
    /// Leaves of the tree.
    pub size: u64,
    /// From the leaf up.
    pub beside: Vec<Node>,
}

/// The sums are beyond 2^53, or cannot be encoded.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("sums of receipts are beyond what can be counted")]
pub struct TooMuch;

impl Sums {
    /// The sums of one receipt.
    #[must_use]
    pub fn of_receipt(receipt: &Receipt) -> Self {
        let of = |purpose: &PurposeReceipt| PurposeSums {
            dropped: purpose.dropped.clone(),
            offered: purpose.offered,
            stored: purpose.stored,
        };
        Self(receipt.purposes.iter().map(|(name, purpose)| (name.clone(), of(purpose))).collect())
    }

    /// By purpose, in the order of names.
    pub fn purposes(&self) -> impl Iterator<Item = (&str, &PurposeSums)> {
        self.0.iter().map(|(name, sums)| (name.as_str(), sums))
    }

    /// What one purpose was offered, if anything.
    #[must_use]
    pub fn purpose(&self, name: &str) -> Option<&PurposeSums> {
        self.0.get(name)
    }

    /// Adds the counts of a purpose.
    ///
    /// # Errors
    /// [`TooMuch`]; what was added before stays.
    pub fn add_purpose(&mut self, name: &str, more: &PurposeSums) -> Result<(), TooMuch> {
        let sums = self.0.entry(name.to_owned()).or_default();
        add(&mut sums.offered, more.offered)?;
        add(&mut sums.stored, more.stored)?;
        more.dropped
            .iter()
            .try_for_each(|(reason, records)| add(sums.dropped.entry(reason.clone()).or_default(), *records))
    }

    /// The sums of both.
    ///
    /// # Errors
    /// [`TooMuch`].
    pub fn plus(&self, other: &Self) -> Result<Self, TooMuch> {
        let mut sums = self.clone();
        other.purposes().try_for_each(|(name, more)| sums.add_purpose(name, more))?;
        Ok(sums)
    }

    /// Whether each count of `self` is at most that of `other`, and none is that `other` does not have.
    #[must_use]
    pub fn is_within(&self, other: &Self) -> bool {
        self.purposes().all(|(name, mine)| {
            other.purpose(name).is_some_and(|theirs| {
                let at_most =
                    |(reason, records): (&String, &u64)| *records <= theirs.dropped.get(reason).copied().unwrap_or(0);
                mine.offered <= theirs.offered && mine.stored <= theirs.stored && mine.dropped.iter().all(at_most)
            })
        })
    }

    /// `u32be length ‖ RFC 8785 JSON`.
    fn update(&self, hash: &mut Sha256) -> Result<(), TooMuch> {
        let json = serde_json_canonicalizer::to_vec(self).map_err(|_| TooMuch)?;
        hash.update(u32::try_from(json.len()).map_err(|_| TooMuch)?.to_be_bytes());
        hash.update(json);
        Ok(())
    }
}

impl Node {
    /// The leaf of a receipt: SHA-256(0x00 ‖ the receipt's own leaf hash ‖ sums).
    ///
    /// # Errors
    /// [`TooMuch`].
    pub fn of_receipt(receipt: &Receipt) -> Result<Self, TooMuch> {
        let json = receipt.to_json().map_err(|_| TooMuch)?;
        let sums = Sums::of_receipt(receipt);
        let mut hash = Sha256::new_with_prefix([0]);
        hash.update(leaf_hash(json.as_bytes()));
        sums.update(&mut hash)?;
        Ok(Self { hash: hash.finalize().into(), sums })
    }

    /// The node above two: SHA-256(0x01 ‖ left hash ‖ left sums ‖ right hash ‖ right sums).
    ///
    /// # Errors
    /// [`TooMuch`].
    pub fn above(left: &Self, right: &Self) -> Result<Self, TooMuch> {
        let mut hash = Sha256::new_with_prefix([1]);
        for node in [left, right] {
            hash.update(node.hash);
            node.sums.update(&mut hash)?;
        }
        Ok(Self { hash: hash.finalize().into(), sums: left.sums.plus(&right.sums)? })
    }

    /// What the log holds of the root: SHA-256(0x02 ‖ hash ‖ sums), so that the root's own sums are covered too.
    ///
    /// # Errors
    /// [`TooMuch`].
    pub fn commitment(&self) -> Result<Hash, TooMuch> {
        let mut hash = Sha256::new_with_prefix([2]);
        hash.update(self.hash);
        self.sums.update(&mut hash)?;
        Ok(hash.finalize().into())
    }

    /// The root of a tree without leaves.
    #[must_use]
    pub fn empty() -> Self {
        Self { hash: Sha256::digest([]).into(), sums: Sums::default() }
    }
}

/// The root of a tree; its shape is that of RFC 6962. Leaves come in ascending order of their hashes; one node a level is kept.
///
/// # Errors
/// [`TooMuch`].
pub fn root(leaves: impl IntoIterator<Item = Result<Node, TooMuch>>) -> Result<Node, TooMuch> {
    // Whole subtrees that wait for the one on their right, largest first, with the number of their leaves.
    let mut waiting: Vec<(u64, Node)> = Vec::new();
    for leaf in leaves {
        let (mut count, mut node) = (1, leaf?);
        while let Some((_, left)) = waiting.pop_if(|(of_left, _)| *of_left == count) {
            node = Node::above(&left, &node)?;
            count *= 2;
        }
        waiting.push((count, node));
    }
    let mut right = None;
    while let Some((_, left)) = waiting.pop() {
        right = Some(right.map_or_else(|| Ok(left.clone()), |right| Node::above(&left, &right))?);
    }
    Ok(right.unwrap_or_else(Node::empty))
}

/// The path of leaf number `index`; none if there is no such leaf.
///
/// # Errors
/// [`TooMuch`].
pub fn path(leaves: &[Node], index: usize) -> Result<Option<SumPath>, TooMuch> {
    if index >= leaves.len() {
        return Ok(None);
    }
    let levels = levels(leaves)?;
    // The last of an odd number has nobody beside it and moves up as it is.
    let beside =
        levels.iter().enumerate().filter_map(|(height, level)| level.get((index >> height) ^ 1).cloned()).collect();
    Ok(Some(SumPath { index: index as u64, size: leaves.len() as u64, beside }))
}

impl SumPath {
    /// The root that the path leads to from a leaf; none if it has another length than the place asks for, or sums too much.
    #[must_use]
    pub fn root(&self, leaf: &Node) -> Option<Node> {
        if self.index >= self.size || self.beside.len() > MOST_PATH {
            return None;
        }
        let (mut at, mut last, mut node) = (self.index, self.size - 1, leaf.clone());
        let mut beside = self.beside.iter();
        while last > 0 {
            if at & 1 == 1 {
                node = Node::above(beside.next()?, &node).ok()?;
            } else if at < last {
                node = Node::above(&node, beside.next()?).ok()?;
            }
            at >>= 1;
            last >>= 1;
        }
        beside.next().is_none().then_some(node)
    }
}

/// All nodes, leaves first.
fn levels(leaves: &[Node]) -> Result<Vec<Vec<Node>>, TooMuch> {
    let mut levels = vec![leaves.to_vec()];
    while let Some(level) = levels.last().filter(|level| level.len() > 1) {
        let pairs = level.chunks(2).map(|pair| match pair {
            [left, right] => Node::above(left, right),
            alone => Ok(alone[0].clone()),
        });
        let above = pairs.collect::<Result<_, _>>()?;
        levels.push(above);
    }
    Ok(levels)
}

fn add(sum: &mut u64, more: u64) -> Result<(), TooMuch> {
    *sum = sum.checked_add(more).filter(|sum| *sum < MOST).ok_or(TooMuch)?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn leaf(number: u64, offered: u64) -> Node {
        let dropped: BTreeMap<_, _> =
            number.is_multiple_of(2).then(|| ("no_consent".to_owned(), offered / 2)).into_iter().collect();
        let stored = offered - dropped.values().sum::<u64>();
        let purpose = PurposeReceipt { dropped, offered, stored, ..PurposeReceipt::default() };
        let receipt = Receipt {
            batch: number,
            body: String::new(),
            catalogue: String::new(),
            checkpoint: None,
            consent: None,
            fleet: "acme-fleet".to_owned(),
            policy: String::new(),
            purposes: [("analytics".to_owned(), purpose)].into(),
            received_at: 0,
            seal_by: 0,
            subject: String::new(),
        };
        Node::of_receipt(&receipt).unwrap()
    }

    proptest! {
        /// Every leaf has a path, to a root that sums all of them; a changed count anywhere leads elsewhere.
        #[test]
        fn paths_lead_to_the_root(offered in prop::collection::vec(0_u64..1_000, 1..40), place: prop::sample::Index, by in 1_u64..9) {
            let mut leaves: Vec<Node> = offered.iter().zip(0..).map(|(offered, number)| leaf(number, *offered)).collect();
            leaves.sort_unstable_by_key(|leaf| leaf.hash);
            let whole = root(leaves.iter().cloned().map(Ok)).unwrap();
            prop_assert_eq!(whole.sums.purpose("analytics").unwrap().offered, offered.iter().sum::<u64>());
            let at = place.index(leaves.len());
            let way = path(&leaves, at).unwrap().unwrap();
            prop_assert_eq!(way.root(&leaves[at]), Some(whole.clone()));
            prop_assert!(leaves[at].sums.is_within(&whole.sums));

            let mut other = leaves[at].clone();
            other.sums.0.get_mut("analytics").unwrap().offered += by;
            let lead = way.root(&other);
            prop_assert!(lead.is_none_or(|root| root.commitment() != whole.commitment()));
            for beside in 0..way.beside.len() {
                let mut bent = way.clone();
                bent.beside[beside].sums.0.get_mut("analytics").unwrap().stored += by;
                prop_assert!(bent.root(&leaves[at]).is_none_or(|root| root.commitment() != whole.commitment()));
            }
            let mut longer = way.clone();
            longer.beside.push(leaves[0].clone());
            prop_assert_eq!(longer.root(&leaves[at]), None);
            let mut moved = way;
            moved.index ^= 1;
            prop_assert!(moved.root(&leaves[at]).is_none_or(|root| root.hash != whole.hash) || leaves.len() == 1);
        }
    }

    #[test]
    fn what_cannot_be_counted_is_an_error() {
        let most = leaf(1, MOST - 1);
        assert!(Node::above(&most, &leaf(3, 1)).is_err());
        assert!(root([]).unwrap().commitment().is_ok());
    }
}
