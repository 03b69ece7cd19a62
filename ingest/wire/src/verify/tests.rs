//! An operator that lies: each lie fails, or a line says by name what no proof can show.

use candor_policy::consent::ConsentState;
use proptest::prelude::*;

use super::testing::*;
use super::*;
use crate::identity::SubjectKey;
use crate::log::entry::{Entry, Sha256Hex};
use crate::log::note::{Algorithm, Signer};

pub(super) fn of(lines: &[Line], wanted: Check) -> Vec<&Line> {
    lines.iter().filter(|line| line.check == wanted).collect()
}

pub(super) fn text(lines: &[Line]) -> String {
    lines.iter().map(ToString::to_string).collect::<Vec<_>>().join("\n")
}

/// Something of this kind failed.
#[track_caller]
pub(super) fn fails(evidence: &Evidence, wanted: Check) {
    let lines = check(evidence);
    assert_eq!(outcome(&lines), Outcome::Failed, "{}", text(&lines));
    assert!(
        of(&lines, wanted).iter().any(|line| line.verdict == Verdict::Failed),
        "{wanted:?} holds:\n{}",
        text(&lines)
    );
}

/// Nothing failed, and a line names the assumption.
#[track_caller]
pub(super) fn names(evidence: &Evidence, wanted: Check, assumption: Assumption) {
    let lines = check(evidence);
    assert_eq!(outcome(&lines), Outcome::Holds, "{}", text(&lines));
    assert!(of(&lines, wanted).iter().any(|line| line.assumption == Some(assumption)), "{}", text(&lines));
}

#[test]
fn the_truth_holds_and_says_what_it_rests_on() {
    let evidence = World::new().evidence();
    let lines = check(&evidence);
    assert_eq!(outcome(&lines), Outcome::Holds, "{}", text(&lines));
    let verdicts = |check| of(&lines, check).iter().map(|line| line.verdict).collect::<Vec<_>>();
    for check in [
        Check::LogKey,
        Check::Checkpoint,
        Check::Entries,
        Check::Rules,
        Check::ReceiptCheckpoints,
        Check::Documents,
        Check::Files,
        Check::Rows,
        Check::Reasons,
        Check::Ids,
        Check::Receipts,
        Check::ReceiptsComplete,
        Check::Totals,
        Check::Statements,
        Check::StatementLogged,
        Check::StatementsComplete,
        Check::Consent,
    ] {
        assert_eq!(verdicts(check), [Verdict::Proved], "{check:?}:\n{}", text(&lines));
    }
    assert_eq!(verdicts(Check::File), [Verdict::ProvedIfRecomputed; 3]);
    assert_eq!(verdicts(Check::ReceiptRows), [Verdict::Proved; 3]);
    for check in [Check::Kept, Check::Witness, Check::Fresh, Check::Beyond] {
        assert_eq!(verdicts(check), [Verdict::NotProvable], "{check:?}");
    }
}

#[test]
fn an_auditor_turns_if_into_proved_and_only_one_who_is_known() {
    let world = World::new();
    let mut evidence = world.evidence();
    let key = SubjectKey::of_seed(&[4; 32]);
    let files = [6_u8, 7, 8].map(|number| Sha256Hex([number; 32])).to_vec();
    let checkpoint = world.checkpoint(9);
    let statement = AuditStatement {
        kind: AuditKind::Audit,
        auditor: "auditor.example".to_owned(),
        log: checkpoint.origin,
        size: 9,
        root: Sha256Hex(checkpoint.root),
        files,
        at: NOW,
    };
    evidence.audits = vec![statement.clone().sign(&key).unwrap().to_json().unwrap()];
    fails(&evidence, Check::Auditor);
    evidence.trust.auditors = vec![AuditStatement::verifier("auditor.example", &key).unwrap()];
    let lines = check(&evidence);
    assert!(of(&lines, Check::File).iter().all(|line| line.verdict == Verdict::Proved), "{}", text(&lines));
    let other = AuditStatement { root: Sha256Hex([1; 32]), ..statement.clone() }.sign(&key).unwrap();
    fails(&Evidence { audits: vec![other.to_json().unwrap()], ..evidence.clone() }, Check::Auditor);
    let mut more = statement.sign(&key).unwrap();
    more.statement.files.push(Sha256Hex([9; 32]));
    fails(&Evidence { audits: vec![more.to_json().unwrap()], ..evidence }, Check::Auditor);
}

