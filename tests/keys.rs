//! Keys at the command line: what rotates goes on, what is destroyed links nothing any more, and no secret stays behind.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::time::Duration;

use serde_json::{Value, json};

use crate::crash::failpoints;
use crate::otlp::{Event, encode};
use crate::signer::AGENTS;
use crate::world::{Service, Start, World, figure, workspace};

/// A device that a source names, and an address that `analytics` keeps as a pseudonym.
const DEVICE: &str = "keys-phone";
const EMAIL: &str = "keys@example.org";

fn open(service: &Service, package: &str) {
    let attributes = json!({"app.package": package, "screen": "home", "account.email": EMAIL});
    let event = Event::new(DEVICE, "US-CA", "phone.app.opened", attributes);
    service.device().logs(&encode(&[event])).unwrap().expect_status(200);
    service.flush();
}

/// `candor key ... --json`, and its answer if it ends with `code`.
fn key(world: &World, arguments: &[&str], place: Place<'_>, code: i32) -> Value {
    let data = world.data();
    let token = world.fleet().join("tokens/backend.token");
    let mut all = vec!["key"];
    all.extend(arguments);
    let url;
    match place {
        Place::Folder => all.extend(["--data", data.to_str().unwrap()]),
        Place::Service(service) => {
            url = format!("http://{}", service.address());
            all.extend(["--url", &url, "--token-file", token.to_str().unwrap()]);
        }
    }
    all.push("--json");
    let output = world.candor(&all);
    let (out, errors) = (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    assert_eq!(output.status.code(), Some(code), "{arguments:?}: {out}{errors}");
    serde_json::from_slice(if code == 0 { &output.stdout } else { &output.stderr }).unwrap_or(Value::Null)
}

#[derive(Clone, Copy)]
enum Place<'a> {
    Folder,
    Service(&'a Service),
}

/// (generation, state) of a key in an answer.
fn generations(answer: &Value, key: &str) -> Vec<(u64, String)> {
    let rows = answer["rows"].as_array().unwrap_or_else(|| panic!("{answer}"));
    let of_key = rows.iter().filter(|row| row["key"] == key);
    of_key.map(|row| (row["generation"].as_u64().unwrap(), row["state"].as_str().unwrap().to_owned())).collect()
}

fn ring(world: &World) -> String {
    std::fs::read_to_string(world.data().join("keys/ring.toml")).unwrap()
}

/// Whether the log has an entry of a key.
fn logged(world: &World, event: &str, generation: u64, key: &str) -> bool {
    let entries = texts(&world.data().join("log/tile/entries"));
    let [event, generation] = [format!("\"event\":\"{event}\","), format!("\"generation\":{generation},")];
    let of_key = format!("\"use\":\"{key}\"}}");
    let mut entries = entries.split("{\"at\":");
    entries.any(|entry| [event.as_str(), &generation, &of_key].iter().all(|part| entry.contains(part)))
}

fn texts(folder: &Path) -> String {
    let mut text = String::new();
    for path in std::fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path()) {
        text +=
            &if path.is_dir() { texts(&path) } else { String::from_utf8_lossy(&std::fs::read(&path).unwrap()).into() };
    }
    text
}

/// Every secret in a ring, as its file writes it.
fn secrets(ring: &str) -> BTreeSet<String> {
    let lines = ring.lines().filter_map(|line| line.strip_prefix("secret = "));
    lines.map(|secret| secret.trim_matches('"').to_owned()).collect()
}

/// Files below a folder that hold a secret, as hex or as bytes.
fn holders(folder: &Path, secret: &str) -> Vec<PathBuf> {
    let raw: Vec<u8> =
        (0..secret.len()).step_by(2).map(|at| u8::from_str_radix(&secret[at..at + 2], 16).unwrap()).collect();
    let mut found = Vec::new();
    for path in std::fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path()) {
        if path.is_dir() {
            found.extend(holders(&path, secret));
            continue;
        }
        let bytes = std::fs::read(&path).unwrap();
        let has = |needle: &[u8]| bytes.windows(needle.len()).any(|window| window == needle);
        if has(secret.as_bytes()) || has(&raw) {
            found.push(path);
        }
    }
    found
}

fn emails(world: &World) -> Vec<String> {
    let rows = world.query("select account_email_hmac as e from analytics.\"phone.app\" order by app_package");
    rows.iter().map(|row| row["e"].as_str().unwrap().to_owned()).collect()
}

fn held(world: &World) -> usize {
    let rows = world.json(&["audit", "show", DEVICE])["rows"].as_array().unwrap().clone();
    let of_table = rows.iter().filter(|row| row["purpose"] == "analytics" && row["field"] == "app_package");
    of_table.count()
}

