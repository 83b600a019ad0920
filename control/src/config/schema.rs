//! The JSON Schema of the file, for editors, made of the reference.
//!
//! It knows types, choices, ranges and defaults. What only the decoder knows (addresses, names that are defined) is left to
//! `corelane check`.
//!
//! A filter's table is one of several, told apart by `type`; each is made of the keys that the filter's file has.

use corelane_filters::Settings;
use corelane_filters::settings::{self, Kind};

use super::format::toml::value_of;
use super::layout::json;
use super::loading::{INCLUDE, SCHEMA};
use super::reference::{Key, KeyDefault, Section, reference};
use super::tree::{Integer, Spanned, Table, Value};

/// The schema, as JSON.
pub fn schema() -> String {
    let mut sections: Vec<Section> = Vec::new();
    for key in reference() {
        if !sections.contains(&key.section) {
            sections.push(key.section);
        }
    }
    let root = sections.iter().filter(|section| section.title().starts_with('['));
    let properties = [(SCHEMA, object([("type", text("string"))])), (INCLUDE, include())].into_iter().chain(
        root.map(|section| {
            let this = reference_to(name(*section));
            let value = match (section.is_list(), section.is_named()) {
                (true, _) => list_of(this),
                (_, true) => object([("type", text("object")), ("additionalProperties", this)]),
                _ => this,
            };
            (name(*section), value)
        }),
    );
    let properties = object(properties);
    let sections = sections.iter().map(|&section| match section {
        Section::Filter => (name(section).to_owned(), filter()),
        _ => (name(section).to_owned(), table(section)),
    });
    let filters = Settings::KINDS.iter().map(|&kind| (filter_name(kind), filter_of(kind)));
    let answers = ANSWERS.into_iter().map(|kind| (kind.to_owned(), table_of(keys_of(kind), [])));
    let definitions = sections.chain(filters).chain(answers);
    let substitution = object([
        ("type", text("string")),
        ("pattern", text("\\$\\{[A-Za-z_][A-Za-z0-9_]*(:-[^}]*)?\\}")),
        ("description", text("A value from the environment: ${NAME} or ${NAME:-default}.")),
    ]);
    let schema = object([
        ("$schema", text("https://json-schema.org/draft/2020-12/schema")),
        ("title", text("Configuration of Corelane")),
        ("type", text("object")),
        ("properties", properties),
        ("additionalProperties", Value::Boolean(false)),
        ("$defs", object(definitions.chain([(SUBSTITUTION.to_owned(), substitution)]))),
    ]);
    match schema {
        Value::Table(root) => json::text(&root),
        other => unreachable!("{other:?} is an object"),
    }
}

const SUBSTITUTION: &str = "substitution";

/// What a route may answer by itself, with the keys of the filter of that name.
const ANSWERS: [&str; 3] = ["redirect", "respond", "maintenance"];

/// `process`, `listeners`, `endpoint`
fn name(section: Section) -> &'static str {
    match section {
        Section::Split => return "share",
        Section::Seating => return "seating",
        Section::Sampling => return "sampling",
        _ => {}
    }
    let title = section.title().trim_matches(['[', ']']);
    let title = title.strip_suffix(".NAME").unwrap_or(title);
    title.strip_prefix("an ").or(title.strip_prefix("a ")).unwrap_or(title)
}

fn include() -> Value {
    let description = "Other files to read, as paths and patterns relative to this file.";
    with(list_of(object([("type", text("string"))])), [("description", text(description))])
}

fn table(section: Section) -> Value {
    let required = section.keys().filter(|key| key.default == KeyDefault::Required);
    let required: Vec<_> = required.map(|key| spanned(text(key.name))).collect();
    object([
        ("type", text("object")),
        ("properties", object(section.keys().map(|key| (key.name, property(key))))),
        ("required", Value::Array(required)),
        ("additionalProperties", Value::Boolean(false)),
    ])
}

fn property(key: &Key) -> Value {
    let values = match key.kind.strip_prefix("list of ") {
        Some(kinds) => {
            let kinds = kinds.split(" and ").map(|kind| kind.strip_suffix('s').unwrap_or(kind));
            list_of(any_of(kinds.flat_map(|kind| kind_of(key, kind, true))))
        }
        None => any_of(key.kind.split(" or ").flat_map(|kind| kind_of(key, kind, false))),
    };
    described(values, key.description, key.allowed, key.default, key.example)
}

