//! `query`: changes to the query that the upstream gets (RFC 3986 §3.4), parameter by parameter.
//!
//! What is not changed stays as the client wrote it, in its order. Names are compared decoded, so that no spelling hides one.

use corelane_semantics::split_pair;

use super::{Filter, Flow};
use crate::context::Context;
use crate::edits::Edits;
use crate::filters::Build;
use crate::settings::{Key, Kind, Read};
use crate::template::Template;
use crate::text::{is_encoded, is_query_value_byte, write_encoded};
use crate::variable::Phase;

/// The changes, made in this order: keep, remove, rename, set, add. Names are given decoded, values may have variables.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Settings {
    /// Only these parameters stay.
    pub keep: Option<Vec<String>>,
    /// These go.
    pub remove: Vec<String>,
    /// Old name and new name.
    pub rename: Vec<(String, String)>,
    /// There is this one afterwards, at the end.
    pub set: Vec<(String, String)>,
    /// One more, at the end.
    pub add: Vec<(String, String)>,
}

/// The keys of its table.
pub const KEYS: &[Key] = &[
    Key::optional("keep", Kind::Texts, "all stay").says(
        "Only these parameters stay.",
        "names",
        "[\"page\", \"sort\"]",
    ),
    Key::optional("remove", Kind::Texts, "none goes").says(
        "These parameters go.",
        "names",
        "[\"utm_source\"]",
    ),
    Key::optional("rename", Kind::Pairs, "none is renamed").says(
        "Old and new names.",
        "names",
        "{ q = \"search\" }",
    ),
    Key::optional("set", Kind::Pairs, "none is set").says(
        "There is this one of the name afterwards, at the end.",
        "names, and values with variables",
        "{ tenant = \"{host}\" }",
    ),
    Key::optional("add", Kind::Pairs, "none is added").says(
        "One more, at the end.",
        "names, and values with variables",
        "{ via = \"edge\" }",
    ),
];

impl Settings {
    /// Reads them; what was wrong is told, and the settings are of no use then.
    #[must_use]
    pub fn read(table: &dyn Read) -> Option<Self> {
        Some(Self {
            keep: table.texts("keep"),
            remove: table.texts("remove").unwrap_or_default(),
            rename: table.pairs("rename").unwrap_or_default(),
            set: table.pairs("set").unwrap_or_default(),
            add: table.pairs("add").unwrap_or_default(),
        })
    }
}

/// The filter, ready to run.
#[derive(Debug)]
pub(crate) struct Step {
    keep: Option<Box<[String]>>,
    /// Those of `set` too.
    remove: Box<[String]>,
    /// The new name is encoded.
    rename: Box<[(String, Vec<u8>)]>,
    /// `name=`, encoded, and the value.
    add: Box<[(Vec<u8>, Template)]>,
}

impl Filter for Step {
    type Settings = Settings;

    fn compile(settings: &Settings, build: &mut Build<'_>) -> Option<Self> {
        if settings == &Settings::default() {
            build.problem("", "changes nothing: give keep, remove, rename, set or add");
        }
        let names = |pairs: &[(String, String)]| pairs.iter().map(|(name, _)| name.clone()).collect();
        let renamed = settings.rename.iter().flat_map(|(from, to)| [from.clone(), to.clone()]);
        let groups: [(&str, Vec<String>); 5] = [
            ("keep", settings.keep.clone().unwrap_or_default()),
            ("remove", settings.remove.clone()),
            ("rename", renamed.collect()),
            ("set", names(&settings.set)),
            ("add", names(&settings.add)),
        ];
        for (key, _) in groups.iter().filter(|(_, names)| names.iter().any(String::is_empty)) {
            build.problem(*key, "a parameter without a name");
        }
        let encoded = |name: &str| {
            let mut out = Vec::new();
            write_encoded(&mut out, name.replace('%', "%25").as_bytes(), |byte| {
                is_query_value_byte(byte) && byte != b'='
            });
            out
        };
        let mut add = Vec::new();
        for (key, group) in [("set", &settings.set), ("add", &settings.add)] {
            for (name, value) in group {
                let value = build.template(format!("{key}.{name}"), value, Phase::Request);
                let value = value.encoded(|text, out| write_encoded(out, text, is_query_value_byte));
                add.push(([encoded(name), b"=".to_vec()].concat(), value));
            }
        }
        let set = settings.set.iter().map(|(name, _)| name);
        Some(Self {
            keep: settings.keep.clone().map(Into::into),
            remove: settings.remove.iter().chain(set).cloned().collect(),
            rename: settings.rename.iter().map(|(from, to)| (from.clone(), encoded(to))).collect(),
            add: add.into(),
        })
    }

