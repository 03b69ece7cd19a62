//! An acknowledgement means durable: write, fdatasync, answer, in this order, as the kernel saw it.

use crate::otlp::{Event, encode};
use crate::skip::can_trace;
use crate::trace::{Call, parse, violations};
use crate::world::{Start, World, figure};

const REQUESTS: u64 = 40;

#[test]
fn every_acknowledgement_follows_its_fdatasync() {
    if !can_trace() {
        return;
    }
    let world = World::new();
    let calls = traced_run(&world);
    let wal = world.data().canonicalize().unwrap().join("wal");
    let wal = wal.to_str().unwrap();
    let acknowledged = calls.iter().filter(|call| call.is_acknowledgement()).count();
    assert!(acknowledged as u64 >= REQUESTS, "the trace shows {acknowledged} answers only: the checker sees nothing");
    let wrong = violations(&calls, wal);
    assert!(wrong.is_empty(), "{wrong:#?}");

    // The counterpart: the same trace without its syncs must be found wrong for every request.
    let unsynced: Vec<Call> = calls.iter().filter(|call| call.name != "fdatasync").cloned().collect();
    assert!(unsynced.len() < calls.len());
    let found = violations(&unsynced, wal).len();
    assert!(found as u64 >= REQUESTS, "without fdatasync the checker finds {found} faults only");
    figure(&format!("order: {acknowledged} acknowledgements, 0 before their fdatasync; without it {found} found"));
}

/// One client that waits for each answer, consent statements among its requests.
fn traced_run(world: &World) -> Vec<Call> {
    let output = world.path("trace");
    let calls = "trace=openat,write,writev,pwrite64,pwritev,pwritev2,sendto,sendmsg,fsync,fdatasync";
    let output_text = output.to_str().unwrap();
    let under = ["strace", "-D", "-f", "-y", "-ttt", "-s", "32", "-o", output_text, "-e", calls].map(str::to_owned);
    let service = world.start(&Start { under: &under, ..Start::default() }).unwrap();
    service.consent(&["ordered-1"], "given");
    let mut client = service.device();
    for number in 0..REQUESTS {
        client.logs(&encode(&[Event::numbered("ordered-1", number)])).unwrap().expect_status(200);
        if number % 10 == 9 {
            service.consent(&["ordered-1"], "given");
        }
    }
    let pid = service.pid();
    service.kill();
    parse(&whole_trace(&output, pid))
}

/// The trace, once strace has written its last line: it ends a moment after the process.
pub(crate) fn whole_trace(path: &std::path::Path, pid: u32) -> String {
    for _ in 0..500 {
        let trace = String::from_utf8_lossy(&std::fs::read(path).unwrap_or_default()).into_owned();
        let ended = trace
            .lines()
            .rev()
            .take(64)
            .any(|line| line.split_whitespace().next() == Some(&pid.to_string()) && line.contains("+++"));
        if ended {
            return trace;
        }
        std::thread::sleep(std::time::Duration::from_millis(20));
    }
    panic!("strace did not finish its trace of {pid}")
}
