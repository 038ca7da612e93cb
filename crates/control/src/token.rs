//! Access tokens: shaped like JSON Web Tokens, known by their hash.
//!
//! The Fermyon plug-in keeps a token for the length of a push only if it parses as a JWT, and drops it at its `exp`; so
//! tokens look like one, and only those that end carry an `exp`. But nothing in them is believed: the signature is 32
//! random bytes, and a token is good if the database knows its hash.

use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
use gyre_model::{AccountId, Digest, Secret, TokenId};
use jiff::Timestamp;
use serde::Serialize;

use crate::{Error, Result};

/// No token is longer.
const MAX_BYTES: usize = 1024;

#[derive(Serialize)]
struct Claims {
    iss: &'static str,
    sub: AccountId,
    jti: TokenId,
    iat: i64,
    #[serde(skip_serializing_if = "Option::is_none")]
    exp: Option<i64>,
}

/// A new token and the hash by which it will be found.
pub(crate) fn mint(
    account: AccountId,
    id: TokenId,
    now: Timestamp,
    expires: Option<Timestamp>,
) -> Result<(Secret<String>, [u8; 32])> {
    let claims = Claims {
        iss: "gyre",
        sub: account,
        jti: id,
        iat: now.as_second(),
        exp: expires.map(Timestamp::as_second),
    };
    let claims = serde_json::to_vec(&claims).map_err(Error::internal)?;
    let token = format!(
        "{}.{}.{}",
        URL_SAFE_NO_PAD.encode(r#"{"alg":"HS256","typ":"JWT"}"#),
        URL_SAFE_NO_PAD.encode(claims),
        random_base64()?,
    );
    let hash = hash(&token);
    Ok((Secret::new(token), hash))
}

/// 32 random bytes, as text.
pub(crate) fn random_base64() -> Result<String> {
    let mut bytes = [0; 32];
    getrandom::fill(&mut bytes).map_err(|error| Error::internal(error.to_string()))?;
    Ok(URL_SAFE_NO_PAD.encode(bytes))
}

/// By which a token or device code is kept and found. It has 256 random bits, so a plain hash will do, and looking it up
/// tells nothing about those that are near it.
pub(crate) fn hash(token: &str) -> [u8; 32] {
    *Digest::of(token).as_bytes()
}

/// Whether a text may be a token at all, so that nonsense is not looked up.
pub(crate) fn is_plausible(token: &str) -> bool {
    (1..=MAX_BYTES).contains(&token.len()) && token.bytes().all(|b| b.is_ascii_graphic())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn claims(token: &str) -> serde_json::Value {
        let parts: Vec<_> = token.split('.').collect();
        assert_eq!(parts.len(), 3);
        assert_eq!(URL_SAFE_NO_PAD.decode(parts[2]).unwrap().len(), 32);
        serde_json::from_slice(&URL_SAFE_NO_PAD.decode(parts[1]).unwrap()).unwrap()
    }

    #[test]
    fn a_token_parses_as_a_jwt_and_has_an_end_only_if_it_ends() {
        let now = Timestamp::from_second(1_000).unwrap();
        let (account, id) = (AccountId::new(), TokenId::new());
        let (token, hash_of_it) = mint(account, id, now, None).unwrap();
        assert_eq!(hash(token.expose()), hash_of_it);
        assert!(is_plausible(token.expose()));
        let without_end = claims(token.expose());
        assert_eq!(without_end["sub"], account.to_string());
        assert!(without_end.get("exp").is_none());
        let end = Timestamp::from_second(2_000).unwrap();
        let (other, _) = mint(account, id, now, Some(end)).unwrap();
        assert_eq!(claims(other.expose())["exp"], 2_000);
        assert_ne!(other.expose(), token.expose());
    }

    #[test]
    fn nonsense_is_not_looked_up() {
        assert!(!is_plausible(""));
        assert!(!is_plausible("a b"));
        assert!(!is_plausible("é"));
        assert!(!is_plausible(&"a".repeat(MAX_BYTES + 1)));
    }
}
