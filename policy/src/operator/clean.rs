//! The last step before rows may rest: arrays whose every byte belongs to a value.
//!
//! A null slot may hide bytes, a slice may hide rows before and after it, an offset may skip text. What is written
//! to disk is buffers, not cells, so that such bytes would rest although no query shows them.

use std::sync::Arc;

use arrow_array::cast::AsArray;
use arrow_array::types::{ArrowPrimitiveType, Float64Type, Int32Type, Int64Type, TimestampMicrosecondType};
use arrow_array::{Array, ArrayRef, BooleanArray, ListArray, PrimitiveArray, StringArray, UInt32Array};
use arrow_buffer::{BooleanBuffer, Buffer, NullBuffer, OffsetBuffer, ScalarBuffer};
use arrow_schema::{DataType, FieldRef, TimeUnit};
use arrow_select::take::take;

use super::list::bounds;

/// The same values with nothing under nulls, before, after or between them; `None` for a type that no column has.
pub(crate) fn clean(values: &ArrayRef) -> Option<ArrayRef> {
    Some(match values.data_type() {
        DataType::Boolean => Arc::new(booleans(values.as_boolean_opt()?)),
        DataType::Int32 => Arc::new(numbers(values.as_primitive_opt::<Int32Type>()?)),
        DataType::Int64 => Arc::new(numbers(values.as_primitive_opt::<Int64Type>()?)),
        DataType::Float64 => Arc::new(numbers(values.as_primitive_opt::<Float64Type>()?)),
        DataType::Timestamp(TimeUnit::Microsecond, _) => {
            Arc::new(numbers(values.as_primitive_opt::<TimestampMicrosecondType>()?).with_timezone("UTC"))
        }
        DataType::Utf8 => Arc::new(strings(values.as_string_opt::<i32>()?)),
        DataType::List(element) => Arc::new(lists(values.as_list_opt::<i32>()?, element)?),
        _ => return None,
    })
}

fn numbers<T: ArrowPrimitiveType>(array: &PrimitiveArray<T>) -> PrimitiveArray<T> {
    if array.null_count() > 0 {
        // Building from options writes the default under each null.
        return array.iter().collect();
    }
    PrimitiveArray::new(ScalarBuffer::from(unsliced(array.values().inner())), None)
}

fn booleans(array: &BooleanArray) -> BooleanArray {
    let values = BooleanBuffer::collect_bool(array.len(), |row| array.is_valid(row) && array.value(row));
    let nulls = array.nulls().filter(|nulls| nulls.null_count() > 0);
    let nulls = nulls.map(|nulls| NullBuffer::new(BooleanBuffer::collect_bool(nulls.len(), |row| nulls.is_valid(row))));
    BooleanArray::new(values, nulls)
}

fn strings(array: &StringArray) -> StringArray {
    if strings_are_clean(array) { array.clone() } else { array.iter().collect() }
}

fn strings_are_clean(array: &StringArray) -> bool {
    let offsets = array.value_offsets();
    let whole = array.offsets().inner().inner().ptr_offset() == 0
        && array.values().ptr_offset() == 0
        && offsets.first() == Some(&0)
        && offsets.last().is_some_and(|end| *end as usize == array.values().len());
    whole
        && array.nulls().is_none_or(|nulls| {
            bits_are_clean(nulls.inner())
                && (0..array.len()).all(|row| nulls.is_valid(row) || offsets[row] == offsets[row + 1])
        })
}

/// Elements of lists that are not null, and nothing else, cleaned themselves.
fn lists(array: &ListArray, element: &FieldRef) -> Option<ListArray> {
    let offsets = array.value_offsets();
    let (start, end) = bounds(array);
    let hidden =
        array.null_count() > 0 && (0..array.len()).any(|row| array.is_null(row) && offsets[row] != offsets[row + 1]);
    let elements = if hidden {
        let shown = (0..array.len()).filter(|row| array.is_valid(*row));
        let shown = shown.flat_map(|row| offsets[row] as u32..offsets[row + 1] as u32);
        take(array.values(), &UInt32Array::from_iter_values(shown), None).ok()?
    } else {
        array.values().slice(start, end - start)
    };
    let lengths = (0..array.len()).map(|row| if array.is_valid(row) { array.value_length(row) as usize } else { 0 });
    let nulls = array.nulls().filter(|nulls| nulls.null_count() > 0);
    let nulls = nulls.map(|nulls| NullBuffer::new(BooleanBuffer::collect_bool(nulls.len(), |row| nulls.is_valid(row))));
    ListArray::try_new(Arc::clone(element), OffsetBuffer::from_lengths(lengths), clean(&elements)?, nulls).ok()
}

/// Whether a bitmap starts at its buffer's first bit and has nothing after its last.
fn bits_are_clean(bits: &BooleanBuffer) -> bool {
    let (buffer, used) = (bits.inner(), bits.len() % 8);
    bits.offset() == 0
        && buffer.ptr_offset() == 0
        && buffer.len() == bits.len().div_ceil(8)
        && (used == 0 || buffer.last().is_none_or(|last| last >> used == 0))
}

fn unsliced(buffer: &Buffer) -> Buffer {
    if buffer.ptr_offset() == 0 { buffer.clone() } else { Buffer::from(buffer.as_slice()) }
}

