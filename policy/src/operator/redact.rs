//! `redact_text`: free text without the identifiers that can be recognised in it.
//!
//! Detectors are scans, not expressions: each looks at the places where its own sign stands (`@`, `://`, a group of digits) and
//! a bounded way around them, so that the time is linear in the text whatever it holds. What a text cannot have, for want
//! of digits or of a sign, is not searched for.

use std::any::Any;
use std::ops::Range;
use std::sync::Arc;

use arrow_array::builder::StringBuilder;
use arrow_array::cast::AsArray;
use arrow_array::{Array, ArrayRef, StringArray};
use arrow_schema::DataType;

use super::clean::clean;
use super::parameters::{Parameters, error};
use super::{BuildError, Operator, OperatorContext, OperatorError, OperatorRef, Rank};
use crate::catalogue::FieldType;

mod card;
mod coordinates;
mod domain;
mod email;
mod iban;
mod imei;
mod ip;
mod luhn;
mod mac;
mod phone;
mod ssn;
mod text;
mod url;
mod vin;

#[cfg(test)]
mod testing;
#[cfg(test)]
mod tests;

use text::{Counts, Group, Text};

/// Longest text that is searched; a longer one goes as a whole.
const MAX_TEXT: usize = 64 * 1024;
/// What stands for a text that cannot be searched.
const WHOLE: &str = "<REDACTED>";
/// What a hit hid comes to light when it is gone: in `tel 203.0.113.7, 467 3395` the second number is one to call only then. Almost
/// always one more look finds nothing; a text that still has something after these goes as a whole.
const ROUNDS: usize = 4;

/// One kind of identifier.
struct Detector {
    /// Its name in policies.
    name: &'static str,
    /// What stands for a hit.
    marker: &'static str,
    /// Whether it needs [`Text::groups`].
    grouped: bool,
    /// Whether its hits in a UUID are none.
    shielded: bool,
    /// Whether a text can have a hit at all.
    may: fn(&[u8], &Counts) -> bool,
    find: fn(&Text<'_>, &mut Hits<'_>),
}

/// Every detector. Of two hits of one length that overlap, the marker of the earlier one here is written.
const DETECTORS: [Detector; 11] = [
    email::DETECTOR,
    url::DETECTOR,
    iban::DETECTOR,
    card::DETECTOR,
    imei::DETECTOR,
    ssn::DETECTOR,
    vin::DETECTOR,
    mac::DETECTOR,
    ip::DETECTOR,
    coordinates::DETECTOR,
    phone::DETECTOR,
];

/// Something found; bytes, always whole characters.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Hit {
    start: usize,
    end: usize,
    /// Index into [`DETECTORS`].
    detector: usize,
}

/// Where a detector puts what it finds.
struct Hits<'a> {
    list: &'a mut Vec<Hit>,
    detector: usize,
}

impl Hits<'_> {
    fn push(&mut self, range: Range<usize>) {
        self.list.push(Hit { start: range.start, end: range.end, detector: self.detector });
    }
}

/// Text in, text out.
#[derive(Debug)]
struct RedactText {
    /// Indexes into [`DETECTORS`], ascending.
    detectors: Vec<usize>,
}

pub(super) fn build(parameters: &mut Parameters<'_>) -> Result<OperatorRef, BuildError> {
    let known = DETECTORS.map(|detector| detector.name);
    let mend = format!("name some of: {}; without `detectors`, all of them run", known.join(", "));
    let Some(names) = parameters.texts("detectors", &mend)? else {
        return Ok(Arc::new(RedactText { detectors: (0..DETECTORS.len()).collect() }));
    };
    let mut detectors = Vec::with_capacity(names.len());
    for name in names {
        let Some(detector) = known.iter().position(|known| known == name) else {
            return Err(error(&format!("`redact_text` has no detector `{name}`"), &mend));
        };
        if detectors.contains(&detector) {
            return Err(error(&format!("`detectors` names `{name}` twice"), "name it once"));
        }
        detectors.push(detector);
    }
    detectors.sort_unstable();
    Ok(Arc::new(RedactText { detectors }))
}

/// Lists that serve one text after the other.
#[derive(Default)]
struct Scratch {
    groups: Vec<Group>,
    hits: Vec<Hit>,
    text: String,
    again: String,
}

impl RedactText {
    /// Fills `scratch.hits` with what the text has, in order and apart from each other.
    fn find(&self, text: &str, groups: &mut Vec<Group>, hits: &mut Vec<Hit>) {
        let bytes = text.as_bytes();
        // E-mail looks for its sign itself: alone, it needs no counts.
        let counts = if self.detectors == [0] { Counts::default() } else { Counts::of(bytes) };
        hits.clear();
        groups.clear();
        for &number in &self.detectors {
            let Some(detector) = DETECTORS.get(number).filter(|detector| (detector.may)(bytes, &counts)) else {
                continue;
            };
            if detector.grouped && groups.is_empty() {
                text::group(bytes, groups);
            }
            let text = Text { whole: text, bytes, groups };
            let before = hits.len();
            (detector.find)(&text, &mut Hits { list: hits, detector: number });
            if detector.shielded && hits.len() > before {
                let mut place = 0;
                hits.retain(|hit| {
                    place += 1;
                    place <= before || !text.in_uuid(&(hit.start..hit.end))
                });
            }
        }
        merge(hits);
    }

