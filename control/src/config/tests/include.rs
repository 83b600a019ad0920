//! Files that include others.

use std::fs;
use std::path::Path;

use crate::config::{Loaded, load, parse};

const MAIN: &str = "include = [\"conf.d/*.toml\"]\n[process]\nworkers = 1\n";
const LISTENER: &str = "[[listeners]]\naddress = \"127.0.0.1:8080\"\n";
const SITE: &str = "[[routes]]\nupstream = \"site\"\n[upstreams.site]\nendpoints = [\"127.0.0.1:1\"]\n";

/// Files by name, of which the first is loaded; names in messages begin at their folder.
fn loaded(files: &[(&str, &str)]) -> Result<Loaded, String> {
    let folder = tempfile::tempdir().unwrap();
    for (name, text) in files {
        let path = folder.path().join(name);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, text).unwrap();
    }
    load_in(folder.path(), files[0].0)
}

fn load_in(folder: &Path, name: &str) -> Result<Loaded, String> {
    let start = format!("{}/", folder.display());
    let loaded = load(&folder.join(name)).map_err(|errors| errors.to_string().replace(&start, ""))?;
    let files = loaded.files.iter().map(|file| file.replace(&start, "")).collect();
    Ok(Loaded { files, ..loaded })
}

fn errors(files: &[(&str, &str)]) -> String {
    loaded(files).unwrap_err()
}

#[test]
fn reads_files_in_order_and_formats_mixed() {
    let yaml = "listeners: [{address: 127.0.0.1:8081}]\nupstreams: {a: {endpoints: [127.0.0.1:1]}}\n";
    let json =
        "{\"include\": [\"../more.toml\"], \"upstreams\": {\"b\": {\"endpoints\": [\"127.0.0.1:1\"]}}}";
    let Loaded { config, files } = loaded(&[
        ("main.toml", &format!("include = [\"z.yaml\", \"conf.d/*\", \"none/*.toml\"]\n{LISTENER}")),
        ("conf.d/b.json", json),
        ("conf.d/a.toml", SITE),
        ("conf.d/.hidden.toml", "broken"),
        ("more.toml", "[upstreams.c]\nendpoints = [\"127.0.0.1:1\"]\n"),
        ("z.yaml", yaml),
    ])
    .unwrap();
    assert_eq!(files, ["main.toml", "z.yaml", "conf.d/a.toml", "conf.d/b.json", "conf.d/../more.toml"]);
    let listeners: Vec<_> = config.listeners.iter().map(|listener| listener.address.to_string()).collect();
    assert_eq!(listeners, ["127.0.0.1:8080", "127.0.0.1:8081"]);
    let upstreams: Vec<_> = config.upstreams.iter().map(|upstream| &*upstream.name).collect();
    assert_eq!(upstreams, ["a", "site", "b", "c"]);
}

#[test]
fn relative_paths_start_at_the_file_that_has_them() {
    let page = "[[error_pages]]\nstatuses = [503]\nfile = \"page.html\"\n";
    let main = format!("include = [\"x/y.toml\"]\n{LISTENER}{SITE}");
    let files = [("main.toml", &*main), ("x/y.toml", page), ("x/page.html", "sorry")];
    assert_eq!(loaded(&files).unwrap().config.error_pages[0].segments.len(), 1);
}

#[test]
fn errors_name_the_file() {
    let told = errors(&[
        ("main.toml", &format!("{MAIN}{LISTENER}x = 1\n")),
        ("conf.d/a.toml", &format!("# é\n{SITE}[process]\nworkers = 2\n{LISTENER}")),
        (
            "conf.d/b.toml",
            "[[routes]]\nupstream = \"sit\"\n[upstreams.site]\nendpoints = []\n[nonsense]\n[nonsense.x]\n",
        ),
    ]);
    let lines: Vec<_> =
        told.lines().map(|line| line.split_once(" (keys").map_or(line, |(line, _)| line)).collect();
    let lines: Vec<_> =
        lines.iter().map(|line| line.split_once(" (sections").map_or(*line, |(line, _)| line)).collect();
    assert_eq!(
        lines,
        [
            "main.toml:6:1: unknown key \"x\" in [[listeners]]",
            "conf.d/a.toml:6:2: section [process] is already defined in line 2 of main.toml",
            "conf.d/a.toml:9:11: address \"127.0.0.1:8080\" is already used by the listener in line 5 of main.toml",
            "conf.d/b.toml:1:1: this route matches the same requests as the route in line 2 of conf.d/a.toml: any host \
             and path prefix \"/\" on listener \"127.0.0.1:8080\"",
            "conf.d/b.toml:2:12: upstream \"sit\" is not defined; did you mean \"site\"? (defined: site)",
            "conf.d/b.toml:3:12: section [upstreams.site] is already defined in line 4 of conf.d/a.toml",
            "conf.d/b.toml:5:2: unknown section \"nonsense\"",
        ]
    );
}

