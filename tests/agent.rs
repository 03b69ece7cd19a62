//! A device at the command line: its identity on disk, consent, sending, receipts, and what it sees of itself at the service.

use std::fs::File;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::Output;
use std::sync::Arc;

use arrow_array::cast::AsArray;
use arrow_array::{RecordBatch, StringArray};
use arrow_select::concat::concat_batches;
use parquet::arrow::ArrowWriter;
use parquet::arrow::arrow_reader::ParquetRecordBatchReaderBuilder;
use parquet::file::properties::WriterProperties;
use serde_json::{Value, json};

use crate::signer::FLEET;
use crate::world::{OFFICER, PURPOSES, Service, Start, World, workspace};

/// A device of a world: its state folder.
pub(crate) struct Device<'a> {
    world: &'a World,
    pub(crate) state: PathBuf,
}

impl<'a> Device<'a> {
    pub(crate) fn of(world: &'a World, name: &str) -> Self {
        Self { world, state: world.path(name) }
    }

    /// One with an identity; its 24 words.
    pub(crate) fn new(world: &'a World, name: &str) -> (Self, String) {
        let device = Self::of(world, name);
        let made = device.done(&["identity", "new", FLEET, "--show-phrase"]);
        (device, made["phrase"].as_str().unwrap().to_owned())
    }

    pub(crate) fn run(&self, arguments: &[&str]) -> Output {
        self.fed(arguments, &[])
    }

    pub(crate) fn fed(&self, arguments: &[&str], input: &[u8]) -> Output {
        let state = self.state.to_str().unwrap();
        self.world.candor_fed(&[&["agent"], arguments, &["--json", "--state", state]].concat(), input)
    }

    /// The answer of a command that must succeed.
    pub(crate) fn done(&self, arguments: &[&str]) -> Value {
        json_of(&self.run(arguments), 0)
    }

    /// The answer of one that talks to a service.
    pub(crate) fn at(&self, service: &Service, arguments: &[&str], code: i32) -> Value {
        let (url, token) = (url(service), self.token());
        let mut all = arguments.to_vec();
        all.extend(["--url", &url]);
        if !matches!(arguments, ["receipts", "check", ..] | ["identity", "recover", ..]) {
            all.extend(["--token-file", &token]);
        }
        json_of(&self.run(&all), code)
    }

    pub(crate) fn token(&self) -> String {
        self.world.fleet().join("tokens/agents.token").to_str().unwrap().to_owned()
    }

    /// Gives consent to everything, and tells the service.
    pub(crate) fn consents(&self, service: &Service) -> Value {
        let states = ["diagnostics=given", "analytics=given", "marketing=given"];
        let more = ["--notice", "2026-01", "--language", "de", "--age-from", "30"];
        self.at(service, &[&["consent", "set"], &states[..], &more[..]].concat(), 0)
    }

    /// Sends events of a phone in Germany.
    pub(crate) fn sends(&self, service: &Service, events: u32, code: i32) -> Value {
        let path = self.world.path("events.jsonl");
        std::fs::write(&path, lines(events)).unwrap();
        self.at(service, &["send", path.to_str().unwrap()], code)
    }

    pub(crate) fn identity(&self) -> PathBuf {
        self.state.join("identity.toml")
    }

    fn mode(&self, name: &str) -> u32 {
        std::fs::metadata(self.state.join(name)).unwrap().permissions().mode() & 0o777
    }
}

/// The seeds' fleet with a source whose devices sign.
pub(crate) fn world() -> World {
    let world = World::new();
    world.sign();
    world
}

pub(crate) fn url(service: &Service) -> String {
    format!("http://{}", service.address())
}

pub(crate) fn lines(events: u32) -> String {
    let event = |number: u32| {
        json!({
            "time": "2026-11-16T00:19:20Z", "event": "phone.app.opened",
            "resource": { "region": "DE", "device.model.name": "P14", "gpc": false },
            "attributes": { "app.package": format!("org.example.app{number}"), "screen": "home" },
        })
    };
    (0..events).map(|number| event(number).to_string() + "\n").collect()
}

#[track_caller]
pub(crate) fn json_of(output: &Output, code: i32) -> Value {
    let (out, err) = (text(&output.stdout), text(&output.stderr));
    assert_eq!(output.status.code(), Some(code), "{out}{err}");
    serde_json::from_str(&out).unwrap_or_else(|e| panic!("{e}: {out}{err}"))
}

