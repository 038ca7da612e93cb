//! The tree of verbs and flags, and nothing else. Verbs shared with Spin have Spin's flags.

pub(crate) mod bindle;

use std::{net::SocketAddr, path::PathBuf, time::Duration};

use clap::{Args, Parser, Subcommand, ValueEnum};
use gyre_runtime::Range;

/// Run WebAssembly applications: on your machine, and on a cloud of your own.
#[derive(Debug, Parser)]
#[command(name = "gyre", version, disable_help_subcommand = true, max_term_width = 100)]
pub(crate) struct Cli {
    /// What Gyre says about itself on standard error (RUST_LOG syntax)
    #[arg(long, global = true, env = "GYRE_LOG", hide_env = true, hide = true)]
    log: Option<String>,

    #[command(subcommand)]
    pub(crate) command: Command,
}

impl Cli {
    /// The tracing filter: `--log`, `GYRE_LOG`, `RUST_LOG`, or warnings only.
    pub(crate) fn log_filter(&self) -> String {
        let default = || std::env::var("RUST_LOG").unwrap_or_else(|_| "warn".to_owned());
        self.log.clone().unwrap_or_else(default)
    }
}

#[derive(Debug, Subcommand)]
#[allow(clippy::large_enum_variant, reason = "there is one, for the whole process")]
pub(crate) enum Command {
    /// Create an application from a template
    #[command(visible_alias = "n")]
    New(NewArgs),
    /// Add a component from a template to an application
    #[command(visible_alias = "a")]
    Add(AddArgs),
    /// The templates there are
    #[command(visible_alias = "template")]
    Templates(TemplatesArgs),
    /// Build an application's components
    #[command(visible_alias = "b")]
    Build(BuildArgs),
    /// Run an application on this machine
    #[command(visible_alias = "u")]
    Up(UpArgs),
    /// Run the cloud on this machine
    Server(ServerArgs),
    /// Run the cloud on a temporary folder with a sample application
    Quickstart(QuickstartArgs),
    /// Sign in to a server
    Login(LoginArgs),
    /// Forget the server's token
    Logout(LogoutArgs),
    /// Put an application on the server
    #[command(visible_alias = "d")]
    Deploy(DeployArgs),
    /// Applications on the server
    #[command(visible_alias = "app")]
    Apps(AppsArgs),
    /// An application's revisions
    #[command(visible_alias = "revision")]
    Revisions(RevisionsArgs),
    /// Let an earlier revision take over again
    Rollback(RollbackArgs),
    /// Applications in OCI registries
    #[command(visible_alias = "oci")]
    Registry(RegistryArgs),
    /// Bindles, and servers that have them
    Bindle(bindle::BindleArgs),
    /// What an application wrote
    Logs(LogsArgs),
    /// An application's variables
    #[command(visible_alias = "variable")]
    Variables(VariablesArgs),
    /// Compiles one component under limits; started by Gyre itself
    #[command(hide = true)]
    CompileComponent(CompileComponentArgs),
}

/// Where a verb finds its application.
#[derive(Debug, Clone, Args)]
pub(crate) struct FromArgs {
    /// The application: a spin.toml, a folder that has one, a component (.wasm, .wat), or a reference to an
    /// artifact in a registry
    #[arg(short = 'f', long = "from", alias = "file", alias = "from-file", value_name = "APP")]
    pub(crate) from: Option<PathBuf>,
    /// The application: a reference to an artifact in a registry
    #[arg(long, value_name = "REF", conflicts_with = "from")]
    pub(crate) from_registry: Option<String>,
    /// Speak to the registry without TLS
    #[arg(short = 'k', long)]
    pub(crate) insecure: bool,
    /// The build profile
    #[arg(long)]
    pub(crate) profile: Option<String>,
}

