//! TOML, from the events of its parser: keys, values and comments are written as they were, what is between them anew.
//!
//! - `key = value`, a comment behind it after one space; nothing is indented but what is in a list or table of several lines.
//! - One empty line at most, one before each section, or before the comment that stands right above it, none behind it.
//! - A list of several lines keeps them, one item on each; one that would be too long gets them.

use toml_parser::parser::{Event, EventKind, parse_document};
use toml_parser::{ErrorSink, ParseError, Source};

use super::COLUMNS_MAX;

/// The text, which has no errors, in its layout.
pub(super) fn text(text: &str) -> String {
    let text = text.strip_prefix('\u{feff}').unwrap_or(text);
    let source = Source::new(text);
    let mut events: Vec<Event> = Vec::new();
    parse_document(&source.lex().into_vec(), &mut events, &mut NoErrors);
    let mut reader = Reader { text, events: events.into_iter().peekable() };
    arranged(&reader.lines())
}

/// They have been told.
struct NoErrors;

impl ErrorSink for NoErrors {
    fn report_error(&mut self, _: ParseError) {}
}

/// A line outside of values, or a key with its value.
enum Line {
    Empty,
    Comment(String),
    Header(String),
    Entry(String),
}

/// A value as it will be written.
enum Node {
    Scalar(String),
    Group(Group),
}

/// A list, or a table in braces.
struct Group {
    braces: [char; 2],
    /// It has several lines, or something in it has.
    is_long: bool,
    parts: Vec<Part>,
}

enum Part {
    /// `key = `, or nothing, and the value.
    Item(String, Node),
    /// A comment, and whether it stands behind something.
    Comment(String, bool),
}

struct Reader<'t> {
    text: &'t str,
    events: std::iter::Peekable<std::vec::IntoIter<Event>>,
}

impl<'t> Reader<'t> {
    fn lines(&mut self) -> Vec<Line> {
        let mut lines = Vec::new();
        let mut line_is_empty = true;
        while let Some(event) = self.next() {
            match event.kind() {
                EventKind::Newline => {
                    if line_is_empty {
                        lines.push(Line::Empty);
                    }
                    line_is_empty = true;
                    continue;
                }
                EventKind::Comment if line_is_empty => lines.push(Line::Comment(self.raw(&event))),
                EventKind::Comment => {
                    let comment = self.raw(&event);
                    if let Some(Line::Header(line) | Line::Entry(line)) = lines.last_mut() {
                        line.push(' ');
                        line.push_str(&comment);
                    }
                }
                EventKind::StdTableOpen => lines.push(Line::Header(format!("[{}]", self.key(None)))),
                EventKind::ArrayTableOpen => lines.push(Line::Header(format!("[[{}]]", self.key(None)))),
                EventKind::SimpleKey => {
                    let key = self.key(Some(&event)) + " = ";
                    let value = self.value();
                    lines.push(Line::Entry(entry(key, value)));
                }
                _ => {}
            }
            line_is_empty = false;
        }
        lines
    }

    /// A dotted key, its first part read or not, to what ends it.
    fn key(&mut self, first: Option<&Event>) -> String {
        let mut key = first.map(|event| self.raw(event)).unwrap_or_default();
        while let Some(event) = self.next() {
            match event.kind() {
                EventKind::SimpleKey => key.push_str(&self.raw(&event)),
                EventKind::KeySep => key.push('.'),
                // The parser lets a table in braces have one before the =.
                EventKind::Newline => {}
                _ => break,
            }
        }
        key
    }

    fn value(&mut self) -> Node {
        while self
            .events
            .next_if(|it| matches!(it.kind(), EventKind::Whitespace | EventKind::Newline))
            .is_some()
        {}
        match self.next() {
            Some(event) if event.kind() == EventKind::ArrayOpen => Node::Group(self.group(['[', ']'])),
            Some(event) if event.kind() == EventKind::InlineTableOpen => Node::Group(self.group(['{', '}'])),
            Some(event) => Node::Scalar(self.raw(&event)),
            None => Node::Scalar(String::new()),
        }
    }

    fn group(&mut self, braces: [char; 2]) -> Group {
        let mut group = Group { braces, is_long: false, parts: Vec::new() };
        let mut line_is_empty = false;
        while let Some(kind) = self.events.peek().map(Event::kind) {
            let item = match kind {
                EventKind::ArrayClose | EventKind::InlineTableClose => {
                    self.events.next();
                    break;
                }
                EventKind::ArrayOpen | EventKind::InlineTableOpen | EventKind::Scalar => {
                    Part::Item(String::new(), self.value())
                }
                _ => {
                    let Some(event) = self.events.next() else { break };
                    match kind {
                        EventKind::Newline => {
                            group.is_long = true;
                            line_is_empty = true;
                            continue;
                        }
                        EventKind::Comment => Part::Comment(self.raw(&event), !line_is_empty),
                        EventKind::SimpleKey => Part::Item(self.key(Some(&event)) + " = ", self.value()),
                        _ => continue,
                    }
                }
            };
            if let Part::Item(_, Node::Group(inner)) = &item {
                group.is_long |= inner.is_long;
            }
            group.parts.push(item);
            line_is_empty = false;
        }
        group
    }

    /// The next event that is not white space.
    fn next(&mut self) -> Option<Event> {
        while self.events.next_if(|event| event.kind() == EventKind::Whitespace).is_some() {}
        self.events.next()
    }

    fn raw(&self, event: &Event) -> String {
        let span = event.span();
        self.text[span.start()..span.end()].trim_end_matches([' ', '\t', '\r']).to_owned()
    }
}

