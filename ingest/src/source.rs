//! Sources: who may talk to the service, with which token, as what (`sources.toml`).

use std::collections::{BTreeMap, HashMap};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use candor_policy::catalogue::FieldPath;
use candor_policy::digest::Digest;
use candor_policy::key_index::KeyIndex;
use candor_policy::plan::Plan;
use candor_policy::problem::Problem;
use serde::Deserialize;
use toml::Spanned;

use crate::credential;
use crate::role::{Role, names};
use crate::token;
use crate::toml_text::{Text, is_plain_name};

/// Someone who holds a token.
#[derive(Debug)]
pub struct Source {
    /// Its name in `sources.toml`.
    pub name: Arc<str>,
    /// What it may do.
    pub roles: Vec<Role>,
    /// For role `device`: where a decoder puts what it sends, its subject included.
    pub(crate) keys: Option<KeyIndex>,
    /// For role `device`: the attribute that names its subjects; none where they sign.
    pub(crate) subject: Option<FieldPath>,
    /// Whether every request is signed by the subject that it is about.
    pub signed: bool,
}

/// All sources of a fleet, found by the hash of their token.
#[derive(Debug, Default)]
pub struct Sources {
    by_token: HashMap<Digest, Arc<Source>>,
}

impl Source {
    /// Whether it has one of these roles.
    #[must_use]
    pub fn has_one_of(&self, roles: &[Role]) -> bool {
        self.roles.iter().any(|role| roles.contains(role))
    }
}

impl Sources {
    /// The sources, in no order.
    pub fn iter(&self) -> impl Iterator<Item = &Arc<Source>> {
        self.by_token.values()
    }

    pub(crate) fn of_token(&self, token: &str) -> Option<&Arc<Source>> {
        self.by_token.get(&token::hash(token))
    }
}

/// `sources.toml` as written.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct SourcesDocument {
    source: BTreeMap<Spanned<String>, SourceDocument>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct SourceDocument {
    token_file: Spanned<String>,
    roles: Spanned<Vec<Spanned<String>>>,
    subject: Option<Spanned<String>>,
    signed: Option<Spanned<bool>>,
}

/// A source whose document is valid; it becomes a [`Source`] with the plan that its fleet compiles to.
#[derive(Debug)]
pub(crate) struct Written {
    name: Arc<str>,
    token: Digest,
    roles: Vec<Role>,
    names: Names,
}

/// How the requests of a source name whom they are about.
#[derive(Debug)]
enum Names {
    /// They send no events.
    Nobody,
    /// By an attribute.
    Attribute(FieldPath),
    /// By the key that signed them.
    Key,
}

/// Parses and checks `sources.toml`; token files are looked up beside it.
pub(crate) fn parse(text: &Text, folder: &Path) -> Result<Vec<Written>, Vec<Problem>> {
    let document = document(text)?;
    let mut problems = Vec::new();
    let mut sources: Vec<Written> = Vec::new();
    for (name, source) in &document.source {
        match source.check(name, text, folder, &sources) {
            Ok(source) => sources.push(source),
            Err(problem) => problems.push(*problem),
        }
    }
    problems.sort_by_key(|problem| problem.span.start);
    if problems.is_empty() { Ok(sources) } else { Err(problems) }
}

/// The token files that are named and can be found.
pub(crate) fn token_files(text: &Text, folder: &Path) -> Result<Vec<PathBuf>, Vec<Problem>> {
    let document = document(text)?;
    let credentials = credential::directory();
    let file = |source: &SourceDocument| {
        credential::path(folder, Path::new(source.token_file.get_ref()), credentials.as_deref()).ok()
    };
    Ok(document.source.values().filter_map(file).collect())
}

fn document(text: &Text) -> Result<SourcesDocument, Vec<Problem>> {
    toml::from_str(&text.text).map_err(|error| {
        let mend =
            "a source is written as [source.NAME] with token_file, roles and, for role device, subject or signed";
        vec![*text.problem(error.span().unwrap_or(0..0), error.message(), mend)]
    })
}

