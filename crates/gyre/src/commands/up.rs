//! `gyre up`: runs an application on this machine, as `spin up` does.

use std::{
    collections::BTreeMap,
    net::{SocketAddr, ToSocketAddrs as _},
    num::NonZeroU32,
    path::{Path, PathBuf},
    process::ExitCode,
    time::Duration,
};

use anyhow::{Context as _, Result, anyhow, bail};
use gyre_edge::{BindError, EdgeConfig, TlsConfig};
use gyre_manifest::{
    events::EventTriggers,
    http::{HttpApp, TRIGGER_TYPE, list_routes},
};
use gyre_model::{Application, Limits};
use gyre_node::{
    Follow, LocalConfig, LocalError, LocalLog, LocalLogConfig, LocalNode, RuntimeOptions, Seed,
    read_dotenv,
};
use gyre_runtime::{
    CompileEvent, Compiler, OutboundConfig, PoolSettings, ReuseConfig, RuntimeConfig, SqsAccess,
    Variables, VariablesProvider,
};
use gyre_telemetry::otlp::Service;
use serde::Serialize;

use crate::{
    application::{self, Loading, Place},
    cli::{Format, UpArgs},
    commands::{build, runtime, start_telemetry, stopped},
    config, printer,
};

/// How long requests in flight may go on after SIGTERM: `spin up` ends at once, and a developer waits for it.
const GRACE: Duration = Duration::from_millis(700);

/// As which telemetry is exported: Spin's name, so that what is made for `spin up` finds it.
const SERVICE: Service = Service { name: "spin", version: env!("CARGO_PKG_VERSION") };

/// How many ports `--find-free-port` tries.
const PORTS: u16 = 10;

/// `gyre up`.
pub(crate) fn run(args: UpArgs) -> Result<ExitCode> {
    if args.build
        && args.bindle.bindle.is_none()
        && let Some(code) = build::build(&args.from, &args.components)?
    {
        return Ok(code);
    }
    start_telemetry(SERVICE, args.experimental_wasi_otel)?;
    runtime()?.block_on(async {
        let served = serve(args).await;
        gyre_telemetry::otlp::flush().await;
        served
    })
}

