//! Withdrawals that somebody records for an assigned subject: an operator who erases, a client that opts out.

use candor_policy::consent::ConsentState;
use candor_policy::policy::Policy;
use candor_policy::subject::LedgerId;
use candor_wire::statement::{ConsentRequest, MAX_NOTICE_CHARS, Notice};

use super::Store;
use crate::error::Error;

impl Store {
    /// Whether events of a purpose may still be stored of a subject: it was neither refused nor withdrawn. For a purpose that the
    /// policy does not have any more nothing is stored.
    #[must_use]
    pub fn may_be_stored(&self, subject: &LedgerId, purpose: &str) -> bool {
        let consent = self.consent(&[*subject]).of(0);
        let state = |number| consent.state(number, self.shared.day());
        let says_no = |number| matches!(state(number), ConsentState::Refused | ConsentState::Withdrawn);
        self.shared.purposes.number(purpose).is_some_and(|number| !consent.closed() && !says_no(number))
    }

    /// Records that an assigned subject, as its source names it, withdraws those of these purposes that it did not say no to before.
    /// Whether there were some: what was erased for good has nothing left to withdraw.
    ///
    /// # Errors
    /// As [`Store::record_consent`].
    pub async fn withdraw(
        &self,
        value: &str,
        purposes: &[String],
        (policy, source): (&Policy, &str),
    ) -> Result<bool, Error> {
        let subject = self.keys().ledger_id(value);
        let is_open = |name: &&String| self.may_be_stored(&subject, name);
        let open: Vec<String> = purposes.iter().filter(is_open).cloned().collect();
        if open.is_empty() || self.is_erased(&subject) {
            return Ok(false);
        }
        self.record_consent(withdrawal(value.to_owned(), open, policy), source).await.map(|_| true)
    }
}

/// The statement that withdraws purposes. Nobody says anything of a notice: it is the one in force.
#[must_use]
pub fn withdrawal(subject: String, purposes: Vec<String>, policy: &Policy) -> ConsentRequest {
    let version = policy.notice.as_deref().unwrap_or_default().chars().filter(|c| !c.is_control());
    let version: String = version.take(MAX_NOTICE_CHARS).collect();
    let version = if version.is_empty() { "none".to_owned() } else { version };
    ConsentRequest {
        subject,
        purposes: purposes.into_iter().map(|name| (name, ConsentState::Withdrawn)).collect(),
        // BCP 47 for a language that nobody determined.
        notice: Notice { version, language: "und".to_owned() },
        age_from: None,
        expires: None,
        granted_at: None,
    }
}
