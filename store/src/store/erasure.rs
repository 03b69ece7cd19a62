//! Erasures of a store's subjects: what can be asked for, asking for it, and how far it is.

use std::collections::BTreeSet;

use candor_policy::consent::ConsentState;
use candor_policy::policy::{Policy, Purpose};
use candor_policy::subject::LedgerId;
use candor_wire::erasure::Scope;

use super::Store;
use crate::consent::is_erased;
use crate::erase::{Erasure, Passed};
use crate::error::{Error, Kind};
use crate::table::layout;

impl Store {
    /// Takes an erasure in. From when this returns, what it covers for good is refused; the rest is done by a later pass.
    ///
    /// # Errors
    /// As [`Store::check_scope`]; if something cannot be written.
    pub async fn request_erasure(&self, subject: LedgerId, scope: Scope) -> Result<Erasure, Error> {
        self.check_scope(&scope)?;
        self.desk.request(subject, scope).await
    }

    /// Whether a scope can be erased: a certificate for a purpose that nothing was ever stored for would be about a misspelt name.
    ///
    /// # Errors
    /// `Request` for a scope that cannot be, or a purpose that neither policy nor tables have.
    pub fn check_scope(&self, scope: &Scope) -> Result<(), Error> {
        let mend = "send {\"scope\":\"all\"}, purposes in order, or days of receipt as YYYY-MM-DD";
        let refused =
            |why: &dyn std::fmt::Display| Error::new(Kind::Request, "nothing can be erased by this request", why, mend);
        scope.check().map_err(|why| refused(&why))?;
        let Scope::Purposes(names) = scope else { return Ok(()) };
        let mut known: BTreeSet<String> = self.shared.purposes.names().iter().cloned().collect();
        known.extend(layout::list(&self.shared.settings.data)?.into_iter().map(|table| table.purpose));
        if names.iter().all(|name| known.contains(name)) {
            return Ok(());
        }
        let known: Vec<String> = known.into_iter().collect();
        Err(refused(&format_args!("nothing is or was stored for one of the purposes: there are {}", known.join(", "))))
    }

    /// The erasures of a subject, oldest first.
    ///
    /// # Errors
    /// If they cannot be read.
    pub async fn erasures(&self, subject: &LedgerId) -> Result<Vec<Erasure>, Error> {
        self.desk.of(subject).await
    }

    /// Does every erasure that is open, now, and says what stays open and why: that is tried again.
    ///
    /// # Errors
    /// If none could be done, as tables, ledger and log give it.
    pub async fn erase_now(&self) -> Result<Passed, Error> {
        self.desk.run_now().await
    }

    /// Whether a subject was erased for good: nothing is stored of it ever again.
    #[must_use]
    pub fn is_erased(&self, subject: &LedgerId) -> bool {
        is_erased(&self.shared.consent.of_subject(subject))
    }
}

/// Purposes of a scope that a withdrawal does not end, somewhere: a law or a contract permits them, and no consent.
#[must_use]
pub fn still_taken(policy: &Policy, scope: &Scope) -> Vec<String> {
    let Scope::Purposes(names) = scope else { return Vec::new() };
    let is_taken =
        |purpose: &&Purpose| purpose.basis.iter().flatten().any(|basis| basis.holds(ConsentState::Withdrawn));
    let asked = policy.purposes.iter().filter(|purpose| names.contains(&purpose.name));
    asked.filter(is_taken).map(|purpose| purpose.name.clone()).collect()
}