/// Gives each source its key index.
pub(crate) fn resolve(sources: Vec<Written>, plan: &Plan) -> Sources {
    let by_token = sources
        .into_iter()
        .map(|written| {
            let Written { name, token, roles, names } = written;
            let (keys, subject, signed) = match names {
                Names::Nobody => (None, None, false),
                Names::Attribute(subject) => (Some(plan.key_index(&subject)), Some(subject), false),
                Names::Key => (Some(plan.key_index_of_signed()), None, true),
            };
            (token, Arc::new(Source { name, roles, keys, subject, signed }))
        })
        .collect();
    Sources { by_token }
}

impl SourceDocument {
    fn check(
        &self,
        name: &Spanned<String>,
        text: &Text,
        folder: &Path,
        others: &[Written],
    ) -> Result<Written, Box<Problem>> {
        if !is_plain_name(name.get_ref()) {
            let mend = "use up to 64 ASCII letters, digits, `-`, `_` and dots, a letter or digit at both ends";
            return Err(text.problem(name.span(), "this name of a source cannot be used in logs and metrics", mend));
        }
        let roles = self.roles(text)?;
        let names = self.names(&roles, text)?;
        let written = Path::new(self.token_file.get_ref());
        let file = credential::path(folder, written, credential::directory().as_deref()).map_err(|why| {
            let mend = "to check a fleet elsewhere, set CREDENTIALS_DIRECTORY to a folder with stand-ins";
            text.problem(self.token_file.span(), why, mend)
        })?;
        let token = token::read(&file).map_err(|why| {
            let mend = "write a token into it, one line, for example with `openssl rand -hex 32`";
            text.problem(self.token_file.span(), why, mend)
        })?;
        if let Some(other) = others.iter().find(|other| other.token == token) {
            let message = format!("this source has the same token as source {}", other.name);
            return Err(text.problem(self.token_file.span(), message, "give each source a token of its own"));
        }
        Ok(Written { name: name.get_ref().as_str().into(), token, roles, names })
    }

    fn roles(&self, text: &Text) -> Result<Vec<Role>, Box<Problem>> {
        let known = format!("the roles are {}", names(&Role::ALL));
        if self.roles.get_ref().is_empty() {
            return Err(text.problem(self.roles.span(), "a source without a role can do nothing", known));
        }
        let role = |written: &Spanned<String>| {
            Role::ALL
                .into_iter()
                .find(|role| role.name() == written.get_ref())
                .ok_or_else(|| text.problem(written.span(), "there is no such role", known.clone()))
        };
        self.roles.get_ref().iter().map(role).collect()
    }

    fn names(&self, roles: &[Role], text: &Text) -> Result<Names, Box<Problem>> {
        if let Some(signed) = self.signed.as_ref().filter(|signed| *signed.get_ref()) {
            if roles != [Role::Device] {
                // All devices of a fleet hold the token: it must not open anything else.
                let mend = "write roles = [\"device\"]";
                return Err(text.problem(self.roles.span(), "a signed source has the role device, and no other", mend));
            }
            if self.subject.is_some() {
                let mend = "leave out subject, or leave out signed";
                return Err(text.problem(signed.span(), "a signed source needs no subject: the key names it", mend));
            }
            return Ok(Names::Key);
        }
        let mend = "name the attribute that says who an event is about, like subject = \"resource.device.id\", or write \
                    signed = true if devices sign what they send";
        let Some(written) = &self.subject else {
            return if roles.contains(&Role::Device) {
                Err(text.problem(self.roles.span(), "a source with role device needs a subject", mend))
            } else {
                Ok(Names::Nobody)
            };
        };
        match FieldPath::parse(written.get_ref()) {
            Some(path @ (FieldPath::Attribute(_) | FieldPath::Resource(_))) => Ok(Names::Attribute(path)),
            _ => Err(text.problem(written.span(), "a subject comes from an attribute or from the resource", mend)),
        }
    }
}
