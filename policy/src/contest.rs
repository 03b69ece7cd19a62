//! Who wins a field, cell by cell: the strictest operator of the rules that hold or may hold there.

use std::collections::BTreeMap;

use hashbrown::HashMap;

use crate::cells::{Cells, Reach};
use crate::lattice::{Strictness, compare};
use crate::operator::OperatorRef;

/// Stands for: nobody reaches the field in this cell.
pub(crate) const NOBODY: u32 = u32::MAX;

/// One rule's operator on one field.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Contender<'a> {
    /// Position of the rule in the table's rules.
    pub(crate) rule: usize,
    /// Position of the emit in the rule's.
    pub(crate) emit: usize,
    pub(crate) operator: &'a OperatorRef,
    pub(crate) reach: &'a Reach,
}

/// The result of one field.
#[derive(Debug)]
pub(crate) struct Contest {
    /// Cell → position of the winner among the contenders, or [`NOBODY`]. Where no rule holds for certain it is
    /// [`NOBODY`] too: what is undecided lets nothing through.
    pub(crate) winner: Vec<u32>,
    /// Pairs of contenders of which neither wins, and the first cell where that is so; each pair once.
    pub(crate) rivals: Vec<(usize, usize)>,
}

impl Contest {
    /// Lets contenders, in the order of the document, meet in `len` cells.
    pub(crate) fn hold(contenders: &[Contender<'_>], len: usize) -> Self {
        let mut arena = Arena::new(contenders, len);
        let mut holds = Cells::none(len);
        for (number, contender) in contenders.iter().enumerate() {
            holds.unite(&contender.reach.holds);
            let operator = arena.operator_of[number];
            let mut reached = std::mem::replace(&mut arena.reached[operator], Cells::none(0));
            reached.unite_fresh(&contender.reach.may_hold, |cell| arena.enter(cell, number as u32));
            arena.reached[operator] = reached;
        }
        let Arena { mut winner, others, .. } = arena;
        let mut rivals = Vec::new();
        for (cell, others) in others {
            let pair = (winner[cell] as usize, others.first().copied().unwrap_or(NOBODY) as usize);
            if holds.contains(cell) && !others.is_empty() && !rivals.contains(&pair) {
                rivals.push(pair);
            }
        }
        for (cell, winner) in winner.iter_mut().enumerate() {
            if !holds.contains(cell) {
                *winner = NOBODY;
            }
        }
        Self { winner, rivals }
    }
}

/// The strictest so far in each cell: one, or several that cannot be compared.
struct Arena<'a> {
    contenders: &'a [Contender<'a>],
    /// Contender → number of its distinct operator.
    operator_of: Vec<usize>,
    /// Operator → cells that it reached already: later rules with the same operator change nothing there.
    reached: Vec<Cells>,
    winner: Vec<u32>,
    others: BTreeMap<usize, Vec<u32>>,
    compared: HashMap<(usize, usize), Strictness>,
}

impl<'a> Arena<'a> {
    fn new(contenders: &'a [Contender<'a>], len: usize) -> Self {
        let mut numbers: HashMap<(&str, String), usize> = HashMap::new();
        let mut operator_of = Vec::with_capacity(contenders.len());
        for contender in contenders {
            let next = numbers.len();
            let key = (contender.operator.name(), contender.operator.parameters());
            operator_of.push(*numbers.entry(key).or_insert(next));
        }
        let reached = vec![Cells::none(len); numbers.len()];
        let (winner, others, compared) = (vec![NOBODY; len], BTreeMap::new(), HashMap::new());
        Self { contenders, operator_of, reached, winner, others, compared }
    }

    fn enter(&mut self, cell: usize, new: u32) {
        let current = self.winner[cell];
        if current == NOBODY {
            self.winner[cell] = new;
            return;
        }
        let mut strictest = vec![current];
        strictest.extend(self.others.remove(&cell).unwrap_or_default());
        let beaten =
            strictest.iter().any(|other| matches!(self.compare(new, *other), Strictness::Weaker | Strictness::Same));
        if !beaten {
            strictest.retain(|other| self.compare(new, *other) != Strictness::Stricter);
            strictest.push(new);
        }
        self.winner[cell] = strictest.remove(0);
        if !strictest.is_empty() {
            self.others.insert(cell, strictest);
        }
    }

    fn compare(&mut self, a: u32, b: u32) -> Strictness {
        let (a, b) = (a as usize, b as usize);
        let contenders = self.contenders;
        *self
            .compared
            .entry((self.operator_of[a], self.operator_of[b]))
            .or_insert_with(|| compare(&**contenders[a].operator, &**contenders[b].operator))
    }
}

#[cfg(test)]
mod tests;