#[test]
fn an_auditors_word_is_about_entries_that_he_read_and_not_about_later_ones_of_the_same_bytes() {
    let mut world = World::new();
    let key = SubjectKey::of_seed(&[4; 32]);
    let read = world.checkpoint(world.entries.len());
    let statement = AuditStatement {
        kind: AuditKind::Audit,
        auditor: "auditor.example".to_owned(),
        log: read.origin,
        size: read.size,
        root: Sha256Hex(read.root),
        files: [6_u8, 7, 8].map(|number| Sha256Hex([number; 32])).to_vec(),
        at: NOW,
    };
    // The same bytes as he recomputed, it says, under a root that he has not seen.
    let number = world.seal("analytics/phone.app", vec![other(1), other(4)], &[7], 0);
    if let Entry::Sealed(sealed) = &mut world.entries[number as usize] {
        sealed.file = Sha256Hex([7; 32]);
    }
    let mut evidence = world.evidence();
    evidence.audits = vec![statement.sign(&key).unwrap().to_json().unwrap()];
    evidence.trust.auditors = vec![AuditStatement::verifier("auditor.example", &key).unwrap()];
    let lines = check(&evidence);
    let of_entry = |wanted: &str| {
        let is_it = |line: &&Line| line.about.as_ref().is_some_and(|about| about.ends_with(wanted));
        of(&lines, Check::File).into_iter().find(is_it).unwrap().verdict
    };
    assert_eq!(of_entry("(entry 6)"), Verdict::Proved, "{}", text(&lines));
    assert_eq!(of_entry(&format!("(entry {number})")), Verdict::ProvedIfRecomputed, "{}", text(&lines));
}

#[test]
fn every_byte_of_an_auditors_statement_counts() {
    let key = SubjectKey::of_seed(&[4; 32]);
    let statement = AuditStatement {
        kind: AuditKind::Audit,
        auditor: "a".to_owned(),
        log: "l".to_owned(),
        size: 9,
        root: Sha256Hex([2; 32]),
        files: vec![Sha256Hex([1; 32]), Sha256Hex([3; 32])],
        at: NOW,
    };
    let known = [AuditStatement::verifier("a", &key).unwrap()];
    let json = statement.sign(&key).unwrap().to_json().unwrap();
    assert_eq!(SignedAudit::from_json(&json).unwrap().verify(&known), Ok(()));
    for (at, flip) in (0..json.len()).flat_map(|at| (0..8).map(move |bit| (at, 1_u8 << bit))) {
        let mut other = json.clone();
        other[at] ^= flip;
        assert!(SignedAudit::from_json(&other).and_then(|audit| audit.verify(&known)).is_err(), "{at} {flip}");
    }
}

#[test]
fn a_file_that_lies_about_itself_is_named_as_provable_by_an_auditor_only() {
    for lie in [
        // My leaf twice: one is shown, the other holds rows that are not.
        (|file: &mut testing::File, me: &str| file.leaves.push(file.leaf(me))) as fn(&mut testing::File, &str),
        // My leaf where nobody looks: absence is shown between two others.
        |file, me| {
            let mine = file.leaves.iter().position(|leaf| leaf.salted == crate::leaf::salted(&file.salt, me)).unwrap();
            let leaf = file.leaves.remove(mine);
            file.leaves.push(leaf);
            file.leaves.reverse();
        },
    ] {
        let mut world = World::new();
        let (number, me) = (6, world.mine("analytics", 1, 1).subject);
        let file = world.files.get_mut(&number).unwrap();
        lie(file, &me);
        let (root, subjects) = (Sha256Hex(file.root()), file.leaves.len() as u64);
        if let Entry::Sealed(sealed) = &mut world.entries[number as usize] {
            (sealed.root, sealed.subjects) = (root, subjects);
        }
        let lines = check(&world.evidence());
        let said = of(&lines, Check::File);
        let about =
            said.iter().find(|line| line.about.as_ref().is_some_and(|about| about.contains("entry 6"))).unwrap();
        let named = about.assumption == Some(Assumption::FileRecomputed) && outcome(&lines) == Outcome::Holds;
        assert!(named || about.verdict == Verdict::Failed, "{}", text(&lines));
    }
}

