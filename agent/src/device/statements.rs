//! What the person says, epoch by epoch.

use candor_policy::consent::ConsentState;
use candor_wire::statement::SignedStatement;

use super::Device;
use crate::consent::{Change, Draft};
use crate::error::Error;

impl Device {
    pub(super) fn consent_now(&mut self, change: &Change) -> Result<(), Error> {
        let current = self.state.epoch;
        if self.state.get(current).is_some_and(|known| known.is_closed) {
            return Err(Error::Closed(current));
        }
        let draft = change.apply(self.state.get(current), self.caller.time())?;
        let mut state = self.state.clone();
        // To say anything but yes keeps quiet who was erased.
        state.is_silent &= !change.purposes.values().any(|state| *state == ConsentState::Given);
        for epoch in self.epochs() {
            let known = state.of(epoch);
            let head = known.head().map(Draft::of);
            let draft = match head.clone() {
                _ if epoch == current => draft.clone(),
                Some(mut before) => {
                    // What an epoch gave that the current one does not name is withdrawn as well, and not just not given.
                    if change.withdraw_all {
                        before.withdraw_all();
                    }
                    before.and(&draft)
                }
                None => continue,
            };
            let is_over = known.is_closed || known.erasure.is_some();
            if !is_over && (known.is_refused || head.as_ref() != Some(&draft)) {
                known.state(&draft, &self.identity.key(epoch)?, self.identity.fleet())?;
            }
        }
        state.save(&*self.world.folder)?;
        self.state = state;
        let all: Vec<(u64, u64)> = self.spool.entries().keys().copied().collect();
        for at in all {
            let now = self.head(at.0).cloned();
            self.screen(at, now.as_ref())?;
        }
        Ok(())
    }

    pub(crate) fn head(&self, epoch: u64) -> Option<&SignedStatement> {
        self.state.get(epoch)?.head()
    }
}
