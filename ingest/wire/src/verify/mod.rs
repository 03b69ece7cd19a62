//! Checking what a service says against its log: evidence in, lines out. Pure: who gathers the evidence is the command line.
//!
//! Nothing counts because it was said. Each line tells what was looked at, whether it is proved, and under which assumption; what
//! no proof can show has a line too.

mod answer;
mod audit;
mod bundle;
mod certificates;
mod consents;
mod documents;
mod evidence;
mod files;
#[cfg(test)]
mod lies;
mod line;
mod log;
mod receipts;
mod rows;
#[cfg(test)]
mod testing;
#[cfg(test)]
mod tests;
mod totals;

pub use answer::{Answer, Batches, Field, FileEvidence, InEpoch, ReceiptEvidence, Row, StatementEvidence};
pub use audit::{AuditError, AuditKind, AuditStatement, SignedAudit};
pub use bundle::{BundleKind, BundleSubject, MANIFEST, MOST_MANIFEST_BYTES, Manifest, ManifestError};
pub use documents::digest_of;
pub use evidence::{AlsoKept, Evidence, KeptOf, SubjectEvidence, Trust, Unanswered};
pub use line::{Assumption, Check, Line, Outcome, Verdict, outcome};
pub use log::Log;

use line::Lines;

/// Everything that the evidence shows, and what it does not.
#[must_use]
pub fn check(evidence: &Evidence) -> Vec<Line> {
    let mut lines = Lines::default();
    if let Some(log) = Log::open(evidence, &mut lines) {
        let audited = audit::check(evidence, &log, &mut lines);
        totals::check_opened(evidence, &log, &mut lines);
        let certified = certificates::check(evidence, &log, &mut lines);
        certificates::check_unanswered(evidence, &certified, &mut lines);
        let documents = documents::check(evidence, &log, &mut lines);
        for subject in &evidence.subjects {
            let view = files::View::new(subject);
            files::check(evidence, &view, &log, &audited, &mut lines);
            rows::check(&view, &log, &documents, &mut lines);
            receipts::check(evidence, &view, &log, (&documents, &certified), &mut lines);
            totals::check(evidence, &view, &log, &mut lines);
            consents::check(&view, &log, &documents, &mut lines);
        }
    } else if !evidence.subjects.is_empty() {
        lines.unchecked(Check::Files, None, "there is no log to hold the answer against");
    }
    for check in &evidence.trust.by_bundle {
        lines.weaken(*check, Assumption::AsTheBundleSays);
    }
    lines.not_provable(Check::Beyond, None, Assumption::NoOtherCopy);
    lines.into_inner()
}
