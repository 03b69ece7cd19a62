//! Fresh buffers: what goes into a frame holds nothing but the cells it shows.
//!
//! An Arrow array may carry more than its cells: bytes under a null, the rest of a sliced buffer, bits behind the
//! last row. Those bytes may be raw values that the policy dropped, and IPC would write them.

use std::sync::Arc;

use arrow_array::cast::downcast_array;
use arrow_array::types::{Float64Type, Int32Type, Int64Type, TimestampMicrosecondType};
use arrow_array::{
    Array, ArrayRef, ArrowPrimitiveType, BooleanArray, ListArray, PrimitiveArray, RecordBatch, StringArray, UInt32Array,
};
use arrow_buffer::{BooleanBuffer, NullBuffer, OffsetBuffer, ScalarBuffer};
use arrow_schema::{ArrowError, DataType, FieldRef, TimeUnit};
use arrow_select::take::take;

/// The same rows in buffers built from their cells alone.
pub(crate) fn fresh(rows: &RecordBatch) -> Result<RecordBatch, ArrowError> {
    let columns = rows.columns().iter().map(fresh_column).collect::<Result<Vec<_>, _>>()?;
    RecordBatch::try_new(rows.schema(), columns)
}

fn fresh_column(column: &ArrayRef) -> Result<ArrayRef, ArrowError> {
    match column.data_type() {
        DataType::Utf8 => fresh_strings(&downcast_array(column)),
        DataType::Boolean => Ok(fresh_booleans(&downcast_array(column))),
        DataType::Int32 => Ok(fresh_numbers::<Int32Type>(&downcast_array(column))),
        DataType::Int64 => Ok(fresh_numbers::<Int64Type>(&downcast_array(column))),
        DataType::Float64 => Ok(fresh_numbers::<Float64Type>(&downcast_array(column))),
        DataType::Timestamp(TimeUnit::Microsecond, _) => {
            Ok(fresh_numbers::<TimestampMicrosecondType>(&downcast_array(column)))
        }
        DataType::List(element) => fresh_lists(&downcast_array(column), element),
        other => Err(ArrowError::NotYetImplemented(format!("a frame has no columns of type {other}"))),
    }
}

fn fresh_numbers<T: ArrowPrimitiveType>(column: &PrimitiveArray<T>) -> ArrayRef {
    let nulls = fresh_nulls(column);
    let values: ScalarBuffer<T::Native> = match &nulls {
        // The writer cuts a slice to its rows: without nulls nothing else is reached.
        None => column.values().clone(),
        Some(nulls) => column
            .values()
            .iter()
            .zip(nulls.iter())
            .map(|(value, valid)| if valid { *value } else { T::Native::default() })
            .collect(),
    };
    Arc::new(PrimitiveArray::<T>::new(values, nulls).with_data_type(column.data_type().clone()))
}

fn fresh_booleans(column: &BooleanArray) -> ArrayRef {
    let nulls = fresh_nulls(column);
    let values = BooleanBuffer::collect_bool(column.len(), |row| column.is_valid(row) && column.value(row));
    Arc::new(BooleanArray::new(values, nulls))
}

fn fresh_strings(column: &StringArray) -> Result<ArrayRef, ArrowError> {
    let Some(nulls) = fresh_nulls(column) else {
        return Ok(Arc::new(column.clone()));
    };
    let shown = |row: usize| if nulls.is_valid(row) { column.value(row) } else { "" };
    let lengths = (0..column.len()).map(|row| shown(row).len());
    let offsets = OffsetBuffer::<i32>::from_lengths(lengths);
    let mut bytes = Vec::with_capacity(offsets.last().map_or(0, |end| *end as usize));
    for row in 0..column.len() {
        bytes.extend_from_slice(shown(row).as_bytes());
    }
    Ok(Arc::new(StringArray::try_new(offsets, bytes.into(), Some(nulls))?))
}

/// Lists of the elements that they show: none under a null list, before the first or behind the last.
fn fresh_lists(column: &ListArray, element: &FieldRef) -> Result<ArrayRef, ArrowError> {
    let nulls = fresh_nulls(column);
    let offsets = column.value_offsets();
    let shown = |row: usize| if column.is_valid(row) { offsets[row]..offsets[row + 1] } else { 0..0 };
    let hidden = nulls.is_some() && (0..column.len()).any(|row| column.is_null(row) && column.value_length(row) > 0);
    let elements = if hidden {
        let places = (0..column.len()).flat_map(|row| shown(row).map(|at| at as u32));
        take(column.values(), &UInt32Array::from_iter_values(places), None)?
    } else {
        let (start, end) = (offsets.first().map_or(0, |at| *at as usize), offsets.last().map_or(0, |at| *at as usize));
        column.values().slice(start, end - start)
    };
    let offsets = OffsetBuffer::from_lengths((0..column.len()).map(|row| shown(row).len()));
    Ok(Arc::new(ListArray::try_new(Arc::clone(element), offsets, fresh_column(&elements)?, nulls)?))
}

/// Validity without bits behind the last row; none where no row is null.
fn fresh_nulls(column: &impl Array) -> Option<NullBuffer> {
    let nulls = column.nulls().filter(|nulls| nulls.null_count() > 0)?;
    Some(NullBuffer::new(BooleanBuffer::collect_bool(nulls.len(), |row| nulls.is_valid(row))))
}

