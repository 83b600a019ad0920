//! What no compiler checks about the tree: the direction of imports, the purity of packages, the size and the head of
//! each file, and words that do not belong in it.

#![allow(clippy::unwrap_used, reason = "a failed unwrap fails the test, which is what it is for")]

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

use toml::de::DeTable;

/// Which of our packages each package may import (ARCHITECTURE.md).
const IMPORTS: &[(&str, &[&str])] = &[
    ("corelane", &["corelane-control"]),
    (
        "corelane-control",
        &[
            "corelane-engine",
            "corelane-http1",
            "corelane-grpc",
            "corelane-routing",
            "corelane-filters",
            "corelane-balancer",
            "corelane-semantics",
        ],
    ),
    (
        "corelane-engine",
        &[
            "corelane-http1",
            "corelane-grpc",
            "corelane-routing",
            "corelane-filters",
            "corelane-balancer",
            "corelane-semantics",
        ],
    ),
    ("corelane-http1", &["corelane-semantics"]),
    ("corelane-routing", &["corelane-semantics"]),
    ("corelane-filters", &["corelane-semantics"]),
    ("corelane-balancer", &[]),
    ("corelane-grpc", &[]),
    ("corelane-semantics", &[]),
];

/// Packages without I/O, clock, threads or runtime: `now` and randomness are arguments.
const PURE: &[&str] = &["semantics", "http1", "grpc", "routing", "filters", "balancer"];

/// What a pure package does not say in its production part.
const IMPURE: &[&str] = &[
    "TcpStream",
    "TcpListener",
    "UdpSocket",
    "ToSocketAddrs",
    "std::fs",
    "std::thread",
    "std::process",
    "std::env",
    "std::os",
    "Instant::now",
    "SystemTime",
    "tokio",
    "monoio",
    "libc::",
];

/// What only `engine/src/io` names, so that the driver can be changed in one place.
const DRIVER_TYPES: &[&str] = &["monoio::net", "monoio::io", "monoio::fs"];

/// Where workspaces of their own stand, which no package of ours imports.
const OTHER_WORKSPACES: &[&str] = &["fuzz", "benches/load/floor", "benches/load/pingora"];

/// Lines of a file that are not tests.
const PRODUCTION_LINES_MAX: usize = 500;

/// Files that may be longer, each with the reason.
const LONG_FILES: &[(&str, &str)] =
    &[("engine/src/exchange.rs", "the path of a request reads from top to bottom in one file")];

/// A file of the repository.
struct Source {
    path: PathBuf,
    text: String,
}

impl Source {
    /// Where its code says one of these words, and which.
    fn lines_with(&self, words: &[&str]) -> Vec<String> {
        let said = |(line, text): (usize, &str)| {
            let words = words.iter().filter(|word| text.contains(**word));
            words.map(|word| format!("{}:{line}: {word}", self.name())).collect::<Vec<_>>()
        };
        self.code().flat_map(said).collect()
    }

    /// Whether it belongs to a workspace of its own.
    fn is_elsewhere(&self) -> bool {
        OTHER_WORKSPACES.iter().any(|folder| self.path.starts_with(folder))
    }

    fn name(&self) -> String {
        self.path.display().to_string()
    }

    /// The part before the unit tests.
    fn production(&self) -> &str {
        self.text.find("\n#[cfg(test)]\nmod ").map_or(&self.text, |end| &self.text[..end])
    }

    /// Whether the file holds tests only.
    fn is_test(&self) -> bool {
        self.path.iter().any(|part| part == "tests" || part == "benches" || part == "fuzz")
            || self.path.file_name().is_some_and(|name| name == "tests.rs")
    }

    /// The lines that are code, with their numbers from 1.
    fn code(&self) -> impl Iterator<Item = (usize, &str)> {
        let lines = self.production().lines().enumerate().map(|(index, line)| (index + 1, line));
        lines.filter(|(_, line)| !line.trim_start().starts_with("//"))
    }
}

/// Every file of the tree with one of these endings; without what builds and version control keep.
fn sources(endings: &[&str]) -> Vec<Source> {
    let mut found = Vec::new();
    collect(Path::new(env!("CARGO_MANIFEST_DIR")), Path::new(""), endings, &mut found);
    found.sort_by(|a, b| a.path.cmp(&b.path));
    found
}

