//! The reference, the decoder and docs/configuration.md say the same.

use std::collections::HashMap;

use corelane_engine::reason::{Reason, Word};
use corelane_semantics::{PathBuffers, PathError};

use super::{UPSTREAM, completed, errors};
use crate::config::{Config, ConfigErrors, Key, KeyDefault, Section, load, parse, reference};

const DOCUMENT: &str = include_str!("../../../../docs/configuration.md");

/// What examples name beside `api`.
const OTHERS: &str = "[upstreams.canary]\nendpoints = [\"127.0.0.1:8002\"]\n\
                      [upstreams.shadow]\nendpoints = [\"127.0.0.1:8003\"]\n";

/// A certificate that signed itself.
const AUTHORITY: &str = "\
-----BEGIN CERTIFICATE-----\n\
MIIBijCCAS+gAwIBAgIUQErrwaYH04/S8EYtI056dOsuQ5cwCgYIKoZIzj0EAwIw\n\
GTEXMBUGA1UEAwwOVGVzdCBhdXRob3JpdHkwIBcNMjYxMTIxMTQzMDM0WhgPMjEy\n\
NjEwMjgxNDMwMzRaMBkxFzAVBgNVBAMMDlRlc3QgYXV0aG9yaXR5MFkwEwYHKoZI\n\
zj0CAQYIKoZIzj0DAQcDQgAEI4KB93sQ1Y/M/O9AiXNjx8G1Og4pplnigX003jLi\n\
s/QqrMukAfh7lV1VKlIBqjWm88NXI7qjODxeeDmIiklOo6NTMFEwHQYDVR0OBBYE\n\
FGp3x5RwhvCgSK+eQOImLdJDuG3IMB8GA1UdIwQYMBaAFGp3x5RwhvCgSK+eQOIm\n\
LdJDuG3IMA8GA1UdEwEB/wQFMAMBAf8wCgYIKoZIzj0EAwIDSQAwRgIhANNQdayY\n\
DwtvspzDCnuoSNU6D+f2hC7NFfJsemosBwctAiEA9Hca0DscT8FDNUiHUuGKmIuh\n\
LWDZK5eqTxz8lhFivEU=\n\
-----END CERTIFICATE-----\n\
";

