//! Erasure, from outside: no byte of a subject is left, nobody else loses a row, and nothing comes back: not with a crash at any
//! step, not with a late batch, not with a backup. Rows 12 and 13 of the reliability page.

use std::collections::BTreeSet;
use std::path::Path;
use std::time::{Duration, Instant};

use candor_policy::consent::ConsentState::{Given, Withdrawn};
use candor_policy::hex;
use candor_policy::subject::LedgerId;
use candor_wire::erasure::{Scope, SignedCertificate};
use candor_wire::identity::{PublicKey, SubjectKey};
use candor_wire::log::entry::Entry;
use serde_json::{Map, Value, json};

use crate::crash::{copy_tree, failpoints};
use crate::http::Answer;
use crate::otlp::{Event, encode, package};
use crate::scan::{Canary, Hits, Needles};
use crate::signer::{AGENTS, Signer, reason};
use crate::world::{PURPOSES, Service, Start, World, figure};

mod late;
mod stuck;

const PATH: &str = "/v1/subject/erasure";
const JSON: (&str, &str) = ("content-type", "application/json");
/// Longest time for what a start goes on with by itself.
const PATIENCE: Duration = Duration::from_mins(1);
/// The assigned subject that is erased.
const GOES: &str = "phone-that-is-erased";
/// Numbers of the events of who stays, and of who goes.
const STAYS_FROM: u64 = 1_000;
const GOES_FROM: u64 = 770_000;

/// Rows of everybody whose events have numbers below those of who goes.
fn others(world: &World) -> Vec<Map<String, Value>> {
    let mut rows = world.query("select * from analytics.\"phone.app\"");
    rows.retain(|row| row["app_package"].as_str().is_none_or(|name| !name.contains("n00077")));
    let text = |row: &Map<String, Value>| serde_json::to_string(row).unwrap();
    rows.sort_by_key(text);
    rows
}

fn send(service: &Service, device: &str, from: u64, events: u64) {
    let events: Vec<Event> = (from..from + events).map(|number| Event::numbered(device, number)).collect();
    service.device().logs(&encode(&events)).unwrap().expect_status(200);
}

/// What tables call whoever sent an event.
fn names_of(world: &World, number: u64) -> Vec<String> {
    let sql = format!("select subject from analytics.\"phone.app\" where app_package = '{}'", package(number));
    world.query(&sql).iter().map(|row| row["subject"].as_str().unwrap().to_owned()).collect()
}

fn scan(world: &World, canaries: &[Canary]) -> Hits {
    let mut hits = Hits::new();
    Needles::new(canaries).folder(&world.data(), &mut hits);
    hits
}

fn found(hits: &Hits) -> BTreeSet<usize> {
    hits.values().flatten().map(|(number, _)| *number).collect()
}

fn ask(service: &Service, subject: &str, scope: &Value) -> Answer {
    let body = serde_json::to_vec(&json!({ "scope": scope })).unwrap();
    service.officer().send("POST", PATH, &[JSON, ("candor-subject", subject)], &body).unwrap()
}

fn ask_signed(service: &Service, device: &Signer, scope: &Value) -> Answer {
    let body = serde_json::to_vec(&json!({ "scope": scope })).unwrap();
    device.request(service, "POST", PATH, &[JSON], body).send(service, None)
}

fn run(service: &Service) -> Value {
    let answer = service.officer().send("POST", "/v1/erasures", &[], &[]).unwrap();
    assert_eq!(answer.status, 200, "{}\n{}", answer.text(), service.log());
    serde_json::from_slice(&answer.body).unwrap()
}

fn status(service: &Service, subject: &str) -> Value {
    let answer = service.officer().send("GET", PATH, &[("candor-subject", subject)], &[]).unwrap().expect_status(200);
    serde_json::from_slice(&answer.body).unwrap()
}

