//! Erasures that are asked for at a bad moment: while a pass begins, by half, or with a crash and other work on tables behind them.

use super::*;

/// Long enough for what is to happen meanwhile on a busy machine.
const PAUSE: &str = "1*sleep(12000)";

fn start_paused(world: &World, failpoint: &str) -> Service {
    let action = format!("{failpoint}={PAUSE}");
    let environment = [("FAILPOINTS", action.as_str())];
    world.start(&Start { environment: &environment, ..Start::default() }).unwrap()
}

/// What is looked for of who goes: values of its events, and its id in the ledger.
fn canaries_of(service: &Service, events: u64) -> Vec<Canary> {
    let subject = status(service, GOES)["subject"].as_str().unwrap().to_owned();
    (0..events).map(|number| Canary::Text(package(GOES_FROM + number))).chain([Canary::Text(subject)]).collect()
}

/// What is acknowledged after the flush of a pass is in no table when the pass looks: its subject waits for the next one.
#[test]
fn whoever_asks_while_a_pass_begins_is_in_the_next_one() {
    let world = World::new();
    let service = start_paused(&world, "erase::after_flush");
    service.consent(&["phone-that-went-before", "phone-that-stays"], "given");
    send(&service, "phone-that-went-before", STAYS_FROM + 50, 4);
    send(&service, "phone-that-stays", STAYS_FROM, 4);
    ask(&service, "phone-that-went-before", &json!("all")).expect_status(200);
    let tables = world.data().join("tables");
    let canaries = std::thread::scope(|scope| {
        let pass = scope.spawn(|| run(&service));
        let started = Instant::now();
        while !tables.exists() || parquet_files(&tables).is_empty() {
            assert!(started.elapsed() < PATIENCE, "nothing was flushed");
            std::thread::sleep(Duration::from_millis(20));
        }
        service.consent(&[GOES], "given");
        send(&service, GOES, GOES_FROM, 4);
        ask(&service, GOES, &json!("all")).expect_status(200);
        let canaries = canaries_of(&service, 4);
        assert!(!pass.is_finished(), "the machine was too slow for this test");
        assert_eq!(pass.join().unwrap()["erasures"], 1, "one of them came too late for this pass");
        canaries
    });
    // The versions that the pass noted are of no tombstone that waits.
    let last_line =
        || std::fs::read_to_string(world.data().join("tombstones.jsonl")).unwrap().lines().last().unwrap().to_owned();
    assert!(last_line().starts_with("{\"tombstone\""), "{}", last_line());
    service.flush();
    assert_eq!(found(&scan(&world, &canaries)).len(), canaries.len(), "the scan does not see what is there");
    assert_eq!(run(&service)["erasures"], 1);
    assert!(last_line().starts_with("{\"applied\""), "{}", last_line());
    let hits = scan(&world, &canaries);
    assert!(hits.is_empty(), "what is left: {hits:#?}");
    assert!(certificate(&world, &status(&service, GOES)).certificate.rows >= 4);
    assert_eq!(others(&world).len(), 4);
    check_sums(&world);
    assert!(service.stop().success());
    world.verify("after both passes");
}

/// A request is in the ledger a moment before its subject is refused: a pass that comes in between refuses it itself.
#[test]
fn a_pass_refuses_whoever_it_erases() {
    let world = World::new();
    let service = start_paused(&world, "erase::after_request");
    service.consent(&[GOES, "phone-that-stays"], "given");
    send(&service, "phone-that-stays", STAYS_FROM, 4);
    std::thread::scope(|scope| {
        let asked = scope.spawn(|| ask(&service, GOES, &json!("all")));
        let started = Instant::now();
        while status_of(&service).is_none() {
            assert!(started.elapsed() < PATIENCE, "the erasure is not in the ledger");
            std::thread::sleep(Duration::from_millis(20));
        }
        send(&service, GOES, GOES_FROM, 4);
        assert_eq!(run(&service)["erasures"], 1);
        send(&service, GOES, GOES_FROM + 4, 4);
        assert!(!asked.is_finished(), "the machine was too slow for this test");
        asked.join().unwrap().expect_status(200);
    });
    service.flush();
    let hits = scan(&world, &canaries_of(&service, 8));
    assert!(hits.is_empty(), "what is left: {hits:#?}");
    assert!(certificate(&world, &status(&service, GOES)).certificate.rows >= 4);
    assert_eq!(others(&world).len(), 4);
    assert!(service.stop().success());
}