#[derive(Debug, Args)]
pub(crate) struct NewArgs {
    /// The application's name
    pub(crate) name: Option<String>,
    #[command(flatten)]
    pub(crate) template: TemplateArgs,
    /// Create it in this folder instead of one of its name
    #[arg(short, long, value_name = "DIR", conflicts_with = "init")]
    pub(crate) output: Option<PathBuf>,
    /// Create it in the folder where you are
    #[arg(long)]
    pub(crate) init: bool,
    /// Accepted for compatibility: Gyre never makes a repository
    #[arg(long, hide = true)]
    pub(crate) no_vcs: bool,
}

#[derive(Debug, Args)]
pub(crate) struct AddArgs {
    /// The component's name
    pub(crate) name: Option<String>,
    #[command(flatten)]
    pub(crate) template: TemplateArgs,
    /// The application's spin.toml, or its folder
    #[arg(short = 'f', long = "file", default_value = "spin.toml")]
    pub(crate) file: PathBuf,
    /// Create it in this folder instead of one of its name
    #[arg(short, long, value_name = "DIR")]
    pub(crate) output: Option<PathBuf>,
}

#[derive(Debug, Args)]
pub(crate) struct TemplateArgs {
    /// The template (see `gyre templates`)
    #[arg(short, long)]
    pub(crate) template: Option<String>,
    /// Only templates with this tag are offered
    #[arg(long)]
    pub(crate) tag: Vec<String>,
    /// A value of a parameter
    #[arg(short = 'v', long = "value", value_name = "NAME=VALUE", value_parser = key_value)]
    pub(crate) values: Vec<(String, String)>,
    /// A TOML file with values of parameters
    #[arg(long)]
    pub(crate) values_file: Option<PathBuf>,
    /// Ask nothing: use the parameters' defaults
    #[arg(short = 'a', long)]
    pub(crate) accept_defaults: bool,
    /// Write over files that are there
    #[arg(long)]
    pub(crate) allow_overwrite: bool,
}

#[derive(Debug, Args)]
pub(crate) struct TemplatesArgs {
    #[command(subcommand)]
    pub(crate) command: Option<TemplatesCommand>,
}

#[derive(Debug, Subcommand)]
pub(crate) enum TemplatesCommand {
    /// List them
    List {
        /// Only those with this tag
        #[arg(long)]
        tag: Vec<String>,
        #[command(flatten)]
        format: FormatArgs,
    },
}

#[derive(Debug, Args)]
pub(crate) struct BuildArgs {
    #[command(flatten)]
    pub(crate) from: FromArgs,
    /// Build only this component
    #[arg(short = 'c', long = "component-id", value_name = "ID")]
    pub(crate) components: Vec<String>,
    /// Do not write the interfaces of dependencies (spin-dependencies.wit)
    #[arg(long)]
    pub(crate) skip_generate_wits: bool,
    /// Do not check whether the components could run in the manifest's `targets`
    #[arg(long)]
    pub(crate) skip_target_checks: bool,
    /// Run the application after the build
    #[arg(short, long)]
    pub(crate) up: bool,
    /// Arguments for `gyre up`
    #[arg(requires = "up", trailing_var_arg = true, allow_hyphen_values = true, hide = true)]
    pub(crate) up_args: Vec<String>,
}

