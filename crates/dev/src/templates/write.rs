//! Writes a template out: everything is rendered and checked before the first file is written.

use std::{
    collections::BTreeMap,
    path::{Component, Path, PathBuf},
};

use liquid::Object;

use super::{Template, TemplateError, filters};

/// What a template is used for.
#[derive(Debug, Clone)]
pub enum Target {
    /// A folder with an application of its own.
    NewApplication,
    /// One more component of an application that is there.
    AddComponent {
        /// Its `spin.toml`.
        manifest: PathBuf,
    },
}

/// What to write, and where.
#[derive(Debug, Clone)]
pub struct Request {
    /// The application's or component's name.
    pub name: String,
    /// The folder to write to.
    pub output: PathBuf,
    /// What it is used for.
    pub target: Target,
    /// Values of the parameters.
    pub values: BTreeMap<String, String>,
    /// Who writes it: `Name <mail>`.
    pub authors: String,
    /// Whether files that are there may be written over.
    pub allow_overwrite: bool,
}

/// What was written.
#[derive(Debug, Clone)]
pub struct Written {
    /// Every file, in order.
    pub files: Vec<PathBuf>,
}

/// Writes `template` out as `request` says.
///
/// # Errors
/// Nothing has been written when a value is missing or refused, a file is in the way, or the template is wrong.
pub fn write(template: &Template, request: &Request) -> Result<Written, TemplateError> {
    let section = template.section(&request.target);
    if !section.is_supported {
        let what = match request.target {
            Target::NewApplication => "creating a new application",
            Target::AddComponent { .. } => "adding to an existing one",
        };
        return Err(TemplateError::Unsupported { template: template.id.clone(), what });
    }
    if !is_name(&request.name) {
        return Err(TemplateError::Name(request.name.clone()));
    }
    let render = Renderer::new(template, request)?;
    let mut files: Vec<(PathBuf, Vec<u8>)> = Vec::new();
    for (path, bytes) in &template.content {
        if section.skip_files.iter().any(|skip| Path::new(skip) == path) {
            continue;
        }
        let shown = path.display().to_string();
        let to = render.text(&shown, path.to_string_lossy().trim_end_matches(".tmpl"))?;
        // What is not text is copied as it is.
        let bytes = match std::str::from_utf8(bytes) {
            Ok(text) => {
                render.text(&shown, text).map_or_else(|_| bytes.clone(), String::into_bytes)
            }
            Err(_) => bytes.clone(),
        };
        files.push((inside(&request.output, &to)?, bytes));
    }
    if !request.allow_overwrite
        && let Some((path, _)) = files.iter().find(|(path, _)| path.exists())
    {
        return Err(TemplateError::Exists(path.clone()));
    }
    if let Target::AddComponent { manifest } = &request.target {
        let mut text = fs_err::read_to_string(manifest)?;
        for name in section.snippets.values() {
            let snippet = template.snippets.get(name).map(String::as_str).unwrap_or_default();
            text = append(manifest, &text, &render.text(name, snippet)?)?;
        }
        files.push((manifest.clone(), text.into_bytes()));
    }
    let mut folders = Vec::new();
    for output in &template.outputs {
        let base = match (&request.target, output.at_manifest) {
            (Target::AddComponent { manifest }, true) => {
                manifest.parent().unwrap_or(Path::new(".")).to_owned()
            }
            _ => request.output.clone(),
        };
        folders.push(inside(&base, &render.text("outputs", &output.path)?)?);
    }

    fs_err::create_dir_all(&request.output)?;
    for (path, bytes) in &files {
        if let Some(parent) = path.parent() {
            fs_err::create_dir_all(parent)?;
        }
        fs_err::write(path, bytes)?;
    }
    for folder in folders {
        fs_err::create_dir_all(folder)?;
    }
    Ok(Written { files: files.into_iter().map(|(path, _)| path).collect() })
}

/// Whether a name can name an application and, changed in case, a crate, a component and a file.
fn is_name(name: &str) -> bool {
    name.len() <= 63
        && name.split(['-', '_']).all(|word| {
            word.starts_with(|c: char| c.is_ascii_alphabetic())
                && word.bytes().all(|b| b.is_ascii_alphanumeric())
        })
}

/// `relative` below `base`, if it stays there.
fn inside(base: &Path, relative: &str) -> Result<PathBuf, TemplateError> {
    let relative = Path::new(relative);
    if relative.components().all(|part| matches!(part, Component::Normal(_) | Component::CurDir)) {
        Ok(base.join(relative))
    } else {
        Err(TemplateError::Outside(relative.to_owned()))
    }
}

/// `manifest` with `snippet` at its end, if the result is still TOML.
fn append(path: &Path, manifest: &str, snippet: &str) -> Result<String, TemplateError> {
    let text = format!("{}\n\n{}\n", manifest.trim_end(), snippet.trim());
    match text.parse::<toml_edit::DocumentMut>() {
        Ok(_) => Ok(text),
        Err(error) => {
            Err(TemplateError::Add { path: path.to_owned(), reason: error.message().to_owned() })
        }
    }
}

struct Renderer {
    parser: liquid::Parser,
    values: Object,
}

