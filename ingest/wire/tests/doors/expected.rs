//! Rows that a test writes down.

use crate::fleet::Row;

/// A row from pairs.
pub(crate) fn row(pairs: &[(&str, &str)]) -> Row {
    pairs.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect()
}
