//! Sealed files as whoever has them can check them: with `docs/verify.py`, which has no line of ours.

use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};

use crate::clients::python;
use crate::otlp::{Event, encode};
use crate::world::{World, workspace};

fn verify(python: &Path, data: &Path) -> Output {
    let script = workspace().join("docs/verify.py");
    Command::new(python).arg(script).arg(data).stdin(Stdio::null()).output().expect("Python can be run")
}

fn said(output: &Output) -> String {
    format!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr))
}

fn parquet_files(folder: &Path, found: &mut Vec<PathBuf>) {
    for entry in std::fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path()) {
        if entry.is_dir() {
            parquet_files(&entry, found);
        } else if entry.extension().is_some_and(|extension| extension == "parquet") {
            found.push(entry);
        }
    }
}

#[test]
fn whoever_has_the_files_recomputes_them_and_finds_what_was_changed() {
    let Some(python) = python() else { return };
    let world = World::new();
    std::fs::copy(workspace().join("seeds/fleet/consent.jsonl"), world.fleet().join("consent.jsonl")).unwrap();
    let service = world.serve();
    let events = Event::load(&workspace().join("seeds/events/sample.jsonl"));
    let mut client = service.device();
    for part in events.chunks(20) {
        client.logs(&encode(part)).unwrap().expect_status(200);
        service.flush();
    }
    let stored: u64 = world.totals().iter().map(|total| total.stored).sum();
    drop(service);
    let output = verify(&python, &world.data());
    let text = said(&output);
    assert!(output.status.success(), "{text}");
    assert!(stored > 30 && text.contains(&format!(" {stored} rows; 0 wrong")), "{stored}: {text}");

    let mut files = Vec::new();
    parquet_files(&world.data().join("tables"), &mut files);
    files.retain(|file| !file.components().any(|part| part.as_os_str() == "_delta_log"));
    files.sort();
    // The root of one file in another, which then has rows that it does not say.
    let root = |bytes: &[u8]| {
        let key = b"candor.root";
        let at = bytes.windows(key.len()).position(|window| window == key).unwrap() + key.len();
        let start = (at..at + 8).find(|at| bytes[*at..*at + 64].iter().all(u8::is_ascii_hexdigit)).unwrap();
        start..start + 64
    };
    let (one, mut other) = (std::fs::read(&files[0]).unwrap(), std::fs::read(&files[1]).unwrap());
    let place = root(&other);
    other[place].copy_from_slice(&one[root(&one)]);
    std::fs::write(&files[1], other).unwrap();
    let output = verify(&python, &world.data());
    let text = said(&output);
    assert_eq!(output.status.code(), Some(4), "{text}");
    assert!(text.contains("WRONG  ") && text.contains("its metadata says root"), "{text}");
}
