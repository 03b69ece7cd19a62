//! What clearing costs: 500 records of 11 attributes, two dropped, two pseudonymised, one address cut, six kept; of one
//! subject and of 500, for one purpose and for three.

use std::collections::BTreeMap;
use std::fmt::Write;
use std::hint::black_box;
use std::sync::Arc;

use arrow_array::{
    ArrayRef, BooleanArray, Float64Array, Int64Array, StringArray, TimestampMicrosecondArray, UInt16Array,
};
use candor_policy::batch::{Admitted, DecodeTally, Evidence, RawColumn, RawGroup, Received};
use candor_policy::catalogue::Catalogue;
use candor_policy::consent::{ConsentSnapshot, ConsentState, SubjectConsent};
use candor_policy::keys::{HmacKey, Keys};
use candor_policy::plan::Plan;
use candor_policy::policy::Policy;
use criterion::{BatchSize, BenchmarkId, Criterion, Throughput, criterion_group, criterion_main};

const ROWS: usize = 500;
/// 2026-11-22.
const TODAY: i64 = 20_779 * 86_400_000_000;
const PURPOSES: [&str; 3] = ["analytics", "diagnostics", "marketing"];
/// Columns and types in the order of their names, which is the catalogue's.
const FIELDS: [(&str, &str); 11] = [
    ("account_email", "string"),
    ("app_package", "string"),
    ("battery", "f64"),
    ("client_ip", "string"),
    ("duration_ms", "i64"),
    ("foreground", "bool"),
    ("imei", "string"),
    ("latitude", "f64"),
    ("note", "string"),
    ("os_version", "string"),
    ("screen", "string"),
];

#[expect(clippy::panic, reason = "documents that do not compile are a fault of the bench")]
fn plan(purposes: usize) -> Plan {
    let mut catalogue =
        String::from("catalogue = 'bench'\n[stream.phone]\ndescription = 'Phones'\nowner = 'a@example.org'\n");
    catalogue.push_str("expires = '2030-01-01'\n[stream.phone.event.'phone.opened']\ndescription = 'Opened'\n");
    for (column, kind) in FIELDS {
        let _ = writeln!(
            catalogue,
            "[stream.phone.field.{column}]\ntype = '{kind}'\nfrom = 'attributes.{column}'\ncategory = 'user'\n\
             role = 'plain'\ndescription = '{column}'"
        );
    }
    let mut policy = String::from("policy = 'bench'\ndefault = 'drop'\nnotice = '1'\n");
    policy.push_str("jurisdiction = { from = 'resource.region', EU = ['DE'] }\n");
    for purpose in &PURPOSES[..purposes] {
        let _ = writeln!(
            policy,
            "[purpose.{purpose}]\ndescription = '{purpose}'\nuse = 'analytics.reporting'\nbasis = {{ '*' = 'consent' }}\n\
             retain = '30 days'"
        );
    }
    for purpose in &PURPOSES[..purposes] {
        let _ = writeln!(policy, "[[rule]]\nid = '{purpose}'\nstream = 'phone'\npurpose = '{purpose}'");
        policy.push_str("emit.time = { op = 'time_floor', unit = 'hour' }\n");
        for (column, _) in FIELDS {
            let operator = match column {
                "imei" | "account_email" => format!("{{ op = 'hmac', key = '{purpose}' }}"),
                "note" | "latitude" => "{ op = 'drop' }".to_owned(),
                "client_ip" => "{ op = 'ip_trunc' }".to_owned(),
                _ => "{ op = 'keep' }".to_owned(),
            };
            let _ = writeln!(policy, "emit.{column} = {operator}");
        }
    }
    let catalogue = Catalogue::parse(&catalogue, "catalogue.toml").unwrap_or_else(|problems| panic!("{problems}"));
    let policy = Policy::parse(&policy, "policy.toml").unwrap_or_else(|problems| panic!("{problems}"));
    Plan::compile(catalogue, policy).unwrap_or_else(|problems| panic!("{problems}"))
}

fn keys() -> Keys {
    let named: BTreeMap<String, HmacKey> =
        PURPOSES.iter().zip(10..).map(|(name, byte)| ((*name).to_owned(), HmacKey::new(1, &[byte; 32]))).collect();
    Keys::new(HmacKey::new(1, &[1; 32]), HmacKey::new(1, &[2; 32]), named)
}

/// A request as a decoder leaves it; making one again shares the arrays.
struct Request {
    columns: Vec<ArrayRef>,
    time: TimestampMicrosecondArray,
    resource: Vec<u32>,
    subject: ArrayRef,
    region: ArrayRef,
    gpc: ArrayRef,
}

