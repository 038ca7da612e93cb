//! The static file server of the `static-fileserver` template: answers GET and HEAD with the files mounted at `/`.
//!
//! It serves `spin-path-info` (the path below the route), a folder's `index.html`, and, where nothing is found,
//! the file that the environment variable `FALLBACK_PATH` names (for single-page applications), else `404.html`.
//! Files are read and sent in pieces, so their size does not matter; `ETag` and one byte range are supported.

use std::{
    fs::File,
    io::{Read, Seek, SeekFrom},
    path::{Path, PathBuf},
};

use wasi::{
    exports::http::incoming_handler::Guest,
    http::types::{
        Fields, IncomingRequest, Method, OutgoingBody, OutgoingResponse, ResponseOutparam,
    },
    io::streams::StreamError,
};

/// What is read from a file and sent at once.
const PIECE: usize = 64 * 1024;

struct FileServer;

wasi::http::proxy::export!(FileServer);

impl Guest for FileServer {
    fn handle(request: IncomingRequest, out: ResponseOutparam) {
        let headers = request.headers();
        let header = |name: &str| {
            headers.get(name).into_iter().next().and_then(|value| String::from_utf8(value).ok())
        };
        let is_head = match request.method() {
            Method::Get => false,
            Method::Head => true,
            _ => return Reply::new(405).with("allow", "GET, HEAD").send(out, None),
        };
        let path = header("spin-path-info")
            .or_else(|| request.path_with_query())
            .unwrap_or_default();
        let path = path.split('?').next().unwrap_or_default();
        let Some(relative) = decode(path) else {
            return Reply::new(400).send(out, None);
        };
        let (status, found) = match find(&relative) {
            Some(found) => (200, found),
            None => {
                let fallback = std::env::var("FALLBACK_PATH").ok();
                let fallback = fallback.map(|path| path.trim_start_matches('/').to_owned());
                match fallback.and_then(|path| open(Path::new("/").join(path))) {
                    Some(found) => (200, found),
                    None => match open(PathBuf::from("/404.html")) {
                        Some(found) => (404, found),
                        None => return Reply::new(404).send(out, None),
                    },
                }
            }
        };
        found.reply(status, is_head, header("if-none-match"), header("range"), out);
    }
}

/// The path below the mount that a URL's path means, or nothing if it means none.
fn decode(path: &str) -> Option<PathBuf> {
    let mut bytes = Vec::with_capacity(path.len());
    let mut rest = path.as_bytes();
    while let [first, tail @ ..] = rest {
        (rest, _) = match (first, tail) {
            (b'%', [high, low, tail @ ..]) => {
                let digit = |c: u8| (c as char).to_digit(16);
                (tail, bytes.push((digit(*high)? * 16 + digit(*low)?) as u8))
            }
            (b'%', _) => return None,
            (byte, tail) => (tail, bytes.push(*byte)),
        };
    }
    let text = String::from_utf8(bytes).ok()?;
    let mut relative = PathBuf::from("/");
    for part in text.split('/') {
        match part {
            "" | "." => {}
            ".." => return None,
            part if part.contains(['\\', '\0']) => return None,
            part => relative.push(part),
        }
    }
    Some(relative)
}

/// An open file.
struct Found {
    file: File,
    path: PathBuf,
    size: u64,
    tag: String,
}

fn find(path: &Path) -> Option<Found> {
    match std::fs::metadata(path) {
        Ok(metadata) if metadata.is_dir() => open(path.join("index.html")),
        Ok(_) => open(path.to_owned()),
        Err(_) => None,
    }
}

fn open(path: PathBuf) -> Option<Found> {
    let mut file = File::open(&path).ok()?;
    let metadata = file.metadata().ok()?;
    if !metadata.is_file() {
        return None;
    }
    // Times differ between the nodes that laid the files out; contents do not.
    let mut hash = 0xcbf2_9ce4_8422_2325_u64;
    let mut piece = vec![0; PIECE];
    loop {
        match file.read(&mut piece).ok()? {
            0 => break,
            n => {
                for byte in &piece[..n] {
                    hash = (hash ^ u64::from(*byte)).wrapping_mul(0x0000_0100_0000_01b3);
                }
            }
        }
    }
    file.seek(SeekFrom::Start(0)).ok()?;
    let size = metadata.len();
    Some(Found { file, path, size, tag: format!("\"{hash:016x}-{size:x}\"") })
}

