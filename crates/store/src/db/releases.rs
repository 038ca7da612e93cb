//! Releases: how they become active, and what is served now.

use gyre_model::{AppId, ChannelId, ReleaseId};
use jiff::Timestamp;

use super::{
    db_methods,
    rows::{Activation, Listing, Page, Release, ReleaseState, Route},
};

db_methods! {
    /// Adds a release with the next number of its channel (the given one is ignored) and makes it what the channel
    /// desires. Releases of the channel that were unfinished are retired as overtaken.
    /// `Missing` if the channel or revision is, or the app was deleted.
    write fn create_release(release: Release) -> Release = releases::create;
    /// The release of that id.
    read fn release(id: ReleaseId) -> Option<Release> = releases::by_id;
    /// A channel's releases, newest first.
    read fn releases(channel: ChannelId, page: Page) -> Listing<Release> = releases::list;
    /// An app's releases, newest first.
    read fn app_releases(app: AppId, page: Page) -> Listing<Release> = releases::list_of_app;
    /// What the channel served before the release `active`: the default target of a rollback.
    read fn release_before(channel: ChannelId, active: ReleaseId) -> Option<Release>
        = releases::before;
    /// Moves an unfinished release to another unfinished state, or to failed, with a reason; returns whether it was
    /// unfinished. When it fails, the channel desires again what it serves.
    write fn set_release_state(id: ReleaseId, state: ReleaseState, reason: Option<String>, now: Timestamp)
        -> bool = releases::set_state;
    /// Makes an unfinished release what its channel serves, in one step, if it is what the channel desires.
    write fn activate_release(id: ReleaseId, now: Timestamp) -> Activation = releases::activate;
    /// All releases that may yet become active, oldest first: what a node takes up when it starts.
    read fn unfinished_releases() -> Vec<Release> = releases::unfinished;
    /// Everything that is served, for the routing table.
    read fn routes() -> Vec<Route> = releases::routes;
}
