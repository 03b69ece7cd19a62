//! `hierarchy`: the word that a file has for a value at a level of generalisation.

use std::any::Any;
use std::fmt::Write;
use std::sync::Arc;

use arrow_array::ArrayRef;
use arrow_array::builder::StringBuilder;
use arrow_array::cast::AsArray;
use arrow_array::types::Int64Type;
use arrow_schema::DataType;
use hashbrown::HashMap;

use super::parameters::{Parameters, error};
use super::{BuildError, Operator, OperatorContext, OperatorError, OperatorRef, Rank};
use crate::catalogue::FieldType;

const MEND: &str = "name a CSV file beside the policy and a column of it: `file = \"hierarchies/city.csv\", level = 1`";
const FORM: &str =
    "write a line for each value, `value;level 1;level 2;...`, with as many columns in each, as ARX does";
/// What an unknown value becomes, and what ARX writes for a value of which nothing is told.
const UNKNOWN: &str = "*";
/// Most columns: a level is one of them.
const MOST_LEVELS: usize = 100;

type Words = HashMap<String, u32, foldhash::quality::RandomState>;

/// A look-up generalisation: for each value its words, from the finest level to the coarsest.
#[derive(Default)]
pub(crate) struct Hierarchy {
    levels: usize,
    /// Value → its row.
    rows: Words,
    /// `[row * levels + level - 1]` → index into `words`.
    cells: Vec<u32>,
    words: Vec<String>,
}

/// One level of a hierarchy. An unknown value becomes `*`, never itself.
#[derive(Debug)]
struct Generalise {
    file: String,
    level: usize,
    hierarchy: Arc<Hierarchy>,
}

pub(super) fn build(parameters: &mut Parameters<'_>) -> Result<OperatorRef, BuildError> {
    let file = parameters.text("file", MEND)?;
    let level = parameters.required("level", 1..=MOST_LEVELS as i64, MEND)? as usize;
    let hierarchy = parameters.files().hierarchy(file)?;
    if level > hierarchy.levels {
        let message = format!("`level` is {level}, and the last level of `{file}` is {}", hierarchy.levels);
        return Err(error(&message, "name a level that the file has, or add a column to it"));
    }
    Ok(Arc::new(Generalise { file: file.to_owned(), level, hierarchy }))
}

impl Hierarchy {
    /// Reads the format of ARX's hierarchies: columns separated by `;`, no line of headings, first the value, then each level.
    pub(crate) fn parse(text: &str) -> Result<Self, BuildError> {
        let mut reader =
            csv::ReaderBuilder::new().delimiter(b';').has_headers(false).flexible(true).from_reader(text.as_bytes());
        let mut reading = Reading::default();
        for record in reader.records() {
            let record = record.map_err(|problem| error(&format!("it cannot be read: {}", what(&problem)), FORM))?;
            reading.add(&record, record.position().map_or(0, |position| line_of(text, position)))?;
        }
        if reading.hierarchy.rows.is_empty() {
            return Err(error("it has no line", FORM));
        }
        Ok(reading.hierarchy)
    }

    fn word(&self, value: &str, level: usize) -> &str {
        let word = self.rows.get(value).and_then(|row| self.cells.get(*row as usize * self.levels + level - 1));
        word.and_then(|word| self.words.get(*word as usize)).map_or(UNKNOWN, String::as_str)
    }
}

impl std::fmt::Debug for Hierarchy {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Hierarchy({} values, {} levels)", self.rows.len(), self.levels)
    }
}

/// Line of a record, from 1: csv tells where it began to look, before empty lines.
fn line_of(text: &str, position: &csv::Position) -> u64 {
    let rest = text.as_bytes().get(position.byte() as usize..).unwrap_or_default();
    let empty = rest.iter().take_while(|byte| matches!(byte, b'\r' | b'\n')).filter(|byte| **byte == b'\n').count();
    position.line() + empty as u64
}

/// csv's own words could quote the file.
fn what(problem: &csv::Error) -> &'static str {
    match problem.kind() {
        csv::ErrorKind::Utf8 { .. } => "a line is not UTF-8",
        _ => "a line is not CSV",
    }
}

