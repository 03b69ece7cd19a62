//! What a check names, and what a device makes of a folder that somebody changed.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use candor_policy::hex;
use candor_wire::log::note::{Algorithm, Note, Signer};
use candor_wire::signature;
use http::{Request, Response};

use super::service::log_signer;
use super::*;
use crate::folder::Folder;
use crate::receipts::{Finding, What};
use crate::rim::Transport;

fn used(bench: &mut Bench) -> Device {
    let mut device = bench.create();
    device.consent(&given()).unwrap();
    for _ in 0..3 {
        device.take(&bench.events("app", 4)).unwrap();
        assert_eq!(bench.drain(&mut device), None);
    }
    device
}

fn found(bench: &Bench, device: &mut Device) -> Vec<(Option<u64>, Option<u64>, What)> {
    let check = now(device.check(&mut bench.link())).unwrap();
    check.findings.into_iter().map(|finding| (finding.batch, finding.purpose_batch, finding.what)).collect()
}

#[test]
fn a_row_that_is_changed_dropped_or_added_names_its_batch() {
    let mut bench = Bench::new(30);
    let mut device = used(&mut bench);
    let rows = bench.service().subjects.values().next().unwrap().rows.clone();
    let check = now(device.check(&mut bench.link())).unwrap();
    assert_eq!((check.receipts, check.matched, check.rows, check.findings.len()), (3, 3, 12, 0));
    for row in 0..rows.len() {
        let batch = Some(rows[row].batch);
        let mut with = |change: &dyn Fn(&mut Vec<super::service::Row>)| {
            let mut changed = rows.clone();
            change(&mut changed);
            bench.service().subjects.values_mut().next().unwrap().rows = changed;
            found(&bench, &mut device)
        };
        // Another value; and what is no row any more.
        for at in [rows[row].encoding.len() - 1, 0] {
            let changed = with(&|rows| rows[row].encoding[at] ^= 1);
            assert_eq!(changed, [(batch, batch, What::Changed)]);
        }
        let moved = with(&|rows| rows[row].batch = 9);
        let missing = What::Missing { stored: 4, found: 3 };
        assert_eq!(moved, [(None, Some(9), What::NoReceipt { found: 1 }), (batch, batch, missing)]);
        let doubled = with(&|rows| rows.push(rows[row].clone()));
        assert_eq!(doubled, [(batch, batch, What::Additional { stored: 4, found: 5 })]);
        assert_eq!(with(&|rows| drop(rows.remove(row))), [(batch, batch, missing)], "what is not sealed is shown too");
    }
    bench.service().subjects.values_mut().next().unwrap().rows = rows;
    bench.service().subjects.values_mut().next().unwrap().rows.remove(5);
    assert_eq!(found(&bench, &mut device), [(Some(2), Some(2), What::Missing { stored: 4, found: 3 })]);
    let text = now(device.check(&mut bench.link())).unwrap().findings[0].to_string();
    assert_eq!(text, "epoch 0, batch 2, analytics (its batch 2): 3 of 4 rows are there");
}

#[test]
fn receipts_that_one_side_lacks_or_that_differ_are_named() {
    let mut bench = Bench::new(31);
    let mut device = used(&mut bench);
    {
        let mut service = bench.service();
        let subject = service.subjects.values_mut().next().unwrap();
        let lost = subject.receipts.remove(&2).unwrap();
        subject.receipts.insert(7, lost);
        subject.receipts.get_mut(&3).unwrap().receipt.received_at += 1;
    }
    assert_eq!(
        found(&bench, &mut device),
        [
            // Its number in its bytes is the lost one's: what a service lists is taken by what was signed.
            (Some(3), None, What::Differs),
        ]
    );
    bench.service().subjects.values_mut().next().unwrap().receipts.clear();
    let gone = [1, 2, 3].map(|batch| (Some(batch), None, What::UnknownThere));
    assert_eq!(found(&bench, &mut device), gone);
    bench.service().subjects.clear();
    assert_eq!(found(&bench, &mut device), gone);
}

