//! Backups: made beside a service under load, broken off at every step, restored, and damaged on purpose.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use serde_json::Value;

use crate::crash::{Oracle, copy_tree, failpoints};
use crate::otlp::package;
use crate::random::Random;
use crate::world::{Service, Start, World, figure, workspace};

const ROUNDS: usize = 4;
const SENDERS: usize = 3;

/// A service that seals every few requests and may make backups.
fn start(world: &World, failpoint: Option<&str>) -> Result<Service, String> {
    let backups = world.path("backups");
    let mut environment = vec![
        ("CANDOR_STORE_BACKUPS", backups.to_str().unwrap()),
        ("CANDOR_STORE_SEGMENT_ROWS", "200"),
        ("CANDOR_STORE_FLUSH_SECONDS", "1"),
    ];
    environment.extend(failpoint.map(|action| ("FAILPOINTS", action)));
    world.start(&Start { environment: &environment, ..Start::default() })
}

/// `candor ... --json`: exit code, and what it says.
fn candor(world: &World, arguments: &[&str], environment: &[(&str, &str)]) -> (Option<i32>, Value) {
    let output = world.candor_with(&[arguments, &["--json"]].concat(), environment);
    let text = if output.stdout.is_empty() { &output.stderr } else { &output.stdout };
    let said = serde_json::from_slice(text);
    (output.status.code(), said.unwrap_or_else(|_| Value::String(String::from_utf8_lossy(text).into_owned())))
}

fn back_up_by(world: &World, service: &Service, name: &str) -> (Option<i32>, Value) {
    let (url, token) = (format!("http://{}", service.address()), world.fleet().join("tokens/backend.token"));
    candor(world, &["store", "backup", name, "--url", &url, "--token-file", token.to_str().unwrap()], &[])
}

fn restore(world: &World, from: &Path, environment: &[(&str, &str)]) -> (Option<i32>, Value) {
    let (data, keys) = (world.data(), world.path("ring.toml"));
    let from = from.to_str().unwrap();
    let arguments = ["store", "restore", from, "--keys", keys.to_str().unwrap(), "--data", data.to_str().unwrap()];
    candor(world, &arguments, environment)
}

fn check(world: &World) -> (Option<i32>, BTreeMap<String, String>) {
    let (code, said) = candor(world, &["store", "check", "--data", world.data().to_str().unwrap()], &[]);
    let rows = said["rows"].as_array().unwrap_or_else(|| panic!("{said}"));
    let text = |row: &Value, key: &str| row[key].as_str().unwrap_or_default().to_owned();
    let wrong = rows.iter().filter(|row| row["outcome"] != "ok");
    (code, wrong.map(|row| (text(row, "check"), format!("{}: {}", text(row, "outcome"), text(row, "found")))).collect())
}

/// Everything is lost but the backups and the key ring, which is kept apart.
fn lose(world: &World) {
    let ring = world.path("ring.toml");
    let _ = std::fs::remove_file(&ring);
    std::fs::copy(world.data().join("keys/ring.toml"), &ring).unwrap();
    std::fs::remove_dir_all(world.data()).unwrap();
}

/// Numbers of the events that are there, none of them twice.
fn found(world: &World) -> BTreeSet<String> {
    let rows = world.query("select app_package, count(*) as n from analytics.\"phone.app\" group by app_package");
    let twice: Vec<_> = rows.iter().filter(|row| row["n"] != 1).collect();
    assert!(twice.is_empty(), "doubled: {twice:?}");
    rows.iter().map(|row| row["app_package"].as_str().unwrap().to_owned()).collect()
}

