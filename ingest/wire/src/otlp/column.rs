//! One raw column under construction: it lags behind the rows and fills the gap with nulls when a value comes.

use std::fmt::Write;
use std::sync::Arc;

use arrow_array::builder::{
    ArrayBuilder, BooleanBuilder, FixedSizeListBuilder, Float64Builder, Int64Builder, StringBuilder,
    TimestampMicrosecondBuilder,
};
use arrow_array::{ArrayRef, ListArray, new_null_array};
use arrow_buffer::{NullBufferBuilder, OffsetBuffer};
use arrow_schema::DataType;
use candor_policy::batch::RawColumn;
use candor_policy::catalogue::FieldType;
use candor_policy::operator::{arrow_type, raw_type};

use super::value::Cell;

/// Rows for which a column has room at first; most requests are small.
const ROOM: usize = 32;

/// A column and how its values are counted.
#[derive(Debug)]
pub(super) struct Column {
    builder: Builder,
    /// One value a resource instead of one a row.
    pub(super) per_resource: bool,
}

#[derive(Debug)]
enum Builder {
    Bool(BooleanBuilder),
    I64(Int64Builder),
    F64(Float64Builder),
    Text(StringBuilder),
    Time(TimestampMicrosecondBuilder),
    Position(FixedSizeListBuilder<Float64Builder>),
    List(Box<Lists>),
}

/// Lists of one kind of element.
#[derive(Debug)]
struct Lists {
    kind: FieldType,
    elements: Builder,
    /// Where each list begins; the last one is where the next begins.
    offsets: Vec<i32>,
    nulls: NullBufferBuilder,
}

impl Column {
    /// An empty column of a declared type.
    pub(super) fn new(kind: FieldType, list: bool, per_resource: bool) -> Self {
        let builder = if list { Builder::List(Box::new(Lists::new(kind))) } else { Builder::new(kind) };
        Self { builder, per_resource }
    }

    /// Writes the value of row (or resource) number `row`, which must not lie before the last one written; `elements` are
    /// those of the row's lists.
    pub(super) fn write(&mut self, row: usize, cell: Cell<'_>, elements: &[Option<Cell<'_>>]) {
        self.fill(row);
        match (&mut self.builder, cell) {
            (Builder::List(lists), Cell::List(from, to)) => match elements.get(from as usize..to as usize) {
                Some(elements) => lists.append(elements),
                None => lists.append_nulls(1),
            },
            (builder, cell) => builder.append(cell),
        }
    }

    /// The finished column of `rows` rows and `resources` resources.
    pub(super) fn finish(mut self, rows: usize, resources: usize) -> RawColumn {
        if self.per_resource {
            self.fill(resources);
            RawColumn::PerResource(self.builder.finish())
        } else {
            self.fill(rows);
            RawColumn::PerRow(self.builder.finish())
        }
    }

    fn fill(&mut self, rows: usize) {
        let missing = rows.saturating_sub(self.builder.len());
        if missing > 0 {
            self.builder.nulls(missing);
        }
    }
}

impl Builder {
    fn new(kind: FieldType) -> Self {
        match kind {
            FieldType::Bool => Self::Bool(BooleanBuilder::with_capacity(ROOM)),
            FieldType::I64 => Self::I64(Int64Builder::with_capacity(ROOM)),
            FieldType::F64 => Self::F64(Float64Builder::with_capacity(ROOM)),
            FieldType::String => Self::Text(StringBuilder::with_capacity(ROOM, ROOM * 16)),
            FieldType::Timestamp => Self::Time(time_builder()),
            FieldType::Position => Self::Position(position_builder()),
        }
    }

