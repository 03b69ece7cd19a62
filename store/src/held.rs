//! What is held about one subject: each stored value with the rule and operator that let it through.

use std::collections::HashMap;
use std::sync::Arc;

use arrow_array::cast::AsArray;
use arrow_array::types::{Date32Type, Float64Type, Int32Type, Int64Type, TimestampMicrosecondType};
use arrow_array::{Array, ArrayRef, RecordBatch, Scalar, StringArray};
use arrow_schema::DataType;
use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use candor_policy::catalogue::Catalogue;
use candor_policy::plan::{Plan, TablePlan};
use candor_policy::policy::Policy;
use candor_policy::subject::SubjectId;
use candor_wire::row::{Rows, json_of_double};
use serde_json::Value;

use crate::access::files::{Part, Parts};
use crate::error::{Error, Kind};
use crate::ledger::Ledger;
use crate::table::commit::LiveFile;
use crate::table::layout;
use crate::table::lookup::{self, FoundRows};
use crate::view::{HeldField, HeldRow, TableView, blocking};
use crate::work::Work;

/// Stands for a rule or an operator where the document that names it is not there any more.
const UNKNOWN: &str = "unknown";

/// Columns that are no fields: a row has them in places of their own, or they say nothing to the subject.
const NO_FIELDS: [&str; 5] = [layout::EVENT, layout::SUBJECT, layout::BATCH, layout::CONSENT_SEQ, layout::DECISION];

/// Rows of a subject, and what could not be looked into for more.
#[derive(Default)]
pub(crate) struct Looked {
    pub(crate) rows: Vec<HeldRow>,
    /// Files, from the data folder, and why.
    pub(crate) unread: Vec<(String, Error)>,
}

impl Looked {
    /// The rows, if these are all.
    ///
    /// # Errors
    /// Why a file could not be read.
    pub(crate) fn whole(mut self) -> Result<Vec<HeldRow>, Error> {
        match self.unread.pop() {
            Some((_, error)) => Err(error),
            None => Ok(self.rows),
        }
    }
}

/// All rows of a subject by table: sealed ones by file, then pending ones. `subjects` are its ids, one for each key
/// generation. A file that cannot be read keeps no other from being read.
pub(crate) async fn rows(
    tables: &[TableView],
    ledger: &Ledger,
    subjects: &[SubjectId],
    known: Option<&Parts>,
    work: &Arc<Work>,
) -> Result<Looked, Error> {
    let parts: Vec<Vec<_>> =
        tables.iter().map(|table| (0..subjects.len()).map(|id| by_part(table, id, known)).collect()).collect();
    work.begin(parts.iter().flatten().map(|(_, unknown)| unknown.len() as u64).sum());
    let mut plans = Plans { ledger, known: HashMap::new() };
    let Looked { rows: mut held, mut unread } = Looked::default();
    for (table, parts) in tables.iter().zip(parts) {
        for ((id, subject), (mut sealed, unknown)) in subjects.iter().enumerate().zip(parts) {
            let name = subject.in_table(&table.path.purpose).to_string();
            if !unknown.is_empty() {
                let (path, files, wanted, work) = (table.path.clone(), unknown.clone(), name.clone(), Arc::clone(work));
                let found = blocking(move || lookup::rows_of(&path, &files, &wanted, &work)).await?;
                for (file, found) in unknown.iter().zip(found) {
                    match found {
                        Ok(rows) => sealed.extend(rows),
                        Err(error) if error.kind() == Kind::Stop => return Err(error),
                        Err(error) => unread.push((table.path.file_name(&file.path), error)),
                    }
                }
            }
            for found in sealed {
                let plan = plans.get(&found.policy, &found.catalogue).await?;
                let file = table.path.file_name(&found.path);
                describe((table, id), &found, Some(&file), plan.as_deref(), &mut held);
            }
            for found in pending(table, &name)? {
                let plan = plans.get(&found.policy, &found.catalogue).await?;
                describe((table, id), &found, None, plan.as_deref(), &mut held);
            }
        }
    }
    Ok(Looked { rows: held, unread })
}

/// Rows of a table's files under one of the subject's ids that were read, and the files that nobody knows of.
fn by_part(table: &TableView, id: usize, known: Option<&Parts>) -> (Vec<FoundRows>, Vec<LiveFile>) {
    let (mut found, mut unknown) = (Vec::new(), Vec::new());
    for file in &table.files {
        match known.map_or(&Part::Unknown, |parts| parts.of(&table.name, &file.path, id)) {
            Part::Nothing | Part::Lost => {}
            Part::Rows(read) => found.push(FoundRows {
                path: file.path.clone(),
                received_date: file.received_date,
                policy: read.policy.clone(),
                catalogue: read.catalogue.clone(),
                rows: read.rows.clone(),
            }),
            Part::Unknown => unknown.push(file.clone()),
        }
    }
    (found, unknown)
}

/// The subject's rows that are in no file yet.
fn pending(table: &TableView, subject: &str) -> Result<Vec<FoundRows>, Error> {
    let failed = |why| {
        let what = format!("cannot read pending rows of {}", table.path.name());
        Error::new(Kind::Data, what, why, "report this: it is a fault")
    };
    let wanted = Scalar::new(StringArray::from(vec![subject.to_owned()]));
    let mut found = Vec::new();
    for pending in &table.pending {
        let Some(subjects) = pending.rows.column_by_name(layout::SUBJECT) else { continue };
        let is_wanted = arrow_ord::cmp::eq(subjects, &wanted).map_err(failed)?;
        let rows = arrow_select::filter::filter_record_batch(&pending.rows, &is_wanted).map_err(failed)?;
        if rows.num_rows() > 0 {
            found.push(FoundRows {
                path: String::new(),
                received_date: pending.received_date,
                policy: pending.policy.clone(),
                catalogue: pending.catalogue.clone(),
                rows,
            });
        }
    }
    Ok(found)
}

