//! Reading an operator's parameters: each is asked for once, and what nobody asked for is a mistake in the policy.

use std::collections::BTreeMap;
use std::ops::RangeInclusive;

use super::{BuildError, Parameter};
use crate::files::Files;

/// The parameters of one operator while it is built.
pub(super) struct Parameters<'a> {
    operator: &'a str,
    given: &'a BTreeMap<String, Parameter>,
    known: Vec<&'static str>,
    files: &'a Files<'a>,
}

impl<'a> Parameters<'a> {
    pub(super) const fn new(operator: &'a str, given: &'a BTreeMap<String, Parameter>, files: &'a Files<'a>) -> Self {
        Self { operator, given, known: Vec::new(), files }
    }

    /// The files that the policy may name.
    pub(super) const fn files(&self) -> &'a Files<'a> {
        self.files
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
        Ok(self.whole(name, 0..=i64::from(most), mend)?.map_or(default, |number| number as u8))
    }

    /// A whole number within `range`, if the policy gives one.
    pub(super) fn whole(
        &mut self,
        name: &'static str,
        range: RangeInclusive<i64>,
        mend: &str,
    ) -> Result<Option<i64>, BuildError> {
        match self.get(name) {
            None => Ok(None),
            Some(Parameter::Integer(number)) if range.contains(number) => Ok(Some(*number)),
            Some(_) => {
                let (least, most) = range.into_inner();
                let message = format!("`{name}` of `{}` must be a whole number from {least} to {most}", self.operator);
                Err(error(&message, mend))
            }
        }
    }

    /// A whole number within `range` that must be there.
    pub(super) fn required(
        &mut self,
        name: &'static str,
        range: RangeInclusive<i64>,
        mend: &str,
    ) -> Result<i64, BuildError> {
        self.whole(name, range, mend)?.ok_or_else(|| error(&format!("`{}` needs `{name}`", self.operator), mend))
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
