//! Kills, failed fsyncs and crashes between the steps of a seal: what was acknowledged is there, once.

use std::collections::{BTreeMap, BTreeSet};
use std::net::SocketAddr;
use std::path::Path;
use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use crate::http::Client;
use crate::log::change_policy;
use crate::order::whole_trace;
use crate::otlp::{Event, encode, package};
use crate::random::Random;
use crate::skip::can_trace;
use crate::trace::{parse, violations};
use crate::world::{DEVICE, Service, Start, World, figure};

const KILLS: usize = 50;
const SENDERS: usize = 4;

/// What clients know: which events were acknowledged, and which requests they must send again.
#[derive(Default)]
pub(crate) struct Oracle {
    next: AtomicU64,
    acknowledged: Mutex<BTreeSet<u64>>,
    unanswered: Mutex<Vec<(Vec<u64>, Vec<u8>)>>,
}

#[test]
fn nothing_acknowledged_is_lost_or_doubled_in_50_kills() {
    let mut random = Random::announced("crash");
    let world = World::new();
    let oracle = Oracle::default();
    for round in 0..KILLS {
        let service = world.serve();
        if round == 0 {
            service.consent(&["crashing"], "given");
        }
        let address = service.address();
        std::thread::scope(|scope| {
            for _ in 0..SENDERS {
                let mut random = Random::new(random.next());
                let oracle = &oracle;
                scope.spawn(move || while oracle.send(address, 1 + random.below(20)) {});
            }
            if random.below(3) == 0 {
                scope.spawn(move || {
                    // Its answer does not matter: the kill may come first.
                    let _ = Client::new(address, Some(crate::world::OFFICER)).send("POST", "/v1/flush", &[], &[]);
                });
            }
            std::thread::sleep(Duration::from_millis(random.below(250)));
            service.kill();
        });
    }
    let service = world.serve();
    oracle.send_again(service.address());
    let sent = oracle.check(&world, "pending");
    service.flush();
    oracle.check(&world, "sealed");
    assert!(service.stop().success());
    world.verify("after the last kill");
    assert!(sent >= 1_000, "{sent} events in {KILLS} rounds: the load was none");
    figure(&format!("crash: {KILLS} kills, {sent} events acknowledged, 0 lost, 0 doubled"));
}

#[test]
fn a_crash_at_each_failpoint_twice_in_a_row_neither_loses_nor_repeats() {
    let mut names = failpoints(&crate::world::workspace().join("store/src"));
    // No load comes there: their own tests do.
    names.retain(|name| !["keys::", "backup::", "restore::", "sealed::"].iter().any(|room| name.starts_with(room)));
    for step in ["parquet", "commit", "release"] {
        assert!(names.iter().any(|name| name.contains(step)), "no failpoint around {step}: {names:?}");
    }
    for name in names.iter().filter(|name| !name.starts_with("rewrite::") && !name.starts_with("erase::")) {
        let crashes = crash_at(name);
        figure(&format!("failpoint {name}: {crashes} crashes, nothing lost or doubled"));
    }
}

/// Runs a load into the failpoint twice, then without it; gives how often the process died there.
fn crash_at(name: &str) -> usize {
    let world = World::new();
    let oracle = Oracle::default();
    let service = world.serve();
    service.consent(&["crashing"], "given");
    assert!(oracle.send(service.address(), 7));
    assert!(service.stop().success());
    let action = format!("{name}=return");
    let environment = [("FAILPOINTS", action.as_str())];
    let mut crashes = 0;
    for _ in 0..2 {
        // So that the start has something to log.
        change_policy(&world);
        // A failpoint may lie on the way of recovery: then the start itself dies there.
        let Ok(mut service) = world.start(&Start { environment: &environment, ..Start::default() }) else {
            crashes += 1;
            continue;
        };
        oracle.send_again(service.address());
        for size in [3, 1, 5] {
            oracle.send(service.address(), size);
        }
        let _ = service.officer().send("POST", "/v1/flush", &[], &[]);
        if let Some(status) = service.wait(Duration::from_millis(500)) {
            assert!(!status.success(), "{name}: ended as if all were well");
            crashes += 1;
        } else {
            service.kill();
        }
    }
    assert!(crashes > 0, "failpoint {name} was never reached: is the binary built with the feature `failpoints`?");
    let service = world.serve();
    oracle.send_again(service.address());
    oracle.check(&world, name);
    service.flush();
    oracle.check(&world, name);
    assert!(service.stop().success(), "{name}");
    oracle.check(&world, name);
    world.verify(name);
    crashes
}

