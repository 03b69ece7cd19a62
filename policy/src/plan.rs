//! The compiled policy: for each (purpose, stream) a table of decision cells and the columns that its rows get.
//!
//! A cell is one combination of the values that conditions look at: event, jurisdiction, GPC and the classes of
//! declared enums, booleans and intervals. Every cell's decision is computed when the plan is compiled, so that a
//! row costs one look-up, and what a policy test enumerates is what production runs.

use std::collections::BTreeSet;
use std::sync::Arc;

use arrow_schema::{DataType, SchemaRef};
use hashbrown::HashMap;

use crate::catalogue::Catalogue;
use crate::condition::{Condition, Dimension};
use crate::lattice;
use crate::operator::OperatorRef;
use crate::policy::Policy;

/// A catalogue and a policy that fit together, compiled.
#[derive(Debug)]
pub struct Plan {
    pub(crate) catalogue: Catalogue,
    pub(crate) policy: Policy,
    /// By purpose (policy order), then stream (catalogue order); only pairs that a rule reaches.
    pub(crate) tables: Vec<TablePlan>,
    /// `[purpose * streams + stream]` → index into `tables`.
    pub(crate) table_index: Vec<Option<u16>>,
}

/// What happens to the rows of one stream for one purpose.
#[derive(Debug)]
pub struct TablePlan {
    /// Number of the purpose in the policy.
    pub purpose: u16,
    /// Purpose name.
    pub purpose_name: Arc<str>,
    /// Number of the stream in the catalogue.
    pub stream: u16,
    /// Stream name.
    pub stream_name: Arc<str>,
    /// What a frame's record batch holds: `event`, `time` if a rule emits it, `subject`, `consent_seq`, `decision`, then fields.
    /// The table adds `batch` after `subject` and the partition column `received_date`.
    pub schema: SchemaRef,
    /// Field columns, in the order of `schema`; the first is `time` where a rule emits it.
    pub columns: Vec<OutputColumn>,
    /// What the cells are made of; the first dimension varies slowest.
    pub(crate) dimensions: Vec<Dimension>,
    /// Cell → index into `decisions`, or [`NO_RULE`].
    pub(crate) cells: Vec<u32>,
    /// Distinct sets of winning rules: the `decision` column of a row. They are numbered by the first cell that has
    /// each, with events, jurisdictions and fields taken by name: documents of the same digest give the same numbers,
    /// so that a row can be explained years later from the published documents.
    pub decisions: Vec<Decision>,
    /// How decisions write: what operators need to know of them.
    pub(crate) writers: Writers,
    /// The rules that are about this table, in the order of the document: what explanations list.
    pub(crate) rules: Vec<TableRule>,
}

/// A rule as one table sees it.
#[derive(Debug)]
pub(crate) struct TableRule {
    /// Number of the rule in the policy.
    pub(crate) rule: u16,
    pub(crate) id: Arc<str>,
    pub(crate) condition: Condition,
    /// What it does to which field of the stream.
    pub(crate) emits: Arc<[(Input, OperatorRef)]>,
}

/// Stands in [`TablePlan::cells`] for: no rule reaches anything.
pub(crate) const NO_RULE: u32 = u32::MAX;

/// One column that a table may get.
#[derive(Debug)]
pub struct OutputColumn {
    /// Name in the table: the catalogue's column, with the operator's suffix where the type changes.
    pub name: String,
    /// What it is made from.
    pub input: Input,
    /// Arrow type in frame and table.
    pub data_type: DataType,
    /// The distinct operators that write this column; decisions point into it.
    pub operators: Vec<OperatorRef>,
}

/// What a column is made from.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Input {
    /// The event's time.
    Time,
    /// Field number of the stream.
    Field(u16),
}

/// One distinct set of winning rules.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Decision {
    /// For each field that any true rule reaches: who won.
    pub winners: Vec<Winner>,
}

/// The rule that won a field and where its operator writes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Winner {
    /// The field (or `time`).
    pub input: Input,
    /// Index of the rule in the policy.
    pub rule: u16,
    /// (column, operator) in [`TablePlan::columns`]; `None` for `drop` and `suppress`, which write nothing.
    pub writes: Option<(u16, u16)>,
}

/// The distinct ways in which the decisions of a table write: fewer than decisions, which tell rules apart that do the same.
#[derive(Debug)]
pub(crate) struct Writers {
    /// For each way: column → index of its operator in [`OutputColumn::operators`].
    pub(crate) ways: Vec<Vec<Option<u16>>>,
    /// Decision → index into `ways`.
    pub(crate) way_of: Vec<u32>,
}

