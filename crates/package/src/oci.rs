//! OCI manifests and image configs: reading them under caps, writing them canonically.
//!
//! What is written has its keys sorted and no `mediaType`, as Spin's tools write it, so that the same application
//! has the same digest wherever it is packed.

use std::collections::BTreeMap;

use gyre_model::Digest;
use serde::{Deserialize, Serialize};

use crate::limits;

/// The media type of an image manifest.
pub const MANIFEST: &str = "application/vnd.oci.image.manifest.v1+json";
/// The media type of an index of manifests.
pub const INDEX: &str = "application/vnd.oci.image.index.v1+json";
/// The media type of an image manifest as Docker writes it; its shape is that of [`MANIFEST`].
pub const DOCKER_MANIFEST: &str = "application/vnd.docker.distribution.manifest.v2+json";
/// The media type of an image config.
pub const CONFIG: &str = "application/vnd.oci.image.config.v1+json";
/// The media type of the locked app, an artifact's last layer.
pub const LOCKED_APP: &str = "application/vnd.fermyon.spin.application.v1+config";
/// The media type of a component's code.
pub const WASM: &str = "application/vnd.wasm.content.layer.v1+wasm";
/// Another media type of a component's code, that of Wasm packages.
pub const WASM_PACKAGE: &str = "application/wasm";
/// The media type of a file.
pub const FILE: &str = "application/vnd.wasm.content.layer.v1+data";
/// The media type of an archive of files, tar in gzip.
pub const ARCHIVE: &str = "application/vnd.wasm.content.bundle.v1.tar+gzip";
/// The label of the image config that names the locked app's digest.
pub const LOCKED_APP_LABEL: &str = "com.fermyon.spin.lockedAppDigest";

/// An image manifest. Fields are in the order in which they are written.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Manifest {
    /// Free-form facts. Ours are under `dev.gyre.`.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub annotations: BTreeMap<String, String>,
    /// What kind of artifact it is, where it says so.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub artifact_type: Option<String>,
    /// The config blob.
    pub config: Descriptor,
    /// The layers, at most [`limits::LAYERS`].
    #[serde(default)]
    pub layers: Vec<Descriptor>,
    /// The manifest's own media type, where it says so.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub media_type: Option<String>,
    /// 2.
    pub schema_version: u32,
    /// The manifest this one refers to.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub subject: Option<Descriptor>,
}

/// Names a blob: its kind, digest and size.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Descriptor {
    /// Free-form facts.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub annotations: BTreeMap<String, String>,
    /// Of the blob's bytes.
    pub digest: Digest,
    /// What it is.
    pub media_type: String,
    /// In bytes.
    pub size: u64,
    /// Other places to get it from. Applications with such layers are refused.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub urls: Vec<String>,
}

impl Descriptor {
    /// A descriptor without annotations.
    pub fn new(media_type: &str, digest: Digest, size: u64) -> Self {
        Self {
            annotations: BTreeMap::new(),
            digest,
            media_type: media_type.to_owned(),
            size,
            urls: Vec::new(),
        }
    }
}

/// Why some bytes are not a manifest we take.
#[derive(Debug, thiserror::Error)]
pub enum ManifestError {
    /// Larger than [`limits::MANIFEST_BYTES`].
    #[error("the manifest has {0} bytes; at most {max} are allowed", max = limits::MANIFEST_BYTES)]
    TooLarge(u64),
    /// Not JSON, or not of a manifest's shape; also a digest that is not sha256.
    #[error("the manifest is not a valid OCI image manifest")]
    Syntax(#[source] serde_json::Error),
    /// A schema version other than 2.
    #[error("the manifest has schema version {0}; only 2 is supported")]
    SchemaVersion(u32),
    /// It says that it is something else.
    #[error("the manifest is a {0:?}, not an image manifest")]
    MediaType(String),
    /// More than [`limits::LAYERS`].
    #[error("the manifest has {0} layers; at most {max} are allowed", max = limits::LAYERS)]
    TooManyLayers(usize),
    /// Together more than [`limits::ARTIFACT_BYTES`].
    #[error("the artifact has {0} bytes; at most {max} are allowed", max = limits::ARTIFACT_BYTES)]
    ArtifactTooLarge(u64),
    /// The same digest with two sizes.
    #[error("the manifest names {0} with two different sizes")]
    SizeConflict(Digest),
    /// A layer to be had from somewhere else.
    #[error("the layer {0} refers to other servers, which is not allowed")]
    ForeignLayer(Digest),
}

impl Manifest {
    /// A manifest of that config and those layers.
    pub fn new(
        config: Descriptor,
        layers: Vec<Descriptor>,
        annotations: BTreeMap<String, String>,
    ) -> Self {
        Self {
            annotations,
            artifact_type: None,
            config,
            layers,
            media_type: None,
            schema_version: 2,
            subject: None,
        }
    }

