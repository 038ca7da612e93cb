//! A registry in memory, on loopback, that a test can make refuse, lie and hang up.

use std::{
    collections::HashMap,
    convert::Infallible,
    io,
    net::SocketAddr,
    sync::{Arc, Mutex},
};

use bytes::Bytes;
use futures::stream;
use gyre_model::Digest;
use http::{HeaderMap, Method, Request, Response, StatusCode, header};
use http_body_util::{BodyExt, StreamBody, combinators::BoxBody};
use hyper::body::{Frame, Incoming};
use hyper_util::rt::TokioIo;
use url::Url;

type Body = BoxBody<Bytes, io::Error>;

/// What is answered instead of what a registry would.
#[derive(Clone)]
pub(crate) struct Answer {
    status: StatusCode,
    headers: HeaderMap,
    body: Bytes,
    hangs_up: bool,
    times: usize,
}

impl Answer {
    pub(crate) fn status(status: u16) -> Self {
        Self {
            status: StatusCode::from_u16(status).unwrap(),
            headers: HeaderMap::new(),
            body: Bytes::new(),
            hangs_up: false,
            times: usize::MAX,
        }
    }

    /// The connection breaks: while a body is sent, halfway, whichever way it goes.
    pub(crate) fn hang_up() -> Self {
        Self { hangs_up: true, times: 1, ..Self::status(200) }
    }

    pub(crate) fn header(mut self, name: &'static str, value: &str) -> Self {
        self.headers.insert(name, value.parse().unwrap());
        self
    }

    pub(crate) fn body(mut self, body: impl Into<Bytes>) -> Self {
        self.body = body.into();
        self
    }

    pub(crate) fn times(mut self, times: usize) -> Self {
        self.times = times;
        self
    }
}

#[derive(Default)]
struct State {
    blobs: HashMap<String, Bytes>,
    uploads: HashMap<String, Vec<u8>>,
    manifests: HashMap<String, Bytes>,
    answers: Vec<(String, Answer)>,
    requests: Vec<(String, HeaderMap)>,
    next_upload: usize,
}

pub(crate) struct Double {
    address: SocketAddr,
    state: Arc<Mutex<State>>,
    task: tokio::task::JoinHandle<()>,
}

impl Drop for Double {
    fn drop(&mut self) {
        self.task.abort();
    }
}

impl Double {
    pub(crate) async fn start() -> Self {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let state = Arc::<Mutex<State>>::default();
        let shared = state.clone();
        let task = tokio::spawn(async move {
            let mut connections = tokio::task::JoinSet::new();
            loop {
                let (stream, _) = listener.accept().await.unwrap();
                let state = shared.clone();
                let service =
                    hyper::service::service_fn(move |request| serve(state.clone(), request));
                let http = hyper::server::conn::http1::Builder::new();
                let connection = http.serve_connection(TokioIo::new(stream), service);
                connections.spawn(async move { drop(connection.await) });
            }
        });
        Self { address, state, task }
    }

    pub(crate) fn url(&self) -> Url {
        format!("http://{}/", self.address).parse().unwrap()
    }

    pub(crate) fn url_at(&self, host: &str) -> Url {
        format!("http://{host}:{}/", self.address.port()).parse().unwrap()
    }

    /// Requests whose method and path begin so get this answer.
    pub(crate) fn when(&self, request: &str, answer: Answer) {
        self.state.lock().unwrap().answers.push((request.to_owned(), answer));
    }

    /// Methods and paths of all requests so far.
    pub(crate) fn requests(&self) -> Vec<String> {
        self.state.lock().unwrap().requests.iter().map(|(request, _)| request.clone()).collect()
    }

    pub(crate) fn count(&self, request: &str) -> usize {
        self.requests().iter().filter(|seen| seen.starts_with(request)).count()
    }

    /// A header of all requests so far.
    pub(crate) fn header(&self, name: &str) -> Vec<Option<String>> {
        let state = self.state.lock().unwrap();
        let value = |headers: &HeaderMap| Some(headers.get(name)?.to_str().unwrap().to_owned());
        state.requests.iter().map(|(_, headers)| value(headers)).collect()
    }

    pub(crate) fn blob(&self, digest: &Digest) -> Option<Bytes> {
        self.state.lock().unwrap().blobs.get(&digest.to_string()).cloned()
    }

    pub(crate) fn put_blob(&self, digest: &Digest, content: impl Into<Bytes>) {
        self.state.lock().unwrap().blobs.insert(digest.to_string(), content.into());
    }

    pub(crate) fn manifest(&self, reference: &str) -> Option<Bytes> {
        self.state.lock().unwrap().manifests.get(reference).cloned()
    }

    pub(crate) fn put_manifest(&self, reference: &str, content: impl Into<Bytes>) {
        self.state.lock().unwrap().manifests.insert(reference.to_owned(), content.into());
    }
}

