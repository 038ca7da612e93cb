//! What a search asks for, and what it answers.

use std::collections::HashMap;

use semver::{Version, VersionReq};
use serde::{Deserialize, Serialize};

use super::Invoice;

/// How many are answered if nothing is said.
pub const DEFAULT_LIMIT: u8 = 50;

/// What is looked for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Query {
    /// Words that are all in the name; none fit all names.
    pub term: String,
    /// The versions: an exact one, or a range; empty for all.
    pub version: String,
    /// How many of the matches to leave out first.
    pub offset: u64,
    /// How many of the matches to answer at most.
    pub limit: u8,
    /// Said back.
    pub strict: bool,
    /// Yanked ones, too.
    pub yanked: bool,
}

impl Default for Query {
    fn default() -> Self {
        Self {
            term: String::new(),
            version: String::new(),
            offset: 0,
            limit: DEFAULT_LIMIT,
            strict: false,
            yanked: false,
        }
    }
}

/// Why a query cannot be answered.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum QueryError {
    /// A parameter that there is not, or twice.
    #[error("Invalid query string: {0:?} is no parameter of a search, or it is there twice")]
    Parameter(String),
    /// A parameter whose value is none.
    #[error("Invalid query string: {value:?} is no value of {name:?}")]
    Value {
        /// The parameter.
        name: String,
        /// The value.
        value: String,
    },
    /// A version that is none.
    #[error("{0:?} is neither a version nor a range of versions")]
    Version(String),
}

impl Query {
    /// Out of a URL's parameters, decoded: their long names, or the first letter of some.
    pub fn from_parameters<'a>(
        parameters: impl IntoIterator<Item = (&'a str, &'a str)>,
    ) -> Result<Self, QueryError> {
        let mut values: HashMap<&str, &str> = HashMap::new();
        for (name, value) in parameters {
            let long = match name {
                "q" => "query",
                "v" => "version",
                "o" => "offset",
                "l" => "limit",
                "query" | "version" | "offset" | "limit" | "strict" | "yanked" => name,
                _ => return Err(QueryError::Parameter(name.to_owned())),
            };
            if values.insert(long, value).is_some() {
                return Err(QueryError::Parameter(name.to_owned()));
            }
        }
        fn value<T: std::str::FromStr>(
            values: &HashMap<&str, &str>,
            name: &str,
            default: T,
        ) -> Result<T, QueryError> {
            values.get(name).map_or(Ok(default), |value| {
                let wrong =
                    |_| QueryError::Value { name: name.to_owned(), value: (*value).to_owned() };
                value.parse().map_err(wrong)
            })
        }
        let text = |name| values.get(name).copied().unwrap_or_default().to_owned();
        let query = Self {
            term: text("query"),
            version: text("version"),
            offset: value(&values, "offset", 0)?,
            limit: value(&values, "limit", DEFAULT_LIMIT)?,
            strict: value(&values, "strict", false)?,
            yanked: value(&values, "yanked", false)?,
        };
        query.versions()?;
        Ok(query)
    }

    /// The versions that fit.
    pub fn versions(&self) -> Result<Versions, QueryError> {
        if self.version.is_empty() {
            return Ok(Versions(None));
        }
        let wrong = || QueryError::Version(self.version.clone());
        // A bare version means that very one, not what is compatible with it.
        let range = match Version::parse(&self.version) {
            Ok(version) => Range::Exactly(version),
            Err(_) => Range::Within(VersionReq::parse(&self.version).map_err(|_| wrong())?),
        };
        Ok(Versions(Some(range)))
    }

    /// Whether the name has all words of the query.
    pub fn fits_name(&self, name: &str) -> bool {
        self.term.split_whitespace().all(|word| name.contains(word))
    }

    /// An answer with the page of these matches, which are sorted.
    pub fn answer(&self, matches: impl ExactSizeIterator<Item = Invoice>) -> Matches {
        let total = matches.len() as u64;
        let offset = usize::try_from(self.offset).unwrap_or(usize::MAX);
        let invoices: Vec<_> = matches.skip(offset).take(usize::from(self.limit)).collect();
        Matches::new(self, total, invoices)
    }
}

/// A set of versions.
#[derive(Debug, Clone)]
pub struct Versions(Option<Range>);

#[derive(Debug, Clone)]
enum Range {
    Exactly(Version),
    Within(VersionReq),
}

impl Versions {
    /// Whether that version is one of them. A pre-release is only if the range names one itself.
    pub fn has(&self, version: &Version) -> bool {
        match &self.0 {
            None => true,
            Some(Range::Exactly(exactly)) => exactly == version,
            Some(Range::Within(range)) => range.matches(version),
        }
    }
}

/// What was found.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Matches {
    /// The words that were looked for.
    pub query: String,
    /// As it was asked.
    pub strict: bool,
    /// As it was asked.
    pub offset: u64,
    /// As it was asked.
    pub limit: u8,
    /// How many there are, on all pages.
    pub total: u64,
    /// Whether there are any after these.
    pub more: bool,
    /// Whether yanked ones may be among them.
    pub yanked: bool,
    /// This page.
    pub invoices: Vec<Invoice>,
}

impl Matches {
    /// The page of so many.
    pub fn new(query: &Query, total: u64, invoices: Vec<Invoice>) -> Self {
        let end = query.offset.saturating_add(invoices.len() as u64);
        Self {
            query: query.term.clone(),
            strict: query.strict,
            offset: query.offset,
            limit: query.limit,
            total,
            more: end < total,
            yanked: query.yanked,
            invoices,
        }
    }
}
