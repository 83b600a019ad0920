//! From the tree to the [`Config`]: one module for each section, every one read to its end before the first error ends
//! anything.

mod access_log;
mod action;
mod admin;
mod affinity;
mod breaker;
mod conditions;
mod error_page;
mod filter;
mod health;
mod http2;
mod limits;
mod listener;
mod outlier;
mod process;
mod resolver;
mod retry;
mod root;
mod route;
mod rules;
mod tls;
mod tracing;
mod upstream;
mod upstream_http2;

use crate::config::tree::Table;

use super::reference::Section;
use super::report::{Report, Reported};
use super::types::Config;

pub(super) use root::section;

/// Reads the whole tree.
pub(super) fn config<'a>(tree: &'a Table, report: &'a Report<'a>) -> Result<Config, Reported> {
    let root = root::Root::new(tree, report);
    let process = root.section_or_absent(Section::Process).and_then(|section| process::decode(&section));
    let resolver = root.section_or_absent(Section::Resolver).and_then(|section| resolver::decode(&section));
    let filters = filter::decode(&root);
    let listeners = listener::decode(root.list(Section::Listener), &filters);
    let admin = root.section(Section::Admin).and_then(|section| admin::decode(section.as_ref(), &listeners));
    let upstreams = upstream::decode(&root, &listeners, &filters);
    let others = route::Others { listeners: &listeners, upstreams: &upstreams, filters: &filters };
    let (routes, filtered) = route::decode(root.list(Section::Route), &others, report);
    let error_pages = error_page::decode(root.optional_list(Section::ErrorPage), &listeners);
    let named = access_log::Others { routes: routes.as_deref().ok(), filters: filters.all.as_deref().ok() };
    let access_log =
        root.section(Section::AccessLog).and_then(|section| access_log::decode(section.as_ref(), &named));
    let tracing =
        root.section(Section::Tracing).and_then(|section| tracing::decode(section.as_ref(), named.filters));
    let config = Config {
        process: process?,
        admin: admin?,
        access_log: access_log?,
        tracing: tracing?,
        resolver: resolver?,
        listeners: listeners.all.clone()?,
        routes: routes?,
        upstreams: upstreams.all.clone()?,
        error_pages: error_pages?,
        filters: filters.all.clone()?,
    };
    filters.compile(&config, &filtered, report)?;
    Ok(config)
}

/// All of them, or that at least one was wrong.
fn all<T>(items: Vec<Result<T, Reported>>) -> Result<Vec<T>, Reported> {
    items.into_iter().collect()
}
