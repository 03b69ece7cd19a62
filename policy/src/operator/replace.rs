//! `replace`: the same constant for every value.

use std::any::Any;
use std::sync::Arc;

use arrow_array::{Array, ArrayRef, BooleanArray, Float64Array, Int64Array, StringArray};
use arrow_schema::DataType;

use super::number::Number;
use super::parameters::{Parameters, error};
use super::{BuildError, Operator, OperatorContext, OperatorError, OperatorRef, Parameter, Rank};
use crate::catalogue::FieldType;

const MEND: &str = "write the constant: `v = \"REDACTED\"`, a number or a boolean, as the field's type has it";

/// Tells only whether there was a value.
#[derive(Debug)]
enum Replace {
    Text(String),
    Number(Number),
    Bool(bool),
}

pub(super) fn build(parameters: &mut Parameters<'_>) -> Result<OperatorRef, BuildError> {
    Ok(Arc::new(match parameters.get("v") {
        None => return Err(error("`replace` needs `v`", MEND)),
        Some(Parameter::Text(text)) if !text.is_empty() => Replace::Text(text.clone()),
        Some(Parameter::Text(_)) => {
            return Err(error("`v` of `replace` is empty", "use `suppress` to store no text"));
        }
        Some(Parameter::Bool(value)) => Replace::Bool(*value),
        Some(number) => Number::new(number)
            .map(Replace::Number)
            .ok_or_else(|| error("`v` of `replace` must be a text, a finite number, true or false", MEND))?,
    }))
}

impl Operator for Replace {
    fn name(&self) -> &'static str {
        "replace"
    }

    fn rank(&self) -> Rank {
        Rank::Generalisation
    }

    fn parameters(&self) -> String {
        match self {
            Self::Text(text) => format!("v={text}"),
            Self::Number(number) => format!("v={number}"),
            Self::Bool(value) => format!("v={value}"),
        }
    }

    fn covers(&self, other: &dyn Operator) -> bool {
        // No generalisation is coarser than a constant; of two constants neither tells less.
        other.rank() <= self.rank() && (other.name() != self.name() || other.parameters() == self.parameters())
    }

    fn output(&self, input: FieldType) -> Option<DataType> {
        match (self, input) {
            (Self::Text(_), FieldType::String) => Some(DataType::Utf8),
            (Self::Number(number), FieldType::I64) => number.whole.map(|_| DataType::Int64),
            (Self::Number(number), FieldType::F64) => number.float.map(|_| DataType::Float64),
            (Self::Bool(_), FieldType::Bool) => Some(DataType::Boolean),
            _ => None,
        }
    }

    fn suffix(&self) -> Option<&'static str> {
        None
    }

    fn apply(&self, values: &ArrayRef, _: &OperatorContext<'_>) -> Result<ArrayRef, OperatorError> {
        let rows = || (0..values.len()).map(|row| values.is_valid(row));
        Ok(match (self, values.data_type()) {
            (Self::Text(text), DataType::Utf8) => {
                Arc::new(rows().map(|is_there| is_there.then_some(text.as_str())).collect::<StringArray>())
            }
            (Self::Number(Number { whole: Some(number), .. }), DataType::Int64) => {
                Arc::new(rows().map(|is_there| is_there.then_some(*number)).collect::<Int64Array>())
            }
            (Self::Number(Number { float: Some(number), .. }), DataType::Float64) => {
                Arc::new(rows().map(|is_there| is_there.then_some(*number)).collect::<Float64Array>())
            }
            (Self::Bool(value), DataType::Boolean) => {
                Arc::new(rows().map(|is_there| is_there.then_some(*value)).collect::<BooleanArray>())
            }
            _ => return Err(OperatorError::WrongType("replace")),
        })
    }

    fn as_any(&self) -> &dyn Any {
        self
    }
}

#[cfg(test)]
mod tests {
    use arrow_array::cast::AsArray;
    use arrow_array::types::{Float64Type, Int64Type};
    use proptest::prelude::*;

