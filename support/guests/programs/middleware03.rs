//! Middleware of WASI 0.3: adds a header with a variable of its environment to what the handler behind it answers,
//! and answers `/refused` itself, and `/fetch` with what came of a request of its own.

use wasip3::http::types::{ErrorCode, Fields, Request, Response, Scheme};
use wasip3::wit_future;

wit_bindgen::generate!({
    inline: r#"
        package guests:middleware;

        world middleware {
            import wasi:http/handler@0.3.0;
        }

        package wasi:http@0.3.0 {
            interface types {
                resource request;
                resource response;
                record DNS-error-payload { rcode: option<string>, info-code: option<u16> }
                record TLS-alert-received-payload { alert-id: option<u8>, alert-message: option<string> }
                record field-size-payload { field-name: option<string>, field-size: option<u32> }
                variant error-code {
                    DNS-timeout,
                    DNS-error(DNS-error-payload),
                    destination-not-found,
                    destination-unavailable,
                    destination-IP-prohibited,
                    destination-IP-unroutable,
                    connection-refused,
                    connection-terminated,
                    connection-timeout,
                    connection-read-timeout,
                    connection-write-timeout,
                    connection-limit-reached,
                    TLS-protocol-error,
                    TLS-certificate-error,
                    TLS-alert-received(TLS-alert-received-payload),
                    HTTP-request-denied,
                    HTTP-request-length-required,
                    HTTP-request-body-size(option<u64>),
                    HTTP-request-method-invalid,
                    HTTP-request-URI-invalid,
                    HTTP-request-URI-too-long,
                    HTTP-request-header-section-size(option<u32>),
                    HTTP-request-header-size(option<field-size-payload>),
                    HTTP-request-trailer-section-size(option<u32>),
                    HTTP-request-trailer-size(field-size-payload),
                    HTTP-response-incomplete,
                    HTTP-response-header-section-size(option<u32>),
                    HTTP-response-header-size(field-size-payload),
                    HTTP-response-body-size(option<u64>),
                    HTTP-response-trailer-section-size(option<u32>),
                    HTTP-response-trailer-size(field-size-payload),
                    HTTP-response-transfer-coding(option<string>),
                    HTTP-response-content-coding(option<string>),
                    HTTP-response-timeout,
                    HTTP-upgrade-failed,
                    HTTP-protocol-error,
                    loop-detected,
                    configuration-error,
                    internal-error(option<string>),
                }
            }

            interface handler {
                use types.{request, response, error-code};
                handle: async func(request: request) -> result<response, error-code>;
            }
        }
    "#,
    generate_all,
    with: { "wasi:http/types@0.3.0": wasip3::http::types },
});

wasip3::http::service::export!(Guest);

struct Guest;

impl wasip3::exports::http::handler::Guest for Guest {
    async fn handle(request: Request) -> Result<Response, ErrorCode> {
        let mark = std::env::var("MARK").unwrap_or_else(|_| "none".to_owned());
        let path = request.get_path_with_query().unwrap_or_default();
        if path == "/refused" || path == "/fetch" {
            let fields = Fields::new();
            if path == "/fetch" {
                let outcome = fetch().await.map(|answer| answer.get_status_code());
                let outcome = format!("{outcome:?}");
                fields.append("x-fetched", outcome.as_bytes()).expect("the header is fine");
            }
            let (_, trailers) = wit_future::new(|| Ok(None));
            let (response, _sent) = Response::new(fields, None, trailers);
            response.set_status_code(403).expect("it is a status");
            return Ok(response);
        }
        let response = wasi::http::handler::handle(request).await?;
        let status = response.get_status_code();
        let headers = response.get_headers().clone();
        headers.append("x-middleware-mark", mark.as_bytes()).expect("the header is fine");
        let (_, consumed) = wit_future::new(|| Ok(()));
        let (contents, trailers) = Response::consume_body(response, consumed);
        let (response, _sent) = Response::new(headers, Some(contents), trailers);
        response.set_status_code(status).expect("it was a status");
        Ok(response)
    }
}

async fn fetch() -> Result<Response, ErrorCode> {
    let (_, trailers) = wit_future::new(|| Ok(None));
    let (request, _sent) = Request::new(Fields::new(), None, trailers, None);
    request.set_scheme(Some(&Scheme::Http)).expect("it is a scheme");
    request.set_authority(Some("127.0.0.1:9")).expect("it is an authority");
    wasip3::http::client::send(request).await
}
