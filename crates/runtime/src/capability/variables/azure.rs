//! Variables in Azure Key Vault: the secret of the variable's name. A secret that is not there is an error, as in Spin.

use std::{
    collections::BTreeMap,
    fmt,
    time::{Duration, Instant},
};

use futures::future::BoxFuture;
use gyre_model::Secret;
use reqwest::{Client, RequestBuilder, Url, redirect::Policy};
use serde_json::Value;
use tokio::sync::Mutex;

use super::RemoteVariables;

/// How long an answer may take.
const ANSWER: Duration = Duration::from_secs(30);
/// The longest answer that is read, in bytes.
const MAX_ANSWER: usize = 1 << 20;
/// The version of the interface that is spoken.
const VERSION: &str = "7.4";
/// A token that ends sooner is not used any more.
const LEFT: Duration = Duration::from_mins(1);

/// Which of Azure's clouds a vault is in.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum AzureCloud {
    /// The public one.
    #[default]
    Public,
    /// China's.
    China,
    /// Germany's.
    Germany,
    /// That of the government of the USA.
    Government,
}

impl AzureCloud {
    /// Who gives tokens, and for what they are asked.
    fn authority(self) -> (&'static str, &'static str) {
        match self {
            Self::Public => ("https://login.microsoftonline.com/", "https://vault.azure.net"),
            Self::China => ("https://login.chinacloudapi.cn/", "https://vault.azure.cn"),
            Self::Germany => {
                ("https://login.microsoftonline.de/", "https://vault.microsoftazure.de")
            }
            Self::Government => {
                ("https://login.microsoftonline.us/", "https://vault.usgovcloudapi.net")
            }
        }
    }
}

/// A service principal, which signs in with a secret.
#[derive(Debug, Clone)]
pub struct AzurePrincipal {
    /// Its tenant.
    pub tenant_id: String,
    /// Its id.
    pub client_id: String,
    /// Its secret.
    pub client_secret: Secret<String>,
    /// Its cloud.
    pub cloud: AzureCloud,
    /// Who gives tokens, if it is not the cloud's own.
    pub authority: Option<String>,
}

impl AzurePrincipal {
    /// From the environment variables that Azure's libraries read: `AZURE_TENANT_ID`, `AZURE_CLIENT_ID` and
    /// `AZURE_CLIENT_SECRET`, and `AZURE_AUTHORITY_HOST`. Nothing if one of the first three is not there.
    pub fn from_environment(variables: &BTreeMap<String, String>) -> Option<Self> {
        let get = |name: &str| variables.get(name).filter(|value| !value.is_empty()).cloned();
        Some(Self {
            tenant_id: get("AZURE_TENANT_ID")?,
            client_id: get("AZURE_CLIENT_ID")?,
            client_secret: get("AZURE_CLIENT_SECRET")?.into(),
            cloud: AzureCloud::Public,
            authority: get("AZURE_AUTHORITY_HOST"),
        })
    }
}

/// A Key Vault that is asked for variables.
pub struct AzureKeyVault {
    client: Client,
    vault: Url,
    tokens: Url,
    scope: String,
    principal: AzurePrincipal,
    /// The token of this moment, and when it ends. Held while another one is asked for, so that it is asked for once.
    token: Mutex<Option<(Secret<String>, Instant)>>,
}

impl fmt::Debug for AzureKeyVault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("AzureKeyVault").field(&self.vault.as_str()).finish()
    }
}

fn http_url(text: &str) -> Result<Url, String> {
    let url: Url = text.parse().map_err(|error| format!("{text:?}: {error}"))?;
    if matches!(url.scheme(), "http" | "https") {
        Ok(url)
    } else {
        Err(format!("{text:?} is not an HTTP URL"))
    }
}

fn below<'a>(mut url: Url, path: impl IntoIterator<Item = &'a str>) -> Result<Url, String> {
    url.path_segments_mut().map_err(|()| "no path".to_owned())?.pop_if_empty().extend(path);
    Ok(url)
}