#[derive(Debug, Args)]
pub(crate) struct UpArgs {
    #[command(flatten)]
    pub(crate) from: FromArgs,
    #[command(flatten)]
    pub(crate) bindle: bindle::BindleSourceArgs,
    /// Build it first
    #[arg(long, env = "SPIN_ALWAYS_BUILD", hide_env = true, value_parser = clap::builder::BoolishValueParser::new())]
    pub(crate) build: bool,
    /// An environment variable for every component
    #[arg(short, long, value_name = "NAME=VALUE", value_parser = key_value)]
    pub(crate) env: Vec<(String, String)>,
    /// Run only this component
    #[arg(short = 'c', long = "component-id", value_name = "ID")]
    pub(crate) components: Vec<String>,
    /// Let components see their files where they are, without copying
    #[arg(long)]
    pub(crate) direct_mounts: bool,
    /// Let components write to their files; nothing of it is kept
    #[arg(long)]
    pub(crate) allow_transient_write: bool,
    /// The folder for copied files
    #[arg(long = "temp", alias = "tmp", value_name = "DIR")]
    pub(crate) temp: Option<PathBuf>,
    /// The folder for downloaded and compiled components
    #[arg(long, value_name = "DIR")]
    pub(crate) cache_dir: Option<PathBuf>,
    /// Accepted for compatibility: see --cache-dir
    #[arg(
        long,
        env = "WASMTIME_CACHE_FILE",
        hide = true,
        hide_env = true,
        value_name = "FILE",
        conflicts_with = "disable_cache"
    )]
    pub(crate) cache: Option<PathBuf>,
    /// Accepted for compatibility: native debuggers are not served
    #[arg(long, hide = true)]
    pub(crate) debug_info: bool,
    /// Compile in memory: neither read nor write the cache
    #[arg(long, alias = "disable-wasmtime-cache", env = "DISABLE_WASMTIME_CACHE", hide_env = true, value_parser = clap::builder::BoolishValueParser::new())]
    pub(crate) disable_cache: bool,
    /// Allocate instances one by one instead of from a pool
    #[arg(long)]
    pub(crate) disable_pooling: bool,
    /// Let components export telemetry of their own by wasi:otel, which may change
    #[arg(long)]
    pub(crate) experimental_wasi_otel: bool,

    /// The address to listen on
    #[arg(long, env = "SPIN_HTTP_LISTEN_ADDR", default_value = "127.0.0.1:3000")]
    pub(crate) listen: String,
    /// Take the next free port if that one is in use
    #[arg(long)]
    pub(crate) find_free_port: bool,
    /// The certificate chain, PEM
    #[arg(long, env = "SPIN_TLS_CERT", requires = "tls_key")]
    pub(crate) tls_cert: Option<PathBuf>,
    /// Its private key, PEM
    #[arg(long, env = "SPIN_TLS_KEY", requires = "tls_cert")]
    pub(crate) tls_key: Option<PathBuf>,
    /// The most that an HTTP/1 connection buffers, in bytes
    #[arg(long, env = "SPIN_HTTP1_MAX_BUF_SIZE", hide_env = true)]
    pub(crate) http1_max_buf_size: Option<usize>,
    /// How the routes are printed
    #[arg(long, default_value = "plain")]
    pub(crate) format: Format,

    /// Where stores, databases and variables come from: a TOML file
    #[arg(long, env = "RUNTIME_CONFIG_FILE", value_name = "FILE")]
    pub(crate) runtime_config_file: Option<PathBuf>,
    /// A value of a variable (`name=value`, `name=@file`), or a .json or .toml file with several (`@file`)
    #[arg(long = "variable", value_name = "NAME=VALUE")]
    pub(crate) variables: Vec<String>,
    /// A value to set in the default key-value store before the start
    #[arg(long = "key-value", value_name = "KEY=VALUE", value_parser = key_value)]
    pub(crate) key_values: Vec<(String, String)>,
    /// A statement to run before the start (`SQL`, `@file`, `@file:database`)
    #[arg(long = "sqlite", value_name = "SQL")]
    pub(crate) sqlite: Vec<String>,
    /// The folder for state, "" for none [default: .spin beside the manifest]
    #[arg(long, value_name = "DIR")]
    pub(crate) state_dir: Option<String>,
    /// The folder for the components' output, "" for none [default: logs in the state folder]
    #[arg(short = 'L', long, env = "SPIN_LOG_DIR", value_name = "DIR")]
    pub(crate) log_dir: Option<String>,
    /// Empty the log files at the start
    #[arg(long)]
    pub(crate) truncate_logs: bool,
    /// Show the output of this component [default: of all]
    #[arg(long, value_name = "ID")]
    pub(crate) follow: Vec<String>,
    /// Show no component's output
    #[arg(short, long, alias = "sh", alias = "shush", conflicts_with = "follow")]
    pub(crate) quiet: bool,

    /// The most that one linear memory may grow to, in bytes
    #[arg(long, env = "SPIN_MAX_INSTANCE_MEMORY", hide_env = true)]
    pub(crate) max_instance_memory: Option<u64>,
    /// Hold the application to the limits of a server
    #[arg(long)]
    pub(crate) server_limits: bool,
    /// Requests that an instance of a WASI 0.3 component answers (`N`, or `A..B` to draw one for each instance)
    #[arg(long, value_name = "N", default_value = "128")]
    pub(crate) max_instance_reuse_count: Range<u32>,
    /// Requests that it answers at once
    #[arg(long, value_name = "N", default_value = "16")]
    pub(crate) max_instance_concurrent_reuse_count: Range<u32>,
    /// How long it is kept without any (`s`, `ms`, `us` or `ns`)
    #[arg(long, value_name = "TIME", default_value = "1s")]
    pub(crate) idle_instance_timeout: Range<Duration>,
    /// Time that it has to begin a response [default: none]
    #[arg(long, value_name = "TIME")]
    pub(crate) request_timeout: Option<Range<Duration>>,
    /// The arguments of a command trigger's program
    #[arg(value_name = "ARGS", trailing_var_arg = true, allow_hyphen_values = true)]
    pub(crate) arguments: Vec<String>,
}

