//! Spark reads the tables as Parquet, knowing nothing of Delta: after sealing, compaction and erasure it finds what others find.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use serde_json::{Value, json};

use crate::clients::run;
use crate::otlp::{Event, encode};
use crate::skip::{runs, skipped};
use crate::world::{PURPOSES, Service, World, figure, workspace};

/// Seals that each table gets: as many files as a day needs to be compacted while more may come.
const SEALS: usize = 5;

#[test]
fn the_tables_open_in_spark_as_parquet() {
    let Some(python) = python() else { return };
    let world = World::new();
    std::fs::copy(workspace().join("seeds/fleet/consent.jsonl"), world.fleet().join("consent.jsonl")).unwrap();
    let service = world.serve();
    let events = Event::load(&workspace().join("seeds/events/sample.jsonl"));
    let mut client = service.device();
    for part in events.chunks(events.len().div_ceil(SEALS)) {
        client.logs(&encode(part)).unwrap().expect_status(200);
        service.flush();
    }
    let sealed = read(&python, &world, "as sealed");

    post(&service, "/v1/compact", &[], &json!({}));
    let compacted = read(&python, &world, "compacted");
    assert!(compacted.values().any(|table| table.0 == 1) && sealed.values().any(|table| table.0 > 1), "{compacted:?}");
    assert_eq!(rows(&compacted), rows(&sealed));

    // Whoever has rows, as its source names it.
    let statements = std::fs::read_to_string(world.fleet().join("consent.jsonl")).unwrap();
    let subjects = statements.lines().map(|line| serde_json::from_str::<Value>(line).unwrap());
    let subjects: Vec<String> = subjects.map(|statement| statement["subject"].as_str().unwrap().to_owned()).collect();
    for subject in &subjects[..subjects.len() / 2] {
        post(&service, "/v1/subject/erasure", &[("candor-subject", subject)], &json!({"scope": "all"}));
    }
    let erased = post(&service, "/v1/erasures", &[], &json!({}));
    let gone = erased["rows"].as_u64().unwrap();
    assert!(gone > 0, "{erased}");
    assert_eq!(rows(&read(&python, &world, "after erasure")) + gone, rows(&sealed));
}

/// Files and rows of each table, as Spark sees them; types, nulls and every row are what `DuckDB` reads.
fn read(python: &Path, world: &World, when: &str) -> BTreeMap<String, (u64, u64)> {
    let output = run(python, "read_spark.py", &[world.data().join("tables").to_str().unwrap()]);
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let answer: BTreeMap<String, Value> = serde_json::from_slice(&output.stdout).unwrap();
    let mut tables = BTreeMap::new();
    let (mut columns, mut nulls) = (0, 0);
    for (name, found) in answer {
        assert_eq!(found["types differ"], json!([]), "{when}, {name}: {found}");
        assert_eq!(found["rows differ"], 0, "{when}, {name}: {found}");
        assert_eq!((&found["rows"][0], &found["nulls"][0]), (&found["rows"][1], &found["nulls"][1]), "{when}, {name}");
        columns += found["columns"].as_u64().unwrap();
        nulls += found["nulls"][0].as_array().unwrap().iter().filter_map(Value::as_u64).sum::<u64>();
        tables.insert(name, (found["files"].as_u64().unwrap(), found["rows"][0].as_u64().unwrap()));
    }
    assert!(PURPOSES.iter().all(|purpose| tables.keys().any(|table| table.starts_with(purpose))), "{tables:?}");
    let rows = rows(&tables);
    figure(&format!(
        "Spark, {when}: {rows} rows in {} tables, {columns} columns and {nulls} nulls as in DuckDB",
        tables.len()
    ));
    tables
}

fn rows(tables: &BTreeMap<String, (u64, u64)>) -> u64 {
    tables.values().map(|(_, rows)| rows).sum()
}

fn post(service: &Service, path: &str, headers: &[(&str, &str)], body: &Value) -> Value {
    let headers: Vec<(&str, &str)> = headers.iter().copied().chain([("content-type", "application/json")]).collect();
    let body = serde_json::to_vec(body).unwrap();
    let body = if path == "/v1/erasures" { &[][..] } else { &body };
    let answer = service.officer().send("POST", path, &headers, body).unwrap().expect_status(200);
    serde_json::from_slice(&answer.body).unwrap()
}

/// The interpreter with Spark, which is too large to be installed for every run.
fn python() -> Option<PathBuf> {
    let python = std::env::var_os("CANDOR_TEST_SPARK").map(PathBuf::from);
    if python.is_none() {
        skipped("CANDOR_TEST_SPARK names no Python with the packages of tests/python/requirements-spark.txt");
    } else if !runs("java", &["-version"]) {
        skipped("java is missing: Spark needs it");
        return None;
    }
    python
}
