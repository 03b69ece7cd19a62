//! `drop` and `suppress`: no column, and a null cell.

use std::any::Any;
use std::sync::Arc;

use arrow_array::{ArrayRef, new_null_array};
use arrow_schema::DataType;

use super::parameters::Parameters;
use super::{BuildError, Operator, OperatorContext, OperatorError, OperatorRef, Rank, arrow_type};
use crate::catalogue::FieldType;

/// Writes nothing; `suppress` leaves the column in the table, `drop` does not.
#[derive(Debug)]
struct Withhold {
    rank: Rank,
}

#[expect(clippy::unnecessary_wraps, reason = "every operator is built through the same signature")]
pub(super) fn build_drop(_: &mut Parameters<'_>) -> Result<OperatorRef, BuildError> {
    Ok(Arc::new(Withhold { rank: Rank::Drop }))
}

#[expect(clippy::unnecessary_wraps, reason = "every operator is built through the same signature")]
pub(super) fn build_suppress(_: &mut Parameters<'_>) -> Result<OperatorRef, BuildError> {
    Ok(Arc::new(Withhold { rank: Rank::Suppress }))
}

impl Operator for Withhold {
    fn name(&self) -> &'static str {
        if self.rank == Rank::Drop { "drop" } else { "suppress" }
    }

    fn rank(&self) -> Rank {
        self.rank
    }

    fn parameters(&self) -> String {
        String::new()
    }

    fn covers(&self, other: &dyn Operator) -> bool {
        other.rank() <= self.rank
    }

    fn output(&self, input: FieldType) -> Option<DataType> {
        Some(arrow_type(input))
    }

    fn suffix(&self) -> Option<&'static str> {
        None
    }

    fn apply(&self, values: &ArrayRef, _: &OperatorContext<'_>) -> Result<ArrayRef, OperatorError> {
        Ok(new_null_array(values.data_type(), values.len()))
    }

    fn as_any(&self) -> &dyn Any {
        self
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use arrow_array::{Array, StringArray};

    use super::super::tests_support::context_keys;
    use super::super::{OperatorContext, build};
    use super::*;

    #[test]
    fn nothing_of_the_values_is_left() {
        let keys = context_keys();
        let context = OperatorContext { purpose: "analytics", column: "imei", keys: &keys };
        for name in ["drop", "suppress"] {
            let operator = build(name, &BTreeMap::new()).unwrap();
            let values: ArrayRef = Arc::new(StringArray::from(vec![Some("490154203237518"), None]));
            let out = operator.apply(&values, &context).unwrap();
            assert_eq!((out.len(), out.null_count()), (2, 2), "{name}");
            assert!(out.to_data().buffers()[1].is_empty(), "{name}");
        }
    }

    #[test]
    fn drop_is_stricter_than_suppress() {
        let (drop, suppress) = (build("drop", &BTreeMap::new()).unwrap(), build("suppress", &BTreeMap::new()).unwrap());
        assert!(drop.rank() > suppress.rank());
        assert!(drop.covers(&*suppress));
        assert!(!suppress.covers(&*drop));
    }
}
