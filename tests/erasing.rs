//! `candor agent erase` and `candor erasure` at the command line, against a running service.

use std::path::Path;
use std::process::Output;

use candor_policy::hex;
use candor_policy::subject::LedgerId;
use candor_wire::erasure::{PlaceState, SignedCertificate};
use serde_json::{Value, json};

use crate::agent::{Device, json_of, lines, text, url, world};
use crate::otlp::{Event, encode};
use crate::verify::{audit, verdicts};
use crate::world::{OFFICER, PURPOSES, Service, Start, World, figure};

/// Longest life of a mended network in a test, in seconds.
const PATIENCE: &str = "20";

/// The backend's token in a file, which is how the command line takes it.
fn officer(world: &World) -> String {
    let path = world.path("officer.token");
    std::fs::write(&path, OFFICER).unwrap();
    path.to_str().unwrap().to_owned()
}

/// `candor erasure`, as an operator.
pub(crate) fn erasure(world: &World, service: &Service, arguments: &[&str]) -> Output {
    let more = ["--json", "--url", &url(service), "--token-file", &officer(world)];
    world.candor(&[&["erasure"], arguments, &more[..]].concat())
}

/// The same as the holder of an identity, who has no token.
fn own(world: &World, service: &Service, device: &Device<'_>, arguments: &[&str]) -> Output {
    let identity = device.identity();
    let more = ["--json", "--url", &url(service), "--identity", identity.to_str().unwrap()];
    world.candor(&[&["erasure"], arguments, &more[..]].concat())
}

fn rows_of(world: &World, purpose: &str) -> u64 {
    world.count(&format!("select count(*) from {purpose}.\"phone.app\""))
}

fn all_rows(world: &World) -> u64 {
    PURPOSES.iter().map(|purpose| rows_of(world, purpose)).sum()
}

fn column<'a>(answer: &'a Value, name: &str) -> Vec<&'a Value> {
    answer["rows"].as_array().unwrap().iter().map(|row| &row[name]).collect()
}

fn certificates(folder: &Path) -> Vec<SignedCertificate> {
    let mut files: Vec<_> = std::fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path()).collect();
    files.sort();
    files.iter().map(|path| SignedCertificate::decode(&std::fs::read(path).unwrap()).unwrap()).collect()
}

/// Events that wait, because nobody answers.
fn spool(world: &World, device: &Device<'_>, events: u32) {
    let path = world.path("waiting.jsonl");
    std::fs::write(&path, lines(events)).unwrap();
    let nowhere = ["--url", "http://127.0.0.1:1", "--token-file", &device.token(), "--patience", "0"];
    json_of(&device.run(&[&["send", path.to_str().unwrap()], &nowhere[..]].concat()), 1);
}

