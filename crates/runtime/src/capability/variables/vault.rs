//! Variables in HashiCorp Vault, in its key-value engine of version 2: the secret `PREFIX/NAME`, its field `value`.

use std::{fmt, time::Duration};

use futures::future::BoxFuture;
use gyre_model::Secret;
use reqwest::{Client, StatusCode, Url, redirect::Policy};

use super::RemoteVariables;

/// How long an answer may take.
const ANSWER: Duration = Duration::from_secs(30);
/// The longest answer that is read, in bytes.
const MAX_ANSWER: usize = 1 << 20;

/// A Vault server that is asked for variables.
pub struct Vault {
    client: Client,
    /// The folder of the secrets.
    folder: Url,
    token: Secret<String>,
}

impl fmt::Debug for Vault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Vault").field(&self.folder.as_str()).finish()
    }
}

impl Vault {
    /// The server at `url`, whose engine is mounted at `mount`.
    ///
    /// # Errors
    /// The URL is not one of HTTP.
    pub fn new(
        url: &str,
        token: Secret<String>,
        mount: &str,
        prefix: Option<&str>,
    ) -> Result<Self, String> {
        let mut folder: Url = url.parse().map_err(|error| format!("{url:?}: {error}"))?;
        if !matches!(folder.scheme(), "http" | "https") {
            return Err(format!("{url:?} is not an HTTP URL"));
        }
        folder
            .path_segments_mut()
            .map_err(|()| format!("{url:?} is not an HTTP URL"))?
            .pop_if_empty()
            .push("v1")
            .extend(mount.split('/').filter(|part| !part.is_empty()))
            .push("data")
            .extend(prefix.unwrap_or_default().split('/').filter(|part| !part.is_empty()));
        // A redirect could carry the token elsewhere.
        let client = Client::builder().timeout(ANSWER).redirect(Policy::none()).build();
        Ok(Self { client: client.map_err(|error| error.to_string())?, folder, token })
    }

    async fn read(&self, name: &str) -> Result<Option<String>, String> {
        let mut url = self.folder.clone();
        url.path_segments_mut().map_err(|()| "no path".to_owned())?.push(name);
        let request = self.client.get(url).header("X-Vault-Token", self.token.expose());
        let mut answer = request.send().await.map_err(|error| gyre_telemetry::chain(&error))?;
        match answer.status() {
            StatusCode::NOT_FOUND => return Ok(None),
            StatusCode::OK => {}
            status => return Err(format!("status {status}")),
        }
        let mut body = Vec::new();
        while let Some(part) = answer.chunk().await.map_err(|error| error.to_string())? {
            if body.len() + part.len() > MAX_ANSWER {
                return Err(format!("the answer exceeds {MAX_ANSWER} bytes"));
            }
            body.extend_from_slice(&part);
        }
        let secret: serde_json::Value =
            serde_json::from_slice(&body).map_err(|_| "the answer is not JSON".to_owned())?;
        match secret.pointer("/data/data/value").and_then(serde_json::Value::as_str) {
            Some(value) => Ok(Some(value.to_owned())),
            None => Err("the secret has no text in its field `value`".to_owned()),
        }
    }
}

impl RemoteVariables for Vault {
    fn value<'a>(&'a self, name: &'a str) -> BoxFuture<'a, Result<Option<String>, String>> {
        Box::pin(async move {
            let value = self.read(name).await;
            value.map_err(|reason| format!("Failed to check Vault for config: {reason}"))
        })
    }
}

#[cfg(test)]
mod tests {
    use tokio::{
        io::{AsyncReadExt as _, AsyncWriteExt as _},
        net::TcpListener,
    };

    use super::*;

    /// A server that answers as Vault does, on a port of its own.
    async fn server() -> String {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}/", listener.local_addr().unwrap());
        tokio::spawn(async move {
            while let Ok((mut stream, _)) = listener.accept().await {
                let mut head = Vec::new();
                while !head.ends_with(b"\r\n\r\n") {
                    head.push(stream.read_u8().await.unwrap());
                }
                let head = String::from_utf8(head).unwrap();
                let path = head.split(' ').nth(1).unwrap();
                let (status, body) = match path {
                    _ if !head.contains("x-vault-token: geheim\r\n") => ("403 Forbidden", "{}"),
                    "/v1/kv/deep/data/app/token" => (
                        "200 OK",
                        r#"{"data":{"data":{"value":"sesame"},"metadata":{"version":1}}}"#,
                    ),
                    "/v1/kv/deep/data/app/odd" => ("200 OK", r#"{"data":{"data":{"x":1}}}"#),
                    _ => ("404 Not Found", r#"{"errors":[]}"#),
                };
                let answer = format!(
                    "HTTP/1.1 {status}\r\ncontent-length: {}\r\nconnection: close\r\n\r\n{body}",
                    body.len()
                );
                stream.write_all(answer.as_bytes()).await.unwrap();
            }
        });
        url
    }

    #[tokio::test]
    async fn a_secrets_value_is_the_variables_and_a_missing_one_is_none() {
        let url = server().await;
        let vault = |token: &str| {
            Vault::new(&url, token.to_owned().into(), "kv/deep", Some("app")).unwrap()
        };
        let good = vault("geheim");
        assert_eq!(good.value("token").await.unwrap().as_deref(), Some("sesame"));
        assert_eq!(good.value("missing").await.unwrap(), None);
        good.value("odd").await.unwrap_err();
        let error = vault("wrong").value("token").await.unwrap_err();
        assert_eq!(error, "Failed to check Vault for config: status 403 Forbidden");
        assert!(!format!("{good:?}").contains("geheim"));
        Vault::new("ftp://x", String::new().into(), "kv", None).unwrap_err();
    }
}
