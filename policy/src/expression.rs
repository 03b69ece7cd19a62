//! The text of `when`, parsed: names are looked up and types checked later, in `condition`.
//!
//! `or`, `and`, `not`, parentheses; `gpc` and boolean columns; `==`, `!=` and `in` for texts; comparisons and chains
//! of two (`10 <= battery_level < 20`) for numbers. No loops, no nulls, nothing that can fail at run time.

use crate::source::Span;
use crate::tokens::{Operator, Token, tokens};

/// Deepest nesting of `not` and parentheses: parsing and evaluation recurse no further.
const MAX_DEPTH: usize = 64;

/// A condition as written; spans are byte ranges of its text.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Expression {
    Any(Vec<Self>),
    All(Vec<Self>),
    Not(Box<Self>),
    Test(Test),
}

/// One test of one name.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Test {
    pub(crate) name: String,
    pub(crate) name_span: Span,
    pub(crate) kind: TestKind,
}

/// What is tested.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum TestKind {
    /// The name alone.
    Flag,
    /// It is one of these texts.
    OneOf(Vec<(String, Span)>),
    /// It compares so with a number.
    Compare(Comparison, f64, Span),
}

/// How a column compares with a number.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Comparison {
    Less,
    LessOrEqual,
    Greater,
    GreaterOrEqual,
    Equal,
}

/// Why a condition cannot be read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct ExpressionError {
    pub(crate) span: Span,
    pub(crate) message: String,
    pub(crate) mend: String,
}

impl Expression {
    /// Parses a condition.
    pub(crate) fn parse(text: &str) -> Result<Self, ExpressionError> {
        let mut parser = Parser { tokens: tokens(text)?, next: 0, depth: 0, end: text.len() };
        let expression = parser.any()?;
        match parser.peek() {
            None => Ok(expression),
            Some(Token::Close) => Err(parser.error("this parenthesis closes nothing", "remove it")),
            Some(_) => Err(parser.error("this does not belong here", "join conditions with `and` or `or`")),
        }
    }
}

struct Parser {
    tokens: Vec<(Token, Span)>,
    next: usize,
    depth: usize,
    end: usize,
}

impl Parser {
    fn any(&mut self) -> Result<Expression, ExpressionError> {
        let mut parts = vec![self.all()?];
        while self.take(&Token::Or) {
            parts.push(self.all()?);
        }
        Ok(if parts.len() == 1 { parts.remove(0) } else { Expression::Any(parts) })
    }

    fn all(&mut self) -> Result<Expression, ExpressionError> {
        let mut parts = vec![self.factor()?];
        while self.take(&Token::And) {
            parts.push(self.factor()?);
        }
        Ok(if parts.len() == 1 { parts.remove(0) } else { Expression::All(parts) })
    }

    fn factor(&mut self) -> Result<Expression, ExpressionError> {
        if !matches!(self.peek(), Some(Token::Not | Token::Open)) {
            return self.test();
        }
        self.depth += 1;
        if self.depth > MAX_DEPTH {
            return Err(self.error("this is nested too deeply", "split the rule in two: both may emit the same fields"));
        }
        let expression = if self.take(&Token::Not) {
            Expression::Not(Box::new(self.factor()?))
        } else {
            self.next += 1;
            let inner = self.any()?;
            if !self.take(&Token::Close) {
                return Err(
                    self.error("a parenthesis is not closed here", "add `)`, or join conditions with `and` or `or`")
                );
            }
            inner
        };
        self.depth -= 1;
        Ok(expression)
    }

    fn test(&mut self) -> Result<Expression, ExpressionError> {
        const MEND: &str = "write a test: gpc, jurisdiction == 'EU', event in ['a', 'b'], 10 <= level < 20";
        let left = self.peek().cloned();
        let span = self.span();
        match left {
            Some(Token::Name(name)) => {
                self.next += 1;
                self.after_name(&name, &span)
            }
            Some(Token::Number(number)) => {
                self.next += 1;
                self.after_number(number, &span)
            }
            Some(Token::Text(_)) => {
                Err(self
                    .error("a test starts with a name, not with a text", "write the name first: jurisdiction == 'EU'"))
            }
            None => Err(self.error("a test is missing here", MEND)),
            Some(_) => Err(self.error("a test is expected here", MEND)),
        }
    }