#[test]
fn a_row_dropped_at_compaction_breaks_the_arithmetic_or_is_counted() {
    let mut world = World::new();
    let fewer = vec![world.mine("analytics", 1, 1), other(1), other(4)];
    world.seal("analytics/phone.app", fewer.clone(), &[6, 7], 0);
    let mut evidence = World::new().evidence();
    evidence.entries = Some(world.entries.iter().map(|entry| entry.encode().unwrap()).collect());
    evidence.checkpoint = Some(world.note(world.entries.len()).to_string().into_bytes());
    fails(&evidence, Check::Rules);
    // Counted as removed, it is not there for me: my receipts tell, and the count says how many it was.
    let mut world = World::new();
    world.seal("analytics/phone.app", fewer, &[6, 7], 5);
    let lines = check(&world.evidence());
    let told = of(&lines, Check::ReceiptRows);
    assert!(told.iter().any(|line| line.assumption == Some(Assumption::TakenByLoggedRemoval)), "{}", text(&lines));
}

#[test]
fn rows_that_were_never_sealed_are_missed_by_their_receipt() {
    let mut world = World::new();
    let mine = world.mine("analytics", 3, 1);
    // The operator seals a file without them from the start: nothing was removed, so the log agrees with itself.
    world.receipt(3, &[("analytics", 3, vec![mine])]);
    world.seal("analytics/phone.app", vec![other(7)], &[], 0);
    fails(&world.evidence(), Check::ReceiptRows);
}

#[test]
fn an_answer_lacks_nothing_unseen() {
    let honest = World::new().evidence();
    let with = |change: fn(&mut SubjectEvidence)| {
        let mut evidence = honest.clone();
        change(&mut evidence.subjects[0]);
        evidence
    };
    // A row; a file; a table; a receipt, here and there.
    fails(&with(|subject| _ = subject.answer.rows.remove(0)), Check::File);
    fails(&with(|subject| _ = subject.answer.files.remove(1)), Check::Files);
    fails(
        &with(|subject| {
            subject.answer.rows.retain(|row| row.purpose != "diagnostics");
            subject.answer.files.truncate(2);
        }),
        Check::Files,
    );
    fails(&with(|subject| _ = subject.receipts.remove(0)), Check::ReceiptsComplete);
    fails(
        &with(|subject| {
            subject.receipts.remove(1);
            subject.answer.batches = Some(Batches { next: 2, missing: Vec::new() });
        }),
        Check::ReceiptsComplete,
    );
    // Rows and receipt together, from somebody who kept nothing: its leaf tells.
    fails(
        &with(|subject| {
            subject.kept_receipts = None;
            subject.receipts.remove(1);
            subject.answer.batches = Some(Batches { next: 2, missing: Vec::new() });
            subject.answer.rows.retain(|row| row.batch != Some(2));
        }),
        Check::File,
    );
    // More than there is.
    fails(&with(|subject| subject.answer.rows.push(subject.answer.rows[0].clone())), Check::File);
    fails(&with(|subject| subject.answer.files.push(subject.answer.files[0].clone())), Check::Files);
    fails(&with(|subject| subject.answer.rows[0].file = Some("tables/analytics/phone.app/x".to_owned())), Check::Files);
    // The answer of somebody else.
    fails(&with(|subject| subject.key = Some(stranger())), Check::Ids);
}

