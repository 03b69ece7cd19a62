//! The catalogue's key index: where a decoder puts an attribute, so that undeclared ones never become columns.
//!
//! Compiled for one (catalogue, policy, source): the policy adds the attributes of jurisdiction and GPC,
//! the source the one that names the subject.

use std::sync::Arc;

use hashbrown::{HashMap, HashSet};

use crate::catalogue::{FieldPath, FieldType, Place, Signal, Stream};
use crate::plan::Plan;
use crate::policy::Policy;

/// Map keyed by attribute names that come from outside: seeded against crafted collisions.
pub type NameMap<V> = HashMap<Box<str>, V, foldhash::quality::RandomState>;
/// Set of names from outside.
pub type NameSet = HashSet<Box<str>, foldhash::quality::RandomState>;

/// Where events, attributes and resource attributes go.
#[derive(Clone, Debug)]
pub struct KeyIndex {
    /// By number of the signal.
    pub(crate) events: [NameMap<(u16, u16)>; 3],
    pub(crate) streams: Vec<StreamKeys>,
}

/// The keys of one stream.
#[derive(Clone, Debug, Default)]
pub struct StreamKeys {
    /// Stream name.
    pub name: Arc<str>,
    /// All fields of the stream, in the catalogue's order.
    pub fields: Vec<FieldKey>,
    /// Keys of record attributes (`from = "attributes.…"`).
    pub attributes: KeyTable,
    /// Keys of resource attributes (`from = "resource.…"`).
    pub resource: KeyTable,
    /// Keys of the scope's attributes (`from = "scope.attributes.…"`).
    pub scope_attributes: KeyTable,
    /// Keys of a body that is a key-value list (`from = "body.…"`).
    pub body_keys: KeyTable,
    /// Keys of the attributes of a span's events (`from = "span_events.attributes.…"`): all feed lists.
    pub span_event_attributes: KeyTable,
    /// Keys of the attributes of a span's links (`from = "links.attributes.…"`): all feed lists.
    pub link_attributes: KeyTable,
    /// What every other place of a record feeds (`from = "body"`, `from = "duration_ns"`).
    pub places: PlaceTable,
    /// Whether subject, jurisdiction and GPC come from the resource (one value a resource) or from each record.
    pub subject_per_resource: bool,
    /// See `subject_per_resource`.
    pub jurisdiction_per_resource: bool,
    /// See `subject_per_resource`.
    pub gpc_per_resource: bool,
    /// For each event: which fields it may carry (bit per field); others count as undeclared attributes.
    pub event_fields: Vec<Vec<bool>>,
}

/// What a decoder must know of a field.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FieldKey {
    /// Declared type; of the elements where it is a list.
    pub kind: FieldType,
    /// Whether it is a list.
    pub list: bool,
    /// Whether its values come once a resource.
    pub per_resource: bool,
}

/// Where one value goes. A key may feed several slots.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Slot {
    /// Field number of the stream.
    Field(u16),
    /// Latitude of the position that this field is.
    Lat(u16),
    /// Longitude of the position that this field is.
    Lon(u16),
    /// The subject.
    Subject,
    /// The jurisdiction.
    Jurisdiction,
    /// Global Privacy Control.
    Gpc,
}

/// Attribute keys → slots, and the prefixes under which nested key-value lists may hold more.
#[derive(Clone, Debug, Default)]
pub struct KeyTable {
    /// Key → number of its entry.
    keys: NameMap<u32>,
    entries: Vec<(Box<str>, Vec<Slot>)>,
    prefixes: NameSet,
    slots: Vec<Slot>,
}

/// Places of a record → slots.
#[derive(Clone, Debug, Default)]
pub struct PlaceTable {
    /// In the order of the places.
    slots: Vec<(Place, Vec<Slot>)>,
}

