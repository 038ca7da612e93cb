//! A login at a Bindle server: got by a code (RFC 8628), kept in the file that the `bindle` client keeps it in, renewed in time.

use std::{fmt, path::Path, time::Duration};

use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
use gyre_model::Secret;
use serde::{Deserialize, Serialize, de::DeserializeOwned};
use url::Url;

use super::{
    client::{Client, ClientError, parse, success, text},
    keys::write,
};
use crate::{limits, outbound};

/// So long before its end a token is renewed, in seconds.
const EARLY: u64 = 60;
/// The longest time between two questions whether somebody has approved.
const LONGEST_INTERVAL: Duration = Duration::from_mins(1);

/// The longest time that a code is waited for.
const LONGEST_LIFE: Duration = Duration::from_hours(24);

/// A login that somebody has to approve.
#[derive(Deserialize)]
pub struct PendingLogin {
    device_code: String,
    /// What the person types.
    pub user_code: String,
    /// Where the person types it.
    #[serde(alias = "verification_url")]
    pub verification_uri: String,
    /// For how many seconds.
    expires_in: u64,
    #[serde(default = "five")]
    interval: u64,
    client_id: String,
    token_url: String,
}

fn five() -> u64 {
    5
}

impl PendingLogin {
    /// How long it can be approved.
    pub fn life(&self) -> Duration {
        Duration::from_secs(self.expires_in).min(LONGEST_LIFE)
    }

    /// How long to wait before asking for the first time, and between two questions.
    pub fn interval(&self) -> Duration {
        Duration::from_secs(self.interval.max(1)).min(LONGEST_INTERVAL)
    }
}

/// What became of a login so far.
#[derive(Debug)]
pub enum Poll {
    /// Nobody has decided.
    Pending,
    /// The same, and to be asked less often.
    SlowDown,
    /// Somebody has approved.
    Approved(Box<Login>),
}

/// A login, as it is kept: TOML, with the keys of the `bindle` client and, of our own, `server`.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Login {
    access_token: String,
    token_type: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    refresh_token: Option<String>,
    id_token: String,
    #[serde(default)]
    issuer: String,
    #[serde(default)]
    client_id: String,
    #[serde(default)]
    token_url: String,
    /// The server whose login it is.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    server: Option<String>,
}

impl fmt::Debug for Login {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { issuer, server, .. } = self;
        f.debug_struct("Login")
            .field("issuer", issuer)
            .field("server", server)
            .finish_non_exhaustive()
    }
}

impl Login {
    /// Reads the text of the file; `None` if it is none, such as a bare token.
    pub fn from_toml(text: &str) -> Option<Self> {
        toml::from_str(text).ok()
    }

    /// Writes the file, whole or not at all, for nobody else to read.
    ///
    /// # Errors
    /// The disk.
    pub fn write(&self, path: &Path) -> Result<(), ClientError> {
        let text = toml::to_string(self).expect("every key is a string");
        Ok(write(path, &text, 0o600)?)
    }

    /// What is shown to the server.
    pub fn token(&self) -> Secret<String> {
        self.id_token.clone().into()
    }

    /// Whether it is known to be that server's.
    pub fn is_of(&self, server: &Url) -> bool {
        self.server.as_deref() == Some(server.as_str())
    }

    /// Whether the token has ended, or is about to, at `now` in seconds since 1970.
    pub fn is_ending(&self, now: u64) -> bool {
        claims(&self.id_token).and_then(|claims| claims.exp).is_some_and(|end| now + EARLY >= end)
    }

    /// The login that follows this one.
    ///
    /// # Errors
    /// It cannot be renewed: one has to sign in again.
    pub async fn renewed(&self, is_insecure: bool) -> Result<Self, ClientError> {
        let Some(refresh_token) = &self.refresh_token else {
            return Err(ClientError::Login("it cannot be renewed".to_owned()));
        };
        let form = [
            ("grant_type", "refresh_token"),
            ("refresh_token", refresh_token),
            ("client_id", &self.client_id),
        ];
        match ask(&self.token_url, &form, is_insecure).await? {
            Ok(granted) => {
                let server = self.server.clone();
                Ok(granted.login(&self.client_id, &self.token_url, server))
            }
            Err(error) => Err(ClientError::Login(error)),
        }
    }
}

#[derive(Deserialize)]
struct Claims {
    #[serde(default)]
    iss: String,
    exp: Option<u64>,
}

/// What a token says of itself. It is the server that verifies it.
fn claims(token: &str) -> Option<Claims> {
    let claims = URL_SAFE_NO_PAD.decode(token.split('.').nth(1)?).ok()?;
    serde_json::from_slice(&claims).ok()
}

#[derive(Deserialize)]
struct Granted {
    access_token: String,
    token_type: String,
    refresh_token: Option<String>,
    id_token: String,
}