#[derive(Debug, Args)]
pub(crate) struct ServerArgs {
    /// The folder for everything that is kept [default: gyre in your data folder]
    #[arg(long, env = "GYRE_DATA", value_name = "DIR")]
    pub(crate) data: Option<PathBuf>,
    /// The address to listen on
    #[arg(long, env = "GYRE_LISTEN", default_value = "127.0.0.1:8000")]
    pub(crate) listen: SocketAddr,
    /// The platform's own host name
    #[arg(long, env = "GYRE_DOMAIN", default_value = "gyre.localhost")]
    pub(crate) domain: String,
    /// The domain below which applications get their host names [default: the platform's]
    #[arg(long, env = "GYRE_APPS_DOMAIN", value_name = "DOMAIN")]
    pub(crate) apps_domain: Option<String>,
    /// The certificate chain, PEM
    #[arg(long, env = "GYRE_TLS_CERT", requires = "tls_key")]
    pub(crate) tls_cert: Option<PathBuf>,
    /// Its private key, PEM
    #[arg(long, env = "GYRE_TLS_KEY", requires = "tls_cert")]
    pub(crate) tls_key: Option<PathBuf>,
    /// The URL by which clients reach the server, where a proxy stands before it
    #[arg(long, env = "GYRE_PUBLIC_URL", value_name = "URL")]
    pub(crate) public_url: Option<String>,
    /// Threads that serve requests [default: one per core]
    #[arg(long, env = "GYRE_WORKERS")]
    pub(crate) workers: Option<usize>,
    /// Let applications reach private and local addresses that their manifest allows
    #[arg(long, env = "GYRE_ALLOW_PRIVATE_EGRESS")]
    pub(crate) allow_private_egress: bool,
    /// Let components export telemetry of their own by wasi:otel, which may change
    #[arg(long, env = "GYRE_EXPERIMENTAL_WASI_OTEL")]
    pub(crate) experimental_wasi_otel: bool,
    /// How long requests in flight may go on at shutdown, in seconds
    #[arg(long, env = "GYRE_GRACE", default_value = "30", value_parser = seconds, value_name = "SECONDS")]
    pub(crate) grace: Duration,
}

