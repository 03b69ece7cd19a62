//! For those who run it: the service manager is told, secrets come as credentials, and `top`, `doctor` and answers in
//! every format say what is there.

use std::os::unix::fs::PermissionsExt;
use std::os::unix::net::UnixDatagram;
use std::path::Path;
use std::time::{Duration, Instant};

use arrow_array::RecordBatch;
use parquet::arrow::arrow_reader::ParquetRecordBatchReaderBuilder;
use serde_json::{Value, json};

use crate::otlp::{Event, encode};
use crate::world::{Service, Start, World, workspace};

fn send(service: &Service, device: &str, numbers: std::ops::Range<u64>) {
    let events: Vec<Event> = numbers.map(|number| Event::numbered(device, number)).collect();
    service.device().logs(&encode(&events)).unwrap().expect_status(200);
}

#[test]
fn the_service_manager_is_told_of_start_life_and_stop() {
    let world = World::new();
    let path = world.path("notify");
    let manager = UnixDatagram::bind(&path).unwrap();
    manager.set_read_timeout(Some(Duration::from_secs(30))).unwrap();
    let environment = [("NOTIFY_SOCKET", path.to_str().unwrap()), ("WATCHDOG_USEC", "200000")];
    let service = world.start(&Start { environment: &environment, ..Start::default() }).unwrap();
    let heard = |wanted: &str| {
        let mut all = String::new();
        let started = Instant::now();
        while started.elapsed() < Duration::from_secs(30) {
            let mut buffer = [0; 4096];
            let length = manager.recv(&mut buffer).unwrap_or_else(|e| panic!("{wanted}: {e}, heard {all}"));
            let text = String::from_utf8_lossy(&buffer[..length]).into_owned();
            all.push_str(&text);
            if text.contains(wanted) {
                return text;
            }
        }
        panic!("{wanted} was not said: {all}")
    };
    assert!(heard("READY=1").contains(&format!("STATUS=taking requests on http://{}", service.address())));
    heard("WATCHDOG=1");
    heard("WATCHDOG=1");
    assert!(service.stop().success());
    heard("STOPPING=1");
}

#[test]
fn tokens_and_keys_may_be_credentials() {
    let world = World::new();
    let credentials = world.path("credentials");
    std::fs::create_dir(&credentials).unwrap();
    // The ring of a first start, kept elsewhere from then on.
    assert!(world.serve().stop().success());
    let own = world.data().join("keys/ring.toml");
    std::fs::rename(&own, credentials.join("ring.toml")).unwrap();
    std::fs::rename(world.fleet().join("tokens/devices.token"), credentials.join("devices.token")).unwrap();
    world.edit("sources.toml", |text| text.replace("tokens/devices.token", "$CREDENTIALS_DIRECTORY/devices.token"));

    let ended = world.start(&Start::default()).err().expect("it has no credentials");
    assert!(ended.contains("LoadCredential") && ended.contains("sources.toml:5"), "{ended}");
    let environment = [
        ("CREDENTIALS_DIRECTORY", credentials.to_str().unwrap()),
        ("CANDOR_STORE_KEY_RING", "$CREDENTIALS_DIRECTORY/ring.toml"),
    ];
    let service = world.start(&Start { environment: &environment, ..Start::default() }).unwrap();
    service.consent(&["phone-1"], "given");
    send(&service, "phone-1", 0..3);
    assert!(service.stop().success());
    assert!(!own.exists(), "a ring was made in the data folder");
    let data = world.data();
    let show = ["audit", "show", "phone-1", "--data", data.to_str().unwrap(), "--json"];
    let output = world.candor_with(&show, &environment);
    let held: Value = serde_json::from_slice(&output.stdout).expect("an answer");
    assert!(held["held"].as_u64().unwrap() >= 3, "{held}");
    let without = world.candor(&show);
    assert_eq!(without.status.code(), Some(78), "{}", String::from_utf8_lossy(&without.stderr));
}

