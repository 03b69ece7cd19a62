//! Lies that agree with themselves: whatever is shown goes together, and still is not all, not new, or not consented to.

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use candor_policy::consent::ConsentState;

use super::testing::*;
use super::tests::{fails, names, of, text};
use super::*;
use crate::log::entry::{Consents, Entry, Erased, Expired, Sha256Hex, Totals, Tree};
use crate::merkle;
use crate::row::Rows;
use crate::statement::consent_leaf;

const DAY_LONG: i64 = 24 * HOUR;

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

/// A second statement of the number of the last one.
fn fork(world: &mut World, state: ConsentState, at: i64) {
    let mut signed = world.statements.last().unwrap().to_signed().unwrap();
    signed.purposes.values_mut().for_each(|one| *one = state);
    let signed = signed.sign(&world.me).unwrap();
    world.statements.push(crate::statement::Statement::from_signed(signed, at, "devices").unwrap());
}

/// A withdrawal that is said to have come at a time, and a batch of a minute after [`NOW`] that stored something: which of them the log had first.
fn withdrawn(say: fn(&mut World, ConsentState, i64), at: i64, logged_first: bool) -> Evidence {
    let mut world = World::new();
    say(&mut world, ConsentState::Withdrawn, at);
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
}

#[test]
fn a_withdrawal_that_the_log_had_before_a_batch_is_not_younger_than_it() {
    for say in [World::state as fn(&mut World, ConsentState, i64), fork] {
        // Received with the batch, logged after it: that can be a race.
        holds(&withdrawn(say, NOW + 60, false));
        // The time that is shown is the service's word; that the log had it is not.
        fails(&withdrawn(say, NOW + 60, true), Check::Consent);
        fails(&withdrawn(say, NOW + HOUR, true), Check::Consent);
        // A time that cannot be read is none.
        let mut evidence = withdrawn(say, NOW + HOUR, false);
        holds(&evidence);
        evidence.subjects[0].answer.statements[1].received_at = "later".to_owned();
        fails(&evidence, Check::Statements);
    }
}

/// Statements of number 1, each with its time, beside the two batches that came at [`NOW`] and name it.
fn forked(statements: &[(ConsentState, i64)]) -> World {
    let mut world = World::new();
    world.statements.clear();
    let (first, others) = statements.split_first().unwrap();
    world.state(first.0, first.1);
    for (state, at) in others {
        fork(&mut world, *state, *at);
    }
    world
}

#[test]
fn a_second_statement_of_a_number_counts_from_when_it_came() {
    use ConsentState::{Given, Withdrawn};
    let (before, soon, second) = (NOW - HOUR, NOW + 9, 1_000_000);
    let found = |statements: &[(ConsentState, i64)]| early(forked(statements).evidence());
    // What was stored before it came was allowed then.
    holds(&found(&[(Given, before), (Withdrawn, soon)]));
    holds(&found(&[(Given, before), (Withdrawn, NOW + HOUR)]));
    fails(&found(&[(Given, before), (Withdrawn, before + HOUR / 2)]), Check::Consent);
    fails(&found(&[(Given, before), (Given, before + 1), (Withdrawn, before + 2)]), Check::Consent);
    // No second one gives what the first one does not.
    fails(&found(&[(Withdrawn, before), (Given, soon)]), Check::Consent);
    // Which of two came first within a minute, and before a batch of that minute, nobody can tell. What came an hour later was no
    // ground for it.
    holds(&found(&[(Given, NOW - second), (Withdrawn, NOW + second)]));
    fails(&found(&[(Withdrawn, NOW - second), (Withdrawn, NOW + second)]), Check::Consent);
    fails(&found(&[(Withdrawn, NOW - second), (Given, NOW + HOUR)]), Check::Consent);
    // A number that is named was there, whatever is said of its times: these are worth nothing then.
    holds(&found(&[(Given, NOW + HOUR)]));
    fails(&found(&[(Given, NOW + HOUR), (Withdrawn, NOW + 2 * HOUR)]), Check::Consent);
}

