//! One file of a table: 65,536 rows of 10 columns, sorted by salted subject and written, against its floor: the same
//! rows compressed as they come, without sort, bloom filter or sync.

#![expect(clippy::expect_used, reason = "a bench that cannot go on must say so")]

use std::hint::black_box;
use std::sync::Arc;

use arrow_array::{ArrayRef, BooleanArray, Float64Array, Int32Array, Int64Array, RecordBatch, StringArray};
use criterion::{BatchSize, Criterion, Throughput, criterion_group, criterion_main};
use parquet::arrow::ArrowWriter;
use parquet::basic::{Compression, ZstdLevel};
use parquet::file::properties::WriterProperties;

const ROWS: usize = 65_536;

/// 1,000 subjects, arriving in turn.
fn rows() -> RecordBatch {
    let text = |of: &dyn Fn(usize) -> String| -> ArrayRef {
        Arc::new((0..ROWS).map(|row| Some(of(row))).collect::<StringArray>())
    };
    let scrambled = |row: usize| (row as u64).wrapping_mul(0x9e37_79b9_7f4a_7c15);
    let columns: [(&str, ArrayRef, bool); 10] = [
        ("event", text(&|row| format!("phone.app.{}", ["opened", "closed", "crashed"][row % 3])), true),
        ("subject", text(&|row| format!("{:016x}{:016x}", scrambled(row % 1_000), scrambled(row % 1_000 + 7))), true),
        ("consent_seq", Arc::new((0..ROWS).map(|row| Some(1 + (row % 4) as i64)).collect::<Int64Array>()), true),
        ("decision", Arc::new((0..ROWS).map(|row| Some((row % 5) as i32)).collect::<Int32Array>()), true),
        ("imei_hmac", text(&|row| format!("{:016x}{:016x}", scrambled(row), scrambled(row + 1))), true),
        ("app_package", text(&|row| format!("com.example.app{}", row % 200)), true),
        (
            "duration_ms",
            Arc::new((0..ROWS).map(|row| Some((scrambled(row) >> 44) as i64)).collect::<Int64Array>()),
            true,
        ),
        ("battery", Arc::new((0..ROWS).map(|row| Some((row % 100) as f64)).collect::<Float64Array>()), true),
        ("charging", Arc::new((0..ROWS).map(|row| Some(row % 7 == 0)).collect::<BooleanArray>()), true),
        ("screen", text(&|row| format!("screen-{}", row % 40)), true),
    ];
    RecordBatch::try_from_iter_with_nullable(columns).expect("columns of one length")
}

fn floor(rows: &RecordBatch) -> Vec<u8> {
    let properties = WriterProperties::builder().set_compression(Compression::ZSTD(ZstdLevel::default())).build();
    let written = ArrowWriter::try_new(Vec::new(), rows.schema(), Some(properties)).and_then(|mut writer| {
        writer.write(rows)?;
        writer.into_inner()
    });
    written.expect("it can be written")
}

fn parquet(criterion: &mut Criterion) {
    let rows = rows();
    let mut group = criterion.benchmark_group("parquet");
    group.throughput(Throughput::Elements(ROWS as u64)).sample_size(20);
    group.bench_function("floor", |bench| bench.iter(|| black_box(floor(&rows))));
    group.bench_function("sorted file", |bench| {
        bench.iter_batched(
            || tempfile::tempdir().expect("a folder"),
            |folder| {
                let written = candor_store::flush::write_one_file(folder.path(), "analytics", "phone.app", &rows);
                (black_box(written.expect("it can be written")), folder)
            },
            BatchSize::PerIteration,
        );
    });
    group.finish();
}

criterion_group!(benches, parquet);
criterion_main!(benches);
