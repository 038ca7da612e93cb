//! Reads one answer off a connection, as it comes in.

/// What has come of an answer.
#[derive(Debug, Default)]
pub(super) struct Incoming {
    /// All that has come.
    bytes: Vec<u8>,
    head: Option<Head>,
    /// The body of a chunked answer, as far as it was decoded, and where the next chunk begins.
    decoded: Vec<u8>,
    next_chunk: usize,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Head {
    /// Its size, the empty line included.
    length: usize,
    pub(super) status: u16,
    framing: Framing,
    /// Whether the connection ends after this answer.
    pub(super) closes: bool,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Framing {
    Length(usize),
    Chunked,
    UntilClose,
}

/// Why an answer is none.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Malformed(pub(super) &'static str);

/// A whole answer.
#[derive(Debug, Clone, Copy)]
pub(super) struct Whole<'a> {
    pub(super) head: Head,
    pub(super) head_bytes: &'a [u8],
    pub(super) body: &'a [u8],
}

impl Incoming {
    /// Whether anything has come.
    pub(super) fn is_empty(&self) -> bool {
        self.bytes.is_empty()
    }

    /// Forgets the answer, keeps the memory.
    pub(super) fn clear(&mut self) {
        self.bytes.clear();
        self.decoded.clear();
        self.next_chunk = 0;
        self.head = None;
    }

    /// Takes in what was read. Returns whether the answer is whole.
    pub(super) fn take(&mut self, piece: &[u8], to_head: bool) -> Result<bool, Malformed> {
        self.bytes.extend_from_slice(piece);
        let head = match self.head {
            Some(head) => head,
            None => match parse_head(&self.bytes, to_head)? {
                None => return Ok(false),
                Some(head) => {
                    self.next_chunk = head.length;
                    *self.head.insert(head)
                }
            },
        };
        let body = self.bytes.len() - head.length;
        match head.framing {
            Framing::Length(length) if body > length => Err(Malformed("more than was announced")),
            Framing::Length(length) => Ok(body == length),
            Framing::UntilClose => Ok(false),
            Framing::Chunked => self.take_chunks(),
        }
    }

    /// The connection has ended. Returns whether that makes the answer whole.
    pub(super) fn end(&self) -> bool {
        matches!(self.head, Some(Head { framing: Framing::UntilClose, .. }))
    }

    /// The answer, which is whole.
    pub(super) fn whole(&self) -> Option<Whole<'_>> {
        let head = self.head?;
        let (head_bytes, body) = self.bytes.split_at(head.length);
        let body = if head.framing == Framing::Chunked { &self.decoded } else { body };
        Some(Whole { head, head_bytes, body })
    }

    fn take_chunks(&mut self) -> Result<bool, Malformed> {
        loop {
            let rest = &self.bytes[self.next_chunk..];
            let Some(line_end) = memchr::memmem::find(rest, b"\r\n") else { return Ok(false) };
            let size = parse_size(&rest[..line_end]).ok_or(Malformed("not a chunk's size"))?;
            let data = line_end + 2;
            if size == 0 {
                // Trailers, if there are any, end with an empty line.
                let trailers = &rest[data..];
                return Ok(trailers.starts_with(b"\r\n")
                    || memchr::memmem::find(trailers, b"\r\n\r\n").is_some());
            }
            let Some(end) = rest.get(data + size..data + size + 2) else { return Ok(false) };
            if end != b"\r\n" {
                return Err(Malformed("a chunk does not end where it should"));
            }
            self.decoded.extend_from_slice(&rest[data..data + size]);
            self.next_chunk += data + size + 2;
        }
    }
}

fn parse_size(line: &[u8]) -> Option<usize> {
    let digits = line.split(|byte| *byte == b';').next()?.trim_ascii();
    let digits = std::str::from_utf8(digits).ok()?;
    usize::from_str_radix(digits, 16).ok().filter(|size| *size <= usize::MAX / 4)
}

