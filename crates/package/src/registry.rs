//! The client of OCI registries: pushes what [`pack`](crate::pack) made, pulls what [`artifact`](crate::artifact) loads.
//!
//! Blobs stream between disk and network, eight at a time, and never lie in memory whole; what is pulled gets its
//! name only after its digest was found right. Steps that do no harm when repeated are repeated when the
//! connection breaks.

use std::{sync::Arc, time::Duration};

use gyre_model::Secret;
use http::StatusCode;
use reqwest::{RequestBuilder, Response};
use url::Url;

mod auth;
mod credentials;
#[cfg(test)]
pub(crate) mod double;
mod error;
mod packages;
mod progress;
mod pull;
mod push;
mod reference;
mod remote;
#[cfg(test)]
mod tests;

use auth::Auth;
pub use credentials::{CredentialStore, Credentials, CredentialsError};
pub use error::Error;
pub use packages::{PackageError, PackageQuery, Packages};
pub use progress::{Progress, Step};
pub use pull::Pulled;
pub use reference::{ImageReference, ParseReferenceError, Reference, is_repository, is_tag};
use remote::is_docker_hub;
pub use remote::{DIGEST_KEY, ORIGIN_SCHEME, Remote, RemoteError, client_of};

use crate::outbound;

/// Blobs under way at once.
const PARALLEL: usize = 8;
/// Attempts at a step that may be repeated.
const ATTEMPTS: u32 = 4;
/// The pause before the second attempt; each further one is twice as long.
const FIRST_PAUSE: Duration = Duration::from_millis(200);
/// The longest pause that a registry may ask for.
const LONGEST_PAUSE: Duration = Duration::from_secs(10);
/// How long an answer may take to begin, or to go on; sending what it answers is part of it.
const ANSWER_TIME: Duration = Duration::from_mins(5);
/// What is read of an error's body, in bytes.
const ERROR_BYTES: usize = 64 << 10;

/// A client of one registry. Cheap to clone; clones share connections and tokens.
#[derive(Debug, Clone)]
pub struct Client {
    http: reqwest::Client,
    base: Url,
    auth: Arc<Auth>,
}

impl Client {
    /// A client of the registry at `base`, of which scheme, host and port count. The token, if any, goes along
    /// with every request to that host.
    ///
    /// `localhost` and every name below it are this machine, whatever the resolver says.
    ///
    /// # Errors
    /// `base` is not an HTTP URL, or the TLS set-up failed.
    pub fn new(base: Url, token: Option<Secret<String>>) -> Result<Self, Error> {
        Self::with_auth(base, Auth::token(token))
    }

    /// A client with a user's name and password, for registries that are not Gyre's.
    ///
    /// # Errors
    /// As [`new`](Self::new).
    pub fn with_password(base: Url, user: String, password: Secret<String>) -> Result<Self, Error> {
        Self::with_auth(base, Auth::password(user, password))
    }

    /// A client with an identity token, which the registry's token endpoint takes in place of a password.
    ///
    /// # Errors
    /// As [`new`](Self::new).
    pub fn with_identity(base: Url, token: Secret<String>) -> Result<Self, Error> {
        Self::with_auth(base, Auth::identity(token))
    }

    /// Checks that the registry is there and takes the credentials.
    ///
    /// # Errors
    /// It does not, or there is none.
    pub async fn check(&self) -> Result<(), Error> {
        let url = self.base.join("/v2/").map_err(|_| Error::BadUrl(self.base.to_string()))?;
        let response = self.send(&Scope::NONE, &url, || Ok(self.http.get(url.clone()))).await?;
        if response.status().is_success() {
            return Ok(());
        }
        Err(Error::from_response("API of version 2", response).await)
    }

    fn with_auth(base: Url, auth: Auth) -> Result<Self, Error> {
        if !matches!(base.scheme(), "http" | "https") || base.host_str().is_none() {
            return Err(Error::BadUrl(base.to_string()));
        }
        let http = outbound::client(&base).read_timeout(ANSWER_TIME).build();
        let http = http.map_err(|err| Error::from_reqwest(&base, err))?;
        Ok(Self { http, base, auth: Arc::new(auth) })
    }

    /// The registry's URL.
    pub fn base(&self) -> &Url {
        &self.base
    }

    fn url(&self, repository: &str, rest: &str) -> Result<Url, Error> {
        if !is_repository(repository) {
            return Err(Error::BadName(repository.to_owned()));
        }
        let path = format!("/v2/{repository}/{rest}");
        self.base.join(&path).map_err(|_| Error::BadName(repository.to_owned()))
    }

    /// Sends a request, with the token where it goes to the registry itself; answers a challenge once.
    ///
    /// `request` may be called twice, so that it can carry a body.
    async fn send(
        &self,
        scope: &Scope<'_>,
        url: &Url,
        request: impl Fn() -> Result<RequestBuilder, Error>,
    ) -> Result<Response, Error> {
        let is_ours = self.base.origin() == url.origin();
        let mut answered = false;
        loop {
            let mut request = request()?;
            if is_ours {
                request = self.auth.authorize(request, scope);
            }
            let response = request.send().await.map_err(|err| Error::from_reqwest(url, err))?;
            if response.status() != StatusCode::UNAUTHORIZED || !is_ours || answered {
                return Ok(response);
            }
            answered = true;
            if !self.auth.answer_challenge(&self.http, &self.base, scope, &response).await? {
                return Ok(response);
            }
        }
    }
}

/// What a token is asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
struct Scope<'a> {
    repository: &'a str,
    actions: &'static str,
}

impl Scope<'_> {
    /// Nothing but to be known.
    const NONE: Scope<'static> = Scope { repository: "", actions: "" };

    fn text(&self) -> String {
        if self.repository.is_empty() {
            return String::new();
        }
        format!("repository:{}:{}", self.repository, self.actions)
    }
}

/// Does `step` until it succeeds, fails for good, or has failed [`ATTEMPTS`] times.
async fn retrying<T, F>(mut step: impl FnMut(u32) -> F) -> Result<T, Error>
where
    F: Future<Output = Result<T, Error>>,
{
    let mut attempt = 1;
    let mut pause = FIRST_PAUSE;
    loop {
        match step(attempt).await {
            Err(err) if attempt < ATTEMPTS && err.may_pass() => {
                tracing::debug!(error = %err, attempt, "a registry request is tried again");
                let asked = err.retry_after().unwrap_or(pause);
                tokio::time::sleep(asked.min(LONGEST_PAUSE)).await;
                attempt += 1;
                pause *= 2;
            }
            done => return done,
        }
    }
}
