//! A service that lies to a device, through the command: `candor audit verify BUNDLE` with what the device kept itself.
//!
//! Where each lie is told, and what finds it:
//!
//! | lie | test |
//! |---|---|
//! | an answer without a row, a file, a table, a receipt, an epoch | `an_answer_that_lacks_something_is_found_by_the_command` |
//! | a withheld withdrawal | `a_withheld_withdrawal_is_found_by_the_device_that_made_it` |
//! | a split policy | `an_answer_that_lacks_something_is_found_by_the_command` |
//! | a row dropped at compaction | `a_row_that_is_dropped_at_compaction_is_found_by_the_command` |
//! | a duplicate leaf, a misplaced leaf, a hidden `sealed` | `verify::a_hidden_file_a_wrong_count_and_leaves_out_of_place_are_found` |
//! | a stale, rolled-back or forked log | `verify::a_log_that_is_turned_back_or_forked_is_refused_by_whoever_kept_a_checkpoint` |
//! | rows of nobody, ids without end, an old answer under a newer log | `both_checkers_say_the_same_of_an_answer` |
//! | a bundle that has what a device keeps | `a_bundle_does_not_vouch_for_itself` |
//! | an answer about nobody, or of before what the device kept; a row that has no end | `docs_verify_py_takes_no_answer_that_we_do_not_take` |
//! | a log that contradicts itself | `log_rules::docs_verify_py_says_of_every_log_what_we_say` |
//! | a certificate of something else | `certificates::a_certificate_is_proved_to_whom_it_was_given_and_to_nobody_else` |
//! | a certificate with files that took nothing's place | `certificates::a_certificate_that_names_another_successor_is_found_by_us_and_by_python` |

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::Command;

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use candor_wire::log::checkpoint::Checkpoint;
use candor_wire::log::entry::{Entry, Sha256Hex};
use candor_wire::log::note::{Note, Signer};
use candor_wire::merkle::leaf_hash;
use candor_wire::statement::Statement;
use candor_wire::verify::{Manifest, digest_of};
use serde_json::{Value, json};

use crate::clients::python;
use crate::receipts::{run, sent};
use crate::verify::{EPOCHS, audit, audit_in, copy, entries, failures, forge, last_sealed, log_key, tiles, verdicts};
use crate::world::{Service, Start, World, figure, workspace};

/// Files of a bundle by their paths in it.
type Files = BTreeMap<String, Vec<u8>>;

/// A device that withdrew in its last epoch, what it keeps, and the bundle that an honest service gave it.
struct Told {
    world: World,
    service: Service,
    own: Vec<String>,
    bundle: PathBuf,
}

impl Told {
    fn new() -> Self {
        let world = World::new();
        world.sign();
        let service = world.start(&Start { environment: &EPOCHS, ..Start::default() }).unwrap();
        let state = sent(&world, &service);
        let withdrawal = ["consent", "set", "analytics=withdrawn", "marketing=withdrawn"];
        let terms = ["--notice", "2026-01", "--language", "de", "--age-from", "30"];
        run(&world, &service, &state, &[&withdrawal[..], &terms].concat(), 0);
        service.flush();
        let (bundle, url) = (world.path("bundle"), format!("http://{}", service.address()));
        let file = |name: &str| state.join(name).to_str().unwrap().to_owned();
        let own = [("identity", "identity.toml"), ("receipts", "receipts.jsonl"), ("statements", "state.toml")];
        let own: Vec<String> = own.iter().flat_map(|(flag, name)| [format!("--{flag}"), file(name)]).collect();
        let told = Self { world, service, own, bundle };
        let export = ["export", told.bundle.to_str().unwrap(), "--identity", &told.own[1], "--url", &url];
        audit(&told.world, &export, 0);
        told
    }