async fn serve(args: UpArgs) -> Result<ExitCode> {
    let place = application::find_source(&args.from, &args.bindle)?;
    let loaded = application::load(
        &place,
        Loading {
            profile: args.from.profile.clone(),
            components: args.components.clone(),
            direct_mounts: args.direct_mounts,
            temp: args.temp.clone(),
            cache: args.cache_dir.clone(),
            keep_dependencies: false,
        },
    )
    .await?;
    let application = &loaded.application;
    let events = check(application, &args.arguments)?;
    let is_http = application.locked.triggers.iter().any(|it| it.trigger_type == TRIGGER_TYPE);
    let ids: Vec<String> =
        application.locked.components.iter().map(|component| component.id.clone()).collect();
    for id in &args.follow {
        if !ids.contains(id) {
            bail!("cannot follow component {id:?}: the application has {}", ids.join(", "));
        }
    }
    let environment: BTreeMap<String, String> = environment();
    warn_of_ignored(&args);
    let configured = runtime_config(&args, &environment)?;
    let state = state_folder(&args, &configured, &place);
    let logs = log_folder(&args, &configured, state.as_deref());
    if let Some(logs) = &logs {
        printer::note(format_args!("Logging component stdio to {:?}", logs.join("")));
    }
    announce(application, &configured, state.as_deref());
    let log = LocalLog::open(
        LocalLogConfig {
            folder: logs,
            truncate: args.truncate_logs,
            follow: match (args.quiet, args.follow.is_empty()) {
                (true, _) => Follow::None,
                (false, true) => Follow::All,
                (false, false) => Follow::Only(args.follow.iter().cloned().collect()),
            },
            program: events.command.first().cloned(),
        },
        &ids,
    )?;
    let mut listen = address(&args.listen)?;
    let variables = variables(&args.variables)?;
    let mut limits = if args.server_limits { Limits::server() } else { Limits::unlimited() };
    if let Some(bytes) = args.max_instance_memory.or(configured.memory_bytes) {
        limits.memory_bytes = Some(bytes);
    }
    limits.outbound_per_app = configured.connections.or(limits.outbound_per_app);
    let cache = match (&args.cache_dir, args.disable_cache) {
        (_, true) => None,
        (Some(dir), _) => Some(dir.clone()),
        (None, _) => Some(config::cache_folder()?),
    };
    let seed = Seed { key_values: args.key_values.clone(), statements: statements(&args.sqlite)? };
    let first = listen;
    let node = loop {
        let mut edge = EdgeConfig::local(listen);
        edge.limits.http1_max_buf_size = args.http1_max_buf_size;
        edge.tls = tls(&args);
        let mut providers = vec![VariablesProvider::values(variables.clone())];
        providers.extend(configured.providers.iter().cloned());
        providers.push(VariablesProvider::environment(with_dotenv(&environment)?));
        let config = LocalConfig {
            application: application.clone(),
            edge: is_http.then_some(edge),
            sqs: SqsAccess::from_environment(std::env::vars()),
            limits: limits.clone(),
            reuse: ReuseConfig {
                requests: args.max_instance_reuse_count,
                concurrent: args.max_instance_concurrent_reuse_count,
                idle_time: args.idle_instance_timeout,
                request_time: args.request_timeout,
            },
            variables: Variables::new(providers),
            env: args.env.iter().cloned().collect(),
            state: state.clone(),
            stores: configured.stores.clone(),
            databases: configured.databases.clone(),
            blocked_networks: configured.blocked_networks.clone(),
            outbound: OutboundConfig {
                h2c_authority: environment.get("SPIN_OUTBOUND_H2C_PRIOR_KNOWLEDGE").cloned(),
                ..configured.outbound.clone()
            },
            llm: configured.llm.clone(),
            block_private_networks: configured.block_private_networks,
            seed: seed.clone(),
            log: log.clone(),
            cache: cache.clone(),
            compiler: Compiler::InProcess,
            is_pooling: is_pooling(&args, &environment)?,
            instances: instances(&environment)?,
            pool: PoolSettings::from_environment(&environment).map_err(anyhow::Error::msg)?,
            has_otel: args.experimental_wasi_otel,
            allow_transient_write: args.allow_transient_write,
        };
        match LocalNode::start(config, compile_progress()).await {
            Ok(node) => break node,
            Err(LocalError::Bind(BindError::InUse(_)))
                if args.find_free_port && listen.port() < first.port().saturating_add(PORTS) =>
            {
                listen.set_port(listen.port() + 1);
            }
            Err(LocalError::Bind(BindError::InUse(at))) if args.find_free_port => {
                bail!("no free port from {first} to {at}");
            }
            Err(LocalError::Bind(BindError::InUse(at))) => {
                bail!(
                    "{at} is already in use. To have Spin search for a free port, use the --find-free-port option."
                );
            }
            Err(error) => return Err(error.into()),
        }
    };
    let scheme = if args.tls_cert.is_some() { "https" } else { "http" };
    if let Some(address) = node.address() {
        print_routes(&format!("{scheme}://{address}"), application, args.format)?;
    }
    if args.format == Format::Plain {
        for line in node.trigger_lines() {
            printer::data(line);
        }
    }
    let code = if events.command.is_empty() {
        stopped().await;
        0
    } else {
        tokio::select! {
            code = node.run_command(args.arguments) => code?,
            () = stopped() => 0,
        }
    };
    node.shutdown(GRACE).await;
    Ok(ExitCode::from(code))
}

/// Shows which components are being compiled, while they are.
pub(crate) fn compile_progress() -> impl Fn(CompileEvent) + Send + Sync + 'static {
    let bars = indicatif::MultiProgress::new();
    let running = std::sync::Mutex::new(BTreeMap::new());
    move |event| {
        let mut running = running.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        match event {
            CompileEvent::Started { component, wasm_bytes } => {
                let megabytes = wasm_bytes as f64 / 1e6;
                let text = format!("Compiling {component} ({megabytes:.1} MB)");
                let bar = bars.add(printer::spinner(&text));
                running.insert(component, bar);
            }
            CompileEvent::Finished { component, .. } => {
                if let Some(bar) = running.remove(&component) {
                    bar.finish_and_clear();
                }
            }
            CompileEvent::Cached { .. } => {}
        }
    }
}

/// Checks the triggers, and that the arguments are for one of them.
fn check(application: &Application, arguments: &[String]) -> Result<EventTriggers> {
    let events = EventTriggers::from_locked(&application.locked)?;
    if application.locked.triggers.is_empty() {
        bail!("No triggers in app");
    }
    if let (Some(first), true) = (arguments.first(), events.command.is_empty()) {
        bail!("Unrecognised trigger option {first:?}");
    }
    for notice in HttpApp::from_locked(&application.locked)?.notices() {
        printer::note(notice);
    }
    Ok(events)
}

