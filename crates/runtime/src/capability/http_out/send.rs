//! One outgoing request, from the check to the response's head.

use std::{sync::Arc, time::Duration};

use gyre_manifest::hosts::service_chaining_target;
use http::{Request, Response, Uri, uri::Scheme};
use http_body_util::BodyExt;
use tokio::{
    sync::{OwnedSemaphorePermit, Semaphore},
    time::{Instant, timeout_at},
};
use url::Host;
use wasmtime_wasi_http::{Error, RequestOptions, WasiBody};

use super::{
    SELF_HOST,
    body::ResponseBody,
    connection::Connection,
    error::{from_connect, from_hyper, from_tls},
    pool::Destination,
};
use crate::{
    capability::{
        AppShared, Origin,
        egress::{self, ConnectError, Door, TlsPeer},
    },
    context::ChainError,
    spec::SelfOrigin,
};

/// Each of the three times that a guest does not set.
const DEFAULT_TIME: Duration = Duration::from_mins(10);

/// Sends a request for a guest.
///
/// # Errors
/// What the guest is told.
pub(super) async fn send(
    origin: Origin,
    permits: Option<Arc<Semaphore>>,
    request: Request<WasiBody>,
    options: RequestOptions,
) -> Result<Response<WasiBody>, Error> {
    let (way, request) = direct(&origin, request)?;
    let connect_time = options.connect_timeout.unwrap_or(DEFAULT_TIME);
    let connect_by = deadline(connect_time.min(origin.app.limits.outbound_connect_time));
    let first_byte = options.first_byte_timeout.unwrap_or(DEFAULT_TIME);
    let between_bytes = options.between_bytes_timeout.unwrap_or(DEFAULT_TIME);
    let permit = permit(permits, connect_by).await?;
    match way {
        Way::Chain(component) => {
            let answer = origin.app.chain(origin.call, &component, request);
            let answer = timeout_at(deadline(first_byte), answer).await;
            let response = answer
                .map_err(|_| Error::ConnectionReadTimeout)?
                .map_err(|error| from_chain(&origin, &error))?;
            Ok(response.map(|body| ResponseBody::new(body, between_bytes, permit).boxed_unsync()))
        }
        Way::Network(to, own) => {
            let response = exchange(&origin, &to, own.as_ref(), request, connect_by, first_byte);
            let response = response.await?;
            Ok(response.map(|body| ResponseBody::new(body, between_bytes, permit).boxed_unsync()))
        }
    }
}

/// Where a request goes.
enum Way {
    /// To another component of the app.
    Chain(String),
    /// To a host, or to our own listener.
    Network(Destination, Option<SelfOrigin>),
}

/// Decides where a request goes and whether it may. Its URI is afterwards as it is to be sent.
fn direct(
    origin: &Origin,
    mut request: Request<WasiBody>,
) -> Result<(Way, Request<WasiBody>), Error> {
    // What follows is a tunnel, not a response.
    if request.method() == http::Method::CONNECT {
        return Err(Error::HttpRequestMethodInvalid);
    }
    let uri = request.uri();
    let authority = uri.authority().ok_or(Error::HttpRequestUriInvalid)?;
    let is_tls = uri.scheme() == Some(&Scheme::HTTPS);
    let allowed = &origin.component.grants.network;

    if authority.host().eq_ignore_ascii_case(SELF_HOST) {
        if !allowed.allows_self(origin) {
            return Err(Error::HttpRequestDenied);
        }
        let Some(own) = origin.app.self_origin.clone() else {
            origin.log("A request to the app itself failed: it is not reached by HTTP");
            return Err(Error::HttpRequestUriInvalid);
        };
        let host = own.host.clone().unwrap_or_else(|| own.address.to_string());
        *request.uri_mut() = with_authority(uri, own.scheme.clone(), &host)?;
        let to = Destination {
            is_tls: own.scheme == Scheme::HTTPS,
            is_own: true,
            host: match own.address.ip() {
                std::net::IpAddr::V4(address) => Host::Ipv4(address),
                std::net::IpAddr::V6(address) => Host::Ipv6(address),
            },
            port: own.address.port(),
            client_tls: None,
            is_h2c: false,
        };
        return Ok((Way::Network(to, Some(own)), request));
    }

    let host = Host::parse(authority.host()).map_err(|_| Error::HttpRequestUriInvalid)?;
    let scheme = if is_tls { "https" } else { "http" };
    let usual_port = if is_tls { 443 } else { 80 };
    let port = match authority.port() {
        Some(port) => port.as_str().parse().map_err(|_| Error::HttpRequestUriInvalid)?,
        None => usual_port,
    };
    let h2c = origin.app.shared.h2c_authority.as_deref();
    // As it is written in the request.
    let is_h2c = !is_tls && h2c.is_some_and(|it| it == authority.as_str());
    let name = host.to_string();
    if !allowed.allows(origin, scheme, &name, port) {
        return Err(Error::HttpRequestDenied);
    }
    if let Some(component) = service_chaining_target(&name) {
        return Ok((Way::Chain(component.to_owned()), request));
    }
    let host_header = if port == usual_port { name } else { format!("{name}:{port}") };
    let scheme = if is_tls { Scheme::HTTPS } else { Scheme::HTTP };
    *request.uri_mut() = with_authority(uri, scheme, &host_header)?;
    let mut client_tls = origin.app.shared.client_tls.iter();
    let client_tls = client_tls.position(|it| is_tls && it.is_for(&origin.component.id, &host));
    let to = Destination { is_tls, is_own: false, host, port, client_tls, is_h2c };
    Ok((Way::Network(to, None), request))
}

