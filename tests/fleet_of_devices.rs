//! Devices that sign, by the hundred or the thousand, over simulated days: consents flip, networks fail, clocks jump, devices and
//! the service die. At the end each event is accounted for, and the service's rows are what its receipts say.
//!
//! `CANDOR_TEST_DEVICES=1000 CANDOR_TEST_DAYS=6 cargo test --workspace --test all fleet_of_devices:: -- --nocapture`

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicI64, AtomicU64, Ordering};
use std::sync::{Arc, Mutex};

use bytes::Bytes;
use candor_agent::client::Client;
use candor_agent::consent::Change;
use candor_agent::deliver::{Next, Stop};
use candor_agent::device::{Device, Settings, World as DeviceWorld};
use candor_agent::error::Error;
use candor_agent::event::{Event, EventLimits};
use candor_agent::folder::{Cut, MemoryFolder};
use candor_agent::identity::{Identity, IdentityAt};
use candor_agent::rim::{Clock, Random as Entropy, Transport};
use candor_policy::consent::ConsentState::{self, Given, Refused, Withdrawn};
use candor_wire::statement::Notice;
use http::{Request, Response};
use serde_json::{Value, json};
use tokio::runtime::Runtime;

use crate::random::Random;
use crate::signer::{AGENTS, FLEET, now};
use crate::skip::{runs, skipped};
use crate::world::{PURPOSES, Service, World, figure};

const HOUR: i64 = 3_600_000_000;
const YEAR: i64 = 365 * 24 * HOUR;
/// Statuses that a proxy or a service in trouble might answer with.
const STATUSES: [u16; 12] = [200, 204, 302, 400, 401, 404, 413, 429, 500, 502, 503, 504];

#[derive(Debug)]
struct DeviceClock(AtomicI64);

impl Clock for DeviceClock {
    fn now(&self) -> i64 {
        self.0.load(Ordering::Relaxed)
    }
}

#[derive(Debug)]
struct Seeded(Mutex<u64>);

impl Entropy for Seeded {
    fn fill(&self, bytes: &mut [u8]) -> Result<(), Error> {
        let mut state = self.0.lock().unwrap();
        let mut random = Random::new(*state);
        for chunk in bytes.chunks_mut(8) {
            chunk.copy_from_slice(&random.next().to_le_bytes()[..chunk.len()]);
        }
        *state = random.next();
        Ok(())
    }
}

/// A way to the service on which anything may happen.
struct Network {
    client: Client,
    random: Random,
    /// In 256ths: how often something goes wrong.
    trouble: u64,
    answered: Arc<[AtomicU64; STATUSES.len()]>,
    /// What came last, for whoever looks into a failure.
    last: String,
}

impl Transport for Network {
    fn authority(&self) -> &str {
        self.client.authority()
    }

    fn base(&self) -> &str {
        self.client.base()
    }

    fn part(&mut self) {
        self.client.part();
    }

    async fn exchange(&mut self, request: Request<Bytes>) -> Result<Response<Bytes>, Error> {
        let lost = || Error::Unreachable { authority: "the service".to_owned(), why: "simulated".to_owned() };
        if self.random.below(256) >= self.trouble {
            let path = request.uri().path().to_owned();
            let answer = self.client.exchange(request).await;
            self.last = match &answer {
                Ok(answer) => format!(
                    "{path}: {} {:?} {:?}",
                    answer.status(),
                    answer.headers().get("candor-reason"),
                    String::from_utf8_lossy(answer.body())
                ),
                Err(error) => format!("{path}: {error}"),
            };
            return answer;
        }
        match self.random.below(4) {
            0 => Err(lost()),
            1 => {
                // It arrived; its answer did not.
                let _ = self.client.exchange(request).await;
                self.client.part();
                Err(lost())
            }
            _ => {
                let which = self.random.below(STATUSES.len() as u64) as usize;
                self.answered[which].fetch_add(1, Ordering::Relaxed);
                let mut answer = Response::builder().status(STATUSES[which]);
                if self.random.below(2) == 0 {
                    answer = answer.header("retry-after", "3");
                }
                Ok(answer.body(Bytes::new()).unwrap())
            }
        }
    }
}