fn describe(
    (table, id): (&TableView, usize),
    found: &FoundRows,
    file: Option<&str>,
    plan: Option<&Plan>,
    held: &mut Vec<HeldRow>,
) {
    let path = &table.path;
    let is_this = |plan: &&TablePlan| *plan.purpose_name == *path.purpose && *plan.stream_name == *path.stream;
    let table_plan = plan.and_then(|plan| plan.tables().iter().find(is_this));
    let purpose = plan.and_then(|plan| plan.policy().purposes.iter().find(|purpose| purpose.name == path.purpose));
    let goes_on = purpose.and_then(|purpose| purpose.retain.ends(found.received_date)).and_then(layout::date_text);
    let encoded = Rows::encode(&found.rows, found.received_date).ok();
    for row in 0..found.rows.num_rows() {
        let cell = |column: &str| found.rows.column_by_name(column).map(|values| json(values, row));
        held.push(HeldRow {
            purpose: path.purpose.clone(),
            stream: path.stream.clone(),
            id,
            event: cell(layout::EVENT).and_then(|event| event.as_str().map(str::to_owned)).unwrap_or_default(),
            received_date: layout::date_text(found.received_date).unwrap_or_default(),
            goes_on: goes_on.clone(),
            file: file.map(str::to_owned),
            batch: cell(layout::BATCH).and_then(|number| number.as_i64()),
            consent_seq: cell(layout::CONSENT_SEQ).and_then(|sequence| sequence.as_i64()),
            policy: found.policy.clone(),
            catalogue: found.catalogue.clone(),
            fields: fields(&found.rows, row, table_plan),
            row: encoded.as_ref().map(|rows| URL_SAFE_NO_PAD.encode(rows.row(row))).unwrap_or_default(),
        });
    }
}

/// The values that a row has; what was suppressed or absent was not stored.
fn fields(rows: &RecordBatch, row: usize, plan: Option<&TablePlan>) -> Vec<HeldField> {
    let decision =
        rows.column_by_name(layout::DECISION).and_then(|decisions| decisions.as_primitive_opt::<Int32Type>());
    let decision = decision.and_then(|decisions| u32::try_from(decisions.value(row)).ok());
    let mut fields = Vec::new();
    for (field, values) in rows.schema().fields().iter().zip(rows.columns()) {
        if NO_FIELDS.contains(&field.name().as_str()) || values.is_null(row) {
            continue;
        }
        let why = plan.zip(decision).and_then(|(plan, decision)| plan.explain_column(decision, field.name()));
        let (rule, operator) =
            why.map_or_else(|| (UNKNOWN.to_owned(), UNKNOWN.to_owned()), |why| (why.rule, why.operator));
        fields.push(HeldField { column: field.name().clone(), value: json(values, row), rule, operator });
    }
    fields
}

/// A cell as JSON: times in RFC 3339, dates as `YYYY-MM-DD`, lists as arrays; null for a time or date that no calendar has.
fn json(values: &ArrayRef, row: usize) -> Value {
    if values.is_null(row) {
        return Value::Null;
    }
    match values.data_type() {
        DataType::Utf8 => values.as_string::<i32>().value(row).into(),
        DataType::Boolean => values.as_boolean().value(row).into(),
        DataType::Int32 => values.as_primitive::<Int32Type>().value(row).into(),
        DataType::Int64 => values.as_primitive::<Int64Type>().value(row).into(),
        DataType::Float64 => json_of_double(values.as_primitive::<Float64Type>().value(row)),
        DataType::Date32 => layout::date_text(values.as_primitive::<Date32Type>().value(row)).into(),
        DataType::Timestamp(..) => match values.as_primitive_opt::<TimestampMicrosecondType>() {
            Some(times) => jiff::Timestamp::from_microsecond(times.value(row)).map(|time| time.to_string()).ok().into(),
            None => Value::Null,
        },
        DataType::List(_) => {
            let elements = values.as_list::<i32>().value(row);
            (0..elements.len()).map(|element| json(&elements, element)).collect()
        }
        _ => Value::Null,
    }
}

/// Plans recompiled from the documents of their time, each once.
struct Plans<'a> {
    ledger: &'a Ledger,
    known: HashMap<(String, String), Option<Arc<Plan>>>,
}

impl Plans<'_> {
    /// The plan of a policy and a catalogue; none if a document is missing.
    async fn get(&mut self, policy: &str, catalogue: &str) -> Result<Option<Arc<Plan>>, Error> {
        let key = (policy.to_owned(), catalogue.to_owned());
        if let Some(plan) = self.known.get(&key) {
            return Ok(plan.clone());
        }
        let plan = match (self.ledger.document(policy).await?, self.ledger.document(catalogue).await?) {
            (Some(policy), Some(catalogue)) => Some(Arc::new(compile(&policy, &catalogue)?)),
            _ => None,
        };
        self.known.insert(key, plan.clone());
        Ok(plan)
    }
}

/// The plan of two kept documents.
pub(crate) fn compile(policy: &str, catalogue: &str) -> Result<Plan, Error> {
    let failed = |why| {
        let what = "a policy of before does not compile any more";
        Error::new(Kind::Data, what, why, "use the version of candor that wrote these rows")
    };
    let catalogue = Catalogue::from_canonical(catalogue, "the kept catalogue").map_err(failed)?;
    let policy = Policy::from_canonical(policy, "the kept policy").map_err(failed)?;
    Plan::compile(catalogue, policy).map_err(failed)
}