#[test]
fn what_is_shown_is_what_is_proved() {
    let honest = World::new().evidence();
    let with = |change: fn(&mut Row)| {
        let mut evidence = honest.clone();
        change(&mut evidence.subjects[0].answer.rows[0]);
        evidence
    };
    fails(&with(|row| row.fields[1].value = "another".into()), Check::Rows);
    fails(&with(|row| _ = row.fields.remove(0)), Check::Rows);
    fails(&with(|row| row.event = "phone.app.closed".to_owned()), Check::Rows);
    fails(&with(|row| row.consent_seq = Some(7)), Check::Rows);
    fails(&with(|row| row.received_date = "2026-11-23".to_owned()), Check::Rows);
    fails(&with(|row| row.row.push('A')), Check::Rows);
    fails(&with(|row| row.fields[1].rule = "another".to_owned()), Check::Reasons);
    fails(&with(|row| row.fields[1].operator = "hmac(key=analytics)".to_owned()), Check::Reasons);
    fails(&with(|row| row.batch = Some(2)), Check::File);
}

#[test]
fn a_split_policy_is_none_that_the_log_has() {
    let mut world = World::new();
    let other = candor_policy::policy::Policy::parse(&POLICY.replace("hour", "day"), "policy.toml").unwrap();
    // Rows under a policy of their own: the receipt names it, the log does not.
    let mut evidence = world.evidence();
    evidence.documents.insert(*other.digest.as_bytes(), other.canonical.clone().into_bytes());
    fails(&evidence, Check::Documents);
    world.receipts[0].policy = other.digest.to_string();
    fails(&world.evidence(), Check::Receipts);
    // A document that is shown under the digest of another.
    let mut evidence = World::new().evidence();
    let first = *evidence.documents.keys().next().unwrap();
    evidence.documents.get_mut(&first).unwrap().push(b' ');
    fails(&evidence, Check::Documents);
    // None at all.
    let mut evidence = World::new().evidence();
    evidence.documents.clear();
    assert_eq!(outcome(&check(&evidence)), Outcome::Unchecked);
}

#[test]
fn a_hidden_sealed_is_rows_that_are_nowhere() {
    let mut world = World::new();
    let mine = world.mine("diagnostics", 2, 1);
    world.receipt(3, &[("diagnostics", 2, vec![mine.clone()])]);
    // The file is there and the log does not say so: my receipt is missed, or its rows are in a file that nobody knows.
    fails(&world.evidence(), Check::ReceiptRows);
    let mut evidence = world.evidence();
    let file = "tables/diagnostics/phone.app/received_date=2026-11-22/part-ff.parquet".to_owned();
    let row = world.row("diagnostics", &mine, Some(file));
    evidence.subjects[0].answer.rows.push(row);
    fails(&evidence, Check::Files);
    // Called pending, it is so until seal_by.
    world.pending.push(("diagnostics".to_owned(), mine));
    fails(&world.evidence(), Check::ReceiptRows);
    let mut evidence = world.evidence();
    evidence.asked_at = NOW + HOUR / 2;
    let lines = check(&evidence);
    assert!(of(&lines, Check::ReceiptRows).iter().any(|line| line.assumption == Some(Assumption::NotSealedYet)));
}