/// The URI with another scheme and authority.
fn with_authority(uri: &Uri, scheme: Scheme, authority: &str) -> Result<Uri, Error> {
    let path = uri.path_and_query().map_or("/", |path| path.as_str());
    // `?query` alone is a valid rest of a URI, but not of a request line.
    let path = if path.starts_with('/') { path.to_owned() } else { format!("/{path}") };
    Uri::builder()
        .scheme(scheme)
        .authority(authority)
        .path_and_query(path)
        .build()
        .map_err(|_| Error::HttpRequestUriInvalid)
}

/// Waits for the instance's turn.
async fn permit(
    permits: Option<Arc<Semaphore>>,
    by: Instant,
) -> Result<Option<OwnedSemaphorePermit>, Error> {
    let Some(permits) = permits else { return Ok(None) };
    match timeout_at(by, permits.acquire_owned()).await {
        Ok(Ok(permit)) => Ok(Some(permit)),
        Ok(Err(_)) => Err(Error::ConnectionLimitReached),
        Err(_) => Err(Error::ConnectionTimeout),
    }
}

/// Sends the request over a connection and waits for the response's head.
async fn exchange(
    origin: &Origin,
    to: &Destination,
    own: Option<&SelfOrigin>,
    mut request: Request<WasiBody>,
    connect_by: Instant,
    first_byte: Duration,
) -> Result<Response<hyper::body::Incoming>, Error> {
    let pool = &origin.app.shared.connections;
    loop {
        let (mut connection, is_used) = match pool.take(to) {
            Some(connection) => (connection, true),
            None => (connect(origin, to, own, connect_by).await?, false),
        };
        let answer = timeout_at(deadline(first_byte), connection.send(request)).await;
        match answer.map_err(|_| Error::ConnectionReadTimeout)? {
            Ok(response) => {
                if let Connection::Http1(_) = connection {
                    let (app, to) = (origin.app.clone(), to.clone());
                    // It can be used again once request and response have both ended.
                    tokio::spawn(async move {
                        if connection.is_ready().await {
                            app.shared.connections.put(to, connection);
                            // In this order: who waits has looked for idle ones after it began to wait.
                            if app.shared.egress.is_wanted() {
                                app.shared.connections.close_oldest();
                            }
                        }
                    });
                }
                return Ok(response);
            }
            Err(failure) => match failure.request {
                // It was closed while it was idle. The next one is another one.
                Some(unsent) if is_used => request = unsent,
                _ => return Err(from_hyper(&failure.error)),
            },
        }
    }
}

/// Opens a connection.
async fn connect(
    origin: &Origin,
    to: &Destination,
    own: Option<&SelfOrigin>,
    by: Instant,
) -> Result<Connection, Error> {
    let shared = &origin.app.shared;
    let opened = async {
        let permit =
            shared.egress.permit(egress::Purpose::Http, || shared.connections.close_oldest()).await;
        let stream = match own {
            Some(own) => Door::connect_to_own(own.address).await,
            None => shared.egress.connect(&to.host, to.port).await,
        };
        let stream = stream.map_err(|error| {
            if matches!(error, ConnectError::Prohibited) {
                origin.log(&format!(
                    "Outbound network address prohibited: {} leads to no public address",
                    to.host
                ));
            }
            from_connect(error)
        })?;
        if !to.is_tls {
            let connection = Connection::start(stream, to.is_h2c, permit).await;
            let connection = connection.map_err(|error| from_hyper(&error))?;
            share(shared, to, &connection);
            return Ok(connection);
        }
        let peer = match (own, to.client_tls) {
            (Some(own), _) => TlsPeer::Own(own),
            (None, Some(index)) => TlsPeer::Configured(&to.host, shared.client_tls[index].config()),
            (None, None) => TlsPeer::Host(&to.host),
        };
        let (stream, is_http2) =
            egress::handshake(stream, peer).await.map_err(|error| from_tls(&error))?;
        let connection = Connection::start(stream, is_http2, permit).await;
        let connection = connection.map_err(|error| from_hyper(&error))?;
        share(shared, to, &connection);
        Ok(connection)
    };
    timeout_at(by, opened).await.map_err(|_| Error::ConnectionTimeout)?
}

/// Lets others use a connection at the same time, if it is one of HTTP/2.
fn share(shared: &AppShared, to: &Destination, connection: &Connection) {
    if let Connection::Http2(sender) = connection {
        shared.connections.put(to.clone(), Connection::Http2(sender.clone()));
    }
}

fn from_chain(origin: &Origin, error: &ChainError) -> Error {
    origin.log(&error.to_string());
    match error {
        ChainError::TooDeep(_) => Error::LoopDetected,
        ChainError::NoSuchComponent(_) => Error::DestinationNotFound,
        ChainError::Gone => Error::DestinationUnavailable,
    }
}

/// A moment that far from now. What is too far to be told is a day.
fn deadline(time: Duration) -> Instant {
    let now = Instant::now();
    now.checked_add(time).unwrap_or_else(|| now + Duration::from_hours(24))
}
