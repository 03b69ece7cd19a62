//! A test that lacks a tool says so and is counted; `.ci/run` adds the lines up.

use std::io::Write;
use std::process::{Command, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};

static SKIPPED: AtomicU32 = AtomicU32::new(0);

/// Prints `SKIPPED: why` past the capture of the test runner, so that it shows where tests pass.
pub(crate) fn skipped(why: &str) {
    let count = SKIPPED.fetch_add(1, Ordering::Relaxed) + 1;
    let line = format!("SKIPPED: {why} ({count} skipped so far)\n");
    std::io::stderr().write_all(line.as_bytes()).expect("stderr can be written");
}

/// Whether a program is there and may do its work (`strace` may be forbidden to trace).
pub(crate) fn runs(program: &str, arguments: &[&str]) -> bool {
    Command::new(program)
        .args(arguments)
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .status()
        .is_ok_and(|status| status.success())
}

/// Whether system calls can be traced here; says so if not.
pub(crate) fn can_trace() -> bool {
    let can = runs("strace", &["-f", "-e", "trace=fdatasync", "true"]);
    if !can {
        skipped("strace is missing or may not trace");
    }
    can
}
