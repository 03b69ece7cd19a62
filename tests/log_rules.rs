//! Two readers of a log, ours and `docs/verify.py`: of the same entries they say the same, whatever is changed in them.

use std::io::Write;
use std::process::{Command, Stdio};

use candor_policy::hex;
use candor_wire::log::entry::{
    Consents, Entry, Erased, Expired, InForce, KeyChange, KeyEvent, MOST_BYTES, Sealed, Sha256Hex, Totals, Tree,
};
use candor_wire::log::live::LiveFiles;
use candor_wire::totals::Cell;
use serde_json::{Map, Value, json};

use crate::clients::python;
use crate::random::Random;
use crate::world::{figure, workspace};

const DATE: &str = "2026-11-28";
/// Logs with several changes at once.
const SEVERAL: usize = 3_000;

fn digest(n: u8) -> Sha256Hex {
    Sha256Hex([n; 32])
}

fn sealed(n: u8, rows: u64, replaces: &[u64], removed: u64) -> Entry {
    Entry::Sealed(Sealed {
        table: "analytics/phone.app".to_owned(),
        path: format!("received_date={DATE}/part-{n}.parquet"),
        file: digest(n),
        size: 4_096,
        root: digest(n),
        rows,
        subjects: 1,
        received_date: DATE.to_owned(),
        policy: digest(1),
        catalogue: digest(2),
        replaces: replaces.to_vec(),
        removed: (!replaces.is_empty()).then_some(removed),
    })
}

fn key(usage: &str, generation: u64, event: KeyEvent) -> Entry {
    let key = matches!(usage, "log" | "receipts").then(|| "candor/ä\u{7f}+00000000+AA\u{1}\n".to_owned());
    Entry::Key(KeyChange { usage: usage.to_owned(), generation, event, key, at: -5 })
}

fn totals(epoch: u64, part: u64, parts: u64, sources: &[&str]) -> Entry {
    let cell = |source: &&str| Cell {
        source: (*source).to_owned(),
        stream: String::new(),
        purpose: "analytics".to_owned(),
        dropped: [("no_consent".to_owned(), 2)].into(),
        offered: 5,
        stored: 3,
    };
    let receipts = Tree { root: digest(3), size: 7 };
    let (from, to, hidden) = (1, 2, digest(4));
    Entry::Totals(Totals { epoch, part, parts, from, to, cells: sources.iter().map(cell).collect(), hidden, receipts })
}

fn expired(before: &str, files: &[u64], field: Option<&str>, removed: u64) -> Entry {
    let (table, before) = ("analytics/phone.app".to_owned(), before.to_owned());
    Entry::Expired(Expired { table, before, files: files.to_vec(), field: field.map(str::to_owned), removed })
}

/// A log that has entries of every kind, and every way for a file to go.
fn honest() -> Vec<Entry> {
    let erased = |files: &[u64], replaced: &[u64], removed| {
        let certificates = vec![digest(5), digest(6)];
        Entry::Erased(Erased { certificates, files: files.to_vec(), replaced: replaced.to_vec(), removed })
    };
    let document = |n| InForce { digest: digest(n), since: 1 };
    vec![
        key("log", 1, KeyEvent::Created),
        key("named/analytics", 1, KeyEvent::Created),
        Entry::Catalogue(document(2)),
        Entry::Policy(document(1)),
        sealed(10, 10, &[], 0),
        sealed(11, 5, &[], 0),
        sealed(12, 12, &[4, 5], 3),
        erased(&[], &[6], 3),
        sealed(13, 2, &[], 0),
        sealed(14, 4, &[], 0),
        erased(&[8], &[], 2),
        totals(1, 1, 2, &["agents", "phones"]),
        totals(1, 2, 2, &["washers"]),
        Entry::Consents(Consents { epoch: 1, root: digest(7), size: 3 }),
        key("log", 2, KeyEvent::Rotated),
        key("log", 1, KeyEvent::Destroyed),
        Entry::Policy(document(8)),
        Entry::Policy(document(1)),
        expired("2026-11-29", &[9], None, 4),
        expired("2026-11-20", &[], Some("model"), 0),
        totals(2, 1, 1, &[]),
        Entry::Consents(Consents { epoch: 2, root: digest(7), size: 3 }),
    ]
}