/// A file with one key set, in line 2.
pub(super) fn with(key: &Key, value: &str) -> String {
    let (name, title) = (key.name, key.section.title());
    let address = "address = \"127.0.0.1:8080\"\n";
    let lines = match key.section {
        Section::Admin if name != "address" => {
            format!("{title}\n{name} = {value}\naddress = \"127.0.0.1:9900\"\n")
        }
        Section::Process | Section::Admin | Section::Resolver => {
            format!("{title}\n{name} = {value}\n")
        }
        Section::Tracing if name == "endpoint" => format!("{title}\n{name} = {value}\n"),
        Section::Tracing => format!("{title}\n{name} = {value}\nendpoint = \"http://127.0.0.1:4318\"\n"),
        Section::AccessLog if name == "path" => format!("{title}\n{name} = {value}\n"),
        Section::AccessLog => {
            let path = if name.starts_with("syslog_") { "syslog:unix:/dev/log" } else { "stdout" };
            format!("{title}\n{name} = {value}\npath = \"{path}\"\n")
        }
        Section::Sampling => {
            let share = if name == "share" { "" } else { ", share = \"1%\"" };
            let rule = format!("{{ {name} = {value}{share} }}");
            format!("[access_log]\nsampling = [{rule}]\npath = \"stdout\"\n")
        }
        Section::Listener if name == "address" => format!("{title}\n{name} = {value}\n"),
        Section::Listener if name.starts_with("http2_") => {
            format!("{title}\n{name} = {value}\nhttp2 = true\n{address}")
        }
        Section::Listener => format!("{title}\n{name} = {value}\n{address}"),
        Section::PathPolicies => format!("[[listeners]]\npaths = {{ {name} = {value} }}\n{address}"),
        Section::ListenerTls => format!("[[listeners]]\ntls = {{ {} }}\n{address}", tls_with(name, value)),
        Section::Certificate => {
            let cert = if name == "cert" { "" } else { ", cert = \"a.pem\"" };
            let tls = format!("{{ certificates = [{{ {name} = {value}{cert} }}] }}");
            format!("[[listeners]]\ntls = {tls}\n{address}")
        }
        Section::ClientAuth => {
            let ca = if name == "ca" { "" } else { ", ca = \"clients.pem\"" };
            let tls = tls_with("client_auth", &format!("{{ {name} = {value}{ca} }}"));
            format!("[[listeners]]\ntls = {{ {tls} }}\n{address}")
        }
        Section::Route if name == "upstream" => format!("{title}\n{name} = {value}\n"),
        Section::Route if name == "split" => format!("{title}\n{name} = {value}\nname = \"all\"\n"),
        Section::Route if name == "sticky" => {
            format!("{title}\n{name} = {value}\nname = \"all\"\nsplit = [{{ upstream = \"api\" }}]\n")
        }
        Section::Route if matches!(name, "redirect" | "respond" | "maintenance") => {
            format!("{title}\n{name} = {value}\nname = \"all\"\n")
        }
        Section::Route if name == "grpc_web" => {
            let upstream = "[upstreams.calls]\nendpoints = [\"127.0.0.1:8009\"]\nprotocol = \"h2c\"\n";
            format!("{title}\n{name} = {value}\nupstream = \"calls\"\n{upstream}")
        }
        Section::Route => format!("{title}\n{name} = {value}\nupstream = \"api\"\n"),
        Section::Path => format!("[[routes]]\npath = {{ {name} = {value} }}\nupstream = \"api\"\n"),
        Section::Split if name == "upstream" => {
            format!("[[routes]]\nsplit = [{{ {name} = {value} }}]\nname = \"all\"\n")
        }
        Section::Split => {
            let item = format!("{{ {name} = {value}, upstream = \"api\" }}");
            format!("[[routes]]\nsplit = [{item}, {{ upstream = \"canary\" }}]\nname = \"all\"\n")
        }
        Section::Sticky => {
            let cookie = if matches!(name, "max_age" | "path") { ", cookie = \"lane\"" } else { "" };
            let split = "split = [{ upstream = \"api\" }]";
            format!("[[routes]]\nsticky = {{ {name} = {value}{cookie} }}\nname = \"all\"\n{split}\n")
        }
        Section::Mirror if name == "upstream" => {
            format!("[[routes]]\nmirror = {{ {name} = {value} }}\nupstream = \"api\"\n")
        }
        Section::Mirror => {
            let mirror = format!("{{ {name} = {value}, upstream = \"api\" }}");
            format!("[[routes]]\nmirror = {mirror}\nupstream = \"api\"\n")
        }
        Section::RouteHost => format!("[[routes]]\nhosts = [{{ {name} = {value} }}]\nupstream = \"api\"\n"),
        Section::Condition if name == "name" => {
            format!("[[routes]]\nheaders = [{{ {name} = {value}, exact = \"a\" }}]\nupstream = \"api\"\n")
        }
        Section::Condition => {
            format!("[[routes]]\nheaders = [{{ {name} = {value}, name = \"A\" }}]\nupstream = \"api\"\n")
        }
        Section::Filter => format!("[filters.secure]\n{name} = {value}\n"),
        Section::ErrorPage if name == "statuses" => format!("{title}\n{name} = {value}\nbody = \"\"\n"),
        Section::ErrorPage if name == "file" || name == "body" => {
            format!("{title}\n{name} = {value}\nstatuses = [503]\n")
        }
        Section::ErrorPage => format!("{title}\n{name} = {value}\nstatuses = [503]\nbody = \"\"\n"),
        Section::Health => UPSTREAM.replacen('\n', &health_with(name, value), 1),
        Section::Upstream if name == "endpoints" => format!("[upstreams.api]\n{name} = {value}\n"),
        Section::Upstream if name == "hash" => {
            UPSTREAM.replacen('\n', &format!("\n{name} = {value}\npolicy = \"hash\"\n"), 1)
        }
        Section::Upstream if name == "policy" && value.contains("hash") => {
            UPSTREAM.replacen('\n', &format!("\n{name} = {value}\nhash = {{ on = [\"path\"] }}\n"), 1)
        }
        Section::UpstreamTls => {
            let cert = if name == "key" { ", cert = \"client.pem\"" } else { "" };
            UPSTREAM.replacen('\n', &format!("\ntls = {{ {name} = {value}{cert} }}\n"), 1)
        }
        Section::Hash => {
            let more = format!("\nhash = {{ {name} = {value} }}\npolicy = \"hash\"\n");
            UPSTREAM.replacen('\n', &more, 1)
        }
        Section::Upstream if name == "protocol" && value == "\"h2\"" => {
            UPSTREAM.replacen('\n', &format!("\n{name} = {value}\ntls = {{ }}\n"), 1)
        }
        Section::Upstream if name.starts_with("http2_") => {
            UPSTREAM.replacen('\n', &format!("\n{name} = {value}\nprotocol = \"auto\"\n"), 1)
        }
        Section::Upstream if name == "queue" => queueing(value),
        Section::Queue if name == "requests_max" => queueing(&format!("{{ {name} = {value} }}")),
        Section::Queue => queueing(&format!("{{ requests_max = 1, {name} = {value} }}")),
        Section::Retry => UPSTREAM.replacen('\n', &format!("\nretry = {{ {name} = {value} }}\n"), 1),
        Section::Breaker | Section::Outlier => {
            let table = if key.section == Section::Breaker { "breaker" } else { "outlier" };
            let needed = match name {
                "requests_min" | "window" => ", failure_share = \"50%\"",
                _ => "",
            };
            UPSTREAM.replacen('\n', &format!("\n{table} = {{ {name} = {value}{needed} }}\n"), 1)
        }
        Section::Seating => {
            let others = [("cookie", "\"c\""), ("secret", "\"0123456789abcdef\"")];
            let others = others.iter().filter(|(other, _)| *other != name);
            let others: String = others.map(|(other, value)| format!(", {other} = {value}")).collect();
            UPSTREAM.replacen('\n', &format!("\nsticky = {{ {name} = {value}{others} }}\n"), 1)
        }
        Section::Upstream => UPSTREAM.replacen('\n', &format!("\n{name} = {value}\n"), 1),
        Section::Endpoint if name == "address" => {
            format!("[upstreams.api]\nendpoints = [{{ {name} = {value} }}]\n")
        }
        Section::Endpoint => {
            format!("[upstreams.api]\nendpoints = [{{ {name} = {value}, address = \"127.0.0.1:8001\" }}]\n")
        }
    };
    let lines = match name {
        "filters" => lines + "[filters.secure]\ntype = \"security_headers\"\n",
        _ => lines,
    };
    let others = ["canary", "shadow"].iter().any(|it| lines.contains(it));
    let lines = if others { lines + UPSTREAM + OTHERS } else { lines };
    let text = completed(&lines);
    if name == "listeners" {
        text.replacen("[[listeners]]", "[[listeners]]\nname = \"web\"", 1)
    } else {
        text
    }
}

