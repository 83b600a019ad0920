//! What a reload changes, by name.

use std::collections::{BTreeMap, BTreeSet};

use corelane_engine::action::{Action, MirrorRule, Sticky};

use crate::config::Config;
use crate::log;

/// The difference between two configurations.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct Changes {
    listeners: Names,
    routes: Names,
    upstreams: Names,
    /// Sections and keys outside of those.
    settings: Vec<&'static str>,
    /// Keys whose change waits for a restart.
    after_restart: Vec<&'static str>,
}

#[derive(Debug, Default, PartialEq, Eq)]
struct Names {
    added: Vec<String>,
    changed: Vec<String>,
    removed: Vec<String>,
}

impl Changes {
    /// From one configuration to the next.
    pub(crate) fn between(old: &Config, new: &Config) -> Self {
        let mut settings = Vec::new();
        let mut after_restart = Vec::new();
        let note = |differs: bool, list: &mut Vec<&'static str>, key: &'static str| {
            if differs {
                list.push(key);
            }
        };
        note(old.process.drain_timeout != new.process.drain_timeout, &mut settings, "process.drain_timeout");
        note(
            old.process.shutdown_delay != new.process.shutdown_delay,
            &mut settings,
            "process.shutdown_delay",
        );
        note(old.admin != new.admin, &mut settings, "admin");
        note(old.access_log != new.access_log, &mut settings, "access_log");
        note(old.tracing != new.tracing, &mut settings, "tracing");
        note(old.resolver != new.resolver, &mut settings, "resolver");
        note(error_pages(old) != error_pages(new), &mut settings, "error_pages");
        note(old.filters != new.filters, &mut settings, "filters");
        note(old.process.workers != new.process.workers, &mut after_restart, "process.workers");
        note(old.process.driver != new.process.driver, &mut after_restart, "process.driver");
        Self {
            listeners: Names::between(&listeners(old), &listeners(new)),
            routes: Names::between(&routes(old), &routes(new)),
            upstreams: Names::between(&upstreams(old), &upstreams(new)),
            settings,
            after_restart,
        }
    }

    /// One line for each kind of change.
    pub(crate) fn log(&self) {
        for (kind, names) in
            [("listeners", &self.listeners), ("routes", &self.routes), ("upstreams", &self.upstreams)]
        {
            for (what, names) in
                [("added", &names.added), ("changed", &names.changed), ("removed", &names.removed)]
            {
                if !names.is_empty() {
                    log::info!(format_args!("{kind} {what}"), names = list(names), count = names.len());
                }
            }
        }
        if !self.settings.is_empty() {
            log::info!("settings changed", names = list(&self.settings));
        }
        for key in &self.after_restart {
            log::warning!("a changed key takes effect after a restart only", key = key);
        }
    }
}

impl Names {
    fn between<T: PartialEq>(old: &BTreeMap<&str, T>, new: &BTreeMap<&str, T>) -> Self {
        let only = |a: &BTreeMap<&str, T>, b: &BTreeMap<&str, T>| {
            a.keys().filter(|name| !b.contains_key(*name)).map(ToString::to_string).collect()
        };
        let differs = |(name, value): &(&&str, &T)| old.get(*name).is_some_and(|old| old != *value);
        Self {
            added: only(new, old),
            changed: new.iter().filter(differs).map(|(name, _)| name.to_string()).collect(),
            removed: only(old, new),
        }
    }
}

/// A listener points to filters by index; what counts is their names, in their order.
type ListenerByNames<'a> = (Vec<&'a str>, crate::config::Listener);

fn listeners(config: &Config) -> BTreeMap<&str, ListenerByNames<'_>> {
    let by_names = |it: &crate::config::Listener| {
        (filters(config, &it.filters), crate::config::Listener { filters: Vec::new(), ..it.clone() })
    };
    config.listeners.iter().map(|it| (&*it.name, by_names(it))).collect()
}

/// The same for an upstream.
type UpstreamByNames<'a> = (Vec<&'a str>, crate::config::Upstream);