pub(crate) fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

/// Every byte of every file below a folder.
fn bytes_below(folder: &Path) -> Vec<u8> {
    let mut bytes = Vec::new();
    for entry in std::fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        bytes.extend(if path.is_dir() { bytes_below(&path) } else { std::fs::read(&path).unwrap() });
    }
    bytes
}

fn has(bytes: &[u8], part: &str) -> bool {
    bytes.windows(part.len()).any(|window| window == part.as_bytes())
}

fn seed_of(device: &Device<'_>) -> String {
    let text = std::fs::read_to_string(device.identity()).unwrap();
    let line = text.lines().find_map(|line| line.strip_prefix("seed = ")).expect("a seed");
    line.trim_matches('"').to_owned()
}

#[test]
fn an_identity_is_its_owners_alone_and_is_shown_without_its_secret() {
    let world = World::new();
    let device = Device::of(&world, "device");
    let missing = device.run(&["identity", "show"]);
    assert_eq!(missing.status.code(), Some(78), "{}", text(&missing.stderr));

    let made = device.run(&["identity", "new", FLEET]);
    let shown = json_of(&made, 0);
    assert_eq!((device.mode("identity.toml"), device.mode("."), device.mode("state.toml")), (0o600, 0o700, 0o600));
    let seed = seed_of(&device);
    assert!(seed.len() == 64 && shown["phrase"].is_null() && !text(&made.stdout).contains(&seed), "{shown}");
    assert_eq!((&shown["fleet"], &shown["epoch"], text(&made.stderr)), (&json!(FLEET), &json!(0), String::new()));
    assert_eq!(device.done(&["identity", "show"])["subject"], shown["subject"]);

    let again = device.run(&["identity", "new", FLEET]);
    assert_eq!(again.status.code(), Some(78), "{}", text(&again.stderr));
    assert_eq!(seed_of(&device), seed, "it is the same as before");

    std::fs::set_permissions(device.identity(), PermissionsExt::from_mode(0o644)).unwrap();
    let refused = device.run(&["identity", "show"]);
    assert_eq!(refused.status.code(), Some(78));
    assert!(text(&refused.stderr).contains("chmod 600"), "{}", text(&refused.stderr));
    // Elsewhere its group may have it, as service managers hand credentials over; others may not.
    let elsewhere = world.path("identity.toml");
    std::fs::rename(device.identity(), &elsewhere).unwrap();
    let show = ["identity", "show", "--identity", elsewhere.to_str().unwrap()];
    assert!(text(&device.run(&show).stderr).contains("chmod 600"));
    std::fs::set_permissions(&elsewhere, PermissionsExt::from_mode(0o440)).unwrap();
    assert_eq!(device.done(&show)["subject"], shown["subject"]);
}

#[test]
fn words_are_shown_once_and_never_repeated() {
    let world = World::new();
    let device = Device::of(&world, "device");
    let made = device.run(&["identity", "new", FLEET, "--show-phrase"]);
    let phrase = json_of(&made, 0)["phrase"].as_str().unwrap().to_owned();
    assert_eq!(phrase.split(' ').count(), 24);
    assert!(text(&made.stderr).contains("warning"), "{}", text(&made.stderr));
    assert!(!has(&bytes_below(&device.state), &phrase), "the words are on disk");
    let shown = text(&device.run(&["identity", "show"]).stdout);
    assert!(!shown.contains(&phrase) && !shown.contains(&seed_of(&device)));

    let other = Device::of(&world, "other");
    let swapped: Vec<&str> = phrase.split(' ').rev().collect();
    for wrong in [swapped.join(" "), "secretly ".repeat(24), "abandon".to_owned(), String::new()] {
        let arguments = ["identity", "recover", FLEET, "--url", "http://127.0.0.1:1"];
        let refused = other.fed(&arguments, wrong.as_bytes());
        let said = text(&refused.stderr);
        assert_eq!(refused.status.code(), Some(2), "{said}");
        assert!(!said.contains("secretly") && !said.contains("abandon") && !said.contains(&swapped[..2].join(" ")));
        assert!(!other.identity().exists());
    }
}

