//! Lists and positions, the whole way: sent, changed element by element, pending, sealed, asked for, and nothing raw left.

use serde_json::{Value, json};

use crate::otlp::{Event, encode, partial_success};
use crate::scan::{Canary, Hits, Needles};
use crate::world::World;

const CATALOGUE: &str = r#"
[stream."phone.app".event."phone.lists.full"]
description = "May carry every field"

[stream."phone.app".event."phone.lists.sparse"]
description = "So may this"

[stream."phone.app".field.nearby]
type        = "list<string>"
from        = "attributes.nearby"
category    = "user.device.ip_address"
role        = "quasi"
description = "Addresses nearby"

[stream."phone.app".field.levels]
type        = "list<f64>"
from        = "attributes.levels"
category    = "user.device"
role        = "plain"
description = "Signal levels"

[stream."phone.app".field.marks]
type        = "list<timestamp>"
from        = "attributes.marks"
category    = "user.behavior"
role        = "plain"
description = "When something was marked"

[stream."phone.app".field.cells]
type        = "list<i64>"
from        = "resource.device.cells"
category    = "user.device"
role        = "quasi"
description = "Cells of the network"

[stream."phone.app".field.peers]
type        = "list<string>"
from        = "attributes.peers"
category    = "user.contact"
role        = "identifier"
description = "People nearby"

[stream."phone.app".field.place]
type        = "position"
from        = { lat = "attributes.at.lat", lon = "attributes.at.lon" }
category    = "user.location"
role        = "quasi"
description = "Where it was"
"#;

const RULE: &str = r#"
[[rule]]
id      = "lists"
stream  = "phone.app"
purpose = "diagnostics"
emit.nearby = { op = "ip_trunc" }
emit.levels = { op = "bin", width = 10 }
emit.marks  = { op = "time_floor", unit = "hour" }
emit.cells  = { op = "hmac", key = "diagnostics" }
emit.peers  = { op = "suppress" }
emit.place  = { op = "suppress" }
"#;

const SQL: &str =
    "select nearby, levels, marks, cells_hmac, peers, place from diagnostics.\"phone.app\" order by event";

fn world() -> World {
    let world = World::new();
    world.edit("catalogue.toml", |text| text + CATALOGUE);
    world.edit("policy.toml", |text| text + RULE);
    world
}

fn event(name: &str, attributes: Value) -> Event {
    let mut event = Event::new("lists-01", "US-CA", name, attributes);
    event.resource.insert("device.cells".to_owned(), json!([4_815_162_342_i64, 7, 4_815_162_342_i64]));
    event
}

