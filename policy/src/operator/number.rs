//! A number that a policy gives, in the forms that a column's type can use.

use super::Parameter;

/// Whole numbers up to here are the same as i64 and as f64.
const EXACT: i64 = 1 << 53;

/// As a whole number, as a float, or as both.
#[derive(Clone, Copy, Debug)]
pub(super) struct Number {
    pub(super) whole: Option<i64>,
    pub(super) float: Option<f64>,
}

impl Number {
    pub(super) const ZERO: Self = Self { whole: Some(0), float: Some(0.0) };

    pub(super) fn new(parameter: &Parameter) -> Option<Self> {
        match parameter {
            Parameter::Integer(whole) => {
                let exact = (-EXACT..=EXACT).contains(whole);
                Some(Self { whole: Some(*whole), float: exact.then_some(*whole as f64) })
            }
            Parameter::Float(float) if float.is_finite() => {
                let whole = float.fract() == 0.0 && float.abs() <= EXACT as f64;
                // Adding 0 turns -0 into 0.
                Some(Self { whole: whole.then_some(*float as i64), float: Some(*float + 0.0) })
            }
            _ => None,
        }
    }

    pub(super) fn is_positive(&self) -> bool {
        self.whole.map_or_else(|| self.float.is_some_and(|float| float > 0.0), |whole| whole > 0)
    }

    /// Whether `self` is a multiple of `unit`, counted from `from`.
    pub(super) fn is_multiple(self, from: Self, unit: Self) -> bool {
        match (self.whole, from.whole, unit.whole) {
            (Some(number), Some(from), Some(unit)) => (i128::from(number) - i128::from(from)) % i128::from(unit) == 0,
            _ => match (self.float, from.float, unit.float) {
                // The remainder of two floats is exact.
                (Some(number), Some(from), Some(unit)) => (number - from) % unit == 0.0,
                _ => false,
            },
        }
    }

    /// Whether both can be compared and `self` is not above `other`.
    pub(super) fn is_at_most(self, other: Self) -> bool {
        match (self.whole, other.whole) {
            (Some(a), Some(b)) => a <= b,
            _ => self.float.zip(other.float).is_some_and(|(a, b)| a <= b),
        }
    }
}

impl std::fmt::Display for Number {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match (self.whole, self.float) {
            (Some(whole), _) => write!(f, "{whole}"),
            (None, Some(float)) => write!(f, "{float}"),
            (None, None) => Ok(()),
        }
    }
}
