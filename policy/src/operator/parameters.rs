//! Reading an operator's parameters: each is asked for once, and what nobody asked for is a mistake in the policy.

use std::collections::BTreeMap;

use super::{BuildError, Parameter};

/// The parameters of one operator while it is built.
pub(super) struct Parameters<'a> {
    operator: &'a str,
    given: &'a BTreeMap<String, Parameter>,
    known: Vec<&'static str>,
}

impl<'a> Parameters<'a> {
    pub(super) const fn new(operator: &'a str, given: &'a BTreeMap<String, Parameter>) -> Self {
        Self { operator, given, known: Vec::new() }
    }

    /// The parameter of that name, if the policy gives it.
    pub(super) fn get(&mut self, name: &'static str) -> Option<&'a Parameter> {
        self.known.push(name);
        self.given.get(name)
    }

    /// A text that must be there; `mend` says how to write it.
    pub(super) fn text(&mut self, name: &'static str, mend: &str) -> Result<&'a str, BuildError> {
        match self.get(name) {
            Some(Parameter::Text(text)) if !text.is_empty() => Ok(text),
            Some(_) => Err(error(&format!("`{name}` of `{}` must be a text that is not empty", self.operator), mend)),
            None => Err(error(&format!("`{}` needs `{name}`", self.operator), mend)),
        }
    }

    /// A list of texts that may be absent, but not empty.
    pub(super) fn texts(&mut self, name: &'static str, mend: &str) -> Result<Option<&'a [String]>, BuildError> {
        match self.get(name) {
            None => Ok(None),
            Some(Parameter::Texts(texts)) if !texts.is_empty() => Ok(Some(texts)),
            Some(_) => {
                Err(error(&format!("`{name}` of `{}` must be a list of texts that is not empty", self.operator), mend))
            }
        }
    }

    /// A whole number from `least` to `most`, or `default` where the policy gives none.
    pub(super) fn integer(&mut self, name: &'static str, default: u8, most: u8, mend: &str) -> Result<u8, BuildError> {
        match self.get(name) {
            None => Ok(default),
            Some(Parameter::Integer(number)) if (0..=i64::from(most)).contains(number) => Ok(*number as u8),
            Some(_) => {
                Err(error(&format!("`{name}` of `{}` must be a whole number from 0 to {most}", self.operator), mend))
            }
        }
    }

    /// Refuses parameters that the operator did not ask for: a misspelt one must not fall back to a default.
    pub(super) fn finish(self) -> Result<(), BuildError> {
        let Some(unknown) = self.given.keys().find(|name| !self.known.contains(&name.as_str())) else {
            return Ok(());
        };
        let mend = if self.known.is_empty() {
            format!("remove it: `{}` takes no parameters", self.operator)
        } else {
            format!("`{}` takes: {}", self.operator, self.known.join(", "))
        };
        Err(error(&format!("`{}` has no parameter `{unknown}`", self.operator), &mend))
    }
}

/// What is wrong, and the mend.
pub(super) fn error(message: &str, mend: &str) -> BuildError {
    BuildError { message: message.to_owned(), mend: mend.to_owned() }
}
