//! The registry's domain: an account's repositories, what is pushed to them and pulled from them.
//!
//! A repository's name means that of the actor's account, so two accounts' `hello` have nothing to do with each other. Content is
//! stored once for all, but nobody gets at it by its digest alone: a repository has the blobs that were pushed to it, or mounted
//! from another of the same account.

mod manifests;
mod uploads;

use gyre_model::Digest;
use gyre_package::registry::{is_repository, is_tag};
use gyre_store::{BlobError, Repository};

pub use gyre_package::registry::Reference;
pub use manifests::StoredManifest;
pub use uploads::{UploadSession, UploadToken};

/// A reader of a blob's bytes.
pub use gyre_store::BlobReader;

use crate::{Actor, Control, Error, ErrorKind, Result};

/// The largest blob, in bytes.
pub const BLOB_BYTES: u64 = 8 << 30;

/// A blob, or a range of it.
#[derive(Debug)]
pub struct Blob {
    /// Its bytes.
    pub reader: BlobReader,
    /// The size of the whole.
    pub size: u64,
}

/// Reads `tag` or `sha256:…`.
///
/// # Errors
/// It is neither.
pub fn reference(text: &str) -> Result<Reference> {
    if text.contains(':') {
        return digest(text).map(Reference::Digest);
    }
    if !is_tag(text) {
        let message = format!("'{}' is not a tag", text.escape_debug());
        return Err(Error::invalid("registry.manifest_invalid", message));
    }
    Ok(Reference::Tag(text.to_owned()))
}

/// Reads a digest.
///
/// # Errors
/// It is not one of sha256.
pub fn digest(text: &str) -> Result<Digest> {
    text.parse().map_err(|error: gyre_model::ParseDigestError| {
        Error::invalid("registry.digest_invalid", error.to_string())
    })
}

impl Control {
    /// The size of a blob of the repository.
    pub async fn blob_size(&self, actor: &Actor, repository: &str, digest: &Digest) -> Result<u64> {
        let repository = self.find_repository(actor, repository).await?;
        self.db.repository_blob(repository.id, *digest).await?.ok_or_else(|| blob_unknown(digest))
    }

    /// A blob of the repository, or a range of it.
    pub async fn read_blob(
        &self,
        actor: &Actor,
        repository: &str,
        digest: &Digest,
        range: Option<std::ops::Range<u64>>,
    ) -> Result<Blob> {
        self.blob_size(actor, repository, digest).await?;
        let found = self.blobs.read(digest, range).await.map_err(blob_error)?;
        let (reader, size) = found.ok_or_else(|| blob_unknown(digest))?;
        Ok(Blob { reader, size })
    }

    /// Gives a repository a blob that another one of the account has; returns whether that could be done.
    pub async fn mount_blob(
        &self,
        actor: &Actor,
        repository: &str,
        from: Option<&str>,
        digest: &Digest,
    ) -> Result<bool> {
        ensure_name(repository)?;
        let size = match from {
            Some(from) if is_repository(from) => {
                match self.db.repository(actor.account, from.to_owned()).await? {
                    Some(from) => self.db.repository_blob(from.id, *digest).await?,
                    None => None,
                }
            }
            Some(_) => None,
            None => self.db.account_blob(actor.account, *digest).await?,
        };
        let Some(size) = size.filter(|_| self.blobs.stat(digest).is_some()) else {
            return Ok(false);
        };
        let now = self.clock.now();
        let to = self.db.ensure_repository(actor.account, repository.to_owned(), now).await?;
        self.db.link_blob(to.id, *digest, size, now).await?;
        Ok(true)
    }

    /// Takes a blob out of a repository.
    ///
    /// # Errors
    /// A manifest of the repository needs it.
    pub async fn delete_blob(
        &self,
        actor: &Actor,
        repository: &str,
        digest: &Digest,
    ) -> Result<()> {
        self.blob_size(actor, repository, digest).await?;
        let repository = self.find_repository(actor, repository).await?;
        if self.db.unlink_blob(repository.id, *digest).await? {
            return Ok(());
        }
        let message = "a manifest of the repository needs the blob";
        Err(Error::new(ErrorKind::Conflict, "registry.denied", message))
    }

    /// A repository's tags in order: those after `last`, at most `limit`.
    pub async fn tags(
        &self,
        actor: &Actor,
        repository: &str,
        last: Option<&str>,
        limit: u64,
    ) -> Result<Vec<String>> {
        let repository = self.find_repository(actor, repository).await?;
        Ok(self.db.tags(repository.id, last.map(str::to_owned), limit).await?)
    }

    async fn find_repository(&self, actor: &Actor, name: &str) -> Result<Repository> {
        ensure_name(name)?;
        self.db.repository(actor.account, name.to_owned()).await?.ok_or_else(|| {
            Error::new(
                ErrorKind::NotFound,
                "registry.name_unknown",
                format!("there is no repository '{name}'"),
            )
        })
    }
}

fn ensure_name(name: &str) -> Result<()> {
    if is_repository(name) {
        return Ok(());
    }
    let shown: String = name.chars().take(80).collect();
    let message = format!("'{}' cannot be the name of a repository", shown.escape_debug());
    Err(Error::invalid("registry.name_invalid", message))
}

fn blob_unknown(digest: &Digest) -> Error {
    Error::new(
        ErrorKind::NotFound,
        "registry.blob_unknown",
        format!("the repository has no blob {digest}"),
    )
}

/// What the blob store says, in the registry's words.
pub(crate) fn blob_error(error: BlobError) -> Error {
    let (kind, code, message) = match &error {
        BlobError::Full(_) => (
            ErrorKind::StorageFull,
            "storage.full",
            "the server's disk is full; what was uploaded is kept and can be continued".to_owned(),
        ),
        BlobError::Mismatch { expected, actual } => (
            ErrorKind::Invalid,
            "registry.digest_invalid",
            format!("what was uploaded has the digest {actual}, not {expected}"),
        ),
        BlobError::TooLarge { limit } => (
            ErrorKind::TooLarge,
            "registry.size_invalid",
            format!("a blob has at most {limit} bytes"),
        ),
        BlobError::UnknownUpload => (
            ErrorKind::NotFound,
            "registry.blob_upload_unknown",
            "there is no such upload".to_owned(),
        ),
        BlobError::Busy => (
            ErrorKind::Conflict,
            "registry.blob_upload_invalid",
            "the upload is in use by another request".to_owned(),
        ),
        BlobError::Io(_) => return Error::internal(error),
    };
    Error { source: Some(Box::new(error)), ..Error::new(kind, code, message) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_full_disk_is_told_as_such_and_other_failures_are_not_told() {
        let full = std::io::Error::from(std::io::ErrorKind::StorageFull);
        let error = blob_error(BlobError::from(full));
        assert_eq!((error.kind, error.code), (ErrorKind::StorageFull, "storage.full"));
        assert!(error.message.contains("disk is full"));
        let broken = blob_error(BlobError::from(std::io::Error::other("sda1: sector 7")));
        assert_eq!((broken.kind, broken.message.as_str()), (ErrorKind::Internal, "internal error"));
    }

    #[test]
    fn a_reference_is_a_tag_or_a_digest_and_nothing_else() {
        assert!(matches!(reference("0.1.0"), Ok(Reference::Tag(_))));
        let text = Digest::of("x").to_string();
        assert!(matches!(reference(&text), Ok(Reference::Digest(_))));
        for wrong in ["", ".x", "a/b", "sha256:00", "md5:x", "a b"] {
            assert!(reference(wrong).is_err(), "{wrong}");
        }
    }
}
