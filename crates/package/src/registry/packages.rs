//! Wasm packages (`namespace:name` in a version) out of OCI registries, by the protocol of the Wasm package tools.
//!
//! Which registry a package is in, the user's `wasm-pkg/config.toml` says: for the package
//! (`package_registry_overrides`), for its namespace (`namespace_registries`), or for all (`default_registry`). The
//! registry tells at `/.well-known/wasm-pkg/registry.json` which OCI registry it keeps packages in, and below which
//! prefix. There, the repository is `<prefix><namespace>/<name>`, a version is a tag, and the package is the one
//! layer of the tag's manifest.

use std::{
    collections::BTreeMap,
    io,
    path::{Path, PathBuf},
    sync::Arc,
    time::Duration,
};

use gyre_model::{Digest, WasmFile};
use http::{StatusCode, header};
use semver::{Version, VersionReq};
use serde::Deserialize;
use url::Url;

use super::{
    Client, CredentialStore, Credentials, CredentialsError, Error, Reference, Scope, client_of,
    is_tag, retrying,
};
use crate::{
    artifact::BlobFolder,
    digests,
    oci::{self, Manifest, ManifestError},
    outbound,
};

/// What a registry says about itself at most, in bytes.
const METADATA_BYTES: usize = 64 << 10;
/// A page of tags at most, in bytes.
const TAGS_BYTES: usize = 4 << 20;
/// Pages of tags that are read of a repository.
const TAG_PAGES: usize = 32;

/// Namespaces whose registries everybody knows.
const WELL_KNOWN: &[(&str, &str)] = &[("wasi", "wasi.dev"), ("ba", "bytecodealliance.org")];

/// Why a package cannot be had.
#[derive(Debug, thiserror::Error)]
pub enum PackageError {
    /// The user's configuration cannot be read.
    #[error(transparent)]
    Io(#[from] io::Error),
    /// The user's configuration is malformed.
    #[error("{path:?} is not a valid configuration of package registries")]
    Config {
        /// The file.
        path: PathBuf,
        /// Where it is wrong.
        #[source]
        source: Box<toml::de::Error>,
    },
    /// Nothing says where the package is.
    #[error(
        "No default registry specified for wasm-pkg-loader. Create a default config, or set `registry` for package {0:?}"
    )]
    NoRegistry(String),
    /// The registry keeps packages where we cannot get them.
    #[error(
        "the registry {registry} keeps packages by the protocol {protocol:?}; only \"oci\" is supported"
    )]
    Protocol {
        /// The registry.
        registry: String,
        /// The protocol.
        protocol: String,
    },
    /// The registry's description of itself is malformed, or cannot be had.
    #[error("cannot read what the registry {registry} says about itself")]
    Metadata {
        /// The registry.
        registry: String,
        /// Why.
        #[source]
        source: Box<dyn std::error::Error + Send + Sync>,
    },
    /// There is no such version.
    #[error("No matching version found for {package} {version}")]
    NoVersion {
        /// The package.
        package: String,
        /// What was asked for.
        version: String,
    },
    /// What is there is no package.
    #[error("{0} is no Wasm package: it has not exactly one layer, a component")]
    NotAPackage(String),
    /// What is in the cache is not what it was.
    #[error("the cached package {0} is damaged; delete {1:?}")]
    Damaged(Digest, PathBuf),
    /// The manifest is malformed.
    #[error(transparent)]
    Manifest(#[from] ManifestError),
    /// The user's credentials.
    #[error(transparent)]
    Credentials(#[from] CredentialsError),
    /// The registry.
    #[error(transparent)]
    Registry(#[from] Error),
}

/// A package in a version.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct PackageQuery {
    /// The registry, where it is not for the configuration to say.
    pub registry: Option<String>,
    /// `namespace:name`.
    pub package: String,
    /// Which versions would do; the highest is taken.
    pub version: VersionReq,
}

/// Where packages come from. Cheap to clone.
#[derive(Debug, Clone, Default)]
pub struct Packages(Arc<Settings>);

#[derive(Debug, Default)]
struct Settings {
    config: Config,
    credentials: Option<CredentialStore>,
}

/// The user's configuration, as far as it is about where packages are. The tools' other settings are not ours.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct Config {
    default_registry: Option<String>,
    namespace_registries: BTreeMap<String, Mapping>,
    package_registry_overrides: BTreeMap<String, Mapping>,
    registry: BTreeMap<String, RegistryConfig>,
}

