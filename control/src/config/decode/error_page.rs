//! `[[error_pages]]`

use std::collections::HashMap;
use std::path::{Path, PathBuf};

use crate::config::tree::{Spanned, Value};

use super::listener::Listeners;
use crate::config::reader::{ItemFault, Reader};
use crate::config::report::Reported;
use crate::config::types::{ErrorPage, PageSegment, StatusPattern};
use crate::config::value::{self, Parsed};
use crate::config::{file, page, show, token};

/// Most pages: with the largest size of one, 64 MiB of them.
const PAGES_MAX: usize = 1000;

/// Most characters of a `content_type`. A guess: longer ones are none.
const CONTENT_TYPE_CHARS_MAX: usize = 256;

/// What already has a page, and where it is given one: of a listener, or of all (`None`).
type Taken = HashMap<(Option<usize>, StatusPattern), usize>;

pub(super) fn decode(
    sections: Result<Vec<Reader<'_>>, Reported>,
    listeners: &Listeners<'_>,
) -> Result<Vec<ErrorPage>, Reported> {
    let sections = sections?;
    if let Some(first) = sections.get(PAGES_MAX) {
        let message = format!("this is one page too many; allowed: at most {PAGES_MAX}");
        return Err(first.report().wrong(first.start(), message));
    }
    let mut taken = Taken::new();
    super::all(sections.iter().map(|section| error_page(section, listeners, &mut taken)).collect())
}

fn error_page(
    section: &Reader<'_>,
    listeners: &Listeners<'_>,
    taken: &mut Taken,
) -> Result<ErrorPage, Reported> {
    let statuses = section.items("statuses", "status", |(_, pattern)| shown(*pattern), status);
    let statuses = statuses.and_then(|statuses| statuses.ok_or_else(|| section.lacks("statuses")));
    let on = listeners.listed(section);
    let content_type = section.or_default("content_type", content_type);
    let segments = segments(section);
    let (statuses, on) = (statuses?, on?);
    let distinct = refuse_conflicts(section, &statuses, on.as_deref(), listeners, taken);
    let (content_type, segments) = (content_type?, segments?);
    distinct.map(|()| ErrorPage {
        statuses: statuses.into_iter().map(|(_, pattern)| pattern).collect(),
        listeners: on,
        content_type: content_type.into(),
        segments,
    })
}

/// A status, or a class of them, with its place.
fn status(item: &Spanned<Value>) -> Result<(usize, StatusPattern), ItemFault> {
    let allowed = "400 to 599, \"4xx\" or \"5xx\"";
    let pattern = match item.get_ref() {
        Value::String(text) => match &**text {
            "4xx" => StatusPattern::Class(4),
            "5xx" => StatusPattern::Class(5),
            text if text.parse::<u16>().is_ok() => StatusPattern::Exact(integer(item.get_ref())?),
            text => {
                let meant = ["4xx", "5xx"].into_iter().find(|class| class.eq_ignore_ascii_case(text));
                let meant = meant.map_or_else(String::new, |class| format!("; did you mean \"{class}\"?"));
                return Err(
                    format!("{} is not a status{meant} (allowed: {allowed})", show::quoted(text)).into()
                );
            }
        },
        value => {
            let number = integer(value)
                .map_err(|text| text.replace("allowed: 400 to 599", &format!("allowed: {allowed}")));
            StatusPattern::Exact(number?)
        }
    };
    Ok((item.span().start, pattern))
}

fn integer(value: &Value) -> Parsed<u16> {
    value::integer(value, 400..=599)
        .and_then(|number| u16::try_from(number).map_err(|error| error.to_string()))
}

fn shown(pattern: StatusPattern) -> String {
    match pattern {
        StatusPattern::Exact(status) => status.to_string(),
        StatusPattern::Class(class) => format!("{class}xx"),
    }
}

