//! The order in which the rows of a batch are hashed: by `time` where there is one, then by each column in the order of names.

use std::cmp::Ordering;

use super::column::{Column, Form};

/// The column that comes first: devices send their events in its order, or nearly.
const TIME: &str = "time";

/// The rows in order; none if they are in order as they come.
pub(super) fn order(columns: &[Column<'_>], rows: usize) -> Option<Vec<u32>> {
    // Columns that are the same everywhere order nothing.
    let mut different: Vec<&Column<'_>> =
        columns.iter().filter(|column| !matches!(column.form(), Form::Same)).collect();
    different.sort_by_key(|column| column.name() != TIME);
    let compare = |one: usize, other: usize| {
        different.iter().map(|column| column.compare(one, other)).find(|order| order.is_ne()).unwrap_or(Ordering::Equal)
    };
    let ascends = different.first().is_none_or(|first| first.ascends());
    if ascends || (1..rows).all(|row| compare(row - 1, row).is_le()) {
        return None;
    }
    let mut keyed: Vec<(u64, u32)> = keys(&different, rows).into_iter().zip(0..).collect();
    keyed.sort_unstable_by(|(key, one), (other_key, other)| {
        key.cmp(other_key).then_with(|| compare(*one as usize, *other as usize))
    });
    Some(keyed.into_iter().map(|(_, row)| row).collect())
}

/// What the first columns say of each row, as much of it as 64 bits hold: where two differ, their rows are in that order.
fn keys(columns: &[&Column<'_>], rows: usize) -> Vec<u64> {
    let mut keys = vec![0_u64; rows];
    let mut left = u64::BITS;
    for column in columns {
        let Some((ranks, bits)) = column.ranks() else { break };
        let taken = bits.min(left);
        for (key, rank) in keys.iter_mut().zip(ranks) {
            *key = key.checked_shl(taken).unwrap_or(0) | rank >> (bits - taken);
        }
        left -= taken;
        if left == 0 {
            break;
        }
    }
    keys
}
