//! Putting a history of statements right with the service's: it may have lost some, or have some that this device never made.

use candor_policy::consent::ConsentState;
use candor_wire::reason::Reason;
use candor_wire::record::DpvState;
use candor_wire::signature;
use candor_wire::statement::SignedStatement;
use serde::Deserialize;

use crate::access::SubjectAnswer;
use crate::call::{Call, Heard};
use crate::consent::Draft;
use crate::deliver::{Halt, Next};
use crate::device::Device;
use crate::error::Error;
use crate::owner::Left;
use crate::rim::Transport;
use crate::state::EpochState;

impl Device {
    /// Finds out which statements of an epoch the service lacks. They are delivered by the next steps.
    pub(crate) async fn heal<T: Transport>(
        &mut self,
        transport: &mut T,
        epoch: u64,
        heard: &Heard,
    ) -> Result<Next, Halt> {
        let mut known = self.state.of(epoch).clone();
        self.put_right(transport, None, &mut known, heard).await?;
        self.hold_to(epoch, known)
    }

    /// The service took a statement, and what holds is less than it says: another holder of the seed made one of the same number. What
    /// both permit is said anew, so that this device says what holds.
    pub(crate) async fn agree<T: Transport>(&mut self, transport: &mut T, epoch: u64) -> Result<Next, Halt> {
        let mut known = self.state.of(epoch).clone();
        self.adopt(transport, None, &mut known).await?;
        self.hold_to(epoch, known)
    }

    fn hold_to(&mut self, epoch: u64, known: EpochState) -> Result<Next, Halt> {
        let now = known.head().cloned();
        let all: Vec<_> = self.spool.entries().keys().filter(|at| at.0 == epoch).copied().collect();
        // Held against the statements that they were collected under while these are still here.
        for at in all {
            self.screen(at, now.as_ref())?;
        }
        *self.state.of(epoch) = known;
        self.save()?;
        Ok(Next::Again)
    }

    /// The same for one epoch's history, which the caller keeps.
    pub(crate) async fn put_right<T: Transport>(
        &mut self,
        transport: &mut T,
        leaving: Left,
        known: &mut EpochState,
        heard: &Heard,
    ) -> Result<(), Halt> {
        self.heals(heard.retry_after())?;
        let newest = if heard.reason() == Some(Reason::ConsentConflict) {
            // A service that has none says so by the number 0.
            head(heard).filter(|(sequence, _)| *sequence > 0)
        } else {
            let answer = self.head_of(transport, leaving, known.epoch).await?;
            answer.filter(|answer| answer.sequence > 0).map(|answer| (answer.sequence, answer.hash))
        };
        let Some((sequence, hash)) = newest else {
            known.delivered = 0;
            return Ok(());
        };
        if known.is_heard_up_to(sequence, &hash) {
            return Ok(());
        }
        self.adopt(transport, leaving, known).await
    }

    /// Takes over the service's history of this epoch: another holder of the seed made it, or this one before its folder was set
    /// back. What holds from now on is what both permit, so that no withdrawal is undone.
    async fn adopt<T: Transport>(
        &mut self,
        transport: &mut T,
        leaving: Left,
        known: &mut EpochState,
    ) -> Result<(), Halt> {
        let call = self.addressed(Call::get("/v1/subject"))?;
        let heard = self.ask(transport, leaving, known.epoch, &call).await?;
        let answer: Option<SubjectAnswer> = serde_json::from_slice(&heard.body).ok();
        let Some(answer) = answer.filter(|_| heard.status.is_success()) else {
            return Err(self.wait(heard.retry_after()));
        };
        let owner = self.asker(leaving);
        let key = owner.key(known.epoch)?;
        let statements = answer.signed_by(&key.public())?;
        let Some(newest) = statements.last().cloned() else {
            known.delivered = 0;
            return Ok(());
        };
        // Statements of one sequence hold together.
        let newest_too = statements.iter().filter(|statement| statement.sequence == newest.sequence);
        let theirs = newest_too.map(Draft::of).reduce(|one, two| one.and(&two)).unwrap_or_else(|| Draft::of(&newest));
        let ours = known.head().map(Draft::of);
        let before = std::mem::replace(&mut known.statements, statements);
        known.void.extend(before.into_iter().filter(|own| !known.statements.contains(own)));
        known.delivered = known.statements.len();
        known.instance = known.instance.max((newest.sequence >> 32) as u32).saturating_add(1);
        known.is_refused = false;
        if theirs.closes {
            known.is_closed = true;
            return Ok(());
        }
        if let Some(both) = ours.map(|ours| theirs.and(&ours)).filter(|both| *both != Draft::of(&newest)) {
            known.state(&both, &key, owner.fleet())?;
        }
        Ok(())
    }
}

/// The answer to a statement, as far as it matters here.
#[derive(Deserialize)]
struct Answered {
    purposes: Vec<Standing>,
}

#[derive(Deserialize)]
struct Standing {
    purpose: String,
    state: DpvState,
}

/// Whether the record of a statement has a purpose not given which the statement gives. That a day has passed is no difference.
pub(crate) fn says_less(record: &[u8], statement: &SignedStatement) -> bool {
    let Ok(answered) = serde_json::from_slice::<Answered>(record) else { return false };
    let is_less = |standing: &Standing| {
        let is_given = statement.purposes.get(&standing.purpose) == Some(&ConsentState::Given);
        is_given && !matches!(standing.state, DpvState::ConsentGiven | DpvState::ConsentExpired)
    };
    answered.purposes.iter().any(is_less)
}

/// `Candor-Consent-Head: SEQUENCE HASH`.
fn head(heard: &Heard) -> Option<(i64, String)> {
    let (sequence, hash) = heard.header(&signature::CONSENT_HEAD).split_once(' ')?;
    Some((sequence.parse().ok()?, hash.to_owned()))
}

impl From<Halt> for Error {
    fn from(halt: Halt) -> Self {
        match halt {
            Halt::Error(error) => error,
            Halt::Next(Next::Stopped(stop)) => Self::Service(stop.to_string()),
            Halt::Next(_) => Self::Service("it cannot answer now".to_owned()),
        }
    }
}
