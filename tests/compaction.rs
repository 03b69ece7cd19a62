//! Sealed files made anew: rows stay as they are through crashes at every step, and others read the tables as before.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use serde_json::{Value, json};

use crate::clients::{python, run};
use crate::crash::failpoints;
use crate::otlp::{Event, encode, package};
use crate::world::{Service, Start, World, figure};

/// Files that each table gets before it is compacted: as many as a day needs while more may come.
const FILES: u64 = 5;
/// Events of each.
const EVENTS: u64 = 3;

#[test]
fn a_crash_at_each_step_twice_in_a_row_neither_loses_nor_repeats() {
    let names = failpoints(&crate::world::workspace().join("store/src"));
    let steps: Vec<_> = names.iter().filter(|name| name.starts_with("rewrite::")).collect();
    assert!(steps.len() >= 6, "{names:?}");
    for name in steps {
        let crashes = crash_at(name);
        figure(&format!("failpoint {name}: {crashes} crashes, nothing lost or doubled"));
    }
}

/// Compacts into the failpoint twice, then without it; gives how often the process died there.
fn crash_at(name: &str) -> usize {
    let world = World::new();
    let service = world.serve();
    let sent = fill(&service, 0);
    assert!(service.stop().success());
    check(&world, sent, "before");
    let action = format!("{name}=return");
    let environment = [("FAILPOINTS", action.as_str())];
    let mut crashes = 0;
    for round in 0..2 {
        // What is left of the job goes on at the start: the process may end there before anybody asks.
        if let Ok(mut service) = world.start(&Start { environment: &environment, ..Start::default() }) {
            let _ = service.officer().send("POST", "/v1/compact", &[], &[]);
            match service.wait(Duration::from_secs(5)) {
                Some(status) => assert!(!status.success(), "{name}: ended as if all were well"),
                None if round == 0 => panic!("failpoint {name} was never reached"),
                // The first crash came after the last thing that there was to do.
                None => {
                    service.kill();
                    continue;
                }
            }
        }
        crashes += 1;
        check(&world, sent, name);
    }
    let service = world.serve();
    compact(&service, &json!({}));
    check(&world, sent, name);
    let sent = fill(&service, sent);
    assert!(service.stop().success(), "{name}");
    check(&world, sent, name);
    world.verify(name);
    no_orphans(&world, name);
    crashes
}

#[test]
fn compaction_says_what_it_does_and_does_it() {
    let world = World::new();
    let service = world.serve();
    let sent = fill(&service, 0);
    let files = parquet_files(&world).len();
    let planned = compact(&service, &json!({"dry_run": true}));
    assert_eq!(parquet_files(&world).len(), files);
    let units = planned["units"].as_array().unwrap();
    assert!(units.iter().all(|unit| unit["files"] == FILES), "{planned}");
    let done = compact(&service, &json!({}));
    assert_eq!(done["units"], planned["units"]);
    assert_eq!(parquet_files(&world).len(), files - units.len() * (FILES as usize - 1));
    assert_eq!(compact(&service, &json!({}))["units"], json!([]));
    assert_eq!(service.metric("candor_store_compacted_files"), FILES * units.len() as u64);
    check(&world, sent, "after compaction");
    for path in ["analytics/none", "nonsense"] {
        let answer = service.officer().json("/v1/compact", &json!({ "table": path })).unwrap();
        assert_eq!(answer.status, 400, "{}", answer.text());
    }

    // The command, at the service and without one.
    let (url, token) = (format!("http://{}", service.address()), world.fleet().join("tokens/backend.token"));
    let sent = fill(&service, sent);
    let at_service = ["store", "compact", "--json", "--url", &url, "--token-file", token.to_str().unwrap()];
    let output = world.candor(&at_service);
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let answer: Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!(answer["rows"].as_array().unwrap().len(), units.len(), "{answer}");
    let data = world.data();
    let alone = ["store", "compact", "--data", data.to_str().unwrap(), "--json"];
    let held = world.candor(&alone);
    assert!(!held.status.success(), "a service has the folder");
    let sent = fill(&service, sent);
    assert!(service.stop().success());
    let output = world.candor(&alone);
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let answer: Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!(answer["rows"].as_array().unwrap().len(), units.len(), "{answer}");
    check(&world, sent, "after the command");
    no_orphans(&world, "after the command");
    others_read(&world);
}

