//! Taken = acknowledged + dropped + spooled, whatever fails, and the service's rows are those of the receipts.

use super::service::Fault;
use super::*;
use crate::folder::Cut;

/// What is true when everything is delivered: both stories agree, and each event that counts as acknowledged was received once.
fn settled(bench: &Bench, device: &mut Device) {
    let counts = device.counts();
    assert_eq!(counts.spooled, 0, "{counts:?}");
    let check = now(device.check(&mut bench.link())).unwrap();
    assert_eq!(check.findings, [], "{counts:?}");
    let service = bench.service();
    let received: u64 = service
        .subjects
        .values()
        .flat_map(|subject| subject.receipts.values())
        .map(|signed| signed.receipt.purposes["analytics"].offered)
        .sum();
    assert_eq!(counts.acknowledged, received, "{counts:?}");
    assert!(service.ids().len() as u64 <= received);
}

#[test]
fn a_quiet_day_is_acknowledged_in_three_changes_a_batch() {
    let mut bench = Bench::new(1);
    let mut device = bench.create();
    device.consent(&given()).unwrap();
    assert_eq!(bench.drain(&mut device), None);
    device.take(&bench.events("app", 5)).unwrap();
    assert_eq!(bench.drain(&mut device), None);
    let before = bench.folder.writes();
    for _ in 0..10 {
        device.take(&bench.events("app", 5)).unwrap();
        assert_eq!(bench.drain(&mut device), None);
    }
    // The batch, its line, and the removal of the batch, which is not synced.
    assert_eq!(bench.folder.writes() - before, 30);
    settled(&bench, &mut device);
    assert_eq!(bench.service().ids().len(), 55);
    assert_eq!(device.counts().acknowledged, 55);
}

/// Takes, states and delivers; an error of the folder is a crash.
fn day(bench: &mut Bench, device: &mut Device, link: &mut Link) -> Result<(), Error> {
    device.consent(&given())?;
    for round in 0..4 {
        device.take(&bench.events("app", 7))?;
        device.take(&bench.events("free", 2))?;
        lawful(device);
        for _ in 0..3 {
            now(device.step(link))?;
            lawful(device);
        }
        if round == 1 {
            device.consent(&Change::default().with("analytics", ConsentState::Withdrawn))?;
            lawful(device);
            device.consent(&given())?;
        }
        if round == 2 {
            device.rotate()?;
        }
    }
    Ok(())
}

#[test]
fn a_crash_at_every_write_keeps_the_law() {
    let writes = {
        let mut bench = Bench::new(2);
        let mut device = bench.create();
        let before = bench.folder.writes();
        let mut link = bench.link();
        day(&mut bench, &mut device, &mut link).unwrap();
        bench.folder.writes() - before
    };
    assert!(writes > 30, "{writes} writes");
    for write in 0..writes {
        for (part, is_final) in [(0, true), (100, true), (200, true), (255, true), (0, false), (255, false)] {
            for undone in [false, true] {
                let mut bench = Bench::new(2);
                let mut device = bench.create();
                bench.folder.cut(Cut { after: write, part, is_final });
                let mut link = bench.link();
                assert!(day(&mut bench, &mut device, &mut link).is_err(), "write {write} of {writes} was not there");
                if is_final {
                    bench.folder.revive(|_| undone);
                    device = bench.open().unwrap();
                }
                device.take(&bench.events("free", 3)).unwrap();
                lawful(&device);
                assert_eq!(bench.drain(&mut device), None);
                lawful(&device);
                settled(&bench, &mut device);
            }
        }
    }
}

fn fault(random: &Seeded) -> Fault {
    let answer = |status, headers: &[(&'static str, &str)]| {
        let headers = headers.iter().map(|(name, value)| (*name, (*value).to_owned())).collect();
        Fault::Answer(status, headers, "no")
    };
    match random.below(24) {
        0..=3 => Fault::Lost,
        4..=7 => Fault::NoReply,
        8 => answer(503, &[("retry-after", "7")]),
        9 => answer(429, &[]),
        10 => answer(200, &[]),
        11 => answer(500, &[]),
        12 => answer(413, &[]),
        13 => answer(400, &[]),
        14 => answer(401, &[("candor-reason", "nonce_used")]),
        15 => answer(503, &[("candor-reason", "consent_missing")]),
        16 => answer(409, &[("candor-reason", "batch_too_far")]),
        17 => answer(400, &[("candor-reason", "digest_mismatch")]),
        18 => answer(404, &[]),
        19 => answer(302, &[("location", "http://elsewhere")]),
        _ => Fault::None,
    }
}

#[test]
fn many_devices_under_faults_keep_the_law() {
    let first = std::env::var("SEED").ok().and_then(|seed| seed.parse().ok()).unwrap_or(1_000);
    for seed in first..first + 60 {
        println!("seed {seed}");
        let mut bench = Bench::new(seed);
        bench.settings.spool_bytes = 6_000;
        let mut device = bench.create();
        let (random, mut link) = (Seeded(AtomicU64::new(seed ^ 0x5eed)), bench.link());
        for _ in 0..300 {
            let count = random.below(12);
            let result = match random.below(20) {
                0..=5 => device.take(&bench.events("app", count)).map(|_| ()),
                6 => device.take(&bench.events("free", count)).map(|_| ()),
                7 => device.consent(&given()),
                8 => device.consent(&given().with("analytics", ConsentState::Withdrawn)),
                9 => {
                    bench.pass(random.below(4) as i64 * DAY);
                    Ok(())
                }
                10 => {
                    let jump = (random.below(7_300) as i64 - 3_650) * DAY;
                    bench
                        .clock
                        .0
                        .store(bench.service().time + jump * i64::from(random.below(4) == 0), Ordering::SeqCst);
                    Ok(())
                }
                11 => {
                    bench.folder.cut(Cut {
                        after: random.below(6),
                        part: random.next() as u8,
                        is_final: random.below(2) == 0,
                    });
                    Ok(())
                }
                _ => {
                    let fault = fault(&random);
                    bench.service().faults.push_back(fault);
                    now(device.step(&mut link)).map(|_| ())
                }
            };
            if let Err(error) = result {
                assert!(matches!(error, Error::Folder { .. }), "{error}");
                let undone = random.below(2) == 0;
                bench.folder.revive(|name| undone || name.contains('1'));
                if random.below(3) > 0 {
                    device = bench.open().unwrap();
                }
            } else {
                lawful(&device);
            }
        }
        bench.folder.revive(|_| true);
        bench.service().faults.clear();
        device = bench.open().unwrap();
        lawful(&device);
        while let Some(stop) = bench.drain(&mut device) {
            assert!(matches!(stop, Stop::StatementRefused { .. }), "{stop:?}");
            device.consent(&given().with("analytics", ConsentState::Refused)).unwrap();
        }
        lawful(&device);
        settled(&bench, &mut device);
    }
}
