//! Subjects that sign: one batch for a number, receipts that match the rows, statements in order, all of it over restarts.

use std::collections::BTreeMap;

use ConsentState::{Given, Refused, Withdrawn};
use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use candor_policy::batch::Evidence;
use candor_policy::consent::{ConsentSnapshot, ConsentState};
use candor_policy::hex;
use candor_wire::identity::Seed;
use candor_wire::row;
use candor_wire::statement::Notice;

use super::super::fixture;
use super::super::tests::{World, told};
use super::*;
use crate::view::View;

const ROWS: usize = 3;

/// A device, as far as the store can see it.
struct Device {
    key: SubjectKey,
    statements: Vec<SignedStatement>,
}

impl Device {
    fn new(seed: u8) -> Self {
        Self { key: SubjectKey::derive(&Seed::new([seed; 32]), "test", 0).unwrap(), statements: Vec::new() }
    }

    fn subject(&self) -> LedgerId {
        LedgerId::of_certified(&self.key.subject_id())
    }

    fn statement(&self, sequence: i64, previous: Option<&SignedStatement>, state: ConsentState) -> SignedStatement {
        let before = |before: &SignedStatement| before.hash().unwrap().to_string();
        SignedStatement {
            fleet: "test".to_owned(),
            key: self.key.public(),
            sequence,
            previous: previous.map_or_else(SignedStatement::nothing_before, before),
            purposes: BTreeMap::from([("analytics".to_owned(), state), ("diagnostics".to_owned(), Refused)]),
            notice: Notice { version: "1".to_owned(), language: "de".to_owned() },
            age_from: None,
            expires: None,
            granted_at: None,
            gpc: false,
            guardian: false,
            closes: false,
            signature: String::new(),
        }
        .sign(&self.key)
        .unwrap()
    }

    /// Says it, after what was said before.
    async fn says(&mut self, store: &Store, state: ConsentState) {
        let statement = self.statement(self.statements.len() as i64 + 1, self.statements.last(), state);
        assert!(matches!(store.record_signed(statement.clone(), "agents").await.unwrap(), Recorded::Now(_)));
        self.statements.push(statement);
    }

    fn batch(&self, number: u64) -> SignedBatch {
        let mut id = [0; 16];
        id[..8].copy_from_slice(&number.to_be_bytes());
        SignedBatch {
            subject: self.subject(),
            fleet: "test".into(),
            number,
            body: [number as u8; 32],
            consent: Some(1),
            nonce: NonceUse { id, expires: 1_900_000_000 },
        }
    }

    async fn sends(&self, world: &World, store: &Store, number: u64) -> SignedAppended {
        let consent = store.consent(&[self.subject()]);
        self.sends_under(world, store, number, &consent).await
    }

    async fn sends_under(
        &self,
        world: &World,
        store: &Store,
        number: u64,
        consent: &ConsentSnapshot,
    ) -> SignedAppended {
        self.sends_announced(world, store, number, (consent, store.announce_batch())).await
    }

    async fn sends_announced(
        &self,
        world: &World,
        store: &Store,
        number: u64,
        (consent, announced): (&ConsentSnapshot, Announced),
    ) -> SignedAppended {
        let evidence = Evidence {
            source: Arc::from("agents"),
            received_at: 1_767_225_600_000_000,
            gpc: false,
            certified: Some(self.key.subject_id()),
        };
        let received = fixture::received(&["nobody"], ROWS, number as i64 * 10);
        let cleared = world.plan.clear(received.admit(evidence, &store.keys()), consent, &store.keys());
        store.append_signed(cleared, self.batch(number), told(number), announced).await.unwrap()
    }
}

fn stored(appended: SignedAppended) -> SignedReceipt {
    match appended {
        SignedAppended::Stored { receipt, .. } => *receipt,
        other => panic!("{other:?}"),
    }
}

fn repeated(appended: SignedAppended) -> (Reply, SignedReceipt) {
    match appended {
        SignedAppended::Repeat { reply, receipt } => (reply, *receipt),
        other => panic!("{other:?}"),
    }
}

