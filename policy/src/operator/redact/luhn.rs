//! The check digit of cards and of IMEIs (ISO/IEC 7812-1 annex B).

/// Whether ASCII digits end in the check digit of those before it.
pub(super) fn is_valid(digits: &[u8]) -> bool {
    let sum: u32 = digits
        .iter()
        .rev()
        .enumerate()
        .map(|(place, digit)| {
            let digit = u32::from(digit.wrapping_sub(b'0'));
            if place % 2 == 0 { digit } else { digit * 2 - if digit > 4 { 9 } else { 0 } }
        })
        .sum();
    sum.is_multiple_of(10)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_check_digit_of_ten_fits() {
        for (body, check) in [("7992739871", 3), ("411111111111111", 1), ("49015420323751", 8)] {
            let fits: Vec<u32> = (0..10).filter(|digit| is_valid(format!("{body}{digit}").as_bytes())).collect();
            assert_eq!(fits, [check], "{body}");
        }
    }
}
