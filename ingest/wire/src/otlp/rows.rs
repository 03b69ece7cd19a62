//! Rows of a request, built straight into raw Arrow columns by stream: what every encoding of every signal shares.
//!
//! A decoder calls [`Rows::next_resource`] and [`Rows::next_scope`] where a resource and a scope begin, and
//! [`Rows::record`] for each record. A record is resolved into a scratch row first and reaches the columns only if every
//! declared field could take its value.

use candor_policy::batch::{DecodeTally, Received};
use candor_policy::catalogue::{Place, Signal};
use candor_policy::key_index::KeyIndex;

use super::group::{Group, Owner, Side, State};
use super::resolve::{Buffers, Resolving};
use super::value::{KeyValues, Value};
use super::{DecodeError, DecodeLimits};

/// How many times the limit on records the lists of all spans may have elements: an event without an attribute takes
/// an element of its list all the same, so that a small body could ask for much.
const TIMES: usize = 16;

/// One attribute.
pub(crate) type Attribute<'v, N> = (&'v str, Value<'v, N>);

/// A log record, data point or span as an encoding has it; `'v` is where its values live.
pub(crate) trait Record<'v, N> {
    /// What it is.
    const SIGNAL: Signal;

    /// Name of its event.
    fn name(&self) -> &'v str;

    /// Time of the event, µs, rounded down.
    fn microseconds(&self) -> Option<i64>;

    /// Its attributes.
    fn attributes(&self) -> &[Attribute<'v, N>];

    /// Keys of attributes that are part of the protocol, and so not undeclared where no field takes them.
    fn known(&self) -> &'static [&'static str] {
        &[]
    }

    /// What came with it and is never stored, counted as undeclared attributes.
    fn undeclared(&self) -> u64 {
        0
    }

    /// What stands at a place of one value.
    fn value(&self, place: Place) -> Value<'v, N>;

    /// What stands at a place that is a list.
    fn elements(&self, _place: Place, _push: impl FnMut(Value<'v, N>)) {}

    /// How many events or links it has: those of a span.
    fn parts(&self, _part: Part) -> usize {
        0
    }

    /// The attributes of one of them.
    fn part_attributes(&self, _part: Part, _number: usize) -> &[Attribute<'v, N>] {
        &[]
    }
}

/// What a span has several of, each with attributes of its own.
#[derive(Clone, Copy)]
pub(crate) enum Part {
    Event,
    Link,
}

/// The instrumentation scope that records came from.
pub(crate) struct Scope<'v, N> {
    pub(crate) name: &'v str,
    pub(crate) version: &'v str,
    pub(crate) attributes: Vec<Attribute<'v, N>>,
}

/// The rows of a request so far.
pub(crate) struct Rows<'k> {
    keys: &'k KeyIndex,
    most_elements: usize,
    most_aligned: usize,
    aligned: usize,
    groups: Vec<Option<Group<'k>>>,
    tally: DecodeTally,
    resource: u64,
    scope: u64,
    scratch: Scratch,
}

/// Buffers that outlive a record, so that none is allocated for one.
#[derive(Default)]
struct Scratch {
    resource: Buffers,
    scope: Buffers,
    record: Buffers,
}

/// A time that tables have, of nanoseconds of which 0 says that there are none.
pub(crate) const fn microseconds(nanoseconds: u64) -> Option<i64> {
    match nanoseconds {
        0 => None,
        nanoseconds => Some((nanoseconds / 1_000) as i64),
    }
}

impl<N> Default for Scope<'_, N> {
    fn default() -> Self {
        Self { name: "", version: "", attributes: Vec::new() }
    }
}

impl<N> Scope<'_, N> {
    /// Forgets a scope, but not its memory.
    pub(crate) fn clear(&mut self) {
        self.name = "";
        self.version = "";
        self.attributes.clear();
    }
}

