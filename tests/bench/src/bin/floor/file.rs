//! Rows of a file: sorted by salted subject, sealed where that is wanted, written as Parquet, synced.

use std::collections::HashMap;
use std::fs::File;
use std::path::Path;

use arrow_array::{RecordBatch, StringArray, UInt32Array};
use parquet::arrow::ArrowWriter;
use parquet::basic::{Compression, ZstdLevel};
use parquet::file::metadata::KeyValue;
use parquet::file::properties::{EnabledStatistics, WriterProperties};
use ring::digest;

use crate::columns::{SUBJECT, schema};
use crate::seal;

pub(crate) fn write(path: &Path, batches: &[RecordBatch], is_sealed: bool) {
    let all = arrow_select::concat::concat_batches(&schema(), batches).unwrap();
    let subject = all.column(SUBJECT).as_any().downcast_ref::<StringArray>().unwrap();
    let mut salted: HashMap<&str, [u8; 32]> = HashMap::new();
    let mut order: Vec<([u8; 32], u32)> = subject
        .iter()
        .enumerate()
        .map(|(row, s)| {
            let s = s.unwrap();
            let hash = salted.entry(s).or_insert_with(|| {
                let mut context = digest::Context::new(&digest::SHA256);
                context.update(b"salt");
                context.update(s.as_bytes());
                context.finish().as_ref().try_into().unwrap()
            });
            (*hash, row as u32)
        })
        .collect();
    order.sort_unstable();
    let order = UInt32Array::from_iter_values(order.into_iter().map(|(_, row)| row));
    let sorted = arrow_select::take::take_record_batch(&all, &order).unwrap();
    let metadata = is_sealed.then(|| {
        let root = seal::root(&sorted, |subject| &salted[subject]);
        vec![KeyValue::new("root".to_owned(), format!("{root:x?}"))]
    });
    let properties = WriterProperties::builder()
        .set_key_value_metadata(metadata)
        .set_compression(Compression::ZSTD(ZstdLevel::try_new(1).unwrap()))
        .set_statistics_enabled(EnabledStatistics::None)
        .set_column_bloom_filter_enabled("subject".into(), true)
        .build();
    let file = File::create(path).unwrap();
    let mut writer = ArrowWriter::try_new(file, schema(), Some(properties)).unwrap();
    writer.write(&sorted).unwrap();
    writer.into_inner().unwrap().sync_all().unwrap();
}