/// A hierarchy while its lines come in.
#[derive(Debug, Default)]
struct Reading {
    hierarchy: Hierarchy,
    numbers: Words,
    /// (level, word there) → the word one level up and the line that says so.
    parents: HashMap<(usize, u32), (u32, u64), foldhash::quality::RandomState>,
}

impl Reading {
    fn add(&mut self, record: &csv::StringRecord, line: u64) -> Result<(), BuildError> {
        let mut columns = record.iter();
        let value = columns.next().unwrap_or_default();
        let given = record.len().saturating_sub(1);
        let row = self.hierarchy.rows.len() as u32;
        if row == 0 {
            self.hierarchy.levels = given;
        }
        let levels = self.hierarchy.levels;
        if levels == 0 || levels > MOST_LEVELS {
            return Err(error(&format!("line {line} has no level, or more than {MOST_LEVELS}"), FORM));
        }
        if given != levels {
            return Err(error(&format!("line {line} has {given} levels, the first line {levels}"), FORM));
        }
        if self.hierarchy.rows.insert(value.to_owned(), row).is_some() {
            return Err(error(&format!("line {line} has a value that stands further up"), "write each value once"));
        }
        let words: Vec<u32> = columns.map(|word| self.number(word)).collect();
        for (level, (word, parent)) in (1..).zip(words.iter().zip(words.iter().skip(1))) {
            self.check_parent(level, *word, *parent, line)?;
        }
        self.hierarchy.cells.extend(words);
        Ok(())
    }

    /// A higher level must be told by a lower one: else "coarser" would mean nothing, and two releases together tell more.
    fn check_parent(&mut self, level: usize, word: u32, parent: u32, line: u64) -> Result<(), BuildError> {
        let mend = "give all lines that share a word the same words in the levels above";
        let (known, first) = *self.parents.entry((level, word)).or_insert((parent, line));
        if known != parent {
            let message =
                format!("lines {first} and {line} share a word in level {level} and differ in level {}", level + 1);
            return Err(error(&message, mend));
        }
        let is_unknown = |number: u32| self.hierarchy.words.get(number as usize).is_some_and(|word| word == UNKNOWN);
        if is_unknown(word) && !is_unknown(parent) {
            let message = format!("line {line} has `*` in level {level}, and tells more in level {}", level + 1);
            return Err(error(&message, "write `*` in all levels above a `*`"));
        }
        Ok(())
    }

    fn number(&mut self, word: &str) -> u32 {
        if let Some(number) = self.numbers.get(word) {
            return *number;
        }
        let number = self.hierarchy.words.len() as u32;
        self.hierarchy.words.push(word.to_owned());
        self.numbers.insert(word.to_owned(), number);
        number
    }
}

impl Operator for Generalise {
    fn name(&self) -> &'static str {
        "hierarchy"
    }

    fn rank(&self) -> Rank {
        Rank::Generalisation
    }

    fn parameters(&self) -> String {
        format!("file={} level={}", self.file, self.level)
    }

    fn covers(&self, other: &dyn Operator) -> bool {
        other.as_any().downcast_ref::<Self>().is_some_and(|other| self.file == other.file && self.level >= other.level)
    }

    fn output(&self, input: FieldType) -> Option<DataType> {
        matches!(input, FieldType::String | FieldType::I64).then_some(DataType::Utf8)
    }

    fn suffix(&self) -> Option<&'static str> {
        Some("hierarchy")
    }

    fn apply(&self, values: &ArrayRef, _: &OperatorContext<'_>) -> Result<ArrayRef, OperatorError> {
        let mut out = StringBuilder::with_capacity(values.len(), values.len() * 12);
        if let Some(texts) = values.as_string_opt::<i32>() {
            for text in texts {
                out.append_option(text.map(|text| self.hierarchy.word(text, self.level)));
            }
            return Ok(Arc::new(out.finish()));
        }
        let numbers = values.as_primitive_opt::<Int64Type>().ok_or(OperatorError::WrongType("hierarchy"))?;
        let mut digits = String::new();
        for number in numbers {
            digits.clear();
            let written = number.is_some_and(|number| write!(digits, "{number}").is_ok());
            out.append_option(written.then(|| self.hierarchy.word(&digits, self.level)));
        }
        Ok(Arc::new(out.finish()))
    }

    fn as_any(&self) -> &dyn Any {
        self
    }
}

