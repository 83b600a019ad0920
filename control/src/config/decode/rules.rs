//! What is accepted of a request: keys of `[[listeners]]`, and their `paths`.

use corelane_engine::snapshot::{RequestRules, Trailers, UnderscoreFields};
use corelane_semantics::{MethodSet, PathPolicies, PathPolicy};

use crate::config::reader::Reader;
use crate::config::reference::Section;
use crate::config::report::Reported;
use crate::config::value::Parsed;
use crate::config::{show, token, value};

const UNDERSCORES: [(&str, UnderscoreFields); 3] = [
    ("drop", UnderscoreFields::Drop),
    ("pass", UnderscoreFields::Pass),
    ("reject", UnderscoreFields::Reject),
];

const POLICIES: [(&str, PathPolicy); 3] =
    [("reject", PathPolicy::Reject), ("normalise", PathPolicy::Normalise), ("pass", PathPolicy::Pass)];

/// For spellings that have no other canonical form.
const POLICIES_WITHOUT_FORM: [(&str, PathPolicy); 2] =
    [("reject", PathPolicy::Reject), ("pass", PathPolicy::Pass)];

/// The methods of RFC 9110 §9 and RFC 5789.
const METHODS: [&str; 9] = ["GET", "HEAD", "POST", "PUT", "DELETE", "CONNECT", "OPTIONS", "TRACE", "PATCH"];

pub(super) fn decode(section: &Reader<'_>) -> Result<RequestRules, Reported> {
    let methods_refused = section.short_list("methods_refused", "method", method);
    let underscore_fields =
        section.or_default("underscore_fields", |value| value::choice(value, &UNDERSCORES));
    let trailers = trailers(section);
    let paths = paths(section);
    Ok(RequestRules {
        methods_refused: MethodSet::new(methods_refused?.iter().map(String::as_bytes)),
        underscore_fields: underscore_fields?,
        trailers: trailers?,
        paths: paths?,
    })
}

/// RFC 9110 §9.1: methods are case-sensitive, so that `connect` would refuse nothing that anyone sends.
pub(super) fn method(text: &str) -> Parsed<String> {
    let token = token::checked(text, "method")?;
    match METHODS.iter().find(|known| known.eq_ignore_ascii_case(token) && **known != token) {
        Some(known) => {
            let shown = show::quoted(token);
            Err(format!("{shown} is not the method {known}, as case counts; did you mean \"{known}\"?"))
        }
        None => Ok(token.to_owned()),
    }
}

fn trailers(section: &Reader<'_>) -> Result<Trailers, Reported> {
    let names = section.short_list("trailers", "trailer", trailer)?;
    if !names.iter().any(|name| name == "*") {
        return Ok(Trailers::Only(names.into_iter().map(String::into_boxed_str).collect()));
    }
    if names.len() > 1 {
        let message =
            "trailers has \"*\", which is every field, beside names; write [\"*\"] or the names alone";
        return Err(section.report().wrong(section.at("trailers"), message.to_owned()));
    }
    Ok(Trailers::All)
}

/// A field name in lower case, or `*`. No registered name holds a `*`, and `x-*` would not mean what it says.
fn trailer(text: &str) -> Parsed<String> {
    let name = token::checked(text, "field name")?;
    if name.contains('*') && name != "*" {
        return Err(format!(
            "{} is not a field name; \"*\" stands alone, for every field",
            show::quoted(text)
        ));
    }
    Ok(name.to_ascii_lowercase())
}

fn paths(section: &Reader<'_>) -> Result<PathPolicies, Reported> {
    let table = section.table("paths", Section::PathPolicies)?;
    let table = table.unwrap_or_else(|| Reader::absent(Section::PathPolicies, section.report()));
    let policy = |key| table.or_default(key, |value| value::choice(value, &POLICIES));
    let policy_without_form =
        |key| table.or_default(key, |value| value::choice(value, &POLICIES_WITHOUT_FORM));
    let encoded_slash = policy("encoded_slash");
    let backslash = policy("backslash");
    let encoded_control = policy_without_form("encoded_control");
    let encoded_delimiter = policy_without_form("encoded_delimiter");
    let dot_segments = policy("dot_segments");
    let parameters = policy("parameters");
    let empty_segments = policy("empty_segments");
    Ok(PathPolicies {
        encoded_slash: encoded_slash?,
        backslash: backslash?,
        encoded_control: encoded_control?,
        encoded_delimiter: encoded_delimiter?,
        dot_segments: dot_segments?,
        parameters: parameters?,
        empty_segments: empty_segments?,
    })
}
