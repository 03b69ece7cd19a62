//! Clearing against an oracle: the same policy written as plain Rust, row by row, and random batches through both.

use std::collections::BTreeMap;
use std::sync::LazyLock;

use arrow_array::cast::AsArray;
use arrow_array::types::{Float64Type, Int32Type, Int64Type, TimestampMicrosecondType};
use arrow_array::{Array, RecordBatch};
use arrow_schema::DataType;
use proptest::collection::vec;
use proptest::option;
use proptest::prelude::*;
use proptest::sample::select;

use super::fixture::{Batch, CAR, CYCLE, LATER, PHONE, Resource, Row, TODAY, Value, Values, Who, evidence, keys, plan};
use super::reference::{Consent, Counts, Oracle, RESOURCE_COLUMNS, SUBJECTS, Stored};
use crate::batch::{Cleared, DecodeTally};
use crate::consent::{ConsentSnapshot, ConsentState};
use crate::keys::Keys;
use crate::operator::clean::assert_clean;
use crate::plan::{Input, Plan};
use crate::reason::Reason;

const PHONE_COLUMNS: [&str; 12] = [
    "client_ip",
    "screen",
    "duration_ms",
    "battery",
    "foreground",
    "birth_year",
    "signed_up",
    "legacy_id",
    "marks",
    "peers",
    "levels",
    "switches",
];
const CAR_COLUMNS: [&str; 4] = ["vin", "speed", "odometer_km", "place"];

static PLAN: LazyLock<Plan> = LazyLock::new(plan);

proptest! {
    #![proptest_config(ProptestConfig::with_cases(400))]

    #[test]
    fn clearing_is_what_the_policy_says_row_by_row(
        batch in batches(),
        consents in vec(consent(), SUBJECTS.len()),
        header in any::<bool>(),
        received_at in select(vec![TODAY, TODAY + 77, LATER]),
        withdrawn in vec((0..SUBJECTS.len() as u32, 0..3_u16), 0..3),
    ) {
        let keys = keys();
        let admitted = batch.received(&PLAN.catalogue).admit(evidence(received_at, header), &keys);
        let named = admitted.subjects().iter().map(|id| {
            SUBJECTS.iter().position(|name| keys.ledger_id(name) == *id).map(|place| consents[place].compact()).unwrap()
        });
        let snapshot = ConsentSnapshot::new(7, named.collect());
        let oracle = Oracle { batch: &batch, consents: &consents, header, received_at, keys: &keys };

        let cleared = PLAN.clear(admitted, &snapshot, &keys);
        check_shape(&cleared, &keys);
        prop_assert_eq!(cleared.generation(), 7);
        prop_assert_eq!(stored(&cleared), oracle.stored());
        prop_assert_eq!(account(&cleared), oracle.account(&[]));
        prop_assert_eq!(cleared.rejected().undeclared_events, batch.tally.undeclared_events + oracle.expired());

        let subject = |name: u32| {
            let id = keys.ledger_id(SUBJECTS[name as usize]);
            cleared.subjects().iter().position(|known| *known == id).map_or(u32::MAX - 1, |at| at as u32)
        };
        let pairs: Vec<(u32, u16)> = withdrawn.iter().map(|(name, purpose)| (subject(*name), *purpose)).collect();
        let after = cleared.without(&pairs, 8).unwrap();
        check_shape(&after, &keys);
        prop_assert_eq!(after.generation(), 8);
        prop_assert_eq!(stored(&after), oracle.stored_without(&withdrawn));
        prop_assert_eq!(account(&after), oracle.account(&withdrawn));
    }
}

fn consent() -> impl Strategy<Value = Consent> {
    let state = prop_oneof![
        3 => Just(ConsentState::Given),
        1 => select(vec![
            ConsentState::Unknown,
            ConsentState::Refused,
            ConsentState::Withdrawn,
            ConsentState::Expired,
            ConsentState::Invalidated,
        ]),
    ];
    let age = select(vec![None, Some(13), Some(14), Some(16), Some(40)]);
    (proptest::array::uniform3(state), age, select(vec![0, 20_779, 20_780]), select(vec![0, 1, (1 << 32) + 7]))
        .prop_map(|(states, age, expires_day, sequence)| Consent { states, age, expires_day, sequence })
}

