//! Components' files: copied by path and by pattern, or mounted where they are.
//!
//! Rules and words are Spin's. A pattern is relative to the manifest's folder and stays within it; the source of a
//! `{ source, destination }` may be beside it (`../shared/dist`), as Spin has it.

use std::{
    io,
    ops::Range,
    path::{Component, Path},
};

use gyre_manifest::{Spanned, schema::FilesMount};
use gyre_model::Mount;

use super::FilesError;

/// Copies the files of a component to the folder `into`, which it sees as `/`.
pub(super) fn copy(
    root: &Path,
    files: &[Spanned<FilesMount>],
    exclude: &[Spanned<String>],
    into: &Path,
) -> Result<(), FilesError> {
    let exclude = exclude
        .iter()
        .map(|pattern| {
            glob::Pattern::new(pattern).map_err(|err| {
                let text = pattern.value();
                let message = format!("Invalid exclude_files glob pattern {text:?}: {err}");
                FilesError::new(message, pattern.span())
            })
        })
        .collect::<Result<Vec<_>, _>>()?;
    fs_err::create_dir_all(into).map_err(|err| {
        let span = files.first().map(Spanned::span).unwrap_or_default();
        FilesError::io("Failed to create the folder of a component's files", span, err)
    })?;
    for entry in files {
        let copy = Copy { root, exclude: &exclude, into, span: entry.span() };
        match entry.value() {
            FilesMount::Pattern(pattern) => copy.pattern(pattern)?,
            FilesMount::Placement { source, destination } => copy.placement(source, destination)?,
        }
    }
    Ok(())
}

/// Mounts the folders of a component where they are.
pub(super) fn direct(
    root: &Path,
    files: &[Spanned<FilesMount>],
    exclude: &[Spanned<String>],
) -> Result<Vec<Mount>, FilesError> {
    if let Some(pattern) = exclude.first() {
        let message = "Cannot load a component with `exclude_files` using --direct-mounts";
        return Err(FilesError::new(message, pattern.span()));
    }
    let mount = |entry: &Spanned<FilesMount>| {
        let (source, destination) = match entry.value() {
            FilesMount::Pattern(path) => (path, path),
            FilesMount::Placement { source, destination } => (source, destination),
        };
        let host = root.join(source);
        if !host.is_dir() {
            let message = format!(
                "Only directory mounts are supported with `--direct-mounts`; {source:?} is not a directory."
            );
            return Err(FilesError::new(message, entry.span()));
        }
        let guest = destination.strip_prefix("./").unwrap_or(destination).trim_matches('/');
        let guest = if guest == "." { "/".to_owned() } else { format!("/{guest}") };
        Ok(Mount { host, guest })
    };
    files.iter().map(mount).collect()
}

/// One entry of `files`.
struct Copy<'a> {
    root: &'a Path,
    exclude: &'a [glob::Pattern],
    into: &'a Path,
    span: Range<usize>,
}

impl Copy<'_> {
    fn error(&self, message: impl Into<String>) -> FilesError {
        FilesError::new(message, self.span.clone())
    }

    fn pattern(&self, text: &str) -> Result<(), FilesError> {
        if Path::new(text).is_absolute() || climbs(text) {
            return Err(self.outside(text));
        }
        let path = self.root.join(text);
        if path.is_dir() {
            self.folder(&path, &self.into.join(text))
        } else if path.exists() {
            self.file(&path, &self.into.join(text), text)
        } else if text.contains(['*', '?', '[']) {
            let root = glob::Pattern::escape(&self.root.to_string_lossy());
            self.matches(&format!("{root}/{text}"), self.root, self.into)
        } else {
            let message =
                format!("{text:?} does not exist and doesn't appear to be a glob pattern");
            Err(self.error(message))
        }
    }

    fn placement(&self, source: &str, destination: &str) -> Result<(), FilesError> {
        let path = self.root.join(source);
        let guest = destination.trim_start_matches('/');
        if climbs(guest) {
            let message = format!("{destination:?} is not a valid destination file name");
            return Err(self.error(message));
        }
        let target = self.into.join(guest);
        let found = fs_err::metadata(&path).map_err(|err| {
            if err.kind() == io::ErrorKind::NotFound {
                return self.error(format!("File or directory {source:?} does not exist"));
            }
            let message = format!("invalid file mount source {source:?}");
            FilesError::io(message, self.span.clone(), err)
        })?;
        if found.is_dir() {
            self.folder(&path, &target)
        } else if !path.starts_with(self.root) {
            Err(self.outside(source))
        } else if guest.is_empty()
            || guest.ends_with('/')
            || guest.ends_with('.')
            || target.is_dir()
        {
            let message = format!("{destination:?} is not a valid destination file name");
            Err(self.error(message))
        } else {
            self.file(&path, &target, destination)
        }
    }

    /// All files below `folder`, to the same places below `into`.
    fn folder(&self, folder: &Path, into: &Path) -> Result<(), FilesError> {
        let escaped = glob::Pattern::escape(&folder.to_string_lossy());
        self.matches(&format!("{escaped}/**/*"), folder, into)
    }

    /// All files that match, to the places below `into` that they have below `from`.
    fn matches(&self, pattern: &str, from: &Path, into: &Path) -> Result<(), FilesError> {
        let paths = glob::glob(pattern).map_err(|err| {
            self.error(format!("Failed to resolve glob pattern {pattern:?}: {err}"))
        })?;
        for path in paths {
            let path = path.map_err(|err| {
                let message = format!("Failed to read \"{}\"", err.path().display());
                FilesError::io(message, self.span.clone(), err.into())
            })?;
            if !path.is_file() {
                continue;
            }
            let Ok(in_app) = path.strip_prefix(self.root) else {
                return Err(self.outside(pattern));
            };
            if self.exclude.iter().any(|pattern| pattern.matches_path(in_app)) {
                continue;
            }
            let relative = path.strip_prefix(from).map_err(|_| self.outside(pattern))?;
            self.file(&path, &into.join(relative), &relative.to_string_lossy())?;
        }
        Ok(())
    }

    fn file(&self, from: &Path, to: &Path, guest: &str) -> Result<(), FilesError> {
        let copied = (|| {
            if let Some(folder) = to.parent() {
                fs_err::create_dir_all(folder)?;
            }
            fs_err::copy(from, to)
        })();
        copied.map(drop).map_err(|err| {
            let message = format!(
                "Failed to copy \"{}\" to working path \"{}\" (for destination path {guest:?})",
                from.display(),
                to.display()
            );
            FilesError::io(message, self.span.clone(), err)
        })
    }

    fn outside(&self, pattern: &str) -> FilesError {
        self.error(format!(
            "{pattern} cannot be mapped because it is outside the application directory. Files must be within \
             the application directory."
        ))
    }
}

/// Whether a path goes up anywhere.
fn climbs(path: &str) -> bool {
    Path::new(path).components().any(|part| part == Component::ParentDir)
}
