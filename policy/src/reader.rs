//! Reads a table key by key: wrong types, missing keys and keys that nobody asked for become problems.

use crate::document::{Entry, Item, Node, Table};
use crate::names::NameRule;
use crate::source::{Findings, Span};

/// A text and its place.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Text<'d> {
    pub(crate) value: &'d str,
    pub(crate) span: &'d Span,
}

/// A table while it is read.
#[derive(Debug)]
pub(crate) struct Reader<'d> {
    table: &'d Table,
    what: String,
    span: Span,
    known: Vec<&'static str>,
}

impl<'d> Reader<'d> {
    /// `what` names the table in messages; a missing key is reported at `span`.
    pub(crate) fn new(table: &'d Table, what: impl Into<String>, span: &Span) -> Self {
        Self { table, what: what.into(), span: span.clone(), known: Vec::new() }
    }

    /// Name and place of the table.
    pub(crate) fn what(&self) -> &str {
        &self.what
    }

    /// The entry of a key, whatever it holds.
    pub(crate) fn get(&mut self, key: &'static str) -> Option<&'d Entry> {
        self.known.push(key);
        self.table.0.iter().find(|entry| entry.key == key)
    }

    /// A text that may be absent; an empty one is a problem.
    pub(crate) fn text(&mut self, findings: &mut Findings, key: &'static str, mend: &str) -> Option<Text<'d>> {
        let entry = self.get(key)?;
        let text = text(&entry.item, &format!("`{key}` of {}", self.what), mend, findings)?;
        if text.value.trim().is_empty() {
            findings.report(text.span, format!("`{key}` of {} is empty", self.what), mend);
            return None;
        }
        Some(text)
    }

    /// A text that must be there.
    pub(crate) fn required(&mut self, findings: &mut Findings, key: &'static str, mend: &str) -> Option<Text<'d>> {
        let found = self.text(findings, key, mend);
        if !self.has(key) {
            self.missing(findings, key, mend);
        }
        found
    }

    /// A table that may be absent.
    pub(crate) fn table(
        &mut self,
        findings: &mut Findings,
        key: &'static str,
        mend: &str,
    ) -> Option<(&'d Entry, &'d Table)> {
        let entry = self.get(key)?;
        table(&entry.item, &format!("`{key}` of {}", self.what), mend, findings).map(|table| (entry, table))
    }

    /// A table that must be there.
    pub(crate) fn required_table(
        &mut self,
        findings: &mut Findings,
        key: &'static str,
        mend: &str,
    ) -> Option<(&'d Entry, &'d Table)> {
        let found = self.table(findings, key, mend);
        if !self.has(key) {
            self.missing(findings, key, mend);
        }
        found
    }

    /// A list of texts that may be absent.
    pub(crate) fn texts(
        &mut self,
        findings: &mut Findings,
        key: &'static str,
        mend: &str,
    ) -> Option<(&'d Entry, Vec<Text<'d>>)> {
        let entry = self.get(key)?;
        texts(&entry.item, &format!("`{key}` of {}", self.what), mend, findings).map(|texts| (entry, texts))
    }

    /// Reports a key that must be there.
    pub(crate) fn missing(&self, findings: &mut Findings, key: &str, mend: &str) {
        findings.report(&self.span, format!("{} has no `{key}`", self.what), mend);
    }

    /// Reports what nobody asked for.
    pub(crate) fn finish(self, findings: &mut Findings) {
        for entry in self.table.0.iter().filter(|entry| !self.known.contains(&entry.key.as_str())) {
            let known = self.known.join(", ");
            let mend = match closest(&entry.key, self.known.iter().copied()) {
                Some(meant) => format!("did you mean `{meant}`? Allowed here: {known}"),
                None => format!("remove it; allowed here: {known}"),
            };
            findings.report(&entry.key_span, format!("{} has no key `{}`", self.what, entry.key), mend);
        }
    }

    fn has(&self, key: &str) -> bool {
        self.table.0.iter().any(|entry| entry.key == key)
    }
}

/// The text that an item is.
pub(crate) fn text<'d>(item: &'d Item, what: &str, mend: &str, findings: &mut Findings) -> Option<Text<'d>> {
    match &item.node {
        Node::Text(value) => Some(Text { value, span: &item.span }),
        other => {
            findings.report(&item.span, format!("{what} must be a text, not {}", other.kind()), mend);
            None
        }
    }
}

/// The texts of a list.
pub(crate) fn texts<'d>(item: &'d Item, what: &str, mend: &str, findings: &mut Findings) -> Option<Vec<Text<'d>>> {
    match &item.node {
        Node::List(items) => {
            Some(items.iter().filter_map(|item| text(item, &format!("each of {what}"), mend, findings)).collect())
        }
        other => {
            findings.report(&item.span, format!("{what} must be a list of texts, not {}", other.kind()), mend);
            None
        }
    }
}