/// The keys of a `tls`, one of which is set.
fn tls_with(name: &str, value: &str) -> String {
    let more = if name == "certificates" { "" } else { ", certificates = [{ cert = \"a.pem\" }]" };
    format!("{name} = {value}{more}")
}

/// An upstream that has something to wait for.
fn queueing(queue: &str) -> String {
    let endpoint = "{ address = \"127.0.0.1:8001\", requests_max = 1 }";
    format!("[upstreams.api]\nqueue = {queue}\nendpoints = [{endpoint}]\n")
}

/// A table with one key set, of a kind that has it.
fn health_with(name: &str, value: &str) -> String {
    let more = match name {
        "kind" => "",
        "server_name" | "ca" | "verify" => ", kind = \"https\"",
        "service" | "tls" => ", kind = \"grpc\"",
        "command" => ", kind = \"exec\"",
        "protocol" => ", kind = \"probe\", send = \"?\", expect = \"!\"",
        "send" | "expect" | "expect_regex" | "expect_bytes_max" => ", kind = \"probe\"",
        _ => ", kind = \"http\"",
    };
    format!("\nhealth = {{ {name} = {value}{more} }}\n")
}

/// The sections of the document by heading: `## [process]`, `### workers`.
fn chapters() -> HashMap<(String, String), String> {
    let mut chapters: HashMap<_, String> = HashMap::new();
    let (mut section, mut key) = (String::new(), String::new());
    for line in DOCUMENT.lines() {
        if let Some(heading) = line.strip_prefix("## ") {
            (section, key) = (heading.replace('`', ""), String::new());
        } else if let Some(heading) = line.strip_prefix("### ") {
            key = heading.replace('`', "");
        }
        let chapter = chapters.entry((section.clone(), key.clone())).or_default();
        chapter.push_str(line);
        chapter.push('\n');
    }
    chapters
}

