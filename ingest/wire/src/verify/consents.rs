//! Statements of consent: their chain, their place in the log, and whether what is stored was consented to.

use std::collections::{BTreeMap, BTreeSet};

use candor_policy::consent::ConsentState;
use candor_policy::policy::{LegalBasis, Policy, Purpose};

use super::answer::Row;
use super::documents::Documents;
use super::files::View;
use super::line::{Assumption, Check, Lines};
use super::log::{Log, seen_checkpoint};
use super::rows::ReadRow;
use crate::counted::{counted, counted_and};
use crate::log::entry::{Consents, Entry, Sha256Hex};
use crate::merkle::{self, Hash};
use crate::receipt::Receipt;
use crate::statement::{Statement, consent_leaf, verify_chain};

/// What a withdrawal that is being acknowledged may be overtaken by.
const RACE: i64 = 60_000_000;
/// In what time a statement is part of the epoch that is open: what receipts promise of rows.
const LOGGED_WITHIN: i64 = 3_600_000_000;
const DAY: i64 = 86_400_000_000;

/// A statement, and when it came.
struct Said<'a> {
    statement: &'a Statement,
    /// µs UTC, as the service says.
    received_at: i64,
    /// The entry of the log that binds it, where it is shown that one does.
    entry: Option<u64>,
}

/// When a batch came, or the rows of a day did, as far as somebody knows it who was not there.
struct Came {
    /// Not before, µs UTC.
    from: i64,
    /// Not after, µs UTC.
    until: i64,
    /// How many entries the log had, where a receipt says it.
    size: Option<u64>,
    /// The highest number of a statement that had been named to the service by then, as other receipts show.
    named: i64,
}

/// The statements that rows are under, by purpose and batch.
type Under<'a> = BTreeMap<(&'a str, Option<i64>), BTreeSet<i64>>;

pub(super) fn check(view: &View<'_>, log: &Log, documents: &Documents<'_>, lines: &mut Lines) {
    check_chain(view, lines);
    let logged = check_logged(view, log, lines);
    check_complete(view, lines);
    let said = |statement| {
        let entry = hash_of(statement).and_then(|hash| logged.get(&Sha256Hex(hash)).copied());
        Some(Said { statement, received_at: time_of(statement)?, entry })
    };
    let said: Vec<Said<'_>> = view.subject.answer.statements.iter().filter_map(said).collect();
    check_rows(view, &said, documents, lines);
    let mut under: Under<'_> = BTreeMap::new();
    for Row { purpose, batch, consent_seq, .. } in view.rows.iter().map(|row| row.row) {
        // The statement before the first has no number in a row.
        under.entry((purpose, *batch)).or_default().insert(consent_seq.unwrap_or(0));
    }
    let mut policies = BTreeMap::new();
    let origin = &log.checkpoint.origin;
    let named = named(view, origin);
    let receipts = view.subject.receipts.iter().map(|given| &given.receipt);
    for receipt in receipts.filter(|receipt| receipt.purposes.values().any(|purpose| purpose.stored > 0)) {
        let digest = receipt.policy.as_str();
        let policy = policies.entry(digest).or_insert_with(|| documents.policy(digest)).as_ref();
        let came = Came::of_receipt(receipt, origin, &named);
        check_receipt(view, (receipt, &came), (&said, &under), policy, lines);
        if let Some(policy) = policy {
            check_in_force(view, (receipt, &came), &said, policy, lines);
        }
    }
}

impl Came {
    fn of_receipt(receipt: &Receipt, origin: &str, named: &BTreeMap<u64, i64>) -> Self {
        let size = receipt.checkpoint.as_deref().and_then(|text| seen_checkpoint(text, origin)).map(|(size, _)| size);
        let before = size.and_then(|size| named.range(..size).next_back());
        let named = before.map_or(0, |(_, named)| *named);
        Self { from: receipt.received_at, until: receipt.received_at, size, named }
    }

    /// Of rows whose receipt nobody has, no more is known than their day.
    fn of_day(day: i32) -> Self {
        let from = i64::from(day).saturating_mul(DAY);
        Self { from, until: from.saturating_add(DAY), size: None, named: 0 }
    }

