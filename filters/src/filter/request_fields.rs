//! `request_fields`: changes to the fields that the upstream gets (RFC 9110 §5).

use corelane_semantics::Fields;

use super::{Filter, Flow};
use crate::context::Context;
use crate::edits::Edits;
use crate::field_edits::FieldEdits;
use crate::field_name::FieldName;
use crate::filters::Build;
use crate::settings::{Key, Kind, Read};
use crate::template::Template;
use crate::variable::Phase;

/// The changes, made in this order: rename, remove, set, add, append. Names are fields', values may have variables.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Settings {
    /// Old name and new name.
    pub rename: Vec<(String, String)>,
    /// Names of which all lines go.
    pub remove: Vec<String>,
    /// The field has this one line afterwards.
    pub set: Vec<(String, String)>,
    /// One more line.
    pub add: Vec<(String, String)>,
    /// One more member behind a comma in the last line; a line if there is none.
    pub append: Vec<(String, String)>,
}

/// The keys of its table.
pub const KEYS: &[Key] = &[
    Key::optional("rename", Kind::Pairs, "nothing is renamed").says(
        "Old and new names of fields.",
        "names of fields",
        "{ \"X-Old\" = \"X-New\" }",
    ),
    Key::optional("remove", Kind::Texts, "nothing is removed").says(
        "Fields of which every line goes.",
        "names of fields",
        "[\"X-Internal\"]",
    ),
    Key::optional("set", Kind::Pairs, "nothing is set").says(
        "Fields that have this one line afterwards.",
        "names of fields, and values with variables",
        "{ \"X-Client\" = \"{client.ip}\" }",
    ),
    Key::optional("add", Kind::Pairs, "nothing is added").says(
        "One more line.",
        "names of fields, and values with variables",
        "{ \"X-Via-Edge\" = \"{listener}\" }",
    ),
    Key::optional("append", Kind::Pairs, "nothing is appended").says(
        "One more member, behind a comma in the last line of the field; a line where there is none.",
        "names of fields, and values with variables",
        "{ \"Vary\" = \"Accept\" }",
    ),
];

impl Settings {
    /// Reads them; what was wrong is told, and the settings are of no use then.
    #[must_use]
    pub fn read(table: &dyn Read) -> Option<Self> {
        Some(Self {
            rename: table.pairs("rename").unwrap_or_default(),
            remove: table.texts("remove").unwrap_or_default(),
            set: table.pairs("set").unwrap_or_default(),
            add: table.pairs("add").unwrap_or_default(),
            append: table.pairs("append").unwrap_or_default(),
        })
    }
}

/// The changes, compiled; those of a response too.
#[derive(Debug)]
pub(crate) struct Changes {
    changes: Box<[Change]>,
}

#[derive(Debug)]
enum Change {
    Rename(FieldName, FieldName),
    Remove(FieldName),
    Set(FieldName, Template),
    Add(FieldName, Template),
    Append(FieldName, Template),
}

impl Changes {
    pub(crate) fn compile(settings: &Settings, phase: Phase, build: &mut Build<'_>) -> Option<Self> {
        let mut changes = Vec::new();
        for (from, to) in &settings.rename {
            let names = (
                build.editable(format!("rename.{from}"), from),
                build.editable(format!("rename.{from}"), to),
            );
            if let (Some(from), Some(to)) = names {
                changes.push(Change::Rename(from, to));
            }
        }
        for (index, name) in settings.remove.iter().enumerate() {
            changes.extend(build.editable(format!("remove[{index}]"), name).map(Change::Remove));
        }
        let mut with_values =
            |key: &str, group: &[(String, String)], make: fn(FieldName, Template) -> Change| {
                for (name, value) in group {
                    let key = format!("{key}.{name}");
                    let value = build.template(key.as_str(), value, phase);
                    changes.extend(build.editable(key, name).map(|name| make(name, value)));
                }
            };
        with_values("set", &settings.set, Change::Set);
        with_values("add", &settings.add, Change::Add);
        with_values("append", &settings.append, Change::Append);
        if settings == &Settings::default() {
            build.problem("", "changes nothing: give rename, remove, set, add or append");
        }
        Some(Self { changes: changes.into() })
    }

    /// Makes them in the lines that `of` picks, received as `fields`; `write` appends what a value says.
    pub(crate) fn make(
        &self,
        edits: &mut Edits,
        of: impl Fn(&mut Edits) -> &mut FieldEdits,
        (fields, bytes): (&Fields, &[u8]),
        write: impl Fn(&Template, &Edits, &mut Vec<u8>),
    ) -> Flow {
        edits.with_text(|edits, text| {
            let mut flow = Flow::Passed;
            for change in &self.changes {
                text.clear();
                if let Change::Set(_, value) | Change::Add(_, value) | Change::Append(_, value) = change {
                    write(value, edits, text);
                }
                if change.apply(of(edits), text, fields, bytes) {
                    flow = Flow::Acted;
                }
            }
            flow
        })
    }
}

/// The filter, ready to run.
#[derive(Debug)]
pub(crate) struct Step(Changes);

impl Filter for Step {
    type Settings = Settings;

    fn compile(settings: &Settings, build: &mut Build<'_>) -> Option<Self> {
        Changes::compile(settings, Phase::Request, build).map(Self)
    }

    fn request(&self, context: &Context<'_>, edits: &mut Edits) -> Flow {
        let write = |value: &Template, edits: &Edits, text: &mut Vec<u8>| value.write(context, edits, text);
        self.0.make(edits, |edits| &mut edits.request, (&context.head.fields, context.bytes), write)
    }
}

