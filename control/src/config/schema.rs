//! The JSON Schema of the file, for editors, made of the reference.
//!
//! It knows types, choices, ranges and defaults. What only the decoder knows (addresses, names that are defined) is left to
//! `corelane check`.

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
            let this = reference_to(*section);
            let value = match (section.is_list(), section.is_named()) {
                (true, _) => list_of(this),
                (_, true) => object([("type", text("object")), ("additionalProperties", this)]),
                _ => this,
            };
            (name(*section), value)
        }),
    );
    let properties = object(properties);
    let definitions = sections.iter().map(|section| (name(*section), table(*section)));
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
        ("$defs", object(definitions.chain([(SUBSTITUTION, substitution)]))),
    ]);
    match schema {
        Value::Table(root) => json::text(&root),
        other => unreachable!("{other:?} is an object"),
    }
}

const SUBSTITUTION: &str = "substitution";

/// `process`, `listeners`, `endpoint`
fn name(section: Section) -> &'static str {
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
    let description = match key.default {
        KeyDefault::Required => format!("{} Allowed: {}.", key.description, key.allowed),
        KeyDefault::Value(_) => {
            format!("{} Allowed: {}. Default: {}.", key.description, key.allowed, key.default.text())
        }
        KeyDefault::Absent(meaning) => {
            format!("{} Allowed: {}. Without it: {meaning}.", key.description, key.allowed)
        }
    };
    let mut more = vec![("description", text(&description))];
    if let KeyDefault::Value(value) = key.default {
        more.extend(value_of(value).map(|value| ("default", value)));
    }
    more.extend(value_of(key.example).map(|value| ("examples", Value::Array(vec![spanned(value)]))));
    let values = match key.kind.strip_prefix("list of ") {
        Some(kinds) => {
            let kinds = kinds.split(" and ").map(|kind| kind.strip_suffix('s').unwrap_or(kind));
            list_of(any_of(kinds.flat_map(|kind| kind_of(key, kind, true))))
        }
        None => any_of(key.kind.split(" or ").flat_map(|kind| kind_of(key, kind, false))),
    };
    with(values, more)
}

/// The schemas of a kind of value: `size` is an integer or a string.
fn kind_of(key: &Key, kind: &str, in_list: bool) -> Vec<Value> {
    let of_type = |name| object([("type", text(name))]);
    let pattern = |pattern| object([("type", text("string")), ("pattern", text(pattern))]);
    let substitution = || object([("$ref", text(&format!("#/$defs/{SUBSTITUTION}")))]);
    match kind {
        "string" => {
            // `"auto" or 1 to 1024`
            let is_first = key.kind.starts_with("string or ");
            let allowed = if is_first { key.allowed.split(" or ").next() } else { Some(key.allowed) };
            match allowed.and_then(choices) {
                // The other kind has the substitution.
                Some(choices) if is_first => vec![object([("enum", choices)])],
                Some(choices) => vec![object([("enum", choices)]), substitution()],
                None => vec![of_type("string")],
            }
        }
        "integer" if in_list => vec![of_type("integer")],
        "integer" => vec![with(of_type("integer"), range(key.allowed)), substitution()],
        "boolean" => vec![of_type("boolean"), substitution()],
        "duration" => vec![pattern("^([0-9]+h)?([0-9]+m)?([0-9]+s)?([0-9]+ms)?$"), substitution()],
        "size" => {
            let bytes = with(of_type("integer"), [("minimum", integer("0"))]);
            vec![bytes, pattern("^[0-9]+(KiB|MiB|GiB)$"), substitution()]
        }
        _ => {
            let own = reference().map(|key| key.section).find(|section| {
                let name = name(*section);
                !section.title().starts_with('[')
                    && (name == key.name || Some(name) == key.name.strip_suffix('s'))
            });
            vec![own.map_or_else(|| of_type("object"), reference_to)]
        }
    }
}

/// The strings of `"auto", "epoll"`, if that is all that is allowed.
fn choices(allowed: &str) -> Option<Value> {
    let allowed = allowed.strip_prefix("any of ").unwrap_or(allowed);
    let choices = allowed.split(", ").map(|choice| {
        let choice = choice.strip_prefix('"')?.strip_suffix('"')?;
        (!choice.contains('"')).then(|| spanned(text(choice)))
    });
    choices.collect::<Option<Vec<_>>>().map(Value::Array)
}

/// `1 to 16`, whatever stands around it.
fn range(allowed: &str) -> Vec<(&'static str, Value)> {
    let words: Vec<_> = allowed.split([' ', ';', ',']).collect();
    let found = words.windows(3).find_map(|words| match words {
        [first, "to", last] => Some((first.parse::<u64>().ok()?, last.parse::<u64>().ok()?)),
        _ => None,
    });
    found.map_or_else(Vec::new, |(first, last)| {
        vec![("minimum", integer(&first.to_string())), ("maximum", integer(&last.to_string()))]
    })
}

fn reference_to(section: Section) -> Value {
    object([("$ref", text(&format!("#/$defs/{}", name(section))))])
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

fn with(schema: Value, more: impl IntoIterator<Item = (&'static str, Value)>) -> Value {
    let Value::Table(mut table) = schema else { return schema };
    for (key, value) in more {
        table.push(Spanned::new(0..0, key.to_owned()), spanned(value));
    }
    Value::Table(table)
}

fn object(entries: impl IntoIterator<Item = (&'static str, Value)>) -> Value {
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
