//! `h3`: the cell of the H3 grid that holds a position.

use std::any::Any;
use std::sync::Arc;

use arrow_array::ArrayRef;
use arrow_schema::DataType;
use h3o::{LatLng, Resolution};

use super::parameters::{Parameters, error};
use super::position::{Position, positions};
use super::repeats::texts;
use super::{BuildError, Operator, OperatorContext, OperatorError, OperatorRef, Rank};
use crate::catalogue::FieldType;

const MEND: &str = "write `resolution = 7` (about 5 km²); 0 is the coarsest, 15 the finest";

/// The cell's number in lower-case hex, as the H3 libraries write it.
#[derive(Debug)]
struct H3 {
    resolution: Resolution,
}

pub(super) fn build(parameters: &mut Parameters<'_>) -> Result<OperatorRef, BuildError> {
    let resolution = parameters.required("resolution", 0..=15, MEND)?;
    let resolution = Resolution::try_from(resolution as u8).map_err(|_| error("`resolution` of `h3` is none", MEND))?;
    Ok(Arc::new(H3 { resolution }))
}

impl Operator for H3 {
    fn name(&self) -> &'static str {
        "h3"
    }

    fn rank(&self) -> Rank {
        Rank::Generalisation
    }

    fn parameters(&self) -> String {
        format!("resolution={}", u8::from(self.resolution))
    }

    fn covers(&self, other: &dyn Operator) -> bool {
        other.as_any().downcast_ref::<Self>().is_some_and(|other| self.resolution <= other.resolution)
    }

    fn output(&self, input: FieldType) -> Option<DataType> {
        (input == FieldType::Position).then_some(DataType::Utf8)
    }

    fn suffix(&self) -> Option<&'static str> {
        Some("h3")
    }

    fn apply(&self, values: &ArrayRef, _: &OperatorContext<'_>) -> Result<ArrayRef, OperatorError> {
        let positions = positions(values).ok_or(OperatorError::WrongType("h3"))?;
        Ok(Arc::new(texts(positions, 15, |bits| {
            let Position { lat, lon } = Position::from_bits(bits);
            Some(LatLng::new(lat, lon).ok()?.to_cell(self.resolution).to_string())
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

    fn h3(resolution: i64) -> OperatorRef {
        operator("h3", &[("resolution", Parameter::Integer(resolution))])
    }

    /// The first three are the examples of the README files of h3-js and h3-py; the others were computed by h3-py 4.5.0,
    /// which is H3's own C library.
    #[test]
    fn cells_of_the_reference_library() {
        for (lat, lon, resolution, index) in [
            (37.361_559_3, -122.055_323_8, 7, "87283472bffffff"),
            (37.361_559_3, -122.055_323_8, 5, "85283473fffffff"),
            (37.769_377, -122.388_903, 9, "89283082e73ffff"),
            (48.8566, 2.3522, 0, "8019fffffffffff"),
            (48.8566, 2.3522, 15, "8f1fb46625550c3"),
            (-33.8688, 151.2093, 8, "88be0e35cbfffff"),
            (0.0, 0.0, 7, "87754e64dffffff"),
            (90.0, 0.0, 7, "870326233ffffff"),
            (-90.0, 0.0, 7, "87f29380effffff"),
            (10.0, 180.0, 7, "875ba5c69ffffff"),
            (10.0, -180.0, 7, "875ba5c69ffffff"),
            (52.52, 13.405, 6, "861f1d48fffffff"),
            (64.15, -21.94, 1, "81077ffffffffff"),
        ] {
            assert_eq!(cell(&h3(resolution), lat, lon).as_deref(), Some(index), "{lat} {lon} at {resolution}");
        }
    }

    #[test]
    fn what_is_no_position_is_null() {
        assert_eq!(run(&h3(7), &NOWHERE), vec![None; NOWHERE.len()]);
    }

    #[test]
    fn a_lower_resolution_covers_a_higher_one() {
        assert!(h3(5).covers(&*h3(7)) && h3(7).covers(&*h3(7)) && !h3(7).covers(&*h3(5)));
        let geohash = operator("geohash", &[("n", Parameter::Integer(1))]);
        assert!(!h3(0).covers(&*geohash) && !geohash.covers(&*h3(15)));
    }

    #[test]
    fn runs_on_positions_at_a_resolution_that_there_is() {
        assert_eq!(h3(7).output(FieldType::Position), Some(DataType::Utf8));
        assert_eq!((h3(7).output(FieldType::F64), h3(7).output(FieldType::String)), (None, None));
        for bad in [Parameter::Integer(16), Parameter::Integer(-1), Parameter::Text("7".into())] {
            let error = super::super::build("h3", &[("resolution".to_owned(), bad)].into()).unwrap_err();
            assert!(error.message.contains("0 to 15"));
        }
        assert!(super::super::build("h3", &[].into()).unwrap_err().message.contains("needs `resolution`"));
    }

    proptest! {
        #[test]
        fn every_position_on_the_globe_has_a_cell(
            positions in proptest::collection::vec(proptest::option::of((-90.0..=90.0, -180.0..=180.0)), 0..20), resolution in 0_i64..=15,
        ) {
            let halves: Vec<_> = positions.iter().map(|position| position.map(|(lat, lon)| (Some(lat), Some(lon)))).collect();
            let cells = run(&h3(resolution), &halves);
            for (position, cell) in positions.iter().zip(&cells) {
                prop_assert_eq!(position.is_some(), cell.is_some());
                if let Some(cell) = cell {
                    let index: h3o::CellIndex = cell.parse().unwrap();
                    prop_assert_eq!(i64::from(u8::from(index.resolution())), resolution);
                }
            }
        }
    }
}