#[test]
fn a_failed_fsync_ends_the_process_within_a_second() {
    if !can_trace() {
        return;
    }
    let mut injected = 0;
    for when in 1..=30 {
        injected += usize::from(fail_sync(when));
    }
    figure(&format!("failed fsync: the process ended in each of {injected} runs"));
    assert!(injected >= 6, "only {injected} runs met a failed fsync");
}

/// Fails the `when`-th fsync or fdatasync of every thread; gives whether one was reached.
fn fail_sync(when: u32) -> bool {
    let world = World::new();
    let service = world.serve();
    service.consent(&["crashing"], "given");
    assert!(service.stop().success());
    let oracle = Oracle::default();
    let output = world.path("trace");
    let inject = format!("inject=fsync,fdatasync:error=EIO:when={when}");
    let traced = "trace=openat,write,writev,pwrite64,pwritev,pwritev2,sendto,sendmsg,fsync,fdatasync";
    let under =
        ["strace", "-D", "-f", "-y", "-ttt", "-s", "32", "-o", output.to_str().unwrap(), "-e", traced, "-e", &inject];
    let under = under.map(str::to_owned);
    let Ok(mut service) = world.start(&Start { under: &under, ..Start::default() }) else {
        // strace writes its last lines a moment after the process ended.
        std::thread::sleep(Duration::from_millis(300));
        return check_failed_sync(&world, &oracle, when, 0, None);
    };
    let mut flushes = 0;
    for number in 0..25 {
        if !oracle.send(service.address(), 1) {
            break;
        }
        if number % 6 == 5 {
            flushes += 1;
            let _ = service.officer().send("POST", "/v1/flush", &[], &[]);
        }
    }
    let pid = service.pid();
    let reached = std::fs::read_to_string(&output).is_ok_and(|trace| trace.contains("(INJECTED)"));
    if reached {
        let status = service.wait(Duration::from_secs(10));
        assert!(status.is_some_and(|status| !status.success()), "when={when}: {status:?} after a failed fsync");
    } else {
        service.kill();
    }
    check_failed_sync(&world, &oracle, when, flushes, Some((whole_trace(&output, pid), pid)))
}

fn check_failed_sync(world: &World, oracle: &Oracle, when: u32, flushes: usize, trace: Option<(String, u32)>) -> bool {
    let trace = trace.map_or_else(|| std::fs::read_to_string(world.path("trace")).unwrap(), |(trace, _)| trace);
    let calls = parse(&trace);
    let wal = world.data().canonicalize().unwrap().join("wal");
    let wal = wal.to_str().unwrap();
    // The answer to a flush follows no frame; everything else does.
    let (of_flushes, wrong): (Vec<String>, Vec<String>) =
        violations(&calls, wal).into_iter().partition(|violation| violation.contains("nothing was written"));
    assert_eq!(wrong, Vec::<String>::new(), "when={when}");
    assert!(of_flushes.len() <= flushes, "when={when}: {flushes} flushes, but {of_flushes:?}");
    let failed = calls.iter().find(|call| call.is_sync() && call.result.contains("INJECTED"));
    if let Some(failed) = failed {
        let last =
            trace.lines().filter_map(|line| line.split_whitespace().nth(1)?.parse::<f64>().ok()).fold(0.0, f64::max);
        assert!(last - failed.at < 1.0, "when={when}: lived {:.3} s after {failed:?}", last - failed.at);
        let after = || calls.iter().filter(|call| call.at > failed.at);
        let again = after().find(|call| call.is_sync() && call.path() == failed.path() && !call.failed());
        assert!(again.is_none(), "when={when}: synced again after a failure: {again:?}");
        if failed.path().is_some_and(|path| path.starts_with(wal)) {
            let acknowledged = after().find(|call| call.is_acknowledgement());
            assert!(acknowledged.is_none(), "when={when}: {acknowledged:?} after {failed:?}");
        }
    }
    let service = world.serve();
    oracle.send_again(service.address());
    service.flush();
    oracle.check(world, &format!("when={when}"));
    assert!(service.stop().success());
    failed.is_some()
}