#[derive(Debug, Args)]
pub(crate) struct QuickstartArgs {
    /// The address to listen on [default: 127.0.0.1:8000, or a free port]
    #[arg(long)]
    pub(crate) listen: Option<SocketAddr>,
}

/// Which server a client verb talks to.
#[derive(Debug, Clone, Args)]
pub(crate) struct ServerUrlArgs {
    /// The server [default: the one you are signed in to]
    #[arg(long, env = "GYRE_URL", hide_env = true)]
    pub(crate) url: Option<String>,
    /// The access token [default: the one of your sign-in]
    #[arg(long, env = "GYRE_TOKEN", hide_env = true, hide_env_values = true)]
    pub(crate) token: Option<String>,
}

#[derive(Debug, Args)]
pub(crate) struct LoginArgs {
    /// The server
    #[arg(long, env = "GYRE_URL", hide_env = true, default_value = "http://gyre.localhost:8000")]
    pub(crate) url: String,
    /// Sign in with this access token instead of a code
    #[arg(long, env = "GYRE_TOKEN", hide_env = true, hide_env_values = true)]
    pub(crate) token: Option<String>,
    /// Show who is signed in, and where
    #[arg(long, conflicts_with_all = ["token"])]
    pub(crate) status: bool,
    #[command(flatten)]
    pub(crate) format: FormatArgs,
}

#[derive(Debug, Args)]
pub(crate) struct RegistryArgs {
    #[command(subcommand)]
    pub(crate) command: RegistryCommand,
}

#[derive(Debug, Subcommand)]
pub(crate) enum RegistryCommand {
    /// Push an application
    Push(RegistryPushArgs),
    /// Pull an application into the cache
    Pull(RegistryPullArgs),
    /// Keep a name and a password for a registry
    Login(RegistryLoginArgs),
}

#[derive(Debug, Args)]
pub(crate) struct RegistryPushArgs {
    /// The application: a spin.toml, or a folder that has one
    #[arg(short = 'f', long = "from", alias = "file", value_name = "APP")]
    pub(crate) from: Option<PathBuf>,
    /// The build profile
    #[arg(long)]
    pub(crate) profile: Option<String>,
    /// Speak to the registry without TLS
    #[arg(short = 'k', long)]
    pub(crate) insecure: bool,
    /// Compose components with their dependencies first
    #[arg(long, default_value_t = true, action = clap::ArgAction::Set, default_missing_value = "true", num_args = 0..=1, require_equals = true)]
    pub(crate) compose: bool,
    /// Build it first
    #[arg(long, env = "SPIN_ALWAYS_BUILD", hide_env = true, value_parser = clap::builder::BoolishValueParser::new())]
    pub(crate) build: bool,
    /// The folder for downloaded and composed components
    #[arg(long, value_name = "DIR")]
    pub(crate) cache_dir: Option<PathBuf>,
    /// An annotation of the artifact's manifest
    #[arg(long = "annotation", value_name = "NAME=VALUE", value_parser = key_value)]
    pub(crate) annotations: Vec<(String, String)>,
    /// Files go into one archive for each component
    #[arg(long, env = "SPIN_OCI_ARCHIVE_LAYERS", hide = true, hide_env = true, value_parser = clap::builder::FalseyValueParser::new())]
    pub(crate) archive_layers: bool,
    /// Where it goes: [REGISTRY/]REPOSITORY[:TAG]
    #[arg(value_name = "REFERENCE")]
    pub(crate) reference: String,
}

#[derive(Debug, Args)]
pub(crate) struct RegistryPullArgs {
    /// Speak to the registry without TLS
    #[arg(short = 'k', long)]
    pub(crate) insecure: bool,
    /// The folder for downloads
    #[arg(long, value_name = "DIR")]
    pub(crate) cache_dir: Option<PathBuf>,
    /// What is pulled: [REGISTRY/]REPOSITORY[:TAG][@DIGEST]
    #[arg(value_name = "REFERENCE")]
    pub(crate) reference: String,
}

