//! From one epoch to the next, and which of them still matter.

use std::collections::BTreeSet;

use super::Device;
use crate::consent::Draft;
use crate::error::Error;
use crate::state::State;

impl Device {
    /// Looks at the clock, and begins the next epoch if this one is over.
    pub(crate) fn turn(&mut self) -> Result<(), Error> {
        let length = self.settings.epoch.as_micros() as i64;
        if self.state.timer.look(self.caller.time(), length) {
            return self.next_epoch();
        }
        // What is lost in a crash is counted again from the clock: a write a day is enough.
        if self.saved_timer.left - self.state.timer.left > length / 30 {
            self.save()?;
        }
        Ok(())
    }

    /// Begins the next epoch, unless nothing of this one can have reached the service or is on its way there: a key that nobody saw is
    /// as good as new. Whoever looks for the epochs of an identity ends where a few in a row are unknown.
    pub(super) fn next_epoch(&mut self) -> Result<(), Error> {
        let epoch = self.state.epoch;
        if self.may_be_known(epoch) || self.spool.entries().keys().any(|(of, _)| *of == epoch) {
            return self.begin_epoch(self.state.clone());
        }
        self.state.timer = self.state.timer.next(self.settings.epoch.as_micros() as i64, &*self.world.random)?;
        self.save()
    }

    /// Begins the epoch that follows a state's. Consent is carried over unless it is to be given anew.
    pub(crate) fn begin_epoch(&mut self, mut state: State) -> Result<(), Error> {
        let before = state.get(state.epoch).cloned().unwrap_or_default();
        state.is_silent |= before.is_closed || before.erasure.is_some();
        state.timer = state.timer.next(self.settings.epoch.as_micros() as i64, &*self.world.random)?;
        state.epoch += 1;
        let epoch = state.epoch;
        if let Some(head) = before.head().filter(|_| !state.is_silent) {
            let draft = Draft { closes: false, ..Draft::of(head) };
            state.of(epoch).state(&draft, &self.identity.key(epoch)?, self.identity.fleet())?;
        }
        let live = self.epochs();
        state
            .epochs
            .retain(|known| live.contains(&known.epoch) || !known.statements.is_empty() || known.erasure.is_some());
        state.of(epoch);
        state.save(&*self.world.folder)?;
        self.saved_timer = state.timer;
        self.state = state;
        Ok(())
    }

    /// The current epoch and every other that has rows at the service, waiting events, or statements on their way.
    pub(crate) fn epochs(&self) -> BTreeSet<u64> {
        let numbers = self.journal.sums.epochs.iter().filter(|(_, n)| n.receipts > 0 || !n.open.is_empty());
        let mut epochs: BTreeSet<u64> = numbers.map(|(epoch, _)| *epoch).collect();
        epochs.extend(self.spool.entries().keys().map(|(epoch, _)| *epoch));
        epochs.extend(self.state.epochs.iter().filter(|known| known.is_behind() || known.moved).map(|k| k.epoch));
        epochs.insert(self.state.epoch);
        epochs
    }
}
