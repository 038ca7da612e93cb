//! Who calls, and their tokens.

use axum::{
    Json as Answer,
    extract::{Path, State},
};
use gyre_api::v1;
use gyre_control::{Error, rows};
use gyre_model::TokenId;
use http::StatusCode;

use crate::{Failure, ServerState, caller::Caller, read::Json};

pub(super) async fn find(Caller(actor): Caller) -> Answer<v1::Account> {
    Answer(v1::Account { id: actor.account, name: actor.name, is_admin: actor.is_admin })
}

pub(super) async fn tokens(
    State(state): State<ServerState>,
    Caller(actor): Caller,
) -> Result<Answer<v1::Tokens>, Failure> {
    let tokens = state.control.tokens(&actor).await?;
    let items = tokens.into_iter().map(|token| v1::Token {
        id: token.id,
        name: token.name,
        kind: match token.kind {
            rows::TokenKind::Personal => "personal",
            rows::TokenKind::Session => "session",
            rows::TokenKind::Refresh => "refresh",
        }
        .to_owned(),
        created: token.created,
        expires: token.expires,
        last_used: token.last_used,
    });
    Ok(Answer(v1::Tokens { items: items.collect() }))
}

pub(super) async fn create_token(
    State(state): State<ServerState>,
    Caller(actor): Caller,
    Json(body): Json<v1::CreateToken>,
) -> Result<(StatusCode, Answer<v1::CreatedToken>), Failure> {
    let (row, token) = state.control.create_token(&actor, &body.name, body.expires_in_days).await?;
    let created = v1::CreatedToken { id: row.id, name: row.name, token: token.expose().clone() };
    Ok((StatusCode::CREATED, Answer(created)))
}

pub(super) async fn revoke_token(
    State(state): State<ServerState>,
    Caller(actor): Caller,
    Path(id): Path<String>,
) -> Result<StatusCode, Failure> {
    let id: TokenId =
        id.parse().map_err(|_| Error::not_found(format!("token '{}'", id.escape_debug())))?;
    state.control.revoke_token(&actor, id).await?;
    Ok(StatusCode::NO_CONTENT)
}

pub(super) async fn sign_out(
    State(state): State<ServerState>,
    Caller(actor): Caller,
) -> Result<StatusCode, Failure> {
    state.control.sign_out(&actor).await?;
    Ok(StatusCode::NO_CONTENT)
}
