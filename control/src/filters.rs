//! From the filters of a configuration to the chains that its routes run.

use std::collections::HashMap;
use std::sync::Arc;

use corelane_filters::{Chain, FilterId, Filters, Problem, Scope};

use crate::config::{Config, Route};

/// The filters of a configuration, ready to run.
#[derive(Debug, Default)]
pub(crate) struct Compiled {
    /// What the next configuration takes the limits' counts from.
    filters: Filters,
    names: Vec<Arc<str>>,
    routes: Vec<RouteFilters>,
}

/// Those of one route.
#[derive(Clone, Debug, Default)]
pub(crate) struct RouteFilters {
    /// One chain for each listener, or one for all.
    pub(crate) chains: Arc<[Chain]>,
    /// The groups of the route's path, by number.
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
    /// With one in its place.
    Place {
        /// The route that runs it.
        route: usize,
        /// Which it is.
        filter: usize,
        /// What.
        problem: Problem,
    },
}

impl Compiled {
    /// Compiles the filters. Limits of the same name go on with what they have counted in `earlier`.
    pub(crate) fn new(config: &Config, earlier: &Self) -> Result<Self, Vec<Fault>> {
        let environment = |name: &str| std::env::var(name).ok();
        let mut filters = Filters::after(&earlier.filters);
        let (mut ids, mut faults) = (Vec::new(), Vec::new());
        for (index, filter) in config.filters.iter().enumerate() {
            match filters.define(&filter.name, filter.settings.clone(), &environment) {
                Ok(id) => ids.push(id),
                Err(problems) => {
                    let fault = |problem| Fault::Settings { filter: index, problem };
                    faults.extend(problems.into_iter().map(fault));
                }
            }
        }
        if !faults.is_empty() {
            return Err(faults);
        }
        let mut known = HashMap::new();
        let mut routes = Vec::with_capacity(config.routes.len());
        for (index, route) in config.routes.iter().enumerate() {
            let groups: Vec<&str> = route.path.group_names().collect();
            let mut chain = |ids: Vec<FilterId>| {
                let scope = Scope { captures: &groups };
                let made = filters.chain(&ids, &scope, &environment);
                made.map_err(|problems| {
                    let fault = |(filter, problem): (FilterId, _)| {
                        Fault::Place { route: index, filter: filter.index(), problem }
                    };
                    faults.extend(problems.into_iter().map(fault));
                })
            };
            let lists = lists(config, route, &ids);
            let captures: Vec<usize> = groups.iter().filter_map(|name| route.path.group(name)).collect();
            // Thousands of routes have the same filters, mostly none.
            let key = (lists, groups.iter().map(ToString::to_string).collect::<Vec<_>>());
            let chains = match known.get(&key) {
                Some(chains) => Arc::clone(chains),
                None => {
                    let made: Result<Arc<[Chain]>, ()> = key.0.iter().map(|ids| chain(ids.clone())).collect();
                    let Ok(made) = made else { continue };
                    known.insert(key, Arc::clone(&made));
                    made
                }
            };
            routes.push(RouteFilters { chains, captures });
        }
        let names = config.filters.iter().map(|filter| filter.name.clone()).collect();
        if faults.is_empty() { Ok(Self { filters, names, routes }) } else { Err(faults) }
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

/// What requests of a route meet: for each listener if they differ, else once.
fn lists(config: &Config, route: &Route, ids: &[FilterId]) -> Vec<Vec<FilterId>> {
    let of = |listener: Option<usize>| {
        let own = listener.map_or(&[][..], |listener| &config.listeners[listener].filters);
        let upstream = &config.upstreams[route.upstream].filters;
        own.iter().chain(&route.filters).chain(upstream).map(|&filter| ids[filter]).collect::<Vec<_>>()
    };
    if route.listeners.iter().all(|&listener| config.listeners[listener].filters.is_empty()) {
        return vec![of(None)];
    }
    (0..config.listeners.len()).map(|listener| of(Some(listener))).collect()
}
