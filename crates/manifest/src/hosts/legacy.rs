//! `allowed_http_hosts`, what there was before `allowed_outbound_hosts`.

use url::Url;

use super::HostError;

/// What a component of a version 1 manifest may reach without saying so.
pub fn database_hosts() -> [&'static str; 3] {
    ["redis://*:*", "mysql://*:*", "postgres://*:*"]
}

/// Entries of `allowed_http_hosts` as entries of `allowed_outbound_hosts`.
///
/// # Errors
/// All entries that are wrong, in one text.
pub fn convert_http_hosts(entries: &[impl AsRef<str>]) -> Result<Vec<String>, HostError> {
    if entries.iter().any(|entry| entry.as_ref() == "insecure:allow-all") {
        return Ok(["http://*:*", "https://*:*", "http://self"].map(str::to_owned).into());
    }
    let mut hosts = Vec::new();
    let mut wrong = Vec::new();
    for entry in entries {
        match host_and_port(entry.as_ref()) {
            Ok(host) if host == "self" => hosts.push("http://self".to_owned()),
            Ok(host) => hosts.extend([format!("http://{host}"), format!("https://{host}")]),
            Err(reason) => wrong.push(reason),
        }
    }
    if wrong.is_empty() {
        return Ok(hosts);
    }
    let wrong = wrong.join("\n");
    Err(HostError::Http(format!("One or more allowed_http_hosts entries was invalid:\n{wrong}")))
}

fn host_and_port(text: &str) -> Result<String, String> {
    let no_host = || format!("{text} isn't a valid host or host:port string");
    let url = if text.contains("//") {
        let url =
            Url::parse(text).map_err(|e| format!("{text} isn't a valid HTTP host URL: {e}"))?;
        if !matches!(url.scheme(), "http" | "https") {
            return Err(no_host());
        }
        url
    } else {
        Url::parse(&format!("http://{text}")).map_err(|_| no_host())?
    };
    let host = url.host_str().ok_or_else(|| format!("{text} doesn't contain a host name"))?;
    if url.path().len() > 1 {
        return Err(format!("{text} contains a path, should be host and optional port only"));
    }
    Ok(match url.port() {
        // As Spin: an explicit 80 or 443 is the scheme's own and gets lost.
        Some(port) if host != "self" => format!("{host}:{port}"),
        _ => host.to_owned(),
    })
}
