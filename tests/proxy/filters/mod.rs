//! Filters of every type, as the origin and the client see them.

mod access;
mod answers;
mod bodies;
mod browsers;
mod counters;
mod fields;
mod ids;
mod in_flight;
mod order;
mod rates;
mod rewriting;
mod times;
mod tunnels;

use crate::support::{Origin, Setup, ok};

/// An origin that answers everything with 200.
fn plain() -> Origin {
    Origin::answering(ok("served"))
}

/// The usual configuration, whose route has the filters of these sections: a name and its keys.
fn with(origin: &Origin, filters: &[(&str, &str)]) -> Setup {
    let names: Vec<String> = filters.iter().map(|(name, _)| format!("{name:?}")).collect();
    let setup = Setup::origin(origin).route(&format!("filters = [{}]", names.join(", ")));
    filters.iter().fold(setup, |setup, (name, keys)| setup.more(&filter(name, keys)))
}

/// The section of a filter.
fn filter(name: &str, keys: &str) -> String {
    format!("[filters.{name}]\n{keys}\n")
}

/// A GET with these lines.
fn get_with(target: &str, lines: &str) -> String {
    format!("GET {target} HTTP/1.1\r\nHost: test\r\n{lines}\r\n")
}
