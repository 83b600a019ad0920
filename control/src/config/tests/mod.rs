//! The configuration loader as a whole: text in, [`Config`](super::Config) or messages out.

mod access_log;
mod actions;
mod bad;
mod conditions;
mod documentation;
mod environment;
mod examples;
mod filters;
mod formats;
mod good;
mod health;
mod hostile;
mod include;
mod layout;
mod load;
mod schema;
mod tls;

/// What a test's text need not say.
const LISTENER: &str = "[[listeners]]\naddress = \"127.0.0.1:8080\"\n";
const ROUTE: &str = "[[routes]]\nupstream = \"api\"\n";
const UPSTREAM: &str = "[upstreams.api]\nendpoints = [\"127.0.0.1:8001\"]\n";

/// A text with the required sections that it lacks behind it.
fn completed(text: &str) -> String {
    let mut text = text.to_owned();
    for (word, section) in [("listener", LISTENER), ("routes", ROUTE), ("upstreams", UPSTREAM)] {
        let begins = |line: &str| line.starts_with('[') && line.trim_start_matches('[').starts_with(word);
        if !text.lines().any(begins) && !text.starts_with(&format!("{word}s = ")) {
            text.push_str(section);
        }
    }
    text
}

/// The errors of a text, without the file's name.
fn errors(text: &str) -> Vec<String> {
    errors_of("t.toml", text)
}

/// The same of a file of any format.
fn errors_of(file: &str, text: &str) -> Vec<String> {
    match super::parse(file, text) {
        Ok(_) => Vec::new(),
        Err(errors) => {
            let shown = errors.iter().map(ToString::to_string);
            let prefix = format!("{file}:");
            shown.map(|error| error.strip_prefix(&prefix).unwrap_or(&error).trim_start().to_owned()).collect()
        }
    }
}