#[test]
fn a_rolled_back_or_forked_log_is_noticed_by_whoever_kept_a_checkpoint() {
    let world = World::new();
    let kept = Some(world.note(world.entries.len()).to_string().into_bytes());
    let honest = world.evidence();
    let trusting = |evidence: &Evidence| {
        let mut evidence = evidence.clone();
        evidence.trust.kept.clone_from(&kept);
        evidence
    };
    assert_eq!(of(&check(&trusting(&honest)), Check::Kept)[0].verdict, Verdict::Proved);
    // An old log: shorter than what I kept, and than what a receipt saw.
    let mut old = honest.clone();
    old.entries.as_mut().unwrap().truncate(9);
    old.checkpoint = Some(world.note(9).to_string().into_bytes());
    fails(&trusting(&old), Check::Kept);
    old.entries.as_mut().unwrap().truncate(3);
    old.checkpoint = Some(world.note(3).to_string().into_bytes());
    fails(&old, Check::ReceiptCheckpoints);
    // Another log: as long, with other entries.
    let mut fork = World::new();
    if let Entry::Totals(totals) = &mut fork.entries[9] {
        totals.hidden = Sha256Hex([4; 32]);
    }
    fails(&trusting(&fork.evidence()), Check::Kept);
    names(&fork.evidence(), Check::Kept, Assumption::NoKeptCheckpoint);
    names(&fork.evidence(), Check::Witness, Assumption::NoWitness);
    // Forked before a receipt was given.
    let mut early = World::new();
    if let Entry::Catalogue(document) = &mut early.entries[3] {
        document.since = 2;
    }
    fails(&early.evidence(), Check::ReceiptCheckpoints);
}

#[test]
fn an_answer_is_not_older_than_the_receipts_that_it_knows_of() {
    let world = World::new();
    let mut evidence = world.evidence();
    let newest = world.entries.len();
    let subject = &mut evidence.subjects[0];
    subject.answer.checkpoint = Some(world.note(newest - 1).to_string());
    let older = |lines: &[Line]| lines.iter().any(|line| line.why.as_ref().is_some_and(|why| why.contains("older")));
    assert!(!older(&check(&evidence)));
    let subject = &mut evidence.subjects[0];
    let last = subject.receipts.last_mut().unwrap();
    last.receipt.checkpoint = Some(world.checkpoint(newest).to_string());
    let number = last.receipt.batch;
    assert!(older(&check(&evidence)));
    // It came in when the answer was made already.
    evidence.subjects[0].answer.batches.as_mut().unwrap().next = number;
    assert!(!older(&check(&evidence)));
    // A device that kept it had it before it asked.
    let kept = evidence.subjects[0].receipts.last().unwrap().signed();
    evidence.subjects[0].kept_receipts = Some(vec![kept]);
    assert!(older(&check(&evidence)));
}

#[test]
fn a_witness_says_that_it_saw_the_same_log_and_when() {
    let world = World::new();
    let mut evidence = world.evidence();
    let witness = Signer::new("witness.example", Algorithm::Cosignature, &[3; 32]).unwrap();
    evidence.trust.witnesses = vec![witness.verifier().clone()];
    assert_eq!(outcome(&check(&evidence)), Outcome::Unchecked);
    let sign = |at: i64| {
        let mut note = world.note(world.entries.len());
        note.add(witness.sign(note.text(), (at / 1_000_000) as u64));
        Some(note.to_string().into_bytes())
    };
    evidence.checkpoint = sign(NOW);
    let lines = check(&evidence);
    assert_eq!(of(&lines, Check::Witness)[0].verdict, Verdict::Proved, "{}", text(&lines));
    assert_eq!(of(&lines, Check::Fresh)[0].verdict, Verdict::Proved);
    evidence.checkpoint = sign(NOW - 48 * HOUR);
    names(&evidence, Check::Fresh, Assumption::NoTime);
    // A line that bears its name and is not its.
    let mut note = world.note(world.entries.len());
    note.add(witness.sign("another\n", 1));
    evidence.checkpoint = Some(note.to_string().into_bytes());
    fails(&evidence, Check::Checkpoint);
}

