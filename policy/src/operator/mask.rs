//! `mask`: a text whose first or last characters are hidden.

use std::any::Any;
use std::sync::Arc;

use arrow_array::builder::StringBuilder;
use arrow_array::cast::AsArray;
use arrow_array::{Array, ArrayRef};
use arrow_schema::DataType;

use super::parameters::{Parameters, error};
use super::{BuildError, Operator, OperatorContext, OperatorError, OperatorRef, Parameter, Rank};
use crate::catalogue::FieldType;

const MEND: &str =
    "write `n = 4` (characters to hide, 1 or more), and if you like `char = \"*\"` and `from_end = true`";
/// More characters than any value has.
const MOST: i64 = 1 << 31;

/// Characters are Unicode code points; the text keeps their number.
#[derive(Debug)]
struct Mask {
    n: usize,
    char: char,
    from_end: bool,
}

pub(super) fn build(parameters: &mut Parameters<'_>) -> Result<OperatorRef, BuildError> {
    let n = parameters.required("n", 1..=MOST, MEND)?;
    let char = match parameters.get("char") {
        None => '*',
        Some(Parameter::Text(text)) => {
            let mut chars = text.chars();
            match (chars.next(), chars.next()) {
                (Some(char), None) if !char.is_control() => char,
                _ => return Err(error("`char` of `mask` must be one character", MEND)),
            }
        }
        Some(_) => return Err(error("`char` of `mask` must be a text of one character", MEND)),
    };
    let from_end = match parameters.get("from_end") {
        None => false,
        Some(Parameter::Bool(from_end)) => *from_end,
        Some(_) => return Err(error("`from_end` of `mask` must be true or false", MEND)),
    };
    Ok(Arc::new(Mask { n: n as usize, char, from_end }))
}

impl Mask {
    fn write(&self, text: &str, out: &mut String) {
        let length = text.chars().count();
        let hidden = self.n.min(length);
        let mask = std::iter::repeat_n(self.char, hidden);
        if self.from_end {
            out.extend(text.chars().take(length - hidden).chain(mask));
        } else {
            out.extend(mask.chain(text.chars().skip(hidden)));
        }
    }
}

impl Operator for Mask {
    fn name(&self) -> &'static str {
        "mask"
    }

    /// Not a generalisation: what is not hidden stands there as it came, where a pseudonym shows nothing. Beside `hmac`
    /// neither is stricter, so that a rule that masks a digit cannot win against one that makes pseudonyms.
    fn rank(&self) -> Rank {
        Rank::Pseudonym
    }

    fn parameters(&self) -> String {
        format!("n={} char={} from_end={}", self.n, self.char, self.from_end)
    }

    fn covers(&self, other: &dyn Operator) -> bool {
        other
            .as_any()
            .downcast_ref::<Self>()
            .is_some_and(|other| self.n >= other.n && self.char == other.char && self.from_end == other.from_end)
    }

    fn output(&self, input: FieldType) -> Option<DataType> {
        (input == FieldType::String).then_some(DataType::Utf8)
    }

    fn suffix(&self) -> Option<&'static str> {
        None
    }

    fn apply(&self, values: &ArrayRef, _: &OperatorContext<'_>) -> Result<ArrayRef, OperatorError> {
        let values = values.as_string_opt::<i32>().ok_or(OperatorError::WrongType("mask"))?;
        let mut out = StringBuilder::with_capacity(values.len(), values.len() * 16);
        let mut masked = String::new();
        for value in values {
            masked.clear();
            let value = value.map(|text| self.write(text, &mut masked));
            out.append_option(value.map(|()| &masked));
        }
        Ok(Arc::new(out.finish()))
    }

    fn as_any(&self) -> &dyn Any {
        self
    }
}

#[cfg(test)]
mod tests {
    use arrow_array::StringArray;
    use proptest::prelude::*;

    use super::super::clean::assert_clean;
    use super::super::tests_support::{context_keys, operator};
    use super::*;

    fn mask(n: usize, char: &str, from_end: bool) -> OperatorRef {
        let parameters = [
            ("n", Parameter::Integer(n as i64)),
            ("char", Parameter::Text(char.into())),
            ("from_end", Parameter::Bool(from_end)),
        ];
        operator("mask", &parameters)
    }