/// The certificate of the only erasure of an answer, checked against the log's key as the ring has it.
fn certificate(world: &World, answer: &Value) -> SignedCertificate {
    let erasures = answer["erasures"].as_array().unwrap();
    assert_eq!(erasures.len(), 1, "{answer}");
    assert_eq!(erasures[0]["state"], "done", "{answer}");
    let signed: SignedCertificate = serde_json::from_value(erasures[0]["certificate"].clone()).unwrap();
    let subject: [u8; 32] = hex::decode(answer["subject"].as_str().unwrap()).unwrap().try_into().unwrap();
    signed.check(&log_key(world), &LedgerId::from_bytes(subject)).unwrap();
    let number = erasures[0]["entry"].as_u64().unwrap();
    let Entry::Erased(erased) = &log(world)[number as usize] else { panic!("entry {number} is of no erasure") };
    assert!(erased.certificates.contains(&signed.certificate.digest().unwrap()));
    signed
}

fn log_key(world: &World) -> PublicKey {
    let ring = std::fs::read_to_string(world.data().join("keys/ring.toml")).unwrap();
    let (_, log) = ring.split_once("[[log]]").expect("the ring has a key for the log");
    let secret = log.split('"').nth(1).unwrap();
    SubjectKey::of_seed(&hex::decode(secret).unwrap().try_into().unwrap()).public()
}

/// Every entry of the log, from its bundles.
fn log(world: &World) -> Vec<Entry> {
    let folder = world.data().join("log/tile/entries");
    let mut bundles: Vec<_> =
        std::fs::read_dir(folder.join("000.p")).unwrap().map(|entry| entry.unwrap().path()).collect();
    bundles.sort_by_key(|path| path.file_name().unwrap().to_str().unwrap().parse::<u64>().unwrap());
    let bytes = std::fs::read(bundles.pop().expect("a log of fewer than 256 entries")).unwrap();
    let (mut entries, mut rest) = (Vec::new(), bytes.as_slice());
    while let [high, low, after @ ..] = rest {
        let (entry, after) = after.split_at(usize::from(u16::from_be_bytes([*high, *low])));
        entries.push(Entry::decode(entry).unwrap());
        rest = after;
    }
    entries
}

/// rows(new) = Σ rows(replaced) − removed, in every entry that replaces something.
fn check_sums(world: &World) {
    let entries = log(world);
    let rows = |number: &u64| match &entries[*number as usize] {
        Entry::Sealed(sealed) => sealed.rows,
        _ => panic!("{number} is no file"),
    };
    for entry in &entries {
        if let Entry::Sealed(sealed) = entry {
            let before: u64 = sealed.replaces.iter().map(rows).sum();
            assert!(sealed.replaces.is_empty() || sealed.rows + sealed.removed.unwrap() == before, "{sealed:?}");
        }
    }
}

fn wait_until_done(service: &Service) {
    let started = Instant::now();
    while service.metric("candor_erasures_open") > 0 {
        assert!(started.elapsed() < PATIENCE, "an erasure stays open:\n{}", service.log());
        std::thread::sleep(Duration::from_millis(100));
    }
}

/// Files of Parquet under the tables.
pub(crate) fn parquet_files(folder: &Path) -> BTreeSet<String> {
    let mut files = BTreeSet::new();
    for entry in std::fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            files.extend(parquet_files(&path));
        } else if path.extension().is_some_and(|end| end == "parquet") && !path.to_string_lossy().contains("_delta_log")
        {
            files.insert(path.to_string_lossy().into_owned());
        }
    }
    files
}

