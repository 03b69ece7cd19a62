//! Who was erased: that nothing is held of a subject does not say that it was never there.

use candor_policy::subject::LedgerId;

use super::View;
use crate::error::Error;

impl View {
    /// Whether a subject was erased, or asked to be. Only keys that the ring has tell.
    ///
    /// # Errors
    /// If the ledger cannot be read, or has erasures and the key ring cannot be read.
    pub async fn is_erased(&self, ledger_id: &LedgerId) -> Result<bool, Error> {
        if !self.ledger.has_erasures().await? {
            return Ok(false);
        }
        let id = self.key_ring()?.tombstones().id(ledger_id);
        self.ledger.is_erased(&id).await
    }
}