#[test]
fn no_statement_of_a_number_came_after_one_of_a_higher_number() {
    use ConsentState::{Given, Withdrawn};
    let with = |second: i64| {
        let mut world = forked(&[(Given, NOW - HOUR), (Withdrawn, NOW + 9)]);
        world.state(Given, second);
        world
    };
    holds(&early(with(NOW + HOUR).evidence()));
    // By its time.
    fails(&early(with(NOW - HOUR / 2).evidence()), Check::Consent);
    // By a batch that named it while the log was shorter, and that stored nothing.
    let named = |size: usize| {
        let mut world = with(NOW + HOUR);
        world.receipt(3, &[]);
        let checkpoint = Some(world.checkpoint(size).to_string());
        let receipt = world.receipts.last_mut().unwrap();
        (receipt.consent, receipt.checkpoint) = (Some(2), checkpoint);
        early(world.evidence())
    };
    // The two others saw four entries.
    holds(&named(4));
    fails(&named(3), Check::Consent);
    // By the batch itself: it names a number that the device left out, and was taken.
    let left_out = |fork: bool| {
        let mut world =
            forked(if fork { &[(Given, NOW - HOUR), (Withdrawn, NOW + 9)] } else { &[(Given, NOW - HOUR)] });
        world.state(Given, NOW + 10);
        let last = world.statements.pop().unwrap();
        let mut signed = last.to_signed().unwrap();
        signed.sequence = 9;
        let signed = signed.sign(&world.me).unwrap();
        world.statements.push(crate::statement::Statement::from_signed(signed, NOW + 10, "devices").unwrap());
        let row = world.mine("analytics", 3, 5);
        world.receipt(3, &[("analytics", 3, vec![row.clone()])]);
        world.receipts[2].consent = Some(5);
        world.seal("analytics/phone.app", vec![row], &[], 0);
        early(world.evidence())
    };
    holds(&left_out(false));
    fails(&left_out(true), Check::Consent);
}

#[test]
fn what_two_statements_of_the_newest_number_do_not_both_allow_is_not_in_force() {
    use ConsentState::{Given, Withdrawn};
    let with = |at: i64| {
        let mut world = World::new();
        world.state(Given, NOW - HOUR / 2);
        fork(&mut world, Withdrawn, at);
        early(world.evidence())
    };
    // The batches name the number before.
    fails(&with(NOW - HOUR / 3), Check::Consent);
    holds(&with(NOW + 9));
}

#[test]
fn a_row_without_a_receipt_is_held_against_what_there_was_on_its_day() {
    use ConsentState::{Given, Withdrawn};
    let found = |statements: &[(ConsentState, i64)]| {
        let world = forked(statements);
        let mut evidence = early(world.evidence());
        let subject = &mut evidence.subjects[0];
        (subject.kept_receipts, subject.receipts) = (None, Vec::new());
        subject.answer.rows = vec![world.row("analytics", &world.mine("analytics", 1, 1), None)];
        consent(&evidence)
    };
    let (days_ago, later) = (NOW - 3 * DAY_LONG, NOW + 2 * DAY_LONG);
    assert_eq!(found(&[(Given, days_ago), (Withdrawn, NOW - HOUR)]), Verdict::Proved);
    assert_eq!(found(&[(Given, days_ago), (Withdrawn, later)]), Verdict::Proved);
    assert_eq!(found(&[(Given, days_ago), (Withdrawn, days_ago + DAY_LONG)]), Verdict::Failed);
    assert_eq!(found(&[(Withdrawn, days_ago), (Given, NOW - HOUR)]), Verdict::Failed);
    assert_eq!(found(&[(Withdrawn, NOW - HOUR), (Given, later)]), Verdict::Failed);
}

/// What an operator is told of a subject that signs nothing: rows of two days ago and today, and statements at these times.
fn assigned(statements: &[(ConsentState, i64)], consent: i64) -> Evidence {
    let mut world = World::new();
    world.statements.clear();
    for (state, at) in statements {
        world.state(*state, *at);
    }
    let mut evidence = early(world.evidence());
    let subject = &mut evidence.subjects[0];
    (subject.epoch, subject.key, subject.kept_receipts, subject.kept_statements) = (None, None, None, None);
    subject.receipts.clear();
    let answer = &mut subject.answer;
    answer.ids = vec![Sha256Hex(*world.me.subject_id().as_bytes())];
    answer.batches = None;
    // Only rows that no file has are as they are shown here: nothing is proved of them.
    let event = Event { consent, ..world.mine("analytics", 1, 1) };
    answer.rows = vec![world.row("analytics", &event, None)];
    evidence
}