/// For property tests: panics unless every byte of every buffer is reached from a cell that is not null.
#[cfg(test)]
pub(crate) fn assert_clean(array: &dyn Array) {
    use arrow_array::ArrowNativeTypeOp;

    fn check_numbers<T: ArrowPrimitiveType>(array: &dyn Array) {
        let array = array.as_primitive::<T>();
        assert_eq!(array.values().inner().len(), array.len() * size_of::<T::Native>(), "exactly the cells");
        for row in (0..array.len()).filter(|row| array.is_null(*row)) {
            assert!(array.values()[row].is_zero(), "a null hides a number");
        }
    }

    if let Some(nulls) = array.nulls() {
        assert!(bits_are_clean(nulls.inner()), "the validity bitmap says more than the rows");
    }
    match array.data_type() {
        DataType::Boolean => {
            let array = array.as_boolean();
            assert!(bits_are_clean(array.values()), "the bits say more than the rows");
            assert!((0..array.len()).all(|row| array.is_valid(row) || !array.value(row)), "a null hides a bit");
        }
        DataType::Int32 => check_numbers::<Int32Type>(array),
        DataType::Int64 => check_numbers::<Int64Type>(array),
        DataType::Float64 => check_numbers::<Float64Type>(array),
        DataType::Timestamp(..) => check_numbers::<TimestampMicrosecondType>(array),
        DataType::Utf8 => {
            let array = array.as_string::<i32>();
            let offsets = array.value_offsets();
            assert_eq!(offsets[0], 0, "offsets start at 0");
            assert_eq!(offsets.len(), array.len() + 1, "one offset a row");
            let reached: usize = array.iter().flatten().map(str::len).sum();
            assert_eq!(reached, array.values().len(), "every byte belongs to a value");
        }
        DataType::List(_) => {
            let array = array.as_list::<i32>();
            let offsets = array.value_offsets();
            assert_eq!(offsets[0], 0, "offsets start at 0");
            assert_eq!(offsets.len(), array.len() + 1, "one offset a row");
            let reached: usize = array.iter().flatten().map(|list| list.len()).sum();
            assert_eq!(reached, array.values().len(), "every element belongs to a list");
            assert_clean(array.values());
        }
        other => panic!("no cleared column is {other}"),
    }
    for buffer in array.to_data().buffers() {
        assert_eq!(buffer.ptr_offset(), 0, "no slices");
    }
}

#[cfg(test)]
mod tests {
    use arrow_array::{Float64Array, Int64Array, TimestampMicrosecondArray};

    use super::*;

    fn cleaned(array: impl Array + 'static) -> ArrayRef {
        let array: ArrayRef = Arc::new(array);
        let out = clean(&array).unwrap();
        assert_clean(&out);
        assert_eq!(out.len(), array.len());
        out
    }

    #[test]
    fn bytes_under_nulls_go() {
        let nulls = NullBuffer::from(vec![true, false, true]);
        let numbers = Int64Array::new(vec![1, 490_154_203_237_518, 3].into(), Some(nulls.clone()));
        assert_eq!(cleaned(numbers).as_primitive::<Int64Type>().values().as_ref(), &[1, 0, 3]);
        let bits = BooleanArray::new(vec![true, true, false].into(), Some(nulls.clone()));
        assert!(!cleaned(bits).as_boolean().value(1));
        let text = StringArray::new(OffsetBuffer::from_lengths([1, 6, 1]), Buffer::from(b"asecretb"), Some(nulls));
        assert_eq!(cleaned(text).as_string::<i32>().values().as_slice(), b"ab");
    }

    #[test]
    fn slices_become_whole() {
        let text = StringArray::from(vec!["before", "a", "b", "after"]);
        assert_eq!(cleaned(text.slice(1, 2)).as_string::<i32>().values().as_slice(), b"ab");
        let numbers = Float64Array::from(vec![1.0, 2.0, 3.0]);
        assert_eq!(cleaned(numbers.slice(1, 1)).as_primitive::<Float64Type>().values().inner().len(), 8);
        let bits = BooleanArray::from(vec![Some(true), None, Some(true), Some(true)]);
        assert_eq!(cleaned(bits.slice(1, 2)).as_boolean(), &BooleanArray::from(vec![None, Some(true)]));
        let nulls = StringArray::from(vec![None, Some("a"), None, None]);
        cleaned(nulls.slice(1, 2));
    }

    #[test]
    fn lists_show_their_elements_and_nothing_else() {
        let text = StringArray::from(vec![Some("before"), Some("a"), None, Some("secret"), Some("b"), Some("after")]);
        let list = ListArray::new(
            Arc::new(arrow_schema::Field::new("element", DataType::Utf8, true)),
            OffsetBuffer::new(vec![0, 1, 3, 4, 4, 5, 6].into()),
            Arc::new(text),
            Some(NullBuffer::from(vec![true, true, false, true, true, true])),
        );
        // Without its first and last list: a null list hides an element, another list is empty.
        let out = cleaned(list.slice(1, 4));
        assert_eq!(
            out.as_list::<i32>().values().as_string::<i32>(),
            &StringArray::from(vec![Some("a"), None, Some("b")])
        );
        assert_eq!(out.as_list::<i32>().value_offsets(), [0, 2, 2, 2, 3]);
        assert_eq!(out.as_list::<i32>().nulls().unwrap().null_count(), 1);
    }

    #[test]
    fn what_is_clean_is_shared_not_copied() {
        let text = StringArray::from(vec![Some("a"), None]);
        let out = cleaned(text.clone());
        assert_eq!(out.as_string::<i32>().values().as_ptr(), text.values().as_ptr());
    }

    #[test]
    fn timestamps_are_utc_and_other_types_are_refused() {
        let time = TimestampMicrosecondArray::from(vec![Some(-1), None]);
        assert_eq!(cleaned(time).data_type(), &DataType::Timestamp(TimeUnit::Microsecond, Some("UTC".into())));
        let other: ArrayRef = Arc::new(arrow_array::UInt8Array::from(vec![1]));
        assert!(clean(&other).is_none());
    }
}
