//! Identifiers as manifests write them: `kebab-case` for components, `lower_snake_case` for variables.
//!
//! An identifier in hand is well formed: the only way to make one is to parse it.

use std::{borrow::Borrow, fmt, str::FromStr};

/// Why a text is no identifier of its kind.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct IdError(String);

macro_rules! identifier {
    ($($(#[$doc:meta])* $name:ident($separator:literal, $lower:literal);)*) => {$(
        $(#[$doc])*
        #[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub struct $name(String);

        impl $name {
            /// The text.
            pub fn as_str(&self) -> &str {
                &self.0
            }
        }

        impl FromStr for $name {
            type Err = IdError;
            fn from_str(text: &str) -> Result<Self, Self::Err> {
                check(text, $separator, $lower).map_err(IdError)?;
                Ok(Self(text.to_owned()))
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(&self.0)
            }
        }

        impl AsRef<str> for $name {
            fn as_ref(&self) -> &str {
                &self.0
            }
        }

        // Equality, order and hash are the text's.
        impl Borrow<str> for $name {
            fn borrow(&self) -> &str {
                &self.0
            }
        }

        impl From<$name> for String {
            fn from(id: $name) -> Self {
                id.0
            }
        }
    )*};
}

identifier! {
    /// `like-this`; a word may be upper case as a whole.
    KebabId('-', false);
    /// `like_this`; a word may be upper case as a whole.
    SnakeId('_', false);
    /// `like_this`, lower case throughout.
    LowerSnakeId('_', true);
}

fn check(text: &str, separator: char, lower: bool) -> Result<(), String> {
    if text.is_empty() {
        return Err("empty".to_owned());
    }
    let other = if separator == '-' { '_' } else { '-' };
    if text.contains(other) {
        return Err(format!("words must be separated with {separator:?}, not {other:?}"));
    }
    for word in text.split(separator) {
        let Some(first) = word.chars().next() else {
            return Err(format!("{separator:?}-separated words must not be empty"));
        };
        if !first.is_ascii_alphabetic() {
            return Err(format!(
                "{separator:?}-separated words must start with an ASCII letter; got {first:?}"
            ));
        }
        for c in word.chars() {
            if !c.is_ascii_alphanumeric() {
                return Err(format!(
                    "{separator:?}-separated words may only contain alphanumeric ASCII; got {c:?}"
                ));
            }
            if c.is_ascii_alphabetic() && c.is_ascii_uppercase() != first.is_ascii_uppercase() {
                return Err(format!(
                    "{separator:?}-separated words must be all lowercase or all UPPERCASE; got {word:?}"
                ));
            }
        }
        if lower && first.is_ascii_uppercase() {
            return Err(format!("Lower-case identifiers must be all lowercase; got {text:?}"));
        }
    }
    Ok(())
}

/// Whether a text can label a store or a database: kebab or snake case.
pub fn is_valid_label(text: &str) -> bool {
    text.parse::<KebabId>().is_ok() || text.parse::<SnakeId>().is_ok()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn kebab(text: &str) -> Result<KebabId, String> {
        text.parse().map_err(|error: IdError| error.to_string())
    }

    #[test]
    fn identifiers_follow_the_grammar() {
        for good in ["a", "hello-world", "a1-b2", "HTTP-server", "x-Y"] {
            assert_eq!(kebab(good).unwrap().as_str(), good);
        }
        assert_eq!(kebab("bad_id").unwrap_err(), "words must be separated with '-', not '_'");
        assert_eq!(kebab("").unwrap_err(), "empty");
        assert_eq!(kebab("a--b").unwrap_err(), "'-'-separated words must not be empty");
        assert_eq!(
            kebab("1-2").unwrap_err(),
            "'-'-separated words must start with an ASCII letter; got '1'"
        );
        assert_eq!(
            kebab("a+b").unwrap_err(),
            "'-'-separated words may only contain alphanumeric ASCII; got '+'"
        );
        assert_eq!(
            kebab("aB").unwrap_err(),
            r#"'-'-separated words must be all lowercase or all UPPERCASE; got "aB""#
        );
        assert_eq!(
            "A_B".parse::<LowerSnakeId>().unwrap_err().to_string(),
            r#"Lower-case identifiers must be all lowercase; got "A_B""#
        );
    }

    #[test]
    fn labels_may_be_kebab_or_snake() {
        assert!(is_valid_label("my-store") && is_valid_label("my_store"));
        assert!(!is_valid_label("my-_store") && !is_valid_label("") && !is_valid_label("a b"));
    }

    proptest! {
        #[test]
        fn identifiers_are_those_of_the_regular_expression(text in "[aB1_-]{0,8}") {
            let word = |text: &str| {
                let lower = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit();
                let upper = |c: char| c.is_ascii_uppercase() || c.is_ascii_digit();
                text.starts_with(|c: char| c.is_ascii_alphabetic())
                    && (text.chars().all(lower) || text.chars().all(upper))
            };
            prop_assert_eq!(kebab(&text).is_ok(), text.split('-').all(word));
            prop_assert_eq!(text.parse::<SnakeId>().is_ok(), text.split('_').all(word));
        }
    }
}
