//! Which times can be stored: those of the years 1678 to 2261.
//!
//! SQL engines count a time in nanoseconds of 64 bits where they cut it off, which holds from September 1677 to April 2262. One row
//! beyond would fail the query of everybody, and so would the start of 1677 where a time is cut off to its year.

/// 1678-01-01T00:00:00Z in µs.
const FIRST: i64 = -9_214_560_000_000_000;
/// 2262-01-01T00:00:00Z in µs.
const END: i64 = 9_214_646_400_000_000;

/// Whether a time in µs since 1970 UTC is one that can be stored.
#[must_use]
pub const fn holds(microseconds: i64) -> bool {
    FIRST <= microseconds && microseconds < END
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn whole_years_whose_nanoseconds_have_64_bits() {
        let micros = |text: &str| text.parse::<jiff::Timestamp>().unwrap().as_microsecond();
        assert_eq!((FIRST, END), (micros("1678-01-01T00:00:00Z"), micros("2262-01-01T00:00:00Z")));
        assert!(FIRST.checked_mul(1_000).is_some() && END.checked_mul(1_000).is_some());
        assert!(holds(0) && holds(FIRST) && holds(END - 1) && !holds(FIRST - 1) && !holds(END));
    }
}
