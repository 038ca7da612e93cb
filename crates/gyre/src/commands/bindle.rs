//! `gyre bindle`: what the `bindle` client does, against any Bindle server.

pub(crate) mod application;

use std::{
    io::Read as _,
    path::{Path, PathBuf},
    process::ExitCode,
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use anyhow::{Context as _, Result, bail};
use gyre_model::{Digest, Secret};
use gyre_package::{
    bindle::{
        BindleId, Invoice, Label, Role, SecretKey,
        client::{Client, ClientError, Credentials},
        keys::{Keyring, PublicKey, SecretKeys},
        login::{Login, Poll},
        media_type,
        search::{Matches, Query},
        standalone::{Standalone, Writer},
    },
    limits,
};

use super::{DONE, Hinted, runtime};
use crate::{
    cli::bindle::{
        BindleArgs, BindleCommand, BindleFormat, BindleGetArgs, BindleKeysAddArgs,
        BindleKeysCommand, BindleKeysCreateArgs, BindleKeysFetchArgs, BindleKeysPrintArgs,
        BindleLabelArgs, BindleListFormat, BindlePackageArgs, BindleSearchArgs, BindleServerArgs,
        BindleSignArgs,
    },
    config, printer,
};

/// Where a Bindle server is if nothing else is said.
const DEFAULT_SERVER: &str = "http://localhost:8080/v1/";

/// Where a login is kept, beside the keys, as the `bindle` client does.
const TOKEN_FILE: &str = ".token";

/// What to do about signatures that are not good enough.
const NOT_BELIEVED: &str = "believe the server's keys with `gyre bindle keys fetch`, or a signer's with `gyre bindle keys add`; \
     --strategy (of up and deploy: --bindle-strategy) asks for other signatures, --unverified (--bindle-unverified) for none";

/// `gyre bindle`.
pub(crate) fn run(args: BindleArgs) -> Result<ExitCode> {
    let BindleArgs { server, command } = args;
    match command {
        BindleCommand::GenerateLabel(args) => {
            printer::data(toml::to_string(&label(&args)?)?.trim_end());
        }
        BindleCommand::SignInvoice(args) => sign(&args)?,
        BindleCommand::Package(args) => package(&args)?,
        BindleCommand::Prepare(args) => {
            runtime()?.block_on(application::prepare(args, server.insecure))?;
        }
        BindleCommand::Keys(args) => match args.command {
            BindleKeysCommand::Create(args) => create_key(&server, args)?,
            BindleKeysCommand::Add(args) => add_key(&server, args)?,
            BindleKeysCommand::Print(args) => print_keys(&args)?,
            BindleKeysCommand::Fetch(args) => runtime()?.block_on(fetch_keys(&server, args))?,
        },
        remote => runtime()?.block_on(with_server(&server, remote))?,
    }
    DONE
}

async fn with_server(args: &BindleServerArgs, command: BindleCommand) -> Result<()> {
    if let BindleCommand::Login(login) = command {
        return sign_in(args, &login.provider).await;
    }
    let client = client(args).await?;
    match command {
        BindleCommand::Info(info) => {
            let invoice = fetch(args, &client, &info.bindle.id, info.yanked).await?;
            match info.output_format {
                BindleFormat::Json => printer::json(&invoice)?,
                BindleFormat::Toml => printer::data(invoice.to_toml().trim_end()),
            }
        }
        BindleCommand::Push(push) => match push.bindle {
            Some(id) => {
                let path = push.path.unwrap_or_else(|| ".".into());
                let (place, wanted) = (path.clone(), id.clone());
                let open = move || Standalone::open(&place, Some(&wanted));
                let bindle = tokio::task::spawn_blocking(open).await??;
                let found = bindle.invoice().id()?;
                if found != id {
                    bail!("{} has the bindle {found}, not {id}", path.display());
                }
                send(&client, &bindle).await?;
                printer::data(format_args!("Pushed bindle {id}"));
            }
            None => application::push(args, &client, push).await?,
        },
        BindleCommand::PushInvoice(push) => {
            let invoice = read_invoice(&push.file)?;
            let created = client.create(&invoice).await.context("cannot push the invoice")?;
            printer::data(format_args!("Invoice {} created", created.invoice.id()?));
            for label in created.missing {
                printer::note(format_args!(
                    "still to be sent: {} ({})",
                    printer::inert(&label.name),
                    label.sha256
                ));
            }
        }
        BindleCommand::PushFile(push) => {
            let label = label(&push.label)?;
            let id = &push.bindle.id;
            let sent = client.send_parcel(id, &label, &push.label.file).await;
            sent.with_context(|| format!("cannot push {}", push.label.file.display()))?;
            printer::data(format_args!("File pushed to {id} as parcel {}", label.sha256));
        }
        BindleCommand::Get(get) => pull(args, &client, get).await?,
        BindleCommand::GetInvoice(get) => {
            let invoice = fetch(args, &client, &get.bindle.id, get.yanked).await?;
            fs_err::write(&get.output, invoice.to_toml())?;
            printer::data(format_args!("Wrote the invoice to {}", get.output.display()));
        }
        BindleCommand::GetParcel(get) => {
            let invoice = fetch(args, &client, &get.bindle.id, false).await?;
            let Some(label) = invoice.label(&get.sha256) else {
                bail!("{} lists no parcel {}", get.bindle.id, printer::inert(&get.sha256));
            };
            let folder = get.output.parent().filter(|folder| !folder.as_os_str().is_empty());
            let folder = folder.unwrap_or(Path::new("."));
            let file = tempfile::NamedTempFile::new_in(folder)?;
            client.download(&get.bindle.id, label, file.path()).await?;
            let found = digest_of(file.path())?;
            if Some(found.0) != label.digest() || found.1 != label.size {
                bail!("what the server sent is not the parcel {}: nothing was written", get.sha256);
            }
            file.persist(&get.output)?;
            printer::data(format_args!("Wrote the parcel to {}", get.output.display()));
        }
        BindleCommand::Yank(yank) => {
            client.yank(&yank.id).await.context("cannot yank the bindle")?;
            printer::data(format_args!("Bindle {} yanked", yank.id));
        }
        BindleCommand::Search(search) => {
            let format = search.format;
            let matches = client.search(&query(search)).await.context("cannot search")?;
            print_matches(&matches, format)?;
        }
        BindleCommand::GenerateLabel(_)
        | BindleCommand::SignInvoice(_)
        | BindleCommand::Package(_)
        | BindleCommand::Prepare(_)
        | BindleCommand::Keys(_)
        | BindleCommand::Login(_) => unreachable!("they have been done"),
    }
    Ok(())
}

/// Sends a bindle, and says what of it is not sent.
async fn send(client: &Client, bindle: &Standalone) -> Result<()> {
    let sizes = bindle.invoice().parcel.iter().map(|parcel| parcel.label.size);
    let bar = printer::progress(sizes.sum(), "Pushing");
    let absent = client.push(bindle, |label| bar.inc(label.size)).await;
    bar.finish_and_clear();
    let id = bindle.invoice().id()?;
    for label in absent.with_context(|| format!("cannot push {id}"))? {
        let name = printer::inert(&label.name);
        printer::warning(format_args!(
            "the server lacks the parcel {name} ({}), and so does {}",
            label.sha256,
            bindle.folder().display()
        ));
    }
    Ok(())
}

async fn client(args: &BindleServerArgs) -> Result<Client> {
    let kept = if args.server.is_none() { config::load()? } else { None };
    // The names of these variables in Spin; those of the `bindle` client are the flags' own.
    let user = args.http_user.clone().or_else(|| std::env::var("BINDLE_USERNAME").ok());
    let password = args.http_password.clone().or_else(|| std::env::var("BINDLE_PASSWORD").ok());
    let given = match (user, password, &args.token_file) {
        (Some(user), Some(password), _) => {
            Credentials::Password { user, password: password.into() }
        }
        (_, _, Some(file)) => {
            let text = fs_err::read_to_string(file)?;
            Credentials::Token(match Login::from_toml(&text) {
                Some(login) => in_time(login, file, args.insecure).await?,
                None => text.trim().to_owned().into(),
            })
        }
        _ => Credentials::None,
    };
    if let (Some(kept), Credentials::None) = (kept, &given) {
        let address = format!("{}/api/registry/", kept.url.trim_end_matches('/'));
        return Ok(Client::new(&address, Credentials::Token(kept.token.into()), args.insecure)?);
    }
    let client = Client::new(address(args), given.clone(), args.insecure)?;
    // What `login` keeps is shown to no other server than the one that it is of.
    let file = folder()?.join(TOKEN_FILE);
    if matches!(given, Credentials::None)
        && file.is_file()
        && let Some(login) = Login::from_toml(&fs_err::read_to_string(&file)?)
        && login.is_of(client.address())
    {
        let token = in_time(login, &file, args.insecure).await?;
        return Ok(client.with_credentials(Credentials::Token(token)));
    }
    Ok(client)
}

fn address(args: &BindleServerArgs) -> &str {
    args.server.as_deref().unwrap_or(DEFAULT_SERVER)
}

/// The token of a login, which is renewed if it is about to end.
async fn in_time(login: Login, file: &Path, is_insecure: bool) -> Result<Secret<String>> {
    if !login.is_ending(now()) {
        return Ok(login.token());
    }
    let again = || Hinted("sign in again with `gyre bindle login`".to_owned());
    let login = login.renewed(is_insecure).await.with_context(again)?;
    login.write(file)?;
    Ok(login.token())
}

/// `gyre bindle login`.
async fn sign_in(args: &BindleServerArgs, provider: &str) -> Result<()> {
    let client = Client::new(address(args), Credentials::None, args.insecure)?;
    let pending = client.begin_login(provider).await.context("cannot sign in")?;
    printer::data(format_args!(
        "Open this URL in your browser:\n{}\nand then enter the code when prompted: {}",
        printer::inert(&pending.verification_uri),
        printer::inert(&pending.user_code)
    ));
    let mut interval = pending.interval();
    let end = tokio::time::Instant::now() + pending.life();
    while tokio::time::Instant::now() < end {
        tokio::time::sleep(interval).await;
        match client.poll_login(&pending).await? {
            Poll::Pending => {}
            Poll::SlowDown => interval += Duration::from_secs(5),
            Poll::Approved(login) => {
                let file = match &args.token_file {
                    Some(file) => file.clone(),
                    None => folder()?.join(TOKEN_FILE),
                };
                login.write(&file)?;
                printer::data("Login successful");
                return Ok(());
            }
        }
    }
    bail!("the code has expired; `gyre bindle login` gives a new one");
}

/// An invoice that is believed.
async fn fetch(
    args: &BindleServerArgs,
    client: &Client,
    id: &BindleId,
    with_yanked: bool,
) -> Result<Invoice> {
    let invoice = client.invoice(id, with_yanked).await?;
    if invoice.id()? != *id {
        bail!("the server answered the invoice of another bindle than {id}");
    }
    if !args.unverified {
        let keyring = Keyring::read(&keyring_path(args)?)?;
        args.strategy
            .verify(&invoice, &keyring)
            .with_context(|| format!("{id} is not believed"))
            .context(Hinted(NOT_BELIEVED.to_owned()))?;
    }
    Ok(invoice)
}

async fn pull(args: &BindleServerArgs, client: &Client, get: BindleGetArgs) -> Result<()> {
    let invoice = fetch(args, client, &get.bindle.id, get.yanked).await?;
    let sizes = invoice.parcel.iter().map(|parcel| parcel.label.size);
    let bar = printer::progress(sizes.sum(), "Fetching");
    let pulled = client.pull(invoice, &get.export, |label| bar.inc(label.size)).await;
    bar.finish_and_clear();
    let pulled = pulled.with_context(|| format!("cannot get {}", get.bindle.id))?;
    printer::data(format_args!("Wrote the bindle to {}", pulled.folder().display()));
    Ok(())
}

fn query(args: BindleSearchArgs) -> Query {
    Query {
        term: args.query,
        version: args.bindle_version,
        offset: args.offset,
        limit: args.limit,
        strict: args.strict,
        yanked: args.yanked,
    }
}

fn print_matches(matches: &Matches, format: BindleListFormat) -> Result<()> {
    match format {
        BindleListFormat::Json => printer::json(matches)?,
        BindleListFormat::Toml => printer::data(toml::to_string(matches)?.trim_end()),
        BindleListFormat::Table => {
            for invoice in &matches.invoices {
                let yanked = if invoice.yanked { " (yanked)" } else { "" };
                let about = invoice.bindle.description.as_deref().unwrap_or_default();
                let line = format!(
                    "{}/{}{yanked}\t{}",
                    printer::inert(&invoice.bindle.name),
                    invoice.bindle.version,
                    printer::inert(about)
                );
                printer::data(line.trim_end());
            }
            if matches.more {
                let shown = matches.offset + matches.invoices.len() as u64;
                printer::note(format_args!(
                    "{} in all; the next begin at --offset {shown}",
                    matches.total
                ));
            }
        }
    }
    Ok(())
}

fn label(args: &BindleLabelArgs) -> Result<Label> {
    let (digest, size) = digest_of(&args.file)?;
    let file_name = || {
        let name = args.file.file_name()?.to_str()?;
        Some(name.to_owned())
    };
    let Some(name) = args.name.clone().or_else(file_name) else {
        bail!("{} has no name that is text; give one with --name", args.file.display());
    };
    let media_type = args.media_type.clone().unwrap_or_else(|| media_type(&args.file).to_owned());
    Ok(Label {
        sha256: digest.hex(),
        media_type,
        name,
        size,
        annotations: std::collections::BTreeMap::new(),
        feature: std::collections::BTreeMap::new(),
        origin: None,
    })
}

fn digest_of(path: &Path) -> Result<(Digest, u64)> {
    let mut file = fs_err::File::open(path)?;
    let mut hasher = gyre_model::Hasher::new();
    let mut buffer = vec![0; 128 << 10];
    let mut size = 0;
    loop {
        match file.read(&mut buffer)? {
            0 => return Ok((hasher.finish(), size)),
            n => {
                hasher.update(&buffer[..n]);
                size += n as u64;
            }
        }
    }
}

fn read_invoice(path: &Path) -> Result<Invoice> {
    let size = fs_err::metadata(path)?.len();
    if size > limits::INVOICE_BYTES {
        bail!("{} has more than {} bytes", path.display(), limits::INVOICE_BYTES);
    }
    let text = fs_err::read_to_string(path)?;
    Invoice::from_toml(&text).with_context(|| format!("cannot read {}", path.display()))
}

fn sign(args: &BindleSignArgs) -> Result<()> {
    let mut invoice = read_invoice(&args.file)?;
    let (label, is_part) = match (&args.label, &args.label_matching) {
        (Some(label), _) => (Some(label.as_str()), false),
        (None, Some(part)) => (Some(part.as_str()), true),
        (None, None) => (None, false),
    };
    let key = secret_key(args.secrets_file.as_deref(), args.role, label, is_part)?;
    invoice.sign(&key, args.role, now())?;
    fs_err::write(&args.out, invoice.to_toml())?;
    printer::data(format_args!(
        "Signed {} with role as '{}', label as '{}' and wrote to {}",
        args.file.display(),
        args.role.as_str(),
        printer::inert(&key.label),
        args.out.display()
    ));
    Ok(())
}

/// The key to sign with in that role: that with the label, or with it in its label, or the first.
fn secret_key(
    file: Option<&Path>,
    role: Role,
    label: Option<&str>,
    is_part: bool,
) -> Result<SecretKey> {
    let path = secrets_path(file)?;
    let keys = SecretKeys::read(&path)?;
    keys.find(role, label, is_part).cloned().with_context(|| {
        format!(
            "{} has no such key for the role {}; `gyre bindle keys create` makes one",
            path.display(),
            role.as_str()
        )
    })
}

fn now() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_secs()
}