fn entry(key: String, value: Node) -> String {
    let mut line = key.clone();
    write(&value, 0, &mut line);
    match value {
        Node::Group(mut group) if !group.is_long && group.parts.len() > 1 && group.braces[0] == '[' => {
            if line.chars().count() <= COLUMNS_MAX || line.contains('\n') {
                return line;
            }
            group.is_long = true;
            let mut line = key;
            write(&Node::Group(group), 0, &mut line);
            line
        }
        _ => line,
    }
}

fn write(node: &Node, indent: usize, out: &mut String) {
    let group = match node {
        Node::Scalar(text) => return out.push_str(text),
        Node::Group(group) => group,
    };
    let [open, close] = group.braces;
    out.push(open);
    if group.is_long && !group.parts.is_empty() {
        write_long(&group.parts, indent, out);
    } else {
        let space = if open == '{' && !group.parts.is_empty() { " " } else { "" };
        out.push_str(space);
        for (index, part) in group.parts.iter().enumerate() {
            if let Part::Item(key, value) = part {
                out.push_str(if index > 0 { ", " } else { "" });
                out.push_str(key);
                write(value, indent, out);
            }
        }
        out.push_str(space);
    }
    out.push(close);
}

fn write_long(parts: &[Part], indent: usize, out: &mut String) {
    let line = |out: &mut String, indent| {
        out.push('\n');
        out.push_str(&" ".repeat(INDENT * indent));
    };
    let mut commented = false;
    for part in parts {
        match part {
            Part::Comment(text, true) if !commented => {
                out.push(' ');
                out.push_str(text);
                commented = true;
            }
            Part::Comment(text, _) => {
                line(out, indent + 1);
                out.push_str(text);
                commented = true;
            }
            Part::Item(key, value) => {
                line(out, indent + 1);
                out.push_str(key);
                write(value, indent + 1, out);
                out.push(',');
                commented = false;
            }
        }
    }
    line(out, indent);
}

const INDENT: usize = 4;

/// Puts the empty lines where they belong.
fn arranged(lines: &[Line]) -> String {
    let mut kept: Vec<&Line> = Vec::with_capacity(lines.len());
    for line in lines {
        let is_surplus = matches!(kept.last(), None | Some(Line::Empty | Line::Header(_)));
        if !(matches!(line, Line::Empty) && is_surplus) {
            kept.push(line);
        }
    }
    while matches!(kept.last(), Some(Line::Empty)) {
        kept.pop();
    }
    let mut text = String::new();
    for (index, line) in kept.iter().enumerate() {
        if index > 0 && begins_section(&kept, index) {
            text.push('\n');
        }
        if let Line::Comment(line) | Line::Header(line) | Line::Entry(line) = line {
            text.push_str(line);
        }
        text.push('\n');
    }
    text
}

/// Whether a line is a header, or the first of the comments right above one, without an empty line before it.
fn begins_section(lines: &[&Line], index: usize) -> bool {
    let follows = |line: Option<&&Line>| !matches!(line, Some(Line::Empty | Line::Comment(_)));
    let rest = lines[index..].iter().find(|line| !matches!(line, Line::Comment(_)));
    matches!(rest, Some(Line::Header(_))) && follows(lines[..index].last())
}

#[cfg(test)]
mod tests {
    use super::text;

    #[track_caller]
    fn check(before: &str, after: &str) {
        assert_eq!(text(before), after);
        assert_eq!(text(after), after, "formatting again changes nothing");
    }

    #[test]
    fn writes_what_is_between_anew() {
        check("a=1\nb  =   \"x\"   # why\n", "a = 1\nb = \"x\" # why\n");
        check("  [ a . \"b\" ]   # c\n\tx.y . z=[1,2 ,3]\n", "[a.\"b\"] # c\nx.y.z = [1, 2, 3]\n");
        check("a={x=1,y={}}\r\nb=[ ]", "a = { x = 1, y = {} }\nb = []\n");
        check("\u{feff}a = 1", "a = 1\n");
        check("", "");
        check("# only\n\n\n", "# only\n");
        check("a = '''x  \n y'''\n", "a = '''x  \n y'''\n");
        check("a.b = 1\nc = 2\na.d = 3\n", "a.b = 1\nc = 2\na.d = 3\n");
    }

    #[test]
    fn puts_an_empty_line_before_sections() {
        check("\n\na = 1\n\n\n\nb = 2\n[x]\n\nc = 3\n[[y]]\n", "a = 1\n\nb = 2\n\n[x]\nc = 3\n\n[[y]]\n");
        check("[x]\n# of y\n# and more\n[y]\n", "[x]\n\n# of y\n# and more\n[y]\n");
        check("[x]\na = 1\n# of x\n\n[y]\n", "[x]\na = 1\n# of x\n\n[y]\n");
        check("# head\n[x]\n", "# head\n[x]\n");
    }

    #[test]
    fn keeps_lists_of_several_lines() {
        check("a = [1,\n2]\n", "a = [\n    1,\n    2,\n]\n");
        check(
            "a = [ # first\n  # own\n  1 # one\n  , 2, # two\n  # last\n]\n",
            "a = [ # first\n    # own\n    1, # one\n    2, # two\n    # last\n]\n",
        );
        check("a = [{x=1},\n[2,3]]", "a = [\n    { x = 1 },\n    [2, 3],\n]\n");
        check("a = [[\n1]]", "a = [\n    [\n        1,\n    ],\n]\n");
        check("a = [\n]", "a = []\n");
    }

    #[test]
    fn breaks_lists_that_are_too_long() {
        let item = format!("\"{}\"", "x".repeat(60));
        check(&format!("a = [{item}, {item}]\n"), &format!("a = [\n    {item},\n    {item},\n]\n"));
        check(
            &format!("a = [{item}{item}]\n").replace("\"\"", "__"),
            &format!("a = [{item}{item}]\n").replace("\"\"", "__"),
        );
    }
}
