//! Folders of the user, and the sign-in that client verbs use.

use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result, bail};
use gyre_package::registry::{CredentialStore, Packages};
use serde::{Deserialize, Serialize};

use crate::cli::ServerUrlArgs;

/// A sign-in, as it is kept in the user's configuration folder (mode 0600).
#[derive(Clone, Serialize, Deserialize)]
pub(crate) struct SignIn {
    /// The server.
    pub(crate) url: String,
    /// The access token.
    pub(crate) token: String,
    /// What renews it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) refresh_token: Option<String>,
    /// When it ends.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) expiration: Option<jiff::Timestamp>,
}

/// `$XDG_CONFIG_HOME/gyre`, `~/.config/gyre`.
pub(crate) fn config_folder() -> Result<PathBuf> {
    folder("XDG_CONFIG_HOME", ".config")
}

/// `$XDG_DATA_HOME/gyre`, `~/.local/share/gyre`.
pub(crate) fn data_folder() -> Result<PathBuf> {
    folder("XDG_DATA_HOME", ".local/share")
}

/// `$XDG_CACHE_HOME/gyre`, `~/.cache/gyre`.
pub(crate) fn cache_folder() -> Result<PathBuf> {
    folder("XDG_CACHE_HOME", ".cache")
}

fn folder(variable: &str, below_home: &str) -> Result<PathBuf> {
    if let Some(base) = std::env::var_os(variable).filter(|base| Path::new(base).is_absolute()) {
        return Ok(PathBuf::from(base).join("gyre"));
    }
    match std::env::var_os("HOME").filter(|home| !home.is_empty()) {
        Some(home) => Ok(PathBuf::from(home).join(below_home).join("gyre")),
        None => bail!("neither {variable} nor HOME is set: there is no place to keep files"),
    }
}

/// The user's credentials for registries: Spin's file and Docker's.
pub(crate) fn credentials() -> Result<CredentialStore> {
    let folder = config_folder()?;
    let spin = folder.with_file_name("fermyon").join("registry-auth.json");
    let docker = match std::env::var_os("DOCKER_CONFIG").filter(|path| !path.is_empty()) {
        Some(folder) => PathBuf::from(folder),
        None => PathBuf::from(std::env::var_os("HOME").unwrap_or_default()).join(".docker"),
    };
    Ok(CredentialStore::new(spin, docker.join("config.json")))
}

/// Where packages come from: `wasm-pkg/config.toml` in the user's configuration folder.
pub(crate) fn packages() -> Result<Packages> {
    let config = config_folder()?.with_file_name("wasm-pkg").join("config.toml");
    Ok(Packages::new(&config, credentials()?)?)
}

fn sign_in_path() -> Result<PathBuf> {
    Ok(config_folder()?.join("login.json"))
}

/// Keeps a sign-in.
pub(crate) fn save(sign_in: &SignIn) -> Result<()> {
    use std::io::Write as _;
    let path = sign_in_path()?;
    let folder = path.parent().expect("the path has a folder");
    fs_err::create_dir_all(folder)?;
    // Made with its mode, never open to others even for a moment, and put in place whole.
    let mut file = tempfile::NamedTempFile::new_in(folder)?;
    file.write_all(&serde_json::to_vec_pretty(sign_in)?)?;
    file.persist(&path).with_context(|| format!("cannot write {}", path.display()))?;
    Ok(())
}

/// The sign-in that is kept, if any.
pub(crate) fn load() -> Result<Option<SignIn>> {
    let path = sign_in_path()?;
    match fs_err::read(&path) {
        Ok(bytes) => serde_json::from_slice(&bytes)
            .map(Some)
            .with_context(|| format!("{} is damaged; `gyre login` writes it anew", path.display())),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(error.into()),
    }
}

/// Forgets the sign-in. Says whether there was one.
pub(crate) fn forget() -> Result<bool> {
    match fs_err::remove_file(sign_in_path()?) {
        Ok(()) => Ok(true),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(false),
        Err(error) => Err(error.into()),
    }
}

/// The server and token that a client verb is to use: flags and environment win over the sign-in.
pub(crate) fn resolve(args: &ServerUrlArgs) -> Result<SignIn> {
    let from_environment = |names: [&str; 2]| {
        names.iter().find_map(|name| std::env::var(name).ok().filter(|v| !v.is_empty()))
    };
    let url = args.url.clone().or_else(|| from_environment(["GYRE_URL", "CLOUD_URL"]));
    let token = args.token.clone().or_else(|| from_environment(["GYRE_TOKEN", "SPIN_AUTH_TOKEN"]));
    let kept = load()?;
    match (url, token, kept) {
        (url, Some(token), kept) => Ok(SignIn {
            url: url
                .or(kept.map(|kept| kept.url))
                .unwrap_or_else(|| "http://gyre.localhost:8000".to_owned()),
            token,
            refresh_token: None,
            expiration: None,
        }),
        // A token goes to the server that gave it, and to no other.
        (Some(url), None, Some(kept))
            if url.trim_end_matches('/') != kept.url.trim_end_matches('/') =>
        {
            bail!("you are signed in to {}, not to {url}; run `gyre login --url {url}`", kept.url)
        }
        (_, None, Some(kept)) => Ok(kept),
        (url, None, None) => {
            let url = url.map(|url| format!(" --url {url}")).unwrap_or_default();
            bail!("you are not signed in; run `gyre login{url}`")
        }
    }
}
