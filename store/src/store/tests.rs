//! The store as its callers use it: exactly once, consent at the append, and what a restart finds.

use std::collections::BTreeMap;
use std::sync::atomic::AtomicI64;
use std::sync::atomic::Ordering;

use candor_policy::batch::Evidence;
use candor_policy::catalogue::Signal;
use candor_policy::consent::ConsentState;
use candor_policy::reason::Reason;
use candor_wire::erasure::Scope;
use candor_wire::statement::Notice;

use super::fixture;
use super::*;
use crate::expire::{ExpireOptions, ExpireReport};
use crate::keys::change::Change;
use crate::segment::frame::Frame;
use crate::segment::read_all;
use crate::shared::lock;

/// 2026-01-01, a little later with each look.
#[derive(Debug)]
struct TestClock(AtomicI64);

impl Clock for TestClock {
    fn now(&self) -> i64 {
        self.0.fetch_add(1, Ordering::Relaxed)
    }
}

pub(super) struct World {
    pub(super) folder: tempfile::TempDir,
    pub(super) plan: Arc<Plan>,
    clock: Arc<TestClock>,
}

impl World {
    pub(super) fn new() -> Self {
        let clock = Arc::new(TestClock(AtomicI64::new(1_767_225_600_000_000)));
        Self { folder: tempfile::tempdir().unwrap(), plan: fixture::plan(), clock }
    }

    pub(super) async fn open(&self) -> Store {
        let settings =
            Settings { data: self.folder.path().to_path_buf(), segment_bytes: 1 << 20, ..Settings::default() };
        // After a drop the threads of the store before may need a moment.
        for _ in 0..500 {
            match Store::open(settings.clone(), Arc::clone(&self.plan), Arc::<TestClock>::clone(&self.clock)).await {
                Ok(store) => return store,
                Err(error) if error.kind() == Kind::Retry => {
                    tokio::time::sleep(std::time::Duration::from_millis(10)).await;
                }
                Err(error) => panic!("{error}"),
            }
        }
        panic!("the lock was never released")
    }

    fn cleared(&self, store: &Store, subject: &str, first: i64) -> Cleared {
        fixture::cleared(&self.plan, &store.keys(), |subjects| store.consent(subjects), &[subject], 3, first)
    }

    /// (durations stored for analytics, reasons of drops) over all frames.
    fn pending(&self) -> (Vec<i64>, BTreeMap<Reason, u64>) {
        let (mut durations, mut dropped) = (Vec::new(), BTreeMap::new());
        for frame in read_all(self.folder.path()).unwrap() {
            let Frame::Batch(batch) = frame else { continue };
            for count in batch.header.counts.iter().filter(|count| count.purpose == "analytics") {
                assert!(count.balances());
                for (reason, records) in &count.dropped {
                    *dropped.entry(*reason).or_default() += records;
                }
            }
            for table in batch.tables.iter().filter(|table| table.purpose == "analytics") {
                let column = table.rows.column_by_name("duration_ms").unwrap();
                let column: arrow_array::Int64Array = arrow_array::cast::downcast_array(column);
                durations.extend(column.values());
            }
        }
        (durations, dropped)
    }
}

fn request(subject: &str, state: ConsentState) -> ConsentRequest {
    ConsentRequest {
        subject: subject.to_owned(),
        purposes: BTreeMap::from([("analytics".to_owned(), state)]),
        notice: Notice { version: "1".to_owned(), language: "de".to_owned() },
        age_from: None,
        expires: None,
        granted_at: None,
    }
}