fn package(args: &BindlePackageArgs) -> Result<()> {
    let invoice = read_invoice(&args.file)?;
    let labels: Vec<_> = invoice.parcel.iter().map(|parcel| parcel.label.clone()).collect();
    let folder = tempfile::Builder::new().prefix("bindle-").tempdir()?;
    let writer = Writer::new(folder.path(), invoice)?;
    for label in &labels {
        let Some(digest) = label.digest() else {
            bail!("the parcel {} has no digest", printer::inert(&label.name));
        };
        let path = args.path.join(format!("{}.dat", digest.hex()));
        if path.is_file() {
            writer.add(label, &mut fs_err::File::open(path)?)?;
        } else {
            printer::warning(format_args!(
                "the parcel {} ({}) is not at hand and is left out",
                printer::inert(&label.name),
                label.sha256
            ));
        }
    }
    let archive = writer.finish()?.archive(&args.export_dir)?;
    printer::data(format_args!("Wrote the bindle to {}", archive.display()));
    Ok(())
}

fn create_key(server: &BindleServerArgs, args: BindleKeysCreateArgs) -> Result<()> {
    let path = secrets_path(args.secrets_file.as_deref())?;
    let mut keys = SecretKeys::read(&path)?;
    let key = SecretKey::generate(args.label, args.roles)?;
    let public = PublicKey::of(&key);
    keys.keys.push(key);
    keys.write(&path)?;
    printer::note(format_args!("Wrote the key to {}", path.display()));
    if !args.skip_keyring {
        believe(server, vec![public.clone()])?;
    }
    printer::data(toml::to_string(&public)?.trim_end());
    Ok(())
}

