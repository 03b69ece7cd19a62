//! A file that cannot be read keeps whoever has rows in it waiting, and nobody else.

use std::os::unix::fs::FileExt;
use std::path::PathBuf;

use parquet::file::reader::{FileReader, SerializedFileReader};

use super::*;
use crate::http::Answer;

const FILES: u64 = 5;
/// Of those, the one that cannot be read.
const ROTTEN: usize = 3;
/// A subject with rows in the first file alone.
const FIRST: &str = "phone-of-the-first-file";
const FIRST_FROM: u64 = 880_000;

fn consent(service: &Service, device: &str, given: &str) {
    let states =
        PURPOSES.map(|purpose| (purpose.to_owned(), json!(if purpose == given { "given" } else { "refused" })));
    let notice = json!({"version": "2026-01", "language": "en"});
    let states: Map<String, Value> = states.into_iter().collect();
    service.state(&[json!({"subject": device, "purposes": states, "notice": notice, "age_from": 30})]);
}

fn files_of(world: &World, purpose: &str) -> BTreeSet<String> {
    let folder = world.data().join("tables").join(purpose);
    if folder.exists() { parquet_files(&folder) } else { BTreeSet::new() }
}

/// Damages a page of a column that is not the subject's: its footer and its subjects can still be read. Gives what was there.
fn rot(path: &Path) -> (u64, Vec<u8>) {
    let reader = SerializedFileReader::new(std::fs::File::open(path).unwrap()).unwrap();
    let columns = reader.metadata().row_group(0).columns();
    let other = columns.iter().find(|column| column.column_path().string() != "subject").unwrap();
    let (at, mut before) = (other.byte_range().0, vec![0; 4]);
    let file = std::fs::File::options().read(true).write(true).open(path).unwrap();
    file.read_exact_at(&mut before, at).unwrap();
    file.write_all_at(&[0xff; 4], at).unwrap();
    (at, before)
}

/// A pass did one erasure, and names the one that it left, and why.
fn left_one(service: &Service, subject: &str, answer: &Answer) {
    let passed: Value = serde_json::from_slice(&answer.body).unwrap();
    let erasure = &status(service, subject)["erasures"][0];
    let waits = json!([{ "id": erasure["id"], "deadline": erasure["deadline"] }]);
    assert_eq!((&passed["erasures"], &passed["rows"], &passed["open"]), (&json!(1), &json!(3), &json!(1)), "{passed}");
    assert_eq!(passed["waiting"], waits, "{passed}");
    let why = passed["why"].as_str().unwrap();
    assert!(why.contains("cannot be read") && !why.contains("marketing"), "{passed}");
}

/// As a command a pass that does one erasure and leaves one fails, and says the same.
fn as_a_command(world: &World, service: &Service) {
    let output = world.candor(&[
        "erasure",
        "run",
        "--json",
        "--url",
        &format!("http://{}", service.address()),
        "--token-file",
        world.fleet().join("tokens/backend.token").to_str().unwrap(),
    ]);
    assert_eq!(output.status.code(), Some(1), "{}", String::from_utf8_lossy(&output.stderr));
    let told: Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!((&told["rows"][0]["erasures"], &told["open"]), (&json!(1), &json!(1)), "{told}");
    assert!(told["why"].as_str().unwrap().contains("cannot be read"), "{told}");
}

