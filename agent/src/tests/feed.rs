//! Events as they come: delivered while more are awaited, and kept where nothing gets through.

use std::time::Duration;

use tokio::sync::mpsc::{Sender, channel};

use super::service::Fault;
use super::*;
use crate::feed::{End, Fed, feed};

/// Feeds events to a device and keeps the way open until `until` says that it has seen enough.
fn fed(bench: &mut Bench, device: &mut Device, events: u64, until: fn(&Device) -> bool) -> Result<Fed, Error> {
    let (sender, mut receiver) = channel(64);
    for event in bench.events("app", events) {
        sender.try_send(Ok(event)).unwrap();
    }
    let mut sender: Option<Sender<_>> = Some(sender);
    let close = |device: &Device| {
        if until(device) {
            sender.take();
        }
    };
    let mut link = bench.link();
    let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build().unwrap();
    let feeding = feed(device, &mut link, &mut receiver, Duration::from_millis(100), close);
    let most = Duration::from_secs(30);
    runtime.block_on(async { tokio::time::timeout(most, feeding).await }).expect("it is fed in time")
}

#[test]
fn events_are_acknowledged_while_more_are_awaited() {
    let mut bench = Bench::new(1);
    let mut device = bench.create();
    device.consent(&given()).unwrap();
    let fed = fed(&mut bench, &mut device, 12, |device| device.counts().acknowledged == 12).unwrap();
    assert_eq!((fed.taken, &fed.end, fed.broken), (12, &End::Delivered, None));
    assert_eq!(bench.service().ids().len(), 12);
    lawful(&device);
}

#[test]
fn what_gets_nowhere_is_kept_and_a_bad_line_is_counted_and_passed_over() {
    let mut bench = Bench::new(2);
    let mut device = bench.create();
    device.consent(&given()).unwrap();
    bench.service().faults.extend(std::iter::repeat_n(Fault::Lost, 10_000));
    let late = fed(&mut bench, &mut device, 7, |device| device.counts().taken == 7).unwrap();
    assert_eq!((late.taken, late.end, device.counts().spooled), (7, End::Late, 7));
    lawful(&device);

    bench.service().faults.clear();
    let mut device = {
        drop(device);
        bench.open().unwrap()
    };
    let (sender, mut receiver) = channel(8);
    let bad = |line| Error::Event { line, why: "it is none".to_owned() };
    let broken = Error::Read { line: 5, why: "it broke".to_owned() };
    let events = bench.events("app", 2);
    let (one, two) = (events[0].clone(), events[1].clone());
    for event in [Ok(one), Err(bad(2)), Ok(two.clone()), Err(bad(4)), Err(broken.clone()), Ok(two)] {
        sender.try_send(event).unwrap();
    }
    let mut link = bench.link();
    let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build().unwrap();
    let feeding = feed(&mut device, &mut link, &mut receiver, Duration::from_secs(5), |_| {});
    let fed = runtime.block_on(feeding).unwrap();
    assert_eq!((fed.taken, fed.end, fed.broken), (2, End::Delivered, Some(broken)));
    assert_eq!((fed.bad, fed.first_bad), (2, Some(bad(2))));
    assert_eq!((bench.service().ids().len(), device.counts().acknowledged), (9, 9));
    assert_eq!((device.counts().taken, device.counts().dropped["bad_line"]), (11, 2));
    lawful(&device);
}

/// What a closed key cost is told at the end, however much was delivered under the next one meanwhile.
#[test]
fn a_key_that_was_closed_is_told_when_all_is_over() {
    let mut bench = Bench::new(3);
    let mut device = bench.create();
    device.consent(&given()).unwrap();
    device.take(&bench.events("app", 4)).unwrap();
    device.rotate().unwrap();
    bench.service().faults.push_back(Fault::Answer(403, vec![("candor-reason", "key_closed".to_owned())], ""));
    let fed = fed(&mut bench, &mut device, 5, |device| device.counts().acknowledged == 5).unwrap();
    assert_eq!(fed.end, End::Stopped(Stop::KeyClosed { epoch: 0, dropped: 4 }));
    assert_eq!((fed.taken, device.counts().acknowledged, device.counts().dropped["key_closed"]), (5, 5, 4));
    lawful(&device);
}

/// Whatever form the service asks in, and however long: nothing more is sent before that, not even when patience ends.
#[test]
fn a_service_that_asks_for_time_is_left_alone_for_it() {
    for asked in ["1", "100000", "Sun, 22 Nov 2026 20:05:00 GMT"] {
        let mut bench = Bench::new(4);
        let mut device = bench.create();
        device.consent(&given()).unwrap();
        let date = ("date", "Sun, 22 Nov 2026 20:00:00 GMT".to_owned());
        bench.service().faults.push_back(Fault::Answer(503, vec![("retry-after", asked.to_owned()), date], ""));
        let fed = fed(&mut bench, &mut device, 7, |device| device.counts().taken == 7).unwrap();
        assert_eq!((fed.taken, &fed.end, device.counts().spooled), (7, &End::Late, 7), "{asked}");
        assert!(bench.service().seen.is_empty(), "{asked}");
    }
}

#[test]
fn a_refusal_for_good_is_told_at_once_with_what_was_said() {
    for status in [307, 401, 403, 404] {
        let mut bench = Bench::new(5);
        let mut device = bench.create();
        device.consent(&given()).unwrap();
        let refusal = Fault::Answer(status, Vec::new(), "{\"message\":\"because\"}");
        bench.service().faults.extend(std::iter::repeat_n(refusal, 3));
        let fed = fed(&mut bench, &mut device, 7, |device| device.counts().taken == 7).unwrap();
        assert!(matches!(&fed.end, End::Stopped(Stop::Refused { message, .. }) if message == "because"), "{fed:?}");
        assert_eq!((fed.taken, bench.service().faults.len()), (7, 2), "{status}");
    }
}

#[test]
fn a_refused_statement_is_told_with_what_was_said() {
    let mut bench = Bench::new(6);
    let mut device = bench.create();
    bench.service().declared = Some(vec!["ads"]);
    device.consent(&given()).unwrap();
    let fed = fed(&mut bench, &mut device, 7, |device| device.counts().taken == 7).unwrap();
    assert_eq!(fed.end, End::Stopped(Stop::StatementRefused { epoch: 0, message: "no".to_owned() }));
    assert_eq!((fed.taken, device.counts().spooled), (7, 7));
}