    /// What the command says of a bundle; whether the device has its statements at hand.
    fn verify(&self, bundle: &Path, with_statements: bool, code: i32) -> Value {
        let own: Vec<&str> = self.own.iter().map(String::as_str).collect();
        let own = if with_statements { &own[..] } else { &own[..4] };
        audit(&self.world, &[&["verify", bundle.to_str().unwrap()], own].concat(), code)
    }

    /// A bundle that somebody else wrote, whole in itself.
    fn lie(&self, name: &str, change: impl FnOnce(&mut Manifest, &mut Files)) -> PathBuf {
        let (mut manifest, mut files) = read(&self.bundle);
        change(&mut manifest, &mut files);
        let digests = files.iter().map(|(path, bytes)| (path.clone(), Sha256Hex(digest_of(bytes)))).collect();
        let manifest = Manifest::new(manifest.asked_at, manifest.log, manifest.subjects, digests).unwrap();
        let folder = self.world.path(name);
        files.insert("bundle.json".to_owned(), manifest.to_json().unwrap());
        for (path, bytes) in files {
            let path = folder.join(path);
            std::fs::create_dir_all(path.parent().unwrap()).unwrap();
            std::fs::write(path, bytes).unwrap();
        }
        folder
    }
}

/// What a bundle has.
fn read(bundle: &Path) -> (Manifest, Files) {
    let manifest = Manifest::from_json(&std::fs::read(bundle.join("bundle.json")).unwrap()).unwrap();
    let files = manifest.files.keys().map(|path| (path.clone(), std::fs::read(bundle.join(path)).unwrap())).collect();
    (manifest, files)
}

/// What `docs/verify.py` says of a bundle, where there is a Python.
fn python_says(bundle: &Path, code: i32) -> Option<String> {
    let output = Command::new(python()?).arg(workspace().join("docs/verify.py")).arg(bundle).output().unwrap();
    let said = format!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    assert_eq!(output.status.code(), Some(code), "{}: {said}", bundle.display());
    Some(said)
}

/// Changes the answer about the first epoch.
fn answer(files: &mut Files, epoch: u64, change: impl FnOnce(&mut Value)) {
    let bytes = files.get_mut(&format!("answers/{epoch}.json")).unwrap();
    let mut answer: Value = serde_json::from_slice(bytes).unwrap();
    change(&mut answer);
    *bytes = serde_json::to_vec(&answer).unwrap();
}

fn list<'a>(answer: &'a mut Value, name: &str) -> &'a mut Vec<Value> {
    answer[name].as_array_mut().unwrap()
}

/// Leaves out the last receipt of the first epoch.
fn without_receipt(files: &mut Files, wanted: usize) {
    let bytes = files.get_mut("receipts/0.jsonl").unwrap();
    let mut lines: Vec<String> = String::from_utf8(bytes.clone()).unwrap().lines().map(str::to_owned).collect();
    lines.remove(wanted);
    *bytes = (lines.join("\n") + "\n").into_bytes();
}

/// Leaves out the last statement of the second epoch.
fn without_withdrawal(files: &mut Files) {
    answer(files, 1, |answer| {
        let withheld: Statement = serde_json::from_value(list(answer, "statements").pop().unwrap()).unwrap();
        let hash = json!(withheld.hash().unwrap().to_string());
        list(answer, "consents").retain(|place| place["statement"] != hash);
    });
}

/// A lie: its name, the check that finds it, and how it is told.
type Lie = (&'static str, &'static str, fn(&mut Manifest, &mut Files));