#[track_caller]
fn consent(evidence: &Evidence) -> Verdict {
    let lines = check(evidence);
    of(&lines, Check::Consent)[0].verdict
}

#[test]
fn what_an_assigned_subject_withdrew_before_a_day_is_not_stored_on_it() {
    use ConsentState::{Given, Withdrawn};
    let (before, day) = (NOW - 3 * DAY_LONG, i64::from(DAY) * DAY_LONG);
    assert_eq!(consent(&assigned(&[(Given, before)], 1)), Verdict::Proved);
    assert_eq!(consent(&assigned(&[(Given, before), (Withdrawn, before + HOUR)], 1)), Verdict::Failed);
    // On the day itself, or in the minute before it, nobody can tell which came first.
    assert_eq!(consent(&assigned(&[(Given, before), (Withdrawn, day + HOUR)], 1)), Verdict::Proved);
    assert_eq!(consent(&assigned(&[(Given, before), (Withdrawn, day - 30_000_000)], 1)), Verdict::Proved);
    assert_eq!(consent(&assigned(&[(Given, before), (Withdrawn, day - HOUR)], 1)), Verdict::Failed);
    // It was given again.
    let again = [(Given, before), (Withdrawn, before + 1), (Given, day + HOUR)];
    assert_eq!(consent(&assigned(&again, 3)), Verdict::Proved);
    assert_eq!(consent(&assigned(&again, 1)), Verdict::Failed);
    let before_day = [(Given, before), (Withdrawn, before + 1), (Given, before + HOUR)];
    assert_eq!(consent(&assigned(&before_day, 3)), Verdict::Proved);
    // A statement that came after the day is none that something was stored under on it.
    let later = [(Given, before), (Withdrawn, before + 1), (Given, day + 2 * DAY_LONG)];
    assert_eq!(consent(&assigned(&later, 3)), Verdict::Failed);
}

#[test]
fn a_statement_is_logged_in_time() {
    // Said an hour before the first epoch was closed, and three hours after it; then another epoch is logged, without either.
    let with = |from: i64, to: i64| {
        let mut world = World::new();
        world.state(ConsentState::Given, NOW + 3 * HOUR);
        let mut world = World { statements: world.statements, ..World::new() };
        world.entries.push(Entry::Totals(Totals {
            epoch: 2,
            part: 1,
            parts: 1,
            from,
            to,
            cells: Vec::new(),
            hidden: Sha256Hex([3; 32]),
            receipts: Tree { root: Sha256Hex([3; 32]), size: 0 },
        }));
        let mut evidence = early(world.evidence());
        let before = world.note(world.entries.len() - 1).to_string();
        // Of receipts nothing is asked here.
        let subject = &mut evidence.subjects[0];
        (subject.kept_receipts, subject.receipts) = (None, Vec::new());
        (evidence, before)
    };
    let logged = |evidence: &Evidence| {
        let lines = check(evidence);
        of(&lines, Check::StatementLogged).iter().map(|line| line.verdict).collect::<Vec<_>>()
    };
    let (mut evidence, _) = with(NOW + 3 * HOUR, NOW + 4 * HOUR);
    assert_eq!(logged(&evidence), [Verdict::Failed, Verdict::NotProvable]);
    // A service that had it before it had a log.
    evidence.subjects[0].answer.statements[0].received_at = "2020-01-01T00:00:00Z".to_owned();
    assert_eq!(logged(&evidence), [Verdict::NotProvable]);
    let (mut evidence, before) = with(NOW + 5 * HOUR, NOW + 6 * HOUR);
    evidence.subjects[0].answer.statements.remove(0);
    assert_eq!(logged(&evidence), [Verdict::Failed]);
    // The answer is of before that epoch was closed.
    evidence.subjects[0].answer.checkpoint = Some(before);
    assert_eq!(logged(&evidence), [Verdict::NotProvable]);
    // The clock was ahead when the epoch began.
    let (mut evidence, _) = with(NOW + 5 * HOUR, NOW + 4 * HOUR);
    evidence.subjects[0].answer.statements.remove(0);
    assert_eq!(logged(&evidence), [Verdict::NotProvable]);
}