#[test]
fn a_device_erases_everything_with_one_command() {
    let world = world();
    let service = world.serve();
    let (device, phrase) = Device::new(&world, "device");
    let (stays, _) = Device::new(&world, "stays");
    stays.consents(&service);
    stays.sends(&service, 4, 0);
    device.consents(&service);
    device.sends(&service, 5, 0);
    service.flush();
    device.done(&["identity", "rotate"]);
    device.sends(&service, 6, 0);
    spool(&world, &device, 3);
    let before = all_rows(&world);

    let erased = device.at(&service, &["erase"], 0);
    assert_eq!((&erased["dropped"], &erased["delivered"], &erased["silent"]), (&json!(3), &json!(true), &json!(true)));
    assert_eq!(column(&erased, "state"), [&json!("requested"), &json!("requested")], "{erased}");
    // Without a certificate it is no more than asked for.
    let status = json_of(&device.run(&["erasures", "--url", &url(&service)]), 0);
    assert_eq!(column(&status, "certificate"), [&json!(null), &json!(null)], "{status}");
    let late = device.at(&service, &["erase", "--wait", "1"], 1);
    assert_eq!(column(&late, "id"), column(&erased, "id"), "it is the same one");

    let passed = json_of(&erasure(&world, &service, &["run"]), 0);
    let rows = &passed["rows"][0];
    assert_eq!((&rows["erasures"], rows["rows"].as_u64()), (&json!(2), Some(before - all_rows(&world))), "{passed}");
    let done = device.at(&service, &["erase", "--wait", PATIENCE], 0);
    assert_eq!(column(&done, "state"), [&json!("done"), &json!("done")], "{done}");
    assert_eq!(column(&done, "id"), column(&erased, "id"));
    let kept = certificates(&device.state.join("certificates"));
    let gone: u64 = kept.iter().map(|signed| signed.certificate.rows).sum();
    assert_eq!((kept.len(), gone), (2, before - all_rows(&world)));
    assert!(all_rows(&world) > 0, "who stays has rows");

    // Quiet until consent is given anew; what is sent is counted, and reaches nobody.
    let shown = device.done(&["identity", "show"]);
    assert_eq!((&shown["epoch"], &shown["consent"], &shown["undelivered"]), (&json!(2), &json!(null), &json!(0)));
    let sent = device.sends(&service, 7, 0);
    assert_eq!((&sent["rows"][0]["reasons"], &sent["balances"]), (&json!({ "no_consent": 7 }), &json!(true)), "{sent}");
    let stored = all_rows(&world);
    device.consents(&service);
    assert_eq!(device.sends(&service, 2, 0)["rows"][0]["acknowledged"], json!(2));
    assert!(all_rows(&world) > stored);
    device.at(&service, &["receipts", "check"], 0);
    // The epochs that are gone end no search for the one that is there.
    let identity = device.identity();
    let held =
        world.candor(&["audit", "show", "--json", "--identity", identity.to_str().unwrap(), "--url", &url(&service)]);
    let held = json_of(&held, 0);
    assert_eq!((held["held"].as_u64(), &held["epochs"][0]["epoch"]), (Some(all_rows(&world) - stored), &json!(2)));
    let found = Device::of(&world, "found");
    let recover = ["identity", "recover", crate::signer::FLEET, "--url", &url(&service)];
    assert_eq!(json_of(&found.fed(&recover, phrase.as_bytes()), 0)["epoch"], json!(2));
    assert!(service.stop().success());
    world.verify("after the device erased everything");
    // Nor in the folder.
    let (identity, data) = (identity.to_str().unwrap(), world.data());
    let own = ["--identity", identity, "--data", data.to_str().unwrap()];
    let shown = json_of(&world.candor(&[&["audit", "show", "--json"], &own[..]].concat()), 0);
    assert_eq!((&shown["held"], column(&shown, "epoch").first()), (&held["held"], Some(&&json!(2))), "{shown}");
    let verified = audit(&world, &[&["verify"], &own[..]].concat(), 0);
    assert_eq!(verdicts(&verified, "ids"), ["proved"], "{verified}");
    assert!(column(&verified, "about").contains(&&json!("epoch 2")), "{verified}");
}

#[test]
fn offline_it_is_quiet_at_once_and_asks_later() {
    let world = world();
    let service = world.serve();
    let (device, _) = Device::new(&world, "device");
    device.consents(&service);
    device.sends(&service, 5, 0);
    spool(&world, &device, 4);
    let away = ["erase", "--url", "http://127.0.0.1:1", "--token-file", &device.token(), "--patience", "0"];
    let erased = json_of(&device.run(&away), 1);
    assert_eq!((&erased["dropped"], column(&erased, "state")), (&json!(4), vec![&json!("wanted")]), "{erased}");
    let again = json_of(&device.run(&["erase"]), 0);
    assert_eq!((&again["dropped"], column(&again, "state")), (&json!(0), vec![&json!("wanted")]), "{again}");
    assert_eq!(column(&device.done(&["erasures"]), "state"), [&json!("wanted")]);
    // The next that is sent is the withdrawal and the erasure, and no event.
    let sent = device.sends(&service, 2, 0);
    assert_eq!(sent["rows"][0]["reasons"], json!({ "no_consent": 2 }), "{sent}");
    assert_eq!(service.metric("candor_erasures_open"), 1);
    assert_eq!(column(&device.done(&["erasures"]), "state"), [&json!("requested")]);
    json_of(&erasure(&world, &service, &["run"]), 0);
    assert_eq!(all_rows(&world), 0);
    let done = json_of(&device.run(&["erasures", "--url", &url(&service)]), 0);
    assert_eq!((column(&done, "state"), column(&done, "rows")[0].as_u64() > Some(0)), (vec![&json!("done")], true));
}

