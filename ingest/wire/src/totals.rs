//! Totals of an epoch of the log: what each source's streams offered each purpose, and what became of it.
//!
//! Small numbers may say something about one person, so the log has cells of small numbers as a digest only; whoever is given the
//! epoch's cells and its nonce can open it. `docs/FORMAT.md`, "Totals of an epoch", fixes each byte.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

use crate::merkle::Hash;
use crate::sum_tree::{PurposeSums, Sums, TooMuch};

/// The account of one source, stream and purpose: offered = stored + dropped.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(deny_unknown_fields)]
pub struct Cell {
    /// Who sent.
    pub source: String,
    /// The stream; empty for events that no stream declares.
    pub stream: String,
    /// The purpose.
    pub purpose: String,
    /// Records that were not stored, by reason.
    pub dropped: BTreeMap<String, u64>,
    /// Records.
    pub offered: u64,
    /// Records stored.
    pub stored: u64,
}

/// Every cell of an epoch with what opens its digest: for auditors.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(deny_unknown_fields)]
pub struct Opened {
    /// Number of the epoch, from 1.
    pub epoch: u64,
    /// In ascending order, each (source, stream, purpose) once.
    pub cells: Vec<Cell>,
    /// 32 random bytes, hex.
    #[serde(with = "candor_policy::hex::bytes32")]
    #[cfg_attr(feature = "schema", schemars(with = "String"))]
    pub nonce: Hash,
}

impl Cell {
    /// Whose account it is: source, stream, purpose.
    #[must_use]
    pub fn name(&self) -> (&str, &str, &str) {
        (&self.source, &self.stream, &self.purpose)
    }

    /// Whether a number in it is above 0 and below `least`.
    #[must_use]
    pub fn is_small(&self, least: u64) -> bool {
        let is_small = |records: u64| records > 0 && records < least;
        is_small(self.offered) || is_small(self.stored) || self.dropped.values().copied().any(is_small)
    }

    /// Whether nothing vanished.
    #[must_use]
    pub fn balances(&self) -> bool {
        let dropped = self.dropped.values().try_fold(0_u64, |sum, records| sum.checked_add(*records));
        dropped.and_then(|dropped| dropped.checked_add(self.stored)) == Some(self.offered)
    }
}

impl Opened {
    /// What the log holds: SHA-256(0x00 ‖ nonce ‖ RFC 8785 JSON of all cells).
    ///
    /// # Errors
    /// None in practice: every field is JSON.
    pub fn digest(&self) -> Result<Hash, serde_json::Error> {
        let json = serde_json_canonicalizer::to_vec(&self.cells)?;
        Ok(Sha256::new_with_prefix([0]).chain_update(self.nonce).chain_update(json).finalize().into())
    }

    /// The cells that may be shown: those without a small number.
    pub fn shown(&self, least: u64) -> impl Iterator<Item = &Cell> {
        self.cells.iter().filter(move |cell| !cell.is_small(least))
    }

    /// By purpose over all sources and streams: what the sums of receipts must be within.
    ///
    /// # Errors
    /// [`TooMuch`].
    pub fn sums(&self) -> Result<Sums, TooMuch> {
        let mut sums = Sums::default();
        for cell in &self.cells {
            let of_cell = PurposeSums { dropped: cell.dropped.clone(), offered: cell.offered, stored: cell.stored };
            sums.add_purpose(&cell.purpose, &of_cell)?;
        }
        Ok(sums)
    }

    /// What is wrong with the cells alone, if anything: order, repetition, or a sum that does not hold.
    #[must_use]
    pub fn fault(&self) -> Option<&'static str> {
        if !self.cells.is_sorted_by(|one, two| one.name() < two.name()) {
            return Some("its cells are not in order, or one comes twice");
        }
        self.cells.iter().any(|cell| !cell.balances()).then_some("a cell has offered ≠ stored + dropped")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn cell(stream: &str, offered: u64, dropped: u64) -> Cell {
        let reasons = (dropped > 0).then(|| ("no_consent".to_owned(), dropped)).into_iter().collect();
        let (source, purpose) = ("phones".to_owned(), "analytics".to_owned());
        Cell { source, stream: stream.to_owned(), purpose, dropped: reasons, offered, stored: offered - dropped }
    }

    #[test]
    fn cells_with_a_small_number_are_hidden_and_nothing_else() {
        let cells = vec![cell("a", 100, 3), cell("b", 100, 50), cell("c", 9, 9), cell("d", 0, 0), cell("e", 100, 0)];
        let opened = Opened { epoch: 1, cells, nonce: [7; 32] };
        assert_eq!(opened.fault(), None);
        let shown: Vec<&str> = opened.shown(10).map(|cell| cell.stream.as_str()).collect();
        assert_eq!(shown, ["b", "d", "e"]);
        assert_eq!(opened.sums().unwrap().purpose("analytics").unwrap().offered, 309);
    }

    #[test]
    fn the_digest_covers_every_number_and_the_nonce() {
        let opened = Opened { epoch: 1, cells: vec![cell("a", 100, 3)], nonce: [7; 32] };
        let digest = opened.digest().unwrap();
        let mut other = opened.clone();
        other.cells[0].stored += 1;
        assert_ne!(other.digest().unwrap(), digest);
        assert_eq!(other.fault(), Some("a cell has offered ≠ stored + dropped"));
        let mut other = opened.clone();
        other.nonce[31] ^= 1;
        assert_ne!(other.digest().unwrap(), digest);
        let mut twice = opened;
        twice.cells.push(twice.cells[0].clone());
        assert!(twice.fault().is_some());
    }
}
