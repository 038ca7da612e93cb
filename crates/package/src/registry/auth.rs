//! Who we are to a registry: a token sent along at once, or one fetched from where its challenge points.

use std::{
    collections::HashMap,
    sync::{Mutex, PoisonError},
};

use gyre_model::Secret;
use http::header;
use reqwest::{RequestBuilder, Response};
use serde::Deserialize;
use url::Url;

use super::{Error, Scope};

/// The user whose password a Gyre token is, where a token endpoint wants one.
const TOKEN_USER: &str = "gyre";

#[derive(Debug)]
pub(super) struct Auth {
    credentials: Credentials,
    /// Tokens that token endpoints gave us, by scope.
    fetched: Mutex<HashMap<String, Secret<String>>>,
}

#[derive(Debug)]
enum Credentials {
    None,
    Token(Secret<String>),
    Password(String, Secret<String>),
    /// Good at token endpoints only.
    Identity(Secret<String>),
}

/// `WWW-Authenticate: Bearer realm="…",service="…",scope="…"`.
#[derive(Debug, Default, PartialEq, Eq)]
struct Challenge {
    realm: String,
    service: Option<String>,
    scope: Option<String>,
}

impl Auth {
    pub(super) fn token(token: Option<Secret<String>>) -> Self {
        Self::new(token.map_or(Credentials::None, Credentials::Token))
    }

    pub(super) fn password(user: String, password: Secret<String>) -> Self {
        Self::new(Credentials::Password(user, password))
    }

    pub(super) fn identity(token: Secret<String>) -> Self {
        Self::new(Credentials::Identity(token))
    }

    fn new(credentials: Credentials) -> Self {
        Self { credentials, fetched: Mutex::default() }
    }

    /// The request with what we have for its scope.
    pub(super) fn authorize(&self, request: RequestBuilder, scope: &Scope<'_>) -> RequestBuilder {
        let fetched = self.fetched.lock().unwrap_or_else(PoisonError::into_inner);
        match (fetched.get(&scope.text()), &self.credentials) {
            (Some(token), _) | (None, Credentials::Token(token)) => {
                request.bearer_auth(token.expose())
            }
            (None, Credentials::Password(user, password)) => {
                request.basic_auth(user, Some(password.expose()))
            }
            (None, Credentials::None | Credentials::Identity(_)) => request,
        }
    }

    /// Fetches the token that the refusal asks for; false if it asks for none that we can get.
    ///
    /// Credentials go to the registry's own host or, encrypted, to wherever it points.
    pub(super) async fn answer_challenge(
        &self,
        http: &reqwest::Client,
        base: &Url,
        scope: &Scope<'_>,
        refusal: &Response,
    ) -> Result<bool, Error> {
        let challenges = refusal.headers().get_all(header::WWW_AUTHENTICATE);
        let mut challenge = challenges.iter().filter_map(|value| value.to_str().ok());
        let Some(challenge) = challenge.find_map(parse_challenge) else {
            return Ok(false);
        };
        let Ok(realm) = base.join(&challenge.realm) else { return Ok(false) };
        if realm.scheme() != "https" && realm.origin() != base.origin() {
            return Ok(false);
        }
        let asked = challenge.scope.unwrap_or_else(|| scope.text());
        let mut fields: Vec<(&str, &str)> = Vec::new();
        if !asked.is_empty() {
            fields.push(("scope", &asked));
        }
        if let Some(service) = &challenge.service {
            fields.push(("service", service));
        }
        let mut request = http.get(realm.clone()).query(&fields);
        request = match &self.credentials {
            Credentials::None => request,
            Credentials::Identity(token) => {
                fields.extend([
                    ("grant_type", "refresh_token"),
                    ("refresh_token", token.expose()),
                    ("client_id", TOKEN_USER),
                ]);
                http.post(realm.clone()).form(&fields)
            }
            Credentials::Token(token) => request.basic_auth(TOKEN_USER, Some(token.expose())),
            Credentials::Password(user, password) => {
                request.basic_auth(user, Some(password.expose()))
            }
        };
        let response = request.send().await.map_err(|err| Error::from_reqwest(&realm, err))?;
        if !response.status().is_success() {
            return Err(Error::from_response("such token", response).await);
        }
        #[derive(Deserialize)]
        struct Body {
            token: Option<String>,
            access_token: Option<String>,
        }
        let body: Body = response.json().await.map_err(|err| Error::from_reqwest(&realm, err))?;
        let token = body.token.or(body.access_token).filter(|token| !token.is_empty());
        let token =
            token.ok_or_else(|| Error::Protocol("its token endpoint gave no token".into()))?;
        let mut fetched = self.fetched.lock().unwrap_or_else(PoisonError::into_inner);
        fetched.insert(scope.text(), token.into());
        Ok(true)
    }
}

/// Reads a Bearer challenge with a realm.
fn parse_challenge(header: &str) -> Option<Challenge> {
    let (scheme, mut rest) = header.trim().split_once(' ')?;
    if !scheme.eq_ignore_ascii_case("bearer") {
        return None;
    }
    let mut challenge = Challenge::default();
    loop {
        let (key, after) = rest.trim_start_matches([' ', ',']).split_once('=')?;
        let (value, after) = match after.strip_prefix('"') {
            Some(quoted) => quoted.split_once('"')?,
            None => after.split_once(',').unwrap_or((after, "")),
        };
        match key.trim().to_ascii_lowercase().as_str() {
            "realm" => value.clone_into(&mut challenge.realm),
            "service" => challenge.service = Some(value.to_owned()),
            "scope" => challenge.scope = Some(value.to_owned()),
            _ => {}
        }
        rest = after;
        if rest.trim_matches([' ', ',']).is_empty() {
            return (!challenge.realm.is_empty()).then_some(challenge);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_challenge_is_read_with_commas_inside_its_quotes() {
        let header =
            r#"Bearer realm="https://auth.example/t",service="r",scope="repository:a:pull,push""#;
        assert_eq!(
            parse_challenge(header),
            Some(Challenge {
                realm: "https://auth.example/t".into(),
                service: Some("r".into()),
                scope: Some("repository:a:pull,push".into()),
            })
        );
        assert_eq!(parse_challenge("bearer realm=/t").unwrap().realm, "/t");
        for other in
            ["", "Bearer", "Basic realm=\"x\"", "Bearer service=\"x\"", "Bearer x", "Bearer a=\"b"]
        {
            assert_eq!(parse_challenge(other), None, "{other}");
        }
    }
}
