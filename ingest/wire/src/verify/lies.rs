//! Lies that agree with themselves: whatever is shown goes together, and still is not all, not new, or not consented to.

use super::testing::*;
use super::tests::{fails, text};
use super::*;

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