const LIES: [Lie; 9] = [
    ("row", "file", |_, files| answer(files, 0, |answer| _ = list(answer, "rows").remove(0))),
    ("file", "files", |_, files| answer(files, 0, |answer| _ = list(answer, "files").remove(0))),
    ("table", "files", |_, files| {
        let said = String::from_utf8(files["entries.jsonl"].clone()).unwrap();
        let of_table = |number: &Value| {
            let line = said.lines().nth(number.as_u64().unwrap() as usize).unwrap();
            line.contains("\"table\":\"marketing/")
        };
        answer(files, 0, |answer| {
            list(answer, "rows").retain(|row| row["purpose"] != "marketing");
            let before = list(answer, "files").len();
            list(answer, "files").retain(|file| !of_table(&file["entry"]));
            assert!(list(answer, "files").len() < before);
        });
    }),
    ("receipt", "receipts_complete", |_, files| without_receipt(files, 0)),
    ("newest-receipt", "receipts_complete", |_, files| {
        without_receipt(files, 2);
        answer(files, 0, |answer| answer["batches"]["next"] = json!(3));
    }),
    ("epoch", "answer", |manifest, files| {
        manifest.subjects.remove(0);
        assert!(files.remove("answers/0.json").is_some() && files.remove("receipts/0.jsonl").is_some());
    }),
    ("value", "rows", |_, files| {
        answer(files, 0, |answer| list(answer, "rows")[0]["fields"][0]["value"] = json!("another"));
    }),
    ("policy", "documents", |_, files| {
        let bytes = b"{\"another\":\"policy\"}".to_vec();
        files.insert(format!("documents/{}.json", Sha256Hex(digest_of(&bytes))), bytes);
    }),
    ("no-entry", "entries", |_, files| {
        let said = String::from_utf8(files["entries.jsonl"].clone()).unwrap();
        let kept: Vec<&str> = said.lines().skip(1).collect();
        files.insert("entries.jsonl".to_owned(), (kept.join("\n") + "\n").into_bytes());
    }),
];

#[test]
fn an_answer_that_lacks_something_is_found_by_the_command() {
    let told = Told::new();
    let fine = told.verify(&told.bundle, true, 0);
    for check in ["statements_complete", "receipts_complete", "files", "rows"] {
        assert_eq!(verdicts(&fine, check), ["proved"; 2], "{check}: {fine}");
    }
    for (name, check, change) in LIES {
        let lie = told.lie(name, change);
        let found = told.verify(&lie, true, 4);
        assert!(verdicts(&found, check).contains(&"failed".to_owned()), "{name}: {found}");
        assert_eq!(verdicts(&found, "bundle"), ["proved"], "{name}: the lie is whole in itself");
    }
    // The bundle of somebody else.
    let stranger = told.world.path("stranger");
    let new = ["agent", "identity", "new", "acme-fleet", "--state", stranger.to_str().unwrap()];
    assert!(told.world.candor(&new).status.success());
    let stranger = stranger.join("identity.toml");
    let bundle = told.bundle.to_str().unwrap();
    let theirs = audit(&told.world, &["verify", bundle, "--identity", stranger.to_str().unwrap()], 4);
    assert!(failures(&theirs).contains("another identity"), "{theirs}");
    figure(&format!("lies: {} kinds, each found by the command", LIES.len()));
    fits_a_terminal(&told);
}

/// What people see is not wider than they have.
fn fits_a_terminal(told: &Told) {
    let output = told.world.candor_with(
        &["audit", "verify", told.bundle.to_str().unwrap()],
        &[("XDG_STATE_HOME", told.world.path("people").to_str().unwrap())],
    );
    let text = String::from_utf8(output.stdout).unwrap();
    assert!(output.status.success() && text.contains("proved if recomputed"), "{text}");
    let widest = text.lines().map(|line| line.chars().count()).max().unwrap();
    assert!(widest <= 100, "{widest} characters:\n{text}");
    figure(&format!("audit verify: the widest line has {widest} characters"));
}

/// An answer about nobody: no ids, and so no proofs.
fn about_nobody(manifest: &mut Manifest, files: &mut Files) {
    manifest.subjects.truncate(1);
    (manifest.subjects[0].epoch, manifest.subjects[0].key) = (None, None);
    files.remove("receipts/0.jsonl");
    answer(files, 0, |answer| {
        for name in ["ids", "files", "rows", "statements", "consents"] {
            answer[name] = json!([]);
        }
    });
}

