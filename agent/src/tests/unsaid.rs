//! Statements that the service refuses: a name that it does not know holds up no withdrawal, of any epoch or owner.

use super::*;
use crate::folder::Folder;
use ConsentState::{Given, Refused, Unknown, Withdrawn};

/// A service that declares these purposes, and a device that gave them and sent something.
fn declared(seed: u64, names: &[&'static str]) -> (Bench, Device) {
    let mut bench = Bench::new(seed);
    bench.service().declared = Some(names.to_vec());
    let mut device = bench.create();
    let change = names.iter().fold(noticed(), |change, name| change.with(name, Given));
    device.consent(&change).unwrap();
    device.take(&bench.events("app", 3)).unwrap();
    assert_eq!(bench.drain(&mut device), None);
    (bench, device)
}

fn noticed() -> Change {
    Change { purposes: std::collections::BTreeMap::new(), ..given() }
}

fn set(name: &str, state: ConsentState) -> Change {
    Change::default().with(name, state)
}

fn leave_out(name: &str) -> Change {
    Change { left_out: [name.to_owned()].into(), ..Change::default() }
}

/// The newest states that the service has, by what was said first.
fn states(bench: &Bench) -> Vec<Vec<(String, ConsentState)>> {
    let service = bench.service();
    let newest = service.subjects.values().filter_map(|subject| subject.statements.last());
    newest.map(|statement| statement.purposes.iter().map(|(name, state)| (name.clone(), *state)).collect()).collect()
}

fn is_refused(stop: Option<&Stop>) -> bool {
    matches!(stop, Some(Stop::StatementRefused { epoch: 0, message }) if message == "no")
}

#[test]
fn a_mistyped_name_keeps_no_withdrawal_back() {
    let (bench, mut device) = declared(40, &["analytics"]);
    device.consent(&set("analitics", Given)).unwrap();
    assert!(is_refused(bench.drain(&mut device).as_ref()));
    device.consent(&Change::withdraw_all()).unwrap();
    assert_eq!(bench.drain(&mut device), None);
    assert_eq!(states(&bench), [[("analitics".to_owned(), Withdrawn), ("analytics".to_owned(), Withdrawn)]]);
}

#[test]
fn a_mistyped_name_can_be_taken_back() {
    let (mut bench, mut device) = declared(41, &["analytics"]);
    device.consent(&set("analitics", Given)).unwrap();
    device.take(&bench.events("app", 2)).unwrap();
    assert!(is_refused(bench.drain(&mut device).as_ref()));
    assert_eq!(device.counts().spooled, 2);
    device.consent(&leave_out("analitics")).unwrap();
    assert_eq!(bench.drain(&mut device), None);
    assert_eq!(states(&bench), [[("analytics".to_owned(), Given)]]);
    assert_eq!((device.counts().spooled, device.counts().acknowledged), (0, 5));
    // What the service has was said: it can only be said otherwise.
    assert!(matches!(device.consent(&leave_out("analytics")), Err(Error::Consent(_))));
    assert!(matches!(device.consent(&set("analytics", Unknown)), Err(Error::Consent(_))));
}

#[test]
fn what_was_said_offline_after_a_mistyped_name_goes_out_nevertheless() {
    let (bench, mut device) = declared(42, &["analytics"]);
    device.consent(&set("analitics", Given)).unwrap();
    device.consent(&Change::withdraw_all()).unwrap();
    device.consent(&set("analytics", Given)).unwrap();
    assert_eq!(bench.drain(&mut device), None);
    let service = bench.service();
    let said = &service.subjects.values().next().unwrap().statements;
    let said: Vec<_> = said.iter().map(|statement| statement.purposes["analytics"]).collect();
    assert_eq!(said, [Given, Withdrawn, Given]);
}

#[test]
fn a_new_epoch_leaves_out_what_the_policy_no_longer_has() {
    let (mut bench, mut device) = declared(43, &["analytics", "ads"]);
    bench.service().declared = Some(vec!["analytics"]);
    device.rotate().unwrap();
    device.take(&bench.events("app", 2)).unwrap();
    assert_eq!(bench.drain(&mut device), None);
    assert_eq!(device.counts().acknowledged, 5);
    assert!(!device.consented().unwrap().purposes.contains_key("ads"));
    device.consent(&Change::withdraw_all()).unwrap();
    assert_eq!(bench.drain(&mut device), None);
    for newest in states(&bench) {
        assert!(newest.iter().all(|(_, state)| *state == Withdrawn), "{newest:?}");
    }
}

#[test]
fn a_refused_epoch_holds_up_no_other_and_is_tried_again() {
    let (mut bench, mut device) = declared(44, &["analytics"]);
    device.consent(&set("ads", Given)).unwrap();
    assert!(is_refused(bench.drain(&mut device).as_ref()));
    device.rotate().unwrap();
    device.take(&bench.events("app", 2)).unwrap();
    assert!(is_refused(bench.drain(&mut device).as_ref()), "it is told when all else is done");
    assert_eq!(device.counts().acknowledged, 5);
    let asked = |bench: &Bench| bench.service().seen.iter().filter(|(path, ..)| path == "/v1/consent").count();
    let before = asked(&bench);
    assert!(is_refused(bench.drain(&mut device).as_ref()));
    assert_eq!(asked(&bench), before, "not again so soon");
    drop(device);
    let mut device = bench.open().unwrap();
    assert_eq!(device.refusals(), [(0, "no".to_owned())]);
    assert!(is_refused(bench.drain(&mut device).as_ref()));
    assert_eq!(asked(&bench), before + 1, "once after a start");
    bench.service().declared = Some(vec!["analytics", "ads"]);
    assert!(is_refused(bench.drain(&mut device).as_ref()));
    bench.pass(DAY);
    assert_eq!(bench.drain(&mut device), None, "and once a day");
    assert!(states(&bench).contains(&vec![("ads".to_owned(), Given), ("analytics".to_owned(), Given)]));
    assert_eq!(device.refusals(), []);
    lawful(&device);
}

#[test]
fn a_new_owner_keeps_the_seed_until_the_old_key_is_closed() {
    let (mut bench, mut device) = declared(45, &["analytics"]);
    device.consent(&set("analitics", Given)).unwrap();
    assert!(is_refused(bench.drain(&mut device).as_ref()));
    device.consent(&Change::default().with("analytics", Refused)).unwrap();
    device.transfer().unwrap();
    let fault = |reason: &str| {
        super::service::Fault::Answer(400, vec![("candor-reason", reason.to_owned())], "{\"message\":\"because\"}")
    };
    // The first is the mistyped one, from before; then the closing one itself.
    bench.service().faults.extend([fault("consent_invalid"), fault("consent_invalid")]);
    let stop = bench.drain(&mut device);
    assert_eq!(stop, Some(Stop::ClosingRefused { epoch: 0, message: "because".to_owned() }));
    assert!(bench.folder.read("leaving.toml", 1 << 20).unwrap().is_some());
    // Who has the device now need not wait for that.
    device.consent(&noticed().with("analytics", Given)).unwrap();
    device.take(&bench.events("app", 2)).unwrap();
    assert!(matches!(bench.drain(&mut device), Some(Stop::ClosingRefused { .. })));
    assert_eq!(device.counts().acknowledged, 2);
    drop(device);
    assert_eq!(bench.drain(&mut bench.open().unwrap()), None);
    assert_eq!(bench.folder.read("leaving.toml", 1 << 20).unwrap(), None);
    let service = bench.service();
    let closed: Vec<_> = service.subjects.values().filter_map(|one| one.statements.last()).collect();
    let closed: Vec<_> = closed.iter().filter(|last| last.closes).collect();
    assert_eq!(closed.len(), 1);
    assert!(closed[0].purposes.values().all(|state| *state != Given));
}
