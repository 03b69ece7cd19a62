//! Policies and catalogues: whether they are those of the log, and the plans that they make.

use std::cell::RefCell;
use std::collections::{BTreeMap, BTreeSet};
use std::rc::Rc;

use candor_policy::catalogue::Catalogue;
use candor_policy::plan::Plan;
use candor_policy::policy::Policy;
use sha2::{Digest, Sha256};

use super::evidence::Evidence;
use super::line::{Check, Lines};
use super::log::Log;
use crate::log::entry::{Entry, Sha256Hex};
use crate::merkle::Hash;

/// The digest by which a document is known: SHA-256 of its bytes, which are RFC 8785 JSON.
#[must_use]
pub fn digest_of(document: &[u8]) -> Hash {
    Sha256::digest(document).into()
}

/// Documents that are what their digests say.
pub(super) struct Documents<'a> {
    texts: BTreeMap<Hash, &'a str>,
    policies: BTreeSet<Hash>,
    catalogues: BTreeSet<Hash>,
    /// By policy and catalogue; each is compiled once.
    plans: RefCell<BTreeMap<(Hash, Hash), Compiled>>,
}

/// A plan, where both documents are there and compile.
type Compiled = Option<Rc<Plan>>;

/// What there is of a policy and a catalogue.
pub(super) enum Logged {
    /// Their plan.
    Plan(Rc<Plan>),
    /// The log has them, and one of them is not here or does not compile.
    Missing,
    /// The log does not have them.
    Unknown,
}

pub(super) fn check<'a>(evidence: &'a Evidence, log: &Log, lines: &mut Lines) -> Documents<'a> {
    let (mut policies, mut catalogues) = (BTreeSet::new(), BTreeSet::new());
    for entry in &log.entries {
        match entry {
            Entry::Policy(document) => _ = policies.insert(document.digest.0),
            Entry::Catalogue(document) => _ = catalogues.insert(document.digest.0),
            _ => {}
        }
    }
    let mut texts = BTreeMap::new();
    for (digest, bytes) in &evidence.documents {
        let about = Some(Sha256Hex(*digest).to_string());
        match std::str::from_utf8(bytes) {
            _ if digest_of(bytes) != *digest => lines.failed(Check::Documents, about, "it has another digest"),
            _ if !policies.contains(digest) && !catalogues.contains(digest) => {
                lines.failed(Check::Documents, about, "the log does not know it");
            }
            Err(_) => lines.failed(Check::Documents, about, "it is not text"),
            Ok(text) => _ = texts.insert(*digest, text),
        }
    }
    if !texts.is_empty() && !lines.has_failed(Check::Documents) {
        lines.proved(Check::Documents, None, format!("{} of them", texts.len()));
    }
    Documents { texts, policies, catalogues, plans: RefCell::default() }
}

impl Documents<'_> {
    /// The plan of a policy and a catalogue, by their digests in hex.
    pub(super) fn plan(&self, policy: &str, catalogue: &str) -> Logged {
        let (Some(policy), Some(catalogue)) = (hash(policy), hash(catalogue)) else { return Logged::Unknown };
        if !self.policies.contains(&policy) || !self.catalogues.contains(&catalogue) {
            return Logged::Unknown;
        }
        let mut plans = self.plans.borrow_mut();
        let plan = plans.entry((policy, catalogue)).or_insert_with(|| {
            let catalogue = Catalogue::from_canonical(self.texts.get(&catalogue)?, "the catalogue").ok()?;
            let policy = Policy::from_canonical(self.texts.get(&policy)?, "the policy").ok()?;
            Plan::compile(catalogue, policy).ok().map(Rc::new)
        });
        plan.clone().map_or(Logged::Missing, Logged::Plan)
    }

    /// A policy alone.
    pub(super) fn policy(&self, digest: &str) -> Option<Policy> {
        Policy::from_canonical(self.texts.get(&hash(digest)?)?, "the policy").ok()
    }

    /// Whether the log has a policy and a catalogue.
    pub(super) fn are_logged(&self, policy: &str, catalogue: &str) -> bool {
        !matches!(self.plan(policy, catalogue), Logged::Unknown)
    }
}

fn hash(hex: &str) -> Option<Hash> {
    candor_policy::hex::decode(hex)?.try_into().ok()
}
