//! A fleet folder: catalogue, policy, sources and consent statements, read and checked as a whole.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use candor_policy::catalogue::Catalogue;
use candor_policy::operator::BuildError;
use candor_policy::plan::Plan;
use candor_policy::policy::Policy;
use candor_policy::problem::{Problem, Problems};
use candor_wire::record::Parties;
use candor_wire::statement::ConsentRequest;

use crate::protocol::consent;
use crate::source::{self, Sources, Written};
use crate::toml_text::Text;

/// Most bytes of a TOML document.
const MOST_DOCUMENT_BYTES: u64 = 4 << 20;
/// Most bytes of a file that the policy names: it is published with the policy.
const MOST_NAMED_BYTES: u64 = 4 << 20;
/// Most bytes of `consent.jsonl`: a bigger fleet has a backend that calls the API.
const MOST_CONSENT_BYTES: u64 = 64 << 20;

/// What a service must know of its fleet: whoever holds one holds a valid one.
#[derive(Debug)]
pub struct Fleet {
    /// Catalogue and policy, compiled.
    pub plan: Arc<Plan>,
    /// Who may talk to the service.
    pub sources: Sources,
    /// Who runs the fleet, as consent records say it: `parties.toml`, if there is one.
    pub parties: Parties,
    /// Statements of `consent.jsonl`, for subjects that have none yet.
    pub consents: Vec<ConsentRequest>,
}

impl Fleet {
    /// Reads `catalogue.toml`, `policy.toml` and the hierarchies it names, `sources.toml` and the token files it names;
    /// `parties.toml` and `consent.jsonl` if they are there.
    ///
    /// # Errors
    /// Every problem found, with file, line, column and the mend.
    pub fn load(folder: &Path) -> Result<Self, Problems> {
        let mut problems = Vec::new();
        let plan = keep(load_plan(folder), &mut problems);
        let sources = keep(load_sources(folder), &mut problems);
        let parties = keep(load_parties(folder), &mut problems);
        let consents = match &plan {
            Some(plan) => keep(load_consents(folder, plan.policy()), &mut problems),
            None => None,
        };
        match (plan, sources, parties, consents) {
            (Some(plan), Some(sources), Some(parties), Some(consents)) => {
                Ok(Self { sources: source::resolve(sources, &plan), plan: Arc::new(plan), parties, consents })
            }
            _ => Err(Problems(problems)),
        }
    }
}

/// Reads and compiles catalogue and policy of a fleet folder: what checks and explanations need, without tokens.
///
/// # Errors
/// Every problem found, with file, line, column and the mend.
pub fn load_plan(folder: &Path) -> Result<Plan, Problems> {
    let mut problems = Vec::new();
    let catalogue = document(folder, "catalogue.toml").and_then(|text| Catalogue::parse(&text.text, &text.file));
    let catalogue = keep(catalogue, &mut problems);
    let policy = document(folder, "policy.toml")
        .and_then(|text| Policy::parse_with(&text.text, &text.file, &|name| named_file(folder, name)));
    let policy = keep(policy, &mut problems);
    match (catalogue, policy) {
        (Some(catalogue), Some(policy)) => Plan::compile(catalogue, policy),
        _ => Err(Problems(problems)),
    }
}

/// The token files that the sources of a fleet folder name.
///
/// # Errors
/// If `sources.toml` cannot be read.
pub(crate) fn token_files(folder: &Path) -> Result<Vec<PathBuf>, Problems> {
    let text = document(folder, "sources.toml")?;
    source::token_files(&text, folder).map_err(Problems)
}

fn load_sources(folder: &Path) -> Result<Vec<Written>, Problems> {
    let text = document(folder, "sources.toml")?;
    source::parse(&text, folder).map_err(Problems)
}

fn load_parties(folder: &Path) -> Result<Parties, Problems> {
    let path = folder.join("parties.toml");
    if !path.exists() {
        return Ok(Parties::default());
    }
    let mend = "it may have the lists controllers, storage_locations and recipients, and the text withdrawal";
    let text = Text::read(&path, MOST_DOCUMENT_BYTES, mend).map_err(|problem| Problems(vec![*problem]))?;
    toml::from_str(&text.text)
        .map_err(|error| Problems(vec![*text.problem(error.span().unwrap_or(0..0), error.message(), mend)]))
}

fn load_consents(folder: &Path, policy: &Policy) -> Result<Vec<ConsentRequest>, Problems> {
    let path = folder.join("consent.jsonl");
    if !path.exists() {
        return Ok(Vec::new());
    }
    let mend = "write one statement a line, as POST /v1/consent takes it";
    let text = Text::read(&path, MOST_CONSENT_BYTES, mend).map_err(|problem| Problems(vec![*problem]))?;
    let mut consents = Vec::new();
    let mut problems = Vec::new();
    let mut start = 0;
    for line in text.text.split_inclusive('\n') {
        if !line.trim().is_empty() {
            match consent_of_line(line, policy) {
                Ok(request) => consents.push(request),
                Err((column, why)) => {
                    let at = start + column.min(line.len());
                    problems.push(*text.problem(at..at, why, mend));
                }
            }
        }
        start += line.len();
    }
    if problems.is_empty() { Ok(consents) } else { Err(Problems(problems)) }
}

/// A statement, or the byte in the line where it goes wrong and why. serde's own words could quote a value.
fn consent_of_line(line: &str, policy: &Policy) -> Result<ConsentRequest, (usize, String)> {
    let request: ConsentRequest = serde_json::from_str(line)
        .map_err(|error| (error.column().saturating_sub(1), format!("this is {}", consent::what_is_wrong(&error))))?;
    consent::check(&request, policy).map_err(|why| (0, why))?;
    Ok(request)
}

fn document(folder: &Path, name: &str) -> Result<Text, Problems> {
    let path: PathBuf = folder.join(name);
    let mend = "a fleet folder holds catalogue.toml, policy.toml and sources.toml";
    Text::read(&path, MOST_DOCUMENT_BYTES, mend).map_err(|problem| Problems(vec![*problem]))
}

/// A file that the policy names, which told it apart from a way out of the folder.
fn named_file(folder: &Path, name: &str) -> Result<String, BuildError> {
    let mend = "put the file there, as UTF-8 text, or correct its name; it is looked for beside policy.toml";
    let read = Text::read(&folder.join(name), MOST_NAMED_BYTES, mend);
    read.map(|text| text.text)
        .map_err(|problem| BuildError { message: format!("`{name}` {}", problem.message), mend: problem.mend })
}

fn keep<T>(result: Result<T, Problems>, problems: &mut Vec<Problem>) -> Option<T> {
    result.map_err(|found| problems.extend(found.0)).ok()
}
