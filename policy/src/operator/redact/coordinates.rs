//! Positions: two decimal numbers of four or more places, numbers that are labelled or carry a hemisphere, degrees with minutes.

use memchr::memmem;

use super::text::{Counts, Gap, Text, is_word, run, run_back};
use super::{Detector, Hits};

pub(super) const DETECTOR: Detector =
    Detector { name: "coordinates", marker: "<COORDINATES>", grouped: true, shielded: false, may, find };

/// Places that a pair of bare numbers needs: about eleven metres, and more than most measurements have.
const BARE_PLACES: usize = 4;
/// Places that a labelled number needs: about a kilometre.
const LABELLED_PLACES: usize = 2;
const MOST_PLACES: usize = 20;
const LABELS: [&str; 6] = ["lat", "latitude", "lon", "lng", "long", "longitude"];
const DEGREE: &[u8] = "°".as_bytes();

fn may(bytes: &[u8], counts: &Counts) -> bool {
    counts.digits >= 4 && (counts.dots > 0 || memmem::find(bytes, DEGREE).is_some())
}

fn find(text: &Text<'_>, hits: &mut Hits<'_>) {
    let mut at = 0;
    while at < text.groups.len() {
        let Some(first) = decimal_at(text, at) else {
            at += 1;
            continue;
        };
        if let Some(second) = decimal_at(text, at + 2).filter(|second| is_pair(text, &first, second)) {
            hits.push(first.start..second.end);
            at += 4;
        } else {
            if is_labelled(text, &first) {
                hits.push(first.start..first.end);
            }
            at += 2;
        }
    }
    for degree in memmem::find_iter(text.bytes, DEGREE) {
        if let Some(range) = minutes_at(text, degree) {
            hits.push(range);
        }
    }
}

/// A decimal number with its sign, degree mark and hemisphere.
struct Decimal {
    start: usize,
    end: usize,
    value: f64,
    places: usize,
    signed: bool,
    /// `N`, `S`, `E` or `W`.
    hemisphere: Option<u8>,
}

fn decimal_at(text: &Text<'_>, at: usize) -> Option<Decimal> {
    let [whole, fraction] = text.groups.get(at..at + 2)? else { return None };
    let places = fraction.len();
    if whole.gap != Gap::Dot || whole.len() > 3 || places > MOST_PLACES {
        return None;
    }
    let signed = matches!(text.byte_before(whole.start), Some(b'-' | b'+'));
    let start = whole.start - usize::from(signed);
    // ISO 6709 writes `+48.8566+002.3522`: behind a sign a number may start at once.
    if !signed && !text.opens(start) || signed && text.byte_before(start).is_some_and(|byte| byte.is_ascii_alphabetic())
    {
        return None;
    }
    let (end, hemisphere) = hemisphere_after(text, fraction.end);
    if hemisphere.is_none() && !text.closes(end) {
        return None;
    }
    let value = text.whole.get(whole.start..fraction.end)?.parse().ok()?;
    Some(Decimal { start, end, value, places, signed, hemisphere })
}

/// Behind a number: a degree mark and a letter, each of which may be absent.
fn hemisphere_after(text: &Text<'_>, at: usize) -> (usize, Option<u8>) {
    let space = |at: usize| at + usize::from(text.byte(at) == Some(b' '));
    let marked = text.bytes[space(at)..].starts_with(DEGREE);
    let end = if marked { space(at) + DEGREE.len() } else { at };
    match text.byte(space(end)) {
        Some(letter @ (b'N' | b'S' | b'E' | b'W')) if !text.byte(space(end) + 1).is_some_and(is_word) => {
            (space(end) + 1, Some(letter))
        }
        _ => (end, None),
    }
}

fn is_pair(text: &Text<'_>, first: &Decimal, second: &Decimal) -> bool {
    let between = &text.bytes[first.end.min(second.start)..second.start];
    let joined = between.len() <= 3
        && between.iter().all(|byte| matches!(byte, b',' | b';' | b'/' | b' '))
        && (!between.is_empty() || second.signed && first.end == second.start);
    // GeoJSON puts the longitude first.
    let on_earth = first.value.max(second.value) <= 180.0 && first.value.min(second.value) <= 90.0;
    let named = match (first.hemisphere, second.hemisphere) {
        (Some(first), Some(second)) => matches!(first, b'N' | b'S') != matches!(second, b'N' | b'S'),
        _ => first.places >= BARE_PLACES && second.places >= BARE_PLACES,
    };
    joined && on_earth && named
}

