//! One module for each verb: settings in, effects and printing out.

pub(crate) mod apps;
pub(crate) mod build;
pub(crate) mod deploy;
pub(crate) mod login;
pub(crate) mod logs;
pub(crate) mod new;
pub(crate) mod quickstart;
pub(crate) mod revisions;
pub(crate) mod server;
pub(crate) mod up;
pub(crate) mod variables;
