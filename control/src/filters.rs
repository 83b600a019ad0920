//! From the filters of a configuration to the chains that its routes run.

use std::collections::HashMap;
use std::fmt;
use std::sync::Arc;

use corelane_engine::snapshot::Chains;
use corelane_filters::{Chain, FilterId, Filters, Problem, Scope};

use crate::config::{Config, Route};

/// The filters of a configuration, ready to run.
#[derive(Debug, Default)]
pub(crate) struct Compiled {
    /// What the next configuration takes the limits' counts from.
    filters: Filters,
    /// In the order of [`FilterId::index`].
    names: Vec<Arc<str>>,
    routes: Vec<RouteFilters>,
}

/// Those of one route.
#[derive(Clone, Debug, Default)]
pub(crate) struct RouteFilters {
    /// What its requests run.
    pub(crate) chains: Chains,
    /// The groups of its path, by number.
    pub(crate) captures: Vec<usize>,
}

/// What is wrong with filters.
#[derive(Debug)]
pub(crate) enum Fault {
    /// With the settings of one.
    Settings {
        /// Which, as in [`Config::filters`].
        filter: usize,
        /// What.
        problem: Problem,
    },
    /// With what a route answers.
    Answer {
        /// The route.
        route: usize,
        /// Its key: `redirect`.
        kind: &'static str,
        /// What.
        problem: Problem,
    },
    /// With a filter in its place.
    Place {
        /// The route.
        route: usize,
        /// The filter, as in [`Config::filters`].
        filter: usize,
        /// Its name.
        name: Arc<str>,
        /// What.
        problem: Problem,
    },
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (name, problem) = match self {
            Self::Settings { filter, problem } => (format!("filter {filter}"), problem),
            Self::Answer { route, kind, problem } => (format!("{kind} of route {route}"), problem),
            Self::Place { name, problem, .. } => (format!("filter \"{name}\""), problem),
        };
        write!(f, "{name}: {} {}", problem.key, problem.message)
    }
}

impl Compiled {
    /// Compiles the filters. Limits of the same name go on with what they have counted in `earlier`.
    pub(crate) fn new(config: &Config, earlier: &Self) -> Result<Self, Vec<Fault>> {
        let mut compiled = Self { filters: Filters::after(&earlier.filters), ..Self::default() };
        let mut faults = Vec::new();
        for (filter, it) in config.filters.iter().enumerate() {
            let fault = |problem| Fault::Settings { filter, problem };
            faults.extend(compiled.define(&it.name, &it.settings).into_iter().map(fault));
        }
        let mut answers = HashMap::new();
        for (route, it) in config.routes.iter().enumerate() {
            let Some(settings) = &it.answer else { continue };
            let name: Arc<str> = format!("{} of route {}", settings.kind(), it.name).into();
            let fault = |problem| Fault::Answer { route, kind: settings.kind(), problem };
            faults.extend(compiled.define(&name, settings).into_iter().map(fault));
            answers.insert(route, compiled.names.len() - 1);
        }
        // Without all of them the places of the others are wrong.
        if !faults.is_empty() {
            return Err(faults);
        }
        let mut known = HashMap::new();
        for (index, route) in config.routes.iter().enumerate() {
            let rows = Rows::new(config, route, answers.get(&index).copied());
            let groups: Vec<&str> = route.path.group_names().collect();
            let captures = groups.iter().filter_map(|name| route.path.group(name)).collect();
            // Thousands of routes have the same filters, mostly none.
            let key = (rows, groups.iter().map(ToString::to_string).collect::<Vec<_>>());
            let chains = match known.get(&key) {
                Some(chains) => Ok(Chains::clone(chains)),
                None => compiled.chains(&key.0, &groups).inspect(|chains| {
                    known.insert(key, chains.clone());
                }),
            };
            match chains {
                Ok(chains) => compiled.routes.push(RouteFilters { chains, captures }),
                Err(problems) => faults.extend(problems.into_iter().map(|(filter, problem)| {
                    let (filter, name) = (filter.index(), compiled.names[filter.index()].clone());
                    match &route.answer {
                        Some(settings) if filter >= config.filters.len() => {
                            Fault::Answer { route: index, kind: settings.kind(), problem }
                        }
                        _ => Fault::Place { route: index, filter, name, problem },
                    }
                })),
            }
        }
        if faults.is_empty() { Ok(compiled) } else { Err(faults) }
    }

    fn define(&mut self, name: &str, settings: &corelane_filters::Settings) -> Vec<Problem> {
        self.names.push(name.into());
        let defined = self.filters.define(name, settings.clone(), &environment);
        defined.err().unwrap_or_default()
    }

    fn chains(&self, rows: &Rows, groups: &[&str]) -> Result<Chains, Vec<(FilterId, Problem)>> {
        let scope = Scope { captures: groups };
        let chain = |ids: &Vec<usize>| {
            let ids: Vec<FilterId> = ids.iter().filter_map(|&id| self.filters.id(id)).collect();
            self.filters.chain(&ids, &scope, &environment)
        };
        let chains: Result<Vec<Chain>, _> = rows.lists.iter().map(chain).collect();
        let upstreams = rows.upstreams.clone().into();
        Ok(Chains { chains: chains?.into(), upstreams, by_listener: rows.by_listener })
    }

    /// The names, in the order of [`FilterId::index`].
    pub(crate) fn names(&self) -> &[Arc<str>] {
        &self.names
    }

    /// Those of a route.
    pub(crate) fn of_route(&self, route: usize) -> RouteFilters {
        self.routes.get(route).cloned().unwrap_or_default()
    }
}

fn environment(name: &str) -> Option<String> {
    std::env::var(name).ok()
}

/// The filters that requests of a route meet, by number, as [`Chains`] has them.
#[derive(PartialEq, Eq, Hash)]
struct Rows {
    lists: Vec<Vec<usize>>,
    upstreams: Vec<usize>,
    by_listener: bool,
}

impl Rows {
    fn new(config: &Config, route: &Route, answer: Option<usize>) -> Self {
        let of_listener = |index: usize| &config.listeners[index].filters[..];
        let by_listener = route.listeners.iter().any(|&index| !of_listener(index).is_empty());
        let upstreams: Vec<usize> = route.action.upstreams().collect();
        let of_upstream = |index: usize| &config.upstreams[index].filters[..];
        let by_upstream =
            upstreams.len() > 1 && upstreams.iter().any(|&index| !of_upstream(index).is_empty());
        let listeners = if by_listener { 0..config.listeners.len() } else { 0..1 };
        let listed = |listener: usize, upstream: Option<usize>| {
            let first = if by_listener { of_listener(listener) } else { &[] };
            let last = upstream.map_or(&[][..], of_upstream);
            first.iter().chain(&route.filters).chain(last).copied().chain(answer).collect()
        };
        let only = upstreams.first().copied();
        let lists = listeners.flat_map(|listener| match by_upstream {
            true => upstreams.iter().map(|&upstream| listed(listener, Some(upstream))).collect(),
            false => vec![listed(listener, only)],
        });
        Self {
            lists: lists.collect(),
            by_listener,
            upstreams: if by_upstream { upstreams } else { Vec::new() },
        }
    }
}
