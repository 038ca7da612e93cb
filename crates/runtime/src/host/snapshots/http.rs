//! `wasi:http`. Outgoing requests go the way of 0.2's: see `capability::http_out`.

use std::time::Duration;

use wasmtime::{
    StoreContextMut, bail,
    component::{ComponentType, Lift, Linker, LinkerInstance, Lower, Resource},
};
use wasmtime_wasi_http::{
    FieldMap, RequestOptions, WasiHttpView as _,
    p2::{
        HeaderResult, HttpResult,
        bindings::http::types::{
            self, ErrorCode, HeaderError, HostFields, HostFutureIncomingResponse,
            HostFutureTrailers, HostIncomingBody, HostIncomingRequest as IncomingRequestMethods,
            HostIncomingResponse as IncomingResponseMethods, HostOutgoingBody as BodyMethods,
            HostOutgoingRequest as OutgoingRequestMethods,
            HostOutgoingResponse as OutgoingResponseMethods, HostRequestOptions,
            HostResponseOutparam as OutparamMethods, Method, Scheme,
        },
        body::{
            HostFutureTrailers as FutureTrailers, HostIncomingBody as IncomingBody,
            HostOutgoingBody as OutgoingBody,
        },
        types::{
            HostFutureIncomingResponse as FutureResponse, HostIncomingRequest as IncomingRequest,
            HostIncomingResponse as IncomingResponse, HostOutgoingRequest as OutgoingRequest,
            HostOutgoingResponse as OutgoingResponse, HostResponseOutparam as Outparam,
        },
    },
};

use super::{HostState, Snapshot, borrow, ours, resource, same};

pub(super) fn add_to_linker(
    linker: &mut Linker<HostState>,
    snapshot: Snapshot,
) -> wasmtime::Result<()> {
    let outgoing = &mut snapshot.instance(linker, "http/outgoing-handler")?;
    match snapshot {
        Snapshot::Rc20231018 => ours!(outgoing: "handle" = handle_20231018 => (request, options)),
        Snapshot::Rc20231110 => ours!(outgoing: "handle" = handle => (request, options)),
    }
    let types = &mut snapshot.instance(linker, "http/types")?;
    resources(types)?;
    same!(
        types, HostFields, HostState::http, "[method]fields.":
        get(this, name),
        entries(this),
        clone(this),
    );
    same!(
        types, IncomingRequestMethods, HostState::http, "[method]incoming-request.":
        method(this),
        path_with_query(this),
        scheme(this),
        authority(this),
        headers(this),
        consume(this),
    );
    same!(
        types, IncomingResponseMethods, HostState::http, "[method]incoming-response.":
        status(this),
        headers(this),
        consume(this),
    );
    same!(types, HostIncomingBody, HostState::http, "[method]incoming-body.": stream(this));
    same!(types, HostIncomingBody, HostState::http, "[static]incoming-body.": finish(this));
    same!(types, HostFutureTrailers, HostState::http, "[method]future-trailers.": subscribe(this));
    same!(types, BodyMethods, HostState::http, "[method]outgoing-body.": write(this));
    same!(
        types, HostFutureIncomingResponse, HostState::http, "[method]future-incoming-response.":
        subscribe(this),
    );
    match snapshot {
        Snapshot::Rc20231018 => types_20231018(types),
        Snapshot::Rc20231110 => types_20231110(types),
    }
}

fn resources(types: &mut LinkerInstance<'_, HostState>) -> wasmtime::Result<()> {
    resource::<FieldMap>(types, "fields", |state, own| HostFields::drop(&mut state.http(), own))?;
    resource::<IncomingRequest>(types, "incoming-request", |state, own| {
        IncomingRequestMethods::drop(&mut state.http(), own)
    })?;
    resource::<IncomingResponse>(types, "incoming-response", |state, own| {
        IncomingResponseMethods::drop(&mut state.http(), own)
    })?;
    resource::<IncomingBody>(types, "incoming-body", |state, own| {
        HostIncomingBody::drop(&mut state.http(), own)
    })?;
    resource::<FutureTrailers>(types, "future-trailers", |state, own| {
        HostFutureTrailers::drop(&mut state.http(), own)
    })?;
    resource::<OutgoingRequest>(types, "outgoing-request", |state, own| {
        OutgoingRequestMethods::drop(&mut state.http(), own)
    })?;
    resource::<OutgoingResponse>(types, "outgoing-response", |state, own| {
        OutgoingResponseMethods::drop(&mut state.http(), own)
    })?;
    resource::<OutgoingBody>(types, "outgoing-body", |state, own| {
        BodyMethods::drop(&mut state.http(), own)
    })?;
    resource::<Outparam>(types, "response-outparam", |state, own| {
        OutparamMethods::drop(&mut state.http(), own)
    })?;
    resource::<FutureResponse>(types, "future-incoming-response", |state, own| {
        HostFutureIncomingResponse::drop(&mut state.http(), own)
    })
}