#[test]
fn of_an_erased_device_no_byte_is_left_and_others_keep_every_row() {
    let world = World::new();
    world.sign();
    let service = world.serve();
    let (mut goes, mut stays) = (Signer::new(71, 0), Signer::new(72, 0));
    let numbered = |from: u64| (from..from + 5).map(|number| Event::numbered("", number)).collect::<Vec<_>>();
    for device in [&mut goes, &mut stays] {
        device.says(&service, Given);
    }
    service.consent(&["phone-that-stays"], "given");
    for round in 0..4 {
        goes.batch(&service, &numbered(GOES_FROM + round * 5)).send(&service, Some(AGENTS)).expect_status(200);
        stays.batch(&service, &numbered(STAYS_FROM + round * 5)).send(&service, Some(AGENTS)).expect_status(200);
        send(&service, "phone-that-stays", STAYS_FROM + 100 + round * 5, 5);
        // What comes last waits in a segment when the erasure is asked for.
        if round < 3 {
            service.flush();
        }
    }
    let subject = goes.key.subject_id();
    // A purpose that no rule of the stream is for has no row.
    let purposes = PURPOSES.iter().filter(|purpose| rows_of(&world, purpose) > 0);
    let mut canaries: Vec<Canary> = purposes.map(|purpose| Canary::Text(goes.name(purpose))).collect();
    assert!(canaries.len() > 1);
    canaries.push(Canary::Text(hex::encode(subject.as_bytes())));
    canaries.push(Canary::Text(goes.key.public().to_string()));
    canaries.extend((0..20).map(|number| Canary::Text(package(GOES_FROM + number))));
    let before = found(&scan(&world, &canaries));
    assert_eq!(before.len(), canaries.len(), "the scan does not see what is there");
    let (kept, files) = (others(&world), parquet_files(&world.data().join("tables")));
    let held = world.account().iter().map(|(_, stored)| stored).sum::<u64>();

    let answer = ask_signed(&service, &goes, &json!("all")).expect_status(200);
    assert_eq!(serde_json::from_slice::<Value>(&answer.body).unwrap()["state"], "open");
    // Refused from that answer on: events, statements, and whoever asks what is held.
    let late = goes.batch(&service, &numbered(GOES_FROM)).send(&service, Some(AGENTS));
    assert_eq!((late.status, reason(&late)), (403, Some("key_closed")));
    let late = goes.send_statement(&service, &goes.statement(Given));
    assert_eq!((late.status, reason(&late)), (403, Some("key_closed")));
    assert_eq!(service.metric("candor_erasures_open"), 1);
    let done = run(&service);
    assert_eq!(done["erasures"], 1, "{done}");

    let hits = scan(&world, &canaries);
    assert!(hits.is_empty(), "what is left: {hits:#?}");
    let mut deleted = Hits::new();
    Needles::new(&canaries).deleted_files(service.pid(), &mut deleted);
    assert!(deleted.is_empty(), "what is left in deleted files: {deleted:#?}");
    assert_eq!(others(&world), kept);
    let answer = goes.get(&service, PATH).expect_status(200);
    let signed = certificate(&world, &serde_json::from_slice(&answer.body).unwrap());
    assert_eq!(signed.certificate.scope, Scope::All);
    assert_eq!(done["rows"], signed.certificate.rows);
    let left: u64 = PURPOSES.iter().map(|purpose| rows_of(&world, purpose)).sum();
    assert_eq!(held - left, signed.certificate.rows);
    // No version of before can be read: its files are gone, and so are the commits that named them.
    let now = parquet_files(&world.data().join("tables"));
    assert!(files.is_disjoint(&now), "files that were to be written anew are there");
    let log = world.data().join("tables/analytics/phone.app/_delta_log");
    assert!(!log.join("00000000000000000001.json").exists());
    check_sums(&world);
    assert_eq!((service.metric("candor_erasures_open"), service.metric("candor_erasures_done")), (0, 1));
    // The same again is the same one; nothing is known of the subject but that.
    let again: Value =
        serde_json::from_slice(&ask_signed(&service, &goes, &json!("all")).expect_status(200).body).unwrap();
    assert_eq!(again["id"], signed.certificate.id.as_str());
    assert_eq!(goes.get(&service, "/v1/subject").status, 404);
    assert!(service.stop().success());
    // And after a restart.
    let service = world.serve();
    let late = goes.batch(&service, &numbered(GOES_FROM)).send(&service, Some(AGENTS));
    assert_eq!((late.status, reason(&late)), (403, Some("key_closed")));
    stays.batch(&service, &numbered(STAYS_FROM + 50)).send(&service, Some(AGENTS)).expect_status(200);
    service.flush();
    assert!(scan(&world, &canaries).is_empty());
    assert_eq!(certificate(&world, &serde_json::from_slice(&goes.get(&service, PATH).body).unwrap()), signed);
    figure(&format!("erasure: {} needles, 0 hits; {} rows gone, {left} left", canaries.len(), signed.certificate.rows));
}

