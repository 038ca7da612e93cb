//! Which sockets are allowed.

use wasmtime_wasi::sockets::SocketAddrUse as Use;

use super::{
    super::sockets::{Held, Used, allows},
    *,
};

fn ask(origin: &Origin, address: &str, purpose: Use) -> bool {
    allows(origin, &Used::default(), &Held::default(), address.parse().unwrap(), purpose)
}

#[test]
fn tcp_and_udp_go_only_where_entries_of_their_scheme_lead() {
    let fixture =
        Fixture::with_hosts(&["tcp://10.0.0.0/8:5432", "udp://[fd00::1]:53", "*://1.2.3.4:*"]);
    let origin = fixture.origin();
    let cases = [
        (Use::TcpConnect, "10.1.2.3:5432", true),
        (Use::TcpConnect, "10.1.2.3:5433", false),
        (Use::TcpConnect, "11.1.2.3:5432", false),
        (Use::UdpSend, "10.1.2.3:5432", false),
        (Use::UdpSend, "[fd00::1]:53", true),
        (Use::UdpReceive, "[fd00::1]:53", true),
        (Use::UdpReceive, "[fd00::2]:53", false),
        (Use::TcpConnect, "[fd00::1]:53", false),
        (Use::TcpConnect, "1.2.3.4:1", true),
        (Use::UdpSend, "1.2.3.4:65535", true),
    ];
    for (purpose, address, expected) in cases {
        assert_eq!(ask(&origin, address, purpose), expected, "{purpose:?} {address}");
    }
    let log = fixture.logged().join("\n");
    assert!(log.contains("Outbound network destination not allowed: tcp://10.1.2.3:5433"), "{log}");
}

#[test]
fn nothing_listens_whatever_is_allowed() {
    let origin = Fixture::with_hosts(&["*://*:*"]).origin();
    for address in ["0.0.0.0:0", "127.0.0.1:8080", "[::]:80"] {
        assert!(!ask(&origin, address, Use::TcpListen), "{address}");
        assert!(!ask(&origin, address, Use::TcpAccept), "{address}");
    }
    assert!(!ask(&origin, "127.0.0.1:0", Use::TcpBind));
    assert!(!ask(&origin, "0.0.0.0:8080", Use::TcpBind));
    // What the system does for a socket that connects.
    assert!(ask(&origin, "0.0.0.0:0", Use::TcpBind));
}

#[test]
fn special_addresses_are_prohibited_where_the_network_is_blocked() {
    let fixture = Fixture::with_hosts(&["*://*:*"]).blocked();
    let origin = fixture.origin();
    for address in [
        "127.0.0.1:80",
        "10.0.0.1:80",
        "169.254.169.254:80",
        "[::1]:80",
        "[::ffff:10.0.0.1]:80",
        "[64:ff9b::a00:1]:80",
        "[fd00:ec2::254]:80",
        "0.0.0.0:80",
        "100.64.0.1:80",
    ] {
        for purpose in [Use::TcpConnect, Use::UdpSend, Use::UdpReceive] {
            assert!(!ask(&origin, address, purpose), "{purpose:?} {address}");
        }
    }
    assert!(ask(&origin, "8.8.8.8:53", Use::UdpSend));
    assert!(
        fixture.logged()[0].starts_with("Outbound network address prohibited: tcp://127.0.0.1:80")
    );
}

#[test]
fn an_instance_uses_only_as_many_sockets_as_its_limit() {
    let fixture = Fixture::with_hosts(&["*://*:*"]).limits(|limits| {
        limits.outbound_per_instance = Some(2);
        limits.outbound_per_app = Some(3);
    });
    let origin = fixture.origin();
    let address = "1.2.3.4:5".parse().unwrap();
    let (first, second) = (Used::default(), Used::default());
    let (one, two, other) = (Held::default(), Held::default(), Held::default());
    let connect = |used: &_, held: &_| allows(&origin, used, held, address, Use::TcpConnect);
    assert!(connect(&first, &one) && connect(&first, &two) && !connect(&first, &two));
    // Another instance of the app finds one place left.
    assert!(connect(&second, &other) && !connect(&second, &other));
    // A socket that is gone makes room for one of its instance, or of another one.
    drop(one);
    assert!(connect(&first, &two) && !connect(&second, &other));
    drop(two);
    assert!(!first.holds_any() && second.holds_any());
    assert!(connect(&second, &other));
}
