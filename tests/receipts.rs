//! Receipts against tables: whatever is changed in a table behind the service's back, the device's check names the batch.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use arrow_array::{Array, ArrayRef, RecordBatch, StringArray};
use parquet::arrow::ArrowWriter;
use parquet::arrow::arrow_reader::ParquetRecordBatchReaderBuilder;
use parquet::file::properties::WriterProperties;
use serde_json::{Value, json};

use crate::signer::AGENTS;
use crate::world::{Service, World, figure};

pub(crate) const BATCHES: u64 = 3;
const EVENTS: u64 = 4;

/// A device at the command line, with three batches in an epoch and three in the next.
pub(crate) fn sent(world: &World, service: &Service) -> PathBuf {
    let state = world.path("device");
    run(world, service, &state, &["identity", "new", "acme-fleet"], 0);
    let states = [
        "consent",
        "set",
        "analytics=given",
        "marketing=given",
        "--notice",
        "2026-01",
        "--language",
        "de",
        "--age-from",
        "30",
    ];
    run(world, service, &state, &states, 0);
    for number in 0..2 * BATCHES {
        if number == BATCHES {
            run(world, service, &state, &["identity", "rotate"], 0);
        }
        let events = world.path("events.jsonl");
        let line = |event: u64| {
            json!({
                "time": "2026-11-16T00:19:20Z", "event": "phone.app.opened",
                "resource": { "region": "DE", "device.model.name": "P14", "gpc": false },
                "attributes": { "app.package": format!("org.example.app{}", number * EVENTS + event), "screen": "home" },
            })
        };
        std::fs::write(&events, (0..EVENTS).fold(String::new(), |text, event| text + &line(event).to_string() + "\n"))
            .unwrap();
        run(world, service, &state, &["send", events.to_str().unwrap()], 0);
    }
    service.flush();
    state
}

/// `candor agent ... --json`; its answer if it ends with `code`.
pub(crate) fn run(world: &World, service: &Service, state: &Path, arguments: &[&str], code: i32) -> Value {
    let (url, token) = (format!("http://{}", service.address()), world.path("agents.token"));
    std::fs::write(&token, AGENTS).unwrap();
    let mut all = vec!["agent"];
    all.extend(arguments);
    all.extend(["--state", state.to_str().unwrap(), "--json"]);
    let offline = matches!(arguments, ["identity", "new" | "rotate", ..] | ["receipts", "list", ..]);
    if !offline {
        all.extend(["--url", &url]);
    }
    if !offline && arguments[0] != "receipts" {
        all.extend(["--token-file", token.to_str().unwrap()]);
    }
    let output = world.candor(&all);
    let errors = String::from_utf8_lossy(&output.stderr);
    assert_eq!(
        output.status.code(),
        Some(code),
        "{arguments:?}: {errors}\n{}",
        String::from_utf8_lossy(&output.stdout)
    );
    serde_json::from_slice(&output.stdout).unwrap_or(Value::Null)
}

