//! The log from outside: crashes in the middle of it, a log that was turned back, what is served, and a client that is not ours.

use std::path::{Path, PathBuf};

use serde_json::{Value, json};

use crate::clients::{python, run};
use crate::skip::skipped;
use crate::world::{Service, Start, World, figure};

const FAILPOINTS: [&str; 3] = ["log::before_tiles", "log::after_tiles", "log::after_checkpoint"];

/// Changes the policy, so that the next start has something to log.
pub(crate) fn change_policy(world: &World) {
    world.edit("policy.toml", |policy| policy.replacen("description = \"", "description = \"Again: ", 1));
}

/// `audit log follow` on the data folder.
fn follow(world: &World) -> Value {
    world.json(&["audit", "log", "follow", "--all"])
}

fn kinds(followed: &Value) -> Vec<&str> {
    followed["rows"].as_array().unwrap().iter().map(|row| row["kind"].as_str().unwrap()).collect()
}

/// The files of a folder, without unfinished ones, by their ways from it.
fn files(folder: &Path) -> Vec<PathBuf> {
    let mut files = Vec::new();
    for item in std::fs::read_dir(folder).unwrap().map(Result::unwrap) {
        if item.path().is_dir() {
            files.extend(self::files(&item.path()));
        } else {
            files.push(item.path());
        }
    }
    files
}

fn copy(from: &Path, to: &Path) {
    for file in files(from) {
        let path = to.join(file.strip_prefix(from).unwrap());
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::copy(file, path).unwrap();
    }
}

fn url(service: &Service) -> String {
    format!("http://{}", service.address())
}

#[test]
fn the_log_holds_after_a_crash_at_each_of_its_steps_twice_in_a_row() {
    for name in FAILPOINTS {
        let world = World::new();
        assert!(world.serve().stop().success());
        let first = follow(&world)["size"].as_u64().unwrap();
        let action = format!("{name}=return");
        for _ in 0..2 {
            change_policy(&world);
            let environment = [("FAILPOINTS", action.as_str())];
            let started = world.start(&Start { environment: &environment, ..Start::default() });
            assert!(started.is_err(), "{name} was not reached");
            // Whoever looks meanwhile sees a log that holds.
            follow(&world);
        }
        let service = world.serve();
        let followed = follow(&world);
        // Where the checkpoint was durable the statement is in, also of the start that died.
        let new = if name == "log::after_checkpoint" { 2 } else { 1 };
        assert_eq!(followed["size"], first + new, "{name}");
        assert_eq!(*kinds(&followed).last().unwrap(), "policy", "{name}");
        assert!(service.stop().success());
        let unfinished =
            files(&world.data().join("log")).into_iter().find(|path| path.extension().is_some_and(|e| e == "tmp"));
        assert_eq!(unfinished, None, "{name}");
        figure(&format!("log: {name}: two crashes, {} entries that hold", first + new));
    }
}

#[test]
fn a_log_that_was_turned_back_or_forked_is_refused() {
    let world = World::new();
    assert!(world.serve().stop().success());
    let (log, older) = (world.data().join("log"), world.path("older"));
    copy(&log, &older);
    change_policy(&world);
    let service = world.serve();
    let address = url(&service);
    let seen = world.candor(&["audit", "log", "follow", "--url", &address, "--json"]);
    assert_eq!(seen.status.code(), Some(0), "{}", String::from_utf8_lossy(&seen.stderr));
    let again = world.candor(&["audit", "log", "follow", "--url", &address]);
    assert!(String::from_utf8_lossy(&again.stdout).contains("nothing new"));
    assert!(service.stop().success());

    std::fs::remove_dir_all(&log).unwrap();
    copy(&older, &log);
    let refused = |arguments: &[&str], why: &str| {
        let output = world.candor(&[&["audit", "log"], arguments].concat());
        let said = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.code() == Some(4) && said.contains(why), "{arguments:?}: {said}");
    };
    let data = world.data();
    let data = data.to_str().unwrap();
    refused(&["follow", "--data", data], "taken back");
    refused(&["show", "--data", data], "taken back");
    // As many entries as before, and more, but not the same ones.
    for _ in 0..2 {
        let service = world.serve();
        refused(&["follow", "--url", &url(&service)], "does not extend");
        refused(&["entry", "0", "--url", &url(&service)], "does not extend");
        assert!(service.stop().success());
        change_policy(&world);
    }
    // Somebody who never saw it takes it for good: that is what witnesses are for.
    let state = world.path("another");
    let output =
        world.candor_with(&["audit", "log", "follow", "--data", data], &[("XDG_STATE_HOME", state.to_str().unwrap())]);
    assert_eq!(output.status.code(), Some(0));
}