/// What is put in the place of a value, whatever it was.
const OTHERS: &str = r#"[
    null, true, -1, 0, 1, 1.5, 9007199254740991, 9007199254740992, -9007199254740991, -9007199254740992, 18446744073709551615,
    "", ".", ".x", "x", "a/b", "a/b/c", "a/.b", "ä", "00", "log", "receipts", "subject", "ledger", "named/", "named/x",
    "created", "rotated", "destroyed", "2026-11-27", "2026-11-30", "2026-02-30", "20261128", "0000-01-01", "-000001-01-01",
    "9999-12-31", "received_date=2026-11-28/.parquet", "received_date=2026-11-28/x/y.parquet",
    "received_date=2026-11-28/../x.parquet", "received_date=2026-11-27/part-10.parquet",
    "received_date=2026-11-28/part-10.parquet", "received_date=2026-11-28/x.parq", "/x.parquet",
    [], {}, [0], [4], [5, 4], [4, 4], [4, 5, 6], [99], [-1], [1.5], [true]
]"#;

fn others(value: &Value) -> Vec<Value> {
    let mut others: Vec<Value> = serde_json::from_str(OTHERS).unwrap();
    let long = [("x", 255), ("x", 256), ("x", 511), ("08", 32), ("0G", 32), ("AA", 32)];
    others.extend(long.map(|(text, times)| json!(text.repeat(times))));
    match value {
        Value::Number(number) => {
            let number = number.as_i64().unwrap();
            others.extend([json!(number + 1), json!(number - 1), json!(-number), json!(number.to_string())]);
        }
        Value::String(text) => {
            others.extend([
                json!(text.to_uppercase()),
                json!(format!("{text} ")),
                json!(format!("{text}\n")),
                json!([text]),
            ]);
        }
        Value::Array(items) => {
            let mut turned = items.clone();
            turned.reverse();
            others.extend([json!(turned), json!([&items[..], &items[..]].concat())]);
            others.extend((0..items.len()).map(|at| [&items[..at], &items[at + 1..]].concat().into()));
        }
        _ => {}
    }
    others
}

/// Every change of one value of a document, at whatever depth: another in its place, none, one more.
fn changed(document: &Value) -> Vec<Value> {
    let mut all = others(document);
    match document {
        Value::Object(members) => {
            for (name, value) in members {
                let with = |other: Option<Value>| {
                    let mut members: Map<String, Value> = members.clone();
                    members.remove(name);
                    members.extend(other.map(|other| (name.clone(), other)));
                    Value::Object(members)
                };
                all.push(with(None));
                all.extend(changed(value).into_iter().map(|other| with(Some(other))));
            }
            let more = |name: &str, value: Value| {
                let mut members = members.clone();
                members.insert(name.to_owned(), value);
                Value::Object(members)
            };
            all.extend([
                more("zz", json!(1)),
                more("replaces", json!([4])),
                more("removed", json!(0)),
                more("field", json!("x")),
            ]);
            all.push(more("key", json!("x")));
        }
        Value::Array(items) => {
            for (at, item) in items.iter().enumerate() {
                all.extend(changed(item).into_iter().map(|other| {
                    let mut items = items.clone();
                    items[at] = other;
                    Value::Array(items)
                }));
            }
        }
        _ => {}
    }
    all
}

/// The same statement in bytes that are not those of RFC 8785, and bytes that are none.
fn otherwise_written(entry: &[u8]) -> Vec<Vec<u8>> {
    let text = std::str::from_utf8(entry).unwrap();
    let value: Value = serde_json::from_slice(entry).unwrap();
    let (first, rest) = text[1..].split_once(',').unwrap();
    let pretty = serde_json::to_string_pretty(&value).unwrap();
    let twice = format!("{{{first},{}", &text[1..]);
    let long = format!("{{\"a\":\"{}\",{rest}", "x".repeat(MOST_BYTES));
    let others = [
        pretty,
        twice,
        long,
        format!("{text}\n"),
        format!(" {text}"),
        format!("\u{feff}{text}"),
        format!("{text}{text}"),
    ];
    let mut all: Vec<Vec<u8>> = others.into_iter().map(String::into_bytes).collect();
    all.push(format!("{{{},{first}}}", rest.strip_suffix('}').unwrap()).into_bytes());
    all.push(text.replacen(":\"", ":\"\\u0061", 1).into_bytes());
    all.push(text.replacen(":\"", ":\"\\ud800", 1).into_bytes());
    all.push(text.encode_utf16().flat_map(u16::to_le_bytes).collect());
    all.push(entry[..entry.len() - 1].to_vec());
    all.push([b"[".repeat(MOST_BYTES), b"{\"kind\":".repeat(2_000)].concat());
    all.extend([b"NaN".to_vec(), b"".to_vec(), b"\xff".to_vec(), b"[".repeat(60_000)]);
    all
}

