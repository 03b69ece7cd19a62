//! A plan held against what is stored: no column changes its type, neither in a table nor in a frame that waits for one.
//!
//! Found at the start and not at the first flush: what was acknowledged in between could go into no table.

use std::collections::HashSet;
use std::path::Path;
use std::sync::Arc;

use arrow_schema::Schema;
use candor_policy::plan::{Plan, TablePlan};
use candor_wire::log::entry::InForce;

use crate::error::Error;
use crate::ledger::Ledger;
use crate::log::Log;
use crate::segment::frame::{BatchHeader, Frame};
use crate::segment::read::{Account, SegmentReader};
use crate::segment::{self, FOLDER};
use crate::table::engine::Delta;
use crate::table::layout::{self, TablePath};
use crate::view::blocking;

/// Refuses a plan that could not be stored, before anything says that it is in force. One that is in force already is as it was then.
///
/// # Errors
/// As [`look`].
pub(crate) async fn at_start(data: &Path, ledger: &Ledger, log: &Log, plan: &Arc<Plan>) -> Result<(), Error> {
    let digest = |last: Option<&InForce>| last.map(|last| last.digest);
    let [catalogue, policy] = log.look(|known| [digest(known.catalogue()), digest(known.policy())]);
    if catalogue == Some(plan.catalogue().digest.into()) && policy == Some(plan.policy().digest.into()) {
        return Ok(());
    }
    look(data, plan, ledger.released_lsn().await?).await
}

/// Holds a plan against the tables of a data folder, and against frames above an lsn, which wait for a flush.
///
/// # Errors
/// `Data` that names table and column if one has another type there, or if tables or segments cannot be read.
pub(crate) async fn look(data: &Path, plan: &Arc<Plan>, released: u64) -> Result<(), Error> {
    let (data, plan) = (data.to_path_buf(), Arc::clone(plan));
    blocking(move || {
        with_tables(&data, &plan)?;
        with_frames(&data, &plan, released)
    })
    .await
}

fn with_tables(data: &Path, plan: &Plan) -> Result<(), Error> {
    let delta = Delta::shared()?;
    for planned in plan.tables() {
        let table = TablePath::new(data, &planned.purpose_name, &planned.stream_name)?;
        if let Some(schema) = delta.schema(&table)? {
            layout::missing_columns(&table.name(), &schema, &layout::file_schema(&planned.schema))?;
        }
    }
    Ok(())
}

fn with_frames(data: &Path, plan: &Plan, released: u64) -> Result<(), Error> {
    let mut known = HashSet::new();
    for path in segment::list(&data.join(FOLDER))? {
        let mut reader = SegmentReader::open(&path).map_err(|error| error.into_error(&path))?;
        while let Some(raw) = reader.next().map_err(|error| reader.failed(&error))? {
            if raw.lsn <= released {
                continue;
            }
            let Account::Batch(header, _) = raw.account()? else { continue };
            // Frames of one plan have the same columns: the first of each table is enough.
            if !is_news(&header, &mut known) {
                continue;
            }
            let Frame::Batch(frame) = raw.decode()? else { continue };
            for rows in &frame.tables {
                if let Some(planned) = plan.table_named(&rows.purpose, &rows.stream) {
                    hold(planned, &layout::file_schema(rows.rows.schema_ref()))?;
                }
            }
        }
    }
    Ok(())
}

fn hold(planned: &TablePlan, have: &Schema) -> Result<(), Error> {
    let name = format!("{}/{}", planned.purpose_name, planned.stream_name);
    layout::missing_columns(&name, have, &layout::file_schema(&planned.schema)).map(|_| ())
}

/// Whether a frame has a table that none of its plan had before.
fn is_news(header: &BatchHeader, known: &mut HashSet<[String; 4]>) -> bool {
    let mut news = false;
    for table in &header.tables {
        let key = [&header.catalogue, &header.policy, &table.purpose, &table.stream].map(Clone::clone);
        news |= known.insert(key);
    }
    news
}