/// Whoever has the seed may ask on another machine. The device that learns of it begins anew, and carries no consent over.
#[test]
fn the_holder_of_an_identity_asks_on_any_machine() {
    let world = world();
    let service = world.serve();
    let (device, _) = Device::new(&world, "device");
    device.consents(&service);
    device.sends(&service, 5, 0);
    let rows = all_rows(&world);
    // A purpose that is still given would come back with the next event.
    let refused = own(&world, &service, &device, &["request", "--purpose", "analytics"]);
    assert!(!refused.status.success() && text(&refused.stderr).contains("withdraw"), "{}", text(&refused.stderr));
    device.at(&service, &["consent", "set", "analytics=withdrawn"], 0);
    let asked = json_of(&own(&world, &service, &device, &["request", "--purpose", "analytics"]), 0);
    assert_eq!(
        asked["rows"][0]["what"].as_str().or(asked["rows"][0]["scope"]["purposes"][0].as_str()),
        Some("analytics")
    );
    json_of(&own(&world, &service, &device, &["request", "--from", "2020-01-01", "--to", "2020-12-31"]), 0);
    let all = json_of(&own(&world, &service, &device, &["request", "--all"]), 0);
    assert_eq!(column(&all, "state"), [&json!("open")], "{all}");
    json_of(&erasure(&world, &service, &["run"]), 0);
    assert_eq!(all_rows(&world), 0);
    let folder = world.path("certificates");
    let arguments = ["status", "--certificates", folder.to_str().unwrap()];
    let status = json_of(&own(&world, &service, &device, &arguments), 0);
    assert_eq!(column(&status, "state"), [&json!("done"); 3], "{status}");
    let kept = certificates(&folder);
    assert_eq!((kept.len(), kept.iter().map(|signed| signed.certificate.rows).sum::<u64>()), (3, rows));

    // The device learns of it with its next events.
    let path = world.path("late.jsonl");
    std::fs::write(&path, lines(3)).unwrap();
    let late = device.at(&service, &["send", path.to_str().unwrap()], 1);
    let now = &late["rows"][0];
    assert_eq!((&now["sent"], &now["reasons"]), (&json!(3), &json!({ "key_closed": 3 })), "{late}");
    assert_eq!((&late["balances"], &late["delivered"]), (&json!(true), &json!(false)), "{late}");
    assert!(late["stopped"].as_str().unwrap().contains("3 events that waited under it are dropped"), "{late}");
    let rotated = device.done(&["identity", "rotate"]);
    assert_eq!((&rotated["epoch"], &rotated["consent"]), (&json!(1), &json!(null)), "{rotated}");
    let sent = device.sends(&service, 2, 0);
    assert_eq!(sent["rows"][0]["reasons"], json!({ "no_consent": 2 }), "{sent}");
}

