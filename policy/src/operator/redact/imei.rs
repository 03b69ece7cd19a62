//! IMEIs: 15 digits with a Luhn check digit (3GPP TS 23.003), in one piece or as 2-6-6-1, 6-2-6-1 or 8-6-1.

use super::text::{Counts, Gap, Text};
use super::{Detector, Hits, card, luhn};

pub(super) const DETECTOR: Detector =
    Detector { name: "imei", marker: "<IMEI>", grouped: true, shielded: true, may, find };

const LENGTH: usize = 15;
const SHAPES: [&[usize]; 4] = [&[15], &[2, 6, 6, 1], &[6, 2, 6, 1], &[8, 6, 1]];

const fn may(_: &[u8], counts: &Counts) -> bool {
    counts.digits as usize >= LENGTH
}

fn find(text: &Text<'_>, hits: &mut Hits<'_>) {
    for at in 0..text.groups.len() {
        if let Some(groups) = SHAPES.iter().find(|shape| is_imei(text, at, shape)).map(|shape| shape.len()) {
            hits.push(text.groups[at].start..text.groups[at + groups - 1].end);
        }
    }
}

fn is_imei(text: &Text<'_>, at: usize, shape: &[usize]) -> bool {
    let Some(groups) = text.groups.get(at..at + shape.len()) else { return false };
    let fits = groups.iter().zip(shape).all(|(group, length)| group.len() == *length);
    let (Some(first), Some(last), true) = (groups.first(), groups.last(), fits) else { return false };
    let joined = groups[..groups.len() - 1]
        .iter()
        .all(|group| group.gap == first.gap && matches!(group.gap, Gap::Space | Gap::Dash | Gap::Slash));
    if !joined || !text.opens(first.start) || !text.closes(last.end) {
        return false;
    }
    let mut digits = [0_u8; LENGTH];
    let all = groups.iter().flat_map(|group| &text.bytes[group.range()]);
    digits.iter_mut().zip(all).for_each(|(place, digit)| *place = *digit);
    // Reporting bodies are numbered from 01 on: what starts with two zeros is a padded number.
    luhn::is_valid(&digits)
        && !digits.starts_with(b"00")
        && (!card::is_card(&digits) || text.says_before(first.start, 12, &["imei"]))
}

#[cfg(test)]
mod tests {
    use super::super::testing::found;

    #[test]
    fn one_piece_and_groups() {
        for imei in
            ["490154203237518", "49-015420-323751-8", "490154-20-323751-8", "49015420 323751 8", "49/015420/323751/8"]
        {
            assert_eq!(found("imei", imei), [imei]);
            assert_eq!(found("imei", &format!("IMEI:{imei}, slot 1")), [imei]);
        }
    }

    #[test]
    fn every_check_digit_but_one_is_refused() {
        for body in ["49015420323751", "35693803564380", "01234567890123", "86000000000000"] {
            let fits = (0..10).filter(|digit| !found("imei", &format!("{body}{digit}")).is_empty()).count();
            assert_eq!(fits, 1, "{body}");
        }
    }

    #[test]
    fn numbers_that_only_look_so() {
        for text in [
            "490154203237517",
            "4901542032375180",
            "000000000000000",
            "0.490154203237518",
            "490154203237518.5",
            "a490154203237518",
            "371449635398431",
            "49-015420 323751-8",
        ] {
            assert_eq!(found("imei", text), [""; 0], "{text}");
        }
        assert_eq!(
            found("imei", "imei 371449635398431"),
            ["371449635398431"],
            "said to be one, though a card's digits"
        );
    }
}
