//! Raw never rests: canaries go in by every door, and every byte that the service leaves is searched for them.

use std::os::unix::fs::PermissionsExt;
use std::path::Path;

use serde_json::json;

use crate::otlp::{Event, encode, gzip};
use crate::random::Random;
use crate::scan::{Canary, Hits, Needles};
use crate::skip::skipped;
use crate::world::{Service, Start, World, figure, shared};

/// Events of the synthetic run, and canaries among them.
const EVENTS: usize = 100_000;
const CANARIES: usize = 200;
const PER_REQUEST: usize = 500;

#[test]
fn no_canary_rests_in_100_000_events() {
    let mut random = Random::announced("privacy");
    let (canaries, planted) = plant(&mut random);
    assert_eq!(planted.len(), CANARIES);
    let needles = Needles::new(&canaries);
    let world = World::new();
    let service = world.serve();
    let devices: Vec<String> = planted.iter().map(|event| device_of(event).to_owned()).chain(fillers()).collect();
    for chunk in devices.chunks(500) {
        service.consent(&chunk.iter().map(String::as_str).collect::<Vec<_>>(), "given");
    }
    let mut client = service.device();
    let mut planted = planted.into_iter();
    for request in 0..EVENTS / PER_REQUEST {
        let mut events: Vec<Event> = (1..PER_REQUEST).map(|n| filler(request * PER_REQUEST + n)).collect();
        events.extend(planted.next());
        let bytes = encode(&events);
        // Every tenth request comes broken first: refusals must not leave values either.
        if request % 10 == 0 {
            let broken = client.logs(&bytes[..bytes.len() - 3]).unwrap().expect_status(400);
            assert!(needles.find(&broken.body).is_empty(), "an error names a value");
            service.client(Some("wrong")).logs(&bytes).unwrap().expect_status(401);
        }
        let answer = client.logs_gzip(&gzip(&bytes)).unwrap().expect_status(200);
        assert!(needles.find(&answer.body).is_empty(), "an answer names a value");
    }
    assert_eq!(world.account()[0].0, EVENTS as u64);
    assert_clean(&needles, &world, service);
}

#[test]
fn no_raw_value_of_the_fleet_rests() {
    let Some(path) = shared("fleet/fleet.ndjson") else {
        return skipped("fleet.ndjson is not on this machine");
    };
    let events = Event::load(&path);
    let needles = Needles::new(&raw_values(&events));
    let world = World::new();
    let service = world.serve();
    let devices: std::collections::BTreeSet<&str> = events.iter().map(device_of).collect();
    service.consent(&devices.into_iter().collect::<Vec<_>>(), "given");
    let mut client = service.device();
    for chunk in events.chunks(PER_REQUEST) {
        client.logs(&encode(chunk)).unwrap().expect_status(200);
    }
    let account = world.account();
    assert!(account.iter().all(|(offered, stored)| *offered == events.len() as u64 && *stored > 0), "{account:?}");
    assert_clean(&needles, &world, service);
}

