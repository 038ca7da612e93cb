//! What blobs promise, on an engine opened in a folder of the test's own.

use tempfile::TempDir;

use super::*;
use crate::files::Disk;

fn blobs() -> (TempDir, Blobs) {
    let dir = tempfile::tempdir().unwrap();
    let blobs = Blobs::folder(&dir.path().join("blobs")).unwrap();
    (dir, blobs)
}

async fn everything(blobs: &Blobs, digest: &Digest) -> Option<Vec<u8>> {
    blobs.read_all(digest, u64::MAX).await.unwrap()
}

#[tokio::test]
async fn content_is_found_by_its_digest_whole_and_in_part() {
    let (_dir, blobs) = blobs();
    let content: Vec<u8> = (0..3_000_000u32).map(|n| n as u8).collect();
    let digest = Digest::of(&content);
    assert_eq!(blobs.stat(&digest), None);
    assert!(blobs.read(&digest, None).await.unwrap().is_none());
    let mut upload = blobs.begin(u64::MAX).await.unwrap();
    for piece in content.chunks(70_001) {
        upload.append(piece).await.unwrap();
    }
    assert_eq!(blobs.stat(&digest), None, "not before it is committed");
    assert_eq!(upload.commit(&digest).await.unwrap(), 3_000_000);
    assert_eq!(blobs.stat(&digest), Some(3_000_000));
    assert_eq!(everything(&blobs, &digest).await.unwrap(), content);
    let (mut reader, size) = blobs.read(&digest, Some(10..20)).await.unwrap().unwrap();
    let mut part = Vec::new();
    reader.read_to_end(&mut part).await.unwrap();
    assert_eq!((part.as_slice(), size), (&content[10..20], 3_000_000));
    assert_eq!(blobs.list().await.unwrap(), [(digest, 3_000_000)]);
    assert_eq!(blobs.verify(&digest).await.unwrap(), Some(true));
    assert!(matches!(blobs.read_all(&digest, 10).await, Err(BlobError::TooLarge { limit: 10 })));
    assert!(blobs.remove(&digest).await.unwrap());
    assert!(!blobs.remove(&digest).await.unwrap());
}

#[tokio::test]
async fn content_that_is_not_what_it_should_be_is_thrown_away() {
    let (dir, blobs) = blobs();
    let mut upload = blobs.begin(u64::MAX).await.unwrap();
    upload.append(b"evil").await.unwrap();
    let expected = Digest::of("good");
    let error = upload.commit(&expected).await.unwrap_err();
    assert!(matches!(error, BlobError::Mismatch { actual, .. } if actual == Digest::of("evil")));
    assert_eq!(blobs.stat(&expected), None);
    assert_eq!(blobs.stat(&Digest::of("evil")), None);
    assert_eq!(fs_err::read_dir(dir.path().join("blobs/uploads")).unwrap().count(), 0);
}

#[tokio::test]
async fn an_upload_is_resumed_where_it_was_paused_also_by_another_process() {
    let (dir, blobs) = blobs();
    let mut upload = blobs.begin(100).await.unwrap();
    upload.append(b"one ").await.unwrap();
    let id = upload.id();
    assert!(matches!(blobs.resume(id, 100).await, Err(BlobError::Busy)));
    assert_eq!(upload.pause().await.unwrap(), 4);
    let mut upload = blobs.resume(id, 100).await.unwrap();
    assert_eq!(upload.offset(), 4);
    upload.append(b"two ").await.unwrap();
    upload.pause().await.unwrap();
    // Another process knows only the file.
    let other = Blobs::folder(&dir.path().join("blobs")).unwrap();
    let mut upload = other.resume(id, 100).await.unwrap();
    assert_eq!(upload.offset(), 8);
    upload.append(b"three").await.unwrap();
    let digest = Digest::of("one two three");
    upload.commit(&digest).await.unwrap();
    assert_eq!(everything(&other, &digest).await.unwrap(), b"one two three");
    assert!(matches!(other.resume(id, 100).await, Err(BlobError::UnknownUpload)));
    assert!("no uuid".parse::<UploadId>().is_err());
}

