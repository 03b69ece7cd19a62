//! Every device is a point of gossip: a receipt names the log as it was, and whoever holds one sees a log that was forked or turned back.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::process::Command;

use candor_store::access;
use candor_wire::log::checkpoint::Checkpoint;
use candor_wire::log::entry::Entry;
use candor_wire::merkle::{Hash, leaf_hash, root};
use serde_json::{Value, json};

use crate::clients::python;
use crate::receipts::{BATCHES, run, sent};
use crate::verify::{audit_in, failures, forge, verdicts};
use crate::world::{Service, World, figure, workspace};

/// Checkpoints of the receipts that a device kept, in order, each with its time of receipt.
fn checkpoints(state: &Path) -> Vec<(i64, Checkpoint)> {
    let journal = std::fs::read_to_string(state.join("receipts.jsonl")).unwrap();
    let receipts = journal.lines().filter_map(|line| {
        let line: Value = serde_json::from_str(line).unwrap();
        line.get("receipt").cloned()
    });
    let checkpoint = |receipt: Value| {
        let text = receipt["checkpoint"].as_str().unwrap_or_else(|| panic!("no checkpoint: {receipt}"));
        (receipt["received_at"].as_i64().unwrap(), Checkpoint::parse(text).unwrap())
    };
    receipts.map(checkpoint).collect()
}

fn roots(data: &Path) -> BTreeMap<u64, Hash> {
    let entries = access::entries(data).unwrap().unwrap().1;
    let leaves: Vec<Hash> = entries.iter().map(|entry| leaf_hash(entry)).collect();
    (0..=leaves.len()).map(|size| (size as u64, root(&leaves[..size]))).collect()
}

fn url(service: &Service) -> String {
    format!("http://{}", service.address())
}

/// `audit verify` of the device's holder with what the device kept, by somebody who never saw the log.
fn verify(world: &World, state: &Path, to: &[&str], code: i32) -> Value {
    let (identity, journal) = (state.join("identity.toml"), state.join("receipts.jsonl"));
    let mut arguments = vec!["verify", "--identity", identity.to_str().unwrap()];
    arguments.extend(["--receipts", journal.to_str().unwrap()]);
    arguments.extend(to);
    let kept = format!("kept-{}", to.join("-").replace(['/', ':'], "."));
    audit_in(world, &kept, &arguments, code)
}

#[test]
fn a_receipt_names_the_log_as_it_was_and_a_fork_is_seen_by_whoever_holds_one() {
    let world = World::new();
    world.sign();
    let service = world.serve();
    let state = sent(&world, &service);
    // One more after a flush: what it saw grew.
    run(&world, &service, &state, &["send", world.path("events.jsonl").to_str().unwrap()], 0);
    let seen = checkpoints(&state);
    assert_eq!(seen.len() as u64, 2 * BATCHES + 1);
    let sizes: Vec<u64> = seen.iter().map(|(_, checkpoint)| checkpoint.size).collect();
    assert!(sizes.is_sorted() && sizes.last() > sizes.first(), "{sizes:?}");
    let real = roots(&world.data());
    assert!(seen.iter().all(|(_, checkpoint)| real.get(&checkpoint.size) == Some(&checkpoint.root)), "{seen:?}");
    let check = run(&world, &service, &state, &["receipts", "check"], 0);
    let different = sizes.iter().collect::<BTreeSet<_>>().len();
    assert_eq!((&check["log"]["checkpoints"], &check["log"]["newest"]), (&json!(different), &json!(sizes.last())));
    service.flush();
    let answer = verify(&world, &state, &["--url", &url(&service)], 0);
    assert_eq!(verdicts(&answer, "receipt_checkpoints"), ["proved"], "{answer}");

    // A repeat, also after a kill, is told what it was told then.
    service.kill();
    let service = world.serve();
    run(&world, &service, &state, &["receipts", "check"], 0);
    assert!(service.stop().success());
    forge(&world.data(), |entries| match &mut entries[1] {
        Entry::Catalogue(document) | Entry::Policy(document) => document.since += 1,
        Entry::Key(change) => change.at += 1,
        other => panic!("{other:?}"),
    });
    let service = world.serve();
    let found = run(&world, &service, &state, &["receipts", "check"], 4);
    let rows = found["rows"].as_array().unwrap();
    let forked = rows.iter().filter(|row| row["finding"].as_str().unwrap().contains("forked")).count();
    assert_eq!((forked, rows.len()), (different, different), "{found}");
    let answer = verify(&world, &state, &["--url", &url(&service)], 4);
    assert!(failures(&answer).contains("forked or written anew"), "{answer}");
    assert!(verdicts(&answer, "receipt_checkpoints").contains(&"failed".to_owned()), "{answer}");
    python_says(&world, &service, &state, "were others");
    figure(&format!("gossip: {different} checkpoints of {} receipts, each of which shows a fork", seen.len()));
}

#[test]
fn a_log_that_was_turned_back_is_seen_by_whoever_holds_a_receipt() {
    let world = World::new();
    world.sign();
    let service = world.serve();
    let state = sent(&world, &service);
    assert!(service.stop().success());
    let older = world.path("older");
    let copy = |from: &Path, to: &Path| {
        assert!(Command::new("cp").arg("-r").args([from, to]).status().unwrap().success());
    };
    copy(&world.data(), &older);
    let before = *roots(&older).keys().last().unwrap();
    let service = world.serve();
    for _ in 0..2 {
        run(&world, &service, &state, &["send", world.path("events.jsonl").to_str().unwrap()], 0);
        service.flush();
    }
    assert!(checkpoints(&state).last().unwrap().1.size > before);
    run(&world, &service, &state, &["receipts", "check"], 0);
    assert!(service.stop().success());
    std::fs::remove_dir_all(world.data()).unwrap();
    copy(&older, &world.data());
    let service = world.serve();
    let found = run(&world, &service, &state, &["receipts", "check"], 4).to_string();
    assert!(found.contains("taken back") && found.contains("older checkpoint"), "{found}");
    let answer = verify(&world, &state, &["--url", &url(&service)], 4);
    assert!(failures(&answer).contains("rolled back"), "{answer}");
    python_says(&world, &service, &state, "taken back");
}

/// `docs/verify.py` on a bundle with what the device kept.
fn python_says(world: &World, service: &Service, state: &Path, why: &str) {
    let Some(python) = python() else { return };
    let bundle = world.path(&format!("bundle {why}"));
    let (identity, journal) = (state.join("identity.toml"), state.join("receipts.jsonl"));
    let about = ["--identity", identity.to_str().unwrap(), "--receipts", journal.to_str().unwrap()];
    let url = url(service);
    let export = [&["export", bundle.to_str().unwrap()], &about[..], &["--url", &url]].concat();
    audit_in(world, "bundle", &export, 0);
    let output = Command::new(python).arg(workspace().join("docs/verify.py")).arg(&bundle).output().unwrap();
    let said = String::from_utf8_lossy(&output.stdout);
    assert!(output.status.code() == Some(4) && said.contains(why), "{said}{}", String::from_utf8_lossy(&output.stderr));
}
