//! `[access_log]`

use crate::config::reader::Reader;
use crate::config::report::Reported;
use crate::config::types::LogTarget;
use crate::config::value::{self, Parsed};
use crate::config::{show, suggest};

pub(super) fn decode(section: Option<&Reader<'_>>) -> Result<Option<LogTarget>, Reported> {
    let Some(section) = section else { return Ok(None) };
    section.required("path", |value| target(value::string(value)?)).map(Some)
}

fn target(text: &str) -> Parsed<LogTarget> {
    let shown = show::quoted(text);
    match text {
        "stdout" => return Ok(LogTarget::Stdout),
        "stderr" => return Ok(LogTarget::Stderr),
        "" => return Err(format!("{shown} is empty; write \"stdout\", \"stderr\" or the path of a file")),
        _ => {}
    }
    if text.ends_with('/') || text.contains('\0') {
        return Err(format!("{shown} is not the path of a file; write \"stdout\", \"stderr\" or one"));
    }
    // A file named like this is possible, but was hardly meant.
    let near = suggest::nearest(text, ["stdout", "stderr"]);
    if let Some(near) = near.filter(|_| !text.contains('/')) {
        let file = show::quoted(&format!("./{text}"));
        return Err(format!("{shown} is not known; did you mean \"{near}\"? (a file of this name: {file})"));
    }
    Ok(LogTarget::File(text.into()))
}
