//! Rows of a request, built straight into raw Arrow columns by stream: what every encoding of every signal shares.
//!
//! A decoder calls [`Rows::next_resource`] and [`Rows::next_scope`] where a resource and a scope begin, and
//! [`Rows::record`] for each record. A record is resolved into a scratch row first and reaches the columns only if every
//! declared field could take its value.

use candor_policy::batch::{DecodeTally, Received};
use candor_policy::catalogue::{Place, Signal};
use candor_policy::key_index::{KeyIndex, KeyTable, StreamKeys};
use candor_policy::times;

use super::column::{NewList, Share};
use super::group::{Group, Shared, Side};
use super::resolve::Scratch;
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

    /// What stands at a place that is a list, element by element.
    fn elements(&self, _place: Place, _list: &mut NewList<'_>) {}

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
    last: Option<Declared<'k>>,
}

/// A declared event.
#[derive(Clone, Copy)]
struct Declared<'k> {
    signal: Signal,
    name: &'k str,
    stream: u16,
    event: u16,
    keys: &'k StreamKeys,
}

/// The keys of a list of attributes, if it is like the one before of its kind.
#[derive(Clone, Copy, Default)]
pub(crate) struct LikelyKeys<'k, 'r> {
    table: Option<&'k KeyTable>,
    guesses: &'r [u32],
}

impl<'k> LikelyKeys<'k, '_> {
    /// The key that stood at a place.
    #[inline]
    pub(crate) fn at(&self, place: usize) -> Option<&'k str> {
        self.table?.likely_key(*self.guesses.get(place)?)
    }
}

/// A time that tables have, of nanoseconds of which 0 says that there are none; so does one that cannot be stored.
pub(crate) const fn microseconds(nanoseconds: u64) -> Option<i64> {
    let microseconds = (nanoseconds / 1_000) as i64;
    if nanoseconds == 0 || !times::holds(microseconds) { None } else { Some(microseconds) }
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
            last: None,
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
        let Some(Declared { stream, event, keys, .. }) = self.event(R::SIGNAL, record.name()) else {
            self.tally.undeclared_events += 1;
            return Ok(None);
        };
        let Some(group) = self.groups.get_mut(usize::from(stream)) else { return Ok(None) };
        let group = group.get_or_insert_with(|| Group::new(stream, keys));
        let (tally, most) = (&mut self.tally, self.most_elements);

        let resource = Shared::Resource(self.resource, resource);
        let scope = Shared::Scope(self.scope, scope);
        let written = group.written(&resource, event).zip(group.written(&scope, event));
        let mut bad = None;
        if written.is_none() {
            for shared in [&resource, &scope] {
                let found = group.judge(shared, event, most)?;
                tally.undeclared_attributes += found.undeclared;
                bad = bad.or(found.bad);
            }
        }
        let mut row = group.next_row(Side::Record, event, most);
        row.record(record)?;
        let of_record = row.found;
        tally.undeclared_attributes += of_record.undeclared;
        self.aligned += of_record.aligned;
        if self.aligned > self.most_aligned {
            return Err(DecodeError::TooMany { what: "elements in the lists of spans", limit: self.most_aligned });
        }

        if let Some(field) = bad.or(of_record.bad) {
            group.take_back();
            count_bad(tally, stream, field);
            return Ok(None);
        }
        let (resource, scope) = match written {
            Some(rows) => rows,
            None => (group.shared_row(&resource, event, most)?, group.shared_row(&scope, event, most)?),
        };
        group.end_row(event, record.microseconds(), resource, scope);
        Ok(Some(stream))
    }

    /// The keys that the attributes of the next record may well have, and the name of its event.
    pub(crate) fn likely(&self) -> (Option<&'k str>, LikelyKeys<'k, '_>) {
        let Some(last) = self.last else { return Default::default() };
        let scratch = self.groups.get(usize::from(last.stream)).and_then(Option::as_ref).map(|group| &group.scratch);
        let guesses = scratch.map(Scratch::guesses_of_record).unwrap_or_default();
        (Some(last.name), LikelyKeys { table: Some(&last.keys.attributes), guesses })
    }

    /// The keys that the attributes of the next resource may well have.
    pub(crate) fn likely_of_resource(&self) -> LikelyKeys<'k, '_> {
        let Some(last) = self.last else { return LikelyKeys::default() };
        let scratch = self.groups.get(usize::from(last.stream)).and_then(Option::as_ref).map(|group| &group.scratch);
        let guesses = scratch.map(Scratch::guesses_of_resource).unwrap_or_default();
        LikelyKeys { table: Some(&last.keys.resource), guesses }
    }

    /// Says that `done` bytes of the body made the rows so far and that `left` bytes follow, which are probably alike:
    /// there will be room for as many rows as they can hold, and no more than the limit on records.
    pub(crate) fn expect(&mut self, records: usize, done: usize, left: usize, limits: &DecodeLimits) {
        let most = limits.records.saturating_sub(records).saturating_mul(done) / records.max(1);
        let share = Share { done, left: left.min(most) };
        self.groups.iter_mut().flatten().for_each(|group| group.reserve(share));
    }

    /// The declared event of a name; one sender's records are much alike, and a look is cheaper than a hash.
    fn event(&mut self, signal: Signal, name: &str) -> Option<Declared<'k>> {
        let last = self.last.filter(|last| last.name == name && last.signal == signal);
        if last.is_some() {
            return last;
        }
        let keys = self.keys;
        let (name, (stream, event)) = keys.declared_event(signal, name)?;
        self.last = Some(Declared { signal, name, stream, event, keys: keys.stream(stream)? });
        self.last
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