#[test]
fn a_log_that_is_not_the_one_that_receipts_saw_is_named() {
    let mut bench = Bench::new(36);
    let entry = |number: u8| vec![number; 9];
    bench.service().log = vec![entry(0)];
    let mut device = bench.create();
    device.consent(&given()).unwrap();
    for number in 1..6 {
        device.take(&bench.events("app", 4)).unwrap();
        assert_eq!(bench.drain(&mut device), None);
        bench.service().log.push(entry(number));
    }
    let honest = bench.service().log.clone();
    let check = now(device.check(&mut bench.link())).unwrap();
    assert_eq!((check.findings.len(), check.log.checkpoints, check.log.newest, check.log.size), (0, 5, 5, Some(6)));
    // Nobody signs to read the log, over a connection of its own.
    let seen = bench.service().seen.clone();
    let (_, signer, connection) = seen.iter().rev().find(|(path, ..)| path == "/v1/keys").unwrap();
    assert!(signer.is_none() && seen.iter().all(|(_, key, other)| key.is_none() || other != connection), "{seen:?}");

    let with = |bench: &Bench, device: &mut Device, log: Vec<Vec<u8>>| {
        bench.service().log = log;
        found(bench, device)
    };
    // An old log, under an old answer.
    let old = with(&bench, &mut device, honest[..3].to_vec());
    let back = |batch: u64| (Some(batch), None, What::RolledBack { seen: batch, found: 3 });
    assert_eq!(old, [(None, None, What::OldAnswer), back(4), back(5)]);
    // Another entry at each place: whoever saw it or one behind it knows.
    for changed in 0..honest.len() {
        let mut fork = honest.clone();
        fork[changed] = entry(99);
        let forked: Vec<_> =
            (changed as u64 + 1..6).map(|batch| (Some(batch), None, What::Forked { seen: batch })).collect();
        assert_eq!(with(&bench, &mut device, fork), forked, "entry {changed}");
    }
    // An answer about yesterday, under the log of today.
    bench.service().answered = Some(4);
    assert_eq!(with(&bench, &mut device, honest.clone()), [(None, None, What::OldAnswer)]);
    bench.service().answered = None;
    assert_eq!(with(&bench, &mut device, Vec::new()).last().unwrap().2, What::UnsignedLog);
    assert_eq!(with(&bench, &mut device, honest), []);
}

#[test]
fn an_answer_is_under_a_checkpoint_that_the_log_signed_and_extends() {
    let mut bench = Bench::new(37);
    bench.service().log = vec![vec![0; 9]];
    let mut device = used(&mut bench);
    bench.service().log.push(vec![1; 9]);
    assert_eq!(found(&bench, &mut device), []);
    // Larger than any receipt's, so that it is not older: and not the log's, or of another log, or of none.
    let text = format!("candor/acme-fleet\n999\n{}\n", STANDARD.encode([7; 32]));
    let note =
        |text: &str, signer: &Signer| Note::new(text.to_owned(), vec![signer.sign(text, 0)]).unwrap().to_string();
    let stranger = Signer::new("candor/acme-fleet", Algorithm::Ed25519, &[6; 32]).unwrap();
    let fork = format!("candor/acme-fleet\n2\n{}\n", STANDARD.encode([7; 32]));
    let own = log_signer();
    for claimed in [note(&text, &stranger), note(&text, &own), note(&fork, &own)] {
        bench.service().claimed = Some(claimed);
        assert_eq!(found(&bench, &mut device), [(None, None, What::OtherAnswer)]);
    }
    bench.service().claimed = None;
    assert_eq!(found(&bench, &mut device), []);
}

#[test]
fn rows_that_are_not_sealed_in_time_are_named() {
    let mut bench = Bench::new(38);
    let mut device = used(&mut bench);
    bench.service().seals = false;
    let check = now(device.check(&mut bench.link())).unwrap();
    assert_eq!((check.pending, check.findings.len()), (3, 0));
    bench.pass(2 * 3_600_000_000);
    let late = [1, 2, 3].map(|batch| (Some(batch), Some(batch), What::Unsealed { rows: 4 }));
    assert_eq!(found(&bench, &mut device), late);
    bench.service().seals = true;
    assert_eq!(found(&bench, &mut device), []);
}

