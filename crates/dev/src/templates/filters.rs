//! Liquid with Spin's filters.

use liquid_core::{
    Display_filter, Filter, FilterReflection, ParseFilter, Result, Runtime, Value, ValueView,
};

/// A parser that knows the standard filters and Spin's.
pub(super) fn parser() -> liquid::Parser {
    liquid::ParserBuilder::with_stdlib()
        .filter(KebabCase)
        .filter(SnakeCase)
        .filter(PascalCase)
        .filter(DottedPascalCase)
        .filter(HttpWildcard)
        .build()
        .expect("the filters' names are distinct")
}

macro_rules! filter {
    ($parse:ident, $apply:ident, $name:literal, $description:literal, $function:path) => {
        #[derive(Clone, ParseFilter, FilterReflection)]
        #[filter(name = $name, description = $description, parsed($apply))]
        struct $parse;

        #[derive(Debug, Default, Display_filter)]
        #[name = $name]
        struct $apply;

        impl Filter for $apply {
            fn evaluate(&self, input: &dyn ValueView, _: &dyn Runtime) -> Result<Value> {
                Ok(Value::scalar($function(&input.to_kstr())))
            }
        }
    };
}

filter!(KebabCase, KebabCaseFilter, "kebab_case", "words-like-this", kebab);
filter!(SnakeCase, SnakeCaseFilter, "snake_case", "words_like_this", snake);
filter!(PascalCase, PascalCaseFilter, "pascal_case", "WordsLikeThis", pascal);
filter!(DottedPascalCase, DottedPascalCaseFilter, "dotted_pascal_case", "Words.LikeThis", dotted);
filter!(HttpWildcard, HttpWildcardFilter, "http_wildcard", "a route and all below it", wildcard);

/// The words of a name: split at what is no letter or digit, and before a capital that follows a small letter.
fn words(text: &str) -> Vec<String> {
    let mut words = vec![String::new()];
    let mut previous_is_lower = false;
    for c in text.chars() {
        if !c.is_alphanumeric() || (c.is_uppercase() && previous_is_lower) {
            words.push(String::new());
        }
        if c.is_alphanumeric() {
            words.last_mut().expect("there is always a word").extend(c.to_lowercase());
        }
        previous_is_lower = c.is_lowercase();
    }
    words.retain(|word| !word.is_empty());
    words
}

fn kebab(text: &str) -> String {
    words(text).join("-")
}

fn snake(text: &str) -> String {
    words(text).join("_")
}

fn pascal(text: &str) -> String {
    let capitalised = words(text).into_iter().map(|word| {
        let mut chars = word.chars();
        chars.next().map(|first| first.to_uppercase().chain(chars).collect::<String>())
    });
    capitalised.flatten().collect()
}

fn dotted(text: &str) -> String {
    text.split('.').map(pascal).collect::<Vec<_>>().join(".")
}

fn wildcard(text: &str) -> String {
    if text.ends_with("/...") {
        text.to_owned()
    } else if text.ends_with('/') {
        format!("{text}...")
    } else {
        format!("{text}/...")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_change_their_case() {
        assert_eq!(kebab("My App_two"), "my-app-two");
        assert_eq!(snake("my-appTwo"), "my_app_two");
        assert_eq!(pascal("my-app2 x"), "MyApp2X");
        assert_eq!(dotted("com.my-app"), "Com.MyApp");
    }

    #[test]
    fn a_route_becomes_a_wildcard_once() {
        assert_eq!(wildcard("/"), "/...");
        assert_eq!(wildcard("/a"), "/a/...");
        assert_eq!(wildcard("/a/..."), "/a/...");
    }
}
