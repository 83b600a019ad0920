//! contrib/: the rules, the alerts and the dashboard, and the queries of docs/observability.md, before a real proxy.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};

use serde_json::Value;

use crate::support::prometheus::{Prometheus, promtool};
use crate::support::{Client, DEADLINE, Origin, Proxy, Setup, client, eventually_within, ok};

fn file(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join(name)
}

fn text_of(name: &str) -> String {
    fs::read_to_string(file(name)).unwrap()
}

fn dashboard() -> Value {
    serde_json::from_str(&text_of("contrib/grafana/corelane.json")).unwrap()
}

/// Every query of the dashboard, with its variables as Grafana would fill them in.
fn dashboard_queries() -> Vec<String> {
    let dashboard = dashboard();
    let panels = dashboard["panels"].as_array().unwrap().iter();
    let targets = panels.filter_map(|panel| panel["targets"].as_array()).flatten();
    let written = targets.chain(dashboard["annotations"]["list"].as_array().unwrap());
    let queries = written.map(|target| target["expr"].as_str().unwrap());
    let filled = |query: &str| {
        let variables = ["$job", "$instance", "$route", "$upstream"].iter();
        variables
            .fold(query.replace("$__rate_interval", "1m"), |query, variable| query.replace(variable, ".*"))
    };
    queries.map(filled).collect()
}

/// The queries in the page: in blocks of PromQL, each behind its comment, and in its tables.
fn documented_queries() -> Vec<String> {
    let page = text_of("docs/observability.md");
    let blocks = page.split("```promql\n").skip(1).map(|rest| rest.split("```").next().unwrap());
    let mut queries = Vec::new();
    for line in blocks.flat_map(|block| ["#"].into_iter().chain(block.lines())) {
        match (line.starts_with('#'), queries.last_mut()) {
            (true, _) => queries.push(String::new()),
            (false, Some(query)) => *query = format!("{query}{line}\n"),
            (false, None) => unreachable!("each block begins with a comment"),
        }
    }
    let spans =
        page.split('`').filter(|span| span.starts_with("sum by (") && span.contains("rate(corelane_"));
    queries.extend(spans.map(str::to_owned));
    queries.retain(|query| !query.trim().is_empty());
    queries
}

/// What the selectors of a query are, and the labels that it groups and matches by.
fn selectors(query: &str) -> (BTreeSet<String>, BTreeSet<String>) {
    let (mut found, mut labels) = (BTreeSet::new(), BTreeSet::new());
    let is_name = |c: char| c.is_ascii_alphanumeric() || c == '_' || c == ':';
    let mut rest = query;
    while let Some(start) = rest.find(is_name) {
        let from_name = &rest[start..];
        let length = from_name.find(|c| !is_name(c)).unwrap_or(from_name.len());
        let (name, behind) = from_name.split_at(length);
        rest = behind;
        if ["by", "on", "without", "ignoring", "group_left"].contains(&name) {
            let list = behind.trim_start().strip_prefix('(').and_then(|list| list.split(')').next());
            let list = list.unwrap_or_else(|| panic!("{query}: a list of labels behind {name}"));
            labels.extend(
                list.split(',').map(|label| label.trim().to_owned()).filter(|label| !label.is_empty()),
            );
            rest = &behind[behind.find(')').unwrap()..];
        } else if name.starts_with("corelane_") || name.starts_with("process_") || name.contains(':') {
            let matchers = behind.strip_prefix('{').map(|inner| &inner[..inner.find('}').unwrap()]);
            found.insert(matchers.map_or(name.to_owned(), |matchers| format!("{name}{{{matchers}}}")));
            rest = &behind[matchers.map_or(0, |matchers| matchers.len() + 2)..];
        } else if behind.starts_with('{') {
            // Of `up`, say.
            rest = &behind[behind.find('}').unwrap()..];
        }
    }
    (found, labels)
}