fn described(values: Value, description: &str, allowed: &str, default: KeyDefault, example: &str) -> Value {
    let absent = match default {
        KeyDefault::Required => String::new(),
        KeyDefault::Value(value) => format!(" Default: {value}."),
        KeyDefault::Absent(meaning) => format!(" Without it: {meaning}."),
    };
    let mut more = vec![("description", text(&format!("{description} Allowed: {allowed}.{absent}")))];
    if let KeyDefault::Value(value) = default {
        more.extend(value_of(value).map(|value| ("default", value)));
    }
    more.extend(value_of(example).map(|value| ("examples", Value::Array(vec![spanned(value)]))));
    with(values, more)
}

/// A filter: its type says which of the other definitions holds.
fn filter() -> Value {
    let kinds = Settings::KINDS.iter().map(|kind| spanned(text(kind)));
    let of_kind = |kind: &'static str| {
        let properties = object([("type", object([("const", text(kind))]))]);
        let this =
            object([("properties", properties), ("required", Value::Array(vec![spanned(text("type"))]))]);
        spanned(object([("if", this), ("then", reference_to(&filter_name(kind)))]))
    };
    let kind = object([("enum", Value::Array(kinds.collect()))]);
    let kind = Section::Filter
        .keys()
        .fold(kind, |kind, key| described(kind, key.description, key.allowed, key.default, key.example));
    object([
        ("type", text("object")),
        ("properties", object([("type", kind)])),
        ("required", Value::Array(vec![spanned(text("type"))])),
        ("allOf", Value::Array(Settings::KINDS.iter().copied().map(of_kind).collect())),
    ])
}

/// `filters.rewrite`
fn filter_name(kind: &str) -> String {
    format!("{}.{kind}", name(Section::Filter))
}

fn filter_of(kind: &'static str) -> Value {
    table_of(keys_of(kind), [("type", object([("const", text(kind))]))])
}

fn keys_of(kind: &str) -> &'static [settings::Key] {
    Settings::keys(kind).expect("every type of filter has a table of keys")
}