/// A registry by its name, or by name and with what it would say about itself.
#[derive(Debug, Clone, Deserialize)]
#[serde(untagged)]
enum Mapping {
    Name(String),
    Custom { registry: String, metadata: Metadata },
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct RegistryConfig {
    #[serde(alias = "type")]
    default: Option<String>,
    oci: OciConfig,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct OciConfig {
    auth: Option<AuthConfig>,
    protocol: Option<String>,
}

#[derive(Debug, Clone, Deserialize)]
#[serde(untagged)]
enum AuthConfig {
    /// Base64 of `user:password`.
    Encoded(String),
    Password {
        username: String,
        password: String,
    },
}

/// What a registry says about itself.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct Metadata {
    preferred_protocol: Option<String>,
    oci: Option<OciMetadata>,
    warg: Option<serde::de::IgnoredAny>,
    // As it was written first.
    oci_registry: Option<String>,
    oci_namespace_prefix: Option<String>,
    warg_url: Option<String>,
}

#[derive(Debug, Clone, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct OciMetadata {
    registry: Option<String>,
    namespace_prefix: Option<String>,
}

impl Packages {
    /// The configuration in that file, which may be missing, and credentials for the registries.
    ///
    /// # Errors
    /// The file is there, but not readable or malformed.
    pub fn new(config: &Path, credentials: CredentialStore) -> Result<Self, PackageError> {
        let config = match fs_err::read_to_string(config) {
            Ok(text) => toml::from_str(&text).map_err(|source| PackageError::Config {
                path: config.to_owned(),
                source: Box::new(source),
            })?,
            Err(err) if err.kind() == io::ErrorKind::NotFound => Config::default(),
            Err(err) => return Err(err.into()),
        };
        Ok(Self(Arc::new(Settings { config, credentials: Some(credentials) })))
    }

    /// Gets a package, from the registry or what is kept of it below `cache`.
    ///
    /// # Errors
    /// See [`PackageError`].
    pub async fn fetch(
        &self,
        query: &PackageQuery,
        cache: &Path,
    ) -> Result<WasmFile, PackageError> {
        let (client, repository) = self.locate(query).await?;
        let tags = client.tags(&repository).await?;
        let versions = tags.iter().filter_map(|tag| {
            // A tag cannot have the `+` of a version's build.
            Version::parse(tag)
                .or_else(|_| Version::parse(&tag.replacen('_', "+", 1)))
                .ok()
                .map(|version| (version, tag))
        });
        let chosen = versions.filter(|(version, _)| query.version.matches(version)).max();
        let Some((_, tag)) = chosen else {
            let (package, version) = (query.package.clone(), query.version.to_string());
            return Err(PackageError::NoVersion { package, version });
        };
        let reference = Reference::Tag(tag.clone());
        let folder = cache.join("packages");
        let pulled = client.pull(&repository, &reference, &folder, |_| {}).await?;
        let manifest = Manifest::parse(&pulled.manifest)?;
        let [layer] = manifest.layers.as_slice() else {
            return Err(PackageError::NotAPackage(format!("{}@{tag}", query.package)));
        };
        if !matches!(layer.media_type.as_str(), oci::WASM | oci::WASM_PACKAGE) {
            return Err(PackageError::NotAPackage(format!("{}@{tag}", query.package)));
        }
        let (digest, path) = (layer.digest, BlobFolder::new(folder).place(&layer.digest));
        // Read again, since anybody may write to a cache.
        let check = path.clone();
        let found = tokio::task::spawn_blocking(move || digests::of_file(&check)).await;
        let (found, _) = found.map_err(io::Error::other)??;
        if found != digest {
            return Err(PackageError::Damaged(digest, path));
        }
        let path = std::path::absolute(path)?;
        Ok(WasmFile { path, digest })
    }

