//! `docs/operating/candor.service`: systemd takes it, finds little exposed, and lets through every system call of a service.

use std::collections::BTreeSet;
use std::process::Command;

use crate::otlp::{Event, encode};
use crate::skip::{can_trace, runs, skipped};
use crate::trace;
use crate::world::{Start, World, binary, figure, workspace};

/// Exposure (0 to 10) above which something was taken out of the unit.
const MOST_EXPOSED: &str = "20";

fn unit() -> String {
    std::fs::read_to_string(workspace().join("docs/operating/candor.service")).unwrap()
}

fn systemd() -> bool {
    let there = runs("systemd-analyze", &["--version"]);
    if !there {
        skipped("systemd-analyze is missing");
    }
    there
}

#[test]
fn systemd_takes_the_unit_and_finds_little_exposed() {
    if !systemd() {
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("candor.service");
    // It looks whether the program is there.
    let installed = |text: &str| text.replace("/usr/bin/candor", binary().to_str().unwrap());
    let verify = |text: &str| {
        std::fs::write(&path, installed(text)).unwrap();
        let output = Command::new("systemd-analyze").arg("verify").arg(&path).output().unwrap();
        (output.status.success(), String::from_utf8_lossy(&output.stderr).into_owned())
    };
    let (fine, said) = verify(&unit());
    assert!(fine && said.is_empty(), "{said}");
    let (_, said) = verify(&unit().replace("ProtectSystem=", "ProtectSystems="));
    assert!(said.contains("Unknown key 'ProtectSystems'"), "it takes anything: {said}");

    let security = |text: &str| {
        std::fs::write(&path, text).unwrap();
        let mut command = Command::new("systemd-analyze");
        let output =
            command.args(["security", "--offline=true", "--threshold", MOST_EXPOSED]).arg(&path).output().unwrap();
        (output.status.success(), String::from_utf8_lossy(&output.stdout).into_owned())
    };
    let (fine, said) = security(&unit());
    assert!(fine, "{said}");
    figure(&format!("candor.service: {}", said.lines().last().unwrap_or_default().trim()));
    assert!(!security("[Service]\nExecStart=/bin/true\n").0);
}

#[test]
fn the_unit_lets_through_every_system_call_of_a_service() {
    if !systemd() || !can_trace() {
        return;
    }
    assert!(unit().contains("SystemCallFilter=@system-service\nSystemCallFilter=~@privileged\n"));
    let (allowed, denied) = (set("@system-service"), set("@privileged"));
    assert!(allowed.contains("read") && denied.contains("chroot"));

    let world = World::new();
    let log = world.path("trace");
    let under = ["strace", "-D", "-f", "-qq", "-ttt", "-o", log.to_str().unwrap()].map(str::to_owned);
    let service = world.start(&Start { under: &under, ..Start::default() }).unwrap();
    service.consent(&["phone-1"], "given");
    service.device().logs(&encode(&[Event::numbered("phone-1", 1)])).unwrap().expect_status(200);
    service.flush();
    for path in ["/metrics", "/openapi.json", "/v1/policy"] {
        service.client(None).get(path).unwrap().expect_status(200);
    }
    assert!(service.stop().success());
    let calls: BTreeSet<String> =
        trace::parse(&std::fs::read_to_string(&log).unwrap()).into_iter().map(|call| call.name).collect();
    assert!(calls.contains("fdatasync") && calls.len() > 30, "{calls:?}");
    let passes = |call: &str| allowed.contains(call) && !denied.contains(call) || is_for_root(call);
    let stopped: Vec<_> = calls.iter().filter(|call| !passes(call)).collect();
    assert!(stopped.is_empty(), "the unit would stop {stopped:?}");
}

/// SQLite gives its files to the owner of the database, and asks only where it may: as root, which the unit is not.
fn is_for_root(call: &str) -> bool {
    call == "fchown" && rustix::process::geteuid().is_root()
}

/// The system calls of a set, those of the sets in it included.
fn set(name: &str) -> BTreeSet<String> {
    let output = Command::new("systemd-analyze").args(["syscall-filter", name]).output().unwrap();
    assert!(output.status.success());
    let text = String::from_utf8(output.stdout).unwrap();
    let mut calls = BTreeSet::new();
    for word in text.lines().map(str::trim).filter(|line| !line.starts_with('#') && *line != name) {
        if word.starts_with('@') {
            calls.extend(set(word));
        } else if !word.is_empty() {
            calls.insert(word.to_owned());
        }
    }
    calls
}
