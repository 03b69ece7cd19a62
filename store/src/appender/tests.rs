//! The appender without tables and ledger: order, group commit, rotation, and row 14 of the reliability page.

use std::collections::{BTreeMap, HashSet};
use std::sync::atomic::AtomicI64;
use std::thread::JoinHandle;

use super::*;
use crate::clock::Clock;
use crate::consent::{Concerned, Purposes, key_of};
use crate::repeats::Claimed;
use crate::segment::codec::{encode_batch, encode_statement};
use crate::segment::frame::Frame;
use crate::segment::{read_all, testing};
use crate::settings::Settings;
use crate::store::BatchDigest;
use candor_policy::consent::ConsentState;
use candor_policy::policy::LegalBasis;

#[derive(Debug, Default)]
struct TestClock(AtomicI64);

impl Clock for TestClock {
    fn now(&self) -> i64 {
        self.0.load(Ordering::Relaxed)
    }
}

struct World {
    folder: tempfile::TempDir,
    shared: Arc<Shared>,
    /// Batches that were handed back because a consent had changed.
    handed_back: AtomicI64,
    thread: Option<JoinHandle<()>>,
}

impl World {
    fn new(change: impl FnOnce(&mut Settings)) -> Self {
        let folder = tempfile::tempdir().unwrap();
        std::fs::create_dir(folder.path().join(FOLDER)).unwrap();
        let mut settings =
            Settings { data: folder.path().to_path_buf(), segment_bytes: 1 << 20, ..Settings::default() };
        change(&mut settings);
        let purposes = Purposes::new([("p".to_owned(), 0, vec![LegalBasis::Consent])]);
        let shared = Arc::new(Shared::new(settings, Arc::new(TestClock::default()), purposes));
        let appender = Appender::new(Arc::clone(&shared), 1);
        let thread = Some(std::thread::spawn(move || appender.run()));
        Self { folder, shared, handed_back: AtomicI64::new(0), thread }
    }

    /// Ends the thread and gives what the segments hold.
    fn frames(mut self) -> Vec<Frame> {
        self.shared.queue.close();
        self.thread.take().unwrap().join().unwrap();
        read_all(self.folder.path()).unwrap()
    }

    async fn say(&self, subject: u8, given: bool) {
        let key = key_of(&LedgerId::from_bytes([subject; 32]));
        loop {
            let base = self.shared.consent.of(&key);
            let statement = testing::statement(subject, base.sequence() + 1, given);
            let (answer, told) = oneshot::channel();
            let state = self.shared.purposes.compact(&statement);
            let encoded = encode_statement(&statement).unwrap();
            let job = StatementJob { encoded, statement, key, base, state, answer };
            self.shared.queue.push(Job::Statement(Box::new(job))).unwrap();
            match told.await.unwrap() {
                StatementAnswer::Durable => return,
                StatementAnswer::Superseded => {}
                StatementAnswer::Refused(error) => panic!("{error}"),
            }
        }
    }

    async fn claim(&self, number: u64) -> Claim {
        match self.shared.repeats.claim(digest(number)).await {
            Claimed::Ours(claim) => claim,
            Claimed::Known(_) | Claimed::Full => panic!("number {number} cannot be claimed"),
        }
    }

    /// Queues a row of a subject as if it had been cleared at `generation`.
    async fn batch(&self, subject: u8, id: &LedgerId, generation: u64) -> oneshot::Receiver<BatchAnswer> {
        let rows = testing::some_rows(1);
        let mut header = testing::header("s", 0);
        header.received_at = i64::from(subject);
        let (answer, told) = oneshot::channel();
        let job = BatchJob {
            encoded: encode_batch(header, [("p", "a.b", &rows)]).unwrap(),
            generation,
            concerned: vec![Concerned { key: key_of(id), subject: 0, purposes: 1 }],
            order: Order::Claimed(self.claim(1).await),
            reply: Reply::default(),
            answer,
        };
        self.shared.queue.push(Job::Batch(job)).unwrap();
        told
    }

    /// What the pipeline does with one event of a subject: clear under a snapshot, append, filter when told to.
    /// True if it was stored.
    async fn send(&self, subject: u8, number: u64, dawdle: bool) -> bool {
        let id = LedgerId::from_bytes([subject; 32]);
        let snapshot = self.shared.consent.snapshot(&[id]);
        let mut stored = snapshot.of(0).state(0, 0) == ConsentState::Given;
        let mut generation = snapshot.generation();
        if dawdle {
            tokio::task::yield_now().await;
        }
        let mut order = Order::Claimed(self.claim(number).await);
        loop {
            let rows = testing::some_rows(usize::from(stored));
            let mut header = testing::header("s", number);
            header.received_at = i64::from(subject);
            let encoded = encode_batch(header, stored.then_some(("p", "a.b", &rows))).unwrap();
            let concerned = Vec::from_iter(stored.then_some(Concerned { key: key_of(&id), subject: 0, purposes: 1 }));
            let (answer, told) = oneshot::channel();
            let reply = Reply::default();
            let job = BatchJob { encoded, generation, concerned, order, reply, answer };
            self.shared.queue.push(Job::Batch(job)).unwrap();
            match told.await.unwrap() {
                BatchAnswer::Durable(_) => return stored,
                BatchAnswer::Withdrawn { order: back, withdrawn, generation: newer } => {
                    assert_eq!(withdrawn, [(0, 0)]);
                    self.handed_back.fetch_add(1, Ordering::Relaxed);
                    (order, generation, stored) = (back, newer, false);
                }
                BatchAnswer::Refused(error) => panic!("{error}"),
                other => panic!("{other:?}"),
            }
        }
    }
}

