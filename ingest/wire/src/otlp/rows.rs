//! Rows of a request, built straight into raw Arrow columns by stream: what every encoding of OTLP shares.
//!
//! A decoder calls [`Rows::next_resource`] where a resource begins and [`Rows::record`] for each of its records. A record
//! is resolved into a scratch row first and reaches the columns only if every declared field could take its value.
//!
//! Of several values for one slot the one under the dotted key wins over one inside nested lists, and among equals the
//! first; one that lost is not looked at, so it cannot be a bad value. An attribute whose key feeds nothing of the
//! record's event counts as undeclared, inside a nested list as well; those of a resource count once for each set of
//! fields that its records can carry.

use candor_policy::batch::{DecodeTally, Received};
use candor_policy::key_index::{KeyIndex, KeyTable, Slot, StreamKeys};

use super::DecodeError;
use super::group::{EXTRA_COLUMNS, Group, ResourceState};
use super::value::{Cell, KeyValues, Value, field_cell, gpc_cell, jurisdiction_cell, subject_cell};

/// Names the event of a record whose `event_name` is empty.
const EVENT_NAME: &str = "event.name";

/// One attribute.
pub(crate) type Attribute<'v, N> = (&'v str, Value<'v, N>);

/// A log record as an encoding has it; `'v` is where its values live.
pub(crate) struct Record<'r, 'v, N> {
    pub(crate) event_name: &'v str,
    /// Nanoseconds; 0 where the client sent none.
    pub(crate) time: u64,
    /// When a collector saw it, in nanoseconds; 0 where none did.
    pub(crate) observed_time: u64,
    /// 0 where there is none.
    pub(crate) severity_number: i32,
    pub(crate) severity_text: &'v str,
    pub(crate) body: Value<'v, N>,
    pub(crate) attributes: &'r [Attribute<'v, N>],
}

/// The rows of a request so far.
pub(crate) struct Rows<'k> {
    keys: &'k KeyIndex,
    groups: Vec<Option<Group<'k>>>,
    tally: DecodeTally,
    resource: u64,
    scratch: Scratch,
}

impl<'k> Rows<'k> {
    pub(crate) fn new(keys: &'k KeyIndex) -> Self {
        Self {
            keys,
            groups: std::iter::repeat_with(|| None).take(keys.streams().len()).collect(),
            tally: DecodeTally::default(),
            resource: 0,
            scratch: Scratch::default(),
        }
    }

    /// From here on records belong to another resource.
    pub(crate) fn next_resource(&mut self) {
        self.resource += 1;
    }

    /// Adds a record of the current resource, whose attributes are `resource`.
    pub(crate) fn record<'v, N: KeyValues<'v>>(
        &mut self,
        resource: &[Attribute<'v, N>],
        record: &Record<'_, 'v, N>,
    ) -> Result<(), DecodeError> {
        let place = self.keys.event(record.name());
        let Some((stream, event, keys)) = place.and_then(|(s, e)| Some((s, e, self.keys.stream(s)?))) else {
            self.tally.undeclared_events += 1;
            return Ok(());
        };
        let Some(group) = self.groups.get_mut(usize::from(stream)) else { return Ok(()) };
        let group = group.get_or_insert_with(|| Group::new(stream, keys));
        let class = group.enter(self.resource, event);

        let mut of_resource = Resolving::new(&mut self.scratch.resource, keys, event, true);
        if group.state(class) == ResourceState::New {
            of_resource.attributes(&keys.resource, resource)?;
            self.tally.undeclared_attributes += of_resource.undeclared;
            group.set_state(class, of_resource.bad.map_or(ResourceState::Counted, ResourceState::Bad));
        }
        let mut of_record = Resolving::new(&mut self.scratch.record, keys, event, false);
        of_record.record(record)?;
        self.tally.undeclared_attributes += of_record.undeclared;

        let bad = if let ResourceState::Bad(field) = group.state(class) { Some(field) } else { of_record.bad };
        if let Some(field) = bad {
            count_bad(&mut self.tally, stream, field);
        } else {
            // Counted with an earlier record, which was bad: its cells are gone.
            if group.state(class) == ResourceState::Counted && of_resource.cells.is_empty() {
                of_resource.attributes(&keys.resource, resource)?;
            }
            let resource = group.resource_row(class, &of_resource.cells);
            group.write(event, record.microseconds(), resource, &of_record.cells);
        }
        of_resource.recycle();
        of_record.recycle();
        Ok(())
    }

    /// All rows, by stream.
    pub(crate) fn finish(mut self) -> Received {
        self.tally.bad_values.sort_unstable();
        self.tally.bad_fields.sort_unstable();
        let groups = self.groups.into_iter().flatten().filter_map(Group::finish).collect();
        Received::new(groups, self.tally)
    }
}

impl std::fmt::Debug for Rows<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Rows({} streams)", self.groups.iter().flatten().count())
    }
}

