//! From a cleared batch to the bytes of a frame, and to whom it concerns.

use candor_policy::batch::Cleared;
use candor_policy::hex;

use crate::consent::{Concerned, key_of};
use crate::error::Error;
use crate::reply::Reply;
use crate::segment::codec::{Encoded, encode_batch};
use crate::segment::frame::BatchHeader;
use crate::store::BatchDigest;

/// A batch of more rows than this is encoded on a thread that may take its time.
const ROWS_INLINE: usize = 4_096;

/// Encodes a batch, off the runtime's workers if it is large; the batch comes back, since rows may have to go.
pub(super) async fn encode(cleared: Cleared, digest: BatchDigest, reply: &Reply) -> Result<(Cleared, Encoded), Error> {
    let header = header_of(&cleared, digest, reply);
    let rows: usize = cleared.tables().iter().map(|table| table.rows.num_rows()).sum();
    if rows <= ROWS_INLINE {
        let encoded = encode_tables(header, &cleared)?;
        return Ok((cleared, encoded));
    }
    let worker = tokio::task::spawn_blocking(move || encode_tables(header, &cleared).map(|encoded| (cleared, encoded)));
    worker.await.unwrap_or_else(|_| Err(Error::closed()))
}

fn encode_tables(header: BatchHeader, cleared: &Cleared) -> Result<Encoded, Error> {
    encode_batch(header, cleared.tables().iter().map(|table| (&*table.purpose_name, &*table.stream, &table.rows)))
}

fn header_of(cleared: &Cleared, digest: BatchDigest, reply: &Reply) -> BatchHeader {
    let (policy, catalogue) = cleared.digests();
    BatchHeader {
        source: cleared.source().to_owned(),
        digest: hex::encode(&digest.0),
        received_at: cleared.received_at(),
        policy: policy.to_string(),
        catalogue: catalogue.to_string(),
        counts: cleared.counts().to_vec(),
        reply: reply.clone(),
        tables: Vec::new(),
    }
}

/// The subjects that have rows, with the purposes of those rows.
pub(super) fn concerned(cleared: &Cleared) -> Vec<Concerned> {
    let mut purposes = vec![0_u16; cleared.subjects().len()];
    for table in cleared.tables() {
        for (subject, rows) in &table.runs {
            if let Some(mask) = purposes.get_mut(*subject as usize).filter(|_| !rows.is_empty()) {
                *mask |= 1 << table.purpose;
            }
        }
    }
    let subjects = cleared.subjects().iter().zip(purposes).enumerate();
    let with_rows = subjects.filter(|(_, (_, purposes))| *purposes != 0);
    with_rows
        .map(|(number, (subject, purposes))| Concerned { key: key_of(subject), subject: number as u32, purposes })
        .collect()
}
