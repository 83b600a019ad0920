//! The JSON Schema: the file in docs/ is the one that `corelane schema` prints, and takes what the decoder takes.

use std::collections::HashSet;

use corelane_filters::Settings;
use corelane_filters::settings::Default;

use super::examples::all;
use super::good::CORE;
use crate::config::format::{self, Format};
use crate::config::lines::Lines;
use crate::config::tree::{Table, Value};
use crate::config::{reference, schema};

fn tree(name: &str, text: &str) -> Table {
    let understood = format::read(Format::of(name), &Lines::new(text.to_owned()), 0);
    assert_eq!(understood.syntax.errors, [], "{name}");
    understood.root
}

fn table(value: &Value) -> &Table {
    match value {
        Value::Table(table) => table,
        other => panic!("{other:?}"),
    }
}

/// As much of JSON Schema as ours uses; the first thing that does not fit.
fn check(value: &Value, schema: &Table, root: &Table, place: &str) -> Result<(), String> {
    let wrong = |what: &str| Err(format!("{place}: {what}: {value:?}"));
    if let Some(reference) = schema.get("$ref") {
        let name = reference.get_ref().as_str().unwrap().strip_prefix("#/$defs/").unwrap();
        let definitions = table(root.get("$defs").unwrap().get_ref());
        let definition = definitions.get(name).unwrap_or_else(|| panic!("{name} is not defined"));
        return check(value, table(definition.get_ref()), root, place);
    }
    if let Some(any) = schema.get("anyOf") {
        let all = any.get_ref().as_array().unwrap().iter();
        let tried: Vec<_> = all.map(|one| check(value, table(one.get_ref()), root, place)).collect();
        return if tried.iter().any(Result::is_ok) { Ok(()) } else { wrong(&format!("{tried:?}")) };
    }
    if let Some(choices) = schema.get("enum") {
        let mut choices = choices.get_ref().as_array().unwrap().iter();
        let fits = choices.any(|choice| choice.get_ref().as_str() == value.as_str());
        return if fits { Ok(()) } else { wrong("not a choice") };
    }
    if let Some(only) = schema.get("const") {
        let fits = only.get_ref().as_str() == value.as_str();
        return if fits { Ok(()) } else { wrong("another one") };
    }
    for part in schema.get("allOf").and_then(|all| all.get_ref().as_array()).into_iter().flatten() {
        let part = table(part.get_ref());
        let [condition, then] = ["if", "then"].map(|key| table(part.get(key).unwrap().get_ref()));
        if check(value, condition, root, place).is_ok() {
            check(value, then, root, place)?;
        }
    }
    let kind = schema.get("type").map_or("object", |kind| kind.get_ref().as_str().unwrap());
    match (kind, value) {
        ("boolean", Value::Boolean(_)) => Ok(()),
        ("string", Value::String(text)) => {
            match schema.get("pattern") {
                // Told from others by what they are for: there is no regex here.
                Some(pattern) if pattern.get_ref().as_str().unwrap().contains("KiB") => {
                    if text.ends_with("iB") { Ok(()) } else { wrong("no size") }
                }
                Some(pattern) if pattern.get_ref().as_str().unwrap().starts_with("^([0-9]+h)") => {
                    if text.ends_with(['h', 'm', 's']) && text.starts_with(|c: char| c.is_ascii_digit()) {
                        Ok(())
                    } else {
                        wrong("no duration")
                    }
                }
                Some(_) => {
                    if text.contains("${") {
                        Ok(())
                    } else {
                        wrong("no substitution")
                    }
                }
                None => Ok(()),
            }
        }
        ("integer", Value::Integer(number)) => {
            let bound = |name| {
                schema.get(name).map(|bound| match bound.get_ref() {
                    Value::Integer(bound) => bound.digits.parse::<i64>().unwrap(),
                    other => panic!("{other:?}"),
                })
            };
            let number = i64::from_str_radix(&number.digits, number.radix).unwrap();
            let fits = bound("minimum").is_none_or(|least| least <= number)
                && bound("maximum").is_none_or(|most| number <= most);
            if fits { Ok(()) } else { wrong("out of range") }
        }
        ("array", Value::Array(items)) => {
            let schema = table(schema.get("items").unwrap().get_ref());
            items.iter().try_for_each(|item| check(item.get_ref(), schema, root, &format!("{place}[]")))
        }
        ("object", Value::Table(object)) => {
            let mut entries = object.iter();
            let properties = schema.get("properties").map(|properties| table(properties.get_ref()));
            entries.try_for_each(|(key, value)| {
                let (name, value) = (key.get_ref(), value.get_ref());
                let place = format!("{place}.{name}");
                match properties.and_then(|properties| properties.get(name)) {
                    Some(schema) => check(value, table(schema.get_ref()), root, &place),
                    None => match schema.get("additionalProperties").map(|schema| schema.get_ref()) {
                        Some(Value::Table(schema)) => check(value, schema, root, &place),
                        Some(_) => Err(format!("{place}: unknown key")),
                        // Conditions, and what has a definition for each type.
                        None => Ok(()),
                    },
                }
            })?;
            let required = schema.get("required").and_then(|required| required.get_ref().as_array());
            let missing = required
                .into_iter()
                .flatten()
                .find(|name| object.get(name.get_ref().as_str().unwrap()).is_none());
            missing.map_or(Ok(()), |name| Err(format!("{place}: lacks {name:?}")))
        }
        _ => wrong(&format!("not of type {kind}")),
    }
}

