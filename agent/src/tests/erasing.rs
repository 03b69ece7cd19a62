//! Erasing everything: in every epoch, through crashes and lost answers, and nothing goes out afterwards.

use super::owners::unlinked;
use super::service::Fault;
use super::*;
use crate::erase::Stage;
use crate::folder::{Cut, Folder};

/// A device with rows in two epochs and events that wait in both.
fn used(bench: &mut Bench) -> Device {
    let mut device = bench.create();
    device.consent(&given()).unwrap();
    for _ in 0..2 {
        device.take(&bench.events("app", 4)).unwrap();
        assert_eq!(bench.drain(&mut device), None);
        device.take(&bench.events("app", 2)).unwrap();
        device.rotate().unwrap();
    }
    device
}

fn stages(device: &Device) -> Vec<(u64, Stage)> {
    device.erasures().into_iter().map(|(epoch, erasure)| (epoch, erasure.stage)).collect()
}

/// Everything that was begun is over, and the device keeps quiet.
fn check_done(bench: &mut Bench, device: &mut Device, when: &str) {
    bench.service().erase();
    assert!(now(device.fetch_certificates(&mut bench.link())).unwrap(), "{when}");
    lawful(device);
    assert_eq!((device.counts().spooled, device.consented()), (0, None), "{when}");
    assert!(device.show().unwrap().is_silent, "{when}");
    assert!(bench.service().subjects.is_empty(), "{when}");
    let files = bench.folder.names("certificates").unwrap().len();
    let done = stages(device).iter().filter(|(_, stage)| *stage == Stage::Done).count();
    assert!(files == done && done >= 2, "{when}: {files} certificates, {:?}", stages(device));
    let before = device.counts();
    device.take(&bench.events("app", 3)).unwrap();
    device.take(&bench.events("free", 3)).unwrap();
    assert_eq!(bench.drain(device), None, "{when}");
    let (after, seen) = (device.counts(), bench.service().subjects.len());
    assert_eq!((after.acknowledged, seen), (before.acknowledged, 0), "{when}");
    assert_eq!(after.dropped["no_consent"], before.dropped.get("no_consent").unwrap_or(&0) + 6, "{when}");
}

#[test]
fn everything_goes_and_nothing_is_sent_until_consent_is_given_anew() {
    let mut bench = Bench::new(31);
    let mut device = used(&mut bench);
    device.erase().unwrap();
    assert_eq!((device.counts().dropped["erased"], device.counts().spooled), (2, 0));
    assert_eq!(device.show().unwrap().epoch, 3, "epoch 2 has a statement");
    assert_eq!(bench.drain(&mut device), None);
    // What was given was withdrawn before it was erased. Epoch 2 never reached the service, and is not told to it now.
    assert_eq!(stages(&device), [(0, Stage::Requested), (1, Stage::Requested), (2, Stage::Unknown)]);
    for subject in bench.service().subjects.values() {
        assert_eq!(subject.statements.last().unwrap().purposes["analytics"], ConsentState::Withdrawn);
    }
    assert!(!now(device.fetch_certificates(&mut bench.link())).unwrap());
    check_done(&mut bench, &mut device, "in the end");
    // Again: nothing changes.
    device.erase().unwrap();
    assert_eq!((device.show().unwrap().epoch, stages(&device).len()), (3, 3));
    unlinked(&bench);
    drop(device);
    let mut device = bench.open().unwrap();
    // To say no is not to say yes.
    device.consent(&Change { gpc: Some(true), ..given() }.with("analytics", ConsentState::Refused)).unwrap();
    device.take(&bench.events("free", 1)).unwrap();
    assert_eq!(bench.drain(&mut device), None);
    assert!(bench.service().subjects.values().all(|subject| subject.receipts.is_empty()));
    device.consent(&given()).unwrap();
    device.take(&bench.events("app", 2)).unwrap();
    assert_eq!(bench.drain(&mut device), None);
    assert_eq!(bench.service().ids().len(), 2);
    let check = now(device.check(&mut bench.link())).unwrap();
    assert!(check.findings.is_empty(), "{:?}", check.findings);
    // Whoever comes back from the words finds the epoch behind those that were erased.
    let mut moved = Bench { folder: MemoryFolder::default(), ..Bench::new(32) };
    (moved.service, moved.clock) = (Arc::clone(&bench.service), bench.clock.clone());
    let identity = device.identity().clone();
    let other = now(Device::recover(moved.world(), moved.settings.clone(), &identity, &mut moved.link())).unwrap();
    assert_eq!((other.show().unwrap().epoch, other.show().unwrap().is_silent), (3, false));
}

