//! Both protocols against a double.

use serde_json::json;
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::TcpListener,
};

use super::*;
use crate::capability::tests::Fixture;

/// Answers one request with that; gives the request.
async fn double(answer: String) -> (Url, tokio::task::JoinHandle<String>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}/", listener.local_addr().unwrap()).parse().unwrap();
    let served = tokio::spawn(async move {
        let (mut stream, _) = listener.accept().await.unwrap();
        let mut request = Vec::new();
        loop {
            let mut part = [0; 4096];
            let count = stream.read(&mut part).await.unwrap();
            request.extend_from_slice(&part[..count]);
            let text = String::from_utf8_lossy(&request).into_owned();
            if let Some((head, body)) = text.split_once("\r\n\r\n") {
                let head = head.to_ascii_lowercase();
                let length = head.lines().find_map(|it| it.strip_prefix("content-length: "));
                if body.len() >= length.unwrap().parse().unwrap() {
                    stream.write_all(answer.as_bytes()).await.unwrap();
                    return text;
                }
            }
            assert!(count > 0, "{text}");
        }
    });
    (url, served)
}

fn http(status: &str, body: &Value) -> String {
    let body = body.to_string();
    format!("HTTP/1.1 {status}\r\ncontent-length: {}\r\n\r\n{body}", body.len())
}

fn host(url: Url, protocol: LlmProtocol) -> HostState {
    let mut fixture = Fixture::new(&json!({"ai_models": ["llama"]}));
    fixture.spec.llm = LlmBackend::Remote { url, auth_token: "a-token".to_owned(), protocol };
    fixture.host()
}

fn body(request: &str) -> Value {
    serde_json::from_str(request.split_once("\r\n\r\n").unwrap().1).unwrap()
}

#[tokio::test]
async fn spins_protocol() {
    let usage = json!({"promptTokenCount": 2, "generatedTokenCount": 3});
    let (url, served) = double(http("200 OK", &json!({"text": "Hi", "usage": usage}))).await;
    let mut host = host(url, LlmProtocol::Spin);
    let result = v2::Host::infer(&mut host, "llama".into(), "Hello".into(), None).await.unwrap();
    let result = result.unwrap();
    assert_eq!(result.text, "Hi");
    assert_eq!((result.usage.prompt_token_count, result.usage.generated_token_count), (2, 3));
    let request = served.await.unwrap();
    assert!(request.starts_with("POST /infer HTTP/1.1\r\n"), "{request}");
    assert!(request.contains("authorization: bearer a-token\r\n"), "{request}");
    let sent = body(&request);
    assert_eq!((&sent["model"], &sent["prompt"]), (&json!("llama"), &json!("Hello")));
    assert_eq!(
        (&sent["options"]["maxTokens"], &sent["options"]["topK"]),
        (&json!(100), &json!(40))
    );
    assert_eq!(sent["options"]["repeatPenaltyLastNTokenCount"], 64);

    let answer = json!({"embeddings": [[0.5, 1], [-2.0]], "usage": {"promptTokenCount": 4}});
    let (url, served) = double(http("200 OK", &answer)).await;
    let mut host = self::host(url, LlmProtocol::Spin);
    let texts = vec!["a".to_owned(), "b".to_owned()];
    let result = v1::Host::generate_embeddings(&mut host, "llama".into(), texts).await.unwrap();
    let result = result.unwrap();
    assert_eq!(result.embeddings, [vec![0.5, 1.0], vec![-2.0]]);
    assert_eq!(result.usage.prompt_token_count, 4);
    let request = served.await.unwrap();
    assert!(request.starts_with("POST /embed HTTP/1.1\r\n"), "{request}");
    assert_eq!(body(&request), json!({"model": "llama", "input": ["a", "b"]}));
}

