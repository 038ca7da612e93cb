//! A client of Bindle's protocol.
//!
//! What comes from a server is verified against the invoice before anybody else sees it; whether the invoice is believed is for the
//! caller to say, with a [`Strategy`](super::Strategy).

use std::{path::Path, pin::pin, time::Duration};

use futures::{StreamExt as _, TryStreamExt as _};
use gyre_model::Secret;
use http::{Method, StatusCode, header};
use reqwest::{RequestBuilder, Response};
use serde::{Deserialize, de::DeserializeOwned};
use tokio::io::AsyncWriteExt as _;
use url::Url;

use super::{
    BindleId, Invoice, InvoiceError, Label, TOML_MEDIA_TYPE,
    keys::{Keyring, KeysError},
    search::{Matches, Query},
    standalone::{Standalone, StandaloneError, Writer},
};
use crate::{limits, outbound};

/// Parcels that are sent or fetched at once.
const AT_ONCE: usize = 16;
/// How long a server may be silent.
const ANSWER_TIME: Duration = Duration::from_mins(5);
/// A refusal, in bytes.
const REFUSAL_BYTES: u64 = 64 << 10;

/// As whom.
#[derive(Debug, Clone, Default)]
pub enum Credentials {
    /// Nobody.
    #[default]
    None,
    /// A name and a password.
    Password {
        /// The name.
        user: String,
        /// The password.
        password: Secret<String>,
    },
    /// Whoever has the token.
    Token(Secret<String>),
}

