//! `candor audit log witness`: cosigns checkpoints of logs that never take anything back (c2sp.org/tlog-witness).

use std::io::Read;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError};

use axum::body::Bytes;
use axum::extract::{DefaultBodyLimit, State};
use axum::routing::{Router, post};
use candor_policy::hex;
use candor_store::clock::{Clock, SystemClock};
use candor_wire::log::checkpoint::{Checkpoint, SignedCheckpoint};
use candor_wire::log::note::{Algorithm, MOST_BYTES, Signer, VerifierKey};
use candor_wire::log::witness::{AddCheckpoint, PATH, Refusal, SIZE_TYPE};
use http::header::CONTENT_TYPE;
use http::{HeaderName, StatusCode};
use tokio::net::TcpListener;

use crate::args::Witness;
use crate::exit::{Exit, Failure};
use crate::kept::Kept;
use crate::render::tell;

type Answer = (StatusCode, [(HeaderName, &'static str); 1], String);

/// What a witness knows.
#[derive(Debug)]
struct Watch {
    signer: Signer,
    logs: Vec<VerifierKey>,
    /// Held from reading what was cosigned last until what is cosigned now is durable.
    kept: Mutex<Kept>,
}

pub(super) async fn run(args: &Witness) -> Result<Exit, Failure> {
    let logs = args.log.iter().map(|key| key.parse()).collect::<Result<_, _>>();
    let logs = logs.map_err(|error| Failure::usage(format!("the key of a log cannot be used: {error}")))?;
    let signer = Signer::new(&args.name, Algorithm::Cosignature, &seed(&args.key)?)
        .map_err(|error| Failure::usage(format!("the witness cannot sign: {error}")))?;
    let key = signer.verifier().to_string();
    let watch = Arc::new(Watch { signer, logs, kept: Mutex::new(Kept::in_folder(args.state.clone())) });
    let failed =
        |error: std::io::Error| Failure::new(Exit::Failed, format!("cannot listen on {}: {error}", args.listen));
    let listener = TcpListener::bind(args.listen).await.map_err(failed)?;
    let address = listener.local_addr().map_err(failed)?;
    let router = Router::new().route(PATH, post(add)).layer(DefaultBodyLimit::max(2 * MOST_BYTES)).with_state(watch);
    tell(&format!("candor: witness on http://{address}, with the key {key}"));
    axum::serve(listener, router).await.map_err(failed)?;
    Ok(Exit::Done)
}

async fn add(State(watch): State<Arc<Watch>>, body: Bytes) -> Answer {
    let judged = tokio::task::spawn_blocking(move || watch.add(&body)).await;
    judged.unwrap_or_else(|_| unavailable())
}

impl Watch {
    fn add(&self, body: &[u8]) -> Answer {
        let request = match AddCheckpoint::parse(body) {
            Ok(request) => request,
            Err(refusal) => return refuse(refusal),
        };
        let origin = request.origin().unwrap_or_default();
        let keys: Vec<VerifierKey> = self.logs.iter().filter(|key| key.name() == origin).cloned().collect();
        let kept = self.kept.lock().unwrap_or_else(PoisonError::into_inner);
        let Ok(last) = last(&kept, &keys) else { return unavailable() };
        match request.judge(&keys, last.as_ref()) {
            Err(refusal) => refuse(refusal),
            Ok(checkpoint) => self.cosign(&kept, &checkpoint),
        }
    }

    /// Durable first, then said.
    fn cosign(&self, kept: &Kept, checkpoint: &SignedCheckpoint) -> Answer {
        if kept.keep(checkpoint).is_err() {
            return unavailable();
        }
        let now = u64::try_from(SystemClock.now() / 1_000_000).unwrap_or(0);
        let line = self.signer.sign(checkpoint.note.text(), now).to_string();
        (StatusCode::OK, [(CONTENT_TYPE, "text/plain; charset=utf-8")], line)
    }
}

/// The largest checkpoint of a log that was cosigned, whichever of its keys signed it.
fn last(kept: &Kept, keys: &[VerifierKey]) -> Result<Option<Checkpoint>, Failure> {
    let mut largest: Option<Checkpoint> = None;
    for key in keys {
        let of_key = kept.last(key)?.map(|signed| signed.checkpoint);
        largest = largest.into_iter().chain(of_key).max_by_key(|checkpoint| checkpoint.size);
    }
    Ok(largest)
}

fn refuse(refusal: Refusal) -> Answer {
    let status = StatusCode::from_u16(refusal.status()).unwrap_or(StatusCode::BAD_REQUEST);
    match refusal {
        Refusal::Conflict(size) => (status, [(CONTENT_TYPE, SIZE_TYPE)], format!("{size}\n")),
        other => (status, [(CONTENT_TYPE, "text/plain; charset=utf-8")], format!("{other}\n")),
    }
}

fn unavailable() -> Answer {
    let why = "what was cosigned last cannot be read or written\n".to_owned();
    (StatusCode::SERVICE_UNAVAILABLE, [(CONTENT_TYPE, "text/plain; charset=utf-8")], why)
}

/// The seed of a key file.
fn seed(path: &Path) -> Result<[u8; 32], Failure> {
    let failed = |why: &dyn std::fmt::Display| Failure::configuration(format!("the key {}: {why}", path.display()));
    let file = std::fs::File::open(path).map_err(|error| failed(&error))?;
    let mode = file.metadata().map_err(|error| failed(&error))?.permissions().mode();
    if mode & 0o077 != 0 {
        return Err(
            failed(&"others than its owner can read it").mend("chmod 600 on it, and make another if others had it")
        );
    }
    let mut text = String::new();
    file.take(100).read_to_string(&mut text).map_err(|error| failed(&error))?;
    let bytes = hex::decode(text.trim()).and_then(|bytes| bytes.try_into().ok());
    bytes.ok_or_else(|| failed(&"it is not 64 lower-case hex digits").mend("openssl rand -hex 32 makes one"))
}
