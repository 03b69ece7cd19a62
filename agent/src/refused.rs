//! Statements that a service refuses: what they hold up, when they are said again, and what takes their place.

use std::collections::BTreeSet;

use candor_policy::consent::ConsentState;
use candor_wire::identity::{PublicKey, SubjectKey};

use crate::consent::Draft;
use crate::deliver::{Halt, Stop};
use crate::device::Device;
use crate::epoch::DAY;
use crate::error::Error;
use crate::rim::Transport;
use crate::state::EpochState;

/// Most names of purposes that are taken from a policy.
const MOST_PURPOSES: usize = 1_024;

impl EpochState {
    /// The service does not take the statement that is next, and says why. What waits behind it takes its place, without the names in
    /// `without`; if nothing does, it waits for another.
    pub(crate) fn is_refused_for(
        &mut self,
        why: String,
        without: &BTreeSet<String>,
        key: &SubjectKey,
        fleet: &str,
    ) -> Result<(), Error> {
        let refused = usize::from(without.is_empty());
        let waiting: Vec<Draft> = self.statements.iter().skip(self.delivered + refused).map(Draft::of).collect();
        (self.is_refused, self.refusal) = (true, why);
        for mut draft in waiting {
            draft.purposes.retain(|name, _| !without.contains(name));
            self.state(&draft, key, fleet)?;
        }
        Ok(())
    }

    fn is_stuck(&self) -> bool {
        self.is_refused && self.is_behind()
    }
}

impl Device {
    /// Epochs whose next statement was refused: no event of theirs goes out before another takes its place. One that is to be said
    /// again is none of them: a policy can change, so that is once after each start and once a day.
    pub(crate) fn held(&self) -> Result<BTreeSet<u64>, Error> {
        let mut held = BTreeSet::new();
        for known in self.state.epochs.iter().filter(|known| known.is_stuck()) {
            if self.was_said(&self.identity.public(known.epoch)?) {
                held.insert(known.epoch);
            }
        }
        Ok(held)
    }

    /// The next closing statement of an owner who left: whose, and of which of the epochs that wait.
    pub(crate) fn leaving_now(&self) -> Result<Option<(usize, usize)>, Error> {
        for (owner, left) in self.leaving.iter().enumerate() {
            for (at, known) in left.epochs.iter().enumerate().filter(|(_, known)| known.is_behind()) {
                if !known.is_refused || !self.was_said(&left.identity.public(known.epoch)?) {
                    return Ok(Some((owner, at)));
                }
            }
        }
        Ok(None)
    }

    /// What a person has to be told when there is nothing else to do.
    pub(crate) fn stuck(&self) -> Option<Stop> {
        let left = self.leaving.iter().flat_map(|owner| &owner.epochs).find(|known| known.is_stuck());
        let own = self.state.epochs.iter().find(|known| known.is_stuck());
        let message = |known: &EpochState| known.refusal.clone();
        match (own, left) {
            (Some(known), _) => Some(Stop::StatementRefused { epoch: known.epoch, message: message(known) }),
            (None, Some(known)) => Some(Stop::ClosingRefused { epoch: known.epoch, message: message(known) }),
            (None, None) => None,
        }
    }

    /// Epochs of this owner whose next statement was refused, and what the service said.
    #[must_use]
    pub fn refusals(&self) -> Vec<(u64, String)> {
        let stuck = self.state.epochs.iter().filter(|known| known.is_stuck());
        stuck.map(|known| (known.epoch, known.refusal.clone())).collect()
    }

    /// A statement of this key was refused just now.
    pub(crate) fn is_said(&mut self, key: PublicKey) {
        self.said.insert(key, self.caller.time());
    }

    fn was_said(&self, key: &PublicKey) -> bool {
        self.said.get(key).is_some_and(|at| self.caller.time().abs_diff(*at) < DAY.unsigned_abs())
    }

    /// The newest statement of an epoch was refused, or one before it.
    pub(crate) async fn statement_refused<T: Transport>(
        &mut self,
        transport: &mut T,
        epoch: u64,
        why: String,
    ) -> Result<(), Halt> {
        let without = self.carried_in_vain(transport, epoch).await?;
        let (key, fleet) = (self.identity.key(epoch)?, self.identity.fleet().to_owned());
        self.state.of(epoch).is_refused_for(why, &without, &key, &fleet)?;
        self.is_said(key.public());
        Ok(self.save()?)
    }

    /// What a new epoch gives only because the one before did, and the policy has not any more. Nobody said it of this key, so it can be
    /// left out of its first statement.
    async fn carried_in_vain<T: Transport>(&mut self, transport: &mut T, epoch: u64) -> Result<BTreeSet<String>, Halt> {
        let heads = |known: &EpochState| known.head().map(given).unwrap_or_default();
        let before = self.state.epochs.iter().filter(|known| known.epoch < epoch).flat_map(heads);
        let before: BTreeSet<String> = before.collect();
        let known = self.state.of(epoch);
        let first = known.statements.first().filter(|_| known.delivered == 0).map(given).unwrap_or_default();
        let mut carried: BTreeSet<String> = first.into_iter().filter(|name| before.contains(name)).collect();
        if carried.is_empty() {
            return Ok(carried);
        }
        let heard = self.read(transport, "/v1/policy").await?;
        let policy: Option<serde_json::Value> =
            serde_json::from_slice(&heard.body).ok().filter(|_| heard.status.is_success());
        let declared = policy.as_ref().and_then(|policy| policy.get("purpose")?.as_object());
        // Where it cannot be known, nothing is left out.
        carried.retain(|name| declared.is_some_and(|all| all.len() <= MOST_PURPOSES && !all.contains_key(name)));
        Ok(carried)
    }
}

fn given(statement: &candor_wire::statement::SignedStatement) -> Vec<String> {
    let states = statement.purposes.iter();
    states.filter(|(_, state)| **state == ConsentState::Given).map(|(name, _)| name.clone()).collect()
}
