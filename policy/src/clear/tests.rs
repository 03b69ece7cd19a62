//! Clearing by example: each reason, each way a value is withheld, and what may never be printed.

use std::collections::BTreeMap;
use std::sync::Arc;

use arrow_array::cast::AsArray;
use arrow_array::types::{Float64Type, Int64Type, TimestampMicrosecondType};
use arrow_array::{Array, ArrayRef, StringArray, TimestampMicrosecondArray};

use super::fixture::{
    Batch, CAR, LATER, OPENED, PHONE, PURPOSES, Resource, Row, TODAY, TRIAL, Value, Values, Who, events, evidence,
    keys, plan, plan_with,
};
use crate::batch::{Admitted, Cleared, ClearedTable, DecodeTally, Evidence, RawColumn, RawGroup, Received};
use crate::consent::{ConsentSnapshot, ConsentState, SubjectConsent};
use crate::counts::Count;
use crate::keys::{HmacKey, Keys};
use crate::operator::clean::assert_clean;
use crate::reason::Reason;
use crate::subject::{LedgerId, SubjectId};

const ANALYTICS: usize = 0;
const DIAGNOSTICS: usize = 1;
const MARKETING: usize = 2;

fn text(text: &str) -> Value {
    Value::Text(text.into())
}

fn values<const N: usize>(values: [(&str, Value); N]) -> Values {
    values.into_iter().map(|(column, value)| (column.to_owned(), value)).collect()
}

fn who(subject: &str, region: &str) -> Who {
    Who { subject: Some(subject.into()), region: Some(region.into()), gpc: None }
}

/// One drive of `who`, which every purpose has a rule for.
fn drive(who: Who) -> Batch {
    let values =
        values([("vin", text("WVWZZZ1JZXW000001")), ("speed", Value::F64(55.5)), ("odometer_km", Value::I64(1_234))]);
    let row = Row { stream: CAR, who, time: Some(TODAY + 61_000_001), values, ..Row::default() };
    Batch { resources: vec![Resource::default()], rows: vec![row], tally: DecodeTally::default() }
}

fn phone(region: &str, rows: Vec<(u16, Values)>) -> Batch {
    let device = values([("imei", text("490154203237518")), ("model", text("Pixel 9")), ("rooted", Value::Bool(true))]);
    let rows = rows.into_iter().map(|(event, values)| Row {
        stream: PHONE,
        event,
        time: Some(TODAY - 1),
        values,
        ..Row::default()
    });
    let resources = vec![Resource { who: who("alice", region), values: device }];
    Batch { resources, rows: rows.collect(), tally: DecodeTally::default() }
}

fn admit(batch: &Batch, received_at: i64, gpc: bool) -> Admitted {
    batch.received(plan().catalogue()).admit(evidence(received_at, gpc), &keys())
}

/// Everybody said `state` to every purpose and is 40.
fn all(state: ConsentState) -> SubjectConsent {
    (0..3).fold(SubjectConsent::new(9, Some(40), 0), |consent, purpose| consent.with(purpose, state))
}

fn clear_with(batch: &Batch, consent: SubjectConsent, received_at: i64, gpc: bool) -> Cleared {
    let admitted = admit(batch, received_at, gpc);
    let states = vec![consent; admitted.subjects().len()];
    plan().clear(admitted, &ConsentSnapshot::new(1, states), &keys())
}

fn clear(batch: &Batch, consent: SubjectConsent) -> Cleared {
    clear_with(batch, consent, TODAY, false)
}

fn count<'a>(cleared: &'a Cleared, purpose: &str, stream: Option<&str>) -> &'a Count {
    let line = |count: &&Count| count.purpose == purpose && count.stream.as_deref() == stream;
    cleared.counts().iter().find(line).unwrap()
}

/// For each purpose in order: why the one record of the batch was dropped.
fn reasons(cleared: &Cleared) -> Vec<Option<Reason>> {
    cleared
        .counts()
        .iter()
        .map(|count| {
            assert_eq!(count.offered, 1);
            assert!(count.balances());
            count.dropped.keys().next().copied()
        })
        .collect()
}

