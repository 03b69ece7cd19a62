//! Reading a fleet's files: with a cap on their size, and problems that name file, line, column and the mend.

use std::fs::File;
use std::io::Read;
use std::ops::Range;
use std::path::Path;

use candor_policy::problem::Problem;

/// A file as it was named, and its text.
#[derive(Debug)]
pub(crate) struct Text {
    pub(crate) file: String,
    pub(crate) text: String,
}

impl Text {
    /// Reads a file of at most `most` bytes.
    pub(crate) fn read(path: &Path, most: u64, mend: &str) -> Result<Self, Box<Problem>> {
        let file = path.display().to_string();
        let nowhere = |message: String| {
            Box::new(Problem {
                file: file.clone(),
                line: 1,
                column: 1,
                span: 0..0,
                message,
                mend: mend.into(),
                also: None,
            })
        };
        let mut text = String::new();
        let size = File::open(path)
            .and_then(|opened| opened.take(most + 1).read_to_string(&mut text))
            .map_err(|error| nowhere(format!("cannot be read: {error}")))?;
        if size as u64 > most {
            return Err(nowhere(format!("is longer than {most} bytes")));
        }
        Ok(Self { file, text })
    }

    /// A problem at a byte range of the text.
    pub(crate) fn problem(
        &self,
        span: Range<usize>,
        message: impl Into<String>,
        mend: impl Into<String>,
    ) -> Box<Problem> {
        let before = self.text.get(..span.start).unwrap_or_default();
        let line_start = before.rfind('\n').map_or(0, |at| at + 1);
        Box::new(Problem {
            file: self.file.clone(),
            line: before.matches('\n').count() + 1,
            column: before[line_start..].chars().count() + 1,
            span,
            message: message.into(),
            mend: mend.into(),
            also: None,
        })
    }
}

/// Whether a name can be a folder, a label and a word in a log line: ASCII letters, digits, `-`, `_` and single dots inside.
pub(crate) fn is_plain_name(name: &str) -> bool {
    let plain = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '.');
    let edge = |c: Option<char>| c.is_some_and(|c| c.is_ascii_alphanumeric());
    name.len() <= 64
        && name.chars().all(plain)
        && edge(name.chars().next())
        && edge(name.chars().next_back())
        && !name.contains("..")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_place_counts_lines_and_characters_from_one() {
        let text = Text { file: "a.toml".into(), text: "x = 1\näö = 2\n".into() };
        let at = text.text.find('=').unwrap();
        assert_eq!((text.problem(at..at + 1, "", "").line, text.problem(at..at + 1, "", "").column), (1, 3));
        let second = text.text.rfind('=').unwrap();
        assert_eq!((text.problem(second..second, "", "").line, text.problem(second..second, "", "").column), (2, 4));
    }

    #[test]
    fn names_that_could_leave_a_folder_or_break_a_line_are_no_names() {
        for good in ["devices", "phone.app", "a-b_c", "v2"] {
            assert!(is_plain_name(good), "{good}");
        }
        for bad in ["", ".", "..", "a..b", "a/b", "../a", "a\nb", "a b", ".a", "a.", "ä", &"a".repeat(65)] {
            assert!(!is_plain_name(bad), "{bad}");
        }
    }
}