    /// The text without what was found in it, in `scratch.text`; `false` if nothing was.
    fn redact(&self, text: &str, scratch: &mut Scratch) -> bool {
        let Scratch { groups, hits, text: out, again } = scratch;
        if text.len() > MAX_TEXT {
            WHOLE.clone_into(out);
            return true;
        }
        self.find(text, groups, hits);
        if hits.is_empty() {
            return false;
        }
        write(text, hits, out);
        for _ in 0..ROUNDS {
            self.find(out, groups, hits);
            if hits.is_empty() {
                return true;
            }
            write(out, hits, again);
            std::mem::swap(out, again);
        }
        self.find(out, groups, hits);
        if !hits.is_empty() {
            WHOLE.clone_into(out);
        }
        true
    }

    fn redact_all(&self, values: &StringArray) -> Option<StringArray> {
        let mut scratch = Scratch::default();
        let redact = |value: &str, scratch: &mut Scratch| self.redact(value, scratch);
        let first = (0..values.len()).find(|row| values.is_valid(*row) && redact(values.value(*row), &mut scratch))?;
        let mut out = StringBuilder::with_capacity(values.len(), values.value_data().len());
        values.iter().take(first).for_each(|value| out.append_option(value));
        let mut last: Option<(&str, bool)> = None;
        for value in values.iter().skip(first) {
            let Some(text) = value else {
                out.append_null();
                continue;
            };
            // Rows of one device come together and often say the same.
            let changed = match last {
                Some((seen, changed)) if seen == text => changed,
                _ => redact(text, &mut scratch),
            };
            last = Some((text, changed));
            out.append_value(if changed { &scratch.text } else { text });
        }
        Some(out.finish())
    }
}

/// Sorts hits and joins those that overlap: all that any of them covers goes, under the marker of the longest. Were the
/// shorter one dropped, what stands out of the longer one would be let through.
fn merge(hits: &mut Vec<Hit>) {
    hits.sort_unstable_by_key(|hit| (hit.start, hit.detector, hit.end));
    // The first `kept` hits are apart; `longest` is of those that the last of them joins.
    let (mut kept, mut longest) = (0, 0);
    for at in 0..hits.len() {
        let next = hits[at];
        let length = next.end - next.start;
        if let Some(joined) = hits[..kept].last_mut().filter(|joined| next.start < joined.end) {
            if length > longest || length == longest && next.detector < joined.detector {
                (joined.detector, longest) = (next.detector, length);
            }
            joined.end = joined.end.max(next.end);
        } else {
            hits[kept] = next;
            (kept, longest) = (kept + 1, length);
        }
    }
    hits.truncate(kept);
}

fn write(text: &str, hits: &[Hit], out: &mut String) {
    out.clear();
    let mut at = 0;
    for hit in hits {
        out.push_str(text.get(at..hit.start).unwrap_or_default());
        out.push_str(DETECTORS.get(hit.detector).map_or(WHOLE, |detector| detector.marker));
        at = hit.end;
    }
    out.push_str(text.get(at..).unwrap_or_default());
}

impl Operator for RedactText {
    fn name(&self) -> &'static str {
        "redact_text"
    }

    fn rank(&self) -> Rank {
        Rank::Generalisation
    }

    fn parameters(&self) -> String {
        let names: Vec<&str> = self.detectors.iter().filter_map(|n| DETECTORS.get(*n)).map(|d| d.name).collect();
        format!("detectors={}", names.join(","))
    }

    fn covers(&self, other: &dyn Operator) -> bool {
        let other = other.as_any().downcast_ref::<Self>();
        other.is_some_and(|other| other.detectors.iter().all(|detector| self.detectors.contains(detector)))
    }

    fn output(&self, input: FieldType) -> Option<DataType> {
        (input == FieldType::String).then_some(DataType::Utf8)
    }

    fn suffix(&self) -> Option<&'static str> {
        None
    }

    fn apply(&self, values: &ArrayRef, _: &OperatorContext<'_>) -> Result<ArrayRef, OperatorError> {
        let wrong = OperatorError::WrongType("redact_text");
        let texts = values.as_string_opt::<i32>().ok_or(wrong.clone())?;
        match self.redact_all(texts) {
            Some(redacted) => Ok(Arc::new(redacted)),
            None => clean(values).ok_or(wrong),
        }
    }

    fn as_any(&self) -> &dyn Any {
        self
    }
}
