//! What a route asks for beyond its host and path: `methods`, `headers`, `queries`, `cookies`, `clients`, `tls`, and its
//! `priority`.

use std::fmt::Display;

use corelane_routing::{Case, Condition, Conditions, Pattern, PatternError, Test};
use ipnet::IpNet;

use super::rules;
use crate::config::reader::{ItemFault, Reader};
use crate::config::reference::Section;
use crate::config::report::Reported;
use crate::config::tree::{Spanned, Value};
use crate::config::value::Parsed;
use crate::config::{address, show, token, value};

/// Items of a list that each request is compared with.
const ITEMS_MAX: usize = 100;

pub(super) fn decode(section: &Reader<'_>) -> Result<Conditions, Reported> {
    let methods = short(section, "methods", "method", String::clone, |item| {
        Ok(rules::method(value::string(item.get_ref())?)?)
    });
    let headers = conditions(section, "headers", "header", header_name, header_value);
    let queries = conditions(section, "queries", "query", query_name, |_| Ok(()));
    let cookies = conditions(section, "cookies", "cookie", cookie_name, cookie_value);
    let clients = short(section, "clients", "client", IpNet::to_string, |item| {
        Ok(address::network(value::string(item.get_ref())?)?)
    });
    let tls = section.optional("tls", value::boolean);
    Ok(Conditions {
        methods: methods?.into_iter().map(String::into_boxed_str).collect(),
        headers: headers?,
        queries: queries?,
        cookies: cookies?,
        clients: clients?,
        tls: tls?,
    })
}

/// The `priority`.
pub(super) fn priority(section: &Reader<'_>) -> Result<i32, Reported> {
    section.or_default("priority", |value| {
        let Value::Integer(number) = value else {
            return Err(format!("{}; allowed: {PRIORITIES}", show::subject(value)));
        };
        let number = i32::from_str_radix(&number.digits, number.radix).ok();
        let number = number.filter(|number| number.unsigned_abs() <= 1_000_000);
        number.ok_or_else(|| format!("{} is out of range; allowed: {PRIORITIES}", show::value(value)))
    })
}

const PRIORITIES: &str = "-1000000 to 1000000";

/// What is wrong with a pattern, behind the pattern.
pub(super) fn refused(text: &str, error: &PatternError) -> String {
    format!("{} is not allowed: {error}", show::quoted(text))
}

fn short<'a, T>(
    section: &Reader<'a>,
    key: &str,
    noun: &str,
    shown: impl Fn(&T) -> String,
    parse: impl Fn(&'a Spanned<Value>) -> Result<T, ItemFault>,
) -> Result<Vec<T>, Reported> {
    let items = section.items(key, noun, shown, parse)?.unwrap_or_default();
    if items.len() > ITEMS_MAX {
        let message = format!("{key} has {} items; allowed: at most {ITEMS_MAX}", items.len());
        return Err(section.report().wrong(section.at(key), message));
    }
    Ok(items)
}

fn conditions<'a>(
    section: &Reader<'a>,
    key: &str,
    noun: &str,
    name: fn(&str) -> Parsed<()>,
    exact: fn(&str) -> Parsed<()>,
) -> Result<Vec<Condition>, Reported> {
    let example = |name: &str| format!("{{ name = {}, exact = \"...\" }}", show::quoted(name));
    short(section, key, noun, shown, |item| {
        let table = match item.get_ref() {
            Value::Table(table) => table,
            Value::String(name) => {
                return Err(ItemFault::Wrong(format!(
                    "{} is a string; write {}",
                    show::quoted(name),
                    example(name)
                )));
            }
            other => return Err(ItemFault::Wrong(value::wrong_kind(other, &example("NAME")))),
        };
        let table = Reader::new(Section::Condition, table, item.span().start, section.report());
        condition(&table, name, exact).map_err(ItemFault::Reported)
    })
}

fn condition(
    table: &Reader<'_>,
    name: fn(&str) -> Parsed<()>,
    exact: fn(&str) -> Parsed<()>,
) -> Result<Condition, Reported> {
    let checked = |value, check: fn(&str) -> Parsed<()>| {
        let text = value::string(value)?;
        check(text).map(|()| Box::from(text))
    };
    let name = table.required("name", |value| checked(value, name));
    let exact = table.optional("exact", |value| checked(value, exact));
    let regex = table.optional("regex", |value| {
        let text = value::string(value)?;
        Pattern::new(text, Case::Sensitive).map_err(|error| refused(text, &error))
    });
    let present = table.optional("present", value::boolean);
    let one = "; write one of exact = \"...\", regex = \"...\", present = true and present = false";
    let test = match (exact?, regex?, present?) {
        (Some(exact), None, None) => Ok(Test::Exact(exact)),
        (None, Some(regex), None) => Ok(Test::Regex(regex)),
        (None, None, Some(true)) => Ok(Test::Present),
        (None, None, Some(false)) => Ok(Test::Absent),
        (None, None, None) if ["exact", "regex", "present"].iter().any(|key| table.is_misspelt(key)) => {
            Err(Reported)
        }
        (None, None, None) => {
            let message = format!("a condition needs something to compare with{one}");
            Err(table.report().missing(table.start(), message))
        }
        _ => Err(table.report().wrong(table.start(), format!("a condition compares in one way{one}"))),
    };
    Ok(Condition { name: name?, test: test? })
}

/// `X-Env = "beta"`
fn shown(condition: &Condition) -> String {
    let test: &dyn Display = match &condition.test {
        Test::Exact(value) => value,
        Test::Regex(pattern) => &format!("regex {pattern}"),
        Test::Present => &"present",
        Test::Absent => &"absent",
    };
    format!("{} {test}", condition.name)
}

fn header_name(text: &str) -> Parsed<()> {
    let name = token::checked(text, "field name")?;
    if name.eq_ignore_ascii_case("host") {
        return Err(format!("{} is matched by the key \"hosts\" of the route", show::quoted(text)));
    }
    Ok(())
}

pub(super) fn header_value(text: &str) -> Parsed<()> {
    match text.chars().find(|c| c.is_control() && *c != '\t') {
        Some(c) => Err(format!("{} has {c:?}, which no field may have", show::quoted(text))),
        None if text.trim_ascii() != text => {
            let shown = show::quoted(text);
            Err(format!("{shown} never matches: fields are compared without the white space around them"))
        }
        None => Ok(()),
    }
}

fn query_name(text: &str) -> Parsed<()> {
    match text {
        "" => Err("\"\" is empty; it is the name of a query parameter, decoded".to_owned()),
        _ => Ok(()),
    }
}

fn cookie_name(text: &str) -> Parsed<()> {
    token::checked(text, "cookie name").map(|_| ())
}

fn cookie_value(text: &str) -> Parsed<()> {
    if text.contains(';') {
        return Err(format!("{} has ';', where a cookie ends", show::quoted(text)));
    }
    header_value(text)
}
