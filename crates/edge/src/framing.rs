//! Follows where the requests of an HTTP/1 connection begin and end, and refuses what could be read in two ways.
//!
//! hyper reads the same bytes after us and serves a request that has both `Content-Length` and
//! `Transfer-Encoding`, having dropped the former. A proxy before us may have dropped the latter, and then what
//! is a body to one is a request to the other. So framing is checked here, byte by byte as it comes in, before
//! hyper sees it: this module only ever refuses, it never lets anything through that hyper would not.

/// The longest piece of a line that is kept when a line comes in several pieces.
const MAX_CARRY: usize = 256;

/// Where in a connection's bytes we are.
#[derive(Debug, Default)]
pub(crate) struct Framing {
    state: State,
    /// The piece of a line that has come so far, where a line came in pieces; cut at `MAX_CARRY`.
    carry: Vec<u8>,
    /// Whether the line in `carry` was longer than what is kept.
    is_cut: bool,
    /// What the head in hand says of its body.
    length: Option<u64>,
    is_chunked: bool,
}

#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
enum State {
    /// Before a request's first byte.
    #[default]
    Between,
    RequestLine,
    Fields,
    /// So many bytes of a body are to come.
    Body(u64),
    /// In the digits of a chunk's size, of which there were so many.
    ChunkSize {
        size: u64,
        digits: u8,
    },
    /// In what follows the digits.
    ChunkExtension {
        size: u64,
        after_cr: bool,
    },
    ChunkData(u64),
    /// After a chunk's data, before its line end: how much of it has come.
    ChunkEnd {
        after_cr: bool,
    },
    Trailers,
}

/// Why a connection's bytes are not followed further.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Refusal {
    /// How many of the bytes may be passed on.
    pub(crate) keep: usize,
    /// Whether a head is refused; else it is a body.
    pub(crate) in_head: bool,
}

enum Line {
    Middle,
    Last,
    Refused,
}

impl Framing {
    /// Whether a part of a request's head has come, and not all of it.
    pub(crate) fn is_in_head(&self) -> bool {
        matches!(self.state, State::RequestLine | State::Fields)
    }

    /// Whether all that has come was whole requests.
    pub(crate) fn is_between(&self) -> bool {
        self.state == State::Between
    }

    /// Takes in the bytes that come next.
    pub(crate) fn follow(&mut self, bytes: &[u8]) -> Result<(), Refusal> {
        let mut at = 0;
        while at < bytes.len() {
            let rest = &bytes[at..];
            match self.state {
                State::Between => match rest[0] {
                    // Empty lines before a request are ignored, here as by hyper.
                    b'\r' | b'\n' => at += 1,
                    _ => {
                        self.state = State::RequestLine;
                        (self.length, self.is_chunked) = (None, false);
                    }
                },
                State::RequestLine | State::Fields | State::Trailers => {
                    let Some(end) = memchr::memchr(b'\n', rest) else {
                        self.carry(rest);
                        return Ok(());
                    };
                    at += end + 1;
                    match self.line(&rest[..end]) {
                        Line::Middle => {}
                        Line::Last => self.state = self.after_head(),
                        Line::Refused => {
                            let in_head = self.is_in_head();
                            return Err(Refusal { keep: at - 1, in_head });
                        }
                    }
                }
                State::Body(left) | State::ChunkData(left) => {
                    let taken = left.min(rest.len() as u64);
                    at += taken as usize;
                    let left = left - taken;
                    self.state = match self.state {
                        State::Body(_) if left == 0 => State::Between,
                        State::Body(_) => State::Body(left),
                        _ if left == 0 => State::ChunkEnd { after_cr: false },
                        _ => State::ChunkData(left),
                    };
                }
                State::ChunkSize { .. } | State::ChunkExtension { .. } | State::ChunkEnd { .. } => {
                    self.state = self
                        .state
                        .between_chunks(rest[0])
                        .ok_or(Refusal { keep: at, in_head: false })?;
                    at += 1;
                }
            }
        }
        Ok(())
    }