/// A table with a filter's keys.
fn table_of<const N: usize>(keys: &[settings::Key], besides: [(&'static str, Value); N]) -> Value {
    let is_required = |key: &&settings::Key| key.default == settings::Default::Required;
    let required: Vec<_> = keys.iter().filter(is_required).map(|key| spanned(text(key.name))).collect();
    let keys = keys.iter().map(|key| {
        let default = match key.default {
            settings::Default::Required => KeyDefault::Required,
            settings::Default::Value(value) => KeyDefault::Value(value),
            settings::Default::Absent(meaning) => KeyDefault::Absent(meaning),
        };
        (key.name, described(kind_of_setting(key), key.description, key.allowed, default, key.example))
    });
    object([
        ("type", text("object")),
        ("properties", object(besides.into_iter().chain(keys))),
        ("required", Value::Array(required)),
        ("additionalProperties", Value::Boolean(false)),
    ])
}

fn kind_of_setting(key: &settings::Key) -> Value {
    let scalar = |kind| any_of(scalar(kind, key.allowed).into_iter());
    match key.kind {
        Kind::Text => scalar("string"),
        Kind::Texts => list_of(object([("type", text("string"))])),
        Kind::Pairs | Kind::Secrets => {
            object([("type", text("object")), ("additionalProperties", object([("type", text("string"))]))])
        }
        Kind::Integer => scalar("integer"),
        Kind::Duration => scalar("duration"),
        Kind::Size => scalar("size"),
        Kind::Flag => scalar("boolean"),
        Kind::Table(keys) => table_of(keys, []),
        Kind::Items(keys) => {
            list_of(any_of([object([("type", text("string"))]), table_of(keys, [])].into_iter()))
        }
    }
}

/// The schemas of a kind of value: `size` is an integer or a string.
fn kind_of(key: &Key, kind: &str, in_list: bool) -> Vec<Value> {
    let of_type = |name| object([("type", text(name))]);
    // `"auto" or 1 to 1024`
    let is_first = kind == "string" && key.kind.starts_with("string or ");
    match kind {
        "string" if is_first => match key.allowed.split(" or ").next().and_then(choices) {
            // The other kind has the substitution.
            Some(choices) => vec![object([("enum", choices)])],
            None => vec![of_type("string")],
        },
        "integer" if in_list => vec![of_type("integer")],
        "table" => vec![inside(key).map_or_else(|| of_type("object"), reference_to)],
        kind => scalar(kind, key.allowed),
    }
}

/// The schemas of a kind of value without parts.
fn scalar(kind: &str, allowed: &str) -> Vec<Value> {
    let of_type = |name| object([("type", text(name))]);
    let pattern = |pattern| object([("type", text("string")), ("pattern", text(pattern))]);
    let substitution = || reference_to(SUBSTITUTION);
    match kind {
        "integer" => vec![with(of_type("integer"), range(allowed)), substitution()],
        "boolean" => vec![of_type("boolean"), substitution()],
        "duration" => vec![pattern("^([0-9]+h)?([0-9]+m)?([0-9]+s)?([0-9]+ms)?$"), substitution()],
        "size" => {
            let bytes = with(of_type("integer"), [("minimum", integer("0"))]);
            vec![bytes, pattern("^[0-9]+(KiB|MiB|GiB)$"), substitution()]
        }
        _ => match choices(allowed) {
            Some(choices) => vec![object([("enum", choices)]), substitution()],
            None => vec![of_type("string")],
        },
    }
}

/// What a table at this key is defined as.
fn inside(key: &Key) -> Option<&'static str> {
    let section = match (key.section, key.name) {
        (Section::AccessLog, "sampling") => Section::Sampling,
        (Section::Listener, "paths") => Section::PathPolicies,
        (Section::Route, "hosts") => Section::RouteHost,
        (Section::Route, "path") => Section::Path,
        (Section::Route, "headers" | "queries" | "cookies") => Section::Condition,
        (Section::Route, "split") => Section::Split,
        (Section::Route, "sticky") => Section::Sticky,
        (Section::Route, "mirror") => Section::Mirror,
        (Section::Upstream, "hash") => Section::Hash,
        (Section::Upstream, "sticky") => Section::Seating,
        (Section::Upstream, "retry") => Section::Retry,
        (Section::Upstream, "outlier") => Section::Outlier,
        (Section::Upstream, "breaker") => Section::Breaker,
        (Section::Upstream, "queue") => Section::Queue,
        (Section::Upstream, "endpoints") => Section::Endpoint,
        (Section::Upstream, "health") => Section::Health,
        (Section::Route, answer) => return ANSWERS.into_iter().find(|known| *known == answer),
        _ => return None,
    };
    Some(name(section))
}

/// The strings of `"auto", "epoll" or "off"`, if that is all that is allowed.
fn choices(allowed: &str) -> Option<Value> {
    let allowed = allowed.strip_prefix("any of ").unwrap_or(allowed);
    let choices = allowed.split(", ").flat_map(|some| some.split(" or ")).map(|choice| {
        let choice = choice.strip_prefix('"')?.strip_suffix('"')?;
        (!choice.contains('"')).then(|| spanned(text(choice)))
    });
    choices.collect::<Option<Vec<_>>>().map(Value::Array)
}

/// `1 to 16`, whatever stands around it.
fn range(allowed: &str) -> Vec<(&'static str, Value)> {
    let words: Vec<_> = allowed.split([' ', ';', ',']).collect();
    let found = words.windows(3).find_map(|words| match words {
        [first, "to", last] => Some((first.parse::<i64>().ok()?, last.parse::<i64>().ok()?)),
        _ => None,
    });
    found.map_or_else(Vec::new, |(first, last)| {
        vec![("minimum", integer(&first.to_string())), ("maximum", integer(&last.to_string()))]
    })
}

fn reference_to(name: &str) -> Value {
    object([("$ref", text(&format!("#/$defs/{name}")))])
}

fn list_of(items: Value) -> Value {
    object([("type", text("array")), ("items", items)])
}

fn any_of(schemas: impl Iterator<Item = Value>) -> Value {
    let mut schemas: Vec<_> = schemas.map(spanned).collect();
    match schemas.pop() {
        Some(only) if schemas.is_empty() => only.into_inner(),
        last => {
            schemas.extend(last);
            object([("anyOf", Value::Array(schemas))])
        }
    }
}

fn with<K: Into<String>>(schema: Value, more: impl IntoIterator<Item = (K, Value)>) -> Value {
    let Value::Table(mut table) = schema else { return schema };
    for (key, value) in more {
        table.push(Spanned::new(0..0, key.into()), spanned(value));
    }
    Value::Table(table)
}

fn object<K: Into<String>>(entries: impl IntoIterator<Item = (K, Value)>) -> Value {
    with(Value::Table(Table::default()), entries)
}

fn text(text: &str) -> Value {
    Value::String(text.to_owned().into())
}

fn integer(digits: &str) -> Value {
    Value::Integer(Integer { digits: digits.to_owned(), radix: 10 })
}

fn spanned(value: Value) -> Spanned<Value> {
    Spanned::new(0..0, value)
}
