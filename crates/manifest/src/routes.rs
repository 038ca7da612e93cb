//! Routes of the HTTP trigger: their grammar, their precedence, and finding the one for a path.
//!
//! A route is exact (`/a/b`), has named parameters (`/users/:id`, `/files/:name.json`) or ends in a wildcard
//! (`/static/...`, or `/static/*`). It begins with `/`, written or not; slashes at its end do not count, neither
//! in the route nor in the path. For a path that several routes match, literal text beats a parameter beats a
//! wildcard, at the first place where they differ, whatever the order in the manifest.

mod pattern;
mod router;
#[cfg(test)]
mod tests;

use std::{borrow::Cow, sync::LazyLock};

pub use pattern::PatternError;
use pattern::Token;
pub use router::{Duplicate, RouteError, Router};

/// What lies under this prefix is answered by the host and never reaches a component.
pub const RESERVED_PREFIX: &str = "/.well-known/spin/";

/// A route, parsed.
#[derive(Debug, Clone)]
pub struct Route {
    raw: String,
    based: String,
    tokens: Vec<Token>,
    steps: Vec<pattern::Step>,
}

impl Route {
    /// Parses a route as the manifest has it.
    ///
    /// # Errors
    /// What is wrong with it.
    pub fn parse(raw: &str) -> Result<Self, PatternError> {
        let based = pattern::absolute(raw);
        let tokens = pattern::tokens(&based)?;
        let steps = pattern::steps(&tokens);
        Ok(Self { raw: raw.to_owned(), based, tokens, steps })
    }

    /// `/...`: the route of a request that came by service chaining.
    pub fn everything() -> &'static Self {
        static EVERYTHING: LazyLock<Route> =
            LazyLock::new(|| Route::parse("/...").expect("it is a route"));
        &EVERYTHING
    }

    /// As the manifest has it.
    pub fn raw(&self) -> &str {
        &self.raw
    }

    /// The same without `/...` at its end.
    pub fn raw_prefix(&self) -> &str {
        self.raw.strip_suffix("/...").unwrap_or(&self.raw)
    }

    /// Absolute and without a slash at its end: `/a/...`, and nothing at all for `/`.
    pub fn based(&self) -> &str {
        &self.based
    }

    /// The same without `/...` at its end: what the guest is told as its component route.
    pub fn based_prefix(&self) -> &str {
        self.based.strip_suffix("/...").unwrap_or(&self.based)
    }

    /// Whether it ends in `/...` or `/*`.
    pub fn is_wildcard(&self) -> bool {
        self.based.ends_with("/...") || self.based.ends_with("/*")
    }

    /// What is shown to people before ` (wildcard)`: the route without its wildcard, nothing at all for the root.
    pub fn path(&self) -> &str {
        let stripped = self.based.strip_suffix("/...").or_else(|| self.based.strip_suffix("/*"));
        stripped.unwrap_or(&self.based)
    }

    /// Whether requests for it are answered by the host, so that it is never reached.
    pub fn is_reserved(&self) -> bool {
        self.based.starts_with(RESERVED_PREFIX)
    }

    /// The names of its parameters, in order.
    pub fn parameters(&self) -> impl Iterator<Item = &str> {
        self.tokens.iter().filter_map(|token| match token {
            Token::Parameter(name) => Some(&**name),
            _ => None,
        })
    }
}

/// The route that was found for a path.
#[derive(Debug, Clone, PartialEq)]
pub struct RouteMatch<'r, 'p, T> {
    /// What the route leads to.
    pub value: &'r T,
    /// The route.
    pub route: &'r Route,
    /// What the wildcard stands for, with its slash: `/b/c` for `/a/...` and `/a/b/c`; empty for `/a` and
    /// wherever there is no wildcard; `/` for `/a/`.
    pub path_info: Cow<'p, str>,
    /// The parameters and what they stand for, as the path has it (percent-encoded), in the route's order.
    pub named: Vec<(&'r str, &'p str)>,
}

impl<'r, 'p, T> RouteMatch<'r, 'p, T> {
    /// A match as if `path` had been found by the route `/...`: for service chaining.
    pub fn synthetic(value: &'r T, path: &'p str) -> Self {
        Self {
            value,
            route: Route::everything(),
            path_info: Cow::Borrowed(path),
            named: Vec::new(),
        }
    }
}

impl PartialEq for Route {
    fn eq(&self, other: &Self) -> bool {
        self.raw == other.raw
    }
}