/// The positive control: a policy that keeps raw values, and the same scan finds them in segments and in Parquet.
#[test]
fn the_scan_finds_what_a_careless_policy_keeps() {
    let world = World::new();
    world.edit("policy.toml", |text| {
        text.replace(
            r#"emit.account_email  = { op = "hmac", key = "analytics" }"#,
            r#"emit.account_email = { op = "keep" }"#,
        )
        .replace(r#"emit.duration_ms    = { op = "bin", width = 1000 }"#, r#"emit.duration_ms = { op = "keep" }"#)
        .replace(r#"emit.lat            = { op = "bin", width = 0.25 }"#, r#"emit.lat = { op = "keep" }"#)
    });
    let canaries = [
        Canary::Text("canary.control@example.org".to_owned()),
        Canary::Integer(7_312_345_678_901_237),
        Canary::Real(37.718_736_421_987),
    ];
    let needles = Needles::new(&canaries);
    let service = world.serve();
    service.consent(&["control-01"], "given");
    let opened = json!({"app.package": "org.example.mail", "screen": "home", "duration_ms": 7_312_345_678_901_237_i64, "account.email": "canary.control@example.org"});
    let moved = json!({"network.type": "wifi", "location.lat": 37.718_736_421_987, "location.lon": -122.4});
    let mut events: Vec<Event> = (0..200).map(filler).collect();
    events.push(Event::new("control-01", "US-CA", "phone.app.opened", opened));
    events.push(Event::new("control-01", "US-CA", "phone.network.changed", moved));
    service.device().logs(&encode(&events)).unwrap().expect_status(200);

    let found = |hits: &Hits, part: &str| {
        let of_part = hits.iter().filter(|(place, _)| place.contains(part));
        of_part
            .flat_map(|(_, found)| found.iter().map(|(canary, _)| *canary))
            .collect::<std::collections::BTreeSet<_>>()
    };
    let mut hits = Hits::new();
    needles.folder(&world.data(), &mut hits);
    assert_eq!(found(&hits, "/wal/").len(), 3, "in the segment: {hits:?}");
    service.flush();
    let mut hits = Hits::new();
    needles.folder(&world.data(), &mut hits);
    assert_eq!(found(&hits, ".parquet").len(), 3, "in Parquet: {hits:?}");
}

/// Scans before the seal, after it and after the stop: data folder, temporary files, deleted files, log, metrics.
fn assert_clean(needles: &Needles, world: &World, service: Service) {
    let mut hits = Hits::new();
    let mut read = needles.folder(&world.data(), &mut hits);
    needles.deleted_files(service.pid(), &mut hits);
    service.flush();
    read += needles.folder(&world.data(), &mut hits);
    needles.deleted_files(service.pid(), &mut hits);
    needles.text("/metrics", &service.metrics(), &mut hits);
    needles.text("standard error", &service.log(), &mut hits);
    let totals = world.json(&["audit", "totals"]).to_string();
    needles.text("audit totals", &totals, &mut hits);
    assert!(service.stop().success());
    assert!(!Needles::is_being_written(&world.data()), "a file was left unfinished, and its pages unread");
    read += needles.folder(&world.data(), &mut hits);
    read += needles.folder(&world.temporary(), &mut hits);
    figure(&format!("privacy: {read} bytes searched, {} places with raw values", hits.len()));
    assert!(read > 100_000, "the scan read only {read} bytes");
    assert!(hits.is_empty(), "{hits:#?}");
}

/// 200 canaries, ten by each of twenty doors, and the events that carry them.
fn plant(random: &mut Random) -> (Vec<Canary>, Vec<Event>) {
    let planted = (0..CANARIES).map(|number| {
        let device = format!("device-{number:03}");
        match number % 20 {
            door @ 0..10 => {
                let text = format!("canary{number:03}x{:016x}", random.next());
                (Canary::Text(text.clone()), by_text(door, &device, &text))
            }
            door @ 10..15 => {
                let real = 52.0 + (random.below(900_000_000) + 1) as f64 / 1e9;
                (Canary::Real(real), by_real(door, &device, real))
            }
            door @ 15..19 => {
                // Never the lower end of a bin: that is what is stored.
                let integer = ((1 << 56) | (random.next() >> 9) as i64) * 10 + 1;
                (Canary::Integer(integer), by_integer(door, &device, integer))
            }
            _ => {
                let mut event = Event::new(&device, "DE", "phone.app.opened", json!({"screen": "home"}));
                // One of 3,500 seconds after the full hour, never the hour itself: that is what is stored.
                let micros = 1_793_491_200_000_001 + random.below(3_500_000_000);
                event.time_unix_nano = micros * 1_000;
                (Canary::Integer(micros as i64), event)
            }
        }
    });
    planted.unzip()
}

/// The five doors for floats.
fn by_real(door: usize, device: &str, real: f64) -> Event {
    let event = |name: &str, attributes| Event::new(device, "DE", name, attributes);
    match door {
        10 => event("phone.network.changed", json!({"network.type": "wifi", "location.lat": real})),
        11 => event("phone.network.changed", json!({"network.type": "wifi", "location.lon": real})),
        12 => event("car.trip.ended", json!({"passengers": 2, "driver.seat_weight_kg": real})),
        13 => event("car.trip.sampled", json!({"speed_kmh": 10, "heading_deg": real})),
        _ => event("phone.app.opened", json!({"screen": "home", "undeclared": real})),
    }
}

/// The four doors for integers.
fn by_integer(door: usize, device: &str, integer: i64) -> Event {
    let event = |attributes| Event::new(device, "DE", "phone.app.opened", attributes);
    match door {
        15 => event(json!({"screen": "home", "duration_ms": integer})),
        16 => event(json!({"user.birth_year": integer})),
        17 => event(json!({"screen": "home", "undeclared": integer})),
        _ => event(json!({"app.package": integer})),
    }
}

/// The ten doors for text.
fn by_text(door: usize, device: &str, text: &str) -> Event {
    let event = |name: &str, attributes| Event::new(device, "DE", name, attributes);
    match door {
        0 => event("phone.app.opened", json!({"account.email": format!("{text}@example.org")})),
        1 => event("phone.app.crashed", json!({"device.imei": text, "foreground": true})),
        2 => event("phone.app.crashed", json!({"exception.message": format!("failed at {text}!"), "foreground": true})),
        3 => event("phone.network.changed", json!({"client.address": text, "wifi.bssid": text})),
        4 => event("phone.app.opened", json!({"an.undeclared.attribute": text})),
        5 => event("phone.app.opened", json!({text: "an undeclared name"})),
        6 => event(&format!("phone.{text}"), json!({"screen": "home"})),
        7 => Event::new(text, "DE", "phone.app.opened", json!({"screen": "home"})),
        8 => event("phone.battery.sampled", json!({"battery.level": text})),
        _ => {
            let mut event = event("appliance.fault.raised", json!({"fault.code": "E01", "device.mac": text}));
            event.resource.insert("service.instance.id".to_owned(), text.into());
            event
        }
    }
}

fn device_of(event: &Event) -> &str {
    event.resource["device.id"].as_str().unwrap()
}

/// Names of the devices of [`filler`].
fn fillers() -> impl Iterator<Item = String> {
    (0..50).map(|number| format!("filler-{number:02}"))
}

fn filler(number: usize) -> Event {
    let device = format!("filler-{:02}", number / 20 % 50);
    let attributes = json!({
        "app.package": "org.example.mail", "screen": "list", "duration_ms": 1_000 + number,
        "account.email": format!("{device}@example.net"), "user.birth_year": 1980,
    });
    let mut event = Event::new(&device, "US-CA", "phone.app.opened", attributes);
    event.time_unix_nano += number as u64 * 1_000_000;
    event
}

/// What the seeds' policy keeps in no table as it is, long enough not to be found by chance.
fn raw_values(events: &[Event]) -> Vec<Canary> {
    const TEXTS: [&str; 9] = [
        "account.email",
        "device.imei",
        "exception.message",
        "wifi.ssid",
        "wifi.bssid",
        "client.address",
        "vehicle.vin",
        "fault.detail",
        "device.mac",
    ];
    const REALS: [&str; 2] = ["location.lat", "location.lon"];
    /// Shorter texts would be found by chance in one form or another.
    const SHORTEST: usize = 8;
    let mut seen = std::collections::HashSet::new();
    let mut canaries = Vec::new();
    for event in events {
        let texts = TEXTS.iter().filter_map(|key| event.attributes.get(*key)?.as_str());
        for text in texts.chain([device_of(event)]) {
            if text.len() >= SHORTEST && seen.insert(text.to_owned()) {
                canaries.push(Canary::Text(text.to_owned()));
            }
        }
        for real in REALS.iter().filter_map(|key| event.attributes.get(*key)?.as_f64()) {
            if real.to_string().len() >= SHORTEST && seen.insert(real.to_string()) {
                canaries.push(Canary::Real(real));
            }
        }
        // A time on the minute is stored as it came: rules floor to it.
        let micros = (event.time_unix_nano / 1_000) as i64;
        if micros % 60_000_000 != 0 {
            canaries.push(Canary::Integer(micros));
        }
    }
    canaries
}

/// A folder that others may enter, and files as the system makes them by default.
#[test]
fn others_on_the_machine_can_open_nothing_but_what_is_public() {
    let world = World::new();
    std::fs::create_dir(world.data()).unwrap();
    std::fs::set_permissions(world.data(), std::fs::Permissions::from_mode(0o755)).unwrap();
    let under = ["sh", "-c", "umask 022; exec \"$0\" \"$@\""].map(str::to_owned);
    let how = Start { under: &under, ..Start::default() };
    let send = |service: &Service, number| {
        let body = encode(&[Event::numbered("privacy-modes", number)]);
        service.device().logs(&body).unwrap().expect_status(200);
    };
    let service = world.start(&how).unwrap();
    service.consent(&["privacy-modes"], "given");
    send(&service, 1);
    service.flush();
    send(&service, 2);
    let headers = [("content-type", "application/json"), ("candor-subject", "privacy-nobody")];
    let erasure = service.officer().send("POST", "/v1/subject/erasure", &headers, br#"{"scope":"all"}"#).unwrap();
    assert_eq!(erasure.status, 200, "{}", erasure.text());
    assert_eq!(open_to_others(&world.data()), Vec::<String>::new());
    // Those of a folder that an older version made are closed by the next start.
    assert!(service.stop().success());
    for name in ["ledger.db", "lock"] {
        std::fs::set_permissions(world.data().join(name), std::fs::Permissions::from_mode(0o644)).unwrap();
    }
    let service = world.start(&how).unwrap();
    send(&service, 3);
    assert_eq!(open_to_others(&world.data()), Vec::<String>::new());
}

/// Files of a data folder that others than their owner can use, but for those that are published.
fn open_to_others(data: &Path) -> Vec<String> {
    let (mut open, mut folders) = (Vec::new(), vec![data.to_path_buf()]);
    let is_public = |name: &str| ["log/", "documents/"].iter().any(|folder| name.starts_with(folder));
    while let Some(folder) = folders.pop() {
        for path in std::fs::read_dir(&folder).unwrap().map(|entry| entry.unwrap().path()) {
            // Files may go while they are looked at.
            let Ok(about) = std::fs::symlink_metadata(&path) else { continue };
            let name = path.strip_prefix(data).unwrap().to_str().unwrap().to_owned();
            let mode = about.permissions().mode() & 0o777;
            if about.is_dir() {
                folders.push(path);
            } else if mode & 0o077 != 0 && !is_public(&name) {
                open.push(format!("{name} {mode:o}"));
            }
        }
    }
    open.sort();
    open
}
