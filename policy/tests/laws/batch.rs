//! A tiny batch of a catalogue, every text of which can be told from all others.

use std::sync::Arc;

use arrow_array::{
    Array, ArrayRef, BooleanArray, FixedSizeListArray, Float64Array, Int64Array, ListArray, StringArray,
    TimestampMicrosecondArray, new_null_array,
};
use arrow_buffer::OffsetBuffer;
use arrow_schema::DataType;
use candor_policy::batch::{DecodeTally, RawColumn, RawGroup, Received};
use candor_policy::catalogue::{Catalogue, Field, FieldType, Stream};
use candor_policy::operator::raw_type;

/// Rows of each stream: the first has every value, the second none.
const ROWS: usize = 2;

/// Two rows of each stream; the first ones come from `region`.
pub(crate) fn batch(catalogue: &Catalogue, region: &str) -> Received {
    let group = |(number, stream): (usize, &Stream)| {
        let per_row = |array: ArrayRef| RawColumn::PerRow(array);
        RawGroup {
            stream: number as u16,
            event: vec![0, stream.events.len() as u16 - 1].into(),
            time: TimestampMicrosecondArray::from(vec![Some(1), None]),
            resource: vec![0; ROWS],
            columns: stream.fields.iter().map(|field| per_row(column(stream, field))).collect(),
            subject: per_row(Arc::new(StringArray::from(vec!["one", "two"]))),
            jurisdiction: per_row(Arc::new(StringArray::from(vec![Some(region), None]))),
            gpc: per_row(Arc::new(BooleanArray::new_null(ROWS))),
        }
    };
    Received::new(catalogue.streams.iter().enumerate().map(group).collect(), DecodeTally::default())
}

/// The text of a field: no other field has it, unless the catalogue declares its values.
pub(crate) fn canary(stream: &Stream, field: &Field) -> String {
    match field.values.first() {
        Some(declared) => declared.clone(),
        None => format!("canary-{}-{}", stream.name, field.column),
    }
}

fn column(stream: &Stream, field: &Field) -> ArrayRef {
    let value: ArrayRef = match field.kind {
        FieldType::Bool => Arc::new(BooleanArray::from(vec![true])),
        FieldType::I64 => Arc::new(Int64Array::from(vec![15])),
        FieldType::F64 => Arc::new(Float64Array::from(vec![0.5])),
        FieldType::String => Arc::new(StringArray::from(vec![canary(stream, field)])),
        FieldType::Timestamp => Arc::new(TimestampMicrosecondArray::from(vec![1]).with_timezone("UTC")),
        FieldType::Position => {
            let DataType::FixedSizeList(degrees, _) = raw_type(field.kind, false) else { unreachable!() };
            Arc::new(FixedSizeListArray::new(degrees, 2, Arc::new(Float64Array::from(vec![48.1, 11.5])), None))
        }
    };
    let value = match raw_type(field.kind, field.list) {
        DataType::List(element) => Arc::new(ListArray::new(element, OffsetBuffer::from_lengths([1]), value, None)),
        _ => value,
    };
    let null = new_null_array(value.data_type(), ROWS - 1);
    arrow_select::concat::concat(&[&*value, &*null]).unwrap()
}
