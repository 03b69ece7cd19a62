//! States of purposes as JSON has them: each purpose once. Of two states for one, readers differ in which they believe, and one of them
//! may be the withdrawal.

use std::collections::BTreeMap;
use std::collections::btree_map::Entry;
use std::fmt;

use candor_policy::consent::ConsentState;
use serde::de::{Deserializer, Error, MapAccess, Visitor};

/// Reads them.
pub(super) fn once<'d, D: Deserializer<'d>>(deserializer: D) -> Result<BTreeMap<String, ConsentState>, D::Error> {
    deserializer.deserialize_map(States)
}

struct States;

impl<'d> Visitor<'d> for States {
    type Value = BTreeMap<String, ConsentState>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("states of purposes")
    }

    fn visit_map<A: MapAccess<'d>>(self, mut map: A) -> Result<Self::Value, A::Error> {
        let mut states = BTreeMap::new();
        while let Some((name, state)) = map.next_entry::<String, ConsentState>()? {
            let Entry::Vacant(free) = states.entry(name) else {
                return Err(A::Error::custom("a purpose comes twice"));
            };
            free.insert(state);
        }
        Ok(states)
    }
}
