//! `corelane check`: OK, or every error at once with its place.

use std::fs;
use std::process::{Command, Output};

use crate::support::process::{output, stderr, stdout};
use crate::support::proxy::binary;
use crate::support::{Launch, Setup};

const GOOD: &str = r#"
[process]
workers = "auto"
drain_timeout = "30s"
shutdown_delay = "0s"

[admin]
address = "127.0.0.1:9900"

[access_log]
path = "stdout"

[resolver]
servers = ["127.0.0.53"]
ttl_min = "1s"
ttl_max = "5m"

[[listeners]]
name = "web"
address = "0.0.0.0:8080"
protocol = "http"
head_timeout = "10s"
body_idle_timeout = "30s"
keepalive_timeout = "60s"
send_timeout = "30s"
trusted_proxies = []

[[routes]]
name = "api"
listeners = ["web"]
hosts = ["api.example.com", "*.example.org"]
path = { prefix = "/api" }
upstream = "api"

[upstreams.api]
policy = "round_robin"
endpoints = ["127.0.0.1:8001", { address = "127.0.0.1:8002", weight = 3 }, "app.internal:8080"]
connect_timeout = "2s"
response_head_timeout = "30s"
idle_timeout = "60s"
request_timeout = "0s"
"#;

fn check(text: &str) -> Output {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("corelane.toml");
    fs::write(&path, text).unwrap();
    output(Command::new(binary()).arg("check").arg(&path))
}

fn all_output(output: &Output) -> String {
    stdout(output) + &stderr(output)
}

/// Where `needle` begins in `text`: line and column, from 1.
fn place(text: &str, needle: &str) -> String {
    let offset = text.find(needle).unwrap();
    let line = text[..offset].matches('\n').count() + 1;
    let column = offset - text[..offset].rfind('\n').map_or(0, |end| end + 1) + 1;
    format!("{line}:{column}")
}

#[test]
fn says_ok() {
    let output = check(GOOD);
    assert!(output.status.success(), "{}", all_output(&output));
    assert!(stdout(&output).contains("OK"), "{}", all_output(&output));
}

#[test]
fn says_how_much_memory_a_file_allows() {
    let limited = GOOD.replace("trusted_proxies = []", "trusted_proxies = []\nconnections_max = 100");
    let output = check(&limited.replace("workers = \"auto\"", "workers = 2"));
    let told = stdout(&output);
    let lines: Vec<&str> = told.lines().filter(|line| line.starts_with("memory at most: ")).collect();
    assert_eq!(lines.len(), 3, "{told}");
    assert!(lines[0].starts_with("memory at most: web 100 connections x "), "{told}");
    assert!(lines[1].starts_with("memory at most: 2 workers x "), "{told}");
    assert!(lines[2].contains(" in all"), "{told}");
}

#[test]
fn lists_every_error_with_its_place() {
    let text = GOOD
        .replace("policy = \"round_robin\"", "policy = \"round_robbin\"")
        .replace("head_timeout = \"10s\"", "head_timout = \"10s\"")
        .replace("upstream = \"api\"", "upstream = \"apy\"")
        .replace("drain_timeout = \"30s\"", "drain_timeout = \"30 parsecs\"")
        .replace("weight = 3", "weight = 70000");
    let output = check(&text);
    assert_eq!(output.status.code(), Some(1));
    let told = all_output(&output);
    for (value, allowed) in [
        ("\"round_robbin\"", "round_robin"),
        ("head_timout", "head_timeout"),
        ("\"apy\"", "api"),
        ("\"30 parsecs\"", ""),
        ("70000", "65535"),
    ] {
        let place = place(&text, value);
        let line = told.lines().find(|line| line.contains(&format!("corelane.toml:{place}")));
        let line = line.unwrap_or_else(|| panic!("nothing at {place} for {value} in\n{told}"));
        assert!(told.contains(value.trim_matches('"')), "{line}");
        assert!(told.replace("65 535", "65535").contains(allowed), "{allowed} for {value} in\n{told}");
    }
    assert!(told.contains("did you mean"), "{told}");
}

#[test]
fn tells_of_syntax_errors() {
    let output = check("[process\nworkers = 1\n");
    assert_eq!(output.status.code(), Some(1));
    assert!(all_output(&output).contains("corelane.toml:1:"), "{}", all_output(&output));
}

