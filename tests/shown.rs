//! What is shown of a subject and of tables: by the service as by its folder, and doubles that JSON has no number for.

use std::fs::File;
use std::path::Path;

use arrow_array::cast::AsArray;
use arrow_array::types::Float64Type;
use opentelemetry_proto::tonic::common::v1::{AnyValue, KeyValue, any_value};
use parquet::arrow::arrow_reader::ParquetRecordBatchReaderBuilder;
use prost::Message;
use serde_json::{Value, json};

use crate::agent::{json_of, text, url};
use crate::doors;
use crate::otlp::{Event, request};
use crate::world::{OFFICER, World};

/// Fields, what is sent in them, and what is shown.
const DOUBLES: [(&str, f64, &str); 4] = [
    ("less", f64::NEG_INFINITY, "-Infinity"),
    ("more", f64::INFINITY, "Infinity"),
    ("nan", f64::NAN, "NaN"),
    ("plain", 0.5, "0.5"),
];
const SUBJECT: &str = "meter-1";
const QUERY: &str = "select less, more, nan, plain, absent from diagnostics.\"doors\"";

/// A fleet whose stream has a field for each double and one that nobody sends.
fn world() -> World {
    let fields = [
        ("less", "f64", "attributes.less"),
        ("more", "f64", "attributes.more"),
        ("nan", "f64", "attributes.nan"),
        ("plain", "f64", "attributes.plain"),
        ("absent", "f64", "attributes.absent"),
    ];
    doors::world(&["measured"], &fields, &[("meters", "meter")])
}

fn measured() -> Vec<u8> {
    let mut request = request(&[Event::new("x", "DE", "measured", json!({ "meter": SUBJECT, "region": "DE" }))]);
    let record = &mut request.resource_logs[0].scope_logs[0].log_records[0];
    record.attributes.extend(DOUBLES.map(|(key, value, _)| {
        let value = Some(AnyValue { value: Some(any_value::Value::DoubleValue(value)) });
        KeyValue { key: key.to_owned(), value, ..KeyValue::default() }
    }));
    request.encode_to_vec()
}

/// `candor audit ARGUMENTS` of the folder or of the service.
struct Asked<'a> {
    world: &'a World,
    place: Vec<String>,
}

impl Asked<'_> {
    fn ends(&self, arguments: &[&str], code: i32) -> String {
        let place = self.place.iter().map(String::as_str);
        let all: Vec<&str> = ["audit"].into_iter().chain(arguments.iter().copied()).chain(place).collect();
        let output = self.world.candor(&all);
        let said = text(&output.stdout) + &text(&output.stderr);
        assert_eq!(output.status.code(), Some(code), "{all:?}: {said}");
        said
    }
}

#[test]
fn a_double_that_is_no_number_is_shown_as_what_it_is_wherever_it_is_asked_for() {
    let world = world();
    let service = world.serve();
    let token = doors::token("meters");
    service.client(Some(&token)).logs(&measured()).unwrap().expect_status(200);
    let data = world.data().to_str().unwrap().to_owned();
    for when in ["pending", "sealed"] {
        let folder = Asked { world: &world, place: vec!["--data".to_owned(), data.clone()] };
        let row = &world.query(QUERY)[0];
        for (column, _, shown) in DOUBLES {
            let expected = if column == "plain" { json!(0.5) } else { json!(shown) };
            assert_eq!(row[column], expected, "{when}");
        }
        assert_eq!(row["absent"], Value::Null, "{when}");
        assert!(
            folder.ends(&["query", QUERY, "--format", "csv"], 0).contains("-Infinity,Infinity,NaN,0.5,\n"),
            "{when}"
        );
        for format in ["table", "jsonl"] {
            let said = folder.ends(&["query", QUERY, "--format", format], 0);
            assert!(DOUBLES.iter().all(|(_, _, shown)| said.contains(shown)), "{when}: {said}");
        }
        let shown = fields(&world.json(&["audit", "show", SUBJECT]));
        assert_eq!(shown, json!(["-Infinity", "Infinity", "NaN", 0.5]), "{when}");
        let said = folder.ends(&["show", SUBJECT], 0);
        assert!(["  -Infinity ", "  Infinity ", "  NaN "].iter().all(|shown| said.contains(shown)), "{when}: {said}");

        for (name, arguments) in [("query", ["query", QUERY]), ("show", ["show", SUBJECT])] {
            let file = world.path(&format!("{name}.parquet"));
            folder.ends(&[arguments[0], arguments[1], "--output", file.to_str().unwrap()], 0);
            let doubles = if name == "query" {
                ["less", "more", "nan"].map(|name| first(&file, name, 0))
            } else {
                [0, 1, 2].map(|row| first(&file, "value", row))
            };
            assert!(doubles[..2] == [f64::NEG_INFINITY, f64::INFINITY] && doubles[2].is_nan(), "{when}: {doubles:?}");
        }
        service.flush();
    }
    // What is shown is held against the encoding that is proved.
    let bundle = world.path("bundle");
    let folder = Asked { world: &world, place: vec!["--data".to_owned(), data.clone()] };
    folder.ends(&["export", bundle.to_str().unwrap(), "--subject", SUBJECT], 0);
    let output = world.candor(&["audit", "verify", bundle.to_str().unwrap(), "--json"]);
    let held = json_of(&output, 0);
    let rows = held["rows"].as_array().unwrap().iter().find(|row| row["check"] == "rows");
    assert_eq!(rows.map(|row| &row["why"]), Some(&json!("1 row")), "{held}");
}

