//! The decision cell of each row: the class of each dimension times its stride, summed column by column.

use arrow_array::cast::AsArray;
use arrow_array::types::{Float64Type, Int64Type, TimestampMicrosecondType};
use arrow_array::{Array, ArrayRef};
use arrow_schema::DataType;
use hashbrown::HashMap;

use super::facts::{FieldValues, GroupFacts};
use crate::condition::{Dimension, DimensionSubject};
use crate::plan::{Input, NO_RULE, TablePlan};

/// Row → index into `TablePlan::cells`; [`NO_RULE`] where a class is out of range, which reaches no cell.
pub(super) fn cells(table: &TablePlan, facts: &GroupFacts<'_>) -> Vec<u32> {
    let mut cells = vec![0_u32; facts.rows()];
    let mut stride = 1_u32;
    // The first dimension varies slowest.
    for dimension in table.dimensions.iter().rev() {
        add_dimension(&mut cells, dimension, stride, facts);
        stride = stride.saturating_mul(dimension.classes);
    }
    cells
}

fn add_dimension(cells: &mut [u32], dimension: &Dimension, stride: u32, facts: &GroupFacts<'_>) {
    let raw = &facts.group.raw;
    let mut add = |row: usize, class: u32| {
        cells[row] =
            if class < dimension.classes { cells[row].saturating_add(class.saturating_mul(stride)) } else { NO_RULE };
    };
    match &dimension.subject {
        DimensionSubject::Event => {
            raw.event.values().iter().enumerate().for_each(|(row, event)| add(row, u32::from(*event)));
        }
        DimensionSubject::Jurisdiction => {
            for (row, context) in facts.context_of.iter().enumerate() {
                add(row, u32::from(facts.contexts[*context as usize].jurisdiction));
            }
        }
        DimensionSubject::Gpc => {
            for (row, context) in facts.context_of.iter().enumerate() {
                add(row, u32::from(facts.contexts[*context as usize].gpc));
            }
        }
        DimensionSubject::Bool { field }
        | DimensionSubject::Enum { field, .. }
        | DimensionSubject::Interval { field, .. } => match facts.values(Input::Field(*field)) {
            // Absent is class 0, which adds nothing.
            None => {}
            Some(FieldValues::PerRow(values)) => {
                classes(&values, &dimension.subject).into_iter().enumerate().for_each(|(row, class)| add(row, class));
            }
            Some(FieldValues::PerResource(values)) => {
                let classes = classes(values, &dimension.subject);
                for (row, resource) in raw.resource.iter().enumerate() {
                    add(row, classes.get(*resource as usize).copied().unwrap_or(0));
                }
            }
        },
    }
}

/// Class of each value of a field; 0 where it is absent, or of a type that the dimension does not read.
fn classes(values: &ArrayRef, subject: &DimensionSubject) -> Vec<u32> {
    match subject {
        DimensionSubject::Bool { .. } => match values.as_boolean_opt() {
            Some(values) => values.iter().map(Dimension::class_of_bool).collect(),
            None => vec![0; values.len()],
        },
        DimensionSubject::Enum { values: declared, .. } => enum_classes(values, declared),
        DimensionSubject::Interval { cuts, .. } => interval_classes(values, cuts),
        DimensionSubject::Event | DimensionSubject::Jurisdiction | DimensionSubject::Gpc => vec![0; values.len()],
    }
}

fn enum_classes(values: &ArrayRef, declared: &[String]) -> Vec<u32> {
    let Some(values) = values.as_string_opt::<i32>() else {
        return vec![0; values.len()];
    };
    let mut numbers: HashMap<&str, u32, foldhash::quality::RandomState> = HashMap::default();
    for (number, name) in (1..).zip(declared) {
        numbers.entry(name).or_insert(number);
    }
    values.iter().map(|value| value.and_then(|value| numbers.get(value)).copied().unwrap_or(0)).collect()
}

fn interval_classes(values: &ArrayRef, cuts: &[f64]) -> Vec<u32> {
    let whole = |values: &[i64]| {
        // As floats, two whole numbers above 2^53 may be one: the least whole number of each class is exact.
        let least: Vec<i128> = cuts.iter().map(|cut| cut.ceil() as i128).collect();
        values
            .iter()
            .enumerate()
            .map(|(row, value)| (row, 1 + least.partition_point(|least| *least <= i128::from(*value)) as u32))
            .collect::<Vec<_>>()
    };
    let mut out = vec![0; values.len()];
    let mut put = |(row, class): (usize, u32)| {
        if values.is_valid(row) {
            out[row] = class;
        }
    };
    match values.data_type() {
        DataType::Float64 => {
            let Some(values) = values.as_primitive_opt::<Float64Type>() else { return out };
            let known = values.values().iter().enumerate().filter(|(_, value)| !value.is_nan());
            known.for_each(|(row, value)| put((row, 1 + cuts.partition_point(|cut| cut <= value) as u32)));
        }
        DataType::Int64 => {
            let Some(values) = values.as_primitive_opt::<Int64Type>() else { return out };
            whole(values.values()).into_iter().for_each(put);
        }
        DataType::Timestamp(..) => {
            let Some(values) = values.as_primitive_opt::<TimestampMicrosecondType>() else { return out };
            whole(values.values()).into_iter().for_each(put);
        }
        _ => {}
    }
    out
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use arrow_array::{BooleanArray, Float64Array, Int64Array, StringArray};

    use super::*;

    #[test]
    fn a_cut_belongs_to_the_class_above_it() {
        let floats: ArrayRef = Arc::new(Float64Array::from(vec![
            Some(9.9),
            Some(10.0),
            Some(20.0),
            None,
            Some(f64::NAN),
            Some(f64::NEG_INFINITY),
            Some(f64::INFINITY),
        ]));
        assert_eq!(interval_classes(&floats, &[10.0, 20.0]), [1, 2, 3, 0, 0, 1, 3]);
    }

    #[test]
    fn whole_numbers_are_compared_exactly() {
        let big = (1_i64 << 53) + 1;
        let numbers: ArrayRef =
            Arc::new(Int64Array::from(vec![Some(big - 2), Some(big), None, Some(i64::MAX), Some(i64::MIN)]));
        let cut = 2_f64.powi(53);
        assert_eq!(interval_classes(&numbers, &[cut, cut.next_up()]), [1, 2, 0, 3, 1]);
        assert_eq!(interval_classes(&numbers, &[2_f64.powi(63)]), [1, 1, 0, 1, 1], "beyond every i64");
        let small: ArrayRef = Arc::new(Int64Array::from(vec![20, 21]));
        assert_eq!(interval_classes(&small, &[20_f64.next_up()]), [1, 2], "x > 20");
    }

    #[test]
    fn absent_and_undeclared_are_class_0() {
        let text: ArrayRef = Arc::new(StringArray::from(vec![Some("b"), Some("a"), Some("c"), None]));
        assert_eq!(enum_classes(&text, &["a".into(), "b".into()]), [2, 1, 0, 0]);
        let bits: ArrayRef = Arc::new(BooleanArray::from(vec![Some(false), Some(true), None]));
        assert_eq!(classes(&bits, &DimensionSubject::Bool { field: 0 }), [1, 2, 0]);
        assert_eq!(classes(&text, &DimensionSubject::Bool { field: 0 }), [0, 0, 0, 0], "of another type");
    }
}
