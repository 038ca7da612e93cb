//! The socket of a connection. Small answers are written in rounds.
//!
//! A client on this machine (a proxy in front of us is one) is woken by every write. With both of them busy it takes over the
//! core for the one answer that is there, finds no other and sleeps again: two switches and cold caches for each
//! answer, which cost more than making a small one. So what is small waits until every task that is ready has had
//! its turn; then the answers of that round are written one after the other. Nothing is waited for: with one request
//! at hand its answer is written at once.
//!
//! Where a turn takes long, an answer would wait for the guests of others: a slow round turns the waiting off for a while.

use std::{
    cell::Cell,
    io::{self, IoSlice},
    pin::Pin,
    rc::Rc,
    task::{Context, Poll, ready},
    time::{Duration, Instant},
};

use tokio::{
    io::{AsyncRead, AsyncWrite, ReadBuf},
    net::TcpStream,
};

/// Bytes that may wait. More is written at once.
const WAITING_BYTES: usize = 4 << 10;
/// The longest round that others may be made to wait for.
const LONG_ROUND: Duration = Duration::from_millis(3);
/// How long nothing waits after a longer one.
const PAUSE: Duration = Duration::from_secs(1);

/// What the sockets of one thread know of its rounds.
#[derive(Debug, Default)]
pub(crate) struct Rounds {
    /// Until when nothing waits.
    pause: Cell<Option<Instant>>,
}

impl Rounds {
    /// Whether something may wait.
    fn are_short(&self) -> bool {
        match self.pause.get() {
            Some(end) if Instant::now() < end => false,
            Some(_) => {
                self.pause.set(None);
                true
            }
            None => true,
        }
    }

    /// Notes how long something has waited.
    fn took(&self, time: Duration) {
        if time > LONG_ROUND {
            self.pause.set(Some(Instant::now() + PAUSE));
        }
    }
}

/// A connection's socket.
#[derive(Debug)]
pub(crate) struct Socket {
    stream: TcpStream,
    rounds: Rc<Rounds>,
    /// Bytes that wait to be written, and how many of them have been.
    waiting: Vec<u8>,
    written: usize,
    /// Since when they wait for the end of the round.
    since: Option<Instant>,
}

impl Socket {
    pub(crate) fn new(stream: TcpStream, rounds: Rc<Rounds>) -> Self {
        Self { stream, rounds, waiting: Vec::new(), written: 0, since: None }
    }

    fn poll_waiting(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        if let Some(since) = self.since.take() {
            self.rounds.took(since.elapsed());
        }
        while self.written < self.waiting.len() {
            let rest = &self.waiting[self.written..];
            let count = ready!(Pin::new(&mut self.stream).poll_write(cx, rest))?;
            if count == 0 {
                return Poll::Ready(Err(io::ErrorKind::WriteZero.into()));
            }
            self.written += count;
        }
        self.waiting.clear();
        self.written = 0;
        Poll::Ready(Ok(()))
    }
}

impl AsyncRead for Socket {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_read(cx, buf)
    }
}

impl AsyncWrite for Socket {
    fn poll_write(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &[u8],
    ) -> Poll<io::Result<usize>> {
        self.poll_write_vectored(cx, &[IoSlice::new(buf)])
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let this = &mut *self;
        let count: usize = bufs.iter().map(|buf| buf.len()).sum();
        let may_wait = this.waiting.len() + count <= WAITING_BYTES
            && (!this.waiting.is_empty() || this.rounds.are_short());
        if may_wait {
            this.waiting.reserve(count);
            for buf in bufs {
                this.waiting.extend_from_slice(buf);
            }
            return Poll::Ready(Ok(count));
        }
        ready!(this.poll_waiting(cx))?;
        Pin::new(&mut this.stream).poll_write_vectored(cx, bufs)
    }

    fn is_write_vectored(&self) -> bool {
        true
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let this = &mut *self;
        if this.waiting.is_empty() {
            return Poll::Ready(Ok(()));
        }
        if this.written == 0 && this.since.is_none() {
            this.since = Some(Instant::now());
            // Behind all that are ready.
            cx.waker().wake_by_ref();
            return Poll::Pending;
        }
        this.poll_waiting(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let this = &mut *self;
        ready!(this.poll_waiting(cx))?;
        Pin::new(&mut this.stream).poll_shutdown(cx)
    }
}

#[cfg(test)]
mod tests {
    use std::{future::poll_fn, task::Waker};

    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