fn add_key(server: &BindleServerArgs, args: BindleKeysAddArgs) -> Result<()> {
    let BindleKeysAddArgs { label, roles, key } = args;
    let key = PublicKey { label, roles, key, label_signature: None };
    // As it would be read again.
    let ring = Keyring { keys: vec![key] };
    believe(server, Keyring::from_toml(&ring.to_toml())?.keys)
}

fn print_keys(args: &BindleKeysPrintArgs) -> Result<()> {
    let keys = SecretKeys::read(&secrets_path(args.secrets_file.as_deref())?)?;
    let part = args.label_matching.as_deref().unwrap_or_default();
    let keys = keys.keys.iter().filter(|key| key.label.contains(part)).map(PublicKey::of);
    printer::data(Keyring { keys: keys.collect() }.to_toml().trim_end());
    Ok(())
}

async fn fetch_keys(server: &BindleServerArgs, args: BindleKeysFetchArgs) -> Result<()> {
    let client = match &args.key_server {
        Some(address) => Client::new(address, Credentials::None, server.insecure)?,
        None => client(server).await?,
    };
    let keys = client.keys().await.map_err(|error| match error {
        ClientError::NotFound(_) => anyhow::anyhow!("{} gives out no keys", client.address()),
        other => other.into(),
    })?;
    // What another says about a key's roles is not believed: only that it is the host's.
    let host = |key: PublicKey| PublicKey { roles: vec![Role::Host], ..key };
    believe(server, keys.keys.into_iter().map(host).collect())
}

fn believe(server: &BindleServerArgs, keys: Vec<PublicKey>) -> Result<()> {
    let path = keyring_path(server)?;
    let mut keyring = Keyring::read(&path)?;
    let mut added = 0;
    for key in keys {
        let label = printer::inert(&key.label);
        if keyring.add(key) {
            added += 1;
            printer::note(format_args!("Added the key of {label} to {}", path.display()));
        }
    }
    if added > 0 {
        keyring.write(&path)?;
    } else {
        printer::note(format_args!("{} had it already", path.display()));
    }
    Ok(())
}

fn keyring_path(args: &BindleServerArgs) -> Result<PathBuf> {
    match &args.keyring {
        Some(path) => Ok(path.clone()),
        None => Ok(folder()?.join("keyring.toml")),
    }
}

fn secrets_path(given: Option<&Path>) -> Result<PathBuf> {
    match given {
        Some(path) => Ok(path.to_owned()),
        None => Ok(folder()?.join("secret_keys.toml")),
    }
}

/// Where the `bindle` client has its files, too.
fn folder() -> Result<PathBuf> {
    Ok(config::config_folder()?.with_file_name("bindle"))
}