#[test]
fn selectors_and_labels_are_found() {
    let query = "histogram_quantile(0.9, sum by (a, le) (rate(corelane_x_bucket{b=\"c:d\"}[5m]))) \
                 / on (job) group_left () l:r:o > 2 * up{job=\"x\"}";
    let (found, labels) = selectors(query);
    assert_eq!(found.iter().collect::<Vec<_>>(), ["corelane_x_bucket{b=\"c:d\"}", "l:r:o"]);
    assert_eq!(labels.iter().collect::<Vec<_>>(), ["a", "job", "le"]);
}

#[test]
fn the_rules_hold_in_promtools_tests() {
    let rules = ["contrib/prometheus/rules.yml", "contrib/prometheus/alerts.yml"].map(file);
    let paths = rules.each_ref().map(|path| path.to_str().unwrap());
    let said = promtool(&["check", "rules", paths[0], paths[1]], "");
    assert!(said.is_success, "{said:?}");
    let tests = file("contrib/prometheus/rules_test.yml");
    let said = promtool(&["test", "rules", tests.to_str().unwrap()], "");
    assert!(said.is_success, "{said:?}");
}

/// Makes requests of many kinds until it is told to stop.
fn keep_busy(proxy: &Proxy, stop: &AtomicBool) {
    let mut kept = proxy.client();
    while !stop.load(Ordering::Relaxed) {
        assert_eq!(kept.request(client::post("/", b"0123456789")).status(), 200);
        assert_eq!(kept.get("/close").status(), 200);
        assert_eq!(proxy.get("/down").status(), 502);
        let h2c = "GET / HTTP/1.1\r\nHost: a\r\nConnection: Upgrade, HTTP2-Settings\r\nUpgrade: h2c\r\n\
                   HTTP2-Settings: AAMAAABkAAQAAP__\r\n\r\n";
        assert_eq!(proxy.client().request(h2c).status(), 200);
        let mut wrong = Client::connect(&proxy.address("web"));
        assert_eq!(wrong.request("GET / HTTP/1.1\r\nHost : a\r\n\r\n").status(), 400);
        std::thread::sleep(std::time::Duration::from_millis(20));
    }
}

#[test]
fn every_query_finds_something_at_a_busy_proxy() {
    let origin = Origin::http(|request| {
        let body = ok("x");
        if request.head.raw.starts_with("GET /close") {
            return b"HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: 1\r\n\r\nx".to_vec();
        }
        body
    });
    let more = "[[routes]]\nname = \"down\"\npath = { prefix = \"/down\" }\nupstream = \"down\"\nfilters = [\"id\"]\n\
                [filters.id]\ntype = \"request_id\"\n[upstreams.down]\nendpoints = [\"127.0.0.1:1\"]\n";
    let proxy = Setup::origin(&origin).workers(2).upstream("breaker = {}").more(more).start();
    let rules = ["contrib/prometheus/rules.yml", "contrib/prometheus/alerts.yml"].map(file);
    let prometheus = Prometheus::start(&proxy, &[&rules[0], &rules[1]]);
    let stop = AtomicBool::new(false);
    std::thread::scope(|scope| {
        let _stopping = Stopping(&stop);
        scope.spawn(|| keep_busy(&proxy, &stop));
        finds_everything(&prometheus);
    });
}

/// Stops what makes requests, also when the test fails.
struct Stopping<'a>(&'a AtomicBool);

impl Drop for Stopping<'_> {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
    }
}

#[track_caller]
fn finds_everything(prometheus: &Prometheus) {
    let is_known = |series: &[(BTreeMap<String, String>, f64)]| series.iter().any(|(_, it)| it.is_finite());
    let shown = [dashboard_queries(), documented_queries()].concat();
    assert!(shown.len() > 70, "{}", shown.len());
    let (mut all_selectors, mut labels) = (BTreeSet::new(), BTreeSet::new());
    for rule in rules(prometheus) {
        if rule["type"] == "recording" {
            all_selectors.insert(rule["name"].as_str().unwrap().to_owned());
        }
        let (of_rule, labels_of_rule) = selectors(rule["query"].as_str().unwrap());
        all_selectors.extend(of_rule);
        labels.extend(labels_of_rule);
    }
    for query in &shown {
        let (of_query, labels_of_query) = selectors(query);
        all_selectors.extend(of_query);
        labels.extend(labels_of_query);
    }
    for selector in &all_selectors {
        eventually_within(4 * DEADLINE, selector, || is_known(&prometheus.query(selector)));
    }
    let mut known = BTreeSet::new();
    for (of_series, _) in prometheus.query("{job=\"corelane\"}") {
        known.extend(of_series.into_keys());
    }
    assert!(labels.is_subset(&known), "{:?}", labels.difference(&known));
    // What compares finds nothing where all is well.
    let shows = shown.iter().filter(|query| !query.contains(['<', '>']));
    for query in shows {
        eventually_within(4 * DEADLINE, query, || is_known(&prometheus.query(query)));
    }
    for query in shown.iter().filter(|query| query.contains(['<', '>'])) {
        prometheus.query(query);
    }
    for rule in rules(prometheus) {
        assert_eq!(rule["health"], "ok", "{rule}");
    }
}

