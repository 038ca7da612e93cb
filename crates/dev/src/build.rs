//! Building an application's components with the commands in its manifest.

use std::{
    path::{Path, PathBuf},
    process::{Command, ExitStatus},
};

use gyre_manifest::{
    AppManifest,
    id::KebabId,
    schema::{Component, ComponentSource, DependencySource},
};

/// One component's build.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Step {
    /// The component's id.
    pub component: String,
    /// Shell commands, in order.
    pub commands: Vec<String>,
    /// Where they run.
    pub workdir: PathBuf,
}

/// Why a build cannot be planned or run.
#[derive(Debug, thiserror::Error)]
pub enum BuildError {
    /// A component that was asked for is not there.
    #[error("no such component {0:?}")]
    NoSuchComponent(String),
    /// A working folder leads out of the application's.
    #[error(
        "component {component:?} builds in {workdir}, which is not within the application's folder"
    )]
    Outside {
        /// The component.
        component: String,
        /// Its `workdir`.
        workdir: String,
    },
    /// A command could not be started.
    #[error("cannot run `{command}` in {}", workdir.display())]
    Start {
        /// The command.
        command: String,
        /// Where.
        workdir: PathBuf,
        /// Why not.
        #[source]
        source: std::io::Error,
    },
}

/// What is to be built of the application in `folder`: all of it, or the components `only`. Components without a build
/// section have nothing to do.
pub fn plan(app: &AppManifest, folder: &Path, only: &[String]) -> Result<Vec<Step>, BuildError> {
    let missing =
        only.iter().find(|id| !app.components.keys().any(|each| each.as_str() == id.as_str()));
    if let Some(id) = missing {
        return Err(BuildError::NoSuchComponent(id.clone()));
    }
    let mut steps = Vec::new();
    for (id, component) in in_order(app) {
        let Some(build) = &component.build else { continue };
        if !only.is_empty() && !only.iter().any(|each| each == id.as_str()) {
            continue;
        }
        let workdir = match &build.workdir {
            None => folder.to_owned(),
            Some(workdir) => {
                let relative = Path::new(workdir);
                let is_inside = relative.components().all(|part| {
                    matches!(part, std::path::Component::Normal(_) | std::path::Component::CurDir)
                });
                if !is_inside {
                    let (component, workdir) = (id.to_string(), workdir.clone());
                    return Err(BuildError::Outside { component, workdir });
                }
                folder.join(relative)
            }
        };
        let commands = build.commands().to_vec();
        steps.push(Step { component: id.to_string(), commands, workdir });
    }
    Ok(steps)
}

/// The components, each after those that it depends on: their interfaces are known once they are built. Otherwise, and
/// in a circle, in the manifest's order.
fn in_order(app: &AppManifest) -> Vec<(&KebabId, &Component)> {
    fn visit(app: &AppManifest, at: usize, order: &mut Vec<usize>, seen: &mut [bool]) {
        if std::mem::replace(&mut seen[at], true) {
            return;
        }
        for dependency in app.components[at].dependencies.values() {
            let builds = |(_, other): &(&KebabId, &Component)| match &dependency.source {
                // A dependency on a component was replaced by the component's source.
                DependencySource::Local { path } => {
                    matches!(other.source.value(), ComponentSource::Local(made) if made == path)
                }
                _ => false,
            };
            for (other, _) in app.components.iter().enumerate().filter(|(_, it)| builds(it)) {
                visit(app, other, order, seen);
            }
        }
        order.push(at);
    }
    let mut order = Vec::new();
    let mut seen = vec![false; app.components.len()];
    for at in 0..app.components.len() {
        visit(app, at, &mut order, &mut seen);
    }
    order.into_iter().filter_map(|at| app.components.get_index(at)).collect()
}

/// Runs a shell command, with our own streams as its streams.
pub fn run(command: &str, workdir: &Path) -> Result<ExitStatus, BuildError> {
    let mut shell = if cfg!(windows) {
        let mut shell = Command::new("cmd");
        shell.arg("/C");
        shell
    } else {
        let mut shell = Command::new("sh");
        shell.arg("-c");
        shell
    };
    shell.arg(command).current_dir(workdir).status().map_err(|source| BuildError::Start {
        command: command.to_owned(),
        workdir: workdir.to_owned(),
        source,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    const APP: &str = r#"
        spin_manifest_version = 2
        [application]
        name = "two"
        [[trigger.http]]
        route = "/a"
        component = "a"
        [[trigger.http]]
        route = "/b"
        component = "b"
        [component.a]
        source = "a.wasm"
        build = { command = ["one", "two"], workdir = "sub" }
        [component.b]
        source = "b.wasm"
    "#;

    fn app(text: &str) -> AppManifest {
        gyre_manifest::Manifest::parse(text).unwrap().normalize(None).unwrap()
    }

    #[test]
    fn only_components_with_a_build_section_have_something_to_do() {
        let steps = plan(&app(APP), Path::new("/x"), &[]).unwrap();
        let workdir = PathBuf::from("/x/sub");
        let commands = vec!["one".to_owned(), "two".to_owned()];
        assert_eq!(steps, [Step { component: "a".to_owned(), commands, workdir }]);
        assert_eq!(plan(&app(APP), Path::new("/x"), &["b".to_owned()]).unwrap(), []);
    }

    #[test]
    fn a_component_is_built_after_those_that_it_depends_on() {
        let depends = APP.replace(
            "workdir = \"sub\" }",
            "workdir = \"sub\" }\n[component.a.dependencies]\n\"x:y\" = { component = \"b\" }",
        );
        let depends =
            depends.replace("source = \"b.wasm\"", "source = \"b.wasm\"\nbuild.command = \"b\"");
        let steps = plan(&app(&depends), Path::new("/x"), &[]).unwrap();
        let order: Vec<_> = steps.iter().map(|step| step.component.as_str()).collect();
        assert_eq!(order, ["b", "a"]);
    }

    #[test]
    fn what_is_not_there_or_leads_out_is_refused() {
        let missing = plan(&app(APP), Path::new("/x"), &["nope".to_owned()]).unwrap_err();
        assert_eq!(missing.to_string(), "no such component \"nope\"");
        let out = APP.replace("\"sub\"", "\"../sub\"");
        assert!(matches!(plan(&app(&out), Path::new("/x"), &[]), Err(BuildError::Outside { .. })));
    }

    #[cfg(unix)]
    #[test]
    fn a_command_tells_how_it_ended() {
        let dir = tempfile::tempdir().unwrap();
        assert!(run("echo hi > made", dir.path()).unwrap().success());
        assert!(dir.path().join("made").exists());
        assert_eq!(run("exit 7", dir.path()).unwrap().code(), Some(7));
    }
}
