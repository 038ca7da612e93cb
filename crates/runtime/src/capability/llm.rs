//! Language models, which other servers run: `fermyon:spin/llm`, over Spin's own protocol or that of OpenAI.
//!
//! The server is the operator's choice, not the guest's, so it is not asked for at the egress door.

#[cfg(test)]
mod tests;

use std::{fmt, sync::Arc, time::Duration};

use reqwest::{Client, Url};
use serde_json::{Value, json};
use tokio::sync::OnceCell;
use wasmtime::component::Linker;

use gyre_telemetry::{Blame, Span, metrics};

use super::sql::{
    self,
    fermyon::{spin::llm as v1, spin2_0_0::llm as v2},
};
use super::traced::{Blamed, traced};
use crate::host::{HasHost, HostState};

/// How long reaching the server may take.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(10);

/// How long an answer may take: models are slow.
const ANSWER_TIMEOUT: Duration =
    if cfg!(test) { Duration::from_secs(2) } else { Duration::from_secs(600) };

/// The most bytes of an answer.
const ANSWER_BYTES: usize = sql::RESULT_BYTES;

/// The most that is said of an answer that is an error.
const ERROR_CHARS: usize = 1_000;

/// What runs the models.
#[derive(Clone, Default)]
pub enum LlmBackend {
    /// Nothing.
    #[default]
    None,
    /// A server.
    Remote {
        /// Where it is; the protocol's paths are below its root.
        url: Url,
        /// Sent as bearer token.
        auth_token: String,
        /// What it speaks.
        protocol: LlmProtocol,
    },
}

/// What a server with models speaks.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum LlmProtocol {
    /// Spin's: `/infer` and `/embed`.
    #[default]
    Spin,
    /// OpenAI's: `/v1/chat/completions` and `/v1/embeddings`.
    OpenAi,
}

impl fmt::Debug for LlmBackend {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::None => f.write_str("None"),
            Self::Remote { url, protocol, .. } => f
                .debug_struct("Remote")
                .field("url", &url.as_str())
                .field("protocol", protocol)
                .finish_non_exhaustive(),
        }
    }
}

pub(crate) fn add_to_linker(linker: &mut Linker<HostState>) -> wasmtime::Result<()> {
    v2::add_to_linker::<HostState, HasHost>(linker, |host| host)?;
    v1::add_to_linker::<HostState, HasHost>(linker, |host| host)
}

/// An app's way to its models.
pub(crate) struct Models {
    backend: LlmBackend,
    /// Made at the first use.
    client: OnceCell<Client>,
}

impl Models {
    pub(crate) fn new(backend: LlmBackend) -> Arc<Self> {
        Arc::new(Self { backend, client: OnceCell::new() })
    }

    async fn infer(
        &self,
        model: String,
        prompt: String,
        options: v2::InferencingParams,
    ) -> Result<v2::InferencingResult, v2::Error> {
        let body = |protocol| match protocol {
            LlmProtocol::Spin => json!({"model": model, "prompt": prompt, "options": {
                "maxTokens": options.max_tokens,
                "repeatPenalty": options.repeat_penalty,
                "repeatPenaltyLastNTokenCount": options.repeat_penalty_last_n_token_count,
                "temperature": options.temperature,
                "topK": options.top_k,
                "topP": options.top_p,
            }}),
            LlmProtocol::OpenAi => json!({
                "model": model,
                "messages": [{"role": "user", "content": prompt}],
                "max_completion_tokens": options.max_tokens,
                "frequency_penalty": options.repeat_penalty,
            }),
        };
        let (protocol, answer) = self.ask("/infer", "/v1/chat/completions", body).await?;
        let read = || match protocol {
            LlmProtocol::Spin => Some(v2::InferencingResult {
                text: answer["text"].as_str()?.to_owned(),
                usage: v2::InferencingUsage {
                    prompt_token_count: count(&answer, "promptTokenCount", "prompt_token_count")?,
                    generated_token_count: count(
                        &answer,
                        "generatedTokenCount",
                        "generated_token_count",
                    )?,
                },
            }),
            LlmProtocol::OpenAi => Some(v2::InferencingResult {
                text: match answer["choices"].as_array()?.first() {
                    Some(choice) => {
                        choice["message"]["content"].as_str().unwrap_or_default().to_owned()
                    }
                    None => String::new(),
                },
                usage: v2::InferencingUsage {
                    prompt_token_count: count(&answer, "prompt_tokens", "prompt_tokens")?,
                    generated_token_count: count(
                        &answer,
                        "completion_tokens",
                        "completion_tokens",
                    )?,
                },
            }),
        };
        read().ok_or_else(unreadable)
    }

