//! An operator that lies: what is changed, hidden, turned back or forked is found by `audit verify`, or named as what no proof can show.

use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use arrow_array::{RecordBatch, UInt32Array};
use candor_policy::consent::ConsentState::{Given, Withdrawn};
use candor_policy::hex;
use candor_store::access;
use candor_store::recount::{self, Found};
use candor_store::sealed;
use candor_wire::log::checkpoint::{Checkpoint, SignedCheckpoint};
use candor_wire::log::entry::{Entry, Sealed, Sha256Hex};
use candor_wire::log::note::{Algorithm, Note, Signer, VerifierKey};
use candor_wire::log::tile::{hashes_to_bytes, push_entry};
use candor_wire::merkle::{Hash, leaf_hash, root};
use candor_wire::verify::Manifest;
use serde_json::Value;

use crate::clients::python;
use crate::otlp::Event;
use crate::random::Random;
use crate::receipts::{BATCHES, files, rewrite, sent};
use crate::signer::{AGENTS, FLEET, Signed, Signer as Device, receipt};
use crate::world::{Service, Start, World, figure, workspace};

/// Epochs close as soon as anything is in them.
pub(crate) const EPOCHS: [(&str, &str); 1] = [("CANDOR_STORE_LOG_EPOCH_MINUTES", "0")];

/// A fleet with devices that sign, and a service that a device has sent to in two epochs.
fn world() -> (World, Service, PathBuf) {
    let world = World::new();
    world.sign();
    let service = world.start(&Start { environment: &EPOCHS, ..Start::default() }).unwrap();
    let state = sent(&world, &service);
    (world, service, state)
}

/// `candor audit ARGUMENTS --json`; its answer if it ends with `code`. Checkpoints are kept in a folder of the test.
pub(crate) fn audit(world: &World, arguments: &[&str], code: i32) -> Value {
    audit_in(world, "state", arguments, code)
}

pub(crate) fn audit_in(world: &World, kept: &str, arguments: &[&str], code: i32) -> Value {
    let mut all = vec!["audit"];
    all.extend(arguments);
    all.push("--json");
    let output = world.candor_with(&all, &[("XDG_STATE_HOME", world.path(kept).to_str().unwrap())]);
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    assert_eq!(output.status.code(), Some(code), "{arguments:?}: {}\n{}", text(&output.stderr), text(&output.stdout));
    serde_json::from_slice(&output.stdout).unwrap_or(Value::Null)
}

/// Verdicts of a check.
pub(crate) fn verdicts(answer: &Value, check: &str) -> Vec<String> {
    let rows = answer["rows"].as_array().unwrap_or_else(|| panic!("{answer}"));
    let of_check = rows.iter().filter(|row| row["check"] == check);
    of_check.map(|row| row["verdict"].as_str().unwrap().to_owned()).collect()
}

/// Text of the lines that failed.
pub(crate) fn failures(answer: &Value) -> String {
    let rows = answer["rows"].as_array().unwrap_or_else(|| panic!("{answer}"));
    rows.iter().filter(|row| row["verdict"] == "failed").map(ToString::to_string).collect::<Vec<_>>().join("\n")
}

pub(crate) fn entries(data: &Path) -> Vec<Vec<u8>> {
    access::entries(data).unwrap().unwrap().1
}

/// The secret of the key that signs the log of a data folder.
pub(crate) fn log_seed(data: &Path) -> [u8; 32] {
    let ring = std::fs::read_to_string(data.join("keys/ring.toml")).unwrap();
    let (_, log) = ring.split_once("[[log]]").unwrap();
    let (_, secret) = log.split_once("secret = \"").unwrap();
    hex::decode(&secret[..64]).unwrap().try_into().unwrap()
}

/// That key.
pub(crate) fn log_key(data: &Path) -> Signer {
    let seed = log_seed(data);
    let note = std::fs::read(data.join("log/checkpoint")).unwrap();
    let origin = Checkpoint::parse(Note::parse(&note).unwrap().text()).unwrap().origin;
    Signer::new(&origin, Algorithm::Ed25519, &seed).unwrap()
}