/// Readers of this process and others find every row while files are replaced below them.
#[test]
fn whoever_reads_meanwhile_finds_every_row() {
    let world = World::new();
    let service = world.serve();
    let mut sent = 0;
    let stop = AtomicBool::new(false);
    std::thread::scope(|scope| {
        let reader = scope.spawn(|| {
            let mut reads = 0;
            while !stop.load(Ordering::Relaxed) {
                let rows = world.query("select app_package, count(*) as n from analytics.\"phone.app\" group by 1");
                assert!(rows.iter().all(|row| row["n"] == 1), "{rows:?}");
                reads += 1;
            }
            reads
        });
        for _ in 0..6 {
            sent = fill(&service, sent);
            compact(&service, &json!({}));
        }
        stop.store(true, Ordering::Relaxed);
        figure(&format!("read {} times while files were replaced", reader.join().unwrap()));
    });
    check(&world, sent, "in the end");
}

/// Sends so many requests, each sealed into a file of its own; gives how many events there are.
fn fill(service: &Service, first: u64) -> u64 {
    if first == 0 {
        service.consent(&["compacting"], "given");
    }
    for file in 0..FILES {
        let first = first + file * EVENTS;
        let events: Vec<Event> = (first..first + EVENTS).map(|number| Event::numbered("compacting", number)).collect();
        service.device().logs(&encode(&events)).unwrap().expect_status(200);
        service.flush();
    }
    first + FILES * EVENTS
}

fn compact(service: &Service, options: &Value) -> Value {
    let answer = service.officer().json("/v1/compact", options).unwrap();
    assert_eq!(answer.status, 200, "{}", answer.text());
    serde_json::from_slice(answer.text().as_bytes()).unwrap()
}

/// Every event is there, once, and the account agrees.
fn check(world: &World, sent: u64, when: &str) {
    let rows = world.query("select app_package, count(*) as n from analytics.\"phone.app\" group by app_package");
    let count = |row: &serde_json::Map<String, Value>| {
        (row["app_package"].as_str().unwrap().to_owned(), row["n"].as_u64().unwrap())
    };
    let found: BTreeMap<String, u64> = rows.iter().map(count).collect();
    let expected: BTreeMap<String, u64> = (0..sent).map(|number| (package(number), 1)).collect();
    assert_eq!(found, expected, "{when}");
    assert_eq!(world.account()[1], (sent, sent), "{when}");
}

/// Every file of a table is one that its newest version lists, and there is no older version.
fn no_orphans(world: &World, when: &str) {
    let live: u64 = world.totals().iter().filter(|total| total.stored > 0).count() as u64;
    assert!(live > 0);
    for log in folders_named(&world.data().join("tables"), "_delta_log") {
        let checkpoints = names(&log).into_iter().filter(|name| name.ends_with(".checkpoint.parquet")).count();
        assert!(checkpoints <= 1, "{when}: {:?}", names(&log));
    }
}

/// Programs that know nothing of Candor find the same rows, and no version before the newest checkpoint.
fn others_read(world: &World) {
    let Some(python) = python() else { return };
    let tables = world.data().join("tables");
    let output = run(&python, "read_tables.py", &[tables.to_str().unwrap()]);
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let counts: Value = serde_json::from_slice(&output.stdout).unwrap();
    for total in world.totals().iter().filter(|total| total.stored > 0) {
        let table = format!("{}/{}", total.purpose, total.stream.as_deref().unwrap());
        for reader in ["deltalake", "duckdb", "polars"] {
            assert_eq!(counts[&table][reader], total.stored, "{table} by {reader}: {counts}");
        }
    }
    let table = tables.join("analytics/phone.app");
    let output = run(&python, "read_versions.py", &[table.to_str().unwrap()]);
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let versions: Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!(versions["readable"], json!([versions["newest"]]), "{versions}");
}

fn parquet_files(world: &World) -> Vec<PathBuf> {
    let mut found = Vec::new();
    for folder in partitions(&world.data().join("tables")) {
        found
            .extend(names(&folder).into_iter().filter(|name| name.ends_with(".parquet")).map(|name| folder.join(name)));
    }
    found
}

fn partitions(folder: &Path) -> Vec<PathBuf> {
    let mut found = Vec::new();
    for name in names(folder) {
        let path = folder.join(&name);
        if name.starts_with("received_date=") {
            found.push(path);
        } else if path.is_dir() && name != "_delta_log" {
            found.extend(partitions(&path));
        }
    }
    found
}

fn folders_named(folder: &Path, wanted: &str) -> Vec<PathBuf> {
    let mut found = Vec::new();
    for name in names(folder) {
        let path = folder.join(&name);
        if name == wanted {
            found.push(path);
        } else if path.is_dir() {
            found.extend(folders_named(&path, wanted));
        }
    }
    found
}

fn names(folder: &Path) -> Vec<String> {
    let entries = std::fs::read_dir(folder).unwrap();
    entries.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect()
}
