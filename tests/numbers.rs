//! Numbered batches over crashes between the steps of a seal: a number is taken once, and the rows are what the receipts say.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use candor_policy::consent::ConsentState::Given;
use candor_policy::hex;
use candor_wire::receipt::SignedReceipt;
use candor_wire::row;
use serde_json::Value;

use crate::crash::failpoints;
use crate::otlp::Event;
use crate::signer::{AGENTS, Signer, receipt};
use crate::world::{Service, Start, World, figure, workspace};

/// Events of a batch.
const EVENTS: u64 = 5;

/// Streams and canonical encodings of rows.
type Rows = Vec<(String, Vec<u8>)>;

/// A device, and the receipt of each number that it used; none where no answer came.
struct Device {
    signer: Signer,
    receipts: BTreeMap<u64, Option<SignedReceipt>>,
}

#[test]
fn a_crash_at_each_failpoint_takes_no_number_twice_and_leaves_rows_as_receipts_say() {
    // Those of work on tables, keys, copies and the log are not on the way of a batch; tests of their own crash there.
    let apart = ["keys::", "backup::", "restore::", "rewrite::", "erase::", "log::", "sealed::"];
    let names = failpoints(&workspace().join("store/src"));
    for name in names.iter().filter(|name| !apart.iter().any(|room| name.starts_with(room))) {
        let (crashes, batches) = crash_at(name);
        figure(&format!(
            "failpoint {name}: {crashes} crashes, {batches} numbered batches, each once and as its receipt"
        ));
    }
}

/// Runs batches into the failpoint twice, then without it; gives how often the process died there, and how many there were.
fn crash_at(name: &str) -> (usize, usize) {
    let world = World::new();
    world.sign();
    let service = world.serve();
    let mut device = Device { signer: Signer::new(5, 0), receipts: BTreeMap::new() };
    device.signer.says(&service, Given);
    device.send(&service, 1);
    assert!(service.stop().success());
    let action = format!("{name}=return");
    let environment = [("FAILPOINTS", action.as_str())];
    let (mut crashes, mut next) = (0, 2);
    for _ in 0..2 {
        // A failpoint may lie on the way of recovery: then the start itself dies there.
        let Ok(mut service) = world.start(&Start { environment: &environment, ..Start::default() }) else {
            crashes += 1;
            continue;
        };
        device.send_again(&service);
        // Out of order, so that there are gaps when it dies.
        for number in [next + 2, next, next + 1] {
            device.send(&service, number);
        }
        next += 3;
        let _ = service.officer().send("POST", "/v1/flush", &[], &[]);
        if service.wait(Duration::from_millis(500)).is_some() {
            crashes += 1;
        } else {
            service.kill();
        }
    }
    assert!(crashes > 0, "failpoint {name} was never reached: is the binary built with the feature `failpoints`?");
    let mut service = world.serve();
    device.send_again(&service);
    device.check(&service, &format!("{name}, pending"));
    service.flush();
    device.check(&service, &format!("{name}, sealed"));
    assert!(service.stop().success(), "{name}");
    service = world.serve();
    device.check(&service, &format!("{name}, started again"));
    (crashes, device.receipts.len())
}

impl Device {
    /// Sends the batch of a number; what answer there is must be its receipt, and the one of before if there was one.
    fn send(&mut self, service: &Service, number: u64) {
        let first = number * EVENTS;
        let events: Vec<Event> = (first..first + EVENTS).map(|event| Event::numbered("", event)).collect();
        let request = self.signer.batch_of(service, number, 1, &events);
        let known = self.receipts.entry(number).or_default();
        match request.offer(&mut service.client(Some(AGENTS))) {
            Ok(answer) if answer.status == 200 => {
                let told = receipt(&answer);
                let before = known.get_or_insert_with(|| told.clone());
                assert_eq!(told.receipt, before.receipt, "batch {number} has two receipts");
                assert_eq!(told.verify(&before.proof.key), Ok(()), "batch {number}");
            }
            Ok(answer) if answer.status != 503 => panic!("batch {number}: {}: {}", answer.status, answer.text()),
            _ => {}
        }
    }

    fn send_again(&mut self, service: &Service) {
        let unanswered: Vec<u64> =
            self.receipts.iter().filter(|(_, receipt)| receipt.is_none()).map(|(number, _)| *number).collect();
        for number in unanswered {
            self.send(service, number);
        }
    }

    /// Every number has its receipt, is in no gap, and stored what its receipt says, once.
    fn check(&mut self, service: &Service, when: &str) {
        for number in self.receipts.keys().copied().collect::<Vec<_>>() {
            self.send(service, number);
        }
        let head = self.ask(service, "/v1/subject/head");
        assert_eq!(head["batches"]["next"], self.receipts.len() + 1, "{when}");
        assert_eq!(head["batches"]["missing"], Value::Array(Vec::new()), "{when}");
        let shown = self.shown(service);
        let mut told = BTreeMap::new();
        for (number, receipt) in &self.receipts {
            let receipt = &receipt.as_ref().unwrap_or_else(|| panic!("{when}: batch {number} has no receipt")).receipt;
            assert_eq!(receipt.batch, *number, "{when}");
            for (name, purpose) in receipt.purposes.iter().filter(|(_, purpose)| purpose.stored > 0) {
                let place = (name.clone(), purpose.batch.unwrap());
                let other = told.insert(place, (purpose.stored, purpose.rows.clone().unwrap()));
                assert_eq!(other, None, "{when}: a running number of {name} was given twice");
            }
        }
        assert_eq!(shown, told, "{when}");
        let purposes: BTreeSet<&String> = told.keys().map(|(purpose, _)| purpose).collect();
        assert!(purposes.len() > 1, "{when}: {purposes:?}");
        for purpose in purposes {
            let numbers = told.keys().filter(|(of, _)| of == purpose).map(|(_, number)| *number);
            assert!(numbers.eq(1..=self.receipts.len() as u64), "{when}: running numbers of {purpose}");
        }
    }

    /// (purpose, running number) → how many rows the service shows for it, and their hash.
    fn shown(&self, service: &Service) -> BTreeMap<(String, u64), (u64, String)> {
        let all = self.ask(service, "/v1/subject");
        let mut batches: BTreeMap<(String, u64), Rows> = BTreeMap::new();
        for row in all["rows"].as_array().unwrap() {
            let text = |name: &str| row[name].as_str().unwrap().to_owned();
            let place = (text("purpose"), row["batch"].as_u64().expect("a running number"));
            batches.entry(place).or_default().push((text("stream"), URL_SAFE_NO_PAD.decode(text("row")).unwrap()));
        }
        let hashed = |rows: &Rows| {
            let rows = rows.iter().map(|(stream, row)| (stream.as_str(), vec![row.as_slice()]));
            hex::encode(&row::hash_of(rows).unwrap())
        };
        batches.iter().map(|(place, rows)| (place.clone(), (rows.len() as u64, hashed(rows)))).collect()
    }

    fn ask(&self, service: &Service, path: &str) -> Value {
        serde_json::from_slice(&self.signer.get(service, path).expect_status(200).body).unwrap()
    }
}
