//! Variables of apps, with their history.

use gyre_model::{AppId, ChannelId};
use jiff::Timestamp;

use super::{
    db_methods,
    rows::{Variable, VariableChange},
};

db_methods! {
    /// Makes all the changes, or none, as one new version of the app's variables, and returns that version.
    write fn change_variables(app: AppId, changes: Vec<VariableChange>, now: Timestamp) -> u64
        = variables::change;
    /// The variables that a release of `channel` sees at that version, by name; a channel's own stand before those of
    /// all. `channel` `None`: only those of all channels.
    read fn variables(app: AppId, channel: Option<ChannelId>, version: u64) -> Vec<Variable>
        = variables::at;
}
