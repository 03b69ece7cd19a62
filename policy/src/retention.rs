//! How long rows stay: a period of whole days, weeks, months or years, counted from the date of receipt.

/// A calendar period.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Period {
    /// Whole days.
    Days(u16),
    /// Calendar months (a year is twelve); the day is clamped to the month's length.
    Months(u16),
}

impl Period {
    /// Parses `30 days`, `2 weeks`, `13 months`, `1 year`.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        let (number, unit) = text.split_once(' ')?;
        let number: u16 = number.parse().ok().filter(|n| *n > 0)?;
        match unit.trim_end_matches('s') {
            "day" => Some(Self::Days(number)),
            "week" => number.checked_mul(7).map(Self::Days),
            "month" => Some(Self::Months(number)),
            "year" => number.checked_mul(12).map(Self::Months),
            _ => None,
        }
    }

    /// The day on which rows received on `day` (days since 1970-01-01) go; none if it lies beyond the calendar.
    #[must_use]
    pub fn ends(self, day: i32) -> Option<i32> {
        use jiff::ToSpan;
        let start = jiff::civil::date(1970, 1, 1).checked_add(day.days()).ok()?;
        let end = match self {
            Self::Days(days) => start.checked_add(i32::from(days).days()).ok()?,
            Self::Months(months) => start.checked_add(i32::from(months).months()).ok()?,
        };
        end.since((jiff::Unit::Day, jiff::civil::date(1970, 1, 1))).ok().map(|span| span.get_days())
    }
}

impl std::fmt::Display for Period {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let (number, unit) = match self {
            Self::Days(days) => (days, "day"),
            Self::Months(months) => (months, "month"),
        };
        write!(f, "{number} {unit}{}", if *number == 1 { "" } else { "s" })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parses_and_ends_on_the_calendar() {
        assert_eq!(Period::parse("30 days"), Some(Period::Days(30)));
        assert_eq!(Period::parse("1 year"), Some(Period::Months(12)));
        assert_eq!(Period::parse("0 days"), None);
        assert_eq!(Period::parse("soon"), None);
        assert_eq!(Period::Days(30).ends(0), Some(30));
        // 2026-01-31 plus one month is 2026-02-28.
        assert_eq!(Period::Months(1).ends(20_484), Some(20_484 + 28));
        assert_eq!(Period::Months(13).to_string(), "13 months");
    }
}
