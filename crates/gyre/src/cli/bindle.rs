//! The verbs and flags of `gyre bindle`: those of the `bindle` client.

use std::path::PathBuf;

use clap::{Args, Subcommand, ValueEnum};
use gyre_package::bindle::{BindleId, Role, Strategy};
use semver::BuildMetadata;

/// `gyre bindle`.
#[derive(Debug, Args)]
pub(crate) struct BindleArgs {
    #[command(flatten)]
    pub(crate) server: BindleServerArgs,
    #[command(subcommand)]
    pub(crate) command: BindleCommand,
}

/// Which server, as whom, and whom to believe.
#[derive(Debug, Clone, PartialEq, Eq, Args)]
pub(crate) struct BindleServerArgs {
    /// The server [default: the one you are signed in to, or http://localhost:8080/v1/]
    #[arg(
        short,
        long,
        alias = "bindle-server",
        value_name = "URL",
        env = "BINDLE_URL",
        hide_env = true,
        global = true
    )]
    pub(crate) server: Option<String>,
    /// The keys whose signatures are believed [default: bindle/keyring.toml of your configuration]
    #[arg(
        short = 'r',
        long,
        value_name = "FILE",
        env = "BINDLE_KEYRING",
        hide_env = true,
        global = true
    )]
    pub(crate) keyring: Option<PathBuf>,
    /// The file with the access token
    #[arg(
        short,
        long,
        value_name = "FILE",
        env = "BINDLE_TOKEN_FILE",
        hide_env = true,
        global = true
    )]
    pub(crate) token_file: Option<PathBuf>,
    /// The user's name
    #[arg(
        long,
        alias = "bindle-username",
        value_name = "NAME",
        env = "BINDLE_HTTP_USER",
        hide_env = true,
        global = true,
        requires = "http_password"
    )]
    pub(crate) http_user: Option<String>,
    /// The user's password
    #[arg(
        long,
        alias = "bindle-password",
        value_name = "PASSWORD",
        env = "BINDLE_HTTP_PASSWORD",
        hide_env = true,
        hide_env_values = true,
        global = true,
        requires = "http_user"
    )]
    pub(crate) http_password: Option<String>,
    /// Believe a server without a valid certificate
    #[arg(short = 'k', long, global = true)]
    pub(crate) insecure: bool,
    /// What must be true of the signatures of what is fetched
    #[arg(long, global = true, default_value = "MultipleAttestationGreedy[Host]")]
    pub(crate) strategy: Strategy,
    /// Take what is fetched whoever signed it
    #[arg(long, global = true, conflicts_with = "strategy")]
    pub(crate) unverified: bool,
}

/// A bindle that is an application, for the verbs that take one.
#[derive(Debug, Args)]
pub(crate) struct BindleSourceArgs {
    /// The application: a bindle (NAME/VERSION) on a Bindle server
    #[arg(
        short = 'b',
        long,
        value_name = "BINDLE",
        conflicts_with_all = ["from", "from_registry", "profile"]
    )]
    pub(crate) bindle: Option<BindleId>,
    /// That server [default: the one you are signed in to, or http://localhost:8080/v1/]
    #[arg(long, value_name = "URL", env = "BINDLE_URL", hide_env = true)]
    pub(crate) bindle_server: Option<String>,
    /// The user's name there
    #[arg(long, value_name = "NAME", env = "BINDLE_USERNAME", hide_env = true)]
    pub(crate) bindle_username: Option<String>,
    /// The user's password there
    #[arg(
        long,
        value_name = "PASSWORD",
        env = "BINDLE_PASSWORD",
        hide_env = true,
        hide_env_values = true
    )]
    pub(crate) bindle_password: Option<String>,
    /// The file with the access token there
    #[arg(long, value_name = "FILE", env = "BINDLE_TOKEN_FILE", hide_env = true)]
    pub(crate) bindle_token_file: Option<PathBuf>,
    /// The keys whose signatures are believed [default: bindle/keyring.toml of your configuration]
    #[arg(long, value_name = "FILE", env = "BINDLE_KEYRING", hide_env = true)]
    pub(crate) bindle_keyring: Option<PathBuf>,
    /// What must be true of the bindle's signatures
    #[arg(long, value_name = "STRATEGY", default_value = "MultipleAttestationGreedy[Host]")]
    pub(crate) bindle_strategy: Strategy,
    /// Take the bindle whoever signed it
    #[arg(long, conflicts_with = "bindle_strategy")]
    pub(crate) bindle_unverified: bool,
}

