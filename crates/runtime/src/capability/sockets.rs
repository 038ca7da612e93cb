//! Which sockets a guest may use: connections and datagrams to where `tcp://`, `udp://` and `*://` entries of
//! `allowed_outbound_hosts` lead. Nothing can be listened on.

use std::{
    future,
    net::SocketAddr,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use wasmtime_wasi::{WasiCtxBuilder, sockets::SocketAddrUse};

use super::{
    Origin,
    egress::{Permit, Purpose},
};

/// The permits of an instance's sockets. When one is closed is not known here, so they are kept for as long as
/// the instance lives.
#[derive(Clone, Default)]
pub(super) struct Used(Arc<Mutex<Vec<Permit>>>);

impl Used {
    /// Whether there are any.
    pub(super) fn holds_any(&self) -> bool {
        !self.lock().is_empty()
    }

    fn lock(&self) -> MutexGuard<'_, Vec<Permit>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Sets which sockets `origin` may use.
pub(super) fn configure(origin: &Origin, wasi: &mut WasiCtxBuilder) -> Used {
    let origin = origin.clone();
    let all = Used::default();
    let used = all.clone();
    wasi.allow_tcp(true).allow_udp(true).socket_addr_check(move |address, purpose| {
        Box::pin(future::ready(allows(&origin, &used, address, purpose)))
    });
    all
}

pub(super) fn allows(
    origin: &Origin,
    used: &Used,
    address: SocketAddr,
    purpose: SocketAddrUse,
) -> bool {
    match purpose {
        SocketAddrUse::TcpListen | SocketAddrUse::TcpAccept => false,
        // A socket that is not bound is bound to any port when it connects or sends; that is asked for, too.
        SocketAddrUse::TcpBind => is_any(address),
        SocketAddrUse::UdpBind => {
            (is_any(address) || may_reach(origin, "udp", address)) && take(origin, used)
        }
        SocketAddrUse::TcpConnect => may_reach(origin, "tcp", address) && take(origin, used),
        SocketAddrUse::UdpSend | SocketAddrUse::UdpReceive => may_reach(origin, "udp", address),
    }
}

fn is_any(address: SocketAddr) -> bool {
    address.ip().is_unspecified() && address.port() == 0
}

fn may_reach(origin: &Origin, scheme: &str, address: SocketAddr) -> bool {
    if !origin.component.grants.network.allows_address(origin, scheme, address) {
        return false;
    }
    let is_prohibited = origin.app.shared.egress.prohibits(address.ip());
    if is_prohibited {
        origin.log(&format!("Outbound network address prohibited: {scheme}://{address}"));
    }
    !is_prohibited
}

fn take(origin: &Origin, used: &Used) -> bool {
    let limit = origin.app.limits.outbound_per_instance;
    let mut used = used.lock();
    let permit = match limit {
        Some(limit) if used.len() >= limit as usize => None,
        _ => origin.app.shared.egress.permit_now(Purpose::Socket),
    };
    let Some(permit) = permit else {
        origin.log(
            "Too many outbound connections: the limit of the instance or of the app is reached",
        );
        return false;
    };
    // Without limits there is nothing to count.
    if permit.is_counted() || limit.is_some() {
        used.push(permit);
    }
    true
}
