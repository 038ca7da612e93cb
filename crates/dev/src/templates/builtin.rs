//! The templates that come inside the binary, from the repository's `templates/`.

use super::{Template, load::assemble};

/// Each file of a template by its path in it.
type Files = &'static [(&'static str, &'static [u8])];

macro_rules! files {
    ($id:literal: $($path:literal),* $(,)?) => {
        &[$(($path, include_bytes!(concat!("../../../../templates/", $id, "/", $path)))),*]
    };
}

const HTTP_RUST: Files = files!("http-rust":
    "metadata/spin-template.toml",
    "metadata/snippets/component.txt",
    "content/spin.toml",
    "content/Cargo.toml.tmpl",
    "content/src/lib.rs",
    "content/.gitignore",
);

const STATIC_FILESERVER: Files = files!("static-fileserver":
    "metadata/spin-template.toml",
    "metadata/snippets/component.txt",
    "content/spin.toml",
    "content/fileserver.wasm",
    "content/.gitignore",
);

/// The built-in templates, by name.
pub fn builtin() -> Vec<Template> {
    [HTTP_RUST, STATIC_FILESERVER]
        .into_iter()
        .map(|files| {
            let files = files.iter().map(|(path, bytes)| ((*path).into(), bytes.to_vec()));
            assemble(files.collect()).expect("built-in templates are checked by a test")
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_built_in_template_is_valid() {
        let ids: Vec<_> = builtin().into_iter().map(|template| template.id).collect();
        assert_eq!(ids, ["http-rust", "static-fileserver"]);
    }
}