impl<'v, N> Record<'_, 'v, N> {
    fn name(&self) -> &'v str {
        if !self.event_name.is_empty() {
            return self.event_name;
        }
        match self.attributes.iter().find(|(key, _)| *key == EVENT_NAME) {
            Some((_, Value::Text(name))) => name,
            _ => "",
        }
    }

    /// Time of the event, µs, rounded down.
    const fn microseconds(&self) -> Option<i64> {
        match (self.time, self.observed_time) {
            (0, 0) => None,
            (0, nanoseconds) | (nanoseconds, _) => Some((nanoseconds / 1_000) as i64),
        }
    }

    fn severity_number(&self) -> Value<'v, N> {
        if self.severity_number == 0 { Value::Absent } else { Value::Int(i64::from(self.severity_number)) }
    }

    fn severity_text(&self) -> Value<'v, N> {
        if self.severity_text.is_empty() { Value::Absent } else { Value::Text(self.severity_text) }
    }
}

/// Buffers that outlive a record, so that none is allocated for one.
#[derive(Default)]
struct Scratch {
    resource: Buffers,
    record: Buffers,
}

#[derive(Default)]
struct Buffers {
    cells: Vec<(usize, Cell<'static>)>,
    /// Column → stamp of the last resolution that a value was offered in.
    seen: Vec<u64>,
    stamp: u64,
    path: String,
}

/// The scratch row: which values go where, and the first that cannot.
struct Resolving<'s, 'k, 'v> {
    buffers: &'s mut Buffers,
    keys: &'k StreamKeys,
    allowed: &'k [bool],
    from_resource: bool,
    cells: Vec<(usize, Cell<'v>)>,
    bad: Option<u16>,
    undeclared: u64,
}

impl<'s, 'k, 'v> Resolving<'s, 'k, 'v> {
    fn new(buffers: &'s mut Buffers, keys: &'k StreamKeys, event: u16, from_resource: bool) -> Self {
        buffers.stamp += 1;
        let columns = keys.fields.len() + EXTRA_COLUMNS;
        if buffers.seen.len() < columns {
            buffers.seen.resize(columns, 0);
        }
        let allowed = keys.event_fields.get(usize::from(event)).map_or(&[][..], Vec::as_slice);
        let cells = std::mem::take(&mut buffers.cells);
        Self { buffers, keys, allowed, from_resource, cells, bad: None, undeclared: 0 }
    }

    fn record<N: KeyValues<'v>>(&mut self, record: &Record<'_, 'v, N>) -> Result<(), DecodeError> {
        self.attributes(&self.keys.attributes, record.attributes)?;
        self.offer(&self.keys.body, &record.body);
        self.offer(&self.keys.severity_number, &record.severity_number());
        self.offer(&self.keys.severity_text, &record.severity_text());
        Ok(())
    }

    fn attributes<N: KeyValues<'v>>(
        &mut self,
        table: &KeyTable,
        attributes: &[Attribute<'v, N>],
    ) -> Result<(), DecodeError> {
        let mut nested = false;
        for (key, value) in attributes {
            if matches!(value, Value::List(_)) && table.is_prefix(key) {
                nested = true;
            } else if !self.takes(table, key, value) && (self.from_resource || *key != EVENT_NAME) {
                self.undeclared += 1;
            }
        }
        if nested {
            for (key, value) in attributes {
                if let Value::List(list) = value
                    && table.is_prefix(key)
                {
                    self.buffers.path.clear();
                    self.buffers.path.push_str(key);
                    self.descend(table, *list)?;
                }
            }
        }
        Ok(())
    }

