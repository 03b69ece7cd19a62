//! From a cleared batch to the bytes of a frame, and to whom it concerns.

use std::sync::Arc;

use candor_policy::batch::Cleared;
use candor_policy::hex;
use candor_wire::receipt::Receipt;

use crate::consent::{Concerned, key_of};
use crate::error::Error;
use crate::receipts;
use crate::reply::Reply;
use crate::segment::codec::{Encoded, encode_batch};
use crate::segment::frame::{BatchHeader, FrameNonce};
use crate::signed::SignedBatch;
use crate::store::BatchDigest;

/// A batch of more rows than this is encoded on a thread that may take its time.
const ROWS_INLINE: usize = 4_096;

/// By what a batch is told from others: its digest, or whose it is and its number.
#[derive(Clone, Debug)]
pub(super) enum Identity {
    Digest(BatchDigest),
    Numbered(Arc<SignedBatch>),
}

/// A batch that is ready to be appended.
pub(super) struct Ready {
    /// It comes back, since rows may have to go.
    pub(super) cleared: Cleared,
    pub(super) encoded: Encoded,
    /// Of a numbered batch.
    pub(super) draft: Option<Receipt>,
}

/// Encodes a batch, off the runtime's workers if it is large.
pub(super) async fn encode(cleared: Cleared, identity: &Identity, reply: &Reply) -> Result<Ready, Error> {
    let header = header_of(&cleared, identity, reply);
    let rows: usize = cleared.tables().iter().map(|table| table.rows.num_rows()).sum();
    if rows <= ROWS_INLINE {
        return encode_tables(header, cleared, identity);
    }
    let identity = identity.clone();
    let worker = tokio::task::spawn_blocking(move || encode_tables(header, cleared, &identity));
    worker.await.unwrap_or_else(|_| Err(Error::closed()))
}

fn encode_tables(header: BatchHeader, cleared: Cleared, identity: &Identity) -> Result<Ready, Error> {
    // First, while the rows are near: the payload takes their place in the processor's memory.
    let draft = match identity {
        Identity::Digest(_) => None,
        Identity::Numbered(batch) => Some(receipts::draft(&cleared, batch)?),
    };
    let tables = cleared.tables().iter().map(|table| (&*table.purpose_name, &*table.stream, &table.rows));
    let mut encoded = encode_batch(header, tables)?;
    if let Some(draft) = &draft {
        encoded.reserve_for(draft);
    }
    Ok(Ready { cleared, encoded, draft })
}

fn header_of(cleared: &Cleared, identity: &Identity, reply: &Reply) -> BatchHeader {
    let (policy, catalogue) = cleared.digests();
    let (digest, nonce) = match identity {
        Identity::Digest(digest) => (hex::encode(&digest.0), None),
        Identity::Numbered(batch) => {
            let nonce = FrameNonce { id: hex::encode(&batch.nonce.id), expires: batch.nonce.expires };
            (String::new(), Some(nonce))
        }
    };
    BatchHeader {
        source: cleared.source().to_owned(),
        digest,
        received_at: cleared.received_at(),
        policy: policy.to_string(),
        catalogue: catalogue.to_string(),
        counts: cleared.counts().to_vec(),
        reply: reply.clone(),
        tables: Vec::new(),
        nonce,
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