fn rows_of(world: &World, purpose: &str) -> u64 {
    world.count(&format!("select count(*) from {purpose}.\"phone.app\""))
}

/// A service with rows of a subject that goes and of one that stays, and what a scan is to look for.
fn with_rows(world: &World) -> (Service, Vec<Canary>, Vec<Map<String, Value>>) {
    let service = world.serve();
    service.consent(&[GOES, "phone-that-stays"], "given");
    send(&service, GOES, GOES_FROM, 4);
    send(&service, "phone-that-stays", STAYS_FROM, 4);
    service.flush();
    send(&service, GOES, GOES_FROM + 4, 4);
    send(&service, "phone-that-stays", STAYS_FROM + 4, 4);
    let mut canaries: Vec<Canary> = names_of(world, GOES_FROM).into_iter().map(Canary::Text).collect();
    assert_eq!(canaries.len(), 1);
    canaries.extend((0..8).map(|number| Canary::Text(package(GOES_FROM + number))));
    let kept = others(world);
    assert_eq!(kept.len(), 8);
    (service, canaries, kept)
}

#[test]
fn a_crash_at_each_step_twice_in_a_row_leaves_nothing_and_loses_nothing() {
    let names = failpoints(&crate::world::workspace().join("store/src"));
    let names: Vec<&String> =
        names.iter().filter(|name| name.starts_with("erase::") || name.starts_with("rewrite::")).collect();
    assert!(names.len() > 10, "{names:?}");
    for name in names {
        let crashes = crash_at(name);
        figure(&format!("failpoint {name}: {crashes} crashes, nothing left, nothing lost"));
    }
}

fn crash_at(name: &str) -> usize {
    let world = World::new();
    let (service, canaries, kept) = with_rows(&world);
    service.kill();
    let action = format!("{name}=return");
    let environment = [("FAILPOINTS", action.as_str())];
    let mut crashes = 0;
    for _ in 0..2 {
        let Ok(mut service) = world.start(&Start { environment: &environment, ..Start::default() }) else {
            crashes += 1;
            continue;
        };
        let body = serde_json::to_vec(&json!({ "scope": "all" })).unwrap();
        let _ = service.officer().send("POST", PATH, &[JSON, ("candor-subject", GOES)], &body);
        let _ = service.officer().send("POST", "/v1/erasures", &[], &[]);
        if let Some(status) = service.wait(Duration::from_millis(500)) {
            assert!(!status.success(), "{name}: ended as if all were well");
            crashes += 1;
        } else {
            service.kill();
        }
    }
    assert!(crashes > 0, "failpoint {name} was never reached: is the binary built with the feature `failpoints`?");
    let service = world.serve();
    ask(&service, GOES, &json!("all")).expect_status(200);
    run(&service);
    wait_until_done(&service);
    let hits = scan(&world, &canaries);
    assert!(hits.is_empty(), "{name}: {hits:#?}");
    assert_eq!(others(&world), kept, "{name}");
    let signed = certificate(&world, &status(&service, GOES));
    assert!(signed.certificate.rows >= 8, "{name}: {:?}", signed.certificate);
    check_sums(&world);
    send(&service, GOES, GOES_FROM, 4);
    service.flush();
    assert!(scan(&world, &canaries).is_empty(), "{name}: a late batch was stored");
    assert!(service.stop().success());
    world.verify(name);
    crashes
}

