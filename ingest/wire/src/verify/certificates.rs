//! Certificates of erasure: signed by the log, in the log, and the files that they name are gone.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;

use candor_policy::hex;
use candor_policy::subject::LedgerId;

use super::evidence::{Evidence, SubjectEvidence, Unanswered};
use super::line::{Check, Lines};
use super::log::Log;
use crate::counted::counted;
use crate::erasure::{Certificate, ErasureError, PlaceState, Scope, SignedCertificate};
use crate::log::entry::{Entry, Sealed, Sha256Hex};
use crate::log::note::VerifierKey;

/// Certificates that hold, by the subject whom they are about.
pub(super) type Certified = BTreeMap<LedgerId, Vec<Certificate>>;

pub(super) fn check(evidence: &Evidence, log: &Log, lines: &mut Lines) -> Certified {
    let mut certified = Certified::new();
    if evidence.certificates.is_empty() {
        return certified;
    }
    let subjects: BTreeSet<LedgerId> = evidence
        .holders
        .iter()
        .copied()
        .chain(evidence.subjects.iter().filter_map(SubjectEvidence::ledger_id))
        .collect();
    for bytes in &evidence.certificates {
        match SignedCertificate::decode(bytes) {
            Err(why) => lines.failed(Check::Certificate, None, why.to_string()),
            Ok(signed) => {
                let about = Some(signed.certificate.id.clone());
                match holds(evidence, log, &subjects, &signed) {
                    Err(why) => lines.failed(Check::Certificate, about, why),
                    Ok(None) => {
                        lines.unchecked(Check::Certificate, about, "nobody says whom it is about: name a subject");
                    }
                    Ok(Some(subject)) => {
                        let certificate = signed.certificate;
                        lines.proved(Check::Certificate, about, said(&certificate));
                        certified.entry(subject).or_default().push(certificate);
                    }
                }
            }
        }
    }
    certified
}

/// Of whom a device kept something, the service says something, or a certificate why not.
pub(super) fn check_unanswered(evidence: &Evidence, certified: &Certified, lines: &mut Lines) {
    for Unanswered { ledger, receipts, statements } in &evidence.unanswered {
        let name = hex::encode(ledger.as_bytes());
        let of_all = |certificates: &Vec<Certificate>| certificates.iter().any(|one| one.scope == Scope::All);
        if certified.get(ledger).is_some_and(of_all) {
            lines.proved(Check::Answer, Some(name), "it was erased, as its certificate says");
        } else {
            let why = format!(
                "the device kept {} and made {}, and the service shows nothing; if it was erased, its certificate says so",
                counted(receipts, "receipt"),
                counted(statements, "statement")
            );
            lines.failed(Check::Answer, Some(name), why);
        }
    }
}

/// Whom it is about, if somebody who is known; an error for what does not hold.
fn holds(
    evidence: &Evidence,
    log: &Log,
    subjects: &BTreeSet<LedgerId>,
    signed: &SignedCertificate,
) -> Result<Option<LedgerId>, String> {
    let key = evidence.trust.log.iter().map(VerifierKey::public).find(|key| *key == signed.key);
    let key = key.ok_or_else(|| ErasureError::OtherKey.to_string())?;
    // Any subject tells whether the signature holds.
    let someone = LedgerId::from_bytes([0; 32]);
    match signed.check(&key, &someone) {
        Ok(()) | Err(ErasureError::OtherSubject) => {}
        Err(why) => return Err(why.to_string()),
    }
    let digest = signed.certificate.digest().map_err(|why| why.to_string())?;
    let is_logged =
        log.entries.iter().any(|entry| matches!(entry, Entry::Erased(erased) if erased.certificates.contains(&digest)));
    if !is_logged {
        return Err("no entry of the log names it".to_owned());
    }
    check_files(log, &signed.certificate)?;
    let subject = subjects.iter().find(|subject| signed.check(&key, subject).is_ok());
    if subject.is_none() && !subjects.is_empty() {
        return Err(ErasureError::OtherSubject.to_string());
    }
    Ok(subject.copied())
}

/// Each file that it names was sealed and is not live any more; what it says took its place did, as that one's own entry says, and
/// no more rows went than entries say. Others may have been erased with it: their files and rows are in the same entries.
fn check_files(log: &Log, certificate: &Certificate) -> Result<(), String> {
    let mut sealed: BTreeMap<(&str, Sha256Hex), (u64, &Sealed)> = BTreeMap::new();
    let mut successors: BTreeMap<u64, &Sealed> = BTreeMap::new();
    for (number, entry) in log.entries.iter().enumerate() {
        if let Entry::Sealed(file) = entry {
            sealed.insert((&file.table, file.file), (number as u64, file));
            successors.extend(file.replaces.iter().map(|old| (*old, file)));
        }
    }
    let mut gone: BTreeMap<Sha256Hex, u64> = BTreeMap::new();
    for file in &certificate.files {
        let (number, old) =
            sealed.get(&(file.table.as_str(), file.old)).ok_or("it names a file that was never sealed")?;
        if log.live.live_file(*number).is_some() {
            return Err("a file that it says is gone is live".to_owned());
        }
        let successor = successors.get(number);
        if successor.map(|new| new.file) != file.new {
            return Err("another file took the place of one than it says, or none did".to_owned());
        }
        let (of, most) = successor.map_or((old.file, old.rows), |new| (new.file, new.removed.unwrap_or(0)));
        let rows = gone.entry(of).or_default();
        *rows = rows.saturating_add(file.removed);
        if *rows > most {
            return Err("it says that more rows are gone than the log does".to_owned());
        }
    }
    Ok(())
}

fn said(certificate: &Certificate) -> String {
    let in_state = |state| {
        certificate
            .places
            .iter()
            .filter(|place| place.state == state)
            .map(|place| place.place.as_str())
            .collect::<Vec<_>>()
    };
    let mut said = format!("{} of {}", counted(certificate.rows, "row"), counted(certificate.files.len(), "file"));
    for (word, state) in [("done", PlaceState::Done), ("due", PlaceState::Due), ("outside", PlaceState::Outside)] {
        let places = in_state(state);
        if !places.is_empty() {
            let _ = write!(said, "; {word}: {}", places.join(", "));
        }
    }
    if certificate.done_at > certificate.deadline {
        said.push_str("; AFTER ITS DEADLINE");
    }
    said
}

#[cfg(test)]
mod tests;