impl AzureKeyVault {
    /// The vault at `url`, asked as `principal`.
    ///
    /// # Errors
    /// A URL is not one of HTTP.
    pub fn new(url: &str, principal: AzurePrincipal) -> Result<Self, String> {
        let (authority, resource) = principal.cloud.authority();
        let authority = http_url(principal.authority.as_deref().unwrap_or(authority))?;
        let tokens = below(authority, [&*principal.tenant_id, "oauth2", "v2.0", "token"])?;
        // A redirect could carry the token elsewhere.
        let client = Client::builder().timeout(ANSWER).redirect(Policy::none()).build();
        Ok(Self {
            client: client.map_err(|error| error.to_string())?,
            vault: http_url(url)?,
            tokens,
            scope: format!("{resource}/.default"),
            principal,
            token: Mutex::default(),
        })
    }

    async fn token(&self) -> Result<Secret<String>, String> {
        let mut token = self.token.lock().await;
        if let Some((token, until)) = &*token
            && *until > Instant::now() + LEFT
        {
            return Ok(token.clone());
        }
        let asked = Instant::now();
        let form = [
            ("grant_type", "client_credentials"),
            ("client_id", &*self.principal.client_id),
            ("client_secret", self.principal.client_secret.expose()),
            ("scope", &*self.scope),
        ];
        let answer = answer(self.client.post(self.tokens.clone()).form(&form)).await;
        let answer = answer.map_err(|reason| format!("no token: {reason}"))?;
        let given =
            answer["access_token"].as_str().ok_or("no token: there is none in the answer")?;
        let given: Secret<String> = given.to_owned().into();
        let seconds = answer["expires_in"].as_u64().unwrap_or_default();
        let until = asked.checked_add(Duration::from_secs(seconds)).unwrap_or(asked);
        *token = Some((given.clone(), until));
        Ok(given)
    }

    async fn read(&self, name: &str) -> Result<String, String> {
        let url = below(self.vault.clone(), ["secrets", name])?;
        let token = self.token().await?;
        let request = self.client.get(url).query(&[("api-version", VERSION)]);
        let answer = answer(request.bearer_auth(token.expose())).await?;
        let value = answer["value"].as_str().ok_or("the secret has no value")?;
        Ok(value.to_owned())
    }
}

/// The JSON of an answer that must be 200.
async fn answer(request: RequestBuilder) -> Result<Value, String> {
    let mut answer = request.send().await.map_err(|error| gyre_telemetry::chain(&error))?;
    let mut body = Vec::new();
    while let Some(part) = answer.chunk().await.map_err(|error| error.to_string())? {
        if body.len() + part.len() > MAX_ANSWER {
            return Err(format!("the answer exceeds {MAX_ANSWER} bytes"));
        }
        body.extend_from_slice(&part);
    }
    let parsed: Option<Value> = serde_json::from_slice(&body).ok();
    if answer.status() != reqwest::StatusCode::OK {
        let parsed = parsed.unwrap_or_default();
        let code = parsed["error"]["code"].as_str().or(parsed["error"].as_str());
        return Err(format!("status {} {}", answer.status(), code.unwrap_or_default())
            .trim_end()
            .to_owned());
    }
    parsed.ok_or_else(|| "the answer is not JSON".to_owned())
}

impl RemoteVariables for AzureKeyVault {
    fn value<'a>(&'a self, name: &'a str) -> BoxFuture<'a, Result<Option<String>, String>> {
        Box::pin(async move {
            let value = self.read(name).await;
            let failed = |why| format!("Failed to read variable from Azure Key Vault: {why}");
            value.map(Some).map_err(failed)
        })
    }
}