#[test]
fn what_a_backup_brings_back_is_erased_again() {
    for restored in [&["ledger.db"][..], &["tables", "log"], &["ledger.db", "tables", "log", "wal"]] {
        let world = World::new();
        let (service, canaries, kept) = with_rows(&world);
        // Where segments do not come back, nothing may have waited in them.
        if restored.contains(&"wal") {
            service.kill();
        } else {
            assert!(service.stop().success());
        }
        let backup = world.path("backup");
        copy_tree(&world.data(), &backup);
        let service = world.serve();
        ask(&service, GOES, &json!("all")).expect_status(200);
        run(&service);
        assert!(scan(&world, &canaries).is_empty());
        assert!(service.stop().success());
        for name in restored {
            for part in [name.to_string(), format!("{name}-wal"), format!("{name}-shm")] {
                let (from, to) = (backup.join(&part), world.data().join(&part));
                let _ = std::fs::remove_dir_all(&to);
                let _ = std::fs::remove_file(&to);
                if from.is_dir() {
                    copy_tree(&from, &to);
                } else if from.exists() {
                    std::fs::copy(from, to).unwrap();
                }
            }
        }
        assert!(!scan(&world, &canaries).is_empty() || restored == ["ledger.db"], "the backup brought nothing back");
        if restored.len() > 3 {
            // As where the lines that a backup lacks were added to it, and nothing says what they were applied to.
            let path = world.data().join("tombstones.jsonl");
            let lines = std::fs::read_to_string(&path).unwrap();
            let lines: String = lines.split_inclusive('\n').filter(|line| line.contains("tombstone")).collect();
            std::fs::write(path, lines).unwrap();
        }
        let service = world.serve();
        send(&service, GOES, GOES_FROM + 100, 4);
        run(&service);
        wait_until_done(&service);
        service.flush();
        let hits = scan(&world, &canaries);
        assert!(hits.is_empty(), "{restored:?}: {hits:#?}");
        assert_eq!(names_of(&world, GOES_FROM + 100), Vec::<String>::new(), "{restored:?}");
        assert_eq!(others(&world), kept, "{restored:?}");
        figure(&format!("erasure: {restored:?} of a backup came back, 0 hits after the start"));
    }
}

#[test]
fn by_purpose_and_by_day_of_receipt_what_is_not_named_stays() {
    let world = World::new();
    world.sign();
    let service = world.serve();
    let mut device = Signer::new(73, 0);
    device.says(&service, Given);
    service.consent(&["phone-by-purpose"], "given");
    let numbered = |from: u64| (from..from + 5).map(|number| Event::numbered("", number)).collect::<Vec<_>>();
    device.batch(&service, &numbered(STAYS_FROM)).send(&service, Some(AGENTS)).expect_status(200);
    send(&service, "phone-by-purpose", STAYS_FROM + 50, 5);
    service.flush();
    let before = PURPOSES.map(|purpose| rows_of(&world, purpose));
    let scope = json!({ "purposes": ["analytics"] });
    // What is still given would come back with the next event.
    assert_eq!(ask_signed(&service, &device, &scope).status, 409);
    device.says(&service, Withdrawn);
    ask_signed(&service, &device, &scope).expect_status(200);
    // An operator's request says that the subject withdrew.
    ask(&service, "phone-by-purpose", &scope).expect_status(200);
    run(&service);
    for (purpose, before) in PURPOSES.iter().zip(before) {
        let after = rows_of(&world, purpose);
        assert_eq!(after, if *purpose == "analytics" { before - 10 } else { before }, "{purpose}");
    }
    send(&service, "phone-by-purpose", STAYS_FROM + 60, 5);
    service.flush();
    assert_eq!(rows_of(&world, "analytics"), before[1] - 10);
    // By day: consent stays, and so does what comes afterwards.
    service.consent(&["phone-by-day"], "given");
    send(&service, "phone-by-day", STAYS_FROM + 70, 5);
    let all: u64 = PURPOSES.iter().map(|purpose| rows_of(&world, purpose)).sum();
    ask(&service, "phone-by-day", &json!({ "received": { "to": "2020-01-01" } })).expect_status(200);
    run(&service);
    assert_eq!(PURPOSES.iter().map(|purpose| rows_of(&world, purpose)).sum::<u64>(), all);
    ask(&service, "phone-by-day", &json!({ "received": { "from": "2020-01-01" } })).expect_status(200);
    let done = run(&service);
    let left: u64 = PURPOSES.iter().map(|purpose| rows_of(&world, purpose)).sum();
    assert!(left < all && done["rows"] == all - left, "{done}");
    send(&service, "phone-by-day", STAYS_FROM + 80, 5);
    assert_eq!(names_of(&world, STAYS_FROM + 80).len(), 1);
    for wrong in [json!("some"), json!({ "purposes": [] }), json!({ "received": { "to": "9999-01-01" } })] {
        assert_eq!(ask(&service, "phone-by-day", &wrong).status, 400, "{wrong}");
    }
    check_sums(&world);
    assert!(service.stop().success());
}

