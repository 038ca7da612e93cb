//! Signing in and out, and tokens.

use gyre_model::TokenId;
use reqwest::Method;

use super::{Client, Error};
use crate::{cloud, code, v1};

/// What a poll of a device code told.
#[derive(Debug, Clone)]
pub enum DevicePoll {
    /// Nobody has approved yet: wait for the interval, then ask again.
    Pending,
    /// The same, and the interval is to grow by five seconds.
    SlowDown,
    /// Approved. The code is used up now.
    Approved(cloud::TokenInfo),
}

impl Client {
    /// Begins a device login: the code and address are for the person, the rest for [`Client::poll_device_code`].
    pub async fn create_device_code(&self) -> Result<cloud::DeviceCode, Error> {
        let body = cloud::CreateDeviceCode { client_id: cloud::GYRE_CLIENT_ID.to_owned() };
        self.send(self.request(Method::POST, "api/device-codes").json(&body)).await
    }

    /// Asks once whether a device code has been approved. A code that was refused or has expired is an [`Error::Problem`] with the
    /// code [`code::ACCESS_DENIED`] or [`code::EXPIRED_CODE`].
    pub async fn poll_device_code(&self, device_code: &str) -> Result<DevicePoll, Error> {
        let body = cloud::CreateToken {
            provider: "DeviceFlow".to_owned(),
            client_id: cloud::GYRE_CLIENT_ID.to_owned(),
            provider_code: device_code.to_owned(),
        };
        let request = self.request(Method::POST, "api/auth-tokens").json(&body);
        match self.send(request).await {
            Ok(token) => Ok(DevicePoll::Approved(token)),
            Err(Error::Problem(problem)) if problem.code == code::AUTHORIZATION_PENDING => {
                Ok(DevicePoll::Pending)
            }
            Err(Error::Problem(problem)) if problem.code == code::SLOW_DOWN => {
                Ok(DevicePoll::SlowDown)
            }
            Err(error) => Err(error),
        }
    }

    /// Renews a token, expired or not.
    pub async fn refresh(&self, token: &str, refresh: &str) -> Result<cloud::TokenInfo, Error> {
        let body =
            cloud::RefreshToken { token: token.to_owned(), refresh_token: refresh.to_owned() };
        self.send(self.request(Method::POST, "api/auth-tokens/refresh").json(&body)).await
    }

    /// Revokes the token in use, and what renews it.
    pub async fn logout(&self) -> Result<(), Error> {
        self.command(self.request(Method::DELETE, "api/v1/tokens/current")).await
    }

    // Tokens.

    /// Makes a personal token: the only time its secret is shown.
    pub async fn create_token(&self, create: &v1::CreateToken) -> Result<v1::CreatedToken, Error> {
        self.send(self.request(Method::POST, "api/v1/tokens").json(create)).await
    }

    /// The account's tokens, without their secrets.
    pub async fn tokens(&self) -> Result<Vec<v1::Token>, Error> {
        let tokens: v1::Tokens = self.ask(Method::GET, "api/v1/tokens", &()).await?;
        Ok(tokens.items)
    }

    /// Revokes a token.
    pub async fn revoke_token(&self, id: TokenId) -> Result<(), Error> {
        self.command(self.request(Method::DELETE, &format!("api/v1/tokens/{id}"))).await
    }
}