#[test]
fn a_backup_under_load_has_every_row_that_was_acknowledged_before_it_once() {
    let mut random = Random::announced("backup");
    let (mut rows, mut later) = (0, 0);
    for round in 0..ROUNDS {
        let world = World::new();
        let service = start(&world, None).unwrap();
        service.consent(&["crashing"], "given");
        let (oracle, stop) = (Oracle::default(), AtomicBool::new(false));
        let address = service.address();
        let before = std::thread::scope(|scope| {
            for _ in 0..SENDERS {
                let mut random = Random::new(random.next());
                let (oracle, stop) = (&oracle, &stop);
                scope.spawn(
                    move || {
                        while !stop.load(Ordering::Relaxed) && oracle.send(address, 1 + random.below(20)) {}
                    },
                );
            }
            std::thread::sleep(Duration::from_millis(400 + random.below(900)));
            let before = oracle.acknowledged();
            let (code, made) = back_up_by(&world, &service, "one");
            assert_eq!(code, Some(0), "{made}\n{}", service.log());
            assert_eq!(made["left_out"], serde_json::json!([]), "{made}");
            let (code, refused) = back_up_by(&world, &service, "one");
            assert_eq!(code, Some(2), "a backup is never written over: {refused}");
            std::thread::sleep(Duration::from_millis(random.below(400)));
            service.kill();
            stop.store(true, Ordering::Relaxed);
            before
        });
        lose(&world);
        let (code, said) = restore(&world, &world.path("backups/one"), &[]);
        assert_eq!(code, Some(0), "round {round}: {said}");
        let there = found(&world);
        let lost: Vec<_> = before.iter().filter(|number| !there.contains(&package(**number))).collect();
        assert!(lost.is_empty(), "round {round}: acknowledged before the backup and not in it: {lost:?}");
        world.totals();
        rows += before.len();
        later += there.len() - before.len();
        // The restored service goes on, knows its subjects, and recognises what it has.
        let service = start(&world, None).unwrap();
        let more = Oracle::default();
        more.starts_at(10_000_000);
        assert!(more.send(service.address(), 5));
        service.flush();
        let now = found(&world);
        assert!(there.is_subset(&now) && now.len() == there.len() + 5, "round {round}");
        world.totals();
        assert!(service.stop().success());
        assert_eq!(check(&world), (Some(0), BTreeMap::new()), "round {round}");
    }
    assert!(rows > 200, "{rows} rows in {ROUNDS} rounds: the load was none");
    figure(&format!(
        "backup: {ROUNDS} beside a service under load, {rows} rows acknowledged before them, 0 lost, 0 doubled; {later} of \
         the moment between"
    ));
}

#[test]
fn a_backup_that_is_killed_at_each_step_twice_is_made_by_the_same_command() {
    let all = failpoints(&workspace().join("store/src"));
    let points: Vec<&String> = all.iter().filter(|name| name.starts_with("backup::")).collect();
    assert!(points.len() >= 5, "{points:?}");
    let world = World::new();
    let service = start(&world, None).unwrap();
    service.consent(&["crashing"], "given");
    let oracle = Oracle::default();
    oracle.send(service.address(), 30);
    service.flush();
    oracle.send(service.address(), 20);
    service.kill();
    let data = world.data();
    for (number, point) in points.iter().enumerate() {
        // By a command, on a folder that a service left in a hurry.
        let to = world.path(&format!("offline-{number}"));
        let arguments = ["store", "backup", to.to_str().unwrap(), "--data", data.to_str().unwrap()];
        let action = format!("{point}=return");
        for _ in 0..2 {
            let (code, said) = candor(&world, &arguments, &[("FAILPOINTS", &action)]);
            assert_eq!(code, None, "{point}: {said}");
            let elsewhere = world.path("nowhere");
            let refused = ["store", "restore", to.to_str().unwrap(), "--data", elsewhere.to_str().unwrap()];
            assert_eq!(candor(&world, &refused, &[]).0, Some(2), "{point}: half a backup is none");
            assert!(!elsewhere.exists(), "{point}");
        }
        let (code, said) = candor(&world, &arguments, &[]);
        assert_eq!(code, Some(0), "{point}: {said}");
        // By a service, which dies of it.
        for _ in 0..2 {
            let mut service = start(&world, Some(&action)).unwrap();
            oracle.send(service.address(), 3);
            let (code, said) = back_up_by(&world, &service, &format!("online-{number}"));
            assert_eq!(code, Some(1), "{point}: {said}");
            assert!(service.wait(Duration::from_secs(10)).is_some_and(|status| !status.success()), "{point}");
        }
        let service = start(&world, None).unwrap();
        let (code, said) = back_up_by(&world, &service, &format!("online-{number}"));
        assert_eq!(code, Some(0), "{point}: {said}");
        service.flush();
        oracle.check(&world, point);
        assert!(service.stop().success());
    }
    let last = points.len() - 1;
    lose(&world);
    for name in [format!("offline-{last}"), format!("backups/online-{last}")] {
        let _ = std::fs::remove_dir_all(world.data());
        let (code, said) = restore(&world, &world.path(&name), &[]);
        assert_eq!(code, Some(0), "{name}: {said}");
        world.totals();
    }
    oracle.check(&world, "the last backup");
    figure(&format!(
        "backup: killed at each of {} steps twice, by command and by service: made by the next try",
        points.len()
    ));
}

/// A world with a backup of it, in `whole`, and the ring apart.
fn backed_up() -> (World, PathBuf, Oracle) {
    let world = World::new();
    let service = start(&world, None).unwrap();
    service.consent(&["crashing"], "given");
    let oracle = Oracle::default();
    oracle.send(service.address(), 30);
    service.flush();
    oracle.send(service.address(), 20);
    // So that segments are in it too.
    service.kill();
    let whole = world.path("whole");
    let data = world.data();
    let (code, said) =
        candor(&world, &["store", "backup", whole.to_str().unwrap(), "--data", data.to_str().unwrap()], &[]);
    assert_eq!(code, Some(0), "{said}");
    (world, whole, oracle)
}

