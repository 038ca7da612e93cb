//! The bytes of one connection: plain or TLS, watched for framing on the way in and for a client that does not
//! read on the way out.

use std::{
    io::{self, IoSlice},
    pin::Pin,
    rc::Rc,
    task::{Context, Poll, ready},
};

use bytes::Bytes;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio_rustls::server::TlsStream;

use crate::{connection::Watch, framing::Framing, socket::Socket};

/// What makes hyper answer 400: a byte that no head may have, and the end of the head.
const POISON: &[u8] = b"\0\r\n\r\n";
/// What a client may still send after it was refused, for its answer to reach it.
const MAX_LINGER_BYTES: usize = 1 << 20;

/// A connection's transport.
pub(crate) enum Transport {
    Plain(Socket),
    Tls(Box<TlsStream<Socket>>),
}

/// A transport with what watches over it.
pub(crate) struct Wire {
    transport: Transport,
    watch: Rc<Watch>,
    /// What was read to find out which protocol is spoken.
    ahead: Bytes,
    /// Set for HTTP/1.
    framing: Option<Framing>,
    inbound: Inbound,
    outbound: Outbound,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Inbound {
    Open,
    /// A head was refused; so much of the poison has been passed on.
    Refused(usize),
    /// A body was refused: the next read says so.
    Broken,
    /// The client has sent all that it will.
    Ended,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Outbound {
    Open,
    /// We have sent all that we will. What the client still sends is read, up to a limit, since closing with unread
    /// bytes resets the connection, and the client might lose the answer.
    Lingering(usize),
}

impl Wire {
    /// `ahead` are bytes that were read from the transport already.
    pub(crate) fn new(
        transport: Transport,
        watch: Rc<Watch>,
        ahead: Bytes,
        framing: Option<Framing>,
    ) -> Self {
        let (inbound, outbound) = (Inbound::Open, Outbound::Open);
        Self { transport, watch, ahead, framing, inbound, outbound }
    }

    /// Whether there may be bytes on their way that nobody will read.
    fn must_linger(&self) -> bool {
        match self.inbound {
            Inbound::Refused(_) | Inbound::Broken => true,
            Inbound::Ended => false,
            Inbound::Open => self.framing.as_ref().is_some_and(|framing| !framing.is_between()),
        }
    }

    fn poll_linger(&mut self, cx: &mut Context<'_>, mut left: usize) -> Poll<io::Result<()>> {
        let mut discarded = [0; 8192];
        while left > 0 {
            let mut buf = ReadBuf::new(&mut discarded);
            let outcome = Pin::new(&mut self.transport).poll_read(cx, &mut buf);
            self.outbound = Outbound::Lingering(left);
            match ready!(outcome) {
                Ok(()) if !buf.filled().is_empty() => {
                    left = left.saturating_sub(buf.filled().len());
                }
                Ok(()) | Err(_) => break,
            }
        }
        Poll::Ready(Ok(()))
    }
}

impl AsyncRead for Wire {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let this = &mut *self;
        match this.inbound {
            Inbound::Open | Inbound::Ended => {}
            Inbound::Refused(passed) => {
                let piece = &POISON[passed..];
                let piece = &piece[..piece.len().min(buf.remaining())];
                buf.put_slice(piece);
                this.inbound = Inbound::Refused(passed + piece.len());
                return Poll::Ready(Ok(()));
            }
            Inbound::Broken => {
                let error = io::Error::new(io::ErrorKind::InvalidData, "malformed chunk");
                return Poll::Ready(Err(error));
            }
        }
        let before = buf.filled().len();
        if this.ahead.is_empty() {
            ready!(Pin::new(&mut this.transport).poll_read(cx, buf))?;
        } else {
            let taken = this.ahead.split_to(this.ahead.len().min(buf.remaining()));
            buf.put_slice(&taken);
        }
        let heard = &buf.filled()[before..];
        if heard.is_empty() && buf.remaining() > 0 {
            this.inbound = Inbound::Ended;
            return Poll::Ready(Ok(()));
        }
        let Some(framing) = &mut this.framing else { return Poll::Ready(Ok(())) };
        let verdict = framing.follow(heard);
        this.watch.is_in_head(framing.is_in_head());
        let Err(refusal) = verdict else { return Poll::Ready(Ok(())) };
        this.watch.refused_request();
        buf.set_filled(before + refusal.keep);
        if !refusal.in_head {
            this.inbound = Inbound::Broken;
            // Nothing read would look like the end.
            return if refusal.keep == 0 { self.poll_read(cx, buf) } else { Poll::Ready(Ok(())) };
        }
        let piece = &POISON[..POISON.len().min(buf.remaining())];
        buf.put_slice(piece);
        this.inbound = Inbound::Refused(piece.len());
        Poll::Ready(Ok(()))
    }
}

impl AsyncWrite for Wire {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &[u8],
    ) -> Poll<io::Result<usize>> {
        let this = &mut *self;
        this.watch.writes(Pin::new(&mut this.transport).poll_write(cx, buf))
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let this = &mut *self;
        this.watch.writes(Pin::new(&mut this.transport).poll_write_vectored(cx, bufs))
    }

    fn is_write_vectored(&self) -> bool {
        self.transport.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let this = &mut *self;
        this.watch.writes(Pin::new(&mut this.transport).poll_flush(cx))
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let this = &mut *self;
        let left = match this.outbound {
            Outbound::Lingering(left) => left,
            Outbound::Open => {
                ready!(this.watch.writes(Pin::new(&mut this.transport).poll_shutdown(cx)))?;
                if !this.must_linger() {
                    return Poll::Ready(Ok(()));
                }
                this.watch.lingers();
                MAX_LINGER_BYTES
            }
        };
        this.poll_linger(cx, left)
    }
}

impl AsyncRead for Transport {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        match &mut *self {
            Self::Plain(stream) => Pin::new(stream).poll_read(cx, buf),
            Self::Tls(stream) => Pin::new(stream).poll_read(cx, buf),
        }
    }
}

impl AsyncWrite for Transport {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &[u8],
    ) -> Poll<io::Result<usize>> {
        match &mut *self {
            Self::Plain(stream) => Pin::new(stream).poll_write(cx, buf),
            Self::Tls(stream) => Pin::new(stream).poll_write(cx, buf),
        }
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        match &mut *self {
            Self::Plain(stream) => Pin::new(stream).poll_write_vectored(cx, bufs),
            Self::Tls(stream) => Pin::new(stream).poll_write_vectored(cx, bufs),
        }
    }

    fn is_write_vectored(&self) -> bool {
        match self {
            Self::Plain(stream) => stream.is_write_vectored(),
            Self::Tls(stream) => stream.is_write_vectored(),
        }
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match &mut *self {
            Self::Plain(stream) => Pin::new(stream).poll_flush(cx),
            Self::Tls(stream) => Pin::new(stream).poll_flush(cx),
        }
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match &mut *self {
            Self::Plain(stream) => Pin::new(stream).poll_shutdown(cx),
            Self::Tls(stream) => Pin::new(stream).poll_shutdown(cx),
        }
    }
}
