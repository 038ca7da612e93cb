//! From TOML to the schema, with every mistake noted at its place.
//!
//! A reader returns nothing where it has noted an error; whoever reads on does so to find the other mistakes.

mod component;
mod dependency;
mod v1;
mod v2;

use std::ops::Range;

use indexmap::IndexMap;
use serde_json::{Map, Value as Json};
use toml::de::{DeTable, DeValue};

use crate::{
    diagnostic::{Diagnostic, Diagnostics},
    schema::Spanned,
    suggest::did_you_mean,
};
pub(crate) use v1::manifest as v1;
pub(crate) use v2::manifest as v2;

/// A value with its place.
pub(crate) type Node<'i> = toml::Spanned<DeValue<'i>>;
/// A key with its place.
pub(crate) type Key<'i> = toml::Spanned<std::borrow::Cow<'i, str>>;

/// ``expected one of `a`, `b` ``, as TOML errors say it.
pub(crate) fn expected_one_of(known: &[&str]) -> String {
    match known {
        [] => "there are no fields".to_owned(),
        [one] => format!("expected `{one}`"),
        [one, other] => format!("expected `{one}` or `{other}`"),
        all => {
            let quoted: Vec<_> = all.iter().map(|name| format!("`{name}`")).collect();
            format!("expected one of {}", quoted.join(", "))
        }
    }
}

/// The keys of one table, taken one by one; what nobody has asked for is unknown.
pub(crate) struct Fields<'a, 'i> {
    table: &'a DeTable<'i>,
    /// Where a key that is absent would have been.
    span: Range<usize>,
    known: Vec<&'static str>,
}

impl<'a, 'i> Fields<'a, 'i> {
    pub(crate) fn new(table: &'a DeTable<'i>, span: Range<usize>) -> Self {
        Self { table, span, known: Vec::new() }
    }

    /// The fields of a value that must be a table.
    pub(crate) fn of(
        out: &mut Diagnostics,
        node: &'a Node<'i>,
        span: Range<usize>,
    ) -> Option<Self> {
        Some(Self::new(table(out, node)?, span))
    }

    pub(crate) fn span(&self) -> Range<usize> {
        self.span.clone()
    }

    pub(crate) fn entry(&mut self, name: &'static str) -> Option<(&'a Key<'i>, &'a Node<'i>)> {
        if !self.known.contains(&name) {
            self.known.push(name);
        }
        self.table.get_key_value(name)
    }

    pub(crate) fn has(&self, name: &str) -> bool {
        self.table.contains_key(name)
    }

    pub(crate) fn optional<T>(
        &mut self,
        out: &mut Diagnostics,
        name: &'static str,
        read: impl FnOnce(&mut Diagnostics, &'a Node<'i>) -> Option<T>,
    ) -> Option<T> {
        let (_, node) = self.entry(name)?;
        read(out, node)
    }

    pub(crate) fn required<T>(
        &mut self,
        out: &mut Diagnostics,
        name: &'static str,
        read: impl FnOnce(&mut Diagnostics, &'a Node<'i>) -> Option<T>,
    ) -> Option<T> {
        if let Some((_, node)) = self.entry(name) {
            return read(out, node);
        }
        let message = format!("missing field `{name}`");
        out.push(Diagnostic::error("manifest.missing_key", message).at(self.span.clone()));
        None
    }

    /// Notes the keys that nobody has asked for.
    pub(crate) fn finish(self, out: &mut Diagnostics) {
        for (key, _) in self.table {
            let name: &str = key.get_ref();
            if !self.known.contains(&name) {
                out.push(unknown_key(name, key.span(), &self.known));
            }
        }
    }

    /// All entries that nobody has asked for.
    pub(crate) fn rest(self) -> impl Iterator<Item = (&'a Key<'i>, &'a Node<'i>)> {
        let known = self.known;
        self.table.iter().filter(move |(key, _)| !known.contains(&key.get_ref().as_ref()))
    }
}

pub(crate) fn unknown_key(name: &str, span: Range<usize>, known: &[&str]) -> Diagnostic {
    let message = format!("unknown field `{name}`, {}", expected_one_of(known));
    let diagnostic = Diagnostic::error("manifest.unknown_key", message).at(span);
    match did_you_mean(name, known.iter().copied()) {
        Some(help) => diagnostic.with_help(help),
        None => diagnostic,
    }
}

fn describe(value: &DeValue<'_>) -> String {
    match value {
        DeValue::String(text) => format!("string {text:?}"),
        DeValue::Integer(integer) => format!("integer `{integer}`"),
        DeValue::Float(float) => format!("floating point `{}`", float.as_str()),
        DeValue::Boolean(boolean) => format!("boolean `{boolean}`"),
        DeValue::Datetime(_) => "datetime".to_owned(),
        DeValue::Array(_) => "sequence".to_owned(),
        DeValue::Table(_) => "map".to_owned(),
    }
}

