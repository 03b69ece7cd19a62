//! Tables and words for people. Colour only repeats what words say.

use comfy_table::presets::NOTHING;
use comfy_table::{Attribute, Cell, CellAlignment, Color, ContentArrangement, Table, TableComponent};
use serde_json::Value;

/// How wide a table for people may be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Width {
    /// As wide as the terminal; off a terminal as wide as the content.
    Terminal,
    /// As wide as the terminal, but at most so many characters.
    AtMost(u16),
}

impl Width {
    /// On a terminal of so many columns, or off one; none is as wide as the content.
    fn of(self, terminal: Option<u16>) -> Option<u16> {
        // A terminal that was never told its size says 0.
        let terminal = terminal.filter(|columns| *columns > 0);
        match self {
            Self::Terminal => terminal,
            Self::AtMost(most) => Some(terminal.map_or(most, |columns| columns.min(most))),
        }
    }
}

/// A cell for people. The tone only repeats what its words say.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Text {
    words: String,
    tone: Option<Tone>,
}

/// What a cell says, for whoever sees colours.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Tone {
    /// Something stayed as it was.
    Kept,
    /// Something was changed.
    Changed,
    /// Something is not there.
    Gone,
}

impl Text {
    pub(crate) fn toned(words: String, tone: Tone) -> Self {
        Self { words, tone: Some(tone) }
    }

    fn cell(self) -> Cell {
        let cell = Cell::new_owned(self.words);
        match self.tone {
            None => cell,
            Some(Tone::Kept) => cell.fg(Color::Green),
            Some(Tone::Changed) => cell.fg(Color::Yellow),
            Some(Tone::Gone) => cell.add_attribute(Attribute::Dim),
        }
    }
}

impl From<String> for Text {
    fn from(words: String) -> Self {
        Self { words, tone: None }
    }
}

/// A table without vertical lines: (title, aligned right) and rows.
pub(crate) fn grid<T: Into<Text>>(titles: &[(&str, bool)], rows: Vec<Vec<T>>, width: Width) -> String {
    let mut table = Table::new();
    table.load_preset(NOTHING).enforce_styling().style_text_only();
    table.set_style(TableComponent::HeaderLines, '─').set_style(TableComponent::MiddleHeaderIntersections, '─');
    match width.of(table.width()) {
        Some(width) => table.set_content_arrangement(ContentArrangement::Dynamic).set_width(width),
        None => table.set_content_arrangement(ContentArrangement::Disabled),
    };
    table.set_header(titles.iter().map(|(title, _)| Cell::new(title).add_attribute(Attribute::Bold)));
    table.add_rows(rows.into_iter().map(|row| row.into_iter().map(|cell| cell.into().cell())));
    for (index, (_, right)) in titles.iter().enumerate() {
        if let Some(column) = table.column_mut(index) {
            // The preset puts one more blank between columns.
            column.set_padding((0, u16::from(index + 1 < titles.len())));
            column.set_cell_alignment(if *right { CellAlignment::Right } else { CellAlignment::Left });
        }
    }
    table.trim_fmt() + "\n"
}

/// `text` without control characters: stored values come from devices, and a terminal obeys what it reads.
pub(crate) fn printable(text: &str) -> String {
    let visible = |c: char| if c.is_control() { c.escape_default().collect() } else { String::from(c) };
    text.chars().map(visible).collect()
}

/// `text` cut to `most` characters, with an ellipsis where something is missing.
pub(crate) fn shorten(text: &str, most: usize) -> String {
    if text.chars().count() <= most {
        return text.to_owned();
    }
    text.chars().take(most.saturating_sub(1)).chain(['…']).collect()
}

/// A value as people read it: text without quotes, nothing for null.
pub(crate) fn cell_text(value: Option<&Value>) -> String {
    printable(&value.map(plain).unwrap_or_default())
}

/// A value as text: without quotes, nothing for null, `name value, name value` for an object.
pub(super) fn plain(value: &Value) -> String {
    match value {
        Value::Null => String::new(),
        Value::String(text) => text.clone(),
        Value::Object(map) => {
            let parts: Vec<_> = map.iter().map(|(name, value)| format!("{name} {}", plain(value))).collect();
            parts.join(", ")
        }
        other => other.to_string(),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn shortens_by_characters() {
        assert_eq!(shorten("äöü", 3), "äöü");
        assert_eq!(shorten("äöüß", 3), "äö…");
    }

    #[test]
    fn a_terminal_that_does_not_know_its_width_is_none() {
        let widths = [Some(0), None, Some(80), Some(200)];
        assert_eq!(widths.map(|terminal| Width::Terminal.of(terminal)), [None, None, Some(80), Some(200)]);
        assert_eq!(widths.map(|terminal| Width::AtMost(100).of(terminal)), [100, 100, 80, 100].map(Some));
    }

    #[test]
    fn an_object_is_read_as_names_and_values() {
        assert_eq!(
            cell_text(Some(&json!({ "no_rule": 4, "why": null, "x": "a\u{1b}" }))),
            "no_rule 4, why , x a\\u{1b}"
        );
    }
}
