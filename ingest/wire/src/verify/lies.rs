//! Lies that agree with themselves: whatever is shown goes together, and still is not all, not new, or not consented to.

use super::testing::*;
use super::tests::{fails, names, of, text};
use super::*;
use crate::log::entry::Entry;

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