    /// Reads an image manifest, Docker's included.
    ///
    /// # Errors
    /// Too large, malformed, of another kind, or with too many layers.
    pub fn parse(bytes: &[u8]) -> Result<Self, ManifestError> {
        if bytes.len() as u64 > limits::MANIFEST_BYTES {
            return Err(ManifestError::TooLarge(bytes.len() as u64));
        }
        // An index has no config: say so rather than complain about a missing field.
        #[derive(Deserialize)]
        #[serde(rename_all = "camelCase")]
        struct Kind {
            schema_version: Option<u32>,
            media_type: Option<String>,
            manifests: Option<serde::de::IgnoredAny>,
        }
        let kind: Kind = serde_json::from_slice(bytes).map_err(ManifestError::Syntax)?;
        if kind.schema_version.is_some_and(|version| version != 2) {
            return Err(ManifestError::SchemaVersion(kind.schema_version.unwrap_or_default()));
        }
        match kind.media_type {
            Some(other) if other != MANIFEST && other != DOCKER_MANIFEST => {
                return Err(ManifestError::MediaType(other));
            }
            None if kind.manifests.is_some() => return Err(ManifestError::MediaType(INDEX.into())),
            _ => {}
        }
        let manifest: Self = serde_json::from_slice(bytes).map_err(ManifestError::Syntax)?;
        if manifest.layers.len() > limits::LAYERS {
            return Err(ManifestError::TooManyLayers(manifest.layers.len()));
        }
        Ok(manifest)
    }

    /// Checks what an application's manifest must hold beyond its shape: no layers from elsewhere, one size for each
    /// digest, and everything together within [`limits::ARTIFACT_BYTES`].
    ///
    /// # Errors
    /// Which of these it breaks.
    pub fn ensure_loadable(&self) -> Result<(), ManifestError> {
        let mut sizes = BTreeMap::new();
        for blob in self.blobs() {
            if !blob.urls.is_empty() {
                return Err(ManifestError::ForeignLayer(blob.digest));
            }
            if *sizes.entry(blob.digest).or_insert(blob.size) != blob.size {
                return Err(ManifestError::SizeConflict(blob.digest));
            }
        }
        let total = sizes.values().fold(0_u64, |sum, size| sum.saturating_add(*size));
        if total > limits::ARTIFACT_BYTES {
            return Err(ManifestError::ArtifactTooLarge(total));
        }
        Ok(())
    }

    /// The config and the layers, in that order. A digest may come more than once.
    pub fn blobs(&self) -> impl Iterator<Item = &Descriptor> {
        std::iter::once(&self.config).chain(&self.layers)
    }

    /// The canonical bytes, whose digest is the artifact's.
    pub fn to_bytes(&self) -> Vec<u8> {
        serde_json::to_vec(self).expect("strings, numbers and lists of them serialise")
    }
}

/// An image config, as small as it can be: it makes the image ID differ between applications.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ImageConfig {
    /// `wasm`.
    pub architecture: String,
    /// `wasip1`.
    pub os: String,
    /// The labels.
    #[serde(default)]
    pub config: ImageLabels,
    /// Nothing: layers are no file system.
    #[serde(default)]
    pub rootfs: RootFs,
}

/// The labels of an image config.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct ImageLabels {
    /// By name.
    #[serde(rename = "Labels", default)]
    pub labels: BTreeMap<String, String>,
}

/// The file system of an image config.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct RootFs {
    /// `layers`.
    pub r#type: String,
    /// The digests of the layers, uncompressed.
    #[serde(default)]
    pub diff_ids: Vec<String>,
}

impl Default for RootFs {
    fn default() -> Self {
        Self { r#type: "layers".to_owned(), diff_ids: Vec::new() }
    }
}

impl ImageConfig {
    /// The config of the application with that locked app.
    pub fn of_locked_app(digest: Digest) -> Self {
        Self {
            architecture: "wasm".to_owned(),
            os: "wasip1".to_owned(),
            config: ImageLabels {
                labels: BTreeMap::from([(LOCKED_APP_LABEL.to_owned(), digest.to_string())]),
            },
            rootfs: RootFs::default(),
        }
    }

