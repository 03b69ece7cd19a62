//! Texts of which there are few: each is written once, and for each row which of them it has.

use super::cells::pack_lengths;

/// Most different ones. It also bounds what looking for one costs, whatever a device sends.
const MOST: usize = 32;
/// Four times as many, so that two seldom meet.
const SLOTS: usize = 128;
/// No text has this number.
const FREE: u8 = u8::MAX;

/// Writes how many different texts there are, a byte a text with the number of which it is, and the lengths and bytes of the
/// different ones; their numbers are in the order in which they come. Of more than [`MOST`] it writes a 0, and says so.
pub(super) fn write_few<'a>(texts: impl Iterator<Item = &'a [u8]>, out: &mut Vec<u8>) -> bool {
    let start = out.len();
    out.push(0);
    let mut few = Few::new();
    for text in texts {
        let Some(number) = few.number_of(text) else {
            out.truncate(start + 1);
            return false;
        };
        out.push(number);
    }
    let different = &few.texts[..few.count];
    out[start] = different.len() as u8;
    pack_lengths(different.len(), || different.iter().map(|text| text.len() as u32), out);
    out.extend(different.iter().copied().flatten());
    true
}

/// The different texts so far.
struct Few<'a> {
    texts: [&'a [u8]; MOST],
    keys: [Key; MOST],
    count: usize,
    /// By the hash of their keys: their numbers.
    slots: [u8; SLOTS],
}

impl<'a> Few<'a> {
    const fn new() -> Self {
        Self { texts: [&[]; MOST], keys: [Key { ends: [0; 2], length: 0 }; MOST], count: 0, slots: [FREE; SLOTS] }
    }

    /// Which one this is; none if it is one too many.
    fn number_of(&mut self, text: &'a [u8]) -> Option<u8> {
        let key = Key::of(text);
        let mut slot = key.hash();
        loop {
            let number = self.slots[slot % SLOTS];
            let place = usize::from(number);
            if number == FREE {
                let place = self.count;
                *self.texts.get_mut(place)? = text;
                self.keys[place] = key;
                self.slots[slot % SLOTS] = place as u8;
                self.count += 1;
                return Some(place as u8);
            }
            if self.keys[place] == key && (key.is_whole() || self.texts[place] == text) {
                return Some(number);
            }
            slot += 1;
        }
    }
}

/// The ends of a text: all of it up to 16 bytes.
#[derive(Clone, Copy, PartialEq, Eq)]
struct Key {
    ends: [u64; 2],
    length: usize,
}

impl Key {
    fn of(text: &[u8]) -> Self {
        let short = |[first, _]: [u64; 2], (byte, shift): (&u8, i32)| [first | u64::from(*byte) << shift, 0];
        let ends = match (text.first_chunk::<8>(), text.last_chunk::<8>()) {
            (Some(first), Some(last)) => [u64::from_le_bytes(*first), u64::from_le_bytes(*last)],
            _ => match (text.first_chunk::<4>(), text.last_chunk::<4>()) {
                (Some(first), Some(last)) => [u32::from_le_bytes(*first).into(), u32::from_le_bytes(*last).into()],
                _ => text.iter().zip([0, 8, 16]).fold([0; 2], short),
            },
        };
        Self { ends, length: text.len() }
    }

    const fn is_whole(&self) -> bool {
        self.length <= 2 * size_of::<u64>()
    }

    /// Multiplicative hashing (Knuth, The Art of Computer Programming, 6.4): the high bits depend on all.
    const fn hash(&self) -> usize {
        let [first, last] = self.ends;
        let all = first ^ last.rotate_left(29) ^ self.length as u64;
        (all.wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 32) as usize
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn written(texts: &[&[u8]]) -> Vec<u8> {
        let mut out = vec![7];
        assert_eq!(write_few(texts.iter().copied(), &mut out), out[1] > 0);
        out
    }

    #[test]
    fn each_is_written_once_in_the_order_in_which_they_come() {
        let out = written(&[b"on", b"off", b"on", b"", b"off"]);
        let lengths = [&[0; 8][..], &[1, 2, 3, 0]].concat();
        assert_eq!(out, [&[7, 3, 0, 1, 0, 2, 1], lengths.as_slice(), b"onoff"].concat());
    }

    #[test]
    fn one_more_than_the_most_are_many() {
        let texts: Vec<String> = (0..=MOST).map(|number| number.to_string()).collect();
        let texts: Vec<&[u8]> = texts.iter().map(String::as_bytes).collect();
        assert_eq!(written(&texts), [7, 0]);
        assert_eq!(usize::from(written(&texts[1..])[1]), MOST);
    }

    #[test]
    fn texts_that_differ_anywhere_are_different() {
        for length in 0..40 {
            let one = vec![b'a'; length];
            let mut all = vec![one.clone(), vec![b'a'; length + 1]];
            for place in (0..length).take(MOST - 2) {
                let mut other = one.clone();
                other[place] = b'b';
                all.push(other);
            }
            let texts: Vec<&[u8]> = all.iter().chain(&all).map(Vec::as_slice).collect();
            let out = written(&texts);
            let numbers: Vec<u8> = (0..all.len() as u8).collect();
            assert_eq!(out[2..2 + 2 * all.len()], [numbers.as_slice(), &numbers].concat());
        }
    }
}
