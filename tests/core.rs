//! Core dumps: a service that is made to end by SIGABRT, with raw values in its memory, leaves none on disk.

use std::io::Write;
use std::net::TcpStream;
use std::os::unix::process::ExitStatusExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Duration;

use rustix::process::{Pid, Resource, Rlimit, Signal, kill_process, prlimit};

use crate::scan::{Canary, Hits, Needles};
use crate::skip::{runs, skipped};
use crate::world::{DEVICE, Service, Start, World, figure};

const CANARY: &str = "canary.in.memory@core-dump.example.org";
/// Raises the limit as far as it goes, and runs what follows in a folder of its own: that is where cores would be.
const UNLIMITED: &str = "cd \"$0\" && ulimit -c unlimited && exec \"$@\"";

#[test]
fn a_core_taken_on_purpose_shows_the_raw_value_and_an_abort_leaves_none() {
    let world = World::new();
    let folder = world.path("cores");
    std::fs::create_dir(&folder).unwrap();
    if !kernel_writes_cores(&folder) {
        let pattern = std::fs::read_to_string("/proc/sys/kernel/core_pattern").unwrap_or_default();
        return skipped(&format!("the kernel writes no core into a folder here (core_pattern {:?})", pattern.trim()));
    }
    let needles = Needles::new(&[Canary::Text(CANARY.to_owned())]);
    let (service, held) = start(&world, &folder);
    if runs("gdb", &["--version"]) {
        take_on_purpose(&service, &world.path("taken"), &needles);
        not_dumpable(&service);
    } else {
        skipped("gdb is missing: no core can be taken on purpose, and the flag cannot be read");
    }
    assert!(core_limit(&service).ends_with("0 0 bytes"), "{}", core_limit(&service));
    abort(service, &world, &folder, &needles);
    drop(held);
    figure(
        "core dumps: one taken on purpose shows the value; after an abort without limits from outside there is none",
    );
}

/// Whoever may can raise the limit of a running process: then the flag alone holds.
#[test]
fn an_abort_leaves_no_core_though_somebody_raised_the_limit() {
    let world = World::new();
    let folder = world.path("cores");
    std::fs::create_dir(&folder).unwrap();
    if !kernel_writes_cores(&folder) {
        return skipped("the kernel writes no core into a folder here");
    }
    let (service, held) = start(&world, &folder);
    let pid = Pid::from_raw(service.pid().cast_signed()).unwrap();
    if prlimit(Some(pid), Resource::Core, Rlimit { current: None, maximum: None }).is_err() {
        return skipped("the limit of another process cannot be raised: CAP_SYS_RESOURCE is missing");
    }
    assert!(core_limit(&service).contains("unlimited"), "{}", core_limit(&service));
    abort(service, &world, &folder, &Needles::new(&[Canary::Text(CANARY.to_owned())]));
    drop(held);
}

/// A service in a folder of its own, started without a limit of cores, and the connection that keeps a value in its memory.
fn start(world: &World, folder: &Path) -> (Service, TcpStream) {
    let under = ["sh", "-c", UNLIMITED, folder.to_str().unwrap()].map(str::to_owned);
    let service = world.start(&Start { under: &under, ..Start::default() }).unwrap();
    let held = hold_in_memory(&service);
    (service, held)
}

/// Ends the service by SIGABRT; nothing of it may be on disk then.
fn abort(mut service: Service, world: &World, folder: &Path, needles: &Needles) {
    kill_process(Pid::from_raw(service.pid().cast_signed()).unwrap(), Signal::ABORT).unwrap();
    let ended = service.wait(Duration::from_secs(20)).expect("SIGABRT ends it");
    assert_eq!((ended.signal(), ended.core_dumped()), (Some(6), false));
    let mut hits = Hits::new();
    for place in [folder, &world.data(), &world.fleet(), &world.temporary()] {
        needles.folder(place, &mut hits);
    }
    assert!(hits.is_empty(), "{hits:?}");
    assert_eq!(files_in(folder), Vec::<PathBuf>::new());
}

fn core_limit(service: &Service) -> String {
    let limits = std::fs::read_to_string(format!("/proc/{}/limits", service.pid())).unwrap();
    let line = limits.lines().find(|line| line.starts_with("Max core file size")).unwrap();
    line.split_whitespace().collect::<Vec<_>>().join(" ")
}

/// The positive control of the folder: a process that aborts with such limits and no more care leaves a core there.
fn kernel_writes_cores(folder: &Path) -> bool {
    let arguments = ["-c", UNLIMITED, folder.to_str().unwrap(), "sh", "-c", "kill -ABRT $$"];
    let ended = Command::new("sh").args(arguments).stderr(Stdio::null()).status().unwrap();
    let cores = files_in(folder);
    for core in &cores {
        std::fs::remove_file(core).unwrap();
    }
    ended.signal() == Some(6) && !cores.is_empty()
}

/// The positive control of the value: a debugger that may read the memory finds it there, so a core would have held it.
fn take_on_purpose(service: &Service, folder: &Path, needles: &Needles) {
    std::fs::create_dir(folder).unwrap();
    let (to, pid) = (folder.join("core"), service.pid().to_string());
    if !runs("gcore", &["-o", to.to_str().unwrap(), &pid]) {
        return skipped("gcore may not read the memory of another process");
    }
    let core = std::fs::read(folder.join(format!("core.{pid}"))).unwrap();
    assert!(!needles.find(&core).is_empty(), "{} bytes of memory do not show the value", core.len());
    std::fs::remove_dir_all(folder).unwrap();
}

/// `PR_GET_DUMPABLE`, asked inside the process by a debugger; a process without care is the control.
fn not_dumpable(service: &Service) {
    let mut careless = Command::new("sleep").arg("60").spawn().unwrap();
    let flags = [careless.id(), service.pid()].map(|pid| {
        let arguments = ["-nx", "-batch", "-p", &pid.to_string(), "-ex", "print (int)prctl(3)"];
        let output = Command::new("gdb").args(arguments).stdin(Stdio::null()).output().unwrap();
        let said = String::from_utf8_lossy(&output.stdout).into_owned();
        said.lines().find_map(|line| line.strip_prefix("$1 = ")).map(str::to_owned)
    });
    careless.kill().unwrap();
    careless.wait().unwrap();
    match flags {
        [Some(control), Some(flag)] => assert_eq!((control.as_str(), flag.as_str()), ("1", "0")),
        _ => skipped("gdb may not ask another process for its flag"),
    }
}

/// Sends a request whose body never ends: while the connection is open, the value is in the service's memory.
fn hold_in_memory(service: &Service) -> TcpStream {
    let mut stream = TcpStream::connect(service.address()).unwrap();
    let head = format!(
        "POST /v1/logs HTTP/1.1\r\nhost: core\r\nauthorization: Bearer {DEVICE}\r\n\
         content-type: application/x-protobuf\r\ncontent-length: 100000\r\n\r\n"
    );
    stream.write_all(head.as_bytes()).unwrap();
    stream.write_all(CANARY.repeat(500).as_bytes()).unwrap();
    stream.flush().unwrap();
    std::thread::sleep(Duration::from_millis(300));
    stream
}

fn files_in(folder: &Path) -> Vec<PathBuf> {
    std::fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path()).collect()
}
