//! The grammar of a route, and matching one route against one path.

use std::{borrow::Cow, cmp::Ordering};

/// Why a text is no route.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum PatternError {
    /// `:` with nothing behind it.
    #[error("params must be named")]
    UnnamedParameter,
    /// `*name`.
    #[error("since there can only be one wildcard, it doesn't need a name. replace `{0}` with `*`")]
    NamedWildcard(String),
    /// `*` with more behind it.
    #[error("the wildcard `*` must be the end of the route")]
    InnerWildcard,
}

/// A piece of a route, as precedence sees it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Token {
    Slash,
    /// A dot behind a parameter. Any other dot belongs to a literal.
    Dot,
    /// Literal text: up to a slash, or up to and including a dot.
    Literal(Box<str>),
    Parameter(Box<str>),
    Wildcard,
}

impl Token {
    /// Where it stands among the tokens that another route may have in its place; less is better. The end of a
    /// route is in this order, too: after the dot, since `:name.json` is more than `:name`.
    fn rank(token: Option<&Self>) -> u8 {
        match token {
            Some(Self::Dot) => 0,
            None => 1,
            Some(Self::Literal(_)) => 2,
            Some(Self::Parameter(_)) => 3,
            Some(Self::Slash) => 4,
            Some(Self::Wildcard) => 5,
        }
    }
}

/// Which of two routes is tried first.
pub(super) fn precedence(a: &[Token], b: &[Token]) -> Ordering {
    (0..=a.len().max(b.len()))
        .map(|place| Token::rank(a.get(place)).cmp(&Token::rank(b.get(place))))
        .find(|order| order.is_ne())
        .unwrap_or(Ordering::Equal)
}

/// The route with a slash before it and without one behind it.
pub(super) fn absolute(raw: &str) -> String {
    let based = if raw.starts_with('/') { raw.to_owned() } else { format!("/{raw}") };
    match based.strip_suffix('/') {
        Some(shorter) => shorter.to_owned(),
        None => based,
    }
}

pub(super) fn tokens(based: &str) -> Result<Vec<Token>, PatternError> {
    let starred: Cow<'_, str> = match based.strip_suffix("/...") {
        Some(prefix) => format!("{prefix}/*").into(),
        None => based.into(),
    };
    let mut tokens = Vec::new();
    // Repeated slashes count as one.
    for segment in starred.split('/').filter(|segment| !segment.is_empty()) {
        if !tokens.is_empty() {
            tokens.push(Token::Slash);
        }
        for (index, section) in segment.split('.').enumerate() {
            if index > 0 {
                match tokens.last_mut() {
                    Some(Token::Literal(text)) => *text = format!("{text}.").into(),
                    Some(Token::Parameter(_) | Token::Dot) => tokens.push(Token::Dot),
                    _ => tokens.push(Token::Literal(".".into())),
                }
            }
            if section == "*" {
                tokens.push(Token::Wildcard);
            } else if section.starts_with('*') {
                return Err(PatternError::NamedWildcard(section.to_owned()));
            } else if let Some(name) = section.strip_prefix(':') {
                if name.is_empty() {
                    return Err(PatternError::UnnamedParameter);
                }
                tokens.push(Token::Parameter(name.into()));
            } else if !section.is_empty() {
                tokens.push(Token::Literal(section.into()));
            }
        }
    }
    match tokens.iter().position(|token| *token == Token::Wildcard) {
        Some(place) if place + 1 < tokens.len() => Err(PatternError::InnerWildcard),
        _ => Ok(tokens),
    }
}

/// What matching does, one after the other: literals as long as can be.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Step {
    /// This text.
    Literal(Box<str>),
    /// Text up to a slash; or up to a dot, with no slash before it.
    Parameter { until_dot: bool },
    /// All the rest.
    Wildcard,
    /// A slash and all the rest, or nothing.
    SlashWildcard,
}

pub(super) fn steps(tokens: &[Token]) -> Vec<Step> {
    let mut steps = Vec::new();
    let mut literal = String::new();
    for (place, token) in tokens.iter().enumerate() {
        let next = tokens.get(place + 1);
        let step = match token {
            Token::Slash if next == Some(&Token::Wildcard) => Step::SlashWildcard,
            Token::Wildcard if steps.last() == Some(&Step::SlashWildcard) => continue,
            Token::Wildcard => Step::Wildcard,
            Token::Parameter(_) => Step::Parameter { until_dot: next == Some(&Token::Dot) },
            Token::Slash => {
                literal.push('/');
                continue;
            }
            Token::Dot => {
                literal.push('.');
                continue;
            }
            Token::Literal(text) => {
                literal.push_str(text);
                continue;
            }
        };
        if !literal.is_empty() {
            steps.push(Step::Literal(std::mem::take(&mut literal).into()));
        }
        steps.push(step);
    }
    if !literal.is_empty() {
        steps.push(Step::Literal(literal.into()));
    }
    steps
}

/// How a route matched.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Matched<'p> {
    /// All of the path, without a wildcard.
    Whole,
    /// With a wildcard, which stands for this.
    Until(&'p str),
}

/// Matches `path`, which has no slash at either end. What the parameters stand for is put into `captures`
/// (useless if there is no match).
///
pub(super) fn matches<'p>(
    steps: &[Step],
    path: &'p str,
    captures: &mut Vec<&'p str>,
) -> Option<Matched<'p>> {
    let mut rest = path;
    for step in steps {
        match step {
            Step::Literal(text) => rest = rest.strip_prefix(&**text)?,
            Step::Parameter { until_dot } => {
                if rest.is_empty() {
                    return None;
                }
                let end = if *until_dot {
                    let end = rest.find(['.', '/'])?;
                    if rest.as_bytes()[end] != b'.' {
                        return None;
                    }
                    end
                } else {
                    rest.find('/').unwrap_or(rest.len())
                };
                captures.push(&rest[..end]);
                rest = &rest[end..];
            }
            Step::Wildcard => return Some(Matched::Until(rest)),
            Step::SlashWildcard if rest.is_empty() => return Some(Matched::Until(rest)),
            Step::SlashWildcard => return rest.strip_prefix('/').map(Matched::Until),
        }
    }
    rest.is_empty().then_some(Matched::Whole)
}

/// What the guest is told of what a wildcard stands for: with a slash before it, and behind it if the
/// whole path ends in one. It is a part of `path`.
pub(super) fn path_info<'p>(path: &'p str, matched: Matched<'p>) -> Cow<'p, str> {
    let Matched::Until(rest) = matched else { return "".into() };
    let slash_behind = path.ends_with('/');
    if rest.is_empty() {
        return if slash_behind { "/" } else { "" }.into();
    }
    let start = rest.as_ptr() as usize - path.as_ptr() as usize;
    if path[..start].ends_with('/') {
        let end = start + rest.len() + usize::from(slash_behind);
        return path[start - 1..end].into();
    }
    format!("/{rest}{}", if slash_behind { "/" } else { "" }).into()
}
