//! The answer to a consent statement: a record with the fields of ISO/IEC TS 27560, in JSON.
//!
//! It is made from the subject's statements and from what catalogue and policy say, so that whoever holds it can read
//! what was agreed to without asking the service again. States have the names of the W3C Data Privacy Vocabulary.

use std::collections::{BTreeMap, BTreeSet};

use candor_policy::consent::ConsentState;
use candor_policy::plan::{Input, Plan};
use candor_policy::policy::LegalBasis;
use serde::{Deserialize, Serialize};

use crate::statement::{Assertion, Statement, StatementError, day_text};

/// Names the form of [`ConsentRecord`]; another form gets another name.
pub const SCHEMA_VERSION: &str = "ISO/IEC TS 27560:2023 candor/1";
/// A day before every expiry: a record says until when beside the state.
const BEFORE_ALL: i32 = i32::MIN;

/// Who runs the service and where, as the records say it: what neither catalogue nor policy knows.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Parties {
    /// Who answers for the processing.
    pub controllers: Vec<String>,
    /// Where the data rests.
    pub storage_locations: Vec<String>,
    /// Third parties that receive it.
    pub recipients: Vec<String>,
    /// How a subject withdraws, for people.
    pub withdrawal: String,
}

/// A subject's consent as it stands, with how it came to be.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(deny_unknown_fields)]
pub struct ConsentRecord {
    /// [`SCHEMA_VERSION`].
    pub schema_version: String,
    /// SHA-256 of the statement that it answers: the one that the subject's next statement names.
    pub record_id: String,
    /// The subject's ledger id: a pseudonym under a secret key.
    pub pii_principal_id: String,
    /// Sequence of the statement: what rows hold as `consent_seq`.
    pub sequence: i64,
    /// The notice that was shown.
    pub privacy_notice: String,
    /// Its language.
    pub language: String,
    /// SHA-256 of policy and catalogue that the terms below are from.
    pub policy: String,
    /// See `policy`.
    pub catalogue: String,
    /// Each purpose with its terms.
    pub purposes: Vec<PurposeRecord>,
    /// Changes of state, oldest first.
    pub events: Vec<ConsentEvent>,
}

/// One purpose: its terms, and where the subject stands.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct PurposeRecord {
    /// What the policy says.
    #[serde(flatten)]
    pub terms: Terms,
    /// Who answers for it.
    pub pii_controllers: Vec<String>,
    /// Where the data rests.
    pub storage_locations: Vec<String>,
    /// Third parties that receive it.
    pub recipient_third_parties: Vec<String>,
    /// How to withdraw.
    pub withdrawal_method: String,
    /// State as the statement left it, or, where there are several of its number, what each of them permits.
    pub state: DpvState,
    /// Day from which *given* counts as expired.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub valid_until: Option<String>,
}

/// What catalogue and policy say of one purpose.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct Terms {
    /// Name of the purpose.
    pub purpose: String,
    /// fideslang data use.
    pub purpose_type: String,
    /// What it is, for people.
    pub description: String,
    /// Legal basis by jurisdiction; a jurisdiction without one is not served.
    pub lawful_basis: BTreeMap<String, LegalBasis>,
    /// Jurisdictions that it is served in.
    pub jurisdictions: Vec<String>,
    /// Categories of the fields that rules let through.
    pub pii_categories: Vec<String>,
    /// How long rows stay, from the date of receipt: `13 months`.
    pub retention_period: String,
}

/// A change of state of one purpose.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(deny_unknown_fields)]
pub struct ConsentEvent {
    /// When the service received it.
    pub event_time: String,
    /// The purpose.
    pub purpose: String,
    /// The state from then on.
    pub event_state: DpvState,
    /// Sequence of the statement.
    pub sequence: i64,
    /// Who vouches for it.
    pub asserted_by: Assertion,
}

/// A state by its name in the W3C Data Privacy Vocabulary.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub enum DpvState {
    /// Nothing was ever said.
    ConsentUnknown,
    /// Given.
    ConsentGiven,
    /// Asked and refused.
    ConsentRefused,
    /// Given once, then withdrawn.
    ConsentWithdrawn,
    /// Given until a day that has passed.
    ConsentExpired,
    /// Given under a notice that has changed materially since.
    ConsentInvalidated,
}