impl Oracle {
    /// Sends one new request; whether it was answered. A request without an answer is kept, to be sent again.
    pub(crate) fn send(&self, to: SocketAddr, events: u64) -> bool {
        let first = self.next.fetch_add(events, Ordering::Relaxed);
        let numbers: Vec<u64> = (first..first + events).collect();
        let events: Vec<Event> = numbers.iter().map(|number| Event::numbered("crashing", *number)).collect();
        self.deliver(to, numbers, encode(&events))
    }

    /// The next event has this number.
    pub(crate) fn starts_at(&self, number: u64) {
        self.next.store(number, Ordering::Relaxed);
    }

    /// Numbers of events that were acknowledged so far.
    pub(crate) fn acknowledged(&self) -> BTreeSet<u64> {
        self.acknowledged.lock().unwrap().clone()
    }

    /// Sends again what had no answer, as a client with a retry queue does.
    pub(crate) fn send_again(&self, to: SocketAddr) {
        let unanswered = std::mem::take(&mut *self.unanswered.lock().unwrap());
        for (numbers, body) in unanswered {
            self.deliver(to, numbers, body);
        }
    }

    fn deliver(&self, to: SocketAddr, numbers: Vec<u64>, body: Vec<u8>) -> bool {
        match Client::new(to, Some(DEVICE)).logs(&body) {
            Ok(answer) if answer.status == 200 => {
                self.acknowledged.lock().unwrap().extend(numbers);
                true
            }
            Ok(answer) if answer.status != 503 => panic!("{}: {}", answer.status, answer.text()),
            _ => {
                self.unanswered.lock().unwrap().push((numbers, body));
                false
            }
        }
    }

    /// Every acknowledged event is there once, no event is there twice, and the account agrees; gives their number.
    pub(crate) fn check(&self, world: &World, when: &str) -> u64 {
        let rows = world.query("select app_package, count(*) as n from analytics.\"phone.app\" group by app_package");
        let count = |row: &serde_json::Map<_, serde_json::Value>| {
            (row["app_package"].as_str().unwrap().to_owned(), row["n"].as_u64().unwrap())
        };
        let found: BTreeMap<String, u64> = rows.iter().map(count).collect();
        let acknowledged = self.acknowledged.lock().unwrap();
        let lost: Vec<_> = acknowledged.iter().filter(|number| !found.contains_key(&package(**number))).collect();
        let doubled: Vec<_> = found.iter().filter(|(_, rows)| **rows != 1).collect();
        assert!(lost.is_empty() && doubled.is_empty(), "{when}: lost {lost:?}, doubled {doubled:?}");
        if self.unanswered.lock().unwrap().is_empty() {
            assert_eq!(found.len(), acknowledged.len(), "{when}: rows that nobody was told of");
            let account = world.account();
            assert_eq!(account[1], (acknowledged.len() as u64, acknowledged.len() as u64), "{when}");
        }
        acknowledged.len() as u64
    }
}

/// Names of the failpoints in the store's sources: a new one is tested from the day it is written.
pub(crate) fn failpoints(folder: &Path) -> BTreeSet<String> {
    let mut names = BTreeSet::new();
    for entry in std::fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            names.extend(failpoints(&path));
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            let text = std::fs::read_to_string(&path).unwrap();
            let starts = text.split("fail_point!(\"").skip(1);
            names.extend(starts.filter_map(|rest| rest.split('"').next()).map(str::to_owned));
        }
    }
    names
}