#[test]
fn lists_are_stored_element_by_element_and_nothing_raw_rests() {
    let world = world();
    let service = world.serve();
    service.consent(&["lists-01"], "given");
    let full = json!({
        "nearby": ["203.0.113.77", null, "2001:db8:85a3:8d3:1319:8a2e:370:7348", "canary.nearby"],
        "levels": [-3.25, 17, 20.0],
        "marks": ["2026-11-22T20:59:59.5Z", 1_793_500_123_456_789_000_i64],
        "peers": ["canary.peer@example.org"],
        "at": {"lat": 52.518_736_421, "lon": 13.407_123_987},
    });
    let events =
        [event("phone.lists.full", full), event("phone.lists.sparse", json!({"nearby": [], "at.lat": 37.718_736_421}))];
    assert_eq!(partial_success(&service.device().logs(&encode(&events)).unwrap().expect_status(200).body).0, 0);

    let check = |when: &str| {
        let rows = world.query(SQL);
        assert_eq!(rows.len(), 2, "{when}");
        assert_eq!(rows[0]["nearby"], json!(["203.0.113.0", null, "2001:db8:85a3::", null]), "{when}");
        assert_eq!(rows[0]["levels"], json!([-10.0, 10.0, 20.0]), "{when}");
        assert_eq!(rows[0]["marks"], json!(["2026-11-22T20:00:00Z", "2026-11-01T02:00:00Z"]), "{when}");
        let cells = rows[0]["cells_hmac"].as_array().unwrap();
        assert!(cells.len() == 3 && cells[0] == cells[2] && cells[0] != cells[1], "{when}: {cells:?}");
        assert!(cells.iter().all(|cell| cell.as_str().is_some_and(|text| text.len() == 32)), "{when}: {cells:?}");
        assert_eq!((&rows[1]["nearby"], &rows[1]["levels"]), (&json!([]), &Value::Null), "{when}");
        assert_eq!(rows[1]["cells_hmac"], rows[0]["cells_hmac"], "{when}: the resource's, in each of its rows");
        assert!(rows.iter().all(|row| row["peers"].is_null() && row["place"].is_null()), "{when}");
    };
    check("pending");
    let raw = [
        Canary::Text("203.0.113.77".to_owned()),
        Canary::Text("8d3:1319:8a2e:370:7348".to_owned()),
        Canary::Text("canary.nearby".to_owned()),
        Canary::Text("canary.peer@example.org".to_owned()),
        Canary::Integer(4_815_162_342),
        Canary::Integer(1_793_500_123_456_789),
        Canary::Real(52.518_736_421),
        Canary::Real(13.407_123_987),
        Canary::Real(37.718_736_421),
    ];
    let needles = Needles::new(&raw);
    let mut hits = Hits::new();
    let mut read = needles.folder(&world.data(), &mut hits);
    service.flush();
    check("sealed");
    read += needles.folder(&world.data(), &mut hits);
    needles.text("standard error", &service.log(), &mut hits);
    assert!(read > 10_000 && hits.is_empty(), "{read} bytes: {hits:#?}");

    let held = world.json(&["audit", "show", "lists-01"]).to_string();
    assert!(held.contains("203.0.113.0") && held.contains("ip_trunc"), "{held}");
    assert!(service.stop().success());
    let service = world.serve();
    check("after a restart");
    assert!(service.stop().success());
}

/// The positive control of the scan above: what a policy keeps of a list is found, in segments and in Parquet.
#[test]
fn the_scan_finds_what_a_careless_policy_keeps_of_a_list() {
    let world = world();
    world.edit("policy.toml", |text| {
        text.replace("emit.peers  = { op = \"suppress\" }", "emit.peers = { op = \"keep\" }")
    });
    let service = world.serve();
    service.consent(&["lists-01"], "given");
    let events: Vec<Event> = ["canary.peer@example.org", "other.peer@example.org"]
        .map(|peer| event("phone.lists.sparse", json!({"peers": ["nobody", peer]})))
        .into();
    service.device().logs(&encode(&events)).unwrap().expect_status(200);
    let needles = Needles::new(&[Canary::Text("canary.peer@example.org".to_owned())]);
    let mut hits = Hits::new();
    needles.folder(&world.data(), &mut hits);
    assert!(hits.keys().any(|place| place.contains("/wal/")), "{hits:?}");
    service.flush();
    needles.folder(&world.data(), &mut hits);
    assert!(hits.keys().any(|place| place.ends_with("(values)")), "{hits:?}");
}

#[test]
fn a_list_of_another_type_or_too_long_is_a_bad_value() {
    let world = world();
    let service = world.serve();
    service.consent(&["lists-01"], "given");
    let long: Vec<u32> = (0..1_001).collect();
    for attributes in [
        json!({"levels": 3.5}),
        json!({"levels": [3.5, "4"]}),
        json!({"levels": long}),
        json!({"screen": ["home"]}),
        json!({"at.lat": "52.5", "at.lon": 13.4}),
    ] {
        let answer = service.device().logs(&encode(&[event("phone.lists.sparse", attributes.clone())])).unwrap();
        let (rejected, message) = partial_success(&answer.expect_status(200).body);
        assert_eq!(rejected, 1, "{attributes}");
        assert!(["levels", "screen", "place"].iter().any(|column| message.contains(column)), "{message}");
    }
    let dropped = |total: crate::world::Total| total.dropped;
    let reasons: Vec<_> = world.totals().into_iter().flat_map(dropped).collect();
    assert!(reasons.iter().all(|(reason, records)| (reason.as_str(), *records) == ("bad_value", 5)), "{reasons:?}");
}
