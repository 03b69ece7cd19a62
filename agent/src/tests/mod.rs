//! A device against a service in memory: the law under faults, every refusal, owners and checks.

use std::sync::atomic::{AtomicI64, AtomicU64, Ordering};
use std::sync::{Arc, Mutex};

use candor_policy::consent::ConsentState;
use candor_wire::statement::Notice;
use serde_json::json;

use crate::consent::{Basis, Change, Purposes};
use crate::deliver::{Next, Stop};
use crate::device::{Device, Settings, World};
use crate::epoch::DAY;
use crate::error::Error;
use crate::event::{Event, EventLimits};
use crate::folder::MemoryFolder;
use crate::identity::{Identity, IdentityAt};
use crate::rim::{Clock, Random};

mod checks;
mod erasing;
mod feed;
mod law;
mod owners;
mod refusals;
mod service;
mod unsaid;

use service::{FLEET, Link, Service};

/// 2026-11-22T20:00:00Z.
const NOW: i64 = 1_795_377_600_000_000;

#[derive(Debug)]
struct TestClock(AtomicI64);

impl Clock for TestClock {
    fn now(&self) -> i64 {
        self.0.load(Ordering::SeqCst)
    }
}

/// `SplitMix64`.
#[derive(Debug)]
struct Seeded(AtomicU64);

impl Seeded {
    fn next(&self) -> u64 {
        let state = self.0.fetch_add(0x9e37_79b9_7f4a_7c15, Ordering::SeqCst).wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mixed = (state ^ state >> 30).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let mixed = (mixed ^ mixed >> 27).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ mixed >> 31
    }

    fn below(&self, end: u64) -> u64 {
        self.next() % end
    }
}

impl Random for Seeded {
    fn fill(&self, bytes: &mut [u8]) -> Result<(), Error> {
        for chunk in bytes.chunks_mut(8) {
            chunk.copy_from_slice(&self.next().to_le_bytes()[..chunk.len()]);
        }
        Ok(())
    }
}

/// A device, its folder, its clock and its service.
struct Bench {
    folder: MemoryFolder,
    clock: Arc<TestClock>,
    random: Arc<Seeded>,
    service: Arc<Mutex<Service>>,
    settings: Settings,
    next_id: i64,
}

impl Bench {
    fn new(seed: u64) -> Self {
        let purposes = Purposes {
            bases: [("analytics".to_owned(), Basis::Consent)].into(),
            of_events: [("free".to_owned(), ["legal".to_owned()].into())].into(),
        };
        let purposes = Purposes {
            bases: purposes.bases.into_iter().chain([("legal".to_owned(), Basis::Other)]).collect(),
            of_events: purposes
                .of_events
                .into_iter()
                .chain([("app".to_owned(), ["analytics".to_owned()].into())])
                .collect(),
        };
        Self {
            folder: MemoryFolder::default(),
            clock: Arc::new(TestClock(AtomicI64::new(NOW))),
            random: Arc::new(Seeded(AtomicU64::new(seed))),
            service: Service::new(NOW),
            settings: Settings { batch_events: 5, purposes, ..Settings::default() },
            next_id: 0,
        }
    }

    fn world(&self) -> World {
        World { folder: Arc::new(self.folder.clone()), clock: self.clock.clone(), random: self.random.clone() }
    }

    fn create(&self) -> Device {
        let identity = Identity::random(FLEET, &*self.random).unwrap();
        Device::create(self.world(), self.settings.clone(), &identity).unwrap()
    }

    fn open(&self) -> Result<Device, Error> {
        Device::open(self.world(), self.settings.clone(), IdentityAt::Folder)
    }

    fn link(&self) -> Link {
        Link::new(&self.service)
    }

    fn service(&self) -> std::sync::MutexGuard<'_, Service> {
        self.service.lock().unwrap()
    }

    /// Time goes on, for both.
    fn pass(&self, time: i64) {
        self.clock.0.fetch_add(time, Ordering::SeqCst);
        self.service().time += time;
    }

    fn events(&mut self, name: &str, count: u64) -> Vec<Event> {
        let event = |_| {
            self.next_id += 1;
            let line = json!({"event": name, "attributes": {"id": self.next_id}});
            Event::parse(&line.to_string(), &EventLimits::default()).unwrap()
        };
        (0..count).map(event).collect()
    }

    /// Steps until nothing is left; waits cost simulated time.
    fn drain(&self, device: &mut Device) -> Option<Stop> {
        let mut link = self.link();
        for _ in 0..20_000 {
            match now(device.step(&mut link)).unwrap() {
                Next::Again => {}
                Next::Wait(time) => self.pass(time.as_micros() as i64),
                Next::Idle => return None,
                Next::Stopped(stop) => return Some(stop),
            }
        }
        panic!("it does not come to an end: {:?}", device.counts());
    }
}

/// Whatever is not ready at once never will be here.
fn now<F: Future>(future: F) -> F::Output {
    let mut future = std::pin::pin!(future);
    match future.as_mut().poll(&mut std::task::Context::from_waker(std::task::Waker::noop())) {
        std::task::Poll::Ready(output) => output,
        std::task::Poll::Pending => panic!("the link waits for nothing"),
    }
}

fn given() -> Change {
    let notice = Some(Notice { version: "2026-01".to_owned(), language: "de".to_owned() });
    Change { notice, ..Change::default() }.with("analytics", ConsentState::Given).with("legal", ConsentState::Unknown)
}

fn lawful(device: &Device) {
    let counts = device.counts();
    let dropped: u64 = counts.dropped.values().sum();
    assert_eq!(counts.taken, counts.acknowledged + dropped + counts.spooled, "{counts:?}");
}