impl Terms {
    /// The terms of every purpose of a plan, in the policy's order.
    #[must_use]
    pub fn of_plan(plan: &Plan) -> Vec<Self> {
        let policy = plan.policy();
        let of_purpose = |(number, purpose): (usize, &candor_policy::policy::Purpose)| {
            // Number 0 is `unknown`: no place that a record could name.
            let places = policy.jurisdictions.names.iter().zip(&purpose.basis).skip(1);
            let lawful_basis: BTreeMap<String, LegalBasis> =
                places.filter_map(|(name, basis)| Some((name.clone(), (*basis)?))).collect();
            Self {
                purpose: purpose.name.clone(),
                purpose_type: purpose.data_use.clone(),
                description: purpose.description.clone(),
                jurisdictions: lawful_basis.keys().cloned().collect(),
                lawful_basis,
                pii_categories: categories(plan, number as u16),
                retention_period: purpose.retain.to_string(),
            }
        };
        policy.purposes.iter().enumerate().map(of_purpose).collect()
    }
}

impl ConsentRecord {
    /// The record of the newest statement of a history (oldest first; the newest alone will do, its events are then
    /// those that it can show by itself, and no other of its number counts).
    ///
    /// # Errors
    /// [`StatementError::Damaged`] for an empty history or a statement that is not JSON, or has an expiry that is no day.
    pub fn new(history: &[Statement], plan: &Plan, parties: &Parties) -> Result<Self, StatementError> {
        let digests = (plan.policy().digest.to_string(), plan.catalogue().digest.to_string());
        Self::with_terms(history, &Terms::of_plan(plan), digests, parties)
    }

    /// The same about one statement of the newest number, where that has several.
    ///
    /// # Errors
    /// As [`ConsentRecord::new`].
    pub fn about(self, statement: &Statement) -> Result<Self, StatementError> {
        Ok(Self {
            record_id: statement.hash()?.to_string(),
            privacy_notice: statement.notice.version.clone(),
            language: statement.notice.language.clone(),
            ..self
        })
    }

    fn with_terms(
        history: &[Statement],
        terms: &[Terms],
        (policy, catalogue): (String, String),
        parties: &Parties,
    ) -> Result<Self, StatementError> {
        let damaged = |sequence, what| StatementError::Damaged { sequence, what };
        let newest = history.last().ok_or(damaged(0, "there is none"))?;
        let record_id = newest.hash()?;
        let of_purpose = |terms: &Terms| {
            let consent = Statement::together(last_of_one_number(history), &terms.purpose)?.unwrap_or_default();
            let state = consent.state(0, BEFORE_ALL);
            Ok(PurposeRecord {
                terms: terms.clone(),
                pii_controllers: parties.controllers.clone(),
                storage_locations: parties.storage_locations.clone(),
                recipient_third_parties: parties.recipients.clone(),
                withdrawal_method: parties.withdrawal.clone(),
                state: state.into(),
                valid_until: consent.expires_day().filter(|_| state == ConsentState::Given).and_then(day_text),
            })
        };
        Ok(Self {
            schema_version: SCHEMA_VERSION.to_owned(),
            record_id: record_id.to_string(),
            pii_principal_id: newest.ledger_id.clone(),
            sequence: newest.sequence,
            privacy_notice: newest.notice.version.clone(),
            language: newest.notice.language.clone(),
            policy,
            catalogue,
            purposes: terms.iter().map(of_purpose).collect::<Result<_, StatementError>>()?,
            events: events(history)?,
        })
    }
}

impl From<ConsentState> for DpvState {
    fn from(state: ConsentState) -> Self {
        match state {
            ConsentState::Unknown => Self::ConsentUnknown,
            ConsentState::Given => Self::ConsentGiven,
            ConsentState::Refused => Self::ConsentRefused,
            ConsentState::Withdrawn => Self::ConsentWithdrawn,
            ConsentState::Expired => Self::ConsentExpired,
            ConsentState::Invalidated => Self::ConsentInvalidated,
        }
    }
}

impl std::fmt::Debug for ConsentRecord {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "ConsentRecord(sequence {}, {} purposes)", self.sequence, self.purposes.len())
    }
}

/// Categories of the fields that some rule writes for a purpose.
fn categories(plan: &Plan, purpose: u16) -> Vec<String> {
    let mut names = BTreeSet::new();
    for table in plan.tables().iter().filter(|table| table.purpose == purpose) {
        let Some(stream) = plan.catalogue().streams.get(usize::from(table.stream)) else { continue };
        for column in &table.columns {
            if let Input::Field(number) = column.input
                && let Some(field) = stream.fields.get(usize::from(number))
            {
                names.insert(field.category.as_str().to_owned());
            }
        }
    }
    names.into_iter().collect()
}