#[test]
fn a_crash_at_each_write_is_gone_on_with() {
    let mut begun = 0;
    for write in 0..40 {
        for part in [0, 255] {
            let when = format!("write {write}, {part}");
            let mut bench = Bench::new(33);
            let mut device = used(&mut bench);
            bench.folder.cut(Cut { after: write, part, is_final: true });
            let outcome = device.erase().and_then(|()| {
                let mut link = bench.link();
                loop {
                    match now(device.step(&mut link))? {
                        Next::Again => {}
                        Next::Wait(time) => bench.pass(time.as_micros() as i64),
                        Next::Idle | Next::Stopped(_) => break,
                    }
                }
                bench.service().erase();
                now(device.fetch_certificates(&mut link))
            });
            drop(device);
            bench.folder.revive(|_| true);
            let mut device = bench.open().unwrap();
            begun += usize::from(outcome.is_err());
            lawful(&device);
            // What was begun is gone on with by itself.
            assert!(device.erasures().is_empty() || device.counts().spooled == 0, "{when}");
            // The person repeats the command.
            device.erase().unwrap();
            assert_eq!(bench.drain(&mut device), None, "{when}");
            check_done(&mut bench, &mut device, &when);
            assert!(device.show().unwrap().epoch <= 3, "{when}");
        }
    }
    assert!(begun > 20, "{begun} crashes");
}

#[test]
fn lost_requests_and_lost_answers_are_made_good() {
    for at in 0..12 {
        for fault in [Fault::Lost, Fault::NoReply, Fault::Answer(503, vec![], "")] {
            let mut bench = Bench::new(34);
            let mut device = used(&mut bench);
            device.erase().unwrap();
            bench.service().faults.extend(std::iter::repeat_n(Fault::None, at).chain([fault.clone(), fault.clone()]));
            assert_eq!(bench.drain(&mut device), None, "{at}, {fault:?}");
            bench.service().faults.clear();
            check_done(&mut bench, &mut device, &format!("{at}, {fault:?}"));
        }
    }
}

#[test]
fn a_certificate_of_somebody_else_counts_for_nothing() {
    let mut bench = Bench::new(35);
    let mut device = used(&mut bench);
    device.erase().unwrap();
    assert_eq!(bench.drain(&mut device), None);
    bench.service().erase();
    let certificates: Vec<_> = bench.service().erasures.values().map(|one| one["certificate"].clone()).collect();
    for (erasure, other) in bench.service().erasures.values_mut().zip(certificates.iter().cloned().rev()) {
        erasure["certificate"] = other;
    }
    assert!(matches!(now(device.fetch_certificates(&mut bench.link())), Err(Error::Answer(_))));
    for (erasure, own) in bench.service().erasures.values_mut().zip(certificates) {
        erasure["certificate"] = own;
        erasure["certificate"]["certificate"]["done_at"] = json!(NOW + 7);
    }
    assert!(matches!(now(device.fetch_certificates(&mut bench.link())), Err(Error::Answer(_))));
    assert!(bench.folder.names("certificates").unwrap().is_empty());
    // A service that forgot whom it gave receipts is not that service.
    let mut bench = Bench::new(36);
    let mut device = used(&mut bench);
    device.erase().unwrap();
    // The withdrawal of the first epoch arrives, and then nothing is known of it.
    let seen = bench.service().seen.len();
    let mut link = bench.link();
    while bench.service().seen.len() == seen {
        now(device.step(&mut link)).unwrap();
    }
    bench.service().subjects.clear();
    let stopped = now(device.step(&mut link)).unwrap();
    assert!(matches!(stopped, Next::Stopped(Stop::OtherService(_))), "{stopped:?}");
}
