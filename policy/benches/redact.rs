//! What `redact_text` costs beside a plain copy of the column: e-mail alone and all detectors, on the texts of a fleet.
//!
//! The ratios come first, from passes that alternate in one loop; criterion's figures follow.

#![expect(clippy::print_stdout, reason = "the ratios are what this prints")]

use std::collections::BTreeMap;
use std::hint::black_box;
use std::sync::Arc;
use std::time::{Duration, Instant};

use arrow_array::builder::StringBuilder;
use arrow_array::cast::AsArray;
use arrow_array::{Array, ArrayRef, StringArray};
use candor_policy::keys::{HmacKey, Keys};
use candor_policy::operator::{OperatorContext, OperatorRef, Parameter, build};
use criterion::{Criterion, Throughput, criterion_group, criterion_main};

const ROWS: usize = 500;
const PASSES: usize = 400;

/// A name and what it times.
type Job = (&'static str, Box<dyn Fn() -> ArrayRef>);

/// Texts as events of phones, appliances and cars have them: two in ten hold an address, three in ten nothing but words.
fn column() -> ArrayRef {
    let text = |row: usize| match row % 10 {
        0 => format!("reported by user{row}@example.org from 203.0.113.{}", row % 250),
        1 => format!("write to person.{row}@mail.example.org about the battery, please"),
        2 => format!("failed while rendering: list of {} items, null pointer at line {}", row % 90, row % 700),
        3 => "the pump ran dry while the door was open; stopped by the user".to_owned(),
        4 => format!("org.example.mail.ListView.draw(ListView.kt:{})", row % 400),
        5 => format!("firmware 2.{}.{} installed after {} s, 3 retries", row % 9, row % 40, row % 300),
        6 => "connection lost, reconnecting in the background without any action".to_owned(),
        7 => format!("request 550e8400-e29b-41d4-a716-4466554{:05} timed out after {} ms", row, row * 7),
        8 => format!("2026-11-22T10:30:{:02}.{:03}Z E{:02} drum unbalanced, spin reduced", row % 60, row, row % 40),
        _ => "brake pedal pressed hard on a wet road, stability control was active".to_owned(),
    };
    Arc::new((0..ROWS).map(|row| Some(text(row))).collect::<StringArray>())
}

#[expect(clippy::panic, reason = "parameters that are refused are a fault of the bench")]
fn operator(detectors: Option<&str>) -> OperatorRef {
    let names = detectors.map(|name| ("detectors".to_owned(), Parameter::Texts(vec![name.to_owned()])));
    let parameters: BTreeMap<String, Parameter> = names.into_iter().collect();
    build("redact_text", &parameters).unwrap_or_else(|error| panic!("{error}"))
}

fn copy(values: &ArrayRef) -> ArrayRef {
    let values = values.as_string::<i32>();
    let mut out = StringBuilder::with_capacity(values.len(), values.value_data().len());
    values.iter().for_each(|value| out.append_option(value));
    Arc::new(out.finish())
}

/// Least time of each job over passes in which they take turns.
fn least(jobs: &[Job]) -> Vec<Duration> {
    let mut least = vec![Duration::MAX; jobs.len()];
    for _ in 0..PASSES {
        for ((_, job), least) in jobs.iter().zip(&mut least) {
            let start = Instant::now();
            black_box(job());
            *least = start.elapsed().min(*least);
        }
    }
    least
}

fn redact(criterion: &mut Criterion) {
    let values = column();
    let job = |operator: OperatorRef| -> Box<dyn Fn() -> ArrayRef> {
        let (values, keys) =
            (Arc::clone(&values), Keys::new(HmacKey::new(1, &[1; 32]), HmacKey::new(1, &[2; 32]), [].into()));
        Box::new(move || {
            let context = OperatorContext { purpose: "analytics", column: "note", keys: &keys };
            operator.apply(&values, &context).unwrap_or_else(|_| Arc::clone(&values))
        })
    };
    let shared = Arc::clone(&values);
    let jobs: Vec<Job> = vec![
        ("copy", Box::new(move || copy(&shared))),
        ("email", job(operator(Some("email")))),
        ("all detectors", job(operator(None))),
    ];
    let least = least(&jobs);
    let bytes = values.as_string::<i32>().value_data().len();
    println!("{ROWS} texts of {} bytes on average", bytes / ROWS);
    for ((name, _), time) in jobs.iter().zip(&least) {
        let ratio = time.as_secs_f64() / least[0].as_secs_f64();
        println!("{name:<14} {ratio:>6.1} times a copy   {:.3} µs a text", time.as_secs_f64() * 1e6 / ROWS as f64);
    }
    let mut group = criterion.benchmark_group("redact");
    group.throughput(Throughput::Elements(ROWS as u64));
    for (name, job) in &jobs {
        group.bench_function(*name, |bencher| bencher.iter(|| black_box(job())));
    }
    group.finish();
}

criterion_group!(benches, redact);
criterion_main!(benches);
