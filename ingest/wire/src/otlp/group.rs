//! The rows of one stream under construction.

use arrow_array::builder::{TimestampMicrosecondBuilder, UInt16Builder};
use candor_policy::batch::RawGroup;
use candor_policy::catalogue::FieldType;
use candor_policy::key_index::StreamKeys;

use super::column::{Column, time_builder};
use super::value::Cells;

/// Columns after those of the fields: subject, jurisdiction and GPC, in this order.
pub(super) const EXTRA_COLUMNS: usize = 3;

/// Raw columns of one stream.
#[derive(Debug)]
pub(super) struct Group<'k> {
    stream: u16,
    keys: &'k StreamKeys,
    event: UInt16Builder,
    time: TimestampMicrosecondBuilder,
    resource: Vec<u32>,
    /// Fields in the catalogue's order, then [`EXTRA_COLUMNS`].
    columns: Vec<Column>,
    resources: u32,
    /// Event → class: events of one class may carry the same fields of the resource. A resource gets a row for each
    /// class that its records need, because a field that an event does not list must not reach that event's rows.
    classes: Vec<usize>,
    /// Class → what became of the current resource.
    states: Vec<ResourceState>,
    current: u64,
}

/// What became of a resource in one class of events.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum ResourceState {
    /// Not looked at yet.
    New,
    /// Its undeclared attributes are counted; no row needed it so far.
    Counted,
    /// This field cannot take its value: no record of this resource becomes a row.
    Bad(u16),
    /// It has this row in the columns that are counted by resource.
    Written(u32),
}

impl<'k> Group<'k> {
    pub(super) fn new(stream: u16, keys: &'k StreamKeys) -> Self {
        let fields = keys.fields.iter().map(|field| Column::new(field.kind, field.list, field.per_resource));
        let extra = [
            Column::new(FieldType::String, false, keys.subject_per_resource),
            Column::new(FieldType::String, false, keys.jurisdiction_per_resource),
            Column::new(FieldType::Bool, false, keys.gpc_per_resource),
        ];
        let classes = classes(keys);
        let states = vec![ResourceState::New; classes.iter().max().map_or(1, |last| last + 1)];
        Self {
            stream,
            keys,
            event: UInt16Builder::new(),
            time: time_builder(),
            resource: Vec::new(),
            columns: fields.chain(extra).collect(),
            resources: 0,
            classes,
            states,
            current: 0,
        }
    }

    /// A record of resource number `resource` comes: the class of its event.
    pub(super) fn enter(&mut self, resource: u64, event: u16) -> usize {
        if self.current != resource {
            self.current = resource;
            self.states.fill(ResourceState::New);
        }
        self.classes.get(usize::from(event)).copied().unwrap_or(0)
    }

    /// What became of the current resource in a class.
    pub(super) fn state(&self, class: usize) -> ResourceState {
        self.states.get(class).copied().unwrap_or(ResourceState::New)
    }

    /// Notes what became of the current resource in a class.
    pub(super) fn set_state(&mut self, class: usize, state: ResourceState) {
        if let Some(known) = self.states.get_mut(class) {
            *known = state;
        }
    }

    /// The row of the current resource in a class, written now from `cells` if it has none yet.
    pub(super) fn resource_row(&mut self, class: usize, cells: &Cells<'_>) -> u32 {
        if let ResourceState::Written(row) = self.state(class) {
            return row;
        }
        let row = self.resources;
        self.resources += 1;
        self.put(row as usize, cells);
        self.set_state(class, ResourceState::Written(row));
        row
    }

    /// Writes one row.
    pub(super) fn write(&mut self, event: u16, time: Option<i64>, resource: u32, cells: &Cells<'_>) {
        let row = self.resource.len();
        self.event.append_value(event);
        self.time.append_option(time);
        self.resource.push(resource);
        self.put(row, cells);
    }

    /// The finished group, unless no record of the stream became a row.
    pub(super) fn finish(mut self) -> Option<RawGroup> {
        let (rows, resources) = (self.resource.len(), self.resources as usize);
        if rows == 0 {
            return None;
        }
        let mut columns: Vec<_> = self.columns.drain(..).map(|column| column.finish(rows, resources)).collect();
        let gpc = columns.pop()?;
        let jurisdiction = columns.pop()?;
        let subject = columns.pop()?;
        debug_assert_eq!(columns.len(), self.keys.fields.len());
        Some(RawGroup {
            stream: self.stream,
            event: self.event.finish(),
            time: self.time.finish(),
            resource: self.resource,
            columns,
            subject,
            jurisdiction,
            gpc,
        })
    }

    fn put(&mut self, row: usize, cells: &Cells<'_>) {
        for (column, cell) in &cells.cells {
            if let Some(column) = self.columns.get_mut(*column) {
                column.write(row, *cell, &cells.elements);
            }
        }
    }
}

/// Event → class, classes numbered densely from 0.
fn classes(keys: &StreamKeys) -> Vec<usize> {
    let of_event = |event: &[bool]| -> Vec<bool> {
        let allowed = |field: usize| event.get(field).copied().unwrap_or(false);
        keys.fields.iter().enumerate().map(|(number, field)| field.per_resource && allowed(number)).collect()
    };
    let mut distinct: Vec<Vec<bool>> = Vec::new();
    keys.event_fields
        .iter()
        .map(|event| {
            let fields = of_event(event);
            distinct.iter().position(|known| *known == fields).unwrap_or_else(|| {
                distinct.push(fields);
                distinct.len() - 1
            })
        })
        .collect()
}
