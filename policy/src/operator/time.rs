//! `time_floor`: the start of the second, minute, hour, day, week, month or year that holds a time, in UTC.

use std::any::Any;
use std::sync::Arc;

use arrow_array::cast::AsArray;
use arrow_array::types::TimestampMicrosecondType;
use arrow_array::{ArrayRef, TimestampMicrosecondArray};
use arrow_schema::DataType;

use super::parameters::{Parameters, error};
use super::{BuildError, Operator, OperatorContext, OperatorError, OperatorRef, Rank, arrow_type};
use crate::catalogue::FieldType;

const SECOND: i64 = 1_000_000;
const DAY: i64 = 86_400 * SECOND;
/// 1970-01-05 was a Monday.
const FIRST_MONDAY: i64 = 4 * DAY;

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Unit {
    Second,
    Minute,
    Hour,
    Day,
    Week,
    Month,
    Year,
}

const UNITS: [(&str, Unit); 7] = [
    ("second", Unit::Second),
    ("minute", Unit::Minute),
    ("hour", Unit::Hour),
    ("day", Unit::Day),
    ("week", Unit::Week),
    ("month", Unit::Month),
    ("year", Unit::Year),
];

/// Floors toward minus infinity, also before 1970.
#[derive(Debug)]
struct TimeFloor {
    name: &'static str,
    unit: Unit,
}

pub(super) fn build(parameters: &mut Parameters<'_>) -> Result<OperatorRef, BuildError> {
    let names: Vec<&str> = UNITS.iter().map(|(name, _)| *name).collect();
    let mend = format!("write `unit = \"hour\"`; the units are: {}", names.join(", "));
    let text = parameters.text("unit", &mend)?;
    match UNITS.iter().find(|(name, _)| *name == text) {
        Some((name, unit)) => Ok(Arc::new(TimeFloor { name, unit: *unit })),
        None => Err(error(&format!("`time_floor` has no unit `{text}`"), &mend)),
    }
}

impl Unit {
    /// `None` where the boundary lies before the first representable time.
    fn floor(self, micros: i64) -> Option<i64> {
        match self {
            Self::Second => floor_to(micros, SECOND, 0),
            Self::Minute => floor_to(micros, 60 * SECOND, 0),
            Self::Hour => floor_to(micros, 3_600 * SECOND, 0),
            Self::Day => floor_to(micros, DAY, 0),
            Self::Week => floor_to(micros, 7 * DAY, FIRST_MONDAY),
            Self::Month => {
                let (year, month) = year_and_month(micros.div_euclid(DAY));
                first_day(year, month).checked_mul(DAY)
            }
            Self::Year => first_day(year_and_month(micros.div_euclid(DAY)).0, 1).checked_mul(DAY),
        }
    }

    /// Whether each boundary of `self` is one of `other`'s.
    fn covers(self, other: Self) -> bool {
        // Months and years begin in the middle of weeks.
        self >= other && !(self > Self::Week && other == Self::Week)
    }
}

fn floor_to(micros: i64, width: i64, origin: i64) -> Option<i64> {
    let past = (micros.rem_euclid(width) - origin.rem_euclid(width)).rem_euclid(width);
    micros.checked_sub(past)
}

