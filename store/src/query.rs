//! SQL over all tables, read-only: schema = purpose, table = stream, sealed and pending rows together.

use std::sync::Arc;

use arrow_array::{ArrayRef, Date32Array, RecordBatch, new_null_array};
use arrow_schema::{ArrowError, Schema, SchemaRef};
use async_trait::async_trait;
use datafusion::catalog::{CatalogProvider, MemoryCatalogProvider, MemorySchemaProvider, Session, TableProvider};
use datafusion::common::{DataFusionError, Result as PlanResult, ScalarValue, exec_err};
use datafusion::datasource::TableType;
use datafusion::datasource::listing::PartitionedFile;
use datafusion::datasource::memory::MemorySourceConfig;
use datafusion::datasource::physical_plan::{FileGroup, FileScanConfigBuilder, ParquetSource};
use datafusion::datasource::source::DataSourceExec;
use datafusion::datasource::table_schema::TableSchema;
use datafusion::execution::context::SQLOptions;
use datafusion::execution::disk_manager::{DiskManagerBuilder, DiskManagerMode};
use datafusion::execution::object_store::ObjectStoreUrl;
use datafusion::execution::runtime_env::RuntimeEnvBuilder;
use datafusion::logical_expr::Expr;
use datafusion::physical_plan::ExecutionPlan;
use datafusion::physical_plan::empty::EmptyExec;
use datafusion::physical_plan::union::UnionExec;
use datafusion::prelude::{SessionConfig, SessionContext};
use futures::TryStreamExt;

use crate::error::{Error, Kind};
use crate::table::layout::{self, TablePath};
use crate::view::TableView;
use crate::work::Work;

/// Memory of one query, and most bytes of its answer.
const MEMORY: usize = 1 << 30;
/// How `DataFusion` begins to say with which of its features it would have to be built.
const HINT: &str = "Hint: Please try with";
/// Said of `SUBSTR` and `SUBSTRING`, which SQL has a syntax of its own for, so that nothing looks for a function of the name.
const NO_SUBSTRING: &str =
    "there is no SUBSTR or SUBSTRING here: SPLIT_PART, REGEXP_REPLACE and REGEXP_MATCH take parts of a text";
/// The catalog that holds the purposes.
const CATALOG: &str = "candor";

/// Runs one query.
///
/// # Errors
/// `Request` if the SQL is wrong, would change something, or asks for more than fits memory.
pub(crate) async fn run(tables: &[&TableView], sql: &str, work: &Work) -> Result<Vec<RecordBatch>, Error> {
    work.begin(0);
    let context = context(tables).map_err(refused)?;
    let read_only = SQLOptions::new().with_allow_ddl(false).with_allow_dml(false).with_allow_statements(false);
    let frame = context.sql_with_options(sql, read_only).await.map_err(refused)?;
    let schema: SchemaRef = Arc::new(frame.schema().as_arrow().clone());
    let mut stream = frame.execute_stream().await.map_err(refused)?;
    let mut answer = Vec::new();
    let mut bytes = 0;
    while let Some(batch) = stream.try_next().await.map_err(refused)? {
        bytes += batch.get_array_memory_size();
        work.advance(batch.num_rows() as u64);
        if bytes > MEMORY {
            return Err(refused("the answer does not fit memory"));
        }
        answer.push(batch);
    }
    if answer.is_empty() {
        // So that an answer without rows still names its columns.
        answer.push(RecordBatch::new_empty(schema));
    }
    Ok(answer)
}

fn context(tables: &[&TableView]) -> PlanResult<SessionContext> {
    let config = SessionConfig::new()
        .with_create_default_catalog_and_schema(false)
        .with_default_catalog_and_schema(CATALOG, "public")
        .with_information_schema(true)
        .with_parquet_bloom_filter_pruning(true);
    // A spill would put rows into a folder that no erasure knows.
    let disk = DiskManagerBuilder::default().with_mode(DiskManagerMode::Disabled);
    let runtime =
        RuntimeEnvBuilder::new().with_memory_limit(MEMORY, 1.0).with_disk_manager_builder(disk).build_arc()?;
    let context = SessionContext::new_with_config_rt(config, runtime);

    let catalog = Arc::new(MemoryCatalogProvider::new());
    for table in tables {
        let purpose = &table.path.purpose;
        if catalog.schema(purpose).is_none() {
            catalog.register_schema(purpose, Arc::new(MemorySchemaProvider::new()))?;
        }
        if let Some(schema) = catalog.schema(purpose) {
            schema.register_table(table.path.stream.clone(), Arc::new(SqlTable::new(table)?))?;
        }
    }
    context.register_catalog(CATALOG, catalog);
    Ok(context)
}

/// One table as `DataFusion` sees it: file columns, then `received_date`.
struct SqlTable {
    columns: TableSchema,
    files: Vec<PartitionedFile>,
    pending: Vec<RecordBatch>,
}

