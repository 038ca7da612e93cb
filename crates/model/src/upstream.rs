//! How the edge hands a request to whatever answers it.

use std::{net::SocketAddr, sync::Arc};

use bytes::Bytes;
use http::{Request, Response};
use http_body::Body;

/// An error whose type matters to nobody on the way.
pub type BoxError = Box<dyn std::error::Error + Send + Sync>;

/// What is known of the connection that a request came in on.
#[derive(Debug, Clone, Copy)]
pub struct Connection {
    /// The client's address.
    pub peer: SocketAddr,
    /// Our address, as the client reached it.
    pub local: SocketAddr,
    /// Whether the client spoke TLS.
    pub is_tls: bool,
}

/// Answers requests for targets of its own kind.
///
/// The edge finds the target by the request's host and calls this in the connection's own task, on the
/// core that accepted it. The future and the body need not be `Send`: guest and connection share one task.
/// A failure is a response, too: there is nothing that the edge could add to it.
pub trait Upstream: Clone + 'static {
    /// What a line of the routing table leads to.
    type Target: Send + Sync + 'static;
    /// The response's body. Dropping it before its end means that the client went away.
    type Body: Body<Data = Bytes, Error = BoxError> + 'static;

    /// Answers `request`. Its `Host` has been checked and its URI is absolute (`http://host/path?query`).
    fn call<B>(
        &self,
        target: &Arc<Self::Target>,
        request: Request<B>,
        connection: Connection,
    ) -> impl Future<Output = Response<Self::Body>> + 'static
    where
        B: Body<Data = Bytes, Error = BoxError> + Send + Unpin + 'static;
}
