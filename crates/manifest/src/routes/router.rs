//! Finding the route for a path: exact routes by hash, the others among those that share its first segment.

use std::collections::HashMap;

use indexmap::IndexMap;

use super::{
    PatternError, Route, RouteMatch,
    pattern::{self, Matched, Step},
};

/// A route that the manifest has more than once.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Duplicate {
    /// The route: absolute, `/` for the root.
    pub route: String,
    /// Which of the given routes is never used: its place among them.
    pub replaced: usize,
    /// Which took its place.
    pub effective: usize,
}

/// A route that cannot be parsed.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("Error parsing route {route}: {reason}")]
pub struct RouteError {
    /// The route, absolute.
    pub route: String,
    /// Its place among the given routes.
    pub index: usize,
    /// What is wrong with it.
    pub reason: PatternError,
}

/// Finds the value whose route matches a path best.
#[derive(Debug, Clone)]
pub struct Router<T> {
    /// In the order in which they are tried.
    entries: Vec<(Route, T)>,
    /// Routes without parameters and wildcards, by their text without slashes at the ends. Nothing beats them.
    exact: HashMap<Box<str>, usize>,
    /// The others whose first segment is literal, by that segment; each list in order.
    by_segment: HashMap<Box<str>, Vec<usize>>,
    /// All others, in order.
    others: Vec<usize>,
}

impl<T> Router<T> {
    /// A router over `routes`, in the manifest's order and as the manifest has them.
    ///
    /// Of the same text twice the last wins, and the others are returned as duplicates. Of different texts for
    /// the same route (`/a` and `/a/`) the first wins.
    ///
    /// # Errors
    /// The first route that cannot be parsed.
    pub fn build<'a>(
        routes: impl IntoIterator<Item = (&'a str, T)>,
    ) -> Result<(Self, Vec<Duplicate>), RouteError> {
        let mut distinct: IndexMap<&str, (usize, T)> = IndexMap::new();
        let mut duplicates = Vec::new();
        for (index, (raw, value)) in routes.into_iter().enumerate() {
            if let Some((replaced, _)) = distinct.insert(raw, (index, value)) {
                let based = pattern::absolute(raw);
                let route = if based.is_empty() { "/".to_owned() } else { based };
                duplicates.push(Duplicate { route, replaced, effective: index });
            }
        }
        let mut entries = distinct
            .into_iter()
            .map(|(raw, (index, value))| match Route::parse(raw) {
                Ok(route) => Ok((route, value)),
                Err(reason) => Err(RouteError { route: pattern::absolute(raw), index, reason }),
            })
            .collect::<Result<Vec<_>, _>>()?;
        // A stable sort: of equals the first stays the first.
        entries.sort_by(|(a, _), (b, _)| pattern::precedence(&a.tokens, &b.tokens));
        Ok((Self::index(entries), duplicates))
    }

    fn index(entries: Vec<(Route, T)>) -> Self {
        let mut router =
            Self { entries, exact: HashMap::new(), by_segment: HashMap::new(), others: Vec::new() };
        for (index, (route, _)) in router.entries.iter().enumerate() {
            match route.steps.as_slice() {
                [] => {
                    router.exact.entry("".into()).or_insert(index);
                }
                [Step::Literal(text)] => {
                    router.exact.entry(text.clone()).or_insert(index);
                }
                [Step::Literal(text), rest @ ..] => match text.split_once('/') {
                    Some((first, _)) => {
                        router.by_segment.entry(first.into()).or_default().push(index);
                    }
                    None if rest == [Step::SlashWildcard] => {
                        router.by_segment.entry(text.clone()).or_default().push(index);
                    }
                    None => router.others.push(index),
                },
                _ => router.others.push(index),
            }
        }
        router
    }

    /// The routes and what they lead to, in the order in which they are tried, which is also the one in which
    /// Spin lists them.
    pub fn routes(&self) -> impl Iterator<Item = (&Route, &T)> {
        self.entries.iter().map(|(route, value)| (route, value))
    }

    /// The best match for the path of a request: as it came, percent-encoded, without the query.
    pub fn find<'p>(&self, path: &'p str) -> Option<RouteMatch<'_, 'p, T>> {
        let trimmed = path.trim_matches('/');
        if let Some(&index) = self.exact.get(trimmed) {
            return Some(self.found(index, path, Matched::Whole, Vec::new()));
        }
        let first = trimmed.split('/').next().unwrap_or_default();
        let mut near = self.by_segment.get(first).map_or(&[][..], Vec::as_slice);
        let mut far = self.others.as_slice();
        let mut captures = Vec::new();
        loop {
            let index = match (near, far) {
                ([a, rest @ ..], [b, ..]) if a < b => {
                    near = rest;
                    *a
                }
                (_, [b, rest @ ..]) => {
                    far = rest;
                    *b
                }
                ([a, rest @ ..], []) => {
                    near = rest;
                    *a
                }
                ([], []) => return None,
            };
            captures.clear();
            if let Some(matched) =
                pattern::matches(&self.entries[index].0.steps, trimmed, &mut captures)
            {
                return Some(self.found(index, path, matched, captures));
            }
        }
    }

    fn found<'p>(
        &self,
        index: usize,
        path: &'p str,
        matched: Matched<'p>,
        captures: Vec<&'p str>,
    ) -> RouteMatch<'_, 'p, T> {
        let (route, value) = &self.entries[index];
        RouteMatch {
            value,
            route,
            path_info: pattern::path_info(path, matched),
            named: if captures.is_empty() {
                Vec::new()
            } else {
                route.parameters().zip(captures).collect()
            },
        }
    }
}
