//! What a path under `/v2` means.

use gyre_control::Error;
use percent_encoding::percent_decode_str;

use super::Refusal;

/// The thing a request is about. Names and references are not checked yet.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Target {
    Base,
    Token,
    Tags { name: String },
    Manifest { name: String, reference: String },
    Blob { name: String, digest: String },
    Uploads { name: String },
    Upload { name: String, token: String },
}

/// Reads a path that begins with `/v2`.
pub(super) fn target(path: &str) -> Result<Target, Refusal> {
    let unknown = || Refusal::from(Error::not_found("such address in the registry"));
    let path = percent_decode_str(path).decode_utf8().map_err(|_| unknown())?;
    let rest = path.strip_prefix("/v2").ok_or_else(unknown)?;
    let rest = rest.strip_prefix('/').unwrap_or(rest);
    match rest {
        "" => return Ok(Target::Base),
        "token" => return Ok(Target::Token),
        _ => {}
    }
    let (before, last) = rest.rsplit_once('/').ok_or_else(unknown)?;
    let last = last.to_owned();
    // From the end, for a repository may be called `blobs/uploads`.
    let (name, kind) = before.rsplit_once('/').ok_or_else(unknown)?;
    let owned = |name: &str| name.to_owned();
    Ok(match (kind, last.as_str()) {
        ("tags", "list") => Target::Tags { name: owned(name) },
        ("manifests", reference) if !reference.is_empty() => {
            Target::Manifest { name: owned(name), reference: last }
        }
        // Without the slash at the end it is written, too.
        ("blobs", "uploads") => Target::Uploads { name: owned(name) },
        ("blobs", digest) if !digest.is_empty() => Target::Blob { name: owned(name), digest: last },
        ("uploads", token) => {
            let name = name.strip_suffix("/blobs").ok_or_else(unknown)?.to_owned();
            match token {
                "" => Target::Uploads { name },
                _ => Target::Upload { name, token: last },
            }
        }
        _ => return Err(unknown()),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(path: &str) -> Option<Target> {
        target(path).ok()
    }

    #[test]
    fn paths_are_taken_apart_from_their_end() {
        let name = || "a/b".to_owned();
        assert_eq!(of("/v2"), Some(Target::Base));
        assert_eq!(of("/v2/"), Some(Target::Base));
        assert_eq!(of("/v2/a/b/tags/list"), Some(Target::Tags { name: name() }));
        assert_eq!(of("/v2/a/b/blobs/uploads/"), Some(Target::Uploads { name: name() }));
        assert_eq!(of("/v2/a/b/blobs/uploads"), Some(Target::Uploads { name: name() }));
        let token = "x.y".to_owned();
        assert_eq!(of("/v2/a/b/blobs/uploads/x.y"), Some(Target::Upload { name: name(), token }));
        let digest = "sha256:00".to_owned();
        assert_eq!(of("/v2/a/b/blobs/sha256%3A00"), Some(Target::Blob { name: name(), digest }));
        let reference = "latest".to_owned();
        assert_eq!(
            of("/v2/blobs/uploads/manifests/latest"),
            Some(Target::Manifest { name: "blobs/uploads".to_owned(), reference })
        );
        for path in ["/v2/a", "/v2/a/b", "/v2/uploads/x", "/v2/a/manifests/", "/v2/a/x/y", "/v2x/"]
        {
            assert_eq!(of(path), None, "{path}");
        }
    }
}