/// The rules, when each has been evaluated.
#[track_caller]
fn rules(prometheus: &Prometheus) -> Vec<Value> {
    let mut rules: Vec<Value> = Vec::new();
    eventually_within(4 * DEADLINE, "each rule is evaluated", || {
        let answer = prometheus.get("/api/v1/rules");
        let groups = answer["data"]["groups"].as_array().unwrap();
        rules = groups.iter().flat_map(|group| group["rules"].as_array().unwrap().clone()).collect();
        rules.len() > 20 && rules.iter().all(|rule| rule["health"] != "unknown")
    });
    rules
}

/// The names behind `- alert: ` in the file of alerts.
fn alerts() -> Vec<String> {
    let text = text_of("contrib/prometheus/alerts.yml");
    text.lines().filter_map(|line| line.trim().strip_prefix("- alert: ")).map(str::to_owned).collect()
}

#[test]
fn every_alert_has_a_test_that_fires_it_and_a_place_in_the_documentation() {
    let (tests, page) = (text_of("contrib/prometheus/rules_test.yml"), text_of("docs/observability.md"));
    let rules = text_of("contrib/prometheus/alerts.yml");
    let headings: Vec<String> = page
        .lines()
        .filter_map(|line| Some(line.strip_prefix('#')?.trim_start_matches('#').trim().to_lowercase()))
        .collect();
    assert!(alerts().len() > 15, "{:?}", alerts());
    for alert in alerts() {
        let fires = format!("alertname: {alert}\n        exp_alerts:");
        assert!(tests.contains(&fires), "{alert} fires in no test");
        assert!(page.contains(&format!("`{alert}`")) || page.contains(&format!("### {alert}")), "{alert}");
    }
    let runbooks: Vec<&str> = rules.split("docs/observability.md#").skip(1).collect();
    assert_eq!(runbooks.len(), alerts().len());
    for runbook in runbooks {
        let anchor = runbook.split('"').next().unwrap();
        assert!(headings.iter().any(|heading| heading == anchor), "no heading {anchor}");
    }
}

#[test]
fn the_dashboard_is_whole() {
    let dashboard = dashboard();
    let panels = dashboard["panels"].as_array().unwrap();
    let ids: BTreeSet<u64> = panels.iter().map(|panel| panel["id"].as_u64().unwrap()).collect();
    assert_eq!(ids.len(), panels.len(), "ids are there once");
    let mut cells = BTreeSet::new();
    for panel in panels {
        let [x, y, w, h] = ["x", "y", "w", "h"].map(|side| panel["gridPos"][side].as_u64().unwrap());
        assert!(x + w <= 24, "{}", panel["title"]);
        for cell in (x..x + w).flat_map(|x| (y..y + h).map(move |y| (x, y))) {
            assert!(cells.insert(cell), "{} lies over another panel", panel["title"]);
        }
    }
    let variables = dashboard["templating"]["list"].as_array().unwrap();
    let defined: BTreeSet<&str> = variables.iter().map(|it| it["name"].as_str().unwrap()).collect();
    for query in dashboard_queries() {
        assert!(!query.contains('$'), "an unknown variable in {query}; there are {defined:?}");
    }
    assert_eq!(defined, BTreeSet::from(["datasource", "instance", "job", "route", "upstream"]));
}