#[test]
fn rows_under_every_subject_key_are_found_until_one_is_destroyed() {
    let world = World::new();
    let service = world.serve();
    service.consent(&[DEVICE], "given");
    open(&service, "a");
    let before = secrets(&ring(&world));
    let rotated = key(&world, &["rotate", "subject"], Place::Service(&service), 0);
    assert_eq!(generations(&rotated, "subject"), [(1, "kept".to_owned()), (2, "in use".to_owned())]);
    assert_eq!(rotated["events"][0]["event"], "rotated", "{rotated}");
    open(&service, "b");
    let names = || world.count("select count(distinct subject) from analytics.\"phone.app\"");
    assert_eq!((names(), held(&world)), (2, 2), "one device, two pseudonyms, both found");
    // The service goes on with it after a restart, without a consent lost.
    assert!(service.stop().success());
    let service = world.serve();
    open(&service, "c");
    assert_eq!((names(), held(&world)), (2, 3));

    let refused = key(&world, &["rotate", "subject"], Place::Folder, 1);
    assert!(refused["error"]["message"].as_str().unwrap().contains("locked"), "{refused}");
    assert!(service.stop().success());
    assert!(before.is_subset(&secrets(&ring(&world))), "the old key is still there");
    let destroy = ["destroy", "subject", "--generation", "1"];
    let asked = key(&world, &destroy, Place::Folder, 2);
    assert!(asked["error"]["message"].as_str().unwrap().contains("cannot be undone"), "{asked}");
    key(&world, &[&destroy[..], &["--yes"]].concat(), Place::Folder, 0);
    let gone: Vec<String> = before.difference(&secrets(&ring(&world))).cloned().collect();
    assert_eq!(gone.len(), 1, "one secret went");
    assert_eq!(holders(&world.data(), &gone[0]), Vec::<PathBuf>::new());
    assert_eq!((names(), held(&world)), (2, 2), "rows under the destroyed key stay, and are nobody's");
    for (event, generation) in [("created", 1), ("rotated", 2), ("destroyed", 1)] {
        assert!(logged(&world, event, generation, "subject"), "{event} {generation} is not in the log");
    }
    key(&world, &["destroy", "subject", "--generation", "2", "--yes"], Place::Folder, 2);
    key(&world, &["rotate", "ledger"], Place::Folder, 2);
}

#[test]
fn a_named_key_that_is_destroyed_links_nothing_any_more() {
    let world = World::new();
    let service = world.serve();
    service.consent(&[DEVICE], "given");
    open(&service, "a");
    open(&service, "b");
    let before = secrets(&ring(&world));
    let name = "named/analytics";
    let rotated = key(&world, &["rotate", name], Place::Service(&service), 0);
    assert_eq!(generations(&rotated, name), [(1, "kept".to_owned()), (2, "in use".to_owned())]);
    open(&service, "c");
    let pseudonyms = emails(&world);
    assert!(pseudonyms[0] == pseudonyms[1] && pseudonyms[2] != pseudonyms[0], "{pseudonyms:?}");

    let destroy =
        |more: &[&str]| key(&world, &[&["destroy", name, "--yes"], more].concat(), Place::Service(&service), 0);
    destroy(&["--generation", "1"]);
    let gone: Vec<String> = before.difference(&secrets(&ring(&world))).cloned().collect();
    assert_eq!(gone.len(), 1);
    assert_eq!(holders(&world.data(), &gone[0]), Vec::<PathBuf>::new());
    // All of them: the policy names the key, so the service goes on with another one.
    let all = destroy(&[]);
    assert_eq!(generations(&all, name), [(3, "in use".to_owned())]);
    open(&service, "d");
    let pseudonyms = emails(&world);
    assert_eq!(pseudonyms.iter().collect::<BTreeSet<_>>().len(), 3, "{pseudonyms:?}");
    assert!(service.stop().success());
    for (event, generation) in [("created", 1), ("rotated", 2), ("destroyed", 1), ("destroyed", 2), ("rotated", 3)] {
        assert!(logged(&world, event, generation, name), "{event} {generation} is not in the log");
    }
    let listed = key(&world, &["list"], Place::Folder, 0);
    assert_eq!(generations(&listed, name), [(3, "in use".to_owned())]);
    let text = listed.to_string();
    assert!(secrets(&ring(&world)).iter().all(|secret| !text.contains(secret)), "a secret is shown");
    let service = world.serve();
    open(&service, "e");
    let pseudonyms = emails(&world);
    assert_eq!(pseudonyms[3], pseudonyms[4], "a restart changes no key");
    let made = key(&world, &["new", "research"], Place::Service(&service), 0);
    assert_eq!(generations(&made, "named/research"), [(1, "in use".to_owned())]);
    key(&world, &["new", "research"], Place::Service(&service), 2);
}

