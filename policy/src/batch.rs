//! The three states of a batch on its way in: `Received`, `Admitted`, `Cleared`. Skipping one does not compile.
//!
//! A decoder makes [`Received`]; [`Received::admit`] needs evidence from whoever authenticated the sender;
//! only [`crate::plan::Plan::clear`] makes [`Cleared`], and the store appends nothing else.

use std::ops::Range;
use std::sync::Arc;

use arrow_array::{Array, ArrayRef, BooleanArray, RecordBatch, StringArray, TimestampMicrosecondArray, UInt16Array};
use arrow_select::filter::filter_record_batch;
use hashbrown::{HashMap, HashSet};

use crate::counts::Count;
use crate::digest::Digest;
use crate::keys::Keys;
use crate::operator::clean::clean;
use crate::reason::Reason;
use crate::subject::{LedgerId, SubjectId};

/// Values of one field for a group of rows. Resource attributes come once per resource, not once per row.
#[derive(Clone)]
pub enum RawColumn {
    /// One value a row.
    PerRow(ArrayRef),
    /// One value a resource; [`RawGroup::resource`] says which row belongs to which.
    PerResource(ArrayRef),
}

impl RawColumn {
    /// The array, whichever way it is counted.
    #[must_use]
    pub const fn array(&self) -> &ArrayRef {
        match self {
            Self::PerRow(array) | Self::PerResource(array) => array,
        }
    }
}

impl std::fmt::Debug for RawColumn {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let (kind, array) = match self {
            Self::PerRow(array) => ("PerRow", array),
            Self::PerResource(array) => ("PerResource", array),
        };
        write!(f, "{kind}({} × {})", array.len(), array.data_type())
    }
}

/// All rows of one stream in a request, raw. Rows of undeclared events and with bad values are not in it.
pub struct RawGroup {
    /// Index of the stream in the catalogue.
    pub stream: u16,
    /// Row → index of its event in the stream.
    pub event: UInt16Array,
    /// Row → time of the event, µs UTC; null where the client sent none.
    pub time: TimestampMicrosecondArray,
    /// Row → resource, dense from 0.
    pub resource: Vec<u32>,
    /// One column for each field of the stream, in the catalogue's order, of the field's declared type.
    pub columns: Vec<RawColumn>,
    /// Utf8: value of the attribute that the source names as its subject.
    pub subject: RawColumn,
    /// Utf8: value of the attribute that gives the jurisdiction.
    pub jurisdiction: RawColumn,
    /// Boolean: the attribute that carries GPC; null where it is absent.
    pub gpc: RawColumn,
}

impl std::fmt::Debug for RawGroup {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Self { stream, event, columns, subject, jurisdiction, gpc, .. } = self;
        write!(f, "RawGroup(stream {stream}: {} rows, fields {columns:?}, ", event.len())?;
        write!(f, "subject {subject:?}, jurisdiction {jurisdiction:?}, gpc {gpc:?})")
    }
}

/// What a decoder counted besides the rows it built.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct DecodeTally {
    /// Records whose event no stream declares.
    pub undeclared_events: u64,
    /// (stream, records) with a declared field of the wrong type.
    pub bad_values: Vec<(u16, u64)>,
    /// (stream, field, records): which declared field it was, the first one of each record.
    pub bad_fields: Vec<(u16, u16, u64)>,
    /// Attributes that no field declares: counted, never named.
    pub undeclared_attributes: u64,
}

/// A decoded request: raw columns by stream. Nothing of it may reach disk, a log line or an error text.
#[derive(Debug)]
pub struct Received {
    groups: Vec<RawGroup>,
    tally: DecodeTally,
}

/// What whoever took the request in knows of it.
#[derive(Clone, Debug)]
pub struct Evidence {
    /// Name of the source that authenticated.
    pub source: Arc<str>,
    /// Time of receipt, µs UTC.
    pub received_at: i64,
    /// Whether the request itself carried `Sec-GPC: 1`.
    pub gpc: bool,
    /// The subject of every record, where the request is signed by it: what records say of theirs then counts for nothing.
    pub certified: Option<SubjectId>,
}

/// A received batch whose sender is authenticated, which is no repeat, and whose subjects are ids.
#[derive(Debug)]
pub struct Admitted {
    pub(crate) groups: Vec<AdmittedGroup>,
    pub(crate) tally: DecodeTally,
    pub(crate) evidence: Evidence,
    pub(crate) subjects: Vec<LedgerId>,
}

/// A raw group whose subject values have been replaced by indexes into the batch's ids.
#[derive(Debug)]
pub(crate) struct AdmittedGroup {
    pub(crate) raw: RawGroup,
    /// Row → index into `Admitted::subjects`, or [`NO_SUBJECT`].
    pub(crate) subject: Vec<u32>,
}

/// Stands for a missing subject in [`AdmittedGroup::subject`].
pub(crate) const NO_SUBJECT: u32 = u32::MAX;

