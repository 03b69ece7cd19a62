//! Requests at random: mostly declared keys with values that fit, and enough of everything else.

use opentelemetry_proto::tonic::common::v1::any_value::Value;
use opentelemetry_proto::tonic::common::v1::{
    AnyValue, ArrayValue, EntityRef, InstrumentationScope, KeyValue, KeyValueList,
};
use opentelemetry_proto::tonic::resource::v1::Resource;
use proptest::collection::vec;
use proptest::option;
use proptest::prelude::*;
use proptest::sample::select;
use proptest::test_runner::{Config, RngSeed};

pub(crate) mod logs;
pub(crate) mod metrics;
pub(crate) mod traces;

/// How a randomised test runs: with the seed in `CANDOR_SEED`, or always the same one. The seed is printed.
pub(crate) fn config(cases: u32) -> Config {
    let seed = std::env::var("CANDOR_SEED").ok().and_then(|seed| seed.parse().ok()).unwrap_or(20_261_122);
    println!("CANDOR_SEED={seed}");
    Config { cases, rng_seed: RngSeed::Fixed(seed), failure_persistence: None, ..Config::default() }
}

fn resource() -> impl Strategy<Value = Resource> {
    let key = select(vec![
        "device.id",
        "device.id",
        "region",
        "gpc",
        "device.model.name",
        "device.memory",
        "device.made",
        "device.cells",
        "device.lat",
        "device.lon",
        "device",
        "service.name",
    ]);
    (vec(attribute(key), 0..7), any::<u32>(), vec(Just(entity_ref()), 0..2)).prop_map(
        |(attributes, dropped_attributes_count, entity_refs)| Resource {
            attributes,
            dropped_attributes_count,
            entity_refs,
        },
    )
}

fn scope() -> impl Strategy<Value = Option<InstrumentationScope>> {
    let key = select(vec!["library", "library", "speed", "region", "gpc", "location.lat", "location", "undeclared"]);
    let scope = (select(vec!["sdk", "http", ""]), select(vec!["1", ""]), vec(attribute(key), 0..4));
    option::of(scope.prop_map(|(name, version, attributes)| InstrumentationScope {
        name: name.to_owned(),
        version: version.to_owned(),
        attributes,
        dropped_attributes_count: 3,
    }))
}

/// Nanoseconds, absent and extreme ones included.
fn time() -> impl Strategy<Value = u64> {
    prop_oneof![1 => Just(0), 1 => Just(u64::MAX), 4 => 1_700_000_000_000_000_000_u64..1_800_000_000_000_000_000]
}

/// An id, a short one and none included.
fn id() -> impl Strategy<Value = Vec<u8>> {
    vec(any::<u8>(), 0..17)
}

fn entity_ref() -> EntityRef {
    EntityRef {
        schema_url: "u".to_owned(),
        r#type: "host".to_owned(),
        id_keys: vec!["device.id".to_owned()],
        description_keys: vec!["a".to_owned(), "b".to_owned()],
    }
}

/// An attribute whose value mostly suits its key.
fn attribute(key: impl Strategy<Value = &'static str>) -> impl Strategy<Value = KeyValue> {
    key.prop_flat_map(|key| {
        let value = prop_oneof![12 => fitting(key), 1 => any_value()];
        (Just(key), option::weighted(0.95, value))
    })
    .prop_map(|(key, value)| KeyValue { key: key.to_owned(), value, key_strindex: 0 })
}