#[test]
fn a_withheld_withdrawal_is_noticed_by_whoever_made_it_or_by_what_names_it() {
    let mut world = World::new();
    world.state(ConsentState::Withdrawn, NOW + 2);
    let kept = world.statements.clone();
    let withheld = |keep: bool| {
        let mut evidence = World::new().evidence();
        evidence.subjects[0].kept_statements = keep.then(|| kept.clone());
        evidence
    };
    fails(&withheld(true), Check::StatementsComplete);
    names(&withheld(false), Check::StatementsComplete, Assumption::StatementsFromService);
    // A receipt that names it, and rows under it.
    let mut world = World::new();
    world.receipts[1].consent = Some(2);
    let mut evidence = world.evidence();
    evidence.subjects[0].kept_statements = None;
    fails(&evidence, Check::StatementsComplete);
    // Stored all the same, long after it was acknowledged, or under it.
    let mut world = World::new();
    world.state(ConsentState::Withdrawn, NOW - HOUR / 2);
    fails(&world.evidence(), Check::Consent);
    let mut world = World::new();
    world.state(ConsentState::Withdrawn, NOW + 2);
    world.pending.push(("analytics".to_owned(), world.mine("analytics", 3, 2)));
    fails(&world.evidence(), Check::Consent);
    // A statement that somebody else made.
    let mut evidence = World::new().evidence();
    evidence.subjects[0].answer.statements[0].purposes.insert("analytics".to_owned(), ConsentState::Refused);
    fails(&evidence, Check::Statements);
}

#[test]
fn a_receipt_of_a_time_that_there_is_not_is_no_end_of_the_program() {
    for time in [i64::MIN, i64::MAX, 0] {
        let mut world = World::new();
        world.receipts[0].received_at = time;
        assert!(!check(&world.evidence()).is_empty());
    }
}

#[test]
fn what_a_bundle_has_beside_its_answers_proves_nothing_by_itself() {
    let world = World::new();
    let own = [Check::Ids, Check::ReceiptsComplete, Check::StatementsComplete];
    let mut evidence = world.evidence();
    evidence.trust.by_bundle = own.to_vec();
    for check in own {
        names(&evidence, check, Assumption::AsTheBundleSays);
    }
    // What is wrong is wrong, whoever says it.
    evidence.subjects[0].receipts.remove(0);
    fails(&evidence, Check::ReceiptsComplete);
}

#[test]
fn counts_that_were_told_are_in_the_totals() {
    let mut evidence = World::new().evidence();
    evidence.subjects[0].receipts[0].totals = None;
    let lines = check(&evidence);
    assert!(of(&lines, Check::Totals).iter().any(|line| line.assumption == Some(Assumption::NotSealedYet)));
    // A later epoch has closed meanwhile: it should have been in one.
    let mut world = World::new();
    world.entries.push(Entry::Totals(crate::log::entry::Totals {
        epoch: 2,
        part: 1,
        parts: 1,
        from: NOW + HOUR,
        to: NOW + 2 * HOUR,
        cells: Vec::new(),
        hidden: Sha256Hex([3; 32]),
        receipts: crate::log::entry::Tree { root: Sha256Hex([3; 32]), size: 0 },
    }));
    let mut evidence = world.evidence();
    evidence.subjects[0].receipts[0].totals = None;
    fails(&evidence, Check::Totals);
    for change in [
        (|place: &mut InEpoch| place.epoch = 2) as fn(&mut InEpoch),
        |place| place.path.index ^= 1,
        |place| place.path.size += 1,
        |place| _ = place.path.beside.pop(),
        |place| place.path.beside[0].hash[0] ^= 1,
    ] {
        let mut evidence = World::new().evidence();
        change(evidence.subjects[0].receipts[0].totals.as_mut().unwrap());
        fails(&evidence, Check::Totals);
    }
}

