//! Programs that know nothing of Candor read its tables: deltalake, `DuckDB` and Polars.

use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};

use serde_json::Value;

use crate::otlp::{Event, encode};
use crate::skip::skipped;
use crate::world::{PURPOSES, World, workspace};

#[test]
fn the_tables_open_in_deltalake_duckdb_and_polars() {
    let Some(python) = python() else { return };
    let world = World::new();
    std::fs::copy(workspace().join("seeds/fleet/consent.jsonl"), world.fleet().join("consent.jsonl")).unwrap();
    let service = world.serve();
    let events = Event::load(&workspace().join("seeds/events/sample.jsonl"));
    // Two seals, so that each table has more than one commit and file.
    let mut client = service.device();
    for half in events.chunks(30) {
        client.logs(&encode(half)).unwrap().expect_status(200);
        service.flush();
    }
    let totals = world.totals();
    let output = run(&python, "read_tables.py", &[world.data().join("tables").to_str().unwrap()]);
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let counts: Value = serde_json::from_slice(&output.stdout).unwrap();
    let mut rows = 0;
    for total in totals.iter().filter(|total| total.stored > 0) {
        let table = format!("{}/{}", total.purpose, total.stream.as_deref().unwrap());
        for reader in ["deltalake", "duckdb", "polars"] {
            assert_eq!(counts[&table][reader], total.stored, "{table} by {reader}: {counts}");
            assert_eq!(counts[&table][format!("{reader} of one subject")], counts[&table]["of one subject"], "{table}");
        }
        rows += total.stored;
    }
    assert!(rows > 30 && PURPOSES.iter().all(|purpose| totals.iter().any(|t| t.purpose == *purpose && t.stored > 0)));
}

/// The interpreter with the packages, as `.ci/run` makes it.
pub(crate) fn python() -> Option<PathBuf> {
    let python = std::env::var_os("CANDOR_TEST_PYTHON").map(PathBuf::from);
    if python.is_none() {
        skipped("CANDOR_TEST_PYTHON names no Python with the packages of tests/python/requirements.txt");
    }
    python
}

pub(crate) fn run(python: &Path, script: &str, arguments: &[&str]) -> Output {
    let script = workspace().join("tests/python").join(script);
    let mut command = Command::new(python);
    command.arg(script).args(arguments).stdin(Stdio::null()).output().expect("Python can be run")
}