#[test]
fn an_epoch_that_is_to_be_erased_is_looked_at_until_the_service_accepts_that_and_when_it_is_late() {
    let mut bench = Bench::new(39);
    let mut device = used(&mut bench);
    device.erase().unwrap();
    assert_eq!(found(&bench, &mut device), []);
    let row = bench.service().subjects.values_mut().next().unwrap().rows.remove(5);
    assert_eq!(found(&bench, &mut device), [(Some(2), Some(2), What::Missing { stored: 4, found: 3 })]);
    bench.service().subjects.values_mut().next().unwrap().rows.insert(5, row);
    assert_eq!(bench.drain(&mut device), None);
    // Accepted: its rows go, nobody knows when, but not after the deadline.
    bench.service().subjects.values_mut().next().unwrap().rows.clear();
    assert_eq!(found(&bench, &mut device), []);
    bench.pass(3_600_000_000);
    assert_eq!(found(&bench, &mut device), [(None, None, What::Overdue)]);
    bench.service().erase();
    assert_eq!(found(&bench, &mut device), []);
    assert_eq!(device.erasures()[0].1.stage, crate::erase::Stage::Done);
}

#[test]
fn an_erasure_whose_answer_was_lost_is_not_held_against_the_service() {
    let mut bench = Bench::new(40);
    let mut device = used(&mut bench);
    device.erase().unwrap();
    let key = *bench.service().subjects.keys().next().unwrap();
    let subject = hex::encode(&key.subject_id().as_bytes()[..16]);
    let accepted =
        json!({"id": subject, "state": "open", "scope": "all", "requested_at": NOW, "deadline": NOW + 1_000_000});
    bench.service().erasures.insert(key, accepted);
    bench.service().subjects.get_mut(&key).unwrap().rows.clear();
    assert_eq!(found(&bench, &mut device), []);
    bench.pass(3_600_000_000);
    assert_eq!(found(&bench, &mut device), [(None, None, What::Overdue)]);
}

#[test]
fn a_list_of_receipts_ends_where_numbers_do() {
    let mut bench = Bench::new(41);
    let mut device = used(&mut bench);
    {
        let mut service = bench.service();
        let receipts = &mut service.subjects.values_mut().next().unwrap().receipts;
        let last = receipts[&3].clone();
        for number in (4..1_000).chain([u64::MAX]) {
            let mut signed = last.clone();
            signed.receipt.batch = number;
            receipts.insert(number, signed);
        }
    }
    let found = found(&bench, &mut device);
    assert_eq!((found.len(), found.last().unwrap()), (997, &(Some(u64::MAX), None, What::UnknownHere)));
}

/// A service that says of every epoch that it was erased, and of every erasure that it is accepted.
struct Endless(u64);

impl Transport for Endless {
    fn authority(&self) -> &'static str {
        "service.example"
    }

    fn base(&self) -> &'static str {
        ""
    }

    async fn exchange(&mut self, request: Request<Bytes>) -> Result<Response<Bytes>, Error> {
        self.0 += 1;
        assert!(self.0 < 1_000, "it is asked for ever");
        let answer = Response::builder();
        if request.uri().path() != crate::erasure::PATH {
            let reason = candor_wire::reason::Reason::SubjectUnknown.name();
            return Ok(answer.status(404).header(&signature::REASON, reason).body(Bytes::new()).unwrap());
        }
        let erasure = json!({"id": "00".repeat(16), "state": "open", "scope": "all", "requested_at": 1, "deadline": 2});
        Ok(answer.status(200).body(Bytes::from(erasure.to_string())).unwrap())
    }

    fn part(&mut self) {}
}

