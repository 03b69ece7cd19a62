//! `bin`: the lower bound of the interval `[a, b)` that holds a number.

use std::any::Any;
use std::sync::Arc;

use arrow_array::cast::AsArray;
use arrow_array::types::{Float64Type, Int64Type};
use arrow_array::{ArrayRef, Float64Array, Int64Array};
use arrow_schema::DataType;

use super::number::Number;
use super::parameters::{Parameters, error};
use super::{BuildError, Operator, OperatorContext, OperatorError, OperatorRef, Parameter, Rank, arrow_type};
use crate::catalogue::FieldType;

const MEND: &str = "write `width = 5` (more than 0), and `origin = 0` if an interval does not begin at 0";

/// Intervals of `width`, one of which begins at `origin`.
#[derive(Debug)]
struct Bin {
    width: Number,
    origin: Number,
}

pub(super) fn build(parameters: &mut Parameters<'_>) -> Result<OperatorRef, BuildError> {
    let width = parameters.get("width").ok_or_else(|| error("`bin` needs `width`", MEND))?;
    let width = Number::new(width)
        .filter(Number::is_positive)
        .ok_or_else(|| error("`width` of `bin` must be a number above 0", MEND))?;
    let origin = Number::new(parameters.get("origin").unwrap_or(&Parameter::Integer(0)))
        .ok_or_else(|| error("`origin` of `bin` must be a finite number", MEND))?;
    Ok(Arc::new(Bin { width, origin }))
}

/// `None` where the lower bound lies below every i64.
fn floor_whole(value: i64, width: i64, origin: i64) -> Option<i64> {
    let past = match value.checked_sub(origin) {
        Some(distance) => distance.rem_euclid(width),
        None => (i128::from(value) - i128::from(origin)).rem_euclid(i128::from(width)) as i64,
    };
    value.checked_sub(past)
}

/// `None` for NaN, for infinities, and where the lower bound is too far out for f64.
fn floor_float(value: f64, width: f64, origin: f64) -> Option<f64> {
    let mut steps = ((value - origin) / width).floor();
    let at = |steps: f64| origin + steps * width;
    // The division rounds: the value must lie in [a, b) as its bounds are written.
    if at(steps) > value {
        steps -= 1.0;
    } else if at(steps + 1.0) <= value {
        steps += 1.0;
    }
    // Adding 0 turns -0 into 0: the sign of a zero would tell on which side the value was.
    Some(at(steps) + 0.0).filter(|bound| bound.is_finite())
}