/// What `candor` says of a log: its live files, or nothing.
fn ours(log: &Log, honest: &[Entry]) -> Option<Vec<u64>> {
    let mut live = LiveFiles::default();
    let holds = log.iter().all(|entry| match entry {
        Ok(number) => live.apply(&honest[*number]).is_ok(),
        Err(bytes) => Entry::decode(bytes).is_ok_and(|entry| live.apply(&entry).is_ok()),
    });
    holds.then(|| live.live().map(|(number, _)| number).collect())
}

/// Entries of a log: those of the honest one by their numbers, or others.
type Log = Vec<Result<usize, Vec<u8>>>;

/// Logs that differ from the honest one, each in another way.
fn logs(honest: &[Vec<u8>]) -> Vec<Log> {
    let whole: Log = (0..honest.len()).map(Ok).collect();
    let mut logs = vec![whole.clone()];
    for (at, entry) in honest.iter().enumerate() {
        let with = |other: Vec<u8>| {
            let mut log = whole.clone();
            log[at] = Err(other);
            log
        };
        let value: Value = serde_json::from_slice(entry).unwrap();
        logs.extend(changed(&value).iter().map(|other| with(written(other))));
        logs.extend(otherwise_written(entry).into_iter().map(with));
        // Left out, told twice, or told somewhere else.
        for to in 0..honest.len() {
            let mut moved = whole.clone();
            let entry = moved.remove(at);
            moved.insert(to, entry.clone());
            logs.push(moved);
            let mut twice = whole.clone();
            twice.insert(to, entry);
            logs.push(twice);
        }
        logs.push([&whole[..at], &whole[at + 1..]].concat());
        logs.push(whole[..at].to_vec());
    }
    logs
}

/// RFC 8785 JSON, as entries are written: their names are ASCII, and numbers that are no integers are of no entry.
fn written(value: &Value) -> Vec<u8> {
    let mut value = value.clone();
    value.sort_all_objects();
    serde_json::to_vec(&value).unwrap()
}

#[test]
fn docs_verify_py_says_of_every_log_what_we_say() {
    let Some(python) = python() else { return };
    let told = honest();
    let honest: Vec<Vec<u8>> = told.iter().map(|entry| entry.encode().unwrap()).collect();
    let mut random = Random::announced("log_rules");
    let mut logs = logs(&honest);
    for _ in 0..SEVERAL {
        let mut log = random.pick(&logs).clone();
        for _ in 0..3 {
            let other = random.pick(&logs);
            if let Some(at) = other.iter().enumerate().position(|(at, entry)| entry.as_ref() != Ok(&at))
                && let (Some(mine), Some(theirs)) = (log.get_mut(at), other.get(at))
            {
                mine.clone_from(theirs);
            }
        }
        logs.push(log);
    }
    let mut input: String = honest.iter().map(|entry| hex::encode(entry) + " ").collect();
    for log in &logs {
        input.push('\n');
        let word = |entry: &Result<usize, Vec<u8>>| match entry {
            Ok(number) => format!("{number} "),
            Err(bytes) => format!("x{} ", hex::encode(bytes)),
        };
        input.extend(log.iter().map(word));
    }
    let mut command = Command::new(python);
    let scripts = [workspace().join("tests/python/rules.py"), workspace().join("docs/verify.py")];
    let mut child = command.args(scripts).stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
    let mut stdin = child.stdin.take().unwrap();
    let writer = std::thread::spawn(move || stdin.write_all(input.as_bytes()));
    let output = child.wait_with_output().unwrap();
    writer.join().unwrap().unwrap();
    assert!(output.status.success());
    let said = String::from_utf8(output.stdout).unwrap();
    assert_eq!(said.lines().count(), logs.len());
    let mut held = 0;
    let mut wrong = Vec::new();
    for (log, said) in logs.iter().zip(said.lines()) {
        let ours = ours(log, &told);
        let theirs =
            said.strip_prefix("holds").map(|live| live.split_whitespace().map(|one| one.parse().unwrap()).collect());
        held += usize::from(ours.is_some());
        if ours != theirs {
            let changed = log.iter().enumerate().filter(|(at, entry)| entry.as_ref() != Ok(at));
            let changed: Vec<String> = changed
                .map(|(at, entry)| match entry {
                    Ok(number) => format!("{at}: as {number}"),
                    Err(bytes) => format!("{at}: {}", String::from_utf8_lossy(&bytes[..bytes.len().min(400)])),
                })
                .collect();
            wrong.push(format!("we say {ours:?}, docs/verify.py {said}: {}", changed.join("; ")));
        }
    }
    assert!(wrong.is_empty(), "{} of {}:\n{}", wrong.len(), logs.len(), wrong[..wrong.len().min(20)].join("\n"));
    figure(&format!("log_rules: {} logs, {held} of which hold: docs/verify.py says the same of each", logs.len()));
}
