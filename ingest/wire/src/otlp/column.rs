//! One raw column under construction: it lags behind the rows and fills the gap with nulls when a value comes.

use std::sync::Arc;

use arrow_array::ArrayRef;
use arrow_array::builder::{
    ArrayBuilder, BooleanBuilder, FixedSizeListBuilder, Float64Builder, Int64Builder, StringBuilder,
    TimestampMicrosecondBuilder,
};
use arrow_schema::DataType;
use candor_policy::batch::RawColumn;
use candor_policy::catalogue::FieldType;
use candor_policy::operator::arrow_type;

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
}

impl Column {
    /// An empty column of a declared type.
    pub(super) fn new(kind: FieldType, per_resource: bool) -> Self {
        let builder = match kind {
            FieldType::Bool => Builder::Bool(BooleanBuilder::with_capacity(ROOM)),
            FieldType::I64 => Builder::I64(Int64Builder::with_capacity(ROOM)),
            FieldType::F64 => Builder::F64(Float64Builder::with_capacity(ROOM)),
            FieldType::String => Builder::Text(StringBuilder::with_capacity(ROOM, ROOM * 16)),
            FieldType::Timestamp => Builder::Time(time_builder()),
            FieldType::Position => Builder::Position(position_builder()),
        };
        Self { builder, per_resource }
    }

    /// Writes the value of row (or resource) number `row`, which must not lie before the last one written.
    pub(super) fn write(&mut self, row: usize, cell: Cell<'_>) {
        self.fill(row);
        match (&mut self.builder, cell) {
            (Builder::Bool(builder), Cell::Bool(value)) => builder.append_value(value),
            (Builder::I64(builder), Cell::I64(value)) => builder.append_value(value),
            (Builder::F64(builder), Cell::F64(value)) => builder.append_value(value),
            (Builder::Text(builder), Cell::Text(value)) => builder.append_value(value),
            (Builder::Text(builder), Cell::Decimal(value)) => builder.append_value(value.to_string()),
            (Builder::Time(builder), Cell::Time(value)) => builder.append_value(value),
            (Builder::Position(builder), Cell::Position(lat, lon)) => {
                builder.values().append_slice(&[lat, lon]);
                builder.append(true);
            }
            // Cells are made by the column's type; should that ever fail, a null keeps the columns aligned.
            (builder, _) => builder.nulls(1),
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
    fn len(&self) -> usize {
        match self {
            Self::Bool(builder) => builder.len(),
            Self::I64(builder) => builder.len(),
            Self::F64(builder) => builder.len(),
            Self::Text(builder) => builder.len(),
            Self::Time(builder) => builder.len(),
            Self::Position(builder) => builder.len(),
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
        }
    }
}

fn position_builder() -> FixedSizeListBuilder<Float64Builder> {
    let DataType::FixedSizeList(element, _) = arrow_type(FieldType::Position) else {
        return FixedSizeListBuilder::new(Float64Builder::new(), 2);
    };
    FixedSizeListBuilder::new(Float64Builder::with_capacity(ROOM * 2), 2).with_field(element)
}

/// Timestamps in UTC, as tables have them.
pub(super) fn time_builder() -> TimestampMicrosecondBuilder {
    TimestampMicrosecondBuilder::with_capacity(ROOM).with_timezone("UTC")
}

#[cfg(test)]
mod tests {
    use arrow_array::cast::AsArray;

    use super::*;

    #[test]
    fn gaps_are_nulls_and_types_are_the_declared_ones() {
        let kinds = [FieldType::Bool, FieldType::I64, FieldType::F64, FieldType::String, FieldType::Timestamp];
        for kind in kinds {
            let mut column = Column::new(kind, false);
            column.write(2, Cell::Text("x"));
            let RawColumn::PerRow(array) = column.finish(5, 1) else { panic!("per row") };
            assert_eq!(*array.data_type(), candor_policy::operator::arrow_type(kind));
            assert_eq!((array.len(), array.null_count()), (5, if kind == FieldType::String { 4 } else { 5 }));
        }
        let mut column = Column::new(FieldType::String, true);
        column.write(0, Cell::Decimal(-12));
        let RawColumn::PerResource(array) = column.finish(5, 2) else { panic!("per resource") };
        assert_eq!(array.as_string::<i32>().iter().collect::<Vec<_>>(), [Some("-12"), None]);
    }
}