impl BindleSourceArgs {
    /// The bindle, and how to get it.
    pub(crate) fn source(&self, insecure: bool) -> Option<(BindleId, BindleServerArgs)> {
        let server = BindleServerArgs {
            server: self.bindle_server.clone(),
            keyring: self.bindle_keyring.clone(),
            token_file: self.bindle_token_file.clone(),
            http_user: self.bindle_username.clone(),
            http_password: self.bindle_password.clone(),
            insecure,
            strategy: self.bindle_strategy.clone(),
            unverified: self.bindle_unverified,
        };
        Some((self.bindle.clone()?, server))
    }
}

#[derive(Debug, Subcommand)]
pub(crate) enum BindleCommand {
    /// Show a bindle's invoice
    Info(BindleInfoArgs),
    /// Make a bindle of an application
    Prepare(BindlePrepareArgs),
    /// Send a bindle: an application, or one that is on its own
    Push(BindlePushArgs),
    /// Send an invoice alone
    PushInvoice(BindleFileArgs),
    /// Send a file as a parcel of a bindle
    PushFile(BindlePushFileArgs),
    /// Fetch a bindle with its parcels
    Get(BindleGetArgs),
    /// Fetch an invoice
    GetInvoice(BindleGetInvoiceArgs),
    /// Fetch a parcel
    GetParcel(BindleGetParcelArgs),
    /// Say that nobody should use a bindle any more
    Yank(BindleIdArgs),
    /// Search for bindles
    Search(BindleSearchArgs),
    /// Print the label of a file
    GenerateLabel(BindleLabelArgs),
    /// Sign an invoice
    SignInvoice(BindleSignArgs),
    /// Pack an invoice and its parcels into an archive
    Package(BindlePackageArgs),
    /// Keys to sign with, and keys to believe
    Keys(BindleKeysArgs),
    /// Sign in to a server by a code
    Login(BindleLoginArgs),
}

#[derive(Debug, Args)]
pub(crate) struct BindleIdArgs {
    /// The bindle: NAME/VERSION
    #[arg(value_name = "BINDLE")]
    pub(crate) id: BindleId,
}

#[derive(Debug, Args)]
pub(crate) struct BindleInfoArgs {
    #[command(flatten)]
    pub(crate) bindle: BindleIdArgs,
    /// Even if it is yanked
    #[arg(short, long)]
    pub(crate) yanked: bool,
    /// In which language
    #[arg(short = 'f', long, value_enum, default_value_t = BindleFormat::Toml)]
    pub(crate) output_format: BindleFormat,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum BindleFormat {
    Json,
    Toml,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum BindleListFormat {
    Json,
    Toml,
    Table,
}

/// An application that becomes a bindle.
#[derive(Debug, Args)]
pub(crate) struct BindleApplicationArgs {
    /// The application: a spin.toml, or a folder that has one
    #[arg(short = 'f', long = "file", alias = "from", value_name = "APP")]
    pub(crate) from: Option<PathBuf>,
    /// The application: a reference to an artifact in an OCI registry
    #[arg(long, value_name = "REF", conflicts_with = "from")]
    pub(crate) from_registry: Option<String>,
    /// The build profile
    #[arg(long)]
    pub(crate) profile: Option<String>,
    /// Build metadata for the bindle's version
    #[arg(long, value_parser = build_metadata)]
    pub(crate) buildinfo: Option<BuildMetadata>,
    /// Sign it as its creator
    #[arg(long)]
    pub(crate) sign: bool,
    /// The keys to sign with [default: bindle/secret_keys.toml of your configuration]
    #[arg(long, value_name = "FILE", requires = "sign")]
    pub(crate) secrets_file: Option<PathBuf>,
    /// The label of the key
    #[arg(short, long, requires = "sign")]
    pub(crate) label: Option<String>,
}

fn build_metadata(text: &str) -> Result<BuildMetadata, semver::Error> {
    BuildMetadata::new(text)
}

#[derive(Debug, Args)]
pub(crate) struct BindlePrepareArgs {
    #[command(flatten)]
    pub(crate) application: BindleApplicationArgs,
    /// The folder that it is put into, in one of its own
    #[arg(short = 'd', long, value_name = "DIR")]
    pub(crate) staging_dir: PathBuf,
}

#[derive(Debug, Args)]
pub(crate) struct BindlePushArgs {
    /// The bindle that is on its own: NAME/VERSION [default: the application's, as `prepare` makes it]
    #[arg(
        value_name = "BINDLE",
        conflicts_with_all = ["from", "from_registry", "profile", "buildinfo", "sign", "staging_dir"]
    )]
    pub(crate) bindle: Option<BindleId>,
    /// The folder that it is in, or its archive [default: .]
    #[arg(short, long, requires = "bindle")]
    pub(crate) path: Option<PathBuf>,
    #[command(flatten)]
    pub(crate) application: BindleApplicationArgs,
    /// The folder that an application's bindle is put into first [default: a temporary one]
    #[arg(short = 'd', long, value_name = "DIR")]
    pub(crate) staging_dir: Option<PathBuf>,
}