#[cfg(test)]
mod tests {
    use arrow_array::{Array, Float64Array, Int64Array, StringArray};
    use proptest::prelude::*;

    use super::super::clean::assert_clean;
    use super::super::tests_support::context_keys;
    use super::super::{Parameter, build_with};
    use super::*;
    use crate::files::Files;

    /// Of our own, in the format and with the kinds of content of ARX's `adult_hierarchy_education.csv`.
    const CITIES: &str = "Berlin;Germany;Europe;*\nHamburg;Germany;Europe;*\nLyon;France;Europe;*\n\"Semi;colon\";\"A \"\"land\"\"\";Asia;*\n";

    fn hierarchy(text: &str, level: i64) -> Result<OperatorRef, BuildError> {
        let read = |_: &str| Ok(text.to_owned());
        let parameters =
            [("file".to_owned(), Parameter::Text("city.csv".into())), ("level".to_owned(), Parameter::Integer(level))];
        build_with("hierarchy", &parameters.into(), &Files::new(&read))
    }

    fn run(operator: &OperatorRef, values: impl Array + 'static) -> Vec<Option<String>> {
        let keys = context_keys();
        let context = OperatorContext { purpose: "analytics", column: "city", keys: &keys };
        let out = operator.apply(&(Arc::new(values) as ArrayRef), &context).unwrap();
        assert_clean(&out);
        out.as_string::<i32>().iter().map(|text| text.map(str::to_owned)).collect()
    }

    fn lines(numbers: std::ops::Range<u32>, line: impl Fn(u32) -> String) -> String {
        numbers.map(line).collect::<Vec<_>>().join("\n")
    }

    fn one(text: &str, level: i64, value: &str) -> String {
        run(&hierarchy(text, level).unwrap(), StringArray::from(vec![value])).remove(0).unwrap()
    }

    #[test]
    fn a_value_becomes_its_word_and_an_unknown_one_a_star() {
        let values = || StringArray::from(vec![Some("Berlin"), None, Some("Lyon"), Some("berlin"), Some("Semi;colon")]);
        let words = |level| run(&hierarchy(CITIES, level).unwrap(), values());
        let expected = |words: [Option<&str>; 5]| words.map(|word| word.map(str::to_owned));
        assert_eq!(words(1), expected([Some("Germany"), None, Some("France"), Some("*"), Some("A \"land\"")]));
        assert_eq!(words(2), expected([Some("Europe"), None, Some("Europe"), Some("*"), Some("Asia")]));
        assert_eq!(words(3), expected([Some("*"), None, Some("*"), Some("*"), Some("*")]));
        assert_eq!(one("\u{feff}Berlin;DE\r\nLyon;FR\r\n", 1, "Berlin"), "DE", "byte order mark and CR LF");
    }

    /// By the rule of ARX's `test_hierarchy_zipcode.csv`: each level hides one digit more from the right.
    #[test]
    fn postcodes_lose_a_digit_a_level() {
        let text = lines(81_660..81_680, |zip| format!("{zip};{}*;{}**;{}***;*", zip / 10, zip / 100, zip / 1000));
        let levels: Vec<String> = (1..=4).map(|level| one(&text, level, "81675")).collect();
        assert_eq!(levels, ["8167*", "816**", "81***", "*"]);
        assert_eq!(one(&text, 1, "99999"), "*");
    }