    /// The registry that a package is in, and what the configuration knows of it.
    fn registry(&self, query: &PackageQuery) -> Option<(String, Option<Metadata>)> {
        if let Some(registry) = &query.registry {
            return Some((registry.clone(), None));
        }
        let config = &self.0.config;
        let namespace = query.package.split(':').next().unwrap_or_default();
        let mapping = config
            .package_registry_overrides
            .get(&query.package)
            .or_else(|| config.namespace_registries.get(namespace));
        match mapping {
            Some(Mapping::Name(registry)) => Some((registry.clone(), None)),
            Some(Mapping::Custom { registry, metadata }) => {
                Some((registry.clone(), Some(metadata.clone())))
            }
            None => {
                let known = WELL_KNOWN.iter().find(|(name, _)| *name == namespace);
                let known = known.map(|(_, registry)| (*registry).to_owned());
                config.default_registry.clone().or(known).map(|registry| (registry, None))
            }
        }
    }

    /// The OCI registry and the repository of a package.
    async fn locate(&self, query: &PackageQuery) -> Result<(Client, String), PackageError> {
        let Some((registry, metadata)) = self.registry(query) else {
            return Err(PackageError::NoRegistry(query.package.clone()));
        };
        let settings = self.0.config.registry.get(&registry);
        let metadata = match metadata {
            Some(metadata) => metadata,
            None => ask(&registry)
                .await
                .map_err(|source| PackageError::Metadata { registry: registry.clone(), source })?,
        };
        let has_oci = metadata.oci.is_some() || metadata.oci_registry.is_some();
        let has_other = metadata.warg.is_some() || metadata.warg_url.is_some();
        let preferred = settings.and_then(|it| it.default.clone()).or(metadata.preferred_protocol);
        let protocol = preferred.unwrap_or_else(|| {
            if has_other && !has_oci { "warg".to_owned() } else { "oci".to_owned() }
        });
        if protocol != "oci" {
            return Err(PackageError::Protocol { registry, protocol });
        }
        let oci = metadata.oci.unwrap_or_default();
        let host = oci.registry.or(metadata.oci_registry).unwrap_or_else(|| registry.clone());
        let prefix = oci.namespace_prefix.or(metadata.oci_namespace_prefix).unwrap_or_default();
        let repository = format!("{prefix}{}", query.package.replace(':', "/"));

        let configured = settings.and_then(|it| it.oci.auth.clone()).and_then(|auth| match auth {
            AuthConfig::Password { username, password } => {
                Some(Credentials::Password { user: username, password: password.into() })
            }
            AuthConfig::Encoded(text) => Credentials::decode(&text),
        });
        let credentials = match (configured, self.0.credentials.clone()) {
            (Some(credentials), _) => Some(credentials),
            (None, Some(store)) => {
                let host = host.clone();
                let found = tokio::task::spawn_blocking(move || store.find(&host));
                found.await.map_err(io::Error::other)??
            }
            (None, None) => None,
        };
        let is_insecure = settings.is_some_and(|it| it.oci.protocol.as_deref() == Some("http"));
        Ok((client_of(&host, is_insecure, credentials)?, repository))
    }
}

/// Asks a registry about itself. One that says nothing keeps packages itself.
async fn ask(registry: &str) -> Result<Metadata, Box<dyn std::error::Error + Send + Sync>> {
    let mut url: Url = format!("https://{registry}/.well-known/wasm-pkg/registry.json").parse()?;
    if outbound::is_loopback(&url) {
        url = format!("http://{registry}/.well-known/wasm-pkg/registry.json").parse()?;
    }
    let client = outbound::client(&url).timeout(Duration::from_mins(1)).build()?;
    let mut response = client.get(url).send().await?;
    if response.status() == StatusCode::NOT_FOUND {
        return Ok(Metadata::default());
    }
    if !response.status().is_success() {
        return Err(format!("it answers {}", response.status()).into());
    }
    let mut bytes = Vec::new();
    while let Some(chunk) = response.chunk().await? {
        bytes.extend_from_slice(&chunk);
        if bytes.len() > METADATA_BYTES {
            return Err(format!("it is larger than {METADATA_BYTES} bytes").into());
        }
    }
    Ok(serde_json::from_slice(&bytes)?)
}