fn collect(root: &Path, folder: &Path, endings: &[&str], found: &mut Vec<Source>) {
    for entry in fs::read_dir(root.join(folder)).unwrap() {
        let entry = entry.unwrap();
        let name = entry.file_name().into_string().unwrap();
        let path = folder.join(&name);
        let kind = entry.file_type().unwrap();
        if kind.is_dir() {
            if !matches!(name.as_str(), "target" | ".git" | "corpus" | "artifacts") {
                collect(root, &path, endings, found);
            }
        } else if kind.is_file() && endings.iter().any(|ending| name.ends_with(ending)) {
            // A binary file has no words.
            if let Ok(text) = fs::read_to_string(root.join(&path)) {
                found.push(Source { path, text });
            }
        }
    }
}

fn rust() -> Vec<Source> {
    let sources = sources(&[".rs"]);
    assert!(sources.len() > 20, "the tree is not found");
    sources
}

#[track_caller]
fn assert_none(what: &str, found: &[String]) {
    assert!(found.is_empty(), "{what}:\n{}", found.join("\n"));
}

/// The table `name` of a manifest's table.
fn table<'a, 'text>(of: &'a DeTable<'text>, name: &str) -> Option<&'a DeTable<'text>> {
    of.get(name).and_then(|value| value.get_ref().as_table())
}

/// The dependencies of every manifest, those for builds and targets included; tests may import what they like.
fn dependencies() -> BTreeMap<String, Vec<String>> {
    let mut all = BTreeMap::new();
    // Those of other workspaces may import everything.
    for manifest in sources(&["Cargo.toml"]).into_iter().filter(|manifest| !manifest.is_elsewhere()) {
        let parsed = DeTable::parse(&manifest.text).unwrap();
        let root = parsed.get_ref();
        let Some(package) = table(root, "package") else { continue };
        let targets = table(root, "target").into_iter().flat_map(|targets| targets.values());
        let tables = targets.filter_map(|target| target.get_ref().as_table()).chain([root]);
        let mut names: Vec<String> = Vec::new();
        for of in tables {
            for section in ["dependencies", "build-dependencies"] {
                let section = table(of, section).into_iter().flat_map(|section| section.keys());
                names.extend(section.map(|name| name.get_ref().to_string()));
            }
        }
        let package = package.get("name").and_then(|name| name.get_ref().as_str()).unwrap();
        all.insert(package.to_owned(), names);
    }
    all
}

#[test]
fn packages_import_only_downwards() {
    let dependencies = dependencies();
    assert!(dependencies.len() >= 7, "{dependencies:?}");
    let mut wrong = Vec::new();
    for (package, names) in &dependencies {
        let allowed = IMPORTS.iter().find(|(name, _)| name == package);
        let Some((_, allowed)) = allowed else {
            wrong.push(format!("{package} is not in the table of imports"));
            continue;
        };
        let ours = names.iter().filter(|name| name.starts_with("corelane"));
        wrong.extend(
            ours.filter(|name| !allowed.contains(&name.as_str()))
                .map(|name| format!("{package} may not import {name}")),
        );
    }
    assert_none("imports against the direction", &wrong);
}

#[test]
fn versions_stand_in_the_workspace_manifest() {
    let mut wrong = Vec::new();
    for manifest in sources(&["Cargo.toml"]) {
        if manifest.is_elsewhere() {
            continue;
        }
        let parsed = DeTable::parse(&manifest.text).unwrap();
        for section in ["dependencies", "dev-dependencies", "build-dependencies"] {
            for (name, value) in table(parsed.get_ref(), section).into_iter().flatten() {
                let inherited = value.get_ref().as_table().and_then(|value| value.get("workspace"));
                if inherited.and_then(|value| value.get_ref().as_bool()) != Some(true) {
                    wrong.push(format!("{}: {}", manifest.name(), name.get_ref()));
                }
            }
        }
    }
    assert_none("versions outside the workspace manifest", &wrong);
}