    #[test]
    fn whole_numbers_are_looked_up_by_their_digits() {
        let text = lines(0..100, |age| format!("{age};{}-{}", age / 10 * 10, age / 10 * 10 + 9));
        let operator = hierarchy(&text, 1).unwrap();
        let words = run(&operator, Int64Array::from(vec![Some(34), None, Some(-1), Some(9), Some(i64::MIN)]));
        assert_eq!(words, [Some("30-39"), None, Some("*"), Some("0-9"), Some("*")].map(|word| word.map(str::to_owned)));
        assert_eq!((operator.output(FieldType::I64), operator.output(FieldType::F64)), (Some(DataType::Utf8), None));
        let keys = context_keys();
        let context = OperatorContext { purpose: "analytics", column: "age", keys: &keys };
        let floats: ArrayRef = Arc::new(Float64Array::from(vec![1.0]));
        assert_eq!(operator.apply(&floats, &context).unwrap_err(), OperatorError::WrongType("hierarchy"));
    }

    #[test]
    fn what_is_no_hierarchy_says_where() {
        for (text, says) in [
            ("", "no line"),
            ("Berlin\n", "line 1 has no level"),
            ("Berlin;DE\nLyon\n", "line 2 has 0 levels, the first line 1"),
            ("Berlin;DE\n\nLyon;FR;Europe\n", "line 3 has 2 levels"),
            ("Berlin;DE\nLyon;FR\nBerlin;FR\n", "line 3 has a value that stands further up"),
            ("a;x;1\nb;x;2\n", "lines 1 and 2 share a word in level 1 and differ in level 2"),
            ("a;*;*\nb;*;Europe\n", "lines 1 and 2"),
            ("a;*;Europe\n", "line 1 has `*` in level 1"),
        ] {
            let error = hierarchy(text, 1).unwrap_err();
            assert!(error.message.contains(says) && error.message.contains("`city.csv`"), "{text:?}: {error}");
            assert!(!error.mend.is_empty() && !error.message.contains("Berlin"));
        }
    }

    #[test]
    fn the_level_must_be_there_and_above_the_value_itself() {
        assert!(hierarchy(CITIES, 0).unwrap_err().message.contains("`level`"));
        let error = hierarchy(CITIES, 4).unwrap_err();
        assert!(error.message.contains("`level` is 4") && error.message.contains("is 3"), "{error}");
    }

    #[test]
    fn a_higher_level_of_the_same_file_covers_a_lower_one() {
        let level = |level| hierarchy(CITIES, level).unwrap();
        assert!(level(2).covers(&*level(1)) && level(2).covers(&*level(2)) && !level(1).covers(&*level(2)));
        let read = |_: &str| Ok(CITIES.to_owned());
        let parameters =
            [("file".to_owned(), Parameter::Text("other.csv".into())), ("level".to_owned(), Parameter::Integer(3))];
        let other = build_with("hierarchy", &parameters.into(), &Files::new(&read)).unwrap();
        assert!(!other.covers(&*level(1)));
    }

    proptest! {
        /// What the lattice calls stricter must tell no more: whoever has the lower level's word knows the higher level's.
        #[test]
        fn a_higher_level_follows_from_a_lower_one(values: Vec<Option<u8>>, known in 1_u32..200) {
            let text = lines(0..known, |value| format!("{value};a{};b{};*", value / 4, value / 16));
            let input = || values.iter().map(|value| value.map(|value| value.to_string())).collect::<StringArray>();
            let [low, high] = [1, 2].map(|level| run(&hierarchy(&text, level).unwrap(), input()));
            let mut told = std::collections::BTreeMap::new();
            for ((low, high), value) in low.iter().zip(&high).zip(&values) {
                prop_assert_eq!(low.is_none(), value.is_none());
                prop_assert_eq!(*told.entry(low).or_insert(high), high);
                if value.is_some_and(|value| u32::from(value) >= known) {
                    prop_assert_eq!(low.as_deref(), Some("*"));
                }
            }
        }

        #[test]
        fn no_text_panics(text in "[a;\"*\r\n ]{0,40}|\\PC{0,40}") {
            if let Ok(operator) = hierarchy(&text, 1) {
                run(&operator, StringArray::from(vec!["a", ""]));
            }
        }
    }
}
