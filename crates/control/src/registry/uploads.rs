//! Blobs on their way in.
//!
//! An upload is known by a token that holds its id and proves, without a row anywhere, that it was begun by this account for
//! this repository.

use gyre_model::{AccountId, Digest};
use gyre_store::{Upload, UploadId};

use super::{BLOB_BYTES, blob_error, ensure_name};
use crate::{Actor, Control, Error, Result};

/// Names an upload in a URL.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct UploadToken(String);

impl std::fmt::Display for UploadToken {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.0)
    }
}

/// An upload that this caller writes to. Dropped, it can be resumed at what was written.
#[derive(Debug)]
pub struct UploadSession {
    upload: Upload,
    token: UploadToken,
    repository: String,
}

impl UploadSession {
    /// By which it is resumed.
    pub fn token(&self) -> &UploadToken {
        &self.token
    }

    /// How many bytes are there.
    pub fn offset(&self) -> u64 {
        self.upload.offset()
    }

    /// Appends bytes.
    ///
    /// # Errors
    /// The disk is full or the blob too large; what was there before is kept.
    pub async fn append(&mut self, bytes: &[u8]) -> Result<()> {
        self.upload.append(bytes).await.map_err(blob_error)
    }

    /// Lets go until it is resumed; returns how many bytes are there.
    pub async fn pause(self) -> Result<u64> {
        self.upload.pause().await.map_err(blob_error)
    }

    /// Gives it up.
    pub async fn cancel(self) -> Result<()> {
        self.upload.abort().await.map_err(blob_error)
    }
}

impl Control {
    /// Begins an upload to a repository, which is made with its first blob.
    pub async fn begin_upload(&self, actor: &Actor, repository: &str) -> Result<UploadSession> {
        ensure_name(repository)?;
        let upload = self.blobs.begin(BLOB_BYTES).await.map_err(blob_error)?;
        let id = upload.id();
        let proof = self.upload_proof(actor.account, repository, id);
        let token = UploadToken(format!("{id}.{proof}"));
        Ok(UploadSession { upload, token, repository: repository.to_owned() })
    }

    /// Takes an upload up where it stands.
    ///
    /// # Errors
    /// There is none of that token for this account and repository, or it is in use.
    pub async fn resume_upload(
        &self,
        actor: &Actor,
        repository: &str,
        token: &str,
    ) -> Result<UploadSession> {
        ensure_name(repository)?;
        let unknown = || blob_error(gyre_store::BlobError::UnknownUpload);
        let (id, proof) = token.split_once('.').ok_or_else(unknown)?;
        let id: UploadId = id.parse().map_err(|_| unknown())?;
        // Comparing digests of what is compared gives nothing away by the time it takes.
        let expected = self.upload_proof(actor.account, repository, id);
        if Digest::of(proof) != Digest::of(&expected) {
            return Err(unknown());
        }
        let upload = self.blobs.resume(id, BLOB_BYTES).await.map_err(blob_error)?;
        let token = UploadToken(format!("{id}.{expected}"));
        Ok(UploadSession { upload, token, repository: repository.to_owned() })
    }

    /// Ends an upload: its bytes become a blob of the repository if they have that digest, and are thrown away if not.
    pub async fn finish_upload(
        &self,
        actor: &Actor,
        session: UploadSession,
        digest: &Digest,
    ) -> Result<()> {
        let UploadSession { upload, repository, .. } = session;
        let size = upload.commit(digest).await.map_err(blob_error)?;
        let now = self.clock.now();
        let repository = self.db.ensure_repository(actor.account, repository, now).await?;
        self.db.link_blob(repository.id, *digest, size, now).await.map_err(Error::from)
    }

    fn upload_proof(&self, account: AccountId, repository: &str, id: UploadId) -> String {
        let key = self.keyring.derive("upload tokens");
        let claim = Digest::of(format!("{account} {repository} {id}"));
        let proof = Digest::of([&key[..], claim.as_bytes()].concat());
        proof.hex()[..32].to_owned()
    }
}
