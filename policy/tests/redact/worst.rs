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
            // As much work in sixteen pieces as in one; a square would take sixteen times as long in one. Both are
            // disturbed alike on a busy machine, and not in every attempt.
            let pieces = || (0..16).map(|_| time(4_000)).sum::<Duration>();
            let linear = (0..5).any(|_| time(64_000) < pieces() * 5 + Duration::from_millis(1));
            assert!(linear, "{name} on {pattern:?}");
        }
    }
}

#[test]
fn longer_texts_are_not_searched_but_go_as_a_whole() {
    let operator = redactor(&[]);
    for pattern in ["@", "1", ":", "a.", "nothing "] {
        let text = pattern.repeat(100_000 / pattern.len());
        assert_eq!(redact(&operator, std::iter::once(text.as_str())), ["<REDACTED>"], "{pattern}");
    }
}