#[derive(Debug, Args)]
pub(crate) struct BindleFileArgs {
    /// The invoice
    #[arg(value_name = "FILE")]
    pub(crate) file: PathBuf,
}

#[derive(Debug, Args)]
pub(crate) struct BindlePushFileArgs {
    #[command(flatten)]
    pub(crate) bindle: BindleIdArgs,
    #[command(flatten)]
    pub(crate) label: BindleLabelArgs,
}

#[derive(Debug, Args)]
pub(crate) struct BindleGetArgs {
    #[command(flatten)]
    pub(crate) bindle: BindleIdArgs,
    /// Even if it is yanked
    #[arg(short, long)]
    pub(crate) yanked: bool,
    /// Where to put it
    #[arg(short, long, value_name = "DIR", default_value = ".")]
    pub(crate) export: PathBuf,
}

#[derive(Debug, Args)]
pub(crate) struct BindleGetInvoiceArgs {
    #[command(flatten)]
    pub(crate) bindle: BindleIdArgs,
    /// Even if it is yanked
    #[arg(short, long)]
    pub(crate) yanked: bool,
    /// Where to put it
    #[arg(short, long, value_name = "FILE", default_value = "./invoice.toml")]
    pub(crate) output: PathBuf,
}

#[derive(Debug, Args)]
pub(crate) struct BindleGetParcelArgs {
    #[command(flatten)]
    pub(crate) bindle: BindleIdArgs,
    /// The parcel's SHA-256
    #[arg(value_name = "SHA256")]
    pub(crate) sha256: String,
    /// Where to put it
    #[arg(short, long, value_name = "FILE", default_value = "./parcel.dat")]
    pub(crate) output: PathBuf,
}

#[derive(Debug, Args)]
pub(crate) struct BindleSearchArgs {
    /// Words of the name
    #[arg(short, long, default_value = "")]
    pub(crate) query: String,
    /// A version, or a range of them
    #[arg(short, long, default_value = "")]
    pub(crate) bindle_version: String,
    /// How many to leave out first
    #[arg(long, default_value_t = 0)]
    pub(crate) offset: u64,
    /// How many at most
    #[arg(long, default_value_t = gyre_package::bindle::search::DEFAULT_LIMIT)]
    pub(crate) limit: u8,
    /// Only what has the words just so
    #[arg(long)]
    pub(crate) strict: bool,
    /// Yanked ones, too
    #[arg(long)]
    pub(crate) yanked: bool,
    /// In which language
    #[arg(short, long, value_enum, default_value_t = BindleListFormat::Table)]
    pub(crate) format: BindleListFormat,
}

#[derive(Debug, Args)]
pub(crate) struct BindleLabelArgs {
    /// The file
    #[arg(value_name = "FILE")]
    pub(crate) file: PathBuf,
    /// The parcel's name [default: the file's]
    #[arg(short, long)]
    pub(crate) name: Option<String>,
    /// The media type [default: by the file's name]
    #[arg(short, long)]
    pub(crate) media_type: Option<String>,
}