fn heading(section: Section) -> &'static str {
    match section {
        Section::Sampling => "sampling of the access log",
        Section::PathPolicies => "paths of a listener",
        Section::ListenerTls => "tls of a listener",
        Section::Certificate => "certificates of tls",
        Section::ClientAuth => "client_auth of tls",
        Section::RouteHost => "hosts of a route",
        Section::Path => "path of a route",
        Section::Split => "split of a route",
        Section::Sticky => "sticky of a route",
        Section::Mirror => "mirror of a route",
        Section::Condition => "headers, queries and cookies of a route",
        Section::UpstreamTls => "tls of an upstream",
        Section::Hash => "hash of an upstream",
        Section::Seating => "sticky of an upstream",
        Section::Retry => "retry of an upstream",
        Section::Outlier => "outlier of an upstream",
        Section::Breaker => "breaker of an upstream",
        Section::Queue => "queue of an upstream",
        Section::Endpoint => "endpoints of an upstream",
        Section::Health => "health of an upstream",
        other => other.title(),
    }
}

#[test]
fn the_decoder_reads_every_key() {
    for key in reference() {
        // No key takes a date.
        let errors = errors(&with(key, "1979-05-27"));
        assert_eq!(errors.len(), 1, "{}.{}: {errors:?}", key.section.title(), key.name);
        assert!(errors[0].starts_with("2:"), "{}", errors[0]);
        assert!(errors[0].contains("1979-05-27 is a date or time"), "{}", errors[0]);
    }
}

#[test]
fn examples_are_allowed_and_defaults_are_what_holds_without_the_key() {
    for key in reference() {
        let text = with(key, key.example);
        parsed(&text).unwrap_or_else(|errors| panic!("{errors}\n{text}"));
        if let KeyDefault::Value(value) = key.default {
            let text = with(key, value);
            let line = text.lines().nth(1).unwrap().to_owned() + "\n";
            let without = match key.section {
                Section::Endpoint => text.replacen(&format!("{} = {value}, ", key.name), "", 1),
                Section::Split
                | Section::Sticky
                | Section::Seating
                | Section::Mirror
                | Section::Health
                | Section::ListenerTls
                | Section::ClientAuth
                | Section::Breaker
                | Section::Outlier
                | Section::Queue
                | Section::Sampling => {
                    let text = text.replacen(&format!("{} = {value}, ", key.name), "", 1);
                    let text = text.replacen(&format!(", {} = {value}", key.name), "", 1);
                    text.replacen(&format!("{{ {} = {value} }}", key.name), "{}", 1)
                }
                Section::PathPolicies | Section::Retry | Section::UpstreamTls => {
                    text.replacen(&format!("{} = {value}", key.name), "", 1)
                }
                _ => text.replacen(&line, "", 1),
            };
            assert_ne!(text, without);
            assert_eq!(parse("t.toml", &text), parse("t.toml", &without), "{text}");
        }
    }
}