    async fn embed(
        &self,
        model: String,
        input: Vec<String>,
    ) -> Result<v2::EmbeddingsResult, v2::Error> {
        let body = |_| json!({"model": model, "input": input});
        let (protocol, answer) = self.ask("/embed", "/v1/embeddings", body).await?;
        let read = || {
            let (embeddings, tokens) = match protocol {
                LlmProtocol::Spin => {
                    let all =
                        answer["embeddings"].as_array()?.iter().map(vector).collect::<Option<_>>();
                    (all?, count(&answer, "promptTokenCount", "prompt_token_count")?)
                }
                LlmProtocol::OpenAi => {
                    let all = answer["data"].as_array()?.iter().map(|it| vector(&it["embedding"]));
                    (all.collect::<Option<_>>()?, count(&answer, "prompt_tokens", "prompt_tokens")?)
                }
            };
            let usage = v2::EmbeddingsUsage { prompt_token_count: tokens };
            Some(v2::EmbeddingsResult { embeddings, usage })
        };
        read().ok_or_else(unreadable)
    }

    /// Asks the server at the path of the protocol that it speaks.
    async fn ask(
        &self,
        spin: &str,
        open_ai: &str,
        body: impl Fn(LlmProtocol) -> Value,
    ) -> Result<(LlmProtocol, Value), v2::Error> {
        let LlmBackend::Remote { url, auth_token, protocol } = &self.backend else {
            let text = "Local LLM operations are not supported in this version of Spin.";
            return Err(v2::Error::RuntimeError(text.to_owned()));
        };
        let path = match protocol {
            LlmProtocol::Spin => spin,
            LlmProtocol::OpenAi => open_ai,
        };
        let failed = |error: reqwest::Error| {
            // The URL is the operator's: what is wrong goes to the guest, where goes not.
            let text = gyre_telemetry::chain(&error.without_url());
            v2::Error::RuntimeError(format!("POST {path} request error: {text}"))
        };
        let client = self.client.get_or_try_init(async || {
            Client::builder().connect_timeout(CONNECT_TIMEOUT).timeout(ANSWER_TIMEOUT).build()
        });
        let client = client.await.map_err(failed)?;
        let url = url.join(path).map_err(|_| unreadable())?;
        let request = client
            .post(url)
            .header("authorization", format!("bearer {auth_token}"))
            .json(&body(*protocol));
        let mut response = request.send().await.map_err(failed)?;
        let status = response.status();
        let mut answer = Vec::new();
        while let Some(part) = response.chunk().await.map_err(failed)? {
            if answer.len() + part.len() > ANSWER_BYTES {
                return Err(v2::Error::RuntimeError(sql::too_large()));
            }
            answer.extend_from_slice(&part);
        }
        let json: Option<Value> = serde_json::from_slice(&answer).ok();
        if let Some(text) = json.as_ref().and_then(|it| it["error"]["message"].as_str()) {
            return Err(v2::Error::RuntimeError(text.chars().take(ERROR_CHARS).collect()));
        }
        if !status.is_success() {
            return Err(v2::Error::RuntimeError(format!("POST {path} was answered with {status}")));
        }
        Ok((*protocol, json.ok_or_else(unreadable)?))
    }
}

fn unreadable() -> v2::Error {
    v2::Error::RuntimeError("the answer of the models' server cannot be read".to_owned())
}

/// Spin's servers write the counts' names in one way or the other.
fn count(answer: &Value, name: &str, other: &str) -> Option<u32> {
    let usage = &answer["usage"];
    usage.get(name).or_else(|| usage.get(other))?.as_u64()?.try_into().ok()
}

#[allow(clippy::cast_possible_truncation, reason = "the interface has this precision")]
fn vector(of: &Value) -> Option<Vec<f32>> {
    of.as_array()?.iter().map(|it| it.as_f64().map(|it| it as f32)).collect()
}

