//! Pulling: the manifest, then each blob that is not here yet, verified before it gets its name.

use std::path::Path;

use futures::{StreamExt as _, TryStreamExt as _, future, stream};
use gyre_model::{Digest, Hasher};
use http::{StatusCode, header};
use tokio::io::AsyncWriteExt as _;

use super::{
    Client, Error, PARALLEL, Progress, Reference, Scope, Step, is_tag,
    progress::{BlobTracker, Tracker},
    retrying,
};
use crate::{
    artifact::{BlobFolder, BlobSource as _},
    limits,
    oci::{self, Descriptor, Manifest},
};

/// A manifest that was pulled, and verified.
#[derive(Debug, Clone)]
pub struct Pulled {
    /// The manifest's bytes.
    pub manifest: Vec<u8>,
    /// Their digest.
    pub digest: Digest,
}

impl Client {
    /// Pulls an artifact's manifest; its blobs go into `dir`, as a [`BlobFolder`] has them. Blobs that are there
    /// are not pulled again.
    ///
    /// # Errors
    /// See [`Error`]. Nothing unverified is left under a blob's name.
    pub async fn pull(
        &self,
        repository: &str,
        reference: &Reference,
        dir: &Path,
        progress: impl Fn(Progress) + Send + Sync + 'static,
    ) -> Result<Pulled, Error> {
        let scope = Scope { repository, actions: "pull" };
        let pulled = self.pull_manifest(repository, reference).await?;
        let manifest = Manifest::parse(&pulled.manifest)?;
        manifest.ensure_loadable()?;

        let mut blobs: Vec<&Descriptor> = manifest.blobs().collect();
        blobs.sort_unstable_by_key(|blob| blob.digest);
        blobs.dedup_by_key(|blob| blob.digest);
        let total = blobs.iter().map(|blob| blob.size).sum();
        let tracker = Tracker::new(total, blobs.len(), progress);
        let folder = BlobFolder::new(dir);
        let transfers: Vec<_> =
            blobs.into_iter().map(|blob| self.pull_blob(scope, blob, &folder, &tracker)).collect();
        stream::iter(transfers)
            .buffer_unordered(PARALLEL)
            .try_for_each(|()| future::ok(()))
            .await?;
        tracker.step(Step::Done);
        Ok(pulled)
    }

    /// Pulls a manifest alone.
    ///
    /// # Errors
    /// See [`Error`].
    pub async fn pull_manifest(
        &self,
        repository: &str,
        reference: &Reference,
    ) -> Result<Pulled, Error> {
        let scope = Scope { repository, actions: "pull" };
        if let Reference::Tag(tag) = reference
            && !is_tag(tag)
        {
            return Err(Error::BadName(tag.clone()));
        }
        let url = self.url(repository, &format!("manifests/{reference}"))?;
        let accept = format!("{}, {}", oci::MANIFEST, oci::DOCKER_MANIFEST);
        let request = || Ok(self.http.get(url.clone()).header(header::ACCEPT, &accept));
        let bytes = retrying(|_| async {
            let mut response = self.send(&scope, &url, request).await?;
            if !response.status().is_success() {
                let what = format!("artifact {repository}:{reference}");
                return Err(Error::from_response(&what, response).await);
            }
            let mut bytes = Vec::new();
            let read_error = |err| Error::from_reqwest(&url, err);
            while let Some(chunk) = response.chunk().await.map_err(read_error)? {
                bytes.extend_from_slice(&chunk);
                let size = bytes.len() as u64;
                if size > limits::MANIFEST_BYTES {
                    return Err(oci::ManifestError::TooLarge(size).into());
                }
            }
            Ok(bytes)
        })
        .await?;
        let digest = Digest::of(&bytes);
        match reference {
            Reference::Digest(asked) if *asked != digest => Err(Error::ReceivedMismatch(*asked)),
            _ => Ok(Pulled { manifest: bytes, digest }),
        }
    }

    async fn pull_blob(
        &self,
        scope: Scope<'_>,
        blob: &Descriptor,
        folder: &BlobFolder,
        tracker: &Tracker,
    ) -> Result<(), Error> {
        if folder.path(&blob.digest).is_some() {
            tracker.skip(blob.size);
            return Ok(());
        }
        let counter = BlobTracker::new(tracker);
        retrying(|_| {
            counter.restart_at(0);
            self.download(scope, blob, folder, &counter)
        })
        .await?;
        counter.finish(blob.size);
        Ok(())
    }

    async fn download(
        &self,
        scope: Scope<'_>,
        blob: &Descriptor,
        folder: &BlobFolder,
        counter: &BlobTracker,
    ) -> Result<(), Error> {
        let url = self.url(scope.repository, &format!("blobs/{}", blob.digest))?;
        let mut response = self.send(&scope, &url, || Ok(self.http.get(url.clone()))).await?;
        if response.status() != StatusCode::OK {
            return Err(Error::from_response(&format!("blob {}", blob.digest), response).await);
        }
        let path = folder.place(&blob.digest);
        let file_error = |err| Error::file(&path)(err);
        let parent = path.parent().unwrap_or(Path::new("."));
        fs_err::create_dir_all(parent).map_err(file_error)?;
        let temporary = tempfile::NamedTempFile::new_in(parent).map_err(file_error)?;
        let (file, temporary) = temporary.into_parts();
        let mut file = tokio::fs::File::from_std(file);
        let mut hasher = Hasher::new();
        let mut received = 0;
        while let Some(chunk) =
            response.chunk().await.map_err(|err| Error::from_reqwest(&url, err))?
        {
            received += chunk.len() as u64;
            if received > blob.size {
                return Err(Error::ReceivedMismatch(blob.digest));
            }
            hasher.update(&chunk);
            file.write_all(&chunk).await.map_err(file_error)?;
            counter.advance(chunk.len() as u64);
        }
        if received != blob.size || hasher.finish() != blob.digest {
            return Err(Error::ReceivedMismatch(blob.digest));
        }
        // Whoever finds the name later does not look at the bytes again.
        file.sync_all().await.map_err(file_error)?;
        temporary.persist(&path).map_err(|err| file_error(err.error))?;
        Ok(())
    }
}
