//! Bad files and every message about them, word for word. The files are in `bad/`, one text for each section.

use super::{completed, errors, errors_of};

/// `=== [alone]`, a file, `---`, its errors. Required sections are added behind a file that is not alone.
fn check(cases: &str, expected_cases: usize) {
    check_as("t.toml", cases, expected_cases);
}

/// The same for files of any format; to those of YAML and JSON nothing is added.
fn check_as(name: &str, cases: &str, expected_cases: usize) {
    let mut seen = 0;
    for case in cases.split("\n===").skip(1) {
        let (flags, case) = case.split_once('\n').expect("a line ends the ===");
        let (file, expected) = match case.strip_prefix("---\n") {
            Some(expected) => ("", expected),
            // YAML has --- of its own.
            None => case.rsplit_once("\n---\n").expect("--- stands between file and errors"),
        };
        let file = format!("{file}\n");
        let file = if flags.trim() == "alone" || name != "t.toml" { file } else { completed(&file) };
        let expected: Vec<_> = expected.trim_end().lines().collect();
        assert_eq!(errors_of(name, &file), expected, "\n{file}");
        seen += 1;
    }
    assert_eq!(seen, expected_cases);
}

#[test]
fn process() {
    check(include_str!("bad/process.txt"), 25);
}

#[test]
fn admin_access_log_and_resolver() {
    check(include_str!("bad/services.txt"), 26);
}

#[test]
fn listeners() {
    check(include_str!("bad/listeners.txt"), 81);
}

#[test]
fn routes() {
    check(include_str!("bad/routes.txt"), 41);
}

#[test]
fn actions() {
    check(include_str!("bad/actions.txt"), 20);
}

#[test]
fn upstreams() {
    check(include_str!("bad/upstreams.txt"), 68);
}

#[test]
fn health() {
    check(include_str!("bad/health.txt"), 62);
}

#[test]
fn filters() {
    check(include_str!("bad/filters.txt"), 60);
}

#[test]
fn error_pages() {
    check(include_str!("bad/error_pages.txt"), 27);
}

#[test]
fn sections() {
    check(include_str!("bad/whole.txt"), 8);
}

#[test]
fn syntax() {
    check(include_str!("bad/syntax.txt"), 27);
}

#[test]
fn yaml() {
    check_as("t.yaml", include_str!("bad/yaml.txt"), 16);
}

#[test]
fn json() {
    check_as("t.json", include_str!("bad/json.txt"), 13);
}

#[test]
fn recovery() {
    check(include_str!("bad/recovery.txt"), 6);
}

#[test]
fn all_errors_of_a_file_at_once() {
    check(include_str!("bad/everything.txt"), 1);
}

#[test]
fn columns_count_characters() {
    let text = "[access_log]\npath = \"äöü/\" # é\n[process]\nx = \"日本\"\n\"wörkers\" = 1\n";
    assert_eq!(
        errors(&completed(text)),
        [
            "2:8: path \"äöü/\" is not the path of a file; write \"stdout\", \"stderr\" or one",
            "4:1: unknown key \"x\" in [process] (keys: workers, driver, drain_timeout, shutdown_delay)",
            "5:1: unknown key \"wörkers\" in [process]; did you mean \"workers\"? \
             (keys: workers, driver, drain_timeout, shutdown_delay)",
        ]
    );

    let text = "upstreams = { \"é\" = 1, \"ü\" = { endpoints = [\"日本:1\", \"x\"] } }\n";
    assert_eq!(
        errors(&format!("{text}[[listeners]]\naddress = \"127.0.0.1:1\"\n[[routes]]\nupstream = \"ü\"\n")),
        [
            "1:15: upstream \"é\" is an integer; expected a section, [upstreams.NAME]",
            "1:45: endpoint \"日本:1\" has '日' in its host name; e.g. \"127.0.0.1:1\" or \"app.internal:1\"",
            "1:53: endpoint \"x\" has no port; write e.g. \"x:80\"",
        ]
    );
}

#[test]
fn windows_line_ends_and_byte_order_mark() {
    let text = "\u{feff}workers = 0\r\n[process]\r\nworkers = 0\r\ndriver = \"x\" # é\r\n";
    let errors = errors(&completed(text));
    let places: Vec<_> = errors.iter().map(|error| error.split(": ").next().unwrap()).collect();
    assert_eq!(places, ["1:1", "3:11", "4:10"]);
}

#[test]
fn shows_a_hundred_errors_and_counts_the_rest() {
    let unknown: String = (0..5000).map(|n| format!("k{n} = 1\n")).collect();
    let errors = errors(&completed(&format!("[process]\n{unknown}")));
    assert_eq!(errors.len(), 101);
    assert!(errors[0].starts_with("2:1: "), "{}", errors[0]);
    assert_eq!(errors[100], "4900 more errors");
}