/// Events in the last request before the damage: only a torn last frame may go without being set aside.
const LAST: u64 = 2;

/// Damages the last segment in many ways: what is found afterwards was sent, and the service says what it set aside.
#[test]
fn a_damaged_segment_gives_a_valid_prefix_and_no_invention() {
    let mut random = Random::announced("damage");
    let world = World::new();
    let service = world.serve();
    service.consent(&["crashing"], "given");
    service.flush();
    let oracle = Oracle::default();
    for size in [5, 1, 9, 3, LAST] {
        assert!(oracle.send(service.address(), size));
    }
    service.kill();
    let segment = last_segment(&world);
    let whole = std::fs::read(&segment).unwrap();
    let used = whole.iter().rposition(|byte| *byte != 0).unwrap() + 1;
    let sent = oracle.acknowledged.lock().unwrap().len() as u64;
    let mut outcomes = BTreeMap::new();
    for round in 0..24 {
        let copy = World::new();
        copy_tree(&world.data(), &copy.data());
        let at = random.below(used as u64) as usize;
        let mut bytes = whole.clone();
        if round % 2 == 0 {
            bytes.truncate(at);
        } else {
            bytes[at] ^= 1 << random.below(8);
        }
        std::fs::write(last_segment(&copy), &bytes).unwrap();
        let outcome = match copy.start(&Start::default()) {
            Err(said) => {
                assert!(said.contains("mend") || said.contains("help"), "refused without a way out:\n{said}");
                "refused".to_owned()
            }
            Ok(service) => {
                let found = after_damage(&copy, &service, sent);
                let before_the_last = found < sent - LAST;
                let set_aside = std::fs::read_dir(copy.data().join("set-aside")).unwrap().count();
                assert!(
                    set_aside > 0 || round % 2 == 0 || !before_the_last,
                    "{found} events, and nothing is set aside"
                );
                format!("{found} events")
            }
        };
        *outcomes.entry(outcome).or_insert(0) += 1;
    }
    figure(&format!("damaged segment: {outcomes:?}"));
    assert!(outcomes.len() > 1, "every damage had the same outcome: {outcomes:?}");
}

/// The rows are a prefix of what was sent, and the service takes new events.
fn after_damage(world: &World, service: &Service, sent: u64) -> u64 {
    service.flush();
    let rows = world.query("select app_package from analytics.\"phone.app\"");
    let mut found: Vec<String> = rows.iter().map(|row| row["app_package"].as_str().unwrap().to_owned()).collect();
    found.sort();
    let prefix: Vec<String> = (0..found.len() as u64).map(package).collect();
    assert_eq!(found, prefix, "not a prefix of what was sent");
    assert!(found.len() as u64 <= sent);
    service.consent(&["crashing"], "given");
    let body = encode(&[Event::numbered("crashing", 1_000_000)]);
    service.device().logs(&body).unwrap().expect_status(200);
    service.flush();
    assert_eq!(world.count("select count(*) from analytics.\"phone.app\""), found.len() as u64 + 1);
    found.len() as u64
}

fn last_segment(world: &World) -> std::path::PathBuf {
    let entries = std::fs::read_dir(world.data().join("wal")).unwrap();
    let mut files: Vec<_> = entries.map(|entry| entry.unwrap().path()).filter(|path| path.is_file()).collect();
    files.sort();
    files.pop().expect("a killed service leaves a segment")
}

pub(crate) fn copy_tree(from: &Path, to: &Path) {
    std::fs::create_dir_all(to).unwrap();
    for entry in std::fs::read_dir(from).unwrap() {
        let path = entry.unwrap().path();
        let target = to.join(path.file_name().unwrap());
        if path.is_dir() {
            copy_tree(&path, &target);
        } else {
            std::fs::copy(&path, &target).unwrap();
        }
    }
}
