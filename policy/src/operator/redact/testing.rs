//! What the tests of the detectors share.

use super::{DETECTORS, Hit, RedactText, Scratch};

/// The operator with these detectors; with none named, all.
pub(super) fn redactor(names: &[&str]) -> RedactText {
    let number = |name: &&str| DETECTORS.iter().position(|detector| detector.name == *name).unwrap();
    let mut detectors: Vec<usize> = names.iter().map(number).collect();
    if detectors.is_empty() {
        detectors = (0..DETECTORS.len()).collect();
    }
    detectors.sort_unstable();
    RedactText { detectors }
}

/// What a redactor finds at first sight.
pub(super) fn hits(redactor: &RedactText, text: &str) -> Vec<Hit> {
    let mut scratch = Scratch::default();
    redactor.find(text, &mut scratch.groups, &mut scratch.hits);
    scratch.hits
}

/// What one detector finds.
pub(super) fn found<'t>(detector: &str, text: &'t str) -> Vec<&'t str> {
    hits(&redactor(&[detector]), text).iter().map(|hit| &text[hit.start..hit.end]).collect()
}

/// The text that is written.
pub(super) fn redacted(redactor: &RedactText, text: &str) -> String {
    let mut scratch = Scratch::default();
    if redactor.redact(text, &mut scratch) { scratch.text } else { text.to_owned() }
}
