//! One file of a table: 65,536 rows of 10 columns, sorted by salted subject, written and sealed, against its floor: the same
//! rows compressed as they come, without sort, bloom filter, seal or sync. `leaves alone` is what of it the seal is: its share of
//! the stage is that figure over what the rest takes, `leaves alone / (sorted file - leaves alone)`.
//!
//! `cargo bench -p candor-store --bench parquet`

#![expect(clippy::expect_used, reason = "a bench that cannot go on must say so")]

use std::hint::black_box;
use std::sync::Arc;

use arrow_array::{ArrayRef, BooleanArray, Float64Array, Int32Array, Int64Array, RecordBatch, StringArray};
use candor_wire::leaf::{Sealed, Sealer, salted};
use criterion::{BatchSize, Criterion, Throughput, criterion_group, criterion_main};
use parquet::arrow::ArrowWriter;
use parquet::basic::{Compression, ZstdLevel};
use parquet::file::properties::WriterProperties;

const ROWS: usize = 65_536;

/// Rows that the writer takes at a time.
const SLICE: usize = 4_096;
const SALT: [u8; 16] = [1; 16];

/// Rows of subjects that arrive in turn, those of these numbers.
fn rows(numbers: &[usize], subjects: usize) -> RecordBatch {
    let text = |of: &dyn Fn(usize) -> String| -> ArrayRef {
        Arc::new(numbers.iter().map(|row| Some(of(*row))).collect::<StringArray>())
    };
    let integer = |of: &dyn Fn(usize) -> i64| -> ArrayRef {
        Arc::new(numbers.iter().map(|row| Some(of(*row))).collect::<Int64Array>())
    };
    let columns: [(&str, ArrayRef, bool); 10] = [
        ("event", text(&|row| format!("phone.app.{}", ["opened", "closed", "crashed"][row % 3])), true),
        ("subject", text(&|row| name(row % subjects)), true),
        ("consent_seq", integer(&|row| 1 + (row % 4) as i64), true),
        ("decision", Arc::new(numbers.iter().map(|row| Some((row % 5) as i32)).collect::<Int32Array>()), true),
        ("imei_hmac", text(&|row| format!("{:016x}{:016x}", scrambled(row), scrambled(row + 1))), true),
        ("app_package", text(&|row| format!("com.example.app{}", row % 200)), true),
        ("duration_ms", integer(&|row| (scrambled(row) >> 44) as i64), true),
        ("battery", Arc::new(numbers.iter().map(|row| Some((row % 100) as f64)).collect::<Float64Array>()), true),
        ("charging", Arc::new(numbers.iter().map(|row| Some(row % 7 == 0)).collect::<BooleanArray>()), true),
        ("screen", text(&|row| format!("screen-{}", row % 40)), true),
    ];
    RecordBatch::try_from_iter_with_nullable(columns).expect("columns of one length")
}

fn scrambled(row: usize) -> u64 {
    (row as u64).wrapping_mul(0x9e37_79b9_7f4a_7c15)
}

fn name(subject: usize) -> String {
    format!("{:016x}{:016x}", scrambled(subject), scrambled(subject + 7))
}

fn floor(rows: &RecordBatch) -> Vec<u8> {
    let properties = WriterProperties::builder().set_compression(Compression::ZSTD(ZstdLevel::default())).build();
    let written = ArrowWriter::try_new(Vec::new(), rows.schema(), Some(properties)).and_then(|mut writer| {
        writer.write(rows)?;
        writer.into_inner()
    });
    written.expect("it can be written")
}

/// Leaves of rows that are in order.
fn leaves(rows: &RecordBatch) -> Sealed {
    let mut sealer = Sealer::new(SALT, [2; 16], 0, |entry, hash| {
        black_box((entry, hash));
    });
    for start in (0..ROWS).step_by(SLICE) {
        sealer.push(&rows.slice(start, SLICE)).expect("rows that can be sealed");
    }
    sealer.finish().expect("rows that can be sealed")
}

fn parquet(criterion: &mut Criterion) {
    for subjects in [1_000, 10_000, ROWS] {
        let mut numbers: Vec<usize> = (0..ROWS).collect();
        let arriving = rows(&numbers, subjects);
        numbers.sort_by_cached_key(|row| (salted(&SALT, &name(row % subjects)), *row));
        let sorted = rows(&numbers, subjects);
        let mut group = criterion.benchmark_group(format!("parquet, {subjects} subjects"));
        group.throughput(Throughput::Elements(ROWS as u64)).sample_size(20);
        group.bench_function("floor", |bench| bench.iter(|| black_box(floor(&arriving))));
        group.bench_function("sorted file", |bench| {
            bench.iter_batched(
                || tempfile::tempdir().expect("a folder"),
                |folder| {
                    let written =
                        candor_store::flush::write_one_file(folder.path(), "analytics", "phone.app", &arriving);
                    (black_box(written.expect("it can be written")), folder)
                },
                BatchSize::PerIteration,
            );
        });
        group.bench_function("leaves alone", |bench| bench.iter(|| black_box(leaves(&sorted))));
        group.finish();
    }
}

criterion_group!(benches, parquet);
criterion_main!(benches);