impl Drop for World {
    fn drop(&mut self) {
        self.shared.queue.close();
    }
}

fn digest(number: u64) -> BatchDigest {
    let mut bytes = [0; 16];
    bytes[..8].copy_from_slice(&number.to_le_bytes());
    BatchDigest(bytes)
}

/// Numbers of the events whose rows are in segments.
fn stored(frames: &[Frame]) -> HashSet<u64> {
    let batches = frames.iter().filter_map(|frame| match frame {
        Frame::Batch(batch) if !batch.tables.is_empty() => Some(batch.header.reply.rejected),
        _ => None,
    });
    batches.collect()
}

/// One event as its client saw it: turns acknowledged before it began, turns asked for before it ended.
struct Seen {
    number: u64,
    began: i64,
    ended: i64,
    stored: bool,
}

/// What everybody knows of one subject: turns of consent asked for and acknowledged, and events that came to an end.
#[derive(Default)]
struct Subject {
    asked: AtomicI64,
    told: AtomicI64,
    events: AtomicI64,
}

impl Subject {
    /// Waits until events that began after now have ended, however many senders there are.
    async fn some_events(&self) {
        let enough = self.events.load(Ordering::SeqCst) + 2 * SENDERS_EACH;
        while self.events.load(Ordering::SeqCst) < enough {
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
    }
}

const SUBJECTS: u8 = 4;
const SENDERS_EACH: i64 = 8;
const TURNS: i64 = 250;

/// Even turns withdraw, odd ones grant. Most wait for events under the new state, some follow at once.
async fn toggle(world: Arc<World>, subjects: Arc<Vec<Subject>>, number: u8) {
    let subject = &subjects[usize::from(number)];
    for turn in 0..TURNS {
        subject.asked.fetch_add(1, Ordering::SeqCst);
        world.say(number, turn % 2 == 1).await;
        subject.told.fetch_add(1, Ordering::SeqCst);
        if turn % 5 != 0 && turn + 1 < TURNS {
            subject.some_events().await;
        }
    }
}

async fn send_all(world: Arc<World>, subjects: Arc<Vec<Subject>>, number: u8, sender: u64) -> Vec<Seen> {
    let subject = &subjects[usize::from(number)];
    let mut seen = Vec::new();
    for event in 0.. {
        let began = subject.told.load(Ordering::SeqCst);
        if began == TURNS {
            break;
        }
        let event = event * 1000 + sender;
        let stored = world.send(number, event, event.is_multiple_of(3)).await;
        subject.events.fetch_add(1, Ordering::SeqCst);
        let ended = subject.asked.load(Ordering::SeqCst);
        seen.push(Seen { number: event, began, ended, stored });
    }
    seen
}

/// Row 14: 32 senders, 1,000 withdrawals and grants. Nothing received after an acknowledged withdrawal is stored;
/// everything acknowledged before its request is.
#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn a_withdrawal_takes_effect_in_the_order_of_the_queue() {
    let world = Arc::new(World::new(|_| {}));
    let subjects: Arc<Vec<Subject>> = Arc::new((0..SUBJECTS).map(|_| Subject::default()).collect());
    let (mut senders, mut toggles) = (Vec::new(), Vec::new());
    for number in 0..SUBJECTS {
        world.say(number, true).await;
        for sender in 0..SENDERS_EACH as u64 {
            let sender = u64::from(number) * 100 + sender;
            senders.push(tokio::spawn(send_all(Arc::clone(&world), Arc::clone(&subjects), number, sender)));
        }
        toggles.push(tokio::spawn(toggle(Arc::clone(&world), Arc::clone(&subjects), number)));
    }
    for toggle in toggles {
        toggle.await.unwrap();
    }
    let mut seen = Vec::new();
    for sender in senders {
        seen.extend(sender.await.unwrap());
    }
    let handed_back = world.handed_back.load(Ordering::Relaxed);
    let frames = Arc::into_inner(world).unwrap().frames();
    let stored = stored(&frames);
    let (mut kept, mut refused) = (0, 0);
    for event in &seen {
        assert_eq!(stored.contains(&event.number), event.stored, "event {} is not what was told", event.number);
        // No request was under way while the event was: its state is certain.
        if event.began == event.ended {
            assert_eq!(event.stored, event.began % 2 == 0, "event {}", event.number);
            *(if event.stored { &mut kept } else { &mut refused }) += 1;
        }
    }
    assert!(
        kept > 100 && refused > 100 && handed_back > 0,
        "too little: {kept} kept, {refused} refused, {handed_back}"
    );
    assert_eq!(row_under_withdrawal(&frames), None);
}