    fn request(&self, context: &Context<'_>, edits: &mut Edits) -> Flow {
        // `*` and CONNECT have no query.
        if context.path.is_empty() {
            return Flow::Passed;
        }
        edits.with_texts(|edits, text, spare| {
            let before = edits.query_now(context);
            for parameter in before.unwrap_or_default().split(|&byte| byte == b'&') {
                self.write_received(parameter, text);
            }
            for (name, value) in &self.add {
                separate(text);
                text.extend_from_slice(name);
                value.write_with(context, edits, spare, text, |value, out| {
                    write_encoded(out, value, is_query_value_byte);
                });
            }
            if before.unwrap_or_default() == text.as_slice() {
                return Flow::Passed;
            }
            edits.query_removed = text.is_empty();
            edits.query.set(text);
            Flow::Acted
        })
    }
}

impl Step {
    /// Writes a parameter that the client sent, if it stays.
    fn write_received(&self, parameter: &[u8], out: &mut Vec<u8>) {
        let (name, _) = split_pair(parameter);
        let is_one_of = |names: &[String]| names.iter().any(|other| is_encoded(name, other.as_bytes()));
        if parameter.is_empty()
            || self.keep.as_deref().is_some_and(|keep| !is_one_of(keep))
            || is_one_of(&self.remove)
        {
            return;
        }
        separate(out);
        match self.rename.iter().find(|(from, _)| is_encoded(name, from.as_bytes())) {
            Some((_, to)) => {
                out.extend_from_slice(to);
                out.extend_from_slice(&parameter[name.len()..]);
            }
            None => out.extend_from_slice(parameter),
        }
    }
}

fn separate(out: &mut Vec<u8>) {
    if !out.is_empty() {
        out.push(b'&');
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Settings as Any;
    use crate::fixtures::{Sent, chain, problems};

    fn changed(settings: &Settings, target: &str) -> Option<Option<String>> {
        let seen = Sent::with(target, "X-A: a b&c%zz\r\n").through(&chain([Any::Query(settings.clone())]));
        seen.edits.query().map(|query| query.map(|query| String::from_utf8(query.to_vec()).unwrap()))
    }

    fn names(names: &[&str]) -> Vec<String> {
        names.iter().map(|&name| name.to_owned()).collect()
    }

    fn pair(name: &str, value: &str) -> Vec<(String, String)> {
        vec![(name.to_owned(), value.to_owned())]
    }

    #[test]
    fn changes_are_made_in_order() {
        let settings = Settings {
            remove: names(&["debug"]),
            rename: pair("q", "search for"),
            set: pair("v", "{header.X-A}"),
            add: pair("via", "{host}"),
            ..Settings::default()
        };
        let text = changed(&settings, "/?q=1&v=0&d%65bug=1&x=%20+&q&v=1").unwrap().unwrap();
        assert_eq!(text, "search%20for=1&x=%20+&search%20for&v=a%20b%26c%25zz&via=a.example");
    }

    #[test]
    fn an_empty_query_goes_with_its_question_mark() {
        let settings = Settings { keep: Some(names(&["a"])), ..Settings::default() };
        assert_eq!(changed(&settings, "/?b=1&c"), Some(None));
        assert_eq!(changed(&settings, "/?a=1"), None);
        assert_eq!(changed(&settings, "/?a=1&b"), Some(Some("a=1".to_owned())));
        assert_eq!(changed(&settings, "/"), None);
    }

    #[test]
    fn wrong_settings_are_told() {
        assert!(problems(Any::Query(Settings::default())).contains("changes nothing"));
        let settings = Settings { remove: names(&[""]), ..Settings::default() };
        assert!(problems(Any::Query(settings)).contains("without a name"));
    }
}
