//! The strictness lattice: which of two operators that reach the same field wins.

use crate::operator::Operator;

/// How strict one operator is beside another.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Strictness {
    /// The same operator with the same parameters, or one of equal effect.
    Same,
    Stricter,
    Weaker,
    /// Neither is at least as strict as the other.
    Incomparable,
}

/// How strict `a` is beside `b`: by rank first, then within the rank.
pub(crate) fn compare(a: &dyn Operator, b: &dyn Operator) -> Strictness {
    match a.rank().cmp(&b.rank()) {
        std::cmp::Ordering::Greater => return Strictness::Stricter,
        std::cmp::Ordering::Less => return Strictness::Weaker,
        std::cmp::Ordering::Equal => {}
    }
    if a.name() == b.name() && a.parameters() == b.parameters() {
        return Strictness::Same;
    }
    match (a.covers(b), b.covers(a)) {
        (true, true) => Strictness::Same,
        (true, false) => Strictness::Stricter,
        (false, true) => Strictness::Weaker,
        (false, false) => Strictness::Incomparable,
    }
}

/// Name and parameters, as explanations print an operator: `bin(origin=0 width=5)`.
pub(crate) fn text(operator: &dyn Operator) -> String {
    let parameters = operator.parameters();
    if parameters.is_empty() { operator.name().to_owned() } else { format!("{}({parameters})", operator.name()) }
}