#[test]
fn a_new_owner_inherits_nothing() {
    let world = world();
    let (device, _) = Device::new(&world, "device");
    let seed = seed_of(&device);
    let before = device.done(&["identity", "show"]);
    device.done(&["consent", "set", "analytics=given", "--notice", "2026-01"]);
    let path = world.path("events.jsonl");
    std::fs::write(&path, lines(40)).unwrap();
    let arguments = ["send", path.to_str().unwrap(), "--patience", "0", "--token-file", &device.token()];
    let sent = json_of(&device.run(&[&arguments[..], &["--url", "http://127.0.0.1:1"]].concat()), 1);
    assert_eq!((&sent["rows"][1]["spooled"], &sent["balances"]), (&json!(40), &json!(true)), "{sent}");
    let waits = || std::fs::read_dir(device.state.join("spool")).unwrap().count();
    assert!(waits() > 0);
    assert!(!has(&bytes_below(&device.state), "org.example.app7"), "the spool is readable");

    let after = device.done(&["identity", "transfer"]);
    assert_eq!(after["before"], json!({ "taken": 40, "acknowledged": 0, "dropped": { "transferred": 40 } }));
    assert_ne!((&after["subject"], seed_of(&device)), (&before["subject"], seed.clone()));
    assert_eq!((&after["taken"], &after["consent"], &after["receipts"]), (&json!(0), &json!(null), &json!(0)));
    assert_eq!(waits(), 0);
    // What was stated and the last statement are still to be delivered: the old seed signs that, and nothing else.
    let leaving = std::fs::read_to_string(device.state.join("leaving.toml")).unwrap();
    assert!(leaving.contains(&seed) && leaving.contains("closes") && after["leaving"] == json!(2), "{after}");
    std::fs::remove_file(device.state.join("leaving.toml")).unwrap();
    assert!(!has(&bytes_below(&device.state), &seed), "the old seed is still there");
}

/// Rows that a device's receipts say are stored, over all purposes.
fn receipted(device: &Device<'_>) -> u64 {
    let list = device.done(&["receipts", "list"]);
    let rows = list["rows"].as_array().unwrap().iter();
    rows.filter_map(|row| row["stored"].as_object()).flat_map(|stored| stored.values()).filter_map(Value::as_u64).sum()
}

fn held(world: &World, identity: &Path, more: &[&str]) -> Value {
    let identity = identity.to_str().unwrap();
    json_of(&world.candor(&[&["audit", "show", "--identity", identity, "--json"], more].concat()), 0)
}

#[test]
fn what_is_sent_is_receipted_checked_and_shown() {
    let world = world();
    let service = world.serve();
    let (device, _) = Device::new(&world, "device");
    assert_eq!(device.consents(&service)["delivered"], json!(true));
    let sent = device.sends(&service, 60, 0);
    assert_eq!((&sent["read"], &sent["delivered"], &sent["balances"]), (&json!(60), &json!(true), &json!(true)));
    for row in sent["rows"].as_array().unwrap() {
        assert_eq!(
            (&row["sent"], &row["acknowledged"], &row["spooled"]),
            (&json!(60), &json!(60), &json!(0)),
            "{sent}"
        );
    }
    let stored = receipted(&device);
    assert!(stored > 60, "{stored} rows are receipted");
    assert_eq!(world.account().iter().map(|(_, stored)| stored).sum::<u64>(), stored);

    let url = url(&service);
    for sealed in [false, true] {
        let check = device.at(&service, &["receipts", "check"], 0);
        let facts = ["holds", "receipts", "stored"].map(|key| check[key].clone());
        assert_eq!(facts, [json!(true), json!(1), json!(stored)], "sealed: {sealed}: {check}");
        let asked = held(&world, &device.identity(), &["--url", &url]);
        let read = held(&world, &device.identity(), &["--data", world.data().to_str().unwrap()]);
        assert_eq!((&asked["held"], &asked["rows"]), (&json!(stored), &read["rows"]));
        assert_eq!(asked["pending"], json!(if sealed { 0 } else { stored }), "{asked}");
        let epoch = &asked["epochs"][0];
        assert_eq!((&epoch["statements"][0]["own"], asked["epochs"].as_array().unwrap().len()), (&json!(true), 1));
        let purposes = epoch["purposes"].as_array().unwrap().iter();
        assert!(purposes.clone().all(|purpose| PURPOSES.contains(&purpose["purpose"].as_str().unwrap())), "{epoch}");
        let rows = |key: &str| purposes.clone().map(|purpose| purpose[key].as_u64().unwrap()).sum::<u64>();
        assert_eq!((rows("sealed"), rows("pending")), if sealed { (stored, 0) } else { (0, stored) });
        service.flush();
    }
    // To an analyst it is a name; the device knows which.
    let shown = device.done(&["identity", "show"]);
    let name = shown["rows"].as_array().unwrap().iter().find(|row| row["purpose"] == "analytics").unwrap();
    let name = name["name_in_tables"].as_str().unwrap();
    let sql = format!("SELECT count(*) FROM analytics.\"phone.app\" WHERE subject = '{name}'");
    assert_eq!(world.count(&sql), 60);
    assert!(service.stop().success());
    let code = device.run(&["receipts", "check", "--url", &url]).status.code();
    assert_eq!(code, Some(5), "nobody could be asked");
}

