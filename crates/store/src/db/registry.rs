//! The registry's index: which repository has which blobs, manifests and tags. The content is in the blob store.

use gyre_model::{AccountId, Digest, RepositoryId};
use jiff::Timestamp;

use super::{
    db_methods,
    rows::{ManifestRow, Page, Repository},
};

db_methods! {
    /// The account's repository of that name, made if it is not there.
    write fn ensure_repository(account: AccountId, name: String, now: Timestamp) -> Repository
        = registry::ensure;
    /// The account's repository of that name.
    read fn repository(account: AccountId, name: String) -> Option<Repository> = registry::by_name;
    /// An account's repositories, by name.
    read fn repositories(account: AccountId, page: Page) -> Vec<Repository> = registry::list;

    /// Notes that a repository has a blob.
    write fn link_blob(repository: RepositoryId, digest: Digest, size: u64, now: Timestamp) -> ()
        = registry::link_blob;
    /// The size of the blob if the repository has it.
    read fn repository_blob(repository: RepositoryId, digest: Digest) -> Option<u64> = registry::blob;
    /// The size of the blob if any repository of the account has it: what may be mounted.
    read fn account_blob(account: AccountId, digest: Digest) -> Option<u64> = registry::account_blob;
    /// Takes a blob out of a repository; returns whether it was there and not part of a manifest.
    write fn unlink_blob(repository: RepositoryId, digest: Digest) -> bool = registry::unlink_blob;

    /// Notes a manifest with the blobs (and manifests) that it refers to, and tags it if asked to. Putting the same
    /// again changes nothing but the tag.
    write fn put_manifest(manifest: ManifestRow, blobs: Vec<Digest>, tag: Option<String>) -> ()
        = registry::put_manifest;
    /// The repository's manifest of that digest.
    read fn manifest(repository: RepositoryId, digest: Digest) -> Option<ManifestRow> = registry::manifest;
    /// The repository's manifest under that tag.
    read fn tagged_manifest(repository: RepositoryId, tag: String) -> Option<ManifestRow>
        = registry::tagged;
    /// Removes a manifest and its tags; returns whether it was there.
    write fn delete_manifest(repository: RepositoryId, digest: Digest) -> bool = registry::delete_manifest;
    /// Removes a tag; returns whether it was there.
    write fn delete_tag(repository: RepositoryId, tag: String) -> bool = registry::delete_tag;
    /// A repository's tags in order, those after `last`, at most `limit`.
    read fn tags(repository: RepositoryId, last: Option<String>, limit: u64) -> Vec<String>
        = registry::tags;
    /// Whether any repository or revision needs that content: what garbage collection asks.
    read fn is_digest_used(digest: Digest) -> bool = registry::is_used;
}