impl Client {
    /// The tags of a repository.
    ///
    /// # Errors
    /// See [`Error`].
    pub async fn tags(&self, repository: &str) -> Result<Vec<String>, Error> {
        #[derive(Deserialize)]
        struct Page {
            tags: Option<Vec<String>>,
        }
        let scope = Scope { repository, actions: "pull" };
        let mut url = self.url(repository, "tags/list")?;
        let mut tags = Vec::new();
        for _ in 0..TAG_PAGES {
            let (page, next) = retrying(|_| async {
                let mut response =
                    self.send(&scope, &url, || Ok(self.http.get(url.clone()))).await?;
                if !response.status().is_success() {
                    return Err(Error::from_response(
                        &format!("repository {repository}"),
                        response,
                    )
                    .await);
                }
                let link = response.headers().get(header::LINK);
                let next = link.and_then(|link| next_page(link.to_str().ok()?, &url));
                let mut bytes = Vec::new();
                while let Some(chunk) =
                    response.chunk().await.map_err(|err| Error::from_reqwest(&url, err))?
                {
                    bytes.extend_from_slice(&chunk);
                    if bytes.len() > TAGS_BYTES {
                        return Err(Error::Protocol("its list of tags is too long".into()));
                    }
                }
                let page: Page = serde_json::from_slice(&bytes)
                    .map_err(|_| Error::Protocol("its list of tags is malformed".into()))?;
                Ok((page, next))
            })
            .await?;
            tags.extend(page.tags.into_iter().flatten().filter(|tag| is_tag(tag)));
            match next {
                Some(next) => url = next,
                None => return Ok(tags),
            }
        }
        Err(Error::Protocol(format!("its list of tags has more than {TAG_PAGES} pages")))
    }
}