#[test]
fn a_withdrawal_reaches_the_service_and_what_waits() {
    let world = world();
    let service = world.serve();
    let (device, _) = Device::new(&world, "device");
    device.consents(&service);
    device.sends(&service, 5, 0);
    let stored = receipted(&device);
    device.done(&["identity", "rotate"]);
    device.sends(&service, 5, 0);
    assert_eq!(receipted(&device), 2 * stored);
    let asked = held(&world, &device.identity(), &["--url", &url(&service)]);
    assert_eq!((asked["epochs"].as_array().unwrap().len(), &asked["held"]), (2, &json!(2 * stored)));

    let withdrawn = device.at(&service, &["consent", "set", "--withdraw-all"], 0);
    let states = withdrawn["rows"].as_array().unwrap();
    assert!(states.iter().all(|row| row["state"] == "withdrawn") && states.len() == 3, "{withdrawn}");
    let sent = device.sends(&service, 7, 0);
    assert_eq!(sent["rows"][0]["reasons"], json!({ "no_consent": 7 }), "{sent}");
    assert_eq!((receipted(&device), &sent["balances"]), (2 * stored, &json!(true)));
    let shown = device.done(&["consent", "show"]);
    assert_eq!((&shown["delivered"], &shown["statement"]["sequence"]), (&json!(true), &json!(2)));
    let asked = held(&world, &device.identity(), &["--url", &url(&service)]);
    for epoch in asked["epochs"].as_array().unwrap() {
        let statements = epoch["statements"].as_array().unwrap();
        assert_eq!(statements.last().unwrap()["purposes"]["analytics"], "withdrawn", "{epoch}");
    }
}

#[test]
fn a_mistyped_purpose_holds_up_no_withdrawal_and_can_be_taken_back() {
    let world = world();
    let service = world.serve();
    let (device, _) = Device::new(&world, "device");
    device.consents(&service);
    // That of a name which is not declared nothing may be stored is as well.
    device.at(&service, &["consent", "set", "analitics=refused"], 0);
    let refused = device.at(&service, &["consent", "set", "marketng=given"], 1);
    let why = refused["stopped"].as_str().unwrap();
    assert!(why.contains("one that the policy declares") && why.contains("analytics"), "{refused}");
    let shown = device.done(&["consent", "show"]);
    assert!(why.ends_with(shown["refusals"][0]["message"].as_str().unwrap()), "{shown}");
    device.at(&service, &["consent", "set", "marketng=unknown"], 0);
    device.at(&service, &["consent", "set", "marketng=given"], 1);
    device.at(&service, &["consent", "set", "--withdraw-all"], 0);
    let held = held(&world, &device.identity(), &["--url", &url(&service)]);
    for epoch in held["epochs"].as_array().unwrap() {
        let last = epoch["statements"].as_array().unwrap().last().unwrap();
        assert_eq!(last["purposes"]["analytics"], "withdrawn", "{last}");
    }
}