#[test]
fn a_changed_entry_is_refused_by_whoever_reads_it() {
    let world = World::new();
    assert!(world.serve().stop().success());
    let bundle = files(&world.data().join("log/tile/entries")).pop().unwrap();
    let bytes = std::fs::read(&bundle).unwrap();
    let text = String::from_utf8_lossy(&bytes).into_owned();
    let at = text.find("created").unwrap();
    let mut changed = bytes.clone();
    changed[at] = b'C';
    std::fs::write(&bundle, changed).unwrap();
    let data = world.data();
    let output = world.candor(&["audit", "log", "entry", "0", "--data", data.to_str().unwrap()]);
    assert_eq!(output.status.code(), Some(4), "{}", String::from_utf8_lossy(&output.stderr));
    let Err(said) = world.start(&Start::default()) else { panic!("the service took a changed log") };
    assert!(said.contains("log"), "{said}");
    std::fs::write(&bundle, bytes).unwrap();
    let entry = world.json(&["audit", "log", "entry", "0"]);
    assert_eq!((&entry["rows"][0]["kind"], &entry["rows"][0]["entry"]["event"]), (&json!("key"), &json!("created")));
}

#[test]
fn what_is_served_is_what_is_on_disk() {
    let world = World::new();
    for _ in 0..3 {
        assert!(world.serve().stop().success());
        change_policy(&world);
    }
    let service = world.serve();
    let (mut client, log) = (service.client(None), world.data().join("log"));
    let mut served = 0;
    for file in files(&log) {
        let path = format!("/log/{}", file.strip_prefix(&log).unwrap().to_str().unwrap());
        assert_eq!(client.get(&path).unwrap().expect_status(200).body, std::fs::read(&file).unwrap(), "{path}");
        served += 1;
    }
    assert!(served > 8, "{served} files");
    // Nothing beside them, however it is asked for.
    for path in [
        "/log/../keys/ring.toml",
        "/log/tile/../../keys/ring.toml",
        "/log/tile/entries/..%2F..%2F..%2Fkeys%2Fring.toml",
    ] {
        assert_eq!(client.get(path).unwrap().status, 404, "{path}");
    }
}

#[test]
fn a_client_that_is_not_ours_follows_the_log() {
    let Some(python) = python() else { return };
    let world = World::new();
    assert!(world.serve().stop().success());
    let old = world.path("old-checkpoint");
    std::fs::copy(world.data().join("log/checkpoint"), &old).unwrap();
    for _ in 0..4 {
        change_policy(&world);
        assert!(world.serve().stop().success());
    }
    let service = world.serve();
    let keys: Value = serde_json::from_slice(&service.client(None).get("/v1/keys").unwrap().body).unwrap();
    let key = keys["log"][0]["vkey"].as_str().unwrap();
    let follow =
        |key: &str| run(&python, "follow_log.py", &[&format!("{}/log", url(&service)), key, old.to_str().unwrap()]);
    let output = follow(key);
    if output.status.code() == Some(3) {
        skipped("the Python of CANDOR_TEST_PYTHON has no aics-tlog");
        return;
    }
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let followed: Value = serde_json::from_slice(&output.stdout).unwrap();
    let ours = self::follow(&world);
    assert_eq!(followed["size"], ours["size"]);
    let entries: Vec<&Value> = ours["rows"].as_array().unwrap().iter().map(|row| &row["entry"]).collect();
    assert_eq!(followed["entries"].as_array().unwrap().iter().collect::<Vec<_>>(), entries);
    assert_eq!(entries.len() as u64, followed["old"].as_u64().unwrap() + 4);
    // It is no rubber stamp: under another key it refuses.
    let other = "candor/acme-fleet+53b08dd2+AQcHBwcHBwcHBwcHBwcHBwcHBwcHBwcHBwcHBwcHBwcH";
    assert!(!follow(other).status.success());
    figure(&format!("log: aics-tlog followed {} entries", entries.len()));
}
