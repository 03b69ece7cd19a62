//! The operator as a whole: what it writes, what it promises of any text, and that its time is linear.

use std::collections::BTreeMap;

use proptest::prelude::*;

use super::super::clean::assert_clean;
use super::super::tests_support::{context_keys, operator};
use super::super::{Parameter, build};
use super::testing::{hits, redacted, redactor};
use super::*;

fn named(names: &[&str]) -> OperatorRef {
    let names = names.iter().map(|name| (*name).to_owned()).collect();
    operator("redact_text", &[("detectors", Parameter::Texts(names))])
}

fn run(operator: &dyn Operator, values: &ArrayRef) -> ArrayRef {
    let keys = context_keys();
    let out = operator.apply(values, &OperatorContext { purpose: "analytics", column: "note", keys: &keys }).unwrap();
    assert_clean(&out);
    assert_eq!(out.len(), values.len());
    out
}

#[test]
fn each_detector_writes_its_marker() {
    for (text, expected) in [
        ("write to john@example.com, please", "write to <EMAIL>, please"),
        ("call +49 30 1234567 now", "call <PHONE> now"),
        ("card 4111 1111 1111 1111.", "card <CARD>."),
        ("to GB29 NWBK 6016 1331 9268 19", "to <IBAN>"),
        ("from 203.0.113.77:443 and [2001:db8::1]", "from <IP>:443 and [<IP>]"),
        ("wifi 3c:78:98:c8:ed:3d", "wifi <MAC>"),
        ("radio 490154203237518", "radio <IMEI>"),
        ("vin 1M8GDM9AXKP042788", "vin <VIN>"),
        ("SSN 078-05-1123", "SSN <SSN>"),
        ("see https://example.org/u/7.", "see <URL>."),
        ("at 48.8566, 2.3522", "at <COORDINATES>"),
        ("nothing here, 12 of 30 done", "nothing here, 12 of 30 done"),
        ("日本語 a@b.co 日本語", "日本語 <EMAIL> 日本語"),
    ] {
        assert_eq!(redacted(&redactor(&[]), text), expected);
    }
}

#[test]
fn only_the_named_detectors_run() {
    let text = "a@b.co 4111111111111111";
    assert_eq!(redacted(&redactor(&["email"]), text), "<EMAIL> 4111111111111111");
    assert_eq!(redacted(&redactor(&["card"]), text), "a@b.co <CARD>");
}

#[test]
fn overlapping_hits_go_together_under_the_longest() {
    let hit = |start, end, detector| Hit { start, end, detector };
    let merged = |mut list: Vec<Hit>| {
        merge(&mut list);
        list
    };
    assert_eq!(merged(vec![hit(0, 5, 3), hit(3, 10, 7)]), [hit(0, 10, 7)], "longest");
    assert_eq!(merged(vec![hit(3, 8, 7), hit(0, 5, 9)]), [hit(0, 8, 7)], "of one length, the earlier detector");
    assert_eq!(merged(vec![hit(0, 5, 3), hit(5, 9, 1)]), [hit(0, 5, 3), hit(5, 9, 1)], "side by side is apart");
    assert_eq!(
        merged(vec![hit(0, 4, 1), hit(2, 8, 2), hit(7, 12, 3), hit(20, 21, 4)]),
        [hit(0, 12, 2), hit(20, 21, 4)]
    );
    assert_eq!(redacted(&redactor(&[]), "https://john@example.com/x"), "<URL>");
}

#[test]
fn what_a_marker_brings_to_light_goes_too() {
    // The digits of the address hid that `tel` speaks of the second number.
    let text = "tel 203.0.113.7, 467 3395";
    let all = redactor(&[]);
    assert_eq!(hits(&all, text).len(), 1);
    let once = redacted(&all, text);
    assert_eq!(once, "tel <IP>, <PHONE>");
    assert_eq!(redacted(&all, "+49 30 1234567, id 5403926876"), "<PHONE>, id 5403926876", "a marker is no word");
    assert_eq!(redacted(&all, &once), once);
}

#[test]
fn a_text_beyond_the_limit_goes_as_a_whole() {
    let email = redactor(&["email"]);
    let at_limit = "x".repeat(MAX_TEXT);
    assert_eq!(redacted(&email, &at_limit), at_limit);
    assert_eq!(redacted(&email, &format!("{at_limit}x")), WHOLE);
}

#[test]
fn columns_keep_rows_nulls_and_nothing_else() {
    let values: ArrayRef = Arc::new(StringArray::from(vec![
        Some("a@b.co before"),
        Some("kept"),
        Some("a@b.co"),
        Some("a@b.co"),
        None,
        Some(""),
        Some("kept"),
    ]));
    let out = run(&*named(&["email"]), &values.slice(1, 6));
    let expected =
        StringArray::from(vec![Some("kept"), Some("<EMAIL>"), Some("<EMAIL>"), None, Some(""), Some("kept")]);
    assert_eq!(out.as_string::<i32>(), &expected);
    let quiet: ArrayRef = Arc::new(StringArray::from(vec![Some("before"), Some("kept"), None]));
    let out = run(&*named(&["email"]), &quiet.slice(1, 2));
    assert_eq!(out.as_string::<i32>(), &StringArray::from(vec![Some("kept"), None]));
    let numbers: ArrayRef = Arc::new(arrow_array::Int64Array::from(vec![1]));
    let keys = context_keys();
    let context = OperatorContext { purpose: "analytics", column: "note", keys: &keys };
    assert_eq!(named(&["email"]).apply(&numbers, &context), Err(OperatorError::WrongType("redact_text")));
}

