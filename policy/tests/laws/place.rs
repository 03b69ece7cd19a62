//! Problems point into the text that they are about.

use candor_policy::problem::Problems;

/// How the documents are named.
pub(crate) const FILE: &str = "document.toml";

/// Fails unless every problem says something about a place that the text has.
pub(crate) fn point_into(problems: &Problems, text: &str) {
    assert!(!problems.0.is_empty(), "a refusal without a reason");
    for problem in &problems.0 {
        assert_eq!(problem.file, FILE);
        assert!(!problem.message.is_empty() && !problem.mend.is_empty(), "{problem}");
        let line = text.split('\n').nth(problem.line.checked_sub(1).unwrap());
        let line = line.unwrap_or_else(|| panic!("there is no line {}: {problem}", problem.line));
        assert!((1..=line.chars().count() + 1).contains(&problem.column), "column {}: {problem}", problem.column);
        is_in(&problem.span, text);
        if let Some(also) = &problem.also {
            assert!((1..=text.split('\n').count()).contains(&also.line), "line {}: {problem}", also.line);
            is_in(&also.span, text);
        }
    }
}

fn is_in(span: &std::ops::Range<usize>, text: &str) {
    assert!(text.get(span.clone()).is_some(), "{span:?} of {}", text.len());
}