#[test]
fn people_are_told_that_what_was_sent_under_a_closed_key_is_dropped() {
    let world = world();
    let service = world.serve();
    let (device, _) = Device::new(&world, "device");
    device.consents(&service);
    json_of(&own(&world, &service, &device, &["request", "--all"]), 0);
    let (path, state, token) = (world.path("late.jsonl"), device.state.to_str().unwrap().to_owned(), device.token());
    std::fs::write(&path, lines(2)).unwrap();
    let send = ["agent", "send", path.to_str().unwrap(), "--state", &state, "--url", &url(&service)];
    let late = world.candor(&[&send[..], &["--token-file", &token]].concat());
    let told = text(&late.stdout) + &text(&late.stderr);
    assert_eq!(late.status.code(), Some(1), "{told}");
    let stopped = "NOT DELIVERED: the key of epoch 0 is closed: the 2 events that waited under it are dropped";
    assert!(told.contains(stopped) && told.contains("2 key_closed") | told.contains("key_closed 2"), "{told}");
}

#[test]
fn an_operator_asks_for_an_assigned_subject() {
    let world = World::new();
    let service = world.serve();
    service.consent(&["phone-1", "phone-2"], "given");
    let send = |from: u64| {
        for device in ["phone-1", "phone-2"] {
            let events: Vec<Event> = (from..from + 4).map(|number| Event::numbered(device, number)).collect();
            service.device().logs(&encode(&events)).unwrap().expect_status(200);
        }
    };
    send(0);
    let before = PURPOSES.map(|purpose| rows_of(&world, purpose));
    let asked = json_of(&erasure(&world, &service, &["request", "phone-1", "--purpose", "analytics"]), 0);
    assert_eq!(column(&asked, "state"), [&json!("open")], "{asked}");
    let passed = json_of(&erasure(&world, &service, &["run"]), 0);
    assert_eq!(passed["rows"][0]["rows"], json!(before[1] / 2), "{passed}");
    assert_eq!(rows_of(&world, "analytics"), before[1] / 2);
    // By date: consent stays as it is.
    json_of(&erasure(&world, &service, &["request", "phone-1", "--to", "2020-01-01"]), 0);
    assert_eq!(json_of(&erasure(&world, &service, &["run"]), 0)["rows"][0]["rows"], json!(0));
    json_of(&erasure(&world, &service, &["request", "phone-1", "--all"]), 0);
    json_of(&erasure(&world, &service, &["run"]), 0);
    assert_eq!(PURPOSES.map(|purpose| rows_of(&world, purpose)), before.map(|rows| rows / 2));
    send(100);
    assert_eq!(rows_of(&world, "analytics"), before[1] / 2 + 4, "of who was erased nothing is stored");
    let folder = world.path("certificates");
    let arguments = ["status", "phone-1", "--certificates", folder.to_str().unwrap()];
    let status = json_of(&erasure(&world, &service, &arguments), 0);
    assert_eq!(column(&status, "state"), [&json!("done"); 3], "{status}");
    let kept = certificates(&folder);
    assert_eq!(kept.len(), 3);
    let id: [u8; 32] = {
        let answer =
            service.officer().send("GET", "/v1/subject/erasure", &[("candor-subject", "phone-1")], &[]).unwrap();
        let answer: Value = serde_json::from_slice(&answer.body).unwrap();
        hex::decode(answer["subject"].as_str().unwrap()).unwrap().try_into().unwrap()
    };
    assert_eq!(column(&status, "subject"), [&json!(hex::encode(&id)); 3], "{status}");
    for signed in &kept {
        signed.check(&signed.key, &LedgerId::from_bytes(id)).unwrap();
        let file = std::fs::read(folder.join(format!("{}.json", signed.certificate.id))).unwrap();
        assert_eq!(file, signed.encode().unwrap(), "as it is hashed and signed");
    }
    for wrong in [
        &["request", "phone-1"][..],
        &["request", "phone-1", "--all", "--purpose", "analytics"],
        &["request", "phone-1", "--to", "9999-01-01"],
    ] {
        assert!(matches!(erasure(&world, &service, wrong).status.code(), Some(1 | 2)), "{wrong:?}");
    }
    let nothing = json_of(&erasure(&world, &service, &["status", "phone-9"]), 0);
    assert_eq!(nothing["rows"], json!([]), "an operator's question has an answer: {nothing}");
    // In the folder itself, once no service has it: at once.
    let (data, fleet) = (world.data(), world.fleet());
    let beside = ["--json", "--data", data.to_str().unwrap(), "--fleet", fleet.to_str().unwrap()];
    let alone = |arguments: &[&str]| world.candor(&[&["erasure"], arguments, &beside[..]].concat());
    assert!(!alone(&["request", "phone-2", "--all"]).status.success(), "a service has the folder");
    assert!(service.stop().success());
    let done = json_of(&alone(&["request", "phone-2", "--all"]), 0);
    assert_eq!(column(&done, "subject")[0].as_str().map(str::len), Some(64), "{done}");
    assert_eq!((column(&done, "state"), all_rows(&world)), (vec![&json!("done")], 0), "{done}");
    assert_eq!(column(&json_of(&alone(&["status", "phone-2"]), 0), "id"), column(&done, "id"));
    world.verify("after every erasure");
}