/// The URL in `<…>; rel="next"`, if it leads to the same host.
fn next_page(link: &str, base: &Url) -> Option<Url> {
    let (target, rest) = link.strip_prefix('<')?.split_once('>')?;
    let next = base.join(target).ok()?;
    (rest.contains("next") && next.origin() == base.origin()).then_some(next)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::registry::double::{Answer, Double};

    fn query(package: &str, version: &str) -> PackageQuery {
        PackageQuery { registry: None, package: package.into(), version: version.parse().unwrap() }
    }

    fn packages(dir: &Path, config: &str) -> Packages {
        let path = dir.join("config.toml");
        fs_err::write(&path, config).unwrap();
        Packages::new(&path, CredentialStore::new(dir.join("a"), dir.join("b"))).unwrap()
    }

    fn host(double: &Double) -> String {
        format!("127.0.0.1:{}", double.url().port().unwrap())
    }

    /// Puts a package into the registry, under that tag.
    fn put(double: &Double, tag: &str, layers: &[&'static str]) {
        let descriptor = |kind: &str, content: &'static str| {
            double.put_blob(&Digest::of(content), content);
            json!({ "mediaType": kind, "digest": Digest::of(content).to_string(), "size": content.len() })
        };
        let layers: Vec<_> = layers.iter().map(|it| descriptor("application/wasm", it)).collect();
        let config = descriptor("application/vnd.wasm.config.v0+json", "{}");
        let manifest = json!({ "schemaVersion": 2, "config": config, "layers": layers });
        double.put_manifest(tag, manifest.to_string());
    }

    #[tokio::test]
    async fn the_highest_version_that_fits_is_fetched_from_where_the_registry_says() {
        let (double, dir) = (Double::start().await, tempfile::tempdir().unwrap());
        put(&double, "1.2.0", &["older"]);
        put(&double, "1.10.0", &["newer"]);
        put(&double, "2.0.0", &["other"]);
        let metadata = json!({ "preferredProtocol": "oci", "oci": {
            "registry": host(&double), "namespacePrefix": "team/packages/",
        }});
        double.when(
            "GET /.well-known/wasm-pkg/registry.json",
            Answer::status(200).body(metadata.to_string()),
        );
        double.when(
            "GET /v2/team/packages/acme/tool/tags/list",
            Answer::status(200)
                .body(r#"{"tags":["1.2.0"]}"#)
                .header("link", "</v2/team/packages/acme/tool/more>; rel=\"next\""),
        );
        double.when(
            "GET /v2/team/packages/acme/tool/more",
            Answer::status(200).body(r#"{"tags":["latest","2.0.0","1.10.0"]}"#),
        );
        let packages = packages(dir.path(), &format!("default_registry = {:?}", host(&double)));
        let cache = dir.path().join("cache");
        let file = packages.fetch(&query("acme:tool", "^1.0"), &cache).await.unwrap();
        assert_eq!(fs_err::read_to_string(&file.path).unwrap(), "newer");
        let exact = packages.fetch(&query("acme:tool", "=1.2.0"), &cache).await.unwrap();
        assert_eq!(exact.digest, Digest::of("older"));
        let err = packages.fetch(&query("acme:tool", ">=3"), &cache).await.unwrap_err();
        assert_eq!(err.to_string(), "No matching version found for acme:tool >=3");

        fs_err::write(&file.path, "other bytes").unwrap();
        let err = packages.fetch(&query("acme:tool", "^1.0"), &cache).await.unwrap_err();
        assert!(matches!(err, PackageError::Damaged(..)), "{err}");
    }

    #[tokio::test]
    async fn what_is_no_package_is_refused() {
        let (double, dir) = (Double::start().await, tempfile::tempdir().unwrap());
        put(&double, "1.0.0", &["one", "two"]);
        // It says nothing about itself: the double answers 404.
        double
            .when("GET /v2/acme/tool/tags/list", Answer::status(200).body(r#"{"tags":["1.0.0"]}"#));
        let query = PackageQuery { registry: Some(host(&double)), ..query("acme:tool", "*") };
        let err = Packages::default().fetch(&query, dir.path()).await.unwrap_err();
        assert!(matches!(err, PackageError::NotAPackage(_)), "{err}");

        double.when(
            "GET /.well-known/wasm-pkg/registry.json",
            Answer::status(200).body(r#"{"wargUrl":"https://warg.example"}"#),
        );
        let err = Packages::default().fetch(&query, dir.path()).await.unwrap_err();
        assert!(matches!(err, PackageError::Protocol { .. }), "{err}");
    }

    #[test]
    fn packages_namespaces_and_defaults_have_their_registries() {
        let dir = tempfile::tempdir().unwrap();
        let packages = packages(
            dir.path(),
            "default_registry = \"default.example\"\n\
             [namespace_registries]\nacme = \"acme.example\"\n\
             own = { registry = \"own.example\", metadata = { preferredProtocol = \"oci\", oci = { registry = \"ghcr.example\", namespacePrefix = \"x/\" } } }\n\
             [package_registry_overrides]\n\"acme:special\" = \"special.example\"\n\
             [registry.\"acme.example\"]\ntype = \"oci\"\n[registry.\"acme.example\".oci]\nauth = { username = \"a\", password = \"b\" }\n",
        );
        let of = |package: &str| packages.registry(&query(package, "*")).unwrap();
        assert_eq!(of("acme:tool").0, "acme.example");
        assert_eq!(of("acme:special").0, "special.example");
        assert_eq!(of("any:thing").0, "default.example");
        let (own, metadata) = of("own:tool");
        let metadata = metadata.unwrap().oci.unwrap();
        assert_eq!(
            (own.as_str(), metadata.registry.as_deref()),
            ("own.example", Some("ghcr.example"))
        );
        let nowhere = Packages::default();
        assert_eq!(nowhere.registry(&query("wasi:http", "*")).unwrap().0, "wasi.dev");
        assert!(nowhere.registry(&query("any:thing", "*")).is_none());
        assert_eq!(
            PackageError::NoRegistry("any:thing".into()).to_string(),
            "No default registry specified for wasm-pkg-loader. Create a default config, or set `registry` for package \"any:thing\""
        );
    }
}
