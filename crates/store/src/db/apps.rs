//! Apps, their revisions and channels.

use gyre_model::{AccountId, AppId, ChannelId, Digest, RevisionId};
use jiff::Timestamp;

use super::{
    db_methods,
    rows::{App, AppState, Channel, Listing, Page, Revision},
};

db_methods! {
    /// Adds an app and its first channels. `Taken` with `app name` or `host label`.
    write fn create_app(app: App, channels: Vec<Channel>) -> () = apps::create;
    /// The app of that id, deleted or not.
    read fn app(id: AppId) -> Option<App> = apps::by_id;
    /// The account's app of that name that is not deleted.
    read fn app_by_name(account: AccountId, name: String) -> Option<App> = apps::by_name;
    /// The account's app of that storage id that is not deleted.
    read fn app_by_storage_id(account: AccountId, storage_id: String) -> Option<App>
        = apps::by_storage_id;
    /// The app with that host label, deleted or not.
    read fn app_by_host_label(label: String) -> Option<App> = apps::by_host_label;
    /// Apps that are not deleted, by name; of one account or of all; those whose name contains `search`.
    read fn apps(account: Option<AccountId>, search: Option<String>, page: Page) -> Listing<AppState>
        = apps::list;
    /// The app with what a list shows of it.
    read fn app_state(id: AppId) -> Option<AppState> = apps::state;
    /// Marks an app as deleted: its name is free, its routes are gone. Returns whether it was there.
    write fn delete_app(id: AppId, now: Timestamp) -> bool = apps::delete;

    /// Adds a revision, or returns the one of that app and digest if there is one; whether it is new.
    write fn create_revision(revision: Revision) -> (Revision, bool) = apps::create_revision;
    /// The revision of that id.
    read fn revision(id: RevisionId) -> Option<Revision> = apps::revision;
    /// The app's revision of that digest.
    read fn revision_by_digest(app: AppId, digest: Digest) -> Option<Revision> = apps::revision_by_digest;
    /// The app's newest revision of that version.
    read fn revision_by_version(app: AppId, version: String) -> Option<Revision>
        = apps::revision_by_version;
    /// An app's revisions, newest first.
    read fn revisions(app: AppId, page: Page) -> Listing<Revision> = apps::revisions;

    /// Adds a channel. `Taken` if its name is.
    write fn create_channel(channel: Channel) -> () = apps::create_channel;
    /// The channel of that id.
    read fn channel(id: ChannelId) -> Option<Channel> = apps::channel;
    /// The app's channel of that name.
    read fn channel_by_name(app: AppId, name: String) -> Option<Channel> = apps::channel_by_name;
    /// An app's channels, by name.
    read fn channels(app: AppId) -> Vec<Channel> = apps::channels;
}