#[test]
fn a_service_that_knows_every_epoch_is_not_asked_for_ever() {
    let bench = Bench::new(42);
    let identity = Identity::random(FLEET, &*bench.random).unwrap();
    let rim = || -> (Arc<dyn Clock>, Arc<dyn Random>) { (bench.clock.clone(), bench.random.clone()) };
    let is_endless = |error: Error| assert!(error.to_string().contains("come to an end"), "{error}");
    let (clock, random) = rim();
    is_endless(now(crate::held::ask(&identity, clock, random, &mut Endless(0), |_| ())).unwrap_err());
    let (clock, random) = rim();
    is_endless(now(crate::evidence::gather(&identity, clock, random, &mut Endless(0), |_| ())).unwrap_err());
    let scope = candor_wire::erasure::Scope::All;
    is_endless(now(crate::erasure::request(&identity, rim(), &mut Endless(0), &scope)).unwrap_err());
    let moved = Bench::new(43);
    let mut endless = Endless(0);
    let recovered = Device::recover(moved.world(), moved.settings.clone(), &identity, &mut endless);
    is_endless(now(recovered).unwrap_err());
}

#[test]
fn the_journal_is_checked_before_anything_is_compared() {
    let mut bench = Bench::new(32);
    let mut device = used(&mut bench);
    let text = bench.folder.read("receipts.jsonl", 1 << 20).unwrap().unwrap();
    let at = text.windows(9).position(|window| window == b"\"events\":").unwrap() + 9;
    bench.folder.tamper("receipts.jsonl", |mut bytes| {
        bytes[at] = b'9';
        Some(bytes)
    });
    assert!(matches!(device.receipts(), Err(Error::Damaged { .. })));
    assert!(matches!(bench.open(), Err(Error::Damaged { .. })));
    bench.folder.tamper("receipts.jsonl", |_| Some(text));
    // A whole journal of another device.
    let mut other = Bench::new(33);
    used(&mut other);
    let foreign = other.folder.read("receipts.jsonl", 1 << 20).unwrap().unwrap();
    bench.folder.tamper("receipts.jsonl", |_| Some(foreign));
    let mut device = bench.open().unwrap();
    let bad = now(device.check(&mut bench.link())).unwrap().findings;
    let bad: Vec<&Finding> = bad.iter().filter(|finding| finding.what == What::BadReceipt).collect();
    assert_eq!(bad.len(), 3);
}

#[test]
fn a_batch_that_was_changed_or_taken_away_is_counted() {
    let mut bench = Bench::new(34);
    let mut device = used(&mut bench);
    for _ in 0..3 {
        device.take(&bench.events("app", 4)).unwrap();
    }
    let names = bench.folder.names("spool").unwrap();
    let name = |at: usize| format!("spool/{}", names[at]);
    bench.folder.tamper(&name(0), |mut bytes| {
        bytes[30] ^= 1;
        Some(bytes)
    });
    let mut device = bench.open().unwrap();
    assert_eq!(device.counts().dropped["damaged"], 4);
    lawful(&device);
    bench.folder.tamper(&name(1), |_| None);
    device = bench.open().unwrap();
    assert_eq!(device.counts().dropped["lost"], 4);
    assert_eq!(bench.open().unwrap().counts(), device.counts(), "once");
    assert_eq!(bench.drain(&mut device), None);
    lawful(&device);
    assert_eq!(device.counts().acknowledged, 16);
}

#[test]
fn a_full_spool_drops_the_oldest_and_what_is_too_large_alone_is_dropped_alone() {
    let mut bench = Bench::new(35);
    bench.settings.spool_bytes = 4_000;
    bench.settings.batch_bytes = 300;
    let mut device = bench.create();
    device.consent(&given()).unwrap();
    let mut large = bench.events("app", 3);
    large[1].attributes.insert("text".to_owned(), "x".repeat(400).into());
    assert_eq!(device.take(&large).unwrap(), crate::device::Taken { spooled: 2, dropped: 1 });
    let ids: Vec<i64> =
        (0..100).map(|_| device.take(&bench.events("app", 1)).map(|_| bench.next_id).unwrap()).collect();
    lawful(&device);
    let counts = device.counts();
    assert!(device.show().unwrap().spool_bytes <= 4_000);
    assert!(counts.spooled > 5 && counts.dropped["spool_full"] == 102 - counts.spooled, "{counts:?}");
    assert_eq!(counts.dropped["too_large"], 1);
    assert_eq!(bench.drain(&mut device), None);
    let stored = bench.service().ids();
    assert_eq!(stored.into_iter().collect::<Vec<_>>(), ids[100 - counts.spooled as usize..]);
}
