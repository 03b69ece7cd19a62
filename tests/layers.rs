//! The arrows between crates are those of `docs/ARCHITECTURE.md`, and heavy things are known in one place only.

use std::collections::{BTreeMap, BTreeSet};
use std::process::Command;

use serde_json::Value;

use crate::world::workspace;

/// Crate → the crates of ours that it may use.
const ARROWS: [(&str, &[&str]); 7] = [
    ("candor-policy", &[]),
    ("candor-wire", &["candor-policy"]),
    ("candor-store", &["candor-policy", "candor-wire"]),
    ("candor-ingest", &["candor-policy", "candor-wire", "candor-store"]),
    ("candor-agent", &["candor-policy", "candor-wire"]),
    ("candor-cli", &["candor-policy", "candor-wire", "candor-store", "candor-ingest", "candor-agent"]),
    // Of the store a feature only: nothing of it is called.
    ("candor-tests", &["candor-store", "candor-wire"]),
];

/// What only `store` may know.
const STORE_ONLY: [&str; 5] = ["datafusion", "delta_kernel", "delta_kernel_default_engine", "sqlx", "object_store"];

/// What would give the pure crates a clock, a disk, a network or randomness.
const IMPURE: [&str; 9] = ["tokio", "hyper", "axum", "reqwest", "rand", "getrandom", "tempfile", "rustix", "arrow"];

#[test]
fn crates_depend_on_each_other_as_the_architecture_says() {
    let crates = dependencies();
    let names: BTreeSet<&str> = crates.keys().map(String::as_str).collect();
    assert_eq!(names, ARROWS.iter().map(|(name, _)| *name).collect(), "a crate came or went: draw its arrows");
    for (name, allowed) in ARROWS {
        let ours: BTreeSet<&str> =
            crates[name].iter().map(String::as_str).filter(|dependency| dependency.starts_with("candor-")).collect();
        let extra: Vec<_> = ours.iter().filter(|dependency| !allowed.contains(dependency)).collect();
        assert!(extra.is_empty(), "{name} may not depend on {extra:?}");
    }
}

#[test]
fn only_store_knows_datafusion_delta_sql_and_object_storage() {
    let crates = dependencies();
    for (name, dependencies) in &crates {
        let heavy: Vec<_> = STORE_ONLY.iter().filter(|heavy| dependencies.contains(**heavy)).collect();
        assert_eq!(heavy.is_empty(), name != "candor-store", "{name}: {heavy:?}");
    }
}

#[test]
fn policy_and_wire_are_pure() {
    let crates = dependencies();
    for name in ["candor-policy", "candor-wire"] {
        let impure: Vec<_> = IMPURE.iter().filter(|impure| crates[name].contains(**impure)).collect();
        assert!(impure.is_empty(), "{name} depends on {impure:?}");
    }
    for sources in ["policy/src", "ingest/wire/src"] {
        let found = calls(&workspace().join(sources));
        assert!(found.is_empty(), "{sources} reaches outside: {found:#?}");
    }
}

/// Crate of ours → the packages that it names for its own code (not for its tests and benches).
fn dependencies() -> BTreeMap<String, BTreeSet<String>> {
    let output = Command::new(env!("CARGO"))
        .args(["metadata", "--format-version", "1", "--no-deps", "--offline"])
        .current_dir(workspace())
        .output()
        .unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let metadata: Value = serde_json::from_slice(&output.stdout).unwrap();
    let packages = metadata["packages"].as_array().unwrap().iter();
    packages
        .map(|package| {
            let all = package["dependencies"].as_array().unwrap().iter();
            let own = all.filter(|dependency| dependency["kind"].is_null());
            let names = own.map(|dependency| dependency["name"].as_str().unwrap().to_owned());
            (package["name"].as_str().unwrap().to_owned(), names.collect())
        })
        .collect()
}

/// Lines outside tests that use the disk, the network, threads or the clock through the standard library.
fn calls(folder: &std::path::Path) -> Vec<(String, String)> {
    // Of `std::net` only what opens sockets: an address is a value.
    const BANNED: [&str; 10] = [
        "std::fs",
        "TcpStream",
        "TcpListener",
        "UdpSocket",
        "ToSocketAddrs",
        "std::thread",
        "std::process",
        "std::env",
        "SystemTime",
        "Instant::now",
    ];
    let mut found = Vec::new();
    for entry in std::fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            found.extend(calls(&path));
            continue;
        }
        let text = std::fs::read_to_string(&path).unwrap();
        let code = text.split("#[cfg(test)]").next().unwrap_or_default();
        let lines = code.lines().filter(|line| !line.trim_start().starts_with("//"));
        let banned = lines.filter(|line| BANNED.iter().any(|banned| line.contains(banned)));
        found.extend(banned.map(|line| (path.display().to_string(), line.trim().to_owned())));
    }
    found
}