#[test]
fn what_waits_goes_out_later_and_a_bad_line_is_counted() {
    let world = world();
    let service = world.serve();
    let (device, _) = Device::new(&world, "device");
    device.done(&["consent", "set", "diagnostics=given", "analytics=given", "--notice", "2026-01", "--age-from", "30"]);
    let path = world.path("events.jsonl");
    std::fs::write(&path, lines(10)).unwrap();
    let nowhere = ["--url", "http://127.0.0.1:1", "--token-file", &device.token(), "--patience", "0"];
    let away = json_of(&device.run(&[&["send", path.to_str().unwrap()], &nowhere[..]].concat()), 1);
    assert_eq!((&away["rows"][0]["spooled"], &away["delivered"]), (&json!(10), &json!(false)), "{away}");

    let url = url(&service);
    let there = ["send", "--url", &url, "--token-file", &device.token()];
    let broken = device.fed(&there, format!("{}\n{{\"secret\":1}}\n{}", lines(2), lines(1)).as_bytes());
    let (out, err) = (text(&broken.stdout), text(&broken.stderr));
    assert_eq!(broken.status.code(), Some(1), "{out}{err}");
    assert!(err.contains("line 4") && err.contains("1 such line was passed over") && !err.contains("secret"), "{err}");
    let sent: Value = serde_json::from_str(&out).unwrap();
    let now = ["sent", "acknowledged", "spooled"].map(|key| sent["rows"][0][key].clone());
    assert_eq!((now, &sent["delivered"]), ([json!(14), json!(13), json!(0)], &json!(true)), "{sent}");
    assert_eq!(sent["rows"][0]["reasons"], json!({ "bad_line": 1 }), "{sent}");
    device.at(&service, &["receipts", "check"], 0);
}

#[test]
fn a_device_that_is_lost_comes_back_from_its_words() {
    let world = world();
    let service = world.serve();
    let (lost, phrase) = Device::new(&world, "lost");
    lost.consents(&service);
    lost.sends(&service, 5, 0);
    let stored = receipted(&lost);
    let found = Device::of(&world, "found");
    let recover = ["identity", "recover", FLEET, "--url", &url(&service)];
    let words = phrase.replace(' ', "\n");
    let recovered = json_of(&found.fed(&recover, words.as_bytes()), 0);
    let before = lost.done(&["identity", "show"]);
    assert_eq!(
        (&recovered["subject"], recovered["consent"]["sequence"].as_i64()),
        (&before["subject"], Some((1 << 32) + 1))
    );
    found.sends(&service, 5, 0);
    let asked = held(&world, &found.identity(), &["--url", &url(&service)]);
    assert_eq!(asked["held"], json!(2 * stored));
    let check = found.at(&service, &["receipts", "check"], 0);
    let facts = ["receipts", "inherited", "stored"].map(|key| check[key].clone());
    assert_eq!(facts, [json!(1), json!(1), json!(2 * stored)], "{check}");
    let again = found.fed(&recover, words.as_bytes());
    assert_eq!(again.status.code(), Some(78), "it has an identity: {}", text(&again.stderr));
    let other = Device::of(&world, "other");
    let file = world.path("words");
    std::fs::write(&file, &phrase).unwrap();
    let from_file = [&recover[..], &["--phrase-file", file.to_str().unwrap()]].concat();
    assert_eq!(json_of(&other.run(&from_file), 0)["subject"], before["subject"]);
}

#[test]
fn a_new_owner_is_another_subject_and_the_old_key_is_closed() {
    let world = world();
    let service = world.serve();
    let (device, _) = Device::new(&world, "device");
    device.consents(&service);
    device.sends(&service, 5, 0);
    let old = world.path("old.toml");
    std::fs::copy(device.identity(), &old).unwrap();
    let seed = seed_of(&device);
    let after = device.at(&service, &["identity", "transfer"], 0);
    assert_eq!((&after["delivered"], &after["leaving"]), (&json!(true), &json!(0)), "{after}");
    assert_eq!(after["before"]["acknowledged"], json!(5));
    assert!(!has(&bytes_below(&device.state), &seed), "the old seed is still there");
    let asked = held(&world, &old, &["--url", &url(&service)]);
    let last = asked["epochs"][0]["statements"].as_array().unwrap().last().unwrap();
    assert_eq!((&last["signed"]["closes"], &last["purposes"]["analytics"]), (&json!(true), &json!("withdrawn")));
    device.consents(&service);
    assert_eq!(device.sends(&service, 5, 0)["rows"][1]["acknowledged"], json!(5));
    let new = held(&world, &device.identity(), &["--url", &url(&service)]);
    assert!(new["held"].as_u64() > Some(0) && new["epochs"][0]["subject"] != asked["epochs"][0]["subject"]);
}

