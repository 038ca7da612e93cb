//! A typed client of a Gyre server: what the command line uses.
//!
//! Every method is one request, or says otherwise. `localhost` and `*.localhost` are this machine, whatever the resolver thinks
//! of them. A failure says who failed: the address, the way there, the token, or the server with its reason.

mod account;
mod error;
mod logs;

use std::{collections::BTreeMap, net::Ipv4Addr, net::SocketAddr, time::Duration, time::Instant};

use gyre_model::{Digest, ReleaseId, Secret};
use reqwest::{Method, RequestBuilder, Response, StatusCode};
use serde::{Serialize, de::DeserializeOwned};
use url::Url;

pub use account::DevicePoll;
pub use error::Error;
pub use logs::{LogFollower, LogQuery};

use crate::{Problem, v1};

/// Time for one request that does not wait for anything.
const REQUEST_TIME: Duration = Duration::from_secs(30);
/// The server sends something at least every 15 seconds, or answers a wait of a minute.
const SILENCE: Duration = Duration::from_secs(90);
/// The longest wait that one request asks for.
const WAIT_SECONDS: u64 = 20;

/// How to reach a server.
#[derive(Debug, Clone, Default)]
pub struct ClientOptions {
    /// Its address: `https://cloud.example.com` or `http://gyre.localhost:8000`; a path is kept.
    pub url: String,
    /// The caller's token, for all but signing in.
    pub token: Option<Secret<String>>,
    /// Whether any TLS certificate will do. For trying things out.
    pub accept_invalid_certificates: bool,
    /// Sent as `User-Agent`; by default `gyre-api/<version>`.
    pub user_agent: Option<String>,
}

/// A client of one server. Cheap to clone; clones share connections.
#[derive(Debug, Clone)]
pub struct Client {
    http: reqwest::Client,
    base: Url,
    token: Option<Secret<String>>,
}

impl Client {
    /// A client of the server at `options.url`. Connects to nothing yet.
    pub fn new(options: ClientOptions) -> Result<Self, Error> {
        let base = base_url(&options.url)?;
        let agent = options
            .user_agent
            .unwrap_or_else(|| concat!("gyre-api/", env!("CARGO_PKG_VERSION")).to_owned());
        let mut builder = reqwest::Client::builder()
            .user_agent(agent)
            .connect_timeout(Duration::from_secs(10))
            .read_timeout(SILENCE)
            .redirect(reqwest::redirect::Policy::none())
            .tls_danger_accept_invalid_certs(options.accept_invalid_certificates);
        if let Some(host) = base.host_str().filter(|host| is_this_machine(host)) {
            // A port of 0 stands for the URL's own.
            builder = builder.no_proxy();
            if host.parse::<std::net::IpAddr>().is_err() && !host.starts_with('[') {
                builder = builder.resolve(host, SocketAddr::from((Ipv4Addr::LOCALHOST, 0)));
            }
        }
        let http = builder.build().map_err(Error::Setup)?;
        Ok(Self { http, base, token: options.token })
    }

    /// The server's address, with a trailing `/`.
    pub fn url(&self) -> &Url {
        &self.base
    }

    /// The token in use.
    pub fn token(&self) -> Option<&Secret<String>> {
        self.token.as_ref()
    }

    /// The same client with another token.
    #[must_use]
    pub fn with_token(&self, token: Secret<String>) -> Self {
        Self { token: Some(token), ..self.clone() }
    }

    /// What the server is. Needs no token.
    pub async fn info(&self) -> Result<v1::Info, Error> {
        self.ask(Method::GET, "api/v1/info", &()).await
    }

    /// Whose token this is. The way to find out whether it is good.
    pub async fn account(&self) -> Result<v1::Account, Error> {
        self.ask(Method::GET, "api/v1/account", &()).await
    }

    // Apps. `app` is a name or an id everywhere.

    /// All apps of the account, by name. As many requests as there are pages.
    pub async fn apps(&self) -> Result<Vec<v1::App>, Error> {
        let mut apps = Vec::new();
        let mut query = v1::AppsQuery { after: None, limit: Some(500) };
        loop {
            let page: v1::Apps = self.ask(Method::GET, "api/v1/apps", &query).await?;
            apps.extend(page.items);
            match page.next {
                Some(next) => query.after = Some(next),
                None => return Ok(apps),
            }
        }
    }

    /// One app.
    pub async fn app(&self, app: &str) -> Result<v1::App, Error> {
        self.ask(Method::GET, &app_path(app, ""), &()).await
    }

    /// Makes an app of that name, or finds the one that is there.
    pub async fn ensure_app(&self, name: &str) -> Result<v1::App, Error> {
        self.ask(Method::PUT, &app_path(name, ""), &()).await
    }

