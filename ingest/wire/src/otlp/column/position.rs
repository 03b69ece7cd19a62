//! Positions, half by half.

use std::sync::Arc;

use arrow_array::{FixedSizeListArray, Float64Array};
use arrow_buffer::NullBuffer;
use arrow_schema::{ArrowError, DataType};
use candor_policy::catalogue::FieldType;
use candor_policy::operator::raw_type;

use super::Half;

/// Latitude and longitude; NaN where that half has not come.
#[derive(Debug, Default)]
pub(super) struct Positions {
    degrees: Vec<[f64; 2]>,
    /// How many rows there were when each half was offered last.
    offered: [usize; 2],
}

impl Positions {
    /// Notes that a half is offered for a row; false if it was offered for it before.
    pub(super) fn offer(&mut self, row: usize, half: Half) -> bool {
        std::mem::replace(&mut self.offered[half as usize], row + 1) <= row
    }

    /// Writes half of the last position.
    pub(super) fn set_last(&mut self, half: Half, degrees: f64) {
        if let Some(position) = self.degrees.last_mut() {
            position[half as usize] = degrees;
        }
    }

    /// Adds positions that have not come until there are as many rows.
    pub(super) fn fill(&mut self, rows: usize) {
        self.degrees.resize(rows, [f64::NAN; 2]);
    }

    pub(super) fn reserve(&mut self, rows: usize) {
        self.degrees.reserve(rows);
    }

    pub(super) fn truncate(&mut self, rows: usize) {
        self.degrees.truncate(rows);
        self.offered = self.offered.map(|offered| offered.min(rows));
    }

    pub(super) fn finish(mut self) -> Result<FixedSizeListArray, ArrowError> {
        let valid: Vec<bool> = self.degrees.iter().map(is_position).collect();
        // Half a position is none, and nothing of it stays.
        self.degrees.iter_mut().zip(&valid).filter(|(_, valid)| !**valid).for_each(|(degrees, _)| *degrees = [0.0; 2]);
        let nulls = valid.contains(&false).then(|| NullBuffer::from(valid));
        let degrees = Float64Array::from(self.degrees.into_flattened());
        match raw_type(FieldType::Position, false) {
            DataType::FixedSizeList(field, size) => FixedSizeListArray::try_new(field, size, Arc::new(degrees), nulls),
            other => Err(ArrowError::SchemaError(format!("positions are no {other}"))),
        }
    }
}

/// Whether both halves have come and lie on the globe.
fn is_position([lat, lon]: &[f64; 2]) -> bool {
    (-90.0..=90.0).contains(lat) && (-180.0..=180.0).contains(lon)
}
