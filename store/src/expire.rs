//! Retention: rows that were kept as long as their purpose says go, and values of fields that expired.
//!
//! It goes by the date of receipt, and only by days that this store believes: `docs/decisions/0026-retention.md`.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use candor_policy::catalogue::Catalogue;
use candor_policy::plan::{Input, Plan};
use candor_policy::policy::Policy;
use candor_policy::retention::Period;
use serde::{Deserialize, Serialize};

use crate::error::{Error, Kind};
use crate::held::compile;
use crate::ledger::Ledger;
use crate::rewrite::{self, Desk, Fate, FileInfo, Rewrite, TableRewrite, describe, guarded};
use crate::table::aside;
use crate::table::commit::LiveFile;
use crate::table::engine::Delta;
use crate::table::layout::{self, TablePath};
use crate::unreadable::Files;

/// Days that the clock may be ahead of the day believed last: a service may have been off for so long. What is further
/// ahead is doubted.
pub(crate) const MOST_DAYS_AHEAD: i32 = 7;

/// How to expire.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct ExpireOptions {
    /// Say what would be done, and do nothing.
    pub dry_run: bool,
    /// The clock is right, however far it is from the day believed last.
    pub trust_clock: bool,
}

/// What retention removed, or would remove.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct ExpireReport {
    /// Whether it was only planned.
    pub dry_run: bool,
    /// The day that it went by, `YYYY-MM-DD`.
    pub day: String,
    /// Why that is not the clock's day, if it is not.
    pub doubt: Option<String>,
    /// Files that could not be looked at: they stay, and so may what they hold.
    #[serde(default)]
    pub unreadable: u64,
    /// What went.
    pub expired: Vec<Expired>,
}

/// Files of one table and date that went, or lost a field.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Expired {
    /// Purpose name.
    pub purpose: String,
    /// Stream name.
    pub stream: String,
    /// Date of receipt, `YYYY-MM-DD`.
    pub received_date: String,
    /// The field that was emptied; none where whole rows went.
    pub field: Option<String>,
    /// How many files.
    pub files: u64,
    /// Their rows.
    pub rows: u64,
}

/// Plans a pass and, if that is not all, does it. `clock` is the clock's day, `alive` how many whole days the store was
/// open since the last pass. `by` stands for the documents in force, to see what they would do. `left` gets the files that
/// cannot be read, also those that only the rewriting meets, which ends with an error.
///
/// # Errors
/// As the tables' writers give them; what went before stays gone.
pub(crate) fn expire(
    desk: &Desk<'_>,
    options: ExpireOptions,
    (clock, alive): (i32, i32),
    by: Option<&Plan>,
    left: &mut Files,
) -> Result<ExpireReport, Error> {
    let kept = desk.runtime.block_on(desk.ledger.believed_day())?;
    let believed = kept.map_or_else(|| newest_date(desk), |day| Ok(Some(day)))?;
    let belief = believe(believed, clock, if options.trust_clock { i32::MAX } else { alive });
    if !options.dry_run && kept != Some(belief.kept) {
        desk.runtime.block_on(desk.ledger.believe_day(belief.kept))?;
    }
    let mut documents = desk.runtime.block_on(Documents::load(desk.ledger))?;
    if let Some(by) = by {
        (documents.policy, documents.catalogue) = (Some(by.policy().clone()), Some(by.catalogue().clone()));
    }
    let mut expired = Vec::new();
    let mut job = Rewrite { kind: rewrite::Kind::Expire, tables: Vec::new() };
    let taken = desk.files_of_jobs()?;
    for table in layout::list(desk.data)? {
        let mut files = match Delta::shared()?.read(&table) {
            Ok(snapshot) => snapshot.map_or_else(Vec::new, |snapshot| snapshot.files),
            Err(error) => {
                left_as_it_is(&table, "", error, left)?;
                continue;
            }
        };
        let mut aside = desk.seal.aside(&table, &files);
        for files in [&mut files, &mut aside] {
            files.retain(|file| !taken.contains(&(table.purpose.clone(), table.stream.clone(), file.path.clone())));
        }
        let terms = |info: &FileInfo| desk.runtime.block_on(documents.terms(desk.ledger, &table, info));
        let plan = of_table(&table, (files, aside), (belief.day, left), terms)?;
        expired.extend(plan.expired);
        job.tables.extend(plan.tables);
    }
    let unreadable = left.len() as u64;
    if !options.dry_run {
        let rewritten = desk.rewrite(&job)?;
        left.extend(rewritten.unreadable());
        rewritten.whole()?;
    }
    let day = layout::date_text(belief.day).unwrap_or_default();
    Ok(ExpireReport { dry_run: options.dry_run, day, doubt: belief.doubt, unreadable, expired })
}

