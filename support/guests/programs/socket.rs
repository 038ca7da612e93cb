//! Opens a TCP connection to `?address=` (an IPv4 address and port) with `wasi:sockets`, sends the
//! request's body and answers with what comes back. A refusal is 502 and the error code's name.

use std::io::{Read, Write};
use std::net::SocketAddrV4;

use guests::{Request, Responder};
use wasip2::sockets::instance_network::instance_network;
use wasip2::sockets::network::{ErrorCode, IpAddressFamily, IpSocketAddress, Ipv4SocketAddress};
use wasip2::sockets::tcp::ShutdownType;
use wasip2::sockets::tcp_create_socket::create_tcp_socket;

guests::serve!(handle);

fn handle(request: Request, responder: Responder) {
    let address = request.query("address").expect("?address= says where to");
    let address: SocketAddrV4 = address.parse().expect("an IPv4 address and port");
    // One connection after the other, `?times=` in all.
    let times: u32 = request.query("times").map_or(1, |times| times.parse().expect("a number"));
    let message = request.bytes();
    for _ in 1..times {
        if let Err(error) = exchange(address, &message) {
            return responder.send(502, &[], format!("{error:?}"));
        }
    }
    match exchange(address, &message) {
        Ok(bytes) => responder.send(200, &[], bytes),
        Err(error) => responder.send(502, &[], format!("{error:?}")),
    }
}

fn exchange(address: SocketAddrV4, message: &[u8]) -> Result<Vec<u8>, ErrorCode> {
    let network = instance_network();
    let socket = create_tcp_socket(IpAddressFamily::Ipv4)?;
    let [a, b, c, d] = address.ip().octets();
    let remote =
        IpSocketAddress::Ipv4(Ipv4SocketAddress { port: address.port(), address: (a, b, c, d) });
    socket.start_connect(&network, remote)?;
    let ready = socket.subscribe();
    let (mut input, mut output) = loop {
        match socket.finish_connect() {
            Err(ErrorCode::WouldBlock) => ready.block(),
            other => break other?,
        }
    };
    output.write_all(message).expect("the message is sent");
    output.flush().expect("the message is sent");
    socket.shutdown(ShutdownType::Send)?;
    let mut answer = Vec::new();
    input.read_to_end(&mut answer).expect("an answer comes");
    Ok(answer)
}