/// What is done to the rows of a file.
type Deed = (&'static str, fn(&RecordBatch) -> RecordBatch);

const DEEDS: [Deed; 4] = [
    ("a value changed", |rows| with_screen(rows, 1, "elsewhere")),
    ("a row dropped", |rows| rows.slice(1, rows.num_rows() - 1)),
    ("a row added", |rows| concat(&[rows.clone(), rows.slice(0, 1)])),
    ("a row replaced by another one twice", |rows| {
        concat(&[rows.slice(0, 1), rows.slice(0, 1), rows.slice(2, rows.num_rows() - 2)])
    }),
];

#[test]
fn a_row_that_is_changed_dropped_or_added_is_named_by_its_batch() {
    let world = World::new();
    world.sign();
    let service = world.serve();
    let state = sent(&world, &service);
    let fine = run(&world, &service, &state, &["receipts", "check"], 0);
    assert_eq!(fine["receipts"], 2 * BATCHES, "{fine}");
    let mut deeds = 0;
    for purpose in ["analytics", "marketing"] {
        let files = files(&world.data().join("tables").join(purpose));
        assert!(!files.is_empty());
        for file in files {
            let whole = std::fs::read(&file).unwrap();
            for (what, deed) in DEEDS {
                let named = rewrite(&file, deed);
                let found = run(&world, &service, &state, &["receipts", "check"], 4);
                let findings = found["rows"].as_array().unwrap_or_else(|| panic!("{found}"));
                let is_named = |finding: &Value| {
                    finding["purpose"] == purpose && named.contains(&finding["purpose_batch"].as_i64().unwrap_or(0))
                };
                assert!(
                    !findings.is_empty() && findings.iter().all(is_named),
                    "{what} in {purpose}, batches {named:?}: {found}"
                );
                assert!(findings.iter().all(|finding| finding["batch"].is_u64()), "{found}");
                std::fs::write(&file, &whole).unwrap();
                deeds += 1;
            }
        }
    }
    run(&world, &service, &state, &["receipts", "check"], 0);
    figure(&format!("receipts: {deeds} changes of tables, each found and named by its batch"));
}

#[test]
fn a_receipt_that_was_altered_on_the_device_is_found() {
    let world = World::new();
    world.sign();
    let service = world.serve();
    let state = sent(&world, &service);
    let journal = state.join("receipts.jsonl");
    let text = std::fs::read_to_string(&journal).unwrap();
    let altered = text.replacen("\"stored\":4", "\"stored\":3", 1);
    assert_ne!(text, altered, "{text}");
    std::fs::write(&journal, altered).unwrap();
    let output = world.candor(&["agent", "receipts", "list", "--state", state.to_str().unwrap()]);
    assert!(!output.status.success(), "the chain does not hold");
    std::fs::write(&journal, text).unwrap();
    run(&world, &service, &state, &["receipts", "check"], 0);
}

pub(crate) fn files(folder: &Path) -> Vec<PathBuf> {
    let mut found = Vec::new();
    for entry in std::fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path()) {
        if entry.is_dir() {
            found.extend(files(&entry));
        } else if entry.extension().is_some_and(|extension| extension == "parquet")
            && !entry.to_string_lossy().contains("_delta_log")
        {
            found.push(entry);
        }
    }
    found.sort();
    found
}

/// Rewrites a file under its name with its metadata; the numbers of the batches that it had.
pub(crate) fn rewrite(file: &Path, deed: fn(&RecordBatch) -> RecordBatch) -> Vec<i64> {
    let builder = ParquetRecordBatchReaderBuilder::try_new(std::fs::File::open(file).unwrap()).unwrap();
    let about = builder.metadata().file_metadata().key_value_metadata().cloned();
    let parts: Vec<RecordBatch> = builder.build().unwrap().map(Result::unwrap).collect();
    let rows = concat(&parts);
    let numbers: arrow_array::Int64Array = arrow_array::cast::downcast_array(rows.column_by_name("batch").unwrap());
    let named = numbers.values().to_vec();
    let rows = deed(&rows);
    let properties = WriterProperties::builder().set_key_value_metadata(about).build();
    let mut writer =
        ArrowWriter::try_new(std::fs::File::create(file).unwrap(), rows.schema(), Some(properties)).unwrap();
    writer.write(&rows).unwrap();
    writer.close().unwrap();
    named
}

fn with_screen(rows: &RecordBatch, row: usize, screen: &str) -> RecordBatch {
    let at = rows.schema().index_of("app_package").unwrap();
    let values: StringArray = arrow_array::cast::downcast_array(rows.column(at));
    let changed: StringArray =
        (0..values.len()).map(|other| Some(if other == row { screen } else { values.value(other) })).collect();
    let mut columns = rows.columns().to_vec();
    columns[at] = Arc::new(changed) as ArrayRef;
    RecordBatch::try_new(rows.schema(), columns).unwrap()
}

fn concat(parts: &[RecordBatch]) -> RecordBatch {
    arrow_select::concat::concat_batches(&parts[0].schema(), parts).unwrap()
}