impl Blamed for v2::Error {
    fn blame(&self) -> Blame {
        match self {
            Self::InvalidInput(_) => Blame::Guest,
            Self::ModelNotSupported | Self::RuntimeError(_) => Blame::Host,
        }
    }
}

fn set_model(span: &mut Span, models: &Result<Arc<Models>, v2::Error>, model: &str) {
    if !span.is_on() {
        return;
    }
    span.set("model", model.to_owned());
    if let Ok(models) = models {
        span.set(
            "llm.backend",
            match models.backend {
                LlmBackend::None => "none",
                LlmBackend::Remote { .. } => "remote",
            },
        );
    }
}

impl HostState {
    fn models(&self, model: &str) -> Result<Arc<Models>, v2::Error> {
        if self.component.grants.models.contains(model) {
            return Ok(self.app.shared.models.clone());
        }
        Err(v2::Error::InvalidInput(format!(
            "The component does not have access to use '{model}'. To give the component access, add '{model}' to \
             the 'ai_models' key for the component in your spin.toml manifest"
        )))
    }
}

impl v2::Host for HostState {
    async fn infer(
        &mut self,
        model: String,
        prompt: String,
        options: Option<v2::InferencingParams>,
    ) -> wasmtime::Result<Result<v2::InferencingResult, v2::Error>> {
        let options = options.unwrap_or(v2::InferencingParams {
            max_tokens: 100,
            repeat_penalty: 1.1,
            repeat_penalty_last_n_token_count: 64,
            temperature: 0.8,
            top_k: 40,
            top_p: 0.9,
        });
        let models = self.models(&model);
        let mut span = self.capabilities.trace().client("spin_llm.infer");
        set_model(&mut span, &models, &model);
        Ok(traced(span, async {
            let models = models?;
            metrics::inference(&model);
            models.infer(model, prompt, options).await
        })
        .await)
    }

    async fn generate_embeddings(
        &mut self,
        model: String,
        input: Vec<String>,
    ) -> wasmtime::Result<Result<v2::EmbeddingsResult, v2::Error>> {
        let models = self.models(&model);
        let mut span = self.capabilities.trace().client("spin_llm.generate_embeddings");
        set_model(&mut span, &models, &model);
        Ok(traced(span, async { models?.embed(model, input).await }).await)
    }
}

impl From<v2::Error> for v1::Error {
    fn from(error: v2::Error) -> Self {
        match error {
            v2::Error::ModelNotSupported => Self::ModelNotSupported,
            v2::Error::RuntimeError(text) => Self::RuntimeError(text),
            v2::Error::InvalidInput(text) => Self::InvalidInput(text),
        }
    }
}

impl v1::Host for HostState {
    async fn infer(
        &mut self,
        model: String,
        prompt: String,
        options: Option<v1::InferencingParams>,
    ) -> wasmtime::Result<Result<v1::InferencingResult, v1::Error>> {
        let options = options.map(|it| v2::InferencingParams {
            max_tokens: it.max_tokens,
            repeat_penalty: it.repeat_penalty,
            repeat_penalty_last_n_token_count: it.repeat_penalty_last_n_token_count,
            temperature: it.temperature,
            top_k: it.top_k,
            top_p: it.top_p,
        });
        let result = v2::Host::infer(self, model, prompt, options).await?;
        let result = result.map(|it| v1::InferencingResult {
            text: it.text,
            usage: v1::InferencingUsage {
                prompt_token_count: it.usage.prompt_token_count,
                generated_token_count: it.usage.generated_token_count,
            },
        });
        Ok(result.map_err(Into::into))
    }

    async fn generate_embeddings(
        &mut self,
        model: String,
        input: Vec<String>,
    ) -> wasmtime::Result<Result<v1::EmbeddingsResult, v1::Error>> {
        let result = v2::Host::generate_embeddings(self, model, input).await?;
        let result = result.map(|it| v1::EmbeddingsResult {
            embeddings: it.embeddings,
            usage: v1::EmbeddingsUsage { prompt_token_count: it.usage.prompt_token_count },
        });
        Ok(result.map_err(Into::into))
    }
}