async fn serve(
    state: Arc<Mutex<State>>,
    mut request: Request<Incoming>,
) -> Result<Response<Body>, io::Error> {
    let line = format!("{} {}", request.method(), request.uri().path());
    let answer = {
        let mut state = state.lock().unwrap();
        state.requests.push((line.clone(), request.headers().clone()));
        let mut answers = state.answers.iter_mut();
        answers.find(|(start, answer)| line.starts_with(start) && answer.times > 0).map(
            |(_, answer)| {
                answer.times -= 1;
                answer.clone()
            },
        )
    };
    match answer {
        Some(answer) if answer.hangs_up && *request.method() == Method::GET => {
            let mut response = registry(&state, request).await?;
            let length = response.headers()[header::CONTENT_LENGTH].to_str().unwrap();
            let half = length.parse::<usize>().unwrap() / 2;
            let body = std::mem::replace(response.body_mut(), full(Bytes::new()));
            let bytes = body.collect().await?.to_bytes().slice(..half);
            let frames = [Ok(Frame::data(bytes)), Err(io::Error::other("hangs up"))];
            *response.body_mut() = BodyExt::boxed(StreamBody::new(stream::iter(frames)));
            Ok(response)
        }
        Some(answer) if answer.hangs_up => {
            let path = request.uri().path().to_owned();
            let length = request.headers().get(header::CONTENT_LENGTH);
            let length: usize = length.map_or(0, |value| value.to_str().unwrap().parse().unwrap());
            let mut half = Vec::new();
            while half.len() < length / 2 {
                let Some(Ok(frame)) = request.body_mut().frame().await else { break };
                half.extend_from_slice(frame.data_ref().unwrap());
            }
            if let Some(upload) = state.lock().unwrap().uploads.get_mut(&path) {
                upload.extend_from_slice(&half);
            }
            Err(io::Error::other("hangs up"))
        }
        Some(answer) => {
            // Read what was sent, or the client would not get to reading the answer.
            request.body_mut().collect().await.map_err(io::Error::other)?;
            let mut response = Response::new(full(answer.body));
            *response.status_mut() = answer.status;
            response.headers_mut().extend(answer.headers);
            Ok(response)
        }
        None => registry(&state, request).await,
    }
}

fn full(bytes: Bytes) -> Body {
    let body = http_body_util::Full::new(bytes);
    BodyExt::boxed(body.map_err(|never: Infallible| match never {}))
}

/// What a registry would do.
async fn registry(
    state: &Mutex<State>,
    request: Request<Incoming>,
) -> Result<Response<Body>, io::Error> {
    let (head, body) = request.into_parts();
    let body = body.collect().await.map_err(io::Error::other)?.to_bytes();
    let path = head.uri.path().to_owned();
    let last = path.rsplit('/').next().unwrap_or_default().to_owned();
    let mut state = state.lock().unwrap();
    let state = &mut *state;
    let answer = |status: u16| Response::builder().status(status);
    let content = |found: Option<&Bytes>| match found {
        Some(bytes) => {
            let sent = if head.method == Method::HEAD { Bytes::new() } else { bytes.clone() };
            let answer = answer(200).header(header::CONTENT_LENGTH, bytes.len());
            answer.body(full(sent)).unwrap()
        }
        None => answer(404).body(full(Bytes::new())).unwrap(),
    };
    let empty = |answer: http::response::Builder| answer.body(full(Bytes::new())).unwrap();
    Ok(match head.method {
        Method::GET | Method::HEAD if path.contains("/manifests/") => {
            content(state.manifests.get(&last))
        }
        Method::PUT if path.contains("/manifests/") => {
            assert_eq!(head.headers[header::CONTENT_TYPE], crate::oci::MANIFEST);
            let digest = Digest::of(&body).to_string();
            state.manifests.insert(last, body.clone());
            state.manifests.insert(digest.clone(), body);
            empty(answer(201).header("docker-content-digest", digest))
        }
        Method::POST if path.ends_with("/blobs/uploads/") => {
            state.next_upload += 1;
            let place = format!("{path}{}", state.next_upload);
            state.uploads.insert(place.clone(), Vec::new());
            empty(answer(202).header(header::LOCATION, place))
        }
        Method::GET if path.contains("/blobs/uploads/") => match state.uploads.get(&path) {
            Some(upload) => {
                let range = format!("0-{}", upload.len().saturating_sub(1));
                empty(answer(204).header(header::RANGE, range).header(header::LOCATION, path))
            }
            None => empty(answer(404)),
        },
        Method::PATCH => match state.uploads.get_mut(&path) {
            Some(upload) => {
                let range = head.headers[header::CONTENT_RANGE].to_str().unwrap();
                let expected = format!("{}-{}", upload.len(), upload.len() + body.len() - 1);
                if range == expected {
                    upload.extend_from_slice(&body);
                    empty(answer(202).header(header::LOCATION, path))
                } else {
                    empty(answer(416))
                }
            }
            None => empty(answer(404)),
        },
        Method::PUT => match state.uploads.remove(&path) {
            Some(mut upload) => {
                upload.extend_from_slice(&body);
                let query = head.uri.query().unwrap_or_default();
                let digest = url::form_urlencoded::parse(query.as_bytes())
                    .find_map(|(key, value)| (key == "digest").then(|| value.into_owned()))
                    .unwrap();
                if Digest::of(&upload).to_string() == digest {
                    state.blobs.insert(digest, upload.into());
                    empty(answer(201))
                } else {
                    let body = r#"{"errors":[{"code":"DIGEST_INVALID","message":"other bytes"}]}"#;
                    answer(400).body(full(body.into())).unwrap()
                }
            }
            None => empty(answer(404)),
        },
        _ => content(state.blobs.get(&last)),
    })
}
