//! A backup beside the work of a running store.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::Ordering;

use tokio::runtime::Handle;
use tokio::sync::oneshot;

use super::Store;
use crate::backup::{Cut, Made, prepare};
use crate::error::{Error, Kind};
use crate::queue::Job;
use crate::shared::Shared;
use crate::view::blocking;
use crate::work::Work;

/// Lets files be removed again, however the backup ends.
struct Copying(Arc<Shared>);

impl Drop for Copying {
    fn drop(&mut self) {
        self.0.is_copying.store(false, Ordering::Release);
    }
}

impl Store {
    /// Makes a backup called `name` in the folder that the settings have for them: everything that was acknowledged before is
    /// in it. Requests are taken meanwhile; sealing waits for the first part of it.
    ///
    /// # Errors
    /// `Request` if the settings have no folder for backups, or the name is none; `Retry` while another one is made.
    pub async fn backup(&self, name: &str, work: Arc<Work>) -> Result<Made, Error> {
        let to = self.place_of(name)?;
        let shared = Arc::clone(&self.shared);
        if shared.is_copying.swap(true, Ordering::AcqRel) {
            return Err(Error::new(Kind::Retry, "no backup is made", "another one is being made", "wait for it"));
        }
        let copying = Copying(Arc::clone(&shared));
        let (answer, told) = oneshot::channel();
        shared.queue.push(Job::Rotate(answer))?;
        let up_to = told.await.map_err(|_| Error::closed())?;
        let (ledger, runtime) = (self.ledger.clone(), Handle::current());
        blocking(move || {
            let _copying = copying;
            let making = prepare(&shared.settings.data, &to)?;
            let turn = shared.turn.take();
            let cut = Cut {
                data: shared.settings.data.clone(),
                key_ring: shared.settings.key_ring.clone(),
                made_at: shared.clock.now(),
                ledger,
                segments: Some(shared.closed.paths_up_to(up_to)),
            };
            let begun = cut.take(making, &runtime)?;
            drop(turn);
            begun.finish(&work)
        })
        .await
    }

    /// One plain name below the folder: whoever asks over the network names no path of this machine.
    fn place_of(&self, name: &str) -> Result<PathBuf, Error> {
        let refused = |why: &str, mend| Error::new(Kind::Request, "no backup is made", why, mend);
        let Some(folder) = &self.shared.settings.backups else {
            let mend = "set store.backups to a folder, or stop the service and use --data";
            return Err(refused("the service has no folder for backups", mend));
        };
        let plain = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b'-' | b'.');
        if name.is_empty() || name.len() > 200 || name.starts_with('.') || !name.bytes().all(plain) {
            return Err(refused("its name is none", "use letters, digits, '-', '_' and '.', and no path"));
        }
        Ok(Path::new(folder).join(name))
    }
}
