//! What one event sees of a record, its scope and its resource.

use candor_policy::catalogue::{FieldType, Place as At};
use opentelemetry_proto::tonic::common::v1::any_value::Value;
use opentelemetry_proto::tonic::common::v1::{InstrumentationScope, KeyValue};

use super::convert::convert;
use super::item::{Given, Item};
use super::value_of;
use crate::spec::{Place, Spec, Stream, Table};

/// Every value that a declared place has, and what nothing asked for.
pub(super) struct View<'s> {
    spec: &'s Spec,
    stream: &'s Stream,
    event: usize,
    values: Vec<(Place, Option<Given>)>,
    /// What a field could refuse, in the order in which it is looked at: place, value, and whether it is one element.
    checks: Vec<(Place, Given, bool)>,
    pub(super) undeclared: u64,
    pub(super) undeclared_of_resource: u64,
    pub(super) undeclared_of_scope: u64,
}

/// (full key, value) of each declared key that has one, in the order in which they win.
type Leaves = Vec<(String, Option<Value>)>;

impl<'s> View<'s> {
    pub(super) fn new(
        spec: &'s Spec,
        stream: usize,
        event: usize,
        resource: &[KeyValue],
        scope: &InstrumentationScope,
        item: &Item,
    ) -> Self {
        let mut view = Self {
            spec,
            stream: &spec.streams[stream],
            event,
            values: Vec::new(),
            checks: Vec::new(),
            undeclared: item.undeclared,
            undeclared_of_resource: 0,
            undeclared_of_scope: 0,
        };
        view.undeclared_of_resource = view.take(Table::Resource, resource, None);
        view.undeclared_of_scope = view.take(Table::Scope, &scope.attributes, None);
        for (place, text) in [(At::ScopeName, &scope.name), (At::ScopeVersion, &scope.version)] {
            let given = Given::Value(Value::StringValue(text.clone()));
            view.put(Place::At(place), (!text.is_empty()).then_some(given));
        }
        let names_event = (item.signal == candor_policy::catalogue::Signal::Logs).then_some("event.name");
        view.undeclared += view.take(Table::Record, &item.attributes, names_event);
        view.elements(Table::SpanEvent, &item.span_events);
        view.elements(Table::Link, &item.links);
        let mut places = item.places.clone();
        if view.declared().any(|from| matches!(from, Place::Key(Table::Body, _)))
            && let Some(Given::Value(Value::KvlistValue(list))) = places.get(&At::Body).cloned()
        {
            places.remove(&At::Body);
            view.undeclared += view.take(Table::Body, &list.values, None);
        }
        for (place, given) in places {
            view.put(Place::At(place), Some(given));
        }
        view
    }

    /// Numbers of the fields that this event has of one kind.
    pub(super) fn visible(&self, is: impl Fn(Place) -> bool) -> Vec<usize> {
        let fields = 0..self.stream.fields.len();
        fields.filter(|field| self.stream.allows(self.event, *field) && is(self.stream.fields[*field].1)).collect()
    }

    /// The value at a place.
    pub(super) fn find(&self, from: Place) -> Option<&Given> {
        self.values.iter().find(|(known, _)| *known == from).and_then(|(_, given)| given.as_ref())
    }

    /// The first field that cannot take its value.
    pub(super) fn first_bad(&self) -> Option<usize> {
        self.checks.iter().find_map(|(from, given, is_element)| {
            let bad = self.stream.fields.iter().enumerate().find(|(at, (kind, known))| {
                // Half of a position is a number.
                let kind = if let Place::Position(..) = known { FieldType::F64 } else { *kind };
                let list = self.stream.lists.contains(at) && !is_element;
                known.parts().contains(from)
                    && self.stream.allows(self.event, *at)
                    && convert(kind, list, given).is_err()
            });
            bad.map(|(at, _)| at)
        })
    }

    fn put(&mut self, from: Place, given: Option<Given>) {
        self.checks.extend(given.clone().map(|given| (from, given, false)));
        self.values.push((from, given));
    }

