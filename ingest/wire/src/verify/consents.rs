//! Statements of consent: their chain, their place in the log, and whether what is stored was consented to.

use std::collections::{BTreeMap, BTreeSet};

use candor_policy::consent::{ConsentState, SubjectConsent};
use candor_policy::policy::{LegalBasis, Purpose};

use super::documents::Documents;
use super::files::View;
use super::line::{Assumption, Check, Lines};
use super::log::Log;
use super::rows::ReadRow;
use crate::log::entry::{Consents, Entry, Sha256Hex};
use crate::merkle::{self, Hash};
use crate::statement::{Statement, consent_leaf, verify_chain};

/// What a withdrawal that is being acknowledged may be overtaken by.
const RACE: i64 = 60_000_000;
const DAY: i64 = 86_400_000_000;

pub(super) fn check(view: &View<'_>, log: &Log, documents: &Documents<'_>, lines: &mut Lines) {
    check_chain(view, lines);
    check_logged(view, log, lines);
    check_complete(view, lines);
    check_rows(view, documents, lines);
    check_receipts(view, documents, lines);
}

fn check_chain(view: &View<'_>, lines: &mut Lines) {
    let (name, answer) = (view.subject.name(), &view.subject.answer);
    let statements = &answer.statements;
    let foreign = statements.iter().any(|statement| {
        statement.ledger_id != answer.subject || statement.to_signed().map(|signed| signed.key) != view.subject.key
    });
    match verify_chain(statements) {
        Err(why) => lines.failed(Check::Statements, name, why.to_string()),
        Ok(()) if foreign => lines.failed(Check::Statements, name, "a statement is not the subject's own"),
        Ok(()) if view.subject.key.is_none() && !statements.is_empty() => {
            lines.not_provable(Check::Statements, name, Assumption::AssertedByController);
        }
        Ok(()) => lines.proved(Check::Statements, name, format!("{} statements", statements.len())),
    }
}

fn check_logged(view: &View<'_>, log: &Log, lines: &mut Lines) {
    let mut epochs: BTreeMap<u64, &Consents> = BTreeMap::new();
    for entry in &log.entries {
        if let Entry::Consents(consents) = entry {
            epochs.insert(consents.epoch, consents);
        }
    }
    let mut logged: BTreeSet<Sha256Hex> = BTreeSet::new();
    for place in &view.subject.answer.consents {
        let leaf = consent_leaf(&place.nonce, &place.statement.0);
        let root = epochs.get(&place.epoch).filter(|consents| {
            merkle::root_of_path(leaf, place.index, consents.size, &place.hashes()) == Some(consents.root.0)
        });
        if root.is_some() {
            logged.insert(place.statement);
        } else {
            let about = view.about(format!("epoch {} of the log", place.epoch));
            lines.failed(Check::StatementLogged, about, "its path does not lead to the root in the log");
        }
    }
    let hashes: Vec<Hash> = view.subject.answer.statements.iter().filter_map(hash_of).collect();
    let open = hashes.iter().filter(|hash| !logged.contains(&Sha256Hex(**hash))).count();
    if hashes.len() > open {
        lines.proved(Check::StatementLogged, view.subject.name(), format!("{} statements", hashes.len() - open));
    }
    if open > 0 {
        lines.not_provable(Check::StatementLogged, view.about(format!("{open} statements")), Assumption::NotSealedYet);
    }
}

/// Whatever names a statement shows that there is one: rows, receipts, and the device that made it.
fn check_complete(view: &View<'_>, lines: &mut Lines) {
    let name = || view.subject.name();
    let newest = view.subject.answer.statements.iter().map(|statement| statement.sequence).max().unwrap_or(0);
    let of_rows = view.rows.iter().filter_map(|row| row.row.consent_seq).max().unwrap_or(0);
    let receipts = view.subject.receipts.iter().map(|given| &given.receipt);
    let kept = view.subject.kept_receipts.iter().flatten().map(|signed| &signed.receipt);
    let of_receipts = receipts.chain(kept).filter_map(|receipt| receipt.consent).max().unwrap_or(0);
    if of_rows.max(of_receipts) > newest {
        let what = if of_rows > newest { "a row" } else { "a receipt" };
        return lines.failed(Check::StatementsComplete, name(), format!("{what} names a statement that is not shown"));
    }
    let Some(kept) = &view.subject.kept_statements else {
        return lines.not_provable(Check::StatementsComplete, name(), Assumption::StatementsFromService);
    };
    let shown: BTreeSet<Hash> = view.subject.answer.statements.iter().filter_map(hash_of).collect();
    let withheld = kept.iter().filter_map(hash_of).filter(|hash| !shown.contains(hash)).count();
    if withheld > 0 {
        let why = format!("the device made {withheld} statements that the service does not show");
        return lines.failed(Check::StatementsComplete, name(), why);
    }
    lines.proved(Check::StatementsComplete, name(), format!("{} statements", kept.len()));
}

