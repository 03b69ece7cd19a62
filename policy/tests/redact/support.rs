//! Runs the operator, reads from what it writes where something was found, and counts.

use std::collections::BTreeMap;
use std::sync::Arc;

use arrow_array::cast::AsArray;
use arrow_array::{ArrayRef, StringArray};
use candor_policy::keys::{HmacKey, Keys};
use candor_policy::operator::{OperatorContext, OperatorRef, Parameter, build};

/// Names of the detectors and what each writes.
pub(crate) const MARKERS: [(&str, &str); 11] = [
    ("email", "<EMAIL>"),
    ("url", "<URL>"),
    ("iban", "<IBAN>"),
    ("card", "<CARD>"),
    ("imei", "<IMEI>"),
    ("ssn", "<SSN>"),
    ("vin", "<VIN>"),
    ("mac", "<MAC>"),
    ("ip", "<IP>"),
    ("coordinates", "<COORDINATES>"),
    ("phone", "<PHONE>"),
];

/// `redact_text` with these detectors; with none named, all.
pub(crate) fn redactor(names: &[&str]) -> OperatorRef {
    let texts = Parameter::Texts(names.iter().map(|name| (*name).to_owned()).collect());
    let parameters = (!names.is_empty()).then(|| ("detectors".to_owned(), texts));
    build("redact_text", &parameters.into_iter().collect::<BTreeMap<_, _>>()).unwrap()
}

/// What is written for each text.
pub(crate) fn redact<'t>(operator: &OperatorRef, texts: impl Iterator<Item = &'t str>) -> Vec<String> {
    let keys = Keys::new(HmacKey::new(1, &[1; 32]), HmacKey::new(1, &[2; 32]), BTreeMap::new());
    let values: ArrayRef = Arc::new(texts.map(Some).collect::<StringArray>());
    let context = OperatorContext { purpose: "analytics", column: "note", keys: &keys };
    let out = operator.apply(&values, &context).unwrap();
    out.as_string::<i32>().iter().map(|text| text.unwrap().to_owned()).collect()
}

/// A place in a text, in bytes, and the detector whose marker stands for it.
pub(crate) type Place = (&'static str, usize, usize);

/// Where the markers of `out` stand in `text`. Where several readings give the same output, one is taken that has what is
/// expected.
pub(crate) fn places(text: &str, out: &str, expected: &[Place]) -> Vec<Place> {
    let mut found = Vec::new();
    assert!(read(text, 0, out, expected, &mut found), "{out:?} does not come from {text:?}");
    found
}

fn read(text: &str, mut at: usize, out: &str, expected: &[Place], found: &mut Vec<Place>) -> bool {
    let marker = |name: &(&'static str, &'static str)| out.find(name.1).map(|place| (place, name.0, name.1));
    let Some((before, name, marker)) = MARKERS.iter().filter_map(marker).min() else { return &text[at..] == out };
    if !text[at..].starts_with(&out[..before]) {
        return false;
    }
    at += before;
    let rest = &out[before + marker.len()..];
    let mut ends: Vec<usize> = text[at..].char_indices().map(|(end, c)| at + end + c.len_utf8()).collect();
    ends.sort_by_key(|end| !expected.contains(&(name, at, *end)));
    ends.into_iter().any(|end| {
        found.push((name, at, end));
        let fits = read(text, end, rest, expected, found);
        if !fits {
            found.pop();
        }
        fits
    })
}

/// Random numbers that are the same on every machine: `SplitMix64`.
pub(crate) struct Random(pub(crate) u64);

impl Random {
    pub(crate) const fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    /// From 0 to below `end`.
    pub(crate) const fn below(&mut self, end: u64) -> u64 {
        self.next() % end
    }

    pub(crate) fn pick<'t, T>(&mut self, list: &'t [T]) -> &'t T {
        &list[self.below(list.len() as u64) as usize]
    }

    /// A text in the pattern's form: `#` a digit, `%` one from 1 to 9, `$` one from 2 to 9, `~` and `^` hexadecimal ones, others as they are.
    pub(crate) fn fill(&mut self, pattern: &str) -> String {
        let one = |c: char, random: &mut Self| {
            let from = |set: &[u8], random: &mut Self| char::from(*random.pick(set));
            match c {
                '#' => from(b"0123456789", random),
                '$' => from(b"23456789", random),
                '%' => from(b"123456789", random),
                '~' => from(b"0123456789abcdef", random),
                '^' => from(b"0123456789ABCDEF", random),
                other => other,
            }
        };
        pattern.chars().map(|c| one(c, self)).collect()
    }
}

/// Hits of one kind, counted against what they should have been.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Score {
    pub(crate) right: usize,
    pub(crate) wrong: usize,
    pub(crate) missed: usize,
}

impl Score {
    /// Counts one detector's hits in a text, by their exact places.
    pub(crate) fn add(&mut self, detector: &str, found: &[Place], expected: &[Place]) {
        let of = |places: &[Place]| places.iter().filter(|place| place.0 == detector).copied().collect::<Vec<_>>();
        let (found, expected) = (of(found), of(expected));
        let right = expected.iter().filter(|place| found.contains(place)).count();
        self.right += right;
        self.missed += expected.len() - right;
        self.wrong += found.iter().filter(|place| !expected.contains(place)).count();
    }

    pub(crate) fn precision(&self) -> f64 {
        self.right as f64 / (self.right + self.wrong).max(1) as f64
    }

    pub(crate) fn recall(&self) -> f64 {
        self.right as f64 / (self.right + self.missed).max(1) as f64
    }

    pub(crate) fn print(&self, name: &str) {
        println!(
            "{name:<12} {:>6} {:>6} {:>6}   {:>9.3} {:>6.3}",
            self.right,
            self.wrong,
            self.missed,
            self.precision(),
            self.recall()
        );
    }
}

pub(crate) fn print_head(title: &str) {
    println!(
        "\n{title}\n{:<12} {:>6} {:>6} {:>6}   {:>9} {:>6}",
        "", "right", "wrong", "missed", "precision", "recall"
    );
}
