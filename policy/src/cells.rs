//! Sets of cells: what a condition says of all cells of a table at once, 64 in a word.

use std::ops::Range;
use std::rc::Rc;

use hashbrown::HashMap;

use crate::condition::{Atom, Condition, Dimension};

/// Most cells of a table.
pub(crate) const MAX_CELLS: u64 = 65_536;

/// A set of cells.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Cells {
    words: Vec<u64>,
    len: usize,
}

/// The cells in which a condition holds, and those in which it may (true or undecided).
#[derive(Clone, Debug)]
pub(crate) struct Reach {
    pub(crate) holds: Cells,
    pub(crate) may_hold: Cells,
}

/// All cells of a table; remembers what it worked out for each test.
#[derive(Debug)]
pub(crate) struct CellSpace {
    classes: Vec<usize>,
    len: usize,
    atoms: HashMap<Atom, Rc<Reach>>,
}

impl CellSpace {
    /// The product of the dimensions; the caller has checked that it is within [`MAX_CELLS`].
    pub(crate) fn new<'a>(dimensions: impl Iterator<Item = &'a Dimension>) -> Self {
        let classes: Vec<usize> = dimensions.map(|dimension| dimension.classes as usize).collect();
        let len = classes.iter().product();
        Self { classes, len, atoms: HashMap::new() }
    }

    /// Number of cells.
    pub(crate) const fn len(&self) -> usize {
        self.len
    }

    /// Where a condition holds and where it may.
    pub(crate) fn reach(&mut self, condition: &Condition) -> Reach {
        match condition {
            Condition::Atom(atom) => (*self.atom(atom)).clone(),
            Condition::Not(inner) => {
                let Reach { mut holds, mut may_hold } = self.reach(inner);
                holds.invert();
                may_hold.invert();
                Reach { holds: may_hold, may_hold: holds }
            }
            Condition::Any(parts) => {
                let none = Cells::none(self.len);
                self.join(parts, Reach { holds: none.clone(), may_hold: none }, Cells::unite)
            }
            Condition::All(parts) => {
                let mut all = Cells::none(self.len);
                all.invert();
                self.join(parts, Reach { holds: all.clone(), may_hold: all }, Cells::intersect)
            }
        }
    }

    fn join(&mut self, parts: &[Condition], start: Reach, with: fn(&mut Cells, &Cells)) -> Reach {
        parts.iter().fold(start, |mut joined, part| {
            let part = self.reach(part);
            with(&mut joined.holds, &part.holds);
            with(&mut joined.may_hold, &part.may_hold);
            joined
        })
    }

    fn atom(&mut self, atom: &Atom) -> Rc<Reach> {
        if let Some(reach) = self.atoms.get(atom) {
            return Rc::clone(reach);
        }
        let stride: usize = self.classes.iter().skip(atom.dimension + 1).product();
        let block = stride * self.classes.get(atom.dimension).copied().unwrap_or(1);
        let mut holds = Cells::none(self.len);
        let mut absent = Cells::none(self.len);
        for start in (0..self.len).step_by(block.max(1)) {
            for range in &atom.holds {
                holds.insert(start + range.start as usize * stride..start + range.end as usize * stride);
            }
            if atom.undecided_absent {
                absent.insert(start..start + stride);
            }
        }
        holds.remove(&absent);
        let mut may_hold = holds.clone();
        may_hold.unite(&absent);
        let reach = Rc::new(Reach { holds, may_hold });
        self.atoms.insert(atom.clone(), Rc::clone(&reach));
        reach
    }
}

impl Cells {
    pub(crate) fn none(len: usize) -> Self {
        Self { words: vec![0; len.div_ceil(64)], len }
    }

    pub(crate) fn contains(&self, cell: usize) -> bool {
        self.words.get(cell / 64).is_some_and(|word| word >> (cell % 64) & 1 == 1)
    }

    pub(crate) fn unite(&mut self, other: &Self) {
        self.words.iter_mut().zip(&other.words).for_each(|(a, b)| *a |= b);
    }

    fn intersect(&mut self, other: &Self) {
        self.words.iter_mut().zip(&other.words).for_each(|(a, b)| *a &= b);
    }

    fn remove(&mut self, other: &Self) {
        self.words.iter_mut().zip(&other.words).for_each(|(a, b)| *a &= !b);
    }