    fn append(&mut self, cell: Cell<'_>) {
        match (self, cell) {
            (Self::Bool(builder), Cell::Bool(value)) => builder.append_value(value),
            (Self::I64(builder), Cell::I64(value)) => builder.append_value(value),
            (Self::F64(builder), Cell::F64(value)) => builder.append_value(value),
            (Self::Text(builder), Cell::Text(value)) => builder.append_value(value),
            (Self::Text(builder), Cell::Decimal(value)) => builder.append_value(value.to_string()),
            (Self::Text(builder), Cell::Id(bytes)) => append_hex(builder, bytes),
            (Self::Time(builder), Cell::Time(value)) => builder.append_value(value),
            (Self::Position(builder), Cell::Position(lat, lon)) if is_position(lat, lon) => {
                builder.values().append_slice(&[lat, lon]);
                builder.append(true);
            }
            // Half a position is none. Other cells are made by the column's type; should that ever fail, a null keeps the
            // columns aligned.
            (builder, _) => builder.nulls(1),
        }
    }

    fn len(&self) -> usize {
        match self {
            Self::Bool(builder) => builder.len(),
            Self::I64(builder) => builder.len(),
            Self::F64(builder) => builder.len(),
            Self::Text(builder) => builder.len(),
            Self::Time(builder) => builder.len(),
            Self::Position(builder) => builder.len(),
            Self::List(lists) => lists.offsets.len() - 1,
        }
    }

    fn nulls(&mut self, count: usize) {
        match self {
            Self::Bool(builder) => builder.append_nulls(count),
            Self::I64(builder) => builder.append_nulls(count),
            Self::F64(builder) => builder.append_nulls(count),
            Self::Text(builder) => builder.append_nulls(count),
            Self::Time(builder) => builder.append_nulls(count),
            Self::Position(builder) => {
                for _ in 0..count {
                    builder.values().append_slice(&[0.0; 2]);
                    builder.append(false);
                }
            }
            Self::List(lists) => lists.append_nulls(count),
        }
    }

    fn finish(&mut self) -> ArrayRef {
        match self {
            Self::Bool(builder) => Arc::new(builder.finish()),
            Self::I64(builder) => Arc::new(builder.finish()),
            Self::F64(builder) => Arc::new(builder.finish()),
            Self::Text(builder) => Arc::new(builder.finish()),
            Self::Time(builder) => Arc::new(builder.finish()),
            Self::Position(builder) => Arc::new(builder.finish()),
            Self::List(lists) => lists.finish(),
        }
    }
}

impl Lists {
    fn new(kind: FieldType) -> Self {
        Self { kind, elements: Builder::new(kind), offsets: vec![0], nulls: NullBufferBuilder::new(ROOM) }
    }

    fn append(&mut self, elements: &[Option<Cell<'_>>]) {
        let Ok(end) = i32::try_from(self.elements.len() + elements.len()) else { return self.append_nulls(1) };
        for element in elements {
            match element {
                Some(cell) => self.elements.append(*cell),
                None => self.elements.nulls(1),
            }
        }
        self.offsets.push(end);
        self.nulls.append_non_null();
    }

    fn append_nulls(&mut self, count: usize) {
        let end = self.offsets.last().copied().unwrap_or(0);
        self.offsets.resize(self.offsets.len() + count, end);
        self.nulls.append_n_nulls(count);
    }

    fn finish(&mut self) -> ArrayRef {
        let rows = self.offsets.len() - 1;
        let offsets = OffsetBuffer::new(std::mem::replace(&mut self.offsets, vec![0]).into());
        let data_type = raw_type(self.kind, true);
        let DataType::List(element) = &data_type else { return new_null_array(&data_type, rows) };
        let lists = ListArray::try_new(Arc::clone(element), offsets, self.elements.finish(), self.nulls.finish());
        // The parts are made for each other; should that ever fail, nulls keep the columns aligned.
        lists.map_or_else(|_| new_null_array(&data_type, rows), |lists| Arc::new(lists))
    }
}

fn append_hex(builder: &mut StringBuilder, bytes: &[u8]) {
    for byte in bytes {
        // Text takes any text: this cannot fail.
        let _ = write!(builder, "{byte:02x}");
    }
    builder.append_value("");
}

/// Whether both halves have come and lie on the globe.
fn is_position(lat: f64, lon: f64) -> bool {
    (-90.0..=90.0).contains(&lat) && (-180.0..=180.0).contains(&lon)
}

fn position_builder() -> FixedSizeListBuilder<Float64Builder> {
    let builder = FixedSizeListBuilder::new(Float64Builder::with_capacity(ROOM * 2), 2);
    match arrow_type(FieldType::Position) {
        DataType::FixedSizeList(degrees, _) => builder.with_field(degrees),
        _ => builder,
    }
}

/// Timestamps in UTC, as tables have them.
pub(super) fn time_builder() -> TimestampMicrosecondBuilder {
    TimestampMicrosecondBuilder::with_capacity(ROOM).with_timezone("UTC")
}

#[cfg(test)]
mod tests {
    use arrow_array::cast::AsArray;

