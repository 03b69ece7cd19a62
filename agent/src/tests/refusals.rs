//! What a device does about every answer.

use candor_wire::identity::SubjectKey;

use super::service::Fault;
use super::*;
use crate::folder::Folder;
use crate::receipts::What::Differs;

fn ready(bench: &mut Bench) -> Device {
    let mut device = bench.create();
    device.consent(&given()).unwrap();
    device.take(&bench.events("app", 3)).unwrap();
    assert_eq!(bench.drain(&mut device), None);
    device.take(&bench.events("app", 4)).unwrap();
    device
}

fn answered(bench: &Bench, status: u16, headers: &[(&'static str, &str)]) -> Fault {
    let time = bench.service().time.to_string();
    let mut headers: Vec<_> = headers.iter().map(|(name, value)| (*name, (*value).to_owned())).collect();
    headers.push(("candor-time", time));
    Fault::Answer(status, headers, "{\"message\":\"because\"}")
}

#[test]
fn every_status_is_waited_for_counted_or_told() {
    for status in (200..=511).filter(|status| ![204, 205].contains(status)) {
        let mut bench = Bench::new(u64::from(status));
        let mut device = ready(&mut bench);
        let fault = answered(&bench, status, &[]);
        bench.service().faults.push_back(fault);
        let next = now(device.step(&mut bench.link())).unwrap();
        let dropped = device.counts().dropped;
        match status {
            200..=299 | 408 | 425 | 429 | 500..=599 => {
                assert!(matches!(next, Next::Wait(_)) && dropped.is_empty(), "{status}: {next:?}");
            }
            300..=399 | 401 | 403 | 404 | 405 | 407 => {
                assert!(
                    matches!(&next, Next::Stopped(Stop::Refused { message, .. }) if message == "because"),
                    "{status}: {next:?}"
                );
                assert!(dropped.is_empty(), "{status}: {dropped:?}");
            }
            _ => {
                assert_eq!((next, dropped[&format!("refused_{status}")]), (Next::Again, 4), "{status}");
                assert_eq!(device.batch_refusal(), Some("because"), "{status}");
            }
        }
        assert_eq!(bench.drain(&mut device), None);
        lawful(&device);
        let counts = device.counts();
        assert_eq!((counts.taken, counts.spooled), (7, 0));
        let missing = now(device.check(&mut bench.link())).unwrap();
        assert_eq!(missing.findings, [], "{status}");
    }
}

#[test]
fn waits_follow_retry_after_and_start_anew_after_a_success() {
    let mut bench = Bench::new(7);
    let mut device = ready(&mut bench);
    for (status, reason) in [(503, ""), (429, ""), (401, "signature_time"), (503, "consent_missing")] {
        for _ in 0..8 {
            let mut headers = vec![("retry-after", "30")];
            headers.extend((!reason.is_empty()).then_some(("candor-reason", reason)));
            let fault = answered(&bench, status, &headers);
            bench.service().faults.push_back(fault);
        }
        let wait = loop {
            match now(device.step(&mut bench.link())).unwrap() {
                Next::Wait(wait) => break wait,
                next => assert_eq!(next, Next::Again, "{reason}"),
            }
        };
        let most = if reason == "signature_time" { 30 + 8 } else { 30 + 64 };
        assert!((30..=most).contains(&wait.as_secs()), "{status} {reason}: {wait:?}");
        bench.service().faults.clear();
        assert_eq!(bench.drain(&mut device), None, "{reason}");
        device.take(&bench.events("app", 1)).unwrap();
    }
}

#[test]
fn a_clock_that_errs_by_ten_years_is_corrected_by_the_first_refusal() {
    for years in [-10, 10] {
        let mut bench = Bench::new(3);
        bench.clock.0.store(NOW + years * 365 * DAY, Ordering::SeqCst);
        let mut device = bench.create();
        device.consent(&given()).unwrap();
        device.take(&bench.events("app", 2)).unwrap();
        assert_eq!(bench.drain(&mut device), None);
        assert_eq!(device.counts().acknowledged, 2);
        assert_eq!(device.show().unwrap().clock_offset, -years * 365 * DAY);
        let again = bench.open().unwrap();
        assert_eq!(again.show().unwrap().clock_offset, -years * 365 * DAY);
        device.consent(&given().with("analytics", ConsentState::Given).with("new", ConsentState::Given)).unwrap();
        assert_eq!(device.consented().unwrap().granted_at.as_deref(), Some("2026-11-22T20:00:00Z"));
        drop(again);
    }
}

#[test]
fn a_used_nonce_is_signed_anew_at_once() {
    let mut bench = Bench::new(4);
    let mut device = ready(&mut bench);
    let fault = answered(&bench, 401, &[("candor-reason", "nonce_used")]);
    bench.service().faults.extend([fault.clone(), fault]);
    assert_eq!(now(device.step(&mut bench.link())).unwrap(), Next::Again);
    assert_eq!(device.counts().acknowledged, 7);
}

#[test]
fn a_service_that_lost_statements_gets_them_again() {
    for keep in [0, 1, 2] {
        let mut bench = Bench::new(5);
        let mut device = ready(&mut bench);
        for state in [ConsentState::Withdrawn, ConsentState::Given] {
            device.consent(&given().with("analytics", state)).unwrap();
        }
        device.take(&bench.events("app", 4)).unwrap();
        let behind = device.show().unwrap().undelivered;
        assert_eq!(behind, 2);
        assert!(device.counts().dropped["withdrawn"] == 4);
        while device.show().unwrap().undelivered > 0 {
            now(device.step(&mut bench.link())).unwrap();
        }
        for subject in bench.service().subjects.values_mut() {
            subject.statements.truncate(keep);
        }
        assert_eq!(bench.drain(&mut device), None, "{keep} kept");
        assert_eq!(device.counts().acknowledged, 7);
        let service = bench.service();
        assert_eq!(service.subjects.values().next().unwrap().statements.len(), 3);
    }
}

#[test]
fn a_history_that_went_on_elsewhere_is_taken_over_and_no_withdrawal_undone() {
    let mut bench = Bench::new(6);
    let mut device = ready(&mut bench);
    assert_eq!(bench.drain(&mut device), None);
    let mut twin = Bench { folder: MemoryFolder::default(), ..Bench::new(66) };
    twin.service = Arc::clone(&bench.service);
    let identity = device.identity().clone();
    let mut other = now(Device::recover(twin.world(), twin.settings.clone(), &identity, &mut twin.link())).unwrap();
    other.consent(&Change::default().with("analytics", ConsentState::Withdrawn)).unwrap();
    assert_eq!(twin.drain(&mut other), None);

    device.consent(&given().with("marketing", ConsentState::Given)).unwrap();
    device.take(&bench.events("app", 4)).unwrap();
    assert_eq!(bench.drain(&mut device), None);
    let purposes = &device.consented().unwrap().purposes;
    assert_eq!(purposes["analytics"], ConsentState::Withdrawn);
    assert_eq!(purposes["marketing"], ConsentState::Unknown, "what only one of them gave");
    assert_eq!(device.consented().unwrap().sequence >> 32, 2, "the instance rises");
    assert_eq!(device.counts().dropped["withdrawn"], 4);
    lawful(&device);
    assert_eq!(bench.service().ids().len(), 7);
}

/// Two holders of a seed, of whom neither knows that there is another: both say what holds.
#[test]
fn a_statement_that_holds_only_in_part_is_said_anew_as_it_holds() {
    let mut bench = Bench::new(60);
    let mut device = ready(&mut bench);
    assert_eq!(bench.drain(&mut device), None);
    let twin = Bench { folder: MemoryFolder::default(), ..Bench::new(61) };
    for name in ["identity.toml", "state.toml", "receipts.jsonl"] {
        let bytes = bench.folder.read(name, 1 << 20).unwrap().unwrap();
        twin.folder.replace(name, &bytes).unwrap();
    }
    let twin = Bench { service: Arc::clone(&bench.service), ..twin };
    let mut clone = twin.open().unwrap();
    clone.consent(&Change::withdraw_all()).unwrap();
    assert_eq!(twin.drain(&mut clone), None);
    device.consent(&Change::default().with("ads", ConsentState::Given)).unwrap();
    assert_eq!(bench.drain(&mut device), None);
    let said = &device.consented().unwrap().purposes;
    assert!(said.values().all(|state| *state != ConsentState::Given), "{said:?}");
    let service = bench.service();
    let statements = &service.subjects.values().next().unwrap().statements;
    let numbers: Vec<_> = statements.iter().map(|one| one.sequence).collect();
    assert_eq!(numbers, [1, 2, 2, 1 << 32 | 1], "the new one follows both");
    drop(service);
    device.take(&bench.events("app", 2)).unwrap();
    assert_eq!(bench.drain(&mut device), None);
    assert_eq!(device.counts().dropped["no_consent"], 2);
    lawful(&device);
}

#[test]
fn numbers_that_the_service_lacks_are_filled_before_higher_ones() {
    let mut bench = Bench::new(8);
    let mut device = ready(&mut bench);
    for _ in 0..1_030 {
        device.take(&bench.events("app", 1)).unwrap();
    }
    assert_eq!(bench.drain(&mut device), None);
    for subject in bench.service().subjects.values_mut() {
        subject.receipts.remove(&3);
        subject.receipts.remove(&5);
    }
    device.take(&bench.events("app", 1)).unwrap();
    assert_eq!(bench.drain(&mut device), None);
    assert_eq!(device.counts().acknowledged, 7 + 1_031);
    let findings = now(device.check(&mut bench.link())).unwrap().findings;
    let batches: Vec<_> = findings.iter().map(|finding| (finding.batch, finding.what)).collect();
    assert_eq!(batches, [(Some(3), Differs), (Some(5), Differs)]);
}

#[test]
fn a_closed_key_stops_and_another_epoch_goes_on() {
    let mut bench = Bench::new(9);
    let mut device = ready(&mut bench);
    let fault = answered(&bench, 403, &[("candor-reason", "key_closed")]);
    bench.service().faults.push_back(fault);
    assert_eq!(bench.drain(&mut device), Some(Stop::KeyClosed { epoch: 0, dropped: 4 }));
    assert_eq!(device.counts().dropped["key_closed"], 4);
    assert_eq!(device.take(&bench.events("app", 1)).unwrap_err(), Error::Closed(0));
    assert_eq!(device.consent(&given().with("x", ConsentState::Given)).unwrap_err(), Error::Closed(0));
    device.rotate().unwrap();
    // What was said under the closed key does not go on: who closed it may have had everything erased.
    device.take(&bench.events("app", 1)).unwrap();
    assert_eq!((device.consented(), device.counts().dropped["no_consent"]), (None, 1));
    device.consent(&given()).unwrap();
    device.take(&bench.events("app", 1)).unwrap();
    assert_eq!(bench.drain(&mut device), None);
    lawful(&device);
    assert_eq!(device.counts().acknowledged, 4);
}

#[test]
fn nothing_is_acknowledged_without_a_receipt_of_the_service_that_is_known() {
    let mut bench = Bench::new(10);
    let mut device = ready(&mut bench);
    let garbled = answered(&bench, 200, &[("candor-receipt", "e30")]);
    let old = {
        let service = bench.service();
        let receipt = service.subjects.values().next().unwrap().receipts[&1].to_header().unwrap();
        Fault::Answer(200, vec![("candor-receipt", receipt)], "")
    };
    for fault in [garbled, old] {
        bench.service().faults.push_back(fault);
        assert!(matches!(now(device.step(&mut bench.link())).unwrap(), Next::Wait(_)));
    }
    bench.service().key = SubjectKey::of_seed(&[8; 32]);
    assert!(matches!(bench.drain(&mut device), Some(Stop::OtherService(_))));
    assert_eq!((device.counts().acknowledged, device.counts().spooled), (3, 4));
    bench.service().key = SubjectKey::of_seed(&[9; 32]);
    for subject in bench.service().subjects.values_mut() {
        subject.receipts.remove(&2);
        subject.rows.truncate(3);
    }
    assert_eq!(bench.drain(&mut device), None);
    assert_eq!(device.counts().acknowledged, 7);
}

#[test]
fn no_event_goes_out_while_a_statement_is_refused() {
    let mut bench = Bench::new(11);
    let mut device = bench.create();
    device.consent(&given()).unwrap();
    device.take(&bench.events("app", 3)).unwrap();
    let fault = answered(&bench, 400, &[("candor-reason", "consent_invalid")]);
    // It is said again after a start.
    bench.service().faults.extend([fault.clone(), fault]);
    let refused = |stop| matches!(stop, Some(Stop::StatementRefused { epoch: 0, .. }));
    assert!(refused(bench.drain(&mut device)));
    assert!(refused(bench.drain(&mut bench.open().unwrap())));
    assert!(bench.service().subjects.is_empty());
    device.consent(&given()).unwrap();
    assert_eq!(bench.drain(&mut device), None);
    assert_eq!(device.consented().unwrap().sequence, 2, "a sequence is signed once");
    assert_eq!((device.counts().acknowledged, bench.service().ids().len()), (3, 3));
}

#[test]
fn a_folder_that_was_set_back_uses_no_number_for_other_content() {
    let mut bench = Bench::new(12);
    let mut device = ready(&mut bench);
    let (journal, state) = ("receipts.jsonl", "state.toml");
    let before = [journal, state].map(|name| bench.folder.read(name, 1 << 20).unwrap().unwrap());
    device.take(&bench.events("app", 4)).unwrap();
    assert_eq!(bench.drain(&mut device), None);
    for (name, bytes) in [journal, state].into_iter().zip(before) {
        bench.folder.tamper(name, |_| Some(bytes));
    }
    let mut device = bench.open().unwrap();
    device.take(&bench.events("app", 2)).unwrap();
    assert_eq!(bench.drain(&mut device), None);
    lawful(&device);
    assert_eq!(bench.service().ids().len(), 13);
    let findings = now(device.check(&mut bench.link())).unwrap().findings;
    let unknown = findings.iter().filter(|finding| finding.what == crate::receipts::What::UnknownHere);
    assert_eq!(unknown.map(|finding| finding.batch).collect::<Vec<_>>(), [Some(2), Some(3)]);
}

#[test]
fn what_the_person_opted_out_of_by_gpc_is_said_with_each_batch() {
    let mut bench = Bench::new(13);
    let mut device = ready(&mut bench);
    device.consent(&Change { gpc: Some(true), ..Change::default() }).unwrap();
    assert_eq!(bench.drain(&mut device), None);
    assert!(device.consented().unwrap().gpc);
    let service = bench.service();
    assert!(service.subjects.values().next().unwrap().statements[1].gpc);
}
