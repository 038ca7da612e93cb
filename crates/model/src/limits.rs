//! Every limit that an app's guests meet, by name.
//!
//! `None` means that nothing is limited: that is what `gyre up` starts from, since `spin up` limits nothing
//! there either. A server starts from [`Limits::server`].

use std::time::Duration;

const KIB: u64 = 1 << 10;
const MIB: u64 = 1 << 20;

/// The limits of one app. Sizes are in bytes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Limits {
    /// All linear memories of an instance together.
    pub memory_bytes: Option<u64>,
    /// Elements of one table.
    pub table_elements: Option<u32>,
    /// Processor time of one request.
    pub cpu_time: Option<Duration>,
    /// Time until the response's head.
    pub first_byte_time: Option<Duration>,
    /// Time until the response's end.
    pub total_time: Option<Duration>,
    /// Requests in flight at once on a node.
    pub concurrency: Option<u32>,
    /// Requests that wait for their turn when `concurrency` is reached; more are answered 503.
    pub queue: Option<u32>,
    /// How long a request waits for its turn before it is answered 503.
    pub queue_time: Duration,
    /// Bytes that one call may copy from guest to host.
    pub hostcall_bytes: usize,
    /// Entries of an instance's resource table.
    pub resource_table_entries: usize,
    /// The names and values of one `fields` resource together.
    pub fields_bytes: usize,
    /// Entries of a response's head.
    pub response_headers: Option<usize>,
    /// Random bytes of one call.
    pub random_bytes: u64,
    /// What an app may log, per second, over time. More is dropped and counted.
    pub log_bytes_per_second: Option<u64>,
    /// What it may log at once.
    pub log_burst_bytes: u64,
    /// The longest line of a log; a longer one is cut.
    pub log_line_bytes: usize,
    /// A request's body.
    pub request_body_bytes: Option<u64>,
    /// Connections that one instance may have open to the outside.
    pub outbound_per_instance: Option<u32>,
    /// Connections that all instances of an app may have open to the outside, on a node.
    pub outbound_per_app: Option<u32>,
    /// Time to connect to the outside, unless the guest asks for less.
    pub outbound_connect_time: Duration,
    /// How deep service chaining may go.
    pub chaining_depth: u32,
    /// Triggers besides HTTP that an app may have. Each may have a connection of its own.
    pub event_triggers: Option<usize>,
    /// The largest message that a trigger takes. A larger one ends the connection that it came by.
    pub event_bytes: usize,
    /// A key of a key-value store.
    pub key_bytes: Option<usize>,
    /// A value of a key-value store.
    pub value_bytes: Option<usize>,
    /// A key-value store on disk.
    pub key_value_store_bytes: Option<u64>,
    /// A database on disk.
    pub database_bytes: Option<u64>,
    /// Time of one SQL statement.
    pub statement_time: Option<Duration>,
    /// The text of one SQL statement.
    pub statement_bytes: usize,
    /// One value (row, string, blob) of a database.
    pub database_value_bytes: usize,
    /// What one query may return.
    pub query_result_bytes: usize,
    /// Databases that one instance may have open at once.
    pub database_connections: usize,
}

impl Limits {
    /// Nothing is limited that Spin would not limit.
    pub fn unlimited() -> Self {
        Self {
            memory_bytes: None,
            table_elements: None,
            cpu_time: None,
            first_byte_time: None,
            total_time: None,
            concurrency: None,
            queue: None,
            queue_time: Duration::from_secs(30),
            hostcall_bytes: (128 * MIB) as usize,
            resource_table_entries: 1_000_000,
            fields_bytes: (128 * KIB) as usize,
            response_headers: None,
            random_bytes: 64 * MIB,
            log_bytes_per_second: None,
            log_burst_bytes: u64::MAX,
            log_line_bytes: (16 * KIB) as usize,
            request_body_bytes: None,
            outbound_per_instance: None,
            outbound_per_app: None,
            outbound_connect_time: Duration::from_secs(600),
            chaining_depth: 64,
            event_triggers: None,
            event_bytes: (16 * MIB) as usize,
            key_bytes: None,
            value_bytes: None,
            key_value_store_bytes: None,
            database_bytes: None,
            statement_time: None,
            statement_bytes: 1_000_000_000,
            database_value_bytes: 1_000_000_000,
            query_result_bytes: (128 * MIB) as usize,
            database_connections: 256,
        }
    }

    /// What a server holds an app to unless it is told otherwise.
    pub fn server() -> Self {
        Self {
            memory_bytes: Some(128 * MIB),
            table_elements: Some(100_000),
            cpu_time: Some(Duration::from_secs(5)),
            first_byte_time: Some(Duration::from_secs(30)),
            total_time: Some(Duration::from_secs(5 * 60)),
            concurrency: Some(200),
            queue: Some(500),
            queue_time: Duration::from_secs(10),
            hostcall_bytes: (16 * MIB) as usize,
            resource_table_entries: 10_000,
            fields_bytes: (64 * KIB) as usize,
            response_headers: Some(100),
            random_bytes: MIB,
            log_bytes_per_second: Some(256 * KIB),
            log_burst_bytes: 2 * MIB,
            log_line_bytes: (16 * KIB) as usize,
            request_body_bytes: None,
            outbound_per_instance: Some(16),
            outbound_per_app: Some(256),
            outbound_connect_time: Duration::from_secs(5),
            chaining_depth: 8,
            event_triggers: Some(20),
            event_bytes: MIB as usize,
            key_bytes: Some(KIB as usize),
            value_bytes: Some((4 * MIB) as usize),
            key_value_store_bytes: Some(1024 * MIB),
            database_bytes: Some(1024 * MIB),
            statement_time: Some(Duration::from_secs(5)),
            statement_bytes: MIB as usize,
            database_value_bytes: (16 * MIB) as usize,
            query_result_bytes: (16 * MIB) as usize,
            database_connections: 16,
        }
    }

    /// The most that an app's own settings can ask a server for.
    pub fn server_ceilings() -> Self {
        Self {
            memory_bytes: Some(1024 * MIB),
            cpu_time: Some(Duration::from_secs(60)),
            first_byte_time: Some(Duration::from_secs(300)),
            total_time: Some(Duration::from_secs(3600)),
            concurrency: Some(2_000),
            ..Self::server()
        }
    }
}