/// A batch that the policy has cleared: what it holds may rest.
#[derive(Debug)]
pub struct Cleared {
    pub(crate) source: Arc<str>,
    pub(crate) received_at: i64,
    pub(crate) generation: u64,
    pub(crate) policy: Digest,
    pub(crate) catalogue: Digest,
    pub(crate) tables: Vec<ClearedTable>,
    pub(crate) counts: Vec<Count>,
    pub(crate) rejected: Rejected,
    pub(crate) subjects: Vec<LedgerId>,
}

/// Records that the client is told about in `partial_success`, and attributes that nobody declared.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Rejected {
    /// Records of undeclared events.
    pub undeclared_events: u64,
    /// Records with a declared field of the wrong type.
    pub bad_values: u64,
    /// Attributes that no field declares.
    pub undeclared_attributes: u64,
    /// (stream, column, records): declared names only.
    pub bad_fields: Vec<(String, String, u64)>,
}

/// Cleared rows of one (purpose, stream).
#[derive(Clone)]
pub struct ClearedTable {
    /// Number of the purpose in the plan.
    pub purpose: u16,
    /// Purpose name.
    pub purpose_name: Arc<str>,
    /// Stream name.
    pub stream: Arc<str>,
    /// The columns of `TablePlan::schema` (no `received_date`, no `batch`: the flusher makes those).
    pub rows: RecordBatch,
    /// Unwritten: which rows belong to which subject (index into [`Cleared::subjects`]), in order, without gaps.
    pub runs: Vec<(u32, Range<usize>)>,
}

impl Received {
    /// A decoded request. The columns of each group must have the lengths and types that [`RawGroup`] states.
    #[must_use]
    pub const fn new(groups: Vec<RawGroup>, tally: DecodeTally) -> Self {
        Self { groups, tally }
    }

    /// Groups by stream.
    #[must_use]
    pub fn groups(&self) -> &[RawGroup] {
        &self.groups
    }

    /// What was counted while decoding.
    #[must_use]
    pub const fn tally(&self) -> &DecodeTally {
        &self.tally
    }

    /// Number of records in it, those that were refused included.
    #[must_use]
    pub fn records(&self) -> u64 {
        let rows: usize = self.groups.iter().map(|group| group.event.len()).sum();
        let bad: u64 = self.tally.bad_values.iter().map(|(_, records)| records).sum();
        rows as u64 + bad + self.tally.undeclared_events
    }

    /// Replaces subject values by ledger ids, once per distinct value; the values are gone afterwards. Who signed is the one
    /// subject of everything.
    #[must_use]
    pub fn admit(self, evidence: Evidence, keys: &Keys) -> Admitted {
        let (ids, subjects) = match &evidence.certified {
            Some(subject) => {
                let rows = self.groups.iter().map(|raw| vec![0; raw.event.len()]).collect();
                (vec![LedgerId::of_certified(subject)], rows)
            }
            None => SubjectIds::of_groups(&self.groups, keys),
        };
        let groups = self
            .groups
            .into_iter()
            .zip(subjects)
            .map(|(mut raw, subject)| {
                raw.subject = RawColumn::PerResource(Arc::new(StringArray::new_null(0)));
                if evidence.gpc {
                    // The header speaks for everything in the request.
                    raw.gpc = RawColumn::PerRow(Arc::new(BooleanArray::from(vec![true; raw.event.len()])));
                }
                AdmittedGroup { raw, subject }
            })
            .collect();
        Admitted { groups, tally: self.tally, evidence, subjects: ids }
    }
}

impl Admitted {
    /// The distinct subjects of the batch: whose consent the snapshot must hold, in this order.
    #[must_use]
    pub fn subjects(&self) -> &[LedgerId] {
        &self.subjects
    }
}

impl Cleared {
    /// Name of the source.
    #[must_use]
    pub fn source(&self) -> &str {
        &self.source
    }

    /// Time of receipt, µs UTC.
    #[must_use]
    pub const fn received_at(&self) -> i64 {
        self.received_at
    }

    /// Generation of the consent snapshot that it was cleared under.
    #[must_use]
    pub const fn generation(&self) -> u64 {
        self.generation
    }

    /// Digests of policy and catalogue that it was cleared under.
    #[must_use]
    pub const fn digests(&self) -> (&Digest, &Digest) {
        (&self.policy, &self.catalogue)
    }

    /// Rows by (purpose, stream); tables without rows are left out.
    #[must_use]
    pub fn tables(&self) -> &[ClearedTable] {
        &self.tables
    }

    /// The account, complete: also of records that left no row.
    #[must_use]
    pub fn counts(&self) -> &[Count] {
        &self.counts
    }

    /// What the client is told.
    #[must_use]
    pub const fn rejected(&self) -> &Rejected {
        &self.rejected
    }

    /// The subjects that `ClearedTable::runs` point to.
    #[must_use]
    pub fn subjects(&self) -> &[LedgerId] {
        &self.subjects
    }

