//! Operators: what a rule does to a field. The next one is one file here and one line in `OPERATORS`.
//!
//! Each runs vectorised on an Arrow array, null in, null out, and once per distinct value where values repeat.
//! Semantics, pitfalls and published vectors: `docs/FORMAT.md`, section "Operators".

use std::collections::BTreeMap;
use std::sync::Arc;

use arrow_array::ArrayRef;
use arrow_schema::{DataType, Field as ArrowField, TimeUnit};

use crate::catalogue::FieldType;
use crate::files::Files;
use crate::keys::Keys;

mod bin;
mod canonical;
pub(crate) mod clean;
mod fpe;
mod geohash;
mod h3;
mod hierarchy;
mod hmac;
mod ip;
mod keep;
pub(crate) mod list;
mod mask;
mod number;
mod parameters;
mod position;
mod redact;
mod repeats;
mod replace;
mod time;
mod top_code;
mod withhold;

pub(crate) use hierarchy::Hierarchy;

use parameters::Parameters;

/// Every operator that a policy can name.
const OPERATORS: &[(&str, Builder)] = &[
    ("keep", keep::build),
    ("drop", withhold::build_drop),
    ("suppress", withhold::build_suppress),
    ("hmac", hmac::build),
    ("ip_trunc", ip::build),
    ("time_floor", time::build),
    ("bin", bin::build),
    ("top_code", top_code::build),
    ("replace", replace::build),
    ("mask", mask::build),
    ("hierarchy", hierarchy::build),
    ("fpe_ff1", fpe::build),
    ("h3", h3::build),
    ("geohash", geohash::build),
    ("redact_text", redact::build),
];

type Builder = fn(&mut Parameters<'_>) -> Result<OperatorRef, BuildError>;

/// The operator that a policy names with these parameters (all but `op` itself); it can name no file.
///
/// # Errors
/// What is wrong with the name or a parameter, and the mend.
pub fn build(name: &str, parameters: &BTreeMap<String, Parameter>) -> Result<OperatorRef, BuildError> {
    build_with(name, parameters, &Files::none())
}

/// The same where the policy may name files.
pub(crate) fn build_with(
    name: &str,
    parameters: &BTreeMap<String, Parameter>,
    files: &Files<'_>,
) -> Result<OperatorRef, BuildError> {
    let Some((name, builder)) = OPERATORS.iter().find(|(known, _)| *known == name) else {
        let known: Vec<&str> = OPERATORS.iter().map(|(known, _)| *known).collect();
        return Err(BuildError {
            message: format!("no operator is named `{name}`"),
            mend: format!("use one of: {}", known.join(", ")),
        });
    };
    let mut parameters = Parameters::new(name, parameters, files);
    let operator = builder(&mut parameters)?;
    parameters.finish()?;
    Ok(operator)
}

/// One parameter of an operator as a policy writes it.
#[derive(Clone, Debug, PartialEq)]
pub enum Parameter {
    /// `5`
    Integer(i64),
    /// `0.5`
    Float(f64),
    /// `"hour"`
    Text(String),
    /// `true`
    Bool(bool),
    /// `["email", "card"]`
    Texts(Vec<String>),
}

/// Why an operator cannot be built as it is written.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{message}")]
pub struct BuildError {
    /// What is wrong.
    pub message: String,
    /// What to do about it.
    pub mend: String,
}

/// Arrow type of a field's values, raw and wherever an operator keeps the type; of the elements where it is a list.
#[must_use]
pub fn arrow_type(kind: FieldType) -> DataType {
    match kind {
        FieldType::Bool => DataType::Boolean,
        FieldType::I64 => DataType::Int64,
        FieldType::F64 => DataType::Float64,
        FieldType::String => DataType::Utf8,
        FieldType::Timestamp => DataType::Timestamp(TimeUnit::Microsecond, Some(Arc::from("UTC"))),
        FieldType::Position => DataType::FixedSizeList(Arc::new(ArrowField::new(ELEMENT, DataType::Float64, false)), 2),
    }
}

/// Arrow type of lists of a type: elements may be null.
#[must_use]
pub fn list_of(element: DataType) -> DataType {
    DataType::List(Arc::new(ArrowField::new(ELEMENT, element, true)))
}

/// Arrow type of a field's raw values, list or not.
#[must_use]
pub fn raw_type(kind: FieldType, list: bool) -> DataType {
    if list { list_of(arrow_type(kind)) } else { arrow_type(kind) }
}

/// Arrow type of a column that is only ever suppressed. Delta has no lists of a fixed size, and nobody keeps a position.
#[must_use]
pub(crate) fn suppressed_type(kind: FieldType, list: bool) -> DataType {
    match kind {
        FieldType::Position => list_of(DataType::Float64),
        kind => raw_type(kind, list),
    }
}

/// What Parquet and Delta call the elements of a list.
const ELEMENT: &str = "element";

/// What an operator needs besides the values.
#[derive(Clone, Copy, Debug)]
pub struct OperatorContext<'a> {
    /// Purpose name: part of the domain of `hmac` and `fpe_ff1`.
    pub purpose: &'a str,
    /// Catalogue column: part of the domain of `hmac` and `fpe_ff1`.
    pub column: &'a str,
    /// The keys that operators name.
    pub keys: &'a Keys,
}

/// Why an operator gave nothing: the whole column is dropped then, never let through.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum OperatorError {
    /// The key ring has no key of that name.
    #[error("the key ring has no key named {0}")]
    MissingKey(String),
    /// The array is not of the type that the plan was compiled for.
    #[error("{0} cannot run on this column's type")]
    WrongType(&'static str),
}