/// A device at the command line.
struct Device<'a> {
    world: &'a World,
    state: PathBuf,
}

impl Device<'_> {
    fn run(&self, service: &Service, arguments: &[&str], code: i32) -> Value {
        let (url, token) = (format!("http://{}", service.address()), self.world.path("agents.token"));
        std::fs::write(&token, AGENTS).unwrap();
        let mut all = vec!["agent"];
        all.extend(arguments);
        all.extend(["--state", self.state.to_str().unwrap(), "--json"]);
        if !matches!(arguments[1], "new" | "show") {
            all.extend(["--url", &url]);
        }
        if !matches!(arguments[0], "identity" | "receipts") {
            all.extend(["--token-file", token.to_str().unwrap()]);
        }
        let output = self.world.candor(&all);
        let (out, errors) = (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
        assert_eq!(output.status.code(), Some(code), "{arguments:?}: {out}{errors}");
        serde_json::from_slice(&output.stdout).unwrap_or(Value::Null)
    }

    fn sends(&self, service: &Service, package: &str, code: i32) -> Value {
        let line = json!({
            "time": "2026-11-16T00:19:20Z", "event": "phone.app.opened",
            "resource": { "region": "DE", "device.model.name": "P14", "gpc": false },
            "attributes": { "app.package": package, "screen": "home" },
        });
        let path = self.world.path("events.jsonl");
        std::fs::write(&path, line.to_string() + "\n").unwrap();
        self.run(service, &["send", path.to_str().unwrap(), "--patience", "1"], code)
    }
}

#[test]
fn a_device_follows_the_key_of_receipts_and_no_thief_of_the_old_one() {
    let world = World::new();
    world.sign();
    let service = world.serve();
    let address = service.address();
    let device = Device { world: &world, state: world.path("device") };
    device.run(&service, &["identity", "new", "acme-fleet"], 0);
    let states = ["consent", "set", "analytics=given", "--notice", "2026-01", "--language", "de", "--age-from", "30"];
    device.run(&service, &states, 0);
    device.sends(&service, "a", 0);
    let stolen = ring(&world);
    // Two at once while it is away, then one while it is there.
    for _ in 0..2 {
        key(&world, &["rotate", "receipts"], Place::Service(&service), 0);
    }
    let gone: Vec<String> = secrets(&stolen).difference(&secrets(&ring(&world))).cloned().collect();
    assert_eq!(gone.len(), 1);
    assert_eq!(holders(&world.data(), &gone[0]), Vec::<PathBuf>::new());
    device.sends(&service, "b", 0);
    key(&world, &["rotate", "receipts"], Place::Service(&service), 0);
    // Old receipts still hold, and those that the service signs anew.
    let checked = device.run(&service, &["receipts", "check"], 0);
    assert_eq!(checked["receipts"], 2, "{checked}");
    device.sends(&service, "c", 0);
    assert!(service.stop().success());
    let service = world.serve_at(address);
    device.sends(&service, "d", 0);
    assert_eq!(device.run(&service, &["receipts", "check"], 0)["receipts"], 4);
    assert!(service.stop().success());

    // Whoever has the old ring can be the old service, and no follower of it.
    let now = ring(&world);
    std::fs::write(world.data().join("keys/ring.toml"), &stolen).unwrap();
    let thief = world.serve_at(address);
    key(&world, &["rotate", "receipts"], Place::Service(&thief), 0);
    device.sends(&thief, "e", 1);
    let shown = device.run(&thief, &["identity", "show"], 0);
    assert_eq!(shown["spooled"], 1, "nothing is acknowledged by a stranger: {shown}");
    assert!(thief.stop().success());
    std::fs::write(world.data().join("keys/ring.toml"), &now).unwrap();
    let service = world.serve_at(address);
    device.sends(&service, "f", 0);
    figure("keys: receipts under 4 keys of one service hold; those of the thief of the first are not taken");
}

