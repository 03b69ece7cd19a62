//! Cuts the text of a condition into words.

use crate::expression::ExpressionError;
use crate::source::Span;

/// A word of a condition.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Token {
    Name(String),
    Text(String),
    Number(f64),
    Operator(Operator),
    And,
    Or,
    Not,
    In,
    Open,
    Close,
    OpenList,
    CloseList,
    Comma,
}

/// How two things are compared.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Operator {
    Less,
    LessOrEqual,
    Greater,
    GreaterOrEqual,
    Equal,
    NotEqual,
}

/// The tokens of a condition, each with its place.
pub(crate) fn tokens(text: &str) -> Result<Vec<(Token, Span)>, ExpressionError> {
    let mut tokens = Vec::new();
    let mut at = 0;
    while let Some(rest) = text.get(at..).filter(|rest| !rest.is_empty()) {
        let blank = rest.len() - rest.trim_start().len();
        if blank > 0 {
            at += blank;
            continue;
        }
        let (token, length) = token(rest).map_err(|(length, message, mend)| ExpressionError {
            span: at..at + length,
            message: message.to_owned(),
            mend: mend.to_owned(),
        })?;
        tokens.push((token, at..at + length));
        at += length;
    }
    Ok(tokens)
}

/// The token that a text starts with and its length; the text is not empty.
fn token(rest: &str) -> Result<(Token, usize), (usize, &'static str, &'static str)> {
    const SYMBOLS: [(&str, Token); 11] = [
        ("<=", Token::Operator(Operator::LessOrEqual)),
        (">=", Token::Operator(Operator::GreaterOrEqual)),
        ("==", Token::Operator(Operator::Equal)),
        ("!=", Token::Operator(Operator::NotEqual)),
        ("<", Token::Operator(Operator::Less)),
        (">", Token::Operator(Operator::Greater)),
        ("(", Token::Open),
        (")", Token::Close),
        ("[", Token::OpenList),
        ("]", Token::CloseList),
        (",", Token::Comma),
    ];
    if let Some((symbol, token)) = SYMBOLS.iter().find(|(symbol, _)| rest.starts_with(symbol)) {
        return Ok((token.clone(), symbol.len()));
    }
    let first = rest.chars().next().unwrap_or(' ');
    if first == '\'' || first == '"' {
        let Some(end) = rest[1..].find(first) else {
            return Err((rest.len(), "this text has no end", "close it with the quote that it starts with"));
        };
        return Ok((Token::Text(rest[1..=end].to_owned()), end + 2));
    }
    if first.is_ascii_digit() || matches!(first, '-' | '+' | '.') {
        return number(rest);
    }
    if first.is_ascii_alphabetic() || first == '_' {
        let length = rest.find(|c: char| !c.is_ascii_alphanumeric() && c != '_').unwrap_or(rest.len());
        let token = match &rest[..length] {
            "and" => Token::And,
            "or" => Token::Or,
            "not" => Token::Not,
            "in" => Token::In,
            name => Token::Name(name.to_owned()),
        };
        return Ok((token, length));
    }
    let mend = match first {
        '=' => "write == to compare",
        '!' => "write `not`, or != to compare",
        '&' => "write `and`",
        '|' => "write `or`",
        _ => "use names, numbers, 'texts', ==, !=, <, <=, >, >=, in, and, or, not and parentheses",
    };
    Err((first.len_utf8(), "a condition cannot hold this", mend))
}

fn number(rest: &str) -> Result<(Token, usize), (usize, &'static str, &'static str)> {
    let bytes = rest.as_bytes();
    let belongs = |at: usize| {
        let byte = bytes[at];
        byte.is_ascii_alphanumeric()
            || matches!(byte, b'.' | b'_')
            || (matches!(byte, b'+' | b'-') && (at == 0 || matches!(bytes[at - 1], b'e' | b'E')))
    };
    let length = (0..bytes.len()).find(|at| !belongs(*at)).unwrap_or(bytes.len());
    let number = rest[..length].replace('_', "").parse::<f64>().ok();
    match number.filter(|number| number.abs() < 9_007_199_254_740_992.0) {
        // Adding zero turns -0 into 0: both are one cut.
        Some(number) => Ok((Token::Number(number + 0.0), length)),
        None => {
            Err((length, "this is not a number that can be compared", "write a number below 2^53, such as 10 or -2.5"))
        }
    }
}
