//! Decoded requests of protocols whose events have ids, so that a repeat can be told by its id.

use std::fmt::{Arguments, Write};

use arrow_array::builder::StringBuilder;
use arrow_array::{Array, StringArray};
use candor_policy::batch::Received;

/// A decoded request and the ids of its events.
///
/// Ids are raw values like any other: they may be compared under a key, and must not rest or be shown.
pub struct Identified {
    /// The rows.
    pub received: Received,
    /// For each group of `received.groups()`, in the same order: row → id of its event, null where the client sent none.
    /// Records that became no row have no id here, so that mending them and sending them again is no repeat.
    pub event_ids: Vec<StringArray>,
}

/// The ids of all rows, sorted, if every row has one and there is a row.
pub fn ids_of_all(event_ids: &[StringArray]) -> Option<Vec<&str>> {
    let mut ids: Vec<&str> = event_ids.iter().flatten().collect::<Option<_>>()?;
    // Clients may change the order when they send again.
    ids.sort_unstable();
    Some(ids).filter(|ids| !ids.is_empty())
}

/// Ids under construction.
#[derive(Default)]
pub(crate) struct EventIds {
    by_stream: Vec<Option<StringBuilder>>,
}

impl std::fmt::Debug for Identified {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let ids: usize = self.event_ids.iter().map(Array::len).sum();
        write!(f, "Identified({:?}, {ids} ids)", self.received)
    }
}

impl EventIds {
    /// A record became a row of a stream.
    pub(crate) fn push(&mut self, stream: u16, id: Option<Arguments<'_>>) {
        let stream = usize::from(stream);
        if self.by_stream.len() <= stream {
            self.by_stream.resize_with(stream + 1, || None);
        }
        let Some(ids) = self.by_stream.get_mut(stream) else { return };
        let ids = ids.get_or_insert_default();
        // A builder takes whatever is written to it.
        match id.map(|id| ids.write_fmt(id)) {
            Some(Ok(())) => ids.append_value(""),
            _ => ids.append_null(),
        }
    }

    /// The ids beside the rows that they belong to.
    pub(crate) fn finish(self, received: Received) -> Identified {
        let mut by_stream = self.by_stream;
        let of_group = |stream: u16| by_stream.get_mut(usize::from(stream)).and_then(Option::take).unwrap_or_default();
        let event_ids = received.groups().iter().map(|group| group.stream).map(of_group);
        let event_ids = event_ids.map(|mut ids| ids.finish()).collect();
        Identified { received, event_ids }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_identify_a_request_only_if_no_row_lacks_one() {
        let of = |ids: &[Option<&str>]| StringArray::from(ids.to_vec());
        assert_eq!(ids_of_all(&[of(&[Some("b"), Some("a")]), of(&[Some("a")])]), Some(vec!["a", "a", "b"]));
        assert_eq!(ids_of_all(&[of(&[Some("b")]), of(&[Some("a"), None])]), None);
        assert_eq!(ids_of_all(&[of(&[])]), None);
        assert_eq!(ids_of_all(&[]), None);
    }
}