#[derive(Debug, Args)]
pub(crate) struct RegistryLoginArgs {
    /// The user's name
    #[arg(short, long)]
    pub(crate) username: Option<String>,
    /// The password
    #[arg(short, long)]
    pub(crate) password: Option<String>,
    /// Read the password from standard input
    #[arg(long, conflicts_with = "password")]
    pub(crate) password_stdin: bool,
    /// The registry's host
    #[arg(value_name = "SERVER")]
    pub(crate) server: String,
}

#[derive(Debug, Args)]
pub(crate) struct LogoutArgs {}

#[derive(Debug, Args)]
pub(crate) struct DeployArgs {
    #[command(flatten)]
    pub(crate) from: FromArgs,
    #[command(flatten)]
    pub(crate) bindle: bindle::BindleSourceArgs,
    #[command(flatten)]
    pub(crate) server: ServerUrlArgs,
    /// Build it first
    #[arg(long, env = "SPIN_ALWAYS_BUILD", hide_env = true, value_parser = clap::builder::BoolishValueParser::new())]
    pub(crate) build: bool,
    /// Set a variable of the application
    #[arg(long = "variable", value_name = "NAME=VALUE", value_parser = key_value)]
    pub(crate) variables: Vec<(String, String)>,
    /// How long to wait for the application to become ready, in seconds
    #[arg(long, default_value = "120", value_parser = seconds, value_name = "SECONDS")]
    pub(crate) readiness_timeout: Duration,
    #[command(flatten)]
    pub(crate) format: FormatArgs,
}

#[derive(Debug, Args)]
pub(crate) struct AppsArgs {
    #[command(subcommand)]
    pub(crate) command: AppsCommand,
}

#[derive(Debug, Subcommand)]
pub(crate) enum AppsCommand {
    /// List them
    List {
        #[command(flatten)]
        server: ServerUrlArgs,
        #[command(flatten)]
        format: FormatArgs,
    },
    /// Show one
    Info {
        /// The application
        app: String,
        #[command(flatten)]
        server: ServerUrlArgs,
        #[command(flatten)]
        format: FormatArgs,
    },
    /// Delete one
    Delete {
        /// The application
        app: String,
        /// Do not ask
        #[arg(short, long)]
        yes: bool,
        #[command(flatten)]
        server: ServerUrlArgs,
    },
}

#[derive(Debug, Args)]
pub(crate) struct RevisionsArgs {
    #[command(subcommand)]
    pub(crate) command: RevisionsCommand,
}

#[derive(Debug, Subcommand)]
pub(crate) enum RevisionsCommand {
    /// List them, the newest first
    List {
        /// The application
        app: String,
        #[command(flatten)]
        server: ServerUrlArgs,
        #[command(flatten)]
        format: FormatArgs,
    },
}

#[derive(Debug, Args)]
pub(crate) struct RollbackArgs {
    /// The application
    pub(crate) app: String,
    /// The revision: its digest's first digits, or its version [default: the one before the current]
    pub(crate) revision: Option<String>,
    #[command(flatten)]
    pub(crate) server: ServerUrlArgs,
    /// How long to wait for it to become ready, in seconds
    #[arg(long, default_value = "120", value_parser = seconds, value_name = "SECONDS")]
    pub(crate) readiness_timeout: Duration,
    #[command(flatten)]
    pub(crate) format: FormatArgs,
}

#[derive(Debug, Args)]
pub(crate) struct LogsArgs {
    /// The application
    pub(crate) app: String,
    #[command(flatten)]
    pub(crate) server: ServerUrlArgs,
    /// Go on showing what is written
    #[arg(long)]
    pub(crate) follow: bool,
    /// How many lines to begin with
    #[arg(long, default_value = "10")]
    pub(crate) tail: u32,
    /// Only lines of this last while (10s, 5m, 2h, 7d)
    #[arg(long, default_value = "7d", value_parser = duration)]
    pub(crate) since: Duration,
    /// Show when each line was written
    #[arg(long, default_value_t = true, action = clap::ArgAction::Set)]
    pub(crate) show_timestamps: bool,
    #[command(flatten)]
    pub(crate) format: FormatArgs,
}