    use super::super::clean::{assert_clean, clean};
    use super::super::tests_support::{context_keys, operator};
    use super::*;

    fn replace(v: Parameter) -> OperatorRef {
        operator("replace", &[("v", v)])
    }

    fn run(v: Parameter, values: impl Array + 'static) -> ArrayRef {
        let keys = context_keys();
        let context = OperatorContext { purpose: "analytics", column: "name", keys: &keys };
        let out = replace(v).apply(&(Arc::new(values) as ArrayRef), &context).unwrap();
        assert_clean(&clean(&out).unwrap());
        out
    }

    /// The case of Microsoft Presidio's `Replace` (presidio-anonymizer 2.2, `new_value`).
    #[test]
    fn a_text_becomes_the_constant() {
        let out = run(Parameter::Text("<PERSON>".into()), StringArray::from(vec![Some("Ada"), None, Some("")]));
        assert_eq!(out.as_string::<i32>(), &StringArray::from(vec![Some("<PERSON>"), None, Some("<PERSON>")]));
    }

    #[test]
    fn numbers_and_booleans_become_theirs() {
        let out = run(Parameter::Integer(0), Int64Array::from(vec![Some(7), None]));
        assert_eq!(out.as_primitive::<Int64Type>(), &Int64Array::from(vec![Some(0), None]));
        let out = run(Parameter::Integer(0), Float64Array::from(vec![None, Some(f64::NAN)]));
        assert_eq!(out.as_primitive::<Float64Type>(), &Float64Array::from(vec![None, Some(0.0)]));
        let out = run(Parameter::Bool(false), BooleanArray::from(vec![Some(true), None]));
        assert_eq!(out.as_boolean(), &BooleanArray::from(vec![Some(false), None]));
    }

    #[test]
    fn the_constant_must_fit_the_field() {
        let types = |v: Parameter| {
            let operator = replace(v);
            [FieldType::Bool, FieldType::I64, FieldType::F64, FieldType::String, FieldType::Timestamp]
                .map(|kind| operator.output(kind).is_some())
        };
        assert_eq!(types(Parameter::Text("x".into())), [false, false, false, true, false]);
        assert_eq!(types(Parameter::Integer(1)), [false, true, true, false, false]);
        assert_eq!(types(Parameter::Float(0.5)), [false, false, true, false, false]);
        assert_eq!(types(Parameter::Bool(true)), [true, false, false, false, false]);
        for (v, says) in [(Parameter::Text(String::new()), "empty"), (Parameter::Float(f64::NAN), "finite")] {
            let error = super::super::build("replace", &[("v".to_owned(), v)].into()).unwrap_err();
            assert!(error.message.contains(says) && !error.mend.is_empty());
        }
        assert!(super::super::build("replace", &[].into()).unwrap_err().message.contains("needs `v`"));
    }

    #[test]
    fn a_constant_is_stricter_than_any_generalisation_but_another_constant() {
        let constant = replace(Parameter::Text("x".into()));
        let ip = operator("ip_trunc", &[]);
        assert!(constant.covers(&*ip) && !ip.covers(&*constant));
        assert!(constant.covers(&*replace(Parameter::Text("x".into()))));
        assert!(!constant.covers(&*replace(Parameter::Text("y".into()))));
    }

    proptest! {
        #[test]
        fn null_in_null_out_and_nothing_of_the_values(values: Vec<Option<String>>) {
            let input = StringArray::from(values.clone());
            let once = run(Parameter::Text("-".into()), input);
            prop_assert_eq!(once.as_string::<i32>().iter().map(|v| v.is_some()).collect::<Vec<_>>(), values.iter().map(Option::is_some).collect::<Vec<_>>());
            prop_assert!(once.as_string::<i32>().iter().flatten().all(|text| text == "-"));
            let twice = run(Parameter::Text("-".into()), once.as_string::<i32>().clone());
            prop_assert_eq!(&once, &twice);
        }
    }
}
