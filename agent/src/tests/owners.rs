//! Epochs, new owners and new devices.

use std::collections::{BTreeMap, BTreeSet};

use super::*;
use crate::folder::{Cut, Folder};

/// No connection was used by two keys.
pub(super) fn unlinked(bench: &Bench) {
    let mut keys: BTreeMap<u64, BTreeSet<_>> = BTreeMap::new();
    for (_, key, connection) in &bench.service().seen {
        keys.entry(*connection).or_default().extend(*key);
    }
    assert!(keys.values().all(|keys| keys.len() <= 1), "{keys:?}");
}

fn used(bench: &mut Bench) -> Device {
    let mut device = bench.create();
    device.consent(&given()).unwrap();
    for round in 0..3 {
        bench.pass(i64::from(round > 0) * 40 * DAY);
        device.take(&bench.events("app", 4)).unwrap();
        assert_eq!(bench.drain(&mut device), None);
    }
    device
}

#[test]
fn an_epoch_begins_with_the_same_state_and_everything_restarts() {
    let mut bench = Bench::new(20);
    let device = used(&mut bench);
    let shown = device.show().unwrap();
    assert_eq!((shown.epoch, shown.counts.acknowledged), (2, 12));
    let service = bench.service();
    assert_eq!(service.subjects.len(), 3);
    for subject in service.subjects.values() {
        assert_eq!(subject.receipts.keys().collect::<Vec<_>>(), [&1]);
        let first = &subject.statements[0];
        assert_eq!((first.sequence, subject.statements.len()), (1, 1));
        assert_eq!(first.granted_at.as_deref(), Some("2026-11-22T20:00:00Z"));
    }
    drop(service);
    unlinked(&bench);
}

#[test]
fn an_epoch_that_nobody_heard_of_goes_on() {
    let mut bench = Bench::new(22);
    let mut device = bench.create();
    for _ in 0..3 {
        bench.pass(40 * DAY);
        device.rotate().unwrap();
        assert_eq!(device.show().unwrap().epoch, 0);
    }
    device.consent(&given()).unwrap();
    assert_eq!(bench.drain(&mut device), None);
    bench.pass(40 * DAY);
    device.take(&bench.events("app", 4)).unwrap();
    assert_eq!(device.show().unwrap().epoch, 1);
    device.rotate().unwrap();
    assert_eq!(device.show().unwrap().epoch, 2, "what waits is under the key of before");
}

#[test]
fn a_withdrawal_reaches_every_epoch_and_a_grant_only_its_own() {
    let mut bench = Bench::new(21);
    let mut device = used(&mut bench);
    device.consent(&Change::default().with("analytics", ConsentState::Withdrawn)).unwrap();
    device.consent(&Change::default().with("analytics", ConsentState::Given)).unwrap();
    assert_eq!(bench.drain(&mut device), None);
    let current = device.show().unwrap().key;
    for (key, subject) in &bench.service().subjects {
        let states: Vec<_> = subject.statements.iter().map(|statement| statement.purposes["analytics"]).collect();
        let (given, withdrawn) = (ConsentState::Given, ConsentState::Withdrawn);
        let expected = if *key == current { vec![given, withdrawn, given] } else { vec![given, withdrawn] };
        assert_eq!(states, expected);
    }
    unlinked(&bench);
    device.consent(&Change::default().with("analytics", ConsentState::Given)).unwrap();
    assert_eq!(device.show().unwrap().undelivered, 0, "what is said already is not said again");
}

#[test]
fn what_may_not_be_sent_any_more_leaves_the_spool_event_by_event() {
    let mut bench = Bench::new(22);
    let mut device = bench.create();
    device.consent(&given()).unwrap();
    device.take(&bench.events("free", 1)).unwrap();
    let mixed = [bench.events("app", 2), bench.events("free", 3)].concat();
    device.take(&mixed).unwrap();
    device.consent(&Change::withdraw_all()).unwrap();
    let counts = device.counts();
    assert_eq!((counts.spooled, counts.dropped["withdrawn"]), (4, 2));
    device.take(&bench.events("app", 2)).unwrap();
    assert_eq!(device.counts().dropped["no_consent"], 2);
    assert_eq!(bench.drain(&mut device), None);
    lawful(&device);
    assert_eq!(device.counts().acknowledged, 4);
    let states = &device.consented().unwrap().purposes;
    assert_eq!((states["analytics"], states["legal"]), (ConsentState::Withdrawn, ConsentState::Refused));
}