#[test]
fn many_erasures_are_one_pass_over_each_file() {
    const MANY: u64 = 40;
    let world = World::new();
    let service = world.serve();
    let device = |number: u64| format!("phone-of-many-{number:03}");
    let devices: Vec<String> = (0..MANY * 2).map(device).collect();
    service.consent(&devices.iter().map(String::as_str).collect::<Vec<_>>(), "given");
    for number in 0..MANY * 2 {
        send(&service, &device(number), STAYS_FROM + number * 10, 3);
    }
    service.flush();
    let files = parquet_files(&world.data().join("tables")).len() as u64;
    let before: u64 = PURPOSES.iter().map(|purpose| rows_of(&world, purpose)).sum();
    for number in 0..MANY {
        ask(&service, &device(number), &json!("all")).expect_status(200);
    }
    let done = run(&service);
    let left: u64 = PURPOSES.iter().map(|purpose| rows_of(&world, purpose)).sum();
    let all = json!({ "erasures": MANY, "files": files, "rows": before - left, "open": 0, "waiting": [], "why": null });
    assert_eq!(done, all);
    let mut rows = 0;
    for number in 0..MANY {
        rows += certificate(&world, &status(&service, &device(number))).certificate.rows;
    }
    assert_eq!((rows, left), (before - left, before / 2));
    check_sums(&world);
    assert!(service.stop().success());
}

#[test]
fn a_failed_sync_of_a_tombstone_ends_the_process() {
    let world = World::new();
    let (service, canaries, _) = with_rows(&world);
    assert!(service.stop().success());
    let how = Start { environment: &[("FAILPOINTS", "erase::failed_sync=1*return")], ..Start::default() };
    let mut service = world.start(&how).unwrap();
    let body = serde_json::to_vec(&json!({ "scope": "all" })).unwrap();
    let answer = service.officer().send("POST", PATH, &[JSON, ("candor-subject", GOES)], &body);
    assert!(answer.is_err() || answer.is_ok_and(|answer| answer.status == 503));
    let ended = service.wait(Duration::from_secs(5));
    assert!(ended.is_some_and(|status| !status.success()), "{ended:?}");
    let service = world.serve();
    ask(&service, GOES, &json!("all")).expect_status(200);
    run(&service);
    wait_until_done(&service);
    assert!(scan(&world, &canaries).is_empty());
}

/// Whoever asks for a proof has a tree made over the leaves of a file, and it is written beside: not after the file is gone.
#[test]
fn leaves_of_an_erased_file_do_not_come_back() {
    let world = World::new();
    let (service, ..) = with_rows(&world);
    assert!(service.stop().success());
    std::fs::remove_dir_all(world.data().join("leaves")).unwrap();
    let how = Start { environment: &[("FAILPOINTS", "sealed::before_leaves=1*sleep(4000)")], ..Start::default() };
    let service = world.start(&how).unwrap();
    std::thread::scope(|scope| {
        let reads = scope.spawn(|| service.officer().send("GET", "/v1/subject", &[("candor-subject", GOES)], &[]));
        std::thread::sleep(Duration::from_secs(1));
        ask(&service, GOES, &json!("all")).expect_status(200);
        run(&service);
        assert!(!reads.is_finished(), "the erasure was slower than the reading");
        reads.join().unwrap().unwrap();
    });
    let stems = |folder: &str| -> BTreeSet<String> {
        let files = files_below(&world.data().join(folder)).into_iter();
        files.filter_map(|path| Some(path.file_stem()?.to_str()?.to_owned())).collect()
    };
    let (leaves, tables) = (stems("leaves"), stems("tables"));
    assert!(leaves.is_subset(&tables), "of no file: {:?}", leaves.difference(&tables));
}

fn files_below(folder: &Path) -> Vec<std::path::PathBuf> {
    let Ok(entries) = std::fs::read_dir(folder) else { return Vec::new() };
    let paths = entries.map(|entry| entry.unwrap().path());
    paths.flat_map(|path| if path.is_dir() { files_below(&path) } else { vec![path] }).collect()
}
