//! Local files as an object store whose puts survive a power cut; `object_store` itself syncs nothing.

use std::fs::{File, OpenOptions};
use std::io::{self, Write};
use std::ops::Range;
use std::os::unix::fs::OpenOptionsExt;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use async_trait::async_trait;
use bytes::Bytes;
use futures::stream::BoxStream;
use object_store::local::LocalFileSystem;
use object_store::path::Path;
use object_store::{
    CopyOptions, Error, GetOptions, GetResult, ListResult, MultipartUpload, ObjectMeta, ObjectStore, PutMode,
    PutMultipartOptions, PutOptions, PutPayload, PutResult, Result, UploadPart,
};

use crate::error::is_full;
use crate::storage;

/// Reads like [`LocalFileSystem`]; a put that returned is durable, name included.
#[derive(Clone, Debug)]
pub(crate) struct SyncedFiles {
    files: LocalFileSystem,
    failed: Arc<AtomicBool>,
}

impl SyncedFiles {
    /// Over absolute paths.
    pub(crate) fn new() -> Self {
        Self { files: LocalFileSystem::new(), failed: Arc::new(AtomicBool::new(false)) }
    }

    /// Set for good once a sync failed: the page cache may lie from then on, so the process must end.
    pub(crate) fn sync_failed(&self) -> bool {
        self.failed.load(Ordering::Acquire)
    }

    /// Marks the failure before anybody can retry.
    fn synced(&self, outcome: io::Result<()>) -> io::Result<()> {
        if outcome.is_err() {
            self.failed.store(true, Ordering::Release);
        }
        outcome
    }

    /// As [`Self::synced`], for bytes that nothing names yet: a full disk takes them away and leaves no doubt.
    fn synced_beside(&self, outcome: io::Result<()>) -> io::Result<()> {
        if outcome.as_ref().is_err_and(is_full) { outcome } else { self.synced(outcome) }
    }

    fn put_file(&self, path: &std::path::Path, payload: &PutPayload, mode: &PutMode) -> io::Result<()> {
        if self.sync_failed() {
            return Err(io::Error::other("an earlier sync failed"));
        }
        let folder = storage::parent(path);
        match storage::make_folder(&folder) {
            Err(why) if storage::is_failed_sync(&why) => self.synced(Err(why))?,
            outcome => outcome?,
        }
        let beside = unfinished(path);
        let outcome = self.write_beside(&beside, payload).and_then(|()| match mode {
            // A link fails where the name is taken: of two writers of one version exactly one wins.
            PutMode::Create => std::fs::hard_link(&beside, path),
            _ => std::fs::rename(&beside, path),
        });
        // The rename has taken the name with it; after a link it is still there.
        let _ = std::fs::remove_file(&beside);
        outcome?;
        self.synced(storage::sync_folder(&folder))
    }

    fn write_beside(&self, beside: &std::path::Path, payload: &PutPayload) -> io::Result<()> {
        let mut file: File = OpenOptions::new().write(true).create_new(true).mode(0o600).open(beside)?;
        for part in payload {
            file.write_all(part)?;
        }
        self.synced_beside(file.sync_data())
    }
}

impl std::fmt::Display for SyncedFiles {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("SyncedFiles")
    }
}

#[async_trait]
impl ObjectStore for SyncedFiles {
    async fn put_opts(&self, location: &Path, payload: PutPayload, options: PutOptions) -> Result<PutResult> {
        if matches!(options.mode, PutMode::Update(_)) {
            return Err(not_implemented("put with a version"));
        }
        let path = self.files.path_to_filesystem(location)?;
        let this = self.clone();
        let outcome = tokio::task::spawn_blocking(move || this.put_file(&path, &payload, &options.mode))
            .await
            .unwrap_or_else(|why| Err(io::Error::other(why)));
        match outcome {
            Ok(()) => Ok(PutResult { e_tag: None, version: None }),
            Err(source) if source.kind() == io::ErrorKind::AlreadyExists => {
                Err(Error::AlreadyExists { path: location.to_string(), source: source.into() })
            }
            Err(source) => Err(Error::Generic { store: "SyncedFiles", source: source.into() }),
        }
    }