    /// Whether a statement was there before. When it was received is the service's word, which counts against it alone. What was in
    /// the log is not.
    fn is_after(&self, one: &Said<'_>) -> bool {
        let was_logged = one.entry.zip(self.size).is_some_and(|(entry, size)| entry < size);
        was_logged || one.received_at.saturating_add(RACE) < self.from
    }

    /// Whether a statement can have been there before.
    fn may_be_after(&self, one: &Said<'_>) -> bool {
        one.received_at <= self.until.saturating_add(RACE)
    }
}

/// The highest number of a statement that batches had named when the log had so many entries, and before: each of them was taken, so
/// that the service knew one of that number, or of a higher one. In the order of batches these sizes never fall.
fn named(view: &View<'_>, origin: &str) -> BTreeMap<u64, i64> {
    let given = view.subject.receipts.iter().map(|given| &given.receipt);
    let kept = view.subject.kept_receipts.iter().flatten().map(|signed| &signed.receipt);
    let mut named: BTreeMap<u64, i64> = BTreeMap::new();
    for receipt in given.chain(kept) {
        if let Some(((size, _), number)) =
            receipt.checkpoint.as_deref().and_then(|text| seen_checkpoint(text, origin)).zip(receipt.consent)
        {
            let highest = named.entry(size).or_default();
            *highest = number.max(*highest);
        }
    }
    let mut so_far = 0;
    for highest in named.values_mut() {
        so_far = so_far.max(*highest);
        *highest = so_far;
    }
    named
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
        Ok(()) if statements.iter().any(|statement| time_of(statement).is_none()) => {
            lines.failed(Check::Statements, name, "a statement does not say when it was received");
        }
        Ok(()) if view.subject.key.is_none() && !statements.is_empty() => {
            lines.not_provable(Check::Statements, name, Assumption::AssertedByController);
        }
        Ok(()) => lines.proved(Check::Statements, name, counted(statements.len(), "statement")),
    }
}

/// The statements that are in the log, with the numbers of the entries that bind them.
fn check_logged(view: &View<'_>, log: &Log, lines: &mut Lines) -> BTreeMap<Sha256Hex, u64> {
    let mut epochs: BTreeMap<u64, (u64, &Consents)> = BTreeMap::new();
    for (number, entry) in (0..).zip(&log.entries) {
        if let Entry::Consents(consents) = entry {
            epochs.insert(consents.epoch, (number, consents));
        }
    }
    let mut logged = BTreeMap::new();
    for place in &view.subject.answer.consents {
        let leaf = consent_leaf(&place.nonce, &place.statement.0);
        let entry = epochs.get(&place.epoch).filter(|(_, consents)| {
            merkle::root_of_path(leaf, place.index, consents.size, &place.hashes()) == Some(consents.root.0)
        });
        if let Some((number, _)) = entry {
            logged.insert(place.statement, *number);
        } else {
            let about = view.about(format!("epoch {} of the log", place.epoch));
            lines.failed(Check::StatementLogged, about, "its path does not lead to the root in the log");
        }
    }
    let statements = &view.subject.answer.statements;
    let is_open = |one: &&Statement| hash_of(one).is_some_and(|hash| !logged.contains_key(&Sha256Hex(hash)));
    let epochs = epochs_of(view, log);
    // What came before there was a log is in no epoch.
    let is_late =
        |time: i64| epochs.is_some_and(|(first, last)| first <= time && last >= time.saturating_add(LOGGED_WITHIN));
    let (late, open): (Vec<&Statement>, Vec<&Statement>) =
        statements.iter().filter(is_open).partition(|one| time_of(one).is_some_and(is_late));
    let (late, open) = (late.len(), open.len());
    if statements.len() > open + late {
        let count = statements.len() - open - late;
        lines.proved(Check::StatementLogged, view.subject.name(), counted(count, "statement"));
    }
    if late > 0 {
        let why = "in no epoch that is closed, and one that began more than an hour later is";
        lines.failed(Check::StatementLogged, view.about(counted(late, "statement")), why);
    }
    if open > 0 {
        lines.not_provable(Check::StatementLogged, view.about(counted(open, "statement")), Assumption::NotSealedYet);
    }
    logged
}