fn upstreams(config: &Config) -> BTreeMap<&str, UpstreamByNames<'_>> {
    let by_names = |it: &crate::config::Upstream| {
        (filters(config, &it.filters), crate::config::Upstream { filters: Vec::new(), ..it.clone() })
    };
    config.upstreams.iter().map(|it| (&*it.name, by_names(it))).collect()
}

/// Like a route, a page points to listeners by index.
fn error_pages(config: &Config) -> Vec<(Option<BTreeSet<&str>>, crate::config::ErrorPage)> {
    let by_names = |page: &crate::config::ErrorPage| {
        let mut page = page.clone();
        let listeners = page.listeners.take();
        (listeners.map(|on| on.into_iter().map(|index| &*config.listeners[index].name).collect()), page)
    };
    config.error_pages.iter().map(by_names).collect()
}

/// A route points to listeners and upstreams by index; what counts is their names, in whatever order.
type RouteByNames<'a> = (BTreeSet<&'a str>, Upstreams<'a>, &'a crate::config::Route);

/// The upstreams of a route.
#[derive(PartialEq)]
struct Upstreams<'a> {
    /// Those that its requests go to, each with its weight.
    shares: BTreeMap<&'a str, u32>,
    sticky: Option<&'a Sticky>,
    /// The one that mirrors, and the rest of its rule.
    mirror: Option<(&'a str, MirrorRule)>,
    /// Its filters, in order.
    filters: Vec<&'a str>,
}

impl<'a> Upstreams<'a> {
    fn of(config: &'a Config, route: &'a crate::config::Route) -> Self {
        let name = |upstream: usize| &*config.upstreams[upstream].name;
        let (shares, sticky) = match &route.action {
            Action::Upstream(upstream) => (BTreeMap::from([(name(*upstream), 1)]), None),
            Action::Answer => (BTreeMap::new(), None),
            Action::Split(split) => {
                let shares = split.destinations.iter().map(|it| (name(it.upstream), it.weight));
                (shares.collect(), split.sticky.as_ref())
            }
        };
        let mirror = route.mirror.as_ref();
        let mirror = mirror.map(|rule| (name(rule.upstream), MirrorRule { upstream: 0, ..rule.clone() }));
        Self { shares, sticky, mirror, filters: filters(config, &route.filters) }
    }
}

/// The names of filters that are listed by index.
fn filters<'a>(config: &'a Config, listed: &[usize]) -> Vec<&'a str> {
    listed.iter().map(|&index| &*config.filters[index].name).collect()
}

struct Route<'a>(RouteByNames<'a>);

impl PartialEq for Route<'_> {
    fn eq(&self, other: &Self) -> bool {
        let ((listeners, upstreams, a), (other_listeners, other_upstreams, b)) = (&self.0, &other.0);
        listeners == other_listeners
            && upstreams == other_upstreams
            && a.answer == b.answer
            && a.timeouts == b.timeouts
            && a.hosts == b.hosts
            && a.path == b.path
            && a.conditions == b.conditions
            && a.priority == b.priority
            && a.host == b.host
            && a.body_bytes_max == b.body_bytes_max
            && a.upgrades == b.upgrades
            && a.grpc_web == b.grpc_web
    }
}

fn routes(config: &Config) -> BTreeMap<&str, Route<'_>> {
    let by_names = |route| {
        let route: &crate::config::Route = route;
        let listeners = route.listeners.iter().map(|&index| &*config.listeners[index].name).collect();
        Route((listeners, Upstreams::of(config, route), route))
    };
    config.routes.iter().map(|route| (&*route.name, by_names(route))).collect()
}

/// The first names; a file may have thousands.
fn list(names: &[impl AsRef<str>]) -> String {
    let shown: Vec<&str> = names.iter().take(NAMES_SHOWN_MAX).map(AsRef::as_ref).collect();
    let more = if names.len() > NAMES_SHOWN_MAX { ",..." } else { "" };
    shown.join(",") + more
}

