//! Which paths may be inside an artifact: relative, plain, text, neither long nor deep.

use super::PathError;

/// Checks `path` and returns it without its harmless `./` beginnings and trailing slash.
///
/// # Errors
/// It is not a plain relative path, or longer or deeper than allowed.
pub(crate) fn ensure_relative(
    path: &str,
    max_bytes: usize,
    max_depth: usize,
) -> Result<&str, PathError> {
    if path.len() > max_bytes {
        let found = path.len();
        return Err(PathError::TooLong { found, limit: max_bytes, of: "bytes" });
    }
    if path.starts_with('/') {
        return Err(PathError::Absolute(path.to_owned()));
    }
    let mut plain = path;
    while let Some(rest) = plain.strip_prefix("./") {
        plain = rest;
    }
    let plain = plain.strip_suffix('/').unwrap_or(plain);
    if plain.is_empty() || plain == "." {
        return Err(PathError::Empty);
    }
    let mut depth = 0;
    for part in plain.split('/') {
        depth += 1;
        match part {
            ".." => return Err(PathError::Escapes(path.to_owned())),
            "" | "." => return Err(PathError::Odd(path.to_owned())),
            _ if part.contains('\0') => return Err(PathError::Odd(path.to_owned())),
            _ => {}
        }
    }
    if depth > max_depth {
        return Err(PathError::TooLong { found: depth, limit: max_depth, of: "parts" });
    }
    Ok(plain)
}