#[test]
fn the_document_has_every_key_and_no_other() {
    let chapters = chapters();
    for key in reference() {
        let place = (heading(key.section).to_owned(), key.name.to_owned());
        let chapter = chapters.get(&place).unwrap_or_else(|| panic!("{place:?} is not documented"));
        let facts = format!("{}; default: {}; allowed: {}", key.kind, default(key), key.allowed);
        let chapter: String = chapter.replace('`', "").split_whitespace().collect::<Vec<_>>().join(" ");
        let facts = facts.replace('`', "");
        assert!(chapter.contains(&facts), "{place:?} lacks: {facts}");
        assert!(chapter.contains(&format!("{} = ", key.name)), "{place:?} lacks an example");
    }
    let sections: Vec<_> = reference().map(|key| heading(key.section)).collect();
    for (section, key) in chapters.keys().filter(|(_, key)| !key.is_empty()) {
        let known = reference().any(|known| heading(known.section) == section && known.name == key);
        assert!(known || !sections.contains(&section.as_str()), "{section} {key} is no key");
    }
}

#[test]
fn every_example_of_the_document_is_allowed() {
    let mut examples = 0;
    for block in DOCUMENT.split("```toml\n").skip(1) {
        let text = completed_example(block.split("```").next().unwrap());
        parsed(&text).unwrap_or_else(|errors| panic!("{errors}\n{text}"));
        examples += 1;
    }
    assert!(examples > reference().count(), "{examples}");
    for format in ["yaml", "json"] {
        let block = DOCUMENT.split_once(&format!("```{format}\n")).unwrap().1.split("```").next().unwrap();
        parse(&format!("t.{format}"), block).unwrap_or_else(|errors| panic!("{errors}\n{block}"));
    }
}

#[test]
fn every_example_of_the_page_on_checks_is_allowed() {
    let page = include_str!("../../../../docs/health-checks.md");
    let examples: Vec<_> =
        page.split("```toml\n").skip(1).map(|it| it.split("```").next().unwrap()).collect();
    assert!(examples.len() > 7);
    for example in examples {
        let name = example.split_once("[upstreams.").and_then(|(_, rest)| rest.split_once(']')).unwrap().0;
        let route = format!("[[routes]]\nupstream = \"{name}\"\n");
        let text = completed(&format!("{route}{example}"));
        let config = parsed(&text).unwrap_or_else(|errors| panic!("{errors}\n{text}"));
        let is_about_it = |it: &crate::config::Upstream| it.health.is_some() || example.contains("outlier");
        assert!(config.upstreams.iter().all(is_about_it), "{text}");
    }
}

#[test]
fn every_example_of_the_page_on_tls_is_allowed() {
    let page = include_str!("../../../../docs/tls.md");
    let examples: Vec<_> =
        page.split("```toml\n").skip(1).map(|it| it.split("```").next().unwrap()).collect();
    assert!(examples.len() > 4);
    for example in examples {
        let text = completed(example);
        parsed(&text).unwrap_or_else(|errors| panic!("{errors}\n{text}"));
    }
}

#[test]
fn errors_are_shown_as_they_look() {
    let (file, rest) = DOCUMENT.split_once("```toml-with-errors\n").unwrap().1.split_once("```").unwrap();
    let shown = rest.split_once("```text\n").unwrap().1.split_once("```").unwrap().0;
    let errors = parse("edge.toml", file).unwrap_err();
    assert_eq!(format!("{errors}\n"), shown);
}