impl Request {
    fn new(subjects: usize) -> Self {
        let text = |make: &dyn Fn(usize) -> String| -> ArrayRef {
            Arc::new((0..ROWS).map(|row| Some(make(row))).collect::<StringArray>())
        };
        let column = |name: &str| -> ArrayRef {
            match name {
                "account_email" => text(&|row| format!("person.{:06}@mail.example.org", row % subjects)),
                "app_package" => text(&|row| format!("org.example.app{}", row % 17)),
                "battery" => {
                    Arc::new((0..ROWS).map(|row| (row % 9 != 0).then_some(row as f64 / 5.0)).collect::<Float64Array>())
                }
                "client_ip" => text(&|row| format!("203.0.{}.{}", row % subjects % 250, row % 200)),
                "duration_ms" => Arc::new((0..ROWS).map(|row| row as i64 * 37).collect::<Int64Array>()),
                "foreground" => Arc::new((0..ROWS).map(|row| Some(row % 2 == 0)).collect::<BooleanArray>()),
                "imei" => text(&|row| format!("3569380356{:05}", row % subjects)),
                "latitude" => Arc::new((0..ROWS).map(|row| 48.0 + row as f64 / 1e3).collect::<Float64Array>()),
                "note" => text(&|row| format!("write to person.{row}@mail.example.org about the battery, please")),
                "os_version" => text(&|row| format!("16.{}", row % 4)),
                _ => text(&|row| format!("screen_{}", row % 12)),
            }
        };
        Self {
            columns: FIELDS.iter().map(|(name, _)| column(name)).collect(),
            time: (0..ROWS).map(|row| Some(TODAY - row as i64 * 1_000_003)).collect(),
            resource: (0..ROWS).map(|row| (row % subjects) as u32).collect(),
            subject: Arc::new((0..subjects).map(|row| Some(format!("device-{row:06}"))).collect::<StringArray>()),
            region: Arc::new((0..subjects).map(|_| Some("DE")).collect::<StringArray>()),
            gpc: Arc::new(BooleanArray::new_null(subjects)),
        }
    }

    fn received(&self) -> Received {
        let group = RawGroup {
            stream: 0,
            event: UInt16Array::from(vec![0; ROWS]),
            time: self.time.clone(),
            resource: self.resource.clone(),
            columns: self.columns.iter().cloned().map(RawColumn::PerRow).collect(),
            subject: RawColumn::PerResource(self.subject.clone()),
            jurisdiction: RawColumn::PerResource(self.region.clone()),
            gpc: RawColumn::PerResource(self.gpc.clone()),
        };
        Received::new(vec![group], DecodeTally::default())
    }

    fn admitted(&self, keys: &Keys) -> Admitted {
        let evidence = Evidence { source: Arc::from("bench"), received_at: TODAY, gpc: false, certified: None };
        self.received().admit(evidence, keys)
    }
}

fn clear(criterion: &mut Criterion) {
    let keys = keys();
    let given = (0..PURPOSES.len())
        .fold(SubjectConsent::new(1, Some(40), 0), |consent, purpose| consent.with(purpose, ConsentState::Given));
    let mut group = criterion.benchmark_group("clear");
    group.throughput(Throughput::Elements(ROWS as u64));
    for subjects in [1, ROWS] {
        let request = Request::new(subjects);
        let snapshot = ConsentSnapshot::new(1, vec![given; subjects]);
        for purposes in [1, 3] {
            let plan = plan(purposes);
            let cleared = plan.clear(request.admitted(&keys), &snapshot, &keys);
            assert!(cleared.counts().iter().all(|count| count.stored == ROWS as u64), "the job stores every row");
            let name = BenchmarkId::new(format!("{purposes} purposes"), format!("{subjects} subjects"));
            group.bench_function(name, |bencher| {
                bencher.iter_batched(
                    || request.admitted(&keys),
                    |admitted| black_box(plan.clear(admitted, &snapshot, &keys)),
                    BatchSize::SmallInput,
                );
            });
        }
    }
    group.finish();
}

fn admit(criterion: &mut Criterion) {
    let keys = keys();
    let mut group = criterion.benchmark_group("admit");
    group.throughput(Throughput::Elements(ROWS as u64));
    for subjects in [1, ROWS] {
        let request = Request::new(subjects);
        group.bench_function(BenchmarkId::from_parameter(format!("{subjects} subjects")), |bencher| {
            bencher.iter_batched(
                || request.received(),
                |received| {
                    let evidence =
                        Evidence { source: Arc::from("bench"), received_at: TODAY, gpc: false, certified: None };
                    black_box(received.admit(evidence, &keys))
                },
                BatchSize::SmallInput,
            );
        });
    }
    group.finish();
}

criterion_group!(benches, clear, admit);
criterion_main!(benches);