/// The checker of the test above sees a row behind a withdrawal.
#[tokio::test]
async fn a_row_behind_a_withdrawal_is_found() {
    let world = World::new(|_| {});
    world.say(1, true).await;
    let id = LedgerId::from_bytes([1; 32]);
    world.say(1, false).await;
    let planted = world.batch(1, &id, u64::MAX).await;
    assert!(matches!(planted.await.unwrap(), BatchAnswer::Durable(_)));
    assert_eq!(row_under_withdrawal(&world.frames()), Some(3));
}

/// In the order of the frames themselves: the first row of a subject whose newest statement says no.
fn row_under_withdrawal(frames: &[Frame]) -> Option<u64> {
    let mut state = BTreeMap::new();
    for frame in frames {
        match frame {
            Frame::Statement { statement, .. } => {
                let subject = subject_of(statement).unwrap().as_bytes()[0];
                state.insert(i64::from(subject), statement.purposes["p"]);
            }
            Frame::Batch(batch) => {
                if !batch.tables.is_empty() && state[&batch.header.received_at] != ConsentState::Given {
                    return Some(batch.lsn);
                }
            }
        }
    }
    None
}

#[tokio::test]
async fn a_batch_cleared_before_a_withdrawal_and_queued_after_it_loses_its_rows() {
    let world = World::new(|_| {});
    world.say(1, true).await;
    let id = LedgerId::from_bytes([1; 32]);
    let old = world.shared.consent.snapshot(&[id]).generation();
    world.say(1, false).await;
    let told = world.batch(1, &id, old).await;
    let BatchAnswer::Withdrawn { withdrawn, generation, .. } = told.await.unwrap() else { panic!() };
    assert_eq!(withdrawn, [(0, 0)]);
    assert_eq!(generation, world.shared.consent.snapshot(&[]).generation());
    assert_eq!(stored(&world.frames()), HashSet::new());
}

#[tokio::test]
async fn two_statements_built_on_the_same_one_do_not_both_count() {
    let world = World::new(|_| {});
    tokio::join!(world.say(1, true), world.say(1, false), world.say(1, true));
    let sequences: Vec<_> = world
        .frames()
        .iter()
        .map(|frame| match frame {
            Frame::Statement { statement, .. } => statement.sequence,
            Frame::Batch(_) => panic!(),
        })
        .collect();
    assert_eq!(sequences, [1, 2, 3]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn frames_fill_segments_in_order_and_one_sync_serves_many() {
    let world = Arc::new(World::new(|settings| settings.segment_bytes = 8 << 10));
    world.say(1, true).await;
    let mut sends = Vec::new();
    for number in 0..100 {
        let world = Arc::clone(&world);
        sends.push(tokio::spawn(async move { world.send(1, number, false).await }));
    }
    for send in sends {
        assert!(send.await.unwrap());
    }
    let (frames, syncs) = (&world.shared.gauges.frames, &world.shared.gauges.syncs);
    assert_eq!(frames.load(Ordering::Relaxed), 101);
    assert!(syncs.load(Ordering::Relaxed) < 101);
    assert!(world.shared.closed.len() > 1);
    assert_eq!(world.shared.gauges.pending_rows.load(Ordering::Relaxed), 100);
    let frames = Arc::into_inner(world).unwrap().frames();
    assert!(frames.iter().map(Frame::lsn).eq(1..=101));
    assert_eq!(stored(&frames), (0..100).collect());
}

#[tokio::test]
async fn frames_without_rows_close_a_segment_too() {
    let world = World::new(|settings| settings.segment_rows = 160);
    for turn in 0..25 {
        world.say(1, turn % 2 == 0).await;
    }
    assert_eq!(world.shared.closed.len(), 2, "each closes after ten statements, which count for 16 rows");
    assert_eq!(world.shared.gauges.pending_rows.load(Ordering::Relaxed), 0);
    assert_eq!(world.frames().len(), 25);
}

#[tokio::test]
async fn a_segment_that_cannot_be_opened_is_a_retry_and_passes() {
    let world = World::new(|_| {});
    let wal = world.folder.path().join(FOLDER);
    std::fs::remove_dir(&wal).unwrap();
    let statement = testing::statement(1, 1, true);
    let (answer, told) = oneshot::channel();
    let job = StatementJob {
        encoded: encode_statement(&statement).unwrap(),
        key: [1; 16],
        base: SubjectConsent::default(),
        state: world.shared.purposes.compact(&statement),
        statement,
        answer,
    };
    world.shared.queue.push(Job::Statement(Box::new(job))).unwrap();
    let StatementAnswer::Refused(error) = told.await.unwrap() else { panic!() };
    assert_eq!(error.kind(), Kind::Retry);
    assert!(world.shared.refusing().is_some());
    std::fs::create_dir(&wal).unwrap();
    world.say(1, true).await;
    assert!(world.shared.refusing().is_none());
    assert_eq!(world.frames().len(), 1);
}