/// The table that an item is.
pub(crate) fn table<'d>(item: &'d Item, what: &str, mend: &str, findings: &mut Findings) -> Option<&'d Table> {
    match &item.node {
        Node::Table(table) => Some(table),
        other => {
            findings.report(&item.span, format!("{what} must be a table, not {}", other.kind()), mend);
            None
        }
    }
}

/// The tables under a table: `[stream."a"]`, `[stream."b"]`.
pub(crate) fn subtables<'d>(
    parent: &'d Table,
    what: &str,
    rule: &NameRule,
    findings: &mut Findings,
) -> Vec<(&'d Entry, &'d Table)> {
    let mut found = Vec::new();
    for entry in &parent.0 {
        check_name(&entry.key, &entry.key_span, rule, findings);
        let mend = format!("write a table: [{what}.\"{}\"]", entry.key);
        if let Some(table) = table(&entry.item, &format!("{what} `{}`", entry.key), &mend, findings) {
            found.push((entry, table));
        }
    }
    found
}

/// Reports a name that breaks its rule.
pub(crate) fn check_name(name: &str, span: &Span, rule: &NameRule, findings: &mut Findings) {
    if !rule.allows(name) {
        findings.report(span, format!("`{}` cannot be the {}", name.escape_debug(), rule.what), rule.says);
    }
}

/// The known name that a misspelt one is nearest to.
pub(crate) fn closest<'a>(name: &str, known: impl Iterator<Item = &'a str>) -> Option<&'a str> {
    let limit = (name.chars().count() / 3).clamp(1, 3);
    known
        .map(|other| (distance(name, other, limit), other))
        .filter(|(far, _)| *far <= limit)
        .min()
        .map(|(_, other)| other)
}

/// Days from 1970-01-01 to a date `YYYY-MM-DD`.
pub(crate) fn day(text: &str) -> Option<i32> {
    let bytes = text.as_bytes();
    if bytes.len() != 10 || bytes[4] != b'-' || bytes[7] != b'-' {
        return None;
    }
    let date: jiff::civil::Date = text.parse().ok()?;
    let span = date.since((jiff::Unit::Day, jiff::civil::date(1970, 1, 1))).ok()?;
    Some(span.get_days())
}

/// A date that may be absent, as days from 1970-01-01.
pub(crate) fn date(reader: &mut Reader<'_>, findings: &mut Findings, key: &'static str) -> Option<i32> {
    let entry = reader.get(key)?;
    let found = match &entry.item.node {
        Node::Text(text) | Node::Date(text) => day(text),
        _ => None,
    };
    if found.is_none() {
        let message = format!("`{key}` of {} is not a date", reader.what());
        findings.report(&entry.item.span, message, "write year, month and day: \"2028-12-31\"");
    }
    found
}

/// Levenshtein distance, or `limit + 1` where the lengths alone show more.
fn distance(a: &str, b: &str, limit: usize) -> usize {
    let (a, b): (Vec<char>, Vec<char>) = (a.chars().collect(), b.chars().collect());
    if a.len().abs_diff(b.len()) > limit {
        return limit + 1;
    }
    let mut row: Vec<usize> = (0..=b.len()).collect();
    for (i, x) in a.iter().enumerate() {
        let mut diagonal = row[0];
        row[0] = i + 1;
        for (j, y) in b.iter().enumerate() {
            let substituted = diagonal + usize::from(x != y);
            diagonal = row[j + 1];
            row[j + 1] = substituted.min(row[j] + 1).min(diagonal + 1);
        }
    }
    row[b.len()]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn days_are_strict() {
        assert_eq!(day("1970-01-02"), Some(1));
        assert_eq!(day("2028-12-31"), Some(21_549));
        for bad in ["2028-02-30", "2028-12-31T00:00", "20281231", "2028/12/31", "", "2028-1-01"] {
            assert_eq!(day(bad), None, "{bad}");
        }
    }

    #[test]
    fn the_nearest_name_is_suggested_only_if_it_is_near() {
        let known = ["description", "owner", "expires"];
        assert_eq!(closest("descripton", known.into_iter()), Some("description"));
        assert_eq!(closest("expire", known.into_iter()), Some("expires"));
        assert_eq!(closest("colour", known.into_iter()), None);
    }
}
