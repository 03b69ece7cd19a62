//! Numbers in strings, and integers that were written as something else.

/// The integer that a double is, if it is one of the type's.
pub(super) fn integer_of_double<T: TryFrom<i128>>(value: f64) -> Option<T> {
    // Every integer of 64 bits lies far within; a cast saturates beyond.
    if value.fract() == 0.0 { T::try_from(value as i128).ok() } else { None }
}

/// A signed integer by JSON's grammar; also `1e3` and `1.0`, which are whole.
pub(super) fn integer_of_text(text: &str) -> Option<i64> {
    is_number(text).then(|| text.parse().ok().or_else(|| integer_of_double(text.parse().ok()?)))?
}

/// The same without a sign.
pub(super) fn unsigned_of_text(text: &str) -> Option<u64> {
    is_number(text).then(|| text.parse().ok().or_else(|| integer_of_double(text.parse().ok()?)))?
}

/// A double by JSON's grammar, or one of the three that JSON has no number for.
pub(super) fn double_of_text(text: &str) -> Option<f64> {
    match text {
        "NaN" => Some(f64::NAN),
        "Infinity" => Some(f64::INFINITY),
        "-Infinity" => Some(f64::NEG_INFINITY),
        _ => is_number(text).then(|| text.parse().ok()).flatten().filter(|value: &f64| value.is_finite()),
    }
}

/// Letters of a number, digits at both ends: Rust's parsers take `inf`, `+1` and `1.` as well.
fn is_number(text: &str) -> bool {
    let bytes = text.as_bytes();
    let begins = matches!(bytes, [b'0'..=b'9', ..] | [b'-', b'0'..=b'9', ..]);
    let ends = matches!(bytes, [.., b'0'..=b'9']);
    begins && ends && bytes.iter().all(|byte| matches!(byte, b'0'..=b'9' | b'-' | b'+' | b'.' | b'e' | b'E'))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn integers_stand_in_strings_of_several_forms() {
        for (text, expected) in [
            ("0", Some(0)),
            ("-0", Some(0)),
            ("-9223372036854775808", Some(i64::MIN)),
            ("9223372036854775807", Some(i64::MAX)),
            ("9223372036854775808", None),
            ("1e3", Some(1_000)),
            ("12.0", Some(12)),
            ("12.5", None),
            ("1e30", None),
            ("+1", None),
            (" 1", None),
            ("1 ", None),
            ("1.", None),
            ("0x1", None),
            ("", None),
            ("-", None),
            ("inf", None),
        ] {
            assert_eq!(integer_of_text(text), expected, "{text}");
        }
        assert_eq!(unsigned_of_text("18446744073709551615"), Some(u64::MAX));
        assert_eq!(unsigned_of_text("18446744073709551616"), None);
        assert_eq!(unsigned_of_text("-1"), None);
    }

    #[test]
    fn doubles_stand_in_strings_by_their_protobuf_names() {
        assert_eq!(double_of_text("1.5e-3"), Some(0.0015));
        assert_eq!(double_of_text("-Infinity"), Some(f64::NEG_INFINITY));
        assert!(double_of_text("NaN").is_some_and(f64::is_nan));
        for refused in ["nan", "inf", "infinity", "1e999", "1,5", ""] {
            assert_eq!(double_of_text(refused), None, "{refused}");
        }
    }

    #[test]
    fn a_double_is_an_integer_only_within_the_type() {
        assert_eq!(integer_of_double::<i64>(-9_223_372_036_854_775_808.0), Some(i64::MIN));
        assert_eq!(integer_of_double::<i64>(9_223_372_036_854_775_808.0), None);
        assert_eq!(integer_of_double::<u64>(9_223_372_036_854_775_808.0), Some(1 << 63));
        assert_eq!(integer_of_double::<i32>(f64::NAN), None);
        assert_eq!(integer_of_double::<i64>(f64::INFINITY), None);
    }
}