    fn carry(&mut self, piece: &[u8]) {
        let room = MAX_CARRY - self.carry.len();
        if let (Some(last), true) = (piece.last(), piece.len() > room) {
            self.carry.extend_from_slice(&piece[..room]);
            self.is_cut = true;
            // The end of a line decides how it is judged, however long it is.
            if let Some(kept) = self.carry.last_mut() {
                *kept = *last;
            }
        } else {
            self.carry.extend_from_slice(piece);
        }
    }

    /// Judges a line, given without its `\n`.
    fn line(&mut self, line: &[u8]) -> Line {
        if self.carry.is_empty() {
            return self.whole_line(line, false);
        }
        self.carry(line);
        let carried = std::mem::take(&mut self.carry);
        let is_cut = std::mem::take(&mut self.is_cut);
        let verdict = self.whole_line(&carried, is_cut);
        self.carry = carried;
        self.carry.clear();
        verdict
    }

    fn whole_line(&mut self, line: &[u8], is_cut: bool) -> Line {
        // A line ends with CR LF: what takes a bare LF for an end, others take for a part of the line.
        let Some((b'\r', line)) = line.split_last() else { return Line::Refused };
        if self.state == State::RequestLine {
            self.state = State::Fields;
            return Line::Middle;
        }
        let Some(first) = line.first() else { return Line::Last };
        match first {
            // A folded line: part of the one before to some, a field of its own to others.
            b' ' | b'\t' => Line::Refused,
            b'c' | b'C' | b't' | b'T' if self.state == State::Fields => self.field(line, is_cut),
            _ => Line::Middle,
        }
    }

    fn field(&mut self, line: &[u8], is_cut: bool) -> Line {
        let Some(colon) = memchr::memchr(b':', line) else { return Line::Middle };
        let (name, value) = (line[..colon].trim_ascii_end(), line[colon + 1..].trim_ascii());
        if name.eq_ignore_ascii_case(b"content-length") {
            let length = parse_length(value);
            if is_cut || self.is_chunked || self.length.is_some() || length.is_none() {
                return Line::Refused;
            }
            self.length = length;
        } else if name.eq_ignore_ascii_case(b"transfer-encoding") {
            let is_chunked = value.eq_ignore_ascii_case(b"chunked");
            if is_cut || self.is_chunked || self.length.is_some() || !is_chunked {
                return Line::Refused;
            }
            self.is_chunked = true;
        }
        Line::Middle
    }

    fn after_head(&self) -> State {
        match (self.state, self.is_chunked, self.length) {
            (State::Trailers, ..) => State::Between,
            (_, true, _) => State::ChunkSize { size: 0, digits: 0 },
            (_, false, None | Some(0)) => State::Between,
            (_, false, Some(length)) => State::Body(length),
        }
    }
}

impl State {
    /// What comes after `byte` of a chunk's first line, or of the line end after its data.
    fn between_chunks(self, byte: u8) -> Option<Self> {
        let next = match (self, byte) {
            (Self::ChunkSize { size, digits }, _) if byte.is_ascii_hexdigit() => {
                let digit = char::from(byte).to_digit(16)?;
                if digits == 15 {
                    return None;
                }
                Self::ChunkSize { size: size << 4 | u64::from(digit), digits: digits + 1 }
            }
            (Self::ChunkSize { digits: 0, .. }, _) => return None,
            (Self::ChunkSize { size, .. }, b'\r') => Self::ChunkExtension { size, after_cr: true },
            (Self::ChunkSize { size, .. }, b';' | b' ' | b'\t') => {
                Self::ChunkExtension { size, after_cr: false }
            }
            (Self::ChunkExtension { size: 0, after_cr: true }, b'\n') => Self::Trailers,
            (Self::ChunkExtension { size, after_cr: true }, b'\n') => Self::ChunkData(size),
            (Self::ChunkExtension { size, after_cr: false }, b'\r') => {
                Self::ChunkExtension { size, after_cr: true }
            }
            (Self::ChunkExtension { after_cr: true, .. }, _)
            | (Self::ChunkExtension { .. }, b'\n') => return None,
            (Self::ChunkExtension { .. }, _) => self,
            (Self::ChunkEnd { after_cr: false }, b'\r') => Self::ChunkEnd { after_cr: true },
            (Self::ChunkEnd { after_cr: true }, b'\n') => Self::ChunkSize { size: 0, digits: 0 },
            _ => return None,
        };
        Some(next)
    }
}