/// Why a column of a stored row holds what it holds.
#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize)]
pub struct ColumnReason {
    /// Id of the rule that won.
    pub rule: String,
    /// The operator that wrote the value, with its parameters: `bin(width=5 origin=0)`.
    pub operator: String,
}

impl Writers {
    pub(crate) fn new(decisions: &[Decision], columns: usize) -> Self {
        let mut numbers: HashMap<Vec<Option<u16>>, u32> = HashMap::new();
        let mut ways = Vec::new();
        let way_of = decisions.iter().map(|decision| {
            let mut way = vec![None; columns];
            for (column, operator) in decision.winners.iter().filter_map(|winner| winner.writes) {
                way[usize::from(column)] = Some(operator);
            }
            *numbers.entry(way).or_insert_with_key(|way| {
                ways.push(way.clone());
                ways.len() as u32 - 1
            })
        });
        let way_of = way_of.collect();
        Self { ways, way_of }
    }
}

impl TablePlan {
    /// What a cell is made of, in order; the first dimension varies slowest.
    #[must_use]
    pub fn dimensions(&self) -> &[Dimension] {
        &self.dimensions
    }

    /// How far apart two cells are that differ by one class of dimension number `dimension`:
    /// a row's cell is the sum over its classes of class × stride.
    #[must_use]
    pub fn cell_stride(&self, dimension: usize) -> usize {
        self.dimensions.iter().skip(dimension + 1).map(|after| after.classes as usize).product()
    }

    /// Index into `decisions` of a cell; none where no true rule lets anything through.
    #[must_use]
    pub fn decision(&self, cell: usize) -> Option<u32> {
        self.cells.get(cell).copied().filter(|decision| *decision != NO_RULE)
    }

    /// The rule and the operator that wrote a column of a stored row, from the row's `decision`; none for a column
    /// that the decision leaves empty. `time` is a column like the others.
    #[must_use]
    pub fn explain_column(&self, decision: u32, column: &str) -> Option<ColumnReason> {
        let decision = self.decisions.get(decision as usize)?;
        let number = self.columns.iter().position(|output| output.name == column)?;
        decision.winners.iter().find_map(|winner| {
            let (written, operator) = winner.writes.filter(|(written, _)| usize::from(*written) == number)?;
            let operator = self.columns.get(usize::from(written))?.operators.get(usize::from(operator))?;
            Some(ColumnReason { rule: self.rule_id(winner.rule)?.to_owned(), operator: lattice::text(&**operator) })
        })
    }

    pub(crate) fn rule_id(&self, rule: u16) -> Option<&str> {
        let at = self.rules.binary_search_by_key(&rule, |known| known.rule).ok()?;
        self.rules.get(at).map(|rule| &*rule.id)
    }
}

impl Plan {
    /// The catalogue it was compiled from.
    #[must_use]
    pub const fn catalogue(&self) -> &Catalogue {
        &self.catalogue
    }

    /// The policy it was compiled from.
    #[must_use]
    pub const fn policy(&self) -> &Policy {
        &self.policy
    }

    /// All tables that rows can reach.
    #[must_use]
    pub fn tables(&self) -> &[TablePlan] {
        &self.tables
    }

    /// The table of a (purpose number, stream number), if a rule reaches it.
    #[must_use]
    pub fn table(&self, purpose: u16, stream: u16) -> Option<&TablePlan> {
        let at = usize::from(purpose) * self.catalogue.streams.len() + usize::from(stream);
        self.table_index.get(at).copied().flatten().and_then(|index| self.tables.get(usize::from(index)))
    }

    /// The table of a purpose and a stream by their names.
    #[must_use]
    pub fn table_named(&self, purpose: &str, stream: &str) -> Option<&TablePlan> {
        self.table(self.policy.purpose_number(purpose)?, self.catalogue.stream_number(stream)?)
    }

    /// Number of the purpose of that name.
    #[must_use]
    pub fn purpose_number(&self, name: &str) -> Option<u16> {
        self.policy.purpose_number(name)
    }

    /// Names of all keys that operators use, sorted: what the key ring must hold.
    #[must_use]
    pub fn named_keys(&self) -> Vec<String> {
        let operators = self.policy.rules.iter().flat_map(|rule| &rule.emits).map(|emit| &emit.operator);
        let names: BTreeSet<&str> = operators.filter_map(|operator| operator.key()).collect();
        names.into_iter().map(str::to_owned).collect()
    }
}