#[test]
fn tells_of_a_missing_file() {
    let output = output(Command::new(binary()).args(["check", "/no/such/file.toml"]));
    assert_eq!(output.status.code(), Some(1));
    assert!(stderr(&output).contains("/no/such/file.toml"));
}

#[test]
fn refuses_what_cannot_be_meant() {
    let wrong = [
        ("address = \"0.0.0.0:8080\"", "address = \"0.0.0.0\""),
        ("address = \"0.0.0.0:8080\"", "address = \"0.0.0.0:80800\""),
        ("protocol = \"http\"", "protocol = \"gopher\""),
        ("name = \"web\"", "name = \"\""),
        ("path = { prefix = \"/api\" }", "path = { prefix = \"api\" }"),
        ("path = { prefix = \"/api\" }", "path = { prefix = \"/api\", exact = \"/api\" }"),
        ("path = { prefix = \"/api\" }", "path = { start = \"/api\" }"),
        ("\"*.example.org\"", "\"a.*.org\""),
        ("listeners = [\"web\"]", "listeners = [\"wob\"]"),
        ("endpoints = [\"127.0.0.1:8001\",", "endpoints = [\"127.0.0.1\","),
        ("ttl_min = \"1s\"", "ttl_min = \"1h\""),
        ("trusted_proxies = []", "trusted_proxies = [\"10.0.0.0/33\"]"),
        ("workers = \"auto\"", "workers = 0"),
        ("workers = \"auto\"", "workers = \"many\""),
        ("[resolver]", "[rezolver]"),
        ("connect_timeout = \"2s\"", "connect_timeout = 2"),
        ("connect_timeout = \"2s\"", "connect_timeout = \"-2s\""),
    ];
    for (right, bad) in wrong {
        assert!(GOOD.contains(right), "{right}");
        let output = check(&GOOD.replace(right, bad));
        assert_eq!(output.status.code(), Some(1), "{bad}: {}", all_output(&output));
        assert!(all_output(&output).contains("corelane.toml:"), "{bad}: {}", all_output(&output));
    }
}

#[test]
fn refuses_two_of_the_same() {
    let listener = "[[listeners]]\nname = \"web\"\naddress = \"0.0.0.0:8081\"\nprotocol = \"http\"\n";
    let address = "[[listeners]]\nname = \"other\"\naddress = \"0.0.0.0:8080\"\nprotocol = \"http\"\n";
    let route = "[[routes]]\nname = \"api\"\npath = { prefix = \"/x\" }\nupstream = \"api\"\n";
    let rule = "[[routes]]\nname = \"api2\"\nlisteners = [\"web\"]\nhosts = [\"api.example.com\"]\n\
                path = { prefix = \"/api\" }\nupstream = \"api\"\n";
    for twice in [listener, address, route, rule] {
        let output = check(&format!("{twice}{GOOD}"));
        assert_eq!(output.status.code(), Some(1), "{twice}");
    }
}

#[test]
fn run_refuses_what_check_refuses() {
    let text = Setup::to(&["127.0.0.1:1"]).upstream("polizy = \"round_robin\"").text();
    let mut proxy = Launch::new(&text).spawn();
    let status = proxy.wait_exit(std::time::Duration::from_secs(10));
    assert_eq!(status.code(), Some(1));
    assert!(proxy.log().contains("polizy") && proxy.log().contains("policy"), "{}", proxy.log());
}

#[test]
fn shows_which_files_are_included() {
    let dir = tempfile::tempdir().unwrap();
    let main = dir.path().join("main.toml");
    fs::write(&main, format!("include = [\"*.json\"]\n{GOOD}")).unwrap();
    let more = dir.path().join("more.json");
    fs::write(&more, "{\"upstreams\": {\"more\": {\"endpoints\": [\"127.0.0.1:1\"]}}}").unwrap();
    let checked = output(Command::new(binary()).arg("check").arg(&main));
    let text = stdout(&checked);
    assert!(checked.status.success(), "{}", all_output(&checked));
    let expected =
        format!("OK: {} (1 listener, 1 route, 2 upstreams)\nincludes {}\n", main.display(), more.display());
    assert!(text.starts_with(&expected), "{text}");

    fs::write(&more, "{\"upstreams\": {\"api\": {}}}").unwrap();
    let checked = output(Command::new(binary()).arg("check").arg(&main));
    assert_eq!(checked.status.code(), Some(1));
    assert!(
        stderr(&checked).starts_with(&format!("{}:1:16: section [upstreams.api]", more.display())),
        "{}",
        stderr(&checked)
    );
}