/// The state of the only erasure of who goes, once there is one.
fn status_of(service: &Service) -> Option<String> {
    let answer = service.officer().send("GET", PATH, &[("candor-subject", GOES)], &[]).unwrap();
    let answer: Value = serde_json::from_slice(&answer.body).ok()?;
    Some(answer["erasures"].get(0)?["state"].as_str()?.to_owned())
}

/// The ledger has it, and the file of tombstones cannot be written: nothing may say that it is done before it is refused.
#[test]
fn what_was_taken_in_by_half_is_refused_before_it_is_done() {
    let world = World::new();
    let (service, mut canaries, kept) = with_rows(&world);
    let tombstones = world.data().join("tombstones.jsonl");
    std::fs::create_dir(&tombstones).unwrap();
    assert!(ask(&service, GOES, &json!("all")).status >= 500);
    let passed = service.officer().send("POST", "/v1/erasures", &[], &[]).unwrap();
    assert!(passed.status >= 500, "{}", passed.text());
    assert_eq!(status_of(&service).as_deref(), Some("open"));
    std::fs::remove_dir(&tombstones).unwrap();
    // The next pass makes up for it; so would the same request again.
    assert_eq!(run(&service)["erasures"], 1);
    send(&service, GOES, GOES_FROM + 20, 4);
    ask(&service, GOES, &json!("all")).expect_status(200);
    send(&service, GOES, GOES_FROM + 24, 4);
    service.flush();
    canaries.extend((20..28).map(|number| Canary::Text(package(GOES_FROM + number))));
    let hits = scan(&world, &canaries);
    assert!(hits.is_empty(), "what is left: {hits:#?}");
    assert_eq!(others(&world), kept);
    certificate(&world, &status(&service, GOES));
    let lines = std::fs::read_to_string(&tombstones).unwrap();
    assert_eq!(lines.lines().filter(|line| line.starts_with("{\"tombstone\"")).count(), 1, "{lines}");
    assert!(service.stop().success());
}

/// A pass is planned and the process ends: what was planned names files, and nobody else may replace them.
#[test]
fn files_of_a_planned_pass_stay_until_it_is_done() {
    let world = World::new();
    let (service, canaries, kept) = with_rows(&world);
    service.kill();
    let environment = [("FAILPOINTS", "erase::after_plan=return")];
    let mut service = world.start(&Start { environment: &environment, ..Start::default() }).unwrap();
    ask(&service, GOES, &json!("all")).expect_status(200);
    let _ = service.officer().send("POST", "/v1/erasures", &[], &[]);
    assert!(service.wait(PATIENCE).is_some_and(|status| !status.success()), "it did not end where it was to");
    let data = world.data();
    let compact = ["store", "compact", "--json", "--data", data.to_str().unwrap()];
    // A day later two files are enough.
    let output = world.candor_with(&compact, &[("FAILPOINT_CLOCK_DAYS", "1")]);
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let service = world.serve();
    run(&service);
    wait_until_done(&service);
    let hits = scan(&world, &canaries);
    assert!(hits.is_empty(), "what is left: {hits:#?}");
    assert_eq!(others(&world), kept);
    assert!(certificate(&world, &status(&service, GOES)).certificate.rows >= 8);
    check_sums(&world);
    assert!(service.stop().success());
    world.verify("after the pass");
    // Then they may.
    let output = world.candor_with(&compact, &[("FAILPOINT_CLOCK_DAYS", "1")]);
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    world.verify("after compaction");
}
