//! `wasi:sockets`. The UDP sockets of 2023-10-18 are apart, in `udp`.

use wasmtime::component::{Linker, Resource, ResourceType};
use wasmtime_wasi::p2::{
    Network, SocketResult, TcpSocket, UdpSocket,
    bindings::sockets::{
        instance_network, ip_name_lookup,
        ip_name_lookup::{HostResolveAddressStream, ResolveAddressStream},
        network::{self, ErrorCode, IpAddressFamily},
        tcp::HostTcpSocket,
        tcp_create_socket,
        udp::{
            HostIncomingDatagramStream, HostOutgoingDatagramStream, HostUdpSocket,
            IncomingDatagramStream, OutgoingDatagramStream,
        },
        udp_create_socket,
    },
};

use super::{HostState, Snapshot, ours, resource, same, same_async, udp};

pub(super) fn add_to_linker(
    linker: &mut Linker<HostState>,
    snapshot: Snapshot,
) -> wasmtime::Result<()> {
    let network = &mut snapshot.instance(linker, "sockets/network")?;
    resource::<Network>(network, "network", |state, network| {
        network::HostNetwork::drop(&mut state.sockets(), network)
    })?;
    let instance = &mut snapshot.instance(linker, "sockets/instance-network")?;
    same!(instance, instance_network::Host, HostState::sockets, "": instance_network());
    names(linker, snapshot)?;
    tcp(linker, snapshot)?;
    match snapshot {
        Snapshot::Rc20231018 => udp::add_to_linker(linker, snapshot),
        Snapshot::Rc20231110 => datagram_streams(linker, snapshot),
    }
}

fn names(linker: &mut Linker<HostState>, snapshot: Snapshot) -> wasmtime::Result<()> {
    let names = &mut snapshot.instance(linker, "sockets/ip-name-lookup")?;
    resource::<ResolveAddressStream>(names, "resolve-address-stream", |state, stream| {
        HostResolveAddressStream::drop(&mut state.sockets(), stream)
    })?;
    same!(
        names, HostResolveAddressStream, HostState::sockets, "[method]resolve-address-stream.":
        resolve_next_address(this),
        subscribe(this),
    );
    match snapshot {
        Snapshot::Rc20231018 => ours!(
            names: "resolve-addresses" = resolve_addresses => (network, name, family, unavailable),
        ),
        Snapshot::Rc20231110 => same!(
            names, ip_name_lookup::Host, HostState::sockets, "": resolve_addresses(network, name),
        ),
    }
    Ok(())
}

/// As in 0.2, which looks up no names for guests: there is nothing that the family could choose from.
fn resolve_addresses(
    state: &mut HostState,
    network: Resource<Network>,
    name: String,
    _: Option<IpAddressFamily>,
    _: bool,
) -> SocketResult<Resource<ResolveAddressStream>> {
    ip_name_lookup::Host::resolve_addresses(&mut state.sockets(), network, name)
}

fn tcp(linker: &mut Linker<HostState>, snapshot: Snapshot) -> wasmtime::Result<()> {
    let create = &mut snapshot.instance(linker, "sockets/tcp-create-socket")?;
    same!(create, tcp_create_socket::Host, HostState::new_socket, "": create_tcp_socket(family));
    let tcp = &mut snapshot.instance(linker, "sockets/tcp")?;
    resource::<TcpSocket>(tcp, "tcp-socket", |state, socket| {
        HostTcpSocket::drop(&mut state.sockets(), socket)
    })?;
    same_async!(
        tcp, HostTcpSocket, HostState::sockets, "[method]tcp-socket.":
        start_bind(this, network, address),
        start_listen(this),
    );
    same!(
        tcp, HostTcpSocket, HostState::sockets, "[method]tcp-socket.":
        finish_bind(this),
        start_connect(this, network, address),
        finish_connect(this),
        finish_listen(this),
        accept(this),
        local_address(this),
        remote_address(this),
        address_family(this),
        set_listen_backlog_size(this, value),
        receive_buffer_size(this),
        set_receive_buffer_size(this, value),
        send_buffer_size(this),
        set_send_buffer_size(this, value),
        subscribe(this),
        shutdown(this, what),
    );
    ours!(
        tcp:
        "[method]tcp-socket.ipv6-only" = tcp_ipv6_only => (this),
        "[method]tcp-socket.set-ipv6-only" = set_tcp_ipv6_only => (this, value),
    );
    match snapshot {
        Snapshot::Rc20231018 => {
            same!(
                tcp, HostTcpSocket, HostState::sockets, "[method]tcp-socket.":
                keep_alive_enabled(this) as "keep-alive",
                set_keep_alive_enabled(this, value) as "set-keep-alive",
                hop_limit(this) as "unicast-hop-limit",
                set_hop_limit(this, value) as "set-unicast-hop-limit",
            );
            ours!(
                tcp:
                "[method]tcp-socket.no-delay" = no_delay => (this),
                "[method]tcp-socket.set-no-delay" = set_no_delay => (this, value),
            );
        }
        Snapshot::Rc20231110 => same!(
            tcp, HostTcpSocket, HostState::sockets, "[method]tcp-socket.":
            is_listening(this),
            keep_alive_enabled(this),
            set_keep_alive_enabled(this, value),
            keep_alive_idle_time(this),
            set_keep_alive_idle_time(this, value),
            keep_alive_interval(this),
            set_keep_alive_interval(this, value),
            keep_alive_count(this),
            set_keep_alive_count(this, value),
            hop_limit(this),
            set_hop_limit(this, value),
        ),
    }
    Ok(())
}