#[test]
fn what_was_taken_before_a_batch_came_does_not_excuse_it() {
    let day_after = "2026-11-23".to_owned();
    let expired = |field: Option<&str>| {
        Entry::Expired(Expired {
            table: "analytics/phone.app".to_owned(),
            before: day_after.clone(),
            files: Vec::new(),
            removed: 9,
            field: field.map(str::to_owned),
        })
    };
    // Somebody was erased in the morning, and a file of the day before went; in the evening my rows were never sealed.
    let mut world = World::new();
    let gone = world.seal("analytics/phone.app", vec![other(8)], &[], 0);
    world.seal("analytics/phone.app", vec![other(1)], &[7], 1);
    world.entries.push(Entry::Erased(Erased {
        certificates: vec![Sha256Hex([1; 32])],
        files: vec![gone],
        replaced: vec![gone + 1],
        removed: 2,
    }));
    world.entries.push(expired(Some("model")));
    let mine = world.mine("analytics", 3, 1);
    world.receipt(3, &[("analytics", 3, vec![mine.clone()])]);
    let entry = world.seal("analytics/phone.app", vec![other(9)], &[], 0);
    fails(&early(world.evidence()), Check::ReceiptRows);
    // Taken afterwards, from a file that can have had them.
    world.seal("analytics/phone.app", Vec::new(), &[entry], 1);
    let lines = check(&early(world.evidence()));
    assert!(
        of(&lines, Check::ReceiptRows).iter().any(|line| line.assumption == Some(Assumption::TakenByLoggedRemoval)),
        "{}",
        text(&lines)
    );
    // A field that had expired before is in no row, and changes none.
    let bent = |later: bool| {
        let mut world = World::new();
        let mut mine = world.mine("analytics", 3, 1);
        if !later {
            world.entries.push(expired(Some("model")));
        }
        world.receipt(3, &[("analytics", 3, vec![mine.clone()])]);
        mine.model = "P9";
        world.seal("analytics/phone.app", vec![mine], &[], 0);
        if later {
            world.entries.push(expired(Some("model")));
        }
        early(world.evidence())
    };
    names(&bent(true), Check::ReceiptRows, Assumption::FieldExpired);
    fails(&bent(false), Check::ReceiptRows);
}

#[test]
fn an_answer_cannot_make_a_checker_work_for_nothing() {
    // A column of its own for each of so many rows, in one file.
    let world = World::new();
    let mut evidence = world.evidence();
    let answer = &mut evidence.subjects[0].answer;
    let row = answer.rows[0].clone();
    let first = Rows::encode(&columns(&[world.mine("analytics", 1, 1)]), DAY).unwrap().row(0).to_vec();
    for number in 0..5_000_u32 {
        let name = format!("zz{number:06}");
        let own = [&(name.len() as u32).to_be_bytes()[..], name.as_bytes(), b"i", &[0; 8]].concat();
        answer.rows.push(Row { row: URL_SAFE_NO_PAD.encode([&first[..], &own].concat()), ..row.clone() });
    }
    let lines = check(&evidence);
    let refused = |line: &&Line| line.why.as_ref().is_some_and(|why| why.contains("cannot be in one file"));
    assert!(of(&lines, Check::File).iter().any(refused), "{}", text(&lines));
    // Ids without end.
    let mut evidence = assigned(&[(ConsentState::Given, NOW - HOUR)], 1);
    let ids = (0..10_000_u32).map(|number| Sha256Hex(merkle::leaf_hash(&number.to_be_bytes()))).collect();
    evidence.subjects[0].answer.ids = ids;
    let lines = check(&evidence);
    assert_eq!(outcome(&lines), Outcome::Failed);
    assert!(lines.len() < 100, "{} lines", lines.len());
}

#[test]
fn many_rows_of_one_subject_are_read_block_by_block() {
    let mut world = World::new();
    let number = world.entries.len() as u64;
    let mut rows: Vec<Event> =
        (0..20_000).map(|at| Event { time: NOW + at, ..world.mine("analytics", 3, 1) }).collect();
    rows.push(other(3));
    world.receipt(3, &[("analytics", 3, rows[..20_000].to_vec())]);
    world.seal("analytics/phone.app", rows, &[], 0);
    let lines = check(&early(world.evidence()));
    assert_eq!(outcome(&lines), Outcome::Holds, "{}", text(&lines));
    let about = format!("entry {number}");
    let file = of(&lines, Check::File).into_iter().find(|line| line.about.as_ref().unwrap().contains(&about)).unwrap();
    assert_eq!(file.verdict, Verdict::ProvedIfRecomputed, "{file}");
}