/// Whether `lat`, `longitude` and so on stands right before: `"gps_lat": 48.86`, `lon=2.35`.
fn is_labelled(text: &Text<'_>, number: &Decimal) -> bool {
    let before = &text.bytes[..number.start];
    let before = &before
        [..before.len() - run_back(before, 4, |byte| matches!(byte, b' ' | b':' | b'=' | b'"' | b'\'' | b'(' | b'['))];
    let word = &before[before.len() - run_back(before, 10, u8::is_ascii_alphabetic)..];
    number.places >= LABELLED_PLACES
        && number.value <= 180.0
        && before.len() < number.start
        && LABELS.iter().any(|label| word.eq_ignore_ascii_case(label.as_bytes()))
}

/// `40°26′46″N` around its degree mark.
fn minutes_at(text: &Text<'_>, degree: usize) -> Option<std::ops::Range<usize>> {
    let start = degree - run_back(&text.bytes[..degree], 4, u8::is_ascii_digit);
    let mut rest = &text.whole[degree + DEGREE.len()..];
    let mut number = |marks: &[char]| {
        let digits = rest.trim_start_matches(' ');
        let width = run(digits.as_bytes(), |byte| byte.is_ascii_digit() || *byte == b'.');
        let marked = digits.get(width..)?;
        let behind = marked.trim_start_matches(marks);
        // At most two digits before the point, a dozen behind it, and a mark.
        let fits = (1..=15).contains(&width) && behind.len() < marked.len();
        if fits {
            rest = behind;
        }
        fits.then_some(())
    };
    number(&['′', '\'', '’'])?;
    let _ = number(&['″', '"', '”', '\'', '′']);
    let letter = rest.trim_start_matches(' ');
    let end = text.whole.len() - letter.len() + 1;
    let named = letter.starts_with(['N', 'S', 'E', 'W']) && !text.byte(end).is_some_and(is_word);
    (named && (1..=3).contains(&(degree - start)) && text.opens(start)).then_some(start..end)
}

#[cfg(test)]
mod tests {
    use super::super::testing::found;

    #[test]
    fn positions_in_every_form() {
        for (text, expected) in [
            ("at 48.8566, 2.3522.", vec!["48.8566, 2.3522"]),
            ("[-122.419416,37.774929]", vec!["-122.419416,37.774929"]),
            ("geo:37.786971,-122.399677", vec!["37.786971,-122.399677"]),
            ("+48.8566+002.3522/", vec!["+48.8566+002.3522"]),
            ("52.5200° N, 13.4050° E", vec!["52.5200° N, 13.4050° E"]),
            ("52.52N 13.4E", vec!["52.52N 13.4E"]),
            ("lat=48.86&lon=-2.35", vec!["48.86", "-2.35"]),
            ("{\"gps_lat\": 48.86, \"gps_lng\": 2.35}", vec!["48.86", "2.35"]),
            ("40°26′46″N 79°58′56.5″W", vec!["40°26′46″N", "79°58′56.5″W"]),
            ("40° 26' 46\" N", vec!["40° 26' 46\" N"]),
            ("40°26.767' N", vec!["40°26.767' N"]),
        ] {
            assert_eq!(found("coordinates", text), expected, "{text}");
        }
    }

    #[test]
    fn other_numbers() {
        for text in [
            "48.85, 2.35",
            "takes 0.5 of 1.25",
            "31.2 °C and 40°C",
            "12.0.33.7",
            "95.1234, 120.1234",
            "200.1234, 10.1234",
            "x48.8566, y2.3522",
            "translation 48.86",
            "5° 30 m",
            "48.8566 and 2.3522",
        ] {
            assert_eq!(found("coordinates", text), [""; 0], "{text}");
        }
    }

    #[test]
    fn every_count_of_places() {
        for places in 1..=8 {
            let number = format!("48.{}", "8".repeat(places));
            let pair = format!("{number}, {number}");
            assert_eq!(found("coordinates", &pair).len(), usize::from(places >= 4), "{pair}");
            let label = format!("lat: {number}");
            assert_eq!(found("coordinates", &label).len(), usize::from(places >= 2), "{label}");
        }
    }
}