/// Writes another log of fewer than 256 entries, signed by its own key: what whoever runs the service can do.
pub(crate) fn forge(data: &Path, change: impl FnOnce(&mut Vec<Entry>)) {
    let key = log_key(data);
    let mut said: Vec<Entry> = entries(data).iter().map(|bytes| Entry::decode(bytes).unwrap()).collect();
    change(&mut said);
    let encoded: Vec<Vec<u8>> = said.iter().map(|entry| entry.encode().unwrap()).collect();
    let leaves: Vec<Hash> = encoded.iter().map(|entry| leaf_hash(entry)).collect();
    let mut bundle = Vec::new();
    assert!(encoded.iter().all(|entry| push_entry(&mut bundle, entry)) && leaves.len() < 256);
    let log = data.join("log");
    std::fs::remove_dir_all(log.join("tile")).unwrap();
    for (folder, bytes) in [("tile/entries", bundle), ("tile/0", hashes_to_bytes(&leaves))] {
        let folder = log.join(folder).join("000.p");
        std::fs::create_dir_all(&folder).unwrap();
        std::fs::write(folder.join(leaves.len().to_string()), bytes).unwrap();
    }
    let text = Checkpoint::new(key.verifier().name().to_owned(), leaves.len() as u64, root(&leaves)).to_string();
    let signatures = vec![key.sign(&text, 0)];
    std::fs::write(log.join("checkpoint"), Note::new(text, signatures).unwrap().to_string()).unwrap();
}

/// The live file of a table's last `sealed` entry, with the entry's number.
pub(crate) fn last_sealed(data: &Path, purpose: &str) -> (usize, Sealed) {
    let said = entries(data);
    let sealed = said.iter().enumerate().rev().find_map(|(number, bytes)| match Entry::decode(bytes).unwrap() {
        Entry::Sealed(sealed) if sealed.table.starts_with(purpose) => Some((number, sealed)),
        _ => None,
    });
    sealed.unwrap()
}

pub(crate) fn copy(from: &Path, to: &Path) {
    std::fs::create_dir_all(to).unwrap();
    for entry in std::fs::read_dir(from).unwrap().map(|entry| entry.unwrap()) {
        let target = to.join(entry.file_name());
        if entry.path().is_dir() {
            copy(&entry.path(), &target);
        } else {
            std::fs::copy(entry.path(), target).unwrap();
        }
    }
}

#[test]
fn an_answer_a_bundle_and_a_folder_hold_line_by_line() {
    let (world, service, state) = world();
    let url = format!("http://{}", service.address());
    let (identity, journal) = (state.join("identity.toml"), state.join("receipts.jsonl"));
    let about = ["--identity", identity.to_str().unwrap(), "--receipts", journal.to_str().unwrap()];
    let asked: Vec<&str> = [&["verify"], &about[..], &["--url", &url]].concat();
    // An epoch of the log is looked at every few seconds.
    let answer = (0..60).find_map(|_| {
        let answer = audit(&world, &asked, 0);
        let proved =
            verdicts(&answer, "totals") == ["proved"; 2] && verdicts(&answer, "statement_logged") == ["proved"; 2];
        std::thread::sleep(std::time::Duration::from_millis(if proved { 0 } else { 500 }));
        proved.then_some(answer)
    });
    let answer = answer.expect("epochs are logged");
    for (check, times) in [
        ("checkpoint", 1),
        ("entries", 1),
        ("rules", 1),
        ("documents", 1),
        ("ids", 2),
        ("files", 2),
        ("rows", 2),
        ("reasons", 2),
        ("receipts", 2),
        ("receipts_complete", 2),
        ("statements", 2),
        ("consent", 2),
        ("receipt_rows", 2 * BATCHES as usize * 2),
    ] {
        assert_eq!(verdicts(&answer, check), vec!["proved"; times], "{check}: {answer}");
    }
    let proofs = verdicts(&answer, "file");
    assert!(!proofs.is_empty() && proofs.iter().all(|verdict| verdict == "proved_if_recomputed"), "{answer}");
    let bundle = world.path("bundle");
    let export = [&["export", bundle.to_str().unwrap()], &about[..], &["--url", &url]].concat();
    audit(&world, &export, 0);
    let offline = audit(&world, &["verify", bundle.to_str().unwrap()], 0);
    assert_eq!(verdicts(&offline, "file"), proofs);
    assert_eq!(verdicts(&offline, "kept"), ["proved"], "{offline}");

    // An auditor recomputes the folder, and turns if into proved.
    let data = world.data();
    let data = data.to_str().unwrap();
    let whole = audit(&world, &["verify", "--all", "--data", data], 0);
    assert!(verdicts(&whole, "recomputed").iter().all(|verdict| verdict == "proved"), "{whole}");
    audit(&world, &["totals", "--check", "--data", data], 0);
    let (key, statement) = (world.path("auditor.key"), world.path("audit.json"));
    std::fs::write(&key, "07".repeat(32)).unwrap();
    let (key, statement) = (key.to_str().unwrap(), statement.to_str().unwrap());
    let sign = ["sign", "--key", key, "--name", "auditor.example", "--statement", statement, "--data", data];
    let signed = audit(&world, &sign, 0);
    let vkey = signed["rows"][0]["auditor"].as_str().unwrap();
    let bundle = bundle.to_str().unwrap();
    let sure = audit(&world, &["verify", bundle, "--auditor", vkey, "--audit", statement], 0);
    assert!(verdicts(&sure, "file").iter().all(|verdict| verdict == "proved"), "{sure}");
    audit(&world, &["verify", bundle, "--audit", statement], 4);
    figure(&format!(
        "verify: {} lines of an answer, {} of a folder",
        answer["rows"].as_array().unwrap().len(),
        whole["rows"].as_array().unwrap().len()
    ));
}

