//! Which requests the ledger may have: a filter of bounded size that says "perhaps" too often and "no" never wrongly.
//!
//! Pages of 1 MiB, each a split block Bloom filter, cover one stretch of time each and go when it is beyond the horizon.
//! Where there are as many as may be, two neighbours become one that holds what both held: more look-ups then, and
//! never a repeat that is missed.

use crate::store::BatchDigest;

/// Blocks of 32 bytes in a page.
const BLOCKS: usize = 1 << 15;
/// Requests after which a page is full: 16 bits each.
const FULL: u64 = 1 << 19;
/// Bytes of a page.
pub(super) const PAGE_BYTES: usize = BLOCKS * size_of::<Block>();

/// Eight words, in each of which a request sets one bit.
type Block = [u32; 8];

/// The pages, oldest first.
#[derive(Debug)]
pub(super) struct Filter {
    pages: Vec<Page>,
    most: usize,
    /// Seconds that one page covers at most while there is room for more.
    stretch: u32,
}

struct Page {
    blocks: Vec<Block>,
    entries: u64,
    /// Times of receipt, seconds.
    first: u32,
    last: u32,
}

impl Filter {
    /// A filter of at most `most` pages, for requests that need not be known for longer than `horizon` seconds.
    pub(super) fn new(most: usize, horizon: u32) -> Self {
        Self { pages: Vec::new(), most: most.max(2), stretch: (horizon / 4).max(1) }
    }

    pub(super) fn insert(&mut self, digest: &BatchDigest, second: u32) {
        let open = |page: &Page| page.entries < FULL && second.saturating_sub(page.first) < self.stretch;
        if !self.pages.last().is_some_and(open) {
            self.make_room();
            self.pages.push(Page::new(second));
        }
        if let Some(page) = self.pages.last_mut() {
            page.insert(digest, second);
        }
    }

    /// False only for a request that was never entered, or has been forgotten.
    pub(super) fn may_hold(&self, digest: &BatchDigest) -> bool {
        let place = Place::of(digest);
        // The newest first: most repeats come soon.
        self.pages.iter().rev().any(|page| page.may_hold(place))
    }

    /// Forgets pages of which everything was received before `second`.
    pub(super) fn forget_before(&mut self, second: u32) {
        self.pages.retain(|page| page.last >= second);
    }

    pub(super) fn bytes(&self) -> usize {
        self.pages.len() * PAGE_BYTES
    }

    /// Joins the two neighbours that hold least, where there are as many pages as may be.
    fn make_room(&mut self) {
        if self.pages.len() < self.most {
            return;
        }
        let together = |at: &usize| self.pages[*at].entries + self.pages[at + 1].entries;
        if let Some(at) = (0..self.pages.len() - 1).min_by_key(together) {
            let newer = self.pages.remove(at + 1);
            self.pages[at].join(&newer);
        }
    }
}

impl Page {
    fn new(second: u32) -> Self {
        Self { blocks: vec![[0; 8]; BLOCKS], entries: 0, first: second, last: second }
    }

    fn insert(&mut self, digest: &BatchDigest, second: u32) {
        let place = Place::of(digest);
        for (word, bit) in self.blocks[place.block].iter_mut().zip(place.bits()) {
            *word |= bit;
        }
        self.entries += 1;
        self.last = self.last.max(second);
    }

    fn may_hold(&self, place: Place) -> bool {
        self.blocks[place.block].iter().zip(place.bits()).all(|(word, bit)| word & bit != 0)
    }

    fn join(&mut self, newer: &Self) {
        for (block, other) in self.blocks.iter_mut().zip(&newer.blocks) {
            for (word, more) in block.iter_mut().zip(other) {
                *word |= more;
            }
        }
        self.entries += newer.entries;
        self.last = self.last.max(newer.last);
    }
}

impl std::fmt::Debug for Page {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Page({} entries)", self.entries)
    }
}

/// Where a digest sets its bits. Digests are keyed and uniform: their own bits say where.
#[derive(Clone, Copy)]
struct Place {
    block: usize,
    /// 5 bits for each word of the block.
    fives: u64,
}

impl Place {
    fn of(digest: &BatchDigest) -> Self {
        let number = u128::from_be_bytes(digest.0);
        Self { block: number as usize % BLOCKS, fives: (number >> 64) as u64 }
    }

    fn bits(self) -> [u32; 8] {
        std::array::from_fn(|word| 1 << (self.fives >> (5 * word) & 31))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Well mixed, as the digests of a keyed function are.
    fn digest(number: u64) -> BatchDigest {
        let mixed = [1, 2].map(|half: u64| {
            let mut x = number.wrapping_mul(2).wrapping_add(half).wrapping_mul(0x9e37_79b9_7f4a_7c15);
            for shift in [30, 27, 31] {
                x = (x ^ (x >> shift)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
            }
            x
        });
        BatchDigest((u128::from(mixed[0]) << 64 | u128::from(mixed[1])).to_be_bytes())
    }

    fn share_of_strangers(filter: &Filter) -> f64 {
        const ASKED: u64 = 100_000;
        let strangers = (1 << 40)..(1 << 40) + ASKED;
        strangers.filter(|number| filter.may_hold(&digest(*number))).count() as f64 / ASKED as f64
    }

    #[test]
    fn a_full_page_takes_a_stranger_for_known_about_once_in_a_thousand() {
        let mut filter = Filter::new(4, 400);
        (0..FULL).for_each(|number| filter.insert(&digest(number), 0));
        assert_eq!(filter.bytes(), PAGE_BYTES);
        assert!((0..FULL).all(|number| filter.may_hold(&digest(number))));
        let share = share_of_strangers(&filter);
        println!("16 bits a request: {:.3} % of strangers are looked up", share * 100.0);
        assert!(share < 0.003, "{share}");
    }

    #[test]
    fn what_was_entered_is_found_however_little_room_there_is() {
        let mut filter = Filter::new(2, 1 << 30);
        let entered = FULL * 3 + 7;
        (0..entered).for_each(|number| filter.insert(&digest(number), number as u32));
        assert_eq!(filter.bytes(), 2 * PAGE_BYTES);
        assert!((0..entered).all(|number| filter.may_hold(&digest(number))));
        println!("two pages of three: {:.2} % of strangers are looked up", share_of_strangers(&filter) * 100.0);
    }

    #[test]
    fn pages_go_when_all_of_them_is_beyond_the_horizon() {
        let mut filter = Filter::new(8, 400);
        for second in 0..400 {
            filter.insert(&digest(second), second as u32);
        }
        assert_eq!(filter.bytes(), 4 * PAGE_BYTES, "a page covers a quarter of the horizon");
        filter.forget_before(99);
        assert!((0..400).all(|second| filter.may_hold(&digest(second))));
        filter.forget_before(100);
        assert!((100..400).all(|second| filter.may_hold(&digest(second))));
        assert!((0..100).filter(|second| filter.may_hold(&digest(*second))).count() < 5);
        filter.forget_before(10_000);
        assert_eq!(filter.bytes(), 0);
    }
}
