//! `geohash`: the first characters of a position's geohash.

use std::any::Any;
use std::sync::Arc;

use arrow_array::ArrayRef;
use arrow_schema::DataType;
use geohash::Coord;

use super::parameters::Parameters;
use super::position::{Position, positions};
use super::repeats::texts;
use super::{BuildError, Operator, OperatorContext, OperatorError, OperatorRef, Rank};
use crate::catalogue::FieldType;

const MEND: &str = "write `n = 5` (about 5 km wide); 1 is the coarsest, 12 the finest";
/// The poles and the 180th meridian lie on the far edge of the last cells, which belongs to no cell.
const INSIDE: f64 = 1e-9;

/// `n` characters: 5 bits each, longitude and latitude in turn.
#[derive(Debug)]
struct Geohash {
    n: usize,
}

pub(super) fn build(parameters: &mut Parameters<'_>) -> Result<OperatorRef, BuildError> {
    let n = parameters.required("n", 1..=12, MEND)? as usize;
    Ok(Arc::new(Geohash { n }))
}

impl Operator for Geohash {
    fn name(&self) -> &'static str {
        "geohash"
    }

    fn rank(&self) -> Rank {
        Rank::Generalisation
    }

    fn parameters(&self) -> String {
        format!("n={}", self.n)
    }

    fn covers(&self, other: &dyn Operator) -> bool {
        other.as_any().downcast_ref::<Self>().is_some_and(|other| self.n <= other.n)
    }

    fn output(&self, input: FieldType) -> Option<DataType> {
        (input == FieldType::Position).then_some(DataType::Utf8)
    }

    fn suffix(&self) -> Option<&'static str> {
        Some("geohash")
    }

    fn apply(&self, values: &ArrayRef, _: &OperatorContext<'_>) -> Result<ArrayRef, OperatorError> {
        let positions = positions(values).ok_or(OperatorError::WrongType("geohash"))?;
        Ok(Arc::new(texts(positions, self.n, |bits| {
            let Position { lat, lon } = Position::from_bits(bits);
            let inside = Coord { x: lon.min(180.0 - INSIDE), y: lat.min(90.0 - INSIDE) };
            geohash::encode(inside, self.n).ok()
        })))
    }

    fn as_any(&self) -> &dyn Any {
        self
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::super::Parameter;
    use super::super::position::tests_support::{NOWHERE, cell, run};
    use super::super::tests_support::operator;
    use super::*;

    fn geohash(n: i64) -> OperatorRef {
        operator("geohash", &[("n", Parameter::Integer(n))])
    }

    /// The first two are the examples of geohash.org's author and of Wikipedia ("Geohash"), the third and fourth those of the
    /// geohash crate; the others were computed by pygeohash 3.5.1.
    #[test]
    fn published_vectors() {
        for (lat, lon, n, text) in [
            (57.649_11, 10.407_44, 11, "u4pruydqqvj"),
            (42.605, -5.603, 5, "ezs42"),
            (35.3003, -120.6623, 10, "9q60y60rhs"),
            (37.8324, 112.5584, 9, "ww8p1r4t8"),
            (-25.382_708, -49.265_506, 8, "6gkzwgjz"),
            (52.52, 13.405, 12, "u33dc0cppjs7"),
            (0.0, 0.0, 5, "s0000"),
            (90.0, 180.0, 5, "zzzzz"),
            (90.0, 180.0, 12, "zzzzzzzzzzzz"),
            (-90.0, -180.0, 5, "00000"),
        ] {
            assert_eq!(cell(&geohash(n), lat, lon).as_deref(), Some(text), "{lat} {lon}");
        }
    }

    #[test]
    fn what_is_no_position_is_null() {
        assert_eq!(run(&geohash(5), &NOWHERE), vec![None; NOWHERE.len()]);
    }

    #[test]
    fn runs_on_positions_with_a_length_that_there_is() {
        assert_eq!(geohash(5).output(FieldType::Position), Some(DataType::Utf8));
        assert_eq!(geohash(5).output(FieldType::F64), None);
        for bad in [0, 13] {
            let error =
                super::super::build("geohash", &[("n".to_owned(), Parameter::Integer(bad))].into()).unwrap_err();
            assert!(error.message.contains("`n`") && error.message.contains("1 to 12"));
        }
        assert!(geohash(3).covers(&*geohash(5)) && geohash(5).covers(&*geohash(5)) && !geohash(5).covers(&*geohash(3)));
    }

    proptest! {
        #[test]
        fn a_shorter_geohash_begins_a_longer_one_and_its_cell_holds_the_position(lat in -90.0..=90.0, lon in -180.0..=180.0, n in 1_i64..=12) {
            let text = cell(&geohash(n), lat, lon).unwrap();
            prop_assert_eq!(text.len() as i64, n);
            prop_assert!(cell(&geohash(12), lat, lon).unwrap().starts_with(&text));
            let held = ::geohash::decode_bbox(&text).unwrap();
            let near = |value: f64, low: f64, high: f64| (low - 1e-6..=high + 1e-6).contains(&value);
            prop_assert!(near(lat, held.min().y, held.max().y) && near(lon, held.min().x, held.max().x));
        }
    }
}