    use super::*;

    const KINDS: [FieldType; 6] =
        [FieldType::Bool, FieldType::I64, FieldType::F64, FieldType::String, FieldType::Timestamp, FieldType::Position];

    #[test]
    fn gaps_are_nulls_and_types_are_the_declared_ones() {
        for (kind, list) in KINDS.into_iter().flat_map(|kind| [(kind, false), (kind, true)]) {
            let mut column = Column::new(kind, list, false);
            column.write(2, Cell::Text("x"), &[]);
            let RawColumn::PerRow(array) = column.finish(5, 1) else { panic!("per row") };
            assert_eq!(*array.data_type(), raw_type(kind, list));
            let is_text = kind == FieldType::String && !list;
            assert_eq!((array.len(), array.null_count()), (5, if is_text { 4 } else { 5 }));
        }
        let mut column = Column::new(FieldType::String, false, true);
        column.write(0, Cell::Decimal(-12), &[]);
        let RawColumn::PerResource(array) = column.finish(5, 2) else { panic!("per resource") };
        assert_eq!(array.as_string::<i32>().iter().collect::<Vec<_>>(), [Some("-12"), None]);
    }

    #[test]
    fn lists_keep_their_elements_apart() {
        let elements = [Some(Cell::Text("a")), None, Some(Cell::Text("c")), Some(Cell::Text("d"))];
        let mut column = Column::new(FieldType::String, true, false);
        column.write(0, Cell::List(0, 2), &elements);
        column.write(2, Cell::List(2, 2), &elements);
        column.write(3, Cell::List(2, 4), &elements);
        let RawColumn::PerRow(array) = column.finish(5, 1) else { panic!("per row") };
        let lists: Vec<_> = array
            .as_list::<i32>()
            .iter()
            .map(|list| list.map(|list| list.as_string::<i32>().iter().map(|e| e.map(str::to_owned)).collect()))
            .collect::<Vec<Option<Vec<Option<String>>>>>();
        let text = |text: &str| Some(text.to_owned());
        let expected = [Some(vec![text("a"), None]), None, Some(vec![]), Some(vec![text("c"), text("d")]), None];
        assert_eq!(lists, expected);
    }

    #[test]
    fn a_position_is_on_the_globe_or_null() {
        let good = [(90.0, -180.0), (-90.0, 180.0), (0.0, 0.0)];
        let bad = [(f64::NAN, 0.0), (0.0, f64::NAN), (90.1, 0.0), (0.0, 180.1), (f64::INFINITY, 0.0), (0.0, -1e300)];
        let mut column = Column::new(FieldType::Position, false, false);
        for (row, (lat, lon)) in good.into_iter().chain(bad).enumerate() {
            column.write(row, Cell::Position(lat, lon), &[]);
        }
        let RawColumn::PerRow(array) = column.finish(9, 1) else { panic!("per row") };
        let valid: Vec<bool> = (0..9).map(|row| array.is_valid(row)).collect();
        assert_eq!(valid, [true, true, true, false, false, false, false, false, false]);
        let first = array.as_fixed_size_list().value(0);
        assert_eq!(first.as_primitive::<arrow_array::types::Float64Type>().values().to_vec(), [90.0, -180.0]);
    }
}
