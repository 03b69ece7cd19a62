//! Seeded randomness, so that a failure can be run again: `CANDOR_TEST_SEED=... cargo test`.

use std::io::Write;

/// `SplitMix64`: small, fast, good enough to choose moments and bytes.
#[derive(Clone)]
pub(crate) struct Random(u64);

impl Random {
    /// From `CANDOR_TEST_SEED`, or the time; prints the seed either way.
    pub(crate) fn announced(test: &str) -> Self {
        let seed = std::env::var("CANDOR_TEST_SEED").ok().and_then(|seed| seed.parse().ok()).unwrap_or_else(from_time);
        let line = format!("{test}: CANDOR_TEST_SEED={seed}\n");
        std::io::stderr().write_all(line.as_bytes()).expect("stderr can be written");
        Self(seed)
    }

    /// From a fixed seed.
    pub(crate) const fn new(seed: u64) -> Self {
        Self(seed)
    }

    pub(crate) const fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    /// Below `end`.
    pub(crate) const fn below(&mut self, end: u64) -> u64 {
        self.next() % end
    }

    /// One of them.
    pub(crate) fn pick<'a, T>(&mut self, of: &'a [T]) -> &'a T {
        &of[self.below(of.len() as u64) as usize]
    }
}

#[expect(clippy::disallowed_methods, reason = "a seed that differs from run to run; it is printed")]
fn from_time() -> u64 {
    std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).map_or(1, |since| since.as_nanos() as u64)
}
