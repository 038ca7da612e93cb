//! The edge with nothing behind it: what routing and limits cost beside a bare hyper server
//! (`gyre-bench hello-hyper`).

use std::{convert::Infallible, sync::Arc};

use bytes::Bytes;
use gyre_edge::{Edge, EdgeConfig, Routes, RoutingTable};
use gyre_model::{BoxError, Connection, Upstream};
use http::{HeaderValue, Request, Response, header::CONTENT_TYPE};
use http_body::Body;
use http_body_util::{BodyExt, Full, combinators::MapErr};

type Never = fn(Infallible) -> BoxError;

#[derive(Clone)]
struct Hello;

impl Upstream for Hello {
    type Target = ();
    type Body = MapErr<Full<Bytes>, Never>;

    fn call<B>(
        &self,
        _: &Arc<()>,
        _: Request<B>,
        _: Connection,
    ) -> impl Future<Output = Response<Self::Body>> + 'static
    where
        B: Body<Data = Bytes, Error = BoxError> + Send + Unpin + 'static,
    {
        let never: Never = |never| match never {};
        let body = Full::new(Bytes::from_static(b"Hello, world!")).map_err(never);
        let mut response = Response::new(body);
        response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static("text/plain"));
        std::future::ready(response)
    }
}

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let address = std::env::args().nth(1).unwrap_or_else(|| "127.0.0.1:8000".to_owned());
    let bound = Edge::bind(EdgeConfig::server(vec![address.parse()?]))?;
    let mut table = RoutingTable::new();
    table.set_local(Arc::new(()));
    let _edge = bound.serve(|_| Hello, Arc::new(Routes::new(Arc::new(table))));
    loop {
        std::thread::park();
    }
}
