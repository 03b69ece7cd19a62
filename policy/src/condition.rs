//! `when`: a small total language over declared enums, booleans and intervals, compiled to classes of dimensions.
//!
//! The logic is Kleene's: a test of an absent value is undecided, and so is what hangs on it. A rule whose condition is
//! undecided counts for strictness, but lets nothing through by itself.

use std::ops::Range;

/// One thing that conditions look at, cut into the classes that they can tell apart.
#[derive(Clone, Debug, PartialEq)]
pub struct Dimension {
    /// What it is.
    pub subject: DimensionSubject,
    /// Number of classes; class 0 is *absent or undeclared* for fields, `unknown` for the jurisdiction.
    pub classes: u32,
}

/// What a dimension reads.
#[derive(Clone, Debug, PartialEq)]
pub enum DimensionSubject {
    /// The event's number in its stream: one class each.
    Event,
    /// The jurisdiction's number.
    Jurisdiction,
    /// 0 = no, 1 = Global Privacy Control is on.
    Gpc,
    /// A boolean field: 0 absent, 1 false, 2 true.
    Bool {
        /// Field number.
        field: u16,
    },
    /// A field with declared values: 0 absent or undeclared, then `values` in order.
    Enum {
        /// Field number.
        field: u16,
        /// Declared values.
        values: Vec<String>,
    },
    /// A number cut at `cuts` (ascending): 0 absent or NaN, 1 below the first cut, and so on; a cut belongs to the class above it.
    Interval {
        /// Field number.
        field: u16,
        /// Ascending; each cut starts a class.
        cuts: Vec<f64>,
    },
}

impl Dimension {
    /// Class of a number (also of an event's or jurisdiction's number): 0 where it is absent or NaN.
    #[must_use]
    pub fn class_of_number(&self, value: Option<f64>) -> u32 {
        match &self.subject {
            DimensionSubject::Interval { cuts, .. } => match value {
                Some(value) if !value.is_nan() => 1 + cuts.partition_point(|cut| *cut <= value) as u32,
                _ => 0,
            },
            _ => 0,
        }
    }

    /// Class of a text: 0 where it is absent or not among the declared values.
    #[must_use]
    pub fn class_of_text(&self, value: Option<&str>) -> u32 {
        match &self.subject {
            DimensionSubject::Enum { values, .. } => value
                .and_then(|value| values.iter().position(|declared| declared == value))
                .map_or(0, |position| position as u32 + 1),
            _ => 0,
        }
    }

    /// Class of a boolean: 0 where it is absent.
    #[must_use]
    pub const fn class_of_bool(value: Option<bool>) -> u32 {
        match value {
            None => 0,
            Some(false) => 1,
            Some(true) => 2,
        }
    }
}

/// What a condition says of a record.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, serde::Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Truth {
    /// It does not hold.
    False,
    /// It hangs on a value that is absent, or none that the catalogue declares.
    Undecided,
    /// It holds.
    True,
}

/// A condition over the dimensions of one table.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Condition {
    /// Holds if one does; an empty one never holds.
    Any(Vec<Self>),
    /// Holds if all do; an empty one always holds.
    All(Vec<Self>),
    Not(Box<Self>),
    Atom(Atom),
}

/// One test of one dimension.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Atom {
    /// Index of the dimension.
    pub(crate) dimension: usize,
    /// Classes in which it holds: ascending and apart.
    pub(crate) holds: Vec<Range<u32>>,
    /// Whether class 0 (absent) leaves it undecided.
    pub(crate) undecided_absent: bool,
}

impl Condition {
    /// The condition of a rule that has none.
    pub(crate) const ALWAYS: Self = Self::All(Vec::new());

    /// What it says of the cell with these classes, one a dimension.
    pub(crate) fn at(&self, classes: &[u32]) -> Truth {
        match self {
            Self::Any(parts) => parts.iter().map(|part| part.at(classes)).max().unwrap_or(Truth::False),
            Self::All(parts) => parts.iter().map(|part| part.at(classes)).min().unwrap_or(Truth::True),
            Self::Not(inner) => inner.at(classes).not(),
            Self::Atom(atom) => atom.at(classes.get(atom.dimension).copied().unwrap_or(0)),
        }
    }
}

impl Truth {
    const fn not(self) -> Self {
        match self {
            Self::False => Self::True,
            Self::Undecided => Self::Undecided,
            Self::True => Self::False,
        }
    }
}

impl Atom {
    fn at(&self, class: u32) -> Truth {
        if class == 0 && self.undecided_absent {
            Truth::Undecided
        } else if self.holds.iter().any(|range| range.contains(&class)) {
            Truth::True
        } else {
            Truth::False
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const VALUES: [Truth; 3] = [Truth::False, Truth::Undecided, Truth::True];

    /// Dimension `dimension` with class 0 undecided, 1 false, 2 true.
    fn atom(dimension: usize) -> Condition {
        let holds = std::iter::once(2..3).collect();
        Condition::Atom(Atom { dimension, holds, undecided_absent: true })
    }

    const fn class(truth: Truth) -> u32 {
        match truth {
            Truth::Undecided => 0,
            Truth::False => 1,
            Truth::True => 2,
        }
    }

    #[test]
    fn the_tables_are_kleenes() {
        use Truth::{False as F, True as T, Undecided as U};
        let and = [[F, F, F], [F, U, U], [F, U, T]];
        let or = [[F, U, T], [U, U, T], [T, T, T]];
        for (i, a) in VALUES.into_iter().enumerate() {
            for (j, b) in VALUES.into_iter().enumerate() {
                let classes = [class(a), class(b)];
                assert_eq!(Condition::All(vec![atom(0), atom(1)]).at(&classes), and[i][j], "{a:?} and {b:?}");
                assert_eq!(Condition::Any(vec![atom(0), atom(1)]).at(&classes), or[i][j], "{a:?} or {b:?}");
            }
            let negated = [T, U, F][i];
            assert_eq!(Condition::Not(Box::new(atom(0))).at(&[class(a)]), negated);
        }
        assert_eq!(Condition::ALWAYS.at(&[]), T);
        assert_eq!(Condition::Any(Vec::new()).at(&[]), F);
    }

    #[test]
    fn a_cut_belongs_to_the_class_above_it() {
        let subject = DimensionSubject::Interval { field: 0, cuts: vec![0.0, 10.0] };
        let dimension = Dimension { subject, classes: 4 };
        let class = |value| dimension.class_of_number(Some(value));
        assert_eq!([class(-1.0), class(-0.0), class(0.0), class(9.99), class(10.0)], [1, 2, 2, 2, 3]);
        assert_eq!([class(f64::NEG_INFINITY), class(f64::INFINITY), class(f64::NAN)], [1, 3, 0]);
        assert_eq!(dimension.class_of_number(None), 0);
    }
}