#[test]
fn a_key_of_the_log_signs_beside_the_one_before_it_until_that_is_destroyed() {
    let world = World::new();
    let signatures = || {
        let note = std::fs::read_to_string(world.data().join("log/checkpoint")).unwrap();
        note.lines().filter(|line| line.starts_with('\u{2014}')).count()
    };
    let service = world.serve();
    assert_eq!(signatures(), 1);
    let rotated = key(&world, &["rotate", "log"], Place::Service(&service), 0);
    assert_eq!(generations(&rotated, "log").len(), 2, "{rotated}");
    assert_eq!(signatures(), 2);
    assert!(service.stop().success());
    assert!(world.serve().stop().success());
    key(&world, &["destroy", "log", "--generation", "2", "--yes"], Place::Folder, 2);
    key(&world, &["destroy", "log", "--generation", "1", "--yes"], Place::Folder, 0);
    assert_eq!(signatures(), 1);
    let service = world.serve();
    for (event, generation) in [("created", 1), ("rotated", 2), ("destroyed", 1)] {
        assert!(logged(&world, event, generation, "log"), "{event} {generation} is not in the log");
    }
    // Beside each other, with one end of the old one: what has to be signed by it is not left behind.
    key(&world, &["rotate", "log"], Place::Service(&service), 0);
    key(&world, &["destroy", "log", "--generation", "2", "--yes"], Place::Service(&service), 0);
    assert!(service.stop().success());
    assert!(world.serve().stop().success());
}

#[test]
fn a_crash_at_each_step_of_a_change_leaves_a_ring_and_no_old_secret() {
    let points: BTreeSet<String> = failpoints(&workspace().join("store/src"));
    let points: Vec<&String> = points.iter().filter(|name| name.starts_with("keys::")).collect();
    assert!(points.len() >= 3, "{points:?}");
    for point in &points {
        let world = World::new();
        let service = world.serve();
        service.consent(&[DEVICE], "given");
        open(&service, "a");
        assert!(service.stop().success());
        let before = secrets(&ring(&world));
        let data = world.data();
        let rotate = ["key", "rotate", "receipts", "--data", data.to_str().unwrap()];
        let action = format!("{point}=return");
        for _ in 0..2 {
            let crashed = world.candor_with(&rotate, &[("FAILPOINTS", &action)]);
            assert!(!crashed.status.success(), "{point}: {}", String::from_utf8_lossy(&crashed.stdout));
        }
        assert!(world.candor(&rotate).status.success());
        let gone: Vec<String> = before.difference(&secrets(&ring(&world))).cloned().collect();
        assert_eq!(gone.len(), 1, "{point}");
        assert_eq!(holders(&data, &gone[0]), Vec::<PathBuf>::new(), "{point}");
        let service = world.serve();
        open(&service, "b");
        assert_eq!(held(&world), 2, "{point}");
    }
    figure(&format!(
        "keys: {} steps of a change, killed at each twice: the ring is whole, the old secret gone",
        points.len()
    ));
}

/// A service with failpoints, on a folder whose start has nothing to write.
fn armed(world: &World, failpoints: &str) -> Service {
    let service = world.serve();
    service.consent(&[DEVICE], "given");
    assert!(service.stop().success());
    let environment = [("FAILPOINTS", failpoints)];
    world.start(&Start { environment: &environment, ..Start::default() }).unwrap()
}

#[test]
fn a_failed_sync_ends_the_process_and_what_was_shown_stays_true() {
    for point in ["log::failed_sync", "keys::failed_sync"] {
        let world = World::new();
        let mut service = armed(&world, &format!("{point}=1*return"));
        let change = json!({"change": "rotate", "key": "subject"});
        let answer = service.officer().json("/v1/keys", &change);
        assert!(answer.is_err() || answer.is_ok_and(|answer| answer.status == 503), "{point}");
        // What the log shows now, somebody may have seen.
        world.verify(point);
        let ended = service.wait(Duration::from_secs(5));
        let service = if ended.is_some() { world.serve() } else { service };
        open(&service, "a");
        world.verify(&format!("{point}, and more after it"));
        assert!(ended.is_some_and(|status| !status.success()), "{point}: {ended:?}");
        let listed = key(&world, &["list"], Place::Folder, 0);
        assert_eq!(generations(&listed, "subject").len(), 2, "{point}");
        assert!(logged(&world, "rotated", 2, "subject"), "{point}");
    }
}

#[test]
fn a_key_of_the_log_is_not_destroyed_before_another_one_signed() {
    let world = World::new();
    let service = armed(&world, "log::before_tiles=return(full)");
    let destroy = ["destroy", "log", "--generation", "1", "--yes"];
    key(&world, &["rotate", "log"], Place::Service(&service), 1);
    key(&world, &destroy, Place::Service(&service), 1);
    assert!(service.stop().success());
    let service = world.serve();
    world.verify("with both keys");
    key(&world, &destroy, Place::Service(&service), 0);
    assert!(service.stop().success());
    assert!(world.serve().stop().success());
    world.verify("with the newer one");
}