fn value(column: &str) -> BoxedStrategy<Value> {
    let texts =
        |texts: &[&str]| select(texts.iter().map(|text| Value::Text((*text).to_owned())).collect::<Vec<_>>()).boxed();
    let whole = |numbers: &[i64]| select(numbers.iter().copied().map(Value::I64).collect::<Vec<_>>()).boxed();
    let floats = |numbers: &[f64]| select(numbers.iter().copied().map(Value::F64).collect::<Vec<_>>()).boxed();
    match column {
        "imei" => texts(&["490154203237518", "356938035643809", ""]),
        "model" => texts(&["Pixel 9", "iPhone 17"]),
        "client_ip" => texts(&["203.0.113.77", "::ffff:198.51.100.7", "2001:db8:85a3:8d3:1319:8a2e:370:7348", "home"]),
        "screen" => texts(&["home", "chat", "settings", "elsewhere", ""]),
        "legacy_id" => texts(&["old-17"]),
        "vin" => texts(&["WVWZZZ1JZXW000001", "WVWZZZ1JZXW000002"]),
        "rooted" | "foreground" => any::<bool>().prop_map(Value::Bool).boxed(),
        "duration_ms" => whole(&[0, -5, 1_500, i64::MAX]),
        "birth_year" => whole(&[1984, 1985, 1999, -1]),
        "odometer_km" => whole(&[0, 4_999, 99_999, 100_000, 100_001]),
        "battery" => floats(&[f64::NAN, 0.0, -0.1, 19.999, 20.0, 77.3, f64::INFINITY]),
        "speed" => floats(&[f64::NAN, 9.999, 10.0, 19.999, 20.0, 130.5]),
        "signed_up" => select(vec![Value::Time(0), Value::Time(-1), Value::Time(1_795_000_000_000_001)]).boxed(),
        "cells" => list("birth_year"),
        "marks" => list("signed_up"),
        "peers" => list("client_ip"),
        "levels" => list("battery"),
        "switches" => list("foreground"),
        "place" => Just(Value::Position(47.37, 8.54)).boxed(),
        other => panic!("no values for {other}"),
    }
}

/// Lists of the values of another column, some of them absent.
fn list(of: &str) -> BoxedStrategy<Value> {
    vec(option::weighted(0.8, value(of)), 0..4).prop_map(Value::List).boxed()
}

fn values(columns: &'static [&'static str]) -> impl Strategy<Value = Values> {
    let each: Vec<_> = columns.iter().map(|column| option::weighted(0.7, value(column))).collect();
    each.prop_map(|values| {
        let named = columns.iter().zip(values);
        named.filter_map(|(column, value)| Some(((*column).to_owned(), value?))).collect()
    })
}

fn who() -> impl Strategy<Value = Who> {
    let text = |texts: Vec<&'static str>| select(texts).prop_map(str::to_owned);
    let subject =
        prop_oneof![8 => text(SUBJECTS.to_vec()).prop_map(Some), 1 => Just(None), 1 => Just(Some(String::new()))];
    let region = option::weighted(0.9, text(vec!["DE", "FR", "US-CA", "CN", "XX"]));
    let gpc = prop_oneof![4 => Just(None), 2 => Just(Some(false)), 1 => Just(Some(true))];
    (subject, region, gpc).prop_map(|(subject, region, gpc)| Who { subject, region, gpc })
}

fn rows() -> impl Strategy<Value = Row> {
    let time = || option::weighted(0.8, select(vec![0, -1, 1_795_000_000_123_456, -86_400_000_001, i64::MIN / 4]));
    let place = || (0..4_usize, time());
    prop_oneof![
        6 => (place(), 0..3_u16, values(&PHONE_COLUMNS)).prop_map(|((resource, time), event, values)| {
            Row { stream: PHONE, event, resource, who: Who::default(), time, values }
        }),
        4 => (place(), who(), values(&CAR_COLUMNS)).prop_map(|((resource, time), who, values)| {
            Row { stream: CAR, event: 0, resource, who, time, values }
        }),
        1 => place().prop_map(|(resource, time)| Row { stream: CYCLE, resource, time, ..Row::default() }),
    ]
}

fn batches() -> impl Strategy<Value = Batch> {
    let resource = (who(), values(&RESOURCE_COLUMNS)).prop_map(|(who, values)| Resource { who, values });
    let tally = (0..3_u64, option::of((0..3_u16, 1..4_u64))).prop_map(|(undeclared_events, bad)| DecodeTally {
        undeclared_events,
        bad_values: bad.into_iter().collect(),
        ..DecodeTally::default()
    });
    (vec(resource, 4), vec(rows(), 0..40), tally).prop_map(|(resources, rows, tally)| Batch { resources, rows, tally })
}