#[test]
fn a_restore_that_is_killed_at_each_step_twice_is_done_by_the_same_command() {
    let all = failpoints(&workspace().join("store/src"));
    let points: Vec<&String> = all.iter().filter(|name| name.starts_with("restore::")).collect();
    assert!(points.len() >= 3, "{points:?}");
    let (world, whole, oracle) = backed_up();
    lose(&world);
    for point in &points {
        let action = format!("{point}=return");
        for _ in 0..2 {
            let (code, said) = restore(&world, &whole, &[("FAILPOINTS", &action)]);
            assert_eq!(code, None, "{point}: {said}");
            let started = start(&world, None);
            assert!(started.is_err_and(|said| said.contains("broken off")), "{point}: it starts on half a folder");
        }
        let (code, said) = restore(&world, &whole, &[]);
        assert_eq!(code, Some(0), "{point}: {said}");
        oracle.check(&world, point);
        let (code, refused) = restore(&world, &whole, &[]);
        assert_eq!(code, Some(2), "a folder is never written over: {refused}");
        let service = start(&world, None).unwrap();
        service.flush();
        oracle.check(&world, point);
        assert!(service.stop().success());
        std::fs::remove_dir_all(world.data()).unwrap();
    }
    figure(&format!("restore: killed at each of {} steps twice, done by the next try", points.len()));
}

#[test]
fn a_backup_with_a_changed_byte_or_another_ring_is_not_restored() {
    let (world, whole, _) = backed_up();
    lose(&world);
    let list: Value = serde_json::from_slice(&std::fs::read(whole.join("backup.json")).unwrap()).unwrap();
    let files = list["files"].as_array().unwrap();
    for file in files {
        let path = whole.join(file["path"].as_str().unwrap());
        let bytes = std::fs::read(&path).unwrap();
        let mut changed = bytes.clone();
        let middle = changed.len() / 2;
        changed[middle] ^= 1;
        std::fs::write(&path, &changed).unwrap();
        let (code, said) = restore(&world, &whole, &[]);
        let message = said["error"]["message"].as_str().unwrap_or_default().to_owned();
        assert!(code == Some(2) && message.contains(file["path"].as_str().unwrap()), "{said}");
        assert!(start(&world, None).is_err(), "nothing starts on it");
        std::fs::write(&path, &bytes).unwrap();
        std::fs::remove_dir_all(world.data()).unwrap();
    }
    // The ring of another service, and none.
    let other = World::new();
    assert!(other.serve().stop().success());
    let own = std::fs::read(world.path("ring.toml")).unwrap();
    std::fs::copy(other.data().join("keys/ring.toml"), world.path("ring.toml")).unwrap();
    let (code, said) = restore(&world, &whole, &[]);
    assert_eq!(code, Some(2), "{said}");
    std::fs::write(world.path("ring.toml"), own).unwrap();
    let (from, data) = (whole.to_str().unwrap(), world.data());
    let (code, said) = candor(&world, &["store", "restore", from, "--data", data.to_str().unwrap()], &[]);
    assert_eq!(code, Some(0), "{said}");
    let started = start(&world, None);
    assert!(started.is_err_and(|said| said.contains("no key ring")), "new keys would find nobody");
    figure(&format!("backup: a changed byte in each of its {} files is found, and so is another ring", files.len()));
}

#[test]
fn a_log_that_is_behind_a_kept_checkpoint_is_not_restored_unless_that_is_meant() {
    let (world, whole, _) = backed_up();
    let service = start(&world, None).unwrap();
    assert!(service.stop().success());
    let data = world.data();
    let rotated = candor(&world, &["key", "rotate", "subject", "--data", data.to_str().unwrap()], &[]);
    assert_eq!(rotated.0, Some(0), "{}", rotated.1);
    let kept = world.path(".local/state/candor/logs");
    std::fs::create_dir_all(&kept).unwrap();
    std::fs::copy(data.join("log/checkpoint"), kept.join("00.checkpoint")).unwrap();
    lose(&world);
    let state = world.path(".local/state");
    let home = [("XDG_STATE_HOME", state.to_str().unwrap())];
    let (code, said) = restore(&world, &whole, &home);
    assert!(code == Some(3) && said.to_string().contains("seen here"), "{said}");
    assert!(!data.exists());
    let (from, keys) = (whole.to_str().unwrap(), world.path("ring.toml"));
    let meant = ["store", "restore", from, "--accept-rollback", "--keys", keys.to_str().unwrap(), "--data"];
    let (code, said) = candor(&world, &[&meant[..], &[data.to_str().unwrap()]].concat(), &home);
    assert_eq!(code, Some(0), "{said}");
    // The ring is newer than the log: what the log lacks of its keys is told again.
    assert!(start(&world, None).unwrap().stop().success());
}