/// Place of an operator on the strictness lattice, coarse to fine: `drop` > `suppress` > generalisations > `hmac` > `keep`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Rank {
    /// As it came.
    Keep,
    /// A keyed pseudonym, or a value of which a part can be read.
    Pseudonym,
    /// A coarser value.
    Generalisation,
    /// A null cell.
    Suppress,
    /// No column.
    Drop,
}

/// One operator with its parameters, as a rule states it.
pub trait Operator: std::fmt::Debug + Send + Sync {
    /// Its name in policies: `ip_trunc`.
    fn name(&self) -> &'static str;

    /// Its place on the lattice.
    fn rank(&self) -> Rank;

    /// Parameters as canonical text (`v4=24 v6=48`): what `explain` prints, and equality of two operators.
    fn parameters(&self) -> String;

    /// Within one rank: whether `self` is at least as strict as `other`. Two operators of a rank that are neither way
    /// at least as strict cannot be compared, which is a compile error where both reach a field.
    fn covers(&self, other: &dyn Operator) -> bool;

    /// Type of what it writes from a field of `input`, or `None` if it cannot run on that type. `drop` and `suppress`
    /// say the field's own type, though they write nothing: [`Operator::rank`] tells them apart.
    fn output(&self, input: FieldType) -> Option<DataType>;

    /// Suffix of the column it writes (`Some("hmac")` → `imei_hmac`); `None` where the type is kept and so the column.
    fn suffix(&self) -> Option<&'static str>;

    /// Name of the key that it uses.
    fn key(&self) -> Option<&str> {
        None
    }

    /// Why it must not run on a field whose catalogue entry declares these `values`, and the mend.
    fn refuses(&self, _values: &[String]) -> Option<BuildError> {
        None
    }

    /// The new values, of [`Operator::output`]'s type and the same length, in freshly built buffers with nothing under a null.
    ///
    /// # Errors
    /// [`OperatorError`]; the caller then stores nothing of this column.
    fn apply(&self, values: &ArrayRef, context: &OperatorContext<'_>) -> Result<ArrayRef, OperatorError>;

    /// For downcasting in [`Operator::covers`].
    fn as_any(&self) -> &dyn std::any::Any;
}

/// A shared operator.
pub type OperatorRef = Arc<dyn Operator>;

#[cfg(test)]
pub(crate) mod tests_support {
    use std::collections::BTreeMap;

    use super::{OperatorRef, Parameter, build};
    use crate::keys::{HmacKey, Keys};

    /// `analytics`: bytes 0 to 31, generation 1; `marketing`: 32 times 7, generation 2.
    pub(crate) fn context_keys() -> Keys {
        let mut counted = [0; 32];
        counted.iter_mut().zip(0..).for_each(|(byte, number)| *byte = number);
        let named =
            [("analytics".to_owned(), HmacKey::new(1, &counted)), ("marketing".to_owned(), HmacKey::new(2, &[7; 32]))];
        Keys::new(HmacKey::new(1, &[1; 32]), HmacKey::new(1, &[2; 32]), named.into())
    }

    pub(crate) fn operator(name: &str, parameters: &[(&str, Parameter)]) -> OperatorRef {
        let parameters: BTreeMap<String, Parameter> =
            parameters.iter().map(|(name, value)| ((*name).to_owned(), value.clone())).collect();
        build(name, &parameters).unwrap()
    }
}

#[cfg(test)]
mod tests {
    use super::tests_support::operator;
    use super::*;

    #[test]
    fn every_listed_operator_builds_under_its_own_name() {
        for (name, parameters) in [
            ("keep", vec![]),
            ("drop", vec![]),
            ("suppress", vec![]),
            ("hmac", vec![("key", Parameter::Text("analytics".into()))]),
            ("ip_trunc", vec![]),
            ("time_floor", vec![("unit", Parameter::Text("hour".into()))]),
            ("bin", vec![("width", Parameter::Integer(5))]),
            ("top_code", vec![("max", Parameter::Integer(90))]),
            ("replace", vec![("v", Parameter::Text("x".into()))]),
            ("mask", vec![("n", Parameter::Integer(4))]),
            ("fpe_ff1", vec![("radix", Parameter::Integer(10)), ("key", Parameter::Text("analytics".into()))]),
            ("h3", vec![("resolution", Parameter::Integer(7))]),
            ("geohash", vec![("n", Parameter::Integer(5))]),
            ("redact_text", vec![("detectors", Parameter::Texts(vec!["email".into()]))]),
        ] {
            assert_eq!(operator(name, &parameters).name(), name);
        }
    }

    #[test]
    fn ranks_follow_the_lattice() {
        let ranks = [Rank::Keep, Rank::Pseudonym, Rank::Generalisation, Rank::Suppress, Rank::Drop];
        assert!(ranks.is_sorted());
        assert!(operator("ip_trunc", &[]).rank() > operator("keep", &[]).rank());
    }

    #[test]
    fn mistakes_say_what_to_do() {
        let error = build("sha256", &BTreeMap::new()).unwrap_err();
        assert!(error.message.contains("sha256") && error.mend.contains("hmac"));
        let error = build("ip_trunc", &[("v5".to_owned(), Parameter::Integer(1))].into()).unwrap_err();
        assert!(error.message.contains("v5") && error.mend.contains("v4, v6"));
        let error = build("keep", &[("always".to_owned(), Parameter::Bool(true))].into()).unwrap_err();
        assert!(error.mend.contains("takes no parameters"));
        let error = build("hmac", &[("key".to_owned(), Parameter::Integer(1))].into()).unwrap_err();
        assert!(error.message.contains("must be a text"));
    }
}
