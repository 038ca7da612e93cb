//! Manifests: put, found, deleted.

use gyre_model::Digest;
use gyre_package::{limits, oci};
use gyre_store::ManifestRow;
use serde::Deserialize;

use super::{Reference, blob_error, ensure_name};
use crate::{Actor, Control, Error, ErrorKind, Result};

/// The longest media type.
const MEDIA_TYPE_BYTES: usize = 255;

/// A manifest as it was put.
#[derive(Debug, Clone)]
pub struct StoredManifest {
    /// Its digest.
    pub digest: Digest,
    /// Its media type.
    pub media_type: String,
    /// Its bytes.
    pub bytes: Vec<u8>,
}

/// The parts of an index that say what it refers to.
#[derive(Deserialize)]
struct Index {
    manifests: Vec<Entry>,
}

#[derive(Deserialize)]
struct Entry {
    digest: Digest,
}

/// What a manifest refers to.
#[derive(Default)]
struct References {
    blobs: Vec<(Digest, u64)>,
    manifests: Vec<Digest>,
}

impl Control {
    /// Puts a manifest under a tag, or under its digest. Everything it refers to must be there.
    pub async fn put_manifest(
        &self,
        actor: &Actor,
        repository: &str,
        reference: &Reference,
        media_type: &str,
        bytes: Vec<u8>,
    ) -> Result<Digest> {
        ensure_name(repository)?;
        let invalid = |message: String| Error::invalid("registry.manifest_invalid", message);
        if media_type.len() > MEDIA_TYPE_BYTES || !media_type.bytes().all(|b| b.is_ascii_graphic())
        {
            return Err(invalid("the manifest's media type is malformed".to_owned()));
        }
        if bytes.len() as u64 > limits::MANIFEST_BYTES {
            return Err(Error::new(
                ErrorKind::TooLarge,
                "registry.manifest_invalid",
                format!("a manifest has at most {} bytes", limits::MANIFEST_BYTES),
            ));
        }
        let digest = Digest::of(&bytes);
        if let Reference::Digest(expected) = reference
            && *expected != digest
        {
            return Err(Error::invalid(
                "registry.digest_invalid",
                format!("the manifest has the digest {digest}, not {expected}"),
            ));
        }
        let References { blobs, manifests } = references(&bytes).map_err(invalid)?;
        let now = self.clock.now();
        let repository =
            self.db.ensure_repository(actor.account, repository.to_owned(), now).await?;
        for (blob, size) in &blobs {
            match self.db.repository_blob(repository.id, *blob).await? {
                None => return Err(missing(blob)),
                Some(there) if there != *size => {
                    return Err(invalid(format!(
                        "the blob {blob} has {there} bytes, not {size} as the manifest says"
                    )));
                }
                Some(_) => {}
            }
        }
        for manifest in &manifests {
            if self.db.manifest(repository.id, *manifest).await?.is_none() {
                return Err(missing(manifest));
            }
        }
        let size = bytes.len() as u64;
        self.blobs.put(&bytes).await.map_err(blob_error)?;
        let row = ManifestRow {
            repository: repository.id,
            account: actor.account,
            digest,
            media_type: media_type.to_owned(),
            size,
            created: now,
        };
        let mut refers_to: Vec<Digest> = blobs.into_iter().map(|(digest, _)| digest).collect();
        refers_to.extend(manifests);
        refers_to.sort_unstable();
        refers_to.dedup();
        let tag = match reference {
            Reference::Tag(tag) => Some(tag.clone()),
            Reference::Digest(_) => None,
        };
        self.db.put_manifest(row, refers_to, tag).await?;
        Ok(digest)
    }

    /// A manifest's row: what a client asks for with HEAD.
    pub async fn find_manifest(
        &self,
        actor: &Actor,
        repository: &str,
        reference: &Reference,
    ) -> Result<ManifestRow> {
        let repository = self.find_repository(actor, repository).await?;
        let row = match reference {
            Reference::Tag(tag) => self.db.tagged_manifest(repository.id, tag.clone()).await?,
            Reference::Digest(digest) => self.db.manifest(repository.id, *digest).await?,
        };
        row.ok_or_else(|| manifest_unknown(reference))
    }

    /// A manifest.
    pub async fn read_manifest(
        &self,
        actor: &Actor,
        repository: &str,
        reference: &Reference,
    ) -> Result<StoredManifest> {
        let row = self.find_manifest(actor, repository, reference).await?;
        let bytes = self.blobs.read_all(&row.digest, limits::MANIFEST_BYTES).await;
        let bytes = bytes.map_err(blob_error)?.ok_or_else(|| manifest_unknown(reference))?;
        Ok(StoredManifest { digest: row.digest, media_type: row.media_type, bytes })
    }

    /// Removes a tag, or a manifest with all of its tags. A revision that was made of it stays deployable.
    pub async fn delete_manifest(
        &self,
        actor: &Actor,
        repository: &str,
        reference: &Reference,
    ) -> Result<()> {
        let repository = self.find_repository(actor, repository).await?;
        let was_there = match reference {
            Reference::Tag(tag) => self.db.delete_tag(repository.id, tag.clone()).await?,
            Reference::Digest(digest) => self.db.delete_manifest(repository.id, *digest).await?,
        };
        if was_there { Ok(()) } else { Err(manifest_unknown(reference)) }
    }
}

/// What a manifest of whatever kind refers to within the repository.
fn references(bytes: &[u8]) -> Result<References, String> {
    let text = |error: &dyn std::error::Error| match error.source() {
        Some(source) => format!("{error}: {source}"),
        None => error.to_string(),
    };
    match oci::Manifest::parse(bytes) {
        Ok(manifest) => {
            // What is to be had elsewhere need not be here; to deploy such an artifact is refused later.
            let here = manifest.blobs().filter(|blob| blob.urls.is_empty());
            let blobs = here.map(|blob| (blob.digest, blob.size)).collect();
            Ok(References { blobs, manifests: Vec::new() })
        }
        Err(oci::ManifestError::MediaType(_)) => {
            let index: Index = serde_json::from_slice(bytes)
                .map_err(|error| format!("the manifest is not a valid index: {error}"))?;
            if index.manifests.len() > limits::LAYERS {
                return Err(format!("an index has at most {} manifests", limits::LAYERS));
            }
            let manifests = index.manifests.into_iter().map(|entry| entry.digest).collect();
            Ok(References { blobs: Vec::new(), manifests })
        }
        Err(error) => Err(text(&error)),
    }
}

fn missing(digest: &Digest) -> Error {
    Error::invalid(
        "registry.manifest_blob_unknown",
        format!("the manifest refers to {digest}, which the repository does not have"),
    )
}

fn manifest_unknown(reference: &Reference) -> Error {
    Error::new(
        ErrorKind::NotFound,
        "registry.manifest_unknown",
        format!("the repository has no manifest '{reference}'"),
    )
}
