//! UDP sockets as 2023-10-18 has them: datagrams are sent and received on the socket itself.
//!
//! Each is a socket of 0.2 together with its two streams of datagrams.

use wasmtime::component::{ComponentType, Lift, Linker, Lower, Resource, ResourceType};
use wasmtime_wasi::p2::{
    DynPollable, Network, SocketError, SocketResult, UdpSocket,
    bindings::sockets::{
        network::{
            ErrorCode, IpAddressFamily, IpSocketAddress, Ipv4SocketAddress, Ipv6SocketAddress,
        },
        udp::{
            HostIncomingDatagramStream, HostOutgoingDatagramStream, HostUdpSocket,
            IncomingDatagramStream, OutgoingDatagram, OutgoingDatagramStream,
        },
        udp_create_socket,
    },
};

use super::{
    HostState, Snapshot, borrow, ours, ours_async,
    sockets::{ipv6_only, set_ipv6_only},
};

pub(super) fn add_to_linker(
    linker: &mut Linker<HostState>,
    snapshot: Snapshot,
) -> wasmtime::Result<()> {
    let factory = &mut snapshot.instance(linker, "sockets/udp-create-socket")?;
    ours_async!(factory: "create-udp-socket" = create => (family));
    let udp = &mut snapshot.instance(linker, "sockets/udp")?;
    udp.resource_async("udp-socket", ResourceType::host::<Socket>(), |mut store, rep| {
        Box::new(async move { close(store.data_mut(), Resource::new_own(rep)).await })
    })?;
    ours_async!(
        udp:
        "[method]udp-socket.start-bind" = start_bind => (this, network, address),
        "[method]udp-socket.start-connect" = start_connect => (this, network, address),
        "[method]udp-socket.receive" = receive => (this, max_results),
        "[method]udp-socket.send" = send => (this, datagrams),
    );
    ours!(
        udp:
        "[method]udp-socket.finish-bind" = finish_bind => (this),
        "[method]udp-socket.finish-connect" = finish_connect => (this),
        "[method]udp-socket.local-address" = local_address => (this),
        "[method]udp-socket.remote-address" = remote_address => (this),
        "[method]udp-socket.address-family" = address_family => (this),
        "[method]udp-socket.ipv6-only" = get_ipv6_only => (this),
        "[method]udp-socket.set-ipv6-only" = put_ipv6_only => (this, value),
        "[method]udp-socket.unicast-hop-limit" = unicast_hop_limit => (this),
        "[method]udp-socket.set-unicast-hop-limit" = set_unicast_hop_limit => (this, value),
        "[method]udp-socket.receive-buffer-size" = receive_buffer_size => (this),
        "[method]udp-socket.set-receive-buffer-size" = set_receive_buffer_size => (this, value),
        "[method]udp-socket.send-buffer-size" = send_buffer_size => (this),
        "[method]udp-socket.set-send-buffer-size" = set_send_buffer_size => (this, value),
        "[method]udp-socket.subscribe" = subscribe => (this),
    );
    Ok(())
}

struct Socket {
    /// What it is in 0.2.
    inner: Resource<UdpSocket>,
    /// Made when the first datagram is sent or received, or by connecting.
    streams: Option<Streams>,
    is_connecting: bool,
    /// What the guest has last been told to wait for, if anything.
    waits_for: Option<Direction>,
}

struct Streams {
    incoming: Resource<IncomingDatagramStream>,
    outgoing: Resource<OutgoingDatagramStream>,
}

#[derive(Clone, Copy)]
enum Direction {
    Incoming,
    Outgoing,
}

#[derive(Debug, Clone, ComponentType, Lift, Lower)]
#[component(record)]
struct Datagram {
    data: Vec<u8>,
    #[component(name = "remote-address")]
    remote_address: IpSocketAddress,
}

type This = Resource<Socket>;

async fn create(state: &mut HostState, family: IpAddressFamily) -> SocketResult<This> {
    let mut view = state.new_socket();
    let inner = udp_create_socket::Host::create_udp_socket(&mut view, family).await?;
    let socket = Socket { inner, streams: None, is_connecting: false, waits_for: None };
    Ok(state.table.push(socket)?)
}

