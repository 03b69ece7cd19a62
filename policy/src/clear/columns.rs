//! The columns of the rows that passed: each made by the operators of their decisions, each buffer freshly built.

use std::cell::OnceCell;
use std::sync::Arc;

use arrow_array::builder::StringBuilder;
use arrow_array::{Array, ArrayRef, Int32Array, Int64Array, RecordBatch, StringArray, UInt32Array, new_null_array};
use arrow_select::interleave::interleave;
use arrow_select::take::take;

use super::facts::{FieldValues, GroupFacts};
use crate::consent::ConsentSnapshot;
use crate::hex::Hex16;
use crate::keys::Keys;
use crate::operator::clean::clean;
use crate::operator::{OperatorContext, OperatorRef, list};
use crate::plan::{Input, OutputColumn, TablePlan};
use crate::subject::SubjectId;

/// Rows of a group that a table gets, with their decisions.
pub(super) struct Selection<'a> {
    pub(super) table: &'a TablePlan,
    pub(super) facts: &'a GroupFacts<'a>,
    pub(super) rows: Vec<u32>,
    pub(super) decisions: Vec<u32>,
}

/// Rows of a selection for which no column could be made.
pub(super) enum Failed {
    /// Those at these places.
    Rows(Vec<u32>),
    /// All of them.
    All,
}

/// What the tables of one purpose call the batch's subjects, hashed once per subject that has rows.
pub(super) struct SubjectNames<'a> {
    subjects: &'a [SubjectId],
    purpose: &'a str,
    names: Vec<Option<Hex16>>,
}

impl<'a> SubjectNames<'a> {
    pub(super) fn new(subjects: &'a [SubjectId], purpose: &'a str) -> Self {
        Self { subjects, purpose, names: vec![None; subjects.len()] }
    }

    fn column(&mut self, subjects: impl ExactSizeIterator<Item = u32>) -> ArrayRef {
        let mut out = StringBuilder::with_capacity(subjects.len(), subjects.len() * 32);
        for subject in subjects {
            let at = subject as usize;
            let name = self.names[at].get_or_insert_with(|| self.subjects[at].in_table(self.purpose));
            out.append_value(name.as_str());
        }
        Arc::new(out.finish())
    }
}

impl Selection<'_> {
    /// Row of the selection → index into the batch's subjects.
    pub(super) fn subjects(&self) -> impl ExactSizeIterator<Item = u32> {
        self.rows.iter().map(|row| self.facts.group.subject[*row as usize])
    }

    /// Takes rows out; says how many.
    pub(super) fn take_out(&mut self, failed: &Failed) -> u64 {
        let before = self.rows.len();
        match failed {
            Failed::Rows(places) if !places.is_empty() => {
                let mut gone = vec![false; before];
                for place in places {
                    gone[*place as usize] = true;
                }
                let kept = |values: &[u32]| {
                    let stay = values.iter().zip(&gone).filter(|(_, gone)| !**gone);
                    stay.map(|(value, _)| *value).collect::<Vec<u32>>()
                };
                (self.rows, self.decisions) = (kept(&self.rows), kept(&self.decisions));
            }
            _ => self.rows.clear(),
        }
        (before - self.rows.len()) as u64
    }

    /// The batch in the table's schema: `event`, `time` where a rule emits it, `subject`, `consent_seq`, `decision`, fields.
    ///
    /// # Errors
    /// The rows of the first column that cannot be made, with the operators that their decisions ask for.
    pub(super) fn record_batch(
        &self,
        consent: &ConsentSnapshot,
        names: &mut SubjectNames<'_>,
        keys: &Keys,
    ) -> Result<RecordBatch, Failed> {
        let maker = ColumnMaker::new(self, keys);
        let mut fields = self.table.columns.iter().enumerate().map(|(number, column)| maker.column(number, column));
        let mut columns: Vec<ArrayRef> = Vec::with_capacity(self.table.schema.fields().len());
        columns.push(self.events().ok_or(Failed::All)?);
        if self.table.columns.first().is_some_and(|column| column.input == Input::Time) {
            columns.extend(fields.next().transpose()?);
        }
        columns.push(names.column(self.subjects()));
        columns.push(self.sequences(consent));
        columns.push(Arc::new(self.decisions.iter().map(|decision| *decision as i32).collect::<Int32Array>()));
        for column in fields {
            columns.push(column?);
        }
        RecordBatch::try_new(self.table.schema.clone(), columns).map_err(|_| Failed::All)
    }

    fn events(&self) -> Option<ArrayRef> {
        let facts = self.facts;
        let names: StringArray = facts.stream.events.iter().map(|event| Some(event.name.as_str())).collect();
        let numbers = self.rows.iter().map(|row| u32::from(facts.group.raw.event.value(*row as usize)));
        take(&names, &UInt32Array::from_iter_values(numbers), None).ok()
    }

    /// Null for a subject that never said anything.
    fn sequences(&self, consent: &ConsentSnapshot) -> ArrayRef {
        let sequence = |subject: u32| Some(consent.of(subject as usize).sequence()).filter(|sequence| *sequence != 0);
        Arc::new(self.subjects().map(sequence).collect::<Int64Array>())
    }
}