#[cfg(test)]
mod tests {
    use std::sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    };

    use gyre_testkit::HttpDouble;

    use super::*;

    /// A vault and who gives the tokens for it, in one, and how many it gave. Each is good for `seconds`.
    fn double(seconds: u64) -> (HttpDouble, Arc<AtomicUsize>) {
        let given = Arc::new(AtomicUsize::new(0));
        let count = given.clone();
        let double = HttpDouble::start(move |request| {
            let path = request.uri().path();
            let answer = |status: u16, text: String| {
                http::Response::builder().status(status).body(text.into()).unwrap()
            };
            if path == "/the-tenant/oauth2/v2.0/token" {
                let form: BTreeMap<String, String> =
                    url::form_urlencoded::parse(request.body()).into_owned().collect();
                assert_eq!(form["grant_type"], "client_credentials");
                assert_eq!(form["scope"], "https://vault.azure.net/.default");
                if (&*form["client_id"], &*form["client_secret"]) != ("the-client", "ge&heim") {
                    return answer(401, r#"{"error":"invalid_client"}"#.to_owned());
                }
                let number = count.fetch_add(1, Ordering::SeqCst) + 1;
                return answer(
                    200,
                    format!(r#"{{"access_token":"token-{number}","expires_in":{seconds}}}"#),
                );
            }
            let token = format!("Bearer token-{}", count.load(Ordering::SeqCst));
            let is_known = request.headers().get("authorization").is_some_and(|it| *it == token);
            match (is_known, path, request.uri().query()) {
                (false, ..) => answer(401, "{}".to_owned()),
                (_, "/secrets/color", Some("api-version=7.4")) => answer(
                    200,
                    r#"{"value":"blue","id":"https://v/secrets/color/1","attributes":{}}"#
                        .to_owned(),
                ),
                _ => answer(404, r#"{"error":{"code":"SecretNotFound","message":"…"}}"#.to_owned()),
            }
        });
        (double, given)
    }

    fn vault(double: &HttpDouble, secret: &str) -> AzureKeyVault {
        let principal = AzurePrincipal {
            tenant_id: "the-tenant".to_owned(),
            client_id: "the-client".to_owned(),
            client_secret: secret.to_owned().into(),
            cloud: AzureCloud::Public,
            authority: Some(double.url()),
        };
        AzureKeyVault::new(&double.url(), principal).unwrap()
    }

    #[tokio::test]
    async fn a_secrets_value_is_the_variables_and_a_missing_one_is_an_error() {
        let (double, given) = double(3600);
        let good = vault(&double, "ge&heim");
        for _ in 0..3 {
            assert_eq!(good.value("color").await.unwrap().as_deref(), Some("blue"));
        }
        // One token does for all.
        assert_eq!(given.load(Ordering::SeqCst), 1);
        let error = good.value("shape").await.unwrap_err();
        let expected =
            "Failed to read variable from Azure Key Vault: status 404 Not Found SecretNotFound";
        assert_eq!(error, expected);
        let error = vault(&double, "guess").value("color").await.unwrap_err();
        assert!(error.contains("no token: status 401 Unauthorized invalid_client"), "{error}");
        assert!(!format!("{good:?}").contains("heim"));
    }

    #[tokio::test]
    async fn a_token_that_ends_soon_is_not_used_again() {
        let (double, given) = double(30);
        let vault = vault(&double, "ge&heim");
        for _ in 0..2 {
            assert_eq!(vault.value("color").await.unwrap().as_deref(), Some("blue"));
        }
        assert_eq!(given.load(Ordering::SeqCst), 2);
    }

    #[test]
    fn the_environment_names_a_principal_if_it_is_whole() {
        let all = [
            ("AZURE_TENANT_ID", "t"),
            ("AZURE_CLIENT_ID", "c"),
            ("AZURE_CLIENT_SECRET", "s"),
            ("AZURE_AUTHORITY_HOST", "ftp://x"),
        ];
        let all = BTreeMap::from(all.map(|(name, value)| (name.to_owned(), value.to_owned())));
        let principal = AzurePrincipal::from_environment(&all).unwrap();
        assert!(AzureKeyVault::new("https://v", principal).is_err());
        for name in ["AZURE_TENANT_ID", "AZURE_CLIENT_ID", "AZURE_CLIENT_SECRET"] {
            let mut part = all.clone();
            part.insert(name.to_owned(), String::new());
            assert!(AzurePrincipal::from_environment(&part).is_none());
        }
    }
}