fn table<'a>(cleared: &'a Cleared, purpose: &str) -> &'a ClearedTable {
    cleared.tables().iter().find(|table| &*table.purpose_name == purpose).unwrap()
}

fn texts(table: &ClearedTable, column: &str) -> Vec<Option<String>> {
    let array = table.rows.column_by_name(column).unwrap().as_string::<i32>();
    array.iter().map(|value| value.map(str::to_owned)).collect()
}

#[test]
fn what_is_given_is_stored_as_the_rules_say() {
    let cleared = clear(&drive(who("alice", "DE")), all(ConsentState::Given));
    assert_eq!(reasons(&cleared), [None, None, None]);
    let table = table(&cleared, "analytics");
    let names: Vec<&str> = table.rows.schema_ref().fields().iter().map(|field| field.name().as_str()).collect();
    assert_eq!(
        names,
        ["event", "time", "subject", "consent_seq", "decision", "odometer_km", "place", "speed", "vin_hmac"]
    );
    assert_eq!(table.rows.column_by_name("place").unwrap().null_count(), 1);
    let column = |name| table.rows.column_by_name(name).unwrap();
    assert_eq!(column("time").as_primitive::<TimestampMicrosecondType>().value(0), TODAY + 60_000_000);
    assert_eq!(column("speed").as_primitive::<Float64Type>().value(0).to_bits(), 50_f64.to_bits());
    assert_eq!(column("odometer_km").as_primitive::<Int64Type>().value(0), 1_000);
    assert_eq!(column("consent_seq").as_primitive::<Int64Type>().value(0), 9);
    assert_eq!(texts(table, "vin_hmac")[0].as_ref().unwrap().len(), 32);
    assert_eq!(texts(table, "event"), [Some("car.drive.ended".to_owned())]);
}

#[test]
fn subjects_of_two_purposes_cannot_be_joined() {
    let cleared = clear(&drive(who("alice", "DE")), all(ConsentState::Given));
    let names: Vec<_> = PURPOSES.map(|purpose| texts(table(&cleared, purpose), "subject")).into();
    assert!(names[0] != names[1] && names[1] != names[2] && names[0] != names[2]);
    let id = keys().subject_id(&keys().ledger_id("alice"));
    assert_eq!(names[0], [Some(id.in_table("analytics").to_string())]);
    let vins: Vec<_> = ["diagnostics", "analytics"].map(|purpose| texts(table(&cleared, purpose), "vin_hmac")).into();
    assert_ne!(vins[0], vins[1]);
}

#[test]
fn without_a_statement_only_notice_lets_through() {
    let cleared = clear(&drive(who("alice", "US-CA")), SubjectConsent::default());
    assert_eq!(reasons(&cleared), [Some(Reason::NoConsent), None, None]);
    assert!(
        table(&cleared, "diagnostics").rows.column_by_name("consent_seq").unwrap().is_null(0),
        "nothing was ever said"
    );
}

#[test]
fn an_objection_ends_notice_and_legitimate_interests() {
    for state in [ConsentState::Refused, ConsentState::Withdrawn] {
        let cleared = clear(&drive(who("alice", "US-CA")), all(state));
        assert_eq!(reasons(&cleared), [Some(Reason::NoConsent); 3], "{state:?}");
        assert!(cleared.tables().is_empty());
    }
    let cleared = clear(&drive(who("alice", "US-CA")), all(ConsentState::Expired));
    assert_eq!(reasons(&cleared), [Some(Reason::NoConsent), None, None]);
}