/// Makes field columns; what several columns need is computed once.
struct ColumnMaker<'a> {
    selection: &'a Selection<'a>,
    keys: &'a Keys,
    /// The distinct ways in which the rows' decisions write: for each, column → operator that writes it.
    writers: Vec<&'a [Option<u16>]>,
    /// Row of the selection → index into `writers`.
    writer_of: Vec<u32>,
    rows: UInt32Array,
    resources: OnceCell<Resources>,
}

/// The resources that selected rows belong to.
struct Resources {
    /// Resource numbers, in the order of their first rows.
    used: UInt32Array,
    /// Row of the selection → index into `used`.
    of_row: UInt32Array,
}

impl<'a> ColumnMaker<'a> {
    fn new(selection: &'a Selection<'a>, keys: &'a Keys) -> Self {
        let plan = &selection.table.writers;
        let mut slots = vec![u32::MAX; plan.ways.len()];
        let mut writers: Vec<&[Option<u16>]> = Vec::new();
        let mut slot_of = |decision: u32| {
            let way = plan.way_of[decision as usize] as usize;
            let slot = &mut slots[way];
            if *slot == u32::MAX {
                *slot = writers.len() as u32;
                writers.push(&plan.ways[way]);
            }
            *slot
        };
        let writer_of = selection.decisions.iter().map(|decision| slot_of(*decision)).collect();
        let rows = UInt32Array::from(selection.rows.clone());
        Self { selection, keys, writers, writer_of, rows, resources: OnceCell::new() }
    }

    /// The column, of its declared type and with a cell for each row; empty where the field has expired or no decision
    /// writes it.
    fn column(&self, number: usize, column: &OutputColumn) -> Result<ArrayRef, Failed> {
        let operators: Vec<Option<u16>> = self.writers.iter().map(|writers| writers[number]).collect();
        let values = self.selection.facts.values(column.input);
        let Some(values) = values.filter(|_| operators.iter().any(Option::is_some)) else {
            return Ok(new_null_array(&column.data_type, self.rows.len()));
        };
        let made = match operators.split_first() {
            Some((Some(first), rest)) if rest.iter().all(|operator| operator == &Some(*first)) => {
                let operator = column.operators.get(usize::from(*first)).ok_or(Failed::All)?;
                self.by_one(&values, operator, column).ok_or(Failed::All)?
            }
            _ => self.by_several(&values, &operators, column)?,
        };
        let fits = |made: &ArrayRef| made.data_type() == &column.data_type && made.len() == self.rows.len();
        clean(&made).filter(fits).ok_or(Failed::All)
    }

