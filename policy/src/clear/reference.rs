//! The policy of the fixture again, as plain Rust that looks at one row at a time: what clearing must come to.

use std::collections::BTreeMap;

use hmac::Mac;

use super::fixture::{Batch, CAR, CYCLE, LATER, PHONE, PHONE_EVENTS, PURPOSES, Row, STREAMS, TRIAL, Value, Values};
use crate::consent::{ConsentState, SubjectConsent};
use crate::keys::Keys;
use crate::reason::Reason;

pub(super) const RESOURCE_COLUMNS: [&str; 4] = ["imei", "model", "rooted", "cells"];
pub(super) const SUBJECTS: [&str; 4] = ["alice", "bob", "carol", "dan"];
/// (purpose, stream) → rows, nulls left out, `decision` apart.
pub(super) type Stored = BTreeMap<(String, String), Vec<Values>>;
/// (purpose, stream) → offered, and records by reason; stored ones under `None`.
pub(super) type Counts = BTreeMap<(String, Option<String>), (u64, BTreeMap<Option<Reason>, u64>)>;

/// What a subject said, in plain.
#[derive(Clone, Debug)]
pub(super) struct Consent {
    pub(super) states: [ConsentState; 3],
    pub(super) age: Option<u8>,
    pub(super) expires_day: u32,
    pub(super) sequence: i64,
}

impl Consent {
    pub(super) fn compact(&self) -> SubjectConsent {
        let states = self.states.iter().enumerate();
        states.fold(SubjectConsent::new(self.sequence, self.age, self.expires_day), |consent, (purpose, state)| {
            consent.with(purpose, *state)
        })
    }
}

/// The policy of the fixture again, as plain code.
pub(super) struct Oracle<'a> {
    pub(super) batch: &'a Batch,
    pub(super) consents: &'a [Consent],
    pub(super) header: bool,
    pub(super) received_at: i64,
    pub(super) keys: &'a Keys,
}