#[test]
fn a_consent_that_ended_by_its_date_is_none() {
    let given = all(ConsentState::Given);
    let until =
        |day| (0..3).fold(SubjectConsent::new(9, Some(40), day), |c, purpose| c.with(purpose, given.state(purpose, 0)));
    let today = (TODAY / super::DAY_MICROS) as u32;
    assert_eq!(reasons(&clear(&drive(who("alice", "DE")), until(today + 1))), [None, None, None]);
    let ended = [Some(Reason::NoConsent), Some(Reason::NoConsent), None];
    assert_eq!(reasons(&clear(&drive(who("alice", "DE")), until(today))), ended);
}

#[test]
fn a_jurisdiction_without_a_basis_gets_nothing() {
    let cleared = clear(&drive(who("alice", "CN")), all(ConsentState::Given));
    assert_eq!(reasons(&cleared), [None, None, Some(Reason::NoBasis)]);
}

#[test]
fn an_unknown_jurisdiction_has_the_strictest_basis_and_the_highest_age() {
    for region in [Some("XX".to_owned()), None, Some(String::new())] {
        let batch = drive(Who { region, ..who("alice", "") });
        assert_eq!(reasons(&clear(&batch, SubjectConsent::new(1, Some(40), 0)))[DIAGNOSTICS], Some(Reason::NoConsent));
        let fifteen = all(ConsentState::Given);
        let fifteen = (0..3).fold(SubjectConsent::new(1, Some(15), 0), |c, p| c.with(p, fifteen.state(p, 0)));
        assert_eq!(reasons(&clear(&batch, fifteen)), [Some(Reason::UnderAge), None, None]);
    }
}

#[test]
fn min_age_needs_a_known_age() {
    let aged = |age| (0..3).fold(SubjectConsent::new(1, age, 0), |c, purpose| c.with(purpose, ConsentState::Given));
    let reason = |region, age| reasons(&clear(&drive(who("alice", region)), aged(age)))[ANALYTICS];
    assert_eq!(reason("DE", Some(16)), None);
    assert_eq!(reason("DE", Some(15)), Some(Reason::UnderAge));
    assert_eq!(reason("DE", None), Some(Reason::UnderAge));
    assert_eq!(reason("CN", Some(14)), None);
    assert_eq!(reason("US-CA", None), None);
}

#[test]
fn a_closed_key_has_nothing_stored_whatever_the_basis() {
    let given = all(ConsentState::Given);
    assert_eq!(reasons(&clear(&drive(who("alice", "DE")), given)), [None; 3]);
    assert_eq!(reasons(&clear(&drive(who("alice", "DE")), given.with_closed(true))), [Some(Reason::NoConsent); 3]);
}

#[test]
fn who_signed_is_the_subject_of_every_row_and_its_device_can_compute_the_name() {
    let batch = drive(who("alice", "DE"));
    let subject = SubjectId::of_public_key(&[7; 32]);
    let evidence = Evidence { certified: Some(subject), ..evidence(TODAY, false) };
    let consent = ConsentSnapshot::new(0, vec![all(ConsentState::Given)]);
    let admitted = batch.received(plan().catalogue()).admit(evidence, &keys());
    let cleared = plan().clear(admitted, &consent, &keys());
    assert_eq!(cleared.subjects(), [LedgerId::of_certified(&subject)]);
    for table in cleared.tables() {
        let names = table.rows.column_by_name("subject").unwrap().as_string::<i32>();
        let expected = subject.in_table(&table.purpose_name);
        assert!(names.iter().all(|name| name == Some(expected.as_str())), "{}", table.purpose_name);
    }
    assert_eq!(cleared.tables().len(), 3);
}

#[test]
fn gpc_opts_out_by_header_or_attribute_of_what_the_policy_lists() {
    let opted = [Some(Reason::OptedOut), None, Some(Reason::OptedOut)];
    let given = all(ConsentState::Given);
    assert_eq!(reasons(&clear_with(&drive(who("alice", "DE")), given, TODAY, true)), opted);
    assert_eq!(reasons(&clear(&drive(who("alice", "DE")), given.with_gpc(true))), opted);
    assert_eq!(reasons(&clear(&drive(Who { gpc: Some(true), ..who("alice", "DE") }), given)), opted);
    // Its absence says nothing, and `false` takes nothing back from the header.
    let no = drive(Who { gpc: Some(false), ..who("alice", "DE") });
    assert_eq!(reasons(&clear(&no, given)), [None, None, None]);
    assert_eq!(reasons(&clear_with(&no, given, TODAY, true)), opted);
}

