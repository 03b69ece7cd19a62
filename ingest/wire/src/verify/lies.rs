//! Lies that agree with themselves: whatever is shown goes together, and still is not all, not new, or not consented to.

use candor_policy::consent::ConsentState;

use super::testing::*;
use super::tests::{fails, names, of, text};
use super::*;
use crate::log::entry::{Consents, Entry, Sha256Hex, Totals, Tree};
use crate::merkle;
use crate::statement::consent_leaf;

/// Nothing is said of the epochs of receipts and statements, as before they are closed.
fn early(mut evidence: Evidence) -> Evidence {
    evidence.subjects[0].receipts.iter_mut().for_each(|given| given.totals = None);
    evidence.subjects[0].answer.consents.clear();
    evidence
}

#[track_caller]
fn holds(evidence: &Evidence) {
    let lines = check(evidence);
    assert_eq!(outcome(&lines), Outcome::Holds, "{}", text(&lines));
}

#[test]
fn rows_under_an_id_that_nobody_has_are_not_taken_for_proved() {
    let mut world = World::new();
    let mine = world.mine("analytics", 3, 1);
    world.receipt(3, &[("analytics", 3, vec![mine.clone()])]);
    let entry = world.seal("analytics/phone.app", vec![other(7)], &[], 0);
    // The row was dropped before it was sealed, and is shown all the same: beside a proof that the file has nothing of me.
    let file = format!("tables/analytics/phone.app/{}", world.files[&entry].path);
    let mut evidence = early(world.evidence());
    let row = Row { id: 1, ..world.row("analytics", &mine, Some(file)) };
    evidence.subjects[0].answer.rows.push(row);
    fails(&evidence, Check::Files);
    // The same of a row that is said to be pending.
    let mut evidence = early(world.evidence());
    evidence.asked_at = NOW + HOUR / 2;
    evidence.subjects[0].answer.rows.push(world.row("analytics", &mine, None));
    holds(&evidence);
    evidence.subjects[0].answer.rows.last_mut().unwrap().id = 1;
    fails(&evidence, Check::Files);
}

/// An answer as it could have been when the log had nothing but keys and documents.
fn of_before(world: &World) -> Evidence {
    let mut evidence = world.evidence();
    let subject = &mut evidence.subjects[0];
    (subject.kept_receipts, subject.kept_statements) = (None, None);
    subject.receipts.clear();
    subject.answer.rows.clear();
    subject.answer.files.clear();
    subject.answer.consents.clear();
    subject.answer.batches = Some(Batches { next: 1, missing: Vec::new() });
    subject.answer.checkpoint = Some(world.note(4).to_string());
    evidence
}

#[test]
fn an_old_answer_under_a_new_log_is_told_from_a_new_one() {
    let world = World::new();
    let evidence = of_before(&world);
    names(&evidence, Check::Files, Assumption::AnswerIsOlder);
    let lines = check(&evidence);
    let older = of(&lines, Check::Files).into_iter().find(|line| line.verdict == Verdict::NotProvable).unwrap();
    assert!(older.about.as_ref().unwrap().contains("5 entries"), "{older}");
    // What came after it and says nothing of rows leaves it as it is.
    let mut newer = world.evidence();
    newer.subjects[0].answer.checkpoint = Some(world.note(world.entries.len() - 2).to_string());
    assert!(!check(&newer).iter().any(|line| line.assumption == Some(Assumption::AnswerIsOlder)));
    // Whoever looked at the log before he asked knows better.
    let note = |size: usize| Some(world.note(size).to_string().into_bytes());
    fails(&Evidence { before: note(world.entries.len()), ..evidence.clone() }, Check::Files);
    holds(&Evidence { before: note(4), ..evidence.clone() });
    // As does whoever kept what he saw another time, and asks now.
    let mut kept = Evidence { before: note(4), ..evidence.clone() };
    kept.trust.kept = note(9);
    fails(&kept, Check::Files);
    // Of a bundle it is not known when it was asked for: a log that is longer than what was kept can hold it.
    holds(&Evidence { before: None, ..kept });
    // What was seen before is a beginning of the log.
    let mut fork = World::new();
    if let Entry::Catalogue(document) = &mut fork.entries[3] {
        document.since = 2;
    }
    let before = Some(fork.note(4).to_string().into_bytes());
    fails(&Evidence { before, ..world.evidence() }, Check::Kept);
    fails(&Evidence { before: Some(b"a note\n".to_vec()), ..world.evidence() }, Check::Kept);
}

