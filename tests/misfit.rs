//! A fleet that does not fit to what is stored is refused at the start, before anything could be acknowledged that no table takes.

use crate::otlp::{Event, encode};
use crate::world::{Service, Start, World};

const INTEGER: &str = "type        = \"i64\"\nfrom        = \"attributes.duration_ms\"";
const DOUBLE: &str = "type        = \"f64\"\nfrom        = \"attributes.duration_ms\"";

#[test]
fn a_column_keeps_its_type_in_a_table() {
    let world = World::new();
    let service = world.serve();
    send(&service, 0);
    assert!(service.stop().success());
    refused_until_undone(&world);
}

/// The rows of an open segment are in no table yet, and have their types all the same.
#[test]
fn a_column_keeps_its_type_in_a_segment() {
    let world = World::new();
    let service = world.serve();
    send(&service, 0);
    service.kill();
    assert!(!world.data().join("tables/analytics/phone.app").exists(), "the rows are in a table already");
    refused_until_undone(&world);
}

#[test]
fn a_log_keeps_its_name() {
    let world = World::new();
    let service = world.serve();
    send(&service, 0);
    assert!(service.stop().success());
    let rename = |from: &str, to: &str| world.edit("catalogue.toml", |text| text.replacen(from, to, 1));
    rename("catalogue = \"acme-fleet\"", "catalogue = \"acme-fleet-2\"");
    let words =
        ["it is the log of \"candor/acme-fleet\", and this fleet's is \"candor/acme-fleet-2\"", "store.log.origin"];
    refused(&world, &words);
    rename("catalogue = \"acme-fleet-2\"", "catalogue = \"acme-fleet\"");
    goes_on(&world);
}

fn send(service: &Service, first: u64) {
    if first == 0 {
        service.consent(&["phone-1"], "given");
    }
    let events: Vec<Event> = (first..first + 3).map(|number| Event::numbered("phone-1", number)).collect();
    service.device().logs(&encode(&events)).unwrap().expect_status(200);
}

fn refused_until_undone(world: &World) {
    world.edit("catalogue.toml", |text| text.replacen(INTEGER, DOUBLE, 1));
    let column = "column duration_ms of table analytics/phone.app cannot change";
    refused(world, &[column, "it is duration_ms (Int64) there and Float64 now", "another column"]);
    world.edit("catalogue.toml", |text| text.replacen(DOUBLE, INTEGER, 1));
    goes_on(world);
}

/// Neither the service nor `doctor` takes the fleet, and both say why.
fn refused(world: &World, words: &[&str]) {
    let ended = world.start(&Start::default()).err().expect("the fleet does not fit");
    let (fleet, data) = (world.fleet(), world.data());
    let looked = ["doctor", "--fleet", fleet.to_str().unwrap(), "--data", data.to_str().unwrap(), "--json"];
    let doctor = world.candor(&looked);
    assert_eq!(doctor.status.code(), Some(3), "doctor finds what is wrong");
    let doctor: serde_json::Value = serde_json::from_slice(&doctor.stdout).unwrap();
    let found = doctor["rows"].as_array().unwrap().iter().find(|row| row["check"] == "fleet and data").unwrap();
    let found = format!("{} {}", found["found"].as_str().unwrap(), found["mend"].as_str().unwrap());
    for word in words {
        assert!(ended.contains(word), "{word}: {ended}");
        assert!(found.contains(word), "{word}: {found}");
    }
}

/// Undone, everything is there, and more is taken: nothing of the attempt was kept.
fn goes_on(world: &World) {
    let service = world.serve();
    send(&service, 3);
    assert!(service.stop().success());
    assert_eq!(world.count("select count(*) from analytics.\"phone.app\""), 6);
    world.verify("after the attempt");
}