/// The tables of what becomes of paths, row by row.
#[test]
fn paths_become_what_the_document_says() {
    let bare = |cell: &str| cell.trim().trim_matches('`').to_owned();
    let table = DOCUMENT.split_once("| request | policy | rules see | the upstream gets |\n").unwrap().1;
    let rows: Vec<_> = table.lines().skip(1).take_while(|line| line.starts_with('|')).collect();
    assert!(rows.len() > 10, "{rows:?}");
    for row in rows {
        let [_, request, policy, seen, sent, _] = row.split('|').collect::<Vec<_>>()[..] else {
            panic!("{row}")
        };
        let policy = bare(policy).replace("any", "");
        let text = completed(&format!("[[listeners]]\naddress = \"127.0.0.1:1\"\npaths = {{ {policy} }}\n"));
        let policies = parsed(&text).unwrap().listeners[0].rules.paths;
        let request = bare(request);
        let (path, query) =
            request.split_once('?').map_or((&*request, ""), |(path, _)| (path, &request[path.len()..]));
        let mut buffers = PathBuffers::default();
        match buffers.canonicalise(path.as_bytes(), &policies) {
            Ok(paths) => {
                assert_eq!(paths.canonical, bare(seen).as_bytes(), "{row}");
                assert_eq!([paths.forwarded, query.as_bytes()].concat(), bare(sent).as_bytes(), "{row}");
            }
            Err(error) => {
                assert_eq!(sent.replace('`', "").trim(), format!("400 {}", reason(error)), "{row}")
            }
        }
    }
}

/// `EncodedSlash` is `path_encoded_slash` in logs and metrics.
fn reason(error: PathError) -> &'static str {
    let mut word = "path".to_owned();
    for c in format!("{error:?}").chars() {
        if c.is_uppercase() {
            word.push('_');
        }
        word.extend(c.to_lowercase());
    }
    let mut known = Reason::ALL.iter().map(|reason| reason.name());
    known.find(|known| *known == word).unwrap_or_else(|| panic!("{word} is no reason"))
}

/// What a text says beside the files that the examples name.
fn parsed(text: &str) -> Result<Config, ConfigErrors> {
    let folder = tempfile::tempdir().unwrap();
    std::fs::create_dir(folder.path().join("pages")).unwrap();
    std::fs::write(folder.path().join("pages/unavailable.html"), "<h1>{status}</h1>").unwrap();
    std::fs::write(folder.path().join("pages/ca.pem"), AUTHORITY).unwrap();
    std::fs::write(folder.path().join("upstreams.yaml"), "upstreams: {}\n").unwrap();
    std::fs::write(folder.path().join("t.toml"), text).unwrap();
    load(&folder.path().join("t.toml")).map(|loaded| loaded.config)
}

fn default(key: &Key) -> String {
    key.default.text().to_owned()
}

/// A snippet that sets keys of a section, with what the section requires.
fn completed_example(text: &str) -> String {
    let mut text = text.to_owned();
    if text.contains("[[listeners]]") && !text.contains("address") {
        text = text.replacen("[[listeners]]\n", "[[listeners]]\naddress = \"127.0.0.1:8080\"\n", 1);
    }
    if text.contains("sticky = ") && !text.contains("split = ") {
        let split = "[[routes]]\nsplit = [{ upstream = \"api\" }, { upstream = \"canary\" }]\n";
        text = text.replacen("[[routes]]\n", split, 1);
    }
    if text.contains("split = ") && !text.contains("name = ") {
        text = text.replacen("[[routes]]\n", "[[routes]]\nname = \"all\"\n", 1);
    }
    if text.contains("\"canary\"") || text.contains("\"shadow\"") {
        text = text + UPSTREAM + OTHERS;
    }
    let actions = ["split", "upstream", "redirect", "respond", "maintenance"];
    let has_action = actions.iter().any(|action| text.contains(&format!("\n{action} = ")));
    if text.contains("[[routes]]") && !has_action {
        text = text.replacen("[[routes]]\n", "[[routes]]\nupstream = \"api\"\n", 1);
    }
    if text.contains("[upstreams.api]") && !text.contains("endpoints") {
        text = text.replacen("[upstreams.api]\n", "[upstreams.api]\nendpoints = [\"127.0.0.1:8001\"]\n", 1);
    }
    let text = completed(&text);
    if text.contains("listeners = [\"web\"]") && !text.contains("name = \"web\"") {
        return text.replacen("[[listeners]]\n", "[[listeners]]\nname = \"web\"\n", 1);
    }
    text
}
