//! What the edge hands requests to: an app, or the control plane.

use std::{
    pin::Pin,
    sync::Arc,
    task::{Context, Poll},
};

use axum::Router;
use bytes::Bytes;
use futures::future::{Either, FutureExt as _};
use gyre_model::{BoxError, Connection, Upstream};
use gyre_runtime::{App, GuestBody};
use http::{Request, Response, StatusCode};
use http_body::{Body, Frame, SizeHint};
use tokio::runtime::Handle;
use tower::ServiceExt as _;

/// What a host leads to.
pub(crate) enum Target {
    /// API, registry and pages.
    Control,
    /// An app's release.
    App(Arc<App>),
}

/// One worker's way to what answers.
#[derive(Clone)]
pub(crate) struct Front {
    /// The control plane, and the threads it runs on: what it does (hashing uploads, say) must not take a core's
    /// time from guests.
    pub(crate) control: Option<(Router, Handle)>,
}

/// The body of an answer.
pub(crate) enum FrontBody {
    Guest(GuestBody),
    Control(axum::body::Body),
}

impl Upstream for Front {
    type Target = Target;
    type Body = FrontBody;

    fn call<B>(
        &self,
        target: &Arc<Target>,
        request: Request<B>,
        connection: Connection,
    ) -> impl Future<Output = Response<FrontBody>> + 'static
    where
        B: Body<Data = Bytes, Error = BoxError> + Send + Unpin + 'static,
    {
        match &**target {
            Target::App(app) => {
                let answer = app.call(request, connection);
                Either::Left(answer.map(|response| response.map(FrontBody::Guest)))
            }
            Target::Control => {
                Either::Right(call_control(self.control.clone(), request, connection))
            }
        }
    }
}

async fn call_control<B>(
    control: Option<(Router, Handle)>,
    request: Request<B>,
    connection: Connection,
) -> Response<FrontBody>
where
    B: Body<Data = Bytes, Error = BoxError> + Send + 'static,
{
    let status = |status| {
        let mut response = Response::new(FrontBody::Control(axum::body::Body::empty()));
        *response.status_mut() = status;
        response
    };
    let Some((router, threads)) = control else { return status(StatusCode::NOT_FOUND) };
    let mut request = request.map(axum::body::Body::new);
    request.extensions_mut().insert(connection);
    // Dropping the future (the client went away) drops the answer, not what was begun.
    match threads.spawn(router.oneshot(request)).await {
        Ok(Ok(response)) => response.map(FrontBody::Control),
        Ok(Err(never)) => match never {},
        Err(error) => {
            tracing::error!("the control plane failed to answer: {error}");
            status(StatusCode::INTERNAL_SERVER_ERROR)
        }
    }
}

impl Body for FrontBody {
    type Data = Bytes;
    type Error = BoxError;

    fn poll_frame(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BoxError>>> {
        match self.get_mut() {
            Self::Guest(body) => Pin::new(body).poll_frame(cx),
            Self::Control(body) => Pin::new(body).poll_frame(cx).map_err(Into::into),
        }
    }

    fn is_end_stream(&self) -> bool {
        match self {
            Self::Guest(body) => body.is_end_stream(),
            Self::Control(body) => body.is_end_stream(),
        }
    }

    fn size_hint(&self) -> SizeHint {
        match self {
            Self::Guest(body) => body.size_hint(),
            Self::Control(body) => body.size_hint(),
        }
    }
}