pub(crate) fn wrong_type(node: &Node<'_>, expected: &str) -> Diagnostic {
    let message = format!("invalid type: {}, expected {expected}", describe(node.get_ref()));
    Diagnostic::error("manifest.type", message).at(node.span())
}

pub(crate) fn text(out: &mut Diagnostics, node: &Node<'_>) -> Option<Spanned<String>> {
    if let DeValue::String(text) = node.get_ref() {
        return Some(Spanned::new(text.clone().into_owned(), node.span()));
    }
    out.push(wrong_type(node, "a string"));
    None
}

pub(crate) fn string(out: &mut Diagnostics, node: &Node<'_>) -> Option<String> {
    text(out, node).map(Spanned::into_value)
}

pub(crate) fn boolean(out: &mut Diagnostics, node: &Node<'_>) -> Option<Spanned<bool>> {
    if let DeValue::Boolean(boolean) = node.get_ref() {
        return Some(Spanned::new(*boolean, node.span()));
    }
    out.push(wrong_type(node, "a boolean"));
    None
}

pub(crate) fn table<'a, 'i>(out: &mut Diagnostics, node: &'a Node<'i>) -> Option<&'a DeTable<'i>> {
    if let DeValue::Table(table) = node.get_ref() {
        return Some(table);
    }
    out.push(wrong_type(node, "a table"));
    None
}

/// The items of a sequence that could be read.
pub(crate) fn list<'a, 'i, T>(
    out: &mut Diagnostics,
    node: &'a Node<'i>,
    mut read: impl FnMut(&mut Diagnostics, &'a Node<'i>) -> Option<T>,
) -> Option<Vec<T>> {
    if let DeValue::Array(items) = node.get_ref() {
        return Some(items.iter().filter_map(|item| read(out, item)).collect());
    }
    out.push(wrong_type(node, "a sequence"));
    None
}

pub(crate) fn texts(out: &mut Diagnostics, node: &Node<'_>) -> Option<Vec<Spanned<String>>> {
    list(out, node, text)
}

pub(crate) fn strings(out: &mut Diagnostics, node: &Node<'_>) -> Option<Vec<String>> {
    list(out, node, string)
}

/// The entries of a table that could be read.
pub(crate) fn entries<'a, 'i, K, V>(
    out: &mut Diagnostics,
    node: &'a Node<'i>,
    mut read: impl FnMut(&mut Diagnostics, &'a Key<'i>, &'a Node<'i>) -> Option<(K, V)>,
) -> Option<IndexMap<K, V>>
where
    K: std::hash::Hash + Eq,
{
    let table = table(out, node)?;
    Some(table.iter().filter_map(|(key, node)| read(out, key, node)).collect())
}

pub(crate) fn string_map(
    out: &mut Diagnostics,
    node: &Node<'_>,
) -> Option<IndexMap<String, String>> {
    entries(out, node, |out, key, node| Some((key.get_ref().to_string(), string(out, node)?)))
}

/// A free-form table of tables, such as `tool`.
pub(crate) fn free_tables(
    out: &mut Diagnostics,
    node: &Node<'_>,
) -> Option<IndexMap<String, Map<String, Json>>> {
    entries(out, node, |out, key, node| {
        Some((key.get_ref().to_string(), json_table(table(out, node)?)))
    })
}

/// Where each key and value of a table was written, by the keys that lead there, joined with dots.
pub(crate) fn spans<'a, 'i: 'a>(
    entries: impl IntoIterator<Item = (&'a Key<'i>, &'a Node<'i>)>,
) -> IndexMap<String, (Range<usize>, Range<usize>)> {
    let mut all = IndexMap::new();
    for (key, node) in entries {
        all.insert(key.get_ref().to_string(), (key.span(), node.span()));
        if let DeValue::Table(table) = node.get_ref() {
            let inner = spans(table).into_iter();
            all.extend(inner.map(|(path, at)| (format!("{}.{path}", key.get_ref()), at)));
        }
    }
    all
}

pub(crate) fn json_table(table: &DeTable<'_>) -> Map<String, Json> {
    table.iter().map(|(key, node)| (key.get_ref().to_string(), json(node.get_ref()))).collect()
}

/// The same value in JSON. Dates become text; numbers that JSON does not have become null.
pub(crate) fn json(value: &DeValue<'_>) -> Json {
    match value {
        DeValue::String(text) => Json::String(text.clone().into_owned()),
        DeValue::Integer(integer) => {
            i64::from_str_radix(integer.as_str(), integer.radix()).map_or(Json::Null, Json::from)
        }
        DeValue::Float(float) => float.as_str().parse::<f64>().map_or(Json::Null, Json::from),
        DeValue::Boolean(boolean) => Json::Bool(*boolean),
        DeValue::Datetime(datetime) => Json::String(datetime.to_string()),
        DeValue::Array(items) => items.iter().map(|item| json(item.get_ref())).collect(),
        DeValue::Table(table) => Json::Object(json_table(table)),
    }
}