/// An answer of when the log had one entry, beside receipts that the device kept and that saw more of it.
fn before_what_was_kept(files: &mut Files, key: &Signer) {
    let (first, _) = std::str::from_utf8(&files["entries.jsonl"]).unwrap().split_once('\n').unwrap();
    let text = Checkpoint::new(key.verifier().name().to_owned(), 1, leaf_hash(first.as_bytes())).to_string();
    let note = Note::new(text.clone(), vec![key.sign(&text, 0)]).unwrap().to_string();
    answer(files, 0, |answer| {
        (answer["files"], answer["rows"], answer["checkpoint"]) = (json!([]), json!([]), json!(note));
        answer["batches"] = json!({ "next": 1, "missing": [] });
    });
    files.insert("kept/0.jsonl".to_owned(), files["receipts/0.jsonl"].clone());
}

/// A row with lists in lists, without an end in sight.
fn without_an_end(files: &mut Files) {
    let row = [&b"\0\0\0\x01x"[..], &b"l\0\0\0\x01".repeat(5_000)].concat();
    answer(files, 0, |answer| list(answer, "rows")[0]["row"] = json!(URL_SAFE_NO_PAD.encode(row)));
}

#[test]
fn a_bundle_does_not_vouch_for_itself() {
    let told = Told::new();
    // A withdrawal is withheld, and the bundle has what the device kept and said, as its writer would have it.
    let lie = told.lie("vouches", |_, files| {
        without_withdrawal(files);
        for epoch in ["0", "1"] {
            files.insert(format!("kept/{epoch}.jsonl"), files[&format!("receipts/{epoch}.jsonl")].clone());
            files.insert(format!("said/{epoch}.jsonl"), Vec::new());
        }
    });
    let folder = lie.to_str().unwrap();
    let own = ["receipts_complete", "statements_complete", "ids"];
    let found = audit(&told.world, &["verify", folder], 0);
    for check in own {
        assert_eq!(verdicts(&found, check), ["not_provable"; 2], "{check}: {found}");
    }
    let says = found["rows"][0]["why"].as_str().unwrap();
    assert!(says.contains("asked, so it says, at 20"), "{says}");
    // Whoever has them at hand is told.
    let found = told.verify(&lie, true, 4);
    assert_eq!(verdicts(&found, "statements_complete"), ["proved", "failed"], "{found}");
    let fine = told.verify(&told.bundle, true, 0);
    for check in own {
        assert_eq!(verdicts(&fine, check), ["proved"; 2], "{check}: {fine}");
    }
    // It is not about the identity that the environment names.
    let stranger = told.world.path("stranger");
    let new = ["agent", "identity", "new", "acme-fleet", "--state", stranger.to_str().unwrap()];
    assert!(told.world.candor(&new).status.success());
    let stranger = stranger.join("identity.toml");
    let bundle = told.bundle.to_str().unwrap();
    for (identity, code) in [(stranger.to_str().unwrap(), 4), (told.own[1].as_str(), 0)] {
        let output = told.world.candor_with(&["audit", "verify", bundle], &[("CANDOR_IDENTITY", identity)]);
        assert_eq!(output.status.code(), Some(code), "{}", String::from_utf8_lossy(&output.stdout));
    }
}