    /// `name`, `name == ..`, `name in [..]`, `name not in [..]`, `name < 3`.
    fn after_name(&mut self, name: &str, span: &Span) -> Result<Expression, ExpressionError> {
        let tested = |kind| Expression::Test(Test { name: name.to_owned(), name_span: span.clone(), kind });
        if self.take(&Token::In) {
            return self.list(&tested);
        }
        if self.peek() == Some(&Token::Not)
            && self.tokens.get(self.next + 1).is_some_and(|(token, _)| *token == Token::In)
        {
            self.next += 2;
            return Ok(Expression::Not(Box::new(self.list(&tested)?)));
        }
        let Some(operator) = self.operator() else { return Ok(tested(TestKind::Flag)) };
        let value_span = self.span();
        let value = self.peek().cloned();
        let (comparison, negated) = match operator {
            Operator::Less => (Comparison::Less, false),
            Operator::LessOrEqual => (Comparison::LessOrEqual, false),
            Operator::Greater => (Comparison::Greater, false),
            Operator::GreaterOrEqual => (Comparison::GreaterOrEqual, false),
            Operator::Equal => (Comparison::Equal, false),
            Operator::NotEqual => (Comparison::Equal, true),
        };
        let found = match value {
            Some(Token::Number(number)) => tested(TestKind::Compare(comparison, number, value_span)),
            Some(Token::Text(text)) if comparison == Comparison::Equal => {
                tested(TestKind::OneOf(vec![(text, value_span)]))
            }
            Some(Token::Text(_)) => return Err(self.error("texts have no order", "use ==, != or in")),
            Some(Token::Name(name)) if name == "true" || name == "false" => {
                return Err(self.error("a boolean is a test by itself", "write the name alone, or `not` and the name"));
            }
            Some(Token::Name(_)) => {
                return Err(self.error("two names cannot be compared", "compare with a 'text' or a number"));
            }
            _ => return Err(self.error("a value is missing here", "compare with a 'text' or a number")),
        };
        self.next += 1;
        if let Some(Token::Operator(_)) = self.peek() {
            return Err(self.error(
                "a chain starts and ends with a number",
                "write 10 <= level < 20, or join two tests with `and`",
            ));
        }
        Ok(if negated { Expression::Not(Box::new(found)) } else { found })
    }

    /// `3 < name` and `3 < name <= 5`.
    fn after_number(&mut self, number: f64, span: &Span) -> Result<Expression, ExpressionError> {
        const MEND: &str = "write 10 <= level < 20";
        let comparison = match self.operator() {
            Some(Operator::Less) => Comparison::Greater,
            Some(Operator::LessOrEqual) => Comparison::GreaterOrEqual,
            Some(Operator::Greater) => Comparison::Less,
            Some(Operator::GreaterOrEqual) => Comparison::LessOrEqual,
            Some(Operator::Equal) => Comparison::Equal,
            Some(Operator::NotEqual) | None => {
                return Err(self.error("a comparison is expected after this number", MEND));
            }
        };
        let name_span = self.span();
        let Some(Token::Name(name)) = self.peek().cloned() else {
            return Err(self.error("the name of a column is expected here", MEND));
        };
        self.next += 1;
        let tested = |kind| Expression::Test(Test { name: name.clone(), name_span: name_span.clone(), kind });
        let left = tested(TestKind::Compare(comparison, number, span.clone()));
        let right = match self.operator() {
            None => return Ok(left),
            Some(Operator::Less) => Comparison::Less,
            Some(Operator::LessOrEqual) => Comparison::LessOrEqual,
            Some(Operator::Greater) => Comparison::Greater,
            Some(Operator::GreaterOrEqual) => Comparison::GreaterOrEqual,
            Some(Operator::Equal | Operator::NotEqual) => {
                return Err(self.error("a chain holds <, <=, > or >= only", MEND));
            }
        };
        let end = self.span();
        let Some(Token::Number(upper)) = self.peek().cloned() else {
            return Err(self.error("a number is expected here", MEND));
        };
        self.next += 1;
        if let Some(Token::Operator(_)) = self.peek() {
            return Err(self.error("a chain has two comparisons at most", MEND));
        }
        Ok(Expression::All(vec![left, tested(TestKind::Compare(right, upper, end))]))
    }

    /// `['a', 'b']` or `[1, 2]` after `in`.
    fn list(&mut self, tested: &impl Fn(TestKind) -> Expression) -> Result<Expression, ExpressionError> {
        const MEND: &str = "write a list of texts or of numbers: ['EU', 'US-CA'] or [1, 2]";
        let start = self.span();
        if !self.take(&Token::OpenList) {
            return Err(self.error("a list is expected after `in`", MEND));
        }
        let (mut texts, mut numbers) = (Vec::new(), Vec::new());
        loop {
            let span = self.span();
            match self.peek().cloned() {
                Some(Token::Text(text)) => texts.push((text, span)),
                Some(Token::Number(number)) => numbers.push(tested(TestKind::Compare(Comparison::Equal, number, span))),
                _ => return Err(self.error("a value is expected here", MEND)),
            }
            self.next += 1;
            let more = self.take(&Token::Comma);
            if self.take(&Token::CloseList) {
                break;
            }
            if !more {
                return Err(self.error("`,` or `]` is expected here", MEND));
            }
        }
        match (texts.is_empty(), numbers.is_empty()) {
            (false, true) => Ok(tested(TestKind::OneOf(texts))),
            (true, false) => Ok(Expression::Any(numbers)),
            _ => Err(ExpressionError {
                span: start.start..self.tokens.get(self.next.saturating_sub(1)).map_or(self.end, |(_, span)| span.end),
                message: "this list mixes texts and numbers".to_owned(),
                mend: MEND.to_owned(),
            }),
        }
    }

