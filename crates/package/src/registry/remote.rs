//! Applications in registries: pulled into a cache, loaded from there.
//!
//! The cache has each blob once (`registry/blobs/sha256/…`), and each manifest under the name by which it was pulled
//! (`registry/manifests/<registry>/<repository>/<tag or digest>/manifest.json`).

use std::path::{Path, PathBuf};

use gyre_model::Application;
use serde_json::Value;
use url::Url;

use super::{
    Client, CredentialStore, Credentials, CredentialsError, Error, ImageReference, Progress,
    Pulled, Reference,
};
use crate::{
    artifact::{self, ArtifactError, BlobFolder},
    digests, outbound,
};

/// The scheme of `origin` in the metadata of an application that came from a registry.
pub const ORIGIN_SCHEME: &str = "vnd.fermyon.origin-oci";
/// The key of the metadata for the digest of the manifest that an application came from.
pub const DIGEST_KEY: &str = "oci_image_digest";

/// The registry that is meant where none is named.
const DOCKER_HUB: &str = "docker.io";
/// Where its API is.
const DOCKER_HUB_API: &str = "registry-1.docker.io";

/// Whether a registry is Docker's, by any of its names.
pub(super) fn is_docker_hub(registry: &str) -> bool {
    matches!(registry, DOCKER_HUB | DOCKER_HUB_API | "index.docker.io")
}

/// Why an application cannot be had from a registry.
#[derive(Debug, thiserror::Error)]
pub enum RemoteError {
    /// The registry.
    #[error(transparent)]
    Registry(#[from] Error),
    /// The user's credentials.
    #[error(transparent)]
    Credentials(#[from] CredentialsError),
    /// What was pulled.
    #[error(transparent)]
    Artifact(#[from] ArtifactError),
    /// The cache.
    #[error(transparent)]
    Io(#[from] std::io::Error),
}

/// An artifact in a registry, and how to get there.
#[derive(Debug, Clone)]
pub struct Remote {
    client: Client,
    registry: String,
    repository: String,
    reference: Reference,
}

impl Remote {
    /// Finds the registry of a reference and the user's credentials for it. `is_insecure` is HTTP instead of HTTPS,
    /// which is what registries on this machine are spoken to with anyway.
    ///
    /// Blocks: it may run a credential helper.
    ///
    /// # Errors
    /// Broken credentials.
    pub fn new(
        image: &ImageReference,
        is_insecure: bool,
        credentials: &CredentialStore,
    ) -> Result<Self, RemoteError> {
        let registry = image.registry.clone().unwrap_or_else(|| DOCKER_HUB.to_owned());
        let mut repository = image.repository.clone();
        if is_docker_hub(&registry) && !repository.contains('/') {
            repository = format!("library/{repository}");
        }
        let client = client_of(&registry, is_insecure, credentials.find(&registry)?)?;
        Ok(Self { client, registry, repository, reference: image.reference.clone() })
    }

    /// The client.
    pub fn client(&self) -> &Client {
        &self.client
    }

    /// The repository.
    pub fn repository(&self) -> &str {
        &self.repository
    }

    /// The tag, unless it is a digest that is meant.
    pub fn tag(&self) -> Option<&str> {
        match &self.reference {
            Reference::Tag(tag) => Some(tag),
            Reference::Digest(_) => None,
        }
    }

    /// Pulls what is not in the cache yet.
    ///
    /// # Errors
    /// The registry, or the disk.
    pub async fn pull(
        &self,
        cache: &Path,
        progress: impl Fn(Progress) + Send + Sync + 'static,
    ) -> Result<Pulled, RemoteError> {
        let pulled =
            self.client.pull(&self.repository, &self.reference, &blobs(cache), progress).await?;
        let name = self.reference.to_string().replace(':', "-");
        let folder = cache
            .join("registry/manifests")
            .join(self.registry.replace(':', "_"))
            .join(&self.repository)
            .join(name);
        let manifest = pulled.manifest.clone();
        let written = tokio::task::spawn_blocking(move || {
            digests::write_whole(&folder.join("manifest.json"), &manifest)
        });
        written.await.map_err(std::io::Error::other)??;
        Ok(pulled)
    }

    /// Loads what was pulled; its files are laid out below `dir`.
    ///
    /// Blocks: call it where that is allowed.
    ///
    /// # Errors
    /// It is no application, or one that cannot be loaded here.
    pub fn load(
        &self,
        pulled: &Pulled,
        cache: &Path,
        dir: &Path,
    ) -> Result<Application, RemoteError> {
        let mut app = artifact::load(&pulled.manifest, &BlobFolder::new(blobs(cache)), dir)?;
        let (separator, registry) = match self.reference {
            Reference::Tag(_) => (':', &self.registry),
            Reference::Digest(_) => ('@', &self.registry),
        };
        let origin =
            format!("{ORIGIN_SCHEME}:{registry}/{}{separator}{}", self.repository, self.reference);
        app.locked.metadata.insert("origin".to_owned(), Value::String(origin));
        app.locked.metadata.insert(DIGEST_KEY.to_owned(), Value::String(pulled.digest.to_string()));
        Ok(app)
    }
}

fn blobs(cache: &Path) -> PathBuf {
    cache.join("registry/blobs")
}

/// A client of the registry at `HOST[:PORT]`.
///
/// # Errors
/// That is no host.
pub fn client_of(
    registry: &str,
    is_insecure: bool,
    credentials: Option<Credentials>,
) -> Result<Client, Error> {
    let host = if is_docker_hub(registry) { DOCKER_HUB_API } else { registry };
    let bad = |_| Error::BadUrl(registry.to_owned());
    let mut base: Url = format!("https://{host}").parse().map_err(bad)?;
    if is_insecure || outbound::is_loopback(&base) {
        base = format!("http://{host}").parse().map_err(bad)?;
    }
    match credentials {
        None => Client::new(base, None),
        Some(Credentials::Password { user, password }) => {
            Client::with_password(base, user, password)
        }
        Some(Credentials::Identity(token)) => Client::with_identity(base, token),
    }
}
