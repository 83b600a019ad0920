//! YAML and JSON say the same as TOML.

use proptest::prelude::*;

use super::good::CORE;
use super::hostile::{check_of, spliced};
use crate::config::parse;

const YAML: &str = r#"
process:
  workers: auto
  drain_timeout: 30s
  shutdown_delay: "0s"
admin: {address: "127.0.0.1:9900"}
access_log:
  path: stdout
resolver:
  servers: [127.0.0.53]
  ttl_min: 1s
  ttl_max: 5m
listeners:
  - name: web
    address: 0.0.0.0:8080
    protocol: http
    head_timeout: 10s
    body_idle_timeout: 30s
    keepalive_timeout: 60s
    send_timeout: 30s
    trusted_proxies: []
routes:
  # of the API
  - name: api
    listeners: [web]
    hosts: [api.example.com, "*.example.org"]
    path: {prefix: /api}
    upstream: api
upstreams:
  api:
    policy: round_robin
    endpoints:
      - 127.0.0.1:8001
      - address: 127.0.0.1:8002
        weight: 3
      - app.internal:8080
    connect_timeout: 2s
    response_head_timeout: 30s
    idle_timeout: 60s
    request_timeout: 0s
"#;

const JSON: &str = r#"{
    "process": {"workers": "auto", "drain_timeout": "30s", "shutdown_delay": "0s"},
    "admin": {"address": "127.0.0.1:9900"},
    "access_log": {"path": "std\u006fut"},
    "resolver": {"servers": ["127.0.0.53"], "ttl_min": "1s", "ttl_max": "5m"},
    "listeners": [{
        "name": "web", "address": "0.0.0.0:8080", "protocol": "http", "head_timeout": "10s",
        "body_idle_timeout": "30s", "keepalive_timeout": "60s", "send_timeout": "30s", "trusted_proxies": []
    }],
    "routes": [{
        "name": "api", "listeners": ["web"], "hosts": ["api.example.com", "*.example.org"],
        "path": {"prefix": "/api"}, "upstream": "api"
    }],
    "upstreams": {"api": {
        "policy": "round_robin",
        "endpoints": ["127.0.0.1:8001", {"address": "127.0.0.1:8002", "weight": 3}, "app.internal:8080"],
        "connect_timeout": "2s", "response_head_timeout": "30s", "idle_timeout": "60s", "request_timeout": "0s"
    }}
}"#;

#[test]
fn the_core_example_is_the_same_in_all_formats() {
    let expected = parse("t.toml", CORE).unwrap();
    for (name, text) in [("t.yaml", YAML), ("t.YML", YAML), ("t.json", JSON)] {
        assert_eq!(parse(name, text).unwrap_or_else(|errors| panic!("{errors}")), expected, "{name}");
        let marked = format!("\u{feff}{text}");
        assert_eq!(parse(name, &marked).unwrap_or_else(|errors| panic!("{errors}")), expected, "{name}");
        let windows = text.replace('\n', "\r\n");
        assert_eq!(parse(name, &windows).unwrap_or_else(|errors| panic!("{errors}")), expected, "{name}");
    }
    assert_eq!(parse("t.conf", CORE).unwrap(), expected, "what has no known ending is TOML");
    let for_editors = JSON.replacen('{', "{\"$schema\": \"corelane.schema.json\",", 1);
    assert_eq!(parse("t.json", &for_editors).unwrap(), expected);
    // YAML 1.2 has JSON in it.
    assert_eq!(parse("t.yaml", JSON).unwrap(), expected);
}

#[test]
fn upstreams_stand_in_the_order_of_the_file() {
    let text = YAML.replace(
        "upstreams:\n",
        "upstreams:\n  z: {endpoints: [127.0.0.1:1]}\n  b: {endpoints: [127.0.0.1:1]}\n",
    );
    let config = parse("t.yaml", &text).unwrap();
    let names: Vec<_> = config.upstreams.iter().map(|upstream| &*upstream.name).collect();
    assert_eq!(names, ["z", "b", "api"]);
}

#[test]
fn aliases_are_copies() {
    let text = YAML
        .replace("[127.0.0.53]", "&servers [127.0.0.53]")
        .replace("trusted_proxies: []", "trusted_proxies: *servers");
    let config = parse("t.yaml", &text).unwrap();
    assert_eq!(config.listeners[0].trusted_proxies, ["127.0.0.53/32".parse().unwrap()]);
}

/// "Billion laughs".
#[test]
fn aliases_are_bounded() {
    let mut text = "a0: &a0 [x, x, x, x, x, x, x, x, x, x]\n".to_owned();
    for level in 1..30 {
        let aliases = vec![format!("*a{}", level - 1); 10].join(", ");
        text.push_str(&format!("a{level}: &a{level} [{aliases}]\n"));
    }
    let errors = parse("t.yaml", &text).unwrap_err().to_string();
    assert!(errors.ends_with("aliases make the file too large; they may add 64 MiB"), "{errors}");

    let mut text = "a0: &a0 [x]\n".to_owned();
    for level in 1..200 {
        text.push_str(&format!("a{level}: &a{level} [*a{}]\n", level - 1));
    }
    let errors = parse("t.yaml", &text).unwrap_err().to_string();
    assert!(
        errors.ends_with("lists and tables are nested too deeply; at most 80 levels are read"),
        "{errors}"
    );
}

#[test]
fn depth_is_bounded() {
    let told = |name: &str, text: &str| parse(name, text).unwrap_err().to_string();
    let deep = |levels: usize| format!("{}1{}", "[".repeat(levels), "]".repeat(levels));
    for name in ["t.json", "t.yaml"] {
        let fits = told(name, &format!("{{\"process\": {{\"x\": {}}}}}", deep(78)));
        assert!(fits.contains("unknown key \"x\" in [process]"), "{fits}");
        for levels in [79, 200, 100_000] {
            let error = told(name, &format!("{{\"process\": {{\"x\": {}}}}}", deep(levels)));
            assert!(
                error.ends_with("nested too deeply; at most 80 levels are read"),
                "{levels} {name}: {error}"
            );
        }
    }
    let block: String = (0..1000).map(|level| format!("{}a:\n", " ".repeat(level))).collect();
    assert!(told("t.yaml", &block).ends_with("nested too deeply; at most 80 levels are read"));
    assert!(told("t.yaml", &"- ".repeat(100_000)).ends_with("nested too deeply; at most 80 levels are read"));
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(1000))]

    #[test]
    fn answers_to_changed_yaml(text in spliced(YAML)) {
        check_of("t.yaml", &text)?;
    }

    #[test]
    fn answers_to_changed_json(text in spliced(JSON)) {
        check_of("t.json", &text)?;
    }
}