/// Says where data is kept, if there is any.
fn announce(application: &Application, configured: &RuntimeOptions, state: Option<&Path>) {
    let uses = |key: &str| {
        let mut components = application.locked.components.iter();
        components.any(|component| component.metadata_list(key).iter().any(|it| it == "default"))
    };
    let Some(state) = state else { return };
    if uses("key_value_stores") && !configured.stores.contains_key("default") {
        let path = state.join("sqlite_key_value.db");
        printer::note(format_args!("Storing default key-value data to {path:?}."));
    }
    if uses("databases") && !configured.databases.contains_key("default") {
        printer::note(format_args!(
            "Storing default SQLite data to {:?}.",
            state.join("sqlite_db.db")
        ));
    }
}

/// The environment, as far as it is text.
fn environment() -> BTreeMap<String, String> {
    let pairs = std::env::vars_os();
    pairs
        .filter_map(|(name, value)| name.into_string().ok().zip(value.into_string().ok()))
        .collect()
}

/// The environment and, for what it lacks, the `.env` file of the working folder, if there is one.
fn with_dotenv(environment: &BTreeMap<String, String>) -> Result<BTreeMap<String, String>> {
    let path = Path::new(".env");
    let mut variables = if path.is_file() { read_dotenv(path)? } else { BTreeMap::new() };
    variables.extend(environment.clone());
    Ok(variables)
}

/// What `--runtime-config-file` says; nothing without it.
fn runtime_config(args: &UpArgs, environment: &BTreeMap<String, String>) -> Result<RuntimeOptions> {
    let Some(path) = &args.runtime_config_file else { return Ok(RuntimeOptions::default()) };
    let options = RuntimeOptions::read(path, environment)
        .with_context(|| format!("cannot use the runtime config {path:?}"))?;
    for warning in &options.warnings {
        printer::warning(warning);
    }
    if !options.summary.is_empty() {
        let summary = options.summary.join(", ");
        printer::note(format_args!("Using runtime config {summary} from {path:?}"));
    }
    Ok(options)
}

/// Says which flags change nothing here.
fn warn_of_ignored(args: &UpArgs) {
    if args.cache.is_some() {
        printer::warning(
            "--cache (WASMTIME_CACHE_FILE) is ignored: compiled code is kept below --cache-dir",
        );
    }
    if args.debug_info {
        printer::warning("--debug-info is ignored: compiled code is not shown to native debuggers");
    }
}

/// Whether instances come from a pool: `--disable-pooling`, or `SPIN_WASMTIME_POOLING`, which is 1 or 0.
fn is_pooling(args: &UpArgs, environment: &BTreeMap<String, String>) -> Result<bool> {
    match environment.get("SPIN_WASMTIME_POOLING").map(String::as_str) {
        None | Some("1") => Ok(!args.disable_pooling),
        Some("0") => Ok(false),
        Some(other) => bail!("SPIN_WASMTIME_POOLING={other} not supported, only 1/0 supported"),
    }
}

/// The instances that may exist at once: `SPIN_MAX_INSTANCE_COUNT`, or as many as usual.
fn instances(environment: &BTreeMap<String, String>) -> Result<u32> {
    const NAME: &str = "SPIN_MAX_INSTANCE_COUNT";
    let Some(text) = environment.get(NAME) else { return Ok(RuntimeConfig::default().instances) };
    match text.parse::<NonZeroU32>() {
        Ok(instances) => Ok(instances.get()),
        Err(error) => bail!("failed to parse env var `{NAME}={text}`: {error}"),
    }
}

fn state_folder(args: &UpArgs, configured: &RuntimeOptions, place: &Place) -> Option<PathBuf> {
    match args.state_dir.as_deref().or(configured.state_dir.as_deref()) {
        Some("") => None,
        Some(folder) => Some(folder.into()),
        None => place.folder().map(|folder| folder.join(".spin")),
    }
}

fn log_folder(args: &UpArgs, configured: &RuntimeOptions, state: Option<&Path>) -> Option<PathBuf> {
    match args.log_dir.as_deref().or(configured.log_dir.as_deref()) {
        Some("") => None,
        Some(folder) => Some(folder.into()),
        None => state.map(|state| state.join("logs")),
    }
}

fn tls(args: &UpArgs) -> Option<TlsConfig> {
    let (cert, key) = args.tls_cert.clone().zip(args.tls_key.clone())?;
    Some(TlsConfig { cert, key })
}

/// The address to listen on; of a name's addresses the IPv4 one.
fn address(text: &str) -> Result<SocketAddr> {
    let all: Vec<SocketAddr> = text
        .to_socket_addrs()
        .with_context(|| format!("{text:?} is not an address to listen on (HOST:PORT)"))?
        .collect();
    let v4 = all.iter().find(|address| address.is_ipv4());
    v4.or(all.first()).copied().ok_or_else(|| anyhow!("{text:?} has no address"))
}