#[test]
fn a_missing_or_empty_subject_comes_before_every_rule() {
    for subject in [None, Some(String::new())] {
        let cleared = clear(&drive(Who { subject, ..who("", "DE") }), all(ConsentState::Given));
        assert_eq!(reasons(&cleared), [Some(Reason::NoSubject); 3]);
        assert!(cleared.subjects().is_empty());
    }
}

#[test]
fn an_undecided_condition_lets_nothing_through_but_may_withhold() {
    // `battery` and `foreground` are absent: phone-engagement is undecided. It gives no screen, but its coarser time
    // and address hold, and its `suppress` takes `rooted` away.
    let row = values([("client_ip", text("203.0.113.77")), ("screen", text("home"))]);
    let cleared = clear(&phone("DE", vec![(OPENED, row)]), all(ConsentState::Given));
    let table = table(&cleared, "analytics");
    assert_eq!(texts(table, "screen"), [None]);
    assert_eq!(texts(table, "client_ip"), [Some("203.0.0.0".to_owned())]);
    assert!(table.rows.column_by_name("rooted").unwrap().is_null(0));
    let time = table.rows.column_by_name("time").unwrap().as_primitive::<TimestampMicrosecondType>();
    assert_eq!(time.value(0), TODAY - super::DAY_MICROS);
    // Alone it is no rule at all: CN is out of phone-analytics.
    let cleared = clear(&phone("CN", vec![(OPENED, values([("screen", text("home"))]))]), all(ConsentState::Given));
    assert_eq!(count(&cleared, "analytics", Some("phone.app")).dropped, BTreeMap::from([(Reason::NoRule, 1)]));
}

#[test]
fn rows_of_different_decisions_share_a_column() {
    let ip = ("client_ip", text("203.0.113.77"));
    let rows = vec![
        (OPENED, values([ip.clone(), ("battery", Value::F64(90.0)), ("foreground", Value::Bool(false))])),
        (OPENED, values([ip.clone(), ("battery", Value::F64(10.0)), ("screen", text("chat"))])),
        (OPENED, values([("battery", Value::F64(90.0)), ("foreground", Value::Bool(false))])),
        (OPENED, values([ip, ("foreground", Value::Bool(true)), ("screen", text("elsewhere"))])),
    ];
    let cleared = clear(&phone("DE", rows), all(ConsentState::Given));
    let table = table(&cleared, "analytics");
    let text = |text: &str| Some(text.to_owned());
    assert_eq!(texts(table, "client_ip"), [text("203.0.113.0"), text("203.0.0.0"), None, text("203.0.0.0")]);
    assert_eq!(texts(table, "screen"), [None, text("chat"), None, text("elsewhere")]);
    assert_eq!(texts(table, "model"), [text("Pixel 9"), text("Pixel 9"), text("Pixel 9"), text("Pixel 9")]);
    table.rows.columns().iter().for_each(|column| assert_clean(column));
}

#[test]
fn what_has_expired_is_gone() {
    let row = || values([("legacy_id", text("old-17")), ("screen", text("home"))]);
    let batch = phone("US-CA", vec![(OPENED, row()), (TRIAL, row())]);
    let cleared = clear(&batch, all(ConsentState::Given));
    let table = table(&cleared, "diagnostics");
    assert_eq!(table.rows.num_rows(), 2);
    assert_eq!(texts(table, "legacy_id"), [None, None], "the field's day has come");
    let cleared = clear_with(&batch, all(ConsentState::Given), LATER, false);
    let line = count(&cleared, "diagnostics", Some("phone.app"));
    assert_eq!((line.offered, line.stored), (2, 1));
    assert_eq!(line.dropped, BTreeMap::from([(Reason::UndeclaredEvent, 1)]));
    assert_eq!(cleared.rejected().undeclared_events, 1, "the client is told");
}