/// RFC 9110 §8.3.1, but for the form of the parameters.
fn content_type(value: &Value) -> Parsed<String> {
    let text = value::string(value)?;
    let essence = text.split(';').next().unwrap_or_default().trim_end();
    let is_type =
        essence.split_once('/').is_some_and(|(kind, sub)| token::is_token(kind) && token::is_token(sub));
    // RFC 9110 §5.5: what a field value may hold, without obs-text.
    let is_value = text.bytes().all(|byte| (b' '..=b'~').contains(&byte)) && !text.ends_with(' ');
    let shown = show::quoted(text);
    if !is_type || !is_value {
        return Err(format!("{shown} is not a media type; write e.g. \"text/html; charset=utf-8\""));
    }
    if text.len() > CONTENT_TYPE_CHARS_MAX {
        return Err(format!("{shown} is too long; allowed: at most {CONTENT_TYPE_CHARS_MAX} characters"));
    }
    Ok(text.to_owned())
}

fn segments(section: &Reader<'_>) -> Result<Vec<PageSegment>, Reported> {
    let one = "; write file = \"...\" or body = \"...\"";
    if section.has("file") && section.has("body") {
        return Err(section
            .report()
            .wrong(section.at("body"), format!("an error page has file or body, not both{one}")));
    }
    let folder = section.report().folder(section.at("file"));
    let file = section.optional("file", |value| read(value::string(value)?, folder))?;
    let body = section.optional("body", value::string)?;
    if let Some((file, text)) = file {
        return parse(section, "file", &format!("file {}", show::quoted(file)), &text);
    }
    match body {
        Some(text) => parse(section, "body", "body", text.as_bytes()),
        None if section.is_misspelt("file") || section.is_misspelt("body") => Err(Reported),
        None => Err(section
            .report()
            .missing(section.start(), format!("this error page has neither file nor body{one}"))),
    }
}

fn read<'v>(text: &'v str, folder: &Path) -> Parsed<(&'v str, Vec<u8>)> {
    let shown = show::quoted(text);
    if text.is_empty() {
        return Err(format!("{shown} is empty; write the path of a file"));
    }
    let path: PathBuf = folder.join(text);
    let place = if path == Path::new(text) {
        String::new()
    } else {
        format!(" as {}", show::quoted(&path.to_string_lossy()))
    };
    let bytes = file::read_regular(&path, page::PAGE_BYTES_MAX);
    bytes.map(|bytes| (text, bytes)).map_err(|error| format!("{shown} cannot be read{place}: {error}"))
}

fn parse(section: &Reader<'_>, key: &str, what: &str, text: &[u8]) -> Result<Vec<PageSegment>, Reported> {
    page::parse(text).map_err(|faults| {
        for fault in faults {
            section.report().wrong(section.at(key), format!("{what} {fault}"));
        }
        Reported
    })
}

/// Two pages for the same status of the same listener: which of them is sent would be anyone's guess.
fn refuse_conflicts(
    section: &Reader<'_>,
    statuses: &[(usize, StatusPattern)],
    on: Option<&[usize]>,
    listeners: &Listeners<'_>,
    taken: &mut Taken,
) -> Result<(), Reported> {
    let places = on.map_or_else(|| vec![None], |on| on.iter().copied().map(Some).collect());
    let mut distinct = Ok(());
    for (at, pattern) in statuses {
        // Two pages may meet on many listeners: one is enough to say.
        let met = places.iter().find_map(|place| Some((place, *taken.get(&(*place, *pattern))?)));
        if let Some((place, first)) = met {
            let name = place.and_then(|index| listeners.names.of(index));
            let on = name.map_or_else(String::new, |name| format!(" on listener {}", show::quoted(name)));
            let (shown, line) = (shown(*pattern), section.report().line(first));
            let message = format!("status {shown} already has the error page in line {line}{on}");
            distinct = Err(section.report().wrong(*at, message));
        }
        taken.extend(places.iter().map(|place| ((*place, *pattern), *at)));
    }
    distinct
}