#[test]
fn a_syntax_error_hides_what_may_be_missing() {
    let told = errors(&[("main.toml", &format!("{MAIN}{LISTENER}")), ("conf.d/a.toml", "[[routes]\n")]);
    assert_eq!(told, "conf.d/a.toml:1:10: this section's name is never closed; write [name] or [[name]]");
    let folder = tempfile::tempdir().unwrap();
    fs::create_dir(folder.path().join("conf.d")).unwrap();
    fs::write(folder.path().join("main.toml"), MAIN).unwrap();
    fs::write(folder.path().join("conf.d/a.toml"), b"# \xc3\xa9\n# \xff").unwrap();
    assert_eq!(
        load_in(folder.path(), "main.toml").unwrap_err(),
        "conf.d/a.toml:2:3: byte 0xff is not UTF-8 text"
    );
}

#[test]
fn refuses_circles_and_files_that_come_twice() {
    let told = errors(&[
        ("main.toml", "include = [\"a.toml\", \"./a.toml\", \"*.toml\"]\n"),
        ("a.toml", "include = [\"b.yaml\"]\n"),
        ("b.yaml", "include: [main.toml]\n"),
    ]);
    assert_eq!(
        told,
        "main.toml:1:22: include \"./a.toml\" is already included in line 1 of main.toml\n\
         main.toml:1:34: include \"a.toml\" is already included in line 1 of main.toml\n\
         main.toml:1:34: include \"main.toml\" includes itself: main.toml, main.toml\n\
         b.yaml:1:11: include \"main.toml\" includes itself: main.toml, a.toml, b.yaml, main.toml"
    );
}

#[test]
fn refuses_what_is_nested_too_deeply() {
    let files: Vec<_> =
        (0..12).map(|n| (format!("{n}.toml"), format!("include = [\"{}.toml\"]\n", n + 1))).collect();
    let files: Vec<_> = files.iter().map(|(name, text)| (&**name, &**text)).collect();
    assert_eq!(
        errors(&files),
        "8.toml:1:12: include \"9.toml\" is included too deeply; includes may be nested 8 deep"
    );
}

#[test]
fn refuses_patterns_that_say_nothing() {
    for (value, expected) in [
        (
            "\"a.toml\"",
            "1:11: include \"a.toml\" is a string; expected a list of files, e.g. include = [\"conf.d/*.toml\"]",
        ),
        ("[3]", "1:12: include 3 is an integer; a string stands in quotes: \"3\""),
        ("[\"\"]", "1:12: include \"\" is empty; write the path of a file or a pattern"),
        ("[\"**/a.toml\"]", "1:12: include \"**/a.toml\" has **, which is not read; name the folders"),
        ("[\"a[.toml\"]", "1:12: include \"a[.toml\" is no pattern: invalid range pattern"),
        ("[\"a.toml\"]", "1:12: include \"a.toml\" cannot be read: No such file or directory (os error 2)"),
        ("[\".\"]", "1:12: include \".\" is a directory; name the file in it"),
        (
            "[\"${NO_SUCH_VARIABLE}\"]",
            "1:12: the environment variable NO_SUCH_VARIABLE is not set; set it, or write a default: ${NO_SUCH_VARIABLE:-...}",
        ),
    ] {
        let told = errors(&[("main.toml", &format!("include = {value}\n"))]);
        assert_eq!(told, format!("main.toml:{expected}"));
    }
    let told = parse("command line", &format!("include = []\n{LISTENER}{SITE}")).unwrap_err().to_string();
    assert_eq!(told, "command line:1:1: include is for files; this is a text");
    let told = errors(&[("main.toml", &format!("{LISTENER}include = [\"x\"]\n"))]);
    assert!(told.contains("main.toml:3:1: unknown key \"include\" in [[listeners]]"), "{told}");
}

#[test]
fn bounds_how_many_files_there_are() {
    let folder = tempfile::tempdir().unwrap();
    for n in 0..1001 {
        fs::write(folder.path().join(format!("{n:04}.toml")), "").unwrap();
    }
    fs::write(folder.path().join("main"), format!("include = [\"*.toml\"]\n{LISTENER}{SITE}")).unwrap();
    let told = load_in(folder.path(), "main").unwrap_err();
    let expected = ["0999", "1000"].map(|n| {
        format!("main:1:12: include \"{n}.toml\" is one file too many; a configuration has at most 1000")
    });
    assert_eq!(told, expected.join("\n"));
}
