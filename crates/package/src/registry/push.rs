//! Pushing: each blob the registry lacks, then the manifest.

use std::io;

use futures::{StreamExt as _, TryStreamExt as _, future, stream};
use gyre_model::Digest;
use http::{StatusCode, header};
use reqwest::{Body, RequestBuilder, Response};
use tokio::io::{AsyncReadExt as _, AsyncSeekExt as _};
use tokio_util::io::ReaderStream;
use url::Url;

use super::{
    Client, Error, PARALLEL, Progress, Scope, Step, is_repository, is_tag,
    progress::{BlobTracker, Tracker},
    retrying,
};
use crate::{
    oci,
    pack::{Blob, Packed},
};

/// A blob up to this size goes in one request, a larger one in pieces of it: what has to be sent again when a
/// connection breaks.
const PIECE_BYTES: u64 = 4 << 20;
const READ_BYTES: usize = 128 << 10;

impl Client {
    /// Pushes an artifact to `repository`: the blobs it lacks, then the manifest, under `tag` or, without one, by
    /// digest alone. Returns the manifest's digest.
    ///
    /// # Errors
    /// See [`Error`]. What was pushed before the error stays and is not sent again next time.
    pub async fn push(
        &self,
        packed: &Packed,
        repository: &str,
        tag: Option<&str>,
        progress: impl Fn(Progress) + Send + Sync + 'static,
    ) -> Result<Digest, Error> {
        if !is_repository(repository) {
            return Err(Error::BadName(repository.to_owned()));
        }
        if let Some(tag) = tag.filter(|tag| !is_tag(tag)) {
            return Err(Error::BadName(tag.to_owned()));
        }
        let scope = Scope { repository, actions: "pull,push" };
        let tracker = Tracker::new(packed.size(), packed.blobs.len(), progress);
        let transfers: Vec<_> =
            packed.blobs.iter().map(|blob| self.push_blob(scope, blob, &tracker)).collect();
        stream::iter(transfers)
            .buffer_unordered(PARALLEL)
            .try_for_each(|()| future::ok(()))
            .await?;
        tracker.step(Step::Manifest);
        self.push_manifest(scope, packed, tag).await?;
        tracker.step(Step::Done);
        Ok(packed.digest)
    }

    async fn push_blob(
        &self,
        scope: Scope<'_>,
        blob: &Blob,
        tracker: &Tracker,
    ) -> Result<(), Error> {
        if retrying(|_| self.has_blob(scope, blob)).await? {
            tracker.skip(blob.size);
            return Ok(());
        }
        let counter = BlobTracker::new(tracker);
        retrying(|attempt| {
            let counter = &counter;
            async move {
                counter.restart_at(0);
                // The answer to an upload may have been lost, and not the upload.
                if attempt > 1 && self.has_blob(scope, blob).await? {
                    return Ok(());
                }
                self.upload(scope, blob, counter).await
            }
        })
        .await?;
        counter.finish(blob.size);
        Ok(())
    }

    async fn has_blob(&self, scope: Scope<'_>, blob: &Blob) -> Result<bool, Error> {
        let url = self.url(scope.repository, &format!("blobs/{}", blob.digest))?;
        let response = self.send(&scope, &url, || Ok(self.http.head(url.clone()))).await?;
        match response.status() {
            StatusCode::NOT_FOUND => Ok(false),
            status if status.is_success() => Ok(true),
            _ => Err(Error::from_response("such repository", response).await),
        }
    }

    async fn upload(
        &self,
        scope: Scope<'_>,
        blob: &Blob,
        counter: &BlobTracker,
    ) -> Result<(), Error> {
        let url = self.url(scope.repository, "blobs/uploads/")?;
        let response = self
            .send(&scope, &url, || {
                Ok(self.http.post(url.clone()).header(header::CONTENT_LENGTH, 0))
            })
            .await?;
        let mut place = match response.status() {
            StatusCode::ACCEPTED => location(&url, &response)?,
            _ => return Err(refused(blob, response).await),
        };
        let mut sent = 0;
        while blob.size > PIECE_BYTES && sent < blob.size {
            (place, sent) = self.send_piece_or_resume(scope, blob, place, sent, counter).await?;
        }
        let rest = blob.size - sent;
        place.query_pairs_mut().append_pair("digest", &blob.digest.to_string());
        let request = || {
            let request = self.http.put(place.clone());
            with_piece(request, blob, sent, rest, counter)
        };
        let response = self.send(&scope, &place, request).await?;
        match response.status() {
            StatusCode::CREATED | StatusCode::NO_CONTENT => Ok(()),
            _ => Err(refused(blob, response).await),
        }
    }

