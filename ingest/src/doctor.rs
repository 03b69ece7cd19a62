//! Looking over what a service needs besides its data folder: the fleet, its secrets, the settings, the system's limits.

use std::io::ErrorKind;
use std::net::{SocketAddr, TcpListener};
use std::os::unix::fs::PermissionsExt;
use std::path::Path;

use candor_store::doctor::Finding;
use candor_wire::counted::counted;

use crate::fleet::{self, Fleet};
use crate::process;
use crate::settings::Settings;

/// Below this a store with a few tables already runs out of files.
const LEAST_FILES: u64 = 256;

/// Whether the fleet folder can be served, and whether its tokens are secret.
#[must_use]
pub fn fleet(folder: &Path) -> Vec<Finding> {
    const CHECK: &str = "fleet folder";
    let mut findings = Vec::new();
    match Fleet::load(folder) {
        Ok(fleet) => findings.push(Finding::ok(
            CHECK,
            format!(
                "{}: {}, {}, {}",
                folder.display(),
                counted(fleet.plan.catalogue().streams.len(), "stream"),
                counted(fleet.plan.policy().purposes.len(), "purpose"),
                counted(fleet.sources.iter().count(), "source")
            ),
        )),
        Err(problems) => {
            let first = problems.0.first();
            let place = first.map_or_else(String::new, |p| format!(", the first in {} line {}", p.file, p.line));
            findings.push(Finding::fail(
                CHECK,
                format!("{}: problems: {}{place}", folder.display(), problems.0.len()),
                format!("`candor policy check {}` shows them in their place", folder.display()),
            ));
        }
    }
    findings.extend(tokens(folder));
    findings
}

/// Whether the settings make sense together.
#[must_use]
pub fn settings(settings: &Settings) -> Finding {
    const CHECK: &str = "settings";
    match settings.check() {
        Ok(()) => Finding::ok(CHECK, "make sense together"),
        Err(error) => Finding::fail(CHECK, error.to_string(), "`candor config show` says where each comes from"),
    }
}

/// Whether the system lets the service have as many files as it may need.
#[must_use]
pub fn open_files(settings: &Settings) -> Finding {
    const CHECK: &str = "open files";
    let (soft, hard) = process::files();
    let wanted = 2 * settings.limits.connections as u64;
    let found = format!("{hard} allowed ({soft} at first), {wanted} wanted for limits.connections");
    let mend = "LimitNOFILE= in the unit, or `ulimit -Hn`; with fewer files, fewer connections are taken at a time";
    if hard < LEAST_FILES {
        Finding::fail(CHECK, found, mend)
    } else if hard < wanted {
        Finding::warn(CHECK, found, mend)
    } else {
        Finding::ok(CHECK, found)
    }
}

/// Whether a service could listen on an address; `None` where something listens there, which is for the caller to ask.
#[must_use]
pub fn port(address: SocketAddr) -> Option<Finding> {
    const CHECK: &str = "port";
    match TcpListener::bind(address) {
        Ok(_) => Some(Finding::ok(CHECK, format!("{address} is free"))),
        Err(error) if error.kind() == ErrorKind::AddrInUse => None,
        Err(error) => Some(Finding::fail(
            CHECK,
            format!("{address} cannot be listened on: {error}"),
            "choose another address with --http; ports below 1024 need CAP_NET_BIND_SERVICE",
        )),
    }
}

fn tokens(folder: &Path) -> Option<Finding> {
    const CHECK: &str = "token files";
    let files = fleet::token_files(folder).ok()?;
    let readable = |path: &&std::path::PathBuf| {
        std::fs::metadata(path).is_ok_and(|metadata| metadata.permissions().mode() & 0o007 != 0)
    };
    Some(match files.iter().find(readable) {
        None => Finding::ok(CHECK, format!("{}, none for everybody to read", files.len())),
        Some(path) => Finding::warn(
            CHECK,
            format!("everybody on this machine can use {}", path.display()),
            "chmod 600 on it, or hand it over as a credential: token_file = \"$CREDENTIALS_DIRECTORY/NAME\"",
        ),
    })
}

#[cfg(test)]
mod tests {
    use candor_store::doctor::Outcome;

    use super::*;
    use crate::tests::world::Folders;

    #[test]
    fn a_good_fleet_is_fine_and_a_broken_one_says_where() {
        let folders = Folders::new();
        let outcomes = |found: Vec<Finding>| found.iter().map(|f| (f.check, f.outcome)).collect::<Vec<_>>();
        let for_all = outcomes(fleet(&folders.fleet()));
        assert_eq!(for_all, [("fleet folder", Outcome::Ok), ("token files", Outcome::Warn)], "written 0644");
        for entry in std::fs::read_dir(folders.fleet().join("tokens")).unwrap() {
            std::fs::set_permissions(entry.unwrap().path(), std::fs::Permissions::from_mode(0o600)).unwrap();
        }
        assert_eq!(outcomes(fleet(&folders.fleet()))[1].1, Outcome::Ok);
        folders.write("policy.toml", "policy = 1\n");
        let found = fleet(&folders.fleet());
        assert_eq!(found[0].outcome, Outcome::Fail);
        assert!(found[0].found.contains("policy.toml line 1"), "{found:?}");
    }

    #[test]
    fn limits_and_addresses_are_measured() {
        let mut wanted = Settings::default();
        wanted.limits.connections = 1;
        assert_eq!(open_files(&wanted).outcome, Outcome::Ok);
        wanted.limits.connections = usize::MAX / 4;
        assert_eq!(open_files(&wanted).outcome, Outcome::Warn);
        wanted.limits.depth = 0;
        assert_eq!(settings(&wanted).outcome, Outcome::Fail);

        let taken = TcpListener::bind("127.0.0.1:0").unwrap();
        assert_eq!(port(taken.local_addr().unwrap()), None);
        assert_eq!(port("127.0.0.1:0".parse().unwrap()).unwrap().outcome, Outcome::Ok);
        assert_eq!(port("192.0.2.1:9".parse().unwrap()).unwrap().outcome, Outcome::Fail);
    }
}
