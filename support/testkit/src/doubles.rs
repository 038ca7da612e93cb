//! Small servers that speak the protocols of services that cannot be had here: enough of each for what is tested,
//! and strict about what they are sent.

mod cosmos;
mod dynamo;
mod http;
mod libsql;

pub use cosmos::CosmosDouble;
pub use dynamo::DynamoDouble;
pub use http::HttpDouble;
pub use libsql::LibsqlDouble;
