//! What the operator of an app says of its connections to the world, beyond the limits.

pub use crate::capability::{ClientTls, ClientTlsError, ClientTlsSettings};

/// How an app's guests reach the world.
#[derive(Debug, Clone)]
pub struct OutboundConfig {
    /// The connections of each kind that it may have at once.
    pub connections: ConnectionLimits,
    /// The longest payload of an MQTT message, in bytes. `None`: whatever a packet takes.
    pub mqtt_payload_bytes: Option<u64>,
    /// The `host:port` with which HTTP/2 is spoken without TLS, by prior knowledge.
    pub h2c_authority: Option<String>,
    /// Whether connections of HTTP are kept for the next request.
    pub is_http_pooled: bool,
    /// How TLS is spoken with some hosts by some components; the first that fits counts.
    pub client_tls: Vec<ClientTls>,
}

impl Default for OutboundConfig {
    fn default() -> Self {
        Self {
            connections: ConnectionLimits::default(),
            mqtt_payload_bytes: None,
            h2c_authority: None,
            is_http_pooled: true,
            client_tls: Vec::new(),
        }
    }
}

/// The connections of each kind that an app may have at once, besides all of them together
/// (`outbound_per_app`). `None`: no limit of its own. With 0 there are none. Whoever finds no room waits, for as long
/// as a connection may take; a socket is refused at once.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct ConnectionLimits {
    /// Of `wasi:http`.
    pub http: Option<u32>,
    /// To Redis servers.
    pub redis: Option<u32>,
    /// To PostgreSQL servers.
    pub postgres: Option<u32>,
    /// To MySQL servers.
    pub mysql: Option<u32>,
    /// To MQTT servers.
    pub mqtt: Option<u32>,
    /// Of `wasi:sockets`.
    pub sockets: Option<u32>,
}
