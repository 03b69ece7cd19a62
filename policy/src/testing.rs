//! Shared by tests: small documents, and whether a problem stands where its cause is.

use crate::problem::{Problem, Problems};

/// Two streams: enough for every kind of field.
pub(crate) const CATALOGUE: &str = r#"
catalogue = "acme-fleet"

[stream."phone.app"]
description = "What the apps of a phone do"
owner       = "phones@acme.example"
expires     = "2028-12-31"

[stream."phone.app".event."phone.app.opened"]
description = "An app came to the front"

[stream."phone.app".event."phone.app.crashed"]
description = "An app ended by a fault"
fields      = ["imei", "level"]

[stream."phone.app".field]
imei     = { type = "string", from = "resource.device.imei", category = "user.unique_id", role = "identifier", description = "IMEI" }
screen   = { type = "string", from = "attributes.screen", category = "user.behavior", role = "plain", description = "Screen", values = ["home", "chat"] }
level    = { type = "i64", from = "attributes.level", category = "user.device", role = "plain", description = "Battery" }
warmth   = { type = "f64", from = "attributes.warmth", category = "user.device", role = "plain", description = "Temperature" }
charging = { type = "bool", from = "attributes.charging", category = "user.device", role = "plain", description = "On a charger" }
seen     = { type = "timestamp", from = "attributes.seen", category = "user.behavior", role = "quasi", description = "First use" }

[stream."car.drive"]
description = "Drives"
owner       = "cars@acme.example"

[stream."car.drive".event."car.drive.ended"]
description = "A drive ended"

[stream."car.drive".field.vin]
type        = "string"
from        = "attributes.vin"
category    = "user.unique_id"
role        = "identifier"
description = "VIN"
expires     = "2029-12-31"
"#;

/// Two purposes and one rule.
pub(crate) const POLICY: &str = r#"
policy  = "acme-fleet"
default = "drop"
notice  = "2026-01"
jurisdiction = { from = "resource.region", EU = ["DE", "FR"], US-CA = ["US-CA"], CN = ["CN"] }
gpc          = { from = "resource.gpc", opts_out = ["marketing"] }

[purpose.diagnostics]
description = "Find faults"
use         = "essential.service"
basis       = { EU = "consent", US-CA = "notice", CN = "separate_consent" }
retain      = "30 days"

[purpose.marketing]
use           = "marketing.advertising"
basis         = { "*" = "contract", EU = "consent" }
min_age       = { EU = 16, "*" = 13 }
retain        = "13 months"
on_withdrawal = "keep"

[[rule]]
id      = "phone"
stream  = "phone.app"
purpose = "diagnostics"
when    = "not gpc"
emit.imei = { op = "hmac", key = "diagnostics" }
emit.time = { op = "time_floor", unit = "hour" }
"#;

/// Replaces `from`, which must be there, in a document.
pub(crate) fn edit(document: &str, from: &str, to: &str) -> String {
    assert!(document.contains(from), "the document does not hold {from}");
    document.replacen(from, to, 1)
}

/// Asserts that exactly one problem stands where `cause` first does, with `says` in its message and a mend.
pub(crate) fn assert_problem<T: std::fmt::Debug>(
    text: &str,
    found: Result<T, Problems>,
    cause: &str,
    says: &str,
) -> Problem {
    let problems = found.expect_err(&format!("no problem where one with `{says}` was expected")).0;
    let at = text.find(cause).unwrap_or_else(|| panic!("the document does not hold {cause}"));
    let line = text[..at].lines().count().max(1) + usize::from(text[..at].ends_with('\n'));
    let column = text[..at].rsplit('\n').next().unwrap().chars().count() + 1;
    let [problem] = problems.as_slice() else { panic!("one problem with `{says}` was expected, not {problems:#?}") };
    assert!(problem.message.contains(says), "{problem} does not say `{says}`");
    assert_eq!((problem.line, problem.column), (line, column), "{problem}");
    assert!(problem.mend.len() > 5, "{problem} has no mend");
    problem.clone()
}
