//! `top_code`: a number, with what lies above a bound told as the bound.

use std::any::Any;
use std::sync::Arc;

use arrow_array::cast::AsArray;
use arrow_array::types::{Float64Type, Int64Type};
use arrow_array::{ArrayRef, Float64Array, Int64Array};
use arrow_schema::DataType;

use super::number::Number;
use super::parameters::{Parameters, error};
use super::{BuildError, Operator, OperatorContext, OperatorError, OperatorRef, Rank, arrow_type};
use crate::catalogue::FieldType;

const MEND: &str = "write `max = 90`, and `bottom = 10` where low values tell as much";

/// The rare values at the ends of a distribution are the ones that name somebody: the oldest, the richest, the fastest.
#[derive(Debug)]
struct TopCode {
    max: Number,
    bottom: Option<Number>,
}

pub(super) fn build(parameters: &mut Parameters<'_>) -> Result<OperatorRef, BuildError> {
    let max = parameters.get("max").ok_or_else(|| error("`top_code` needs `max`", MEND))?;
    let max = Number::new(max).ok_or_else(|| error("`max` of `top_code` must be a finite number", MEND))?;
    let bottom = match parameters.get("bottom") {
        None => None,
        Some(given) => Some(
            Number::new(given)
                .filter(|bottom| bottom.is_at_most(max) && !max.is_at_most(*bottom))
                .ok_or_else(|| error("`bottom` of `top_code` must be a number below `max`", MEND))?,
        ),
    };
    Ok(Arc::new(TopCode { max, bottom }))
}

/// `None` for NaN, and for minus infinity where nothing bounds it.
fn bound(value: f64, max: f64, bottom: Option<f64>) -> Option<f64> {
    // Neither `min` nor `max` of floats would do: both take the other number for NaN.
    if value.is_nan() {
        return None;
    }
    let bounded = bottom.map_or(value, |bottom| value.max(bottom)).min(max);
    bounded.is_finite().then_some(bounded)
}