impl Change {
    /// Makes the change; whether there was anything to change.
    fn apply(&self, edits: &mut FieldEdits, value: &[u8], fields: &Fields, bytes: &[u8]) -> bool {
        match self {
            Self::Rename(from, to) => return edits.rename(from, to, fields, bytes),
            Self::Remove(name) => return edits.remove(name, fields, bytes),
            Self::Set(name, _) => edits.set(name, value, fields, bytes),
            Self::Add(name, _) => edits.add(name.text(), value),
            Self::Append(name, _) => edits.append(name, value, fields, bytes),
        }
        true
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fixtures::{Sent, chain, problems};
    use crate::{Filters, Scope, Settings as Any};
    use corelane_semantics::Span;

    fn pairs(pairs: &[(&str, &str)]) -> Vec<(String, String)> {
        pairs.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect()
    }

    #[test]
    fn changes_are_made_in_order_and_see_each_other() {
        let settings = Settings {
            rename: pairs(&[("X-Old", "X-New")]),
            remove: vec!["x-gone".to_owned()],
            set: pairs(&[("X-A", "{header.X-New}-{client.ip}"), ("X-B", "{header.x-a}!")]),
            add: pairs(&[("X-C", "2")]),
            append: pairs(&[("X-C", "3"), ("Via", "me"), ("X-New", "4")]),
        };
        let sent = Sent::with(
            "/",
            "X-Old: one\r\nX-GONE: 1\r\nX-A: a\r\nX-a: b\r\nX-C: 1\r\nX-Gone: 2\r\nVia: 1.1 p\r\n",
        );
        let seen = sent.through(&chain([Any::RequestFields(settings)]));
        assert_eq!(
            seen.upstream_fields(),
            "X-C: 1\nX-A: one-192.0.2.7\nX-B: one-192.0.2.7!\nX-C: 2, 3\nVia: 1.1 p, me\nX-New: one, 4\n"
        );
    }

    #[test]
    fn every_variable_of_a_request_has_its_value() {
        for (template, value) in [
            ("{client.ip} {peer.ip}", "192.0.2.7 192.0.2.7"),
            ("{host}|{path}|{query}|{method}", "a.example|/users/42|a=1&b=%20x&a=2&c|GET"),
            ("{path.id}", "42"),
            ("{query.a}{query.b}{query.c}{query.d}", "1%20x"),
            ("{header.x-one}{header.none}", "1"),
            ("{cookie.a}{cookie.b}{cookie.c}", "x y3"),
            ("{scheme}", "https"),
            ("{tls.version} {tls.client_subject}", "TLSv1.3 CN=meX: y"),
            ("{request_id}", "0123456789abcdef0123456789abcdef"),
            ("{listener}/{route}/{upstream}", "web/users/api"),
            ("{auth.user}{auth.key}", ""),
            ("{env.REGION}", "eu {1}"),
            ("{{{host}}}{{}}", "{a.example}{}"),
            ("é", "é"),
        ] {
            let settings = Settings { set: pairs(&[("X", template)]), ..Settings::default() };
            let lines = "X-One: 1\r\nX-One: 2\r\nCookie: a=x; b=\" y\"\r\nCookie: c=3\r\n";
            let mut sent = Sent::with("/users/42?a=1&b=%20x&a=2&c", lines);
            sent.tls = true;
            sent.captures = vec![Some(Span::new(7, 9))];
            let seen = sent.through(&chain([Any::RequestFields(settings)]));
            let fields = seen.upstream_fields();
            assert_eq!(fields.lines().last(), Some(format!("X: {value}").as_str()), "{template}");
        }
    }

    #[test]
    fn wrong_names_and_templates_are_told_with_their_place() {
        let settings = Settings {
            rename: pairs(&[("Host", "X"), ("X", "TE")]),
            remove: vec!["a b".to_owned(), "Content-Length".to_owned()],
            set: pairs(&[
                ("A", "ab{nobody}"),
                ("B", "{status}"),
                ("C", "x}"),
                ("D", "{client.ip"),
                ("E", "{env.NONE}"),
                ("F", "{header.a b}"),
                ("G", "{header.}"),
                ("H", "a\nb"),
                ("I", "{}"),
            ]),
            ..Settings::default()
        };
        let found = Filters::default().define("f", Any::RequestFields(settings), &|_| None).unwrap_err();
        let found: Vec<_> = found.iter().map(|problem| (problem.key.as_str(), problem.position)).collect();
        assert_eq!(
            found,
            [
                ("rename.Host", None),
                ("rename.X", None),
                ("remove[0]", None),
                ("remove[1]", None),
                ("set.A", Some(2)),
                ("set.B", Some(0)),
                ("set.C", Some(1)),
                ("set.D", Some(0)),
                ("set.E", Some(0)),
                ("set.F", Some(0)),
                ("set.G", Some(0)),
                ("set.H", Some(1)),
                ("set.I", Some(0)),
            ]
        );
        assert!(problems(Any::RequestFields(Settings::default())).contains("changes nothing"));
    }

    #[test]
    fn a_group_that_the_routes_path_does_not_have_is_an_error_of_the_chain() {
        let settings = Settings { set: pairs(&[("X", "{path.name}")]), ..Settings::default() };
        let mut filters = Filters::default();
        let id = filters.define("f", Any::RequestFields(settings), &|_| None).unwrap();
        let wrong = filters.chain(&[id], &Scope { captures: &["id"] }, &|_| None).unwrap_err();
        assert_eq!(wrong.len(), 1);
        assert_eq!(wrong[0].1.to_string(), "set.X: {path.name}: the route's path has no group \"name\"");
        assert!(filters.chain(&[id], &Scope { captures: &["id", "name"] }, &|_| None).is_ok());
    }
}
