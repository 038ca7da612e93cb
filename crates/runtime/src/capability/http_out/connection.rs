//! One connection to an HTTP server, of whichever version it speaks.

use http::{HeaderValue, Request, Response, Uri, Version, header::HOST};
use hyper::{
    body::Incoming,
    client::conn::{http1, http2},
};
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use tokio::io::{AsyncRead, AsyncWrite};
use wasmtime_wasi_http::WasiBody;

use super::error::MAX_HEAD_BYTES;
use crate::capability::egress::Permit;

/// Sends requests over one connection.
pub(super) enum Connection {
    /// One request at a time.
    Http1(http1::SendRequest<WasiBody>),
    /// Many at once.
    Http2(http2::SendRequest<WasiBody>),
}

impl Connection {
    /// Starts speaking HTTP over a stream. The permit is kept until the stream is closed.
    ///
    /// # Errors
    /// The protocol failed.
    pub(super) async fn start<S>(stream: S, is_http2: bool, permit: Permit) -> hyper::Result<Self>
    where
        S: AsyncRead + AsyncWrite + Send + Unpin + 'static,
    {
        let stream = TokioIo::new(stream);
        if is_http2 {
            let (sender, connection) = http2::Builder::new(TokioExecutor::new())
                .timer(TokioTimer::new())
                .max_header_list_size(MAX_HEAD_BYTES)
                .handshake(stream)
                .await?;
            drive(connection, permit);
            Ok(Self::Http2(sender))
        } else {
            let (sender, connection) = http1::Builder::new()
                .max_header_size(MAX_HEAD_BYTES as usize)
                .handshake(stream)
                .await?;
            drive(connection, permit);
            Ok(Self::Http1(sender))
        }
    }

    /// Whether a request can be sent: not if the server closed the connection.
    pub(super) async fn is_ready(&mut self) -> bool {
        match self {
            Self::Http1(sender) => sender.ready().await.is_ok(),
            Self::Http2(sender) => sender.ready().await.is_ok(),
        }
    }

    /// Whether the server closed the connection.
    pub(super) fn is_closed(&self) -> bool {
        match self {
            Self::Http1(sender) => sender.is_closed(),
            Self::Http2(sender) => sender.is_closed(),
        }
    }

    /// Sends a request. Its URI is absolute, with an authority as it is to be sent.
    ///
    /// # Errors
    /// What failed; with the request where nothing of it was sent.
    pub(super) async fn send(
        &mut self,
        mut request: Request<WasiBody>,
    ) -> Result<Response<Incoming>, NotSent> {
        match self {
            Self::Http1(sender) => {
                let uri = request.uri().clone();
                // A proxy would be sent the absolute form, an origin server only what comes behind the host.
                let path = uri.path_and_query().cloned();
                *request.uri_mut() = path.map_or_else(|| Uri::from_static("/"), Uri::from);
                if let Some(host) = uri.authority()
                    && let Ok(host) = HeaderValue::from_str(host.as_str())
                {
                    request.headers_mut().insert(HOST, host);
                }
                *request.version_mut() = Version::HTTP_11;
                sender.try_send_request(request).await.map_err(|mut error| {
                    let mut request = error.take_message();
                    if let Some(request) = &mut request {
                        *request.uri_mut() = uri;
                    }
                    NotSent { request, error: error.into_error() }
                })
            }
            Self::Http2(sender) => {
                // Some servers refuse `Host` beside `:authority`.
                request.headers_mut().remove(HOST);
                *request.version_mut() = Version::HTTP_2;
                sender.try_send_request(request).await.map_err(|mut error| {
                    let request = error.take_message();
                    NotSent { request, error: error.into_error() }
                })
            }
        }
    }
}

/// A request that got no response.
pub(super) struct NotSent {
    /// The request, if nothing of it was sent: it can be sent over another connection.
    pub(super) request: Option<Request<WasiBody>>,
    pub(super) error: hyper::Error,
}

/// Moves bytes until the connection is closed. Ends when nobody can send over it any more.
fn drive<C>(connection: C, permit: Permit)
where
    C: Future<Output = hyper::Result<()>> + Send + 'static,
{
    tokio::spawn(async move {
        if let Err(error) = connection.await {
            tracing::debug!(error = gyre_telemetry::chain(&error), "a guest's connection ended");
        }
        drop(permit);
    });
}