fn without_named_keys() -> Keys {
    Keys::new(HmacKey::new(1, &[1; 32]), HmacKey::new(1, &[2; 32]), BTreeMap::new())
}

#[test]
fn a_row_whose_operator_lacks_its_key_is_dropped_and_counted() {
    let admitted = admit(&drive(who("alice", "DE")), TODAY, false);
    let snapshot = ConsentSnapshot::new(1, vec![all(ConsentState::Given)]);
    let cleared = plan().clear(admitted, &snapshot, &without_named_keys());
    assert_eq!(reasons(&cleared), [Some(Reason::EvaluationFailed); 3]);
    assert!(cleared.tables().is_empty());
}

#[test]
fn rows_that_need_no_failing_operator_stay() {
    let rule = "[[rule]]\nid = 'fast'\nstream = 'car.drive'\npurpose = 'diagnostics'\nwhen = 'speed >= 100'\n\
                emit.vin = { op = 'suppress' }\n";
    let plan = plan_with(rule);
    let mut batch = drive(who("alice", "DE"));
    for (name, speed) in [("bob", 140.0), ("alice", 20.0), ("carol", 150.0)] {
        let mut row = drive(who(name, "DE")).rows.remove(0);
        row.values.insert("speed".to_owned(), Value::F64(speed));
        batch.rows.push(row);
    }
    let clear = |keys: &Keys| {
        let admitted = batch.received(plan.catalogue()).admit(evidence(TODAY, false), keys);
        let states = vec![all(ConsentState::Given); admitted.subjects().len()];
        plan.clear(admitted, &ConsentSnapshot::new(1, states), keys)
    };
    assert_eq!(table(&clear(&keys()), "diagnostics").rows.num_rows(), 4);
    let cleared = clear(&without_named_keys());
    let line = count(&cleared, "diagnostics", Some("car.drive"));
    assert_eq!((line.offered, line.stored), (4, 2));
    assert_eq!(line.dropped, BTreeMap::from([(Reason::EvaluationFailed, 2)]));
    let table = table(&cleared, "diagnostics");
    let speeds = table.rows.column_by_name("speed").unwrap().as_primitive::<Float64Type>();
    assert_eq!(speeds.values().to_vec(), [140.0, 150.0]);
    assert_eq!(table.runs, [(1, 0..1), (2, 1..2)]);
    table.rows.columns().iter().for_each(|column| assert_clean(column));
}

#[test]
fn rows_with_a_column_of_another_type_are_dropped_and_counted() {
    let column = |array: ArrayRef| RawColumn::PerRow(array);
    let group = RawGroup {
        stream: CAR as u16,
        event: events(&[0]),
        time: TimestampMicrosecondArray::from(vec![TODAY]),
        resource: vec![0],
        columns: ["far", "there", "fast", "WVWZZZ1JZXW000001"]
            .map(|value| column(Arc::new(StringArray::from(vec![value]))))
            .into(),
        subject: column(Arc::new(StringArray::from(vec!["alice"]))),
        jurisdiction: column(Arc::new(StringArray::from(vec!["DE"]))),
        gpc: column(Arc::new(StringArray::from(vec!["yes"]))),
    };
    let admitted = Received::new(vec![group], DecodeTally::default()).admit(evidence(TODAY, false), &keys());
    let cleared = plan().clear(admitted, &ConsentSnapshot::new(1, vec![all(ConsentState::Given)]), &keys());
    // What marketing has of it hangs on the odometer, which is absent for conditions: nothing is let through.
    let failed = Some(Reason::EvaluationFailed);
    assert_eq!(reasons(&cleared), [failed, failed, Some(Reason::NoRule)]);
    assert!(cleared.tables().is_empty());
}

