//! A server of another protocol than HTTP, as a guest names it: checked against `allowed_outbound_hosts`, then connected
//! to through the door.

use std::{
    io,
    pin::Pin,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    task::{Context, Poll},
    time::Duration,
};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use url::{Host, Url};

use super::{
    Origin,
    egress::{Permit, Purpose, TlsPeer, handshake},
};

/// How long a connection, with its greeting, may take.
pub(super) const CONNECT_TIME: Duration =
    if cfg!(test) { Duration::from_millis(1500) } else { Duration::from_secs(10) };

/// The most that a server may answer at once: as much as Spin takes.
pub(super) const RESULT_BYTES: u64 = 128 << 20;

/// Why there is no connection.
#[derive(Debug, thiserror::Error)]
pub(super) enum ServerError {
    /// The address is none of this protocol.
    #[error("invalid address")]
    Address,
    /// The component may not connect to it.
    #[error("address is not permitted")]
    Denied,
    /// It cannot be reached.
    #[error("{0}")]
    Connect(String),
}

/// What is said to a server and by it, encrypted or not, with the right to the connection.
pub(super) struct ServerStream {
    stream: Box<dyn Stream>,
    /// How much it may still say before it is asked again.
    left: Allowance,
    _permit: Permit,
}

trait Stream: AsyncRead + AsyncWrite + Unpin + Send {}
impl<T: AsyncRead + AsyncWrite + Unpin + Send> Stream for T {}

/// How much a server may still say.
#[derive(Clone)]
pub(super) struct Allowance(Arc<AtomicU64>);

impl Allowance {
    /// From now on it may say the most again.
    pub(super) fn renew(&self) {
        self.0.store(RESULT_BYTES, Ordering::Relaxed);
    }
}

/// The text of an answer that is too large, as Spin's.
pub(super) fn too_large() -> String {
    format!("query result exceeds limit of {RESULT_BYTES} bytes")
}

/// The schemes of a protocol: unencrypted ones, encrypted ones, and the port of each kind.
pub(super) struct Protocol {
    /// As `allowed_outbound_hosts` names it.
    pub(super) name: &'static str,
    pub(super) purpose: Purpose,
    pub(super) plain: &'static [&'static str],
    pub(super) encrypted: &'static [&'static str],
    pub(super) ports: (u16, u16),
}

impl Protocol {
    /// Connects to the server of a URL, if `origin` may.
    pub(super) async fn connect(
        &self,
        origin: &Origin,
        url: &Url,
    ) -> Result<(ServerStream, Allowance), ServerError> {
        let is_tls = self.encrypted.contains(&url.scheme());
        if !is_tls && !self.plain.contains(&url.scheme()) {
            return Err(ServerError::Address);
        }
        let host = url.host_str().filter(|host| !host.is_empty()).ok_or(ServerError::Address)?;
        let port = url.port().unwrap_or(if is_tls { self.ports.1 } else { self.ports.0 });
        if !origin.component.grants.network.allows(origin, self.name, host, port) {
            return Err(ServerError::Denied);
        }
        // Hosts of schemes that the URL standard does not know are opaque to it.
        let host = Host::parse(host).map_err(|_| ServerError::Address)?;
        let door = &origin.app.shared.egress;
        let connect = async {
            let permit = door.permit(self.purpose, || ()).await;
            let connected = door.connect(&host, port).await;
            let stream = connected.map_err(|error| gyre_telemetry::chain(&error))?;
            let stream: Box<dyn Stream> = if is_tls {
                let stream = handshake(stream, TlsPeer::Host(&host)).await;
                Box::new(stream.map_err(|error| error.to_string())?.0)
            } else {
                Box::new(stream)
            };
            Ok((stream, permit))
        };
        let late = |_| format!("no connection within {CONNECT_TIME:?}");
        let connected = tokio::time::timeout(CONNECT_TIME, connect).await.map_err(late);
        let (stream, permit) = connected.and_then(|it| it).map_err(ServerError::Connect)?;
        let left = Allowance(Arc::new(AtomicU64::new(RESULT_BYTES)));
        Ok((ServerStream { stream, left: left.clone(), _permit: permit }, left))
    }
}

impl AsyncRead for ServerStream {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let before = buffer.filled().len();
        std::task::ready!(Pin::new(&mut self.stream).poll_read(cx, buffer))?;
        let read = (buffer.filled().len() - before) as u64;
        let take = |left: u64| left.checked_sub(read);
        match self.left.0.fetch_update(Ordering::Relaxed, Ordering::Relaxed, take) {
            Ok(_) => Poll::Ready(Ok(())),
            Err(_) => Poll::Ready(Err(io::Error::other(too_large()))),
        }
    }
}

impl AsyncWrite for ServerStream {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write(cx, bytes)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(cx)
    }
}