/// When the first epoch began that the log of the answer has, and when the last did; none where it has none. One that ended before it
/// began says nothing: the clock was ahead.
fn epochs_of(view: &View<'_>, log: &Log) -> Option<(i64, i64)> {
    let note = view.subject.answer.checkpoint.as_deref()?;
    let (size, _) = seen_checkpoint(note, &log.checkpoint.origin)?;
    let begun = (0..size).zip(&log.entries).filter_map(|(_, entry)| match entry {
        Entry::Totals(totals) if totals.from <= totals.to => Some(totals.from),
        _ => None,
    });
    begun.clone().next().zip(begun.max())
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
        let why = format!("the device made {} that the service does not show", counted(withheld, "statement"));
        return lines.failed(Check::StatementsComplete, name(), why);
    }
    lines.proved(Check::StatementsComplete, name(), counted(kept.len(), "statement"));
}

/// Each row is under a statement that does not speak against it, and of a day before which none did.
fn check_rows(view: &View<'_>, said: &[Said<'_>], documents: &Documents<'_>, lines: &mut Lines) {
    let (mut wrong, mut unplanned) = (0_usize, 0_usize);
    let mut policies = BTreeMap::new();
    // Rows are many, and what they are under is not.
    let mut known: BTreeMap<(&str, &str, Option<i64>, i32), Option<bool>> = BTreeMap::new();
    for row in &view.rows {
        let Row { policy: digest, purpose: name, consent_seq, .. } = row.row;
        let policy = policies.entry(digest.as_str()).or_insert_with(|| documents.policy(digest));
        let is_covered = known.entry((digest, name, *consent_seq, row.day())).or_insert_with(|| {
            let purpose = policy.as_ref()?.purposes.iter().find(|one| one.name == *name)?;
            Some(is_covered(said, row, purpose) && (view.subject.key.is_some() || is_timely(said, row, purpose)))
        });
        match is_covered {
            None => unplanned += 1,
            Some(false) => wrong += 1,
            Some(true) => {}
        }
    }
    let (name, rows) = (view.subject.name(), view.rows.len());
    if wrong > 0 {
        lines.failed(
            Check::Consent,
            name,
            format!("{wrong} of {} not consented to when stored", counted_and(rows, "row", "was", "were")),
        );
    } else if unplanned > 0 {
        lines.unchecked(
            Check::Consent,
            name,
            format!("{unplanned} of {}: no policy of theirs is there", counted(rows, "row")),
        );
    } else if rows > 0 {
        lines.proved(Check::Consent, name, counted(rows, "row"));
    }
}

