//! WAGI: a component that is a program of the common gateway interface (RFC 3875).
//!
//! What it is asked is in its environment and arguments, the request's body on its standard input, and what it prints is
//! the response: a head in the interface's own form, an empty line, the body.
//!
//! The response is held back until the program ends, or waits for something, or has printed more than
//! [`HELD_BYTES`]: so that a short response has a length, and a program that fails answers 500 whatever it printed,
//! while one that prints for ever is heard at once.

mod environment;
mod head;
mod streams;
#[cfg(test)]
mod tests;

use std::{future::poll_fn, pin::pin, sync::Arc, task::Context};

use http::Request;
use wasmtime::{Store, component::InstancePre};
use wasmtime_wasi::{I32Exit, p2::bindings::CommandPre};
use wasmtime_wasi_http::{WasiBody, p2::bindings::http::types::Scheme};

use crate::{
    call::CallState,
    host::{Gateway, HostState},
    run::{Ended, Guest},
};
use streams::{BodyInput, Output};

/// What a program prints beyond this is sent while it still runs.
pub(super) const HELD_BYTES: usize = 64 << 10;

/// A program and the arguments of its trigger.
pub(crate) struct WagiPre {
    pre: CommandPre<HostState>,
    /// With `${SCRIPT_NAME}` and `${ARGS}` in it.
    argv: Arc<str>,
}

impl WagiPre {
    /// # Errors
    /// The component exports no `wasi:cli/run`.
    pub(crate) fn new(pre: InstancePre<HostState>, argv: &str) -> wasmtime::Result<Self> {
        Ok(Self { pre: CommandPre::new(pre)?, argv: argv.into() })
    }

    pub(crate) fn instance_pre(&self) -> &InstancePre<HostState> {
        self.pre.instance_pre()
    }

    /// A fresh instance that is to answer a request.
    pub(super) fn answer(
        &self,
        mut store: Store<HostState>,
        request: Request<WasiBody>,
        scheme: &Scheme,
        call: Arc<CallState>,
    ) -> Guest {
        let pre = self.pre.clone();
        let (head, body) = request.into_parts();
        let mut env = store.data().component.env.clone();
        environment::add(&mut env, &head, matches!(scheme, Scheme::Https));
        let output = Output::default();
        let stdout = output.clone();
        store.data_mut().gateway = Some(Box::new(Gateway {
            env,
            arguments: environment::arguments(&self.argv, &head.uri),
            stdin: Some(Box::new(BodyInput::new(body))),
            stdout: Box::new(move || Box::new(stdout.clone())),
        }));
        let run = async move |store: &mut Store<HostState>| {
            let command = pre.instantiate_async(&mut *store).await?;
            store.data_mut().instantiated();
            command.wasi_cli_run().call_run(&mut *store).await
        };
        Box::pin(async move {
            let result = {
                let mut run = pin!(run(&mut store));
                poll_fn(|cx: &mut Context<'_>| {
                    let polled = run.as_mut().poll(cx);
                    if polled.is_pending()
                        && let Some(response) = output.release()
                    {
                        call.answer(Ok(response));
                    }
                    polled
                })
                .await
            };
            let result = match result {
                Ok(Ok(())) => Ok(()),
                Ok(Err(())) => Err(wasmtime::format_err!("the program ended with exit code 1")),
                Err(error) => match error.downcast_ref::<I32Exit>() {
                    Some(exit) if exit.0 == 0 => Ok(()),
                    Some(exit) => {
                        Err(wasmtime::format_err!("the program ended with exit code {}", exit.0))
                    }
                    None => Err(error),
                },
            };
            // Whatever it left unread and unsaid.
            drop(store);
            let result = result.and_then(|()| match output.finish() {
                Ok(Some(response)) => {
                    call.answer(Ok(response));
                    Ok(())
                }
                Ok(None) => Ok(()),
                Err(error) => Err(wasmtime::Error::new(error)),
            });
            let is_answer_whole = result.is_ok();
            if !is_answer_whole {
                output.abandon();
            }
            Ended { result, is_answer_whole }
        })
    }
}
