//! Texts that are all sign and no identifier.

use std::hint::black_box;
use std::time::{Duration, Instant};

use super::support::{MARKERS, redact, redactor};

#[test]
fn the_worst_texts_take_linear_time() {
    let patterns = [
        "@",
        "1",
        "9 ",
        "1-",
        "a.",
        ":",
        "::",
        "1:",
        "f:",
        ".",
        "1.",
        "://",
        "a://",
        "%40",
        "a@",
        "a@a.",
        "\"@",
        "(",
        ")",
        "a://)(",
        "ff-",
        "0000.",
        "+1",
        "(1) ",
        "DE89",
        "DE89 3704 ",
        "4111 ",
        "415-555-0132",
        "www.",
        "°",
        "1°1'",
        "lat=1.",
        "1.1111,",
        "é",
        "漢",
        "A1",
        "0 ",
        "x1",
        "-",
        "1/",
        "12.3.4.",
        "tel 1234567 ",
        "WVWZZZ1JZ3W38675A ",
    ];
    // One detector at a time, so that none hides in the whole.
    for (name, _) in MARKERS {
        let operator = redactor(&[name]);
        for pattern in patterns {
            let time = |length: usize| {
                let text = pattern.repeat(length / pattern.len());
                let start = Instant::now();
                black_box(redact(&operator, std::iter::once(text.as_str())));
                start.elapsed()
            };
            assert!(is_linear(time), "{name} on {pattern:?}");
        }
    }
}

/// Whether a text takes about as long as its sixteen pieces do, where a square would take sixteen times as long. The least of
/// several times is what the work takes: a busy machine only adds to it.
fn is_linear(time: impl Fn(usize) -> Duration) -> bool {
    let (mut whole, mut pieces) = (Duration::MAX, Duration::MAX);
    (0..200).any(|attempt| {
        whole = whole.min(time(32_000));
        pieces = pieces.min((0..16).map(|_| time(2_000)).sum());
        attempt >= 2 && whole < pieces * 5
    })
}

#[test]
fn a_square_is_told_from_a_line() {
    let line = |length: usize| Duration::from_nanos(length as u64);
    let square = |length: usize| Duration::from_nanos((length * length / 1_000) as u64);
    assert!(is_linear(line) && !is_linear(square));
}

#[test]
fn longer_texts_are_not_searched_but_go_as_a_whole() {
    let operator = redactor(&[]);
    for pattern in ["@", "1", ":", "a.", "nothing "] {
        let text = pattern.repeat(100_000 / pattern.len());
        assert_eq!(redact(&operator, std::iter::once(text.as_str())), ["<REDACTED>"], "{pattern}");
    }
}