/// What a checker does: the hash of a purpose's rows of a batch, from what is held.
async fn held_hash(world: &World, device: &Device, purpose: &str, batch: u64) -> Option<String> {
    let view = View::open(world.folder.path()).await.unwrap();
    let held = view.held_by(&[device.key.subject_id()]).await.unwrap();
    let rows: Vec<(String, Vec<u8>)> = held
        .iter()
        .filter(|row| row.purpose == purpose && row.batch == Some(batch as i64))
        .map(|row| (row.stream.clone(), URL_SAFE_NO_PAD.decode(&row.row).unwrap()))
        .collect();
    let mut streams: BTreeMap<&str, Vec<&[u8]>> = BTreeMap::new();
    for (stream, row) in &rows {
        streams.entry(stream).or_default().push(row);
    }
    (!rows.is_empty()).then(|| hex::encode(&row::hash_of(streams).unwrap()))
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn receipts_wait_a_moment_for_a_batch_that_was_announced_and_share_its_signature() {
    let world = World::new();
    let store = world.open().await;
    let mut device = Device::new(7);
    device.says(&store, Given).await;
    let consent = store.consent(&[device.subject()]);

    // Nobody is on the way: a group of its own.
    assert_eq!(stored(device.sends(&world, &store, 1).await).proof.size, 1);

    // The second was announced before, and comes when the first is durable. A thread that is held up for longer than they wait parts them.
    let together = async |number: u64| {
        let announced = store.announce_batch();
        let second = async {
            tokio::time::sleep(std::time::Duration::from_millis(2)).await;
            device.sends_announced(&world, &store, number + 1, (&consent, announced)).await
        };
        let (first, second) = tokio::join!(device.sends(&world, &store, number), second);
        let (first, second) = (stored(first), stored(second));
        first.verify(&first.proof.key).unwrap();
        second.verify(&first.proof.key).unwrap();
        (first.proof.size, second.proof.size)
    };
    let mut groups = Vec::new();
    for number in (2..42).step_by(2) {
        groups.push(together(number).await);
    }
    assert!(groups.contains(&(2, 2)), "{groups:?}");

    // One that was announced and does not come holds nobody up for long.
    let announced = store.announce_batch();
    let first = tokio::time::timeout(std::time::Duration::from_secs(5), device.sends(&world, &store, 42)).await;
    assert_eq!(stored(first.expect("is signed without it")).proof.size, 1);
    drop(announced);
    store.close().await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_number_stores_once_however_often_and_at_once_it_comes() {
    let world = World::new();
    let store = Arc::new(world.open().await);
    let mut device = Device::new(7);
    device.says(&store, Given).await;
    let device = Arc::new(device);
    let world = Arc::new(world);
    let senders: Vec<_> = (0..32)
        .map(|_| {
            let (store, device, world) = (Arc::clone(&store), Arc::clone(&device), Arc::clone(&world));
            tokio::spawn(async move { device.sends(&world, &store, 1).await })
        })
        .collect();
    let (mut first, mut again) = (Vec::new(), Vec::new());
    for sender in senders {
        match sender.await.unwrap() {
            SignedAppended::Stored { receipt, .. } => first.push(*receipt),
            other => again.push(repeated(other)),
        }
    }
    assert_eq!((first.len(), again.len()), (1, 31));
    let known = store.receipt_key().unwrap();
    assert_eq!(first[0].verify(&known), Ok(()));
    for (reply, receipt) in &again {
        assert_eq!((&receipt.receipt, reply), (&first[0].receipt, &told(1)));
        assert_eq!(receipt.verify(&known), Ok(()));
    }
    let analytics = &first[0].receipt.purposes["analytics"];
    assert_eq!((analytics.offered, analytics.stored, analytics.batch), (3, 3, Some(1)));
    let refused = &first[0].receipt.purposes["diagnostics"];
    assert_eq!((refused.stored, refused.batch, refused.rows.as_ref()), (0, None, None));
    assert_eq!(refused.dropped, BTreeMap::from([("no_consent".to_owned(), 3)]));
    assert_eq!(store.figures().pending_rows, 3);
    Arc::into_inner(store).unwrap().close().await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn numbers_receipts_and_nonces_outlive_restarts_in_segments_and_in_the_ledger() {
    let world = World::new();
    let mut store = world.open().await;
    let mut device = Device::new(7);
    device.says(&store, Given).await;
    let key = store.receipt_key().unwrap();
    let one = stored(device.sends(&world, &store, 1).await);
    let three = stored(device.sends(&world, &store, 3).await);
    assert!(store.take_nonce(device.batch(3).nonce, User::Sender).unwrap(), "the pipeline takes it before");
    for flushed in [false, true] {
        if flushed {
            store.close().await.unwrap();
        } else {
            drop(store);
        }
        store = world.open().await;
        assert_eq!(store.receipt_key(), Some(key));
        assert_eq!(store.batches_of(&device.subject()), BatchNumbers { next: 4, missing: vec![2] });
        for before in [&one, &three] {
            let (reply, again) = repeated(device.sends(&world, &store, before.receipt.batch).await);
            assert_eq!((&again.receipt, reply), (&before.receipt, told(before.receipt.batch)), "flushed: {flushed}");
            assert_eq!(again.verify(&key), Ok(()));
            assert!(
                !store.take_nonce(device.batch(before.receipt.batch).nonce, User::Sender).unwrap(),
                "flushed: {flushed}"
            );
        }
        assert!(store.take_nonce(NonceUse { id: [9; 16], expires: 1_900_000_000 }, User::Sender).unwrap());
        let all = store.receipts_from(&device.subject(), 2, 10).await.unwrap();
        assert_eq!(all.iter().map(|one| &one.receipt).collect::<Vec<_>>(), [&three.receipt]);
        for (receipt, batch) in [(&one, 1), (&three, 2)] {
            let analytics = &receipt.receipt.purposes["analytics"];
            assert_eq!(analytics.batch, Some(batch));
            assert_eq!(held_hash(&world, &device, "analytics", batch).await, analytics.rows, "flushed: {flushed}");
        }
    }
    let two = stored(device.sends(&world, &store, 2).await);
    assert_eq!(two.receipt.purposes["analytics"].batch, Some(3));
    assert_eq!(store.batches_of(&device.subject()), BatchNumbers { next: 4, missing: vec![] });
    store.keep_nonce(NonceUse { id: [8; 16], expires: 1_900_000_000 }).await.unwrap();
    drop(store);
    let store = world.open().await;
    assert!(!store.take_nonce(NonceUse { id: [8; 16], expires: 1_900_000_000 }, User::Sender).unwrap());
    assert!(matches!(device.sends(&world, &store, 4 + 1_024).await, SignedAppended::TooFar));
    store.close().await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_withdrawal_on_the_way_is_in_the_receipt() {
    let world = World::new();
    let store = world.open().await;
    let mut device = Device::new(7);
    device.says(&store, Given).await;
    let before = store.consent(&[device.subject()]);
    device.says(&store, Withdrawn).await;
    let receipt = stored(device.sends_under(&world, &store, 1, &before).await).receipt;
    let analytics = &receipt.purposes["analytics"];
    assert_eq!((analytics.stored, analytics.rows.as_ref(), analytics.batch), (0, None, None));
    assert_eq!(analytics.dropped, BTreeMap::from([("withdrawn_at_append".to_owned(), 3)]));
    assert_eq!(store.figures().pending_rows, 0);
    store.close().await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn statements_follow_each_other_or_are_told_what_to_follow() {
    let world = World::new();
    let store = world.open().await;
    let mut device = Device::new(7);
    device.says(&store, Given).await;
    let first = device.statements[0].clone();
    let known = store.record_signed(first.clone(), "agents").await.unwrap();
    assert!(matches!(known, Recorded::Known(statement) if statement.sequence == 1));
    let head = (1, first.hash().unwrap().to_string());
    for stranger in
        [device.statement(2, None, Given), device.statement(3, Some(&device.statement(2, None, Given)), Given)]
    {
        let told = store.record_signed(stranger, "agents").await.unwrap();
        assert_eq!(told, Recorded::Conflict { head: Some(head.clone()) });
    }
    let forged = SignedStatement { sequence: 2, ..first.clone() };
    assert!(matches!(store.record_signed(forged, "agents").await.unwrap(), Recorded::Invalid(_)));
    let mut other = device.statement(2, Some(&first), Given);
    other.purposes.insert("telepathy".to_owned(), Given);
    let told = store.record_signed(other.sign(&device.key).unwrap(), "agents").await.unwrap();
    assert!(
        matches!(told, Recorded::Invalid(why) if why.contains("analytics, diagnostics") && !why.contains("telepathy"))
    );

    // Two of one number: what both permit.
    let state = |store: &Store| store.consent(&[device.subject()]).of(0).state(0, 0);
    let (given, withdrawn) = (device.statement(2, Some(&first), Given), device.statement(2, Some(&first), Withdrawn));
    assert!(matches!(store.record_signed(withdrawn.clone(), "agents").await.unwrap(), Recorded::Now(_)));
    assert!(matches!(store.record_signed(given.clone(), "agents").await.unwrap(), Recorded::Now(_)));
    assert_eq!(state(&store), Withdrawn);
    store.close().await.unwrap();
    let store = world.open().await;
    assert_eq!(state(&store), Withdrawn, "after a restart too");
    // The next may follow either.
    let moved = device.statement(1 << 32 | 1, Some(&given), Given);
    assert!(matches!(store.record_signed(moved.clone(), "agents").await.unwrap(), Recorded::Now(_)));
    assert_eq!(state(&store), Given);
    let late = device.statement(3, Some(&given), Withdrawn);
    assert!(matches!(store.record_signed(late, "agents").await.unwrap(), Recorded::Conflict { .. }));
    let history = store.consent_history(&device.subject()).await.unwrap();
    assert_eq!(candor_wire::statement::verify_chain(&history), Ok(()));
    assert_eq!(history.len(), 4);

    for (sequence, expected) in [(1, Given), (2, Withdrawn), (7, Withdrawn), (1 << 32 | 1, Given)] {
        let ConsentAt::State(found) = store.consent_at(&device.subject(), sequence).await.unwrap() else { panic!() };
        assert_eq!((found.state(0, 0), found.sequence()), (expected, sequence), "{sequence}");
    }
    assert_eq!(store.consent_at(&device.subject(), 1 << 32 | 2).await.unwrap(), ConsentAt::Missing);

    let last = SignedStatement { closes: true, ..device.statement(1 << 32 | 2, Some(&moved), Withdrawn) };
    let last = last.sign(&device.key).unwrap();
    assert!(matches!(store.record_signed(last.clone(), "agents").await.unwrap(), Recorded::Now(_)));
    let more = device.statement(1 << 32 | 3, Some(&last), Given);
    assert_eq!(store.record_signed(more, "agents").await.unwrap(), Recorded::Closed);
    assert!(store.consent(&[device.subject()]).of(0).closed());
    store.close().await.unwrap();
}

/// A policy can lose a purpose and a person can mistype one: neither may keep a withdrawal from being said.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_name_that_is_not_declared_may_be_refused_and_never_given() {
    let world = World::new();
    let store = world.open().await;
    let device = Device::new(8);
    let (mut sequence, mut last): (i64, Option<SignedStatement>) = (0, None);
    for (state, name, is_taken) in [
        (Given, "telepathy", false),
        (Given, "diagnostics", true),
        (Refused, "telepathy", true),
        (Given, "telepathy", false),
        (ConsentState::Unknown, "telekinesis", true),
        (Withdrawn, "telepathy", true),
    ] {
        let mut statement = device.statement(sequence + 1, last.as_ref(), Given);
        statement.purposes.insert(name.to_owned(), state);
        let statement = statement.sign(&device.key).unwrap();
        match store.record_signed(statement.clone(), "agents").await.unwrap() {
            Recorded::Now(_) if is_taken => (sequence, last) = (sequence + 1, Some(statement)),
            Recorded::Invalid(why) if !is_taken => assert!(why.contains("analytics, diagnostics"), "{why}"),
            other => panic!("{name} {state:?}: {other:?}"),
        }
    }
    assert_eq!(store.consent(&[device.subject()]).of(0).state(0, 0), Given);
    store.close().await.unwrap();
}
