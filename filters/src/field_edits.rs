//! Changes to the field lines of a head, in the order in which they are made.
//!
//! Received lines are never copied: a bit says that one is dropped. New lines stand behind all received ones.

use corelane_semantics::{Fields, Span};

use crate::field_name::FieldName;

/// What becomes of the lines of one head. Reused from head to head.
#[derive(Debug, Default)]
pub struct FieldEdits {
    /// A bit for each received line that is dropped.
    dropped: Vec<u64>,
    added: Vec<Added>,
    /// The bytes of the added lines.
    arena: Vec<u8>,
    is_changed: bool,
}

/// A new line; dead when a later edit removed it.
#[derive(Clone, Copy, Debug)]
struct Added {
    name: Span,
    value: Span,
    is_dead: bool,
}

impl FieldEdits {
    /// Whether the head goes on as it came.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        !self.is_changed
    }

    /// Whether the received line at `index` is dropped.
    #[inline]
    #[must_use]
    pub fn drops(&self, index: usize) -> bool {
        self.dropped.get(index / 64).is_some_and(|bits| bits >> (index % 64) & 1 == 1)
    }

    /// The new lines in order: name and value. Names are tokens, values free of control bytes.
    pub fn added(&self) -> impl Iterator<Item = (&[u8], &[u8])> {
        let alive = self.added.iter().filter(|line| !line.is_dead);
        alive.map(|line| (line.name.bytes(&self.arena), line.value.bytes(&self.arena)))
    }

    /// Whether a new line has this name.
    #[must_use]
    pub fn adds(&self, name: &[u8]) -> bool {
        self.added().any(|(other, _)| other.eq_ignore_ascii_case(name))
    }

    /// Forgets all changes and keeps the memory.
    pub(crate) fn clear(&mut self) {
        if self.is_changed {
            self.dropped.clear();
            self.added.clear();
            self.arena.clear();
            self.is_changed = false;
        }
    }

    /// The values of a field as they are now, received lines first.
    pub(crate) fn values<'a>(
        &'a self,
        name: &'a FieldName,
        fields: &'a Fields,
        bytes: &'a [u8],
    ) -> impl Iterator<Item = &'a [u8]> {
        let received = fields.lines().iter().enumerate();
        let received = received.filter(move |(index, field)| name.is_of(field, bytes) && !self.drops(*index));
        let received = received.map(move |(_, field)| field.value.bytes(bytes));
        received.chain(self.added().filter(move |(other, _)| name.is(other)).map(|(_, value)| value))
    }

    /// Takes away all lines of a name; whether there was one.
    pub(crate) fn remove(&mut self, name: &FieldName, fields: &Fields, bytes: &[u8]) -> bool {
        let mut found = false;
        for (index, field) in fields.lines().iter().enumerate() {
            if name.is_of(field, bytes) && !self.drops(index) {
                self.drop_received(index);
                found = true;
            }
        }
        for line in &mut self.added {
            if !line.is_dead && name.is(line.name.bytes(&self.arena)) {
                line.is_dead = true;
                found = true;
            }
        }
        found
    }

    /// Adds a line. Control bytes in the value are left out: they would end the line or be refused.
    pub(crate) fn add(&mut self, name: &[u8], value: &[u8]) {
        self.add_parts(name, &[value]);
    }

    /// As [`FieldEdits::add`], with a value of several parts.
    pub(crate) fn add_parts(&mut self, name: &[u8], parts: &[&[u8]]) {
        self.is_changed = true;
        let start = self.arena.len();
        self.arena.extend_from_slice(name);
        let middle = self.arena.len();
        for part in parts {
            extend_clean(&mut self.arena, part);
        }
        let added = Added {
            name: Span::new(start, middle),
            value: Span::new(middle, self.arena.len()),
            is_dead: false,
        };
        self.added.push(added);
    }

    /// Makes the field have this one line.
    pub(crate) fn set(&mut self, name: &FieldName, value: &[u8], fields: &Fields, bytes: &[u8]) {
        self.remove(name, fields, bytes);
        self.add(name.text(), value);
    }

    /// Appends a member to the field's last line (RFC 9110 §5.6.1); a new line if there is none.
    pub(crate) fn append(&mut self, name: &FieldName, member: &[u8], fields: &Fields, bytes: &[u8]) {
        let added =
            self.added.iter().rposition(|line| !line.is_dead && name.is(line.name.bytes(&self.arena)));
        if let Some(index) = added {
            let value = self.added[index].value;
            self.added[index].is_dead = true;
            self.append_to_added(name, value, member);
            return;
        }
        let lines = fields.lines().iter().enumerate();
        let last = lines.rev().find(|(index, field)| name.is_of(field, bytes) && !self.drops(*index));
        match last {
            Some((index, field)) => {
                self.drop_received(index);
                let value = field.value.bytes(bytes);
                self.add_parts(name.text(), &[value, separator(value), member]);
            }
            None => self.add(name.text(), member),
        }
    }

    fn append_to_added(&mut self, name: &FieldName, value: Span, member: &[u8]) {
        let start = self.arena.len();
        self.arena.extend_from_slice(name.text());
        let middle = self.arena.len();
        self.arena.extend_from_within(value.start as usize..value.end as usize);
        let between = separator(value.bytes(&self.arena));
        self.arena.extend_from_slice(between);
        extend_clean(&mut self.arena, member);
        let (name, value) = (Span::new(start, middle), Span::new(middle, self.arena.len()));
        self.added.push(Added { name, value, is_dead: false });
    }

    /// Gives all lines of one name another; whether there was one. Received lines move behind the others.
    pub(crate) fn rename(&mut self, from: &FieldName, to: &FieldName, fields: &Fields, bytes: &[u8]) -> bool {
        let mut found = false;
        let added_before = self.added.len();
        for (index, field) in fields.lines().iter().enumerate() {
            if from.is_of(field, bytes) && !self.drops(index) {
                self.drop_received(index);
                self.add(to.text(), field.value.bytes(bytes));
                found = true;
            }
        }
        for index in 0..added_before {
            let line = self.added[index];
            if !line.is_dead && from.is(line.name.bytes(&self.arena)) {
                let start = self.arena.len();
                self.arena.extend_from_slice(to.text());
                self.added[index].name = Span::new(start, self.arena.len());
                found = true;
            }
        }
        found
    }

    pub(crate) fn drop_received(&mut self, index: usize) {
        self.is_changed = true;
        let word = index / 64;
        if self.dropped.len() <= word {
            self.dropped.resize(word + 1, 0);
        }
        self.dropped[word] |= 1 << (index % 64);
    }
}

/// What stands between a value and a member that is appended to it.
fn separator(value: &[u8]) -> &'static [u8] {
    if value.is_empty() { b"" } else { b", " }
}

/// Appends what may stand in a field's value (RFC 9110 §5.5).
fn extend_clean(out: &mut Vec<u8>, value: &[u8]) {
    let is_clean = |byte: &u8| (*byte >= b' ' || *byte == b'\t') && *byte != 0x7f;
    if value.iter().all(is_clean) {
        out.extend_from_slice(value);
    } else {
        out.extend(value.iter().filter(|byte| is_clean(byte)));
    }
}