fn handle(
    state: &mut HostState,
    request: Resource<OutgoingRequest>,
    options: Option<Resource<RequestOptions>>,
) -> HttpResult<Resource<FutureResponse>> {
    state.handle_outgoing(request, options)
}

// 2023-11-10.

fn types_20231110(types: &mut LinkerInstance<'_, HostState>) -> wasmtime::Result<()> {
    same!(types, types::Host, HostState::http, "": http_error_code(error));
    same!(
        types, HostFields, HostState::http, "":
        new() as "[constructor]fields",
        from_list(entries) as "[static]fields.from-list",
        set(this, name, values) as "[method]fields.set",
        delete(this, name) as "[method]fields.delete",
        append(this, name, value) as "[method]fields.append",
    );
    same!(
        types, OutgoingRequestMethods, HostState::http, "":
        new(headers) as "[constructor]outgoing-request",
    );
    same!(
        types, OutgoingRequestMethods, HostState::http, "[method]outgoing-request.":
        body(this),
        method(this),
        set_method(this, method),
        path_with_query(this),
        set_path_with_query(this, path_with_query),
        scheme(this),
        set_scheme(this, scheme),
        authority(this),
        set_authority(this, authority),
        headers(this),
    );
    resource::<RequestOptions>(types, "request-options", |state, own| {
        HostRequestOptions::drop(&mut state.http(), own)
    })?;
    same!(
        types, HostRequestOptions, HostState::http, "": new() as "[constructor]request-options",
    );
    ours!(
        types:
        "[method]request-options.connect-timeout-ms" = connect_timeout => (this),
        "[method]request-options.set-connect-timeout-ms" = set_connect_timeout => (this, ms),
        "[method]request-options.first-byte-timeout-ms" = first_byte_timeout => (this),
        "[method]request-options.set-first-byte-timeout-ms" = set_first_byte_timeout => (this, ms),
        "[method]request-options.between-bytes-timeout-ms" = between_bytes_timeout => (this),
        "[method]request-options.set-between-bytes-timeout-ms" =
            set_between_bytes_timeout => (this, ms),
    );
    types.func_wrap(
        "[static]response-outparam.set",
        |mut store: StoreContextMut<'_, HostState>, (outparam, response)| {
            OutparamMethods::set(&mut store.data_mut().http(), outparam, response)
        },
    )?;
    ours!(types: "[method]future-trailers.get" = trailers => (this));
    same!(
        types, OutgoingResponseMethods, HostState::http, "":
        new(headers) as "[constructor]outgoing-response",
    );
    same!(
        types, OutgoingResponseMethods, HostState::http, "[method]outgoing-response.":
        status_code(this),
        set_status_code(this, status),
        headers(this),
        body(this),
    );
    same!(
        types, BodyMethods, HostState::http, "[static]outgoing-body.": finish(this, trailers),
    );
    same!(
        types, HostFutureIncomingResponse, HostState::http, "[method]future-incoming-response.":
        get(this),
    );
    Ok(())
}

/// The timeouts of a request. Their type is that of nanoseconds, their names say milliseconds; the hosts of that time
/// went by the names, as guests do.
macro_rules! timeouts {
    ($($get:ident, $set:ident: $field:ident;)*) => {$(
        fn $get(state: &mut HostState, this: Resource<RequestOptions>) -> wasmtime::Result<Option<u64>> {
            let timeout = state.table.get(&this)?.$field;
            Ok(timeout.map(|timeout| u64::try_from(timeout.as_millis()).unwrap_or(u64::MAX)))
        }

        fn $set(
            state: &mut HostState,
            this: Resource<RequestOptions>,
            ms: Option<u64>,
        ) -> wasmtime::Result<Result<(), ()>> {
            state.table.get_mut(&this)?.$field = ms.map(Duration::from_millis);
            Ok(Ok(()))
        }
    )*};
}

timeouts! {
    connect_timeout, set_connect_timeout: connect_timeout;
    first_byte_timeout, set_first_byte_timeout: first_byte_timeout;
    between_bytes_timeout, set_between_bytes_timeout: between_bytes_timeout;
}