#[derive(Debug, Args)]
pub(crate) struct BindleSignArgs {
    /// The invoice
    #[arg(value_name = "FILE")]
    pub(crate) file: PathBuf,
    /// The keys to sign with [default: bindle/secret_keys.toml of your configuration]
    #[arg(short = 'f', long, value_name = "FILE")]
    pub(crate) secrets_file: Option<PathBuf>,
    /// creator, approver, host or proxy
    #[arg(long, default_value = "creator")]
    pub(crate) role: Role,
    /// The label of the key
    #[arg(short, long, conflicts_with = "label_matching")]
    pub(crate) label: Option<String>,
    /// A part of the label of the key
    #[arg(short = 'm', long)]
    pub(crate) label_matching: Option<String>,
    /// Where to put it
    #[arg(short, long, value_name = "FILE", default_value = "./invoice.toml")]
    pub(crate) out: PathBuf,
}

#[derive(Debug, Args)]
pub(crate) struct BindlePackageArgs {
    /// The invoice
    #[arg(value_name = "FILE")]
    pub(crate) file: PathBuf,
    /// The folder with its parcels, under their SHA-256 and .dat
    #[arg(short, long, default_value = "./parcels")]
    pub(crate) path: PathBuf,
    /// Where to put the archive
    #[arg(short, long, value_name = "DIR", default_value = ".")]
    pub(crate) export_dir: PathBuf,
}

#[derive(Debug, Args)]
pub(crate) struct BindleLoginArgs {
    /// Who says who you are, if the server leaves one the choice
    #[arg(default_value = "default")]
    pub(crate) provider: String,
}

#[derive(Debug, Args)]
pub(crate) struct BindleKeysArgs {
    #[command(subcommand)]
    pub(crate) command: BindleKeysCommand,
}

#[derive(Debug, Subcommand)]
pub(crate) enum BindleKeysCommand {
    /// Make a key to sign with
    Create(BindleKeysCreateArgs),
    /// Believe a key
    Add(BindleKeysAddArgs),
    /// Print the public halves of the keys to sign with
    Print(BindleKeysPrintArgs),
    /// Believe the keys of a server
    Fetch(BindleKeysFetchArgs),
}

#[derive(Debug, Args)]
pub(crate) struct BindleKeysCreateArgs {
    /// Whose it is: Name <mail>
    #[arg(value_name = "LABEL")]
    pub(crate) label: String,
    /// What it is for
    #[arg(long, value_delimiter = ',', default_value = "creator")]
    pub(crate) roles: Vec<Role>,
    /// The keys to sign with [default: bindle/secret_keys.toml of your configuration]
    #[arg(short = 'f', long, value_name = "FILE")]
    pub(crate) secrets_file: Option<PathBuf>,
    /// Do not believe it
    #[arg(long)]
    pub(crate) skip_keyring: bool,
}

#[derive(Debug, Args)]
pub(crate) struct BindleKeysAddArgs {
    /// Whose it is: Name <mail>
    #[arg(value_name = "LABEL")]
    pub(crate) label: String,
    /// What it is for
    #[arg(value_name = "ROLES", value_delimiter = ',', required = true, num_args = 1)]
    pub(crate) roles: Vec<Role>,
    /// The public key in Base64
    #[arg(value_name = "KEY")]
    pub(crate) key: String,
}

#[derive(Debug, Args)]
pub(crate) struct BindleKeysPrintArgs {
    /// The keys to sign with [default: bindle/secret_keys.toml of your configuration]
    #[arg(short = 'f', long, value_name = "FILE")]
    pub(crate) secrets_file: Option<PathBuf>,
    /// Only those with this in their label
    #[arg(short = 'm', long)]
    pub(crate) label_matching: Option<String>,
}

#[derive(Debug, Args)]
pub(crate) struct BindleKeysFetchArgs {
    /// Another server than that of --server
    #[arg(long, value_name = "URL")]
    pub(crate) key_server: Option<String>,
}