#[derive(Clone, Copy, Debug, PartialEq)]
enum Op {
    Keep,
    Hmac(&'static str),
    Bin(f64, f64),
    Ip(u32, u32),
    Floor(&'static str),
    Suppress,
    Drop,
}

/// (rule, streams, purposes, emits); conditions are in [`holds`].
type RuleLine = (&'static str, usize, &'static [&'static str], &'static [(&'static str, Op)]);

const RULES: [RuleLine; 7] = [
    (
        "phone-analytics",
        PHONE,
        &["analytics"],
        &[
            ("imei", Op::Hmac("analytics")),
            ("model", Op::Keep),
            ("rooted", Op::Keep),
            ("birth_year", Op::Bin(5.0, 0.0)),
            ("client_ip", Op::Ip(24, 48)),
            ("time", Op::Floor("hour")),
            ("cells", Op::Hmac("analytics")),
            ("peers", Op::Ip(24, 48)),
            ("switches", Op::Keep),
            ("levels", Op::Bin(0.5, 0.0)),
        ],
    ),
    (
        "phone-engagement",
        PHONE,
        &["analytics"],
        &[
            ("time", Op::Floor("day")),
            ("screen", Op::Keep),
            ("client_ip", Op::Ip(16, 32)),
            ("duration_ms", Op::Hmac("analytics")),
            ("rooted", Op::Suppress),
            ("peers", Op::Ip(16, 32)),
            ("switches", Op::Suppress),
            ("marks", Op::Floor("day")),
            ("levels", Op::Bin(1.0, 0.0)),
        ],
    ),
    (
        "phone-faults",
        PHONE,
        &["diagnostics", "marketing"],
        &[
            ("model", Op::Keep),
            ("battery", Op::Bin(0.5, 0.25)),
            ("screen", Op::Suppress),
            ("legacy_id", Op::Keep),
            ("signed_up", Op::Floor("month")),
            ("cells", Op::Keep),
            ("peers", Op::Keep),
        ],
    ),
    (
        "phone-odd-screens",
        PHONE,
        &["diagnostics"],
        &[("screen", Op::Keep), ("model", Op::Drop), ("foreground", Op::Keep), ("time", Op::Keep)],
    ),
    (
        "cars",
        CAR,
        &PURPOSES,
        &[
            ("vin", Op::Hmac("cars")),
            ("place", Op::Suppress),
            ("speed", Op::Bin(10.0, 0.0)),
            ("odometer_km", Op::Bin(1000.0, 0.0)),
            ("time", Op::Floor("minute")),
        ],
    ),
    ("cars-slow", CAR, &["analytics"], &[("speed", Op::Drop), ("odometer_km", Op::Bin(5000.0, 0.0))]),
    (
        "cars-marketing",
        CAR,
        &["marketing"],
        &[("speed", Op::Suppress), ("time", Op::Suppress), ("odometer_km", Op::Suppress), ("vin", Op::Suppress)],
    ),
];

fn not(a: Option<bool>) -> Option<bool> {
    a.map(|a| !a)
}

fn or(a: Option<bool>, b: Option<bool>) -> Option<bool> {
    match (a, b) {
        (Some(true), _) | (_, Some(true)) => Some(true),
        (Some(false), Some(false)) => Some(false),
        _ => None,
    }
}

fn and(a: Option<bool>, b: Option<bool>) -> Option<bool> {
    not(or(not(a), not(b)))
}

impl Oracle<'_> {
    fn value<'r>(&'r self, row: &'r Row, column: &str) -> Option<&'r Value> {
        let resource = &self.batch.resources[row.resource].values;
        let values = if row.stream == PHONE && RESOURCE_COLUMNS.contains(&column) { resource } else { &row.values };
        values.get(column)
    }

    fn number(&self, row: &Row, column: &str) -> Option<f64> {
        match self.value(row, column)? {
            Value::F64(number) => Some(*number).filter(|number| !number.is_nan()),
            Value::I64(number) => Some(*number as f64),
            other => panic!("{other:?} is no number"),
        }
    }

    fn flag(&self, row: &Row, column: &str) -> Option<bool> {
        self.value(row, column).map(|value| *value == Value::Bool(true))
    }

    fn declared_screen<'r>(&'r self, row: &'r Row) -> Option<&'r str> {
        match self.value(row, "screen") {
            Some(Value::Text(text)) if ["home", "chat", "settings"].contains(&text.as_str()) => Some(text),
            _ => None,
        }
    }

    fn jurisdiction(&self, row: &Row) -> &'static str {
        match self.batch.who(row).region.as_deref() {
            Some("DE" | "FR") => "EU",
            Some("US-CA") => "US-CA",
            Some("CN") => "CN",
            _ => "unknown",
        }
    }

    fn gpc(&self, row: &Row) -> bool {
        self.header || self.batch.who(row).gpc == Some(true)
    }

    fn holds(&self, rule: &str, row: &Row) -> Option<bool> {
        match rule {
            "phone-analytics" => Some(!self.gpc(row) && ["EU", "US-CA"].contains(&self.jurisdiction(row))),
            "phone-engagement" => {
                or(self.number(row, "battery").map(|battery| battery < 20.0), self.flag(row, "foreground"))
            }
            "phone-faults" => or(
                Some(PHONE_EVENTS[usize::from(row.event)] == "phone.app.crashed"),
                self.declared_screen(row).map(|screen| screen == "home" || screen == "chat"),
            ),
            "phone-odd-screens" => and(Some(self.declared_screen(row).is_none()), not(self.flag(row, "foreground"))),
            "cars" => Some(true),
            "cars-slow" => self.number(row, "speed").map(|speed| (10.0..20.0).contains(&speed)),
            "cars-marketing" => self.number(row, "odometer_km").map(|km| km >= 100_000.0),
            _ => panic!("no condition for {rule}"),
        }
    }

    /// Column → strictest operator; empty if nothing is written.
    fn winners(&self, row: &Row, purpose: &str) -> BTreeMap<&'static str, Op> {
        let mut winners: BTreeMap<&str, (Op, bool)> = BTreeMap::new();
        for (rule, stream, purposes, emits) in RULES {
            if stream != row.stream || !purposes.contains(&purpose) {
                continue;
            }
            let holds = self.holds(rule, row);
            for (column, op) in emits.iter().filter(|_| holds != Some(false)) {
                let (winner, reached) = winners.entry(column).or_insert((*op, false));
                *reached |= holds == Some(true);
                if strictness(*op) > strictness(*winner) {
                    *winner = *op;
                }
            }
        }
        let written =
            winners.into_iter().filter(|(_, (op, reached))| *reached && !matches!(op, Op::Drop | Op::Suppress));
        written.map(|(column, (op, _))| (column, op)).collect()
    }

    fn has_expired(&self, row: &Row) -> bool {
        self.received_at >= LATER && ((row.stream == PHONE && row.event == TRIAL) || row.stream == CYCLE)
    }

    pub(super) fn expired(&self) -> u64 {
        self.batch.rows.iter().filter(|row| self.has_expired(row)).count() as u64
    }

    /// Why the row is not stored, or the columns that are.
    fn verdict(&self, row: &Row, purpose: usize) -> Result<BTreeMap<&'static str, Op>, Reason> {
        if self.has_expired(row) {
            return Err(Reason::UndeclaredEvent);
        }
        let subject =
            self.batch.who(row).subject.as_deref().filter(|name| !name.is_empty()).ok_or(Reason::NoSubject)?;
        let winners = self.winners(row, PURPOSES[purpose]);
        if winners.is_empty() {
            return Err(Reason::NoRule);
        }
        let consent = self.consent(subject);
        let jurisdiction = self.jurisdiction(row);
        let needs_consent = match (PURPOSES[purpose], jurisdiction) {
            ("diagnostics", "US-CA") | ("marketing", "EU" | "US-CA" | "unknown") => false,
            ("diagnostics" | "analytics", _) => true,
            _ => return Err(Reason::NoBasis),
        };
        let min_age = match (PURPOSES[purpose], jurisdiction) {
            ("analytics", "EU" | "unknown") => 16,
            ("analytics", "CN") => 14,
            _ => 0,
        };
        if min_age > 0 && consent.age.is_none_or(|age| age < min_age) {
            return Err(Reason::UnderAge);
        }
        if self.gpc(row) && PURPOSES[purpose] != "diagnostics" {
            return Err(Reason::OptedOut);
        }
        let day = self.received_at / 86_400_000_000;
        let expired = consent.expires_day != 0 && day >= i64::from(consent.expires_day);
        let state = consent.states[purpose];
        let given = state == ConsentState::Given && !expired;
        let objects = matches!(state, ConsentState::Refused | ConsentState::Withdrawn);
        if if needs_consent { given } else { !objects } { Ok(winners) } else { Err(Reason::NoConsent) }
    }

    fn consent(&self, subject: &str) -> &Consent {
        &self.consents[SUBJECTS.iter().position(|name| *name == subject).unwrap()]
    }

    fn name(&self, subject: &str, purpose: usize) -> String {
        self.keys.subject_id(&self.keys.ledger_id(subject)).in_table(PURPOSES[purpose]).to_string()
    }

    pub(super) fn stored(&self) -> Stored {
        self.stored_without(&[])
    }

    pub(super) fn stored_without(&self, withdrawn: &[(u32, u16)]) -> Stored {
        let mut tables = Stored::new();
        for (purpose, name) in PURPOSES.into_iter().enumerate() {
            for row in &self.batch.rows {
                let Ok(winners) = self.verdict(row, purpose) else { continue };
                let subject = self.batch.who(row).subject.as_deref().unwrap();
                if is_gone(subject, purpose, withdrawn) {
                    continue;
                }
                let event = if row.stream == PHONE { PHONE_EVENTS[usize::from(row.event)] } else { "car.drive.ended" };
                let mut cells = Values::new();
                cells.insert("event".into(), Value::Text(event.into()));
                cells.insert("subject".into(), Value::Text(self.name(subject, purpose)));
                let sequence = self.consent(subject).sequence;
                cells.extend((sequence != 0).then(|| ("consent_seq".into(), Value::I64(sequence))));
                for (column, op) in winners {
                    let time = row.time.map(Value::Time);
                    let input = if column == "time" { time.as_ref() } else { self.value(row, column) };
                    let Some(input) = input.filter(|_| column != "legacy_id") else { continue };
                    let output = self.apply(op, input, name, column);
                    let column = if matches!(op, Op::Hmac(_)) { format!("{column}_hmac") } else { column.to_owned() };
                    cells.extend(output.map(|output| (column, output)));
                }
                tables.entry((name.into(), STREAMS[row.stream].into())).or_default().push(cells);
            }
        }
        tables
    }

    fn apply(&self, op: Op, value: &Value, purpose: &str, column: &str) -> Option<Value> {
        if let Value::List(elements) = value {
            let apply = |element: &Value| self.apply(op, element, purpose, column);
            return Some(Value::List(elements.iter().map(|element| apply(element.as_ref()?)).collect()));
        }
        Some(match (op, value) {
            (Op::Keep, value) => value.clone(),
            (Op::Hmac(key), Value::Text(text)) => Value::Text(self.pseudonym(key, purpose, column, text)),
            (Op::Hmac(key), Value::I64(number)) => {
                Value::Text(self.pseudonym(key, purpose, column, &number.to_string()))
            }
            (Op::Bin(width, origin), Value::F64(number)) => {
                let bound = origin + ((number - origin) / width).floor() * width;
                Value::F64(Some(bound).filter(|bound| bound.is_finite())?)
            }
            (Op::Bin(width, _), Value::I64(number)) => {
                Value::I64((*number as f64 / width).floor() as i64 * width as i64)
            }
            (Op::Ip(v4, v6), Value::Text(text)) => Value::Text(match text.parse().ok()? {
                std::net::IpAddr::V4(ip) => (ip & std::net::Ipv4Addr::from_bits(u32::MAX << (32 - v4))).to_string(),
                std::net::IpAddr::V6(ip) => match ip.to_ipv4_mapped() {
                    Some(ip) => (ip & std::net::Ipv4Addr::from_bits(u32::MAX << (32 - v4))).to_string(),
                    None => (ip & std::net::Ipv6Addr::from_bits(u128::MAX << (128 - v6))).to_string(),
                },
            }),
            (Op::Floor(unit), Value::Time(micros)) => Value::Time(floor(unit, *micros)),
            (op, value) => panic!("{op:?} of {value:?}"),
        })
    }

    fn pseudonym(&self, key: &str, purpose: &str, column: &str, value: &str) -> String {
        let domain = format!("{purpose}\0{column}");
        let message =
            [&(domain.len() as u16).to_be_bytes()[..], domain.as_bytes(), &3_u64.to_be_bytes(), value.as_bytes()];
        let tag = self.keys.named(key).unwrap().keyed().clone().chain_update(message.concat());
        crate::hex::encode(&tag.finalize().into_bytes()[..16])
    }

    pub(super) fn account(&self, withdrawn: &[(u32, u16)]) -> Counts {
        let mut lines = Counts::new();
        for (purpose, name) in PURPOSES.iter().enumerate() {
            let mut add = |stream: Option<usize>, reason: Option<Reason>, records: u64| {
                let key = ((*name).to_owned(), stream.map(|stream| STREAMS[stream].to_owned()));
                let line: &mut (u64, BTreeMap<Option<Reason>, u64>) = lines.entry(key).or_default();
                line.0 += records;
                *line.1.entry(reason).or_default() += records;
            };
            for row in &self.batch.rows {
                let mut reason = self.verdict(row, purpose).err();
                let subject = self.batch.who(row).subject.as_deref().unwrap_or_default();
                if reason.is_none() && is_gone(subject, purpose, withdrawn) {
                    reason = Some(Reason::WithdrawnAtAppend);
                }
                add(Some(row.stream), reason, 1);
            }
            for (stream, records) in &self.batch.tally.bad_values {
                add(Some(usize::from(*stream)), Some(Reason::BadValue), *records);
            }
            if self.batch.tally.undeclared_events > 0 {
                add(None, Some(Reason::UndeclaredEvent), self.batch.tally.undeclared_events);
            }
        }
        lines
    }
}

fn is_gone(subject: &str, purpose: usize, withdrawn: &[(u32, u16)]) -> bool {
    withdrawn.iter().any(|(name, gone)| SUBJECTS[*name as usize] == subject && usize::from(*gone) == purpose)
}

fn strictness(op: Op) -> (u8, f64) {
    let units = ["second", "minute", "hour", "day", "month"];
    match op {
        Op::Keep => (0, 0.0),
        Op::Hmac(_) => (1, 0.0),
        Op::Bin(width, _) => (2, width),
        Op::Ip(v4, _) => (2, 32.0 - f64::from(v4)),
        Op::Floor(unit) => (2, units.iter().position(|known| *known == unit).unwrap() as f64),
        Op::Suppress => (3, 0.0),
        Op::Drop => (4, 0.0),
    }
}

fn floor(unit: &str, micros: i64) -> i64 {
    let seconds = match unit {
        "minute" => 60,
        "hour" => 3_600,
        "day" => 86_400,
        "month" => {
            let date = jiff::Timestamp::from_microsecond(micros).unwrap().to_zoned(jiff::tz::TimeZone::UTC).date();
            let first = date.first_of_month().to_zoned(jiff::tz::TimeZone::UTC).unwrap();
            return first.timestamp().as_microsecond();
        }
        other => panic!("no unit {other}"),
    };
    micros.div_euclid(seconds * 1_000_000) * seconds * 1_000_000
}