fn parse_head(bytes: &[u8], to_head: bool) -> Result<Option<Head>, Malformed> {
    let Some(end) = memchr::memmem::find(bytes, b"\r\n\r\n") else { return Ok(None) };
    let text = &bytes[..end];
    let (line, fields) = match memchr::memmem::find(text, b"\r\n") {
        Some(at) => (&text[..at], &text[at + 2..]),
        None => (text, &text[end..]),
    };
    let status = match line {
        [b'H', b'T', b'T', b'P', b'/', b'1', b'.', b'0' | b'1', b' ', status @ ..]
            if status.len() >= 3 && status[..3].iter().all(u8::is_ascii_digit) =>
        {
            status[..3].iter().fold(0, |status, digit| status * 10 + u16::from(digit - b'0'))
        }
        _ => return Err(Malformed("not a status line")),
    };
    let mut framing = Framing::UntilClose;
    let mut closes = line[7] == b'0';
    let mut rest = fields;
    while !rest.is_empty() {
        let line_end = memchr::memmem::find(rest, b"\r\n").unwrap_or(rest.len());
        let field = &rest[..line_end];
        rest = rest.get(line_end + 2..).unwrap_or_default();
        let colon = memchr::memchr(b':', field).ok_or(Malformed("a header without a colon"))?;
        let (name, value) = (&field[..colon], field[colon + 1..].trim_ascii());
        if name.eq_ignore_ascii_case(b"content-length") {
            let length = std::str::from_utf8(value).ok().and_then(|value| value.parse().ok());
            framing = Framing::Length(length.ok_or(Malformed("not a length"))?);
        } else if name.eq_ignore_ascii_case(b"transfer-encoding") {
            framing = Framing::Chunked;
        } else if name.eq_ignore_ascii_case(b"connection") {
            closes = value.eq_ignore_ascii_case(b"close");
        }
    }
    if to_head || matches!(status, 100..200 | 204 | 304) {
        framing = Framing::Length(0);
    }
    closes |= framing == Framing::UntilClose;
    Ok(Some(Head { length: end + 4, status, framing, closes }))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Status, body, and whether the connection closes, fed in pieces of `size`.
    fn read(text: &str, size: usize) -> Result<Option<(u16, String, bool)>, Malformed> {
        let mut incoming = Incoming::default();
        let mut whole = false;
        for piece in text.as_bytes().chunks(size) {
            assert!(!whole, "{text:?} is whole before its end");
            whole = incoming.take(piece, false)?;
        }
        if !whole && !incoming.end() {
            return Ok(None);
        }
        let answer = incoming.whole().unwrap();
        let body = String::from_utf8(answer.body.to_vec()).unwrap();
        Ok(Some((answer.head.status, body, answer.head.closes)))
    }

    #[test]
    fn an_answer_is_whole_at_its_last_byte_however_it_is_cut() {
        for (text, expected) in [
            ("HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhello", (200, "hello", false)),
            ("HTTP/1.1 404 Not Found\r\ncontent-length: 0\r\n\r\n", (404, "", false)),
            ("HTTP/1.1 204 No Content\r\n\r\n", (204, "", false)),
            (
                "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nhel\r\n2;x\r\nlo\r\n0\r\n\r\n",
                (200, "hello", false),
            ),
            (
                "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\nconnection: close\r\n\r\n0\r\na: b\r\n\r\n",
                (200, "", true),
            ),
            ("HTTP/1.0 200 OK\r\n\r\nhello", (200, "hello", true)),
        ] {
            let (status, body, closes) = expected;
            let expected = Ok(Some((status, body.to_owned(), closes)));
            for size in 1..=text.len() {
                assert_eq!(read(text, size), expected, "{text:?} by {size}");
            }
        }
    }

    #[test]
    fn what_is_no_answer_is_said_to_be_none() {
        for text in [
            "HELLO\r\n\r\n",
            "HTTP/1.1 2x0 OK\r\n\r\n",
            "HTTP/1.1 200 OK\r\nnothing\r\n\r\n",
            "HTTP/1.1 200 OK\r\nContent-Length: x\r\n\r\n",
            "HTTP/1.1 200 OK\r\nContent-Length: 1\r\n\r\nab",
            "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nx\r\n",
            "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n1\r\nabc",
        ] {
            assert!(read(text, usize::MAX).is_err(), "{text:?}");
        }
        assert_eq!(read("HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\na", 1), Ok(None));
    }
}