/// Year and month (1 to 12) of a day since 1970-01-01 in the proleptic Gregorian calendar. The algorithm is
/// `civil_from_days` of Howard Hinnant, "chrono-Compatible Low-Level Date Algorithms": all of i64 microseconds is in range.
const fn year_and_month(day: i64) -> (i64, i64) {
    let shifted = day + 719_468;
    let era = shifted.div_euclid(146_097);
    let day_of_era = shifted.rem_euclid(146_097);
    let year_of_era = (day_of_era - day_of_era / 1_460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let month_from_march = (5 * day_of_year + 2) / 153;
    let month = if month_from_march < 10 { month_from_march + 3 } else { month_from_march - 9 };
    (year_of_era + era * 400 + (month <= 2) as i64, month)
}

/// Day since 1970-01-01 of the first of a month (`days_from_civil` of the same paper).
const fn first_day(year: i64, month: i64) -> i64 {
    let year = year - (month <= 2) as i64;
    let era = year.div_euclid(400);
    let year_of_era = year.rem_euclid(400);
    let month_from_march = (month + 9) % 12;
    let day_of_year = (153 * month_from_march + 2) / 5;
    era * 146_097 + year_of_era * 365 + year_of_era / 4 - year_of_era / 100 + day_of_year - 719_468
}

impl Operator for TimeFloor {
    fn name(&self) -> &'static str {
        "time_floor"
    }

    fn rank(&self) -> Rank {
        Rank::Generalisation
    }

    fn parameters(&self) -> String {
        format!("unit={}", self.name)
    }

    fn covers(&self, other: &dyn Operator) -> bool {
        other.as_any().downcast_ref::<Self>().is_some_and(|other| self.unit.covers(other.unit))
    }

    fn output(&self, input: FieldType) -> Option<DataType> {
        (input == FieldType::Timestamp).then(|| arrow_type(input))
    }

    fn suffix(&self) -> Option<&'static str> {
        None
    }

    fn apply(&self, values: &ArrayRef, _: &OperatorContext<'_>) -> Result<ArrayRef, OperatorError> {
        let values =
            values.as_primitive_opt::<TimestampMicrosecondType>().ok_or(OperatorError::WrongType("time_floor"))?;
        let floored: TimestampMicrosecondArray =
            values.iter().map(|value| value.and_then(|micros| self.unit.floor(micros))).collect();
        Ok(Arc::new(floored.with_timezone("UTC")))
    }

    fn as_any(&self) -> &dyn Any {
        self
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::super::tests_support::{context_keys, operator};
    use super::super::{Parameter, clean::assert_clean};
    use super::*;

    fn micros(text: &str) -> i64 {
        text.parse::<jiff::Timestamp>().unwrap().as_microsecond()
    }

    fn unit(name: &str) -> Unit {
        UNITS.iter().find(|(known, _)| *known == name).unwrap().1
    }

    #[test]
    fn floors_in_utc_on_both_sides_of_1970() {
        // 2026-02-28 is a Saturday, 1969-07-20 a Sunday.
        for (name, from, to) in [
            ("second", "2026-02-28T13:59:59.999999Z", "2026-02-28T13:59:59Z"),
            ("minute", "2026-02-28T13:59:59.999999Z", "2026-02-28T13:59:00Z"),
            ("hour", "2026-02-28T13:59:59.999999Z", "2026-02-28T13:00:00Z"),
            ("day", "2026-02-28T13:59:59.999999Z", "2026-02-28T00:00:00Z"),
            ("week", "2026-02-28T13:59:59.999999Z", "2026-02-23T00:00:00Z"),
            ("month", "2026-02-28T13:59:59.999999Z", "2026-02-01T00:00:00Z"),
            ("year", "2026-02-28T13:59:59.999999Z", "2026-01-01T00:00:00Z"),
            ("second", "1969-07-20T20:17:40.000001Z", "1969-07-20T20:17:40Z"),
            ("second", "1969-12-31T23:59:59.999999Z", "1969-12-31T23:59:59Z"),
            ("hour", "1969-07-20T20:17:40Z", "1969-07-20T20:00:00Z"),
            ("day", "1969-07-20T20:17:40Z", "1969-07-20T00:00:00Z"),
            ("week", "1969-07-20T20:17:40Z", "1969-07-14T00:00:00Z"),
            ("month", "1969-07-20T20:17:40Z", "1969-07-01T00:00:00Z"),
            ("year", "1969-07-20T20:17:40Z", "1969-01-01T00:00:00Z"),
            ("month", "2000-02-29T23:00:00Z", "2000-02-01T00:00:00Z"),
            ("week", "1970-01-05T00:00:00Z", "1970-01-05T00:00:00Z"),
            ("week", "1970-01-04T23:59:59Z", "1969-12-29T00:00:00Z"),
        ] {
            assert_eq!(unit(name).floor(micros(from)), Some(micros(to)), "{name} of {from}");
        }
    }

    #[test]
    fn nulls_and_what_lies_before_all_time_are_null() {
        let keys = context_keys();
        let context = OperatorContext { purpose: "analytics", column: "time", keys: &keys };
        let values: ArrayRef = Arc::new(TimestampMicrosecondArray::from(vec![Some(1), None, Some(i64::MIN)]));
        let out = operator("time_floor", &[("unit", Parameter::Text("year".into()))]).apply(&values, &context).unwrap();
        assert_clean(&out);
        let out = out.as_primitive::<TimestampMicrosecondType>().iter().collect::<Vec<_>>();
        assert_eq!(out, [Some(0), None, None]);
    }

    #[test]
    fn coarser_means_that_every_boundary_is_shared() {
        let covers = |a: &str, b: &str| unit(a).covers(unit(b));
        assert!(covers("year", "month") && covers("month", "day") && covers("week", "day") && covers("day", "hour"));
        assert!(covers("hour", "minute") && covers("minute", "second") && covers("day", "day"));
        assert!(!covers("day", "month") && !covers("second", "minute"));
        for (a, b) in [("week", "month"), ("month", "week"), ("week", "year"), ("year", "week")] {
            assert!(!covers(a, b), "{a} and {b} are not comparable");
        }
    }

    #[test]
    fn the_unit_must_be_known() {
        let error = |text: &str| {
            super::super::build("time_floor", &[("unit".to_owned(), Parameter::Text(text.into()))].into()).unwrap_err()
        };
        assert!(error("hours").message.contains("hours"));
        assert!(error("hours").mend.contains("hour, day"));
        assert!(super::super::build("time_floor", &[].into()).unwrap_err().message.contains("needs `unit`"));
    }

    proptest! {
        /// From the second of jiff's years on: the first of them begins before its timestamps do.
        #[test]
        fn agrees_with_the_calendar_of_jiff(micros in -377_673_580_800_000_000_i64..253_402_000_000_000_000) {
            let zoned = jiff::Timestamp::from_microsecond(micros).unwrap().to_zoned(jiff::tz::TimeZone::UTC);
            let date = zoned.date();
            let start = |date: jiff::civil::Date| {
                date.to_zoned(jiff::tz::TimeZone::UTC).unwrap().timestamp().as_microsecond()
            };
            prop_assert_eq!(Unit::Day.floor(micros), Some(start(date)));
            prop_assert_eq!(Unit::Month.floor(micros), Some(start(date.first_of_month())));
            prop_assert_eq!(Unit::Year.floor(micros), Some(start(date.first_of_year())));
            let monday = date - jiff::Span::new().days(date.weekday().to_monday_zero_offset());
            prop_assert_eq!(Unit::Week.floor(micros), Some(start(monday)));
        }

        #[test]
        fn never_later_never_a_panic_and_stable(micros: i64, index in 0..UNITS.len()) {
            let unit = UNITS[index].1;
            if let Some(floor) = unit.floor(micros) {
                prop_assert!(floor <= micros);
                prop_assert_eq!(unit.floor(floor), Some(floor));
            }
        }

        #[test]
        fn what_covers_makes_the_other_superfluous(micros in -1_i64 << 60..1_i64 << 60, a in 0..UNITS.len(), b in 0..UNITS.len()) {
            let (a, b) = (UNITS[a].1, UNITS[b].1);
            if a.covers(b) {
                prop_assert_eq!(b.floor(micros).and_then(|floor| a.floor(floor)), a.floor(micros));
            }
        }
    }
}