/// Two devices with one seed say two things under one number. What came before the second one was allowed, and is not held against
/// the service.
#[test]
fn what_was_stored_before_its_number_was_said_again_holds() {
    let world = World::new();
    world.sign();
    let service = world.start(&Start { environment: &EPOCHS, ..Start::default() }).unwrap();
    let mut device = Device::new(11, 0);
    device.says(&service, Given);
    let send = |batch: Signed| receipt(&batch.send(&service, Some(AGENTS)).expect_status(200)).receipt;
    let before = send(device.batch(&service, &[Event::numbered("", 1), Event::numbered("", 2)]));
    let withdrawn = device.statement_after(None, 1, Withdrawn);
    device.send_statement(&service, &withdrawn).expect_status(200);
    let after = send(device.batch(&service, &[Event::numbered("", 3)]));
    assert_eq!((before.consent, after.consent), (Some(1), Some(1)));
    assert!(before.purposes["analytics"].stored > 0 && after.purposes.values().all(|purpose| purpose.stored == 0));
    service.flush();
    let identity = world.path("identity.toml");
    std::fs::write(&identity, format!("version = 1\nfleet = \"{FLEET}\"\nseed = \"{}\"\n", "0b".repeat(32))).unwrap();
    std::fs::set_permissions(&identity, std::fs::Permissions::from_mode(0o600)).unwrap();
    let url = format!("http://{}", service.address());
    let told = audit(&world, &["verify", "--identity", identity.to_str().unwrap(), "--url", &url], 0);
    assert_eq!(verdicts(&told, "consent"), ["proved"], "{told}");
    assert!(service.stop().success());
}

#[test]
fn every_byte_of_a_file_a_tile_and_a_checkpoint_counts() {
    let (world, service, _) = world();
    assert!(service.stop().success());
    let data = world.data();
    let said = entries(&data);
    let decoded: Vec<Entry> = said.iter().map(|bytes| Entry::decode(bytes).unwrap()).collect();
    let mut changes = 0;
    // What `audit verify --all` calls for each file: every byte, another each time.
    let (_, file) = last_sealed(&data, "analytics");
    let path = access::path_of(&data, &file);
    assert_eq!(recount::recompute(&data, &file, &decoded), Ok(()));
    each_change(&path, |at| {
        changes += 1;
        let found = recount::recompute(&data, &file, &decoded);
        assert!(matches!(found, Err(Found::Differs(_))), "byte {at} of a file: {found:?}");
    });
    for tile in tiles(&data.join("log/tile")) {
        each_change(&tile, |at| {
            changes += 1;
            // Entries are read from tiles: those of a folder whose tile was changed are others, or cannot be read.
            let (_, wrong) = recount::tiles(&data, &said).unwrap();
            assert_eq!(wrong.len(), 1, "byte {at} of {}", tile.display());
        });
    }
    let known: Vec<VerifierKey> = vec![log_key(&data).verifier().clone()];
    let note = data.join("log/checkpoint");
    let leaves: Vec<Hash> = said.iter().map(|entry| leaf_hash(entry)).collect();
    each_change(&note, |at| {
        changes += 1;
        let signed = SignedCheckpoint::open(&std::fs::read(&note).unwrap(), &known, &[]);
        let holds = signed.is_ok_and(|signed| signed.checkpoint.root == root(&leaves));
        assert!(!holds, "byte {at} of the checkpoint");
    });
    // And the command itself, a few of each.
    let folder = data.to_str().unwrap().to_owned();
    for changed_file in [path, note.clone(), tiles(&data.join("log/tile")).pop().unwrap()] {
        let before = std::fs::read(&changed_file).unwrap();
        for at in [0, before.len() / 3, before.len() / 2, before.len() - 1] {
            let mut bent = before.clone();
            bent[at] ^= 1;
            std::fs::write(&changed_file, bent).unwrap();
            let output = world.candor(&["audit", "verify", "--all", "--data", &folder]);
            let code = output.status.code();
            assert!(code != Some(0), "byte {at} of {}: {code:?}", changed_file.display());
        }
        std::fs::write(&changed_file, before).unwrap();
    }
    audit(&world, &["verify", "--all", "--data", &folder], 0);
    figure(&format!("verify: {changes} changes of one byte, each found"));
}

