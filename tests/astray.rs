//! Files that a service has lost, or whose table somebody else committed to: they stay on disk, the device's check names the batches
//! that lack rows, and nobody else loses an answer.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use serde_json::{Value, json};

use crate::clients::{python, run as python_does};
use crate::erasing::erasure;
use crate::receipts::{BATCHES, files, run, sent};
use crate::verify::{EPOCHS, audit, copy, failures};
use crate::world::{Service, Start, World, figure};

/// What is done to a file, by its name.
type Deed = (&'static str, fn(&Path));

/// A data folder whose service is stopped: two subjects (epochs 0 and 1) with three batches each in one file of each table, and a fourth
/// of the second in another.
struct Stopped {
    world: World,
    state: PathBuf,
}

impl Stopped {
    fn new() -> Self {
        let world = World::new();
        world.sign();
        let service = serve(&world);
        let state = sent(&world, &service);
        run(&world, &service, &state, &["send", world.path("events.jsonl").to_str().unwrap()], 0);
        service.flush();
        run(&world, &service, &state, &["receipts", "check"], 0);
        service.stop();
        copy(&world.data(), &world.path("whole"));
        Self { world, state }
    }

    /// Puts the data folder back as it was.
    fn again(&self) {
        std::fs::remove_dir_all(self.world.data()).unwrap();
        copy(&self.world.path("whole"), &self.world.data());
    }

    fn table(&self) -> PathBuf {
        self.world.data().join("tables/analytics/phone.app")
    }

    /// The newest sealed file of a table: that of the fourth batch.
    fn newest(&self) -> PathBuf {
        let of_fourth = |file: &PathBuf| std::fs::metadata(file).unwrap().len();
        files(&self.table()).into_iter().min_by_key(of_fourth).unwrap()
    }

    fn check(&self, service: &Service, code: i32) -> BTreeSet<(u64, u64, u64)> {
        let found = run(&self.world, service, &self.state, &["receipts", "check"], code);
        let findings = found["rows"].as_array().unwrap_or_else(|| panic!("{found}"));
        let number = |finding: &Value, key: &str| finding[key].as_u64().unwrap_or_else(|| panic!("{found}"));
        assert!(findings.iter().all(|finding| finding["purpose"] == "analytics"), "{found}");
        findings.iter().map(|one| (number(one, "epoch"), number(one, "batch"), number(one, "purpose_batch"))).collect()
    }

    /// What `audit verify` finds wrong in a bundle, which can be had all the same.
    fn verify(&self, service: &Service, name: &str) -> String {
        let (bundle, url) = (self.world.path(name), format!("http://{}", service.address()));
        let identity = self.state.join("identity.toml");
        let (bundle, identity) = (bundle.to_str().unwrap(), identity.to_str().unwrap());
        audit(&self.world, &["export", bundle, "--identity", identity, "--url", &url], 0);
        failures(&audit(&self.world, &["verify", bundle, "--identity", identity], 4))
    }
}

fn serve(world: &World) -> Service {
    world.start(&Start { environment: &EPOCHS, ..Start::default() }).unwrap()
}

fn commit(python: &Path, table: &Path, deed: &str) {
    let output = python_does(python, "commit_to_table.py", &[table.to_str().unwrap(), deed]);
    assert!(output.status.success(), "{deed}: {}", String::from_utf8_lossy(&output.stderr));
}

#[test]
fn a_commit_of_somebody_else_destroys_nothing_and_is_named_by_its_batch() {
    let Some(python) = python() else { return };
    let stopped = Stopped::new();
    for deed in ["delete", "update", "restore", "overwrite"] {
        stopped.again();
        let before = files(&stopped.table());
        commit(&python, &stopped.table(), deed);
        let service = serve(&stopped.world);
        let after = files(&stopped.table());
        assert!(before.iter().all(|file| after.contains(file)), "{deed}: the start removed what the log has as live");
        let named = stopped.check(&service, if deed == "overwrite" { 0 } else { 4 });
        match deed {
            "overwrite" => assert_eq!(named, BTreeSet::new(), "every row is there as its receipt has it"),
            // Its receipt is that of the second subject's fourth batch.
            "restore" => assert_eq!(named, BTreeSet::from([(1, BATCHES + 1, BATCHES + 1)])),
            _ => {
                let named: Vec<_> = named.into_iter().collect();
                assert!(matches!(named[..], [(_, 2, 2)]), "{deed}: {named:?}");
            }
        }
        let wrong = stopped.verify(&service, &format!("bundle-{deed}"));
        assert!(wrong.contains("the answer has no proof for this file"), "{deed}: {wrong}");
        let url = format!("http://{}", service.address());
        let identity = stopped.state.join("identity.toml");
        let shown = audit(&stopped.world, &["show", "--identity", identity.to_str().unwrap(), "--url", &url], 0);
        assert!(shown["unread"].as_array().is_some_and(|files| !files.is_empty()), "{deed}: {shown}");
    }
    figure("astray: 4 commits of deltalake, no file lost, each batch named that lacks a row");
}

#[test]
fn a_file_that_is_lost_or_damaged_is_named_by_its_batch_and_takes_nobody_elses_answer() {
    let stopped = Stopped::new();
    let deeds: [Deed; 3] = [
        ("removed", |file| std::fs::remove_file(file).unwrap()),
        ("truncated", |file| {
            let opened = std::fs::File::options().write(true).open(file).unwrap();
            opened.set_len(opened.metadata().unwrap().len() / 2).unwrap();
        }),
        ("emptied", |file| std::fs::write(file, []).unwrap()),
    ];
    for (name, deed) in deeds {
        stopped.again();
        let file = stopped.newest();
        deed(&file);
        let service = serve(&stopped.world);
        assert_eq!(stopped.check(&service, 4), BTreeSet::from([(1, BATCHES + 1, BATCHES + 1)]), "{name}");
        let wrong = stopped.verify(&service, &format!("bundle-{name}"));
        assert!(wrong.contains("the answer has no proof for this file"), "{name}: {wrong}");
        assert!(wrong.contains("epoch 1") && !wrong.contains("epoch 0"), "{name}: {wrong}");
        service.stop();
        let data = stopped.world.data();
        let (data, identity) = (data.to_str().unwrap(), stopped.state.join("identity.toml"));
        let by_folder = ["verify", "--identity", identity.to_str().unwrap(), "--data", data];
        let wrong = failures(&audit(&stopped.world, &by_folder, 4));
        assert!(wrong.contains("epoch 1") && !wrong.contains("epoch 0"), "{name}, by the folder: {wrong}");
    }
    figure(
        "astray: a sealed file removed, truncated, emptied: each named by its batch, and the other subject's answer holds",
    );
}

#[test]
fn nobody_certifies_an_erasure_while_a_file_beside_its_table_holds_rows() {
    let Some(python) = python() else { return };
    let stopped = Stopped::new();
    commit(&python, &stopped.table(), "restore");
    let service = serve(&stopped.world);
    let aside = stopped.newest();
    run(&stopped.world, &service, &stopped.state, &["erase"], 0);
    // The first subject has no row in it, and is erased.
    erasure(&stopped.world, &service, &["run"]);
    assert_eq!(service.metric("candor_store_unreadable_files"), 1);
    let late = run(&stopped.world, &service, &stopped.state, &["erase", "--wait", "1"], 1);
    let states: Vec<&Value> = late["rows"].as_array().unwrap().iter().map(|one| &one["state"]).collect();
    assert_eq!(states, [&json!("done"), &json!("requested")], "{late}");
    assert!(aside.exists());
}