/// Fits a line that a person reads.
const NAMES_SHOWN_MAX: usize = 50;

#[cfg(test)]
mod tests {
    use corelane_filters::Settings;
    use corelane_filters::filter::maintenance;

    use super::*;
    use crate::config::Filter;
    use crate::fixtures;

    #[test]
    fn filters_count_by_name_and_order() {
        let filter = |name: &str| {
            let settings = Settings::Maintenance(maintenance::Settings { retry_after: None });
            Filter { name: name.into(), settings }
        };
        let mut old = fixtures::config();
        old.filters = vec![filter("a"), filter("b")];
        old.listeners[0].filters = vec![0, 1];
        old.upstreams[0].filters = vec![1];
        old.routes[0].filters = vec![0];

        let mut new = old.clone();
        new.filters.insert(0, filter("first"));
        new.listeners[0].filters = vec![1, 2];
        new.upstreams[0].filters = vec![2];
        new.routes[0].filters = vec![1];
        let moved = Changes::between(&old, &new);
        assert_eq!(moved, Changes { settings: vec!["filters"], ..Changes::default() }, "other indices");

        new.listeners[0].filters = vec![2, 1];
        new.upstreams[0].filters = vec![1];
        new.routes[0].filters = vec![2];
        let changes = Changes::between(&old, &new);
        assert_eq!(changes.listeners.changed, ["web"], "another order");
        assert_eq!(changes.upstreams.changed.len(), 1);
        assert_eq!(changes.routes.changed, ["all"]);
    }

    #[test]
    fn finds_what_was_added_changed_and_removed() {
        let old = fixtures::config();
        let mut new = old.clone();
        assert_eq!(Changes::between(&old, &new), Changes::default());

        new.listeners.insert(0, fixtures::listener("extra", "127.0.0.1:1"));
        new.upstreams.insert(0, fixtures::upstream("first", vec![fixtures::endpoint("127.0.0.1:2", 1)]));
        new.routes[0].listeners = vec![1];
        new.routes[0].action = Action::Upstream(1);
        let moved = Changes::between(&old, &new);
        assert_eq!(moved.listeners.added, ["extra"]);
        assert_eq!(moved.upstreams.added, ["first"]);
        assert_eq!(moved.routes, Names::default(), "other indices, the same names");

        new.routes[0].action = Action::Upstream(0);
        new.listeners[1].fields_max += 1;
        new.process.workers = None;
        let address = new.listeners[0].address.clone();
        new.admin = Some(crate::config::Admin { address, histograms: true });
        new.error_pages = vec![crate::config::ErrorPage {
            statuses: vec![crate::config::StatusPattern::Class(5)],
            listeners: None,
            content_type: "text/plain".into(),
            segments: Vec::new(),
        }];
        let changes = Changes::between(&old, &new);
        assert_eq!(changes.routes.changed, ["all"]);
        new.routes[0].action = Action::Upstream(1);
        new.routes[0].body_bytes_max = 1;
        assert_eq!(Changes::between(&old, &new).routes.changed, ["all"], "another limit of the body");
        new.routes[0].body_bytes_max = 0;
        let is_changed = |new: &Config| Changes::between(&old, new).routes.changed == ["all"];
        assert!(!is_changed(&new));
        new.routes[0].timeouts.request = Some(std::time::Duration::ZERO);
        assert!(is_changed(&new), "a timeout of its own");
        new.routes[0].timeouts.request = None;
        new.routes[0].mirror = Some(fixtures::mirror(0));
        assert!(is_changed(&new), "a mirror");
        let mut moved = new.clone();
        moved.routes[0].mirror = Some(fixtures::mirror(1));
        assert_eq!(Changes::between(&new, &moved).routes.changed, ["all"], "to another upstream");
        assert_eq!(changes.listeners.changed, ["web"]);
        assert_eq!(changes.settings, ["admin", "error_pages"]);
        assert_eq!(changes.after_restart, ["process.workers"]);
        assert_eq!(Changes::between(&new, &old).listeners.removed, ["extra"]);
    }
}
