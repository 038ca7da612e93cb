//! The user's credentials for registries, where Spin and Docker keep them.
//!
//! Asked in this order: Spin's file (`<config>/fermyon/registry-auth.json`: `{"auths": {"server": base64(user:password)}}`),
//! Docker's (`config.json`: the helper that it names for the registry, its general helper, its own `auths`), nobody.
//! A helper is a program `docker-credential-<name>` that gets the registry on its standard input (Docker's
//! credential-helper protocol).

use std::{
    collections::BTreeMap,
    io::{self, Write as _},
    path::{Path, PathBuf},
    process::{Command, Stdio},
};

use base64::{Engine as _, engine::general_purpose::STANDARD};
use gyre_model::Secret;
use serde::{Deserialize, Serialize};

/// What Docker calls its own registry.
const DOCKER_HUB_KEY: &str = "https://index.docker.io/v1/";
/// The user's name that marks a password as an identity token.
const IDENTITY: &str = "<token>";
/// What a helper may answer at most, in bytes.
const HELPER_BYTES: usize = 64 << 10;

/// Who we are to a registry.
#[derive(Debug, Clone)]
pub enum Credentials {
    /// A name and a password.
    Password {
        /// The user's name.
        user: String,
        /// The password, or what stands for one.
        password: Secret<String>,
    },
    /// What the registry's token endpoint takes in place of a password (`refresh_token`).
    Identity(Secret<String>),
}

impl Credentials {
    /// Base64 of `user:password`.
    pub(super) fn decode(entry: &str) -> Option<Self> {
        let text = String::from_utf8(STANDARD.decode(entry).ok()?).ok()?;
        let (user, password) = text.split_once(':')?;
        Some(credentials(user.to_owned(), password.to_owned()))
    }
}