impl Operator for Bin {
    fn name(&self) -> &'static str {
        "bin"
    }

    fn rank(&self) -> Rank {
        Rank::Generalisation
    }

    fn parameters(&self) -> String {
        format!("width={} origin={}", self.width, self.origin)
    }

    fn covers(&self, other: &dyn Operator) -> bool {
        other.as_any().downcast_ref::<Self>().is_some_and(|other| {
            self.width.is_multiple(Number::ZERO, other.width) && self.origin.is_multiple(other.origin, other.width)
        })
    }

    fn output(&self, input: FieldType) -> Option<DataType> {
        let fits = match input {
            FieldType::I64 => self.width.whole.is_some() && self.origin.whole.is_some(),
            FieldType::F64 => self.width.float.is_some() && self.origin.float.is_some(),
            FieldType::Bool | FieldType::String | FieldType::Timestamp | FieldType::Position => false,
        };
        fits.then(|| arrow_type(input))
    }

    fn suffix(&self) -> Option<&'static str> {
        None
    }

    fn apply(&self, values: &ArrayRef, _: &OperatorContext<'_>) -> Result<ArrayRef, OperatorError> {
        let wrong = OperatorError::WrongType("bin");
        match values.data_type() {
            DataType::Int64 => {
                let (Some(width), Some(origin)) = (self.width.whole, self.origin.whole) else { return Err(wrong) };
                let values = values.as_primitive_opt::<Int64Type>().ok_or(wrong)?.iter();
                let bounds = values.map(|value| value.and_then(|value| floor_whole(value, width, origin)));
                Ok(Arc::new(bounds.collect::<Int64Array>()))
            }
            DataType::Float64 => {
                let (Some(width), Some(origin)) = (self.width.float, self.origin.float) else { return Err(wrong) };
                let values = values.as_primitive_opt::<Float64Type>().ok_or(wrong)?.iter();
                let bounds = values.map(|value| value.and_then(|value| floor_float(value, width, origin)));
                Ok(Arc::new(bounds.collect::<Float64Array>()))
            }
            _ => Err(wrong),
        }
    }

    fn as_any(&self) -> &dyn Any {
        self
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::super::clean::assert_clean;
    use super::super::tests_support::{context_keys, operator};
    use super::*;

    fn bin(width: Parameter, origin: Parameter) -> OperatorRef {
        operator("bin", &[("width", width), ("origin", origin)])
    }

    #[test]
    fn writes_lower_bounds_of_whole_numbers() {
        let keys = context_keys();
        let context = OperatorContext { purpose: "analytics", column: "birth_year", keys: &keys };
        let values: ArrayRef = Arc::new(Int64Array::from(vec![Some(1987), Some(1985), Some(-1), None, Some(i64::MIN)]));
        let out = operator("bin", &[("width", Parameter::Integer(5))]).apply(&values, &context).unwrap();
        assert_clean(&out);
        assert_eq!(
            out.as_primitive::<Int64Type>(),
            &Int64Array::from(vec![Some(1985), Some(1985), Some(-5), None, None])
        );
        let out = bin(Parameter::Integer(10), Parameter::Integer(3)).apply(&values, &context).unwrap();
        let bounds = out.as_primitive::<Int64Type>();
        assert_eq!((bounds.value(0), bounds.value(1), bounds.value(2)), (1983, 1983, -7));
    }

    #[test]
    fn writes_lower_bounds_of_floats_and_drops_nan_and_infinities() {
        let keys = context_keys();
        let context = OperatorContext { purpose: "analytics", column: "speed", keys: &keys };
        let values = [21.7, -0.1, -0.0, f64::NAN, f64::INFINITY, f64::NEG_INFINITY, 1e300].map(Some);
        let values: ArrayRef = Arc::new(Float64Array::from(values.to_vec()));
        let out = bin(Parameter::Float(0.5), Parameter::Integer(0)).apply(&values, &context).unwrap();
        assert_clean(&out);
        let out: Vec<_> = out.as_primitive::<Float64Type>().iter().collect();
        assert_eq!(out, [Some(21.5), Some(-0.5), Some(0.0), None, None, None, Some(1e300)]);
        assert!(out[2].unwrap().is_sign_positive());
    }

    #[test]
    fn a_type_that_the_parameters_do_not_fit_is_refused() {
        let half = bin(Parameter::Float(0.5), Parameter::Integer(0));
        assert_eq!((half.output(FieldType::I64), half.output(FieldType::F64)), (None, Some(DataType::Float64)));
        let ten = bin(Parameter::Float(10.0), Parameter::Integer(0));
        assert_eq!(ten.output(FieldType::I64), Some(DataType::Int64));
        assert_eq!((ten.output(FieldType::String), ten.output(FieldType::Timestamp)), (None, None));
    }

    #[test]
    fn multiples_with_aligned_origins_cover() {
        let whole = |width, origin| bin(Parameter::Integer(width), Parameter::Integer(origin));
        assert!(
            whole(10, 0).covers(&*whole(5, 0))
                && whole(10, 5).covers(&*whole(5, 0))
                && whole(5, 0).covers(&*whole(5, 0))
        );
        assert!(whole(10, -5).covers(&*whole(5, 10)));
        assert!(!whole(10, 3).covers(&*whole(5, 0)) && !whole(12, 0).covers(&*whole(5, 0)));
        assert!(!whole(5, 0).covers(&*whole(10, 0)));
        assert!(whole(1, 0).covers(&*bin(Parameter::Float(0.25), Parameter::Float(0.5))));
        assert!(whole(i64::MAX, i64::MIN).covers(&*whole(1, i64::MAX)));
    }

    #[test]
    fn the_width_must_be_a_positive_number() {
        for width in [
            Parameter::Integer(0),
            Parameter::Integer(-5),
            Parameter::Float(f64::NAN),
            Parameter::Float(f64::INFINITY),
            Parameter::Text("5".into()),
        ] {
            assert!(super::super::build("bin", &[("width".to_owned(), width)].into()).is_err());
        }
        assert!(super::super::build("bin", &[].into()).unwrap_err().message.contains("needs `width`"));
    }

    proptest! {
        #[test]
        fn a_whole_number_lies_in_its_interval(value: i64, width in 1_i64.., origin: i64) {
            if let Some(bound) = floor_whole(value, width, origin) {
                prop_assert!(bound <= value);
                prop_assert!(i128::from(value) < i128::from(bound) + i128::from(width));
                prop_assert_eq!((i128::from(bound) - i128::from(origin)) % i128::from(width), 0);
            } else {
                prop_assert!(i128::from(value) - i128::from(width) < i128::from(i64::MIN));
            }
        }

        #[test]
        fn a_float_lies_in_its_interval(value in -1e9..1e9, width in 1e-3..1e3, origin in -1e3..1e3) {
            let bound = floor_float(value, width, origin).unwrap();
            prop_assert!(bound <= value);
            prop_assert!(value - bound <= width * 1.001);
            prop_assert_eq!(floor_float(bound, width, origin), Some(bound));
        }

        #[test]
        fn no_float_panics(value: f64, width in f64::MIN_POSITIVE.., origin: f64) {
            prop_assume!(width.is_finite() && origin.is_finite());
            if let Some(bound) = floor_float(value, width, origin) {
                prop_assert!(bound.is_finite());
            }
        }
    }
}
