//! One computation for each distinct value: ids, positions and words repeat in the rows of their device.

use std::hash::Hash;

use arrow_array::StringArray;
use arrow_array::builder::StringBuilder;
use hashbrown::HashMap;

/// Distinct values that there is room for from the start: a request of a fleet has a few hundred, and a table that grows hashes them anew.
const ROOM: usize = 896;

/// The texts that `make` gives, asked once for each distinct value; null where there is no value or no text.
/// `width` is how many bytes a text has, more or less.
pub(super) fn texts<V: Hash + Eq + Copy, T: AsRef<str>>(
    values: impl ExactSizeIterator<Item = Option<V>>,
    width: usize,
    mut make: impl FnMut(V) -> Option<T>,
) -> StringArray {
    let mut results: Vec<Option<T>> = Vec::new();
    let room = values.len().min(ROOM);
    let mut numbers: HashMap<V, usize, _> =
        HashMap::with_capacity_and_hasher(room, foldhash::quality::RandomState::default());
    let mut last: Option<(V, usize)> = None;
    let mut out = StringBuilder::with_capacity(values.len(), values.len() * width);
    for value in values {
        let Some(value) = value else {
            out.append_null();
            continue;
        };
        let number = match last {
            // Rows of one device come together.
            Some((same, number)) if same == value => number,
            _ => *numbers.entry(value).or_insert_with(|| {
                results.push(make(value));
                results.len() - 1
            }),
        };
        last = Some((value, number));
        out.append_option(results[number].as_ref());
    }
    out.finish()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::super::clean::assert_clean;
    use super::*;

    proptest! {
        #[test]
        fn each_distinct_value_is_asked_for_once(values: Vec<Option<u8>>) {
            let mut asked = Vec::new();
            let made = texts(values.iter().copied(), 3, |value| {
                asked.push(value);
                (value % 3 != 0).then(|| value.to_string())
            });
            assert_clean(&made);
            let expected: Vec<_> =
                values.iter().map(|value| value.filter(|value| value % 3 != 0).map(|value| value.to_string())).collect();
            prop_assert_eq!(made.iter().map(|text| text.map(str::to_owned)).collect::<Vec<_>>(), expected);
            let mut distinct: Vec<u8> = values.into_iter().flatten().collect();
            distinct.sort_unstable();
            distinct.dedup();
            asked.sort_unstable();
            prop_assert_eq!(asked, distinct);
        }
    }
}
