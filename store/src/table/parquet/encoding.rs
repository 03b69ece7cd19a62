//! How each column is written: encoded by its cardinality, and with statistics only where they say nothing of a person.

use arrow_array::cast::AsArray;
use arrow_array::types::{Float64Type, Int32Type, Int64Type, TimestampMicrosecondType};
use arrow_array::{Array, ArrayRef};
use arrow_schema::{ArrowError, DataType, Schema, TimeUnit};
use hashbrown::HashSet;
use parquet::basic::{Compression, Encoding, ZstdLevel};
use parquet::file::metadata::KeyValue;
use parquet::file::properties::{EnabledStatistics, WriterProperties, WriterPropertiesBuilder};
use parquet::schema::types::ColumnPath;

use super::ROW_GROUP_ROWS;
use super::sorted::Sorted;
use crate::table::layout;

/// Values looked at to tell whether a column repeats itself.
const SAMPLE: usize = 8_192;

/// Bytes of a page, before compression: whoever looks for one subject reads a page of each column. Columns that take little room
/// keep the rows that the library gives a page: more pages would cost more than they are.
const PAGE_BYTES: usize = 16 << 10;
/// The same of numbers without a dictionary: whoever wants one reads all that stand before it in its page.
const NUMBERS_PAGE_BYTES: usize = 8 << 10;
/// Values after which the writer looks whether a page is full: texts of 32 bytes fill one.
const VALUES_AT_A_TIME: usize = 512;

/// No statistics but on columns that say nothing of a person; one bloom filter, on the subject.
pub(super) fn properties(
    schema: &Schema,
    rows: &Sorted<'_>,
    metadata: Vec<KeyValue>,
) -> Result<WriterProperties, ArrowError> {
    let subject = ColumnPath::from(layout::SUBJECT);
    let mut builder = WriterProperties::builder()
        .set_compression(Compression::ZSTD(ZstdLevel::default()))
        .set_max_row_group_row_count(Some(ROW_GROUP_ROWS))
        .set_data_page_size_limit(PAGE_BYTES)
        .set_write_batch_size(VALUES_AT_A_TIME)
        .set_statistics_enabled(EnabledStatistics::None)
        .set_column_statistics_enabled(ColumnPath::from(layout::EVENT), EnabledStatistics::Page)
        .set_column_statistics_enabled(ColumnPath::from(layout::DECISION), EnabledStatistics::Page)
        .set_column_bloom_filter_enabled(subject.clone(), true)
        .set_column_bloom_filter_max_ndv(subject, rows.subjects().max(1) as u64)
        .set_key_value_metadata(Some(metadata));
    for field in schema.fields() {
        let repeats = match field.name().as_str() {
            layout::SUBJECT => rows.subjects() * 2 <= rows.len(),
            // One number for all rows that came together: differences take less than a dictionary.
            layout::BATCH => false,
            _ => repeats_itself(&rows.sample(field, SAMPLE)?),
        };
        builder = match field.data_type() {
            // What is encoded is the elements.
            DataType::List(element) => encode(builder, element_path(field.name()), element.data_type(), repeats),
            kind => encode(builder, ColumnPath::from(field.name().as_str()), kind, repeats),
        };
    }
    Ok(builder.build())
}

/// Path of a list's elements in a Parquet schema.
fn element_path(column: &str) -> ColumnPath {
    ColumnPath::new(vec![column.to_owned(), "list".to_owned(), "element".to_owned()])
}

/// A dictionary where values repeat; without one, lengths and differences apart from the bytes, which zstd then packs.
fn encode(
    builder: WriterPropertiesBuilder,
    column: ColumnPath,
    kind: &DataType,
    repeats: bool,
) -> WriterPropertiesBuilder {
    let builder = builder.set_column_dictionary_enabled(column.clone(), repeats);
    match kind {
        DataType::Utf8 => builder.set_column_encoding(column, Encoding::DELTA_LENGTH_BYTE_ARRAY),
        DataType::Int32 | DataType::Int64 | DataType::Timestamp(..) => {
            let builder = builder.set_column_encoding(column.clone(), Encoding::DELTA_BINARY_PACKED);
            if repeats { builder } else { builder.set_column_data_page_size_limit(column, NUMBERS_PAGE_BYTES) }
        }
        _ => builder,
    }
}

/// Whether at most half of a sample's values are distinct. Neighbours are left out: sorted rows repeat by the subject,
/// and what counts is whether the column's values come again in the whole file.
fn repeats_itself(values: &ArrayRef) -> bool {
    match values.data_type() {
        DataType::Utf8 => {
            let values = values.as_string::<i32>();
            few_distinct(values, |row| values.value(row))
        }
        DataType::Int32 => {
            let values = values.as_primitive::<Int32Type>();
            few_distinct(values, |row| values.value(row))
        }
        DataType::Int64 => {
            let values = values.as_primitive::<Int64Type>();
            few_distinct(values, |row| values.value(row))
        }
        DataType::Float64 => {
            let values = values.as_primitive::<Float64Type>();
            few_distinct(values, |row| values.value(row).to_bits())
        }
        DataType::Timestamp(TimeUnit::Microsecond, _) => {
            let values = values.as_primitive::<TimestampMicrosecondType>();
            few_distinct(values, |row| values.value(row))
        }
        DataType::List(_) => repeats_itself(values.as_list::<i32>().values()),
        _ => false,
    }
}

fn few_distinct<V: std::hash::Hash + Eq>(array: &dyn Array, value: impl Fn(usize) -> V) -> bool {
    let mut seen: HashSet<V, foldhash::fast::RandomState> = HashSet::default();
    let mut looked_at = 0;
    for row in (0..array.len()).filter(|row| array.is_valid(*row)) {
        seen.insert(value(row));
        looked_at += 1;
    }
    seen.len() * 2 <= looked_at
}