/// The values of `--variable`.
fn variables(given: &[String]) -> Result<BTreeMap<String, String>> {
    let mut values = BTreeMap::new();
    for text in given {
        if let Some(path) = text.strip_prefix('@') {
            values.extend(variables_file(Path::new(path))?);
            continue;
        }
        let (name, value) = text.split_once('=').with_context(|| {
            format!(
                "--variable {text:?}: expected NAME=VALUE, NAME=@FILE, or @FILE (.json or .toml)"
            )
        })?;
        let value = match value.strip_prefix('@') {
            Some(path) => fs_err::read_to_string(path)?,
            None => value.to_owned(),
        };
        values.insert(name.to_owned(), value);
    }
    Ok(values)
}

fn variables_file(path: &Path) -> Result<BTreeMap<String, String>> {
    let text = fs_err::read_to_string(path)?;
    let wrong = || format!("{} must hold names with text values", path.display());
    match path.extension().and_then(|end| end.to_str()) {
        Some("json") => serde_json::from_str(&text).with_context(wrong),
        Some("toml") => toml::from_str(&text).with_context(wrong),
        _ => bail!("{} must end in .json or .toml", path.display()),
    }
}

/// The statements of `--sqlite`, each with the label of its database.
fn statements(given: &[String]) -> Result<Vec<(String, String)>> {
    given
        .iter()
        .map(|text| match text.strip_prefix('@') {
            None => Ok((text.clone(), "default".to_owned())),
            Some(file) => {
                let (path, label) = match file.rsplit_once(':') {
                    Some((path, label)) if !Path::new(file).exists() => (path, label),
                    _ => (file, "default"),
                };
                Ok((fs_err::read_to_string(path)?, label.to_owned()))
            }
        })
        .collect()
}

#[derive(Serialize)]
struct Listing<'a> {
    base_url: &'a str,
    routes: Vec<ListingRoute>,
}

#[derive(Serialize)]
struct ListingRoute {
    id: String,
    route: String,
    wildcard: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    description: Option<String>,
}

fn print_routes(base: &str, application: &Application, format: Format) -> Result<()> {
    let routes = list_routes(&application.locked)?;
    if format == Format::Json {
        let routes = routes.into_iter().map(|route| ListingRoute {
            id: route.id,
            route: route.route,
            wildcard: route.is_wildcard,
            description: route.description,
        });
        return printer::json(&Listing { base_url: base, routes: routes.collect() });
    }
    printer::data("");
    printer::data(format_args!("Serving {base}"));
    printer::data("Available Routes:");
    for route in routes {
        printer::data(format_args!("  {}: {base}{route}", route.id));
        if let Some(description) = &route.description {
            printer::data(format_args!("    {description}"));
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn variables_come_from_values_and_files() {
        let dir = tempfile::tempdir().unwrap();
        let file = |name: &str, text: &str| {
            let path = dir.path().join(name);
            fs_err::write(&path, text).unwrap();
            path.display().to_string()
        };
        let (plain, json) = (file("plain", "text"), file("v.json", r#"{"c": "3"}"#));
        let toml = file("v.toml", "d = \"4\"");
        let given =
            ["a=1=1".to_owned(), format!("b=@{plain}"), format!("@{json}"), format!("@{toml}")];
        let values = variables(&given).unwrap();
        let pairs: Vec<_> = values.iter().map(|(k, v)| (k.as_str(), v.as_str())).collect();
        assert_eq!(pairs, [("a", "1=1"), ("b", "text"), ("c", "3"), ("d", "4")]);
        assert!(variables(&["novalue".to_owned()]).is_err());
        assert!(variables(&[format!("@{plain}")]).is_err());
    }

    #[test]
    fn statements_come_from_the_command_line_and_from_files() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("m.sql");
        fs_err::write(&path, "SELECT 1").unwrap();
        let given = ["SELECT 2".to_owned(), format!("@{}:other", path.display())];
        let expected = [("SELECT 2", "default"), ("SELECT 1", "other")];
        let expected = expected.map(|(a, b)| (a.to_owned(), b.to_owned()));
        assert_eq!(statements(&given).unwrap(), expected);
    }

    #[test]
    fn a_name_to_listen_on_becomes_an_ipv4_address() {
        assert_eq!(address("localhost:0").unwrap(), "127.0.0.1:0".parse().unwrap());
        assert!(address("nowhere").is_err());
    }
}