#[tokio::test]
async fn openais_protocol() {
    let answer = json!({
        "choices": [{"message": {"role": "assistant", "content": "Hi"}}],
        "usage": {"prompt_tokens": 2, "completion_tokens": 3, "total_tokens": 5},
    });
    let (url, served) = double(http("200 OK", &answer)).await;
    let mut host = host(url, LlmProtocol::OpenAi);
    let result = v1::Host::infer(&mut host, "llama".into(), "Hello".into(), None).await.unwrap();
    let result = result.unwrap();
    assert_eq!(result.text, "Hi");
    assert_eq!((result.usage.prompt_token_count, result.usage.generated_token_count), (2, 3));
    let request = served.await.unwrap();
    assert!(request.starts_with("POST /v1/chat/completions HTTP/1.1\r\n"), "{request}");
    let sent = body(&request);
    assert_eq!(sent["messages"], json!([{"role": "user", "content": "Hello"}]));
    assert_eq!(sent["max_completion_tokens"], 100);

    let answer = json!({"data": [{"embedding": [0.5]}], "usage": {"prompt_tokens": 1}});
    let (url, served) = double(http("200 OK", &answer)).await;
    let mut host = self::host(url, LlmProtocol::OpenAi);
    let texts = vec!["a".to_owned()];
    let result = v2::Host::generate_embeddings(&mut host, "llama".into(), texts).await.unwrap();
    assert_eq!(result.unwrap().embeddings, [vec![0.5]]);
    assert!(served.await.unwrap().starts_with("POST /v1/embeddings HTTP/1.1\r\n"));
}

async fn error(url: Url, protocol: LlmProtocol) -> String {
    let mut host = host(url, protocol);
    let result = v2::Host::infer(&mut host, "llama".into(), "Hello".into(), None).await.unwrap();
    match result {
        Err(v2::Error::RuntimeError(text)) => text,
        other => panic!("{other:?}"),
    }
}

#[tokio::test]
async fn what_goes_wrong_is_said() {
    let answer = http("429 Too Many Requests", &json!({"error": {"message": "slow down"}}));
    let (url, _served) = double(answer).await;
    assert_eq!(error(url, LlmProtocol::OpenAi).await, "slow down");
    let (url, _served) = double(http("502 Bad Gateway", &json!({}))).await;
    let text = error(url, LlmProtocol::Spin).await;
    assert_eq!(text, "POST /infer was answered with 502 Bad Gateway");
    for nonsense in [json!({}), json!({"text": 1}), json!([]), json!({"choices": 1, "usage": {}})] {
        for protocol in [LlmProtocol::Spin, LlmProtocol::OpenAi] {
            let (url, _served) = double(http("200 OK", &nonsense)).await;
            let text = error(url, protocol).await;
            assert_eq!(text, "the answer of the models' server cannot be read");
        }
    }
    // It is connected to, and says nothing.
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url: Url = format!("http://{}", listener.local_addr().unwrap()).parse().unwrap();
    let text = error(url.clone(), LlmProtocol::Spin).await;
    assert!(text.starts_with("POST /infer request error: "), "{text}");
    assert!(!text.contains("127.0.0.1"), "{text}");
    drop(listener);
    let text = error(url, LlmProtocol::Spin).await;
    assert!(text.starts_with("POST /infer request error: "), "{text}");
}

#[tokio::test]
async fn models_are_for_those_who_ask_for_them_and_need_a_server() {
    let mut host = Fixture::new(&json!({"ai_models": ["llama"]})).host();
    let result = v2::Host::infer(&mut host, "other".into(), "Hello".into(), None).await.unwrap();
    let Err(v2::Error::InvalidInput(text)) = result else { panic!("{result:?}") };
    assert_eq!(
        text,
        "The component does not have access to use 'other'. To give the component access, add 'other' to the \
         'ai_models' key for the component in your spin.toml manifest"
    );
    let result = v1::Host::infer(&mut host, "llama".into(), "Hello".into(), None).await.unwrap();
    let Err(v1::Error::RuntimeError(text)) = result else { panic!("{result:?}") };
    assert_eq!(text, "Local LLM operations are not supported in this version of Spin.");
}
