//! Payment cards: 12 to 19 digits of an issuer's range with a Luhn check digit, in one piece or in groups.

use super::text::{Counts, Gap, Text};
use super::{Detector, Hits, luhn};

pub(super) const DETECTOR: Detector =
    Detector { name: "card", marker: "<CARD>", grouped: true, shielded: true, may, find };

const LEAST: usize = 12;
const MOST: usize = 19;
/// Most groups that people write a card in: 4-4-4-4-3.
const MOST_GROUPS: usize = 5;

const fn may(_: &[u8], counts: &Counts) -> bool {
    counts.digits as usize >= LEAST
}

fn find(text: &Text<'_>, hits: &mut Hits<'_>) {
    let mut at = 0;
    while at < text.groups.len() {
        match card_at(text, at) {
            Some(groups) => {
                hits.push(text.groups[at].start..text.groups[at + groups - 1].end);
                at += groups;
            }
            None => at += 1,
        }
    }
}

/// How many groups, from this one on, are a card.
fn card_at(text: &Text<'_>, at: usize) -> Option<usize> {
    let first = text.groups[at];
    if !text.opens(first.start) || first.len() > MOST {
        return None;
    }
    // Groups behind `RS35 ` are the rest of an account number whose check digits are wrong.
    let before = at.checked_sub(1).and_then(|before| text.groups.get(before));
    if before.is_some_and(|before| before.gap == first.gap && first.gap == Gap::Space && !text.opens(before.start)) {
        return None;
    }
    // What is called an IMEI has the same check digit and sometimes an issuer's digits in front.
    if text.says_before(first.start, 12, &["imei"]) {
        return None;
    }
    let mut digits = [0_u8; MOST];
    let mut length = 0;
    let mut found = None;
    for (number, group) in text.groups[at..].iter().take(MOST_GROUPS).enumerate() {
        let fits = if number == 0 { group.len() == 4 || group.len() >= LEAST } else { (3..=6).contains(&group.len()) };
        let Some(place) = digits.get_mut(length..length + group.len()).filter(|_| fits) else { break };
        place.copy_from_slice(&text.bytes[group.range()]);
        length += group.len();
        let whole = number == 0 && group.len() >= LEAST || number >= 2;
        let ends = text.closes(group.end) && (number == 0 || group.gap != Gap::Dash);
        if whole && ends && is_card(&digits[..length]) {
            found = Some(number + 1);
        }
        if first.len() != 4 || group.gap != first.gap || !matches!(group.gap, Gap::Space | Gap::Dash) {
            break;
        }
    }
    found
}

/// Whether digits are of an issuer's range and length, and end in their check digit.
pub(super) fn is_card(digits: &[u8]) -> bool {
    is_issued(digits) && luhn::is_valid(digits)
}

/// Issuers' ranges and lengths, as the schemes publish them.
fn is_issued(digits: &[u8]) -> bool {
    let length = digits.len();
    let prefix = |places: usize| {
        digits.iter().take(places).fold(0, |number: u32, digit| number * 10 + u32::from(digit.wrapping_sub(b'0')))
    };
    if !(LEAST..=MOST).contains(&length) {
        return false;
    }
    match (prefix(1), prefix(2)) {
        // UATP and JCB's 1800, American Express.
        (1, _) | (3, 34 | 37) => length == 15,
        (2, _) => match prefix(4) {
            // JCB.
            2131 => length == 15,
            // Mir, then Mastercard.
            2200..=2204 => length >= 16,
            2221..=2720 => length == 16,
            _ => false,
        },
        (3, 35) => length >= 16,
        (3, 30 | 36 | 38 | 39) => length == 14 || length >= 16,
        (4, _) => matches!(length, 13 | 16 | 19),
        // Mastercard, RuPay, Troy.
        (5, 51..=55) | (8, 81 | 82) | (9, 97) => length == 16,
        // Maestro and its like have any length; 15 digits of these ranges are IMEIs.
        (5, 50 | 56..=58) | (6, _) => length != 15,
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use super::super::testing::found;

    fn cards(text: &str) -> Vec<&str> {
        found("card", text)
    }

    #[test]
    fn one_piece_and_groups() {
        for card in [
            "4111111111111111",
            "4111 1111 1111 1111",
            "4111-1111-1111-1111",
            "4111\u{a0}1111\u{a0}1111\u{a0}1111",
            "371449635398431",
            "3714 496353 98431",
            "30569309025904",
            "3056 930902 5904",
            "6759649826438453",
            "4222222222222",
            "122000000000003",
            "2223003122003222",
            "4035501000000008009",
        ] {
            assert_eq!(cards(card), [card]);
            let text = format!("paid with {card}, then {card}.");
            assert_eq!(cards(&text), [card, card]);
        }
    }

    #[test]
    fn numbers_that_only_look_so() {
        for text in [
            "4111111111111112",
            "1748503543012",
            "0.4111111111111111",
            "4111111111111111.5",
            "x4111111111111111",
            "4111111111111111a",
            "41111111111111110000",
            "550e8400-e29b-41d4-a716-675964982643",
            "4111 1111-1111 1111",
            "IMEI 371449635398431",
            "9111111111111111",
        ] {
            assert_eq!(cards(text), [""; 0], "{text}");
        }
    }

    #[test]
    fn every_check_digit_but_one_is_refused() {
        for body in ["411111111111111", "555555555555444", "37144963539843"] {
            assert_eq!((0..10).filter(|digit| !cards(&format!("{body}{digit}")).is_empty()).count(), 1, "{body}");
        }
    }

    #[test]
    fn every_issuers_range_has_its_lengths() {
        let lengths = |prefix: &str| -> Vec<usize> {
            (12..=19)
                .filter(|length| {
                    let body = format!("{prefix:0<width$}", width = length - 1);
                    (0..10).any(|digit| !cards(&format!("{body}{digit}")).is_empty())
                })
                .collect()
        };
        for (prefix, expected) in [
            ("4", vec![13, 16, 19]),
            ("51", vec![16]),
            ("55", vec![16]),
            ("2221", vec![16]),
            ("2720", vec![16]),
            ("2721", vec![]),
            ("34", vec![15]),
            ("37", vec![15]),
            ("36", vec![14, 16, 17, 18, 19]),
            ("3528", vec![16, 17, 18, 19]),
            ("6011", vec![12, 13, 14, 16, 17, 18, 19]),
            ("50", vec![12, 13, 14, 16, 17, 18, 19]),
            ("1800", vec![15]),
            ("2131", vec![15]),
            ("9", vec![]),
            ("0", vec![]),
        ] {
            assert_eq!(lengths(prefix), expected, "{prefix}");
        }
    }
}