#[test]
fn every_byte_of_a_bundle_counts_for_us_and_for_python() {
    let (world, service, state) = world();
    let (url, bundle) = (format!("http://{}", service.address()), world.path("bundle"));
    let identity = state.join("identity.toml");
    let folder = bundle.to_str().unwrap();
    audit(&world, &["export", folder, "--identity", identity.to_str().unwrap(), "--url", &url], 0);
    audit(&world, &["verify", folder], 0);
    // What the command calls for each file: every byte, another bit each time.
    let manifest = std::fs::read(bundle.join("bundle.json")).unwrap();
    let (mut all, mut named) = (0, 0);
    for path in tiles(&bundle) {
        let whole = std::fs::read(&path).unwrap();
        let name = path.strip_prefix(&bundle).unwrap().to_str().unwrap();
        let mut changed = whole.clone();
        let known = Manifest::from_json(&manifest).unwrap();
        for at in 0..whole.len() {
            changed[at] ^= 1 << (at % 8);
            let is_found = match name {
                "bundle.json" => Manifest::from_json(&changed).is_err(),
                _ => known.check_file(name, &changed).is_err(),
            };
            assert!(is_found, "byte {at} of {name}");
            changed[at] = whole[at];
            all += 1;
        }
        // And the command itself, a few of each.
        for at in [0, whole.len() / 2, whole.len() - 1] {
            let mut changed = whole.clone();
            changed[at] ^= 1;
            std::fs::write(&path, changed).unwrap();
            let answer = audit(&world, &["verify", folder], 4);
            assert_eq!(verdicts(&answer, "bundle"), ["failed"], "{answer}");
            named += 1;
        }
        std::fs::write(&path, whole).unwrap();
    }
    figure(&format!("verify: {all} changes of a bundle, each found, {named} of them by the command"));
    let Some(python) = python() else { return };
    let script = workspace().join("tests/python/tamper.py");
    let verifier = workspace().join("docs/verify.py");
    let mut command = Command::new(python);
    let command = command.arg(script).arg(verifier).arg(folder).arg(world.data());
    let command = command.arg(Random::announced("verify").below(1 << 20).to_string());
    let output = command.stdin(Stdio::null()).output().unwrap();
    let text = format!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    assert!(output.status.success(), "{text}");
    figure(text.trim());
}