#[test]
fn a_key_that_the_policy_names_is_made_or_the_service_does_not_start() {
    let world = World::new();
    assert!(world.serve().stop().success());
    let (own, elsewhere) = (world.data().join("keys/ring.toml"), world.path("ring.toml"));
    world.edit("policy.toml", |text| text.replace(r#"key = "marketing""#, r#"key = "offers""#));
    std::fs::copy(&own, &elsewhere).unwrap();
    let environment = [("CANDOR_STORE_KEY_RING", elsewhere.to_str().unwrap())];
    let ended = world.start(&Start { environment: &environment, ..Start::default() });
    let ended = ended.err().expect("a ring that is kept elsewhere is not changed");
    assert!(ended.contains("has no key `offers`, which the policy names"), "{ended}");
    assert!(world.serve().stop().success());
    assert!(std::fs::read_to_string(&own).unwrap().contains("[named.offers]"));
    assert!(!std::fs::read_to_string(&elsewhere).unwrap().contains("offers"));
}

#[test]
fn top_measures_what_comes_in() {
    let world = World::new();
    let service = world.serve();
    service.consent(&["phone-1"], "given");
    send(&service, "phone-1", 0..5);
    send(&service, "phone-unknown", 5..7);
    let url = format!("http://{}", service.address());
    let arguments = ["top", "--url", &url, "--interval", "1", "--json"];
    let watching = std::thread::scope(|scope| {
        let watching = scope.spawn(|| world.candor(&arguments));
        // It measures one second from its start: something must come in that time.
        let mut next = 100;
        while !watching.is_finished() {
            send(&service, "phone-1", next..next + 2);
            next += 2;
            std::thread::sleep(Duration::from_millis(20));
        }
        watching.join().unwrap()
    });
    assert!(watching.status.success(), "{}", String::from_utf8_lossy(&watching.stderr));
    let figures: Value = serde_json::from_slice(&watching.stdout).unwrap();
    assert_eq!((&figures["kind"], &figures["schema_version"]), (&json!("top"), &json!(1)));
    let rows = figures["rows"].as_array().unwrap();
    let analytics = rows.iter().find(|row| row["purpose"] == "analytics").expect("a row of analytics");
    assert_eq!(analytics["source"], "devices");
    assert!(analytics["stored_per_second"].as_f64().unwrap() > 1.0, "{analytics}");
    assert_eq!(analytics["reasons"]["no_consent"], 2, "{analytics}");
    let sum = |key: &str| analytics[key].as_u64().unwrap();
    assert_eq!(sum("offered"), sum("stored") + sum("dropped"));
    let routes = figures["routes"].as_array().unwrap();
    let logs = routes.iter().find(|route| route["route"] == "/v1/logs").expect("the route");
    assert!(logs["p99_below_seconds"].as_f64().unwrap() > 0.0, "{logs}");
    assert!(figures["store"]["segments"].as_u64().unwrap() >= 1);

    let once = world.candor(&["top", "--url", &url, "--interval", "1"]);
    let text = String::from_utf8(once.stdout).unwrap();
    assert!(text.contains("flush lag") && text.contains("no_consent 2") && !text.contains('\u{1b}'), "{text}");
    assert!(service.stop().success());
    let gone = world.candor(&["top", "--url", &url, "--json"]);
    assert_eq!(gone.status.code(), Some(1));
    let error: Value = serde_json::from_slice(&gone.stderr).unwrap();
    assert_eq!(error["error"]["kind"], "failed");
}

#[test]
fn doctor_finds_nothing_where_nothing_is_wrong_and_what_is() {
    let world = World::new();
    let service = world.serve();
    let (fleet, data) = (world.fleet(), world.data());
    let url = format!("http://{}", service.address());
    let mut arguments = vec!["doctor", "--fleet", fleet.to_str().unwrap(), "--data", data.to_str().unwrap()];
    arguments.extend(["--json", "--url", &url]);
    let look = || {
        let output = world.candor(&arguments);
        let report: Value = serde_json::from_slice(&output.stdout).unwrap();
        let of = |check: &str| {
            let rows = report["rows"].as_array().unwrap();
            rows.iter().find(|row| row["check"] == check).unwrap_or_else(|| panic!("{check}: {report}")).clone()
        };
        let checks = ["fleet folder", "data folder", "free space", "clock", "lock", "key ring", "ledger", "service"];
        (output.status.code(), report["failures"].as_u64(), checks.map(|check| (check, of(check))))
    };
    let (code, failures, checks) = look();
    assert_eq!((code, failures), (Some(0), Some(0)), "{checks:?}");
    assert!(checks[4].1["found"].as_str().unwrap().contains(&service.pid().to_string()), "{checks:?}");
    assert_eq!(checks[7].1["outcome"], "ok", "{checks:?}");

    assert!(service.stop().success());
    let ring = data.join("keys/ring.toml");
    std::fs::set_permissions(&ring, std::fs::Permissions::from_mode(0o644)).unwrap();
    world.edit("policy.toml", |text| text.replacen("default = \"drop\"", "default = \"keep\"", 1));
    let (code, failures, checks) = look();
    assert_eq!((code, failures), (Some(3), Some(3)), "{checks:?}");
    for (at, mend) in [(0, "candor policy check"), (5, "chmod 600"), (7, "candor serve")] {
        assert_eq!(checks[at].1["outcome"], "fail", "{checks:?}");
        assert!(checks[at].1["mend"].as_str().unwrap().contains(mend), "{checks:?}");
    }
}

#[test]
fn one_answer_in_every_format() {
    let world = World::new();
    let service = world.serve();
    service.consent(&["phone-1"], "given");
    send(&service, "phone-1", 0..4);
    let data = world.data();
    let data = data.to_str().unwrap();
    let sql = "SELECT app_package, duration_ms, received_date FROM analytics.\"phone.app\" ORDER BY app_package";
    let ask = |more: &[&str]| {
        let output = world.candor(&[&["audit", "query", sql, "--data", data], more].concat());
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        output.stdout
    };
    let json: Value = serde_json::from_slice(&ask(&["--json"])).unwrap();
    assert_eq!(json["rows"].as_array().unwrap().len(), 4);
    let lines = String::from_utf8(ask(&["--format", "jsonl"])).unwrap();
    assert!(lines.lines().count() == 4 && lines.lines().all(|line| line.contains("\"schema_version\":1")));
    let csv = String::from_utf8(ask(&["--format", "csv"])).unwrap();
    assert!(csv.starts_with("app_package,duration_ms,received_date\n") && csv.lines().count() == 5, "{csv}");

    let file = world.path("rows.parquet");
    assert!(ask(&["--output", file.to_str().unwrap()]).is_empty(), "it went to the file");
    let batch = read_parquet(&file);
    assert_eq!(batch.num_rows(), 4);
    let kinds: Vec<String> = batch.schema().fields().iter().map(|field| field.data_type().to_string()).collect();
    assert_eq!(kinds, ["Utf8", "Int64", "Date32"], "columns keep their types");
    let piped = ask(&["--format", "parquet"]);
    assert_eq!(&piped[..4], b"PAR1");

    let totals = world.path("totals.parquet");
    let output = world.candor(&["audit", "totals", "--data", data, "--output", totals.to_str().unwrap()]);
    assert!(output.status.success());
    let batch = read_parquet(&totals);
    assert_eq!(batch.schema().field_with_name("offered").unwrap().data_type().to_string(), "Int64");
}

#[test]
fn a_declared_table_without_rows_is_there_and_another_is_not() {
    let world = World::new();
    let _service = world.serve();
    assert_eq!(world.count("SELECT count(*) FROM marketing.\"phone.app\""), 0);
    let data = world.data();
    let data = data.to_str().unwrap();
    let csv =
        world.candor(&["audit", "query", "SELECT * FROM analytics.\"phone.app\"", "--data", data, "--format", "csv"]);
    let header = String::from_utf8(csv.stdout).unwrap();
    assert!(header.starts_with("event,") && header.contains(",subject,batch,consent_seq,decision,"), "{header}");
    assert_eq!(header.lines().count(), 1);
    let unknown = world.candor(&["audit", "query", "SELECT * FROM analytics.nothing", "--data", data]);
    assert_eq!(unknown.status.code(), Some(2));
}

#[test]
fn a_token_that_was_a_credential_is_still_the_token() {
    let world = World::new();
    let credentials = world.path("credentials");
    std::fs::create_dir(&credentials).unwrap();
    std::fs::write(credentials.join("url.token"), "example-officer-token\n").unwrap();
    let service = world.serve();
    send(&service, "phone-1", 0..1);
    let url = format!("http://{}", service.address());
    let arguments = ["flush", "--url", &url, "--token-file", "$CREDENTIALS_DIRECTORY/url.token", "--json"];
    let done = world.candor_with(&arguments, &[("CREDENTIALS_DIRECTORY", credentials.to_str().unwrap())]);
    assert!(done.status.success(), "{}", String::from_utf8_lossy(&done.stderr));
    assert_eq!(world.candor(&arguments).status.code(), Some(78), "there are no credentials");
}

#[test]
fn the_page_for_operators_has_every_setting() {
    let world = World::new();
    let output = world.candor(&["config", "show", "--json"]);
    let settings: Value = serde_json::from_slice(&output.stdout).unwrap();
    let page = std::fs::read_to_string(workspace().join("docs/OPERATING.md")).unwrap();
    let rows = settings["rows"].as_array().unwrap();
    assert!(rows.len() > 20);
    for row in rows {
        let setting = row["setting"].as_str().unwrap();
        assert!(page.contains(&format!("`{setting}`")), "docs/OPERATING.md lacks `{setting}`");
    }
}

fn read_parquet(path: &Path) -> RecordBatch {
    let file = std::fs::File::open(path).unwrap();
    let reader = ParquetRecordBatchReaderBuilder::try_new(file).unwrap().build().unwrap();
    let batches: Vec<RecordBatch> = reader.collect::<Result<_, _>>().unwrap();
    assert_eq!(batches.len(), 1);
    batches.into_iter().next().unwrap()
}
