//! `gyre server`: the cloud on this machine.

use std::{path::PathBuf, process::ExitCode};

use anyhow::{Context as _, Result, bail};
use gyre_edge::TlsConfig;
use gyre_node::{Node, NodeConfig};
use gyre_runtime::Compiler;
use gyre_telemetry::otlp::Service;

use super::{DONE, runtime, start_telemetry, stopped};
use crate::{cli::ServerArgs, config, printer};

/// What compiling one component may take: processor time in seconds, address space in bytes.
const COMPILE_CPU_SECONDS: u64 = 120;
const COMPILE_MEMORY_BYTES: u64 = 8 << 30;

/// As which telemetry is exported.
const SERVICE: Service = Service { name: "gyre", version: env!("CARGO_PKG_VERSION") };

/// `gyre server`.
pub(crate) fn run(args: ServerArgs) -> Result<ExitCode> {
    start_telemetry(SERVICE, args.experimental_wasi_otel)?;
    runtime()?.block_on(async {
        let grace = args.grace;
        let node = Node::start(settings(args)?).await?;
        let url = node.url();
        printer::note(format_args!("Gyre {} serves at {url}", env!("CARGO_PKG_VERSION")));
        printer::note(format_args!("Listening on {}", node.address()));
        if let Some(token) = node.admin_token() {
            printer::note("\nThis is the first start: the account `admin` was made. Sign in with its token,");
            printer::note(format_args!(
                "which is also in the data folder's file admin-token:\n\n  gyre login --url {} --token {}\n",
                url.trim_end_matches('/'),
                token.expose()
            ));
        }
        stopped().await;
        printer::note("Stopping: requests in flight finish first.");
        tokio::select! {
            () = node.shutdown(grace) => {}
            // Whoever asks twice does not want to wait.
            () = stopped() => {}
        }
        gyre_telemetry::otlp::flush().await;
        DONE
    })
}

fn settings(args: ServerArgs) -> Result<NodeConfig> {
    let data = match args.data {
        Some(data) => data,
        None => config::data_folder()?,
    };
    let tls = args.tls_cert.zip(args.tls_key).map(|(cert, key)| TlsConfig { cert, key });
    let public = args.public_url.as_deref().map(public).transpose()?;
    Ok(NodeConfig {
        data,
        listen: args.listen,
        domain: args.domain,
        apps_domain: args.apps_domain,
        tls,
        public,
        workers: args.workers,
        allow_private_egress: args.allow_private_egress,
        has_otel: args.experimental_wasi_otel,
        compiler: compiler()?,
        version: env!("CARGO_PKG_VERSION").to_owned(),
    })
}

/// Scheme and port of `--public-url`.
fn public(url: &str) -> Result<(String, Option<u16>)> {
    let url: url::Url =
        url.parse().with_context(|| format!("--public-url {url:?} is not a URL"))?;
    if !matches!(url.scheme(), "http" | "https") || url.path() != "/" {
        bail!("--public-url must be http:// or https:// and a host, without a path");
    }
    Ok((url.scheme().to_owned(), url.port()))
}

/// Components are compiled by this program in a child process of its own.
pub(crate) fn compiler() -> Result<Compiler> {
    let program: PathBuf =
        std::env::current_exe().context("cannot find this program's own file")?;
    Ok(Compiler::Child {
        program,
        args: vec!["compile-component".to_owned()],
        cpu_seconds: COMPILE_CPU_SECONDS,
        memory_bytes: COMPILE_MEMORY_BYTES,
    })
}