#[test]
fn a_log_that_is_turned_back_or_forked_is_refused_by_whoever_kept_a_checkpoint() {
    let (world, service, state) = world();
    assert!(service.stop().success());
    let (data, old) = (world.data(), world.path("old"));
    copy(&data, &old);
    let identity = state.join("identity.toml");
    let identity = identity.to_str().unwrap().to_owned();
    let verify = |folder: &Path, kept: &str, code| {
        let folder = folder.to_str().unwrap().to_owned();
        audit_in(&world, kept, &["verify", "--identity", &identity, "--data", &folder], code)
    };
    // Somebody sends more; who sees that log does not take the old one any more.
    let service = world.start(&Start { environment: &EPOCHS, ..Start::default() }).unwrap();
    service.consent(&["somebody"], "given");
    service.flush();
    std::thread::sleep(std::time::Duration::from_secs(6));
    assert!(service.stop().success());
    assert!(entries(&data).len() > entries(&old).len(), "an epoch was logged");
    verify(&data, "state", 0);
    let answer = verify(&old, "state", 4);
    assert_eq!(verdicts(&answer, "kept"), ["failed"], "{answer}");
    // So does an auditor, who asks about nobody.
    let whole = |folder: &Path, code| {
        audit_in(&world, "auditor", &["verify", "--all", "--data", folder.to_str().unwrap()], code)
    };
    whole(&data, 0);
    assert_eq!(verdicts(&whole(&old, 4), "kept"), ["failed"]);
    // As long, with another entry that no receipt saw: only who kept a checkpoint knows.
    let fork = world.path("fork");
    copy(&data, &fork);
    forge(&fork, |entries| {
        let last = entries.iter_mut().rev().find_map(|entry| match entry {
            Entry::Consents(consents) => Some(consents),
            _ => None,
        });
        last.unwrap().root = Sha256Hex([9; 32]);
    });
    assert_eq!(verdicts(&verify(&fork, "state", 4), "kept"), ["failed"]);
    let stranger = verify(&fork, "stranger", 0);
    assert_eq!(verdicts(&stranger, "kept"), ["not_provable"], "{stranger}");
    // Now the stranger has seen the fork, and refuses the log.
    assert_eq!(verdicts(&verify(&data, "stranger", 4), "kept"), ["failed"]);
}

#[test]
fn a_fork_under_another_key_is_held_against_what_was_kept_under_the_one_before() {
    let (world, service, _) = world();
    assert!(service.stop().success());
    let data = world.data();
    let old = log_key(&data).verifier().to_string();
    // Somebody saw the log under its key.
    let [seen, followed] = ["state", "followed"];
    audit_in(&world, seen, &["verify", "--all", "--data", data.to_str().unwrap()], 0);
    audit_in(&world, followed, &["log", "show", "--data", data.to_str().unwrap()], 0);
    // A log that its new key alone signs: a folder with another ring.
    let with_key = |name: &str, change: &dyn Fn(&mut Vec<Entry>, &VerifierKey)| {
        let folder = world.path(name);
        copy(&data, &folder);
        let ring = folder.join("keys/ring.toml");
        let text = std::fs::read_to_string(&ring).unwrap();
        let (before, log) = text.split_once("[[log]]").unwrap();
        let at = log.find("secret = \"").unwrap() + "secret = \"".len();
        std::fs::write(&ring, format!("{before}[[log]]{}{}{}", &log[..at], "0e".repeat(32), &log[at + 64..])).unwrap();
        let new = log_key(&folder).verifier().clone();
        forge(&folder, |entries| change(entries, &new));
        (folder, new.to_string())
    };
    let key_of_log = |entries: &mut Vec<Entry>, new: &VerifierKey| {
        for entry in entries {
            if let Entry::Key(change) = entry
                && change.usage == "log"
            {
                change.key = Some(new.to_string());
            }
        }
    };
    let verify = |folder: &Path, kept: &str, keys: &[&str], code| {
        let bundle = folder.with_extension("bundle");
        if !bundle.exists() {
            let export = ["export", bundle.to_str().unwrap(), "--data", folder.to_str().unwrap()];
            audit_in(&world, "export", &export, 0);
        }
        let keys: Vec<&str> = keys.iter().flat_map(|key| ["--vkey", *key]).collect();
        audit_in(&world, kept, &[&["verify", bundle.to_str().unwrap()], &keys[..]].concat(), code)
    };
    let show = |folder: &Path, keys: &[&str], code| {
        let keys: Vec<&str> = keys.iter().flat_map(|key| ["--key", *key]).collect();
        let arguments = [&["log", "show", "--data", folder.to_str().unwrap()], &keys[..]].concat();
        audit_in(&world, followed, &arguments, code)
    };
    // It is the log that was seen, and somebody rotated its key.
    let (honest, new) = with_key("rotated", &|_, _| ());
    let rotated = "rotated-state";
    copy(&world.path(seen), &world.path(rotated));
    assert_eq!(verdicts(&verify(&honest, rotated, &[], 0), "kept"), ["proved"]);
    // Another one in its place, whichever keys are known.
    let (fork, _) = with_key("fork", &|entries, _| {
        let last = entries.iter_mut().rev().find_map(|entry| match entry {
            Entry::Consents(consents) => Some(consents),
            _ => None,
        });
        last.unwrap().root = Sha256Hex([9; 32]);
    });
    let (old, new) = (old.as_str(), new.as_str());
    for keys in [&[][..], &[new], &[old, new], &[new, old]] {
        let answer = verify(&fork, seen, keys, 4);
        assert_eq!(verdicts(&answer, "kept"), ["failed"], "{answer}");
    }
    show(&fork, &[old, new], 4);
    show(&fork, &[new, old], 4);
    show(&honest, &[], 0);
    // One of the same name that knows nothing of that key: not the one that was seen, and perhaps somebody else's.
    let (apart, _) = with_key("apart", &|entries, new| key_of_log(entries, new));
    let answer = verify(&apart, seen, &[], 5);
    assert_eq!(verdicts(&answer, "kept"), ["unchecked"], "{answer}");
    let answer = verify(&apart, seen, &[new], 0);
    assert_eq!(verdicts(&answer, "kept"), ["not_provable"], "{answer}");
}