impl<'k> Rows<'k> {
    pub(crate) fn new(keys: &'k KeyIndex, limits: &DecodeLimits) -> Self {
        Self {
            keys,
            most_elements: limits.elements,
            most_aligned: limits.records.saturating_mul(TIMES),
            aligned: 0,
            groups: std::iter::repeat_with(|| None).take(keys.streams().len()).collect(),
            tally: DecodeTally::default(),
            resource: 0,
            scope: 0,
            scratch: Scratch::default(),
        }
    }

    /// From here on records belong to another resource.
    pub(crate) fn next_resource(&mut self) {
        self.resource += 1;
    }

    /// From here on records belong to another scope.
    pub(crate) fn next_scope(&mut self) {
        self.scope += 1;
    }

    /// Adds a record of the current resource, whose attributes are `resource`, and the current scope. Says which stream
    /// has a row more, if one has.
    pub(crate) fn record<'v, N: KeyValues<'v>, R: Record<'v, N>>(
        &mut self,
        resource: &[Attribute<'v, N>],
        scope: &Scope<'v, N>,
        record: &R,
    ) -> Result<Option<u16>, DecodeError> {
        let place = self.keys.event(R::SIGNAL, record.name());
        let Some((stream, event, keys)) = place.and_then(|(s, e)| Some((s, e, self.keys.stream(s)?))) else {
            self.tally.undeclared_events += 1;
            return Ok(None);
        };
        let Some(group) = self.groups.get_mut(usize::from(stream)) else { return Ok(None) };
        let group = group.get_or_insert_with(|| Group::new(stream, keys));
        let (tally, scratch, most) = (&mut self.tally, &mut self.scratch, self.most_elements);

        let mut of_resource = Resolving::new(&mut scratch.resource, keys, event, most);
        let mut look = |it: &mut Resolving<'_, '_, 'v>| it.attributes(&keys.resource, resource);
        judge(&mut group.resource, self.resource, event, &mut of_resource, tally, &mut look)?;
        let mut of_scope = Resolving::new(&mut scratch.scope, keys, event, most);
        let mut look = |it: &mut Resolving<'_, '_, 'v>| it.scope(scope);
        judge(&mut group.scope, self.scope, event, &mut of_scope, tally, &mut look)?;
        let mut of_record = Resolving::new(&mut scratch.record, keys, event, most);
        of_record.record(record)?;
        tally.undeclared_attributes += of_record.undeclared;
        self.aligned += of_record.aligned;
        if self.aligned > self.most_aligned {
            return Err(DecodeError::TooMany { what: "elements in the lists of spans", limit: self.most_aligned });
        }

        let bad = group.resource.bad(event).or(group.scope.bad(event)).or(of_record.bad);
        if let Some(field) = bad {
            count_bad(tally, stream, field);
        } else {
            // Looked at for an earlier record, which was bad: the cells are gone.
            if group.resource.state(event) == State::Counted && of_resource.is_empty() {
                of_resource.attributes(&keys.resource, resource)?;
            }
            if group.scope.state(event) == State::Counted && of_scope.is_empty() {
                of_scope.scope(scope)?;
            }
            let resource = group.shared_row(Side::Resource, event, &of_resource.cells);
            let scope = group.shared_row(Side::Scope, event, &of_scope.cells);
            group.write(event, record.microseconds(), resource, scope, &of_record.cells);
        }
        of_resource.recycle();
        of_scope.recycle();
        of_record.recycle();
        Ok(bad.is_none().then_some(stream))
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

/// Looks at a resource or scope, unless an earlier record of the same class of events had it looked at.
fn judge<'s, 'k, 'v>(
    owner: &mut Owner,
    number: u64,
    event: u16,
    resolving: &mut Resolving<'s, 'k, 'v>,
    tally: &mut DecodeTally,
    look: &mut dyn FnMut(&mut Resolving<'s, 'k, 'v>) -> Result<(), DecodeError>,
) -> Result<(), DecodeError> {
    owner.enter(number);
    if owner.state(event) == State::New {
        look(resolving)?;
        tally.undeclared_attributes += resolving.undeclared;
        owner.set_state(event, resolving.bad.map_or(State::Counted, State::Bad));
    }
    Ok(())
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
