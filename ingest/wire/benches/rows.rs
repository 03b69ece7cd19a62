//! What the canonical encoding of rows costs, and their hash, beside SHA-256 of the same bytes alone.
//!
//! `cargo bench -p candor-wire --bench rows`

#![allow(missing_docs, reason = "criterion makes public items where its macros are not external to the lint")]
#![expect(clippy::unwrap_used, reason = "a benchmark that cannot be set up must stop")]

use std::hint::black_box;
use std::sync::Arc;

use arrow_array::{
    ArrayRef, BooleanArray, Float64Array, Int32Array, Int64Array, RecordBatch, StringArray, TimestampMicrosecondArray,
};
use candor_wire::row::{Rows, hash_of};
use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use sha2::{Digest, Sha256};

const ROWS: usize = 2_000;

/// Rows as devices send them: twelve columns, of which a third of the fields is null.
fn batch() -> RecordBatch {
    let some = |n: usize, column: usize| !(n + column).is_multiple_of(3);
    let text = |column: usize, words: [&'static str; 3]| -> ArrayRef {
        Arc::new((0..ROWS).map(|n| some(n, column).then_some(words[n % 3])).collect::<StringArray>())
    };
    let long = |column: usize| -> ArrayRef {
        Arc::new((0..ROWS).map(|n| some(n, column).then_some(n as i64 * 7_919)).collect::<Int64Array>())
    };
    let columns: [(&str, ArrayRef); 12] = [
        ("event", Arc::new((0..ROWS).map(|n| Some(["app.opened", "app.closed"][n % 2])).collect::<StringArray>())),
        (
            "time",
            Arc::new(TimestampMicrosecondArray::from_iter_values(
                (0..ROWS).map(|n| 1_795_377_600_000_000 + n as i64 * 1_000),
            )),
        ),
        ("subject", Arc::new(StringArray::from(vec!["7dc95bac9da00216200fb6d600cb7889"; ROWS]))),
        ("consent_seq", Arc::new(Int64Array::from(vec![1; ROWS]))),
        ("decision", Arc::new(Int32Array::from_iter_values((0..ROWS).map(|n| n as i32 % 5)))),
        ("model", text(0, ["m1", "model-2", "another-model"])),
        ("version", text(1, ["1.0.0", "1.0.1", "2.11.3"])),
        ("screen", text(2, ["home", "settings", "player"])),
        ("duration_ms", long(0)),
        ("bytes", long(1)),
        ("load", Arc::new((0..ROWS).map(|n| some(n, 2).then_some(n as f64 / 7.0)).collect::<Float64Array>())),
        ("charging", Arc::new((0..ROWS).map(|n| some(n, 0).then_some(n % 2 == 0)).collect::<BooleanArray>())),
    ];
    RecordBatch::try_from_iter(columns).unwrap()
}

fn rows(criterion: &mut Criterion) {
    let batch = batch();
    let encoded = Rows::encode(&batch, 20_779).unwrap();
    let bytes: Vec<u8> = encoded.iter().flatten().copied().collect();
    let mut group = criterion.benchmark_group("rows");
    group.throughput(Throughput::Elements(ROWS as u64));
    group.bench_function("encode", |bencher| bencher.iter(|| Rows::encode(black_box(&batch), 20_779)));
    group.bench_function("hash_of", |bencher| {
        bencher.iter(|| hash_of([("phone", black_box(&encoded).iter().collect())]));
    });
    group.bench_function("encode and hash_of", |bencher| {
        bencher
            .iter(|| Rows::encode(black_box(&batch), 20_779).map(|rows| hash_of([("phone", rows.iter().collect())])));
    });
    group.bench_function(format!("SHA-256 of {} bytes a row", bytes.len() / ROWS), |bencher| {
        bencher.iter(|| Sha256::digest(black_box(&bytes)));
    });
    group.finish();
}

criterion_group!(benches, rows);
criterion_main!(benches);
