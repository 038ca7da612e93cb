//! The runtime configuration file of `gyre up --runtime-config-file`: where an application's variables, stores and
//! databases come from, and what it may reach. Spin's format; a key that is not known is an error.

mod dotenv;

use std::{
    collections::BTreeMap,
    io,
    path::{Path, PathBuf},
};

use gyre_data::{CosmosSettings, DynamoSettings};
use gyre_model::Secret;
use gyre_runtime::{
    AzureCloud, AzureKeyVault, AzurePrincipal, ClientTls, ClientTlsError, ClientTlsSettings,
    ConnectionLimits, LlmBackend, LlmProtocol, OutboundConfig, VariablesProvider, Vault,
};
use ipnet::IpNet;
use serde::Deserialize;

pub use dotenv::{DotenvError, parse as parse_dotenv};

/// The longest file that is read, in bytes.
const MAX_BYTES: u64 = 1 << 20;

/// Why a runtime configuration file cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum RuntimeFileError {
    /// It cannot be read.
    #[error("cannot read {}", .0.display())]
    Read(PathBuf, #[source] io::Error),
    /// It is longer than a configuration is.
    #[error("{} is longer than {MAX_BYTES} bytes", .0.display())]
    TooLong(PathBuf),
    /// It is not TOML, or not a runtime configuration. The text shows where.
    #[error("invalid runtime config")]
    Invalid(#[from] toml::de::Error),
    /// A `dotenv_path` is not in that form.
    #[error("invalid {}", .0.display())]
    Dotenv(PathBuf, #[source] DotenvError),
    /// A setting has a value that it cannot have.
    #[error("invalid {key}: {reason}")]
    Value {
        /// The setting.
        key: String,
        /// Why not.
        reason: String,
    },
    /// A `[[client_tls]]` cannot be used.
    #[error("invalid client_tls")]
    Tls(#[from] ClientTlsError),
    /// A setting of Spin that is not there yet.
    #[error("{0} is not supported by this version of Gyre")]
    Unsupported(String),
}

/// What is in the file, as it is written.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
#[allow(clippy::struct_field_names, reason = "the keys are Spin's")]
pub struct RuntimeFile {
    state_dir: Option<String>,
    log_dir: Option<String>,
    max_instance_memory: Option<u64>,
    #[serde(alias = "config_provider")]
    variables_provider: Vec<Provider>,
    key_value_store: BTreeMap<String, Store>,
    sqlite_database: BTreeMap<String, Database>,
    llm_compute: Option<Models>,
    client_tls: Vec<Tls>,
    outbound_networking: Networking,
    outbound_http: Option<Http>,
    outbound_redis: Connections,
    outbound_pg: Connections,
    outbound_mysql: Connections,
    outbound_mqtt: Mqtt,
}

#[derive(Debug, Deserialize)]
#[serde(tag = "type", rename_all = "snake_case", deny_unknown_fields)]
enum Provider {
    Env {
        prefix: Option<String>,
        dotenv_path: Option<PathBuf>,
    },
    Static {
        #[serde(default)]
        values: BTreeMap<String, Text>,
    },
    Vault {
        url: String,
        token: Text,
        mount: String,
        prefix: Option<String>,
    },
    AzureKeyVault {
        vault_url: String,
        client_id: Option<String>,
        client_secret: Option<Text>,
        tenant_id: Option<String>,
        authority_host: Option<Cloud>,
    },
}

/// One of Azure's clouds, in Azure's words.
#[derive(Debug, Clone, Copy, Deserialize)]
#[allow(clippy::enum_variant_names, reason = "the words are Spin's")]
enum Cloud {
    AzurePublicCloud,
    AzureChina,
    AzureGermany,
    AzureGovernment,
}

impl From<Cloud> for AzureCloud {
    fn from(cloud: Cloud) -> Self {
        match cloud {
            Cloud::AzurePublicCloud => Self::Public,
            Cloud::AzureChina => Self::China,
            Cloud::AzureGermany => Self::Germany,
            Cloud::AzureGovernment => Self::Government,
        }
    }
}

#[derive(Debug, Deserialize)]
#[serde(tag = "type", rename_all = "snake_case", deny_unknown_fields)]
enum Store {
    Spin {
        path: Option<PathBuf>,
    },
    Redis {
        url: Text,
    },
    AzureCosmos {
        key: Option<Text>,
        account: String,
        database: String,
        container: String,
    },
    AwsDynamo {
        region: String,
        table: String,
        access_key: Option<String>,
        secret_key: Option<Text>,
        token: Option<Text>,
        #[serde(default)]
        consistent_read: bool,
    },
}

#[derive(Debug, Deserialize)]
#[serde(tag = "type", rename_all = "snake_case", deny_unknown_fields)]
enum Database {
    Spin {
        path: Option<PathBuf>,
        #[serde(default)]
        allow_attach_file: bool,
    },
    Libsql {
        url: String,
        token: Text,
    },
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Tls {
    component_ids: Vec<String>,
    hosts: Vec<String>,
    ca_use_platform_roots: Option<bool>,
    ca_use_webpki_roots: Option<bool>,
    ca_roots_file: Option<PathBuf>,
    client_cert_file: Option<PathBuf>,
    client_private_key_file: Option<PathBuf>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
struct Networking {
    block_networks: Vec<String>,
    max_socket_connections: Option<u32>,
    max_total_connections: Option<u32>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
struct Http {
    connection_pooling: bool,
    max_connections: Option<u32>,
    max_concurrent_requests: Option<u32>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
struct Connections {
    max_connections: Option<u32>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
struct Mqtt {
    max_connections: Option<u32>,
    max_payload_size_bytes: Option<u64>,
}

#[derive(Debug, Deserialize)]
#[serde(tag = "type", rename_all = "snake_case", deny_unknown_fields)]
enum Models {
    Spin,
    RemoteHttp {
        url: String,
        auth_token: Text,
        #[serde(default)]
        api_type: ModelsApi,
    },
}

#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "snake_case")]
enum ModelsApi {
    #[default]
    Default,
    OpenAi,
}

impl Models {
    fn backend(&self) -> Result<LlmBackend, RuntimeFileError> {
        let Self::RemoteHttp { url, auth_token, api_type } = self else {
            return Ok(LlmBackend::None);
        };
        let wrong =
            |reason: String| RuntimeFileError::Value { key: "llm_compute.url".to_owned(), reason };
        let url: url::Url =
            url.parse().map_err(|error: url::ParseError| wrong(error.to_string()))?;
        if !matches!(url.scheme(), "http" | "https") {
            return Err(wrong("it is no URL of http or https".to_owned()));
        }
        let protocol = match api_type {
            ModelsApi::Default => LlmProtocol::Spin,
            ModelsApi::OpenAi => LlmProtocol::OpenAi,
        };
        Ok(LlmBackend::Remote { url, auth_token: auth_token.0.expose().clone(), protocol })
    }
}

/// A text that is not shown.
#[derive(Debug, Deserialize)]
#[serde(from = "String")]
struct Text(Secret<String>);

impl From<String> for Text {
    fn from(text: String) -> Self {
        Self(text.into())
    }
}

/// Where a key-value store is.
#[derive(Debug, Clone)]
pub enum StoreKind {
    /// In memory.
    Memory,
    /// In a SQLite file.
    File(PathBuf),
    /// In the Redis database at that URL.
    Redis(Secret<String>),
    /// In a table of DynamoDB.
    Dynamo(DynamoSettings),
    /// In a container of Cosmos DB.
    Cosmos(CosmosSettings),
}

/// Where a database is.
#[derive(Debug, Clone)]
pub enum DatabaseKind {
    /// In this process.
    Local {
        /// Its file; without one it is in memory, each connection's own.
        path: Option<PathBuf>,
        /// Whether statements may attach other files.
        allow_attach_file: bool,
    },
    /// On a libSQL server.
    Libsql {
        /// Its URL.
        url: String,
        /// The token that it asks for; empty: none.
        token: Secret<String>,
    },
}

/// What a runtime configuration comes to.
#[derive(Debug, Clone, Default)]
pub struct RuntimeOptions {
    /// The folder for state; empty: none.
    pub state_dir: Option<String>,
    /// The folder for the components' output; empty: none.
    pub log_dir: Option<String>,
    /// The most that one linear memory may grow to, in bytes.
    pub memory_bytes: Option<u64>,
    /// Who is asked for variables, in order.
    pub providers: Vec<VariablesProvider>,
    /// Key-value stores, by label.
    pub stores: BTreeMap<String, StoreKind>,
    /// Databases, by label.
    pub databases: BTreeMap<String, DatabaseKind>,
    /// Networks that guests must not reach.
    pub blocked_networks: Vec<IpNet>,
    /// Whether they may reach no private, loopback, link-local or otherwise special address.
    pub block_private_networks: bool,
    /// What runs language models.
    pub llm: LlmBackend,
    /// Connections that the application may have at once.
    pub connections: Option<u32>,
    /// How its guests reach the world.
    pub outbound: OutboundConfig,
    /// What is read otherwise than it may be meant, for lines that say so.
    pub warnings: Vec<String>,
    /// What was configured, for the line that says so.
    pub summary: Vec<String>,
}

/// What a runtime configuration says. Unknown keys and types are errors, with their place.
///
/// # Errors
/// It is not TOML, or not a runtime configuration.
pub fn parse(text: &str) -> Result<RuntimeFile, toml::de::Error> {
    toml::from_str(text)
}

impl RuntimeOptions {
    /// Reads the file at `path`. `environment` is asked for variables by `env` providers.
    ///
    /// # Errors
    /// It cannot be read, is wrong, or asks for what is not there.
    pub fn read(
        path: &Path,
        environment: &BTreeMap<String, String>,
    ) -> Result<Self, RuntimeFileError> {
        let unreadable = |error| RuntimeFileError::Read(path.to_owned(), error);
        if fs_err::metadata(path).map_err(unreadable)?.len() > MAX_BYTES {
            return Err(RuntimeFileError::TooLong(path.to_owned()));
        }
        let text = fs_err::read_to_string(path).map_err(unreadable)?;
        let folder = path.parent().unwrap_or(Path::new(""));
        parse(&text)?.resolve(folder, environment)
    }
}

impl RuntimeFile {
    /// What it comes to. `folder` is the file's own, `environment` that of the process.
    ///
    /// # Errors
    /// A value is wrong, or asks for what is not there.
    pub fn resolve(
        self,
        folder: &Path,
        environment: &BTreeMap<String, String>,
    ) -> Result<RuntimeOptions, RuntimeFileError> {
        let summary = self.summary();
        let mut warnings = Vec::new();
        let outbound = self.outbound(folder, &mut warnings)?;
        let (blocked_networks, block_private_networks) = self.outbound_networking.blocked()?;
        let llm = self.llm_compute.as_ref().map(Models::backend).transpose()?.unwrap_or_default();
        let mut providers = Vec::new();
        for provider in self.variables_provider {
            providers.push(provider.resolve(environment)?);
        }
        let mut stores = BTreeMap::new();
        for (label, store) in self.key_value_store {
            let kind = match store {
                Store::Spin { path: None } => StoreKind::Memory,
                Store::Spin { path: Some(path) } => StoreKind::File(folder.join(path)),
                Store::Redis { url } => StoreKind::Redis(url.0),
                Store::AzureCosmos { key, account, database, container } => {
                    StoreKind::Cosmos(cosmos(&label, key, &account, database, container)?)
                }
                Store::AwsDynamo {
                    region,
                    table,
                    access_key,
                    secret_key,
                    token,
                    consistent_read,
                } => {
                    let keys = access_key.zip(secret_key).map(|(id, secret)| (id, secret, token));
                    let mut settings = dynamo(&label, keys, environment)?;
                    (settings.region, settings.table) = (region, table);
                    settings.consistent_read = consistent_read;
                    StoreKind::Dynamo(settings)
                }
            };
            stores.insert(label, kind);
        }
        let mut databases = BTreeMap::new();
        for (label, database) in self.sqlite_database {
            let kind = match database {
                // Relative to the working folder, unlike a store's.
                Database::Spin { path, allow_attach_file } => {
                    DatabaseKind::Local { path, allow_attach_file }
                }
                Database::Libsql { url, token } => DatabaseKind::Libsql { url, token: token.0 },
            };
            databases.insert(label, kind);
        }
        Ok(RuntimeOptions {
            state_dir: self.state_dir,
            log_dir: self.log_dir,
            memory_bytes: self.max_instance_memory,
            providers,
            stores,
            databases,
            blocked_networks,
            block_private_networks,
            llm,
            connections: self.outbound_networking.max_total_connections,
            outbound,
            warnings,
            summary,
        })
    }

    /// How guests reach the world. Blocks: certificates are read.
    fn outbound(
        &self,
        folder: &Path,
        warnings: &mut Vec<String>,
    ) -> Result<OutboundConfig, RuntimeFileError> {
        let http = self.outbound_http.as_ref();
        let max_http = match http.map(|it| (it.max_connections, it.max_concurrent_requests)) {
            Some((Some(_), Some(_))) => {
                return Err(RuntimeFileError::Value {
                    key: "outbound_http".to_owned(),
                    reason: "max_concurrent_requests is the old name of max_connections: give one"
                        .to_owned(),
                });
            }
            Some((None, Some(old))) => {
                let text = "outbound_http.max_concurrent_requests is deprecated: use \
                    max_connections (which is one less for the same effect: 0 is none)";
                warnings.push(text.to_owned());
                // As it was counted: 0 let one through.
                Some(old.saturating_add(1))
            }
            Some((max, None)) => max,
            None => None,
        };
        let connections = ConnectionLimits {
            http: max_http,
            redis: self.outbound_redis.max_connections,
            postgres: self.outbound_pg.max_connections,
            mysql: self.outbound_mysql.max_connections,
            mqtt: self.outbound_mqtt.max_connections,
            sockets: self.outbound_networking.max_socket_connections,
        };
        if let Some(total) = self.outbound_networking.max_total_connections {
            for (name, limit) in [
                ("outbound_http.max_connections", connections.http),
                ("outbound_redis.max_connections", connections.redis),
                ("outbound_pg.max_connections", connections.postgres),
                ("outbound_mysql.max_connections", connections.mysql),
                ("outbound_mqtt.max_connections", connections.mqtt),
                ("outbound_networking.max_socket_connections", connections.sockets),
            ] {
                if let Some(limit) = limit.filter(|limit| *limit > total) {
                    warnings.push(format!(
                        "{name} ({limit}) exceeds max_total_connections ({total}), which counts"
                    ));
                }
            }
        }
        let mut client_tls = Vec::new();
        for tls in &self.client_tls {
            client_tls.push(tls.resolve(folder)?);
        }
        Ok(OutboundConfig {
            connections,
            mqtt_payload_bytes: self.outbound_mqtt.max_payload_size_bytes,
            // A table that does not say so turns it off, as in Spin.
            is_http_pooled: http.is_none_or(|it| it.connection_pooling),
            client_tls,
            ..OutboundConfig::default()
        })
    }

    fn summary(&self) -> Vec<String> {
        let stores = self.key_value_store.iter().map(|(label, store)| {
            let kind = match store {
                Store::Spin { .. } => "spin",
                Store::Redis { .. } => "redis",
                Store::AzureCosmos { .. } => "azure_cosmos",
                Store::AwsDynamo { .. } => "aws_dynamo",
            };
            format!("[key_value_store.{label}: {kind}]")
        });
        let databases = self.sqlite_database.iter().map(|(label, database)| {
            let kind = match database {
                Database::Spin { .. } => "spin",
                Database::Libsql { .. } => "libsql",
            };
            format!("[sqlite_database.{label}: {kind}]")
        });
        let connections = self
            .outbound_networking
            .max_total_connections
            .map(|max| format!("[outbound_networking: max_total_connections={max}]"));
        stores.chain(databases).chain(connections).collect()
    }
}

impl Tls {
    fn resolve(&self, folder: &Path) -> Result<ClientTls, RuntimeFileError> {
        let read = |path: &PathBuf| {
            let path = folder.join(path);
            fs_err::read(&path).map_err(|error| RuntimeFileError::Read(path, error))
        };
        let certificate = match (&self.client_cert_file, &self.client_private_key_file) {
            (None, None) => None,
            (Some(certificate), Some(key)) => Some((read(certificate)?, read(key)?)),
            _ => {
                return Err(RuntimeFileError::Value {
                    key: "client_tls".to_owned(),
                    reason: "client_cert_file and client_private_key_file go together".to_owned(),
                });
            }
        };
        Ok(ClientTls::new(ClientTlsSettings {
            components: self.component_ids.clone(),
            hosts: self.hosts.clone(),
            platform_roots: self.ca_use_platform_roots,
            webpki_roots: self.ca_use_webpki_roots,
            roots: self.ca_roots_file.as_ref().map(read).transpose()?,
            certificate,
        })?)
    }
}

/// A container of Cosmos DB.
fn cosmos(
    label: &str,
    key: Option<Text>,
    account: &str,
    database: String,
    container: String,
) -> Result<CosmosSettings, RuntimeFileError> {
    let Some(key) = key else {
        let text = format!("key_value_store.{label} of type \"azure_cosmos\" without a key");
        return Err(RuntimeFileError::Unsupported(text));
    };
    let is_label = |it: &str| it.bytes().all(|it| it.is_ascii_alphanumeric() || it == b'-');
    if account.is_empty() || !is_label(account) {
        return Err(RuntimeFileError::Value {
            key: format!("key_value_store.{label}.account"),
            reason: format!("{account:?} is no account's name"),
        });
    }
    let endpoint = format!("https://{account}.documents.azure.com/");
    Ok(CosmosSettings { endpoint, key: key.0, database, container })
}

/// With what a table of DynamoDB is asked: the keys given, or those of the environment.
fn dynamo(
    label: &str,
    keys: Option<(String, Text, Option<Text>)>,
    environment: &BTreeMap<String, String>,
) -> Result<DynamoSettings, RuntimeFileError> {
    let get = |name: &str| environment.get(name).filter(|value| !value.is_empty()).cloned();
    let (access_key, secret_key, token) = match keys {
        Some((id, secret, token)) => (id, secret.0, token.map(|token| token.0)),
        None => match get("AWS_ACCESS_KEY_ID").zip(get("AWS_SECRET_ACCESS_KEY")) {
            Some((id, secret)) => (id, secret.into(), get("AWS_SESSION_TOKEN").map(Into::into)),
            None => {
                return Err(RuntimeFileError::Value {
                    key: format!("key_value_store.{label}"),
                    reason: "neither access_key and secret_key nor AWS_ACCESS_KEY_ID and \
                        AWS_SECRET_ACCESS_KEY are set"
                        .to_owned(),
                });
            }
        },
    };
    Ok(DynamoSettings {
        region: String::new(),
        table: String::new(),
        access_key,
        secret_key,
        token,
        endpoint: get("AWS_ENDPOINT_URL_DYNAMODB").or_else(|| get("AWS_ENDPOINT_URL")),
        consistent_read: false,
    })
}

impl Networking {
    fn blocked(&self) -> Result<(Vec<IpNet>, bool), RuntimeFileError> {
        let mut networks = Vec::new();
        for text in self.block_networks.iter().filter(|text| *text != "private") {
            let one = |text: &String| text.parse().map(|address: std::net::IpAddr| address.into());
            let network = text.parse().or_else(|_| one(text));
            networks.push(network.map_err(|_| RuntimeFileError::Value {
                key: "outbound_networking.block_networks".to_owned(),
                reason: format!("{text:?} is neither a network (10.0.0.0/8) nor \"private\""),
            })?);
        }
        Ok((networks, self.block_networks.iter().any(|text| text == "private")))
    }
}

impl Provider {
    fn resolve(
        self,
        environment: &BTreeMap<String, String>,
    ) -> Result<VariablesProvider, RuntimeFileError> {
        Ok(match self {
            Self::Env { prefix, dotenv_path } => {
                let mut variables = match dotenv_path {
                    Some(path) => read_dotenv(&path)?,
                    None => BTreeMap::new(),
                };
                variables.extend(environment.clone());
                let prefix = prefix.unwrap_or_else(|| "SPIN_VARIABLE".to_owned());
                VariablesProvider::environment_with(&format!("{prefix}_"), variables)
            }
            Self::Static { values } => VariablesProvider::Values(
                values.into_iter().map(|(name, value)| (name, value.0)).collect(),
            ),
            Self::Vault { url, token, mount, prefix } => {
                let vault = Vault::new(&url, token.0, &mount, prefix.as_deref());
                VariablesProvider::remote(std::sync::Arc::new(vault.map_err(|reason| {
                    RuntimeFileError::Value { key: "variables_provider.url".to_owned(), reason }
                })?))
            }
            Self::AzureKeyVault {
                vault_url,
                client_id,
                client_secret,
                tenant_id,
                authority_host,
            } => {
                let wrong = |reason: &str| RuntimeFileError::Value {
                    key: "variables_provider".to_owned(),
                    reason: reason.to_owned(),
                };
                let principal = match (client_id, client_secret, tenant_id) {
                    (Some(client_id), Some(client_secret), Some(tenant_id)) => AzurePrincipal {
                        tenant_id,
                        client_id,
                        client_secret: client_secret.0,
                        cloud: authority_host.map(Into::into).unwrap_or_default(),
                        authority: None,
                    },
                    (None, None, None) => AzurePrincipal::from_environment(environment)
                        .ok_or_else(|| {
                            wrong(
                                "neither client_id, client_secret and tenant_id nor AZURE_CLIENT_ID, \
                                 AZURE_CLIENT_SECRET and AZURE_TENANT_ID are set",
                            )
                        })?,
                    _ => {
                        return Err(wrong(
                            "client_id, client_secret and tenant_id go together: give all or none",
                        ));
                    }
                };
                let vault = AzureKeyVault::new(&vault_url, principal);
                VariablesProvider::remote(std::sync::Arc::new(vault.map_err(|it| wrong(&it))?))
            }
        })
    }
}

/// The variables of a file in dotenv's form.
///
/// # Errors
/// It cannot be read, or is not in that form.
pub fn read_dotenv(path: &Path) -> Result<BTreeMap<String, String>, RuntimeFileError> {
    let text = fs_err::read_to_string(path)
        .map_err(|error| RuntimeFileError::Read(path.to_owned(), error))?;
    parse_dotenv(&text).map_err(|error| RuntimeFileError::Dotenv(path.to_owned(), error))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn resolve(text: &str) -> Result<RuntimeOptions, RuntimeFileError> {
        let environment = [("A_COLOR", "red"), ("SPIN_VARIABLE_SIZE", "2")];
        let environment = environment.map(|(name, value)| (name.to_owned(), value.to_owned()));
        parse(text)?.resolve(Path::new("/etc/app"), &environment.into())
    }

    #[test]
    fn paths_of_stores_are_beside_the_file_and_those_of_databases_in_the_working_folder() {
        let options = resolve(
            "state_dir = ''\nmax_instance_memory = 1024\n\
             [key_value_store.a]\ntype = 'spin'\npath = 'a.db'\n\
             [key_value_store.b]\ntype = 'spin'\n\
             [key_value_store.c]\ntype = 'redis'\nurl = 'redis://u:geheim@h'\n\
             [sqlite_database.d]\ntype = 'spin'\npath = 'd.db'\n\
             [sqlite_database.e]\ntype = 'libsql'\nurl = 'http://h'\ntoken = 'geheim'\n\
             [outbound_networking]\nblock_networks = ['private', '1.2.3.0/24', '::1']\n",
        )
        .unwrap();
        assert!(
            matches!(&options.stores["a"], StoreKind::File(it) if it == Path::new("/etc/app/a.db"))
        );
        assert!(matches!(options.stores["b"], StoreKind::Memory));
        assert!(
            matches!(&options.stores["c"], StoreKind::Redis(it) if it.expose() == "redis://u:geheim@h")
        );
        assert!(
            matches!(&options.databases["d"], DatabaseKind::Local { path: Some(it), .. } if it == Path::new("d.db"))
        );
        assert!(
            matches!(&options.databases["e"], DatabaseKind::Libsql { token, .. } if token.expose() == "geheim")
        );
        assert_eq!(options.state_dir.as_deref(), Some(""));
        assert_eq!(options.memory_bytes, Some(1024));
        assert!(options.block_private_networks);
        let networks: Vec<_> = options.blocked_networks.iter().map(ToString::to_string).collect();
        assert_eq!(networks, ["1.2.3.0/24", "::1/128"]);
        assert_eq!(
            options.summary,
            [
                "[key_value_store.a: spin]",
                "[key_value_store.b: spin]",
                "[key_value_store.c: redis]",
                "[sqlite_database.d: spin]",
                "[sqlite_database.e: libsql]",
            ]
        );
        assert!(!format!("{options:?}").contains("geheim"));
    }

    #[test]
    fn providers_keep_their_order() {
        let dir = tempfile::tempdir().unwrap();
        let env = dir.path().join("vars");
        fs_err::write(&env, "A_COLOR=blue\nexport A_SHAPE='round one'\n").unwrap();
        let options = resolve(&format!(
            "[[variables_provider]]\ntype = 'env'\nprefix = 'A'\ndotenv_path = {env:?}\n\
             [[variables_provider]]\ntype = 'static'\nvalues = {{ x = 'y' }}\n\
             [[variables_provider]]\ntype = 'vault'\nurl = 'http://127.0.0.1:1'\ntoken = 't'\nmount = 'm'\n",
        ))
        .unwrap();
        let [first, second, VariablesProvider::Remote { .. }] = &options.providers[..] else {
            panic!("{:?}", options.providers)
        };
        let VariablesProvider::Environment(values) = first else { panic!("{first:?}") };
        let values: Vec<_> =
            values.iter().map(|(k, v)| (k.as_str(), v.expose().as_str())).collect();
        assert_eq!(values, [("COLOR", "red"), ("SHAPE", "round one")]);
        assert!(matches!(second, VariablesProvider::Values(it) if it["x"].expose() == "y"));
        resolve("[[config_provider]]\ntype = 'env'\n").unwrap();
    }

    #[test]
    fn mistakes_are_errors_that_say_where() {
        let error = resolve("state_dir = 'a'\nstate_dri = 'b'\n").unwrap_err();
        let text = std::error::Error::source(&error).unwrap().to_string();
        assert!(text.contains("line 2") && text.contains("state_dri"), "{text}");
        for wrong in [
            "[key_value_store.a]\ntype = 'etcd'\n",
            "[key_value_store.a]\ntype = 'redis'\n",
            "[key_value_store.a]\ntype = 'spin'\nurl = 'x'\n",
            "[sqlite_database.a]\npath = 'x'\n",
            "[sqlite_database.a]\ntype = 'libsql'\nurl = 'http://a'\n",
            "[[variables_provider]]\ntype = 'vault'\nurl = 'nothing'\ntoken = ''\nmount = ''\n",
            "[outbound_networking]\nblock_networks = ['public']\n",
            "[outbound_http]\nmax_connections = 1\nmax_concurrent_requests = 1\n",
            "[outbound_http]\nmax_connections = -1\n",
            "[[client_tls]]\nhosts = ['a']\n",
            "[[client_tls]]\ncomponent_ids = []\nhosts = ['a']\n",
            "[[client_tls]]\ncomponent_ids = ['a']\nhosts = ['a:1']\n",
            "key_value_store = 3\n",
            "[llm_compute]\ntype = 'remote_http'\nurl = 'ftp://a'\nauth_token = ''\n",
            "[llm_compute]\ntype = 'remote_http'\nurl = 'http://a'\nauth_token = ''\napi_type = 'x'\n",
        ] {
            resolve(wrong).unwrap_err();
        }
    }

    #[test]
    fn the_seed_of_the_fuzz_target_has_every_key() {
        parse(include_str!("../../../fuzz/seeds/runtime_config/all.toml")).unwrap();
        parse_dotenv(include_str!("../../../fuzz/seeds/runtime_config/one.env")).unwrap();
    }

    #[test]
    fn stores_of_clouds_have_their_keys_from_the_file_or_the_environment() {
        let with = |text: &str, environment: &[(&str, &str)]| {
            let all = environment.iter().map(|(k, v)| ((*k).to_owned(), (*v).to_owned())).collect();
            parse(text).unwrap().resolve(Path::new(""), &all).map(|mut it| it.stores.remove("a"))
        };
        let table = "[key_value_store.a]\ntype = 'aws_dynamo'\nregion = 'r'\ntable = 't'\n";
        let keys = [("AWS_ACCESS_KEY_ID", "id"), ("AWS_SECRET_ACCESS_KEY", "geheim")];
        let Ok(Some(StoreKind::Dynamo(settings))) = with(table, &keys) else { panic!() };
        assert_eq!((&*settings.region, &*settings.table, &*settings.access_key), ("r", "t", "id"));
        assert!(!settings.consistent_read && settings.endpoint.is_none());
        assert!(!format!("{settings:?}").contains("geheim"));
        let text = format!(
            "{table}access_key = 'own'\nsecret_key = 'x'\ntoken = 'y'\nconsistent_read = true\n"
        );
        let endpoint = [("AWS_ENDPOINT_URL", "http://e")];
        let Ok(Some(StoreKind::Dynamo(settings))) = with(&text, &endpoint) else { panic!() };
        assert_eq!(settings.access_key, "own");
        assert!(settings.consistent_read && settings.token.is_some());
        assert_eq!(settings.endpoint.as_deref(), Some("http://e"));
        assert!(matches!(with(table, &keys[..1]), Err(RuntimeFileError::Value { .. })));

        let container = "[key_value_store.a]\ntype = 'azure_cosmos'\naccount = 'acc'\n\
            database = 'd'\ncontainer = 'c'\n";
        let text = format!("{container}key = 'Z2VoZWlt'\n");
        let Ok(Some(StoreKind::Cosmos(settings))) = with(&text, &[]) else { panic!() };
        assert_eq!(settings.endpoint, "https://acc.documents.azure.com/");
        assert!(matches!(with(container, &[]), Err(RuntimeFileError::Unsupported(_))));
        let text = text.replace("'acc'", "'acc.example/'");
        assert!(matches!(with(&text, &[]), Err(RuntimeFileError::Value { .. })));
    }

    #[test]
    fn a_key_vault_is_asked_as_a_principal_that_is_given_whole_or_by_the_environment() {
        let with = |text: &str, environment: &[(&str, &str)]| {
            let vault =
                "[[variables_provider]]\ntype = 'azure_key_vault'\nvault_url = 'https://v'\n";
            let all = environment.iter().map(|(k, v)| ((*k).to_owned(), (*v).to_owned())).collect();
            parse(&format!("{vault}{text}"))?.resolve(Path::new(""), &all)
        };
        let all = "client_id = 'c'\nclient_secret = 's'\ntenant_id = 't'\n";
        with(all, &[]).unwrap();
        with(&format!("{all}authority_host = 'AzureGermany'\n"), &[]).unwrap();
        with(&format!("{all}authority_host = 'Elsewhere'\n"), &[]).unwrap_err();
        let environment =
            [("AZURE_CLIENT_ID", "c"), ("AZURE_CLIENT_SECRET", "s"), ("AZURE_TENANT_ID", "t")];
        with("", &environment).unwrap();
        with("", &environment[1..]).unwrap_err();
        let error = with("client_id = 'c'\n", &environment).unwrap_err();
        assert!(error.to_string().contains("all or none"), "{error}");
    }

    #[test]
    fn connections_are_limited_by_kind() {
        let options = resolve(
            "[outbound_networking]\nmax_socket_connections = 1\nmax_total_connections = 4\n\
             [outbound_http]\nmax_connections = 0\nconnection_pooling = true\n\
             [outbound_redis]\nmax_connections = 2\n[outbound_pg]\nmax_connections = 3\n\
             [outbound_mysql]\nmax_connections = 4\n\
             [outbound_mqtt]\nmax_connections = 5\nmax_payload_size_bytes = 6\n",
        )
        .unwrap();
        let expected = ConnectionLimits {
            http: Some(0),
            redis: Some(2),
            postgres: Some(3),
            mysql: Some(4),
            mqtt: Some(5),
            sockets: Some(1),
        };
        assert_eq!(options.outbound.connections, expected);
        assert_eq!((options.connections, options.outbound.mqtt_payload_bytes), (Some(4), Some(6)));
        assert!(options.outbound.is_http_pooled);
        let [warning] = &options.warnings[..] else { panic!("{:?}", options.warnings) };
        assert!(warning.starts_with("outbound_mqtt.max_connections (5)"), "{warning}");
    }

    #[test]
    fn connections_of_http_are_not_kept_where_a_table_does_not_say_so() {
        let pooled = |text: &str| resolve(text).unwrap().outbound.is_http_pooled;
        assert!(pooled(""));
        assert!(!pooled("[outbound_http]\n"));
        assert!(!pooled("[outbound_http]\nconnection_pooling = false\n"));
        let old = resolve("[outbound_http]\nmax_concurrent_requests = 0\n").unwrap();
        assert_eq!(old.outbound.connections.http, Some(1));
        assert_eq!(old.warnings.len(), 1);
    }

    #[test]
    fn files_of_tls_are_beside_the_file() {
        let dir = tempfile::tempdir().unwrap();
        let table = "[[client_tls]]\ncomponent_ids = ['a']\nhosts = ['h']\n";
        let resolve = |text: &str| {
            let text = format!("{table}{text}");
            parse(&text).unwrap().resolve(dir.path(), &BTreeMap::new())
        };
        assert_eq!(resolve("").unwrap().outbound.client_tls.len(), 1);
        let text = "ca_roots_file = 'roots.pem'\n";
        assert!(
            matches!(resolve(text), Err(RuntimeFileError::Read(path, _)) if path == dir.path().join("roots.pem"))
        );
        fs_err::write(dir.path().join("roots.pem"), "nothing").unwrap();
        assert!(matches!(resolve(text), Err(RuntimeFileError::Tls(_))));
        assert!(matches!(resolve("client_cert_file = 'x'\n"), Err(RuntimeFileError::Value { .. })));
    }

    #[test]
    fn models_are_with_a_server_or_nowhere() {
        let llm = |text: &str| resolve(text).unwrap().llm;
        assert!(matches!(llm(""), LlmBackend::None));
        assert!(matches!(llm("[llm_compute]\ntype = 'spin'\n"), LlmBackend::None));
        let remote =
            "[llm_compute]\ntype = 'remote_http'\nurl = 'http://a'\nauth_token = 'geheim'\n";
        let LlmBackend::Remote { url, auth_token, protocol } = llm(remote) else { panic!() };
        assert_eq!(
            (url.as_str(), &*auth_token, protocol),
            ("http://a/", "geheim", LlmProtocol::Spin)
        );
        let open_ai = llm(&format!("{remote}api_type = 'open_ai'\n"));
        assert!(matches!(open_ai, LlmBackend::Remote { protocol: LlmProtocol::OpenAi, .. }));
        assert!(!format!("{open_ai:?}").contains("geheim"));
    }
}
