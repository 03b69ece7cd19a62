//! A withdrawal takes effect in the order of the queue: nothing received after it is stored, everything acknowledged
//! before its request is.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use serde_json::{Value, json};

use crate::otlp::{Event, encode, package};
use crate::random::Random;
use crate::world::{Service, World, figure};

const SENDERS: usize = 32;
const TOGGLES: usize = 1_000;
const DEVICES: usize = 8;

/// A numbered event, from before its request to after its answer.
struct Sent {
    device: usize,
    number: u64,
    from: Instant,
    to: Instant,
}

/// A change of consent, from before its request to after its answer.
struct Change {
    gives: bool,
    from: Instant,
    to: Instant,
}

#[test]
fn withdrawals_and_grants_fall_between_the_events_of_32_senders() {
    let random = Random::announced("consent");
    let world = World::new();
    world.edit("policy.toml", |text| {
        // Rows from before a withdrawal must stay, or there would be nothing to compare with.
        text.replace("retain      = \"13 months\"", "retain      = \"13 months\"\non_withdrawal = \"keep\"")
    });
    let service = world.serve();
    let names: Vec<String> = (0..DEVICES).map(|device| format!("toggled-{device}")).collect();
    service.consent(&names.iter().map(String::as_str).collect::<Vec<_>>(), "given");
    let granted = Instant::now();

    let (sent, changes) = run(&service, &names, &random);
    let stored = stored_numbers(&world, false);
    service.flush();
    assert_eq!(stored, stored_numbers(&world, true), "sealing changed what is stored");
    let raced = metrics_agree_with_the_totals(&service, &world);

    let mut bound = [0_u64; 3];
    for event in &sent {
        let found = stored.get(&package(event.number)).copied().unwrap_or(0);
        if let Some(must) = must_be_stored(event, &changes[event.device], granted) {
            assert_eq!(found, u64::from(must), "event {} of device {}", event.number, event.device);
            bound[usize::from(must)] += 1;
        } else {
            assert!(found <= 1, "event {} twice", event.number);
            bound[2] += 1;
        }
    }
    figure(&format!("consent: {} refused, {} stored, {} raced with a change", bound[0], bound[1], bound[2]));
    figure(&format!("consent: {raced} rows taken out at the append, in /metrics as in the totals"));
    // With fewer the run would not have shown anything.
    assert!(bound[0] >= 100 && bound[1] >= 100, "{bound:?}");
}

/// Toggles every device in turn while all senders send; gives what was sent and changed.
fn run(service: &Service, names: &[String], random: &Random) -> (Vec<Sent>, Vec<Vec<Change>>) {
    let done = AtomicBool::new(false);
    let numbers = AtomicU64::new(1);
    std::thread::scope(|scope| {
        let senders: Vec<_> = (0..SENDERS)
            .map(|sender| {
                let (done, numbers) = (&done, &numbers);
                scope.spawn(move || send(service, names, sender % DEVICES, done, numbers))
            })
            .collect();
        let mut random = random.clone();
        let mut changes: Vec<Vec<Change>> = (0..DEVICES).map(|_| Vec::new()).collect();
        let mut officer = service.officer();
        for _ in 0..TOGGLES {
            let device = random.below(DEVICES as u64) as usize;
            let gives = changes[device].last().is_some_and(|last| !last.gives);
            let state = if gives { "given" } else { "withdrawn" };
            let body = statement(&names[device], state);
            let from = Instant::now();
            let answer = officer.json("/v1/consent", &body).unwrap();
            assert!((200..300).contains(&answer.status), "{}", answer.text());
            changes[device].push(Change { gives, from, to: Instant::now() });
            std::thread::sleep(Duration::from_millis(random.below(8)));
        }
        done.store(true, Ordering::Relaxed);
        let sent = senders.into_iter().flat_map(|sender| sender.join().unwrap()).collect();
        (sent, changes)
    })
}

fn send(service: &Service, names: &[String], device: usize, done: &AtomicBool, numbers: &AtomicU64) -> Vec<Sent> {
    let mut client = service.device();
    let mut sent = Vec::new();
    while !done.load(Ordering::Relaxed) {
        let number = numbers.fetch_add(1, Ordering::Relaxed);
        let body = encode(&[Event::numbered(&names[device], number)]);
        let from = Instant::now();
        client.logs(&body).unwrap().expect_status(200);
        sent.push(Sent { device, number, from, to: Instant::now() });
    }
    sent
}

/// Whether an event must be stored, or must not be; none if it raced with a change.
fn must_be_stored(event: &Sent, changes: &[Change], granted: Instant) -> Option<bool> {
    assert!(event.from >= granted);
    if changes.iter().any(|change| change.from <= event.to && event.from <= change.to) {
        return None;
    }
    let last = changes.iter().rev().find(|change| change.to < event.from);
    Some(last.is_none_or(|change| change.gives))
}

/// Each reason's drops for `analytics` are the same in both; gives those at the append.
fn metrics_agree_with_the_totals(service: &Service, world: &World) -> u64 {
    let text = service.metrics();
    let counter = |line: &str| line.rsplit(' ').next().and_then(|value| value.parse::<u64>().ok());
    let mut dropped: BTreeMap<String, u64> = BTreeMap::new();
    for line in text.lines().filter(|line| line.starts_with("candor_events_dropped_total{")) {
        let label = |name: &str| line.split(&format!("{name}=\"")).nth(1)?.split('"').next();
        if label("purpose") == Some("analytics") {
            *dropped.entry(label("reason").unwrap().to_owned()).or_default() += counter(line).unwrap();
        }
    }
    dropped.retain(|_, count| *count > 0);
    let mut told: BTreeMap<String, u64> = BTreeMap::new();
    for total in world.totals().iter().filter(|total| total.purpose == "analytics") {
        for (reason, count) in total.dropped.iter().filter(|(_, count)| *count > 0) {
            *told.entry(reason.clone()).or_default() += count;
        }
    }
    assert_eq!(dropped, told);
    dropped.get("withdrawn_at_append").copied().unwrap_or(0)
}

fn statement(device: &str, state: &str) -> Value {
    json!({"subject": device, "purposes": {"analytics": state}, "notice": {"version": "2026-01", "language": "en"}})
}

/// Rows of each number, found in the table. `sealed` only says when, for the message.
fn stored_numbers(world: &World, sealed: bool) -> BTreeMap<String, u64> {
    let rows = world.query("select app_package, count(*) as n from analytics.\"phone.app\" group by app_package");
    assert!(!rows.is_empty(), "no rows at all (sealed: {sealed})");
    let cells = rows.iter().map(|row| (row["app_package"].as_str().unwrap().to_owned(), row["n"].as_u64().unwrap()));
    cells.collect()
}