/// A device of the simulation.
struct Simulated {
    folder: MemoryFolder,
    clock: Arc<DeviceClock>,
    random: Arc<Seeded>,
    device: Option<Device>,
    network: Network,
    events: u64,
    crashes: u64,
}

impl Simulated {
    fn new(number: u64, random: &mut Random, network: Network) -> Self {
        let folder = MemoryFolder::default();
        let clock = Arc::new(DeviceClock(AtomicI64::new(now() * 1_000_000 + random.below(600) as i64 * 1_000_000)));
        let random = Arc::new(Seeded(Mutex::new(random.next() ^ number)));
        let mut simulated = Self { folder, clock, random, device: None, network, events: 0, crashes: 0 };
        let identity = Identity::random(FLEET, &*simulated.random).unwrap();
        simulated.device = Some(Device::create(simulated.world(), Self::settings(), &identity).unwrap());
        simulated
    }

    fn world(&self) -> DeviceWorld {
        DeviceWorld {
            folder: Arc::new(self.folder.clone()),
            clock: Arc::<DeviceClock>::clone(&self.clock),
            random: Arc::<Seeded>::clone(&self.random),
        }
    }

    fn settings() -> Settings {
        // Epochs of two days, so that a simulation sees several; a spool that can run full.
        Settings {
            epoch: std::time::Duration::from_hours(48),
            spool_bytes: 16 << 10,
            batch_events: 20,
            ..Settings::default()
        }
    }

    /// The device; started again where it died.
    fn device(&mut self, random: &mut Random) -> &mut Device {
        if self.device.is_none() {
            let back = random.below(2) == 0;
            self.folder.revive(|_| back);
            self.device = Some(Device::open(self.world(), Self::settings(), IdentityAt::Folder).unwrap());
        }
        self.device.as_mut().unwrap()
    }

    /// What happens to a device in some hours of its life. An error of its folder is the end of its process.
    fn live(&mut self, random: &mut Random, runtime: &Runtime) {
        self.pass(random);
        if random.below(6) == 0 {
            self.folder.cut(Cut { after: random.below(12), part: random.next() as u8, is_final: true });
        }
        let change = (random.below(3) == 0 || self.events == 0).then(|| flip(random));
        let count = random.below(30);
        let first = self.events;
        self.events += count;
        let events: Vec<Event> = (first..first + count).map(event).collect();
        let steps = random.below(12);
        let waits = Arc::clone(&self.clock);
        let mut network = std::mem::replace(&mut self.network, Network::nowhere());
        let device = self.device(random);
        let lived = (|| {
            if let Some(change) = &change {
                device.consent(change)?;
            }
            device.take(&events)?;
            lawful(device);
            for _ in 0..steps {
                if let Next::Wait(time) = runtime.block_on(device.step(&mut network))? {
                    waits.0.fetch_add(time.as_micros() as i64, Ordering::Relaxed);
                }
                lawful(device);
            }
            Ok::<(), Error>(())
        })();
        self.network = network;
        match lived {
            Ok(()) => {}
            Err(Error::Folder { .. }) => {
                self.device = None;
                self.crashes += 1;
            }
            Err(other) => panic!("{other}"),
        }
    }

    /// Hours go by; now and then the clock loses its way.
    fn pass(&self, random: &mut Random) {
        let jump = match random.below(12) {
            0 => 10 * YEAR,
            1 => -10 * YEAR,
            2 => -(random.below(48) as i64) * HOUR,
            _ => random.below(18) as i64 * HOUR,
        };
        self.clock.0.fetch_add(jump, Ordering::Relaxed);
    }

