//! Makes the folders that data files are kept in, durably: a file is no more durable than its name.

use std::{io, path::Path};

/// Makes the folder of the file at `path`, and those above it, where they are missing.
pub(crate) fn make_folder_of(path: &Path) -> io::Result<()> {
    match path.parent() {
        Some(folder) if !folder.as_os_str().is_empty() && !folder.is_dir() => make(folder),
        _ => Ok(()),
    }
}

fn make(folder: &Path) -> io::Result<()> {
    let above = match folder.parent() {
        Some(above) if !above.as_os_str().is_empty() => above,
        _ => Path::new("."),
    };
    if !above.is_dir() {
        make(above)?;
    }
    match fs_err::create_dir(folder) {
        Err(error) if error.kind() != io::ErrorKind::AlreadyExists => return Err(error),
        _ => {}
    }
    fs_err::File::open(above)?.sync_all()
}

/// SQLite's error for one of the system.
pub(crate) fn as_sqlite(error: io::Error) -> rusqlite::Error {
    match error.kind() {
        io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => {
            let code = rusqlite::ffi::Error::new(rusqlite::ffi::SQLITE_FULL);
            rusqlite::Error::SqliteFailure(code, None)
        }
        _ => rusqlite::Error::ToSqlConversionFailure(error.into()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn all_missing_folders_are_made_and_those_there_are_left() {
        let dir = tempfile::tempdir().unwrap();
        for name in ["a/b/c/file", "a/b/file", "file"] {
            make_folder_of(&dir.path().join(name)).unwrap();
            fs_err::write(dir.path().join(name), "").unwrap();
        }
        make_folder_of(&dir.path().join("file/x/y")).unwrap_err();
    }
}