#[derive(Debug, Args)]
pub(crate) struct VariablesArgs {
    #[command(subcommand)]
    pub(crate) command: VariablesCommand,
}

#[derive(Debug, Subcommand)]
pub(crate) enum VariablesCommand {
    /// List their names
    List {
        /// The application
        #[arg(long)]
        app: String,
        #[command(flatten)]
        server: ServerUrlArgs,
        #[command(flatten)]
        format: FormatArgs,
    },
    /// Set some
    Set {
        /// The application
        #[arg(long)]
        app: String,
        /// The values
        #[arg(required = true, value_name = "NAME=VALUE", value_parser = key_value)]
        values: Vec<(String, String)>,
        #[command(flatten)]
        server: ServerUrlArgs,
    },
    /// Delete some
    Delete {
        /// The application
        #[arg(long)]
        app: String,
        /// Their names
        #[arg(required = true)]
        names: Vec<String>,
        #[command(flatten)]
        server: ServerUrlArgs,
    },
}

#[derive(Debug, Args)]
pub(crate) struct CompileComponentArgs {
    /// Known to the runtime alone.
    #[arg(trailing_var_arg = true, allow_hyphen_values = true)]
    pub(crate) args: Vec<String>,
}

/// How data is printed.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, ValueEnum)]
pub(crate) enum Format {
    /// For people
    #[default]
    Plain,
    /// For programs
    Json,
}

#[derive(Debug, Clone, Copy, Args)]
pub(crate) struct FormatArgs {
    /// How the result is printed
    #[arg(long, default_value = "plain")]
    pub(crate) format: Format,
    /// Short for --format json
    #[arg(long)]
    pub(crate) json: bool,
}

impl FormatArgs {
    /// Whether JSON was asked for.
    pub(crate) fn is_json(self) -> bool {
        self.json || self.format == Format::Json
    }
}

fn key_value(text: &str) -> Result<(String, String), String> {
    match text.split_once('=') {
        Some((key, value)) if !key.is_empty() => Ok((key.to_owned(), value.to_owned())),
        _ => Err("expected NAME=VALUE".to_owned()),
    }
}

fn seconds(text: &str) -> Result<Duration, String> {
    text.parse().map(Duration::from_secs).map_err(|_| "expected a number of seconds".to_owned())
}

fn duration(text: &str) -> Result<Duration, String> {
    let wrong = || "expected a number and one of s, m, h, d".to_owned();
    let split = text.len().saturating_sub(1);
    let (number, unit) = text.split_at_checked(split).ok_or_else(wrong)?;
    let number: u64 = number.parse().map_err(|_| wrong())?;
    let unit = match unit {
        "s" => 1,
        "m" => 60,
        "h" => 3600,
        "d" => 86400,
        _ => return Err(wrong()),
    };
    number.checked_mul(unit).map(Duration::from_secs).ok_or_else(wrong)
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory;

    use super::*;

    #[test]
    fn the_tree_of_verbs_is_sound() {
        Cli::command().debug_assert();
    }

    #[test]
    fn durations_have_a_unit() {
        assert_eq!(duration("7d"), Ok(Duration::from_secs(7 * 86400)));
        assert!(duration("7").is_err() && duration("").is_err() && duration("xs").is_err());
        assert!(duration("é").is_err() && duration("99999999999999999999d").is_err());
    }

    #[test]
    fn a_value_may_contain_equals_signs() {
        assert_eq!(key_value("a=b=c"), Ok(("a".to_owned(), "b=c".to_owned())));
        assert!(key_value("=b").is_err() && key_value("a").is_err());
    }
}
