//! What a data folder needs before the store opens: folders and documents.

use std::path::Path;

use candor_policy::plan::Plan;

use crate::error::Error;
use crate::ledger::Ledger;
use crate::storage;

/// Makes a folder of the store, durable.
pub(super) fn make_folder(folder: &Path) -> Result<(), Error> {
    storage::make_folder(folder)
        .map_err(|error| Error::write(format!("cannot make the folder {}", folder.display()), &error))
}

/// Keeps what rows will point to: a row names the digest of the policy and the catalogue that it was cleared under.
pub(super) async fn keep_documents(data: &Path, ledger: &Ledger, plan: &Plan, now: i64) -> Result<(), Error> {
    let (policy, catalogue) = (plan.policy(), plan.catalogue());
    let documents =
        [("policy", &policy.digest, &policy.canonical), ("catalogue", &catalogue.digest, &catalogue.canonical)];
    for (kind, digest, canonical) in documents {
        let path = data.join("documents").join(format!("{digest}.json"));
        if !path.exists() {
            storage::write_file(&path, canonical.as_bytes(), 0o644)
                .map_err(|error| Error::write(format!("cannot keep {}", path.display()), &error))?;
        }
        ledger.keep_document(kind, &digest.to_string(), canonical, now).await?;
    }
    Ok(())
}

/// Sets fail points from `FAILPOINTS`, as `name=action;name=action`.
#[cfg(feature = "failpoints")]
pub(crate) fn arm_failpoints() {
    let text = std::env::var("FAILPOINTS").unwrap_or_default();
    for (name, action) in text.split(';').filter_map(|point| point.split_once('=')) {
        if let Err(error) = fail::cfg(name.trim(), action.trim()) {
            tracing::error!(name, error, "a fail point cannot be set");
        }
    }
}