type Trailers = Option<Resource<FieldMap>>;

/// What is known of a body's trailers. That they were taken before, which 0.2 can say apart, is an error.
fn trailers(
    state: &mut HostState,
    this: Resource<FutureTrailers>,
) -> wasmtime::Result<Option<Result<Trailers, ErrorCode>>> {
    let taken = || Err(ErrorCode::InternalError(Some("the trailers were taken before".to_owned())));
    let trailers = HostFutureTrailers::get(&mut state.http(), this)?;
    Ok(trailers.map(|trailers| trailers.unwrap_or_else(|()| taken())))
}

// 2023-10-18.

fn types_20231018(types: &mut LinkerInstance<'_, HostState>) -> wasmtime::Result<()> {
    ours!(types: "[constructor]fields" = new_fields => (entries));
    types.func_wrap(
        "[method]fields.set",
        |mut store: StoreContextMut<'_, HostState>, (this, name, values)| {
            changed(HostFields::set(&mut store.data_mut().http(), this, name, values))
        },
    )?;
    types.func_wrap(
        "[method]fields.delete",
        |mut store: StoreContextMut<'_, HostState>, (this, name)| {
            changed(HostFields::delete(&mut store.data_mut().http(), this, name))
        },
    )?;
    types.func_wrap(
        "[method]fields.append",
        |mut store: StoreContextMut<'_, HostState>, (this, name, value)| {
            changed(HostFields::append(&mut store.data_mut().http(), this, name, value))
        },
    )?;
    ours!(
        types:
        "[constructor]outgoing-request" = new_request => (method, path, scheme, authority, headers),
        "[constructor]outgoing-response" = new_response => (status, headers),
        "[method]future-trailers.get" = trailers_20231018 => (this),
        "[method]future-incoming-response.get" = response_20231018 => (this),
    );
    same!(
        types, OutgoingRequestMethods, HostState::http, "[method]outgoing-request.":
        body(this) as "write",
    );
    same!(
        types, OutgoingResponseMethods, HostState::http, "[method]outgoing-response.":
        body(this) as "write",
    );
    types.func_wrap(
        "[static]outgoing-body.finish",
        |mut store: StoreContextMut<'_, HostState>, (this, trailers)| {
            // A guest cannot be told here that its body is not as long as it said; nor can its client.
            let finished = BodyMethods::finish(&mut store.data_mut().http(), this, trailers);
            finished.map_err(wasmtime::Error::from)
        },
    )?;
    types.func_wrap(
        "[static]response-outparam.set",
        |mut store: StoreContextMut<'_, HostState>,
         (outparam, response): (_, Result<Resource<OutgoingResponse>, Error>)| {
            let response = response.map_err(|error| {
                let (what, text) = match error {
                    Error::Url(text) => ("invalid url", text),
                    Error::Timeout(text) => ("timeout", text),
                    Error::Protocol(text) => ("protocol error", text),
                    Error::Unexpected(text) => ("unexpected error", text),
                };
                ErrorCode::InternalError(Some(format!("{what}: {text}")))
            });
            OutparamMethods::set(&mut store.data_mut().http(), outparam, response)
        },
    )
}

/// Why there is no response.
#[derive(Debug, Clone, ComponentType, Lift, Lower)]
#[component(variant)]
enum Error {
    #[component(name = "invalid-url")]
    Url(String),
    #[component(name = "timeout-error")]
    Timeout(String),
    #[component(name = "protocol-error")]
    Protocol(String),
    #[component(name = "unexpected-error")]
    Unexpected(String),
}

impl From<ErrorCode> for Error {
    fn from(code: ErrorCode) -> Self {
        let text = code.to_string();
        match code {
            ErrorCode::HttpRequestUriInvalid | ErrorCode::HttpRequestUriTooLong => Self::Url(text),
            ErrorCode::DnsTimeout
            | ErrorCode::ConnectionTimeout
            | ErrorCode::ConnectionReadTimeout
            | ErrorCode::ConnectionWriteTimeout
            | ErrorCode::HttpResponseTimeout => Self::Timeout(text),
            ErrorCode::HttpProtocolError | ErrorCode::TlsProtocolError => Self::Protocol(text),
            _ => Self::Unexpected(text),
        }
    }
}

#[derive(Debug, Clone, Copy, ComponentType, Lift, Lower)]
#[component(record)]
struct Timeouts {
    #[component(name = "connect-timeout-ms")]
    connect: Option<u32>,
    #[component(name = "first-byte-timeout-ms")]
    first_byte: Option<u32>,
    #[component(name = "between-bytes-timeout-ms")]
    between_bytes: Option<u32>,
}