    /// Takes out the rows of the given (subject index, purpose number) pairs, counted as `withdrawn_at_append`,
    /// and moves the batch to `generation`.
    ///
    /// # Errors
    /// Arrow's, if a column cannot be filtered: nothing may be stored then.
    pub fn without(mut self, withdrawn: &[(u32, u16)], generation: u64) -> Result<Self, arrow_schema::ArrowError> {
        let withdrawn: HashSet<(u32, u16), foldhash::quality::RandomState> = withdrawn.iter().copied().collect();
        for table in &mut self.tables {
            let purpose = table.purpose;
            let removed = table.take_out(|subject| withdrawn.contains(&(subject, purpose)))?;
            let counts = self.counts.iter_mut().filter(|count| {
                *count.purpose == *table.purpose_name && count.stream.as_deref() == Some(&*table.stream)
            });
            for count in counts.filter(|_| removed > 0) {
                count.stored -= removed;
                *count.dropped.entry(Reason::WithdrawnAtAppend).or_default() += removed;
                debug_assert!(count.balances(), "offered = stored + dropped: {count:?}");
            }
        }
        self.tables.retain(|table| table.rows.num_rows() > 0);
        self.generation = generation;
        Ok(self)
    }
}

impl ClearedTable {
    /// Takes out the rows of subjects that are `gone`; the others keep their order. Says how many went.
    fn take_out(&mut self, gone: impl Fn(u32) -> bool) -> Result<u64, arrow_schema::ArrowError> {
        if !self.runs.iter().any(|(subject, _)| gone(*subject)) {
            return Ok(0);
        }
        let before = self.rows.num_rows();
        let mut keep = Vec::with_capacity(before);
        let mut runs: Vec<(u32, Range<usize>)> = Vec::with_capacity(self.runs.len());
        let mut next = 0;
        for (subject, rows) in &self.runs {
            keep.extend(std::iter::repeat_n(!gone(*subject), rows.len()));
            if gone(*subject) {
                continue;
            }
            match runs.last_mut() {
                // What stood between two runs of one subject may have gone.
                Some((last, range)) if last == subject => range.end += rows.len(),
                _ => runs.push((*subject, next..next + rows.len())),
            }
            next += rows.len();
        }
        let rows = filter_record_batch(&self.rows, &BooleanArray::from(keep))?;
        let columns = rows.columns().iter().map(|column| clean(column).unwrap_or_else(|| column.clone())).collect();
        self.rows = RecordBatch::try_new(rows.schema(), columns)?;
        self.runs = runs;
        Ok((before - next) as u64)
    }
}

impl std::fmt::Debug for ClearedTable {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "ClearedTable({}/{}: {} rows)", self.purpose_name, self.stream, self.rows.num_rows())
    }
}

/// Distinct subjects that there is room for from the start.
const ROOM: usize = 896;

/// Collects the distinct subjects of a batch.
struct SubjectIds<'a> {
    keys: &'a Keys,
    ids: Vec<LedgerId>,
    index: HashMap<&'a str, u32, foldhash::quality::RandomState>,
    last: Option<(&'a str, u32)>,
}

impl<'a> SubjectIds<'a> {
    /// The distinct subjects, and for each group the one of each row.
    fn of_groups(groups: &'a [RawGroup], keys: &'a Keys) -> (Vec<LedgerId>, Vec<Vec<u32>>) {
        let rows: usize = groups.iter().map(|raw| raw.subject.array().len()).sum();
        let index = HashMap::with_capacity_and_hasher(rows.min(ROOM), foldhash::quality::RandomState::default());
        let mut subjects = Self { keys, ids: Vec::new(), index, last: None };
        let of_rows = groups.iter().map(|raw| subjects.of_rows(raw)).collect();
        (subjects.ids, of_rows)
    }

    fn of_rows(&mut self, raw: &'a RawGroup) -> Vec<u32> {
        match &raw.subject {
            RawColumn::PerRow(values) => self.of_values(values),
            RawColumn::PerResource(values) => {
                let by_resource = self.of_values(values);
                raw.resource
                    .iter()
                    .map(|resource| by_resource.get(*resource as usize).copied().unwrap_or(NO_SUBJECT))
                    .collect()
            }
        }
    }

    fn of_values(&mut self, values: &'a ArrayRef) -> Vec<u32> {
        let Some(values) = values.as_any().downcast_ref::<StringArray>() else {
            return vec![NO_SUBJECT; values.len()];
        };
        values.iter().map(|value| value.filter(|v| !v.is_empty()).map_or(NO_SUBJECT, |v| self.of_value(v))).collect()
    }

    fn of_value(&mut self, value: &'a str) -> u32 {
        if let Some((_, number)) = self.last.filter(|(last, _)| *last == value) {
            return number;
        }
        let Self { keys, ids, index, .. } = self;
        let number = *index.entry(value).or_insert_with(|| {
            ids.push(keys.ledger_id(value));
            ids.len() as u32 - 1
        });
        self.last = Some((value, number));
        number
    }
}

/// Ids that tables are derived from, aligned with [`Admitted::subjects`].
pub(crate) fn subject_ids(admitted: &Admitted, keys: &Keys) -> Vec<SubjectId> {
    match admitted.evidence.certified {
        Some(subject) => vec![subject],
        None => admitted.subjects.iter().map(|ledger_id| keys.subject_id(ledger_id)).collect(),
    }
}