impl Granted {
    fn login(self, client_id: &str, token_url: &str, server: Option<String>) -> Login {
        Login {
            access_token: self.access_token,
            token_type: self.token_type,
            refresh_token: self.refresh_token,
            issuer: claims(&self.id_token).map(|claims| claims.iss).unwrap_or_default(),
            id_token: self.id_token,
            client_id: client_id.to_owned(),
            token_url: token_url.to_owned(),
            server,
        }
    }
}

#[derive(Deserialize)]
struct OauthError {
    error: String,
}

/// Asks the endpoint for tokens; the inner error is the one that it named.
async fn ask(
    address: &str,
    form: &[(&str, &str)],
    is_insecure: bool,
) -> Result<Result<Granted, String>, ClientError> {
    let url: Url = address.parse().map_err(|_| ClientError::Address(address.to_owned()))?;
    let http = outbound::client(&url).danger_accept_invalid_certs(is_insecure).build()?;
    let body = url::form_urlencoded::Serializer::new(String::new()).extend_pairs(form).finish();
    let kind = "application/x-www-form-urlencoded";
    let request = http.post(url).header(http::header::CONTENT_TYPE, kind).body(body);
    let response = request.header(http::header::ACCEPT, "application/json").send().await?;
    let status = response.status();
    let said = text(response, limits::KEYS_BYTES).await?;
    if status.is_success() {
        return Ok(Ok(from_json(&said)?));
    }
    match serde_json::from_str::<OauthError>(&said) {
        Ok(error) => Ok(Err(error.error)),
        Err(_) => Err(ClientError::Refused { status, message: said.trim().to_owned() }),
    }
}

fn from_json<T: DeserializeOwned>(text: &str) -> Result<T, ClientError> {
    serde_json::from_str(text)
        .map_err(|error| ClientError::Login(format!("the server's answer is malformed: {error}")))
}

impl Client {
    /// Begins a login by that provider; many servers have one only.
    pub async fn begin_login(&self, provider: &str) -> Result<PendingLogin, ClientError> {
        let request = self.request(http::Method::GET, "login").query(&[("provider", provider)]);
        parse(success(request.send().await?, || "a way to sign in".to_owned()).await?).await
    }

    /// Asks whether somebody has approved.
    ///
    /// # Errors
    /// It was refused or has expired, and the like.
    pub async fn poll_login(&self, login: &PendingLogin) -> Result<Poll, ClientError> {
        let form = [
            ("grant_type", "urn:ietf:params:oauth:grant-type:device_code"),
            ("device_code", &login.device_code),
            ("client_id", &login.client_id),
        ];
        match ask(&login.token_url, &form, self.is_insecure()).await? {
            Ok(granted) => {
                let server = Some(self.address().to_string());
                let login = granted.login(&login.client_id, &login.token_url, server);
                Ok(Poll::Approved(Box::new(login)))
            }
            Err(error) => match error.as_str() {
                "authorization_pending" => Ok(Poll::Pending),
                "slow_down" => Ok(Poll::SlowDown),
                "access_denied" => Err(ClientError::Login("somebody refused it".to_owned())),
                "expired_token" => Err(ClientError::Login("the code has expired".to_owned())),
                _ => Err(ClientError::Login(error)),
            },
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn login(claims: &str) -> Login {
        let id_token = format!("e30.{}.c2ln", URL_SAFE_NO_PAD.encode(claims));
        let granted = Granted {
            access_token: "a".to_owned(),
            token_type: "bearer".to_owned(),
            refresh_token: Some("r".to_owned()),
            id_token,
        };
        granted.login("bindle", "http://a/token", Some("http://a/v1/".to_owned()))
    }

    #[test]
    fn a_login_is_kept_and_knows_its_end_and_its_server() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("bindle/.token");
        let kept = login(r#"{"iss":"http://a","exp":1000}"#);
        kept.write(&path).unwrap();
        let text = fs_err::read_to_string(&path).unwrap();
        let read = Login::from_toml(&text).unwrap();
        assert_eq!(read, kept);
        assert_eq!(read.issuer, "http://a");
        assert!(!read.is_ending(900) && read.is_ending(940) && read.is_ending(2000));
        assert!(!login("{}").is_ending(u64::MAX / 2), "it has no end");
        assert!(read.is_of(&"http://a/v1/".parse().unwrap()));
        assert!(!read.is_of(&"http://b/v1/".parse().unwrap()));
        assert!(!format!("{read:?}").contains(&read.id_token));
        // As the `bindle` client writes it.
        let theirs = "access_token = \"a\"\ntoken_type = \"bearer\"\nexpires_in = 5\n\
            refresh_token = \"r\"\nid_token = \"e30.e30.x\"\nissuer = \"i\"\nclient_id = \"c\"\ntoken_url = \"http://t\"\n";
        let theirs = Login::from_toml(theirs).unwrap();
        assert!(!theirs.is_of(&"http://a/v1/".parse().unwrap()));
        assert_eq!(theirs.token().expose(), "e30.e30.x");
        assert!(Login::from_toml("a.bare.token").is_none() && Login::from_toml("").is_none());
    }
}
