//! From the tree to the [`Config`]: one module for each section, every one read to its end before the first error ends
//! anything.

mod access_log;
mod action;
mod admin;
mod conditions;
mod error_page;
mod limits;
mod listener;
mod process;
mod resolver;
mod root;
mod route;
mod rules;
mod upstream;

use std::path::Path;

use toml::de::DeTable;

use super::reference::Section;
use super::report::{Report, Reported};
use super::types::Config;

/// Reads the whole tree; `folder` is the configuration's own.
pub(super) fn config<'a>(
    tree: &'a DeTable<'a>,
    folder: &Path,
    report: &'a Report<'a>,
) -> Result<Config, Reported> {
    let root = root::Root::new(tree, report);
    let process = root.section_or_absent(Section::Process).and_then(|section| process::decode(&section));
    let access_log =
        root.section(Section::AccessLog).and_then(|section| access_log::decode(section.as_ref()));
    let resolver = root.section_or_absent(Section::Resolver).and_then(|section| resolver::decode(&section));
    let listeners = listener::decode(root.list(Section::Listener));
    let admin = root.section(Section::Admin).and_then(|section| admin::decode(section.as_ref(), &listeners));
    let upstreams = upstream::decode(&root, &listeners);
    let routes = route::decode(root.list(Section::Route), &listeners, &upstreams, report);
    let error_pages = error_page::decode(root.optional_list(Section::ErrorPage), &listeners, folder);
    Ok(Config {
        process: process?,
        admin: admin?,
        access_log: access_log?,
        resolver: resolver?,
        listeners: listeners.all?,
        routes: routes?,
        upstreams: upstreams.all?,
        error_pages: error_pages?,
    })
}

/// All of them, or that at least one was wrong.
fn all<T>(items: Vec<Result<T, Reported>>) -> Result<Vec<T>, Reported> {
    items.into_iter().collect()
}
