//! Which values of a record, resource or scope go where, and the first that cannot: written straight into the columns as
//! a row that they do not have yet, which is taken back if something is bad.
//!
//! Of several values for one slot the one under the dotted key wins over one inside nested lists, and among equals the
//! first; one that lost is not looked at, so it cannot be a bad value. An attribute whose key feeds nothing of the
//! record's event counts as undeclared, inside a nested list as well; those of a resource or scope count once for each
//! set of fields that its records can carry.

use candor_policy::catalogue::Place;
use candor_policy::key_index::{KeyTable, Slot, StreamKeys};

use super::DecodeError;
use super::column::{Column, Half};
use super::group::{Side, column_of};
use super::rows::{Attribute, Part, Record, Scope};
use super::value::{KeyValues, Value, gpc, jurisdiction, subject};

/// What outlives a row, so that none is allocated for one.
#[derive(Debug, Default)]
pub(super) struct Scratch {
    /// By table: place in a list of attributes → which key stood there last.
    guesses: [Vec<u32>; 5],
    path: String,
    /// Lists with an element for each event or link of a span: column, and the number of its first element.
    aligned: Vec<(usize, usize)>,
}

/// Whose attributes: their keys are guessed by their place.
#[derive(Clone, Copy)]
enum Of {
    Record,
    Resource,
    Scope,
    SpanEvent,
    Link,
}

/// The row that values are written to.
pub(super) struct Resolving<'g, 'k> {
    pub(super) keys: &'k StreamKeys,
    /// Which fields the event may carry.
    pub(super) allowed: &'k [bool],
    pub(super) columns: &'g mut [(Side, Column)],
    pub(super) scratch: &'g mut Scratch,
    pub(super) side: Side,
    pub(super) row: usize,
    pub(super) most_elements: usize,
    /// Keys that are not undeclared where no field takes them.
    pub(super) known: &'static [&'static str],
    /// Which element of the aligned lists the values are for; none while they are for the row.
    pub(super) element: Option<usize>,
    pub(super) found: Found,
}

/// What is known of a row besides its values.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Found {
    /// The first field that cannot take its value.
    pub(super) bad: Option<u16>,
    /// Elements of lists that a span's events and links made, whether they sent values for them or not.
    pub(super) aligned: usize,
    pub(super) undeclared: u64,
}

impl Scratch {
    /// Which key stood where in the attributes of the record before.
    pub(super) fn guesses_of_record(&self) -> &[u32] {
        &self.guesses[Of::Record as usize]
    }

    /// The same of the resource before.
    pub(super) fn guesses_of_resource(&self) -> &[u32] {
        &self.guesses[Of::Resource as usize]
    }
}