fn fitting(key: &'static str) -> BoxedStrategy<AnyValue> {
    let some = |value: Value| AnyValue { value: Some(value) };
    match key {
        "duration_ms" | "device.memory" => prop_oneof![
            any::<i64>().prop_map(Value::IntValue),
            (-9i32..9).prop_map(|whole| Value::DoubleValue(f64::from(whole)))
        ]
        .prop_map(some)
        .boxed(),
        "location.lat" | "location.lon" | "device.lat" | "device.lon" | "speed" => prop_oneof![
            (-9i64..9).prop_map(|whole| Value::DoubleValue(whole as f64)),
            select(vec![90.0, -180.0, 180.5, f64::NAN, f64::INFINITY]).prop_map(Value::DoubleValue),
            any::<i32>().prop_map(|whole| Value::IntValue(i64::from(whole)))
        ]
        .prop_map(some)
        .boxed(),
        "started" | "device.made" => select(vec![
            Value::IntValue(-1),
            Value::IntValue(1_700_000_000_123_456_789),
            Value::StringValue("2026-11-22T20:00:00.1234567Z".to_owned()),
            Value::StringValue("1969-02-28t23:59:59-23:59".to_owned()),
        ])
        .prop_map(some)
        .boxed(),
        "app.foreground" => any::<bool>().prop_map(Value::BoolValue).prop_map(some).boxed(),
        "gpc" => prop_oneof![
            any::<bool>().prop_map(Value::BoolValue),
            (-1i64..3).prop_map(Value::IntValue),
            select(vec![0.0, -0.0, 1.0, f64::NAN]).prop_map(Value::DoubleValue),
            select(vec!["", " 0", "1", "1 ", "False", "True", "no"])
                .prop_map(|text| Value::StringValue(text.to_owned())),
        ]
        .prop_map(some)
        .boxed(),
        "tags" => array("name"),
        "levels" => array("speed"),
        "switches" => array("app.foreground"),
        "marks" => array("started"),
        "device.cells" => array("duration_ms"),
        "location" | "location.place" | "place" | "app" | "device" => list().prop_map(some).boxed(),
        _ => "\\PC{0,9}".prop_map(Value::StringValue).prop_map(some).boxed(),
    }
}

/// An array whose elements suit a key; some have no value.
fn array(key: &'static str) -> BoxedStrategy<AnyValue> {
    let element = option::weighted(0.9, fitting(key)).prop_map(Option::unwrap_or_default);
    vec(element, 0..4).prop_map(|values| AnyValue { value: Some(Value::ArrayValue(ArrayValue { values })) }).boxed()
}

/// A list of pairs with keys that may be declared below another.
fn list() -> impl Strategy<Value = Value> {
    let key = || select(vec!["lat", "lon", "place", "name", "place.name", "package", "foreground", "id", "x"]);
    let leaf = key().prop_flat_map(|key| {
        let value = match key {
            "lat" | "lon" => fitting("speed"),
            "foreground" => fitting("app.foreground"),
            _ => fitting("name"),
        };
        (Just(key), option::weighted(0.9, value))
    });
    let pairs = leaf.prop_map(|(key, value)| KeyValue { key: key.to_owned(), value, key_strindex: 0 });
    pairs
        .prop_recursive(3, 12, 4, move |inner| {
            (key(), vec(inner, 0..4)).prop_map(|(key, values)| KeyValue {
                key: key.to_owned(),
                value: Some(AnyValue { value: Some(Value::KvlistValue(KeyValueList { values })) }),
                key_strindex: 0,
            })
        })
        .prop_flat_map(|pair| vec(Just(pair), 0..3))
        .prop_map(|values| Value::KvlistValue(KeyValueList { values }))
}

/// Any value at all.
fn any_value() -> impl Strategy<Value = AnyValue> {
    let scalar = prop_oneof![
        "\\PC{0,9}".prop_map(|text| Some(Value::StringValue(text))),
        any::<bool>().prop_map(|value| Some(Value::BoolValue(value))),
        any::<i64>().prop_map(|value| Some(Value::IntValue(value))),
        any::<f64>().prop_map(|value| Some(Value::DoubleValue(value))),
        vec(any::<u8>(), 0..5).prop_map(|bytes| Some(Value::BytesValue(bytes))),
        any::<i32>().prop_map(|index| Some(Value::StringValueStrindex(index))),
        Just(None),
    ]
    .prop_map(|value| AnyValue { value });
    scalar.prop_recursive(3, 12, 4, |inner| {
        prop_oneof![
            vec(inner.clone(), 0..4).prop_map(|values| Value::ArrayValue(ArrayValue { values })),
            vec((select(vec!["lat", "name", "x"]), option::of(inner)), 0..4).prop_map(|pairs| {
                let pair = |(key, value): (&str, _)| KeyValue { key: key.to_owned(), value, key_strindex: 0 };
                Value::KvlistValue(KeyValueList { values: pairs.into_iter().map(pair).collect() })
            })
        ]
        .prop_map(|value| AnyValue { value: Some(value) })
    })
}
