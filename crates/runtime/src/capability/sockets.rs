//! Which sockets a guest may use: connections and datagrams to where `tcp://`, `udp://` and `*://` entries of
//! `allowed_outbound_hosts` lead. Nothing can be listened on.

use std::{
    future,
    net::SocketAddr,
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicU32, Ordering},
    },
};

use wasmtime_wasi::{WasiCtxBuilder, sockets::SocketAddrUse};

use super::{
    Origin,
    egress::{Permit, Purpose},
};

/// How many permits the sockets of an instance hold.
#[derive(Clone, Default)]
pub(super) struct Used(Arc<AtomicU32>);

impl Used {
    /// Whether there are any.
    pub(super) fn holds_any(&self) -> bool {
        self.0.load(Ordering::Acquire) > 0
    }
}

/// The permits that come of one check. Each socket has the check that it was created under for as long as it exists.
#[derive(Default)]
pub(super) struct Held(Mutex<Vec<Counted>>);

/// A permit of an instance's, counted while it is kept.
struct Counted {
    _permit: Permit,
    used: Used,
}

impl Drop for Counted {
    fn drop(&mut self) {
        self.used.0.fetch_sub(1, Ordering::AcqRel);
    }
}

/// Sets which sockets `origin` may use. The permits that they take are free once `wasi`, what it is the context of and
/// all sockets created under it are gone.
pub(super) fn configure(origin: &Origin, used: &Used, wasi: &mut WasiCtxBuilder) {
    let (origin, used, held) = (origin.clone(), used.clone(), Held::default());
    wasi.allow_tcp(true).allow_udp(true).socket_addr_check(move |address, purpose| {
        Box::pin(future::ready(allows(&origin, &used, &held, address, purpose)))
    });
}

pub(super) fn allows(
    origin: &Origin,
    used: &Used,
    held: &Held,
    address: SocketAddr,
    purpose: SocketAddrUse,
) -> bool {
    match purpose {
        SocketAddrUse::TcpListen | SocketAddrUse::TcpAccept => false,
        // A socket that is not bound is bound to any port when it connects or sends; that is asked for, too.
        SocketAddrUse::TcpBind => is_any(address),
        SocketAddrUse::UdpBind => {
            (is_any(address) || may_reach(origin, "udp", address)) && take(origin, used, held)
        }
        SocketAddrUse::TcpConnect => may_reach(origin, "tcp", address) && take(origin, used, held),
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

fn take(origin: &Origin, used: &Used, held: &Held) -> bool {
    let limit = origin.app.limits.outbound_per_instance;
    let more = |count: u32| limit.is_none_or(|limit| count < limit).then(|| count + 1);
    let counted = used.0.fetch_update(Ordering::AcqRel, Ordering::Acquire, more).is_ok();
    let permit = if counted { origin.app.shared.egress.permit_now(Purpose::Socket) } else { None };
    let Some(permit) = permit else {
        if counted {
            used.0.fetch_sub(1, Ordering::AcqRel);
        }
        origin.log(
            "Too many outbound connections: the limit of the instance or of the app is reached",
        );
        return false;
    };
    let counted = Counted { _permit: permit, used: used.clone() };
    held.0.lock().unwrap_or_else(PoisonError::into_inner).push(counted);
    true
}