#[tokio::test]
async fn an_upload_ends_at_its_limit() {
    let (_dir, blobs) = blobs();
    let mut upload = blobs.begin(4).await.unwrap();
    upload.append(b"1234").await.unwrap();
    assert!(matches!(upload.append(b"5").await, Err(BlobError::TooLarge { limit: 4 })));
    assert_eq!(upload.offset(), 4);
    upload.abort().await.unwrap();
}

#[tokio::test]
async fn only_uploads_that_nobody_writes_to_are_swept() {
    let (_dir, blobs) = blobs();
    let mut held = blobs.begin(100).await.unwrap();
    held.append(b"held").await.unwrap();
    let idle = blobs.begin(100).await.unwrap();
    let id = idle.id();
    idle.pause().await.unwrap();
    assert_eq!(blobs.sweep(Duration::from_hours(1)).await.unwrap(), 0);
    assert_eq!(blobs.sweep(Duration::ZERO).await.unwrap(), 1);
    assert!(matches!(blobs.resume(id, 100).await, Err(BlobError::UnknownUpload)));
    held.commit(&Digest::of("held")).await.unwrap();
}

#[tokio::test]
async fn two_uploads_of_the_same_content_at_once_make_one_blob() {
    let (_dir, blobs) = blobs();
    let digest = Digest::of("same");
    let mut first = blobs.begin(100).await.unwrap();
    let mut second = blobs.begin(100).await.unwrap();
    first.append(b"same").await.unwrap();
    second.append(b"same").await.unwrap();
    let (a, b) = tokio::join!(first.commit(&digest), second.commit(&digest));
    assert_eq!((a.unwrap(), b.unwrap()), (4, 4));
    assert_eq!(blobs.list().await.unwrap(), [(digest, 4)]);
}

#[tokio::test]
async fn whichever_step_fails_no_part_of_a_blob_is_visible_and_the_upload_can_go_on() {
    let dir = tempfile::tempdir().unwrap();
    let disk = Disk::default();
    let blobs = Blobs::Folder(Folder::with_disk(&dir.path().join("blobs"), disk.clone()).unwrap());
    for n in 1.. {
        let content = format!("content {n}").repeat(200_000);
        let digest = Digest::of(&content);
        disk.faults.fail_at(n);
        let result = store(&blobs, &content, None).await;
        let failed = disk.faults.has_failed();
        disk.faults.fail_at(0);
        if !failed {
            assert_eq!(result.unwrap(), content.len() as u64);
            assert!(n > 5, "create, write, write, sync, folder, rename, sync were made to fail");
            return;
        }
        let (error, id) = result.unwrap_err();
        assert!(matches!(error, BlobError::Full(_)), "step {n}: {error:?}");
        if let Some(size) = blobs.stat(&digest) {
            assert_eq!(size, content.len() as u64, "what is visible is whole");
        }
        match id {
            Some(id) if blobs.stat(&digest).is_none() => {
                store(&blobs, &content, Some(id)).await.map_err(|(error, _)| error).unwrap();
            }
            _ => {
                blobs.put(content.as_bytes()).await.unwrap();
            }
        }
        assert_eq!(everything(&blobs, &digest).await.unwrap(), content.as_bytes());
    }
}

/// Uploads `content`, from where the upload stands if there is one; an error comes with the upload's id.
async fn store(
    blobs: &Blobs,
    content: &str,
    id: Option<UploadId>,
) -> Result<u64, (BlobError, Option<UploadId>)> {
    let mut upload = match id {
        None => blobs.begin(u64::MAX).await.map_err(|error| (error, None))?,
        Some(id) => blobs.resume(id, u64::MAX).await.map_err(|error| (error, Some(id)))?,
    };
    let id = upload.id();
    while (upload.offset() as usize) < content.len() {
        let from = upload.offset() as usize;
        let to = content.len().min(from + (1 << 20));
        upload.append(&content.as_bytes()[from..to]).await.map_err(|error| (error, Some(id)))?;
    }
    upload.commit(&Digest::of(content)).await.map_err(|error| (error, Some(id)))
}