fn stored(cleared: &Cleared) -> Stored {
    let table = |table: &crate::batch::ClearedTable| {
        let rows = (0..table.rows.num_rows()).map(|row| cells(&table.rows, row)).collect();
        ((table.purpose_name.to_string(), table.stream.to_string()), rows)
    };
    cleared.tables().iter().map(table).collect()
}

fn cells(rows: &RecordBatch, row: usize) -> Values {
    let columns = rows.schema_ref().fields().iter().zip(rows.columns());
    let shown = columns.filter(|(field, array)| field.name() != "decision" && array.is_valid(row));
    shown.map(|(field, array)| (field.name().clone(), cell(array, row))).collect()
}

fn cell(array: &dyn Array, row: usize) -> Value {
    match array.data_type() {
        DataType::Utf8 => Value::Text(array.as_string::<i32>().value(row).to_owned()),
        DataType::Int64 => Value::I64(array.as_primitive::<Int64Type>().value(row)),
        DataType::Float64 => Value::F64(array.as_primitive::<Float64Type>().value(row)),
        DataType::Boolean => Value::Bool(array.as_boolean().value(row)),
        DataType::Timestamp(..) => Value::Time(array.as_primitive::<TimestampMicrosecondType>().value(row)),
        DataType::List(_) => {
            let list = array.as_list::<i32>().value(row);
            let element = |at| list.is_valid(at).then(|| cell(&*list, at));
            Value::List((0..list.len()).map(element).collect())
        }
        other => panic!("no column is {other}"),
    }
}

fn account(cleared: &Cleared) -> Counts {
    let counts = cleared.counts().iter().map(|count| {
        let mut by_reason: BTreeMap<Option<Reason>, u64> =
            count.dropped.iter().map(|(reason, records)| (Some(*reason), *records)).collect();
        by_reason.extend((count.stored > 0).then_some((None, count.stored)));
        ((count.purpose.clone(), count.stream.clone()), (count.offered, by_reason))
    });
    counts.collect()
}

/// What must hold of every cleared batch, whatever the policy.
fn check_shape(cleared: &Cleared, keys: &Keys) {
    assert!(cleared.counts().iter().all(crate::counts::Count::balances));
    let lines: std::collections::BTreeSet<_> = cleared.counts().iter().map(|c| (&c.purpose, &c.stream)).collect();
    assert_eq!(lines.len(), cleared.counts().len(), "one line for each purpose and stream");
    for table in cleared.tables() {
        assert!(table.rows.num_rows() > 0);
        table.rows.columns().iter().for_each(|column| assert_clean(column));
        let names = table.rows.column_by_name("subject").unwrap().as_string::<i32>();
        let mut next = 0;
        for (subject, rows) in &table.runs {
            assert_eq!(rows.start, next, "no gaps");
            assert!(rows.end > rows.start);
            next = rows.end;
            let name = keys.subject_id(&cleared.subjects()[*subject as usize]).in_table(&table.purpose_name);
            assert!(rows.clone().all(|row| names.value(row) == name.as_str()));
        }
        assert_eq!(next, table.rows.num_rows());
        assert!(table.runs.windows(2).all(|pair| pair[0].0 != pair[1].0), "as long as they can be");
        let stream = PLAN.catalogue.streams.iter().position(|stream| *stream.name == *table.stream).unwrap();
        let plan = PLAN.table(table.purpose, stream as u16).unwrap();
        assert_eq!(table.rows.schema(), plan.schema);
        let decisions = table.rows.column_by_name("decision").unwrap().as_primitive::<Int32Type>();
        for row in 0..table.rows.num_rows() {
            // A cell that has a value is explained by the row's decision.
            let winners = &plan.decisions[decisions.value(row) as usize].winners;
            for (number, column) in plan.columns.iter().enumerate() {
                let writes = winners.iter().any(|won| won.writes.is_some_and(|(to, _)| usize::from(to) == number));
                let array = table.rows.column_by_name(&column.name).unwrap();
                assert!(writes || array.is_null(row), "{} of row {row} has no rule", column.name);
                assert!(!writes || winners.iter().any(|won| won.input == column.input));
            }
            let time = plan.columns.iter().any(|column| column.input == Input::Time);
            assert_eq!(time, table.rows.column_by_name("time").is_some());
        }
    }
}
