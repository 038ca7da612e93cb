//! A bare hyper server: what HTTP costs on this machine when nothing is behind it. The limit of what can be measured.
//! `/bytes/<n>` is answered with so many bytes, made for each answer, `POST /echo` with the request's body as it comes,
//! everything else with a greeting.
//!
//! Built as Gyre's edge is: one current-thread executor per core, each with its own socket (`SO_REUSEPORT`).

use std::{
    convert::Infallible,
    net::{SocketAddr, TcpListener},
    thread::JoinHandle,
};

use anyhow::{Context, Result};
use bytes::Bytes;
use http_body_util::{Either, Full};
use hyper::{
    Method, Request, Response, StatusCode, body::Incoming, header::HeaderValue,
    server::conn::http1, service::service_fn,
};
use hyper_util::rt::TokioIo;
use socket2::{Domain, Socket, Type};
use tokio::{
    runtime::{Builder, LocalOptions},
    task::spawn_local,
};

/// The answer, as the guests of the measurements give it.
pub const GREETING: &str = "Hello, world!";

/// A server that runs until the process ends.
#[derive(Debug)]
pub struct Hello {
    /// Where it listens.
    pub address: SocketAddr,
    threads: Vec<JoinHandle<()>>,
}

impl Hello {
    /// Starts one on `address` (port 0: any) with so many threads.
    pub fn start(address: SocketAddr, threads: usize) -> Result<Self> {
        let mut address = address;
        let mut listeners = Vec::new();
        for _ in 0..threads.max(1) {
            let listener =
                listen(address).with_context(|| format!("cannot listen on {address}"))?;
            address = listener.local_addr()?;
            listeners.push(listener);
        }
        let threads = listeners
            .into_iter()
            .map(|listener| std::thread::spawn(move || serve(listener)))
            .collect();
        Ok(Self { address, threads })
    }

    /// Waits for ever.
    pub fn wait(self) {
        for thread in self.threads {
            let _ = thread.join();
        }
    }
}

fn listen(address: SocketAddr) -> std::io::Result<TcpListener> {
    let socket = Socket::new(Domain::for_address(address), Type::STREAM, None)?;
    socket.set_reuse_address(true)?;
    socket.set_reuse_port(true)?;
    socket.set_nonblocking(true)?;
    socket.bind(&address.into())?;
    socket.listen(4096)?;
    Ok(socket.into())
}

fn serve(listener: TcpListener) {
    let runtime = Builder::new_current_thread()
        .enable_all()
        .build_local(LocalOptions::default())
        .expect("a thread can have an executor");
    runtime.block_on(async {
        let listener = tokio::net::TcpListener::from_std(listener).expect("the socket is good");
        loop {
            let Ok((stream, _)) = listener.accept().await else { continue };
            let _ = stream.set_nodelay(true);
            spawn_local(async move {
                let io = TokioIo::new(stream);
                let _ = http1::Builder::new().serve_connection(io, service_fn(answer)).await;
            });
        }
    });
}

/// How much `/bytes/<n>` answers with at most.
const MAX_BYTES: usize = 64 << 20;

type Body = Either<Full<Bytes>, Incoming>;

async fn answer(request: Request<Incoming>) -> Result<Response<Body>, Infallible> {
    let path = request.uri().path();
    if path == "/echo" && request.method() == Method::POST {
        return Ok(Response::new(Either::Right(request.into_body())));
    }
    let whole = |bytes| Either::Left(Full::new(bytes));
    if let Some(count) = path.strip_prefix("/bytes/") {
        let count = count.parse().ok().filter(|count| *count <= MAX_BYTES);
        let mut response = Response::new(whole(Bytes::from(vec![b'x'; count.unwrap_or(0)])));
        if count.is_none() {
            *response.status_mut() = StatusCode::BAD_REQUEST;
        }
        return Ok(response);
    }
    let mut response = Response::new(whole(Bytes::from_static(GREETING.as_bytes())));
    let plain = HeaderValue::from_static("text/plain");
    response.headers_mut().insert(hyper::header::CONTENT_TYPE, plain);
    Ok(response)
}