/// What is asked for by purpose is that and nothing else: a misspelt name erases nothing, and who is asked for whether events still come
/// is told.
#[test]
fn what_is_asked_for_by_purpose_is_said_as_it_is() {
    let world = World::new();
    world.edit("policy.toml", |text| {
        text.replacen("basis       = { EU = \"consent\", US-CA", "basis       = { EU = \"contract\", US-CA", 1)
    });
    let service = world.serve();
    service.consent(&["phone-1", "phone-2"], "given");
    let send = |device: &str, from: u64| {
        let events: Vec<Event> = (from..from + 4).map(|number| Event::numbered(device, number)).collect();
        service.device().logs(&encode(&events)).unwrap().expect_status(200);
    };
    send("phone-1", 0);
    send("phone-2", 0);
    let before = rows_of(&world, "analytics");

    let misspelt =
        erasure(&world, &service, &["request", "phone-1", "--purpose", "analytics", "--purpose", "analitics"]);
    assert_eq!(misspelt.status.code(), Some(2), "{}", text(&misspelt.stdout));
    assert!(text(&misspelt.stderr).contains("analytics, diagnostics, marketing"), "{}", text(&misspelt.stderr));
    assert!(!text(&misspelt.stderr).contains("analitics"), "{}", text(&misspelt.stderr));
    send("phone-1", 4);
    assert_eq!(rows_of(&world, "analytics"), before + 4, "nothing was withdrawn either");
    let missing = erasure(&world, &service, &["request", "phone-1"]);
    for flag in ["--all", "--purpose", "--from", "--to"] {
        assert!(text(&missing.stderr).contains(flag), "{flag}: {}", text(&missing.stderr));
    }

    let asked = json_of(&erasure(&world, &service, &["request", "phone-1", "--purpose", "analytics"]), 0);
    assert_eq!(column(&asked, "still_taken"), [&json!([])], "{asked}");
    let asked = json_of(&erasure(&world, &service, &["request", "phone-1", "--purpose", "diagnostics"]), 0);
    assert_eq!(column(&asked, "still_taken"), [&json!(["diagnostics"])], "{asked}");
    for (scope, said) in [
        (&["--purpose", "analytics"][..], "these purposes are withdrawn"),
        (&["--purpose", "diagnostics"], "no consent is asked for them: diagnostics"),
        (&["--to", "2020-01-01"], "what comes now is stored as before"),
    ] {
        let more = ["--url", &url(&service), "--token-file", &officer(&world)];
        let told = world.candor(&[&["erasure", "request", "phone-1"], scope, &more[..]].concat());
        assert!(text(&told.stdout).contains(said), "{said}: {}", text(&told.stdout));
    }
    json_of(&erasure(&world, &service, &["run"]), 0);
    send("phone-1", 8);
    assert_eq!(rows_of(&world, "analytics"), before / 2);
    assert!(service.stop().success());

    // A purpose is withdrawn where no service has the folder, too.
    let (data, fleet) = (world.data(), world.fleet());
    let beside = ["--data", data.to_str().unwrap(), "--fleet", fleet.to_str().unwrap(), "--json"];
    let alone = |purpose: &str| {
        world.candor(&[&["erasure", "request", "phone-2", "--purpose", purpose][..], &beside[..]].concat())
    };
    assert_eq!(alone("analitics").status.code(), Some(2));
    json_of(&alone("analytics"), 0);
    let service = world.serve();
    let events: Vec<Event> = (8..12).map(|number| Event::numbered("phone-2", number)).collect();
    service.device().logs(&encode(&events)).unwrap().expect_status(200);
    assert_eq!(rows_of(&world, "analytics"), 0, "it was withdrawn");
    assert!(service.stop().success());
    world.verify("after erasures by purpose");
}