    fn descend<N: KeyValues<'v>>(&mut self, table: &KeyTable, list: N) -> Result<(), DecodeError> {
        let base = self.buffers.path.len();
        list.each(&mut |key, value| {
            self.buffers.path.truncate(base);
            self.buffers.path.push('.');
            self.buffers.path.push_str(key);
            match value {
                Value::List(inner) if table.is_prefix(&self.buffers.path) => return self.descend(table, inner),
                value => {
                    let slots = table.slots(&self.buffers.path);
                    if !slots.is_some_and(|slots| self.offer(slots, &value)) {
                        self.undeclared += 1;
                    }
                }
            }
            Ok(())
        })
    }

    fn takes<N>(&mut self, table: &KeyTable, key: &str, value: &Value<'v, N>) -> bool {
        table.slots(key).is_some_and(|slots| self.offer(slots, value))
    }

    /// Puts a value where it goes; false if nothing of this event asks for it.
    fn offer<N>(&mut self, slots: &[Slot], value: &Value<'v, N>) -> bool {
        let mut asked = false;
        for slot in slots {
            let Some(column) = self.column(*slot) else { continue };
            asked = true;
            let Some(seen) = self.buffers.seen.get_mut(column) else { continue };
            if std::mem::replace(seen, self.buffers.stamp) == self.buffers.stamp {
                continue;
            }
            let cell = match slot {
                Slot::Subject => subject_cell(value),
                Slot::Jurisdiction => jurisdiction_cell(value),
                Slot::Gpc => gpc_cell(value),
                Slot::Field(field) => {
                    let cell = field_cell(self.keys.fields[column].kind, value);
                    if cell.is_err() {
                        self.bad.get_or_insert(*field);
                    }
                    cell.ok().flatten()
                }
            };
            self.cells.extend(cell.map(|cell| (column, cell)));
        }
        asked
    }

    /// Column of a slot, if this event has it from this side.
    fn column(&self, slot: Slot) -> Option<usize> {
        let fields = self.keys.fields.len();
        let (column, per_resource) = match slot {
            Slot::Field(field) => {
                let column = usize::from(field);
                if !self.allowed.get(column).copied().unwrap_or(false) {
                    return None;
                }
                (column, self.keys.fields.get(column)?.per_resource)
            }
            Slot::Subject => (fields, self.keys.subject_per_resource),
            Slot::Jurisdiction => (fields + 1, self.keys.jurisdiction_per_resource),
            Slot::Gpc => (fields + 2, self.keys.gpc_per_resource),
        };
        (per_resource == self.from_resource).then_some(column)
    }

    /// Hands the buffer back. Collecting from the emptied vector keeps its allocation and sheds the lifetime.
    fn recycle(mut self) {
        self.cells.clear();
        self.buffers.cells = self.cells.into_iter().map_while(|_| None).collect();
    }
}

fn count_bad(tally: &mut DecodeTally, stream: u16, field: u16) {
    match tally.bad_values.iter_mut().find(|(known, _)| *known == stream) {
        Some((_, records)) => *records += 1,
        None => tally.bad_values.push((stream, 1)),
    }
    match tally.bad_fields.iter_mut().find(|(known, column, _)| (*known, *column) == (stream, field)) {
        Some((_, _, records)) => *records += 1,
        None => tally.bad_fields.push((stream, field, 1)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_recycled_buffer_keeps_its_allocation() {
        let mut buffers = Buffers { cells: Vec::with_capacity(64), ..Buffers::default() };
        let keys = StreamKeys {
            name: "s".into(),
            fields: Vec::new(),
            attributes: KeyTable::default(),
            resource: KeyTable::default(),
            body: Vec::new(),
            severity_number: Vec::new(),
            severity_text: Vec::new(),
            subject_per_resource: true,
            jurisdiction_per_resource: true,
            gpc_per_resource: true,
            event_fields: Vec::new(),
        };
        let text = String::from("short-lived");
        let mut resolving = Resolving::new(&mut buffers, &keys, 0, false);
        resolving.cells.push((0, Cell::Text(&text)));
        let before = resolving.cells.as_ptr() as usize;
        resolving.recycle();
        assert_eq!((buffers.cells.len(), buffers.cells.as_ptr() as usize), (0, before));
        assert!(buffers.cells.capacity() >= 64);
    }
}