/// The newest date of receipt of all tables: before the first pass there is no other witness.
fn newest_date(desk: &Desk<'_>) -> Result<Option<i32>, Error> {
    let mut newest = None;
    for table in layout::list(desk.data)? {
        let files = Delta::shared()?.read(&table)?.map_or_else(Vec::new, |snapshot| snapshot.files);
        newest = newest.max(files.iter().map(|file| file.received_date).max());
    }
    Ok(newest)
}

/// Which day it is, for retention.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Belief {
    /// The day to go by: never after the clock's.
    pub(crate) day: i32,
    /// The day to remember.
    pub(crate) kept: i32,
    /// Why the clock is doubted.
    pub(crate) doubt: Option<String>,
}

/// What to make of a clock. A clock that is far ahead moves nothing but by the days that the store was open; one that is
/// far behind moves nothing at all.
pub(crate) fn believe(believed: Option<i32>, clock: i32, alive: i32) -> Belief {
    let Some(last) = believed else { return Belief { day: clock, kept: clock, doubt: None } };
    let ahead = clock.saturating_sub(last);
    if ahead <= 0 {
        let far = ahead < -MOST_DAYS_AHEAD && alive != i32::MAX;
        let doubt = far.then(|| format!("the clock is {} days behind the day believed last", -i64::from(ahead)));
        let kept = if alive == i32::MAX { clock } else { last };
        return Belief { day: clock, kept, doubt };
    }
    if ahead <= MOST_DAYS_AHEAD || ahead <= alive {
        return Belief { day: clock, kept: clock, doubt: None };
    }
    let day = last.saturating_add(alive.max(0)).min(clock);
    let doubt = format!("the clock is {ahead} days ahead of the day believed last; if it is right, say so");
    Belief { day, kept: day, doubt: Some(doubt) }
}

/// What is to become of one table.
#[derive(Default)]
struct OfTable {
    tables: Vec<TableRewrite>,
    expired: Vec<Expired>,
}

/// What documents say of the rows of a file.
#[derive(Clone, Debug, Default)]
struct Terms {
    /// First day on which its rows are not kept any more.
    ends: Option<i32>,
    /// Columns whose field has an end: column, field, first day on which it has no value any more.
    fields: Vec<(String, String, i32)>,
}

fn of_table(
    table: &TablePath,
    (listed, aside): (Vec<LiveFile>, Vec<LiveFile>),
    (today, left): (i32, &mut Files),
    mut terms: impl FnMut(&FileInfo) -> Result<Terms, Error>,
) -> Result<OfTable, Error> {
    let (mut gone, mut emptied) = (Vec::new(), BTreeMap::<Vec<String>, Vec<FileInfo>>::new());
    let mut plan = OfTable::default();
    let all = listed.into_iter().map(|file| (file, true)).chain(aside.into_iter().map(|file| (file, false)));
    for (file, is_listed) in all {
        let info = match describe(table, &file) {
            Ok(info) => info,
            Err(error) => {
                left_as_it_is(table, &file.path, error, left)?;
                continue;
            }
        };
        let terms = terms(&info)?;
        if terms.ends.is_some_and(|ends| ends <= today) {
            plan.expired.push(expired(table, &info, None));
            gone.push(info);
            continue;
        }
        match guarded(table, &file, || ended(table, &file, &terms, today)) {
            Ok(ended) if ended.is_empty() => {}
            // It goes as a whole on its last day.
            Ok(_) if !is_listed => left_as_it_is(table, &file.path, aside::stays(table, &file), left)?,
            Ok(ended) => {
                plan.expired.extend(ended.iter().map(|(_, field)| expired(table, &info, Some(field))));
                emptied.entry(ended.into_iter().map(|(column, _)| column).collect()).or_default().push(info);
            }
            Err(error) => left_as_it_is(table, &file.path, error, left)?,
        }
    }
    if !gone.is_empty() {
        plan.tables.push(TableRewrite::of(table, gone, Fate::Gone));
    }
    plan.tables
        .extend(emptied.into_iter().map(|(columns, files)| TableRewrite::of(table, files, Fate::Nulled(columns))));
    plan.expired = summed(plan.expired);
    Ok(plan)
}

/// One file, or table, that nothing is known of: it keeps no other from its end.
fn left_as_it_is(table: &TablePath, path: &str, error: Error, left: &mut Files) -> Result<(), Error> {
    if error.kind() == Kind::Stop {
        return Err(error);
    }
    tracing::error!(%error, "retention leaves a file as it is");
    left.insert((table.name(), path.to_owned()));
    Ok(())
}