#[test]
fn runtimes_stay_on_their_threads() {
    let dependencies = dependencies();
    let mut wrong = Vec::new();
    for (package, names) in &dependencies {
        let has = |name: &str| names.iter().any(|given| given == name);
        // Of tokio a worker has the traits by which `h2` reads and writes: see the next test.
        let has_runtime = has("tokio") && package != "corelane-engine";
        if package != "corelane-control" && (has_runtime || has("hyper") || has("hickory-resolver")) {
            wrong.push(format!("{package} imports what runs on the control thread only"));
        }
        if package != "corelane-engine" && has("monoio") {
            wrong.push(format!("{package} imports what runs on workers only"));
        }
    }
    assert_none("runtimes on the wrong thread", &wrong);
}

#[test]
fn workers_have_only_traits_of_tokio() {
    let mut wrong = Vec::new();
    for source in rust().into_iter().filter(|source| source.path.starts_with("engine/src")) {
        let uses = source.code().filter(|(_, line)| line.contains("tokio::"));
        let traits = match source.path.to_str() {
            Some("engine/src/h2/io.rs") => "use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};",
            Some("engine/src/h2/tests/wire.rs") => "use tokio::io::AsyncWrite as _;",
            _ => "",
        };
        let other = uses.filter(|(_, line)| *line != traits);
        wrong.extend(other.map(|(line, text)| format!("{}:{line}: {text}", source.name())));
    }
    assert_none("tokio on workers", &wrong);
}

#[test]
fn only_engine_io_names_the_drivers_network_types() {
    let mut wrong = Vec::new();
    for source in rust() {
        let allowed =
            source.path.starts_with("engine/src/io") || source.path == Path::new("engine/src/io.rs");
        if !source.path.starts_with("engine/src") || allowed {
            continue;
        }
        wrong.extend(source.lines_with(DRIVER_TYPES));
    }
    assert_none("network types outside engine/src/io", &wrong);
}

#[test]
fn pure_packages_are_pure() {
    let mut wrong = Vec::new();
    for source in rust() {
        let pure = PURE.iter().any(|package| source.path.starts_with(format!("{package}/src")));
        if !pure || source.is_test() {
            continue;
        }
        wrong.extend(source.lines_with(IMPURE));
    }
    assert_none("I/O, clock or threads in a pure package", &wrong);
}

#[test]
fn every_file_opens_with_what_it_owns() {
    let sources = rust();
    let bare = sources.iter().filter(|source| !source.text.starts_with("//! "));
    // A fuzz target must begin with its attribute.
    let bare = bare.filter(|source| !source.text.starts_with("#![no_main]\n//! "));
    assert_none("no //! at the head", &bare.map(Source::name).collect::<Vec<_>>());
}

#[test]
fn no_file_is_long() {
    let mut wrong = Vec::new();
    for source in rust() {
        let lines = source.production().lines().count();
        let allowed = LONG_FILES.iter().any(|(path, _)| source.path == Path::new(path));
        if !allowed && lines > PRODUCTION_LINES_MAX {
            wrong.push(format!("{}: {lines} lines; look for the second concept", source.name()));
        }
    }
    assert_none("files that hold too much", &wrong);
}

#[test]
fn unsafe_code_is_argued_for() {
    let mut wrong = Vec::new();
    for source in rust() {
        let lines: Vec<&str> = source.text.lines().collect();
        for (index, line) in lines.iter().enumerate() {
            // Written so that this line is not one of those that it looks for.
            let block = line.contains(concat!("unsafe", " {")) && !line.trim_start().starts_with("//");
            let argued = lines[index.saturating_sub(8)..index].iter().any(|line| line.contains("// SAFETY:"));
            if block && !argued {
                wrong.push(format!("{}:{}", source.name(), index + 1));
            }
        }
    }
    assert_none("unsafe without // SAFETY:", &wrong);
}

#[test]
fn nothing_is_left_to_do_without_an_issue() {
    let mut wrong = Vec::new();
    for source in sources(&[".rs", ".md", ".toml", ".sh", ".py", "run", "test", "soak"]) {
        for (index, line) in source.text.lines().enumerate() {
            for word in [concat!("TO", "DO"), concat!("FIX", "ME"), concat!("XX", "X:")] {
                let rest = line.split_once(word).map(|(_, rest)| rest);
                let numbered = |rest: &str| rest.trim_start_matches(['(', ' ']).starts_with('#');
                if rest.is_some_and(|rest| !numbered(rest)) {
                    wrong.push(format!("{}:{}: {}", source.name(), index + 1, line.trim()));
                }
            }
        }
    }
    assert_none("things to do without an issue", &wrong);
}