impl SqlTable {
    fn new(table: &TableView) -> PlanResult<Self> {
        let mut fields = table.schema.fields().to_vec();
        let date = fields.iter().position(|field| field.name() == layout::RECEIVED_DATE);
        let partition = date.map(|at| fields.remove(at));
        let columns = TableSchema::builder(Arc::new(Schema::new(fields)))
            .with_table_partition_cols(partition.into_iter().collect::<Vec<_>>())
            .build();
        let files = table.files.iter().map(|file| {
            let mut found = PartitionedFile::new(String::new(), file.size);
            found.object_meta.location = absolute(&table.path, &file.path)?;
            Ok(found.with_partition_values(vec![ScalarValue::Date32(Some(file.received_date))]))
        });
        let files = files.collect::<PlanResult<_>>()?;
        let aligned =
            |pending: &crate::view::PendingRows| align(&pending.rows, columns.table_schema(), pending.received_date);
        let pending = table.pending.iter().map(aligned).collect::<Result<_, _>>()?;
        Ok(Self { columns, files, pending })
    }

    fn scan_files(
        &self,
        state: &dyn Session,
        projection: Option<&Vec<usize>>,
        limit: Option<usize>,
    ) -> PlanResult<Arc<dyn ExecutionPlan>> {
        let options = state.table_options().parquet.clone();
        // The filter of a query comes here when its plan is optimised.
        let source = ParquetSource::new(self.columns.clone())
            .with_table_parquet_options(options)
            .with_pushdown_filters(true)
            .with_bloom_filter_on_read(true);
        let partitions = state.config().target_partitions().max(1);
        let config = FileScanConfigBuilder::new(ObjectStoreUrl::local_filesystem(), Arc::new(source))
            .with_file_groups(FileGroup::new(self.files.clone()).split_files(partitions))
            .with_projection_indices(projection.cloned())?
            .with_limit(limit)
            .build();
        Ok(DataSourceExec::from_data_source(config))
    }
}

impl std::fmt::Debug for SqlTable {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "SqlTable({} files, {} pending frames)", self.files.len(), self.pending.len())
    }
}

#[async_trait]
impl TableProvider for SqlTable {
    fn schema(&self) -> SchemaRef {
        Arc::clone(self.columns.table_schema())
    }

    fn table_type(&self) -> TableType {
        TableType::Base
    }

    async fn scan(
        &self,
        state: &dyn Session,
        projection: Option<&Vec<usize>>,
        _: &[Expr],
        limit: Option<usize>,
    ) -> PlanResult<Arc<dyn ExecutionPlan>> {
        let mut inputs: Vec<Arc<dyn ExecutionPlan>> = Vec::new();
        if !self.files.is_empty() {
            inputs.push(self.scan_files(state, projection, limit)?);
        }
        if !self.pending.is_empty() {
            let pending = std::slice::from_ref(&self.pending);
            inputs.push(MemorySourceConfig::try_new_exec(pending, self.schema(), projection.cloned())?);
        }
        match inputs.len() {
            0 => {
                let schema = match projection {
                    Some(columns) => Arc::new(self.columns.table_schema().project(columns)?),
                    None => self.schema(),
                };
                Ok(Arc::new(EmptyExec::new(schema)))
            }
            1 => Ok(inputs.remove(0)),
            _ => UnionExec::try_new(inputs),
        }
    }
}

fn absolute(table: &TablePath, file: &str) -> PlanResult<object_store::path::Path> {
    let path = table.folder.join(file);
    match object_store::path::Path::from_absolute_path(&path) {
        Ok(path) => Ok(path),
        Err(why) => exec_err!("{} cannot be read: {why}", table.file_name(file)),
    }
}

/// Rows in the columns of the table: what they lack is null, their date of receipt is the frame's.
fn align(rows: &RecordBatch, schema: &SchemaRef, received_date: i32) -> Result<RecordBatch, ArrowError> {
    let columns = schema
        .fields()
        .iter()
        .map(|field| -> ArrayRef {
            if field.name() == layout::RECEIVED_DATE {
                return Arc::new(Date32Array::from_value(received_date, rows.num_rows()));
            }
            match rows.column_by_name(field.name()) {
                Some(values) => Arc::clone(values),
                None => new_null_array(field.data_type(), rows.num_rows()),
            }
        })
        .collect();
    RecordBatch::try_new(Arc::clone(schema), columns)
}

fn refused(why: impl Into<Refusal>) -> Error {
    let why: Refusal = why.into();
    let mend = "tables are named purpose.\"stream\" (see SHOW TABLES, SHOW FUNCTIONS); only queries are allowed; aggregate or use LIMIT";
    Error::new(why.kind, "the query was not answered", why.text, mend)
}

/// Why a query was not answered, and whether asking otherwise helps.
struct Refusal {
    kind: Kind,
    text: String,
}

impl From<&str> for Refusal {
    fn from(text: &str) -> Self {
        Self { kind: Kind::Request, text: text.to_owned() }
    }
}

impl From<DataFusionError> for Refusal {
    fn from(error: DataFusionError) -> Self {
        let kind = match error.find_root() {
            DataFusionError::ObjectStore(_) | DataFusionError::IoError(_) | DataFusionError::ParquetError(_) => {
                Kind::Data
            }
            _ => Kind::Request,
        };
        // A backtrace is for programmers, and so is how to build another query engine.
        let text = error.strip_backtrace();
        let text = if text.contains("Substring could not be planned") { NO_SUBSTRING } else { &text };
        let text = text.split_once(HINT).map_or(text, |(text, _)| text);
        Self { kind, text: text.trim_end().to_owned() }
    }
}
