//! What the log is told at every start: keys and documents that it does not know yet.

use candor_policy::plan::Plan;
use candor_wire::log::entry::{Entry, InForce, KeyChange, Sha256Hex};

use super::Log;
use crate::error::Error;
use crate::keys::change::entries_of;

/// Logs each key of the ring, the catalogue and the policy, where they are new. Keys come first: the log's own is its first entry.
pub(crate) fn log_start(log: &Log, keys: &[KeyChange], plan: &Plan, now: i64) -> Result<(), Error> {
    let entries = log.look(|known| {
        let mut entries = entries_of(known, keys, log.origin());
        let (catalogue, policy) = (plan.catalogue().digest, plan.policy().digest);
        entries.extend(comes_into_force(known.catalogue(), catalogue.into(), now).map(Entry::Catalogue));
        entries.extend(comes_into_force(known.policy(), policy.into(), now).map(Entry::Policy));
        entries
    });
    log.append(&entries).map(|_| ())
}

fn comes_into_force(last: Option<&InForce>, digest: Sha256Hex, now: i64) -> Option<InForce> {
    // A clock that was set back must not turn the order of documents around.
    let since = last.map_or(now, |last| now.max(last.since + 1));
    (last.map(|last| last.digest) != Some(digest)).then_some(InForce { digest, since })
}
