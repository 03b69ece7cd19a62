//! Answers as Parquet: Arrow batches as they are, and rows of JSON as columns of the type that all their values have.

use std::sync::Arc;

use arrow_array::{ArrayRef, BooleanArray, Float64Array, Int64Array, RecordBatch, StringArray};
use arrow_schema::ArrowError;
use parquet::arrow::ArrowWriter;
use parquet::basic::{Compression, ZstdLevel};
use parquet::errors::ParquetError;
use parquet::file::metadata::KeyValue;
use parquet::file::properties::WriterProperties;
use serde_json::Value;

/// One file of batches that share a schema; `about` goes into its metadata.
pub(super) fn parquet(batches: &[RecordBatch], about: &[(&str, String)]) -> Result<Vec<u8>, ParquetError> {
    let Some(first) = batches.first() else {
        return Err(ParquetError::General("there is no schema".to_owned()));
    };
    let about = about.iter().map(|(key, value)| KeyValue::new((*key).to_owned(), value.clone())).collect();
    let properties = WriterProperties::builder()
        .set_compression(Compression::ZSTD(ZstdLevel::default()))
        .set_key_value_metadata(Some(about))
        .build();
    let mut writer = ArrowWriter::try_new(Vec::new(), first.schema(), Some(properties))?;
    for batch in batches {
        writer.write(batch)?;
    }
    writer.into_inner()
}

/// Rows as columns: (name, whether it holds numbers), and the cells.
pub(super) fn batch(columns: &[(&str, bool)], rows: &[Vec<Value>]) -> Result<RecordBatch, ArrowError> {
    let column = |(at, (name, number)): (usize, &(&str, bool))| {
        let cells: Vec<&Value> = rows.iter().map(|row| row.get(at).unwrap_or(&Value::Null)).collect();
        ((*name).to_owned(), array(&cells, *number), true)
    };
    RecordBatch::try_from_iter_with_nullable(columns.iter().enumerate().map(column))
}

fn array(cells: &[&Value], number: bool) -> ArrayRef {
    let all = |is: fn(&Value) -> bool| cells.iter().all(|cell| cell.is_null() || is(cell));
    let empty = cells.iter().all(|cell| cell.is_null());
    if empty && number || !empty && all(Value::is_i64) {
        return Arc::new(cells.iter().map(|cell| cell.as_i64()).collect::<Int64Array>());
    }
    // Doubles that JSON has no number for are among numbers as texts; alone they may be texts.
    if cells.iter().any(|cell| cell.is_number()) && all(|cell| double(cell).is_some()) {
        return Arc::new(cells.iter().map(|cell| double(cell)).collect::<Float64Array>());
    }
    if !empty && all(Value::is_boolean) {
        return Arc::new(cells.iter().map(|cell| cell.as_bool()).collect::<BooleanArray>());
    }
    Arc::new(cells.iter().map(|cell| text(cell)).collect::<StringArray>())
}

/// A number, or what `json_of_double` writes of one.
fn double(cell: &Value) -> Option<f64> {
    match cell.as_str() {
        Some("NaN") => Some(f64::NAN),
        Some("Infinity") => Some(f64::INFINITY),
        Some("-Infinity") => Some(f64::NEG_INFINITY),
        _ => cell.as_f64(),
    }
}

/// What is no text is its JSON: programs read it back.
fn text(cell: &Value) -> Option<String> {
    match cell {
        Value::Null => None,
        Value::String(text) => Some(text.clone()),
        other => Some(other.to_string()),
    }
}

#[cfg(test)]
mod tests {
    use arrow_array::Array;
    use arrow_array::cast::AsArray;
    use arrow_array::types::Float64Type;
    use arrow_schema::DataType::{self, Boolean, Float64, Int64, Utf8};
    use parquet::arrow::arrow_reader::ParquetRecordBatchReaderBuilder;
    use serde_json::json;

    use super::*;

    #[test]
    fn doubles_that_json_has_no_number_for_stay_doubles() {
        let column = |cells: &[Value]| array(&cells.iter().collect::<Vec<_>>(), false);
        let doubles = column(&[json!("NaN"), json!("-Infinity"), json!("Infinity"), json!(1), json!(null)]);
        let doubles = doubles.as_primitive::<Float64Type>();
        assert!(doubles.value(0).is_nan() && doubles.is_null(4));
        assert_eq!(doubles.values()[1..4], [f64::NEG_INFINITY, f64::INFINITY, 1.0]);
        assert_eq!(column(&[json!("NaN"), json!(null)]).data_type(), &Utf8);
        assert_eq!(column(&[json!("NaN"), json!(1), json!("x")]).data_type(), &Utf8);
    }

    #[test]
    fn columns_take_the_type_of_all_their_values_and_are_read_back() {
        let rows = [
            vec![json!("a"), json!(1), json!(1), json!(true), json!({ "no_rule": 4 }), json!(null), json!(null)],
            vec![json!(null), json!(-2), json!(0.5), json!(null), json!("x"), json!(null), json!(null)],
        ];
        let titles = ["text", "whole", "real", "flag", "mixed", "none", "count"];
        let titles: Vec<(&str, bool)> = titles.iter().map(|name| (*name, *name == "count")).collect();
        let written = batch(&titles, &rows).unwrap();
        let kinds: Vec<DataType> = written.schema().fields().iter().map(|field| field.data_type().clone()).collect();
        assert_eq!(kinds, [Utf8, Int64, Float64, Boolean, Utf8, Utf8, Int64]);

        let bytes = parquet(std::slice::from_ref(&written), &[("candor.kind", "test".to_owned())]).unwrap();
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("x.parquet");
        std::fs::write(&path, bytes).unwrap();
        let reader = ParquetRecordBatchReaderBuilder::try_new(std::fs::File::open(&path).unwrap()).unwrap();
        let about = reader.metadata().file_metadata().key_value_metadata().unwrap();
        assert!(about.iter().any(|pair| pair.key == "candor.kind" && pair.value.as_deref() == Some("test")));
        let read: Vec<RecordBatch> = reader.build().unwrap().collect::<Result<_, _>>().unwrap();
        assert_eq!(read, [written]);
        assert!(parquet(&[], &[]).is_err());
    }
}
