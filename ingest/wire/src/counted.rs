//! Numbers of things, in words: `1 row`, `2 rows`.

use std::fmt::Display;

/// `1 entry`, `2 entries`, `0 purposes of a batch`: of several words, the one before `of` is counted.
#[must_use]
pub fn counted(number: impl Display, word: &str) -> String {
    let number = number.to_string();
    if number == "1" { format!("1 {word}") } else { format!("{number} {}", many(word)) }
}

/// The same with what is said of them: `1 row is`, `2 rows are`.
#[must_use]
pub fn counted_and(number: impl Display, word: &str, one: &str, many: &str) -> String {
    let counted = counted(number, word);
    let says = if counted.starts_with("1 ") { one } else { many };
    format!("{counted} {says}")
}

fn many(word: &str) -> String {
    let (word, rest) = word.find(" of ").map_or((word, ""), |at| word.split_at(at));
    if let Some(stem) = word.strip_suffix('y').filter(|stem| !stem.ends_with(['a', 'e', 'o', 'u'])) {
        return format!("{stem}ies{rest}");
    }
    let ending = if ["s", "x", "ch", "sh"].iter().any(|end| word.ends_with(end)) { "es" } else { "s" };
    format!("{word}{ending}{rest}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_is_one_and_all_else_are_many() {
        let of = |word: &str| [0_u64, 1, 2].map(|number| counted(number, word)).join(", ");
        assert_eq!(of("row"), "0 rows, 1 row, 2 rows");
        assert_eq!(of("entry"), "0 entries, 1 entry, 2 entries");
        assert_eq!(of("day"), "0 days, 1 day, 2 days");
        assert_eq!(of("batch"), "0 batches, 1 batch, 2 batches");
        assert_eq!(of("purpose of a batch"), "0 purposes of a batch, 1 purpose of a batch, 2 purposes of a batch");
        assert_eq!(counted_and(1, "row", "is", "are"), "1 row is");
        assert_eq!(counted_and(11, "row", "is", "are"), "11 rows are");
    }
}