    /// As it is written.
    pub fn to_bytes(&self) -> Vec<u8> {
        serde_json::to_vec(self).expect("strings and lists of them serialise")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn layer(size: u64) -> Descriptor {
        Descriptor::new(WASM, Digest::of(size.to_be_bytes()), size)
    }

    #[test]
    fn a_manifest_is_written_with_sorted_keys_and_without_a_media_type() {
        let annotations = BTreeMap::from([("b".to_owned(), "2".to_owned())]);
        let manifest = Manifest::new(
            Descriptor::new(CONFIG, Digest::of("c"), 1),
            vec![Descriptor::new(WASM, Digest::of("w"), 5)],
            annotations,
        );
        let text = String::from_utf8(manifest.to_bytes()).unwrap();
        assert_eq!(
            text,
            format!(
                r#"{{"annotations":{{"b":"2"}},"config":{{"digest":"{}","mediaType":"{CONFIG}","size":1}},"layers":[{{"digest":"{}","mediaType":"{WASM}","size":5}}],"schemaVersion":2}}"#,
                Digest::of("c"),
                Digest::of("w")
            )
        );
        assert_eq!(Manifest::parse(text.as_bytes()).unwrap(), manifest);
    }

    #[test]
    fn an_image_config_reads_as_the_one_of_the_cloud_plugin() {
        let digest = Digest::of("");
        let text = String::from_utf8(ImageConfig::of_locked_app(digest).to_bytes()).unwrap();
        assert_eq!(
            text,
            format!(
                r#"{{"architecture":"wasm","os":"wasip1","config":{{"Labels":{{"com.fermyon.spin.lockedAppDigest":"{digest}"}}}},"rootfs":{{"type":"layers","diff_ids":[]}}}}"#
            )
        );
    }

    #[test]
    fn what_is_no_image_manifest_is_refused() {
        let refused = |text: &str| Manifest::parse(text.as_bytes()).unwrap_err();
        assert!(matches!(refused("{"), ManifestError::Syntax(_)));
        assert!(matches!(refused(r#"{"schemaVersion":2}"#), ManifestError::Syntax(_)));
        assert!(matches!(refused(r#"{"schemaVersion":1}"#), ManifestError::SchemaVersion(1)));
        assert!(matches!(
            refused(r#"{"schemaVersion":2,"manifests":[]}"#),
            ManifestError::MediaType(_)
        ));
        let other = r#"{"schemaVersion":2,"config":{"digest":"sha512:00","mediaType":"a","size":0},"layers":[]}"#;
        assert!(matches!(refused(other), ManifestError::Syntax(_)));
        let negative = format!(
            r#"{{"schemaVersion":2,"config":{{"digest":"{}","mediaType":"a","size":-1}},"layers":[]}}"#,
            Digest::of("")
        );
        assert!(matches!(refused(&negative), ManifestError::Syntax(_)));
    }

    #[test]
    fn a_manifest_beyond_its_caps_is_refused() {
        let huge = vec![b' '; limits::MANIFEST_BYTES as usize + 1];
        assert!(matches!(Manifest::parse(&huge), Err(ManifestError::TooLarge(_))));
        let layers = (0..=limits::LAYERS as u64).map(layer).collect();
        let many = Manifest::new(layer(0), layers, BTreeMap::new()).to_bytes();
        assert!(matches!(Manifest::parse(&many), Err(ManifestError::TooManyLayers(5_001))));
    }

    #[test]
    fn an_application_may_not_be_too_large_foreign_or_contradictory() {
        let manifest = |layers| Manifest::new(layer(0), layers, BTreeMap::new());
        let half = limits::ARTIFACT_BYTES / 2;
        assert!(manifest(vec![layer(half), layer(half - 1)]).ensure_loadable().is_ok());
        assert!(matches!(
            manifest(vec![layer(half), layer(half + 1)]).ensure_loadable(),
            Err(ManifestError::ArtifactTooLarge(_))
        ));
        assert!(matches!(
            manifest(vec![layer(u64::MAX), layer(u64::MAX - 1)]).ensure_loadable(),
            Err(ManifestError::ArtifactTooLarge(_))
        ));
        let foreign = Descriptor { urls: vec!["https://example.com/x".into()], ..layer(1) };
        assert!(matches!(
            manifest(vec![foreign]).ensure_loadable(),
            Err(ManifestError::ForeignLayer(_))
        ));
        let liar = Descriptor { size: 9, ..layer(1) };
        assert!(matches!(
            manifest(vec![layer(1), liar]).ensure_loadable(),
            Err(ManifestError::SizeConflict(_))
        ));
    }
}