#[test]
fn every_purpose_and_stream_has_a_line_and_refusals_are_named() {
    let mut batch = drive(who("alice", "DE"));
    batch.tally = DecodeTally {
        undeclared_events: 3,
        bad_values: vec![(PHONE as u16, 2)],
        bad_fields: vec![(PHONE as u16, 3, 2), (9, 9, 1)],
        undeclared_attributes: 11,
    };
    let cleared = clear(&batch, all(ConsentState::Given));
    let lines: Vec<_> =
        cleared.counts().iter().map(|count| (&*count.purpose, count.stream.as_deref(), count.offered)).collect();
    let of = |purpose| [(purpose, Some("car.drive"), 1), (purpose, Some("phone.app"), 2), (purpose, None, 3)];
    assert_eq!(lines, PURPOSES.map(of).concat());
    assert_eq!(count(&cleared, "marketing", Some("phone.app")).dropped, BTreeMap::from([(Reason::BadValue, 2)]));
    assert_eq!(count(&cleared, "marketing", None).dropped, BTreeMap::from([(Reason::UndeclaredEvent, 3)]));
    let rejected = cleared.rejected();
    assert_eq!((rejected.undeclared_events, rejected.bad_values, rejected.undeclared_attributes), (3, 2, 11));
    assert_eq!(rejected.bad_fields, [("phone.app".to_owned(), "duration_ms".to_owned(), 2)]);
}

#[test]
fn a_withdrawal_at_the_append_takes_rows_and_joins_runs() {
    let mut batch = drive(who("alice", "DE"));
    for name in ["bob", "alice", "carol"] {
        batch.rows.extend(drive(who(name, "DE")).rows);
    }
    let cleared = clear(&batch, all(ConsentState::Given));
    assert_eq!(table(&cleared, "analytics").runs, [(0, 0..1), (1, 1..2), (0, 2..3), (2, 3..4)]);
    let after = cleared.without(&[(1, ANALYTICS as u16), (0, MARKETING as u16), (1, 2), (2, 2)], 5).unwrap();
    assert_eq!(after.generation(), 5);
    assert_eq!(table(&after, "analytics").runs, [(0, 0..2), (2, 2..3)]);
    assert_eq!(table(&after, "diagnostics").rows.num_rows(), 4);
    assert!(after.tables().iter().all(|table| &*table.purpose_name != "marketing"), "an empty table goes");
    let line = count(&after, "marketing", Some("car.drive"));
    assert_eq!((line.offered, line.stored), (4, 0));
    assert_eq!(line.dropped, BTreeMap::from([(Reason::WithdrawnAtAppend, 4)]));
    assert!(after.counts().iter().all(Count::balances));
}

#[test]
fn no_debug_shows_a_value() {
    let row = values([
        ("client_ip", text("203.0.113.77")),
        ("duration_ms", Value::I64(987_654)),
        ("battery", Value::F64(33.25)),
    ]);
    let mut batch = phone("DE", vec![(1, row)]);
    batch.rows[0].time = Some(1_795_123_456_789_012);
    let received = batch.received(plan().catalogue());
    let columns = format!("{:?}", received.groups()[0].columns);
    let received_text = format!("{received:?} {received:#?} {:?}", received.groups()[0].subject);
    let admitted = received.admit(evidence(TODAY, false), &keys());
    let admitted_text = format!("{admitted:?} {admitted:#?}");
    let cleared = plan().clear(admitted, &ConsentSnapshot::new(1, vec![all(ConsentState::Given)]), &keys());
    let cleared_text = format!("{cleared:?} {:?} {:?}", cleared.tables(), keys());
    assert!(columns.contains("PerRow(1 × Int64)"), "{columns}");
    for shown in [columns, received_text, admitted_text, cleared_text] {
        for secret in
            ["490154203237518", "203.0", "987654", "33.25", "alice", "Pixel", "1795123456789012", "2026-1", "DE"]
        {
            assert!(!shown.contains(secret), "{secret} in {shown}");
        }
    }
}
