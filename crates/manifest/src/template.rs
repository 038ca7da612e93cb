//! Text with `{{ name }}` in it: the values of component variables, and allowed hosts.
//!
//! No escapes and no filters: whatever stands between `{{` and the next `}}`, trimmed, is a name.

use std::{fmt, str::FromStr};

/// A parsed template.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Template {
    parts: Vec<Part>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
enum Part {
    Literal(Box<str>),
    Name(Box<str>),
}

/// Why a template cannot be parsed or resolved.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum TemplateError {
    /// `{{` without `}}`.
    #[error("invalid variable template: unmatched '{{{{' in template")]
    Unmatched,
    /// A name that no variable has.
    #[error("invalid variable template: unknown variable {0:?}")]
    Unknown(String),
}

impl Template {
    /// Parses a template.
    ///
    /// # Errors
    /// [`TemplateError::Unmatched`].
    pub fn parse(text: &str) -> Result<Self, TemplateError> {
        let mut parts = Vec::new();
        let mut rest = text;
        while let Some((literal, after)) = rest.split_once("{{") {
            if !literal.is_empty() {
                parts.push(Part::Literal(literal.into()));
            }
            let (name, after) = after.split_once("}}").ok_or(TemplateError::Unmatched)?;
            parts.push(Part::Name(name.trim().into()));
            rest = after;
        }
        if !rest.is_empty() {
            parts.push(Part::Literal(rest.into()));
        }
        Ok(Self { parts })
    }

    /// Whether there is no name in it.
    pub fn is_literal(&self) -> bool {
        self.names().next().is_none()
    }

    /// The names in it, in order, each as often as it is there.
    pub fn names(&self) -> impl Iterator<Item = &str> {
        self.parts.iter().filter_map(|part| match part {
            Part::Name(name) => Some(&**name),
            Part::Literal(_) => None,
        })
    }

    /// The text with the values that `lookup` gives.
    ///
    /// # Errors
    /// [`TemplateError::Unknown`] for the first name without a value.
    pub fn resolve(
        &self,
        mut lookup: impl FnMut(&str) -> Option<String>,
    ) -> Result<String, TemplateError> {
        let mut resolved = String::new();
        for part in &self.parts {
            match part {
                Part::Literal(text) => resolved.push_str(text),
                Part::Name(name) => resolved.push_str(
                    &lookup(name).ok_or_else(|| TemplateError::Unknown((**name).to_owned()))?,
                ),
            }
        }
        Ok(resolved)
    }
}

impl FromStr for Template {
    type Err = TemplateError;
    fn from_str(text: &str) -> Result<Self, Self::Err> {
        Self::parse(text)
    }
}

impl fmt::Display for Template {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.parts.iter().try_for_each(|part| match part {
            Part::Literal(text) => f.write_str(text),
            Part::Name(name) => write!(f, "{{{{ {name} }}}}"),
        })
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn value(name: &str) -> Option<String> {
        (name != "missing").then(|| format!("<{name}>"))
    }

    #[test]
    fn names_are_trimmed_and_replaced() {
        let template = Template::parse("a-{{ x }}-{{y}}{{  z  }}").unwrap();
        assert_eq!(template.names().collect::<Vec<_>>(), ["x", "y", "z"]);
        assert_eq!(template.resolve(value).unwrap(), "a-<x>-<y><z>");
        assert_eq!(template.to_string(), "a-{{ x }}-{{ y }}{{ z }}");
    }

    #[test]
    fn what_only_looks_like_a_template_is_literal() {
        for text in ["", "a", "}}", "{ {x} }", "{x}", "}} {"] {
            let template = Template::parse(text).unwrap();
            assert!(template.is_literal(), "{text}");
            assert_eq!(template.resolve(value).unwrap(), text);
        }
    }

    #[test]
    fn mistakes_read_as_spins() {
        assert_eq!(
            Template::parse("{{ a }} {{ b").unwrap_err().to_string(),
            "invalid variable template: unmatched '{{' in template"
        );
        assert_eq!(
            Template::parse("{{ missing }}").unwrap().resolve(value).unwrap_err().to_string(),
            r#"invalid variable template: unknown variable "missing""#
        );
    }

    #[derive(Debug, Clone)]
    enum Piece {
        Text(String),
        Name(String),
    }

    fn pieces() -> impl Strategy<Value = Vec<Piece>> {
        // A brace at the end of a text would join the braces of the name behind it.
        let text = "[a-z{} .:/é]{0,6}[a-z]".prop_filter("no opening", |text| !text.contains("{{"));
        let piece =
            prop_oneof![text.prop_map(Piece::Text), "[a-z][a-z0-9_]{0,5}".prop_map(Piece::Name)];
        prop::collection::vec(piece, 0..8)
    }

    proptest! {
        #[test]
        fn a_template_resolves_to_its_pieces(pieces in pieces(), blanks in " {0,3}") {
            let text: String = pieces.iter().map(|piece| match piece {
                Piece::Text(text) => text.clone(),
                Piece::Name(name) => format!("{{{{{blanks}{name}{blanks}}}}}"),
            }).collect();
            let expected: String = pieces.iter().map(|piece| match piece {
                Piece::Text(text) => text.clone(),
                Piece::Name(name) => format!("<{name}>"),
            }).collect();
            let template = Template::parse(&text).unwrap();
            prop_assert_eq!(template.resolve(value), Ok(expected));
            let names = pieces.iter().filter(|piece| matches!(piece, Piece::Name(_))).count();
            prop_assert_eq!(template.names().count(), names);
        }

        #[test]
        fn what_is_parsed_and_written_is_parsed_to_the_same(text in "[a{} ]{0,16}") {
            if let Ok(template) = Template::parse(&text) {
                let written = template.to_string();
                prop_assert_eq!(Template::parse(&written), Ok(template));
            } else {
                prop_assert!(text.contains("{{"));
            }
        }
    }
}
