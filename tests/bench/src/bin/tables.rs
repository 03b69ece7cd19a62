//! The floor of work on sealed files: what it costs on one core to decode every column of a table's files, or to decode them and
//! write each once more, in the same encodings and with the same codec, synced.
//!
//! `tables read FOLDER` or `tables rewrite FOLDER OUT`; prints how many files and rows there were.

use std::fs::File;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use arrow_array::RecordBatch;
use arrow_schema::Schema;
use parquet::arrow::ArrowWriter;
use parquet::arrow::arrow_reader::ParquetRecordBatchReaderBuilder;
use parquet::basic::{Compression, Encoding, ZstdLevel};
use parquet::file::metadata::ParquetMetaData;
use parquet::file::properties::{EnabledStatistics, WriterProperties};

/// Rows that are decoded at a time, as the service does.
const BATCH_ROWS: usize = 16_384;
/// Rows of a row group, as the service has them.
const GROUP_ROWS: usize = 262_144;

fn main() {
    let args: Vec<String> = std::env::args().collect();
    let files = parquet_files(Path::new(&args[2]));
    let mut rows = 0;
    for (number, path) in files.iter().enumerate() {
        let builder = ParquetRecordBatchReaderBuilder::try_new(File::open(path).unwrap()).unwrap();
        let (about, schema) = (Arc::clone(builder.metadata()), builder.schema().as_ref().clone());
        let batches = builder.with_batch_size(BATCH_ROWS).build().unwrap().map(|batch| {
            let batch = batch.unwrap();
            rows += batch.num_rows();
            batch
        });
        match args[1].as_str() {
            "read" => batches.for_each(|batch| drop(std::hint::black_box(batch))),
            "rewrite" => write(&Path::new(&args[3]).join(format!("{number}.parquet")), schema, &about, batches),
            other => panic!("nothing is called {other:?}: read or rewrite"),
        }
    }
    println!("{{\"files\":{},\"rows\":{rows}}}", files.len());
}

fn write(path: &Path, schema: Schema, about: &ParquetMetaData, batches: impl Iterator<Item = RecordBatch>) {
    let mut properties = WriterProperties::builder()
        .set_compression(Compression::ZSTD(ZstdLevel::default()))
        .set_max_row_group_row_count(Some(GROUP_ROWS))
        .set_statistics_enabled(EnabledStatistics::None);
    for column in about.row_group(0).columns() {
        let name = column.column_path().clone();
        properties = properties.set_column_dictionary_enabled(name.clone(), column.dictionary_page_offset().is_some());
        for encoding in [Encoding::DELTA_LENGTH_BYTE_ARRAY, Encoding::DELTA_BINARY_PACKED] {
            if column.encodings().any(|used| used == encoding) {
                properties = properties.set_column_encoding(name.clone(), encoding);
            }
        }
    }
    let (file, schema) = (File::create(path).unwrap(), Arc::new(schema));
    let mut writer = ArrowWriter::try_new(file, schema, Some(properties.build())).unwrap();
    for batch in batches {
        writer.write(&batch).unwrap();
    }
    writer.into_inner().unwrap().sync_all().unwrap();
}

fn parquet_files(folder: &Path) -> Vec<PathBuf> {
    let (mut found, mut folders) = (Vec::new(), vec![folder.to_owned()]);
    while let Some(next) = folders.pop() {
        for entry in std::fs::read_dir(next).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() && path.file_name().is_some_and(|name| name != "_delta_log") {
                folders.push(path);
            } else if path.extension().is_some_and(|ending| ending == "parquet") {
                found.push(path);
            }
        }
    }
    found.sort_unstable();
    found
}