#[test]
fn a_file_that_cannot_be_read_keeps_nobody_else_waiting() {
    let world = World::new();
    let service = world.serve();
    consent(&service, GOES, "analytics");
    consent(&service, "phone-in-the-way", "marketing");
    consent(&service, FIRST, "marketing");
    let mut newest: Vec<PathBuf> = Vec::new();
    for file in 0..FILES {
        let before = files_of(&world, "marketing");
        send(&service, GOES, GOES_FROM + file * 3, 3);
        send(&service, "phone-in-the-way", STAYS_FROM + file * 3, 3);
        if file == 0 {
            send(&service, FIRST, FIRST_FROM, 3);
        }
        service.flush();
        let new: Vec<String> = files_of(&world, "marketing").difference(&before).cloned().collect();
        assert_eq!(new.len(), 1);
        newest.push(new[0].clone().into());
    }
    let (at, sound) = rot(&newest[ROTTEN]);
    let analytics = files_of(&world, "analytics");

    // What is in the way of a compaction is in the way of nothing else.
    let compacted = service.officer().send("POST", "/v1/compact", &[], &[]).unwrap();
    assert!(compacted.status >= 500, "{}", compacted.text());
    let now = files_of(&world, "analytics");
    assert!(now.len() == 1 && analytics.is_disjoint(&now), "old files of another table are still there: {now:?}");
    let marketing = files_of(&world, "marketing");
    assert!(marketing.len() == 2 && marketing.contains(newest[ROTTEN].to_str().unwrap()), "{marketing:?}");

    let canaries: Vec<Canary> = (0..FILES * 3).map(|number| Canary::Text(package(GOES_FROM + number))).collect();
    ask(&service, GOES, &json!("all")).expect_status(200);
    assert_eq!(run(&service)["erasures"], 1);
    certificate(&world, &status(&service, GOES));
    let mut hits = Hits::new();
    Needles::new(&canaries).folder(&world.data().join("tables/analytics"), &mut hits);
    assert!(hits.is_empty(), "what is left: {hits:#?}");

    // Of two in one pass the one is done, and the other waits for the file.
    ask(&service, "phone-in-the-way", &json!("all")).expect_status(200);
    ask(&service, FIRST, &json!("all")).expect_status(200);
    for at in 0..2 {
        let answer = service.officer().send("POST", "/v1/erasures", &[], &[]).unwrap();
        if at == 0 {
            left_one(&service, "phone-in-the-way", &answer.expect_status(200));
        } else {
            assert!(answer.status >= 500, "nothing could be done: {}", answer.text());
        }
        assert!(service.log().contains("marketing/phone.app"), "{}", service.log());
        let figures = ["candor_erasures_open", "candor_store_unreadable_files"].map(|name| service.metric(name));
        assert_eq!(figures, [1, 1], "{}", service.log());
        assert_eq!(certificate(&world, &status(&service, FIRST)).certificate.rows, 3);
    }
    // Whoever comes later is not kept by it either, nor is what waits forgotten by a start.
    assert!(service.stop().success());
    let service = world.serve();
    consent(&service, "phone-of-later", "marketing");
    send(&service, "phone-of-later", STAYS_FROM + 90, 3);
    ask(&service, "phone-of-later", &json!("all")).expect_status(200);
    as_a_command(&world, &service);
    assert_eq!(certificate(&world, &status(&service, "phone-of-later")).certificate.rows, 3);

    let file = std::fs::File::options().write(true).open(&newest[ROTTEN]).unwrap();
    file.write_all_at(&sound, at).unwrap();
    assert_eq!(run(&service)["erasures"], 1);
    assert_eq!(service.metric("candor_store_unreadable_files"), 0);
    let signed = certificate(&world, &status(&service, "phone-in-the-way"));
    assert_eq!(signed.certificate.rows, FILES * 3, "{:?}", signed.certificate);
    assert_eq!(PURPOSES.map(|purpose| rows_of(&world, purpose)), [0; 3]);
    check_sums(&world);
    assert!(service.stop().success());
    world.verify("after the file was mended");
}

/// Of a file without a footer nobody can say whose rows it has.
#[test]
fn whoever_a_broken_file_may_hold_waits_and_nobody_else() {
    let world = World::new();
    let service = world.serve();
    consent(&service, GOES, "analytics");
    consent(&service, "phone-in-the-way", "marketing");
    send(&service, GOES, GOES_FROM, 3);
    send(&service, "phone-in-the-way", STAYS_FROM, 3);
    service.flush();
    let broken: PathBuf = files_of(&world, "marketing").pop_first().unwrap().into();
    let whole = std::fs::read(&broken).unwrap();
    std::fs::File::options().write(true).open(&broken).unwrap().set_len(whole.len() as u64 - 1).unwrap();
    ask(&service, GOES, &json!({ "purposes": ["analytics"] })).expect_status(200);
    ask(&service, GOES, &json!("all")).expect_status(200);
    let passed = run(&service);
    assert_eq!((&passed["erasures"], &passed["open"]), (&json!(1), &json!(1)), "{passed}");
    let states = || -> Vec<Value> {
        let erasures = status(&service, GOES)["erasures"].as_array().unwrap().clone();
        erasures.iter().map(|erasure| erasure["state"].clone()).collect()
    };
    assert_eq!(states(), ["done", "open"]);
    assert_eq!(files_of(&world, "analytics").len(), 0);
    std::fs::write(&broken, whole).unwrap();
    assert_eq!(run(&service)["erasures"], 1);
    assert_eq!(states(), ["done", "done"]);
    assert_eq!(rows_of(&world, "marketing"), 3);
    assert!(service.stop().success());
    world.verify("after the file was mended");
}