    /// Takes in attributes, and says how many there were that nothing asks for.
    fn take(&mut self, table: Table, attributes: &[KeyValue], names_event: Option<&str>) -> u64 {
        let (leaves, undeclared) = self.leaves(table, attributes, names_event);
        for (key, value) in leaves {
            let from = self.place(table, &key);
            self.put(from, value.map(Given::Value));
        }
        undeclared
    }

    /// Takes in the attributes of span events or links: a list for each key that is declared.
    fn elements(&mut self, table: Table, parts: &[Vec<KeyValue>]) {
        let mut of_parts = Vec::new();
        for attributes in parts {
            let (leaves, undeclared) = self.leaves(table, attributes, None);
            self.undeclared += undeclared;
            for (key, value) in &leaves {
                let given = value.clone().map(|value| (self.place(table, key), Given::Value(value), true));
                self.checks.extend(given);
            }
            of_parts.push(leaves);
        }
        let keys: Vec<&str> = self.declared().filter_map(|from| key_in(from, table)).collect();
        for key in keys.into_iter().filter(|_| !parts.is_empty()) {
            let element = |leaves: &Leaves| {
                let leaf = leaves.iter().find(|(known, _)| known == key);
                leaf.and_then(|(_, value)| value.clone()).map(Given::Value)
            };
            let list = Given::List(of_parts.iter().map(element).collect());
            self.values.push((self.place(table, key), Some(list)));
        }
    }

    /// All places that feed something here, whatever the event.
    fn declared(&self) -> impl Iterator<Item = Place> + use<'s> {
        let extra = [self.spec.subject, self.spec.jurisdiction, self.spec.gpc];
        self.stream.fields.iter().flat_map(|(_, from)| from.parts()).chain(extra)
    }

    fn is_prefix(&self, key: &str, table: Table) -> bool {
        let under = format!("{key}.");
        self.declared().filter_map(|from| key_in(from, table)).any(|known| known.starts_with(&under))
    }

    /// Whether this event takes something from a key.
    fn asks(&self, key: &str, table: Table) -> bool {
        let field = self.stream.fields.iter().enumerate().any(|(at, (_, from))| {
            from.parts().into_iter().any(|from| key_in(from, table) == Some(key)) && self.stream.allows(self.event, at)
        });
        let extra = [self.spec.subject, self.spec.jurisdiction, self.spec.gpc];
        field || extra.into_iter().any(|from| key_in(from, table) == Some(key))
    }

    fn place(&self, table: Table, key: &str) -> Place {
        self.declared().find(|from| key_in(*from, table) == Some(key)).unwrap()
    }

    /// Declared leaves, and how many there were that nothing asks for.
    fn leaves(&self, table: Table, attributes: &[KeyValue], names_event: Option<&str>) -> (Leaves, u64) {
        let (mut direct, mut nested) = (Vec::new(), Vec::new());
        self.flatten("", attributes, table, &mut direct, &mut nested);
        let direct = direct.into_iter().map(|leaf| (leaf, names_event));
        let mut undeclared = 0;
        let mut leaves: Leaves = Vec::new();
        for ((key, value), names_event) in direct.chain(nested.into_iter().map(|leaf| (leaf, None))) {
            if !self.asks(&key, table) {
                undeclared += u64::from(names_event != Some(&key));
            } else if !leaves.iter().any(|(known, _)| *known == key) {
                leaves.push((key, value));
            }
        }
        (leaves, undeclared)
    }

    fn flatten(&self, at: &str, pairs: &[KeyValue], table: Table, direct: &mut Leaves, nested: &mut Leaves) {
        for pair in pairs {
            let key = if at.is_empty() { pair.key.clone() } else { format!("{at}{}", pair.key) };
            match value_of(pair.value.as_ref()) {
                Some(Value::KvlistValue(list)) if self.is_prefix(&key, table) => {
                    self.flatten(&format!("{key}."), &list.values, table, direct, nested);
                }
                value if at.is_empty() => direct.push((key, value.cloned())),
                value => nested.push((key, value.cloned())),
            }
        }
    }
}

fn key_in(from: Place, table: Table) -> Option<&'static str> {
    match from {
        Place::Key(of, key) if of == table => Some(key),
        _ => None,
    }
}