#[test]
fn an_auditor_opens_what_the_log_bound_and_nothing_else() {
    let world = World::new();
    let opened = World::opened(1, &world.receipts_root());
    let with = |change: fn(&mut crate::totals::Opened)| {
        let mut opened = opened.clone();
        change(&mut opened);
        Evidence { opened: vec![opened], ..world.evidence() }
    };
    let lines = check(&with(|_| ()));
    assert_eq!(of(&lines, Check::Opened)[0].verdict, Verdict::Proved, "{}", text(&lines));
    fails(&with(|opened| opened.cells[0].stored -= 1), Check::Opened);
    fails(&with(|opened| opened.nonce[0] ^= 1), Check::Opened);
    fails(&with(|opened| opened.epoch = 2), Check::Opened);
    // Totals that are less than what devices were told: the log agrees with itself, the receipts do not.
    let mut less = opened.clone();
    (less.cells[0].offered, less.cells[0].stored) = (less.cells[0].offered - 1, less.cells[0].stored - 1);
    let mut world = World::new();
    if let Entry::Totals(totals) = &mut world.entries[9] {
        totals.hidden = Sha256Hex(less.digest().unwrap());
        totals.cells = less.shown(3).cloned().collect();
    }
    fails(&Evidence { opened: vec![less], ..world.evidence() }, Check::Totals);
}

#[test]
fn without_a_key_a_checkpoint_or_entries_nothing_is_said_to_hold() {
    let honest = World::new().evidence();
    let with = |change: fn(&mut Evidence)| {
        let mut evidence = honest.clone();
        change(&mut evidence);
        outcome(&check(&evidence))
    };
    assert_eq!(with(|evidence| evidence.trust.log.clear()), Outcome::Unchecked);
    assert_eq!(with(|evidence| evidence.checkpoint = None), Outcome::Unchecked);
    assert_eq!(with(|evidence| evidence.entries = None), Outcome::Unchecked);
    assert_eq!(with(|evidence| evidence.subjects[0].answer.checkpoint = None), Outcome::Unchecked);
    assert_eq!(with(|evidence| evidence.trust.is_pinned = false), Outcome::Holds);
    assert_eq!(with(|evidence| evidence.trust.receipts = None), Outcome::Holds);
    assert_eq!(with(|evidence| evidence.trust.receipts = Some(stranger())), Outcome::Failed);
    assert_eq!(outcome(&[]), Outcome::Unchecked);
}

proptest! {
    /// Whatever byte of the log is changed, the entries are not those of the checkpoint.
    #[test]
    fn no_byte_of_an_entry_or_a_checkpoint_can_be_changed(entry: prop::sample::Index, place: prop::sample::Index, flip in 1_u8..) {
        let mut evidence = World::new().evidence();
        let entries = evidence.entries.as_mut().unwrap();
        let at = entry.index(entries.len());
        let byte = place.index(entries[at].len());
        entries[at][byte] ^= flip;
        prop_assert_eq!(outcome(&check(&evidence)), Outcome::Failed);
        let mut evidence = World::new().evidence();
        let note = evidence.checkpoint.as_mut().unwrap();
        let byte = place.index(note.len());
        note[byte] ^= flip;
        prop_assert_eq!(outcome(&check(&evidence)), Outcome::Failed);
    }

    /// Whatever character of a proof, a blind or a row is changed, something fails.
    #[test]
    fn no_byte_of_what_is_proved_can_be_changed(file in 0_usize..3, row in 0_usize..4, place: prop::sample::Index, to in "[A-Za-z0-9_-]") {
        let change = |text: &mut String| {
            let at = place.index(text.len());
            let same = text[at..=at] == to;
            text.replace_range(at..=at, &to);
            !same
        };
        for part in 0..3 {
            let mut evidence = World::new().evidence();
            let answer = &mut evidence.subjects[0].answer;
            let changed = match part {
                0 => change(&mut answer.files[file].proof),
                1 => answer.files[file].blind.as_mut().is_some_and(change),
                _ => change(&mut answer.rows[row].row),
            };
            if changed {
                prop_assert_eq!(outcome(&check(&evidence)), Outcome::Failed);
            }
        }
    }
}

#[test]
fn whom_the_service_says_nothing_of_is_missed_by_the_device() {
    let mut evidence = World::new().evidence();
    let ledger = evidence.subjects[0].ledger_id().unwrap();
    evidence.unanswered = vec![Unanswered { ledger, receipts: 3, statements: 0 }];
    fails(&evidence, Check::Answer);
    evidence.subjects.clear();
    fails(&evidence, Check::Answer);
}
