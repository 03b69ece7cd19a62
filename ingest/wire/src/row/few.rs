//! Texts of which there are few: each is written once, and for each row which of them it has.

use std::ops::Range;

use super::cells::pack_lengths;

/// Most different ones. It also bounds what looking for one costs, whatever a device sends.
const MOST: usize = 32;
/// Four times as many, so that two seldom meet.
const SLOTS: usize = 128;
/// No text has this number.
const FREE: u8 = u8::MAX;
/// Bytes that are looked at in one piece.
const PIECE: usize = size_of::<u128>();

/// Writes how many different texts there are, a byte a text with the number of which it is, and the lengths and bytes of the
/// different ones; their numbers are in the order in which they come. `texts` are places in `bytes`. Of more than [`MOST`] it
/// writes a 0, and says so.
pub(super) fn write_few(bytes: &[u8], texts: impl Iterator<Item = Range<usize>>, out: &mut Vec<u8>) -> bool {
    let start = out.len();
    out.push(0);
    let mut few = Few::of(bytes);
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
    bytes: &'a [u8],
    texts: [&'a [u8]; MOST],
    keys: [Key; MOST],
    count: usize,
    /// By the hash of their keys: their numbers.
    slots: [u8; SLOTS],
}

impl<'a> Few<'a> {
    const fn of(bytes: &'a [u8]) -> Self {
        let none = Key { first: 0, last: 0, length: 0 };
        Self { bytes, texts: [&[]; MOST], keys: [none; MOST], count: 0, slots: [FREE; SLOTS] }
    }

    /// Which one this is; none if it is one too many.
    fn number_of(&mut self, text: Range<usize>) -> Option<u8> {
        let key = Key::of(self.bytes, &text);
        let mut slot = key.hash();
        loop {
            let number = self.slots[slot % SLOTS];
            let place = usize::from(number);
            if number == FREE {
                let place = self.count;
                *self.texts.get_mut(place)? = &self.bytes[text];
                self.keys[place] = key;
                self.slots[slot % SLOTS] = place as u8;
                self.count += 1;
                return Some(place as u8);
            }
            if self.keys[place] == key && (key.is_whole() || *self.texts[place] == self.bytes[text.clone()]) {
                return Some(number);
            }
            slot += 1;
        }
    }
}

/// The ends of a text: all of it up to 32 bytes.
#[derive(Clone, Copy, PartialEq, Eq)]
struct Key {
    first: u128,
    last: u128,
    length: usize,
}

impl Key {
    /// Without a branch that goes by the text, and so would be guessed wrong: rows differ.
    fn of(bytes: &[u8], text: &Range<usize>) -> Self {
        let length = text.len();
        let first = match bytes.get(text.start..text.start + PIECE).and_then(|piece| piece.first_chunk()) {
            Some(piece) => u128::from_le_bytes(*piece),
            None => shorter(&bytes[text.clone()]),
        };
        let all = if length < PIECE { (1 << (8 * length)) - 1 } else { u128::MAX };
        let last = match bytes[..text.end].last_chunk() {
            Some(piece) => u128::from_le_bytes(*piece),
            None => 0,
        };
        Self { first: first & all, last: if length > PIECE { last } else { 0 }, length }
    }

    const fn is_whole(&self) -> bool {
        self.length <= 2 * PIECE
    }

    /// Multiplicative hashing (Knuth, The Art of Computer Programming, 6.4): the high bits depend on all.
    const fn hash(&self) -> usize {
        let all = self.first ^ self.last.rotate_left(41);
        let folded = (all >> 64) as u64 ^ (all as u64).rotate_left(29) ^ self.length as u64;
        (folded.wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 32) as usize
    }
}

/// A text at the end of all bytes, which has no whole piece.
fn shorter(text: &[u8]) -> u128 {
    let mut piece = [0; PIECE];
    let length = text.len().min(PIECE);
    piece[..length].copy_from_slice(&text[..length]);
    u128::from_le_bytes(piece)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn written(texts: &[&[u8]]) -> Vec<u8> {
        let (bytes, mut out) = (texts.concat(), vec![7]);
        let ends = texts.iter().scan(0, |end, text| {
            *end += text.len();
            Some(*end - text.len()..*end)
        });
        assert_eq!(write_few(&bytes, ends, &mut out), out[1] > 0);
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
        for length in 0..80 {
            let one = vec![b'a'; length];
            let mut all = vec![one.clone(), vec![b'a'; length + 1]];
            for place in (0..length).step_by(1 + length / (MOST - 3)) {
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
