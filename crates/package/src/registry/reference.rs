//! How artifacts are named: repositories, tags, digests, and all of them in one word.

use std::{fmt, str::FromStr};

use gyre_model::Digest;

/// Whether `name` may be a repository: lower-case words of letters and digits, joined by `.`, `_`, `__` or dashes,
/// in parts separated by `/`, at most 255 bytes.
pub fn is_repository(name: &str) -> bool {
    name.len() <= 255 && name.split('/').all(is_repository_part)
}

fn is_repository_part(part: &str) -> bool {
    let bytes = part.as_bytes();
    let is_word = |byte: &u8| byte.is_ascii_lowercase() || byte.is_ascii_digit();
    let (Some(first), Some(last)) = (bytes.first(), bytes.last()) else { return false };
    is_word(first)
        && is_word(last)
        && bytes.chunk_by(|a, b| is_word(a) == is_word(b)).all(|run| {
            is_word(&run[0])
                || matches!(run, b"." | b"_" | b"__")
                || run.iter().all(|byte| *byte == b'-')
        })
}

/// Whether `tag` may be a tag: letters, digits, `_`, `.` and `-`, not beginning with the last two, at most 128.
pub fn is_tag(tag: &str) -> bool {
    let is_allowed = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b'.' | b'-');
    (1..=128).contains(&tag.len()) && tag.bytes().all(is_allowed) && !tag.starts_with(['.', '-'])
}

/// A manifest within a repository.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Reference {
    /// The one the tag points to now.
    Tag(String),
    /// This very one.
    Digest(Digest),
}

impl fmt::Display for Reference {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Tag(tag) => f.write_str(tag),
            Self::Digest(digest) => digest.fmt(f),
        }
    }
}

/// An artifact by its full name: `[REGISTRY/]REPOSITORY[:TAG][@DIGEST]`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ImageReference {
    /// The registry's host, with its port if it has one; only there if it was written.
    pub registry: Option<String>,
    /// The repository.
    pub repository: String,
    /// The digest if one was written, else the tag, else `latest`.
    pub reference: Reference,
    /// Whether a tag or a digest was written.
    pub is_explicit: bool,
}

impl fmt::Display for ImageReference {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Some(registry) = &self.registry {
            write!(f, "{registry}/")?;
        }
        match &self.reference {
            Reference::Tag(tag) => write!(f, "{}:{tag}", self.repository),
            Reference::Digest(digest) => write!(f, "{}@{digest}", self.repository),
        }
    }
}

/// Why a text names no artifact.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0:?} is not a reference to an artifact ([REGISTRY/]REPOSITORY[:TAG][@DIGEST])")]
pub struct ParseReferenceError(String);

impl FromStr for ImageReference {
    type Err = ParseReferenceError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let invalid = || ParseReferenceError(text.to_owned());
        let (rest, digest) = match text.split_once('@') {
            Some((rest, digest)) => (rest, Some(digest.parse().map_err(|_| invalid())?)),
            None => (text, None),
        };
        let (registry, rest) = match rest.split_once('/') {
            // A first part that cannot be a repository's is a host.
            Some((host, rest)) if host.contains(['.', ':']) || host == "localhost" => {
                (Some(host.to_owned()), rest)
            }
            _ => (None, rest),
        };
        let (repository, tag) = match rest.split_once(':') {
            Some((repository, tag)) => (repository, Some(tag)),
            None => (rest, None),
        };
        let is_host = |host: &String| {
            url::Url::parse(&format!("http://{host}/")).is_ok_and(|url| url.path() == "/")
        };
        if !is_repository(repository)
            || !tag.is_none_or(is_tag)
            || !registry.as_ref().is_none_or(is_host)
        {
            return Err(invalid());
        }
        Ok(Self {
            registry,
            repository: repository.to_owned(),
            is_explicit: tag.is_some() || digest.is_some(),
            reference: match digest {
                Some(digest) => Reference::Digest(digest),
                None => Reference::Tag(tag.unwrap_or("latest").to_owned()),
            },
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn repositories_and_tags_follow_the_grammar_of_the_specification() {
        for name in ["a", "hello", "team/hello", "a.b_c__d---e/f0", "0"] {
            assert!(is_repository(name), "{name}");
        }
        for name in ["", "A", "a/", "/a", "a//b", "-a", "a-", "a..b", "a___b", "a._b", "ü", "a b"]
        {
            assert!(!is_repository(name), "{name}");
        }
        assert!(!is_repository(&"a".repeat(256)));
        for tag in ["1.0.0", "_x", "A-b.c", "0.1.0-r1a2b3c4d"] {
            assert!(is_tag(tag), "{tag}");
        }
        for tag in ["", ".x", "-x", "a+b", "a/b", "a:b"] {
            assert!(!is_tag(tag), "{tag}");
        }
        assert!(is_tag(&"a".repeat(128)) && !is_tag(&"a".repeat(129)));
    }

    #[test]
    fn an_image_reference_is_taken_apart() {
        let parse = |text: &str| text.parse::<ImageReference>().unwrap();
        let full = parse("registry.example.com:5000/team/hello:1.0");
        assert_eq!(full.registry.as_deref(), Some("registry.example.com:5000"));
        assert_eq!(full.repository, "team/hello");
        assert_eq!(full.reference, Reference::Tag("1.0".into()));
        let bare = parse("hello");
        assert_eq!((bare.registry, bare.is_explicit), (None, false));
        assert_eq!(bare.reference, Reference::Tag("latest".into()));
        let digest = Digest::of("x");
        let pinned = parse(&format!("localhost/hello:1@{digest}"));
        assert_eq!(pinned.registry.as_deref(), Some("localhost"));
        assert_eq!(pinned.reference, Reference::Digest(digest));
        for bad in ["", "Hello", "a b", "x@sha256:00", "host.example/", "ex ample.com/a", "a:b:c"] {
            assert!(bad.parse::<ImageReference>().is_err(), "{bad}");
        }
    }
}