#[test]
fn what_cannot_be_read_is_not_quoted() {
    const VALUE: &str = "canary-4711";
    let told = Told::new();
    for path in ["answers/0.json", "receipts/0.jsonl", "kept/0.jsonl", "said/0.jsonl"] {
        let changes: [fn(&mut Value); 3] = [
            |line| *line = json!(VALUE),
            |line| line.as_object_mut().unwrap().values_mut().for_each(|value| *value = json!(VALUE)),
            |line| {
                for value in line.as_object_mut().unwrap().values_mut().filter_map(Value::as_object_mut) {
                    value.values_mut().for_each(|value| *value = json!(VALUE));
                }
                line["rows"] = json!([{ "purpose": [VALUE] }]);
                line["sequence"] = json!(VALUE);
            },
        ];
        for (number, change) in changes.into_iter().enumerate() {
            let lie = told.lie(&format!("{}-{number}", path.replace('/', "-")), |_, files| {
                let mut line: Value = match path {
                    "answers/0.json" => serde_json::from_slice(&files[path]).unwrap(),
                    "said/0.jsonl" => json!({ "fleet": "acme-fleet", "sequence": 1 }),
                    _ => serde_json::from_slice(files["receipts/0.jsonl"].split(|byte| *byte == b'\n').next().unwrap())
                        .unwrap(),
                };
                change(&mut line);
                files.insert(path.to_owned(), [serde_json::to_vec(&line).unwrap(), b"\n".to_vec()].concat());
            });
            let output = told.world.candor(&["audit", "verify", lie.to_str().unwrap()]);
            let said = String::from_utf8_lossy(&[output.stdout, output.stderr].concat()).into_owned();
            // A journal has lines without a receipt.
            let is_told = output.status.code() == Some(4) || number == 0 && path.ends_with('l');
            assert!(is_told && !said.contains(VALUE), "{path} {number}: {said}");
        }
    }
}

#[test]
fn docs_verify_py_takes_no_answer_that_we_do_not_take() {
    let Some(python) = python() else { return };
    let told = Told::new();
    let key = log_key(&told.world.data());
    let lies: [(i32, &str, PathBuf); 3] = [
        (5, "which ids", told.lie("nobody", about_nobody)),
        (4, "older than the receipt", told.lie("before", |_, files| before_what_was_kept(files, &key))),
        (4, "a list in a list", told.lie("endless", |_, files| without_an_end(files))),
    ];
    for (code, why, bundle) in lies {
        audit_in(&told.world, why, &["verify", bundle.to_str().unwrap()], code);
        let output = Command::new(&python).arg(workspace().join("docs/verify.py")).arg(&bundle).output().unwrap();
        let said = [output.stdout, output.stderr].concat();
        let said = String::from_utf8_lossy(&said);
        let found = said.contains(why) && !said.contains("Traceback");
        assert!(found && output.status.code() == Some(code), "{}: {said}", bundle.display());
    }
}

#[test]
fn a_withheld_withdrawal_is_found_by_the_device_that_made_it() {
    let told = Told::new();
    let lie = told.lie("withdrawal", |_, files| without_withdrawal(files));
    let found = told.verify(&lie, true, 4);
    assert_eq!(verdicts(&found, "statements_complete"), ["proved", "failed"], "{found}");
    // Whoever has not kept it is told that no proof can show it.
    let named = told.verify(&lie, false, 0);
    assert_eq!(verdicts(&named, "statements_complete"), ["not_provable"; 2], "{named}");
    assert!(told.service.stop().success());
    // The same from the data folder, where the service's answer has it.
    let data = told.world.data();
    let own: Vec<&str> = told.own.iter().map(String::as_str).collect();
    let whole = audit(&told.world, &[&["verify", "--data", data.to_str().unwrap()], &own[..]].concat(), 0);
    assert_eq!(verdicts(&whole, "statements_complete"), ["proved"; 2], "{whole}");
    // A state that is none is not taken for one that has nothing.
    let broken = told.world.path("state.toml");
    std::fs::write(&broken, "version = 1").unwrap();
    let arguments = ["verify", told.bundle.to_str().unwrap(), own[0], own[1], "--statements", broken.to_str().unwrap()];
    audit(&told.world, &arguments, 5);
}