fn handle_20231018(
    state: &mut HostState,
    request: Resource<OutgoingRequest>,
    timeouts: Option<Timeouts>,
) -> wasmtime::Result<Result<Resource<FutureResponse>, Error>> {
    let time = |ms: Option<u32>| ms.map(|ms| Duration::from_millis(ms.into()));
    let options = timeouts.map(|timeouts| RequestOptions {
        connect_timeout: time(timeouts.connect),
        first_byte_timeout: time(timeouts.first_byte),
        between_bytes_timeout: time(timeouts.between_bytes),
    });
    let options = options.map(|options| state.table.push(options)).transpose()?;
    let handled = state.handle_outgoing(request, options.as_ref().map(borrow));
    if let Some(options) = options {
        state.table.delete(options)?;
    }
    match handled {
        Ok(response) => Ok(Ok(response)),
        Err(error) => Ok(Err(error.downcast()?.into())),
    }
}

/// Fields could not refuse anything. Those that are the host's to set, which were ignored then, are ignored now.
fn changed(result: HeaderResult<()>) -> wasmtime::Result<()> {
    let Err(error) = result else { return Ok(()) };
    match error.downcast()? {
        HeaderError::Forbidden => Ok(()),
        HeaderError::InvalidSyntax => bail!("invalid name or value of a header"),
        HeaderError::Immutable => bail!("headers that were received cannot be changed"),
    }
}

fn new_fields(
    state: &mut HostState,
    entries: Vec<(String, Vec<u8>)>,
) -> wasmtime::Result<Resource<FieldMap>> {
    let mut view = state.http();
    let fields = HostFields::new(&mut view)?;
    for (name, value) in entries {
        changed(HostFields::append(&mut view, borrow(&fields), name, value))?;
    }
    Ok(fields)
}

fn new_request(
    state: &mut HostState,
    method: Method,
    path_with_query: Option<String>,
    scheme: Option<Scheme>,
    authority: Option<String>,
    headers: Resource<FieldMap>,
) -> wasmtime::Result<Resource<OutgoingRequest>> {
    let mut view = state.http();
    let headers = HostFields::clone(&mut view, headers)?;
    let request = OutgoingRequestMethods::new(&mut view, headers)?;
    let set = OutgoingRequestMethods::set_method(&mut view, borrow(&request), method)?;
    valid(set, "method")?;
    let set =
        OutgoingRequestMethods::set_path_with_query(&mut view, borrow(&request), path_with_query)?;
    valid(set, "path-with-query")?;
    let set = OutgoingRequestMethods::set_scheme(&mut view, borrow(&request), scheme)?;
    valid(set, "scheme")?;
    let set = OutgoingRequestMethods::set_authority(&mut view, borrow(&request), authority)?;
    valid(set, "authority")?;
    Ok(request)
}

fn new_response(
    state: &mut HostState,
    status: u16,
    headers: Resource<FieldMap>,
) -> wasmtime::Result<Resource<OutgoingResponse>> {
    let mut view = state.http();
    let headers = HostFields::clone(&mut view, headers)?;
    let response = OutgoingResponseMethods::new(&mut view, headers)?;
    let set = OutgoingResponseMethods::set_status_code(&mut view, borrow(&response), status)?;
    valid(set, "status code")?;
    Ok(response)
}

/// A constructor cannot refuse what 0.2's setters do.
fn valid(set: Result<(), ()>, what: &str) -> wasmtime::Result<()> {
    match set {
        Ok(()) => Ok(()),
        Err(()) => bail!("invalid {what} supplied"),
    }
}

/// A body without trailers has empty ones.
fn trailers_20231018(
    state: &mut HostState,
    this: Resource<FutureTrailers>,
) -> wasmtime::Result<Option<Result<Resource<FieldMap>, Error>>> {
    Ok(match trailers(state, this)? {
        None => None,
        Some(Ok(Some(trailers))) => Some(Ok(trailers)),
        Some(Ok(None)) => Some(Ok(HostFields::new(&mut state.http())?)),
        Some(Err(code)) => Some(Err(code.into())),
    })
}

type Response = Result<Resource<IncomingResponse>, Error>;

fn response_20231018(
    state: &mut HostState,
    this: Resource<FutureResponse>,
) -> wasmtime::Result<Option<Result<Response, ()>>> {
    let response = HostFutureIncomingResponse::get(&mut state.http(), this)?;
    Ok(response.map(|once| once.map(|response| response.map_err(Error::from))))
}