impl Found {
    fn reply(
        mut self,
        status: u16,
        is_head: bool,
        if_none_match: Option<String>,
        range: Option<String>,
        out: ResponseOutparam,
    ) {
        let reply = Reply::new(status)
            .with("content-type", content_type(&self.path))
            .with("etag", &self.tag)
            .with("accept-ranges", "bytes");
        if let Some(tags) = if_none_match
            && status == 200
            && tags.split(',').any(|tag| matches!(tag.trim(), t if t == self.tag || t == "*"))
        {
            return reply.status(304).send(out, None);
        }
        let (reply, start, length) = match range.filter(|_| status == 200).map(|r| span(&r, self.size)) {
            Some(Some((start, end))) => {
                let span = format!("bytes {start}-{}/{}", end - 1, self.size);
                (reply.status(206).with("content-range", &span), start, end - start)
            }
            Some(None) => {
                let span = format!("bytes */{}", self.size);
                return reply.status(416).with("content-range", &span).send(out, None);
            }
            None => (reply, 0, self.size),
        };
        let reply = reply.with("content-length", &length.to_string());
        if is_head || self.file.seek(SeekFrom::Start(start)).is_err() {
            return reply.send(out, None);
        }
        reply.send(out, Some(self.file.take(length)));
    }
}

/// The one range that is asked for, its end excluded; nothing if it cannot be satisfied. Several are not supported,
/// which a server may answer with the whole: that is `0..size`.
fn span(range: &str, size: u64) -> Option<(u64, u64)> {
    let whole = Some((0, size));
    let Some(range) = range.strip_prefix("bytes=") else { return whole };
    if range.contains(',') {
        return whole;
    }
    let Some((first, last)) = range.split_once('-') else { return whole };
    let (start, end) = match (first.parse::<u64>().ok(), last.parse::<u64>().ok()) {
        (Some(first), Some(last)) => (first, last.checked_add(1)?.min(size)),
        (Some(first), None) => (first, size),
        (None, Some(suffix)) => (size.saturating_sub(suffix), size),
        (None, None) => return whole,
    };
    (start < end).then_some((start, end))
}

/// A response that is being put together.
struct Reply {
    status: u16,
    headers: Fields,
}

impl Reply {
    fn new(status: u16) -> Self {
        Self { status, headers: Fields::new() }
    }

    fn status(self, status: u16) -> Self {
        Self { status, ..self }
    }

    fn with(self, name: &str, value: &str) -> Self {
        self.headers.append(name, value.as_bytes()).expect("names and values are well formed");
        self
    }

    fn send(self, out: ResponseOutparam, body: Option<std::io::Take<File>>) {
        // A HEAD has its length already, and a 304 has no body that could have one.
        let is_empty = body.is_none() && self.status != 304 && !self.headers.has("content-length");
        let this = if is_empty { self.with("content-length", "0") } else { self };
        let response = OutgoingResponse::new(this.headers);
        response.set_status_code(this.status).expect("status codes are valid");
        let outgoing = response.body().expect("the body is taken once");
        ResponseOutparam::set(out, Ok(response));
        if let Some(mut body) = body {
            let stream = outgoing.write().expect("the stream is taken once");
            let mut piece = vec![0; PIECE];
            loop {
                let n = match body.read(&mut piece) {
                    Ok(0) => break,
                    Ok(n) => n,
                    // The length that was promised is not reached: the client sees a broken transfer.
                    Err(_) => return,
                };
                let mut rest = &piece[..n];
                while !rest.is_empty() {
                    let sent = stream.check_write().and_then(|room| {
                        if room == 0 {
                            stream.subscribe().block();
                            return Ok(0);
                        }
                        let now = rest.len().min(room as usize);
                        stream.write(&rest[..now]).map(|()| now)
                    });
                    match sent {
                        Ok(now) => rest = &rest[now..],
                        Err(StreamError::Closed | StreamError::LastOperationFailed(_)) => return,
                    }
                }
            }
            drop(stream);
        }
        let _ = OutgoingBody::finish(outgoing, None);
    }
}

/// The media type of a file, by its ending.
fn content_type(path: &Path) -> &'static str {
    let ending = path.extension().and_then(|ending| ending.to_str()).unwrap_or_default();
    match ending.to_ascii_lowercase().as_str() {
        "html" | "htm" => "text/html; charset=utf-8",
        "css" => "text/css; charset=utf-8",
        "js" | "mjs" => "text/javascript; charset=utf-8",
        "json" | "map" => "application/json",
        "txt" | "md" => "text/plain; charset=utf-8",
        "xml" => "application/xml",
        "svg" => "image/svg+xml",
        "png" => "image/png",
        "jpg" | "jpeg" => "image/jpeg",
        "gif" => "image/gif",
        "webp" => "image/webp",
        "avif" => "image/avif",
        "ico" => "image/x-icon",
        "woff" => "font/woff",
        "woff2" => "font/woff2",
        "ttf" => "font/ttf",
        "otf" => "font/otf",
        "wasm" => "application/wasm",
        "pdf" => "application/pdf",
        "zip" => "application/zip",
        "gz" => "application/gzip",
        "mp3" => "audio/mpeg",
        "mp4" => "video/mp4",
        "webm" => "video/webm",
        "webmanifest" => "application/manifest+json",
        _ => "application/octet-stream",
    }
}