/// Each row is under a statement that does not speak against it.
fn check_rows(view: &View<'_>, documents: &Documents<'_>, lines: &mut Lines) {
    let (mut wrong, mut unplanned) = (0_usize, 0_usize);
    let mut policies = BTreeMap::new();
    for row in &view.rows {
        let policy = policies.entry(row.row.policy.as_str()).or_insert_with(|| documents.policy(&row.row.policy));
        let purpose = policy.as_ref().and_then(|policy| policy.purposes.iter().find(|one| one.name == row.row.purpose));
        match purpose {
            None => unplanned += 1,
            Some(purpose) if !is_covered(view, row, purpose) => wrong += 1,
            Some(_) => {}
        }
    }
    let (name, rows) = (view.subject.name(), view.rows.len());
    if wrong > 0 {
        lines.failed(
            Check::Consent,
            name,
            format!("{wrong} of {rows} rows were not consented to when they were stored"),
        );
    } else if unplanned > 0 {
        lines.unchecked(Check::Consent, name, format!("{unplanned} of {rows} rows: their policy is not there"));
    } else if rows > 0 {
        lines.proved(Check::Consent, name, format!("{rows} rows"));
    }
}

fn is_covered(view: &View<'_>, row: &ReadRow<'_>, purpose: &Purpose) -> bool {
    let statements = &view.subject.answer.statements;
    let said = row.row.consent_seq.and_then(|sequence| {
        let held = statements.iter().map(|statement| statement.sequence).filter(|other| *other <= sequence).max();
        state(statements.iter().filter(|statement| Some(statement.sequence) == held), purpose, row.day())
    });
    allows(purpose, said.unwrap_or_default())
}

/// Nothing that came in well after a withdrawal was received was stored.
fn check_receipts(view: &View<'_>, documents: &Documents<'_>, lines: &mut Lines) {
    let statements = &view.subject.answer.statements;
    let times: Vec<(i64, &Statement)> = statements
        .iter()
        .filter_map(|one| Some((one.received_at.parse::<jiff::Timestamp>().ok()?.as_microsecond(), one)))
        .collect();
    let receipts = view.subject.receipts.iter().map(|given| &given.receipt);
    for receipt in receipts.filter(|receipt| receipt.purposes.values().any(|purpose| purpose.stored > 0)) {
        let Some(policy) = documents.policy(&receipt.policy) else { continue };
        let before = times.iter().filter(|(time, _)| time.saturating_add(RACE) < receipt.received_at);
        let newest = before.clone().map(|(_, one)| one.sequence).max();
        // What was received since then may have changed it back.
        let raced = times.iter().filter(|(time, _)| time.abs_diff(receipt.received_at) <= RACE.unsigned_abs());
        let in_force = before.chain(raced).filter(|(_, one)| newest.is_some_and(|newest| one.sequence >= newest));
        let day = receipt.received_at.div_euclid(DAY) as i32;
        let states: Vec<&Statement> = in_force.map(|(_, one)| *one).collect();
        for purpose in
            policy.purposes.iter().filter(|one| receipt.purposes.get(&one.name).is_some_and(|of| of.stored > 0))
        {
            let none =
                states.iter().all(|one| !allows(purpose, state([*one].into_iter(), purpose, day).unwrap_or_default()));
            if !states.is_empty() && none {
                let about = view.about(format!("batch {}, {}", receipt.batch, purpose.name));
                lines.failed(Check::Consent, about, "it was stored after a statement that did not allow it");
            }
        }
    }
}

/// What statements say together of a purpose on a day; none if there is none.
fn state<'a>(statements: impl Iterator<Item = &'a Statement>, purpose: &Purpose, day: i32) -> Option<ConsentState> {
    let said: Option<Vec<SubjectConsent>> = statements.map(|one| one.consent(&[purpose.name.as_str()]).ok()).collect();
    said?.into_iter().reduce(SubjectConsent::and).map(|consent| consent.state(0, day))
}

/// Whether some jurisdiction has a basis for the purpose that holds in this state: which one the device was in, no row says.
fn allows(purpose: &Purpose, state: ConsentState) -> bool {
    purpose.basis.iter().flatten().any(|basis| match basis {
        LegalBasis::Consent | LegalBasis::SeparateConsent => state == ConsentState::Given,
        LegalBasis::Notice | LegalBasis::LegitimateInterests | LegalBasis::PublicInterest => !state.is_objection(),
        LegalBasis::Contract | LegalBasis::LegalObligation | LegalBasis::VitalInterests => true,
    })
}

fn hash_of(statement: &Statement) -> Option<Hash> {
    statement.hash().ok().map(|hash| *hash.as_bytes())
}