    /// All rows by one operator; values that come once a resource are worked on once a resource.
    fn by_one(&self, values: &FieldValues<'_>, operator: &OperatorRef, column: &OutputColumn) -> Option<ArrayRef> {
        match values {
            FieldValues::PerRow(values) => self.apply(operator, &pick(values, &self.rows)?, column),
            FieldValues::PerResource(values) => {
                let resources = self.resources.get_or_init(|| self.used_resources());
                let made = self.apply(operator, &pick(values, &resources.used)?, column)?;
                pick(&made, &resources.of_row)
            }
        }
    }

    /// Each operator on its own rows, put together in the order of rows.
    fn by_several(
        &self,
        values: &FieldValues<'_>,
        operators: &[Option<u16>],
        column: &OutputColumn,
    ) -> Result<ArrayRef, Failed> {
        // Source 0 is one null: for rows whose decision writes nothing here.
        let mut sources = vec![new_null_array(&column.data_type, 1)];
        let mut places = vec![(0, 0); self.rows.len()];
        for (number, operator) in (0..).zip(&column.operators) {
            let mine: Vec<u32> = (0..)
                .zip(&self.writer_of)
                .filter(|(_, writer)| operators[**writer as usize] == Some(number))
                .map(|(row, _)| row)
                .collect();
            if mine.is_empty() {
                continue;
            }
            let inputs = mine.iter().map(|row| self.place(values, self.rows.value(*row as usize)));
            let made = pick(values.array(), &UInt32Array::from_iter_values(inputs))
                .and_then(|input| self.apply(operator, &input, column));
            let Some(made) = made.filter(|made| made.data_type() == &column.data_type && made.len() == mine.len())
            else {
                return Err(Failed::Rows(mine));
            };
            mine.iter().enumerate().for_each(|(at, row)| places[*row as usize] = (sources.len(), at));
            sources.push(made);
        }
        let sources: Vec<&dyn Array> = sources.iter().map(AsRef::as_ref).collect();
        interleave(&sources, &places).map_err(|_| Failed::All)
    }

    /// `None` if the operator fails: its rows are dropped then, never let through.
    fn apply(&self, operator: &OperatorRef, values: &ArrayRef, column: &OutputColumn) -> Option<ArrayRef> {
        let stream = self.selection.facts.stream;
        let name = match column.input {
            Input::Time => "time",
            Input::Field(field) => &stream.fields.get(usize::from(field))?.column,
        };
        let context = OperatorContext { purpose: &self.selection.table.purpose_name, column: name, keys: self.keys };
        list::apply(&**operator, values, &context).ok()
    }

    fn used_resources(&self) -> Resources {
        let resource_of = &self.selection.facts.group.raw.resource;
        let mut slots: Vec<u32> = Vec::new();
        let mut used = Vec::new();
        let of_row = self.rows.values().iter().map(|row| {
            let resource = resource_of[*row as usize];
            if slots.len() <= resource as usize {
                slots.resize(resource as usize + 1, u32::MAX);
            }
            let slot = &mut slots[resource as usize];
            if *slot == u32::MAX {
                *slot = used.len() as u32;
                used.push(resource);
            }
            *slot
        });
        let of_row = UInt32Array::from_iter_values(of_row);
        Resources { used: UInt32Array::from(used), of_row }
    }

    /// Where the value of a row of the group is.
    fn place(&self, values: &FieldValues<'_>, row: u32) -> u32 {
        match values {
            FieldValues::PerRow(_) => row,
            FieldValues::PerResource(_) => self.selection.facts.group.raw.resource[row as usize],
        }
    }
}

/// The values at `places`; the array itself where that is all of it in order.
fn pick(values: &ArrayRef, places: &UInt32Array) -> Option<ArrayRef> {
    let all = places.len() == values.len() && places.values().iter().zip(0..).all(|(place, row)| *place == row);
    if all { Some(values.clone()) } else { take(values, places, None).ok() }
}