/// Why a server did not do what it was asked.
#[derive(Debug, thiserror::Error)]
pub enum ClientError {
    /// It cannot be reached, or the connection broke.
    #[error("cannot reach the Bindle server")]
    Http(#[from] reqwest::Error),
    /// The address is none.
    #[error("{0:?} is not the address of a Bindle server")]
    Address(String),
    /// There is no such thing, or it is yanked.
    #[error("{0} was not found")]
    NotFound(String),
    /// It is there already.
    #[error("{0} already exists on the server")]
    Exists(String),
    /// A bindle by that name and version is there already, with something else in it.
    #[error("{0} already exists on the server, and is another one: choose another version")]
    Different(String),
    /// The credentials are not good enough.
    #[error("the server asks for other credentials: {0}")]
    Unauthorized(String),
    /// A login that came to nothing.
    #[error("the login has failed: {0}")]
    Login(String),
    /// Anything else that it said.
    #[error("the server answered {status}: {message}")]
    Refused {
        /// The status.
        status: StatusCode,
        /// What it said.
        message: String,
    },
    /// What it answered is not what the protocol says.
    #[error("the server's answer is malformed")]
    Malformed(#[source] toml::de::Error),
    /// The same, of an invoice.
    #[error(transparent)]
    Invoice(#[from] InvoiceError),
    /// The same, of keys.
    #[error(transparent)]
    Keys(#[from] KeysError),
    /// It answered more than may be.
    #[error("the server answered more than {0} bytes")]
    TooLarge(u64),
    /// A bindle on its own, to send or to write.
    #[error(transparent)]
    Standalone(#[from] StandaloneError),
    /// The disk.
    #[error(transparent)]
    Io(#[from] std::io::Error),
}

/// What an invoice was answered with.
#[derive(Debug, Clone, Deserialize)]
pub struct Created {
    /// As the server keeps it.
    pub invoice: Invoice,
    /// The parcels that it does not have.
    #[serde(default)]
    pub missing: Vec<Label>,
}

#[derive(Deserialize)]
struct Missing {
    #[serde(default)]
    missing: Vec<Label>,
}

#[derive(Deserialize)]
struct Refusal {
    error: String,
}

/// A Bindle server, as a client sees it. Cheap to clone.
#[derive(Debug, Clone)]
pub struct Client {
    base: Url,
    http: reqwest::Client,
    credentials: Credentials,
    is_insecure: bool,
}

impl Client {
    /// The server at that address: all of its paths come after it.
    ///
    /// # Errors
    /// The address is none.
    pub fn new(
        address: &str,
        credentials: Credentials,
        is_insecure: bool,
    ) -> Result<Self, ClientError> {
        let wrong = || ClientError::Address(address.to_owned());
        let mut base: Url = address.parse().map_err(|_| wrong())?;
        if !matches!(base.scheme(), "http" | "https") || base.cannot_be_a_base() {
            return Err(wrong());
        }
        if !base.path().ends_with('/') {
            base.set_path(&format!("{}/", base.path()));
        }
        let http = outbound::client(&base)
            .danger_accept_invalid_certs(is_insecure)
            .read_timeout(ANSWER_TIME)
            .build()?;
        Ok(Self { base, http, credentials, is_insecure })
    }

    /// The address.
    pub fn address(&self) -> &Url {
        &self.base
    }

    /// The same server, asked as somebody.
    #[must_use]
    pub fn with_credentials(self, credentials: Credentials) -> Self {
        Self { credentials, ..self }
    }

    pub(super) fn is_insecure(&self) -> bool {
        self.is_insecure
    }

    /// An invoice.
    pub async fn invoice(&self, id: &BindleId, with_yanked: bool) -> Result<Invoice, ClientError> {
        let mut request = self.request(Method::GET, &format!("_i/{id}"));
        if with_yanked {
            request = request.query(&[("yanked", "true")]);
        }
        let response = success(request.send().await?, || format!("the bindle {id}")).await?;
        Ok(Invoice::from_toml(&text(response, limits::INVOICE_BYTES).await?)?)
    }

    /// Sends an invoice.
    pub async fn create(&self, invoice: &Invoice) -> Result<Created, ClientError> {
        let request = self
            .request(Method::POST, "_i")
            .header(header::CONTENT_TYPE, TOML_MEDIA_TYPE)
            .body(invoice.to_toml());
        let name = || format!("the bindle {}/{}", invoice.bindle.name, invoice.bindle.version);
        parse(success(request.send().await?, name).await?).await
    }

    /// The parcels that the server does not have.
    pub async fn missing(&self, id: &BindleId) -> Result<Vec<Label>, ClientError> {
        let request = self.request(Method::GET, &format!("_r/missing/{id}"));
        let response = success(request.send().await?, || format!("the bindle {id}")).await?;
        Ok(parse::<Missing>(response).await?.missing)
    }

    /// Sends a file as a parcel. That it is there already is no error.
    pub async fn send_parcel(
        &self,
        id: &BindleId,
        label: &Label,
        file: &Path,
    ) -> Result<(), ClientError> {
        let file = tokio::fs::File::open(file).await?;
        let body = reqwest::Body::wrap_stream(tokio_util::io::ReaderStream::new(file));
        let request = self.request(Method::POST, &format!("_i/{id}@{}", label.sha256)).body(body);
        let name = || format!("the parcel {}", label.sha256);
        match success(request.send().await?, name).await {
            Ok(_) | Err(ClientError::Exists(_)) => Ok(()),
            Err(error) => Err(error),
        }
    }

    /// Fetches a parcel into a bindle that is being made.
    pub async fn fetch_parcel(
        &self,
        id: &BindleId,
        label: &Label,
        to: &Writer,
    ) -> Result<(), ClientError> {
        let folder = tempfile::Builder::new().prefix("parcel-").tempdir()?;
        let path = folder.path().join("content");
        self.download(id, label, &path).await?;
        let mut file = fs_err::File::open(&path)?;
        Ok(to.add(label, &mut file)?)
    }

    /// Writes a parcel's bytes to a file. They are not verified but for not being more than the label says.
    pub async fn download(
        &self,
        id: &BindleId,
        label: &Label,
        path: &Path,
    ) -> Result<(), ClientError> {
        let request = self
            .request(Method::GET, &format!("_i/{id}@{}", label.sha256))
            .header(header::ACCEPT, "*/*");
        let name = || format!("the parcel {}", label.sha256);
        let response = success(request.send().await?, name).await?;
        let mut file = tokio::fs::File::create(path).await?;
        let mut pieces = pin!(response.bytes_stream());
        let mut size = 0;
        while let Some(piece) = pieces.next().await {
            let piece = piece?;
            size += piece.len() as u64;
            if size > label.size {
                return Err(ClientError::TooLarge(label.size));
            }
            file.write_all(&piece).await?;
        }
        file.flush().await?;
        Ok(())
    }

    /// Says that nobody should use it any more.
    pub async fn yank(&self, id: &BindleId) -> Result<(), ClientError> {
        let request = self.request(Method::DELETE, &format!("_i/{id}"));
        success(request.send().await?, || format!("the bindle {id}")).await.map(drop)
    }

    /// Searches.
    pub async fn search(&self, query: &Query) -> Result<Matches, ClientError> {
        let parameters = [
            ("query", query.term.clone()),
            ("version", query.version.clone()),
            ("offset", query.offset.to_string()),
            ("limit", query.limit.to_string()),
            ("strict", query.strict.to_string()),
            ("yanked", query.yanked.to_string()),
        ];
        let parameters = parameters.into_iter().filter(|(_, value)| !value.is_empty());
        let request = self.request(Method::GET, "_q").query(&parameters.collect::<Vec<_>>());
        parse(success(request.send().await?, || "the search".to_owned()).await?).await
    }

    /// The keys with which the server signs.
    pub async fn keys(&self) -> Result<Keyring, ClientError> {
        let request = self.request(Method::GET, "bindle-keys").query(&[("roles", "host")]);
        let response = success(request.send().await?, || "the list of keys".to_owned()).await?;
        Ok(Keyring::from_toml(&text(response, limits::KEYS_BYTES).await?)?)
    }

    /// Sends a bindle with those of its parcels that the server lacks and that are at hand; `sent` is told of each. What the server
    /// lacks and is not at hand either is answered.
    ///
    /// An invoice that is there already is taken up where a broken push left it, if it lists the same.
    pub async fn push(
        &self,
        bindle: &Standalone,
        sent: impl Fn(&Label) + Sync,
    ) -> Result<Vec<Label>, ClientError> {
        let id = bindle.invoice().id().map_err(InvoiceError::Id)?;
        let missing = match self.create(bindle.invoice()).await {
            Ok(created) => created.missing,
            Err(ClientError::Exists(what)) => {
                let (there, ours) = (self.invoice(&id, false).await?, bindle.invoice());
                if (&there.parcel, &there.group) != (&ours.parcel, &ours.group) {
                    return Err(ClientError::Different(what));
                }
                self.missing(&id).await?
            }
            Err(error) => return Err(error),
        };
        let (at_hand, absent): (Vec<_>, Vec<_>) =
            missing.into_iter().partition(|label| bindle.parcel(label).is_some());
        let (id, sent) = (&id, &sent);
        futures::stream::iter(at_hand)
            .map(|label| async move {
                if let Some(file) = bindle.parcel(&label) {
                    self.send_parcel(id, &label, &file).await?;
                }
                sent(&label);
                Ok::<_, ClientError>(())
            })
            .buffer_unordered(AT_ONCE)
            .try_collect::<()>()
            .await?;
        Ok(absent)
    }

    /// Fetches those parcels of an invoice into a folder of its own below `into` that are not there; `fetched` is told of each.
    pub async fn pull(
        &self,
        invoice: Invoice,
        into: &Path,
        fetched: impl Fn(&Label) + Sync,
    ) -> Result<Standalone, ClientError> {
        let id = invoice.id().map_err(InvoiceError::Id)?;
        let labels: Vec<_> = invoice.parcel.iter().map(|parcel| parcel.label.clone()).collect();
        let writer = Writer::new(into, invoice)?;
        let (id, to, fetched) = (&id, &writer, &fetched);
        futures::stream::iter(labels)
            .map(|label| async move {
                if !to.has(&label) {
                    self.fetch_parcel(id, &label, to).await?;
                }
                fetched(&label);
                Ok::<_, ClientError>(())
            })
            .buffer_unordered(AT_ONCE)
            .try_collect::<()>()
            .await?;
        Ok(writer.finish()?)
    }

    pub(super) fn request(&self, method: Method, path: &str) -> RequestBuilder {
        let mut url = self.base.clone();
        url.set_path(&format!("{}{path}", self.base.path()));
        let request = self.http.request(method, url).header(header::ACCEPT, TOML_MEDIA_TYPE);
        match &self.credentials {
            Credentials::None => request,
            Credentials::Password { user, password } => {
                request.basic_auth(user, Some(password.expose()))
            }
            Credentials::Token(token) => request.bearer_auth(token.expose()),
        }
    }
}

/// The response if it is a success, else what the server said of `what`.
pub(super) async fn success(
    response: Response,
    what: impl Fn() -> String,
) -> Result<Response, ClientError> {
    let status = response.status();
    if status.is_success() {
        return Ok(response);
    }
    let said = text(response, REFUSAL_BYTES).await.unwrap_or_default();
    let message = toml::from_str::<Refusal>(&said).map_or(said, |refusal| refusal.error);
    let message = message.trim().to_owned();
    Err(match status {
        StatusCode::NOT_FOUND => ClientError::NotFound(what()),
        StatusCode::CONFLICT => ClientError::Exists(what()),
        StatusCode::UNAUTHORIZED => ClientError::Unauthorized(message),
        status => ClientError::Refused { status, message },
    })
}

pub(super) async fn parse<T: DeserializeOwned>(response: Response) -> Result<T, ClientError> {
    // A page of a search has many invoices.
    let text = text(response, limits::INVOICE_BYTES * 16).await?;
    toml::from_str(&text).map_err(ClientError::Malformed)
}

pub(super) async fn text(mut response: Response, limit: u64) -> Result<String, ClientError> {
    let mut bytes = Vec::new();
    while let Some(piece) = response.chunk().await? {
        if bytes.len() as u64 + piece.len() as u64 > limit {
            return Err(ClientError::TooLarge(limit));
        }
        bytes.extend_from_slice(&piece);
    }
    Ok(String::from_utf8_lossy(&bytes).into_owned())
}
