//! A small plan, and batches cleared by it, for the tests and the bench of the store.

use std::sync::Arc;

use arrow_array::{
    ArrayRef, BooleanArray, Int64Array, StringArray, TimestampMicrosecondArray, UInt16Array, types::Int64Type,
};
use candor_policy::batch::{Cleared, DecodeTally, Evidence, RawColumn, RawGroup, Received};
use candor_policy::catalogue::Catalogue;
use candor_policy::consent::ConsentSnapshot;
use candor_policy::keys::Keys;
use candor_policy::plan::Plan;
use candor_policy::policy::Policy;
use candor_policy::subject::LedgerId;

const CATALOGUE: &str = r#"
catalogue = "test"

[stream."phone.app"]
description = "What an app does"
owner       = "phones@acme.example"
expires     = "2099-12-31"

[stream."phone.app".event."phone.app.opened"]
description = "An app came to the front"

[stream."phone.app".field.screen]
type        = "string"
from        = "attributes.screen"
category    = "user.behavior"
role        = "plain"
description = "Name of the screen"

[stream."phone.app".field.account]
type        = "string"
from        = "attributes.account"
category    = "user.contact.email"
role        = "identifier"
description = "Account"

[stream."phone.app".field.duration_ms]
type        = "i64"
from        = "attributes.duration_ms"
category    = "user.behavior"
role        = "plain"
description = "How long"
"#;

const POLICY: &str = r#"
policy  = "test"
default = "drop"
jurisdiction = { from = "resource.region", EU = ["DE"] }

[purpose.analytics]
description = "Learning how the devices are used"
use         = "analytics.reporting"
basis       = { "*" = "consent" }
retain      = "13 months"

[purpose.diagnostics]
description = "Finding faults"
use         = "essential.service.operations.improve"
basis       = { "*" = "consent" }
retain      = "30 days"

[[rule]]
id      = "analytics"
stream  = "phone.app"
purpose = "analytics"
emit.screen      = { op = "keep" }
emit.account     = { op = "hmac", key = "analytics" }
emit.duration_ms = { op = "keep" }

[[rule]]
id      = "diagnostics"
stream  = "phone.app"
purpose = "diagnostics"
emit.duration_ms = { op = "keep" }
"#;

/// The plan of the documents above.
pub(crate) fn plan() -> Arc<Plan> {
    let catalogue = Catalogue::parse(CATALOGUE, "catalogue.toml").expect("the catalogue is right");
    let policy = Policy::parse(POLICY, "policy.toml").expect("the policy is right");
    Arc::new(Plan::compile(catalogue, policy).expect("they fit"))
}

/// A batch of `rows` events, dealt out to `subjects` by turns; `first` numbers the durations.
pub(crate) fn cleared(
    plan: &Plan,
    keys: &Keys,
    consent: impl FnOnce(&[LedgerId]) -> ConsentSnapshot,
    subjects: &[&str],
    rows: usize,
    first: i64,
) -> Cleared {
    let admitted = received(subjects, rows, first).admit(
        Evidence { source: Arc::from("devices"), received_at: 1_767_225_600_000_000, gpc: false, certified: None },
        keys,
    );
    let snapshot = consent(admitted.subjects());
    plan.clear(admitted, &snapshot, keys)
}

/// `rows` events, dealt out to `subjects` by turns.
pub(crate) fn received(subjects: &[&str], rows: usize, first: i64) -> Received {
    let per_row = |array: ArrayRef| RawColumn::PerRow(array);
    let text =
        |value: &dyn Fn(usize) -> String| -> ArrayRef { Arc::new(StringArray::from_iter_values((0..rows).map(value))) };
    let durations = arrow_array::PrimitiveArray::<Int64Type>::from_iter_values((0..rows as i64).map(|row| first + row));
    let group = RawGroup {
        stream: 0,
        event: UInt16Array::from(vec![0; rows]),
        time: TimestampMicrosecondArray::new_null(rows),
        resource: vec![0; rows],
        columns: vec![
            per_row(text(&|row| format!("screen-{}", row % 20))),
            per_row(text(&|row| format!("user-{row}@acme.example"))),
            per_row(Arc::new(durations) as Arc<Int64Array>),
        ],
        subject: per_row(text(&|row| subjects[row % subjects.len()].to_owned())),
        jurisdiction: RawColumn::PerResource(Arc::new(StringArray::from(vec!["DE"]))),
        gpc: RawColumn::PerResource(Arc::new(BooleanArray::from(vec![None]))),
    };
    Received::new(vec![group], DecodeTally::default())
}