impl KeyIndex {
    /// An index of event names of a signal, each with (stream, event within the stream), over the streams in the
    /// catalogue's order.
    #[must_use]
    pub fn new<'n>(events: impl IntoIterator<Item = (Signal, &'n str, (u16, u16))>, streams: Vec<StreamKeys>) -> Self {
        let mut index = Self { events: Default::default(), streams };
        for (signal, name, place) in events {
            index.events[signal as usize].insert(name.into(), place);
        }
        index
    }

    /// (stream, event within the stream) of an event name of a signal.
    #[must_use]
    pub fn event(&self, signal: Signal, name: &str) -> Option<(u16, u16)> {
        self.events[signal as usize].get(name).copied()
    }

    /// The same with the name as the catalogue has it, for whoever remembers it.
    #[must_use]
    pub fn declared_event(&self, signal: Signal, name: &str) -> Option<(&str, (u16, u16))> {
        self.events[signal as usize].get_key_value(name).map(|(name, place)| (&**name, *place))
    }

    /// The same index with a field that no event may carry: its values count as undeclared.
    #[must_use]
    pub fn without(mut self, stream: u16, field: u16) -> Self {
        let events = self.streams.get_mut(usize::from(stream)).map(|stream| stream.event_fields.as_mut_slice());
        for allowed in events.unwrap_or_default().iter_mut().filter_map(|fields| fields.get_mut(usize::from(field))) {
            *allowed = false;
        }
        self
    }

    /// Keys of a stream by its number.
    #[must_use]
    pub fn stream(&self, stream: u16) -> Option<&StreamKeys> {
        self.streams.get(usize::from(stream))
    }

    /// All streams, in the catalogue's order.
    #[must_use]
    pub fn streams(&self) -> &[StreamKeys] {
        &self.streams
    }
}

impl KeyTable {
    /// Adds a dotted key; every proper prefix at a dot becomes a place to descend.
    pub fn insert(&mut self, key: &str, slot: Slot) {
        let entries = &mut self.entries;
        let number = *self.keys.entry(key.into()).or_insert_with(|| {
            entries.push((key.into(), Vec::new()));
            entries.len() as u32 - 1
        });
        entries[number as usize].1.push(slot);
        self.slots.push(slot);
        for (dot, _) in key.match_indices('.') {
            self.prefixes.insert(key[..dot].into());
        }
    }

    /// The slots of a key, dotted in full.
    #[must_use]
    pub fn slots(&self, key: &str) -> Option<&[Slot]> {
        let number = self.keys.get(key)?;
        self.entries.get(*number as usize).map(|(_, slots)| slots.as_slice())
    }

    /// The same. `guess` is what this left behind for the attribute that stood here in the record before: records of one
    /// sender are much alike, and a look is cheaper than a hash.
    #[inline]
    #[must_use]
    pub fn slots_near(&self, key: &str, guess: &mut u32) -> Option<&[Slot]> {
        if let Some((known, slots)) = self.entries.get(*guess as usize)
            && (std::ptr::eq::<str>(&raw const **known, key) || **known == *key)
        {
            return Some(slots);
        }
        let number = *self.keys.get(key)?;
        *guess = number;
        self.entries.get(number as usize).map(|(_, slots)| slots.as_slice())
    }

    /// The key that a guess stands for. Whoever finds that a key is this one hands this one in, and no more than where
    /// it is will be compared.
    #[inline]
    #[must_use]
    pub fn likely_key(&self, guess: u32) -> Option<&str> {
        self.entries.get(guess as usize).map(|(key, _)| &**key)
    }

    /// Whether a key-value list under this key may hold declared keys.
    #[must_use]
    pub fn is_prefix(&self, key: &str) -> bool {
        self.prefixes.contains(key)
    }

    /// Every slot that a key of the table feeds, in the order in which they were inserted.
    #[must_use]
    pub fn all(&self) -> &[Slot] {
        &self.slots
    }

    /// Whether no key is declared.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.keys.is_empty()
    }
}

impl PlaceTable {
    /// Lets a place feed a slot.
    pub fn insert(&mut self, place: Place, slot: Slot) {
        match self.slots.binary_search_by_key(&place, |(known, _)| *known) {
            Ok(at) => self.slots[at].1.push(slot),
            Err(at) => self.slots.insert(at, (place, vec![slot])),
        }
    }