    /// Delivers what is left, over a network that works.
    fn settle(&mut self, random: &mut Random, runtime: &Runtime) {
        self.network.trouble = 0;
        if self.device.is_some() {
            self.folder.revive(|_| false);
        }
        let mut network = std::mem::replace(&mut self.network, Network::nowhere());
        let clock = Arc::clone(&self.clock);
        let device = self.device(random);
        let mut last = std::collections::VecDeque::new();
        for _ in 0..4_000 {
            let next = runtime.block_on(device.step(&mut network)).unwrap();
            last.push_back(format!("{next:?}"));
            if last.len() > 8 {
                last.pop_front();
            }
            match next {
                Next::Again => {}
                Next::Wait(time) => drop(clock.0.fetch_add(time.as_micros() as i64, Ordering::Relaxed)),
                Next::Idle => {
                    self.network = network;
                    return;
                }
                // A made-up 4xx to a statement is final: the person is asked again.
                Next::Stopped(Stop::StatementRefused { .. }) => device.consent(&flip(random)).unwrap(),
                Next::Stopped(stop) => panic!("{stop}"),
            }
        }
        panic!("it does not come to an end: {:?} {last:?} {}", device.counts(), network.last);
    }
}

impl Network {
    /// Stands where a network is in use.
    fn nowhere() -> Self {
        let client = Client::new("http://127.0.0.1:9", None, None).unwrap();
        Self { client, random: Random::new(0), trouble: 0, answered: Arc::default(), last: String::new() }
    }
}

fn lawful(device: &Device) {
    let counts = device.counts();
    let dropped: u64 = counts.dropped.values().sum();
    assert_eq!(counts.taken, counts.acknowledged + dropped + counts.spooled, "{counts:?}");
}

fn flip(random: &mut Random) -> Change {
    let mut change = Change {
        notice: Some(Notice { version: "2026-01".to_owned(), language: "de".to_owned() }),
        age_from: Some(30),
        ..Change::default()
    };
    for purpose in PURPOSES {
        change = change.with(purpose, *random.pick(&[Given, Given, Refused, Withdrawn]));
    }
    change
}

fn event(number: u64) -> Event {
    let line = json!({
        "time": "2026-11-16T00:19:20Z", "event": "phone.app.opened",
        "resource": { "region": "DE", "device.model.name": "P14", "gpc": false },
        "attributes": { "app.package": format!("org.example.app{number}"), "screen": "home", "duration_ms": 1500 },
    });
    Event::parse(&line.to_string(), &EventLimits::default()).unwrap()
}

fn from_environment(name: &str, otherwise: u64) -> u64 {
    std::env::var(name).ok().and_then(|text| text.parse().ok()).unwrap_or(otherwise)
}