/// By its day: where there is a receipt, [`check_receipt`] knows it better.
fn is_covered(said: &[Said<'_>], row: &ReadRow<'_>, purpose: &Purpose) -> bool {
    is_allowed(said, row.row.consent_seq.unwrap_or(0), &Came::of_day(row.day()), purpose, row.day())
}

/// Whether a row of a subject that has no receipts can have been stored on its day: of what was said before that day began, the newest
/// allows it, or something that was said since then, up to what it is stored under.
fn is_timely(said: &[Said<'_>], row: &ReadRow<'_>, purpose: &Purpose) -> bool {
    let begins = i64::from(row.day()).saturating_mul(DAY);
    let ends = begins.saturating_add(DAY);
    let before = said.iter().filter(|one| one.received_at.saturating_add(RACE) < begins);
    let Some(newest) = before.map(|one| one.statement.sequence).max() else { return true };
    let under = row.row.consent_seq.unwrap_or(0);
    let counts = |one: &&Said<'_>| {
        let since = one.statement.sequence <= under && one.received_at < ends.saturating_add(RACE);
        one.statement.sequence == newest || one.statement.sequence > newest && since
    };
    let allow = |one: &Said<'_>| allows(purpose, state([one.statement], purpose, row.day()).unwrap_or_default());
    said.iter().filter(counts).any(allow)
}

/// Whether what had been said under a number allows a purpose: a device may leave a number out, and what it said before holds then.
///
/// Two statements of one number hold together from the moment that the service has both, and what was stored before is as right as it
/// was. So the second one counts against what came after it, and no later word of the service takes away what the log, or a number
/// that was named to it, shows that it knew. Of what came with the batch, within [`RACE`], nobody can tell which of them was there:
/// one must have been, and each more of them takes away only.
fn is_allowed(said: &[Said<'_>], number: i64, came: &Came, purpose: &Purpose, day: i32) -> bool {
    let held = said.iter().map(|one| one.statement.sequence).filter(|other| *other <= number).max();
    let Some(held) = held else { return allows(purpose, ConsentState::default()) };
    // No statement of a number is taken once there is a higher one, and no batch that names a number higher than all of them.
    let is_past = |one: &Said<'_>| one.statement.sequence > held && came.is_after(one);
    let is_closed = held < number || held < came.named || said.iter().any(is_past);
    let all: Vec<&Said<'_>> = said.iter().filter(|one| one.statement.sequence == held).collect();
    let were_there: Vec<&Said<'_>> = all.iter().copied().filter(|one| is_closed || came.is_after(one)).collect();
    let allow = |some: &[&Said<'_>]| {
        let statements = some.iter().map(|one| one.statement);
        allows(purpose, state(statements, purpose, day).unwrap_or_default())
    };
    if !were_there.is_empty() {
        return allow(&were_there);
    }
    let mut possible = all.iter().copied().filter(|one| came.may_be_after(one)).peekable();
    // The number was named, so that one of them was there: if none was by its time, times say nothing here.
    if possible.peek().is_none() { allow(&all) } else { possible.any(|one| allow(&[one])) }
}

/// What a batch stored is under the statement that its receipt names, and that statement allows it.
fn check_receipt(
    view: &View<'_>,
    (receipt, came): (&Receipt, &Came),
    (said, under): (&[Said<'_>], &Under<'_>),
    policy: Option<&Policy>,
    lines: &mut Lines,
) {
    let Some(sequence) = receipt.consent else { return };
    for (name, stored) in receipt.purposes.iter().filter(|(_, purpose)| purpose.stored > 0) {
        let about = || view.about(format!("batch {}, {name}", receipt.batch));
        let number = stored.batch.and_then(|batch| i64::try_from(batch).ok());
        if under.get(&(name, number)).is_some_and(|under| under.iter().any(|other| *other != sequence)) {
            lines.failed(Check::Consent, about(), "its rows are under another statement than its receipt names");
        }
        let Some(purpose) = policy.and_then(|policy| policy.purposes.iter().find(|one| one.name == *name)) else {
            continue;
        };
        let day = receipt.received_at.div_euclid(DAY) as i32;
        if !is_allowed(said, sequence, came, purpose, day) {
            lines.failed(Check::Consent, about(), "the statement that its receipt names does not allow it");
        }
    }
}

/// Nothing that came in well after a withdrawal was received, or after the log had it, was stored.
fn check_in_force(
    view: &View<'_>,
    (receipt, came): (&Receipt, &Came),
    said: &[Said<'_>],
    policy: &Policy,
    lines: &mut Lines,
) {
    let before: Vec<&Said<'_>> = said.iter().filter(|one| came.is_after(one)).collect();
    let Some(newest) = before.iter().map(|one| one.statement.sequence).max() else { return };
    let in_force = before.iter().filter(|one| one.statement.sequence == newest).map(|one| one.statement);
    // What was received since then may have changed it back; not so another one of that number, which takes away only.
    let raced = said.iter().filter(|one| !came.is_after(one) && came.may_be_after(one));
    let raced = raced.map(|one| one.statement).filter(|one| one.sequence > newest);
    let day = receipt.received_at.div_euclid(DAY) as i32;
    for purpose in policy.purposes.iter().filter(|one| receipt.purposes.get(&one.name).is_some_and(|of| of.stored > 0))
    {
        let allowed = |state: Option<ConsentState>| allows(purpose, state.unwrap_or_default());
        let changed_back = || raced.clone().any(|one| allowed(state([one], purpose, day)));
        if !allowed(state(in_force.clone(), purpose, day)) && !changed_back() {
            let about = view.about(format!("batch {}, {}", receipt.batch, purpose.name));
            lines.failed(Check::Consent, about, "it was stored after a statement that did not allow it");
        }
    }
}

/// When a service says that it received a statement, µs UTC.
fn time_of(statement: &Statement) -> Option<i64> {
    statement.received_at.parse::<jiff::Timestamp>().ok().map(jiff::Timestamp::as_microsecond)
}

/// What statements say together of a purpose on a day; none if there is none.
fn state<'a>(statements: impl IntoIterator<Item = &'a Statement>, purpose: &Purpose, day: i32) -> Option<ConsentState> {
    Statement::together(statements, &purpose.name).ok()?.map(|consent| consent.state(0, day))
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
