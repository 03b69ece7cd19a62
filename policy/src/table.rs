//! One table of a plan: cells, decisions, and the columns that its rows get.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use arrow_schema::{DataType, Field as ArrowField, Schema};
use hashbrown::HashMap;

use crate::catalogue::{FieldType, Stream};
use crate::cells::{CellSpace, Reach};
use crate::condition::{Dimension, DimensionSubject};
use crate::contest::{Contender, Contest, NOBODY};
use crate::lattice;
use crate::operator::{Operator, OperatorRef, Rank, list_of, suppressed_type};
use crate::plan::{Decision, Input, NO_RULE, OutputColumn, TablePlan, TableRule, Winner, Writers};
use crate::policy::Jurisdictions;
use crate::source::{Findings, Span};

/// What a table is built from; the cells of the dimensions are within their limit.
#[derive(Debug)]
pub(crate) struct TableDraft<'a> {
    pub(crate) purpose: u16,
    pub(crate) purpose_name: &'a str,
    pub(crate) stream_number: u16,
    pub(crate) stream: &'a Stream,
    pub(crate) jurisdictions: &'a Jurisdictions,
    pub(crate) dimensions: Vec<Dimension>,
    pub(crate) rules: Vec<TableRule>,
    /// Rule → emit → where it stands.
    pub(crate) places: Vec<Vec<Span>>,
}