const DAYS: i64 = 86_400_000_000;

/// Places of the settings are in the certificate, and what waits beyond its deadline is counted. The clock of the process is
/// moved by days, which only a binary with failpoints lets a test do.
#[test]
fn places_are_certified_and_what_is_overdue_is_counted() {
    let world = World::new();
    let settings = world.path(".config/candor/candor.toml");
    std::fs::create_dir_all(settings.parent().unwrap()).unwrap();
    let places = "[store.erasure]\ndays = 10\n[[store.erasure.place]]\nname = \"backups\"\nstate = \"due\"\ndays = 90\n\
        [[store.erasure.place]]\nname = \"replica of a partner\"\nstate = \"outside\"\n";
    std::fs::write(&settings, places).unwrap();
    let service = world.serve();
    service.consent(&["phone-1"], "given");
    service.device().logs(&encode(&[Event::numbered("phone-1", 1)])).unwrap().expect_status(200);
    let asked = json_of(&erasure(&world, &service, &["request", "phone-1", "--all"]), 0);
    assert_eq!(column(&asked, "state"), [&json!("open")]);
    assert_eq!((service.metric("candor_erasures_open"), service.metric("candor_erasures_overdue")), (1, 0));
    service.kill();
    // A pass that hangs, on the last day and on the day after.
    for (days, overdue) in [("9", 0), ("11", 1)] {
        let environment = [("FAILPOINTS", "erase::after_plan=sleep(600000)"), ("FAILPOINT_CLOCK_DAYS", days)];
        let service = world.start(&Start { environment: &environment, ..Start::default() }).unwrap();
        let counts = (service.metric("candor_erasures_open"), service.metric("candor_erasures_overdue"));
        assert_eq!(counts, (1, overdue), "after {days} days");
        service.kill();
    }
    let environment = [("FAILPOINT_CLOCK_DAYS", "11")];
    let service = world.start(&Start { environment: &environment, ..Start::default() }).unwrap();
    json_of(&erasure(&world, &service, &["run"]), 0);
    assert_eq!((service.metric("candor_erasures_open"), service.metric("candor_erasures_overdue")), (0, 0));
    let folder = world.path("certificates");
    let arguments = ["status", "phone-1", "--certificates", folder.to_str().unwrap()];
    json_of(&erasure(&world, &service, &arguments), 0);
    let certificate = certificates(&folder).remove(0).certificate;
    let late = certificate.done_at - certificate.deadline;
    assert!((0..2 * DAYS).contains(&late), "{certificate:?}");
    let place = |name: &str| certificate.places.iter().find(|place| place.place == name).unwrap();
    assert_eq!(
        (place("backups").state, place("backups").until),
        (PlaceState::Due, Some(certificate.done_at + 90 * DAYS))
    );
    let outside = place("replica of a partner");
    assert_eq!((outside.state, outside.until), (PlaceState::Outside, None));
    for name in ["tables", "log of the tables", "segments", "ledger"] {
        assert_eq!((place(name).state, place(name).until), (PlaceState::Done, None), "{name}");
    }
    figure(&format!("erasure: done {} hours after its deadline, counted as overdue meanwhile", late / 3_600_000_000));
    assert!(service.stop().success());
}