    async fn put_multipart_opts(&self, location: &Path, _: PutMultipartOptions) -> Result<Box<dyn MultipartUpload>> {
        Ok(Box::new(WholeUpload { store: self.clone(), location: location.clone(), parts: Vec::new() }))
    }

    async fn get_opts(&self, location: &Path, options: GetOptions) -> Result<GetResult> {
        self.files.get_opts(location, options).await
    }

    async fn get_ranges(&self, location: &Path, ranges: &[Range<u64>]) -> Result<Vec<Bytes>> {
        self.files.get_ranges(location, ranges).await
    }

    fn delete_stream(&self, locations: BoxStream<'static, Result<Path>>) -> BoxStream<'static, Result<Path>> {
        self.files.delete_stream(locations)
    }

    fn list(&self, prefix: Option<&Path>) -> BoxStream<'static, Result<ObjectMeta>> {
        self.files.list(prefix)
    }

    fn list_with_offset(&self, prefix: Option<&Path>, offset: &Path) -> BoxStream<'static, Result<ObjectMeta>> {
        self.files.list_with_offset(prefix, offset)
    }

    async fn list_with_delimiter(&self, prefix: Option<&Path>) -> Result<ListResult> {
        self.files.list_with_delimiter(prefix).await
    }

    async fn copy_opts(&self, _: &Path, _: &Path, _: CopyOptions) -> Result<()> {
        // Nothing here copies, and an unsynced way in must not exist.
        Err(not_implemented("copy"))
    }
}

/// A multipart upload that is put whole: checkpoints are the only ones, and they are small.
#[derive(Debug)]
struct WholeUpload {
    store: SyncedFiles,
    location: Path,
    parts: Vec<Bytes>,
}

#[async_trait]
impl MultipartUpload for WholeUpload {
    fn put_part(&mut self, data: PutPayload) -> UploadPart {
        self.parts.extend(data);
        Box::pin(std::future::ready(Ok(())))
    }

    async fn complete(&mut self) -> Result<PutResult> {
        let payload = PutPayload::from_iter(std::mem::take(&mut self.parts));
        self.store.put_opts(&self.location, payload, PutOptions::default()).await
    }

    async fn abort(&mut self) -> Result<()> {
        self.parts.clear();
        Ok(())
    }
}

fn not_implemented(operation: &str) -> Error {
    Error::NotImplemented { operation: operation.to_owned(), implementer: "SyncedFiles".to_owned() }
}

/// A name beside `path` that no other put uses, and that the clean-up at start knows.
fn unfinished(path: &std::path::Path) -> std::path::PathBuf {
    static NEXT: AtomicU64 = AtomicU64::new(0);
    let number = NEXT.fetch_add(1, Ordering::Relaxed);
    let mut name = path.as_os_str().to_owned();
    name.push(format!(".{}-{number}{}", std::process::id(), storage::UNFINISHED));
    name.into()
}

#[cfg(test)]
mod tests {
    use object_store::ObjectStoreExt as _;

    use super::*;

    #[tokio::test]
    async fn creates_once_overwrites_whole_and_leaves_nothing_beside() {
        let folder = tempfile::tempdir().unwrap();
        let store = SyncedFiles::new();
        let at = |name: &str| Path::from_absolute_path(folder.path().join("log").join(name)).unwrap();

        store.put_opts(&at("0.json"), "one".into(), PutMode::Create.into()).await.unwrap();
        let second = store.put_opts(&at("0.json"), "two".into(), PutMode::Create.into()).await;
        assert!(matches!(second, Err(Error::AlreadyExists { .. })), "{second:?}");
        assert_eq!(store.get(&at("0.json")).await.unwrap().bytes().await.unwrap(), "one");

        store.put(&at("0.json"), "three".into()).await.unwrap();
        assert_eq!(store.get(&at("0.json")).await.unwrap().bytes().await.unwrap(), "three");

        let mut upload = store.put_multipart(&at("1.parquet")).await.unwrap();
        upload.put_part("a".into()).await.unwrap();
        upload.put_part("b".into()).await.unwrap();
        upload.complete().await.unwrap();
        assert_eq!(store.get(&at("1.parquet")).await.unwrap().bytes().await.unwrap(), "ab");
        assert_eq!(std::fs::read_dir(folder.path().join("log")).unwrap().count(), 2);
        assert!(!store.sync_failed());
    }
}