/// Every statement is in the epoch; the receipts are in none.
fn close(world: &mut World, epoch: u64, from: i64) {
    let leaves = leaves(world);
    let tree = Tree { root: Sha256Hex(merkle::root(&leaves)), size: leaves.len() as u64 };
    let (root, size) = (tree.root, tree.size);
    world.entries.push(Entry::Consents(Consents { epoch, root, size }));
    let (to, hidden, receipts) = (from + HOUR, Sha256Hex([3; 32]), tree);
    world.entries.push(Entry::Totals(Totals {
        epoch,
        part: 1,
        parts: 1,
        from,
        to,
        cells: Vec::new(),
        hidden,
        receipts,
    }));
}

fn leaves(world: &World) -> Vec<merkle::Hash> {
    let mut leaves: Vec<merkle::Hash> =
        world.statements.iter().map(|one| consent_leaf(&[5; 16], one.hash().unwrap().as_bytes())).collect();
    leaves.push(merkle::leaf_hash(b"somebody else's"));
    leaves.sort_unstable();
    leaves
}

/// Where a statement is in an epoch that was closed by [`close`].
fn place(world: &World, statement: usize, epoch: u64) -> StatementEvidence {
    let (leaves, hash) = (leaves(world), *world.statements[statement].hash().unwrap().as_bytes());
    let index = leaves.iter().position(|leaf| *leaf == consent_leaf(&[5; 16], &hash)).unwrap();
    let path = merkle::path(&leaves, index).into_iter().map(Sha256Hex).collect();
    StatementEvidence { statement: Sha256Hex(hash), epoch, nonce: vec![5; 16], index: index as u64, path }
}

/// The last statement says this of analytics alone.
fn of_analytics(world: &mut World, state: ConsentState) {
    let last = world.statements.pop().unwrap();
    let mut signed = last.to_signed().unwrap();
    signed.purposes.insert("analytics".to_owned(), state);
    let signed = signed.sign(&world.me).unwrap();
    let received = last.received_at.parse::<jiff::Timestamp>().unwrap().as_microsecond();
    world.statements.push(crate::statement::Statement::from_signed(signed, received, "devices").unwrap());
}

#[test]
fn a_row_is_under_the_statement_that_its_receipt_names() {
    // A withdrawal of analytics that is said to have come after the batch which names it.
    let mut world = World::new();
    world.state(ConsentState::Given, NOW + HOUR);
    of_analytics(&mut world, ConsentState::Withdrawn);
    world.receipts[1].consent = Some(2);
    fails(&early(world.evidence()), Check::Consent);
    // A statement that allows it, and rows under the one before: no service writes that.
    let mut world = World::new();
    world.state(ConsentState::Given, NOW - HOUR / 2);
    world.receipts[1].consent = Some(2);
    fails(&early(world.evidence()), Check::Consent);
    // A device may leave a number out: what it said before held.
    let mut world = World::new();
    for receipt in &mut world.receipts {
        receipt.consent = None;
    }
    let lines = check(&early(world.evidence()));
    assert_eq!(of(&lines, Check::Consent)[0].verdict, Verdict::Proved, "{}", text(&lines));
}

#[test]
fn a_withdrawal_that_the_log_had_before_a_batch_is_not_younger_than_it() {
    let withdrawn = |at: i64, logged_first: bool| {
        let mut world = World::new();
        world.state(ConsentState::Withdrawn, at);
        if logged_first {
            close(&mut world, 2, NOW + HOUR);
        }
        let rows = vec![world.mine("analytics", 3, 1)];
        world.receipt(3, &[("analytics", 3, rows.clone())]);
        world.receipts[2].received_at = NOW + 60;
        world.seal("analytics/phone.app", rows, &[], 0);
        if !logged_first {
            close(&mut world, 2, NOW + HOUR);
        }
        let consents = (0..2).map(|statement| place(&world, statement, 2)).collect();
        let mut evidence = early(world.evidence());
        evidence.subjects[0].receipts.iter_mut().for_each(|given| given.receipt.seal_by = NOW + 3 * HOUR);
        let receipts = evidence.subjects[0].receipts.clone();
        world.receipts = receipts.into_iter().map(|given| given.receipt).collect();
        let mut evidence = early(world.evidence());
        evidence.subjects[0].answer.consents = consents;
        evidence
    };
    // Received with the batch, logged after it: that can be a race.
    holds(&withdrawn(NOW + 60, false));
    // The time that is shown is the service's word; that the log had it is not.
    fails(&withdrawn(NOW + 60, true), Check::Consent);
    fails(&withdrawn(NOW + HOUR, true), Check::Consent);
    // A time that cannot be read is none.
    let mut evidence = withdrawn(NOW + HOUR, false);
    holds(&evidence);
    evidence.subjects[0].answer.statements[1].received_at = "later".to_owned();
    fails(&evidence, Check::Statements);
}