/// What is done to a folder, and which check has to say so.
type Deed = (&'static str, &'static str, fn(&Path));

fn first(folder: &Path, ending: &str) -> PathBuf {
    let mut found: Vec<PathBuf> = std::fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path()).collect();
    found.sort();
    let deeper = |path: &PathBuf| path.is_dir().then(|| try_first(path, ending)).flatten();
    let ours = |path: &&PathBuf| path.to_string_lossy().ends_with(ending);
    found.iter().find(ours).cloned().or_else(|| found.iter().find_map(deeper)).expect("a file")
}

fn try_first(folder: &Path, ending: &str) -> Option<PathBuf> {
    let mut found: Vec<PathBuf> = std::fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path()).collect();
    found.sort();
    found
        .iter()
        .find(|path| path.is_file() && path.to_string_lossy().ends_with(ending))
        .cloned()
        .or_else(|| found.iter().filter(|path| path.is_dir()).find_map(|path| try_first(path, ending)))
}

fn flip(path: &Path, at: impl Fn(usize) -> usize) {
    let mut bytes = std::fs::read(path).unwrap();
    let place = at(bytes.len());
    bytes[place] ^= 0x55;
    std::fs::write(path, bytes).unwrap();
}

const DEEDS: [Deed; 11] = [
    ("a byte of a file's footer", "tables", |data| flip(&first(&data.join("tables"), ".parquet"), |len| len - 40)),
    ("a file that is gone", "tables", |data| std::fs::remove_file(first(&data.join("tables"), ".parquet")).unwrap()),
    ("a commit that is gone", "tables", |data| {
        let log = first(&data.join("tables"), "00000000000000000000.json");
        std::fs::remove_file(log).unwrap();
    }),
    ("a byte in a segment that others follow", "segments", |data| flip(&first(&data.join("wal"), ".segment"), |_| 100)),
    ("a document that was changed", "documents", |data| flip(&first(&data.join("documents"), ".json"), |len| len / 2)),
    ("a document that is gone", "documents", |data| {
        for entry in std::fs::read_dir(data.join("documents")).unwrap() {
            std::fs::remove_file(entry.unwrap().path()).unwrap();
        }
    }),
    ("a ledger with damaged pages", "ledger", |data| {
        let _ = std::fs::remove_file(data.join("ledger.db-wal"));
        let path = data.join("ledger.db");
        let mut bytes = std::fs::read(&path).unwrap();
        bytes[4_096..].fill(0xff);
        std::fs::write(path, bytes).unwrap();
    }),
    ("a byte of an entry of the log", "log", |data| {
        flip(&try_first(&data.join("log/tile/entries"), "").unwrap(), |_| 20)
    }),
    ("a byte of the log's checkpoint", "log", |data| flip(&data.join("log/checkpoint"), |len| len - 20)),
    ("a file that nobody knows", "unknown", |data| std::fs::write(data.join("notes.txt"), b"x").unwrap()),
    ("a file that no table lists", "left over", |data| {
        let file = first(&data.join("tables"), ".parquet");
        std::fs::copy(&file, file.with_file_name("part-00000000000000000000000000000000.parquet")).unwrap();
    }),
];

#[test]
fn a_check_names_what_is_wrong() {
    let (world, _, _) = backed_up();
    let service = start(&world, None).unwrap();
    service.flush();
    let (code, wrong) = check(&world);
    assert_eq!((code, wrong), (Some(0), BTreeMap::new()), "beside a service");
    assert!(service.stop().success());
    let service = start(&world, None).unwrap();
    let more = Oracle::default();
    more.starts_at(20_000_000);
    for _ in 0..3 {
        more.send(service.address(), 4);
    }
    service.kill();
    let kept = world.path("kept");
    copy_tree(&world.data(), &kept);
    assert_eq!(check(&world), (Some(0), BTreeMap::new()), "a folder that a service left in a hurry");
    for (what, name, deed) in DEEDS {
        deed(&world.data());
        let (code, wrong) = check(&world);
        assert!(wrong.contains_key(name), "{what}: {wrong:?}");
        let is_failure = wrong.values().any(|found| found.starts_with("fail"));
        assert_eq!(code, Some(if is_failure { 3 } else { 0 }), "{what}: {wrong:?}");
        assert_eq!(is_failure, !matches!(name, "unknown" | "left over"), "{what}: {wrong:?}");
        std::fs::remove_dir_all(world.data()).unwrap();
        copy_tree(&kept, &world.data());
    }
    figure(&format!("check: {} faults planted, each named", DEEDS.len()));
}