async fn close(state: &mut HostState, this: This) -> wasmtime::Result<()> {
    close_streams(state, &this).await?;
    let socket = state.table.delete(this)?;
    HostUdpSocket::drop(&mut state.sockets(), socket.inner)
}

async fn close_streams(state: &mut HostState, this: &This) -> wasmtime::Result<()> {
    if let Some(streams) = state.table.get_mut(this)?.streams.take() {
        let mut view = state.sockets();
        HostIncomingDatagramStream::drop(&mut view, streams.incoming)?;
        HostOutgoingDatagramStream::drop(&mut view, streams.outgoing).await?;
    }
    Ok(())
}

/// Makes its streams anew. A socket that is not bound has none.
async fn open_streams(
    state: &mut HostState,
    this: &This,
    remote: Option<IpSocketAddress>,
) -> SocketResult<()> {
    close_streams(state, this).await.map_err(SocketError::trap)?;
    let inner = inner(state, this)?;
    let (incoming, outgoing) = HostUdpSocket::stream(&mut state.sockets(), inner, remote).await?;
    state.table.get_mut(this)?.streams = Some(Streams { incoming, outgoing });
    Ok(())
}

fn inner(state: &HostState, this: &This) -> SocketResult<Resource<UdpSocket>> {
    Ok(borrow(&state.table.get(this)?.inner))
}

async fn start_bind(
    state: &mut HostState,
    this: This,
    network: Resource<Network>,
    address: IpSocketAddress,
) -> SocketResult<()> {
    let inner = inner(state, &this)?;
    HostUdpSocket::start_bind(&mut state.sockets(), inner, network, address).await
}

fn finish_bind(state: &mut HostState, this: This) -> SocketResult<()> {
    let inner = inner(state, &this)?;
    HostUdpSocket::finish_bind(&mut state.sockets(), inner)
}

async fn start_connect(
    state: &mut HostState,
    this: This,
    network: Resource<Network>,
    address: IpSocketAddress,
) -> SocketResult<()> {
    if state.table.get(&this)?.is_connecting {
        return Err(ErrorCode::ConcurrencyConflict.into());
    }
    bind_any(state, &this, network).await?;
    open_streams(state, &this, Some(address)).await?;
    state.table.get_mut(&this)?.is_connecting = true;
    Ok(())
}

/// Binds a socket that is not bound yet: connecting does, here, and does not in 0.2.
async fn bind_any(
    state: &mut HostState,
    this: &This,
    network: Resource<Network>,
) -> SocketResult<()> {
    let inner = inner(state, this)?;
    let mut view = state.sockets();
    if HostUdpSocket::local_address(&mut view, borrow(&inner)).is_ok() {
        return Ok(());
    }
    let family = HostUdpSocket::address_family(&mut view, borrow(&inner));
    let any = match family.map_err(SocketError::trap)? {
        IpAddressFamily::Ipv4 => {
            IpSocketAddress::Ipv4(Ipv4SocketAddress { port: 0, address: (0, 0, 0, 0) })
        }
        IpAddressFamily::Ipv6 => IpSocketAddress::Ipv6(Ipv6SocketAddress {
            port: 0,
            flow_info: 0,
            address: (0, 0, 0, 0, 0, 0, 0, 0),
            scope_id: 0,
        }),
    };
    HostUdpSocket::start_bind(&mut view, borrow(&inner), network, any).await?;
    HostUdpSocket::finish_bind(&mut view, inner)
}

/// What start-connect began it has ended, too.
fn finish_connect(state: &mut HostState, this: This) -> SocketResult<()> {
    let socket = state.table.get_mut(&this)?;
    if !std::mem::take(&mut socket.is_connecting) {
        return Err(ErrorCode::NotInProgress.into());
    }
    Ok(())
}

