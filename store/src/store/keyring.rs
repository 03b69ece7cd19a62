//! The keys of a running store: what callers and appender use is swapped whole when one changes.

use std::sync::{Arc, PoisonError};

use candor_policy::keys::Keys;
use candor_wire::succession::Succession;

use super::Store;
use crate::error::Error;
use crate::keys::change::{Change, Changed, change_and_log};
use crate::shared::lock;
use crate::view::blocking;

impl Store {
    /// The keys for admission and clearing.
    #[must_use]
    pub fn keys(&self) -> Arc<Keys> {
        Arc::clone(&self.keys.read().unwrap_or_else(PoisonError::into_inner))
    }

    /// How each receipt key of before was followed by the next, oldest first.
    #[must_use]
    pub fn successions(&self) -> Vec<Succession> {
        lock(&self.ring).successions().to_vec()
    }

    /// Changes a key. What is under way meanwhile is finished with the keys that it began with. It is done also where whoever
    /// asked goes away.
    ///
    /// # Errors
    /// `Request` if it cannot be changed so, or the ring is kept elsewhere; otherwise as files are written.
    pub async fn change_key(&self, change: Change) -> Result<Changed, Error> {
        let (ring, shared, keys) = (Arc::clone(&self.ring), Arc::clone(&self.shared), Arc::clone(&self.keys));
        let (named, now, log) = (self.named.clone(), self.shared.clock.now(), self.log());
        blocking(move || {
            // Backups copy the log, and take the same turn. It may take a while: nobody waits for the ring meanwhile.
            let _turn = shared.turn.take();
            // Held through the write: two changes come one after the other.
            let mut ring = lock(&ring);
            let changed = change_and_log(&mut ring, &log, (&shared.settings, &change, &named, now), |ring| {
                *keys.write().unwrap_or_else(PoisonError::into_inner) = Arc::new(ring.keys());
                shared.set_receipt_key(ring.receipts());
            });
            changed.inspect_err(Error::end_process_if_of_disk)
        })
        .await
    }
}