    fn run(operator: &OperatorRef, values: &[Option<String>]) -> Vec<Option<String>> {
        let keys = context_keys();
        let context = OperatorContext { purpose: "analytics", column: "card", keys: &keys };
        let out = operator.apply(&(Arc::new(StringArray::from(values.to_vec())) as ArrayRef), &context).unwrap();
        assert_clean(&out);
        out.as_string::<i32>().iter().map(|value| value.map(str::to_owned)).collect()
    }

    fn one(operator: &OperatorRef, value: &str) -> String {
        run(operator, &[Some(value.to_owned())]).remove(0).unwrap()
    }

    /// What Microsoft Presidio's `Mask` (presidio-anonymizer 2.2.366) gives for the same `chars_to_mask`,
    /// `masking_char` and `from_end`.
    #[test]
    fn agrees_with_presidio() {
        for (text, char, n, from_end, masked) in [
            ("text", "*", 2, false, "**xt"),
            ("text", "*", 2, true, "te**"),
            ("text", "*", 4, true, "****"),
            ("text", "*", 9, false, "****"),
            ("", "*", 3, false, ""),
            ("4111111111111111", "*", 12, false, "************1111"),
            ("Zürich", "█", 3, true, "Zür███"),
            ("😀é漢z", "*", 2, true, "😀é**"),
        ] {
            assert_eq!(one(&mask(n, char, from_end), text), masked, "{n} of {text}");
        }
    }

    #[test]
    fn the_first_characters_and_stars_unless_it_says_otherwise() {
        assert_eq!(one(&operator("mask", &[("n", Parameter::Integer(4))]), "490154203237518"), "****54203237518");
    }

    #[test]
    fn what_would_hide_nothing_or_change_the_length_is_refused() {
        let refused = |name: &str, value: Parameter| {
            let mut parameters = std::collections::BTreeMap::from([("n".to_owned(), Parameter::Integer(1))]);
            parameters.insert(name.to_owned(), value);
            super::super::build("mask", &parameters).unwrap_err().message.contains(&format!("`{name}`"))
        };
        assert!(refused("n", Parameter::Integer(0)) && refused("n", Parameter::Integer(-1)));
        assert!(refused("n", Parameter::Float(2.0)));
        assert!(refused("char", Parameter::Text("**".into())) && refused("char", Parameter::Text(String::new())));
        assert!(refused("char", Parameter::Text("\n".into())) && refused("char", Parameter::Integer(1)));
        assert!(refused("from_end", Parameter::Integer(1)));
        assert!(super::super::build("mask", &[].into()).unwrap_err().message.contains("needs `n`"));
    }

    #[test]
    fn more_characters_of_the_same_side_cover() {
        assert!(mask(4, "*", false).covers(&*mask(3, "*", false)));
        assert!(!mask(3, "*", false).covers(&*mask(4, "*", false)));
        assert!(!mask(4, "*", true).covers(&*mask(3, "*", false)));
        assert!(!mask(4, "#", false).covers(&*mask(3, "*", false)));
        let hmac = operator("hmac", &[("key", Parameter::Text("a".into()))]);
        let whole = mask(4, "*", false);
        assert!(whole.rank() == hmac.rank() && !whole.covers(&*hmac) && !hmac.covers(&*whole));
    }

    proptest! {
        #[test]
        fn the_number_of_characters_stays_and_a_mask_covers_a_smaller_one(
            values: Vec<Option<String>>, n in 1_usize..12, fewer in 1_usize..12, from_end: bool,
        ) {
            let large = mask(n.max(fewer), "•", from_end);
            let small = mask(n.min(fewer), "•", from_end);
            let masked = run(&large, &values);
            let length = |value: &Option<String>| value.as_ref().map(|text| text.chars().count());
            prop_assert_eq!(masked.iter().map(length).collect::<Vec<_>>(), values.iter().map(length).collect::<Vec<_>>());
            prop_assert_eq!(&run(&large, &masked), &masked);
            prop_assert_eq!(&run(&large, &run(&small, &values)), &masked);
        }
    }
}
