//! Arrow rows as JSON: numbers and booleans stay what they are, lists are arrays, everything else is its text, also a double that
//! JSON has no number for.

use arrow_array::cast::AsArray;
use arrow_array::types::{Float64Type, Int64Type};
use arrow_array::{Array, ArrayRef, RecordBatch};
use arrow_cast::display::{ArrayFormatter, FormatOptions};
use arrow_schema::{ArrowError, DataType};
use candor_wire::row::json_of_double;
use serde_json::{Map, Value, json};

/// One object a row, columns in their order.
pub(crate) fn rows(batch: &RecordBatch) -> Result<Vec<Map<String, Value>>, ArrowError> {
    let options = FormatOptions::default().with_display_error(false);
    let schema = batch.schema();
    let columns = schema
        .fields()
        .iter()
        .zip(batch.columns())
        .map(|(field, column)| Ok((field.name(), column, ArrayFormatter::try_new(column.as_ref(), &options)?)))
        .collect::<Result<Vec<_>, ArrowError>>()?;
    (0..batch.num_rows())
        .map(|row| {
            let cells =
                columns.iter().map(|(name, column, text)| Ok(((*name).clone(), cell(column.as_ref(), row, text)?)));
            cells.collect()
        })
        .collect()
}

/// One cell.
pub(crate) fn value(column: &dyn Array, row: usize) -> Result<Value, ArrowError> {
    let options = FormatOptions::default().with_display_error(false);
    cell(column, row, &ArrayFormatter::try_new(column, &options)?)
}

fn cell(column: &dyn Array, row: usize, text: &ArrayFormatter<'_>) -> Result<Value, ArrowError> {
    if column.is_null(row) {
        return Ok(Value::Null);
    }
    Ok(match column.data_type() {
        DataType::Boolean => json!(column.as_boolean().value(row)),
        DataType::Int64 => json!(column.as_primitive::<Int64Type>().value(row)),
        DataType::Float64 => json_of_double(column.as_primitive::<Float64Type>().value(row)),
        DataType::List(_) => list(&column.as_list::<i32>().value(row))?,
        DataType::FixedSizeList(..) => list(&column.as_fixed_size_list().value(row))?,
        other if other.is_floating() => {
            let text = text.value(row).try_to_string()?;
            text.parse::<f64>().map_or_else(|_| json!(text), json_of_double)
        }
        other if other.is_integer() => {
            let text = text.value(row).try_to_string()?;
            text.parse::<i64>().map_or_else(|_| json!(text), |number| json!(number))
        }
        _ => json!(text.value(row).try_to_string()?),
    })
}

fn list(elements: &ArrayRef) -> Result<Value, ArrowError> {
    let options = FormatOptions::default().with_display_error(false);
    let text = ArrayFormatter::try_new(elements.as_ref(), &options)?;
    (0..elements.len()).map(|at| cell(elements.as_ref(), at, &text)).collect()
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use arrow_array::builder::{Int64Builder, ListBuilder, TimestampMicrosecondBuilder};
    use arrow_array::{
        ArrayRef, BooleanArray, Float32Array, Float64Array, Int64Array, ListArray, StringArray, UInt64Array,
    };

    use super::*;

    #[test]
    fn lists_are_arrays_of_such_values() {
        let mut numbers = ListBuilder::new(Int64Builder::new());
        numbers.append_value([Some(1), None]);
        numbers.append(false);
        let mut times = ListBuilder::new(TimestampMicrosecondBuilder::new().with_timezone("UTC"));
        times.append_value([Some(0)]);
        times.append_value([]);
        let columns: [(&str, ArrayRef); 2] = [("n", Arc::new(numbers.finish())), ("t", Arc::new(times.finish()))];
        let rows = rows(&RecordBatch::try_from_iter(columns).unwrap()).unwrap();
        assert_eq!(Value::Object(rows[0].clone()), json!({ "n": [1, null], "t": ["1970-01-01T00:00:00Z"] }));
        assert_eq!(Value::Object(rows[1].clone()), json!({ "n": null, "t": [] }));
    }

    #[test]
    fn values_keep_their_kind() {
        let whole = [Some(vec![Some(1), None]), None];
        let columns: [(&str, ArrayRef); 6] = [
            ("l", Arc::new(ListArray::from_iter_primitive::<Int64Type, _, _>(whole))),
            ("n", Arc::new(Int64Array::from(vec![Some(i64::MAX), None]))),
            ("u", Arc::new(UInt64Array::from(vec![7, u64::MAX]))),
            ("f", Arc::new(Float64Array::from(vec![0.5, f64::NAN]))),
            ("b", Arc::new(BooleanArray::from(vec![true, false]))),
            ("t", Arc::new(StringArray::from(vec!["x", "y"]))),
        ];
        let rows = rows(&RecordBatch::try_from_iter(columns).unwrap()).unwrap();
        assert_eq!((&rows[0]["l"], &rows[1]["l"]), (&json!([1, null]), &Value::Null));
        assert_eq!(
            Value::Object(rows[0].clone()),
            json!({ "l": [1, null], "n": i64::MAX, "u": 7, "f": 0.5, "b": true, "t": "x" })
        );
        assert_eq!((&rows[1]["n"], &rows[1]["u"]), (&Value::Null, &json!("18446744073709551615")));
    }

    #[test]
    fn a_double_that_is_no_number_is_not_nothing() {
        let doubles = [Some(f64::NAN), Some(f64::INFINITY), Some(f64::NEG_INFINITY), Some(-0.5), None];
        let narrow: Float32Array = doubles.iter().map(|double| double.map(|double| double as f32)).collect();
        let listed = ListArray::from_iter_primitive::<Float64Type, _, _>([Some(doubles)]);
        let expected = json!(["NaN", "Infinity", "-Infinity", -0.5, null]);
        let all = |column: &dyn Array| (0..column.len()).map(|row| value(column, row).unwrap()).collect::<Value>();
        assert_eq!(all(&Float64Array::from_iter(doubles)), expected);
        assert_eq!(all(&narrow), expected);
        assert_eq!(all(&listed), json!([expected]));
    }
}