/// Columns of a file, with their fields, that have values which are kept no longer.
fn ended(table: &TablePath, file: &LiveFile, terms: &Terms, today: i32) -> Result<Vec<(String, String)>, Error> {
    let mut ended = Vec::new();
    // What came on that day or later was stored without the field.
    for (column, field, _) in terms.fields.iter().filter(|(_, _, ends)| *ends <= today && file.received_date < *ends) {
        if rewrite::has_values(table, file, column)? {
            ended.push((column.clone(), field.clone()));
        }
    }
    Ok(ended)
}

fn expired(table: &TablePath, file: &FileInfo, field: Option<&String>) -> Expired {
    Expired {
        purpose: table.purpose.clone(),
        stream: table.stream.clone(),
        received_date: layout::date_text(file.received_date).unwrap_or_default(),
        field: field.cloned(),
        files: 1,
        rows: file.rows,
    }
}

/// One line for each date and field.
fn summed(all: Vec<Expired>) -> Vec<Expired> {
    let mut sums: BTreeMap<(String, Option<String>), Expired> = BTreeMap::new();
    for one in all {
        let key = (one.received_date.clone(), one.field.clone());
        match sums.get_mut(&key) {
            Some(sum) => (sum.files, sum.rows) = (sum.files + one.files, sum.rows + one.rows),
            None => drop(sums.insert(key, one)),
        }
    }
    sums.into_values().collect()
}

/// The documents that rows were stored under and those in force, each read once.
struct Documents {
    policy: Option<Policy>,
    catalogue: Option<Catalogue>,
    plans: HashMap<(String, String), Option<Arc<Plan>>>,
    /// Date of receipt → the day on which such rows were still taken, where that is later: the clock was behind.
    late: HashMap<i32, i32>,
}

impl Documents {
    async fn load(ledger: &Ledger) -> Result<Self, Error> {
        // What does not compile any more says nothing; the documents of the rows' time still do.
        let policy = ledger.newest_document("policy").await?;
        let catalogue = ledger.newest_document("catalogue").await?;
        Ok(Self {
            policy: policy.and_then(|text| Policy::from_canonical(&text, "the policy in force").ok()),
            catalogue: catalogue.and_then(|text| Catalogue::from_canonical(&text, "the catalogue in force").ok()),
            plans: HashMap::new(),
            late: ledger.late_days().await?,
        })
    }

    async fn terms(&mut self, ledger: &Ledger, table: &TablePath, file: &FileInfo) -> Result<Terms, Error> {
        let plan = self.plan(ledger, &file.policy, &file.catalogue).await?;
        let received = self.late.get(&file.received_date).copied().unwrap_or_default().max(file.received_date);
        // Neither a longer period of later nor a shorter one of before keeps rows longer than somebody was told.
        let retained = |policy: &Policy| period(policy, &table.purpose).and_then(|period| period.ends(received));
        let promised = plan.as_ref().and_then(|plan| retained(plan.policy()));
        let in_force = self.policy.as_ref().and_then(retained);
        let ends = promised.into_iter().chain(in_force).min();
        let fields = plan.map_or_else(Vec::new, |plan| fields(&plan, self.catalogue.as_ref(), table));
        Ok(Terms { ends, fields })
    }

    async fn plan(&mut self, ledger: &Ledger, policy: &str, catalogue: &str) -> Result<Option<Arc<Plan>>, Error> {
        let key = (policy.to_owned(), catalogue.to_owned());
        if let Some(plan) = self.plans.get(&key) {
            return Ok(plan.clone());
        }
        let plan = match (ledger.document(policy).await?, ledger.document(catalogue).await?) {
            (Some(policy), Some(catalogue)) => compile(&policy, &catalogue).map(Arc::new).map_err(told).ok(),
            _ => None,
        };
        self.plans.insert(key, plan.clone());
        Ok(plan)
    }
}

/// What does not compile any more says nothing; the documents in force still do.
#[expect(clippy::needless_pass_by_value, reason = "for map_err")]
fn told(error: Error) {
    tracing::error!(%error, "retention goes by the documents in force alone");
}

fn period(policy: &Policy, purpose: &str) -> Option<Period> {
    policy.purposes.iter().find(|known| known.name == purpose).map(|purpose| purpose.retain)
}