impl TableDraft<'_> {
    /// Computes every cell; operators that cannot be compared are reported.
    pub(crate) fn build(self, findings: &mut Findings) -> TablePlan {
        let mut space = CellSpace::new(self.dimensions.iter());
        let reaches: Vec<Reach> = self.rules.iter().map(|rule| space.reach(&rule.condition)).collect();
        let mut bouts = Vec::new();
        for (input, contenders) in self.contenders(&reaches) {
            let contest = Contest::hold(&contenders, space.len());
            for pair in &contest.rivals {
                self.report_rivals(input, &contenders, *pair, findings);
            }
            bouts.push(Bout { input, contenders, winner: contest.winner });
        }
        let classes = decision_classes(&bouts, &self.canonical_cells());
        let columns = self.columns(&bouts, &classes.cells);
        let decisions: Vec<Decision> =
            classes.first_cells.iter().map(|cell| self.decision(*cell, &bouts, &columns)).collect();
        drop(bouts);
        let schema = Arc::new(schema(&columns));
        TablePlan {
            purpose: self.purpose,
            purpose_name: self.purpose_name.into(),
            stream: self.stream_number,
            stream_name: self.stream.name.as_str().into(),
            schema,
            writers: Writers::new(&decisions, columns.len()),
            columns,
            dimensions: self.dimensions,
            cells: classes.cells,
            decisions,
            rules: self.rules,
        }
    }

    /// All cells in an order that depends on names only, not on where the documents put them.
    fn canonical_cells(&self) -> Vec<usize> {
        let mut strides = Vec::with_capacity(self.dimensions.len());
        let mut stride = 1;
        for dimension in self.dimensions.iter().rev() {
            strides.push(stride);
            stride *= dimension.classes as usize;
        }
        strides.reverse();
        let mut dimensions: Vec<(&Dimension, usize)> = self.dimensions.iter().zip(strides).collect();
        dimensions.sort_by_key(|(dimension, _)| match &dimension.subject {
            DimensionSubject::Event => (0, ""),
            DimensionSubject::Jurisdiction => (1, ""),
            DimensionSubject::Gpc => (2, ""),
            DimensionSubject::Bool { field }
            | DimensionSubject::Enum { field, .. }
            | DimensionSubject::Interval { field, .. } => (3, input_name(Input::Field(*field), self.stream)),
        });
        dimensions.iter().fold(vec![0], |cells, (dimension, stride)| {
            let classes = self.canonical_classes(dimension);
            cells.iter().flat_map(|cell| classes.iter().map(move |class| cell + class * stride)).collect()
        })
    }

    fn canonical_classes(&self, dimension: &Dimension) -> Vec<usize> {
        let mut classes: Vec<usize> = (0..dimension.classes as usize).collect();
        match &dimension.subject {
            DimensionSubject::Event => {
                classes.sort_by_key(|class| self.stream.events.get(*class).map(|event| &event.name));
            }
            DimensionSubject::Jurisdiction => classes.sort_by_key(|class| self.jurisdictions.names.get(*class)),
            _ => {}
        }
        classes
    }

    /// Who reaches which field, in the order of the document.
    fn contenders<'s>(&'s self, reaches: &'s [Reach]) -> BTreeMap<Input, Vec<Contender<'s>>> {
        let mut by_input: BTreeMap<Input, Vec<Contender<'s>>> = BTreeMap::new();
        for (rule, (declared, reach)) in self.rules.iter().zip(reaches).enumerate() {
            for (emit, (input, operator)) in declared.emits.iter().enumerate() {
                by_input.entry(*input).or_default().push(Contender { rule, emit, operator, reach });
            }
        }
        by_input
    }

    fn report_rivals(
        &self,
        input: Input,
        contenders: &[Contender<'_>],
        (a, b): (usize, usize),
        findings: &mut Findings,
    ) {
        let (a, b) = (&contenders[a], &contenders[b]);
        let (place_a, place_b) = (&self.places[a.rule][a.emit], &self.places[b.rule][b.emit]);
        let (first, first_place, second, second_place) =
            if place_a.start <= place_b.start { (a, place_a, b, place_b) } else { (b, place_b, a, place_a) };
        let field = input_name(input, self.stream);
        let line = findings.source().line(first_place.start);
        let (first_id, second_id) = (&self.rules[first.rule].id, &self.rules[second.rule].id);
        let message = format!(
            "`{}` of rule `{second_id}` and `{}` of rule `{first_id}` (line {line}) both reach `{field}` of stream `{}`, and neither is stricter",
            lattice::text(&**second.operator),
            lattice::text(&**first.operator),
            self.stream.name,
        );
        let mend = "use the same operator in both, make one a multiple of the other, or make the conditions exclude each other";
        let also = format!("`{}` of rule `{first_id}`", lattice::text(&**first.operator));
        findings.report_both(second_place, message, mend, (first_place, &also));
    }

    /// The columns that winners write, base columns before those with a suffix.
    fn columns(&self, bouts: &[Bout<'_>], cells: &[u32]) -> Vec<OutputColumn> {
        let mut columns = Vec::new();
        for bout in bouts {
            let winning: BTreeSet<u32> = bout
                .winner
                .iter()
                .zip(cells)
                .filter(|(winner, decision)| **winner != NOBODY && **decision != NO_RULE)
                .map(|(winner, _)| *winner)
                .collect();
            let winning: Vec<&OperatorRef> =
                winning.iter().filter_map(|winner| bout.contenders.get(*winner as usize)).map(|c| c.operator).collect();
            columns.extend(self.columns_of(bout.input, &winning));
        }
        columns
    }

    fn columns_of(&self, input: Input, winning: &[&OperatorRef]) -> Vec<OutputColumn> {
        let ((kind, list), name) = (input_kind(input, self.stream), input_name(input, self.stream));
        let mut by_suffix: BTreeMap<Option<&'static str>, OutputColumn> = BTreeMap::new();
        for operator in winning.iter().filter(|operator| writes(&****operator)) {
            let Some(output) = operator.output(kind) else { continue };
            let data_type = if list { list_of(output) } else { output };
            let column = by_suffix.entry(operator.suffix()).or_insert_with(|| OutputColumn {
                name: column_name(name, &***operator),
                input,
                data_type,
                operators: Vec::new(),
            });
            if !column.operators.iter().any(|other| same(&**other, &***operator)) {
                column.operators.push(Arc::clone(operator));
            }
        }
        // A column that is only ever suppressed stays in the schema, empty: its absence would tell no less.
        if by_suffix.is_empty() && winning.iter().any(|operator| operator.rank() == Rank::Suppress) {
            let data_type = suppressed_type(kind, list);
            let column = OutputColumn { name: name.to_owned(), input, data_type, operators: Vec::new() };
            by_suffix.insert(None, column);
        }
        by_suffix.into_values().collect()
    }

    fn decision(&self, cell: usize, bouts: &[Bout<'_>], columns: &[OutputColumn]) -> Decision {
        let mut winners = Vec::new();
        for bout in bouts {
            let Some(winner) = bout.contenders.get(bout.winner[cell] as usize) else { continue };
            let place = |column: &OutputColumn| {
                column.operators.iter().position(|operator| same(&**operator, &**winner.operator))
            };
            let written = columns
                .iter()
                .enumerate()
                .filter(|(_, column)| column.input == bout.input)
                .find_map(|(number, column)| Some((number as u16, place(column)? as u16)));
            winners.push(Winner { input: bout.input, rule: self.rules[winner.rule].rule, writes: written });
        }
        Decision { winners }
    }
}

/// Type of a field or of `time`, and whether it is a list.
pub(crate) fn input_kind(input: Input, stream: &Stream) -> (FieldType, bool) {
    let field = match input {
        Input::Time => return (FieldType::Timestamp, false),
        Input::Field(number) => stream.fields.get(usize::from(number)),
    };
    field.map_or((FieldType::String, false), |field| (field.kind, field.list))
}

/// Catalogue column of a field, or `time`.
pub(crate) fn input_name(input: Input, stream: &Stream) -> &str {
    match input {
        Input::Time => "time",
        Input::Field(number) => stream.fields.get(usize::from(number)).map_or("", |field| field.column.as_str()),
    }
}

/// Column that an operator writes.
pub(crate) fn column_name(column: &str, operator: &dyn Operator) -> String {
    operator.suffix().map_or_else(|| column.to_owned(), |suffix| format!("{column}_{suffix}"))
}

/// One field's contenders and winners.
struct Bout<'a> {
    input: Input,
    contenders: Vec<Contender<'a>>,
    winner: Vec<u32>,
}

/// Cells by the set of their winners.
struct DecisionClasses {
    cells: Vec<u32>,
    first_cells: Vec<usize>,
}

/// Numbers the distinct sets of winners by the first cell that has each, in the given order of all cells.
fn decision_classes(bouts: &[Bout<'_>], order: &[usize]) -> DecisionClasses {
    let len = order.len();
    let mut written = vec![false; len];
    let mut class = vec![0u32; len];
    for bout in bouts {
        // Refines the classes so far by who wins this field.
        let mut refined: HashMap<(u32, u32), u32> = HashMap::new();
        for (cell, winner) in bout.winner.iter().enumerate() {
            let next = refined.len() as u32;
            class[cell] = *refined.entry((class[cell], *winner)).or_insert(next);
            let contender = bout.contenders.get(*winner as usize);
            written[cell] |= contender.is_some_and(|contender| writes(&**contender.operator));
        }
    }
    let mut numbers: HashMap<u32, u32> = HashMap::new();
    let mut first_cells = Vec::new();
    let mut cells = vec![NO_RULE; len];
    for cell in order.iter().copied().filter(|cell| written[*cell]) {
        let next = numbers.len() as u32;
        let number = *numbers.entry(class[cell]).or_insert(next);
        if number == next {
            first_cells.push(cell);
        }
        cells[cell] = number;
    }
    DecisionClasses { cells, first_cells }
}

fn schema(columns: &[OutputColumn]) -> Schema {
    let (time, fields): (Vec<&OutputColumn>, Vec<&OutputColumn>) =
        columns.iter().partition(|column| column.input == Input::Time);
    let output = |column: &OutputColumn| ArrowField::new(&column.name, column.data_type.clone(), true);
    let mut all = vec![ArrowField::new("event", DataType::Utf8, false)];
    all.extend(time.into_iter().map(output));
    all.push(ArrowField::new("subject", DataType::Utf8, false));
    all.push(ArrowField::new("consent_seq", DataType::Int64, true));
    all.push(ArrowField::new("decision", DataType::Int32, false));
    all.extend(fields.into_iter().map(output));
    Schema::new(all)
}

fn writes(operator: &dyn Operator) -> bool {
    operator.rank() < Rank::Suppress
}

fn same(a: &dyn Operator, b: &dyn Operator) -> bool {
    a.name() == b.name() && a.parameters() == b.parameters()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::operator::arrow_type;

    #[test]
    fn time_is_microseconds_in_utc() {
        let stream = Stream {
            name: String::new(),
            signal: crate::catalogue::Signal::Logs,
            description: String::new(),
            owner: String::new(),
            expires_day: None,
            events: Vec::new(),
            fields: Vec::new(),
        };
        let (kind, _) = input_kind(Input::Time, &stream);
        assert_eq!(arrow_type(kind), DataType::Timestamp(arrow_schema::TimeUnit::Microsecond, Some("UTC".into())));
    }
}
