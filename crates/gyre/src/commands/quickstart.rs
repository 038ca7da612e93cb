//! `gyre quickstart`: a server on a temporary folder with a sample application on it. What it does, it does the way a
//! user would: by the API, with a token.

use std::{collections::BTreeMap, net::SocketAddr, process::ExitCode, time::Duration};

use anyhow::{Context as _, Result};
use gyre_edge::BindError;
use gyre_node::{Node, NodeConfig, StartError};

use super::{
    DONE, anonymous,
    deploy::{Voice, deploy},
    runtime,
    server::compiler,
    stopped,
};
use crate::{
    application::{self, Loading, Place},
    cli::QuickstartArgs,
    printer,
};

/// The sample application: its source is in the repository's `examples/hello`.
const SAMPLE: [(&str, &[u8]); 2] = [
    ("spin.toml", include_bytes!("../../../../examples/hello/spin.toml")),
    ("hello.wasm", include_bytes!("../../../../examples/hello/hello.wasm")),
];

const DOMAIN: &str = "gyre.localhost";

/// `gyre quickstart`.
pub(crate) fn run(args: QuickstartArgs) -> Result<ExitCode> {
    runtime()?.block_on(async {
        let folder = tempfile::Builder::new().prefix("gyre-quickstart-").tempdir()?;
        printer::note("Starting a server on a temporary folder...");
        let node = start(&args, folder.path().join("data")).await?;
        let token = node.admin_token().context("a new server has a token")?.clone();
        let url = node.url();
        let local = format!("http://{DOMAIN}:{}", node.address().port());
        let client = anonymous(&local)?.with_token(token.clone());

        let sample = folder.path().join("hello");
        fs_err::create_dir_all(&sample)?;
        for (name, bytes) in SAMPLE {
            fs_err::write(sample.join(name), bytes)?;
        }
        printer::note("Deploying a sample application...");
        let place = Place::Manifest(sample.join("spin.toml"));
        let loaded = application::load(&place, Loading::default()).await?;
        let voice = Voice { is_json: true };
        let deployed =
            deploy(&client, &loaded.application, BTreeMap::new(), Duration::from_secs(120), voice)
                .await?;

        let app = deployed.url.context("the sample has a URL")?;
        let app = app.trim_end_matches('/');
        printer::data(format_args!("\nYour application   {app}/"));
        printer::data(format_args!("The cloud          {url}"));
        printer::data(format_args!("\nTry it:\n  curl {app}/"));
        printer::data("\nDeploy one of your own, in another terminal:");
        printer::data(format_args!("  gyre login --url {local} --token {}", token.expose()));
        printer::data("  gyre new -t static-fileserver my-site && cd my-site");
        printer::data("  echo '<h1>Hello</h1>' > assets/index.html");
        printer::data("  gyre deploy");
        printer::data("\nCtrl-C ends the server and removes its folder.");
        stopped().await;
        node.shutdown(Duration::from_secs(2)).await;
        DONE
    })
}

/// On the usual port, or on a free one if that is in use and none was asked for.
async fn start(args: &QuickstartArgs, data: std::path::PathBuf) -> Result<Node> {
    let usual: SocketAddr = ([127, 0, 0, 1], 8000).into();
    let config = NodeConfig {
        data,
        listen: args.listen.unwrap_or(usual),
        domain: DOMAIN.to_owned(),
        apps_domain: None,
        tls: None,
        public: None,
        workers: None,
        allow_private_egress: false,
        has_otel: false,
        compiler: compiler()?,
        version: env!("CARGO_PKG_VERSION").to_owned(),
    };
    match Node::start(config.clone()).await {
        Err(StartError::Bind(BindError::InUse(_))) if args.listen.is_none() => {
            Ok(Node::start(NodeConfig { listen: ([127, 0, 0, 1], 0).into(), ..config }).await?)
        }
        started => Ok(started?),
    }
}