    /// Deletes an app: its hosts answer 404 from then on.
    pub async fn delete_app(&self, app: &str) -> Result<(), Error> {
        self.command(self.request(Method::DELETE, &app_path(app, ""))).await
    }

    // Revisions and releases.

    /// The app's revisions, newest first.
    pub async fn revisions(&self, app: &str) -> Result<Vec<v1::Revision>, Error> {
        let revisions: v1::Revisions =
            self.ask(Method::GET, &app_path(app, "/revisions"), &()).await?;
        Ok(revisions.items)
    }

    /// Makes a release of what was pushed. Answers at once; [`Client::wait_for_release`] tells what became of it.
    pub async fn create_release(
        &self,
        app: &str,
        create: &v1::CreateRelease,
    ) -> Result<v1::Release, Error> {
        let request = self.request(Method::POST, &app_path(app, "/releases"));
        self.send(request.json(create)).await
    }

    /// Makes a release of the manifest `digest` in the default channel.
    pub async fn deploy(
        &self,
        app: &str,
        digest: Digest,
        variables: BTreeMap<String, String>,
    ) -> Result<v1::Release, Error> {
        let create =
            v1::CreateRelease { digest: Some(digest), variables, ..v1::CreateRelease::default() };
        self.create_release(app, &create).await
    }

    /// A release as it is now, or once it has settled, at most `wait` (whole seconds) later.
    pub async fn release(
        &self,
        app: &str,
        id: ReleaseId,
        wait: Duration,
    ) -> Result<v1::Release, Error> {
        let seconds = wait.as_secs().min(60);
        let query = v1::ReleaseQuery { wait: Some(seconds as u32) };
        let request = self
            .request(Method::GET, &app_path(app, &format!("/releases/{id}")))
            .query(&query)
            .timeout(REQUEST_TIME + Duration::from_secs(seconds));
        self.send(request).await
    }

    /// Waits until a release has settled (see [`v1::Release::is_settled`]) or `time` is over, and returns it as it
    /// is then. Asks as often as it takes; `on_state` sees each answer.
    pub async fn wait_for_release(
        &self,
        app: &str,
        id: ReleaseId,
        time: Duration,
        mut on_state: impl FnMut(&v1::Release),
    ) -> Result<v1::Release, Error> {
        let deadline = Instant::now() + time;
        loop {
            let left = deadline.saturating_duration_since(Instant::now());
            let wait = left.min(Duration::from_secs(WAIT_SECONDS));
            let release = self.release(app, id, wait).await?;
            on_state(&release);
            if release.is_settled() || left < Duration::from_secs(1) {
                return Ok(release);
            }
        }
    }

    /// Makes a release of an earlier revision; without one, of that which was active before the present one.
    pub async fn rollback(&self, app: &str, revision: Option<&str>) -> Result<v1::Release, Error> {
        let body = v1::Rollback { revision: revision.map(str::to_owned), channel: None };
        self.send(self.request(Method::POST, &app_path(app, "/rollback")).json(&body)).await
    }

    // Variables.

    /// The names of the variables that are set. Their values never leave the server.
    pub async fn variables(&self, app: &str) -> Result<Vec<v1::Variable>, Error> {
        let variables: v1::Variables =
            self.ask(Method::GET, &app_path(app, "/variables"), &()).await?;
        Ok(variables.items)
    }

    /// Sets and deletes variables in one step. Answers with the release by which it comes into effect, if the app has any.
    pub async fn set_variables(
        &self,
        app: &str,
        change: &v1::SetVariables,
    ) -> Result<Option<v1::Release>, Error> {
        let request = self.request(Method::PATCH, &app_path(app, "/variables"));
        let changed: v1::VariablesChanged = self.send(request.json(change)).await?;
        Ok(changed.release)
    }

    // How requests are made.

    fn request(&self, method: Method, path: &str) -> RequestBuilder {
        let url = format!("{}{path}", self.base);
        let request = self.http.request(method, url).timeout(REQUEST_TIME);
        let request = request.header("accept", "application/json");
        match &self.token {
            Some(token) => request.bearer_auth(token.expose()),
            None => request,
        }
    }

    async fn ask<T: DeserializeOwned>(
        &self,
        method: Method,
        path: &str,
        query: &impl Serialize,
    ) -> Result<T, Error> {
        self.send(self.request(method, path).query(query)).await
    }

    async fn send<T: DeserializeOwned>(&self, request: RequestBuilder) -> Result<T, Error> {
        let response = self.response(request).await?;
        let status = response.status();
        let bytes = response.bytes().await.map_err(|error| Error::from_http(&self.base, error))?;
        serde_json::from_slice(&bytes).map_err(|source| Error::Answer {
            url: self.base.to_string(),
            status: status.as_u16(),
            source: Some(source),
        })
    }