    use super::*;

    #[allow(clippy::disallowed_methods, reason = "this is the client")]
    async fn pair(rounds: &Rc<Rounds>) -> (Socket, TcpStream) {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let (client, accepted) = tokio::join!(TcpStream::connect(address), listener.accept());
        (Socket::new(accepted.unwrap().0, rounds.clone()), client.unwrap())
    }

    /// What has come by now.
    fn arrived(client: &TcpStream) -> usize {
        let mut bytes = [0; 8 << 10];
        client.try_read(&mut bytes).unwrap_or_default()
    }

    fn write(socket: &mut Socket, bytes: &[u8]) -> Poll<io::Result<usize>> {
        Pin::new(socket).poll_write(&mut Context::from_waker(Waker::noop()), bytes)
    }

    fn flush(socket: &mut Socket) -> Poll<io::Result<()>> {
        Pin::new(socket).poll_flush(&mut Context::from_waker(Waker::noop()))
    }

    #[tokio::test]
    async fn what_is_small_is_written_when_the_others_had_their_turn() {
        let (mut socket, mut client) = pair(&Rc::default()).await;
        assert!(flush(&mut socket).is_ready(), "there is nothing to flush");
        assert!(matches!(write(&mut socket, b"one "), Poll::Ready(Ok(4))));
        assert!(matches!(write(&mut socket, b"two"), Poll::Ready(Ok(3))));
        assert!(flush(&mut socket).is_pending());
        assert_eq!(arrived(&client), 0);
        // The task was woken: as often as others are ready, they come first.
        poll_fn(|cx| Pin::new(&mut socket).poll_flush(cx)).await.unwrap();
        let mut bytes = [0; 7];
        client.read_exact(&mut bytes).await.unwrap();
        assert_eq!(&bytes, b"one two");
        socket.write_all(b"three").await.unwrap();
        socket.flush().await.unwrap();
        client.read_exact(&mut bytes[..5]).await.unwrap();
        assert_eq!(&bytes[..5], b"three");
    }

    #[tokio::test]
    async fn what_is_large_is_written_at_once_behind_what_waits() {
        let (mut socket, mut client) = pair(&Rc::default()).await;
        let large = [b'x'; WAITING_BYTES];
        assert!(matches!(write(&mut socket, b"head"), Poll::Ready(Ok(4))));
        assert!(matches!(write(&mut socket, &large), Poll::Ready(Ok(WAITING_BYTES))));
        let mut bytes = [0; WAITING_BYTES + 4];
        client.read_exact(&mut bytes).await.unwrap();
        assert_eq!(&bytes[..5], b"headx");
        assert!(flush(&mut socket).is_ready());
    }

    #[tokio::test]
    async fn a_shutdown_loses_nothing() {
        let (mut socket, mut client) = pair(&Rc::default()).await;
        assert!(write(&mut socket, b"last").is_ready());
        socket.shutdown().await.unwrap();
        let mut bytes = Vec::new();
        client.read_to_end(&mut bytes).await.unwrap();
        assert_eq!(bytes, b"last");
    }

    #[tokio::test]
    async fn a_client_that_does_not_read_holds_up_the_flush() {
        let (mut socket, client) = pair(&Rc::default()).await;
        let large = [b'x'; 8 << 10];
        while write(&mut socket, &large).is_ready() {}
        assert!(write(&mut socket, b"more").is_ready(), "there is room for it to wait");
        assert!(flush(&mut socket).is_pending() && flush(&mut socket).is_pending());
        assert!(write(&mut socket, &large).is_pending());
        while arrived(&client) > 0 || flush(&mut socket).is_pending() {
            client.readable().await.unwrap();
        }
    }

    #[tokio::test]
    async fn nothing_waits_after_a_long_round() {
        let rounds = Rc::default();
        let (mut socket, mut client) = pair(&rounds).await;
        assert!(write(&mut socket, b"late").is_ready());
        assert!(flush(&mut socket).is_pending());
        std::thread::sleep(LONG_ROUND * 2);
        assert!(flush(&mut socket).is_ready());
        assert!(!rounds.are_short());
        assert!(write(&mut socket, b" now").is_ready());
        let mut bytes = [0; 8];
        client.read_exact(&mut bytes).await.unwrap();
        assert_eq!(&bytes, b"late now");
        rounds.pause.set(Some(Instant::now()));
        assert!(rounds.are_short() && rounds.pause.get().is_none());
    }
}