#[cfg(test)]
mod tests {
    use arrow_array::{Int64Array, TimestampMicrosecondArray};
    use arrow_schema::{Field, Schema};

    use super::*;

    const CANARY: i64 = 0x4341_4e41_5259_3231;

    fn batch(columns: Vec<(&str, ArrayRef)>) -> RecordBatch {
        let fields: Vec<Field> =
            columns.iter().map(|(name, column)| Field::new(*name, column.data_type().clone(), true)).collect();
        let columns = columns.into_iter().map(|(_, column)| column).collect();
        RecordBatch::try_new(Arc::new(Schema::new(fields)), columns).unwrap()
    }

    /// Cells hidden under nulls and outside of slices, in every type that frames have.
    fn with_hidden_canaries() -> RecordBatch {
        let valid = NullBuffer::from(vec![true, false, true, true]);
        let numbers = Int64Array::new(vec![1, CANARY, 3, CANARY].into(), Some(valid.clone()));
        let times =
            TimestampMicrosecondArray::new(vec![1, CANARY, 3, CANARY].into(), Some(valid.clone())).with_timezone("UTC");
        let floats = PrimitiveArray::<Float64Type>::new(
            vec![1.0, f64::from_bits(CANARY as u64), 3.0, f64::from_bits(CANARY as u64)].into(),
            Some(valid.clone()),
        );
        let text = "aCANARY-21bCANARY-21";
        let offsets = OffsetBuffer::<i32>::from_lengths([1, 9, 1, 9]);
        let strings = StringArray::new(offsets, text.as_bytes().to_vec().into(), Some(valid.clone()));
        let flags = BooleanArray::new(BooleanBuffer::collect_bool(4, |row| row % 2 == 1), Some(valid));
        batch(vec![
            ("n", Arc::new(numbers.clone())),
            ("t", Arc::new(times)),
            ("f", Arc::new(floats)),
            ("s", Arc::new(strings.clone())),
            ("b", Arc::new(flags.clone())),
            ("ln", hidden_in_lists(&numbers)),
            ("ls", hidden_in_lists(&strings)),
            ("lb", hidden_in_lists(&flags)),
        ])
        .slice(0, 3)
    }

    fn list_of(elements: &ArrayRef, lengths: &[usize], valid: &[bool]) -> ArrayRef {
        let element = Arc::new(Field::new("element", elements.data_type().clone(), true));
        let offsets = OffsetBuffer::from_lengths(lengths.iter().copied());
        Arc::new(ListArray::new(element, offsets, Arc::clone(elements), Some(valid.to_vec().into())))
    }

    /// `[first, null]`, then a null list that hides the same, then `[third]`, then a list outside of the slice.
    fn hidden_in_lists(values: &dyn Array) -> ArrayRef {
        let values = arrow_array::make_array(values.to_data());
        let places = UInt32Array::from(vec![0, 1, 0, 3, 2, 3]);
        let elements = take(&values, &places, None).unwrap();
        list_of(&elements, &[2, 2, 1, 1], &[true, false, true, true])
    }

    fn ipc(rows: &RecordBatch) -> Vec<u8> {
        let mut bytes = Vec::new();
        crate::segment::codec::write_ipc(rows, &mut bytes).unwrap();
        bytes
    }

    fn holds(bytes: &[u8], needle: &[u8]) -> bool {
        bytes.windows(needle.len()).any(|window| window == needle)
    }

    #[test]
    fn nothing_under_a_null_or_outside_a_slice_is_written() {
        let rows = with_hidden_canaries();
        // Positive control: without fresh buffers the canary reaches the bytes.
        assert!(holds(&ipc(&rows), &CANARY.to_le_bytes()));
        assert!(holds(&ipc(&rows), b"CANARY-21"));

        let clean = fresh(&rows).unwrap();
        assert_eq!(clean, rows);
        assert!(!holds(&ipc(&clean), &CANARY.to_le_bytes()));
        assert!(!holds(&ipc(&clean), b"CANARY-21"));
    }

    fn plain_lists(elements: impl Array + 'static) -> ArrayRef {
        let elements: ArrayRef = Arc::new(elements);
        list_of(&elements, &[2, 0, 1], &[true, false, true])
    }

    /// Two batches that show the same cells give the same bytes, whatever they hide: so no byte comes from elsewhere.
    #[test]
    fn the_bytes_depend_on_the_cells_alone() {
        let rows = with_hidden_canaries();
        let plain = batch(vec![
            ("n", Arc::new(Int64Array::from(vec![Some(1), None, Some(3)]))),
            ("t", Arc::new(TimestampMicrosecondArray::from(vec![Some(1), None, Some(3)]).with_timezone("UTC"))),
            ("f", Arc::new(PrimitiveArray::<Float64Type>::from(vec![Some(1.0), None, Some(3.0)]))),
            ("s", Arc::new(StringArray::from(vec![Some("a"), None, Some("b")]))),
            ("b", Arc::new(BooleanArray::from(vec![Some(false), None, Some(false)]))),
            ("ln", plain_lists(Int64Array::from(vec![Some(1), None, Some(3)]))),
            ("ls", plain_lists(StringArray::from(vec![Some("a"), None, Some("b")]))),
            ("lb", plain_lists(BooleanArray::from(vec![Some(false), None, Some(false)]))),
        ]);
        assert_eq!(ipc(&fresh(&rows).unwrap()), ipc(&fresh(&plain).unwrap()));
    }
}