#[test]
fn a_hidden_file_a_wrong_count_and_leaves_out_of_place_are_found() {
    let (world, service, state) = world();
    assert!(service.stop().success());
    let data = world.data();
    let folder = |name: &str| {
        let folder = world.path(name);
        copy(&data, &folder);
        folder
    };
    let identity = state.join("identity.toml");
    let own = |folder: &Path, code| {
        let arguments = ["verify", "--identity", identity.to_str().unwrap(), "--data", folder.to_str().unwrap()];
        audit_in(&world, folder.file_name().unwrap().to_str().unwrap(), &arguments, code)
    };
    let whole = |folder: &Path, code| {
        let arguments = ["verify", "--all", "--data", folder.to_str().unwrap()];
        audit_in(&world, folder.file_name().unwrap().to_str().unwrap(), &arguments, code)
    };
    // A `sealed` entry that is left out: its rows are in a file that nobody signed for.
    let hidden = folder("hidden");
    let (number, _) = last_sealed(&hidden, "marketing");
    forge(&hidden, |entries| _ = entries.remove(number));
    assert!(failures(&own(&hidden, 4)).contains("not live in the log"));
    assert!(failures(&whole(&hidden, 4)).contains("the log does not say so"));
    // More subjects or rows than there are.
    let counted = folder("counted");
    forge(&counted, |entries| {
        if let Entry::Sealed(sealed) = &mut entries[number] {
            sealed.rows += 1;
        }
    });
    assert!(failures(&whole(&counted, 4)).contains("rows are not as the log says"));
    // Leaves in another order, and a leaf twice: sealed so, under the same root, the proof alone cannot tell.
    for (name, deed) in [("misplaced", reversed as fn(&RecordBatch) -> RecordBatch), ("twice", doubled)] {
        let lying = folder(name);
        let (number, sealed) = last_sealed(&lying, "marketing");
        let path = access::path_of(&lying, &sealed);
        rewrite(&path, deed);
        let (file, size) = (sealed::digest(&path).unwrap(), std::fs::metadata(&path).unwrap().len());
        let rows = sealed.rows;
        forge(&lying, |entries| {
            if let Entry::Sealed(sealed) = &mut entries[number] {
                (sealed.file, sealed.size) = (Sha256Hex(file), size);
            }
        });
        assert!(rows > 0 && !failures(&whole(&lying, 4)).is_empty());
    }
    for fine in files(&data.join("tables")) {
        assert!(fine.exists());
    }
}

fn reversed(rows: &RecordBatch) -> RecordBatch {
    let order: UInt32Array = (0..rows.num_rows() as u32).rev().collect();
    arrow_select::take::take_record_batch(rows, &order).unwrap()
}

fn doubled(rows: &RecordBatch) -> RecordBatch {
    arrow_select::concat::concat_batches(&rows.schema(), [rows, rows]).unwrap()
}

/// Changes each byte of a file in turn, tells, and mends it.
fn each_change(path: &Path, mut tell: impl FnMut(usize)) {
    let whole = std::fs::read(path).unwrap();
    let mut changed = whole.clone();
    for at in 0..whole.len() {
        changed[at] ^= 1 << (at % 8);
        std::fs::write(path, &changed).unwrap();
        tell(at);
        changed[at] = whole[at];
    }
    std::fs::write(path, whole).unwrap();
}

pub(crate) fn tiles(folder: &Path) -> Vec<PathBuf> {
    let mut found = Vec::new();
    for path in std::fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path()) {
        if path.is_dir() { found.extend(tiles(&path)) } else { found.push(path) }
    }
    found.sort();
    found
}