    async fn command(&self, request: RequestBuilder) -> Result<(), Error> {
        self.response(request).await.map(drop)
    }

    async fn response(&self, request: RequestBuilder) -> Result<Response, Error> {
        let response = request.send().await.map_err(|error| Error::from_http(&self.base, error))?;
        let status = response.status();
        if status.is_success() {
            return Ok(response);
        }
        let retry_after = response
            .headers()
            .get("retry-after")
            .and_then(|value| value.to_str().ok()?.parse().ok())
            .map(Duration::from_secs);
        let body = response.bytes().await.unwrap_or_default();
        Err(self.refused(status, &body, retry_after))
    }

    /// What an answer that is no success means.
    fn refused(&self, status: StatusCode, body: &[u8], retry_after: Option<Duration>) -> Error {
        let url = self.base.to_string();
        let problem = serde_json::from_slice::<Problem>(body)
            .ok()
            .filter(|problem| !problem.detail.is_empty() || !problem.title.is_empty());
        match problem {
            Some(problem) if status == StatusCode::UNAUTHORIZED => {
                Error::Unauthenticated { url, detail: problem.detail }
            }
            Some(mut problem) => {
                problem.status = status.as_u16();
                if problem.detail.is_empty() {
                    problem.detail.clone_from(&problem.title);
                }
                Error::Problem(Box::new(problem))
            }
            None if status == StatusCode::SERVICE_UNAVAILABLE => Error::Busy { url, retry_after },
            None => Error::Answer { url, status: status.as_u16(), source: None },
        }
    }
}

/// `api/v1/apps/<app><rest>`, the app as one path segment whatever is in it.
fn app_path(app: &str, rest: &str) -> String {
    let mut segment = Url::parse("http://x/").expect("a constant URL");
    segment.path_segments_mut().expect("it has a path").push(app);
    format!("api/v1/apps{}{rest}", segment.path())
}

/// The address with a trailing slash, checked.
fn base_url(text: &str) -> Result<Url, Error> {
    let invalid = |reason: String| Error::Url { url: text.to_owned(), reason };
    let mut url = Url::parse(text).map_err(|error| match error {
        url::ParseError::RelativeUrlWithoutBase => {
            invalid("it must start with http:// or https://".to_owned())
        }
        error => invalid(error.to_string()),
    })?;
    if !matches!(url.scheme(), "http" | "https") {
        return Err(invalid("it must start with http:// or https://".to_owned()));
    }
    if !url.username().is_empty() || url.password().is_some() {
        return Err(invalid("it must not contain a user or password".to_owned()));
    }
    url.set_query(None);
    url.set_fragment(None);
    if !url.path().ends_with('/') {
        let path = format!("{}/", url.path());
        url.set_path(&path);
    }
    Ok(url)
}

/// Whether a host is this machine by its name or address alone.
fn is_this_machine(host: &str) -> bool {
    let host = host.strip_suffix('.').unwrap_or(host);
    let name_says_so = host.rsplit('.').next().is_some_and(|l| l.eq_ignore_ascii_case("localhost"));
    let address = host.trim_start_matches('[').trim_end_matches(']');
    name_says_so || address.parse::<std::net::IpAddr>().is_ok_and(|ip| ip.is_loopback())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_gets_its_slash_and_keeps_its_path() {
        let at = |text| base_url(text).map(|url| url.to_string());
        assert_eq!(at("http://gyre.localhost:8000").unwrap(), "http://gyre.localhost:8000/");
        assert_eq!(at("https://example.com/gyre?x#y").unwrap(), "https://example.com/gyre/");
        for wrong in ["example.com", "ftp://example.com/", "http://u:p@example.com/", "http://"] {
            assert!(matches!(at(wrong), Err(Error::Url { .. })), "{wrong}");
        }
        let without_scheme = at("gyre.localhost:8000").unwrap_err().to_string();
        assert!(without_scheme.contains("http://"), "{without_scheme}");
    }

    #[test]
    fn localhost_and_what_is_below_it_are_this_machine() {
        for host in ["localhost", "gyre.localhost", "A.B.LOCALHOST.", "127.0.0.1", "[::1]"] {
            assert!(is_this_machine(host), "{host}");
        }
        for host in ["localhost.example.com", "notlocalhost", "10.0.0.1", "example.com"] {
            assert!(!is_this_machine(host), "{host}");
        }
    }

    #[test]
    fn an_app_is_one_segment_of_the_path() {
        assert_eq!(app_path("hello", "/logs"), "api/v1/apps/hello/logs");
        assert_eq!(app_path("a/b c?", ""), "api/v1/apps/a%2Fb%20c%3F");
    }
}
