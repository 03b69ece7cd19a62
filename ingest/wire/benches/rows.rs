//! What the canonical encoding of rows costs, and their hash, beside SHA-256 of the same bytes alone.
//!
//! `cargo bench -p candor-wire --bench rows`

#![allow(missing_docs, reason = "criterion makes public items where its macros are not external to the lint")]
#![expect(clippy::unwrap_used, reason = "a benchmark that cannot be set up must stop")]

use std::collections::BTreeMap;
use std::hint::black_box;
use std::sync::Arc;

use arrow_array::{
    ArrayRef, BooleanArray, Float64Array, Int32Array, Int64Array, RecordBatch, StringArray, TimestampMicrosecondArray,
    UInt32Array,
};
use arrow_select::take::take;
use candor_wire::row::{Rows, hash_of, hash_of_batches};
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

/// What the job of `tests/bench` stores: one device, six columns that differ and seven that do not.
fn job() -> RecordBatch {
    let mix = |n: usize| (n as u64).wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 24;
    let text =
        |of: &dyn Fn(usize) -> String| -> ArrayRef { Arc::new(StringArray::from_iter_values((0..ROWS).map(of))) };
    let long = |of: &dyn Fn(usize) -> u64| -> ArrayRef {
        Arc::new(Int64Array::from_iter_values((0..ROWS).map(|n| of(n) as i64)))
    };
    let columns: [(&str, ArrayRef); 13] = [
        ("event", text(&|_| "bench.sample".to_owned())),
        (
            "time",
            Arc::new(TimestampMicrosecondArray::from_iter_values(
                (0..ROWS).map(|n| 1_795_377_600_000_000 + n as i64 * 1_000),
            )),
        ),
        ("consent_seq", long(&|_| 1)),
        ("decision", Arc::new(Int32Array::from(vec![0; ROWS]))),
        ("device", text(&|_| "6bb58fadf4e7e39e8dc71693cf4e76f0c9d31855db85c04229da11112affdd1c".to_owned())),
        ("email", text(&|_| "bbffe4b707f17e39c9264f727d826340280417ef853e3026213f2815efe579fc".to_owned())),
        ("address", text(&|_| "203.0.113.0/24".to_owned())),
        ("package", text(&|n| format!("org.example.{}", ["mail", "maps", "health", "camera"][mix(n) as usize % 4]))),
        ("screen", text(&|n| ["home", "list", "detail", "settings", "search"][mix(n) as usize % 5].to_owned())),
        ("duration_ms", long(&|n| 16_384 + mix(n) % 73_616)),
        ("level", long(&|n| 10 + mix(n) % 90)),
        (
            "temperature",
            Arc::new((0..ROWS).map(|n| Some((200 + mix(n) % 180) as f64 / 10.0)).collect::<Float64Array>()),
        ),
        ("message", text(&|_| "could not sync the folder of [email]: connection reset by peer".to_owned())),
    ];
    RecordBatch::try_from_iter(columns).unwrap()
}

/// The same rows in an order of their own.
fn shuffled(batch: &RecordBatch) -> RecordBatch {
    let order = UInt32Array::from_iter_values((0..ROWS as u32).map(|n| n * 7_919 % ROWS as u32));
    let columns = batch.columns().iter().map(|column| take(column, &order, None).unwrap());
    RecordBatch::try_new(batch.schema(), columns.collect()).unwrap()
}

/// The same rows, all of one hour.
fn one_hour(batch: &RecordBatch) -> RecordBatch {
    let time = TimestampMicrosecondArray::from(vec![1_795_377_600_000_000; ROWS]);
    let mut columns = batch.columns().to_vec();
    columns[1] = Arc::new(time);
    RecordBatch::try_new(batch.schema(), columns).unwrap()
}

fn rows(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("rows");
    group.throughput(Throughput::Elements(ROWS as u64));
    for (name, batch) in [("with nulls", batch()), ("of the job", job())] {
        let encoded = Rows::encode(&batch, 20_779).unwrap();
        let bytes: Vec<u8> = encoded.iter().flatten().copied().collect();
        group.bench_function(format!("{name}: encode"), |bencher| {
            bencher.iter(|| Rows::encode(black_box(&batch), 20_779));
        });
        group.bench_function(format!("{name}: SHA-256 of {} bytes a row", bytes.len() / ROWS), |bencher| {
            bencher.iter(|| Sha256::digest(black_box(&bytes)));
        });
        group.bench_function(format!("{name}: hash of encoded rows"), |bencher| {
            bencher.iter(|| hash_of([("phone", black_box(&encoded).iter().collect())]));
        });
        for (order, batch) in
            [("as they come", batch.clone()), ("in another order", shuffled(&batch)), ("of one hour", one_hour(&batch))]
        {
            group.bench_function(format!("{name}: hash, {order}"), |bencher| {
                bencher.iter(|| hash_of_batches(&BTreeMap::from([("phone", black_box(&batch))]), 20_779));
            });
        }
    }
    group.finish();
}

criterion_group!(benches, rows);
criterion_main!(benches);
