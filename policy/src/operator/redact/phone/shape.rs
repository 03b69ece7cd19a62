//! How much the grouping of some digits looks like a phone number.

use super::super::text::{Gap, Group};
use super::LEAST;

/// What a grouping says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Strength {
    /// Not a number that can be called.
    No,
    /// Only where a word beside it says so.
    Weak,
    /// In any place.
    Strong,
}

/// Most digits of a number without its country.
const MOST: usize = 13;

pub(super) fn strength(bytes: &[u8], groups: &[Group]) -> Strength {
    let digits: usize = groups.iter().map(Group::len).sum();
    let (Some(first), true) = (groups.first(), (LEAST..=MOST).contains(&digits)) else { return Strength::No };
    let start = &bytes[first.range()];
    if groups.len() == 1 {
        return single(start);
    }
    let Some(gap) = joint(groups) else { return Strength::No };
    let lengths: Lengths = lengths(groups);
    let octets = gap == Gap::Dot && groups.len() == 4 && groups.iter().all(|group| is_octet(&bytes[group.range()]));
    if octets || is_date(&lengths) {
        return Strength::No;
    }
    let lead = |group: usize| groups.get(group).map(|group| bytes[group.start]);
    let by_plan = |group: usize| lead(group).is_some_and(|digit| digit >= b'2');
    match lengths.as_slice() {
        [3, 3, 4] if start == b"000" => Strength::No,
        // North America, where neither area nor exchange starts with 0 or 1; three numbers in a row may do so.
        [3, 3, 4] if gap == Gap::Dash || by_plan(0) && (by_plan(1) || gap == Gap::Dot) && gap != Gap::Slash => {
            Strength::Strong
        }
        [1, 3, 3, 4] if start == b"1" && by_plan(1) => Strength::Strong,
        [2 | 3, 3, 3, 4] if gap == Gap::Dash && start[0] != b'0' => Strength::Strong,
        // Turkey and Russia with their trunk prefixes, and without.
        [1, 3, 3, 2, 2] if matches!(start, b"0" | b"7" | b"8") && gap != Gap::Dot => Strength::Strong,
        [3, 3, 2, 2] => Strength::Strong,
        // China's mobile numbers.
        [3, 4, 4] if start[0] == b'1' && gap != Gap::Dot => Strength::Strong,
        _ if has_trunk_prefix(start, &lengths, digits, gap) => Strength::Strong,
        [head @ .., _] if head.iter().all(|length| *length >= 2) && is_plain(gap, groups.len()) => Strength::Weak,
        _ => Strength::No,
    }
}

/// Digits without a joint: a mobile number behind its trunk prefix, or what a word beside it says.
fn single(digits: &[u8]) -> Strength {
    match digits {
        [b'0', b'1'..=b'9', ..] if matches!(digits.len(), 10 | 11) => Strength::Strong,
        [b'1'..=b'9', ..] if digits.len() <= 12 => Strength::Weak,
        _ => Strength::No,
    }
}

/// A zero that stands for the way out of the local network, as most countries write it: `0490 75 40 81`, `01.84.17.61.18`.
fn has_trunk_prefix(start: &[u8], lengths: &Lengths, digits: usize, gap: Gap) -> bool {
    let zero = matches!(start, [b'0', b'1'..=b'9', ..]);
    let lengths = lengths.as_slice();
    let fits = match (gap, lengths) {
        (Gap::Dot, _) => lengths.len() >= 4,
        (_, [area, rest]) => (2..=5).contains(area) && (5..=8).contains(rest),
        _ => lengths.iter().all(|length| *length >= 2) && lengths.len() <= 5,
    };
    zero && fits && (9..=12).contains(&digits)
}

const fn is_plain(gap: Gap, groups: usize) -> bool {
    match gap {
        Gap::Space | Gap::Dash => true,
        // Two groups with a point are a decimal number.
        Gap::Dot => groups >= 3,
        _ => false,
    }
}

/// What joins all groups; the area may stand apart from the rest: `089/123 456`, `0171-12 34 56 7`.
fn joint(groups: &[Group]) -> Option<Gap> {
    let (first, rest) = groups[..groups.len() - 1].split_first()?;
    let rest_gap = rest.first().map_or(first.gap, |group| group.gap);
    let uniform = rest.iter().all(|group| group.gap == rest_gap);
    match first.gap {
        gap if uniform && gap == rest_gap && matches!(gap, Gap::Space | Gap::Dash | Gap::Dot | Gap::Slash) => Some(gap),
        Gap::Slash | Gap::Dash if uniform && rest_gap == Gap::Space => Some(Gap::Space),
        Gap::Slash | Gap::Space if uniform && rest_gap == Gap::Dash => Some(Gap::Dash),
        _ => None,
    }
}

fn is_octet(digits: &[u8]) -> bool {
    digits.len() <= 3 && digits.iter().fold(0, |value, digit| value * 10 + u32::from(digit - b'0')) < 256
}

/// Year, month and day in the orders in which they are written.
fn is_date(lengths: &Lengths) -> bool {
    matches!(lengths.as_slice(), [4, 2, 2] | [2, 2, 4])
}

/// Lengths of up to six groups.
struct Lengths {
    lengths: [usize; 6],
    count: usize,
}

impl Lengths {
    fn as_slice(&self) -> &[usize] {
        &self.lengths[..self.count]
    }
}

fn lengths(groups: &[Group]) -> Lengths {
    let mut lengths = [0; 6];
    lengths.iter_mut().zip(groups).for_each(|(length, group)| *length = group.len());
    Lengths { lengths, count: groups.len().min(6) }
}
