//! What a program is told of a request: the variables of RFC 3875 and Spin's own, as Spin 4.0.2 gives them.

use http::{HeaderMap, Uri, header, request::Parts};
use percent_encoding::percent_decode_str;

/// Adds what the request says. It wins over what the component's own environment has under the same name, so that
/// nothing can pass for it.
pub(super) fn add(env: &mut Vec<(String, String)>, head: &Parts, is_tls: bool) {
    let mut variables = variables(head, is_tls);
    variables.extend(headers(&head.headers));
    env.retain(|(name, _)| !variables.iter().any(|(each, _)| each == name));
    env.append(&mut variables);
}

/// The arguments: the path, then the query's parts, in the places that `argv` gives them.
pub(super) fn arguments(argv: &str, uri: &Uri) -> Vec<String> {
    let query = uri.query().unwrap_or_default().replace('&', " ");
    let line = argv.replace("${SCRIPT_NAME}", uri.path()).replace("${ARGS}", &query);
    line.split(' ').map(str::to_owned).collect()
}

fn variables(head: &Parts, is_tls: bool) -> Vec<(String, String)> {
    let text = |name: &str| {
        let value = head.headers.get(name).and_then(|value| value.to_str().ok());
        value.unwrap_or_default()
    };
    let route = text("spin-component-route");
    let path_info = text("spin-path-info");
    let client = text("spin-client-addr");
    let address = client.rsplit_once(':').map_or(client, |(address, _)| address);
    let address = address.trim_start_matches('[').trim_end_matches(']');
    let host = text("host");
    let (name, port) = match host.rsplit_once(':') {
        Some((name, port)) if port.bytes().all(|byte| byte.is_ascii_digit()) => (name, port),
        _ => (host, if is_tls { "443" } else { "80" }),
    };
    let decoded = percent_decode_str(path_info).decode_utf8_lossy().into_owned();
    let protocol = format!("{:?}", head.version);
    let mut variables = vec![
        ("AUTH_TYPE", String::new()),
        ("CONTENT_LENGTH", text("content-length").to_owned()),
        ("CONTENT_TYPE", text("content-type").to_owned()),
        ("GATEWAY_INTERFACE", "CGI/1.1".to_owned()),
        ("PATH_INFO", path_info.to_owned()),
        ("PATH_TRANSLATED", decoded),
        ("QUERY_STRING", head.uri.query().unwrap_or_default().to_owned()),
        ("REMOTE_ADDR", address.to_owned()),
        ("REMOTE_HOST", address.to_owned()),
        ("REMOTE_USER", String::new()),
        ("REQUEST_METHOD", head.method.as_str().to_owned()),
        ("SCRIPT_NAME", route.to_owned()),
        ("SERVER_NAME", name.to_owned()),
        ("SERVER_PORT", port.to_owned()),
        ("SERVER_PROTOCOL", protocol),
        ("SERVER_SOFTWARE", "WAGI/1".to_owned()),
        ("X_BASE_PATH", text("spin-base-path").to_owned()),
        ("X_CLIENT_ADDR", client.to_owned()),
        ("X_COMPONENT_ROUTE", route.to_owned()),
        ("X_FULL_URL", text("spin-full-url").to_owned()),
        ("X_MATCHED_ROUTE", text("spin-matched-route").to_owned()),
        ("X_RAW_COMPONENT_ROUTE", text("spin-raw-component-route").to_owned()),
        ("X_RAW_PATH_INFO", path_info.to_owned()),
    ]
    .into_iter()
    .map(|(name, value)| (name.to_owned(), value))
    .collect::<Vec<_>>();
    for (name, value) in &head.headers {
        if let Some(parameter) = name.as_str().strip_prefix("spin-path-match-") {
            let name = format!("X_PATH_MATCH_{}", variable_name(parameter));
            variables.push((name, value.to_str().unwrap_or_default().to_owned()));
        }
    }
    variables
}

/// The client's headers. Its credentials are for the host, its connection is over; what the host itself added is
/// told by other names.
fn headers(headers: &HeaderMap) -> Vec<(String, String)> {
    let names = headers.keys().filter(|name| {
        !matches!(**name, header::AUTHORIZATION | header::CONNECTION)
            && !name.as_str().starts_with("spin-")
    });
    let value = |name| {
        let values = headers.get_all(name).iter().filter_map(|value| value.to_str().ok());
        values.collect::<Vec<_>>().join(", ")
    };
    names.map(|name| (format!("HTTP_{}", variable_name(name.as_str())), value(name))).collect()
}

fn variable_name(name: &str) -> String {
    name.to_ascii_uppercase().replace('-', "_")
}