// 0.2 has no such settings: its IPv6 sockets never speak IPv4, and small segments are gathered.

/// Whether a socket of that family is for IPv6 only.
pub(super) fn ipv6_only(family: IpAddressFamily) -> SocketResult<bool> {
    match family {
        IpAddressFamily::Ipv6 => Ok(true),
        IpAddressFamily::Ipv4 => Err(ErrorCode::NotSupported.into()),
    }
}

/// Sets what is so anyway, or fails.
pub(super) fn set_ipv6_only(family: IpAddressFamily, value: bool) -> SocketResult<()> {
    if ipv6_only(family)? == value { Ok(()) } else { Err(ErrorCode::NotSupported.into()) }
}

fn tcp_family(state: &mut HostState, this: Resource<TcpSocket>) -> SocketResult<IpAddressFamily> {
    HostTcpSocket::address_family(&mut state.sockets(), this)
        .map_err(wasmtime_wasi::p2::SocketError::trap)
}

fn tcp_ipv6_only(state: &mut HostState, this: Resource<TcpSocket>) -> SocketResult<bool> {
    ipv6_only(tcp_family(state, this)?)
}

fn set_tcp_ipv6_only(
    state: &mut HostState,
    this: Resource<TcpSocket>,
    value: bool,
) -> SocketResult<()> {
    set_ipv6_only(tcp_family(state, this)?, value)
}

fn no_delay(_: &mut HostState, _: Resource<TcpSocket>) -> SocketResult<bool> {
    Ok(false)
}

fn set_no_delay(_: &mut HostState, _: Resource<TcpSocket>, value: bool) -> SocketResult<()> {
    if value { Err(ErrorCode::NotSupported.into()) } else { Ok(()) }
}

/// UDP as 2023-11-10 has it, which is nearly as 0.2 has it.
fn datagram_streams(linker: &mut Linker<HostState>, snapshot: Snapshot) -> wasmtime::Result<()> {
    let create = &mut snapshot.instance(linker, "sockets/udp-create-socket")?;
    same_async!(create, udp_create_socket::Host, HostState::new_socket, "": create_udp_socket(family));
    let udp = &mut snapshot.instance(linker, "sockets/udp")?;
    resource::<UdpSocket>(udp, "udp-socket", |state, socket| {
        HostUdpSocket::drop(&mut state.sockets(), socket)
    })?;
    resource::<IncomingDatagramStream>(udp, "incoming-datagram-stream", |state, stream| {
        HostIncomingDatagramStream::drop(&mut state.sockets(), stream)
    })?;
    let outgoing = ResourceType::host::<OutgoingDatagramStream>();
    udp.resource_async("outgoing-datagram-stream", outgoing, |mut store, rep| {
        Box::new(async move {
            let mut view = store.data_mut().sockets();
            HostOutgoingDatagramStream::drop(&mut view, Resource::new_own(rep)).await
        })
    })?;
    same_async!(
        udp, HostUdpSocket, HostState::sockets, "[method]udp-socket.":
        start_bind(this, network, address),
        stream(this, address),
    );
    same!(
        udp, HostUdpSocket, HostState::sockets, "[method]udp-socket.":
        finish_bind(this),
        local_address(this),
        remote_address(this),
        address_family(this),
        unicast_hop_limit(this),
        set_unicast_hop_limit(this, value),
        receive_buffer_size(this),
        set_receive_buffer_size(this, value),
        send_buffer_size(this),
        set_send_buffer_size(this, value),
        subscribe(this),
    );
    ours!(
        udp:
        "[method]udp-socket.ipv6-only" = udp_ipv6_only => (this),
        "[method]udp-socket.set-ipv6-only" = set_udp_ipv6_only => (this, value),
    );
    same!(
        udp, HostIncomingDatagramStream, HostState::sockets, "[method]incoming-datagram-stream.":
        receive(this, max_results),
        subscribe(this),
    );
    same!(
        udp, HostOutgoingDatagramStream, HostState::sockets, "[method]outgoing-datagram-stream.":
        check_send(this),
        send(this, datagrams),
        subscribe(this),
    );
    Ok(())
}

fn udp_family(state: &mut HostState, this: Resource<UdpSocket>) -> SocketResult<IpAddressFamily> {
    HostUdpSocket::address_family(&mut state.sockets(), this)
        .map_err(wasmtime_wasi::p2::SocketError::trap)
}

fn udp_ipv6_only(state: &mut HostState, this: Resource<UdpSocket>) -> SocketResult<bool> {
    ipv6_only(udp_family(state, this)?)
}

fn set_udp_ipv6_only(
    state: &mut HostState,
    this: Resource<UdpSocket>,
    value: bool,
) -> SocketResult<()> {
    set_ipv6_only(udp_family(state, this)?, value)
}