/// Why credentials cannot be read or kept.
#[derive(Debug, thiserror::Error)]
pub enum CredentialsError {
    /// A file that cannot be read or written.
    #[error(transparent)]
    Io(#[from] io::Error),
    /// A file that is not what it should be.
    #[error("{path:?} is not a valid file of credentials")]
    Malformed {
        /// The file.
        path: PathBuf,
        /// Where it is wrong.
        #[source]
        source: serde_json::Error,
    },
    /// An entry that is not base64 of `user:password`.
    #[error("the credentials for {registry} in {path:?} are malformed")]
    Entry {
        /// The file.
        path: PathBuf,
        /// The registry.
        registry: String,
    },
    /// A helper that does not run, or answers nonsense.
    #[error("the credential helper {program} failed: {reason}")]
    Helper {
        /// The program.
        program: String,
        /// What it said.
        reason: String,
    },
}

/// Where credentials are kept.
#[derive(Debug, Clone)]
pub struct CredentialStore {
    spin: PathBuf,
    docker: PathBuf,
}

#[derive(Default, Serialize, Deserialize)]
struct SpinFile {
    #[serde(default)]
    auths: BTreeMap<String, String>,
}

#[derive(Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct DockerFile {
    auths: BTreeMap<String, DockerEntry>,
    creds_store: Option<String>,
    cred_helpers: BTreeMap<String, String>,
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct DockerEntry {
    auth: String,
    username: String,
    password: String,
    identitytoken: String,
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct HelperAnswer {
    username: String,
    secret: String,
}

impl CredentialStore {
    /// Credentials in these two files, each of which may be missing: Spin's and Docker's.
    pub fn new(spin: impl Into<PathBuf>, docker: impl Into<PathBuf>) -> Self {
        Self { spin: spin.into(), docker: docker.into() }
    }

    /// The credentials for a registry (`HOST[:PORT]`); `None` if nobody has any.
    ///
    /// Blocks: it may run a program.
    ///
    /// # Errors
    /// A file or a helper that is there, but broken.
    pub fn find(&self, registry: &str) -> Result<Option<Credentials>, CredentialsError> {
        let spin: SpinFile = read(&self.spin)?.unwrap_or_default();
        if let Some(entry) = spin.auths.get(registry) {
            return decode(entry, &self.spin, registry).map(Some);
        }
        let Some(docker) = read::<DockerFile>(&self.docker)? else { return Ok(None) };
        let keys = keys(registry);
        let helper = keys.iter().find_map(|key| docker.cred_helpers.get(key));
        if let Some(helper) = helper.or(docker.creds_store.as_ref()).filter(|name| !name.is_empty())
        {
            for key in &keys {
                if let Some(found) = ask_helper(helper, key)? {
                    return Ok(Some(found));
                }
            }
        }
        let Some(entry) = keys.iter().find_map(|key| docker.auths.get(key)) else {
            return Ok(None);
        };
        if !entry.identitytoken.is_empty() {
            return Ok(Some(Credentials::Identity(entry.identitytoken.clone().into())));
        }
        if !entry.auth.is_empty() {
            return decode(&entry.auth, &self.docker, registry).map(Some);
        }
        Ok((!entry.username.is_empty())
            .then(|| credentials(entry.username.clone(), entry.password.clone())))
    }

    /// Keeps a name and a password for a registry in Spin's file, which only the user can read.
    ///
    /// # Errors
    /// The file cannot be written, or what is there is broken.
    pub fn save(
        &self,
        registry: &str,
        user: &str,
        password: &Secret<String>,
    ) -> Result<(), CredentialsError> {
        let mut file: SpinFile = read(&self.spin)?.unwrap_or_default();
        let entry = STANDARD.encode(format!("{user}:{}", password.expose()));
        file.auths.insert(registry.to_owned(), entry);
        let folder = self.spin.parent().unwrap_or(Path::new("."));
        fs_err::create_dir_all(folder)?;
        let mut temporary = tempfile::NamedTempFile::new_in(folder)?;
        let text = serde_json::to_vec_pretty(&file).expect("a table of texts serialises");
        temporary.write_all(&text)?;
        temporary.persist(&self.spin).map_err(|err| err.error)?;
        Ok(())
    }
}

/// The names under which a registry's credentials may be kept.
fn keys(registry: &str) -> Vec<String> {
    let mut keys = vec![
        registry.to_owned(),
        format!("https://{registry}"),
        format!("https://{registry}/"),
        format!("http://{registry}"),
        format!("https://{registry}/v1/"),
        format!("https://{registry}/v2/"),
    ];
    if super::is_docker_hub(registry) {
        keys.extend([
            DOCKER_HUB_KEY.to_owned(),
            "index.docker.io".to_owned(),
            "docker.io".to_owned(),
        ]);
    }
    keys
}

fn read<T: for<'de> Deserialize<'de>>(path: &Path) -> Result<Option<T>, CredentialsError> {
    match fs_err::read(path) {
        Ok(bytes) => serde_json::from_slice(&bytes)
            .map(Some)
            .map_err(|source| CredentialsError::Malformed { path: path.to_owned(), source }),
        Err(err) if err.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(err) => Err(err.into()),
    }
}

fn decode(entry: &str, path: &Path, registry: &str) -> Result<Credentials, CredentialsError> {
    let (path, registry) = (path.to_owned(), registry.to_owned());
    Credentials::decode(entry).ok_or(CredentialsError::Entry { path, registry })
}

fn credentials(user: String, password: String) -> Credentials {
    if user == IDENTITY {
        return Credentials::Identity(password.into());
    }
    Credentials::Password { user, password: password.into() }
}

fn ask_helper(name: &str, key: &str) -> Result<Option<Credentials>, CredentialsError> {
    let program = format!("docker-credential-{name}");
    let failed = |reason: String| CredentialsError::Helper { program: program.clone(), reason };
    // A name and nothing that could be a path to somewhere else.
    if name.contains(['/', '\\']) {
        return Err(failed("its name is no name".to_owned()));
    }
    let mut child = Command::new(&program)
        .arg("get")
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .map_err(|err| failed(err.to_string()))?;
    if let Some(mut stdin) = child.stdin.take() {
        // A helper that has its answer without asking may be gone already.
        let _ = stdin.write_all(key.as_bytes());
    }
    let output = child.wait_with_output().map_err(|err| failed(err.to_string()))?;
    if !output.status.success() {
        let said = String::from_utf8_lossy(&output.stdout).to_lowercase();
        if said.contains("credentials not found") {
            return Ok(None);
        }
        let said = format!("{said}{}", String::from_utf8_lossy(&output.stderr));
        return Err(failed(said.trim().to_owned()));
    }
    if output.stdout.len() > HELPER_BYTES {
        return Err(failed(format!("it answered more than {HELPER_BYTES} bytes")));
    }
    let answer: HelperAnswer = serde_json::from_slice(&output.stdout)
        .map_err(|_| failed("its answer is malformed".into()))?;
    Ok(Some(credentials(answer.username, answer.secret)))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn store(spin: &str, docker: &str) -> (tempfile::TempDir, CredentialStore) {
        let dir = tempfile::tempdir().unwrap();
        let (a, b) =
            (dir.path().join("fermyon/registry-auth.json"), dir.path().join("config.json"));
        fs_err::create_dir_all(a.parent().unwrap()).unwrap();
        if !spin.is_empty() {
            fs_err::write(&a, spin).unwrap();
        }
        if !docker.is_empty() {
            fs_err::write(&b, docker).unwrap();
        }
        let store = CredentialStore::new(a, b);
        (dir, store)
    }

    /// The credentials as text.
    fn found(store: &CredentialStore, registry: &str) -> String {
        match store.find(registry).unwrap() {
            None => "nobody".to_owned(),
            Some(Credentials::Identity(token)) => format!("identity {}", token.expose()),
            Some(Credentials::Password { user, password }) => {
                format!("{user} {}", password.expose())
            }
        }
    }

    #[test]
    fn spins_file_comes_first_and_dockers_next() {
        let encoded = |text: &str| STANDARD.encode(text);
        let spin = format!(r#"{{"auths":{{"a.example":"{}"}}}}"#, encoded("u:p:q"));
        let docker = format!(
            r#"{{"auths":{{"a.example":{{"auth":"{0}"}},"https://b.example/v2/":{{"auth":"{0}"}},
                "c.example":{{"identitytoken":"t"}},"d.example":{{"username":"d","password":"e"}},
                "https://index.docker.io/v1/":{{"auth":"{0}"}}}}}}"#,
            encoded("docker:secret")
        );
        let (_dir, both) = store(&spin, &docker);
        assert_eq!(found(&both, "a.example"), "u p:q");
        assert_eq!(found(&both, "b.example"), "docker secret");
        assert_eq!(found(&both, "c.example"), "identity t");
        assert_eq!(found(&both, "d.example"), "d e");
        assert_eq!(found(&both, "docker.io"), "docker secret");
        assert_eq!(found(&both, "e.example"), "nobody");
        assert_eq!(found(&store("", "").1, "a.example"), "nobody");
    }

    #[test]
    fn what_is_broken_is_said_and_not_overwritten() {
        let (dir, broken) = store("{", "");
        assert!(matches!(broken.find("a"), Err(CredentialsError::Malformed { .. })));
        let secret = "p".to_owned().into();
        assert!(matches!(broken.save("a", "u", &secret), Err(CredentialsError::Malformed { .. })));
        let kept = fs_err::read_to_string(dir.path().join("fermyon/registry-auth.json")).unwrap();
        assert_eq!(kept, "{");
        let (_dir, entry) = store(r#"{"auths":{"a":"%%"}}"#, "");
        assert!(matches!(entry.find("a"), Err(CredentialsError::Entry { .. })));
        let (_dir, helper) = store("", r#"{"credsStore":"gyre-test-nobody-has-this"}"#);
        assert!(matches!(helper.find("a"), Err(CredentialsError::Helper { .. })));
        let (_dir, helper) = store("", r#"{"credHelpers":{"a":"../x"}}"#);
        assert!(matches!(helper.find("a"), Err(CredentialsError::Helper { .. })));
        assert_eq!(found(&helper, "b"), "nobody");
    }

    #[test]
    fn what_is_saved_is_found() {
        let (_dir, store) = store("", "");
        store.save("a.example:5000", "me", &"s3cret".to_owned().into()).unwrap();
        store.save("b.example", "you", &"other".to_owned().into()).unwrap();
        assert_eq!(found(&store, "a.example:5000"), "me s3cret");
        assert_eq!(found(&store, "b.example"), "you other");
    }
}
