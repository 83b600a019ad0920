//! JSON as RFC 8259 has it: no comments, no commas too many.

use jsonc_parser::ast::{Object, ObjectPropName, Value as Node};
use jsonc_parser::common::Ranged as _;
use jsonc_parser::{CollectOptions, CommentCollectionStrategy, ParseOptions, parse_to_ast};

use super::{DEPTH_MAX, Errors, Fatal, Keys, TOO_DEEP};
use crate::config::tree::{Integer, Spanned, Table, Value};

pub(super) fn read(text: &str, base: usize, errors: &mut Errors<'_>) -> Result<Table, Fatal> {
    refuse_depth(text)?;
    let collected = CollectOptions { comments: CommentCollectionStrategy::Off, tokens: false };
    let parsed = parse_to_ast(text, &collected, &STRICT).map_err(|error| {
        let message = error.kind().to_string();
        let mut chars = message.chars();
        let first = chars.next().map(|c| c.to_ascii_lowercase());
        (error.range().start, first.into_iter().chain(chars).collect())
    })?;
    match parsed.value {
        Some(Node::Object(root)) => Ok(table(&root, base, errors)),
        Some(other) => {
            Err((other.start(), "the file is no object; write { \"listeners\": [...], ... }".into()))
        }
        None => Err((0, "the file is empty; write { \"listeners\": [...], ... }".into())),
    }
}

const STRICT: ParseOptions = ParseOptions {
    allow_comments: false,
    allow_loose_object_property_names: false,
    allow_trailing_commas: false,
    allow_missing_commas: false,
    allow_single_quoted_strings: false,
    allow_hexadecimal_numbers: false,
    allow_unary_plus_numbers: false,
    allow_bare_decimal_point_numbers: false,
    allow_non_finite_numbers: false,
    allow_extended_string_escapes: false,
};

/// The parser calls itself for each level, up to a depth of its own.
fn refuse_depth(text: &str) -> Result<(), Fatal> {
    let mut depth = 0_usize;
    let mut bytes = text.bytes().enumerate();
    while let Some((at, byte)) = bytes.next() {
        match byte {
            b'[' | b'{' => depth += 1,
            b']' | b'}' => depth = depth.saturating_sub(1),
            b'"' => {
                while let Some((_, byte)) = bytes.next().filter(|(_, byte)| *byte != b'"') {
                    if byte == b'\\' {
                        bytes.next();
                    }
                }
            }
            _ => {}
        }
        if depth > DEPTH_MAX {
            return Err((at, TOO_DEEP.to_owned()));
        }
    }
    Ok(())
}

fn table(object: &Object<'_>, base: usize, errors: &mut Errors<'_>) -> Table {
    let mut keys = Keys::new(errors);
    for property in &object.properties {
        let name = match &property.name {
            ObjectPropName::String(name) => name.value.to_string(),
            ObjectPropName::Word(name) => name.value.to_owned(),
        };
        let start = property.name.start() + base;
        let value = value(&property.value, base, keys.errors);
        keys.push(Spanned::new(start..property.name.end() + base, name), value);
    }
    keys.table
}

fn value(node: &Node<'_>, base: usize, errors: &mut Errors<'_>) -> Spanned<Value> {
    let value = match node {
        Node::StringLit(text) => Value::String(text.value.to_string().into()),
        Node::NumberLit(number) if number.value.contains(['.', 'e', 'E']) => {
            Value::Float(number.value.to_owned())
        }
        Node::NumberLit(number) => Value::Integer(Integer { digits: number.value.to_owned(), radix: 10 }),
        Node::BooleanLit(boolean) => Value::Boolean(boolean.value),
        Node::NullKeyword(_) => Value::Null,
        Node::Array(items) => {
            Value::Array(items.elements.iter().map(|item| self::value(item, base, errors)).collect())
        }
        Node::Object(object) => Value::Table(table(object, base, errors)),
    };
    Spanned::new(node.start() + base..node.end() + base, value)
}
