//! Signing in.

use axum::{Json as Answer, extract::State};
use gyre_api::cloud::{CreateDeviceCode, CreateToken, DeviceCode, RefreshToken, TokenInfo};
use gyre_control::Session;

use crate::{Failure, ServerState, caller::From, read::Json};

/// The bearer token that comes with it is empty, and not looked at.
pub(super) async fn create_device_code(
    State(state): State<ServerState>,
    From(from): From,
    Json(body): Json<CreateDeviceCode>,
) -> Result<Answer<DeviceCode>, Failure> {
    let login = state.control.begin_device_login(&body.client_id, from).await?;
    Ok(Answer(DeviceCode {
        device_code: login.device_code.expose().clone(),
        user_code: login.user_code,
        verification_url: login.verification_url,
        expires_in: login.expires_in.as_secs() as i64,
        interval: login.interval.as_secs() as i32,
    }))
}

pub(super) async fn create_token(
    State(state): State<ServerState>,
    Json(body): Json<CreateToken>,
) -> Result<Answer<TokenInfo>, Failure> {
    if body.provider != "DeviceFlow" {
        return Err(Failure::malformed("the only provider is 'DeviceFlow'"));
    }
    let session = state.control.poll_device_login(&body.provider_code, &body.client_id).await?;
    Ok(Answer(token_info(&session)))
}

/// The token that comes with it may have expired, and is not looked at as a sign-in.
pub(super) async fn refresh(
    State(state): State<ServerState>,
    Json(body): Json<RefreshToken>,
) -> Result<Answer<TokenInfo>, Failure> {
    let session = state.control.refresh(&body.token, &body.refresh_token).await?;
    Ok(Answer(token_info(&session)))
}

fn token_info(session: &Session) -> TokenInfo {
    TokenInfo {
        token: session.token.expose().clone(),
        refresh_token: session.refresh_token.expose().clone(),
        expiration: session.expires.to_string(),
    }
}
