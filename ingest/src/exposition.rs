//! Reading what `GET /metrics` answers: the text form of `OpenMetrics`, as far as it is needed to look at figures.

use std::collections::BTreeMap;

/// Most samples that are taken from one text: a service has some thousands.
const MOST: usize = 200_000;

/// All samples of one text.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Samples(Vec<Sample>);

/// One line: a name, its labels and a value.
#[derive(Clone, Debug, PartialEq)]
pub struct Sample {
    /// Name, with the suffix that its kind adds: `candor_events_stored_total`.
    pub name: String,
    /// Labels.
    pub labels: BTreeMap<String, String>,
    /// Value.
    pub value: f64,
}

/// The text is not what a service writes; `line` counts from 1.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("line {line} is no sample of OpenMetrics")]
pub struct NotMetrics {
    /// Where.
    pub line: usize,
}

impl Samples {
    /// Reads a text. Comments are passed over; so are timestamps and exemplars, which the service does not write.
    ///
    /// # Errors
    /// If a line is no sample, or there are too many.
    pub fn parse(text: &str) -> Result<Self, NotMetrics> {
        let mut samples = Vec::new();
        for (number, line) in text.lines().enumerate() {
            if line.is_empty() || line.starts_with('#') {
                continue;
            }
            let sample = sample(line).filter(|_| samples.len() < MOST);
            samples.push(sample.ok_or(NotMetrics { line: number + 1 })?);
        }
        Ok(Self(samples))
    }

    /// All samples of a name.
    pub fn of<'a>(&'a self, name: &'a str) -> impl Iterator<Item = &'a Sample> {
        self.0.iter().filter(move |sample| sample.name == name)
    }

    /// The sum of a name over all labels; 0 where there is none.
    #[must_use]
    pub fn sum(&self, name: &str) -> f64 {
        self.of(name).map(|sample| sample.value).sum()
    }

    /// The sums of a name by the values of one label, in the order of those.
    #[must_use]
    pub fn by(&self, name: &str, label: &str) -> BTreeMap<String, f64> {
        let mut sums = BTreeMap::new();
        for sample in self.of(name) {
            if let Some(value) = sample.labels.get(label) {
                *sums.entry(value.clone()).or_default() += sample.value;
            }
        }
        sums
    }
}

fn sample(line: &str) -> Option<Sample> {
    let end = line.find(['{', ' '])?;
    let (name, rest) = line.split_at(end);
    let is_name = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b':');
    if name.is_empty() || !name.bytes().all(is_name) {
        return None;
    }
    let (labels, rest) = match rest.strip_prefix('{') {
        Some(rest) => labels(rest)?,
        None => (BTreeMap::new(), rest),
    };
    let value = rest.strip_prefix(' ')?.split(' ').next()?;
    Some(Sample { name: name.to_owned(), labels, value: number(value)? })
}

/// `key="value",key="value"}` and what follows.
fn labels(mut rest: &str) -> Option<(BTreeMap<String, String>, &str)> {
    let mut labels = BTreeMap::new();
    loop {
        if let Some(after) = rest.strip_prefix('}') {
            return Some((labels, after));
        }
        let (key, after) = rest.split_once("=\"")?;
        let (value, after) = quoted(after)?;
        labels.insert(key.to_owned(), value);
        rest = after.strip_prefix(',').unwrap_or(after);
    }
}

/// Text up to the closing quote, without its escapes, and what follows.
fn quoted(text: &str) -> Option<(String, &str)> {
    let mut value = String::new();
    let mut chars = text.char_indices();
    while let Some((at, c)) = chars.next() {
        match c {
            '"' => return Some((value, &text[at + 1..])),
            '\\' => value.push(match chars.next()?.1 {
                'n' => '\n',
                other => other,
            }),
            other => value.push(other),
        }
    }
    None
}

fn number(text: &str) -> Option<f64> {
    match text {
        "+Inf" => Some(f64::INFINITY),
        "-Inf" => Some(f64::NEG_INFINITY),
        other => other.parse().ok(),
    }
}

#[cfg(test)]
mod tests {
    use candor_policy::counts::Count;
    use candor_policy::reason::Reason;
    use candor_store::store::Figures;

    use super::*;
    use crate::metrics::Metrics;

    #[test]
    fn what_the_service_writes_is_read_back() {
        let metrics = Metrics::new();
        let dropped = [(Reason::NoConsent, 2)].into();
        let count = Count { stream: None, purpose: "analytics".into(), offered: 5, stored: 3, dropped };
        let other = Count { purpose: "diagnostics".into(), ..count.clone() };
        metrics.stored("devices", &[count, other], 7);
        metrics.answered("/v1/logs", 200, 0.001);
        let text = metrics.text(&Figures { pending_rows: 9, ..Figures::default() }, 11).unwrap();
        let samples = Samples::parse(&text).unwrap();
        let whole = |value: f64| value as u64;
        assert_eq!(whole(samples.sum("candor_events_offered_total")), 10);
        assert_eq!(whole(samples.by("candor_events_dropped_total", "purpose")["analytics"]), 2);
        assert_eq!(whole(samples.by("candor_requests_total", "status")["200"]), 1);
        assert_eq!(whole(samples.sum("candor_store_pending_rows")), 9);
        let last = samples.of("candor_request_seconds_bucket").last().unwrap();
        assert_eq!((last.labels["le"].as_str(), whole(last.value)), ("+Inf", 1));
        assert_eq!(whole(samples.sum("candor_nothing")), 0);
    }

    #[test]
    fn escapes_are_undone_and_anything_else_says_where() {
        let sample = &Samples::parse("a{b=\"x\\\"y\\\\z\\n\",c=\"}\"} 1.5 17\n").unwrap().0[0];
        assert_eq!((sample.labels["b"].as_str(), sample.labels["c"].as_str(), sample.value), ("x\"y\\z\n", "}", 1.5));
        for bad in ["<html>", "a", "a{b=\"} 1", "a{b=1} 1", "a x", "a{b=\"c\"}1"] {
            assert_eq!(Samples::parse(&format!("# HELP\n{bad}\n")), Err(NotMetrics { line: 2 }), "{bad}");
        }
    }
}