#[test]
fn every_event_is_accounted_for_and_the_rows_are_what_the_receipts_say() {
    let (devices, days) = (from_environment("CANDOR_TEST_DEVICES", 40), from_environment("CANDOR_TEST_DAYS", 4));
    let mut random = Random::announced("fleet of devices");
    let world = World::new();
    world.sign();
    let mut service = world.serve();
    let address = service.address();
    let runtime = Runtime::new().unwrap();
    let answered: Arc<[AtomicU64; STATUSES.len()]> = Arc::default();
    let mut fleet: Vec<Simulated> = (0..devices)
        .map(|number| {
            let client = Client::new(&format!("http://{address}"), Some(AGENTS), None).unwrap();
            let network = Network {
                client,
                random: Random::new(random.next()),
                trouble: 80,
                answered: Arc::clone(&answered),
                last: String::new(),
            };
            Simulated::new(number, &mut random, network)
        })
        .collect();
    let mut kills = 0;
    for _ in 0..days {
        // Twice a day the service dies, somewhere among its devices.
        let deaths = [random.below(devices), random.below(devices)];
        for number in 0..devices {
            if deaths.contains(&number) {
                service = die(&world, service, address, &mut random);
                kills += 1;
            }
            fleet[number as usize].live(&mut random, &runtime);
        }
    }
    let (mut taken, mut acknowledged, mut dropped, mut receipts, mut rows) = (0, 0, BTreeMap::new(), 0, 0);
    for simulated in &mut fleet {
        simulated.settle(&mut random, &runtime);
        let counts = simulated.device.as_ref().unwrap().counts();
        assert_eq!(counts.spooled, 0);
        assert_eq!(counts.taken, counts.acknowledged + counts.dropped.values().sum::<u64>(), "{counts:?}");
        (taken, acknowledged) = (taken + counts.taken, acknowledged + counts.acknowledged);
        for (reason, events) in counts.dropped {
            *dropped.entry(reason).or_insert(0) += events;
        }
    }
    service.flush();
    for simulated in &mut fleet {
        let mut network = std::mem::replace(&mut simulated.network, Network::nowhere());
        let device = simulated.device.as_mut().unwrap();
        let check = runtime.block_on(device.check(&mut network)).unwrap();
        assert_eq!(check.findings, [], "{:?}", device.counts());
        (receipts, rows) = (receipts + check.receipts, rows + check.rows);
        simulated.network = network;
    }
    consent_holds(&world);
    let account: u64 = world.account().iter().map(|(_, stored)| stored).sum();
    assert_eq!(account, rows, "every row is in a receipt");
    let crashes: u64 = fleet.iter().map(|simulated| simulated.crashes).sum();
    let statuses: Vec<String> = STATUSES
        .iter()
        .zip(answered.iter())
        .map(|(status, times)| format!("{status}×{}", times.load(Ordering::Relaxed)))
        .collect();
    figure(&format!(
        "fleet of devices: {devices} devices, {days} days, {kills} deaths of the service, {crashes} of devices; {taken} events taken = \
         {acknowledged} acknowledged + dropped {dropped:?}; {receipts} receipts, {rows} rows, all as signed; answers made up: {}",
        statuses.join(" ")
    ));
    assert!(acknowledged > 0 && crashes > 0 && rows > 0);
}

fn die(world: &World, service: Service, address: SocketAddr, random: &mut Random) -> Service {
    if random.below(3) == 0 {
        service.flush();
    }
    service.kill();
    world.serve_at(address)
}

/// Every row was stored under a statement of its subject that gave its purpose.
fn consent_holds(world: &World) {
    if !runs("python3", &["-c", "import sqlite3"]) {
        return skipped("no python3 with sqlite3: rows are not held against the statements");
    }
    let mut given: BTreeMap<(String, String), Vec<i64>> = BTreeMap::new();
    let ledger = world.data().join("ledger.db");
    let select = "SELECT json FROM statements";
    for text in sqlite(&ledger, select) {
        let statement: Value = serde_json::from_str(&text).unwrap();
        let id = candor_policy::hex::decode(statement["ledger_id"].as_str().unwrap()).unwrap();
        let subject = candor_policy::subject::SubjectId::from_bytes(id.try_into().unwrap());
        for (purpose, state) in statement["purposes"].as_object().unwrap() {
            let state: ConsentState = serde_json::from_value(state.clone()).unwrap();
            if state == Given {
                let name = subject.in_table(purpose).to_string();
                given.entry((purpose.clone(), name)).or_default().push(statement["sequence"].as_i64().unwrap());
            }
        }
    }
    for purpose in PURPOSES {
        for row in world.query(&format!("SELECT subject, consent_seq FROM {purpose}.\"phone.app\"")) {
            let key = (purpose.to_owned(), row["subject"].as_str().unwrap().to_owned());
            let sequence = row["consent_seq"].as_i64().unwrap();
            assert!(given.get(&key).is_some_and(|sequences| sequences.contains(&sequence)), "{purpose}: {row:?}");
        }
    }
}

/// One column of a query, by Python's own SQLite.
fn sqlite(file: &std::path::Path, select: &str) -> Vec<String> {
    let script = "import json, sqlite3, sys; print(json.dumps([row[0] for row in sqlite3.connect(sys.argv[1]).execute(sys.argv[2])]))";
    let output = std::process::Command::new("python3").args(["-c", script]).arg(file).arg(select).output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    serde_json::from_slice(&output.stdout).unwrap()
}