    fn operator(&mut self) -> Option<Operator> {
        let Some(Token::Operator(operator)) = self.peek() else { return None };
        let operator = *operator;
        self.next += 1;
        Some(operator)
    }

    fn peek(&self) -> Option<&Token> {
        self.tokens.get(self.next).map(|(token, _)| token)
    }

    fn take(&mut self, token: &Token) -> bool {
        let found = self.peek() == Some(token);
        self.next += usize::from(found);
        found
    }

    /// Place of the next token, or of the end.
    fn span(&self) -> Span {
        self.tokens.get(self.next).map_or(self.end..self.end, |(_, span)| span.clone())
    }

    fn error(&self, message: &str, mend: &str) -> ExpressionError {
        ExpressionError { span: self.span(), message: message.to_owned(), mend: mend.to_owned() }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn fails(text: &str) -> (Span, String) {
        let error = Expression::parse(text).unwrap_err();
        assert!(!error.mend.is_empty());
        (error.span, error.message)
    }

    fn compare(name: &str, comparison: Comparison, number: f64) -> String {
        format!("{name} {comparison:?} {number}")
    }

    /// A form without spans.
    fn shape(expression: &Expression) -> String {
        let join = |parts: &[Expression]| parts.iter().map(shape).collect::<Vec<_>>().join(", ");
        match expression {
            Expression::Any(parts) => format!("any({})", join(parts)),
            Expression::All(parts) => format!("all({})", join(parts)),
            Expression::Not(inner) => format!("not({})", shape(inner)),
            Expression::Test(test) => match &test.kind {
                TestKind::Flag => test.name.clone(),
                TestKind::OneOf(values) => {
                    format!("{} in {:?}", test.name, values.iter().map(|(value, _)| value).collect::<Vec<_>>())
                }
                TestKind::Compare(comparison, number, _) => compare(&test.name, *comparison, *number),
            },
        }
    }

    #[test]
    fn and_binds_tighter_than_or_and_not_tightest() {
        let shape = |text| shape(&Expression::parse(text).unwrap());
        assert_eq!(shape("a or b and not c or d"), "any(a, all(b, not(c)), d)");
        assert_eq!(shape("not (a or b) and c"), "all(not(any(a, b)), c)");
        assert_eq!(
            shape("not gpc and jurisdiction in ['EU', \"US-CA\",]"),
            r#"all(not(gpc), jurisdiction in ["EU", "US-CA"])"#
        );
        assert_eq!(shape("event != 'x'"), r#"not(event in ["x"])"#);
        assert_eq!(shape("event not in ['x']"), r#"not(event in ["x"])"#);
    }

    #[test]
    fn comparisons_turn_to_the_column() {
        let shape = |text| shape(&Expression::parse(text).unwrap());
        assert_eq!(shape("10 <= x < 20"), "all(x GreaterOrEqual 10, x Less 20)");
        assert_eq!(shape("-1.5 > x"), "x Less -1.5");
        assert_eq!(shape("x in [1, 2]"), "any(x Equal 1, x Equal 2)");
        assert_eq!(shape("x != 1e3"), "not(x Equal 1000)");
        assert_eq!(shape("x > -0"), "x Greater 0");
    }

    #[test]
    fn mistakes_have_places() {
        assert_eq!(fails("gpc and").0, 7..7);
        assert_eq!(fails("gpc = 'x'").0, 4..5);
        assert_eq!(fails("(gpc").0, 4..4);
        assert_eq!(fails("gpc)").0, 3..4);
        assert_eq!(fails("jurisdiction == 'EU").0, 16..19);
        assert_eq!(fails("jurisdiction < 'EU'").0, 15..19);
        assert_eq!(fails("'EU' == jurisdiction").0, 0..4);
        assert_eq!(fails("a == b").0, 5..6);
        assert_eq!(fails("a == true").0, 5..9);
        assert_eq!(fails("1 < x < 2 < 3").0, 10..11);
        assert_eq!(fails("x < 2 < 3").0, 6..7);
        assert_eq!(fails("x in []").0, 6..7);
        assert_eq!(fails("x in [1, 'a']").0, 5..13);
        assert_eq!(fails("x in [1 2]").0, 8..9);
        assert_eq!(fails("x < 9007199254740992").0, 4..20);
        assert_eq!(fails("x < nan").0, 4..7);
        assert_eq!(fails("x < 1.2.3").0, 4..9);
        assert_eq!(fails("").0, 0..0);
        assert_eq!(fails("gpc & é").0, 4..5);
        assert_eq!(fails("é").0, 0..2);
    }

    #[test]
    fn nesting_has_an_end() {
        let nested = |depth| format!("{}gpc{}", "(".repeat(depth), ")".repeat(depth));
        assert!(Expression::parse(&nested(MAX_DEPTH)).is_ok());
        assert_eq!(fails(&nested(MAX_DEPTH + 1)).1, "this is nested too deeply");
        assert_eq!(fails(&"not ".repeat(100_000)).1, "this is nested too deeply");
        assert!(Expression::parse(&vec!["gpc"; 20_000].join(" and ")).is_ok());
    }
}
