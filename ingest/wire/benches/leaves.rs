//! What the leaves of a file cost, beside SHA-256 of what they hash alone: 65,536 rows of ten columns, sorted.
//!
//! `cargo bench -p candor-wire --bench leaves`

#![allow(missing_docs, reason = "criterion makes public items where its macros are not external to the lint")]
#![expect(clippy::unwrap_used, reason = "a benchmark that cannot be set up must stop")]

use std::hint::black_box;
use std::sync::Arc;

use arrow_array::{ArrayRef, BooleanArray, Float64Array, Int32Array, Int64Array, RecordBatch, StringArray};
use candor_wire::leaf::{Sealer, content_of, salted};
use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use sha2::{Digest, Sha256};

const ROWS: usize = 65_536;
/// Rows that are taken at a time.
const SLICE: usize = 8_192;

/// Rows by ascending salted subject.
fn rows(subjects: usize, salt: &[u8; 16]) -> RecordBatch {
    let scrambled = |row: usize| (row as u64).wrapping_mul(0x9e37_79b9_7f4a_7c15);
    let mut names: Vec<String> =
        (0..subjects).map(|n| format!("{:016x}{:016x}", scrambled(n), scrambled(n + 7))).collect();
    names.sort_by_key(|name| salted(salt, name));
    let text = |of: &dyn Fn(usize) -> String| -> ArrayRef {
        Arc::new((0..ROWS).map(|row| Some(of(row))).collect::<StringArray>())
    };
    let columns: [(&str, ArrayRef); 10] = [
        ("event", text(&|row| format!("phone.app.{}", ["opened", "closed", "crashed"][row % 3]))),
        ("subject", text(&|row| names[row * subjects / ROWS].clone())),
        ("consent_seq", Arc::new((0..ROWS).map(|row| Some(1 + (row % 4) as i64)).collect::<Int64Array>())),
        ("decision", Arc::new((0..ROWS).map(|row| Some((row % 5) as i32)).collect::<Int32Array>())),
        ("imei_hmac", text(&|row| format!("{:016x}{:016x}", scrambled(row), scrambled(row + 1)))),
        ("app_package", text(&|row| format!("com.example.app{}", row % 200))),
        ("duration_ms", Arc::new((0..ROWS).map(|row| Some((scrambled(row) >> 44) as i64)).collect::<Int64Array>())),
        ("battery", Arc::new((0..ROWS).map(|row| Some((row % 100) as f64)).collect::<Float64Array>())),
        ("charging", Arc::new((0..ROWS).map(|row| Some(row % 7 == 0)).collect::<BooleanArray>())),
        ("screen", text(&|row| format!("screen-{}", row % 40))),
    ];
    RecordBatch::try_from_iter(columns).unwrap()
}

fn seal(rows: &RecordBatch, salt: [u8; 16]) -> usize {
    let mut leaves = Vec::new();
    let mut sealer = Sealer::new(salt, [2; 16], 20_779, |_, hash| leaves.push(hash));
    for start in (0..ROWS).step_by(SLICE) {
        sealer.push(&rows.slice(start, SLICE)).unwrap();
    }
    sealer.finish().unwrap();
    leaves.len()
}

fn leaves(criterion: &mut Criterion) {
    for subjects in [1_000, 10_000, ROWS] {
        let salt = [1; 16];
        let rows = rows(subjects, &salt);
        let content: Vec<u8> = (0..subjects)
            .flat_map(|n| {
                let at = |n: usize| (n * ROWS).div_ceil(subjects);
                content_of(&rows.slice(at(n), at(n + 1) - at(n)), 20_779).unwrap()
            })
            .collect();
        let mut group = criterion.benchmark_group(format!("{subjects} subjects"));
        group.throughput(Throughput::Elements(ROWS as u64)).sample_size(20);
        group.bench_function("leaves", |bench| bench.iter(|| seal(black_box(&rows), salt)));
        group.bench_function("their content", |bench| bench.iter(|| content_of(black_box(&rows), 20_779)));
        group.bench_function(format!("SHA-256 of {} bytes a row", content.len() / ROWS), |bench| {
            bench.iter(|| Sha256::digest(black_box(&content)));
        });
        group.finish();
    }
}

criterion_group!(benches, leaves);
criterion_main!(benches);