async fn receive(
    state: &mut HostState,
    this: This,
    max_results: u64,
) -> SocketResult<Vec<Datagram>> {
    if state.table.get(&this)?.streams.is_none() {
        open_streams(state, &this, None).await?;
    }
    let socket = state.table.get(&this)?;
    let Some(streams) = &socket.streams else { return Err(ErrorCode::InvalidState.into()) };
    let incoming = borrow(&streams.incoming);
    let received =
        HostIncomingDatagramStream::receive(&mut state.sockets(), incoming, max_results)?;
    let is_empty = received.is_empty() && max_results > 0;
    state.table.get_mut(&this)?.waits_for = is_empty.then_some(Direction::Incoming);
    if is_empty {
        return Err(ErrorCode::WouldBlock.into());
    }
    let datagram = |received: wasmtime_wasi::p2::bindings::sockets::udp::IncomingDatagram| {
        Datagram { data: received.data, remote_address: received.remote_address }
    };
    Ok(received.into_iter().map(datagram).collect())
}

async fn send(state: &mut HostState, this: This, datagrams: Vec<Datagram>) -> SocketResult<u64> {
    if state.table.get(&this)?.streams.is_none() {
        open_streams(state, &this, None).await?;
    }
    let socket = state.table.get(&this)?;
    let Some(streams) = &socket.streams else { return Err(ErrorCode::InvalidState.into()) };
    let outgoing = borrow(&streams.outgoing);
    let mut view = state.sockets();
    let room = HostOutgoingDatagramStream::check_send(&mut view, borrow(&outgoing))?;
    let wanted = datagrams.len();
    let room = usize::try_from(room).unwrap_or(usize::MAX);
    let permitted = datagrams.into_iter().take(room).map(|datagram| OutgoingDatagram {
        data: datagram.data,
        remote_address: Some(datagram.remote_address),
    });
    let sent = HostOutgoingDatagramStream::send(&mut view, outgoing, permitted.collect())?;
    let is_full = sent == 0 && wanted > 0;
    state.table.get_mut(&this)?.waits_for = is_full.then_some(Direction::Outgoing);
    if is_full {
        return Err(ErrorCode::WouldBlock.into());
    }
    Ok(sent)
}

/// Ready when what would have blocked last no longer does; otherwise at once, as a socket may send at nearly any time.
fn subscribe(state: &mut HostState, this: This) -> wasmtime::Result<Resource<DynPollable>> {
    let socket = state.table.get(&this)?;
    match (&socket.streams, socket.waits_for) {
        (Some(streams), Some(Direction::Incoming)) => {
            let incoming = borrow(&streams.incoming);
            HostIncomingDatagramStream::subscribe(&mut state.sockets(), incoming)
        }
        (Some(streams), Some(Direction::Outgoing)) => {
            let outgoing = borrow(&streams.outgoing);
            HostOutgoingDatagramStream::subscribe(&mut state.sockets(), outgoing)
        }
        _ => {
            let inner = borrow(&socket.inner);
            HostUdpSocket::subscribe(&mut state.sockets(), inner)
        }
    }
}

fn address_family(state: &mut HostState, this: This) -> wasmtime::Result<IpAddressFamily> {
    let inner = borrow(&state.table.get(&this)?.inner);
    HostUdpSocket::address_family(&mut state.sockets(), inner)
}

fn get_ipv6_only(state: &mut HostState, this: This) -> SocketResult<bool> {
    ipv6_only(address_family(state, this).map_err(SocketError::trap)?)
}

fn put_ipv6_only(state: &mut HostState, this: This, value: bool) -> SocketResult<()> {
    set_ipv6_only(address_family(state, this).map_err(SocketError::trap)?, value)
}

/// What is asked of the socket of 0.2.
macro_rules! of_inner {
    ($($method:ident($($argument:ident: $type:ty)?) -> $value:ty;)*) => {$(
        fn $method(state: &mut HostState, this: This $(, $argument: $type)?) -> SocketResult<$value> {
            let inner = inner(state, &this)?;
            HostUdpSocket::$method(&mut state.sockets(), inner $(, $argument)?)
        }
    )*};
}

of_inner! {
    local_address() -> IpSocketAddress;
    remote_address() -> IpSocketAddress;
    unicast_hop_limit() -> u8;
    set_unicast_hop_limit(value: u8) -> ();
    receive_buffer_size() -> u64;
    set_receive_buffer_size(value: u64) -> ();
    send_buffer_size() -> u64;
    set_send_buffer_size(value: u64) -> ();
}
