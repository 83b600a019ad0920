//! TOML: the tree of the `toml` crate, which reads on behind an error.

mod syntax;
mod unclosed;

use ::toml::de::{DeTable, DeValue};

use super::Understood;
use crate::config::lines::Lines;
use crate::config::tree::{Integer, Spanned, Table, Value};

pub(super) fn read(lines: &Lines, base: usize) -> Understood {
    let (root, errors) = DeTable::parse_recoverable(lines.text());
    Understood { root: table(root.get_ref(), base), syntax: syntax::read(lines, root.get_ref(), &errors) }
}

/// A value alone, as the reference writes them.
pub(in crate::config) fn value_of(text: &str) -> Option<Value> {
    DeValue::parse(text).ok().map(|value| value_at(value.get_ref(), 0))
}

fn table(table: &DeTable<'_>, base: usize) -> Table {
    let mut entries: Vec<_> = table.iter().collect();
    // The crate has them by name.
    entries.sort_by_key(|(key, _)| key.span().start);
    let mut sorted = Table::default();
    for (key, value) in entries {
        let span = key.span().start + base..key.span().end + base;
        sorted.push(Spanned::new(span, key.get_ref().to_string()), spanned(value, base));
    }
    sorted
}

fn spanned(value: &::toml::Spanned<DeValue<'_>>, base: usize) -> Spanned<Value> {
    Spanned::new(value.span().start + base..value.span().end + base, value_at(value.get_ref(), base))
}

fn value_at(value: &DeValue<'_>, base: usize) -> Value {
    match value {
        DeValue::String(text) => Value::String(text.to_string().into()),
        DeValue::Integer(number) => {
            Value::Integer(Integer { digits: number.as_str().to_owned(), radix: number.radix() })
        }
        DeValue::Float(number) => Value::Float(number.to_string()),
        DeValue::Boolean(value) => Value::Boolean(*value),
        DeValue::Datetime(time) => Value::Datetime(time.to_string()),
        DeValue::Array(items) => Value::Array(items.iter().map(|item| spanned(item, base)).collect()),
        DeValue::Table(inner) => Value::Table(table(inner, base)),
    }
}