    /// Adds the cells of `more` and calls `each` with those that were not there.
    pub(crate) fn unite_fresh(&mut self, more: &Self, mut each: impl FnMut(usize)) {
        for (index, (word, more)) in self.words.iter_mut().zip(&more.words).enumerate() {
            let mut fresh = more & !*word;
            *word |= more;
            while fresh != 0 {
                each(index * 64 + fresh.trailing_zeros() as usize);
                fresh &= fresh - 1;
            }
        }
    }

    fn invert(&mut self) {
        self.words.iter_mut().for_each(|word| *word = !*word);
        let past = self.len % 64;
        if past != 0
            && let Some(last) = self.words.last_mut()
        {
            *last &= (1 << past) - 1;
        }
    }

    fn insert(&mut self, range: Range<usize>) {
        let range = range.start..range.end.min(self.len);
        let mut at = range.start;
        while at < range.end {
            let bits = (64 - at % 64).min(range.end - at);
            let mask = if bits == 64 { u64::MAX } else { ((1 << bits) - 1) << (at % 64) };
            if let Some(word) = self.words.get_mut(at / 64) {
                *word |= mask;
            }
            at += bits;
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::condition::{DimensionSubject, Truth};

    fn dimension(classes: u32) -> Dimension {
        Dimension { subject: DimensionSubject::Event, classes }
    }

    fn condition(dimensions: usize) -> impl Strategy<Value = Condition> {
        let range = (0..6u32, 0..6u32).prop_map(|(a, b)| a.min(b)..a.max(b));
        let atom = (0..dimensions, range, any::<bool>()).prop_map(|(dimension, range, undecided_absent)| {
            Condition::Atom(Atom { dimension, holds: vec![range], undecided_absent })
        });
        atom.prop_recursive(4, 24, 3, |inner| {
            prop_oneof![
                proptest::collection::vec(inner.clone(), 0..4).prop_map(Condition::Any),
                proptest::collection::vec(inner.clone(), 0..4).prop_map(Condition::All),
                inner.prop_map(|inner| Condition::Not(Box::new(inner))),
            ]
        })
    }

    proptest! {
        /// Sets of cells and the cell-by-cell evaluation that explanations use are the same logic.
        #[test]
        fn sets_agree_with_single_cells(sizes in proptest::collection::vec(1..7u32, 3), condition in condition(3)) {
            // A class range that ends past the dimension would spill into the next block: types never make one.
            let clip = |condition: &Condition| clipped(condition, &sizes);
            let condition = clip(&condition);
            let dimensions: Vec<Dimension> = sizes.iter().map(|classes| dimension(*classes)).collect();
            let mut space = CellSpace::new(dimensions.iter());
            let reach = space.reach(&condition);
            for cell in 0..space.len() {
                let (rest, last) = (cell / sizes[2] as usize, cell % sizes[2] as usize);
                let classes = [rest / sizes[1] as usize, rest % sizes[1] as usize, last].map(|class| class as u32);
                let truth = condition.at(&classes);
                prop_assert_eq!(reach.holds.contains(cell), truth == Truth::True);
                prop_assert_eq!(reach.may_hold.contains(cell), truth != Truth::False);
            }
        }
    }

    fn clipped(condition: &Condition, sizes: &[u32]) -> Condition {
        let all = |parts: &[Condition]| parts.iter().map(|part| clipped(part, sizes)).collect();
        match condition {
            Condition::Any(parts) => Condition::Any(all(parts)),
            Condition::All(parts) => Condition::All(all(parts)),
            Condition::Not(inner) => Condition::Not(Box::new(clipped(inner, sizes))),
            Condition::Atom(atom) => {
                let size = sizes[atom.dimension];
                let holds = atom.holds.iter().map(|range| range.start.min(size)..range.end.min(size)).collect();
                Condition::Atom(Atom { holds, ..atom.clone() })
            }
        }
    }

    #[test]
    fn fresh_cells_come_once() {
        let mut some = Cells::none(200);
        some.insert(60..70);
        let mut more = Cells::none(200);
        more.insert(65..130);
        let mut fresh = Vec::new();
        some.unite_fresh(&more, |cell| fresh.push(cell));
        assert_eq!(fresh, (70..130).collect::<Vec<_>>());
        some.unite_fresh(&more, |cell| panic!("{cell} came twice"));
    }
}
