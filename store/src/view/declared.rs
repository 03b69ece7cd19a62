//! Tables that are declared and that no row has made yet: queries know them all the same.

use std::sync::Arc;

use super::{TableView, View};
use crate::error::Error;
use crate::held;
use crate::table::layout::{self, TablePath};

impl View {
    /// Tables that policy and catalogue declare and that no row has made yet.
    pub(super) async fn declared(&self) -> Result<Vec<TableView>, Error> {
        let ledger = &self.ledger;
        let documents = (ledger.newest_document("policy").await?, ledger.newest_document("catalogue").await?);
        let (Some(policy), Some(catalogue)) = documents else { return Ok(Vec::new()) };
        // Two documents that were never in force together may not fit: then nothing more is known.
        let Ok(plan) = held::compile(&policy, &catalogue) else { return Ok(Vec::new()) };
        let mut declared = Vec::new();
        for table in plan.tables() {
            let path = TablePath::new(&self.data, &table.purpose_name, &table.stream_name)?;
            if !self.tables.iter().any(|known| known.path == path) {
                let schema = Arc::new(layout::table_schema(&layout::file_schema(&table.schema)));
                declared.push(TableView { name: path.name(), path, schema, files: Vec::new(), pending: Vec::new() });
            }
        }
        Ok(declared)
    }
}