#[test]
fn a_service_that_wants_to_be_asked_slowly_is_asked_slowly() {
    let world = world();
    let environment = [("CANDOR_LIMITS_SUBJECT_REQUESTS_PER_SECOND", "2")];
    let service = world.start(&Start { environment: &environment, ..Start::default() }).unwrap();
    let (device, phrase) = Device::new(&world, "device");
    device.consents(&service);
    for _ in 0..3 {
        device.sends(&service, 2, 0);
        device.done(&["identity", "rotate"]);
    }
    let check = device.at(&service, &["receipts", "check"], 0);
    assert_eq!((&check["receipts"], &check["holds"]), (&json!(3), &json!(true)));
    let asked = held(&world, &device.identity(), &["--url", &url(&service)]);
    assert_eq!(asked["epochs"].as_array().unwrap().len(), 3, "{asked}");
    let found = Device::of(&world, "found");
    let recover = ["identity", "recover", FLEET, "--url", &url(&service)];
    assert_eq!(json_of(&found.fed(&recover, phrase.as_bytes()), 0)["epoch"], json!(2));
}

/// What somebody with access to the disk does to the rows of a table's file.
type Change = fn(&RecordBatch) -> RecordBatch;

/// One row more, one less, one other.
const CHANGES: [(&str, Change); 3] = [
    ("added", |rows| concat_batches(&rows.schema(), [rows, &rows.slice(0, 1)]).unwrap()),
    ("dropped", |rows| rows.slice(1, rows.num_rows() - 1)),
    ("changed", |rows| with_other_app(rows)),
];

fn with_other_app(rows: &RecordBatch) -> RecordBatch {
    let at = rows.schema().index_of("app_package").unwrap();
    let apps = rows.column(at).as_string::<i32>();
    let apps: StringArray =
        apps.iter().enumerate().map(|(row, app)| if row == 0 { Some("org.other") } else { app }).collect();
    let mut columns = rows.columns().to_vec();
    columns[at] = Arc::new(apps);
    RecordBatch::try_new(rows.schema(), columns).unwrap()
}

/// Writes a table's file anew, and its size and rows into the table's log: whoever changes rows can do that too.
fn rewrite(path: &Path, change: Change) {
    let reader = ParquetRecordBatchReaderBuilder::try_new(File::open(path).unwrap()).unwrap();
    let about = reader.metadata().file_metadata().key_value_metadata().cloned();
    let batches: Vec<RecordBatch> = reader.build().unwrap().map(Result::unwrap).collect();
    let rows = change(&concat_batches(&batches[0].schema(), &batches).unwrap());
    let (before, size) =
        (batches.iter().map(RecordBatch::num_rows).sum::<usize>(), std::fs::metadata(path).unwrap().len());
    let properties = WriterProperties::builder().set_key_value_metadata(about).build();
    let mut writer = ArrowWriter::try_new(File::create(path).unwrap(), rows.schema(), Some(properties)).unwrap();
    writer.write(&rows).unwrap();
    writer.close().unwrap();
    let log = path.parent().and_then(Path::parent).unwrap().join("_delta_log/00000000000000000001.json");
    let text = std::fs::read_to_string(&log).unwrap();
    let sized =
        text.replace(&format!("\"size\":{size}"), &format!("\"size\":{}", std::fs::metadata(path).unwrap().len()));
    let counted = sized.replace(&format!("numRecords\\\":{before}"), &format!("numRecords\\\":{}", rows.num_rows()));
    assert_ne!(sized, text);
    std::fs::write(log, counted).unwrap();
}

#[test]
fn a_row_that_somebody_added_dropped_or_changed_is_found_with_its_batch() {
    for (name, change) in CHANGES {
        let world = world();
        let service = world.serve();
        let (device, _) = Device::new(&world, "device");
        device.consents(&service);
        for _ in 0..3 {
            device.sends(&service, 4, 0);
        }
        service.flush();
        device.at(&service, &["receipts", "check"], 0);
        assert!(service.stop().success());
        let folder = std::fs::read_dir(world.data().join("tables/analytics/phone.app")).unwrap();
        let day =
            folder.map(|entry| entry.unwrap().path()).find(|path| path.to_str().unwrap().contains("received_date"));
        let file = std::fs::read_dir(day.unwrap()).unwrap().next().unwrap().unwrap().path();
        let mut batch = 0;
        rewrite(&file, change);
        let service = world.serve();
        let check = device.at(&service, &["receipts", "check"], 4);
        let rows = check["rows"].as_array().unwrap();
        assert_eq!(rows.len(), 1, "{name}: {check}");
        for finding in rows {
            batch = finding["batch"].as_u64().unwrap();
            assert_eq!(
                (&finding["purpose"], &finding["purpose_batch"]),
                (&json!("analytics"), &json!(batch)),
                "{check}"
            );
        }
        assert!((1..=3).contains(&batch), "{name}: {check}");
        assert_eq!(check["matched"], json!(3 * 2 - 1), "{name}: {check}");
    }
}