#[test]
fn both_checkers_say_the_same_of_an_answer() {
    let told = Told::new();
    python_says(&told.bundle, 0);
    let lies: [Lie; 3] = [
        ("row-of-nobody", "files", |_, files| answer(files, 0, |answer| list(answer, "rows")[0]["id"] = json!(1))),
        ("file-of-nobody", "files", |_, files| answer(files, 0, |answer| list(answer, "files")[0]["id"] = json!(1))),
        ("ids", "files", |manifest, files| {
            // As if it were about somebody who does not sign.
            manifest.subjects[0].key = None;
            answer(files, 0, |answer| answer["ids"] = json!(vec![answer["subject"].clone(); 100_000]));
        }),
    ];
    for (name, check, change) in lies {
        let lie = told.lie(name, change);
        let found = audit(&told.world, &["verify", lie.to_str().unwrap()], 4);
        assert!(verdicts(&found, check).contains(&"failed".to_owned()), "{name}: {found}");
        python_says(&lie, 4);
    }
    // An answer of before the last batch, under the log of after it.
    let state = Path::new(&told.own[1]).parent().unwrap().to_owned();
    run(&told.world, &told.service, &state, &["consent", "set", "analytics=given", "--notice", "2026-01"], 0);
    run(&told.world, &told.service, &state, &["send", told.world.path("events.jsonl").to_str().unwrap()], 0);
    told.service.flush();
    let (newer, url) = (told.world.path("newer"), format!("http://{}", told.service.address()));
    audit(&told.world, &["export", newer.to_str().unwrap(), "--identity", &told.own[1], "--url", &url], 0);
    python_says(&newer, 0);
    let old = told.lie("old", |_, files| {
        let of_log = |path: &str| path == "checkpoint" || path == "entries.jsonl" || path.starts_with("documents/");
        files.extend(read(&newer).1.into_iter().filter(|(path, _)| of_log(path)));
    });
    let named = audit_in(&told.world, "stranger", &["verify", old.to_str().unwrap()], 0);
    assert_eq!(verdicts(&named, "files"), ["not_provable", "proved", "not_provable", "proved"], "{named}");
    assert!(named.to_string().contains("answer_is_older"), "{named}");
    let said = python_says(&old, 5);
    assert!(said.is_none_or(|said| said.contains("younger than the answer")));
    // Who asks the service itself asks for the checkpoint first.
    told.verify(&newer, true, 0);
    let own: Vec<&str> = told.own.iter().map(String::as_str).collect();
    let asked = audit(&told.world, &[&["verify", "--url", &url], &own[..]].concat(), 0);
    assert_eq!(verdicts(&asked, "files"), ["proved"; 2], "{asked}");
}

#[test]
fn a_row_that_is_dropped_at_compaction_is_found_by_the_command() {
    let told = Told::new();
    assert!(told.service.stop().success());
    let (data, lying) = (told.world.data(), told.world.path("lying"));
    for removed in [0, 1] {
        let _ = std::fs::remove_dir_all(&lying);
        copy(&data, &lying);
        let (number, sealed) = last_sealed(&lying, "analytics");
        forge(&lying, |entries| {
            let mut fewer = sealed.clone();
            fewer.path = fewer.path.replace("part-", "part-0");
            (fewer.rows, fewer.replaces, fewer.removed) = (sealed.rows - 1, vec![number as u64], Some(removed));
            entries.push(Entry::Sealed(fewer));
        });
        let own: Vec<&str> = told.own.iter().map(String::as_str).collect();
        let arguments = [&["verify", "--data", lying.to_str().unwrap()], &own[..]].concat();
        let kept = format!("state-{removed}");
        if removed == 0 {
            // The entries do not add up.
            let found = audit_in(&told.world, &kept, &arguments, 4);
            assert_eq!(verdicts(&found, "rules"), ["failed"], "{found}");
        } else {
            // They do, and the file that they name is not there; the one that is there is not live.
            let found = audit_in(&told.world, &kept, &arguments, 4);
            assert!(failures(&found).contains("it has rows in a file that is not live in the log"), "{found}");
        }
        let whole = ["verify", "--all", "--data", lying.to_str().unwrap()];
        let found = audit_in(&told.world, &kept, &whole, 4);
        assert!(!failures(&found).is_empty(), "{found}");
    }
    assert!(entries(&data).len() > 1 && !tiles(&data.join("log/tile")).is_empty());
}