pub(super) fn told(rejected: u64) -> Reply {
    Reply { rejected, message: String::new() }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_repeat_adds_nothing_in_flight_later_and_after_restarts() {
    let world = World::new();
    let store = world.open().await;
    store.record_consent(request("a", ConsentState::Given), "backend").await.unwrap();
    let digest = store.batch_digest("devices", Signal::Logs, b"body");
    assert_ne!(digest, store.batch_digest("device", Signal::Logs, b"sbody"));
    assert_ne!(digest, store.batch_digest("devices", Signal::Metrics, b"body"));
    let parts = |source: &str, parts: &[&[u8]]| store.request_digest(source, parts.iter().copied());
    assert_eq!(parts("devices", &[b"a", b"b"]), parts("devices", &[b"a", b"b"]));
    for other in [parts("device", &[b"a", b"b"]), parts("devices", &[b"ab"]), parts("devices", &[b"", b"ab"])] {
        assert_ne!(other, parts("devices", &[b"a", b"b"]));
    }
    assert!(!store.is_known(&digest).await.unwrap());
    let (one, two) = tokio::join!(
        store.append(world.cleared(&store, "a", 10), digest, told(3)),
        store.append(world.cleared(&store, "a", 10), digest, told(4)),
    );
    let mut outcomes = [one.unwrap(), two.unwrap()];
    outcomes.sort_by_key(|outcome| matches!(outcome, Appended::Repeat(_)));
    let [Appended::Stored { reply: stored, .. }, Appended::Repeat(repeat)] = outcomes else { panic!("{outcomes:?}") };
    assert_eq!(stored, repeat);
    assert_eq!(store.repeat_of(&digest).await.unwrap(), Some(stored.clone()));
    assert!(store.is_known(&digest).await.unwrap());
    assert_eq!(store.figures().repeats, 2, "asking counts nothing");
    assert_eq!(store.figures().pending_rows, 3);

    // A crash: what is in segments is found; then a graceful end: what is in the ledger is.
    drop(store);
    let store = world.open().await;
    assert_eq!(store.repeat_of(&digest).await.unwrap(), Some(stored.clone()));
    let again = store.append(world.cleared(&store, "a", 10), digest, told(9)).await.unwrap();
    assert_eq!(again, Appended::Repeat(stored.clone()));
    store.close().await.unwrap();
    assert!(read_all(world.folder.path()).unwrap().is_empty());
    let store = world.open().await;
    assert_eq!(store.repeat_of(&digest).await.unwrap(), Some(stored.clone()));
    let again = store.append(world.cleared(&store, "a", 10), digest, told(9)).await.unwrap();
    assert_eq!(again, Appended::Repeat(stored));
    let figures = store.figures();
    assert_eq!((figures.repeats_held, figures.repeats_lookups), (0, 2), "it is in the ledger alone");
    store.close().await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_repeat_is_told_what_the_first_was_while_the_first_moves_to_the_ledger() {
    let world = World::new();
    let store = Arc::new(world.open().await);
    store.record_consent(request("a", ConsentState::Given), "backend").await.unwrap();
    let digest = |number: u8| BatchDigest([number; 16]);
    for number in 0..200 {
        store.append(world.cleared(&store, "a", 1), digest(number), told(u64::from(number))).await.unwrap();
        let asking = tokio::spawn({
            let store = Arc::clone(&store);
            async move {
                for _ in 0..20 {
                    assert_eq!(store.repeat_of(&digest(number)).await.unwrap(), Some(told(u64::from(number))));
                    tokio::task::yield_now().await;
                }
            }
        });
        if number % 20 == 0 {
            store.flush().await.unwrap();
        }
        asking.await.unwrap();
    }
    Arc::into_inner(store).unwrap().close().await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn rows_of_a_consent_that_was_withdrawn_on_the_way_are_taken_out_and_counted() {
    let world = World::new();
    let store = world.open().await;
    store.record_consent(request("a", ConsentState::Given), "backend").await.unwrap();
    let kept = world.cleared(&store, "a", 10);
    let late = world.cleared(&store, "a", 20);
    store.append(kept, BatchDigest([1; 16]), told(0)).await.unwrap();
    store.record_consent(request("a", ConsentState::Withdrawn), "backend").await.unwrap();
    store.append(late, BatchDigest([2; 16]), told(0)).await.unwrap();
    store.append(world.cleared(&store, "a", 30), BatchDigest([3; 16]), told(0)).await.unwrap();
    let (durations, dropped) = world.pending();
    assert_eq!(durations, [10, 11, 12]);
    assert_eq!(dropped, BTreeMap::from([(Reason::WithdrawnAtAppend, 3), (Reason::NoConsent, 3)]));
    store.close().await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn consent_and_its_history_survive_a_crash_and_a_flush() {
    let world = World::new();
    let store = world.open().await;
    let id = store.keys().ledger_id("a");
    store.record_consent(request("a", ConsentState::Given), "backend").await.unwrap();
    drop(store);

    let store = world.open().await;
    assert_eq!(store.consent(&[id]).of(0).state(0, 0), ConsentState::Given);
    store.flush().await.unwrap();
    store.record_consent(request("a", ConsentState::Withdrawn), "backend").await.unwrap();
    let history = store.consent_history(&id).await.unwrap();
    assert_eq!(history.len(), 2);
    candor_wire::statement::verify_chain(&history).unwrap();
    let unknown = store.record_consent(
        ConsentRequest {
            purposes: BTreeMap::from([("ads".to_owned(), ConsentState::Given)]),
            ..request("a", ConsentState::Given)
        },
        "backend",
    );
    assert_eq!(unknown.await.unwrap_err().kind(), Kind::Request);
    store.close().await.unwrap();

    let store = world.open().await;
    assert_eq!(store.consent(&[id]).of(0).state(0, 0), ConsentState::Withdrawn);
    assert_eq!(store.consent_history(&id).await.unwrap(), history);
    store.close().await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_flush_writes_everything_acknowledged_and_lets_go_of_the_segments() {
    let world = World::new();
    let store = world.open().await;
    store.record_consent(request("a", ConsentState::Given), "backend").await.unwrap();
    for number in 0..4 {
        store.append(world.cleared(&store, "a", number), BatchDigest([number as u8; 16]), told(0)).await.unwrap();
    }
    assert_eq!(store.figures().lsn, 5);
    let report = store.flush().await.unwrap();
    assert_eq!((report.rows, report.segments), (12, 1));
    let figures = store.figures();
    assert_eq!((figures.pending_rows, figures.segments, figures.flushed_lsn), (0, 0, 5));
    assert_eq!(store.flush().await.unwrap(), FlushReport::default());

    // The lsn goes on where it was, though no segment is left to say so.
    store.close().await.unwrap();
    let store = world.open().await;
    store.append(world.cleared(&store, "a", 9), BatchDigest([9; 16]), told(0)).await.unwrap();
    assert_eq!(store.figures().lsn, 6);
    store.close().await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_second_store_on_the_folder_is_refused() {
    let world = World::new();
    let store = world.open().await;
    let settings = Settings { data: world.folder.path().to_path_buf(), ..Settings::default() };
    let second = Store::open(settings, Arc::clone(&world.plan), Arc::<TestClock>::clone(&world.clock)).await;
    assert_eq!(second.unwrap_err().kind(), Kind::Retry);
    store.close().await.unwrap();
}

const DAY: i64 = 86_400_000_000;

impl World {
    fn set_day(&self, start: i64, days: i64) {
        self.clock.0.store(start + days * DAY, Ordering::Relaxed);
    }

    /// Stores rows that are received now, and seals them.
    async fn store_now(&self, store: &Store, first: i64) {
        let received_at = self.clock.now();
        let evidence = Evidence { source: Arc::from("devices"), received_at, gpc: false, certified: None };
        let keys = store.keys();
        let admitted = fixture::received(&["a"], 3, first).admit(evidence, &keys);
        let snapshot = store.consent(admitted.subjects());
        let digest = store.batch_digest("devices", Signal::Logs, &first.to_be_bytes());
        store.append(self.plan.clear(admitted, &snapshot, &keys), digest, told(0)).await.unwrap();
        store.flush().await.unwrap();
    }
}

/// Rows of each purpose that retention removed.
fn removed(report: &ExpireReport) -> (u64, u64) {
    let of = |purpose: &str| report.expired.iter().filter(|one| one.purpose == purpose).map(|one| one.rows).sum();
    (of("analytics"), of("diagnostics"))
}

/// Clocks that are wrong by ten years, ahead and behind, and a slow walk to the days on which rows go.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn retention_is_never_early_whatever_the_clock_says() {
    let world = World::new();
    let start = world.clock.now();
    let store = world.open().await;
    let mut consent = request("a", ConsentState::Given);
    consent.purposes.insert("diagnostics".to_owned(), ConsentState::Given);
    store.record_consent(consent, "backend").await.unwrap();
    world.store_now(&store, 0).await;
    let expire = || store.expire(ExpireOptions::default());
    assert_eq!(removed(&expire().await.unwrap()), (0, 0));

    for years in [10, -10] {
        world.set_day(start, years * 365);
        let report = expire().await.unwrap();
        assert!(report.doubt.is_some() && report.expired.is_empty(), "{report:?}");
        // Devices do not wait for the clock: these rows have a wrong date.
        world.store_now(&store, years).await;
        assert_eq!(removed(&expire().await.unwrap()), (0, 0));
    }
    for days in (1..30).step_by(4) {
        world.set_day(start, days);
        let report = expire().await.unwrap();
        assert!(report.doubt.is_none() && report.expired.is_empty(), "day {days}: {report:?}");
    }
    // 30 days: those of the first day, and those that a clock behind had called ten years old.
    world.set_day(start, 30);
    let planned = store.expire(ExpireOptions { dry_run: true, ..ExpireOptions::default() }).await.unwrap();
    assert_eq!(removed(&planned), (0, 6));
    assert_eq!(removed(&expire().await.unwrap()), (0, 6));
    assert_eq!(removed(&expire().await.unwrap()), (0, 0));
    assert_eq!((store.figures().expired_rows, store.figures().clock_doubted), (6, 0));

    // Off for a year: nothing, until somebody says that it is so.
    world.set_day(start, 400);
    assert_eq!(removed(&expire().await.unwrap()), (0, 0));
    assert_eq!(store.figures().clock_doubted, 1);
    let trusted = ExpireOptions { trust_clock: true, ..ExpireOptions::default() };
    assert_eq!(removed(&store.expire(trusted).await.unwrap()), (6, 0));
    store.close().await.unwrap();
}

#[tokio::test]
async fn an_epoch_is_not_closed_while_a_backup_copies_ledger_and_log() {
    const HOUR: i64 = 3_600_000_000;
    let world = World::new();
    let store = world.open().await;
    store.append(world.cleared(&store, "a", 1), BatchDigest([1; 16]), told(0)).await.unwrap();
    store.flush().await.unwrap();
    let before = store.epochs.keep().await.unwrap();

    world.clock.0.fetch_add(2 * HOUR, Ordering::Relaxed);
    let shared = Arc::clone(&store.shared);
    let copying = shared.turn.take();
    let epochs = Arc::clone(&store.epochs);
    let mut closing = tokio::spawn(async move { epochs.keep().await });
    let waits = tokio::time::timeout(std::time::Duration::from_millis(300), &mut closing).await;
    assert!(waits.is_err(), "it was closed in the middle of a copy");
    drop(copying);
    assert_eq!((before, closing.await.unwrap().unwrap()), (0, 1));
    store.close().await.unwrap();
}

/// A client that goes away at any moment leaves an erasure that is in force, or none.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_erasure_that_nobody_waits_for_any_more_is_in_force_or_was_never_asked_for() {
    const ASKED: u32 = 60;
    let world = World::new();
    let store = world.open().await;
    let subject = |number: u32| store.keys().ledger_id(&format!("subject-{number}"));
    for number in 0..ASKED {
        let asking = store.request_erasure(subject(number), Scope::All);
        let _ = tokio::time::timeout(std::time::Duration::from_micros(u64::from(number) * 60), asking).await;
    }
    tokio::time::sleep(std::time::Duration::from_secs(1)).await;
    let mut in_force = 0;
    for number in 0..ASKED {
        let is_kept = !store.erasures(&subject(number)).await.unwrap().is_empty();
        assert_eq!(store.is_erased(&subject(number)), is_kept, "subject {number}");
        in_force += u32::from(is_kept);
    }
    assert!(in_force > 0);
    store.close().await.unwrap();
}

/// Whoever works round after round takes `Stop` for the end of the store.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn work_on_tables_that_panics_is_a_fault_and_not_the_end_of_the_store() {
    let world = World::new();
    let store = world.open().await;
    let panics = |_: &Flusher| -> Result<(), Error> { panic!("as asked") };
    let told = crate::rewrite::on_flusher(&store.shared, panics).await;
    assert_eq!(told.unwrap_err().kind(), Kind::Data);
    crate::rewrite::on_flusher(&store.shared, |_| Ok(())).await.unwrap();
    store.compact(crate::compact::CompactOptions::default()).await.unwrap();
    let shared = Arc::clone(&store.shared);
    store.close().await.unwrap();
    assert_eq!(crate::rewrite::on_flusher(&shared, |_| Ok(())).await.unwrap_err().kind(), Kind::Stop);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_change_of_a_key_is_in_force_also_where_nobody_waits_for_it() {
    let world = World::new();
    let store = world.open().await;
    let turn = store.shared.turn.take();
    let change = Change::Rotate { key: "named/analytics".parse().unwrap() };
    let waited = tokio::time::timeout(std::time::Duration::from_millis(10), store.change_key(change)).await;
    assert!(waited.is_err(), "tables were being written");
    drop(turn);
    let generation = |keys: &Keys| keys.named("analytics").unwrap().generation();
    for _ in 0..500 {
        if generation(&lock(&store.ring).keys()) == 2 {
            break;
        }
        tokio::time::sleep(std::time::Duration::from_millis(10)).await;
    }
    assert_eq!((generation(&lock(&store.ring).keys()), generation(&store.keys())), (2, 2));
    store.close().await.unwrap();
}