#[test]
fn an_operator_sees_an_assigned_subject_over_the_network_and_no_device_does() {
    let world = world();
    let service = world.serve();
    service.consent(&["phone-1"], "given");
    let event = crate::otlp::Event::numbered("phone-1", 1);
    service.device().logs(&crate::otlp::encode(&[event])).unwrap().expect_status(200);
    let token = world.path("token");
    std::fs::write(&token, OFFICER).unwrap();
    let url = url(&service);
    let ask = |token: &Path| {
        world.candor(&["audit", "show", "phone-1", "--url", &url, "--token-file", token.to_str().unwrap(), "--json"])
    };
    let over = json_of(&ask(&token), 0);
    let beside = world.json(&["audit", "show", "phone-1"]);
    assert_eq!((&over["held"], over["held"].as_u64() > Some(0)), (&beside["held"], true), "{over}");
    assert_eq!(over["epochs"][0]["statements"][0]["asserted_by"], "controller");
    assert_eq!(ask(&world.fleet().join("tokens/agents.token")).status.code(), Some(1));
}

#[test]
fn the_page_for_operators_shows_what_a_device_prints() {
    let world = world();
    let service = world.serve();
    let folder = world.path("home");
    std::fs::create_dir(&folder).unwrap();
    let (url, token) = (url(&service), world.fleet().join("tokens/agents.token"));
    let settings = format!("url = \"{url}\"\ntoken_file = \"{}\"\nstate = \"candor-state\"\n", token.display());
    std::fs::write(folder.join("candor.toml"), settings).unwrap();
    let sample = std::fs::read_to_string(workspace().join("seeds/events/sample.jsonl")).unwrap();
    let first: Vec<&str> = sample.lines().take(2).collect();
    std::fs::write(folder.join("events.jsonl"), first.join("\n")).unwrap();

    let page = std::fs::read_to_string(workspace().join("docs/OPERATING.md")).unwrap();
    let (_, section) = page.split_once("\n## Devices that sign\n").expect("the section");
    let section = section.split("\n## ").next().unwrap();
    let mut commands = 0;
    for block in section.split("```console\n").skip(1) {
        let block = block.split("```").next().unwrap();
        for shown in format!("\n{block}").split("\n$ candor ").skip(1) {
            let (words, shown) = shown.split_once('\n').unwrap();
            let output = world.candor_in(&folder, &words.split(' ').collect::<Vec<_>>());
            let printed = text(&output.stdout);
            assert!(output.status.success(), "candor {words}: {printed}{}", text(&output.stderr));
            assert_eq!(masked(shown), masked(&printed), "candor {words} prints\n{printed}");
            commands += 1;
        }
    }
    assert_eq!(commands, 9, "the section has other commands");
}

/// Without what differs from run to run: keys, hashes, times, the length of an epoch, and the widths that follow from them.
fn masked(screen: &str) -> String {
    let is_key = |word: &str| word.len() == 43 || word.len() >= 32 && word.bytes().all(|byte| byte.is_ascii_hexdigit());
    let mask = |line: &str| {
        let mut words: Vec<&str> = line.split_whitespace().collect();
        for at in 0..words.len() {
            let word = words[at].trim_end_matches(',');
            let is_date = word.len() >= 10 && word.starts_with("20") && word.as_bytes()[4] == b'-';
            let is_days = words.get(at + 1) == Some(&"days");
            if is_key(word) || is_days || is_date && word.as_bytes()[7] == b'-' || word.starts_with('─') {
                words[at] = "…";
            }
        }
        words.join(" ")
    };
    screen.trim().lines().map(|line| mask(line) + "\n").collect()
}
