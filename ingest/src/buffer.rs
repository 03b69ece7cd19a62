//! Memory of bodies: what one has left is there for the next, instead of pages that the system takes back and makes anew.

use std::ops::{Deref, DerefMut};
use std::sync::{Arc, Mutex, PoisonError};

/// How many are kept at most, and how large one may be: 4 MiB that no budget counts.
const MOST_KEPT: usize = 4;
const MOST_BYTES: usize = 1 << 20;
/// A body from here on takes one that was kept: for a small one it would be away from those who need it.
const LARGE: usize = 64 << 10;

/// Buffers that nobody uses. They are empty: what they held is overwritten, or goes with them.
#[derive(Debug, Default)]
pub(crate) struct Spares(Mutex<Vec<Vec<u8>>>);

/// A buffer that goes back when it is dropped. Its `Debug` shows no byte of it.
pub(crate) struct Buffer {
    bytes: Vec<u8>,
    spares: Arc<Spares>,
}

impl Spares {
    /// An empty buffer for a body of about so many bytes; of them it has no more than `trusted` before they are there.
    pub(crate) fn buffer(self: &Arc<Self>, expected: usize, trusted: usize) -> Buffer {
        // The one that was used last: its pages are the most likely to be in a cache.
        let kept = if expected < LARGE { None } else { self.lock().pop() };
        let bytes = kept.unwrap_or_else(|| Vec::with_capacity(expected.min(trusted)));
        Buffer { bytes, spares: Arc::clone(self) }
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, Vec<Vec<u8>>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Deref for Buffer {
    type Target = Vec<u8>;

    fn deref(&self) -> &Vec<u8> {
        &self.bytes
    }
}

impl DerefMut for Buffer {
    fn deref_mut(&mut self) -> &mut Vec<u8> {
        &mut self.bytes
    }
}

impl Drop for Buffer {
    fn drop(&mut self) {
        let mut bytes = std::mem::take(&mut self.bytes);
        if !(LARGE..=MOST_BYTES).contains(&bytes.capacity()) {
            return;
        }
        bytes.clear();
        let mut kept = self.spares.lock();
        if kept.len() < MOST_KEPT {
            kept.push(bytes);
        }
    }
}

impl std::fmt::Debug for Buffer {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Buffer({} bytes)", self.bytes.len())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn kept(spares: &Spares) -> Vec<usize> {
        spares.lock().iter().map(Vec::capacity).collect()
    }

    #[test]
    fn a_large_body_has_the_memory_of_the_one_before_and_no_byte_of_it() {
        let spares = Arc::new(Spares::default());
        let mut buffer = spares.buffer(LARGE, LARGE);
        buffer.resize(LARGE, 7);
        let place = buffer.as_ptr();
        assert_eq!(format!("{buffer:?}"), "Buffer(65536 bytes)");
        drop(buffer);
        assert_eq!(kept(&spares), [LARGE]);
        let small = spares.buffer(LARGE - 1, LARGE);
        assert_ne!(small.as_ptr(), place, "a small one takes none");
        let again = spares.buffer(10 * LARGE, LARGE);
        assert_eq!((again.as_ptr(), again.len()), (place, 0));
        assert_eq!(kept(&spares), [0_usize; 0]);
    }

    #[test]
    fn what_is_kept_has_limits() {
        let spares = Arc::new(Spares::default());
        drop([LARGE - 1, MOST_BYTES + 1].map(|size| spares.buffer(size, size)));
        assert_eq!(kept(&spares), [0_usize; 0]);
        let many: Vec<Buffer> = (0..=MOST_KEPT).map(|_| spares.buffer(MOST_BYTES, MOST_BYTES)).collect();
        drop(many);
        assert_eq!(kept(&spares), [MOST_BYTES; MOST_KEPT]);
        assert_eq!(spares.buffer(usize::MAX, LARGE).capacity(), MOST_BYTES);
    }

    #[test]
    fn nobody_gets_more_than_is_trusted_before_it_is_there() {
        let spares = Arc::new(Spares::default());
        assert_eq!(spares.buffer(usize::MAX, LARGE).capacity(), LARGE);
    }
}