/// The value of `Content-Length`: digits, nothing else.
fn parse_length(value: &[u8]) -> Option<u64> {
    if value.is_empty() || !value.iter().all(u8::is_ascii_digit) {
        return None;
    }
    std::str::from_utf8(value).ok()?.parse().ok()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// How much of `bytes` passes, fed in pieces of `size`; `None` if all of it.
    fn refused_at(bytes: &[u8], size: usize) -> Option<(usize, bool)> {
        let mut framing = Framing::default();
        let mut passed = 0;
        for piece in bytes.chunks(size) {
            if let Err(refusal) = framing.follow(piece) {
                return Some((passed + refusal.keep, refusal.in_head));
            }
            passed += piece.len();
        }
        None
    }

    fn ends_between(bytes: &[u8]) -> bool {
        let mut framing = Framing::default();
        framing.follow(bytes).is_ok() && framing.is_between()
    }

    const GOOD: &[&str] = &[
        "GET / HTTP/1.1\r\nHost: a\r\n\r\n",
        "\r\n\r\nGET / HTTP/1.1\r\nHost: a\r\n\r\n",
        "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\n\r\nhelloGET / HTTP/1.1\r\n\r\n",
        "POST / HTTP/1.1\r\ncontent-length:0\r\n\r\nGET / HTTP/1.1\r\n\r\n",
        "POST / HTTP/1.1\r\nTransfer-Encoding:  chunked \r\n\r\n5;a=b\r\nhello\r\n0\r\n\r\nGET / HTTP/1.1\r\n\r\n",
        "POST / HTTP/1.1\r\ntransfer-encoding: Chunked\r\n\r\nA \r\n0123456789\r\n000\r\nX: y\r\nContent-Length: 7\r\n\r\n",
        // Those names elsewhere are nobody's business.
        "POST / HTTP/1.1\r\nX: Content-Length: 1\r\nContent-Type: a\r\nContent-Length: 22\r\n\r\nTransfer-Encoding: x\r\n",
    ];

    const BAD_HEADS: &[&str] = &[
        "POST / HTTP/1.1\r\nContent-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n",
        "POST / HTTP/1.1\r\nTransfer-Encoding: chunked\r\nContent-Length: 5\r\n\r\n",
        "POST / HTTP/1.1\r\nTransfer-Encoding: chunked\r\nX: y\r\nContent-Length : 5\r\n\r\n",
        "POST / HTTP/1.1\r\nContent-Length: 5\r\nContent-Length: 5\r\n\r\n",
        "POST / HTTP/1.1\r\nContent-Length: 5, 5\r\n\r\n",
        "POST / HTTP/1.1\r\nContent-Length: +5\r\n\r\n",
        "POST / HTTP/1.1\r\nContent-Length: 0x5\r\n\r\n",
        "POST / HTTP/1.1\r\nContent-Length:\r\n\r\n",
        "POST / HTTP/1.1\r\nContent-Length: 18446744073709551616\r\n\r\n",
        "POST / HTTP/1.1\r\nTransfer-Encoding: gzip, chunked\r\n\r\n",
        "POST / HTTP/1.1\r\nTransfer-Encoding: chunked, chunked\r\n\r\n",
        "POST / HTTP/1.1\r\nTransfer-Encoding: identity\r\n\r\n",
        "POST / HTTP/1.1\r\nTransfer-Encoding: \x0bchunked\r\n\r\n",
        "POST / HTTP/1.1\r\nTransfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n\r\n",
        "POST / HTTP/1.1\r\nX: y\r\n Transfer-Encoding: chunked\r\n\r\n",
        "GET / HTTP/1.1\nHost: a\r\n\r\n",
        "GET / HTTP/1.1\r\nHost: a\n\r\n",
        "GET / HTTP/1.1\r\nHost: a\r\n\n",
    ];

    const BAD_BODIES: &[&str] = &[
        "\r\n",
        "x\r\n",
        "5\nhello",
        "5;a\nhello",
        "5;a\rb\r\n",
        "5\r\nhello0\r\n",
        "5\r\nhello\n0\r\n",
        "-1\r\n",
        "0x5\r\nhello",
        "1000000000000000\r\n",
        "0\r\nX: y\n\r\n",
    ];

    #[test]
    fn whole_requests_pass_however_they_are_cut() {
        for request in GOOD {
            assert!(ends_between(request.as_bytes()), "{request:?}");
            for size in 1..request.len() {
                assert_eq!(refused_at(request.as_bytes(), size), None, "{request:?} by {size}");
            }
        }
    }

    #[test]
    fn what_can_be_read_in_two_ways_is_refused_however_it_is_cut() {
        for request in BAD_HEADS {
            let whole = refused_at(request.as_bytes(), usize::MAX);
            assert!(matches!(whole, Some((_, true))), "{request:?}: {whole:?}");
            for size in 1..request.len() {
                assert_eq!(refused_at(request.as_bytes(), size), whole, "{request:?} by {size}");
            }
        }
    }

    #[test]
    fn a_broken_chunk_is_refused_however_it_is_cut() {
        for body in BAD_BODIES {
            let request = format!("POST / HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n{body}");
            let whole = refused_at(request.as_bytes(), usize::MAX);
            assert!(matches!(whole, Some((_, false))), "{request:?}: {whole:?}");
            for size in 1..request.len() {
                assert_eq!(refused_at(request.as_bytes(), size), whole, "{request:?} by {size}");
            }
        }
    }

    #[test]
    fn a_long_line_is_followed_without_being_kept() {
        let mut framing = Framing::default();
        framing.follow(b"GET / HTTP/1.1\r\nCookie: ").unwrap();
        for _ in 0..1000 {
            framing.follow(&[b'x'; 100]).unwrap();
        }
        assert!(framing.carry.capacity() <= 2 * MAX_CARRY);
        framing.follow(b"\r\nHost: a\r\n\r\n").unwrap();
        assert!(framing.is_between());
        // But not where the line matters.
        framing.follow(b"GET / HTTP/1.1\r\nContent-Length: ").unwrap();
        framing.follow(&[b' '; 300]).unwrap();
        assert!(framing.follow(b"5\r\n").is_err());
    }

    proptest! {
        #[test]
        fn the_verdict_does_not_depend_on_how_the_bytes_are_cut(
            parts in proptest::collection::vec(
                prop::sample::select(vec![
                    "GET / HTTP/1.1\r\n", "\r\n", "\n", "Host: a\r\n", "Content-Length: 3\r\n",
                    "Transfer-Encoding: chunked\r\n", "abc", "3\r\nabc\r\n", "0\r\n", " ", ";x", "0",
                ]),
                0..12,
            ),
            size in 1_usize..20,
        ) {
            let bytes = parts.concat().into_bytes();
            prop_assert_eq!(refused_at(&bytes, size), refused_at(&bytes, usize::MAX));
        }

        #[test]
        fn no_bytes_make_it_panic(bytes in proptest::collection::vec(any::<u8>(), 0..600)) {
            let _ = refused_at(&bytes, 7);
        }
    }
}