#[test]
fn a_new_owner_inherits_nothing_and_the_old_one_is_closed_everywhere() {
    let mut bench = Bench::new(23);
    let mut device = used(&mut bench);
    let old = device.identity().clone();
    device.take(&bench.events("app", 4)).unwrap();
    let counts = device.transfer().unwrap();
    assert_eq!((counts.acknowledged, counts.dropped["transferred"], counts.spooled), (12, 4, 0));
    assert!(*device.identity() != old && device.counts().taken == 0 && device.consented().is_none());
    assert!(bench.folder.names("spool").unwrap().is_empty());
    // Offline: kept, also over a restart.
    drop(device);
    let mut device = bench.open().unwrap();
    assert_eq!(device.show().unwrap().leaving, 3, "one for each epoch");
    assert_eq!(bench.drain(&mut device), None);
    for subject in bench.service().subjects.values() {
        let last = subject.statements.last().unwrap();
        assert!(last.closes && last.purposes["analytics"] == ConsentState::Withdrawn);
    }
    unlinked(&bench);
    assert_eq!(bench.folder.read("leaving.toml", 1 << 20).unwrap(), None);
    device.consent(&given()).unwrap();
    device.take(&bench.events("app", 1)).unwrap();
    assert_eq!(bench.drain(&mut device), None);
    assert_eq!(bench.service().subjects.len(), 4);
}

#[test]
fn a_transfer_that_a_crash_interrupts_is_finished() {
    for write in 0..12 {
        for part in [0, 255] {
            let mut bench = Bench::new(24);
            let mut device = used(&mut bench);
            let old = device.identity().clone();
            bench.folder.cut(Cut { after: write, part, is_final: true });
            let done = device.transfer().is_ok();
            bench.folder.revive(|_| true);
            let left = bench.folder.read("leaving.toml", 1 << 20).unwrap().is_some();
            let mut device = bench.open().unwrap();
            assert_eq!(*device.identity() != old, left, "write {write}, {part}");
            assert!(left || !done);
            assert_eq!(bench.drain(&mut device), None);
            assert_eq!(
                bench.service().subjects.values().all(|subject| subject.statements.last().unwrap().closes),
                left
            );
            lawful(&device);
        }
    }
}

#[test]
fn a_phrase_moves_a_device_and_the_instance_rises() {
    let mut bench = Bench::new(25);
    let mut device = used(&mut bench);
    assert_eq!(bench.drain(&mut device), None);
    let phrase = device.identity().phrase().unwrap();
    let mut moved = Bench { folder: MemoryFolder::default(), ..Bench::new(26) };
    (moved.service, moved.clock) = (Arc::clone(&bench.service), bench.clock.clone());
    moved.next_id = 1_000;
    let identity = Identity::of_phrase(&phrase, FLEET).unwrap();
    bench.service().seen.clear();
    let mut other = now(Device::recover(moved.world(), moved.settings.clone(), &identity, &mut moved.link())).unwrap();
    unlinked(&moved);
    let shown = other.show().unwrap();
    assert_eq!((shown.epoch, shown.undelivered), (2, 1));
    assert_eq!(shown.consent.unwrap().sequence, 1 << 32 | 1);
    other.take(&moved.events("app", 2)).unwrap();
    assert_eq!(moved.drain(&mut other), None);
    assert_eq!(other.receipts().unwrap().last().unwrap().batch, Some(2), "numbers go on");
    other.consent(&Change::withdraw_all()).unwrap();
    assert_eq!(moved.drain(&mut other), None);
    for subject in bench.service().subjects.values() {
        let last = subject.statements.last().unwrap();
        assert_eq!((last.purposes["analytics"], last.sequence >> 32), (ConsentState::Withdrawn, 1));
    }
    lawful(&other);
    let taken = now(Device::recover(moved.world(), moved.settings.clone(), &identity, &mut moved.link()));
    assert!(matches!(taken, Err(Error::Identity(_))));
}

#[test]
fn a_folder_belongs_to_one_identity() {
    let mut bench = Bench::new(27);
    let mut device = bench.create();
    device.take(&bench.events("free", 1)).unwrap();
    drop(device);
    let other = Identity::of_seed([3; 32], FLEET);
    assert!(matches!(Device::create(bench.world(), bench.settings.clone(), &other), Err(Error::Identity(_))));
    let disk = tempfile::tempdir().unwrap();
    let path = disk.path().join("identity");
    std::fs::write(&path, other.text().unwrap().as_bytes()).unwrap();
    std::fs::set_permissions(&path, std::os::unix::fs::PermissionsExt::from_mode(0o600)).unwrap();
    let open = |bench: &Bench| Device::open(bench.world(), bench.settings.clone(), IdentityAt::File(path.clone()));
    assert!(matches!(open(&bench), Err(Error::Identity(_))));
    assert_eq!(bench.open().unwrap().counts().spooled, 1);
    let mut device = open(&Bench::new(28)).unwrap();
    assert!(matches!(device.transfer(), Err(Error::Identity(_))), "it is kept elsewhere");
}
