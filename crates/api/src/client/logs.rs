//! Reading an app's log, once or for as long as it is written.

use gyre_model::Secret;
use jiff::Timestamp;
use reqwest::{Method, Response};

use super::{Client, Error, app_path};
use crate::v1::{LogLine, Logs, LogsQuery};

/// A line is at most some 16 KiB of text, escaped.
const LINE_BYTES: usize = 1 << 20;

/// Which lines.
#[derive(Debug, Clone, Copy, Default)]
pub struct LogQuery {
    /// Only what came after.
    pub since: Option<Timestamp>,
    /// At most so many of the newest lines.
    pub max: Option<u32>,
}

impl Client {
    /// Lines of an app's log, oldest first.
    pub async fn logs(&self, app: &str, query: LogQuery) -> Result<Vec<LogLine>, Error> {
        let query = LogsQuery { since: query.since, max: query.max, follow: None };
        let logs: Logs = self.ask(Method::GET, &app_path(app, "/logs"), &query).await?;
        Ok(logs.items)
    }

    /// The same lines, and then what comes. A connection that breaks off is made again, and nothing is missed or told
    /// twice.
    pub async fn follow_logs(&self, app: &str, query: LogQuery) -> Result<LogFollower, Error> {
        let mut follower = LogFollower {
            client: self.clone(),
            app: app.to_owned(),
            query,
            response: None,
            has_spoken: false,
            buffer: Vec::new(),
        };
        follower.response = Some(follower.connect().await?);
        Ok(follower)
    }
}

/// An app's log as it is written.
#[derive(Debug)]
pub struct LogFollower {
    client: Client,
    app: String,
    query: LogQuery,
    response: Option<Response>,
    /// Whether the connection has brought anything yet.
    has_spoken: bool,
    buffer: Vec<u8>,
}

impl LogFollower {
    /// The next line; waits for it as long as it takes. After an error it may be called again.
    pub async fn next(&mut self) -> Result<LogLine, Error> {
        loop {
            if let Some(line) = self.take_line()? {
                // From here on the cursor alone decides what is still to come.
                self.query = LogQuery { since: Some(line.time), max: None };
                return Ok(line);
            }
            let mut response = if let Some(response) = self.response.take() {
                response
            } else {
                self.has_spoken = false;
                self.connect().await?
            };
            match response.chunk().await {
                Ok(Some(chunk)) => {
                    self.has_spoken = true;
                    self.buffer.extend_from_slice(&chunk);
                    self.response = Some(response);
                }
                // The next turn connects again, unless connections are of no use.
                Ok(None) if self.has_spoken => self.buffer.clear(),
                Err(_) if self.has_spoken => self.buffer.clear(),
                Ok(None) => {
                    let source = "it was closed before anything was sent".into();
                    return Err(Error::Broken { url: self.client.base.to_string(), source });
                }
                Err(error) => return Err(Error::from_http(&self.client.base, error)),
            }
        }
    }

    /// Continues with a new token, after [`Error::Unauthenticated`].
    pub fn set_token(&mut self, token: Secret<String>) {
        self.client = self.client.with_token(token);
    }

    fn take_line(&mut self) -> Result<Option<LogLine>, Error> {
        loop {
            let Some(end) = self.buffer.iter().position(|byte| *byte == b'\n') else {
                if self.buffer.len() > LINE_BYTES {
                    self.buffer.clear();
                    self.response = None;
                    return Err(self.unreadable(None));
                }
                return Ok(None);
            };
            let line: Vec<u8> = self.buffer.drain(..=end).collect();
            let text = line.trim_ascii();
            if !text.is_empty() {
                return serde_json::from_slice(text)
                    .map(Some)
                    .map_err(|source| self.unreadable(Some(source)));
            }
        }
    }

    fn unreadable(&self, source: Option<serde_json::Error>) -> Error {
        Error::Answer { url: self.client.base.to_string(), status: 200, source }
    }

    async fn connect(&self) -> Result<Response, Error> {
        let query = LogsQuery { since: self.query.since, max: self.query.max, follow: Some(true) };
        let mut request = self
            .client
            .http
            .get(format!("{}{}", self.client.base, app_path(&self.app, "/logs")))
            .query(&query)
            .header("accept", "application/x-ndjson");
        if let Some(token) = &self.client.token {
            request = request.bearer_auth(token.expose());
        }
        self.client.response(request).await
    }
}