    /// Sends the piece at `sent`; returns where the next one goes and how much is there.
    async fn send_piece_or_resume(
        &self,
        scope: Scope<'_>,
        blob: &Blob,
        place: Url,
        sent: u64,
        counter: &BlobTracker,
    ) -> Result<(Url, u64), Error> {
        let length = PIECE_BYTES.min(blob.size - sent);
        let request = || {
            let last = sent + length - 1;
            let request = self.http.patch(place.clone());
            let request = request.header(header::CONTENT_RANGE, format!("{sent}-{last}"));
            with_piece(request, blob, sent, length, counter)
        };
        match self.send(&scope, &place, request).await {
            Ok(response) if response.status() == StatusCode::ACCEPTED => {
                Ok((location(&place, &response)?, sent + length))
            }
            Ok(response) => Err(refused(blob, response).await),
            Err(err) if err.may_pass() => {
                tracing::debug!(error = %err, blob.digest = %blob.digest, "an upload is resumed");
                let (place, there) = retrying(|_| self.ask_upload(scope, blob, &place)).await?;
                // Going back, or not going on, could last for ever: begin anew instead.
                if there < sent || there > sent + length {
                    return Err(err);
                }
                counter.restart_at(there);
                if there == sent {
                    // Once more; a second failure of the same piece ends this upload.
                    let response = self.send(&scope, &place, request).await?;
                    if response.status() != StatusCode::ACCEPTED {
                        return Err(refused(blob, response).await);
                    }
                    return Ok((location(&place, &response)?, sent + length));
                }
                Ok((place, there))
            }
            Err(err) => Err(err),
        }
    }

    /// Asks how much of an upload has arrived.
    async fn ask_upload(
        &self,
        scope: Scope<'_>,
        blob: &Blob,
        place: &Url,
    ) -> Result<(Url, u64), Error> {
        let response = self.send(&scope, place, || Ok(self.http.get(place.clone()))).await?;
        if response.status() != StatusCode::NO_CONTENT {
            return Err(refused(blob, response).await);
        }
        let range = response.headers().get(header::RANGE).and_then(|range| range.to_str().ok());
        let there = match range {
            // "0-0" is what some say of nothing at all; one byte more or less is found out by the digest.
            None | Some("0-0") => 0,
            Some(range) => {
                let last = range.trim_start_matches("bytes=").strip_prefix("0-");
                let last = last.and_then(|last| last.parse::<u64>().ok());
                last.ok_or_else(|| Error::Protocol(format!("it says {range:?} of an upload")))? + 1
            }
        };
        let place = location(place, &response).unwrap_or_else(|_| place.clone());
        Ok((place, there))
    }

    async fn push_manifest(
        &self,
        scope: Scope<'_>,
        packed: &Packed,
        tag: Option<&str>,
    ) -> Result<(), Error> {
        let reference = tag.map_or_else(|| packed.digest.to_string(), str::to_owned);
        let url = self.url(scope.repository, &format!("manifests/{reference}"))?;
        let request = || {
            let request = self.http.put(url.clone());
            Ok(request.header(header::CONTENT_TYPE, oci::MANIFEST).body(packed.manifest.clone()))
        };
        retrying(|_| async {
            let response = self.send(&scope, &url, request).await?;
            if !response.status().is_success() {
                return Err(Error::from_response("such repository", response).await);
            }
            let stated = response.headers().get("docker-content-digest");
            match stated.and_then(|digest| digest.to_str().ok()) {
                Some(digest) if digest.parse() != Ok(packed.digest) => {
                    Err(Error::SentMismatch(packed.digest))
                }
                _ => Ok(()),
            }
        })
        .await
    }
}

/// The request with `length` bytes of the blob from `start` as its body.
fn with_piece(
    request: RequestBuilder,
    blob: &Blob,
    start: u64,
    length: u64,
    counter: &BlobTracker,
) -> Result<RequestBuilder, Error> {
    let request = request
        .header(header::CONTENT_LENGTH, length)
        .header(header::CONTENT_TYPE, "application/octet-stream");
    if length == 0 {
        return Ok(request);
    }
    counter.restart_at(start);
    let Some(path) = blob.data.path() else {
        let crate::pack::Data::Bytes(bytes) = &blob.data else {
            unreachable!("data without a path is bytes")
        };
        counter.advance(length);
        return Ok(request.body(bytes.slice(start as usize..(start + length) as usize)));
    };
    let file = fs_err::File::open(path).map_err(Error::file(path))?;
    let file = tokio::fs::File::from_std(file.into_parts().0);
    let counter = counter.clone();
    let pieces = async move {
        let mut file = file;
        file.seek(io::SeekFrom::Start(start)).await?;
        Ok::<_, io::Error>(ReaderStream::with_capacity(file.take(length), READ_BYTES))
    };
    let pieces = stream::once(pieces).try_flatten();
    let pieces = pieces.inspect_ok(move |bytes| counter.advance(bytes.len() as u64));
    Ok(request.body(Body::wrap_stream(pieces)))
}

fn location(asked: &Url, response: &Response) -> Result<Url, Error> {
    let location = response.headers().get(header::LOCATION).and_then(|value| value.to_str().ok());
    let location = location.and_then(|location| asked.join(location).ok());
    location.ok_or_else(|| Error::Protocol("it did not say where to upload to".into()))
}

async fn refused(blob: &Blob, response: Response) -> Error {
    let is_upload = response.url().path().contains("/blobs/uploads/");
    let is_new = response.url().path().ends_with("/blobs/uploads/");
    match Error::from_response("such repository", response).await {
        Error::NotFound(_) if is_upload && !is_new => Error::UploadLost,
        Error::Refused { code: Some(code), .. } if code == "DIGEST_INVALID" => {
            Error::SentMismatch(blob.digest)
        }
        err => err,
    }
}