#[test]
fn the_file_in_docs_is_what_is_printed() {
    let file = include_str!("../../../../docs/corelane.schema.json");
    assert!(file == schema(), "renew it: corelane schema > docs/corelane.schema.json");
}

#[test]
fn takes_what_the_decoder_takes() {
    let schema = tree("schema.json", &schema());
    for (name, text) in all().into_iter().chain([("core.toml".to_owned(), CORE.to_owned())]) {
        let root = Value::Table(tree(&name, &text));
        check(&root, &schema, &schema, &name).unwrap_or_else(|error| panic!("{error}"));
    }
    for key in reference() {
        let text = super::documentation::with(key, key.example);
        let root = Value::Table(tree("t.toml", &text));
        check(&root, &schema, &schema, key.name).unwrap_or_else(|error| panic!("{error}\n{text}"));
    }
}

#[test]
fn takes_every_example_and_default_of_a_filter() {
    let schema = tree("schema.json", &schema());
    for kind in Settings::KINDS {
        let keys = Settings::keys(kind).unwrap();
        for key in keys {
            let default = match key.default {
                Default::Value(value) => Some(value),
                Default::Required | Default::Absent(_) => None,
            };
            for value in [key.example].into_iter().chain(default) {
                let required =
                    keys.iter().filter(|it| it.default == Default::Required && it.name != key.name);
                let mut text = format!("[filters.a]\ntype = \"{kind}\"\n{} = {value}\n", key.name);
                for other in required {
                    text.push_str(&format!("{} = {}\n", other.name, other.example));
                }
                let root = Value::Table(tree("t.toml", &text));
                check(&root, &schema, &schema, kind).unwrap_or_else(|error| panic!("{error}\n{text}"));
            }
        }
    }
}

#[test]
fn refuses_what_is_plainly_wrong() {
    let schema = tree("schema.json", &schema());
    for text in [
        "nonsense = 1",
        "process = 1",
        "process.workers = 0",
        "process.workers = \"four\"",
        "process.driver = \"epol\"",
        "process.drain_timeout = 10",
        "process.drain_timeout = \"10\"",
        "listeners = {}",
        "listeners = [{}]",
        "listeners = [{ address = \"x\", paths = { nonsense = 1 } }]",
        "listeners = [{ address = \"x\", paths = { backslash = \"keep\" } }]",
        "listeners = [{ address = \"x\", forwarded_fields = [\"x\"] }]",
        "upstreams.a.endpoints = [1]",
        "upstreams.a.endpoints = [{ weight = 1 }]",
        "upstreams.a = { endpoints = [], attempts_max = 17 }",
        "routes = [{ upstream = \"a\", body_bytes_max = \"10MB\" }]",
        "include = \"x\"",
        "routes = [{ headers = [{ exact = \"a\" }] }]",
        "routes = [{ hosts = [{ exact = \"a\" }] }]",
        "routes = [{ priority = 1000001 }]",
        "routes = [{ split = [{ weight = 1 }] }]",
        "routes = [{ redirect = { to = \"/\" } }]",
        "routes = [{ redirect = { scheme = \"ftp\" } }]",
        "filters = []",
        "filters.a = {}",
        "filters.a = { type = \"rewrit\" }",
        "filters.a = { type = \"rewrite\", strip = \"/\" }",
        "filters.a = { type = \"rewrite\", replace_prefix = { prefix = \"/\" } }",
        "filters.a = { type = \"rate_limit\" }",
        "filters.a = { type = \"rate_limit\", requests = 1, key = [{ nonsense = \"x\" }] }",
        "filters.a = { type = \"respond\", status = 99 }",
        "filters.a = { type = \"request_fields\", set = { A = 1 } }",
    ] {
        assert!(check(&Value::Table(tree("t.toml", text)), &schema, &schema, "").is_err(), "{text}");
    }
}

#[test]
fn describes_every_key() {
    let schema = tree("schema.json", &schema());
    let definitions = table(schema.get("$defs").unwrap().get_ref());
    let described: HashSet<_> = definitions
        .iter()
        .filter_map(|(section, value)| Some((section.get_ref(), table(value.get_ref()).get("properties")?)))
        .flat_map(|(section, keys)| {
            table(keys.get_ref()).keys().map(move |key| (section.clone(), key.get_ref().clone()))
        })
        .collect();
    let of_filters = Settings::KINDS.iter().map(|kind| Settings::keys(kind).unwrap().len() + 1);
    let of_answers = ["redirect", "respond", "maintenance"].map(|kind| Settings::keys(kind).unwrap().len());
    let keys = reference().count() + of_filters.sum::<usize>() + of_answers.iter().sum::<usize>();
    assert_eq!(described.len(), keys, "each section has a name of its own");
}
