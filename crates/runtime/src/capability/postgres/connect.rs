//! From an address to a connection: read, checked, connected to through the door, secured, logged in.

use std::{
    io,
    pin::Pin,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    task::{Context, Poll, ready},
};

use rustls::ClientConfig;
use tokio::{
    io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _, ReadBuf},
    net::TcpStream,
    task::JoinHandle,
};
use tokio_postgres::{
    Client, Config, NoTls,
    config::{Host as PgHost, SslMode},
};
use url::Host;

use crate::capability::{Origin, egress, sql};

const DEFAULT_PORT: u16 = 5432;

/// Hosts of one address.
const MAX_HOSTS: usize = 8;

/// The largest message of a server: a row, with room for what is around it.
const MAX_MESSAGE: i64 = sql::RESULT_BYTES as i64 + (64 << 10);

/// A client asks by these bytes, which stand for a version of the protocol, to speak TLS.
const TLS_REQUEST: [u8; 8] = [0, 0, 0, 8, 4, 210, 22, 47];

/// An address that the component may connect to.
pub(super) struct Address {
    config: Config,
    hosts: Vec<(Host<String>, u16)>,
}

impl Address {
    /// Reads an address, a URL or pairs of keys and values.
    ///
    /// # Errors
    /// It is none, or the component may not connect to it; in Spin's words.
    pub(super) fn admit(origin: &Origin, text: &str) -> Result<Self, String> {
        let config: Config = text.parse().map_err(|error| gyre_telemetry::chain(&error))?;
        let ports = config.get_ports();
        let mut hosts = Vec::new();
        for (index, host) in config.get_hosts().iter().enumerate() {
            let PgHost::Tcp(name) = host else {
                return Err("Unix sockets are not supported on WebAssembly".to_owned());
            };
            let port = ports.get(index).or(if ports.len() == 1 { ports.first() } else { None });
            let shown = match port {
                Some(port) => format!("{name}:{port}"),
                None => name.clone(),
            };
            let port = port.copied().unwrap_or(DEFAULT_PORT);
            let parsed = match name.parse::<std::net::Ipv6Addr>() {
                Ok(address) => Some(Host::Ipv6(address)),
                Err(_) => Host::parse(name).ok(),
            };
            // What is asked for is what is then connected to, however it was written.
            let allowed = parsed.filter(|host| {
                let network = &origin.component.grants.network;
                network.allows(origin, "postgres", &host.to_string(), port)
            });
            let Some(host) = allowed else {
                return Err(format!("address postgres://{shown} is not permitted"));
            };
            hosts.push((host, port));
        }
        if hosts.is_empty() {
            return Err("the address names no host".to_owned());
        }
        if hosts.len() > MAX_HOSTS {
            return Err(format!("the address names more than {MAX_HOSTS} hosts"));
        }
        Ok(Self { config, hosts })
    }

    /// Connects to the first host that takes us.
    pub(super) async fn connect(
        &self,
        door: &egress::Door,
        roots: Option<Arc<ClientConfig>>,
    ) -> Result<Link, String> {
        let mut last = String::new();
        for (host, port) in &self.hosts {
            match self.connect_to(door, host, *port, roots.clone()).await {
                Ok(link) => return Ok(link),
                Err(error) => last = error,
            }
        }
        Err(last)
    }

    async fn connect_to(
        &self,
        door: &egress::Door,
        host: &Host<String>,
        port: u16,
        roots: Option<Arc<ClientConfig>>,
    ) -> Result<Link, String> {
        let failed = |error: io::Error| gyre_telemetry::chain(&error);
        let stream = door.connect(host, port).await;
        let mut stream = stream.map_err(|error| gyre_telemetry::chain(&error))?;
        let mode = self.config.get_ssl_mode();
        let is_secure =
            mode != SslMode::Disable && offers_tls(&mut stream).await.map_err(failed)?;
        if is_secure {
            let stream = egress::secure(stream, host, roots).await.map_err(failed)?;
            self.log_in(stream).await
        } else if mode == SslMode::Disable || (mode == SslMode::Prefer && roots.is_none()) {
            self.log_in(stream).await
        } else {
            Err("the server does not speak TLS".to_owned())
        }
    }

    async fn log_in<S>(&self, stream: S) -> Result<Link, String>
    where
        S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
    {
        let mut config = self.config.clone();
        // It is spoken, or not, below the protocol.
        config.ssl_mode(SslMode::Disable);
        let is_at_rest = Arc::new(AtomicBool::new(false));
        let stream =
            Watched { stream, at_rest: is_at_rest.clone(), head: [0; 5], have: 0, left: 0 };
        let connected = config.connect_raw(stream, NoTls).await;
        let (client, connection) = connected.map_err(|error| gyre_telemetry::chain(&error))?;
        let task = tokio::spawn(async move {
            // Whoever waits for an answer is told by the client.
            let _ = connection.await;
        });
        Ok(Link { client, task, is_at_rest })
    }
}

async fn offers_tls(stream: &mut TcpStream) -> io::Result<bool> {
    stream.write_all(&TLS_REQUEST).await?;
    match stream.read_u8().await? {
        b'S' => Ok(true),
        b'N' => Ok(false),
        _ => Err(io::Error::new(io::ErrorKind::InvalidData, "the server is no PostgreSQL server")),
    }
}

/// A connection that is logged in. Its end ends the task that moves its bytes.
pub(super) struct Link {
    pub(super) client: Client,
    task: JoinHandle<()>,
    is_at_rest: Arc<AtomicBool>,
}

impl Link {
    /// Whether no transaction is open and the connection is.
    pub(super) fn is_at_rest(&self) -> bool {
        self.is_at_rest.load(Ordering::Acquire) && !self.client.is_closed()
    }
}

impl Drop for Link {
    fn drop(&mut self) {
        self.task.abort();
    }
}

/// A stream from a server whose messages are looked at as they pass: none may be too large, and the last one after
/// a statement says whether a transaction is open.
struct Watched<S> {
    stream: S,
    at_rest: Arc<AtomicBool>,
    /// What a message begins with: its kind and its length.
    head: [u8; 5],
    have: usize,
    left: u32,
}

impl<S> Watched<S> {
    fn look(&mut self, mut bytes: &[u8]) -> io::Result<()> {
        while let Some((&first, rest)) = bytes.split_first() {
            if self.left > 0 {
                if self.head[0] == b'Z' {
                    self.at_rest.store(first == b'I', Ordering::Release);
                }
                let taken = bytes.len().min(self.left as usize);
                self.left -= u32::try_from(taken).expect("not more than what was left");
                bytes = &bytes[taken..];
                continue;
            }
            self.head[self.have] = first;
            self.have += 1;
            bytes = rest;
            if self.have == self.head.len() {
                self.have = 0;
                let [_, length @ ..] = self.head;
                let length = i32::from_be_bytes(length);
                if length < 4 || i64::from(length) > MAX_MESSAGE {
                    let text = format!("the server sent a message of {length} bytes");
                    return Err(io::Error::new(io::ErrorKind::InvalidData, text));
                }
                self.left = length.cast_unsigned() - 4;
            }
        }
        Ok(())
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for Watched<S> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let before = buffer.filled().len();
        ready!(Pin::new(&mut self.stream).poll_read(cx, buffer))?;
        Poll::Ready(self.look(&buffer.filled()[before..]))
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for Watched<S> {
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
