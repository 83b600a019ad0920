//! What a file says, whatever its format: values, each with the place where it stands.
//!
//! Places are byte offsets over all files that were read together (`sources.rs`), so that one number names file and byte.

use std::fmt;
use std::ops::{Deref, Range};

/// Something with its place.
#[derive(Clone, Debug)]
pub(super) struct Spanned<T> {
    value: T,
    start: usize,
    end: usize,
}

impl<T> Spanned<T> {
    pub(super) fn new(span: Range<usize>, value: T) -> Self {
        Self { value, start: span.start, end: span.end }
    }

    /// The thing itself.
    pub(super) fn get_ref(&self) -> &T {
        &self.value
    }

    /// The same, to be changed.
    pub(super) fn get_mut(&mut self) -> &mut T {
        &mut self.value
    }

    /// Where it stands.
    pub(super) fn span(&self) -> Range<usize> {
        self.start..self.end
    }

    /// The thing without its place.
    pub(super) fn into_inner(self) -> T {
        self.value
    }
}

/// A value.
#[derive(Clone, Debug)]
pub(super) enum Value {
    /// What YAML and JSON have for nothing.
    Null,
    Boolean(bool),
    Integer(Integer),
    /// As it is written.
    Float(String),
    /// As it is written; only TOML has them.
    Datetime(String),
    String(Text),
    Array(Vec<Spanned<Value>>),
    Table(Table),
}

impl Value {
    pub(super) fn as_str(&self) -> Option<&str> {
        match self {
            Self::String(text) => Some(text),
            _ => None,
        }
    }

    pub(super) fn as_array(&self) -> Option<&Vec<Spanned<Value>>> {
        match self {
            Self::Array(items) => Some(items),
            _ => None,
        }
    }

    pub(super) fn is_table(&self) -> bool {
        matches!(self, Self::Table(_))
    }
}

/// An integer of any size. Displayed as it would be written.
#[derive(Clone, Debug)]
pub(super) struct Integer {
    /// With a sign if there is one, without separators and the prefix of its radix.
    pub(super) digits: String,
    pub(super) radix: u32,
}

impl fmt::Display for Integer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let prefix = match self.radix {
            2 => "0b",
            8 => "0o",
            16 => "0x",
            _ => "",
        };
        write!(f, "{prefix}{}", self.digits)
    }
}

/// A string.
#[derive(Clone, Debug, Default)]
pub(super) struct Text {
    text: String,
    /// The whole of it is one `${NAME}`: it may also be meant as a number or a boolean.
    is_substitution: bool,
}

impl Text {
    /// One that is a single substitution as a whole.
    pub(super) fn substituted(text: String) -> Self {
        Self { text, is_substitution: true }
    }

    pub(super) fn is_substitution(&self) -> bool {
        self.is_substitution
    }
}

impl From<String> for Text {
    fn from(text: String) -> Self {
        Self { text, is_substitution: false }
    }
}

impl Deref for Text {
    type Target = str;

    fn deref(&self) -> &str {
        &self.text
    }
}

impl PartialEq<str> for Text {
    fn eq(&self, other: &str) -> bool {
        self.text == other
    }
}

/// Keys with their values, in the order of the file.
#[derive(Clone, Debug, Default)]
pub(super) struct Table {
    entries: Vec<Entry>,
}

/// A key and its value.
pub(super) type Entry = (Spanned<String>, Spanned<Value>);

impl Table {
    /// Adds a key behind the others. Whoever fills a table sees to it that each key is there once.
    pub(super) fn push(&mut self, key: Spanned<String>, value: Spanned<Value>) {
        self.entries.push((key, value));
    }

    pub(super) fn get(&self, name: &str) -> Option<&Spanned<Value>> {
        self.iter().find(|(key, _)| key.get_ref() == name).map(|(_, value)| value)
    }

    pub(super) fn get_mut(&mut self, name: &str) -> Option<&mut Entry> {
        self.entries.iter_mut().find(|(key, _)| key.get_ref() == name)
    }

    /// Takes a key out.
    pub(super) fn remove(&mut self, name: &str) -> Option<Entry> {
        let place = self.entries.iter().position(|(key, _)| key.get_ref() == name)?;
        Some(self.entries.remove(place))
    }

    pub(super) fn iter(&self) -> std::slice::Iter<'_, Entry> {
        self.entries.iter()
    }

    pub(super) fn keys(&self) -> impl Iterator<Item = &Spanned<String>> {
        self.iter().map(|(key, _)| key)
    }

    pub(super) fn values_mut(&mut self) -> impl Iterator<Item = &mut Spanned<Value>> {
        self.entries.iter_mut().map(|(_, value)| value)
    }
}

impl IntoIterator for Table {
    type Item = Entry;
    type IntoIter = std::vec::IntoIter<Entry>;

    fn into_iter(self) -> Self::IntoIter {
        self.entries.into_iter()
    }
}

impl<'a> IntoIterator for &'a Table {
    type Item = &'a Entry;
    type IntoIter = std::slice::Iter<'a, Entry>;

    fn into_iter(self) -> Self::IntoIter {
        self.iter()
    }
}