#[test]
fn the_service_and_its_folder_give_one_answer_also_about_whom_nothing_is_known() {
    let world = world();
    let service = world.serve();
    let token = doors::token("meters");
    service.client(Some(&token)).logs(&measured()).unwrap().expect_status(200);
    let file = world.path("token");
    std::fs::write(&file, OFFICER).unwrap();
    let over = ["--url".to_owned(), url(&service), "--token-file".to_owned(), file.to_str().unwrap().to_owned()];
    let over = Asked { world: &world, place: over.to_vec() };
    let beside = Asked { world: &world, place: vec!["--data".to_owned(), world.data().to_str().unwrap().to_owned()] };
    let json = |asked: &Asked<'_>, subject: &str| -> Value {
        serde_json::from_str(&asked.ends(&["show", subject, "--json"], 0)).unwrap()
    };

    let notice = json!({ "version": "2026-01", "language": "en" });
    service.state(&[json!({ "subject": SUBJECT, "purposes": { "analytics": "given" }, "notice": notice })]);
    let (mut asked, read) = (json(&over, SUBJECT), json(&beside, SUBJECT));
    assert_eq!((&read["held"], &read["pending"], &read["epochs"][0]["record"]), (&json!(1), &json!(1), &Value::Null));
    // The folder has no consent record: the fleet's documents say who answers for the data.
    assert!(asked["epochs"][0]["record"].is_object(), "{asked}");
    asked["epochs"][0]["record"] = Value::Null;
    assert_eq!(asked, read);
    assert_eq!(over.ends(&["show", SUBJECT], 0), beside.ends(&["show", SUBJECT], 0));

    let nothing = "nothing is held about this subject";
    assert_eq!(json(&over, "nobody"), json(&beside, "nobody"));
    for (name, asked) in [("over", &over), ("beside", &beside)] {
        assert_eq!(asked.ends(&["show", "nobody"], 0).trim(), nothing);
        let bundle = world.path(name);
        assert!(asked.ends(&["export", bundle.to_str().unwrap(), "--subject", "nobody"], 0).contains(nothing));
    }
    assert!(over.ends(&["verify", "--subject", "nobody"], 5).contains("shows no proof of that"));
    beside.ends(&["verify", "--subject", "nobody"], 0);
}

#[test]
fn a_query_says_which_function_there_is_not_and_where_to_look() {
    let world = world();
    drop(world.serve());
    let beside = Asked { world: &world, place: vec!["--data".to_owned(), world.data().to_str().unwrap().to_owned()] };
    for query in ["select substr('abc', 1, 2)", "select substring('abc' from 1 for 2)"] {
        let said = beside.ends(&["query", query], 2);
        assert!(said.contains("no SUBSTR") && said.contains("SHOW FUNCTIONS"), "{said}");
        assert!(!said.contains("DataFusion") && !said.contains("feature"), "{said}");
    }
    let said = beside.ends(&["query", "show functions", "--format", "csv"], 0);
    for name in ["split_part", "regexp_replace", "regexp_match"] {
        assert!(said.contains(name), "{name} is not listed");
    }
    let query = "select split_part('a-b', '-', 2) b, regexp_replace('abc', '^(..).*$', '\\1') c, \
                 array_to_string(regexp_match('abc', '^..'), '') d";
    assert!(beside.ends(&["query", query, "--format", "csv"], 0).contains("b,ab,ab"));
}

/// Values of the first row, in the order of their columns.
fn fields(shown: &Value) -> Value {
    let rows = shown["rows"].as_array().unwrap().iter().filter(|row| row["row"] == 1);
    let mut fields: Vec<_> = rows.map(|row| (row["field"].as_str().unwrap(), &row["value"])).collect();
    fields.sort_unstable_by_key(|(name, _)| *name);
    fields.into_iter().map(|(_, value)| value.clone()).collect()
}

/// The double of one row.
fn first(file: &Path, column: &str, row: usize) -> f64 {
    let mut reader = ParquetRecordBatchReaderBuilder::try_new(File::open(file).unwrap()).unwrap().build().unwrap();
    let batch = reader.next().unwrap().unwrap();
    batch.column_by_name(column).unwrap().as_primitive::<Float64Type>().value(row)
}