    /// What a place feeds.
    #[inline]
    #[must_use]
    pub fn slots(&self, place: Place) -> &[Slot] {
        self.slots.iter().find(|(known, _)| *known == place).map_or(&[], |(_, slots)| slots.as_slice())
    }

    /// The places that feed something, in their order, with what they feed.
    #[inline]
    pub fn iter(&self) -> impl Iterator<Item = (Place, &[Slot])> {
        self.slots.iter().map(|(place, slots)| (*place, slots.as_slice()))
    }

    /// Whether nothing comes from a place.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.slots.is_empty()
    }
}

impl Plan {
    /// The key index for a source whose subjects are named by `subject`.
    #[must_use]
    pub fn key_index(&self, subject: &FieldPath) -> KeyIndex {
        self.key_index_of(Some(subject))
    }

    /// The key index for a source whose requests are signed by their subject: no attribute names it.
    #[must_use]
    pub fn key_index_of_signed(&self) -> KeyIndex {
        self.key_index_of(None)
    }

    fn key_index_of(&self, subject: Option<&FieldPath>) -> KeyIndex {
        let streams = &self.catalogue().streams;
        let events = streams.iter().enumerate().flat_map(|(number, stream)| {
            let place = move |event| (number as u16, event as u16);
            let named = stream.events.iter().enumerate();
            named.map(move |(event, declared)| (stream.signal, declared.name.as_str(), place(event)))
        });
        KeyIndex::new(events, streams.iter().map(|stream| StreamKeys::new(stream, self.policy(), subject)).collect())
    }
}

impl StreamKeys {
    fn new(stream: &Stream, policy: &Policy, subject: Option<&FieldPath>) -> Self {
        let (jurisdiction, gpc) = (policy.jurisdictions.from.as_ref(), policy.gpc.from.as_ref());
        // What comes from nowhere is one null a resource, which costs least.
        let per_resource = |path: Option<&FieldPath>| path.is_none_or(FieldPath::is_per_resource);
        let mut keys = Self {
            name: stream.name.as_str().into(),
            fields: stream
                .fields
                .iter()
                .map(|field| FieldKey {
                    kind: field.kind,
                    list: field.list,
                    per_resource: field.from.is_per_resource(),
                })
                .collect(),
            subject_per_resource: per_resource(subject),
            jurisdiction_per_resource: per_resource(jurisdiction),
            gpc_per_resource: per_resource(gpc),
            event_fields: stream
                .events
                .iter()
                .map(|event| {
                    let mut may = vec![false; stream.fields.len()];
                    event.fields.iter().for_each(|field| may[usize::from(*field)] = true);
                    may
                })
                .collect(),
            ..Self::default()
        };
        for (number, field) in stream.fields.iter().enumerate() {
            match &field.from {
                FieldPath::Position { lat, lon } => {
                    keys.feed(lat, Slot::Lat(number as u16));
                    keys.feed(lon, Slot::Lon(number as u16));
                }
                path => keys.feed(path, Slot::Field(number as u16)),
            }
        }
        if let Some(path) = subject {
            keys.feed(path, Slot::Subject);
        }
        if let Some(path) = jurisdiction {
            keys.feed(path, Slot::Jurisdiction);
        }
        if let Some(path) = gpc {
            keys.feed(path, Slot::Gpc);
        }
        keys
    }

    fn feed(&mut self, path: &FieldPath, slot: Slot) {
        match path {
            FieldPath::Attribute(key) => self.attributes.insert(key, slot),
            FieldPath::Resource(key) => self.resource.insert(key, slot),
            FieldPath::ScopeAttribute(key) => self.scope_attributes.insert(key, slot),
            FieldPath::BodyKey(key) => self.body_keys.insert(key, slot),
            FieldPath::SpanEventAttribute(key) => self.span_event_attributes.insert(key, slot),
            FieldPath::LinkAttribute(key) => self.link_attributes.insert(key, slot),
            FieldPath::Place(place) => self.places.insert(*place, slot),
            // Its halves are fed one by one.
            FieldPath::Position { .. } => {}
        }
    }
}
