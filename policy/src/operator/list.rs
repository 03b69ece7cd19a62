//! Lists: an operator runs on the elements, and the lists keep their lengths.

use std::sync::Arc;

use arrow_array::cast::AsArray;
use arrow_array::{Array, ArrayRef, ListArray};
use arrow_buffer::OffsetBuffer;
use arrow_schema::DataType;

use super::{Operator, OperatorContext, OperatorError, list_of};

/// Runs an operator on a column: on its values, or on the elements where the values are lists.
///
/// # Errors
/// As [`Operator::apply`].
pub(crate) fn apply(
    operator: &dyn Operator,
    values: &ArrayRef,
    context: &OperatorContext<'_>,
) -> Result<ArrayRef, OperatorError> {
    let Some(lists) = values.as_list_opt::<i32>() else { return operator.apply(values, context) };
    let failed = |_| OperatorError::WrongType(operator.name());
    let (start, end) = bounds(lists);
    let elements = operator.apply(&lists.values().slice(start, end - start), context)?;
    let offsets = lists.value_offsets().iter().map(|offset| offset - start as i32).collect();
    let DataType::List(element) = list_of(elements.data_type().clone()) else {
        return Err(OperatorError::WrongType(operator.name()));
    };
    // An operator that gave another number of elements is refused here.
    let lists = (elements.len() == end - start)
        .then(|| ListArray::try_new(element, OffsetBuffer::new(offsets), elements, lists.nulls().cloned()));
    Ok(Arc::new(lists.ok_or(OperatorError::WrongType(operator.name()))?.map_err(failed)?))
}

/// First element of the first list, and the end of the last.
pub(super) fn bounds(lists: &ListArray) -> (usize, usize) {
    let offsets = lists.value_offsets();
    let at = |offset: Option<&i32>| offset.map_or(0, |offset| *offset as usize);
    (at(offsets.first()), at(offsets.last()))
}

#[cfg(test)]
mod tests {
    use arrow_array::builder::{Int64Builder, ListBuilder};
    use arrow_array::types::Int64Type;
    use arrow_array::{Int64Array, StringArray};

    use super::super::clean::{assert_clean, clean};
    use super::super::tests_support::{context_keys, operator};
    use super::super::{Parameter, list_of};
    use super::*;

    fn lists(lists: &[Option<&[Option<i64>]>]) -> ArrayRef {
        let DataType::List(element) = list_of(DataType::Int64) else { unreachable!() };
        let mut builder = ListBuilder::new(Int64Builder::new()).with_field(element);
        for list in lists {
            match list {
                Some(list) => builder.append_value(list.iter().copied()),
                None => builder.append(false),
            }
        }
        Arc::new(builder.finish())
    }

    fn run(name: &str, parameters: &[(&str, Parameter)], values: &ArrayRef) -> ArrayRef {
        let keys = context_keys();
        let context = OperatorContext { purpose: "analytics", column: "n", keys: &keys };
        let made = apply(&*operator(name, parameters), values, &context).unwrap();
        let made = clean(&made).unwrap();
        assert_clean(&made);
        assert_eq!(made.len(), values.len());
        made
    }

    #[test]
    fn elements_are_worked_on_and_lists_keep_their_lengths() {
        let values = lists(&[Some(&[Some(1), None, Some(14)]), None, Some(&[]), Some(&[Some(-1)])]);
        let width = [("width", Parameter::Integer(10))];
        let binned = lists(&[Some(&[Some(0), None, Some(10)]), None, Some(&[]), Some(&[Some(-10)])]);
        assert_eq!(&run("bin", &width, &values), &binned);
        assert_eq!(&run("bin", &width, &values.slice(2, 2)), &binned.slice(2, 2));
        assert_eq!(&run("keep", &[], &values), &values);
    }

    #[test]
    fn an_operator_that_changes_the_type_changes_that_of_the_elements() {
        let values = lists(&[Some(&[Some(7), Some(7), Some(8)]), None]);
        let made = run("hmac", &[("key", Parameter::Text("analytics".into()))], &values);
        assert_eq!(made.data_type(), &list_of(DataType::Utf8));
        let first = made.as_list::<i32>().value(0);
        let first = first.as_string::<i32>();
        // The same pseudonym as that of a column that is no list.
        let keys = context_keys();
        let context = OperatorContext { purpose: "analytics", column: "n", keys: &keys };
        let plain: ArrayRef = Arc::new(Int64Array::from(vec![7, 8]));
        let plain = operator("hmac", &[("key", Parameter::Text("analytics".into()))]).apply(&plain, &context).unwrap();
        let plain = plain.as_string::<i32>();
        assert_eq!(first, &StringArray::from(vec![plain.value(0), plain.value(0), plain.value(1)]));
    }

    #[test]
    fn an_operator_that_cannot_run_on_the_elements_gives_nothing() {
        let keys = context_keys();
        let context = OperatorContext { purpose: "analytics", column: "n", keys: &keys };
        let values = lists(&[Some(&[Some(1)])]);
        let error = apply(&*operator("ip_trunc", &[]), &values, &context).unwrap_err();
        assert_eq!(error, OperatorError::WrongType("ip_trunc"));
        assert_eq!(values.as_list::<i32>().value(0).as_primitive::<Int64Type>().value(0), 1);
    }
}