impl<'k> Resolving<'_, 'k> {
    /// Takes in a record, but for its resource and scope.
    pub(super) fn record<'v, N: KeyValues<'v>, R: Record<'v, N>>(&mut self, record: &R) -> Result<(), DecodeError> {
        let keys = self.keys;
        self.found.undeclared += record.undeclared();
        self.known = record.known();
        self.attributes(Of::Record, &keys.attributes, record.attributes())?;
        self.known = &[];
        self.aligned(Of::SpanEvent, &keys.span_event_attributes, record, Part::Event)?;
        self.aligned(Of::Link, &keys.link_attributes, record, Part::Link)?;
        let body = if keys.body_keys.is_empty() { Value::Absent } else { record.value(Place::Body) };
        if let Value::List(body) = body {
            self.body(body)?;
        }
        for (place, slots) in keys.places.iter() {
            if place.is_list() {
                self.offer_elements(slots, place, record);
            } else if place != Place::Body || !matches!(body, Value::List(_)) {
                self.offer(slots, &record.value(place))?;
            }
        }
        Ok(())
    }

    /// Takes in a resource.
    pub(super) fn resource<'v, N: KeyValues<'v>>(
        &mut self,
        attributes: &[Attribute<'v, N>],
    ) -> Result<(), DecodeError> {
        self.attributes(Of::Resource, &self.keys.resource, attributes)
    }

    /// Takes in a scope.
    pub(super) fn scope<'v, N: KeyValues<'v>>(&mut self, scope: &Scope<'v, N>) -> Result<(), DecodeError> {
        let keys = self.keys;
        self.attributes(Of::Scope, &keys.scope_attributes, &scope.attributes)?;
        self.offer(keys.places.slots(Place::ScopeName), &Value::<N>::text(scope.name))?;
        self.offer(keys.places.slots(Place::ScopeVersion), &Value::<N>::text(scope.version))?;
        Ok(())
    }

    fn attributes<'v, N: KeyValues<'v>>(
        &mut self,
        of: Of,
        table: &'k KeyTable,
        attributes: &[Attribute<'v, N>],
    ) -> Result<(), DecodeError> {
        let mut guesses = std::mem::take(&mut self.scratch.guesses[of as usize]);
        if guesses.len() < attributes.len() {
            guesses.resize(attributes.len(), 0);
        }
        let mut nested = false;
        for ((key, value), guess) in attributes.iter().zip(&mut guesses) {
            let slots = table.slots_near(key, guess).unwrap_or_default();
            nested |= self.direct(table, slots, key, value)?;
        }
        self.scratch.guesses[of as usize] = guesses;
        if nested {
            for (key, value) in attributes {
                self.nested(table, key, value)?;
            }
        }
        Ok(())
    }

    /// Takes in a body that is a key-value list as if its pairs were attributes.
    fn body<'v, N: KeyValues<'v>>(&mut self, body: N) -> Result<(), DecodeError> {
        let keys = self.keys;
        let mut nested = false;
        body.each(&mut |key, value| {
            let slots = keys.body_keys.slots(key).unwrap_or_default();
            nested |= self.direct(&keys.body_keys, slots, key, &value)?;
            Ok(())
        })?;
        if nested {
            body.each(&mut |key, value| self.nested(&keys.body_keys, key, &value))?;
        }
        Ok(())
    }

    /// Offers an attribute under its own key; true if what it holds is for [`Self::nested`] instead.
    #[inline]
    fn direct<'v, N: KeyValues<'v>>(
        &mut self,
        table: &KeyTable,
        slots: &[Slot],
        key: &str,
        value: &Value<'v, N>,
    ) -> Result<bool, DecodeError> {
        if matches!(value, Value::List(_)) && table.is_prefix(key) {
            return Ok(true);
        }
        if !self.offer(slots, value)? && !self.known.contains(&key) {
            self.found.undeclared += 1;
        }
        Ok(false)
    }

    /// Offers what is in an attribute that holds declared keys.
    fn nested<'v, N: KeyValues<'v>>(
        &mut self,
        table: &KeyTable,
        key: &str,
        value: &Value<'v, N>,
    ) -> Result<(), DecodeError> {
        match value {
            Value::List(list) if table.is_prefix(key) => {
                self.scratch.path.clear();
                self.scratch.path.push_str(key);
                self.descend(table, *list)
            }
            _ => Ok(()),
        }
    }

    fn descend<'v, N: KeyValues<'v>>(&mut self, table: &KeyTable, list: N) -> Result<(), DecodeError> {
        let base = self.scratch.path.len();
        list.each(&mut |key, value| {
            self.scratch.path.truncate(base);
            self.scratch.path.push('.');
            self.scratch.path.push_str(key);
            match value {
                Value::List(inner) if table.is_prefix(&self.scratch.path) => return self.descend(table, inner),
                value => {
                    let slots = table.slots(&self.scratch.path).unwrap_or_default();
                    if !self.offer(slots, &value)? {
                        self.found.undeclared += 1;
                    }
                }
            }
            Ok(())
        })
    }

    /// Takes in the attributes of a span's events or links: each declared list gets one element for each of them.
    fn aligned<'v, N: KeyValues<'v>, R: Record<'v, N>>(
        &mut self,
        of: Of,
        table: &'k KeyTable,
        record: &R,
        part: Part,
    ) -> Result<(), DecodeError> {
        let count = record.parts(part);
        if count == 0 {
            return Ok(());
        }
        self.scratch.aligned.clear();
        for slot in table.all() {
            let (Slot::Field(field), Some(number)) = (*slot, self.column(*slot)) else { continue };
            let Some((_, column)) = self.columns.get(number).filter(|(_, column)| column.is_list()) else { continue };
            if count > self.most_elements {
                self.found.bad.get_or_insert(field);
                continue;
            }
            self.found.aligned += count;
            self.scratch.aligned.push((number, column.elements()));
        }
        for element in 0..count {
            self.element = Some(element);
            self.attributes(of, table, record.part_attributes(part, element))?;
        }
        self.element = None;
        for (number, from) in &self.scratch.aligned {
            if let Some((_, column)) = self.columns.get_mut(*number) {
                column.end_elements(self.row, from + count);
            }
        }
        Ok(())
    }

    /// Puts a value where it goes; false if nothing of this event asks for it.
    #[inline]
    fn offer<'v, N: KeyValues<'v>>(&mut self, slots: &[Slot], value: &Value<'v, N>) -> Result<bool, DecodeError> {
        // Nearly every key feeds one field, and nearly every field holds one value.
        if let ([Slot::Field(field)], None) = (slots, self.element)
            && let Some(asked) = self.offer_to(*field, value)
        {
            return Ok(asked);
        }
        self.offer_to_all(slots, value)
    }

    /// The same for one field, if it is no list and no other value came first.
    #[inline]
    fn offer_to<N>(&mut self, field: u16, value: &Value<'_, N>) -> Option<bool> {
        if !self.allowed.get(usize::from(field)).copied().unwrap_or(false) {
            return Some(false);
        }
        let (side, column) = self.columns.get_mut(usize::from(field))?;
        if *side != self.side || column.is_list() || column.len() > self.row {
            return None;
        }
        if column.put(self.row, value).is_err() {
            self.found.bad.get_or_insert(field);
        }
        Some(true)
    }

    fn offer_to_all<'v, N: KeyValues<'v>>(
        &mut self,
        slots: &[Slot],
        value: &Value<'v, N>,
    ) -> Result<bool, DecodeError> {
        let mut asked = false;
        for slot in slots {
            let Some(number) = self.column(*slot) else { continue };
            asked = true;
            if let Some(element) = self.element {
                self.put_element(element, number, value);
                continue;
            }
            let Some((side, column)) = self.columns.get_mut(number) else { continue };
            if *side != self.side {
                continue;
            }
            let row = self.row;
            let put = match slot {
                Slot::Lat(_) => column.put_half(row, Half::Latitude, value),
                Slot::Lon(_) => column.put_half(row, Half::Longitude, value),
                // Another value came first.
                _ if column.len() > row => Ok(()),
                Slot::Field(_) if column.is_list() => column.put_array(row, value, self.most_elements)?,
                Slot::Field(_) => column.put(row, value),
                Slot::Subject => match subject(value) {
                    Value::Int(number) => {
                        column.put_decimal(row, number);
                        Ok(())
                    }
                    subject => column.put(row, &subject),
                },
                Slot::Jurisdiction => column.put(row, &jurisdiction(value)),
                Slot::Gpc => column.put(row, &gpc(value)),
            };
            if put.is_err() {
                self.found.bad.get_or_insert(number as u16);
            }
        }
        Ok(asked)
    }

    /// Puts a value into an aligned list. What is not one takes nothing from there.
    fn put_element<N>(&mut self, element: usize, number: usize, value: &Value<'_, N>) {
        let Some((_, from)) = self.scratch.aligned.iter().find(|(known, _)| *known == number) else { return };
        let Some((_, column)) = self.columns.get_mut(number) else { return };
        if column.put_element(from + element, value).is_err() {
            self.found.bad.get_or_insert(number as u16);
        }
    }

    /// Puts the values of a place into the lists that are made of it; no value is no list.
    fn offer_elements<'v, N: KeyValues<'v>>(&mut self, slots: &[Slot], place: Place, record: &impl Record<'v, N>) {
        for slot in slots {
            let (Slot::Field(field), Some(number)) = (*slot, self.column(*slot)) else { continue };
            if let Some((_, column)) = self.columns.get_mut(number).filter(|(_, column)| column.is_list())
                && column.put_list(self.row, self.most_elements, |list| record.elements(place, list)).is_err()
            {
                self.found.bad.get_or_insert(field);
            }
        }
    }

    /// Column of a slot, if this event has it.
    #[inline]
    fn column(&self, slot: Slot) -> Option<usize> {
        let column = column_of(self.keys, slot);
        let is_field = matches!(slot, Slot::Field(_) | Slot::Lat(_) | Slot::Lon(_));
        (!is_field || self.allowed.get(column).copied().unwrap_or(false)).then_some(column)
    }
}