/// What each statement changed; the first one shows every state that it names. The second of a number gives nothing that the first
/// one does not.
fn events(history: &[Statement]) -> Result<Vec<ConsentEvent>, StatementError> {
    let mut states: BTreeMap<&str, ConsentState> = BTreeMap::new();
    let mut events = Vec::new();
    for (at, statement) in history.iter().enumerate() {
        for purpose in statement.purposes.keys() {
            let consent = Statement::together(last_of_one_number(&history[..=at]), purpose)?.unwrap_or_default();
            let state = consent.state(0, BEFORE_ALL);
            let before = states.insert(purpose, state).unwrap_or_default();
            if before != state {
                events.push(ConsentEvent {
                    event_time: statement.received_at.clone(),
                    purpose: purpose.clone(),
                    event_state: state.into(),
                    sequence: statement.sequence,
                    asserted_by: statement.asserted_by,
                });
            }
        }
    }
    Ok(events)
}

/// The newest statement of a history, and those of its number before it.
fn last_of_one_number(history: &[Statement]) -> impl Iterator<Item = &Statement> {
    let newest = history.last().map(|newest| newest.sequence);
    history.iter().rev().take_while(move |one| Some(one.sequence) == newest)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::statement::{ConsentRequest, Notice};
    use candor_policy::subject::LedgerId;

    fn terms(purpose: &str) -> Terms {
        Terms {
            purpose: purpose.to_owned(),
            purpose_type: "analytics.reporting".to_owned(),
            description: "How the product is used".to_owned(),
            lawful_basis: BTreeMap::from([("EU".to_owned(), LegalBasis::Consent)]),
            jurisdictions: vec!["EU".to_owned()],
            pii_categories: vec!["user.device".to_owned()],
            retention_period: "13 months".to_owned(),
        }
    }

    fn history() -> Vec<Statement> {
        let request = |state, expires: Option<&str>| ConsentRequest {
            subject: "phone-0001".to_owned(),
            purposes: BTreeMap::from([("analytics".to_owned(), state)]),
            notice: Notice { version: "2026-01".to_owned(), language: "de".to_owned() },
            age_from: None,
            expires: expires.map(str::to_owned),
            granted_at: None,
        };
        let subject = LedgerId::from_bytes([7; 32]);
        let next = |previous: Option<&Statement>, request: &ConsentRequest, at: i64| {
            let purposes = ["analytics", "marketing"];
            Statement::next(previous, request, &subject, &purposes, at * 1_000_000, "backend").unwrap()
        };
        let given = next(None, &request(ConsentState::Given, Some("2027-01-01")), 1_795_377_600);
        let same = next(Some(&given), &request(ConsentState::Given, Some("2027-01-01")), 1_795_377_601);
        let withdrawn = next(Some(&same), &request(ConsentState::Withdrawn, None), 1_795_377_602);
        vec![given, same, withdrawn]
    }

    fn record(history: &[Statement]) -> ConsentRecord {
        let parties = Parties {
            controllers: vec!["Acme GmbH".to_owned()],
            storage_locations: vec!["DE".to_owned()],
            recipients: Vec::new(),
            withdrawal: "In the app, under Privacy".to_owned(),
        };
        let digests = ("p".to_owned(), "c".to_owned());
        ConsentRecord::with_terms(history, &[terms("analytics"), terms("marketing")], digests, &parties).unwrap()
    }

    #[test]
    fn a_record_names_the_state_its_terms_and_how_it_came_about() {
        let history = history();
        let record = record(&history);
        assert_eq!(record.record_id, history[2].hash().unwrap().to_string());
        let changes: Vec<_> = record.events.iter().map(|event| (event.sequence, event.event_state)).collect();
        assert_eq!(changes, [(1, DpvState::ConsentGiven), (3, DpvState::ConsentWithdrawn)]);
        assert_eq!(record.purposes[0].state, DpvState::ConsentWithdrawn);
        assert_eq!(record.purposes[0].valid_until, None);
        assert_eq!(record.purposes[1].state, DpvState::ConsentUnknown);
        let given = self::record(&history[..1]);
        assert_eq!(given.purposes[0].valid_until.as_deref(), Some("2027-01-01"));
    }

    #[test]
    fn of_two_statements_of_one_number_what_both_permit_is_told() {
        use ConsentState::{Given, Withdrawn};
        let history = history();
        let fork = |of: &Statement, analytics, marketing, expires: Option<&str>| Statement {
            purposes: [("analytics".to_owned(), analytics), ("marketing".to_owned(), marketing)].into(),
            expires: expires.map(str::to_owned),
            ..of.clone()
        };
        let told = |history: &[Statement]| {
            let record = record(history);
            let states: Vec<_> = record.purposes.iter().map(|one| (one.state, one.valid_until.clone())).collect();
            let events: Vec<_> = record.events.into_iter().map(|one| (one.purpose, one.event_state)).collect();
            (states, events)
        };
        let (withdrawn, given) = ((DpvState::ConsentWithdrawn, None), (DpvState::ConsentGiven, None));
        let event = |purpose: &str, state| (purpose.to_owned(), state);
        let (taken, gave) = (DpvState::ConsentWithdrawn, DpvState::ConsentGiven);
        // All withdrawn, and given under the same number: nothing changes.
        let newest = &history[2];
        let all = [fork(newest, Withdrawn, Withdrawn, None), fork(newest, Given, Given, None)];
        let events = vec![event("analytics", taken), event("marketing", taken)];
        assert_eq!(told(&all), (vec![withdrawn.clone(), withdrawn.clone()], events));
        // Each withdraws another purpose.
        let each = [fork(newest, Given, Withdrawn, None), fork(newest, Withdrawn, Given, None)];
        let events = vec![event("analytics", gave), event("marketing", taken), event("analytics", taken)];
        assert_eq!(told(&each), (vec![withdrawn.clone(), withdrawn.clone()], events));
        // The earlier day holds; and a number before this one changes nothing.
        let until = |first, second| told(&[fork(newest, Given, Given, first), fork(newest, Given, Given, second)]).0;
        let january = (DpvState::ConsentGiven, Some("2027-01-01".to_owned()));
        assert_eq!(until(Some("2027-01-01"), None), [january.clone(), january.clone()]);
        assert_eq!(until(Some("2027-03-01"), Some("2027-01-01")), [january.clone(), january]);
        assert_eq!(until(None, None), [given.clone(), given.clone()]);
        let again = Statement { sequence: 4, ..fork(newest, Given, Given, None) };
        assert_eq!(told(&[all[0].clone(), all[1].clone(), again]).0, [given.clone(), given]);
    }

    #[test]
    fn every_field_of_the_standard_is_in_the_json_and_the_subject_is_not() {
        let json = serde_json::to_value(record(&history())).unwrap();
        for path in [
            "/schema_version",
            "/record_id",
            "/pii_principal_id",
            "/privacy_notice",
            "/language",
            "/purposes/0/purpose",
            "/purposes/0/purpose_type",
            "/purposes/0/lawful_basis/EU",
            "/purposes/0/jurisdictions/0",
            "/purposes/0/pii_categories/0",
            "/purposes/0/pii_controllers/0",
            "/purposes/0/storage_locations/0",
            "/purposes/0/retention_period",
            "/purposes/0/recipient_third_parties",
            "/purposes/0/withdrawal_method",
            "/events/0/event_time",
            "/events/0/event_state",
        ] {
            assert!(json.pointer(path).is_some(), "{path}");
        }
        assert_eq!(json["events"][0]["event_state"], "ConsentGiven");
        assert!(!json.to_string().contains("phone-0001"));
        let back: ConsentRecord = serde_json::from_value(json).unwrap();
        assert_eq!(back, record(&history()));
    }

    #[test]
    fn no_history_is_an_error() {
        let digests = (String::new(), String::new());
        assert!(ConsentRecord::with_terms(&[], &[], digests, &Parties::default()).is_err());
    }

    const CATALOGUE: &str = r#"
catalogue = "f"
[stream."phone.app"]
description = "Apps"
owner = "a@b.example"
expires = "2028-12-31"
[stream."phone.app".event."phone.app.opened"]
description = "Opened"
[stream."phone.app".field]
model = { type = "string", from = "attributes.m", category = "user.device", role = "plain", description = "Model" }
email = { type = "string", from = "attributes.e", category = "user.contact.email", role = "identifier", description = "Mail" }
"#;

    const POLICY: &str = r#"
policy = "f"
default = "drop"
jurisdiction = { from = "resource.region", EU = ["DE"], CN = ["CN"] }
[purpose.analytics]
description = "Count use"
use = "analytics.reporting"
basis = { EU = "consent" }
retain = "13 months"
on_withdrawal = "keep"
[[rule]]
id = "r"
stream = "phone.app"
purpose = "analytics"
emit.model = { op = "keep" }
emit.email = { op = "drop" }
"#;

    #[test]
    fn terms_name_what_is_stored_and_where_the_purpose_is_served() {
        use candor_policy::catalogue::Catalogue;
        use candor_policy::policy::Policy;

        let catalogue = Catalogue::parse(CATALOGUE, "catalogue.toml").unwrap();
        let plan = Plan::compile(catalogue, Policy::parse(POLICY, "policy.toml").unwrap()).unwrap();
        let record = ConsentRecord::new(&history(), &plan, &Parties::default()).unwrap();
        assert_eq!(record.policy, plan.policy().digest.to_string());
        let expected = Terms { description: "Count use".to_owned(), ..terms("analytics") };
        assert_eq!(record.purposes.iter().map(|purpose| &purpose.terms).collect::<Vec<_>>(), [&expected]);
    }
}