impl Operator for TopCode {
    fn name(&self) -> &'static str {
        "top_code"
    }

    fn rank(&self) -> Rank {
        Rank::Generalisation
    }

    fn parameters(&self) -> String {
        self.bottom.map_or_else(|| format!("max={}", self.max), |bottom| format!("max={} bottom={bottom}", self.max))
    }

    fn covers(&self, other: &dyn Operator) -> bool {
        other.as_any().downcast_ref::<Self>().is_some_and(|other| {
            self.max.is_at_most(other.max)
                && other.bottom.is_none_or(|theirs| self.bottom.is_some_and(|ours| theirs.is_at_most(ours)))
        })
    }

    fn output(&self, input: FieldType) -> Option<DataType> {
        let fits = match input {
            FieldType::I64 => self.max.whole.is_some() && self.bottom.is_none_or(|bottom| bottom.whole.is_some()),
            FieldType::F64 => self.max.float.is_some() && self.bottom.is_none_or(|bottom| bottom.float.is_some()),
            _ => false,
        };
        fits.then(|| arrow_type(input))
    }

    fn suffix(&self) -> Option<&'static str> {
        None
    }

    fn apply(&self, values: &ArrayRef, _: &OperatorContext<'_>) -> Result<ArrayRef, OperatorError> {
        let wrong = OperatorError::WrongType("top_code");
        match values.data_type() {
            DataType::Int64 if self.output(FieldType::I64).is_some() => {
                let (Some(max), bottom) = (self.max.whole, self.bottom.and_then(|bottom| bottom.whole)) else {
                    return Err(wrong);
                };
                let bound = |value: i64| bottom.map_or(value, |bottom| value.max(bottom)).min(max);
                let values = values.as_primitive_opt::<Int64Type>().ok_or(wrong)?.iter();
                Ok(Arc::new(values.map(|value| value.map(bound)).collect::<Int64Array>()))
            }
            DataType::Float64 if self.output(FieldType::F64).is_some() => {
                let (Some(max), bottom) = (self.max.float, self.bottom.and_then(|bottom| bottom.float)) else {
                    return Err(wrong);
                };
                let values = values.as_primitive_opt::<Float64Type>().ok_or(wrong)?.iter();
                let bounded = values.map(|value| value.and_then(|value| bound(value, max, bottom)));
                Ok(Arc::new(bounded.collect::<Float64Array>()))
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

    use super::super::Parameter;
    use super::super::clean::assert_clean;
    use super::super::tests_support::{context_keys, operator};
    use super::*;

    fn top_code(max: i64, bottom: Option<i64>) -> OperatorRef {
        let mut parameters = vec![("max", Parameter::Integer(max))];
        parameters.extend(bottom.map(|bottom| ("bottom", Parameter::Integer(bottom))));
        operator("top_code", &parameters)
    }

    fn run(operator: &OperatorRef, values: impl arrow_array::Array + 'static) -> ArrayRef {
        let keys = context_keys();
        let context = OperatorContext { purpose: "analytics", column: "age", keys: &keys };
        let out = operator.apply(&(Arc::new(values) as ArrayRef), &context).unwrap();
        assert_clean(&out);
        out
    }

    fn whole(operator: &OperatorRef, values: &[Option<i64>]) -> Vec<Option<i64>> {
        run(operator, Int64Array::from(values.to_vec())).as_primitive::<Int64Type>().iter().collect()
    }

    fn floats(operator: &OperatorRef, values: &[Option<f64>]) -> Vec<Option<f64>> {
        run(operator, Float64Array::from(values.to_vec())).as_primitive::<Float64Type>().iter().collect()
    }

    /// HIPAA Safe Harbor, 45 CFR 164.514(b)(2)(i)(C): all ages over 89 go into a single category of age 90 or older.
    #[test]
    fn ages_over_89_are_one_category() {
        let ages = [Some(89), Some(90), Some(91), Some(117), None, Some(0), Some(i64::MAX), Some(i64::MIN)];
        let coded = [Some(89), Some(90), Some(90), Some(90), None, Some(0), Some(90), Some(i64::MIN)];
        assert_eq!(whole(&top_code(90, None), &ages), coded);
        assert_eq!(whole(&top_code(90, Some(18)), &[Some(3), Some(18), Some(99)]), [Some(18), Some(18), Some(90)]);
    }

    #[test]
    fn floats_without_a_number_are_null() {
        let values = [0.5, 99.9, f64::NAN, f64::INFINITY, f64::NEG_INFINITY].map(Some);
        assert_eq!(floats(&top_code(90, None), &values), [Some(0.5), Some(90.0), None, Some(90.0), None]);
        let half = operator("top_code", &[("max", Parameter::Float(90.5)), ("bottom", Parameter::Integer(1))]);
        assert_eq!(floats(&half, &values), [Some(1.0), Some(90.5), None, Some(90.5), Some(1.0)]);
        assert_eq!((half.output(FieldType::I64), half.output(FieldType::F64)), (None, Some(DataType::Float64)));
        assert_eq!(half.output(FieldType::String), None);
    }

    #[test]
    fn the_bounds_must_be_numbers_in_order() {
        let build = |parameters: &[(&str, Parameter)]| {
            let given = parameters.iter().map(|(name, value)| ((*name).to_owned(), value.clone())).collect();
            super::super::build("top_code", &given).unwrap_err().message
        };
        let ninety = ("max", Parameter::Integer(90));
        assert!(build(&[]).contains("needs `max`"));
        assert!(build(&[("max", Parameter::Text("90".into()))]).contains("`max`"));
        for bottom in [Parameter::Integer(90), Parameter::Integer(91), Parameter::Bool(true)] {
            assert!(build(&[ninety.clone(), ("bottom", bottom)]).contains("`bottom`"));
        }
    }

    #[test]
    fn tighter_bounds_cover() {
        assert!(top_code(80, None).covers(&*top_code(90, None)) && !top_code(90, None).covers(&*top_code(80, None)));
        assert!(top_code(80, Some(20)).covers(&*top_code(90, Some(10))));
        assert!(top_code(80, Some(20)).covers(&*top_code(90, None)));
        assert!(!top_code(80, None).covers(&*top_code(90, Some(10))));
        assert!(!top_code(80, Some(5)).covers(&*top_code(90, Some(10))));
    }

    proptest! {
        #[test]
        fn within_the_bounds_stable_and_true_to_the_lattice(
            values: Vec<Option<i64>>, max in -50_i64..50, low in 1_i64..50, max2 in -50_i64..50, low2 in 1_i64..50, bounded: bool,
        ) {
            let (a, b) = (top_code(max, bounded.then_some(max - low)), top_code(max2, bounded.then_some(max2 - low2)));
            let coded = whole(&a, &values);
            prop_assert!(coded.iter().flatten().all(|value| *value <= max && (!bounded || *value >= max - low)));
            prop_assert_eq!(coded.iter().map(Option::is_none).collect::<Vec<_>>(), values.iter().map(Option::is_none).collect::<Vec<_>>());
            prop_assert_eq!(&whole(&a, &coded), &coded);
            if a.covers(&*b) {
                prop_assert_eq!(&whole(&a, &whole(&b, &values)), &coded);
            }
        }

        #[test]
        fn every_float_is_bounded_or_null(values: Vec<Option<f64>>, max in -1e9..1e9, below in 1e-3..1e9) {
            let bounds = [("max", Parameter::Float(max)), ("bottom", Parameter::Float(max - below))];
            let operator = operator("top_code", &bounds);
            let coded = floats(&operator, &values);
            for (value, coded) in values.iter().zip(&coded) {
                prop_assert_eq!(coded.is_none(), value.is_none_or(f64::is_nan));
                prop_assert!(coded.is_none_or(|coded| (max - below..=max).contains(&coded)));
            }
            prop_assert_eq!(&floats(&operator, &coded), &coded);
        }
    }
}
