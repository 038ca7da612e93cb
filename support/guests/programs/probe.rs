//! A dependency that tries what it is asked to try, and says what came of it. It exports no handler: another
//! component imports it.

use ::guests::spin;
use wasip2::http::types::Method;
use wasip2::sockets::instance_network::instance_network;
use wasip2::sockets::ip_name_lookup::resolve_addresses;
use wasip2::sockets::network::IpAddressFamily;
use wasip2::sockets::tcp_create_socket::create_tcp_socket;

wit_bindgen::generate!({
    inline: r#"
        package guests:probe@1.0.0;

        interface probe {
            ask: func(what: string) -> string;
        }

        world dependency {
            export probe;
        }
    "#,
});

struct Guest;

export!(Guest);

impl exports::guests::probe::probe::Guest for Guest {
    fn ask(what: String) -> String {
        let result = match what.as_str() {
            "environment" => Ok(format!("{:?}", std::env::var("MARK").ok())),
            "files" => std::fs::read_to_string("/data.txt").map_err(|error| error.to_string()),
            "variables" => spin::variables::get("greeting").map_err(|error| format!("{error:?}")),
            "config" => spin::config::get("greeting")
                .map(|value| format!("{value:?}"))
                .map_err(|error| format!("{error:?}")),
            "key-value" => spin::key_value::Store::open("default")
                .and_then(|store| store.get("key"))
                .map(|value| format!("{value:?}"))
                .map_err(|error| format!("{error:?}")),
            "wasi-keyvalue" => spin::keyvalue::open("default")
                .and_then(|bucket| spin::atomics::increment(&bucket, "counter", 1))
                .map(|value| value.to_string())
                .map_err(|error| format!("{error:?}")),
            "sqlite" => spin::sqlite::Connection::open("default")
                .map(|_| "open".to_owned())
                .map_err(|error| format!("{error:?}")),
            "sockets" => create_tcp_socket(IpAddressFamily::Ipv4)
                .map(|_| "created".to_owned())
                .map_err(|error| format!("{error:?}")),
            "names" => resolve_addresses(&instance_network(), "localhost")
                .map(|_| "asked".to_owned())
                .map_err(|error| format!("{error:?}")),
            url => ::guests::fetch(&Method::Get, url, &[], None).map(|it| it.status.to_string()),
        };
        result.unwrap_or_else(|error| format!("error: {error}"))
    }
}