#[test]
fn more_detectors_cover_fewer() {
    let (all, two, one) = (operator("redact_text", &[]), named(&["card", "email"]), named(&["email"]));
    assert!(all.covers(&*two) && two.covers(&*one) && one.covers(&*one));
    assert!(!one.covers(&*two) && !two.covers(&*all) && !named(&["card"]).covers(&*one));
    assert!(!all.covers(&*operator("ip_trunc", &[])) && !operator("ip_trunc", &[]).covers(&*all));
    assert_eq!(two.parameters(), named(&["email", "card"]).parameters(), "the order of the names means nothing");
    assert_eq!(two.parameters(), "detectors=email,card");
    assert_eq!((two.output(FieldType::String), two.output(FieldType::I64)), (Some(DataType::Utf8), None));
    assert_eq!(two.suffix(), None);
}

#[test]
fn mistakes_say_what_to_do() {
    let problem =
        |value: Parameter| build("redact_text", &BTreeMap::from([("detectors".to_owned(), value)])).unwrap_err();
    let texts = |names: &[&str]| Parameter::Texts(names.iter().map(|name| (*name).to_owned()).collect());
    assert!(problem(texts(&["emial"])).message.contains("`emial`"));
    assert!(problem(texts(&["emial"])).mend.contains("email, url, iban"));
    assert!(problem(texts(&["email", "email"])).message.contains("twice"));
    assert!(problem(texts(&[])).message.contains("not empty"));
    assert!(problem(Parameter::Text("email".into())).message.contains("list of texts"));
}

/// Pieces that detectors look for, so that random texts come near to hits.
fn pieces() -> impl Strategy<Value = String> {
    let pieces = vec![
        "@",
        "a@b.co",
        ".",
        "..",
        ":",
        "::",
        "://",
        "http",
        "www.",
        "4111111111111111",
        "4111 1111",
        "1111 1111",
        "DE89",
        "370400440532013000",
        "490154203237518",
        "078-05-1123",
        "203.0.113.7",
        "fe80",
        "1M8GDM9AXKP042788",
        "+49",
        "(0)",
        "30",
        "1234567",
        "-",
        " ",
        "00:1A:2B",
        ":3C:4D:5E",
        "48.8566",
        ", ",
        "lat=",
        "tel ",
        "imei ",
        "°",
        "′",
        "é",
        "漢",
        "\u{a0}",
        "\u{202f}",
        "%40",
        "\"",
        "x",
        "_",
        "0",
        "9",
        "<EMAIL>",
        "\0",
        "ssn",
        "/24",
        "N",
        "com",
    ];
    let piece = prop_oneof![
        8 => prop::sample::select(pieces).prop_map(str::to_owned),
        1 => any::<char>().prop_map(String::from),
        1 => "[0-9]{1,20}",
    ];
    prop::collection::vec(piece, 0..24).prop_map(|pieces| pieces.concat())
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(4_000))]

    #[test]
    fn no_entity_is_left_and_the_length_is_bounded(text in pieces()) {
        let all = redactor(&[]);
        let out = redacted(&all, &text);
        prop_assert!(hits(&all, &out).is_empty(), "{out:?} of {text:?}");
        prop_assert_eq!(&redacted(&all, &out), &out);
        prop_assert!(out.len() <= text.len() * 2 + WHOLE.len());
        for hit in hits(&all, &text) {
            prop_assert!(text.is_char_boundary(hit.start) && text.is_char_boundary(hit.end) && hit.start < hit.end);
        }
    }

    #[test]
    fn what_is_ruled_out_has_no_hit(text in pieces()) {
        let bytes = text.as_bytes();
        let mut groups = Vec::new();
        text::group(bytes, &mut groups);
        for detector in &DETECTORS {
            let mut list = Vec::new();
            (detector.find)(&Text { whole: &text, bytes, groups: &groups }, &mut Hits { list: &mut list, detector: 0 });
            prop_assert!(list.is_empty() || (detector.may)(bytes, &Counts::of(bytes)), "{}", detector.name);
        }
    }

    #[test]
    fn never_a_panic(text in any::<String>()) {
        redacted(&redactor(&[]), &text);
    }

    #[test]
    fn each_detector_alone_finds_what_it_finds_among_others(text in pieces()) {
        let all = hits(&redactor(&[]), &text);
        for detector in DETECTORS {
            for alone in hits(&redactor(&[detector.name]), &text) {
                prop_assert!(all.iter().any(|hit| hit.start <= alone.start && alone.end <= hit.end), "{}", detector.name);
            }
        }
    }
}
