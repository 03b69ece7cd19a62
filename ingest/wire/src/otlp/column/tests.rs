//! Columns, value by value.

use arrow_array::cast::AsArray;

use super::*;

type Scalar<'v> = Value<'v, ()>;

const KINDS: [FieldType; 6] =
    [FieldType::Bool, FieldType::I64, FieldType::F64, FieldType::String, FieldType::Timestamp, FieldType::Position];

fn one(kind: FieldType, value: &Scalar<'_>) -> Result<ArrayRef, BadValue> {
    let mut column = Column::new(kind, false);
    column.put(2, value).map(|()| column.finish(5))
}

fn texts(array: &dyn Array) -> Vec<Option<&str>> {
    array.as_string::<i32>().iter().collect()
}

#[test]
fn gaps_are_nulls_and_types_are_the_declared_ones() {
    for (kind, list) in KINDS.into_iter().flat_map(|kind| [(kind, false), (kind, true)]) {
        let mut column = Column::new(kind, list);
        let taken = column.put(2, &Scalar::text("x"));
        let is_text = kind == FieldType::String && !list;
        assert_eq!(taken.is_ok(), is_text);
        let array = column.finish(5);
        assert_eq!(*array.data_type(), raw_type(kind, list));
        assert_eq!((array.len(), array.null_count()), (5, if is_text { 4 } else { 5 }));
    }
    let mut column = Column::new(FieldType::String, false);
    column.put_decimal(0, -12);
    column.put(2, &Scalar::Id(&[0, 0xfe])).unwrap();
    column.put(3, &Scalar::Absent).unwrap();
    assert_eq!(texts(&column.finish(5)), [Some("-12"), None, Some("00fe"), None, None]);
}

#[test]
fn a_column_takes_what_its_type_holds_without_loss() {
    let integer = one(FieldType::I64, &Scalar::Double(1e6)).unwrap();
    assert_eq!(integer.as_primitive::<Int64Type>().value(2), 1_000_000);
    let double = one(FieldType::F64, &Scalar::Int(3)).unwrap();
    assert_eq!(double.as_primitive::<Float64Type>().value(2).to_bits(), 3.0_f64.to_bits());
    let time = one(FieldType::Timestamp, &Scalar::Int(-1)).unwrap();
    assert_eq!(time.as_primitive::<TimestampMicrosecondType>().value(2), -1);
    assert!(one(FieldType::Bool, &Scalar::Bool(true)).unwrap().as_boolean().value(2));
    let bad = [
        (FieldType::Bool, Scalar::Int(1)),
        (FieldType::String, Scalar::Int(1)),
        (FieldType::I64, Scalar::text("1")),
        (FieldType::I64, Scalar::Double(0.5)),
        (FieldType::Timestamp, Scalar::Double(1.0)),
        (FieldType::F64, Scalar::Other),
    ];
    for (kind, value) in bad {
        assert!(one(kind, &value).is_err(), "{kind:?}");
        assert_eq!(one(kind, &Scalar::Absent).unwrap().null_count(), 5);
    }
}

/// What a row that is none left in a column must not show in the row that comes instead.
#[test]
fn a_row_that_is_taken_back_leaves_nothing() {
    for kind in KINDS {
        let value = |kind| match kind {
            FieldType::Bool => Scalar::Bool(true),
            FieldType::String => Scalar::text("gone"),
            _ => Scalar::Int(1),
        };
        let mut column = Column::new(kind, false);
        for row in [0, 1, 1] {
            column.truncate(row);
            if kind == FieldType::Position {
                column.put_half(row, Half::Latitude, &value(kind)).unwrap();
                column.put_half(row, Half::Longitude, &value(kind)).unwrap();
            } else {
                column.put(row, &value(kind)).unwrap();
            }
        }
        column.truncate(1);
        assert_eq!(column.len(), 1, "{kind:?}");
        if kind == FieldType::Position {
            column.put_half(1, Half::Latitude, &value(kind)).unwrap();
        }
        let array = column.finish(3);
        assert_eq!((array.len(), array.is_valid(0), array.null_count()), (3, true, 2), "{kind:?}");
    }
}

#[test]
fn lists_keep_their_elements_apart() {
    let mut column = Column::new(FieldType::String, true);
    let list = |texts: &'static [Option<&str>]| {
        move |list: &mut NewList<'_>| {
            for text in texts {
                _ = list.push(&text.map_or(Scalar::Absent, Scalar::text));
            }
        }
    };
    column.put_list(0, 2, list(&[Some("a"), None])).unwrap();
    column.put_list(1, 2, list(&[])).unwrap();
    assert_eq!(column.put_list(2, 2, list(&[Some("x"); 3])), Err(BadValue));
    let first = column.elements();
    column.put_element(first + 1, &Scalar::text("c")).unwrap();
    column.put_element(first + 1, &Scalar::text("not looked at")).unwrap();
    column.end_elements(3, first + 3);
    column.put_list(4, 2, list(&[Some("gone")])).unwrap();
    column.truncate(4);
    let array = column.finish(5);
    let lists: Vec<Option<ArrayRef>> = array.as_list::<i32>().iter().collect();
    let lists: Vec<_> = lists.iter().map(|list| list.as_ref().map(|list| texts(list))).collect();
    assert_eq!(lists, [Some(vec![Some("a"), None]), None, None, Some(vec![None, Some("c"), None]), None]);
}

#[test]
fn a_position_is_on_the_globe_or_null() {
    let good = [(90.0, -180.0), (-90.0, 180.0), (0.0, 0.0)];
    let bad = [(f64::NAN, 0.0), (0.0, f64::NAN), (90.1, 0.0), (0.0, 180.1), (f64::INFINITY, 0.0), (0.0, -1e300)];
    let mut column = Column::new(FieldType::Position, false);
    for (row, (lat, lon)) in good.into_iter().chain(bad).enumerate() {
        column.put_half(row, Half::Longitude, &Scalar::Double(lon)).unwrap();
        column.put_half(row, Half::Latitude, &Scalar::Double(lat)).unwrap();
        column.put_half(row, Half::Latitude, &Scalar::Double(1.0)).unwrap();
    }
    column.put_half(9, Half::Latitude, &Scalar::Int(1)).unwrap();
    column.put_half(10, Half::Latitude, &Scalar::Absent).unwrap();
    column.put_half(10, Half::Latitude, &Scalar::Int(1)).unwrap();
    assert_eq!(column.put_half(10, Half::Longitude, &Scalar::text("47")), Err(BadValue));
    let array = column.finish(11);
    let valid: Vec<bool> = (0..11).map(|row| array.is_valid(row)).collect();
    assert_eq!(valid, (0..11).map(|row| row < 3).collect::<Vec<_>>());
    let degrees = array.as_fixed_size_list();
    assert_eq!(degrees.value(0).as_primitive::<Float64Type>().values().to_vec(), [90.0, -180.0]);
    assert_eq!(degrees.value(5).as_primitive::<Float64Type>().values().to_vec(), [0.0, 0.0]);
}
