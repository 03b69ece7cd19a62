//! Append of 500-row batches with their fdatasync, one after the other and eight at a time, and encoding alone.
//! The ratio of the first to the second is what group commit gives; encoding is the part that is ours.

#![expect(clippy::expect_used, reason = "a bench that cannot go on must say so")]

use std::hint::black_box;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use candor_store::clock::SystemClock;
use candor_store::reply::Reply;
use candor_store::settings::Settings;
use candor_store::store::{BatchDigest, Store};
use candor_wire::statement::{ConsentRequest, Notice};
use criterion::{BatchSize, Criterion, Throughput, criterion_group, criterion_main};
use tokio::runtime::Runtime;

#[path = "../src/store/fixture.rs"]
mod fixture;

const ROWS: usize = 500;
const SUBJECTS: [&str; 4] = ["a", "b", "c", "d"];

fn digest() -> BatchDigest {
    static NEXT: AtomicU64 = AtomicU64::new(0);
    let mut bytes = [0; 16];
    bytes[..8].copy_from_slice(&NEXT.fetch_add(1, Ordering::Relaxed).to_le_bytes());
    BatchDigest(bytes)
}

async fn open(folder: &tempfile::TempDir, plan: Arc<candor_policy::plan::Plan>) -> Store {
    let settings = Settings { data: folder.path().to_path_buf(), ..Settings::default() };
    let store = Store::open(settings, plan, Arc::new(SystemClock)).await.expect("the folder is new");
    for subject in SUBJECTS {
        let purposes = ["analytics", "diagnostics"].map(|purpose| (purpose.to_owned(), "given"));
        let purposes = purposes.map(|(name, state)| (name, serde_json::from_value(state.into()).expect("a state")));
        let request = ConsentRequest {
            subject: subject.to_owned(),
            purposes: purposes.into(),
            notice: Notice { version: "1".to_owned(), language: "en".to_owned() },
            age_from: None,
            expires: None,
            granted_at: None,
        };
        store.record_consent(request, "bench").await.expect("consent is recorded");
    }
    store
}

fn append(c: &mut Criterion) {
    let runtime = Runtime::new().expect("a runtime");
    let folder = tempfile::tempdir().expect("a folder");
    let plan = fixture::plan();
    let store = runtime.block_on(open(&folder, Arc::clone(&plan)));
    let batch = || {
        let consent = |subjects: &[_]| store.consent(subjects);
        fixture::cleared(&plan, &store.keys(), consent, &SUBJECTS, ROWS, 0)
    };
    let mut group = c.benchmark_group("append");
    group.sample_size(20);
    for at_once in [1, 8] {
        group.throughput(Throughput::Elements((at_once * ROWS) as u64));
        group.bench_function(format!("{at_once} at once"), |b| {
            b.iter_batched(
                || (0..at_once).map(|_| batch()).collect::<Vec<_>>(),
                |batches| {
                    let appends = batches.into_iter().map(|batch| store.append(batch, digest(), Reply::default()));
                    runtime.block_on(futures::future::try_join_all(appends)).expect("they are stored")
                },
                BatchSize::PerIteration,
            );
        });
    }
    group.finish();

    // The frames that were just written are what a worker encodes.
    let frames = candor_store::segment::read_all(folder.path()).expect("segments can be read");
    let frame = frames.iter().rev().find_map(|frame| match frame {
        candor_store::segment::frame::Frame::Batch(batch) => Some(batch.clone()),
        candor_store::segment::frame::Frame::Statement { .. } => None,
    });
    if let Some(frame) = frame {
        let mut group = c.benchmark_group("encode");
        group.throughput(Throughput::Elements(ROWS as u64));
        group.bench_function("frame", |b| b.iter(|| black_box(frame.to_payload().expect("it can be encoded"))));
        group.finish();
    }
    runtime.block_on(store.close()).expect("it closes");
}

criterion_group!(benches, append);
criterion_main!(benches);
