//! Requests to a queue's endpoint, over connections through the app's door.

use std::sync::{Mutex, PoisonError};

use bytes::Bytes;
use http::{HeaderValue, Request, StatusCode, Uri, header::HOST};
use http_body_util::{BodyExt as _, Full, Limited};
use hyper::client::conn::http1::{self, SendRequest};
use hyper_util::rt::TokioIo;
use tokio::sync::Semaphore;

use crate::{App, trigger::Server};

/// Requests of one queue that are under way at once: each has a connection.
const REQUESTS_AT_ONCE: usize = 8;

type Sender = SendRequest<Full<Bytes>>;

/// Sends requests to one server.
pub(super) struct Client {
    server: Server,
    idle: Mutex<Vec<Sender>>,
    turns: Semaphore,
}

impl Client {
    pub(super) fn new(server: Server) -> Self {
        Self { server, idle: Mutex::default(), turns: Semaphore::new(REQUESTS_AT_ONCE) }
    }

    pub(super) fn server(&self) -> &Server {
        &self.server
    }

    /// Sends a request, whose URI is absolute, and reads all of the answer.
    ///
    /// # Errors
    /// What failed; the answer is longer than `limit`.
    pub(super) async fn send(
        &self,
        app: &App,
        request: Request<Vec<u8>>,
        limit: usize,
    ) -> Result<(StatusCode, Bytes), String> {
        let _turn = self.turns.acquire().await.expect("the semaphore is never closed");
        let mut request = request.map(|body| Full::new(Bytes::from(body)));
        let host = request.uri().authority().map_or_else(String::new, ToString::to_string);
        let host = HeaderValue::from_str(&host).map_err(|error| error.to_string())?;
        request.headers_mut().insert(HOST, host);
        let path = request.uri().path_and_query().cloned();
        *request.uri_mut() = path.map_or_else(|| Uri::from_static("/"), Uri::from);
        let failed = |error: hyper::Error| gyre_telemetry::chain(&error);
        let (mut sender, response) = loop {
            let (mut sender, is_new) = match self.idle() {
                Some(sender) => (sender, false),
                None => (self.connect(app).await?, true),
            };
            match sender.try_send_request(request).await {
                Ok(response) => break (sender, response),
                Err(mut error) => match error.take_message() {
                    // The server closed a connection that nobody used; nothing was sent over it.
                    Some(unsent) if !is_new => request = unsent,
                    _ => return Err(failed(error.into_error())),
                },
            }
        };
        let status = response.status();
        let body = Limited::new(response.into_body(), limit).collect().await;
        let body = body.map_err(|error| {
            if error.is::<http_body_util::LengthLimitError>() {
                format!("event_bytes limit reached: its answer is longer than {limit} bytes")
            } else {
                gyre_telemetry::chain(&*error)
            }
        })?;
        if sender.ready().await.is_ok() {
            self.idle.lock().unwrap_or_else(PoisonError::into_inner).push(sender);
        }
        Ok((status, body.to_bytes()))
    }

    fn idle(&self) -> Option<Sender> {
        let mut idle = self.idle.lock().unwrap_or_else(PoisonError::into_inner);
        idle.retain(|sender| !sender.is_closed());
        idle.pop()
    }

    async fn connect(&self, app: &App) -> Result<Sender, String> {
        let stream = self.server.connect(app).await?;
        let (sender, connection) =
            http1::handshake(TokioIo::new(stream)).await.map_err(|error| error.to_string())?;
        tokio::spawn(async move {
            if let Err(error) = connection.await {
                tracing::debug!(
                    error = gyre_telemetry::chain(&error),
                    "a queue's connection ended"
                );
            }
        });
        Ok(sender)
    }
}
