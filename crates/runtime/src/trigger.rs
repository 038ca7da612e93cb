//! What calls components. One module for each kind of trigger.

pub(crate) mod http;
