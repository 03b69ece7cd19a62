//! What a declared field takes of a value, written down by hand.

use candor_policy::catalogue::FieldType;
use opentelemetry_proto::tonic::common::v1::AnyValue;
use opentelemetry_proto::tonic::common::v1::any_value::Value;

use super::Cell;
use super::item::Given;

/// A position, if both halves lie on the globe.
pub(super) fn position(lat: Cell, lon: Cell) -> Option<Cell> {
    let (Cell::F64(lat), Cell::F64(lon)) = (lat, lon) else { panic!("halves are numbers") };
    let there = f64::from_bits(lat).abs() <= 90.0 && f64::from_bits(lon).abs() <= 180.0;
    there.then_some(Cell::Position(lat, lon))
}

/// The cell of a field, an error where it cannot take the value.
pub(super) fn convert(kind: FieldType, list: bool, given: &Given) -> Result<Option<Cell>, ()> {
    match given {
        Given::List(elements) if list => {
            let element = |given: &Option<Given>| match given {
                Some(given) => convert(kind, false, given),
                None => Ok(None),
            };
            elements.iter().map(element).collect::<Result<_, ()>>().map(|list| Some(Cell::List(list)))
        }
        Given::Value(value) => of_value(kind, list, value),
        Given::Nanoseconds(value) if kind == FieldType::Timestamp && !list => {
            Ok(Some(Cell::Time(storable(i64::try_from(value / 1_000).unwrap()).ok_or(())?)))
        }
        _ => Err(()),
    }
}

fn of_value(kind: FieldType, list: bool, value: &Value) -> Result<Option<Cell>, ()> {
    if list {
        return match value {
            Value::StringValueStrindex(_) => Ok(None),
            Value::ArrayValue(array) => {
                let element = |value: &AnyValue| match &value.value {
                    Some(value) => of_value(kind, false, value),
                    None => Ok(None),
                };
                array.values.iter().map(element).collect::<Result<_, ()>>().map(|list| Some(Cell::List(list)))
            }
            _ => Err(()),
        };
    }
    let cell = match (kind, value) {
        (_, Value::StringValueStrindex(_)) => return Ok(None),
        (FieldType::Bool, Value::BoolValue(value)) => Cell::Bool(*value),
        (FieldType::String, Value::StringValue(text)) => Cell::Text(text.clone()),
        (FieldType::I64, Value::IntValue(value)) => Cell::I64(*value),
        (FieldType::I64, Value::DoubleValue(value)) => {
            let whole = *value as i128;
            if (whole as f64).to_bits() != (*value + 0.0).to_bits() || i64::try_from(whole).is_err() {
                return Err(());
            }
            Cell::I64(whole as i64)
        }
        (FieldType::F64, Value::DoubleValue(value)) => Cell::F64(value.to_bits()),
        (FieldType::F64, Value::IntValue(value)) if (*value as f64) as i128 == i128::from(*value) => {
            Cell::F64((*value as f64).to_bits())
        }
        (FieldType::Timestamp, Value::IntValue(value)) => Cell::Time(storable(value.div_euclid(1_000)).ok_or(())?),
        (FieldType::Timestamp, Value::StringValue(text)) => Cell::Time(rfc3339(text).and_then(storable).ok_or(())?),
        _ => return Err(()),
    };
    Ok(Some(cell))
}

/// A time in µs, if it is of the years 1678 to 2261.
pub(super) fn storable(time: i64) -> Option<i64> {
    (-9_214_560_000_000_000..9_214_646_400_000_000).contains(&time).then_some(time)
}

/// RFC 3339 by the letter, up to nine digits of fraction; a leap second is the last second of its minute.
fn rfc3339(text: &str) -> Option<i64> {
    let text = text.to_ascii_uppercase();
    let (date, clock) = text.split_once('T')?;
    let (clock, offset) = if let Some(clock) = clock.strip_suffix('Z') {
        (clock, 0)
    } else {
        let (clock, zone) = clock.split_at_checked(clock.len().checked_sub(6)?)?;
        let (hours, minutes) = zone.get(1..)?.split_once(':')?;
        let minutes = two(hours, 23)? * 60 + two(minutes, 59)?;
        match zone.get(..1)? {
            "+" => (clock, minutes),
            "-" => (clock, -minutes),
            _ => return None,
        }
    };
    let (whole, fraction) = clock.split_once('.').map_or((clock, None), |(whole, fraction)| (whole, Some(fraction)));
    let nanoseconds = match fraction {
        None => 0,
        Some(digits) if (1..=9).contains(&digits.len()) => format!("{digits:0<9}").parse::<u32>().ok()?,
        Some(_) => return None,
    };
    let [hour, minute, second] = whole.split(':').collect::<Vec<_>>().try_into().ok()?;
    let seconds = two(hour, 23)? * 3_600 + two(minute, 59)? * 60 + two(second, 60)?.min(59);
    let [year, month, day] = date.split('-').collect::<Vec<_>>().try_into().ok()?;
    if year.len() != 4 || !year.bytes().all(|byte| byte.is_ascii_digit()) {
        return None;
    }
    let days = days(year.parse().ok()?, two(month, 12)?, two(day, 31)?)?;
    Some(((days * 86_400 + seconds - offset * 60) * 1_000_000) + i64::from(nanoseconds / 1_000))
}

fn two(digits: &str, most: i64) -> Option<i64> {
    let valid = digits.len() == 2 && digits.bytes().all(|byte| byte.is_ascii_digit());
    valid.then(|| digits.parse().ok()).flatten().filter(|value| *value <= most)
}

/// Days since 1970-01-01, counted year by year and month by month.
fn days(year: i64, month: i64, day: i64) -> Option<i64> {
    let leap = |year: i64| year % 4 == 0 && (year % 100 != 0 || year % 400 == 0);
    let month_days = |month: i64| match month {
        2 => 28 + i64::from(leap(year)),
        4 | 6 | 9 | 11 => 30,
        _ => 31,
    };
    if month == 0 || day == 0 || day > month_days(month) {
        return None;
    }
    let year_days = |year: i64| 365 + i64::from(leap(year));
    let years: i64 =
        if year >= 1970 { (1970..year).map(year_days).sum() } else { -(year..1970).map(year_days).sum::<i64>() };
    Some(years + (1..month).map(month_days).sum::<i64>() + day - 1)
}
