//! A cloud of one's own: `gyre server` on a temporary folder, with an administrator and tokens.

use std::path::{Path, PathBuf};

use tempfile::TempDir;

use crate::client::{Site, UrlParts};
use crate::gyre::{Gyre, Run};
use crate::process::Program;
use crate::wait::until;

/// The domain of a test's server.
const DOMAIN: &str = "gyre.localhost";

/// What a server is started with beside `--data`, `--listen` and `--domain`.
#[derive(Clone, Debug, Default)]
pub struct ServerOptions {
    /// More arguments.
    pub arguments: Vec<String>,
    /// The data folder, if not one of its own.
    pub data: Option<PathBuf>,
}

/// A running `gyre server` and the user who runs it.
#[derive(Debug)]
pub struct Server {
    /// The user, signed in as the administrator.
    pub gyre: Gyre,
    /// The process.
    pub program: Program,
    options: ServerOptions,
    own_data: Option<TempDir>,
    port: u16,
}

impl Server {
    /// Starts one and signs its administrator in.
    #[track_caller]
    pub fn start() -> Self {
        Self::start_with(Gyre::new(), ServerOptions::default())
    }

    /// As `start`, for a user and with options.
    #[track_caller]
    pub fn start_with(gyre: Gyre, options: ServerOptions) -> Self {
        let server = Self::start_signed_out(gyre, options);
        let token = server.admin_token();
        let _: Run = server.run(&["login", "--url", &server.url(), "--token", &token]).ok();
        server
    }

    /// As `start_with`, without signing in.
    #[track_caller]
    pub fn start_signed_out(gyre: Gyre, options: ServerOptions) -> Self {
        let own_data = options.data.is_none().then(|| tempfile::tempdir().unwrap());
        let data = options.data.clone();
        let data = data.or_else(|| Some(own_data.as_ref()?.path().to_owned())).unwrap();
        let program = gyre.start(&arguments(&data, 0, &options).each_ref_vec());
        let mut server = Self { gyre, program, options, own_data, port: 0 };
        server.wait_until_up();
        server
    }

    /// The data folder.
    #[track_caller]
    pub fn data(&self) -> &Path {
        let own = self.own_data.as_ref().map(TempDir::path);
        own.or(self.options.data.as_deref()).expect("one of them is set")
    }

    /// The server's own URL, without a slash at its end.
    pub fn url(&self) -> String {
        format!("http://{DOMAIN}:{}", self.port)
    }

    /// The port it listens on.
    pub fn port(&self) -> u16 {
        self.port
    }

    /// The control plane's site, without a token.
    #[track_caller]
    pub fn site(&self) -> Site {
        Site::at(&self.url())
    }

    /// The control plane's site, with the administrator's token.
    #[track_caller]
    pub fn admin(&self) -> Site {
        self.site().with_token(&self.admin_token())
    }

    /// The administrator's token.
    #[track_caller]
    pub fn admin_token(&self) -> String {
        let path = self.data().join("admin-token");
        fs_err::read_to_string(path).unwrap().trim().to_owned()
    }

    /// Runs a verb as the server's user.
    #[track_caller]
    pub fn run(&self, arguments: &[&str]) -> Run {
        self.gyre.run(arguments)
    }

    /// Deploys an application's folder; the verb's outcome.
    #[track_caller]
    pub fn try_deploy(&self, app: &Path, arguments: &[&str]) -> Run {
        let app = app.to_str().expect("paths in tests are text");
        let mut all = vec!["deploy", "--from", app];
        all.extend(arguments);
        self.run(&all)
    }

    /// Deploys an application's folder, which must succeed; where it answers then.
    #[track_caller]
    pub fn deploy(&self, app: &Path) -> Deployed {
        let outcome = self.try_deploy(app, &["--json"]).ok().json();
        let text = |name: &str| {
            outcome[name].as_str().unwrap_or_else(|| panic!("no {name} in {outcome}")).to_owned()
        };
        Deployed { url: text("url"), revision: text("revision"), outcome: outcome.clone() }
    }

    /// What the server's log has of an app: `gyre logs APP --tail 1000`.
    #[track_caller]
    pub fn logs(&self, app: &str) -> String {
        self.run(&["logs", app, "--tail", "1000"]).ok().stdout
    }

    /// Waits until the app's log has `text` in it; all of the log then.
    #[track_caller]
    pub fn wait_for_log(&self, app: &str, text: &str) -> String {
        until(&format!("{text:?} is in the log of {app}"), || {
            let logs = self.logs(app);
            logs.contains(text).then_some(logs)
        })
    }

    /// Ends the server as a power cut would.
    pub fn kill(&mut self) {
        self.program.kill();
    }

    /// Starts it again on the same folder and port, after `kill` or an end of its own.
    #[track_caller]
    pub fn restart(&mut self) {
        let arguments = arguments(self.data(), self.port, &self.options);
        self.program = self.gyre.start(&arguments.each_ref_vec());
        self.wait_until_up();
    }

    #[track_caller]
    fn wait_until_up(&mut self) {
        let port = self.program.wait_for("where it listens", |line| {
            let start = line.find("http://").or_else(|| line.find("https://"))?;
            let url = line[start..].split_whitespace().next()?;
            let (_, rest) = url.split_once("://")?;
            let authority = rest.split('/').next()?;
            let (_, port) = authority.rsplit_once(':')?;
            port.trim_end_matches(|last: char| !last.is_ascii_digit()).parse::<u16>().ok()
        });
        self.port = port;
        let site = self.site();
        until("the server is healthy", || {
            assert!(self.program.is_running(), "the server ended\n{}", self.program.output());
            site.answers("/healthz", 200).then_some(())
        });
    }
}

/// An application that was deployed.
#[derive(Clone, Debug)]
pub struct Deployed {
    /// Where it answers.
    pub url: String,
    /// Its revision's digest.
    pub revision: String,
    /// All that `gyre deploy --json` said.
    pub outcome: serde_json::Value,
}

impl Deployed {
    /// The app's site.
    #[track_caller]
    pub fn site(&self) -> Site {
        Site::at(&self.url)
    }

    /// The app's host name, without port.
    #[track_caller]
    pub fn host(&self) -> String {
        UrlParts::of(&self.url).host
    }
}

fn arguments(data: &Path, port: u16, options: &ServerOptions) -> Arguments {
    let data = data.to_str().expect("paths in tests are text").to_owned();
    let mut all = vec!["server".into(), "--data".into(), data];
    all.extend(["--listen".into(), format!("127.0.0.1:{port}"), "--domain".into(), DOMAIN.into()]);
    all.extend(options.arguments.iter().cloned());
    Arguments(all)
}

struct Arguments(Vec<String>);

impl Arguments {
    fn each_ref_vec(&self) -> Vec<&str> {
        self.0.iter().map(String::as_str).collect()
    }
}