#[test]
fn no_merge_is_half_done() {
    let mut wrong = Vec::new();
    for source in sources(&[""]) {
        for (index, line) in source.text.lines().enumerate() {
            if line.starts_with("<<<<<<< ") || line.starts_with(">>>>>>> ") {
                wrong.push(format!("{}:{}: {line}", source.name(), index + 1));
            }
        }
    }
    assert_none("marks of conflicts", &wrong);
}

#[test]
fn no_machine_of_ours_is_named() {
    // Written in two parts, so that this file does not name them itself.
    let words = [
        concat!("/wo", "rk/"),
        concat!("/home", "/"),
        concat!("/tmp/", "wt"),
        concat!("/tmp/", "target"),
        concat!("static.", "crates.io"),
        concat!("index.", "crates.io"),
        concat!("registry", "+http"),
        concat!("proxy", ".golang.org"),
    ];
    let mut wrong = Vec::new();
    for source in sources(&["", ".rs", ".md", ".toml", ".sh", ".py"]) {
        // Cargo's own record of where versions come from, and git's of where a worktree belongs.
        if source.path.file_name().is_some_and(|name| name == "Cargo.lock" || name == ".git") {
            continue;
        }
        for (index, line) in source.text.lines().enumerate() {
            wrong.extend(
                words
                    .iter()
                    .filter(|word| line.contains(**word))
                    .map(|word| format!("{}:{}: {word}", source.name(), index + 1)),
            );
        }
    }
    assert_none("paths and hosts of one machine", &wrong);
}

#[test]
fn the_tests_that_the_threat_model_names_exist() {
    let tree = rust();
    let exists = |module: &str, name: &str| {
        // A function, or a table of the hostile suite.
        let (function, table) = (format!("fn {name}("), format!("    {name} => "));
        let is_there = |source: &Source| {
            source.path.with_extension("").iter().any(|part| part == module)
                && (source.text.contains(&function) || source.text.contains(&table))
        };
        tree.iter().any(is_there)
    };
    let pages = sources(&["threat-model.md"]);
    let words = pages.iter().flat_map(|page| page.text.split('`').skip(1).step_by(2));
    let named: Vec<_> = words.filter_map(|word| word.split_once("::")).collect();
    assert!(named.len() > 50, "{named:?}");
    let missing = named.iter().filter(|(module, name)| !exists(module, name));
    let missing: Vec<_> = missing.map(|(module, name)| format!("{module}::{name}")).collect();
    assert_none("tests that are not there", &missing);
}

#[test]
fn everything_that_threads_share_is_in_the_page_on_scaling() {
    let words = [
        "Atomic",
        "Mutex",
        "RwLock",
        "OnceLock",
        "LazyLock",
        "bounded(",
        "channel::<",
        "channel()",
        "eventfd(",
        "socket_pair(",
    ];
    let page = sources(&["scaling.md"]).remove(0).text;
    let sharing = |source: &Source| {
        let is_ours = source.path.starts_with("engine/src") || source.path.starts_with("control/src");
        let is_test = source.is_test() || source.name().ends_with("_tests.rs");
        is_ours && !is_test && !source.lines_with(&words).is_empty()
    };
    let files: Vec<_> = rust().into_iter().filter(sharing).map(|source| source.name()).collect();
    assert!(files.len() > 8, "{files:?}");
    let missing: Vec<_> = files.into_iter().filter(|name| !page.contains(&format!("`{name}`"))).collect();
    assert_none("files with something shared that docs/scaling.md does not name", &missing);
}

#[test]
fn rules_are_cited_from_the_current_rfcs() {
    let mut wrong = Vec::new();
    for source in sources(&[".rs", ".md"]) {
        for (index, line) in source.text.lines().enumerate() {
            for old in [
                concat!("RFC 2", "616"),
                concat!("RFC 7", "230"),
                concat!("RFC 7", "231"),
                concat!("RFC 7", "540"),
            ] {
                if line.contains(old) {
                    wrong.push(format!("{}:{}: {old}", source.name(), index + 1));
                }
            }
        }
    }
    assert_none("obsolete RFCs", &wrong);
}
