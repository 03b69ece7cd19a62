//! Reading positions: two floats in one cell, latitude and longitude in degrees.

use arrow_array::cast::AsArray;
use arrow_array::types::Float64Type;
use arrow_array::{Array, ArrayRef};

/// A place on the globe: finite, latitude within ±90, longitude within ±180.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Position {
    pub(super) lat: f64,
    pub(super) lon: f64,
}

/// A position as what it is equal by.
pub(super) type Bits = (u64, u64);

impl Position {
    pub(super) fn from_bits((lat, lon): Bits) -> Self {
        Self { lat: f64::from_bits(lat), lon: f64::from_bits(lon) }
    }

    fn new(lat: f64, lon: f64) -> Option<Self> {
        // Neither NaN nor an infinity is within.
        ((-90.0..=90.0).contains(&lat) && (-180.0..=180.0).contains(&lon)).then_some(Self { lat, lon })
    }

    fn bits(self) -> Bits {
        (self.lat.to_bits(), self.lon.to_bits())
    }
}

/// Each cell's position, null where it lacks a half or lies outside the globe; `None` for another type of column.
pub(super) fn positions(values: &ArrayRef) -> Option<impl ExactSizeIterator<Item = Option<Bits>>> {
    let values = values.as_fixed_size_list_opt().filter(|values| values.value_length() == 2)?;
    let halves = values.values().as_primitive_opt::<Float64Type>()?;
    Some((0..values.len()).map(move |row| {
        let at = values.value_offset(row) as usize;
        if values.is_null(row) || halves.is_null(at) || halves.is_null(at + 1) {
            return None;
        }
        Position::new(halves.value(at), halves.value(at + 1)).map(Position::bits)
    }))
}

#[cfg(test)]
pub(super) mod tests_support {
    use std::sync::Arc;

    use arrow_array::builder::{FixedSizeListBuilder, Float64Builder};
    use arrow_array::cast::AsArray;
    use arrow_array::{Array, ArrayRef};

    use super::super::clean::assert_clean;
    use super::super::tests_support::context_keys;
    use super::super::{OperatorContext, OperatorRef};

    pub(crate) type Halves = Option<(Option<f64>, Option<f64>)>;

    pub(crate) fn column(positions: &[Halves]) -> ArrayRef {
        let mut out = FixedSizeListBuilder::new(Float64Builder::new(), 2);
        for position in positions {
            let (lat, lon) = position.unwrap_or_default();
            out.values().append_option(lat);
            out.values().append_option(lon);
            out.append(position.is_some());
        }
        Arc::new(out.finish())
    }

    /// What an operator makes of a column that has rows before and after these.
    pub(crate) fn run(operator: &OperatorRef, positions: &[Halves]) -> Vec<Option<String>> {
        let keys = context_keys();
        let context = OperatorContext { purpose: "analytics", column: "position", keys: &keys };
        let around = Some((Some(1.0), Some(1.0)));
        let all: Vec<Halves> =
            std::iter::once(around).chain(positions.iter().copied()).chain(std::iter::once(around)).collect();
        let out = operator.apply(&column(&all).slice(1, positions.len()), &context).unwrap();
        assert_clean(&out);
        out.as_string::<i32>().iter().map(|text| text.map(str::to_owned)).collect()
    }

    pub(crate) fn cell(operator: &OperatorRef, lat: f64, lon: f64) -> Option<String> {
        run(operator, &[Some((Some(lat), Some(lon)))]).remove(0)
    }

    /// Null, half a position, and what lies on no globe.
    pub(crate) const NOWHERE: [Halves; 9] = [
        None,
        Some((None, None)),
        Some((Some(1.0), None)),
        Some((None, Some(1.0))),
        Some((Some(f64::NAN), Some(1.0))),
        Some((Some(1.0), Some(f64::INFINITY))),
        Some((Some(90.000_001), Some(0.0))),
        Some((Some(-90.000_001), Some(0.0))),
        Some((Some(0.0), Some(-180.000_001))),
    ];
}
