//! The text of a document: where an offset is in it, and the problems found so far.

use std::sync::Arc;

use crate::problem::{Place, Problem, Problems};

/// Byte range in a document.
pub(crate) type Span = std::ops::Range<usize>;

/// A document's text and the name that problems give it.
#[derive(Clone)]
pub(crate) struct Source {
    file: Arc<str>,
    text: Arc<str>,
    /// Offset of the first byte of each line.
    lines: Arc<[usize]>,
}

impl Source {
    pub(crate) fn new(text: &str, file: &str) -> Self {
        let lines = std::iter::once(0).chain(text.match_indices('\n').map(|(at, _)| at + 1)).collect();
        Self { file: file.into(), text: text.into(), lines }
    }

    pub(crate) fn text(&self) -> &str {
        &self.text
    }

    /// Line of an offset, from 1.
    pub(crate) fn line(&self, offset: usize) -> usize {
        self.lines.partition_point(|start| *start <= offset)
    }

    /// Column of an offset in characters, from 1.
    fn column(&self, offset: usize) -> usize {
        let start = self.lines.get(self.line(offset).saturating_sub(1)).copied().unwrap_or(0);
        let before = self.text.get(start..offset.min(self.text.len())).unwrap_or_default();
        before.chars().filter(|c| *c != '\u{feff}').count() + 1
    }

    pub(crate) fn problem(&self, span: &Span, message: impl Into<String>, mend: impl Into<String>) -> Problem {
        Problem {
            file: self.file.to_string(),
            line: self.line(span.start),
            column: self.column(span.start),
            span: span.clone(),
            message: message.into(),
            mend: mend.into(),
            also: None,
        }
    }

    pub(crate) fn place(&self, span: &Span, what: impl Into<String>) -> Place {
        Place { line: self.line(span.start), span: span.clone(), what: what.into() }
    }

    /// Where the content of a quoted text starts in the file, if it stands there as it is (no escapes).
    pub(crate) fn content_start(&self, span: &Span, content: &str) -> Option<usize> {
        let raw = self.text.get(span.clone())?;
        raw.find(content).map(|at| span.start + at)
    }
}

impl std::fmt::Debug for Source {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Source({}, {} bytes)", self.file, self.text.len())
    }
}

/// Collects problems, so that one run tells all of them.
#[derive(Debug)]
pub(crate) struct Findings {
    source: Source,
    problems: Vec<Problem>,
}

impl Findings {
    pub(crate) const fn new(source: Source) -> Self {
        Self { source, problems: Vec::new() }
    }

    pub(crate) const fn source(&self) -> &Source {
        &self.source
    }

    pub(crate) const fn is_empty(&self) -> bool {
        self.problems.is_empty()
    }

    pub(crate) fn report(&mut self, span: &Span, message: impl Into<String>, mend: impl Into<String>) {
        self.problems.push(self.source.problem(span, message, mend));
    }

    /// Reports a problem that has to do with two places.
    pub(crate) fn report_both(
        &mut self,
        span: &Span,
        message: impl Into<String>,
        mend: impl Into<String>,
        also: (&Span, &str),
    ) {
        let mut problem = self.source.problem(span, message, mend);
        problem.also = Some(self.source.place(also.0, also.1));
        self.problems.push(problem);
    }

    /// The value if nothing was found, or everything that was, in the order of the file and each once.
    pub(crate) fn finish<T>(mut self, value: Option<T>) -> Result<T, Problems> {
        match value {
            Some(value) if self.problems.is_empty() => Ok(value),
            _ => {
                if self.problems.is_empty() {
                    self.report(&(0..0), "the document could not be read", "compare it with the sample fleet's");
                }
                self.problems.sort_by(|a, b| (a.span.start, &a.message).cmp(&(b.span.start, &b.message)));
                self.problems.dedup();
                Err(Problems(self.problems))
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn columns_count_characters_not_bytes() {
        let source = Source::new("é = 1\nname = 'ü' # x\n", "c.toml");
        let at = source.text().find('#').unwrap();
        let problem = source.problem(&(at..at + 1), "m", "n");
        assert_eq!((problem.line, problem.column), (2, 12));
        assert_eq!((source.line(0), source.column(0)), (1, 1));
        let end = source.text().len();
        assert_eq!((source.line(end), source.column(end)), (3, 1));
    }

    #[test]
    fn findings_come_in_the_order_of_the_file_and_once() {
        let mut findings = Findings::new(Source::new("a\nb\n", "c.toml"));
        findings.report(&(2..3), "second", "x");
        findings.report(&(0..1), "first", "x");
        findings.report(&(2..3), "second", "x");
        let problems = findings.finish(Some(())).unwrap_err().0;
        assert_eq!(problems.iter().map(|p| &*p.message).collect::<Vec<_>>(), ["first", "second"]);
    }
}
