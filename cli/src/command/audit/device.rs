//! What a device kept itself, held against what was told: its identity, its receipts and the statements that it made.

use std::collections::BTreeMap;
use std::path::Path;

use candor_agent::evidence::statements_of;
use candor_agent::identity::Identity;
use candor_policy::hex;
use candor_policy::subject::LedgerId;
use candor_wire::statement::SignedStatement;
use candor_wire::verify::Unanswered;

use super::gathered::{Gathered, count_by_subject, lines_of, statements_to_lines};
use crate::args::audit::AboutArg;
use crate::exit::{Exit, Failure};

/// Most bytes of a state: as many as a device reads.
const MOST_STATE_BYTES: u64 = 64 << 20;

/// Adds what the arguments name.
pub(super) fn add(gathered: &mut Gathered, about: &AboutArg) -> Result<(), Failure> {
    let mut kept: BTreeMap<String, (usize, usize)> = BTreeMap::new();
    if let Some(path) = &about.receipts {
        let journal = read(path, u64::MAX)?;
        for (subject, receipts) in count_by_subject(&journal).map_err(|why| senseless(path, &why))? {
            kept.entry(subject).or_default().0 = receipts;
        }
        for told in &mut gathered.subjects {
            if let Some(key) = &told.key {
                let subject = hex::encode(key.subject_id().as_bytes());
                told.kept = Some(lines_of(&journal, &subject).map_err(|why| senseless(path, &why))?);
            }
        }
    }
    if let Some(path) = &about.statements {
        let statements = statements_of(&read(path, MOST_STATE_BYTES)?).map_err(|why| senseless(path, &why))?;
        for statement in &statements {
            kept.entry(hex::encode(statement.key.subject_id().as_bytes())).or_default().1 += 1;
        }
        for told in &mut gathered.subjects {
            let own: Vec<&SignedStatement> =
                statements.iter().filter(|statement| Some(statement.key) == told.key).collect();
            told.said = told.key.map(|_| statements_to_lines(&own)).transpose().map_err(|why| senseless(path, &why))?;
        }
    }
    let is_told = |subject: &String| {
        let mut keys = gathered.subjects.iter().filter_map(|told| told.key.as_ref());
        keys.any(|key| hex::encode(key.subject_id().as_bytes()) == *subject)
    };
    let unanswered = kept.iter().filter(|(subject, _)| !is_told(subject));
    let unanswered = unanswered.filter_map(|(subject, (receipts, statements))| {
        let ledger = LedgerId::from_bytes(hex::decode(subject)?.try_into().ok()?);
        Some(Unanswered { ledger, receipts: *receipts, statements: *statements })
    });
    gathered.unanswered = unanswered.collect();
    Ok(())
}

/// The epoch of a bundle whose key is not that of the identity. An answer about one that does not sign is another's too, if the
/// identity was named for it.
pub(super) fn stranger(gathered: &Gathered, identity: &Identity, is_named: bool) -> Result<Option<String>, Failure> {
    for told in &gathered.subjects {
        if !is_named && told.key.is_none() && told.epoch.is_none() {
            continue;
        }
        let own = told.epoch.map(|epoch| identity.public(epoch)).transpose()?;
        if own != told.key || own.is_none() {
            return Ok(Some(told.name.clone()));
        }
    }
    Ok(None)
}

fn read(path: &Path, most: u64) -> Result<Vec<u8>, Failure> {
    let failed = |why: &dyn std::fmt::Display| {
        Failure::new(Exit::CouldNotVerify, format!("{} cannot be read: {why}", path.display()))
    };
    if std::fs::metadata(path).map_err(|why| failed(&why))?.len() > most {
        return Err(failed(&"it is longer than a device writes"));
    }
    std::fs::read(path).map_err(|why| failed(&why))
}

fn senseless(path: &Path, why: &dyn std::fmt::Display) -> Failure {
    Failure::new(Exit::CouldNotVerify, format!("{} does not make sense: {why}", path.display()))
}