/// Columns of a table whose field has an end: as the catalogue in force says, or that of the rows where it is not in
/// there any more.
fn fields(plan: &Plan, in_force: Option<&Catalogue>, table: &TablePath) -> Vec<(String, String, i32)> {
    let catalogue = plan.catalogue();
    let of_rows = catalogue.streams.iter().find(|stream| stream.name == table.stream);
    let now = in_force.and_then(|catalogue| catalogue.streams.iter().find(|stream| stream.name == table.stream));
    let is_this = |plan: &&candor_policy::plan::TablePlan| {
        *plan.purpose_name == *table.purpose && *plan.stream_name == *table.stream
    };
    let Some((stream, table)) = of_rows.zip(plan.tables().iter().find(is_this)) else { return Vec::new() };
    let end = |number: u16| {
        let field = stream.fields.get(usize::from(number))?;
        let still = now.and_then(|stream| stream.fields.iter().find(|known| known.column == field.column));
        Some((field.column.clone(), still.unwrap_or(field).expires_day?))
    };
    let columns = table.columns.iter().filter_map(|output| match output.input {
        Input::Field(number) => end(number).map(|(field, day)| (output.name.clone(), field, day)),
        Input::Time => None,
    });
    columns.collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::flush::write_tables;
    use crate::table::testing::{DAY, NOON, PURPOSE, STREAM, frame, rows, text};

    const LAST: i32 = 20_484;
    const TEN_YEARS: i32 = 3_652;

    #[test]
    fn a_clock_that_is_far_off_moves_nothing_but_by_days_that_were_lived() {
        let of = |clock: i32, alive: i32| {
            let belief = believe(Some(LAST), clock, alive);
            (belief.day - LAST, belief.kept - LAST, belief.doubt.is_some())
        };
        assert_eq!(of(LAST, 0), (0, 0, false));
        assert_eq!(of(LAST + 1, 0), (1, 1, false));
        assert_eq!(of(LAST + MOST_DAYS_AHEAD, 0), (7, 7, false));
        assert_eq!(of(LAST + TEN_YEARS, 0), (0, 0, true));
        assert_eq!(of(LAST + TEN_YEARS, 1), (1, 1, true));
        // The service ran for so long without a pass.
        assert_eq!(of(LAST + 30, 30), (30, 30, false));
        assert_eq!(of(LAST - 1, 0), (-1, 0, false));
        assert_eq!(of(LAST - TEN_YEARS, 5), (-TEN_YEARS, 0, true));
        // Somebody said that it is right.
        assert_eq!(of(LAST + TEN_YEARS, i32::MAX), (TEN_YEARS, TEN_YEARS, false));
        assert_eq!(of(LAST - TEN_YEARS, i32::MAX), (-TEN_YEARS, -TEN_YEARS, false));
        assert_eq!(believe(None, 5, 0), Belief { day: 5, kept: 5, doubt: None });
        assert_eq!(of(i32::MAX, 0), (0, 0, true));
        assert!(believe(Some(i32::MIN), i32::MAX, 0).doubt.is_some());
    }

    #[test]
    fn rows_go_on_their_day_and_fields_where_they_were_stored_before_theirs() {
        let data = tempfile::tempdir().unwrap();
        for (lsn, day) in (1..).zip([0, 1, 2]) {
            let word = text(&[Some("a"), None]);
            let frame = frame(lsn, NOON + day * DAY, "p0", rows(&["s", "t"], &[("word", word)]));
            write_tables(data.path(), &[frame], lsn).unwrap();
        }
        let table = TablePath::new(data.path(), PURPOSE, STREAM).unwrap();
        let plan = |today: i32| {
            let files = Delta::shared().unwrap().read(&table).unwrap().unwrap().files;
            of_table(&table, (files, Vec::new()), (today, &mut Files::new()), |file| {
                let fields = vec![("word".to_owned(), "word".to_owned(), LAST + 2)];
                Ok(Terms { ends: Some(file.received_date + 30), fields })
            })
            .unwrap()
        };
        let days = |plan: &OfTable| -> Vec<(String, bool, u64)> {
            plan.expired.iter().map(|one| (one.received_date.clone(), one.field.is_some(), one.rows)).collect()
        };
        assert_eq!(days(&plan(LAST + 1)), []);
        // What came on the day itself was stored without it.
        let first = |field| [("2026-01-31".to_owned(), field, 2), ("2026-02-01".to_owned(), field, 2)];
        let found = plan(LAST + 2);
        assert_eq!(days(&found), first(true));
        let job = Rewrite { kind: rewrite::Kind::Expire, tables: found.tables };
        rewrite::run(data.path(), &job, &rewrite::Unsealed, &|| true).unwrap();
        assert_eq!(days(&plan(LAST + 2)), []);
        assert_eq!(days(&plan(LAST + 29)), []);
        assert_eq!(days(&plan(LAST + 30)), first(false)[..1]);
        let found = plan(LAST + 31);
        assert_eq!(days(&found), first(false));
        let job = Rewrite { kind: rewrite::Kind::Expire, tables: found.tables };
        let done = rewrite::run(data.path(), &job, &rewrite::Unsealed, &|| true).unwrap();
        assert_eq!((done.rows_removed(), done.files_added()), (4, 0));
    }
}
