//! `keep`: the value as it came.

use std::any::Any;
use std::sync::Arc;

use arrow_array::ArrayRef;
use arrow_schema::DataType;

use super::clean::clean;
use super::parameters::Parameters;
use super::{BuildError, Operator, OperatorContext, OperatorError, OperatorRef, Rank, arrow_type};
use crate::catalogue::FieldType;

/// Copies values, and nothing that is not a value.
#[derive(Debug)]
struct Keep;

#[expect(clippy::unnecessary_wraps, reason = "every operator is built through the same signature")]
pub(super) fn build(_: &mut Parameters<'_>) -> Result<OperatorRef, BuildError> {
    Ok(Arc::new(Keep))
}

impl Operator for Keep {
    fn name(&self) -> &'static str {
        "keep"
    }

    fn rank(&self) -> Rank {
        Rank::Keep
    }

    fn parameters(&self) -> String {
        String::new()
    }

    fn covers(&self, other: &dyn Operator) -> bool {
        other.rank() == Rank::Keep
    }

    fn output(&self, input: FieldType) -> Option<DataType> {
        // A position kept whole is two fields of type f64.
        (input != FieldType::Position).then(|| arrow_type(input))
    }

    fn suffix(&self) -> Option<&'static str> {
        None
    }

    fn apply(&self, values: &ArrayRef, _: &OperatorContext<'_>) -> Result<ArrayRef, OperatorError> {
        clean(values).ok_or(OperatorError::WrongType("keep"))
    }

    fn as_any(&self) -> &dyn Any {
        self
    }
}

#[cfg(test)]
mod tests {
    use arrow_array::StringArray;

    use super::super::OperatorContext;
    use super::super::clean::assert_clean;
    use super::super::tests_support::{context_keys, operator};
    use super::*;

    #[test]
    fn keeps_values_and_nothing_else() {
        let keys = context_keys();
        let context = OperatorContext { purpose: "diagnostics", column: "model", keys: &keys };
        let values: ArrayRef = Arc::new(StringArray::from(vec![Some("before"), Some("x"), None, Some("y")]));
        let out = operator("keep", &[]).apply(&values.slice(1, 3), &context).unwrap();
        assert_clean(&out);
        let expected: ArrayRef = Arc::new(StringArray::from(vec![Some("x"), None, Some("y")]));
        assert_eq!(&out, &expected);
    }
}