impl Renderer {
    fn new(template: &Template, request: &Request) -> Result<Self, TemplateError> {
        let output_path = match &request.target {
            Target::NewApplication => String::new(),
            Target::AddComponent { manifest } => {
                let base = manifest.parent().unwrap_or(Path::new("."));
                let path = request.output.strip_prefix(base).unwrap_or(&request.output);
                path.to_string_lossy().replace('\\', "/")
            }
        };
        let mut values = Object::new();
        let mut set = |name: &str, value: &str| {
            values.insert(name.to_owned().into(), liquid::model::Value::scalar(value.to_owned()));
        };
        set("project-name", &request.name);
        set("authors", &request.authors);
        set("username", request.authors.split(" <").next().unwrap_or_default());
        set("output-path", &output_path);
        let mut renderer = Self { parser: filters::parser(), values };
        for parameter in template.parameters_for(&request.target) {
            let value = match (request.values.get(&parameter.name), &parameter.default) {
                (Some(value), _) => value.clone(),
                (None, Some(default)) => renderer.text(&parameter.name, default)?,
                (None, None) => return Err(TemplateError::MissingValue(parameter.name.clone())),
            };
            parameter.check(&value).map_err(|reason| TemplateError::InvalidValue {
                parameter: parameter.name.clone(),
                reason,
            })?;
            let value = liquid::model::Value::scalar(value);
            renderer.values.insert(parameter.name.clone().into(), value);
        }
        if let Some(name) =
            request.values.keys().find(|name| !renderer.values.contains_key(name.as_str()))
        {
            return Err(TemplateError::InvalidValue {
                parameter: name.clone(),
                reason: format!("template '{}' has no such parameter", template.id),
            });
        }
        Ok(renderer)
    }

    fn text(&self, file: &str, text: &str) -> Result<String, TemplateError> {
        let wrong =
            |source| TemplateError::Liquid { file: file.to_owned(), source: Box::new(source) };
        self.parser.parse(text).map_err(wrong)?.render(&self.values).map_err(wrong)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::templates::builtin;

    fn request(dir: &Path, name: &str) -> Request {
        Request {
            name: name.to_owned(),
            output: dir.join(name),
            target: Target::NewApplication,
            values: BTreeMap::new(),
            authors: "Ada <ada@example.com>".to_owned(),
            allow_overwrite: false,
        }
    }

    fn http_rust() -> Template {
        builtin().into_iter().find(|template| template.id == "http-rust").unwrap()
    }

    #[test]
    fn a_new_application_has_its_name_everywhere() {
        let dir = tempfile::tempdir().unwrap();
        let written = write(&http_rust(), &request(dir.path(), "my-app")).unwrap();
        assert!(written.files.contains(&dir.path().join("my-app/Cargo.toml")));
        let manifest = fs_err::read_to_string(dir.path().join("my-app/spin.toml")).unwrap();
        assert!(manifest.contains("name = \"my-app\""), "{manifest}");
        assert!(manifest.contains("release/my_app.wasm"), "{manifest}");
        assert!(manifest.contains("authors = [\"Ada <ada@example.com>\"]"), "{manifest}");
        let code = fs_err::read_to_string(dir.path().join("my-app/src/lib.rs")).unwrap();
        assert!(code.contains("fn handle_my_app("), "{code}");
    }

    #[test]
    fn a_file_in_the_way_is_kept_and_nothing_is_written() {
        let dir = tempfile::tempdir().unwrap();
        let request = request(dir.path(), "my-app");
        fs_err::create_dir_all(request.output.join("src")).unwrap();
        fs_err::write(request.output.join("src/lib.rs"), "mine").unwrap();
        assert!(matches!(write(&http_rust(), &request), Err(TemplateError::Exists(_))));
        assert_eq!(fs_err::read_to_string(request.output.join("src/lib.rs")).unwrap(), "mine");
        assert!(!request.output.join("spin.toml").exists());
        write(&http_rust(), &Request { allow_overwrite: true, ..request }).unwrap();
    }

    #[test]
    fn values_are_checked_before_anything_is_written() {
        let dir = tempfile::tempdir().unwrap();
        let with = |name: &str, value: &str| Request {
            values: [(name.to_owned(), value.to_owned())].into(),
            ..request(dir.path(), "my-app")
        };
        let refused = |request| write(&http_rust(), &request).unwrap_err().to_string();
        assert!(refused(with("http-path", "no slash")).contains("does not match"));
        assert!(refused(with("nope", "x")).contains("no such parameter"));
        assert!(refused(request(dir.path(), "9lives")).contains("not a valid name"));
        assert!(refused(request(dir.path(), "a/../b")).contains("not a valid name"));
        assert_eq!(std::fs::read_dir(dir.path()).unwrap().count(), 0);
    }

    #[test]
    fn a_component_is_added_to_an_application() {
        let dir = tempfile::tempdir().unwrap();
        write(&http_rust(), &request(dir.path(), "my-app")).unwrap();
        let app = dir.path().join("my-app");
        let add = Request {
            output: app.join("second"),
            target: Target::AddComponent { manifest: app.join("spin.toml") },
            values: [("http-path".to_owned(), "/second".to_owned())].into(),
            ..request(dir.path(), "second")
        };
        write(&http_rust(), &add).unwrap();
        let manifest = fs_err::read_to_string(app.join("spin.toml")).unwrap();
        assert!(manifest.contains("[component.my-app]"), "{manifest}");
        assert!(manifest.contains("workdir = \"second\""), "{manifest}");
        assert!(app.join("second/src/lib.rs").exists() && !app.join("second/spin.toml").exists());
    }

    #[test]
    fn a_path_never_leads_out_of_the_folder() {
        let mut template = http_rust();
        template.content.insert("../evil".into(), Vec::new());
        let dir = tempfile::tempdir().unwrap();
        let error = write(&template, &request(dir.path(), "my-app")).unwrap_err();
        assert!(matches!(error, TemplateError::Outside(_)), "{error}");
    }
}
